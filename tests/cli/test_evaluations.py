"""What is printed of evaluations with several attacks, a sweep or warnings: from stored results, and really made."""

from __future__ import annotations

import csv
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from engine.cli.verbs import DETAILED
from engine.config import StudyConfig, dump_study
from engine.events import AttackWarning, Interval, MemberResult, RunInfo, SweepResult
from engine.store.workspace import Workspace
from tests.cli.conftest import Cartl, Made
from tests.engine.study_results import run_info, share, transferred

MASKED = AttackWarning(
    "gradient_masking",
    "Signs of gradient masking",
    "Square broke 12 images that APGD-T left",
    "Trust the lowest figure.",
)
RANDOM = AttackWarning(
    "random", "Random outputs", "Two passes differ by 0.3", "Take the version rand of AutoAttack. " * 8
)


def told(run: RunInfo, **more: object) -> RunInfo:
    """The run with an evaluation of two attacks and what else is given."""
    assert run.result is not None
    robust = run.result.robust_accuracy
    members = (
        MemberResult("APGD-CE-100", 860, share(robust.value + 0.03), None, 61.0),
        MemberResult("APGD-T-100", 450, robust, None, 402.0),
    )
    return replace(run, result=replace(run.result, **({"members": members} | more)))  # type: ignore[arg-type]


def finish(root: Path, runs: list[RunInfo], study: str = "Mine") -> list[str]:
    """Write runs with their results into a workspace; returns their ids."""
    workspace = Workspace(root)
    workspace.lock()
    ids = []
    for run in runs:
        folder = workspace.create_run(run.config, study)
        folder.write_status("finished", progress=1.0, seconds=run.seconds, result=run.result)
        ids.append(folder.id)
    workspace.unlock()
    return ids


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Path, list[str], list[RunInfo]]:
    """A doubtful, a doubly doubtful and a plain run of one study."""
    from_file = {
        "start_from": "x.safetensors",
        "attack": {"sweep_epsilon": [4 / 255, 16 / 255], "sweep_steps": [100]},
    }
    sweep = (
        SweepResult(4 / 255, 20, share(0.52)), SweepResult(8 / 255, 20, share(0.45)),
        SweepResult(8 / 255, 100, share(0.44)), SweepResult(16 / 255, 20, share(0.09)),
    )  # fmt: skip
    runs = [
        told(
            run_info(transferred("A", **from_file), (0.86, 0.45)), warnings=(MASKED,), sweep=sweep,
            notes=("FAB-T-100 aims at 8 instead of 9 classes",), robust_at_any_step=share(0.442),
        ),
        told(run_info(transferred("B", method="full", start_from="x.safetensors"), (0.9, 0.3)), warnings=(MASKED, RANDOM)),
        run_info(transferred("C", method="linear_probe", start_from="x.safetensors"), (0.7, 0.05)),
    ]  # fmt: skip
    return tmp_path / "workspace", finish(tmp_path / "workspace", runs), runs


def test_that_a_warning_of_many_runs_names_some_and_counts_all(cartl: Cartl, tmp_path: Path) -> None:
    runs = [
        told(
            run_info(transferred(f"cell {number}", start_from="x.safetensors"), (0.86, 0.45)),
            warnings=(MASKED,),
        )
        for number in range(9)
    ]
    finish(tmp_path / "w", runs)
    below = (
        cartl("results", "Mine", "--workspace", tmp_path / "w").out.partition("\n! ")[2].partition("\n\n")[0]
    )
    names = [f"cell {number}" for number in range(8)]
    (line,) = re.findall("Signs of gradient masking. In: .* in all", " ".join(below.split()))
    assert line == f"Signs of gradient masking. In: {'; '.join(names)}; 9 in all"


def test_that_a_long_study_prints_some_evaluations_in_detail_and_where_to_see_the_others(
    cartl: Cartl, tmp_path: Path
) -> None:
    weights = tmp_path / "x.safetensors"
    weights.write_bytes(b"")
    runs = [
        told(
            run_info(transferred(f"cell {number}", start_from=str(weights)), (0.86, 0.45)), warnings=(MASKED,)
        )
        for number in range(8)
    ]
    finish(tmp_path / "w", runs)
    study = tmp_path / "mine.toml"
    study.write_text(
        dump_study(StudyConfig(title="Mine", runs=[run.config for run in runs])), encoding="utf-8"
    )
    answer = cartl("run", study, "--resume", "--workspace", tmp_path / "w")
    assert answer.code == 0 and answer.out.count("What to do: ") == DETAILED
    assert f"{8 - DETAILED} more evaluations have such details. See them all with: " in answer.out
    assert "report Mine --to report" in answer.out


def columns(table: list[str]) -> list[tuple[int, int]]:
    """Where each column of a printed table begins and ends, from its second line."""
    return [match.span() for match in re.finditer("-+", table[1])]


def test_that_runs_with_warnings_are_marked_without_breaking_the_table(
    cartl: Cartl, stored: tuple[Path, list[str], list[RunInfo]]
) -> None:
    workspace, ids, _ = stored
    head, rule, *rows = cartl("runs", "--workspace", workspace).out.splitlines()
    marks = {line.split()[0]: line for line in rows[:3]}
    at = head.index("robust %") + len("robust %  ")
    assert {run: line[at] for run, line in marks.items()} == {ids[0]: "!", ids[1]: "!", ids[2]: " "}
    assert rule[at] == "-" and head[at] == " "
    for start, end in columns([head, rule]):
        assert all(line[end : end + 2].strip() == "" for line in [head, *rows[:3]]), (start, end)
    below = rows[3:]
    assert below[0] == ""
    assert below[1:] == [
        f"! Signs of gradient masking. In: {ids[1]}; {ids[0]}",
        f"! Random outputs. In: {ids[1]}",
    ]


def test_that_without_warnings_nothing_is_marked(cartl: Cartl, tmp_path: Path) -> None:
    finish(tmp_path / "w", [told(run_info(transferred("A", start_from="x.safetensors"), (0.86, 0.45)))])
    text = cartl("runs", "--workspace", tmp_path / "w").out
    assert "!" not in text and len(text.splitlines()) == 3
    assert "!" not in cartl("results", "Mine", "--workspace", tmp_path / "w").out


def test_that_results_of_a_study_mark_what_carries_warnings(
    cartl: Cartl, stored: tuple[Path, list[str], list[RunInfo]]
) -> None:
    workspace, _, _ = stored
    text = cartl("results", "Mine", "--workspace", workspace).out
    rows = {line[0]: line for line in text.splitlines() if re.match(r"[ABC]  ", line)}
    assert ["!" in rows[name] for name in "ABC"] == [True, True, False]
    assert "! Signs of gradient masking. In: A; B\n! Random outputs. In: B\n" in text


def test_that_a_finished_run_tells_attacks_steps_sweep_warnings_and_notes(
    stored: tuple[Path, list[str], list[RunInfo]],
) -> None:
    from engine.cli.evaluation import evaluation_texts
    from engine.results import cells_of

    _, _, runs = stored
    first, second = evaluation_texts(cells_of(runs, {run.id: run for run in runs}))
    title, *parts = first.split("\n\n")
    assert title == "A: PGD-20, Linf 8/255, 1 restart"
    assert [line.split() for line in parts[0].splitlines()[2:]] == [
        ["APGD-CE-100", "860", "48.0", *bounds(share(0.48)), "1", "min", "01", "s"],
        ["APGD-T-100", "450", "45.0", *bounds(share(0.45)), "6", "min", "42", "s"],
    ]
    assert parts[1] == "Robust %: judged at the last step 45.0, at any step 44.2."
    assert [line.split()[0] for line in parts[2].splitlines()] == [
        "epsilon", "---------", "0", "4/255", "8/255", "16/255",
    ]  # fmt: skip
    assert parts[2].splitlines()[5].split()[1:] == ["9.0", *bounds(share(0.09))]
    assert [line.split()[0] for line in parts[3].splitlines()[2:]] == ["20", "100"]
    assert parts[4] == (
        "! Signs of gradient masking\n  Square broke 12 images that APGD-T left\n"
        "  What to do: Trust the lowest figure."
    )
    assert parts[5] == "Note: FAB-T-100 aims at 8 instead of 9 classes"
    assert "Random outputs" in second and max(map(len, (first + second).splitlines())) <= 110
    assert "AutoAttack standard" not in first + second


def bounds(interval: Interval) -> list[str]:
    return [f"({100 * interval.low:.1f}", "to", f"{100 * interval.high:.1f})"]


def test_that_an_equal_figure_at_any_step_is_not_told(tmp_path: Path) -> None:
    from engine.cli.evaluation import evaluation_texts
    from engine.results import cells_of

    run = run_info(transferred("A", start_from="x.safetensors"), (0.86, 0.45))
    alike = told(run, robust_at_any_step=share(0.45))
    (text,) = evaluation_texts(cells_of([alike], {run.id: alike}))
    assert "at any step" not in text
    assert evaluation_texts(cells_of([run], {run.id: run})) == []


def test_that_json_carries_the_whole_evaluation(
    cartl: Cartl, stored: tuple[Path, list[str], list[RunInfo]]
) -> None:
    workspace, ids, runs = stored
    expected = {
        "members": [["APGD-CE-100", 860], ["APGD-T-100", 450]],
        "sweep": [[4 / 255, 20], [8 / 255, 20], [8 / 255, 100], [16 / 255, 20]],
        "warnings": [{"code": "gradient_masking", "title": MASKED.title, "evidence": MASKED.evidence, "advice": MASKED.advice}],
        "notes": ["FAB-T-100 aims at 8 instead of 9 classes"],
        "any_step": 0.442,
    }  # fmt: skip

    def picked(result: dict[str, object]) -> dict[str, object]:
        return {
            "members": [[item["title"], item["attacked"]] for item in result["members"]],  # type: ignore[attr-defined]
            "sweep": [[item["epsilon"], item["steps"]] for item in result["sweep"]],  # type: ignore[attr-defined]
            "warnings": result["warnings"],
            "notes": result["notes"],
            "any_step": result["robust_at_any_step"]["value"],  # type: ignore[index]
        }

    listed = {run["id"]: run for run in cartl("runs", "--json", "--workspace", workspace).json}
    assert picked(listed[ids[0]]["result"]) == expected
    cells = cartl("results", "Mine", "--json", "--workspace", workspace).json["evaluations"]
    results = {run["id"]: run["result"] for item in cells for cell in item["cells"] for run in cell["runs"]}
    assert picked(results[ids[0]]) == expected


def test_that_an_attack_that_was_really_made_tells_its_sweep_and_exports_its_ledger(
    cartl: Cartl, made: Made, tmp_path: Path
) -> None:
    workspace = tmp_path / "workspace"
    shutil.copytree(made.workspace, workspace)
    answer = cartl(
        "attack", "transferred", "--steps", 2, "--targets", 2, "--sweep-epsilon", "1/255", "64/255",
        "--sweep-steps", 1, "--examples", 3, "--workspace", workspace,
    )  # fmt: skip
    assert answer.code == 0, answer
    assert "\n  Clean images\n  Clean images: 100 %\n  PGD-2 (2 targets)\n" in answer.err
    assert re.search(
        r"^  PGD-2 \(2 targets\): robust [\d.]+ % \(.*\), \d+ images? attacked, ", answer.err, re.M
    )
    epsilons = re.search(r"^epsilon .*\n-.*\n(?:.*\n){4}", answer.out, re.M)
    steps = re.search(r"^steps .*\n-.*\n(?:.*\n){2}", answer.out, re.M)
    assert epsilons and steps
    told = [line.split()[0] for line in epsilons[0].splitlines()[2:]]
    assert told == ["0", "1/255", "8/255", "64/255"]
    assert [line.split()[0] for line in steps[0].splitlines()[2:]] == ["1", "2"]
    run = cartl("runs", "--json", "--workspace", workspace).json[0]
    result = run["result"]
    figures = [point["robust_accuracy"]["value"] for point in result["sweep"] if point["steps"] == 2]
    assert figures == sorted(figures, reverse=True), "more radius never leaves more robust images here"
    assert result["robust_accuracy"]["value"] in figures and len(result["members"]) == 1

    cartl("export", run["id"], "--tables", tmp_path / "tables", "--workspace", workspace)
    tables = {path.stem: path for path in (tmp_path / "tables").glob("*.csv")}
    rows = {name: list(csv.DictReader(path.read_text("utf-8").splitlines())) for name, path in tables.items()}
    assert len(rows["attack-samples"]) == len(rows["attack-clean"]) == 32
    robust = sum(row["robust"] == "1" for row in rows["attack-samples"])
    assert robust / 32 == result["robust_accuracy"]["value"]
    assert [float(row["robust_accuracy"]) for row in rows["attack-sweep"]] == [
        pytest.approx(point["robust_accuracy"]["value"]) for point in result["sweep"]
    ]
    assert {"0", "1", "2", "3"} == {row["point"] for row in rows["attack-attempts"]}


def test_that_autoattack_that_was_really_made_tells_its_four_attacks(
    cartl: Cartl, made: Made, tmp_path: Path
) -> None:
    workspace = tmp_path / "workspace"
    shutil.copytree(made.workspace, workspace)
    # So large a radius that the first attack leaves nothing to the others.
    answer = cartl(
        "attack", "transferred", "--attack", "autoattack", "--epsilon", 0.9, "--workspace", workspace
    )
    assert answer.code == 0, answer
    table = re.search(r"^attack +attacked .*\n-.*\n(.*)\n(.*)\n(.*)\n(.*)\n", answer.out, re.M)
    assert table and [row.split("  ")[0] for row in table.groups()] == [
        "APGD-CE-100", "APGD-T-100", "FAB-T-100", "Square (5,000 queries)",
    ]  # fmt: skip
    result = cartl("runs", "--json", "--workspace", workspace).json[0]["result"]
    assert result["attack"] == "AutoAttack standard, Linf 0.9" and result["attack"] in answer.out
    assert [member["attacked"] for member in result["members"][1:]] == [0, 0, 0]
    assert result["robust_accuracy"]["value"] == 0
