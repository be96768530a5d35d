"""What the commands do: one file per area, each command of `commands.py` in one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cartl_gui.actions.exports import ExportActions
from cartl_gui.actions.help import HelpActions
from cartl_gui.actions.layers import LayersActions
from cartl_gui.actions.runs import RunsActions
from cartl_gui.actions.settings import SettingsActions
from cartl_gui.actions.view import ViewActions

if TYPE_CHECKING:
    from cartl_gui.main_window import MainWindow


class Actions:
    """Carries out commands on behalf of a window."""

    def __init__(self, window: MainWindow) -> None:
        self.settings, self.runs = SettingsActions(window), RunsActions(window)
        self.layers, self.exports = LayersActions(window), ExportActions(window)
        self.view, self.help = ViewActions(window), HelpActions(window)
        self.table: dict[str, Callable[[], object]] = {}
        for area in (self.settings, self.runs, self.layers, self.exports, self.view, self.help):
            self.table |= area.table()

    def run(self, name: str) -> None:
        """Do what a command says."""
        self.table[name]()
