"""What each verb of the command line does. Each returns the exit code: 0, or 1 if a run did not finish."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from engine import api
from engine.cli import report
from engine.cli.client import Client, Paused
from engine.cli.common import UsageError, client_of, command_line, find_run, say
from engine.cli.evaluation import attacks_as_json, attacks_text, evaluation_texts
from engine.cli.progress import showing
from engine.cli.settings import attacking_run, changes_of, chosen_study, surrogate
from engine.config import StageName, StudyConfig
from engine.events import RunInfo
from engine.report.tables import results_as_json
from engine.results import results_of
from engine.titles import run_title, varied_studies
from engine.wording import NOTHING, duration

#: So many evaluations are printed in detail after the runs of a study.
DETAILED = 6


def demo(options: argparse.Namespace) -> int:
    """Make the runs of the demo."""
    return _make_study(chosen_study("demo", options), options, ["demo"])


def run(options: argparse.Namespace) -> int:
    """Make the runs of a study file or a preset."""
    return _make_study(chosen_study(options.study, options), options, ["run", options.study])


def attack(options: argparse.Namespace) -> int:
    """Attack the model of a run, or of a checkpoint file, in a run of its own."""
    with showing() as display, client_of(options, display) as client:
        checkpoint = Path(options.run)
        if options.surrogate is not None:
            options.surrogate = surrogate(options.surrogate, client.runs.values())
        if checkpoint.is_file():
            config = attacking_run(None, str(checkpoint.resolve()), checkpoint.stem, options)
        else:
            parent = find_run(options.run, client.runs.values())
            config = attacking_run(parent, parent.id, parent.name, options)
        study = StudyConfig(title="Attacks", runs=[config])
        started = time.monotonic()
        try:
            made = client.make(study)
        except Paused as pause:
            made_id = next(iter(client.runs))
            display.line("Paused and saved. Go on with: " + command_line(options, ["resume", made_id]))
            return 128 + pause.number
        display.close()
        return tell(study, made, client, options, started)


def resume(options: argparse.Namespace) -> int:
    """Go on with one run that was paused, stopped, interrupted or failed."""
    with showing() as display, client_of(options, display) as client:
        found = find_run(options.run, client.runs.values())
        if found.state == "finished":
            raise UsageError(f"{found.name} ({found.id}) is finished; there is nothing to go on with.")
        started = time.monotonic()
        try:
            made = client.resume(found.id)
        except Paused as pause:
            display.line("Paused and saved. Go on with: " + command_line(options, ["resume", found.id]))
            return 128 + pause.number
        display.close()
        return tell(None, [made], client, options, started)


def export(options: argparse.Namespace) -> int:
    """Write weights, tables or the whole of a run."""
    written = []
    with showing() as display, client_of(options, display) as client:
        found = find_run(options.run, client.runs.values())
        if options.weights is not None:
            if options.weights.suffix not in (".safetensors", ".pt"):
                raise UsageError(
                    f"--weights needs a name ending in .safetensors or .pt, got {options.weights}"
                )
            stages = [stage for stage in found.config.stages if stage != "attack"]
            if not stages:
                raise UsageError(
                    f"{found.name} trained nothing; export the weights of the run it started from."
                )
            stage: StageName = options.stage or stages[-1]
            written.append(client.export_weights(found.id, stage, options.weights.resolve()))
        if options.tables is not None:
            written.append(client.export_tables(found.id, options.tables.resolve()))
        if options.whole is not None:
            destination = options.whole.resolve()
            written.append(
                client.export_run(
                    found.id, destination, with_checkpoint=options.checkpoint, overwrite=options.overwrite
                )
            )
    if options.json:
        say(report.as_json({"run": found.id, "written": written}))
    else:
        say("\n".join(f"Written: {path}" for path in written))
    return 0


def import_run(options: argparse.Namespace) -> int:
    """Take a run that was exported whole into the workspace."""
    with showing() as display, client_of(options, display) as client:
        taken = client.import_run(options.path.resolve())
    if options.json:
        say(report.as_json(report.run_as_json(taken)))
    else:
        say(f"{taken.title} is now run {taken.id} ({taken.state}): {taken.path}")
    return 0


def attacks(options: argparse.Namespace) -> int:
    """List the attacks with their norms, settings and defaults."""
    say(report.as_json(attacks_as_json()) if options.json else attacks_text())
    return 0


def presets(options: argparse.Namespace) -> int:
    """List the studies that come with the program, or print one as TOML."""
    if options.name:
        known = api.presets()
        if options.name not in known:
            raise UsageError(f"There is no preset {options.name!r}. The presets are: {', '.join(known)}.")
        study, text = known[options.name], api.preset_texts()[options.name]
        say(report.as_json(study.model_dump(mode="json")) if options.json else text.rstrip())
        return 0
    known = api.presets()
    if options.json:
        say(report.as_json({name: study.model_dump(mode="json") for name, study in known.items()}))
    else:
        rows = [(name, str(len(study.runs)), study.title) for name, study in known.items()]
        say(report.format_table(("name", "runs", "title"), rows))
    return 0


def _make_study(study: StudyConfig, options: argparse.Namespace, words: list[str]) -> int:
    started = time.monotonic()
    if options.only:
        study = study.part(options.only)
        words = [*words, *(word for name in options.only for word in ("--only", name))]
    if options.dry_run:
        return _tell_plan(study, options)
    go_on = command_line(options, [*words, "--resume", *changes_of(options)])
    with showing() as display, client_of(options, display) as client:
        if not options.resume and (unfinished := _unfinished(study, client.runs.values())):
            display.line(
                f"New runs are made, although {unfinished} unfinished with the same settings can go on: {go_on}"
            )
        try:
            made = client.make(study, resume=options.resume)
        except Paused as pause:
            display.line(f"Paused and saved. Go on with: {go_on}")
            return 128 + pause.number
        display.close()
        code = tell(study, made, client, options, started)
        if any(item.state in ("created", "paused", "stopped", "interrupted") for item in made):
            display.line(f"Go on with: {go_on}")
        return code


def _unfinished(study: StudyConfig, known: Iterable[RunInfo]) -> int:
    """Count the runs of this very study, by title and settings, that were begun and not finished."""
    wanted = {(run.name, run.seed): run for run in study.runs}
    return sum(
        item.study == study.title
        and item.state != "finished"
        and item.config == wanted.get((item.name, item.config.seed))
        for item in known
    )


def _tell_plan(study: StudyConfig, options: argparse.Namespace) -> int:
    """List the runs of a study and what `--resume` would keep of them; makes nothing."""
    plan = []
    for config, kept in zip(
        study.runs, api.Session(options.workspace).planned(study, resume=options.resume), strict=True
    ):
        parent = study.parent_of(config)
        other_seed = parent is not None and parent.seed != config.seed
        plan.append(
            {
                "name": config.name,
                "seed": config.seed,
                "start_from": f"{config.start_from}@{parent.seed}"
                if parent and other_seed
                else config.start_from,
                "state": kept.state if kept else None,
                "id": kept.id if kept else None,
            }
        )
    if options.json:
        say(report.as_json({"study": study.title, "runs": plan}))
        return 0
    rows = [
        (
            str(row["name"]),
            str(row["seed"]),
            str(row["start_from"] or NOTHING),
            str(row["state"] or "new"),
        )
        for row in plan
    ]
    say(report.format_table(("run", "seed", "starts from", "state"), rows))
    finished = sum(row["state"] == "finished" for row in plan)
    say(f"{len(plan)} runs, {finished} of them finished. Nothing was made.")
    return 0


def tell(
    study: StudyConfig | None,
    made: Sequence[RunInfo],
    client: Client,
    options: argparse.Namespace,
    started: float,
) -> int:
    """Print what came out of runs; 1 if not all of them finished."""
    seconds = time.monotonic() - started
    found = results_of(made, client.runs, study)
    if options.json:
        answer = {
            "study": study.title if study else made[0].study,
            "workspace": str(options.workspace),
            "seconds": seconds,
            "runs": [report.run_as_json(item) for item in made],
            **results_as_json(found, settings=False),
        }
        say(report.as_json(answer))
    else:
        attacked = [item for item in made if item.result is not None]
        if any(len(cell.seeds) > 1 for cell in found.cells):
            say(f"\n{report.study_results(found)}\n")
        elif attacked:
            say("\n" + report.results_table(attacked, client.runs) + "\n")
            if found.comparisons:
                say(report.comparisons_text(found.comparisons) + "\n")
        details = evaluation_texts(found.cells)
        for text in details[:DETAILED]:
            say(text + "\n")
        if rest := len(details[DETAILED:]):
            words = ["report", made[0].study, "--to", "report"]
            say(
                f"{rest} more evaluations have such details. See them all with: {command_line(options, words)}\n"
            )
        varied = varied_studies(made)
        for item in made:
            if item.state != "finished":
                say(f"{run_title(item, varied)}: {item.state}" + (f": {item.reason}" if item.reason else ""))
        say("Run files:")
        for item in made:
            say(f"  {item.path}")
        say(f"That took {duration(seconds)}.")
    wanted = len(study.runs) if study else 1
    return 0 if len(made) == wanted and all(item.state == "finished" for item in made) else 1
