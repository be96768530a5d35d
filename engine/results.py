"""What a study found: runs gathered into cells and lines, and the differences between them.

A *cell* is all finished runs of one name: same settings, other seeds. A *line* is all cells whose settings differ only
in k. An *evaluation* is what was attacked and how; figures of different evaluations are never mixed.
Loads neither torch nor h5py. Accuracies are shares 0..1.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from engine.config import (
    ComparisonConfig,
    Settings,
    StudyConfig,
    line_name,
)
from engine.events import RunInfo
from engine.lineage import K_SETTINGS, ancestry, evaluation_key, method_title, settings_of
from engine.statistics import Estimate, estimate, estimate_share, mean_along, pareto, pareto_front
from engine.wording import NOTHING

Verdict = Literal["shown", "not shown", "opposite", "no interval", "no data"]

#: How each measure is computed, in words.
MEASURED: dict[str, str] = {
    "clean_accuracy": "difference in clean accuracy, seed by seed",
    "robust_accuracy": "difference in robust accuracy, seed by seed",
    "robust_at_equal_clean": (
        "difference in robust accuracy at equal clean accuracy, seed by seed: each line's Pareto-optimal points are "
        "joined by straight lines, level to the left of the leftmost (a model with more clean accuracy also serves a "
        "lower demand); the difference is averaged over all clean accuracies from the lower of the two leftmost points "
        "up to the highest that both lines reach for that seed; nothing is extrapolated to the right"
    ),
}
MEASURE_TITLES = {
    "clean_accuracy": "clean accuracy",
    "robust_accuracy": "robust accuracy",
    "robust_at_equal_clean": "robust accuracy at equal clean accuracy",
}
Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
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
    """Both sides of a comparison for one seed; `clean` is the range of equal clean accuracies if there is one."""

    seed: int
    baseline: float
    other: float
    clean: tuple[float, float] | None = None


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
    def clean_range(self) -> tuple[float, float] | None:
        """The equal clean accuracies at which lines were compared, over all seeds; None for other measures."""
        ranges = [pair.clean for pair in self.pairs if pair.clean is not None]
        return (min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else None

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
    left_out: tuple[tuple[RunInfo, str], ...] = ()

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells of all evaluations."""
        return tuple(cell for evaluation in self.evaluations for cell in evaluation.cells)


def study_runs(title: str, known: Mapping[str, RunInfo]) -> list[RunInfo]:
    """The runs of the workspace that belong to the study of this title, oldest first."""
    return sorted((run for run in known.values() if run.study == title), key=lambda run: run.created)


def cells_of(
    runs: Iterable[RunInfo], known: Mapping[str, RunInfo], study: StudyConfig | None = None
) -> list[Cell]:
    """Gather finished runs with a result into cells, in the order of the study or in that of the runs.

    Where runs of one name and evaluation have different settings, only those are taken that the study asks for, else
    the newest; of several runs with one seed, the newest.

    Args:
        runs: the runs of one study.
        known: every run of the workspace by id, among them those that the runs started from.
        study: which settings go first, and the order.
    """
    return _gather(runs, known, study)[0]


def _gather(
    runs: Iterable[RunInfo], known: Mapping[str, RunInfo], study: StudyConfig | None
) -> tuple[list[Cell], list[tuple[RunInfo, str]]]:
    finished = [run for run in runs if run.state == "finished" and run.result is not None]
    chains = {run.id: tuple(ancestry(run, known)) for run in finished}
    settings = {run.id: settings_of(chains[run.id]) for run in finished}
    planned = {(run.name, run.seed): run for run in study.runs} if study else {}
    cells, left_out = [], []
    for _, alike in _grouped(finished, lambda run: (run.name, evaluation_key(chains[run.id]))):
        variants = _grouped(alike, lambda run: _fingerprint(settings[run.id], ("start_from",)))
        chosen = max(
            (variant for _, variant in variants),
            key=lambda variant: (
                any(run.config == planned.get((run.name, run.config.seed)) for run in variant),
                max(run.created for run in variant),
            ),
        )
        newest = {run.config.seed: run for run in sorted(chosen, key=lambda run: run.created)}
        for run in alike:
            if run not in chosen:
                left_out.append((run, "other settings than the runs of this name that are shown"))
            elif run is not newest[run.config.seed]:
                left_out.append((run, "made again with the same settings and seed"))
        kept = [newest[seed] for seed in sorted(newest)]
        cells.append(_cell(kept, [chains[run.id] for run in kept], settings[kept[0].id]))
    order = {name: number for number, name in enumerate(study.cells)} if study else {}
    return sorted(cells, key=lambda cell: order.get(cell.name, len(order))), left_out


def _cell(runs: Sequence[RunInfo], chains: Sequence[tuple[RunInfo, ...]], settings: dict[str, Any]) -> Cell:
    first, chain = runs[0], chains[0]
    pretraining = next((run.config.pretraining for run in chain if run.config.pretraining), None)
    finetuning = next((run.config.finetuning for run in chain if run.config.finetuning), None)
    trained = finetuning or pretraining
    k = trained.notation().get("k") if trained else None
    if pretraining is not None:
        same_k = pretraining.notation().get("k") == k
        source = method_title(pretraining, ("k",) if same_k else ())
    else:
        start = chain[-1].config.start_from
        source = f"from {Path(start).name}" if start else NOTHING
    results = [run.result for run in runs if run.result is not None]
    return Cell(
        name=first.name,
        line=line_name(first.name),
        data=results[0].data,
        attack=results[0].attack,
        samples=results[0].samples,
        pretraining=source,
        transfer=method_title(finetuning, ("k",)) if finetuning else NOTHING,
        k=int(k) if k else None,
        settings=settings,
        runs=tuple(runs),
        chains=tuple(chains),
        clean=estimate_share([result.clean_accuracy for result in results]),
        robust=estimate_share([result.robust_accuracy for result in results]),
    )


def lines_of(cells: Iterable[Cell]) -> list[Line]:
    """Join the cells of one evaluation whose settings differ only in k, in the order of the cells."""
    lines = []
    for _, group in _grouped(cells, lambda cell: _fingerprint(cell.settings, K_SETTINGS)):
        depths = {tuple(cell.settings.get(key) for key in K_SETTINGS) for cell in group}
        # Equal settings under two names are two lines; other names for other k are one.
        apart = (
            [group]
            if len(depths) == len(group)
            else [part for _, part in _grouped(group, lambda cell: cell.line)]
        )
        for part in apart:
            names = tuple(dict.fromkeys(cell.line for cell in part))
            ordered = sorted(part, key=lambda cell: (cell.k or 0, cell.clean.mean))
            lines.append(Line(names[0], tuple(ordered), names))
    taken = [name for line in lines for name in line.names]
    return [
        line if taken.count(line.name) == 1 else Line(line.cells[0].name, line.cells, line.names)
        for line in lines
    ]


def results_of(
    runs: Iterable[RunInfo],
    known: Mapping[str, RunInfo],
    study: StudyConfig | None = None,
    *,
    comparisons: Iterable[ComparisonConfig] | None = None,
) -> Results:
    """Everything that the runs of a study tell.

    Args:
        runs: the runs of one study, such as `study_runs` gives.
        known: every run of the workspace by id.
        study: its settings, if at hand: they say which runs are missing and which settings are meant.
        comparisons: questions; those of the study if left out.
    """
    runs = list(runs)
    cells, left_out = _gather(runs, known, study)
    evaluations = []
    for _, group in _grouped(cells, lambda cell: evaluation_key(cell.chains[0])):
        points = [(cell.clean.mean, cell.robust.mean) for cell in group]
        front = frozenset(cell.name for cell, free in zip(group, pareto(points), strict=True) if free)
        first = group[0]
        evaluations.append(
            Evaluation(first.data, first.attack, first.samples, tuple(group), tuple(lines_of(group)), front)
        )
    evaluations = _told_apart(evaluations)
    evaluations.sort(key=lambda item: -sum(cell.transfer != NOTHING for cell in item.cells))

    done = {(run.name, run.config.seed, _plain(run.config)) for run in runs if run.state == "finished"}
    newest = {(run.name, run.config.seed): run for run in sorted(runs, key=lambda run: run.created)}
    unfinished = tuple(
        run for key, run in newest.items()
        if run.state != "finished" and (*key, _plain(run.config)) not in done
    )  # fmt: skip
    asked = (study.comparisons if study else ()) if comparisons is None else comparisons
    return Results(
        evaluations=tuple(evaluations),
        comparisons=tuple(answer for config in asked for answer in compare(evaluations, config, unfinished)),
        trained=tuple(run for run in newest.values() if run.state == "finished" and run.result is None),
        unfinished=unfinished,
        missing=tuple(
            (run.name, run.seed)
            for run in (study.runs if study else ())
            if (run.name, run.seed) not in newest
        ),
        left_out=tuple(left_out),
    )


def compare(
    evaluations: Sequence[Evaluation], config: ComparisonConfig, unfinished: Iterable[RunInfo] = ()
) -> list[Comparison]:
    """Answer one question, once for every evaluation that has both sides; see `MEASURED` for how.

    Differences are taken between runs of the same seed. For lines, a seed counts only if every cell of both lines has
    a run with it, so that each seed compares the same points.

    Args:
        evaluations: where to look.
        config: the question.
        unfinished: runs that may be missed; those of either side are named in the notes.
    """
    sides = (config.baseline, config.other)
    of_line = config.measure == "robust_at_equal_clean"
    late = describe_unfinished(
        run for run in unfinished if (line_name(run.name) if of_line else run.name) in sides
    )
    answers = []
    absent = set(sides)
    for evaluation in evaluations:
        found = [_side(evaluation, name, of_line) for name in sides]
        absent -= {name for name, lines in zip(sides, found, strict=True) if lines}
        if all(found):
            notes = [
                f"{name!r} is {len(lines)} lines here, which differ in {', '.join(_differing(lines))}"
                for name, lines in zip(sides, found, strict=True)
                if len(lines) > 1
            ]
            pairs, skipped = ([], []) if notes else _pairs(found[0][0], found[1][0], config)
            answers.append(_answer(config, evaluation.title, pairs, [*notes, *skipped, *late]))
    if not answers:
        why = [f"there is no finished run of {name!r}" for name in sides if name in absent]
        apart = ["the two were not attacked in the same way on the same test images"]
        answers.append(_answer(config, "", [], [*(why or apart), *late]))
    return answers


def describe_unfinished(unfinished: Iterable[RunInfo], missing: Iterable[tuple[str, int]] = ()) -> list[str]:
    """What is not finished, in lines: each run that ended with a reason, the others together with their seeds.

    Args:
        unfinished: runs without a result.
        missing: names and seeds of runs that were never made.
    """
    lines = []
    waiting: dict[str, list[tuple[str, int]]] = {}
    for run in unfinished:
        if run.reason or run.state == "failed":
            reason = f", {run.reason}" if run.reason else ""
            lines.append(f"{run.name}, seed {run.config.seed}: {run.state}{reason}")
        else:
            word: str = "queued" if run.state == "created" else run.state
            waiting.setdefault(word, []).append((run.name, run.config.seed))
    for name, seed in missing:
        waiting.setdefault("never made", []).append((name, seed))
    for word, runs in waiting.items():
        if len(runs) == 1:
            lines.append(f"{runs[0][0]}, seed {runs[0][1]}: {word}")
        else:
            seeds = ", ".join(str(seed) for seed in sorted({seed for _, seed in runs}))
            lines.append(f"{len(runs)} runs of {'seeds' if ',' in seeds else 'seed'} {seeds}: {word}")
    return lines


def _side(evaluation: Evaluation, name: str, of_line: bool) -> list[Line]:
    if of_line:
        return [line for line in evaluation.lines if name in line.names]
    return [Line(name, (cell,), (name,)) for cell in evaluation.cells if cell.name == name]


def _pairs(baseline: Line, other: Line, config: ComparisonConfig) -> tuple[list[Pair], list[str]]:
    """What each seed that both sides have in full gives, and which seeds had to be left out."""
    pairs, notes = [], []
    for seed in sorted({*baseline.seeds, *other.seeds}):
        lacking = [*baseline.lacking(seed), *other.lacking(seed)]
        if lacking:
            listed = ", ".join(map(repr, dict.fromkeys(lacking)))
            notes.append(f"seed {seed} is left out: there is no result of {listed} with it")
        elif config.measure == "robust_at_equal_clean":
            sides = [line.points(seed) for line in (baseline, other)]
            high = min(pareto_front(points)[-1][0] for points in sides)
            low = min(high, *(pareto_front(points)[0][0] for points in sides))
            before, after = (mean_along(points, low, high) for points in sides)
            pairs.append(Pair(seed, before, after, (low, high)))
        else:
            of_clean = config.measure == "clean_accuracy"
            before, after = (
                line.cells[0].clean_by_seed[seed] if of_clean else line.cells[0].robust_by_seed[seed]
                for line in (baseline, other)
            )
            pairs.append(Pair(seed, before, after))
    return pairs, notes


def _answer(
    config: ComparisonConfig, evaluation: str, pairs: Sequence[Pair], notes: Sequence[str]
) -> Comparison:
    difference = estimate([pair.other - pair.baseline for pair in pairs])
    verdict: Verdict
    if difference.over == "nothing":
        verdict = "no interval" if pairs else "no data"
    elif difference.low <= 0 <= difference.high:
        verdict = "not shown"
    else:
        verdict = "shown" if (difference.low > 0) == (config.expected == "more") else "opposite"
    return Comparison(config, evaluation, tuple(pairs), difference, verdict, tuple(notes))


def _differing(lines: Sequence[Line]) -> list[str]:
    """Dotted names of the settings, but for k, in which lines differ."""
    tables = [line.cells[0].settings for line in lines]
    keys = dict.fromkeys(key for table in tables for key in table if key not in K_SETTINGS)
    return [key for key in keys if len({json.dumps(table.get(key)) for table in tables}) > 1]


def _told_apart(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Evaluations of one title say in which settings they differ."""
    told = []
    for _, group in _grouped(evaluations, lambda item: item.title):
        keys = [evaluation_key(item.cells[0].chains[0]) for item in group]
        for item, key in zip(group, keys, strict=True):
            others = [pair for pair in key if not all(pair in other for other in keys)]
            extra = "".join(f", {name} {value}" for name, value in others)
            told.append(replace(item, attack=item.attack + extra))
    return told


def _fingerprint(settings: Mapping[str, Any], without: Collection[str]) -> str:
    return json.dumps({key: value for key, value in settings.items() if key not in without}, sort_keys=True)


def _plain(settings: Settings) -> str:
    return settings.model_dump_json()


def _grouped(items: Iterable[Item], key: Callable[[Item], Any]) -> list[tuple[Any, list[Item]]]:
    """Items with equal keys together, in the order in which keys first come."""
    groups: dict[Any, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.items())
