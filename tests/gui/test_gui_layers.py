"""The layers page: its plots and table against the rows they come from, and what the window does around them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QPointF, QSettings, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QAbstractButton, QApplication, QComboBox, QFileDialog
from pytestqt.qtbot import QtBot

from cartl_gui import layers_view as view
from cartl_gui.layers_view import LIPSCHITZ, QUANTITIES, Question, Source
from cartl_gui.main_window import MainWindow
from cartl_gui.pages.layers import LayersPage
from cartl_gui.pages.layers_table import ESTIMATE, LOWER, NAME, UPPER
from cartl_gui.plots.export import render_csv
from cartl_gui.run_data import RunData
from cartl_gui.selection import Place, Selection
from cartl_gui.settings import WindowSettings
from cartl_gui.theme import DARK, LIGHT, Theme, palette_of
from engine.config import StageName
from engine.events import InspectionProgress, RowsAdded, RunRecord
from engine.store.schema import BOUNDS, LAYERS, PROBE
from tests.gui.figures import render_png
from tests.gui.gui_helpers import data_of, drain, press
from tests.gui.scripted_layers import BLOCKS, NETWORK, bound_rows, inspected
from tests.gui.scripted_session import ScriptedSession, demo_study, earlier_run

BY_KEY = {quantity.key: quantity for quantity in QUANTITIES}
STAGE: StageName = "pretraining"


@pytest.fixture(scope="module")
def record() -> RunRecord:
    return earlier_run()[1]


@pytest.fixture
def data(record: RunRecord) -> RunData:
    return data_of(record.run, record)


@pytest.fixture(scope="module")
def other_record() -> RunRecord:
    return earlier_run("another")[1]


@pytest.fixture
def other(other_record: RunRecord) -> RunData:
    """A run that was made otherwise."""
    return data_of(replace(other_record.run, id="other"), other_record)


@pytest.fixture(scope="module")
def only_page(qapp: QApplication, record: RunRecord) -> Iterator[LayersPage]:
    page = LayersPage(Selection())
    page.resize(860, 500)
    page.show()
    page.show_run(
        data_of(record.run, record)
    )  # Qt keeps a hidden widget for each layout of a plot from its first use on
    qapp.processEvents()
    page.hide()
    yield page
    page.deleteLater()


@pytest.fixture
def page(only_page: LayersPage, data: RunData) -> Iterator[LayersPage]:
    """The page of all tests as it is at first, with a finished run."""
    page = only_page
    page.show()
    page.show_run(data)
    yield page
    page.end_progress()
    page.strip.set_open(False)
    page.compare_with(None)
    page.mode.setCurrentIndex(0)
    page._log.clear()
    page.selection.set_sample(None)
    page.selection.set_place(None)
    page.per_buttons["layer"].click()
    choose(page, "cka")
    choose(page, "lipschitz")
    page.hide()


def choose(page: LayersPage, key: str) -> None:
    """Choose a quantity as a user does."""
    row = page.quantity.findData(key)
    page.quantity.setCurrentIndex(row)
    page.quantity.activated.emit(row)


def at(values: np.ndarray, place: Place) -> np.ndarray:
    return values[:, place.index].astype(float)


# quantities -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("quantity", QUANTITIES, ids=lambda quantity: quantity.key)
def test_that_each_quantity_names_columns_that_its_tables_have(quantity: view.Quantity) -> None:
    tables = {"layers": LAYERS, "bounds": BOUNDS}
    per_of = {column.name: column.per for column in tables[quantity.table].columns}
    for stem, per in ((quantity.block, "block"), (quantity.layer, "layer"), (quantity.network, "row")):
        endings = {"bounds": ("_upper", "_estimate", "_lower"), "spread": ("", "_errors"), "nothing": ("",)}
        for ending in endings[quantity.around] if stem else ():
            assert per_of[stem + ending] == per
            assert view.quantity_of(stem + ending) == quantity
    if quantity.is_per_image:
        assert {quantity.block, quantity.layer} <= {column.name for column in PROBE.columns}


def test_that_a_column_that_is_no_quantity_leads_nowhere() -> None:
    assert view.quantity_of("violations") is None
    assert view.quantity_of("live_share") is None


# the page ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("key", "per"),
    [
        ("lipschitz", "layer"),
        ("lipschitz", "block"),
        ("unfolded", "layer"),
        ("cka", "layer"),
        ("distance", "block"),
    ],
)
def test_that_the_map_holds_the_values_at_their_times(
    page: LayersPage, data: RunData, key: str, per: view.Per
) -> None:
    page.per_buttons[per].click()
    choose(page, key)
    quantity = BY_KEY[key]
    name = f"{quantity.column(per)}_upper" if quantity.around == "bounds" else quantity.column(per)
    rows = data.columns(STAGE, quantity.table)
    series = page.map.series()
    assert np.array_equal(series.pop("epoch"), rows["epoch"])
    assert np.array_equal(series.pop("step"), rows["step"])
    assert np.allclose(np.stack(list(series.values()), 1), rows[name])
    names = NETWORK["layer_names"] if per == "layer" else BLOCKS
    assert list(series) == [f"{per} {number} {name}" for number, name in enumerate(names, 1)]
    assert page.map._boundary.value() == (9.5 if per == "layer" else 4.5)
    assert page.map.remark() == f"dashed: {per}s 1–{9 if per == 'layer' else 4} will be frozen"
    shown = np.log10(rows[name]) if page.log.isChecked() else rows[name]
    assert page.map.image.getLevels() == pytest.approx([shown.min(), shown.max()], rel=1e-5)


def test_that_bounds_measured_at_uneven_steps_lie_at_their_epochs(page: LayersPage, data: RunData) -> None:
    epochs = data.columns(STAGE, "bounds")["epoch"]
    assert len(np.unique(np.diff(epochs))) > 1, "the script should measure at growing intervals"
    upper = np.log10(data.columns(STAGE, "bounds")["layer_upper"])
    box, image = page.map.image.mapRectToParent(page.map.image.boundingRect()), page.map.image.image
    for row, epoch in enumerate(epochs):
        column = int((epoch - box.left()) / box.width() * image.shape[1])
        assert np.allclose(image[:, column], upper[row])


def test_that_no_column_lies_before_the_first_epoch(page: LayersPage, data: RunData) -> None:
    seldom = RunData(data.info)
    seldom.start_stage(data.layouts[STAGE])
    rows = {name: values[[0, 4]].copy() for name, values in data.columns(STAGE, "bounds").items()}
    rows["epoch"][:] = [0.1, 12.0]
    seldom.add_rows(RowsAdded("old", STAGE, "bounds", rows))
    page.show_run(seldom)
    box = page.map.image.mapRectToParent(page.map.image.boundingRect())
    assert (box.left(), box.right()) == pytest.approx((-0.5, 12.5))
    assert page.map.view.viewRange()[0] == pytest.approx([-0.5, 12.5])


def test_that_table_map_and_curve_follow_one_selection(qtbot: QtBot, page: LayersPage, data: RunData) -> None:
    table = page.table.table
    table.setFocus()
    page.selection.set_place(Place("layer", 3))
    qtbot.keyClick(table, Qt.Key.Key_Down)
    assert page.selection.place == Place("layer", 4)
    rows = data.columns(STAGE, "bounds")
    series = page.band.series()
    assert page.band.title == "Layer 5, 1.2.conv2 (trained)"
    for ending, name in (
        ("upper", "upper bound, certified"),
        ("estimate", "estimate"),
        ("lower", "lower bound, seen on pairs"),
    ):
        assert np.allclose(series[name], rows[f"layer_{ending}"][:, 4])
    centre = page.map.view.mapViewToScene(QPointF(3, 8))
    qtbot.mouseClick(
        page.map.widget.viewport(), Qt.MouseButton.LeftButton, pos=page.map.widget.mapFromScene(centre)
    )
    assert page.selection.place == Place("layer", 7)
    assert page.table.table.selectionModel().selectedRows()[0].row() == 7
    assert page.map._frame.rect().center().y() == 8
    qtbot.keyClick(table, Qt.Key.Key_Escape)
    assert page.selection.place is None
    assert np.allclose(page.band.series()["estimate"], rows["log10_estimate"])
    assert page.band.title == "Whole network: log10 of Lipschitz constant"


def test_that_a_distance_is_drawn_with_its_spread(page: LayersPage, data: RunData) -> None:
    page.selection.set_place(Place("block", 2))
    choose(page, "relative")
    rows, series = data.columns(STAGE, "layers"), page.band.series()
    mean, spread = (
        rows[name][:, 2].astype(float) for name in ("relative_distance", "relative_distance_errors")
    )
    assert np.allclose(series["mean over the images"], mean)
    assert np.allclose(series["mean + standard deviation"], mean + spread)
    assert np.allclose(series["mean − standard deviation"], mean - spread)


def test_that_blocks_and_layers_stand_for_each_other(page: LayersPage) -> None:
    page.selection.set_place(Place("layer", 6))
    page.per_buttons["block"].click()
    assert page.selection.place == Place("block", 2)
    page.per_buttons["layer"].click()
    assert page.selection.place == Place("layer", 5)
    choose(page, "unfolded")
    page.selection.set_place(Place("block", 1))
    assert page.per_buttons["block"].isChecked()
    assert page.question.quantity is LIPSCHITZ, "a block has no operator norm of its own"
    page.per_buttons["layer"].click()
    assert page.question.quantity.key == "unfolded", "the choice is kept for where it makes sense"


def test_that_the_table_tells_every_fact_and_number(page: LayersPage, data: RunData) -> None:
    rows = page.table.rows_in_order()
    last = {name: values[-1] for name, values in data.columns(STAGE, "bounds").items()}
    assert [row.name for row in rows] == list(NETWORK["layer_names"])
    assert [(row.kind, row.shape, row.parameters) for row in rows] == list(
        zip(NETWORK["layer_kinds"], NETWORK["layer_shapes"], NETWORK["layer_parameters"], strict=True)
    )
    for ending in ("upper", "estimate", "lower"):
        assert np.allclose([getattr(row, ending) for row in rows], last[f"layer_{ending}"])
    assert np.allclose([row.distance for row in rows], data.columns(STAGE, "layers")["layer_distance"][-1])
    model = page.table.proxy
    texts = [model.index(13, column).data() for column in (NAME, UPPER, ESTIMATE, LOWER)]
    assert texts == [
        "classifier",
        *(f"{last[f'layer_{ending}'][13]:#.3g}" for ending in ("upper", "estimate", "lower")),
    ]


def test_that_blocks_show_their_own_bounds_beside_the_nominal_one(page: LayersPage, data: RunData) -> None:
    page.per_buttons["block"].click()
    rows, last = page.table.rows_in_order(), data.columns(STAGE, "bounds")
    assert np.allclose([row.upper for row in rows], last["block_upper"][-1])
    assert np.allclose([row.reshaped for row in rows], last["block_nominal"][-1])
    assert (rows[0].shape, rows[0].parameters, rows[6].shape) == ("2 layers", 4608, "no weighted layer")


def test_that_the_table_is_sorted_by_numbers_and_keeps_its_selection(page: LayersPage) -> None:
    page.selection.set_place(Place("layer", 13))
    page.table.table.sortByColumn(UPPER, Qt.SortOrder.DescendingOrder)
    upper = [row.upper for row in page.table.rows_in_order()]
    assert upper == sorted(upper, reverse=True)
    assert page.table.table.currentIndex().row() == upper.index(max(upper))
    assert page.selection.place == Place("layer", 13)
    page.table.table.sortByColumn(0, Qt.SortOrder.AscendingOrder)


def test_that_the_table_is_copied_and_saved_with_all_digits(
    qtbot: QtBot, page: LayersPage, data: RunData
) -> None:
    with qtbot.waitSignal(page.table_export_asked) as asked:
        page.table.export_button.click()
    rows = list(csv.DictReader(io.StringIO(asked.args[0])))
    assert [row["name"] for row in rows] == list(NETWORK["layer_names"])
    assert np.array_equal(
        np.array([row["lipschitz_upper_bound"] for row in rows], "f4"),
        data.columns(STAGE, "bounds")["layer_upper"][-1],
    )
    assert rows[0]["frozen"] == "no"
    page.table.table.setFocus()
    qtbot.keyClick(page.table.table, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QGuiApplication.clipboard().text().splitlines()[0].split("\t")[:3] == ["layer", "name", "kind"]


def test_that_the_histogram_counts_flipped_and_other_images_and_marks_the_selected(
    qtbot: QtBot, page: LayersPage, data: RunData
) -> None:
    page.selection.set_place(Place("layer", 9))
    probe = data.columns(STAGE, "probe")
    flipped = probe["adversarial_prediction"] != probe["clean_prediction"]
    counts = page.histogram._counts.sum(1)
    assert list(counts) == [np.sum(~flipped), np.sum(flipped)]
    assert [(curve.entry.name, curve.entry.value) for curve in page.histogram.curves] == [
        ("not flipped", str(counts[0])), ("flipped", str(counts[1])),
    ]  # fmt: skip
    page.selection.set_sample(int(probe["sample"][4]))
    assert page.histogram._mark.isVisible()
    assert page.histogram._mark.value() == pytest.approx(probe["layer_distance"][4, 9])
    assert page.histogram._mark_text.toPlainText() == f"image {probe['sample'][4]}"
    choose(page, "amplification")
    series = page.histogram.series()
    assert np.allclose(series["Amplification"], probe["layer_amplification"][:, 9])
    assert page.histogram._mark.value() == pytest.approx(probe["layer_amplification"][4, 9])
    largest = int(probe["layer_amplification"][:, 9].argmax())
    place = page.histogram.view.mapViewToScene(QPointF(float(probe["layer_amplification"][largest, 9]), 0.5))
    qtbot.mouseClick(
        page.histogram.widget.viewport(),
        Qt.MouseButton.LeftButton,
        pos=page.histogram.widget.mapFromScene(place),
    )
    assert page.selection.sample == probe["sample"][largest]


def test_that_the_header_says_what_was_measured_and_what_it_costs(page: LayersPage) -> None:
    assert (
        page._about.text()
        == "bounds every 100 steps, with distances 0.7 % of the time  ·  PGD-7, Linf 16/255, on 128 held-out images"
    )
    assert page._name.text() == "old-at"


def test_that_labels_tell_bounds_from_estimates(page: LayersPage) -> None:
    page.selection.set_place(Place("layer", 1))
    tips = [curve.entry.toolTip() for curve in page.band.curves[:3]]
    for tip, name in zip(
        tips, ("upper bound, certified", "estimate", "lower bound, seen on pairs"), strict=True
    ):
        assert tip.startswith(name)
    headers = [
        page.table.model.headerData(column, Qt.Orientation.Horizontal, Qt.ItemDataRole.ToolTipRole)
        for column in (UPPER, ESTIMATE, LOWER)
    ]
    assert [header.split(": ")[1] for header in headers] == [
        "upper bound, certified",
        "estimate",
        "lower bound, seen on pairs",
    ]
    assert "certified" in page.map.title


@pytest.mark.parametrize("bad", ["layer_lower", "block_lower", "layer_unfolded_estimate", "log10_lower"])
def test_that_a_contradiction_is_shown_with_place_and_numbers(
    page: LayersPage, data: RunData, bad: str
) -> None:
    assert not page.warning.isVisible()
    rows = bound_rows(data.layouts[STAGE], 260, 20, np.random.default_rng(0))
    (rows[bad] if bad.startswith("log10") else rows[bad][0])[0 if bad.startswith("log10") else 3] = 99.0
    rows["violations"][:] = 1
    data.add_rows(RowsAdded("old", STAGE, "bounds", rows))
    page.refresh()
    text = page._warning_text.text()
    assert page.warning.isVisible()
    place = {"layer": "layer 4 (1.2.conv1)", "block": "block 4 (2.2)", "log10": "log10 of the whole network"}[
        bad.split("_")[0]
    ]
    assert place in text
    assert "step 260" in text
    assert "99" in text
    if bad.startswith("layer_lower"):
        assert page.table.rows_in_order()[3].contradicts


def test_that_equal_bounds_and_rounding_are_no_contradiction(page: LayersPage, data: RunData) -> None:
    rows = bound_rows(data.layouts[STAGE], 260, 20, np.random.default_rng(0))
    for ending in ("estimate", "lower"):
        rows[f"layer_{ending}"] = rows["layer_upper"] * np.float32(1 + 1e-6)
    data.add_rows(RowsAdded("old", STAGE, "bounds", rows))
    page.refresh()
    assert not page.warning.isVisible()


def test_that_a_violation_without_a_place_is_told_all_the_same(page: LayersPage, data: RunData) -> None:
    rows = bound_rows(data.layouts[STAGE], 260, 20, np.random.default_rng(0))
    rows["violations"][:] = 2
    data.add_rows(RowsAdded("old", STAGE, "bounds", rows))
    page.refresh()
    assert page._warning_text.text().startswith("2 bounds contradicted another at step 260")


def test_that_a_run_without_bounds_says_so_and_shows_the_rest(page: LayersPage, data: RunData) -> None:
    old = RunData(data.info)
    old.start_stage(replace(data.layouts[STAGE], layer_kinds=(), layer_shapes=(), layer_parameters=()))
    kept = {"step", "epoch", "distance", "spectral_norm", "layer_spectral_norm"}
    columns = {
        name: values if name in kept else np.full_like(values, np.nan)
        for name, values in data.columns(STAGE, "layers").items()
    }
    old.add_rows(RowsAdded("old", STAGE, "layers", columns))
    page.show_run(old)
    page.selection.set_place(Place("block", 4))
    assert page.map.is_empty()
    assert "not measured in this stage; “Analyse fully” measures it now" in page.map._empty.text()
    assert page.table.table.isColumnHidden(UPPER)
    row = page.table.rows_in_order()[4]
    assert row.distance == pytest.approx(float(columns["distance"][-1, 4]))
    assert "no" in page.histogram._empty.text() or "not kept" in page.histogram._empty.text()
    choose(page, "distance")
    assert not page.map.is_empty()
    assert list(page.band.series()) == ["epoch", "step", "mean over the images"], (
        "no spread was measured then"
    )


def test_that_gaps_stay_gaps(page: LayersPage, data: RunData) -> None:
    broken = RunData(data.info)
    broken.layouts = dict(data.layouts)
    for table in ("layers", "bounds"):
        columns = {name: values.copy() for name, values in data.columns(STAGE, table).items()}
        for name, values in columns.items():
            if values.dtype.kind == "f" and name != "epoch":
                values[1] = np.nan
        broken.add_rows(RowsAdded("old", STAGE, table, columns))
    page.show_run(broken)
    page.selection.set_place(Place("layer", 2))
    page.grab()
    assert np.isnan(page.band.series()["estimate"][1])
    assert page.map.describe(float(broken.columns(STAGE, "bounds")["epoch"][1]), 3).endswith("not measured")
    assert page._warning_text.text() == ""
    assert len(page.band._areas[0].path().toSubpathPolygons()) == 2


def test_that_a_logarithmic_scale_is_kept_for_each_quantity(page: LayersPage) -> None:
    assert page.log.isChecked()
    choose(page, "cka")
    assert not page.log.isChecked()
    page.log.setChecked(True)
    choose(page, "lipschitz")
    page.log.setChecked(False)
    choose(page, "cka")
    assert page.log.isChecked()
    assert page.map.log_button.isChecked()
    choose(page, "lipschitz")
    assert not page.band.log_button.isChecked()


# comparing --------------------------------------------------------------------------------------------------
def test_that_two_maps_have_one_colour_scale(page: LayersPage, other: RunData) -> None:
    page.compare_with(other)
    values = [data.columns(STAGE, "bounds")["layer_upper"] for data in (page.data, other)]
    low, high = np.log10(min(map(np.min, values))), np.log10(max(map(np.max, values)))
    for heat_map, shown in zip((page.map, page.second_map), values, strict=True):
        assert heat_map.isVisible()
        assert heat_map.image.getLevels() == pytest.approx([low, high], rel=1e-5)
        assert np.allclose(np.stack(list(heat_map.series().values())[2:], 1), shown)
    assert page.second_map.title.startswith("another")
    page.selection.set_place(Place("layer", 2))
    series = page.band.series()
    assert np.allclose(series["another: estimate"], other.columns(STAGE, "bounds")["layer_estimate"][:, 2])
    assert page.band.curves[1].style.dashes != page.band.curves[4].style.dashes
    page.compare_with(None)
    assert not page.second_map.isVisible()


@pytest.mark.parametrize("log", [False, True])
def test_that_a_difference_is_centred_on_zero_and_made_by_name(
    page: LayersPage, other: RunData, log: bool
) -> None:
    renamed = RunData(other.info)
    names = list(NETWORK["layer_names"])
    names[0], names[13], names[5] = names[13], names[0], "renamed"
    renamed.start_stage(replace(other.layouts[STAGE], layer_names=tuple(names)))
    columns = other.columns(STAGE, "bounds")
    renamed.add_rows(RowsAdded("other", STAGE, "bounds", columns))
    page.log.setChecked(log)
    page.compare_with(renamed)
    page.mode.setCurrentIndex(1)
    mine = page.data.columns(STAGE, "bounds")["layer_upper"].astype(float)
    theirs = columns["layer_upper"].astype(float)[:, [13, *range(1, 5), 5, *range(6, 13), 0]]
    wanted = np.log10(mine) - np.log10(theirs) if log else mine - theirs
    wanted[:, 5] = np.nan
    found = np.stack(list(page.map.series().values())[2:], 1)
    assert np.allclose(found, wanted, equal_nan=True)
    low, high = page.map.image.getLevels()
    assert low == -high == pytest.approx(-np.nanmax(np.abs(wanted)))
    assert page.map.remark() == "1 layer not in the other run"
    assert not page.second_map.isVisible()


def test_that_blocks_of_one_name_are_told_apart(page: LayersPage, data: RunData, other: RunData) -> None:
    blocks = ("stage", "stage", "stage", "end")
    for run, names in ((data, (*blocks, *BLOCKS[4:])), (other, ("stage", *blocks, *BLOCKS[5:]))):
        run.start_stage(replace(run.layouts[STAGE], block_names=names))
    page.show_run(RunData(data.info))
    page.show_run(data)
    page.compare_with(other)
    page.selection.set_place(Place("block", 2))
    upper, theirs = (run.columns(STAGE, "bounds")["block_upper"] for run in (data, other))
    series = page.band.series()
    assert np.allclose(series["old-at: upper bound, certified"], upper[:, 2])
    assert np.allclose(series["another: upper bound, certified"], theirs[:, 2])
    page.selection.set_place(Place("block", 3))
    assert np.allclose(page.band.series()["another: upper bound, certified"], theirs[:, 4])
    assert view.partners(("a", "b", "a"), ("b", "a", "c")) == [1, 0, None]


def test_that_each_measurement_is_compared_with_the_nearest_of_the_other_run(data: RunData) -> None:
    other = RunData(data.info)
    other.start_stage(data.layouts[STAGE])
    rows = {name: values[[1, 3]].copy() for name, values in data.columns(STAGE, "bounds").items()}
    other.add_rows(RowsAdded("old", STAGE, "bounds", rows))
    assert list(rows["epoch"]) == [2, 7]
    found, missing = view.compared(
        Source.of(data, STAGE), Source.of(other, STAGE), Question(), as_ratio=False
    )
    upper = data.columns(STAGE, "bounds")["layer_upper"].astype(float)
    assert missing == ()
    assert list(found.epoch) == [1, 2, 4, 7, 12]
    for row, partner in enumerate((1, 1, 1, 3)):
        assert np.allclose(found.value[row], upper[row] - upper[partner])
    assert np.isnan(found.value[4]).all(), "the other run ended long before"


# pictures and files -----------------------------------------------------------------------------------------
def test_that_every_plot_of_the_page_can_be_exported(page: LayersPage, other: RunData) -> None:
    page.selection.set_place(Place("layer", 9))
    page.compare_with(other)
    for panel in page.panels():
        picture = render_png(panel, 90, 60)
        middle = picture.height() * 2 // 3
        assert len({picture.pixel(x, middle) for x in range(picture.width())}) > 3
        table = list(csv.reader(io.StringIO(render_csv(panel).decode())))
        assert table[0] == list(panel.series())
    twin = page.band.twin()
    assert np.allclose(
        twin.series()["estimate" if page.other is None else "old-at: estimate"],
        page.band.series()["old-at: estimate"],
    )
    twin.deleteLater()


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=lambda colours: colours.name)
def test_that_the_page_fits_between_the_docks_of_a_small_window(
    qapp: QApplication, page: LayersPage, colours: object
) -> None:
    qapp.setPalette(palette_of(colours))  # type: ignore[arg-type]
    page.show_progress(InspectionProgress("Bounds", 0.5))
    page.strip.set_open(True)
    page.selection.set_place(Place("layer", 9))
    QApplication.processEvents()
    assert page.minimumSizeHint().height() <= 480
    assert page.minimumSizeHint().width() <= 850
    picture = page.grab().toImage()
    ground = picture.pixelColor(2, 2)
    assert (ground.lightness() > 128) == (colours is LIGHT)


def test_that_every_control_has_a_name_for_screen_readers(page: LayersPage, other: RunData) -> None:
    page.compare_with(other)
    for control in (*page.findChildren(QAbstractButton), *page.findChildren(QComboBox)):
        if control.isVisible() and control.metaObject().className() != "QTableCornerButton":
            assert control.accessibleName() or control.text(), control


def test_that_only_what_changed_is_drawn(
    page: LayersPage, data: RunData, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.selection.set_place(Place("layer", 9))
    drawn: list[str] = []
    for name in ("map", "band", "histogram"):
        panel = getattr(page, name)
        monkeypatch.setattr(panel, "consume", lambda *_: None)
        monkeypatch.setattr(panel, "_after_draw", lambda name=name: drawn.append(name))
    page.refresh()
    assert drawn == []
    page.selection.set_sample(103)
    assert drawn == ["histogram"]
    drawn.clear()
    data.add_rows(RowsAdded("old", STAGE, "steps", dict(data.columns(STAGE, "steps"))))
    page.refresh()
    assert drawn == [], "steps are no layers"
    data.add_rows(RowsAdded("old", STAGE, "probe", dict(data.columns(STAGE, "probe"))))
    page.begin_refresh()
    steps = 0
    while not page.all_drawn():
        before = len(drawn)
        page.draw_next()
        assert len(drawn) <= before + 1
        steps += 1
    assert sorted(drawn) == ["band", "histogram", "map"]
    page.hide()
    data.add_rows(RowsAdded("old", STAGE, "probe", dict(data.columns(STAGE, "probe"))))
    page.refresh()
    assert len(drawn) == 3, "a page that is not seen draws nothing"


# empty ------------------------------------------------------------------------------------------------------
def test_that_an_empty_page_says_what_to_do(qtbot: QtBot, data: RunData) -> None:
    page = LayersPage(Selection())
    qtbot.addWidget(page)
    with qtbot.waitSignal(page.demo_asked):
        page.empty.button.click()
    waiting = RunData(replace(data.info, state="running"))
    page.show_run(waiting)
    with qtbot.waitSignal(page.live_asked):
        page.empty.button.click()
    unread = RunData(data.info)
    page.show_run(unread)
    assert page.empty.button.isHidden()
    unread.absorb(RunRecord(data.info))
    page.refresh()
    assert not page.empty.button.isEnabled(), "there is no network yet"
    page.set_can_inspect(True)
    with qtbot.waitSignal(page.inspect_asked):
        page.empty.button.click()


def test_that_an_attack_shows_the_distances_of_its_images(page: LayersPage, data: RunData) -> None:
    page.stage_buttons["attack"].click()
    assert page.question.quantity.key == "distance"
    assert not page.map.isVisible()
    rows, probe = page.table.rows_in_order(), data.columns("attack", "probe")
    assert np.allclose([row.distance for row in rows], probe["layer_distance"].mean(0))
    page.selection.set_place(Place("layer", 3))
    assert np.allclose(page.histogram.series()["Distance, normalised L2"], probe["layer_distance"][:, 3])
    page.stage_buttons["pretraining"].click()
    assert page.question.quantity is LIPSCHITZ
    assert page.map.isVisible()


# findings ---------------------------------------------------------------------------------------------------
def test_that_a_finding_leads_to_its_place_and_quantity(page: LayersPage, data: RunData) -> None:
    choose(page, "cka")
    row, insight = next(
        (row, insight) for row, insight in enumerate(page.strip.insights) if insight.place is not None
    )
    page.strip.set_open(True)
    page.strip._sentences[row].linkActivated.emit(str(row))
    assert page.selection.place == insight.place
    assert page.question.quantity is view.quantity_of(insight.quantity) is not BY_KEY["cka"]
    assert page.per_buttons[insight.place.per].isChecked()
    assert page.band.title.startswith(f"{insight.place.per.capitalize()} {insight.place.index + 1}, ")
    assert not page.band.is_empty()


# in the window ----------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def only_window(
    qapp: QApplication, themes: Theme, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MainWindow]:
    """A window with a finished study."""
    folder = tmp_path_factory.mktemp("layers")
    session = ScriptedSession(folder / "workspace")
    settings = WindowSettings(QSettings(str(folder / "window.ini"), QSettings.Format.IniFormat))
    window = MainWindow(session, {"demo": demo_study(epochs=3)}, settings, themes)
    window.resize(1280, 800)
    window.show()
    window.start()
    window.start_demo()
    session.run_out()
    drain(window)
    window.hide()
    yield window
    window._session_closed()
    window.deleteLater()


@pytest.fixture
def window(only_window: MainWindow) -> Iterator[MainWindow]:
    only_window.show()
    yield only_window
    only_window.shown._timer.stop()
    only_window.hide()


@pytest.fixture
def session(only_window: MainWindow) -> ScriptedSession:
    session = only_window.session
    assert isinstance(session, ScriptedSession)
    return session


def opened(window: MainWindow) -> list[str]:
    """Open the layers page of the first run."""
    runs = list(window.bridge.runs)
    window.runs.select(runs[0])
    window.show_run(runs[0])
    press(window, "page_layers")
    drain(window)
    return runs


def test_that_pages_and_their_shortcuts_come_in_one_order(window: MainWindow) -> None:
    titles = [window.tabs.tabText(index) for index in range(window.tabs.count())]
    assert titles == ["Welcome", "Live", "Layers", "Examples", "Compare", "Results", "Log"]
    for number, title in enumerate(titles, 1):
        action = window.commands.actions[f"page_{title.lower()}"]
        assert action.shortcut().toString() == f"Ctrl+{number}"
        action.trigger()
        assert window.tabs.currentIndex() == number - 1


def test_that_all_pages_share_run_stage_layer_and_image(window: MainWindow, session: ScriptedSession) -> None:
    runs = opened(window)
    window.layers.stage_buttons["attack"].click()
    assert window.live.stage == window.examples.stage == "attack"
    window.live.stage_buttons["pretraining"].click()
    assert window.layers.stage == window.examples.stage == "pretraining"
    window.layers.table.place_chosen.emit(Place("layer", 4))
    sample = int(window.layers.data.columns("pretraining", "probe")["sample"][2])
    window.examples.mosaic.sample_chosen.emit(sample)
    assert window.layers.histogram._mark.value() == pytest.approx(
        float(window.layers.data.columns("pretraining", "probe")["layer_distance"][2, 4])
    )
    window.runs.select(runs[3])
    drain(window)
    assert window.layers.data is window.examples.data is window.live.data
    assert window.layers.data.info.id == runs[3]


def test_that_a_run_is_compared_with_another_from_the_list(
    window: MainWindow, session: ScriptedSession
) -> None:
    runs = opened(window)
    box = window.layers.comparison
    offered = [box.itemData(row) for row in range(1, box.count())]
    assert offered == runs[1:]
    box.setCurrentIndex(1)
    box.activated.emit(1)
    drain(window)
    assert window.layers.other is window.bridge.data(runs[1])
    assert window.layers.second_map.isVisible()
    window.runs.select(runs[1])
    drain(window)
    assert window.layers.other is None, "a run is not compared with itself"
    assert not window.layers.second_map.isVisible()


def test_that_a_network_is_analysed_with_progress_and_kept_for_comparison(
    window: MainWindow, session: ScriptedSession
) -> None:
    runs = opened(window)
    window.layers.inspect_button.click()
    assert session.calls[-1] == ("inspect", runs[0], "pretraining")
    drain(window)
    assert window.layers.progress.text() == "Distances on 256 images – 20 %"
    assert not window.layers.inspect_button.isEnabled()
    window._update_commands()
    assert not window.commands.actions["inspect_run"].isEnabled()
    record = inspected(runs[0], "pretraining")
    session.finish_inspection(record)
    drain(window)
    page = window.layers
    assert not page.is_inspecting()
    assert (page._name.text(), page._state.text()) == ("at, analysed", "full analysis")
    assert [row.upper for row in page.table.rows_in_order()] == pytest.approx(
        list(record.tables["pretraining"]["bounds"]["layer_upper"][0])
    )
    assert window.examples.data is page.data
    page.back_button.click()
    assert page.data is window.live.data
    row = page.comparison.findText("at, analysed")
    page.comparison.setCurrentIndex(row)
    page.comparison.activated.emit(row)
    page.mode.setCurrentIndex(1)
    drain(window)
    upper = page.data.columns("pretraining", "bounds")["layer_upper"].astype(float)
    wanted = np.log10(upper) - np.log10(record.tables["pretraining"]["bounds"]["layer_upper"].astype(float))
    assert np.allclose(np.stack(list(page.map.series().values())[2:], 1), wanted, atol=1e-6)


def test_that_an_analysis_is_cancelled_or_fails_in_words(
    window: MainWindow, session: ScriptedSession, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(tmp_path / "net.pth"), ""))
    press(window, "inspect_file")
    drain(window)
    assert window.tabs.currentWidget() is window.layers
    window.layers.cancel_button.click()
    drain(window)
    assert session.calls[-1] == ("cancel_inspection",)
    assert not window.layers.is_inspecting()
    told: list[tuple[str, str]] = []
    monkeypatch.setattr(window, "complain", lambda text, remedy="", details="": told.append((text, remedy)))
    press(window, "inspect_file")
    session.finish_inspection(failure="net.pth does not say of which network its weights are")
    drain(window)
    assert not window.layers.is_inspecting()
    ((text, remedy),) = told
    assert "of which network" in text
    assert "Attack a checkpoint file" in remedy
    press(window, "inspect_file")
    session.finish_inspection()
    drain(window)
    assert window.layers._name.text() == "file: net.pth"
    assert not window.layers.warning.isVisible()


def test_that_only_a_few_analyses_are_kept(window: MainWindow, session: ScriptedSession) -> None:
    for number in range(6):
        session.inspect(f"/weights/{number}.pt")
        session.finish_inspection()
    drain(window)
    assert [Path(path).stem for path in window.bridge.inspections] == ["2", "3", "4", "5"]
    assert window.layers.data is window.bridge.inspections["/weights/5.pt"]


def test_that_the_table_is_saved_and_images_are_attacked_anew(
    window: MainWindow, session: ScriptedSession, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    runs = opened(window)
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "table"), ""))
    window.layers.table.export_button.click()
    assert (tmp_path / "table.csv").read_text().splitlines()[14].startswith("14,classifier,linear")
    press(window, "page_examples")
    window.examples.attack_asked.emit(runs[0], "pretraining", 8 / 255)
    assert session.calls[-1] == ("attack_examples", runs[0], "pretraining", 8 / 255)
    shown: list[object] = []
    window.bridge.examples_attacked.connect(shown.append)
    drain(window)
    assert [event.epsilon for event in shown] == [8 / 255]  # type: ignore[attr-defined]


def test_that_the_page_follows_a_run_while_it_computes(window: MainWindow, session: ScriptedSession) -> None:
    window.start_demo()
    window.show_run(list(window.bridge.runs)[-4])
    press(window, "page_layers")
    assert window.layers.empty.button.text() == "Show the live plots"
    session.step(16)
    drain(window)
    assert len(window.layers.map.series()["epoch"]) == 1
    assert window.layers._about.text().startswith("bounds measured once")
    session.step(16)
    drain(window)
    assert list(window.layers.map.series()["epoch"]) == [1, 2]
    assert window.layers._about.text().startswith("bounds every 20 steps, with distances 0.7 % of the time")
    assert not window.commands.actions["inspect_run"].isEnabled(), "the run has no weights yet"
