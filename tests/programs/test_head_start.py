"""``--head_start=ridge``: the classifier starts from ridge regression on the frozen features."""

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifierCV

from tests.evaluation.scaled import standardised
from tf_simclrv2.config import DataConfig
from tf_simclrv2.data.images import decode
from tf_simclrv2.data.sources import open_source
from tf_simclrv2.data.views import evaluation_view
from tf_simclrv2.keras2 import keras, tf
from tf_simclrv2.learners.steps import build_network
from tf_simclrv2.runtime.checkpoint import Checkpoint
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.training import head_start

DATA = DataConfig(dataset="digits", image_size=8)


@pytest.fixture
def network(method):
    """The pretrained network, with a random classifier on the head's first layer."""
    keras.utils.set_random_seed(0)
    network = build_network(RunDirectory(method["fine_tuned"]).config, 10)
    Checkpoint.open(method["pretrained"], "checkpoint", ("pretrain",)).restore_pretrained(network)
    return network


def _labelled(count, classes=10):
    """Images and classes of the first examples by id, of so many classes."""
    found = {}
    for example in open_source(DATA).index("train"):
        label = int(example["label"])
        if label < classes and len(found) < count:
            view = evaluation_view(decode(example["image"]), DATA.image_size)
            found[example["id"].numpy().decode()] = view.numpy(), label
    return found


@pytest.mark.parametrize("classes", [10, 7, 2])
def test_logits_are_those_of_scikit_learns_regression(classes, network):
    found = _labelled(40, classes)
    images = tf.stack([image for image, _ in found.values()])
    labels = {name: label for name, (_, label) in found.items()}
    head_start.start_from_ridge(network, open_source(DATA), DATA, labels)
    ends = network.endpoints(images, training=False)
    values = ends[f"proj_layer_{network.selected_layer}"].numpy().astype(np.float64)
    penalties = np.array([10.0**power for power in range(-3, 7)])
    (scaled,) = standardised(values)
    expected = RidgeClassifierCV(penalties).fit(scaled, list(labels.values()))
    scores = expected.decision_function(scaled)
    if classes == 2:
        scores = np.stack([-scores, scores], axis=1)
    # Cross entropy takes them for logits, three times as large.
    np.testing.assert_allclose(ends["logits_sup"][:, :classes], 3 * scores, atol=2e-3)
    # A class without an image starts as if all images spoke against it.
    np.testing.assert_allclose(ends["logits_sup"][:, classes:], -3.0)


@pytest.mark.slow
def test_a_run_starts_from_it_once(command, method, tmp_path):
    flags = [f"--checkpoint={method['pretrained']}", "--head_start=ridge", "--labels_per_class=4",
             f"--model_dir={tmp_path / 'run'}", "--mode=train", "--learning_rate=1e-9",
             "--optimizer=adam", "--learning_rate_scaling=none", "--jit_compile=false"]  # fmt: skip
    assert command("finetune", *flags, "--train_steps=2").code == 0
    assert command("finetune", *flags, "--train_steps=4").code == 0
    begun, ended = (
        Checkpoint.open(str(tmp_path / "run" / "checkpoints" / f"ckpt-{step}"), "checkpoint")
        for step in (2, 4)
    )
    kernels = [
        each.restore_network().supervised_head.dense.kernel.numpy() for each in (begun, ended)
    ]
    assert np.abs(kernels[0]).max() > 0.05  # Random ones have a deviation of 0.01.
    np.testing.assert_allclose(*kernels, atol=1e-6)


def test_more_labels_than_memory_holds_are_refused(command, method, monkeypatch, tmp_path):
    monkeypatch.setattr(head_start, "_MOST_LABELS", 30)
    new = f"--model_dir={tmp_path / 'new'}"
    outcome = command("finetune", f"--checkpoint={method['pretrained']}", "--head_start=ridge",
                      "--labels_per_class=4", new)  # fmt: skip
    assert outcome.code == 1
    assert outcome.err == (
        "error: --head_start=ridge: is for up to 30 labels, since it holds their features in "
        "memory; there are 40.\n"
    )
    assert not (tmp_path / "new").exists()
