"""The prose linter finds the phrases of the house vocabulary, in prose and not in code."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def prose() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prose", PROJECT / "docs/_site/prose.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["prose"] = module
    spec.loader.exec_module(module)
    return module


VOCABULARY = {"phrases": {"of which": "a sentence", "hears": "receives"}, "patterns": {r'(?<=""")What\b': "a noun"}}


@pytest.mark.parametrize(
    ("suffix", "text", "lines"),
    [
        (".py", '"""What it does, of\nwhich little."""\n', [1, 1]),
        (".py", "x = 1\n# one of\n# which none\n", [2]),
        (".py", 'raise ValueError(f"{name}: nobody hears it")\n', [1]),
        (".py", "hears = rows.of_which\n", []),
        (".py", 'of = "of"  # a\nwhich = 1\n', []),
        (".yaml", "a: 1  # a share OF  which\n", [1]),
        (".py", "# the HEARS benchmark\n", []),
        (".md", "Text.\n\n```python\nhears = 1\n```\n\nIt hears.\n", [7]),
    ],
)
def test_phrases_are_found_in_prose(prose: ModuleType, suffix: str, text: str, lines: list[int]) -> None:
    found = prose.find(text, suffix, prose.compile_rules(VOCABULARY))
    assert sorted(one.line for one in found) == lines


def test_findings_name_the_words_to_use(prose: ModuleType) -> None:
    (found,) = prose.find("# of\n# which\n", ".py", prose.compile_rules(VOCABULARY), "a.py")
    assert (found.file, found.phrase, found.instead) == ("a.py", "of which", "a sentence")
