"""What could not be done: what happened, what to do, and details to copy. One dialog, however much goes wrong."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from cartl_gui import theme
from cartl_gui.widgets import WrappedLabel


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that could not be done.

    Attributes:
        happened: what happened, in one sentence.
        remedy: why, and what to do.
        details: for those who look into it, such as a traceback.
    """

    happened: str
    remedy: str = ""
    details: str = ""

    def text(self) -> str:
        """All of it."""
        return "\n\n".join(filter(None, (self.happened, self.remedy, self.details)))


class ProblemDialog(QDialog):
    """Lists what went wrong while it is open; what is told again is counted.

    `surroundings` are copied with the details: versions, platform, the newest lines of the log.
    """

    def __init__(self, surroundings: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Something could not be done")
        self.setModal(True)
        self._surroundings = surroundings
        self._counts: dict[Trouble, int] = {}
        self._icon = QLabel()
        side = theme.px(32)
        self._icon.setPixmap(theme.icon("warning", theme.scheme().warning).pixmap(QSize(side, side)))
        inner = QWidget()
        inner.setMinimumHeight(1)  # what it needs follows from its width
        self._list = QVBoxLayout(inner)
        self._list.setContentsMargins(0, 0, 8, 0)
        self._list.setSpacing(6)
        self._scroll = QScrollArea()
        self._scroll.setWidget(inner)
        self._scroll.setWidgetResizable(True)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)
        self._scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.details = QPlainTextEdit()
        self.details.setReadOnly(True)
        self.details.setAccessibleName("Details")
        self.details.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.details.setMinimumHeight(180)
        self.details.hide()
        self.show_button = QPushButton("Show details")
        self.show_button.setCheckable(True)
        self.show_button.setAutoDefault(False)
        self.show_button.toggled.connect(self._show_details)
        self.copy_button = QPushButton("Copy details")
        self.copy_button.setAutoDefault(False)
        self.copy_button.setToolTip("What happened, versions, platform and the newest lines of the log")
        self.copy_button.clicked.connect(self._copy)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        self.close_button = buttons.button(QDialogButtonBox.StandardButton.Close)
        self.close_button.setDefault(True)
        head = QHBoxLayout()
        head.setSpacing(14)
        head.addWidget(self._icon, 0, Qt.AlignmentFlag.AlignTop)
        head.addWidget(self._scroll, 1)
        row = QHBoxLayout()
        row.addWidget(self.show_button)
        row.addWidget(self.copy_button)
        row.addStretch(1)
        row.addWidget(buttons)
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 12)
        column.setSpacing(12)
        column.addLayout(head, 1)
        column.addWidget(self.details, 2)
        column.addLayout(row)
        self.setMinimumWidth(520)
        self.close_button.setFocus()

    def add(self, trouble: Trouble) -> None:
        """Tell of something else, or count it if it was told already."""
        self._counts[trouble] = self._counts.get(trouble, 0) + 1
        while (item := self._list.takeAt(0)) is not None:
            if (old := item.widget()) is not None:
                old.hide()
                old.deleteLater()
        lines: list[QLabel] = []
        for known, count in self._counts.items():
            lines.append(_line(f"{known.happened}{f' ({count} times)' if count > 1 else ''}", "heading"))
            if known.remedy:
                lines.append(_line(known.remedy))
        for line in lines:
            self._list.addWidget(line)
        self._list.addStretch(1)
        self.details.setPlainText(self.text())
        self.setAccessibleDescription(" ".join(known.text() for known in self._counts))
        width = self.minimumWidth() - theme.px(90)
        height = sum(line.heightForWidth(width) + theme.px(8) for line in lines)
        self._scroll.setMinimumHeight(min(height + theme.px(24), self.screen().availableSize().height() // 3))
        theme.mark_scaled(self._scroll)

    def text(self) -> str:
        """All that can be copied."""
        told = "\n\n".join(known.text() for known in self._counts)
        return f"{told}\n\n{self._surroundings}\n"

    def _show_details(self, on: bool) -> None:
        self.details.setVisible(on)
        self.show_button.setText("Hide details" if on else "Show details")
        self.adjustSize()

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.text())
        self.copy_button.setText("Copied")


def _line(text: str, role: str = "") -> WrappedLabel:
    label = WrappedLabel(role)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setText(text)
    return label
