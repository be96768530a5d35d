"""How long the window takes for many runs, for a large run, and for a curve of many points."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QTableView

from benchmarks.gui_stalls import Heartbeat
from benchmarks.gui_window import draw_all, opened, repaint, until
from cartl_gui.main_window import MainWindow
from engine.api import Session, presets
from engine.config import StageName
from engine.events import RowsAdded, RunChanged, RunsListed, StageStarted
from engine.store.run_file import RunFile
from engine.store.run_reader import read_tables
from engine.store.schema import STAGE_TABLES, tail
from engine.store.workspace import Workspace
from tests.gui.many_runs import many_runs
from tests.gui.scripted_session import ScriptedSession, demo_study
from tests.gui.scripted_training import layout_of, step_rows

#: What is typed into the filter, from a word to a question about accuracies.
FILTERS = ("neft", "state:finished robust > 30", "stage:transfer k < 3 -vanilla", "")
#: More epochs cannot be set.
MOST_EPOCHS = 10_000
#: Rows that are written at once.
BLOCK = 20_000
Timings = dict[str, float]


def milliseconds(deed: Callable[[], object], repeats: int = 1) -> float:
    """Median time of a deed and of drawing what follows from it."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        deed()
        QApplication.processEvents()
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


# many runs ----------------------------------------------------------------------------------------------
def many(amount: int, folder: Path) -> Timings:
    """Milliseconds to list, filter, sort and group runs, and to take in a change of one."""
    runs = many_runs(amount)
    session = ScriptedSession(folder)
    with opened(session, {"demo": demo_study()}) as window:
        window.layout_of_docks.show_docks()
        window.bridge.drain()
        session.events.put(RunsListed(tuple(runs)))
        found = {"list": milliseconds(window.bridge.drain)}
        panel = window.runs
        table = panel.findChild(QTableView)
        for text in FILTERS:
            found[f"filter “{text}”"] = milliseconds(lambda text=text: filter_by(window, text))
        for column in range(table.model().columnCount()):
            if not table.isColumnHidden(column):
                title = table.model().headerData(column, Qt.Orientation.Horizontal) or f"column {column}"
                by = lambda column=column: table.sortByColumn(column, Qt.SortOrder.AscendingOrder)  # noqa: E731
                found[f"sort by {title}"] = milliseconds(by)
        for row in range(panel.grouping.count()):
            choose = lambda row=row: choose_group(window, row)  # noqa: E731
            found[f"group: {panel.grouping.itemText(row)}"] = milliseconds(choose)
        session.events.put(RunChanged(replace(runs[0], progress=0.5)))
        found["change of one run"] = milliseconds(window.bridge.drain)
        found["select another run"] = milliseconds(lambda: panel.select(runs[-1].id))
    return found


def filter_by(window: MainWindow, text: str) -> None:
    """Type a filter and wait until the list follows."""
    window.runs.filter.setText(text)


def choose_group(window: MainWindow, row: int) -> None:
    """Choose a way to group the list."""
    window.runs.grouping.setCurrentIndex(row)


# a large run --------------------------------------------------------------------------------------------
def make_large_run(folder: Path, size: int) -> str:
    """Write a finished run whose tables take about `size` bytes; returns its id.

    Tables with a row for each epoch or look have as many rows as there may be epochs, in a small file fewer; rows of
    single steps take the rest.
    """
    study = demo_study()
    config = study.runs[0].model_copy(update={"attack": None})
    stage: StageName = "pretraining"
    layout = layout_of(config, stage)
    tables = STAGE_TABLES[stage]
    widths = {
        table.name: sum(
            np.dtype(column.dtype).itemsize * int(np.prod(tail(layout, column))) for column in table.columns
        )
        for table in tables
    }
    share = size / (2 * len(tables))
    rows = {name: max(1, min(MOST_EPOCHS, round(share / width))) for name, width in widths.items()}
    others = sum(rows[name] * width for name, width in widths.items() if name != "steps")
    rows["steps"] = max(1, round((size - others) / widths["steps"]))
    workspace = Workspace(folder)
    workspace.lock()
    try:
        run = workspace.create_run(config, study.title)
        with RunFile.create(
            run.metrics_path, [layout], title=config.name, config_toml="", program_version="0"
        ) as file:
            for table in tables:
                for start in range(0, rows[table.name], BLOCK):
                    block = np.arange(start, min(rows[table.name], start + BLOCK))
                    file.append(
                        stage,
                        table.name,
                        {
                            column.name: _fill(block, column.dtype, tail(layout, column))
                            for column in table.columns
                        },
                    )
        run.write_status("finished", progress=1.0)
        return str(run.id)
    finally:
        workspace.unlock()


def _fill(rows: np.ndarray, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Rising numbers in every cell of rows, [T] -> [T, *shape]."""
    column = (rows % 251 if dtype == "u1" else rows).astype(dtype)
    return np.broadcast_to(column.reshape(-1, *[1] * len(shape)), (len(rows), *shape))


def large(size: int, folder: Path) -> Timings:
    """Seconds to read a run of `size` bytes, and to open it in the window until it is drawn; and the memory it takes."""
    run_id = make_large_run(folder, size)
    path = folder / "runs" / run_id / "metrics.h5"
    started = time.perf_counter()
    read_tables(path)
    found = {"gigabytes": path.stat().st_size / 1e9, "read": time.perf_counter() - started}
    ready: list[object] = []
    with opened(Session(folder), presets()) as window:
        window.bridge.engine_ready.connect(ready.append)
        until(lambda: ready and run_id in window.bridge.runs)
        memory = psutil.Process().memory_info().rss
        started = time.perf_counter()
        late = Heartbeat().listen(lambda: open_run(window, run_id))
        found["opened"] = time.perf_counter() - started
        draw_all(window)
        found["drawn"] = time.perf_counter() - started
        # Without a beat it was open before the first was due.
        found["longest stall meanwhile, ms"] = float(late.max(initial=0.0))
        found["longest redraw of a page, ms"] = milliseconds(lambda: draw_all(window), 3)
        found["memory taken, GB"] = (psutil.Process().memory_info().rss - memory) / 1e9
    return found


def open_run(window: MainWindow, run_id: str) -> None:
    """Show a run, and wait until its files are read."""
    window.show_run(run_id)
    until(lambda: window.shown.data is not None and window.shown.data.from_files)


# a long curve -------------------------------------------------------------------------------------------
def curve(points: int, folder: Path) -> Timings:
    """Milliseconds to draw the page of a training of so many steps, and its curves of losses alone."""
    session = ScriptedSession(folder)
    study = demo_study()
    with opened(session, {"demo": study}) as window:
        window.start_demo()
        session.step(2)
        until(lambda: window.shown.data is not None)
        assert window.shown.data is not None
        run_id = window.shown.data.info.id
        layout = layout_of(study.runs[0], "pretraining")
        session.events.put(StageStarted(run_id, layout))
        rows = step_rows(layout, 0, points, np.random.default_rng(0))
        session.events.put(RowsAdded(run_id, "pretraining", "steps", rows))
        until(session.events.empty)
        first = milliseconds(lambda: draw_all(window))
        panel = window.live.loss
        assert len(panel.series()["step"]) >= points
        return {
            "first drawing": first,
            "whole page": milliseconds(lambda: draw_all(window), 5),
            "losses alone": milliseconds(lambda: redraw(window), 20),
            "repaint of losses alone": milliseconds(lambda: repaint(panel), 20),
        }


def redraw(window: MainWindow) -> None:
    """Draw the curves of losses anew, from the run's rows to the screen."""
    window.live.loss.draw_again()
    repaint(window.live.loss)
