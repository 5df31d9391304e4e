"""Metrics of a whole split, against counting by hand."""

import numpy as np
import pytest

from tf_simclrv2.config import DataConfig
from tf_simclrv2.data.batches import evaluation_batches
from tf_simclrv2.data.sources import open_source
from tf_simclrv2.data.stream import Part
from tf_simclrv2.evaluation import classifier
from tf_simclrv2.keras2 import tf

RANDOM = np.random.RandomState(0)
LOGITS = RANDOM.normal(size=(23, 7)).astype(np.float32)
LABELS = RANDOM.randint(7, size=23)


def _fake_network(images, training):
    """Reads the logits out of the images."""
    assert training is False
    return {"logits": images[:, 0, :, 0]}


@pytest.mark.parametrize("batch_size", [23, 10, 1])
def test_each_example_counts_once_whatever_the_batches(batch_size):
    images = LOGITS[:, np.newaxis, :, np.newaxis]
    batches = tf.data.Dataset.from_tensor_slices(
        {"image": images, "label": LABELS, "weight": np.ones(23, np.float32)}
    )
    metrics = classifier.run(_fake_network, batches.batch(batch_size))

    ranks = [(logits > logits[label]).sum() for logits, label in zip(LOGITS, LABELS)]
    losses = [np.log(np.exp(logits).sum()) - logits[label] for logits, label in zip(LOGITS, LABELS)]
    assert metrics["num_examples"] == 23
    assert metrics["top_1_accuracy"] == pytest.approx(np.mean([rank < 1 for rank in ranks]))
    assert metrics["top_5_accuracy"] == pytest.approx(np.mean([rank < 5 for rank in ranks]))
    assert metrics["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_images_of_weight_0_do_not_count():
    weights = (np.arange(23) < 20).astype(np.float32)
    images = LOGITS[:, np.newaxis, :, np.newaxis]
    batches = tf.data.Dataset.from_tensor_slices(
        {"image": images, "label": LABELS, "weight": weights}
    )
    metrics = classifier.run(_fake_network, batches.batch(10))
    assert metrics["num_examples"] == 20
    assert metrics["top_1_accuracy"] == pytest.approx(
        np.mean(LOGITS[:20].argmax(axis=1) == LABELS[:20])
    )


def test_a_number_of_batches_is_the_same_images_for_any_number_of_replicas():
    data = DataConfig(dataset="digits", image_size=8, eval_batch_size=16, eval_steps=2)
    source = open_source(data)
    for split, images in (("train[:50]", 32), ("train[:20]", 20)):
        for replicas in (1, 3):
            batches = evaluation_batches(source, data, split, Part(replicas=replicas))
            labels, weights = (
                np.concatenate([batch[name] for batch in batches.as_numpy_iterator()])
                for name in ("label", "weight")
            )
            expected = [example["label"] for example in source.examples(split).take(images)]
            np.testing.assert_array_equal(weights[:images], 1.0)
            np.testing.assert_array_equal(weights[images:], 0.0)
            np.testing.assert_array_equal(labels[:images], expected)


def test_the_steps_are_compiled_as_asked():
    def network(images, training):
        # What XLA can't compile.
        logits = tf.py_function(lambda x: x[:, 0, :, 0], [images], tf.float32)
        return {"logits": tf.ensure_shape(logits, LOGITS.shape)}

    batches = tf.data.Dataset.from_tensors(
        {
            "image": LOGITS[:, np.newaxis, :, np.newaxis],
            "label": LABELS,
            "weight": np.ones(23, np.float32),
        }
    )
    plain = classifier.run(_fake_network, batches)
    assert classifier.run(_fake_network, batches, jit_compile=True) == pytest.approx(plain)
    with pytest.raises(tf.errors.OpError, match="unsupported operations"):
        classifier.run(network, batches, jit_compile=True)


def test_fewer_than_five_classes_are_all_in_the_top_five():
    batches = tf.data.Dataset.from_tensor_slices(
        {
            "image": LOGITS[:, np.newaxis, :3, np.newaxis],
            "label": LABELS % 3,
            "weight": np.ones(23, np.float32),
        }
    ).batch(5)
    assert classifier.run(_fake_network, batches)["top_5_accuracy"] == 1.0


def test_top_1_accuracy_of_a_batch():
    expected = np.mean(LOGITS.argmax(axis=1) == LABELS)
    assert float(classifier.top_1_accuracy(LABELS, LOGITS)) == pytest.approx(expected)
