"""Every error the engine raises on purpose.

    CartlError
    ├── ConfigError            settings that cannot be used; carries every problem at once
    ├── DataError              a data set cannot be read
    │   ├── BadFilesError      some images of a folder are unreadable; the rest needs the user's consent
    │   └── DownloadError      a data set could not be fetched
    ├── StoreError             a file of a run cannot be written or read
    │   ├── UntrustedFileError a file breaks a safety rule and was not read
    │   ├── DamagedFileError   a file is cut short or its checksum is wrong
    │   ├── MissingRunError    there is no such run, or its folder is gone
    │   └── WorkspaceLockedError another process writes to this workspace
    ├── QueueError             the queue cannot be put into the order asked for
    ├── CheckpointError        a checkpoint does not fit what it is loaded into
    ├── DeviceError            the chosen device cannot be used
    ├── OutOfMemoryError       the device has too little memory for the settings
    └── DivergedError          a loss, a weight or an output stopped being a number

A message says what was expected, what came and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class CartlError(Exception):
    """Base of all errors meant for the user; `str(error)` is the whole message."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One unusable setting: dotted `place` ("pretraining.attack.epsilon"), reason, line in the TOML file."""

    place: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        where = f" (line {self.line})" if self.line is not None else ""
        return f"{self.place}{where}: {self.message}" if self.place else self.message


class ConfigError(CartlError):
    """Settings that cannot be used; `problems` lists all of them with their places. A single one is told in a line."""

    def __init__(self, problems: Sequence[Problem], origin: str | None = None) -> None:
        self.problems = tuple(problems)
        self.origin = origin
        if len(self.problems) == 1:
            text = f"{origin}: {self.problems[0]}" if origin else str(self.problems[0])
        else:
            head = f"{len(self.problems)} settings cannot be used{f' in {origin}' if origin else ''}"
            text = "\n".join([f"{head}:", *(f"  {problem}" for problem in self.problems)])
        super().__init__(text)


class DataError(CartlError):
    """A data set cannot be read."""


class BadFilesError(DataError):
    """Some images of a folder are unreadable; `files` pairs each path with its reason."""

    def __init__(self, files: Sequence[tuple[Path, str]], total: int) -> None:
        self.files = tuple(files)
        self.total = total
        shown = "\n".join(f"  {path}: {reason}" for path, reason in self.files[:10])
        more = f"\n  and {len(self.files) - 10} more" if len(self.files) > 10 else ""
        super().__init__(
            f"{len(self.files)} of {total} image files cannot be read:\n{shown}{more}\n"
            "Mend or remove them, or set skip_bad_files = true to go on without them."
        )


class DownloadError(DataError):
    """A data set could not be fetched."""


class StoreError(CartlError):
    """A file of a run cannot be written or read."""


class UntrustedFileError(StoreError):
    """A file breaks a safety rule and was not read; nothing in it was executed."""


class DamagedFileError(StoreError):
    """A file is cut short, or its checksum does not match its content."""


class MissingRunError(StoreError):
    """There is no run of this id, or its folder is gone."""


class WorkspaceLockedError(StoreError):
    """Another living process writes to this workspace."""


class QueueError(CartlError):
    """The queue cannot be put into the order asked for."""


class CheckpointError(CartlError):
    """A checkpoint does not fit the model or the run it is loaded into."""


class DeviceError(CartlError):
    """The chosen device cannot be used on this machine."""


class OutOfMemoryError(CartlError):
    """The device has too little memory for the settings."""


class DivergedError(CartlError):
    """A loss, a weight or an output of the network stopped being a number."""

    #: What to do where training diverged.
    REMEDY = "Lower the learning rate or the weight of the penalty; the last checkpoint is intact."
