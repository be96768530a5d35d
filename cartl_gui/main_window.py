"""The main window: pages in the middle, docks around them, and what every command does."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path

from PySide6.QtCore import QEvent, QSize, Qt, QTimer, QUrl
from PySide6.QtGui import (
    QAction,
    QActionGroup,
    QCloseEvent,
    QDesktopServices,
    QDragEnterEvent,
    QDropEvent,
    QGuiApplication,
)
from PySide6.QtWidgets import (
    QApplication,
    QDockWidget,
    QFileDialog,
    QMainWindow,
    QMenu,
    QMessageBox,
    QTabWidget,
    QToolBar,
    QWidget,
)

from cartl_gui import theme, words
from cartl_gui.bridge import EngineBridge
from cartl_gui.commands import CommandSet, Situation
from cartl_gui.dialogs.export_dialog import ExportDialog
from cartl_gui.dialogs.shortcuts import AboutDialog, ShortcutsDialog
from cartl_gui.forms.setup_panel import SetupPanel
from cartl_gui.pages.inspector import InspectorPanel
from cartl_gui.pages.live import LivePage
from cartl_gui.pages.log import LogPage
from cartl_gui.pages.results import ResultsPage
from cartl_gui.pages.runs_panel import RunsPanel
from cartl_gui.pages.status import StatusLine
from cartl_gui.pages.welcome import WelcomePage, toml_in
from cartl_gui.plots.base import PlotPanel
from cartl_gui.settings import WindowSettings
from cartl_gui.theme import Theme, ThemeChoice
from engine.api import Session
from engine.config import StudyConfig, dump_study, load_study
from engine.errors import CartlError, ConfigError
from engine.events import (
    RESUMABLE,
    CheckpointSaved,
    DeviceReport,
    LogAdded,
    RequestFailed,
    RunInfo,
    RunsListed,
    StageLayout,
)

TITLE = "CARTL Workbench"
#: Milliseconds between two redraws of what changed.
REDRAW_MS = 100
#: Width in pixels from which the inspector is there by default.
WIDE = 1500
DEMO = "demo"


class MainWindow(QMainWindow):
    """Everything a user sees. It decides nothing about runs; it asks the session and shows what it answers."""

    def __init__(
        self, session: Session, presets: Mapping[str, StudyConfig], settings: WindowSettings, themes: Theme
    ) -> None:
        super().__init__()
        self.session, self.presets, self.settings, self.themes = session, presets, settings, themes
        self.setObjectName("main")
        self.setAcceptDrops(True)
        self.bridge = EngineBridge(session, self)
        self.commands = CommandSet(self.run_command, self)
        self._read_only = ""
        self._paused = False
        self._closing: threading.Thread | None = None
        self._closed = False
        self._dirty = True
        self._asked: set[str] = set()
        self._demo_waits = False
        self._build_pages()
        self._build_docks()
        self._build_bars()
        self._connect()
        self._redraw_timer = QTimer(self)
        self._redraw_timer.setInterval(REDRAW_MS)
        self._redraw_timer.timeout.connect(self._redraw)
        self._close_timer = QTimer(self)
        self._close_timer.setInterval(50)
        self._close_timer.timeout.connect(self._look_after_closing)
        self.setWindowTitle(TITLE)
        self.setWindowIcon(theme.icon("app"))
        if not settings.restore_layout(self):
            self._first_layout()
        self._update_commands()

    # building -------------------------------------------------------------------------------------------
    def _build_pages(self) -> None:
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.setAccessibleName("Pages")
        self.tabs.setIconSize(QSize(16, 16))
        self.welcome = WelcomePage(self.presets.get(DEMO))
        self.live, self.results, self.log = LivePage(), ResultsPage(), LogPage()
        self._pages: tuple[tuple[QWidget, str, str], ...] = (
            (self.welcome, "Welcome", "home"),
            (self.live, "Live", "live"),
            (self.results, "Results", "results"),
            (self.log, "Log", "text"),
        )
        for page, title, picture in self._pages:
            self.tabs.addTab(page, theme.icon(picture), title)
        self.tabs.currentChanged.connect(self._page_changed)
        self.setCentralWidget(self.tabs)

    def _build_docks(self) -> None:
        self.setup, self.runs, self.inspector = SetupPanel(self.presets), RunsPanel(), InspectorPanel()
        self.setDockOptions(QMainWindow.DockOption.AnimatedDocks | QMainWindow.DockOption.AllowTabbedDocks)
        area = Qt.DockWidgetArea
        self.docks: dict[str, QDockWidget] = {}
        for name, title, widget, place in (
            ("setup", "Set-up", self.setup, area.LeftDockWidgetArea),
            ("runs", "Runs and queue", self.runs, area.BottomDockWidgetArea),
            ("inspector", "Selected run", self.inspector, area.RightDockWidgetArea),
        ):
            dock = self.docks[name] = QDockWidget(title, self)
            dock.setObjectName(name)
            dock.setWidget(widget)
            self.addDockWidget(place, dock)
        self.setCorner(Qt.Corner.BottomLeftCorner, area.LeftDockWidgetArea)
        self.setCorner(Qt.Corner.BottomRightCorner, area.RightDockWidgetArea)

    def _build_bars(self) -> None:
        menus = self.commands.fill_menus(self.menuBar())
        view = menus["View"]
        before = self.commands.actions["filter"]
        for dock in self.docks.values():
            view.insertAction(before, dock.toggleViewAction())
        self._theme_menu = QMenu("&Theme", self)
        self._theme_group = QActionGroup(self)
        for choice, text in (("system", "As the &desktop"), ("light", "&Light"), ("dark", "D&ark")):
            action = QAction(text, self)
            action.setCheckable(True)
            action.setData(choice)
            action.setChecked(choice == self.themes.choice)
            self._theme_group.addAction(action)
            self._theme_menu.addAction(action)
        self._theme_group.triggered.connect(self._theme_chosen)
        view.insertMenu(self.commands.actions["plots_only"], self._theme_menu)
        self.toolbar = QToolBar("Toolbar", self)
        self.toolbar.setObjectName("toolbar")
        self.toolbar.setMovable(False)
        self.toolbar.setIconSize(QSize(18, 18))
        self.toolbar.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.commands.fill_toolbar(self.toolbar)
        for name in ("run", "pause", "resume", "stop", "export_plot"):
            button = self.toolbar.widgetForAction(self.commands.actions[name])
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            button.setAccessibleName(self.commands.actions[name].iconText().rstrip("…"))
        self.addToolBar(self.toolbar)
        self.status = StatusLine(str(self.session.workspace), self)
        self.setStatusBar(self.status)
        actions = self.commands.actions
        self.runs.set_menu_actions(
            [
                actions["show_run"], actions["resume"], actions["stop"], None,
                actions["use_settings"], actions["copy_command"], None,
                actions["export_weights"], actions["export_tables"], actions["open_folder"],
            ]
        )  # fmt: skip

    def _connect(self) -> None:
        bridge = self.bridge
        bridge.engine_ready.connect(self._engine_ready)
        bridge.runs_listed.connect(self._runs_listed)
        bridge.run_changed.connect(self._run_changed)
        bridge.stage_started.connect(self._stage_started)
        bridge.data_changed.connect(self._data_changed)
        bridge.checkpoint_saved.connect(self._checkpoint_saved)
        bridge.log_added.connect(self.log.add)
        bridge.downloading.connect(self.status.show_download)
        bridge.run_opened.connect(self._data_changed)
        bridge.exported.connect(self._exported)
        bridge.request_failed.connect(self._request_failed)
        bridge.queue_empty.connect(self._queue_empty)
        for page in (self.welcome, self.live, self.results):
            page.demo_asked.connect(self.start_demo)
        self.welcome.new_asked.connect(self._new)
        self.welcome.open_asked.connect(self._open)
        self.welcome.file_dropped.connect(self.open_file)
        self.welcome.run_chosen.connect(self.show_run)
        self.results.run_chosen.connect(self.show_run)
        self.results.said.connect(self._say)
        self.live.export_requested.connect(self.export_plot)
        self.runs.run_selected.connect(self._run_selected)
        self.runs.run_opened.connect(self.show_run)
        self.setup.submitted.connect(self.submit)
        self.setup.open_asked.connect(self._open)
        self.setup.save_asked.connect(self._save)
        self.setup.changed.connect(self._update_commands)
        self.inspector.export_asked.connect(self._export_weights)
        self.log.unread_changed.connect(self._mark_log)

    def _first_layout(self) -> None:
        area = QGuiApplication.primaryScreen().availableGeometry()
        size = QSize(min(1720, area.width() * 19 // 20), min(1040, area.height() * 19 // 20))
        self.resize(size.expandedTo(QSize(960, 620)))
        for dock in self.docks.values():
            dock.hide()

    def _show_docks(self) -> None:
        """Leave the calm first page: show set-up and runs, and the inspector where there is room."""
        if any(dock.isVisible() for dock in self.docks.values()):
            return
        self._arrange_docks()

    def _arrange_docks(self) -> None:
        for name, dock in self.docks.items():
            dock.setFloating(False)
            dock.setVisible(name != "inspector" or self.width() >= WIDE)
        self.resizeDocks(
            [self.docks["setup"], self.docks["inspector"]], [400, 270], Qt.Orientation.Horizontal
        )
        self.resizeDocks([self.docks["runs"]], [max(190, self.height() // 4)], Qt.Orientation.Vertical)

    # starting and ending --------------------------------------------------------------------------------
    def start(self) -> None:
        """Open the workspace; called once the window is on the screen."""
        self.bridge.start()
        try:
            self.session.open()
        except CartlError as error:
            self.log.add(LogAdded(None, time.time(), "error", str(error)))
            QMessageBox.critical(self, TITLE, str(error))

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802
        """Ask while something runs; end only after the engine's threads have ended."""
        if self._closed:
            event.accept()
            return
        event.ignore()
        if self._closing is not None:
            return
        running = self.bridge.running()
        if running is not None and not self._may_close(running):
            return
        self.settings.save_layout(self)
        self.status.say("Saving and closing…")
        self.setEnabled(False)
        self._closing = threading.Thread(target=self._close_session, name="closing")
        self._closing.start()
        self._close_timer.start()

    def _may_close(self, running: RunInfo) -> bool:
        box = QMessageBox(QMessageBox.Icon.Question, TITLE, f"“{running.name}” is running.", parent=self)
        queued = sum(info.state == "created" for info in self.bridge.runs.values())
        rest = f" {words.count(queued, 'queued run')} will wait." if queued else ""
        box.setInformativeText(
            f"It is {100 * running.progress:.0f} % done. Paused, it goes on exactly where it stopped "
            f"at the next start.{rest}"
        )
        save = box.addButton("Pause, save and quit", QMessageBox.ButtonRole.AcceptRole)
        box.addButton(QMessageBox.StandardButton.Cancel)
        box.setDefaultButton(save)
        box.exec()
        return box.clickedButton() is save

    def _close_session(self) -> None:
        while not self.session.close(10.0):
            time.sleep(0.1)

    def _look_after_closing(self) -> None:
        if self._closing is None or self._closing.is_alive():
            return
        self._closing.join()
        self._close_timer.stop()
        self._redraw_timer.stop()
        self.bridge.drain()
        self.bridge.stop()
        self._closed = True
        self.close()

    # what commands do -----------------------------------------------------------------------------------
    def run_command(self, name: str) -> None:
        """Do what a command says."""
        pages = {"page_welcome": 0, "page_live": 1, "page_results": 2, "page_log": 3}
        if name in pages:
            self.tabs.setCurrentIndex(pages[name])
            return
        {
            "new": self._new, "demo": self.start_demo, "open": self._open, "save": self._save,
            "export_plot": self._export_current, "workspace": self._open_workspace, "quit": self.close,
            "run": self.setup.submit, "pause": self.session.pause, "resume": self._resume, "stop": self._stop,
            "stop_all": self._stop_all, "show_run": self._show_selected, "use_settings": self._use_settings,
            "copy_command": self._copy_command, "export_weights": self._export_latest_weights,
            "export_tables": self._export_tables, "open_folder": self._open_folder,
            "filter": self._go_to_filter, "plots_only": self._plots_only, "reset_layout": self._reset_layout,
            "shortcuts": self._show_shortcuts, "about": self._show_about,
        }[name]()  # fmt: skip

    def start_demo(self) -> None:
        """Queue the built-in demo and show its plots."""
        if DEMO in self.presets:
            self.setup.set_preset(DEMO)
            self.submit(self.presets[DEMO])

    def submit(self, study: StudyConfig) -> None:
        """Queue a study and show its first run."""
        try:
            infos = self.session.submit(study)
        except CartlError as error:
            self._complain("The study could not be queued.", str(error))
            return
        self._show_docks()
        self.bridge.drain()
        self._say(f"Queued {words.count(len(infos), 'run')}")
        if infos and self.bridge.running() is None:
            self.show_run(infos[0].id)

    def show_run(self, run_id: str) -> None:
        """Show a run in the plots, reading its files if it is not in memory."""
        self._show_docks()
        self.runs.select(run_id)
        self._show_data(run_id)
        self.tabs.setCurrentWidget(self.live)

    def open_file(self, path: str) -> None:
        """Propose the settings of a TOML file in the form."""
        try:
            study = load_study(Path(path))
        except ConfigError as error:
            self._complain("The settings file could not be read.", str(error))
            return
        self.settings.folder = str(Path(path).parent)
        self._edit(study)
        self._say(f"Opened {path}")

    def export_plot(self, panel: object) -> None:
        """Ask how to export a plot, and write it."""
        if not isinstance(panel, PlotPanel) or panel.is_empty():
            return
        dialog = ExportDialog(panel, self, folder=self.settings.folder)
        dialog.exec()
        if dialog.written is not None:
            self.settings.folder = str(dialog.written.parent)
            self._say(f"Wrote {dialog.written}")
        dialog.deleteLater()

    def _edit(self, study: StudyConfig) -> None:
        self._show_docks()
        self.docks["setup"].show()
        self.setup.set_study(study)
        if self.tabs.currentWidget() is self.welcome:
            self.tabs.setCurrentWidget(self.live)
        self.setup.form.rows["name"].editor.setFocus()

    def _new(self) -> None:
        self.setup.preset.setCurrentIndex(0)
        self.setup.new_experiment()
        study = self.setup.study()
        if study is not None:
            self._edit(study)

    def _open(self) -> None:
        path, _kind = QFileDialog.getOpenFileName(
            self, "Open settings", self.settings.folder, "Settings (*.toml)"
        )
        if path:
            self.open_file(path)

    def _save(self) -> None:
        study = self.setup.study()
        if study is None:
            return
        start = str(Path(self.settings.folder) / "study.toml")
        path, _kind = QFileDialog.getSaveFileName(self, "Save settings", start, "Settings (*.toml)")
        if not path:
            return
        try:
            Path(path).write_text(dump_study(study), encoding="utf-8")
        except OSError as error:
            self._complain("The settings could not be saved.", f"{path}: {error.strerror}")
            return
        self.settings.folder = str(Path(path).parent)
        self._say(f"Wrote {path}")

    def _resume(self) -> None:
        info = self._selected_info()
        if info is not None and info.state in RESUMABLE:
            self.session.resume(info.id)
        else:
            self.session.resume()
        self._paused = False
        self._update_commands()

    def _stop(self) -> None:
        info = self._selected_info()
        if info is not None and self._sure(
            f"Stop “{info.name}”?", "What it measured is kept, and it can be resumed."
        ):
            self.session.stop(info.id)

    def _stop_all(self) -> None:
        if self._sure(
            "Stop all runs?", "The running run stops and the queue is emptied. What was measured is kept."
        ):
            self.session.stop_all()

    def _show_selected(self) -> None:
        if run_id := self.runs.selected():
            self.show_run(run_id)

    def _use_settings(self) -> None:
        info = self._selected_info()
        if info is not None:
            self._edit(StudyConfig(title=info.study or info.name, runs=[info.config]))
            self._say(f"The form shows the settings of {info.name}")

    def _copy_command(self) -> None:
        info = self._selected_info()
        if info is not None:
            QGuiApplication.clipboard().setText(command_line(info, str(self.session.workspace)))
            self._say("Copied the command")

    def _export_latest_weights(self) -> None:
        info = self._selected_info()
        data = self.bridge.data(info.id) if info else None
        if data is not None and data.weights:
            self._export_weights(data.weights[-1])

    def _export_weights(self, stage: str) -> None:
        info = self._selected_info()
        if info is None:
            return
        start = str(Path(self.settings.folder) / f"{info.name}-{stage}.safetensors")
        path, kind = QFileDialog.getSaveFileName(
            self, "Export weights", start, "safetensors (*.safetensors);;PyTorch state dict (*.pt)"
        )
        if not path:
            return
        target = Path(path)
        if target.suffix not in (".safetensors", ".pt"):
            target = target.with_name(target.name + (".pt" if "*.pt" in kind else ".safetensors"))
        self.settings.folder = str(target.parent)
        self.session.export_weights(info.id, stage, target)  # type: ignore[arg-type]

    def _export_tables(self) -> None:
        info = self._selected_info()
        folder = QFileDialog.getExistingDirectory(self, "Folder for the tables", self.settings.folder)
        if info is not None and folder:
            self.settings.folder = folder
            self.session.export_tables(info.id, Path(folder))

    def _open_folder(self) -> None:
        info = self._selected_info()
        if info is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(info.path))

    def _open_workspace(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.session.workspace)))

    def _export_current(self) -> None:
        self.export_plot(self.live.current_panel())

    def _go_to_filter(self) -> None:
        self.docks["runs"].show()
        self.runs.filter.setFocus()
        self.runs.filter.selectAll()

    def _plots_only(self) -> None:
        alone = self.commands.actions["plots_only"].isChecked()
        if alone:
            self._before_alone = [name for name, dock in self.docks.items() if dock.isVisible()]
            self.tabs.setCurrentWidget(self.live)
        for name in getattr(self, "_before_alone", []):
            self.docks[name].setVisible(not alone)
        for bar in (self.toolbar, self.tabs.tabBar(), self.statusBar()):
            bar.setVisible(not alone)

    def _reset_layout(self) -> None:
        self.settings.forget_layout()
        self.commands.actions["plots_only"].setChecked(False)
        for bar in (self.toolbar, self.tabs.tabBar(), self.statusBar()):
            bar.show()
        area = Qt.DockWidgetArea
        for name, place in (
            ("setup", area.LeftDockWidgetArea),
            ("runs", area.BottomDockWidgetArea),
            ("inspector", area.RightDockWidgetArea),
        ):
            self.addDockWidget(place, self.docks[name])
        self._arrange_docks()

    def _show_shortcuts(self) -> None:
        self._show_dialog(ShortcutsDialog(self))

    def _show_about(self) -> None:
        self._show_dialog(AboutDialog(QApplication.applicationVersion(), self))

    def _show_dialog(self, dialog: ShortcutsDialog | AboutDialog) -> None:
        dialog.exec()
        dialog.deleteLater()

    # what the engine says -------------------------------------------------------------------------------
    def _engine_ready(self, device: DeviceReport) -> None:
        self.welcome.show_device(device)
        self.status.show_device(device)

    def _runs_listed(self, event: RunsListed) -> None:
        self._read_only = event.read_only
        self.setup.set_can_submit(not event.read_only)
        runs = list(self.bridge.runs.values())
        self.runs.set_runs(runs)
        self._runs_known()
        if event.read_only:
            self.status.show_read_only(event.read_only)
        self._update_commands()

    def _runs_known(self) -> None:
        runs = list(self.bridge.runs.values())
        self.welcome.show_runs(runs, self._read_only)
        self.setup.set_earlier_runs(runs)
        self.results.show_runs(runs)

    def _run_changed(self, info: RunInfo) -> None:
        known = self.runs.model.row_of(info.id) is not None
        before = self.live.data.info.state if self.live.data and self.live.data.info.id == info.id else None
        self.runs.update_run(info)
        if not known or info.state != "running" or before != "running":
            if not known:
                self.results.show_runs(list(self.bridge.runs.values()), info.study)
            self._runs_known()
        if info.state == "running":
            self._paused = False
            if not self.runs.selected():
                self.runs.select(info.id)
        elif info.state == "failed" and before != "failed":
            first = (info.reason or "no reason given").splitlines()[0]
            self.status.say(f"{info.name} failed: {first}")
        self._show_progress()
        self._update_commands()

    def _stage_started(self, run_id: str, layout: StageLayout) -> None:
        shown = self.live.data
        over = shown is None or shown.info.state in ("created", "finished", "stopped", "failed")
        if over and (shown is None or shown.info.id != run_id) and self._follows(run_id):
            self.runs.select(run_id)
            self._show_data(run_id)
        if self.live.data is not None and self.live.data.info.id == run_id:
            self.live.follow()
        self._data_changed(run_id)

    def _follows(self, run_id: str) -> bool:
        """Whether the plots go on to this run: the one shown belongs to the same study."""
        shown, info = self.live.data, self.bridge.runs.get(run_id)
        return shown is None or info is None or shown.info.study == info.study

    def _data_changed(self, run_id: str) -> None:
        if self.live.data is not None and self.live.data.info.id == run_id:
            self._dirty = True
            if not self._redraw_timer.isActive():
                self._redraw_timer.start()

    def _checkpoint_saved(self, event: CheckpointSaved) -> None:
        self.status.saved(time.time())

    def _exported(self, path: str) -> None:
        self._say(f"Wrote {path}")
        self.log.add(LogAdded(None, time.time(), "info", f"Wrote {path}"))

    def _request_failed(self, event: RequestFailed) -> None:
        details = f"\n{event.details}" if event.details else ""
        self.log.add(LogAdded(None, time.time(), "error", f"{event.request}: {event.message}{details}"))
        self._complain(event.message, event.details)

    def _queue_empty(self, paused: bool) -> None:
        self._paused = paused
        self._say("The queue is paused" if paused else "All runs have ended")
        self._show_progress()
        self._update_commands()

    # drawing --------------------------------------------------------------------------------------------
    def _redraw(self) -> None:
        """Draw what changed and is visible; rest when nothing runs."""
        if self._dirty and self.live.isVisible():
            self._dirty = False
            self.live.refresh()
        if self.docks["inspector"].isVisible():
            self.inspector.show_run(self.live.data)
        if not self._dirty and self.bridge.running() is None:
            self._redraw_timer.stop()

    def _show_data(self, run_id: str) -> None:
        data = self.bridge.data(run_id)
        if data is None:
            return
        if not data.from_files and data.info.state != "created" and run_id not in self._asked:
            self._asked.add(run_id)
            self.session.open_run(run_id)
        self.live.show_run(data)
        self.inspector.show_run(data)
        self._update_commands()

    def _show_progress(self) -> None:
        running = self.bridge.running()
        if running is None:
            self.setWindowTitle(TITLE)
            self.status.show_run(None, paused=self._paused)
            return
        self.setWindowTitle(f"{100 * running.progress:.0f} % {running.name} – {TITLE}")
        self.status.show_run(running, data=self.bridge.data(running.id))

    def _run_selected(self, run_id: str) -> None:
        self._show_data(run_id)
        self._dirty = True
        self._update_commands()

    def _page_changed(self, _index: int) -> None:
        self._dirty = True
        if not self._redraw_timer.isActive() and not self._closed:
            self._redraw_timer.start()
        self._update_commands()

    def _mark_log(self, unread: int) -> None:
        self.tabs.setTabText(3, f"Log ({unread})" if unread else "Log")

    def _update_commands(self) -> None:
        info = self._selected_info()
        states = [known.state for known in self.bridge.runs.values()]
        data = self.bridge.data(info.id) if info else None
        self.commands.update(
            Situation(
                can_write=not self._read_only,
                study_is_valid=self.setup.study() is not None,
                running="running" in states,
                queued="created" in states,
                paused=self._paused,
                selected=info is not None,
                selected_active=info is not None and info.state in ("created", "running"),
                selected_resumable=info is not None and info.state in RESUMABLE,
                selected_has_weights=data is not None and bool(data.weights),
                plot_shown=self.tabs.currentWidget() is self.live and self.live.current_panel() is not None,
            )
        )

    # small things ---------------------------------------------------------------------------------------
    def _selected_info(self) -> RunInfo | None:
        return self.bridge.runs.get(self.runs.selected())

    def _theme_chosen(self, action: QAction) -> None:
        choice: ThemeChoice = action.data()
        self.settings.theme = choice
        self.themes.apply(choice)

    def _say(self, text: str) -> None:
        self.status.say(text)

    def _complain(self, text: str, details: str = "") -> None:
        box = QMessageBox(QMessageBox.Icon.Warning, TITLE, text, parent=self)
        box.setInformativeText(details)
        box.exec()

    def _sure(self, text: str, details: str) -> bool:
        box = QMessageBox(QMessageBox.Icon.Question, TITLE, text, parent=self)
        box.setInformativeText(details)
        yes = box.addButton("Stop", QMessageBox.ButtonRole.AcceptRole)
        box.addButton(QMessageBox.StandardButton.Cancel)
        box.exec()
        return box.clickedButton() is yes

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Draw icons in the colours of a new theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "setup"):
            self.commands.recolour()
            self.setup.recolour()
            for index, (_page, _title, picture) in enumerate(self._pages):
                self.tabs.setTabIcon(index, theme.icon(picture))

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802
        """Accept a settings file anywhere."""
        if toml_in(event) is not None:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802
        """Propose the settings of a dropped file."""
        path = toml_in(event)
        if path is not None:
            event.acceptProposedAction()
            self.open_file(path)


def command_line(info: RunInfo, workspace: str) -> str:
    """The command that makes a run again in a terminal, from the settings saved beside it."""
    return f'cartl run "{Path(info.path) / "config.toml"}" --workspace "{workspace}"'
