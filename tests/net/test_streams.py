"""Which images a job trains on, in what order, and which views it draws of them."""

import glob
import os

import numpy as np
import pytest

from tests.net import pictures
from tests.net.held import TRAINING
from tests.net.table import IMAGES, filled, training

EPOCH = 70
NOT_GIVEN = "--dataset= --data_dir= --image_size="


def _images(command: str, *flags: str):
    return training(command, IMAGES, *(filled(flag, command) for flag in flags))


def _streams(held):
    return [name for name, value in held.batch.items() if value.ndim == 4]


def _numbers(held, known, count=EPOCH, name=None):
    return pictures.numbers(held.images(count, name), known)


@pytest.mark.parametrize("command", TRAINING)
def test_an_epoch_has_each_image_of_the_split_once_and_none_that_is_held_out(command):
    held = _images(command)
    train, validation = held.split("train"), held.split("validation")
    assert (len(train), len(validation)) == (EPOCH, 10)
    for name in _streams(held):
        seen = _numbers(held, train, 2 * EPOCH, name)
        first, second = seen[:EPOCH], seen[EPOCH:]
        assert sorted(first) == sorted(second) == [*range(EPOCH)]
        assert first != second
        assert set(_numbers(held, validation, EPOCH, name)) == {-1}


@pytest.mark.parametrize("command", TRAINING)
def test_images_have_their_own_labels(command):
    held = _images(command)
    name = _streams(held)[-1]
    numbers = pictures.numbers(held.batch[name], pictures.pixels(pictures.colours()))
    labels = [number // pictures.OF_CLASS for number in numbers]
    assert held.batch["label"].tolist() == labels


def test_images_of_the_unlabelled_folder_have_no_label():
    held = _images("pretrain", "--unlabeled_data_dir={more}")
    unknown = np.array(pictures.numbers(held.batch["view_1"], pictures.pixels(pictures.more()))) < 0
    assert 0 < np.sum(unknown) < len(unknown)
    np.testing.assert_array_equal(held.batch["label"] >= 0, unknown)


@pytest.mark.parametrize(
    ("flags", "split"),
    [
        ("--data_dir={others} --image_size=12 --holdout_seed=5 --holdout_fraction=0.25", "train"),
        ("--data_dir={others} --train_split=validation --train_batch_size=5", "validation"),
    ],
)
def test_later_steps_take_over_the_data_and_what_is_held_out(flags, split):
    pretrained = _images("pretrain", flags)
    start = f"--from_scratch=false --checkpoint={pretrained.path} --train_batch_size=5"
    assert pretrained.played.saved
    tuned = _images("finetune", NOT_GIVEN, start)
    assert tuned.played.saved
    taught = _images("distill", NOT_GIVEN, f"--teacher={tuned.path} --train_batch_size=5")

    files = pictures.pixels(pictures.others())
    own = pictures.numbers(pretrained.split(split), files)
    size = pretrained.batch["view_1"].shape[1]
    known = pretrained.images(len(own), "view_1")
    for held in (pretrained, tuned, taught):
        assert sorted(pictures.numbers(held.split(split), files)) == sorted(own)
        for name in _streams(held):
            assert held.batch[name].shape[1] == size
            assert sorted(_numbers(held, known, len(own), name)) == [*range(len(own))]


def test_fine_tuning_evaluates_on_the_split_that_pretraining_did():
    pretrained = _images("pretrain", "--eval_split=train")
    assert pretrained.played.saved
    tuned = _images(
        "finetune", NOT_GIVEN, f"--from_scratch=false --checkpoint={pretrained.path}"
        " --mode=train_then_eval --eval_steps=1 --eval_batch_size=2",
    )  # fmt: skip
    with open(os.path.join(tuned.path, "result.json"), encoding="utf-8") as file:
        assert '"split": "train"' in file.read()


def test_the_two_views_of_an_image_differ():
    views = "--data_dir={same} --use_crop=true --image_size=16"
    batch = _images("pretrain", views).batch
    _assert_all_differ(batch["view_1"], batch["view_2"])


def test_the_two_streams_of_distillation_draw_different_views():
    views = "--data_dir={same} --use_crop=true --image_size=16 --distillation_alpha=0.5"
    batch = _images("distill", views).batch
    # All images are the same, so that only what is drawn can make a difference.
    _assert_all_differ(batch["image"], batch["labelled_image"])


def _assert_all_differ(views, others):
    differ = [np.any(view != other) for view, other in zip(views, others)]
    assert all(differ), differ


# Flags of a data set, the images in it, and how many labelled ones are trained on.
DIGITS = "--dataset=digits --data_dir= --train_batch_size=479"


@pytest.mark.parametrize(
    ("command", "flags", "count"),
    [
        ("finetune", DIGITS, 1437),
        ("finetune", f"{DIGITS} --cache_dataset=true", 1437),
        ("finetune", f"{DIGITS} --cache_path={{new}}_shuffled_", 1437),
        ("pretrain", "--unlabeled_data_dir={more}", 100),
        *((command, "", EPOCH) for command in TRAINING),
        ("finetune", "--labels_per_class=6", 60),
    ],
)
def test_an_epoch_is_shuffled_as_a_whole(command, flags, count):
    held = _images(command, flags)
    known = held.split("train")
    if "unlabeled" in flags:
        known = np.concatenate([known, pictures.pixels(pictures.more())])
    seen = np.array(_numbers(held, known, count))
    assert len(set(seen)) == count and min(seen) >= 0
    # Of those there are, in their order: a buffer lets none come earlier than by its size.
    rank = np.argsort(np.argsort(seen))
    assert max(rank - np.arange(count)) > 0.8 * count
    assert abs(np.corrcoef(rank, np.arange(count))[0, 1]) < 0.3


@pytest.mark.parametrize("command", TRAINING)
def test_a_job_goes_on_with_the_batches_that_it_has_not_had(command):
    held = _images(command, "--use_crop=true")
    assert held.played.saved == [4, 8, 12, 15]
    # As it is left by a run that was killed after the fourth step.
    for path in glob.glob(os.path.join(held.path, "checkpoints", "*")):
        if "ckpt-4." not in path:
            os.remove(path)
    batches = held.batches()
    *_, expected = (next(batches) for _ in range(5))
    resumed = held.again()
    assert resumed.steps == held.steps - 4
    for name, value in resumed.batch.items():
        np.testing.assert_array_equal(value, expected[name], name)


def test_a_job_in_mode_eval_evaluates_the_run_and_trains_nothing():
    held = _images("finetune", "--keep_checkpoint_max=3")
    result = os.path.join(held.path, "result.json")
    assert held.played.saved and not os.path.exists(result)
    evaluated = held.again("--mode=eval --eval_steps=1 --eval_batch_size=2")
    assert (evaluated.refused, evaluated.fitted) == (None, None)
    with open(result, encoding="utf-8") as file:
        assert '"step": 15' in file.read()
