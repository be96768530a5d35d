"""The frame around every plot: title, buttons, what is pointed at, and the legend outside the data."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt, Signal
from PySide6.QtGui import QAction, QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import (
    QBoxLayout,
    QFrame,
    QHBoxLayout,
    QScrollArea,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from cartl_gui import theme
from cartl_gui.plots.legend import Legend
from cartl_gui.widgets import ElidedLabel, Menu
from cartl_gui.words import number

#: Least width and height of a plot in pixels: two stand side by side between both docks of a window 1280 wide.
LEAST = (280, 180)


class PlotFrame(QFrame):
    """Everything of a plot but the plot itself, which `build_frame` puts into its middle."""

    #: Whether a button for a logarithmic axis makes sense here.
    can_log = True
    #: Whether curves can be smoothed.
    can_smooth = False
    #: Whether the legend stands beside the plot, one entry below the other; the note is then beside the title.
    legend_aside = False

    export_requested = Signal(object)
    maximise_toggled = Signal(object, bool)

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", "true")
        self.setMinimumSize(*LEAST)
        self._title = title
        self.colours = theme.scheme()
        self.smoothing = 0.0

    # building ------------------------------------------------------------------------------------------
    def build_frame(self, plot: QWidget) -> None:
        """Put a plot into the middle."""
        self._heading = ElidedLabel(self._title)
        self._heading.setProperty("role", "heading")
        self._heading.setToolTip(self._title)
        self._pointed = ElidedLabel()
        self._pointed.setMinimumWidth(1)
        self._pointed.setProperty("role", "muted")
        self._note = ElidedLabel()
        self._note.setProperty("role", "muted")
        self._note.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self._note.hide()
        self._head = head = QHBoxLayout()
        head.setContentsMargins(10, 5, 6, 0)
        head.setSpacing(1)
        head.addWidget(self._heading)
        head.addSpacing(10)
        head.addWidget(self._pointed, 1)
        self._build_buttons()
        self.entries = Legend(aside=self.legend_aside)
        self.legend: QWidget = QWidget()
        row = QHBoxLayout(self.legend)
        row.setContentsMargins(6, 0, 10, 0)
        row.setSpacing(8)
        if self.legend_aside:
            head.insertWidget(3, self._note)
            scroll = QScrollArea()
            scroll.setAccessibleName(f"Legend: {self._title}")
            scroll.setWidget(self.entries)
            scroll.setWidgetResizable(True)
            scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
            row.addWidget(scroll)
        else:
            row.addWidget(self.entries, 1, Qt.AlignmentFlag.AlignTop)
            row.addWidget(self._note, 0, Qt.AlignmentFlag.AlignTop)
        self.legend_action.toggled.connect(self.legend.setVisible)
        self._body = body = QBoxLayout(
            QBoxLayout.Direction.RightToLeft if self.legend_aside else QBoxLayout.Direction.TopToBottom
        )
        body.setSpacing(0)
        body.addWidget(self.legend)
        body.addWidget(plot, 1)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(1, 1, 1, 4)
        self._column.setSpacing(0)
        self._column.addLayout(head)
        self._column.addLayout(body, 1)

    def _build_buttons(self) -> None:
        self.log_button = self._button("log", "Logarithmic axis", checkable=True)
        self.log_button.setVisible(self.can_log)
        self.smooth_button = self._button("smooth", "Smoothing…", checkable=True)
        self.smooth_button.setVisible(self.can_smooth)
        self.back_button = self._button("back", "Go back to the view before (Backspace)")
        self.back_button.hide()
        self.maximise_button = self._button("maximise", "Enlarge this plot", checkable=True)
        self.maximise_button.toggled.connect(self._maximise)
        self.export_button = self._button("export", "Export this plot…")
        self.export_button.clicked.connect(self._export)
        self.more_button = self._button("more", "More")
        self.more_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.more_button.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        menu = Menu(self.more_button)
        self.fit_action = QAction("Show everything\tF", menu)
        self.fit_action.setToolTip("Drag to zoom, the wheel too; the middle button moves")
        self.grid_action = QAction("Grid lines", menu)
        self.grid_action.setCheckable(True)
        self.legend_action = QAction("Legend", menu)
        self.legend_action.setCheckable(True)
        self.legend_action.setChecked(True)
        menu.addActions([self.fit_action, self.grid_action, self.legend_action])
        self.more_button.setMenu(menu)
        for button in (
            self.log_button, self.smooth_button, self.back_button, self.maximise_button, self.export_button,
            self.more_button,
        ):  # fmt: skip
            self._head.addWidget(button)

    def _button(self, picture: str, text: str, *, checkable: bool = False) -> QToolButton:
        button = QToolButton(self)
        button.setProperty("quiet", "true")
        button.setObjectName(picture)
        button.setIconSize(QSize(16, 16))
        button.setCheckable(checkable)
        button.setToolTip(text)
        button.setAccessibleName(f"{text.partition(' (')[0]}: {self._title}")
        return button

    # texts ---------------------------------------------------------------------------------------------
    @property
    def title(self) -> str:
        """What the plot shows, with what was done to its curves."""
        return f"{self._title}, smoothed {number(self.smoothing)}" if self.smoothing else self._title

    @title.setter
    def title(self, text: str) -> None:
        self._title = text

    def head(self, text: str = "") -> None:
        """Write the title above the plot, or a shorter text in its place."""
        smoothed = self.title.removeprefix(self._title)
        self._heading.setText((text or self._title) + smoothed)
        self._heading.setToolTip(self.title)

    def say(self, text: str) -> None:
        """Tell what is pointed at, beside the title."""
        self._pointed.setText(text)
        self._pointed.setToolTip(text)

    def write_note(self, text: str) -> None:
        """Write at the right end of the legend."""
        if text != self._note.text():
            self._note.setText(text)
            self._note.setToolTip(text)
        self._note.setVisible(bool(text))

    def recolour_frame(self) -> None:
        """Draw the icons in the colours of the plot."""
        for button in self.findChildren(QToolButton):
            if button.objectName():
                button.setIcon(theme.icon(button.objectName(), self.colours.muted))

    def has_plot_focus(self) -> bool:
        """Whether keys go to the plot."""
        return False

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Put a line around the plot that has the focus."""
        super().paintEvent(event)
        if self.has_plot_focus():
            painter = QPainter(self)
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.setPen(QPen(QColor(self.colours.accent), 1.5))
            painter.drawRoundedRect(QRectF(self.rect()).adjusted(1, 1, -1, -1), 8, 8)

    def _maximise(self, on: bool) -> None:
        self.maximise_button.setObjectName("restore" if on else "maximise")
        self.maximise_button.setToolTip("Show all plots again" if on else "Enlarge this plot")
        self.maximise_button.setIcon(theme.icon(self.maximise_button.objectName(), self.colours.muted))
        self.maximise_toggled.emit(self, on)

    def _export(self) -> None:
        self.export_requested.emit(self)
