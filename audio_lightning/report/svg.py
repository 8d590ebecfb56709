"""Charts as SVG within a page: few marks, colours from the page's style, and a title on every mark to point at."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from markupsafe import Markup

Point = tuple[float, float]

LETTER_WIDTH = 6.8
"""Units of a bold letter of a chart's font, on average."""


@dataclass(frozen=True)
class Scale:
    """From values to places along an axis.

    Attributes:
        low, high: the ends; they may be equal, or the wrong way round.
        log: in equal steps for equal ratios; both ends are more than 0.
        whole: no ticks between whole numbers.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    @classmethod
    def around(cls, values: Iterable[float], *, log: bool = False, margin: float = 0.05) -> Self:
        """A scale with some room around the values, of which one is finite at least."""
        finite = [value for value in values if math.isfinite(value)]
        low, high = min(finite), max(finite)
        if log:
            room = max(high / low, 2.0) ** margin
            return cls(low / room, high * room, log=True)
        room = margin * ((high - low) or abs(high) or 1.0)
        return cls(low - room, high + room)

    def share(self, value: float) -> float:
        """0 at the low end, 1 at the high one."""
        low, high, at = (math.log10(v) for v in (self.low, self.high, value)) if self.log else (
            self.low, self.high, value
        )  # fmt: skip
        return (at - low) / (high - low) if high != low else 0.5

    def ticks(self, most: int = 6) -> list[float]:
        """Round numbers between the ends, ``most`` of them or fewer."""
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
    """A number for a tick: ``0.05``, ``12``, ``3.3 M``."""
    for size, letter in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{0.0 if abs(value) < 1e-12 else value:.3g}"


class Chart:
    """An empty chart with axes, to which marks are added.

    Args:
        label: what is to be seen, for those who cannot see it.
        x: of the horizontal axis.
        y: of the vertical axis.
        size: width and height in units, about pixels.
        left: units to the left of the plot, for the words there.
        x_label: below the plot, with the unit.
        y_label: above the plot.
        rows: words for values of ``y``, in place of its ticks.
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
        """Units to the right and down of the top left corner."""
        return (
            round(self.left + self.x.share(point[0]) * (self.right - self.left), 1),
            round(self.bottom - self.y.share(point[1]) * (self.bottom - self.top), 1),
        )

    def dot(self, point: Point, css: str, title: str = "", radius: float = 4) -> None:
        """A disc."""
        x, y = self.at(point)
        inside = Markup("<title>{}</title>").format(title) if title else ""
        self._parts.append(
            Markup('<circle class="{}" cx="{}" cy="{}" r="{:g}">{}</circle>').format(css, x, y, radius, inside)
        )

    def line(self, points: Iterable[Point], css: str, title: str = "") -> None:
        """A line from point to point; it breaks where one is not finite."""
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
        """Words beside a point."""
        x, y = self.at(point)
        self._parts.append(Markup('<text class="{}" x="{:g}" y="{:g}">{}</text>').format(css, x + dx, y + dy, text))

    def interval(self, x: float, low: float, high: float, css: str) -> None:
        """A vertical interval with a cap at each end."""
        across, top = self.at((x, high))
        bottom = self.at((x, low))[1]
        path = f"M{across - 5:g} {top:g}h10M{across - 5:g} {bottom:g}h10M{across:g} {top:g}V{bottom:g}"
        self._parts.append(Markup('<path class="line {}" d="{}"/>').format(css, path))

    def label(self, points: Sequence[tuple[Point, str]], *, most: int) -> None:
        """Words beside points, in the order of importance; those that find no room are left out.

        Args:
            points: with the words of each.
            most: letters of each.
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
    """Whether two boxes, each left, top, right and bottom, share any area."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def clipped(text: object, most: int) -> str:
    """Words that are not longer than there is room for."""
    words = str(text)
    return words if len(words) <= most else words[: most - 1] + "…"
