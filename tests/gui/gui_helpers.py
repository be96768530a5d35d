"""Small steps that many tests of the window take."""

from __future__ import annotations

import time
from pathlib import Path

from PySide6.QtCore import QEventLoop, QTimer
from PySide6.QtWidgets import QAbstractButton, QApplication, QDialog
from pytestqt.qtbot import QtBot

from cartl_gui.dialogs.export_dialog import ExportDialog
from cartl_gui.forms.config_form import ConfigForm
from cartl_gui.forms.fields import FieldRow
from cartl_gui.main_window import MainWindow
from cartl_gui.run_data import RunData
from engine.events import RunInfo, RunRecord


def close(window: MainWindow, *, seconds: float = 5.0) -> None:
    """Close a window for good, whatever runs."""
    window.closer.may_close = lambda _running, _queued: True  # type: ignore[method-assign]
    window.close()
    until = time.monotonic() + seconds
    while window.isVisible() and time.monotonic() < until:
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 20)
        time.sleep(0.001)  # unlike Qt's own waiting this lets the thread that saves run
    assert not window.isVisible(), f"the window did not close within {seconds:g} s"
    window.deleteLater()


def end(_qtbot: QtBot, window: MainWindow) -> None:
    """As `close`."""
    close(window)


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


def save(window: MainWindow, folder: Path, name: str) -> ExportDialog:
    """Write what the export dialog offers under this name, and return the dialog, still open."""
    dialog = window.do.exports.dialog
    assert dialog is not None
    dialog.folder.setText(str(folder))
    dialog.name.setText(name)
    dialog.save_button.click()
    return dialog


def answer(text: str) -> None:
    """Press a button of the dialog that is about to open."""

    def choose() -> None:
        box = QApplication.activeModalWidget()
        assert isinstance(box, QDialog)
        buttons = box.findChildren(QAbstractButton)
        next(button for button in buttons if text in button.text().replace("&", "")).click()

    QTimer.singleShot(0, choose)
