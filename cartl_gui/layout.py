"""Where the parts of the window are: docks at first, after "Reset layout", and with the plots alone."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QApplication,
    QDockWidget,
    QFrame,
    QMainWindow,
    QScrollArea,
    QSizePolicy,
    QTabWidget,
    QWidget,
)

from cartl_gui import theme

#: Width in pixels from which the panel on the right is there by default.
WIDE = 1500
#: Width in pixels below which the form on the left is there only when asked for: the pages need the room.
NARROW = 880
#: Width and height in pixels that a part of the window keeps when there is little room.
LEAST = 120
_PLACES = {
    "setup": ("Set-up", Qt.DockWidgetArea.LeftDockWidgetArea),
    "runs": ("Runs and queue", Qt.DockWidgetArea.BottomDockWidgetArea),
    "inspector": ("Selected run", Qt.DockWidgetArea.RightDockWidgetArea),
}


def first_size() -> QSize:
    """A good size for the first start on this screen."""
    area = QGuiApplication.primaryScreen().availableGeometry()
    size = QSize(min(1720, area.width() * 19 // 20), min(1040, area.height() * 19 // 20))
    return size.expandedTo(QSize(960, 620))


class Shrinking(QScrollArea):
    """Holds a part of the window that scrolls where there is less room than it needs, so that the window fits the screen.

    With `keeps_width` it is never narrower than its content, which then scrolls up and down only.
    """

    def __init__(self, content: QWidget, *, keeps_width: bool = False) -> None:
        super().__init__()
        self._keeps_width = keeps_width
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setWidgetResizable(True)
        self.setWidget(content)
        self._content = content

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Little; with `keeps_width` as wide as the content at least."""
        least = self._content.minimumSizeHint().expandedTo(self._content.minimumSize())
        width = least.width() + self.verticalScrollBar().sizeHint().width()
        return QSize(width if self._keeps_width else LEAST, min(least.height(), LEAST))

    def sizeHint(self) -> QSize:  # noqa: N802
        """What the content would like."""
        return self._content.sizeHint()


class Pages(QTabWidget):
    """Pages of which only the one that is open tells how much room is needed."""

    def __init__(self) -> None:
        super().__init__()
        self.currentChanged.connect(self._ask_current)

    def tabInserted(self, index: int) -> None:  # noqa: N802
        """Ask nothing of a new page until it is opened."""
        super().tabInserted(index)
        self._ask_current()

    def _ask_current(self) -> None:
        for place in range(self.count()):
            page = self.widget(place)
            if page is not None:
                here = place == self.currentIndex()
                policy = QSizePolicy.Policy.Preferred if here else QSizePolicy.Policy.Ignored
                page.setSizePolicy(policy, policy)


class WindowLayout:
    """The docks of a window and their places."""

    def __init__(self, window: QMainWindow, panels: dict[str, QWidget]) -> None:
        self._window = window
        self._hidden_for_plots: list[QWidget] = []
        self.docks: dict[str, QDockWidget] = {}
        window.setDockOptions(QMainWindow.DockOption.AnimatedDocks | QMainWindow.DockOption.AllowTabbedDocks)
        for name, (title, place) in _PLACES.items():
            dock = self.docks[name] = QDockWidget(title, window)
            dock.setObjectName(name)
            dock.setWidget(Shrinking(panels[name], keeps_width=name == "setup"))
            window.addDockWidget(place, dock)
        window.setCorner(Qt.Corner.BottomLeftCorner, Qt.DockWidgetArea.LeftDockWidgetArea)
        window.setCorner(Qt.Corner.BottomRightCorner, Qt.DockWidgetArea.RightDockWidgetArea)

    def hide_docks(self) -> None:
        """The first start: nothing but the welcome page."""
        for dock in self.docks.values():
            dock.hide()

    def show_docks(self) -> None:
        """Leave the calm first page: show the docks if none is there."""
        if not any(dock.isVisible() for dock in self.docks.values()):
            self._arrange()

    def reset(self) -> None:
        """Put every dock back to its place."""
        self.leave_plots_only()
        for name, (_title, place) in _PLACES.items():
            self._window.addDockWidget(place, self.docks[name])
        self._arrange()

    def plots_only(self, others: list[QWidget]) -> None:
        """Hide the docks and `others` until `leave_plots_only`."""
        self._hidden_for_plots = [part for part in (*self.docks.values(), *others) if part.isVisible()]
        for part in self._hidden_for_plots:
            part.hide()

    def leave_plots_only(self) -> None:
        """Show again what `plots_only` hid."""
        for part in self._hidden_for_plots:
            part.show()
        self._hidden_for_plots = []

    def go_to_pane(self, others: list[QWidget], by: int) -> None:
        """Put the keyboard into the next visible part of the window, or with -1 into the one before.

        `others` are the parts beside the docks, in their order from the top.
        """
        docks = self.docks
        order = [*others[:1], docks["setup"], *others[1:], docks["runs"], docks["inspector"]]
        panes = [pane for pane in order if pane.isVisible()]
        focus = QApplication.focusWidget()
        here = next((place for place, pane in enumerate(panes) if focus and pane.isAncestorOf(focus)), None)
        start = here if here is not None else (-1 if by > 0 else 0)
        for step in range(1, len(panes) + 1):
            inside = _takes_focus(panes[(start + by * step) % len(panes)])
            if inside is not None:
                inside.setFocus(
                    Qt.FocusReason.TabFocusReason if by > 0 else Qt.FocusReason.BacktabFocusReason
                )
                return

    def _arrange(self) -> None:
        least = {"setup": NARROW, "runs": 0, "inspector": WIDE}
        for name, dock in self.docks.items():
            dock.setFloating(False)
            dock.setVisible(self._window.width() >= theme.px(least[name]))
        sides = [self.docks["setup"], self.docks["inspector"]]
        self._window.resizeDocks(sides, [theme.px(400), theme.px(270)], Qt.Orientation.Horizontal)
        height = max(theme.px(190), self._window.height() // 4)
        self._window.resizeDocks([self.docks["runs"]], [height], Qt.Orientation.Vertical)


def _takes_focus(pane: QWidget) -> QWidget | None:
    """What has the keyboard when a part of the window gets it: what had it last, else the first that takes it."""
    last = pane.focusWidget()
    if last is not None and last.isVisible() and last.isEnabled():
        return last
    return next(
        (
            widget
            for widget in pane.findChildren(QWidget)
            if widget.focusPolicy() & Qt.FocusPolicy.TabFocus
            and widget.isVisible()
            and widget.isEnabled()
            and widget.focusProxy() is None
        ),
        None,
    )
