"""What the window remembers between starts: geometry, layout, preferences, own keys, the last folders and study."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from PySide6.QtCore import QByteArray, QPoint, QRect, QSettings
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QMainWindow

from cartl_gui.own_presets import config_folder
from cartl_gui.theme import SCALES, ThemeChoice
from cartl_gui.timeline import TIME_AXES, TimeAxis

#: Raised whenever docks or toolbars change, so that an old layout is not forced onto a new window.
LAYOUT_VERSION = 2


class WindowSettings:
    """A thin face over QSettings, kept in the folder for settings unless another store is given."""

    def __init__(self, store: QSettings | None = None) -> None:
        if store is None:
            store = QSettings(str(config_folder() / "cartl-gui.conf"), QSettings.Format.IniFormat)
        self._store = store

    @property
    def theme(self) -> ThemeChoice:
        """The chosen theme."""
        value = self._store.value("theme", "system")
        return value if value in ("light", "dark") else "system"

    @theme.setter
    def theme(self, choice: ThemeChoice) -> None:
        self._store.setValue("theme", choice)

    @property
    def time_axis(self) -> TimeAxis:
        """What plots over time run over."""
        value = self._store.value("time_axis", "epoch")
        return value if value in TIME_AXES else "epoch"

    @time_axis.setter
    def time_axis(self, axis: TimeAxis) -> None:
        self._store.setValue("time_axis", axis)

    @property
    def folder(self) -> str:
        """The folder of the last file dialog."""
        return str(self._store.value("folder", ""))

    @folder.setter
    def folder(self, path: str) -> None:
        self._store.setValue("folder", path)

    @property
    def scale(self) -> float:
        """How large the window is to be; one of `SCALES`."""
        value = _number(self._store.value("scale"), 1.0)
        return value if value in SCALES else 1.0

    @scale.setter
    def scale(self, value: float) -> None:
        self._store.setValue("scale", value)

    @property
    def notifies(self) -> bool:
        """Whether the end of runs is told while the window is not looked at."""
        return self._switch("notifies", usual=True)

    @notifies.setter
    def notifies(self, on: bool) -> None:
        self._store.setValue("notifies", on)

    @property
    def holds_after_failure(self) -> bool:
        """Whether the queue is held when a run fails, instead of going on."""
        return self._switch("holds_after_failure", usual=False)

    @holds_after_failure.setter
    def holds_after_failure(self, on: bool) -> None:
        self._store.setValue("holds_after_failure", on)

    @property
    def workspace(self) -> str:
        """The folder of runs that the window opens if none is named; empty for the program's own."""
        return str(self._store.value("workspace", ""))

    @workspace.setter
    def workspace(self, path: str) -> None:
        self._store.setValue("workspace", path)

    @property
    def has_seen_tour(self) -> bool:
        """Whether the tour was taken, or the program used before."""
        return self._switch("has_seen_tour", usual=False)

    @has_seen_tour.setter
    def has_seen_tour(self, on: bool) -> None:
        self._store.setValue("has_seen_tour", on)

    @property
    def own_keys(self) -> dict[str, str]:
        """The keys that the user chose, by command."""
        self._store.beginGroup("keys")
        keys = {name: str(self._store.value(name)) for name in self._store.childKeys()}
        self._store.endGroup()
        return keys

    @own_keys.setter
    def own_keys(self, keys: Mapping[str, str]) -> None:
        self._store.remove("keys")
        for name, text in keys.items():
            self._store.setValue(f"keys/{name}", text)

    @property
    def used_commands(self) -> list[str]:
        """The commands used last, the last one first."""
        return [name for name in str(self._store.value("used_commands", "")).split() if name]

    @used_commands.setter
    def used_commands(self, names: Sequence[str]) -> None:
        self._store.setValue("used_commands", " ".join(names))

    @property
    def run_list(self) -> bytes:
        """Columns, order and groups of the list of runs, as its panel gave them; empty if none are remembered."""
        kept = self._store.value("run_list")
        return bytes(kept.data()) if isinstance(kept, QByteArray) else b""

    @run_list.setter
    def run_list(self, state: bytes) -> None:
        self._store.setValue("run_list", QByteArray(state))

    @property
    def study(self) -> str:
        """The study that was in the form, as `KeptStudy` wrote it; empty if none is remembered."""
        return str(self._store.value("study", ""))

    @study.setter
    def study(self, text: str) -> None:
        self._store.setValue("study", text)

    @property
    def export_options(self) -> dict[str, object]:
        """The options with which each kind of export was last written, as plain values."""
        try:
            known = json.loads(str(self._store.value("export", "{}")))
        except ValueError:
            return {}
        return known if isinstance(known, dict) else {}

    @export_options.setter
    def export_options(self, options: Mapping[str, object]) -> None:
        self._store.setValue("export", json.dumps(options))

    def _switch(self, name: str, *, usual: bool) -> bool:
        return str(self._store.value(name, usual)).lower() == "true"

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
        self._store.remove("run_list")


def _number(value: object, otherwise: float) -> float:
    try:
        return float(str(value))
    except ValueError:
        return otherwise


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
