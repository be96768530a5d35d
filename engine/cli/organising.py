"""What the verbs do that keep runs in order: labels, the bin, the queue, making a run anew."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from engine.cli import report
from engine.cli.client import Paused
from engine.cli.common import UsageError, client_of, command_line, find_run, say
from engine.cli.progress import showing
from engine.cli.verbs import tell
from engine.commands import command_of_run, command_of_study
from engine.errors import CartlError
from engine.events import RunInfo
from engine.query import QueryError, parse_query


def add_verbs(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """Add these verbs to the command line; `verb` takes name, function and help of one."""
    one = "id, name or folder of the run"
    several = "id, name or folder of a run"

    child = verb("runs", runs, "list the runs of the workspace")
    child.add_argument(
        "--filter", metavar="TEXT",
        help="only those that a query chooses, such as 'robust > 45 stage:transfer -tag:old'; it is made of words, states, "
        "tags, accuracies in percent and settings, with or, not and brackets",
    )  # fmt: skip
    child.add_argument("--archived", action="store_true", help="also those that are archived")

    child = verb(
        "label", label, "write a title, tags, a star or notes on a run",
        "Its settings stay as they are. Without any option it shows what is written there.",
    )  # fmt: skip
    child.add_argument("run", metavar="RUN", help=one)
    child.add_argument(
        "--title", metavar="TEXT", help="what lists call it; '' takes the name of its settings"
    )
    child.add_argument(
        "--tag", action="append", default=[], metavar="WORD", help="add a tag; may be repeated"
    )
    child.add_argument(
        "--untag", action="append", default=[], metavar="WORD", help="remove a tag; may be repeated"
    )
    child.add_argument("--star", action=argparse.BooleanOptionalAction, help="mark it as important")
    child.add_argument("--notes", metavar="TEXT", help="replace the notes; '' removes them")
    child.add_argument(
        "--archive",
        action=argparse.BooleanOptionalAction,
        help="leave it out of lists that do not ask for it",
    )

    child = verb(
        "bin", move_to_bin, "move runs to the bin, from which they can be restored",
        "Runs from which others start have to stay. Without RUN it lists what is in the bin.",
    )  # fmt: skip
    child.add_argument("runs", nargs="*", metavar="RUN", help=several)
    child.add_argument("--empty", action="store_true", help="delete for good what is in the bin")

    child = verb("restore", restore, "bring runs back from the bin, with those that they start from")
    child.add_argument("runs", nargs="+", metavar="RUN", help=several)

    child = verb("queue", queue, "list the runs that wait in the queue of the window")
    child.add_argument("--go", action="store_true", help="take the queue up and work it off")

    child = verb(
        "command", command, "print the command that makes a run or a study again, with the same numbers",
        "Their settings are kept in the workspace, with those of the runs that they start from.",
    )  # fmt: skip
    child.add_argument("run", metavar="RUN_OR_STUDY", help=f"{one}, or the title of a study")

    child = verb("repeat", repeat, "make a run anew with the same settings")
    child.add_argument("run", metavar="RUN", help=one)
    child.add_argument(
        "--half-batch", action="store_true", help="with half the batch size, as after too little memory"
    )


def runs(options: argparse.Namespace) -> int:
    """List the runs of the workspace, or those that a query chooses."""
    try:
        query = parse_query(options.filter or "")
    except QueryError as error:
        raise UsageError(f"--filter: {error}") from error
    with showing() as display, client_of(options, display) as client:
        known = list(client.runs.values())
    archived = options.archived or query.asks_for_archived
    listed = [run for run in known if query.accepts(run) and (archived or not run.label.archived)]
    if options.json:
        say(report.as_json([report.run_as_json(item) for item in listed]))
    elif listed:
        say(report.runs_table(listed))
        hidden = sum(run.label.archived for run in known if query.accepts(run)) if not archived else 0
        if hidden:
            say(f"\n{hidden} archived left out; --archived lists them too.")
    elif known:
        say("No run fits; archived ones are left out without --archived.")
    else:
        say(f"There are no runs in {options.workspace} yet. Start with: cartl demo")
    return 0


def label(options: argparse.Namespace) -> int:
    """Change what is written on a run; without any option, show it."""
    with showing() as display, client_of(options, display) as client:
        found = find_run(options.run, client.runs.values())
        given = {
            "title": options.title,
            "star": options.star,
            "notes": options.notes,
            "archived": options.archive,
        }
        changes = {name: value for name, value in given.items() if value is not None}
        tags = {*found.label.tags, *options.tag} - {*options.untag}
        changed = replace(found.label, **changes, tags=tuple(sorted(tags)))
        if changed != found.label:
            found = client.label(found.id, changed)
    if options.json:
        say(report.as_json(report.run_as_json(found)))
    else:
        say(report.label_text(found))
    return 0


def move_to_bin(options: argparse.Namespace) -> int:
    """Move runs to the bin, empty it, or list what is there; 1 if some runs have to stay."""
    if options.empty and options.runs:
        raise UsageError("--empty deletes all that is in the bin; name no runs with it.")
    moved: tuple[RunInfo, ...] = ()
    problem = ""
    with showing() as display, client_of(options, display) as client:
        if options.empty:
            deleted = list(client.binned.values())
            client.empty_bin()
        elif options.runs:
            moved, problem = client.bin(_found(options.runs, client.runs.values()))
        binned = list(client.binned.values())
    if options.empty:
        _say_moved(deleted, options, f"Deleted for good: {len(deleted)} runs.")
    elif options.runs:
        _say_moved(moved, options, f"In the bin: {', '.join(run.title for run in moved) or 'nothing new'}.")
    elif options.json:
        say(report.as_json([report.run_as_json(run) for run in binned]))
    else:
        say(report.runs_table(binned) if binned else "The bin is empty.")
    if problem:
        raise CartlError(problem)
    return 0


def restore(options: argparse.Namespace) -> int:
    """Bring runs back from the bin."""
    with showing() as display, client_of(options, display) as client:
        restored = client.restore(_found(options.runs, client.binned.values()))
    _say_moved(restored, options, f"Restored: {', '.join(run.title for run in restored)}.")
    return 0


def queue(options: argparse.Namespace) -> int:
    """List the queue that the window left, or take it up and work it off."""
    with showing() as display, client_of(options, display, take_up=options.go) as client:
        waiting = [client.runs[run_id] for run_id in client.queue()]
        if options.go and waiting:
            started = time.monotonic()
            try:
                made = client.work_off()
            except Paused as pause:
                display.line(f"Paused and saved. Go on with: {command_line(options, ['queue', '--go'])}")
                return 128 + pause.number
            display.close()
            return tell(None, made, client, options, started)
    if options.json:
        say(report.as_json([report.run_as_json(run) for run in waiting]))
    else:
        say(report.runs_table(waiting) if waiting else "No runs wait in the queue.")
    return 0


def command(options: argparse.Namespace) -> int:
    """Print the command that makes a run or a study again."""
    with showing() as display, client_of(options, display) as client:
        known = client.runs
    if any(run.study == options.run for run in known.values()):
        line = command_of_study(options.run, options.workspace)
    else:
        line = command_of_run(find_run(options.run, known.values()), known, options.workspace)
    say(report.as_json({"command": line}) if options.json else line)
    return 0


def repeat(options: argparse.Namespace) -> int:
    """Make a run anew with the same settings, or with half the batch."""
    with showing() as display, client_of(options, display) as client:
        found = find_run(options.run, client.runs.values())
        started = time.monotonic()
        try:
            made = client.repeat(found.id, half_batch=options.half_batch)
        except Paused as pause:
            made_id = next(iter(client.runs))
            display.line("Paused and saved. Go on with: " + command_line(options, ["resume", made_id]))
            return 128 + pause.number
        display.close()
        return tell(None, [made], client, options, started)


def _found(texts: Iterable[str], known: Iterable[RunInfo]) -> list[str]:
    """Ids of the runs that these texts name, none twice."""
    runs = list(known)
    return list(dict.fromkeys(find_run(text, runs).id for text in texts))


def _say_moved(runs: Sequence[RunInfo], options: argparse.Namespace, text: str) -> None:
    say(report.as_json([report.run_as_json(run) for run in runs]) if options.json else text)
