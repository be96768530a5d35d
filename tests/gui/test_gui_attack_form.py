"""The attack's settings in the form: what is shown for which attack, and defaults that follow the choice."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtWidgets import QComboBox, QFileDialog, QToolButton
from pytestqt.qtbot import QtBot

from cartl_gui.forms.config_form import ConfigForm
from cartl_gui.forms.proposals import new_run
from cartl_gui.forms.setup_panel import SetupPanel
from engine.config import ATTACKS, AttackConfig, RunConfig, StudyDraft, parse_study
from tests.gui.gui_helpers import row
from tests.gui.scripted_session import demo_study


@pytest.fixture
def form(qtbot: QtBot) -> ConfigForm:
    form = ConfigForm()
    qtbot.addWidget(form)
    form.set_values(new_run().model_dump())
    return form


def attack_of(form: ConfigForm) -> AttackConfig:
    config = form.config()
    assert config is not None and config.attack is not None, form.problems
    return config.attack


def choose(form: ConfigForm, place: str, value: str) -> None:
    row(form, place).set_value(value)


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "transfer"])
def test_that_choosing_an_attack_gives_what_its_settings_alone_would(form: ConfigForm, name: str) -> None:
    choose(form, "attack.name", name)
    assert attack_of(form) == AttackConfig(name=name)  # type: ignore[arg-type]
    shown = {field.spec.name for field in form.groups["attack"].rows.values() if field.relevant}
    assert set(ATTACKS[name].settings) <= shown
    assert {"name", "norm", "epsilon", "batch_size"} <= shown


def test_that_defaults_follow_the_attack_there_and_back(form: ConfigForm) -> None:
    choose(form, "attack.name", "apgd_t")
    steps = row(form, "attack.steps")
    assert (steps.value(), row(form, "attack.targets").value()) == (100, 9)
    assert not steps.is_changed(), "the default of the attack that is chosen is no change"
    choose(form, "attack.name", "pgd")
    assert (steps.value(), row(form, "attack.targets").value()) == (20, 0)
    assert attack_of(form) == AttackConfig()


def test_that_the_radius_follows_the_norm(form: ConfigForm) -> None:
    choose(form, "attack.norm", "l2")
    assert (attack_of(form).epsilon, attack_of(form).step_size) == (0.5, 0.1)
    choose(form, "attack.norm", "linf")
    assert (attack_of(form).epsilon, attack_of(form).step_size) == (8 / 255, 2 / 255)
    choose(form, "attack.name", "carlini_wagner")
    assert (attack_of(form).norm, attack_of(form).epsilon) == ("l2", 0.5)


def test_that_what_was_typed_does_not_follow(form: ConfigForm) -> None:
    choose(form, "attack.steps", "50")
    choose(form, "attack.epsilon", "12/255")
    choose(form, "attack.name", "apgd_ce")
    assert (attack_of(form).steps, attack_of(form).epsilon) == (50, 12 / 255)
    row(form, "attack.steps").reset()
    assert attack_of(form).steps == 100


def test_that_settings_that_were_opened_with_are_kept_whatever_is_chosen(form: ConfigForm) -> None:
    own = new_run().model_copy(update={"attack": AttackConfig(steps=7, epsilon=16 / 255, step_size=4 / 255)})
    form.set_values(own.model_dump())
    assert form.config() == own
    choose(form, "attack.name", "apgd_ce")
    assert (attack_of(form).steps, attack_of(form).epsilon) == (7, 16 / 255)
    assert attack_of(form).restarts == 1


@pytest.mark.parametrize("name", ["apgd_t", "fab_t", "autoattack"])
def test_that_opening_another_run_shows_its_settings(form: ConfigForm, name: str) -> None:
    for attack in (AttackConfig(name=name, epsilon=1 / 255), AttackConfig(steps=3), AttackConfig(norm="l2")):  # type: ignore[arg-type]
        config = new_run().model_copy(update={"attack": attack})
        form.set_values(config.model_dump())
        assert form.config() == config
        assert not any(field.is_changed() for field in form.all_rows())


def test_that_choices_are_called_as_in_the_field(form: ConfigForm) -> None:
    names, norms = (row(form, f"attack.{name}").editor for name in ("name", "norm"))
    assert isinstance(names, QComboBox) and isinstance(norms, QComboBox)
    assert [names.itemText(i) for i in range(names.count())] == [facts.title for facts in ATTACKS.values()]
    assert [norms.itemText(i) for i in range(norms.count())] == ["Linf", "L2", "L1"]
    assert form.groups["attack"]._column.itemAt(0).widget() is row(form, "attack.name")


@pytest.mark.parametrize("text", ["2/255, 4/255, 8/255", "2/255 4/255 8/255", "2/255,4/255  8/255"])
def test_that_radii_are_typed_with_commas_or_blanks(form: ConfigForm, text: str) -> None:
    row(form, "attack.sweep_epsilon").set_value(text)
    assert attack_of(form).sweep_epsilon == [2 / 255, 4 / 255, 8 / 255]
    assert row(form, "attack.sweep_epsilon").editor.text() == text  # type: ignore[attr-defined]
    row(form, "attack.sweep_steps").set_value("10 40, 100")
    assert attack_of(form).sweep_steps == [10, 40, 100]


def test_that_radii_are_shown_as_they_are_typed(form: ConfigForm) -> None:
    attack = AttackConfig(sweep_epsilon=[2 / 255, 0.5], sweep_steps=[10, 50])
    form.set_values(new_run().model_copy(update={"attack": attack}).model_dump())
    assert row(form, "attack.sweep_epsilon").editor.text() == "2/255, 0.5"  # type: ignore[attr-defined]
    assert row(form, "attack.sweep_steps").editor.text() == "10, 50"  # type: ignore[attr-defined]
    assert attack_of(form) == attack


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2/255, 300/255", "Expected above 0 and at most 1 in the Linf norm, got 1.17647"),
        ("2/255, many", "Expected a number or a ratio such as 8/255, got 'many'"),
        ("2/255, 2/255", "Expected each value once"),
    ],
)
def test_that_a_radius_that_cannot_be_used_stays_and_is_told(
    form: ConfigForm, text: str, reason: str
) -> None:
    field = row(form, "attack.sweep_epsilon")
    field.set_value(text)
    assert form.config() is None
    assert field.problem.startswith(reason)
    assert field.editor.text() == text  # type: ignore[attr-defined]


def test_that_a_surrogate_is_chosen_among_runs_or_as_a_file(
    form: ConfigForm, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = row(form, "attack.surrogate")
    assert field.isHidden()
    choose(form, "attack.name", "transfer")
    assert not field.isHidden()
    assert "Name the run or checkpoint" in field.problem
    form.set_starts([("in the study", "")], [("0007-at", "at, Earlier, today")])
    assert isinstance(field.editor, QComboBox)
    assert [field.editor.itemText(i) for i in range(field.editor.count())] == ["0007-at"]
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_args: ("/weights/other.pth", ""))
    button = next(b for b in field.findChildren(QToolButton) if b.objectName() == "folder")
    button.click()
    assert attack_of(form).surrogate == "/weights/other.pth"


def test_that_the_study_is_what_the_form_shows_after_another_attack_was_chosen(qtbot: QtBot) -> None:
    """A number of steps that was the default before is no longer left out when the default is another."""
    panel = SetupPanel({})
    qtbot.addWidget(panel)
    panel.set_draft(StudyDraft.parse(parse_text()))
    choose(panel.form, "attack.name", "apgd_ce")
    row(panel.form, "attack.steps").set_value("20")
    study = panel.study()
    assert study is not None
    assert study.runs[0].attack == attack_of(panel.form) == AttackConfig(name="apgd_ce", steps=20)
    assert parse_study(panel.text()).runs[0].attack == study.runs[0].attack


def parse_text() -> str:
    return """
title = "one"
[[runs]]
name = "one"
start_from = "weights.safetensors"
attack = {}
[runs.grid]
seed = [0]
"""


# files of other programs --------------------------------------------------------------------------------
def attack_only(start: str) -> RunConfig:
    return RunConfig(name="attack", start_from=start, attack=AttackConfig())


def test_that_a_file_of_another_program_is_described_only_where_a_run_attacks_one(form: ConfigForm) -> None:
    form.set_values(attack_only("0007-at").model_dump())
    assert form.foreign.isHidden()
    row(form, "start_from").set_value("/weights/resnet.pth")
    assert not form.foreign.isHidden()
    assert form.groups["checkpoint"].isHidden()
    form.foreign.setChecked(True)
    assert not form.groups["checkpoint"].isHidden()
    assert not form.groups["target"].isHidden()
    choose(form, "checkpoint.architecture", "preact_resnet")
    row(form, "checkpoint.mean").set_value("0.49 0.48 0.45")
    assert "Mean and std belong together" in row(form, "checkpoint.std").problem
    row(form, "checkpoint.std").set_value("0.2, 0.2, 51/255")
    choose(form, "target.name", "cifar10")
    config = form.config()
    assert config is not None and config.checkpoint is not None and config.target is not None
    assert config.checkpoint.architecture == "preact_resnet"
    assert config.checkpoint.std == [0.2, 0.2, 0.2]
    assert config.target.name == "cifar10"
    row(form, "start_from").set_value("0007-at")
    config = form.config()
    assert config is not None and config.checkpoint is None


def test_that_a_run_with_a_checkpoint_is_shown_and_given_back(qtbot: QtBot, tmp_path: Path) -> None:
    text = f"""
title = "foreign"
[[runs]]
name = "foreign"
start_from = "{tmp_path / "net.pt2"}"
checkpoint = {{ mean = [0.5, 0.5, 0.5], std = [0.25, 0.25, 0.25] }}
target = {{ name = "digits" }}
attack = {{ name = "autoattack" }}
"""
    panel = SetupPanel({})
    qtbot.addWidget(panel)
    panel.set_draft(StudyDraft.parse(text))
    assert panel.study() == parse_study(text)
    assert panel.form.config() == parse_study(text).runs[0]
    panel.form.foreign.setChecked(False)
    study = panel.study()
    assert study is not None and study.runs[0].checkpoint is None
    assert panel.history.stack.undoText() == "switch Checkpoint off"
    panel.form.foreign.setChecked(True)
    assert panel.history.stack.undoText() == "switch Checkpoint on"


def test_that_trained_runs_know_no_checkpoint(form: ConfigForm) -> None:
    config = demo_study().runs[2]
    form.set_values(config.model_dump())
    row(form, "start_from").set_value("weights.pt")
    assert form.foreign.isHidden()
    assert form.config() == config.model_copy(
        update={"start_from": "weights.pt", "model": None, "source": None}
    )
