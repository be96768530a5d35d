"""Closing the window: ask while something runs, save, and end only after the engine's threads have ended."""

from __future__ import annotations

import threading

from PySide6.QtCore import QObject, QTimer, Signal
from PySide6.QtWidgets import QMessageBox, QWidget

from cartl_gui import program, words
from engine.api import Session
from engine.events import RunInfo


class Closer(QObject):
    """Closes a session in the background, so that the window stays alive while a run is saved."""

    ended = Signal()
    #: The user wants the runs to go on while the window is hidden.
    hiding_asked = Signal()

    def __init__(self, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        self._session, self._window = session, parent
        self._thread: threading.Thread | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(50)
        self._timer.timeout.connect(self._look)
        #: Whether there is a place from which a hidden window can be brought back.
        self.can_hide = False

    @property
    def begun(self) -> bool:
        """Whether the session is being closed."""
        return self._thread is not None

    def may_close(self, running: RunInfo | None, queued: int) -> bool:
        """Ask whether to pause, save and quit; always yes while nothing runs."""
        if running is None:
            return True
        box = QMessageBox(
            QMessageBox.Icon.Question, program.NAME, f"“{running.title}” is running.", parent=self._window
        )
        lines = [f"It is {100 * running.progress:.0f} % done{_left(running)}."]
        if queued:
            lines.append(f"{words.count(queued, 'run')} {'waits' if queued == 1 else 'wait'} after it.")
        lines.append(
            "Paused, it goes on exactly where it stopped when you resume it; waiting runs keep their place."
        )
        box.setInformativeText("\n".join(lines))
        save = box.addButton("Pause, save and quit", QMessageBox.ButtonRole.AcceptRole)
        keep = (
            box.addButton("Keep running, hidden", QMessageBox.ButtonRole.ActionRole)
            if self.can_hide
            else None
        )
        box.addButton(QMessageBox.StandardButton.Cancel)
        box.setDefaultButton(save)
        box.exec()
        chosen = box.clickedButton()
        box.deleteLater()
        if keep is not None and chosen is keep:
            self.hiding_asked.emit()
        return chosen is save

    def begin(self) -> None:
        """Close the session; `ended` is emitted once its threads have ended."""
        self._thread = threading.Thread(target=self._close, name="closing")
        self._thread.start()
        self._timer.start()

    def _close(self) -> None:
        while not self._session.close(10.0):
            pass

    def _look(self) -> None:
        if self._thread is not None and not self._thread.is_alive():
            self._thread.join()
            self._timer.stop()
            self.ended.emit()


def _left(running: RunInfo) -> str:
    return "" if running.seconds_left is None else f", {words.duration(running.seconds_left)} left"
