"""The script that draws a figure again from its numbers: plain Python for numpy and matplotlib, to be changed at will.

It is written from what plots declare (`PlotPanel.marks`) and from nothing else. Neither this program nor its tests need
matplotlib; people who write papers have it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import singledispatch

import numpy as np
from PySide6.QtCore import QRectF

from cartl_gui.plots.base import PlotPanel
from cartl_gui.plots.export import PROGRAM, Origin
from cartl_gui.plots.figure import PER_POINT, FigureStyle, Place, drawn_styles
from cartl_gui.plots.marks import (
    Band,
    Bars,
    Errors,
    Histogram,
    Image,
    Level,
    Lines,
    Mark,
    RowBars,
    Texts,
    Where,
)
from cartl_gui.plots.style import CurveStyle
from cartl_gui.theme import PRINT

_SYMBOLS = {
    "o": "o", "s": "s", "d": "D", "t": "v", "t1": "^", "t2": ">", "t3": "<", "star": "*", "p": "p", "h": "h",
    "+": "+", "x": "x",
}  # fmt: skip
#: Widths and sizes that are the same in every figure, in points.
_THIN, _SYMBOL = 0.9, 4.5
#: Edges of plots nearer to each other than this share of the figure are one line of the grid.
_SAME_EDGE = 0.04

_NUMPY = "import numpy as np\n"
_HEAD = '''
import csv
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

FOLDER = Path(__file__).resolve().parent


def read(name, texts=()):
    """Columns of a CSV file by their titles, as numbers but for those in texts; NaN where there is no value."""
    with open(FOLDER / name, encoding="utf-8", newline="") as file:
        titles, *rows = csv.reader(file)
    columns = zip(*rows)
    return {
        title: np.array(column) if title in texts else np.array([float(text or "nan") for text in column])
        for title, column in zip(titles, columns)
    }
'''
_EDGES = '''

def edges(centres):
    """Borders half way between places; the outer ones as far out as the next are in."""
    if len(centres) == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    middle = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])
'''
_TAIL = """
if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=300)
else:
    plt.show()
"""


def can_redraw(panels: Iterable[PlotPanel]) -> bool:
    """Whether all of these plots are told by their numbers."""
    return all(panel.marks() for panel in panels)


def script(
    places: Sequence[Place], style: FigureStyle, *, name: str, tables: Sequence[str], origin: Origin
) -> str:
    """Write the script.

    Args:
        places: the plots of the figure, all of which `can_redraw`.
        style: how the figure looks.
        name: of the script's file.
        tables: names of the CSV files beside it, one for each plot.
        origin: where the numbers come from.
    """
    marks = [panel.marks() or () for panel, _share in places]
    images = any(isinstance(mark, Image) for drawn in marks for mark in drawn)
    head = (
        _HEAD.replace(_NUMPY, f"{_NUMPY}from matplotlib.colors import LinearSegmentedColormap, LogNorm\n")
        if images
        else _HEAD
    )
    lines = [*_comments(name, tables, origin), head.rstrip(), *([_EDGES.rstrip()] if images else []), "", ""]
    family = "sans-serif" if style.family == "sans" else "serif"
    settings = {
        "font.family": family, "font.size": _short(style.points), "axes.titlesize": _short(style.points + 1),
        "axes.labelsize": _short(style.points), "legend.fontsize": _short(style.points),
        "axes.linewidth": 0.6, "axes.spines.top": False, "axes.spines.right": False,
        "pdf.fonttype": 42, "svg.fonttype": "none",
    }  # fmt: skip
    lines += ["plt.rcParams.update({", *(f"    {key!r}: {value!r}," for key, value in settings.items()), "})"]
    size = f"({_short(style.width)} / 25.4, {_short(style.height)} / 25.4)"
    lines.append(f'figure = plt.figure(figsize={size}, layout="constrained")  # inches')
    spans = list(_grid([share for _panel, share in places], lines))
    for number, (place, drawn, span) in enumerate(zip(places, marks, spans, strict=True)):
        letter = f"({chr(ord('a') + number)}) " if len(places) > 1 and style.letters and number < 26 else ""
        lines += [
            "",
            f"# {_one_line(letter + place[0].title)}",
            *_block(place, drawn, style, table=tables[number], letter=letter, span=span),
        ]
    return "\n".join(lines) + "\n" + _TAIL


def _comments(name: str, tables: Sequence[str], origin: Origin) -> list[str]:
    return [
        f"# {_one_line(origin.title)}",
        "#",
        f"# Drawn again from {', '.join(tables)} with numpy and matplotlib:",
        f"#     python {name}               shows the figure",
        f"#     python {name} figure.pdf    writes it; .svg and .png too",
        "#",
        *(
            f"# Run: {_one_line(title)}, {run_id}, config.toml SHA-256 {digest}"
            for title, run_id, digest in origin.runs
        ),
        f"# Written by {PROGRAM}.",
    ]


def _grid(shares: Sequence[QRectF], lines: list[str]) -> Iterator[str]:
    """Add the grid that the plots of a figure stand in; gives what part of it each takes."""
    across = _edges_of([edge for share in shares for edge in (share.left(), share.right())])
    down = _edges_of([edge for share in shares for edge in (share.top(), share.bottom())])
    widths, heights = ([_short(step) for step in np.diff(found)] for found in (across, down))
    if len(shares) > 1:
        lines.append(
            f"grid = figure.add_gridspec({len(heights)}, {len(widths)}, width_ratios={widths}, height_ratios={heights})"
        )
    for share in shares:
        rows, columns = (
            f"{_nearest(found, begin)}:{_nearest(found, end)}"
            for found, begin, end in (
                (down, share.top(), share.bottom()),
                (across, share.left(), share.right()),
            )
        )
        yield f"grid[{rows}, {columns}]" if len(shares) > 1 else ""


def _edges_of(places: list[float]) -> list[float]:
    found: list[float] = []
    for place in sorted(places):
        if not found or place - found[-1] > _SAME_EDGE:
            found.append(place)
    return found


def _nearest(edges: list[float], place: float) -> int:
    return min(range(len(edges)), key=lambda number: abs(edges[number] - place))


def _block(
    place: Place, marks: Sequence[Mark], style: FigureStyle, *, table: str, letter: str, span: str
) -> Iterator[str]:
    """The lines that draw one plot."""
    panel, share = place
    series = panel.series()
    texts = [title for title, column in series.items() if column.dtype.kind not in "fiub"]
    yield f"table = read({table!r}{f', texts={texts!r}' if texts else ''})"
    yield f"axes = figure.add_subplot({span})"
    scale = _Scale(panel, style)
    looks = {id(curve.style): look for curve, look in drawn_styles(panel, style)}
    for mark in marks:
        look = getattr(mark, "look", None)
        if isinstance(mark, Lines) and id(look) in looks:
            mark = replace(mark, look=looks[id(look)])
        yield from draw(mark, scale)
    yield from _axes_lines(panel, scale)
    title, caption = letter + (panel.title if style.titles else ""), panel.caption()
    names = [name for mark in marks for name in _names_of(mark)]
    width = share.width() * style.width
    columns = _columns_of(names, width, style)
    above = style.legend == "above" and bool(names)
    rows = -(-len(names) // columns) if above else 0
    if title:
        wrapped = textwrap.fill(title, max(16, int(0.9 * width / _letter_width(style.points + 1))))
        pad = (
            f", pad={_short(style.points * (0.6 + 1.6 * (rows + bool(caption))))}" if rows or caption else ""
        )
        yield f"axes.set_title({wrapped!r}, loc='left'{pad})"
    if caption:
        yield (
            f"axes.annotate({caption!r}, (0, 1), xytext=(0, {_short(3 + 1.6 * style.points * rows)}), "
            f"xycoords='axes fraction', textcoords='offset points', color={PRINT.muted!r})"
        )
    if above:
        yield f"axes.legend(loc='lower left', bbox_to_anchor=(0, 1), ncols={columns}, frameon=False, borderpad=0.2)"
    elif names and style.legend == "inside":
        yield "axes.legend(loc='best')"


def _names_of(mark: Mark) -> list[str]:
    """What a mark adds to the legend."""
    if isinstance(mark, Histogram):
        return [name for _number, name, _look in mark.parts]
    name = getattr(mark, "name", "")
    return [name] if name else []


def _columns_of(names: Sequence[str], width: float, style: FigureStyle) -> int:
    """How many entries of a legend fit side by side into so many millimetres."""
    widest = max((len(name) for name in names), default=0) * _letter_width(style.points)
    return max(1, min(len(names), int(0.85 * width / (widest + 1.3 * style.points))))


def _letter_width(points: float) -> float:
    """About how wide a letter is, in millimetres."""
    return 0.55 * points * 25.4 / 72


class _Scale:
    """What turns columns into places of the axes, and pixels of the window into points."""

    def __init__(self, panel: PlotPanel, style: FigureStyle) -> None:
        self.style = style
        self.x_factor = float(panel.plot.getAxis("bottom").scale)
        self.log = bool(panel.plot.getAxis("left").logMode)
        self.x_log = panel.x_is_log

    def width(self, look: CurveStyle) -> float:
        return _short(self.style.widened(look).width / PER_POINT)


def _axes_lines(panel: PlotPanel, scale: _Scale) -> Iterator[str]:
    bottom, left = panel.plot.getAxis("bottom"), panel.plot.getAxis("left")
    span = panel.place_axes() if scale.style.whole_axes else panel.view_now().span
    for side, axis, low, high, log, factor in (
        ("x", bottom, span[0], span[1], scale.x_log, scale.x_factor),
        ("y", left, span[2], span[3], scale.log, 1.0),
    ):
        place: Callable[[float], float] = _power if log else lambda value, factor=factor: factor * value  # type: ignore[misc]
        if log:
            yield f"axes.set_{side}scale('log')"
        yield f"axes.set_{side}lim({_short(place(low))}, {_short(place(high))})"
        ticks = [tick for level in axis._tickLevels or () for tick in level if low <= tick[0] <= high]
        if ticks and factor == 1:
            places, labels = [_short(place(at)) for at, _text in ticks], [text for _at, text in ticks]
            yield f"axes.set_{side}ticks({places}, {labels})"
            yield "axes.minorticks_off()" if log else ""
        if axis.labelText:
            yield f"axes.set_{side}label({axis.labelText!r})"


# marks -------------------------------------------------------------------------------------------------------
@singledispatch
def draw(mark: Mark, scale: _Scale) -> Iterator[str]:
    """The lines that draw a mark."""
    raise TypeError(f"there is no way to draw {type(mark).__name__}")


@draw.register
def _lines(mark: Lines, scale: _Scale) -> Iterator[str]:
    yield from _chosen(mark.where, mark.x, mark.y)
    if mark.ordered and mark.where is not None:
        yield f"rows = np.flatnonzero(rows)[np.argsort(table[{mark.x!r}][rows])]"
    options = [f"color={_colour(mark.look)!r}", f"linewidth={scale.width(mark.look)}"]
    if mark.pale:
        options.append("alpha=0.3")
    if mark.look.dashes:
        options.append(f"linestyle=(0, {tuple(_short(part) for part in mark.look.dashes)})")
    if mark.look.symbol and not mark.pale:
        options.append(f"marker={_SYMBOLS.get(mark.look.symbol, 'o')!r}, markersize={_SYMBOL}")
    if mark.name:
        options.append(f"label={mark.name!r}")
    x = _column(mark.x, mark.where, scale.x_factor * mark.factor)
    yield f"axes.plot({x}, {_column(mark.y, mark.where)}, {', '.join(options)})"


@draw.register
def _errors(mark: Errors, scale: _Scale) -> Iterator[str]:
    yield from _chosen(mark.where, mark.x, mark.y)
    x, y = _column(mark.x, mark.where, scale.x_factor * mark.factor), _column(mark.y, mark.where)
    of = y if mark.along == "y" else x
    if mark.half:
        length = _column(mark.half, mark.where)
    else:
        low, high = (_column(name, mark.where) for name in (mark.low, mark.high))
        length = f"[{of} - {low}, {high} - {of}]"
    yield (
        f"axes.errorbar({x}, {y}, {mark.along}err={length}, fmt='none', ecolor={_colour(mark.look)!r}, "
        f"elinewidth={_THIN}, alpha=0.5)"
    )


@draw.register
def _band(mark: Band, scale: _Scale) -> Iterator[str]:
    if mark.half:
        low, high = (f"{_column(mark.centre)} {sign} {_column(mark.half)}" for sign in "-+")
    else:
        low, high = _column(mark.low), _column(mark.high)
    x = _column(mark.x, None, scale.x_factor)
    yield f"axes.fill_between({x}, {low}, {high}, color={_colour(mark.look)!r}, alpha=0.2, linewidth=0)"


@draw.register
def _bars(mark: Bars, scale: _Scale) -> Iterator[str]:
    x = f"{_column(mark.x)} + {mark.shift}" if mark.shift else _column(mark.x)
    yield f"axes.bar({x}, {_column(mark.y)}, width={mark.width}, color={_colour(mark.look)!r}, label={mark.name!r})"


@draw.register
def _row_bars(mark: RowBars, scale: _Scale) -> Iterator[str]:
    count = len(mark.columns)
    colours = [PRINT.neutral] * mark.greys + [_colour(mark.look)] * (count - mark.greys)
    yield f"columns = {list(mark.columns)!r}"
    yield f"now, first = ([table[column][row] for column in columns] for row in ({mark.row}, {mark.marked}))"
    yield f"axes.bar(range(1, {count + 1}), now, width=0.7, color={colours!r})"
    yield (
        f"axes.plot(range(1, {count + 1}), first, linestyle='none', marker='_', markersize=10, color={PRINT.text!r})"
    )


@draw.register
def _histogram(mark: Histogram, scale: _Scale) -> Iterator[str]:
    yield f"value, group = {_column(mark.value)}, {_column(mark.group)}"
    numbers = [number for number, _name, _look in mark.parts]
    yield f"parts = [value[(group == number) & np.isfinite(value)] for number in {numbers}]"
    yield (
        f"axes.hist(parts, bins=np.linspace({mark.low!r}, {mark.high!r}, {mark.bins + 1}), stacked=True, rwidth=0.92, "
        f"color={[_colour(look) for _number, _name, look in mark.parts]}, "
        f"label={[name for _number, name, _look in mark.parts]})"
    )


@draw.register
def _image(mark: Image, scale: _Scale) -> Iterator[str]:
    if isinstance(mark.colours, str):
        yield f"colours = {mark.colours!r}"
    else:
        yield f"colours = LinearSegmentedColormap.from_list('difference', {list(mark.colours)!r})"
    limits = f"vmin={mark.low!r}, vmax={mark.high!r}"
    if mark.log:
        limits = f"norm=LogNorm({limits})"
    yield f"values = np.array([table[column] for column in {list(mark.columns)!r}])"
    if mark.log:
        yield "values = np.where(values > 0, values, np.nan)"
    x = _column(mark.x, None, scale.x_factor)
    yield (
        f"image = axes.pcolormesh(edges({x}), np.arange({len(mark.columns) + 1}) + 0.5, values, cmap=colours, {limits})"
    )
    yield f"figure.colorbar(image, ax=axes, label={mark.title!r})"


@draw.register
def _level(mark: Level, scale: _Scale) -> Iterator[str]:
    call = "axhline" if mark.along == "x" else "axvline"
    colour = _colour(mark.look) if mark.look is not None else "#ffffff"
    if mark.look is None:
        yield f"axes.{call}({mark.place!r}, color='#000000', linewidth=1.5)"
    yield f"axes.{call}({mark.place!r}, color={colour!r}, linewidth=1.4, linestyle=(0, (5, 3)))"
    if mark.text:
        yield (
            f"axes.annotate({mark.text!r}, (0.02, {mark.place!r}), xycoords=('axes fraction', 'data'), va='bottom', "
            f"color={colour!r}, weight='bold', bbox={{'color': 'white', 'alpha': 0.85, 'linewidth': 0, 'pad': 1}})"
        )


@draw.register
def _texts(mark: Texts, scale: _Scale) -> Iterator[str]:
    yield from _chosen(mark.where, mark.x, mark.y)
    columns = ", ".join(_column(name, mark.where) for name in (mark.x, mark.y, mark.column))
    yield f"for x, y, value in zip({columns}):"
    yield "    if np.isfinite(value):"
    yield (
        f"        axes.annotate({mark.text!r}.format(value), (x, y), xytext=(5, -9), textcoords='offset points', "
        f"color={_colour(mark.look)!r})"
    )


# words -------------------------------------------------------------------------------------------------------
def _chosen(where: Where, *places: str) -> Iterator[str]:
    """The rows that a mark shows, where it does not show all: those of its value that have a place."""
    if where is not None:
        known = " & ".join(f"np.isfinite(table[{name!r}])" for name in places)
        yield f"rows = (table[{where[0]!r}] == {where[1]!r}) & {known}"


def _column(name: str, where: Where = None, factor: float = 1.0) -> str:
    text = f"table[{name!r}]" + ("[rows]" if where is not None else "")
    return text if factor == 1 else f"{text} * {factor!r}"


def _colour(look: CurveStyle) -> str:
    return look.colour_in(PRINT).name()


def _power(value: float) -> float:
    return float(10.0**value)


def _short(value: float) -> float:
    """A number with no more digits than a drawing needs."""
    return float(f"{value:.6g}")


def _one_line(text: str) -> str:
    return " ".join(text.split())
