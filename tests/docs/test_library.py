"""The worked examples of docs/library.md run as they stand."""

import pathlib
import re
import shutil

import pytest

GUIDE = pathlib.Path(__file__).parents[2] / "docs" / "library.md"
EXAMPLES = {
    heading: code
    for heading, section in re.findall(
        r"^## (.+?)\n(.*?)(?=^## |\Z)", GUIDE.read_text(), re.M | re.S
    )
    for code in re.findall(r"^```python\n(.*?)^```", section, re.M | re.S)
}


def test_there_are_four_examples():
    assert len(EXAMPLES) == 4


@pytest.mark.slow
@pytest.mark.parametrize("heading", EXAMPLES)
def test_an_example_runs(heading, method, tmp_path, monkeypatch, capsys):
    shutil.copytree(method["pretrained"], tmp_path / "runs" / "pretrained")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "example"}
    exec(compile(EXAMPLES[heading], f"{GUIDE.name}: {heading}", "exec"), names)
    printed = capsys.readouterr().out
    if "history" in names:
        losses = names["history"].history["contrast_loss"]
        assert len(losses) == 1 and 0 < losses[0] < 20
        assert names["features"].shape == (2, 64)
    elif "Contrastive" in names:
        assert 0 < names["model"].history.history["loss"][0] < 10
    elif "layer_1" in names:
        assert printed.startswith("(4, 32) (4, 32)")
    else:
        terms = {"invariance", "variance", "covariance"}
        assert terms <= set(names["trained"]) and terms <= set(names["evaluated"])
