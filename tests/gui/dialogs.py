"""Every dialog of the program, found in its modules and opened as a user opens it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import time
from collections.abc import Callable, Iterator

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QDialog, QWidget

import cartl_gui.dialogs
from cartl_gui.main_window import MainWindow
from tests.gui.gui_helpers import drain, press

#: Within these seconds a dialog opens.
SECONDS = 10.0
#: The command that opens a dialog; only what opens when something fails has none.
OPENED_BY = {
    "AboutDialog": "about",
    "DocumentationDialog": "documentation",
    "ExportDialog": "export",
    "ImportDialog": "import",
    "Palette": "palette",
    "PreferencesDialog": "preferences",
    "ProblemDialog": "",
    "ShortcutsDialog": "shortcuts",
    "Tour": "tour",
}


def dialog_classes() -> Iterator[type[QWidget]]:
    """Every dialog, and what lies over a window like one."""
    names = [module.name for module in pkgutil.iter_modules(cartl_gui.dialogs.__path__, "cartl_gui.dialogs.")]
    for name in (*names, "cartl_gui.tour"):
        for _, kind in inspect.getmembers(importlib.import_module(name), inspect.isclass):
            if kind.__module__ == name and issubclass(kind, QWidget) and _stands_above(kind):
                yield kind


def _stands_above(kind: type[QWidget]) -> bool:
    return issubclass(kind, QDialog) or "window" in inspect.signature(kind).parameters


def look_at(kind: type[QWidget], window: MainWindow, look: Callable[[QWidget], None]) -> None:
    """Open a dialog, look at it and close it; `look` is called while it waits for an answer."""
    ended: list[Exception | None] = []
    until = time.monotonic() + SECONDS

    def now() -> None:
        widgets = (widget for widget in QApplication.allWidgets() if isinstance(widget, kind))
        dialog = next((widget for widget in widgets if widget.isVisible()), None)
        if dialog is None and time.monotonic() < until:
            QTimer.singleShot(10, window, now)
            return
        try:
            assert dialog is not None, f"{kind.__name__} does not open"
            look(dialog)
            ended.append(None)
        except Exception as error:
            ended.append(error)
        finally:
            if dialog is not None:
                dialog.close()

    command = OPENED_BY[kind.__name__]
    drain(window)  # some commands make sense only once there is something to see
    assert not command or window.commands.actions[command].isEnabled(), f"{command} is not enabled"
    QTimer.singleShot(0, window, now)
    if command:
        press(window, command)
    else:
        window.complain("The disk is full.", "Free some space, then resume the run.")
    while not ended:
        QApplication.processEvents()
    if ended[0] is not None:
        raise ended[0]
