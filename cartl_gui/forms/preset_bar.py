"""The presets of the set-up form: those of the program and the user's own, chosen, saved, renamed and deleted."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import QEvent, QSize, Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QInputDialog, QMessageBox, QToolButton, QWidget

from cartl_gui import theme
from cartl_gui.own_presets import OwnPresets
from cartl_gui.widgets import Menu, QuietCombo
from engine.config import StudyConfig
from engine.errors import ConfigError

#: Beginning of the ids of own presets in the chooser; the program's are called by file names.
OWN = "own: "


class PresetBar(QWidget):
    """A chooser of presets, and buttons for files and own presets.

    Args:
        presets: the program's, by id.
        own: the user's; None where there is no place for them.
    """

    #: A preset was chosen: its id.
    chosen = Signal(str)
    open_asked = Signal()
    save_asked = Signal()
    #: The study in the form is to become a preset.
    keep_asked = Signal()

    def __init__(self, presets: Mapping[str, StudyConfig], own: OwnPresets | None) -> None:
        super().__init__()
        self._presets, self.own = presets, own
        self.chooser = QuietCombo()
        self.chooser.setAccessibleName("Preset")
        self.chooser.setToolTip("Studies to begin with; choosing one replaces the settings below")
        self.chooser.activated.connect(self._activated)
        self.open_button = tool("open", "Open a settings file (TOML)…")
        self.open_button.clicked.connect(self.open_asked)
        self.save_button = tool("save", "Save the settings as TOML…")
        self.save_button.clicked.connect(self.save_asked)
        self.menu_button = tool("more", "Own presets")
        self.menu_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = Menu(self.menu_button)
        self.keep_action = menu.addAction("Save as preset…")
        self.keep_action.triggered.connect(self.keep_asked)
        self.rename_action = menu.addAction("Rename this preset…")
        self.rename_action.triggered.connect(self.rename)
        self.delete_action = menu.addAction("Delete this preset…")
        self.delete_action.triggered.connect(self.delete)
        menu.aboutToShow.connect(self._refresh_menu)
        self.menu_button.setMenu(menu)
        self.menu_button.setVisible(own is not None)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        row.addWidget(self.chooser, 1)
        for button in (self.open_button, self.save_button, self.menu_button):
            row.addWidget(button)
        self.setFocusProxy(self.chooser)
        self.fill()

    def fill(self) -> None:
        """List the presets anew; the choice stays if it is still there."""
        kept = self.chooser.currentData()
        self.chooser.clear()
        self.chooser.addItem("Choose…", "")
        for name, study in self._presets.items():
            self.chooser.addItem(study.title, name)
            self._explain(study.description)
        if self.own is not None and (self.own.texts or self.own.damaged):
            self.chooser.insertSeparator(self.chooser.count())
            for name in self.own.texts:
                self.chooser.addItem(name, OWN + name)
                self._explain("A preset of your own")
            for name, reason in self.own.damaged.items():
                self.chooser.addItem(f"{name} (cannot be used)", "")
                self._explain(f"{self.own.path(name)}\n{reason}")
                self.chooser.setItemData(self.chooser.count() - 1, 0, Qt.ItemDataRole.UserRole - 1)
        self.show_choice(kept or "")

    def show_choice(self, preset: str) -> None:
        """Show which preset the form was filled from, none if it is empty or gone."""
        self.chooser.setCurrentIndex(max(0, self.chooser.findData(preset)) if preset else 0)

    def title(self, preset: str) -> str:
        """What a preset is called."""
        return preset.removeprefix(OWN) if preset.startswith(OWN) else self._presets[preset].title

    def keep(self, text: str, proposed: str) -> str:
        """Ask for a name and save a study as a preset of that name; returns its id, empty if it was not saved."""
        if self.own is None:
            return ""
        name = self._ask_name("Save as preset", proposed)
        if not name or (
            name in self.own.texts and not self._sure(f"Replace the preset “{name}”?", "Replace")
        ):
            return ""
        try:
            self.own.save(name, text)
        except (ConfigError, OSError) as error:
            self._tell("The preset could not be saved.", str(error))
            return ""
        self.fill()
        self.show_choice(OWN + name)
        return OWN + name

    def rename(self) -> None:
        """Ask for another name of the chosen own preset."""
        old = self._own_choice()
        if self.own is None or not old:
            return
        name = self._ask_name("Rename preset", old)
        if not name or name == old:
            return
        try:
            self.own.rename(old, name)
        except OSError as error:
            self._tell("The preset could not be renamed.", str(error))
            return
        self.fill()
        self.show_choice(OWN + name)

    def delete(self) -> None:
        """Delete the chosen own preset if the user is sure."""
        name = self._own_choice()
        if self.own is None or not name or not self._sure(f"Delete the preset “{name}”?", "Delete"):
            return
        try:
            self.own.delete(name)
        except OSError as error:
            self._tell("The preset could not be deleted.", str(error))
            return
        self.fill()

    def _activated(self, index: int) -> None:
        if preset := self.chooser.itemData(index):
            self.chosen.emit(preset)

    def _own_choice(self) -> str:
        preset = str(self.chooser.currentData() or "")
        return preset.removeprefix(OWN) if preset.startswith(OWN) else ""

    def _refresh_menu(self) -> None:
        own = self._own_choice()
        self.rename_action.setEnabled(bool(own))
        self.delete_action.setEnabled(bool(own))
        self.rename_action.setText(f"Rename “{own}”…" if own else "Rename this preset…")
        self.delete_action.setText(f"Delete “{own}”…" if own else "Delete this preset…")

    def _ask_name(self, title: str, proposed: str) -> str:
        """Ask until the name can be used; empty if the user gave up."""
        assert self.own is not None
        taken = [study.title for study in self._presets.values()]
        label = "Name of the preset:"
        while True:
            name, agreed = QInputDialog.getText(self, title, label, text=proposed)
            name = name.strip()
            if not agreed:
                return ""
            if not (refusal := self.own.refusal(name, taken)):
                return name
            label, proposed = f"{refusal}\nName of the preset:", name

    def _explain(self, text: str) -> None:
        self.chooser.setItemData(self.chooser.count() - 1, text.strip(), Qt.ItemDataRole.ToolTipRole)

    def _sure(self, text: str, yes: str) -> bool:
        box = QMessageBox(QMessageBox.Icon.Question, "Presets", text, parent=self)
        agree = box.addButton(yes, QMessageBox.ButtonRole.AcceptRole)
        box.addButton(QMessageBox.StandardButton.Cancel)
        box.exec()
        agreed = box.clickedButton() is agree
        box.deleteLater()
        return agreed

    def _tell(self, text: str, details: str) -> None:
        box = QMessageBox(QMessageBox.Icon.Warning, "Presets", text, parent=self)
        box.setInformativeText(details)
        box.exec()
        box.deleteLater()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Follow a change of the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "menu_button"):
            recolour(self)


def tool(picture: str, text: str) -> QToolButton:
    """A quiet button with a picture; its text is its tooltip and its accessible name."""
    button = QToolButton()
    button.setProperty("quiet", "true")
    button.setIcon(theme.icon(picture))
    button.setIconSize(QSize(18, 18))
    button.setObjectName(picture)
    button.setToolTip(text)
    button.setAccessibleName(text.rstrip("…"))
    return button


def recolour(widget: QWidget) -> None:
    """Draw the pictures of the buttons of `tool` in the colours of the theme."""
    for button in widget.findChildren(QToolButton):
        if button.objectName() and button.property("quiet"):
            button.setIcon(theme.icon(button.objectName()))
