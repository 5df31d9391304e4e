"""Which labels a run was trained on, as far as it lists them."""

import dataclasses

from tf_simclrv2.config import DataConfig, FinetuneConfig, FineTuningConfig, RunConfig
from tf_simclrv2.runtime.run_directory import RunDirectory
from tf_simclrv2.runtime.settings import RunSettings
from tf_simclrv2.training import learnt


def test_learnt_labels_are_of_the_same_images(tmp_path):
    data = DataConfig(dataset="folder", data_dir=str(tmp_path / "images"), labels="labels.csv")
    run = RunDirectory(str(tmp_path / "run"))
    config = FinetuneConfig(RunConfig(run.path), FineTuningConfig("pretrained"), data=data)
    run.claim(RunSettings("finetune", config, ["a", "b"]))
    run.begin()
    assert learnt.listed(run, data) == set()
    run.write_labelled({"1.png": "a", "one\n2.png": "b"})
    assert learnt.listed(run, data) == {"1.png", r"one\n2.png"}
    same = dataclasses.replace(data, labels=None, data_dir=str(tmp_path / "run" / ".." / "images"))
    assert learnt.listed(run, same) == {"1.png", r"one\n2.png"}
    for other in ({"data_dir": str(tmp_path)}, {"dataset": "digits"}, {"train_split": "test"}):
        assert learnt.listed(run, dataclasses.replace(data, **other)) == set(), other
