"""Shares with their intervals, and figures over seeds: means with Student-t intervals, what is not dominated, and values along a trade-off.

Shares are 0..1. Nothing here knows of runs or files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from engine.events import Interval

CONFIDENCE = 0.95
#: Quantile of the normal distribution for a two-sided 95 % interval.
Z_95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds with its 95 % interval.

    Attributes:
        mean: the mean; NaN if there is nothing to average.
        low, high: the interval; NaN where none is known.
        count: number of seeds.
        over: what the interval speaks of: "seeds" (Student-t over at least two of them), "images" (Wilson interval
            of a single run, which says nothing about other seeds) or "nothing" (no interval).
    """

    mean: float
    low: float
    high: float
    count: int
    over: Literal["seeds", "images", "nothing"]


def wilson(successes: int, trials: int) -> Interval:
    """Share with its 95 % interval.

    Source: Wilson, JASA 1927 (score interval); it stays within 0..1 and holds for small counts.
    """
    if trials == 0:
        return Interval(math.nan, 0.0, 1.0)
    share = successes / trials
    spread = Z_95**2 / trials
    centre = (share + spread / 2) / (1 + spread)
    half = Z_95 * math.sqrt(share * (1 - share) / trials + spread / (4 * trials)) / (1 + spread)
    # Rounding must not put the share itself outside where it is 0 or 1.
    return Interval(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))


def student_t(degrees: int, confidence: float = CONFIDENCE) -> float:
    """The t with which a two-sided interval of this confidence is built: 12.706 for one degree and 95 %.

    Args:
        degrees: degrees of freedom, at least 1.
        confidence: within 0..1, both excluded.

    Raises:
        ValueError: there is no such interval.

    Source: Abramowitz & Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4: with t = sqrt(degrees) tan x
    the probability that |T| <= t is a finite sum in x, which is inverted by bisection.
    """
    if degrees < 1 or not 0 < confidence < 1:
        raise ValueError(f"expected degrees >= 1 and 0 < confidence < 1, got {degrees} and {confidence}")

    def probability(angle: float) -> float:
        squared = math.cos(angle) ** 2
        odd = degrees % 2
        term = total = math.cos(angle) if odd else 1.0
        if degrees == 1:
            total = 0.0
        for index in range(2 + odd, degrees - 1, 2):
            term *= squared * (index - 1) / index
            total += term
        total *= math.sin(angle)
        return (angle + total) * 2 / math.pi if odd else total

    low, high = 0.0, math.pi / 2
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if probability(middle) < confidence else (low, middle)
    return math.sqrt(degrees) * math.tan(low)


def estimate(values: Sequence[float]) -> Estimate:
    """Mean of independent values with its Student-t interval; of a single value there is none."""
    count = len(values)
    if count == 0:
        return Estimate(math.nan, math.nan, math.nan, 0, "nothing")
    mean = math.fsum(values) / count
    if count == 1:
        return Estimate(mean, math.nan, math.nan, 1, "nothing")
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = student_t(count - 1) * spread / math.sqrt(count)
    return Estimate(mean, mean - half, mean + half, count, "seeds")


def estimate_share(intervals: Sequence[Interval]) -> Estimate:
    """Mean of one share per seed: a Student-t interval cut to 0..1, or the single run's own Wilson interval."""
    if len(intervals) == 1:
        (only,) = intervals
        return Estimate(only.value, only.low, only.high, 1, "images")
    over_seeds = estimate([interval.value for interval in intervals])
    return Estimate(
        over_seeds.mean,
        max(0.0, over_seeds.low),
        min(1.0, over_seeds.high),
        over_seeds.count,
        over_seeds.over,
    )


def pareto(points: Sequence[tuple[float, float]]) -> list[bool]:
    """For each point, whether no other has at least as much of both coordinates and more of one."""
    return [
        not any(x >= own_x and y >= own_y and (x, y) != (own_x, own_y) for x, y in points)
        for own_x, own_y in points
    ]


def mean_along(points: Sequence[tuple[float, float]], low: float, high: float) -> float:
    """The mean y of a trade-off over all x from `low` to `high`, exactly; at x if both are x.

    The points that are not dominated are joined by straight lines, and the leftmost goes on level to the left: a
    model with more of x also serves a lower demand. Nothing is extrapolated to the right.

    Raises:
        ValueError: there is no point, none reaches `high`, or `low` is above `high`.
    """
    kept = pareto_front(points)
    if not kept or high > kept[-1][0] or low > high:
        raise ValueError(f"no point reaches {high:g} from {low:g}")
    xs, ys = zip(*kept, strict=True)
    if low == high:
        return float(np.interp(high, xs, ys))
    bends = [low, *(x for x in xs if low < x < high), high]
    return float(np.trapezoid(np.interp(bends, xs, ys), bends)) / (high - low)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other beats in both coordinates, by rising x and so by falling y."""
    return sorted({point for point, free in zip(points, pareto(points), strict=True) if free})
