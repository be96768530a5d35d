"""Plots: what they draw, what they export, and their colours."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QObject, QPointF
from PySide6.QtGui import QColor, QImage, QPainter, QPaintEvent, QRegion
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from cartl_gui.plots.accuracy import AccuracyPlot
from cartl_gui.plots.area import MOST_PLACES, area_between
from cartl_gui.plots.base import CurveStyle, PlotPanel, nice_top
from cartl_gui.plots.classes import ClassesPlot
from cartl_gui.plots.distance import DistancePlot
from cartl_gui.plots.loss import LossPlot
from cartl_gui.plots.spectral import SpectralPlot
from cartl_gui.run_data import MAX_POINTS, RunData, column_edges, decimate
from cartl_gui.theme import DARK, LIGHT, palette_of
from engine.config import StageName
from engine.events import RowsAdded
from tests.gui.figures import export, render_pdf, render_png, render_svg
from tests.gui.gui_helpers import data_of
from tests.gui.scripted_layers import layer_rows
from tests.gui.scripted_session import earlier_run
from tests.gui.scripted_training import layout_of, sample_rows, step_rows

PLOTS: tuple[tuple[type[PlotPanel], StageName], ...] = (
    (AccuracyPlot, "pretraining"),
    (LossPlot, "pretraining"),
    (DistancePlot, "pretraining"),
    (SpectralPlot, "pretraining"),
    (ClassesPlot, "attack"),
)
each_plot = pytest.mark.parametrize(("kind", "stage"), PLOTS)


@pytest.fixture
def data() -> RunData:
    return data_of(*earlier_run())


def shown(qtbot: QtBot, kind: type[PlotPanel], data: RunData | None, stage: StageName) -> PlotPanel:
    panel = kind()
    qtbot.addWidget(panel)
    panel.resize(480, 320)
    panel.show()
    panel.show_run(data, stage)
    QApplication.processEvents()
    return panel


def zoom(panel: PlotPanel, across: tuple[float, float], upward: tuple[float, float]) -> None:
    """What the rubber band of the mouse does."""
    panel.view.setRange(xRange=across, yRange=upward, padding=0)
    panel.view.sigRangeChangedManually.emit([True, True])


def blank() -> RunData:
    info, _record = earlier_run()
    return RunData(info)


@each_plot
def test_that_an_empty_plot_says_what_will_appear(
    qtbot: QtBot, kind: type[PlotPanel], stage: StageName
) -> None:
    panel = shown(qtbot, kind, blank(), stage)
    assert panel.is_empty()
    assert panel._empty.isVisible()
    assert "appear" in panel._empty.text()
    assert not panel.export_button.isEnabled()
    panel.close()


@each_plot
def test_that_one_point_is_drawn(
    qtbot: QtBot, kind: type[PlotPanel], stage: StageName, data: RunData
) -> None:
    single = RunData(data.info)
    single.layouts = dict(data.layouts)
    for table in ("steps", "epochs", "layers", "samples"):
        columns = data.columns(stage, table)  # type: ignore[arg-type]
        if columns:
            single.add_rows(RowsAdded("x", stage, table, {k: v[:1] for k, v in columns.items()}))  # type: ignore[arg-type]
    panel = shown(qtbot, kind, single, stage)
    assert not panel.is_empty()
    assert all(len(values) == 1 for values in panel.series().values())
    panel.close()


@each_plot
def test_that_values_that_are_no_numbers_leave_a_gap(
    qtbot: QtBot, kind: type[PlotPanel], stage: StageName, data: RunData
) -> None:
    if kind is ClassesPlot:
        pytest.skip("its columns are counts")
    broken = RunData(data.info)
    broken.layouts = dict(data.layouts)
    for table in ("steps", "epochs", "layers"):
        columns = {k: v.copy() for k, v in data.columns(stage, table).items()}  # type: ignore[arg-type]
        for name, values in columns.items():
            if values.dtype.kind == "f" and name != "epoch":
                values[2:4] = np.nan
                values[5:6] = np.inf
        broken.add_rows(RowsAdded("x", stage, table, columns))  # type: ignore[arg-type]
    panel = shown(qtbot, kind, broken, stage)
    panel.set_log(True)
    panel.grab()
    assert not panel.is_empty()
    panel.close()


def test_that_a_hundred_thousand_steps_are_drawn_with_few_points_and_kept_in_full(qtbot: QtBot) -> None:
    data = blank()
    layout = layout_of(data.info.config, "pretraining")
    data.start_stage(layout)
    random = np.random.default_rng(0)
    data.add_rows(RowsAdded("x", "pretraining", "steps", step_rows(layout, 0, 100_000, random)))
    panel = shown(qtbot, LossPlot, data, "pretraining")
    assert all(len(curve.item.getData()[0]) <= MAX_POINTS for curve in panel.curves)
    assert len(panel.series()["loss"]) == 100_000
    peak = float(np.nanmax(panel.series()["loss"]))
    assert np.nanmax(panel.curves[0].item.getData()[1]) == pytest.approx(peak)
    panel.close()


class Repaints(QObject):
    """The areas of a widget that are painted."""

    def __init__(self, watched: QWidget) -> None:
        super().__init__(watched)
        self.areas: list[QRegion] = []
        watched.installEventFilter(self)

    def eventFilter(self, _watched: QObject, event: QEvent) -> bool:  # noqa: N802
        if isinstance(event, QPaintEvent):
            self.areas.append(event.region())
        return False


def test_that_an_axis_that_grows_leaves_nothing_of_its_old_place_behind(qtbot: QtBot, data: RunData) -> None:
    panel = shown(qtbot, AccuracyPlot, data, "pretraining")
    viewport = panel.widget.viewport()
    qtbot.wait(100)  # until the first paintings are over
    painted = Repaints(viewport)
    panel.plot.getAxis("left").setWidth(70)
    qtbot.waitUntil(lambda: QRegion(viewport.rect()) in painted.areas, timeout=2000)


def test_that_a_title_longer_than_its_axis_is_left_out_and_comes_back(qtbot: QtBot, data: RunData) -> None:
    panel = shown(qtbot, SpectralPlot, data, "pretraining")
    label = panel.plot.getAxis("left").label
    for height, fits in ((420, True), (180, False), (420, True)):
        panel.resize(480, height)
        qtbot.waitUntil(lambda fits=fits: label.isVisible() == fits, timeout=2000)  # type: ignore[misc]
        assert (label.boundingRect().width() <= panel.view.height() + 12) == fits


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-2.0, 0.4), (-8.0, 3.0), (0.42, 0.48)])
@pytest.mark.parametrize("size", [90.0, 300.0])
def test_that_numbers_of_a_logarithmic_axis_never_crowd(
    qtbot: QtBot, data: RunData, low: float, high: float, size: float
) -> None:
    axis = shown(qtbot, LossPlot, data, "pretraining").plot.getAxis("left")
    ((_spacing, places),) = axis.logTickValues(low, high, size, ())
    assert all(low <= place <= high for place in places)
    gaps = np.diff(places) * size / (high - low)
    assert (gaps >= axis.style["tickFont"].pixelSize()).all()
    assert len(places) >= 2 or high - low < 0.1


def test_that_the_last_number_of_an_axis_that_ends_there_is_written(qtbot: QtBot, data: RunData) -> None:
    panel = shown(qtbot, AccuracyPlot, data, "pretraining")
    axis = panel.plot.getAxis("bottom")
    axis.setTicks([[(0.0, "0"), (10.0, "10")]])
    panel.view.setRange(xRange=(0, 10), padding=0)
    qtbot.wait(100)
    paper = QImage(480, 320, QImage.Format.Format_RGB32)
    painter = QPainter(paper)
    _line, _ticks, texts = axis.generateDrawSpecs(painter)
    painter.end()
    assert [text for _rect, _flags, text in texts] == ["0", "10"]


def test_that_thinning_out_keeps_extremes_and_gaps() -> None:
    x = np.arange(50_000)
    y = np.sin(x / 500)
    y[31_234], y[100:1000] = 9.0, np.nan
    thin_x, thin_y = decimate(x, y)
    assert len(thin_x) == len(thin_y) <= MAX_POINTS
    assert np.nanmax(thin_y) == 9.0
    assert np.nanmin(thin_y) == np.nanmin(y)
    assert np.isnan(thin_y[(thin_x > 150) & (thin_x < 950)]).all()
    assert (np.diff(thin_x) >= 0).all()


def test_that_the_outline_of_a_long_area_has_few_places_and_leaves_out_no_extreme_and_no_gap() -> None:
    x = np.arange(100_000.0)
    low = np.random.default_rng(0).normal(0, 1, len(x))
    high = low + 1.0
    low[31_234], high[72_345], low[40_000:50_000] = -9.0, 9.0, np.nan
    path = area_between(x, low, high, 0.1)
    assert path.elementCount() <= 2 * MOST_PLACES + 2
    assert (path.boundingRect().top(), path.boundingRect().bottom()) == (-9.0, 9.0)
    assert path.contains(QPointF(30_000, 0.5)) and path.contains(QPointF(60_000, 0.5))
    assert not path.contains(QPointF(45_000, 0.5))


def test_that_a_dashed_curve_is_drawn_with_fewer_points_than_a_solid_one(qtbot: QtBot) -> None:
    panel = AccuracyPlot()
    qtbot.addWidget(panel)
    curve = panel.add_curve("long", CurveStyle(0))
    x = np.arange(50_000)
    curve.set(x, np.where(x == 31_234, 9.0, np.sin(x / 500)))
    solid = len(curve.item.getData()[0])
    curve.restyle(CurveStyle(0, dashes=(4, 3)))
    dashed = len(curve.item.getData()[0])
    assert 10 < dashed <= 400 < solid <= MAX_POINTS
    assert curve.item.getData()[1].max() == 9.0


def test_that_a_short_curve_is_left_as_it_is() -> None:
    x, y = decimate(np.arange(10), np.arange(10.0))
    assert np.array_equal(x, np.arange(10))
    assert np.array_equal(y, np.arange(10.0))


def test_that_rows_measured_again_after_a_resume_replace_the_old_ones() -> None:
    data = blank()
    layout = layout_of(data.info.config, "pretraining")
    random = np.random.default_rng(0)
    for first in (0, 10, 10, 20):
        data.add_rows(RowsAdded("x", "pretraining", "steps", step_rows(layout, first, 10, random)))
    assert np.array_equal(data.columns("pretraining", "steps")["step"], np.arange(30))


def test_that_rows_of_files_are_not_copied_and_stay_as_they_are_where_they_are_measured_again() -> None:
    info, record = earlier_run()
    data = data_of(info, record)
    held = record.tables["pretraining"]["steps"]["loss"]
    before = held.copy()
    assert np.shares_memory(data.columns("pretraining", "steps")["loss"], held)
    again = step_rows(layout_of(info.config, "pretraining"), 3, 4, np.random.default_rng(1))
    data.add_rows(RowsAdded("x", "pretraining", "steps", again))
    assert np.array_equal(data.columns("pretraining", "steps")["loss"], [*before[:3], *again["loss"]])
    assert np.array_equal(held, before)


def test_that_files_and_live_rows_are_joined_without_doubles() -> None:
    info, record = earlier_run()
    data = RunData(info)
    layout = layout_of(info.config, "pretraining")
    last = int(record.tables["pretraining"]["steps"]["step"][-1])
    data.add_rows(
        RowsAdded("x", "pretraining", "steps", step_rows(layout, last - 4, 10, np.random.default_rng(1)))
    )
    data.absorb(record)
    assert np.array_equal(data.columns("pretraining", "steps")["step"], np.arange(last + 6))


def test_that_accuracy_is_shown_in_percent_with_its_interval(qtbot: QtBot, data: RunData) -> None:
    panel = shown(qtbot, AccuracyPlot, data, "pretraining")
    stored = data.columns("pretraining", "epochs")
    series = panel.series()
    assert np.allclose(series["robust_accuracy (%)"], 100 * stored["robust_accuracy"])
    assert np.allclose(series["robust_accuracy 95 % half width (%)"], 100 * stored["robust_accuracy_errors"])
    panel.close()


def test_that_a_penalty_of_zero_is_left_out_of_the_loss(qtbot: QtBot, data: RunData) -> None:
    plain = RunData(data.info)
    columns = dict(data.columns("pretraining", "steps"))
    columns["penalty"] = np.zeros_like(columns["penalty"])
    plain.add_rows(RowsAdded("x", "pretraining", "steps", columns))
    panel = shown(qtbot, LossPlot, plain, "pretraining")
    assert list(panel.series()) == ["epoch", "step", "loss"]
    panel.close()


def test_that_the_heat_map_holds_the_distances_and_the_boundary(qtbot: QtBot, data: RunData) -> None:
    panel = shown(qtbot, DistancePlot, data, "pretraining")
    assert isinstance(panel, DistancePlot)
    distance = data.columns("pretraining", "layers")["distance"]
    assert np.allclose(panel.image.image, distance.T)
    assert panel.image.getLevels() == pytest.approx([distance.min(), distance.max()])
    assert panel._boundary.value() == 4.5
    assert panel.remark() == "dashed: blocks 1–4 will be frozen"
    assert "block 3" in panel.describe(2.2, 3.3)
    panel.close()


def test_that_measurements_at_uneven_times_lie_at_their_epochs(qtbot: QtBot) -> None:
    data = blank()
    layout = layout_of(data.info.config, "pretraining")
    random = np.random.default_rng(0)
    rows = [layer_rows(layout, epoch, random) for epoch in (1, 2, 3)]
    columns = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    columns["epoch"] = np.array([1.0, 1.5, 3.0])
    columns["distance"][:] = np.array([[1.0], [2.0], [3.0]])
    data.add_rows(RowsAdded("x", "pretraining", "layers", columns))
    panel = shown(qtbot, DistancePlot, data, "pretraining")
    assert isinstance(panel, DistancePlot)
    edges = column_edges(columns["epoch"])
    image, width = panel.image.image, panel.image.image.shape[1]
    for epoch, value in zip(columns["epoch"], (1.0, 2.0, 3.0), strict=True):
        column = int((epoch - edges[0]) / (edges[-1] - edges[0]) * width)
        assert image[0, column] == value
    panel.close()


def test_that_frozen_and_trained_blocks_and_the_bound_are_told_apart(qtbot: QtBot, data: RunData) -> None:
    config = data.info.config.model_copy(
        update={"finetuning": layout_config(), "target": data.info.config.source}
    )
    from dataclasses import replace

    tuned = RunData(replace(data.info, config=config))
    layout = layout_of(config, "finetuning")
    tuned.start_stage(layout)
    tuned.add_rows(RowsAdded("x", "finetuning", "layers", layer_rows(layout, 1, np.random.default_rng(0))))
    panel = shown(qtbot, SpectralPlot, tuned, "finetuning")
    assert isinstance(panel, SpectralPlot)
    assert list(panel._frozen.opts["x"]) == [1, 2, 3, 4]
    assert list(panel._trained.opts["x"]) == [5, 6, 7, 8]
    assert panel._bound.value() == 0.4
    assert panel._bound_text.toPlainText() == "bound β = 0.4"
    panel.set_log(True)
    assert panel._bound.value() == pytest.approx(np.log10(0.4))
    panel.close()


def layout_config() -> object:
    from engine.config import FinetuningConfig

    return FinetuningConfig(method="neft", spectral_bound=0.4)


def test_that_bars_by_class_count_the_samples(qtbot: QtBot) -> None:
    data = blank()
    rows = sample_rows(0, 200, np.random.default_rng(3))
    data.add_rows(RowsAdded("x", "attack", "samples", rows))
    panel = shown(qtbot, ClassesPlot, data, "attack")
    series = panel.series()
    assert series["images"].sum() == 200
    of_class = rows["label"] == 4
    assert series["robust_accuracy (%)"][4] == pytest.approx(100 * rows["robust"][of_class].mean())
    panel.close()


def test_that_values_of_zero_leave_a_gap_on_a_log_axis(qtbot: QtBot, data: RunData) -> None:
    columns = {name: values.copy() for name, values in data.columns("pretraining", "steps").items()}
    columns["loss"][10:20] = 0.0
    zeros = RunData(data.info)
    zeros.add_rows(RowsAdded("x", "pretraining", "steps", columns))
    panel = shown(qtbot, LossPlot, zeros, "pretraining")
    panel.log_button.setChecked(True)
    drawn = panel.curves[0].item.getOriginalDataset()[1]
    assert np.isnan(drawn[10:20]).all()
    assert np.isfinite(drawn[:10]).all()
    panel.close()


def test_that_a_legend_entry_hides_its_curve(qtbot: QtBot, data: RunData) -> None:
    panel = shown(qtbot, AccuracyPlot, data, "pretraining")
    panel.curves[1].entry.click()
    assert not panel.curves[1].item.isVisible()
    panel.curves[1].entry.click()
    assert panel.curves[1].item.isVisible()
    panel.close()


def test_that_the_crosshair_reads_the_values_at_its_epoch(qtbot: QtBot, data: RunData) -> None:
    panel = shown(qtbot, AccuracyPlot, data, "pretraining")
    panel._mouse_moved(panel.view.mapViewToScene(QPointF(3.1, 50)))
    assert panel.crosshair.position == pytest.approx(3.1, abs=0.1)
    clean = 100 * data.columns("pretraining", "epochs")["clean_accuracy"]
    assert panel.curves[0].entry.value == f"{clean[2]:.1f} %"
    assert panel._pointed.text() == "epoch 3"
    panel.point_at(None)
    assert panel.curves[0].entry.value == f"{clean[-1]:.1f} %"
    panel.close()


def test_that_a_zoomed_plot_stays_until_everything_is_asked_for(qtbot: QtBot, data: RunData) -> None:
    panel = shown(qtbot, AccuracyPlot, data, "pretraining")
    zoom(panel, (2, 4), (10, 20))
    rows = {name: values[-1:] for name, values in data.columns("pretraining", "epochs").items()}
    data.add_rows(RowsAdded("x", "pretraining", "epochs", rows | {"epoch": rows["epoch"] + 1}))
    panel.show_run(data, "pretraining")
    assert len(panel.curves[0].x) == 13
    assert panel.view.viewRange()[0] == pytest.approx([2, 4])
    panel.fit_action.trigger()
    assert panel.view.viewRange()[1] == pytest.approx([0, 100])
    panel.close()


@each_plot
def test_that_csv_equals_the_data_shown(
    qtbot: QtBot, kind: type[PlotPanel], stage: StageName, data: RunData, tmp_path: Path
) -> None:
    panel = shown(qtbot, kind, data, stage)
    export(panel, tmp_path / "plot.csv")
    rows = list(csv.reader(io.StringIO((tmp_path / "plot.csv").read_text())))
    series = panel.series()
    assert rows[0] == list(series)
    for column, values in enumerate(series.values()):
        read = np.array([float(row[column]) if row[column] else np.nan for row in rows[1:]])
        assert np.array_equal(read.astype(values.dtype), values, equal_nan=values.dtype.kind == "f")
        assert all(len(row[column]) <= 13 for row in rows[1:] if values.dtype == np.float32)
    panel.close()


@each_plot
def test_that_a_png_has_the_asked_size_on_white_ground(
    qtbot: QtBot, kind: type[PlotPanel], stage: StageName, data: RunData, tmp_path: Path
) -> None:
    panel = shown(qtbot, kind, data, stage)
    export(panel, tmp_path / "plot.png", 100, 70, dpi=200)
    image = QImage(str(tmp_path / "plot.png"))
    assert (image.width(), image.height()) == (787, 551)
    assert image.dotsPerMeterX() == pytest.approx(200 / 0.0254, rel=1e-3)
    assert image.pixelColor(1, 1) == QColor("white")
    colours = {image.pixel(x, y) for x in range(0, 787, 3) for y in range(0, 551, 3)}
    assert len(colours) > 10
    panel.close()


@each_plot
def test_that_svg_and_pdf_hold_the_title_and_the_page_size(
    qtbot: QtBot, kind: type[PlotPanel], stage: StageName, data: RunData
) -> None:
    panel = shown(qtbot, kind, data, stage)
    root = ElementTree.fromstring(render_svg(panel, 120, 80))
    words = " ".join("".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text"))
    assert panel.title.split()[0] in words
    assert panel.titles[0].split()[0] in words
    pdf = render_pdf(panel, 120, 80)
    assert pdf.startswith(b"%PDF-1.")
    assert b"/MediaBox [0 0 340" in pdf
    panel.close()


def test_that_an_export_in_the_dark_theme_is_printed_in_light_colours(
    qtbot: QtBot, qapp: QApplication, data: RunData
) -> None:
    light = render_png(shown_then_closed(qtbot, data), 80, 60, dpi=96)
    qapp.setPalette(palette_of(DARK))
    dark = render_png(shown_then_closed(qtbot, data), 80, 60, dpi=96)
    qapp.setPalette(palette_of(LIGHT))
    assert light == dark


def shown_then_closed(qtbot: QtBot, data: RunData) -> PlotPanel:
    panel = shown(qtbot, AccuracyPlot, data, "pretraining")
    panel.close()
    return panel


@each_plot
def test_that_colours_follow_the_palette(
    qtbot: QtBot, qapp: QApplication, kind: type[PlotPanel], stage: StageName, data: RunData
) -> None:
    panel = shown(qtbot, kind, data, stage)
    assert panel.widget.backgroundBrush().color() == QColor(LIGHT.raised)
    qapp.setPalette(palette_of(DARK))
    QApplication.processEvents()
    assert panel.colours is DARK
    assert panel.widget.backgroundBrush().color() == QColor(DARK.raised)
    qapp.setPalette(palette_of(LIGHT))
    QApplication.processEvents()
    assert panel.colours is LIGHT
    panel.close()


@pytest.mark.parametrize(("highest", "top"), [(0.95, 1.0), (1.0, 1.2), (3.9, 5.0), (47, 50), (0.0, 1.2e-6)])
def test_that_an_axis_ends_at_a_round_number_above_all_values(highest: float, top: float) -> None:
    assert nice_top(np.array([0.0, highest, np.nan])) == pytest.approx(top)
