"""All about one setting, in a panel beside its field: F1."""

from __future__ import annotations

from html import escape

from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QGuiApplication, QHideEvent, QKeyEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from cartl_gui.forms.fields import FieldRow

WIDTH = 380
_SYMBOLS = {"lambda": "λ (lambda)", "beta": "β (beta)", "1/lambda": "1/λ"}


def facts(row: FieldRow) -> list[tuple[str, str]]:
    """What is known about a setting beside its help: pairs of title and text."""
    spec = row.spec
    default = row.shown(spec.default)
    found = [("Expected", spec.expectation()), ("Default", default or "empty")]
    if spec.unit:
        found.append(("Unit", spec.unit))
    if spec.symbol:
        found.append(("In papers", _SYMBOLS.get(spec.symbol, spec.symbol)))
    if spec.source:
        found.append(("Source", spec.source))
    if spec.proposed:
        found.append(("Usual values", ", ".join(row.shown(value) for value in spec.proposed)))
    found.append(("In a study file", row.place))
    found.append(("Command line", command(row)))
    if spec.is_swept:
        found.append(("Several values", f"typed as {example(row)}; or --sweep {row.place}=…"))
    return found


def command(row: FieldRow) -> str:
    """How the setting's value is given on the command line: "--set finetuning.epochs=10"."""
    typed = row.typed() if row.sweep_text is None else row.shown(row.baseline)
    value = {"on": "true", "off": "false"}.get(typed, typed) if row.spec.kind == "switch" else typed
    if row.spec.kind in ("integers", "numbers"):
        value = f"[{value}]"
    quoted = f"'{row.place}={value}'" if " " in value or "[" in value else f"{row.place}={value}"
    return f"--set {quoted}"


def example(row: FieldRow) -> str:
    """Several values as they may be typed for this kind of setting."""
    if row.spec.kind == "choice":
        return ", ".join([value for value in row.spec.choices if value][:2])
    return {"switch": "on, off", "integer": "1, 2, 5 or 4..8", "ratio": "4/255, 8/255"}.get(
        row.spec.kind, "0.1, 0.2 or log(0.001, 0.1, 3)"
    )


class FieldHelp(QFrame):
    """A panel that any key or click beside it closes."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Popup)
        self.setProperty("card", "true")
        self.setFixedWidth(WIDTH)
        self._row: FieldRow | None = None
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.text.setTextFormat(Qt.TextFormat.RichText)
        self.text.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self.copy_button = QPushButton("Copy for the command line")
        self.copy_button.clicked.connect(self._copy)
        close = QPushButton("Close")
        close.clicked.connect(self.close)
        foot = QHBoxLayout()
        foot.addWidget(self.copy_button)
        foot.addStretch(1)
        foot.addWidget(close)
        column = QVBoxLayout(self)
        column.setContentsMargins(14, 10, 14, 12)
        column.setSpacing(8)
        column.addWidget(self.text)
        column.addLayout(foot)

    def explain(self, row: FieldRow) -> None:
        """Show all about a row's setting, below its field."""
        self._row = row
        lines = "".join(
            f"<tr><td style='padding: 2px 12px 2px 0'>{escape(title)}</td><td style='padding: 2px 0'>{escape(text)}</td></tr>"
            for title, text in facts(row)
        )
        self.text.setText(
            f"<b>{escape(row.spec.title)}</b><p>{escape(row.spec.help)}</p><table>{lines}</table>"
        )
        self.setAccessibleName(f"Help on {row.spec.title}")
        self.setAccessibleDescription(
            " ".join([row.spec.help, *(f"{title}: {text}." for title, text in facts(row))])
        )
        self.resize(self.width(), self.heightForWidth(self.width()))
        corner = row.editor.mapToGlobal(QPoint(0, row.editor.height() + 2))
        area = row.screen().availableGeometry()
        if corner.y() + self.height() > area.bottom():
            corner.setY(row.editor.mapToGlobal(QPoint(0, 0)).y() - self.height() - 2)
        corner.setX(min(corner.x(), area.right() - self.width()))
        self.move(corner.x(), max(area.top(), corner.y()))
        self.show()
        self.copy_button.setFocus(Qt.FocusReason.PopupFocusReason)

    def _copy(self) -> None:
        if self._row is not None:
            QGuiApplication.clipboard().setText(command(self._row))
        self.close()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """F1 closes what F1 opened, as Escape does."""
        if event.key() in (Qt.Key.Key_F1, Qt.Key.Key_Escape):
            self.close()
        else:
            super().keyPressEvent(event)

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802
        """Give the keyboard back to the field."""
        super().hideEvent(event)
        if self._row is not None:
            self._row.editor.setFocus(Qt.FocusReason.PopupFocusReason)
