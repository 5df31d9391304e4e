"""Batches are a function of seed and step; evaluation sees each image once."""

import itertools

import numpy as np
import pytest

from tf_simclrv2.config import AugmentationConfig, DataConfig
from tf_simclrv2.data import pipeline
from tf_simclrv2.data.augmentation import evaluation_view
from tf_simclrv2.data.sources import decode, open_source
from tf_simclrv2.keras2 import tf

DATA = DataConfig(dataset="digits", image_size=8, train_split="train[:50]")
AS_THEY_ARE = AugmentationConfig(
    color_jitter_strength=0.0, use_blur=False, use_flip=False, use_crop=False
)


@pytest.fixture(scope="module")
def source():
    return open_source(DATA)


def _take(batches, count):
    return list(itertools.islice(batches.as_numpy_iterator(), count))


def _assert_equal(batches, others):
    assert len(batches) == len(others) > 0
    for batch, other in zip(batches, others):
        assert batch.keys() == other.keys()
        for name in batch:
            np.testing.assert_array_equal(batch[name], other[name], name)


def test_an_interrupted_stream_goes_on_with_the_same_batches(source):
    arguments = (source, DATA, AugmentationConfig(), 20)
    whole = _take(pipeline.contrastive_batches(*arguments, seed=5), 7)
    # Step 4 begins in the second epoch, since 50 images are two and a half batches.
    _assert_equal(
        _take(pipeline.contrastive_batches(*arguments, seed=5, start_step=4), 3), whole[4:]
    )


def test_the_global_seed_and_earlier_streams_have_no_influence(source):
    arguments = (source, DATA, AugmentationConfig(), 20)
    tf.random.set_seed(1)
    first = _take(pipeline.contrastive_batches(*arguments, seed=5), 3)
    tf.random.set_seed(2)
    tf.random.uniform([3])
    _assert_equal(_take(pipeline.contrastive_batches(*arguments, seed=5), 3), first)
    other = _take(pipeline.contrastive_batches(*arguments, seed=6), 1)
    assert not np.array_equal(other[0]["view_1"], first[0]["view_1"])


@pytest.mark.parametrize("cache", [False, True])
def test_every_epoch_has_every_image_once_in_another_order(source, cache):
    data = DataConfig(dataset="digits", image_size=8, train_split="train[:50]", cache_dataset=cache)
    batches = _take(pipeline.training_batches(source, data, AS_THEY_ARE, 10, seed=0), 10)
    images = np.concatenate([batch["image"] for batch in batches])
    first, second = ([image.tobytes() for image in half] for half in (images[:50], images[50:]))
    assert len(set(first)) == 50
    assert set(first) == set(second)
    assert first != second


def test_only_the_chosen_examples_are_drawn_with_their_labels(source):
    examples = list(source.examples("train[:50]").as_numpy_iterator())
    chosen = {e["id"].decode(): e for e in examples[3:50:7]}
    batches = pipeline.training_batches(
        source, DATA, AS_THEY_ARE, len(chosen), seed=0, ids=list(chosen)
    )
    expected = {
        tf.image.convert_image_dtype(decode(e["image"]), tf.float32).numpy().tobytes(): e["label"]
        for e in chosen.values()
    }
    for batch in _take(batches, 2):
        drawn = {i.tobytes(): label for i, label in zip(batch["image"], batch["label"])}
        assert drawn == expected


def test_two_draws_of_one_seed_are_different_views(source):
    arguments = (source, DATA, AugmentationConfig(), 20)
    first, second = (
        _take(pipeline.training_batches(*arguments, seed=0, draw=draw), 1)[0] for draw in (1, 2)
    )
    np.testing.assert_array_equal(first["label"], second["label"])
    differing = np.abs(first["image"] - second["image"]).max(axis=(1, 2, 3)) > 0
    assert differing.mean() > 0.9


def test_evaluation_counts_each_image_once_in_batches_of_one_size(source):
    data = DataConfig(dataset="digits", image_size=8, eval_batch_size=16)
    batches = _take(pipeline.evaluation_batches(source, data, "train[:50]"), 10)
    assert [len(batch["label"]) for batch in batches] == [16, 16, 16, 16]
    weights = np.concatenate([batch["weight"] for batch in batches])
    np.testing.assert_array_equal(weights, [1.0] * 50 + [0.0] * 14)
    expected = [
        evaluation_view(decode(example["image"]), 8) for example in source.examples("train[:50]")
    ]
    images = np.concatenate([batch["image"] for batch in batches])
    np.testing.assert_array_equal(images[:50], expected)
    data = DataConfig(dataset="digits", image_size=8, eval_batch_size=16, eval_steps=2)
    assert len(_take(pipeline.evaluation_batches(source, data, "train[:50]"), 10)) == 2


@pytest.mark.parametrize("pipelines", [1, 2])
def test_parts_together_are_the_whole_batches(source, pipelines):
    def parts(batches_of, count):
        """Batches put together from those of all replicas in their order."""
        streams = [
            _take(batches_of(pipeline.Part(index, pipelines, 4)), count * 4 // pipelines)
            for index in range(pipelines)
        ]
        own = 4 // pipelines
        for step in range(count):
            replicas = [b for stream in streams for b in stream[step * own : (step + 1) * own]]
            yield {name: np.concatenate([b[name] for b in replicas]) for name in replicas[0]}

    arguments = (source, DATA, AugmentationConfig(), 20)
    _assert_equal(
        list(parts(lambda part: pipeline.contrastive_batches(*arguments, seed=5, part=part), 3)),
        _take(pipeline.contrastive_batches(*arguments, seed=5), 3),
    )
    data = DataConfig(dataset="digits", image_size=8, eval_batch_size=16)
    _assert_equal(
        list(parts(lambda part: pipeline.evaluation_batches(source, data, "train[:50]", part), 4)),
        _take(pipeline.evaluation_batches(source, data, "train[:50]"), 4),
    )
