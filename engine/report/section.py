"""What the page shows of an evaluation in detail, and layer by layer, ready to be written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from engine.config import format_ratio
from engine.report.detail import Detail, Point, detail_of, doubts_of
from engine.report.layer_plot import layers_svg
from engine.report.layers import Curve, Figure, LayerResults
from engine.report.sweep import MOST_LINES, sweep_svg
from engine.results import Cell, Comparison, Evaluation, Results
from engine.statistics import Estimate
from engine.wording import NOTHING, duration, percent


def section_of(evaluation: Evaluation) -> dict[str, Any] | None:
    """The section of an evaluation; None if there is nothing to tell beside its one figure a cell."""
    told = [
        (cell, detail)
        for cell in evaluation.cells
        if (detail := detail_of(cell.runs)) is not None and detail.worth_telling
    ]
    if not told:
        return None
    doubts = doubts_of(run for cell in evaluation.cells for run in cell.runs)
    return {
        "members": [_members(cell, detail) for cell, detail in told if len(detail.members) > 1],
        "any_step": [
            f"{cell.name}: judged at the last step {percent(detail.headline.robust.mean)} %, "
            f"at any step {percent(detail.at_any_step.mean)} %."
            for cell, detail in told
            if detail.steps_differ and detail.at_any_step is not None
        ],
        "plots": [Markup(svg) for svg in sweep_plots(evaluation)],  # their texts are escaped where they are drawn
        "tables": [
            table
            for table in (
                _table("epsilon", [(cell, _with_clean(detail)) for cell, detail in told if detail.by_epsilon], _radius),
                _table("steps", [(cell, detail.by_steps) for cell, detail in told if detail.by_steps], _steps),
            )
            if table["rows"]
        ],
        "doubts": [
            {
                "title": doubt.title,
                "advice": doubt.advice,
                "evidence": [
                    {"run": f"{run.name}, seed {run.config.seed}", "text": text} for run, text in doubt.evidence
                ],
            }
            for doubt in doubts
        ],
        "notes": dict.fromkeys(note for _, detail in told for note in detail.notes),
    }  # fmt: skip


def sweep_plots(evaluation: Evaluation) -> Iterator[str]:
    """Robust accuracy against epsilon, as many pictures as its lines take."""
    swept = [
        (cell.name, detail)
        for cell in evaluation.cells
        if (detail := detail_of(cell.runs)) is not None and detail.by_epsilon
    ]
    attack = evaluation.cells[0].runs[0].config.attack
    if attack is None:
        return
    for start in range(0, len(swept), MOST_LINES):
        yield sweep_svg(evaluation.attack, attack.norm, swept[start : start + MOST_LINES])


def layer_section(found: LayerResults) -> dict[str, Any] | None:
    """The section on blocks and layers; None if there is no figure."""
    if not found.figures:
        return None
    reasons: dict[str, list[str]] = {}
    for run, reason in found.left_out:
        reasons.setdefault(reason, []).append(f"{run.name}, seed {run.config.seed}")
    return {
        "figures": [_layer_figure(figure) for figure in found.figures],
        "left_out": [f"{'; '.join(names)}: {reason}" for reason, names in reasons.items()],
    }


def claim_doubts(comparison: Comparison, results: Results) -> list[str]:
    """A sentence if figures behind a comparison carry warnings."""
    names = {comparison.config.baseline, comparison.config.other}
    runs = [
        run
        for evaluation in results.evaluations
        if evaluation.title == comparison.evaluation
        for line in evaluation.lines
        for cell in line.cells
        if cell.name in names or names & set(line.names)
        for run in cell.runs
    ]
    titles = [doubt.title for doubt in doubts_of(runs)]
    return [f"figures behind this carry warnings ({'; '.join(titles)}), see the evaluation in detail"] * bool(
        titles
    )


def interval_text(found: Estimate) -> str:
    """An interval in percent, with an asterisk if it is that of a single run."""
    one = "*" if found.over == "images" else ""
    return f"{percent(found.low)} to {percent(found.high)}{one}"


def _layer_figure(figure: Figure) -> dict[str, Any]:
    """The picture, and a row a curve: distances where the head begins and ends, the largest bound, the whole network's."""
    last = len(figure.block_names)
    at = [number for number in (figure.boundary, last) if number]
    return {
        "plot": Markup(layers_svg(figure)),  # its texts are escaped where they are drawn
        "columns": [
            "distance at the logits" if number == last else f"distance at block {number}" for number in at
        ],
        "rows": [
            {
                "name": curve.name,
                "seeds": len(curve.profiles),
                "figures": [
                    *(curve.told("relative_distance", number - 1) for number in at),
                    _largest(curve),
                    *(curve.told(f"log10_{kind}") for kind in ("upper", "lower")),
                ],
            }
            for curve in figure.curves
        ],
    }  # fmt: skip


def _largest(curve: Curve) -> tuple[str, str]:
    """The certified bound of the block that has the largest, and which that is."""
    mean = curve.spread("block_upper").mean
    index = int(np.where(np.isfinite(mean), mean, -np.inf).argmax())
    figure, between = curve.told("block_upper", index)
    return (figure if figure == NOTHING else f"{figure} in block {index + 1}"), between


def _members(cell: Cell, detail: Detail) -> dict[str, Any]:
    return {
        "cell": cell.name,
        "rows": [
            {
                "title": member.title,
                "attacked": f"{member.attacked:.0f}",
                "robust": percent(member.robust.mean),
                "interval": interval_text(member.robust),
                "time": duration(member.seconds),
            }
            for member in detail.members
        ],
    }


def _with_clean(detail: Detail) -> list[Point]:
    return [Point(0.0, detail.headline.steps, detail.clean), *detail.by_epsilon]


def _table(
    title: str, curves: Sequence[tuple[Cell, Sequence[Point]]], place: Callable[[Point], tuple[float, str]]
) -> dict[str, Any]:
    """A row a cell, a column a place of the sweep; cells may have been swept at different places."""
    columns = dict(sorted({place(point) for _, curve in curves for point in curve}))
    rows = []
    for cell, curve in curves:
        found = {place(point)[0]: point.robust for point in curve}
        figures = [found.get(at) for at in columns]
        rows.append(
            {
                "cell": cell.name,
                "figures": [
                    {"robust": percent(item.mean), "interval": interval_text(item)} if item else None
                    for item in figures
                ],
            }
        )
    return {"title": title, "columns": list(columns.values()), "rows": rows}


def _radius(point: Point) -> tuple[float, str]:
    return point.epsilon, format_ratio(point.epsilon) if point.epsilon else "0 (clean)"


def _steps(point: Point) -> tuple[float, str]:
    return point.steps, str(point.steps)
