"""The whole method on a user's own folder of images, from a look at the views to the export."""

import json
import os

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

TINY = ["--resnet_depth=18", "--width_multiplier=0.0625", "--image_size=16"]
STEPS = ["--train_steps=3", "--train_batch_size=12", "--log_every_steps=1"]


def _write(folder, photograph, count, first=0):
    folder.mkdir(parents=True)
    pixels = load_sample_images().images[photograph]
    for number in range(first, first + count):
        part = pixels[7 * number :, 11 * number :][:64, :80]
        Image.fromarray(part).save(folder / f"{number}.jpg")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Two classes, china and flower, of 20 images each, and a folder of 16 without labels."""
    root = tmp_path_factory.mktemp("images")
    _write(root / "labelled" / "china", 0, 20)
    _write(root / "labelled" / "flower", 1, 20)
    _write(root / "unlabelled" / "any", 0, 8, first=20)
    _write(root / "unlabelled" / "other", 1, 8, first=20)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("augment_on", ["host", "device"])
def test_from_a_folder_to_an_export(command, images, tmp_path, monkeypatch, augment_on):
    monkeypatch.chdir(tmp_path)
    folder = ["--dataset=folder", f"--data_dir={images}/labelled", "--holdout_fraction=0.2"]
    beside = f"--unlabeled_data_dir={images}/unlabelled"
    where = f"--augment_on={augment_on}"
    outcome = command(
        "pretrain", *folder, *TINY, *STEPS, beside, where, "--model_dir=pretrained"
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    config = json.loads((tmp_path / "pretrained" / "config.json").read_text())
    assert config["class_names"] == ["china", "flower"]
    rows = (tmp_path / "pretrained" / "metrics.csv").read_text().splitlines()
    losses = [
        float(row.split(",")[rows[0].split(",").index("supervised_loss")]) for row in rows[1:]
    ]
    # Images without labels leave the probe's loss finite and that of a guess between two.
    assert len(losses) == 3 and 0.2 < losses[0] < 2

    subset = tmp_path / "subset.txt"
    subset.write_text(
        "".join(f"{name}/{n}.jpg\n" for name in ("china", "flower") for n in range(20))
    )
    outcome = command(
        "finetune", *STEPS, "--checkpoint=pretrained", f"--label_subset_file={subset}",
        "--model_dir=listed_too_many",
    )  # fmt: skip
    # A fifth of them is held out for evaluation.
    assert outcome.code == 1 and "8 of its 40 names are no examples" in outcome.err
    assert not os.path.exists("listed_too_many")

    held_out = outcome.err.split("such as ")[1].split(" in line")[0]
    outcome = command("finetune", *STEPS, where, "--checkpoint=pretrained", "--labels_per_class=4",
                      "--model_dir=fine_tuned")  # fmt: skip
    assert outcome.code == 0, outcome.err
    chosen = (tmp_path / "fine_tuned" / "labelled_examples.txt").read_text()
    assert len(chosen.splitlines()) == 8 and held_out not in chosen
    result = json.loads((tmp_path / "fine_tuned" / "result.json").read_text())
    assert (result["num_examples"], result["split"]) == (8, "validation")

    # What a run wrote is a list that another takes.
    outcome = command(
        "finetune", *STEPS, where, "--checkpoint=pretrained", "--model_dir=listed",
        "--label_subset_file=fine_tuned/labelled_examples.txt",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "listed" / "labelled_examples.txt").read_text() == chosen
    losses = [
        json.loads((tmp_path / name / "result.json").read_text())["loss"]
        for name in ("listed", "fine_tuned")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)

    for alpha in ("1.0", "0.5"):
        outcome = command(
            "distill", *STEPS, beside, where, "--teacher=fine_tuned", "--labels_per_class=4",
            f"--distillation_alpha={alpha}", "--color_jitter_strength=0.5",
            f"--model_dir=distilled_{alpha}",
        )  # fmt: skip
        assert outcome.code == 0, outcome.err
    outcome = command("export", "--model_dir=distilled_1.0", "--export_dir=exported")
    assert outcome.code == 0, outcome.err
    names = (tmp_path / "exported" / "1" / "assets" / "class_names.txt").read_text()
    assert names.split() == ["china", "flower"]


@pytest.mark.slow
def test_pretraining_and_distilling_need_no_labels_at_all(command, images, method, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, path in enumerate(sorted((images / "unlabelled").rglob("*.jpg"))):
        (flat / f"{number}.jpg").write_bytes(path.read_bytes())
    folder = ["--dataset=folder", f"--data_dir={flat}"]
    outcome = command("pretrain", *folder, *TINY, *STEPS, f"--model_dir={tmp_path}/pretrained")
    assert outcome.code == 0, outcome.err
    outcome = command(
        "distill", *folder, *STEPS, f"--teacher={method['fine_tuned']}",
        f"--model_dir={tmp_path}/distilled",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    outcome = command(
        "finetune", *STEPS, f"--checkpoint={tmp_path}/pretrained", f"--model_dir={tmp_path}/new"
    )
    assert outcome.code == 1 and "has no labels" in outcome.err
    assert not os.path.exists(tmp_path / "new")


@pytest.mark.slow
def test_views_shows_what_a_run_begins_with(command, images, tmp_path):
    picture = tmp_path / "views.png"
    flags = ["--dataset=folder", f"--data_dir={images}/labelled", "--image_size=32"]
    outcome = command("views", *flags, "--num_images=6", f"--output={picture}")
    assert outcome.code == 0, outcome.err
    assert "6 images of folder train" in outcome.out
    first = np.asarray(Image.open(picture))
    # Two rows of up to four images with two views each, enlarged from 32 pixels to 96.
    assert first.shape == (2 * 100 + 4, 4 * (3 * 100 + 8), 3)
    view = first[4:100, 4 + 100 : 4 + 196]
    np.testing.assert_array_equal(view, view[::3, ::3].repeat(3, 0).repeat(3, 1))

    from tf_simclrv2.config import AugmentationConfig, DataConfig
    from tf_simclrv2.data.batches import Views, batches
    from tf_simclrv2.data.sources import open_source
    from tf_simclrv2.data.stream import Stream

    data = DataConfig(dataset="folder", data_dir=f"{images}/labelled", image_size=32)
    stream = Stream(open_source(data), "train", 0, data=data)
    # As suits small images.
    suiting = AugmentationConfig(color_jitter_strength=0.5, use_blur=False)
    batch = next(iter(batches(stream, Views.two(32, suiting), 16)))
    np.testing.assert_array_equal(view[::3, ::3], batch["view_1"][0])
    np.testing.assert_array_equal(first[4:100:3, 204:300:3], batch["view_2"][0])

    command("views", *flags, "--num_images=6", f"--output={picture}", "--seed=1")
    assert not np.array_equal(np.asarray(Image.open(picture)), first)
    outcome = command("views", *flags, f"--output={tmp_path}/none/views.png")
    assert outcome.code == 1 and "must exist" in outcome.err
    outcome = command("views", *flags, f"--output={tmp_path}/views.jpg")
    assert outcome.code == 1 and "must end in .png" in outcome.err


def test_a_label_outside_the_classes_ends_the_run_with_a_sentence(
    command, images, tmp_path, monkeypatch
):
    from tf_simclrv2.data.sources import FolderSource

    index = FolderSource.index
    monkeypatch.setattr(
        FolderSource,
        "index",
        lambda source, split: index(source, split).map(lambda e: {**e, "label": e["label"] + 1}),
    )
    outcome = command(
        "pretrain", "--dataset=folder", f"--data_dir={images}/labelled", *TINY, *STEPS,
        f"--model_dir={tmp_path}/run",
    )  # fmt: skip
    assert outcome.code == 1
    sentence = outcome.err.splitlines()[-1]
    assert sentence.startswith("error: ") and "the label of example flower/" in sentence
    assert sentence.endswith("jpg is 2, not 0 to 1.")
