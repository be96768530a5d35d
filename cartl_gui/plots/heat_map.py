"""Heat map of a quantity, time by block or layer, with the frozen boundary; or of its difference between two runs."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from pyqtgraph.GraphicsScene.mouseEvents import MouseClickEvent
from PySide6.QtCore import QRectF, Signal
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QGraphicsRectItem, QWidget

from cartl_gui import layers_view as view
from cartl_gui.layers_view import NOTHING, History, Source
from cartl_gui.plots.base import Series
from cartl_gui.plots.colour_bar import ColourBar
from cartl_gui.plots.layer_panel import LayerPanel, scaled
from cartl_gui.plots.marks import Image, Level, Mark
from cartl_gui.plots.ticks import decades, numbers
from cartl_gui.run_data import RunData, column_edges
from cartl_gui.theme import Scheme
from cartl_gui.words import count, readable
from engine.config import StageName

#: Columns that an uneven time axis is brought to.
_WIDTH = 1024
#: Less, the same, more: blue and vermilion around a grey that is no gap, on a light ground and on a dark one.
_LIGHT = ("#0b4f7d", "#6fb1dc", "#e3e3df", "#f0a067", "#a84300")
_DARK = ("#8fd0f7", "#357fae", "#474e58", "#b5673a", "#ffb07a")


class HeatMap(LayerPanel):
    """Values [T, n]: epochs to the right, blocks or layers from the input upwards.

    Two runs side by side have one colour scale, that of the values of both.
    """

    empty_text = "Appears after the first measurement."
    x_axis = "time"
    framing = ("quantity", "per", "other", "as_difference")
    shares_bar = False
    ignored = ("sample",)

    #: Index of the block or layer that was clicked, from 0.
    index_chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Heat map", "epoch", "layer", parent=parent)
        self.log_button.setToolTip("Logarithmic colour scale")
        self.legend_action.setText("Colour scale")
        self.image = pg.ImageItem()
        self.plot.addItem(self.image)
        self.image.setZValue(-10)
        self._bar = ColourBar()
        self.widget.centralWidget.layout.addItem(self._bar, 2, 3)
        self._boundary = pg.InfiniteLine(angle=0, movable=False)
        self._shadow = pg.InfiniteLine(angle=0, movable=False)
        self._frame = QGraphicsRectItem()
        self._frame_shadow = QGraphicsRectItem()
        for item in (self._shadow, self._boundary, self._frame_shadow, self._frame):
            self.plot.addItem(item, ignoreBounds=True)
            item.hide()
        self.legend_action.toggled.connect(self._show_bar)
        self.legend.hide()
        self.legend_action.toggled.disconnect(self.legend.setVisible)
        self.grid_action.setVisible(False)
        self.widget.scene().sigMouseClicked.connect(self._clicked)
        self._forget()
        self.recolour(self.colours)

    def _forget(self) -> None:
        self._history: History = NOTHING
        self._place = np.empty(0)
        self._values = np.empty((0, 0))
        self._names: tuple[str, ...] = ()
        self._missing: tuple[str, ...] = ()
        self._border = 0
        self._is_source = False
        self._levels = (0.0, 1.0)

    # what is shown -------------------------------------------------------------------------------------
    def consume(self, data: RunData, stage: StageName) -> None:
        """Draw the quantity asked for."""
        self._forget()
        self.name(*self.names_of(data))
        source, layout = Source.of(data, stage), data.layouts.get(stage)
        self._names = view.names(layout, self.question.per)
        self._border = view.frozen_rows(layout, self.question.per)
        self._is_source = stage == "pretraining"
        self._history, self._missing, others = self._answer(source)
        self._values = (
            self._history.mapped(self.question.quantity) if not self._is_difference() else self._history.value
        )
        self._place = self.places_of(self._history, self.timeline)
        if not self._history.is_known() or not len(self._place):
            self.say_empty(self.nothing_text(source))
            self._hide_all()
            return
        self._draw(others)

    def names_of(self, data: RunData) -> tuple[str, str]:
        """Titles of the plot and of its y axis."""
        question, run = self.question, data.info.title
        quantity, per = question.quantity, question.per
        what = ", ".join(filter(None, (quantity.short, quantity.mapped_name())))
        if question.other is None:
            return what, per
        if not question.as_difference:
            return f"{run}: {what}", per
        other = question.other.data.info.title
        how = f"log10 of {run} / {other}" if self.log_button.isChecked() else f"{run} − {other}"
        return f"{how}: {what}", per

    def nothing_text(self, source: Source) -> str:
        """What the plot says while it is empty."""
        quantity, per, other = self.question.quantity, self.question.per, self.question.other
        if other is not None and self._is_difference() and view.history(source, quantity, per).is_known():
            name = other.data.info.title
            return f"Nothing to compare: {name} has no such measurement of these {per}s."
        return view.nothing_text(source, quantity)

    def _is_difference(self) -> bool:
        return self.question.as_difference and self.question.other is not None

    def _answer(self, source: Source) -> tuple[History, tuple[str, ...], np.ndarray]:
        """What to show, names that the other run lacks, and values that share the colour scale."""
        question = self.question
        if question.other is None:
            return view.history(source, question.quantity, question.per), (), np.empty(0)
        if question.as_difference:
            found, missing = view.compared(
                source, question.other, question, as_ratio=self.log_button.isChecked()
            )
            return found, missing, np.empty(0)
        other = view.history(question.other, question.quantity, question.per)
        own = view.history(source, question.quantity, question.per)
        return own, (), other.mapped(question.quantity).ravel()

    def clear(self) -> None:
        """Show nothing."""
        super().clear()
        self._forget()
        self._hide_all()

    def _hide_all(self) -> None:
        self.image.clear()
        for item in (self._shadow, self._boundary, self._frame, self._frame_shadow):
            item.hide()

    def _draw(self, others: np.ndarray) -> None:
        difference = self._is_difference()
        log = self.log_button.isChecked() and not difference
        edges = self._edges()
        shown = scaled(self._values, log=log)
        if len(edges) > 2 and np.ptp(np.diff(edges)) > 1e-6 * (edges[-1] - edges[0]):
            positions = np.linspace(edges[0], edges[-1], _WIDTH, endpoint=False)
            shown = shown[np.clip(np.searchsorted(edges, positions, side="right") - 1, 0, len(shown) - 1)]
        self._levels = levels = _levels(
            np.concatenate([shown.ravel(), scaled(others, log=log)]), centred=difference
        )
        self._colour()
        rows = self._values.shape[1]
        self.image.setImage(np.ascontiguousarray(shown.T), levels=levels)
        self.image.setRect(QRectF(edges[0], 0.5, edges[-1] - edges[0], rows))
        low, high = levels
        self._bar.set_levels(low, high)
        for line in (self._shadow, self._boundary):
            line.setVisible(0 < self._border < rows)
            line.setPos(self._border + 0.5)
        self._show_frame(edges)
        self.name_time(self.remark())
        self.settle()

    def _edges(self) -> np.ndarray:
        """[T + 1] borders of the columns, none of them far before the first epoch or after the last."""
        left, right = self._ends()
        return np.clip(column_edges(self._place), left, right)

    def _ends(self) -> tuple[float, float]:
        """Half an epoch before the first and after the last."""
        epochs = self.measured_epochs()
        if epochs <= 0 or self.time_axis == "epoch":
            last = max([epochs, *self._place[-1:]])
            return -0.5, last + 0.5
        end = max([self.end_of_time(), *self._place[-1:]])
        return -0.5 * end / epochs, end + 0.5 * end / epochs

    def _colour(self) -> None:
        names = _DARK if self.colours.name == "dark" else _LIGHT
        colours = pg.ColorMap(None, names) if self._is_difference() else pg.colormap.get("viridis")
        for image in (self.image, self._bar.image):
            image.setLookupTable(colours.getLookupTable(nPts=256))

    def settle(self) -> None:
        """Name as many rows and colours as there is room for."""
        super().settle()
        if not hasattr(self, "_frame") or self.is_empty():
            return
        room = self.view.height() / self.scale
        self.plot.getAxis("left").setTicks(numbers(self._values.shape[1], room))
        log = self.log_button.isChecked() and not self._is_difference()
        self._bar.axis.setTicks(decades(*self._levels, room) if log else None)

    def _show_bar(self) -> None:
        """The colour scale, unless it is that of the map beside this one."""
        shown = self.legend_action.isChecked() and not self.shares_bar
        self._bar.setVisible(shown)
        self._bar.setFixedWidth(round(58 * self.scale) if shown else 0)

    def share_bar(self, on: bool) -> None:
        """Leave the colour scale to the map beside this one."""
        self.shares_bar = on
        self.legend_action.setVisible(not on)
        self._show_bar()

    def _show_frame(self, edges: np.ndarray) -> None:
        """Put a frame around the selected row."""
        place = self.question.place
        index = place.index if place is not None and place.per == self.question.per else -1
        for item in (self._frame_shadow, self._frame):
            item.setVisible(0 <= index < self._values.shape[1])
            item.setRect(QRectF(edges[0], index + 0.5, edges[-1] - edges[0], 1))

    # numbers -------------------------------------------------------------------------------------------
    def is_empty(self) -> bool:
        """Whether nothing was measured yet, or at no time that is known."""
        return not len(self._place) or not np.isfinite(self._values).any()

    def series(self) -> Series:
        """Time [T] and one column [T] of values per block or layer."""
        table = self.time_series({"epoch": self._history.epoch, "step": self._history.step}, self._place)
        for index in range(self._values.shape[1]):
            name = f" {self._names[index]}" if index < len(self._names) else ""
            table[f"{self.question.per} {index + 1}{name}"] = self._values[:, index]
        return table

    def marks(self) -> tuple[Mark, ...]:
        """The map with its colour scale, and the border of the frozen part."""
        if self.is_empty():
            return ()
        table, rows = tuple(self.series()), self._values.shape[1]
        difference = self._is_difference()
        log = self.log_button.isChecked() and not difference
        low, high = (10.0**level for level in self._levels) if log else self._levels
        colours = _LIGHT if difference else "viridis"
        image = Image(table[0], table[-rows:], low, high, log, colours, self.title)
        if not 0 < self._border < rows:
            return (image,)
        return image, Level(self._border + 0.5, "", None)

    def place_axes(self) -> tuple[float, float, float, float]:
        """All of the stage, all blocks or layers."""
        first, right = self._ends()
        left = float(self._edges()[0]) if len(self._place) else -first
        return min(-first, left), right, 0.5, max(self._values.shape[1], 1) + 0.5

    def places(self) -> list[np.ndarray]:
        """The times of the measurements."""
        return [] if self.is_empty() else [self._place]

    def reading_height(self) -> float:
        """The selected block or layer, else the one in the middle."""
        place = self.question.place
        chosen = place is not None and place.per == self.question.per
        return float(place.index + 1) if place is not None and chosen else super().reading_height()

    def describe(self, position: float, height: float) -> str:
        """Time, place and value pointed at."""
        rows, number = self._values.shape[1], round(height)
        if not 1 <= number <= rows:
            return ""
        row = int(np.argmin(np.abs(self._place - position)))
        name = f" ({self._names[number - 1]})" if number <= len(self._names) else ""
        value = self._values[row, number - 1]
        text = readable(value) if np.isfinite(value) else "not measured"
        return f"epoch {self._history.epoch[row]:.4g}, {self.question.per} {number}{name}: {text}"

    def remark(self) -> str:
        """What is to be known about the rows."""
        per = self.question.per
        if self._missing:
            return f"{count(len(self._missing), per)} not in the other run"
        if not 0 < self._border < self._values.shape[1]:
            return ""
        frozen = f"{per}s 1–{self._border}" if self._border != 1 else f"{per} 1"
        verb = "will be" if self._is_source else "are" if self._border != 1 else "is"
        return f"dashed: {frozen} {verb} frozen"

    # events --------------------------------------------------------------------------------------------
    def set_log(self, on: bool) -> None:
        """Use a logarithmic colour scale; of a difference, show the logarithm of the ratio."""
        if self.log_button.isChecked() != on:
            self.log_button.setChecked(on)
            return
        data, stage = self._source
        if data is not None:
            self.consume(data, stage)
            self._after_draw()

    def _clicked(self, event: MouseClickEvent) -> None:
        place = event.scenePos()
        if self.is_empty() or not self.view.sceneBoundingRect().contains(place):
            return
        index = round(self.view.mapSceneToView(place).y()) - 1
        if 0 <= index < self._values.shape[1]:
            self.index_chosen.emit(index)

    def recolour(self, colours: Scheme) -> None:
        """Put on the colours of a scheme."""
        super().recolour(colours)
        if not hasattr(self, "_frame"):
            return
        self.style_axis(self._bar.axis)
        self._bar.axis.setWidth(round(44 * self.scale))
        self._show_bar()
        self._colour()
        for item, colour, width in (
            (self._shadow, "#000000", 2.0), (self._frame_shadow, "#000000", 3.0), (self._frame, "#ffffff", 1.2),
        ):  # fmt: skip
            item.setPen(pg.mkPen(QColor(colour), width=width * self.scale))
        dashed = pg.mkPen(QColor("#ffffff"), width=2 * self.scale)
        dashed.setDashPattern([4, 3])
        self._boundary.setPen(dashed)


def _levels(values: np.ndarray, *, centred: bool) -> tuple[float, float]:
    """The smallest and the largest value, or a range around 0 that holds them all."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    if centred:
        high = max(abs(low), abs(high), 1e-9)
        low = -high
    return low, high if high > low else low + 1e-6
