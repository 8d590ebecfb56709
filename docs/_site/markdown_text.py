"""Markdown for generated pages."""

import re
from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; line breaks, and bars outside of inline code, are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def code(text: str) -> str:
    """Return inline code, which may be empty or hold backticks."""
    if not text:
        return ""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def plain(text: str) -> str:
    """Escape what Markdown and HTML would take for markup in a sentence, outside of inline code."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(piece if piece.startswith("`") else _escaped(piece) for piece in pieces)


def prose(docstring: str) -> str:
    """Return a docstring as Markdown: inline literals and roles of reStructuredText become inline code."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", docstring)
    return re.sub(r"``([^`]+)``", r"`\1`", text)


def first_sentence(docstring: str | None) -> str:
    """Return the first paragraph of a docstring as one line of Markdown."""
    return " ".join(prose((docstring or "").strip()).split("\n\n")[0].split())


def _cell(text: str) -> str:
    pieces = re.split(r"(`[^`]+`)", text.replace("\n", " "))
    return "".join(piece if piece.startswith("`") else re.sub(r"(?<!\\)\|", r"\|", piece) for piece in pieces)


def _escaped(text: str) -> str:
    return re.sub(r"([*_\[\]\\])", r"\\\1", text).replace("<", "&lt;")
