"""Write plots as PNG, SVG, PDF or CSV; a figure says in its file which runs it shows.

pyqtgraph's own exporters are not used: the SVG one fails on newer Qt, the image one shrinks text.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PySide6.QtCore import (
    QBuffer,
    QByteArray,
    QIODevice,
    QMarginsF,
    QPointF,
    QRectF,
    QSaveFile,
    QSize,
    QSizeF,
    Qt,
)
from PySide6.QtGui import QColor, QImage, QImageWriter, QPageLayout, QPageSize, QPainter, QPdfWriter
from PySide6.QtSvg import QSvgGenerator

from cartl_gui.plots.base import PlotPanel
from cartl_gui.plots.figure import Figure, FigureStyle, Place, drawn_styles
from cartl_gui.plots.svg import with_scaling_strokes
from cartl_gui.program import NAME, version
from cartl_gui.theme import PRINT
from engine.config import settings_hash

Format = Literal["png", "svg", "pdf"]
FORMATS: tuple[Format, ...] = ("pdf", "svg", "png")
PROGRAM = f"{NAME} {version()}"
#: Device pixels per 1/96 inch in vector figures, so that sizes of text are not rounded to whole pixels.
_FINE = 4
#: Device pixels of a preview's figure per pixel on the screen, at least.
_PREVIEW = 2.0
#: Lightness, 0..1, by which two curves must differ to be told apart in grey.
_LEAST_CONTRAST = 0.12


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a figure comes from: its title, and of each run its name, id and the SHA-256 of its settings."""

    title: str
    runs: tuple[tuple[str, str, str], ...] = ()

    @classmethod
    def of(cls, panels: Sequence[PlotPanel]) -> Origin:
        """Tell it from the plots."""
        infos = {info.id: info for panel in panels for info in panel.runs()}
        title = "; ".join(dict.fromkeys(panel.title for panel in panels))
        return cls(title, tuple((run.title, run.id, settings_hash(run.config)) for run in infos.values()))

    def text(self) -> str:
        """One line for the file's description."""
        runs = "; ".join(
            f"{name} (run {run_id}, config.toml SHA-256 {digest})" for name, run_id, digest in self.runs
        )
        return ". ".join(filter(None, [self.title, runs, f"Made with {PROGRAM}"]))


def whole(panel: PlotPanel) -> list[Place]:
    """A single plot as a figure of its own."""
    return [(panel, QRectF(0, 0, 1, 1))]


def paint(places: Sequence[Place], style: FigureStyle, scale: float) -> QImage:
    """Draw a figure, `scale` pixels per 1/96 inch large."""
    figure = Figure(places, style, scale)
    try:
        image = QImage(figure.size.toSize(), QImage.Format.Format_RGB32)
        image.fill(Qt.GlobalColor.white)
        painter = QPainter(image)
        figure.paint(painter)
        painter.end()
    finally:
        figure.close()
    return image


def preview(places: Sequence[Place], style: FigureStyle, room: QSize, *, in_grey: bool = False) -> QImage:
    """Draw a figure as large as fits into `room` pixels, by the same steps as into a file."""
    fit = min(room.width() / style.width, room.height() / style.height) * 25.4 / 96
    # Drawn larger and reduced: at the size of the screen its letters would have other widths than in the file.
    image = paint(places, style, max(1.0, math.ceil(_PREVIEW / fit)) * fit)
    size = QSize(round(style.width * fit * 96 / 25.4), round(style.height * fit * 96 / 25.4))
    image = image.scaled(
        size, Qt.AspectRatioMode.IgnoreAspectRatio, Qt.TransformationMode.SmoothTransformation
    )
    return image.convertToFormat(QImage.Format.Format_Grayscale8) if in_grey else image


def render_png(
    places: Sequence[Place], style: FigureStyle, *, dpi: int = 300, origin: Origin | None = None
) -> QImage:
    """Draw a figure into an image of its size at `dpi` dots per inch."""
    image = paint(places, style, dpi / 96)
    image.setDotsPerMeterX(round(dpi / 0.0254))
    image.setDotsPerMeterY(round(dpi / 0.0254))
    origin = origin or Origin.of([panel for panel, _share in places])
    for key, text in (("Title", origin.title), ("Description", origin.text()), ("Software", PROGRAM)):
        image.setText(key, text)
    return image


def render_svg(places: Sequence[Place], style: FigureStyle, *, origin: Origin | None = None) -> bytes:
    """Draw a figure as SVG."""
    origin = origin or Origin.of([panel for panel, _share in places])
    figure = Figure(places, style, _FINE)
    data = QByteArray()
    buffer = QBuffer(data)
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    generator = QSvgGenerator()
    generator.setOutputDevice(buffer)
    generator.setResolution(96 * _FINE)
    generator.setSize(figure.size.toSize())
    generator.setViewBox(QRectF(QPointF(0, 0), figure.size))
    generator.setTitle(origin.title)
    generator.setDescription(origin.text())
    painter = QPainter(generator)
    figure.paint(painter)
    painter.end()
    figure.close()
    buffer.close()
    return with_scaling_strokes(bytes(data.data()))


def render_pdf(places: Sequence[Place], style: FigureStyle, *, origin: Origin | None = None) -> bytes:
    """Draw a figure as a PDF page of exactly its size."""
    origin = origin or Origin.of([panel for panel, _share in places])
    figure = Figure(places, style, _FINE)
    data = QByteArray()
    buffer = QBuffer(data)
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    writer = QPdfWriter(buffer)
    writer.setResolution(96 * _FINE)
    writer.setTitle(origin.text())
    writer.setCreator(PROGRAM)
    size = QPageSize(
        QSizeF(style.width, style.height), QPageSize.Unit.Millimeter, "", QPageSize.SizeMatchPolicy.ExactMatch
    )
    writer.setPageLayout(QPageLayout(size, QPageLayout.Orientation.Portrait, QMarginsF(0, 0, 0, 0)))
    painter = QPainter(writer)
    figure.paint(painter)
    painter.end()
    figure.close()
    buffer.close()
    return bytes(data.data())


def render(
    kind: Format, places: Sequence[Place], style: FigureStyle, *, dpi: int = 300, origin: Origin | None = None
) -> bytes:
    """A figure as the bytes of a file."""
    if kind == "svg":
        return render_svg(places, style, origin=origin)
    if kind == "pdf":
        return render_pdf(places, style, origin=origin)
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    QImageWriter(buffer, b"png").write(render_png(places, style, dpi=dpi, origin=origin))
    return bytes(buffer.data().data())


def render_csv(panel: PlotPanel) -> bytes:
    """Write the numbers of a plot: a line of titles, then one line per point; empty where there is no value."""
    series = panel.series()
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(series)
    for values in zip(*series.values(), strict=True):
        writer.writerow([_cell(value) for value in values])
    return out.getvalue().encode()


def write_files(files: Mapping[Path, bytes]) -> None:
    """Write files in order, each as a whole or not at all, replacing what is there.

    Raises:
        OSError: one could not be written; those before it are.
    """
    for path, data in files.items():
        file = QSaveFile(str(path))
        opened = file.open(QIODevice.OpenModeFlag.WriteOnly)
        if not opened or file.write(data) != len(data) or not file.commit():
            raise OSError(f"{path} could not be written: {file.errorString()}")


def alike_in_grey(panels: Sequence[PlotPanel], style: FigureStyle) -> list[str]:
    """Pairs of curves that nothing tells apart once printed in grey: "clean and robust"."""
    pairs = []
    for panel in panels:
        shown = [
            (curve.name, look, _lightness(look.colour_in(PRINT)))
            for curve, look in drawn_styles(panel, style)
        ]
        for number, (name, look, lightness) in enumerate(shown):
            for other, another, its in shown[number + 1 :]:
                same = (look.dashes, look.symbol) == (another.dashes, another.symbol)
                if same and abs(lightness - its) < _LEAST_CONTRAST:
                    pairs.append(f"{name} and {other}")
    return pairs


def _lightness(colour: QColor) -> float:
    """CIE lightness 0..1."""
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (colour.redF(), colour.greenF(), colour.blueF())
    )
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return (116 * math.cbrt(luminance) - 16) / 100 if luminance > 0.008856 else 9.033 * luminance


def _cell(value: object) -> str:
    """The shortest text that is this number in its own precision: 0.1, not 0.10000000149011612."""
    return "" if isinstance(value, np.floating | float) and not np.isfinite(value) else str(value)
