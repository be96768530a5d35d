"""How the probe images spread over a quantity of the selected block or layer: flipped ones, and the others."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from pyqtgraph.GraphicsScene.mouseEvents import MouseClickEvent
from PySide6.QtCore import Signal
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QWidget

from cartl_gui import layers_view as view
from cartl_gui.layers_view import NO_IMAGES, Images, Source
from cartl_gui.plots.base import CurveStyle, Series
from cartl_gui.plots.layer_panel import LayerPanel
from cartl_gui.plots.marks import Histogram, Mark
from cartl_gui.plots.ticks import numbers
from cartl_gui.run_data import RunData
from cartl_gui.theme import Scheme
from cartl_gui.words import count, readable
from engine.config import StageName

CHOOSE = "Choose a row of the table, or of the map: the distances of single images appear here."
BINS = 14


class HistogramPlot(LayerPanel):
    """Numbers of probe images in `BINS` equal ranges of the quantity, flipped ones on top of the others."""

    empty_text = CHOOSE
    framing = ("quantity", "per", "place")
    ignored = ("other", "as_difference")

    #: Number of the probe image next to where was clicked.
    sample_chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Probe images", "", "images", parent=parent)
        self._bars = tuple(pg.BarGraphItem(x=[], height=[], width=1, pen=None) for _ in range(2))
        for index, (bars, name) in enumerate(zip(self._bars, ("not flipped", "flipped"), strict=True)):
            self.plot.addItem(bars)
            curve = self.add_curve(name, CurveStyle(index, width=6.0))
            curve.item.setVisible(False)
            curve.entry.toggled.disconnect(curve.show)
            curve.entry.toggled.connect(self._draw_again)
        self._mark = pg.InfiniteLine(angle=90, movable=False)
        self._mark_text = pg.TextItem(anchor=(0, 0))
        for item in (self._mark, self._mark_text):
            self.plot.addItem(item, ignoreBounds=True)
        self.widget.scene().sigMouseClicked.connect(self._clicked)
        self._forget()
        self.recolour(self.colours)

    def _forget(self) -> None:
        self._images: Images = NO_IMAGES
        self._edges = np.linspace(0, 1, BINS + 1)
        self._counts = np.zeros((2, BINS), int)

    def consume(self, data: RunData, stage: StageName) -> None:
        """Count the images of the selected place."""
        source, question = Source.of(data, stage), self.question
        self._forget()
        self._images = view.images(source, question)
        quantity = view.per_image(question.quantity)
        place = question.place
        title = (
            f"{view.place_heading(source.layout, place)}: probe images"
            if place is not None
            else "Probe images"
        )
        self.name(title, "images")
        unknown = int((~np.isfinite(self._images.value)).sum())
        without = f"{count(unknown, 'image')} without a number" if unknown else ""
        self.name_axis("bottom", ", ".join(filter(None, (quantity.short, without))))
        self.titles = (quantity.short, "images")
        self.say_empty(
            CHOOSE if place is None else "The distances of single images are not kept in this stage."
        )
        values = self._images.value
        known = np.isfinite(values)
        if known.any():
            low, high = float(values[known].min()), float(values[known].max())
            room = max(high - low, 1e-6 * max(1.0, abs(high)))
            self._edges = np.linspace(low, low + room, BINS + 1)
            flipped = self._images.flipped
            self._counts = np.stack(
                [np.histogram(values[known & chosen], self._edges)[0] for chosen in (~flipped, flipped)]
            )
        self._draw_again()

    def _draw_again(self) -> None:
        self._draw()
        self._show_mark()
        self.settle()

    def _draw(self) -> None:
        centres, width = (self._edges[1:] + self._edges[:-1]) / 2, float(self._edges[1] - self._edges[0])
        foot = np.zeros(BINS, int)
        for bars, curve, counts in zip(self._bars, self.curves, self._counts, strict=True):
            shown = counts if curve.entry.isChecked() else np.zeros(BINS, int)
            seen = shown > 0
            bars.setOpts(x=centres[seen], y0=foot[seen], height=shown[seen], width=0.92 * width)
            curve.set(centres, counts.astype(float))
            foot = foot + shown

    def _show_mark(self) -> None:
        rows = np.flatnonzero(self._images.sample == self.question.sample)
        value = float(self._images.value[rows[0]]) if len(rows) else np.nan
        for item in (self._mark, self._mark_text):
            item.setVisible(bool(np.isfinite(value)))
        if not np.isfinite(value):
            return
        self._mark.setPos(value)
        right = value > (self._edges[0] + self._edges[-1]) / 2
        self._mark_text.setAnchor((1, 0) if right else (0, 0))
        self._mark_text.setText(f"image {self.question.sample}")
        self._mark_text.setPos(value, self.place_axes()[3])

    def _after_draw(self) -> None:
        super()._after_draw()
        for curve in self.curves:
            curve.entry.set_value(f"{curve.y.sum():.0f}")
            curve.entry.setVisible(not self.is_empty())

    def _show_newest(self) -> None:
        """The legend tells how many images there are, whatever is pointed at."""

    def _show_values(self, _position: float) -> None:
        """The same."""

    def places(self) -> list[np.ndarray]:
        """The middles of the bars."""
        return [] if self.is_empty() else [(self._edges[1:] + self._edges[:-1]) / 2]

    def clear(self) -> None:
        """Show nothing."""
        super().clear()
        self._forget()
        self._draw_again()

    def is_empty(self) -> bool:
        """Whether there are no values of single images."""
        return not np.isfinite(self._images.value).any()

    def series(self) -> Series:
        """Image number, value and whether it was flipped, [S] each: not the bars, which follow from them."""
        found = self._images
        return {
            "sample": found.sample,
            found.quantity.short: found.value,
            "flipped": found.flipped.astype(int),
        }

    def marks(self) -> tuple[Mark, ...]:
        """The bars of those images that are shown, flipped ones on top."""
        if self.is_empty():
            return ()
        parts = tuple(
            (number, curve.name, curve.style)
            for number, curve in enumerate(self.curves)
            if curve.entry.isChecked()
        )
        low, high = float(self._edges[0]), float(self._edges[-1])
        return (Histogram(self._images.quantity.short, "flipped", BINS, low, high, parts),)

    def place_axes(self) -> tuple[float, float, float, float]:
        """All bars."""
        room = float(self._edges[-1] - self._edges[0])
        highest = max(1, int(self._counts.sum(0).max()))
        return float(self._edges[0]) - 0.03 * room, float(self._edges[-1]) + 0.03 * room, 0.0, 1.15 * highest

    def settle(self) -> None:
        """Count in whole images."""
        super().settle()
        if hasattr(self, "_counts"):
            highest, room = max(1, int(self._counts.sum(0).max())), self.view.height() / self.scale
            self.plot.getAxis("left").setTicks([[(0, "0"), *numbers(highest, room)[0]]])

    def describe(self, position: float, _height: float) -> str:
        """The range pointed at, with its images."""
        index = int(np.searchsorted(self._edges, position)) - 1
        if not 0 <= index < BINS:
            return ""
        low, high = readable(float(self._edges[index])), readable(float(self._edges[index + 1]))
        return f"{low} to {high}: {self._counts[1, index]} of {count(int(self._counts[:, index].sum()), 'image')} flipped"

    def _clicked(self, event: MouseClickEvent) -> None:
        place = event.scenePos()
        if self.is_empty() or not self.view.sceneBoundingRect().contains(place):
            return
        distance = np.abs(self._images.value - self.view.mapSceneToView(place).x())
        self.sample_chosen.emit(int(self._images.sample[np.nanargmin(distance)]))

    def recolour(self, colours: Scheme) -> None:
        """Put on the colours of a scheme."""
        super().recolour(colours)
        if not hasattr(self, "_mark_text"):
            return
        for index, bars in enumerate(self._bars):
            bars.setOpts(brush=pg.mkBrush(colours.curves[index]))
        self._mark.setPen(pg.mkPen(colours.text, width=2 * self.scale))
        self._mark_text.setColor(QColor(colours.text))
        self._mark_text.setFont(self.font_of_plot(bold=True))
