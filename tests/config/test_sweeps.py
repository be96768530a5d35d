"""Several values typed where one stands."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api import preset_texts
from engine.config import field_at, parse_study
from engine.config.sweeps import MAX_VALUES, SweepError, is_sweep, parse_sweep, write_sweep
from engine.errors import ConfigError

WHOLE, NUMBER, RATIO = "k", "finetuning.spectral_bound", "attack.epsilon"
CHOICE, SWITCH = "finetuning.method", "finetuning.batch_norm.freeze_affine"


def read(text: str, name: str = NUMBER) -> list[Any]:
    return list(parse_sweep(text, field_at(name)))


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        (WHOLE, "3", [3]),
        (WHOLE, "1..3, 6", [1, 2, 3, 6]),
        (WHOLE, "0-4", [0, 1, 2, 3, 4]),
        (WHOLE, "4..12 step 4", [4, 8, 12]),
        (WHOLE, "4..11 step 4", [4, 8]),
        (WHOLE, "log(1, 16, 5)", [1, 2, 4, 8, 16]),
        (WHOLE, "log(10, 1000, 5)", [10, 32, 100, 316, 1000]),
        (WHOLE, "lin(1, 10, 4)", [1, 4, 7, 10]),
        (NUMBER, "0.005, 0.01", [0.005, 0.01]),
        (NUMBER, "0.5 1e-3; 2", [0.5, 0.001, 2.0]),
        (NUMBER, "0.1..0.3 step 0.1", [0.1, 0.2, 0.3]),
        (NUMBER, "log(0.0001, 0.1, 4)", [0.0001, 0.001, 0.01, 0.1]),
        (NUMBER, "log(0.001, 0.1, 5)", [0.001, 0.00316, 0.01, 0.0316, 0.1]),
        (NUMBER, "lin(0, 1, 4)", [0.0, 0.333, 0.667, 1.0]),
        (NUMBER, "lin(1, 2, 9)", [1, 1.125, 1.25, 1.375, 1.5, 1.625, 1.75, 1.875, 2]),
        (RATIO, "4/255, 8/255, 0.1", ["4/255", "8/255", 0.1]),
        (RATIO, "2/255..8/255 step 2/255", ["2/255", "4/255", "6/255", "8/255"]),
        (RATIO, "log(1/255, 16/255, 5)", ["1/255", "2/255", "4/255", "8/255", "16/255"]),
        (CHOICE, "neft, vanilla", ["neft", "vanilla"]),
        (CHOICE, "LwF full", ["lwf", "full"]),
        (SWITCH, "on, off", [True, False]),
    ],
)
def test_that_values_are_read_in_the_order_typed(name: str, text: str, values: list[Any]) -> None:
    found = read(text, name)
    assert found == values
    assert [type(value) for value in found] == [
        float if name == NUMBER else type(value) for value in values
    ], "whole numbers stay whole, numbers are floats"


@pytest.mark.parametrize(
    ("name", "text", "reason", "position"),
    [
        (WHOLE, "1, 4.5", "takes whole numbers, got 4.5", 3),
        (WHOLE, "lin(1, 2, 3)", "takes whole numbers, got 1.5", 4),
        (WHOLE, "log(1, 3, 5)", "no 5 different whole numbers", 0),
        (WHOLE, "1, x", "expected whole numbers such as 1, 2, 5 or 0..4, got 'x'", 3),
        (WHOLE, "", "the field is empty", 0),
        (WHOLE, "1,", "expected a value after the comma", 1),
        (WHOLE, "1,,2", "expected a value after the comma", 1),
        (WHOLE, "8..4", "the smaller number comes first", 0),
        (WHOLE, "4..8 step 0", "the step must be above 0", 10),
        (WHOLE, "1, 2..3, 3", "has 3 twice", 9),
        (WHOLE, "0..1000", "at most 1,000 values", 0),
        (WHOLE, "0..999999999999999", "at most 1,000 values", 0),
        (NUMBER, "0.1..0.5", "say the step too, such as 0.1..0.5 step 0.1", 0),
        (NUMBER, "1, 1/3", "takes no ratios", 3),
        (NUMBER, "1, 1e999999999", "too long", 3),
        (NUMBER, "9" * 50, "too long", 0),
        (NUMBER, "lin(0, 1, 999999999)", "at most 1,000 values", 10),
        (NUMBER, "lin(1, 1, 3)", "two different ends", 4),
        (NUMBER, "log(0, 1, 3)", "above 0", 4),
        (NUMBER, "log(1, 2, 1.5)", "a whole number from 2 on", 10),
        (NUMBER, "log(1, 2", "expected log(first, last, how many)", 8),
        (NUMBER, "__import__('os')", "got '__import__'", 0),
        (NUMBER, "1, 2 @", "got '@'", 5),
        (RATIO, "4/255, 8/", "the text ends", 9),
        (RATIO, "1, 9/0", "cannot divide by 0", 4),
        (CHOICE, "neft, vanila", "did you mean vanilla?", 6),
        (SWITCH, "on, maybe", "got 'maybe'", 4),
        ("attack.sweep_steps", "1, 2", "takes one value only", 0),
    ],
)
def test_that_what_cannot_be_read_is_told_with_its_place(
    name: str, text: str, reason: str, position: int
) -> None:
    with pytest.raises(SweepError) as caught:
        parse_sweep(text, field_at(name))
    assert reason in str(caught.value)
    assert caught.value.position == position


@pytest.mark.parametrize(
    ("name", "text", "meant"),
    [
        (WHOLE, "5", False),
        (WHOLE, "-5", False),
        (WHOLE, "many", False),
        (WHOLE, "", False),
        (WHOLE, "0-4", True),
        (WHOLE, "1, x", True),
        (NUMBER, "1e-3", False),
        (NUMBER, "0.1 0.2", True),
        (NUMBER, "log(", True),
        (RATIO, "8/255", False),
        (RATIO, "8/255 4/255", True),
        (CHOICE, "neft", False),
        (CHOICE, "neft vanilla", True),
        ("name", "AT, vanilla", False),
        ("pretraining.milestones", "40, 70", False),
    ],
)
def test_that_one_value_is_told_from_several(name: str, text: str, meant: bool) -> None:
    assert is_sweep(text, field_at(name)) is meant


# properties ---------------------------------------------------------------------------------------------
@given(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=60, unique=True))
def test_that_whole_numbers_are_written_and_read_back(values: list[int]) -> None:
    assert read(write_sweep(values), WHOLE) == values


@given(st.lists(st.floats(-1e12, 1e12).filter(lambda x: x == 0 or abs(x) > 1e-200).map(lambda x: x + 0.0), min_size=1, max_size=20, unique=True))  # fmt: skip
def test_that_numbers_are_written_and_read_back(values: list[float]) -> None:
    assert [float(Fraction(value)) for value in read(write_sweep(values), RATIO)] == values


@given(st.integers(-1000, 1000), st.integers(0, 400), st.integers(1, 40))
def test_that_a_range_is_that_of_python_with_its_end(first: int, length: int, step: int) -> None:
    expected = list(range(first, first + length + 1, step))
    assert read(f"{first}..{first + length} step {step}", WHOLE) == expected


@given(
    st.floats(1e-9, 1e9), st.floats(1e-9, 1e9), st.integers(2, 60), st.sampled_from(["lin", "log"])
)  # fmt: skip
def test_that_lin_and_log_keep_their_ends_and_their_distances(
    first: float, last: float, count: int, name: str
) -> None:
    if abs(math.log(last / first)) < 1e-3:
        return
    found = read(f"{name}({first!r}, {last!r}, {count})")
    assert len(found) == count
    assert (found[0], found[-1]) == (first, last)
    assert found == sorted(found, reverse=last < first)
    scaled = [math.log(value) for value in found] if name == "log" else found
    gaps = [after - before for before, after in zip(scaled, scaled[1:], strict=False)]
    even = (scaled[-1] - scaled[0]) / (count - 1)
    # Each inner value is within a hundredth of the gap beside it, which for log differs from gap to gap.
    room = abs(even) * (0.021 if name == "lin" else 0.03 + abs(even) * 0.05)
    assert all(abs(gap - even) <= room + 1e-9 * max(map(abs, scaled)) for gap in gaps)


@given(
    st.text(alphabet="0123456789.,;-+eE/ ()linogstp", max_size=40), st.sampled_from([WHOLE, NUMBER, RATIO])
)
def test_that_any_text_is_read_or_refused_with_a_place_in_it(text: str, name: str) -> None:
    try:
        found = read(text, name)
    except SweepError as refused:
        position = refused.position
        found = []
    if not found:
        assert 0 <= position <= len(text)
        return
    assert 1 <= len(found) <= MAX_VALUES
    assert all(type(value) is int for value in found) or name != WHOLE
    assert read(write_sweep(found), name) == found


# in studies ---------------------------------------------------------------------------------------------
DEMO = preset_texts()["demo"]


def test_that_a_sweep_varies_every_run_whatever_it_says_itself() -> None:
    study = parse_study(DEMO, sweeps=["k=1..2"])
    assert [run.name for run in study.runs if run.name.startswith("FDM, NEFT")] == [
        "FDM, NEFT k=3, k=1",
        "FDM, NEFT k=3, k=2",
    ]
    by_name = {run.name: run for run in study.runs}
    assert by_name["FDM, NEFT k=3, k=2"].start_from == "FDM, k=2"
    assert {run.finetuning.num_finetuned_blocks for run in study.runs if run.finetuning} == {1, 2}


def test_that_a_sweep_replaces_what_the_grid_says() -> None:
    text = preset_texts()["claims"]
    study = parse_study(text, sweeps=["seed=7, 8"])
    assert {run.seed for run in study.runs} == {7, 8}
    assert study.comparisons == parse_study(text).comparisons


def test_that_comparisons_of_runs_that_have_other_names_are_left_out() -> None:
    text = preset_texts()["claims"]
    assert parse_study(text).comparisons
    assert parse_study(text, sweeps=["attack.epsilon=4/255, 8/255"]).comparisons == []


def test_that_settings_override_a_sweep() -> None:
    study = parse_study(DEMO, ["attack.epsilon=4/255"], ["attack.epsilon=8/255, 16/255"])
    assert {run.attack.epsilon for run in study.runs if run.attack} == {4 / 255}


@pytest.mark.parametrize(
    ("sweep", "reason"),
    [
        ("k", "--sweep: expected KEY=VALUES such as k=1..5, got 'k'"),
        ("spectral_bound=1", "did you mean finetuning.spectral_bound?"),
        ("name=a,b", "name cannot be varied"),
        ("k=1..x", "--sweep k: expected whole numbers such as 1, 2, 5 or 0..4, got 'x' (character 4 of '1..x')"),
        ("k=1..9", "WRN-10-1 has 5 blocks"),
        ("finetuning.feature_weight=1,2", "has no effect in any run"),
    ],
)  # fmt: skip
def test_that_a_sweep_that_cannot_be_made_is_refused(sweep: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_study(DEMO, sweeps=[sweep])
    assert reason in str(caught.value)
