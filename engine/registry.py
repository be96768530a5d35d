"""One table for each kind of part (models, attacks, data sets, methods), so that no list of names is kept twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from engine.errors import ConfigError, Problem

T = TypeVar("T")
Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """One registered part: its name in the settings, title for people, `source` (paper or origin), and itself."""

    name: str
    title: str
    source: str
    value: T


class Registry(Generic[T]):
    """Parts of one kind by name, in the order in which they were registered."""

    def __init__(self, kind: str) -> None:
        """Begin an empty table; `kind` names its parts in messages ("attack", "data set")."""
        self.kind = kind
        self._entries: dict[str, Entry[T]] = {}

    def register(self, name: str, *, title: str = "", source: str = "") -> Callable[[Part], Part]:
        """Return a decorator that adds a class or function under `name` and hands it back unchanged.

        Args:
            name: unique name, as written in the settings.
            title: name for people; `name` where none is given.
            source: paper or origin.

        Raises:
            ValueError: the name is taken (a mistake in the program, not in the settings).
        """

        def add(part: Part) -> Part:
            if name in self._entries:
                raise ValueError(f"There is already a {self.kind} named {name!r}; choose another name.")
            self._entries[name] = Entry(name, title or name, source, part)  # type: ignore[arg-type]
            return part

        return add

    def entry(self, name: str) -> Entry[T]:
        """Return the entry of that name.

        Raises:
            ConfigError: nothing of that name is registered; the message lists the valid names.
        """
        try:
            return self._entries[name]
        except KeyError:
            valid = ", ".join(self._entries) or "none yet"
            message = f"there is no {self.kind} named {name!r}; choose one of: {valid}"
            raise ConfigError([Problem(self.kind, message)]) from None

    def __getitem__(self, name: str) -> T:
        """Return what was registered under `name`. Raises as `entry` does."""
        return self.entry(name).value

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[Entry[T]]:
        return iter(tuple(self._entries.values()))

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order of registration."""
        return tuple(self._entries)
