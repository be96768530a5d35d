"""What the study in the form will take, in a line or two above the button that starts it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

from PySide6.QtCore import QEvent, QSize, QTimer, Signal
from PySide6.QtGui import QHideEvent, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from cartl_gui import theme, words
from cartl_gui.widgets import WrappedLabel
from engine.events import RunEstimate, StudyEstimated
from engine.wording import format_bytes

#: Milliseconds after which the hour of the end is told anew.
CLOCK_MS = 20_000
#: Runs that the tooltip lists, and doubts that are told in the strip itself.
LISTED, TOLD = 24, 2

State = Literal["empty", "busy", "shown", "stale", "failed"]


class Remark(QWidget):
    """An icon and a sentence that wraps; the icon repeats what the sentence says."""

    def __init__(self, picture: str, role: str = "") -> None:
        super().__init__()
        self._picture = picture
        self._icon, self._text = QLabel(), WrappedLabel(role)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        side = QVBoxLayout()
        side.addWidget(self._icon)
        side.addStretch(1)
        row.addLayout(side)
        row.addWidget(self._text, 1)
        self._draw()
        self.hide()

    def say(self, text: str) -> None:
        """Show a text; an empty one hides the remark."""
        self._text.setText(text)
        self._text.setAccessibleName(text)
        self.setHidden(not text)

    def text(self) -> str:
        """What is said; empty while nothing is."""
        return self._text.text()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Draw the icon in the colours of a new theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._draw()

    def _draw(self) -> None:
        colours = theme.scheme()
        colour = colours.warning if self._picture == "warning" else colours.muted
        side = theme.px(16)
        self._icon.setPixmap(theme.icon(self._picture, colour).pixmap(QSize(side, side)))


class EstimateStrip(QWidget):
    """Asks for an estimate and shows it: runs, time, end, memory and disk; doubts and warnings below."""

    estimate_asked = Signal()
    cancel_asked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.state: State = "empty"
        self._estimate: StudyEstimated | None = None
        self._can_estimate = True
        self.summary = WrappedLabel()
        self.warning, self.doubt = Remark("warning"), Remark("info", "hint")
        self.button = QPushButton()
        self.button.setMinimumWidth(80)  # the same for both of its texts
        self.button.clicked.connect(self._pressed)
        top = QHBoxLayout()
        top.setSpacing(8)
        top.addWidget(self.summary, 1)
        top.addWidget(self.button)
        column = QVBoxLayout(self)
        column.setContentsMargins(10, 4, 8, 4)
        column.setSpacing(4)
        column.addLayout(top)
        column.addWidget(self.warning)
        column.addWidget(self.doubt)
        self._clock = QTimer(self)
        self._clock.setInterval(CLOCK_MS)
        self._clock.timeout.connect(self._tell)
        self.setAccessibleName("Estimate")
        self.clear()

    def show_estimate(self, estimate: StudyEstimated) -> None:
        """Show what was found for the settings in the form, if that is still waited for."""
        if self.state == "busy":
            self._estimate = estimate
            self._enter("shown")

    def show_busy(self) -> None:
        """Say that steps are being timed, and offer to end that."""
        self._enter("busy")

    def show_failure(self, text: str) -> None:
        """Say why there is no estimate."""
        self._estimate = None
        self._enter("failed")
        self.warning.say(text)

    def mark_stale(self) -> None:
        """The settings are others by now: what is shown no longer holds, and nobody waits for what is asked for."""
        if self.state == "busy":
            self._cancel()
        elif self.state == "shown":
            self._enter("stale")
        elif self.state == "failed":
            self.clear()

    def clear(self) -> None:
        """Show nothing but the offer to estimate."""
        self._estimate = None
        self._enter("empty")

    def set_can_estimate(self, on: bool) -> None:
        """Say whether the form holds a study that can be estimated."""
        self._can_estimate = on
        self.button.setEnabled(on or self.state == "busy")

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Tell the hour of the end as it is now."""
        super().showEvent(event)
        self._tell()
        self._clock.start()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802
        """Let the clock rest while nobody looks."""
        super().hideEvent(event)
        self._clock.stop()

    def _pressed(self) -> None:
        if self.state == "busy":
            self._cancel()
        else:
            self.estimate_asked.emit()

    def _cancel(self) -> None:
        self._enter("empty" if self._estimate is None else "stale")
        self.cancel_asked.emit()

    def _enter(self, state: State) -> None:
        self.state = state
        self._tell()

    def _tell(self) -> None:
        """Say all of the present state; the end counts from now."""
        estimate = self._estimate if self.state in ("shown", "stale") else None
        text = {
            "empty": "Time, memory and disk: not estimated yet",
            "busy": "Timing a few steps of each run…",
            "failed": "No estimate",
        }.get(self.state, "")
        if estimate is not None:
            text = "Settings changed since: estimate again" if self.state == "stale" else summary(estimate)
        self.summary.setText(text)
        self.summary.setAccessibleName(text)
        self.summary.setProperty("role", "" if self.state == "shown" else "muted")
        self.summary.style().polish(self.summary)
        shown = estimate if self.state == "shown" else None
        self.summary.setToolTip("\n".join(details(shown)) if shown is not None else "")
        if self.state != "failed":
            self.warning.say("\n".join(shown.warnings) if shown is not None else "")
        self.doubt.say(_doubts(shown.doubts) if shown is not None else "")
        busy = self.state == "busy"
        self.button.setText("Cancel" if busy else "Estimate")
        self.button.setToolTip(
            "End the estimate"
            if busy
            else "Time a few steps of each run, to tell how long all takes and whether it fits"
        )
        self.button.setAccessibleName("Cancel the estimate" if busy else "Estimate time, memory and disk")
        self.button.setEnabled(busy or self._can_estimate)


def summary(estimate: StudyEstimated, now: float | None = None) -> str:
    """An estimate in two lines: "4 runs · about 3 min 20 s · ends 14:05", "400 MB of memory · 12.0 MB on disk"."""
    if not estimate.runs:
        return "Nothing to compute: all runs are finished"
    begin = time.time() if now is None else now
    time_needed = [
        words.count(len(estimate.runs), "run"),
        f"about {words.duration(estimate.seconds)}",
        f"ends {words.clock(begin + estimate.seconds, begin).removeprefix('today ')}",
    ]
    room_needed = [f"{format_bytes(estimate.disk)} on disk"]
    if estimate.memory is not None:
        room_needed.insert(0, f"{format_bytes(estimate.memory)} of memory")
    lines = (time_needed, room_needed)
    return "\n".join(" · ".join(part.replace(" ", "\N{NO-BREAK SPACE}") for part in line) for line in lines)


def details(estimate: StudyEstimated) -> list[str]:
    """A line for each run, what is free for them, and on what all of it rests."""
    seeds = {run.seed for run in estimate.runs}
    lines = [_line(run, several=len(seeds) > 1) for run in estimate.runs[:LISTED]]
    if rest := len(estimate.runs) - LISTED:
        lines += [f"and {words.count(rest, 'more run')}"] if rest > 0 else []
    memory = (
        f"{format_bytes(estimate.memory_free)} of memory and " if estimate.memory_free is not None else ""
    )
    free = f"{memory}{format_bytes(estimate.disk_free)} on disk are free."
    measured = f"Timed for {words.duration(estimate.probe_seconds)} on {words.choice(estimate.device)}."
    return [*lines, free, measured, *estimate.doubts]


def _line(run: RunEstimate, *, several: bool) -> str:
    name = f"{run.name}, seed {run.seed}" if several else run.name
    memory = [f"{format_bytes(run.memory)} of memory"] if run.memory is not None else []
    return f"{name}: {', '.join([words.duration(run.seconds), *memory, f'{format_bytes(run.disk)} on disk'])}"


def _doubts(doubts: Sequence[str]) -> str:
    more = len(doubts) - TOLD
    return " ".join(doubts[:TOLD]) + (
        f" And {words.count(more, 'more doubt')}: see the tooltip." if more > 0 else ""
    )
