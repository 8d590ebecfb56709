"""Labels, groups and folds in the names of recordings, found by regular expressions."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from unicodedata import normalize

import pandas as pd

from audio_lightning.core.errors import ConfigError, DataError

NAMED_EXAMPLES = 3
"""Names of recordings that a message shows."""

Part = Literal["label", "group", "fold"]
PARTS: tuple[Part, ...] = ("label", "group", "fold")


@dataclass(frozen=True)
class NamePattern:
    """A regular expression that finds one part of a recording's name.

    It is looked for in the name of the file, in Unicode NFC, without the folders above it.

    Attributes:
        key: the option that holds it, without ``data.``.
        expression: what it finds is its group named after ``part``, or else all of it.
        part: what it finds.
    """

    key: str
    expression: re.Pattern[str]
    part: Part

    def find(self, paths: Sequence[str]) -> list[str]:
        """What the pattern finds in each name; an empty text where it finds nothing.

        Raises:
            DataError: it finds nothing in any name, or a fold that is not a whole number.
        """
        group = self.part if self.part in self.expression.groupindex else 0
        names = (normalize("NFC", path.rpartition("/")[2]) for path in paths)
        found = [(match[group] or "") if (match := self.expression.search(name)) else "" for name in names]
        if not any(found):
            remedy = "mend the pattern"
            if self.part == "group":
                remedy += ", or leave it out if nothing is known about groups"
            raise DataError(f"{self}: matches no file name ({examples(paths)}); {remedy}")
        if self.part == "fold":
            for path, fold in zip(paths, found):
                if fold and not re.fullmatch("[0-9]{1,9}", fold):
                    raise DataError(f"{self}: finds fold {fold!r} in {path}; expected a whole number of at least 0")
        return found

    def __str__(self) -> str:
        return f"data.{self.key}={self.expression.pattern!r}"


def name_patterns(
    label_pattern: str | None = None, group_pattern: str | None = None, fold_pattern: str | None = None
) -> dict[Part, NamePattern]:
    """The patterns that options ask for, by the part that each finds.

    A pattern for labels may also find groups and folds, in its groups named ``group`` and ``fold``.

    Raises:
        ConfigError: a text that is not a regular expression, or a part that two options ask for.
    """
    given = {"label": label_pattern, "group": group_pattern, "fold": fold_pattern}
    found: dict[Part, NamePattern] = {}
    for part in PARTS:
        key, text = f"{part}_pattern", given[part]
        if not text:
            continue
        expression = _compiled(key, text)
        parts = [part, *(other for other in PARTS if part == "label" and other in expression.groupindex)]
        for other in dict.fromkeys(parts):
            if other in found:
                raise ConfigError(
                    f"data.{key}: data.label_pattern={label_pattern!r} finds the {other} of a recording already; "
                    f"leave one out, by data.{key}=null for example"
                )
            found[other] = NamePattern(key, expression, other)
    return found


def describe(table: pd.DataFrame, parts: Sequence[Part]) -> str:
    """What patterns found, in one line: ``3 labels (cat 10, dog 12, owl 9); folds 1 to 5; a_1.wav: label a, fold 1``.

    Args:
        table: rows of a manifest.
        parts: the columns that patterns filled.
    """
    said = []
    for part in parts:
        counts = table[part].value_counts(sort=False).sort_index()
        if part == "fold":
            counts = counts[counts.index >= 0]
        listed = [f"{name} {count:,}" for name, count in counts.items()]
        if len(listed) > 2 * NAMED_EXAMPLES:
            listed[NAMED_EXAMPLES:-1] = ["..."]
        said.append(f"{len(counts):,} {part}{'s' if len(counts) != 1 else ''} ({', '.join(listed)})")
    first = table.iloc[0]
    example = ", ".join(f"{part} {first[part]}" for part in parts)
    return f"names of recordings: {'; '.join(said)}; for example {first['path']}: {example}"


def examples(paths: Sequence[str]) -> str:
    """The first paths, as a message shows them."""
    return ", ".join(paths[:NAMED_EXAMPLES]) + (", ..." if len(paths) > NAMED_EXAMPLES else "")


def _compiled(key: str, text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise ConfigError(f"data.{key}={text!r} is not a regular expression: {error}") from error
