"""What the guides point to exists: pages, pictures, headings, files, tests, commands and flags."""

import functools
import pathlib
import re
import shlex
from typing import Dict, Iterator, List, NamedTuple, Set

import pytest

from tf_simclrv2.programs import command_line
from tf_simclrv2.programs.main import COMMANDS

ROOT = pathlib.Path(__file__).parents[2]
GUIDES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/*.md", "tests/reference/*.md")
    for path in ROOT.glob(pattern)
)
MAXIMUM_OF_README = 150
# A command on a line, behind whatever starts it (srun, exec), in any of its spellings.
COMMAND = re.compile(r"(?:\bsimclrv2|python -m tf_simclrv2|python -m (?=export\b)) +([a-z]+)\b(.*)")
# Commands that take no flags.
WITHOUT_FLAGS = {"recipes"}
# Flags of other programs that the guides name, and what stands for any flag.
OF_OTHERS = {"gpus-per-task", "logdir", "train_mode", "name"}


class Command(NamedTuple):
    """A command line in a guide."""

    guide: str
    name: str
    arguments: List[str]


def config_of(command: str) -> type:
    """The class of a command's config."""
    if command in COMMANDS:
        row = COMMANDS[command]
        return getattr(row, "config", row)
    if command == "export":
        from export.export import ExportConfig

        return ExportConfig
    from tf_simclrv2.programs.demo import DemoConfig

    return {"demo": DemoConfig}[command]


@functools.cache
def text_of(guide: str) -> str:
    return (ROOT / guide).read_text(encoding="utf-8")


@functools.cache
def prose_of(guide: str) -> str:
    """A guide without its code blocks."""
    return re.sub(r"^```.*?^```", "", text_of(guide), flags=re.MULTILINE | re.DOTALL)


def code_spans(guide: str) -> List[str]:
    return re.findall(r"`([^`]+)`", prose_of(guide))


def headings_of(guide: str) -> Set[str]:
    """The names under which links reach a guide's headings."""
    titles = re.findall(r"^#+ (.+)$", prose_of(guide), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands_in(guide: str) -> Iterator[Command]:
    """The command lines in a guide's code blocks, without those for any command."""
    for block in re.findall(r"^```.*?\n(.*?)^```", text_of(guide), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            for name, arguments in COMMAND.findall(line):
                yield Command(guide, name, shlex.split(arguments, comments=True))


ALL_COMMANDS = [command for guide in GUIDES for command in commands_in(guide)]


def with_recipes_as_files(arguments: List[str]) -> List[str]:
    """Names recipes by their files in the checkout."""
    return [re.sub(r"^--recipe=(.+)$", r"--flagfile=flags/\1.txt", each) for each in arguments]


def test_readme_is_short():
    assert len(text_of("README.md").splitlines()) <= MAXIMUM_OF_README


@pytest.mark.parametrize("guide", GUIDES)
def test_links_and_pictures_lead_somewhere(guide):
    folder = (ROOT / guide).parent
    for link in re.findall(r"\]\(([^)\s]+)\)", prose_of(guide)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, heading = link.partition("#")
        target = (folder / path).resolve() if path else ROOT / guide
        assert target.exists(), link
        if heading:
            assert heading in headings_of(str(target.relative_to(ROOT))), link


@pytest.mark.parametrize("guide", GUIDES)
def test_tables_have_rows_as_wide_as_their_head(guide):
    lines = (ROOT / guide).read_text(encoding="utf-8").splitlines()
    heads = [number for number, line in enumerate(lines) if re.match(r"\|[ :|-]+\|$", line)]
    for number in heads:
        assert lines[number + 1 :][:1] and lines[number + 1].startswith("|"), lines[number - 1]
        row = number - 1
        while row < len(lines) and lines[row].startswith("|"):
            cells = re.sub(r"`[^`]*`|\\\|", "", lines[row]).count("|")
            assert cells == lines[number].count("|"), lines[row]
            row += 1


def test_every_guide_can_be_reached_from_the_readme():
    # The last one is the description on an index page, which has no links to files.
    reached, waiting = {"docs/pypi.md"}, ["README.md"]
    while waiting:
        guide = waiting.pop()
        reached.add(guide)
        for link in re.findall(r"\]\(([^)#\s]+\.md)", prose_of(guide)):
            target = ((ROOT / guide).parent / link).resolve()
            if target.exists() and str(target.relative_to(ROOT)) not in reached:
                waiting.append(str(target.relative_to(ROOT)))
    assert set(GUIDES) - reached == set()


@pytest.mark.parametrize("command", ALL_COMMANDS, ids=lambda command: " ".join(command[:2]))
def test_command_lines_parse(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    if command.name in WITHOUT_FLAGS:
        assert command.arguments == []
        return
    config = config_of(command.name)
    values = command_line.parse(config, with_recipes_as_files(command.arguments))
    assert isinstance(command_line.build(config, values), config)


def test_there_are_command_lines_of_every_kind():
    names = {command.name for command in ALL_COMMANDS}
    assert {*COMMANDS, "export", "recipes", "demo"} - names <= {"evaluate"}


@functools.cache
def known_flags() -> Set[str]:
    flags = {"help", "version", "flagfile", "recipe", "quiet", *OF_OTHERS}
    for command in {*COMMANDS, "export", "demo"} - WITHOUT_FLAGS:
        flags |= set(command_line.define_flags(config_of(command)))
    for path in (ROOT / "benchmarks").glob("*.py"):
        flags |= set(re.findall(r'"--(\w+)"', path.read_text(encoding="utf-8")))
    return flags


@pytest.mark.parametrize("guide", GUIDES)
def test_flags_named_in_the_text_exist(guide):
    named = {name for span in code_spans(guide) for name in re.findall(r"--([a-zA-Z][\w-]*)", span)}
    assert named - known_flags() == set()


def names_of_tests(path: pathlib.Path) -> Set[str]:
    return set(
        re.findall(r"^ *(?:def|class) (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    )


@pytest.mark.parametrize("guide", GUIDES)
def test_source_files_and_tests_named_in_the_text_exist(guide):
    # Paths may begin at the root, at the package, at tests/ or, in some tables, further down.
    found: Dict[str, bool] = {}
    for span in code_spans(guide):
        for path, test in re.findall(r"^([\w/]+/[\w/]*\.py|test_\w+\.py)(?:::(\w+))?$", span):
            places = [ROOT / path, ROOT / "tests" / path, ROOT / "tf_simclrv2" / path]
            places += (ROOT / "tests").rglob(path)
            files = [place for place in places if place.is_file()]
            found[span] = any(not test or test in names_of_tests(file) for file in files)
    assert [span for span, exists in found.items() if not exists] == []
