"""Runs whose settings follow the data: what they say and record, and that they keep it."""

import json
import pathlib

import pytest
from PIL import Image

from tests.net.held import Held
from tests.net.table import IMAGES, filled
from tf_simclrv2.config import following

COMMON = f"{IMAGES} --width_multiplier=0.0625 --mode=train"
# A folder of 70 images to train on, of 8 pixels.
FOLDER = "--dataset=folder --data_dir={colours}"


def _held(command, *flags):
    return Held(command, COMMON, *(filled(flag, command) for flag in flags))


def _recorded(job):
    content = json.loads(pathlib.Path(job.path, "config.json").read_text())["config"]
    names = ("train_batch_size", "train_epochs", "learning_rate", "warmup_epochs")
    found = {name: content["optimization"][name] for name in names}
    for section, name in ("contrastive", "temperature"), ("memory", "memory_size"):
        found.update({name: content[section][name]} if section in content else {})
    return found


@pytest.mark.slow
def test_pretraining_says_and_records_what_follows_and_keeps_it(tmp_path, caplog, monkeypatch):
    caplog.set_level("INFO")
    memory = "--use_memory --warmup_epochs=3 --checkpoint_steps=1001"
    flags = [FOLDER, memory, f"--model_dir={tmp_path}/run"]
    job = _held("pretrain", *flags)
    assert job.refused is None, job.message
    recorded = _recorded(job)
    assert recorded == {
        "train_batch_size": 64, "train_epochs": 915, "learning_rate": 2.4, "warmup_epochs": 3.0,
        "temperature": 0.5, "memory_size": 128,
    }  # fmt: skip
    assert job.steps == 1001
    assert job.images(1).shape == (1, 16, 16, 3)
    (said,) = (message for message in caplog.messages if "as follows from" in message)
    assert said.startswith("one device, 1 replica, batch 64 (64 per replica); views: ")
    assert said.endswith(
        "; as follows from 70 images: image_size=16, train_batch_size=64, train_epochs=915, "
        "learning_rate=2.4, temperature=0.5, memory_size=128, so 1,001 steps"
    )

    # Even if later versions have other formulas.
    assert job.played.saved
    scale = following.OF_IMAGES._replace(share=70, fewest_steps=2000, root_below=512)
    monkeypatch.setattr(following, "OF_IMAGES", scale)
    monkeypatch.setattr(following, "_TEMPERATURE_OF_FEW", 0.7)
    monkeypatch.setattr(following, "_SIDES", 10)
    again = _held("pretrain", *flags, "--train_epochs=930")
    assert again.refused is None, again.message
    assert _recorded(again) == {**recorded, "train_epochs": 930}
    # Another value than the run's is refused by name, also if it was not given before.
    changed = _held("pretrain", *flags, "--train_batch_size=32")
    assert "train_batch_size was 64 and is now 32" in changed.message


@pytest.mark.parametrize("flag", ["--train_batch_size=10", "--label_fraction=0.5"])
def test_fine_tuning_follows_the_labels(tmp_path, caplog, flag):
    caplog.set_level("INFO")
    job = _held("finetune", FOLDER, "--from_scratch", flag, f"--model_dir={tmp_path}/run")
    assert job.refused is None, job.message
    (said,) = (message for message in caplog.messages if "as follows from" in message)
    if flag == "--label_fraction=0.5":
        assert "as follows from 35 labelled images: image_size=16, train_batch_size=64" in said
        expected, steps = {"train_batch_size": 64, "train_epochs": 366, "learning_rate": 0.16}, 201
    else:
        # The rate follows the batch that was given.
        assert "70 labelled images: image_size=16, train_epochs=60, learning_rate=0.405," in said
        expected, steps = {"train_batch_size": 10, "train_epochs": 60, "learning_rate": 0.405}, 421
    assert {name: _recorded(job)[name] for name in expected} == expected
    assert job.steps == steps


def test_distillation_follows_all_its_images(tmp_path, caplog):
    caplog.set_level("INFO")
    flags = ["--teacher={small_teacher}", "--dataset=folder --data_dir={colours}"]
    further = "--unlabeled_data_dir={others}"
    job = _held("distill", *flags, further, f"--model_dir={tmp_path}/run")
    assert job.refused is None, job.message
    (said,) = (message for message in caplog.messages if "as follows from" in message)
    count = int(said.split("as follows from ")[1].split()[0])
    assert count > 70
    assert job.steps >= 1000 and _recorded(job)["train_batch_size"] == 64


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ("--use_memory --memory_size=100", "--memory_size=100: must be at least 128, the keys"),
        ("--train_batch_size=71", "--train_batch_size=71: must be at most 70, the images"),
        # 64 and 63 would be the batches: it is 2 to 4 before the images are counted.
        (
            "--gradient_accumulation_steps=4",
            "--gradient_accumulation_steps=4: must be 1 for pretraining",
        ),
        ("--stem=imagenet", "--image_size=16: must be at least 32 for the imagenet stem"),
    ],
)
def test_what_follows_is_checked_like_what_is_given(command, tmp_path, flags, sentence):
    given = filled(f"{FOLDER} {COMMON} {flags}", "pretrain").split()
    outcome = command("pretrain", *given, f"--model_dir={tmp_path}/run")
    assert outcome.code == 1
    assert sentence in outcome.err
    assert not (tmp_path / "run").exists()


def test_without_a_batch_the_other_settings_of_batches_are_taken(tmp_path):
    memory = "--use_memory --memory_batch_norm=split --train_steps=1"
    job = _held("pretrain", FOLDER, memory, f"--model_dir={tmp_path}/pretrained")
    assert job.refused is None, job.message
    assert _recorded(job)["train_batch_size"] == 64
    parts = "--from_scratch --gradient_accumulation_steps=3"
    job = _held("finetune", FOLDER, parts, f"--model_dir={tmp_path}/tuned")
    assert job.refused is None, job.message
    assert _recorded(job)["train_batch_size"] == 63


def test_a_run_that_continues_without_its_steps_keeps_them(tmp_path):
    flags = [FOLDER, f"--model_dir={tmp_path}/run"]
    begun = _held("pretrain", *flags, "--train_steps=3")
    assert begun.refused is None and begun.played.saved
    job = _held("pretrain", *flags)
    assert job.refused is None, job.message
    assert job.fitted is None and _recorded(job) == _recorded(begun)
    assert _held("pretrain", *flags, "--train_steps=5").steps == 2  # More than three.


def test_one_image_is_too_few_to_contrast(command, tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "1.png")
    flags = ["--dataset=folder", f"--data_dir={tmp_path}", f"--model_dir={tmp_path}/run"]
    outcome = command("pretrain", *flags, "--resnet_depth=18")
    assert outcome.err.splitlines()[-1] == (
        "error: --train_split=train: has 1 image of folder, but pretraining needs at least two."
    )
    assert outcome.code == 1 and not (tmp_path / "run").exists()


def _views(job):
    content = json.loads(pathlib.Path(job.path, "config.json").read_text())["config"]
    return {
        name: content["augmentation"][name] for name in ("use_crop", "use_flip", "scale_max",
                                                         "color_jitter_strength", "use_blur")
    }  # fmt: skip


def _run_views(tmp_path, command, caplog, *flags):
    """The views of a run on the grey digits, and how its first line ends about them."""
    caplog.clear()
    caplog.set_level("INFO")
    flags = ["--width_multiplier=0.0625 --mode=train --train_steps=2", *flags]
    job = Held(command, *flags, f"--model_dir={tmp_path}/{command}")
    assert job.refused is None, job.message
    (said,) = (message for message in caplog.messages if "; views: " in message)
    assert job.played.saved
    return _views(job), said.split("; views: ")[1].split(";")[0]


GREY_VIEWS = {
    "use_crop": False, "use_flip": False, "scale_max": 1.25, "color_jitter_strength": 1.0,
    "use_blur": False,
}  # fmt: skip
PAPERS_SHAPE = {"use_crop": True, "use_flip": True, "scale_max": 1.0}
AS_GREY = " (as for small grey images)"


@pytest.mark.parametrize(
    ("flags", "expected", "ending"),
    [
        ("", GREY_VIEWS, f"no blur{AS_GREY}"),
        ("--use_flip=false", GREY_VIEWS, f"no blur{AS_GREY}"),
        ("--use_blur=true", {**GREY_VIEWS, "use_blur": True},
         " blur (shape as for small grey images)"),
        ("--use_flip", {**GREY_VIEWS, **PAPERS_SHAPE},
         "no blur (colours as for small grey images)"),
        ("--image_size=80", {**GREY_VIEWS, **PAPERS_SHAPE, "use_blur": True}, ", blur"),
    ],
)  # fmt: skip
def test_views_follow_the_images_unless_a_flag_asks_for_others(
    tmp_path, caplog, flags, expected, ending
):
    found, said = _run_views(tmp_path, "pretrain", caplog, "--dataset=digits", flags)
    assert found == expected
    assert said.endswith(ending)


def test_views_follow_all_images(tmp_path, caplog):
    further = filled("--unlabeled_data_dir={others}", "pretrain")
    found, said = _run_views(tmp_path, "pretrain", caplog, "--dataset=digits", further)
    assert found == {**PAPERS_SHAPE, "color_jitter_strength": 0.5, "use_blur": False}
    assert said.endswith("no blur (as for small images)")


def test_a_run_keeps_its_views_and_hands_their_shape_on(tmp_path, caplog, monkeypatch):
    begun, said = _run_views(tmp_path, "pretrain", caplog, "--dataset=digits")
    # Even if later versions have other views.
    monkeypatch.setattr(following, "_SMALL_SIDE", 0)
    again, said_again = _run_views(tmp_path, "pretrain", caplog, "--dataset=digits --train_steps=4")
    assert again == begun
    assert said_again == said.replace(AS_GREY, "")
    tuned, _ = _run_views(tmp_path, "finetune", caplog, f"--checkpoint={tmp_path}/pretrain")
    assert tuned == {**GREY_VIEWS, "color_jitter_strength": 0.0}


def test_a_run_that_began_with_other_views_keeps_them(tmp_path, caplog, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(following, "_SMALL_SIDE", 0)
        begun, _ = _run_views(tmp_path, "pretrain", caplog, "--dataset=digits")
    assert begun == {**PAPERS_SHAPE, "color_jitter_strength": 1.0, "use_blur": True}
    again, _ = _run_views(tmp_path, "pretrain", caplog, "--dataset=digits --train_steps=4")
    assert again == begun


def test_fine_tuning_random_weights_follows_in_shape(tmp_path, caplog):
    found, said = _run_views(tmp_path, "finetune", caplog, "--dataset=digits --from_scratch")
    assert found == {**GREY_VIEWS, "color_jitter_strength": 0.0}
    assert said.endswith("no blur (shape as for small grey images)")


def test_the_picture_of_views_shows_what_pretraining_would_draw(command, tmp_path):
    output = f"--output={tmp_path}/views.png"
    outcome = command("views", "--dataset=digits", "--num_images=1", output)
    assert outcome.code == 0
    assert outcome.out.rstrip().endswith(f"no blur{AS_GREY}")


def test_the_picture_of_views_takes_the_flags_of_pretraining(command, tmp_path):
    flags = [f"--output={tmp_path}/views.png", "--num_images=1"]
    presets = ["--recipe=digits/pretrain", "--recipe=views/textures"]
    outcome = command("views", *presets, f"--model_dir={tmp_path}/run", "--use_memory", *flags)
    assert outcome.code == 0, outcome.err
    assert "vertical flips, turns of up to 180 degrees" in outcome.out
    assert not (tmp_path / "run").exists()
    (tmp_path / "images").mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / "images" / "1.png")
    outcome = command("views", "--dataset=folder", f"--data_dir={tmp_path}/images", flags[0])
    assert "views.png: 1 images of folder train" in outcome.out
    # Not those by which views would be others, and not what is no flag of pretraining.
    for flag in "--checkpoint=run", "--unlabeled_data_dir=images", "--labels_per_class=2":
        outcome = command("views", "--dataset=digits", flag, *flags)
        assert outcome.code == 1 and flag.split("=")[0][2:] in outcome.err
    outcome = command("views", "--dataset=digits", "--train_batch_size=0", *flags)
    assert "error: --train_batch_size=0: must be greater than 0" in outcome.err
