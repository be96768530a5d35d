"""Listing many runs, what users write on them, the bin, and the settings of studies."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import corrupt, fail_on_call
from hypothesis import given
from hypothesis import strategies as st
from store_samples import config

from engine.config import ComparisonConfig, StudyConfig
from engine.errors import ConfigError, DamagedFileError, MissingRunError, StoreError, WorkspaceLockedError
from engine.events import RunLabel
from engine.store import run_folder, run_index, workspace
from engine.store.labels import MAX_NOTES, label_from_json, label_to_json, tidy_label
from engine.store.run_folder import RunFolder
from engine.store.workspace import Workspace

RUNS = 200


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Workspace]:
    space = Workspace(tmp_path / "workspace")
    assert space.lock() == ""
    yield space
    space.unlock()


@pytest.fixture
def full(opened: Workspace) -> Workspace:
    """A workspace with many runs, never listed before."""
    first = opened.create_run(config(), "Study")
    first.write_status("finished", stage="attack", progress=1.0)
    for number in range(1, RUNS):
        shutil.copytree(first.path, opened.runs_path / f"copy-{number:04d}")
    return opened


def parsed(space: Workspace) -> int:
    """How many settings files are read to list all runs."""
    with fail_on_call(run_folder, "parse_run", 0, RuntimeError()) as calls:
        space.runs()
    return calls[0]


# the index -----------------------------------------------------------------------------------------------
def test_that_settings_are_read_once_and_for_all_later_processes(full: Workspace) -> None:
    assert parsed(full) == RUNS
    before = full.runs()
    assert parsed(full) == 0
    later = Workspace(full.root)
    assert parsed(later) == 0
    assert later.runs() == before
    full.create_run(config(), "Study")
    assert parsed(full) == 1
    assert parsed(Workspace(full.root)) == 0


def test_that_a_settings_file_that_was_changed_is_read_again(full: Workspace) -> None:
    full.runs()
    path = full.folder("copy-0001").path / "config.toml"
    path.write_text(path.read_text().replace("seed = ", "seed = 1"))
    other = full.folder("copy-0002").path / "config.toml"
    os.utime(other, ns=(1, 1))
    later = Workspace(full.root)
    assert parsed(later) == 2
    seeds = {run.id: run.config.seed for run in later.runs()}
    assert seeds["copy-0001"] != seeds["copy-0003"]
    path.write_text("nonsense")
    assert len(Workspace(full.root).runs()) == RUNS - 1


@pytest.mark.parametrize("harm", ["gone", "empty", "cut", "flipped", "version", "binary", "folder"])
def test_that_a_damaged_index_is_rebuilt_and_changes_nothing(full: Workspace, harm: str) -> None:
    before = full.runs()
    path = full.index_path
    lines = path.read_bytes().splitlines()
    assert len(lines) == 1 + RUNS
    if harm == "gone":
        path.unlink()
    elif harm == "folder":
        path.unlink()
        path.mkdir()
    elif harm == "flipped":
        corrupt(path, len(lines[0]) + 4)
    else:
        path.write_bytes(
            {
                "empty": b"",
                "cut": b"\n".join(lines[:50])[:-9],
                "version": b'{"program": "0"}\n' + b"\n".join(lines[1:]),
                "binary": bytes(range(256)) * 40,
            }[harm]
        )
    full.unlock()
    later = Workspace(full.root)
    later.lock()
    assert later.runs() == before
    later.unlock()
    if harm != "folder":
        assert sorted(path.read_bytes().splitlines()) == sorted(lines)


def test_that_a_process_that_may_not_write_lists_the_same_and_writes_nothing(full: Workspace) -> None:
    full.unlock()
    reader = Workspace(full.root)
    assert len(reader.runs()) == RUNS
    assert not full.index_path.exists()


def test_that_an_index_that_cannot_be_written_does_not_matter(full: Workspace) -> None:
    with fail_on_call(workspace, "write_index", 1, StoreError("no space")) as calls:
        assert len(full.runs()) == RUNS
    assert calls == [1]


def test_that_what_the_index_says_is_checked_like_any_settings(full: Workspace) -> None:
    full.runs()
    head, first, *rest = full.index_path.read_bytes().splitlines()
    entry = json.loads(first)
    entry["config"]["seed"] = -1
    full.index_path.write_bytes(b"\n".join([head, json.dumps(entry).encode(), *rest]))
    assert [item.id for item in run_index.read_index(full.index_path)] == [
        json.loads(line)["id"] for line in rest
    ]


# labels --------------------------------------------------------------------------------------------------
texts = st.text(st.characters(codec="utf-8"), max_size=60)


@given(texts, st.lists(st.text(st.characters(codec="utf-8"), max_size=38), max_size=15), st.booleans(), texts)
def test_that_a_label_is_read_as_it_was_kept(title: str, tags: list[str], flag: bool, notes: str) -> None:
    kept = tidy_label(RunLabel(title, tuple(tags), star=flag, notes=notes, archived=not flag))
    assert label_from_json(label_to_json(kept), origin="here") == kept
    assert tidy_label(kept) == kept
    assert list(kept.tags) == sorted(set(kept.tags))
    assert kept.notes == notes


@pytest.mark.parametrize(
    ("label", "place"),
    [
        (RunLabel(title="x" * 81), "title"),
        (RunLabel(tags=("x" * 41,)), "tags.xxx"),
        (RunLabel(tags=tuple(map(str, range(21)))), "tags"),
        (RunLabel(notes="x" * (MAX_NOTES + 1)), "notes"),
    ],
)
def test_that_a_label_that_is_too_long_is_refused_and_the_one_before_kept(
    opened: Workspace, label: RunLabel, place: str
) -> None:
    folder = opened.create_run(config(), "Study")
    folder.write_label(RunLabel(title="before"))
    with pytest.raises(ConfigError) as refused:
        folder.write_label(label)
    assert refused.value.problems[0].place.startswith(place)
    assert folder.label().title == "before"
    largest = RunLabel("ü" * 80, tuple(f"{n:02d}" + "ü" * 38 for n in range(20)), notes="\u2003" * MAX_NOTES)
    assert folder.write_label(largest).notes == largest.notes
    assert RunFolder(folder.path).label().notes == largest.notes


@pytest.mark.parametrize(
    "text", ["", "[]", '{"tags": "a"}', '{"star": 1}', '{"title": "' + "x" * 81 + '"}', "\x00"]
)
def test_that_a_damaged_label_is_told_and_counts_as_empty(opened: Workspace, text: str) -> None:
    folder = opened.create_run(config(), "Study")
    (folder.path / "label.json").write_text(text)
    with pytest.raises(DamagedFileError, match="label.json holds no label"):
        folder.label()
    (listed,) = opened.runs()
    assert listed.label == RunLabel()
    (problem,) = opened.problems
    assert "is listed without what was written on it" in problem
    folder.write_label(RunLabel(title="mended"))
    assert opened.runs()[0].title == "mended"
    assert opened.problems == ()


def test_that_a_failure_for_want_of_memory_is_kept_and_old_files_say_nothing_of_it(opened: Workspace) -> None:
    folder = opened.create_run(config(), "Study")
    folder.write_status("failed", reason="too large", cause="memory")
    assert folder.info().cause == "memory"
    path = folder.path / "status.json"
    status = json.loads(path.read_text())
    for old in ({}, {"cause": "witchcraft"}, {"cause": ["memory"]}):
        path.write_text(json.dumps({key: value for key, value in status.items() if key != "cause"} | old))
        assert (folder.info().state, folder.info().cause) == ("failed", "")
    folder.write_status("running")
    assert folder.info().cause == ""


# the bin -------------------------------------------------------------------------------------------------
def test_that_a_run_in_the_bin_is_whole_and_comes_back_as_it_was(opened: Workspace) -> None:
    folder = opened.create_run(config(), "Study")
    folder.write_label(RunLabel(title="mine"))
    before = folder.info()
    binned = opened.move_to_bin(folder.id)
    assert dataclasses.replace(binned, path=before.path) == before
    assert opened.runs() == []
    assert opened.binned() == [binned]
    assert opened.is_binned(folder.id)
    with pytest.raises(MissingRunError):
        opened.folder(folder.id)
    with pytest.raises(MissingRunError):
        opened.move_to_bin(folder.id)
    assert opened.restore(folder.id) == before
    assert opened.binned() == []
    with pytest.raises(MissingRunError):
        opened.restore(folder.id)


@pytest.mark.parametrize("run_id", ["../runs/x", "..", "", "nowhere", "/etc"])
def test_that_only_runs_can_be_moved(opened: Workspace, run_id: str) -> None:
    opened.create_run(config(), "Study")
    with pytest.raises(MissingRunError):
        opened.move_to_bin(run_id)
    with pytest.raises(MissingRunError):
        opened.restore(run_id)


def test_that_the_bin_is_emptied_for_good_and_nothing_else(opened: Workspace) -> None:
    kept, gone = (opened.create_run(config(), "Study") for _ in range(2))
    opened.empty_bin()
    opened.move_to_bin(gone.id)
    (opened.bin_path / gone.id / "journal.jsonl").unlink()
    opened.empty_bin()
    assert opened.binned() == []
    assert [run.id for run in opened.runs()] == [kept.id]
    assert list(opened.bin_path.iterdir()) == []


def test_that_a_run_half_deleted_is_never_listed_and_goes_at_the_next_start(opened: Workspace) -> None:
    gone = opened.create_run(config(), "Study")
    opened.move_to_bin(gone.id)
    with (
        fail_on_call(shutil, "rmtree", 1, PermissionError(13, "no permission")),
        pytest.raises(StoreError, match="cannot be deleted: no permission"),
    ):
        opened.empty_bin()
    assert opened.binned() == []
    assert len(list(opened.bin_path.iterdir())) == 1
    opened.unlock()
    assert opened.lock() == ""
    assert list(opened.bin_path.iterdir()) == []


def test_that_only_the_holder_of_the_lock_moves_and_deletes(opened: Workspace) -> None:
    folder = opened.create_run(config(), "Study")
    reader = Workspace(opened.root)
    for deed in (
        lambda: reader.move_to_bin(folder.id),
        lambda: reader.restore(folder.id),
        reader.empty_bin,
        lambda: reader.keep_queue(()),
    ):
        with pytest.raises(WorkspaceLockedError):
            deed()
    assert [run.id for run in reader.runs()] == [folder.id]


# studies -------------------------------------------------------------------------------------------------
def test_that_a_study_is_kept_once_in_full_and_found_by_its_title(opened: Workspace) -> None:
    run = config()
    question = ComparisonConfig(baseline=run.name, other=run.name, measure="clean_accuracy")
    study = StudyConfig(title="A study: 1/2", runs=[run], comparisons=[question] if run.attack else [])
    other = study.model_copy(update={"description": "another"})
    first = opened.keep_study(study)
    stamp = first.stat().st_mtime_ns
    assert opened.keep_study(study) == first
    assert first.stat().st_mtime_ns == stamp
    os.utime(first, ns=(1, 1))
    second = opened.keep_study(other)
    assert second != first
    (opened.studies_path / "a-study-1-2-00000000.toml").write_text("damaged")
    assert list(opened.kept_studies("A study: 1/2")) == [(second, other), (first, study)]
    assert list(opened.kept_studies("A study 1 2")) == []
