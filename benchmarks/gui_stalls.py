"""How long the window leaves events waiting while a real study trains in the same process on the same cores.

A heartbeat is due every 4 ms; how late it comes is how late a key or a click would have been answered. While one beat
is late, those that would have been due meanwhile are counted too, each as late as it would have been: otherwise a stall
of a second would count as one late beat among hundreds in time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PySide6.QtCore import QObject, Qt, QTimer

from benchmarks.gui_window import opened, until, wait
from cartl_gui.main_window import MainWindow
from engine.api import Session, presets
from engine.config import StudyConfig
from engine.events import RunChanged, RunOpened

BEAT_MS = 4
#: Runs that are laid over each other, each with a curve of every kind.
CURVES = 16
#: Epochs of the demo's first run, so many that it trains until everything is measured.
EPOCHS = 10_000


class Heartbeat(QObject):
    """Notes when it beats, in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.beats: list[float] = []
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(BEAT_MS)
        self._timer.timeout.connect(self._beat)

    def listen(self, meanwhile: Callable[[], object]) -> np.ndarray:
        """Beat while something goes on; returns milliseconds by which beats were late, made-up ones included, [N]."""
        self.beats.clear()
        self._timer.start()
        meanwhile()
        self._timer.stop()
        return lateness(np.array(self.beats))

    def _beat(self) -> None:
        self.beats.append(time.perf_counter())


def lateness(beats: np.ndarray) -> np.ndarray:
    """Milliseconds by which each due beat was late, [N], from the times of those that came, [T] in seconds."""
    late = 1000 * np.diff(beats) - BEAT_MS
    missed = [np.arange(gap - BEAT_MS, 0, -BEAT_MS) for gap in late if gap > BEAT_MS]
    return np.maximum(0, np.concatenate([late, *missed]))


def summary(late: np.ndarray) -> dict[str, float]:
    """Percentiles of lateness in ms, and the share of the time that is later than a frame, 50 and 100 ms."""
    found = {f"p{share:g}": float(np.percentile(late, share)) for share in (50, 90, 99, 99.9)}
    found |= {"max": float(late.max()), "beats": float(len(late))}
    return found | {f"share above {limit} ms": float((late > limit).mean()) for limit in (16, 50, 100)}


def endless(study: StudyConfig) -> StudyConfig:
    """The first run of a study, with far too many epochs."""
    first = study.runs[0]
    training = first.pretraining.model_copy(update={"epochs": EPOCHS})  # type: ignore[union-attr]
    return study.model_copy(
        update={"runs": [first.model_copy(update={"pretraining": training})], "comparisons": []}
    )


def stalls(folder: Path, *, seconds: float, warm_up: float) -> dict[str, dict[str, float]]:
    """Lateness on each page while the demo trains, and on the page that lays runs over each other with 16 of them.

    Args:
        folder: an empty folder for the workspace.
        seconds: how long each page is measured.
        warm_up: how long each page is shown before, which is left out.
    """
    found = {}
    demo = endless(presets()["demo"])
    with opened(Session(folder), {"demo": demo}) as window:
        heart = Heartbeat()
        window.start_demo()
        until(lambda: not window.live.loss.is_empty())
        for index in range(window.tabs.count()):
            window.tabs.setCurrentIndex(index)
            wait(warm_up)
            found[window.tabs.tabText(index).split(" (")[0]] = summary(heart.listen(partial(wait, seconds)))
        lay_over_each_other(window)
        wait(warm_up)
        found[f"Compare, {CURVES} runs"] = summary(heart.listen(partial(wait, seconds)))
    return found


def lay_over_each_other(window: MainWindow) -> None:
    """Show the run that trains among finished ones, 16 runs in all, on the page that compares."""
    from dataclasses import replace

    from tests.gui.scripted_session import earlier_run

    running = window.bridge.running()
    assert running is not None, "the demo must train meanwhile"
    names = [running.id]
    for number in range(CURVES - 1):
        info, record = earlier_run(f"earlier {number}")
        info = replace(info, id=f"earlier-{number}")
        window.session.events.put(RunChanged(info))
        window.session.events.put(RunOpened(replace(record, run=info)))
        names.append(info.id)
    until(lambda: set(names) <= set(window.bridge.runs))
    window.tabs.setCurrentWidget(window.compare)
    window.runs.set_shown(names, on=True)
    until(lambda: len(window.compare.runs_drawn()) == CURVES)
