"""The settings of all runs in one file, so that a workspace of a thousand runs is listed at once.

Only a cache of what their `config.toml` say: an entry counts as long as that file has the stamp it was read with, and
a file that is missing, damaged or of another version of the program counts as empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from engine import __version__
from engine.config import RunConfig
from engine.store.atomic import write_bytes
from engine.store.run_folder import Stamp

_HEAD = f'{{"program": "{__version__}"}}'.encode()


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """The settings of one run, and the stamp that its `config.toml` had."""

    id: str
    stamp: Stamp
    config: RunConfig


_entry = TypeAdapter(IndexEntry)


def read_index(path: Path) -> Iterator[IndexEntry]:
    """The entries that can be used."""
    try:
        head, *lines = path.read_bytes().splitlines()
    except (OSError, ValueError):
        return
    for line in lines if head == _HEAD else ():
        try:
            yield _entry.validate_json(line)
        except ValidationError:
            continue


def write_index(path: Path, entries: Iterable[IndexEntry]) -> None:
    """Replace the file.

    Raises:
        StoreError: it could not be written.
    """
    write_bytes(path, b"\n".join([_HEAD, *map(_entry.dump_json, entries)]) + b"\n")
