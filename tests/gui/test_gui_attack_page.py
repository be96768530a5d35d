"""The attack page: figures and what they are worth, single attacks, warnings, sweep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QGuiApplication, QWheelEvent
from PySide6.QtWidgets import QApplication, QTableWidget
from pytestqt.qtbot import QtBot

from cartl_gui.attack_view import epsilon_text, short, view_of
from cartl_gui.main_window import MainWindow
from cartl_gui.models.run_cells import PROGRESS_ROLE
from cartl_gui.pages.attack_page import AttackPage
from cartl_gui.run_data import RunData
from engine.config import ATTACKS, AttackConfig, RunConfig, StudyConfig
from engine.events import (
    AttackProgress,
    AttackWarning,
    RowsAdded,
    RunInfo,
    RunRecord,
    StageStarted,
)
from engine.statistics import wilson
from tests.gui.gui_helpers import drain
from tests.gui.scripted_attack import MASKING, NOTE, WEAK, ScriptedAttack
from tests.gui.scripted_session import ScriptedSession

AUTOATTACK = AttackConfig(name="autoattack", epsilon=16 / 255, samples=200)
PGD = AttackConfig(epsilon=16 / 255, step_size=4 / 255, samples=200)
NOW = 1_790_000_000.0


def run_of(attack: AttackConfig) -> RunInfo:
    config = RunConfig(name="attacked", start_from="0001-at", attack=attack)
    return RunInfo(
        "0002-attacked",
        "attacked",
        "A study",
        "/runs/2",
        "running",
        config,
        stage="attack",
        seconds_left=90.0,
    )


def played(
    attack: AttackConfig,
    until: Callable[[RunData], bool] = lambda _data: False,
    warnings: tuple[AttackWarning, ...] = (),
    notes: tuple[str, ...] = (),
) -> RunData:
    """A run's data after the events up to a moment, else after all of them with the result."""
    script = ScriptedAttack("0002-attacked", attack, warnings=warnings, notes=notes)
    data = RunData(run_of(attack))
    data.start_stage(script.layout)
    for event in script.events():
        if isinstance(event, RowsAdded):
            data.add_rows(event)
        if isinstance(event, AttackProgress):
            data.set_attack(event)
            if until(data):
                return data
    data.update(replace(data.info, state="finished", seconds_left=None, result=script.result()))
    return data


def during(title: str, done: int = 0, point: int = 0) -> Callable[[RunData], bool]:
    def reached(data: RunData) -> bool:
        now = data.attack
        return now is not None and now.title.startswith(title) and now.done > done and now.point == point

    return reached


def page_with(qtbot: QtBot, data: RunData) -> AttackPage:
    page = AttackPage()
    qtbot.addWidget(page)
    page.resize(860, 900)
    page.show_run(data)
    for panel in page.panels():
        panel.show_run(data, "attack")
    page.show()
    QApplication.processEvents()
    return page


def texts(table: QTableWidget) -> list[list[str]]:
    """The shown columns of a table."""
    columns = [column for column in range(table.columnCount()) if not table.isColumnHidden(column)]
    return [[table.item(row, column).text() for column in columns] for row in range(table.rowCount())]


# how far the figures are to be trusted -------------------------------------------------------------------
def test_that_nothing_is_claimed_before_the_attack_begins(qtbot: QtBot) -> None:
    page = page_with(qtbot, RunData(replace(run_of(AUTOATTACK), state="created")))
    assert [row.value.text() for row in page.card.rows[:2]] == ["–", "–"]
    assert page.card.about.text() == "The figures appear here when the attack begins."
    assert page.members.isHidden() and page.sweep_card.parentWidget().isHidden()
    assert page.card.warnings == []
    page.close()


def test_that_the_robust_accuracy_is_unknown_while_only_clean_images_are_looked_at() -> None:
    view = view_of(played(AUTOATTACK, during("Clean", done=60)), NOW)
    clean, robust = view.figures
    assert clean.share.value > 0.7
    assert np.isnan(robust.share.value) and not robust.is_bound
    assert view.standing.startswith("Looking at the clean images first, 100 of 200;")
    assert [line.step for line in view.members] == ["waits"] * 4


def test_that_the_figure_is_an_upper_bound_while_the_first_attack_runs() -> None:
    data = played(AUTOATTACK, during("APGD-CE", done=60))
    view = view_of(data, NOW)
    robust = view.figures[1]
    assert data.attack is not None
    assert robust.is_bound
    assert robust.share == wilson(round(200 * data.attack.robust_accuracy), 200)
    assert view.standing == "Upper bound: the share of images that nothing has broken so far."
    assert view.figures[0].share == wilson(int(data.columns("attack", "clean")["correct"].sum()), 200)


@pytest.mark.parametrize(
    ("attack", "title", "text"),
    [
        (AUTOATTACK, "APGD-T", "Provisional after APGD-CE: APGD-T, FAB-T and Square follow; it can only fall"),
        (AUTOATTACK, "FAB-T",
         "Provisional after APGD-T: FAB-T and Square follow; expected change below 0.1 points"),
        (AUTOATTACK, "Square", "Provisional after FAB-T: Square follows; it can only fall"),
        (AUTOATTACK.model_copy(update={"version": "rand"}), "APGD-DLR",
         "Provisional after APGD-CE: APGD-DLR follows; it can only fall"),
    ],
)  # fmt: skip
def test_that_a_provisional_figure_says_what_follows(attack: AttackConfig, title: str, text: str) -> None:
    view = view_of(played(attack, during(title)), NOW)
    assert view.standing == text
    assert view.figures[1].is_bound


def test_that_the_figure_is_final_while_the_sweep_is_measured(qtbot: QtBot) -> None:
    attack = AUTOATTACK.model_copy(update={"sweep_epsilon": [8 / 255]})
    data = played(attack, during("APGD-CE", point=1))
    view = view_of(data, NOW)
    assert not view.figures[1].is_bound
    assert view.standing.startswith("The figures above are final")
    assert [line.step for line in view.members] == ["done"] * 4
    page = page_with(qtbot, data)
    assert page.card.rows[1].value.text() == f"{100 * view.figures[1].share.value:.1f} %"
    page.close()


def test_that_the_end_of_all_attacks_is_told_before_the_result() -> None:
    data = played(AUTOATTACK, lambda data: data.attack is not None and not data.attack.title)
    view = view_of(data, NOW)
    assert view.standing == "The figures above are final; all attacks are done."
    assert not view.figures[1].is_bound
    assert [line.step for line in view.members] == ["done"] * 4


@pytest.mark.parametrize(
    ("when", "is_bound", "text"),
    [
        (during("Clean"), False, "Stopped before the first attack: nothing is known about robustness yet."),
        (during("FAB-T"), True, "Stopped before the end: the robust accuracy is an upper bound."),
        (
            during("APGD-CE", point=1),
            False,
            "Stopped before the end of the sweep; the figures above are final.",
        ),
    ],
)
def test_that_an_evaluation_that_stopped_says_what_its_figures_are_worth(
    when: Callable[[RunData], bool], is_bound: bool, text: str
) -> None:
    data = played(AUTOATTACK.model_copy(update={"sweep_epsilon": [8 / 255]}), when)
    data.update(replace(data.info, state="stopped", seconds_left=None))
    view = view_of(data, NOW)
    assert view.standing == text
    assert view.figures[1].is_bound == is_bound
    assert view.about == ""


def test_that_a_run_read_from_its_files_shows_how_far_it_was() -> None:
    live = played(AUTOATTACK, during("FAB-T"))
    info = replace(live.info, state="paused", seconds_left=None)
    tables = {"attack": {name: live.columns("attack", name) for name in ("clean", "attempts")}}
    assert live.attack is not None
    stored = replace(live.attack, done=0, total=0)
    record = RunRecord(info, {"attack": live.layouts["attack"]}, tables, attack=stored)  # type: ignore[arg-type]
    data = RunData(info)
    data.absorb(record)
    view = view_of(data, NOW)
    assert [line.step for line in view.members] == ["done", "done", "now", "waits"]
    assert view.members[2].attacked == "not finished"
    assert view.figures == view_of(live, NOW).figures


# both definitions ----------------------------------------------------------------------------------------
def test_that_both_definitions_are_named_where_they_differ(qtbot: QtBot) -> None:
    data = played(PGD)
    result = data.info.result
    assert result is not None and result.robust_at_any_step is not None
    page = page_with(qtbot, data)
    shown = [(row.definition.text(), row.value.text()) for row in page.card.rows]
    assert shown[1:] == [
        ("judged at the last step", f"{100 * result.robust_accuracy.value:.1f} %"),
        ("judged at any step", f"{100 * result.robust_at_any_step.value:.1f} %"),
    ]
    assert page.card.rows[2].bar.isVisible()
    page.close()


def test_that_one_figure_is_enough_where_the_definitions_agree(qtbot: QtBot) -> None:
    data = played(PGD)
    result = data.info.result
    assert result is not None
    same = replace(result, robust_at_any_step=result.robust_accuracy)
    data.update(replace(data.info, result=same))
    page = page_with(qtbot, data)
    assert page.card.rows[1].definition.text() == "judged at the last step"
    assert page.card.about.text().endswith("Judged at any step, the robust accuracy is the same.")
    assert page.card.rows[2].value.isHidden()
    page.close()
    autoattack = view_of(played(AUTOATTACK), NOW)
    assert [figure.definition for figure in autoattack.figures] == ["", ""]


# single attacks ------------------------------------------------------------------------------------------
def test_that_the_single_attacks_are_listed_while_one_runs(qtbot: QtBot) -> None:
    data = played(AUTOATTACK, during("FAB-T"))
    progress = data.attack
    assert progress is not None
    page = page_with(qtbot, data)
    shown = texts(page.members.table)
    assert [line[0] for line in shown] == ["APGD-CE-100", "APGD-T-100", "FAB-T-100", "Square (5,000 queries)"]
    for line, member in zip(shown, progress.members, strict=False):
        share = member.robust_accuracy
        assert line[1:] == [
            f"{member.attacked}",
            f"{100 * share.value:.1f} % ({100 * share.low:.1f} – {100 * share.high:.1f})",
            f"{round(member.seconds)} s",
        ]
    now = page.members.table.item(2, 1)
    assert now.text() == f"{100 * progress.share:.0f} %"
    assert now.data(PROGRESS_ROLE) == progress.share
    assert shown[2][2] == f"≤ {100 * progress.robust_accuracy:.1f} %"
    assert "left, until" in shown[2][3]
    assert shown[3][1:] == ["to come", "", ""]
    quiet, usual = (page.members.table.item(row, 0).foreground().color() for row in (3, 0))
    assert quiet != usual
    assert page.card.about.text().startswith("Single attack 3 of 4, everything: 1 min 30 s left, until ")
    page.close()


def test_that_the_table_is_as_high_as_its_rows(qtbot: QtBot) -> None:
    page = page_with(qtbot, played(AUTOATTACK))
    table = page.members.table
    assert table.rowCount() == 4
    assert table.verticalScrollBar().maximum() == 0
    assert table.viewport().rect().contains(table.visualItemRect(table.item(3, 0)))
    assert texts(table)[3][0] == "Square (5,000 queries)"
    page.close()


def test_that_a_finished_single_attack_needs_no_table(qtbot: QtBot) -> None:
    page = page_with(qtbot, played(PGD))
    assert page.members.isHidden()
    attacked = int(played(PGD).columns("attack", "clean")["correct"].sum())
    assert page.card.about.text().startswith(
        f"200 images of digits test images, {attacked} of them attacked, "
    )
    page.show_run(played(PGD, during("PGD")))
    assert not page.members.isHidden()
    page.close()


def test_that_the_figure_at_any_step_stands_in_the_table_where_it_differs(qtbot: QtBot) -> None:
    data = played(PGD)
    result = data.info.result
    assert result is not None
    data.update(replace(data.info, result=replace(result, members=result.members * 2)))
    page = page_with(qtbot, data)
    assert not page.members.table.isColumnHidden(3)
    page.show_run(played(AUTOATTACK))
    assert page.members.table.isColumnHidden(3)
    page.close()


# warnings ------------------------------------------------------------------------------------------------
def test_that_warnings_stand_beside_the_figure_and_are_copied(qtbot: QtBot) -> None:
    page = page_with(qtbot, played(PGD, warnings=(MASKING, WEAK), notes=(NOTE,)))
    assert [row.warning for row in page.card.warnings] == [MASKING, WEAK]
    row = page.card.warnings[0]
    for label in row.labels:
        assert label.isVisible()
        assert label.textInteractionFlags() & Qt.TextInteractionFlag.TextSelectableByMouse
        assert label.height() >= label.heightForWidth(label.width()), "nothing is cut"
    row.copy_button.click()
    assert QGuiApplication.clipboard().text().splitlines() == [
        MASKING.title,
        MASKING.evidence,
        f"What to do: {MASKING.advice}",
    ]
    assert page.card.notes.text() == f"Note: {NOTE}"
    page.close()


def test_that_without_warnings_nothing_is_claimed(qtbot: QtBot) -> None:
    page = page_with(qtbot, played(PGD, warnings=(MASKING,)))
    page.show_run(played(PGD))
    assert page.card.warnings == []
    assert page.card.notes.isHidden()
    assert page.card.standing.isHidden()
    page.close()


# sweep ---------------------------------------------------------------------------------------------------
def test_that_the_sweep_is_listed_from_the_clean_images_up(qtbot: QtBot) -> None:
    attack = PGD.model_copy(update={"sweep_epsilon": [8 / 255, 4 / 255, 51 / 255]})
    data = played(attack)
    result = data.info.result
    assert result is not None
    page = page_with(qtbot, data)
    shown = texts(page.sweep_card.table)
    assert [line[0] for line in shown] == ["0 (clean)", "4/255", "8/255", "16/255", "51/255"]
    share = result.sweep[2].robust_accuracy
    assert share == result.robust_accuracy
    assert shown[3][1] == f"{100 * share.value:.1f} % ({100 * share.low:.1f} – {100 * share.high:.1f})"
    bold = [page.sweep_card.table.item(row, 0).font().bold() for row in range(5)]
    assert bold == [False, False, False, True, False], "the headline"
    page.close()


def test_that_the_sweep_grows_while_it_is_measured() -> None:
    attack = AUTOATTACK.model_copy(update={"sweep_epsilon": [4 / 255, 8 / 255, 32 / 255]})
    data = played(attack, during("APGD-T", point=2))
    view = view_of(data, NOW)
    assert [(line.epsilon, line.step) for line in view.sweep] == [
        ("0 (clean)", "done"), ("4/255", "done"), ("8/255", "now"), ("16/255", "done"), ("32/255", "waits"),
    ]  # fmt: skip
    assert data.attack is not None and 0 < data.attack.share < 1
    assert view.sweep[2].robust == f"APGD-T: {100 * data.attack.share:.0f} %"
    # What is found from the ledger while it grows is what the result says in the end.
    finished = played(attack).info.result
    assert finished is not None
    by_radius = {found.epsilon: found for found in finished.sweep}
    assert data.sweep() == (by_radius[4 / 255], by_radius[16 / 255])


def test_that_steps_are_listed_only_where_they_vary(qtbot: QtBot) -> None:
    page = page_with(qtbot, played(PGD.model_copy(update={"sweep_steps": [10, 100]})))
    assert texts(page.sweep_card.table)[1][:2] == ["16/255", "10"]
    page.show_run(played(PGD.model_copy(update={"sweep_epsilon": [0.5]})))
    assert page.sweep_card.table.isColumnHidden(1)
    page.close()


def test_that_the_classes_are_counted_while_the_attack_computes(qtbot: QtBot) -> None:
    data = played(AUTOATTACK, during("APGD-T"))
    attempts, clean = data.columns("attack", "attempts"), data.columns("attack", "clean")
    broken = set(attempts["sample"][attempts["broken"] == 1].tolist())
    page = page_with(qtbot, data)
    series = page.classes.series()
    for label in (0, 7):
        own = [row for row in range(200) if clean["label"][row] == label]
        robust = [clean["correct"][row] and clean["sample"][row] not in broken for row in own]
        assert series["clean_accuracy (%)"][label] == pytest.approx(100 * clean["correct"][own].mean())
        assert series["robust_accuracy (%)"][label] == pytest.approx(100 * np.mean(robust))
    page.show_run(played(AUTOATTACK, during("Clean", done=60)))
    page.close()


def test_that_a_table_that_comes_as_a_whole_replaces_the_one_before() -> None:
    data = played(PGD.model_copy(update={"sweep_epsilon": [0.5, 0.25]}))
    stored = {name: dict(data.columns("attack", name)) for name in ("sweep", "examples", "samples", "clean")}
    record = RunRecord(data.info, tables={"attack": stored})  # type: ignore[dict-item]
    data.absorb(record)
    for name, table in stored.items():
        assert len(data.columns("attack", name)[next(iter(table))]) == len(next(iter(table.values()))), name  # type: ignore[arg-type]


# the page in the window ----------------------------------------------------------------------------------
def test_that_an_attack_is_followed_in_the_window(window: MainWindow, session: ScriptedSession) -> None:
    attack = AUTOATTACK.model_copy(update={"sweep_epsilon": [8 / 255]})
    window.submit(
        StudyConfig(title="A study", runs=[RunConfig(name="attacked", start_from="w.pt", attack=attack)])
    )
    seen = []
    while session.step():
        drain(window)
        seen.append(window.live.attack.card.standing.text())
    assert len(set(seen)) > 5
    assert window.live.stage == "attack"
    assert window.live.stack.currentWidget() is window.live.attack
    assert len(window.live.attack.sweep.series()["accuracy (%)"]) == 3
    assert window.live.current_panel() in window.live.attack.panels()


def test_that_an_enlarged_sweep_stands_alone_on_the_page(
    window: MainWindow, session: ScriptedSession
) -> None:
    attack = PGD.model_copy(update={"sweep_epsilon": [8 / 255]})
    window.submit(
        StudyConfig(title="A study", runs=[RunConfig(name="attacked", start_from="w.pt", attack=attack)])
    )
    session.run_out()
    drain(window)
    page = window.live.attack
    others = (page.card, page.sweep_card, page.classes)
    page.sweep.maximise_button.click()
    drain(window)
    assert page.sweep.isVisible() and not any(other.isVisible() for other in others)
    assert window.live.current_panel() is page.sweep
    page.sweep.maximise_button.click()
    assert page.sweep.isVisible() and all(other.isVisible() for other in others)
    assert page.members.isHidden()


def test_that_the_wheel_scrolls_the_page_and_leaves_the_plot_as_it_is(qtbot: QtBot) -> None:
    page = page_with(qtbot, played(PGD.model_copy(update={"sweep_epsilon": [8 / 255]})))
    page.resize(860, 300)
    QApplication.processEvents()
    assert page.verticalScrollBar().maximum() > 0
    before = page.sweep.view.viewRange()
    target = page.sweep.widget.viewport()
    centre = QPointF(target.rect().center())
    down = QWheelEvent(
        centre, QPointF(target.mapToGlobal(centre)), QPoint(), QPoint(0, -120),
        Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(target, down)
    assert page.sweep.view.viewRange() == before
    assert page.verticalScrollBar().value() > 0
    page.close()


@pytest.mark.parametrize("size", [(600, 420), (860, 430), (1240, 680)])
def test_that_nothing_on_the_page_is_cut(qtbot: QtBot, size: tuple[int, int]) -> None:
    data = played(
        AUTOATTACK.model_copy(update={"sweep_epsilon": [4 / 255, 8 / 255]}),
        warnings=(MASKING, WEAK),
        notes=(NOTE,),
    )
    page = page_with(qtbot, data)
    page.resize(*size)
    for _ in range(3):
        QApplication.processEvents()
    inner = page.widget()
    assert inner is not None and inner.width() == page.viewport().width()
    below = [
        widget for widget in (page.card, page.members, page._sweep_row, page.classes) if widget.isVisible()
    ]
    for upper, lower in zip(below, below[1:], strict=False):
        assert upper.geometry().bottom() < lower.geometry().top()
    assert below[-1].geometry().bottom() <= inner.height()
    for row in page.card.warnings:
        for label in row.labels:
            assert label.height() >= label.heightForWidth(label.width())
    page.close()


# words ---------------------------------------------------------------------------------------------------
def test_that_every_attack_has_a_short_name() -> None:
    for name, facts in ATTACKS.items():
        if name != "transfer":
            assert short(AttackConfig(name=name).label) == facts.title  # type: ignore[arg-type]
    assert short("Transfer PGD-20") == "Transfer PGD"


@pytest.mark.parametrize(
    ("norm", "epsilon", "text"),
    [("linf", 8 / 255, "8/255"), ("linf", 51 / 255, "51/255"), ("linf", 0.031, "0.031"), ("l2", 0.5, "0.5")],
)
def test_that_a_radius_is_written_as_people_do(norm: str, epsilon: float, text: str) -> None:
    assert epsilon_text(AttackConfig(norm=norm), epsilon) == text  # type: ignore[arg-type]


def test_that_a_stage_that_begins_shows_what_is_to_come(window: MainWindow, session: ScriptedSession) -> None:
    info = run_of(AUTOATTACK)
    session.add_earlier(info)
    session.open()
    drain(window)
    window.show_run(info.id)
    session.events.put(StageStarted(info.id, ScriptedAttack(info.id, AUTOATTACK).layout))
    drain(window)
    assert window.live.attack.card.about.text() == "The figures appear here when the attack begins."
