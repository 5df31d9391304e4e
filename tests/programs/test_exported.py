"""``predict`` and ``embed`` apply an export to image files."""

import csv
import json
import os
from unittest import mock

import numpy as np
import pyarrow.parquet
import pytest
from google.protobuf import text_format
from PIL import Image
from sklearn.datasets import load_digits
from tensorboard.plugins.projector import ProjectorConfig

from tests.data.samples import KINDS, oriented
from tf_simclrv2.data.decoding import PLAIN
from tf_simclrv2.data.images import decode
from tf_simclrv2.keras2 import tf
from tf_simclrv2.programs import projector
from tf_simclrv2.runtime import calibration_file
from tf_simclrv2.runtime.checkpoint import load_run
from tf_simclrv2.runtime.served import Served

COUNT = 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Digits as image files, in two folders."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "more").mkdir()
    pixels = (load_digits().images[-COUNT:] * 255 / 16).round().astype(np.uint8)
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(folder / ("more" if index > 4 else ".") / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def expected(method):
    """What the run's own network makes of them."""
    network = load_run(method["fine_tuned"])
    pixels = (load_digits().images[-COUNT:] * 255 / 16).round().astype(np.float32) / 255
    return network(np.repeat(pixels[..., np.newaxis], 3, -1), training=False)


def test_predictions_are_the_likeliest_classes(command, method, folder, expected, tmp_path):
    output = tmp_path / "out.csv"
    arguments = [f"--saved_model={method['export']}", f"--images={folder}"]
    assert command("predict", *arguments, f"--output={output}", "--batch_size=3").code == 0
    with open(output, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [os.path.basename(row["image"]) for row in rows] == [f"{i}.png" for i in range(COUNT)]
    temperature = calibration_file.read(method["fine_tuned"], 4).temperature
    assert abs(temperature - 1) > 0.05
    for row, logits in zip(rows, expected["logits"]):
        probabilities = tf.nn.softmax(logits / temperature).numpy()
        for rank, index in enumerate(np.argsort(-probabilities)[:5], start=1):
            suffix = "" if rank == 1 else f"_{rank}"
            assert row[f"class{suffix}"] == str(index)
            assert float(row[f"probability{suffix}"]) == pytest.approx(
                probabilities[index], abs=2e-6
            )
        assert "class_6" not in row


def test_globs_and_lists_and_parquet(command, method, folder, tmp_path):
    (tmp_path / "list.txt").write_text(f"{folder}/3.png\n{folder}/1.png\n")
    output = tmp_path / "out.parquet"
    outcome = command(
        "predict", f"--saved_model={method['export']}/1", f"--output={output}", "--top_k=100",
        f"--images={tmp_path}/list.txt,{folder}/*/*.png",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    table = pyarrow.parquet.read_table(output).to_pydict()
    assert [os.path.basename(path) for path in table["image"]] == [
        "3.png", "1.png", "5.png", "6.png",
    ]  # fmt: skip
    assert len(table) == 1 + 2 * 10
    total = np.sum([table["probability"], *(table[f"probability_{k}"] for k in range(2, 11))], 0)
    np.testing.assert_allclose(total, 1, rtol=1e-5)


def test_unreadable_files_are_listed_and_left_out(command, method, folder, tmp_path):
    (tmp_path / "torn.png").write_bytes((folder / "0.png").read_bytes()[:30])
    images = f"{tmp_path}/none.png,{tmp_path}/torn.png,{folder}/0.png,{folder}/1.png"
    arguments = [f"--saved_model={method['export']}", f"--output={tmp_path}/out.csv"]
    outcome = command("predict", *arguments, f"--images={images}")
    assert outcome.code == 0
    assert outcome.err.splitlines()[-2:] == [
        f"unreadable, left out: {tmp_path}/{name}.png" for name in ("none", "torn")
    ]
    assert "2 predictions written" in outcome.out
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 3

    os.remove(tmp_path / "out.csv")
    outcome = command("predict", *arguments, f"--images={tmp_path}/torn.png")
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1].endswith("every file is missing or corrupt.")
    assert not (tmp_path / "out.csv").exists()


def test_files_of_every_kind_are_seen_as_their_pixels(command, method, tmp_path):
    """Also those that an export doesn't decode, as they are decoded before."""
    names = ("BMP run lengths", "BMP palette", "PNG alpha", "TIFF", "WebP", "GIF transparent")
    contents = [KINDS[name].content for name in names]
    contents += [oriented("JPEG", 6), oriented("WEBP", 5), oriented("PNG", 8)]
    for number, content in enumerate(contents):
        (tmp_path / f"{number}.png").write_bytes(content)
        pixels = tf.io.encode_png(decode(tf.constant(content)))
        (tmp_path / f"{number}_as_png.png").write_bytes(pixels.numpy())
    output = tmp_path / "out.npy"
    arguments = [f"--saved_model={method['export']}", f"--images={tmp_path}"]
    outcome = command("embed", *arguments, f"--output={output}")
    assert outcome.code == 0 and "unreadable" not in outcome.err
    embeddings = np.load(output)
    assert len(embeddings) == 2 * len(contents)
    np.testing.assert_allclose(embeddings[::2], embeddings[1::2], rtol=1e-5, atol=1e-6)

    outcome = command(
        "predict", *arguments, f"--output={tmp_path}/out.csv", "--max_image_pixels=1919"
    )
    assert outcome.code == 1
    reason = "it has 1920 pixels, more than --max_image_pixels=1919"
    assert outcome.err.count(reason) == len(embeddings)


def test_an_export_of_before_the_output_valid_is_used(command, method, folder, tmp_path):
    """It knows no orientation and answers nothing if one file is bad."""

    def serve(image_bytes):
        images = [PLAIN(content) for content in image_bytes]
        sums = [tf.reduce_sum(tf.cast(image[0], tf.float32))[tf.newaxis] for image in images]
        return {"representation": tf.stack(sums)}

    (tmp_path / "turned.jpg").write_bytes(oriented("JPEG", 6))
    (tmp_path / "torn.png").write_bytes((folder / "0.png").read_bytes()[:30])
    served = Served(serve, None, marks_invalid=False)
    with mock.patch("tf_simclrv2.programs.exported.load_served", return_value=served):
        outcome = command(
            "embed", f"--saved_model={method['export']}", f"--images={tmp_path}",
            f"--output={tmp_path}/out.npy",
        )  # fmt: skip
    assert outcome.code == 0
    assert f"unreadable, left out: {tmp_path}/torn.png" in outcome.err
    first_row = decode(tf.constant(oriented("JPEG", 6)))[0].numpy()
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), [[first_row.sum()]])


def test_embeddings_have_ids_and_show_in_the_projector(command, method, folder, expected, tmp_path):
    outcome = command(
        "embed", f"--saved_model={method['export']}", f"--images={folder}", "--projector",
        f"--output={tmp_path}/digits.npy", "--batch_size=4",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    embeddings = np.load(tmp_path / "digits.npy")
    np.testing.assert_allclose(embeddings, expected["representation"], atol=1e-5)
    ids = (tmp_path / "digits_ids.txt").read_text().splitlines()
    assert [os.path.basename(path) for path in ids] == [f"{i}.png" for i in range(COUNT)]

    directory = tmp_path / "digits_projector"
    config = ProjectorConfig()
    text_format.Parse((directory / "projector_config.pbtxt").read_text(), config)
    (embedding,) = config.embeddings
    np.testing.assert_allclose(
        np.loadtxt(directory / embedding.tensor_path, delimiter="\t"), embeddings, rtol=1e-6
    )
    with open(directory / embedding.metadata_path, newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["image"] for row in rows] == ids
    classes = np.argmax(expected["logits"], axis=1)
    assert [row["class"] for row in rows] == [str(index) for index in classes]

    thumbnails = np.asarray(Image.open(directory / embedding.sprite.image_path))
    assert list(embedding.sprite.single_image_dim) == [64, 64]
    # Rows of three, for seven images.
    assert thumbnails.shape == (3 * 64, 3 * 64, 3)
    for index, path in enumerate(ids):
        row, column = divmod(index, 3)
        shown = thumbnails[64 * row : 64 * row + 64, 64 * column : 64 * column + 64]
        pixels = np.asarray(Image.open(path)).astype(float)
        # Each pixel of eight is the centre of eight pixels.
        blocks = shown.reshape(8, 8, 8, 8, 3)[:, 3:5, :, 3:5].mean(axis=(1, 3, 4))
        assert np.abs(blocks - pixels).max() < 40
        assert np.corrcoef(blocks.ravel(), pixels.ravel())[0, 1] > 0.99
    assert (thumbnails[128:, 64:] == 255).all()


def test_tensorboard_serves_what_the_projector_asks_for(folder, tmp_path):
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.projector import projector_plugin
    from werkzeug.test import Client

    paths = sorted(str(path) for path in folder.rglob("*.png"))
    embeddings = np.arange(2 * COUNT).reshape(COUNT, 2) / 7
    projector.write(str(tmp_path), embeddings, paths)
    context = base_plugin.TBContext(logdir=str(tmp_path))
    apps = projector_plugin.ProjectorPlugin(context).get_plugin_apps()

    def served(route):
        response = Client(apps[f"/{route}"]).get(
            query_string={"run": ".", "name": "representation"}
        )
        assert response.status_code == 200, response.text
        return response

    (entry,) = json.loads(served("info").data)["embeddings"]
    assert entry["tensorShape"] == [COUNT, 2]
    assert entry["sprite"] == {"imagePath": "thumbnails.png", "singleImageDim": [64, 64]}
    tensor = np.frombuffer(served("tensor").data, np.float32).reshape(COUNT, 2)
    np.testing.assert_allclose(tensor, embeddings, rtol=1e-6)
    # Without classes there is one column, which has no header.
    assert served("metadata").data.decode().split() == paths
    assert served("sprite_image").data == (tmp_path / "thumbnails.png").read_bytes()


def test_the_projector_knows_the_true_labels_of_images_in_folders_of_classes(folder, tmp_path):
    paths = sorted(str(path) for path in folder.rglob("*.png"))
    places = [f"/data/{name}/{number}.png" for number, name in enumerate("3390x33")]
    label_of = projector.labels_of(places, ["3", "9", "0"])
    labels = [label_of.get(place, "") for place in places]
    assert labels == ["3", "3", "9", "0", "", "3", "3"]
    projector.write(str(tmp_path), np.zeros([COUNT, 2]), paths, ["9"] * COUNT, labels)
    with open(tmp_path / "metadata.tsv", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["label"] for row in rows] == ["3", "3", "9", "0", "unknown", "3", "3"]
    assert [row["class"] for row in rows] == ["9"] * COUNT
    assert projector.labels_of(["/images/1.png", "2.png"], ["3"]) == {}


def test_many_images_have_smaller_thumbnails_and_still_more_have_none(
    folder, tmp_path, monkeypatch, caplog
):
    paths = sorted(str(path) for path in folder.rglob("*.png"))
    for side, size in ((192, 64), (191, 63), (48, 16)):
        monkeypatch.setattr(projector, "_LARGEST_PICTURE", side)
        projector.write(str(tmp_path / str(side)), np.zeros([COUNT, 2]), paths)
        with Image.open(tmp_path / str(side) / "thumbnails.png") as picture:
            assert picture.size == (3 * size, 3 * size)
    assert not caplog.records
    monkeypatch.setattr(projector, "_LARGEST_PICTURE", 47)
    projector.write(str(tmp_path / "none"), np.zeros([COUNT, 2]), paths)
    assert caplog.messages == [f"{tmp_path}/none has no thumbnails: 7 images are too many"]
    assert "sprite" not in (tmp_path / "none" / "projector_config.pbtxt").read_text()
    assert not (tmp_path / "none" / "thumbnails.png").exists()


def test_thumbnails_are_the_middle_of_photographs_in_rgb(tmp_path):
    wide = np.zeros([40, 100, 3], np.uint8)
    wide[:, 30:70] = (200, 100, 50)
    Image.fromarray(wide).save(tmp_path / "wide.bmp")
    tall = np.full([300, 100], 90, np.uint8)
    Image.fromarray(tall).save(tmp_path / "tall.jpg")
    projector.write(
        str(tmp_path / "out"), np.zeros([2, 1]), [f"{tmp_path}/wide.bmp", f"{tmp_path}/tall.jpg"]
    )
    picture = np.asarray(Image.open(tmp_path / "out" / "thumbnails.png")).astype(int)
    assert picture.shape == (128, 128, 3)
    assert (picture[:64, :64] == (200, 100, 50)).all()
    assert (abs(picture[:64, 64:] - 90) <= 1).all()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["predict", "--output=out.xls"], "--output=out.xls: must end in .csv or .parquet."),
        (["predict", "--top_k=0"], "--top_k=0: must be greater than 0."),
        (["embed", "--output=out.csv"], "--output=out.csv: must end in .npy."),
        (["predict", "--output={folder}/folder.csv"], "--output={folder}/folder.csv: is a direct"),
        (["embed", "--output={folder}/folder.npy"], "--output={folder}/folder.npy: is a directory"),
        (["predict", "--output=/proc/out.csv"], "--output=/proc/out.csv: can't be written ("),
        (["embed", "--output=/proc/out.npy"], "--output=/proc/out.npy: can't be written ("),
        (["embed", "--output=none/out.npy"], "--output=none/out.npy: the directory"),
        (["embed", "--saved_model=none"], "--saved_model=none: must be an export with"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(command, method, folder, arguments, sentence, tmp_path):
    for suffix in ("csv", "npy"):
        (tmp_path / f"folder.{suffix}").mkdir()
    given = [f"--saved_model={method['export']}", f"--images={folder}", *arguments[1:]]
    outcome = command(arguments[0], *(each.format(folder=tmp_path) for each in given))
    assert outcome.code == 1
    # Before a progress bar.
    assert outcome.err.startswith(f"error: {sentence.format(folder=tmp_path)}")
    assert sorted(os.listdir(tmp_path)) == ["folder.csv", "folder.npy"]
