"""Grids in the set-up form: what is typed expands as the same grid in a file does."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtWidgets import QFileDialog
from pytestqt.qtbot import QtBot

from cartl_gui.forms.grid_section import AxisRow, axis_title
from cartl_gui.forms.setup_panel import SetupPanel
from cartl_gui.main_window import MainWindow
from engine.api import preset_texts, presets
from engine.config import StudyDraft, load_study, parse_study
from tests.gui.gui_helpers import press

CHAIN = """
title = "Chain"
[[runs]]
name = "chain"
model = { depth = 16 }
source = { name = "letters" }
target = { name = "digits" }
pretraining = {}
finetuning = {}
attack = {}
"""
GRID = """
seed = [0, 1, 2]
k = [1, 3]
"finetuning.method" = ["vanilla", "neft"]
"finetuning.spectral_bound" = [0.4, 0.6]
"finetuning.batch_norm" = { "frozen BN" = { freeze_affine = true, keep_head_statistics = false, \
keep_trunk_statistics = true }, "free BN" = { freeze_affine = false, keep_head_statistics = false, \
keep_trunk_statistics = false } }
"""
TWO_RUNS = """
title = "Two"
[defaults]
model = { depth = 16 }
source = { name = "letters" }
target = { name = "digits" }
[defaults.finetuning]
epochs = 3
[grid]
seed = [0, 1]
[[runs]]
name = "FDM"
pretraining = {}
grid = { k = [3, 4] }
[[runs]]
name = "NEFT"
start_from = "FDM"
finetuning = { method = "neft" }
attack = {}
[[comparisons]]
measure = "robust_accuracy"
baseline = "NEFT, k=3"
other = "NEFT, k=4"
"""


@pytest.fixture
def panel(qtbot: QtBot) -> SetupPanel:
    panel = SetupPanel(presets(), preset_texts())
    qtbot.addWidget(panel)
    panel.set_draft(StudyDraft.parse(CHAIN))
    return panel


def vary(panel: SetupPanel, name: str, values: str | list[str]) -> AxisRow:
    """Add a row to the grid and type or tick its values."""
    panel.grid.add_axis()
    row = panel.grid.rows[-1]
    row.setting.setCurrentIndex(row.setting.findData(name))
    if isinstance(values, str):
        row.line.setText(values)
    else:
        for box in row._boxes:
            box.setChecked(box.text() in values)
    return row


def test_that_a_study_without_a_grid_is_one_run_and_the_section_is_folded(panel: SetupPanel) -> None:
    assert panel.study() == parse_study(CHAIN)
    assert not panel.grid.header.isChecked()
    assert panel.grid.rows == []
    assert panel.run_button.text() == "Run study"


def test_that_a_typed_grid_expands_as_the_same_grid_in_a_file(panel: SetupPanel) -> None:
    panel.grid.seeds.setText("0..2")
    vary(panel, "k", "1, 3")
    vary(panel, "finetuning.method", ["Vanilla", "NEFT (CARTL)".partition(" (")[0]])
    vary(panel, "finetuning.spectral_bound", "0.4, 0.6")
    vary(panel, "finetuning.batch_norm", ["frozen BN", "free BN"])
    study = panel.study()
    assert study == parse_study(CHAIN.replace("[[runs]]", f"[grid]\n{GRID}\n[[runs]]"))
    assert panel.run_button.text() == f"Run study ({len(study.runs)} runs)"
    assert panel.grid.amount.text() == (
        "42 runs in 14 cells, 3 seeds; 6 pre-trainings shared by 36 transfers."
    )


@pytest.mark.parametrize("name", list(preset_texts()))
def test_that_every_preset_is_shown_with_its_grid_and_comes_back_the_same(
    panel: SetupPanel, name: str
) -> None:
    panel.set_preset(name)
    expected = presets()[name]
    assert panel.study() == expected
    for number in range(panel.chooser.count()):
        panel.chooser.setCurrentIndex(number)
        assert panel.study() == expected
    assert parse_study(panel.text()) == expected


def test_that_one_change_in_the_form_is_one_change_in_the_file(panel: SetupPanel) -> None:
    panel.set_draft(StudyDraft.parse(TWO_RUNS))
    panel.chooser.setCurrentIndex(1)
    next(row for row in panel.form.all_rows() if row.place == "finetuning.learning_rate").set_value("0.05")
    assert panel.study() == parse_study(
        TWO_RUNS.replace('method = "neft"', 'method = "neft", learning_rate = 0.05')
    )
    assert panel.text().count("learning_rate") == 1
    assert parse_study(panel.text()) == panel.study()


def test_that_varied_settings_are_left_to_the_grid_also_in_runs_that_start_from_a_varied_one(
    panel: SetupPanel,
) -> None:
    panel.set_draft(StudyDraft.parse(TWO_RUNS))
    panel.chooser.setCurrentIndex(1)
    rows = {row.place: row for row in panel.form.all_rows()}
    assert not rows["finetuning.num_finetuned_blocks"].editor.isEnabled()
    assert rows["seed"].editor.isEnabled() and rows["seed"].editor.text() == "0, 1"  # type: ignore[attr-defined]
    assert rows["finetuning.epochs"].editor.isEnabled()
    panel.chooser.setCurrentIndex(0)
    panel.grid.rows[0].remove_button.click()
    panel.chooser.setCurrentIndex(1)
    assert rows["finetuning.num_finetuned_blocks"].editor.isEnabled()
    assert panel.study() is not None
    assert [run.name for run in panel.study().runs] == ["FDM", "NEFT", "FDM", "NEFT"]  # type: ignore[union-attr]


def test_that_comparisons_of_runs_that_are_gone_are_left_out_and_said(panel: SetupPanel) -> None:
    panel.set_draft(StudyDraft.parse(TWO_RUNS))
    panel.grid.rows[0].line.setText("2, 4")
    study = panel.study()
    assert study is not None
    assert study.comparisons == []
    assert "1 comparison left out" in panel.grid.amount.text()
    panel.grid.rows[0].line.setText("3, 4")
    assert len(panel.study().comparisons) == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("k", "1, x", "Expected whole numbers such as 1, 2, 5 or 0..4, got 'x'"),
        ("k", "", "Expected whole numbers such as 1, 2, 5 or 0..4, the field is empty"),
        ("k", "2, 2", "Has 2 twice; remove one"),
        ("k", "2, 9", "WRN-16-1 has 8 blocks, so k must be 1 to 8, got 9"),
        ("finetuning.spectral_bound", "0.4, -1", "Input should be greater than 0, got -1.0"),
        ("attack.epsilon", "4/255, 8/", "Expected numbers or ratios such as 4/255, 8/255, the text ends"),
        ("pretraining.kl_weight", "3, 6", "Has no effect in any run of the study"),
    ],
)
def test_that_values_that_cannot_be_used_stay_and_the_reason_stands_under_them(
    panel: SetupPanel, name: str, text: str, reason: str
) -> None:
    other = vary(panel, "finetuning.batch_norm", ["free BN"])
    row = vary(panel, name, text)
    assert row.problem.startswith(reason)
    assert row.line.text() == text
    assert other.problem == ""
    assert panel.study() is None
    assert not panel.run_button.isEnabled()
    assert panel._status.text() == "1 setting needs mending"
    row.remove_button.click()
    assert panel.study() is not None
    assert panel.grid.rows == [other]


def test_that_wrong_seeds_are_told_at_their_line(panel: SetupPanel) -> None:
    panel.grid.seeds.setText("0, one")
    assert panel.grid._seeds_error.text() == "Expected whole numbers such as 1, 2, 5 or 0..4, got 'one'"
    panel.grid.seeds.setText("0, 0")
    assert "twice" in panel.grid._seeds_error.text()
    panel.grid.seeds.setText("")
    assert panel.grid._seeds_error.isHidden()
    assert panel.study() == parse_study(CHAIN)


def test_that_no_value_ticked_is_a_problem_of_that_row(panel: SetupPanel) -> None:
    row = vary(panel, "finetuning.method", [])
    assert "no values" in row.problem


def test_that_an_axis_of_one_run_leaves_the_others_alone(panel: SetupPanel) -> None:
    panel.add_button.click()
    row = vary(panel, "finetuning.spectral_bound", "0.4, 0.6")
    assert not row.scope.isHidden()
    names = [run.name for run in panel.study().runs]  # type: ignore[union-attr]
    assert [name for name in names if "beta" in name] == ["chain-2, beta=0.4", "chain-2, beta=0.6"]
    row.scope.setCurrentIndex(row.scope.findData(True))
    names = [run.name for run in panel.study().runs]  # type: ignore[union-attr]
    assert len([name for name in names if "beta" in name]) == 4
    panel.chooser.setCurrentIndex(0)
    assert [row.name for row in panel.grid.rows] == ["finetuning.spectral_bound"]


def test_that_a_study_with_a_grid_is_saved_with_it_and_opened_again(
    window: MainWindow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "study.toml"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_args: (str(path), ""))
    window.setup.set_draft(StudyDraft.parse(TWO_RUNS))
    window.setup.grid.rows[0].line.setText("2, 3, 4")
    press(window, "save")
    assert "k = [2, 3, 4]" in path.read_text()
    expected = parse_study(TWO_RUNS.replace("[3, 4]", "[2, 3, 4]"))
    assert load_study(path) == expected
    window.setup.new_experiment()
    window.do.settings.open_file(str(path))
    assert window.setup.study() == expected
    assert window.setup.grid.rows[0].line.text() == "2..4"
    press(window, "run")
    assert ("submit", expected) in window.session.calls  # type: ignore[attr-defined]


def test_that_every_axis_that_is_offered_has_a_title_and_an_editor(panel: SetupPanel) -> None:
    titles = [axis_title(name) for name in panel.grid._offered]
    assert len(set(titles)) == len(titles)
    assert titles[:3] == ["k, blocks to fine-tune", "Transfer: Method", "Pre-training: Method"]
    assert "Pre-training: Training attack: Epsilon" in titles
    panel.grid.add_axis()
    for name in panel.grid._offered:
        row = panel.grid.rows[0]
        row.setting.setCurrentIndex(row.setting.findData(name))
        assert row._boxes or row.line.isVisibleTo(row)
