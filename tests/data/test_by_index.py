"""The order in which examples are reached by their numbers."""

import json

import numpy as np
import pytest
from PIL import Image

from tf_simclrv2.config import DataConfig, PretrainConfig, RunConfig
from tf_simclrv2.data.by_index import number_at
from tf_simclrv2.data.sources import open_source, open_unlabelled
from tf_simclrv2.data.stream import Part, Stream
from tf_simclrv2.keras2 import tf
from tf_simclrv2.runtime.settings import RunSettings


def _epoch(count, seed, epoch):
    return number_at(tf.range(count, dtype=tf.int64) + epoch * count, count, seed).numpy()


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 65, 1000])
def test_each_epoch_is_a_permutation_and_any_position_is_reached_by_itself(count):
    for epoch in (0, 1, 5):
        order = _epoch(count, 3, epoch)
        assert sorted(order) == list(range(count))
        place = count // 2
        alone = number_at(tf.constant(epoch * count + place, tf.int64), count, 3)
        assert int(alone) == order[place]


@pytest.mark.parametrize("count", [70, 50_000])
def test_places_are_independent_of_names_of_other_epochs_and_of_other_seeds(count):
    """Within five standard deviations; with the cipher's usual four rounds they are not."""
    for seed in range(8):
        first, second, other = _epoch(count, seed, 0), _epoch(count, seed, 1), _epoch(count, 99, 0)
        pairs = [(first, np.arange(count)), (first, second), (first, other),
                 (first[1:], first[:-1]), (first[2:], first[:-2])]  # fmt: skip
        for one, two in pairs:
            assert abs(np.corrcoef(one, two)[0, 1]) < 5 / np.sqrt(count)


def test_all_permutations_of_a_few_come_equally_often():
    seen = [tuple(_epoch(4, seed, 0)) for seed in range(480)]
    counts = [seen.count(each) for each in set(seen)]
    # Chi-squared of 23 degrees of freedom: beyond 60 once in 40,000 times.
    assert len(counts) == 24 and sum((each - 20) ** 2 / 20 for each in counts) < 60


@pytest.fixture
def folder(tmp_path):
    for number in range(12):
        path = tmp_path / ("cat" if number % 3 else "dog") / f"{number:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(path)
    return tmp_path


def _data(folder, **more):
    return DataConfig(dataset="folder", data_dir=str(folder), holdout_fraction=0.0, **more)


def _ids(stream, count, *where):
    return [each["id"].decode() for each in stream.examples(*where).take(count).as_numpy_iterator()]


def test_a_stream_is_the_same_from_any_position_and_in_parts(folder):
    data = _data(folder)
    stream = Stream(open_source(data), "train", 5, data=data)
    whole = _ids(stream, 300)
    assert all(len(set(whole[n : n + 12])) == 12 for n in range(0, 300, 12))
    numbers = number_at(tf.range(300, dtype=tf.int64), 12, 5).numpy()
    listed = [each.decode() for each in stream.source.columns("train").ids]
    assert whole == [listed[number] for number in numbers]
    for start in (1, 12, 290):
        assert _ids(stream, 10, start) == [*whole[start:], *_ids(stream, 20, 300)][:10]
    for index in range(2):
        own = _ids(stream, 20, 8, 8, Part(index, 2, 2))
        expected = [whole[n] for n in range(8, 300) if n % 8 // 4 == index]
        assert own == expected[:20]


def test_tables_subsets_and_two_folders_are_reached_by_index_too(folder, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("image,label\n" + "".join(f"{n:02}.png,{'ab'[n % 2]}\n" for n in range(1, 9)))
    data = _data(folder, labels=str(table))
    source = open_source(data)
    stream = Stream(source, "train", 0, data=data)
    examples = {
        each["id"].decode()[-6:-4]: int(each["label"])
        for each in stream.examples().take(12).as_numpy_iterator()
    }
    assert examples == {f"{n:02}": n % 2 if 1 <= n <= 8 else -1 for n in range(12)}
    index = {each["id"]: int(each["label"]) for each in source.index("train").as_numpy_iterator()}
    columns = source.columns("train")
    assert dict(zip(columns.ids, columns.labels)) == index
    few = Stream(source, "train", 0, data=data, ids=["cat/02.png", "dog/03.png"])
    assert sorted(_ids(few, 2)) == ["cat/02.png", "dog/03.png"]
    more = open_unlabelled(str(folder / "cat"), data)
    mixed = Stream(source, "train", 0, data=data, unlabelled=more)
    assert mixed.by_index is not None and len(set(_ids(mixed, 20))) == 20


def test_an_earlier_run_keeps_the_order_that_it_began_with(folder, tmp_path):
    config = PretrainConfig(RunConfig(str(tmp_path / "run")), data=_data(folder))
    path = str(tmp_path / "config.json")
    RunSettings("pretrain", config, ["cat", "dog"]).write(path)
    assert RunSettings.read(path).config.data.order == "index"
    with open(path, encoding="utf-8") as file:
        content = json.load(file)
    del content["config"]["data"]["order"], content["config"]["data"]["check_images"]
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file)
    data = RunSettings.read(path).config.data
    assert (data.order, data.check_images) == ("buffer", "full")
    # As it was before there was another order.
    stream = Stream(open_source(data), "train", 5, data=data)
    assert [each[4:6] for each in _ids(stream, 24)] == EARLIER


EARLIER = [
    "01", "09", "06", "00", "11", "04", "02", "03", "08", "07", "05", "10",
    "09", "03", "08", "02", "05", "06", "00", "11", "10", "07", "01", "04",
]  # fmt: skip
