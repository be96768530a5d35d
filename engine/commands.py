"""Command lines that make a run or a study of the workspace again, with the same numbers.

The settings go into a study file in the workspace, so that a command still does the same when the runs are gone.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.config import StudyConfig, StudyDraft
from engine.config.changes import words_from_preset
from engine.config.run import MAX_NAME
from engine.errors import MissingRunError
from engine.events import RunInfo
from engine.lineage import ancestry
from engine.store.workspace import Workspace


def command_of_run(run: RunInfo, known: Mapping[str, RunInfo], workspace: Path) -> str:
    """The command that makes a run again in this workspace, together with the runs that it started from.

    Args:
        run: the run.
        known: every run of the workspace by id.
        workspace: the folder of runs, where the settings are kept.

    Raises:
        MissingRunError: a run that it started from is no longer in the workspace.
        StoreError: the settings cannot be written.
    """
    path = Workspace(workspace).keep_study(study_of_run(run, known))
    return shell([*program(), "run", str(path), "--workspace", str(workspace)])


def command_of_study(title: str, workspace: Path) -> str:
    """The command that makes the study of this title again, as it was last submitted.

    Raises:
        MissingRunError: its settings are not kept, as of one that an older version made.
    """
    for path, _ in Workspace(workspace).kept_studies(title):
        return shell([*program(), "run", str(path), "--workspace", str(workspace)])
    raise MissingRunError(
        f"the settings of the study {title!r} are not kept as a whole; copy the commands of its single runs instead"
    )


def command_of_draft(draft: StudyDraft, workspace: Path, *, preset: str = "", text: str = "") -> str:
    """The command that makes the study in a form: a preset with --set and --sweep if that says it all, else a file.

    Args:
        draft: the study as it is in the form.
        workspace: the folder of runs, where the settings are kept if they need a file.
        preset: the name of the preset that the form was filled from, empty for none.
        text: the preset's TOML.

    Raises:
        ConfigError: the study cannot be used.
        StoreError: the settings cannot be written.
    """
    study = draft.study(drop_stale=True)
    words = words_from_preset(draft, preset, text) if preset else None
    if words is None:
        words = ["run", str(Workspace(workspace).keep_study(study))]
    return shell([*program(), *words, "--workspace", str(workspace)])


def study_of_run(run: RunInfo, known: Mapping[str, RunInfo]) -> StudyConfig:
    """A study of this run and those that it started from, oldest first.

    Raises:
        MissingRunError: one of them is no longer in the workspace.
    """
    chain = ancestry(run, known)
    if chain[-1].parent:
        raise MissingRunError(
            f"{chain[-1].title} starts from the run {chain[-1].parent}, which is no longer in the workspace, so that it "
            "cannot be made again"
        )
    names: list[str] = []
    for item in chain:
        name, number = item.config.name, 2
        while name in names:
            ending = f" ({number})"
            name, number = item.config.name[: MAX_NAME - len(ending)] + ending, number + 1
        names.append(name)
    starts = [*names[1:], chain[-1].config.start_from]
    configs = [
        item.config.model_copy(update={"name": name, "start_from": start})
        for item, name, start in zip(chain, names, starts, strict=True)
    ]
    return StudyConfig(title=run.study or run.name, runs=configs[::-1])


def program(here: Path | None = None) -> list[str]:
    """How this program is called: `cartl` where the shell finds it, else the path of the environment's own.

    Args:
        here: the folder in which it is called, if the path may be relative to it.
    """
    own = Path(sys.executable).with_name("cartl")
    found = shutil.which("cartl")
    if found is not None and own.exists() and os.path.samefile(found, own):
        return ["cartl"]
    if not own.exists():
        return [sys.executable, "-m", "engine"]
    return [str(own.relative_to(here) if here is not None and own.is_relative_to(here) else own)]


def shell(words: Sequence[str]) -> str:
    """One line for the shell of this system, with quotes where they are needed."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)
