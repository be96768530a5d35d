"""The folder of runs: who may write to it, and which runs there are. Loads neither torch nor h5py."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import time
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from engine.config import ComparisonConfig, RunConfig, StudyConfig, dump_run, dump_study, load_study
from engine.errors import ConfigError, DamagedFileError, MissingRunError, StoreError, WorkspaceLockedError
from engine.events import RunInfo
from engine.store.atomic import (
    remove_leftovers,
    require_space,
    sync_folder,
    temporary_path,
    write_error,
    write_text,
)
from engine.store.process import ProcessIdentity
from engine.store.run_folder import CONFIG_FILE, RunFolder, read_text
from engine.store.run_index import IndexEntry, read_index, write_index

#: Space asked for before a run is created, besides what its checkpoints need.
SPARE_BYTES = 64_000_000


@dataclass(frozen=True, slots=True)
class _Queue:
    version: Literal[1]
    order: tuple[str, ...]


_questions = TypeAdapter(dict[str, tuple[ComparisonConfig, ...]])
_queue = TypeAdapter(_Queue)
_RUN_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class Workspace:
    """A folder of runs.

    Attributes:
        root: the folder; `runs/` inside it holds one folder per run, `bin/` those to be deleted, `questions.json` what
            its studies ask, `studies/` their settings, `queue.json` which runs wait in the window.
        problems: one sentence for each run that `runs()` or `binned()` last could not list or not in full.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.problems: tuple[str, ...] = ()
        self._locked = False
        self._folders: dict[Path, RunFolder] = {}
        self._index: dict[str, IndexEntry] | None = None

    @property
    def runs_path(self) -> Path:
        """The folder that holds the runs."""
        return self.root / "runs"

    @property
    def bin_path(self) -> Path:
        """The folder that holds the runs in the bin."""
        return self.root / "bin"

    @property
    def studies_path(self) -> Path:
        """The folder that holds the settings of the studies that were submitted."""
        return self.root / "studies"

    @property
    def lock_path(self) -> Path:
        """The file that says who writes to the workspace."""
        return self.root / "workspace.lock"

    @property
    def questions_path(self) -> Path:
        """The file that holds what its studies ask."""
        return self.root / "questions.json"

    @property
    def index_path(self) -> Path:
        """The cache of all runs' settings."""
        return self.root / "index.jsonl"

    @property
    def queue_path(self) -> Path:
        """The file that holds the window's queue."""
        return self.root / "queue.json"

    @property
    def writable(self) -> bool:
        """True while this object holds the lock."""
        return self._locked

    def questions(self) -> dict[str, tuple[ComparisonConfig, ...]]:
        """What each study asks its results, by title; nothing where the file is missing or cannot be used."""
        try:
            return _questions.validate_json(read_text(self.questions_path))
        except (StoreError, ValidationError):
            return {}

    def keep_questions(self, title: str, comparisons: Sequence[ComparisonConfig]) -> None:
        """Keep what a study asks, so that it is answered after a restart too.

        Raises:
            StoreError: it cannot be written.
        """
        kept = self.questions()
        if kept.get(title, ()) != tuple(comparisons):
            kept[title] = tuple(comparisons)
            write_text(self.questions_path, _questions.dump_json(kept, indent=1).decode() + "\n")

    def keep_study(self, study: StudyConfig) -> Path:
        """Keep the settings of a study in full, unless they are kept already; returns their file.

        Raises:
            StoreError: it cannot be written.
        """
        path = self.study_path(study)
        if not path.exists():
            try:
                self.studies_path.mkdir(exist_ok=True)
            except OSError as error:
                raise write_error(self.studies_path, error) from error
            write_text(path, dump_study(study))
        return path

    def study_path(self, study: StudyConfig) -> Path:
        """Where `keep_study` keeps a study: the name tells its title and its settings."""
        digest = hashlib.sha256(study.model_dump_json().encode()).hexdigest()[:8]
        return self.studies_path / f"{slug(study.title)}-{digest}.toml"

    def kept_studies(self, title: str) -> Iterator[tuple[Path, StudyConfig]]:
        """The studies of this title whose settings are kept, newest first; what cannot be read is left out."""
        found = []
        for path in self.studies_path.glob(f"{slug(title)}-????????.toml"):
            with suppress(OSError):
                found.append((path.stat().st_mtime_ns, path))
        for _, path in sorted(found, reverse=True):
            with suppress(ConfigError):
                study = load_study(path)
                if study.title == title:
                    yield path, study

    def queue(self) -> tuple[str, ...]:
        """Ids of the runs that the window's queue last held, those that are gone or have finished too.

        Raises:
            DamagedFileError: the file cannot be read or holds no queue.
        """
        if not self.queue_path.exists():
            return ()
        try:
            return _queue.validate_json(read_text(self.queue_path), strict=True).order
        except ValidationError as error:
            reason = error.errors(include_url=False)[0]["msg"]
            raise DamagedFileError(f"{self.queue_path} holds no queue: {reason}") from error

    def keep_queue(self, run_ids: Sequence[str]) -> None:
        """Keep the order of the window's queue for its next start.

        Raises:
            StoreError: it cannot be written.
        """
        self._require_lock()
        write_text(self.queue_path, json.dumps({"version": 1, "order": list(run_ids)}) + "\n")

    def lock(self) -> str:
        """Claim the workspace for writing and clear away what earlier processes left unfinished.

        A lock is taken over only if its process is provably gone.

        Returns:
            "" when taken, else a sentence that says who holds it or why it cannot be taken.
        """
        if self._locked:
            return ""
        try:
            self.runs_path.mkdir(parents=True, exist_ok=True)
            with _guard(self.root / "workspace.guard"):
                holder = self._holder()
                if holder:
                    return holder
                me = ProcessIdentity.current().to_json()
                write_text(self.lock_path, json.dumps({**me, "since": time.time()}) + "\n")
            self._locked = True
            for folder in (self.root, self.runs_path, self.bin_path, self.studies_path):
                remove_leftovers(folder)
            for run in self._run_paths(self.runs_path):
                for folder in (run, run / "checkpoints", run / "weights"):
                    remove_leftovers(folder)
        except OSError as error:
            return f"{self.root} cannot be written: {error.strerror or error}; runs can be looked at only"
        except StoreError as error:
            return f"{error}; runs can be looked at only"
        return ""

    def unlock(self) -> None:
        """Give the workspace back; does nothing if this object does not hold it."""
        if self._locked:
            self._locked = False
            # If the folder is gone or read-only by now, the next process sees that this one has ended.
            with suppress(OSError):
                self.lock_path.unlink()

    def create_run(
        self, config: RunConfig, study: str, *, parent: str = "", needed_bytes: int = SPARE_BYTES
    ) -> RunFolder:
        """Make a new run; it appears with all its files or not at all.

        Args:
            config: its settings.
            study: title of the study it belongs to.
            parent: id of the run whose weights it starts from, if any.
            needed_bytes: space that must be free.

        Raises:
            WorkspaceLockedError, StoreError: not locked by this object, no space or no permission.
        """
        self._require_lock()
        require_space(self.runs_path, needed_bytes)
        run_id = f"{slug(config.name)}-{secrets.token_hex(4)}"
        final = self.runs_path / run_id
        temporary = temporary_path(final)
        try:
            temporary.mkdir()
            try:
                write_text(temporary / CONFIG_FILE, dump_run(config))
                (temporary / "checkpoints").mkdir()
                (temporary / "weights").mkdir()
                RunFolder(temporary).begin(study, parent=parent)
                sync_folder(temporary)
                os.rename(temporary, final)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
            sync_folder(self.runs_path)
        except OSError as error:
            raise write_error(self.runs_path, error, needed_bytes) from error
        return self.folder(run_id)

    def runs(self) -> list[RunInfo]:
        """All runs, newest first. What cannot be listed is named in `problems` and never hides the others."""
        return self._listed(self.runs_path)

    def binned(self) -> list[RunInfo]:
        """The runs in the bin, newest first; see `runs`."""
        return self._listed(self.bin_path)

    def folder(self, run_id: str) -> RunFolder:
        """The folder of one run.

        Raises:
            MissingRunError: there is no such run.
        """
        # The id may come from a settings file: it must not lead out of the workspace.
        if not _RUN_ID.fullmatch(run_id) or not (self.runs_path / run_id).is_dir():
            raise MissingRunError(f"there is no run {run_id!r} in {self.runs_path}")
        return self._folder(self.runs_path / run_id)

    def is_binned(self, run_id: str) -> bool:
        """Whether a run is in the bin."""
        return _RUN_ID.fullmatch(run_id) is not None and (self.bin_path / run_id).is_dir()

    def move_to_bin(self, run_id: str) -> RunInfo:
        """Move a run to the bin; returns its line there.

        Raises:
            WorkspaceLockedError, StoreError: not locked by this object, no such run, or it cannot be moved.
        """
        self._require_lock()
        return self._move(self.folder(run_id).path, self.bin_path / run_id)

    def restore(self, run_id: str) -> RunInfo:
        """Move a run back from the bin; returns its line.

        Raises:
            WorkspaceLockedError, StoreError: not locked by this object, not in the bin, or it cannot be moved.
        """
        self._require_lock()
        if not self.is_binned(run_id):
            raise MissingRunError(f"there is no run {run_id!r} in {self.bin_path}")
        return self._move(self.bin_path / run_id, self.runs_path / run_id)

    def empty_bin(self) -> None:
        """Delete the runs in the bin for good; files that are gone already do not matter.

        Raises:
            WorkspaceLockedError, StoreError: not locked by this object, or something cannot be deleted.
        """
        self._require_lock()
        for path in self._run_paths(self.bin_path):
            doomed = temporary_path(path)  # at once, so that half a run is never listed
            try:
                os.rename(path, doomed)
                shutil.rmtree(doomed)
            except FileNotFoundError:
                shutil.rmtree(doomed, ignore_errors=True)
            except OSError as error:
                raise StoreError(f"{path} cannot be deleted: {error.strerror or error}") from error

    def _move(self, source: Path, target: Path) -> RunInfo:
        try:
            target.parent.mkdir(exist_ok=True)
            if target.exists():
                raise StoreError(f"{source} cannot be moved: there is {target} already")
            os.rename(source, target)
            sync_folder(source.parent)
            sync_folder(target.parent)
        except OSError as error:
            raise StoreError(
                f"{source} cannot be moved to {target.parent}: {error.strerror or error}"
            ) from error
        return self._folder(target).info()

    def _folder(self, path: Path) -> RunFolder:
        return self._folders.setdefault(path, RunFolder(path))

    def _listed(self, parent: Path) -> list[RunInfo]:
        folders = [self._folder(path) for path in self._run_paths(parent)]
        self._recall_configs(folders)
        infos, problems = [], []
        for folder in folders:
            try:
                infos.append(folder.info())
            except StoreError as error:
                problems.append(f"run {folder.id} cannot be listed: {error}")
                continue
            try:
                folder.label()
            except StoreError as error:
                problems.append(f"run {folder.id} is listed without what was written on it: {error}")
        self.problems = tuple(problems)
        self._keep_configs(folders)
        return sorted(infos, key=lambda info: (info.created, info.id), reverse=True)

    def _run_paths(self, parent: Path) -> list[Path]:
        try:
            with os.scandir(parent) as entries:
                return [
                    Path(entry.path)
                    for entry in entries
                    if _RUN_ID.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
                ]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"{parent} cannot be read: {error.strerror}") from error

    # Settings of all runs, read from one file.

    def _recall_configs(self, folders: Sequence[RunFolder]) -> None:
        if self._index is None:
            self._index = {entry.id: entry for entry in read_index(self.index_path)}
        for folder in folders:
            entry = self._index.get(folder.id)
            if folder.known_config is None and entry is not None:
                folder.known_config = (entry.stamp, entry.config)

    def _keep_configs(self, folders: Sequence[RunFolder]) -> None:
        index = self._index or {}
        read = {
            folder.id: IndexEntry(folder.id, *folder.known_config)
            for folder in folders
            if folder.known_config
        }
        if self._locked and any(index.get(run_id) != entry for run_id, entry in read.items()):
            there = {
                path.name for parent in (self.runs_path, self.bin_path) for path in self._run_paths(parent)
            }
            self._index = {run_id: entry for run_id, entry in (index | read).items() if run_id in there}
            with suppress(StoreError):  # without it the next listing takes longer, no more
                write_index(self.index_path, self._index.values())

    def _require_lock(self) -> None:
        if not self._locked:
            raise WorkspaceLockedError(f"{self.root} is open for reading only; another process writes to it")

    def _holder(self) -> str:
        """Say who holds the lock; "" if nobody does."""
        try:
            values = json.loads(self.lock_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return ""
        except ValueError:
            values = None
        holder = ProcessIdentity.from_json(values)
        if holder is None:
            return (
                f"{self.lock_path} is unreadable, so it cannot be told who writes to this workspace; "
                "delete the file if no other window is open"
            )
        if holder.is_gone():
            return ""
        since = values.get("since") if isinstance(values, dict) else None
        moment = (
            time.strftime(" since %Y-%m-%d %H:%M", time.localtime(since)) if isinstance(since, float) else ""
        )
        return (
            f"{self.root} is in use by process {holder.pid} on {holder.host}{moment}; "
            "runs can be looked at, but not started"
        )


def slug(name: str) -> str:
    """Turn a run's title into the readable part of a folder name: a-z, 0-9 and single dashes, 1 to 40 long."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii").lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-") or "run"


@contextmanager
def _guard(path: Path) -> Iterator[None]:
    """Let one process at a time look at the lock and take it; the system frees the guard if a process dies."""
    with open(path, "ab") as file:
        if os.name != "nt":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
