"""``probe`` gives an interval only where what it measures is an estimate; else it says a bound."""

from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest

from tests.conftest import FEW_STEPS
from tests.programs.probing import LabelledFolder, table_of
from tf_simclrv2.config import (
    DataConfig,
    FinetuneConfig,
    FineTuningConfig,
    LabelsConfig,
    RunConfig,
)
from tf_simclrv2.evaluation.features import Features
from tf_simclrv2.evaluation.probe import LEFT_OUT, OTHERS, Measured
from tf_simclrv2.programs import probe as program
from tf_simclrv2.programs import probe_report
from tf_simclrv2.training import learnt
from tf_simclrv2.training.frozen import Frozen
from tf_simclrv2.training.frozen_weights import RunWeights


@pytest.fixture
def run(method):
    return method["pretrained"]


@pytest.fixture
def folder(tmp_path):
    """What writes a table of labels of a folder of images."""
    return LabelledFolder(tmp_path)


@pytest.mark.parametrize(("chosen_by", "bound"), [("centres", True), ("random", False)])
def test_of_images_that_were_chosen_it_is_a_bound(command, run, folder, tmp_path, chosen_by, bound):
    flags = folder(12, chosen_by=chosen_by)
    outcome = command("probe", f"--model_dir={run}", *flags, f"--output_dir={tmp_path}")
    assert outcome.code == 0, outcome.err
    assert ("at least" in outcome.out) == bound
    assert (table_of(tmp_path)[0]["high"] == "") == bound


def test_images_that_are_alone_in_their_class_are_wrong_only_when_left_out(
    command, run, folder, tmp_path
):
    flags = folder(12)
    path = tmp_path / "labels.csv"
    lines = path.read_text().splitlines()
    first = next(line for line in lines[1:] if line.endswith(",red"))
    path.write_text("\n".join(line for line in lines if not line.endswith(",red") or line == first))
    outcome = command("probe", f"--model_dir={run}", *flags, f"--output_dir={tmp_path}")
    assert outcome.code == 0, outcome.err
    assert "at least " in outcome.out
    assert "; 1 of them is alone in its class, of which nothing is learnt" in outcome.out
    assert {row["high"] for row in table_of(tmp_path)} == {""}


@pytest.mark.parametrize(
    ("step", "frozen_encoder", "layer", "some"),
    [
        ("finetune", False, "0", True), ("finetune", True, "0", False),
        ("finetune", True, "1", True), ("distill", False, "0", True),
        ("pretrain", False, "1", False),
    ],
)  # fmt: skip
def test_labels_that_the_network_was_trained_on_are_no_measure(
    command, method, tmp_path, step, frozen_encoder, layer, some
):
    run = method[{"pretrain": "pretrained", "distill": "distilled", "finetune": "fine_tuned"}[step]]
    if frozen_encoder:
        flags = ["--label_fraction=0.02", "--fine_tune_after_block=4", "--ft_proj_selector=1"]
        run = str(tmp_path / "head")
        checkpoint = f"--checkpoint={method['pretrained']}"
        tuned = command("finetune", checkpoint, *flags, *FEW_STEPS, f"--model_dir={run}")
        assert tuned.code == 0, tuned.err
    flags = [f"--layer={layer}", "--label_fraction=0.02", "--budgets=12", "--seeds=1"]
    outcome = command("probe", f"--model_dir={run}", *flags, f"--output_dir={tmp_path}/probe")
    assert outcome.code == 0, outcome.err
    assert ("at most " in outcome.out) == some
    assert ("the network was trained on " in outcome.out) == some
    rows = table_of(tmp_path / "probe")
    assert {row["high"] == "" for row in rows if row["measured_on"] == "leave-one-out"} == {some}
    # The test images are others.
    assert all(row["high"] for row in rows if row["measured_on"] == "test")
    audited = command(
        "audit", f"--model_dir={run}", f"--layer={layer}", f"--output_dir={tmp_path}/a"
    )
    assert audited.code == 0, audited.err
    assert ("so wrong ones may look right" in audited.err) == some


@pytest.mark.parametrize("labels", [None, 0.02])
def test_a_run_that_lists_no_labels_was_trained_on_all(labels):
    data = DataConfig(dataset="digits")
    config = FinetuneConfig(
        RunConfig("run"), FineTuningConfig("x"), LabelsConfig(label_fraction=labels), data
    )
    directory = SimpleNamespace(config=config, file=lambda name: "/nowhere")
    weights = mock.create_autospec(RunWeights, instance=True, layer=1, run=directory)
    weights.checkpoint = SimpleNamespace(step=4)
    known = learnt.of_features(Frozen(weights, None, data), {"a": 0, "b": 1})
    assert known == ({"a", "b"} if labels is None else set())
    others = Frozen(weights, None, DataConfig(dataset="digits", train_split="test"))
    assert learnt.of_features(others, {"a": 0}) == set()


def test_a_curve_says_what_it_is_measured_on_and_whether_it_is_a_bound(
    command, run, folder, tmp_path
):
    flags = folder(12, chosen_by="centres")
    output = [f"--output_dir={tmp_path}", "--budgets=6", "--seeds=2"]
    outcome = command("probe", f"--model_dir={run}", *flags, *output)
    assert outcome.code == 0, outcome.err
    assert (
        "of 6 labels, measured on other labelled images; at least that: these images were chosen"
    ) in outcome.out


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, set()),
        ({"a": "random", "v": "random"}, set()),
        ({"b": "coreset"}, {LEFT_OUT, OTHERS}),
        ({"v": "typiclust", "a": "random"}, {"validation"}),
        ({"a": "centres", "v": "centres"}, {LEFT_OUT, OTHERS, "validation"}),
        # Of images that nothing is measured on.
        ({"z": "centres"}, set()),
    ],
)
def test_nothing_measured_on_chosen_images_is_an_estimate(chosen, expected):
    held_out = {"validation": {"v": 0, "w": 1}}
    source = SimpleNamespace(chosen_by=chosen, labelled=held_out.get)
    frozen = SimpleNamespace(source=source, weights=None)
    train = Features(np.zeros([4, 2]), np.array([0, 0, 1, 1]))
    bounds = program._bounds(frozen, train, {"a": 0, "b": 1}, "validation")
    assert bounds == dict.fromkeys(expected, probe_report.CHOSEN)
    for on in (LEFT_OUT, OTHERS, "validation"):
        measured = Measured("ridge", 10, on, 7, 9)
        low_and_high = probe_report._row(measured, "all", bounds)[-2:]
        assert (low_and_high == ["", ""]) == (on in expected)
        assert ("95% interval" in probe_report._sentence(measured, bounds)) == (on not in expected)
    # Of another data set's split the table says nothing.
    bounds = program._bounds(frozen, train, {"a": 0, "b": 1}, "test")
    assert bounds.keys() <= {LEFT_OUT, OTHERS}
