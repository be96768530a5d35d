"""The page of all commands with their shortcuts, which can be changed here."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QKeySequence
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QHBoxLayout,
    QHeaderView,
    QKeySequenceEdit,
    QLabel,
    QLineEdit,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from cartl_gui.commands import COMMANDS, Command, CommandSet
from cartl_gui.widgets import WrappedLabel, read_only

_NATIVE = QKeySequence.SequenceFormat.NativeText
_COLUMNS = ("Command", "Keys", "What it does")


class ShortcutsDialog(QDialog):
    """Every command: what it does and its keys, which the field below the list changes."""

    def __init__(self, commands: CommandSet, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._commands = commands
        self.setWindowTitle("Commands and shortcuts")
        self.resize(760, 600)
        self.filter = QLineEdit()
        self.filter.setPlaceholderText("Filter by command, keys or what it does")
        self.filter.setAccessibleName("Filter the commands")
        self.filter.setClearButtonEnabled(True)
        self.filter.textChanged.connect(self._narrow)
        self.table = QTableWidget(len(COMMANDS), len(_COLUMNS))
        self.table.setAccessibleName("Commands")
        self.table.setHorizontalHeaderLabels(_COLUMNS)
        read_only(self.table)
        #: The row of each command.
        self._items: list[list[QTableWidgetItem]] = []
        for row, command in enumerate(COMMANDS):
            texts = (f"{command.menu}: {command.title}", "", command.help)
            self._items.append([QTableWidgetItem(text) for text in texts])
            for column, (item, text) in enumerate(zip(self._items[row], texts, strict=True)):
                item.setToolTip(text)
                self.table.setItem(row, column, item)
        header = self.table.horizontalHeader()
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(2, QHeaderView.ResizeMode.Stretch)
        self.table.currentCellChanged.connect(self._row_chosen)
        column_layout = QVBoxLayout(self)
        column_layout.addWidget(self.filter)
        column_layout.addWidget(self.table, 1)
        column_layout.addLayout(self._editor())
        self.note = WrappedLabel("muted")
        column_layout.addWidget(self.note)
        column_layout.addWidget(self._buttons())
        commands.keys_changed.connect(self._show_keys)
        self._show_keys()
        self.table.setCurrentCell(0, 0)
        self.filter.setFocus()

    def _editor(self) -> QHBoxLayout:
        self._of = QLabel()
        self.keys = QKeySequenceEdit()
        self.keys.setMaximumSequenceLength(1)
        self.keys.setAccessibleName("New keys")
        self.keys.setMinimumWidth(150)
        line = self.keys.findChild(QLineEdit)
        if line is not None:
            line.setAccessibleName("New keys")
            line.setPlaceholderText("Press the new keys")
        self.keys.keySequenceChanged.connect(self._keys_typed)
        self.set_button = QPushButton("Set")
        self.set_button.clicked.connect(self._set)
        self.none_button = QPushButton("None")
        self.none_button.setToolTip("Leave this command without keys")
        self.none_button.clicked.connect(self._take_away)
        self.reset_button = QPushButton("Reset")
        self.reset_button.setToolTip("Give this command the keys back that the program gave it")
        self.reset_button.clicked.connect(self._reset)
        self._of.setBuddy(self.keys)
        row = QHBoxLayout()
        row.addWidget(self._of, 1)
        for widget in (self.keys, self.set_button, self.none_button, self.reset_button):
            row.addWidget(widget)
        return row

    def _buttons(self) -> QDialogButtonBox:
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        self.copy_button = buttons.addButton("Copy as text", QDialogButtonBox.ButtonRole.ActionRole)
        self.copy_button.setToolTip("Copy the list, to be printed or kept")
        self.copy_button.clicked.connect(self._copy)
        self.reset_all_button = buttons.addButton("Reset all", QDialogButtonBox.ButtonRole.ResetRole)
        self.reset_all_button.clicked.connect(self._commands.reset_keys)
        buttons.rejected.connect(self.reject)
        for button in buttons.findChildren(QPushButton):
            button.setAutoDefault(False)  # Return belongs to the fields
        return buttons

    def text(self) -> str:
        """The commands that are listed now, menu by menu, as plain text."""
        lines: list[str] = []
        menu = ""
        shown = [command for row, command in enumerate(COMMANDS) if not self.table.isRowHidden(row)]
        for command in sorted(shown, key=lambda command: [one.menu for one in COMMANDS].index(command.menu)):
            if command.menu != menu:
                menu = command.menu
                lines += ["", menu] if lines else [menu]
            keys = self._commands.keys(command.id).toString(_NATIVE)
            lines.append(f"  {keys:<16}{command.title}: {command.help}")
        return "\n".join(lines) + "\n"

    def _chosen(self) -> Command:
        return COMMANDS[max(0, self.table.currentRow())]

    def _narrow(self, text: str) -> None:
        for row, items in enumerate(self._items):
            line = " ".join(item.text() for item in items).lower()
            self.table.setRowHidden(row, text.lower() not in line)

    def _show_keys(self) -> None:
        own = self._commands.own_keys()
        for command, (_title, item, _help) in zip(COMMANDS, self._items, strict=True):
            item.setText(self._commands.keys(command.id).toString(_NATIVE))
            font = item.font()
            font.setBold(command.id in own)
            item.setFont(font)
            if command.id in own:
                item.setToolTip("Chosen by you")
        self.reset_all_button.setEnabled(bool(own))
        self._row_chosen()

    def _row_chosen(self) -> None:
        command = self._chosen()
        self._of.setText(f"Keys of “{command.title}”")
        self.keys.setKeySequence(self._commands.keys(command.id))
        self.reset_button.setEnabled(command.id in self._commands.own_keys())
        self.none_button.setEnabled(not self._commands.keys(command.id).isEmpty())
        self._keys_typed(self.keys.keySequence())

    def _keys_typed(self, keys: QKeySequence) -> None:
        """Say to whom the typed keys belong before they are taken away."""
        command, owner = self._chosen(), self._commands.owner(keys)
        self.set_button.setEnabled(not keys.isEmpty() and owner is not command)
        self.set_button.setText("Set")
        self.note.setText("Keys in bold were chosen by you.")
        if owner is not None and owner is not command:
            self.set_button.setText("Take over")
            self.note.setText(
                f"{keys.toString(_NATIVE)} belongs to “{owner.title}”, which would be left without keys."
            )

    def _set(self) -> None:
        self._commands.set_keys(self._chosen().id, self.keys.keySequence())

    def _take_away(self) -> None:
        self._commands.set_keys(self._chosen().id, QKeySequence())

    def _reset(self) -> None:
        command = self._chosen()
        self._commands.set_keys(command.id, QKeySequence(command.shortcut))

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.text())
        self.note.setText("The list was copied.")
