"""The line above the list of runs in which a query is typed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from PySide6.QtCore import QPoint, QStringListModel, Qt, QTimer, Signal
from PySide6.QtWidgets import QCompleter, QFrame, QGridLayout, QLabel, QLineEdit, QToolButton, QWidget

from engine.events import RunInfo
from engine.query import EXAMPLES, QueryError, completed, completions, parse_query

#: Milliseconds without a key after which a query that cannot be read is called wrong and not unfinished.
PATIENCE_MS = 500


class QueryField(QLineEdit):
    """Reads a query while it is typed. One that cannot be read changes nothing but the reason below.

    Args:
        runs: the runs whose tags and studies are proposed.
    """

    #: A query that can be read, or None where nothing is typed.
    query_changed = Signal(object)
    #: Why the text cannot be read; "" once it can.
    reason_changed = Signal(str)

    def __init__(self, runs: Callable[[], Iterable[RunInfo]], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._runs = runs
        self._reason = ""
        self.setPlaceholderText("Filter: neft, state:failed, robust > 45, k = 3")
        self.setClearButtonEnabled(True)
        self.setAccessibleName("Filter runs")
        self._proposals = QStringListModel(self)
        self._completer = QCompleter(self._proposals, self)
        self._completer.setWidget(self)
        self._completer.setCompletionMode(QCompleter.CompletionMode.UnfilteredPopupCompletion)
        self._completer.activated.connect(self._complete)
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.setInterval(PATIENCE_MS)
        self._patience.timeout.connect(self._refuse)
        self.textChanged.connect(self._read)
        self.textEdited.connect(self._propose)

    def _read(self, text: str) -> None:
        try:
            query = parse_query(text) if text.strip() else None
        except QueryError as error:
            self._reason = str(error)
            self._patience.start()
            return
        self._reason = ""
        self._refuse()
        self.query_changed.emit(query)

    def _refuse(self) -> None:
        """Show the reason, or take it away."""
        self._patience.stop()
        self.setProperty("bad", bool(self._reason))
        self.style().unpolish(self)
        self.style().polish(self)
        self.setAccessibleDescription(self._reason)
        self.reason_changed.emit(self._reason)

    def _propose(self) -> None:
        before = self.text()[: self.cursorPosition()]
        found = completions(before, self._runs())
        self._proposals.setStringList(found)
        if found:
            self._completer.complete()
        elif (popup := self._completer.popup()) is not None:
            popup.hide()

    def _complete(self, choice: str) -> None:
        before = self.text()[: self.cursorPosition()]
        after = self.text()[self.cursorPosition() :]
        start = completed(before, choice)
        self.setText(start + after)
        self.setCursorPosition(len(start))
        self._propose()


class QueryHelp(QFrame):
    """What may be typed: each example can be taken over by a click."""

    chosen = Signal(str)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Popup)
        self.setProperty("card", True)
        self.setAccessibleName("Examples of filters")
        grid = QGridLayout(self)
        grid.setContentsMargins(12, 10, 12, 10)
        grid.setHorizontalSpacing(14)
        grid.setVerticalSpacing(1)
        title = QLabel("All terms must hold. Click on one to try it.")
        title.setProperty("role", "heading")
        grid.addWidget(title, 0, 0, 1, 2)
        for row, (example, meaning) in enumerate(EXAMPLES, start=1):
            button = QToolButton()
            button.setText(example)
            button.setProperty("quiet", True)
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextOnly)
            button.setAccessibleName(f"{example}: {meaning}")
            button.clicked.connect(self._choose)
            label = QLabel(meaning)
            label.setProperty("role", "muted")
            grid.addWidget(button, row, 0, Qt.AlignmentFlag.AlignLeft)
            grid.addWidget(label, row, 1)
        more = QLabel("Every setting can be asked for by its name, such as learning_rate or attack.steps.")
        more.setProperty("role", "hint")
        grid.addWidget(more, len(EXAMPLES) + 1, 0, 1, 2)

    def show_below(self, widget: QWidget) -> None:
        """Open under a widget, or over it where the screen ends."""
        self.adjustSize()
        corner = widget.mapToGlobal(QPoint(widget.width() - self.width(), widget.height() + 2))
        screen = widget.screen().availableGeometry()
        if corner.y() + self.height() > screen.bottom():
            corner.setY(widget.mapToGlobal(QPoint(0, 0)).y() - self.height() - 2)
        self.move(max(screen.left(), corner.x()), max(screen.top(), corner.y()))
        self.show()

    def _choose(self) -> None:
        button = self.sender()
        if isinstance(button, QToolButton):
            self.hide()
            self.chosen.emit(button.text())
