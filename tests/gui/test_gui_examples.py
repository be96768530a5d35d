"""The examples page: the mosaic and its order, the curve over depth, another radius, and what it says without images."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QColor, QGuiApplication, QImage, QWheelEvent
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from cartl_gui import examples_view as view
from cartl_gui.attack_view import sample_text
from cartl_gui.examples_view import Filter, Measure, Per, Sort
from cartl_gui.main_window import MainWindow
from cartl_gui.pages.attack_page import AttackPage
from cartl_gui.pages.examples import ExamplesPage
from cartl_gui.plots.base import PlotPanel
from cartl_gui.plots.export import Origin, render_csv
from cartl_gui.plots.mosaic import Tiling, compose
from cartl_gui.run_data import RunData
from cartl_gui.selection import Place, Selection
from cartl_gui.theme import LIGHT
from engine.config import AttackConfig, DataConfig, FinetuningConfig, RunConfig, StageName, format_ratio
from engine.events import ExamplesAttacked, RowsAdded, RunInfo, RunRecord, StageLayout
from tests.gui.figures import export, render_png
from tests.gui.gui_helpers import drain
from tests.gui.scripted_attack import ScriptedAttack
from tests.gui.scripted_layers import NETWORK, example_rows, layer_rows, probe_rows
from tests.gui.scripted_session import ScriptedSession, earlier_run

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
LAYOUT = StageLayout(
    "finetuning", "Transfer (NEFT, k = 4) on digits", epochs=1, steps_per_epoch=1, boundary=4, image_size=16,
    probe="PGD-7, Linf 16/255, on 24 held-out images", **NETWORK | {"class_names": CLASSES},
)  # fmt: skip
CONFIG = RunConfig(
    name="NEFT",
    start_from="AT",
    target=DataConfig(name="digits"),
    finetuning=FinetuningConfig(),
    attack=AttackConfig(),
)
EPSILON = 16 / 255


def rows(epsilon: float = EPSILON, seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
    """The tables probe and examples of one look."""
    probe = probe_rows(LAYOUT, layer_rows(LAYOUT, 1, np.random.default_rng(seed)), epsilon=epsilon, seed=seed)
    return {"probe": probe, "examples": example_rows(probe, epsilon=epsilon)}


TABLES = rows()
SAMPLES = TABLES["examples"]["sample"]
FLIPPED = TABLES["probe"]["adversarial_prediction"] != TABLES["probe"]["clean_prediction"]


def run(
    tables: dict[str, dict[str, np.ndarray]] | None = None,
    *,
    state: Any = "finished",
    weights: tuple[StageName, ...] = ("finetuning",),
    stage: StageName = "finetuning",
    config: RunConfig = CONFIG,
    is_inspection: bool = False,
) -> RunData:
    """A run that has these tables in one stage."""
    info = RunInfo("0003-neft", "NEFT", "A study", "/runs/3", state, config)
    data = RunData(info, is_inspection=is_inspection)
    found: Any = {stage: TABLES if tables is None else tables}
    data.absorb(RunRecord(info, {stage: replace(LAYOUT, stage=stage)}, found, weights=weights))
    return data


def attacked(epsilon: float, **changes: Any) -> ExamplesAttacked:
    event = ExamplesAttacked(
        "0003-neft", "finetuning", "PGD-7, Linf 24/255, 1 restart", epsilon, rows(epsilon)["examples"], rows(epsilon)["probe"]
    )  # fmt: skip
    return replace(event, **changes)


class Shown:
    """A page with a run, and what it asked for."""

    def __init__(self, data: RunData | None, stage: StageName = "finetuning") -> None:
        self.selection = Selection()
        self.page = ExamplesPage(self.selection)
        self.asked: list[tuple[str, str, float]] = []
        self.page.attack_asked.connect(lambda *call: self.asked.append(call))
        self.page.resize(866, 480)
        self.show(data, stage)

    def show(self, data: RunData | None, stage: StageName = "finetuning") -> None:
        self.page.show()
        self.page.show_run(data, stage)
        QApplication.processEvents()

    def reset(self) -> None:
        """Be as a new page is: one is used for many tests, since making it takes longest."""
        self.page.hide()
        self.page.show_run(None, "finetuning")
        self.selection.set_sample(None)
        self.selection.set_place(None)
        mosaic, curve = self.page.mosaic, self.page.distance
        for box in (self.page.filter, self.page.sort, mosaic.magnification, curve.measure_box):
            box.setCurrentIndex(0)
        curve.per_buttons["block"].setChecked(True)
        curve.set_log(False)
        mosaic._scale_number = None
        self.page.show_recorded()
        self.asked.clear()

    def close(self) -> None:
        self.page.close()
        self.page.deleteLater()

    def samples(self) -> list[int]:
        """Numbers of the images in the mosaic, in their order."""
        return self.page.mosaic.series()["sample"].tolist()

    def choose(self, box: Any, value: str) -> None:
        box.setCurrentIndex(box.findData(value))

    def said(self) -> str:
        return self.page.epsilon.about.text()

    def click(self, qtbot: QtBot, number: int) -> None:
        """Click into the middle of a tile."""
        mosaic = self.page.mosaic
        scene = mosaic.view.mapViewToScene(mosaic.tiling.tile(number).center())
        qtbot.mouseClick(
            mosaic.widget.viewport(), Qt.MouseButton.LeftButton, pos=mosaic.widget.mapFromScene(scene)
        )

    def grab(self) -> QImage:
        QApplication.processEvents()
        return self.page.mosaic.widget.grab().toImage()


@pytest.fixture(scope="module")
def page(qapp: QApplication) -> Iterator[Shown]:
    found = Shown(None)
    yield found
    found.close()


@pytest.fixture
def shown(page: Shown) -> Iterator[Shown]:
    page.show(run())
    yield page
    page.reset()


# the picture ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("count", "room", "scale"), [(5, 500, 4.0), (1, 40, 2.0), (7, 700, 0.5)])
def test_that_every_pixel_of_every_image_lies_in_its_tile(count: int, room: float, scale: float) -> None:
    size = 6
    triples = np.random.default_rng(0).random((count, 3, 3, size, size))
    tiling = Tiling.of(size, scale, room, 30)
    picture = compose(triples, tiling)
    assert picture.shape == (tiling.rows(count) * tiling.height, tiling.columns * tiling.width, 4)
    for number, which in np.ndindex(count, 3):
        row, column = divmod(number, tiling.columns)
        top = row * tiling.height + tiling.margin
        left = column * tiling.width + tiling.margin + which * (size + tiling.gap)
        image = picture[top : top + size, left : left + size]
        np.testing.assert_array_equal(
            image[..., :3], np.rint(255 * triples[number, which]).transpose(1, 2, 0)
        )
        middle = tiling.tile(number).center()
        assert tiling.number_at(middle, count) == number
    assert np.count_nonzero(picture[..., 3]) == count * 3 * size * size
    assert tiling.number_at(QPointF(-1, 1), count) is None
    assert tiling.number_at(tiling.tile(count).center(), count) is None


def test_that_pixels_on_the_screen_are_those_of_the_images_without_smoothing(shown: Shown) -> None:
    mosaic, picture = shown.page.mosaic, shown.grab()
    tiling, table = mosaic.tiling, TABLES["examples"]
    assert tiling.scale == 4 and tiling.columns == 2
    origin = mosaic.widget.mapFromScene(mosaic.view.mapViewToScene(QPointF(0, 0)))
    shifted = {
        "clean": table["clean"], "adversarial": table["adversarial"], "difference": 0.5 + mosaic.factor() * table["difference"]
    }  # fmt: skip
    for number, (which, values) in ((n, item) for n in (0, 3) for item in enumerate(shifted.values())):
        tile = mosaic.tiling.tile(number).topLeft().toPoint()
        corner = origin + tile + QPoint(tiling.margin + which * (tiling.size + tiling.gap), tiling.margin) * 4
        for down, across in ((0, 0), (7, 11), (15, 15)):
            wanted = np.rint(255 * np.clip(values[number, :, down, across], 0, 1))
            for inside in (QPoint(0, 0), QPoint(3, 3)):
                seen = picture.pixelColor(corner + QPoint(across, down) * 4 + inside)
                assert [seen.red(), seen.green(), seen.blue()] == wanted.tolist()


@pytest.mark.parametrize(
    ("choice", "factor"),
    [("1", 1.0), ("16", 16.0), ("auto", 0.5 / np.abs(TABLES["examples"]["difference"]).max())],
)
def test_that_the_magnification_is_chosen_and_told(shown: Shown, choice: str, factor: float) -> None:
    mosaic = shown.page.mosaic
    shown.choose(mosaic.magnification, choice)
    assert mosaic.factor() == pytest.approx(factor)
    assert f"difference × {factor:.3g}" in mosaic.title
    drawn = mosaic.image.image
    tiling = mosaic.tiling
    left = tiling.margin + 2 * (tiling.size + tiling.gap)
    block = drawn[tiling.margin : tiling.margin + tiling.size, left : left + tiling.size, :3] / 255
    wanted = np.clip(0.5 + factor * TABLES["examples"]["difference"][0], 0, 1).transpose(1, 2, 0)
    np.testing.assert_allclose(block, wanted, atol=0.003)


def test_that_a_picture_holds_the_rows_in_sight_and_scrolling_brings_the_others(shown: Shown) -> None:
    mosaic = shown.page.mosaic
    assert mosaic.bar.isVisible() and mosaic._shown[0] == 0 and mosaic._shown[1] < len(SAMPLES)
    centre = QPointF(mosaic.widget.rect().center())
    wheel = QWheelEvent(
        centre, mosaic.widget.mapToGlobal(centre), QPoint(), QPoint(0, -1200), Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QGuiApplication.sendEvent(mosaic.widget.viewport(), wheel)
    first, last = mosaic._shown
    assert mosaic.bar.value() > 0 and first > 0 and first % mosaic.tiling.columns == 0
    assert mosaic.image.image.shape[0] == mosaic.tiling.rows(last - first) * mosaic.tiling.height
    mosaic.bar.setValue(mosaic.bar.maximum())
    assert mosaic._shown[1] == len(SAMPLES)
    low, high = mosaic.view.viewRange()[1]
    assert mosaic.tiling.tile(len(SAMPLES) - 1).bottom() <= high + 1


def test_that_zooming_keeps_whole_pixels_and_stops_at_both_ends(shown: Shown, qtbot: QtBot) -> None:
    mosaic = shown.page.mosaic
    scales = [mosaic.tiling.scale]
    for _ in range(12):
        qtbot.keyClick(mosaic.widget, Qt.Key.Key_Plus)
        scales.append(mosaic.tiling.scale)
    assert scales == sorted(scales) and scales[-1] == 16 and not mosaic.larger_button.isEnabled()
    for _ in range(12):
        mosaic.smaller_button.click()
    assert mosaic.tiling.scale == 2 and not mosaic.smaller_button.isEnabled()


# labels, filter and order ----------------------------------------------------------------------------------
def test_that_labels_tell_classes_confidences_and_verdict_in_words() -> None:
    gallery = view.gallery_of(run(), "finetuning")
    assert gallery is not None
    table = TABLES["examples"]
    wrong = int(np.flatnonzero((table["clean_prediction"] != table["label"]) & ~FLIPPED)[0])
    for row, verdict in ((int(FLIPPED.argmax()), "flipped"), (2, "kept"), (wrong, "kept, wrong")):
        caption = view.caption_of(gallery, row)
        assert caption.verdict == verdict
        assert (caption.sample, caption.truth) == (SAMPLES[row], CLASSES[table["label"][row]])
        assert caption.before == (
            CLASSES[table["clean_prediction"][row]], f"{100 * table['clean_confidence'][row]:.0f} %"
        )  # fmt: skip
        assert CLASSES[table["adversarial_prediction"][row]] in caption.sentence()
    nameless = replace(gallery, layout=replace(LAYOUT, class_names=()))
    assert view.caption_of(nameless, 3).truth == str(table["label"][3])


@pytest.mark.parametrize(
    ("choice", "kept"), [("all", np.full(len(SAMPLES), True)), ("flipped", FLIPPED), ("kept", ~FLIPPED)]
)
def test_that_the_filter_shows_the_images_it_names(shown: Shown, choice: Filter, kept: np.ndarray) -> None:
    assert 0 < FLIPPED.sum() < len(FLIPPED)
    shown.choose(shown.page.filter, choice)
    assert shown.samples() == SAMPLES[kept].tolist()
    assert shown.page.count.text() == f"{FLIPPED.sum()} of {len(SAMPLES)} flipped"


def test_that_a_filter_that_leaves_nothing_says_so() -> None:
    examples = TABLES["examples"] | {"adversarial_prediction": TABLES["examples"]["clean_prediction"]}
    found = Shown(run(TABLES | {"examples": examples}))
    found.choose(found.page.filter, "flipped")
    mosaic = found.page.mosaic
    assert mosaic.is_empty() and "No image was flipped" in mosaic._empty.text() and mosaic._empty.isVisible()
    found.choose(found.page.filter, "all")
    assert len(found.samples()) == len(SAMPLES) and not mosaic._empty.isVisible()
    found.close()


@pytest.mark.parametrize(
    ("by", "place", "measure", "key"),
    [
        ("number", None, "distance", SAMPLES),
        ("distance", None, "distance", -TABLES["probe"]["distance"][:, -1]),
        ("distance", Place("block", 40), "amplification", -TABLES["probe"]["amplification"][:, -1]),
        ("distance", Place("block", 2), "relative_distance", -TABLES["probe"]["relative_distance"][:, 2]),
        ("distance", Place("layer", 5), "cosine", TABLES["probe"]["layer_cosine"][:, 5]),
        (
            "confidence", None, "distance",
            TABLES["examples"]["adversarial_confidence"] * np.where(FLIPPED, -1, 1)
            - TABLES["examples"]["clean_confidence"],
        ),
    ],
)  # fmt: skip
def test_that_images_are_sorted_by_what_is_chosen(
    shown: Shown, by: Sort, place: Place | None, measure: Measure, key: np.ndarray
) -> None:
    shown.choose(shown.page.sort, by)
    shown.choose(shown.page.distance.measure_box, measure)
    shown.selection.set_place(place)
    assert shown.samples() == SAMPLES[np.argsort(key, kind="stable")].tolist()


def test_that_images_and_probe_are_joined_by_number_whatever_their_order() -> None:
    order = np.random.default_rng(1).permutation(len(SAMPLES))
    shuffled = {name: values[order] for name, values in TABLES["probe"].items()}
    few = {name: values[5:11] for name, values in TABLES["examples"].items()}
    gallery = view.gallery_of(run({"probe": shuffled, "examples": few}), "finetuning")
    assert gallery is not None
    sorted_rows = view.rows_in_order(gallery, "all", "distance", place=Place("block", 4), measure="distance")
    wanted = np.argsort(-TABLES["probe"]["distance"][5:11, 4])
    assert sorted_rows.tolist() == wanted.tolist()
    profile = view.profile_of(gallery, int(SAMPLES[7]), "block", "distance")
    np.testing.assert_allclose(profile.values, TABLES["probe"]["distance"][7], rtol=1e-6)
    np.testing.assert_allclose(profile.mean, TABLES["probe"]["distance"].mean(0), rtol=1e-5)
    np.testing.assert_allclose(profile.spread, TABLES["probe"]["distance"].std(0), rtol=1e-4)


# selection -------------------------------------------------------------------------------------------------
def test_that_a_click_selects_an_image_for_all_pages_and_shows_its_curve(shown: Shown, qtbot: QtBot) -> None:
    told: list[object] = []
    shown.selection.sample_changed.connect(told.append)
    shown.click(qtbot, 3)
    assert told == [SAMPLES[3]] and shown.selection.sample == SAMPLES[3]
    curve = shown.page.distance
    np.testing.assert_allclose(curve._own.y, TABLES["probe"]["distance"][3], rtol=1e-6)
    assert f"#{SAMPLES[3]}, true class {CLASSES[3]}; clean" in shown.page.mosaic._note.text()
    assert shown.page.mosaic.widget.accessibleDescription() == shown.page.mosaic._note.text()
    assert str(SAMPLES[3]) in curve.title


def test_that_an_image_selected_elsewhere_is_scrolled_to_and_framed(shown: Shown) -> None:
    mosaic, before = shown.page.mosaic, shown.grab()
    assert mosaic.bar.value() == 0
    shown.selection.set_sample(int(SAMPLES[-1]))
    number = mosaic.selected_number()
    assert number == len(SAMPLES) - 1 and mosaic._shown[0] <= number < mosaic._shown[1]
    accent = QColor(LIGHT.accent).rgb()
    assert not pixels(before, accent) and pixels(shown.grab(), accent)
    assert np.isfinite(shown.page.distance._own.y).all()


def pixels(image: QImage, colour: int) -> int:
    """How many pixels have a colour."""
    array = np.frombuffer(image.convertToFormat(QImage.Format.Format_RGB32).constBits(), np.uint32)
    return int((array == np.uint32(colour & 0xFFFFFFFF)).sum())


def test_that_arrow_keys_move_the_selection(shown: Shown, qtbot: QtBot) -> None:
    widget, columns = shown.page.mosaic.widget, shown.page.mosaic.tiling.columns
    places = []
    for key in ("Right", "Right", "Down", "Left", "Up", "End", "Right", "Home", "Left", "PageDown"):
        qtbot.keyClick(widget, getattr(Qt.Key, f"Key_{key}"))
        places.append(SAMPLES.tolist().index(shown.selection.sample))
    last = len(SAMPLES) - 1
    assert places[:9] == [0, 1, 1 + columns, columns, 0, last, last, 0, 0]
    assert columns < places[9] < last
    qtbot.keyClick(widget, Qt.Key.Key_Escape)
    assert shown.selection.sample is None


@pytest.mark.parametrize(
    ("sample", "tables", "text"),
    [
        (int(SAMPLES[20]), {n: {k: v[:8] for k, v in TABLES[n].items()} if n == "examples" else TABLES[n] for n in TABLES},
         "was measured, but its picture is not kept"),
        (5, TABLES, "is not among the images of this stage"),
    ],
)  # fmt: skip
def test_that_a_selected_image_without_a_picture_is_told_of(
    sample: int, tables: dict[str, dict[str, np.ndarray]], text: str
) -> None:
    found = Shown(run(tables))
    found.selection.set_sample(sample)
    assert f"Image #{sample} {text}" in found.page.mosaic._note.text()
    assert found.page.distance._own.has_values() == (sample in SAMPLES)
    found.close()


def test_that_an_image_the_filter_hides_is_told_of(shown: Shown) -> None:
    shown.selection.set_sample(int(SAMPLES[FLIPPED][0]))
    shown.choose(shown.page.filter, "kept")
    assert "is not among the images chosen above" in shown.page.mosaic._note.text()


def test_that_the_selected_image_is_forgotten_only_where_its_number_means_another(shown: Shown) -> None:
    shown.selection.set_sample(106)
    other = run()
    other.info = replace(other.info, id="0004-other")
    shown.page.show_run(other, "finetuning")
    assert shown.selection.sample == 106 and shown.page.mosaic.selected_number() == 2
    shown.page.show_run(run(stage="attack"), "attack")
    assert shown.selection.sample is None


# the curve over depth --------------------------------------------------------------------------------------
@pytest.mark.parametrize("measure", ["distance", "relative_distance", "cosine", "amplification"])
@pytest.mark.parametrize("per", ["block", "layer"])
def test_that_every_measure_is_drawn_over_blocks_and_layers(shown: Shown, per: Per, measure: Measure) -> None:
    curve = shown.page.distance
    shown.selection.set_sample(int(SAMPLES[9]))
    curve.per_buttons[per].click()
    shown.choose(curve.measure_box, measure)
    wanted = TABLES["probe"][f"layer_{measure}" if per == "layer" else measure]
    np.testing.assert_allclose(curve._own.y, wanted[9], rtol=1e-5)
    np.testing.assert_allclose(curve._mean.y, wanted.mean(0), rtol=1e-5)
    outline = curve._band.polygon()
    heights = np.array([outline.at(number).y() for number in range(outline.count())])
    count = wanted.shape[1]
    np.testing.assert_allclose(heights[:count], wanted.mean(0) + wanted.std(0), rtol=1e-4)
    np.testing.assert_allclose(heights[count:][::-1], wanted.mean(0) - wanted.std(0), rtol=1e-3, atol=1e-6)
    low, high = curve.view.viewRange()[1]
    assert low <= wanted[9].min() and wanted[9].max() <= high
    assert curve._border.isVisible() and curve._border.value() == (4.5 if per == "block" else 9.5)
    assert "blocks 1–4" in curve.hint.text()


def test_that_a_click_or_key_in_the_curve_selects_the_place(shown: Shown, qtbot: QtBot) -> None:
    curve = shown.page.distance
    point = curve.view.mapViewToScene(QPointF(5.2, 0.1))
    qtbot.mouseClick(curve.widget.viewport(), Qt.MouseButton.LeftButton, pos=curve.widget.mapFromScene(point))
    assert shown.selection.place == Place("block", 4)
    assert curve._mark.getRegion() == (4.5, 5.5) and curve._mark.isVisible()
    assert curve.hint.text().startswith("Block 5 (3.1): mean of 24 images")
    qtbot.keyClick(curve.widget, Qt.Key.Key_Left)
    assert shown.selection.place == Place("block", 3)
    assert shown.page.sort.itemText(1) == "By distance at block 4"


@pytest.mark.parametrize(
    ("place", "per", "region"),
    [
        (Place("block", 2), "layer", (5.5, 7.5)),
        (Place("layer", 6), "block", (2.5, 3.5)),
        (Place("layer", 0), "block", None),
        (Place("block", 6), "layer", None),
        (Place("block", 40), "block", None),
    ],
)
def test_that_a_place_is_marked_among_places_of_the_other_kind(
    shown: Shown, place: Place, per: Per, region: tuple[float, float] | None
) -> None:
    curve = shown.page.distance
    curve.per_buttons[per].click()
    shown.selection.set_place(place)
    assert curve._mark.isVisible() == (region is not None)
    if region is not None:
        assert curve._mark.getRegion() == region
        assert "Selected: " in curve.hint.text()


def test_that_a_logarithmic_axis_shows_curve_and_band(shown: Shown) -> None:
    curve = shown.page.distance
    shown.selection.set_sample(int(SAMPLES[1]))
    curve.log_button.click()
    outline = curve._band.polygon()
    assert outline.at(0).y() == pytest.approx(
        np.log10(TABLES["probe"]["distance"][:, 0].mean() + TABLES["probe"]["distance"][:, 0].std()), rel=1e-4
    )
    low, high = curve.view.viewRange()[1]
    assert low < np.log10(TABLES["probe"]["distance"][1].min()) < high


# another radius --------------------------------------------------------------------------------------------
def test_that_the_slider_steps_through_the_attacks_units_and_asks_when_let_go(shown: Shown) -> None:
    bar = shown.page.epsilon
    assert (bar.slider.value(), bar.slider.maximum(), bar.field.text()) == (16, 64, "16/255")
    bar.slider.setSliderDown(True)
    bar.slider.setValue(23)
    bar.slider.setValue(24)
    assert bar.field.text() == "24/255" and shown.asked == []
    bar.slider.setSliderDown(False)
    assert shown.asked == [("0003-neft", "finetuning", pytest.approx(24 / 255))]
    assert shown.said() == "Computing…"


def test_that_keys_on_the_slider_ask_once_they_rest(shown: Shown, qtbot: QtBot) -> None:
    bar = shown.page.epsilon
    bar._timer.setInterval(1)
    for _ in range(3):
        qtbot.keyClick(bar.slider, Qt.Key.Key_Right)
    assert bar.field.text() == "19/255"
    qtbot.waitUntil(lambda: bool(shown.asked))
    assert shown.asked == [("0003-neft", "finetuning", pytest.approx(19 / 255))]


@pytest.mark.parametrize(
    ("text", "epsilon"),
    [("8/255", 8 / 255), ("0.1", 0.1), ("0", 0.0), (" 1 ", 1.0), ("x", None), ("2", None), ("-1", None)],
)
def test_that_the_field_takes_any_radius_of_the_norm_and_refuses_others_in_words(
    shown: Shown, qtbot: QtBot, text: str, epsilon: float | None
) -> None:
    bar = shown.page.epsilon
    bar.field.setText(text)
    qtbot.keyClick(bar.field, Qt.Key.Key_Return)
    assert [call[2] for call in shown.asked] == ([] if epsilon is None else [pytest.approx(epsilon)])
    assert bar.field.text() == text
    assert ("from 0 to 1" in shown.said()) == (epsilon is None)


def test_that_an_answer_replaces_images_labels_and_distances_until_the_recorded_ones_are_asked_for(
    shown: Shown,
) -> None:
    shown.selection.set_sample(int(SAMPLES[4]))
    shown.page._ask(24 / 255)
    event = attacked(24 / 255)
    shown.page.show_attacked(event)
    flipped = event.examples["adversarial_prediction"] != event.examples["clean_prediction"]
    assert shown.said() == "Attacked anew with PGD-7, Linf 24/255, 1 restart"
    assert shown.page.epsilon.recorded_button.isVisible()
    assert shown.page.count.text() == f"{flipped.sum()} of {len(SAMPLES)} flipped"
    assert flipped.sum() > FLIPPED.sum()
    np.testing.assert_allclose(shown.page.distance._own.y, event.probe["distance"][4], rtol=1e-6)
    assert shown.page.mosaic.series()["largest difference (input units)"].max() == pytest.approx(
        24 / 255, rel=1e-5
    )
    assert shown.selection.sample == SAMPLES[4]
    shown.page.epsilon.recorded_button.click()
    assert shown.said() == f"Recorded: {LAYOUT.probe}"
    assert shown.page.count.text() == f"{FLIPPED.sum()} of {len(SAMPLES)} flipped"
    assert shown.page.epsilon.field.text() == "16/255"
    assert not shown.page.epsilon.recorded_button.isVisible()


def test_that_only_the_newest_answer_ends_the_waiting_and_answers_for_others_are_left_alone(
    shown: Shown,
) -> None:
    shown.page._ask(20 / 255)
    shown.page._ask(24 / 255)
    shown.page.show_attacked(attacked(20 / 255))
    assert shown.said() == "Computing…"
    shown.page.show_attacked(attacked(24 / 255, run_id="another"))
    shown.page.show_attacked(attacked(24 / 255, stage="attack"))
    assert shown.said() == "Computing…"
    shown.page.show_attacked(attacked(24 / 255))
    assert shown.said().startswith("Attacked anew")
    shown.page._ask(20 / 255)
    shown.page.show_recorded()
    shown.page.show_attacked(attacked(20 / 255))
    assert shown.said().startswith("Recorded")
    shown.page._ask(24 / 255)
    shown.page.show_attacked(attacked(24 / 255))
    shown.page.show_run(run(), "finetuning")
    assert shown.said().startswith("Recorded")


def test_that_a_failure_is_told_and_the_images_stay(shown: Shown) -> None:
    before = shown.samples()
    shown.page._ask(24 / 255)
    shown.page.attack_failed("The weights of NEFT could not be read.")
    assert shown.said() == "The weights of NEFT could not be read."
    assert shown.page.epsilon.about.property("role") == "error"
    assert shown.samples() == before and shown.page.epsilon.slider.isEnabled()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"state": "running", "weights": ()}, "when this stage has ended"),
        ({"state": "stopped", "weights": ()}, "no weights of this stage"),
        ({"tables": {"probe": TABLES["probe"]}}, "once there are images"),
        ({"state": "running"}, ""),
        ({"is_inspection": True}, "not on those of an analysis"),
    ],
)
def test_that_the_reason_why_no_other_radius_can_be_tried_is_told(
    changes: dict[str, Any], reason: str
) -> None:
    found = Shown(run(**changes))
    assert found.page.epsilon.slider.isEnabled() == found.page.epsilon.field.isEnabled() == (not reason)
    assert reason in found.said()
    found.close()


@pytest.mark.parametrize(
    ("attack", "text", "count", "largest"),
    [
        (AttackConfig(epsilon=8 / 255), "8/255", 32, 1.0),
        (AttackConfig(name="pgd", norm="l2"), "0.5", 40, 1000.0),
        (AttackConfig(epsilon=0.5), "0.5", 255, 1.0),
        (AttackConfig(epsilon=0.004, step_size=0.001), "0.004", 40, 1.0),
    ],
)
def test_that_an_attack_stage_offers_radii_in_its_own_norm(
    attack: AttackConfig, text: str, count: int, largest: float
) -> None:
    data = run(stage="attack", config=CONFIG.model_copy(update={"attack": attack}))
    radii = view.radii_of(data, "attack")
    assert (radii.text(radii.recorded), radii.count, radii.largest) == (text, count, largest)
    assert radii.position(radii.recorded) * radii.step == pytest.approx(radii.recorded, abs=radii.step / 2)
    assert all(len(format_ratio(radii.at(position))) <= 7 for position in range(radii.count + 1))
    assert view.why_not_attacked(data, "attack") == ""


# while it computes -----------------------------------------------------------------------------------------
def test_that_new_looks_replace_images_and_distances_and_leave_selection_and_scroll() -> None:
    data = run({}, state="running", weights=())
    found = Shown(data)
    assert found.page.stack.currentIndex() == 0 and "after the first look" in found.page.empty_text.text()
    assert found.page.live_button.isVisible() and found.page.demo_button.isHidden()
    for table, columns in TABLES.items():
        data.add_rows(RowsAdded("0003-neft", "finetuning", table, columns))  # type: ignore[arg-type]
    found.page.refresh()
    QApplication.processEvents()
    assert found.page.stack.currentIndex() == 1 and found.samples() == SAMPLES.tolist()
    found.selection.set_sample(int(SAMPLES[12]))
    scroll = found.page.mosaic.bar.value()
    assert scroll > 0
    later = rows(seed=3)
    for table, columns in later.items():
        data.add_rows(RowsAdded("0003-neft", "finetuning", table, columns))  # type: ignore[arg-type]
    np.testing.assert_allclose(found.page.distance._own.y, TABLES["probe"]["distance"][12], rtol=1e-6)
    found.page.refresh()
    np.testing.assert_allclose(found.page.distance._own.y, later["probe"]["distance"][12], rtol=1e-6)
    assert found.page.mosaic.bar.value() == scroll and found.selection.sample == SAMPLES[12]
    found.close()


def test_that_nothing_is_drawn_again_where_images_and_distances_stayed(shown: Shown) -> None:
    drawn = shown.page.mosaic.image.image
    shown.page.data.update(replace(shown.page.data.info, progress=0.9))  # type: ignore[union-attr]
    shown.page.begin_refresh()
    assert shown.page.all_drawn() and not shown.page.draw_next()
    shown.page.refresh()
    assert shown.page.mosaic.image.image is drawn


def test_that_one_plot_is_drawn_at_a_time() -> None:
    found = Shown(None)
    found.page.data = run()
    found.page.begin_refresh()
    assert found.page.mosaic.is_empty() and not found.page.all_drawn()
    assert found.page.draw_next() and not found.page.mosaic.is_empty() and found.page.distance.is_empty()
    assert found.page.draw_next() and not found.page.distance.is_empty() and found.page.all_drawn()
    found.close()


# nothing to show -------------------------------------------------------------------------------------------
def test_that_without_a_run_the_page_says_what_appears_and_offers_the_demo() -> None:
    found = Shown(None)
    asked: list[bool] = []
    found.page.demo_asked.connect(lambda: asked.append(True))
    assert found.page.stack.currentIndex() == 0 and "Choose a run" in found.page.empty_text.text()
    found.page.demo_button.click()
    assert asked == [True] and found.page.current_panel() is None
    found.close()


def test_that_a_run_without_images_says_that_none_were_kept() -> None:
    found = Shown(run({}))
    assert (
        found.page.stack.currentIndex() == 0
        and "older version, or its number of examples" in found.page.empty_text.text()
    )
    found.page.show_run(run(), "finetuning")
    assert found.page.stack.currentIndex() == 1
    found.page.show_run(None, "finetuning")
    assert found.page.stack.currentIndex() == 0 and found.page.current_panel() is None
    found.close()


def test_that_images_of_an_older_run_are_shown_without_distances() -> None:
    found = Shown(run({"examples": TABLES["examples"]}, stage="attack"), "attack")
    assert found.samples() == SAMPLES.tolist()
    assert found.page.distance.is_empty() and "older version" in found.page.distance._empty.text()
    found.choose(found.page.sort, "distance")
    assert found.samples() == SAMPLES.tolist()
    found.selection.set_sample(int(SAMPLES[2]))
    found.selection.set_place(Place("layer", 3))
    assert found.page.mosaic.selected_number() == 2 and found.page.distance.is_empty()
    found.close()


def test_that_probe_images_without_pictures_leave_the_curve() -> None:
    found = Shown(run({"probe": TABLES["probe"]}))
    assert found.page.mosaic.is_empty() and "only their distances" in found.page.mosaic._empty.text()
    assert not found.page.distance.is_empty() and found.page.current_panel() is found.page.distance
    found.close()


# export and reach ------------------------------------------------------------------------------------------
def test_that_the_numbers_of_both_plots_are_exported(shown: Shown) -> None:
    shown.selection.set_sample(int(SAMPLES[6]))
    shown.choose(shown.page.filter, "flipped")
    lines = list(csv.DictReader(io.StringIO(render_csv(shown.page.mosaic).decode())))
    assert [int(line["sample"]) for line in lines] == SAMPLES[FLIPPED].tolist()
    assert {line["flipped"] for line in lines} == {"1"}
    first = int(np.flatnonzero(FLIPPED)[0])
    assert lines[0]["true class"] == CLASSES[TABLES["examples"]["label"][first]]
    assert float(lines[0]["adversarial_confidence"]) == pytest.approx(
        TABLES["examples"]["adversarial_confidence"][first]
    )
    curve = list(csv.DictReader(io.StringIO(render_csv(shown.page.distance).decode())))
    assert [line["name"] for line in curve] == list(LAYOUT.block_names)
    assert float(curve[3][f"distance of image {SAMPLES[6]}"]) == pytest.approx(
        TABLES["probe"]["distance"][6, 3]
    )


def test_that_both_plots_are_drawn_for_print(shown: Shown, tmp_path: Path) -> None:
    shown.selection.set_sample(int(SAMPLES[0]))
    shown.page.mosaic.bar.setValue(0)
    picture = render_png(shown.page.mosaic, 120, 80, dpi=96)
    clean = np.rint(255 * TABLES["examples"]["clean"][0, :, 8, 3]).astype(int).tolist()
    assert pixels(picture, QColor(*clean).rgb()) >= 16
    for panel in shown.page.panels():
        for kind in ("svg", "pdf"):
            export(panel, tmp_path / f"plot.{kind}")
            assert (tmp_path / f"plot.{kind}").stat().st_size > 2000
    text = (tmp_path / "plot.svg").read_text()
    assert "this image" in text
    export(shown.page.mosaic, tmp_path / "mosaic.svg")
    drawing = (tmp_path / "mosaic.svg").read_text()
    assert "<image" in drawing and LAYOUT.probe in drawing
    (run,) = shown.page.mosaic.runs()
    assert Origin.of([shown.page.mosaic]).runs[0][1] == run.id


def test_that_a_plot_asks_for_its_export(shown: Shown) -> None:
    asked: list[PlotPanel] = []
    shown.page.export_requested.connect(asked.append)
    shown.page.mosaic.export_button.click()
    shown.page.distance.export_button.click()
    assert asked == list(shown.page.panels())


def test_that_one_plot_can_have_the_page_to_itself(shown: Shown) -> None:
    shown.page.mosaic.maximise_button.click()
    assert shown.page.distance.isHidden() and shown.page.current_panel() is shown.page.mosaic
    shown.page.mosaic.maximise_button.click()
    assert not shown.page.distance.isHidden()


def test_that_everything_that_takes_the_focus_has_a_name(shown: Shown) -> None:
    nameless = [
        widget
        for widget in shown.page.findChildren(QWidget)
        if widget.focusPolicy() & Qt.FocusPolicy.TabFocus
        and widget.isVisible()
        and widget.focusProxy() is None
        and not (widget.accessibleName() or getattr(widget, "text", str)())
    ]
    assert nameless == []


def test_that_another_stage_can_be_asked_for() -> None:
    data = run()
    data.start_stage(StageLayout("attack", "PGD-20"))
    found, chosen = Shown(data), []
    found.page.stage_chosen.connect(chosen.append)
    buttons = found.page.stage_buttons
    assert buttons["pretraining"].isHidden() and buttons["finetuning"].isChecked()
    buttons["attack"].click()
    assert chosen == ["attack"]
    found.close()


# the attack page -------------------------------------------------------------------------------------------
def test_that_the_attack_page_tells_verdict_and_margin_of_the_selected_image(qtbot: QtBot) -> None:
    script = ScriptedAttack("0003-neft", AttackConfig(epsilon=EPSILON, samples=100))
    info = RunInfo("0003-neft", "NEFT", "A study", "/runs/3", "running", CONFIG)
    data, page, selection = RunData(info), AttackPage(), Selection()
    qtbot.addWidget(page)
    page.follow(selection)
    data.start_stage(script.layout)
    seen: dict[int, set[str]] = {}
    for event in script.events():
        if isinstance(event, RowsAdded):
            data.add_rows(event)
            for sample in range(100):
                seen.setdefault(sample, set()).add(sample_text(data, sample).partition(": ")[2])
    samples = data.columns("attack", "samples")
    for sample, correct, robust in zip(
        samples["sample"], samples["clean_correct"], samples["robust"], strict=True
    ):
        final = sample_text(data, int(sample))
        told = seen[int(sample)]
        if not correct:
            assert final.endswith("misclassified without any attack")
        elif robust:
            assert "withstood every attack" in final and any(
                "so far, smallest margin 0.1" in text for text in told
            )
        else:
            assert ": broken" in final and any("broken, smallest margin −0.1" in text for text in told)
        assert not correct or "not attacked yet" in told
    page.show_run(data)
    assert page.chosen.isHidden()
    selection.set_sample(7)
    assert page.chosen.text() == sample_text(data, 7) != "" and not page.chosen.isHidden()
    selection.set_sample(5000)
    assert page.chosen.isHidden()
    page.close()


# in the window ---------------------------------------------------------------------------------------------
def test_that_the_window_has_images_attacked_anew_and_all_its_pages_follow_the_image(
    window: MainWindow, session: ScriptedSession
) -> None:
    info, record = earlier_run()
    session.add_earlier(info, record)
    session.open()
    drain(window)
    window.show_run(info.id)
    window.tabs.setCurrentWidget(window.examples)
    drain(window)
    page = window.examples
    page.stage_buttons["attack"].click()
    drain(window)
    assert page.stage == window.live.stage == "attack" and not page.mosaic.is_empty()
    assert window.shown.plot() is page.mosaic
    samples = window.live.data.columns("attack", "samples")["sample"]  # type: ignore[union-attr]
    image = int(np.intersect1d(page.mosaic.series()["sample"], samples)[0])
    page.mosaic.sample_chosen.emit(image)
    window.tabs.setCurrentWidget(window.live)
    drain(window)
    assert f"Image #{image}" in window.live.attack.chosen.text()
    window.tabs.setCurrentWidget(page)
    drain(window)
    page.epsilon.epsilon_asked.emit(12 / 255)
    assert session.calls[-1] == ("attack_examples", info.id, "attack", 12 / 255)
    drain(window)
    assert page.epsilon.about.text() == "Attacked anew with PGD-7, Linf 12/255"
    page.epsilon.epsilon_asked.emit(2.0)
    drain(window)
    assert page.epsilon.about.text() == "epsilon is 0 to 1; it is 2."
    page.stage_buttons["pretraining"].click()
    drain(window)
    assert window.selection.sample is None and window.live.stage == "pretraining"
    assert page.epsilon.about.text().startswith("Recorded: PGD-7")
