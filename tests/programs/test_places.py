"""Commands write files and directories of their own, on this machine, and nothing else."""

import json
import os
import shutil
import stat

import pytest

from tests.conftest import FEW_STEPS, TINY
from tf_simclrv2.config import sections_of
from tf_simclrv2.keras2 import tf
from tf_simclrv2.programs.main import COMMANDS
from tf_simclrv2.runtime.lock import RUN_LOCK

REMOTE = [
    (name, field)
    for name, kind in COMMANDS.items()
    for section in sections_of(kind.config).values()
    for field, about in section.__dataclass_fields__.items()
    if about.metadata["is_path"] and not about.metadata["may_be_remote"]
]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Commands that make directories of remote paths make them in a directory of their own."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.mark.parametrize(("name", "flag"), REMOTE)
def test_remote_paths_are_refused_by_name(name, flag, command):
    needed = {"convert": ["--google_checkpoint=x"], "finetune": ["--from_scratch"],
              "select": ["--budget=1"]}.get(name, [])  # fmt: skip
    others = ("model_dir", "export_dir", "images", "saved_model", "runs")
    needed += [f"--{needs}=x" for needs in others
               if (name, needs) in REMOTE and needs != flag]  # fmt: skip
    if (name, "teacher") in REMOTE and flag != "teacher":
        pytest.skip("distill reads its teacher first")
    suffix = {"predict": ".csv", "embed": ".npy", "views": ".png", "report": ".html"}.get(name, "")
    path = f"gs://bucket/x{suffix if flag == 'output' else ''}"
    outcome = command(name, *needed, f"--{flag}={path}")
    assert outcome.code == 1
    assert outcome.err.startswith(f"error: --{flag}={path}: must be a path of this machine's")
    assert "gs://" in outcome.err
    assert os.listdir(".") == []


def test_every_flag_of_a_place_is_known_as_a_path():
    assert {flag for _, flag in REMOTE} >= {
        "model_dir", "data_dir", "unlabeled_data_dir", "cache_path", "label_subset_file", "teacher",
        "export_dir", "output", "images", "saved_model", "to_google", "output_dir",
    }  # fmt: skip


def test_a_remote_run_to_start_from_is_refused_by_name(command):
    outcome = command("finetune", "--checkpoint=gs://b/run", "--model_dir=x", "--train_steps=1")
    assert outcome.err.startswith("error: --checkpoint=gs://b/run: must be a path of this machine")


def _commands(method, images, place):
    exported = [f"--saved_model={method['export']}", f"--images={images}"]
    run = f"--model_dir={method['fine_tuned']}"
    return {
        "export": ["export", run, f"--export_dir={place}"],
        "overwrite": ["export", run, f"--export_dir={place}", "--overwrite"],
        "predict": ["predict", *exported, f"--output={place}.csv"],
        "embed": ["embed", *exported, f"--output={place}.npy"],
        "views": ["views", f"--output={place}.png"],
        "report": ["report", method["pretrained"], "--max_images=0", f"--output={place}.html"],
        "to_google": ["convert", run, f"--to_google={place}"],
        "demo": ["demo", f"--output_dir={place}"],
        "pretrain": ["pretrain", *TINY, *FEW_STEPS, f"--model_dir={place}"],
    }


@pytest.mark.parametrize("kind", ["fifo", "link"])
@pytest.mark.parametrize(
    ("name", "suffix"),
    [("export", ""), ("overwrite", ""), ("predict", ".csv"), ("predict", ".csv.tmp"),
     ("embed", ".npy"), ("embed", "_ids.txt"), ("views", ".png"), ("to_google", ""),
     ("report", ".html"), ("report", "_plots"),
     ("to_google", ".index"), ("demo", "")],
)  # fmt: skip
def test_what_is_no_file_or_directory_is_refused_and_stays(
    name, suffix, kind, command, method, tmp_path
):
    place = tmp_path / f"place{suffix}"
    if kind == "fifo":
        os.mkfifo(place)
    else:
        (tmp_path / "mine").mkdir()
        place.symlink_to(tmp_path / "mine")
    before = sorted(os.listdir(tmp_path))
    arguments = _commands(method, f"{tmp_path}/none.png", tmp_path / "place")[name]
    outcome = command(*arguments)
    assert outcome.code == 1, outcome.out
    (line,) = outcome.err.splitlines()
    assert ("is a FIFO" if kind == "fifo" else "is a link") in line
    mode = os.lstat(place).st_mode
    assert stat.S_ISFIFO(mode) if kind == "fifo" else stat.S_ISLNK(mode)
    assert sorted(os.listdir(tmp_path)) == before
    assert kind == "fifo" or os.listdir(tmp_path / "mine") == []


@pytest.mark.parametrize("name", ["predict", "embed"])
def test_a_name_that_is_too_long_is_refused(name, command, method, tmp_path):
    for length in (251, 300):
        place = tmp_path / ("n" * length)
        outcome = command(*_commands(method, "none.png", place)[name])
        assert outcome.code == 1
        assert outcome.err.rstrip().endswith("can't be written (File name too long).")


@pytest.mark.parametrize("name", ["metrics.csv", "result.json"])
def test_a_run_writes_into_nothing_but_files(name, command, method, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(method["pretrained"], run)
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    config = json.loads((run / "config.json").read_text())
    outcome = command(*_commands(method, "", run)["pretrain"], "--use_flip=false",
                      "--use_blur=false")  # fmt: skip
    assert outcome.code == 1
    assert f"{run / name} is a FIFO, but must be new or a file" in outcome.err
    assert json.loads((run / "config.json").read_text()) == config
    assert not (run / RUN_LOCK).exists()


@pytest.mark.parametrize("licence", ["a\nb", "a\udcffb", "a\u2028b"])
def test_a_licence_is_a_line(licence, command, tmp_path):
    outcome = command("export", "--model_dir=x", f"--export_dir={tmp_path}", f"--licence={licence}")
    assert outcome.code == 1
    assert "must be one line of text in UTF-8." in outcome.err


def test_a_class_is_a_line_whatever_its_name(command, method, tmp_path, monkeypatch):
    written = {}

    def save(module, directory, signatures):
        path = module.class_names.asset_path.numpy()
        with open(path, encoding="utf-8") as file:
            written["names"] = file.read()
        os.makedirs(directory)
        with open(os.path.join(directory, "saved_model.pb"), "wb"):
            pass

    monkeypatch.setattr(tf.saved_model, "save", save)
    run = tmp_path / "run"
    shutil.copytree(method["fine_tuned"], run)
    content = json.loads((run / "config.json").read_text())
    content["class_names"][:3] = ["a\nb", "c\u2028d", "e"]
    (run / "config.json").write_text(json.dumps(content))
    outcome = command("export", f"--model_dir={run}", f"--export_dir={tmp_path / 'out'}",
                      "--formats=saved_model")  # fmt: skip
    assert outcome.code == 0, outcome.err
    names = written["names"].splitlines()
    assert names[:3] == ["a b", "c d", "e"]
    assert len(names) == len(content["class_names"])
    assert "stands in class_names.txt as 'a b'" in outcome.err
