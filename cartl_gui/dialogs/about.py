"""Version, licences, and what to cite."""

from __future__ import annotations

import html
from collections.abc import Sequence

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QPlainTextEdit,
    QTabWidget,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

from cartl_gui import program, theme
from cartl_gui.widgets import WrappedLabel
from engine.credits import Credit


class AboutDialog(QDialog):
    """Three pages: the versions, what to cite, and the licence of every package in full."""

    def __init__(self, papers: Sequence[Credit], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._papers = papers
        self.setWindowTitle(f"About {program.NAME}")
        self.resize(720, 560)
        self.tabs = QTabWidget()
        self.tabs.setAccessibleName("About")
        self.tabs.addTab(self._versions(), "Versions")
        self.tabs.addTab(self._citations(), "To cite")
        self.tabs.addTab(self._licences(), "Licences")
        self.said = QLabel()
        self.said.setProperty("role", "muted")
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        copy = buttons.addButton("Copy all", QDialogButtonBox.ButtonRole.ActionRole)
        copy.setToolTip("Copy versions and citations")
        copy.clicked.connect(self._copy_all)
        buttons.rejected.connect(self.reject)
        last = QHBoxLayout()
        last.addWidget(self.said, 1)
        last.addWidget(buttons)
        column = QVBoxLayout(self)
        column.addLayout(self._head())
        column.addWidget(self.tabs, 1)
        column.addLayout(last)

    def text(self) -> str:
        """Versions and citations as plain text."""
        lines = [f"{paper.kind}: {paper.title}: {paper.source}" for paper in self._papers]
        return "\n".join([program.facts(), "", program.BIBTEX, *lines]) + "\n"

    def _head(self) -> QHBoxLayout:
        picture = QLabel()
        side = theme.px(56)
        picture.setPixmap(theme.icon("app").pixmap(QSize(side, side)))
        name = WrappedLabel()
        name.setTextFormat(Qt.TextFormat.RichText)
        name.setText(f"<h2>{program.NAME} {program.version()}</h2>{program.PURPOSE} MIT licence.")
        row = QHBoxLayout()
        row.setSpacing(14)
        row.addWidget(picture, 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(name, 1)
        return row

    def _versions(self) -> QWidget:
        rows = "".join(
            f"<tr><td>{package.name}</td><td>{package.version}</td><td>{html.escape(package.licence)}</td></tr>"
            for package in program.packages()
        )
        first = program.facts().splitlines()[1]
        return _browser(
            "Versions",
            f"<p>{html.escape(first)}</p><table cellpadding='3'><tr><th align='left'>Package</th>"
            f"<th align='left'>Version</th><th align='left'>Licence</th></tr>{rows}</table>"
            f"<p>{program.LGPL_NOTE}</p><p>Icons and drawings: this project.</p>",
        )

    def _citations(self) -> QWidget:
        parts = [
            "<p>The method that this program implements:</p>",
            f"<pre>{html.escape(program.BIBTEX)}</pre>",
        ]
        kinds = list(dict.fromkeys(paper.kind for paper in self._papers))
        for kind in kinds:
            listed = "".join(
                f"<li>{html.escape(paper.title)}: {html.escape(paper.source)}</li>"
                for paper in self._papers
                if paper.kind == kind
            )
            parts.append(f"<h4>{kind}</h4><ul>{listed}</ul>")
        if not kinds:
            parts.append(
                "<p>The papers of methods and attacks are listed here once the engine has started.</p>"
            )
        return _browser("What to cite", "".join(parts))

    def _licences(self) -> QWidget:
        page = QWidget()
        self.package = QListWidget()
        self.package.setAccessibleName("Packages")
        self.package.setMaximumWidth(180)
        self.package.addItems([package.name for package in program.packages()])
        self.licence = QPlainTextEdit()
        self.licence.setReadOnly(True)
        self.licence.setAccessibleName("Licence")
        self.package.currentRowChanged.connect(self._show_licence)
        self.package.setCurrentRow(0)
        row = QHBoxLayout(page)
        row.addWidget(self.package)
        row.addWidget(self.licence, 1)
        return page

    def _show_licence(self, row: int) -> None:
        package = program.packages()[row]
        note = f"{program.LGPL_NOTE}\n\n" if "LGPL" in package.licence else ""
        self.licence.setPlainText(
            f"{package.name} {package.version}: {package.licence}\n\n{note}{package.licence_text()}"
        )

    def _copy_all(self) -> None:
        QGuiApplication.clipboard().setText(self.text())
        self.said.setText("Copied")


def _browser(name: str, text: str) -> QTextBrowser:
    browser = QTextBrowser()
    browser.setAccessibleName(name)
    browser.setOpenExternalLinks(True)
    browser.setHtml(text)
    return browser
