"""Which splits an audit looks at, and which images it takes for copies."""

from types import SimpleNamespace

import numpy as np
import pytest

from tf_simclrv2.training import auditing
from tf_simclrv2.training.auditing import Auditor, audited_splits
from tf_simclrv2.training.frozen import Stored

NUM_OF = {"train": 9, "Test": 3, "validation": 2, "val": 0, "extra": 4}


def _num_examples(split):
    return NUM_OF[split]


@pytest.mark.parametrize(
    ("of_run", "asked", "expected"),
    [
        (None, None, ["Test", "validation"]),
        ("validation", None, ["Test", "validation"]),
        ("extra", None, ["Test", "validation", "extra"]),
        # Of a data set that was divided in another way.
        ("dev", None, ["Test", "validation"]),
        ("validation", "Test", ["Test"]),
        ("validation", "extra", ["extra"]),
        ("train", "train", []),
    ],
)
def test_all_splits_to_evaluate_on_are_audited_unless_one_is_asked_for(of_run, asked, expected):
    source = SimpleNamespace(splits=list(NUM_OF), num_examples=_num_examples)
    data = SimpleNamespace(train_split="train", eval_split=of_run)
    found = audited_splits(SimpleNamespace(source=source, data=data), asked)
    assert found == ["train", *expected]


def _towards(angle):
    """Features of images, before and behind a centre at 0."""
    return np.array([np.cos(angle), np.sin(angle)], np.float32)


def test_a_copy_is_found_though_another_image_has_more_similar_features(monkeypatch):
    random = np.random.RandomState(0)
    picture, other = random.randint(0, 256, [2, 16, 16, 3], np.uint8)
    directions = [_towards(angle) for angle in (0.0, 0.1, 0.08)]
    values = np.stack([*directions, *(-each for each in directions)])
    pixels = {"a": picture, "b": other, "copy": picture}
    pixels.update({each: random.randint(0, 256, [16, 16, 3], np.uint8) for each in "xyz"})
    stored = {
        "train": Stored(list(pixels), values, np.full(6, -1)),
        "test": Stored(["leak"], values[2:3], np.full(1, -1)),
    }
    pixels["leak"] = picture
    monkeypatch.setattr(auditing, "pictures", lambda _, __, ids: [(i, pixels[i]) for i in ids])
    source = SimpleNamespace(class_names=None, without_labels=lambda what: ValueError(what))
    data = SimpleNamespace(train_split="train")
    frozen = SimpleNamespace(source=source, data=data, features=stored.__getitem__)
    pairs = Auditor(frozen, list(stored)).audit().pairs
    found = {(pair.first.id, pair.second.id, pair.leaks) for pair in pairs}
    assert found == {("a", "copy", False), ("copy", "leak", True)}
