"""What changed in a study, the way back, and the command that says it."""

from __future__ import annotations

import pytest

from engine.api import preset_texts
from engine.config import RunDraft, StudyDraft, parse_study
from engine.config.changes import Change, changes, undone, words_from_preset

DEMO, CLAIMS = (preset_texts()[name] for name in ("demo", "claims"))


def edited(text: str = DEMO) -> StudyDraft:
    return StudyDraft.parse(text)


def run_of(draft: StudyDraft, name: str) -> RunDraft:
    return next(run for run in draft.runs if run.values["name"] == name)


def put(run: RunDraft, place: str, value: object) -> None:
    """Change one setting of a run, in tables of its own as a form does."""
    *keys, last = place.split(".")
    table = run.values = dict(run.values)
    for key in keys:
        table[key] = dict(table[key])
        table = table[key]
    table[last] = value


def test_that_a_study_that_was_only_read_has_no_changes() -> None:
    for text in preset_texts().values():
        assert changes(StudyDraft.parse(text), StudyDraft.parse(text)) == []


def test_that_settings_axes_runs_and_the_title_are_told_where_they_differ() -> None:
    before, after = edited(), edited()
    put(run_of(after, "AT"), "pretraining.epochs", 3)
    put(run_of(after, "AT, NEFT k=3"), "attack.epsilon", "8/255")
    run_of(after, "FDM").grid["k"] = [2, 3]
    after.grid["seed"] = [0, 1]
    after.head["title"] = "Mine"
    del after.runs[1]
    assert changes(before, after) == [
        Change(None, "", "title", "Demo: letters to digits", "Mine"),
        Change(None, "", "grid.seed", None, [0, 1]),
        Change(0, "AT", "pretraining.epochs", 8, 3),
        Change(2, "AT, NEFT k=3", "attack.epsilon", "16/255", "8/255"),
        Change(3, "FDM", "grid.k", None, [2, 3]),
        Change(None, "AT, vanilla k=1", "", "AT, vanilla k=1", None),
    ]


def test_that_the_same_value_written_in_another_way_and_settings_without_effect_are_no_change() -> None:
    before, after = edited(), edited()
    put(run_of(after, "AT"), "pretraining.attack.epsilon", "16/255")
    put(run_of(after, "AT"), "pretraining.feature_weight", 5.0)
    assert changes(before, after) == []


@pytest.mark.parametrize("number", range(5))
def test_that_each_change_can_be_undone_alone(number: int) -> None:
    before, after = edited(), edited()
    put(run_of(after, "AT"), "pretraining.epochs", 3)
    run_of(after, "FDM").grid["k"] = [2, 3]
    after.grid["seed"] = [0, 1]
    after.head["title"] = "Mine"
    put(run_of(after, "FDM, NEFT k=3"), "attack", None)
    found = changes(before, after)
    assert len(found) == 5
    text = after.text()
    made = undone(before, after, found[number])
    assert changes(before, made) == [change for change in found if change != found[number]]
    assert after.text() == text, "the draft itself stays as it is"


def test_that_what_was_varied_gets_the_one_value_back_that_it_had() -> None:
    before, after = edited(), edited()
    run = run_of(after, "AT")
    run.grid = {"pretraining.epochs": [2, 4]}
    put(run, "pretraining.epochs", 2)
    (change,) = changes(before, after)
    assert undone(before, after, change).study() == before.study()


# commands -----------------------------------------------------------------------------------------------
def test_that_a_preset_with_few_changes_is_a_command_that_gives_this_very_study() -> None:
    draft = edited(CLAIMS)
    for run in draft.runs:
        if run.values["attack"] is not None:
            put(run, "attack.steps", 50)
    draft.grid["seed"] = [5, 6, 7]
    words = words_from_preset(draft, "claims", CLAIMS)
    assert words == ["run", "claims", "--set", "attack.steps=50", "--sweep", "seed=5..7"]
    assert parse_study(CLAIMS, [words[3]], [words[5]]) == draft.study()


def test_that_the_untouched_preset_needs_no_options() -> None:
    assert words_from_preset(edited(), "demo", DEMO) == ["run", "demo"]


@pytest.mark.parametrize("what", ["one run alone", "title", "removed", "unusable"])
def test_that_a_study_that_options_cannot_say_has_no_such_command(what: str) -> None:
    draft = edited()
    if what == "one run alone":
        put(run_of(draft, "AT, NEFT k=3"), "attack.steps", 50)
    elif what == "title":
        draft.head["title"] = "Mine"
    elif what == "removed":
        del draft.runs[-1]
    else:
        draft.grid["seed"] = "0, x"
    assert words_from_preset(draft, "demo", DEMO) is None
