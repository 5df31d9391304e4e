"""Batches are a function of seed and step; evaluation sees each image once."""

import io
import itertools
import os
import threading

import numpy as np
import pytest
from PIL import Image

from tf_simclrv2.config import AugmentationConfig, DataConfig
from tf_simclrv2.data import pipeline
from tf_simclrv2.data.augmentation import evaluation_view, ready_for_network
from tf_simclrv2.data.sources import decode, open_source, open_unlabelled
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


def _write_images(folder, count, side=8):
    """Writes images of one colour each, which is their number."""
    os.makedirs(folder, exist_ok=True)
    for number in range(count):
        image = Image.fromarray(np.full((side, side, 3), number, np.uint8))
        image.save(os.path.join(folder, f"{number:03}.png"))


def test_skipped_examples_are_not_read(tmp_path):
    _write_images(tmp_path, 40)
    data = DataConfig(dataset="folder", data_dir=str(tmp_path), image_size=8)
    folder = open_source(data)
    assert folder.num_examples("train") == 40
    arguments = (folder, data, AugmentationConfig(), 10)
    whole = _take(pipeline.contrastive_batches(*arguments, seed=1), 4)
    examples = _take(pipeline.drawn_examples(folder, data, seed=1), 40)
    for example in examples[:20]:
        os.remove(tmp_path / example["id"].decode())
    later = pipeline.contrastive_batches(*arguments, seed=1, start_step=2)
    _assert_equal(_take(later, 2), whole[2:])
    # The removed files would be missed, were they read.
    with pytest.raises(tf.errors.NotFoundError):
        _take(pipeline.contrastive_batches(*arguments, seed=1), 1)


@pytest.mark.parametrize("on_device", [False, True])
def test_batches_do_not_depend_on_the_parallelism(source, on_device):
    batches = pipeline.contrastive_batches(
        source, DATA, AugmentationConfig(), 20, seed=5, on_device=on_device
    )
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.autotune.enabled = False
    expected = _take(batches.with_options(options), 4)
    streams = [_Stream(batches, 4) for _ in range(3)]
    for stream in streams:
        stream.join()
        _assert_equal(stream.batches, expected)


class _Stream(threading.Thread):
    """Takes batches in a thread of its own."""

    def __init__(self, batches, count):
        super().__init__()
        self._taken_from, self._count = batches, count
        self.start()

    def run(self):
        self.batches = _take(self._taken_from, self._count)


def test_views_distorted_on_the_device_are_those_of_the_host(source):
    data = DataConfig(dataset="digits", image_size=24, train_split="train[:50]")
    config = AugmentationConfig()
    host, device = (
        _take(pipeline.contrastive_batches(source, data, config, 20, 5, on_device=on_device), 2)
        for on_device in (False, True)
    )
    for one, other in zip(host, device):
        assert sorted(one) == ["label", "view_1", "view_2"]
        assert one["view_1"].dtype == other["view_1"].dtype == np.uint8
        other = ready_for_network({name: tf.constant(other[name]) for name in other}, config)
        for name in ("view_1", "view_2"):
            assert np.abs(one[name] / 255 - other[name]).max() <= 1 / 255
        np.testing.assert_array_equal(one["label"], other["label"])


def test_a_stream_is_the_same_from_a_file_that_is_written_once(source, tmp_path):
    arguments = (source, DATA, AugmentationConfig(), 20)
    expected = _take(pipeline.contrastive_batches(*arguments, seed=5), 6)
    data = DataConfig(
        dataset="digits", image_size=8, train_split="train[:50]",
        cache_path=str(tmp_path / "cache_"),
    )  # fmt: skip

    def cached(start_step=0):
        return pipeline.contrastive_batches(
            source, data, AugmentationConfig(), 20, seed=5, start_step=start_step
        )

    # An interrupted run leaves it whole, and others may read it at the same time.
    _assert_equal(_take(cached(), 1), expected[:1])
    assert os.listdir(tmp_path) == ["cache_digits_train__50__50"]
    written = os.stat(tmp_path / "cache_digits_train__50__50").st_mtime_ns
    _assert_equal(_take(cached(), 6), expected)
    _assert_equal(_take(cached(start_step=4), 2), expected[4:])
    assert os.stat(tmp_path / "cache_digits_train__50__50").st_mtime_ns == written


def test_images_without_labels_are_mixed_evenly_with_the_others(tmp_path):
    source = open_source(DataConfig(dataset="digits"))
    _write_images(tmp_path / "deep" / "er", 30)
    data = DataConfig(dataset="digits", image_size=8, train_split="train[:90]")
    beside = open_unlabelled(str(tmp_path), data)
    batches = _take(
        pipeline.contrastive_batches(source, data, AS_THEY_ARE, 40, seed=2, unlabelled=beside), 6
    )
    labels = np.stack([batch["label"] for batch in batches])
    assert set(np.unique(labels)) == set(range(-1, 10))
    # Each epoch, three batches, has each image once.
    for epoch in (batches[:3], batches[3:]):
        images = np.concatenate([batch["view_1"] for batch in epoch])
        assert len({image.tobytes() for image in images}) == 120
    np.testing.assert_array_equal((labels[:3] == -1).sum(), 30)
    # A quarter of each batch of 40 within five standard deviations.
    assert np.abs((labels == -1).sum(axis=1) - 10).max() < 5 * np.sqrt(40 * 0.25 * 0.75)
    again = pipeline.contrastive_batches(
        source, data, AS_THEY_ARE, 40, seed=2, unlabelled=beside, start_step=4
    )
    _assert_equal(_take(again, 2), batches[4:])


def test_a_label_outside_the_classes_is_named():
    image = io.BytesIO()
    Image.new("RGB", (8, 8)).save(image, "PNG")

    class Mislabelled(type(open_source(DATA))):
        def __init__(self):
            self.name, self.class_names = "odd", ["a", "b"]

        def num_examples(self, split):
            return 4

        def index(self, split):
            columns = {"id": list("wxyz"), "image": [image.getvalue()] * 4, "label": [0, 1, 2, 1]}
            return tf.data.Dataset.from_tensor_slices(columns)

    source, data = Mislabelled(), DataConfig(dataset="digits", image_size=8)
    for batches in (
        pipeline.training_batches(source, data, AS_THEY_ARE, 4, seed=0),
        pipeline.evaluation_batches(source, data, "test"),
        pipeline.contrastive_batches(source, data, AS_THEY_ARE, 4, seed=0),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError) as error:
            _take(batches, 1)
        expected = "the label of example y is 2, not 0 to 1"
        assert pipeline.bad_label(error.value) == expected
    other = tf.errors.InvalidArgumentError(None, None, "Unknown image file format")
    assert pipeline.bad_label(other) is None


def test_only_the_chosen_examples_are_drawn_with_their_labels(source):
    examples = list(source.examples("train[:50]").as_numpy_iterator())
    chosen = {e["id"].decode(): e for e in examples[3:50:7]}
    batches = pipeline.training_batches(
        source, DATA, AS_THEY_ARE, len(chosen), seed=0, ids=list(chosen)
    )
    expected = {decode(e["image"]).numpy().tobytes(): e["label"] for e in chosen.values()}
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
