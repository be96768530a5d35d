"""What runs are called beside each other."""

from __future__ import annotations

from dataclasses import replace

from engine.events import RunInfo, RunLabel
from engine.titles import distinct_titles, run_title, varied_studies
from tests.engine.study_results import pretrained, run_info


def runs(*told: tuple[str, str, int]) -> list[RunInfo]:
    """Runs of these names, studies and seeds."""
    return [run_info(pretrained(name, seed), study=study) for name, study, seed in told]


def test_that_seeds_are_told_where_a_study_has_several_unless_the_user_named_the_run() -> None:
    first, second, other = runs(("AT", "A", 0), ("AT", "A", 1), ("AT", "B", 1))
    named = replace(second, label=RunLabel(title="Best"))
    varied = varied_studies([first, named, other])
    assert [run_title(run, varied) for run in (first, named, other)] == ["AT, seed 0", "Best", "AT"]


def test_that_equal_titles_are_told_apart_by_study_and_else_by_id() -> None:
    made = runs(("AT", "A", 0), ("AT", "B", 0), ("NEFT", "B", 0), ("NEFT", "B", 0), ("FDM", "B", 0))
    again = made[3].id
    assert list(distinct_titles(made).values()) == [
        "AT (A)", "AT (B)", f"NEFT ({made[2].id})", f"NEFT ({again})", "FDM",
    ]  # fmt: skip
    assert list(distinct_titles(made[2:4], dict.fromkeys((made[2].id, again), "Line")).values()) == [
        f"Line ({made[2].id})", f"Line ({again})",
    ]  # fmt: skip
