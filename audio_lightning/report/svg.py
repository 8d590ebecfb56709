"""SVG charts of the HTML reports; colours come from the style sheet, and marks have tooltips."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from markupsafe import Markup

Point = tuple[float, float]

SHARES = (0.0, 1.0)
"""Range of a share, and of the metrics for which higher is better."""

LETTER_WIDTH = 6.8
"""Average width of a bold character in SVG units."""


@dataclass(frozen=True)
class Scale:
    """Linear or logarithmic scale of an axis.

    Attributes:
        low, high: ends of the axis; they may be equal or reversed.
        log: logarithmic scale; both ends must be positive.
        whole: ticks at integers only.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    @classmethod
    def around(
        cls, values: Iterable[float], *, log: bool = False, margin: float = 0.05, within: Point | None = None
    ) -> Self:
        """Return a scale with a margin around the values.

        Args:
            values: values to show; at least one must be finite.
            log: logarithmic scale.
            margin: share of the range that is added at both ends.
            within: range of possible values, such as 0 to 1 for a share: the margin does not leave it.
        """
        finite = [value for value in values if math.isfinite(value)]
        low, high = min(finite), max(finite)
        if log:
            room = max(high / low, 2.0) ** margin
            return cls(low / room, high * room, log=True)
        room = margin * ((high - low) or abs(high) or 1.0)
        least, most = within or (-math.inf, math.inf)
        return cls(max(low - room, min(low, least)), min(high + room, max(high, most)))

    def share(self, value: float) -> float:
        """Return the position of a value: 0 at the low end, 1 at the high end."""
        low, high, at = (math.log10(v) for v in (self.low, self.high, value)) if self.log else (
            self.low, self.high, value
        )  # fmt: skip
        return (at - low) / (high - low) if high != low else 0.5

    def ticks(self, most: int = 6) -> list[float]:
        """Return round numbers between the ends, about ``most`` of them at most."""
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            for steps in ((1, 2, 5), (1, 3), (1,)):
                found = [step * 10.0**power for power in range(first, last + 1) for step in steps]
                found = [value for value in found if self.low <= value <= self.high]
                if len(found) <= most:
                    break
            if len(found) > 1:
                return found[:: math.ceil(len(found) / most)]
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        power = math.floor(math.log10(span / most))
        step = next(nice * 10.0**power for nice in (1, 2, 5, 10) if span / (nice * 10.0**power) <= most)
        if self.whole:
            step = max(step, 1.0)
        return [place * step for place in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def short(value: float) -> str:
    """Format a number with three significant digits and an SI prefix: ``0.05``, ``12``, ``3.3 M``."""
    for size, letter in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{0.0 if abs(value) < 1e-12 else value:.3g}"


class Chart:
    """An SVG chart with axes, to which marks are added.

    Args:
        label: text alternative for screen readers.
        x: scale of the horizontal axis.
        y: scale of the vertical axis.
        size: width and height in SVG units, about pixels.
        left: width of the margin for the tick labels of ``y``.
        x_label: label of the horizontal axis, with the unit.
        y_label: label of the vertical axis, above the plot.
        rows: labels for values of ``y`` instead of ticks.
    """

    def __init__(
        self,
        label: str,
        x: Scale,
        y: Scale,
        *,
        size: tuple[int, int],
        left: int = 46,
        x_label: str = "",
        y_label: str = "",
        rows: Sequence[tuple[float, str]] | None = None,
    ) -> None:
        self.about, self.x, self.y, self.size = label, x, y, size
        self.left, self.right = left, size[0] - 12
        self.top, self.bottom = (26 if y_label else 8), size[1] - (38 if x_label else 22)
        self._parts: list[Markup] = []
        for value in x.ticks(max(2, (self.right - left) // 70)):
            self._rule((value, y.low), (value, y.high))
            self.text((value, y.low), short(value), dy=16, css="middle")
        for value, text in rows if rows is not None else [(value, short(value)) for value in y.ticks()]:
            self._rule((x.low, value), (x.high, value))
            self.text((x.low, value), text, dx=-7, dy=4, css="end")
        if x_label:
            place = Markup('<text class="end" x="{}" y="{}">{}</text>')
            self._parts.append(place.format(self.right, size[1] - 6, x_label))
        if y_label:
            self._parts.append(Markup('<text x="{}" y="14">{}</text>').format(2, y_label))

    def at(self, point: Point) -> Point:
        """Return the SVG coordinates of a point, to the right of and below the top left corner."""
        return (
            round(self.left + self.x.share(point[0]) * (self.right - self.left), 1),
            round(self.bottom - self.y.share(point[1]) * (self.bottom - self.top), 1),
        )

    def dot(self, point: Point, css: str, title: str = "", radius: float = 4) -> None:
        """Add a disc."""
        x, y = self.at(point)
        inside = Markup("<title>{}</title>").format(title) if title else ""
        self._parts.append(
            Markup('<circle class="{}" cx="{}" cy="{}" r="{:g}">{}</circle>').format(css, x, y, radius, inside)
        )

    def line(self, points: Iterable[Point], css: str, title: str = "") -> None:
        """Add a line through points; points that are not finite interrupt it."""
        pieces, drawing = [], False
        for point in points:
            if not all(math.isfinite(value) for value in point):
                drawing = False
                continue
            x, y = self.at(point)
            pieces.append(f"{'L' if drawing else 'M'}{x:g} {y:g}")
            drawing = True
        inside = Markup("<title>{}</title>").format(title) if title else ""
        if pieces:
            self._parts.append(Markup('<path class="line {}" d="{}">{}</path>').format(css, "".join(pieces), inside))

    def text(self, point: Point, text: str, *, dx: float = 0, dy: float = 0, css: str = "") -> None:
        """Add text at an offset ``dx``, ``dy`` from a point, in SVG units."""
        x, y = self.at(point)
        self._parts.append(Markup('<text class="{}" x="{:g}" y="{:g}">{}</text>').format(css, x + dx, y + dy, text))

    def interval(self, x: float, low: float, high: float, css: str) -> None:
        """Add a vertical interval with caps at both ends."""
        across, top = self.at((x, high))
        bottom = self.at((x, low))[1]
        path = f"M{across - 5:g} {top:g}h10M{across - 5:g} {bottom:g}h10M{across:g} {top:g}V{bottom:g}"
        self._parts.append(Markup('<path class="line {}" d="{}"/>').format(css, path))

    def label(self, points: Sequence[tuple[Point, str]], *, most: int) -> None:
        """Add labels next to points in order of importance, without overlaps; labels without room are left out.

        Args:
            points: points with their labels.
            most: largest number of characters of a label.
        """
        taken = [(x - 7, y - 7, x + 7, y + 7) for x, y in (self.at(point) for point, _ in points)]
        for point, text in points:
            words = clipped(text, most)
            x, y = self.at(point)
            width = LETTER_WIDTH * len(words)
            for dx, dy, css in ((10, 4, "name"), (-10, 4, "name end"), (0, -11, "name middle"), (0, 19, "name middle")):
                left = x + dx - {"name": 0.0, "name end": width, "name middle": width / 2}[css]
                box = (left, y + dy - 11, left + width, y + dy + 3)
                inside = box[0] >= self.left and box[2] <= self.size[0] and box[1] >= self.top and box[3] <= self.bottom
                if inside and not any(_overlap(box, other) for other in taken):
                    taken.append(box)
                    self.text(point, words, dx=dx, dy=dy, css=css)
                    break

    def __html__(self) -> Markup:
        start = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(*self.size, self.about)
        return start + Markup("\n").join(self._parts) + Markup("</svg>")

    def _rule(self, start: Point, stop: Point) -> None:
        (x1, y1), (x2, y2) = self.at(start), self.at(stop)
        self._parts.append(Markup('<line x1="{}" y1="{}" x2="{}" y2="{}"/>').format(x1, y1, x2, y2))


Box = tuple[float, float, float, float]


def _overlap(one: Box, other: Box) -> bool:
    """Whether two boxes (left, top, right, bottom) overlap."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def clipped(text: object, most: int) -> str:
    """Cut text to at most ``most`` characters, the last one an ellipsis if it was longer."""
    words = str(text)
    return words if len(words) <= most else words[: most - 1] + "…"
