"""Commands about the window itself: pages, panels, theme and scale, layout, workspace."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from PySide6.QtCore import QProcess, Qt, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QFileDialog

from cartl_gui.actions.area import Area
from cartl_gui.dialogs.preferences import PreferencesDialog
from cartl_gui.theme import SCALES, ThemeChoice, scale

_THEMES: tuple[ThemeChoice, ...] = ("system", "light", "dark")


class ViewActions(Area):
    """Show pages and panels, arrange the window, open folders of runs."""

    def table(self) -> dict[str, Callable[[], object]]:
        """What each command does, by its id."""
        window = self._window
        pages = {f"page_{key}": partial(self.go_to_page, key) for key in window.pages}
        panels = {f"panel_{key}": partial(self.show_panel, key) for key in window.layout_of_docks.docks}
        themes = {f"theme_{choice}": partial(self.set_theme, choice) for choice in _THEMES}
        return pages | panels | themes | {
            "workspace": self.open_workspace,
            "other_workspace": self.open_other_workspace,
            "preferences": self.show_preferences,
            "quit": window.close,
            "filter": self.go_to_filter,
            "next_pane": partial(self.go_to_pane, 1),
            "previous_pane": partial(self.go_to_pane, -1),
            "plots_only": self.plots_only,
            "larger": partial(self.change_scale, 1),
            "smaller": partial(self.change_scale, -1),
            "reset_layout": self.reset_layout,
        }  # fmt: skip

    def go_to_page(self, key: str) -> None:
        """Show a page of the window."""
        self._window.tabs.setCurrentWidget(self._window.pages[key])
        # Tab goes on into the page from here, the arrow keys to the pages beside it.
        self._window.tabs.tabBar().setFocus(Qt.FocusReason.ShortcutFocusReason)

    def show_panel(self, key: str) -> None:
        """Show a panel or hide it, as its command is checked now."""
        dock = self._window.layout_of_docks.docks[key]
        dock.setVisible(self._window.commands.actions[f"panel_{key}"].isChecked())

    def open_workspace(self) -> None:
        """Show the folder of runs in the file manager."""
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._window.session.workspace)))

    def open_other_workspace(self) -> None:
        """Ask for a folder of runs and open it in a window of its own."""
        window = self._window
        path = QFileDialog.getExistingDirectory(
            window, "Open another workspace", str(window.session.workspace)
        )
        if not path:
            return
        started, _number = QProcess.startDetached(sys.executable, ["-m", "cartl_gui", "--workspace", path])
        if not started:
            window.complain("The workspace could not be opened.", f"Try: cartl-gui --workspace “{path}”")

    def show_preferences(self) -> None:
        """Change preferences."""
        window = self._window
        dialog = PreferencesDialog(window.settings, window.themes, str(window.session.workspace), window)
        dialog.other_workspace_asked.connect(self.open_other_workspace)
        dialog.look_changed.connect(window.show_look)
        dialog.exec()
        dialog.deleteLater()

    def set_theme(self, choice: ThemeChoice) -> None:
        """Put on a theme."""
        self._window.settings.theme = choice
        self._window.themes.apply(choice)
        self._window.show_look()

    def change_scale(self, by: int) -> None:
        """Show everything one step larger or smaller."""
        window = self._window
        place = min(max(SCALES.index(scale()) + by, 0), len(SCALES) - 1)
        window.settings.scale = SCALES[place]
        window.themes.set_scale(SCALES[place])
        window.show_look()
        window.status.say(f"Scale {100 * SCALES[place]:.0f} %")

    def go_to_filter(self) -> None:
        """Put the cursor into the filter of the run list."""
        self._window.layout_of_docks.docks["runs"].show()
        self._window.runs.filter.setFocus()
        self._window.runs.filter.selectAll()

    def go_to_pane(self, by: int) -> None:
        """Put the keyboard into the next part of the window, or the one before."""
        window = self._window
        window.layout_of_docks.go_to_pane([window.toolbar, window.tabs], by)

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
