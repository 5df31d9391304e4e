"""Batches are a function of seed and step; evaluation sees each image once."""

import io
import itertools
import os
import threading

import numpy as np
import pytest
from PIL import Image

from tf_simclrv2.config import AugmentationConfig, DataConfig
from tf_simclrv2.data.batches import Views, bad_label, batches, evaluation_batches
from tf_simclrv2.data.images import decode, read
from tf_simclrv2.data.sources import open_source, open_unlabelled
from tf_simclrv2.data.stream import Part, Stream
from tf_simclrv2.data.views import evaluation_view, ready_for_network
from tf_simclrv2.keras2 import tf

DATA = DataConfig(dataset="digits", image_size=8, train_split="train[:50]")
AS_THEY_ARE = AugmentationConfig(
    color_jitter_strength=0.0, use_blur=False, use_flip=False, use_crop=False
)
VIEWS, PLAIN = Views.two(8, AugmentationConfig()), Views.one(8, AS_THEY_ARE)


@pytest.fixture(scope="module")
def source():
    return open_source(DATA)


def _pairs(source, batch_size, seed=5, data=DATA, views=VIEWS, unlabelled=None, **which):
    """Batches of two views of the images of a data set's training split."""
    stream = Stream(source, data.train_split, seed, data=data, unlabelled=unlabelled)
    return batches(stream, views, batch_size, **which)


def _single(source, batch_size, seed=0, data=DATA, views=PLAIN, ids=None):
    """Batches of one view of each image, as it is if nothing else is asked for."""
    stream = Stream(source, data.train_split, seed, data=data, ids=ids)
    return batches(stream, views, batch_size)


def _take(made, count):
    return list(itertools.islice(made.as_numpy_iterator(), count))


def _assert_equal(those, others):
    assert len(those) == len(others) > 0
    for batch, other in zip(those, others):
        assert batch.keys() == other.keys()
        for name in batch:
            np.testing.assert_array_equal(batch[name], other[name], name)


def test_an_interrupted_stream_goes_on_with_the_same_batches(source):
    whole = _take(_pairs(source, 20), 7)
    # Step 4 begins in the second epoch, since 50 images are two and a half batches.
    _assert_equal(_take(_pairs(source, 20, start_step=4), 3), whole[4:])


def test_the_global_seed_and_earlier_streams_have_no_influence(source):
    tf.random.set_seed(1)
    first = _take(_pairs(source, 20), 3)
    tf.random.set_seed(2)
    tf.random.uniform([3])
    _assert_equal(_take(_pairs(source, 20), 3), first)
    other = _take(_pairs(source, 20, seed=6), 1)
    assert not np.array_equal(other[0]["view_1"], first[0]["view_1"])


@pytest.mark.parametrize("cache", [False, True])
def test_every_epoch_has_every_image_once_in_another_order(source, cache):
    data = DataConfig(dataset="digits", image_size=8, train_split="train[:50]", cache_dataset=cache)
    made = _take(_single(source, 10, data=data), 10)
    images = np.concatenate([batch["image"] for batch in made])
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
    whole = _take(_pairs(folder, 10, seed=1, data=data), 4)
    examples = _take(Stream(folder, "train", 1, data=data).examples().map(read), 40)
    for example in examples[:20]:
        os.remove(tmp_path / example["id"].decode())
    later = _pairs(folder, 10, seed=1, data=data, start_step=2)
    _assert_equal(_take(later, 2), whole[2:])
    # The removed files would be missed, were they read.
    with pytest.raises(tf.errors.NotFoundError):
        _take(_pairs(folder, 10, seed=1, data=data), 1)


@pytest.mark.parametrize("on_device", [False, True])
def test_batches_do_not_depend_on_the_parallelism(source, on_device):
    made = _pairs(source, 20, views=Views.two(8, AugmentationConfig(), on_device))
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.autotune.enabled = False
    expected = _take(made.with_options(options), 4)
    takers = [_Taker(made, 4) for _ in range(3)]
    for taker in takers:
        taker.join()
        _assert_equal(taker.batches, expected)


class _Taker(threading.Thread):
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
        _take(_pairs(source, 20, data=data, views=Views.two(24, config, on_device)), 2)
        for on_device in (False, True)
    )
    for one, other in zip(host, device):
        assert sorted(one) == ["label", "view_1", "view_2"]
        assert one["view_1"].dtype == other["view_1"].dtype == np.uint8
        other = ready_for_network({name: tf.constant(other[name]) for name in other}, config)
        for name in ("view_1", "view_2"):
            assert np.abs(one[name] / 255 - other[name]).max() <= 1 / 255
        np.testing.assert_array_equal(one["label"], other["label"])


@pytest.mark.slow
def test_a_stream_is_the_same_from_a_file_that_is_written_once(source, tmp_path):
    expected = _take(_pairs(source, 20), 6)
    data = DataConfig(
        dataset="digits", image_size=8, train_split="train[:50]",
        cache_path=str(tmp_path / "cache_"),
    )  # fmt: skip

    def cached(start_step=0):
        return _pairs(source, 20, data=data, start_step=start_step)

    # An interrupted run leaves it whole, and others may read it at the same time.
    _assert_equal(_take(cached(), 1), expected[:1])
    (name,) = os.listdir(tmp_path)
    assert name.startswith("cache_digits_train__50__50_")
    written = os.stat(tmp_path / name).st_mtime_ns
    _assert_equal(_take(cached(), 6), expected)
    _assert_equal(_take(cached(start_step=4), 2), expected[4:])
    assert os.stat(tmp_path / name).st_mtime_ns == written


def test_images_without_labels_are_mixed_evenly_with_the_others(tmp_path):
    source = open_source(DataConfig(dataset="digits"))
    _write_images(tmp_path / "deep" / "er", 30)
    data = DataConfig(dataset="digits", image_size=8, train_split="train[:90]")
    beside = open_unlabelled(str(tmp_path), data)
    arguments = {"data": data, "views": Views.two(8, AS_THEY_ARE), "unlabelled": beside}
    made = _take(_pairs(source, 40, seed=2, **arguments), 6)
    labels = np.stack([batch["label"] for batch in made])
    assert set(np.unique(labels)) == set(range(-1, 10))
    # Each epoch, three batches, has each image once.
    for epoch in (made[:3], made[3:]):
        images = np.concatenate([batch["view_1"] for batch in epoch])
        assert len({image.tobytes() for image in images}) == 120
    np.testing.assert_array_equal((labels[:3] == -1).sum(), 30)
    # A quarter of each batch of 40 within five standard deviations.
    assert np.abs((labels == -1).sum(axis=1) - 10).max() < 5 * np.sqrt(40 * 0.25 * 0.75)
    again = _pairs(source, 40, seed=2, start_step=4, **arguments)
    _assert_equal(_take(again, 2), made[4:])


def test_a_label_outside_the_classes_is_named():
    image = io.BytesIO()
    Image.new("RGB", (8, 8)).save(image, "PNG")

    class Mislabelled(type(open_source(DATA))):
        def __init__(self):
            self.name, self.class_names = "odd", ["a", "b"]

        def num_examples(self, split):
            return 4

        def columns(self, split):
            return None

        def index(self, split):
            columns = {"id": list("wxyz"), "image": [image.getvalue()] * 4, "label": [0, 1, 2, 1]}
            return tf.data.Dataset.from_tensor_slices(columns)

    source, data = Mislabelled(), DataConfig(dataset="digits", image_size=8)
    for made in (
        _single(source, 4, data=data),
        evaluation_batches(source, data, "test"),
        _pairs(source, 4, seed=0, data=data, views=Views.two(8, AS_THEY_ARE)),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError) as error:
            _take(made, 1)
        expected = "the label of example y is 2, not 0 to 1"
        assert bad_label(error.value) == expected
    other = tf.errors.InvalidArgumentError(None, None, "Unknown image file format")
    assert bad_label(other) is None


def test_only_contrastive_learning_does_without_labels(tmp_path):
    _write_images(tmp_path / "a", 2)
    _write_images(tmp_path / "b", 2)
    data = DataConfig(dataset="folder", data_dir=str(tmp_path), image_size=8, holdout_fraction=0)
    source = open_source(data)
    columns = source.columns
    source.columns = lambda split: columns(split)._replace(labels=np.full(4, -1))
    assert _take(_pairs(source, 4, data=data), 1)[0]["label"].tolist() == [-1] * 4
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        _take(_single(source, 4, data=data), 1)
    assert " is -1, not 0 to 1" in bad_label(error.value)


@pytest.mark.parametrize("with_ids", [False, True])
def test_an_epoch_has_the_chosen_examples_and_those_without_labels(source, tmp_path, with_ids):
    _write_images(tmp_path, 7)
    ids = [example["id"].decode() for example in _take(source.examples("train[:50]"), 12)]
    stream = Stream(
        source, "train[:50]", 0, data=DATA, ids=ids if with_ids else None,
        unlabelled=open_unlabelled(str(tmp_path), DATA),
    )  # fmt: skip
    assert stream.num_examples == (12 if with_ids else 50) + 7
    epoch = _take(stream.examples(), stream.num_examples)
    assert len({example["id"] for example in epoch}) == stream.num_examples


def test_only_the_chosen_examples_are_drawn_with_their_labels(source):
    examples = list(source.examples("train[:50]").as_numpy_iterator())
    chosen = {e["id"].decode(): e for e in examples[3:50:7]}
    made = _single(source, len(chosen), ids=list(chosen))
    expected = {decode(e["image"]).numpy().tobytes(): e["label"] for e in chosen.values()}
    for batch in _take(made, 2):
        drawn = {i.tobytes(): label for i, label in zip(batch["image"], batch["label"])}
        assert drawn == expected


def test_two_draws_of_one_seed_are_different_views(source):
    first, second = (
        _take(_single(source, 20, views=Views.one(8, AugmentationConfig(), draw=draw)), 1)[0]
        for draw in (1, 2)
    )
    np.testing.assert_array_equal(first["label"], second["label"])
    differing = np.abs(first["image"] - second["image"]).max(axis=(1, 2, 3)) > 0
    assert differing.mean() > 0.9


def test_evaluation_counts_each_image_once_in_batches_of_one_size(source):
    data = DataConfig(dataset="digits", image_size=8, eval_batch_size=16)
    made = _take(evaluation_batches(source, data, "train[:50]"), 10)
    assert [len(batch["label"]) for batch in made] == [16, 16, 16, 16]
    weights = np.concatenate([batch["weight"] for batch in made])
    np.testing.assert_array_equal(weights, [1.0] * 50 + [0.0] * 14)
    expected = [
        evaluation_view(decode(example["image"]), 8) for example in source.examples("train[:50]")
    ]
    images = np.concatenate([batch["image"] for batch in made])
    np.testing.assert_array_equal(images[:50], expected)
    data = DataConfig(dataset="digits", image_size=8, eval_batch_size=16, eval_steps=2)
    assert len(_take(evaluation_batches(source, data, "train[:50]"), 10)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("pipelines", [1, 2])
def test_parts_together_are_the_whole_batches(source, pipelines):
    def parts(batches_of, count):
        """Batches put together from those of all replicas in their order."""
        streams = [
            _take(batches_of(Part(index, pipelines, 4)), count * 4 // pipelines)
            for index in range(pipelines)
        ]
        own = 4 // pipelines
        for step in range(count):
            replicas = [b for stream in streams for b in stream[step * own : (step + 1) * own]]
            yield {name: np.concatenate([b[name] for b in replicas]) for name in replicas[0]}

    _assert_equal(
        list(parts(lambda part: _pairs(source, 20, part=part), 3)), _take(_pairs(source, 20), 3)
    )
    data = DataConfig(dataset="digits", image_size=8, eval_batch_size=16)
    _assert_equal(
        list(parts(lambda part: evaluation_batches(source, data, "train[:50]", part), 4)),
        _take(evaluation_batches(source, data, "train[:50]"), 4),
    )
