"""Class names of any script and length in figures: shortening, fallback fonts, room for labels, white background."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.text import Text
from PIL import Image

from audio_lightning.figures import text
from audio_lightning.figures.evaluation import curves, draw_confusion, png
from audio_lightning.figures.run_figures import average_precision

SCRIPTS = {
    "chinese": ["狗叫声", "雨声", "警笛声"],
    "japanese": ["いぬ", "サイレン", "雨の音"],
    "korean": ["개 짖는 소리", "빗소리", "사이렌"],
    "arabic": ["نباح", "مطر", "صفارة"],
    "hindi": ["कुत्ता", "बारिश", "सायरन"],
    "emoji": ["🐕 dog", "🌧 rain", "🚨 siren"],
}
LONG = [f"recording_of_class_{number}_with_a_name_that_nobody_would_type_twice" for number in range(3)]


@pytest.fixture
def only_dejavu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No installed fonts except those of matplotlib."""
    monkeypatch.setattr(fontManager, "ttflist", [font for font in fontManager.ttflist if font.name == "DejaVu Sans"])
    for function in (text.fallback_fonts, text._name_font):
        function.cache_clear()
    yield
    for function in (text.fallback_fonts, text._name_font):
        function.cache_clear()


def labels_inside(figure: Figure, width: int, height: int) -> bool:
    """Whether all text of a drawn figure lies within its picture of width x height pixels, except ticks out of view."""
    ticks = {label for axes in figure.axes for label in (*axes.get_xticklabels(), *axes.get_yticklabels())}
    named = {label for label in ticks if any(sign.isalpha() for sign in label.get_text())}
    texts = [found for found in figure.findobj(Text) if found.get_visible() and found.get_text()]
    boxes = [found.get_window_extent() for found in texts if found not in ticks or found in named]
    return all(box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1 for box in boxes)


@pytest.mark.parametrize(
    ("name", "columns", "shortened"),
    [
        ("dog bark", 8, "dog bark"),
        ("dog barking", 8, "dog…king"),
        ("狗叫声", 6, "狗叫声"),
        ("狗叫声狗叫声", 7, "狗…叫声"),
    ],
)
def test_long_names_lose_their_middle(name: str, columns: int, shortened: str) -> None:
    assert text.shorten(name, columns) == shortened
    assert text.text_columns(shortened) <= columns


def test_labels_have_no_mathematical_notation() -> None:
    assert text.class_label("a_$b$") == r"a \$b\$"
    assert text.text_columns(text.class_label("x" * 200)) == text.MOST_COLUMNS


@pytest.mark.parametrize("script", SCRIPTS)
def test_names_of_every_script_are_drawn(script: str, only_dejavu: None, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a font for them, characters are boxes and one line names the font to install."""
    counts = np.diag([3, 2, 1])
    figure = draw_confusion(counts, SCRIPTS[script], "test")
    picture = Image.open(io.BytesIO(png(figure)))
    assert labels_inside(figure, *picture.size)
    notes = capsys.readouterr().err
    fonts = {"chinese": "Noto Sans CJK", "japanese": "Noto Sans CJK", "korean": "Noto Sans CJK",
             "hindi": "Noto Sans Devanagari", "emoji": "Noto Emoji"}  # fmt: skip
    if script in fonts:
        assert notes.splitlines() == [
            f"plots: no installed font has some characters of the class names, drawn as boxes; install {fonts[script]}"
        ]
        png(draw_confusion(counts, SCRIPTS[script], "test"))
        assert capsys.readouterr().err == "", "the line is printed once"
    else:
        assert notes == ""


def test_an_installed_font_with_the_characters_is_used(
    only_dejavu: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    builder = FontBuilder(1000, isTTF=True)
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    pen.lineTo((0, 800))
    pen.lineTo((800, 800))
    pen.closePath()
    builder.setupGlyphOrder([".notdef", "dog"])
    builder.setupCharacterMap({ord("犬"): "dog"})
    builder.setupGlyf({".notdef": pen.glyph(), "dog": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "dog": (1000, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Tiny Sans", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "tiny.ttf")
    fontManager.addfont(tmp_path / "tiny.ttf")
    figure = draw_confusion(np.diag([1, 1]), ["犬", "dog"], "test")
    png(figure)
    assert capsys.readouterr().err == ""
    (label,) = [found for found in figure.findobj(Text) if found.get_text() == "犬"][:1]
    assert label.get_fontfamily()[-1] == "Tiny Sans"


def test_long_names_number_the_columns_of_a_confusion_matrix() -> None:
    figure = draw_confusion(np.diag([3, 2, 1]), LONG, "test")
    picture = Image.open(io.BytesIO(png(figure)))
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "3"]
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert rows == [f"{text.class_label(name)}  {number}" for number, name in enumerate(LONG, 1)]
    assert labels_inside(figure, *picture.size)
    assert axes.get_position().width * picture.size[0] > 250, "the matrix keeps its size"


def test_fifty_classes_with_long_names_fit() -> None:
    names = [f"{'x' * 50}_{number}" for number in range(50)]
    figure = draw_confusion(np.eye(50, dtype=int), names, "test")
    picture = Image.open(io.BytesIO(png(figure)))
    assert labels_inside(figure, *picture.size)


def test_bars_and_curves_with_long_names_fit() -> None:
    table = pd.DataFrame({"class": LONG, "average_precision": [0.5, 0.25, 1.0], "clips": [3, 1, 2]})
    figure = average_precision(table)
    assert labels_inside(figure, *Image.open(io.BytesIO(png(figure))).size)
    line = np.linspace(0, 1, 5)
    figure = curves([(name, line, line) for name in LONG], LONG, ("x", "y"), "title", diagonal=True)
    assert labels_inside(figure, *Image.open(io.BytesIO(png(figure))).size)


def test_curves_differ_in_colour_or_style() -> None:
    names = [f"class {number}" for number in range(20)]
    line = np.linspace(0, 1, 5)
    axes = curves([(name, line, line) for name in names], names, ("x", "y"), "title", diagonal=False).axes[0]
    assert len({(found.get_color(), found.get_linestyle()) for found in axes.lines}) == 20


def test_the_background_is_white_on_dark_pages() -> None:
    picture = Image.open(io.BytesIO(png(draw_confusion(np.diag([1, 1]), ["a", "b"], "test"))))
    assert picture.convert("RGBA").getpixel((0, 0)) == (255, 255, 255, 255)
