"""What the plots over time of a page run over: epochs, optimiser steps or computing time."""

from __future__ import annotations

from PySide6.QtCore import Signal

from cartl_gui.timeline import TIME_AXES, TimeAxis
from cartl_gui.widgets import QuietCombo

_TEXTS: dict[TimeAxis, str] = {"epoch": "Over epochs", "step": "Over steps", "time": "Over time"}


class TimeChoice(QuietCombo):
    """A choice in the head of a page; the window remembers it for all pages."""

    chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Time axis")
        self.setToolTip("What the plots over time run over: epochs, optimiser steps or computing time")
        self.setMinimumContentsLength(9)
        for axis in TIME_AXES:
            self.addItem(_TEXTS[axis], axis)
        self.activated.connect(self._activated)

    def show_axis(self, axis: TimeAxis) -> None:
        """Show a choice that was made elsewhere."""
        self.setCurrentIndex(TIME_AXES.index(axis))

    def _activated(self, row: int) -> None:
        self.chosen.emit(TIME_AXES[row])
