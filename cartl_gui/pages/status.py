"""The status bar: what runs, how fast, on what, what the machine is doing, and when it was last saved."""

from __future__ import annotations

import time

import numpy as np
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QLabel, QStatusBar, QWidget

from cartl_gui import theme, words
from cartl_gui.pages.machine_figures import MachineFigures
from cartl_gui.run_data import RunData
from cartl_gui.widgets import ElidedLabel
from engine.config import STAGE_TITLES
from engine.events import DeviceReport, Downloading, MachineSample, RunInfo

#: Milliseconds for which a message stands over the status.
MESSAGE_MS = 6000
#: Least and most pixels for the workspace's path.
NARROW, WIDE = 120, 320
#: Pixels that what is said about the run keeps; what matters less is hidden before it gets fewer.
ROOM = 470


class StatusLine(QStatusBar):
    """One line in words; nothing is told by colour alone."""

    def __init__(self, workspace: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizeGripEnabled(False)
        self._state = "Nothing runs"
        self._what = ElidedLabel(self._state)
        self.messageChanged.connect(self._write)
        self._saved = QLabel()
        self._device = QLabel("looking at the devices…")
        self.machine = MachineFigures()
        self._workspace = ElidedLabel(workspace)
        self._workspace.setToolTip(f"Workspace: {workspace}")
        for label in (self._saved, self._device, self._workspace):
            label.setProperty("role", "muted")
        self.addWidget(self._what, 1)
        for label in (self._saved, self._device, self._workspace):
            label.setContentsMargins(8, 2, 8, 2)
        for part in (self._saved, self._device, self.machine, self._workspace):
            self.addPermanentWidget(part)
        self._what.setContentsMargins(8, 2, 8, 2)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Hide what matters less where there is too little room."""
        super().resizeEvent(event)
        self._make_room()

    def say(self, text: str) -> None:
        """Show a message for a few seconds."""
        self.showMessage(text, MESSAGE_MS)

    def text(self) -> str:
        """What is said about the running run."""
        return self._state

    def show_run(
        self, info: RunInfo | None, title: str = "", *, data: RunData | None = None, paused: bool = False
    ) -> None:
        """Say what runs; `title` is what the list calls it."""
        if info is None:
            self._tell("The queue is paused" if paused else "Nothing runs")
            return
        parts = [title]
        if info.stage is not None:
            parts.append(STAGE_TITLES[info.stage].lower())
            if data is not None:
                parts += _figures(info, data)
        if info.seconds_left is not None:
            parts.append(f"{words.duration(info.seconds_left)} left")
        self._tell("  ·  ".join(parts))

    def show_device(self, device: DeviceReport) -> None:
        """Say on what runs compute."""
        threads = f", {words.count(device.threads, 'thread')}" if device.chosen == "cpu" else ""
        self._device.setText(f"{words.choice(device.chosen)}{threads}")
        self._device.setToolTip(device.name)

    def show_sample(self, sample: MachineSample) -> None:
        """Say what the machine is doing."""
        self.machine.show_sample(sample)
        self._make_room()

    def show_read_only(self, reason: str) -> None:
        """Say that this workspace can only be looked at."""
        self._saved.setText("read-only")
        self._saved.setToolTip(reason)

    def show_download(self, event: Downloading) -> None:
        """Say how far a download is."""
        share = f" {100 * event.done / event.total:.0f} %" if event.total else ""
        self._tell(f"Downloading {event.name}{share} ({event.done / 1e6:.1f} MB)")

    def saved(self, moment: float) -> None:
        """Note the time of the last checkpoint."""
        self._saved.setText(f"saved {time.strftime('%H:%M:%S', time.localtime(moment))}")
        self._saved.setToolTip("Time of the last checkpoint")
        self._make_room()

    def _tell(self, state: str) -> None:
        self._state = state
        self._write()

    def _write(self) -> None:
        """Say what runs; nothing while there is a message, because Qt may show what lies below it again."""
        self._what.setText("" if self.currentMessage() else self._state)

    def _make_room(self) -> None:
        """Show as many of the parts as leave the run its room: the workspace's path goes first, the figures last."""
        left = self.width() - theme.px(ROOM)
        for part in (self.machine, self._saved, self._device):
            left -= part.sizeHint().width()
            _show(part, left >= 0)
        self._workspace.setMaximumWidth(min(max(left, 0), theme.px(WIDE)))
        _show(self._workspace, left >= theme.px(NARROW))


def _show(part: QWidget, on: bool) -> None:
    if part.isHidden() == on:
        part.setVisible(on)


def _figures(info: RunInfo, data: RunData) -> list[str]:
    if info.stage is None:
        return []
    if info.stage == "attack":
        attack = data.attack
        if attack is None or not attack.title:
            return []
        share = attack.share if attack.number else attack.done / max(1, attack.total)
        return [f"{attack.title} {100 * share:.0f} %"]
    layout, steps = data.layouts.get(info.stage), data.columns(info.stage, "steps")
    if layout is None or not steps:
        return []
    epoch = min(layout.epochs, int(steps["step"][-1]) // max(1, layout.steps_per_epoch) + 1)
    figures = [f"epoch {epoch} of {layout.epochs}"]
    speed = steps.get("images_per_second", np.empty(0))[-20:]
    speed = speed[np.isfinite(speed)]
    if len(speed):
        figures.append(f"{np.median(speed):,.0f} images/s")
    return figures
