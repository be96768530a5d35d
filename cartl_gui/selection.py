"""What is looked at: one layer or block, and one image. Every page follows it."""

from __future__ import annotations

from PySide6.QtCore import QObject, Signal

from engine.insight import Place

__all__ = ["Place", "Selection"]


class Selection(QObject):
    """The selection that all pages share. Setting what is selected already does nothing."""

    place_changed = Signal(object)
    sample_changed = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.place: Place | None = None
        self.sample: int | None = None

    def set_place(self, place: Place | None) -> None:
        """Select a block or layer, or none."""
        if place != self.place:
            self.place = place
            self.place_changed.emit(place)

    def set_sample(self, sample: int | None) -> None:
        """Select an image by its number in the data set, or none."""
        if sample != self.sample:
            self.sample = sample
            self.sample_changed.emit(sample)
