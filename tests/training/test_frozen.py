"""A run's frozen features: of the right layer, image by image, with whatever labels there are."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from tf_simclrv2.config import ConfigError, DataConfig, LabelsConfig
from tf_simclrv2.config.labelling import FrozenSection
from tf_simclrv2.data.images import decode
from tf_simclrv2.data.sources import open_source
from tf_simclrv2.data.views import evaluation_view
from tf_simclrv2.keras2 import tf
from tf_simclrv2.runtime.checkpoint import Checkpoint
from tf_simclrv2.training import frozen_weights
from tf_simclrv2.training.frozen import Frozen

COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}


def write_images(root, count=7):
    """Noisy images of three colours as class/file; returns their ids and classes."""
    random, class_of = np.random.RandomState(0), {}
    for name, colour in COLOURS.items():
        os.makedirs(root / name)
        for number in range(count):
            pixels = np.clip(colour + random.normal(0, 25, (9, 10, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
            class_of[f"{name}/{number}.png"] = name
    return class_of


def write_table(path, labels, **columns):
    """Writes a table of labels, with further columns of one value each."""
    lines = [",".join(["image", "label", *columns])]
    lines += [",".join([image, label, *columns.values()]) for image, label in labels.items()]
    path.write_text("\n".join(lines))
    return str(path)


@pytest.fixture
def run(method, tmp_path):
    """A copy of the pretraining run, so that others' is not written."""
    return shutil.copytree(method["pretrained"], tmp_path / "pretrained")


@pytest.fixture
def computed(monkeypatch):
    """The numbers of images of which features are computed."""
    counts = []
    batches = frozen_weights.feature_batches

    def counted(*arguments, **settings):
        for each in batches(*arguments, **settings):
            counts.append(len(each.values))
            yield each

    monkeypatch.setattr(frozen_weights, "feature_batches", counted)
    return counts


def _images(data, split):
    """Images and labels of a split by id."""
    found = {}
    for example in open_source(data).index(split):
        view = evaluation_view(decode(tf.io.read_file(example["path"])), data.image_size)
        found[example["id"].numpy().decode()] = view, int(example["label"])
    return found


@pytest.mark.parametrize("layer", [0, None])
def test_rows_are_the_layers_outputs_of_each_image(layer, run, tmp_path):
    write_images(tmp_path / "images")
    flags = {"dataset": "folder", "data_dir": str(tmp_path / "images"), "holdout_fraction": 0.2}
    # 18 images, in batches of 5, of which the last is filled up.
    opened = Frozen.open(FrozenSection(str(run), layer=layer, eval_batch_size=5, **flags))
    found = opened.features("train")
    images = _images(DataConfig(image_size=8, **flags), "train")
    assert found.ids == list(images)
    np.testing.assert_array_equal(found.labels, [label for _, label in images.values()])
    network = Checkpoint.open(str(run), "model_dir").restore_network()
    ends = network.endpoints(tf.stack([view for view, _ in images.values()]))
    expected = ends["proj_layer_1" if layer is None else "proj_head_input"]
    np.testing.assert_allclose(found.values, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("layer", "opened"), [(0, 0), (3, 3), (-1, 3), (None, 1)])
def test_layers_are_counted_as_of_fine_tuning(layer, opened, method):
    assert Frozen.open(FrozenSection(method["pretrained"], layer=layer)).of_run.layer == opened


@pytest.mark.parametrize(("name", "kept"), [("fine_tuned", 1), ("distilled", 0)])
def test_of_a_classifier_it_is_the_layer_that_it_reads(name, kept, method):
    assert Frozen.open(FrozenSection(method[name])).of_run.layer == kept
    with pytest.raises(ConfigError, match=rf"--layer=2: .* has kept only 0.*{kept or 'input'}"):
        Frozen.open(FrozenSection(method[name], layer=2))


def test_labels_and_splits_may_change_without_computing_again(run, tmp_path, computed):
    class_of = write_images(tmp_path / "images")
    flags = {"dataset": "folder", "data_dir": str(tmp_path / "images")}
    Frozen.open(FrozenSection(str(run), class_level=0, **flags)).features("train")
    assert sum(computed) == 21
    names = list(class_of)
    for count in (6, 15):
        chosen = {name: class_of[name] for name in names[::3] + names[1::3][: count - 7]}
        table = write_table(tmp_path / "labels.csv", chosen)
        opened = Frozen.open(FrozenSection(str(run), labels=table, **flags))
        for split in opened.source.splits:
            found = opened.features(split)
            own = [class_of[each] if each in chosen else None for each in found.ids]
            known = opened.source.class_names
            assert [known[n] if n >= 0 else None for n in found.labels] == own
    # Nor without a table, as class/file.
    assert len(Frozen.open(FrozenSection(str(run), **flags)).features("train").ids) == 18
    assert sum(computed) == 21
    # But what has changed.
    Image.new("RGB", (12, 12)).save(tmp_path / "images" / names[0])
    Frozen.open(FrozenSection(str(run), class_level=0, **flags)).features("train")
    assert sum(computed) == 22


def test_a_corrupt_image_is_left_out(run, tmp_path):
    class_of = write_images(tmp_path / "images")
    (tmp_path / "images" / "red" / "3.png").write_bytes(b"no image")
    config = (run / "config.json").read_text()
    (run / "config.json").write_text(config.replace('images": 0.01', 'images": 0.1'))
    section = FrozenSection(str(run), dataset="folder", data_dir=str(tmp_path / "images"),
                            class_level=0)  # fmt: skip
    found = Frozen.open(section).features("train")
    assert found.ids == sorted(set(class_of) - {"red/3.png"})
    assert len(found.values) == 20
    np.testing.assert_array_equal(found.labels, -1)


def test_digits_have_their_own_labels(run, computed):
    opened = Frozen.open(FrozenSection(str(run), feature_type="float16"))
    found = opened.features("train")
    assert found.values.dtype == np.float16 and len(found.values) == 1437
    labelled = opened.labelled(LabelsConfig(label_fraction=0.02))
    assert len(labelled) == 29
    train = found.of(labelled)
    rows = [found.ids.index(each) for each in sorted(labelled, key=found.ids.index)]
    np.testing.assert_array_equal(train.values, found.values[rows])
    np.testing.assert_array_equal(train.labels, found.labels[rows])
    assert opened.eval_split == "test"
    assert sum(computed) == 1437


def test_weights_of_the_same_step_that_differ_have_features_of_their_own(run, tmp_path, computed):
    write_images(tmp_path / "images")
    section = FrozenSection(str(run), dataset="folder", data_dir=str(tmp_path / "images"),
                            class_level=0)  # fmt: skip
    opened = Frozen.open(section)
    checkpoint = opened.of_run.checkpoint
    first = np.array(opened.features("train").values)
    network = checkpoint.restore_network()
    network.encoder.weights[0].assign_add(0.1 * tf.ones_like(network.encoder.weights[0]))
    counter = tf.train.Checkpoint(_iterations=tf.Variable(checkpoint.step, dtype=tf.int64))
    changed = tf.train.Checkpoint(network=network, optimizer=counter)
    assert changed.save_counter == 0  # Made here, to be written too.
    changed.write(checkpoint.path)
    second = Frozen.open(section).features("train").values
    assert sum(computed) == 42 and np.abs(first - second).max() > 1e-3


def test_runs_without_a_checkpoint_are_refused(run):
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(ConfigError, match=r"--model_dir=.* holds no checkpoint"):
        Frozen.open(FrozenSection(str(run)))
