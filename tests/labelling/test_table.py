"""The table of a round."""

import csv
import io

import pytest

from tf_simclrv2.data.label_table import read_labels, read_records
from tf_simclrv2.labelling.table import next_round


def test_a_first_round_has_a_row_without_label_for_each_image():
    table = next_round(["b.png", 'a, "b".png'], "centres")
    assert table.as_csv() == (
        "image,label,chosen_by,number\n"
        "b.png,,centres,1\n"
        '"a, ""b"".png",,centres,2\n'
    )  # fmt: skip
    assert (table.chosen, table.numbers, table.label_column) == ([1, 2], [1, 2], 1)


def test_earlier_rows_stay_first_with_all_their_columns():
    header = ["who", "Label ", " IMAGE", "Number", "Chosen_by"]
    records = {2: ["me", "cat", "1.png", "7", ""], 5: ["you", "", "2.png", "x", ""]}
    table = next_round(["3.png"], "random", header, records)
    assert table.rows == [
        ["who", "Label ", " IMAGE", "Number", "Chosen_by"],
        ["me", "cat", "1.png", "7", ""],
        ["you", "", "2.png", "x", ""],
        ["", "", "3.png", "8", "random"],
    ]
    assert (table.chosen, table.numbers, table.label_column) == ([3], [8], 1)


def test_an_image_that_was_left_without_label_moves_and_keeps_further_columns():
    records = {2: ["a", "", "centres", "1", "see"], 3: ["b", "cat", "centres", "2", ""]}
    header = ["image", "label", "chosen_by", "number", "note"]
    table = next_round(["a", "c"], "random", header, records, {"a": 2})
    assert table.rows[1:] == [
        ["b", "cat", "centres", "2", ""],
        ["a", "", "random", "3", "see"],
        ["c", "", "random", "4", ""],
    ]


@pytest.mark.parametrize(
    ("own", "ours"),
    [
        (["number"], "select_number"),
        (["Number", "select_number"], "select_number_2"),
        (["select_number"], "select_number_2"),
    ],
)
def test_a_column_of_numbers_that_the_user_made_is_kept(own, ours):
    records = {2: ["a", "cat", *"78"[: len(own)]], 3: ["b", "", *"12"[: len(own)]]}
    table = next_round(["b"], "random", ["image", "label", *own], records, {"b": 3})
    assert table.rows == [
        ["image", "label", *own, "chosen_by", ours],
        [*records[2], "", ""],
        [*records[3], "random", "1"],
    ]
    # The next round goes on with the same columns.
    header, *rows = table.rows
    again = next_round(["b", "c"], "centres", header, dict(enumerate(rows)), {"b": 1})
    assert again.rows == [
        header,
        [*records[2], "", ""],
        [*records[3], "centres", "1"],
        ["c", "", *[""] * len(own), "centres", "2"],
    ]


def test_what_is_written_can_be_read_again(tmp_path):
    records = {1: ["a.png", "cat", "x\ry"], 2: ["b.png", "", "x\r\ny\n"], 3: ["c.png", "", "\0"]}
    table = next_round(["d.png"], "centres", ["image", "label", "note"], records)
    path = str(tmp_path / "labels.csv")
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(table.as_csv())
    assert [row.image for row in read_labels(path).rows] == ["a.png", "b.png", "c.png", "d.png"]
    _, found = read_records(path)
    assert [row[2] for row in found.values()] == ["x\ny", "x\ny\n", "", ""]


def test_rounds_add_up():
    table = next_round(["a", "b"], "centres")
    for image in "cd":
        header, *rows = csv.reader(io.StringIO(table.as_csv()))
        table = next_round([image], "coreset", header, dict(enumerate(rows)))
    assert [row[0] for row in table.rows] == ["image", "a", "b", "c", "d"]
    assert [row[3] for row in table.rows[1:]] == ["1", "2", "3", "4"]
