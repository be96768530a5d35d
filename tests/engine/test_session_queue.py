"""The session's queue, bin and labels: real threads and files, and runs that end as a test says instead of training."""

from __future__ import annotations

import json
import random
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import engine.runner
from engine import api
from engine.config import StudyConfig
from engine.control import Interrupted
from engine.errors import ConfigError, DivergedError, StoreError
from engine.events import (
    ENDED,
    BinEmptied,
    EngineEvent,
    QueueChanged,
    QueueEmpty,
    RequestFailed,
    RunChanged,
    RunInfo,
    RunLabel,
    RunRecord,
    RunsBinned,
    RunsListed,
)
from engine.store.run_folder import RunFolder
from engine.store.workspace import Workspace
from tests.engine.small import chain, follow, open_session
from tests.faults import run_python


class Puppet:
    """Stands in for `Runner`. A run named in `wait` goes on until it is interrupted or released, one in `fail` fails."""

    wait: dict[str, threading.Event]
    fail: dict[str, Exception]
    began: list[str]

    def __init__(self, folder: RunFolder, parent_weights: Path | None, **told: Any) -> None:
        self.folder, self.emit, self.control = folder, told["emit"], told["control"]
        self.info = replace(folder.info(), state="running", reason="")

    def run(self) -> None:
        self.folder.write_status("running", stage="pretraining")
        self.began.append(self.info.name)
        self.emit(RunChanged(self.info))
        while self.info.name in self.wait and not self.wait[self.info.name].wait(0.005):
            self.control.check()
        self.emit(RunChanged(self.info))
        if self.info.name in self.fail:
            raise self.fail[self.info.name]
        for stage in self.folder.config.stages:
            self.folder.weights_path(stage).touch()

    def record(self) -> RunRecord:
        return RunRecord(self.info)


@pytest.fixture(autouse=True)
def puppet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    Puppet.wait, Puppet.fail, Puppet.began = {}, {}, []
    monkeypatch.setattr(engine.runner, "Runner", Puppet)
    yield
    for event in Puppet.wait.values():
        event.set()


def study(*names: str) -> StudyConfig:
    """Runs of these names; "b from a" starts from a."""
    whole = chain().runs[0]
    runs = []
    for text in names:
        name, _, start = text.partition(" from ")
        changes: dict[str, Any] = {"name": name, "start_from": start, "attack": None}
        changes |= {"pretraining": None} if start else {"finetuning": None}
        runs.append(whole.model_copy(update=changes))
    return StudyConfig(title="Queue", runs=runs)


def submit(session: api.Session, *names: str) -> dict[str, str]:
    """Ids by name."""
    return {info.name: info.id for info in session.submit(study(*names))}


def idle(session: api.Session) -> dict[str, RunInfo]:
    """Take events until nothing more can go; the newest line of each run, by name."""
    found: dict[str, RunInfo] = {}
    queued = False
    until = time.monotonic() + 30
    while time.monotonic() < until:
        event = session.events.get(timeout=30)
        if isinstance(event, RunChanged):
            found[event.run.name] = event.run
            queued = queued or event.run.state in ENDED
        elif isinstance(event, QueueChanged):
            queued = queued or bool(event.order)
        elif isinstance(event, QueueEmpty) and queued:
            return found
    raise AssertionError("something is still to do")


def wait_for(session: api.Session, kind: type, *, state: str | None = None, name: str | None = None) -> Any:
    """The next event of a kind, a run's only if it has this state and name; others are dropped."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        event = session.events.get(timeout=30)
        if (
            isinstance(event, kind)
            and (state is None or event.run.state == state)
            and (name is None or event.run.name == name)
        ):
            return event
    raise AssertionError(f"no {kind.__name__} came")


# order and dependencies ----------------------------------------------------------------------------------
def test_that_a_failure_lets_others_go_and_what_starts_from_it_goes_once_it_has_finished(
    tmp_path: Path,
) -> None:
    Puppet.fail["a"] = DivergedError("the loss is no number")
    with open_session(tmp_path) as session:
        ids = submit(session, "a", "b from a", "c from b", "d")
        seen = idle(session)
        assert Puppet.began == ["a", "d"]
        assert (seen["a"].state, seen["a"].reason) == ("failed", "the loss is no number")
        assert (seen["b"].state, seen["b"].reason) == ("created", "waits for a")
        assert (seen["c"].state, seen["c"].reason) == ("created", "waits for b")
        Puppet.fail.clear()
        session.resume(ids["a"])
        seen = idle(session)
    assert Puppet.began == ["a", "d", "a", "b", "c"]
    assert {name: run.state for name, run in seen.items()} == {
        "a": "finished",
        "b": "finished",
        "c": "finished",
    }
    assert {run.reason for run in seen.values()} == {""}


def test_that_waiting_runs_are_moved_and_go_in_the_new_order(tmp_path: Path) -> None:
    Puppet.wait["first"] = threading.Event()
    with open_session(tmp_path) as session:
        ids = submit(session, "first", "a", "b from a", "c", "d from c")
        wait_for(session, RunChanged, state="running")
        session.move([ids["d"]], ids["a"])
        assert wait_for(session, QueueChanged).order == tuple(ids[name] for name in "cdab")
        session.move([ids["d"]], ids["c"])
        refused = wait_for(session, RequestFailed)
        assert refused.request == api.MOVING
        assert "c has to go first" in refused.message
        session.move([ids["first"]], None)
        assert "only waiting runs can be moved" in wait_for(session, RequestFailed).message
        Puppet.wait["first"].set()
        idle(session)
    assert Puppet.began == ["first", "c", "d", "a", "b"]


def test_that_runs_are_queued_again_in_order_before_all_others(tmp_path: Path) -> None:
    Puppet.fail = {name: DivergedError("no") for name in "ab"}
    with open_session(tmp_path) as session:
        ids = submit(session, "a", "b")
        idle(session)
        Puppet.fail.clear()
        Puppet.wait["c"] = threading.Event()
        submit(session, "c", "d")
        wait_for(session, RunChanged, state="running", name="c")
        session.queue_again([ids["b"], ids["a"]])
        told = [wait_for(session, RunChanged).run for _ in range(2)]
        assert {(run.id, run.state, run.reason) for run in told} == {
            (ids[name], "created", "") for name in "ab"
        }
        session.pause()
        session.queue_again(["nowhere-1"])
        assert wait_for(session, RequestFailed).request == api.RESUMING
        session.resume()
        Puppet.wait["c"].set()
        idle(session)
        session.resume(ids["a"])
        assert "a is finished; there is nothing to go on with" in wait_for(session, RequestFailed).message
    assert [name for name in Puppet.began if name != "c"] == ["a", "b", "b", "a", "d"]


def test_that_a_stop_that_comes_while_a_run_is_being_paused_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Puppet.wait["a"] = threading.Event()
    with open_session(tmp_path) as session:

        def interrupted(puppet: Puppet) -> None:
            session.stop(puppet.info.id)
            raise Interrupted("pause")

        monkeypatch.setattr(Puppet, "run", interrupted)
        ids = submit(session, "a")
        wait_for(session, RunChanged, state="stopped")
    assert Workspace(tmp_path).folder(ids["a"]).info().state == "stopped"


def test_that_settings_that_cannot_be_used_are_named_before_anything_is_made(tmp_path: Path) -> None:
    study = chain()
    (run,) = study.runs
    run = run.model_copy(update={"attack": run.attack.model_copy(update={"steps": 0}), "target": None})
    with open_session(tmp_path) as session, pytest.raises(ConfigError) as refused:
        session.submit(study.model_copy(update={"runs": [run]}))
    assert [str(problem) for problem in refused.value.problems] == [
        "runs.chain.attack.steps: input should be greater than or equal to 1, got 0"
    ]
    assert Workspace(tmp_path).runs() == []


# over a restart ------------------------------------------------------------------------------------------
def killed_window(workspace: Path) -> dict[str, str]:
    """What a window leaves that is killed while it carries out the first of three runs; ids by name."""
    Puppet.wait["a"] = threading.Event()
    session = api.Session(workspace)
    session.open(take_up=True)
    ids = submit(session, "a", "b from a", "c")
    wait_for(session, RunChanged, state="running")
    session.move([ids["c"]], ids["b"])
    until = time.monotonic() + 30
    while Workspace(workspace).queue() != tuple(ids[name] for name in "acb"):
        assert time.monotonic() < until
        time.sleep(0.01)
    left = workspace.with_name("left")
    shutil.copytree(workspace, left)
    assert session.close()
    (left / "workspace.lock").unlink()
    for status in left.glob("runs/*/status.json"):
        gone = json.loads(status.read_text())
        gone["process"]["start"] = "1"
        status.write_text(json.dumps(gone))
    shutil.rmtree(workspace)
    left.rename(workspace)
    del Puppet.wait["a"]
    Puppet.began.clear()
    return ids


def test_that_the_queue_of_a_killed_window_is_taken_up_and_held_until_it_is_to_go_on(tmp_path: Path) -> None:
    ids = killed_window(tmp_path / "w")
    session = api.Session(tmp_path / "w")
    session.open(take_up=True)
    listed = wait_for(session, RunsListed)
    assert {run.name: run.state for run in listed.runs} == {
        "a": "interrupted",
        "b": "stopped",
        "c": "stopped",
    }
    waiting = [wait_for(session, RunChanged).run for _ in range(2)]
    assert [(run.name, run.state, run.reason) for run in waiting] == [
        ("c", "created", ""), ("b", "created", "waits for a"),
    ]  # fmt: skip
    assert wait_for(session, QueueChanged) == QueueChanged(tuple(ids[name] for name in "acb"), paused=True)
    assert wait_for(session, QueueEmpty).paused
    assert Puppet.began == []
    session.resume()
    assert {run.state for run in idle(session).values()} == {"finished"}
    assert Puppet.began == ["a", "c", "b"]
    assert session.close()
    assert Workspace(tmp_path / "w").queue() == ()


def test_that_what_is_asked_for_goes_before_a_held_queue_which_follows(tmp_path: Path) -> None:
    ids = killed_window(tmp_path / "w")
    session = api.Session(tmp_path / "w")
    session.open(take_up=True)
    wait_for(session, QueueEmpty)
    Puppet.wait["new"] = threading.Event()
    submit(session, "new", f"own from {ids['a']}", "newer")
    wait_for(session, RunChanged, state="running", name="new")
    # A queue that is not held takes at its end what comes.
    submit(session, "last")
    Puppet.wait["new"].set()
    idle(session)
    assert Puppet.began == ["new", "a", "own", "newer", "c", "b", "last"]
    assert session.close()


def test_that_a_session_that_does_not_take_the_queue_up_neither_runs_nor_loses_it(tmp_path: Path) -> None:
    ids = killed_window(tmp_path / "w")
    with open_session(tmp_path / "w") as session:
        assert wait_for(session, QueueChanged) == QueueChanged(())
        assert session.kept_queue() == tuple(ids[name] for name in "acb")
        submit(session, "own")
        idle(session)
        session.resume(ids["c"])
        idle(session)
    assert Puppet.began == ["own", "c"]
    assert Workspace(tmp_path / "w").queue() == tuple(ids[name] for name in "acb")
    session = api.Session(tmp_path / "w")
    session.open(take_up=True)
    assert wait_for(session, QueueChanged).order == (ids["a"], ids["b"]), (
        "what has finished meanwhile is left out"
    )
    assert session.close()


def test_that_a_damaged_queue_is_told_and_counts_as_empty(tmp_path: Path) -> None:
    (tmp_path / "queue.json").write_text("{")
    session = api.Session(tmp_path)
    session.open(take_up=True)
    failed = wait_for(session, RequestFailed)
    assert failed.request == api.TAKING_UP
    assert "queue.json holds no queue" in failed.message
    assert wait_for(session, QueueChanged) == QueueChanged(())
    submit(session, "a")
    idle(session)
    assert session.close()
    assert Workspace(tmp_path).queue() == ()


def test_that_a_session_closed_while_it_works_leaves_its_run_first_in_the_queue(tmp_path: Path) -> None:
    Puppet.wait["a"] = threading.Event()
    session = api.Session(tmp_path)
    session.open(take_up=True)
    ids = submit(session, "a", "b")
    wait_for(session, RunChanged, state="running")
    assert session.close()
    assert Workspace(tmp_path).queue() == (ids["a"], ids["b"])
    second = api.Session(tmp_path)
    second.open(take_up=True)
    assert wait_for(second, QueueChanged) == QueueChanged((ids["a"], ids["b"]), paused=True)
    assert {run.name: run.state for run in Workspace(tmp_path).runs()} == {"a": "paused", "b": "created"}
    second.stop_all()
    assert wait_for(second, RunChanged, state="stopped").run.reason == "taken out of the queue"
    assert second.close()
    assert {run.state for run in Workspace(tmp_path).runs()} == {"stopped"}
    assert Workspace(tmp_path).queue() == ()


# what goes wrong -----------------------------------------------------------------------------------------
def test_that_a_run_whose_folder_is_gone_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    Puppet.wait = {"a": threading.Event(), "c": threading.Event()}
    with open_session(tmp_path) as session:
        ids = submit(session, "a", "b", "c", "d")
        wait_for(session, RunChanged, state="running")
        shutil.rmtree(tmp_path / "runs" / ids["b"])
        Puppet.wait["a"].set()
        assert wait_for(session, RunChanged, state="failed").run.reason == "its folder is gone"
        assert wait_for(session, RequestFailed).request == "carry out b"
        wait_for(session, RunChanged, state="running", name="c")
        shutil.rmtree(tmp_path / "runs" / ids["c"])
        Puppet.wait["c"].set()
        assert wait_for(session, RunChanged, name="d", state="finished")
        session.stop(ids["b"])
        session.resume(ids["b"])
        assert "there is no run" in wait_for(session, RequestFailed).message
    assert Puppet.began == ["a", "c", "d"]


def test_that_a_run_whose_settings_are_gone_fails_and_the_others_go_on(tmp_path: Path) -> None:
    Puppet.wait["a"] = threading.Event()
    with open_session(tmp_path) as session:
        ids = submit(session, "a", "b", "c from b", "d")
        wait_for(session, RunChanged, state="running")
        (tmp_path / "runs" / ids["b"] / "config.toml").unlink()
        Puppet.wait["a"].set()
        failed = wait_for(session, RunChanged, state="failed").run
        assert (failed.name, failed.id) == ("b", ids["b"])
        assert "config.toml cannot be read" in failed.reason
        assert idle(session)["d"].state == "finished"


def test_that_a_command_ends_when_a_queued_run_vanishes(tmp_path: Path) -> None:
    source = """
import shutil, sys
from pathlib import Path
import engine.runner
from tests.engine.test_session_queue import Puppet, study
from engine.config import dump_study
from engine.cli.main import main
folder = Path(sys.argv[1])
class Vanishing(Puppet):
    wait, fail, began = {}, {}, []
    def run(self):
        super().run()
        for path in folder.glob("w/runs/b-*"):
            shutil.rmtree(path)
engine.runner.Runner = Vanishing
(folder / "study.toml").write_text(dump_study(study("a", "b", "c")))
code = main(["run", str(folder / "study.toml"), "--workspace", str(folder / "w")])
sys.exit(10 + code + main(["runs", "--workspace", str(folder / "w")]))
"""
    code, out = run_python(source, tmp_path)
    assert code == 11, out
    assert "Could not carry out b" in out
    assert "b: failed: its folder is gone" in out


def test_that_a_full_disk_holds_the_queue_with_the_run_in_front(tmp_path: Path) -> None:
    Puppet.fail["a"] = StoreError("no space")
    with open_session(tmp_path) as session:
        ids = submit(session, "a", "b")
        wait_for(session, RunChanged, state="paused")
        assert wait_for(session, QueueChanged) == QueueChanged((ids["a"], ids["b"]), paused=True)
        Puppet.fail.clear()
        session.resume()
        idle(session)
    assert Puppet.began == ["a", "a", "b"]


# repeating -----------------------------------------------------------------------------------------------
def test_that_repeated_runs_have_the_same_settings_and_start_from_each_other(tmp_path: Path) -> None:
    with open_session(tmp_path) as session:
        ids = submit(session, "a", "b from a")
        first = idle(session)
        again = session.repeat([ids["a"], ids["b"]], half_batch=True)
        (alone,) = session.repeat([ids["b"]])
        assert [run.state for run in (*again, alone)] == ["created"] * 3
        ended = follow(session, [run.id for run in (*again, alone)])
    assert {run.state for run in ended.values()} == {"finished"}
    assert (alone.config, alone.parent, alone.study) == (first["b"].config, ids["a"], "Queue")
    assert [run.name for run in again] == ["a, batch/2", "b, batch/2"]
    assert (again[1].parent, again[1].config.start_from) == (again[0].id, "a, batch/2")
    sizes = [run.config.finetuning.batch_size for run in (first["b"], again[1])]
    assert sizes == [20, 10]


def test_that_halving_goes_on_down_to_two_images_and_says_how_often() -> None:
    run = chain().runs[0].model_copy(update={"name": "x" * 80})
    names, sizes = [], []
    for _ in range(6):
        run = run.with_half_batch()
        names.append(run.name)
        sizes.append((run.pretraining.batch_size, run.finetuning.batch_size, run.attack.batch_size))
    assert [name[-9:] for name in names] == [f"x, batch/{n}"[-9:] for n in (2, 4, 8, 16, 32, 64)]
    assert all(len(name) <= 80 for name in names)
    assert sizes == [(13, 10, 10), (6, 5, 5), (3, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2)]


# labels --------------------------------------------------------------------------------------------------
def test_that_a_label_is_told_kept_and_carried_by_all_that_is_told_of_a_run(tmp_path: Path) -> None:
    Puppet.wait["a"] = threading.Event()
    label = RunLabel(
        "The  best", ("new", "new", " long tag"), star=True, notes="Seen.\n\nTwice.", archived=True
    )
    with open_session(tmp_path) as session:
        ids = submit(session, "a")
        settings = (tmp_path / "runs" / ids["a"] / "config.toml").read_bytes()
        wait_for(session, RunChanged, state="running")
        session.label(ids["a"], label)
        told = wait_for(session, RunChanged).run
        assert told.label == RunLabel(
            "The best", ("long tag", "new"), star=True, notes=label.notes, archived=True
        )
        assert (told.title, told.name, told.state) == ("The best", "a", "running")
        Puppet.wait["a"].set()
        assert idle(session)["a"].label == told.label
        session.label(ids["a"], replace(label, title="x" * 100, tags=("y" * 41,)))
        failed = wait_for(session, RequestFailed)
        assert failed.request == api.LABELLING
        assert [problem.place.partition(".")[0] for problem in failed.problems] == ["title", "tags"]
    (listed,) = Workspace(tmp_path).runs()
    assert listed.label == told.label
    assert (tmp_path / "runs" / ids["a"] / "config.toml").read_bytes() == settings


# the bin -------------------------------------------------------------------------------------------------
def test_that_runs_go_to_the_bin_and_back_and_only_where_none_is_missed(tmp_path: Path) -> None:
    with open_session(tmp_path) as session:
        ids = submit(session, "a", "b from a", "c")
        idle(session)
        session.bin([ids["a"], ids["c"]])
        assert [run.name for run in wait_for(session, RunsBinned).runs] == ["c"]
        refused = wait_for(session, RequestFailed)
        assert (refused.request, refused.message) == (api.BINNING, "a has to stay: b starts from it")
        session.bin([ids["a"], ids["b"]])
        moved = wait_for(session, RunsBinned).runs
        assert {run.name for run in moved} == {"a", "b"}
        assert all(Path(run.path).parent == tmp_path / "bin" for run in moved)
        session.resume(ids["b"])
        assert wait_for(session, RequestFailed).request == api.RESUMING
    with open_session(tmp_path) as session:
        listed = wait_for(session, RunsListed)
        assert listed.runs == ()
        assert {run.name for run in listed.binned} == {"a", "b", "c"}
        session.restore([ids["b"]])
        assert [wait_for(session, RunChanged).run.name for _ in range(2)] == ["a", "b"]
        session.restore([ids["b"]])
        assert wait_for(session, RequestFailed).request == api.RESTORING
        session.open_run("nothing")
        shutil.rmtree(tmp_path / "bin" / ids["c"] / "weights")
        session.empty_bin()
        wait_for(session, BinEmptied)
    assert {run.name for run in Workspace(tmp_path).runs()} == {"a", "b"}
    assert list((tmp_path / "bin").iterdir()) == []


def test_that_what_runs_or_waits_cannot_be_binned_but_can_be_stopped_and_discarded(tmp_path: Path) -> None:
    Puppet.wait["a"] = threading.Event()
    with open_session(tmp_path) as session:
        ids = submit(session, "a", "b")
        wait_for(session, RunChanged, state="running")
        session.bin(list(ids.values()))
        assert wait_for(session, RequestFailed).message.count("has not ended; stop it first") == 2
        session.stop(ids["b"], discard=True)
        assert wait_for(session, RunChanged, state="stopped").run.name == "b"
        assert [run.name for run in wait_for(session, RunsBinned).runs] == ["b"]
        session.stop(ids["a"], discard=True)
        assert wait_for(session, RunChanged, state="stopped").run.name == "a"
        assert [run.name for run in wait_for(session, RunsBinned).runs] == ["a"]
    assert Workspace(tmp_path).runs() == []


def test_that_a_session_that_may_only_read_changes_nothing(tmp_path: Path) -> None:
    with open_session(tmp_path) as session:
        ids = submit(session, "a")
        idle(session)
        before = sorted(path for path in tmp_path.rglob("*"))
        second = api.Session(tmp_path)
        second.open(take_up=True)
        second.label(ids["a"], RunLabel("new"))
        second.bin([ids["a"]])
        second.restore([ids["a"]])
        second.empty_bin()
        second.queue_again([ids["a"]])
        requests = {wait_for(second, RequestFailed).request for _ in range(5)}
        assert second.close()
        assert sorted(path for path in tmp_path.rglob("*")) == before
    assert requests == {api.LABELLING, api.BINNING, api.RESTORING, api.EMPTYING, api.RESUMING}


# threads -------------------------------------------------------------------------------------------------
def test_that_nothing_is_lost_or_stuck_while_many_threads_ask_for_everything(tmp_path: Path) -> None:
    session = api.Session(tmp_path)
    session.open(take_up=True)
    names = ["a", "b from a", "c", "d from c", "e", "f from e", "g", "h from b"]
    ids = list(submit(session, *names).values())

    def ask(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(60):
            chosen = draw.sample(ids, draw.randint(1, 3))
            deed = draw.choice(
                ["pause", "resume", "again", "move", "stop", "label", "bin", "restore", "open"]
            )
            if deed == "pause":
                session.pause()
            elif deed == "resume":
                session.resume()
            elif deed == "again":
                session.queue_again(chosen)
            elif deed == "move":
                session.move(chosen, draw.choice([*ids, None]))
            elif deed == "stop":
                session.stop(chosen[0], discard=draw.random() < 0.3)
            elif deed == "label":
                session.label(chosen[0], RunLabel(f"title {seed}"))
            elif deed == "bin":
                session.bin(chosen)
            elif deed == "restore":
                session.restore(chosen)
            else:
                session.open_run(chosen[0])

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    session.resume()
    assert session.close(60)
    left = list(iter_events(session))
    order = [event for event in left if isinstance(event, QueueChanged)][-1].order
    workspace = Workspace(tmp_path)
    assert workspace.queue() == order, "what is kept is what was told last"
    assert sorted([run.id for run in workspace.runs()] + [run.id for run in workspace.binned()]) == sorted(
        ids
    )
    unexpected = [event for event in left if isinstance(event, RequestFailed) and event.details]
    assert not [event.message for event in unexpected]


def iter_events(session: api.Session) -> Iterator[EngineEvent]:
    while not session.events.empty():
        yield session.events.get()
