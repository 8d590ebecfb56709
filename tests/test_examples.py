"""Every public class and function has an example in its docstring, and the examples run."""

import doctest
import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import audio_lightning

PROJECT = Path(__file__).parents[1]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def targets(node: Any) -> Iterator[str]:
    """Values of ``_target_`` below a node of a configuration."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "_target_" and isinstance(value, str):
                yield value
            yield from targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets(value)


def configured() -> list[str]:
    """Classes of this package that the YAML files in conf/ name."""
    files = sorted((PROJECT / "conf").rglob("*.yaml"))
    found = {name for file in files for name in targets(yaml.safe_load(file.read_text(encoding="utf-8")))}
    return sorted(name for name in found if name.startswith("audio_lightning."))


def load(name: str) -> Any:
    """The object of a full path, or the public name of the package."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module or "audio_lightning"), attribute)


PUBLIC = [*configured(), *(f"audio_lightning.{name}" for name in sorted(audio_lightning.__all__))]


def test_classes_are_found() -> None:
    assert "audio_lightning.losses.focal.FocalLoss" in PUBLIC
    assert "audio_lightning.train" in PUBLIC
    assert len(PUBLIC) > 50


@pytest.mark.parametrize("name", PUBLIC)
def test_the_example_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    found = load(name)
    text = found.__doc__ or ""
    assert "Example:" in text, f"{name}: its docstring has no section 'Example:'"
    space = {**vars(importlib.import_module(found.__module__))}
    example = doctest.DocTestParser().get_doctest(text, space, name, None, None)
    assert example.examples, f"{name}: its example has no line with >>>"
    result = doctest.DocTestRunner(optionflags=FLAGS).run(example)
    assert result.failed == 0, capsys.readouterr().out
    assert os.listdir(tmp_path) == [], f"{name}: its example leaves files"
