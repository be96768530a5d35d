"""The figure in the export dialog: format, size, text, and a preview by the same steps as the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from PySide6.QtCore import QSize, Qt, QTimer, Signal
from PySide6.QtGui import QPixmap, QResizeEvent
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QVBoxLayout,
    QWidget,
)

from cartl_gui.dialogs.export_items import ExportItem, stem_of, wide_combo
from cartl_gui.plots.export import FORMATS, Origin, alike_in_grey, preview, render, render_csv, write_files
from cartl_gui.plots.figure import FigureStyle, Place
from cartl_gui.plots.redraw import can_redraw, script
from cartl_gui.widgets import QuietCombo
from cartl_gui.words import count

_TITLES = {"pdf": "PDF", "svg": "SVG", "png": "PNG"}
#: Widths of a figure in one column of a paper and in two, in millimetres.
ONE_COLUMN, TWO_COLUMNS = 85.0, 174.0
#: What a size is called -> width in millimetres; 0 for any other.
_WIDTHS = {"One column, 85 mm": ONE_COLUMN, "Two columns, 174 mm": TWO_COLUMNS, "Own size": 0.0}
_FAMILIES = {"sans": "Sans serif", "serif": "Serif"}
_LEGENDS = {"above": "Above each plot", "inside": "Inside the plot", "off": "None"}
_AXES = {False: "As shown", True: "All there is"}
_DELAY_MS = 120
_FIELD_HEIGHT = 26
Choice = TypeVar("Choice")


class _Sheet(QLabel):
    """The preview: a sheet of white paper on the colour of the window."""

    resized = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setMinimumSize(QSize(380, 280))
        self.setAccessibleName("Preview of the figure")

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Ask for another picture."""
        super().resizeEvent(event)
        self.resized.emit()


class FigureItem(ExportItem):
    """One plot, or several as their page arranges them."""

    def __init__(
        self, places: Sequence[Place], *, key: str, title: str, name: str, width: float = ONE_COLUMN,
        aspect: float = 0.71, parent: QWidget | None = None,
    ) -> None:  # fmt: skip
        """Take the plots.

        Args:
            places: the plots and where they stand.
            key: under which the options are remembered.
            title: what the list of the dialog calls it.
            name: the beginning of the file's name.
            width: in millimetres, at first.
            aspect: height as a share of the width, at first.
            parent: the dialog.
        """
        super().__init__(parent)
        self.key, self.title, self.picture = key, title, "grid" if len(places) > 1 else "live"
        self._places, self._name = list(places), name
        self._panels = [panel for panel, _share in places]
        self._build(width, aspect)
        self._sheet = _Sheet()
        self._size_text = QLabel()
        self._size_text.setProperty("role", "muted")
        self._size_text.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._sheet.resized.connect(self._later)
        column = QVBoxLayout()
        column.addWidget(self._sheet, 1)
        column.addWidget(self._size_text)
        self.row.addLayout(column, 1)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_DELAY_MS)
        self._timer.timeout.connect(self.refresh)

    # options -------------------------------------------------------------------------------------------
    def _build(self, width: float, aspect: float) -> None:
        self.format = self._combo("Format", {kind: _TITLES[kind] for kind in FORMATS})
        self.dpi = self._spin("Resolution", 72, 1200, 300, " dpi", digits=0)
        self.size_box = self._combo("Size", {title: title for title in _WIDTHS})
        self.width_mm = self._spin("Width", 30, 400, width, " mm", digits=0)
        self.height_mm = self._spin("Height", 20, 300, round(width * aspect), " mm", digits=0)
        self.points = self._spin("Size of text", 4, 24, 8 if len(self._places) == 1 else 7, " pt", digits=1)
        self.family = self._combo("Font", _FAMILIES)
        self.line_width = self._spin("Line width", 0.2, 5, 1.2, " pt", digits=1)
        self.legend = self._combo("Legend", _LEGENDS)
        self.axes = self._combo("Axes", _AXES)
        self.titles = self._check("Titles", "Write each plot's title above it", on=True)
        self.letters = self._check(
            "Letters (a), (b), …", "Letter the plots, to refer to them in a text", on=True
        )
        self.letters.setVisible(len(self._places) > 1)
        self.distinct = self._check(
            "Dashes for curves of one kind", "Tell curves apart by dashes where only their colour does"
        )
        self.grey = self._check("Preview in grey", "See what a print without colours looks like")
        self.numbers = self._check("Also the numbers (CSV)", "Write what the figure shows as CSV beside it")
        self.script = self._check(
            "Also the script that redraws it",
            "A Python script for numpy and matplotlib beside the figure, which draws it again from the numbers",
        )
        sizes = QHBoxLayout()
        sizes.setSpacing(6)
        for widget in (self.width_mm, QLabel("×"), self.height_mm):
            sizes.addWidget(widget)
        sizes.addStretch(1)
        text = QHBoxLayout()
        text.setSpacing(6)
        text.addWidget(self.points)
        text.addWidget(self.family, 1)
        for title, field in (
            ("Format", self.format), ("Resolution", self.dpi), ("Size", self.size_box), ("", sizes), ("Text", text),
            ("Lines", self.line_width), ("Legend", self.legend), ("Axes", self.axes), ("", self.titles),
            ("", self.letters), ("", self.distinct), ("", self.grey), ("", self.numbers), ("", self.script),
        ):  # fmt: skip
            self.form.addRow(title, field)
        self.form.setRowVisible(self.letters, len(self._places) > 1)
        self._match_size()
        self.size_box.activated.connect(self._size_chosen)
        self.format.currentIndexChanged.connect(self._format_changed)
        self.numbers.toggled.connect(self._numbers_toggled)
        self.script.toggled.connect(self._script_toggled)
        self.script.setEnabled(can_redraw(self._panels))
        if not self.script.isEnabled():
            self.script.setText("No script for images")
            self.script.setToolTip(
                "Images are not drawn from numbers, so there is no script that redraws them."
            )
        self._format_changed()

    def _combo(self, name: str, choices: Mapping[Choice, str]) -> QuietCombo:
        box = wide_combo(name)
        for value, title in choices.items():
            box.addItem(title, value)
        box.currentIndexChanged.connect(self._later)
        return box

    def _spin(
        self, name: str, low: float, high: float, value: float, unit: str, *, digits: int
    ) -> QDoubleSpinBox:
        spin = QDoubleSpinBox()
        spin.setDecimals(digits)
        spin.setRange(low, high)
        spin.setSingleStep(1.0 if digits == 0 else 0.1 if high < 10 else 0.5)
        spin.setValue(value)
        spin.setSuffix(unit)
        spin.setAccessibleName(name)
        spin.setMinimumHeight(_FIELD_HEIGHT)
        spin.valueChanged.connect(self._later)
        spin.valueChanged.connect(self._match_size)
        return spin

    def _check(self, text: str, tip: str, *, on: bool = False) -> QCheckBox:
        box = QCheckBox(text)
        box.setToolTip(tip)
        box.setChecked(on)
        box.toggled.connect(self._later)
        return box

    def _later(self) -> None:
        """Draw the preview once the hand rests."""
        if hasattr(self, "_timer"):
            self._timer.start()

    def _match_size(self) -> None:
        """Let the size be called by its name."""
        if hasattr(self, "size_box") and hasattr(self, "width_mm"):
            width = self.width_mm.value()
            named = next((title for title, known in _WIDTHS.items() if known == width), "Own size")
            self.size_box.setCurrentIndex(self.size_box.findData(named))

    def _size_chosen(self) -> None:
        width = _WIDTHS[self.size_box.currentData()]
        if width:
            aspect = self.height_mm.value() / self.width_mm.value()
            self.width_mm.setValue(width)
            self.height_mm.setValue(round(width * aspect))
        else:
            self.width_mm.setFocus()

    def _format_changed(self) -> None:
        self.form.setRowVisible(self.dpi, self.format.currentData() == "png")
        self.changed.emit()

    def _numbers_toggled(self, on: bool) -> None:
        if not on:
            self.script.setChecked(False)
        self.changed.emit()

    def _script_toggled(self, on: bool) -> None:
        if on:
            self.numbers.setChecked(True)
        self.changed.emit()

    def style_of_figure(self) -> FigureStyle:
        """What the options say."""
        return FigureStyle(
            width=self.width_mm.value(), height=self.height_mm.value(), points=self.points.value(),
            family=self.family.currentData(), line_width=self.line_width.value(),
            legend=self.legend.currentData(), titles=self.titles.isChecked(), letters=self.letters.isChecked(),
            whole_axes=self.axes.currentData(), distinct=self.distinct.isChecked(),
        )  # fmt: skip

    def options(self) -> dict[str, object]:
        """All options."""
        boxes = {name: box.currentData() for name, box in self._boxes().items()}
        return boxes | {name: field.value() for name, field in self._numbers().items()} | {
            name: field.isChecked() for name, field in self._checks().items()
        }  # fmt: skip

    def set_options(self, options: Mapping[str, object]) -> None:
        """All options."""
        for name, box in self._boxes().items():
            found = box.findData(options.get(name))
            box.setCurrentIndex(found if found >= 0 else box.currentIndex())
        for name, field in self._numbers().items():
            value = options.get(name)
            if isinstance(value, int | float):
                field.setValue(value)
        for name, check in self._checks().items():
            value = options.get(name)
            if isinstance(value, bool) and check.isEnabled():
                check.setChecked(value)

    def _boxes(self) -> dict[str, QComboBox]:
        return {"format": self.format, "family": self.family, "legend": self.legend}

    def _numbers(self) -> dict[str, QDoubleSpinBox]:
        return {
            "dpi": self.dpi, "width": self.width_mm, "height": self.height_mm, "points": self.points,
            "line_width": self.line_width,
        }  # fmt: skip

    def _checks(self) -> dict[str, QCheckBox]:
        return {
            "titles": self.titles, "letters": self.letters, "distinct": self.distinct, "numbers": self.numbers,
            "script": self.script,
        }  # fmt: skip

    # what is written -----------------------------------------------------------------------------------
    def stem(self) -> str:
        """What is shown, and the run if it is one."""
        runs = {info.title for panel in self._panels for info in panel.runs()}
        return stem_of(self._name.partition(":")[0], *(runs if len(runs) == 1 else ()))

    def ending(self) -> str:
        """That of the format."""
        return f".{self.format.currentData()}"

    def files(self, target: Path) -> list[Path]:
        """The figure, the numbers of each plot, and the script."""
        tables = self._tables(target) if self.numbers.isChecked() else []
        return [target, *tables, *([target.with_suffix(".py")] if self.script.isChecked() else [])]

    def _tables(self, target: Path) -> list[Path]:
        """The CSV of each plot; several are lettered."""
        if len(self._panels) == 1:
            return [target.with_suffix(".csv")]
        return [
            target.with_name(f"{target.stem}-{chr(ord('a') + number % 26)}{number // 26 or ''}.csv")
            for number in range(len(self._panels))
        ]

    def start(self, target: Path, *, overwrite: bool) -> None:
        """Write all of it at once."""
        style, origin = self.style_of_figure(), Origin.of(self._panels)
        tables = self._tables(target)
        files: dict[Path, bytes] = {}
        if self.numbers.isChecked():
            files |= {path: render_csv(panel) for path, panel in zip(tables, self._panels, strict=True)}
        if self.script.isChecked():
            path = target.with_suffix(".py")
            names = [table.name for table in tables]
            files[path] = script(self._places, style, name=path.name, tables=names, origin=origin).encode()
        files[target] = render(
            self.format.currentData(), self._places, style, dpi=round(self.dpi.value()), origin=origin
        )
        write_files(files)

    def refresh(self) -> None:
        """Draw the preview."""
        self._timer.stop()
        style, ratio = self.style_of_figure(), self.devicePixelRatioF()
        room = QSize(round((self._sheet.width() - 12) * ratio), round((self._sheet.height() - 12) * ratio))
        image = preview(self._places, style, room, in_grey=self.grey.isChecked())
        image.setDevicePixelRatio(ratio)
        self._sheet.setPixmap(QPixmap.fromImage(image))
        dots = self.dpi.value() / 25.4
        pixels = f", {round(style.width * dots):,} × {round(style.height * dots):,} pixels"
        self._size_text.setText(
            f"{style.width:g} × {style.height:g} mm{pixels if self.format.currentData() == 'png' else ''}"
        )
        alike = alike_in_grey(self._panels, style) if self.grey.isChecked() else []
        more = f", nor {count(len(alike) - 1, 'other pair')}" if len(alike) > 1 else ""
        told = f"In grey nothing tells {alike[0]} apart{more}: use dashes." if alike else ""
        self.remark.setText(
            told or ("In grey all curves can be told apart." if self.grey.isChecked() else "")
        )
