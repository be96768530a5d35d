"""Commands that help: the palette, shortcuts, the tour, documentation, what to cite."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial

from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices, QGuiApplication, QKeySequence
from PySide6.QtWidgets import QWidget

from cartl_gui import program, words
from cartl_gui.actions.area import Area
from cartl_gui.commands import COMMANDS
from cartl_gui.dialogs.about import AboutDialog
from cartl_gui.dialogs.documentation import DocumentationDialog
from cartl_gui.dialogs.palette import Entry, Palette
from cartl_gui.dialogs.shortcuts import ShortcutsDialog
from cartl_gui.forms.fields import FieldRow
from cartl_gui.forms.preset_bar import OWN
from cartl_gui.notice_bar import Notice
from cartl_gui.tour import Step, Tour
from engine.config import STAGE_TITLES
from engine.credits import credit_list


class HelpActions(Area):
    """Find commands, explain the window, say what the program is made of."""

    def table(self) -> dict[str, Callable[[], object]]:
        """What each command does, by its id."""
        return {
            "palette": self.show_palette,
            "shortcuts": self.show_shortcuts,
            "tour": self.take_tour,
            "documentation": self.show_documentation,
            "report": self.report_problem,
            "about": self.show_about,
        }

    def show_palette(self) -> None:
        """Find a command, run, preset or setting by a few letters."""
        Palette(self._window, list(self._entries()))

    def show_shortcuts(self) -> None:
        """List every command with its shortcut, and change shortcuts."""
        dialog = ShortcutsDialog(self._window.commands, self._window)
        dialog.exec()
        dialog.deleteLater()

    def take_tour(self) -> None:
        """Show the parts of the window one after the other."""
        window = self._window
        window.settings.has_seen_tour = True
        page, docks = window.tabs.currentWidget(), window.layout_of_docks.docks.values()
        hidden = [dock for dock in docks if not dock.isVisible()]

        def leave() -> None:
            window.tabs.setCurrentWidget(page)
            for dock in hidden:
                dock.hide()

        Tour(window, list(self._steps())).ended.connect(leave)

    def show_documentation(self) -> None:
        """Show the README beside the window."""
        dialog = DocumentationDialog(self._window)
        dialog.finished.connect(dialog.deleteLater)
        dialog.show()

    def report_problem(self) -> None:
        """Copy what helps to find out what went wrong, and open the project's page if it has one."""
        QGuiApplication.clipboard().setText(self._window.surroundings())
        where = program.address()
        text = "Versions, platform and the newest lines of the log were copied. Put them into your report, with what you did."
        self._window.notices.tell(
            Notice(text, "info", "Open the project's page", partial(QDesktopServices.openUrl, QUrl(where)))
            if where
            else Notice(text)
        )

    def show_about(self) -> None:
        """Say version, licences, and what to cite."""
        # Torch would take seconds to import here; the engine imports it soon after the start.
        papers = credit_list() if "torch" in sys.modules else ()
        dialog = AboutDialog(papers, self._window)
        dialog.exec()
        dialog.deleteLater()

    # what can be found ----------------------------------------------------------------------------------
    def _entries(self) -> Iterator[Entry]:
        window = self._window
        used = {name: place for place, name in enumerate(window.commands.used)}
        for command in sorted(COMMANDS, key=lambda command: used.get(command.id, len(used))):
            if command.id == "palette":
                continue
            action = window.commands.actions[command.id]
            yield Entry(
                command.title, command.menu, command.help, action.trigger,
                keys=action.shortcut().toString(QKeySequence.SequenceFormat.NativeText),
                missing=window.commands.missing(command), icon=command.icon, at_once=True,
            )  # fmt: skip
        for info in sorted(window.bridge.runs.values(), key=lambda info: -info.created):
            about = ", ".join(filter(None, (words.STATE_WORDS[info.state], info.study)))
            title = window.runs.model.title(info)
            yield Entry(f"Show {title}", "Run", about, partial(window.show_run, info.id), icon="live")
        own = window.setup.presets.own
        presets = {
            name: (study.title, " ".join(study.description.split())) for name, study in window.presets.items()
        }
        presets |= {OWN + name: (name, "Your own preset.") for name in (own.texts if own else ())}
        for name, (title, about) in presets.items():
            show = partial(window.do.settings.use_preset, name)
            yield Entry(f"Preset {title}", "Set-up", about, show, icon="setup")
        for row in window.setup.form.all_rows():
            if row.relevant:
                yield Entry(
                    f"Go to {row.spec.title}", _where(row.place), row.spec.help,
                    partial(self._go_to_setting, row), icon="setup",
                )  # fmt: skip

    def _go_to_setting(self, row: FieldRow) -> None:
        window = self._window
        window.show_form()
        shown = window.setup.form.reveal(row.place)
        if shown is not None:
            window.setup.scroll_area.ensureWidgetVisible(shown)

    # the tour -------------------------------------------------------------------------------------------
    def _steps(self) -> Iterator[Step]:
        window = self._window
        docks = window.layout_of_docks.docks

        def show_dock(name: str) -> None:
            window.layout_of_docks.show_docks()
            docks[name].show()
            docks[name].raise_()

        def page(widget: QWidget) -> Callable[[], object]:
            return partial(window.tabs.setCurrentWidget, widget)

        keys = window.commands.keys("palette").toString(QKeySequence.SequenceFormat.NativeText)
        yield Step(
            "Set-up", "Choose a preset or fill in the three stages: pre-training, transfer, attack. Every setting tells "
            "what it does, and what is wrong with it, beside its field.",
            lambda: docks["setup"], partial(show_dock, "setup"),
        )  # fmt: skip
        yield Step(
            "Start and steer", "Run the study, pause it, go on. A paused run is saved and goes on exactly where it "
            "stopped, also after a restart.", lambda: window.toolbar,
        )  # fmt: skip
        yield Step(
            "Runs and queue", "Every run with its state, progress and accuracies. The selected run is shown on all pages.",
            lambda: docks["runs"], partial(show_dock, "runs"),
        )  # fmt: skip
        yield Step(
            "Live", "Accuracy, feature distance and loss while a network trains. Each plot can be enlarged, zoomed "
            "and exported.", lambda: window.live, page(window.live),
        )  # fmt: skip
        yield Step(
            "Layers", "Where the robustness goes: how far adversarial features drift from clean ones in each layer, and how "
            "much each layer can amplify.", lambda: window.layers, page(window.layers),
        )  # fmt: skip
        yield Step(
            "Results", "A study's runs over seeds, clean against robust accuracy, and what one method gains over another.",
            lambda: window.results, page(window.results),
        )  # fmt: skip
        yield Step(
            "Log and status", "What runs, how fast and where is told at the bottom. Every message and error is in the log.",
            lambda: window.statusBar(),
        )  # fmt: skip
        yield Step(
            "Everything by keyboard", f"{keys or 'The palette'} finds any command, run, preset or setting by a few letters. "
            "The Help menu has all shortcuts, and this tour.",
            lambda: window.toolbar.widgetForAction(window.commands.actions["palette"]),
        )  # fmt: skip


def _where(place: str) -> str:
    """The part of the form that a setting stands in: "Pre-training › Attack"."""
    stage, *inner = place.split(".")[:-1] or ["run"]
    titles = [
        STAGE_TITLES.get(stage, stage.capitalize()),
        *(part.replace("_", " ").capitalize() for part in inner),
    ]
    return " › ".join(titles)
