"""The command itself."""

from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from audio_lightning import __version__
from audio_lightning.cli.main import app


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
