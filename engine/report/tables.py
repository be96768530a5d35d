"""Results as plain values for JSON, and as CSV: one row a cell, one row a run. Accuracies are shares 0..1."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from engine.events import AttackResult, Interval, RunInfo
from engine.report.detail import doubts_of
from engine.results import Cell, Comparison, Evaluation, Results
from engine.statistics import Estimate
from engine.wording import NOTHING

CELL_COLUMNS = (
    "data", "attack", "images", "cell", "line", "pretraining", "transfer", "k", "seeds", "interval_over",
    "clean_accuracy", "clean_low", "clean_high", "robust_accuracy", "robust_low", "robust_high", "pareto",
    "seconds", "seconds_in_all", "command", "warnings",
)  # fmt: skip
RUN_COLUMNS = (
    "run", "cell", "seed", "state", "reason", "started_from", "data", "attack", "images",
    "clean_accuracy", "clean_low", "clean_high", "robust_accuracy", "robust_low", "robust_high", "seconds",
    "any_step_accuracy", "any_step_low", "any_step_high", "warnings",
)  # fmt: skip
MEMBER_COLUMNS = (
    "run", "cell", "seed", "number", "attack", "attacked", "robust_accuracy", "robust_low", "robust_high",
    "any_step_accuracy", "any_step_low", "any_step_high", "seconds",
)  # fmt: skip
SWEEP_COLUMNS = (
    "run", "cell", "seed", "attack", "epsilon", "steps", "robust_accuracy", "robust_low", "robust_high",
)  # fmt: skip
WARNING_COLUMNS = ("run", "cell", "seed", "code", "title", "evidence", "advice")

#: Gives the command that makes a cell again.
Command = Callable[[Cell], str]


def results_as_json(
    results: Results, *, settings: bool = True, command: Command | None = None
) -> dict[str, Any]:
    """All results as plain values; with `settings` those of each cell, with `command` how each is made again."""
    return {
        "evaluations": [_evaluation(item, settings, command) for item in results.evaluations],
        "comparisons": [_comparison(item) for item in results.comparisons],
        "trained": [_run(run) for run in results.trained],
        "unfinished": [_run(run) for run in results.unfinished],
        "missing": [{"name": name, "seed": seed} for name, seed in results.missing],
        "left_out": [_run(run) | {"why": why} for run, why in results.left_out],
    }


def cells_csv(results: Results, command: Command) -> str:
    """One row a cell, in the order of the report."""
    rows = []
    for evaluation in results.evaluations:
        for cell in evaluation.cells:
            rows.append(
                (
                    evaluation.data, evaluation.attack, cell.samples, cell.name, _line_of(cell, evaluation),
                    _known(cell.pretraining), _known(cell.transfer), cell.k, " ".join(map(str, cell.seeds)),
                    cell.robust.over, *_figures(cell.clean), *_figures(cell.robust),
                    int(cell.name in evaluation.front), cell.seconds, cell.seconds_in_all, command(cell),
                    " ".join(doubt.code for doubt in doubts_of(cell.runs)),
                )
            )  # fmt: skip
    return csv_text(CELL_COLUMNS, rows)


def runs_csv(results: Results) -> str:
    """One row a run: those of the cells, those they started from, then those without a result."""
    runs = {run.id: run for cell in results.cells for chain in cell.chains for run in chain}
    runs |= {run.id: run for run in (*results.trained, *results.unfinished)}
    rows = []
    for run in runs.values():
        figures: list[object] = [None] * 9
        if run.result is not None:
            figures = [run.result.data, run.result.attack, run.result.samples]
            for share in (run.result.clean_accuracy, run.result.robust_accuracy):
                figures += _bounds(share)
        any_step = run.result.robust_at_any_step if run.result else None
        warnings = run.result.warnings if run.result else ()
        rows.append(
            (
                run.id, run.name, run.config.seed, run.state, run.reason, run.parent, *figures, run.seconds,
                *_bounds(any_step), " ".join(warning.code for warning in warnings),
            )
        )  # fmt: skip
    return csv_text(RUN_COLUMNS, rows)


def detail_csv(results: Results) -> dict[str, str]:
    """Single attacks, sweeps and warnings by the name of their file, one row each; only files that have rows."""
    tables: dict[str, tuple[Sequence[str], list[Sequence[object]]]] = {
        "attacks.csv": (MEMBER_COLUMNS, []),
        "sweep.csv": (SWEEP_COLUMNS, []),
        "warnings.csv": (WARNING_COLUMNS, []),
    }
    for cell in results.cells:
        for run in cell.runs:
            if run.result is None:
                continue
            of = (run.id, run.name, run.config.seed)
            tables["attacks.csv"][1].extend(
                (
                    *of, number, member.title, member.attacked, *_bounds(member.robust_accuracy),
                    *_bounds(member.robust_at_any_step), member.seconds,
                )
                for number, member in enumerate(run.result.members, start=1)
            )  # fmt: skip
            tables["sweep.csv"][1].extend(
                (*of, run.result.attack, point.epsilon, point.steps or None, *_bounds(point.robust_accuracy))
                for point in run.result.sweep
            )
            tables["warnings.csv"][1].extend(
                (*of, warning.code, warning.title, warning.evidence, warning.advice)
                for warning in run.result.warnings
            )
    return {name: csv_text(head, rows) for name, (head, rows) in tables.items() if rows}


def csv_text(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A CSV file: titles of the columns, then the rows."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()


def _evaluation(evaluation: Evaluation, settings: bool, command: Command | None) -> dict[str, Any]:
    return {
        "title": evaluation.title,
        "data": evaluation.data,
        "attack": evaluation.attack,
        "images": evaluation.samples,
        "cells": [_cell(cell, evaluation, settings, command) for cell in evaluation.cells],
        "lines": [
            {"name": line.name, "cells": [cell.name for cell in line.cells]} for line in evaluation.lines
        ],
    }


def _cell(cell: Cell, evaluation: Evaluation, settings: bool, command: Command | None) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "name": cell.name,
        "line": _line_of(cell, evaluation),
        "pretraining": _known(cell.pretraining),
        "transfer": _known(cell.transfer),
        "k": cell.k,
        "seeds": list(cell.seeds),
        "clean_accuracy": _estimate(cell.clean),
        "robust_accuracy": _estimate(cell.robust),
        "pareto": cell.name in evaluation.front,
        "seconds": cell.seconds,
        "seconds_in_all": cell.seconds_in_all,
        "runs": [_run(run) for run in cell.runs],
    }
    if settings:
        plain["settings"] = dict(cell.settings)
    if command is not None:
        plain["command"] = command(cell)
    return plain


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "title": comparison.title,
        "baseline": comparison.config.baseline,
        "other": comparison.config.other,
        "measure": comparison.config.measure,
        "expected": comparison.config.expected,
        "evaluation": comparison.evaluation,
        "how": comparison.how,
        "difference": _estimate(comparison.difference),
        "pairs": [
            {
                "seed": pair.seed,
                "baseline": pair.baseline,
                "other": pair.other,
                "at_clean_accuracy": list(pair.clean) if pair.clean else None,
            }
            for pair in comparison.pairs
        ],
        "verdict": comparison.verdict,
        "notes": list(comparison.notes),
    }


def _run(run: RunInfo) -> dict[str, Any]:
    return {
        "id": run.id,
        "name": run.name,
        "seed": run.config.seed,
        "state": run.state,
        "reason": run.reason,
        "started_from": run.parent or None,
        "seconds": run.seconds,
        "result": _result(run.result) if run.result else None,
    }


def _result(result: AttackResult) -> dict[str, Any]:
    plain = asdict(result)
    return {"images": plain.pop("samples"), **plain}


def _bounds(share: Interval | None) -> tuple[float | None, ...]:
    return (share.value, share.low, share.high) if share else (None, None, None)


def _estimate(found: Estimate) -> dict[str, Any]:
    mean, low, high = _figures(found)
    return {"mean": mean, "low": low, "high": high, "seeds": found.count, "interval_over": found.over}


def _figures(found: Estimate) -> tuple[float | None, ...]:
    return tuple(value if math.isfinite(value) else None for value in (found.mean, found.low, found.high))


def _line_of(cell: Cell, evaluation: Evaluation) -> str:
    return next(line.name for line in evaluation.lines if cell in line.cells)


def _known(title: str) -> str | None:
    return None if title == NOTHING else title
