"""The first minute on a real display, with the mouse and the keys of an X server."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
JOURNEY = Path(__file__).with_name("first_minute.py")


def missing_packages() -> list[str]:
    """What `make test` would install for this test."""
    spec = importlib.util.spec_from_file_location("setup_script", ROOT / "scripts" / "setup.py")
    assert spec is not None and spec.loader is not None
    setup = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(setup)
    return list(setup.missing_for_display())


MISSING = " ".join(missing_packages())


@pytest.fixture
def display() -> Iterator[str]:
    """An X server of its own that shows nothing; gives its name."""
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x800x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL) as server:
        os.close(write)
        try:
            with os.fdopen(read) as numbers:
                yield f":{numbers.readline().strip()}"
        finally:
            server.terminate()


@pytest.mark.skipif(
    bool(MISSING), reason=f"{' and '.join(MISSING)} are missing: sudo apt install xvfb xdotool"
)
def test_that_a_new_user_gets_from_the_welcome_page_to_moving_plots_and_out_again(
    display: str, tmp_path: Path
) -> None:
    homes = {f"XDG_{kind}_HOME": str(tmp_path / kind) for kind in ("CONFIG", "STATE", "CACHE", "DATA")}
    environment = {**os.environ, **homes, "DISPLAY": display, "QT_QPA_PLATFORM": "xcb"}
    environment.pop("WAYLAND_DISPLAY", None)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(JOURNEY)]
    journey = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert journey.returncode == 0, journey.stdout + journey.stderr
