"""Export of a plot: format and size, with a preview of what will be written."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QSize, Qt, QTimer
from PySide6.QtGui import QPixmap
from PySide6.QtWidgets import (
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QSpinBox,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from cartl_gui.plots.base import PlotPanel
from cartl_gui.plots.export import FORMATS, export, render_csv, render_png
from cartl_gui.widgets import QuietCombo, WrappedLabel

_TITLES = {
    "png": "PNG image",
    "svg": "SVG drawing",
    "pdf": "PDF page",
    "csv": "CSV, the numbers",
}


class ExportDialog(QDialog):
    """Asks for format and size, shows the figure, writes the file."""

    def __init__(self, panel: PlotPanel, parent: QWidget | None = None, *, folder: str = "") -> None:
        super().__init__(parent)
        self._panel, self._folder = panel, folder
        self.written: Path | None = None
        self.setWindowTitle(f"Export “{panel.title}”")
        self.format = QuietCombo()
        self.format.setAccessibleName("Format")
        for kind in FORMATS:
            self.format.addItem(_TITLES[kind], kind)
        self.width_mm = self._spin("Width", 40, 400, 120, " mm")
        self.height_mm = self._spin("Height", 30, 300, 80, " mm")
        self.dpi = self._spin("Resolution", 72, 1200, 300, " dpi")
        self.title = QCheckBox("Title above the plot")
        self.title.setChecked(True)
        self._pixels = QLabel()
        self._pixels.setProperty("role", "muted")
        self._problem = WrappedLabel("error")
        form = QFormLayout()
        form.addRow("Format", self.format)
        form.addRow("Width", self.width_mm)
        form.addRow("Height", self.height_mm)
        form.addRow("Resolution", self.dpi)
        form.addRow("", self.title)
        form.addRow("", self._pixels)
        self._picture = QLabel()
        self._picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._picture.setMinimumSize(QSize(460, 330))
        self._picture.setAccessibleName("Preview of the figure")
        self._table = QPlainTextEdit()
        self._table.setReadOnly(True)
        self._table.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self._table.setAccessibleName("Preview of the numbers")
        self._preview = QStackedWidget()
        self._preview.addWidget(self._picture)
        self._preview.addWidget(self._table)
        frame = QFrame()
        frame.setProperty("card", "true")
        QVBoxLayout(frame).addWidget(self._preview)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.save_button = buttons.addButton("Save as…", QDialogButtonBox.ButtonRole.AcceptRole)
        self.save_button.setProperty("main", "true")
        buttons.accepted.connect(self._save)
        buttons.rejected.connect(self.reject)
        left = QVBoxLayout()
        left.addLayout(form)
        left.addStretch(1)
        left.addWidget(self._problem)
        row = QHBoxLayout()
        row.addLayout(left)
        row.addWidget(frame, 1)
        column = QVBoxLayout(self)
        column.addLayout(row, 1)
        column.addWidget(buttons)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(120)
        self._timer.timeout.connect(self.refresh)
        for spin in (self.width_mm, self.height_mm, self.dpi):
            spin.valueChanged.connect(self._timer.start)
        self.format.currentIndexChanged.connect(self.refresh)
        self.title.toggled.connect(self.refresh)
        self.refresh()

    def _spin(self, name: str, low: int, high: int, value: int, unit: str) -> QSpinBox:
        spin = QSpinBox()
        spin.setRange(low, high)
        spin.setValue(value)
        spin.setSuffix(unit)
        spin.setAccessibleName(name)
        return spin

    def refresh(self) -> None:
        """Draw the preview."""
        kind = self.format.currentData()
        for widget in (self.width_mm, self.height_mm, self.title):
            widget.setEnabled(kind != "csv")
        self.dpi.setEnabled(kind == "png")
        self._preview.setCurrentIndex(1 if kind == "csv" else 0)
        if kind == "csv":
            lines = render_csv(self._panel).decode().splitlines()
            more = f"\n… {len(lines) - 30:,} more lines" if len(lines) > 30 else ""
            self._table.setPlainText("\n".join(lines[:30]) + more)
            self._pixels.setText(f"{len(lines) - 1:,} rows")
            return
        width, height = self.width_mm.value(), self.height_mm.value()
        fit = min(450 / width, 320 / height) * 25.4
        ratio = self.devicePixelRatioF()
        image = render_png(
            self._panel, width, height, dpi=round(fit * ratio), with_title=self.title.isChecked()
        )
        image.setDevicePixelRatio(ratio)
        self._picture.setPixmap(QPixmap.fromImage(image))
        dots = self.dpi.value() / 25.4
        self._pixels.setText(
            f"{round(width * dots):,} × {round(height * dots):,} pixels" if kind == "png" else ""
        )

    def write(self, path: Path) -> bool:
        """Write the file; False, with the reason in the dialog, if it cannot be written."""
        try:
            export(
                self._panel, path, self.width_mm.value(), self.height_mm.value(),
                dpi=self.dpi.value(), with_title=self.title.isChecked(),
            )  # fmt: skip
        except OSError as error:
            self._problem.setText(f"{path.name} could not be written: {error.strerror}")
            return False
        self.written = path
        return True

    def _save(self) -> None:
        kind = self.format.currentData()
        name = self._panel.title.lower().replace(",", "").replace(" ", "-")
        start = str(Path(self._folder) / f"{name}.{kind}")
        chosen, _filter = QFileDialog.getSaveFileName(self, "Save as", start, f"{_TITLES[kind]} (*.{kind})")
        if not chosen:
            return
        path = Path(chosen)
        if path.suffix.lower() != f".{kind}":
            path = path.with_name(f"{path.name}.{kind}")
        if self.write(path):
            self.accept()
