"""How far the features of one image moved, over depth, before the mean and spread of all probe images."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from pyqtgraph.GraphicsScene.mouseEvents import MouseClickEvent
from PySide6.QtCore import QEvent, QObject, QPointF, QSignalBlocker, Qt, Signal
from PySide6.QtGui import QColor, QKeyEvent, QPolygonF
from PySide6.QtWidgets import QButtonGroup, QGraphicsPolygonItem, QHBoxLayout, QPushButton, QWidget

from cartl_gui.examples_view import (
    AXES,
    MEASURES,
    Gallery,
    Measure,
    Per,
    Profile,
    border_of,
    border_text,
    place_title,
    places_under,
    profile_of,
)
from cartl_gui.plots.base import QUIET, CurveStyle, PlotPanel, Series, nice_top
from cartl_gui.plots.marks import Band, Level, Lines, Mark
from cartl_gui.run_data import RunData
from cartl_gui.selection import Place
from cartl_gui.theme import Scheme
from cartl_gui.widgets import QuietCombo, WrappedLabel
from cartl_gui.words import readable
from engine.config import StageName

PERS: dict[Per, str] = {"block": "Blocks", "layer": "Layers"}


class SampleDistancePlot(PlotPanel):
    """One measure of one image [N] over blocks or weighted layers; a click selects a place."""

    empty_text = "How far each image moved in every block appears here."

    #: The place that was chosen.
    place_chosen = Signal(object)
    #: Another measure was chosen.
    measure_changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        self._gallery: Gallery | None = None
        self._sample: int | None = None
        self._place: Place | None = None
        self._profile: Profile = profile_of(None, None, "block", "distance")
        super().__init__("Distance over depth", "block", AXES["distance"], parent=parent)
        self._band = QGraphicsPolygonItem()
        self._band.setPen(pg.mkPen(None))
        self._band.setZValue(-5)
        self._mark = pg.LinearRegionItem(movable=False)
        self._mark.setZValue(-10)
        self._border = pg.InfiniteLine(angle=90, movable=False)
        for item in (self._band, self._mark, self._border):
            self.plot.addItem(item, ignoreBounds=True)
        self._mean = self.add_curve("mean", CurveStyle(0, width=1.6))
        self._own = self.add_curve("this image", CurveStyle(1, symbol="o", width=2.0))
        self._own.item.setZValue(1)
        self._mean.entry.toggled.connect(self._band.setVisible)
        self._build_controls()
        self.widget.scene().sigMouseClicked.connect(self._clicked)
        self.recolour(self.colours)

    def _build_controls(self) -> None:
        self.measure_box = QuietCombo()
        self.measure_box.setAccessibleName("Measure of the distance")
        for measure, title in MEASURES.items():
            self.measure_box.addItem(title, measure)
        self.measure_box.currentIndexChanged.connect(self._measure_chosen)
        self._group = QButtonGroup(self)
        self.per_buttons: dict[Per, QPushButton] = {}
        row = QHBoxLayout()
        row.setContentsMargins(8, 0, 8, 0)
        row.setSpacing(4)
        row.addWidget(self.measure_box, 1)
        for per, title in PERS.items():
            button = self.per_buttons[per] = QPushButton(title)
            button.setCheckable(True)
            button.setChecked(per == "block")
            button.setProperty("per", per)
            button.setAccessibleName(f"Distance of each {per}")
            self._group.addButton(button)
            row.addWidget(button)
        self._group.buttonClicked.connect(self._draw_again)
        self.hint = WrappedLabel("hint")
        self.hint.setContentsMargins(10, 0, 8, 0)
        self.hint.setMinimumHeight(2 * self.hint.fontMetrics().lineSpacing())
        self.hint.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._column.insertLayout(1, row)
        self._column.addWidget(self.hint)

    # what is shown -------------------------------------------------------------------------------------
    @property
    def measure(self) -> Measure:
        """What is drawn upwards."""
        return self.measure_box.currentData()

    @property
    def per(self) -> Per:
        """What is drawn to the right."""
        return next(per for per, button in self.per_buttons.items() if button.isChecked())

    def show_sample(self, gallery: Gallery | None, sample: int | None) -> None:
        """Show an image of a gallery; without one mean and spread alone."""
        self._gallery, self._sample = gallery, sample
        self._draw_again()

    def select(self, place: Place | None) -> None:
        """Mark a place; the block of a layer, or a block's layers, if the plot shows the other kind."""
        self._place = place
        self._show_mark()
        self._after_pointing()

    def show_same(self, other: PlotPanel) -> None:
        """Show what another plot of this kind shows."""
        if isinstance(other, SampleDistancePlot):
            with QSignalBlocker(self.measure_box):
                self.measure_box.setCurrentIndex(other.measure_box.currentIndex())
            self.per_buttons[other.per].setChecked(True)
            self.show_sample(other._gallery, other._sample)

    def consume(self, _data: RunData, _stage: StageName) -> None:
        """Nothing: the page shows an image of a gallery."""

    # drawing -------------------------------------------------------------------------------------------
    def _draw_again(self) -> None:
        gallery, per = self._gallery, self.per
        self._profile = profile = profile_of(gallery, self._sample, per, self.measure)
        what = f"image #{self._sample}" if self._sample is not None else f"{profile.count} images"
        self.title = f"{MEASURES[self.measure]} of {what} per {per}"
        self._heading.setText(f"Image #{self._sample}" if self._sample is not None else "All images")
        self._heading.setToolTip(self.title)
        self.plot.setLabel("bottom", "block" if per == "block" else "weighted layer")
        self.plot.setLabel("left", AXES[self.measure])
        place = np.arange(1, len(profile.mean) + 1)
        self._mean.set(place, profile.mean)
        known = np.isfinite(profile.values)
        # Without gaps: pyqtgraph stumbles over curves that are nothing else.
        self._own.set(place[known], profile.values[known])
        self._mean.name = f"mean ± sd of {profile.count}"
        self._mean.entry.rename(self._mean.name)
        self._own.entry.setVisible(self._own.has_values())
        border = border_of(gallery, per) if gallery is not None and len(place) else None
        self._border.setVisible(border is not None)
        self._border.setPos((border or 0) + 0.5)
        step = max(1, -(-len(place) // 16))
        self.plot.getAxis("bottom").setTicks([[(int(number), str(number)) for number in place[::step]]])
        self.plot.getAxis("left").setTicks(self._log_ticks())
        self._draw_band()
        self._show_mark()
        self._following, self._range = True, None
        self._after_draw()
        self._after_pointing()

    def _draw_band(self) -> None:
        """Fill between one standard deviation below and above the mean."""
        mean, spread = self._profile.mean, self._profile.spread
        known = np.isfinite(mean + spread)
        place = np.flatnonzero(known) + 1
        low, high = self._scaled((mean - spread)[known]), self._scaled((mean + spread)[known])
        points = [*zip(place, high, strict=True), *zip(place[::-1], low[::-1], strict=True)]
        self._band.setPolygon(QPolygonF([QPointF(float(x), float(y)) for x, y in points]))

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        """Values as the axis places them; on a log axis those of 0 and less lie at its foot."""
        if not self.log_button.isChecked():
            return values
        return np.log10(np.maximum(values, 10.0 ** self._limits()[0]))

    def _limits(self) -> tuple[float, float]:
        """Bottom and top of the axis, as it places them."""
        profile = self._profile
        values = np.concatenate(
            [profile.values, profile.mean, profile.mean + profile.spread, profile.mean - profile.spread]
        )
        values = values[np.isfinite(values)]
        if self.log_button.isChecked():
            values = np.concatenate([profile.values, profile.mean, profile.mean + profile.spread])
            values = np.log10(values[np.isfinite(values) & (values > 0)])
            if not len(values):
                return -1.0, 0.0
            return float(np.floor(4 * values.min() - 0.2) / 4), float(np.ceil(4 * values.max() + 0.2) / 4)
        if self.measure == "cosine":
            return float(np.floor(10 * min(values, default=0.0) - 0.2) / 10), 1.02
        return 0.0, nice_top(values)

    def _log_ticks(self) -> list[list[tuple[float, str]]] | None:
        """1, 2 and 5 of each decade on a log axis, else None: nine of them would run into each other."""
        if not self.log_button.isChecked():
            return None
        low, high = self._limits()
        decades = range(int(np.floor(low)), int(np.ceil(high)) + 1)
        return [
            [
                (decade + float(np.log10(digit)), f"{digit * 10.0**decade:g}")
                for decade in decades
                for digit in (1, 2, 5)
            ]
        ]

    def _show_mark(self) -> None:
        places = places_under(self._gallery, self._place, self.per) if self._gallery is not None else None
        self._mark.setVisible(places is not None and not self.is_empty())
        if places is not None:
            self._mark.setRegion((places[0] + 0.5, places[1] + 1.5))

    def set_log(self, on: bool) -> None:
        """Use a logarithmic y axis."""
        super().set_log(on)
        if self.log_button.isChecked() == on:
            self._draw_band()
            self.plot.getAxis("left").setTicks(self._log_ticks())

    def clear(self) -> None:
        """Show nothing."""
        super().clear()
        self.show_sample(None, None)

    def is_empty(self) -> bool:
        """Whether there are no distances of single images."""
        return not np.isfinite(self._profile.mean).any()

    # numbers -------------------------------------------------------------------------------------------
    def series(self) -> Series:
        """Number and name of each place, the image's value, mean and standard deviation over all images, [N] each."""
        profile = self._profile
        names = self._gallery.names(self.per) if self._gallery is not None else ()
        table: Series = {
            self.per: np.arange(1, len(profile.mean) + 1),
            "name": np.array(names[: len(profile.mean)]),
        }
        if self._sample is not None:
            table[f"{self.measure} of image {self._sample}"] = profile.values
        return table | {
            f"{self.measure}, mean of {profile.count} images": profile.mean,
            f"{self.measure}, standard deviation": profile.spread,
        }

    def marks(self) -> tuple[Mark, ...]:
        """Mean and spread over all images, the image's own values, and the border of the frozen part."""
        if self.is_empty():
            return ()
        columns = list(self.series())
        centre, spread = columns[-2:]
        found: list[Mark] = []
        if self._mean.entry.isChecked():
            found += [Band(self.per, self._mean.style, centre=centre, half=spread)]
            found += [Lines(self.per, centre, self._mean.name, self._mean.style)]
        if self._own.has_values() and self._own.entry.isChecked():
            found.append(Lines(self.per, columns[2], self._own.name, self._own.style))
        if self._border.isVisible():
            found.append(Level(float(self._border.value()), "", CurveStyle(QUIET), along="y"))
        return tuple(found)

    def place_axes(self) -> tuple[float, float, float, float]:
        """All places."""
        return 0.4, max(1, len(self._profile.mean)) + 0.6, *self._limits()

    def describe(self, position: float, _height: float) -> str:
        """The place pointed at, with the numbers there."""
        index = round(position) - 1
        return self._sentence(index) if 0 <= index < len(self._profile.mean) else ""

    def _sentence(self, index: int) -> str:
        assert self._gallery is not None
        profile = self._profile
        own = f"{readable(profile.values[index])}; " if np.isfinite(profile.values[index]) else ""
        return (
            f"{place_title(self._gallery, Place(self.per, index)).capitalize()}: {own}mean of {profile.count} images "
            f"{readable(profile.mean[index])} ± {readable(profile.spread[index])}."
        )

    def say(self, text: str) -> None:
        """Write below the plot; without a text, what is selected and what the dashed line means."""
        if not hasattr(self, "hint"):
            return
        self.hint.setText(text or self._standing_text())

    def _standing_text(self) -> str:
        gallery = self._gallery
        if gallery is None or self.is_empty():
            return ""
        place = self._place
        is_here = place is not None and place.per == self.per and place.index < len(self._profile.mean)
        if place is not None and is_here:
            selected = self._sentence(place.index)
        elif place is not None and places_under(gallery, place, self.per):
            selected = f"Selected: {place_title(gallery, place)}."
        else:
            selected = f"Click to select a {self.per}."
        return " ".join(filter(None, (selected, border_text(gallery))))

    def value_text(self, _value: float) -> str:
        """The last point is not the one that matters; the line below tells those of the selected place."""
        return ""

    def _after_pointing(self) -> None:
        self.say("")

    # choosing ------------------------------------------------------------------------------------------
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Choose the place before or after by arrow keys."""
        if event.type() == QEvent.Type.KeyPress and isinstance(event, QKeyEvent):
            steps: dict[int, int] = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}
            step = steps.get(event.key())
            if step is not None and not self.is_empty() and self._gallery is not None:
                places = places_under(self._gallery, self._place, self.per)
                index = 0 if places is None else places[step > 0] + step
                self._choose(max(0, min(index, len(self._profile.mean) - 1)))
                return True
        return super().eventFilter(watched, event)

    def _clicked(self, event: MouseClickEvent) -> None:
        place = event.scenePos()
        index = round(self.view.mapSceneToView(place).x()) - 1
        if 0 <= index < len(self._profile.mean) and self.view.sceneBoundingRect().contains(place):
            self._choose(index)

    def _choose(self, index: int) -> None:
        self.place_chosen.emit(Place(self.per, index))

    def _measure_chosen(self) -> None:
        self._draw_again()
        self.measure_changed.emit()

    def recolour(self, colours: Scheme) -> None:
        """Put on the colours of a scheme."""
        super().recolour(colours)
        if not hasattr(self, "_border"):
            return
        band, mark = QColor(colours.curves[0]), QColor(colours.selection)
        band.setAlpha(60)
        self._band.setBrush(band)
        self._mark.setBrush(mark)
        for line in self._mark.lines:
            line.setPen(pg.mkPen(colours.accent, width=self.scale))
        pen = pg.mkPen(colours.text, width=1.6 * self.scale)
        pen.setDashPattern([5, 3])
        self._border.setPen(pen)
