"""Studies while they are edited: what is changed goes into the file's own tables."""

from __future__ import annotations

import pytest

from engine.api import preset_texts
from engine.config import StudyConfig, StudyDraft, axes_for, parse_study, paths_of
from engine.errors import ConfigError

STUDY = """
title = "Two"
[defaults]
model = { depth = 16 }
source = { name = "letters" }
target = { name = "digits" }
[grid]
seed = [0, 1]
"finetuning.epochs" = [2, 3]
[[runs]]
name = "FDM"
pretraining = {}
grid = { k = [3, 4] }
[[runs]]
name = "NEFT"
start_from = "FDM"
finetuning = { method = "neft" }
attack = {}
[[runs]]
name = "short"
start_from = "FDM"
finetuning = { method = "vanilla", epochs = 1 }
attack = {}
"""


@pytest.mark.parametrize("name", list(preset_texts()))
def test_that_a_draft_that_nobody_changed_is_the_study_of_its_file(name: str) -> None:
    text = preset_texts()[name]
    draft = StudyDraft.parse(text)
    assert draft.study() == parse_study(text)
    assert parse_study(draft.text()) == parse_study(text)


def test_that_a_study_in_full_is_a_draft_without_a_grid() -> None:
    study = parse_study(STUDY)
    draft = StudyDraft.of(study)
    assert draft.study() == study
    assert not draft.is_grid
    assert StudyDraft.parse(STUDY).is_grid


def test_that_a_single_run_may_have_a_grid() -> None:
    text = 'name = "one"\nmodel = {}\nsource = {}\npretraining = {}\n[grid]\nseed = [0, 1]\n'
    draft = StudyDraft.parse(text)
    assert draft.study() == parse_study(text)
    assert parse_study(draft.text()) == parse_study(text)


def test_that_a_changed_value_changes_only_its_own_run() -> None:
    draft = StudyDraft.parse(STUDY)
    draft.runs[1].values["finetuning"]["learning_rate"] = 0.05
    assert draft.study() == parse_study(STUDY.replace('"neft"', '"neft", learning_rate = 0.05'))


def test_that_a_stage_is_taken_out_and_put_in() -> None:
    draft = StudyDraft.parse(STUDY)
    attack = draft.runs[2].values["attack"]
    draft.runs[2].values["attack"] = None
    assert draft.study() == parse_study(STUDY[: STUDY.rindex("attack = {}")])
    draft.runs[2].values["attack"] = attack
    assert draft.study() == parse_study(STUDY)


def test_that_a_run_keeps_what_it_says_against_an_axis_of_the_study() -> None:
    draft = StudyDraft.parse(STUDY)
    assert draft.runs[2].pinned == {"finetuning.epochs"}
    names = [name for name in draft.study().cells if name.startswith("short")]
    assert names == ["short, k=3", "short, k=4"]
    assert ("finetuning", "epochs") not in draft.varied(2)
    assert ("finetuning", "epochs") in draft.varied(1)


def test_that_what_is_no_longer_varied_has_the_value_that_is_shown() -> None:
    draft = StudyDraft.parse(STUDY)
    del draft.grid["finetuning.epochs"]
    draft.runs[0].grid = {}
    study = draft.study()
    assert list(study.cells) == ["FDM", "NEFT", "short"]
    assert study.cells["NEFT"][0].finetuning is not None
    assert study.cells["NEFT"][0].finetuning.epochs == 2
    assert study.cells["NEFT"][0].finetuning.num_finetuned_blocks == 3


def test_that_problems_stand_at_the_axis_or_the_run_before_expansion() -> None:
    draft = StudyDraft.parse(STUDY)
    draft.grid["finetuning.epochs"] = [2, 0]
    draft.runs[2].values["attack"]["steps"] = 0
    draft.runs[0].grid["k"] = [3, 9]
    with pytest.raises(ConfigError) as caught:
        draft.study()
    places = {problem.place for problem in caught.value.problems}
    assert places == {"grid.finetuning.epochs", "runs.0.grid.k", "runs.2.attack.steps"}


def test_that_every_axis_that_is_offered_can_be_read() -> None:
    names = axes_for(StudyConfig(runs=parse_study(STUDY).runs).runs[-1].model_dump())
    assert names[0] == "k"
    assert "finetuning.spectral_bound" in names
    assert not any(name.startswith("pretraining") for name in names)
    assert paths_of("k") == (("pretraining", "num_finetuned_blocks"), ("finetuning", "num_finetuned_blocks"))
