"""How the run list is put in order and grouped."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cartl_gui import words
from cartl_gui.models.run_columns import Column, ListedRun
from engine.events import RunInfo
from engine.lineage import ancestry

#: Runs of a study that were created within this many seconds of each other were queued at once.
TOGETHER = 60.0
#: What the list may be grouped by, with what the choice is called.
GROUPINGS: dict[str, str] = {
    "": "Not grouped",
    "study": "By study",
    "state": "By state",
    "method": "By method",
    "tag": "By tags",
    "cell": "Over seeds",
}


@dataclass(frozen=True, slots=True)
class Group:
    """A heading of the list; `key` is the same for all of its runs."""

    key: str
    title: str


@dataclass(frozen=True, slots=True)
class GroupFigures:
    """What the runs of a group have in common.

    Attributes:
        count: how many there are.
        states: how many are in which state, in words.
        measured: how many finished runs the means are over.
        clean, robust: mean accuracies, shares 0..1; not a number where nothing was measured.
    """

    count: int
    states: str
    measured: int
    clean: float
    robust: float


def batches(runs: Iterable[RunInfo]) -> dict[str, float]:
    """By id, when the first of the runs was created that were queued together with this one."""
    found: dict[str, float] = {}
    last: RunInfo | None = None
    for info in sorted(runs, key=lambda info: info.created):
        together = last is not None and last.study == info.study and info.created - last.created <= TOGETHER
        found[info.id] = found[last.id] if together and last is not None else info.created
        last = info
    return found


def by_itself(run: ListedRun) -> tuple[float, float, float]:
    """The order without a chosen column: what runs, what waits, then the newest study first as its runs are made."""
    if run.info.state == "running":
        return (0, 0, run.info.created)
    if run.place is not None:  # waiting, or paused
        return (1, run.place, 0)
    return (2, -run.batch, run.info.created)


def in_order(runs: Iterable[ListedRun], column: Column | None, *, descending: bool) -> list[ListedRun]:
    """Runs by a column, those that have nothing there last; by themselves where it is None."""
    ordered = sorted(runs, key=by_itself)
    if column is None:
        return ordered
    keys = [(column.key(run), run) for run in ordered]
    having = [item for item in keys if item[0] is not None]
    having.sort(key=lambda item: item[0], reverse=descending)
    return [run for _key, run in having] + [run for key, run in keys if key is None]


def groups_of(run: ListedRun, grouping: str, known: Mapping[str, RunInfo]) -> tuple[Group, ...]:
    """The headings under which a run stands: several only where it has several tags; none without a grouping."""
    return _GROUPS[grouping](run, known) if grouping else ()


def figures_of(runs: Sequence[ListedRun]) -> GroupFigures:
    """Count and means of a group."""
    states = Counter(words.STATE_WORDS[run.info.state] for run in runs)
    results = [
        run.info.result for run in runs if run.info.state == "finished" and run.info.result is not None
    ]
    clean = [result.clean_accuracy.value for result in results]
    robust = [result.robust_accuracy.value for result in results]
    told = ", ".join(f"{count:,} {word}" for word, count in states.most_common())
    return GroupFigures(len(runs), told, len(results), _mean(clean), _mean(robust))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _by_study(run: ListedRun, _known: Mapping[str, RunInfo]) -> tuple[Group]:
    return (Group(run.info.study, run.info.study or "No study"),)


def _by_state(run: ListedRun, _known: Mapping[str, RunInfo]) -> tuple[Group]:
    word = words.STATE_WORDS[run.info.state]
    return (Group(word, word.capitalize()),)


def _by_method(run: ListedRun, known: Mapping[str, RunInfo]) -> tuple[Group]:
    """The methods of all trainings of the network, the first one first."""
    names = [
        stage.short("method")
        for info in reversed(ancestry(run.info, known))
        for stage in (info.config.pretraining, info.config.finetuning)
        if stage is not None
    ]
    title = ", then ".join(name[:1].upper() + name[1:] for name in names) or "Attack only"
    return (Group(title, title),)


def _by_tags(run: ListedRun, _known: Mapping[str, RunInfo]) -> tuple[Group, ...]:
    return tuple(Group(tag, tag) for tag in run.info.label.tags) or (Group("", "No tags"),)


def _by_cell(run: ListedRun, _known: Mapping[str, RunInfo]) -> tuple[Group]:
    return (Group(f"{run.info.study}\n{run.info.name}", run.info.name),)


_GROUPS: dict[str, Callable[[ListedRun, Mapping[str, RunInfo]], tuple[Group, ...]]] = {
    "study": _by_study,
    "state": _by_state,
    "method": _by_method,
    "tag": _by_tags,
    "cell": _by_cell,
}
