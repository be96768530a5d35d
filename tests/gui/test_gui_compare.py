"""Runs laid over each other: lines, bands over seeds, profiles at a moment, trade-off, and how runs are chosen."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from cartl_gui.comparison import MOST_RUNS, course_of, lines_of, profile_of, spread_of
from cartl_gui.main_window import MainWindow
from cartl_gui.pages.compare_page import ComparePage
from cartl_gui.plots.base import PlotPanel
from cartl_gui.plots.compared import ComparedPlot
from cartl_gui.plots.export import whole
from cartl_gui.plots.figure import Figure, FigureStyle
from cartl_gui.run_data import RunData
from cartl_gui.theme import DARK, palette_of, style_sheet
from engine.events import AttackResult, Interval, RowsAdded, RunInfo, RunRecord
from engine.statistics import estimate
from tests.gui.gui_helpers import drain, press
from tests.gui.scripted_session import ScriptedSession, demo_study, earlier_run

SEEDS = (0, 1, 2)


def runs_of_seeds() -> tuple[dict[str, RunInfo], dict[str, RunRecord]]:
    """An FDM and an AT pre-training, three seeds each, whose accuracies differ by the seed."""
    _info, record = earlier_run()
    found, records = {}, {}
    for method in ("at", "fdm"):
        config = next(run for run in demo_study().runs if run.name == method)
        for seed in SEEDS:
            key = f"{method}-{seed}"
            shift = 0.02 * seed + (0.05 if method == "fdm" else 0.0)
            result = AttackResult(
                "letters",
                "PGD-20",
                500,
                Interval(0.8 + shift, 0.7, 0.9),
                Interval(0.4 + shift, 0.3, 0.5),
                1.0,
            )
            found[key] = RunInfo(
                key, method, "Two methods", "", "finished", config.model_copy(update={"seed": seed}),
                created=1000.0 + len(found), result=result,
            )  # fmt: skip
            tables = {name: dict(columns) for name, columns in record.tables["pretraining"].items()}
            for column in ("robust_accuracy", "clean_accuracy"):
                tables["epochs"][column] = tables["epochs"][column] + shift
            tables["layers"]["distance"] = tables["layers"]["distance"] * (1 + shift)
            records[key] = replace(record, run=found[key], tables={"pretraining": tables}, attack=None)
    return found, records


@pytest.fixture(scope="module")
def runs() -> dict[str, RunInfo]:
    return runs_of_seeds()[0]


@pytest.fixture(scope="module")
def data() -> dict[str, RunData]:
    found = {}
    for key, record in runs_of_seeds()[1].items():
        found[key] = RunData(record.run)
        found[key].absorb(record)
    return found


@pytest.fixture
def page(qtbot: QtBot, runs: dict[str, RunInfo]) -> Iterator[ComparePage]:
    page = ComparePage()
    qtbot.addWidget(page)
    page.resize(900, 500)
    page.show()
    page.know_runs(runs, "Two methods")
    yield page
    page.close()


def fill(page: ComparePage, data: dict[str, RunData]) -> None:
    """Answer what the page asks for, and draw."""
    for run_id in page.runs_drawn():
        page.add_data(data[run_id])
    page.refresh()
    QApplication.processEvents()


def panels(page: ComparePage) -> tuple[ComparedPlot, ...]:
    return tuple(slot.panel for slot in page.grid.slots)  # type: ignore[misc]


# numbers --------------------------------------------------------------------------------------------------
def test_that_bands_are_students_intervals_or_reach_from_the_least_seed_to_the_largest() -> None:
    values = np.random.default_rng(0).normal(0, 1, (4, 30))
    values[1, 3:], values[2, 5:], values[3, 7:] = math.nan, math.nan, math.nan
    mean, low, high = spread_of(values, "interval")
    for place in range(30):
        known = [float(value) for value in values[:, place] if math.isfinite(value)]
        wanted = estimate(known)
        assert (mean[place], low[place], high[place]) == pytest.approx(
            (wanted.mean, wanted.low, wanted.high), nan_ok=True
        )
    mean, low, high = spread_of(values, "range")
    assert (low[0], high[0]) == (values[:, 0].min(), values[:, 0].max())
    assert math.isnan(low[10])
    assert mean[10] == values[0, 10]
    assert np.isnan(spread_of(values, "each")[1]).all()


def test_that_seeds_are_joined_epoch_by_epoch_each_as_far_as_it_came(data: dict[str, RunData]) -> None:
    whole, short = data["at-0"], RunData(data["at-1"].info)
    short.layouts = dict(data["at-1"].layouts)
    rows = {name: values[:5] for name, values in data["at-1"].columns("pretraining", "epochs").items()}
    short.add_rows(RowsAdded("at-1", "pretraining", "epochs", rows | {"seconds": 3 * rows["seconds"]}))
    course = course_of([whole, short], "pretraining", "epochs", "robust_accuracy", "time", "range")
    accuracy = whole.columns("pretraining", "epochs")["robust_accuracy"]
    assert course.mean[:5] == pytest.approx(accuracy[:5] + 0.01)
    assert course.mean[5:] == pytest.approx(accuracy[5:])
    assert course.place[:5] == pytest.approx(2 * whole.columns("pretraining", "epochs")["seconds"][:5])
    assert np.isfinite(course.low[:5]).all()
    assert np.isnan(course.low[5:]).all()


def test_that_a_profile_is_of_the_measurement_next_to_the_moment(data: dict[str, RunData]) -> None:
    distance = data["at-0"].columns("pretraining", "layers")["distance"]
    for moment, row in ((None, -1), ((3.2, "epoch"), 2), ((16.0, "time"), 1)):
        found = profile_of([data["at-0"]], "pretraining", "layers", "distance", moment, "each")  # type: ignore[arg-type]
        assert found.mean == pytest.approx(distance[row].astype(float))
        assert list(found.place) == list(range(1, distance.shape[1] + 1))
    late = profile_of([data["at-0"]], "pretraining", "layers", "distance", (30.0, "epoch"), "each")
    assert not len(late.place)


def test_that_every_line_looks_different_and_values_of_a_setting_share_a_colour(
    runs: dict[str, RunInfo],
) -> None:
    many = [replace(run, id=f"{run.id}-{turn}") for turn in range(3) for run in runs.values()][:MOST_RUNS]
    lines = lines_of(many, {}, "each")
    assert len({line.style for line in lines}) == MOST_RUNS
    assert len({line.name for line in lines}) == MOST_RUNS
    methods = lines_of(many, {}, "each", "pretraining.method")
    assert len({line.style for line in methods}) == MOST_RUNS
    colours = {(line.runs[0].name, line.style.colour) for line in methods}
    assert colours == {("at", 0), ("fdm", 1)}


# the page -------------------------------------------------------------------------------------------------
def test_that_an_empty_page_offers_the_runs_of_the_study_or_the_demo(qtbot: QtBot, page: ComparePage) -> None:
    assert page.empty.button.text() == "Compare the runs of “Two methods”"
    with qtbot.waitSignal(page.choice_changed) as caught:
        qtbot.mouseClick(page.empty.button, Qt.MouseButton.LeftButton)
    assert set(caught.args[0]) == set(page.runs_drawn()) == set(runs_of_seeds()[0])
    page.choose([])
    page.know_runs({})
    assert page.empty.button.text() == "Try the demo"
    with qtbot.waitSignal(page.demo_asked):
        page.empty.button.click()


def test_that_runs_are_read_on_demand_and_fill_the_plots_as_they_come(
    qtbot: QtBot, page: ComparePage, data: dict[str, RunData]
) -> None:
    asked: list[str] = []
    page.run_needed.connect(asked.append)
    page.choose(["at-0", "fdm-0"])
    page.refresh()
    assert asked == ["at-0", "fdm-0"]
    assert page._amount.text() == "2 runs, 2 being read"
    page.add_data(data["fdm-0"])
    page.refresh()
    accuracy = panels(page)[0]
    assert [curve.has_values() for curve in accuracy.curves] == [False, True]
    page.add_data(data["at-0"])
    page.refresh()
    assert [curve.has_values() for curve in accuracy.curves] == [True, True]
    assert page._amount.text() == "2 runs"
    assert asked == ["at-0", "fdm-0"]
    stored = 100 * data["at-0"].columns("pretraining", "epochs")["robust_accuracy"]
    assert accuracy.curves[0].y == pytest.approx(stored)
    assert page._entries[0].value == f"{stored[-1]:.1f} %"
    assert page._values_of.text() == "Robust accuracy, newest"


def test_that_at_most_sixteen_runs_are_drawn_and_the_page_says_so(
    page: ComparePage, runs: dict[str, RunInfo]
) -> None:
    many = {
        f"{run.id}-{turn}": replace(run, id=f"{run.id}-{turn}") for turn in range(3) for run in runs.values()
    }
    page.know_runs(many)
    page.choose(list(many))
    assert len(page.runs_drawn()) == MOST_RUNS
    assert page._note.text() == (
        "18 runs are chosen; the first 16 are shown, as more could not be told apart."
    )
    assert page._note.isVisible()
    page.choose(list(many)[:3])
    assert page._note.isHidden()


def test_that_seeds_become_a_mean_with_a_band_and_pointing_shows_the_blocks_of_that_moment(
    qtbot: QtBot, page: ComparePage, data: dict[str, RunData]
) -> None:
    page.choose(list(data))
    fill(page, data)
    accuracy, distance, loss, _norms = panels(page)
    assert len(page.lines) == 6
    page.spread.setCurrentIndex(page.spread.findData("range"))
    page.spread.activated.emit(1)
    page.refresh()
    assert [line.name for line in page.lines] == ["at (3 seeds)", "fdm (3 seeds)"]
    assert "seeds 0, 1, 2" in page._entries[0].toolTip()
    assert page._bands.text() == "Bands: least to largest seed"
    stored = [100 * data[f"at-{seed}"].columns("pretraining", "epochs")["robust_accuracy"] for seed in SEEDS]
    assert accuracy.curves[0].y == pytest.approx(np.mean(stored, 0))
    assert not accuracy._areas[0].path().isEmpty()
    series = accuracy.series()
    assert series["at (3 seeds): robust accuracy (%), low"] == pytest.approx(np.min(stored, 0))
    accuracy.group.point(accuracy, 4.0)
    QApplication.processEvents()
    assert loss.crosshair.position == 4.0
    profiles = [data[f"fdm-{seed}"].columns("pretraining", "layers")["distance"][3] for seed in SEEDS]
    assert distance.curves[1].y == pytest.approx(np.mean(profiles, 0))
    assert distance._note.text() == "epoch 4"
    assert distance.caption() == "epoch 4, bands: least to largest seed"
    assert page._values_of.text() == "Robust accuracy, epoch 4"
    assert page._entries[0].value == f"{np.mean(stored, 0)[3]:.1f} %"
    accuracy.group.point(accuracy, 3.7)
    assert distance._note.text() == "epoch 4"  # what is shown was measured then, not where the mouse is
    before = distance.view.viewRange()
    accuracy.group.point(accuracy, None)
    assert distance._note.isHidden()
    assert distance.caption().startswith("newest")
    assert distance.view.viewRange() == before


def test_that_as_many_blocks_are_counted_as_there_is_room_for(
    page: ComparePage, data: dict[str, RunData]
) -> None:
    page.choose(["at-0"])
    fill(page, data)
    distance = panels(page)[1]
    blocks = data["at-0"].layouts["pretraining"].block_names

    def numbered(plot: PlotPanel) -> int:
        return sum(len(level) for level in plot.plot.getAxis("bottom")._tickLevels)

    figure = Figure(whole(distance), FigureStyle(width=174), 2.0)
    ((_corner, part),) = figure._parts
    on_paper = numbered(part._twin)
    figure.close()
    page.resize(3000, 900)
    QApplication.processEvents()
    assert on_paper == numbered(distance) == len(blocks)


def test_that_one_list_of_lines_hides_and_isolates_them_in_all_plots(
    qtbot: QtBot, page: ComparePage, data: dict[str, RunData]
) -> None:
    page.choose(["at-0", "at-1", "fdm-0"])
    fill(page, data)
    shown = lambda: [[curve.item.isVisible() for curve in panel.curves] for panel in panels(page)]  # noqa: E731
    qtbot.mouseClick(page._entries[1], Qt.MouseButton.LeftButton)
    assert shown() == 4 * [[True, False, True]]
    qtbot.mouseClick(page._entries[2], Qt.MouseButton.LeftButton, Qt.KeyboardModifier.AltModifier)
    assert shown() == 4 * [[False, False, True]]


def test_that_another_quantity_colour_and_time_axis_can_be_chosen(
    page: ComparePage, data: dict[str, RunData]
) -> None:
    page.choose(["at-0", "fdm-0", "fdm-1"])
    fill(page, data)
    accuracy = panels(page)[0]
    accuracy.choice.setCurrentIndex(1)
    accuracy.choice.activated.emit(1)
    stored = 100 * data["at-0"].columns("pretraining", "epochs")["clean_accuracy"]
    assert accuracy.curves[0].y == pytest.approx(stored)
    assert accuracy.title == "Clean accuracy"
    page.set_time_axis("time")
    seconds = data["at-0"].columns("pretraining", "epochs")["seconds"]
    assert accuracy.curves[0].x == pytest.approx(seconds)
    assert accuracy.titles[0] == "computing time (s)"
    row = page.colour_by.findData("pretraining.method")
    page.colour_by.setCurrentIndex(row)
    page.colour_by.activated.emit(row)
    page.refresh()
    assert [curve.style.colour for curve in accuracy.curves] == [0, 1, 1]
    assert accuracy.curves[1].style != accuracy.curves[2].style
    twin = accuracy.twin()
    assert isinstance(twin, ComparedPlot)
    assert twin.title == "Clean accuracy"
    assert [list(curve.x) for curve in twin.curves] == [list(curve.x) for curve in accuracy.curves]
    twin.deleteLater()


def test_that_every_quantity_on_offer_is_drawn_as_it_was_measured(
    page: ComparePage, data: dict[str, RunData]
) -> None:
    page.choose(["at-0"])
    fill(page, data)
    for panel in panels(page):
        for row, measured in enumerate(panel.choices):
            panel.choice.activated.emit(row)
            stored = data["at-0"].columns("pretraining", measured.table)[measured.column]
            drawn = stored[-1] if panel.x_axis == "block" else stored
            assert panel.curves[0].y == pytest.approx(measured.factor * drawn), measured.title


def test_that_only_a_run_that_went_on_is_drawn_anew(
    page: ComparePage, data: dict[str, RunData], monkeypatch: pytest.MonkeyPatch
) -> None:
    live = RunData(data["at-0"].info)
    live.layouts = dict(data["at-0"].layouts)
    rows = data["at-0"].columns("pretraining", "epochs")
    live.add_rows(RowsAdded("at-0", "pretraining", "epochs", {name: rows[name][:3] for name in rows}))
    page.choose(["at-0", "fdm-0"])
    fill(page, {**data, "at-0": live})
    accuracy, drawn = panels(page)[0], []
    monkeypatch.setattr(accuracy.curves[1], "set", lambda *_points: drawn.append(1))
    live.add_rows(RowsAdded("at-0", "pretraining", "epochs", {name: rows[name][3:5] for name in rows}))
    page.refresh()
    assert len(accuracy.curves[0].x) == 5
    assert drawn == []


def test_that_the_outcome_shows_trade_off_and_differing_settings(
    qtbot: QtBot, page: ComparePage, data: dict[str, RunData]
) -> None:
    page.choose(["at-0", "at-1", "fdm-0"])
    fill(page, data)
    page.spread.setCurrentIndex(page.spread.findData("interval"))
    qtbot.mouseClick(page.view_buttons["Outcome"], Qt.MouseButton.LeftButton)
    page.refresh()
    (plot,) = page.panels()
    assert sorted(plot.series()["cell"]) == ["at (2 seeds)", "fdm, seed 0"]
    rows = {row.place: row.values for row in page.differences.rows}
    assert rows["pretraining.method"] == ("Adversarial", "FDM (CARTL)")
    headers = [page.differences.headerData(column, Qt.Orientation.Horizontal) for column in range(3)]
    assert headers == ["Setting", "at (2 seeds)", "fdm, seed 0"]
    page.choose(["at-0"])
    assert page._same.text() == "Choose a second run to see in which settings they differ."
    assert page.table.isHidden()


def test_that_the_plots_of_the_page_make_one_figure_and_follow_the_theme(
    page: ComparePage, data: dict[str, RunData], qapp: QApplication
) -> None:
    page.choose(["at-0", "fdm-0"])
    fill(page, data)
    places = page.layout_of_panels()
    assert [panel for panel, _ in places] == list(panels(page))
    for _panel, box in places:
        assert 0 <= box.left() < box.right() <= 1 + 1e-9
        assert box.width() == pytest.approx(0.5, abs=0.02)
    assert places[1][1].left() > places[0][1].right()
    assert places[2][1].top() > places[0][1].bottom()
    panels(page)[2].maximise_button.click()
    ((alone, box),) = page.layout_of_panels()
    assert alone is panels(page)[2]
    assert (box.x(), box.y(), box.width(), box.height()) == (0, 0, 1, 1)
    panels(page)[2].maximise_button.click()
    qapp.setPalette(palette_of(DARK))
    qapp.setStyleSheet(style_sheet(DARK))
    QApplication.processEvents()
    page.refresh()
    assert panels(page)[0].colours is DARK
    assert page._entries[0]._colours is DARK


def test_that_runs_are_chosen_in_a_list_with_a_filter(qtbot: QtBot, page: ComparePage) -> None:
    page.choose(["fdm-1"])
    qtbot.mouseClick(page.choose_button, Qt.MouseButton.LeftButton)
    chooser = page._chooser
    assert chooser is not None
    assert chooser.ticked() == ["fdm-1"]
    assert chooser.list.item(0).data(Qt.ItemDataRole.UserRole) == "fdm-1"
    qtbot.keyClicks(chooser.filter, "seed 2")
    visible = [chooser.list.item(row) for row in range(6) if not chooser.list.item(row).isHidden()]
    assert len(visible) == 2
    visible[0].setCheckState(Qt.CheckState.Checked)
    assert set(page.runs_drawn()) == {"fdm-1", visible[0].data(Qt.ItemDataRole.UserRole)}
    chooser.none_button.click()
    assert page.runs_drawn() == []
    chooser.close()


# in the window --------------------------------------------------------------------------------------------
def test_that_runs_ticked_in_the_list_are_compared_in_the_window_and_the_choice_goes_back(
    window: MainWindow, session: ScriptedSession
) -> None:
    window.start_demo()
    session.step(8)
    drain(window)
    first, second = list(window.bridge.runs)[:2]
    press(window, "page_compare")
    drain(window)
    assert window.compare.empty.button.text().startswith("Compare the runs of")
    window.runs.set_shown([first, second], on=True)
    drain(window)
    assert window.compare.runs_drawn() == [first, second]
    accuracy = panels(window.compare)[0]
    before = len(accuracy.curves[0].x)
    session.step(12)
    drain(window)
    assert len(accuracy.curves[0].x) > before
    window.compare._chooser = None
    window.compare._runs_chosen([second])
    assert window.runs.shown_ids() == [second]
    assert window.shown.plot() is accuracy
    window.compare.time_choice.setCurrentIndex(1)
    window.compare.time_choice.activated.emit(1)
    assert window.live.grid.group.time_axis == window.layers.group.time_axis == "step"
    assert window.settings.time_axis == "step"
