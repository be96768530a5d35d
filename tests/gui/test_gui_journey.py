"""Journeys through the window with the real engine on tiny data."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import shiboken6
from pytestqt.qtbot import QtBot

from cartl_gui.main_window import MainWindow
from cartl_gui.plots.export import render_csv
from cartl_gui.run_data import machine_facts
from cartl_gui.settings import WindowSettings
from cartl_gui.theme import Theme
from engine.api import Session
from engine.config import StudyConfig, parse_study
from tests.gui.gui_helpers import end, save

TINY = """
title = "tiny"
[defaults]
model = { name = "wide_resnet", depth = 10, widen_factor = 1 }
source = { name = "letters", image_size = 8, train_size = 104, validation_size = 26, test_size = 26 }
target = { name = "digits", image_size = 8, train_size = 60, validation_size = 20, test_size = 20 }
machine = { device = "cpu", threads = 1 }
inspection = { probe_size = 16, bounds = false }
[defaults.pretraining]
epochs = 2
attack = { epsilon = "8/255", step_size = "4/255", steps = 1 }
[defaults.finetuning]
epochs = 2
[defaults.attack]
steps = 2
[[runs]]
name = "source"
[runs.pretraining]
num_finetuned_blocks = 3
[[runs]]
name = "target"
start_from = "source"
[runs.finetuning]
num_finetuned_blocks = 3
[runs.attack]
"""


def states(window: MainWindow) -> list[str]:
    return [info.state for info in sorted(window.bridge.runs.values(), key=lambda info: info.created)]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return tmp_path / "workspace"


@pytest.fixture
def study() -> StudyConfig:
    return parse_study(TINY)


OpenWindow = Callable[[], MainWindow]


@pytest.fixture
def open_window(
    qtbot: QtBot, workspace: Path, settings: WindowSettings, themes: Theme
) -> Iterator[OpenWindow]:
    """Open a window on the workspace; the one before must have been ended."""
    windows: list[MainWindow] = []

    def open_next() -> MainWindow:
        window = MainWindow(Session(workspace), {}, settings, themes)
        windows.append(window)
        window.resize(1280, 800)
        window.show()
        window.start()
        return window

    yield open_next
    for window in windows:
        if shiboken6.isValid(window) and window.isVisible():
            end(qtbot, window)


def test_that_a_study_is_run_watched_exported_and_opened_again(
    qtbot: QtBot,
    open_window: OpenWindow,
    study: StudyConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    live = open_window()
    live.setup.set_study(study)
    live.setup.estimate.button.click()
    qtbot.waitUntil(lambda: live.setup.estimate.state == "shown", timeout=60_000)
    assert live.setup.estimate.summary.text().startswith("2\N{NO-BREAK SPACE}runs · about\N{NO-BREAK SPACE}")
    assert live.status.machine.memory.isVisible() and live.status.machine.disk.text().endswith("free")
    live.setup.run_button.click()
    qtbot.waitUntil(lambda: states(live) == ["finished", "finished"], timeout=90_000)
    source, target = sorted(live.bridge.runs.values(), key=lambda info: info.created)
    live.show_run(source.id)
    qtbot.waitUntil(live.live.all_drawn, timeout=5000)
    assert len(live.live.accuracy.series()["epoch"]) == 2
    shown = live.live.distance.series()
    assert np.isfinite(np.concatenate([values for name, values in shown.items() if name != "epoch"])).all()
    facts = dict(machine_facts(live.bridge.data(source.id)))
    assert facts["Memory in use"].startswith("at most ")
    before = {panel.title: render_csv(panel) for panel in live.live.grid.panels()}

    qtbot.waitUntil(lambda: live.commands.actions["export_weights"].isEnabled(), timeout=5000)
    weights = tmp_path / "weights.safetensors"
    live.commands.actions["export_weights"].trigger()
    dialog = save(live, tmp_path, weights.name)
    qtbot.waitUntil(lambda: dialog.message.text().startswith("Wrote"), timeout=10_000)
    assert weights.exists()
    dialog.choose("run")
    save(live, tmp_path, "given")
    qtbot.waitUntil(lambda: dialog.message.text().startswith("Wrote given.zip"), timeout=10_000)
    dialog.close()

    assert target.result is not None
    assert target.result.samples == 20
    live.commands.actions["page_results"].trigger()
    assert (
        live.results.table.item(0, 6).text().startswith(f"{100 * target.result.robust_accuracy.value:.1f} (")
    )
    live.commands.actions["page_live"].trigger()
    end(qtbot, live)

    again = open_window()
    qtbot.waitUntil(lambda: len(again.bridge.runs) == 2, timeout=10_000)
    again.show_run(source.id)
    qtbot.waitUntil(lambda: not again.live.accuracy.is_empty() and again.live.all_drawn(), timeout=10_000)
    after = {panel.title: render_csv(panel) for panel in again.live.grid.panels()}
    for title, table in before.items():
        old, new = (list(csv.reader(io.StringIO(text.decode()))) for text in (table, after[title]))
        assert old == new, title
    assert again.live._about.text() != ""
    again.do.settings.open_files([str(tmp_path / "given.zip")])
    qtbot.waitUntil(lambda: len(again.bridge.runs) == 3, timeout=10_000)
    taken = next(run for run in again.bridge.runs.values() if run.id not in (source.id, target.id))
    assert (taken.state, taken.config) == ("finished", source.config)
    compare_with_files(qtbot, again, source.id, taken.id)
    end(qtbot, again)


def compare_with_files(qtbot: QtBot, window: MainWindow, first: str, second: str) -> None:
    """Tick two runs that hold the same numbers, and find them over each other, read from their files."""
    window.commands.actions["page_compare"].trigger()
    window.runs.set_shown([first, second], on=True)
    accuracy = window.compare.grid.slots[0].panel
    qtbot.waitUntil(lambda: sum(curve.has_values() for curve in accuracy.curves) == 2, timeout=10_000)
    one, other = (curve.y for curve in accuracy.curves)
    assert len(one) == 2
    assert np.array_equal(one, other)
    assert window.compare._amount.text() == "2 runs"


def test_that_a_paused_run_goes_on_and_closing_saves_it(
    qtbot: QtBot, open_window: OpenWindow, study: StudyConfig
) -> None:
    long = study.runs[0].pretraining.model_copy(update={"epochs": 200})  # type: ignore[union-attr]
    run = study.runs[0].model_copy(update={"pretraining": long})
    live = open_window()
    live.submit(study.model_copy(update={"runs": [run]}))
    qtbot.waitUntil(lambda: not live.live.accuracy.is_empty(), timeout=60_000)
    live.commands.actions["pause"].trigger()
    qtbot.waitUntil(lambda: states(live) == ["paused"], timeout=10_000)
    steps = len(live.live.loss.series()["step"])
    live.commands.actions["resume"].trigger()
    qtbot.waitUntil(lambda: len(live.live.loss.series()["step"]) > steps + 2, timeout=20_000)
    series = live.live.loss.series()["step"]
    assert np.array_equal(series, np.arange(len(series)))
    end(qtbot, live)

    again = open_window()
    qtbot.waitUntil(lambda: states(again) == ["paused"], timeout=10_000)
    again.show_run(next(iter(again.bridge.runs)))
    qtbot.waitUntil(lambda: not again.live.loss.is_empty(), timeout=10_000)
    assert again.commands.actions["resume"].isEnabled()
    end(qtbot, again)


def test_that_an_engine_failure_is_told_and_leaves_the_window_alive(
    qtbot: QtBot, open_window: OpenWindow, study: StudyConfig
) -> None:
    missing = study.runs[0].source.model_copy(update={"name": "folder", "path": "/nowhere"})  # type: ignore[union-attr]
    broken = study.runs[0].model_copy(update={"source": missing})
    live = open_window()
    live.submit(study.model_copy(update={"runs": [broken]}))
    qtbot.waitUntil(lambda: states(live) == ["failed"], timeout=60_000)
    info = next(iter(live.bridge.runs.values()))
    assert "/nowhere" in info.reason
    model = live.runs.model
    assert model.index(0, model.column("state")).data().startswith("failed: ")
    assert live.isEnabled()
