"""`cartl estimate`: what a study will take, before it is begun."""

from __future__ import annotations

import argparse
import textwrap
import time
from dataclasses import asdict
from typing import Any

from engine.cli import report
from engine.cli.common import client_of, say
from engine.cli.progress import showing
from engine.cli.settings import chosen_study
from engine.events import StudyEstimated
from engine.wording import NOTHING, duration, format_bytes


def estimate(options: argparse.Namespace) -> int:
    """Time a few steps of each run of a study and tell what all will take; makes nothing."""
    study = chosen_study(options.study, options)
    if options.only:
        study = study.part(options.only)
    with showing() as display, client_of(options, display) as client:
        display.stage("Timing a few steps of each run", 0)
        found = client.estimate(study, resume=options.resume)
    answer = estimate_as_json(study.title, found, time.time())
    say(report.as_json(answer) if options.json else estimate_text(found, time.time()))
    return 0


def estimate_as_json(study: str, found: StudyEstimated, now: float) -> dict[str, Any]:
    """An estimate with its sums: seconds, bytes, and the Unix time at which all would have ended."""
    sums = {"seconds": found.seconds, "ends": now + found.seconds, "memory": found.memory, "disk": found.disk}
    return {"study": study, **sums, **asdict(found)}


def estimate_text(found: StudyEstimated, now: float) -> str:
    """An estimate as a table with the sums below, then warnings and doubts."""
    if not found.runs:
        return "Nothing to compute: all runs are finished."
    several = len({run.seed for run in found.runs}) > 1
    rows = [
        (
            f"{run.name}, seed {run.seed}" if several else run.name,
            duration(run.seconds),
            NOTHING if run.memory is None else format_bytes(run.memory),
            format_bytes(run.disk),
        )
        for run in found.runs
    ]
    memory = NOTHING if found.memory is None else format_bytes(found.memory)
    rows.append(("in all", duration(found.seconds), memory, format_bytes(found.disk)))
    table = report.format_table(("run", "time", "memory", "disk"), rows)
    free = "" if found.memory_free is None else f"{format_bytes(found.memory_free)} of memory and "
    end = time.strftime("%Y-%m-%d %H:%M", time.localtime(now + found.seconds))
    told = [
        f"Begun now, it ends about {end}. {free}{format_bytes(found.disk_free)} on disk are free. "
        f"Timed for {duration(found.probe_seconds)} on {found.device}; nothing was made.",
        *(f"Warning: {text}" for text in found.warnings),
        *(f"Note: {text}" for text in found.doubts),
    ]
    return "\n".join([table, *(textwrap.fill(text, report.WIDTH, subsequent_indent="  ") for text in told)])
