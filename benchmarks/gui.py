"""Measure the window. A figure holds for the machine and the screen that it was taken on.

    python -m benchmarks.gui start     cold start: to the visible window, the complete one, the ready engine
    python -m benchmarks.gui build     what the parts of the window cost: time and widgets
    python -m benchmarks.gui stalls    how late events are answered on each page while the demo trains
    python -m benchmarks.gui runs      a thousand runs: list, filter, sort, group
    python -m benchmarks.gui open      a run of 1 GB: to read, to open, to draw
    python -m benchmarks.gui curve     a curve of a million points: to draw
    python -m benchmarks.gui looks     another scale and another theme
    python -m benchmarks.gui idle      the processor while nothing runs and nobody touches it
    python -m benchmarks.gui memory    what 200 page changes and 10,000 redraws leave behind

Figures are printed, and with --json PATH also written. Without a display set QT_QPA_PLATFORM=offscreen.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

Figures = Mapping[str, Any]


def start(options: argparse.Namespace) -> Figures:
    """Seconds of cold starts."""
    from benchmarks.gui_start import cold_starts

    return cold_starts(options.repeats)


def build(_options: argparse.Namespace) -> Figures:
    """Milliseconds and widgets of the parts of the window."""
    from benchmarks.gui_start import parts as parts_of
    from benchmarks.gui_window import opened
    from cartl_gui import parts  # noqa: F401 - importing it is not what is measured
    from engine.api import presets
    from tests.gui.scripted_session import ScriptedSession

    with tempfile.TemporaryDirectory() as folder:
        windows = []

        def make() -> Any:
            windows.append(opened(ScriptedSession(Path(folder)), presets()))
            return windows[0].__enter__()

        try:
            return parts_of(make)
        finally:
            windows[0].__exit__(None, None, None)


def stalls(options: argparse.Namespace) -> Figures:
    """Milliseconds of lateness on each page."""
    from benchmarks.gui_stalls import stalls as measure

    return _in_folder(lambda folder: measure(folder, seconds=options.seconds, warm_up=options.warm_up))


def runs(options: argparse.Namespace) -> Figures:
    """Milliseconds for many runs."""
    from benchmarks.gui_lists import many

    return _in_folder(lambda folder: many(options.runs, folder))


def open_(options: argparse.Namespace) -> Figures:
    """Seconds for a large run."""
    from benchmarks.gui_lists import large

    return _in_folder(lambda folder: large(round(1e9 * options.gigabytes), folder))


def curve(options: argparse.Namespace) -> Figures:
    """Milliseconds for a long curve."""
    from benchmarks.gui_lists import curve as measure

    return _in_folder(lambda folder: measure(options.points, folder))


def looks(options: argparse.Namespace) -> Figures:
    """Milliseconds of another scale and theme on each page."""
    from benchmarks.gui_rest import looks as measure

    return _in_folder(lambda folder: measure(folder, options.repeats))


def idle(options: argparse.Namespace) -> Figures:
    """Percent of a core on each page."""
    from benchmarks.gui_rest import idle as measure

    return _in_folder(lambda folder: measure(folder, options.seconds))


def memory(options: argparse.Namespace) -> Figures:
    """Bytes, objects and items that page changes and redraws leave behind."""
    from benchmarks.gui_memory import after_a_demo

    return _in_folder(lambda folder: after_a_demo(folder, pages=options.pages, redraws=options.redraws))


VERBS: dict[str, Callable[[argparse.Namespace], Figures]] = {
    "start": start, "build": build, "stalls": stalls, "runs": runs, "open": open_, "curve": curve, "looks": looks,
    "idle": idle, "memory": memory,
}  # fmt: skip


def _in_folder(measure: Callable[[Path], Figures]) -> Figures:
    with tempfile.TemporaryDirectory(prefix="cartl-benchmark-") as folder:
        return measure(Path(folder))


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gui",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("verb", choices=VERBS, help="what to measure")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the figures to this file")
    parser.add_argument("--repeats", type=int, default=7, help="start, looks: how often (%(default)s)")
    parser.add_argument("--seconds", type=float, default=60, help="stalls, idle: on each page (%(default)s)")
    parser.add_argument(
        "--warm-up", type=float, default=5, help="stalls: seconds left out before (%(default)s)"
    )
    parser.add_argument("--runs", type=int, default=1000, help="runs: how many (%(default)s)")
    parser.add_argument("--gigabytes", type=float, default=1.0, help="open: size of the run (%(default)s)")
    parser.add_argument("--points", type=int, default=1_000_000, help="curve: points (%(default)s)")
    parser.add_argument("--pages", type=int, default=224, help="memory: page changes (%(default)s)")
    parser.add_argument("--redraws", type=int, default=10_000, help="memory: redraws (%(default)s)")
    return parser.parse_args(arguments)


def machine() -> dict[str, object]:
    """What the figures depend on."""
    import pyqtgraph
    import PySide6

    return {
        "when": time.strftime("%Y-%m-%d %H:%M"),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "qt": PySide6.__version__,
        "pyqtgraph": pyqtgraph.__version__,
        "screen": os.environ.get("QT_QPA_PLATFORM", "that of the desktop"),
    }


def readable(figures: Figures) -> str:
    """A table of the figures, a line each, or a line for each row of figures."""
    lines = []
    width = max(len(name) for name in figures)
    for name, value in figures.items():
        told = (
            ", ".join(f"{key} {part:.4g}" for key, part in value.items())
            if isinstance(value, Mapping)
            else f"{value:.4g}"
        )
        lines.append(f"{name:<{width}}  {told}")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Measure one thing and tell."""
    options = parse(arguments)
    told = machine()
    figures = VERBS[options.verb](options)
    print(readable(figures))
    if options.json is not None:
        answer = {"benchmark": f"gui {options.verb}", "machine": told, "figures": figures}
        options.json.write_text(json.dumps(answer, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
