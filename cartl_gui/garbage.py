"""Python's garbage is collected in the window's thread alone.

Python collects it in whatever thread happens to allocate. Widgets and items of plots that are part of it would be
destroyed there while the window draws, and the program would crash.
"""

from __future__ import annotations

import gc

from PySide6.QtCore import QObject, QTimer

#: Milliseconds between two looks at how much there is to collect.
LOOK_MS = 250


class GarbageCollector(QObject):
    """Takes the place of Python's own collection from `start` to `stop`, by the same limits."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._was_on = False
        self._timer = QTimer(self)
        self._timer.setInterval(LOOK_MS)
        self._timer.timeout.connect(self.collect_if_due)

    def start(self) -> None:
        """Turn Python's own collection off and look after it."""
        self._was_on = gc.isenabled()
        gc.disable()
        self._timer.start()

    def stop(self) -> None:
        """Leave it to Python again, if it was before."""
        self._timer.stop()
        if self._was_on:
            gc.enable()

    def collect_if_due(self) -> None:
        """Collect the oldest generation of which there is more than Python allows."""
        limits = gc.get_threshold()
        for generation, count in reversed(list(enumerate(gc.get_count()))):
            if count > limits[generation]:
                gc.collect(generation)
                return

    def leave_out(self) -> None:
        """Never look again through what is there now, such as the code of large libraries."""
        gc.collect()
        gc.freeze()
