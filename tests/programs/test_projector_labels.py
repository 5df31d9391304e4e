"""True labels in the projector: of folders, or of a table."""

import csv
import os

import numpy as np
import pytest
from PIL import Image

from tf_simclrv2.data.decoding import PLAIN
from tf_simclrv2.keras2 import tf
from tf_simclrv2.programs import exported, projector
from tf_simclrv2.runtime.served import Served

COUNT = 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Seven images, in two folders."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "more").mkdir()
    for index in range(COUNT):
        pixels = np.full([8, 8, 3], 30 * index, np.uint8)
        Image.fromarray(pixels).save(folder / ("more" if index > 4 else ".") / f"{index}.png")
    return folder


def test_folders_are_labels_where_there_are_several_and_no_classes_are_known():
    places = [f"/data/{name}/{number}.png" for number, name in enumerate("3390x33")]
    assert list(projector.labels_of(places, None).values()) == list("3390x33")
    assert projector.labels_of(["/images/1.png", "/images/2.png"], None) == {}
    assert projector.labels_of(["/images/train/1.png", "/images/test/2.png"], None) == {}


@pytest.fixture
def exported_features(monkeypatch):
    """An export without a classifier, which answers each image's first pixel."""

    def serve(image_bytes):
        pixels = [tf.cast(PLAIN(content)[0, 0], tf.float32) for content in image_bytes]
        return {"representation": tf.stack(pixels)}

    served = Served(serve, None, marks_invalid=False)
    monkeypatch.setattr(exported, "load_served", lambda found: served)
    monkeypatch.setattr(exported, "find_saved_model", lambda given: given)


def _labels_shown(command, folder, table, *lines):
    """Runs embed with a table of these lines; returns the labels by file, or the error."""
    place = table.parent
    table.write_text("image,label\n" + "".join(f"{line}\n" for line in lines))
    given = [f"--saved_model={place}", f"--images={folder}", f"--output={place}/out.npy"]
    outcome = command("embed", *given, "--projector", f"--labels={table}")
    if outcome.code:
        return outcome.err
    with open(place / "out_projector" / "metadata.tsv", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return {os.path.basename(row["image"]): row["label"] for row in rows if "label" in row}


@pytest.mark.usefixtures("exported_features")
def test_the_projector_takes_labels_from_a_table(command, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    table = tmp_path / "labels.csv"
    # From the folder, by name, from here, with the whole path, and without a label.
    lines = ["more/5.png,a", "6.png,b", "./0.png,c", f"{folder}/1.png,d", "2.png,"]
    for images in (folder, f"{folder}/*.png,more", "."):
        shown = _labels_shown(command, images, table, *lines)
        known = {"5.png": "a", "6.png": "b", "0.png": "c", "1.png": "d"}
        assert shown == {f"{n}.png": known.get(f"{n}.png", "unknown") for n in range(COUNT)}
    assert _labels_shown(command, folder, table, "2.png,") == {}
    said = _labels_shown(command, folder, table, "7.png,a")
    assert f"--labels={table}: 1 of its 1 rows name no image of --images={folder}" in said
    assert said.count("\n") == 1
    said = _labels_shown(command, folder, table, "1.png,a", f"{folder}/1.png,b")
    assert "is labelled a in line 2, but b in line 3" in said
    said = _labels_shown(command, folder, table)
    assert "must have a row for each image that was labelled" in said


@pytest.mark.usefixtures("exported_features")
def test_without_a_classifier_folders_are_labels(command, folder, tmp_path):
    given = [f"--saved_model={tmp_path}", f"--images={folder}", f"--output={tmp_path}/out.npy"]
    assert command("embed", *given, "--projector").code == 0
    with open(tmp_path / "out_projector" / "metadata.tsv", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["label"] for row in rows] == [folder.name] * 5 + ["more"] * 2
    outcome = command("embed", *given, "--labels=labels.csv")
    assert outcome.code == 1
    assert outcome.err.startswith("error: --labels=labels.csv: is shown by the projector, so give")
