"""Tables of labels as people have them: what is read, and what is refused by which sentence."""

import csv
import os
import random
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_simclrv2.config import ConfigError
from tf_simclrv2.data.label_table import Row, read_classes, read_labels, read_records

ROWS = [("a/1.png", "cat"), ("b;2.png", "dog"), ("c,3.png", ""), ("ü 4.png", "big cat")]


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "labels.csv")


def _write(path, content):
    with open(path, "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode())
    return path


def _pairs(path):
    return [(row.image, row.label) for row in read_labels(path).rows]


def _refused(path, content):
    with pytest.raises(ConfigError) as error:
        read_labels(_write(path, content))
    sentence = str(error.value)
    assert sentence.startswith(f"--labels={path}: ") and sentence.endswith(".")
    assert "\n" not in sentence
    return sentence[len(f"--labels={path}: ") :]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_what_spreadsheets_write_is_read(path, delimiter, encoding, ends, quoting):
    with open(path, "w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator=ends, quoting=quoting)
        writer.writerows([("image", "label"), *ROWS])
    table = read_labels(path)
    assert [(row.image, row.label) for row in table.rows] == ROWS
    assert [row.number for row in table.rows] == [2, 3, 4, 5]
    assert table.classes == ["big cat", "cat", "dog"] and not table.has_splits


def test_columns_are_found_by_their_names_in_any_case_and_order(path):
    _write(path, 'who,"say ""hi""", LABEL ,Image\nme,1,cat,a.png\n,,,\n\nyou,2, dog ,b.png\n')
    assert read_labels(path).rows == [
        Row(2, "a.png", "cat", "train"),
        Row(5, "b.png", "dog", "train"),
    ]


def test_letters_in_either_spelling_are_one_class(path):
    _write(path, "image,label\n1.png,cafe\u0301\n2.png,caf\u00e9\n")
    assert [row.label for row in read_labels(path).rows] == ["caf\u00e9", "caf\u00e9"]


def test_lines_are_those_that_an_editor_shows(path):
    _write(path, '\n\nimage,label,note\r\n1.png,a,"two\r\nlines"\r\n\r\n"2\n.png",b,\n3.png,c,x\n')
    found = [(row.number, row.image) for row in read_labels(path).rows]
    assert found == [(4, "1.png"), (7, "2\n.png"), (9, "3.png")]


def test_splits_by_their_usual_names(path):
    names = ["", "train", "Training", " val", "valid", "validation", "DEV", "test", "testing"]
    _write(path, "image,label,split\n" + "".join(f"{i},x,{name}\n" for i, name in enumerate(names)))
    table = read_labels(path)
    assert table.has_splits
    assert [row.split for row in table.rows] == ["train"] * 3 + ["validation"] * 4 + ["test"] * 2


REFUSED = {
    "empty": ("", "must be a table with the columns image and label, but is empty."),
    "a mark alone": (b"\xef\xbb\xbf", "must be a table with the columns image and label, but is e"),
    "blanks": ("\n \n\n", "must be a table with the columns image and label, but is empty."),
    "no rows": ("image,label\n\n,\n", "must have a row for each image that was labelled, but has"),
    "one column": ("image\n1.png\n", "must have the columns image and label, but its first line "
                   "has no label: image."),
    "no header": ("1.png,cat\n", "but its first line has no image and no label: 1.png, cat."),
    "another delimiter": ("image|label\n1|2\n", "has no image and no label: image|label."),
    "a column twice": ("image,label,Label\n1,2,3\n", "must have one column label, but has several"),
    "a short row": ("image,label\n1.png,a\n2.png\n", "line 3 has 1 columns, but the header has 2"),
    "a long row": ("image,label\n1.png,a,b\n", "line 2 has 3 columns, but the header has 2; a te"),
    "no image": ("image,label\n1.png,a\n,b\n", "line 3 names no image."),
    "an open quote": ('image,label\n1.png,a\n2.png,"b\n3.png,c\n', "line 3 can't be read as a row "
                      "of a table: its quote is never closed."),
    "a quote in the middle": ('image,label\n"1"x.png,a\n', "line 2 can't be read as a row of a t"),
    "a huge field": (f"image,label\n1.png,{'x' * 200_000}\n", "line 2 can't be read as a row of a "
                     "table: field larger than field limit (131072)."),
    "a huge header": ("x" * 200_000, "line 1 can't be read as a row of a table: field larger"),
    "a split of another name": ("image,label,split\n1,a,train\n2,b,holdout\n", "line 3 has the "
                                "split holdout, which must be train, validation or test."),
    "a label of two lines": ('image,label\n1,a\n2,"b\nc"\n', "line 3 has the label b\\nc, which m"),
    "no UTF-8": (b"image,label\n1.png,caf\xe9\n", "must be a text file in UTF-8, but line 2 is not"
                 ": it reads 1.png,caf\\xe9."),
    "NUL": (b"image,label\n1.png,a\n2\0,b\n", "must be a text file in UTF-8, but line 3 is not: it "
            "has a NUL byte."),
    "a spreadsheet's own file": (b"PK\x03\x04\x14\0\0\0", "line 1 is not: it has a NUL byte."),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_table_that_cannot_be_read_is_refused_with_its_line(path, case):
    content, words = REFUSED[case]
    assert words in _refused(path, content)


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo.csv")
    os.mkfifo(tmp_path / "fifo.parquet")
    os.makedirs(tmp_path / "folder.parquet")
    for name, words in {
        "": "must be a readable text file, but is a directory",
        "none.csv": "must be a readable text file, but is not there",
        "fifo.csv": "must be a readable text file, but is a FIFO",
        "none.parquet": "must be a readable Parquet file, but is not there",
        "fifo.parquet": "must be a readable Parquet file, but is a FIFO",
        "folder.parquet": "must be a readable Parquet file, but is a directory",
    }.items():
        with pytest.raises(ConfigError, match=words):
            read_labels(str(tmp_path / name))


class TestParquet:
    """The same of Parquet files, whose columns have types."""

    pyarrow = pytest.importorskip("pyarrow")

    def _write(self, tmp_path, **columns):
        import pyarrow.parquet

        path = str(tmp_path / "labels.PARQUET")
        pyarrow.parquet.write_table(self.pyarrow.table(columns), path)
        return path

    def test_values_become_their_texts(self, tmp_path):
        columns = {"Image": ["1.png", "2.png", "3.png", "4.png"], "features": [[0.5]] * 4}
        path = self._write(tmp_path, label=[1.0, None, float("nan"), 2.5], **columns)
        assert [row.label for row in read_labels(path).rows] == ["1", "", "", "2.5"]
        path = self._write(tmp_path, label=[3, None, 10, 2], **columns)
        assert [row.label for row in read_labels(path).rows] == ["3", "", "10", "2"]
        labels = self.pyarrow.array(["x", None, "", " y "]).dictionary_encode()
        path = self._write(tmp_path, label=labels, split=["test", None, "train", ""], **columns)
        assert read_labels(path).rows == [
            Row(1, "1.png", "x", "test"), Row(2, "2.png", "", "train"),
            Row(3, "3.png", "", "train"), Row(4, "4.png", "y", "train"),
        ]  # fmt: skip

    def test_dates_that_python_does_not_have_become_texts(self, tmp_path):
        fine = self.pyarrow.array([1, 10**18 + 1], self.pyarrow.timestamp("ns"))
        path = self._write(tmp_path, image=["1.png", "2.png"], label=["a", "b"], labelled_at=fine)
        header, records = read_records(path)
        assert header == ["image", "label", "labelled_at"]
        assert records[2] == ["2.png", "b", "2001-09-09 01:46:40.000000001"]

    def test_columns_of_one_name_are_refused(self, tmp_path):
        pyarrow = self.pyarrow
        columns = [pyarrow.array([text]) for text in ("1.png", "a", "x", "y")]
        path = str(tmp_path / "labels.parquet")
        table = pyarrow.table(columns, names=["image", "label", "note", "note"])
        pyarrow.parquet.write_table(table, path)
        assert read_labels(path).rows == [Row(1, "1.png", "a", "train")]
        with pytest.raises(ConfigError, match="must be a readable Parquet file"):
            read_records(path)

    def test_rows_are_named_where_lines_are_none(self, tmp_path):
        path = self._write(tmp_path, image=["1.png", None], label=["a", "b"])
        with pytest.raises(ConfigError, match="row 2 names no image"):
            read_labels(path)
        path = self._write(tmp_path, image=["1.png"], label=[["a"]])
        with pytest.raises(ConfigError, match="row 1 must have texts or numbers"):
            read_labels(path)
        path = self._write(tmp_path, image=["1.png"], class_name=["a"])
        with pytest.raises(ConfigError, match="has no label: image, class_name"):
            read_labels(path)

    @pytest.mark.parametrize("kept", [0, 3, 40, -1])
    def test_a_damaged_file_is_refused(self, tmp_path, kept):
        path = self._write(tmp_path, image=["1.png"], label=["a"])
        with open(path, "rb+") as file:
            file.truncate(os.path.getsize(path) - 1 if kept < 0 else kept)
        with pytest.raises(ConfigError, match="must be a readable Parquet file"):
            read_labels(path)


class TestClasses:
    """The file of ``--classes``."""

    def test_names_keep_their_order(self, tmp_path):
        path = _write(str(tmp_path / "classes.txt"), b"\xef\xbb\xbfdog\r\n\r\n big cat \r\nant")
        assert read_classes(path) == ["dog", "big cat", "ant"]

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "must name two classes or more, but names 0"),
            (b"cat\n", "must name two classes or more, but names 1"),
            (b"cat\ndog\n\ncat\n", "cat is in line 1 and line 4"),
            (b"cat\ncaf\xe9\n", "line 2 is not: it reads caf\\xe9"),
            (b"cat\nd\x07g\n", "line 2 must be printable: d\\x07g"),
        ],
    )
    def test_others_are_refused(self, tmp_path, content, words):
        path = _write(str(tmp_path / "classes.txt"), content)
        with pytest.raises(ConfigError) as error:
            read_classes(path)
        assert str(error.value).startswith(f"--classes={path}: ") and words in str(error.value)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([b"", b"image,label\n", b"image;label;split\n"]))
def test_any_bytes_are_read_or_refused_in_one_sentence(tmp_path_factory, content, header):
    path = str(tmp_path_factory.getbasetemp() / "fuzzed.csv")
    _write(path, header + content)
    try:
        table = read_labels(path)
    except ConfigError as error:
        assert "\n" not in str(error)
    else:
        lines = (header + content).replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n") + 1
        assert table.rows and all(1 < row.number <= lines for row in table.rows)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_blanks_before_a_quote_are_not_of_the_cell(path, delimiter):
    lines = ["image, label, note", '1.png, "cat", "a"', "2.png,cat, b", '"3.png",  "a, b",']
    _write(path, "\n".join(line.replace(",", delimiter, 2) for line in lines[:3]))
    assert _pairs(path) == [("1.png", "cat"), ("2.png", "cat")]
    _write(path, "\n".join(["image, label, note", *lines[1:]]))
    assert _pairs(path)[2] == ("3.png", "a, b")


def test_what_is_written_is_what_is_read(path):
    letters = string.ascii_letters + ",;\t\"'\n é"
    for seed in range(20):
        drawn = random.Random(seed)
        texts = ["".join(drawn.choices(letters, k=9)) + "." for _ in range(12)]
        rows = [(text, drawn.choice(["x", "it's", 'a "b"', ""])) for text in texts]
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter=drawn.choice(",;\t"))
            writer.writerows([("image", "label"), *rows])
        assert _pairs(path) == rows
