"""Lint the prose of the project against its house vocabulary.

Docstrings, comments, messages, YAML comments, templates and pages are searched for the phrases of prose.yaml:

    python docs/_site/prose.py  # every finding; exit code 1 if there are any

A word in capitals is a name, and no finding.
"""

import argparse
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).parents[2]
VOCABULARY = Path(__file__).parent / "prose.yaml"

ROOTS = (
    "audio_lightning",
    "conf",
    "docs",
    "tests",
    "benchmarks",
    "README.md",
    "CONTRIBUTING.md",
    "train.py",
    "sweep.py",
)
SUFFIXES = {".py", ".yaml", ".yml", ".md", ".j2", ".js"}

CODE = "\x00"
"""Replaces the code of a Python file, so that positions stay and no phrase spans code."""

STRINGS = {"STRING", "FSTRING_START", "FSTRING_MIDDLE", "FSTRING_END", "COMMENT"}


@dataclass(frozen=True)
class Finding:
    """A phrase in a file.

    Attributes:
        file: relative to the project.
        line: counted from 1.
        phrase: as found.
        instead: the words to use.
    """

    file: str
    line: int
    phrase: str
    instead: str


def compile_rules(vocabulary: dict[str, Any]) -> list[tuple[re.Pattern[str], str]]:
    """Regular expressions of the vocabulary with the words to use instead."""
    space = r"[\s#]+"
    phrases = {
        rf"\b{space.join(map(re.escape, phrase.split()))}\b": use for phrase, use in vocabulary["phrases"].items()
    }
    rules = phrases | vocabulary["patterns"]
    return [(re.compile(pattern, re.IGNORECASE), use) for pattern, use in rules.items()]


def prose_of(text: str, suffix: str) -> str:
    """The text of a file with its code blanked; only Python files and code blocks of Markdown have any.

    Args:
        text: content of the file.
        suffix: of its name, such as ``.py``.
    """
    if suffix == ".md":
        return re.sub(r"^```.*?^```", lambda block: _blank(block[0]), text, flags=re.DOTALL | re.MULTILINE)
    if suffix != ".py":
        return text
    lines = text.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    prose = list(_blank(text))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if tokenize.tok_name[token.type] in STRINGS:
            start, stop = (starts[row - 1] + column for row, column in (token.start, token.end))
            prose[start:stop] = text[start:stop]
    return "".join(prose)


def _blank(text: str) -> str:
    return re.sub(r"\S", CODE, text)


def find(text: str, suffix: str, rules: list[tuple[re.Pattern[str], str]], file: str = "") -> Iterator[Finding]:
    """Phrases in a text.

    Args:
        text: content of the file.
        suffix: of its name, such as ``.py``.
        rules: of :func:`compile_rules`.
        file: name in the findings.
    """
    prose = prose_of(text, suffix)
    for rule, use in rules:
        for match in rule.finditer(prose):
            if match[0].isupper():
                continue
            phrase = re.sub(r"[\s#]+", " ", match[0])
            yield Finding(file, prose.count("\n", 0, match.start()) + 1, phrase, use)


def find_all(vocabulary: dict[str, Any]) -> list[Finding]:
    """Findings in all files of the project, by file and line."""
    rules = compile_rules(vocabulary)
    found = []
    for root in ROOTS:
        top = PROJECT / root
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            name = path.relative_to(PROJECT).as_posix()
            if path.suffix in SUFFIXES and path.is_file() and name not in vocabulary["skip"]:
                found += sorted(
                    find(path.read_text(encoding="utf-8"), path.suffix, rules, name), key=lambda one: one.line
                )
    return found


def main() -> int:
    """Print the findings and return the exit code."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    found = find_all(yaml.safe_load(VOCABULARY.read_text(encoding="utf-8")))
    for one in found:
        print(f"{one.file}:{one.line}: '{one.phrase}': use {one.instead}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
