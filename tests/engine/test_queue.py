"""The queue of runs against a model of it that is too simple to be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.errors import DamagedFileError, QueueError
from engine.queue import QueuedRun, RunQueue
from engine.store.workspace import Workspace

RUNS = tuple(f"run-{number}" for number in range(8))


def queued(run_id: str, *needs: str) -> QueuedRun:
    return QueuedRun(run_id, run_id.upper(), {other: other.upper() for other in needs})


def queue_of(*runs: QueuedRun) -> RunQueue:
    queue = RunQueue()
    queue.add(runs)
    return queue


class QueueMachine(RuleBasedStateMachine):
    """Anything that a session does to a queue, in any order; runs only ever need runs of smaller numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = RunQueue()
        self.needs: dict[str, set[str]] = {}
        self.waiting: set[str] = set()
        self.running: str | None = None
        self.trained: set[str] = set()

    @initialize(needs=st.lists(st.sets(st.integers(0, 7), max_size=2), min_size=8, max_size=8))
    def some_runs(self, needs: list[set[int]]) -> None:
        self.needs = {
            run: {RUNS[other] for other in chosen if other < number}
            for number, (run, chosen) in enumerate(zip(RUNS, needs, strict=True))
        }

    @rule(runs=st.lists(st.sampled_from(RUNS), unique=True), first=st.booleans())
    def add(self, runs: list[str], first: bool) -> None:
        before = self.queue.order
        self.queue.add([queued(run, *self.needs[run] - self.trained) for run in runs], first=first)
        new = [run for run in runs if run != self.running and run not in before]
        self.waiting |= set(new)
        if not first and all(self.needs[run].isdisjoint(new) for run in before):
            assert self.queue.order[: len(before)] == before, "those at the end push nobody back"
            if all(self.needs[run].isdisjoint(new[place:]) for place, run in enumerate(new)):
                assert list(self.queue.order[len(before) :]) == new, "an order that can be is kept"

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def move(self, data: st.DataObject) -> None:
        order = self.queue.order
        chosen = data.draw(st.lists(st.sampled_from(order), min_size=1, unique=True))
        before = data.draw(st.sampled_from([*order, None]))
        try:
            self.queue.move(chosen, before)
        except QueueError:
            assert self.queue.order == order, "what is refused changes nothing"
            assert before is not None
            assert before in chosen or any(before in self.ancestors(run) for run in self.related(chosen))
            return
        after = self.queue.order
        place = len(after) if before is None else after.index(before)
        assert all(after.index(run) < place for run in chosen)
        assert [run for run in after if run in chosen] == [run for run in order if run in chosen]
        stayed = [run for run in order if run not in self.related(chosen)]
        assert [run for run in after if run in stayed] == stayed

    @rule(run=st.sampled_from(RUNS))
    def remove(self, run: str) -> None:
        assert self.queue.remove(run) == (run in self.waiting)
        self.waiting.discard(run)

    @precondition(lambda self: self.running is None)
    @rule()
    def begin(self) -> None:
        order = self.queue.order
        free = [run for run in order if self.needs[run] <= self.trained]
        run = self.queue.begin()
        assert run == (free[0] if free and not self.queue.held else None)
        if run is not None:
            self.running = run
            self.waiting.remove(run)

    @precondition(lambda self: self.running is not None)
    @rule(how=st.sampled_from(["finished", "failed", "paused"]))
    def end(self, how: str) -> None:
        run, self.running = self.running, None
        assert run is not None
        if how == "finished":
            self.queue.trained(run)
            self.trained.add(run)
        self.queue.end(again=how == "paused")
        if how == "paused":
            self.waiting.add(run)
            assert self.queue.order[0] == run

    @rule(held=st.booleans())
    def hold(self, held: bool) -> None:
        self.queue.held = held

    def ancestors(self, run: str) -> set[str]:
        direct = self.needs[run]
        return direct.union(*(self.ancestors(other) for other in direct))

    def related(self, runs: list[str]) -> set[str]:
        found = set(runs)
        while more := {
            run for run in self.waiting - found if self.needs[run] & found or any(run in self.needs[other] for other in found)
        }:  # fmt: skip
            found |= more
        return found

    @invariant()
    def no_run_is_lost_or_doubled(self) -> None:
        assert sorted(self.queue.order) == sorted(self.waiting)
        assert self.queue.running == self.running

    @invariant()
    def none_stands_before_what_it_needs(self) -> None:
        order = self.queue.order
        for place, run in enumerate(order):
            assert not self.needs[run] - self.trained & set(order[place:])
            assert set(self.queue.waits_for(run)) == {need.upper() for need in self.needs[run] - self.trained}

    @invariant()
    def it_is_ready_only_if_a_run_could_begin(self) -> None:
        free = [run for run in self.waiting if self.needs[run] <= self.trained]
        assert self.queue.ready == (bool(free) and not self.queue.held)


TestQueueMachine = QueueMachine.TestCase


def test_that_runs_go_in_the_order_of_their_study() -> None:
    queue = queue_of(queued("a"), queued("a-transfer", "a"), queued("b"), queued("b-transfer", "b"))
    assert queue.order == ("a", "a-transfer", "b", "b-transfer")
    queue.add([queued("d", "c"), queued("e"), queued("c")])
    assert queue.order[4:] == ("c", "d", "e")


def test_that_a_run_moved_to_the_front_takes_along_what_it_starts_from() -> None:
    queue = queue_of(queued("a"), queued("b"), queued("b-transfer", "b"), queued("c"))
    queue.move(["b-transfer"], "a")
    assert queue.order == ("b", "b-transfer", "a", "c")


def test_that_a_run_moved_to_the_end_takes_along_what_starts_from_it() -> None:
    queue = queue_of(queued("a"), queued("a-transfer", "a"), queued("b"))
    queue.move(["a"], None)
    assert queue.order == ("b", "a", "a-transfer")


def test_that_a_run_cannot_be_moved_before_the_one_that_it_starts_from() -> None:
    queue = queue_of(queued("a"), queued("a-transfer", "a"))
    with pytest.raises(QueueError, match="A has to go first"):
        queue.move(["a-transfer"], "a")
    with pytest.raises(QueueError, match="nowhere does not wait"):
        queue.move(["nowhere"], None)
    with pytest.raises(QueueError, match="before itself"):
        queue.move(["a"], "a")
    assert queue.order == ("a", "a-transfer")


def test_that_runs_that_need_each_other_in_a_circle_are_kept_and_never_begin() -> None:
    queue = queue_of(queued("a", "b"), queued("b", "a"), queued("c"))
    assert queue.begin() == "c"
    queue.end()
    assert queue.begin() is None
    assert sorted(queue.order) == ["a", "b"]


def test_that_a_withheld_run_begins_only_when_it_is_released() -> None:
    queue = queue_of(queued("a"), queued("b"))
    queue.withhold(["a"])
    assert queue.begin() == "b"
    queue.end()
    assert not queue.ready
    queue.release(["a"])
    assert queue.begin() == "a"


# on disk -------------------------------------------------------------------------------------------------
def test_that_a_queue_is_kept_in_its_order(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert workspace.queue() == ()
    workspace.lock()
    workspace.keep_queue(("b", "a"))
    workspace.unlock()
    assert Workspace(tmp_path).queue() == ("b", "a")


@pytest.mark.parametrize(
    "text", ["", "[]", '{"order": ["a"]}', '{"version": 2, "order": []}', '{"version": 1, "order": "ab"}',
             '{"version": 1, "order": [1]}', '{"version": 1, "ord', "\x00"],
)  # fmt: skip
def test_that_a_damaged_queue_is_refused_with_its_file(tmp_path: Path, text: str) -> None:
    workspace = Workspace(tmp_path)
    workspace.queue_path.write_text(text)
    with pytest.raises(DamagedFileError, match="queue.json"):
        workspace.queue()
