"""The ledger of an evaluation: what every attempt on every image gave, and what follows from it.

Figures are pointwise worst cases: an image is robust at a point if it was classified correctly and no attempt of
that point has broken it. Knows neither torch nor files.

Shapes: M images, T attempts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from engine.errors import StoreError
from engine.events import (
    AttackPoint,
    AttackProgress,
    Columns,
    MemberResult,
    StageLayout,
    SweepResult,
    TableName,
)
from engine.statistics import wilson


class Ledger:
    """All attempts so far, in the order in which they were made.

    Args:
        points: the headline first, then the sweep.
        clean: the table of clean images: columns sample, label, prediction, correct.
    """

    def __init__(self, points: Sequence[AttackPoint], clean: Columns) -> None:
        self.points = tuple(points)
        empty = {name: np.empty(0, np.int64) for name in ("sample", "label", "prediction", "correct")}
        self.clean = empty | {name: np.asarray(values) for name, values in clean.items()}
        self.samples = len(self.clean["sample"])
        self._order = np.argsort(self.clean["sample"], kind="stable")
        self._sorted = self.clean["sample"][self._order]
        correct = self.clean["correct"].astype(bool)
        self._alive = np.repeat(correct[None], len(self.points), axis=0)
        self._alive_at_any_step = self._alive.copy()
        self._attacked: dict[tuple[int, int], int] = {}
        self._after: dict[tuple[int, int], tuple[int, int]] = {}
        #: Row of the headline's attempt that broke each image, else of the one that came closest; -1 for none.
        self.deciding = np.full(self.samples, -1, np.int64)
        self.margin = np.full(self.samples, np.nan, np.float32)
        self.restart = np.full(self.samples, -1, np.int64)
        self.prediction = self.clean["prediction"].copy()
        self.rows = 0

    def alive(self, point: int) -> np.ndarray:
        """[M] whether each image, in the order of attack, is robust so far."""
        alive: np.ndarray = self._alive[point].copy()
        return alive

    def places(self, samples: np.ndarray) -> np.ndarray:
        """Where images stand in the order of attack, by their numbers.

        Raises:
            StoreError: one of them is no image of this evaluation.
        """
        found = np.searchsorted(self._sorted, samples).clip(max=max(self.samples - 1, 0))
        if not np.array_equal(self._sorted[found], samples):
            raise StoreError("the ledger speaks of images that the evaluation does not have; begin a new run")
        places: np.ndarray = self._order[found]
        return places

    def add(self, rows: Columns) -> None:
        """Take over attempts of one single attack on different images."""
        places = self.places(rows["sample"])
        if not len(places):
            return
        point, member = int(rows["point"][0]), int(rows["member"][0])
        broken, on_the_way = rows["broken"].astype(bool), rows["broken_on_the_way"].astype(bool)
        key = (point, member)
        self._attacked.setdefault(key, int(self._alive[point].sum()))
        if point == 0:
            margins = np.asarray(rows["margin"], np.float32)
            closer = broken | ~(margins >= self.margin[places])
            chosen = places[closer]
            self.deciding[chosen] = np.asarray(rows["row"])[closer]
            self.margin[chosen] = margins[closer]
            self.prediction[chosen] = np.asarray(rows["prediction"])[closer]
            self.restart[places[broken]] = np.asarray(rows["restart"])[broken]
        self._alive[point, places[broken]] = False
        self._alive_at_any_step[point, places[on_the_way]] = False
        self._after[key] = (int(self._alive[point].sum()), int(self._alive_at_any_step[point].sum()))
        self.rows += len(places)

    def robust(self, point: int = 0) -> int:
        """How many images nothing has broken at a point."""
        return int(self._alive[point].sum())

    def robust_at_any_step(self, point: int = 0) -> int:
        """The same if every iterate counts."""
        return int(self._alive_at_any_step[point].sum())

    def members(
        self, seconds: Mapping[tuple[int, int], float], *, any_step: bool
    ) -> tuple[MemberResult, ...]:
        """What each single attack of the headline left, of those begun.

        Args:
            seconds: computing time by point and member.
            any_step: whether the figure at any step is a figure of its own.
        """
        found = []
        before = int(self.clean["correct"].sum())
        before_any = before
        for number, title in enumerate(self.points[0].members):
            key = (0, number)
            # An attack that found nothing left to attack leaves no row.
            if key not in self._after and not any(later > key for later in self._after) and before:
                break
            before, before_any = self._after.get(key, (before, before_any))
            found.append(
                MemberResult(
                    title,
                    self._attacked.get(key, 0),
                    wilson(before, self.samples),
                    wilson(before_any, self.samples) if any_step else None,
                    seconds.get(key, 0.0),
                )
            )
        return tuple(found)

    def sweep(self) -> tuple[SweepResult, ...]:
        """Robust accuracy at every point, the headline among them, by radius and steps; empty without a sweep."""
        if len(self.points) < 2:
            return ()
        found = [
            SweepResult(point.epsilon, point.steps, wilson(self.robust(number), self.samples))
            for number, point in enumerate(self.points)
        ]
        return tuple(sorted(found, key=lambda result: (result.epsilon, result.steps)))

    def verdicts(self) -> dict[str, np.ndarray]:
        """The table of samples: the headline's verdict on every image, by its number."""
        order = self._order
        alive = self._alive[0]
        columns = {
            "sample": self.clean["sample"],
            "label": self.clean["label"],
            "clean_prediction": self.clean["prediction"],
            "adversarial_prediction": self.prediction,
            "clean_correct": self.clean["correct"].astype(np.uint8),
            "robust": alive.astype(np.uint8),
            "restart": self.restart,
            "attempt": self.deciding,
            "margin": self.margin,
        }
        return {name: values[order] for name, values in columns.items()}


def progress_of(
    run_id: str, layout: StageLayout | None, tables: Mapping[TableName, Columns]
) -> AttackProgress | None:
    """How far an evaluation had come, from its tables; None before the clean images were all looked at."""
    clean, attempts = tables.get("clean", {}), tables.get("attempts", {})
    if layout is None or not layout.points or not 0 < layout.samples <= len(clean.get("sample", ())):
        return None
    points = layout.points
    ledger = Ledger(points, clean)
    for rows in split(attempts):
        ledger.add(rows)
    begun = ledger.members({}, any_step=False)
    point, member = (int(attempts[name][-1]) if ledger.rows else 0 for name in ("point", "member"))
    return AttackProgress(
        run_id,
        done=0,
        total=0,
        clean_accuracy=float(ledger.clean["correct"].mean()),
        robust_accuracy=ledger.robust() / ledger.samples,
        title=points[point].members[member] if ledger.rows else "",
        number=sum(len(earlier.members) for earlier in points[:point]) + member + 1 if ledger.rows else 0,
        count=sum(len(each.members) for each in points),
        point=point,
        members=begun if point else begun[:member],
    )


def split(attempts: Columns) -> list[dict[str, np.ndarray]]:
    """Attempts pass by pass: rows of one point, member, restart and run of images."""
    rows = len(attempts.get("row", ()))
    if not rows:
        return []
    keys = np.stack([np.asarray(attempts[name]) for name in ("point", "member", "restart")])
    cuts = (np.diff(keys, axis=1) != 0).any(axis=0).nonzero()[0] + 1
    bounds = [0, *cuts.tolist(), rows]
    return [
        {name: np.asarray(values)[start:stop] for name, values in attempts.items()}
        for start, stop in zip(bounds, bounds[1:], strict=False)
    ]
