"""The set-up dock: preset, the study's runs, the form of the chosen run, and the button that starts the study."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QKeySequence, QShortcut
from PySide6.QtWidgets import QWidget

from cartl_gui import theme, words
from cartl_gui.forms.changes_section import change_title
from cartl_gui.forms.config_form import ConfigForm
from cartl_gui.forms.field_desk import FieldDesk
from cartl_gui.forms.field_events import ALSO_REDO
from cartl_gui.forms.fields import FieldRow
from cartl_gui.forms.grid_section import GridSection, amount_of, axis_title
from cartl_gui.forms.history import FormState, History, Origin
from cartl_gui.forms.in_step import InStep
from cartl_gui.forms.preset_bar import OWN
from cartl_gui.forms.proposals import new_run, run_from
from cartl_gui.forms.setup_layout import SetupLayout
from cartl_gui.models.run_list import RUNS_FORMAT
from cartl_gui.own_presets import OwnPresets, RecentValues
from engine.commands import command_of_draft
from engine.config import STAGE_TITLES, StudyConfig, StudyDraft, dump_study
from engine.config.changes import Change, changes, undone
from engine.errors import Problem
from engine.events import RunInfo


class SetupPanel(QWidget):
    """Edits a study: a list of runs, one of which is in the form.

    Args:
        presets: the studies that come with the program, by id.
        texts: their TOML, with their grids.
        own: the user's own presets; None where there is no place for them.
        recent: the values used last.
    """

    changed = Signal()
    submitted = Signal(object)
    open_asked = Signal()
    save_asked = Signal()
    #: Runs were dropped, whose settings are wanted: their ids.
    runs_dropped = Signal(list)

    def __init__(
        self,
        presets: Mapping[str, StudyConfig],
        texts: Mapping[str, str] | None = None,
        *,
        own: OwnPresets | None = None,
        recent: RecentValues | None = None,
    ) -> None:
        super().__init__()
        self._presets, self._texts = dict(presets), dict(texts or {})
        self._draft = StudyDraft.of(StudyConfig(runs=[new_run()]))
        self._index = 0
        self._origin = Origin("the program's defaults", self._draft)
        self._last_run: StudyDraft | None = None
        self._earlier: list[tuple[str, str]] = []
        self._can_submit = True
        self._first_problem: tuple[int, str] | None = None
        self._study: StudyConfig | None = None
        self._problem_count, self._problem_text = 0, ""
        self._loading = self._restored = False
        self.setAcceptDrops(True)
        self.form = ConfigForm(judges=False)
        self.grid = GridSection(self.form.events)
        self._in_step = InStep(self.form, self.grid)
        self.history = History(self)
        parts = self.parts = SetupLayout(self, self._presets, own, self.grid, self.form)
        self.presets, self.preset, self.title, self.chooser = (
            parts.presets, parts.presets.chooser, parts.title, parts.chooser
        )  # fmt: skip
        self.add_button, self.remove_button = parts.add_button, parts.remove_button
        self.run_button, self.scroll_area, self.estimate = parts.run_button, parts.scroll_area, parts.estimate
        self._status, self._help = parts.status, parts.help
        self.desk = FieldDesk(self, self.form, parts.help, recent if recent is not None else RecentValues())
        self._connect()
        self.new_experiment()
        self.history.begin(self.state())
        parts.order_tabs()

    def _connect(self) -> None:
        parts, events = self.parts, self.form.events
        self.grid.changed.connect(self._grid_edited)
        self.grid.grown.connect(parts.order_tabs)
        self.form.grown.connect(parts.order_tabs)
        self.form.edited.connect(self._form_edited)
        self.presets.chosen.connect(self._choose_preset)
        self.presets.open_asked.connect(self.open_asked)
        self.presets.save_asked.connect(self.save_asked)
        self.presets.keep_asked.connect(self.save_as_preset)
        self.title.textChanged.connect(self._title_edited)
        self.chooser.currentIndexChanged.connect(self._choose)
        self.add_button.clicked.connect(self._duplicate)
        self.remove_button.clicked.connect(self._remove)
        parts.search.textChanged.connect(self._seek)
        parts.search.returnPressed.connect(self._go_to_found)
        parts.changes_button.toggled.connect(self._list_changes)
        parts.changes_section.close_button.clicked.connect(parts.changes_button.toggle)
        parts.changes_section.reset_asked.connect(self._take_back)
        parts.changes_section.base_chosen.connect(self._compare_with)
        parts.bar.undo_asked.connect(self.undo)
        parts.undo_button.clicked.connect(self.undo)
        parts.redo_button.clicked.connect(self.redo)
        self.history.restored.connect(self._restore)
        self.history.stack.indexChanged.connect(self._tell_history)
        self._status.clicked.connect(self._go_to_problem)
        self.run_button.clicked.connect(self.submit)
        self.desk.left.connect(self.history.leave_field)
        events.watch_undo(self.title)
        events.undo_asked.connect(self.undo)
        events.redo_asked.connect(self.redo)
        redo = QKeySequence.keyBindings(QKeySequence.StandardKey.Redo)
        for keys, slot in (
            (QKeySequence.keyBindings(QKeySequence.StandardKey.Undo), self.undo),
            (redo if ALSO_REDO in redo else [*redo, ALSO_REDO], self.redo),
        ):
            shortcut = QShortcut(self)
            shortcut.setKeys(keys)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(slot)

    # what the window calls ------------------------------------------------------------------------------
    def new_experiment(self) -> None:
        """Put one run with the program's defaults into the form."""
        study = StudyConfig(title="My experiment", runs=[new_run()])
        self.propose(StudyDraft.of(study), "the program's defaults", step="new experiment")

    def start_from(self, weights: str) -> None:
        """Put one run into the form that starts from a weights file."""
        study = StudyConfig(title="My experiment", runs=[run_from(weights)])
        self.propose(StudyDraft.of(study), f"a transfer from {weights}")
        self.open_sections("run", "finetuning")

    def set_study(self, study: StudyConfig) -> None:
        """Show the settings of a study, every run of it; "reset" goes back to them."""
        self.set_draft(StudyDraft.of(study))

    def set_draft(self, draft: StudyDraft) -> None:
        """Show a study as its file says it, with its grids; "reset" goes back to it."""
        self.propose(draft, "what was opened")

    def set_preset(self, name: str) -> None:
        """Show one of the studies that come with the program, or an own preset."""
        if name in self._texts:
            draft = StudyDraft.parse(self._texts[name], origin=f"{name}.toml")
        elif name.startswith(OWN) and self.presets.own is not None:
            draft = StudyDraft.parse(self.presets.own.texts[name.removeprefix(OWN)], origin=name)
        else:
            draft = StudyDraft.of(self._presets[name])
        title = self.presets.title(name)
        self.propose(draft, f"the preset “{title}”", preset=name, step=f"load preset {title}")

    def propose(
        self, draft: StudyDraft, source: str, *, preset: str = "", step: str = "", told: str = ""
    ) -> None:
        """Put a study into the form in place of what is there; one step that can be undone.

        Args:
            draft: the study.
            source: where it comes from, in words: "the settings of AT, k=3".
            preset: the id of the preset that it is, empty for anything else.
            step: what the step is called, such as "load preset Demo".
            told: a sentence for the bar above the form, which offers to undo it; empty shows none.
        """
        self.parts.search.clear()
        self._draft, self._index = draft, 0
        self._show_run()
        # What is shown may be spelled in another way than what was read; both count as where it came from.
        self._origin = Origin(source, FormState.of(self._draft, 0, self._origin).draft, preset)
        self._show_origin()
        self.grid.set_open(bool(draft.grid or draft.runs[0].grid))
        self._record(step or f"use {source}")
        if told:
            self.parts.bar.say(told)
        else:
            self.parts.bar.hide()

    def state(self) -> FormState:
        """What is in the form now."""
        return FormState.of(self._draft, self._index, self._origin)

    def begin_with(self, state: FormState) -> None:
        """Put a state into the form as if it had always been there: nothing before it can be undone."""
        self._show_state(state)
        self.history.begin(self.state())

    def open_sections(self, *keys: str) -> None:
        """Unfold sections of the form."""
        for key in keys:
            self.form.sections[key].set_open(True)

    def study(self) -> StudyConfig | None:
        """The study as typed, with every run that its grids make, or None while something cannot be used."""
        return self._study

    def text(self) -> str:
        """The study as typed, as TOML: with its grids, else every setting of every run in full."""
        if self._draft.is_grid or self._study is None:
            return self._draft.text()
        return dump_study(self._study)

    def command(self, workspace: Path) -> str:
        """The command that makes the study in a terminal.

        Raises:
            CartlError: the study cannot be used, or its settings cannot be kept in the workspace.
        """
        text = self._texts.get(self._origin.preset, "")
        preset = self._origin.preset if text else ""
        return command_of_draft(self._draft, workspace, preset=preset, text=text)

    def save_as_preset(self) -> None:
        """Ask for a name and keep the study as a preset."""
        if self._study is None:
            self._go_to_problem()
        elif preset := self.presets.keep(self.text(), self.title.text().strip()):
            source = f"the preset “{self.presets.title(preset)}”"
            self._origin = Origin(source, FormState.of(self._draft, 0, self._origin).draft, preset)
            self._tell_changes()
            self._record(f"save as {source}")

    def set_earlier_runs(self, runs: Iterable[RunInfo]) -> None:
        """Offer finished runs that trained something as starting points."""
        self._earlier = [
            (info.id, f"{info.title}, {info.study}, {words.clock(info.created)}")
            for info in runs
            if info.state == "finished" and (info.config.pretraining or info.config.finetuning)
        ]
        self._offer_starts()

    def set_can_submit(self, on: bool) -> None:
        """Forbid starting while the workspace is read-only."""
        self._can_submit = on
        self._tell()

    def submit(self) -> None:
        """Hand the study over to be run, or go to the first setting that cannot be used."""
        if self._study is None:
            self._go_to_problem()
        elif self._can_submit:
            self._last_run = FormState.of(self._draft, self._index, self._origin).draft
            self.desk.recent.use(
                {row.place: row.typed() for row in self.form.all_rows() if row.relevant and row.is_changed()}
            )
            self.submitted.emit(self._study)

    def undo(self) -> None:
        """Take back the last edit."""
        self.history.stack.undo()

    def redo(self) -> None:
        """Do again what was taken back."""
        self.history.stack.redo()

    def find_setting(self) -> None:
        """Put the cursor into the field that searches settings."""
        self.parts.search.setFocus()
        self.parts.search.selectAll()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802
        """Take runs; files are for the window."""
        if event.mimeData().hasFormat(RUNS_FORMAT):
            event.setDropAction(Qt.DropAction.CopyAction)
            event.accept()
        else:
            event.ignore()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802
        """Ask for the settings of dropped runs."""
        event.setDropAction(Qt.DropAction.CopyAction)
        event.accept()
        self.runs_dropped.emit(bytes(event.mimeData().data(RUNS_FORMAT).data()).decode().split())

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Follow a change of the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "parts"):
            self.parts.recolour()

    # editing --------------------------------------------------------------------------------------------
    def _restore(self, state: FormState, place: str) -> None:
        self._show_state(state)
        self._restored = True
        if place and (row := self.form.row_at(place)) is not None and row.relevant:
            self.form.reveal(place)
            self.scroll_area.ensureWidgetVisible(row)

    def _show_state(self, state: FormState) -> None:
        self._draft, self._index, self._origin = state.draft, state.index, state.origin
        self.parts.bar.hide()
        self._show_run()
        self._show_origin()
        self.estimate.mark_stale()

    def _settle(self, step: str, place: str = "", *, typed: bool = False) -> None:
        """Check everything after an edit, tell what came out, and note the step."""
        self._check()
        self._record(step, place, typed=typed)

    def _record(self, step: str, place: str = "", *, typed: bool = False) -> None:
        """Note a step whose outcome is shown, and tell others."""
        self.history.record(self.state(), step, place, typed=typed)
        self.estimate.mark_stale()
        self.changed.emit()

    def _form_edited(self, source: object) -> None:
        if self._loading:
            return
        if isinstance(source, FieldRow):
            self._in_step.take_from(source)
            self._settle(f"change {source.spec.title}", source.place, typed=True)
        else:
            stage = str(source)
            on = self.form.is_on(stage) if stage in STAGE_TITLES else self.form.foreign.isChecked()
            title = STAGE_TITLES.get(stage, "Checkpoint")
            self._settle(f"switch {title} {'on' if on else 'off'}")

    def _grid_edited(self, name: str) -> None:
        if not self._loading:
            self._in_step.show_axes()
            self._settle(
                "change the seeds" if name == "seed" else f"vary {axis_title(name)}",
                f"grid.{name}",
                typed=True,
            )

    def _title_edited(self) -> None:
        if not self._loading:
            self._settle("rename the study", "title", typed=True)

    def _take_back(self, change: Change) -> None:
        """Put back what one change was from."""
        base = self._base()
        draft = undone(base, self._draft, change)
        self._draft = draft
        self._index = min(self._index, len(draft.runs) - 1)
        self._show_run()
        self._record(f"reset {change_title(change)}")

    def _duplicate(self) -> None:
        self._take_form()
        twin = copy.deepcopy(self._draft.runs[self._index])
        taken = {run.values.get("name") for run in self._draft.runs}
        stem, number = str(twin.values.get("name")), 2
        while f"{stem}-{number}" in taken:
            number += 1
        for table in (twin.values, twin.shown, twin.written):
            table["name"] = f"{stem}-{number}"
        self._index += 1
        self._draft.runs.insert(self._index, twin)
        self._show_run()
        self._record(f"add the run {twin.values['name']}")

    def _remove(self) -> None:
        if len(self._draft.runs) < 2:
            return
        name = self._draft.runs[self._index].values.get("name")
        del self._draft.runs[self._index]
        self._index = min(self._index, len(self._draft.runs) - 1)
        self._show_run()
        self._record(f"remove the run {name}")

    # showing --------------------------------------------------------------------------------------------
    def _fill_chooser(self) -> None:
        self.chooser.blockSignals(True)
        self.chooser.clear()
        for number, run in enumerate(self._draft.runs, start=1):
            self.chooser.addItem(self._label(number, run.values.get("name"), run.values.get("seed")))
        self.chooser.setCurrentIndex(self._index)
        self.chooser.blockSignals(False)
        self.remove_button.setEnabled(len(self._draft.runs) > 1)

    def _label(self, number: int, name: object, seed: object) -> str:
        """A run in the list of the study's runs, with its seed where they differ."""
        runs = self._draft.runs
        others = [run.values.get("seed") for place, run in enumerate(runs, start=1) if place != number]
        return f"{number} of {len(runs)}: {name}" + (
            f", seed {seed}" if any(other != seed for other in others) else ""
        )

    def _show_run(self) -> None:
        """Show the study and its run in every widget, check it, and record nothing."""
        self._loading = True
        title = str(self._draft.head.get("title", ""))
        if self.title.text() != title:
            self.title.setText(title)
        self._fill_chooser()
        self._offer_starts()
        run = self._draft.runs[self._index]
        self.form.set_values(run.values, run.shown)
        self.grid.show_grid(self._draft.grid, run.grid, run.values, many=len(self._draft.runs) > 1)
        self._in_step.show_axes()
        self._loading = False
        self._check()

    def _show_origin(self) -> None:
        self.presets.show_choice(self._origin.preset)
        origin = self._origin.draft
        texts = origin.grid | (origin.runs[self._index].grid if self._index < len(origin.runs) else {})
        self.form.set_baseline_sweeps(texts)
        self._tell_changes()

    def _offer_starts(self) -> None:
        names = dict.fromkeys(str(run.values.get("name")) for run in self._draft.runs[: self._index])
        before = [(name, "an earlier run of this study") for name in names]
        self.form.set_starts(before + self._earlier, self._earlier)

    def _choose(self, index: int) -> None:
        if 0 <= index < len(self._draft.runs) and index != self._index:
            self._take_form()
            self._index = index
            self._show_run()
            self._show_origin()
            self.history.look(self.state())
            self.changed.emit()

    def _choose_preset(self, name: str) -> None:
        self.set_preset(name)

    def _take_form(self) -> dict[str, str]:
        """Put what is typed into the draft; returns axes that stand twice in the grid, with the reason."""
        self._draft.head["title"] = self.title.text().strip()
        run = self._draft.runs[self._index]
        run.values = self.form.values()
        self._draft.grid, run.grid, twice = self.grid.axes()
        return twice

    def _check(self) -> None:
        """Judge the study once and show beside each setting what came out."""
        twice = self._take_form()
        name, seed = (self.form.rows[field].value() for field in ("name", "seed"))
        text = self._label(self._index + 1, name, seed)
        if self.chooser.itemText(self._index) != text:
            self.chooser.setItemText(self._index, text)
        judgement = self._draft.judge(drop_stale=True)
        problems = [Problem(place, text) for place, text in twice.items()] + judgement.problems
        self._study = None if problems else judgement.study
        here = self._index
        self.form.show_judgement(judgement.runs[here], judgement.beside[here], judgement.given[here])
        own = f"runs.{self._index}.grid."
        axes = {problem.place.replace(own, "own."): problem.message for problem in reversed(problems)}
        axes = {place: text for place, text in axes.items() if place.startswith(("grid.", "own."))}
        self.grid.show_problems_at(axes)
        amount = words.count(len(self._study.runs), "run") if self._study is not None else ""
        self.form.show_sweeps(self._in_step.problems_of_fields(axes), amount)
        self.form.set_varied(self._in_step.varied_elsewhere(self._draft, self._index))
        self._tell_amount()
        self._problem_count, self._first_problem, self._problem_text = len(problems), None, ""
        for problem in problems[:1]:
            parts = problem.place.split(".")
            in_run = parts[0] == "runs" and len(parts) > 1 and parts[1].isdigit()
            run = int(parts[1]) if in_run else self._index
            self._first_problem = (run, ".".join(parts[2:]) if in_run else problem.place)
            self._problem_text = problem.message
        self._tell()
        self._tell_changes()

    def _tell_amount(self) -> None:
        """Say what the grid amounts to, and which comparisons do not fit it any more."""
        if self._study is None:
            self.grid.show_amount("")
            self.grid.summary.setText("")
            return
        text = amount_of(self._study)
        makes_more = len(self._study.runs) > len(self._draft.runs)
        self.grid.summary.setText(words.count(len(self._study.runs), "run") if makes_more else "")
        self.grid.summary.setToolTip(text)
        lost = len(self._draft.head.get("comparisons", ())) - len(self._study.comparisons)
        if lost:
            text += f". {words.count(lost, 'comparison')} left out: the runs have other names now"
        self.grid.show_amount(text[:1].upper() + text[1:] + ".")

    def _tell(self) -> None:
        amount = len(self._study.runs if self._study else self._draft.runs)
        self.run_button.setText("Run study" if amount < 2 else f"Run study ({words.count(amount, 'run')})")
        self.run_button.setEnabled(self._study is not None and self._can_submit)
        self.estimate.set_can_estimate(self._study is not None)
        self.run_button.setToolTip(
            "Queue every run of the study (Ctrl+R)"
            if self._can_submit
            else "Another program writes to this workspace; it can only be looked at"
        )
        self._status.setVisible(self._study is None)
        if self._first_problem is not None:
            run, place = self._first_problem
            here = "" if run == self._index else f" (run {run + 1})"
            plural = "setting needs" if self._problem_count == 1 else "settings need"
            self._status.setText(f"{self._problem_count} {plural} mending{here}")
            self._status.setIcon(theme.icon("warning", theme.scheme().error))
            if place in ("title", "runs"):
                self._help.setText(self._problem_text[:1].upper() + self._problem_text[1:])

    def _tell_history(self) -> None:
        stack = self.history.stack
        for button, verb, text, on in (
            (self.parts.undo_button, "Undo", stack.undoText(), stack.canUndo()),
            (self.parts.redo_button, "Redo", stack.redoText(), stack.canRedo()),
        ):
            button.setEnabled(on)
            keys = "Ctrl+Z" if verb == "Undo" else "Ctrl+Y"
            button.setToolTip(f"{verb}: {text} ({keys})" if on else f"Nothing to {verb.lower()}")
        if self._restored:
            self._restored = False
            self.changed.emit()

    # changes --------------------------------------------------------------------------------------------
    def _base(self) -> StudyDraft:
        """What the form is compared with."""
        chosen = self.parts.changes_section.base.currentData()
        return self._last_run if chosen == "last" and self._last_run is not None else self._origin.draft

    def _tell_changes(self) -> None:
        found = changes(self._origin.draft, self._draft)
        self.form.show_changes([change.place for change in found if change.run == self._index])
        self.grid.show_changes(sum(change.place.startswith("grid.") for change in found))
        self.parts.show_amount_of_changes(len(found), self._origin.text)
        if self.parts.changes_section.isHidden():
            return
        base = self._base()
        listed = found if base is self._origin.draft else changes(base, self._draft)
        self.parts.changes_section.show_changes(listed, many=len(self._draft.runs) > 1)

    def _list_changes(self, on: bool) -> None:
        section = self.parts.changes_section
        if on:
            bases = [("origin", self._origin.text)]
            if self._last_run is not None:
                bases.append(("last", "what was run last"))
            section.set_bases(bases, "origin")
        section.setVisible(on)
        self._tell_changes()
        if on:
            self.scroll_area.ensureWidgetVisible(section)

    def _compare_with(self, _key: str) -> None:
        self._tell_changes()

    # finding and explaining -----------------------------------------------------------------------------
    def _seek(self, text: str) -> None:
        shown, hidden = self.form.seek(text)
        self.grid.setVisible(not text.strip())
        self.parts.show_found(shown, hidden, searching=bool(text.strip()))

    def _go_to_found(self) -> None:
        found = next((row for row in self.form.all_rows() if row.isVisible()), None)
        if self.parts.search.text().strip() and found is not None:
            found.editor.setFocus(Qt.FocusReason.OtherFocusReason)
            self.scroll_area.ensureWidgetVisible(found)

    def _go_to_problem(self) -> None:
        if self._first_problem is None:
            return
        self.parts.search.clear()
        run, place = self._first_problem
        if run != self._index:
            self.chooser.setCurrentIndex(run)
        if place == "title":
            self.title.setFocus()
            return
        if place.startswith("grid."):
            self.grid.set_open(True)
            self.scroll_area.ensureWidgetVisible(self.grid)
            return
        row = self.form.reveal(place)
        if row is not None:
            self.scroll_area.ensureWidgetVisible(row)
