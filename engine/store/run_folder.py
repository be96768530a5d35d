"""One run's folder: settings, status, journal, log, and where everything else lies.

<run id>/config.toml      the settings, never changed
         label.json       what the user wrote on it: title, tags, star, notes
         status.json      the newest state, replaced as a whole
         journal.jsonl    every change of state, one line each, only ever appended to
         run.log          what was told to the user, rotated
         metrics.h5       the tables
         checkpoints/     all that is needed to go on
         weights/         the model after each training stage
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import TypeAdapter, ValidationError

from engine.config import STAGES, RunConfig, StageName, parse_run
from engine.errors import ConfigError, DamagedFileError
from engine.events import AttackResult, FailureCause, RunInfo, RunLabel, RunState
from engine.store.atomic import write_error, write_text
from engine.store.labels import label_from_json, label_to_json, tidy_label
from engine.store.process import ProcessIdentity

CONFIG_FILE = "config.toml"
STATUS_FILE = "status.json"
LABEL_FILE = "label.json"
STATUS_VERSION = 1
MAX_TEXT_BYTES = 1_000_000
LOG_BYTES = 5_000_000
LOG_FILES = 5

LogLevel = Literal["info", "warning", "error"]
#: What tells whether a file has changed: when it was written, in nanoseconds, and its size in bytes.
Stamp = tuple[int, int]


class RunFolder:
    """A run on disk. Only the process that holds the workspace's lock writes to it, from one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._config: tuple[Stamp, RunConfig] | None = None
        self._label: tuple[Stamp | None, RunLabel] = (None, RunLabel())

    @property
    def id(self) -> str:
        """The run's id, which is its folder's name."""
        return self.path.name

    @property
    def metrics_path(self) -> Path:
        """The tables (HDF5)."""
        return self.path / "metrics.h5"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def log_path(self) -> Path:
        """The newest part of the log."""
        return self.path / "run.log"

    def weights_path(self, stage: StageName) -> Path:
        """Where the weights after a training stage are kept."""
        return self.path / "weights" / f"{stage}.safetensors"

    @property
    def config(self) -> RunConfig:
        """The run's settings.

        Raises:
            DamagedFileError: config.toml cannot be read or holds no usable settings.
        """
        path = self.path / CONFIG_FILE
        try:
            stamp = _stamp(path)
        except OSError as error:
            raise DamagedFileError(f"{path} cannot be read: {error.strerror}") from error
        if self._config is None or self._config[0] != stamp:
            try:
                self._config = (stamp, parse_run(read_text(path), origin=str(path)))
            except ConfigError as error:
                raise DamagedFileError(str(error)) from error
        return self._config[1]

    @property
    def known_config(self) -> tuple[Stamp, RunConfig] | None:
        """The settings as they were last read, and the stamp of config.toml then; None before.

        May be set to what is known from elsewhere: config.toml is read again only if its stamp is another one.
        """
        return self._config

    @known_config.setter
    def known_config(self, known: tuple[Stamp, RunConfig]) -> None:
        self._config = known

    def label(self) -> RunLabel:
        """What the user wrote on the run; an empty label where there is none.

        Raises:
            DamagedFileError: label.json cannot be read or holds no label.
        """
        path = self.path / LABEL_FILE
        try:
            stamp = _stamp(path)
        except OSError:
            return RunLabel()
        if self._label[0] != stamp:
            self._label = (stamp, label_from_json(read_text(path), origin=str(path)))
        return self._label[1]

    def write_label(self, label: RunLabel) -> RunLabel:
        """Keep what the user wrote on the run; the settings stay as they are. Returns it as it is kept.

        Raises:
            ConfigError: it is longer than it may be.
            StoreError: it could not be written.
        """
        kept = tidy_label(label)
        write_text(self.path / LABEL_FILE, label_to_json(kept))
        return kept

    def info(self) -> RunInfo:
        """The run's line in the list.

        A run that claims to be under way although its process is gone counts as "interrupted", one that claims to be
        waiting as "stopped", so that either can be gone on with. A damaged
        status.json gives state "failed" with the reason, a damaged label an empty one, so that the rest of the run
        stays within reach.

        Raises:
            DamagedFileError: the settings cannot be read.
        """
        config = self.config
        try:
            label = self.label()
        except DamagedFileError:
            label = RunLabel()
        try:
            status = self._read_status()
            result = _result_from_json(status["result"])
        except DamagedFileError as error:
            return RunInfo(
                self.id, config.name, "", str(self.path), "failed", config, reason=str(error), label=label
            )
        state: RunState = status["state"]
        reason = str(status["reason"])
        if state in ("created", "running"):
            process = ProcessIdentity.from_json(status["process"])
            if process is None or process.is_gone():
                if state == "running" or status["stage"] is not None:
                    state, reason = "interrupted", "the program ended without closing the run"
                else:
                    state, reason = "stopped", "it had not begun when the program ended"
        return RunInfo(
            id=self.id,
            name=config.name,
            study=str(status["study"]),
            path=str(self.path),
            state=state,
            config=config,
            reason=reason,
            stage=status["stage"],
            progress=float(status["progress"]),
            seconds=float(status["seconds"]),
            created=float(status["created"]),
            device=str(status["device"]),
            result=result,
            parent=str(status["parent"]),
            label=label,
            cause="memory" if state == "failed" and status.get("cause") == "memory" else "",
        )

    @property
    def parent(self) -> str:
        """Id of the run whose weights this one starts from, or ""."""
        try:
            return str(self._read_status()["parent"])
        except DamagedFileError:
            return ""

    def begin(self, study: str, *, parent: str = "", created: float | None = None) -> None:
        """Write the first status of a new run; `created` is Unix time, now if left out."""
        constant = {"study": study, "parent": parent, "created": time.time() if created is None else created}
        self._write(constant, None, "created")

    def write_status(
        self,
        state: RunState,
        *,
        reason: str = "",
        stage: StageName | None = None,
        progress: float = 0.0,
        seconds: float = 0.0,
        device: str = "",
        result: AttackResult | None = None,
        cause: FailureCause = "",
    ) -> None:
        """Replace status.json, which also is the run's heartbeat; a change of state goes to the journal too.

        Args:
            state: the new state.
            reason: one sentence for the user, such as why a run failed.
            stage: the stage under way or last worked on.
            progress: 0..1 of the whole run.
            seconds: computing time so far.
            device: where it computes.
            result: what the attack stage found.
            cause: of a failure, where it is a known one.

        Raises:
            StoreError: it could not be written; the status before is unchanged.
        """
        try:
            before = self._read_status()
        except DamagedFileError:
            before = {"study": "", "parent": "", "created": 0.0, "state": None}
        constant = {key: before[key] for key in ("study", "parent", "created")}
        values = {"reason": reason, "stage": stage, "progress": progress, "seconds": seconds, "cause": cause}
        self._write(constant, before["state"], state, **values, device=device, result=result)

    def journal(self, kind: str, **data: Any) -> None:
        """Append one line to journal.jsonl and bring it to the disk.

        Raises:
            StoreError: it could not be written.
        """
        line = json.dumps({"time": time.time(), "kind": kind, **data}, ensure_ascii=False)
        self._append(self.path / "journal.jsonl", line, durable=True)

    def read_journal(self) -> list[dict[str, Any]]:
        """All entries of the journal, oldest first; a line torn by a crash is left out."""
        entries = []
        for line in self._lines(self.path / "journal.jsonl"):
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                entries.append(entry)
        return entries

    def log(self, level: LogLevel, text: str) -> None:
        """Append to run.log, which is rotated at 5 MB; five files are kept.

        Raises:
            StoreError: it could not be written.
        """
        try:
            if self.log_path.exists() and self.log_path.stat().st_size > LOG_BYTES:
                for number in range(LOG_FILES - 1, 0, -1):
                    older = self._log_part(number)
                    newer = self._log_part(number - 1)
                    if newer.exists():
                        os.replace(newer, older)
        except OSError as error:
            raise write_error(self.log_path, error) from error
        moment = time.strftime("%Y-%m-%d %H:%M:%S")
        indented = text.rstrip().replace("\n", "\n    ")
        self._append(self.log_path, f"{moment} {level.upper():7} {indented}", durable=False)

    def read_log(self) -> tuple[str, ...]:
        """The lines of the newest two parts of the log, oldest first."""
        return tuple(line for number in (1, 0) for line in self._lines(self._log_part(number)))

    def _log_part(self, number: int) -> Path:
        return self.log_path.with_name(f"run.log.{number}") if number else self.log_path

    def _lines(self, path: Path) -> list[str]:
        try:
            return path.read_bytes().decode("utf-8", errors="replace").splitlines()
        except OSError:
            return []

    def _append(self, path: Path, line: str, *, durable: bool) -> None:
        try:
            with open(path, "a+b") as file:
                # A torn last line must not swallow this one.
                if file.tell() > 0:
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":
                        file.write(b"\n")
                file.write(line.encode("utf-8", errors="backslashreplace") + b"\n")
                file.flush()
                if durable:
                    os.fsync(file.fileno())
        except OSError as error:
            raise write_error(path, error) from error

    def _write(self, constant: Mapping[str, Any], before: str | None, state: RunState, **values: Any) -> None:
        status = {
            "version": STATUS_VERSION,
            **constant,
            "state": state,
            "reason": "",
            "cause": "",
            "stage": None,
            "progress": 0.0,
            "seconds": 0.0,
            "device": "",
            **values,
            "result": asdict(values["result"]) if values.get("result") is not None else None,
            "heartbeat": time.time(),
            "process": ProcessIdentity.current().to_json(),
        }
        write_text(self.path / STATUS_FILE, json.dumps(status, indent=1, ensure_ascii=False) + "\n")
        if state != before:
            self.journal("state", state=state, reason=status["reason"], stage=status["stage"])

    def _read_status(self) -> dict[str, Any]:
        path = self.path / STATUS_FILE
        try:
            status = json.loads(read_text(path))
        except ValueError as error:
            raise DamagedFileError(f"{path} is not valid JSON: {error}") from error
        if not isinstance(status, dict):
            raise DamagedFileError(f"{path} does not hold a JSON object")
        version = status.get("version")
        if type(version) is not int:
            raise DamagedFileError(f"{path} names no version")
        if version > STATUS_VERSION:
            raise DamagedFileError(
                f"{path} has version {version}, this program reads up to {STATUS_VERSION}; use a newer program"
            )
        for key, kinds in _STATUS_TYPES.items():
            if not isinstance(status.get(key), kinds):
                raise DamagedFileError(f"{path}: {key!r} is missing or has the wrong type")
        if status["state"] not in get_args(RunState):
            raise DamagedFileError(f"{path}: there is no state {status['state']!r}")
        if status["stage"] is not None and status["stage"] not in STAGES:
            raise DamagedFileError(f"{path}: there is no stage {status['stage']!r}")
        return status


_STATUS_TYPES: dict[str, tuple[type, ...]] = {
    "study": (str,),
    "parent": (str,),
    "created": (int, float),
    "state": (str,),
    "reason": (str,),
    "stage": (str, type(None)),
    "progress": (int, float),
    "seconds": (int, float),
    "device": (str,),
    "result": (dict, type(None)),
    "process": (dict,),
}

_RESULT = TypeAdapter(AttackResult)


def _stamp(path: Path) -> Stamp:
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def read_text(path: Path) -> str:
    """Read a small text file.

    Raises:
        DamagedFileError: it is missing, too large or no UTF-8 text.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise DamagedFileError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > MAX_TEXT_BYTES:
        raise DamagedFileError(f"{path} is larger than {MAX_TEXT_BYTES} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DamagedFileError(f"{path} is not UTF-8 text") from error


def _result_from_json(values: Any) -> AttackResult | None:
    if values is None:
        return None
    try:
        return _RESULT.validate_python(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise DamagedFileError(
            f"the attack result in {STATUS_FILE} is incomplete: {place}: {first['msg']}"
        ) from error
