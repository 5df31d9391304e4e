"""Data sets that TensorFlow Datasets has stored as ArrayRecord, whose examples come by index."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.conftest import DIGITS_VIEWS, TINY
from tf_simclrv2.config import DataConfig
from tf_simclrv2.data.by_index import number_at
from tf_simclrv2.data.sources import open_source, open_unlabelled
from tf_simclrv2.data.sources.records import ArrayRecords
from tf_simclrv2.data.stream import Part, Stream
from tf_simclrv2.keras2 import tf


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A directory in which the digits are stored as ArrayRecord."""
    directory = str(tmp_path_factory.mktemp("stored"))
    open_source(DataConfig(data_dir=directory, file_format="array_record"))
    return directory


@pytest.fixture
def places(monkeypatch):
    """The places of all records that were read."""
    found = []

    def features(records, number):
        def read(each):
            found.append(int(each))
            return records._serialized[int(each)]

        serialized = tf.numpy_function(read, [number], tf.string, stateful=False)
        return records._features.deserialize_example(
            tf.ensure_shape(serialized, []), decoders=records._undecoded
        )

    monkeypatch.setattr(ArrayRecords, "features", features)
    return found


def _examples(source, split):
    return [*source.examples(split).as_numpy_iterator()]


def _seen(stream, count, *where):
    # On one thread: on several, two epochs may both be the first to read an image that is kept.
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    examples = stream.examples(*where).with_options(options).take(count).as_numpy_iterator()
    return [(each["id"], each["image"], int(each["label"])) for each in examples]


@pytest.mark.parametrize("split", ["train", "test", "train[20:60]", "train[1400:]+test[:9]"])
def test_the_examples_are_those_of_tfrecord(stored, split):
    source, usual = open_source(DataConfig(data_dir=stored)), open_source(DataConfig())
    found, expected = _examples(source, split), _examples(usual, split)
    assert source.num_examples(split) == len(found) == len(expected)
    # Both store them in the order of the same hashes; several files are interleaved in the other.
    by_id = {each["id"]: (each["image"], each["label"]) for each in expected}
    assert len(by_id) == len(found)
    for each in found:
        usual_id = each["id"].replace(b"array_record", b"tfrecord")
        assert by_id[usual_id] == (each["image"], each["label"])
    columns = source.columns(split).with_labels()
    assert columns.ids.tolist() == [each["id"] for each in found]
    assert columns.labels.tolist() == [each["label"] for each in found]
    assert usual.columns(split) is None


def test_a_stream_is_the_same_from_any_position_and_reads_only_what_is_used(stored, places):
    data = DataConfig(data_dir=stored)
    stream = Stream(open_source(data), "train", 5, data=data)
    order = number_at(tf.range(3000, dtype=tf.int64), 1437, 5).numpy()
    whole = _seen(stream, 3000)
    stored_ids = stream.source.columns("train").ids
    assert [example_id for example_id, *_ in whole] == [stored_ids[number] for number in order]
    places.clear()
    assert _seen(stream, 16, 2960) == whole[2960:2976]
    # What is read ahead aside: far less than the examples before, or than an epoch.
    assert {*order[2960:2976]} <= {*places} and len(places) < 200
    places.clear()
    own = [n for n in range(8, 200) if n % 8 // 4 == 1][:40]
    assert _seen(stream, 40, 8, 8, Part(1, 2, 2)) == [whole[n] for n in own]
    others = {*order[[n for n in range(8, 1400) if n % 8 // 4 == 0]]}
    assert len(places) >= 40 and not others & {*places}


def test_kept_examples_and_chosen_ones_are_read_once(stored, places, tmp_path):
    def streams():
        plain = DataConfig(data_dir=stored)
        source = open_source(plain)
        yield Stream(source, "train[:30]", 5, data=plain)
        for more in ({"cache_dataset": True}, {"cache_path": str(tmp_path / "kept_")}):
            yield Stream(source, "train[:30]", 5, data=DataConfig(data_dir=stored, **more))

    plain, *keep = streams()
    expected = _seen(plain, 90)
    assert {label for _, _, label in expected} - {-1} and len({*expected}) == 30
    for stream in keep:
        assert _seen(stream, 90) == expected
        places.clear()
        assert _seen(stream, 90) == expected
        assert not places, "what is kept is read again"
    ids = sorted({example_id.decode() for example_id, *_ in expected})[:7]
    places.clear()
    few = Stream(plain.source, "train[:30]", 5, data=DataConfig(data_dir=stored), ids=ids)
    found = _seen(few, 70)
    assert {*found} == {each for each in expected if each[0].decode() in ids}
    # Once for the label, once for the image.
    assert len({*places}) == 7 and len(places) <= 14


def test_a_table_gives_them_other_labels(stored, tmp_path):
    ids = [each.decode() for each in open_source(DataConfig(data_dir=stored)).columns("train").ids]
    table = tmp_path / "labels.csv"
    table.write_text("image,label\n" + "".join(f"{each},{'ab'[n % 2]}\n"
                                               for n, each in enumerate(ids[:20])))  # fmt: skip
    data = DataConfig(data_dir=stored, labels=str(table), holdout_fraction=0.0)
    stream = Stream(open_source(data), "train", 0, data=data)
    labels = {example_id.decode(): label for example_id, _, label in _seen(stream, 1437)}
    assert labels == {each: n % 2 if n < 20 else -1 for n, each in enumerate(ids)}


def test_files_of_a_folder_may_stand_beside_them(stored, tmp_path):
    for number in range(12):
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(tmp_path / f"{number}.png")
    data = DataConfig(data_dir=stored)
    more = open_unlabelled(str(tmp_path), data)
    stream = Stream(open_source(data), "train[:8]", 0, data=data, unlabelled=more)
    assert stream.by_index is not None
    found = _seen(stream, 20)
    files = {each[0].decode(): each for each in found if each[0].endswith(b".png")}
    assert len({*found}) == 20 and len(files) == 12
    for name, (_, image, label) in files.items():
        assert (image, label) == ((tmp_path / name).read_bytes(), -1)
    expected = {each["id"]: each for each in _examples(stream.source, "train[:8]")}
    for example_id, image, label in found:
        if example_id in expected:
            assert image == expected[example_id]["image"]
            assert label == expected[example_id]["label"]


def test_the_order_of_earlier_runs_can_be_kept(stored):
    data = DataConfig(data_dir=stored, order="buffer")
    stream = Stream(open_source(data), "train[:30]", 5, data=data)
    assert stream.by_index is None
    assert len({*_seen(stream, 30)}) == 30


def test_nothing_is_read_for_labels_that_there_are_not(stored, places, tmp_path):
    source = open_source(DataConfig(data_dir=stored))
    source.class_names = None
    assert source.columns("train[:20]").labels.tolist() == [-1] * 20
    data = DataConfig(data_dir=stored, cache_dataset=True)
    stream = Stream(source, "train[:20]", 0, data=data)
    assert {label for _, _, label in _seen(stream, 20)} == {-1} and len(places) == 20


def test_a_file_that_is_cut_off_is_named(tmp_path):
    data = DataConfig(data_dir=str(tmp_path), file_format="array_record")
    source = open_source(data)
    (file,) = (tmp_path / "digits/1.0.0").glob("*-test.array_record*")
    file.write_bytes(file.read_bytes()[:-5000])
    with pytest.raises(tf.errors.OpError, match=r"digits-test\.array_record"):
        _examples(source, "test")


STEPS = ["--train_batch_size=16", "--image_size=8", *DIGITS_VIEWS]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on a data set that its own command has stored."""
    from tf_simclrv2.programs.main import main

    root = tmp_path_factory.mktemp("runs")
    (root / "stored").mkdir()
    flags = [f"--data_dir={root / 'stored'}", "--file_format=array_record", "--train_steps=2"]
    assert main(["pretrain", *flags, *TINY, *STEPS, f"--model_dir={root / 'run'}"]) == 0
    assert [*(root / "stored/digits/1.0.0").glob("*-test.array_record*")]
    return root / "run"


def _evaluated(path):
    result = json.loads((path / "result.json").read_text())
    return result["split"], result["num_examples"]


def test_a_run_is_fine_tuned_and_evaluated_also_on_other_data(command, run, tmp_path):
    tuned = tmp_path / "tuned"
    outcome = command("finetune", f"--checkpoint={run}", "--labels_per_class=2", *STEPS,
                      "--train_steps=2", f"--model_dir={tuned}")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert _evaluated(tuned) == ("test", 360)
    (tmp_path / "others").mkdir()
    # The same data set, stored in the other way; and images of a folder.
    for number in range(10):
        (tmp_path / f"images/{number}").mkdir(parents=True)
        image = Image.fromarray(np.full((8, 8, 3), number, np.uint8))
        image.save(tmp_path / f"images/{number}/0.png")
    for flags in ([f"--data_dir={tmp_path / 'others'}"],
                  ["--dataset=folder", f"--data_dir={tmp_path / 'images'}"]):  # fmt: skip
        outcome = command("evaluate", f"--model_dir={tuned}", *flags)
        assert outcome.code == 0, outcome.err
    assert [*(tmp_path / "others/digits/1.0.0").glob("*-test.tfrecord*")]


def test_a_run_goes_on_with_or_without_the_flag_but_not_in_the_other_way(command, run, tmp_path):
    kept = json.loads((run / "config.json").read_text())["config"]["data"]
    assert kept["file_format"] == "array_record"
    run = shutil.copytree(run, tmp_path / "run")
    for number, flags in enumerate(([], ["--file_format=array_record"])):
        outcome = command("pretrain", f"--data_dir={kept['data_dir']}", *flags, *TINY, *STEPS,
                          f"--train_steps={3 + number}", f"--model_dir={run}")  # fmt: skip
        assert outcome.code == 0, outcome.err
    (tmp_path / "others").mkdir()
    others = str(tmp_path / "others")
    open_source(DataConfig(data_dir=others))
    again = ["pretrain", *TINY, *STEPS, "--train_steps=9", f"--model_dir={run}"]
    outcome = command(*again, f"--data_dir={others}")
    assert outcome.code == 1 and outcome.err == (
        f"error: --file_format=array_record: digits is stored in {others}/digits/1.0.0 as "
        "tfrecord; leave it out of a new run, or name another --data_dir.\n"
    )
    outcome = command(*again, f"--data_dir={others}", "--file_format=tfrecord")
    assert outcome.code == 1 and outcome.err == (
        f"error: --file_format=tfrecord: the run in {run} began with array_record.\n"
    )


def test_another_way_than_the_stored_one_is_refused(command, stored, tmp_path):
    run = tmp_path / "run"
    for given, stands in (
        ([f"--data_dir={stored}", "--file_format=tfrecord"],
         f"--file_format=tfrecord: digits is stored in {stored}/digits/1.0.0 as array_record; "
         "leave it out of a new run, or name another --data_dir."),
        (["--dataset=folder", f"--data_dir={tmp_path}", "--file_format=array_record"],
         "--file_format=array_record: is about what TensorFlow Datasets stores; leave it out with "
         "--dataset=folder."),
        (["--file_format=parquet"],
         "--file_format=parquet: value should be one of <tfrecord|array_record>"),
    ):  # fmt: skip
        outcome = command("pretrain", *given, f"--model_dir={run}")
        assert outcome.code == 1 and stands in outcome.err
        assert not run.exists()
