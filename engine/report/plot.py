"""The trade-off plot as SVG: clean against robust accuracy, one line a method through its k."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from engine.report.drawing import (
    BELOW,
    LEFT,
    LEGEND_ROW,
    LEGEND_TOP,
    RADIUS,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    coloured,
    frame,
    joined,
    legend_row,
    marker,
    picture,
    text,
)  # fmt: skip
from engine.results import Cell, Evaluation, Line
from engine.statistics import Estimate

HEIGHT = 420.0
LABEL_SIZE, LABEL_WIDTH, LABEL_HEIGHT = 11, 6.1, 12.0


@dataclass(frozen=True)
class Box:
    """A rectangle on the page, from its upper left to its lower right corner."""

    x0: float
    y0: float
    x1: float
    y1: float

    def shared(self, other: Box) -> float:
        """The area that both cover."""
        width = min(self.x1, other.x1) - max(self.x0, other.x0)
        height = min(self.y1, other.y1) - max(self.y0, other.y0)
        return width * height if width > 0 and height > 0 else 0.0

    def crossed(self, start: tuple[float, float], end: tuple[float, float]) -> bool:
        """Whether a straight line runs through it. Source: Liang & Barsky, ACM TOG 1984."""
        first, last = 0.0, 1.0
        sides = ((self.x0, self.x1, start[0], end[0]), (self.y0, self.y1, start[1], end[1]))
        for low, high, begin, stop in sides:
            step = stop - begin
            if step == 0:
                if not low <= begin <= high:
                    return False
                continue
            one, two = sorted(((low - begin) / step, (high - begin) / step))
            first, last = max(first, one), min(last, two)
        return first <= last


def trade_off_svg(evaluation: Evaluation, *, title: str = "") -> str:
    """Draw the cells of an evaluation as a picture of its own, legend included.

    Neutral parts take the colour of the surrounding text, so that the picture suits light and dark pages.
    """
    across = _axis([cell.clean for cell in evaluation.cells], LEFT, WIDTH - RIGHT)
    upward = _axis([cell.robust for cell in evaluation.cells], TOP + HEIGHT, TOP)
    height = TOP + HEIGHT + LEGEND_TOP + LEGEND_ROW * (len(evaluation.lines) + 1) + BELOW
    heading = title or "Clean against robust accuracy"
    parts = [
        *frame(across, upward, "Clean accuracy (%)", f"Robust accuracy (%), {evaluation.attack}"),
        *_front(evaluation, across, upward),
    ]
    for number, line in enumerate(evaluation.lines):
        parts += _drawn(line, number, across, upward)
    parts += _labels(evaluation, across, upward)
    parts += _legend(evaluation)
    return picture("trade-off", height, heading, _described(evaluation), parts)


def _axis(estimates: Sequence[Estimate], start: float, end: float) -> Axis:
    """Room for every mean and, up to a limit, for its interval: one wide interval must not squeeze all the rest."""
    means = [100 * item.mean for item in estimates]
    spread = max(max(means) - min(means), 4.0)
    low = max(min(means) - spread, min(100 * item.low for item in estimates))
    high = min(max(means) + spread, max(100 * item.high for item in estimates))
    margin = 0.06 * max(high - low, 4.0)
    return Axis(max(low - margin, -2.0), min(high + margin, 102.0), start, end)


def _described(evaluation: Evaluation) -> str:
    """The picture in words, for those who cannot see it."""
    cells = "; ".join(
        f"{cell.name}: clean {100 * cell.clean.mean:.1f} %, robust {100 * cell.robust.mean:.1f} %"
        for cell in evaluation.cells
    )
    return f"{evaluation.title}. {cells}."


def _front(evaluation: Evaluation, across: Axis, upward: Axis) -> Iterator[str]:
    points = sorted(
        _place(cell, across, upward) for cell in evaluation.cells if cell.name in evaluation.front
    )
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    if len(points) > 1:
        yield (
            f'<polyline points="{path}" fill="none" stroke="currentColor" stroke-opacity="0.1" '
            'stroke-width="9" stroke-linejoin="round" stroke-linecap="round"/>'
        )
    yield '<g fill="none" stroke="currentColor" stroke-width="1.3">'
    for x, y in points:
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{RADIUS + 4.5:g}"/>'
    yield "</g>"


def _drawn(line: Line, number: int, across: Axis, upward: Axis) -> Iterator[str]:
    places = [_place(cell, across, upward) for cell in line.cells]
    yield coloured(number)
    yield from joined(places, number)
    for cell, (x, y) in zip(line.cells, places, strict=True):
        yield "<g>"
        yield f"<title>{escape(_tooltip(cell))}</title>"
        left, right = across.kept(100 * cell.clean.low), across.kept(100 * cell.clean.high)
        low, high = upward.kept(100 * cell.robust.low), upward.kept(100 * cell.robust.high)
        yield (
            f'<path d="M{left:.1f} {y:.1f}H{right:.1f}M{x:.1f} {low:.1f}V{high:.1f}" fill="none" '
            'stroke-width="1" stroke-opacity="0.6"/>'
        )
        yield marker(x, y, number)
        yield "</g>"
    yield "</g>"


def point_label(cell: Cell, line: Line) -> str:
    """What stands at a point: its k, and where a line has several of one k also its pre-training."""
    if cell.k is None:
        return ""
    alone = [other.k for other in line.cells].count(cell.k) == 1
    return f"k={cell.k}" if alone else f"k={cell.k}, {cell.pretraining}"


def _labels(evaluation: Evaluation, across: Axis, upward: Axis) -> Iterator[str]:
    """Write a label at every point that has one, where it covers no other label, no marker and few lines."""
    places = {cell.name: _place(cell, across, upward) for cell in evaluation.cells}
    # The ring's bounding box has empty corners, where a text may stand.
    reach = RADIUS + 2.5
    taken = [Box(x - reach, y - reach, x + reach, y + reach) for x, y in places.values()]
    strokes = [
        (places[first.name], places[second.name])
        for line in evaluation.lines
        for first, second in itertools.pairwise(line.cells)
    ]
    for cell in evaluation.cells:
        x, y = places[cell.name]
        strokes.append(((x, upward.kept(100 * cell.robust.low)), (x, upward.kept(100 * cell.robust.high))))
        strokes.append(((across.kept(100 * cell.clean.low), y), (across.kept(100 * cell.clean.high), y)))
    yield f'<g font-size="{LABEL_SIZE}" fill="currentColor">'
    for line in evaluation.lines:
        for cell in line.cells:
            label = point_label(cell, line)
            spot = _free_spot(places[cell.name], len(label) * LABEL_WIDTH, taken, strokes) if label else None
            if spot is None:
                continue
            taken.append(spot)
            x, y = places[cell.name]
            near_x, near_y = min(max(x, spot.x0), spot.x1), min(max(y, spot.y0), spot.y1)
            if math.dist((x, y), (near_x, near_y)) > 15:
                yield (
                    f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{near_x:.1f}" y2="{near_y:.1f}" '
                    'stroke="currentColor" stroke-opacity="0.5" stroke-width="0.8"/>'
                )
            yield text((spot.x0 + spot.x1) / 2, spot.y1 - 2.5, label, "middle")
    yield "</g>"


def _free_spot(
    place: tuple[float, float],
    width: float,
    taken: Sequence[Box],
    strokes: Sequence[tuple[tuple[float, float], tuple[float, float]]],
) -> Box | None:
    """The best place for a text near a point; None if every one would cover a marker or another text."""
    best, least = None, math.inf
    for distance in (13.0, 16.0, 22.0, 32.0, 44.0, 58.0, 74.0):
        if distance >= least:
            break
        for eighth in range(16):
            angle = eighth * math.pi / 8
            right, down = math.cos(angle), math.sin(angle)
            x = place[0] + distance * right + width / 2 * min(1.0, max(-1.0, 1.6 * right))
            y = place[1] + distance * down + LABEL_HEIGHT / 2 * min(1.0, max(-1.0, 1.6 * down))
            box = Box(x - width / 2, y - LABEL_HEIGHT / 2, x + width / 2, y + LABEL_HEIGHT / 2)
            outside = box.x0 < LEFT or box.x1 > WIDTH - RIGHT or box.y0 < TOP or box.y1 > TOP + HEIGHT
            if outside or any(box.shared(other) > 0 for other in taken):
                continue
            cost = distance + 14 * sum(box.crossed(start, end) for start, end in strokes)
            if cost < least:
                best, least = box, cost
    return best


def _legend(evaluation: Evaluation) -> Iterator[str]:
    y = TOP + HEIGHT + LEGEND_TOP
    for number, line in enumerate(evaluation.lines):
        yield from legend_row(y, number, line.name, stroke=len(line.cells) > 1)
        y += LEGEND_ROW
    yield (
        f'<circle cx="{LEFT + 18:g}" cy="{y:g}" r="{RADIUS + 4.5:g}" fill="none" stroke="currentColor" '
        'stroke-width="1.3"/>'
    )
    bars = {cell.clean.over for cell in evaluation.cells}
    told = " and ".join(
        words
        for over, words in (("seeds", "over seeds (Student-t)"), ("images", "of a single run (Wilson)"))
        if over in bars
    )
    yield text(
        LEFT + 46,
        y + 4,
        f"Pareto front of the means; bars: 95 % interval {told}",
        "start",
        ' fill="currentColor"',
    )


def _place(cell: Cell, across: Axis, upward: Axis) -> tuple[float, float]:
    return across.at(100 * cell.clean.mean), upward.at(100 * cell.robust.mean)


def _tooltip(cell: Cell) -> str:
    clean, robust = (
        f"{100 * item.mean:.1f} % ({100 * item.low:.1f} to {100 * item.high:.1f})"
        for item in (cell.clean, cell.robust)
    )
    return f"{cell.name}: clean {clean}, robust {robust}"
