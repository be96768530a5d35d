"""Commands about the window itself: pages, layout, help."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QApplication

from cartl_gui.actions.area import Area
from cartl_gui.dialogs.shortcuts import AboutDialog, ShortcutsDialog


class ViewActions(Area):
    """Show pages, arrange the window, help."""

    def table(self) -> dict[str, Callable[[], object]]:
        """What each command does, by its id."""
        pages = {f"page_{key}": partial(self.go_to_page, key) for key in self._window.pages}
        return pages | {
            "workspace": self.open_workspace,
            "quit": self._window.close,
            "filter": self.go_to_filter,
            "plots_only": self.plots_only,
            "reset_layout": self.reset_layout,
            "shortcuts": self.show_shortcuts,
            "about": self.show_about,
        }

    def go_to_page(self, key: str) -> None:
        """Show a page of the window."""
        self._window.tabs.setCurrentWidget(self._window.pages[key])

    def open_workspace(self) -> None:
        """Show the folder of runs in the file manager."""
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._window.session.workspace)))

    def go_to_filter(self) -> None:
        """Put the cursor into the filter of the run list."""
        self._window.layout_of_docks.docks["runs"].show()
        self._window.runs.filter.setFocus()
        self._window.runs.filter.selectAll()

    def plots_only(self) -> None:
        """Hide everything but the plots, or show it again."""
        window = self._window
        if window.commands.actions["plots_only"].isChecked():
            window.shown.to_front()
            window.layout_of_docks.plots_only([window.toolbar, window.tabs.tabBar(), window.statusBar()])
        else:
            window.layout_of_docks.leave_plots_only()

    def reset_layout(self) -> None:
        """Put every part of the window back to its place."""
        self._window.settings.forget_layout()
        self._window.commands.actions["plots_only"].setChecked(False)
        self._window.layout_of_docks.reset()

    def show_shortcuts(self) -> None:
        """List every command with its shortcut."""
        dialog = ShortcutsDialog(self._window)
        dialog.exec()
        dialog.deleteLater()

    def show_about(self) -> None:
        """Say version, sources and licences."""
        dialog = AboutDialog(QApplication.applicationVersion(), self._window)
        dialog.exec()
        dialog.deleteLater()
