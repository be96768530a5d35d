"""The script that redraws a figure draws the numbers of the plots, as the plots do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QRectF
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from cartl_gui.layers_view import QUANTITIES, Question
from cartl_gui.pages.compare_page import ComparePage
from cartl_gui.plots.accuracy import AccuracyPlot
from cartl_gui.plots.band import BandPlot
from cartl_gui.plots.base import PlotPanel
from cartl_gui.plots.classes import ClassesPlot
from cartl_gui.plots.distance import DistancePlot
from cartl_gui.plots.export import Origin, render_csv, whole
from cartl_gui.plots.figure import FigureStyle, Place
from cartl_gui.plots.histogram import BINS, HistogramPlot
from cartl_gui.plots.loss import LossPlot
from cartl_gui.plots.marks import lines_of
from cartl_gui.plots.mosaic import MosaicPlot
from cartl_gui.plots.redraw import can_redraw, script
from cartl_gui.plots.spectral import SpectralPlot
from cartl_gui.plots.sweep import SweepPlot
from cartl_gui.plots.trade_off import TradeOffPlot
from cartl_gui.run_data import RunData
from cartl_gui.selection import Place as LayerPlace
from engine.config import StageName
from engine.results import results_of
from tests.engine.study_results import by_id, study_of_two_lines
from tests.gui.drawn_by_script import Axes, Drawn, draw
from tests.gui.gui_helpers import data_of
from tests.gui.scripted_session import earlier_run
from tests.gui.test_gui_compare import fill, runs_of_seeds
from tests.gui.test_gui_compare import panels as compared
from tests.gui.test_gui_sweep import BOTH, played


@pytest.fixture(scope="module")
def data() -> RunData:
    return data_of(*earlier_run())


Shown = Callable[..., PlotPanel]


@pytest.fixture
def shown(qtbot: QtBot, data: RunData) -> Shown:
    def show(
        kind: type[PlotPanel], stage: StageName = "pretraining", run: RunData | None = None
    ) -> PlotPanel:
        panel = kind()
        qtbot.addWidget(panel)
        panel.resize(480, 320)
        panel.show_run(run or data, stage)
        return panel

    return show


def redrawn(folder: Path, places: list[Place], style: FigureStyle | None = None, *arguments: str) -> Drawn:
    """Write numbers and script, and run it."""
    panels = [panel for panel, _share in places]
    tables = [f"numbers-{number}.csv" for number in range(len(panels))]
    for name, panel in zip(tables, panels, strict=True):
        (folder / name).write_bytes(render_csv(panel))
    path = folder / "figure.py"
    text = script(places, style or FigureStyle(), name=path.name, tables=tables, origin=Origin.of(panels))
    path.write_text(text, encoding="utf-8")
    return draw(path, *arguments)


def alone(folder: Path, panel: PlotPanel, style: FigureStyle | None = None) -> Axes:
    (axes,) = redrawn(folder, whole(panel), style).axes
    return axes


def same(found: object, expected: object) -> bool:
    """Whether numbers read from a table are those written, which may be of single precision."""
    return np.allclose(np.asarray(found, float), np.asarray(expected, float), equal_nan=True, rtol=1e-7)


def test_that_curves_have_their_numbers_looks_and_names(shown: Shown, tmp_path: Path) -> None:
    panel = shown(AccuracyPlot)
    axes, series = alone(tmp_path, panel), panel.series()
    assert len(axes.all("plot")) == 3
    for ((x, y), options), curve in zip(axes.all("plot"), panel.curves, strict=True):
        assert same(x, series["epoch"]) and same(y, curve.y)
        assert options["label"] == curve.name
        assert options.get("linestyle", (0, ()))[1] == curve.style.dashes
    assert [options["color"] for _, options in axes.all("plot")] == ["#0072b2", "#d55e00", "#009e73"]
    for (_x, y), options in axes.all("errorbar"):
        name = next(name for name in series if same(series[name], y))
        assert same(options["yerr"], series[name.replace(" (%)", " 95 % half width (%)")])
    assert axes.one("set_xlabel") == ("epoch",) and axes.one("set_ylabel") == ("accuracy (%)",)
    left, right, bottom, top = panel.view_now().span
    assert axes.one("set_xlim") == (left, right) and axes.one("set_ylim") == (bottom, top)
    assert axes.one("set_title") == ("Accuracy",)


def test_that_hidden_curves_stay_hidden_and_dashes_can_tell_the_rest_apart(
    shown: Shown, tmp_path: Path
) -> None:
    panel = shown(LossPlot)
    panel.curves[1].entry.click()
    drawn = alone(tmp_path, panel, FigureStyle(distinct=True)).all("plot")
    assert [options["label"] for _, options in drawn] == [panel.curves[0].name, panel.curves[2].name]
    assert len({options.get("linestyle") for _, options in drawn}) == 2


def test_that_a_logarithmic_axis_and_smoothing_are_redrawn_and_said(shown: Shown, tmp_path: Path) -> None:
    panel = shown(LossPlot)
    panel.set_log(True)
    panel.set_smoothing(0.9)
    axes = alone(tmp_path, panel)
    assert axes.one("set_yscale") == ("log",)
    pale = [arguments for arguments, options in axes.all("plot") if "alpha" in options]
    strong = [arguments for arguments, options in axes.all("plot") if "alpha" not in options]
    for curve, raw, smoothed in zip(panel.curves, pale, strong, strict=True):
        assert same(raw[1], curve.y) and same(smoothed[1], curve.averaged)
        assert not same(raw[1], smoothed[1])
    assert "smoothed 0.9" in axes.one("set_title")[0]
    low, high = axes.one("set_ylim")
    assert np.log10([low, high]) == pytest.approx(panel.view_now().span[2:], rel=1e-4)


@pytest.mark.parametrize("log", [False, True])
def test_that_a_heat_map_is_an_image_with_its_colour_scale(shown: Shown, tmp_path: Path, log: bool) -> None:
    panel = shown(DistancePlot)
    assert isinstance(panel, DistancePlot)
    panel.set_log(log)
    drawn = redrawn(tmp_path, whole(panel))
    (axes,) = drawn.axes
    (((x, y, values), options),) = axes.all("pcolormesh")
    series = list(panel.series().values())
    assert same(values, np.stack(series[-8:]))
    assert same((x[1:] + x[:-1]) / 2, series[0])
    assert same(y, np.arange(9) + 0.5)
    limits = options["norm"][1] if log else options
    levels = panel.image.getLevels()
    assert (limits["vmin"], limits["vmax"]) == pytest.approx(10.0**levels if log else levels)
    assert drawn.bars == [panel.title]
    assert {arguments for arguments, _ in axes.all("axhline")} == {(4.5,)}


def test_that_bars_and_marks_are_rows_of_the_table(shown: Shown, tmp_path: Path) -> None:
    panel = shown(SpectralPlot)
    axes = alone(tmp_path, panel)
    table = np.stack(list(panel.series().values())[1:], axis=1)
    assert same(axes.one("bar")[1], table[-1])
    assert same(axes.one("plot")[1], table[0])
    assert panel.caption() in axes.one("annotate")


def test_that_bars_by_class_stand_beside_each_other(shown: Shown, tmp_path: Path) -> None:
    panel = shown(ClassesPlot, "attack", played(BOTH))
    axes, series = alone(tmp_path, panel), panel.series()
    for ((x, y), options), shift, name in zip(axes.all("bar"), (-0.2, 0.2), ("clean", "robust"), strict=True):
        assert same(x, series["class"] + shift) and same(y, series[f"{name}_accuracy (%)"])
        assert options["label"] == name


def test_that_a_histogram_counts_the_same_images(shown: Shown, tmp_path: Path) -> None:
    panel = HistogramPlot()
    panel.question = Question(QUANTITIES[0], "layer", place=LayerPlace("layer", 9))
    source = shown(LossPlot)._source
    panel.show_run(*source)
    axes = alone(tmp_path, panel)
    ((arguments, options),) = axes.all("hist")
    counts = [np.histogram(part, options["bins"])[0] for part in arguments[0]]
    assert len(options["bins"]) == BINS + 1
    assert same(np.stack(counts), panel._counts) and panel._counts.sum() > 0
    panel.deleteLater()


def test_that_a_band_lies_between_its_curves(shown: Shown, tmp_path: Path) -> None:
    panel = BandPlot()
    panel.question = Question(QUANTITIES[0], "layer", place=LayerPlace("layer", 9))
    panel.show_run(*shown(LossPlot)._source)
    axes, series = alone(tmp_path, panel), panel.series()
    (((x, low, high), _options),) = axes.all("fill_between")
    columns = list(series.values())
    assert same(x, columns[0])
    assert any(same(low, column) for column in columns) and any(same(high, column) for column in columns)
    assert (np.asarray(low) <= np.asarray(high)).all()
    panel.deleteLater()


@pytest.mark.parametrize("axis", ["epsilon", "steps"])
def test_that_a_sweep_has_the_axis_that_is_shown(shown: Shown, tmp_path: Path, axis: str) -> None:
    panel = shown(SweepPlot, "attack", played(BOTH))
    assert isinstance(panel, SweepPlot)
    panel.set_axis(axis)
    axes, series = alone(tmp_path, panel), panel.series()
    (x, y), options = axes.all("plot")[0]
    expected = series["steps"] if axis == "steps" else 255 * series["epsilon (input units)"]
    assert same(x, expected) and same(y, series["accuracy (%)"])
    assert options["label"] == "robust"
    assert bool(axes.all("set_xscale")) == (axis == "steps")
    (_, y_of_bars), bars = axes.all("errorbar")[0]
    assert same(y_of_bars - bars["yerr"][0], series["95 % low (%)"])


def test_that_a_trade_off_joins_the_cells_of_each_line(qtbot: QtBot, tmp_path: Path) -> None:
    runs = study_of_two_lines(seeds=[0, 1, 2])
    (evaluation,) = results_of(runs, by_id(runs)).evaluations
    panel = TradeOffPlot()
    qtbot.addWidget(panel)
    panel.show_evaluation(evaluation)
    axes = alone(tmp_path, panel)
    drawn = {options["label"]: arguments for arguments, options in axes.all("plot")}
    for line in evaluation.lines:
        x, y = drawn[line.name]
        assert same(x, [100 * cell.clean.mean for cell in line.cells])
        assert same(y, [100 * cell.robust.mean for cell in line.cells])
    front, _ = drawn["Pareto front"]
    assert len(front) == len(evaluation.front) and (np.diff(front) > 0).all()
    labels = [arguments[0] for arguments, _ in axes.all("annotate")]
    assert labels == [f"k={cell.k}" for line in evaluation.lines for cell in line.cells]
    assert {run.id for run in panel.runs()} <= {run.id for run in runs} and panel.runs()


def test_that_a_page_is_one_figure_with_a_table_for_each_plot(shown: Shown, tmp_path: Path) -> None:
    left, right = shown(AccuracyPlot), shown(LossPlot)
    places = [(left, QRectF(0, 0, 0.5, 1)), (right, QRectF(0.5, 0, 0.5, 1))]
    drawn = redrawn(tmp_path, places, FigureStyle(174, 60), "figure.pdf")
    assert drawn.size == pytest.approx((174 / 25.4, 60 / 25.4))
    assert [axes.one("set_title")[0] for axes in drawn.axes] == ["(a) Accuracy", "(b) Loss terms"]
    assert same(drawn.axes[1].all("plot")[0][0][1], right.series()["loss"])
    assert drawn.saved == "figure.pdf"
    assert drawn.settings["font.family"] == "sans-serif"
    text = (tmp_path / "figure.py").read_text(encoding="utf-8")
    (run,) = left.runs()
    assert run.id in text and "config.toml SHA-256" in text


def test_that_texts_of_users_stay_texts_in_the_script(shown: Shown, tmp_path: Path) -> None:
    panel = shown(AccuracyPlot)
    evil = 'x"""\nimport os; os.abort()  # \\'
    panel.title = evil
    panel.curves[0].name = evil
    axes = alone(tmp_path, panel)
    assert axes.all("plot")[0][1]["label"] == evil
    assert "".join(axes.one("set_title")[0].split()) == "".join(evil.split())


def test_that_what_is_no_drawing_of_numbers_has_no_script(qtbot: QtBot, shown: Shown) -> None:
    mosaic, panel = MosaicPlot(), shown(AccuracyPlot)
    qtbot.addWidget(mosaic)
    assert not can_redraw([mosaic]) and not can_redraw([panel, mosaic]) and can_redraw([panel])
    assert lines_of(panel.curves, {"epoch": panel.series()["epoch"]}) is None
    QApplication.processEvents()


def test_that_means_over_seeds_are_redrawn_with_their_bands(qtbot: QtBot, tmp_path: Path) -> None:
    infos, records = runs_of_seeds()
    page = ComparePage()
    qtbot.addWidget(page)
    page.resize(900, 500)
    page.show()
    page.know_runs(infos, "Two methods")
    found = {key: data_of(record.run, record) for key, record in records.items()}
    page.choose(list(infos))
    fill(page, found)
    page.spread.setCurrentIndex(page.spread.findData("range"))
    page.spread.activated.emit(1)
    page.refresh()
    panel = next(panel for panel in compared(page) if not panel.is_empty())
    axes, columns = alone(tmp_path, panel), list(panel.series().values())
    shown = [curve for curve in panel.curves if curve.is_shown and curve.has_values()]
    assert len(shown) > 1 and {run.id for run in panel.runs()} <= infos.keys()
    for ((_x, y), options), curve in zip(axes.all("plot"), shown, strict=True):
        assert same(y[: len(curve.y)], curve.y) and options["label"] == curve.name
    bands = axes.all("fill_between")
    assert bands
    for (_x, low, high), _options in bands:
        for end in (low, high):
            assert any(same(end, column) for column in columns)
    _accuracy, distance, loss, _norms = compared(page)
    for panel in (distance, loss):
        axes = alone(tmp_path, panel)
        shown = [curve for curve in panel.curves if curve.is_shown and curve.has_values()]
        for (_points, options), curve in zip(axes.all("plot"), shown, strict=True):
            assert ("marker" in options) == (curve.item.opts["symbol"] is not None), "as many marks as shown"
    assert not any("marker" in options for _points, options in axes.all("plot"))
    (caption,) = alone(tmp_path, distance).all("annotate")
    assert caption[0][0].startswith("newest") and caption[1]["xytext"][1] > 1.5 * FigureStyle().points
    page.close()
