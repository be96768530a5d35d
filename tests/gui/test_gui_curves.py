"""Curves: smoothing, legend, crosshair by mouse and keys, time axes, zoom and the way back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PySide6.QtCore import QPointF, Qt
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from cartl_gui.pages.live import LivePage
from cartl_gui.plots.accuracy import MOST_BARS, AccuracyPlot
from cartl_gui.plots.base import PlotPanel
from cartl_gui.plots.distance import DistancePlot
from cartl_gui.plots.legend import Legend, LegendEntry
from cartl_gui.plots.loss import LossPlot
from cartl_gui.plots.smoothing import Smoother, smooth
from cartl_gui.plots.spectral import SpectralPlot
from cartl_gui.plots.style import CurveStyle
from cartl_gui.run_data import MAX_POINTS, RunData
from cartl_gui.theme import DARK
from cartl_gui.timeline import Timeline
from engine.events import RowsAdded
from tests.gui.scripted_session import earlier_run
from tests.gui.scripted_training import STEPS_PER_EPOCH, layout_of, step_rows

EPOCHS = 12


@pytest.fixture(scope="module")
def data() -> RunData:
    info, record = earlier_run()
    found = RunData(info)
    found.absorb(record)
    return found


def shown(qtbot: QtBot, panel: PlotPanel, data: RunData) -> PlotPanel:
    qtbot.addWidget(panel)
    panel.resize(480, 320)
    panel.show()
    panel.show_run(data, "pretraining")
    QApplication.processEvents()
    return panel


def zoom(panel: PlotPanel, across: tuple[float, float], upward: tuple[float, float]) -> None:
    """What the rubber band of the mouse does."""
    panel.view.setRange(xRange=across, yRange=upward, padding=0)
    panel.view.sigRangeChangedManually.emit([True, True])


def long_run(steps: int) -> RunData:
    info, _record = earlier_run()
    found = RunData(info)
    layout = layout_of(info.config, "pretraining")
    found.start_stage(layout)
    rows = step_rows(layout, 0, steps, np.random.default_rng(0))
    found.add_rows(RowsAdded("x", "pretraining", "steps", rows))
    return found


# smoothing ------------------------------------------------------------------------------------------------
def smoothed_by_hand(values: list[float], weight: float) -> list[float]:
    """The definition, value by value: a weighted mean of all numbers so far."""
    result = []
    for end in range(len(values)):
        known = [value for value in values[: end + 1] if math.isfinite(value)]
        weights = [weight**age for age in reversed(range(len(known)))]
        mean = sum(w * v for w, v in zip(weights, known, strict=True)) / sum(weights) if known else math.nan
        result.append(mean if math.isfinite(values[end]) else math.nan)
    return result


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.9, 0.99])
def test_that_smoothing_is_the_weighted_mean_of_all_numbers_so_far(weight: float) -> None:
    values = np.random.default_rng(0).normal(3, 1, 300)
    values[[0, 7, 8, 200]] = math.nan, math.inf, math.nan, -math.inf
    assert smooth(values, weight) == pytest.approx(smoothed_by_hand(list(values), weight), nan_ok=True)


def test_that_smoothing_keeps_a_constant_and_starts_without_bias() -> None:
    assert smooth(np.full(5000, 2.5), 0.99) == pytest.approx(np.full(5000, 2.5))
    assert smooth(np.array([4.0, 0.0]), 0.5) == pytest.approx([4.0, 4 / 3])
    assert np.isnan(smooth(np.array([math.nan, math.nan]), 0.5)).all()
    assert len(smooth(np.empty(0), 0.5)) == 0


def test_that_a_curve_that_grows_is_smoothed_as_if_it_came_at_once_and_one_measured_again_anew() -> None:
    values = np.random.default_rng(1).normal(3, 1, 40_000)
    values[20_000:20_100] = math.nan
    smoother, whole = Smoother(0.97), smooth(values, 0.97)
    for length in (0, 3, 3, 200, 17_000, 20_050, 40_000):
        assert smoother.smooth(values[:length]) == pytest.approx(whole[:length], nan_ok=True)
    assert whole[-200:] == pytest.approx(smoothed_by_hand(list(values[-3000:]), 0.97)[-200:])
    again = values.copy()
    again[39_900:] += 1.0
    assert smoother.smooth(again) == pytest.approx(smooth(again, 0.97), nan_ok=True)
    assert smoother.smooth(again[:10]) == pytest.approx(smooth(again[:10], 0.97))


@pytest.mark.parametrize("weight", [1.0, -0.1, math.nan])
def test_that_a_weight_out_of_range_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="expected a weight from 0 up to but without 1"):
        smooth(np.ones(3), weight)


def test_that_a_smoothed_plot_says_so_and_keeps_what_was_measured_behind(qtbot: QtBot, data: RunData) -> None:
    panel = shown(qtbot, LossPlot(), data)
    qtbot.mouseClick(panel.smooth_button, Qt.MouseButton.LeftButton)
    popup = panel._popup
    assert popup is not None
    assert popup.isVisible()
    popup.slider.setValue(90)
    assert popup.number.value() == 0.9
    popup.close()
    assert panel.title == panel._heading.text() == "Loss terms, smoothed 0.9"
    loss = data.columns("pretraining", "steps")["loss"]
    total = panel.curves[0]
    assert total.item.getOriginalDataset()[1] == pytest.approx(smooth(loss, 0.9))
    assert total._raw.getOriginalDataset()[1] == pytest.approx(loss.astype(float))
    assert total._raw.opts["pen"].color().alpha() < total.item.opts["pen"].color().alpha()
    assert total.entry.value == f"{smooth(loss, 0.9)[-1]:.3g}"
    series = panel.series()
    assert series["loss"] == pytest.approx(loss)
    assert series["loss, smoothed 0.9"] == pytest.approx(smooth(loss, 0.9))
    twin = panel.twin()
    assert twin.title == "Loss terms, smoothed 0.9"
    twin.deleteLater()
    panel.set_smoothing(0.0)
    assert panel.title == panel._heading.text() == "Loss terms"
    assert len(total._raw.getData()[0] if total._raw.getData()[0] is not None else ()) == 0
    panel.close()


# legend ---------------------------------------------------------------------------------------------------
def test_that_a_curve_is_hidden_by_a_click_and_shown_alone_by_alt_double_click_or_enter(
    qtbot: QtBot, data: RunData
) -> None:
    panel = shown(qtbot, AccuracyPlot(), data)
    clean, robust, train = (curve.entry for curve in panel.curves)
    shown_now = lambda: [curve.item.isVisible() for curve in panel.curves]  # noqa: E731
    qtbot.mouseClick(robust, Qt.MouseButton.LeftButton)
    assert shown_now() == [True, False, True]
    qtbot.mouseClick(clean, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.AltModifier)
    assert shown_now() == [True, False, False]
    qtbot.keyClick(clean, Qt.Key.Key_Return)
    assert shown_now() == [True, True, True]
    qtbot.mouseClick(train, Qt.MouseButton.LeftButton)
    qtbot.mouseDClick(train, Qt.MouseButton.LeftButton)
    assert shown_now() == [False, False, True]
    panel.close()


def test_that_legend_entries_break_into_rows_before_a_name_is_cut(qtbot: QtBot) -> None:
    legend = Legend()
    qtbot.addWidget(legend)
    for name in ("cross-entropy", "λ·feature distance", "total"):
        entry = LegendEntry(name, CurveStyle(0))
        entry.set_value("0.0389")
        legend.add(entry)
    legend.resize(300, 60)
    legend.show()
    first, second, third = legend.entries()
    assert all(entry.width() == entry.sizeHint().width() for entry in legend.entries())
    assert second.y() > first.y()
    assert third.x() - second.geometry().right() == 9 or third.y() > second.y()
    tall = legend.minimumHeight()
    second.hide()
    assert legend.minimumHeight() < tall or third.y() > first.y()
    before = first.width()
    first.set_value("1.2")
    assert first.width() == before  # nothing moves while values change
    legend.resize(60, 60)
    assert first.width() < first.sizeHint().width()


def test_that_a_log_axis_says_how_many_values_it_does_not_show(qtbot: QtBot, data: RunData) -> None:
    columns = {name: values.copy() for name, values in data.columns("pretraining", "steps").items()}
    columns["loss"][10:13] = 0.0
    zeros = RunData(data.info)
    zeros.add_rows(RowsAdded("x", "pretraining", "steps", columns))
    panel = shown(qtbot, LossPlot(), zeros)
    assert panel._note.isHidden()
    panel.log_button.click()
    assert panel._note.text() == "3 values ≤ 0 not shown"
    panel.curves[0].entry.click()
    assert panel._note.isHidden()
    panel.close()


# time axes and crosshair ----------------------------------------------------------------------------------
def test_that_epochs_steps_and_time_follow_from_the_tables_of_the_run(data: RunData) -> None:
    line = Timeline.of(data, "pretraining")
    epochs = data.columns("pretraining", "epochs")
    for place, axis in ((3 * STEPS_PER_EPOCH, "step"), (float(epochs["seconds"][2]), "time"), (3.0, "epoch")):
        assert line.place(3.0, axis) == pytest.approx(place)
        assert line.epoch_at(place, axis) == pytest.approx(3.0)
    assert line.place(2.5, "time") == pytest.approx(epochs["seconds"][1:3].mean())
    assert line.place(14.0, "time") == pytest.approx(14 * 8.0)  # goes on at the pace of the last epoch
    assert line.end("step") == EPOCHS * STEPS_PER_EPOCH


def test_that_computing_time_is_unknown_until_an_epoch_has_ended(qtbot: QtBot) -> None:
    young = long_run(5)
    line = Timeline.of(young, "pretraining")
    assert not line.knows("time")
    assert math.isnan(float(line.place(0.2, "time")))
    panel = shown(qtbot, LossPlot(), young)
    panel.set_time_axis("time")
    assert panel.is_empty()
    assert panel._empty.text() == "Computing times are known after the first epoch."
    panel.set_time_axis("step")
    assert not panel.is_empty()
    assert list(panel.curves[0].x) == [0, 1, 2, 3, 4]
    panel.close()


@pytest.mark.parametrize(("axis", "told"), [("epoch", "epoch 5"), ("step", "step 100"), ("time", "40 s")])
def test_that_pointing_at_one_plot_reads_the_same_moment_on_all_plots_of_the_page(
    qtbot: QtBot, data: RunData, axis: str, told: str
) -> None:
    page = LivePage()
    qtbot.addWidget(page)
    page.resize(1000, 700)
    page.show()
    page.show_run(data)
    page.show_stage("pretraining")
    page.set_time_axis(axis)  # type: ignore[arg-type]
    page.refresh()
    QApplication.processEvents()
    place = {"epoch": 5.0, "step": 5.0 * STEPS_PER_EPOCH, "time": 40.0}[axis]
    page.accuracy._mouse_moved(page.accuracy.view.mapViewToScene(QPointF(place, 50)))
    clean = 100 * data.columns("pretraining", "epochs")["clean_accuracy"][4]
    assert page.accuracy.curves[0].entry.value == f"{clean:.1f} %"
    assert page.accuracy._pointed.text() == told
    for panel in (page.loss, page.distance):
        assert panel.crosshair.line.isVisible()
        assert panel.crosshair.position == pytest.approx(place, rel=0.02)
    assert page.spectral._note.text().startswith("bars: epoch 5")
    page.accuracy.group.point(page.accuracy, None)
    assert page.loss.crosshair.position is None
    assert page.spectral._note.text().startswith("bars: epoch 12")
    page.close()


def test_that_arrow_keys_move_the_crosshair_and_it_is_read_out(qtbot: QtBot, data: RunData) -> None:
    panel = shown(qtbot, AccuracyPlot(), data)
    press = lambda key: qtbot.keyClick(panel.widget, key)  # noqa: E731
    epochs = data.columns("pretraining", "epochs")
    for key, epoch in (
        (Qt.Key.Key_Right, 1), (Qt.Key.Key_Right, 2), (Qt.Key.Key_End, 12), (Qt.Key.Key_Left, 11), (Qt.Key.Key_Home, 1),
        (Qt.Key.Key_Left, 1),
    ):  # fmt: skip
        press(key)
        assert panel.crosshair.position == epoch
        values = {
            name: f"{100 * epochs[f'{name}_accuracy'][epoch - 1]:.1f} %"
            for name in ("clean", "robust", "train")
        }
        read = ", ".join(f"{name} {value}" for name, value in values.items())
        assert panel.widget.accessibleDescription() == f"epoch {epoch}: {read}"
    press(Qt.Key.Key_Escape)
    assert not panel.crosshair.line.isVisible()
    assert panel.widget.accessibleDescription() == ""
    panel.close()


def test_that_keys_cross_a_long_curve_in_a_few_hundred_steps(qtbot: QtBot) -> None:
    panel = shown(qtbot, LossPlot(), long_run(50_000))
    panel.set_time_axis("step")
    qtbot.keyClick(panel.widget, Qt.Key.Key_Home)
    qtbot.keyClick(panel.widget, Qt.Key.Key_Right)
    assert panel.crosshair.position == pytest.approx(50_000 / 200, rel=0.02)
    panel.close()


def test_that_a_curve_tells_no_value_where_it_has_ended(qtbot: QtBot, data: RunData) -> None:
    panel = shown(qtbot, AccuracyPlot(), data)
    curve = panel.curves[0]
    curve.set(np.array([1.0, 2.0, 3.0]), np.array([5.0, 6.0, 7.0]))
    assert [curve.value_at(at) for at in (0.2, 1.4, 2.6, 3.9)] == [5.0, 5.0, 7.0, 7.0]
    assert math.isnan(curve.value_at(4.5))
    assert math.isnan(curve.value_at(-0.5))
    panel.close()


def test_that_the_map_can_be_read_by_keys(qtbot: QtBot, data: RunData) -> None:
    panel = shown(qtbot, DistancePlot(), data)
    qtbot.keyClick(panel.widget, Qt.Key.Key_End)
    distance = data.columns("pretraining", "layers")["distance"]
    assert panel.crosshair.position == EPOCHS
    assert "epoch 12, block" in panel.widget.accessibleDescription()
    assert f"{distance[-1, 3]:.3g}"[:5] in panel.widget.accessibleDescription()
    panel.close()


# zoom -----------------------------------------------------------------------------------------------------
def test_that_a_zoom_goes_to_the_other_plots_over_time_and_back_again(qtbot: QtBot, data: RunData) -> None:
    page = LivePage()
    qtbot.addWidget(page)
    page.resize(1000, 700)
    page.show()
    page.show_run(data)
    page.show_stage("pretraining")
    page.refresh()
    whole = page.loss.view.viewRange()
    blocks = page.spectral.view.viewRange()
    assert page.accuracy.back_button.isHidden()
    zoom(page.accuracy, (2, 6), (10, 60))
    page.accuracy.group._last = None  # a second zoom, not the same turn of the wheel
    zoom(page.accuracy, (3, 4), (10, 60))
    for panel in (page.accuracy, page.loss, page.distance):
        assert panel.view.viewRange()[0] == pytest.approx([3, 4])
        assert panel.back_button.isVisible()
    assert page.spectral.view.viewRange() == blocks
    assert page.spectral.back_button.isHidden()
    qtbot.mouseClick(page.loss.back_button, Qt.MouseButton.LeftButton)
    assert page.distance.view.viewRange()[0] == pytest.approx([2, 6])
    qtbot.keyClick(page.distance.widget, Qt.Key.Key_Backspace)
    assert page.loss.view.viewRange() == whole
    assert page.loss.view_now().following
    assert page.accuracy.back_button.isHidden()
    zoom(page.accuracy, (3, 4), (10, 60))
    qtbot.keyClick(page.loss.widget, Qt.Key.Key_F)
    assert page.loss.view.viewRange() == whole
    assert page.accuracy.view_now().following
    page.close()


def test_that_a_zoomed_part_of_a_long_curve_is_drawn_in_all_detail(qtbot: QtBot) -> None:
    panel = shown(qtbot, LossPlot(), long_run(40_000))
    panel.set_time_axis("step")
    drawn = lambda: panel.curves[0].item.getOriginalDataset()[0]  # noqa: E731
    assert len(drawn()) == MAX_POINTS
    zoom(panel, (1000, 1100), (0, 5))
    assert set(range(1000, 1101)) <= set(drawn())
    panel.group.back(panel)
    assert len(drawn()) == MAX_POINTS
    assert drawn()[-1] > 39_000
    panel.close()


def epoch_rows(first: int, last: int) -> RowsAdded:
    """Accuracies and intervals that are told apart, of the epochs from `first` to `last`."""
    epoch = np.arange(first, last + 1)
    columns = {"epoch": epoch.astype(float), "step": 10 * epoch}
    for offset, name in ((0.0, "clean_accuracy"), (0.1, "robust_accuracy")):
        columns |= {name: 0.3 + offset + 1e-6 * epoch, f"{name}_errors": 0.01 + 1e-7 * epoch}
    return RowsAdded("x", "pretraining", "epochs", columns)


def test_that_of_many_intervals_some_are_drawn_as_measured_and_the_plot_says_how_many(qtbot: QtBot) -> None:
    run = long_run(10)
    run.add_rows(epoch_rows(1, 30_000))
    panel = shown(qtbot, AccuracyPlot(), run)
    assert isinstance(panel, AccuracyPlot)
    for column, bars in panel._bars.items():
        rows = np.searchsorted(panel.series()["epoch"], bars.opts["x"])
        assert len(rows) == MOST_BARS and (np.diff(rows) == 150).all()
        assert (bars.opts["y"] == panel.series()[f"{column} (%)"][rows]).all()
        assert bars.opts["height"] == pytest.approx(
            2 * panel.series()[f"{column} 95 % half width (%)"][rows], rel=1e-12
        )
    assert "one in 150 intervals drawn" in panel.caption()
    zoom(panel, (2000.5, 2100.5), (0, 100))
    assert list(panel._bars["clean_accuracy"].opts["x"]) == list(range(2001, 2101))
    assert "intervals" not in panel.caption()
    panel.group.back(panel)
    assert "one in 150 intervals drawn" in panel.caption()


def test_that_intervals_of_a_hidden_curve_stay_hidden_while_more_come(qtbot: QtBot) -> None:
    run = long_run(10)
    run.add_rows(epoch_rows(1, 5))
    panel = shown(qtbot, AccuracyPlot(), run)
    assert isinstance(panel, AccuracyPlot)
    panel.curves[0].entry.click()
    run.add_rows(epoch_rows(6, 7))
    panel.show_run(run, "pretraining")
    panel.recolour(DARK)
    assert [bars.isVisible() for bars in panel._bars.values()] == [False, True]
    assert len(panel._bars["clean_accuracy"].opts["x"]) == 7
    panel.curves[0].entry.click()
    assert all(bars.isVisible() for bars in panel._bars.values())


def test_that_ten_thousand_redraws_leave_nothing_behind(qtbot: QtBot) -> None:
    grown = long_run(100)
    panel = shown(qtbot, LossPlot(), grown)
    panel.set_smoothing(0.5)
    amount = len(panel.widget.scene().items()), len(panel.findChildren(object))
    curve = panel.curves[0]
    x = np.arange(50.0)
    for turn in range(10_000):
        curve.set(x, x + turn)
    assert (len(panel.widget.scene().items()), len(panel.findChildren(object))) == amount
    assert curve.item.getOriginalDataset()[1][-1] == smooth(x + 9999, 0.5)[-1]
    panel.close()


def test_that_bars_follow_a_moment_and_can_be_read_by_keys(qtbot: QtBot, data: RunData) -> None:
    panel = shown(qtbot, SpectralPlot(), data)
    panel.show_moment(2.2)
    qtbot.keyClick(panel.widget, Qt.Key.Key_End)
    norm = data.columns("pretraining", "layers")["spectral_norm"][1, 7]
    assert panel.widget.accessibleDescription().startswith(f"block 8 (classifier): {norm:#.3g}")
    panel.close()


@pytest.mark.filterwarnings("error")
def test_that_a_marked_curve_without_any_value_is_painted_without_a_warning(qtbot: QtBot) -> None:
    plot = AccuracyPlot()
    qtbot.addWidget(plot)
    plot.curves[0].set(np.arange(3.0), np.full(3, np.nan))
    plot.resize(400, 300)
    plot._show_empty(False)
    plot.show()
    plot.widget.grab()
    assert plot.is_empty()
    assert plot.curves[0].item.getData() == (None, None)
