"""The README beside the window, with its headings to go to."""

from __future__ import annotations

from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QTextBlock, QTextCursor
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

from cartl_gui import program


class DocumentationDialog(QDialog):
    """Shows a text in Markdown; not modal, so that it can be read while the window is used."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Documentation")
        self.resize(960, 680)
        text, folder = program.readme()
        self.browser = QTextBrowser()
        self.browser.setAccessibleName("Documentation")
        self.browser.setOpenExternalLinks(True)
        self.browser.document().setBaseUrl(QUrl.fromLocalFile(f"{folder}/"))
        self.browser.setMarkdown(_without_pictures(text))
        self.headings = QListWidget()
        self.headings.setAccessibleName("Headings")
        self.headings.setMaximumWidth(250)
        self.headings.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        block = self.browser.document().begin()
        while block.isValid():
            if 1 <= block.blockFormat().headingLevel() <= 2:
                self.headings.addItem(_Heading(block))
            block = block.next()
        self.headings.currentItemChanged.connect(self._go_to)
        row = QHBoxLayout()
        row.addWidget(self.headings)
        row.addWidget(self.browser, 1)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.addLayout(row, 1)
        column.addWidget(buttons)

    def _go_to(self, item: QListWidgetItem) -> None:
        """Bring a heading to the top."""
        assert isinstance(item, _Heading)
        self.browser.moveCursor(QTextCursor.MoveOperation.End)
        self.browser.setTextCursor(QTextCursor(item.block))


class _Heading(QListWidgetItem):
    def __init__(self, block: QTextBlock) -> None:
        super().__init__(block.text())
        self.block = block


def _without_pictures(text: str) -> str:
    """Leave out paragraphs and tables of pictures: those of the window are no help inside the window."""
    parts = text.split("\n\n")
    return "\n\n".join(part for part in parts if "![](" not in part and not part.startswith("<"))
