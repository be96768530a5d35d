"""Ctrl+C saves and says how to go on; the same command with --resume does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import TINY

LONG = ("--set", "pretraining.epochs=40")


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    study = folder / "tiny.toml"
    study.write_text(TINY, encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "-m", "engine", "run", str(study), *LONG, *arguments],
        env={**os.environ, "CARTL_WORKSPACE": str(folder / "workspace")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_training(process: subprocess.Popen[str]) -> None:
    """Read the progress lines until the pre-training has begun."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if "Pre-training" in line:
            return
    raise AssertionError("ended before training: " + "".join(seen))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_that_a_signal_pauses_the_run_and_resume_finishes_it(tmp_path: Path, number: int, code: int) -> None:
    process = start(tmp_path)
    wait_for_training(process)
    time.sleep(0.5)
    process.send_signal(number)
    began = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert time.monotonic() - began < 15
    assert "Go on with: cartl run" in err and "--resume" in err and "pretraining.epochs=40" in err
    assert out == "" and "Traceback" not in err
    states = [json.loads(path.read_text())["state"] for path in (tmp_path / "workspace").rglob("status.json")]
    assert sorted(states) == ["created", "paused"]

    process = start(tmp_path, "--resume", "--json")
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    runs = json.loads(out)["runs"]
    assert [run["state"] for run in runs] == ["finished", "finished"]
    assert len(list((tmp_path / "workspace").rglob("status.json"))) == 2, "resume must not make new runs"


def test_that_a_second_signal_quits_at_once(tmp_path: Path) -> None:
    process = start(tmp_path)
    wait_for_training(process)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    process.communicate(timeout=60)
    assert process.returncode in (128 + signal.SIGTERM, 130) and time.monotonic() - began < 10
