"""One list of all commands; menus, toolbar, palette and the page of shortcuts are made from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QMenu, QMenuBar, QToolBar, QWidget

from cartl_gui import theme
from cartl_gui.widgets import Menu
from engine.events import RunInfo


@dataclass(frozen=True, slots=True)
class Situation:
    """What decides whether a command makes sense now."""

    can_write: bool = True
    study_is_valid: bool = False
    can_undo_settings: bool = False
    can_redo_settings: bool = False
    running: bool = False
    queued: bool = False
    paused: bool = False
    selected: bool = False
    selected_active: bool = False
    selected_resumable: bool = False
    selected_ended: bool = False
    selected_waiting: bool = False
    selected_failed: bool = False
    selected_short_of_memory: bool = False
    bin_filled: bool = False
    can_undo_runs: bool = False
    can_redo_runs: bool = False
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
    """One command.

    Attributes:
        id: its name in the program and in the settings.
        text: what menus call it, with "&" before its letter.
        help: one sentence that says what it does.
        menu: one of `MENUS`.
        icon: a file of assets/icons.
        shortcut: its keys unless the user chose others.
        toolbar: what the toolbar calls it.
        enabled: whether it makes sense now.
        checkable: whether it is on or off.
        separator: whether a line stands above it in its menu.
        needs: what is missing while it is not enabled, as a sentence.
        writes: whether it needs a workspace that can be written.
        place: where its keys are heard: everywhere, or in the list of runs alone, not where something is typed in it.
    """

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
    needs: str = ""
    writes: bool = False
    place: Literal["", "runs"] = ""

    @property
    def title(self) -> str:
        """Its text without the mark of its letter and without dots: "Export plot"."""
        return self.text.replace("&", "").rstrip("…")


#: What commands need that are about one run, a waiting queue, or a study in the form.
_RUN = "Select a run first."
_QUEUE = "Nothing runs or waits."
_WAITING = "Select a run that waits in the queue first."
_STUDY = "The settings in the form cannot be used yet."

COMMANDS: tuple[Command, ...] = (
    Command("new", "&New experiment", "Put one run with the program's defaults into the form.", "File",
            "new", "Ctrl+N"),
    Command("demo", "Try the &demo", "Run the built-in demo study.", "File", "play", writes=True),
    Command("open", "&Open…", "Read a study or a run from a TOML file into the form.", "File",
            "open", "Ctrl+O"),
    Command("save", "&Save as study…", "Write the study in the form as TOML, with its grid.", "File", "save", "Ctrl+S",
            enabled=lambda s: s.study_is_valid, needs=_STUDY),
    Command("save_preset", "Save as p&reset…", "Keep the study in the form as a preset of your own.", "File", "save",
            enabled=lambda s: s.study_is_valid, needs=_STUDY),
    Command("import", "&Import checkpoint…", "Make weights of this program from a checkpoint of the CARTL authors' code.",
            "File", "layers", "Ctrl+I"),
    Command("export", "&Export…", "Write a figure, its numbers, weights, tables, a whole run or a report.", "File",
            "export", "Ctrl+E", "Export…", lambda s: s.plot_shown or s.selected, separator=True,
            needs="No plot is shown and no run is selected."),
    Command("export_weights", "Export &weights…", "Write the network's weights as .safetensors or .pt.", "File",
            "export", "Ctrl+Shift+E", enabled=lambda s: s.selected_has_weights,
            needs="Select a run that has finished a training first."),
    Command("export_tables", "Export &tables…", "Write every table of the selected run as CSV.", "File", "results",
            enabled=lambda s: s.selected, needs=_RUN),
    Command("export_run", "Export whole r&un…", "Write everything about the selected run as one .zip file or a folder.",
            "File", "folder", enabled=lambda s: s.selected, needs=_RUN),
    Command("export_report", "Re&port of the study…", "Write the results of the selected run's study as a page.", "File",
            "text", enabled=lambda s: s.selected, needs=_RUN),
    Command("workspace", "Show workspace &folder", "Show the folder of runs in the file manager.", "File",
            "folder", separator=True),
    Command("other_workspace", "Open &another workspace…", "Open another folder of runs in a window of its own.", "File",
            "open"),
    Command("quit", "&Quit", "Close the window; a running run is paused and saved.", "File", "", "Ctrl+Q",
            separator=True),
    Command("undo_settings", "Undo &in the form", "Take back the last edit of the form; Ctrl+Z in the form does it too.",
            "Edit", "undo", enabled=lambda s: s.can_undo_settings, needs="Nothing was edited in the form."),
    Command("redo_settings", "Redo in t&he form", "Do again what was taken back; Ctrl+Y in the form does it too.", "Edit",
            "redo", enabled=lambda s: s.can_redo_settings, needs="Nothing was taken back in the form."),
    Command("find_setting", "Find a settin&g", "Put the cursor into the field that searches the form.", "Edit", "search",
            "Ctrl+Shift+F"),
    Command("copy_form_command", "Copy the form as command &line", "Copy the command line that makes the study in the form.",
            "Edit", "copy", enabled=lambda s: s.study_is_valid, needs=_STUDY),
    Command("undo_runs", "Un&do change of runs", "Take back what was last written on runs, or moved to the bin.", "Edit", "undo",
            "Ctrl+Z", enabled=lambda s: s.can_undo_runs, needs="Nothing was changed.", writes=True, place="runs"),
    Command("redo_runs", "Redo change o&f runs", "Do again what was taken back.", "Edit", "redo", "Ctrl+Y",
            enabled=lambda s: s.can_redo_runs, needs="Nothing was taken back.", writes=True, place="runs"),
    Command("rename", "&Rename…", "Give the selected run another title.", "Edit", "pencil", "F2",
            enabled=lambda s: s.selected, separator=True, needs=_RUN, writes=True, place="runs"),
    Command("star", "&Star", "Give the selected runs a star, or take it away.", "Edit", "star", "S",
            enabled=lambda s: s.selected, needs=_RUN, writes=True, place="runs"),
    Command("tags", "&Tags…", "Type tags for the selected runs.", "Edit", "tag", "T",
            enabled=lambda s: s.selected, needs=_RUN, writes=True, place="runs"),
    Command("notes", "N&otes…", "Write notes on the selected run.", "Edit", "text", "N",
            enabled=lambda s: s.selected, needs=_RUN, writes=True, place="runs"),
    Command("archive", "&Archive", "Leave the selected runs out of the list unless they are asked for, or list them again.",
            "Edit", "archive", "A", enabled=lambda s: s.selected, needs=_RUN, writes=True, place="runs"),
    Command("bin", "&Move to bin", "Move the selected runs to the bin, from which they can be restored.", "Edit", "trash",
            "Delete", enabled=lambda s: s.selected_ended, needs="Select runs that have ended first.", writes=True,
            place="runs"),
    Command("use_settings", "&Use these settings", "Put the selected run's settings into the form.", "Edit",
            "setup", "Ctrl+D", enabled=lambda s: s.selected, separator=True, needs=_RUN),
    Command("copy_command", "&Copy as command", "Copy the command lines that make the selected runs again.", "Edit", "copy",
            "Ctrl+Shift+C", enabled=lambda s: s.selected, needs=_RUN),
    Command("copy_study_command", "Copy stud&y as command",
            "Copy the command line that makes the study of the selected run again.", "Edit", "copy",
            enabled=lambda s: s.selected, needs=_RUN),
    Command("copy_error", "Copy &error", "Copy why the selected runs failed, with all details.", "Edit", "copy",
            enabled=lambda s: s.selected_failed, needs="Select a run that failed first."),
    Command("preferences", "&Preferences…", "Theme, scale, notifications and the workspace.", "Edit", "setup",
            "Ctrl+,", separator=True),
    Command("run", "&Run study", "Queue every run of the study in the form.", "Run", "play", "Ctrl+R",
            "Run study", lambda s: s.study_is_valid, needs=_STUDY, writes=True),
    Command("estimate", "Est&imate time and memory", "Tell how long the study in the form takes, and whether it fits.",
            "Run", "clock", "Ctrl+T", "", lambda s: s.study_is_valid, needs=_STUDY),
    Command("pause", "&Pause", "Save a checkpoint, free the memory and hold the queue.", "Run", "pause", "Ctrl+P",
            "Pause", lambda s: (s.running or s.queued) and not s.paused, needs=_QUEUE, writes=True),
    Command("resume", "R&esume", "Go on with the selected runs where they stopped, or with the queue.", "Run", "resume",
            "Ctrl+Shift+R", "Resume", lambda s: s.paused or s.selected_resumable,
            needs="Select a run that stopped before its end first.", writes=True),
    Command("resume_study", "Resume s&tudy", "Go on with every run of the selected run's study that has not finished.",
            "Run", "resume", enabled=lambda s: s.study_resumable,
            needs="Select a run first whose study has not finished.", writes=True),
    Command("repeat", "Repeat ru&ns", "Make the selected runs again with the same settings.", "Run", "repeat",
            enabled=lambda s: s.selected, needs=_RUN, writes=True),
    Command("retry_half", "Retry with &half the batch", "Make runs again for which memory did not suffice, with half the batch.",
            "Run", "repeat", enabled=lambda s: s.selected_short_of_memory,
            needs="Select a run first that failed because of too little memory.", writes=True),
    Command("stop", "&Stop run…", "Stop the selected runs, and keep or discard what they measured.", "Run", "stop", "Ctrl+.",
            "Stop…", lambda s: s.selected_active, needs="Select a run that computes or waits first.", writes=True),
    Command("stop_all", "Stop &all…", "Stop the running run and empty the queue.", "Run", "",
            enabled=lambda s: s.running or s.queued, needs=_QUEUE, writes=True),
    Command("move_first", "Mo&ve to the front", "Let the selected waiting runs be the next ones.", "Run", "first", "Alt+Home",
            enabled=lambda s: s.selected_waiting, separator=True, needs=_WAITING, writes=True, place="runs"),
    Command("move_up", "&Move earlier", "Move the selected waiting runs one place earlier in the queue.", "Run", "up",
            "Alt+Up", enabled=lambda s: s.selected_waiting, needs=_WAITING, writes=True, place="runs"),
    Command("move_down", "M&ove later", "Move the selected waiting runs one place later in the queue.", "Run", "down",
            "Alt+Down", enabled=lambda s: s.selected_waiting, needs=_WAITING, writes=True, place="runs"),
    Command("move_last", "Move to the en&d", "Let the selected waiting runs be the last ones.", "Run", "last", "Alt+End",
            enabled=lambda s: s.selected_waiting, needs=_WAITING, writes=True, place="runs"),
    Command("show_run", "Show p&lots", "Show the selected run in the plots.", "Run", "live", "Return",
            enabled=lambda s: s.selected, separator=True, needs=_RUN, place="runs"),
    Command("draw_run", "Draw &beside others", "Draw the selected runs on the pages that compare runs, or no more.", "Run",
            "eye", "Space", enabled=lambda s: s.selected, needs=_RUN, place="runs"),
    Command("show_bin", "Sho&w the bin", "Show the runs in the bin in place of the list.", "Run", "trash"),
    Command("empty_bin", "Empt&y bin…", "Delete the runs in the bin for good.", "Run", "", enabled=lambda s: s.bin_filled,
            needs="The bin is empty.", writes=True),
    Command("open_folder", "Show run &folder", "Show the run's files in the file manager.", "Run", "folder",
            enabled=lambda s: s.selected, needs=_RUN),
    Command("attack_run", "&Attack this network…",
            "Put an attack on the selected run's network into the form, with its attack settings.", "Analyse", "attack",
            "Ctrl+Shift+A", "Attack…", lambda s: s.selected_attackable, needs="Select a finished run first."),
    Command("inspect_run", "Inspect &layers…",
            "Measure the selected run's network layer by layer, with all care.", "Analyse", "layers", "Ctrl+L",
            "Inspect layers…", lambda s: s.selected_inspectable and not s.inspecting,
            needs="Select a run that has a trained network first; one is inspected at a time."),
    Command("attack_file", "Attack a chec&kpoint file…",
            "Put an attack on a file with weights into the form, of this program or of another.", "Analyse", "attack",
            separator=True),
    Command("inspect_file", "Inspect a checkpoint &file…",
            "Measure a file with weights layer by layer: feature distances and Lipschitz bounds.", "Analyse", "layers",
            enabled=lambda s: not s.inspecting, needs="Another network is being inspected."),
    Command("page_welcome", "&Welcome", "Show the welcome page.", "View", "home", "Ctrl+1"),
    Command("page_live", "&Live", "Show the plots of the selected run.", "View", "live", "Ctrl+2"),
    Command("page_layers", "La&yers", "Show the layers of the selected run.", "View", "layers", "Ctrl+3"),
    Command("page_examples", "&Examples", "Show images before and after the attack.", "View", "examples", "Ctrl+4"),
    Command("page_compare", "&Compare", "Show runs laid over each other.", "View", "compare", "Ctrl+5"),
    Command("page_results", "&Results", "Show the table of a study.", "View", "results", "Ctrl+6"),
    Command("page_log", "Lo&g", "Show the log.", "View", "text", "Ctrl+7"),
    Command("panel_setup", "&Set-up panel", "Show or hide the form.", "View", checkable=True, separator=True),
    Command("panel_runs", "Runs and &queue panel", "Show or hide the list of runs.", "View", checkable=True),
    Command("panel_inspector", "Selected run &panel", "Show or hide what is known about the selected run.", "View",
            checkable=True),
    Command("filter", "&Filter runs", "Put the cursor into the filter of the run list.", "View", "search",
            "Ctrl+F", separator=True),
    Command("next_pane", "&Next part of the window", "Put the keyboard into the next part of the window.", "View", "",
            "F6"),
    Command("previous_pane", "Pre&vious part of the window", "Put the keyboard into the part before.", "View", "",
            "Shift+F6"),
    Command("plots_only", "Plots &only", "Hide everything but the plots.", "View", "maximise", "F11",
            checkable=True, separator=True),
    Command("theme_system", "Theme of the &desktop", "Light or dark as the desktop is.", "View", "theme", checkable=True,
            separator=True),
    Command("theme_light", "L&ight theme", "Dark text on light ground.", "View", "", checkable=True),
    Command("theme_dark", "Dar&k theme", "Light text on dark ground.", "View", "", checkable=True),
    Command("larger", "L&arger", "Show everything larger, up to 200 %.", "View", "", "Ctrl++", separator=True),
    Command("smaller", "S&maller", "Show everything smaller, down to 100 %.", "View", "", "Ctrl+-"),
    Command("reset_layout", "Reset layo&ut", "Put every part of the window back to its place.", "View", "reset"),
    Command("palette", "&Commands…", "Find a command, run, preset or setting by a few letters.", "Help", "search",
            "Ctrl+Shift+P", "Commands"),
    Command("shortcuts", "&Shortcuts…", "List every command with its shortcut, and change shortcuts.", "Help", "keyboard",
            "Ctrl+/"),
    Command("tour", "&Tour of the window", "Show the parts of the window one after the other.", "Help", "info"),
    Command("documentation", "&Documentation", "Open what this program's README says.", "Help", "text", "F1"),
    Command("report", "&Report a problem…", "Copy what helps to find out what went wrong.", "Help", "warning",
            separator=True),
    Command("about", "&About", "Version, licences, and what to cite.", "Help", "info"),
)  # fmt: skip

MENUS = ("File", "Edit", "Run", "Analyse", "View", "Help")
#: The commands of the toolbar; "" is a line between them.
TOOLBAR = (
    "run", "pause", "resume", "stop", "", "attack_run", "inspect_run", "export", "", "palette"
)  # fmt: skip
#: How many commands are remembered as those used last.
REMEMBERED = 12
#: Why nothing that writes makes sense where another program holds the workspace.
READ_ONLY = "Another program writes to this workspace; here it can only be looked at."


class CommandSet(QObject):
    """The commands as actions. `run(id)` is called with the id of the one that was chosen."""

    #: The user gave a command other keys.
    keys_changed = Signal()

    def __init__(
        self, run: Callable[[str], None], parent: QObject, *, own_keys: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(parent)
        self._run = run
        self._situation = Situation()
        self._missing: dict[str, str] = {}
        self.actions: dict[str, QAction] = {}
        #: Ids of the commands used last, the last one first.
        self.used: list[str] = []
        for command in COMMANDS:
            action = QAction(command.text, self)
            action.setObjectName(command.id)
            action.setData(command.id)
            action.setStatusTip(command.help)
            action.setCheckable(command.checkable)
            if command.place:
                action.setShortcutContext(Qt.ShortcutContext.WidgetShortcut)
            action.setShortcut(QKeySequence((own_keys or {}).get(command.id, command.shortcut)))
            action.setIconText(command.toolbar or command.title)
            action.triggered.connect(self._triggered)
            self.actions[command.id] = action
            self._explain(command)
        self.recolour()

    def recolour(self) -> None:
        """Draw the icons in the colour of the theme."""
        for command in COMMANDS:
            if command.icon:
                self.actions[command.id].setIcon(theme.icon(command.icon))

    def update(self, situation: Situation) -> None:
        """Enable what makes sense now."""
        self._situation = situation
        for command in COMMANDS:
            missing = self.missing(command)
            if missing != self._missing.get(command.id, ""):
                self._missing[command.id] = missing
                self.actions[command.id].setEnabled(not missing)
                self._explain(command)

    def missing(self, command: Command) -> str:
        """What a command needs that is not there now; empty if it can be used."""
        if command.writes and not self._situation.can_write:
            return READ_ONLY
        return "" if command.enabled(self._situation) else command.needs or "It makes no sense now."

    def keys(self, name: str) -> QKeySequence:
        """The keys of a command; empty where it has none."""
        return self.actions[name].shortcut()

    def owner(self, keys: QKeySequence) -> Command | None:
        """The command that has these keys."""
        return next(
            (command for command in COMMANDS if not keys.isEmpty() and self.keys(command.id) == keys), None
        )

    def set_keys(self, name: str, keys: QKeySequence) -> None:
        """Give a command other keys, or none; a command that had them loses them."""
        owner = self.owner(keys)
        for command in COMMANDS:
            if command is owner:
                self.actions[command.id].setShortcut(QKeySequence())
            if command.id == name:
                self.actions[name].setShortcut(keys)
            self._explain(command)
        self.keys_changed.emit()

    def reset_keys(self) -> None:
        """Give every command the keys back that the program gave it."""
        for command in COMMANDS:
            self.actions[command.id].setShortcut(QKeySequence(command.shortcut))
            self._explain(command)
        self.keys_changed.emit()

    def own_keys(self) -> dict[str, str]:
        """The keys that the user chose, by command; "" where a command is to have none."""
        portable = QKeySequence.SequenceFormat.PortableText
        return {
            command.id: self.keys(command.id).toString(portable)
            for command in COMMANDS
            if self.keys(command.id) != QKeySequence(command.shortcut)
        }

    def listen_in(self, widget: QWidget, place: str) -> None:
        """Let the keys of the commands of a place be heard in a widget."""
        widget.addActions([self.actions[command.id] for command in COMMANDS if command.place == place])

    def fill_menus(self, bar: QMenuBar) -> dict[str, QMenu]:
        """Make the menus."""
        menus: dict[str, QMenu] = {name: Menu(f"&{name}", bar) for name in MENUS}
        for menu in menus.values():
            bar.addMenu(menu)
        for command in COMMANDS:
            if command.separator:
                menus[command.menu].addSeparator()
            menus[command.menu].addAction(self.actions[command.id])
        return menus

    def fill_toolbar(self, bar: QToolBar) -> None:
        """Put the commands that have a toolbar text into the toolbar, in the order of a study's life."""
        for name in TOOLBAR:
            if not name:
                bar.addSeparator()
                continue
            bar.addAction(self.actions[name])
            button = bar.widgetForAction(self.actions[name])
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            button.setAccessibleName(self.actions[name].iconText().rstrip("…"))

    def _explain(self, command: Command) -> None:
        """Say in the tooltip what a command does, its keys, and what it needs while it cannot be used."""
        action = self.actions[command.id]
        keys = action.shortcut().toString(QKeySequence.SequenceFormat.NativeText)
        text = f"{command.help}{f' ({keys})' if keys else ''}"
        action.setToolTip("\n".join(filter(None, (text, self._missing.get(command.id)))))

    def _triggered(self) -> None:
        action = self.sender()
        if isinstance(action, QAction):
            name = str(action.data())
            self.used = [name, *(other for other in self.used if other != name)][:REMEMBERED]
            self._run(name)
