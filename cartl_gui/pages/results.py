"""What a study found: the trade-off plot, comparisons of methods, and a table of its cells or its single runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PySide6.QtCore import QEvent, QRectF, Qt, QTimer, Signal
from PySide6.QtGui import QGuiApplication, QResizeEvent, QShowEvent
from PySide6.QtWidgets import (
    QButtonGroup,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSplitter,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from cartl_gui import theme, words
from cartl_gui.pages.compare import ComparePanel
from cartl_gui.pages.empty_page import EmptyPage
from cartl_gui.pages.plot_grid import arrangement
from cartl_gui.pages.results_table import CELL_HEADERS, RUN_HEADERS, ResultsTable, cell_rows, run_rows
from cartl_gui.plots.base import PlotPanel
from cartl_gui.plots.trade_off import TradeOffPlot
from cartl_gui.widgets import ElidedLabel, QuietCombo
from engine.config import ComparisonConfig, StudyConfig
from engine.events import RESUMABLE, RunInfo
from engine.report import source_of
from engine.report.tables import cells_csv, runs_csv
from engine.results import Evaluation, Results, results_of, study_runs

#: Milliseconds after a change before the results are worked out anew; changes come in bursts.
PAUSE_MS = 150
NO_STUDY = (
    "Here the methods of a study stand side by side: clean against robust accuracy, means over seeds, "
    "and what one method gains over another."
)


class ResultsPage(QWidget):
    """Choose a study, see its trade-off, compare its methods, read and copy its table."""

    demo_asked = Signal()
    run_chosen = Signal(str)
    said = Signal(str)
    export_requested = Signal(object)
    resume_asked = Signal(str)
    report_asked = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._known: dict[str, RunInfo] = {}
        self._studies: dict[str, StudyConfig] = {}
        self._questions: Mapping[str, Sequence[ComparisonConfig]] = {}
        self._can_write = True
        self._stale = False
        self.results = Results()
        self.runs: list[RunInfo] = []
        self.plot, self.compare, self.table = TradeOffPlot(), ComparePanel(), ResultsTable()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(PAUSE_MS)
        self._timer.timeout.connect(self.refresh)
        self._build()
        self.plot.export_requested.connect(self.export_requested)
        self.plot.maximise_toggled.connect(self._maximise)
        self.plot.cell_chosen.connect(self._cell_chosen)
        self.table.run_opened.connect(self.run_chosen)
        self.table.cell_selected.connect(self.plot.choose)

    def _build(self) -> None:
        self.study, self.evaluation = QuietCombo(), QuietCombo()
        self.study.setAccessibleName("Study")
        self.study.currentIndexChanged.connect(self.refresh)
        self.evaluation.setAccessibleName("Attack and test images")
        self.evaluation.setToolTip("Attack and test images that the figures below are from")
        self.evaluation.currentIndexChanged.connect(self._show)
        self.progress = ElidedLabel()
        self.progress.setProperty("role", "muted")
        self.resume_button = self._button(
            "Resume study", "resume", "Go on with every run that has not finished"
        )
        self.resume_button.clicked.connect(self._resume)
        self.report_button = self._button(
            "Report…", "export", "Write a report into a folder: HTML page, CSV, JSON and the plot, with the commands that "
            "make each row again",
        )  # fmt: skip
        self.report_button.clicked.connect(self._report)
        label = QLabel("Study")
        label.setBuddy(self.study)
        first = QHBoxLayout()
        first.addWidget(label)
        first.addWidget(self.study, 3)
        first.addWidget(self.progress, 4)
        first.addWidget(self.resume_button)
        first.addWidget(self.report_button)
        self.cells_button, self.runs_button = QPushButton("Cells"), QPushButton("Runs")
        self.cells_button.setToolTip("One row for all runs that differ only in their seed: means over seeds")
        self.runs_button.setToolTip("One row for each single run")
        views = QButtonGroup(self)
        for button in (self.cells_button, self.runs_button):
            button.setCheckable(True)
            views.addButton(button)
        self.cells_button.setChecked(True)
        views.buttonClicked.connect(self._show)
        self.copy_button = self._button(
            "Copy", "copy", "Copy the table with tabs between columns, for a spreadsheet or a document"
        )
        self.copy_button.clicked.connect(self._copy)
        self.save_button = self._button("CSV…", "save", "Save the table as CSV; accuracies are shares 0 to 1")
        self.save_button.clicked.connect(self._save)
        second = QHBoxLayout()
        second.addWidget(self.cells_button)
        second.addWidget(self.runs_button)
        second.addSpacing(8)
        second.addWidget(self.evaluation, 1)
        second.addWidget(self.copy_button)
        second.addWidget(self.save_button)
        self._note = ElidedLabel()
        self._note.setProperty("role", "muted")
        lower = QWidget()
        below = QVBoxLayout(lower)
        below.setContentsMargins(0, 0, 0, 0)
        below.setSpacing(4)
        below.addLayout(second)
        below.addWidget(self.table, 1)
        below.addWidget(self._note)
        upper = QSplitter(Qt.Orientation.Horizontal)
        upper.addWidget(self.plot)
        upper.addWidget(self.compare)
        upper.setSizes([640, 300])
        upper.setStretchFactor(0, 1)
        self._lower = lower
        self._split = QSplitter(Qt.Orientation.Vertical)
        self._split.addWidget(upper)
        self._split.addWidget(lower)
        self._split.setSizes([620, 380])
        for splitter in (upper, self._split):
            splitter.setChildrenCollapsible(False)
        filled = QWidget()
        column = QVBoxLayout(filled)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(first)
        column.addWidget(self._split, 1)
        self.stack = QStackedWidget()
        empty = EmptyPage("results", NO_STUDY)
        empty.pressed.connect(self.demo_asked)
        self.stack.addWidget(empty)
        self.stack.addWidget(filled)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(8, 8, 8, 6)
        outer.addWidget(self.stack)

    def _button(self, text: str, picture: str, tip: str) -> QPushButton:
        button = QPushButton(text)
        button.setObjectName(picture)
        button.setIcon(theme.icon(picture))
        button.setToolTip(tip)
        return button

    # what the window calls ------------------------------------------------------------------------------
    def show_runs(self, runs: list[RunInfo], study: str | None = None) -> None:
        """Take over the runs of the workspace, and turn to a study if one is named."""
        self._known = {info.id: info for info in runs}
        newest: dict[str, float] = {}
        for info in runs:
            newest[info.study] = max(newest.get(info.study, 0.0), info.created)
        names = sorted(newest, key=lambda name: newest[name], reverse=True)
        wanted = study if study in newest else self.study.currentText()
        self.study.blockSignals(True)
        if [self.study.itemText(index) for index in range(self.study.count())] != names:
            self.study.clear()
            self.study.addItems(names)
        self.study.setCurrentIndex(max(0, self.study.findText(wanted)))
        self.study.blockSignals(False)
        self.stack.setCurrentIndex(1 if runs else 0)
        self._stale = True
        if self.isVisible() and not self._timer.isActive():
            self._timer.start()

    def know_study(self, study: StudyConfig) -> None:
        """Note what a study asks and plans, for when its results are shown."""
        self._studies[study.title] = study
        self._stale = True

    def know_questions(self, questions: Mapping[str, Sequence[ComparisonConfig]]) -> None:
        """Note what the studies of the workspace ask; a study that is known in full asks for itself."""
        self._questions = questions
        self._stale = True

    def set_can_write(self, on: bool) -> None:
        """Forbid resuming while the workspace is read-only."""
        self._can_write = on
        self._stale = True

    def refresh(self) -> None:
        """Work out the results of the chosen study and show them."""
        self._stale = False
        title = self.study.currentText()
        self.runs = study_runs(title, self._known)
        study = self._studies.get(title)
        asked = None if study else self._questions.get(title, ())
        self.results = results_of(self.runs, self._known, study, comparisons=asked)
        names = [evaluation.title for evaluation in self.results.evaluations]
        if [self.evaluation.itemText(index) for index in range(self.evaluation.count())] != names:
            kept = self.evaluation.currentText()
            self.evaluation.blockSignals(True)
            self.evaluation.clear()
            self.evaluation.addItems(names or ["No run has a result yet"])
            self.evaluation.setCurrentIndex(names.index(kept) if kept in names else 0)
            self.evaluation.blockSignals(False)
        self.evaluation.setEnabled(bool(names))
        self._tell_progress()
        self._show()

    def shown_evaluation(self) -> Evaluation | None:
        """The evaluation that is chosen, None if nothing has a result."""
        index = self.evaluation.currentIndex()
        return self.results.evaluations[index] if 0 <= index < len(self.results.evaluations) else None

    def save_csv(self, path: str) -> None:
        """Write the cells of all evaluations, or the runs, as CSV."""
        try:
            with open(path, "w", encoding="utf-8", newline="") as file:
                file.write(self.csv())
        except OSError as error:
            self.said.emit(f"Could not write {path}: {error.strerror}")
            return
        self.said.emit(f"Wrote {path}")

    def csv(self) -> str:
        """The table as CSV: one row a cell with the command that makes it again, or one row a run."""
        if self.runs_button.isChecked():
            return runs_csv(self.results)
        return cells_csv(self.results, source_of(self.study.currentText(), self.results).command)

    def layout_of_panels(self) -> list[tuple[PlotPanel, QRectF]]:
        """The plot, for a figure of the whole page."""
        return arrangement([self.plot], self)

    # inside ---------------------------------------------------------------------------------------------
    def _tell_progress(self) -> None:
        states = [run.state for run in self.runs]
        done, failed = states.count("finished"), states.count("failed")
        parts = [f"{done} of {words.count(len(states) + len(self.results.missing), 'run')} finished"]
        parts += [f"{failed} failed"] if failed else []
        parts += ["running"] if "running" in states else []
        self.progress.setText(", ".join(parts))
        self.progress.setToolTip("\n".join(parts))
        waiting = any(run.state in RESUMABLE | {"created"} for run in self.results.unfinished)
        self.resume_button.setEnabled(self._can_write and waiting)
        self.report_button.setEnabled(bool(self.results.cells))

    def _show(self) -> None:
        evaluation = self.shown_evaluation()
        self.plot.show_evaluation(evaluation)
        self.compare.show_results(evaluation, self.results)
        if self.runs_button.isChecked():
            self.table.show_rows(RUN_HEADERS, run_rows(self.runs))
        else:
            self.table.show_rows(CELL_HEADERS, cell_rows(self.runs, self.results, evaluation))
        self._note.setText(self._how_sure(evaluation))
        self._note.setToolTip(self._note.text())

    def _how_sure(self, evaluation: Evaluation | None) -> str:
        if self.runs_button.isChecked():
            return (
                "Shares are in percent of the attacked test images, with 95 % Wilson intervals in brackets."
            )
        over = {cell.robust.over for cell in evaluation.cells} if evaluation else set()
        if over == {"images"}:
            return (
                "Every cell has 1 seed: the 95 % interval in brackets (Wilson) speaks of its test images only and says "
                "nothing about other seeds."
            )
        text = "Means over seeds with 95 % Student-t intervals in brackets."
        more = " A cell with 1 seed shows the Wilson interval over its test images instead."
        return text + (more if "images" in over else "")

    def _resume(self) -> None:
        self.resume_asked.emit(self.study.currentText())

    def _report(self) -> None:
        self.report_asked.emit(self.study.currentText())

    def _copy(self) -> None:
        lines = self.table.as_text()
        QGuiApplication.clipboard().setText("\n".join("\t".join(line) for line in lines))
        self.said.emit(f"Copied {words.count(len(lines) - 1, 'row')}")

    def _save(self) -> None:
        path, _kind = QFileDialog.getSaveFileName(self, "Save the table", "results.csv", "CSV (*.csv)")
        if path:
            self.save_csv(path)

    def _cell_chosen(self, name: str) -> None:
        self.table.select_cell(name)

    def _maximise(self, _panel: PlotPanel, on: bool) -> None:
        self.compare.setVisible(not on)
        self._lower.setVisible(not on)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Show what changed while the page was out of sight."""
        super().showEvent(event)
        if self._stale:
            self.refresh()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Take the long names out of the way where there is no room for them."""
        super().resizeEvent(event)
        self.progress.setVisible(self.width() > 760)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Follow a change of the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "stack"):
            for button in (self.resume_button, self.report_button, self.copy_button, self.save_button):
                button.setIcon(theme.icon(button.objectName()))
