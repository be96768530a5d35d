"""The plot of robust accuracy against radius and steps."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PySide6.QtCore import QPointF
from PySide6.QtGui import QColor, QImage
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from cartl_gui.plots.sweep import SweepPlot
from cartl_gui.run_data import RunData
from cartl_gui.theme import DARK, LIGHT, palette_of
from engine.config import AttackConfig
from engine.events import SweepResult
from engine.statistics import wilson
from tests.gui.figures import export, render_pdf, render_svg
from tests.gui.test_gui_attack_page import AUTOATTACK, PGD, during, played

RADII = [2 / 255, 4 / 255, 32 / 255]
STEPS = [5, 100]
BOTH = PGD.model_copy(update={"sweep_epsilon": RADII, "sweep_steps": STEPS})


def shown(qtbot: QtBot, data: RunData | None) -> SweepPlot:
    panel = SweepPlot()
    qtbot.addWidget(panel)
    panel.resize(480, 320)
    panel.show()
    panel.show_run(data, "attack")
    QApplication.processEvents()
    return panel


@pytest.fixture
def data() -> RunData:
    return played(BOTH)


def columns(panel: SweepPlot) -> list[np.ndarray]:
    return list(panel.series().values())


def test_that_the_curve_is_the_data_from_the_clean_accuracy_on(qtbot: QtBot, data: RunData) -> None:
    panel = shown(qtbot, data)
    result = data.info.result
    assert result is not None
    expected = {found.epsilon: found.robust_accuracy for found in result.sweep if found.steps == 20}
    assert sorted(expected) == [*RADII[:2], 16 / 255, RADII[2]]
    epsilon, steps, value, low, high = columns(panel)
    shares = [result.clean_accuracy, *(expected[radius] for radius in sorted(expected))]
    assert epsilon.tolist() == [0.0, *sorted(expected)]
    assert steps[1:].tolist() == [20.0] * 4 and np.isnan(steps[0])
    assert value == pytest.approx([100 * share.value for share in shares])
    assert low == pytest.approx([100 * share.low for share in shares])
    assert high == pytest.approx([100 * share.high for share in shares])
    clean, robust = panel.curves
    assert robust.x == pytest.approx([0, 2, 4, 16, 32]), "in 1/255"
    assert (clean.x.tolist(), clean.y.tolist()) == ([0.0], [100 * result.clean_accuracy.value])
    bars = panel._bars[1][1].opts
    assert bars["top"] == pytest.approx((high - value)[1:])
    assert bars["bottom"] == pytest.approx((value - low)[1:])
    panel.close()


def test_that_the_same_attack_is_drawn_against_its_steps(qtbot: QtBot, data: RunData) -> None:
    panel = shown(qtbot, data)
    assert all(button.isVisible() for button in panel.axis_buttons.values())
    panel.axis_buttons["steps"].click()
    epsilon, steps, value, _low, _high = columns(panel)
    assert steps.tolist() == [5.0, 20.0, 100.0]
    assert set(epsilon.tolist()) == {16 / 255}
    result = data.info.result
    assert result is not None
    assert value[1] == pytest.approx(100 * result.robust_accuracy.value)
    assert panel.curves[1].x == pytest.approx(np.log10([5, 20, 100]))
    ticks = panel.plot.getAxis("bottom")._tickLevels
    assert [text for _place, text in ticks[0]] == ["5", "20", "100"]
    assert panel.titles[0] == "steps"
    assert not panel.curves[0].has_values(), "clean images know no steps"
    panel.axis_buttons["epsilon"].click()
    assert panel.titles[0] == "epsilon (Linf, n/255)"
    assert len(panel.series()["accuracy (%)"]) == 5
    panel.close()


@pytest.mark.parametrize(("attack", "axis"), [
    (PGD.model_copy(update={"sweep_epsilon": RADII}), "epsilon"),
    (PGD.model_copy(update={"sweep_steps": STEPS}), "steps"),
    (AUTOATTACK.model_copy(update={"sweep_epsilon": RADII}), "epsilon"),
])  # fmt: skip
def test_that_a_sweep_over_one_thing_has_no_switch(qtbot: QtBot, attack: AttackConfig, axis: str) -> None:
    panel = shown(qtbot, played(attack))
    assert not any(button.isVisible() for button in panel.axis_buttons.values())
    assert panel.axis == axis
    assert not panel.is_empty()
    panel.close()


def test_that_another_norm_has_its_own_axis(qtbot: QtBot) -> None:
    attack = AttackConfig(norm="l2", samples=200, sweep_epsilon=[0.25, 1.0])
    panel = shown(qtbot, played(attack))
    assert panel.titles[0] == "epsilon (L2)"
    assert panel.curves[1].x == pytest.approx([0, 0.25, 0.5, 1.0])
    panel.close()


def test_that_an_empty_plot_says_what_will_appear(qtbot: QtBot) -> None:
    panel = shown(qtbot, played(BOTH, during("PGD")))
    assert panel.is_empty()
    assert panel._empty.isVisible() and "appears here" in panel._empty.text()
    assert not panel.export_button.isEnabled()
    assert all(len(values) == 0 for values in columns(panel))
    panel.show_run(None, "attack")
    assert panel.is_empty()
    panel.close()


def test_that_one_point_is_drawn(qtbot: QtBot) -> None:
    panel = shown(qtbot, played(BOTH, during("PGD", point=1)))
    epsilon, _steps, value, low, high = columns(panel)
    assert epsilon.tolist() == [0.0, 16 / 255]
    assert (low < value).all() and (value < high).all()
    panel.grab()
    panel.close()


def test_that_all_images_broken_or_none_is_drawn(qtbot: QtBot, data: RunData) -> None:
    result = data.info.result
    assert result is not None
    sweep = (SweepResult(4 / 255, 20, wilson(200, 200)), SweepResult(16 / 255, 20, wilson(0, 200)))
    data.update(replace(data.info, result=replace(result, sweep=sweep)))
    panel = shown(qtbot, data)
    assert panel.series()["accuracy (%)"][1:].tolist() == [100.0, 0.0]
    bottom, top = panel.view.viewRange()[1]
    assert bottom <= 0 and top >= 100
    panel.grab()
    panel.close()


def test_that_the_point_nearby_is_read_out(qtbot: QtBot, data: RunData) -> None:
    panel = shown(qtbot, data)
    result = data.info.result
    assert result is not None
    panel._mouse_moved(panel.view.mapViewToScene(QPointF(16.4, 50)))
    share = result.robust_accuracy
    assert panel._pointed.text() == (
        f"epsilon 16/255: {100 * share.value:.1f} % ({100 * share.low:.1f} – {100 * share.high:.1f})"
    )
    assert panel.describe(0.1, 50).startswith("clean: ")
    panel.set_axis("steps")
    assert panel.describe(float(np.log10(90)), 50).startswith("100 steps: ")
    panel.close()


@pytest.mark.parametrize("axis", ["epsilon", "steps"])
def test_that_csv_equals_the_data_shown(qtbot: QtBot, data: RunData, tmp_path: Path, axis: str) -> None:
    panel = shown(qtbot, data)
    panel.set_axis(axis)
    export(panel, tmp_path / "sweep.csv")
    rows = list(csv.reader(io.StringIO((tmp_path / "sweep.csv").read_text())))
    assert rows[0] == list(panel.series())
    for column, values in enumerate(panel.series().values()):
        read = np.array([float(row[column]) if row[column] else np.nan for row in rows[1:]])
        assert np.array_equal(read, values, equal_nan=True)
    panel.close()


@pytest.mark.parametrize("axis", ["epsilon", "steps"])
def test_that_svg_and_pdf_show_the_chosen_axis(qtbot: QtBot, data: RunData, axis: str) -> None:
    panel = shown(qtbot, data)
    panel.set_axis(axis)
    root = ElementTree.fromstring(render_svg(panel, 120, 80))
    words = " ".join("".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text"))
    assert f"against {axis}" in words
    assert panel.titles[0].split()[0] in words
    assert ("100" in words) and ("n/255" in words) == (axis == "epsilon")
    pdf = render_pdf(panel, 120, 80)
    assert pdf.startswith(b"%PDF-1.")
    assert b"/MediaBox [0 0 340" in pdf
    panel.close()


def test_that_every_format_is_written(qtbot: QtBot, data: RunData, tmp_path: Path) -> None:
    panel = shown(qtbot, data)
    for kind in ("png", "svg", "pdf", "csv"):
        export(panel, tmp_path / f"sweep.{kind}")
        assert (tmp_path / f"sweep.{kind}").stat().st_size > 100
    image = QImage(str(tmp_path / "sweep.png"))
    orange = QColor(LIGHT.curves[1])
    reds = sum(
        image.pixelColor(x, y) == orange
        for x in range(0, image.width(), 2)
        for y in range(0, image.height(), 2)
    )
    assert reds > 50, "the curve is in the picture"
    panel.close()


def test_that_colours_follow_the_palette(qtbot: QtBot, qapp: QApplication, data: RunData) -> None:
    panel = shown(qtbot, data)
    qapp.setPalette(palette_of(DARK))
    QApplication.processEvents()
    assert panel.colours is DARK
    assert panel._bars[1][1].opts["pen"].color().name() == DARK.curves[1]
    qapp.setPalette(palette_of(LIGHT))
    QApplication.processEvents()
    panel.close()
