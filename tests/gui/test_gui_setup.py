"""The set-up panel: values typed for a sweep, undo, presets, changes, search, help and menus of the fields."""

from __future__ import annotations

import itertools
import shlex
import tomllib
from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QDropEvent, QGuiApplication, QKeyEvent
from PySide6.QtWidgets import QApplication, QComboBox, QInputDialog, QLineEdit
from pytestqt.qtbot import QtBot

from cartl_gui.forms.changes_section import change_text, change_title
from cartl_gui.forms.field_help import command, facts
from cartl_gui.forms.field_menu import FieldMenu
from cartl_gui.forms.fields import FieldRow
from cartl_gui.forms.kept_study import KeptStudy
from cartl_gui.forms.preset_bar import OWN
from cartl_gui.forms.setup_panel import SetupPanel
from cartl_gui.main_window import MainWindow
from cartl_gui.own_presets import KEPT, OwnPresets, RecentValues
from cartl_gui.settings import WindowSettings
from cartl_gui.theme import Theme
from engine.api import Session, preset_texts
from engine.config import RunConfig, StudyConfig, StudyDraft, parse_study
from tests.gui.controls import activate
from tests.gui.gui_helpers import answer, end, press, row

TEXTS = preset_texts()
PRESETS = {name: parse_study(TEXTS[name]) for name in ("demo", "claims")}


@pytest.fixture
def own(tmp_path: Path) -> OwnPresets:
    return OwnPresets(tmp_path / "presets")


@pytest.fixture
def panel(qtbot: QtBot, own: OwnPresets, tmp_path: Path) -> SetupPanel:
    panel = SetupPanel(PRESETS, TEXTS, own=own, recent=RecentValues(tmp_path / "recent.toml"))
    qtbot.addWidget(panel)
    panel.resize(400, 800)
    return panel


def line(field: FieldRow) -> QLineEdit:
    found = field.line()
    assert found is not None
    return found


def type_text(qtbot: QtBot, field: FieldRow, text: str) -> None:
    """Type over what is in a field, key by key."""
    line(field).selectAll()
    qtbot.keyClicks(line(field), text)


def show(panel: SetupPanel, qtbot: QtBot) -> None:
    """Show the panel with the keyboard in it."""
    panel.show()
    panel.activateWindow()
    qtbot.waitUntil(panel.isActiveWindow)


def amount(panel: SetupPanel) -> int:
    study = panel.study()
    return 0 if study is None else len(study.runs)


# several values in a field ------------------------------------------------------------------------------
def test_that_values_typed_in_a_field_are_an_axis_and_one_value_ends_it(
    panel: SetupPanel, qtbot: QtBot
) -> None:
    field = row(panel.form, "finetuning.spectral_bound")
    before = panel.text()
    type_text(qtbot, field, "0.4, 0.6")
    assert panel.grid.axes()[0] == {"finetuning.spectral_bound": [0.4, 0.6]}
    assert panel.grid.rows[0].line.text() == "0.4, 0.6"
    assert field.hint == "2 values: 0.4, 0.6 → 3 runs"
    assert [run.name for run in panel.study().runs] == [  # type: ignore[union-attr]
        "FDM, k=4", "experiment, beta=0.4", "experiment, beta=0.6",
    ]  # fmt: skip
    assert parse_study(panel.text()) == panel.study()
    type_text(qtbot, field, "0.4")
    assert panel.grid.rows == []
    assert field.hint == ""
    assert panel.text() == before


@pytest.mark.parametrize(
    ("place", "text", "runs"),
    [
        ("seed", "0..4", 5),
        ("pretraining.num_finetuned_blocks", "1..5 step 2", 3),
        ("finetuning.learning_rate", "log(0.001, 0.1, 3)", 4),
        ("attack.epsilon", "2/255..8/255 step 2/255", 5),
    ],
)
def test_that_every_short_form_may_be_typed(
    panel: SetupPanel, qtbot: QtBot, place: str, text: str, runs: int
) -> None:
    type_text(qtbot, row(panel.form, place), text)
    assert amount(panel) == runs
    assert panel.run_button.text() == f"Run study ({runs} runs)"
    assert (place if place != "seed" else "seed") in panel.grid.texts()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1, 2.5", "Blocks to fine-tune later (k) takes whole numbers, got 2.5"),
        ("1, ", "Expected a value after the comma"),
        ("2, 9", "WRN-10-1 has 5 blocks, so k must be 1 to 5, got 9"),
        ("1, -1", "Input should be greater than or equal to 1, got -1"),
    ],
)
def test_that_values_that_cannot_be_used_stay_typed_with_their_reason_in_field_and_grid(
    panel: SetupPanel, qtbot: QtBot, text: str, reason: str
) -> None:
    field = row(panel.form, "pretraining.num_finetuned_blocks")
    type_text(qtbot, field, text)
    assert panel.study() is None
    assert line(field).text() == text
    assert field.problem == reason
    assert panel.grid.rows[0].problem == reason
    assert panel._status.text() == "1 setting needs mending"


def test_that_several_choices_and_switches_are_typed_in_place_of_one(panel: SetupPanel, qtbot: QtBot) -> None:
    method = row(panel.form, "finetuning.method")
    panel.form.sections["finetuning"].set_open(True)
    show(panel, qtbot)
    assert isinstance(method.editor, QComboBox)
    qtbot.keyClick(method.editor, ",")  # type: ignore[arg-type]
    assert line(method).text() == "neft, "
    assert method.problem == "Expected a value after the comma"
    qtbot.keyClicks(line(method), "vanilla")
    assert panel.grid.axes()[0] == {"finetuning.method": ["neft", "vanilla"]}
    assert [box.text() for box in panel.grid.rows[0]._boxes if box.isChecked()] == ["Vanilla", "NEFT"]
    assert method.hint == "2 values: NEFT, Vanilla → 3 runs"
    affine = row(panel.form, "finetuning.batch_norm.freeze_affine")
    affine.type_text("on, off")
    assert amount(panel) == 5
    type_text(qtbot, method, "vanilla")
    assert "finetuning.method" not in panel.grid.names()
    line(method).clearFocus()
    method.end_sweep()
    assert isinstance(method.editor, QComboBox) and method.editor.currentData() == "vanilla"
    panel.hide()


def test_that_the_grid_and_the_fields_stay_in_step_both_ways(panel: SetupPanel, qtbot: QtBot) -> None:
    field = row(panel.form, "attack.steps")
    type_text(qtbot, field, "10, 20")
    panel.grid.rows[0].line.setText("10, 20, 50")
    assert line(field).text() == "10, 20, 50"
    panel.grid.rows[0].remove_button.click()
    assert line(field).text() == "10", "the one value there was before the second was typed"
    panel.grid.seeds.setText("0..2")
    assert line(row(panel.form, "seed")).text() == "0..2"
    panel.grid.seeds.clear()
    assert line(row(panel.form, "seed")).text() == "0"


def test_that_k_is_shown_in_both_fields_that_it_stands_for(panel: SetupPanel, qtbot: QtBot) -> None:
    panel.grid.add_axis()
    panel.grid.rows[0].line.setText("2..4")
    fields = [row(panel.form, f"{stage}.num_finetuned_blocks") for stage in ("pretraining", "finetuning")]
    assert [line(field).text() for field in fields] == ["2..4", "2..4"]
    type_text(qtbot, fields[1], "3")
    assert panel.grid.rows == []
    assert [field.value() for field in fields] == [3, 3]


def test_that_settings_of_all_varied_methods_are_shown(panel: SetupPanel) -> None:
    method, bound = (row(panel.form, f"finetuning.{name}") for name in ("method", "spectral_bound"))
    method.set_value("vanilla")
    assert bound.isHidden()
    method.type_text("vanilla, neft")
    assert not bound.isHidden()


def test_that_values_with_names_are_left_to_the_grid(panel: SetupPanel) -> None:
    panel.grid.add_axis()
    axis = panel.grid.rows[0].setting
    axis.setCurrentIndex(axis.findData("finetuning.batch_norm"))
    field = row(panel.form, "finetuning.batch_norm.freeze_affine")
    assert not field.editor.isEnabled()
    assert field.toolTip() == "Varied in the grid, by values with names"


# undo ---------------------------------------------------------------------------------------------------
def test_that_every_kind_of_edit_is_one_step_back_and_forth(panel: SetupPanel, qtbot: QtBot) -> None:
    switch = panel.form.sections["finetuning"].switch
    assert switch is not None
    steps = [
        ("load preset Demo: letters to digits", lambda: panel.presets.chosen.emit("demo")),
        ("change Seed", lambda: type_text(qtbot, row(panel.form, "seed"), "0..2")),
        ("add the run AT-2", panel.add_button.click),
        ("change Epochs", lambda: type_text(qtbot, row(panel.form, "pretraining.epochs"), "35")),
        ("change Method", lambda: row(panel.form, "pretraining.method").set_value("trades")),
        ("switch Pre-training off", lambda: panel.form.sections["pretraining"].switch.click()),  # type: ignore[union-attr]
        ("rename the study", lambda: qtbot.keyClicks(panel.title, " again")),
        ("remove the run AT-2", panel.remove_button.click),
        ("new experiment", panel.new_experiment),
        ("switch Transfer off", switch.click),
    ]
    seen = [panel.text()]
    for name, step in steps:
        step()
        assert panel.history.stack.undoText() == name
        assert panel.parts.undo_button.toolTip() == f"Undo: {name} (Ctrl+Z)"
        seen.append(panel.text())
    assert all(before != after for before, after in itertools.pairwise(seen))
    assert panel.history.stack.count() == len(steps)
    for text in seen[-2::-1]:
        panel.parts.undo_button.click()
        assert panel.text() == text
    assert not panel.parts.undo_button.isEnabled()
    for text in seen[1:]:
        panel.parts.redo_button.click()
        assert panel.text() == text
    assert not panel.parts.redo_button.isEnabled()


def test_that_keys_undo_in_a_field_and_typing_in_another_field_is_another_step(
    panel: SetupPanel, qtbot: QtBot
) -> None:
    panel.form.sections["attack"].set_open(True)
    show(panel, qtbot)
    before = panel.text()
    name, steps = row(panel.form, "name"), row(panel.form, "attack.steps")
    for field, text in ((name, "one"), (steps, "40"), (name, "two")):
        field.editor.setFocus()
        type_text(qtbot, field, text)
    assert panel.history.stack.count() == 3
    qtbot.keyClick(line(name), Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert line(name).text() == "one"
    qtbot.keyClick(line(name), Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert line(steps).text() == "20" and line(steps).hasFocus(), "the cursor goes where the step was"
    qtbot.keyClick(line(steps), Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert panel.text() == before
    qtbot.keyClick(line(name), Qt.Key.Key_Y, Qt.KeyboardModifier.ControlModifier)
    assert line(name).text() == "one"
    panel.hide()


def test_that_undo_shows_the_run_that_was_edited(panel: SetupPanel, qtbot: QtBot) -> None:
    panel.set_preset("demo")
    panel.chooser.setCurrentIndex(3)
    type_text(qtbot, row(panel.form, "finetuning.epochs"), "7")
    panel.chooser.setCurrentIndex(0)
    panel.history.stack.undo()
    assert panel.chooser.currentIndex() == 3
    assert line(row(panel.form, "finetuning.epochs")).text() == "10"
    panel.chooser.setCurrentIndex(0)
    panel.history.stack.redo()
    assert panel.chooser.currentIndex() == 3


def test_that_lines_outside_of_the_form_have_no_undo_of_their_own(panel: SetupPanel, qtbot: QtBot) -> None:
    before = panel.text()
    qtbot.keyClicks(panel.title, " A")
    panel.grid.set_open(True)
    qtbot.keyClicks(panel.grid.seeds, "0..2")
    panel.grid.add_axis()
    qtbot.keyClicks(panel.grid.rows[0].line, "2, 3")
    assert panel.history.stack.count() == 3
    for widget in (panel.grid.rows[0].line, panel.title, panel.grid.seeds):
        qtbot.keyClick(widget, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert panel.text() == before


def test_that_typing_a_value_back_leaves_no_step(panel: SetupPanel, qtbot: QtBot) -> None:
    type_text(qtbot, row(panel.form, "attack.steps"), "205")
    qtbot.keyClick(line(row(panel.form, "attack.steps")), Qt.Key.Key_Backspace)
    assert panel.history.stack.count() == 0


def test_that_what_cannot_be_used_comes_back_as_it_was_typed(panel: SetupPanel, qtbot: QtBot) -> None:
    field = row(panel.form, "attack.steps")
    type_text(qtbot, field, "10, many")
    panel.new_experiment()
    assert line(field).text() == "20"
    panel.history.stack.undo()
    assert line(field).text() == "10, many"
    assert field.problem == "Expected whole numbers such as 1, 2, 5 or 0..4, got 'many'"


def test_that_one_edit_checks_each_run_once(
    panel: SetupPanel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = []
    original = RunConfig.model_validate
    monkeypatch.setattr(RunConfig, "model_validate", lambda values: checked.append(1) or original(values))
    row(panel.form, "attack.steps").set_value("30")
    assert len(checked) == 1
    row(panel.form, "attack.steps").set_value("30, 40, 50")
    assert len(checked) == 1 + 3


# changes ------------------------------------------------------------------------------------------------
def test_that_changes_from_the_preset_are_listed_and_taken_back_one_by_one(panel: SetupPanel) -> None:
    panel.set_preset("demo")
    assert panel.parts.changes_button.text() == "No changes"
    panel.chooser.setCurrentIndex(3)
    row(panel.form, "finetuning.epochs").set_value("12")
    row(panel.form, "attack.epsilon").set_value("8/255, 16/255")
    panel.title.setText("Mine")
    assert panel.parts.changes_button.text() == "3 changes"
    assert panel.form.sections["finetuning"].changes.text() == "1 changed"
    assert not panel.form.sections["finetuning"].changes.isHidden()
    assert panel.form.sections["pretraining"].changes.isHidden()
    panel.parts.changes_button.click()
    listed = panel.parts.changes_section
    assert not listed.isHidden()
    assert [(change_title(change), change_text(change)) for change in listed.changes] == [
        ("Study", "Demo: letters to digits → Mine"),
        ("Transfer: Epochs", "10 → 12"),
        ("Vary: Attack: Epsilon", "not varied → 8/255, 16/255"),
    ]
    for _ in range(3):
        listed.reset_asked.emit(listed.changes[0])
    assert listed.changes == []
    assert panel.study() == PRESETS["demo"]
    assert panel.history.stack.undoText() == "reset Vary: Attack: Epsilon"


def test_that_a_stage_that_was_switched_off_is_taken_back_whole(panel: SetupPanel) -> None:
    before = panel.study()
    for stage in ("finetuning", "pretraining"):
        switch = panel.form.sections[stage].switch
        assert switch is not None
        switch.setChecked(False)
        panel.parts.changes_button.setChecked(True)
        (change,) = [change for change in panel.parts.changes_section.changes if change.place == stage]
        assert change_text(change) == "on → off"
        panel.parts.changes_section.reset_asked.emit(change)
        assert panel.study() == before


def test_that_the_form_is_compared_with_what_was_run_last(panel: SetupPanel, qtbot: QtBot) -> None:
    row(panel.form, "attack.steps").set_value("30")
    with qtbot.waitSignal(panel.submitted):
        panel.submit()
    row(panel.form, "attack.steps").set_value("50")
    panel.parts.changes_button.click()
    section = panel.parts.changes_section
    assert [section.base.itemText(i) for i in range(section.base.count())] == [
        "the program's defaults",
        "what was run last",
    ]
    assert change_text(section.changes[0]) == "20 → 50"
    section.base.setCurrentIndex(1)
    section.base.activated.emit(1)
    assert change_text(section.changes[0]) == "30 → 50"


# presets ------------------------------------------------------------------------------------------------
def test_that_a_study_is_kept_as_a_preset_and_chosen_again(
    panel: SetupPanel, own: OwnPresets, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel.grid.seeds.setText("0..2")
    expected = panel.study()
    monkeypatch.setattr(QInputDialog, "getText", lambda *_args, **_kwargs: ("Three seeds, k=4", True))
    panel.presets.keep_action.trigger()
    assert panel.preset.currentText() == "Three seeds, k=4"
    assert panel.parts.changes_button.text() == "No changes"
    panel.new_experiment()
    assert panel.preset.currentIndex() == 0
    panel.preset.setCurrentIndex(panel.preset.findData(OWN + "Three seeds, k=4"))
    panel.preset.activated.emit(panel.preset.currentIndex())
    assert panel.study() == expected
    assert panel.grid.seeds.text() == "0..2"
    monkeypatch.setattr(QInputDialog, "getText", lambda *_args, **_kwargs: ("Renamed", True))
    panel.presets.rename_action.trigger()
    assert list(own.texts) == ["Renamed"]
    assert panel.preset.currentText() == "Renamed"
    answer("Delete")
    panel.presets.delete_action.trigger()
    assert own.texts == {}
    assert panel.study() == expected, "the form keeps what is in it"


def test_that_names_of_the_program_s_presets_are_asked_for_again(
    panel: SetupPanel, own: OwnPresets, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = iter([("demo: LETTERS to digits", True), ("", True), ("", False)])
    asked: list[str] = []

    def ask(_parent: object, _title: str, label: str, **_kwargs: object) -> tuple[str, bool]:
        asked.append(label)
        return next(names)

    monkeypatch.setattr(QInputDialog, "getText", ask)
    panel.save_as_preset()
    assert "cannot be replaced" in asked[1] and "1 to 60 characters" in asked[2]
    assert own.texts == {}


def test_that_a_damaged_preset_is_named_skipped_and_kept(tmp_path: Path, qtbot: QtBot) -> None:
    own = OwnPresets(tmp_path)
    own.save("Good", TEXTS["demo"])
    (tmp_path / "Bad.toml").write_text("runs = 3")
    own.load()
    assert list(own.texts) == ["Good"]
    assert "runs" in own.damaged["Bad"]
    panel = SetupPanel(PRESETS, TEXTS, own=own)
    qtbot.addWidget(panel)
    place = panel.preset.findText("Bad (cannot be used)")
    assert place > panel.preset.findText("Good")
    assert not panel.preset.model().index(place, 0).flags() & Qt.ItemFlag.ItemIsEnabled
    assert own.refusal("bad")
    assert (tmp_path / "Bad.toml").read_text() == "runs = 3"


def test_that_a_preset_with_any_name_comes_back_under_it(tmp_path: Path) -> None:
    own = OwnPresets(tmp_path)
    for name in ("a/b", "..", "Ä ö & %41", "x" * 60):
        if own.refusal(name):
            assert name == ".."
            continue
        own.save(name, TEXTS["demo"])
        assert own.path(name).parent == tmp_path
    assert set(OwnPresets(tmp_path).texts) == {"a/b", "Ä ö & %41", "x" * 60}
    with pytest.raises(FileExistsError):
        own.rename("a/b", "x" * 60)


# finding and explaining ---------------------------------------------------------------------------------
def test_that_a_search_shows_the_settings_found_and_then_all_again(panel: SetupPanel, qtbot: QtBot) -> None:
    show(panel, qtbot)
    panel.find_setting()
    assert panel.parts.search.hasFocus()
    opened = [key for key, section in panel.form.sections.items() if section.is_open()]
    qtbot.keyClicks(panel.parts.search, "step size")
    shown = {field.place for field in panel.form.all_rows() if field.isVisible()}
    assert shown == {
        "pretraining.attack.step_size", "pretraining.epsilon_ramp", "attack.step_size", "inspection.probe_epsilon"
    }  # fmt: skip
    assert panel.parts._found.text().startswith("4 settings found; 1 more has no effect")
    assert panel.form.sections["run"].isHidden()
    panel.parts.search.setText("weight_decay")
    assert row(panel.form, "pretraining.weight_decay").isVisible(), "advanced settings are found too"
    qtbot.keyClick(panel.parts.search, Qt.Key.Key_Return)
    assert row(panel.form, "pretraining.weight_decay").editor.hasFocus() and panel.parts.search.text()
    panel.parts.search.setText("no qwerty")
    assert panel.parts._found.text() == "No setting found."
    panel.parts.search.clear()
    assert [key for key, section in panel.form.sections.items() if section.is_open()] == opened
    assert [key for key, section in panel.form.sections.items() if section.body.isVisible()] == opened
    assert not row(panel.form, "pretraining.weight_decay").isVisible()
    panel.hide()


def test_that_f1_tells_all_about_a_setting_and_escape_goes_back(panel: SetupPanel, qtbot: QtBot) -> None:
    show(panel, qtbot)
    field = panel.form.reveal("finetuning.spectral_bound")
    assert field is not None
    claim = QKeyEvent(
        QKeyEvent.Type.ShortcutOverride, Qt.Key.Key_F1, Qt.KeyboardModifier.NoModifier
    )  # fmt: skip
    claim.setAccepted(False)
    QApplication.sendEvent(line(field), claim)
    assert claim.isAccepted(), "no shortcut of the window takes it"
    qtbot.keyClick(line(field), Qt.Key.Key_F1)
    help = panel.desk.help
    assert help.isVisible()
    assert dict(facts(field)) == {
        "Expected": "a number above 0 and at most 100",
        "Default": "0.4",
        "In papers": "β (beta)",
        "Source": "CARTL, section 3 (non-expansive fine-tuning)",
        "Usual values": "0.4, 0.6, 0.8, 1",
        "In a study file": "finetuning.spectral_bound",
        "Command line": "--set finetuning.spectral_bound=0.4",
        "Several values": "typed as 0.1, 0.2 or log(0.001, 0.1, 3); or --sweep finetuning.spectral_bound=…",
    }
    assert field.spec.help in help.accessibleDescription()
    help.copy_button.click()
    assert QGuiApplication.clipboard().text() == "--set finetuning.spectral_bound=0.4"
    assert not help.isVisible()
    panel.hide()


@pytest.mark.parametrize(
    "place", ["attack.sweep_steps", "finetuning.batch_norm.freeze_affine", "attack.loss"]
)
def test_that_the_command_in_the_help_is_understood(panel: SetupPanel, place: str) -> None:
    field = row(panel.form, place)
    option, override = shlex.split(command(field))
    assert option == "--set"
    changed = parse_study(TEXTS["demo"], [override])
    value = changed.runs[-1]
    for key in place.split("."):
        value = getattr(value, key)
    assert field.same(value, field.spec.default)


def test_that_the_menu_of_a_field_proposes_values_and_keeps_those_used_last(
    panel: SetupPanel, qtbot: QtBot, tmp_path: Path
) -> None:
    panel.form.sections["attack"].set_open(True)
    show(panel, qtbot)
    field = row(panel.form, "attack.epsilon")
    for text in ("3/255", "5/255"):
        field.set_value(text)
        panel.submit()
    panel.desk.recent = RecentValues(tmp_path / "recent.toml")

    def menu() -> FieldMenu:
        qtbot.keyClick(line(field), Qt.Key.Key_Down, Qt.KeyboardModifier.AltModifier)
        return next(found for found in panel.findChildren(FieldMenu) if found.isVisible())

    opened = menu()
    texts = [action.text() for action in opened.actions()]
    assert [text for text in texts if text.endswith("/255")][:4] == ["2/255", "4/255", "8/255", "16/255"]
    assert "3/255" in texts and "5/255" not in texts, "what is there now is not proposed"
    assert {"Back to 8/255", "Default: 8/255", "About this setting"} <= set(texts)
    next(action for action in opened.actions() if action.text() == "4/255").trigger()
    opened.close()
    assert field.value() == "4/255"
    opened = menu()
    next(action for action in opened.actions() if action.text().startswith("Vary over")).trigger()
    opened.close()
    assert field.sweep_text == "2/255, 4/255, 8/255, 16/255, 0.5"
    assert amount(panel) == 6
    panel.hide()


def test_that_the_button_of_the_menu_stands_where_the_keyboard_is(panel: SetupPanel, qtbot: QtBot) -> None:
    panel.form.sections["attack"].set_open(True)
    show(panel, qtbot)
    for place in ("attack.steps", "attack.epsilon"):
        field = row(panel.form, place)
        field.editor.setFocus()
        assert panel.desk.menu_button.parentWidget() is field.editor
        assert panel.desk.menu_button.isVisible()
    row(panel.form, "attack.norm").editor.setFocus()
    assert not panel.desk.menu_button.isVisible()
    panel.hide()


def test_that_at_most_five_values_are_kept_for_each_setting(tmp_path: Path) -> None:
    path = tmp_path / "recent.toml"
    recent = RecentValues(path)
    for number in range(KEPT + 3):
        recent.use({"attack.steps": str(number), "name": "a"})
    assert RecentValues(path).of("attack.steps") == ["7", "6", "5", "4", "3"]
    path.write_text("not = [toml")
    assert RecentValues(path).of("attack.steps") == []


def test_that_the_study_in_the_form_is_there_again_at_the_next_start(
    panel: SetupPanel, own: OwnPresets, settings: WindowSettings, qtbot: QtBot
) -> None:
    kept = KeptStudy(panel, settings)
    kept.conclude()
    assert not settings.study, "a form that nobody touched is not kept"
    panel.set_preset("claims")
    panel.chooser.setCurrentIndex(2)
    row(panel.form, "finetuning.epochs").set_value("7")
    qtbot.waitUntil(lambda: "epochs = 7" in tomllib.loads(settings.study or "study = ''")["study"])
    row(panel.form, "finetuning.epochs").set_value("none at all")
    kept.conclude()

    later = SetupPanel(PRESETS, TEXTS, own=own)
    qtbot.addWidget(later)
    KeptStudy(later, settings)
    assert (later.chooser.currentIndex(), row(later.form, "finetuning.epochs").value()) == (2, 7)
    assert later.preset.currentData() == "claims"
    assert not later.history.stack.canUndo()
    row(panel.form, "finetuning.epochs").set_value("7")
    assert later.study() == panel.study()
    for text in ("not = [toml", "run = 1", settings.study.replace("epochs = 7", "epochs = 0")):
        settings.study = text
        KeptStudy(other := SetupPanel(PRESETS, TEXTS), settings)
        qtbot.addWidget(other)
        assert other.title.text() == "My experiment" and not settings.study


# proposing ----------------------------------------------------------------------------------------------
def test_that_proposed_settings_are_told_with_the_way_back(panel: SetupPanel) -> None:
    row(panel.form, "attack.steps").set_value("33")
    before = panel.text()
    panel.propose(StudyDraft.parse(TEXTS["demo"]), "the settings of AT", told="Settings of AT.")
    assert not panel.parts.bar.isHidden()
    assert panel.parts.bar.text.text() == "Settings of AT."
    panel.parts.bar.undo_button.click()
    assert panel.text() == before
    assert panel.parts.bar.isHidden()


def test_that_the_panel_builds_what_is_seen(panel: SetupPanel) -> None:
    built = [field.place for field in panel.form.all_rows() if field._editor is not None]
    assert built == ["name", "seed"]
    panel.form.sections["attack"].set_open(True)
    built = {field.place for field in panel.form.all_rows() if field._editor is not None}
    assert "attack.epsilon" in built and "attack.surrogate" not in built and "pretraining.epochs" not in built


def test_that_the_context_menu_of_a_choice_lets_several_be_typed(panel: SetupPanel, qtbot: QtBot) -> None:
    panel.form.sections["finetuning"].set_open(True)
    show(panel, qtbot)
    field = row(panel.form, "finetuning.method")
    panel.desk.open_menu(field, QPoint(0, 0))
    menu = next(found for found in panel.findChildren(FieldMenu) if found.isVisible())
    next(action for action in menu.actions() if action.text().startswith("Vary")).trigger()
    menu.close()
    assert line(field).hasFocus()
    qtbot.keyClicks(line(field), "full")
    assert panel.grid.texts()["finetuning.method"] == "neft, full"
    panel.hide()


def test_that_what_does_not_fit_is_told_although_something_cannot_be_used(panel: SetupPanel) -> None:
    row(panel.form, "pretraining.epochs").set_value("many")
    row(panel.form, "finetuning.num_finetuned_blocks").set_value("9")
    assert row(panel.form, "pretraining.epochs").problem.startswith("Expected a whole number")
    assert row(panel.form, "finetuning.num_finetuned_blocks").problem.startswith("WRN-10-1 has 5 blocks")
    assert panel._status.text() == "2 settings need mending"


# the whole window, on the real engine -------------------------------------------------------------------
SMALL = """
title = "small"
[[runs]]
name = "source"
model = { depth = 10 }
source = { name = "letters", image_size = 8, train_size = 52, validation_size = 26, test_size = 26 }
pretraining = { method = "natural", epochs = 1 }
machine = { device = "cpu", threads = 1 }
inspection = { probe_size = 4, bounds = false }
"""


def test_that_a_sweep_is_set_up_run_and_used_again(
    qtbot: QtBot, settings: WindowSettings, themes: Theme, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARTL_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(QInputDialog, "getText", lambda *_args, **_kwargs: ("Small, two seeds", True))
    session = Session(tmp_path / "workspace")
    window = MainWindow(session, {"demo": parse_study(SMALL)}, settings, themes, preset_texts={"demo": SMALL})
    window.resize(1280, 800)
    window.show()
    window.start()
    activate(window)
    panel = window.setup
    panel.set_preset("demo")
    window.show_form()
    type_text(qtbot, row(panel.form, "seed"), "0, 1")
    press(window, "copy_form_command")
    words = shlex.split(QGuiApplication.clipboard().text())
    assert words[1:] == ["run", "demo", "--sweep", "seed=0, 1", "--workspace", str(session.workspace)]
    press(window, "undo_settings")
    assert amount(panel) == 1
    assert window.commands.actions["redo_settings"].isEnabled()
    press(window, "redo_settings")
    assert amount(panel) == 2
    press(window, "save_preset")
    assert (tmp_path / "config" / "presets" / "Small, two seeds.toml").is_file()
    press(window, "find_setting")
    assert panel.parts.search.hasFocus()
    panel.run_button.click()
    qtbot.waitUntil(
        lambda: [info.state for info in window.bridge.runs.values()] == ["finished"] * 2, timeout=60_000
    )
    assert sorted(info.config.seed for info in window.bridge.runs.values()) == [0, 1]
    panel.new_experiment()
    before = panel.text()
    second = next(info for info in window.bridge.runs.values() if info.config.seed == 1)
    mime = window.runs.model.mimeData([window.runs.model.index(window.runs.model.row_of(second.id), 0)])
    panel.dropEvent(
        QDropEvent(
            QPointF(5, 5), Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
        )
    )  # fmt: skip
    assert panel.parts.bar.text.text() == f"Settings of {second.title}."
    assert panel.study() == StudyConfig(title="small", runs=[second.config])
    panel.parts.bar.undo_button.click()
    assert panel.text() == before
    end(qtbot, window)
