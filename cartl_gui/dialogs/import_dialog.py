"""Import of a checkpoint of the CARTL authors' code: what it is, what it cannot tell, and where to write it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from cartl_gui.bridge import EngineBridge
from cartl_gui.forms.fields import LABEL_WIDTH, FieldRow
from cartl_gui.forms.specs import specs_of
from cartl_gui.widgets import WrappedLabel
from engine.api import IMPORTING, RECOGNISING, import_destination
from engine.config import DataConfig, ImportConfig, validate
from engine.errors import ConfigError, Problem
from engine.events import Exported, ForeignWeights, RequestFailed, WeightsRecognised

CHECKPOINTS = "Checkpoints (*.pt *.pth *.safetensors);;All files (*)"

#: Least width of texts that wrap, in pixels.
MESSAGE_WIDTH = 430
#: What empty fields of mean and std mean.
KNOWN = "red green blue; empty: as known for the data"


class Importer(Protocol):
    """What the dialog asks of a session; the answers come through the bridge."""

    def recognise_weights(self, path: Path) -> None:
        """See `engine.api.Session.recognise_weights`."""

    def import_weights(
        self, path: Path, config: ImportConfig, destination: Path, *, overwrite: bool = False
    ) -> None:
        """See `engine.api.Session.import_weights`."""


class FileLine(QWidget):
    """A label, a line for a file's path, and a button to choose it."""

    chosen = Signal()

    def __init__(self, title: str) -> None:
        super().__init__()
        label = QLabel(title)
        label.setFixedWidth(LABEL_WIDTH)
        self.line = QLineEdit()
        self.line.setAccessibleName(title)
        self.line.editingFinished.connect(self._edited)
        self._told = ""
        label.setBuddy(self.line)
        self.button = QPushButton("Choose…")
        self.button.setAccessibleName(f"Choose {title}")
        self.button.setAutoDefault(False)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 1, 0, 1)
        row.addWidget(label)
        row.addWidget(self.line, 1)
        row.addWidget(self.button)

    def path(self) -> Path | None:
        """The path in the line, None if it is empty."""
        text = self.line.text().strip()
        return Path(text).expanduser().absolute() if text else None

    def set_path(self, path: Path) -> None:
        """Put a path into the line."""
        self._told = str(path)
        self.line.setText(self._told)
        self.chosen.emit()

    def _edited(self) -> None:
        if self.line.text() != self._told:
            self._told = self.line.text()
            self.chosen.emit()


class ImportDialog(QDialog):
    """Recognises a checkpoint, asks for what it cannot tell, and has it written.

    `written` is the file that was made; `start_from` is its path if a new run shall start from it.
    """

    def __init__(
        self, session: Importer, bridge: EngineBridge, parent: QWidget | None = None, *, folder: str = ""
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Import checkpoint")
        self.resize(680, 560)
        self._session, self._folder = session, folder
        self.written: Path | None = None
        self.start_from = ""
        self._recognised: Path | None = None
        self._asked: deque[Path] = deque()
        self._importing = False
        self.source, self.target = FileLine("Checkpoint"), FileLine("Write to")
        self.source.line.setPlaceholderText("a .pt, .pth or .safetensors file of the CARTL authors' code")
        self.found = WrappedLabel("muted")
        self.found.setAccessibleName("What was found")
        self.rows = self._make_rows()
        self.replace = QCheckBox("Replace the file if it exists")
        self.problem = WrappedLabel("error")
        self._form = QScrollArea()
        self._form.setAccessibleName("What the file does not say")
        self._result = self._make_result()
        self.import_button = QPushButton("Import")
        self.import_button.setProperty("main", "true")
        self._buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self._buttons.addButton(self.import_button, QDialogButtonBox.ButtonRole.ActionRole)
        self._hint("halved_blocks", "none")
        self._hint("mean", KNOWN)
        self._hint("std", KNOWN)
        self._arrange()
        self.source.chosen.connect(self._recognise)
        self.source.button.clicked.connect(self._choose_source)
        self.target.button.clicked.connect(self._choose_target)
        self.import_button.clicked.connect(self.submit)
        self._buttons.rejected.connect(self.reject)
        for row in self.rows.values():
            row.changed.connect(self._edited)
        bridge.weights_recognised.connect(self._show_found)
        bridge.weights_imported.connect(self._show_written)
        bridge.request_failed.connect(self._show_failure)
        self._refresh()

    # building -------------------------------------------------------------------------------------------
    def _make_rows(self) -> dict[str, FieldRow]:
        data = {spec.name: spec for spec in specs_of(DataConfig)}
        rows = {
            f"data.{name}": FieldRow(data[name], f"data.{name}") for name in ("name", "path", "image_size")
        }
        rows["data.name"].set_value("cifar100")
        rows["data.name"].baseline = "cifar100"
        rows["data.name"].reset_button.hide()
        rows |= {
            spec.name: FieldRow(spec, spec.name) for spec in specs_of(ImportConfig) if spec.kind != "group"
        }
        return rows

    def _make_result(self) -> QFrame:
        frame = QFrame()
        frame.setProperty("card", "true")
        self.outcome = WrappedLabel()
        self.outcome.setMinimumWidth(MESSAGE_WIDTH)
        self.outcome.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.copy_button, self.start_button = QPushButton("Copy path"), QPushButton("Set up a run from it")
        self.start_button.setProperty("main", "true")
        self.copy_button.clicked.connect(self._copy)
        self.start_button.clicked.connect(self._start)
        row = QHBoxLayout()
        row.addStretch(1)
        row.addWidget(self.copy_button)
        row.addWidget(self.start_button)
        column = QVBoxLayout(frame)
        column.addWidget(self.outcome)
        column.addLayout(row)
        frame.hide()
        return frame

    def _arrange(self) -> None:
        holder = QWidget()
        form = QVBoxLayout(holder)
        form.setContentsMargins(0, 0, 6, 0)
        form.setSpacing(3)
        form.addWidget(self.source)
        indented = QHBoxLayout()
        indented.addSpacing(LABEL_WIDTH + 6)
        indented.addWidget(self.found, 1)
        form.addLayout(indented)
        form.addSpacing(6)
        for row in self.rows.values():
            form.addWidget(row)
        form.addSpacing(6)
        form.addWidget(self.target)
        below = QHBoxLayout()
        below.addSpacing(LABEL_WIDTH + 6)
        below.addWidget(self.replace, 1)
        form.addLayout(below)
        form.addWidget(self.problem)
        form.addStretch(1)
        # Without it the scroll area counts with the lines that these texts would have if they were narrow.
        for label in holder.findChildren(WrappedLabel):
            label.setMinimumWidth(MESSAGE_WIDTH)
        self._form.setWidget(holder)
        self._form.setWidgetResizable(True)
        self._form.setFrameShape(QFrame.Shape.NoFrame)
        self._form.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        column = QVBoxLayout(self)
        column.addWidget(self._form, 1)
        column.addWidget(self._result)
        column.addStretch(0)
        column.addWidget(self._buttons)

    # choosing -------------------------------------------------------------------------------------------
    def _choose_source(self) -> None:
        path, _kind = QFileDialog.getOpenFileName(self, "Checkpoint", self._folder, CHECKPOINTS)
        if path:
            self._folder = str(Path(path).parent)
            self.source.set_path(Path(path))

    def _choose_target(self) -> None:
        start = self.target.line.text() or self._folder
        path, _kind = QFileDialog.getSaveFileName(self, "Write to", start, "safetensors (*.safetensors)")
        if path:
            self.replace.setChecked(Path(path).exists())  # the file dialog has asked
            self.target.set_path(Path(path))

    def _recognise(self) -> None:
        path = self.source.path()
        self._recognised = None
        self._show_problems([])
        if path is None:
            self._say_found("")
            self._refresh()
            return
        self._hint("mean", KNOWN)
        self._hint("std", KNOWN)
        self._asked.append(path)
        self.target.line.setText(str(import_destination(path)))
        self.replace.setChecked(False)
        self._say_found("Reading the checkpoint…")
        self._refresh()
        self._session.recognise_weights(path)

    # what the engine answers ----------------------------------------------------------------------------
    def _show_found(self, event: WeightsRecognised) -> None:
        if not self._is_current(Path(event.path)):
            return
        found = event.found
        self._recognised = Path(event.path)
        self._say_found(_sentence(found))
        self.rows["spectral_bound"].relevant = bool(found.constrained_blocks)
        if found.mean is not None and found.std is not None:
            self._hint("mean", f"{_numbers(found.mean)} as in the file")
            self._hint("std", f"{_numbers(found.std)} as in the file")
        self._refresh()

    def _show_failure(self, event: RequestFailed) -> None:
        if event.request == RECOGNISING and self._asked and self._is_current(self._asked[0]):
            self._say_found(event.message, role="error")
        elif event.request == IMPORTING and self._importing:
            self._importing = False
            self._show_problems(event.problems, "" if event.problems else event.message)
        self._refresh()

    def _is_current(self, path: Path) -> bool:
        """Take an answer off the list of those awaited; True if it is about the path in the line."""
        if self._asked and self._asked[0] == path:
            self._asked.popleft()
        return path == self.source.path()

    def _show_written(self, event: Exported) -> None:
        imported = event.imported
        if not self._importing or imported is None:
            return
        self._importing = False
        self.written = Path(event.path)
        lines = [
            f"Wrote {event.path}",
            f"{_sentence(imported.found)} Data: {imported.data}. Halved blocks: {imported.halved_blocks or 'none'}.",
            f"Mean {_numbers(imported.mean)}, std {_numbers(imported.std)} ({imported.normalisation_from}).",
            *imported.notes,
        ]
        self.outcome.setText("\n\n".join(lines))
        self._form.hide()
        self._result.show()
        self.resize(self.width(), 240)
        self.import_button.hide()
        self._buttons.button(QDialogButtonBox.StandardButton.Cancel).setText("Close")
        self.start_button.setFocus()
        self._refresh()

    # importing ------------------------------------------------------------------------------------------
    def submit(self) -> None:
        """Ask the engine for the import, or show beside the fields what cannot be used."""
        source, target = self._recognised, self.target.path()
        if source is None or target is None:
            return
        try:
            config = validate(ImportConfig, self._values())
        except ConfigError as error:
            self._show_problems([self._in_words(problem) for problem in error.problems])
            return
        self._show_problems([])
        self._importing = True
        self._refresh()
        self._session.import_weights(source, config, target, overwrite=self.replace.isChecked())

    def _values(self) -> dict[str, Any]:
        values: dict[str, Any] = {"data": {}}
        for place, row in self.rows.items():
            if row.relevant:
                within, _, name = place.rpartition(".")
                (values[within] if within else values)[name] = row.value()
        return values

    def _in_words(self, problem: Problem) -> Problem:
        """Say what may be typed where a number is none."""
        row = self.rows.get(problem.place)
        if row is None or row.spec.kind not in ("integer", "number"):
            return problem
        typed = row.value()
        return Problem(problem.place, f"expected {row.spec.expectation()}, got {typed!r}")

    def _show_problems(self, problems: Sequence[Problem], general: str = "") -> None:
        at_rows: dict[str, str] = {}
        rest = [general] if general else []
        for problem in problems:
            place = problem.place if problem.place in self.rows else problem.place.rpartition(".")[0]
            if place in self.rows and self.rows[place].relevant:
                at_rows.setdefault(place, problem.message)
            else:
                rest.append(str(problem))
        for place, row in self.rows.items():
            text = at_rows.get(place, "")
            row.show_problem(text[:1].upper() + text[1:])
        self.problem.setText("\n".join(text[:1].upper() + text[1:] for text in rest))
        self.problem.setVisible(bool(rest))

    def _edited(self) -> None:
        self._show_problems([])
        self._refresh()

    def _refresh(self) -> None:
        self.rows["data.path"].relevant = self.rows["data.name"].value() == "folder"
        if self._recognised is None:
            self.rows["spectral_bound"].relevant = False
        for row in self.rows.values():
            row.refresh_visibility()
        self._form.setEnabled(not self._importing)
        self.problem.setVisible(bool(self.problem.text()))
        self.import_button.setEnabled(self._recognised is not None and not self._importing)
        self.import_button.setText("Importing…" if self._importing else "Import")
        self.found.setVisible(bool(self.found.text()))

    def _hint(self, name: str, text: str) -> None:
        """Say in an empty field what leaving it empty means."""
        editor = self.rows[name].editor
        if isinstance(editor, QLineEdit):
            editor.setPlaceholderText(text)

    def _say_found(self, text: str, *, role: str = "muted") -> None:
        self.found.setText(text)
        self.found.setProperty("role", role)
        self.found.style().unpolish(self.found)
        self.found.style().polish(self.found)

    # afterwards -----------------------------------------------------------------------------------------
    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(str(self.written))

    def _start(self) -> None:
        self.start_from = str(self.written)
        self.accept()


def _sentence(found: ForeignWeights) -> str:
    text = f"{found.model.title}: {found.model.num_blocks} blocks, {found.num_classes} classes."
    if found.constrained_blocks:
        listed = ", ".join(map(str, found.constrained_blocks))
        text += f" Spectrally normalised weights in blocks {listed}."
    if found.dropped:
        text += f" Not part of the network: {', '.join(found.dropped)}."
    return text


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:.4g}" for value in values)
