"""Preferences. Each takes effect at once; there is nothing to confirm."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from cartl_gui.settings import WindowSettings
from cartl_gui.theme import SCALES, Theme
from cartl_gui.widgets import ElidedLabel, WrappedLabel

_THEMES = (("system", "As the desktop"), ("light", "Light"), ("dark", "Dark"))


class PreferencesDialog(QDialog):
    """Theme, scale, what happens when runs end, and the folder of runs."""

    #: Theme or scale were changed.
    look_changed = Signal()
    other_workspace_asked = Signal()

    def __init__(
        self, settings: WindowSettings, themes: Theme, workspace: str, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._settings, self._themes = settings, themes
        self.setWindowTitle("Preferences")
        form = QFormLayout()
        form.setVerticalSpacing(8)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._add_look(form)
        self._add_runs(form)
        self._add_workspace(form, workspace)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.setContentsMargins(18, 16, 18, 14)
        column.setSpacing(14)
        column.addLayout(form)
        column.addStretch(1)
        column.addWidget(buttons)

    def _add_look(self, form: QFormLayout) -> None:
        self.theme, self.scale = QComboBox(), QComboBox()
        for choice, text in _THEMES:
            self.theme.addItem(text, choice)
        self.theme.setCurrentIndex(self.theme.findData(self._themes.choice))
        self.theme.currentIndexChanged.connect(self._theme_chosen)
        for share in SCALES:
            self.scale.addItem(f"{100 * share:.0f} %", share)
        self.scale.setCurrentIndex(self.scale.findData(self._settings.scale))
        self.scale.setToolTip("Size of texts, icons, rows and plots")
        self.scale.currentIndexChanged.connect(self._scale_chosen)
        form.addRow(_heading("Look"))
        form.addRow("Theme", self.theme)
        form.addRow("Scale", self.scale)

    def _add_runs(self, form: QFormLayout) -> None:
        self.notifies = QCheckBox("Tell me when runs end while I look elsewhere")
        self.notifies.setToolTip(
            "By a message of the desktop where it shows them, else by marking the window"
        )
        self.notifies.setChecked(self._settings.notifies)
        self.notifies.toggled.connect(self._notifies_chosen)
        self.after_failure = QComboBox()
        self.after_failure.addItem("go on with the next run", False)
        self.after_failure.addItem("hold the queue", True)
        self.after_failure.setCurrentIndex(int(self._settings.holds_after_failure))
        self.after_failure.currentIndexChanged.connect(self._after_failure_chosen)
        form.addRow(_heading("Runs"))
        form.addRow("When a run fails", self.after_failure)
        form.addRow(self.notifies)

    def _add_workspace(self, form: QFormLayout, workspace: str) -> None:
        now = ElidedLabel(workspace)
        now.setToolTip(workspace)
        self.other_button = QPushButton("Open another…")
        self.other_button.setToolTip("In a window of its own; this one stays")
        self.other_button.setAutoDefault(False)
        self.other_button.clicked.connect(self.other_workspace_asked)
        self._first = ElidedLabel()
        self.choose_button, self.reset_button = QPushButton("Choose…"), QPushButton("Reset")
        self.choose_button.setAccessibleName("Choose the workspace to begin with")
        self.reset_button.setAccessibleName("Begin with the program's own workspace")
        self.choose_button.clicked.connect(self._choose_workspace)
        self.reset_button.clicked.connect(self._reset_workspace)
        for button in (self.choose_button, self.reset_button):
            button.setAutoDefault(False)
        note = WrappedLabel("hint")
        note.setText(
            "The command line takes --workspace, or the variable CARTL_WORKSPACE, which goes first here too."
        )
        form.addRow(_heading("Workspace"))
        form.addRow("This window", _row(now, self.other_button))
        form.addRow("At the start", _row(self._first, self.choose_button, self.reset_button))
        form.addRow(note)
        self._show_first()

    def _theme_chosen(self) -> None:
        self._settings.theme = self.theme.currentData()
        self._themes.apply(self._settings.theme)
        self.look_changed.emit()

    def _scale_chosen(self) -> None:
        self._settings.scale = self.scale.currentData()
        self._themes.set_scale(self._settings.scale)
        self.adjustSize()
        self.look_changed.emit()

    def _notifies_chosen(self, on: bool) -> None:
        self._settings.notifies = on

    def _after_failure_chosen(self) -> None:
        self._settings.holds_after_failure = self.after_failure.currentData()

    def _choose_workspace(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Workspace to begin with", self._settings.workspace)
        if path:
            self._settings.workspace = path
            self._show_first()

    def _reset_workspace(self) -> None:
        self._settings.workspace = ""
        self._show_first()

    def _show_first(self) -> None:
        path = self._settings.workspace
        self._first.setText(path or "the program's own folder")
        self._first.setToolTip(path)
        self.reset_button.setEnabled(bool(path))


def _heading(text: str) -> QLabel:
    label = QLabel(text)
    label.setProperty("role", "heading")
    return label


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setSpacing(8)
    for place, widget in enumerate(widgets):
        row.addWidget(widget, int(place == 0))
    return row
