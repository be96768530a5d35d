"""Where in a study file a problem lies: the run, the defaults, the grid or an override, and the line."""

from __future__ import annotations

from typing import Any

from engine.config.grid import Variant
from engine.errors import Problem


class Finder:
    """Says where in a file a problem lies, in the words of the file: run names, `defaults`, `grid`, `--set`, lines.

    Args:
        text: the file.
        runs, defaults: its tables before they were merged.
        overridden: key paths that an override has set.
        single: whether the file is a single run, without `[[runs]]`.

    Attributes:
        variants: the runs that were validated; the runs of the file themselves until they were expanded.
    """

    def __init__(
        self,
        text: str,
        runs: list[dict[str, Any]],
        defaults: dict[str, Any],
        *,
        overridden: list[list[str]],
        single: bool,
    ) -> None:
        self.runs, self.defaults, self.overridden, self.single = runs, defaults, overridden, single
        self.variants = [Variant(run, number) for number, run in enumerate(runs)]
        self.lines = _lines(text)

    def found(self, problem: Problem) -> Problem:
        """The same problem with its place as the file names it, and its line."""
        parts = problem.place.split(".") if problem.place else []
        if parts == ["runs"]:
            return Problem(problem.place, problem.message, self._second_of_its_kind())
        if parts[:1] != ["runs"]:
            if parts in self.overridden:
                return Problem(f"--set {problem.place}", problem.message)
            return Problem(problem.place, problem.message, self._line(parts))
        variant, key = self.variants[int(parts[1])], parts[2:]
        number = variant.template
        own, inherited = _reach(self.runs[number], key), _reach(self.defaults, key)
        # What is missing beside an overridden setting is missing because of the override.
        beside = max(own, inherited) < len(key) and key[:-1] in [path[:-1] for path in self.overridden]
        if key in self.overridden or beside:
            return Problem("--set " + ".".join(key), problem.message)
        for path, choice in variant.set_by:
            length = len(path)
            if key[:length] == list(path) and length + _reach(choice.value, key[length:]) >= max(
                own, inherited
            ):
                return self.found_in_grid(choice.axis.place, key[length:], problem.message)
        if inherited > own:
            return Problem(".".join(["defaults", *key]), problem.message, self._line(["defaults", *key]))
        return Problem(
            ".".join(self._run(number) + key), problem.message, self._line(self._run_line(number) + key)
        )

    def found_in_grid(self, place: tuple[str, ...], key: list[str], message: str) -> Problem:
        """A problem with a value of an axis, or with a setting `key` in it."""
        words = [*place, *key]
        if words[: len(place)] in self.overridden:
            return Problem("--set " + ".".join(words), message)
        if place[0] == "runs":
            words = [*self._run(int(place[1])), *words[2:]]
        return Problem(".".join(words), message, self._line(list(place)))

    def _run(self, number: int) -> list[str]:
        return [] if self.single else ["runs", self._name(number)]

    def _run_line(self, number: int) -> list[str]:
        return [] if self.single else ["runs", str(number)]

    def _name(self, number: int) -> str:
        name = self.runs[number].get("name")
        if not isinstance(name, str) or not name:
            return str(number + 1)
        return name if name.replace("-", "").replace("_", "").isalnum() else f'"{name}"'

    def _second_of_its_kind(self) -> int | None:
        seen: list[tuple[Any, Any]] = []
        for variant in self.variants:
            kind = (variant.name, variant.table.get("seed", 0))
            if kind in seen:
                return self._line(["runs", str(variant.template), "name"])
            seen.append(kind)
        return None

    def _line(self, path: list[str]) -> int | None:
        """The line that sets this path, or else the nearest table it would stand in."""
        for length in range(len(path), 0, -1):
            if tuple(path[:length]) in self.lines:
                return self.lines[tuple(path[:length])]
        return None


def _reach(table: Any, path: list[str]) -> int:
    """How many keys of a path a table has; an item of a list counts as there."""
    for depth, part in enumerate(path):
        if isinstance(table, list):
            return len(path)
        if not isinstance(table, dict) or part not in table:
            return depth
        table = table[part]
    return len(path)


def _lines(text: str) -> dict[tuple[str, ...], int]:
    """The line of each table header and of each key; those of the n-th [[runs]] begin with ("runs", "n"), n from 0."""
    lines: dict[tuple[str, ...], int] = {}
    numbers: dict[str, int] = {}
    inside_text = False
    section: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        began_inside = inside_text
        if (stripped.count('"""') + stripped.count("'''")) % 2:
            inside_text = not inside_text
        if began_inside or stripped.startswith("#"):
            continue
        if stripped.startswith("["):
            section = _keys(stripped.strip("[").partition("]")[0])
            if stripped.startswith("[[") and len(section) == 1:
                numbers[section[0]] = numbers.get(section[0], -1) + 1
            if section[0] in numbers:
                section = (section[0], str(numbers[section[0]]), *section[1:])
            lines.setdefault(section, number)
        elif "=" in stripped:
            lines.setdefault((*section, *_keys(stripped.partition("=")[0])), number)
    return lines


def _keys(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
