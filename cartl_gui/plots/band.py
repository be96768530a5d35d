"""A quantity of the selected block or layer over time, with the band around it; beside another run's if asked."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtGui import QColor, QPainterPath
from PySide6.QtWidgets import QGraphicsPathItem, QHBoxLayout, QWidget

from cartl_gui import layers_view as view
from cartl_gui.layers_view import NAMES, NOTHING, SHORT_NAMES, History, Source
from cartl_gui.plots.area import area_between
from cartl_gui.plots.base import Curve, CurveStyle, Series, nice_top
from cartl_gui.plots.layer_panel import LayerPanel, scaled
from cartl_gui.plots.legend import Legend
from cartl_gui.plots.marks import Band, Mark, lines_of
from cartl_gui.plots.ticks import decades
from cartl_gui.run_data import RunData
from cartl_gui.selection import Place
from cartl_gui.theme import Scheme
from cartl_gui.timeline import Timeline
from cartl_gui.widgets import ElidedLabel
from cartl_gui.words import readable
from engine.config import StageName

#: Above, the value itself, below: of the run, and of the one it is compared with.
_STYLES = (
    (CurveStyle(0, width=1.3), CurveStyle(0, symbol="o", width=2.0), CurveStyle(0, (1.5, 3), width=1.4)),
    (CurveStyle(1, (7, 3), width=1.3), CurveStyle(1, (7, 3), "s", 2.0), CurveStyle(1, (1.5, 3), width=1.4)),
)
#: What the curves are called until they show something.
_PARTS, _RUNS = ("above", "value", "below"), ("this run", "other run")
#: Width in pixels from which the legend has room for numbers.
ROOMY = 480
CHOOSE = "Choose a row of the table, or of the map: its course appears here."


class BandPlot(LayerPanel):
    """Value, above and below over epochs, [T] each, with the area between them filled."""

    empty_text = CHOOSE
    x_axis = "time"
    framing = ("quantity", "per", "other", "place")
    ignored = ("sample", "as_difference")

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Selected layer", "epoch", "", parent=parent)
        self._areas = tuple(QGraphicsPathItem() for _ in _STYLES)
        for area in self._areas:
            area.setZValue(-5)
            area.setPen(pg.mkPen(None))
            self.plot.addItem(area, ignoreBounds=True)
        self._groups = tuple(
            tuple(self.add_curve(f"{part}, {run}", style) for part, style in zip(_PARTS, styles, strict=True))
            for run, styles in zip(_RUNS, _STYLES, strict=True)
        )
        self._runs = tuple(ElidedLabel() for _ in _STYLES)
        others = Legend()
        self._second = QWidget()
        row = QHBoxLayout(self._second)
        row.setContentsMargins(6, 0, 10, 0)
        row.addWidget(others)
        for curve in self._groups[1]:
            self.entries.take(curve.entry)
            others.add(curve.entry)
        for legend, label in zip((self.entries, others), self._runs, strict=True):
            label.setFixedWidth(64)
            legend.insert(0, label)
            label.hide()
        self._body.insertWidget(1, self._second)
        self._second.hide()
        self.legend_action.toggled.connect(self._show_second)
        self._forget()
        self.recolour(self.colours)

    def _show_second(self) -> None:
        """The other run's legend, and whose each is."""
        compares = self.question.other is not None
        self._second.setVisible(self.legend_action.isChecked() and compares)
        for label in self._runs:
            label.setVisible(compares)

    def _forget(self) -> None:
        self._histories: tuple[History, History] = (NOTHING, NOTHING)
        self._last = 0.0

    def consume(self, data: RunData, stage: StageName) -> None:
        """Draw what was asked for."""
        source, question = Source.of(data, stage), self.question
        self.name(*self._names(source))
        self._histories = self._history(source, question.place), self._other_history(source)
        self.name_time()
        runs = (source, question.other)
        timelines = [Timeline.of(run.data, run.stage) if run is not None else None for run in runs]
        places = [self.places_of(*pair) for pair in zip(self._histories, timelines, strict=True)]
        self._last = max((float(found[-1]) for found in places if len(found)), default=0.0)
        for group, history, run, label, place in zip(
            self._groups, self._histories, runs, self._runs, places, strict=True
        ):
            name = run.data.info.title if run is not None and question.other else ""
            label.setText(name)
            label.setToolTip(name)
            self._fill(group, *self._drawn(history, place, run), name)
        self._draw_areas()
        self._show_second()
        self.say_empty(self._nothing_text(source))

    def _history(self, source: Source, place: Place | None) -> History:
        """A place of a run; the whole network if none is selected."""
        quantity = self.question.quantity
        if place is None:
            return view.history(source, quantity, None)
        history = view.history(source, quantity, place.per)
        return history.only(place.index) if place.index < history.value.shape[-1] else NOTHING

    def _other_history(self, source: Source) -> History:
        """The same place of the other run, found by its name."""
        other, place = self.question.other, self.question.place
        if other is None:
            return NOTHING
        found = view.partner(place, source, other)
        return NOTHING if place is not None and found is None else self._history(other, found)

    def _drawn(
        self, history: History, place: np.ndarray, source: Source | None
    ) -> tuple[np.ndarray, History]:
        """Places and values; a network that was looked at only once stays as it was, a level line beside a history."""
        if source is None or not source.data.is_inspection or len(history.epoch) != 1:
            return place, history
        parts = (
            np.repeat(values, 2, axis=0)
            for values in (history.epoch, history.step, history.value, history.above, history.below)
        )
        return np.array(self._span()), History(*parts)

    def _span(self) -> tuple[float, float]:
        """Begin and end of the axis; half an epoch around a measurement that is alone."""
        if self.measured_epochs() <= 0 and self._last <= 0:
            return -0.5, 0.5
        return 0.0, max(self.end_of_time() if self.measured_epochs() > 0 else 0.0, self._last)

    def _fill(self, group: tuple[Curve, ...], place: np.ndarray, history: History, run: str) -> None:
        quantity = self.question.quantity
        for curve, values, short, full in zip(
            group, (history.above, history.value, history.below), SHORT_NAMES[quantity.around], NAMES[quantity.around],
            strict=True,
        ):  # fmt: skip
            curve.set(place, values.ravel()[: len(place)])
            curve.name = ": ".join(filter(None, (run, full or quantity.short)))
            curve.entry.rename(short or quantity.short, curve.name)
            curve.entry.setVisible(curve.has_values())

    def _names(self, source: Source) -> tuple[str, str]:
        quantity, place, layout = self.question.quantity, self.question.place, source.layout
        if place is None:
            axis = f"log10 of {quantity.short}" if quantity.network else quantity.short
            return f"Whole network: {axis}" if quantity.network else "Whole network", axis
        frozen = view.is_frozen(layout, place) if layout is not None else None
        fact = {True: " (frozen)", False: " (trained)", None: ""}[frozen]
        return f"{view.place_heading(layout, place)}{fact}", quantity.short

    def _nothing_text(self, source: Source) -> str:
        quantity = self.question.quantity
        has_none = self.question.place is None and not quantity.network
        return CHOOSE if has_none else view.nothing_text(source, quantity)

    def clear(self) -> None:
        """Show nothing."""
        super().clear()
        self._forget()
        self._draw_areas()
        self._show_second()

    # drawing -------------------------------------------------------------------------------------------
    def _draw_areas(self) -> None:
        for area, (upper, _value, lower) in zip(self._areas, self._groups, strict=True):
            path = QPainterPath()
            if upper.entry.isChecked() and lower.entry.isChecked():
                low, high = (scaled(curve.y, log=self._is_log()) for curve in (lower, upper))
                left, right = self._span()
                path = area_between(upper.x, low, high, 0.003 * (right - left))
            area.setPath(path)

    def _is_log(self) -> bool:
        """The whole network's constant is a logarithm already."""
        return self.log_button.isChecked() and not (
            self.question.place is None and bool(self.question.quantity.network)
        )

    def set_log(self, on: bool) -> None:
        """Use a logarithmic y axis."""
        if self.log_button.isChecked() != on:
            self.log_button.setChecked(on)
            return
        self._apply_log()
        self._range = None
        self.fit()

    def _apply_log(self) -> None:
        log = self._is_log()
        for curve in self.curves:
            curve.log = log
            curve.draw()
        self.plot.setLogMode(False, log)
        self._draw_areas()

    def _after_draw(self) -> None:
        self._apply_log()
        super()._after_draw()

    def _limits(self) -> tuple[float, float]:
        """Bottom and top of the axis, as it places them."""
        values = np.concatenate([curve.extremes() for curve in self.curves])
        values = values[np.isfinite(values)]
        if self._is_log():
            values = np.log10(values[values > 0])
            if not len(values):
                return -1.0, 0.0
            return float(np.floor(5 * values.min() - 0.2) / 5), float(np.ceil(5 * values.max() + 0.2) / 5)
        if not len(values):
            return 0.0, 1.0
        low = float(values.min())
        return (0.0 if low >= 0 else low - 0.05 * float(np.ptp(values))), nice_top(values)

    def marks(self) -> tuple[Mark, ...] | None:
        """The curves, and the areas between those above and below."""
        lines = lines_of(self.curves, self.series())
        if lines is None:
            return None
        columns = {line.name: line for line in lines}
        bands = tuple(
            Band(columns[upper.name].x, value.style, columns[lower.name].y, columns[upper.name].y)
            for upper, value, lower in self._groups
            if upper.has_values() and upper.name in columns and lower.name in columns
        )
        return (*bands, *lines)

    def place_axes(self) -> tuple[float, float, float, float]:
        """All epochs; from 0 to a round number, or the decades in use."""
        left, right = self._span()
        low, high = self._limits()
        self.settle()
        return left, right + 0.02 * (right - left), low, max(high, low + 1e-6)

    def settle(self) -> None:
        """Name as many numbers of a logarithmic axis as there is room for."""
        super().settle()
        if not hasattr(self, "_histories"):
            return
        room = self.view.height() / self.scale
        self.plot.getAxis("left").setTicks(decades(*self._limits(), room) if self._is_log() else None)
        if self.crosshair.position is None:
            self._show_newest()

    def value_text(self, value: float) -> str:
        """The newest value, where there is room beside the names."""
        return "" if self.question.other is not None or self.width() < ROOMY else super().value_text(value)

    def describe(self, position: float, _height: float) -> str:
        """The measurement pointed at."""
        history = self._histories[0]
        if not len(history.epoch):
            return ""
        place = self.places_of(history, self.timeline)
        row = int(np.argmin(np.abs(place - position))) if len(place) else 0
        value, above, below = (
            readable(float(values[row, 0])) for values in (history.value, history.above, history.below)
        )
        around = f" ({below} to {above})" if self._groups[0][0].has_values() else ""
        return f"epoch {history.epoch[row]:.4g}, step {history.step[row]:,}: {value}{around}"

    # numbers -------------------------------------------------------------------------------------------
    def series(self) -> Series:
        """Epoch, step and what is shown, [T] each; the other run's at the epochs at which it was measured."""
        own, other = self._histories
        length = max(len(own.epoch), len(other.epoch))
        table: Series = {"epoch": _padded(own.epoch, length), "step": _padded(own.step, length)}
        for group, history in zip(self._groups, self._histories, strict=True):
            if history is other and len(other.epoch):
                table["epoch of the other run"] = _padded(other.epoch, length)
            for curve, values in zip(group, (history.above, history.value, history.below), strict=True):
                if curve.has_values():
                    table[curve.name] = _padded(values.ravel(), length)
        return table

    def recolour(self, colours: Scheme) -> None:
        """Put on the colours of a scheme."""
        super().recolour(colours)
        for area, styles in zip(getattr(self, "_areas", ()), _STYLES, strict=False):
            colour = QColor(styles[0].colour_in(colours))
            colour.setAlpha(46)
            area.setBrush(colour)


def _padded(values: np.ndarray, length: int) -> np.ndarray:
    return np.concatenate([values.astype(float), np.full(length - len(values), np.nan)])
