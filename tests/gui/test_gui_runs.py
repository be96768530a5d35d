"""The list of runs and the queue, on its own: what it shows, asks for, undoes and keeps fluent."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import QModelIndex, QPoint, Qt
from PySide6.QtWidgets import QApplication, QLineEdit, QToolButton
from pytestqt.qtbot import QtBot

from cartl_gui.models.run_columns import COLUMNS
from cartl_gui.models.run_delegates import TagsEdit
from cartl_gui.models.run_list import RUNS_FORMAT, RunListModel
from cartl_gui.pages.runs_filter import QueryHelp
from cartl_gui.pages.runs_panel import RunsPanel
from engine.events import QueueChanged, RunInfo, RunLabel, RunsBinned
from engine.query import Query, parse_query
from tests.gui.many_runs import many_runs
from tests.gui.scripted_session import demo_study, earlier_run

ACCESSIBLE = Qt.ItemDataRole.AccessibleTextRole


class Panel(RunsPanel):
    """The panel with a workspace behind it that does what it asks for at once."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[object, ...]] = []
        self.edits.label_asked.connect(self.keep_label)
        self.edits.bin_asked.connect(self.take)
        self.edits.restore_asked.connect(self.give_back)
        self.move_asked.connect(self.note_move)

    def keep_label(self, run_id: str, label: RunLabel) -> None:
        self.asked.append(("label", run_id, label))
        info = self.model.info(run_id)
        assert info is not None
        self.update_run(replace(info, label=label))

    def take(self, run_ids: list[str]) -> None:
        self.asked.append(("bin", *run_ids))
        self.runs_binned(RunsBinned(tuple(self.model.runs()[run_id] for run_id in run_ids)))

    def give_back(self, run_ids: list[str]) -> None:
        self.asked.append(("restore", *run_ids))
        for info in [info for info in self.bin.model.runs().values() if info.id in run_ids]:
            self.update_run(info)

    def note_move(self, run_ids: list[str], before: str | None) -> None:
        self.asked.append(("move", run_ids, before))

    def titles(self) -> list[str]:
        """The rows' titles from the top."""
        self.model.arrange()
        column = self.model.column("title")
        return [self.model.index(row, column).data() for row in range(self.model.rowCount())]

    def cell(self, run_id: str, column: str, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """What a run's cell shows."""
        row = self.model.row_of(run_id)
        assert row is not None
        return self.model.index(row, self.model.column(column)).data(role)


@pytest.fixture
def runs() -> list[RunInfo]:
    """One finished run, two that transfer from it: failed for want of memory, and interrupted; and two waiting."""
    done, _record = earlier_run("AT")
    at, _fdm, vanilla, neft = demo_study().runs
    done = replace(done, config=at)
    states = (("vanilla", "failed", vanilla, 0.2), ("neft", "interrupted", neft, 0.45))
    ended = [
        replace(
            done, id=name, name=name, state=state, config=config, progress=share, result=None, parent="old"
        )
        for name, state, config, share in states
    ]
    ended[0] = replace(ended[0], reason="CUDA out of memory.\nTraceback", cause="memory")
    waiting = [
        replace(
            done,
            id=name,
            name=name,
            study="Later",
            state="created",
            config=at,
            progress=0.0,
            result=None,
            created=2e9,
        )
        for name in ("one", "two", "three")
    ]
    waiting[2] = replace(waiting[2], reason="waits for one")
    return [done, *ended, *waiting]


@pytest.fixture
def panel(qtbot: QtBot, runs: list[RunInfo]) -> Panel:
    panel = Panel()
    qtbot.addWidget(panel)
    panel.resize(1200, 320)
    panel.show()
    panel.set_runs(runs)
    panel.set_queue(QueueChanged(("one", "two", "three")))
    panel.model.arrange()
    return panel


def choose(panel: Panel, *run_ids: str) -> None:
    panel.table.select(run_ids)


# what it says -------------------------------------------------------------------------------------------
def test_that_what_runs_and_waits_stands_on_top_and_says_its_place(panel: Panel, runs: list[RunInfo]) -> None:
    panel.update_run(replace(runs[2], state="running", stage="finetuning"))
    assert panel.titles() == ["neft", "one", "two", "three", "AT", "vanilla"]
    assert [panel.cell(name, "state") for name in ("one", "two", "three")] == [
        "1st in the queue", "2nd in the queue", "waits for one"
    ]  # fmt: skip
    panel.set_queue(QueueChanged(("two", "one", "three")))
    assert panel.titles()[:3] == ["neft", "two", "one"]
    assert panel.cell("two", "queue") == "1st"
    panel.set_queue(QueueChanged(("one", "neft", "two", "three"), paused=True))
    panel.update_run(replace(runs[2], state="paused"))
    assert panel.titles()[:4] == ["one", "neft", "two", "three"], "a paused run keeps its place in the queue"
    assert (panel.cell("neft", "state"), panel.cell("neft", "queue")) == ("paused", "2nd")


def test_that_ended_runs_say_why_and_how_to_go_on(panel: Panel) -> None:
    assert panel.cell("vanilla", "state") == "failed: CUDA out of memory."
    assert panel.cell("vanilla", "state", Qt.ItemDataRole.ToolTipRole) == "CUDA out of memory.\nTraceback"
    assert panel.cell("neft", "state") == "interrupted: can go on from 45 %"


def test_that_every_cell_and_header_is_told_to_a_screen_reader(panel: Panel) -> None:
    panel.grouping.setCurrentIndex(panel.grouping.findData("study"))
    for number, column in enumerate(panel.model.columns):
        assert (
            panel.model.headerData(number, Qt.Orientation.Horizontal, ACCESSIBLE) == column.tip
            or column.title
        )
        for run_id in panel.model.runs():
            text = panel.cell(run_id, column.id, ACCESSIBLE)
            assert isinstance(text, str) and text
    assert (
        panel.model.index(0, panel.model.column("title")).data(ACCESSIBLE) == "Group Later, 3 runs, unfolded"
    )


def test_that_an_empty_list_and_an_empty_search_offer_one_way_on(qtbot: QtBot, panel: Panel) -> None:
    panel.filter.setText("nothing like it")
    assert panel._empty.isVisible() and panel._empty_text.text() == "No run fits this filter."
    qtbot.mouseClick(panel._empty_button, Qt.MouseButton.LeftButton)
    assert panel.filter.text() == "" and not panel._empty.isVisible()
    panel.set_runs([])
    assert panel._empty_button.text() == "Try the demo"
    with qtbot.waitSignal(panel.demo_asked):
        qtbot.mouseClick(panel._empty_button, Qt.MouseButton.LeftButton)


@pytest.mark.parametrize(
    ("order", "text", "asked_for"),
    [
        (("one", "two", "three"), "1 run was interrupted and 3 are waiting.", ["neft"]),
        (("neft", "one"), "1 run was interrupted and 1 is waiting.", []),
        ((), "1 run was interrupted.", ["neft"]),
        (("paused", "one", "two"), "1 run was interrupted, 1 was paused and 2 are waiting.", ["neft"]),
    ],
)
def test_that_interrupted_and_waiting_runs_are_offered_at_the_start(
    qtbot: QtBot, runs: list[RunInfo], order: tuple[str, ...], text: str, asked_for: list[str]
) -> None:
    panel = Panel()
    qtbot.addWidget(panel)
    panel.show()
    # At the start what waited counts as stopped until the queue is told.
    waited = [replace(info, state="stopped") for info in runs[3:]]
    panel.set_runs([*runs[:3], *waited, replace(runs[2], id="paused", state="paused")])
    panel.set_queue(QueueChanged(order, paused=True))
    assert panel.go_on.isVisible() and panel.go_on.text() == text
    panel.set_queue(QueueChanged(order))
    assert panel.go_on.isVisible() == bool(asked_for), "the queue went on by itself"
    if not asked_for:
        return
    with qtbot.waitSignal(panel.go_on_asked) as asked:
        qtbot.mouseClick(panel.go_on.buttons[0], Qt.MouseButton.LeftButton)
    assert asked.args == [asked_for] and not panel.go_on.isVisible()
    panel.set_queue(QueueChanged(order, paused=True))
    assert not panel.go_on.isVisible()


def test_that_what_was_not_wanted_is_not_offered_again(qtbot: QtBot, runs: list[RunInfo]) -> None:
    panels = []
    for _ in range(2):
        panel = Panel()
        qtbot.addWidget(panel)
        panel.show()
        if panels:
            assert panel.restore(panels[0].state())
        panel.set_runs(runs)
        panel.set_queue(QueueChanged(()))
        panels.append(panel)
        if panel.go_on.isVisible():
            qtbot.mouseClick(panel.go_on.buttons[1], Qt.MouseButton.LeftButton)
    assert panels[0].go_on.text() and not panels[1].go_on.text()


# filter, sort, group ------------------------------------------------------------------------------------
def test_that_a_query_narrows_the_list_and_one_that_cannot_be_read_leaves_it_with_a_reason(
    qtbot: QtBot, panel: Panel
) -> None:
    qtbot.keyClicks(panel.filter, "state:queued")
    assert panel.titles() == ["one", "two", "three"] and panel._amount.text() == "3 of 6 runs"
    panel.filter.setText("state:queued k <")
    assert panel.model.rowCount() == 3 and not panel.reason.isVisible()
    qtbot.waitUntil(panel.reason.isVisible, timeout=2000)
    assert panel.reason.text().startswith("Expected a value after “k <”")
    assert panel.filter.property("bad")
    panel.filter.setText("robust > 1")
    assert panel.titles() == ["AT"] and not panel.reason.isVisible()
    panel.filter.clear()
    assert panel._amount.text() == "6 runs"


def test_that_settings_of_earlier_runs_count_in_a_query(panel: Panel) -> None:
    panel.filter.setText("pretraining.method:adversarial stage:transfer")
    assert panel.titles() == ["vanilla", "neft"]


def test_that_terms_are_completed_while_they_are_typed(qtbot: QtBot, panel: Panel) -> None:
    qtbot.keyClicks(panel.filter, "neft -state:int")
    popup = panel.filter._completer.popup()
    assert popup.isVisible() and popup.model().index(0, 0).data() == "-state:interrupted"
    qtbot.keyClick(popup, Qt.Key.Key_Down)
    qtbot.keyClick(popup, Qt.Key.Key_Return)
    assert panel.filter.text() == "neft -state:interrupted"
    popup.hide()


def test_that_examples_can_be_taken_over_from_the_help(qtbot: QtBot, panel: Panel) -> None:
    qtbot.mouseClick(panel.help, Qt.MouseButton.LeftButton)
    popup = next(widget for widget in QApplication.topLevelWidgets() if isinstance(widget, QueryHelp))
    example = next(button for button in popup.findChildren(QToolButton) if button.text() == "state:failed")
    qtbot.mouseClick(example, Qt.MouseButton.LeftButton)
    assert panel.titles() == ["vanilla"]
    assert not popup.isVisible()


def test_that_columns_sort_with_nothing_last_and_a_third_click_gives_the_own_order_back(
    qtbot: QtBot, panel: Panel, runs: list[RunInfo]
) -> None:
    worse = replace(runs[0].result, robust_accuracy=replace(runs[0].result.robust_accuracy, value=0.1))
    panel.update_run(replace(runs[1], state="finished", result=worse))
    header, robust = panel.table.horizontalHeader(), panel.model.column("robust")

    def click() -> list[str]:
        place = QPoint(header.sectionViewportPosition(robust) + 10, header.height() // 2)
        qtbot.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, pos=place)
        return panel.titles()

    assert click()[:2] == ["vanilla", "AT"]
    assert click()[:2] == ["AT", "vanilla"]
    assert click()[0] == "one"


@pytest.mark.parametrize(
    ("grouping", "headings"),
    [
        ("study", ["Later, 3 runs", "Earlier study, 3 runs"]),
        ("state", ["Queued, 3 runs", "Finished, 1 run", "Failed, 1 run", "Interrupted, 1 run"]),
        ("method", ["AT, 4 runs", "AT, then Vanilla, 1 run", "AT, then NEFT, 1 run"]),
        ("tag", ["No tags, 6 runs"]),
        ("cell", ["one, 1 run", "two, 1 run", "three, 1 run", "AT, 1 run", "vanilla, 1 run", "neft, 1 run"]),
    ],
)
def test_that_groups_have_headings_with_their_number_of_runs(
    panel: Panel, grouping: str, headings: list[str]
) -> None:
    panel.grouping.setCurrentIndex(panel.grouping.findData(grouping))
    assert [title[2:] for title in panel.titles() if title[0] in "▸▾"] == headings


def test_that_a_heading_tells_means_of_finished_runs_and_folds(
    qtbot: QtBot, panel: Panel, runs: list[RunInfo]
) -> None:
    clean, robust = runs[0].result.clean_accuracy, runs[0].result.robust_accuracy
    result = replace(
        runs[0].result, clean_accuracy=replace(clean, value=0.5), robust_accuracy=replace(robust, value=0.1)
    )
    panel.update_run(replace(runs[1], state="finished", result=result))
    panel.grouping.setCurrentIndex(panel.grouping.findData("study"))
    row, model = 4, panel.model
    assert model.index(row, model.column("clean")).data() == f"{50 * (clean.value + 0.5):.1f} %"
    tip = model.index(row, model.column("robust")).data(Qt.ItemDataRole.ToolTipRole)
    assert tip == f"Robust: {50 * (robust.value + 0.1):.1f} %, mean of 2 finished runs"
    assert model.index(row, model.column("state")).data() == "2 finished, 1 interrupted"
    place = panel.table.visualRect(model.index(row, model.column("title"))).center()
    qtbot.mouseClick(panel.table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert model.rowCount() == 5 and model.matching() == 6
    qtbot.keyClick(panel.table, Qt.Key.Key_Right)
    assert model.rowCount() == 8


def test_that_a_run_with_two_tags_stands_under_each_and_is_one_run(
    panel: Panel, runs: list[RunInfo], qtbot: QtBot
) -> None:
    panel.update_run(replace(runs[0], label=RunLabel(tags=("old", "paper"))))
    panel.update_run(replace(runs[1], label=RunLabel(tags=("paper",))))
    panel.filter.setText("-state:queued")
    panel.grouping.setCurrentIndex(panel.grouping.findData("tag"))
    assert [title.lstrip("▾ ") for title in panel.titles()] == [
        "old, 1 run", "AT", "paper, 2 runs", "AT", "vanilla", "No tags, 1 run", "neft"
    ]  # fmt: skip
    assert panel._amount.text() == "3 of 6 runs"
    assert panel.model.index(2, panel.model.column("state")).data() == "1 finished, 1 failed"
    panel.table.selectRow(3)
    assert panel.selected_ids() == ["old"]
    panel.rename()
    assert panel.table.currentIndex().row() == 3, "it is typed over where the keyboard is"
    editor(panel).setText("Both")
    accept(qtbot, panel)
    assert [title for title in panel.titles() if title == "Both"] == ["Both", "Both"]
    panel.edits.change_tags(["old"], "old", ("paper",))
    assert panel.titles().count("Both") == 1 and panel.selected_ids() == ["old"]


# writing on runs ----------------------------------------------------------------------------------------
def editor(panel: Panel) -> QLineEdit:
    return next(line for line in panel.table.viewport().findChildren(QLineEdit) if line.isVisible())


def accept(qtbot: QtBot, panel: Panel) -> None:
    """End typing in a cell; the view takes the text over in its own time."""
    qtbot.keyClick(editor(panel), Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: panel.table.state() != panel.table.State.EditingState, timeout=2000)


def test_that_a_run_is_renamed_in_its_place_and_back(qtbot: QtBot, panel: Panel) -> None:
    choose(panel, "old")
    panel.rename()
    line = editor(panel)
    assert line.text() == "AT"
    line.selectAll()
    qtbot.keyClicks(line, "  Best  so far ")
    accept(qtbot, panel)
    assert panel.cell("old", "title") == "Best so far"
    assert panel.asked == [("label", "old", RunLabel(title="Best so far"))]
    panel.edits.stack.undo()
    assert panel.cell("old", "title") == "AT"
    panel.edits.stack.redo()
    assert panel.cell("old", "title") == "Best so far"
    panel.rename()
    editor(panel).setText("AT")
    accept(qtbot, panel)
    assert panel.asked[-1] == ("label", "old", RunLabel())


def test_that_typed_tags_are_completed_and_go_to_all_selected_runs(
    qtbot: QtBot, panel: Panel, runs: list[RunInfo]
) -> None:
    panel.update_run(replace(runs[0], label=RunLabel(tags=("paper", "wide"))))
    panel.update_run(replace(runs[1], label=RunLabel(tags=("old", "wide"))))
    choose(panel, "old", "vanilla")
    panel.edit_tags()
    line = editor(panel)
    assert isinstance(line, TagsEdit)
    line.clear()
    qtbot.keyClicks(line, "new,pa")
    line.setText("new pa")
    line.textEdited.emit(line.text())
    assert line._completer.currentCompletion() == "paper"
    line._completer.popup().hide()
    line._complete("paper")
    accept(qtbot, panel)
    assert panel.model.runs()["old"].label.tags == ("new", "paper")
    assert panel.model.runs()["vanilla"].label.tags == ("new", "old")
    panel.edits.stack.undo()
    assert panel.model.runs()["vanilla"].label.tags == ("old", "wide")
    assert panel.known_tags() == ["old", "paper", "wide"]


def test_that_stars_go_to_all_selected_runs_and_by_a_click_to_one(qtbot: QtBot, panel: Panel) -> None:
    choose(panel, "old", "neft")
    panel.toggle_star()
    assert [name for name, info in panel.model.runs().items() if info.label.star] == ["old", "neft"]
    place = panel.table.visualRect(panel.model.index(panel.model.row_of("neft"), panel.model.column("star")))
    qtbot.mouseClick(panel.table.viewport(), Qt.MouseButton.LeftButton, pos=place.center())
    assert [name for name, info in panel.model.runs().items() if info.label.star] == ["old"]
    panel.edits.stack.undo()
    panel.edits.stack.undo()
    assert not any(info.label.star for info in panel.model.runs().values())


def test_that_archived_runs_are_listed_only_if_asked_for(qtbot: QtBot, panel: Panel) -> None:
    choose(panel, "old", "vanilla")
    panel.toggle_archived()
    assert "AT" not in panel.titles() and panel._amount.text() == "4 runs"
    assert panel.selected_ids() == ["neft"], "the next run, so that keys go on"
    assert panel.offer.text() == "2 runs archived"
    panel.filter.setText("is:archived")
    assert panel.titles() == ["AT", "vanilla"]
    panel.filter.clear()
    panel.archived.trigger()
    assert len(panel.titles()) == 6
    panel.archived.trigger()
    qtbot.mouseClick(panel.offer.buttons[0], Qt.MouseButton.LeftButton)
    assert len(panel.titles()) == 6 and not panel.offer.isVisible()


def test_that_notes_typed_in_pauses_are_undone_at_once(panel: Panel) -> None:
    for text in ("a", "a note", "a note with an end"):
        panel.edits.change("old", RunLabel(notes=text))
    assert panel.edits.stack.count() == 1
    panel.edits.stack.undo()
    assert panel.model.runs()["old"].label.notes == ""


# bin ----------------------------------------------------------------------------------------------------
def test_that_the_bin_takes_runs_and_gives_them_back(qtbot: QtBot, panel: Panel) -> None:
    choose(panel, "old", "vanilla")
    panel.move_to_bin()
    assert panel.model.total() == 4 and panel.offer.text() == "2 runs moved to the bin"
    assert panel.selected_ids() == ["neft"]
    qtbot.mouseClick(panel.offer.buttons[0], Qt.MouseButton.LeftButton)
    assert panel.asked[-1] == ("restore", "old", "vanilla") and len(panel.titles()) == 6
    panel.edits.stack.redo()
    assert panel.asked[-1] == ("bin", "old", "vanilla") and panel.edits.stack.count() == 1
    panel.show_bin.trigger()
    assert panel.bin._text.text() == "2 runs in the bin" and not panel.filter.isVisible()
    panel.bin.table.select(["old"])
    qtbot.mouseClick(panel.bin.restore, Qt.MouseButton.LeftButton)
    assert panel.asked[-1] == ("restore", "old")
    with qtbot.waitSignal(panel.empty_bin_asked):
        qtbot.mouseClick(panel.bin.empty, Qt.MouseButton.LeftButton)
    panel.bin_emptied()
    assert panel.bin._text.text() == "The bin is empty" and not panel.bin.empty.isEnabled()
    assert not panel.edits.stack.canUndo()
    qtbot.mouseClick(panel.bin.back, Qt.MouseButton.LeftButton)
    assert panel.filter.isVisible() and "AT" in panel.titles()


def test_that_nothing_is_undone_that_was_refused(panel: Panel) -> None:
    panel.edits.bin_asked.disconnect(panel.take)
    choose(panel, "old")
    panel.move_to_bin()
    assert not panel.edits.stack.canUndo() and not panel.offer.isVisible()


def test_that_a_list_that_can_only_be_read_changes_nothing(panel: Panel) -> None:
    panel.set_can_write(False)
    choose(panel, "one")
    for step in (
        panel.rename,
        panel.edit_tags,
        panel.toggle_star,
        panel.toggle_archived,
        panel.move_to_bin,
        panel.move_last,
    ):
        step()
    assert panel.asked == [] and not panel.table.viewport().findChildren(QLineEdit)
    assert not any(button.isEnabled() for button in panel.queue_buttons.values())


# queue --------------------------------------------------------------------------------------------------
def test_that_waiting_runs_move_by_buttons(qtbot: QtBot, panel: Panel) -> None:
    choose(panel, "old")
    assert not any(button.isEnabled() for button in panel.queue_buttons.values())
    choose(panel, "two")
    for name, before in (("first", "one"), ("up", "one"), ("down", None), ("last", None)):
        qtbot.mouseClick(panel.queue_buttons[name], Qt.MouseButton.LeftButton)
        assert panel.asked[-1] == ("move", ["two"], before)
    choose(panel, "one", "three")
    panel.move_down()
    assert panel.asked[-1] == ("move", ["one", "three"], None)
    choose(panel, "one")
    assert not panel.queue_buttons["up"].isEnabled() and panel.queue_buttons["down"].isEnabled()
    panel.move_down()
    assert panel.asked[-1] == ("move", ["one"], "three")


def test_that_waiting_runs_are_dragged_among_each_other_only(panel: Panel) -> None:
    model, nowhere = panel.model, QModelIndex()
    dragged = model.mimeData([model.index(2, 0), model.index(2, 1)])
    assert bytes(dragged.data(RUNS_FORMAT).data()).decode() == "three"
    assert [Path(url.toLocalFile()).name for url in dragged.urls()] == ["config.toml"]
    move = Qt.DropAction.MoveAction
    assert not model.dropMimeData(dragged, move, 1, 0, nowhere)
    assert panel.asked == [("move", ["three"], "two")]
    assert not model.canDropMimeData(dragged, move, 5, 0, nowhere)
    first = model.mimeData([model.index(0, 0)])
    model.dropMimeData(first, move, 3, 0, nowhere)
    assert panel.asked[-1] == ("move", ["one"], None)
    model.dropMimeData(first, move, -1, -1, model.index(2, 0))
    assert panel.asked[-1] == ("move", ["one"], "three")
    ended = model.mimeData([model.index(4, 0)])
    assert not model.canDropMimeData(ended, move, 0, 0, nowhere)
    panel.table.sortByColumn(model.column("title"), Qt.SortOrder.AscendingOrder)
    assert not model.canDropMimeData(dragged, move, 1, 0, nowhere)


# showing and columns ------------------------------------------------------------------------------------
def test_that_runs_are_ticked_to_be_drawn_beside_others(qtbot: QtBot, panel: Panel) -> None:
    told: list[list[str]] = []
    panel.shown_changed.connect(told.append)
    choose(panel, "old", "vanilla")
    panel.toggle_shown()
    panel.model.setData(
        panel.model.index(panel.model.row_of("neft"), 0),
        Qt.CheckState.Checked.value,
        Qt.ItemDataRole.CheckStateRole,
    )
    choose(panel, "old")
    panel.toggle_shown()
    assert told == [["old", "vanilla"], ["old", "vanilla", "neft"], ["vanilla", "neft"]]
    panel.set_runs(list(panel.model.runs().values()))
    assert panel.shown_ids() == ["vanilla", "neft"]


def test_that_differing_settings_of_selected_runs_are_columns(qtbot: QtBot, panel: Panel) -> None:
    choose(panel, "vanilla", "neft")
    qtbot.waitUntil(lambda: panel.model.columnCount() > len(COLUMNS), timeout=2000)
    titles = [panel.model.headerData(n, Qt.Orientation.Horizontal) for n in range(panel.model.columnCount())]
    start = titles.index("Robust") + 1
    assert titles[start] == "β" and "Method" in titles[start:]
    assert panel.cell("neft", "setting:finetuning.spectral_bound") == "0.4"
    assert panel.cell("vanilla", "setting:finetuning.spectral_bound") == "–"
    assert panel.selected_ids() == ["vanilla", "neft"]
    panel.table.sortByColumn(
        panel.model.column("setting:finetuning.spectral_bound"), Qt.SortOrder.AscendingOrder
    )
    assert panel.titles()[0] == "neft"
    choose(panel, "vanilla")
    qtbot.waitUntil(lambda: panel.model.columnCount() == len(COLUMNS), timeout=2000)
    assert panel.titles()[0] == "one" and panel.table.horizontalHeader().sortIndicatorSection() == -1
    panel.differing.trigger()
    qtbot.waitUntil(lambda: panel.model.columnCount() > len(COLUMNS), timeout=2000)


def test_that_columns_order_and_groups_are_kept(qtbot: QtBot, panel: Panel, runs: list[RunInfo]) -> None:
    header = panel.table.horizontalHeader()
    header.moveSection(header.visualIndex(panel.model.column("tags")), 3)
    header.resizeSection(panel.model.column("time"), 77)
    hide = next(action for action in panel.table.column_menu(panel).actions() if action.text() == "Study")
    hide.trigger()
    panel.table.sortByColumn(panel.model.column("title"), Qt.SortOrder.DescendingOrder)
    panel.grouping.setCurrentIndex(panel.grouping.findData("state"))
    panel.archived.trigger()
    other = Panel()
    qtbot.addWidget(other)
    other.set_runs(runs)
    assert other.restore(panel.state())
    assert other.state() == panel.state()
    assert other.table.horizontalHeader().isSectionHidden(other.model.column("study"))
    assert other.table.horizontalHeader().sectionSize(other.model.column("time")) == 77
    assert other.titles() == panel.titles()
    assert not other.restore(b"{}") and not other.restore(b"\xff")


def test_that_home_and_end_go_to_the_first_and_the_last_run(qtbot: QtBot, panel: Panel) -> None:
    choose(panel, "two")
    for key, run_id in ((Qt.Key.Key_End, "neft"), (Qt.Key.Key_Home, "one")):
        qtbot.keyClick(panel.table, key)
        assert panel.selected_ids() == [run_id]
    qtbot.keyClick(panel.table, Qt.Key.Key_End, Qt.KeyboardModifier.ShiftModifier)
    assert len(panel.selected_ids()) == 6


def test_that_the_selection_outlives_every_change(panel: Panel, runs: list[RunInfo]) -> None:
    choose(panel, "old", "neft")
    told: list[list[str]] = []
    panel.selection_changed.connect(told.append)
    panel.update_run(replace(runs[2], state="running"))
    panel.model.arrange()
    panel.grouping.setCurrentIndex(panel.grouping.findData("state"))
    panel.set_runs(runs)
    panel.table.sortByColumn(panel.model.column("title"), Qt.SortOrder.AscendingOrder)
    assert set(panel.selected_ids()) == {"old", "neft"}
    panel.filter.setText("neft")
    assert panel.selected_ids() == ["neft"] and told[-1] == ["neft"]


# a thousand runs ----------------------------------------------------------------------------------------
class Counting:
    """Counts what a model tells its views, and what a query is asked."""

    def __init__(self, model: RunListModel, patch: pytest.MonkeyPatch) -> None:
        self.told: Counter[str] = Counter()
        self.rows: list[int] = []
        model.modelReset.connect(lambda: self.told.update(["reset"]))
        model.layoutChanged.connect(lambda: self.told.update(["layout"]))
        model.rowsInserted.connect(lambda: self.told.update(["inserted"]))
        model.rowsRemoved.connect(lambda: self.told.update(["removed"]))
        model.dataChanged.connect(lambda first, last: self.rows.append(last.row() - first.row() + 1))
        accepts = Query.accepts

        def counted(query: Query, run: object) -> bool:
            self.told["asked"] += 1
            return accepts(query, run)  # type: ignore[arg-type]

        patch.setattr(Query, "accepts", counted)


@pytest.fixture
def thousand(qtbot: QtBot) -> RunListModel:
    model = RunListModel()
    model.set_runs(many_runs(1000))
    return model


def test_that_news_of_one_run_of_a_thousand_touches_one_row(
    thousand: RunListModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = next(info for info in thousand.runs().values() if info.state == "stopped")
    thousand.update_run(replace(run, state="running", progress=0.0))
    thousand.arrange()
    thousand.set_query(parse_query("state:running or robust > 45"))
    counting = Counting(thousand, monkeypatch)
    for step in range(100):
        thousand.update_run(replace(run, state="running", progress=step / 100))
    assert counting.told == {"asked": 100} and counting.rows == [1] * 100


def test_that_a_hundred_new_runs_among_a_thousand_come_in_one_piece(
    qtbot: QtBot, thousand: RunListModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting(thousand, monkeypatch)
    first = next(iter(thousand.runs().values()))
    for number in range(100):
        new = replace(first, id=f"new-{number}", state="created", created=2e9 + number, study="New")
        thousand.update_run(new)
    assert counting.told == {} and thousand.state_of("new-99") == "created"
    qtbot.waitUntil(lambda: thousand.rowCount() == 1100, timeout=2000)
    assert counting.told == {"inserted": 1}
    thousand.update_run(replace(first, id="new-50", state="running", created=2e9 + 50, study="New"))
    assert thousand.row_of("new-50") == 0
    assert counting.told == {"inserted": 1, "layout": 1}
    thousand.remove_runs([f"new-{number}" for number in range(100)])
    assert counting.told["removed"] == 1 and thousand.rowCount() == 1000


def test_that_a_query_looks_at_each_run_of_a_thousand_once(
    thousand: RunListModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting(thousand, monkeypatch)
    thousand.set_query(parse_query("neft"))
    assert counting.told["asked"] == 1000 and counting.told["reset"] == 1
    texts = [id(run.searched.text) for run in thousand.listed(thousand.runs())]
    thousand.set_query(parse_query("neft k=3"))
    assert [id(run.searched.text) for run in thousand.listed(thousand.runs())] == texts
