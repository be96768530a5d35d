"""The folder of runs: locking, creating, listing, and what a crash leaves behind."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any, get_args

import psutil
import pytest
from faults import fail_on_call, run_python, start_python
from hypothesis import given, settings
from hypothesis import strategies as st
from store_samples import config

from engine.config import ComparisonConfig, RunConfig, StageName
from engine.errors import DamagedFileError, StoreError, WorkspaceLockedError
from engine.events import AttackResult, Interval, RunState
from engine.store import atomic, process, run_folder, workspace
from engine.store.process import ProcessIdentity
from engine.store.run_folder import RunFolder
from engine.store.workspace import Workspace, slug
from engine.wording import format_bytes

HOLDER = """
import sys, time
from pathlib import Path
from engine.store.workspace import Workspace
workspace = Workspace(Path(sys.argv[1]))
print(workspace.lock() or "locked", flush=True)
time.sleep(60)
"""

RESULT = AttackResult(
    data="digits", attack="PGD-20", samples=500, seconds=1.5,
    clean_accuracy=Interval(0.9, 0.87, 0.92), robust_accuracy=Interval(0.4, 0.36, 0.44),
)  # fmt: skip


@pytest.fixture
def opened(tmp_path: Path) -> Any:
    space = Workspace(tmp_path / "workspace")
    assert space.lock() == ""
    yield space
    space.unlock()


def test_that_a_second_process_is_told_who_writes(tmp_path: Path) -> None:
    with start_python(HOLDER, tmp_path) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "locked\n"
        second = Workspace(tmp_path)
        assert f"in use by process {child.pid}" in second.lock()
        assert not second.writable
        with pytest.raises(WorkspaceLockedError, match="reading only"):
            second.create_run(config(), "study")
        assert second.runs() == []
        child.kill()
        child.wait()
        # The holder was killed, so its lock is stale and is taken over.
        assert second.lock() == ""
        assert second.writable
    second.unlock()


def test_that_the_lock_is_given_back(tmp_path: Path) -> None:
    first, second = Workspace(tmp_path), Workspace(tmp_path)
    assert first.lock() == ""
    assert first.lock() == ""
    assert f"process {os.getpid()}" in second.lock()
    second.unlock()
    assert "in use" in second.lock()
    first.unlock()
    assert second.lock() == ""
    second.unlock()


def identity(**changes: Any) -> dict[str, Any]:
    return {**ProcessIdentity.current().to_json(), **changes}


@pytest.mark.parametrize(
    ("holder", "stale"),
    [
        (identity(pid=2**22 + 1), True),
        (identity(start="1"), True),
        (identity(boot="an earlier one"), True),
        (identity(), False),
        (identity(start=""), False),
        (identity(host="another", pid=2**22 + 1), False),
        (identity(host="another", boot="other"), False),
    ],
    ids=[
        "no such process",
        "number reused",
        "restarted",
        "alive",
        "start unknown",
        "other machine",
        "other boot",
    ],
)
def test_that_a_lock_is_taken_over_only_if_its_process_is_provably_gone(
    tmp_path: Path, holder: dict[str, Any], stale: bool
) -> None:
    (tmp_path / "workspace.lock").write_text(json.dumps(holder))
    space = Workspace(tmp_path)
    assert (space.lock() == "") == stale
    space.unlock()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "1"}', '{"pid": true}'])
def test_that_an_unreadable_lock_is_respected(tmp_path: Path, content: str) -> None:
    (tmp_path / "workspace.lock").write_text(content)
    assert "delete the file if no other window is open" in Workspace(tmp_path).lock()


def test_that_a_process_is_known_by_its_start_on_every_system(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> str:
        raise FileNotFoundError

    process._boot.cache_clear()
    monkeypatch.setattr(Path, "read_text", refuse)
    here = ProcessIdentity.current()
    assert float(here.start) == pytest.approx(psutil.Process().create_time(), abs=0.01)
    assert float(here.boot) > 1e9
    assert not here.is_gone()
    assert dataclasses.replace(here, start="5.00").is_gone()
    process._boot.cache_clear()


def test_that_a_process_that_cannot_be_looked_at_is_not_called_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    someone = dataclasses.replace(ProcessIdentity.current(), pid=1, start="x")

    def refuse(pid: int) -> None:
        raise psutil.AccessDenied(pid)

    monkeypatch.setattr(psutil, "Process", refuse)
    assert not dataclasses.replace(someone, start="").is_gone()


def test_that_a_zombie_counts_as_gone(tmp_path: Path) -> None:
    with start_python("import time; time.sleep(60)") as child:
        someone = ProcessIdentity(
            child.pid, process._start_of(child.pid) or "", process._boot(), os.uname().nodename
        )
        assert not someone.is_gone()
        child.kill()
        deadline = time.monotonic() + 10
        while not someone.is_gone() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert someone.is_gone()


def test_that_a_workspace_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be written" in Workspace(tmp_path / "file" / "workspace").lock()
    with fail_on_call(os, "fsync", 1, OSError(30, "Read-only file system")):
        assert "Read-only file system" in Workspace(tmp_path / "w").lock()


def test_that_leftovers_of_a_crash_are_cleared_away(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    assert space.lock() == ""
    folder = space.create_run(config(), "study")
    space.unlock()
    left = [
        tmp_path / ".tmp-1-0-workspace.lock",
        folder.path / ".tmp-1-0-status.json",
        folder.checkpoints / ".tmp-1-1-x.pt",
    ]
    for path in left:
        path.write_text("torn")
    half = space.runs_path / ".tmp-1-0-half"
    shutil.copytree(folder.path, half)
    assert len(Workspace(tmp_path).runs()) == 1
    assert space.lock() == ""
    assert not half.exists()
    assert not any(path.exists() for path in left)
    assert folder.info().state == "created"
    space.unlock()


def test_that_a_new_run_has_its_settings_and_state(opened: Workspace) -> None:
    before = time.time()
    folder = opened.create_run(config("Größe ☃ 8/255"), "My study", parent="other-00000000")
    info = folder.info()
    assert folder.id.startswith("groe-8-255-")
    assert (info.id, info.name, info.study, info.state) == (folder.id, "Größe ☃ 8/255", "My study", "created")
    assert before <= info.created <= time.time()
    assert info.config == folder.config == config("Größe ☃ 8/255")
    assert Path(info.path) == folder.path
    assert folder.parent == "other-00000000"
    assert folder.checkpoints.is_dir()
    assert folder.weights_path("pretraining").parent.is_dir()
    assert [entry["state"] for entry in folder.read_journal()] == ["created"]


def test_that_runs_of_one_name_are_kept_apart(opened: Workspace) -> None:
    ids = {opened.create_run(config("same"), "s").id for _ in range(5)}
    assert len(ids) == 5


def test_that_too_little_space_is_refused_with_figures(
    opened: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "free_bytes", lambda path: 12_000_000)
    with pytest.raises(StoreError, match=r"no space in .*runs: 12\.0 MB free, 3\.0 GB needed"):
        opened.create_run(config(), "study", needed_bytes=3 * 10**9)
    assert opened.runs() == []


def message_of_creating(space: Workspace) -> str:
    try:
        space.create_run(config(), "study")
    except StoreError as error:
        return str(error)
    return ""


def test_that_a_run_appears_whole_or_not_at_all(opened: Workspace) -> None:
    failures = 0
    for owner, name in ((os, "fsync"), (os, "replace"), (os, "rename"), (Path, "mkdir")):
        for number in range(1, 20):
            with fail_on_call(owner, name, number, OSError(13, "Permission denied")) as calls:
                message = message_of_creating(opened)
            failures += bool(message)
            assert message.count("Permission denied") == bool(message)
            assert opened.problems == ()
            assert all(info.state == "created" for info in opened.runs())
            assert not list(opened.runs_path.glob(".tmp*"))
            if calls[0] < number:
                break
    assert failures >= 8


def test_that_runs_are_listed_newest_first(opened: Workspace) -> None:
    folders = [opened.create_run(config(f"run {index}"), "study") for index in range(3)]
    for folder, created in zip(folders, (20.0, 30.0, 10.0), strict=True):
        folder.begin("study", created=created)
    assert [info.name for info in opened.runs()] == ["run 1", "run 0", "run 2"]


@pytest.mark.parametrize("content", [b"", b"\xff", b"[1]", b"x = [", b"a" * 1_100_000])
def test_that_a_damaged_run_hides_no_other(opened: Workspace, content: bytes) -> None:
    broken, whole = opened.create_run(config("broken"), "s"), opened.create_run(config("whole"), "s")
    (broken.path / "config.toml").write_bytes(content)
    assert [info.id for info in opened.runs()] == [whole.id]
    assert len(opened.problems) == 1
    assert broken.id in opened.problems[0]
    shutil.rmtree(broken.path)
    opened.runs()
    assert opened.problems == ()


@pytest.mark.parametrize(
    "change",
    [
        {"state": "sleeping"},
        {"stage": "evaluation"},
        {"progress": "much"},
        {"version": 99},
        {"version": None},
        {"process": None},
        {"result": {"data": "digits"}},
    ],
)
def test_that_a_damaged_status_is_shown_as_failed(opened: Workspace, change: dict[str, Any]) -> None:
    folder = opened.create_run(config(), "s")
    path = folder.path / "status.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    (info,) = opened.runs()
    assert info.state == "failed"
    assert "status.json" in info.reason
    path.write_text("{")
    assert folder.info().state == "failed"
    assert folder.parent == ""
    folder.write_status("stopped", reason="by the user")
    assert folder.info().state == "stopped"


@settings(max_examples=30)
@given(
    state=st.sampled_from(get_args(RunState)),
    stage=st.none() | st.sampled_from(get_args(StageName)),
    progress=st.floats(0, 1),
    reason=st.text(max_size=20),
    result=st.none() | st.just(RESULT),
)
def test_that_a_status_comes_back_as_written(
    tmp_path_factory: pytest.TempPathFactory,
    state: RunState,
    stage: Any,
    progress: float,
    reason: str,
    result: Any,
) -> None:
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    (folder.path / "config.toml").write_text(workspace.dump_run(config()))
    folder.begin("study", created=5.0)
    folder.write_status(
        state, reason=reason, stage=stage, progress=progress, seconds=2.5, device="cpu", result=result
    )
    info = folder.info()
    assert (info.state, info.stage, info.progress, info.reason) == (state, stage, progress, reason)
    assert (info.seconds, info.device, info.result, info.created) == (2.5, "cpu", result, 5.0)


DIES = """
import os, sys
from pathlib import Path
from engine.store.run_folder import RunFolder
folder = RunFolder(Path(sys.argv[1]))
folder.write_status(sys.argv[2], stage="pretraining", progress=0.3)
print(folder.info().state, flush=True)
os.kill(os.getpid(), 9)
"""


def test_that_a_run_whose_process_is_gone_is_interrupted(opened: Workspace) -> None:
    folder = opened.create_run(config(), "study")
    status, output = run_python(DIES, folder.path, "running")
    assert (status, output) == (-9, "running\n")
    (info,) = opened.runs()
    assert (info.state, info.stage, info.progress) == ("interrupted", "pretraining", 0.3)
    assert "ended without closing" in info.reason
    assert run_python(DIES, folder.path, "created")[0] == -9
    assert folder.info().state == "interrupted"
    assert run_python(DIES, folder.path, "paused")[0] == -9
    assert folder.info().state == "paused"


def test_that_a_run_that_nobody_will_start_counts_as_stopped(opened: Workspace) -> None:
    folder = opened.create_run(config(), "study")
    path = folder.path / "status.json"
    status = json.loads(path.read_text())
    path.write_text(json.dumps({**status, "process": identity(pid=2**22 + 1)}))
    assert (folder.info().state, folder.info().reason) == (
        "stopped",
        "it had not begun when the program ended",
    )


@pytest.mark.parametrize("run_id", ["", "..", "../runs", "nothing-00000000", "/etc", "A", "a/b"])
def test_that_an_id_never_leads_out_of_the_workspace(opened: Workspace, run_id: str) -> None:
    with pytest.raises(StoreError, match="there is no run"):
        opened.folder(run_id)


@given(st.text(max_size=100))
def test_that_every_title_gives_a_folder_name(title: str) -> None:
    assert workspace._RUN_ID.fullmatch(slug(title))
    assert len(slug(title)) <= 40


def test_that_the_journal_tells_each_change_of_state(opened: Workspace) -> None:
    folder = opened.create_run(config(), "study")
    for state in ("running", "running", "paused"):
        folder.write_status(state, stage="pretraining")  # type: ignore[arg-type]
    RunFolder(folder.path).write_status("paused")
    folder.journal("checkpoint", step=3, name="ä")
    entries = folder.read_journal()
    assert [entry.get("state") for entry in entries] == ["created", "running", "paused", None]
    assert entries[-1]["kind"] == "checkpoint"
    assert (entries[-1]["step"], entries[-1]["name"]) == (3, "ä")


@pytest.mark.parametrize("kept", range(1, 40, 6))
def test_that_a_torn_line_costs_only_itself(opened: Workspace, kept: int) -> None:
    folder = opened.create_run(config(), "study")
    folder.journal("first")
    path = folder.path / "journal.jsonl"
    whole = path.read_bytes()
    folder.journal("second")
    path.write_bytes(path.read_bytes()[: len(whole) + kept])
    assert [entry["kind"] for entry in folder.read_journal()] == ["state", "first"]
    folder.journal("third")
    assert [entry["kind"] for entry in folder.read_journal()] == ["state", "first", "third"]


def test_that_no_journal_is_an_empty_one(tmp_path: Path) -> None:
    assert RunFolder(tmp_path).read_journal() == []
    with pytest.raises(DamagedFileError, match="No such file"):
        RunFolder(tmp_path).config  # noqa: B018
    with pytest.raises(StoreError, match="gone"):
        RunFolder(tmp_path / "gone").journal("x")


def test_that_the_log_is_rotated(opened: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "LOG_BYTES", 200)
    folder = opened.create_run(config(), "study")
    for index in range(100):
        folder.log("warning" if index % 2 else "info", f"line {index}\nand more ä")
    lines = folder.read_log()
    assert lines[-1] == "    and more ä"
    assert lines[-2].endswith("WARNING line 99")
    parts = sorted(path.name for path in folder.path.glob("run.log*"))
    assert parts == ["run.log", "run.log.1", "run.log.2", "run.log.3", "run.log.4"]
    assert all(path.stat().st_size < 300 for path in folder.path.glob("run.log*"))


def test_that_settings_are_read_again_only_when_changed(
    opened: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = opened.create_run(config(), "study")
    opened.runs()
    parsed: list[str] = []
    real = run_folder.parse_run

    def counting(text: str, **options: Any) -> RunConfig:
        parsed.append(text)
        return real(text, **options)

    monkeypatch.setattr(run_folder, "parse_run", counting)
    opened.runs()
    assert parsed == []
    (folder.path / "config.toml").write_text(workspace.dump_run(config("renamed")))
    assert [info.name for info in opened.runs()] == ["renamed"]
    assert len(parsed) == 1


def test_that_the_workspace_loads_neither_torch_nor_h5py() -> None:
    source = (
        "import sys; import engine.store.workspace; print({'torch', 'h5py', 'PySide6'} & set(sys.modules))"
    )
    assert run_python(source) == (0, "set()\n")


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (2 * 10**12, "2.0 TB")]
)
def test_that_sizes_are_written_for_people(size: int, text: str) -> None:
    assert format_bytes(size) == text


def test_that_an_atomic_file_is_old_or_new(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic.write_text(path, "old")
    for name in ("fsync", "replace"):
        with (
            fail_on_call(os, name, 1, OSError(5, "Input/output error")),
            pytest.raises(StoreError, match="Input/output"),
        ):
            atomic.write_text(path, "new")
        assert path.read_text() == "old"
    with pytest.raises(TypeError), atomic.replacing(path) as file:
        file.write("not bytes")  # type: ignore[arg-type]
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]
    atomic.write_text(path, "new")
    assert path.read_text() == "new"


QUESTIONS = [ComparisonConfig(title="Wie viel?", baseline="A", other="B")]


def test_that_what_a_study_asks_is_kept_beside_what_others_ask(tmp_path: Path) -> None:
    assert Workspace(tmp_path).questions() == {}
    for title in ("One", "Zwei \N{GREEK SMALL LETTER BETA}"):
        Workspace(tmp_path).keep_questions(title, QUESTIONS)
    Workspace(tmp_path).keep_questions("One", [])
    assert Workspace(tmp_path).questions() == {
        "One": (),
        "Zwei \N{GREEK SMALL LETTER BETA}": tuple(QUESTIONS),
    }


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"One": [{"baseline": 1}]}', "[" * 100_000, "x" * 2_000_000, '{"One": [{"title": "t"}]}'],
)
def test_that_questions_that_cannot_be_used_are_passed_over(tmp_path: Path, text: str) -> None:
    space = Workspace(tmp_path)
    space.questions_path.write_text(text)
    assert space.questions() == {}
    space.keep_questions("One", QUESTIONS)
    assert Workspace(tmp_path).questions() == {"One": tuple(QUESTIONS)}
