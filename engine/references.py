"""What runs refer to: other runs of the workspace, and files with weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.config import RunConfig, StageName, StudyConfig
from engine.errors import CheckpointError, ConfigError, MissingRunError, Problem, StoreError
from engine.events import RunInfo
from engine.store.run_folder import RunFolder
from engine.store.workspace import Workspace

#: What identifies a run within a study: its name and its seed.
RunKey = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Planned:
    """A run that may have to be made.

    Attributes:
        config: its settings.
        parent: what it starts from: another run, made before it, or a file with weights; None if it pre-trains.
        left: share 0..1 of its work that is left; 0 for a finished run, which is here for those that start from it.
    """

    config: RunConfig
    parent: Planned | Path | None = None
    left: float = 1.0


class References:
    """Finds what runs of a workspace, and of studies for it, refer to."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def parents(self, study: StudyConfig) -> dict[RunKey, RunKey | str]:
        """For each run that starts from another: that one's name and seed in the study, or its id in the workspace."""
        parents: dict[RunKey, RunKey | str] = {}
        problems = []
        seen: set[RunKey] = set()
        for run in study.runs:
            key, start = (run.name, run.seed), run.start_from
            parent = study.parent_of(run)
            if parent is not None and (parent.name, parent.seed) in seen:
                parents[key] = (parent.name, parent.seed)
            elif start:
                found = self.run_named(start)
                if found:
                    parents[key] = found
                elif not Path(start).is_file():
                    seeds = [other.seed for other in study.cells.get(start, ()) if start != run.name]
                    listed = ", ".join(map(str, seeds))
                    if parent is not None:
                        problem = f"{start!r} with seed {parent.seed} stands later in the study; move it up"
                    elif seeds:
                        problem = f"{start!r} has the seeds {listed} and not {run.seed}; give it this one too"
                    else:
                        problem = (
                            f"there is no run earlier in the study, no run of the workspace and no file {start!r}; "
                            "`cartl runs` lists the runs"
                        )
                    problems.append(Problem(f"runs.{run.name}.start_from", problem))
            if run.checkpoint is not None and key in parents:
                reason = f"{start!r} is a run, which says all about its network; leave the checkpoint out"
                problems.append(Problem(f"runs.{run.name}.checkpoint", reason))
            seen.add(key)
        if problems:
            raise ConfigError(list(dict.fromkeys(problems)))
        return parents

    def run_named(self, text: str) -> str:
        """The id of the run that has this id or folder; "" if none has."""
        try:
            return self._workspace.folder(text).id
        except StoreError:
            path = Path(text)
            inside = path.is_dir() and path.resolve().parent == self._workspace.runs_path.resolve()
            return path.resolve().name if inside else ""

    def earlier(self, study: StudyConfig, parents: Mapping[RunKey, RunKey | str]) -> dict[RunKey, RunInfo]:
        """Runs of the workspace with a study's title, names, settings and parents; finished ones first, then newer."""
        listed = [info for info in self._workspace.runs() if info.study == study.title]
        listed.sort(key=lambda info: info.state != "finished")
        found: dict[RunKey, RunInfo] = {}
        for run in study.runs:
            parent = parents.get((run.name, run.seed), "")
            if not isinstance(parent, str):
                if parent not in found:
                    continue  # it is made anew, so what was trained from an older one does not belong to it
                parent = found[parent].id
            for info in listed:
                if info.config == run and info.parent == parent:
                    found[(run.name, run.seed)] = info
                    break
        return found

    def untrained(self, folder: RunFolder) -> dict[str, str]:
        """Title by id of the runs whose networks a run needs and that are not trained yet; those that are gone left out.

        Raises:
            DamagedFileError: the files of one of them cannot be read.
        """
        attack = folder.config.attack
        needed = [folder.parent]
        if attack is not None and attack.applies("surrogate"):
            needed.append(self.run_named(attack.surrogate))
        found = {}
        for run_id in filter(None, needed):
            try:
                other = self._workspace.folder(run_id)
            except MissingRunError:
                continue  # what is wrong is told when the run begins
            if not self.is_trained(other):
                found[run_id] = other.info().title
        return found

    def is_trained(self, folder: RunFolder) -> bool:
        """Whether a run has finished, or at least all training that its network needs.

        Raises:
            DamagedFileError: its files cannot be read.
        """
        training = [stage for stage in folder.config.stages if stage != "attack"]
        done = folder.weights_path(training[-1]).exists() if training else not self.untrained(folder)
        return done or folder.info().state == "finished"

    def plan(self, study: StudyConfig, *, resume: bool) -> list[Planned]:
        """The runs of a study in order, with what they start from and what is left to do.

        Args:
            study: the runs.
            resume: go on with what `earlier` finds.

        Raises:
            ConfigError: a run starts from something that does not exist or does not fit.
            CheckpointError, StoreError: what it starts from cannot be used or read.
        """
        parents = self.parents(study)
        earlier = self.earlier(study, parents) if resume else {}
        made: dict[RunKey, Planned] = {}
        for run in study.runs:
            key = (run.name, run.seed)
            parent = parents.get(key)
            start: Planned | Path | None = Path(run.start_from) if run.start_from else None
            if parent is not None:
                start = self._start_of(parent) if isinstance(parent, str) else made[parent]
            info = earlier.get(key)
            left = 1.0 if info is None else 1.0 - info.progress
            made[key] = Planned(run, start, left if info is None or info.state != "finished" else 0.0)
        return [made[run.name, run.seed] for run in study.runs]

    def _start_of(self, run_id: str) -> Planned | Path:
        """The weights of a run of the workspace, or the run itself while it has none."""
        folder = self._workspace.folder(run_id)
        parent: Planned | Path | None = None
        if folder.config.start_from:
            parent = self._start_of(folder.parent) if folder.parent else Path(folder.config.start_from)
        weights = [folder.weights_path(stage) for stage in reversed(folder.config.stages)]
        return next((path for path in weights if path.exists()), Planned(folder.config, parent, 0.0))

    def parent_weights(self, folder: RunFolder) -> Path | None:
        """The weights a run starts from, None if it pre-trains.

        Raises:
            CheckpointError: the run it starts from has none yet, or is gone.
        """
        config = folder.config
        if not config.start_from:
            return None
        if not folder.parent:
            return Path(config.start_from)
        try:
            parent = self._workspace.folder(folder.parent)
        except MissingRunError as error:
            in_bin = self._workspace.is_binned(folder.parent)
            raise CheckpointError(
                f"{config.name} starts from the run {folder.parent}, which is "
                + ("in the bin; restore it first" if in_bin else "no longer in the workspace")
            ) from error
        found = self.weights_of(parent)
        if found is None:
            raise CheckpointError(
                f"{config.name} starts from {parent.config.name}, which has no weights yet "
                f"({parent.info().state}); finish that run first"
            )
        return found

    def weights_of(self, folder: RunFolder) -> Path | None:
        """The newest weights of a run, those that it attacks if it trains nothing; None if there are none yet."""
        for stage in reversed(folder.config.stages):
            if folder.weights_path(stage).exists():
                return folder.weights_path(stage)
        trains = {"pretraining", "finetuning"} & set(folder.config.stages)
        return None if trains else self.parent_weights(folder)

    def weights_after(self, folder: RunFolder, stage: StageName | None) -> Path:
        """The weights that a run has after a training stage, or that its attack was on; the newest if None.

        Raises:
            CheckpointError: there are none yet.
        """
        if stage in (None, "attack"):
            found = self.weights_of(folder)
        else:
            found = folder.weights_path(stage)
        if found is None or not found.is_file():
            raise CheckpointError(
                f"{folder.config.name} has no weights yet{f' after its {stage}' if stage else ''}; they are there when "
                "its training has finished"
            )
        return found

    def surrogate_weights(self, folder: RunFolder) -> Path | None:
        """The weights on which a transferred attack is made, None for any other attack.

        Raises:
            CheckpointError: there is no such run or file, or the run has none yet.
        """
        attack = folder.config.attack
        if attack is None or not attack.applies("surrogate"):
            return None
        run_id = self.run_named(attack.surrogate)
        path = self.weights_of(self._workspace.folder(run_id)) if run_id else Path(attack.surrogate)
        if path is None or not path.is_file():
            raise CheckpointError(
                f"the perturbations are to be made on {attack.surrogate}, but there is no such run with weights and no "
                "such file; `cartl runs` lists the runs"
            )
        return path
