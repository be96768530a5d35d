"""The study in the form stays from one start of the program to the next."""

from __future__ import annotations

from PySide6.QtCore import QObject, QTimer

from cartl_gui.forms.history import FormState
from cartl_gui.forms.setup_panel import SetupPanel
from cartl_gui.settings import WindowSettings
from engine.errors import ConfigError

#: Milliseconds without an edit after which the study is kept, so that a crash loses no more than these.
PAUSE_MS = 1_000


class KeptStudy(QObject):
    """Brings back what the form held and keeps what it holds; while a setting cannot be used, what it held before."""

    def __init__(self, panel: SetupPanel, settings: WindowSettings) -> None:
        super().__init__(panel)
        self._panel, self._settings = panel, settings
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(PAUSE_MS)
        self._timer.timeout.connect(self.keep)
        if settings.study:
            try:
                panel.begin_with(FormState.parse(settings.study))
            except ConfigError:
                settings.study = ""  # of a version whose settings were others
        panel.changed.connect(self._timer.start)

    def keep(self) -> None:
        """Keep the study as it is now."""
        if self._panel.study() is not None:
            self._settings.study = self._panel.state().text()

    def conclude(self) -> None:
        """Keep what was edited last without waiting: the window closes."""
        if self._timer.isActive():
            self._timer.stop()
            self.keep()
