"""Feature distance and certified bound of each block as SVG: two panels over the same blocks, one line a cell."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

import numpy as np

from engine.report.drawing import (
    BELOW,
    LEFT,
    LEGEND_ROW,
    LEGEND_TOP,
    RIGHT,
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
from engine.report.layers import Curve, Figure

#: Two lines of heading, then what is frozen, then the axes.
TOP, HEIGHT = 68.0, 250.0
#: Room between the panels, for the ticks and the title of the right one.
BETWEEN = 78.0
#: Width of the number of a block, and the part of a block's width over which lines that meet stand side by side.
NUMBER_WIDTH, APART = 17.0, 0.3
#: Room beyond the outermost values, as a factor.
MARGIN = 1.15
QUIET = ' fill="currentColor" fill-opacity="0.75"'


class BlockAxis(Axis):
    """Blocks 1..N, each in the middle of its own width."""

    @property
    def ticks(self) -> list[float]:
        """As many block numbers as there is room for."""
        count = round(self.high - self.low)
        step = math.ceil(count * NUMBER_WIDTH / abs(self.end - self.start))
        return [float(number) for number in range(1, count + 1, step)]


class LogAxis(Axis):
    """A range of positive values, each power of ten as wide as the other."""

    def at(self, value: float) -> float:
        """Place of a value."""
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """1, 2 and 5 times powers of ten; of a wide range only the powers, of a narrow one round values."""
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        wide = self.high > 1000 * self.low
        steps = (1,) if wide else (1, 2, 5)
        thinned = math.ceil((last - first) / 8) if wide else 1
        found = [step * 10.0**power for power in range(first, last + 1, thinned) for step in steps]
        kept = [tick for tick in found if self.low <= tick <= self.high]
        return kept if len(kept) > 2 else super().ticks


#: Column, title of its axis, and whether that is linear, then from 0, or logarithmic.
PANELS: tuple[tuple[str, str, type[Axis]], ...] = (
    ("relative_distance", "Relative feature distance", Axis),
    ("block_upper", "Lipschitz constant, certified bound", LogAxis),
)


@dataclass(frozen=True)
class Panel:
    """One column of a figure and its axes."""

    column: str
    title: str
    across: BlockAxis
    upward: Axis


def layers_svg(figure: Figure) -> str:
    """Draw a figure, legend included: mean over the seeds block by block, bars from the smallest to the largest.

    Lines that meet stand side by side. What is frozen is shaded where all curves have the same boundary.
    """
    parts = [
        text(LEFT, 16, figure.title, "start", ' font-size="14" font-weight="600" fill="currentColor"'),
        text(LEFT, 35, _probe(figure), "start", QUIET),
    ]
    for panel in _panels(figure):
        parts += _frozen(figure, panel)
        parts += frame(panel.across, panel.upward, "Block, from the input to the logits", panel.title)
        for number, curve in enumerate(figure.curves):
            parts += _drawn(curve, number, figure, panel)
    y = TOP + HEIGHT + LEGEND_TOP
    for number, curve in enumerate(figure.curves):
        parts += legend_row(y + number * LEGEND_ROW, number, curve.name, stroke=True)
    height = y + LEGEND_ROW * (len(figure.curves) - 1) + 10 + BELOW
    return picture("layers", height, f"Layer by layer: {figure.title}", _described(figure), parts)


def _panels(figure: Figure) -> list[Panel]:
    """Those of which something is known."""
    known = [(*panel, values) for panel in PANELS if len(values := _values(figure, panel[0]))]
    width = (WIDTH - LEFT - RIGHT - BETWEEN * (len(known) - 1)) / max(len(known), 1)
    panels = []
    for number, (column, title, axis, values) in enumerate(known):
        left = LEFT + number * (width + BETWEEN)
        low = 0.0 if axis is Axis else float(values.min()) / MARGIN
        upward = axis(low, MARGIN * float(values.max()), TOP + HEIGHT, TOP)
        across = BlockAxis(0.5, len(figure.block_names) + 0.5, left, left + width)
        panels.append(Panel(column, title, across, upward))
    return panels


def _values(figure: Figure, column: str) -> np.ndarray:
    """Every value that a panel has to make room for."""
    spreads = [curve.spread(column) for curve in figure.curves]
    values = np.concatenate([bounds for spread in spreads for bounds in (spread.low, spread.high)])
    known: np.ndarray = values[np.isfinite(values) & (values > 0)]
    return known


def _frozen(figure: Figure, panel: Panel) -> Iterator[str]:
    if figure.boundary is None:
        return
    left, border = panel.across.start, panel.across.at(figure.boundary + 0.5)
    yield (
        f'<rect x="{left:.1f}" y="{TOP:g}" width="{border - left:.1f}" height="{HEIGHT:g}" fill="currentColor" '
        'fill-opacity="0.07"/>'
    )
    yield (
        f'<line x1="{border:.1f}" y1="{TOP - 14:g}" x2="{border:.1f}" y2="{TOP + HEIGHT:g}" stroke="currentColor" '
        'stroke-opacity="0.6" stroke-dasharray="3 3"/>'
    )
    yield text(border - 6, TOP - 6, "frozen", "end", QUIET)
    yield text(border + 6, TOP - 6, "trained", "start", QUIET)


def _drawn(curve: Curve, number: int, figure: Figure, panel: Panel) -> Iterator[str]:
    spread = curve.spread(panel.column)
    shift = APART * ((number + 0.5) / len(figure.curves) - 0.5)
    places = {
        index: (panel.across.at(index + 1 + shift), panel.upward.at(mean))
        for index, mean in enumerate(spread.mean.tolist())
        if panel.upward.low <= mean <= panel.upward.high
    }
    yield coloured(number)
    yield from joined(list(places.values()), number)
    for index, (x, y) in places.items():
        low, high = (panel.upward.kept(float(bound[index])) for bound in (spread.low, spread.high))
        yield f"<g><title>{escape(f'{curve.name}, block {index + 1}: {_told(curve, panel.column, index)}')}</title>"
        yield f'<path d="M{x:.1f} {low:.1f}V{high:.1f}" fill="none" stroke-width="1" stroke-opacity="0.6"/>'
        yield marker(x, y, number) + "</g>"
    yield "</g>"


def _probe(figure: Figure) -> str:
    counts = sorted({len(curve.profiles) for curve in figure.curves})
    if counts == [1]:
        return figure.probe
    seeds = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    return f"{figure.probe}; means over {seeds} seeds, bars from the smallest to the largest"


def _told(curve: Curve, column: str, index: int) -> str:
    figure, between = curve.told(column, index)
    return f"{figure} ({between})" if between else figure


def _described(figure: Figure) -> str:
    """The picture in words, for those who cannot see it."""
    sentences = []
    for column, title, _ in PANELS:
        for curve in figure.curves:
            figures = ", ".join(_told(curve, column, index) for index in range(len(figure.block_names)))
            sentences.append(f"{title}, {curve.name}, by block: {figures}.")
    return " ".join(sentences)
