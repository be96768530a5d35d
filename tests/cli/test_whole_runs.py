"""Runs that are given away whole on the command line, and taken in again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cartl, Made


@pytest.mark.parametrize("name", ["source.zip", "source"])
def test_that_a_run_given_away_is_taken_in_by_another_workspace(
    cartl: Cartl, made: Made, tmp_path: Path, name: str
) -> None:
    source = next(run for run in made.runs if run["name"] == "source")
    package = tmp_path / name
    written = cartl("export", "source", "--run", package, "--json", "--workspace", made.workspace)
    assert (written.code, written.json["written"]) == (0, [str(package)])
    answer = cartl("import-run", package, "--json", "--workspace", tmp_path / "other")
    assert answer.code == 0
    taken = answer.json
    assert (taken["state"], taken["name"]) == ("finished", "source")
    assert taken["result"] == source["result"]
    listed = cartl("runs", "--json", "--workspace", tmp_path / "other").json
    assert [run["id"] for run in listed] == [taken["id"]]
    # It can be started from like any other.
    weights = cartl(
        "export", taken["id"], "--weights", tmp_path / "w.safetensors", "--workspace", tmp_path / "other"
    )
    assert weights.code == 0


def test_that_a_whole_run_is_not_written_over_another(cartl: Cartl, made: Made, tmp_path: Path) -> None:
    package = tmp_path / "source.zip"
    arguments = ("export", "source", "--run", package, "--no-checkpoint", "--workspace", made.workspace)
    assert cartl(*arguments).code == 0
    again = cartl(*arguments)
    assert again.code == 1
    assert "exists; choose another name, or say that it is to be replaced" in again.err
    assert cartl(*arguments, "--overwrite").code == 0


def test_that_what_is_no_run_is_not_taken_in(cartl: Cartl, tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_text("no run")
    answer = cartl("import-run", tmp_path / "x.zip", "--workspace", tmp_path / "other")
    assert answer.code == 1
    assert "no exported run" in answer.err


def test_that_the_command_in_a_package_makes_the_run_again(cartl: Cartl, made: Made, tmp_path: Path) -> None:
    package = tmp_path / "transferred"
    cartl("export", "transferred", "--run", package, "--workspace", made.workspace)
    readme = (package / "README.txt").read_text(encoding="utf-8")
    command = next(line for line in readme.splitlines() if line.startswith("Make it again: cartl "))
    words = command.removeprefix("Make it again: cartl ").replace("config.toml", str(package / "config.toml"))
    plan = cartl(*words.split(), "--dry-run", "--json", "--workspace", made.workspace)
    assert plan.code == 0, plan.err
    source = next(run for run in made.runs if run["name"] == "source")
    assert [(run["name"], run["start_from"]) for run in plan.json["runs"]] == [("transferred", source["id"])]
