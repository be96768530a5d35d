"""The verbs that tell what a study found: `cartl results` and `cartl report`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from engine import api
from engine.cli import report
from engine.cli.common import UsageError, client_of, say
from engine.cli.progress import showing
from engine.cli.settings import changes_of
from engine.config import ComparisonConfig, load_study, parse_study
from engine.events import RunInfo
from engine.report import StudySource
from engine.report.tables import results_as_json
from engine.results import Results, results_of, study_runs


def results(options: argparse.Namespace) -> int:
    """Tell what a study found, or list the studies of the workspace."""
    with showing() as display, client_of(options, display) as client:
        known, questions = client.runs, client.questions
    if options.study is None:
        if options.compare or changes_of(options):
            raise UsageError("--compare, --set and --sweep need the STUDY that they are meant for.")
        return _list_studies(known, options)
    title, source = _study(options, known)
    study = source.study if source else None
    asked = [
        ComparisonConfig(baseline=baseline, other=other, measure="robust_at_equal_clean")
        for baseline, other in options.compare
    ]
    own = study.comparisons if study else questions.get(title, ())
    found = results_of(study_runs(title, known), known, study, comparisons=[*own, *asked])
    _require_lines(found, asked)
    if options.json:
        answer = {
            "study": title,
            "workspace": str(options.workspace),
            **results_as_json(found, settings=False),
        }
        say(report.as_json(answer))
    else:
        say(f"{title}\n\n{report.study_results(found)}")
    return 0


def write(options: argparse.Namespace) -> int:
    """Write the report of a study."""
    with showing() as display, client_of(options, display) as client:
        title, source = _study(options, client.runs)
        written = client.export_report(title, options.to.resolve(), source)
    say(report.as_json({"study": title, "written": written}) if options.json else f"Written: {written}")
    return 0


def _list_studies(known: Mapping[str, RunInfo], options: argparse.Namespace) -> int:
    if options.json:
        titles = dict.fromkeys(run.study for run in known.values())
        listed = [
            {
                "title": title,
                "runs": len(runs := study_runs(title, known)),
                "finished": sum(run.state == "finished" for run in runs),
            }
            for title in titles
        ]
        say(report.as_json(listed))
    elif known:
        say(report.studies_table(known.values()))
    else:
        say(f"There are no runs in {options.workspace} yet. Start with: cartl demo")
    return 0


def _study(options: argparse.Namespace, known: Mapping[str, RunInfo]) -> tuple[str, StudySource | None]:
    """The title of the study that is meant, and its settings where a file or a preset has them.

    Raises:
        UsageError: there is none, or none of its runs is in the workspace.
        ConfigError: the file cannot be used.
    """
    text, path = options.study, Path(options.study)
    titles = list(dict.fromkeys(run.study for run in known.values()))
    presets = api.preset_texts()
    more = tuple(changes_of(options))
    source: StudySource | None = None
    if path.is_file():
        study = load_study(path, options.set, options.sweep)
        toml = path.read_text(encoding="utf-8-sig")
        source = StudySource(study, toml, (path.name, *more), path.name)
    elif (name := text if text in presets else _preset_called(text)) is not None:
        study = parse_study(presets[name], options.set, options.sweep, origin=f"{name}.toml")
        source = StudySource(study, presets[name], (name, *more), f"{name}.toml")
    elif text not in titles:
        listed = ", ".join(repr(title) for title in titles[:10]) or "none"
        raise UsageError(
            f"There is no study file, preset or study of this workspace {text!r}. Studies here: {listed}. "
            f"Presets: {', '.join(presets)}."
        )
    elif more:
        raise UsageError("--set and --sweep need a study file or a preset, whose settings they change.")
    title = source.study.title if source else text
    if title not in titles:
        raise UsageError(
            f"No run of {title!r} is in {options.workspace} yet. Make them with: cartl run {options.study}"
        )
    return title, source


def _preset_called(title: str) -> str | None:
    """The name of the preset that has this title."""
    return next((name for name, study in api.presets().items() if study.title == title), None)


def _require_lines(found: Results, asked: list[ComparisonConfig]) -> None:
    """Refuse questions about lines that do not exist.

    Raises:
        UsageError: naming the lines that there are.
    """
    names = {name: None for item in found.evaluations for line in item.lines for name in line.names}
    for config in asked:
        for name in (config.baseline, config.other):
            if name not in names:
                raise UsageError(
                    f"There is no line {name!r}. The lines are: {', '.join(map(repr, names)) or 'none yet'}."
                )
