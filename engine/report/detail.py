"""An evaluation in detail: its single attacks, its sweep, and the reasons to doubt its figures.

Accuracies are shares 0..1, over the runs of one cell as everywhere else.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.events import AttackResult, AttackWarning, Interval, RunInfo
from engine.statistics import Estimate, estimate_share


@dataclass(frozen=True, slots=True)
class Member:
    """What one single attack left, over the runs of a cell; counts and seconds are means.

    `at_any_step` is None where the attack is not judged at its last step.
    """

    title: str
    attacked: float
    robust: Estimate
    at_any_step: Estimate | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Point:
    """Robust accuracy at one radius (input units) and number of steps; 0 steps where the attack counts none."""

    epsilon: float
    steps: int
    robust: Estimate


@dataclass(frozen=True, slots=True)
class Doubt:
    """One kind of warning with what it rests on: pairs of run and evidence."""

    code: str
    title: str
    advice: str
    evidence: tuple[tuple[RunInfo, str], ...]


@dataclass(frozen=True, slots=True)
class Detail:
    """What is worth telling beside one robust accuracy.

    Attributes:
        members: the single attacks in order.
        by_epsilon, by_steps: the sweep, each with the headline in its place; empty if that was not varied.
        headline: the point of the headline.
        at_any_step: the headline if every iterate counts; None where the attack is not judged at its last step.
        clean: accuracy without an attack: what the sweep has at radius 0.
        doubts: warnings, alike ones of several runs together.
        notes: what had to be changed.
    """

    members: tuple[Member, ...]
    by_epsilon: tuple[Point, ...]
    by_steps: tuple[Point, ...]
    headline: Point
    at_any_step: Estimate | None
    clean: Estimate
    doubts: tuple[Doubt, ...]
    notes: tuple[str, ...]

    @property
    def worth_telling(self) -> bool:
        """Whether there is more than a single attack's one figure."""
        more = self.by_epsilon or self.by_steps or self.doubts or self.notes
        return len(self.members) > 1 or self.steps_differ or bool(more)

    @property
    def steps_differ(self) -> bool:
        """Whether the figure at any step is another than the headline."""
        return self.at_any_step is not None and self.at_any_step.mean != self.headline.robust.mean


def detail_of(runs: Sequence[RunInfo]) -> Detail | None:
    """Gather the runs of one cell; None if none of them has a result."""
    found = [(run, run.result) for run in runs if run.result is not None]
    if not found:
        return None
    results = [result for _, result in found]
    attack = found[0][0].config.attack
    headline = Point(
        attack.epsilon if attack else math.nan,
        attack.steps if attack and attack.applies("steps") else 0,
        estimate_share([result.robust_accuracy for result in results]),
    )
    points = {(headline.epsilon, headline.steps): headline} | {
        place: Point(*place, estimate_share(shares)) for place, shares in _swept(results).items()
    }
    ordered = [points[place] for place in sorted(points)]
    by_epsilon = tuple(point for point in ordered if point.steps == headline.steps)
    by_steps = tuple(point for point in ordered if point.epsilon == headline.epsilon)
    return Detail(
        members=_members(results),
        by_epsilon=by_epsilon if len(by_epsilon) > 1 else (),
        by_steps=by_steps if len(by_steps) > 1 else (),
        headline=headline,
        at_any_step=_shared(result.robust_at_any_step for result in results),
        clean=estimate_share([result.clean_accuracy for result in results]),
        doubts=doubts_of(runs),
        notes=tuple(dict.fromkeys(note for result in results for note in result.notes)),
    )


def doubts_of(runs: Iterable[RunInfo]) -> tuple[Doubt, ...]:
    """The warnings of some runs, each kind once, in the order in which they come."""
    groups: dict[str, list[tuple[RunInfo, AttackWarning]]] = {}
    for run in runs:
        for warning in run.result.warnings if run.result else ():
            groups.setdefault(warning.code, []).append((run, warning))
    return tuple(
        Doubt(code, group[0][1].title, group[0][1].advice, tuple((run, item.evidence) for run, item in group))
        for code, group in groups.items()
    )


def _swept(results: Iterable[AttackResult]) -> dict[tuple[float, int], list[Interval]]:
    found: dict[tuple[float, int], list[Interval]] = {}
    for result in results:
        for item in result.sweep:
            found.setdefault((item.epsilon, item.steps), []).append(item.robust_accuracy)
    return found


def _shared(intervals: Iterable[Interval | None]) -> Estimate | None:
    """The mean of a share that every run has; None if one has it not."""
    known = list(intervals)
    told = [interval for interval in known if interval is not None]
    return estimate_share(told) if told and len(told) == len(known) else None


def _members(results: Sequence[AttackResult]) -> tuple[Member, ...]:
    """The single attacks that all runs have in common: means over others would not be of the same runs."""
    found = []
    for number, first in enumerate(results[0].members):
        alike = [
            result.members[number]
            for result in results
            if len(result.members) > number and result.members[number].title == first.title
        ]
        if len(alike) < len(results):
            break
        found.append(
            Member(
                title=first.title,
                attacked=math.fsum(item.attacked for item in alike) / len(alike),
                robust=estimate_share([item.robust_accuracy for item in alike]),
                at_any_step=_shared(item.robust_at_any_step for item in alike),
                seconds=math.fsum(item.seconds for item in alike) / len(alike),
            )
        )
    return tuple(found)
