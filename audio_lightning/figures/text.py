"""Text of figures: class names of any script and length, with fallback fonts for characters that DejaVu Sans lacks."""

import logging
import sys
import unicodedata
from functools import cache

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.text import Text

_LOG = logging.getLogger(__name__)

MOST_COLUMNS = 60
"""Width of a class name in columns above which it is shortened."""

EM_PER_COLUMN = 0.6
"""Width of a character of DejaVu Sans on average, relative to the font size."""

POINTS_PER_INCH = 72

CJK = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC", "FULLWIDTH", "HALFWIDTH")
"""First words of Unicode names of characters in the fonts for Chinese, Japanese and Korean."""

LAST_RESORT = "Last Resort"
"""Font of matplotlib whose glyphs are boxes."""


def legible(name: str) -> str:
    """Format a text for a figure: underscores as spaces, and no mathematical notation between dollar signs."""
    return name.replace("_", " ").replace("$", r"\$")


def class_label(name: str) -> str:
    """Format a class name: :func:`legible`, and without its middle if it is wider than :data:`MOST_COLUMNS`."""
    return legible(shorten(name, MOST_COLUMNS))


def shorten(name: str, columns: int) -> str:
    """Replace the middle of a name by an ellipsis so that it has at most the given width.

    Args:
        name: any text.
        columns: maximum width in columns, see :func:`text_columns`.
    """
    if text_columns(name) <= columns:
        return name
    start, end = name, name
    while text_columns(start) > (columns - 1) // 2:
        start = start[:-1]
    while text_columns(end) > columns - 1 - text_columns(start):
        end = end[1:]
    return f"{start}…{end}"


def text_columns(text: str) -> int:
    """Return the width of a text in columns: two for wide East Asian characters, none for combining marks, else one."""
    return sum(
        0 if unicodedata.combining(sign) else 1 + (unicodedata.east_asian_width(sign) in "WF")
        for sign in unicodedata.normalize("NFC", text)
    )


def text_inches(columns: int, size: float) -> float:
    """Compute the width of a text in inches.

    Args:
        columns: width in columns, see :func:`text_columns`.
        size: font size in points.
    """
    return columns * size * EM_PER_COLUMN / POINTS_PER_INCH


def set_fonts(figure: Figure) -> None:
    """Add fallback fonts for the characters of a figure that its font lacks.

    Characters that no installed font has are drawn as boxes. One line names a font to install, once per process.
    """
    texts = figure.findobj(Text)
    characters = {sign for text in texts for sign in text.get_text() if not sign.isspace() and sign.isprintable()}
    families, missing = fallback_fonts(frozenset(characters))
    for text in texts if families else ():
        text.set_fontfamily([*text.get_fontfamily(), *families])
    for font in sorted({noto_font(sign) for sign in missing}):
        _name_font(font)


@cache
def fallback_fonts(characters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Find the families of installed fonts for the characters that the default font lacks.

    Args:
        characters: single characters.

    Returns:
        Families in order of preference, sans-serif ones first, and the characters that no installed font has.
    """
    missing = {sign for sign in characters if not _has_glyph(findfont(FontProperties()), sign)}
    families: list[str] = []
    regular = [font for font in fontManager.ttflist if font.style == "normal" and font.weight in (400, "normal")]
    regular.sort(key=lambda font: (not any(word in font.name for word in ("Sans", "Gothic", "Hei")), font.name))
    for font in regular if missing else ():
        if font.name.startswith(LAST_RESORT) or font.name in families:
            continue
        found = {sign for sign in missing if _has_glyph(font.fname, sign)}
        if found:
            families.append(font.name)
            missing -= found
    return tuple(families), frozenset(missing)


def noto_font(character: str) -> str:
    """Return the family of the Noto fonts for a character, such as ``Noto Sans CJK`` or ``Noto Sans Devanagari``."""
    script = unicodedata.name(character, "").partition(" ")[0].partition("-")[0]
    if unicodedata.category(character) == "So":
        return "Noto Emoji"
    return f"Noto Sans {'CJK' if script in CJK else script.capitalize()}".strip()


def _has_glyph(file: str, character: str) -> bool:
    return get_font(file).get_char_index(ord(character)) != 0


@cache
def _name_font(font: str) -> None:
    line = f"plots: no installed font has some characters of the class names, drawn as boxes; install {font}"
    print(line, file=sys.stderr, flush=True)
    _LOG.info("%s", line)
