"""What a person meets who uses the window with a keyboard, a screen reader or weak eyes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractScrollArea,
    QApplication,
    QComboBox,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QTabBar,
    QWidget,
)

from cartl_gui.main_window import MainWindow

#: Parts that Qt makes inside of its own controls, which it names and reaches itself.
OF_QT = (
    "QLineEditIconButton",
    "QComboBoxListView",
    "QDockWidgetTitleButton",
    "QTableCornerButton",
    "QHeaderView",
)
#: What is used by the mouse too.
USED = (QAbstractButton, QComboBox, QLineEdit, QAbstractItemView, QPlainTextEdit)
#: Tab may be pressed so often until it leaves a text with links.
MOST_LINKS = 100


def controls(root: QWidget, *, by_mouse: bool = False) -> list[QWidget]:
    """Everything below `root` that takes the focus from the keyboard, shown or not; or also what is for the mouse."""
    return [
        widget
        for widget in root.findChildren(QWidget)
        if (widget.focusPolicy() & Qt.FocusPolicy.TabFocus or (by_mouse and isinstance(widget, USED)))
        and _is_ours(widget)
    ]


def _is_ours(widget: QWidget) -> bool:
    parent = widget.parentWidget()
    return (
        widget.metaObject().className() not in OF_QT
        and not widget.objectName().startswith("qt_")
        and not isinstance(parent, QTabBar)
        and not (isinstance(widget, QLabel) and not widget.text())
        and not (isinstance(parent, QAbstractScrollArea) and widget is parent.viewport())
        and widget.focusProxy() is None
        and (parent is None or parent.focusProxy() is not widget)
    )


def name_of(widget: QWidget) -> str:
    """What a screen reader says: the accessible name, a button's text, or the label that belongs to it."""
    if widget.accessibleName():
        return widget.accessibleName()
    if isinstance(widget, QAbstractButton) and widget.text():
        return widget.text().replace("&", "")
    labels = widget.window().findChildren(QLabel)
    return next((label.text().replace("&", "") for label in labels if label.buddy() is widget), "")


def path_of(widget: QWidget) -> str:
    """Where a widget is: its own and its parents' classes and names, the innermost last."""
    steps = []
    step: QWidget | None = widget
    while step is not None and not step.isWindow():
        name = step.objectName() or name_of(step)
        steps.append(f"{type(step).__name__}{f'[{name}]' if name and not name.startswith('qt_') else ''}")
        step = step.parentWidget()
    return " > ".join(reversed(steps))


def doubles(root: QWidget) -> list[str]:
    """Names that several controls of one parent share."""
    names = Counter((widget.parentWidget(), name_of(widget)) for widget in controls(root))
    return [
        f"{count} x “{name}” in {path_of(parent)}" for (parent, name), count in names.items() if count > 1
    ]


def walk(root: QWidget) -> list[QWidget]:
    """Press Tab until it comes to a control again; the controls in the order in which they had the focus.

    Raises:
        AssertionError: a control keeps the focus, though the key may lead over links in it first.
    """
    activate(root.window())
    if QApplication.focusWidget() is None:
        QTest.keyClick(root, Qt.Key.Key_Tab)
    if [widget for widget in controls(root) if widget.isVisible()] == [QApplication.focusWidget()]:
        return [QApplication.focusWidget()]
    met: list[QWidget] = []
    while (focused := QApplication.focusWidget()) not in met:
        assert focused is not None, "nothing has the focus"
        met.append(focused)
        for _ in range(MOST_LINKS):
            QTest.keyClick(focused, Qt.Key.Key_Tab)
            if QApplication.focusWidget() is not focused:
                break
        assert QApplication.focusWidget() is not focused, f"Tab is caught in {path_of(focused)}"
    return met


def activate(window: QWidget, *, seconds: float = 5.0) -> None:
    """Make a window the one that keys go to."""
    until = time.monotonic() + seconds
    window.activateWindow()
    while QApplication.activeWindow() is not window and time.monotonic() < until:
        QApplication.processEvents()
    assert QApplication.activeWindow() is window, f"{window!r} does not become active"


def unreached(root: QWidget, met: list[QWidget]) -> list[str]:
    """Visible, enabled controls below `root` that Tab did not come to.

    Of buttons that exclude each other Tab reaches the pressed one; arrow keys lead to the others.
    """
    reached = {id(widget) for widget in met}
    groups = {id(group) for widget in met if (group := _group(widget)) is not None}
    return [
        path_of(widget)
        for widget in controls(root)
        if widget.isVisible()
        and widget.isEnabled()
        and id(widget) not in reached
        and id(_group(widget)) not in groups
    ]


def _group(widget: QWidget) -> object:
    """What holds the buttons of which one is pressed."""
    if not isinstance(widget, QAbstractButton) or not widget.isCheckable():
        return None
    group = widget.group()
    if group is not None and group.exclusive():
        return group
    return widget.parentWidget() if widget.autoExclusive() else None


def faint_texts(root: QWidget, least: float) -> Iterator[str]:
    """Visible texts whose strongest pixel stands out from their ground by less than `least` (WCAG 2.2, 1.4.3)."""
    picture = root.grab().toImage().convertToFormat(QImage.Format.Format_RGB32)
    pixels = np.frombuffer(picture.constBits(), np.uint32).reshape(picture.height(), picture.width())
    for widget in root.findChildren(QWidget):
        text = widget.text() if isinstance(widget, QLabel | QAbstractButton) else ""
        if not text.strip() or not widget.isVisible() or not widget.isEnabled():
            continue
        if widget.visibleRegion().boundingRect() != widget.rect():
            continue  # what is scrolled out of sight is not in the picture
        area = widget.rect().translated(widget.mapTo(root, QPoint()))
        found = strongest_contrast(pixels[area.top() : area.bottom() + 1, area.left() : area.right() + 1])
        if found < least:
            yield f"{path_of(widget)} “{text[:40]}”: {found:.1f}"


def strongest_contrast(pixels: np.ndarray) -> float:
    """Contrast of the commonest colour of `pixels`, any shape of 0xAARRGGBB, with the one that differs most from it."""
    colours, counts = np.unique(pixels, return_counts=True)
    light = luminance(colours)
    ground = light[np.argmax(counts)]
    return float(((np.maximum(light, ground) + 0.05) / (np.minimum(light, ground) + 0.05)).max())


def contrast(one: str, other: str) -> float:
    """Contrast of two colours such as "#1b222a", 1 to 21 (WCAG 2.2, section 5)."""
    return strongest_contrast(np.array([int(name[1:], 16) for name in (one, other)]))


def luminance(colours: np.ndarray) -> np.ndarray:
    """Relative luminance of colours, [N] of 0xAARRGGBB -> [N] of 0..1 (WCAG 2.2, section 5)."""
    parts = np.stack([colours >> 16 & 255, colours >> 8 & 255, colours & 255], axis=-1) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


def pages_of(window: MainWindow) -> Iterator[tuple[str, QWidget]]:
    """Turn to each page of the window in turn."""
    for index in range(window.tabs.count()):
        window.tabs.setCurrentIndex(index)
        QApplication.processEvents()
        yield window.tabs.tabText(index), window.tabs.widget(index)
