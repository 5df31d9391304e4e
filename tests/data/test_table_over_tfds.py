"""Labels of a table over TensorFlow Datasets: the digits, whose ids are those of that library."""

import pytest

from tf_simclrv2.config import ConfigError, DataConfig
from tf_simclrv2.data.sources import TableSource, open_source


def _labels(source, split):
    """Labels by id, as the pipeline brings them."""
    return {e["id"].decode(): int(e["label"]) for e in source.index(split).as_numpy_iterator()}


@pytest.fixture(scope="module")
def digits():
    """The digits' labels by id."""
    source = open_source(DataConfig())
    return {e["id"].decode(): int(e["label"]) for e in source.index("train").as_numpy_iterator()}


def _open(tmp_path, rows, **settings):
    path = tmp_path / "labels.csv"
    path.write_text("image,label\n" + "".join(f"{image},{label}\n" for image, label in rows))
    return open_source(DataConfig(labels=str(path), **settings))


def test_with_the_data_sets_own_classes_its_test_split_is_evaluated_on(tmp_path, digits):
    rows = list(digits.items())[:50]
    source = _open(tmp_path, rows)
    assert isinstance(source, TableSource) and source.class_names == list("0123456789")
    assert source.evaluation_split(None) == "test" and source.labelled("test") is None
    assert [source.num_examples(split) for split in ("train", "test")] == [1437, 360]
    assert _labels(source, "train") == {**dict.fromkeys(digits, -1), **dict(rows)}
    plain = open_source(DataConfig())
    assert _labels(source, "test") == _labels(plain, "test")
    assert source.fingerprint("test") == plain.fingerprint("test")
    assert source.fingerprint("train") != plain.fingerprint("train")
    # The table is about a part of a split, if that is trained on.
    part = _open(tmp_path, rows, train_split="train[:60]")
    assert part.num_examples("train[:60]") == 60 and len(part.labelled("train[:60]")) == 50
    assert part.num_examples("train[60:]") == 1377
    with pytest.raises(ConfigError, match=r"name no image of --dataset=digits train\[:9\]"):
        _open(tmp_path, rows, train_split="train[:9]")


def test_with_other_classes_a_part_of_the_table_is(tmp_path, digits):
    rows = [(image, "odd" if label % 2 else "even") for image, label in digits.items()][:100]
    source = _open(tmp_path, rows)
    assert source.class_names == ["even", "odd"]
    assert source.splits == ["train", "validation"]
    assert source.num_examples("train") + source.num_examples("validation") == 1437
    assert 9 <= source.num_examples("validation") <= 11
    with pytest.raises(ConfigError, match="digits has the splits train, validation"):
        source.check_split("test", "eval_split")


def test_a_split_of_the_table_is_none_to_train_on(tmp_path):
    examples = open_source(DataConfig()).index("test").take(2).as_numpy_iterator()
    rows = [(each["id"].decode(), f"{each['label']},test") for each in examples]
    path = tmp_path / "labels.csv"
    path.write_text("image,label,split\n" + "".join(f"{image},{rest}\n" for image, rest in rows))
    with pytest.raises(ConfigError, match="has images of test, but --train_split=test trains on a"):
        open_source(DataConfig(labels=str(path), train_split="test"))
