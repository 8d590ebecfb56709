"""The command itself."""

import sys
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from audio_lightning import __version__
from audio_lightning.cli.main import app, main


def test_versions_are_printed() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"audio-lightning {__version__}\nPython 3.")
    assert "torch 2." in result.stdout


def commands() -> dict[str, Any]:
    """Commands by name; those of a group have its name before theirs."""
    found: dict[str, Any] = {}
    rest: dict[str, Any] = {"": typer.main.get_command(app)}
    while rest:
        name, command = rest.popitem()
        below = {f"{name} {word}".strip(): part for word, part in getattr(command, "commands", {}).items()}
        found |= {} if below else {name: command}
        rest |= below
    return found


@pytest.mark.parametrize("name", commands())
def test_every_command_and_each_of_its_options_is_explained(name: str) -> None:
    command = commands()[name]
    assert command.help, "the docstring of the function"
    for parameter in command.params:
        assert getattr(parameter, "help", None) or parameter.name == "overrides", f"{parameter.name} has no help"
    if "help" not in name and name not in ("train", "sweep"):  # whose --help is their own
        result = CliRunner().invoke(app, [*name.split(), "--help"])
        assert result.exit_code == 0
        assert command.help.split()[0] in result.stdout


@pytest.mark.parametrize("name", [name for name in commands() if name not in ("train", "sweep")])
def test_help_prints_every_word(name: str) -> None:
    """Rich takes words in brackets, such as extras to install, for markup unless they are escaped."""
    command = commands()[name]
    result = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "1000"})
    printed = " ".join(result.stdout.replace("│", " ").split())
    for text in (command.help, *(getattr(parameter, "help", None) for parameter in command.params)):
        assert " ".join((text or "").replace("\\[", "[").split()) in printed


def test_help_names_the_extra_to_install() -> None:
    result = CliRunner().invoke(app, ["demo", "--help"], env={"COLUMNS": "200"})
    assert "pip install 'audio-lightning[demo]'" in result.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predct"], "error: audio-lightning: no such command 'predct'"),
        (["predict", "run"], "error: audio-lightning predict: missing argument"),
        (["predict", "run", "x.wav", "--treshold", "1"], "error: audio-lightning predict: no such option: --treshold"),
        (
            ["predict", "run", "x.wav", "--format", "xml"],
            "error: audio-lightning predict: invalid value for '--format': 'xml' is not one of 'table'",
        ),
        (["predict", "run", "x.wav", "--top-k", "0"], "error: audio-lightning predict: invalid value for '--top-k'"),
    ],
)
def test_usage_errors_are_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["audio-lightning", *words])
    with pytest.raises(SystemExit, match="2"):
        main()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(message)
    assert err.endswith((" --help\n", "did you mean 'predict'?\n"))
    assert err.count("\n") == 1


def test_a_group_without_a_command_shows_its_help(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["audio-lightning"])
    with pytest.raises(SystemExit, match="2"):
        main()
    out, err = capsys.readouterr()
    assert "Usage" in out + err
    assert "predict" in out + err


def test_exit_codes_of_commands_are_passed_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["audio-lightning", "train", "model=resnt"])
    with pytest.raises(SystemExit, match="2"):
        main()
    monkeypatch.setattr(sys, "argv", ["audio-lightning", "--version"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert "did you mean" in capsys.readouterr().err
