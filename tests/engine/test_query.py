"""The language of queries: what it chooses, what it refuses and how it helps on."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import (
    AttackConfig,
    DataConfig,
    FinetuningConfig,
    ModelConfig,
    PretrainingConfig,
    RunConfig,
)
from engine.events import AttackResult, AttackWarning, Interval, RunInfo, RunLabel
from engine.query import EXAMPLES, QueryError, Searched, completed, completions, parse_query

LETTERS = DataConfig(name="letters")
FDM = RunInfo(
    "0001-fdm", "FDM, k=4", "Letters to digits", "/runs/1", "finished",
    RunConfig(
        name="FDM, k=4", model=ModelConfig(depth=10), source=LETTERS, seed=3,
        pretraining=PretrainingConfig(method="fdm", feature_weight=0.005, num_finetuned_blocks=4, epochs=12),
        attack=AttackConfig(epsilon=16 / 255, step_size=4 / 255),
    ),
    progress=1.0, seconds=754.0, created=time.mktime((2026, 11, 1, 12, 0, 0, 0, 0, -1)),
    result=AttackResult(
        "digits test images", "PGD-20, Linf 16/255, 1 restart", 500, Interval(0.912, 0.9, 0.92), Interval(0.4531, 0.4, 0.5),
        40.0, warnings=(AttackWarning("gradient_masking", "Signs of gradient masking", "", ""),),
    ),
    label=RunLabel(title="Best so far", tags=("paper", "wide"), star=True, notes="figure 3"),
)  # fmt: skip
NEFT = RunInfo(
    "0002-neft", "FDM, NEFT", "Letters to digits", "/runs/2", "failed",
    RunConfig(
        name="FDM, NEFT", start_from="FDM, k=4", target=DataConfig(name="digits"), seed=3,
        finetuning=FinetuningConfig(method="neft", spectral_bound=0.6, num_finetuned_blocks=3, epochs=4),
    ),
    reason="the device has too little memory", progress=0.45, created=FDM.created + 86400, parent="0001-fdm",
    label=RunLabel(archived=True),
)  # fmt: skip


def chosen(text: str) -> str:
    """Which of the two runs a query chooses: "F", "N", both or none."""
    query = parse_query(text)
    return "F" * query.accepts(FDM) + "N" * query.accepts(Searched(NEFT, (FDM,)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "FN"), ("best", "F"), ("BEST far", "F"), ("paper", "F"), ("neft", "N"), ("0002", "N"), ('"FDM, k"', "F"),
        ("digits", "FN"), ("failed", "N"), ('"seed 3"', "FN"), ("nothing", ""),
        ("state:failed", "N"), ("state:f", "FN"), ("state=finished", "F"), ("state!=failed", "F"),
        ("stage:transfer", "N"), ("stage:pre", "F"), ("is:star", "F"), ("is:archived", "N"), ("is:doubtful", "F"),
        ("tag:pap", "F"), ("tag=pap", ""), ("tag:paper tag:wide", "F"), ("tag!=paper", "N"),
        ('study:"to digits"', "FN"), ("notes:figure", "F"), ("reason:memory", "N"), ("title:neft", "N"),
        ("method:neft", "N"), ("method=AT", ""), ("method:fdm", "FN"), ("data:digits", "N"), ("attack:pgd-20", "F"),
        ("robust > 45", "F"), ("robust>45.31", ""), ("robust >= 45.31%", "F"), ("robust < 46", "F"), ("robust = 45", "F"),
        ("robust = 45.3", "F"), ("robust = 46", ""), ("not robust > 50", "FN"), ("clean<=91.2", "F"), ("progress < 50", "N"),
        ("k = 3", "N"), ("k = 4", "FN"), ("k < 4", "N"), ("lambda = 0.005", "FN"), ("λ=0.005", "FN"), ("beta = 0.6", "N"),
        ("beta > 0.6", ""), ("finetuning.epochs > 3", "N"), ("transfer.epochs > 3", "N"), ("epochs = 12", "FN"),
        ("epsilon = 16/255", "FN"), ("attack.epsilon=16/255", "FN"), ("attack.epsilon < 16/255", ""), ("seed:3", "FN"),
        ("learning_rate = 0.1", "FN"), ("horizontal_flip:false", "FN"), ("bounds:true", "FN"),
        ("time > 10min", "F"), ("time > 10 min", "F"), ("time < 12m40s", "F"), ("time = 13 min", "F"), ("time > 1 h", ""),
        ("created > 2026-10", "FN"), ("created = 2026-11-01", "F"), ("created > 2026-11-01", "N"),
        ("created >= 2026-11-01T12:00", "FN"), ("created < 2026-11-02", "F"), ("created <= 2026-11-01", "F"),
        ("created < 2026", ""), ("created:2026-11", "FN"),
        ("-tag:paper", "N"), ("not best", "N"), ("k=3 or is:star", "FN"), ("state:failed robust > 1", ""),
        ("best and paper", "F"), ("-(best or neft)", ""), ("(best or nothing) paper", "F"), ("fdm-neft", ""), ("--best", "F"),
    ],
)  # fmt: skip
def test_that_a_query_chooses_the_runs_it_describes(text: str, expected: str) -> None:
    assert chosen(text) == expected


def test_that_a_setting_without_effect_is_not_found() -> None:
    assert not parse_query("kl_weight = 6").accepts(FDM)
    assert parse_query("feature_weight = 0.005").accepts(FDM)


def test_that_today_is_the_day_from_midnight_to_midnight() -> None:
    noon = datetime.now().replace(hour=12, minute=0)
    today, before = (replace(FDM, created=moment.timestamp()) for moment in (noon, noon - timedelta(days=1)))
    assert parse_query("created:today").accepts(today) and not parse_query("created:today").accepts(before)
    assert parse_query("created:yesterday").accepts(before)
    assert parse_query("created < today").accepts(before)


@pytest.mark.parametrize(
    ("text", "position", "said"),
    [
        ("robust > abc", 9, "Expected a number such as 45 or 8/255, found “abc”"),
        ("robust >", 8, "after “robust >”, such as 45, found nothing more"),
        ("best lamda = 3", 5, "no key or setting “lamda”; did you mean lambda"),
        ("finetunin.epochs > 2", 0, "did you mean finetuning.epochs"),
        ("state:funny", 6, "one of queued, running, paused"),
        ("is:x", 3, "one of star, archived"),
        ("study > 3", 6, "Expected : or = after “study”"),
        ("time > 10", 7, "a time such as 40s, 10min or 2h"),
        ("created > 1.11.", 10, "a date such as 2026-11-01"),
        ("(best", 0, "a closing bracket"),
        ("best)", 4, "found “)”"),
        ("best or", 7, "found nothing more"),
        ("or best", 0, "Expected a term"),
        ("not", 3, "found nothing more"),
        ('study:"two', 6, "a second quotation mark"),
        ('"two words" = 3', 0, "a key without quotation marks"),
        ("= 3", 0, "a key such as state before it"),
        ("(" * 50 + "a" + ")" * 50, 40, "at most 40 brackets"),
        ("epsilon = 8/0", 10, "a number such as 45 or 8/255"),
        ("epsilon = nan", 10, "a number"),
        ("xyzzy = 3", 0, "use quotation marks"),
    ],
)
def test_that_a_refusal_says_what_was_expected_and_where(text: str, position: int, said: str) -> None:
    with pytest.raises(QueryError) as refused:
        parse_query(text)
    assert refused.value.position == position
    assert said in str(refused.value)
    assert f"(character {position + 1})" in str(refused.value)


PARTS = ["not ", "-", " or ", " and ", "(", ")", '"', ":", "=", "<", ">=", "!", "robust", "k", "state", "created", "time",
         "tag", "45", "8/255", "10min", "2026-11", " ", "λ", "fdm"]  # fmt: skip
TERMS = st.sampled_from(
    ["fdm", "state:failed", "robust > 45", "k=3", "-neft", "tag:paper", "(best or k=4)", '"FDM, NEFT"', "created<2026-11-02"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PARTS), max_size=14).map("".join)))
def test_that_any_text_is_read_or_refused_at_a_place_of_it(text: str) -> None:
    completed(text, "x")
    completions(text, [FDM])
    try:
        accepted = parse_query(text).accepts(Searched(NEFT, (FDM,)))
    except QueryError as error:
        refused = error.position
    else:
        refused = None
        assert accepted in (True, False)
    assert refused is None or 0 <= refused <= len(text)


@settings(max_examples=60, deadline=None)
@given(TERMS, TERMS, st.sampled_from([FDM, NEFT]))
def test_that_queries_obey_the_laws_of_logic(one: str, other: str, run: RunInfo) -> None:
    def holds(text: str) -> bool:
        return parse_query(text).accepts(run)

    assert holds(f"not not ({one})") == holds(one)
    assert holds(f"({one}) and ({other})") == (holds(one) and holds(other)) == holds(f"{other} {one}")
    assert holds(f"({one}) or ({other})") == (holds(one) or holds(other)) == holds(f"{other} or {one}")
    assert holds(f"-({one} or {other})") == holds(f"-({one}) -({other})")
    assert holds(f"{one} {other} or {one}") == holds(one)


def test_that_every_example_can_be_read() -> None:
    for text, meaning in EXAMPLES:
        parse_query(text)
        assert meaning


def test_that_archived_runs_are_asked_for_by_name_only() -> None:
    assert parse_query("best or -(is:archived)").asks_for_archived
    assert not parse_query("archived is:star").asks_for_archived


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rob", "robust > "), ("best -sta", "-state:"), ("state:fa", "state:failed"), ("tag:", "tag:paper"),
        ("(tag:w", "tag:wide"), ('study:"Let', 'study:"Letters to digits"'), ("lam", "lambda = "),
        ("finetuning.ep", "finetuning.epochs = "), ("is:a", "is:archived"),
    ],
)  # fmt: skip
def test_that_the_last_term_is_completed(text: str, expected: str) -> None:
    found = completions(text, [FDM, NEFT])
    assert expected in found
    whole = completed(text, expected)
    assert whole.endswith(expected)
    assert whole.removesuffix(expected) == text[: len(whole) - len(expected)]


def test_that_nothing_is_proposed_where_nothing_is_begun() -> None:
    assert completions("", [FDM]) == completions("best ", [FDM]) == completions("state:failed", [FDM]) == []
