"""What is wrong between settings is told although some single settings cannot be used, and never if it is not so."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.config import (
    AttackConfig,
    DataConfig,
    FinetuningConfig,
    ModelConfig,
    PretrainingConfig,
    RunConfig,
    problems_of,
)
from engine.config.crossing import problems_beside

RUN = RunConfig(
    model=ModelConfig(),
    source=DataConfig(),
    target=DataConfig(name="digits"),
    pretraining=PretrainingConfig(),
    finetuning=FinetuningConfig(),
    attack=AttackConfig(),
).model_dump()
#: Settings that are wrong alone.
SINGLE: list[dict[str, Any]] = [
    {"pretraining.epochs": "many"}, {"attack.steps": 0}, {"model.depth": "x"}, {"model.depth": 11}, {"name": ""},
    {"pretraining.attack.steps": "x"}, {"attack.epsilon": "8/"}, {"pretraining.milestones": [3, "x"]},
    {"target.image_size": "big"}, {"attack.name": "magic"}, {"finetuning.num_finetuned_blocks": 0},
]  # fmt: skip
#: Settings that are wrong together with others.
TOGETHER: list[dict[str, Any]] = [
    {"target.image_size": 16}, {"finetuning.num_finetuned_blocks": 9}, {"attack.step_size": "150/255"},
    {"pretraining.attack.step_size": 0.5}, {"finetuning.selection": "best"}, {"start_from": "another"},
    {"pretraining.schedule": "milestones", "pretraining.milestones": [5, 3]},
    {"attack.restarts": 3, "attack.random_start": False}, {"target.name": "folder"},
]  # fmt: skip


def run_with(*changes: dict[str, Any]) -> dict[str, Any]:
    table = RunConfig.model_validate(RUN).model_dump()
    for change in changes:
        for place, value in change.items():
            inner = table
            *keys, last = place.split(".")
            for key in keys:
                inner = inner[key]
            inner[last] = value
    return table


def refusal(table: dict[str, Any]) -> ValidationError | None:
    try:
        RunConfig.model_validate(table)
    except ValidationError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("single", "together", "reason"),
    [
        ({"pretraining.epochs": "many"}, {"target.image_size": 16}, "source and target must have one size"),
        ({"attack.steps": 0}, {"attack.step_size": "150/255"}, "more than the whole ball is wide"),
        ({"finetuning.momentum": 2.0}, {"finetuning.num_finetuned_blocks": 9}, "WRN-10-1 has 5 blocks"),
        ({"pretraining.attack.steps": "x"}, {"pretraining.attack.step_size": 0.5}, "the whole ball"),
        ({"pretraining.momentum": "x"}, {"pretraining.milestones": [5, 3]}, "in rising order"),
    ],
)
def test_that_what_does_not_fit_is_told_beside_what_cannot_be_used(
    single: dict[str, Any], together: dict[str, Any], reason: str
) -> None:
    table = run_with(single, together)
    error = refusal(table)
    assert error is not None
    assert any(reason in problem.message for problem in problems_beside(table, error))


@pytest.mark.parametrize(
    ("single", "together"),
    [
        ({"model.depth": "x"}, {"finetuning.num_finetuned_blocks": 9}),
        ({"model.depth": 11}, {"finetuning.num_finetuned_blocks": 9}),
        ({"attack.epsilon": "8/"}, {"attack.step_size": "150/255"}),
        ({"source.image_size": "x"}, {"target.image_size": 16}),
    ],
)
def test_that_a_comparison_with_an_unknown_setting_says_nothing(
    single: dict[str, Any], together: dict[str, Any]
) -> None:
    table = run_with(single, together)
    error = refusal(table)
    assert error is not None
    assert problems_beside(table, error) == []


@given(st.sampled_from(SINGLE), st.lists(st.sampled_from(TOGETHER), max_size=4, unique_by=str))
def test_that_nothing_is_told_that_is_not_so_once_the_single_setting_is_mended(
    single: dict[str, Any], together: list[dict[str, Any]]
) -> None:
    table = run_with(*together, single)
    error = refusal(table)
    assert error is not None
    beside = {str(problem) for problem in problems_beside(table, error)}
    so: set[str] = set()
    for amount in range(len(together) + 1):
        for some in itertools.combinations(together, amount):
            if (remaining := refusal(run_with(*some))) is not None:
                so |= {str(problem) for problem in problems_of(remaining)}
    assert beside <= so
