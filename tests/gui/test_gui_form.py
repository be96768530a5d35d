"""The form made from the settings' classes."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtWidgets import QComboBox, QLabel, QLineEdit
from pytestqt.qtbot import QtBot

from cartl_gui.forms.config_form import ConfigForm
from cartl_gui.forms.fields import FieldRow
from cartl_gui.forms.proposals import new_run
from cartl_gui.forms.setup_panel import SetupPanel
from cartl_gui.forms.specs import specs_of
from engine.config import (
    CheckpointConfig,
    ComparisonConfig,
    FinetuningConfig,
    PgdConfig,
    RunConfig,
    StudyConfig,
    parse_study,
)
from tests.gui.gui_helpers import row
from tests.gui.scripted_session import demo_study


@pytest.fixture
def form(qtbot: QtBot) -> ConfigForm:
    form = ConfigForm()
    qtbot.addWidget(form)
    form.set_values(new_run().model_dump())
    return form


def type_into(form: ConfigForm, place: str, text: str) -> FieldRow:
    found = row(form, place)
    found.set_value(text)
    return found


def test_that_every_setting_of_a_run_has_a_row(form: ConfigForm) -> None:
    def leaves(values: object, place: str = "") -> set[str]:
        if not isinstance(values, dict):
            return {place}
        return {leaf for key, value in values.items() for leaf in leaves(value, f"{place}.{key}".lstrip("."))}

    places = {row.place for row in form.all_rows()}
    assert leaves(new_run().model_dump(exclude={"checkpoint"})) == {
        place for place in places if not place.startswith("checkpoint.")
    }
    assert {f"checkpoint.{name}" for name in CheckpointConfig.model_fields} <= places


@pytest.mark.parametrize("number", range(4))
def test_that_the_form_gives_back_the_settings_it_was_given(form: ConfigForm, number: int) -> None:
    config = demo_study().runs[number]
    form.set_values(config.model_dump())
    assert form.config() == config
    assert form.problems == []


def test_that_a_ratio_is_kept_as_it_was_typed(form: ConfigForm) -> None:
    type_into(form, "attack.epsilon", "4/255")
    config = form.config()
    assert config is not None and config.attack is not None
    assert config.attack.epsilon == 4 / 255
    assert row(form, "attack.epsilon").editor.text() == "4/255"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("place", "text", "reason"),
    [
        ("pretraining.epochs", "0", "Expected a whole number from 1 to 10,000, got 0"),
        ("pretraining.epochs", "many", "Expected a whole number from 1 to 10,000, got 'many'"),
        ("pretraining.epochs", "", "Expected a whole number from 1 to 10,000, the field is empty"),
        ("pretraining.learning_rate", "nan", "Expected a number above 0 and at most 10, got nan"),
        ("attack.epsilon", "9/0", "Expected a finite number or ratio such as 8/255, got '9/0'"),
        ("attack.epsilon", "2", "Expected above 0 and at most 1 in the Linf norm, got 2"),
        ("seed", "-1", "Expected a whole number from 0 to 2,147,483,647, got -1"),
        ("name", "", "Expected 1 to 80 characters, the field is empty"),
    ],
)
def test_that_an_unusable_value_stays_and_its_reason_stands_under_it(
    form: ConfigForm, place: str, text: str, reason: str
) -> None:
    field = type_into(form, place, text)
    assert form.config() is None
    assert field.problem == reason
    assert field.editor.text() == text  # type: ignore[attr-defined]
    assert field.editor.accessibleDescription().startswith(reason)


def test_that_a_problem_between_settings_stands_at_the_setting_it_names(form: ConfigForm) -> None:
    type_into(form, "finetuning.num_finetuned_blocks", "9")
    assert "has 5 blocks" in row(form, "finetuning.num_finetuned_blocks").problem
    type_into(form, "finetuning.num_finetuned_blocks", "2")
    type_into(form, "attack.step_size", "0.5")
    assert "more than the whole ball" in row(form, "attack.step_size").problem
    assert not form.sections["attack"].count.isHidden()


def test_that_settings_without_effect_are_hidden_and_cannot_block(form: ConfigForm) -> None:
    type_into(form, "finetuning.spectral_bound", "-3")
    assert form.config() is None
    row(form, "finetuning.method").set_value("vanilla")
    assert row(form, "finetuning.spectral_bound").isHidden()
    config = form.config()
    assert config is not None and config.finetuning is not None
    assert config.finetuning.spectral_bound == FinetuningConfig().spectral_bound


def test_that_milestones_are_typed_with_commas(form: ConfigForm) -> None:
    row(form, "pretraining.schedule").set_value("milestones")
    type_into(form, "pretraining.milestones", "3, 7")
    config = form.config()
    assert config is not None and config.pretraining is not None
    assert config.pretraining.milestones == [3, 7]
    field = type_into(form, "pretraining.milestones", "3; 7")
    assert "commas" in field.problem


def test_that_reset_is_offered_only_for_a_changed_setting(form: ConfigForm) -> None:
    field = row(form, "pretraining.epochs")
    assert field.reset_button.isHidden()
    type_into(form, "pretraining.epochs", "13")
    assert not field.reset_button.isHidden()
    field.reset_button.click()
    assert field.value() == 12
    assert field.reset_button.isHidden()


def test_that_a_ratio_typed_in_another_way_counts_as_changed_only_if_its_value_differs(
    form: ConfigForm,
) -> None:
    field = type_into(form, "attack.epsilon", "8/255")
    assert not field.is_changed()


def test_that_a_stage_is_switched_off_and_on(form: ConfigForm) -> None:
    switch = form.sections["finetuning"].switch
    assert switch is not None
    switch.setChecked(False)
    config = form.config()
    assert config is not None
    assert config.stages == ("pretraining", "attack")
    assert config.target is None
    switch.setChecked(True)
    assert form.config() == new_run()


def test_that_a_run_without_pretraining_asks_where_to_start_from(form: ConfigForm) -> None:
    switch = form.sections["pretraining"].switch
    assert switch is not None
    assert row(form, "start_from").isHidden()
    switch.setChecked(False)
    assert not row(form, "start_from").isHidden()
    assert "needs weights" in row(form, "start_from").problem
    row(form, "start_from").set_value("0007-fdm")
    config = form.config()
    assert config is not None
    assert config.start_from == "0007-fdm"


def test_that_every_editor_is_named_after_its_setting(form: ConfigForm) -> None:
    for field in form.all_rows():
        assert field.editor.accessibleName() == field.spec.title
        label = field.findChild(QLabel)
        assert label is not None
        assert label.buddy() is field.editor
        assert field.spec.help in field.editor.toolTip()


def test_that_bounds_units_and_conditions_are_read_from_the_class() -> None:
    specs = {spec.name: spec for spec in specs_of(PgdConfig)}
    assert specs["epsilon"].kind == "ratio"
    assert specs["epsilon"].unit == "input units"
    assert specs["steps"].expectation() == "a whole number from 1 to 10,000"
    assert {spec.name: spec for spec in specs_of(FinetuningConfig)}["spectral_bound"].shown_if == {
        "method": ["neft"]
    }


def test_that_the_panel_edits_every_run_of_a_study(qtbot: QtBot) -> None:
    panel = SetupPanel({"demo": demo_study()})
    qtbot.addWidget(panel)
    panel.set_preset("demo")
    assert panel.study() == demo_study()
    panel.chooser.setCurrentIndex(2)
    row(panel.form, "finetuning.epochs").set_value("7")
    panel.chooser.setCurrentIndex(0)
    study = panel.study()
    assert study is not None
    assert [run.finetuning.epochs for run in study.runs if run.finetuning] == [7, 12]
    panel.chooser.setCurrentIndex(2)
    assert row(panel.form, "finetuning.epochs").is_changed()


def test_that_a_problem_in_another_run_is_counted_and_led_to(qtbot: QtBot) -> None:
    panel = SetupPanel({"demo": demo_study()})
    qtbot.addWidget(panel)
    panel.set_preset("demo")
    panel.chooser.setCurrentIndex(3)
    row(panel.form, "finetuning.epochs").set_value("0")
    panel.chooser.setCurrentIndex(0)
    assert panel.study() is None
    assert not panel.run_button.isEnabled()
    assert panel._status.text() == "1 setting needs mending (run 4)"
    with qtbot.assertNotEmitted(panel.submitted):
        panel.submit()
    assert panel.chooser.currentIndex() == 3


def test_that_a_copied_run_gets_a_name_of_its_own(qtbot: QtBot) -> None:
    panel = SetupPanel({})
    qtbot.addWidget(panel)
    panel.add_button.click()
    panel.add_button.click()
    study = panel.study()
    assert study is not None
    assert [run.name for run in study.runs] == ["FDM, k=4", "experiment", "experiment-2", "experiment-2-2"]
    assert [run.start_from for run in study.runs] == ["", "FDM, k=4", "FDM, k=4", "FDM, k=4"]
    assert panel.run_button.text() == "Run study (4 runs)", "what they share is made once, before them"
    panel.remove_button.click()
    assert panel.study() is not None
    assert len(panel.study().runs) == 3  # type: ignore[union-attr]


def test_that_runs_of_one_name_are_told_apart_by_their_seed_in_the_form(qtbot: QtBot) -> None:
    panel = SetupPanel({})
    qtbot.addWidget(panel)
    panel.add_button.click()
    row(panel.form, "name").set_value("experiment")
    row(panel.form, "seed").set_value("1")
    assert panel.study() is not None
    assert panel.chooser.currentText() == "2 of 2: experiment, seed 1"


def test_that_comparisons_are_kept_while_the_runs_that_they_name_are_there(qtbot: QtBot) -> None:
    demo = demo_study()
    attacked = next(run.name for run in demo.runs if run.attack)
    compared = ComparisonConfig(baseline=attacked, other=attacked)
    study = StudyConfig(title=demo.title, runs=demo.runs, comparisons=[compared])
    panel = SetupPanel({})
    qtbot.addWidget(panel)
    panel.set_study(study)
    assert panel.study() == study
    panel.chooser.setCurrentIndex([run.name for run in demo.runs].index(attacked))
    row(panel.form, "name").set_value("other")
    assert panel.study() is not None
    assert panel.study().comparisons == []  # type: ignore[union-attr]
    row(panel.form, "name").set_value(attacked)
    assert panel.study() == study


def test_that_two_runs_of_one_name_are_refused_in_words(qtbot: QtBot) -> None:
    panel = SetupPanel({})
    qtbot.addWidget(panel)
    panel.add_button.click()
    row(panel.form, "name").set_value("experiment")
    assert panel.study() is None
    assert "two runs are called" in panel._help.text().lower()


def test_that_earlier_runs_are_offered_to_start_from(qtbot: QtBot) -> None:
    panel = SetupPanel({"demo": demo_study()})
    qtbot.addWidget(panel)
    panel.set_preset("demo")
    panel.chooser.setCurrentIndex(2)
    combo = row(panel.form, "start_from").editor
    assert isinstance(combo, QComboBox)
    assert [combo.itemText(i) for i in range(combo.count())] == ["at", "fdm"]
    assert combo.currentText() == "at"


def test_that_a_saved_study_is_read_back_the_same(tmp_path: Path, qtbot: QtBot) -> None:
    from engine.config import dump_study

    panel = SetupPanel({"demo": demo_study()})
    qtbot.addWidget(panel)
    panel.set_preset("demo")
    study = panel.study()
    assert study is not None
    assert parse_study(dump_study(study)) == demo_study()


def test_that_the_form_never_needs_to_scroll_sideways(qtbot: QtBot) -> None:
    panel = SetupPanel({})
    qtbot.addWidget(panel)
    panel.resize(panel.minimumWidth(), 900)
    panel.show()
    for section in panel.form.sections.values():
        section.set_open(True)
    for place in ("pretraining.attack.step_size", "attack.step_size"):
        row(panel.form, place).set_value("0.9")
    qtbot.wait(20)
    assert panel.form.minimumSizeHint().width() <= panel.scroll_area.viewport().width()
    for line in panel.findChildren(QLineEdit):
        if line.isVisible():
            assert line.mapTo(panel, line.rect().topRight()).x() <= panel.width()
    panel.close()


def test_that_every_default_run_is_valid() -> None:
    assert isinstance(new_run(), RunConfig)
    assert StudyConfig(title="x", runs=[new_run()]).runs[0].stages == ("pretraining", "finetuning", "attack")
