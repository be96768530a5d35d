"""The results page: its numbers are those of `engine.results`, and what was interrupted goes on."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtGui import QDesktopServices, QGuiApplication, QImage
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from cartl_gui import words
from cartl_gui.main_window import MainWindow
from cartl_gui.pages.results import ResultsPage
from cartl_gui.plots.export import render_csv
from cartl_gui.plots.trade_off import TradeOffPlot, _crosses, style_of
from cartl_gui.settings import WindowSettings
from cartl_gui.theme import DARK, Theme, palette_of, style_sheet
from engine.api import Session
from engine.config import ComparisonConfig, StudyConfig, parse_study
from engine.events import RunInfo
from engine.results import Results, compare, results_of
from tests.engine.study_results import by_id, pretrained, run_info, study_of_two_lines, transferred
from tests.gui.figures import export, render_png
from tests.gui.gui_helpers import drain, end, press, save
from tests.gui.scripted_session import ScriptedSession

STUDY = "Study"


@pytest.fixture
def runs() -> list[RunInfo]:
    return study_of_two_lines()


@pytest.fixture
def page(qtbot: QtBot) -> Iterator[ResultsPage]:
    page = ResultsPage()
    qtbot.addWidget(page)
    page.resize(900, 620)
    page.show()
    yield page
    page.close()


def shown(page: ResultsPage, runs: list[RunInfo]) -> Results:
    page.show_runs(runs, STUDY)
    page.refresh()
    QApplication.processEvents()
    return results_of(runs, by_id(runs))


def texts(page: ResultsPage) -> dict[str, tuple[str, ...]]:
    return {row[0]: row for row in page.table.as_text()[1:]}


# the table ----------------------------------------------------------------------------------------------
def test_that_the_table_holds_the_cells_of_the_engine(page: ResultsPage, runs: list[RunInfo]) -> None:
    (evaluation,) = shown(page, runs).evaluations
    rows = texts(page)
    assert list(rows) == [cell.name for cell in evaluation.cells]
    for cell in evaluation.cells:
        row = rows[cell.name]
        assert row[1:5] == (cell.pretraining, cell.transfer, str(cell.k), "3 of 3")
        for text, estimate in zip(row[5:7], (cell.clean, cell.robust), strict=True):
            figures = [float(part) for part in text.replace("(", "").replace(")", "").split() if part != "–"]
            expected = [100 * estimate.mean, 100 * estimate.low, 100 * estimate.high]
            assert figures == pytest.approx(expected, abs=0.0501)
        assert bool(row[7]) == (cell.name in evaluation.front)
    assert "Student-t" in page._note.text()
    assert page.progress.text() == "21 of 21 runs finished"


def test_that_one_seed_shows_the_wilson_interval_and_says_so(page: ResultsPage) -> None:
    runs = study_of_two_lines(seeds=[0])
    shown(page, runs)
    run = next(run for run in runs if run.name == "AT, neft, k=3")
    assert run.result is not None
    assert texts(page)[run.name][6] == words.bare(run.result.robust_accuracy)
    assert texts(page)[run.name][4] == "1 of 1"
    assert "1 seed" in page._note.text()
    assert "no interval" in page.compare.details.text()


def test_that_single_runs_are_one_press_away(page: ResultsPage, runs: list[RunInfo]) -> None:
    shown(page, runs)
    page.runs_button.click()
    rows = page.table.as_text()[1:]
    assert [(row[0], row[1]) for row in rows] == [(run.name, str(run.config.seed)) for run in runs]
    page.copy_button.click()
    assert len(QGuiApplication.clipboard().text().splitlines()) == len(runs) + 1
    assert len(list(csv.reader(io.StringIO(page.csv())))) == len(runs) + 1
    page.cells_button.click()
    assert len(page.table.as_text()) == 7
    assert [row["cell"] for row in csv.DictReader(io.StringIO(page.csv()))] == list(texts(page))


def test_that_failed_and_waiting_runs_stand_in_their_row_with_the_reason(
    page: ResultsPage, runs: list[RunInfo]
) -> None:
    last = runs[-1]
    runs[-1] = replace(last, state="failed", reason="Out of memory.\nUse less.", result=None)
    runs.append(run_info(transferred("AT, lwf", 0, method="lwf"), state="created", parent=runs[0].id))
    shown(page, runs)
    rows = texts(page)
    assert rows[last.name][4] == "2 of 3"
    assert rows[last.name][8] == "1 failed (seed 2: Out of memory.)"
    assert rows["AT, lwf"][4:] == ("0 of 1", "–", "–", "", "1 queued")
    assert page.progress.text() == "20 of 22 runs finished, 1 failed"
    assert page.resume_button.isEnabled()


def test_that_the_page_follows_runs_as_they_finish(
    qtbot: QtBot, page: ResultsPage, runs: list[RunInfo]
) -> None:
    shown(page, runs[:-1])
    assert texts(page)[runs[-1].name][4] == "2 of 2"
    page.show_runs(runs, STUDY)
    qtbot.waitUntil(lambda: texts(page)[runs[-1].name][4] == "3 of 3", timeout=2000)


def test_that_evaluations_are_never_mixed(page: ResultsPage, runs: list[RunInfo]) -> None:
    stronger = run_info(
        transferred("AT, vanilla, k=1", 0, attack={"steps": 50}, num_finetuned_blocks=1), (0.6, 0.2),
        parent=runs[0].id,
    )  # fmt: skip
    results = shown(page, [*runs, stronger])
    assert page.evaluation.count() == 2
    page.evaluation.setCurrentIndex(1)
    evaluation = page.shown_evaluation()
    assert evaluation is not None
    assert evaluation.title == results.evaluations[1].title
    assert list(texts(page)) == ["AT, vanilla, k=1"]
    assert len(page.plot.series()["cell"]) == 1


# the plot -----------------------------------------------------------------------------------------------
def test_that_the_plot_draws_and_exports_the_cells_of_each_line(
    page: ResultsPage, runs: list[RunInfo], tmp_path: Path
) -> None:
    (evaluation,) = shown(page, runs).evaluations
    rows = list(csv.DictReader(io.StringIO(render_csv(page.plot).decode())))
    cells = [(line, cell) for line in evaluation.lines for cell in line.cells]
    for row, (line, cell) in zip(rows, cells, strict=True):
        assert (row["line"], row["cell"], float(row["k"])) == (line.name, cell.name, cell.k)
        for part, estimate in (("clean", cell.clean), ("robust", cell.robust)):
            assert float(row[f"{part} accuracy (%)"]) == pytest.approx(100 * estimate.mean)
            assert float(row[f"{part} 95 % low (%)"]) == pytest.approx(100 * estimate.low)
            assert float(row[f"{part} 95 % high (%)"]) == pytest.approx(100 * estimate.high)
        assert bool(int(row["Pareto front"])) == (cell.name in evaluation.front)
    for line, curve in zip(evaluation.lines, page.plot.curves, strict=False):
        assert list(curve.x) == [100 * cell.clean.mean for cell in line.cells]
        assert curve.entry.name == line.name
    assert sorted(label.text() for label in page.plot._labels if label.isVisible()) == sorted(
        f"k={cell.k}" for cell in evaluation.cells
    )
    for name in ("plot.svg", "plot.pdf", "plot.png"):
        export(page.plot, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 5000


def test_that_labels_stand_beside_the_intervals(qtbot: QtBot) -> None:
    plot = TradeOffPlot()
    qtbot.addWidget(plot)
    plot.resize(690, 280)
    plot.show()
    source = run_info(pretrained())
    points = {"vanilla, k=1": (0.973, 0.249), "vanilla, k=3": (0.987, 0.279), "neft, k=3": (0.971, 0.232)}
    runs = [source]
    for name, accuracies in points.items():
        method, k = name.split(", k=")
        config = transferred(f"AT, {name}", method=method, num_finetuned_blocks=int(k))
        runs.append(run_info(config, accuracies, parent=source.id))
    (evaluation,) = results_of(runs, by_id(runs)).evaluations
    plot.show_evaluation(evaluation)
    qtbot.wait(50)
    plot.settle()
    bars = [bar for line in plot.lines for cell in line.cells for bar in plot._interval_bars(cell)]
    boxes = [label.sceneBoundingRect() for label in plot._labels if label.isVisible()]
    assert (len(bars), len(boxes)) == (6, 3)
    assert not any(_crosses(box, bar) for box in boxes for bar in bars)


def test_that_intervals_of_a_hidden_line_stay_hidden_when_results_or_colours_change(
    page: ResultsPage, runs: list[RunInfo]
) -> None:
    shown(page, runs)
    plot = page.plot
    plot.curves[0].entry.click()
    page.refresh()
    plot.recolour(plot.colours)
    assert [bars.isVisible() for bars in plot._bars[:2]] == [False, True]
    plot.curves[0].entry.click()
    assert all(bars.isVisible() for bars in plot._bars[:2])


def test_that_pointing_at_a_cell_tells_it_and_a_click_selects_its_row(
    page: ResultsPage, runs: list[RunInfo]
) -> None:
    (evaluation,) = shown(page, runs).evaluations
    cell = evaluation.cells[3]
    place = 100 * cell.clean.mean, 100 * cell.robust.mean
    pointed = page.plot.cell_at(*place)
    assert pointed is not None
    assert pointed.name == cell.name
    assert page.plot.describe(*place).startswith(f"{cell.name}  ·  clean {100 * cell.clean.mean:.1f} % (")
    assert "3 seeds" in page.plot.describe(*place)
    assert page.plot.describe(place[0], place[1] + 60) == ""
    page.plot.cell_chosen.emit(cell.name)
    assert page.table.currentRow() == 3
    assert list(page.plot._chosen.getData()[0]) == [place[0]]


def test_that_the_plot_takes_one_point_none_and_gaps(qtbot: QtBot, runs: list[RunInfo]) -> None:
    plot = TradeOffPlot()
    qtbot.addWidget(plot)
    plot.resize(500, 300)
    plot.show()
    assert plot.is_empty()
    (evaluation,) = results_of(runs[:2], by_id(runs)).evaluations
    plot.show_evaluation(evaluation)
    assert len(plot.series()["cell"]) == 1
    left, right, bottom, top = plot.place_axes()
    assert left < 100 * evaluation.cells[0].clean.mean < right
    assert bottom < 100 * evaluation.cells[0].robust.mean < top
    hole = replace(evaluation.cells[0].robust, mean=math.nan, low=math.nan, high=math.nan)
    cell = replace(evaluation.cells[0], robust=hole)
    line = replace(evaluation.lines[0], cells=(cell,))
    plot.show_evaluation(replace(evaluation, cells=(cell,), lines=(line,)))
    QApplication.processEvents()
    assert render_csv(plot).decode().splitlines()[1].count(",,") > 0
    plot.show_evaluation(None)
    assert plot.is_empty()
    assert plot._empty.isVisible()
    plot.close()


def test_that_the_plot_follows_the_theme_and_no_two_lines_look_alike(
    qtbot: QtBot, page: ResultsPage, runs: list[RunInfo], qapp: QApplication
) -> None:
    shown(page, runs)
    light = page.plot.curves[0].item.opts["pen"].color()
    qapp.setPalette(palette_of(DARK))
    qapp.setStyleSheet(style_sheet(DARK))
    qtbot.waitUntil(lambda: page.plot.colours.name == "dark", timeout=2000)
    assert page.plot.curves[0].item.opts["pen"].color() != light
    styles = [style_of(number) for number in range(24)]
    assert len({(style.colour, style.symbol) for style in styles}) == 24


def test_that_numbers_of_an_exported_plot_are_as_large_at_any_resolution(
    page: ResultsPage, runs: list[RunInfo]
) -> None:
    shown(page, runs)
    fine = render_png(page.plot, 120, 80, dpi=288)
    coarse = render_png(page.plot, 120, 80, dpi=96)
    fine = fine.scaled(coarse.size()).convertToFormat(QImage.Format.Format_Grayscale8)
    coarse = coarse.convertToFormat(QImage.Format.Format_Grayscale8)
    dark = [
        sum(
            image.pixelColor(x, y).lightness() < 128
            for x in range(0, image.width(), 2)
            for y in range(image.height() * 7 // 8, image.height())
        )
        for image in (fine, coarse)
    ]
    assert dark[0] == pytest.approx(dark[1], rel=0.5)


# comparing ----------------------------------------------------------------------------------------------
def test_that_the_comparison_of_two_methods_is_the_engines(page: ResultsPage, runs: list[RunInfo]) -> None:
    (evaluation,) = shown(page, runs).evaluations
    panel = page.compare
    panel.baseline.setCurrentText("AT, vanilla")
    panel.other.setCurrentText("AT, neft")
    config = ComparisonConfig(baseline="AT, vanilla", other="AT, neft", measure="robust_at_equal_clean")
    (answer,) = compare([evaluation], config)
    assert panel.answer == answer
    difference = answer.difference
    assert panel.figure.text() == (
        f"+{100 * difference.mean:.1f} points (+{100 * difference.low:.1f} to +{100 * difference.high:.1f})"
    )
    assert panel.details.text().startswith("3 seeds, 95 % interval over seeds\nat ")
    assert "Pareto" in panel.figure.toolTip()
    panel.other.setCurrentText("AT, vanilla")
    assert panel.answer is None
    assert panel.figure.isHidden()


def test_that_the_questions_of_a_known_study_are_answered(page: ResultsPage, runs: list[RunInfo]) -> None:
    question = ComparisonConfig(
        title="NEFT keeps more", baseline="AT, vanilla", other="AT, neft", measure="robust_at_equal_clean"
    )
    study = StudyConfig(title=STUDY, runs=[run.config for run in runs], comparisons=[question])
    page.know_study(study)
    shown(page, runs)
    (answer,) = page.compare.answers
    assert answer.verdict == "shown"
    assert answer == results_of(runs, by_id(runs), study).comparisons[0]


def test_that_questions_kept_in_the_workspace_are_answered_until_the_study_itself_is_known(
    page: ResultsPage, runs: list[RunInfo]
) -> None:
    question = ComparisonConfig(baseline="AT, vanilla", other="AT, neft", measure="robust_at_equal_clean")
    page.know_questions({STUDY: (question,)})
    shown(page, runs)
    assert [answer.config for answer in page.compare.answers] == [question]
    page.know_study(StudyConfig(title=STUDY, runs=[run.config for run in runs]))
    page.refresh()
    assert page.compare.answers == ()


# what the buttons do ------------------------------------------------------------------------------------
def test_that_a_report_is_written_into_a_folder_and_opened(
    window: MainWindow, session: ScriptedSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    window.start_demo()
    session.run_out()
    drain(window)
    press(window, "page_results")
    window.results.report_button.click()
    dialog = save(window, tmp_path, "report")
    drain(window)
    assert ("export_report", "Letters to digits", tmp_path / "report") in session.calls
    dialog.show_button.click()
    assert opened == [str(tmp_path / "report" / "report.html")]
    dialog.close()


def test_that_the_plot_of_the_results_is_exported_by_the_command(
    window: MainWindow, session: ScriptedSession
) -> None:
    window.start_demo()
    session.run_out()
    drain(window)
    press(window, "page_results")
    assert window.shown.plot() is window.results.plot
    assert window.commands.actions["export"].isEnabled()


TINY = """
title = "tiny"
[defaults]
model = { depth = 10 }
source = { name = "letters", image_size = 8, train_size = 52, test_size = 26 }
target = { name = "digits", image_size = 8, train_size = 40, test_size = 20 }
machine = { device = "cpu", threads = 1 }
inspection = { bounds = false }
[defaults.pretraining]
epochs = 1
attack = { epsilon = "8/255", step_size = "4/255", steps = 1 }
[defaults.finetuning]
epochs = 1
[defaults.attack]
steps = 1
[grid]
seed = [0, 1]
[[runs]]
name = "AT"
pretraining = { method = "adversarial" }
[[runs]]
name = "vanilla"
start_from = "AT"
finetuning = { method = "vanilla" }
attack = {}
grid = { k = [1, 2] }
"""


def test_that_an_interrupted_study_is_resumed_from_its_results(
    qtbot: QtBot, tmp_path: Path, settings: WindowSettings, themes: Theme
) -> None:
    study = parse_study(TINY)
    earlier = Session(tmp_path)
    earlier.open()
    made = earlier.submit(study)
    assert earlier.close(60)
    window = MainWindow(Session(tmp_path), {}, settings, themes)
    window.show()
    window.start()
    qtbot.waitUntil(lambda: len(window.bridge.runs) == len(study.runs), timeout=20_000)
    press(window, "page_results")
    assert window.results.progress.text().endswith(" of 6 runs finished")
    window.results.resume_button.click()
    qtbot.waitUntil(
        lambda: {info.state for info in window.bridge.runs.values()} == {"finished"}, timeout=60_000
    )
    assert set(window.bridge.runs) == {info.id for info in made}
    qtbot.waitUntil(lambda: window.results.progress.text() == "6 of 6 runs finished", timeout=5000)
    assert [row[4] for row in window.results.table.as_text()[1:]] == ["2 of 2", "2 of 2"]
    assert not window.results.resume_button.isEnabled()
    end(qtbot, window)


def test_that_runs_that_are_not_attacked_are_in_the_list_of_runs_only(page: ResultsPage) -> None:
    runs = [run_info(pretrained(seed=0))]
    shown(page, runs)
    assert page.table.as_text()[1:] == []
    assert page.plot.is_empty()
    page.runs_button.click()
    assert len(page.table.as_text()) == 2
