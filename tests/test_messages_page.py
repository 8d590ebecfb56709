"""The page of messages: each mistake is one line that says what to do, and the page has what the commands print."""

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).parents[1]
FIX = "docs/reference/messages.md is outdated: run python docs/_site/mistakes.py"


@pytest.fixture(scope="module")
def mistakes() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mistakes", PROJECT / "docs/_site/mistakes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mistakes"] = module
    spec.loader.exec_module(module)
    return module


SECTIONS = [
    "Configuration",
    "Folders of recordings",
    "Tables",
    "Models and features",
    "Runs and predictions",
    "Sweeps and fits",
    "Devices and optional packages",
]


def test_the_list_has_the_sections_and_each_command_once(mistakes: ModuleType) -> None:
    sections = mistakes.read_sections()
    assert list(sections) == SECTIONS
    commands = Counter(mistake.command for entries in sections.values() for mistake in entries)
    assert commands.total() >= 60
    assert max(commands.values()) == 1


@pytest.mark.parametrize("section", SECTIONS)
def test_every_mistake_is_one_line_and_on_the_page(mistakes: ModuleType, section: str, tmp_path: Path) -> None:
    outcomes = list(mistakes.run_mistakes(tmp_path, [section]))
    for _, mistake, outcome in outcomes:
        assert outcome.exit_code == mistake.exit_code, f"{mistake.command}\n{outcome.message}"
        first, *rest = outcome.message.splitlines() or [""]
        assert first.startswith("error: "), f"{mistake.command}\n{outcome.message}"
        assert all(line.startswith("  ") for line in rest), f"{mistake.command}: only lists of problems have more lines"
        assert "Traceback" not in outcome.message
    written = mistakes.page(outcomes).removeprefix(mistakes.HEAD)
    assert written in (PROJECT / "docs/reference/messages.md").read_text(encoding="utf-8"), FIX
