"""Reach a user who looks elsewhere: what goes on in the window's title, a message at the end, an icon while hidden."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Signal
from PySide6.QtWidgets import QApplication, QMainWindow, QMenu, QSystemTrayIcon

from cartl_gui import program, theme

#: Milliseconds for which the desktop shows a message.
MESSAGE_MS = 10_000


class Attention(QObject):
    """Owns the title of a window and its icon in the desktop's tray."""

    quit_asked = Signal()

    def __init__(self, window: QMainWindow) -> None:
        super().__init__(window)
        self._window = window
        self._progress = self._news = ""
        self._tray: QSystemTrayIcon | None = None
        window.installEventFilter(self)
        self._write_title()

    def show_progress(self, text: str) -> None:
        """Say in the title what goes on; nothing if empty."""
        if text != self._progress:
            self._progress = text
            self._write_title()

    def tell(self, text: str) -> None:
        """Say what happened to a user who does not look at the window; nothing if it is looked at."""
        if self._window.isActiveWindow():
            return
        self._news = text
        self._write_title()
        QApplication.alert(self._window)
        if self.has_tray():
            icon = self._make_tray()
            icon.show()
            icon.showMessage(program.NAME, text, self._window.windowIcon(), MESSAGE_MS)

    def has_tray(self) -> bool:
        """Whether the desktop has a place for icons of hidden windows."""
        return QSystemTrayIcon.isSystemTrayAvailable()

    def hide_window(self) -> None:
        """Hide the window; a click on its icon brings it back."""
        QApplication.setQuitOnLastWindowClosed(False)
        self._make_tray().show()
        self._window.hide()

    def show_window(self) -> None:
        """Bring the window back, to the front."""
        QApplication.setQuitOnLastWindowClosed(True)
        self._window.show()
        self._window.raise_()
        self._window.activateWindow()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Whoever looks at the window has seen the news."""
        if event.type() == QEvent.Type.WindowActivate:
            self._news = ""
            self._write_title()
            if self._tray is not None:
                self._tray.hide()
        return super().eventFilter(watched, event)

    def _make_tray(self) -> QSystemTrayIcon:
        if self._tray is None:
            self._tray = QSystemTrayIcon(theme.icon("app"), self)
            self._menu = QMenu(self._window)
            self._menu.addAction("Show the window", self.show_window)
            self._menu.addAction("Pause, save and quit", self.quit_asked.emit)
            self._tray.setContextMenu(self._menu)
            self._tray.activated.connect(self._tray_activated)
            self._tray.messageClicked.connect(self.show_window)
        self._tray.setToolTip(self._window.windowTitle())
        return self._tray

    def _tray_activated(self, reason: QSystemTrayIcon.ActivationReason) -> None:
        if reason == QSystemTrayIcon.ActivationReason.Trigger:
            self.show_window()

    def _write_title(self) -> None:
        title = " – ".join(filter(None, (self._news, self._progress, program.NAME)))
        self._window.setWindowTitle(title)
        if self._tray is not None:
            self._tray.setToolTip(title)
