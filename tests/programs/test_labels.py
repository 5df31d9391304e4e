"""Runs on the labels of a table, from the command line."""

import json
import os
import re

import numpy as np
import pytest
from PIL import Image

from export import measured as card_of_measured
from export import model_card
from tests.conftest import DIGITS_VIEWS, FEW_STEPS, TINY
from tf_simclrv2.programs.main import main
from tf_simclrv2.runtime.run_directory import RunDirectory

FILES = [f"{folder}/{number}.png" for number in range(20) for folder in ("a", "b/c", "b/c/d")]
CLASSES = ("dark", "light")


def _table(path, count, first=0, column=""):
    """Labels of ``count`` images from the ``first`` on, in turn of both classes."""
    rows = enumerate(FILES[first : first + count])
    lines = [f"{file},{CLASSES[number % 2]}{column}\n" for number, file in rows]
    path.write_text(f"image,label{',split' * bool(column)}\n" + "".join(lines))
    return f"--labels={path}"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder of sixty images, at any depth, and tables of some labels."""
    root = tmp_path_factory.mktemp("labels")
    random = np.random.RandomState(0)
    for number, file in enumerate(FILES):
        os.makedirs(root / "images" / os.path.dirname(file), exist_ok=True)
        image = random.randint(0, 100, (8, 8, 3)) + 100 * (number % 2)
        Image.fromarray(image.astype(np.uint8)).save(root / "images" / file)
    _table(root / "labels.csv", 30)
    _table(root / "more.csv", 36)
    _table(root / "few.csv", 8)
    _table(root / "test.csv", 20, first=40)
    return root


def _finetune(root, method, *flags):
    return (
        "finetune", *FEW_STEPS, *DIGITS_VIEWS, f"--checkpoint={method['pretrained']}",
        "--dataset=folder", f"--data_dir={root}/images", *flags,
    )  # fmt: skip


@pytest.fixture(scope="module")
def fine_tuned(root, method):
    """A run of fine-tuning on ``labels.csv``, of which 10% of 15 of each class are held out."""
    path = str(root / "fine_tuned")
    flags = [f"--labels={root}/labels.csv", "--head_start=ridge", f"--model_dir={path}"]
    assert main(_finetune(root, method, *flags)) == 0
    return path


def _content(run, name):
    with open(os.path.join(run, name), encoding="utf-8") as file:
        return json.load(file) if name.endswith(".json") else file.read()


def test_fine_tuning_learns_from_the_labelled_images_alone(root, fine_tuned):
    data, result = _content(fine_tuned, "data.json"), _content(fine_tuned, "result.json")
    assert (data["num_examples"], data["num_labelled"]) == (56, 26)
    assert data["labels"] == result["labels"] == str(root / "labels.csv")
    assert (result["split"], result["num_examples"]) == ("validation", 4)
    lines = _content(fine_tuned, "labelled_examples.txt").splitlines()
    expected = {f"{file}\t{CLASSES[number % 2]}" for number, file in enumerate(FILES[:30])}
    assert len(lines) == 26 and set(lines) < expected
    assert _content(fine_tuned, "config.json")["class_names"] == list(CLASSES)
    card = model_card._labels(RunDirectory(fine_tuned))
    assert (
        card.replace("\\", "")
        == f"26 examples of the split, of those in the table {root}/labels.csv"
    )


def test_a_run_continues_on_the_same_labels_only(command, root, method, fine_tuned, monkeypatch):
    def again(labels):
        flags = [f"--labels={labels}", "--head_start=ridge", f"--model_dir={fine_tuned}"]
        return command(*_finetune(root, method, *flags))

    refused = again(f"{root}/more.csv")
    assert refused.code == 1
    assert f"labels was {root}/labels.csv and is now {root}/more.csv" in refused.err
    monkeypatch.chdir(root / "images" / "a")
    assert again("../../labels.csv").code == 0
    # Others find the table from where the run began.
    recorded = _content(fine_tuned, "config.json")["config"]["data"]["labels"]
    assert recorded == f"{root}/labels.csv"
    (root / "linked.csv").symlink_to(root / "labels.csv")
    before = _content(root, "labels.csv"), _content(fine_tuned, "labelled_examples.txt")
    try:
        _table(root / "labels.csv", 36)
        refused = again(f"{root}/linked.csv")
        measured = command("evaluate", f"--model_dir={fine_tuned}", "--baselines")
    finally:
        (root / "labels.csv").write_text(before[0])
    assert refused.code == 1 and refused.err.count("\n") == 1
    assert re.match(
        rf"error: --labels={root}/linked.csv: has changed since the run in {fine_tuned} began "
        r"\(\d+ labels are new or others, \d+ are gone or were others, such as that of .*\.png\), "
        r"so put the table back as it was, or train in another directory\.",
        refused.err,
    ), refused.err
    assert measured.code == 1 and "on the same labels can't be measured" in measured.err
    assert _content(fine_tuned, "labelled_examples.txt") == before[1]


def test_evaluation_on_other_labels_stands_beside_the_own(command, root, fine_tuned):
    own = _content(fine_tuned, "result.json")["fingerprint"]
    outcome = command("evaluate", f"--model_dir={fine_tuned}", f"--labels={root}/test.csv")
    assert outcome.code == 0 and "too high" not in outcome.err
    content = _content(fine_tuned, "result.json")
    (other,) = content["other_evaluations"]
    assert (other["split"], other["num_examples"]) == ("all", 20)
    assert other["labels"] == str(root / "test.csv") and content["fingerprint"] == own
    # A copy of the same table is the same data.
    (root / "copy.csv").write_text(_content(root, "labels.csv"))
    outcome = command("evaluate", f"--model_dir={fine_tuned}", f"--labels={root}/copy.csv",
                      "--eval_split=all")  # fmt: skip
    assert outcome.code == 0 and _content(fine_tuned, "result.json")["fingerprint"] == own
    (root / "one.csv").write_text(f"image,label\n{FILES[1]},light\n")
    assert command("evaluate", f"--model_dir={fine_tuned}", f"--labels={root}/one.csv").code == 0
    (root / "others.csv").write_text(f"image,label\n{FILES[0]},dark\n{FILES[1]},blue\n")
    refused = command("evaluate", f"--model_dir={fine_tuned}", f"--labels={root}/others.csv")
    assert refused.code == 1
    assert "line 3 has the label blue, which is none of the classes of the run (dark, light)" in (
        refused.err
    )


REFUSED = {
    "an unknown image": ("image,label\na/0.png,x\na/99.png,y\n", [], "a/99.png in line 3"),
    "two labels": ("image,label\na/0.png,x\n./a/0.png,y\n", [], "labelled x in line 2, but y in l"),
    "no class of the list": ("image,label\na/0.png,x\nb/c/0.png,z\n", ["--classes={root}/xy.txt"],
                             "line 3 has the label z, which is none of the classes of --classes="),
    "an unknown split": ("image,label,split\na/0.png,x,all\n", [], "line 2 has the split all, whi"),
    "one class": ("image,label\na/0.png,x\na/1.png,x\n", [], "has labels of 1 class, but fine-tun"),
    "one class of the list": ("image,label\na/0.png,x\na/1.png,x\n", ["--classes={root}/xy.txt"],
                              "has labels of 1 class, but fine-tuning needs two or more"),
    "no label": ("image,label\na/0.png,\n", [], "has labels of 0 classes, but fine-tuning needs"),
    "no table": ("", [], "is empty"),
    "a list beside it": ("image,label\na/0.png,x\nb/c/0.png,y\n", ["--label_subset_file=list.txt"],
                         "--label_subset_file=list.txt: can't be combined with --labels="),
    "nothing to evaluate": ("image,label\na/0.png,x\nb/c/0.png,y\n", ["--eval_split=validation"],
                            "--eval_split=validation: folder has the splits train"),
    "nothing for baselines": ("image,label\na/0.png,x\nb/c/0.png,y\n", ["--baselines"],
                              "--baselines=True: stands beside the evaluation, but --labels="),
    "only tested": ("image,label,split\na/0.png,x,test\nb/c/0.png,y,test\n", [],
                    "has no label for an image of train"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_table_is_refused_before_anything_is_written(command, root, method, tmp_path, case):
    table, flags, words = REFUSED[case]
    (root / "xy.txt").write_text("x\ny\n")
    (tmp_path / "labels.csv").write_text(table)
    flags = [flag.format(root=root) for flag in flags]
    labels = [f"--labels={tmp_path}/labels.csv", f"--model_dir={tmp_path}/run"]
    outcome = command(*_finetune(root, method, *labels, *flags))
    assert outcome.code == 1 and "Traceback" not in outcome.err
    # A warning about a class without an image may stand before it.
    sentence = outcome.err.splitlines()[-1]
    assert sentence.startswith("error: ") and words in sentence, outcome.err
    assert not (tmp_path / "run").exists()


def test_training_ends_without_evaluation_where_nothing_is_held_out(
    command, root, method, tmp_path
):
    flags = [f"--labels={root}/few.csv", f"--model_dir={tmp_path}/run"]
    outcome = command(*_finetune(root, method, *flags))
    assert outcome.code == 0
    assert f"not evaluated, since --labels={root}/few.csv holds out nothing" in outcome.out
    # What it was trained on is not its own result, and another table is all that the card has.
    run = RunDirectory(str(tmp_path / "run"))
    assert run.result() is None and run.of_run("cross_validation")["images"] == 8
    (validated,) = [line for line in outcome.out.splitlines() if "cross-validation " in line]
    assert "on 8 labelled images in 4 folds" in validated and "95% interval" in validated
    outcome = command("evaluate", f"--model_dir={run.path}", "--eval_split=train")
    assert outcome.code == 0 and run.result() is None
    learnt = (
        "8 of the 8 images of train are among those whose labels it was trained on (such as "
        f"{FILES[0]}), so its accuracy is too high"
    )
    assert f"{run.path}: {learnt}" in outcome.err
    assert card_of_measured.accuracy(run, 4, False).startswith(
        "not measured; its labels give ridge"
    )
    assert command("evaluate", f"--model_dir={run.path}", f"--labels={root}/test.csv").code == 0
    card = card_of_measured.accuracy(run, 4, False).replace("\\", "")
    (_, other) = run.other_results()
    low, high = other["classifier"]["interval"]
    assert card.startswith(
        f"not measured on the run's own data; top-1 {other['top_1_accuracy']:.1%} (95% interval "
        f"{low:.1%} to {high:.1%}) on 20 images of folder in {root}/images all with the labels of "
        f"{root}/test.csv, at step 4; its labels give ridge regression"
    )
    assert card_of_measured.accuracy(run, 3, False).startswith("not measured; its labels give")


@pytest.mark.slow
def test_a_student_without_labels_belongs_to_its_table(command, root, fine_tuned, tmp_path):
    """It is told which images to evaluate on have labels that its teacher has learnt."""
    learnt = _content(fine_tuned, "labelled_examples.txt").splitlines()[0].split("\t")[0]
    table = tmp_path / "labels.csv"
    labels = _table(table, 36, column=",train")
    table.write_text(
        re.sub(rf"(?m)^{learnt},(.*),train$", rf"{learnt},\1,validation", table.read_text())
        + f"{FILES[40]},dark,validation\n"
    )
    run = tmp_path / "student"
    distill = ["distill", *FEW_STEPS, *DIGITS_VIEWS, f"--teacher={fine_tuned}", labels]
    outcome = command(*distill, f"--model_dir={run}")
    assert outcome.code == 0, outcome.err
    assert (
        f"{run}: 1 of the 2 images of validation are among those whose labels it or its teacher "
        f"was trained on (such as {learnt}), so its accuracy is too high"
    ) in outcome.err
    assert not (run / "labelled_examples.txt").exists()
    noted = _content(run, "data.json")["labels_fingerprint"]
    # The order of its rows means nothing, and an image more does.
    first, *rows = table.read_text().splitlines()
    table.write_text("\n".join([first, *reversed(rows)]))
    assert command(*distill, f"--model_dir={run}", "--train_steps=5", "--mode=train").code == 0
    assert _content(run, "data.json")["labels_fingerprint"] == noted
    table.write_text("\n".join([first, *rows, f"{FILES[41]},light,train"]))
    refused = command(*distill, f"--model_dir={run}", "--train_steps=5")
    assert refused.code == 1 and refused.err == (
        f"error: {labels}: has changed since the run in {run} began, so put the table back as it "
        "was, or train in another directory.\n"
    )


@pytest.mark.slow
def test_a_student_sees_all_images_and_the_labels_of_its_teacher(
    command, root, fine_tuned, tmp_path
):
    run = str(tmp_path / "student")
    distill = ["distill", *FEW_STEPS, *DIGITS_VIEWS, f"--teacher={fine_tuned}"]
    outcome = command(*distill, f"--model_dir={run}", "--distillation_alpha=0.5", "--baselines")
    assert outcome.code == 0, outcome.err
    assert f"labels of 26 examples of folder train are used, of --labels={root}/labels.csv" in (
        outcome.out
    )
    assert _content(run, "data.json")["num_examples"] == 56
    assert _content(run, "result.json")["baselines"]["num_unlabelled"] == 30
    of_teacher = _content(fine_tuned, "labelled_examples.txt")
    assert _content(run, "labelled_examples.txt") == of_teacher
    # Nobody has learnt from another table.
    other = f"--labels={tmp_path}/other.csv"
    (tmp_path / "other.csv").write_text(_content(root, "labels.csv"))
    refused = command(*distill, f"--model_dir={tmp_path}/x", other, "--baselines")
    assert refused.code == 1 and refused.err == (
        f"error: --baselines=True: needs labels, and those of {fine_tuned} are not those of "
        f"{other}; leave the flag out.\n"
    )
    # A class that the teacher does not know.
    (tmp_path / "new.csv").write_text(_content(root, "labels.csv") + f"{FILES[50]},blue\n")
    refused = command(*distill, f"--model_dir={tmp_path}/x", f"--labels={tmp_path}/new.csv")
    assert refused.code == 1 and "they must be the same" in refused.err


@pytest.mark.slow
def test_pretraining_probes_what_is_labelled_and_goes_on_with_more(command, root, tmp_path):
    run = str(tmp_path / "pretrained")
    outcome = command(
        "pretrain", *TINY, *FEW_STEPS, *DIGITS_VIEWS, "--dataset=folder",
        f"--data_dir={root}/images", f"--labels={root}/labels.csv", f"--model_dir={run}",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert _content(run, "result.json")["split"] == "validation"
    assert _content(run, "data.json")["num_labelled"] == 26
    # The next round: the table is another, and so is what is held out.
    tuned = str(tmp_path / "round_2")
    outcome = command(
        "finetune",
        *FEW_STEPS,
        *DIGITS_VIEWS,
        f"--checkpoint={run}",
        _table(tmp_path / "2.csv", 40, column=",train"),
        f"--model_dir={tuned}",
    )
    assert outcome.code == 0, outcome.err
    assert _content(tuned, "data.json")["num_labelled"] == 40
    assert "not evaluated" in outcome.out


@pytest.mark.slow
def test_the_digits_with_some_labels_are_evaluated_on_their_own_test_split(
    command, method, tmp_path
):
    from tf_simclrv2.config import DataConfig
    from tf_simclrv2.data.sources import open_source

    examples = open_source(DataConfig()).index("train").take(60).as_numpy_iterator()
    rows = [f"{each['id'].decode()};{each['label']}\r\n" for each in examples]
    (tmp_path / "digits.csv").write_text("\ufeffimage;label\r\n" + "".join(rows), newline="")
    run = str(tmp_path / "run")
    outcome = command(
        "finetune", *FEW_STEPS, *DIGITS_VIEWS, f"--checkpoint={method['pretrained']}",
        f"--labels={tmp_path}/digits.csv", "--labels_per_class=2", f"--model_dir={run}",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    result = _content(run, "result.json")
    assert (result["split"], result["num_examples"]) == ("test", 360)
    assert len(_content(run, "labelled_examples.txt").splitlines()) == 20
