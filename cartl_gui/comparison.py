"""Runs laid over each other: lines of single runs or of seeds, their courses and profiles, their looks.

Shapes: S seeds, T places of a time axis, N blocks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cartl_gui import words
from cartl_gui.plots.style import SYMBOLS, CurveStyle
from cartl_gui.run_data import RunData
from cartl_gui.timeline import TimeAxis, Timeline
from engine.config import STAGES, StageName
from engine.events import RunInfo, TableName
from engine.lineage import ancestry, settings_of
from engine.statistics import student_t
from engine.titles import distinct_titles, run_title, varied_studies

#: Most runs that are drawn at once: more could not be told apart.
MOST_RUNS = 16
#: How seeds are shown: each for itself, or as mean with a band from least to largest, or of 95 % confidence.
Spread = Literal["each", "range", "interval"]
SPREADS: dict[Spread, str] = {
    "each": "Each seed", "range": "Mean, range", "interval": "Mean, 95 %",
}  # fmt: skip
#: What a band says, in a note beside the plot.
BANDS: dict[Spread, str] = {
    "each": "",
    "range": "bands: least to largest seed",
    "interval": "bands: 95 % Student-t intervals over seeds",
}  # fmt: skip
_DASHES: tuple[tuple[float, ...], ...] = ((), (6.0, 3.0), (1.8, 2.2))
_COLOURS = 6


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """A run, or all seeds of the same settings.

    Attributes:
        name: what it is called, unlike any other line.
        runs: by seed.
        style: how it looks.
    """

    name: str
    runs: tuple[RunInfo, ...]
    style: CurveStyle

    def about(self) -> str:
        """All of it in words, for a tooltip."""
        seeds = ", ".join(str(run.config.seed) for run in self.runs)
        titles = dict.fromkeys(run.title for run in self.runs)
        return f"{words.listed(list(titles))}\nseed{'s' if len(self.runs) > 1 else ''} {seeds}"


def lines_of(
    runs: Sequence[RunInfo], known: Mapping[str, RunInfo], spread: Spread, colour_by: str = ""
) -> list[Line]:
    """Put runs into lines and give these their looks.

    Args:
        runs: in order.
        known: the runs of the workspace by id, in which those are found that others start from.
        spread: whether seeds of the same settings are one line.
        colour_by: dotted name of the setting whose values have a colour each; "" gives each line one of its own.
    """
    settings = {run.id: settings_of(ancestry(run, known)) for run in runs}
    groups: dict[str, list[RunInfo]] = {}
    for run in runs:
        alike = run.id if spread == "each" else json.dumps(settings[run.id], sort_keys=True, default=str)
        groups.setdefault(alike, []).append(run)
    members = [sorted(group, key=lambda run: run.config.seed) for group in groups.values()]
    values = [str(settings[group[0].id].get(colour_by)) if colour_by else "" for group in members]
    return [
        Line(name, tuple(group), style)
        for name, group, style in zip(_names(members), members, _styles(values), strict=True)
    ]


def _names(members: Sequence[Sequence[RunInfo]]) -> list[str]:
    """Titles, with what tells equal ones apart."""
    varied = varied_studies(run for group in members for run in group)
    titles = {
        group[0].id: run_title(group[0], varied)
        if len(group) == 1
        else f"{group[0].title} ({words.count(len(group), 'seed')})"
        for group in members
    }
    return list(distinct_titles([group[0] for group in members], titles).values())


def _styles(values: Sequence[str]) -> list[CurveStyle]:
    """A look for each line, all of them different; lines of one value share its colour."""
    colours = {value: number for number, value in enumerate(dict.fromkeys(values))}
    if len(colours) == 1:
        places = [(number % _COLOURS, number // _COLOURS) for number in range(len(values))]
    else:
        places = [
            (colours[value] % _COLOURS, colours[value] // _COLOURS + list(values[:number]).count(value))
            for number, value in enumerate(values)
        ]
    return [
        CurveStyle(colour, _DASHES[dash % len(_DASHES)], SYMBOLS[(number if len(colours) == 1 else dash) % len(SYMBOLS)])
        for number, (colour, dash) in enumerate(places)
    ]  # fmt: skip


def stages_of(runs: Sequence[RunInfo]) -> tuple[StageName, ...]:
    """The stages of training that any of the runs has."""
    return tuple(
        stage for stage in STAGES if stage != "attack" and any(stage in run.config.stages for run in runs)
    )


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """A line over places of an axis: mean, and the ends of its band (NaN where there is none), [T] each."""

    place: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


NO_COURSE = Course(*(np.empty(0) for _ in range(4)))


def spread_of(values: np.ndarray, spread: Spread) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over seeds and the ends of its band, [T] each; NaN where fewer than two seeds have a number.

    Args:
        values: [S, T], NaN where a seed has none.
        spread: what the band tells. With "interval", Student's t over the seeds, as `engine.statistics.estimate`.
    """
    known = np.isfinite(values)
    count = known.sum(0)
    filled = np.where(known, values, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = filled.sum(0) / count
        if spread == "interval":
            variance = np.where(known, (values - mean) ** 2, 0.0).sum(0) / (count - 1)
            factors = np.array([np.nan, np.nan, *(student_t(n - 1) for n in range(2, len(values) + 1))])
            half = factors[count] * np.sqrt(variance / count)
            low, high = mean - half, mean + half
        else:
            low = np.where(known, values, np.inf).min(0)
            high = np.where(known, values, -np.inf).max(0)
    several = (count > 1) & (spread != "each")
    return mean, np.where(several, low, np.nan), np.where(several, high, np.nan)


def course_of(
    members: Sequence[RunData],
    stage: StageName,
    table: TableName,
    column: str,
    axis: TimeAxis,
    spread: Spread,
) -> Course:
    """One column of a table over time; seeds are joined where they have been trained as long, epoch by epoch.

    Over computing time, the mean of the seeds stands at the mean of their times.
    """
    parts = []
    for data in members:
        rows, timeline = data.columns(stage, table), Timeline.of(data, stage)
        if column in rows and timeline.knows(axis):
            parts.append((rows["epoch"].astype(float), timeline.positions(rows, axis), rows[column]))
    if not parts:
        return NO_COURSE
    if len(parts) == 1:
        _epoch, place, values = parts[0]
        unknown = np.full(len(place), np.nan)
        return Course(place, values.astype(float), unknown, unknown)
    longest = max((epoch for epoch, _, _ in parts), key=len)
    if not all(np.array_equal(epoch, longest[: len(epoch)]) for epoch, _, _ in parts):
        longest = np.unique(np.concatenate([epoch for epoch, _, _ in parts]))
    places, values = np.full((2, len(parts), len(longest)), np.nan)
    for number, (epoch, place, found) in enumerate(parts):
        at = np.searchsorted(longest, epoch)
        places[number, at], values[number, at] = place, found
    return Course(spread_of(places, "each")[0], *spread_of(values, spread))


def row_at(
    data: RunData, stage: StageName, table: TableName, column: str, moment: tuple[float, TimeAxis] | None
) -> int | None:
    """The row of the measurement next to a moment of a time axis, or the newest for None.

    None if there is no such column, or the run had ended before the moment.
    """
    rows = data.columns(stage, table)
    if column not in rows:
        return None
    epoch = rows["epoch"]
    if moment is None:
        return len(epoch) - 1
    at = Timeline.of(data, stage).epoch_at(*moment)
    if not np.isfinite(at) or at > epoch[-1] + max(1.0, float(epoch[-1] - epoch[-2:][0])):
        return None
    return int(np.argmin(np.abs(epoch - at)))


def profile_of(
    members: Sequence[RunData], stage: StageName, table: TableName, column: str, moment: tuple[float, TimeAxis] | None,
    spread: Spread,
) -> Course:  # fmt: skip
    """One column of each block [N], as last measured, or next to a moment; blocks count from 1."""
    found = []
    for data in members:
        row = row_at(data, stage, table, column, moment)
        if row is not None:
            found.append(data.columns(stage, table)[column][row].astype(float))
    if not found:
        return NO_COURSE
    size = max(map(len, found))
    values = np.array([np.pad(part, (0, size - len(part)), constant_values=np.nan) for part in found])
    return Course(np.arange(1.0, size + 1), *spread_of(values, spread))
