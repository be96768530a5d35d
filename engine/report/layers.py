"""What runs look like layer by layer at their end: one profile over the blocks a run, gathered into figures.

A figure joins the cells whose profiles can be compared: same stage, same images, same probe attack, same blocks, same
k. Cells without a k, such as full fine-tuning, stand beside those of every k.

Shapes: N blocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.config import STAGE_TITLES, line_name
from engine.errors import StoreError
from engine.events import Columns, RunInfo, StageLayout, TableName
from engine.report.drawing import COLOURS
from engine.report.tables import csv_text
from engine.results import Results
from engine.store.run_folder import RunFolder
from engine.wording import NOTHING, significant

#: Columns with a value for each block, by table.
BLOCK_COLUMNS: dict[TableName, tuple[str, ...]] = {
    "layers": ("relative_distance", "distance", "cosine", "amplification", "cka"),
    "bounds": ("block_upper", "block_estimate", "block_lower"),
}
#: Columns with one value for the whole network, of the table of bounds.
NETWORK_COLUMNS = ("log10_upper", "log10_estimate", "log10_lower")
#: So many lines can be told apart in one figure.
MOST_LINES = len(COLOURS)


@dataclass(frozen=True, slots=True)
class Profile:
    """The last look at one run.

    Attributes:
        run: which run.
        layout: its last stage of training.
        probe: attack and images behind the distances.
        values: by name of the column: [N], or [1] of the whole network; NaN where nothing was measured.
    """

    run: RunInfo
    layout: StageLayout
    probe: str
    values: Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean, smallest and largest value over the seeds, [N] or [1] each; NaN where one of them is unknown."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, slots=True)
class Curve:
    """The profiles of one cell, one a seed, and its k if it has one."""

    name: str
    k: int | None
    profiles: tuple[Profile, ...]

    def spread(self, column: str) -> Spread:
        """A column over the seeds."""
        values = np.stack([profile.values[column] for profile in self.profiles])
        return Spread(values.mean(0), values.min(0), values.max(0))

    def told(self, column: str, index: int = 0) -> tuple[str, str]:
        """A mean in words, and where there are several seeds the range from the smallest to the largest value."""
        spread = self.spread(column)
        mean, low, high = (float(values[index]) for values in (spread.mean, spread.low, spread.high))
        if not math.isfinite(mean):
            return NOTHING, ""
        return significant(mean), f"{significant(low)} to {significant(high)}" if len(
            self.profiles
        ) > 1 else ""


@dataclass(frozen=True, slots=True)
class Figure:
    """Curves that can be compared.

    Attributes:
        title: such as "Transfer to digits, k = 3".
        probe: attack and images behind the distances.
        block_names: of blocks 1..N.
        boundary: number of frozen blocks where all curves have the same.
        curves: in the order of the results.
    """

    title: str
    probe: str
    block_names: tuple[str, ...]
    boundary: int | None
    curves: tuple[Curve, ...]


@dataclass(frozen=True, slots=True)
class LayerResults:
    """Everything that the runs of a study tell layer by layer.

    Attributes:
        figures: those with the most curves first; of a single curve only if there are no others.
        profiles: one a run, in the order of the results.
        left_out: runs without a profile, with the reason.
    """

    figures: tuple[Figure, ...] = ()
    profiles: tuple[Profile, ...] = ()
    left_out: tuple[tuple[RunInfo, str], ...] = ()


def layer_results(results: Results) -> LayerResults:
    """Read the profiles of all finished runs of a study from their files, and put them into figures."""
    alike: dict[tuple[object, ...], dict[str, dict[int, Profile]]] = {}
    left_out = []
    for run in (*(run for cell in results.cells for run in cell.runs), *results.trained):
        try:
            profile = read_profile(run)
        except StoreError as error:
            left_out.append((run, str(error)))
            continue
        if profile is not None:
            # Of runs that differ only in their attack one is enough.
            alike.setdefault(_watched(profile), {}).setdefault(run.name, {})[run.config.seed] = profile
    groups = [
        [Curve(name, _k(by_seed), tuple(by_seed.values())) for name, by_seed in cells.items()]
        for cells in alike.values()
    ]
    return LayerResults(
        figures=tuple(_figures(groups)),
        profiles=tuple(profile for group in groups for curve in group for profile in curve.profiles),
        left_out=tuple(left_out),
    )


def layers_csv(found: LayerResults) -> str:
    """One row for each block of each run."""
    names = [name for columns in BLOCK_COLUMNS.values() for name in columns]
    rows = []
    for profile in found.profiles:
        run, layout = profile.run, profile.layout
        frozen = (layout.boundary or 0) if layout.stage == "finetuning" else 0
        for index, block in enumerate(layout.block_names):
            values = [float(profile.values[name][index]) for name in names]
            rows.append(
                (
                    run.id, run.name, run.config.seed, layout.stage, profile.probe, index + 1, block, int(index < frozen),
                    *(value if math.isfinite(value) else None for value in values),
                )
            )  # fmt: skip
    head = ("run", "cell", "seed", "stage", "probe", "block", "name", "frozen", *names)
    return csv_text(head, rows)


def read_profile(run: RunInfo) -> Profile | None:
    """Read what a run's last stage of training ended with; None if it trained nothing.

    Raises:
        StoreError: the run has no such file, it cannot be read, or it is from before profiles were measured.
    """
    # h5py is loaded only where a file is read.
    from engine.store.run_reader import read_tables

    if not run.path:
        return None
    layouts, tables = read_tables(RunFolder(Path(run.path)).metrics_path)
    layout = layouts.get("finetuning") or layouts.get("pretraining")
    if layout is None:
        return None
    found = tables[layout.stage]
    values = {
        name: _last(found.get(table, {}), name, len(layout.block_names))
        for table, names in BLOCK_COLUMNS.items()
        for name in names
    } | {name: _last(found.get("bounds", {}), name, 1) for name in NETWORK_COLUMNS}
    if not any(np.isfinite(values[name]).any() for name in ("relative_distance", "block_upper")):
        raise StoreError("measured by an older version, which knew neither relative distances nor bounds")
    # Features are compared on some of the images that accuracies are measured on.
    return Profile(run, layout, layout.probe, values)


def _last(columns: Columns, name: str, size: int) -> np.ndarray:
    rows = columns.get(name, np.empty(0))
    return np.atleast_1d(np.float64(rows[-1])) if len(rows) else np.full(size, np.nan)


def _figures(groups: Iterable[Sequence[Curve]]) -> list[Figure]:
    figures = []
    for curves in groups:
        depths: list[int | None] = [*sorted({curve.k for curve in curves if curve.k is not None})]
        for k in depths or [None]:
            alike = [curve for curve in curves if curve.k in (k, None)]
            figures += [_figure(k, alike[at : at + MOST_LINES]) for at in range(0, len(alike), MOST_LINES)]
    compared = [figure for figure in figures if len(figure.curves) > 1] or figures
    return sorted(compared, key=lambda figure: -len(figure.curves))


def _figure(k: int | None, curves: Sequence[Curve]) -> Figure:
    layout = curves[0].profiles[0].layout
    stage = f"{STAGE_TITLES[layout.stage]} {'to' if layout.stage == 'finetuning' else 'on'} {_data(layout)}"
    borders = {profile.layout.boundary for curve in curves for profile in curve.profiles}
    shared = borders.pop() if len(borders) == 1 and layout.stage == "finetuning" else None
    lines = [line_name(curve.name) for curve in curves]
    return Figure(
        title=stage if k is None else f"{stage}, k = {k}",
        probe=curves[0].profiles[0].probe,
        block_names=layout.block_names,
        boundary=shared or None,
        curves=tuple(
            Curve(line if lines.count(line) == 1 else curve.name, curve.k, curve.profiles)
            for line, curve in zip(lines, curves, strict=True)
        ),
    )


def _watched(profile: Profile) -> tuple[object, ...]:
    """What must be equal for two profiles to be comparable."""
    layout = profile.layout
    return layout.stage, _data(layout), profile.probe, layout.block_names


def _data(layout: StageLayout) -> str:
    """The images trained on, from the stage's title."""
    return layout.title.rpartition(" on ")[2]


def _k(by_seed: Mapping[int, Profile]) -> int | None:
    config = next(iter(by_seed.values())).run.config
    trained = config.finetuning or config.pretraining
    k = trained.notation().get("k") if trained else None
    return int(k) if k else None
