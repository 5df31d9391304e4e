"""Labels of a table over the images of a folder and of TensorFlow Datasets."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from tf_simclrv2.config import AugmentationConfig, ConfigError, DataConfig, LabelsConfig
from tf_simclrv2.data.batches import Views, batches
from tf_simclrv2.data.labels import labelled_ids
from tf_simclrv2.data.sources import open_other, open_source
from tf_simclrv2.data.stream import Stream

FILES = [
    f"{folder}/{number}.png" for folder in ("a", "b/c", "b/c/d", ".") for number in range(10, 20)
]
FILES = sorted(os.path.normpath(file) for file in FILES)
CLASSES = ["ant", "bee"]


def _write(path, value):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Image.fromarray(np.full((8, 9, 3), value, np.uint8)).save(path)


@pytest.fixture
def images(tmp_path):
    """Forty images, at any depth; each is of one value, its place among the paths."""
    for value, file in enumerate(FILES):
        _write(str(tmp_path / "images" / file), value)
    return tmp_path / "images"


@pytest.fixture
def opened(tmp_path, images):
    """Opens the folder with a table: a text, or rows of an image and a label."""

    def open_with(table, **settings):
        path = tmp_path / "labels.csv"
        if not isinstance(table, str):
            table = "image,label\n" + "".join(f"{file},{label}\n" for file, label in table)
        path.write_text(table, encoding="utf-8")
        data = DataConfig(dataset="folder", data_dir=str(images), labels=str(path), **settings)
        return open_source(data)

    return open_with


@pytest.fixture
def refused(opened, tmp_path):
    def refuse(table, **settings):
        with pytest.raises(ConfigError) as error:
            opened(table, **settings)
        sentence = str(error.value)
        assert "\n" not in sentence and sentence.endswith(".")
        return sentence.replace(f"{tmp_path}/", "")

    return refuse


def _labels(source, split):
    """Labels by id, as the pipeline brings them."""
    return {e["id"].decode(): int(e["label"]) for e in source.index(split).as_numpy_iterator()}


class TestNames:
    """What a table may call an image."""

    def test_paths_in_any_spelling(self, opened, images):
        named = {
            "a/10.png": "a/10.png",
            "./a/11.png": "a/11.png",
            "b\\c\\12.png": "b/c/12.png",
            "b/../a/13.png": "a/13.png",
            f"{images}/b/c/d/14.png": "b/c/d/14.png",
            " a/15.png ": "a/15.png",
            # Directly in the folder, where others have this file name.
            "16.png": "16.png",
        }
        rows = [(name, CLASSES[n % 2]) for n, name in enumerate(named)]
        source = opened(rows, holdout_fraction=0)
        expected = {file: CLASSES[n % 2] for n, file in enumerate(named.values())}
        found = source.labelled("train")
        assert {file: source.class_names[label] for file, label in found.items()} == expected

    def test_letters_in_either_spelling(self, opened, images):
        _write(str(images / "a" / "u\u0308ber.png"), 200)
        table = "image,label\na/\u00fcber.png,ant\na/10.png,bee\n"
        assert opened(table, holdout_fraction=0).labelled("train").keys() == {
            "a/u\u0308ber.png", "a/10.png",
        }  # fmt: skip

    def test_names_of_files_where_they_are_unique(self, opened, refused, images):
        _write(str(images / "b/c/only.png"), 200)
        table = [("only.png", "ant"), ("a/10.png", "bee")]
        assert opened(table, holdout_fraction=0).labelled("train") == {
            "a/10.png": 1, "b/c/only.png": 0,
        }  # fmt: skip
        _write(str(images / "a/only.png"), 201)
        assert refused(table) == (
            "--labels=labels.csv: line 2: only.png is the name of 2 images; name them by their "
            "paths, such as a/only.png and b/c/only.png."
        )

    def test_odd_names_as_lists_of_runs_write_them(self, opened, images):
        good = (images / FILES[0]).read_bytes()
        for name in (b"o\xff.png", b"o\nd.png", b"o,d.png"):
            with open(os.path.join(os.fsencode(images), name), "wb") as file:
                file.write(good)
        source = opened(
            'image,label\no\\xff.png,ant\no\\nd.png,bee\n"o,d.png",ant\n', holdout_fraction=0
        )
        found = dict(zip(source.labelled("train"), source.labelled("train").values()))
        assert found == {"o\nd.png": 1, "o,d.png": 0, "o\udcff.png": 0}
        labels = [int(e["label"]) for e in source.index("train").as_numpy_iterator()]
        assert sorted(labels) == [-1] * 40 + [0, 0, 1]

    def test_images_that_are_not_there(self, refused):
        assert refused([("a/10.png", "ant"), ("a/99.png", "bee"), ("x", "")]) == (
            "--labels=labels.csv: 2 of its 3 rows name no image of --data_dir=images, such as "
            "a/99.png in line 3; images are called like 10.png."
        )


class TestRows:
    """What rows of one image may say, and labels."""

    def test_the_same_twice_is_no_contradiction(self, opened):
        rows = [("a/10.png", "ant"), ("a/10.png", "ant"), ("./a/10.png", "")]
        rows += [("b/c/10.png", ""), ("b/c/10.png", "bee")]
        source = opened(rows, holdout_fraction=0)
        assert source.labelled("train") == {"a/10.png": 0, "b/c/10.png": 1}

    @pytest.mark.parametrize(
        ("first", "second", "expected"),
        [
            ("", "centres", "centres"), ("centres", "random", "centres"), ("random", "", "random"),
            ("random", "coreset", "coreset"), ("", "", None),
        ],
    )  # fmt: skip
    def test_an_image_that_was_chosen_stays_so_in_another_row(
        self, opened, first, second, expected
    ):
        rows = [f"a/10.png,,{first}", f"a/10.png,ant,{second}", "b/c/10.png,bee,"]
        source = opened("\n".join(["image,label,chosen_by", *rows]), holdout_fraction=0)
        assert source.labelled("train") == {"a/10.png": 0, "b/c/10.png": 1}
        assert source.chosen_by.get("a/10.png") == expected

    def test_contradictions_are_refused_with_both_lines(self, refused):
        rows = [("a/10.png", "ant"), ("a/11.png", "bee"), ("./a/10.png", "bee")]
        assert refused(rows) == (
            "--labels=labels.csv: ./a/10.png is labelled ant in line 2, but bee in line 4."
        )
        table = "image,label,split\na/10.png,ant,\na/11.png,bee,test\na/10.png,ant,val\n"
        assert refused(table) == (
            "--labels=labels.csv: a/10.png is of train in line 2, but of validation in line 4."
        )

    def test_classes_are_those_of_a_list(self, opened, refused, tmp_path, caplog):
        (tmp_path / "classes.txt").write_text("bee\nant\nwasp\n")
        classes = str(tmp_path / "classes.txt")
        rows = [("a/10.png", "ant"), ("a/11.png", "bee")]
        source = opened(rows, classes=classes)
        assert source.class_names == ["bee", "ant", "wasp"]
        assert source.labelled("train") == {"a/10.png": 1, "a/11.png": 0}
        (warning,) = [record.getMessage() for record in caplog.records]
        assert "1 of the 3 classes have no image to train on yet (wasp)" in warning
        assert refused([*rows, ("a/12.png", "fly")], classes=classes) == (
            "--labels=labels.csv: line 4 has the label fly, which is none of the classes of "
            "--classes=classes.txt (bee, ant, wasp)."
        )

    @pytest.mark.parametrize("labels", [["", ""], ["ant", ""]])
    def test_fewer_than_two_classes_are_as_none(self, opened, labels, tmp_path):
        source = opened(zip(FILES, labels))
        assert source.class_names is None and source.splits == ["train"]
        assert set(_labels(source, "train").values()) == {-1}
        assert str(source.without_labels("fine-tuning")).replace(f"{tmp_path}/", "") == (
            f"--labels=labels.csv: has labels of {sum(map(bool, labels))} "
            f"class{'' if any(labels) else 'es'}, but fine-tuning needs two or more; fill in its "
            "column label."
        )

    def test_one_class_to_train_on_is_too_few(self, opened, tmp_path):
        rows = [f"{FILES[0]},ant,train", f"{FILES[1]},bee,test", f"{FILES[2]},bee,test"]
        source = opened("\n".join(["image,label,split", *rows]))
        assert source.class_names == ["ant", "bee"]
        assert str(source.without_labels("fine-tuning")).replace(f"{tmp_path}/", "") == (
            "--labels=labels.csv: has labels of 1 class among the images to train on, but "
            "fine-tuning needs two or more; fill in its column label."
        )

    def test_a_list_without_a_table_is_refused(self):
        with pytest.raises(ConfigError, match=r"--classes=c\.txt: needs --labels, the table of th"):
            DataConfig(classes="c.txt")


def _rows(counts):
    """Labels of the first so many files of each class."""
    names = [name for name, count in counts.items() for _ in range(count)]
    return list(zip(FILES, names))


class TestSplits:
    """Which images are to train on, and which to evaluate on."""

    def test_a_column_separates_them(self, opened, caplog):
        table = "image,label,split\n"
        splits = ["train"] * 5 + [""] * 2 + ["val"] * 4 + ["testing"] * 6
        for number, (file, split) in enumerate(zip(FILES, splits)):
            table += f"{file},{CLASSES[number % 2] if number != 8 else ''},{split}\n"
        source = opened(table)
        assert source.splits == ["train", "test", "validation"]
        assert source.evaluation_split(None) == "validation"
        expected = {file: number % 2 for number, file in enumerate(FILES[:17])}
        others = {**dict.fromkeys(FILES[17:], -1), **{f: expected[f] for f in FILES[:7]}}
        assert _labels(source, "train") == others
        # The one without a label is of no split.
        validation = {f: expected[f] for f in FILES[7:11] if f != FILES[8]}
        assert _labels(source, "validation") == validation == source.labelled("validation")
        assert _labels(source, "test") == {f: expected[f] for f in FILES[11:17]}
        assert [source.num_examples(split) for split in source.splits] == [30, 6, 3]
        assert [
            r.getMessage()
            for r in caplog.records
            if "without a label (1, such as" in r.getMessage()
        ]

    def test_a_seeded_part_of_each_class_is_held_out(self, opened):
        rows = _rows({"ant": 20, "bee": 9, "cow": 2, "dog": 1})
        source = opened(rows, holdout_fraction=0.25)
        held_out = _labels(source, "validation")
        # Of 0.5 and 0.25 none.
        assert sorted(held_out.values()) == [0] * 5 + [1] * 2
        train = _labels(source, "train")
        assert not train.keys() & held_out.keys() and train.keys() | held_out.keys() == set(FILES)
        assert sorted(train.values()) == [-1] * 8 + [0] * 15 + [1] * 7 + [2, 2, 3]
        assert _labels(opened(rows, holdout_fraction=0.25), "validation") == held_out
        other = opened(rows, holdout_fraction=0.25, holdout_seed=1)
        assert _labels(other, "validation") != held_out
        # Never the last one.
        nearly_all = opened(rows, holdout_fraction=0.99)
        assert sorted(nearly_all.labelled("train").values()) == [0, 1, 2, 3]

    def test_most_of_what_is_held_out_stays_as_labels_are_added(self, opened):
        few = set(_labels(opened(_rows({"ant": 20, "bee": 1}), holdout_fraction=0.5), "validation"))
        rows = [*_rows({"ant": 20}), *zip(FILES[20:24], ["ant"] * 4), *zip(FILES[30:], CLASSES[1:])]
        more = set(_labels(opened(rows, holdout_fraction=0.5), "validation"))
        assert len(few) == 10 and len(more) == 12 and len(few & more) >= 8

    def test_where_nothing_is_held_out_there_is_nothing_to_evaluate_on(self, opened):
        source = opened(_rows({"ant": 4, "bee": 4}))
        assert source.splits == ["train"] and source.holds_out_nothing(None)
        assert not source.holds_out_nothing("train")
        with pytest.raises(ConfigError, match="has no split validation or test to evaluate on"):
            source.evaluation_split(None)
        with pytest.raises(ConfigError, match="--eval_split=test: folder has the splits train"):
            source.evaluation_split("test")

    def test_a_table_to_evaluate_on_is_one_split(self, opened, tmp_path, images):
        opened(_rows({"bee": 12}))
        data = DataConfig(
            dataset="folder", data_dir=str(images), labels=str(tmp_path / "labels.csv")
        )
        source = open_other(data, CLASSES)
        assert source.class_names == CLASSES and source.evaluation_split(None) == "all"
        assert _labels(source, "all") == dict.fromkeys(FILES[:12], 1)
        opened("image,label,split\na/10.png,bee,train\na/11.png,,test\n")
        with pytest.raises(ConfigError, match="no image with a label whose split is validation or"):
            open_other(data, CLASSES)
        opened(_rows({"bee": 12}))
        with pytest.raises(
            ConfigError, match="line 2 has the label bee, which is none of the clas"
        ):
            open_other(data, ["ant", "wasp"])


def test_corrupt_images_are_left_out_labelled_or_not(opened, images):
    for file in FILES[0], FILES[30]:
        (images / file).write_bytes(b"")
    source = opened(_rows({"ant": 10, "bee": 10}), max_bad_images=0.2, holdout_fraction=0.2)
    counts = {split: source.num_examples(split) for split in source.splits}
    assert sum(counts.values()) == 38
    assert counts == {split: len(list(source.index(split))) for split in source.splits}
    labelled = {**source.labelled("train"), **source.labelled("validation")}
    assert labelled.keys() == set(FILES[1:20])


def test_the_pipeline_brings_images_with_their_labels(opened, images):
    source = opened(_rows({"ant": 5, "bee": 5}), holdout_fraction=0)
    data = DataConfig(image_size=8)
    stream = Stream(source, "train", 0, data=data)
    plain = AugmentationConfig(
        color_jitter_strength=0.0, use_blur=False, use_flip=False, use_crop=False
    )
    made = batches(stream, Views.two(8, plain), 20).take(2)
    seen = {}
    for batch in made.as_numpy_iterator():
        seen.update(zip(batch["view_1"].max(axis=(1, 2, 3)).tolist(), batch["label"].tolist()))
    assert seen == {value: value // 5 if value < 10 else -1 for value in range(40)}
    only = Stream(source, "train", 0, data=data, ids=list(source.labelled("train")))
    batch = next(batches(only, Views.one(8, plain), 10).as_numpy_iterator())
    assert sorted(batch["label"].tolist()) == [0] * 5 + [1] * 5


def test_fingerprints_tell_images_and_labels_apart_but_not_places(opened, images, tmp_path):
    rows = _rows({"ant": 10, "bee": 10})
    marks = [
        opened(rows, holdout_fraction=0.2).fingerprint(split) for split in ("train", "validation")
    ]
    assert len(set(marks)) == 2
    again = opened([*rows, (FILES[30], "")], holdout_fraction=0.2)
    assert [again.fingerprint(split) for split in ("train", "validation")] == marks
    keys = {again.content_key(split) for split in ("train", "validation")}
    turned = [(file, "bee" if label == "ant" else "ant") for file, label in rows]
    other = opened(turned, holdout_fraction=0.2)
    assert not {other.fingerprint(split) for split in ("train", "validation")} & set(marks)
    assert not {other.content_key(split) for split in ("train", "validation")} & keys
    shutil.copytree(images, tmp_path / "copy")
    (tmp_path / "copy.csv").write_text((tmp_path / "labels.csv").read_text())
    data = DataConfig(
        dataset="folder", data_dir=str(tmp_path / "copy"), labels=str(tmp_path / "copy.csv"),
        holdout_fraction=0.2,
    )  # fmt: skip
    assert open_source(data).fingerprint("train") == other.fingerprint("train")


def test_labels_are_chosen_among_those_of_the_table(opened, tmp_path):
    (tmp_path / "classes.txt").write_text("ant\nbee\nwasp\n")
    rows = _rows({"ant": 10, "bee": 20})
    source = opened(rows, holdout_fraction=0, classes=str(tmp_path / "classes.txt"))
    assert labelled_ids(source, "train", LabelsConfig()) == source.labelled("train")
    few = labelled_ids(source, "train", LabelsConfig(labels_per_class=3))
    assert (
        sorted(few.values()) == [0] * 3 + [1] * 3
        and few.items() <= source.labelled("train").items()
    )
    half = labelled_ids(source, "train", LabelsConfig(label_fraction=0.5))
    assert sorted(half.values()) == [0] * 7 + [1] * 8 or sorted(half.values()) == [0] * 8 + [1] * 7
    assert few.keys() <= half.keys()
    with pytest.raises(ConfigError, match="class ant has only 10 examples"):
        labelled_ids(source, "train", LabelsConfig(labels_per_class=11))
    everything_tested = "image,label,split\n" + "".join(f"{f},{n},test\n" for f, n in rows)
    with pytest.raises(ConfigError, match="has no label for an image of train; fill some in"):
        labelled_ids(opened(everything_tested), "train", LabelsConfig())
