"""No flag is without a row, and no row without a flag."""

import pytest

from tests.net import command_rows, image_rows, training_rows
from tests.net.held import flags_of_commands

FLAGS = flags_of_commands()
TABLES = (command_rows.ROWS, image_rows.ROWS, training_rows.ROWS)


def test_every_command_with_flags_is_in_a_table():
    commands = {command for command, flags in FLAGS.items() if flags}
    assert {command for table in TABLES for command in table} == commands


@pytest.mark.parametrize("command", FLAGS)
def test_every_flag_has_a_row_and_every_row_a_flag(command):
    rows = {row.flag for table in TABLES for row in table.get(command, [])}
    assert rows == set(FLAGS[command])
