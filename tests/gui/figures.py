"""Single plots as figures, for tests that look at what is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from PySide6.QtGui import QImage

from cartl_gui.plots import export as figures
from cartl_gui.plots.base import PlotPanel
from cartl_gui.plots.figure import FigureStyle


def render_png(panel: PlotPanel, width: float, height: float, *, dpi: int = 300) -> QImage:
    """A plot as an image, in millimetres."""
    return figures.render_png(figures.whole(panel), FigureStyle(width, height), dpi=dpi)


def render_svg(panel: PlotPanel, width: float, height: float) -> bytes:
    """A plot as SVG."""
    return figures.render_svg(figures.whole(panel), FigureStyle(width, height))


def render_pdf(panel: PlotPanel, width: float, height: float) -> bytes:
    """A plot as a PDF page."""
    return figures.render_pdf(figures.whole(panel), FigureStyle(width, height))


def export(panel: PlotPanel, path: Path, width: float = 120, height: float = 80, *, dpi: int = 300) -> None:
    """Write a plot, or its numbers, as the ending of the name says."""
    kind = path.suffix[1:]
    if kind == "csv":
        data = figures.render_csv(panel)
    else:
        assert kind in get_args(figures.Format)
        data = figures.render(kind, figures.whole(panel), FigureStyle(width, height), dpi=dpi)  # type: ignore[arg-type]
    figures.write_files({path: data})
