"""The log of engine and window, with filter and copy."""

from __future__ import annotations

import html
import time
from collections import deque

from PySide6.QtCore import QEvent, Signal
from PySide6.QtGui import QGuiApplication, QShowEvent, QTextCursor
from PySide6.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from cartl_gui import theme
from engine.events import LogAdded

MAX_LINES = 5000


class LogPage(QWidget):
    """Newest line last. Warnings and errors carry their word, not only a colour."""

    unread_changed = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._lines: deque[LogAdded] = deque(maxlen=MAX_LINES)
        self._unread = 0
        self.filter = QLineEdit()
        self.filter.setPlaceholderText("Filter the log")
        self.filter.setClearButtonEnabled(True)
        self.filter.setAccessibleName("Filter the log")
        self.filter.textChanged.connect(self._rewrite)
        self.only_problems = QCheckBox("Warnings and errors only")
        self.only_problems.toggled.connect(self._rewrite)
        copy = QPushButton("Copy all")
        copy.setToolTip("Copy the lines shown")
        copy.clicked.connect(self._copy)
        self.text = QPlainTextEdit()
        self.text.setReadOnly(True)
        self.text.setMaximumBlockCount(MAX_LINES)
        self.text.setAccessibleName("Log")
        self.text.setPlaceholderText(
            "What engine and window do is written here: starts, checkpoints, downloads, and every error in full."
        )
        font = self.text.font()
        font.setFamilies(["DejaVu Sans Mono", "Consolas", "Menlo", "monospace"])
        self.text.setFont(font)
        row = QHBoxLayout()
        row.addWidget(self.filter, 1)
        row.addWidget(self.only_problems)
        row.addWidget(copy)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 8, 8, 6)
        column.addLayout(row)
        column.addWidget(self.text, 1)

    def add(self, line: LogAdded) -> None:
        """Write a line at the end."""
        self._lines.append(line)
        if self._shown(line):
            self._write(line)
        if not self.isVisible():
            self._unread += line.level != "info"
            self.unread_changed.emit(self._unread)

    def latest(self, count: int) -> str:
        """The newest lines as plain text, whatever the filter shows."""
        lines = [self._lines[place] for place in range(max(0, len(self._lines) - count), len(self._lines))]
        return "\n".join(
            f"{time.strftime('%H:%M:%S', time.localtime(line.time))} {line.level} {line.text}"
            for line in lines
        )

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Follow a change of the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "text"):
            self._rewrite()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Count everything as read."""
        super().showEvent(event)
        self._unread = 0
        self.unread_changed.emit(0)

    def _shown(self, line: LogAdded) -> bool:
        if self.only_problems.isChecked() and line.level == "info":
            return False
        return self.filter.text().lower() in f"{line.run_id or ''} {line.level} {line.text}".lower()

    def _write(self, line: LogAdded) -> None:
        colours = theme.scheme()
        colour = {"warning": colours.warning, "error": colours.error}.get(line.level, colours.text)
        stamp = time.strftime("%H:%M:%S", time.localtime(line.time))
        word = "" if line.level == "info" else f"{line.level}: "
        run = f" {html.escape(line.run_id)}" if line.run_id else ""
        body = html.escape(word + line.text).replace("\n", "<br>").replace("  ", "&nbsp; ")
        at_end = self.text.verticalScrollBar().value() >= self.text.verticalScrollBar().maximum() - 4
        self.text.appendHtml(
            f'<span style="color:{colours.muted}">{stamp}{run}</span>&nbsp; <span style="color:{colour}">{body}</span>'
        )
        if at_end:
            self.text.moveCursor(QTextCursor.MoveOperation.End)

    def _rewrite(self) -> None:
        self.text.clear()
        for line in self._lines:
            if self._shown(line):
                self._write(line)

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.text.toPlainText())
