"""The trade-off of a study: clean against robust accuracy, one line a method through its k, the Pareto front marked."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pyqtgraph as pg
from pyqtgraph.GraphicsScene.mouseEvents import MouseClickEvent
from PySide6.QtCore import QLineF, QPoint, QPointF, QRectF, QTimer, Signal
from PySide6.QtGui import QBrush, QColor, QFontMetricsF
from PySide6.QtWidgets import QGraphicsSimpleTextItem, QToolTip, QWidget

from cartl_gui import words
from cartl_gui.plots.base import QUIET, Curve, CurveStyle, PlotPanel, Series
from cartl_gui.plots.error_bars import ErrorBars
from cartl_gui.plots.marks import Along, Errors, Lines, Mark, Texts
from cartl_gui.plots.style import SYMBOLS
from cartl_gui.theme import Scheme
from engine.events import RunInfo
from engine.results import Cell, Evaluation, Line
from engine.statistics import Estimate

TITLE = "Trade-off"
#: Pixels within which the mouse points at a cell.
REACH = 16.0
#: Most cells that are labelled with their k; more would be no reading.
MAX_LABELS = 60
#: Where a label may stand around its point, in sixteenths of a turn, and how far off in pixels.
_ANGLES = (14, 2, 12, 4, 10, 6, 0, 8)
_DISTANCES = (12.0, 17.0, 25.0)


def style_of(number: int) -> CurveStyle:
    """The look of the line with this number, from 0."""
    dashes = ((), (5.0, 3.0), (2.0, 2.5))[number // 8 % 3]
    return CurveStyle(number % 6, dashes, SYMBOLS[number % 8])


def label_of(cell: Cell, line: Line) -> str:
    """What stands at a cell: its k, and where its line has several of one k what else it is."""
    if cell.k is None:
        return ""
    alone = [other.k for other in line.cells].count(cell.k) == 1
    return f"k={cell.k}" if alone else f"k={cell.k}, {cell.pretraining}"


class TradeOffPlot(PlotPanel):
    """All cells of one evaluation, with 95 % intervals in both directions."""

    empty_text = "Clean and robust accuracy of each method appear here once a run was attacked."
    can_log = False
    legend_aside = True

    #: Name of the cell that was clicked.
    cell_chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        self._evaluation: Evaluation | None = None
        self._bars: list[ErrorBars] = []
        self._labels: list[QGraphicsSimpleTextItem] = []
        super().__init__(TITLE, "clean accuracy (%)", "robust accuracy (%)", parent=parent)
        self._front = self.add_curve("Pareto front", CurveStyle(QUIET, dashes=(2, 3), width=1.3))
        self._rings = pg.ScatterPlotItem(size=15, brush=None)
        self._chosen = pg.ScatterPlotItem(size=24, brush=None)
        for item in (self._rings, self._chosen):
            self.plot.addItem(item)
        self._front.entry.toggled.connect(self._rings.setVisible)
        self._front.entry.setVisible(False)
        self._place_timer = QTimer(self)
        self._place_timer.setSingleShot(True)
        self._place_timer.setInterval(0)
        self._place_timer.timeout.connect(self.settle)
        self.view.sigRangeChanged.connect(self._range_changed)
        self.view.sigResized.connect(self._range_changed)
        self.widget.scene().sigMouseClicked.connect(self._clicked)
        self.recolour(self.colours)

    @property
    def lines(self) -> tuple[Line, ...]:
        """The lines that are shown."""
        return self._evaluation.lines if self._evaluation else ()

    def show_evaluation(self, evaluation: Evaluation | None) -> None:
        """Draw an evaluation; None empties the plot."""
        before = self._evaluation
        self._evaluation = evaluation
        if before is None or evaluation is None or before.title != evaluation.title:
            self.start_over()
        self.title = f"{TITLE}: {evaluation.title}" if evaluation else TITLE
        self.head(TITLE)
        while len(self._bars) < len(self.lines):
            self._add_line(len(self._bars))
        curves = [curve for curve in self.curves if curve is not self._front]
        for number, (curve, bars) in enumerate(zip(curves, self._bars, strict=True)):
            self._draw_line(self.lines[number] if number < len(self.lines) else None, curve, bars)
        front = sorted(
            (100 * cell.clean.mean, 100 * cell.robust.mean) for cell in self._cells() if self._on_front(cell)
        )
        across, upward = [point[0] for point in front], [point[1] for point in front]
        self._front.set(np.array(across), np.array(upward))
        self._front.entry.setVisible(bool(front))
        self._rings.setData(across, upward)
        self.choose("")
        self._make_labels()
        self._after_draw()
        self._fit_legend()
        self._range_changed()

    def _fit_legend(self) -> None:
        """Give the legend the width of its longest name, but never more than the plot needs itself."""
        entries = [curve.entry for curve in self.curves if not curve.entry.isHidden()]
        wanted = max((entry.sizeHint().width() for entry in entries), default=0) + 16
        self.legend.setFixedWidth(min(wanted, 230))

    def show_same(self, other: PlotPanel) -> None:
        """Show what another trade-off shows."""
        if isinstance(other, TradeOffPlot):
            self.show_evaluation(other._evaluation)

    def choose(self, name: str) -> None:
        """Put a ring around the cell of this name; no name removes it."""
        found = [cell for cell in self._cells() if cell.name == name]
        self._chosen.setData(
            [100 * cell.clean.mean for cell in found], [100 * cell.robust.mean for cell in found]
        )

    def _cells(self) -> list[Cell]:
        """The cells that have a place in the plot."""
        return [cell for line in self.lines for cell in line.cells if _has_place(cell)]

    def _on_front(self, cell: Cell) -> bool:
        return self._evaluation is not None and cell.name in self._evaluation.front

    def _add_line(self, number: int) -> None:
        curve = self.add_curve(f"line {number + 1}", style_of(number))
        bars = ErrorBars(curve)
        self.plot.addItem(bars)
        self._bars.append(bars)
        # The front stays the last entry of the legend.
        self.curves.remove(curve)
        self.curves.insert(number, curve)
        self.entries.take(curve.entry)
        self.entries.insert(number, curve.entry)
        curve.entry.toggled.connect(self._range_changed)
        self.recolour(self.colours)

    def _draw_line(self, line: Line | None, curve: Curve, bars: ErrorBars) -> None:
        # Without those that have no place: pyqtgraph stumbles over curves that are nothing but gaps.
        cells = [cell for cell in line.cells if _has_place(cell)] if line else []
        x, y = (100 * np.array([getattr(cell, part).mean for cell in cells]) for part in ("clean", "robust"))
        curve.set(x, y)
        curve.item.setSymbolSize(9 * self.scale)
        curve.name = line.name if line else ""
        curve.entry.rename(curve.name)
        curve.entry.setVisible(line is not None)
        sides = {}
        for part, low, high in (("clean", "left", "right"), ("robust", "bottom", "top")):
            for end, side in (("low", low), ("high", high)):
                gaps = [
                    100 * abs(getattr(getattr(cell, part), end) - getattr(cell, part).mean) for cell in cells
                ]
                sides[side] = np.nan_to_num(np.array(gaps))
        bars.setData(x=x, y=y, **sides)

    # labels --------------------------------------------------------------------------------------------
    def _make_labels(self) -> None:
        named = [cell for line in self.lines for cell in line.cells if label_of(cell, line)]
        named = named if len(named) <= MAX_LABELS else []
        while len(self._labels) < len(named):
            # In pixels of the view: a pyqtgraph text in data coordinates upsets the axes while they are laid out.
            label = QGraphicsSimpleTextItem(self.view)
            label.setZValue(1e6)
            self._labels.append(label)
        for label in self._labels[len(named) :]:
            label.hide()

    def _range_changed(self, *_what: object) -> None:
        if self._evaluation is not None:
            self._place_timer.start()

    def settle(self) -> None:
        """Write each k beside its point where it covers no other text and no point."""
        named = [
            (cell, curve, label_of(cell, line))
            for line, curve in zip(self.lines, self.curves, strict=False)
            for cell in line.cells
            if label_of(cell, line) and _has_place(cell)
        ]
        if len(named) > len(self._labels):
            return
        font = self.font_of_plot()
        metrics = QFontMetricsF(font)
        cells = self._cells()
        points = {cell.name: self._pixel(cell) for cell in cells}
        half = 7 * self.scale
        taken = [QRectF(p.x() - half, p.y() - half, 2 * half, 2 * half) for p in points.values()]
        strokes = [
            QLineF(points[first.name], points[second.name])
            for line in self.lines
            for first, second in itertools.pairwise(filter(_has_place, line.cells))
        ]
        strokes += [bar for cell in cells for bar in self._interval_bars(cell)]
        frame = self.view.sceneBoundingRect()
        for label, (cell, curve, text) in zip(self._labels, named, strict=False):
            point = points[cell.name]
            size = (metrics.horizontalAdvance(text), metrics.height())
            spot = self._free_spot(point, size, taken, strokes, frame)
            label.setVisible(spot is not None and curve.entry.isChecked())
            if spot is None:
                continue
            taken.append(spot)
            label.setText(text)
            label.setFont(font)
            label.setBrush(QBrush(curve.style.colour_in(self.colours)))
            label.setPos(self.view.mapFromScene(spot.topLeft()))

    def _pixel(self, cell: Cell) -> QPointF:
        return self._place(cell.clean.mean, cell.robust.mean)

    def _place(self, clean: float, robust: float) -> QPointF:
        return self.view.mapViewToScene(QPointF(100 * clean, 100 * robust))

    def _interval_bars(self, cell: Cell) -> list[QLineF]:
        """The bars through a point, in pixels; none along which it has no interval."""
        clean, robust = cell.clean, cell.robust
        across = QLineF(self._place(clean.low, robust.mean), self._place(clean.high, robust.mean))
        upward = QLineF(self._place(clean.mean, robust.low), self._place(clean.mean, robust.high))
        return [bar for bar in (across, upward) if math.isfinite(bar.length())]

    def _free_spot(
        self,
        point: QPointF,
        size: tuple[float, float],
        taken: list[QRectF],
        strokes: list[QLineF],
        frame: QRectF,
    ) -> QRectF | None:
        best, least = None, math.inf
        for distance in _DISTANCES:
            for rank, angle in enumerate(_ANGLES):
                right, down = math.cos(angle * math.pi / 8), math.sin(angle * math.pi / 8)
                x = point.x() + self.scale * distance * right + size[0] / 2 * max(-1.0, min(1.0, 1.6 * right))
                y = point.y() + self.scale * distance * down + size[1] / 2 * max(-1.0, min(1.0, 1.6 * down))
                box = QRectF(x - size[0] / 2, y - size[1] / 2, *size)
                if not frame.contains(box) or any(box.intersects(other) for other in taken):
                    continue
                cost = distance + rank + 14 * sum(_crosses(box, stroke) for stroke in strokes)
                if cost < least:
                    best, least = box, cost
        return best

    # what a panel tells --------------------------------------------------------------------------------
    def series(self) -> Series:
        """One row a cell: its line, name, k and seeds, accuracies with their intervals in percent, Pareto front."""
        rows = [(line, cell) for line in self.lines for cell in line.cells]
        table: Series = {
            "line": np.array([line.name for line, _ in rows]),
            "cell": np.array([cell.name for _, cell in rows]),
            "k": np.array([np.nan if cell.k is None else cell.k for _, cell in rows]),
            "seeds": np.array([cell.robust.count for _, cell in rows]),
            "interval over": np.array([cell.robust.over for _, cell in rows]),
        }
        for part in ("clean", "robust"):
            estimates: list[Estimate] = [getattr(cell, part) for _, cell in rows]
            table[f"{part} accuracy (%)"] = np.array([100 * item.mean for item in estimates])
            table[f"{part} 95 % low (%)"] = np.array([100 * item.low for item in estimates])
            table[f"{part} 95 % high (%)"] = np.array([100 * item.high for item in estimates])
        table["Pareto front"] = np.array([int(self._on_front(cell)) for _, cell in rows])
        return table

    def is_empty(self) -> bool:
        """Whether no cell has a result."""
        return not self._cells()

    def clear(self) -> None:
        """Show nothing."""
        self.show_evaluation(None)

    def runs(self) -> tuple[RunInfo, ...]:
        """The runs behind the cells."""
        return tuple({run.id: run for cell in self._cells() for run in cell.runs}.values())

    def marks(self) -> tuple[Mark, ...]:
        """Each line through its cells with their intervals and k, and the Pareto front."""
        parts: dict[Along, str] = {"x": "clean", "y": "robust"}
        x, y = (f"{part} accuracy (%)" for part in parts.values())
        found: list[Mark] = []
        for line, curve in zip(self.lines, self.curves, strict=False):
            if not curve.entry.isChecked() or not curve.has_values():
                continue
            where = ("line", line.name)
            for along, part in parts.items():
                low, high = (f"{part} 95 % {end} (%)" for end in ("low", "high"))
                found.append(Errors(x, y, curve.style, low, high, along=along, where=where))
            found.append(Lines(x, y, line.name, curve.style, where=where))
            found.append(Texts(x, y, "k", "k={:g}", curve.style, where))
        if self._front.has_values() and self._front.entry.isChecked():
            front = ("Pareto front", 1.0)
            found.append(Lines(x, y, self._front.name, self._front.style, where=front, ordered=True))
        return tuple(found)

    def place_axes(self) -> tuple[float, float, float, float]:
        """Room for every mean and, up to a limit, its interval: one wide interval must not squeeze all the rest."""
        cells = self._cells()
        return (*_span([cell.clean for cell in cells]), *_span([cell.robust for cell in cells]))

    def places(self) -> list[np.ndarray]:
        """None: cells are chosen in the table."""
        return []

    def value_text(self, _value: float) -> str:
        """The legend names lines; their values stand in the table."""
        return ""

    def cell_at(self, position: float, height: float) -> Cell | None:
        """The cell nearest to a place of the plot, if it is near."""
        place = self.view.mapViewToScene(QPointF(position, height))
        shown = [
            cell
            for line, curve in zip(self.lines, self.curves, strict=False)
            for cell in line.cells
            if curve.entry.isChecked() and _has_place(cell)
        ]
        near = [(math.hypot(*(self._pixel(cell) - place).toTuple()), cell) for cell in shown]
        distance, cell = min(near, key=lambda item: item[0], default=(math.inf, None))
        return cell if distance <= REACH else None

    def describe(self, position: float, height: float) -> str:
        """Name and figures of the cell pointed at."""
        cell = self.cell_at(position, height)
        return "" if cell is None else cell_text(cell, on_front=self._on_front(cell)).replace("\n", "  ·  ")

    def _mouse_moved(self, position: QPointF) -> None:
        super()._mouse_moved(position)
        if self.is_empty() or not self.view.sceneBoundingRect().contains(position):
            return
        point = self.view.mapSceneToView(position)
        cell = self.cell_at(point.x(), point.y())
        if cell is None:
            QToolTip.hideText()
            return
        place = self.widget.mapToGlobal(self.widget.mapFromScene(position)) + QPoint(10, 10)
        QToolTip.showText(place, cell_text(cell, on_front=self._on_front(cell)), self.widget)

    def _clicked(self, event: MouseClickEvent) -> None:
        point = self.view.mapSceneToView(event.scenePos())
        cell = self.cell_at(point.x(), point.y())
        if cell is not None:
            self.cell_chosen.emit(cell.name)

    def recolour(self, colours: Scheme) -> None:
        """Put on the colours of a scheme."""
        super().recolour(colours)
        if not hasattr(self, "_place_timer"):
            return
        self._rings.setPen(pg.mkPen(colours.text, width=1.3 * self.scale))
        self._rings.setSize(16 * self.scale)
        self._chosen.setPen(pg.mkPen(colours.accent, width=2 * self.scale))
        self._chosen.setSize(24 * self.scale)
        for curve, bars in zip(self.curves, self._bars, strict=False):
            faint = QColor(curve.style.colour_in(colours))
            faint.setAlpha(120)
            bars.setData(pen=pg.mkPen(faint, width=1.2 * self.scale))
            curve.item.setSymbolSize(9 * self.scale)
        self._range_changed()


def cell_text(cell: Cell, *, on_front: bool = False) -> str:
    """A cell in words: name, both accuracies with their intervals, what the intervals speak of."""
    lines = [
        cell.name,
        f"clean {words.estimate(cell.clean)}",
        f"robust {words.estimate(cell.robust)}",
        words.sureness(cell.robust),
    ]
    return "\n".join([*lines, *(["on the Pareto front"] if on_front else []), *words.doubts(cell.runs)])


def _has_place(cell: Cell) -> bool:
    return math.isfinite(cell.clean.mean) and math.isfinite(cell.robust.mean)


def _span(estimates: list[Estimate]) -> tuple[float, float]:
    means = [100 * item.mean for item in estimates if math.isfinite(item.mean)]
    if not means:
        return 0.0, 100.0
    spread = max(max(means) - min(means), 4.0)
    lows = [100 * item.low for item in estimates if math.isfinite(item.low)]
    highs = [100 * item.high for item in estimates if math.isfinite(item.high)]
    low = max(min(means) - spread, min([*lows, *means]))
    high = min(max(means) + spread, max([*highs, *means]))
    margin = 0.08 * max(high - low, 4.0)
    return max(low - margin, -2.0), min(high + margin, 102.0)


def _crosses(box: QRectF, stroke: QLineF) -> bool:
    """Whether a straight line runs through a box or ends in it."""
    if box.contains(stroke.p1()) or box.contains(stroke.p2()):
        return True
    falling = QLineF(box.topLeft(), box.bottomRight())
    rising = QLineF(box.bottomLeft(), box.topRight())
    within = QLineF.IntersectionType.BoundedIntersection
    return any(stroke.intersects(diagonal)[0] == within for diagonal in (falling, rising))
