"""Epochs, learning rates and throughput are counted over the images that are trained on."""

import math

import pytest

from tests.net.table import IMAGES, filled, training

# Command, flags, and how many images are an epoch: in fine-tuning the labelled ones, otherwise all,
# labelled or not.
EPOCHS = [
    ("pretrain", "--unlabeled_data_dir={more}", 100),
    ("finetune", "--labels_per_class=3", 30),
    ("distill", "--unlabeled_data_dir={more}", 100),
    ("distill", "--labels_per_class=3", 70),
]


def _rate(step: int, warmup: int, total: int) -> float:
    """SimCLR's schedule, for the flags that all of these tests give."""
    peak = 0.3 * 20 / 256
    if step < warmup:
        return peak * step / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


@pytest.mark.parametrize(("command", "flags", "count"), EPOCHS)
def test_epochs_are_those_of_the_images_that_are_trained_on(command, flags, count):
    held = training(command, IMAGES, "--log_every_steps=2", filled(flags, command))
    total = count * 4 // 20 + 1
    assert held.steps == total
    logged = [step for step in range(1, total + 1) if step % 2 == 0 or step == total]
    assert [row["step"] for row in held.played.rows] == logged
    for row in held.played.rows:
        assert row["epoch"] == pytest.approx(row["step"] * 20 / count, rel=1e-4)
        rate = _rate(row["step"] - 1, warmup=count // 20, total=total)
        assert row["learning_rate"] == pytest.approx(rate, rel=1e-4, abs=1e-9)
        before = max([0, *(step for step in logged if step < row["step"])])
        own = range(before + 1, int(row["step"]) + 1)
        # Step k takes k seconds.
        throughput = 20 * len(own) / sum(own)
        assert row["images_per_second"] == pytest.approx(throughput, rel=1e-4)
    every = round(count / 20)
    saved = [step for step in range(1, total + 1) if step % every == 0 or step == total]
    assert held.played.saved == saved[-5:]


@pytest.mark.parametrize("command", ["pretrain", "finetune", "distill"])
def test_the_learning_rate_in_the_table_is_the_one_of_the_step(command):
    held = training(command, IMAGES)
    # LARS scales the updates of kernels, but not those of batch norm.
    gamma = held.network.encoder.groups[0][0].convolutions[-1].batch_norm.gamma
    for row in held.played.rows[1::4]:
        moved = held.moved(gamma, step=int(row["step"]) - 1)[0]
        assert moved == pytest.approx(row["learning_rate"], rel=1e-4, abs=1e-7)
