"""What a study found: runs gathered into cells and lines, and the differences between them.

A *cell* is all finished runs of one name: same settings, other seeds. A *line* is all cells whose settings differ only
in k. An *evaluation* is what was attacked and how; figures of different evaluations are never mixed.
Loads neither torch nor h5py. Accuracies are shares 0..1.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from engine.config import ComparisonConfig, RunConfig, Settings, StudyConfig, line_name
from engine.events import RunInfo
from engine.statistics import Estimate, estimate, estimate_share, pareto, value_along

NOTHING = "-"
Verdict = Literal["shown", "not shown", "opposite", "no interval", "no data"]

#: How each measure is computed, in words.
MEASURED: dict[str, str] = {
    "clean_accuracy": "difference in clean accuracy, seed by seed",
    "robust_accuracy": "difference in robust accuracy, seed by seed",
    "robust_at_equal_clean": (
        "difference in robust accuracy at equal clean accuracy, seed by seed: each line's Pareto-optimal points are "
        "joined by straight lines, level to the left of the leftmost (a model with more clean accuracy also serves a "
        "lower demand), and compared at the highest clean accuracy that both lines reach for that seed; nothing is "
        "extrapolated to the right"
    ),
}
MEASURE_TITLES = {
    "clean_accuracy": "clean accuracy",
    "robust_accuracy": "robust accuracy",
    "robust_at_equal_clean": "robust accuracy at equal clean accuracy",
}
_METHODS = {"fdm": "FDM", "neft": "NEFT", "trades": "TRADES", "lwf": "LwF", "adversarial": "adversarial (AT)"}
_FINETUNING_METHODS = {**_METHODS, "adversarial": "adversarial"}


@dataclass(frozen=True)
class Cell:
    """The finished runs of one name: same settings, one run a seed.

    Attributes:
        name: the runs' name.
        line: name of the line it lies on.
        data, attack, samples: the test images, the attack, and how many images were attacked.
        pretraining, transfer: short titles of how the network was trained, without the k of the transfer.
        k: number of fine-tuned blocks (of a run without transfer: the one that its pre-training prepares); None
            where the method has none.
        settings: every setting that has an effect, from pre-training on, by dotted name; seed and k included only
            as the first run has them.
        runs: by seed.
        chains: for each run itself, the run it started from, and so on.
        clean, robust: means over the seeds.
    """

    name: str
    line: str
    data: str
    attack: str
    samples: int
    pretraining: str
    transfer: str
    k: int | None
    settings: Mapping[str, Any]
    runs: tuple[RunInfo, ...]
    chains: tuple[tuple[RunInfo, ...], ...]
    clean: Estimate
    robust: Estimate

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the runs, rising."""
        return tuple(run.config.seed for run in self.runs)

    @functools.cached_property
    def clean_by_seed(self) -> dict[int, float]:
        """Clean accuracy of each seed's run."""
        return {run.config.seed: run.result.clean_accuracy.value for run in self.runs if run.result}

    @functools.cached_property
    def robust_by_seed(self) -> dict[int, float]:
        """Robust accuracy of each seed's run."""
        return {run.config.seed: run.result.robust_accuracy.value for run in self.runs if run.result}

    @property
    def seconds(self) -> float:
        """Mean computing time of its runs, without that of the runs they start from."""
        return math.fsum(run.seconds for run in self.runs) / len(self.runs)

    @property
    def seconds_in_all(self) -> float:
        """Mean computing time with that of the runs they start from."""
        return math.fsum(run.seconds for chain in self.chains for run in chain) / len(self.runs)


@dataclass(frozen=True)
class Line:
    """Cells of one evaluation whose settings differ only in k, by rising k.

    `names` are all names by which it may be asked for: usually one.
    """

    name: str
    cells: tuple[Cell, ...]
    names: tuple[str, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds for which at least one of its cells has a run."""
        return tuple(sorted({seed for cell in self.cells for seed in cell.seeds}))

    def points(self, seed: int) -> list[tuple[float, float]]:
        """Clean and robust accuracy of each cell that has this seed."""
        return [
            (cell.clean_by_seed[seed], cell.robust_by_seed[seed])
            for cell in self.cells
            if seed in cell.clean_by_seed
        ]

    def lacking(self, seed: int) -> list[str]:
        """Names of its cells that have no run with this seed."""
        return [cell.name for cell in self.cells if seed not in cell.clean_by_seed]


@dataclass(frozen=True)
class Evaluation:
    """Everything that was attacked in the same way on the same test images.

    `front` holds the names of the cells that no other beats in both mean accuracies, over all lines.
    """

    data: str
    attack: str
    samples: int
    cells: tuple[Cell, ...]
    lines: tuple[Line, ...]
    front: frozenset[str]

    @property
    def title(self) -> str:
        """What robust accuracy means here: "PGD-20, Linf 8/255, 1 restart, on 1000 test images of digits"."""
        return f"{self.attack}, on {self.samples} test images of {self.data}"


@dataclass(frozen=True)
class Pair:
    """Both sides of a comparison for one seed; `clean` is the equal clean accuracy if there is one."""

    seed: int
    baseline: float
    other: float
    clean: float | None = None


@dataclass(frozen=True)
class Comparison:
    """The answer to one question of a study.

    Attributes:
        config: the question.
        evaluation: title of the evaluation, "" if there is none that has both sides.
        pairs: what each seed gave.
        difference: other minus baseline, mean over the pairs with its interval.
        verdict: "shown" if the interval lies wholly on the expected side of 0, "opposite" if wholly on the other
            side, "not shown" if it holds 0, "no interval" for a single seed, "no data" without any.
        notes: what was missing.
    """

    config: ComparisonConfig
    evaluation: str
    pairs: tuple[Pair, ...]
    difference: Estimate
    verdict: Verdict
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The claim in words, as given or made from its parts."""
        if self.config.title:
            return self.config.title
        measure = MEASURE_TITLES[self.config.measure]
        return f"{self.config.other} has {self.config.expected} {measure} than {self.config.baseline}"

    @property
    def how(self) -> str:
        """How the difference was computed, in a sentence."""
        return MEASURED[self.config.measure]


@dataclass(frozen=True)
class Results:
    """All that the runs of a study tell.

    Attributes:
        evaluations: that with the most cells after a transfer first.
        comparisons: answers in the order of the questions.
        trained: finished runs without an attack, such as those that others start from.
        unfinished: runs without a result, newest of each name and seed.
        missing: names and seeds that the study has and that were never made.
        left_out: finished runs that are not shown, with the reason.
    """

    evaluations: tuple[Evaluation, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    trained: tuple[RunInfo, ...] = ()
    unfinished: tuple[RunInfo, ...] = ()
    missing: tuple[tuple[str, int], ...] = ()
    left_out: tuple[tuple[RunInfo, str], ...] = field(default=())

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells of all evaluations."""
        return tuple(cell for evaluation in self.evaluations for cell in evaluation.cells)


def parent_of(run: RunInfo, known: Mapping[str, RunInfo]) -> RunInfo | None:
    """Find the run that another one started from; None if it is not in the workspace."""
    return known.get(run.parent)


def ancestry(run: RunInfo, known: Mapping[str, RunInfo]) -> list[RunInfo]:
    """The run, the run it started from, and so on, as far as they are in the workspace."""
    chain = [run]
    seen = {run.id}
    while (parent := parent_of(chain[-1], known)) is not None and parent.id not in seen:
        chain.append(parent)
        seen.add(parent.id)
    return chain
