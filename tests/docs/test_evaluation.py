"""The guide to evaluation explains each number in two sentences, and says where it comes from."""

import os
import re

import pytest

_GUIDE = os.path.join(os.path.dirname(__file__), "..", "..", "docs", "evaluation.md")
_HEADER = re.compile(r"^\| (?:number|evaluator) \| what it is \| source \|$")


def _rows():
    with open(_GUIDE, encoding="utf-8") as file:
        lines = file.read().splitlines()
    found, is_inside = [], False
    for line in lines:
        is_inside = line.startswith("|") and (is_inside or bool(_HEADER.match(line)))
        if is_inside and not _HEADER.match(line) and not line.startswith("|--"):
            found.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return found


@pytest.mark.parametrize("row", _rows(), ids=lambda row: row[0])
def test_a_number_has_two_sentences_and_a_source(row):
    _, explained, source = row
    assert len(re.findall(r"\.(?: |$)", explained)) >= 2
    assert len(source.strip(" |")) > 10


def test_all_tables_are_read():
    names = " ".join(row[0] for row in _rows())
    for name in ("accuracy", "images", "loss", "scaled", "classifier", "McNemar"):
        assert name in names
