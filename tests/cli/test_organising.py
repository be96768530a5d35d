"""Labels, the bin, the queue, repeated runs, and commands that make a run or a study again."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from engine.commands import command_of_run, study_of_run
from engine.config import load_study
from engine.errors import MissingRunError
from engine.events import RunLabel
from engine.store.workspace import Workspace
from tests.cli.conftest import Cartl, Made


def weights(run: dict[str, Any]) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (Path(run["path"]) / "weights").glob("*.safetensors")
    }


def accuracies(run: dict[str, Any]) -> tuple[Any, Any]:
    return run["result"]["clean_accuracy"], run["result"]["robust_accuracy"]


def arguments_of(line: str) -> list[str]:
    """What follows the program's name in a command line."""
    words = shlex.split(line)
    return words[words.index("run") :]


# commands ------------------------------------------------------------------------------------------------
def test_that_the_command_of_a_run_makes_the_same_numbers(cartl: Cartl, copied: Made) -> None:
    line = cartl("command", "transferred", "--workspace", copied.workspace).out.strip()
    again = cartl(*arguments_of(line), "--json")
    assert again.code == 0, again.err
    made = again.json["runs"]
    assert [run["name"] for run in made] == ["source", "transferred"]
    for new, old in zip(made, copied.runs, strict=True):
        assert new["id"] != old["id"]
        assert weights(new) == weights(old) != {}
        assert accuracies(new) == accuracies(old)
    line = cartl("command", "Tiny", "--workspace", copied.workspace, "--json").json["command"]
    (path,) = (copied.workspace / "studies").glob("tiny-*.toml")
    assert arguments_of(line) == ["run", str(path), "--workspace", str(copied.workspace)]
    assert load_study(path) == load_study(copied.study), "the study as it was submitted, in full"


def test_that_a_run_and_the_one_it_starts_from_get_names_of_their_own(copied: Made) -> None:
    known = {run.id: run for run in Workspace(copied.workspace).runs()}
    source, transferred = (known[run["id"]] for run in copied.runs)
    object.__setattr__(transferred, "config", transferred.config.model_copy(update={"name": "source"}))
    study = study_of_run(transferred, known)
    assert [(run.name, run.start_from) for run in study.runs] == [
        ("source (2)", ""),
        ("source", "source (2)"),
    ]
    with pytest.raises(MissingRunError, match="no longer in the workspace"):
        command_of_run(transferred, {transferred.id: transferred}, copied.workspace)


def test_that_a_study_whose_settings_are_not_kept_is_told(cartl: Cartl, copied: Made) -> None:
    shutil.rmtree(copied.workspace / "studies")
    answer = cartl("command", "Tiny", "--workspace", copied.workspace)
    assert answer.code == 1
    assert "copy the commands of its single runs" in answer.err


# labels and lists ----------------------------------------------------------------------------------------
def test_that_a_run_is_labelled_found_by_its_title_and_filtered(cartl: Cartl, copied: Made) -> None:
    tail = ("--workspace", copied.workspace)
    run = cartl(
        "label", "source", "--title", "Base", "--tag", "good", "--tag", "old", "--star", "--notes", "Two\nlines", "--json", *tail
    ).json  # fmt: skip
    assert run["name"] == "source"
    assert run["label"] == {
        "title": "Base", "tags": ["good", "old"], "star": True, "notes": "Two\nlines", "archived": False,
    }  # fmt: skip
    shown = cartl("label", "Base", "--untag", "old", *tail).out
    assert "Name in its settings: source" in shown
    assert "Marks: starred, good\n\nTwo\nlines" in shown
    listed = cartl("runs", "--filter", "is:star tag:good", *tail).out
    assert "Base" in listed
    assert "transferred" not in listed
    assert "starred, good" in listed
    assert cartl("label", "Base", "--tag", "x" * 41, *tail).err.count("41") == 1
    wrong = cartl("runs", "--filter", "robust >", *tail)
    assert wrong.code == 2
    assert "--filter" in wrong.err


def test_that_archived_runs_are_listed_only_when_asked_for(cartl: Cartl, copied: Made) -> None:
    tail = ("--workspace", copied.workspace)
    cartl("label", "source", "--archive", *tail)
    first = cartl("runs", *tail).out
    assert "1 archived left out; --archived lists them too." in first
    assert [run["name"] for run in cartl("runs", "--json", *tail).json] == ["transferred"]
    assert len(cartl("runs", "--archived", "--json", *tail).json) == 2
    assert [run["name"] for run in cartl("runs", "--filter", "is:archived", "--json", *tail).json] == [
        "source"
    ]
    cartl("label", "source", "--no-archive", *tail)
    assert len(cartl("runs", "--json", *tail).json) == 2


# the bin -------------------------------------------------------------------------------------------------
def test_that_runs_go_to_the_bin_and_back_and_are_deleted(cartl: Cartl, copied: Made) -> None:
    tail = ("--workspace", copied.workspace)
    refused = cartl("bin", "source", *tail)
    assert refused.code == 1
    assert "source has to stay: transferred starts from it" in refused.err
    assert "In the bin: transferred." in cartl("bin", "transferred", *tail).out
    assert [run["name"] for run in cartl("bin", "--json", *tail).json] == ["transferred"]
    assert [run["name"] for run in cartl("runs", "--json", *tail).json] == ["source"]
    assert "Restored: transferred." in cartl("restore", "transferred", *tail).out
    assert cartl("restore", "transferred", *tail).code == 2
    assert len(cartl("bin", "source", "transferred", "--json", *tail).json) == 2
    assert cartl("bin", "source", "--empty", *tail).code == 2
    assert "Deleted for good: 2 runs." in cartl("bin", "--empty", *tail).out
    assert "The bin is empty." in cartl("bin", *tail).out
    assert list((copied.workspace / "bin").iterdir()) == []


# the queue -----------------------------------------------------------------------------------------------
def test_that_the_queue_of_the_window_is_listed_kept_and_worked_off(cartl: Cartl, copied: Made) -> None:
    tail = ("--workspace", copied.workspace)
    source = copied.runs[0]["id"]
    assert "No runs wait in the queue." in cartl("queue", *tail).out
    status = copied.workspace / "runs" / source / "status.json"
    stopped = json.loads(status.read_text()) | {"state": "stopped"}
    status.write_text(json.dumps(stopped))
    queue = copied.workspace / "queue.json"
    queue.write_text(json.dumps({"version": 1, "order": [source, "gone-1"]}))
    assert [run["id"] for run in cartl("queue", "--json", *tail).json] == [source]
    cartl("runs", *tail)
    assert json.loads(queue.read_text())["order"] == [source, "gone-1"], "others leave it alone"
    done = cartl("queue", "--go", "--json", *tail)
    assert done.code == 0, done.err
    assert [(run["id"], run["state"]) for run in done.json["runs"]] == [(source, "finished")]
    assert json.loads(queue.read_text())["order"] == []


def test_that_a_run_is_made_anew_with_half_the_batch(cartl: Cartl, copied: Made) -> None:
    answer = cartl("repeat", "transferred", "--half-batch", "--json", "--workspace", copied.workspace)
    assert answer.code == 0, answer.err
    (run,) = answer.json["runs"]
    assert (run["name"], run["state"]) == ("transferred, batch/2", "finished")
    assert run["parent"] == copied.runs[0]["id"]
    assert run["config"]["finetuning"]["batch_size"] == 16


def test_that_a_damaged_label_is_told_and_counts_as_empty(cartl: Cartl, copied: Made) -> None:
    (copied.workspace / "runs" / copied.runs[0]["id"] / "label.json").write_text('{"title": 3}')
    answer = cartl("runs", "--json", "--workspace", copied.workspace)
    assert all(run["label"]["title"] == RunLabel().title for run in answer.json)
    assert "is listed without what was written on it" in answer.err
