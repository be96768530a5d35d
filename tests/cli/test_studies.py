"""Studies with a grid: a failed cell, --resume, --only, --dry-run, and seeds in every list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from engine import api
from engine.config import parse_study
from tests.cli.conftest import QUICK, Cartl, Made

#: Three cells of two seeds, one with images that are not there, and what only attacks them.
GRID = """
[grid]
seed = [0, 1]
target = { digits = { name = "digits" }, mine = { name = "folder", path = "FOLDER" } }

[[runs]]
name = "AT"
pretraining = { method = "adversarial" }

[[runs]]
name = "moved"
start_from = "AT"
finetuning = { method = "vanilla" }
attack = {}

[[runs]]
name = "again"
start_from = "moved"
attack = { steps = 1 }
"""


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    path = tmp_path / "grid.toml"
    folder = str(tmp_path / "images").replace("\\", "/")
    head = QUICK.partition("[[runs]]")[0].replace("seed = 3\n", "")
    path.write_text(head + GRID.replace("FOLDER", folder), encoding="utf-8")
    return path


def draw_images(folder: Path) -> None:
    for split, amount in (("train", 40), ("test", 16)):
        for shade, name in ((30, "dark"), (220, "light")):
            (folder / split / name).mkdir(parents=True)
            for number in range(amount):
                Image.new("RGB", (16, 16), (shade + number % 20,) * 3).save(
                    folder / split / name / f"{number}.png"
                )


def test_that_a_failed_cell_stops_no_other_and_resume_makes_only_what_is_missing(
    cartl: Cartl, grid: Path, tmp_path: Path
) -> None:
    workspace = ("--workspace", tmp_path / "workspace")
    first = cartl("run", grid, "--json", *workspace)
    assert first.code == 1 and "Traceback" not in first.err
    runs = {(run["name"], run["config"]["seed"]): run for run in first.json["runs"]}
    assert [key for key, run in runs.items() if run["state"] == "finished"] == [
        (name, seed) for seed in (0, 1) for name in ("AT", "moved, digits", "again, digits")
    ]
    for seed in (0, 1):
        assert runs[("moved, mine", seed)]["state"] == "failed"
        assert str(tmp_path / "images") in runs[("moved, mine", seed)]["reason"]
        waiting = runs[("again, mine", seed)]
        assert (waiting["state"], waiting["reason"]) == ("created", "waits for moved, mine")
    assert "moved, mine, seed 1" in first.err, "the log tells runs of one name apart"

    plan = cartl("run", grid, "--resume", "--dry-run", "--json", *workspace).json["runs"]
    assert [item["id"] for item in plan] == [run["id"] for run in first.json["runs"]]
    assert [item["state"] for item in plan] == [run["state"] for run in first.json["runs"]]

    draw_images(tmp_path / "images")
    second = cartl("run", grid, "--resume", "--json", *workspace)
    assert second.code == 0, second.err
    assert [run["id"] for run in second.json["runs"]] == [run["id"] for run in first.json["runs"]]
    for before, after in zip(first.json["runs"], second.json["runs"], strict=True):
        assert after["state"] == "finished"
        assert before["state"] in ("failed", "created") or before == after

    listed = cartl("runs", *workspace).out.partition("\n\n")[0].splitlines()
    assert listed[0].split()[:3] == ["id", "name", "seed"] and len(listed) == 2 + 10
    several = cartl("inspect", "moved, mine", *workspace)
    assert several.code == 2 and "(seed 0)" in several.err and "(seed 1)" in several.err


def test_that_only_the_named_runs_and_what_they_start_from_are_made(
    cartl: Cartl, grid: Path, tmp_path: Path
) -> None:
    workspace = ("--workspace", tmp_path / "workspace")
    only = ("--only", "moved, digits@1")
    plan = cartl("run", grid, *only, "--dry-run", *workspace)
    assert plan.code == 0 and not (tmp_path / "workspace").exists()
    assert [line.split("  ")[0] for line in plan.out.splitlines()[2:4]] == ["AT", "moved, digits"]
    assert plan.out.splitlines()[-1] == "2 runs, 0 of them finished. Nothing was made."

    made = cartl("run", grid, *only, "--json", *workspace)
    assert made.code == 0
    assert [(run["name"], run["config"]["seed"]) for run in made.json["runs"]] == [
        ("AT", 1),
        ("moved, digits", 1),
    ]
    rest = cartl("run", grid, "--resume", "--dry-run", "--json", *workspace).json["runs"]
    assert [(item["name"], item["seed"]) for item in rest if item["state"]] == [
        ("AT", 1),
        ("moved, digits", 1),
    ]

    wrong = cartl("run", grid, "--only", "moved", *workspace)
    assert (
        wrong.code == 2 and "--only: there is no run 'moved'; there are: 'AT', 'moved, digits', " in wrong.err
    )


def test_that_a_seed_set_on_the_command_line_takes_the_place_of_the_seeds(
    cartl: Cartl, grid: Path, tmp_path: Path
) -> None:
    def seeds(*overrides: str) -> list[int]:
        words = [word for override in overrides for word in ("--set", override)]
        plan = cartl("run", grid, "--dry-run", "--json", *words, "--workspace", tmp_path / "w")
        return sorted({item["seed"] for item in plan.json["runs"]})

    assert (seeds(), seeds("seed=5"), seeds("grid.seed=[7, 8, 9]")) == ([0, 1], [5], [7, 8, 9])


def test_that_a_plan_tells_from_which_seed_a_run_starts(cartl: Cartl, made: Made, tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    text = made.study.read_text(encoding="utf-8")
    study.write_text(text.replace('name = "transferred"', 'name = "transferred"\ngrid = { seed = [3, 4] }'))
    plan = cartl("run", study, "--dry-run", "--resume", "--json", "--workspace", made.workspace).json["runs"]
    assert [(item["seed"], item["start_from"], item["state"]) for item in plan] == [
        (3, "", "finished"), (3, "source", "finished"), (4, "source@3", None),
    ]  # fmt: skip


def test_that_a_preset_is_printed_as_it_was_written(cartl: Cartl) -> None:
    for name, text in api.preset_texts().items():
        assert cartl("presets", name).out == text.rstrip() + "\n"
        expanded = json.loads(cartl("presets", name, "--json").out)
        assert [run["name"] for run in expanded["runs"]] == [run.name for run in parse_study(text).runs]
