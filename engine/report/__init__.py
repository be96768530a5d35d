"""Reports of a study as files: one HTML page, CSV, JSON and SVG."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import engine
from engine.config import ComparisonConfig, InspectionConfig, RunConfig, StudyConfig, dump_study
from engine.errors import StoreError
from engine.events import RunInfo
from engine.report.layer_plot import layers_svg
from engine.report.layers import layer_results, layers_csv
from engine.report.page import machines, report_html
from engine.report.plot import trade_off_svg
from engine.report.section import sweep_plots
from engine.report.tables import cells_csv, detail_csv, results_as_json, runs_csv
from engine.results import Cell, Results, results_of, study_runs
from engine.store.atomic import write_text

__all__ = ["StudySource", "report_files", "trade_off_svg", "write_report"]

REPORT_VERSION = 1
#: Files of a report that are there only where something fills them.
OPTIONAL = ("attacks.csv", "sweep.csv", "warnings.csv", "layers.csv", "sweep.svg", "layers.svg")


@dataclass(frozen=True)
class StudySource:
    """How a study is made again.

    Attributes:
        study: its settings.
        toml: the same as a file says it, grid and comments included.
        called: words that name it on the command line: ("demo",), ("study.toml", "--set", "attack.steps=50").
        file: name of the file to offer.
    """

    study: StudyConfig
    toml: str
    called: tuple[str, ...]
    file: str

    def made(self, results: Results) -> bool:
        """Whether the runs behind these results have the settings of this study, not others of the same title.

        What was measured on the way may differ: it changes no result.
        """
        planned = {(run.name, run.seed): _unwatched(run) for run in self.study.runs}
        runs = [*results.trained, *(run for cell in results.cells for run in cell.runs)]
        return all(_unwatched(run.config) == planned.get((run.name, run.config.seed)) for run in runs)

    def command(self, cell: Cell) -> str:
        """The command that makes a cell again, with all its seeds and with what it starts from."""
        return shlex.join(["cartl", "run", *self.called, "--only", cell.name])


def _unwatched(run: RunConfig) -> RunConfig:
    return run.model_copy(update={"inspection": InspectionConfig()})


def write_report(
    title: str,
    known: Mapping[str, RunInfo],
    destination: Path,
    *,
    source: StudySource | None = None,
    comparisons: Sequence[ComparisonConfig] | None = None,
) -> Path:
    """Write the report of a study: all of it into a folder, or one file if the name ends in a known way.

    Args:
        title: the study's.
        known: every run of the workspace by id.
        destination: a folder for report.html, report.csv, runs.csv, report.json, trade-off.svg and, where there is
            something to fill them, attacks.csv, sweep.csv, warnings.csv, layers.csv, sweep.svg and layers.svg; or a file
            with one of these names; or any other that ends in .html, .csv, .json or .svg and becomes the report, its
            table of cells or its trade-off plot.
        source: the study, if at hand. Without it, or if the runs have other settings (as `--set` gives them), it is
            put together from the settings of the runs.
        comparisons: questions to answer; those of the study if left out.

    Raises:
        StoreError: the study has no runs, there is no such kind of file, there is nothing to fill it, or the files
            cannot be written.
    """
    runs = study_runs(title, known)
    if not runs:
        raise StoreError(f"no run of the workspace belongs to a study {title!r}")
    results = results_of(runs, known, source.study if source else None, comparisons=comparisons)
    if source is None or not source.made(results):
        questions = (source.study.comparisons if source else ()) if comparisons is None else comparisons
        source = source_of(title, results, questions, description=source.study.description if source else "")
    made = report_files(results, source)
    kind, folder = destination.suffix.lower(), destination
    wanted = {f".{name.rpartition('.')[2]}": name for name in reversed(made)}
    if kind[1:].isalpha() and not destination.is_dir():
        if kind not in wanted:
            raise StoreError(
                f"a report is a folder or a file that ends in {', '.join(wanted)}, not in {destination.suffix}"
                + ("; print the .html to PDF" if kind == ".pdf" else "")
            )
        if destination.name in OPTIONAL and destination.name not in made:
            raise StoreError(
                f"the runs of {title!r} hold nothing for {destination.name}; a file of another name that ends in {kind} "
                f"becomes {wanted[kind]}"
            )
        made = {destination.name: made.get(destination.name) or made[wanted[kind]]}
        folder = destination.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder} cannot be made: {error.strerror}") from error
    for name, text in made.items():
        write_text(folder / name, text)
    return destination


def report_files(results: Results, source: StudySource) -> dict[str, str]:
    """The text of every file of a report by its name; further plots of a kind are trade-off-2.svg and so on."""
    moment = time.time()
    layers = layer_results(results)
    made = {
        "report.html": report_html(
            results,
            layers,
            study=source.study,
            toml=source.toml,
            file=source.file,
            command=source.command,
            moment=moment,
        ),
        "report.csv": cells_csv(results, source.command),
        "runs.csv": runs_csv(results),
        **detail_csv(results),
        **({"layers.csv": layers_csv(layers)} if layers.profiles else {}),
        "report.json": _json(results, source, moment),
    }
    sweeps = [svg for evaluation in results.evaluations for svg in sweep_plots(evaluation)]
    trade_offs = [trade_off_svg(evaluation) for evaluation in results.evaluations]
    profiles = [layers_svg(figure) for figure in layers.figures]
    for kind, drawn in (("trade-off", trade_offs), ("sweep", sweeps), ("layers", profiles)):
        for number, svg in enumerate(drawn, start=1):
            made[f"{kind}{f'-{number}' if number > 1 else ''}.svg"] = svg
    return made


def source_of(
    title: str, results: Results, comparisons: Sequence[ComparisonConfig] = (), *, description: str = ""
) -> StudySource:
    """A study put together from the runs that are shown and those that they start from."""
    runs: dict[tuple[str, int], RunConfig] = {}
    for cell in results.cells:
        for chain in cell.chains:
            for run in reversed(chain):
                runs.setdefault((run.name, run.config.seed), run.config)
    for run in (*results.trained, *results.unfinished):
        runs.setdefault((run.name, run.config.seed), run.config)
    study = StudyConfig(title=title, description=description, runs=list(runs.values()))
    usable = [
        item for item in comparisons
        if {item.baseline, item.other} <= set(study.comparable(item.measure))
    ]  # fmt: skip
    study = study.model_copy(update={"comparisons": usable})
    return StudySource(study, dump_study(study), ("study.toml",), "study.toml")


def _json(results: Results, source: StudySource, moment: float) -> str:
    runs = {run.id: run for cell in results.cells for chain in cell.chains for run in chain}
    plain = {
        "version": REPORT_VERSION,
        "study": source.study.title,
        "description": source.study.description,
        "made": moment,
        "program": engine.__version__,
        **results_as_json(results, command=source.command),
        "machines": [table | {"runs": count} for table, count in machines(runs.values())],
        "toml": source.toml,
    }
    return json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
