"""How far a stage is: a bar in a terminal, plain lines everywhere else. All of it goes to stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column

from engine.wording import duration

#: Seconds between two plain lines about the same stage.
LINE_INTERVAL = 10.0


class Display(Protocol):
    """Shows lines of text and the progress of one stage at a time."""

    def line(self, text: str) -> None:
        """Show one line that stays."""

    def stage(self, title: str, total: int) -> None:
        """Begin, or go on with, a stage of `total` units; 0 if their number is not known."""

    def advance(self, done: int, rate: str = "", note: str = "") -> None:
        """Show that `done` units are finished, with a rate ("512 images/s") and a short note."""

    def passing(
        self, done: int, total: int, *, share: float, seconds_left: float | None, note: str = ""
    ) -> None:
        """Show a stage that goes over its images several times.

        Args:
            done, total: how far the present pass is, of how many images.
            share: how much of the whole stage is done, 0..1.
            seconds_left: of the whole stage; None while that is not known.
            note: what else to tell.
        """

    def close(self) -> None:
        """Show the last state and leave the terminal as it was."""


class Estimate:
    """Time left of a stage, from the pace since the first report: a resumed stage does not begin at zero."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._first: tuple[int, float] | None = None

    def left(self, done: int) -> str:
        """Say how long the rest will take; empty while that cannot be told."""
        now = time.monotonic()
        first, started = self._first = self._first or (done, now)
        if done <= first or done >= self.total:
            return ""
        return _left((now - started) * (self.total - done) / (done - first))


def _left(seconds: float | None) -> str:
    return "" if seconds is None else f"{duration(seconds)} left"


class Bars:
    """One bar for each stage, redrawn in place."""

    def __init__(self, stream: TextIO | None = None) -> None:
        whole = Column(no_wrap=True)
        rest = Column(no_wrap=True, overflow="ellipsis", ratio=1)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, max_width=44)),
            BarColumn(bar_width=12),
            TextColumn("{task.percentage:>3.0f} %", table_column=whole),
            TextColumn("{task.fields[left]}", markup=False, table_column=whole),
            TextColumn("{task.fields[rate]}", markup=False, table_column=whole),
            TextColumn("{task.fields[note]}", markup=False, table_column=rest),
            console=Console(file=stream or sys.stderr, highlight=False, markup=False),
            refresh_per_second=8,
            expand=True,
        )
        self._task: TaskID | None = None
        self._estimate = Estimate(0)
        self._progress.start()

    def line(self, text: str) -> None:
        """Show one line above the bars."""
        self._progress.console.print(text)

    def stage(self, title: str, total: int) -> None:
        """Add the bar of a stage."""
        self._estimate = Estimate(total)
        self._task = self._progress.add_task(title, total=total or None, rate="", note="", left="")

    def advance(self, done: int, rate: str = "", note: str = "") -> None:
        """Move the bar of the stage."""
        if self._task is not None:
            left = self._estimate.left(done)
            self._progress.update(self._task, completed=done, rate=rate, note=note, left=left)

    def passing(
        self, done: int, total: int, *, share: float, seconds_left: float | None, note: str = ""
    ) -> None:
        """Move the bar of the stage, and tell the images of the pass beside it."""
        if self._task is not None:
            self._progress.update(
                self._task, completed=share, total=1.0, rate=f"{done}/{total}", note=note, left=_left(seconds_left)
            )  # fmt: skip

    def close(self) -> None:
        """Leave the bars as they are and show the cursor again."""
        self._progress.stop()


class Lines:
    """A line when a stage begins, at most every ten seconds while it goes on, and when it is done."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._title = ""
        self._estimate = Estimate(0)
        self._last = 0.0

    def line(self, text: str) -> None:
        """Write one line."""
        self._stream.write(text + "\n")
        self._stream.flush()

    def stage(self, title: str, total: int) -> None:
        """Write that a stage begins."""
        self._title = title
        self._estimate = Estimate(total)
        self._last = time.monotonic()
        self.line(f"  {title}")

    def advance(self, done: int, rate: str = "", note: str = "") -> None:
        """Write how far the stage is, unless that was said a moment ago."""
        total = self._estimate.total
        left = self._estimate.left(done)
        if time.monotonic() - self._last < LINE_INTERVAL and done < total:
            return
        self._say(f"{100 * done / total:.0f} %" if total else str(done), rate, note, left)

    def passing(
        self, done: int, total: int, *, share: float, seconds_left: float | None, note: str = ""
    ) -> None:
        """Write how far the stage is, unless something was said a moment ago; there may be very many passes."""
        if time.monotonic() - self._last >= LINE_INTERVAL:
            images = f"{done}/{total} images of this pass"
            self._say(f"{100 * share:.0f} %", images, note, _left(seconds_left))

    def _say(self, *parts: str) -> None:
        self._last = time.monotonic()
        self.line(f"  {self._title}: " + ", ".join(part for part in parts if part))

    def close(self) -> None:
        """Nothing is left to be shown."""


class showing:
    """Context that gives the fitting display: bars if both streams are terminals, else lines."""

    def __enter__(self) -> Display:
        terminal = sys.stdout.isatty() and sys.stderr.isatty()
        self._display: Display = Bars() if terminal else Lines()
        return self._display

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.close()
