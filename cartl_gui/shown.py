"""What the pages show: one run, or one analysed network, drawn plot by plot while its data comes in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer, Signal

from engine.config import StageName
from engine.events import StageLayout
from engine.titles import distinct_titles

if TYPE_CHECKING:
    from cartl_gui.main_window import MainWindow
    from cartl_gui.plots.base import PlotPanel
    from cartl_gui.run_data import RunData
    from cartl_gui.timeline import TimeAxis

#: Milliseconds between two plots drawn; four of them and a pause make about eight pictures a second.
REDRAW_MS = 25
#: Beginning of the keys under which analysed networks are offered for comparison; no run's id begins so.
ANALYSED = "analysed:"


class Shown(QObject):
    """Keeps the pages of the window at the run that was chosen, and at the stage that runs."""

    #: Something else is shown, or everything that waited is drawn: commands may make sense that did not before.
    changed = Signal()

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self._window, self._bridge, self._session = window, window.bridge, window.session
        self._live, self._layers, self._examples = window.live, window.layers, window.examples
        #: The pages that draw the run that is shown.
        self.pages = (self._live, self._layers, self._examples)
        #: All pages that draw plot by plot.
        self.drawing = (*self.pages, window.compare)
        self._compared = ""
        self._dirty = True
        self._asked: set[str] = set()
        self._timer = QTimer(self)
        self._timer.setInterval(REDRAW_MS)
        self._timer.timeout.connect(self.redraw)
        window.tabs.currentChanged.connect(self.begin)
        self._bridge.stage_started.connect(self._stage_started)
        self._bridge.data_changed.connect(self.data_changed)
        self._bridge.run_opened.connect(self.data_changed)
        for page in self.pages:
            page.stage_chosen.connect(self._stage_chosen)
        #: The pages with plots over time.
        self._timed = (self._live, self._layers, window.compare)
        for timed in self._timed:
            timed.set_time_axis(window.settings.time_axis)
            timed.time_axis_chosen.connect(self._time_axis_chosen)
        for asking in (self._layers.live_asked, self._examples.live_asked):
            asking.connect(self._show_live)
        self._layers.back_asked.connect(self._show_selected)
        self._layers.comparison_asked.connect(self._compare)

    @property
    def data(self) -> RunData | None:
        """The run that is shown."""
        return self._live.data

    def show(self, run_id: str) -> None:
        """Show a run on every page, reading its files if they were not read yet."""
        data = self._bridge.data(run_id)
        if data is None:
            return
        if not data.from_files and data.info.state != "created" and run_id not in self._asked:
            self.read_files(run_id)
        self._live.show_run(data)
        self._layers.show_run(data)
        self._examples.show_run(data, self._live.stage)
        self._window.inspector.show_run(data)
        self.begin()
        self.offer_comparisons()
        self.changed.emit()

    def show_inspection(self, data: RunData) -> None:
        """Show a network that was analysed on demand."""
        self._layers.show_run(data)
        self._examples.show_run(data, self._layers.stage)
        self.offer_comparisons()
        self._window.tabs.setCurrentWidget(self._layers)

    def to_front(self) -> None:
        """Show the live plots, unless another page of the shown run is open already."""
        if self._window.tabs.currentWidget() not in self.pages:
            self._window.tabs.setCurrentWidget(self._live)

    def read_files(self, run_id: str) -> None:
        """Read a shown run's files, perhaps once more: it may have weights now."""
        self._asked.add(run_id)
        if not self._window.closer.begun:
            self._session.open_run(run_id)

    def plot(self) -> PlotPanel | None:
        """The plot to export: that of the results, or one of the page that is open."""
        page = self._window.tabs.currentWidget()
        if page is self._window.results:
            return None if self._window.results.plot.is_empty() else self._window.results.plot
        return next((plots.current_panel() for plots in self.drawing if plots is page), None)

    def offer_comparisons(self) -> None:
        """Tell the layers page what there is to compare with: other runs, and networks that were analysed."""
        shown = self._layers.data
        analysed = [
            (f"{ANALYSED}{key}", data.info.title)
            for key, data in self._bridge.inspections.items()
            if data is not shown
        ]
        infos = [info for info in self._bridge.runs.values() if info.state != "created"]
        runs = [
            (run_id, title)
            for run_id, title in distinct_titles(infos).items()
            if shown is None or shown.is_inspection or run_id != shown.info.id
        ]
        self._layers.set_comparisons([*analysed, *runs])

    # drawing --------------------------------------------------------------------------------------------
    def begin(self) -> None:
        """Draw the page that is open anew, one plot after the other."""
        self._dirty = True
        if not self._window.closer.begun:
            self._timer.start()

    def stop(self) -> None:
        """Draw nothing any more."""
        self._timer.stop()

    def redraw(self) -> None:
        """Draw one plot that changed and is visible; rest when nothing runs."""
        page = self._window.tabs.currentWidget()
        plots = next((plotting for plotting in self.drawing if plotting is page), None)
        if plots is not None and plots.draw_next():
            if plots.all_drawn():
                self.changed.emit()
            return
        if self._dirty and plots is not None and plots.isVisible():
            self._dirty = False
            plots.begin_refresh()
            if self._window.inspector.isVisible():
                self._window.inspector.show_run(self.data)
        elif self._bridge.running() is None:
            self._timer.stop()

    def data_changed(self, run_id: str) -> None:
        """Draw anew what shows this run."""
        if run_id == self._compared and self._layers.other is not self._bridge.data(run_id):
            self._compare(run_id)
        shown = {page.data.info.id for page in self.pages if page.data is not None}
        if run_id in shown or run_id == self._compared:
            self._dirty = True
            if not self._timer.isActive():
                self._timer.start()

    # following ------------------------------------------------------------------------------------------
    def _stage_started(self, run_id: str, layout: StageLayout) -> None:
        shown = self.data
        over = shown is None or shown.info.state in ("created", "finished", "stopped", "failed")
        if over and (shown is None or shown.info.id != run_id) and self._follows(run_id):
            self._window.runs.select(run_id)
            self.show(run_id)
        if self.data is not None and self.data.info.id == run_id:
            self._live.follow()
            self._layers.follow()
            if self._examples.data is self.data:
                self._examples.show_run(self.data, self._live.stage)
            if self.data.stages() != (layout.stage,):
                self.read_files(run_id)
        self.data_changed(run_id)

    def _follows(self, run_id: str) -> bool:
        """Whether the plots go on to this run: the one shown belongs to the same study."""
        shown, info = self.data, self._bridge.runs.get(run_id)
        return shown is None or info is None or shown.info.study == info.study

    def _stage_chosen(self, stage: StageName) -> None:
        """Let all pages show a stage that was chosen on one of them."""
        for page in (self._live, self._layers):
            if page is not self.sender():
                page.show_stage(stage)
        self._examples.show_run(self._examples.data, stage)
        self.begin()
        self.changed.emit()

    def _time_axis_chosen(self, axis: TimeAxis) -> None:
        """Let the plots of all pages run over what was chosen on one of them."""
        self._window.settings.time_axis = axis
        for page in self._timed:
            page.set_time_axis(axis)

    def _show_selected(self) -> None:
        """Show the selected run again instead of what was analysed."""
        if self.data is not None:
            self.show(self.data.info.id)

    def _show_live(self) -> None:
        self._window.tabs.setCurrentWidget(self._live)

    def _compare(self, key: str) -> None:
        """Show a run or an analysed network beside the one on the layers page; "" ends that."""
        self._compared = key
        if key.startswith(ANALYSED):
            self._layers.compare_with(self._bridge.inspections.get(key.removeprefix(ANALYSED)))
            return
        data = self._bridge.data(key) if key else None
        if data is not None and not data.from_files and key not in self._asked:
            self.read_files(key)
        self._layers.compare_with(data)
