"""What the plots of a report share: colours, markers, axes and their frame, as SVG.

Neutral parts take the colour of the surrounding text, so that a picture suits light and dark pages.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

#: Okabe & Ito's palette for all kinds of colour vision, without its yellow, which vanishes on white.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#7F7F7F")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "12 4", "4 2", "1 3")
#: Markers as polygons of radius 1; none is the circle.
MARKERS: tuple[tuple[tuple[float, float], ...], ...] = (
    (),
    ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    ((0, -1.25), (1.1, 0.8), (-1.1, 0.8)),
    ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
    ((0, 1.25), (1.1, -0.8), (-1.1, -0.8)),
    ((-0.4, -1.2), (0.4, -1.2), (0.4, -0.4), (1.2, -0.4), (1.2, 0.4), (0.4, 0.4), (0.4, 1.2), (-0.4, 1.2),
     (-0.4, 0.4), (-1.2, 0.4), (-1.2, -0.4), (-0.4, -0.4)),
    ((0, -1.25), (1.19, -0.39), (0.73, 1.0), (-0.73, 1.0), (-1.19, -0.39)),
)  # fmt: skip

WIDTH, LEFT, RIGHT, TOP = 760.0, 66.0, 18.0, 14.0
#: Below the axes: the title of the lower one, then the legend, a row a line.
LEGEND_TOP, LEGEND_ROW, BELOW = 66.0, 22.0, 8.0
RADIUS = 5.0

Place = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """A range of values and where it lies on the page."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Place of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def kept(self, value: float) -> float:
        """Place of a value, or of the end of the axis beyond which it lies."""
        return self.at(min(max(value, self.low), self.high))

    @property
    def ticks(self) -> list[float]:
        """Round values along the axis, four to nine of them."""
        step = tick_step(self.high - self.low)
        first = math.ceil(self.low / step - 1e-9)
        return [number * step for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def tick_step(span: float) -> float:
    """Distance of ticks, 1, 2 or 5 times a power of ten, that gives four to nine over a span."""
    power = 10.0 ** math.floor(math.log10(span / 4))
    return max(step for step in (power, 2 * power, 5 * power) if step <= span / 4)


def picture(kind: str, height: float, title: str, description: str, parts: Iterable[str]) -> str:
    """A whole picture, of this class, with a title and a description for those who cannot see it."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {height:g}" width="{WIDTH:g}" '
            f'height="{height:g}" role="img" color="#1c1f23" font-family="system-ui, Segoe UI, Helvetica, Arial, '
            f'sans-serif" font-size="12" class="{kind}">',
            f"<title>{escape(title)}</title>",
            f"<desc>{escape(description)}</desc>",
            *parts,
            "</svg>\n",
        ]
    )


def frame(across: Axis, upward: Axis, below: str, beside: str) -> Iterator[str]:
    """Grid, axes, ticks, and the titles below and beside."""
    left, right, top, bottom = across.start, across.end, upward.end, upward.start
    yield '<g stroke="currentColor" stroke-opacity="0.16" stroke-width="1">'
    for tick in across.ticks:
        x = across.at(tick)
        yield f'<line x1="{x:.1f}" y1="{top:g}" x2="{x:.1f}" y2="{bottom:g}"/>'
    for tick in upward.ticks:
        y = upward.at(tick)
        yield f'<line x1="{left:g}" y1="{y:.1f}" x2="{right:g}" y2="{y:.1f}"/>'
    yield "</g>"
    yield (
        f'<path d="M{left:g} {top:g}V{bottom:g}H{right:g}" fill="none" stroke="currentColor" '
        'stroke-opacity="0.6"/>'
    )
    yield '<g fill="currentColor">'
    for tick in across.ticks:
        yield text(across.at(tick), bottom + 18, f"{tick:g}", "middle")
    for tick in upward.ticks:
        yield text(left - 8, upward.at(tick) + 4, f"{tick:g}", "end")
    yield text((left + right) / 2, bottom + 40, below, "middle")
    middle = (top + bottom) / 2
    yield (
        f'<text x="{left - 48:g}" y="{middle:g}" text-anchor="middle" transform="rotate(-90 {left - 48:g} {middle:g})">'
        f"{escape(beside)}</text>"
    )
    yield "</g>"


def coloured(number: int) -> str:
    """Opens the group of a line's colour."""
    colour = COLOURS[number % len(COLOURS)]
    return f'<g stroke="{colour}" fill="{colour}">'


def joined(places: Sequence[Place], number: int) -> Iterator[str]:
    """The stroke through the points of a line, if it has several."""
    if len(places) > 1:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        yield f'<polyline points="{path}" fill="none" stroke-width="1.8"{_dashes(number)}/>'


def marker(x: float, y: float, number: int) -> str:
    """A line's marker around a place."""
    corners = MARKERS[number % len(MARKERS)]
    if not corners:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{RADIUS:g}" stroke="none"/>'
    path = " ".join(f"{x + RADIUS * right:.1f},{y + RADIUS * down:.1f}" for right, down in corners)
    return f'<polygon points="{path}" stroke="none"/>'


def legend_row(y: float, number: int, name: str, *, stroke: bool) -> Iterator[str]:
    """A line's marker, with its stroke where it has one, and its name."""
    yield coloured(number)
    if stroke:
        yield (
            f'<line x1="{LEFT:g}" y1="{y:g}" x2="{LEFT + 36:g}" y2="{y:g}" stroke-width="1.8"{_dashes(number)}/>'
        )
    yield marker(LEFT + 18, y, number) + "</g>"
    yield text(LEFT + 46, y + 4, name, "start", ' fill="currentColor"')


def text(x: float, y: float, words: str, anchor: str, more: str = "") -> str:
    """Words at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(words)}</text>'


def _dashes(number: int) -> str:
    dash = DASHES[number % len(DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ""
