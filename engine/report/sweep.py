"""Robust accuracy against epsilon as SVG: one line a cell, with error bars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from engine.config import NORM_TITLES, format_ratio
from engine.report.detail import Detail, Point
from engine.report.drawing import (
    BELOW,
    COLOURS,
    LEFT,
    LEGEND_ROW,
    LEGEND_TOP,
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
)  # fmt: skip

HEIGHT = 240.0
#: So many lines can be told apart.
MOST_LINES = len(COLOURS)


def sweep_svg(attack: str, norm: str, lines: Sequence[tuple[str, Detail]]) -> str:
    """Draw the sweeps over epsilon of up to `MOST_LINES` cells, legend included.

    At radius 0 stands the clean accuracy. Radii of the Linf ball are told in steps of 1/255.

    Args:
        attack: title of the attack.
        norm: its norm, as settings write it.
        lines: name and evaluation of each cell; those with a sweep over epsilon.
    """
    curves = [(name, _curve(detail)) for name, detail in lines]
    scale = 255.0 if norm == "linf" else 1.0
    across = Axis(0.0, scale * max(curve[-1].epsilon for _, curve in curves), LEFT, WIDTH - RIGHT)
    most = max(100 * point.robust.high for _, curve in curves for point in curve)
    upward = Axis(0.0, min(100.0, max(most, 4.0)), TOP + HEIGHT, TOP)
    below = f"Epsilon, {NORM_TITLES[norm]}" + (" (1/255)" if norm == "linf" else "")
    parts = [*frame(across, upward, below, "Robust accuracy (%)")]
    for number, (name, curve) in enumerate(curves):
        parts += _drawn(name, curve, number, across, upward, scale)
    y = TOP + HEIGHT + LEGEND_TOP
    for number, (name, _) in enumerate(curves):
        parts += legend_row(y + number * LEGEND_ROW, number, name, stroke=True)
    height = y + LEGEND_ROW * (len(curves) - 1) + 10 + BELOW
    described = " ".join(
        f"{name}: " + ", ".join(_told(point) for point in curve) + "." for name, curve in curves
    )
    return picture("sweep", height, f"Robust accuracy against epsilon, {attack}", described, parts)


def _curve(detail: Detail) -> list[Point]:
    return [Point(0.0, detail.headline.steps, detail.clean), *detail.by_epsilon]


def _drawn(
    name: str, curve: Sequence[Point], number: int, across: Axis, upward: Axis, scale: float
) -> Iterator[str]:
    places = [(across.at(scale * point.epsilon), upward.at(100 * point.robust.mean)) for point in curve]
    yield coloured(number)
    yield from joined(places, number)
    for point, (x, y) in zip(curve, places, strict=True):
        low, high = upward.kept(100 * point.robust.low), upward.kept(100 * point.robust.high)
        yield f"<g><title>{escape(f'{name}: {_told(point)}')}</title>"
        yield f'<path d="M{x:.1f} {low:.1f}V{high:.1f}" fill="none" stroke-width="1" stroke-opacity="0.6"/>'
        yield marker(x, y, number) + "</g>"
    yield "</g>"


def _told(point: Point) -> str:
    robust = point.robust
    at = f"epsilon {format_ratio(point.epsilon)}" if point.epsilon else "clean"
    return f"{at} {100 * robust.mean:.1f} % ({100 * robust.low:.1f} to {100 * robust.high:.1f})"
