"""Every verb, on runs that were really made."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from engine import api
from engine.config import parse_study
from tests.cli.conftest import Cartl, Made


def test_that_a_study_is_made_and_its_results_are_shares_with_intervals(made: Made) -> None:
    assert [run["name"] for run in made.runs] == ["source", "transferred"]
    for run in made.runs:
        result = run["result"]
        assert run["state"] == "finished" and result["samples"] == 32
        assert result["attack"] == "PGD-2, Linf 8/255, 1 restart"
        for accuracy in (result["clean_accuracy"], result["robust_accuracy"]):
            assert 0 <= accuracy["low"] <= accuracy["value"] <= accuracy["high"] <= 1
        assert result["robust_accuracy"]["value"] <= result["clean_accuracy"]["value"]
        assert (
            Path(run["path"]).is_relative_to(made.workspace) and (Path(run["path"]) / "config.toml").is_file()
        )


def test_that_a_finished_study_is_kept_by_resume_and_its_table_compares_the_runs(
    cartl: Cartl, made: Made
) -> None:
    answer = cartl("run", made.study, "--resume", "--workspace", made.workspace)
    assert answer.code == 0
    head, _, first, second, *rest = answer.out.strip().splitlines()
    assert head.split()[:4] == ["run", "pre-training", "transfer", "k"]
    assert first.split()[:5] == ["source", "FDM", "lambda=0.005", "-", "3"]
    assert second.split()[:6] == ["transferred", "FDM", "lambda=0.005", "NEFT", "beta=0.4", "3"]
    assert "PGD-2, Linf 8/255, 1 restart" in first
    files = rest[rest.index("Run files:") + 1 : -1]
    assert [line.strip() for line in files] == [run["path"] for run in made.runs]
    assert "\x1b" not in answer.out + answer.err
    assert len(cartl("runs", "--json", "--workspace", made.workspace).json) == 2


def test_that_resume_makes_what_a_study_has_more_than_before(
    cartl: Cartl, copied: Made, tmp_path: Path
) -> None:
    longer = tmp_path / "longer.toml"
    extra = '\n[[runs]]\nname = "vanilla"\nstart_from = "source"\nfinetuning = { method = "vanilla" }\nattack = {}\n'
    longer.write_text(copied.study.read_text(encoding="utf-8") + extra, encoding="utf-8")
    answer = cartl("run", longer, "--resume", "--json", "--workspace", copied.workspace)
    assert answer.code == 0
    assert [run["id"] for run in answer.json["runs"][:2]] == [run["id"] for run in copied.runs]
    again = cartl("run", longer, "--resume", "--json", "--workspace", copied.workspace)
    assert [run["id"] for run in again.json["runs"]] == [run["id"] for run in answer.json["runs"]]


def test_that_an_attack_inherits_images_and_attack_from_the_run(cartl: Cartl, copied: Made) -> None:
    answer = cartl(
        "attack", "transferred", "--steps", 3, "--restarts", 2, "--json", "--workspace", copied.workspace
    )
    assert answer.code == 0
    (run,) = answer.json["runs"]
    assert run["config"]["start_from"] == copied.runs[1]["id"]
    assert run["config"]["attack"]["steps"] == 3 and run["config"]["finetuning"] is None
    assert run["config"]["target"] == copied.runs[1]["config"]["target"]
    assert run["result"]["attack"] == "PGD-3, Linf 8/255, 2 restarts"
    assert run["result"]["clean_accuracy"] == copied.runs[1]["result"]["clean_accuracy"]

    weights = Path(copied.runs[1]["path"]) / "weights" / "finetuning.safetensors"
    bare = cartl("attack", weights, "--steps", 3, "--restarts", 2, "--json", "--workspace", copied.workspace)
    assert bare.json["runs"][0]["result"]["clean_accuracy"] == run["result"]["clean_accuracy"]

    listed = cartl("inspect", run["id"], "--workspace", copied.workspace)
    assert listed.code == 2 and "trained nothing" in listed.err


def test_that_runs_are_listed_with_their_state_and_figures(cartl: Cartl, made: Made) -> None:
    listed = {run["id"]: run for run in cartl("runs", "--json", "--workspace", made.workspace).json}
    for run in made.runs:
        assert listed[run["id"]]["result"] == run["result"]
    text = cartl("runs", "--workspace", made.workspace).out
    (line,) = [line for line in text.splitlines() if line.startswith(made.runs[1]["id"])]
    assert "finished" in line and "100 %" in line and "Tiny" in line


def test_that_an_empty_workspace_is_told(cartl: Cartl, tmp_path: Path) -> None:
    answer = cartl("runs", "--workspace", tmp_path / "new")
    assert answer.code == 0 and "no runs" in answer.out
    assert cartl("runs", "--json", "--workspace", tmp_path / "new").json == []


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_that_exported_weights_can_be_loaded(cartl: Cartl, made: Made, tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"model{suffix}"
    answer = cartl("export", "source", "--weights", target, "--json", "--workspace", made.workspace)
    assert answer.code == 0 and answer.json["written"] == [str(target)]
    if suffix == ".safetensors":
        weights = load_file(target)
    else:
        weights = torch.load(target, weights_only=True)["state_dict"]
    assert weights and all(
        torch.isfinite(tensor).all() for tensor in weights.values() if tensor.is_floating_point()
    )


def test_that_exported_tables_are_csv_with_a_row_per_measurement(
    cartl: Cartl, made: Made, tmp_path: Path
) -> None:
    answer = cartl("export", "source", "--tables", tmp_path / "tables", "--workspace", made.workspace)
    assert answer.code == 0 and answer.out.startswith("Written: ")
    files = {path.name: path for path in (tmp_path / "tables").rglob("*.csv")}
    samples = next(path for name, path in files.items() if "samples" in name)
    with samples.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file) if row and not row[0].startswith("#")]
    assert len(rows) == 1 + 32


def test_that_a_printed_preset_is_a_study_file_with_the_same_settings(cartl: Cartl) -> None:
    known = api.presets()
    listed = cartl("presets")
    assert listed.code == 0 and all(name in listed.out for name in known)
    assert cartl("presets", "--json").json.keys() == known.keys()
    for name, study in known.items():
        assert parse_study(cartl("presets", name).out) == study


def test_that_the_demo_takes_settings_like_any_study(cartl: Cartl, tmp_path: Path) -> None:
    answer = cartl("demo", "--set", "attack.epsilon=0", "--workspace", tmp_path)
    assert answer.code == 2 and answer.err.count("attack.epsilon") == 1


def test_that_broken_weights_end_an_attack_with_a_reason(cartl: Cartl, tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"not weights")
    answer = cartl("attack", weights, "--data", "digits", "--workspace", tmp_path / "workspace")
    assert answer.code == 1 and str(weights) in answer.out and "Traceback" not in answer.err


def test_that_a_second_process_is_told_who_writes_to_the_workspace(cartl: Cartl, made: Made) -> None:
    session = api.Session(made.workspace)
    session.open()
    try:
        answer = cartl("run", made.study, "--workspace", made.workspace)
        assert answer.code == 1 and "another process writes to it" in answer.err
        assert cartl("runs", "--workspace", made.workspace).code == 0
    finally:
        session.close()


def test_that_a_failed_run_gives_its_reason_and_exit_code_1(cartl: Cartl, made: Made, tmp_path: Path) -> None:
    overrides = ["--set", "source.name=folder", "--set", f"source.path={tmp_path / 'gone'}"]
    answer = cartl("run", made.study, *overrides, "--workspace", tmp_path / "workspace")
    assert answer.code in (1, 2) and "Traceback" not in answer.err
    assert str(tmp_path / "gone") in answer.out + answer.err


def test_that_json_keeps_what_is_no_number_as_null() -> None:
    from engine.cli.report import as_json

    assert json.loads(as_json({"a": float("nan"), "b": [float("inf"), 1.5]})) == {"a": None, "b": [None, 1.5]}
