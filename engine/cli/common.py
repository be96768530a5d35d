"""What several verbs need: telling, refusing, finding a run, and writing down a command line that goes on."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from engine import api
from engine.cli.client import Client
from engine.cli.progress import Display
from engine.commands import program, shell
from engine.errors import CartlError
from engine.events import RunInfo


class UsageError(CartlError):
    """The command asks for something that does not exist; the exit code is 2."""


def say(text: str) -> None:
    """Write a result to stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def client_of(options: argparse.Namespace, display: Display, *, take_up: bool = False) -> Client:
    """A client for the workspace that the options name; with `take_up` it works off the queue that is there."""
    return Client(options.workspace, display, verbose=options.verbose, take_up=take_up)


def find_run(text: str, known: Iterable[RunInfo]) -> RunInfo:
    """Find a run by its id, the beginning of its id, its folder, its name or the title that the user gave it.

    Raises:
        UsageError: no run fits, or several do.
    """
    all_runs = list(known)
    folder = os.path.abspath(text)
    for fits in (
        [item for item in all_runs if item.id == text or os.path.abspath(item.path) == folder],
        [item for item in all_runs if text in (item.name, item.label.title) and text],
        [item for item in all_runs if text and item.id.startswith(text)],
    ):
        if len(fits) == 1:
            return fits[0]
        if fits:
            shown = ", ".join(f"{item.id} (seed {item.config.seed})" for item in fits[:8])
            shown += ", ..." if len(fits) > 8 else ""
            raise UsageError(f"{len(fits)} runs fit {text!r}: {shown}. Name one by its id.")
    raise UsageError(f"There is no run {text!r} here. `cartl runs` lists the runs.")


def command_line(options: argparse.Namespace, words: Sequence[str]) -> str:
    """Write a command line that goes on with what this one began."""
    line = [*program(Path.cwd()), *words]
    if options.workspace != api.default_workspace():
        line += ["--workspace", str(options.workspace)]
    return shell(line)
