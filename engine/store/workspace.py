"""The folder of runs: who may write to it, and which runs there are. Loads neither torch nor h5py."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import time
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from engine.config import ComparisonConfig, RunConfig, dump_run
from engine.errors import StoreError, WorkspaceLockedError
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

#: Space asked for before a run is created, besides what its checkpoints need.
SPARE_BYTES = 64_000_000
_questions = TypeAdapter(dict[str, tuple[ComparisonConfig, ...]])
_RUN_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class Workspace:
    """A folder of runs.

    Attributes:
        root: the folder; `runs/` inside it holds one folder per run, `questions.json` what its studies ask.
        problems: one sentence for each run that `runs()` last could not list.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.problems: tuple[str, ...] = ()
        self._locked = False
        self._folders: dict[str, RunFolder] = {}

    @property
    def runs_path(self) -> Path:
        """The folder that holds the runs."""
        return self.root / "runs"

    @property
    def lock_path(self) -> Path:
        """The file that says who writes to the workspace."""
        return self.root / "workspace.lock"

    @property
    def questions_path(self) -> Path:
        """The file that holds what its studies ask."""
        return self.root / "questions.json"

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
            for folder in (self.root, self.runs_path):
                remove_leftovers(folder)
            for run in self._run_paths():
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
        infos, problems = [], []
        for path in self._run_paths():
            try:
                infos.append(self.folder(path.name).info())
            except StoreError as error:
                problems.append(f"run {path.name} cannot be listed: {error}")
        self.problems = tuple(problems)
        return sorted(infos, key=lambda info: (info.created, info.id), reverse=True)

    def folder(self, run_id: str) -> RunFolder:
        """The folder of one run.

        Raises:
            StoreError: there is no such run.
        """
        # The id may come from a settings file: it must not lead out of the workspace.
        if not _RUN_ID.fullmatch(run_id) or not (self.runs_path / run_id).is_dir():
            raise StoreError(f"there is no run {run_id!r} in {self.runs_path}")
        if run_id not in self._folders:
            self._folders[run_id] = RunFolder(self.runs_path / run_id)
        return self._folders[run_id]

    def _run_paths(self) -> list[Path]:
        try:
            with os.scandir(self.runs_path) as entries:
                return [
                    Path(entry.path)
                    for entry in entries
                    if _RUN_ID.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
                ]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"{self.runs_path} cannot be read: {error.strerror}") from error

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
