"""The window as a process of its own, and beside the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from cartl_gui.main_window import MainWindow
from cartl_gui.settings import WindowSettings
from cartl_gui.theme import Theme
from engine.api import Session
from engine.config import parse_study
from tests.gui.gui_helpers import end
from tests.gui.test_gui_journey import TINY


def state_of(workspace: Path) -> str:
    """What the first run's files say."""
    try:
        (path, *_) = sorted((workspace / "runs").glob("at-????????/status.json"))
        return str(json.loads(path.read_text())["state"])
    except ValueError:
        return ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_that_the_terminal_ends_the_program_without_a_question_and_the_run_is_saved(
    tmp_path: Path, number: signal.Signals
) -> None:
    workspace = tmp_path / "workspace"
    homes = {f"XDG_{kind}_HOME": str(tmp_path / kind) for kind in ("CONFIG", "STATE", "CACHE", "DATA")}
    program = subprocess.Popen(
        [sys.executable, "-m", "cartl_gui", "--workspace", str(workspace), "--demo"],
        env={**os.environ, **homes, "QT_QPA_PLATFORM": "offscreen"},
    )
    try:
        until = time.monotonic() + 60
        while state_of(workspace) != "running" and time.monotonic() < until:
            time.sleep(0.1)
        assert state_of(workspace) == "running"
        time.sleep(1)
        program.send_signal(number)
        assert program.wait(timeout=20) == 0
    finally:
        program.kill()
        program.wait()
    assert state_of(workspace) == "paused"
    assert not (workspace / "workspace.lock").exists()


def test_that_window_and_command_line_give_the_same_numbers(
    qtbot: QtBot, settings: WindowSettings, themes: Theme, tmp_path: Path
) -> None:
    window = MainWindow(Session(tmp_path / "window"), {}, settings, themes)
    window.show()
    window.start()
    window.submit(parse_study(TINY))
    qtbot.waitUntil(
        lambda: [info.state for info in window.bridge.runs.values()] == ["finished"] * 2, timeout=90_000
    )
    shown = {info.name: info.result for info in window.bridge.runs.values()}
    end(qtbot, window)

    study = tmp_path / "tiny.toml"
    study.write_text(TINY)
    command = [
        sys.executable,
        "-m",
        "engine",
        "run",
        str(study),
        "--json",
        "--workspace",
        str(tmp_path / "line"),
    ]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=90).stdout)
    printed = {run["name"]: run["result"] for run in answer["runs"]}
    assert printed["source"] is None
    assert shown["source"] is None
    for what in ("clean_accuracy", "robust_accuracy"):
        assert getattr(shown["target"], what).value == printed["target"][what]["value"]
    hashes = [
        sorted(
            path.read_text().split()[0] for path in (tmp_path / side / "runs").rglob("*.safetensors.sha256")
        )
        for side in ("window", "line")
    ]
    assert len(hashes[0]) == 2
    assert hashes[0] == hashes[1]
