"""The first minute of a new user on a display: `test_gui_first_minute.py` runs this with pytest under Xvfb.

Mouse and keys are those of the X server, moved by xdotool to where the widgets say they are; the engine is real.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QEventLoop, QObject, QPoint, QTimer
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QAbstractButton, QApplication, QDialog, QLineEdit, QWidget

from cartl_gui.main_window import MainWindow
from cartl_gui.settings import WindowSettings
from cartl_gui.theme import Theme
from engine.api import Session
from engine.config import parse_study
from tests.gui.gui_helpers import close
from tests.gui.test_gui_journey import TINY

#: Something that is to come true before the journey goes on, and within how many seconds.
Wait = tuple[Callable[[], object], float]
Steps = Generator[Wait, None, None]


def soon(condition: Callable[[], object]) -> Wait:
    """What the window must answer at once; the time is that of a busy machine."""
    return condition, 8.0


def later(condition: Callable[[], object]) -> Wait:
    """What the engine must have done by then."""
    return condition, 60.0


# hands --------------------------------------------------------------------------------------------------
def xdotool(*words: str) -> Wait:
    """Let the X server do something; true once it is done."""
    process = subprocess.Popen(["xdotool", *words])

    def is_done() -> bool:
        assert process.poll() in (None, 0), f"xdotool {' '.join(words)} failed"
        return process.returncode == 0

    return soon(is_done)


def click(widget: QWidget) -> Wait:
    """Move the mouse to the middle of a widget and press its left button."""
    place = widget.mapToGlobal(QPoint(widget.width() // 2, widget.height() // 2))
    return xdotool("mousemove", str(place.x()), str(place.y()), "click", "1")


def press(*keys: str) -> Wait:
    """Press keys such as "ctrl+2", one after the other."""
    return xdotool("key", "--clearmodifiers", *keys)


def write(text: str) -> Wait:
    """Type a text."""
    return xdotool("type", "--delay", "15", text)


def focus(window: QWidget) -> Wait:
    """Give a window the keys, as a window manager would."""
    return xdotool("windowfocus", str(int(window.winId())))


class Journey(QObject):
    """Goes through steps while the window lives, also while a dialog waits for an answer."""

    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self._steps, self._failure = steps, ""
        self._condition, self._until = (lambda: True), time.monotonic() + 1
        self._loop = QEventLoop()
        self._timer = QTimer(self)
        self._timer.setInterval(20)
        self._timer.timeout.connect(self._look)

    def go(self) -> None:
        """Go to the end.

        Raises:
            AssertionError: something did not come true in time; names the line of the step.
        """
        self._timer.start()
        self._loop.exec()
        assert not self._failure, self._failure

    def _look(self) -> None:
        try:
            if self._condition():
                self._condition, seconds = next(self._steps)
                self._until = time.monotonic() + seconds
            elif time.monotonic() > self._until:
                frame = self._steps.gi_frame
                raise AssertionError(f"{frame.f_code.co_name} waits in vain in line {frame.f_lineno}")
        except StopIteration:
            self._end("")
        except Exception as error:
            self._end(f"{type(error).__name__}: {error}")

    def _end(self, failure: str) -> None:
        self._failure = failure
        self._timer.stop()
        while (dialog := QApplication.activeModalWidget()) is not None:
            dialog.close()
        self._loop.quit()


# the window ---------------------------------------------------------------------------------------------
@pytest.fixture
def desk(settings: WindowSettings, themes: Theme, tmp_path: Path) -> Iterator[MainWindow]:
    """The window as it stands after the first start; its demo takes seconds."""
    assert QGuiApplication.platformName() == "xcb"
    demo = parse_study(TINY.replace("epochs = 2", "epochs = 6"))
    settings.folder = str(tmp_path)
    window = MainWindow(Session(tmp_path / "workspace"), {"demo": demo}, settings, themes)
    window.resize(1280, 800)
    window.move(0, 0)
    window.show()
    window.start()
    yield window
    if window.isVisible():
        close(window, seconds=20)


def dialog_above(window: MainWindow) -> QWidget | None:
    """The dialog that is open."""
    shown = (
        widget for widget in QApplication.topLevelWidgets() if widget.isVisible() and widget is not window
    )
    return next((widget for widget in shown if isinstance(widget, QDialog)), None)


def button(parent: QWidget, text: str) -> QAbstractButton:
    """The visible button with this text."""
    buttons = parent.findChildren(QAbstractButton)
    return next(b for b in buttons if b.isVisible() and text in b.text().replace("&", ""))


def typed() -> str:
    """What stands in the text field that has the focus; empty if none has it."""
    field = QApplication.focusWidget()
    return field.text() if isinstance(field, QLineEdit) else ""


def first_minute(window: MainWindow) -> Steps:
    """From the welcome page to moving plots, through the pages, and out again."""
    yield soon(lambda: window.windowHandle().isExposed())
    yield later(lambda: button(window, "Try the demo").isEnabled())
    yield focus(window)
    yield soon(window.isActiveWindow)

    # the demo, by one click: its runs are listed, its curves move
    yield click(button(window, "Try the demo"))
    yield soon(lambda: len(window.bridge.runs) == 2)
    yield soon(lambda: window.tabs.currentWidget() is window.live)
    curve = window.live.loss.series
    yield later(lambda: len(curve().get("step", ())) > 1)
    before = len(curve()["step"])
    yield soon(lambda: len(curve().get("step", ())) > before)

    # every page, by its keys, and back
    for number in range(1, window.tabs.count() + 1):
        yield press(f"ctrl+{number}")
        yield soon(lambda number=number: window.tabs.currentIndex() == number - 1)
    yield press("ctrl+2")
    yield soon(lambda: window.tabs.currentWidget() is window.live)

    # a command by some of its letters
    yield press("ctrl+shift+p")
    yield soon(lambda: isinstance(QApplication.focusWidget(), QLineEdit))
    yield write("log")
    yield soon(lambda: typed() == "log")
    yield press("Return")
    yield soon(lambda: window.tabs.currentWidget() is window.log)
    yield press("ctrl+2")
    yield soon(lambda: window.tabs.currentWidget() is window.live)

    # the list of runs is narrowed
    yield press("ctrl+f")
    yield soon(lambda: isinstance(QApplication.focusWidget(), QLineEdit))
    yield write("target")
    yield soon(lambda: typed() == "target")
    yield press("ctrl+a", "BackSpace")
    yield soon(lambda: typed() == "")

    # all runs end
    yield later(lambda: [info.state for info in window.bridge.runs.values()] == ["finished"] * 2)
    yield soon(lambda: window.shown.plot() is not None)

    # a figure is written by keys alone; the field does not keep those of the command for itself
    yield press("ctrl+e")
    yield soon(lambda: dialog_above(window) is not None)
    yield focus(dialog_above(window) or window)
    yield soon(lambda: (dialog_above(window) or window).isActiveWindow())
    yield press("Return")
    yield soon(lambda: list(Path(window.settings.folder).glob("*.pdf")))
    yield press("Escape")
    yield soon(lambda: dialog_above(window) is None)
    yield focus(window)

    # the window goes by its keys without a question
    yield press("ctrl+q")
    yield later(lambda: not window.isVisible())


def test_the_first_minute(desk: MainWindow, tmp_path: Path) -> None:
    try:
        Journey(first_minute(desk)).go()
    except AssertionError:
        QGuiApplication.primaryScreen().grabWindow(0).save(str(tmp_path / "screen.png"))
        raise
