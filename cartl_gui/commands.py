"""One list of all commands; menus, toolbar and the page of shortcuts are made from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PySide6.QtCore import QObject
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QMenu, QMenuBar, QToolBar

from cartl_gui import theme
from engine.events import RunInfo


@dataclass(frozen=True, slots=True)
class Situation:
    """What decides whether a command makes sense now."""

    can_write: bool = True
    study_is_valid: bool = False
    running: bool = False
    queued: bool = False
    paused: bool = False
    selected: bool = False
    selected_active: bool = False
    selected_resumable: bool = False
    study_resumable: bool = False
    selected_has_weights: bool = False
    selected_attackable: bool = False
    selected_inspectable: bool = False
    inspecting: bool = False
    plot_shown: bool = False


def is_attackable(info: RunInfo) -> bool:
    """Whether there is a network of a run to attack: it has finished, or only attacks one that was there before."""
    trains = info.config.pretraining is not None or info.config.finetuning is not None
    return info.state == "finished" or not trains


def always(_situation: Situation) -> bool:
    """A command that always makes sense."""
    return True


@dataclass(frozen=True, slots=True)
class Command:
    """One command. `menu` is empty for those that live in the context menu of a run only."""

    id: str
    text: str
    help: str
    menu: str
    icon: str = ""
    shortcut: str = ""
    toolbar: str = ""
    enabled: Callable[[Situation], bool] = always
    checkable: bool = False
    separator: bool = False


COMMANDS: tuple[Command, ...] = (
    Command("new", "&New experiment", "Put one run with the program's defaults into the form.", "File",
            "new", "Ctrl+N"),
    Command("demo", "Try the &demo", "Run the built-in demo study.", "File", "play", "",
            enabled=lambda s: s.can_write),
    Command("open", "&Open study…", "Read a study or a run from a TOML file into the form.", "File",
            "open", "Ctrl+O"),
    Command("save", "&Save as study…", "Write the study in the form as TOML, with its grid.", "File", "save", "Ctrl+S",
            enabled=lambda s: s.study_is_valid),
    Command("import", "&Import checkpoint…", "Make weights of this program from a checkpoint of the CARTL authors' code.",
            "File", "layers", "Ctrl+I"),
    Command("attack_file", "Attack a chec&kpoint file…",
            "Put an attack on a file with weights into the form, of this program or of another.", "File", "attack"),
    Command("inspect_file", "Inspect a checkpoint fi&le…",
            "Measure a file with weights layer by layer: feature distances and Lipschitz bounds.", "File", "layers",
            enabled=lambda s: not s.inspecting),
    Command("export_plot", "&Export plot…", "Write a plot as PNG, SVG, PDF or CSV.", "File", "export",
            "Ctrl+E", "Export plot…", lambda s: s.plot_shown, separator=True),
    Command("workspace", "Open &workspace folder", "Show the folder of runs in the file manager.", "File",
            "folder"),
    Command("quit", "&Quit", "Close the window; a running run is paused and saved.", "File", "", "Ctrl+Q",
            separator=True),
    Command("run", "&Run study", "Queue every run of the study in the form.", "Run", "play", "Ctrl+R",
            "Run study", lambda s: s.can_write and s.study_is_valid),
    Command("pause", "&Pause", "Save a checkpoint, free the memory and hold the queue.", "Run", "pause", "Ctrl+P",
            "Pause", lambda s: s.can_write and (s.running or s.queued) and not s.paused),
    Command("resume", "R&esume", "Go on with the queue, or with the selected run where it stopped.", "Run", "resume",
            "Ctrl+Shift+R", "Resume", lambda s: s.can_write and (s.paused or s.selected_resumable)),
    Command("resume_study", "Resume s&tudy", "Go on with every run of the selected run's study that has not finished.",
            "Run", "resume", enabled=lambda s: s.can_write and s.study_resumable),
    Command("stop", "&Stop run…", "Stop the selected run; what it measured is kept.", "Run", "stop", "Ctrl+.",
            "Stop…", lambda s: s.can_write and s.selected_active),
    Command("stop_all", "Stop &all…", "Stop the running run and empty the queue.", "Run", "",
            enabled=lambda s: s.can_write and (s.running or s.queued)),
    Command("show_run", "Show &plots", "Show the selected run in the plots.", "Run", "live", "Return",
            enabled=lambda s: s.selected, separator=True),
    Command("attack_run", "&Attack this network…",
            "Put an attack on the selected run's network into the form, with its attack settings.", "Run", "attack",
            "Ctrl+Shift+A", enabled=lambda s: s.selected_attackable),
    Command("inspect_run", "Inspect &layers…",
            "Measure the selected run's network layer by layer, with all care.", "Run", "layers", "Ctrl+L",
            enabled=lambda s: s.selected_inspectable and not s.inspecting),
    Command("use_settings", "&Use these settings", "Put the selected run's settings into the form.", "Run",
            "setup", "Ctrl+D", enabled=lambda s: s.selected),
    Command("copy_command", "&Copy as command", "Copy the command line that makes this run.", "Run", "copy",
            "Ctrl+Shift+C", enabled=lambda s: s.selected),
    Command("export_weights", "Export &weights…", "Write the network's weights as .safetensors or .pt.", "Run",
            "export", "Ctrl+Shift+E", enabled=lambda s: s.selected_has_weights),
    Command("export_tables", "Export &tables…", "Write every table of the run as CSV.", "Run", "results",
            enabled=lambda s: s.selected),
    Command("open_folder", "Open run &folder", "Show the run's files in the file manager.", "Run", "folder",
            enabled=lambda s: s.selected),
    Command("page_welcome", "&Welcome", "Show the welcome page.", "View", "home", "Ctrl+1"),
    Command("page_live", "&Live", "Show the plots of the selected run.", "View", "live", "Ctrl+2"),
    Command("page_layers", "La&yers", "Show the layers of the selected run.", "View", "layers", "Ctrl+3"),
    Command("page_examples", "&Examples", "Show images before and after the attack.", "View", "examples", "Ctrl+4"),
    Command("page_results", "&Results", "Show the table of a study.", "View", "results", "Ctrl+5"),
    Command("page_log", "Lo&g", "Show the log.", "View", "text", "Ctrl+6"),
    Command("filter", "&Filter runs", "Put the cursor into the filter of the run list.", "View", "search",
            "Ctrl+F", separator=True),
    Command("plots_only", "Plots &only", "Hide everything but the plots.", "View", "maximise", "F11",
            checkable=True),
    Command("reset_layout", "Reset layo&ut", "Put every part of the window back to its place.", "View", "reset"),
    Command("shortcuts", "&Shortcuts", "List every command with its shortcut.", "Help", "keyboard", "Ctrl+/"),
    Command("about", "&About", "Version, licences and sources.", "Help", "info"),
)  # fmt: skip

MENUS = ("File", "Run", "View", "Help")


class CommandSet(QObject):
    """The commands as actions. `run(id)` is called with the id of the one that was chosen."""

    def __init__(self, run: Callable[[str], None], parent: QObject) -> None:
        super().__init__(parent)
        self._run = run
        self.actions: dict[str, QAction] = {}
        for command in COMMANDS:
            action = QAction(command.text, self)
            action.setObjectName(command.id)
            action.setData(command.id)
            action.setStatusTip(command.help)
            action.setCheckable(command.checkable)
            shortcut = QKeySequence(command.shortcut)
            keys = f" ({shortcut.toString()})" if command.shortcut else ""
            action.setToolTip(f"{command.help}{keys}")
            if command.shortcut and command.id != "show_run":
                action.setShortcut(shortcut)
            action.setIconText(command.toolbar or command.text.replace("&", ""))
            action.triggered.connect(self._triggered)
            self.actions[command.id] = action
        self.recolour()

    def recolour(self) -> None:
        """Draw the icons in the colour of the theme."""
        for command in COMMANDS:
            if command.icon:
                self.actions[command.id].setIcon(theme.icon(command.icon))

    def update(self, situation: Situation) -> None:
        """Enable what makes sense now."""
        for command in COMMANDS:
            self.actions[command.id].setEnabled(command.enabled(situation))

    def fill_menus(self, bar: QMenuBar) -> dict[str, QMenu]:
        """Make the menus."""
        menus = {name: bar.addMenu(f"&{name}") for name in MENUS}
        for command in COMMANDS:
            if command.separator:
                menus[command.menu].addSeparator()
            menus[command.menu].addAction(self.actions[command.id])
        return menus

    def fill_toolbar(self, bar: QToolBar) -> None:
        """Put the commands that have a toolbar text into the toolbar, in the order of a study's life."""
        for name in ("run", "pause", "resume", "stop", "", "export_plot"):
            if name:
                bar.addAction(self.actions[name])
            else:
                bar.addSeparator()

    def _triggered(self) -> None:
        action = self.sender()
        if isinstance(action, QAction):
            self._run(str(action.data()))
