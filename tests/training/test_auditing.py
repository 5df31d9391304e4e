"""Which splits an audit looks at."""

from types import SimpleNamespace

import pytest

from tf_simclrv2.training.auditing import audited_splits

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
