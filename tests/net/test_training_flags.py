"""Every flag of the training commands reaches its use; the rows on images are tested apart."""

import pytest

from tests.net.table import cases, check, named, training
from tests.net.training_rows import ROWS


@pytest.mark.parametrize(("command", "row"), cases(ROWS), ids=named)
def test_another_value_changes_what_it_should(command, row):
    check(ROWS, command, row, training)
