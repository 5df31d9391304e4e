import pytest

# So that a failing assertion in there shows its values.
pytest.register_assert_rewrite("tests.data.views.helpers")
