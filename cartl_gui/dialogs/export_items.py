"""What the export dialog can write, beside figures: numbers, weights, tables, whole runs and reports."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QFormLayout,
    QHBoxLayout,
    QHeaderView,
    QPlainTextEdit,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from cartl_gui.plots.base import PlotPanel
from cartl_gui.plots.export import render_csv, write_files
from cartl_gui.widgets import QuietCombo, WrappedLabel, read_only
from cartl_gui.words import count
from engine.api import EXPORTING_RUN, EXPORTING_TABLES, EXPORTING_WEIGHTS, WRITING_REPORT
from engine.config import STAGE_TITLES, StageName
from engine.events import ENDED, RunInfo

#: Width of the column of options in pixels.
OPTIONS_WIDTH = 296
#: Rows of a table that its preview shows.
_PREVIEWED = 200


class Exporter(Protocol):
    """What is asked of the session; each answer comes as an event."""

    def export_weights(self, run_id: str, stage: StageName, destination: Path) -> None:
        """Write weights."""

    def export_tables(self, run_id: str, folder: Path) -> None:
        """Write tables."""

    def export_run(
        self, run_id: str, destination: Path, *, with_checkpoint: bool = True, overwrite: bool = False
    ) -> None:
        """Write a whole run."""

    def export_report(self, study: str, destination: Path) -> None:
        """Write a report."""


def stem_of(*names: str) -> str:
    """Names as the beginning of a file name: small letters, digits and dashes."""
    text = "-".join(filter(None, names)).lower()
    return "-".join(
        "".join(letter if letter.isalnum() or letter in "-_=." else " " for letter in text).split()
    )


def wide_combo(name: str) -> QuietCombo:
    """A choice as wide as its column."""
    box = QuietCombo()
    box.setAccessibleName(name)
    box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return box


class ExportItem(QWidget):
    """One thing that can be exported: its options on the left, what will be written on the right."""

    #: The options have changed, and with them perhaps the ending of the file.
    changed = Signal()

    key = ""
    title = ""
    picture = "export"
    #: The engine's request that writes it; empty where it is written at once.
    request = ""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.options_column = QWidget()
        self.options_column.setFixedWidth(OPTIONS_WIDTH)
        self.form = QFormLayout()
        self.form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        self.form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        column = QVBoxLayout(self.options_column)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(self.form)
        self.remark = WrappedLabel("muted")
        column.addWidget(self.remark)
        column.addStretch(1)
        self.row = QHBoxLayout(self)
        self.row.setContentsMargins(0, 0, 0, 0)
        self.row.setSpacing(16)
        self.row.addWidget(self.options_column)

    def stem(self) -> str:
        """The proposed name, without ending."""
        raise NotImplementedError

    def ending(self) -> str:
        """The ending of the file's name; empty for a folder."""
        return ""

    def files(self, target: Path) -> list[Path]:
        """What will be written, as far as it is known by name; the first is what the user named."""
        return [target]

    def start(self, target: Path, *, overwrite: bool) -> None:
        """Write it, or ask the engine to.

        Raises:
            OSError: it could not be written.
        """
        raise NotImplementedError

    def options(self) -> dict[str, object]:
        """The options as plain values, to be remembered."""
        return {}

    def set_options(self, options: Mapping[str, object]) -> None:
        """Take options from earlier; what does not fit is left as it is."""

    def refresh(self) -> None:
        """Draw what will be written."""


class _Contents(QTableWidget):
    """The files that will be written, with what each is."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, 2, parent)
        read_only(self)
        self.setProperty("plain", "true")
        self.setHorizontalHeaderLabels(["File", "What it is"])
        self.setAccessibleName("What will be written")
        self.setWordWrap(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        header = self.horizontalHeader()
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        header.setHighlightSections(False)
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)

    def show_files(self, files: list[tuple[str, str]]) -> None:
        """List names with explanations."""
        self.setRowCount(len(files))
        for row, texts in enumerate(files):
            for column, text in enumerate(texts):
                self.setItem(row, column, QTableWidgetItem(text))


class NumbersItem(ExportItem):
    """The numbers of a plot as CSV."""

    key, title, picture = "numbers", "Numbers of the plot", "results"

    def __init__(self, panel: PlotPanel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._panel = panel
        self._table = QPlainTextEdit()
        self._table.setReadOnly(True)
        self._table.setTabChangesFocus(True)
        self._table.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self._table.setAccessibleName("Preview of the numbers")
        self.row.addWidget(self._table, 1)

    def stem(self) -> str:
        """The plot's title and run."""
        return stem_of(self._panel.title.partition(":")[0], *[info.title for info in self._panel.runs()][:1])

    def ending(self) -> str:
        """CSV."""
        return ".csv"

    def refresh(self) -> None:
        """Show the first rows."""
        lines = render_csv(self._panel).decode().splitlines()
        more = f"\n… {len(lines) - _PREVIEWED:,} more rows" if len(lines) > _PREVIEWED else ""
        self._table.setPlainText("\n".join(lines[:_PREVIEWED]) + more)
        columns = count(len(self._panel.series()), "column")
        self.remark.setText(
            f"CSV with {count(len(lines) - 1, 'row')} and {columns}: all that the plot holds, hidden curves too."
        )

    def start(self, target: Path, *, overwrite: bool) -> None:
        """Write it at once."""
        write_files({target: render_csv(self._panel)})


class WeightsItem(ExportItem):
    """The network of a run after one of its training stages."""

    key, title, picture, request = "weights", "Weights", "layers", EXPORTING_WEIGHTS

    def __init__(
        self, session: Exporter, run: RunInfo, stages: tuple[StageName, ...], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._session, self._run = session, run
        self.stage = wide_combo("Stage")
        for stage in reversed(stages):
            self.stage.addItem(f"After the {STAGE_TITLES[stage].lower()}", stage)
        self.format = wide_combo("Format")
        self.format.addItem("safetensors", ".safetensors")
        self.format.addItem("PyTorch state dict (.pt)", ".pt")
        self.form.addRow("Weights", self.stage)
        self.form.addRow("Format", self.format)
        self._contents = _Contents()
        self.row.addWidget(self._contents, 1)
        for box in (self.stage, self.format):
            box.currentIndexChanged.connect(self.refresh)
            box.currentIndexChanged.connect(self.changed)

    def stem(self) -> str:
        """Run and stage."""
        return stem_of(self._run.title, self.stage.currentData())

    def ending(self) -> str:
        """That of the format."""
        return str(self.format.currentData())

    def files(self, target: Path) -> list[Path]:
        """The weights and what stands beside them."""
        return [target, *(target.with_name(target.name + end) for end in (".toml", ".sha256"))]

    def choose_stage(self, stage: StageName) -> None:
        """Take the weights after this stage."""
        self.stage.setCurrentIndex(max(0, self.stage.findData(stage)))

    def refresh(self) -> None:
        """Tell the files."""
        name = f"{self.stem()}{self.ending()}"
        loader = (
            "safetensors.torch.load_file"
            if self.ending() == ".safetensors"
            else "torch.load(…, weights_only=True)"
        )
        self._contents.show_files(
            [
                (name, f"Weights and, as metadata, their run; for {loader}"),
                (f"{name}.toml", "The run's settings"),
                (f"{name}.sha256", "The file's SHA-256"),
            ]
        )
        self.remark.setText(
            f"Of run {self._run.title}. The file can be attacked, inspected and started from here again."
        )

    def start(self, target: Path, *, overwrite: bool) -> None:
        """Ask the engine."""
        self._session.export_weights(self._run.id, self.stage.currentData(), target)

    def options(self) -> dict[str, object]:
        """The format."""
        return {"format": self.format.currentData()}

    def set_options(self, options: Mapping[str, object]) -> None:
        """The format."""
        self.format.setCurrentIndex(max(0, self.format.findData(options.get("format"))))


class TablesItem(ExportItem):
    """Every table of a run as CSV."""

    key, title, picture, request = "tables", "Tables of the run", "runs", EXPORTING_TABLES

    def __init__(self, session: Exporter, run: RunInfo, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session, self._run = session, run
        self._contents = _Contents()
        self.row.addWidget(self._contents, 1)

    def stem(self) -> str:
        """The run."""
        return stem_of(self._run.title, "tables")

    def refresh(self) -> None:
        """Tell the files."""
        tables = {
            "pretraining": "epochs, steps, layers, bounds, probe",
            "finetuning": "epochs, steps, layers, bounds, probe",
            "attack": "samples, attempts, sweep",
        }
        self._contents.show_files(
            [
                (
                    f"{stage}-….csv",
                    f"A file for each table of the {STAGE_TITLES[stage].lower()} that has rows: {tables[stage]}",
                )
                for stage in self._run.config.stages
            ]
        )
        self.remark.setText(f"Everything measured in run {self._run.title}, as CSV in one folder; no images.")

    def start(self, target: Path, *, overwrite: bool) -> None:
        """Ask the engine."""
        self._session.export_tables(self._run.id, target)


class RunItem(ExportItem):
    """A whole run, to be given away or kept."""

    key, title, picture, request = "run", "The whole run", "folder", EXPORTING_RUN

    def __init__(self, session: Exporter, run: RunInfo, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session, self._run = session, run
        self.format = wide_combo("Format")
        self.format.addItem("One .zip file", ".zip")
        self.format.addItem("Folder", "")
        self.form.addRow("As", self.format)
        self.checkpoint = QCheckBox("With the newest checkpoint")
        self.checkpoint.setToolTip(
            "With it the run can be gone on with elsewhere; without it the export is smaller."
        )
        self.checkpoint.setChecked(run.state != "finished")
        self.form.addRow("", self.checkpoint)
        self._contents = _Contents()
        self.row.addWidget(self._contents, 1)
        self.format.currentIndexChanged.connect(self.changed)
        self.checkpoint.toggled.connect(self.refresh)

    def stem(self) -> str:
        """The run's id, which it keeps where it is taken in."""
        return self._run.id

    def ending(self) -> str:
        """.zip, or nothing."""
        return str(self.format.currentData())

    def refresh(self) -> None:
        """Tell the files."""
        files = [
            ("README.txt", "What is what, and the command that makes the run again"),
            ("config.toml", "All settings"),
            ("metrics.h5", "Everything measured (HDF5)"),
            ("weights/", "The network after each training stage"),
            ("checkpoints/", "The newest checkpoint, from which the run can go on"),
            ("status.json, journal.jsonl, run.log", "State, result and what was told"),
            ("environment.json", "Machine and versions"),
            ("SHA256SUMS", "Hashes of all files"),
        ]
        self._contents.show_files(
            [row for row in files if row[0] != "checkpoints/" or self.checkpoint.isChecked()]
        )
        under_way = "" if self._run.state in ENDED else " It is under way: what there is now is written."
        self.remark.setText(
            f"Run {self._run.title}, checked file by file.{under_way} To take it in elsewhere, drop it on the window."
        )

    def start(self, target: Path, *, overwrite: bool) -> None:
        """Ask the engine."""
        self._session.export_run(
            self._run.id, target, with_checkpoint=self.checkpoint.isChecked(), overwrite=overwrite
        )

    def options(self) -> dict[str, object]:
        """The format; whether a checkpoint is wanted depends on the run."""
        return {"format": self.format.currentData()}

    def set_options(self, options: Mapping[str, object]) -> None:
        """The format."""
        self.format.setCurrentIndex(max(0, self.format.findData(options.get("format", ".zip"))))


class ReportItem(ExportItem):
    """The report of a study."""

    key, title, picture, request = "report", "Report of the study", "text", WRITING_REPORT

    def __init__(self, session: Exporter, study: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session, self._study = session, study
        self._contents = _Contents()
        self.row.addWidget(self._contents, 1)

    def stem(self) -> str:
        """The study."""
        return stem_of(self._study, "report")

    def refresh(self) -> None:
        """Tell the files."""
        self._contents.show_files(
            [
                (
                    "report.html",
                    "The page: results over seeds, comparisons, settings and commands; fetches nothing",
                ),
                ("report.csv, report.json", "The same figures for other programs"),
                ("trade-off.svg, …", "Its drawings"),
            ]
        )
        self.remark.setText(f"Study “{self._study}”, as far as its runs are finished.")

    def start(self, target: Path, *, overwrite: bool) -> None:
        """Ask the engine."""
        self._session.export_report(self._study, target)
