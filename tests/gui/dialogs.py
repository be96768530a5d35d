"""Every dialog of the program, found in its modules and opened as a user opens it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QDialog, QWidget

import cartl_gui.dialogs
from cartl_gui.main_window import MainWindow
from tests.gui.gui_helpers import press

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
    failures: list[Exception] = []

    def now() -> None:
        widgets = (widget for widget in QApplication.allWidgets() if isinstance(widget, kind))
        dialog = next(widget for widget in widgets if widget.isVisible())
        try:
            look(dialog)
        except Exception as error:
            failures.append(error)
        finally:
            dialog.close()

    QTimer.singleShot(0, window, now)
    command = OPENED_BY[kind.__name__]
    if command:
        press(window, command)
    else:
        window.complain("The disk is full.", "Free some space, then resume the run.")
    QApplication.processEvents()
    if failures:
        raise failures[0]
