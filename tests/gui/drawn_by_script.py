"""Runs a script that redraws a figure against a matplotlib that writes down what it is asked to draw."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock


@dataclass
class Axes:
    """What was drawn into one plot: the calls by name, each with its arguments."""

    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def draw(*arguments: Any, **options: Any) -> object:
            self.calls.append((name, arguments, options))
            return object()

        return draw

    def all(self, name: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        """The calls of one kind."""
        return [(arguments, options) for kind, arguments, options in self.calls if kind == name]

    def one(self, name: str) -> tuple[Any, ...]:
        """The arguments of the only call of a kind."""
        ((arguments, _options),) = self.all(name)
        return arguments


class _Grid:
    def __getitem__(self, _part: object) -> None:
        return None


@dataclass
class Drawn:
    """A figure: its plots in order, colour bars, and where it was saved."""

    size: tuple[float, float] = (0.0, 0.0)
    axes: list[Axes] = field(default_factory=list)
    bars: list[str] = field(default_factory=list)
    saved: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    def add_gridspec(self, *_arguments: Any, **_options: Any) -> _Grid:
        return _Grid()

    def add_subplot(self, *_part: Any) -> Axes:
        self.axes.append(Axes())
        return self.axes[-1]

    def colorbar(self, _image: object, *, ax: Axes, label: str) -> None:
        self.bars.append(label)

    def savefig(self, path: str, *, dpi: int) -> None:
        self.saved = path


def draw(path: Path, *arguments: str) -> Drawn:
    """Compile and run a script as `python path arguments` does."""
    drawn = Drawn()
    pyplot = ModuleType("matplotlib.pyplot")

    def figure(*, figsize: tuple[float, float], layout: str) -> Drawn:
        drawn.size = figsize
        return drawn

    pyplot.figure, pyplot.rcParams, pyplot.show = figure, drawn.settings, lambda: None  # type: ignore[attr-defined]
    colors = ModuleType("matplotlib.colors")
    colors.LogNorm = lambda **limits: ("log", limits)  # type: ignore[attr-defined]
    colors.LinearSegmentedColormap = mock.Mock()  # type: ignore[attr-defined]
    package = ModuleType("matplotlib")
    package.pyplot, package.colors = pyplot, colors  # type: ignore[attr-defined]
    modules = {"matplotlib": package, "matplotlib.pyplot": pyplot, "matplotlib.colors": colors}
    with mock.patch.dict(sys.modules, modules), mock.patch.object(sys, "argv", [str(path), *arguments]):
        code = compile(path.read_text(encoding="utf-8"), str(path), "exec")
        exec(code, {"__name__": "__main__", "__file__": str(path)})
    return drawn
