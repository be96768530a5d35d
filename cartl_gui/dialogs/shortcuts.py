"""The page of commands with their shortcuts, and the about box."""

from __future__ import annotations

import platform

import pyqtgraph
import PySide6
from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QDialogButtonBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from cartl_gui import theme
from cartl_gui.commands import COMMANDS
from cartl_gui.widgets import WrappedLabel


class ShortcutsDialog(QDialog):
    """Every command: what it does and its keys."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Commands and shortcuts")
        self.resize(680, 560)
        self.filter = QLineEdit()
        self.filter.setPlaceholderText("Filter")
        self.filter.setAccessibleName("Filter the commands")
        self.filter.setClearButtonEnabled(True)
        self.filter.textChanged.connect(self._narrow)
        self.table = QTableWidget(len(COMMANDS), 3)
        self.table.setAccessibleName("Commands")
        self.table.setHorizontalHeaderLabels(["Command", "Keys", "What it does"])
        self.table.verticalHeader().hide()
        self.table.setShowGrid(False)
        self.table.setTabKeyNavigation(False)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        for row, command in enumerate(COMMANDS):
            keys = QKeySequence(command.shortcut).toString(QKeySequence.SequenceFormat.NativeText)
            name = command.text.replace("&", "").rstrip("…")
            for column, text in enumerate((f"{command.menu}: {name}", keys, command.help)):
                self.table.setItem(row, column, QTableWidgetItem(text))
        header = self.table.horizontalHeader()
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(2, QHeaderView.ResizeMode.Stretch)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        column_layout = QVBoxLayout(self)
        column_layout.addWidget(self.filter)
        column_layout.addWidget(self.table, 1)
        column_layout.addWidget(buttons)

    def _narrow(self, text: str) -> None:
        for row in range(self.table.rowCount()):
            line = " ".join(self.table.item(row, column).text() for column in range(3)).lower()
            self.table.setRowHidden(row, text.lower() not in line)


class AboutDialog(QDialog):
    """Version, sources and licences."""

    def __init__(self, version: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("About CARTL Workbench")
        picture = QLabel()
        picture.setPixmap(theme.icon("app").pixmap(QSize(64, 64)))
        text = WrappedLabel()
        text.setMinimumWidth(420)
        text.setTextFormat(Qt.TextFormat.RichText)
        text.setText(
            f"<h3>CARTL Workbench {version}</h3>"
            "<p>See, layer by layer, why a transferred network keeps or loses its adversarial robustness.</p>"
            "<p>The method: Chen, Hu, Wang, Li, Wang, Shen, Li, “CARTL: Cooperative Adversarially-Robust "
            "Transfer Learning”, ICML 2021.</p>"
            f"<p>Python {platform.python_version()}, PySide6 {PySide6.__version__} (LGPL-3; it is a separate "
            f"library that you may replace), pyqtgraph {pyqtgraph.__version__} (MIT). Icons: this project.</p>"
        )
        row = QHBoxLayout()
        row.addWidget(picture, 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(text, 1)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.addLayout(row)
        column.addWidget(buttons)
