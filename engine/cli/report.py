"""What the command line prints: runs as tables and as JSON."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine.config import STAGE_TITLES
from engine.events import Interval, RunInfo
from engine.report.detail import doubts_of
from engine.results import MEASURE_TITLES, MEASURED, Comparison, Results, cells_of, describe_unfinished
from engine.statistics import Estimate
from engine.titles import run_title, varied_studies
from engine.wording import NOTHING, percent, points

#: Columns of running text.
WIDTH = 110
#: Stands beside a figure that carries warnings, and how many runs that carry one are named.
MARK, NAMED = "!", 8


def format_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out texts in columns two blanks apart; columns of numbers are aligned to the right."""
    body = [list(row) for row in rows]
    widths = [max(len(row[index]) for row in [list(head), *body]) for index in range(len(head))]
    right = [
        bool(body) and all(re.match(r"-?$|[+x-]?[\d.]+(e-?\d+)?( |$)", row[index]) for row in body)
        for index in range(len(head))
    ]
    lines = [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in [list(head), ["-" * width for width in widths], *body]
    ]
    return "\n".join(lines)


def results_table(shown: Sequence[RunInfo], known: Mapping[str, RunInfo]) -> str:
    """Compare finished runs: how they were trained, and what the attack left of their accuracy."""
    head = ("run", "pre-training", "transfer", "k", "clean %", "robust % (95 % interval)", "attack", "on")
    rows = [_result_row(run, known) for run in shown]
    marked = _with_marks(head, rows, [[run] for run in shown])
    varied = varied_studies(shown)
    return format_table(*_with_seeds(*marked, shown)) + _doubts_below(
        (run_title(run, varied), [run]) for run in shown
    )


def _with_seeds(
    head: Sequence[str], rows: Sequence[Sequence[str]], runs: Sequence[RunInfo]
) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Head and rows of a table of runs with a column of seeds behind the name, where a study has several."""
    if not varied_studies(runs):
        return head, rows
    at = [*head].index("run" if "run" in head else "name") + 1
    return (*head[:at], "seed", *head[at:]), [
        (*row[:at], str(run.config.seed), *row[at:]) for row, run in zip(rows, runs, strict=True)
    ]


def _with_marks(
    head: Sequence[str], rows: Sequence[Sequence[str]], runs: Sequence[Sequence[RunInfo]]
) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Head and rows with a column behind the robust accuracy that marks those with warnings, if any has one."""
    marks = [MARK if doubts_of(group) else "" for group in runs]
    if not any(marks):
        return head, rows
    at = next(number for number, title in enumerate(head, start=1) if title.startswith("robust %"))
    return (*head[:at], "", *head[at:]), [
        (*row[:at], mark, *row[at:]) for row, mark in zip(rows, marks, strict=True)
    ]


def _doubts_below(named: Iterable[tuple[str, Sequence[RunInfo]]]) -> str:
    """What the marks mean: each kind of warning with the names that carry it; empty without any."""
    carriers: dict[str, list[str]] = {}
    for name, runs in named:
        for doubt in doubts_of(runs):
            carriers.setdefault(doubt.title, []).append(name)
    lines = [
        textwrap.fill(
            f"{MARK} {title}. In: {'; '.join(names[:NAMED])}" + (f"; {len(names)} in all" if names[NAMED:] else ""),
            WIDTH, subsequent_indent="  ", break_on_hyphens=False,
        )
        for title, names in carriers.items()
    ]  # fmt: skip
    return "".join(f"\n{line}" for line in ["", *lines]) if lines else ""


def _result_row(run: RunInfo, known: Mapping[str, RunInfo]) -> tuple[str, ...]:
    cells = cells_of([run], known)
    if not cells or run.result is None:
        return (run.name, *[NOTHING] * 7)
    cell = cells[0]
    return (
        cell.name,
        cell.pretraining,
        cell.transfer,
        str(cell.k or NOTHING),
        percent(cell.clean.mean),
        percent_interval(run.result.robust_accuracy),
        cell.attack,
        f"{cell.samples} {cell.data}",
    )


def study_results(results: Results) -> str:
    """Each evaluation as a table of its cells, then what the comparisons gave."""
    parts = []
    for evaluation in results.evaluations:
        rows = [
            (
                cell.name,
                cell.pretraining,
                cell.transfer,
                str(cell.k or NOTHING),
                str(len(cell.seeds)),
                estimate_text(cell.clean),
                estimate_text(cell.robust),
                "*" if cell.name in evaluation.front else "",
            )
            for cell in evaluation.cells
        ]
        head = (
            "cell",
            "pre-training",
            "transfer",
            "k",
            "seeds",
            "clean % (95 %)",
            "robust % (95 %)",
            "front",
        )
        marked = _with_marks(head, rows, [cell.runs for cell in evaluation.cells])
        below = _doubts_below((cell.name, cell.runs) for cell in evaluation.cells)
        parts.append(f"{evaluation.title}\n\n{format_table(*marked)}{below}")
    if results.evaluations:
        over = {cell.robust.over for cell in results.cells}
        notes = ["front: * where no other cell has more of both accuracies."]
        if "seeds" in over:
            notes.append("Intervals: Student-t over the seeds.")
        if "images" in over:
            notes.append("Of a single seed: Wilson, over its test images; it says nothing about other seeds.")
        parts.append("\n".join(notes))
    if results.comparisons:
        parts.append(comparisons_text(results.comparisons))
    missing = [
        *describe_unfinished(results.unfinished, results.missing),
        *(
            f"{run.name}, seed {run.config.seed} ({run.id}): not shown, {why}"
            for run, why in results.left_out
        ),
    ]
    if missing:
        parts.append("\n".join(["Missing:", *(f"  {line}" for line in missing)]))
    return "\n\n".join(parts)


def comparisons_text(comparisons: Sequence[Comparison]) -> str:
    """What each comparison gave: the difference with its interval, the verdict, and how it was computed."""
    lines = ["Comparisons (other minus baseline, in points; 95 % Student-t interval over seeds):"]
    for comparison in comparisons:
        found = comparison.difference
        figure = "no difference"
        if comparison.pairs:
            figure = points(found.mean)
            if found.over == "seeds":
                figure += f" ({points(found.low)} to {points(found.high)})"
            figure += f", {found.count} seed{'s' if found.count != 1 else ''}"
        measure = MEASURE_TITLES[comparison.config.measure]
        if comparison.clean_range:
            low, high = comparison.clean_range
            measure += f" ({percent(low)}" + (f" to {percent(high)}" if high > low else "") + " %)"
        lines += [
            f"  {comparison.title}",
            f"    {figure}: {comparison.verdict} (expected {comparison.config.expected})",
            f"    {measure}, {comparison.config.other!r} against {comparison.config.baseline!r}",
            *(f"    {note}" for note in comparison.notes),
        ]
    if any(item.config.measure == "robust_at_equal_clean" for item in comparisons):
        words = MEASURED["robust_at_equal_clean"]
        lines += textwrap.wrap(f"How: {words}.", WIDTH, initial_indent="  ", subsequent_indent="  ")
    return "\n".join(lines)


def studies_table(runs: Iterable[RunInfo]) -> str:
    """The studies of a workspace with how many of their runs are finished, newest first as the runs come."""
    studies: dict[str, list[RunInfo]] = {}
    for run in runs:
        studies.setdefault(run.study, []).append(run)
    rows = [
        (
            title,
            str(len({run.name for run in group})),
            str(len({run.config.seed for run in group})),
            f"{sum(run.state == 'finished' for run in group)} of {len(group)}",
            datetime.datetime.fromtimestamp(max(run.created for run in group)).strftime("%Y-%m-%d %H:%M"),
        )
        for title, group in studies.items()
    ]
    return format_table(("study", "names", "seeds", "finished", "newest"), rows)


def runs_table(runs: Sequence[RunInfo]) -> str:
    """List runs with their state, newest first as the engine gives them."""
    head = ["id", "name", "study", "state", "stage", "progress", "clean %", "robust %", "created"]
    labelled = any(_marks_of(run) for run in runs)
    if labelled:
        head.append("marks")
    rows = []
    for run in runs:
        result = run.result
        rows.append(
            (
                run.id,
                run.title,
                run.study,
                run.state,
                STAGE_TITLES[run.stage].lower() if run.stage else NOTHING,
                f"{100 * run.progress:.0f} %",
                percent(result.clean_accuracy.value) if result else NOTHING,
                percent(result.robust_accuracy.value) if result else NOTHING,
                datetime.datetime.fromtimestamp(run.created).strftime("%Y-%m-%d %H:%M"),
                *([_marks_of(run)] if labelled else []),
            )
        )
    marked = _with_marks(head, rows, [[run] for run in runs])
    return format_table(*_with_seeds(*marked, runs)) + _doubts_below((run.id, [run]) for run in runs)


def _marks_of(run: RunInfo) -> str:
    """What a label says beside title and notes: "starred, archived, my-tag"."""
    label = run.label
    states = [word for word, holds in (("starred", label.star), ("archived", label.archived)) if holds]
    return ", ".join([*states, *label.tags])


def label_text(run: RunInfo) -> str:
    """What is written on a run, for reading."""
    lines = [f"{run.title} ({run.id})"]
    if run.label.title:
        lines.append(f"Name in its settings: {run.name}")
    if marks := _marks_of(run):
        lines.append(f"Marks: {marks}")
    if run.label.notes:
        lines += ["", run.label.notes]
    return "\n".join(lines)


def run_as_json(run: RunInfo) -> dict[str, Any]:
    """A run with all its settings as plain values; shares are 0..1, times seconds."""
    plain = {
        field.name: getattr(run, field.name)
        for field in dataclasses.fields(run)
        if field.name not in ("config", "result", "label")
    }
    plain["label"] = dataclasses.asdict(run.label)
    plain["result"] = dataclasses.asdict(run.result) if run.result else None
    plain["config"] = run.config.model_dump(mode="json")
    return plain


def percent_interval(interval: Interval) -> str:
    """A share in percent with its interval: "45.3 (42.2 to 48.4)"."""
    return f"{percent(interval.value)} ({percent(interval.low)} to {percent(interval.high)})"


def estimate_text(found: Estimate) -> str:
    """A mean share in percent with its interval: "45.3 (42.2 to 48.4)"."""
    return f"{percent(found.mean)} ({percent(found.low)} to {percent(found.high)})"


def as_json(value: Any) -> str:
    """JSON text, indented, with null for what is not a number."""
    return json.dumps(_finite(value), indent=2, ensure_ascii=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
