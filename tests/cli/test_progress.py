"""Bars in a terminal, lines elsewhere."""

from __future__ import annotations

import io
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.cli import progress
from engine.cli.progress import Bars, Estimate, Lines
from engine.cli.report import format_table
from engine.wording import duration
from tests.cli.conftest import TINY


class Clock:
    """Stands for the time module; moves only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_that_lines_come_every_ten_seconds_and_at_the_end(clock: Clock) -> None:
    stream = io.StringIO()
    lines = Lines(stream)
    lines.stage("Transfer [x]", 100)
    for done in range(1, 101):
        clock.now += 0.5
        lines.advance(done, rate="80 images/s")
    written = stream.getvalue().splitlines()
    assert written[0] == "  Transfer [x]"
    assert written[1] == "  Transfer [x]: 20 %, 80 images/s, 40 s left"
    assert len(written) == 1 + 5 and written[-1] == "  Transfer [x]: 100 %, 80 images/s"


def test_that_the_time_left_of_a_resumed_stage_comes_from_its_new_pace(clock: Clock) -> None:
    estimate = Estimate(1000)
    assert estimate.left(900) == ""
    clock.now += 10
    assert estimate.left(910) == "1 min 30 s left"
    assert estimate.left(1000) == ""


def test_that_bars_show_names_with_brackets_as_they_are() -> None:
    stream = io.StringIO()
    bars = Bars(stream)
    bars.stage("[bold]FDM[/] on letters", 10)
    bars.advance(5, rate="80 images/s", note="epoch 1/2")
    bars.line("a line [above]")
    bars.close()
    assert "[bold]FDM[/] on letters" in stream.getvalue() and "a line [above]" in stream.getvalue()
    assert "50 %" in stream.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (3599, "59 min 59 s"), (7260, "2 h 01 min"),
     (200_000, "2 days 7 h")]
)  # fmt: skip
def test_that_durations_are_said_as_people_do(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_that_columns_of_numbers_are_aligned_to_the_right() -> None:
    table = format_table(("name", "%"), [("a", "9.5"), ("bcd", "100.0"), ("e", "-")])
    assert table.splitlines() == ["name      %", "----  -----", "a       9.5", "bcd   100.0", "e         -"]
    assert format_table(("name", "%"), []).splitlines() == ["name  %", "----  -"]


def test_that_quitting_at_once_leaves_the_cursor_of_a_terminal_visible(tmp_path: Path) -> None:
    study = tmp_path / "tiny.toml"
    study.write_text(TINY, encoding="utf-8")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "engine", "run", str(study), "--set", "pretraining.epochs=50"],
        env={**os.environ, "CARTL_WORKSPACE": str(tmp_path / "workspace"), "TERM": "xterm"},
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    signals = iter((signal.SIGINT, signal.SIGTERM))
    expected = b"images/s"
    while True:
        try:
            seen += os.read(ours, 4096)
        except OSError:
            break
        if expected in seen and (number := next(signals, None)) is not None:
            expected = b"Pausing"
            process.send_signal(number)
    os.close(ours)
    assert process.wait(timeout=30) in (128 + signal.SIGTERM, 128 + signal.SIGINT)
    assert seen.rindex(b"\x1b[?25h") > seen.rindex(b"\x1b[?25l")
    assert b"\r" in seen and b"Traceback" not in seen
