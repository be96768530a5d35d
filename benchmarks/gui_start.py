"""How long the window takes to stand, to be complete and to have an engine; and what its parts cost."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtWidgets import QWidget

ROOT = Path(__file__).parents[1]

#: Starts as the program does, and tells after how many seconds from the start of Python something was there.
_COLD = """
import time; begin = time.perf_counter()
import json, os, sys, tempfile
from pathlib import Path
from cartl_gui.__main__ import reason_not_to_start
reason_not_to_start()
from PySide6.QtCore import QEventLoop, QSettings
from cartl_gui import app
from cartl_gui.garbage import GarbageCollector
from cartl_gui.main_window import MainWindow
from cartl_gui.settings import WindowSettings
from cartl_gui.theme import Theme
from engine.api import Session, preset_texts, presets
folder = Path(tempfile.mkdtemp())
found = {}
application = app.make_application()
store = QSettings(str(folder / "window.ini"), QSettings.Format.IniFormat)
window = MainWindow(
    Session(folder / "workspace"), presets(), WindowSettings(store), Theme(application, "light"),
    preset_texts=preset_texts(),
)
window.show()
collector = GarbageCollector(window)
collector.start()
application.processEvents()
found["visible"] = time.perf_counter() - begin
assert "torch" not in sys.modules, "the window imported torch before it was visible"
window.start()
application.processEvents()
found["complete"] = time.perf_counter() - begin
ready = []
window.bridge.engine_ready.connect(ready.append)
while not ready:
    application.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)
found["engine ready"] = time.perf_counter() - begin
print(json.dumps(found), flush=True)
os._exit(0)
"""


def cold_starts(repeats: int) -> dict[str, dict[str, float]]:
    """Seconds from the start of a fresh Python to the first painted window, the complete one, and the ready engine."""
    runs: list[dict[str, float]] = []
    for _ in range(repeats):
        started = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-c", _COLD], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as program:
            assert program.stdout is not None
            figures = json.loads(program.stdout.readline())
            figures["process"] = time.perf_counter() - started
        runs.append(figures)
    return {name: _spread([run[name] for run in runs]) for name in runs[0]}


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def parts(make_window: Callable[[], Any]) -> dict[str, dict[str, float]]:
    """Milliseconds that each part of the window takes to be made, and of how many widgets it consists.

    Args:
        make_window: makes a complete window; called once, after the parts can be timed.
    """
    from cartl_gui import parts as modules

    found: dict[str, dict[str, float]] = {}
    made: dict[str, QWidget] = {}
    originals = {name: getattr(modules, name) for name in modules.__all__}

    def timed(name: str, kind: Callable[..., Any]) -> Callable[..., Any]:
        def make(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            part = kind(*arguments, **named)
            found[name] = {"milliseconds": 1000 * (time.perf_counter() - started)}
            if isinstance(part, QWidget):
                made[name] = part
            return part

        return make

    try:
        for name, kind in originals.items():
            setattr(modules, name, timed(name, kind))
        started = time.perf_counter()
        window = make_window()
        whole = 1000 * (time.perf_counter() - started)
        for name, part in made.items():
            found[name]["widgets"] = len(part.findChildren(QWidget)) + 1
        found["whole window"] = {"milliseconds": whole, "widgets": len(window.findChildren(QWidget)) + 1}
    finally:
        for name, kind in originals.items():
            setattr(modules, name, kind)
    return found
