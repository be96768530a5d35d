"""The main window: pages in the middle, docks around them, and how they follow what the engine says."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Literal

from PySide6.QtCore import QEvent, QSize, Qt
from PySide6.QtGui import QActionGroup, QCloseEvent, QDragEnterEvent, QDropEvent, QResizeEvent
from PySide6.QtWidgets import QMainWindow, QToolBar, QVBoxLayout, QWidget

from cartl_gui import program, theme
from cartl_gui.attention import Attention
from cartl_gui.closing import Closer
from cartl_gui.commands import CommandSet, Situation, is_attackable
from cartl_gui.comparing import Comparing
from cartl_gui.dialogs.problem import ProblemDialog, Trouble
from cartl_gui.failures import ENGINE_DIED, UNEXPECTED
from cartl_gui.files import dropped_paths
from cartl_gui.layout import Pages, Shrinking, WindowLayout, first_size
from cartl_gui.listed import Listed
from cartl_gui.notice_bar import Notice, NoticeBar
from cartl_gui.own_presets import OwnPresets, RecentValues, config_folder
from cartl_gui.pages.status import StatusLine
from cartl_gui.pages.welcome import WelcomePage
from cartl_gui.selection import Selection
from cartl_gui.settings import WindowSettings
from cartl_gui.shown import Shown
from cartl_gui.text_keys import TextKeys
from cartl_gui.theme import Theme
from engine.api import ATTACKING_EXAMPLES, ESTIMATING, IMPORTING, INSPECTING, RECOGNISING, Session
from engine.config import StudyConfig
from engine.errors import CartlError
from engine.events import (
    ENDED,
    RESUMABLE,
    CheckpointSaved,
    DeviceReport,
    LogAdded,
    QueueChanged,
    RequestFailed,
    RunInfo,
    RunsListed,
)

if TYPE_CHECKING:
    from cartl_gui.run_data import RunData

DEMO = "demo"
#: How many of the newest lines of the log are copied with a problem.
LINES_COPIED = 20
#: The icons of the pages.
PICTURES = {
    "welcome": "home",
    "live": "live",
    "layers": "layers",
    "examples": "examples",
    "compare": "compare",
    "results": "results",
    "log": "text",
}
#: What helps where a file does not tell enough.
DESCRIBE = "What a file does not say can be put into the form: File, Attack a checkpoint file… Then inspect the file again."


class MainWindow(QMainWindow):
    """Everything a user sees. It decides nothing about runs; it asks the session and shows what it answers."""

    def __init__(
        self, session: Session, presets: Mapping[str, StudyConfig], settings: WindowSettings, themes: Theme,
        *, preset_texts: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._preset_texts = preset_texts
        self.session, self.presets, self.settings, self.themes = session, presets, settings, themes
        self.setObjectName("main")
        self.setAcceptDrops(True)
        self.tabs = Pages()
        self.tabs.setDocumentMode(True)
        self.tabs.setAccessibleName("Pages")
        self.tabs.setIconSize(QSize(16, 16))
        self.welcome = WelcomePage(presets.get(DEMO), presets, first=not settings.has_seen_tour)
        self.welcome.setEnabled(False)
        self.tabs.addTab(self.welcome, theme.icon(PICTURES["welcome"]), "Welcome")
        self.notices = NoticeBar()
        centre = QWidget()
        column = QVBoxLayout(centre)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.notices)
        column.addWidget(Shrinking(self.tabs), 1)
        self.setCentralWidget(centre)
        self.status = StatusLine(str(session.workspace), self)
        self.setStatusBar(self.status)
        self._is_complete = False
        self._toolbar_room = 0
        self._read_only = ""
        self._paused = False
        #: Whether runs came or changed their state since all who list them were told, and the study of a new one.
        self._has_news, self._new_study = False, ""
        self._something_ran = False
        self._closed = False
        self._may_ask = True
        self._problems: ProblemDialog | None = None
        self.setWindowIcon(theme.icon("app"))
        self.attention = Attention(self)
        if not settings.restore_geometry(self):
            self.resize(first_size())

    # building -------------------------------------------------------------------------------------------
    def complete(self) -> None:
        """Build everything beside the welcome page; apart from `__init__` so that the window stands at once."""
        if self._is_complete:
            return
        self._is_complete = True
        from cartl_gui import parts  # noqa: PLC0415 - plots and forms take most of the start's time

        self.bridge = parts.EngineBridge(self.session, self)
        self.closer = Closer(self.session, self)
        self.closer.can_hide = self.attention.has_tray()
        self.closer.ended.connect(self._session_closed)
        self.closer.hiding_asked.connect(self.attention.hide_window)
        self.attention.quit_asked.connect(self.close_at_once)
        self.selection = Selection(self)
        self.live, self.results, self.log = parts.LivePage(), parts.ResultsPage(), parts.LogPage()
        self.layers, self.examples = parts.LayersPage(self.selection), parts.ExamplesPage(self.selection)
        self.compare = parts.ComparePage()
        #: The pages by the name that their command has, in the order of their tabs.
        self.pages: dict[str, QWidget] = {
            "welcome": self.welcome,
            "live": self.live,
            "layers": self.layers,
            "examples": self.examples,
            "compare": self.compare,
            "results": self.results,
            "log": self.log,
        }
        for key, page in self.pages.items():
            if page is not self.welcome:
                self.tabs.addTab(page, theme.icon(PICTURES[key]), key.capitalize())
        for study in self.presets.values():
            self.results.know_study(study)
        own = config_folder()
        self.setup = parts.SetupPanel(
            self.presets,
            self._preset_texts,
            own=OwnPresets(own / "presets"),
            recent=RecentValues(own / "recent.toml"),
        )
        self.kept_study = parts.KeptStudy(self.setup, self.settings)
        self.runs, self.inspector = parts.RunsPanel(), parts.InspectorPanel()
        self.layout_of_docks = WindowLayout(
            self, {"setup": self.setup, "runs": self.runs, "inspector": self.inspector}
        )
        self.shown = Shown(self)
        self.do = parts.Actions(self)
        self.commands = CommandSet(self.do.run, self, own_keys=self.settings.own_keys)
        self.commands.used = self.settings.used_commands
        TextKeys(self.commands, self)
        self._build_bars()
        self._connect()
        if not self.settings.restore_state(self):
            self.layout_of_docks.hide_docks()
        once = Qt.ConnectionType.SingleShotConnection
        self.tabs.currentChanged.connect(self.layout_of_docks.show_docks, once)
        self.welcome.setEnabled(True)
        self._update_commands()

    def _build_bars(self) -> None:
        self.commands.fill_menus(self.menuBar())
        actions = self.commands.actions
        for name, dock in self.layout_of_docks.docks.items():
            action, shown = actions[f"panel_{name}"], dock.toggleViewAction()
            action.setChecked(shown.isChecked())
            shown.toggled.connect(action.setChecked)
        themes = QActionGroup(self)
        for choice in ("system", "light", "dark"):
            themes.addAction(actions[f"theme_{choice}"])
        self.toolbar = QToolBar("Toolbar", self)
        self.toolbar.setObjectName("toolbar")
        self.toolbar.setMovable(False)
        self.toolbar.setIconSize(QSize(18, 18))
        self.toolbar.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.commands.fill_toolbar(self.toolbar)
        self.addToolBar(self.toolbar)
        self.show_look()
        self.runs.set_menu_actions(
            [
                actions["show_run"], actions["draw_run"], None,
                *(actions[name] for name in ("resume", "resume_study", "repeat", "retry_half", "stop")), None,
                *(actions[name] for name in ("move_first", "move_up", "move_down", "move_last")), None,
                *(actions[name] for name in ("rename", "star", "tags", "notes", "archive", "bin")), None,
                *(actions[name] for name in ("attack_run", "inspect_run", "use_settings")), None,
                *(actions[name] for name in ("copy_command", "copy_study_command", "copy_error")), None,
                *(actions[name] for name in ("export_weights", "export_tables", "export_run", "open_folder")),
            ]
        )  # fmt: skip

    def _connect(self) -> None:
        bridge, do = self.bridge, self.do
        self.tabs.currentChanged.connect(self._update_commands)
        self.shown.changed.connect(self._update_commands)
        bridge.engine_ready.connect(self._engine_ready)
        bridge.runs_listed.connect(self._runs_listed)
        bridge.run_changed.connect(self._run_changed)
        bridge.looked.connect(self._tell_news)
        bridge.checkpoint_saved.connect(self._checkpoint_saved)
        bridge.log_added.connect(self.log.add)
        bridge.downloading.connect(self.status.show_download)
        bridge.machine_sampled.connect(self.status.show_sample)
        bridge.exported.connect(self._exported)
        bridge.request_failed.connect(self._request_failed)
        bridge.queue_empty.connect(self._queue_empty)
        bridge.queue_changed.connect(self._queue_changed)
        bridge.inspection_progress.connect(self.layers.show_progress)
        bridge.network_inspected.connect(self._network_inspected)
        bridge.examples_attacked.connect(self.examples.show_attacked)
        for page in (self.welcome, *self.shown.pages, self.results):
            page.demo_asked.connect(self.start_demo)
        for page in self.shown.pages:
            page.export_requested.connect(do.exports.export_plot)
        self.live.follow_selection(self.selection)
        self.layers.inspect_asked.connect(do.layers.inspect_shown)
        self.layers.cancel_asked.connect(self.session.cancel_inspection)
        self.layers.table_export_asked.connect(do.layers.export_layer_table)
        self.layers.said.connect(self.status.say)
        self.examples.attack_asked.connect(self.session.attack_examples)
        self.welcome.new_asked.connect(do.settings.new)
        self.welcome.open_asked.connect(do.settings.open)
        self.welcome.preset_asked.connect(do.settings.use_preset)
        self.welcome.files_dropped.connect(do.settings.open_files)
        self.welcome.tour_asked.connect(do.help.take_tour)
        self.welcome.documentation_asked.connect(do.help.show_documentation)
        self.welcome.run_chosen.connect(self.show_run)
        self.results.run_chosen.connect(self.show_run)
        self.results.said.connect(self.status.say)
        self.results.export_requested.connect(do.exports.export_plot)
        self.results.resume_asked.connect(do.runs.resume_study)
        self.results.report_asked.connect(do.exports.write_report)
        self.runs.run_selected.connect(self.shown.show)
        self.runs.run_opened.connect(self.show_run)
        self.setup.submitted.connect(self.submit)
        self.setup.open_asked.connect(do.settings.open)
        self.setup.save_asked.connect(do.settings.save)
        self.setup.changed.connect(self._update_commands)
        self.setup.runs_dropped.connect(do.settings.use_settings_of)
        self.setup.estimate.estimate_asked.connect(do.settings.estimate)
        self.setup.estimate.cancel_asked.connect(self.session.cancel_estimate)
        bridge.study_estimated.connect(self.setup.estimate.show_estimate)
        self.inspector.export_asked.connect(do.exports.export_weights)
        self.log.unread_changed.connect(self._mark_log)
        self.commands.keys_changed.connect(self._keys_changed)
        self.comparing = Comparing(self)
        self.listed = Listed(self)
        self.listed.changed.connect(self._update_commands)
        self.listed.runs_left.connect(self._runs_known)

    # starting and ending --------------------------------------------------------------------------------
    def start(self) -> None:
        """Build the rest of the window and open the workspace; called once the window is on the screen."""
        self.complete()
        self.bridge.start()
        try:
            self.session.open(take_up=True)
        except CartlError as error:
            self._note("error", str(error))
            self.complain("The workspace could not be opened.", str(error))

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802
        """Ask while something runs; end only after the engine's threads have ended."""
        if self._closed or not self._is_complete:
            event.accept()
            return
        event.ignore()
        if self.closer.begun:
            return
        if self._may_ask and not self.closer.may_close(self.bridge.running(), len(self.bridge.queue)):
            return
        self.kept_study.conclude()
        self.settings.save_layout(self)
        self.listed.save()
        self.settings.used_commands = self.commands.used
        self.settings.has_seen_tour = True
        self.status.say("Saving and closing…")
        self.setEnabled(False)
        self.closer.begin()

    def close_at_once(self) -> None:
        """Pause, save and quit without asking: the system or the terminal ends the program."""
        self._may_ask = False
        self.close()

    def _session_closed(self) -> None:
        self.bridge.stop()
        self.bridge.drain()
        self.shown.stop()
        self._closed = True
        self.close()

    # what commands and pages ask for --------------------------------------------------------------------
    def start_demo(self) -> None:
        """Queue the built-in demo and show its plots."""
        if DEMO in self.presets:
            self.setup.set_preset(DEMO)
            self.submit(self.presets[DEMO])

    def submit(self, study: StudyConfig) -> None:
        """Queue a study, and show its first run unless another one is running."""
        other = self.bridge.running()
        self.results.know_study(study)
        try:
            infos = self.session.submit(study)
        except CartlError as error:
            self.complain("The study could not be queued.", str(error))
            return
        self.layout_of_docks.show_docks()
        self.do.runs.tell_queued(infos)
        self.bridge.drain()
        if infos and other is None:
            self.show_run(infos[0].id)

    def show_run(self, run_id: str) -> None:
        """Show a run in the plots, reading its files if it is not in memory."""
        self.layout_of_docks.show_docks()
        self.runs.select(run_id)
        self.shown.show(run_id)
        self.shown.to_front()

    def show_form(self) -> None:
        """Show the set-up form and put the cursor into it."""
        self.layout_of_docks.show_docks()
        self.layout_of_docks.docks["setup"].show()
        if self.tabs.currentWidget() is self.welcome:
            self.tabs.setCurrentWidget(self.live)
        self.setup.form.rows["name"].editor.setFocus()

    def complain(self, text: str, remedy: str = "", *, details: str = "") -> None:
        """Say in a dialog what could not be done; whatever else goes wrong until it is closed is told in it too.

        Args:
            text: what happened.
            remedy: why, and what to do.
            details: for those who look into it, such as a traceback.
        """
        if self._problems is None:
            self._problems = ProblemDialog(self.surroundings(), self)
            self._problems.finished.connect(self._problems_read)
        self._problems.add(Trouble(text, remedy, details))
        self._problems.open()

    def surroundings(self) -> str:
        """What helps to find out what went wrong: versions, platform and the newest lines of the log."""
        lines = self.log.latest(LINES_COPIED) if self._is_complete else ""
        return "\n\n".join(filter(None, (program.facts(), lines)))

    def _problems_read(self) -> None:
        if self._problems is not None:
            self._problems.deleteLater()
            self._problems = None

    def selected_info(self) -> RunInfo | None:
        """The run selected in the list."""
        return self.bridge.runs.get(self.runs.selected())

    def set_paused(self, on: bool) -> None:
        """Note whether the queue waits."""
        self._paused = on
        self._show_progress()
        self._update_commands()

    # what the engine says -------------------------------------------------------------------------------
    def _engine_ready(self, device: DeviceReport) -> None:
        self.welcome.show_device(device)
        self.status.show_device(device)

    def _runs_listed(self, event: RunsListed) -> None:
        self._read_only = event.read_only
        self.setup.set_can_submit(not event.read_only)
        self.results.set_can_write(not event.read_only)
        self.results.know_questions(event.questions)
        self._runs_known()
        if event.read_only:
            self.status.show_read_only(event.read_only)
            self.notices.tell(Notice(f"{event.read_only}.", "warning"))
        self._update_commands()

    def _runs_known(self, study: str | None = None) -> None:
        """Tell all who list runs; the results turn to a study if one is named."""
        runs = list(self.bridge.runs.values())
        self.welcome.show_runs(runs, self._read_only)
        self.setup.set_earlier_runs(runs)
        self.results.show_runs(runs, study)
        self.shown.offer_comparisons()
        self.comparing.know_runs()

    def _run_changed(self, info: RunInfo) -> None:
        before = self.runs.model.state_of(info.id)
        known = before is not None
        shown = self.shown.data is not None and self.shown.data.info.id == info.id
        self.runs.update_run(info)
        if before != info.state:
            self._has_news = True
            self._new_study = self._new_study if known else info.study
        if shown and info.state in ENDED and before not in (None, info.state):
            self.shown.read_files(info.id)
        if info.state == "running":
            self._paused, self._something_ran = False, True
            if not self.runs.selected():
                self.runs.select(info.id)
        elif info.state == "failed" and before not in (None, "failed"):
            self._run_failed(info)
        self._show_progress()
        self._update_commands()

    def _tell_news(self) -> None:
        """Tell of all runs that came or changed their state at once: a study may bring hundreds."""
        if self._has_news:
            study, self._has_news, self._new_study = self._new_study, False, ""
            self._runs_known(study or None)

    def _run_failed(self, info: RunInfo) -> None:
        """Tell of a run that failed just now; hold the queue if the user wants that."""
        first = (info.reason or "no reason given").splitlines()[0]
        held = self.settings.holds_after_failure and bool(self.bridge.queue)
        if held:
            self.session.pause()
        title = self.runs.model.title(info)
        text = f"{title} failed: {first}{' The queue is held.' if held else ''}"
        self.notices.tell(Notice(text, "error", "Show the run", partial(self.show_run, info.id)))
        if self.settings.notifies:
            self.attention.tell(f"{title} failed")

    def _checkpoint_saved(self, event: CheckpointSaved) -> None:
        self.status.saved(time.time())

    def _exported(self, path: str) -> None:
        self.status.say(f"Wrote {path}")
        self._note("info", f"Wrote {path}")

    def _request_failed(self, event: RequestFailed) -> None:
        details = f"\n{event.details}" if event.details else ""
        self._note("error", f"{event.request}: {event.message}{details}")
        if event.request == INSPECTING:
            self.layers.end_progress()
            self._update_commands()
            advice = DESCRIBE if self.do.layers.is_inspecting_a_file() else ""
            self.complain(event.message, advice, details=event.details)
        elif event.request == ATTACKING_EXAMPLES:
            self.examples.attack_failed(event.message)
        elif event.request == ESTIMATING:
            self.setup.estimate.show_failure(event.message)
        elif event.request == ENGINE_DIED:
            self.notices.tell(
                Notice(event.message, "error", "Save and close", self.close_at_once, lasting=True)
            )
        elif event.request == UNEXPECTED:
            self.notices.tell(
                Notice(
                    event.message,
                    "error",
                    "Details…",
                    partial(self.complain, event.message, "", details=event.details),
                )
            )
        elif event.request not in (RECOGNISING, IMPORTING) and not self.do.exports.tells(event.request):
            # The others are told in their dialogs.
            self.complain(event.message, details=event.details)

    def _network_inspected(self, data: RunData | None) -> None:
        """Show what an analysis found; None says that it was cancelled."""
        self.layers.end_progress()
        if data is None:
            self.status.say("The analysis was cancelled")
        else:
            self.layout_of_docks.show_docks()
            self.shown.show_inspection(data)
            self.status.say(f"Analysed {data.info.title.removesuffix(', analysed')}")
        self._update_commands()

    def _queue_changed(self, event: QueueChanged) -> None:
        self.set_paused(event.paused)

    def _queue_empty(self, paused: bool) -> None:
        if paused:
            self.status.say("The queue is paused")
        elif self._something_ran:
            self.status.say("All runs have ended")
            self._something_ran = False
            if self.settings.notifies:
                self.attention.tell("All runs have ended")
        self.set_paused(paused)

    def _show_progress(self) -> None:
        running, waiting = self.bridge.running(), len(self.bridge.queue)
        waits = [f"{waiting} waiting"] if waiting else []
        if running is None:
            self.attention.show_progress(", ".join(["paused", *waits]) if self._paused and waits else "")
            self.status.show_run(None, paused=self._paused)
            return
        title = self.runs.model.title(running)
        self.attention.show_progress(", ".join([f"{100 * running.progress:.0f} % {title}", *waits]))
        self.status.show_run(running, title, data=self.bridge.data(running.id))

    def _mark_log(self, unread: int) -> None:
        self.tabs.setTabText(self.tabs.indexOf(self.log), f"Log ({unread})" if unread else "Log")

    def _update_commands(self) -> None:
        info = self.selected_info()
        states = [known.state for known in self.bridge.runs.values()]
        data = self.bridge.data(info.id) if info else None
        shown = self.layers.data
        self.layers.set_can_inspect(
            shown is not None and (shown.is_inspection or _is_inspectable(shown.info, shown))
        )
        self.commands.update(
            Situation(
                can_write=not self._read_only,
                study_is_valid=self.setup.study() is not None,
                can_undo_settings=self.setup.history.stack.canUndo(),
                can_redo_settings=self.setup.history.stack.canRedo(),
                running="running" in states,
                queued="created" in states,
                paused=self._paused,
                study_resumable=info is not None and self._study_waits(info.study),
                selected_has_weights=data is not None and bool(data.weights),
                selected_attackable=info is not None and is_attackable(info),
                selected_inspectable=_is_inspectable(info, data),
                inspecting=self.layers.is_inspecting(),
                plot_shown=self.shown.plot() is not None,
                **self.do.runs.situation(),
            )
        )

    def _study_waits(self, study: str) -> bool:
        """Whether a run of a study may be gone on with."""
        return any(info.study == study and info.state in RESUMABLE for info in self.bridge.runs.values())

    # small things ---------------------------------------------------------------------------------------
    def show_look(self) -> None:
        """Let the commands show which theme is on."""
        for choice in ("system", "light", "dark"):
            self.commands.actions[f"theme_{choice}"].setChecked(choice == self.themes.choice)
        self.toolbar.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._toolbar_room = self.toolbar.sizeHint().width()
        self._fit_toolbar()

    def _fit_toolbar(self) -> None:
        """Leave the texts out of the toolbar where there is no room for all of them."""
        fits = self.width() >= self._toolbar_room
        style = Qt.ToolButtonStyle.ToolButtonTextBesideIcon if fits else Qt.ToolButtonStyle.ToolButtonIconOnly
        self.toolbar.setToolButtonStyle(style)

    def _keys_changed(self) -> None:
        self.settings.own_keys = self.commands.own_keys()

    def _note(self, level: Literal["info", "warning", "error"], text: str) -> None:
        self.log.add(LogAdded(None, time.time(), level, text))

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Keep every command of the toolbar in sight."""
        super().resizeEvent(event)
        if self._is_complete:
            self._fit_toolbar()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Draw icons in the colours of a new theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and getattr(self, "_is_complete", False):
            self.commands.recolour()
            for key, page in self.pages.items():
                self.tabs.setTabIcon(self.tabs.indexOf(page), theme.icon(PICTURES[key]))

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802
        """Accept files anywhere; which of them can be opened is told when they are dropped."""
        if dropped_paths(event):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802
        """Open what is dropped."""
        event.acceptProposedAction()
        self.do.settings.open_files(dropped_paths(event))


def _is_inspectable(info: RunInfo | None, data: RunData | None) -> bool:
    """Whether a run has a network to look into: one that is trained, or one that it attacks."""
    return info is not None and (is_attackable(info) or (data is not None and bool(data.weights)))
