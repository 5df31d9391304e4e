"""Recipes by name: from any directory, in any place of a command line, and listed."""

import pathlib

import pytest

import tf_simclrv2
from tf_simclrv2.config import ConfigError, FinetuneConfig, PretrainConfig
from tf_simclrv2.programs import command_line, recipes

ROOT = pathlib.Path(__file__).parents[2]
NAMES = sorted(
    path.relative_to(ROOT / "flags").with_suffix("").as_posix()
    for path in (ROOT / "flags").rglob("*.txt")
)


def _parse(*arguments):
    return command_line.parse(PretrainConfig, arguments)


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """Works in another directory than the project's root."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_by_name_is_its_flagfile(name, monkeypatch, tmp_path):
    # Not parsed, since recipes are for different commands.
    monkeypatch.chdir(ROOT)
    flags = command_line.define_flags(PretrainConfig)
    from_file = flags.read_flags_from_files([f"--flagfile=flags/{name}.txt"])
    monkeypatch.chdir(tmp_path)
    assert recipes.expanded([f"--recipe={name}"]) == from_file
    assert from_file


def test_recipes_stand_where_they_are_given(elsewhere):
    recipe = "--recipe=digits/pretrain"
    assert _parse(recipe)["train_batch_size"] == 128
    assert _parse(recipe, "--train_batch_size=7")["train_batch_size"] == 7
    assert _parse("--train_batch_size=7", recipe)["train_batch_size"] == 128
    assert _parse("--recipe", "digits/pretrain", "--seed=3") == {**_parse(recipe), "seed": 3}
    two = _parse("--recipe=imagenet/pretrain", "--recipe=networks/r152_3x_sk")
    assert (two["train_epochs"], two["resnet_depth"]) == (800, 152)


def test_recipes_and_flagfiles_can_be_mixed(elsewhere):
    (elsewhere / "mine.txt").write_text("--recipe=digits/pretrain\n# Mine.\n--temperature=0.7\n")
    values = _parse("--flagfile=mine.txt", "--recipe=networks/r50_1x", "--seed=1")
    assert values["train_batch_size"] == 128
    assert (values["temperature"], values["resnet_depth"], values["seed"]) == (0.7, 50, 1)


def test_a_typed_flag_replaces_what_a_recipe_says_in_another_way(elsewhere):
    values = _parse("--recipe=digits/pretrain", "--train_epochs=3", "--checkpoint_epochs", "2")
    assert (values["train_epochs"], values["checkpoint_epochs"]) == (3, 2.0)
    assert not {"train_steps", "checkpoint_steps"} & values.keys()
    recipe = "--recipe=digits/finetune_1pct"
    values = command_line.parse(FinetuneConfig, [recipe, "--labels_per_class=2"])
    assert values["labels_per_class"] == 2 and "label_fraction" not in values
    assert "label_fraction" not in command_line.parse(FinetuneConfig, [recipe, "--labels=l.csv"])
    # What is typed twice is still refused, and files alone change nothing.
    both = ["--label_fraction=0.1", "--labels_per_class=2"]
    assert command_line.parse(FinetuneConfig, both).keys() == {"label_fraction", "labels_per_class"}
    (elsewhere / "mine.txt").write_text("--recipe=digits/pretrain\n--train_epochs=3\n")
    assert _parse("--flagfile=mine.txt").keys() >= {"train_epochs", "train_steps"}


@pytest.mark.parametrize(
    ("name", "closest"),
    [("digits/pretran", "digits/pretrain"), ("r50_1x", "networks/r50_1x")],
)
def test_an_unknown_recipe_is_refused_with_the_closest(name, closest):
    with pytest.raises(ConfigError) as error:
        _parse(f"--recipe={name}")
    sentence = str(error.value)
    assert sentence.startswith(f"--recipe={name}: there is no such recipe; the closest are ")
    assert closest in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize("name", ["../README", "/etc/passwd", "digits/../digits/data"])
def test_only_recipes_can_be_named(name):
    with pytest.raises(ConfigError, match="there is no such recipe"):
        _parse(f"--recipe={name}")


def test_a_recipe_without_a_name_is_refused():
    for arguments in (["--recipe"], ["--recipe="]):
        with pytest.raises(ConfigError, match=r"^--recipe=: there is no such recipe; the command"):
            _parse(*arguments)


def test_recipes_are_listed_with_their_titles(command):
    outcome = command("recipes")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    for line in lines:
        name, title = line.split(maxsplit=1)
        first = (ROOT / "flags" / f"{name}.txt").read_text(encoding="utf-8").splitlines()[0]
        assert first == f"# {title}"


def test_an_installed_package_has_its_own_recipes(monkeypatch, tmp_path):
    package = tmp_path / "site-packages" / "tf_simclrv2"
    (package / "recipes" / "own").mkdir(parents=True)
    (package / "recipes" / "own" / "small.txt").write_text("# Small.\n--resnet_depth=18\n")
    monkeypatch.setattr(tf_simclrv2, "__file__", str(package / "__init__.py"))
    assert list(recipes.recipes()) == ["own/small"]
    assert _parse("--recipe=own/small") == {"resnet_depth": 18}


def test_an_installation_without_recipes_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(tf_simclrv2, "__file__", str(tmp_path / "tf_simclrv2" / "__init__.py"))
    with pytest.raises(ConfigError, match="the recipes of this installation are missing"):
        _parse("--recipe=digits/pretrain")
