"""The widgets of the set-up dock around the form, and where they stand."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from PySide6.QtCore import QObject, QSize, Qt
from PySide6.QtGui import QAction, QIcon
from PySide6.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLayout,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from cartl_gui import theme, words
from cartl_gui.forms.changes_section import ChangesSection, SettingsBar
from cartl_gui.forms.config_form import ConfigForm
from cartl_gui.forms.estimate_strip import EstimateStrip
from cartl_gui.forms.grid_section import GridSection
from cartl_gui.forms.preset_bar import PresetBar, recolour, tool
from cartl_gui.own_presets import OwnPresets
from cartl_gui.widgets import QuietCombo, WrappedLabel
from engine.config import StudyConfig

MIN_WIDTH = 384


class SetupLayout(QObject):
    """Builds the head, the scrolled form and the foot into a panel."""

    def __init__(
        self, panel: QWidget, presets: Mapping[str, StudyConfig], own: OwnPresets | None,
        grid: GridSection, form: ConfigForm,
    ) -> None:  # fmt: skip
        super().__init__(panel)
        self._panel = panel
        panel.setMinimumWidth(MIN_WIDTH)
        self.presets = PresetBar(presets, own)
        self.title = QLineEdit()
        self.title.setToolTip("What the study is called in the list of runs")
        self.chooser = QuietCombo()
        self.chooser.setToolTip("Runs of the study, made from top to bottom; the chosen one is in the form")
        self.add_button = tool("copy", "Add a copy of this run")
        self.remove_button = tool("trash", "Remove this run from the study")
        self.search = QLineEdit()
        self.search.setPlaceholderText("Find a setting")
        self.search.setAccessibleName("Find a setting")
        self.search.setToolTip(
            "Show only settings whose title, name or help has these words (Ctrl+Shift+F); Return goes to the first"
        )
        self.search.setClearButtonEnabled(True)
        self._search_icon = QAction(_search_picture(), "", self.search)
        self.search.addAction(self._search_icon, QLineEdit.ActionPosition.LeadingPosition)
        self.changes_button = QToolButton()
        self.changes_button.setCheckable(True)
        self.changes_button.setProperty("quiet", "true")
        self.undo_button, self.redo_button = tool("undo", "Nothing to undo"), tool("redo", "Nothing to redo")
        self.undo_button.setAccessibleName("Undo")
        self.redo_button.setAccessibleName("Redo")
        for button in (self.undo_button, self.redo_button):
            button.setEnabled(False)
        self.bar = SettingsBar()
        self.changes_section = ChangesSection()
        self._found = WrappedLabel("muted")
        self._found.hide()
        self.scroll_area = QScrollArea()
        self.help = WrappedLabel("muted")
        self.help.setMinimumHeight(52)
        self.help.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.help.setContentsMargins(10, 4, 8, 2)
        self.estimate = EstimateStrip()
        self.status = QPushButton()
        self.status.setAccessibleName("Settings that need mending")
        self.status.setVisible(False)
        self.status.setToolTip("Go to the first one")
        self.run_button = QPushButton("Run study")
        self.run_button.setProperty("main", "true")
        self.run_button.setAccessibleName("Run study")
        column = QVBoxLayout(panel)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addLayout(self._head())
        column.addLayout(self._notes())
        column.addWidget(self._body(grid, form), 1)
        column.addWidget(self.help)
        column.addWidget(self.estimate)
        column.addLayout(self._foot())

    def _head(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setContentsMargins(8, 6, 8, 2)
        grid.setHorizontalSpacing(6)
        grid.setVerticalSpacing(4)
        for line, (text, editor, buttons) in enumerate(
            (
                ("Preset", self.presets, ()),
                ("Study", self.title, ()),
                ("Run", self.chooser, (self.add_button, self.remove_button)),
            )
        ):
            label = QLabel(text)
            label.setBuddy(editor)
            editor.setAccessibleName(text)
            grid.addWidget(label, line, 0)
            grid.addWidget(editor, line, 1, 1, 1 if buttons else 3)
            for column, button in enumerate(buttons):
                grid.addWidget(button, line, 2 + column)
        grid.setColumnStretch(1, 1)
        row = QHBoxLayout()
        row.setSpacing(6)
        row.addWidget(self.search, 1)
        for button in (self.changes_button, self.undo_button, self.redo_button):
            row.addWidget(button)
        grid.addLayout(row, 3, 0, 1, 4)
        return grid

    def _notes(self) -> QVBoxLayout:
        column = QVBoxLayout()
        column.setContentsMargins(8, 2, 8, 0)
        column.setSpacing(2)
        column.addWidget(self.bar)
        column.addWidget(self._found)
        return column

    def _body(self, grid: GridSection, form: ConfigForm) -> QScrollArea:
        self._content = QWidget()
        both = QVBoxLayout(self._content)
        both.setContentsMargins(0, 0, 0, 0)
        both.setSpacing(0)
        above = QVBoxLayout()
        above.setContentsMargins(6, 2, 6, 0)
        above.addWidget(self.changes_section)
        above.addWidget(grid)
        both.addLayout(above)
        both.addWidget(form, 1)
        self.scroll_area.setWidget(self._content)
        self.scroll_area.setWidgetResizable(True)
        self.scroll_area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.scroll_area.setAccessibleName("Settings of the run")
        return self.scroll_area

    def _foot(self) -> QHBoxLayout:
        foot = QHBoxLayout()
        foot.setContentsMargins(8, 4, 8, 8)
        foot.addWidget(self.status)
        foot.addStretch(1)
        foot.addWidget(self.run_button)
        return foot

    def order_tabs(self) -> None:
        """Let the Tab key go through the settings as they stand, in whatever order they were made."""
        for one, other in itertools.pairwise(_in_order(self._content)):
            QWidget.setTabOrder(one, other)

    def show_amount_of_changes(self, amount: int, source: str) -> None:
        """Say on the button how many settings differ from where the study came from."""
        self.changes_button.setText(words.count(amount, "change") if amount else "No changes")
        self.changes_button.setToolTip(f"List what was changed from {source}")
        self.changes_button.setAccessibleName("Changed settings")

    def show_found(self, shown: int, hidden: int, *, searching: bool) -> None:
        """Say what a search for settings found."""
        more = (
            f"; {hidden:,} more {'has' if hidden == 1 else 'have'} no effect with what is chosen"
            if hidden
            else ""
        )
        self._found.setText(f"{words.count(shown, 'setting') if shown else 'No setting'} found{more}.")
        self._found.setVisible(searching)

    def recolour(self) -> None:
        """Draw the pictures in the colours of a new theme."""
        recolour(self._panel)
        self._search_icon.setIcon(_search_picture())


def _search_picture() -> QIcon:
    """The picture in the search field, in no other size than that of its text."""
    side = theme.px(16)
    return QIcon(theme.icon("search", theme.scheme().muted).pixmap(QSize(side, side)))


def _in_order(part: QWidget | QLayout) -> Iterator[QWidget]:
    """The widgets that the Tab key stops at, in the order of their layouts."""
    if isinstance(part, QWidget) and part.focusPolicy() & Qt.FocusPolicy.TabFocus:
        yield part
    layout = part.layout() if isinstance(part, QWidget) else part
    items = [layout.itemAt(place) for place in range(layout.count())] if layout is not None else []
    for item in items:
        inner = (item.widget() or item.layout()) if item is not None else None
        if inner is not None:
            yield from _in_order(inner)
