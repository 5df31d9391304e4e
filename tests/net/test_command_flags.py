"""Every flag of the commands that train nothing reaches its use."""

import pytest

from tests.net.command_rows import ROWS
from tests.net.commands import ran
from tests.net.table import cases, check, named


@pytest.mark.parametrize(("command", "row"), cases(ROWS), ids=named)
def test_another_value_changes_what_it_should(command, row):
    check(ROWS, command, row, ran)
