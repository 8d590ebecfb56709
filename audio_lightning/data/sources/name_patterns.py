"""Labels, groups and folds from file names, by regular expressions."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from unicodedata import normalize

import pandas as pd

from audio_lightning.core.errors import ConfigError, DataError

NAMED_EXAMPLES = 3
"""Maximum number of examples in a message."""

Part = Literal["label", "group", "fold"]
PARTS: tuple[Part, ...] = ("label", "group", "fold")


@dataclass(frozen=True)
class NamePattern:
    """Regular expression for one part of a recording's file name.

    It is searched in the file name, in Unicode NFC, without the folders above it.

    Attributes:
        key: option of the pattern, without ``data.``.
        expression: compiled expression; the result is its group named after ``part``, or else the whole match.
        part: the part to extract.
    """

    key: str
    expression: re.Pattern[str]
    part: Part

    def find(self, paths: Sequence[str]) -> list[str]:
        """Extract the part from each name; an empty text if there is no match.

        Raises:
            DataError: no name matches, or a fold is not a whole number.
        """
        group = self.part if self.part in self.expression.groupindex else 0
        names = (normalize("NFC", path.rpartition("/")[2]) for path in paths)
        found = [(match[group] or "") if (match := self.expression.search(name)) else "" for name in names]
        if not any(found):
            remedy = "correct the pattern"
            if self.part == "group":
                remedy += ", or leave it out if groups are unknown"
            raise DataError(f"{self}: matches no file name ({examples(paths)}); {remedy}")
        if self.part == "fold":
            for path, fold in zip(paths, found):
                if fold and not re.fullmatch("[0-9]{1,9}", fold):
                    raise DataError(f"{self}: matches fold {fold!r} in {path}; expected a whole number of at least 0")
        return found

    def __str__(self) -> str:
        return f"data.{self.key}={self.expression.pattern!r}"


def name_patterns(
    label_pattern: str | None = None, group_pattern: str | None = None, fold_pattern: str | None = None
) -> dict[Part, NamePattern]:
    """Compile the patterns of options, by the part that each extracts.

    A label pattern may also extract groups and folds, with its groups named ``group`` and ``fold``.

    Raises:
        ConfigError: an invalid regular expression, a group with an unknown name, or a part with two patterns.
    """
    given = {"label": label_pattern, "group": group_pattern, "fold": fold_pattern}
    found: dict[Part, NamePattern] = {}
    for part in PARTS:
        key, text = f"{part}_pattern", given[part]
        if not text:
            continue
        expression = _compiled(key, text)
        known = PARTS if part == "label" else (part,)
        if unknown := [name for name in expression.groupindex if name not in known]:
            raise ConfigError(
                f"data.{key}={text!r}: has a group named {unknown[0]}; known names: {', '.join(known)} (a group "
                "without a name: (?:...))"
            )
        parts = [part, *(other for other in known if other in expression.groupindex)]
        for other in dict.fromkeys(parts):
            if other in found:
                raise ConfigError(
                    f"data.{key}: data.label_pattern={label_pattern!r} extracts the {other} of a recording already; "
                    f"leave one out, for example by data.{key}=null"
                )
            found[other] = NamePattern(key, expression, other)
    return found


def describe(table: pd.DataFrame, parts: Sequence[Part]) -> str:
    """Summarize extracted parts, with the number of clips of each.

    For example ``names of recordings: 2 labels (cat 10, dog 12); for example cat_1.wav: label cat``.

    Args:
        table: rows of a manifest.
        parts: columns that patterns filled.
    """
    sentences = []
    for part in parts:
        counts = table[part].value_counts(sort=False).sort_index()
        if part == "fold":
            counts = counts[counts.index >= 0]
        listed = [f"{name} {count:,}" for name, count in counts.items()]
        if len(listed) > 2 * NAMED_EXAMPLES:
            listed[NAMED_EXAMPLES:-1] = ["..."]
        sentences.append(f"{len(counts):,} {part}{'s' if len(counts) != 1 else ''} ({', '.join(listed)})")
    first = table.iloc[0]
    example = ", ".join(f"{part} {first[part]}" for part in parts)
    return f"names of recordings: {'; '.join(sentences)}; for example {first['path']}: {example}"


def examples(paths: Sequence[str]) -> str:
    """First few paths, for a message."""
    return ", ".join(paths[:NAMED_EXAMPLES]) + (", ..." if len(paths) > NAMED_EXAMPLES else "")


def _compiled(key: str, text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise ConfigError(f"data.{key}={text!r} is not a regular expression: {error}") from error
