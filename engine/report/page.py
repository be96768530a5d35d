"""The report as one HTML page: no script, nothing fetched, readable in light, dark and on paper."""

from __future__ import annotations

import base64
import datetime
import math
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import tomlkit
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

import engine
from engine.config import StudyConfig
from engine.events import RunInfo
from engine.report.detail import doubts_of
from engine.report.layers import LayerResults
from engine.report.plot import trade_off_svg
from engine.report.section import claim_doubts, interval_text, layer_section, section_of
from engine.report.tables import Command
from engine.results import MEASURE_TITLES, MEASURED, Cell, Comparison, Evaluation, Results
from engine.store.run_folder import RunFolder
from engine.wording import duration, percent
from engine.wording import points as plain_points

#: What a run records about its machine, in the order in which the report shows it.
RECORDED = ("program", "python", "torch", "numpy", "device", "threads", "system")

VERDICTS = {
    "shown": "✓ shown",
    "opposite": "✗ the opposite is shown",
    "not shown": "– not shown: the interval holds 0",
    "no interval": "– not decided: one seed gives no interval",
    "no data": "– no data",
}


def report_html(
    results: Results,
    layers: LayerResults,
    *,
    study: StudyConfig,
    toml: str,
    file: str,
    command: Command,
    moment: float,
) -> str:
    """Write the page.

    Args:
        results: what is shown.
        layers: the same runs layer by layer.
        study: its title and description.
        toml: the study as it can be made again; it is put into the page.
        file: name under which the page offers it.
        command: gives the command that makes a cell again.
        moment: when the report is made, Unix time.
    """
    shared, own = split_settings(results.cells)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(
        files("engine.report").joinpath("report.html").read_text(encoding="utf-8")
    )
    encoded = base64.b64encode(toml.encode("utf-8", errors="backslashreplace")).decode("ascii")
    return template.render(
        title=study.title,
        description=study.description.strip(),
        summary=_summary(results),
        claims=[_claim(item, results) for item in results.comparisons],
        evaluations=[_evaluation(item) for item in results.evaluations],
        layers=layer_section(layers),
        method=_method(results),
        problems=_problems(results),
        shared=tomlkit.dumps(_nested(shared)).strip() or "none",
        own=[
            {
                "name": cell.name,
                "settings": ", ".join(f"{key} = {_short(value)}" for key, value in table.items()),
            }
            for cell, table in own
            if table
        ],
        repeat=(
            f"The study is at the end of this section; save it as {file} if it is not at hand. Each command makes "
            "one row of the tables with all its seeds, and what it starts from. On the same machine and versions, "
            "with the same number of threads, the figures are the same; elsewhere they agree within rounding."
        ),
        commands=[
            {"name": name, "command": line} for name, line in _commands(results.cells, command).items()
        ],
        toml=toml,
        file=file,
        link=f"data:text/plain;charset=utf-8;base64,{encoded}",
        versions=_versions(results),
        made=f"Report made on {_day(moment)} with CARTL Workbench {engine.__version__}.",
    )


def split_settings(
    cells: Sequence[Cell],
) -> tuple[dict[str, Any], list[tuple[Cell, dict[str, Any]]]]:
    """The settings that all cells share, and for each cell the others."""
    tables = [cell.settings for cell in cells]
    shared = {
        key: value
        for key, value in (tables[0] if tables else {}).items()
        if all(key in table and table[key] == value for table in tables)
    }
    return shared, [
        (cell, {key: value for key, value in cell.settings.items() if key not in shared}) for cell in cells
    ]


def machines(runs: Iterable[RunInfo]) -> list[tuple[dict[str, str], int]]:
    """What the runs recorded about the machines they computed on, and how many runs each time."""
    found: dict[tuple[str, ...], int] = {}
    for run in runs:
        entries = RunFolder(Path(run.path)).read_journal() if run.path else []
        notes = [entry for entry in entries if entry.get("kind") == "machine"] or [{}]
        # A run that went on elsewhere has several.
        for key in dict.fromkeys(
            tuple(str(note.get(name, "not recorded")) for name in RECORDED) for note in notes
        ):
            found[key] = found.get(key, 0) + 1
    return [(dict(zip(RECORDED, key, strict=True)), count) for key, count in found.items()]


def points(difference: float) -> str:
    """A difference of shares in points, with a typographic minus."""
    return plain_points(difference).replace("-", "−")


def _summary(results: Results) -> str:
    runs = _all_runs(results)
    seeds = {run.config.seed for cell in results.cells for run in cell.runs}
    parts = [
        f"{_count(len(results.cells), 'cell')} from {_count(len(runs), 'run')} with {_count(len(seeds), 'seed')}"
    ]
    if runs:
        first, last = (_day(pick(run.created for run in runs)) for pick in (min, max))
        parts.append(f"made {first}" if first == last else f"made {first} to {last}")
        parts.append(f"{duration(math.fsum(run.seconds for run in runs))} of computing")
    if missing := len(results.unfinished) + len(results.missing):
        parts.append(f"{_count(missing, 'run')} missing, see below")
    return "; ".join(parts) + "."


def _claim(comparison: Comparison, results: Results) -> dict[str, Any]:
    config, found = comparison.config, comparison.difference
    equal_clean = config.measure == "robust_at_equal_clean"
    figure = "no difference can be given"
    if comparison.pairs:
        figure = f"{points(found.mean)} points"
        if found.over == "seeds":
            figure += f" ({points(found.low)} to {points(found.high)})"
        figure += f", {_count(found.count, 'seed')}"
    at = ""
    if comparison.clean_range:
        low, high = comparison.clean_range
        at = f", at {percent(low)} %" + (f" to {percent(high)} %" if high > low else "") + " clean accuracy"
    return {
        "title": comparison.title,
        "css": comparison.verdict.replace(" ", "-"),
        "figure": figure,
        "verdict": VERDICTS[comparison.verdict],
        "sides": (
            f"{MEASURE_TITLES[config.measure].capitalize()} of “{config.other}” minus “{config.baseline}”{at}; "
            f"expected: {config.expected}. {comparison.evaluation}"
        ),
        "notes": [*comparison.notes, *claim_doubts(comparison, results)],
        "equal_clean": equal_clean,
        "baseline": config.baseline,
        "other": config.other,
        "pairs": [
            {
                "seed": pair.seed,
                "clean": " to ".join(dict.fromkeys(map(percent, pair.clean or ()))),
                "baseline": percent(pair.baseline),
                "other": percent(pair.other),
                "difference": points(pair.other - pair.baseline),
            }
            for pair in comparison.pairs
        ],
    }


def _evaluation(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "title": evaluation.title,
        "plot": Markup(trade_off_svg(evaluation)),  # its texts are escaped where it is drawn
        "rows": [
            {
                "name": cell.name,
                "pretraining": cell.pretraining,
                "transfer": cell.transfer,
                "k": "–" if cell.k is None else cell.k,
                "seeds": len(cell.seeds),
                "clean": percent(cell.clean.mean),
                "clean_interval": interval_text(cell.clean),
                "robust": percent(cell.robust.mean),
                "robust_interval": interval_text(cell.robust),
                "doubts": "; ".join(doubt.title for doubt in doubts_of(cell.runs)),
                "front": "Pareto" if cell.name in evaluation.front else "",
                "time": duration(cell.seconds),
            }
            for cell in evaluation.cells
        ],
        "detail": section_of(evaluation),
    }


def _method(results: Results) -> str:
    over = {cell.robust.over for cell in results.cells}
    text = (
        "Accuracies are shares of the attacked test images. A cell is all runs of one name, which have the same "
        "settings and other seeds; its figures are means over the seeds with the 95 % interval of Student's t "
        "(mean ± t · s / √n, cut to 0 to 100 %): the range in which the mean over all seeds lies with 95 % confidence, "
        "if results vary normally from seed to seed. "
    )
    if "images" in over:
        text += (
            "Where an interval has an asterisk the cell has a single seed: it is the Wilson interval of that one "
            "run over its test images and says nothing about other seeds. "
        )
    measures = dict.fromkeys(item.config.measure for item in results.comparisons)
    if measures:
        text += (
            "Comparisons are made between runs of the same seed, other minus baseline, and averaged with the 95 % "
            "interval of Student's t: " + "; ".join(MEASURED[name] for name in measures) + ". "
            "A claim counts as shown only if the whole interval lies on the side that was expected."
        )
    return text.strip()


def _problems(results: Results) -> list[dict[str, Any]]:
    return [
        *(
            {"name": run.name, "seed": run.config.seed, "state": run.state, "reason": run.reason}
            for run in results.unfinished
        ),
        *(
            {"name": name, "seed": seed, "state": "never made", "reason": ""}
            for name, seed in results.missing
        ),
        *(
            {"name": run.name, "seed": run.config.seed, "state": "not shown", "reason": why}
            for run, why in results.left_out
        ),
    ]


def _commands(cells: Iterable[Cell], command: Command) -> dict[str, str]:
    return {cell.name: command(cell) for cell in cells}


def _versions(results: Results) -> dict[str, Any]:
    return {
        "names": RECORDED,
        "rows": [
            {"runs": count, "figures": list(table.values())} for table, count in machines(_all_runs(results))
        ],
    }


def _all_runs(results: Results) -> list[RunInfo]:
    """The runs behind the figures, those that others start from included, each once."""
    runs = {run.id: run for cell in results.cells for chain in cell.chains for run in chain}
    return list((runs | {run.id: run for run in results.trained}).values())


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted names as tables within tables; plain values first, as TOML wants them."""
    tables: dict[str, Any] = {}
    for key, value in sorted(flat.items(), key=lambda item: "." in item[0]):
        *path, last = key.split(".")
        table = tables
        for part in path:
            table = table.setdefault(part, {})
        table[last] = value
    return tables


def _short(value: Any) -> str:
    return str(tomlkit.item(value).as_string())


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _day(moment: float) -> str:
    then = datetime.datetime.fromtimestamp(moment)
    return f"{then.day} {then:%b %Y, %H:%M}"
