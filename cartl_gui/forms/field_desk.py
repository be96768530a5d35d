"""What the fields of a form are given while they have the keyboard: their help, their menu and the button for it."""

from __future__ import annotations

from PySide6.QtCore import QObject, QPoint, Signal
from PySide6.QtWidgets import QLabel, QWidget

from cartl_gui.forms.config_form import ConfigForm
from cartl_gui.forms.field_help import FieldHelp
from cartl_gui.forms.field_menu import FieldMenu, MenuButton
from cartl_gui.forms.fields import FieldRow
from cartl_gui.own_presets import RecentValues

_IDLE = "Click a setting to read what it does; F1 tells all about it. Several values such as 0.1, 0.2 make a run each."


class FieldDesk(QObject):
    """Serves the fields of a form.

    Args:
        panel: the widget that the form is in.
        form: the form.
        about: the label that tells what the setting with the keyboard does.
        recent: the values used last.
    """

    #: A field has the keyboard no longer.
    left = Signal()

    def __init__(self, panel: QWidget, form: ConfigForm, about: QLabel, recent: RecentValues) -> None:
        super().__init__(panel)
        self._panel, self._about, self.recent = panel, about, recent
        self.help = FieldHelp(panel)
        self.menu_button = MenuButton(panel)
        self.menu_button.asked.connect(self.open_menu)
        form.events.focused.connect(self._focused)
        form.events.left.connect(self._left)
        form.events.resized.connect(self._resized)
        form.events.help_asked.connect(self.explain)
        form.events.menu_asked.connect(self.open_menu)
        self._tell(None)

    def explain(self, row: FieldRow) -> None:
        """Show all about a setting in a panel beside its field."""
        self.help.explain(row)

    def open_menu(self, row: FieldRow, place: QPoint) -> None:
        """Open the menu of a field at a point of the screen."""
        menu = FieldMenu(row, self.recent.of(row.place), self._panel)
        menu.help_asked.connect(self.explain)
        menu.popup(place)

    def _focused(self, row: FieldRow) -> None:
        self._tell(row)
        self.menu_button.follow(row)

    def _left(self, _row: FieldRow) -> None:
        self.menu_button.leave()
        self.left.emit()

    def _resized(self, _row: FieldRow) -> None:
        self.menu_button.place()

    def _tell(self, row: FieldRow | None) -> None:
        self._about.setText(row.spec.help if row is not None and row.spec.help else _IDLE)
