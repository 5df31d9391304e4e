"""Results say what they are of: evaluations are kept by data set, and the run's own stays."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.conftest import DIGITS_VIEWS
from tf_simclrv2.config import ConfigError, DataConfig
from tf_simclrv2.data.sources import FolderSource
from tf_simclrv2.runtime import results
from tf_simclrv2.runtime.run_directory import RunDirectory

TINY = ["--resnet_depth=18", "--width_multiplier=0.03125", "--image_size=8"]
ONE_STEP = ["--train_steps=1", "--train_batch_size=4", "--log_every_steps=1"]


def _images(root, **counts):
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.random.RandomState(number).randint(0, 256, (9, 9, 3), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder to train on, another one, and one that lacks a class."""
    root = tmp_path_factory.mktemp("folders")
    _images(root / "own", cat=10, dog=10)
    _images(root / "new", cat=6, dog=5)
    _images(root / "some", dog=3)
    _images(root / "strange", cat=3, cow=3)
    return root


@pytest.mark.slow
def test_an_evaluation_on_another_folder_leaves_the_runs_own(command, folders, tmp_path):
    run = tmp_path / "run"
    flags = ["--from_scratch", "--dataset=folder", f"--data_dir={folders}/own", *DIGITS_VIEWS]
    outcome = command("finetune", *flags, *TINY, *ONE_STEP, f"--model_dir={run}")
    assert outcome.code == 0, outcome.err
    assert "views: crops of 0.08 to 1 of the area, no flips, no colours, no blur" in outcome.out
    own = json.loads((run / "result.json").read_text())
    assert (own["num_examples"], own["split"], own["checkpoint"]) == (2, "validation", "ckpt-1")
    assert own["data_dir"] == str(folders / "own") and own["fingerprint"]

    evaluate = ["evaluate", f"--model_dir={run}"]
    outcome = command(*evaluate, f"--data_dir={folders}/new")
    assert outcome.code == 0 and "on 11 images of folder in " in outcome.out, outcome.err
    outcome = command(*evaluate, f"--data_dir={folders}/some")
    assert outcome.code == 0 and "on 3 images of folder in " in outcome.out, outcome.err
    # The same again, and of the run's own data another split and the same by another spelling.
    assert command(*evaluate, f"--data_dir={folders}/new/").code == 0
    assert command(*evaluate, "--eval_split=train").code == 0
    assert command(*evaluate, f"--data_dir={folders}/some/../own").code == 0
    content = json.loads((run / "result.json").read_text())
    others = content.pop("other_evaluations")
    assert content == own and own.pop("version") == 2
    assert own == RunDirectory(str(run)).result()
    assert sorted((o["data_dir"], o["split"], o["num_examples"]) for o in others) == [
        (str(folders / "new"), "all", 11),
        (str(folders / "own"), "train", 18),
        (str(folders / "some"), "all", 3),
    ]
    assert len({other["fingerprint"] for other in others}) == 3

    before = (run / "result.json").read_bytes()
    outcome = command(*evaluate, f"--data_dir={folders}/strange")
    assert outcome.code == 1 and "must have the 2 classes of the run" in outcome.err
    assert "but it has cow" in outcome.err and outcome.err.count("\n") == 1
    assert (run / "result.json").read_bytes() == before

    # A damaged file is put aside, not overwritten.
    (run / "result.json").write_bytes(before[:20])
    assert command(*evaluate, f"--data_dir={folders}/some").code == 0
    assert (run / "result.json.damaged").read_bytes() == before[:20]
    assert RunDirectory(str(run)).result() is None


def _result(step=4, split="test", **more):
    return {"step": step, "dataset": "d", "data_dir": None, "split": split, "eval_steps": 0, **more}


def test_evaluations_are_told_apart_by_data_and_weights():
    content = results.added({}, _result(split="train"), is_own=False)
    assert results.own(content) is None
    content = results.added(content, _result(), is_own=True)
    content = results.added(content, _result(step=2), is_own=True)
    assert results.own(content)["step"] == 4
    assert results.own(content, step=2) == _result(step=2)
    assert results.own(content, step=3) is None
    content = results.added(content, _result(step=8), is_own=True)
    assert [results.own(content, step)["step"] for step in (None, 2, 4, 8)] == [8, 2, 4, 8]
    assert len(content["other_evaluations"]) == 3
    # Of an earlier version.
    old = {"step": 4, "dataset": "d", "split": "test"}
    assert results.own(old) == old and results.own(old, step=4) == old


@pytest.mark.parametrize("text", ["", "[]", "{", '{"other_evaluations": 3}', "[" * 100_000])
def test_a_damaged_result_is_one_sentence(tmp_path, text):
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(ConfigError, match="is damaged; move it away"):
        results.read(str(tmp_path / "result.json"))


def test_a_fingerprint_tells_folders_apart_and_copies_not(folders, tmp_path):
    def fingerprint(root):
        data = DataConfig(dataset="folder", data_dir=str(root), holdout_fraction=0)
        return FolderSource(data).fingerprint("train")

    shutil.copytree(folders / "new", tmp_path / "copy")
    assert fingerprint(tmp_path / "copy") == fingerprint(folders / "new")
    (tmp_path / "copy" / "cat" / "0.png").rename(tmp_path / "copy" / "dog" / "9.png")
    assert fingerprint(tmp_path / "copy") != fingerprint(folders / "new")


WITHOUT_SPLITS = {
    "no split to evaluate on": (
        {"train/cat": 2, "train/dog": 2}, [],
        ["has no split validation or test to evaluate on, but train", "--mode=train"]),
    "no split to train on": (
        {"cat/a": 2, "dog/b": 2}, [], ["has no split train, but cat, dog", "--train_split=NAME"]),
    "a class of one image": (
        {"cat": 1, "dog": 2}, [],
        ["class cat has 1 image,", "--holdout_fraction=0 and --mode=train"]),
    "a class without an image to train on": (
        {"train/cat": 4, "train/dog": 4, "test/cat": 2, "test/cow": 2}, ["--from_scratch"],
        ["train has no image of 1 of the 3 classes (cow)"]),
}  # fmt: skip


@pytest.mark.parametrize("case", WITHOUT_SPLITS)
def test_what_is_missing_is_said_with_what_to_do(command, tmp_path, case):
    counts, flags, words = WITHOUT_SPLITS[case]
    root = _images(tmp_path / "images", **counts)
    outcome = command(
        "finetune" if flags else "pretrain", *flags, "--dataset=folder", f"--data_dir={root}",
        *TINY, *ONE_STEP, f"--model_dir={tmp_path}/run",
    )  # fmt: skip
    assert outcome.code == 1 and outcome.err.count("\n") == 1
    # It begins with what was given.
    assert outcome.err.startswith(f"error: --data_dir={root}: ")
    for word in words:
        assert word in outcome.err
    assert not (tmp_path / "run").exists()


DISTILL = ["distill", "--distillation_alpha=0.5", "--train_steps=1", "--train_batch_size=10",
           "--mode=train", "--image_size=8"]  # fmt: skip


@pytest.mark.slow
def test_distillation_uses_the_labels_of_its_teacher(command, method, folders, tmp_path):
    teacher = f"--teacher={method['fine_tuned']}"
    listed = RunDirectory(method["fine_tuned"]).file("labelled_examples.txt")
    outcome = command(*DISTILL, teacher, f"--model_dir={tmp_path}/run")
    assert outcome.code == 0, outcome.err
    assert "labels of 29 examples of digits train are used, those of the teacher" in outcome.out
    assert "no flips" in outcome.out.splitlines()[0]
    with open(listed) as file:
        assert (tmp_path / "run" / "labelled_examples.txt").read_text() == file.read()
    # The teacher's teacher's.
    outcome = command(*DISTILL, f"--teacher={method['distilled']}", f"--model_dir={tmp_path}/two")
    assert outcome.code == 0, outcome.err
    assert "labels of 29 examples" in outcome.out
    # Only where the teacher's examples are.
    (tmp_path / "store").mkdir()
    outcome = command(
        *DISTILL, teacher, "--dataset=digits", f"--data_dir={tmp_path}/store", "--label_seed=1",
        f"--model_dir={tmp_path}/new",
    )  # fmt: skip
    assert outcome.code == 1 and "--label_seed=1: needs --label_fraction" in outcome.err
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_a_run_that_began_with_all_labels_continues_with_them(command, method, tmp_path):
    run = tmp_path / "run"
    flags = [*DISTILL, f"--teacher={method['fine_tuned']}", f"--model_dir={run}"]
    outcome = command(*flags, "--label_fraction=1")
    assert outcome.code == 0, outcome.err
    assert "labels of 1,437 examples of digits train are used, as the flags say" in outcome.out
    # As an earlier version wrote it.
    content = json.loads((run / "config.json").read_text())
    content["config"]["labels"]["label_fraction"] = None
    content["config"]["augmentation"]["use_flip"] = True
    (run / "config.json").write_text(json.dumps(content))
    outcome = command(*flags)
    assert outcome.code == 0, outcome.err
    assert "as when this run began" in outcome.out and ", flips," in outcome.out
