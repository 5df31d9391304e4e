"""Every flag of the training commands that is about their images reaches its use."""

import pytest

from tests.net.image_rows import ROWS
from tests.net.table import cases, check, named, training


@pytest.mark.parametrize(("command", "row"), cases(ROWS), ids=named)
def test_another_value_changes_the_images(command, row):
    check(ROWS, command, row, training)
