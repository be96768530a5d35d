"""What the window remembers between starts: geometry, layout, theme, the last folders."""

from __future__ import annotations

from PySide6.QtCore import QByteArray, QPoint, QRect, QSettings
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QMainWindow

from cartl_gui.theme import ThemeChoice

#: Raised whenever docks or toolbars change, so that an old layout is not forced onto a new window.
LAYOUT_VERSION = 1


class WindowSettings:
    """A thin face over QSettings."""

    def __init__(self, store: QSettings | None = None) -> None:
        self._store = store if store is not None else QSettings("cartl-workbench", "cartl-gui")

    @property
    def theme(self) -> ThemeChoice:
        """The chosen theme."""
        value = self._store.value("theme", "system")
        return value if value in ("light", "dark") else "system"  # type: ignore[return-value]

    @theme.setter
    def theme(self, choice: ThemeChoice) -> None:
        self._store.setValue("theme", choice)

    @property
    def folder(self) -> str:
        """The folder of the last file dialog."""
        return str(self._store.value("folder", ""))

    @folder.setter
    def folder(self, path: str) -> None:
        self._store.setValue("folder", path)

    def save_layout(self, window: QMainWindow) -> None:
        """Remember size, place, docks and toolbars."""
        self._store.setValue("geometry", window.saveGeometry())
        self._store.setValue("layout", window.saveState(LAYOUT_VERSION))
        self._store.sync()

    def restore_geometry(self, window: QMainWindow) -> bool:
        """Give a window its size and place; False if none is remembered."""
        geometry = self._store.value("geometry")
        if not isinstance(geometry, QByteArray) or not window.restoreGeometry(geometry):
            return False
        bring_onto_screen(window)
        return True

    def restore_state(self, window: QMainWindow) -> bool:
        """Put docks and toolbars where they were; False if nothing of this version is remembered."""
        layout = self._store.value("layout")
        return isinstance(layout, QByteArray) and window.restoreState(layout, LAYOUT_VERSION)

    def forget_layout(self) -> None:
        """Forget size, place, docks and toolbars."""
        self._store.remove("geometry")
        self._store.remove("layout")


def bring_onto_screen(window: QMainWindow) -> None:
    """Move a window back if less than a usable part of it lies on any screen."""
    frame = window.geometry()
    for screen in QGuiApplication.screens():
        seen = screen.availableGeometry().intersected(frame)
        if seen.width() >= 200 and seen.height() >= 100:
            return
    area = QGuiApplication.primaryScreen().availableGeometry()
    size = frame.size().boundedTo(area.size())
    corner = area.center() - QPoint(size.width() // 2, size.height() // 2)
    window.setGeometry(QRect(corner, size))
