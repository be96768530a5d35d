"""Measure the window: `python benchmarks/gui.py [--repeats N]`.

- cold start: from the start of a fresh Python to the first painted window, and to the complete one;
- stalls: how late a 16 ms heartbeat of the event loop is while a study streams events, with plots drawn.

Uses the offscreen platform unless QT_QPA_PLATFORM says otherwise. Figures are upper bounds on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

_COLD = """
import time; begin = time.perf_counter()
import sys, json, tempfile
from pathlib import Path
from cartl_gui.__main__ import reason_not_to_start
reason_not_to_start()
from PySide6.QtCore import QSettings
from cartl_gui import app
from cartl_gui.main_window import MainWindow
from cartl_gui.settings import WindowSettings
from cartl_gui.theme import Theme
from engine.api import Session, presets
application = app.make_application()
themes = Theme(application, "light")
store = QSettings(str(Path(tempfile.gettempdir()) / "cartl-cold.ini"), QSettings.Format.IniFormat)
window = MainWindow(Session(Path(tempfile.gettempdir()) / "cartl-cold"), presets(), WindowSettings(store), themes)
window.show()
application.processEvents()
visible = time.perf_counter() - begin
window.complete()
application.processEvents()
print(json.dumps({"visible": visible, "complete": time.perf_counter() - begin, "torch": "torch" in sys.modules}))
import os; os._exit(0)
"""


def cold_starts(repeats: int) -> dict[str, float]:
    """Median seconds from the first import to the visible and to the complete window, and of whole processes."""
    visible, complete = [], []
    for _ in range(repeats):
        out = subprocess.run(
            [sys.executable, "-c", _COLD], cwd=ROOT, capture_output=True, text=True, check=True
        )
        figures = json.loads(out.stdout.strip().splitlines()[-1])
        if figures["torch"]:
            raise RuntimeError("the window imported torch before it was visible")
        visible.append(figures["visible"])
        complete.append(figures["complete"])
    return {"visible": statistics.median(visible), "complete": statistics.median(complete)}


def stalls(seconds: float, pause: float) -> dict[str, float]:
    """Milliseconds by which a 16 ms heartbeat comes late while a scripted study posts an event every `pause` s."""
    from PySide6.QtCore import QElapsedTimer, QEventLoop, QSettings, Qt, QTimer

    from cartl_gui.app import make_application
    from cartl_gui.main_window import MainWindow
    from cartl_gui.settings import WindowSettings
    from cartl_gui.theme import Theme
    from tests.gui.scripted_session import ScriptedSession, demo_study

    def wait(milliseconds: int) -> None:
        loop = QEventLoop()  # unlike QTest.qWait it lets other threads run
        QTimer.singleShot(milliseconds, loop.quit)
        loop.exec()

    application = make_application()
    themes = Theme(application, "light")
    with tempfile.TemporaryDirectory() as folder:
        store = QSettings(str(Path(folder) / "window.ini"), QSettings.Format.IniFormat)
        session = ScriptedSession(Path(folder))
        window = MainWindow(session, {"demo": demo_study(epochs=200)}, WindowSettings(store), themes)
        window.resize(1600, 1000)
        window.show()
        window.start()
        window.start_demo()
        session.play(pause)
        wait(1500)
        late: list[float] = []
        clock = QElapsedTimer()
        clock.start()
        beat = QTimer()
        beat.setTimerType(Qt.TimerType.PreciseTimer)
        beat.setInterval(16)

        def note() -> None:
            late.append(max(0.0, clock.nsecsElapsed() / 1e6 - 16))
            clock.restart()

        beat.timeout.connect(note)
        beat.start()
        wait(round(1000 * seconds))
        beat.stop()
        window.closer.may_close = lambda _running, _queued: True  # type: ignore[method-assign]
        window.close()
        end = time.monotonic() + 10
        while window.isVisible() and time.monotonic() < end:
            wait(20)
        late.sort()
        return {
            "p50": late[len(late) // 2],
            "p99": late[int(0.99 * len(late))],
            "max": late[-1],
            "beats": len(late),
        }


def main() -> int:
    """Print all figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    start = cold_starts(options.repeats)
    print(f"cold start: visible {start['visible']:.2f} s, complete {start['complete']:.2f} s")
    for name, pause in (("calm, 50 events/s", 0.02), ("busy, 500 events/s", 0.002)):
        figures = stalls(options.seconds, pause)
        print(
            f"stalls, {name}: p50 {figures['p50']:.1f} ms, p99 {figures['p99']:.1f} ms, "
            f"max {figures['max']:.1f} ms over {figures['beats']:.0f} beats"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
