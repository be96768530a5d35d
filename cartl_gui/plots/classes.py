"""Clean and robust accuracy of each class in the attacked images."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtWidgets import QWidget

from cartl_gui.plots.base import CurveStyle, PlotPanel, Series
from cartl_gui.plots.marks import Bars, Mark
from cartl_gui.run_data import RunData
from cartl_gui.theme import Scheme
from cartl_gui.words import percent
from engine.config import StageName


class ClassesPlot(PlotPanel):
    """Bars per class, [K]: share right on the clean image, share right on every adversarial image."""

    empty_text = "Clean and robust accuracy of each class appear here while images are attacked."
    can_log = False

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Accuracy by class", "class", "accuracy (%)", parent=parent)
        self._items = tuple(pg.BarGraphItem(x=[], height=[], width=0.38, pen=None) for _ in range(2))
        for index, (item, name) in enumerate(zip(self._items, ("clean", "robust"), strict=True)):
            self.plot.addItem(item)
            curve = self.add_curve(name, CurveStyle(index, width=6.0))
            curve.item.setVisible(False)
            curve.entry.toggled.disconnect(curve.show)
            curve.entry.toggled.connect(item.setVisible)
        self._table: Series = {}
        self.recolour(self.colours)

    def consume(self, data: RunData, _stage: StageName) -> None:
        """Count the images that were right and those that nothing has broken, so far."""
        columns = data.verdicts()
        if not columns:
            self.clear()
            return
        labels = columns["label"].astype(int)
        classes = np.unique(labels)
        rows = np.searchsorted(classes, labels)
        amount = np.bincount(rows, minlength=len(classes))
        shares = [
            100 * np.bincount(rows, columns[name].astype(float), minlength=len(classes)) / amount
            if name in columns
            else np.full(len(classes), np.nan)
            for name in ("clean_correct", "robust")
        ]
        self._table = {
            "class": classes, "images": amount, "clean_accuracy (%)": shares[0], "robust_accuracy (%)": shares[1]
        }  # fmt: skip
        for shift, item, share, curve in zip((-0.2, 0.2), self._items, shares, self.curves, strict=True):
            item.setOpts(x=classes + shift, height=np.nan_to_num(share), width=0.38)
            curve.set(classes, share)
        step = max(1, -(-len(classes) // 30))
        self.plot.getAxis("bottom").setTicks([[(int(number), str(number)) for number in classes[::step]]])

    def value_text(self, _value: float) -> str:
        """The last class is not the one that matters; the readout tells those of the class pointed at."""
        return ""

    def is_empty(self) -> bool:
        """Whether no image was looked at yet."""
        return not self._table

    def places(self) -> list[np.ndarray]:
        """The classes."""
        return [self._table["class"].astype(float)] if self._table else []

    def clear(self) -> None:
        """Show nothing."""
        super().clear()
        self._table = {}
        for item in self._items:
            item.setOpts(x=[], height=[])

    def series(self) -> Series:
        """Class, number of images, and both accuracies in percent, [K] each."""
        return self._table

    def marks(self) -> tuple[Mark, ...]:
        """Two bars a class."""
        return tuple(
            Bars("class", column, curve.name, curve.style, shift, 0.38)
            for curve, column, shift in zip(
                self.curves, ("clean_accuracy (%)", "robust_accuracy (%)"), (-0.2, 0.2), strict=True
            )
            if self._table and curve.entry.isChecked()
        )

    def place_axes(self) -> tuple[float, float, float, float]:
        """All classes, 0 to 100 %."""
        classes = self._table.get("class", np.array([0, 1]))
        return float(classes[0]) - 0.6, float(classes[-1]) + 0.6, 0.0, 100.0

    def describe(self, position: float, _height: float) -> str:
        """Class pointed at with its figures."""
        if not self._table:
            return ""
        index = int(np.argmin(np.abs(self._table["class"] - position)))
        return (
            f"class {self._table['class'][index]}: clean {percent(self._table['clean_accuracy (%)'][index] / 100)}, "
            f"robust {percent(self._table['robust_accuracy (%)'][index] / 100)} of {self._table['images'][index]} images"
        )

    def recolour(self, colours: Scheme) -> None:
        """Put on the colours of a scheme."""
        super().recolour(colours)
        for index, item in enumerate(getattr(self, "_items", ())):
            item.setOpts(brush=pg.mkBrush(colours.curves[index]))
