"""Code blocks of README, CONTRIBUTING and the pages of the site: commands compose, Python compiles, YAML loads."""

import functools
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
import yaml

from audio_lightning.cli.main import app
from audio_lightning.cli.train import _options
from audio_lightning.config import compose, parse_overrides, quote_paths
from audio_lightning.fit.request import parse_fit_args
from audio_lightning.sweeps.sweep import parse_sweep_args

PROJECT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for path in [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *(PROJECT / "docs").rglob("*.md")]
    if "_site" not in path.parts and path.name != "messages.md"  # mistakes, which test_messages_page.py runs
)
FENCE = re.compile(r"^([ \t]*)```(\w*)[^\n]*\n(.*?)^\1```[ \t]*$", re.MULTILINE | re.DOTALL)
OWN_CODE = re.compile(r"trust(ed_modules)?=|--trust\b|--config-dir\b|experiment=plan$")
"""Options and choices that lead to files of the user."""
MADE = re.compile(r"`(?:\w+/)?conf/(\w+)/(\w+)\.yaml`")
"""A YAML file that a page describes."""


class Block(NamedTuple):
    """A fenced block of code."""

    page: str
    language: str
    text: str


def blocks(*languages: str) -> list[Block]:
    found = []
    for path in PAGES:
        for _, language, text in FENCE.findall(path.read_text(encoding="utf-8")):
            if language in languages:
                found.append(Block(str(path.relative_to(PROJECT)), language, textwrap.dedent(text)))
    return found


def identities(cases: list[Any]) -> list[str]:
    return [f"{case.page}-{number}" for number, case in enumerate(cases)]


def shell_lines(text: str) -> Iterator[str]:
    """Lines of a shell script, continued ones joined, without those of a here-document."""
    end = ""
    for line in text.replace("\\\n", " ").splitlines():
        if end:
            end = "" if line.strip() == end else end
            continue
        if match := re.search(r"<<'?(\w+)'?", line):
            end = match[1]
        yield line.strip().removeprefix("$ ")


class Command(NamedTuple):
    """A command of this program on a page."""

    page: str
    words: tuple[str, ...]


def commands() -> list[Command]:
    found = []
    for block in blocks("bash", "sh", "shell", "console"):
        for line in shell_lines(block.text):
            words: list[str] = []
            for word in [*shlex.split(line, comments=True), "&&"]:
                if word not in ("&&", "|", "||", ";", "&", ">", "2>&1"):
                    words.append(word)
                    continue
                if ours := own_words(words):
                    found.append(Command(block.page, tuple(ours)))
                words = []
    return list(dict.fromkeys(found))


def own_words(words: list[str]) -> list[str]:
    """The words of a command from the name of the program on; none where it is another program."""
    for place, word in enumerate(words):
        if word in ("audio-lightning", "train.py", "sweep.py"):
            return words[place:]
        if not (word in ("python", "torchrun", "srun", "nohup", "time", "env") or "=" in word or word.startswith("-")):
            return []
    return []


COMMANDS = commands()
PYTHON = blocks("python", "py", "pycon")
YAML = blocks("yaml", "yml")
GROUP: Any = typer.main.get_command(app)
CONTEXT = GROUP.make_context("audio-lightning", ["models"], resilient_parsing=True)


def test_there_are_blocks_to_test() -> None:
    assert len(COMMANDS) > 100
    assert len(PYTHON) > 5
    assert len(YAML) >= 3


@pytest.mark.parametrize("command", COMMANDS, ids=[f"{one.page} {' '.join(one.words)}"[:120] for one in COMMANDS])
def test_commands_are_accepted(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for word in command.words:  # folders that a command needs before anything is read
        if match := re.fullmatch(r"data\.root=([\w-]+)", word):
            (tmp_path / match[1]).mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path)
    check(command)


def check(command: Command) -> None:
    program, *words = command.words
    if program == "audio-lightning" and words and words[0] in ("train", "sweep"):
        program, *words = f"{words[0]}.py", *words[1:]
    if "--help" in words or "--hydra-help" in words:
        return
    own = is_described(command)
    if program == "train.py":
        check_training(without_config_dir(words), own=own)
    elif program == "sweep.py":
        check_sweep(without_config_dir(words), own=own)
    else:
        check_tool(words, own=own)


def is_described(command: Command) -> bool:
    """Whether a command takes classes or YAML files that its page describes; tests of these pages run it."""
    described = MADE.findall((PROJECT / command.page).read_text(encoding="utf-8")) if "." in command.page else []
    chosen = {f"{group}={name}" for group, name in described if not (PROJECT / f"conf/{group}/{name}.yaml").exists()}
    return any(OWN_CODE.match(word) or word in chosen for word in command.words)


def without_config_dir(words: list[str]) -> list[str]:
    return [word for number, word in enumerate(words) if "--config-dir" not in (word, words[number - 1])]


@functools.cache
def composed(*overrides: str) -> None:
    compose([line for line in overrides if not line.startswith(("resume=", "hydra."))])


def check_training(words: list[str], *, own: bool) -> None:
    typed, unknown = _options().parse_known_intermixed_args(words)
    assert not unknown
    overrides = quote_paths(typed.overrides, multirun=typed.multirun)
    parse_overrides(overrides)
    if not own:
        composed(*map(first_of_axis, overrides))


def check_sweep(words: list[str], *, own: bool) -> None:
    grid = parse_sweep_args(words).grid
    if own:
        return
    firsts = {key: lines[0] for key, lines in grid.axes.items()}
    for key, lines in grid.axes.items() or {"": [""]}.items():
        for line in lines:
            composed(*grid.fixed, *({**firsts, key: line} if key else {}).values())


def check_tool(words: list[str], *, own: bool) -> None:
    """Parse a command by its own parser, without running it, and compose its overrides."""
    if not words or words[0].startswith("--"):
        return
    group, context = GROUP, CONTEXT
    while hasattr(group, "commands"):
        name, *words = words
        assert name in group.commands, f"{name}: no such command"
        group = group.commands[name]
        context = type(CONTEXT)(group, info_name=name, parent=context)
    values = group.make_context(name, [*map(placeholder, words)], parent=context.parent).params
    listed = values.get("overrides") or values.get("words") or []
    overrides = [str(word) for word in listed if "=" in str(word)]
    if own or not overrides:
        return
    if name == "fit":
        parse_fit_args(overrides)
    else:
        composed(*map(first_of_axis, quote_paths(overrides, multirun=True)))


def placeholder(word: str) -> str:
    """A number in the place of a placeholder such as ``N``."""
    return "1" if re.fullmatch(r"[NPK]", word) else word


def first_of_axis(line: str) -> str:
    """The first value of an override that lists several."""
    (parsed,) = parse_overrides([line])
    if not parsed.is_sweep_override():
        return line
    return f"{parsed.key_or_group}={next(iter(parsed.sweep_string_iterator()))}"


@pytest.mark.parametrize("block", PYTHON, ids=identities(PYTHON))
def test_python_compiles(block: Block) -> None:
    text = block.text
    if text.lstrip().startswith(">>>"):
        lines = [line[4:] for line in text.splitlines() if line.startswith((">>> ", "... "))]
        text = "\n".join(lines)
    compile(text, block.page, "exec")


@pytest.mark.parametrize("block", YAML, ids=identities(YAML))
def test_yaml_loads(block: Block) -> None:
    assert isinstance(yaml.safe_load(block.text), (dict, list))


@pytest.mark.parametrize(
    "words",
    [
        ("train.py", "model=resnt"),
        ("train.py", "--epochs", "3"),
        ("train.py", "trainer.max_epoch=3"),
        ("sweep.py", "model=cnn,resnt"),
        ("sweep.py", "sweep.worker=3", "seed=0,1"),
        ("audio-lightning", "predict", "RUN_DIR", "recordings/", "--windows", "2"),
        ("audio-lightning", "fit", "data=folder", "data.root=DIR", "budgets=20m"),
        ("audio-lightning", "check", "data=foldr", "data.root=DIR"),
    ],
)
def test_a_wrong_command_is_noticed(words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "DIR").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match=r"resnt|epochs|max_epoch|worker|windows|budgets|foldr"):
        check(Command("no page", words))
