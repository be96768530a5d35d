"""Small steps that many tests of the window take."""

from __future__ import annotations

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QMessageBox
from pytestqt.qtbot import QtBot

from cartl_gui.forms.config_form import ConfigForm
from cartl_gui.forms.fields import FieldRow
from cartl_gui.main_window import MainWindow
from cartl_gui.run_data import RunData
from engine.events import RunInfo, RunRecord


def end(qtbot: QtBot, window: MainWindow) -> None:
    """Close a window for good, whatever runs."""
    window.closer.may_close = lambda _running, _queued: True  # type: ignore[method-assign]
    window.close()
    qtbot.waitUntil(lambda: not window.isVisible(), timeout=5000)
    window.deleteLater()


def drain(window: MainWindow) -> None:
    """Let the window take in and draw everything that is waiting."""
    while not window.session.events.empty():
        window.bridge.drain()
    for _ in range(8):
        window.shown.redraw()
    QApplication.processEvents()


def data_of(info: RunInfo, record: RunRecord | None = None) -> RunData:
    """The data of an earlier run, as the plots take it."""
    data = RunData(info)
    if record is not None:
        data.absorb(record)
    return data


def row(form: ConfigForm, place: str) -> FieldRow:
    """The row of a setting by its dotted name."""
    return next(row for row in form.all_rows() if row.place == place)


def press(window: MainWindow, command: str) -> None:
    """Choose a command as a menu would."""
    window.commands.actions[command].trigger()


def answer(text: str) -> None:
    """Press a button of the message box that is about to open."""

    def choose() -> None:
        box = QApplication.activeModalWidget()
        assert isinstance(box, QMessageBox)
        next(button for button in box.buttons() if text in button.text().replace("&", "")).click()

    QTimer.singleShot(0, choose)
