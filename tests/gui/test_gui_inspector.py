"""The panel of the selected run on its own: what is written there, what helps, and in what runs differ."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QPushButton, QWidget
from pytestqt.qtbot import QtBot

from cartl_gui.pages.inspector import InspectorPanel, RunLink
from engine.config import PretrainingConfig, StudyConfig
from engine.events import RunInfo, RunLabel
from tests.gui.gui_helpers import data_of
from tests.gui.scripted_session import demo_study, earlier_run


@pytest.fixture
def runs() -> dict[str, RunInfo]:
    """The demo's runs, all finished, and a second transfer from "at" that failed for want of memory."""
    finished, _record = earlier_run()
    found = {
        config.name: replace(finished, id=config.name, name=config.name, study="My study", config=config)
        for config in demo_study().runs
    }
    for name, parent in (("at-vanilla", "at"), ("fdm-neft", "fdm")):
        found[name] = replace(found[name], parent=parent)
    found["lost"] = replace(
        found["at-vanilla"], id="lost", name="lost", state="failed", reason="CUDA out of memory.\nTraceback", cause="memory",
        result=None,
    )  # fmt: skip
    return found


@pytest.fixture
def panel(qtbot: QtBot, runs: dict[str, RunInfo]) -> InspectorPanel:
    panel = InspectorPanel()
    qtbot.addWidget(panel)
    panel.resize(300, 700)
    panel.know(runs, {})
    panel.show()
    return panel


@pytest.fixture
def told(panel: InspectorPanel) -> list[tuple[str, RunLabel]]:
    """What was typed on runs."""
    found: list[tuple[str, RunLabel]] = []
    panel.label_changed.connect(lambda run_id, label: found.append((run_id, label)))
    return found


def visible(panel: InspectorPanel, kind: type[QWidget]) -> list[QWidget]:
    QApplication.processEvents()  # Qt shows what was added to a layout in its own time
    return [widget for widget in panel.findChildren(kind) if widget.isVisible()]


# writing ------------------------------------------------------------------------------------------------
def test_that_title_star_and_tags_are_written_where_they_stand(
    qtbot: QtBot, panel: InspectorPanel, runs: dict[str, RunInfo], told: list[tuple[str, RunLabel]]
) -> None:
    panel.show_run(data_of(runs["at"]))
    panel.label.title.selectAll()
    qtbot.keyClicks(panel.label.title, "Baseline")
    qtbot.keyClick(panel.label.title, Qt.Key.Key_Return)
    qtbot.mouseClick(panel.label.star, Qt.MouseButton.LeftButton)
    qtbot.keyClicks(panel.label.tags, "wide, paper wide")
    qtbot.keyClick(panel.label.tags, Qt.Key.Key_Return)
    assert told[-1] == ("at", RunLabel(title="Baseline", star=True, tags=("paper", "wide")))
    assert len(told) == 3 and panel.label.star.isChecked()
    panel.label.title.setText("at")
    panel.label.title.editingFinished.emit()
    assert told[-1][1].title == ""


def test_that_notes_are_kept_after_a_pause_and_when_another_run_is_shown(
    qtbot: QtBot, panel: InspectorPanel, runs: dict[str, RunInfo], told: list[tuple[str, RunLabel]]
) -> None:
    panel.show_run(data_of(runs["at"]))
    qtbot.keyClicks(panel.label.notes, "check the seeds")
    assert told == []
    qtbot.waitUntil(lambda: bool(told), timeout=3000)
    assert told == [("at", RunLabel(notes="check the seeds"))]
    qtbot.keyClicks(panel.label.notes, " again")
    panel.show_run(data_of(runs["fdm"]))
    assert told[-1] == ("at", RunLabel(notes="check the seeds again")) and len(told) == 2
    assert panel.label.notes.toPlainText() == ""


def test_that_what_is_being_typed_outlives_news_of_the_run(
    qtbot: QtBot, panel: InspectorPanel, runs: dict[str, RunInfo]
) -> None:
    panel.show_run(data_of(runs["at"]))
    panel.activateWindow()
    panel.label.title.setFocus()
    qtbot.waitUntil(panel.label.title.hasFocus, timeout=2000)
    panel.label.title.setText("half typ")
    panel.show_run(data_of(replace(runs["at"], label=RunLabel(star=True))))
    assert panel.label.title.text() == "half typ" and panel.label.star.isChecked()


def test_that_nothing_can_be_written_where_the_workspace_can_only_be_read(
    panel: InspectorPanel, runs: dict[str, RunInfo]
) -> None:
    panel.show_run(data_of(runs["lost"]))
    panel.set_can_write(False)
    assert panel.label.title.isReadOnly() and panel.label.tags.isReadOnly() and panel.label.notes.isReadOnly()
    assert not panel.label.star.isEnabled()
    assert [name for name, button in panel.help.items() if button.isVisible()] == ["copy_error"]


# what it tells ------------------------------------------------------------------------------------------
def test_that_a_failed_run_says_why_and_offers_what_helps(
    qtbot: QtBot, panel: InspectorPanel, runs: dict[str, RunInfo]
) -> None:
    panel.show_run(data_of(runs["lost"]))
    assert panel._state.text() == "failed" and panel._reason.text().startswith("CUDA out of memory.")
    asked: list[str] = []
    panel.command_asked.connect(asked.append)
    for button in panel.help.values():
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert asked == ["resume", "retry_half", "copy_error"]
    panel.show_run(data_of(runs["at"]))
    assert not any(button.isVisible() for button in panel.help.values())


def test_that_runs_before_and_after_are_links(
    qtbot: QtBot, panel: InspectorPanel, runs: dict[str, RunInfo]
) -> None:
    panel.show_run(data_of(runs["at-vanilla"]))
    (link,) = visible(panel, RunLink)
    assert link.full_text() == "at, finished"  # type: ignore[attr-defined]
    with qtbot.waitSignal(panel.run_asked) as asked:
        qtbot.mouseClick(link, Qt.MouseButton.LeftButton)
    assert asked.args == ["at"]
    panel.show_run(data_of(runs["at"]))
    names = [link.accessibleName() for link in visible(panel, RunLink)]
    assert names == ["Show run at-vanilla", "Show run lost"]


def test_that_weights_come_with_their_hash(
    qtbot: QtBot, panel: InspectorPanel, runs: dict[str, RunInfo]
) -> None:
    data = data_of(runs["at"])
    data.weights, data.weights_sha256 = ("pretraining",), {"pretraining": "0123456789abcdef" * 4}
    panel.show_run(data)
    button = next(
        button for button in visible(panel, QPushButton) if button.accessibleName().startswith("Export")
    )
    assert "0123456789abcdef" * 4 in button.toolTip()
    with qtbot.waitSignal(panel.export_asked) as asked:
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert asked.args == ["pretraining"]


@pytest.mark.parametrize(
    ("study", "expected"),
    [
        (lambda study: {}, "Differs from the program's defaults"),
        (lambda study: {"x": study}, "As in the preset “Letters to digits”"),
    ],
)
def test_that_one_run_is_measured_by_its_preset_or_the_defaults(
    panel: InspectorPanel,
    runs: dict[str, RunInfo],
    study: Callable[[StudyConfig], dict[str, StudyConfig]],
    expected: str,
) -> None:
    panel.know(runs, study(demo_study()))
    panel.show_run(data_of(replace(runs["at"], study="Letters to digits")))
    assert panel._unusual.heading.text() == expected


def test_that_only_unusual_settings_are_told_with_what_is_usual(
    panel: InspectorPanel, runs: dict[str, RunInfo]
) -> None:
    config = runs["at"].config.model_copy(
        update={"pretraining": PretrainingConfig(method="adversarial", epochs=7), "attack": None}
    )
    panel.show_run(data_of(replace(runs["at"], config=config)))
    shown = panel.unusual.texts()
    assert shown["Epochs"] == "7, not 12" and shown["Depth"].startswith("16, not ")
    assert "Method" not in shown and "Data set" not in shown


# several ------------------------------------------------------------------------------------------------
def test_that_several_runs_are_compared_and_copied(panel: InspectorPanel, runs: dict[str, RunInfo]) -> None:
    panel.show_run(data_of(runs["at"]))
    panel.show_selection(["at-vanilla", "fdm-neft"])
    difference = panel.difference
    assert difference.isVisible() and not panel.label.isVisible()
    assert difference._title.text() == "2 runs selected"
    places = [row.place for row in difference.model.rows]
    assert "finetuning.spectral_bound" in places and "finetuning.epochs" not in places
    difference.copy_csv.click()
    table = list(csv.reader(io.StringIO(QGuiApplication.clipboard().text())))
    assert table[0] == ["Setting", "at-vanilla", "fdm-neft"]
    assert ["Transfer: spectral bound (beta)", "–", "0.4"] in table
    difference.copy.click()
    lines = QGuiApplication.clipboard().text().splitlines()
    assert (
        len(lines) == len(table)
        and len({line.index(row[1]) for line, row in zip(lines, table, strict=True)}) == 1
    )
    panel.show_selection(["at"])
    assert panel.label.isVisible() and not difference.isVisible()


def test_that_equal_runs_are_said_to_be_equal(panel: InspectorPanel, runs: dict[str, RunInfo]) -> None:
    panel.show_selection(["at-vanilla", "lost"])
    assert panel.difference._about.text() == "They have the same settings and seed."
    assert not panel.difference.table.isVisible()
