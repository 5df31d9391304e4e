"""``predict`` and ``embed`` apply an export to image files."""

import csv
import os

import numpy as np
import pyarrow.parquet
import pytest
from google.protobuf import text_format
from PIL import Image
from sklearn.datasets import load_digits
from tensorboard.plugins.projector import ProjectorConfig

from tf_simclrv2.keras2 import tf
from tf_simclrv2.runtime.restoring import restore_network
from tf_simclrv2.runtime.run_directory import RunDirectory

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
    network = restore_network(RunDirectory(method["fine_tuned"]))
    pixels = (load_digits().images[-COUNT:] * 255 / 16).round().astype(np.float32) / 255
    return network(np.repeat(pixels[..., np.newaxis], 3, -1), training=False)


def test_predictions_are_the_likeliest_classes(command, method, folder, expected, tmp_path):
    output = tmp_path / "out.csv"
    arguments = [f"--saved_model={method['export']}", f"--images={folder}"]
    assert command("predict", *arguments, f"--output={output}", "--batch_size=3").code == 0
    with open(output, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [os.path.basename(row["image"]) for row in rows] == [f"{i}.png" for i in range(COUNT)]
    for row, logits in zip(rows, expected["logits"]):
        probabilities = tf.nn.softmax(logits).numpy()
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
    assert outcome.err.splitlines()[-1].endswith("none of the files is a whole image.")
    assert not (tmp_path / "out.csv").exists()


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


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["predict", "--output=out.xls"], "--output=out.xls: must end .csv or .parquet."),
        (["predict", "--top_k=0"], "--top_k=0: must be greater than 0."),
        (["embed", "--output=out.csv"], "--output=out.csv: must end .npy."),
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
