"""The window while a study is made: plots, files and the list of runs, on a scripted session."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QGuiApplication
from PySide6.QtWidgets import (
    QApplication,
    QFileDialog,
    QWidget,
)
from pytestqt.qtbot import QtBot

from cartl_gui.dialogs.export_items import WeightsItem
from cartl_gui.main_window import MainWindow
from cartl_gui.pages.run_facts import config_facts
from engine.config import FinetuningConfig, dump_study, load_study
from engine.events import Downloading, RequestFailed, RunChanged, RunsListed
from tests.gui.gui_helpers import answer, drain, press, save
from tests.gui.scripted_session import DEVICE, ScriptedSession, demo_study, earlier_run


# the life of a study ------------------------------------------------------------------------------------
def test_that_one_click_on_the_demo_queues_its_runs_and_draws_curves(
    window: MainWindow, session: ScriptedSession
) -> None:
    window.welcome.demo_button.click()
    drain(window)
    assert [info.state for info in window.bridge.runs.values()] == ["created"] * 4
    assert window.tabs.currentWidget() is window.live
    assert window.live.stack.currentIndex() != 0
    session.step(16)
    drain(window)
    assert window.bridge.running() is not None
    assert window.live.loss.curves[0].has_values()
    assert window.live.accuracy.curves[0].has_values()
    assert re.match(r"\d+ % at, 3 waiting – CARTL Workbench", window.windowTitle())
    assert "epoch" in window.status.text()
    assert "images/s" in window.status.text()
    assert window.commands.actions["export"].isEnabled()


def test_that_the_plots_follow_the_study_to_its_next_run(
    window: MainWindow, session: ScriptedSession
) -> None:
    window.start_demo()
    drain(window)
    while window.bridge.runs["0001-at"].state != "finished":
        session.step()
        drain(window)
    session.step(12)
    drain(window)
    assert window.live.data is not None
    assert window.live.data.info.name == "fdm"
    assert window.runs.selected() == "0002-fdm"


def test_that_a_run_chosen_by_the_user_stays_shown(window: MainWindow, session: ScriptedSession) -> None:
    info, record = earlier_run()
    session.add_earlier(info, record)
    session.open()
    drain(window)
    window.show_run("old")
    drain(window)
    window.setup.set_study(demo_study(epochs=2))
    session.submit(demo_study(epochs=2))
    session.step(30)
    drain(window)
    assert window.live.data is not None
    assert window.live.data.info.id == "old"


def test_that_the_page_follows_the_stage_until_the_user_picks_one(
    window: MainWindow, session: ScriptedSession
) -> None:
    window.start_demo()
    drain(window)
    while window.live.stage != "attack":
        assert session.step()
        drain(window)
    assert window.live.stack.currentIndex() == 2
    window.live.stage_buttons["pretraining"].click()
    session.step(3)
    drain(window)
    assert window.live.stage == "pretraining"
    assert window.live.accuracy.isVisible()


def test_that_a_finished_study_fills_the_table_of_results(
    window: MainWindow, session: ScriptedSession
) -> None:
    window.start_demo()
    session.run_out()
    drain(window)
    press(window, "page_results")
    page = window.results
    page.runs_button.click()
    row = page.table.as_text()[4]
    assert row[:5] == ("fdm-neft", "0", "from fdm", "NEFT, β 0.4", "4")
    assert re.fullmatch(r"\d+\.\d \(\d+\.\d – \d+\.\d\)", row[5])
    assert row[7] == "PGD-20, Linf 16/255, 1 restart"
    assert [page.table.item(3, column).text() for column in range(len(row))] == list(row)
    page.copy_button.click()
    assert QGuiApplication.clipboard().text().splitlines()[4].split("\t") == list(row)
    lines = page.csv().splitlines()
    assert len(lines) == 5
    result = window.bridge.runs["0004-fdm-neft"].result
    assert result is not None
    assert any(f"{result.robust_accuracy.low}" in line for line in lines)


def test_that_pause_and_resume_reach_the_session(window: MainWindow, session: ScriptedSession) -> None:
    window.start_demo()
    session.step(10)
    drain(window)
    press(window, "pause")
    drain(window)
    assert ("pause",) in session.calls
    assert window.status.text() == "The queue is paused"
    assert not window.commands.actions["pause"].isEnabled()
    press(window, "resume")
    drain(window)
    assert ("resume", "0001-at") in session.calls
    assert window.bridge.running() is not None


def test_that_stop_asks_and_keeps_the_other_runs(window: MainWindow, session: ScriptedSession) -> None:
    window.start_demo()
    session.step(10)
    drain(window)
    answer("Cancel")
    press(window, "stop")
    assert not any(call[0] == "stop" for call in session.calls)
    answer("Stop")
    press(window, "stop")
    drain(window)
    assert window.bridge.runs["0001-at"].state == "stopped"
    assert window.bridge.runs["0002-fdm"].state == "created"
    assert window.commands.actions["resume"].isEnabled()


def test_that_an_earlier_run_is_opened_into_the_same_plots(
    window: MainWindow, session: ScriptedSession
) -> None:
    info, record = earlier_run(state="interrupted")
    session.add_earlier(info, record)
    session.open()
    drain(window)
    window.show_run("old")
    drain(window)
    assert ("open_run", "old") in session.calls
    window.live.stage_buttons["pretraining"].click()
    assert len(window.live.accuracy.series()["epoch"]) == 12
    assert window.commands.actions["resume"].isEnabled()
    assert "interrupted" in window.live._state.text()
    assert window.inspector._reason.text() == "the computer went off"


def test_that_a_failed_run_shows_its_first_line_and_leaves_the_window_alive(
    window: MainWindow, session: ScriptedSession
) -> None:
    window.start_demo()
    drain(window)
    info = window.bridge.runs["0001-at"]
    session.events.put(
        RunChanged(replace(info, state="failed", reason="Out of memory.\nUse a smaller batch."))
    )
    drain(window)
    row = window.runs.model.row_of(info.id)
    assert row is not None
    assert window.runs.model.index(row, window.runs.model.column("state")).data() == "failed: Out of memory."
    assert window.notices.text() == "at failed: Out of memory."


def test_that_states_are_never_dropped_and_progress_is_merged(
    window: MainWindow, session: ScriptedSession
) -> None:
    info = session.submit(demo_study())[0]
    seen: list[tuple[str, float]] = []

    class Listener(QWidget):
        def hear(self, changed: object) -> None:
            seen.append((changed.state, changed.progress))  # type: ignore[attr-defined]

    listener = Listener()
    drain(window)
    window.bridge.run_changed.connect(listener.hear)
    for progress in (0.1, 0.2, 0.3):
        session.events.put(RunChanged(replace(info, state="running", progress=progress)))
    session.events.put(RunChanged(replace(info, state="paused", progress=0.3)))
    session.events.put(RunChanged(replace(info, state="running", progress=0.4)))
    drain(window)
    assert seen == [("running", 0.3), ("paused", 0.3), ("running", 0.4)]
    listener.deleteLater()


def test_that_a_read_only_workspace_can_be_looked_at_only(
    window: MainWindow, session: ScriptedSession
) -> None:
    session.events.put(RunsListed((), "process 4242 writes to it"))
    drain(window)
    for name in ("run", "pause", "resume", "stop", "demo"):
        assert not window.commands.actions[name].isEnabled()
    assert not window.setup.run_button.isEnabled()
    assert window.notices.text() == "process 4242 writes to it."
    assert not window.welcome.demo_button.isEnabled()
    assert window.commands.actions["new"].isEnabled()


def test_that_a_refused_request_is_told_and_logged(window: MainWindow, session: ScriptedSession) -> None:
    session.events.put(RequestFailed("export", "The disk is full.", "Traceback …"))
    answer("Close")
    drain(window)
    assert "The disk is full." in window.log.text.toPlainText()


def test_that_the_device_is_named_with_what_could_not_be_tried(window: MainWindow) -> None:
    drain(window)
    assert DEVICE.name in window.welcome._device.text()
    assert "no NVIDIA driver found" in window.welcome._tried.text()
    assert window.status._device.text() == "CPU, 2 threads"


def test_that_a_download_is_told(window: MainWindow, session: ScriptedSession) -> None:
    session.events.put(Downloading("x", "cifar10", 50_000_000, 100_000_000))
    drain(window)
    assert window.status.text() == "Downloading cifar10 50 % (50.0 MB)"


# files --------------------------------------------------------------------------------------------------
def test_that_settings_are_saved_and_opened(
    window: MainWindow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "study.toml"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_args: (str(path.with_suffix("")), ""))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_args: (str(path), ""))
    window.setup.set_preset("demo")
    press(window, "save")
    window.setup.new_experiment()
    press(window, "open")
    assert window.setup.study() == demo_study(epochs=3)
    assert window.settings.folder == str(tmp_path)


def test_that_a_dropped_settings_file_is_proposed_and_of_others_is_said_why_not(
    window: MainWindow, tmp_path: Path
) -> None:
    path = tmp_path / "dropped.toml"
    path.write_text(dump_study(demo_study(epochs=5)))
    for name, told in (
        ("picture.png", "picture.png: this kind of file cannot be opened"),
        ("dropped.toml", ""),
    ):
        mime = QMimeData()
        mime.setUrls([QUrl.fromLocalFile(str(tmp_path / name))])
        enter = QDragEnterEvent(
            QPoint(5, 5),
            Qt.DropAction.CopyAction,
            mime,
            Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
        )
        enter.setAccepted(False)
        window.dragEnterEvent(enter)
        assert enter.isAccepted()
        window.notices.clear()
        window.dropEvent(
            QDropEvent(
                QPointF(5, 5),
                Qt.DropAction.CopyAction,
                mime,
                Qt.MouseButton.LeftButton,
                Qt.KeyboardModifier.NoModifier,
            )
        )
        assert window.notices.text().startswith(told)
    assert window.setup.study() == demo_study(epochs=5)


def test_that_a_broken_settings_file_is_refused_with_its_reason(window: MainWindow, tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("[[runs]]\nname = 3\n")
    before = window.setup.study()
    answer("Close")
    window.do.settings.open_file(str(path))
    QApplication.processEvents()
    assert window.setup.study() == before


def test_that_weights_are_exported_after_a_stage(
    window: MainWindow, session: ScriptedSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window.start_demo()
    session.run_out()
    drain(window)
    window.show_run("0004-fdm-neft")
    drain(window)
    press(window, "export_weights")
    dialog = window.do.exports.dialog
    assert dialog is not None and isinstance(dialog.item, WeightsItem)
    dialog.item.format.setCurrentIndex(1)
    save(window, tmp_path, "net")
    drain(window)
    dialog.close()
    assert session.calls[-1] == ("export_weights", "0004-fdm-neft", "finetuning", tmp_path / "net.pt")
    assert "net.pt" in window.log.text.toPlainText()


def test_that_the_settings_of_a_run_come_back_into_the_form(
    window: MainWindow, session: ScriptedSession
) -> None:
    window.start_demo()
    session.run_out()
    drain(window)
    window.show_run("0003-at-vanilla")
    press(window, "use_settings")
    study = window.setup.study()
    assert study is not None
    run = demo_study(epochs=3).runs[2]
    assert study.runs == [run.model_copy(update={"start_from": "0001-at"})], "that very run, not its name"
    assert window.setup.parts.bar.text.text() == "Settings of at-vanilla."


def test_that_the_command_line_of_a_run_can_be_copied(window: MainWindow, session: ScriptedSession) -> None:
    session.workspace.mkdir()
    info = session.submit(demo_study())[0]
    drain(window)
    window.runs.select(info.id)
    press(window, "copy_command")
    words = shlex.split(QGuiApplication.clipboard().text())
    place = words.index("run") + 1
    assert words[place + 1 :] == ["--workspace", str(session.workspace)]
    assert load_study(Path(words[place])).runs == [info.config]


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("neft", "frozen: head affine, trunk statistics"),
        ("full", "frozen: affine"),
        ("lwf", "frozen: affine"),
        ("linear_probe", "frozen: all"),
    ],
)
def test_that_batch_norm_is_told_in_words_that_fit_the_method(method: str, expected: str) -> None:
    run = demo_study().runs[3]
    config = run.model_copy(update={"finetuning": FinetuningConfig(method=method)})
    assert dict(config_facts(config))["Batch norm"] == expected


# list of runs -------------------------------------------------------------------------------------------
def test_that_the_filter_keeps_runs_with_all_words(window: MainWindow, session: ScriptedSession) -> None:
    session.submit(demo_study())
    drain(window)
    panel = window.runs
    for text, amount in (("", 4), ("neft", 1), ("FDM pgd-20", 2), ("queued", 4), ("nothing like it", 0)):
        panel.filter.setText(text)
        assert panel.model.rowCount() == amount
    assert panel._empty.isVisibleTo(panel)
    assert panel._amount.text() == "0 of 4 runs"


def test_that_the_run_list_says_states_progress_and_time_in_words(
    window: MainWindow, session: ScriptedSession
) -> None:
    info = session.submit(demo_study())[0]
    session.events.put(
        RunChanged(replace(info, state="running", stage="pretraining", progress=0.62, seconds_left=130.0))
    )
    drain(window)
    model = window.runs.model
    row = model.row_of(info.id)
    assert row is not None
    cells = {column.id: model.index(row, number) for number, column in enumerate(model.columns)}
    texts = [cells[name].data() for name in ("title", "state", "progress")]
    assert texts == ["at", "running: pre-training", "62 %"]
    assert cells["time"].data().startswith("2 min 10 s left, until ")
    assert cells["state"].data(Qt.ItemDataRole.AccessibleTextRole) == "State: running: pre-training"


def test_that_the_run_list_tells_runs_of_one_name_apart_by_their_seed(
    window: MainWindow, session: ScriptedSession
) -> None:
    info = session.submit(demo_study())[0]
    drain(window)
    model = window.runs.model
    title = model.column("title")
    assert model.index(model.row_of(info.id), title).data() == "at"
    again = replace(info, id="at-again", config=info.config.model_copy(update={"seed": 7}))
    session.events.put(RunChanged(again))
    drain(window)
    assert model.index(model.row_of(info.id), title).data() == f"at, seed {info.config.seed}"
    assert model.index(model.row_of("at-again"), title).data() == "at, seed 7"
    model.sort(title)
    names = [model.index(row, title).data() for row in range(model.rowCount())]
    assert names.index(f"at, seed {info.config.seed}") < names.index("at, seed 7")


def test_that_a_study_is_listed_in_the_order_it_is_made_above_older_ones(
    window: MainWindow, session: ScriptedSession
) -> None:
    info, record = earlier_run()
    session.add_earlier(replace(info, created=1.0e9), record)
    session.open()
    session.submit(demo_study())
    drain(window)
    model = window.runs.model
    names = [model.index(row, model.column("title")).data() for row in range(model.rowCount())]
    assert names == ["at", "fdm", "at-vanilla", "fdm-neft", "old-at"]


def test_that_return_opens_the_selected_run(
    qtbot: QtBot, window: MainWindow, session: ScriptedSession
) -> None:
    session.submit(demo_study())
    drain(window)
    window.tabs.setCurrentWidget(window.log)
    window.runs.select("0002-fdm")
    qtbot.keyClick(window.runs.table, Qt.Key.Key_Return)
    assert window.tabs.currentWidget() is window.live
    assert window.live.data is not None
    assert window.live.data.info.name == "fdm"
