"""Commands that propose an attack, and the marks that warnings leave in lists and tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtWidgets import QFileDialog
from pytestqt.qtbot import QtBot

from cartl_gui.files import dropped_paths, is_settings_file, is_weights_file, why_not
from cartl_gui.main_window import MainWindow
from cartl_gui.models.run_list import RunListModel
from cartl_gui.pages.results_table import RUN_HEADERS, ResultsTable, run_rows
from cartl_gui.plots.trade_off import cell_text
from engine.config import AttackConfig, CheckpointConfig, RunConfig
from engine.events import RunInfo
from engine.results import results_of
from tests.gui.gui_helpers import drain, press
from tests.gui.scripted_attack import MASKING, WEAK
from tests.gui.scripted_session import ScriptedSession, earlier_run


def with_earlier(window: MainWindow, session: ScriptedSession, *infos: RunInfo) -> None:
    for info in infos:
        session.add_earlier(info)
    session.open()
    drain(window)


def proposed(window: MainWindow) -> RunConfig:
    study = window.setup.study()
    assert study is not None and len(study.runs) == 1
    return study.runs[0]


def test_that_an_attack_on_a_run_is_proposed_with_its_own_settings(
    window: MainWindow, session: ScriptedSession
) -> None:
    info, _record = earlier_run("at, k=4")
    with_earlier(window, session, info)
    assert not window.commands.actions["attack_run"].isEnabled()
    window.runs.select(info.id)
    press(window, "attack_run")
    run = proposed(window)
    assert run.stages == ("attack",)
    assert (run.name, run.start_from, run.seed) == ("at, k=4, attack", info.id, info.config.seed)
    assert run.attack == info.config.attack
    assert run.checkpoint is None and run.target is None
    assert window.setup.title.text() == info.study
    assert window.setup.isVisible()
    window.setup.run_button.click()
    submitted = [call[1] for call in session.calls if call[0] == "submit"]
    assert submitted[0].runs == [run]  # type: ignore[attr-defined]


def test_that_a_run_without_attack_is_attacked_with_the_defaults(
    window: MainWindow, session: ScriptedSession
) -> None:
    info, _record = earlier_run()
    config = info.config.model_copy(update={"attack": None, "name": "x" * 80})
    with_earlier(window, session, replace(info, config=config, result=None))
    window.runs.select(info.id)
    press(window, "attack_run")
    assert proposed(window).attack == AttackConfig()
    assert proposed(window).name == "x" * 72 + ", attack"


def test_that_an_attack_on_a_checkpoint_is_proposed_anew_from_the_same_network(
    window: MainWindow, session: ScriptedSession
) -> None:
    info, _record = earlier_run()
    config = RunConfig(name="foreign", start_from="/w/net.pt2", checkpoint=CheckpointConfig(),
                       target=info.config.source, attack=AttackConfig(name="square"))  # fmt: skip
    with_earlier(window, session, replace(info, config=config, result=None, state="paused"))
    window.runs.select(info.id)
    press(window, "attack_run")
    assert proposed(window) == config


def test_that_a_run_that_is_not_trained_to_its_end_cannot_be_attacked(
    window: MainWindow, session: ScriptedSession
) -> None:
    info, _record = earlier_run()
    with_earlier(window, session, replace(info, state="interrupted", result=None))
    window.runs.select(info.id)
    assert not window.commands.actions["attack_run"].isEnabled()
    assert window.runs._menu is not None
    assert window.commands.actions["attack_run"] in window.runs._menu.actions()


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".pt2", ".ts"])
def test_that_a_checkpoint_file_is_proposed_with_what_it_cannot_tell(
    window: MainWindow, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    path = f"/weights/madry{suffix}"
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_args: (path, ""))
    press(window, "attack_file")
    run = proposed(window)
    assert (run.name, run.start_from, run.stages) == ("madry, attack", path, ("attack",))
    assert run.checkpoint == CheckpointConfig()
    assert run.target is not None and run.attack == AttackConfig()
    form = window.setup.form
    assert form.sections["data"].header.isChecked()
    assert not form.groups["checkpoint"].isHidden() and not form.groups["target"].isHidden()
    assert form.foreign.isChecked()


def test_that_weights_of_this_program_need_no_description(
    window: MainWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_args: ("/w/own.safetensors", ""))
    press(window, "attack_file")
    run = proposed(window)
    assert run.checkpoint is None and run.target is None
    assert not window.setup.form.foreign.isHidden(), "the form can say otherwise"


def test_that_nothing_happens_without_a_file(window: MainWindow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_args: ("", ""))
    before = window.setup.study()
    press(window, "attack_file")
    assert window.setup.study() == before


def drop(path: str) -> tuple[QDropEvent, QMimeData]:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(path)])
    event = QDropEvent(
        QPointF(5, 5),
        Qt.DropAction.CopyAction,
        data,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    return event, data


def test_that_a_dropped_checkpoint_proposes_an_attack(window: MainWindow) -> None:
    event, _data = drop("/weights/resnet18.PTH")
    window.dropEvent(event)
    assert event.isAccepted()
    assert proposed(window).start_from == "/weights/resnet18.PTH"


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/a/study.toml", "settings"), ("/a/net.pt2", "weights"), ("/a/photo.png", ""), ("/a/pt", "")],
)
def test_that_dropped_files_are_told_apart_by_their_ending(path: str, kind: str) -> None:
    event, _data = drop(path)
    assert dropped_paths(event) == [path]
    assert is_settings_file(path) == (kind == "settings")
    assert is_weights_file(path) == (kind == "weights")
    assert why_not(path).startswith(f"{path.rpartition('/')[2]}: this kind of file cannot be opened.")


# marks -----------------------------------------------------------------------------------------------------
def doubtful() -> RunInfo:
    info, _record = earlier_run()
    assert info.result is not None
    return replace(info, result=replace(info.result, warnings=(MASKING, WEAK, MASKING)))


def test_that_the_list_of_runs_marks_a_doubtful_figure() -> None:
    model = RunListModel()
    info, _record = earlier_run()
    model.set_runs([replace(doubtful(), id="doubtful"), info])
    robust = model.column("robust")
    marked, plain = (model.index(model.row_of(run_id), robust) for run_id in ("doubtful", info.id))
    icon = marked.data(Qt.ItemDataRole.DecorationRole)
    assert icon is not None and not icon.isNull()
    assert plain.data(Qt.ItemDataRole.DecorationRole) is None
    assert marked.data(Qt.ItemDataRole.ToolTipRole).splitlines()[1:] == [
        "Warning: signs of gradient masking", "Warning: the attack is weak: an upper bound only",
    ]  # fmt: skip
    assert "Warning" not in plain.data(Qt.ItemDataRole.ToolTipRole)
    assert "signs of gradient masking" in marked.data(Qt.ItemDataRole.AccessibleTextRole)


def test_that_results_mark_a_doubtful_figure(qtbot: QtBot) -> None:
    info, _record = earlier_run("other")
    runs = [doubtful(), replace(info, id="other")]
    table = ResultsTable()
    qtbot.addWidget(table)
    table.show_rows(RUN_HEADERS, run_rows(runs))
    column = RUN_HEADERS.index("Robust (%)")
    assert [table.item(row, column).icon().isNull() for row in range(2)] == [False, True]
    assert "signs of gradient masking" in table.item(0, column).toolTip()
    assert all(
        table.item(0, other).icon().isNull() for other in range(table.columnCount()) if other != column
    )
    table.show_rows(RUN_HEADERS, run_rows(runs[1:]))
    assert table.item(0, column).icon().isNull()


def test_that_the_trade_off_names_the_warnings_of_a_cell() -> None:
    info = doubtful()
    cell = results_of([info], {info.id: info}, None).cells[0]
    assert cell_text(cell).splitlines()[-2:] == [
        "Warning: signs of gradient masking", "Warning: the attack is weak: an upper bound only",
    ]  # fmt: skip


def test_that_files_are_remembered_where_they_came_from(
    window: MainWindow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    chosen = str(tmp_path / "net.pt")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_args: (chosen, ""))
    press(window, "attack_file")
    assert window.settings.folder == str(tmp_path)
