"""How a plot draws its numbers, said in the names of the columns of `PlotPanel.series`.

From this and the table alone a plot can be drawn again elsewhere; see `redraw.py`. Where a mark holds a `where`, it
shows only the rows in which that column has that value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from cartl_gui.plots.style import CurveStyle

#: The direction of an axis.
Along = Literal["x", "y"]
#: Column and value of the rows that are shown; None for all.
Where = tuple[str, str | float] | None


@dataclass(frozen=True, slots=True)
class Lines:
    """A curve of column `y` over column `x`, in order of the rows; `name` is empty where no legend tells it.

    Attributes:
        pale: what was measured, behind a smoothed curve.
        ordered: join the points from left to right, not in the order of the rows.
        factor: what `x` is multiplied by.
    """

    x: str
    y: str
    name: str
    look: CurveStyle
    pale: bool = False
    where: Where = None
    ordered: bool = False
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Errors:
    """Bars from column `low` to column `high` at (`x`, `y`), or `half` to both sides; `along` is their direction."""

    x: str
    y: str
    look: CurveStyle
    low: str = ""
    high: str = ""
    half: str = ""
    along: Along = "y"
    where: Where = None
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Band:
    """The area over `x` between two columns, or `half` around the column `centre`."""

    x: str
    look: CurveStyle
    low: str = ""
    high: str = ""
    centre: str = ""
    half: str = ""


@dataclass(frozen=True, slots=True)
class Bars:
    """A bar of height `y` at each `x`, moved by `shift`."""

    x: str
    y: str
    name: str
    look: CurveStyle
    shift: float = 0.0
    width: float = 0.8


@dataclass(frozen=True, slots=True)
class RowBars:
    """One row of the table as bars: columns[i] at place i + 1; `marked` is a row drawn as a short line over each bar.

    Attributes:
        columns: their names.
        row, marked: numbers of the rows, from 0.
        greys: how many of the first bars are grey.
    """

    columns: tuple[str, ...]
    row: int
    marked: int
    look: CurveStyle
    greys: int = 0


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many rows have a `value` in each of `bins` equal ranges from `low` to `high`, stacked by the column `group`.

    `parts` holds the numbers that the group can have, each with name and look, from the bottom of the stack.
    """

    value: str
    group: str
    bins: int
    low: float
    high: float
    parts: tuple[tuple[int, str, CurveStyle], ...]


@dataclass(frozen=True, slots=True)
class Image:
    """A heat map of columns[i] at height i + 1, over `x`; `colours` is a matplotlib colour map, or colours to blend."""

    x: str
    columns: tuple[str, ...]
    low: float
    high: float
    log: bool
    colours: str | tuple[str, ...]
    title: str


@dataclass(frozen=True, slots=True)
class Level:
    """A straight dashed line along one axis at a place of the other, with a text at its beginning.

    Without a look it is white over black, which is seen on every ground.
    """

    place: float
    text: str
    look: CurveStyle | None
    along: Along = "x"


@dataclass(frozen=True, slots=True)
class Texts:
    """`text` filled with the row's value of `column`, beside the point (`x`, `y`); nothing where there is no value."""

    x: str
    y: str
    column: str
    text: str
    look: CurveStyle
    where: Where = None


Mark = Lines | Errors | Band | Bars | RowBars | Histogram | Image | Level | Texts


class DrawnCurve(Protocol):
    """What is needed of a curve of a plot."""

    name: str
    style: CurveStyle
    x: np.ndarray
    y: np.ndarray
    averaged: np.ndarray
    smoothing: float
    is_shown: bool

    def has_values(self) -> bool:
        """Whether there is anything to see."""


def column_of(values: np.ndarray, table: Mapping[str, np.ndarray]) -> str | None:
    """The column that holds these numbers [t]; what follows in a longer column [T] is empty."""
    for name, column in table.items():
        if column.dtype.kind not in "fiub" or len(column) < len(values):
            continue
        head, rest = column[: len(values)].astype(float), column[len(values) :].astype(float)
        if np.array_equal(head, values.astype(float), equal_nan=True) and not np.isfinite(rest).any():
            return name
    return None


def lines_of(curves: Iterable[DrawnCurve], table: Mapping[str, np.ndarray]) -> tuple[Lines, ...] | None:
    """The curves that are shown, by the columns that hold their numbers; None if one is not in the table."""
    found = []
    for curve in curves:
        if not curve.is_shown or not curve.has_values():
            continue
        x, y, raw = (column_of(values, table) for values in (curve.x, curve.averaged, curve.y))
        if x is None or y is None or raw is None:
            return None
        if curve.smoothing:
            found.append(Lines(x, raw, "", curve.style, pale=True))
        found.append(Lines(x, y, curve.name, curve.style))
    return tuple(found)
