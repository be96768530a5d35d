"""What the page that lays runs over each other asks of list and engine, and what it hears from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject

if TYPE_CHECKING:
    from cartl_gui.main_window import MainWindow


class Comparing(QObject):
    """Keeps the page at the runs that are ticked in the list, and at what they have measured."""

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self._window, self._bridge = window, window.bridge
        self._page, self._runs = window.compare, window.runs
        self._runs.shown_changed.connect(self._page.choose)
        self._page.choice_changed.connect(self._chosen)
        self._page.run_needed.connect(self._fetch)
        self._page.redraw_asked.connect(window.shown.begin)
        self._page.demo_asked.connect(window.start_demo)
        self._page.export_requested.connect(window.do.exports.export_plot)
        self._bridge.run_opened.connect(self._opened)
        self._bridge.data_changed.connect(self._data_changed)

    def know_runs(self) -> None:
        """Tell the page which runs there are; those of the shown run's study, else of the newest, are offered."""
        shown, runs = self._window.shown.data, self._bridge.runs
        newest = max(runs.values(), key=lambda info: info.created, default=None)
        of = shown.info if shown is not None else newest
        self._page.know_runs(runs, of.study if of is not None else "")

    def _chosen(self, run_ids: list[str]) -> None:
        """Tick in the list what was chosen on the page."""
        self._runs.set_shown(set(self._runs.shown_ids()) - set(run_ids), on=False)
        self._runs.set_shown(run_ids, on=True)

    def _fetch(self, run_id: str) -> None:
        """Give the page what is known of a run, and read its files if that is not all."""
        data = self._bridge.data(run_id)
        if data is None:
            return
        if data.from_files or data.info.state in ("created", "running"):
            self._page.add_data(data)
        if not data.from_files and data.info.state != "created" and not self._window.closer.begun:
            self._window.session.open_run(run_id)

    def _opened(self, run_id: str) -> None:
        data = self._bridge.data(run_id)
        if data is not None and run_id in self._page.runs_drawn():
            self._page.add_data(data)
            self._window.shown.begin()

    def _data_changed(self, run_id: str) -> None:
        if self._page.isVisible() and run_id in self._page.runs_drawn():
            self._window.shown.begin()
