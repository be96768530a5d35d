"""`cartl estimate`: the table, the sums as JSON, sweeps, and what is finished."""

from __future__ import annotations

import time
from pathlib import Path

from engine.cli.estimating import estimate_text
from engine.events import RunEstimate, StudyEstimated
from tests.cli.conftest import TINY, Cartl, Made

RUNS = (RunEstimate("AT", 0, 120.0, 400_000_000, 7_000_000), RunEstimate("FDM", 0, 3600.0, None, 5_000_000))


def test_that_an_estimate_is_a_table_with_sums_warnings_and_doubts() -> None:
    noon = time.mktime((2026, 5, 12, 12, 0, 0, 0, 0, -1))
    found = StudyEstimated(RUNS, "cpu", 8.0, 7 * 10**9, 10**11, ("Some doubt.",), ("It does not fit.",))
    assert estimate_text(found, noon).splitlines() == [
        "run           time  memory     disk",
        "------  ----------  ------  -------",
        "AT      2 min 00 s  400 MB   7.0 MB",
        "FDM     1 h 00 min       -   5.0 MB",
        "in all  1 h 02 min  400 MB  12.0 MB",
        "Begun now, it ends about 2026-05-12 13:02. 7.0 GB of memory and 100 GB on disk are free. Timed for 8 s on cpu;",
        "  nothing was made.",
        "Warning: It does not fit.",
        "Note: Some doubt.",
    ]
    assert estimate_text(StudyEstimated((), "cpu", 0.0, None, 1), noon).startswith("Nothing to compute")


def test_that_a_swept_study_is_estimated_and_nothing_is_made(tmp_path: Path, cartl: Cartl) -> None:
    study = tmp_path / "tiny.toml"
    study.write_text(TINY, encoding="utf-8")
    answer = cartl(
        "estimate", study, "--set", "seed=4", "--sweep", "pretraining.feature_weight=0.1, 0.2",
        "--json", "--workspace", tmp_path / "workspace",
    )  # fmt: skip
    assert answer.code == 0
    found = answer.json
    assert [run["seed"] for run in found["runs"]] == [4] * 4
    assert found["seconds"] == sum(run["seconds"] for run in found["runs"]) > 0
    assert found["disk"] > 10**5 and found["ends"] > time.time() - 60
    assert cartl("runs", "--json", "--workspace", tmp_path / "workspace").json == []


def test_that_what_is_finished_costs_nothing(made: Made, cartl: Cartl) -> None:
    answer = cartl("estimate", made.study, "--resume", "--workspace", made.workspace)
    assert (answer.code, answer.out) == (0, "Nothing to compute: all runs are finished.\n")


def test_that_a_study_that_is_not_there_is_refused(cartl: Cartl) -> None:
    answer = cartl("estimate", "nonsense")
    assert answer.code == 2 and "no study file or preset 'nonsense'" in answer.err
