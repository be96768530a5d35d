"""`cartl results` and `cartl report`, and what `cartl run` tells of several seeds."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from engine.config import StudyConfig, dump_study, load_study
from engine.store.workspace import Workspace
from tests.cli.conftest import QUICK, TINY, Cartl, Made
from tests.engine.study_results import study_of_two_lines

COMPARISON = """
[[comparisons]]
title = "NEFT keeps more"
baseline = "AT, vanilla"
other = "AT, neft"
measure = "robust_at_equal_clean"

[[comparisons]]
baseline = "AT, vanilla, k=1"
other = "AT, vanilla, k=3"
measure = "clean_accuracy"
"""
EIGHT = "PGD-20, Linf 8/255, 1 restart, on 1000 test images of digits"


@pytest.fixture(scope="module")
def two_lines(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A workspace with the finished runs of two lines and three seeds, and the study's file."""
    folder = tmp_path_factory.mktemp("two-lines")
    runs = study_of_two_lines()
    study = folder / "mine.toml"
    toml = dump_study(StudyConfig(title="Two lines", runs=[run.config for run in runs])) + COMPARISON
    study.write_text(toml, encoding="utf-8")
    workspace = Workspace(folder / "workspace")
    workspace.lock()
    ids: dict[str, str] = {}
    configs = load_study(study).runs
    for run, config in zip(runs, configs, strict=True):
        made = workspace.create_run(config, "Two lines", parent=ids.get(run.parent, ""))
        made.write_status("finished", progress=1.0, seconds=run.seconds, result=run.result)
        ids[run.id] = made.id
    workspace.unlock()
    return folder / "workspace", study


def test_that_results_lists_the_studies_of_the_workspace(cartl: Cartl, two_lines: tuple[Path, Path]) -> None:
    workspace, _ = two_lines
    head, _, row = cartl("results", "--workspace", workspace).out.splitlines()
    assert head.split() == ["study", "names", "seeds", "finished", "newest"]
    assert row.startswith("Two lines      7      3  21 of 21")
    assert cartl("results", "--json", "--workspace", workspace).json == [
        {"title": "Two lines", "runs": 21, "finished": 21}
    ]


def test_that_an_empty_workspace_says_how_to_begin(cartl: Cartl, tmp_path: Path) -> None:
    answer = cartl("results", "--workspace", tmp_path / "none")
    assert answer.code == 0 and "cartl demo" in answer.out
    assert cartl("results", "--json", "--workspace", tmp_path / "none").json == []


def test_that_results_tells_means_with_intervals_the_front_and_the_comparisons(
    cartl: Cartl, two_lines: tuple[Path, Path]
) -> None:
    workspace, study = two_lines
    text = cartl("results", study, "--workspace", workspace).out
    assert EIGHT in text
    rows = {line[:16]: line[16:].split() for line in text.splitlines() if line.startswith("AT, ")}
    assert rows["AT, vanilla, k=1"] == [
        "AT",
        "vanilla",
        "1",
        "3",
        "61.0",
        "(58.5",
        "to",
        "63.5)",
        "29.0",
        "(26.5",
        "to",
        "31.5)",
    ]
    assert rows["AT, neft, k=3   "][-1] == "*" and rows["AT, vanilla, k=2"][-1] != "*"
    assert "+10.6 (+5.7 to +15.6), 3 seeds: shown (expected more)" in text
    assert "at equal clean accuracy (58.0 to 80.0 %), 'AT, neft' against 'AT, vanilla'" in text
    assert "+20.0 (+20.0 to +20.0), 3 seeds: shown" in text and "joined by straight lines" in text.replace(
        "\n  ", " "
    )
    assert "Intervals: Student-t over the seeds." in text and "Wilson" not in text


def test_that_a_study_is_found_by_its_title_and_lines_are_compared_on_demand(
    cartl: Cartl, two_lines: tuple[Path, Path]
) -> None:
    workspace, _ = two_lines
    answer = cartl(
        "results", "Two lines", "--compare", "AT, neft", "AT, vanilla", "--json", "--workspace", workspace
    ).json
    (comparison,) = answer["comparisons"]
    assert comparison["difference"]["mean"] == pytest.approx(-0.10625) and comparison["verdict"] == "opposite"
    assert [cell["k"] for cell in answer["evaluations"][0]["cells"]] == [1, 2, 3, 1, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["results", "Nothing"], "no study file, preset or study of this workspace 'Nothing'. Studies here: 'Two lines'"),
        (["results", "demo"], "No run of 'Demo: letters to digits' is in"),
        (["results", "Two lines", "--compare", "AT, neft", "AT"], "no line 'AT'. The lines are: 'AT, vanilla', 'AT, neft'"),
        (["results", "--compare", "a", "b"], "--compare, --set and --sweep need the STUDY"),
        (["results", "Two lines", "--set", "attack.steps=3"], "--set and --sweep need a study file or a preset"),
        (["report", "Two lines"], "--to"),
    ],
)  # fmt: skip
def test_that_wrong_use_is_told_with_what_there_is(
    cartl: Cartl, two_lines: tuple[Path, Path], arguments: list[str], expected: str
) -> None:
    answer = cartl(*arguments, "--workspace", two_lines[0])
    assert answer.code == 2 and answer.out == "" and expected in answer.err


def test_that_a_report_is_written_with_the_command_of_each_row(
    cartl: Cartl, two_lines: tuple[Path, Path], tmp_path: Path
) -> None:
    workspace, study = two_lines
    answer = cartl("report", study, "--to", tmp_path / "report", "--json", "--workspace", workspace)
    assert answer.json == {"study": "Two lines", "written": str(tmp_path / "report")}
    with open(tmp_path / "report" / "report.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["command"] == "cartl run mine.toml --only 'AT, vanilla, k=1'"
    plain = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    assert plain["toml"] == study.read_text(encoding="utf-8")
    answer = cartl("report", "Two lines", "--to", tmp_path / "report.pdf", "--workspace", workspace)
    assert answer.code == 1 and "print the .html to PDF" in answer.err


def test_that_the_command_of_a_row_plans_that_row_with_all_its_seeds_and_their_parents(
    cartl: Cartl, two_lines: tuple[Path, Path]
) -> None:
    workspace, study = two_lines
    plan = cartl(
        "run", study, "--only", "AT, vanilla, k=1", "--dry-run", "--json", "--workspace", workspace
    ).json
    assert {(run["name"], run["seed"]) for run in plan["runs"]} == {
        (name, seed) for name in ("AT", "AT, vanilla, k=1") for seed in (0, 1, 2)
    }


def test_that_runs_that_were_made_have_results_and_recorded_versions(
    cartl: Cartl, made: Made, tmp_path: Path
) -> None:
    text = cartl("results", made.study, "--workspace", made.workspace).out
    assert "on 32 test images of letters" in text and "on 32 test images of digits" in text
    assert "it says nothing about other seeds" in text
    cartl("report", made.study, "--to", tmp_path / "report.json", "--workspace", made.workspace)
    plain = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    (machine,) = plain["machines"]
    assert machine["device"] == "cpu" and machine["threads"] == "1" and machine["runs"] == 2
    assert all(machine[name] != "not recorded" for name in ("program", "python", "torch", "numpy", "system"))
    assert plain["toml"] == TINY


def test_that_a_study_of_several_seeds_ends_with_their_means(cartl: Cartl, tmp_path: Path) -> None:
    study = tmp_path / "seeds.toml"
    head, _, _ = QUICK.partition('[[runs]]\nname = "transferred"')
    comparison = '[[comparisons]]\ntitle = "Itself"\nbaseline = "source"\nother = "source"\n'
    study.write_text(f"{head}\n[grid]\nseed = [1, 2]\n{comparison}", encoding="utf-8")
    answer = cartl("run", study, "--workspace", tmp_path / "workspace")
    assert answer.code == 0
    row = next(line for line in answer.out.splitlines() if line.startswith("source "))
    assert row.split()[:6] == ["source", "FDM", "lambda=0.005", "-", "3", "2"]
    assert "+0.0 (+0.0 to +0.0), 2 seeds: not shown (expected more)" in answer.out
    again = cartl("run", study, "--resume", "--json", "--workspace", tmp_path / "workspace").json
    assert again["evaluations"][0]["cells"][0]["seeds"] == [1, 2]
