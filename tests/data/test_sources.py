"""Sources of images: a row each, and no more imported than is opened."""

import subprocess
import sys

import pytest

from tf_simclrv2.config import ConfigError, DataConfig
from tf_simclrv2.data.sources import SOURCES, Source, open_source
from tf_simclrv2.keras2 import tf


class Table(Source):
    """Three examples of two classes."""

    def __init__(self, data):
        self.name, self.class_names, self.prepared = data.dataset, ["a", "b"], False

    def prepare(self):
        self.prepared = True

    @property
    def splits(self):
        return ["train"]

    def num_examples(self, split):
        return {"train": 3}[split]

    def index(self, split):
        columns = {"id": list("xyz"), "image": [b""] * 3, "label": [0, 1, 1]}
        return tf.data.Dataset.from_tensor_slices(columns)


def test_a_source_is_a_class_and_a_row(monkeypatch):
    monkeypatch.setitem(SOURCES, "table", Table)
    source = open_source(DataConfig(dataset="table"))
    assert isinstance(source, Table) and source.prepared and source.num_classes == 2
    assert not open_source(DataConfig(dataset="table"), prepare=False).prepared
    assert [example["label"] for example in source.examples("train").as_numpy_iterator()] == [
        0, 1, 1,
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="--train_split=test: table has the splits train"):
        source.check_split("test", "train_split")


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(ConfigError) as error:
        open_source(DataConfig(dataset="no_such_data"))
    assert str(error.value) == (
        "--dataset=no_such_data: must be digits, tiles, folder, or a data set of TensorFlow "
        "Datasets (https://www.tensorflow.org/datasets/catalog)."
    )


def test_tensorflow_datasets_is_imported_when_a_data_set_of_it_is_opened():
    program = (
        "import sys\n"
        "from tf_simclrv2.config import DataConfig\n"
        "from tf_simclrv2.data import batches, images, labels, sources, stream, two_views, views\n"
        "assert 'tensorflow_datasets' not in sys.modules\n"
        "sources.open_source(DataConfig(dataset='digits'), prepare=False)\n"
        "assert 'tensorflow_datasets' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
