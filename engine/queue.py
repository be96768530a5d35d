"""The queue of runs: in which order they go, which of them wait for others, and which one is under way.

Knows neither files nor threads; whoever shares a queue between threads holds a lock around every call.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from engine.errors import QueueError


@dataclass(frozen=True, slots=True)
class QueuedRun:
    """A run that waits.

    Attributes:
        id: the run's id.
        title: what messages call it.
        needs: title by id of the runs without whose networks it cannot begin.
    """

    id: str
    title: str
    needs: Mapping[str, str] = field(default_factory=dict)


class RunQueue:
    """Runs in the order in which they go, none of them before a waiting one that it needs.

    Attributes:
        held: whether no further run is to begin.
    """

    def __init__(self) -> None:
        self.held = False
        self._waiting: dict[str, QueuedRun] = {}
        self._order: list[str] = []
        self._withheld: set[str] = set()
        self._running: QueuedRun | None = None

    @property
    def order(self) -> tuple[str, ...]:
        """Ids of the waiting runs, the running one left out."""
        return tuple(self._order)

    @property
    def running(self) -> str | None:
        """Id of the run under way."""
        return self._running.id if self._running is not None else None

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Ids of the running run and those that wait: what is left to do."""
        return (self._running.id, *self._order) if self._running is not None else self.order

    @property
    def ready(self) -> bool:
        """Whether a run could begin now: the queue is not held, and one of those that wait needs no other."""
        return not self.held and any(map(self._can_go, self._order))

    def __contains__(self, run_id: object) -> bool:
        return run_id in self._waiting or run_id == self.running

    def waits_for(self, run_id: str) -> tuple[str, ...]:
        """Titles of the runs that a waiting run still needs."""
        return tuple(self._waiting[run_id].needs.values())

    def add(self, runs: Iterable[QueuedRun], *, first: bool = False) -> None:
        """Queue runs in this order at the end; with `first` in front, those that wait already too.

        The running run stays as it is.
        """
        wanted = [run for run in runs if run.id != self.running and (first or run.id not in self._waiting)]
        for run in wanted:
            if run.id not in self._waiting:
                self._order.append(run.id)
            self._waiting[run.id] = run
        chosen = [run.id for run in wanted]
        self._place(chosen, ahead=set() if first else set(self._order).difference(chosen))

    def move(self, run_ids: Sequence[str], before: str | None) -> None:
        """Put waiting runs before another, at the end if None; what they need, or what needs them, moves along.

        Raises:
            QueueError: one of them does not wait, or it would stand before a run that it needs.
        """
        for run_id in (*run_ids, *([before] if before is not None else ())):
            if run_id not in self._waiting:
                raise QueueError(f"{run_id} does not wait in the queue; only waiting runs can be moved")
            if run_id == before and run_id in run_ids:
                raise QueueError(f"{self._waiting[run_id].title} cannot be moved before itself")
        chosen = [run_id for run_id in self._order if run_id in run_ids]
        others = [run_id for run_id in self._order if run_id not in run_ids]
        self._place(
            chosen, ahead=set(others[: others.index(before)] if before is not None else others), before=before
        )

    def remove(self, run_id: str) -> bool:
        """Take a waiting run out; False if it does not wait."""
        if run_id not in self._waiting:
            return False
        self._order.remove(run_id)
        del self._waiting[run_id]
        return True

    def begin(self) -> str | None:
        """Make the first run that can go the running one; None if the queue is held or none can."""
        if not self.ready:
            return None
        run_id = next(filter(self._can_go, self._order))
        self._running = self._waiting[run_id]
        self.remove(run_id)
        return run_id

    def withhold(self, run_ids: Iterable[str]) -> None:
        """Keep runs from beginning until `release`, whether they wait now or are queued meanwhile."""
        self._withheld.update(run_ids)

    def release(self, run_ids: Iterable[str]) -> None:
        """Take back `withhold`."""
        self._withheld.difference_update(run_ids)

    def end(self, *, again: bool = False) -> None:
        """Let the running run go; with `again` it waits in front."""
        run, self._running = self._running, None
        if again and run is not None:
            self.add([run], first=True)

    def trained(self, run_id: str) -> None:
        """Nothing waits for this run any longer."""
        for run in list(self._waiting.values()):
            if run_id in run.needs:
                needs = {other: title for other, title in run.needs.items() if other != run_id}
                self._waiting[run.id] = QueuedRun(run.id, run.title, needs)

    def _can_go(self, run_id: str) -> bool:
        return not self._waiting[run_id].needs and run_id not in self._withheld

    def _place(self, chosen: Sequence[str], *, ahead: Collection[str], before: str | None = None) -> None:
        """Put runs behind those of `ahead` and before all others, along with what must not stand on the wrong side."""
        moved = set(chosen)
        while along := self._along(moved, ahead):
            moved |= along
        if before is not None and before in moved:
            title = self._waiting[before].title
            raise QueueError(f"{title} has to go first: what is to be moved before it needs its network")
        sequence = dict.fromkeys([*chosen, *(run_id for run_id in self._order if run_id in moved)])
        front = [run_id for run_id in self._order if run_id in ahead and run_id not in moved]
        back = [run_id for run_id in self._order if run_id not in ahead and run_id not in moved]
        self._order = [*front, *self._sorted(sequence), *back]

    def _along(self, moved: Collection[str], ahead: Collection[str]) -> set[str]:
        """Those ahead that need a moved run, and those behind that a moved run needs."""
        needed = {other for run_id in moved for other in self._waiting[run_id].needs}
        return {
            run_id
            for run_id in self._order
            if run_id not in moved
            and (
                not self._waiting[run_id].needs.keys().isdisjoint(moved)
                if run_id in ahead
                else run_id in needed
            )
        }

    def _sorted(self, run_ids: Collection[str]) -> list[str]:
        """The same runs in this order, but what another needs goes before it."""
        ordered: dict[str, None] = {}
        for run_id in run_ids:
            path = [run_id]
            while path:
                needs = self._waiting[path[-1]].needs
                # Runs that need one another in a circle, as damaged files may say, are on the path already.
                first = next(
                    (id for id in needs if id in run_ids and id not in ordered and id not in path), None
                )
                if first is None:
                    ordered[path.pop()] = None
                else:
                    path.append(first)
        return list(ordered)
