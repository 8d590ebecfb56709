"""The page of all commands, from their parsers."""

import contextlib
import io
import re
from collections.abc import Callable, Iterator
from typing import Any

import typer
from markdown_text import code, plain, prose, table

from audio_lightning.cli import sweep, train
from audio_lightning.cli.main import app

INTRODUCTION = """# Commands

This page is generated from the parsers of the commands. `audio-lightning COMMAND --help` prints the same text.

`python train.py` and `audio-lightning train` are one command, and so are `python sweep.py` and `audio-lightning sweep`.
Exit code 0 means success, 1 a defect or a failed job, 2 a mistake in the command or its data, and 130 or 143 an
interruption.
"""

SCRIPTS: dict[str, Callable[[list[str]], int]] = {"train.py": train.main, "sweep.py": sweep.main}


def commands() -> Iterator[tuple[str, Any, Any]]:
    """Yield name, command and context of every visible command of ``audio-lightning``, subcommands included."""
    group: Any = typer.main.get_command(app)
    context = group.make_context("audio-lightning", ["models"], resilient_parsing=True)
    yield from _visible(group, context)


def page() -> str:
    """Return the Markdown of the page."""
    parts = [INTRODUCTION]
    for name, main in SCRIPTS.items():
        parts += [f"## python {name}", f"```text\n{_help(main)}\n```"]
    for name, command, context in commands():
        if name in ("train", "sweep"):  # their options are those of the scripts
            continue
        usage = " ".join(command.get_usage(context).removeprefix("Usage:").split())
        parts += [f"## audio-lightning {name}", f"```text\n{usage}\n```", _sentences(command.help or "")]
        for kind, heading in (("argument", "Argument"), ("option", "Option")):
            rows = [_row(parameter, context) for parameter in command.get_params(context) if _is(parameter, kind)]
            if rows:
                parts.append(table((heading, "Description"), rows))
    return "\n\n".join(part for part in parts if part) + "\n"


def _visible(group: Any, context: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    for name, command in group.commands.items():
        if command.hidden:
            continue
        inner = type(context)(command, info_name=name, parent=context)
        if hasattr(command, "commands"):
            yield from _visible(command, inner, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command, inner


def _help(main: Callable[[list[str]], int]) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as output:
        main(["--help"])
    return output.getvalue().strip()


def _is(parameter: Any, kind: str) -> bool:
    return parameter.param_type_name == kind and not getattr(parameter, "hidden", False)


def _row(parameter: Any, context: Any) -> tuple[str, str]:
    name, description = parameter.get_help_record(context)
    text = plain(re.sub(r"\s+", " ", description)).replace(r"\[", "(").replace(r"\]", ")")
    kind = _type if parameter.param_type_name == "option" else ""
    return code(re.sub(r" <([^>]*)>$", kind, name)), text


def _type(match: re.Match[str]) -> str:
    """The type of an option as a placeholder: ``FLOAT``, or the values to choose from."""
    kind = match[1].removesuffix(" range")
    return f" {kind}" if "|" in kind else f" {kind.upper()}"


def _sentences(text: str) -> str:
    text = text.replace(r"\[", "[")  # brackets are escaped for Rich, which prints --help
    paragraphs = [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text.strip())]
    return "\n\n".join(plain(prose(paragraph)) for paragraph in paragraphs)
