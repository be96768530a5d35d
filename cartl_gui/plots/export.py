"""Write a plot as PNG, SVG, PDF or CSV. The figure is drawn anew, black on white, at the wanted size.

pyqtgraph's own exporters are not used: the SVG one fails on newer Qt, the image one shrinks text.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Literal

import numpy as np
from PySide6.QtCore import (
    QBuffer,
    QByteArray,
    QCoreApplication,
    QIODevice,
    QMarginsF,
    QPointF,
    QRectF,
    QSize,
    QSizeF,
    Qt,
)
from PySide6.QtGui import QFont, QFontMetricsF, QImage, QPageLayout, QPageSize, QPainter, QPdfWriter
from PySide6.QtSvg import QSvgGenerator

from cartl_gui.plots.base import CurveStyle, PlotPanel, draw_sample
from cartl_gui.theme import PRINT

Format = Literal["png", "svg", "pdf", "csv"]
FORMATS: tuple[Format, ...] = ("png", "svg", "pdf", "csv")
#: Logical pixels per millimetre at 96 dots per inch.
_PER_MM = 96 / 25.4


class Figure:
    """A copy of a plot, out of sight, in print colours and at a size of its own.

    Args:
        panel: the plot; its data, zoom, hidden curves and axes are taken over.
        width_mm: width of the figure in millimetres.
        height_mm: height of the figure in millimetres.
        scale: device pixels per logical pixel of 1/96 inch.
        with_title: whether the plot's title stands above it.
    """

    def __init__(
        self,
        panel: PlotPanel,
        width_mm: float,
        height_mm: float,
        *,
        scale: float = 1.0,
        with_title: bool = True,
    ) -> None:
        self.size = QSizeF(width_mm * _PER_MM * scale, height_mm * _PER_MM * scale)
        self._scale = scale
        self._title = panel.title if with_title else ""
        self._twin = panel.twin(scale)
        self._entries = [
            (curve.name, curve.style)
            for curve in self._twin.curves
            if curve.has_values() and curve.entry.isChecked() and self._twin.legend_button.isChecked()
        ]
        self._fonts = (self._font(9.5, bold=True), self._font(8.5))
        self._places = self._places_of_entries()
        self._top = self._height_above()
        widget = self._twin.widget
        widget.setParent(None)
        widget.setAttribute(Qt.WidgetAttribute.WA_DontShowOnScreen)
        widget.resize(round(self.size.width()), max(40, round(self.size.height() - self._top)))
        widget.show()
        widget.resizeEvent(None)
        scrap = QImage(QSize(8, 8), QImage.Format.Format_RGB32)
        scrap.fill(Qt.GlobalColor.white)
        for _ in range(3):  # the axes learn how much room their numbers need while they are painted
            painter = QPainter(scrap)
            widget.scene().render(painter, QRectF(0, 0, 8, 8), widget.sceneRect())
            painter.end()
            QCoreApplication.sendPostedEvents(None, 0)
        self._twin.settle()
        for item in widget.scene().items():
            if hasattr(item, "setExportMode"):
                item.setExportMode(True, {"antialias": True, "background": None, "resolutionScale": 1.0})

    def paint(self, painter: QPainter) -> None:
        """Paint the figure at the origin, `size` large."""
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.fillRect(QRectF(QPointF(0, 0), self.size), Qt.GlobalColor.white)
        self._paint_head(painter)
        widget = self._twin.widget
        target = QRectF(0, self._top, self.size.width(), self.size.height() - self._top)
        widget.scene().render(painter, target, widget.sceneRect(), Qt.AspectRatioMode.IgnoreAspectRatio)

    def close(self) -> None:
        """Take the copy apart."""
        self._twin.widget.hide()
        self._twin.widget.close()
        self._twin.widget.deleteLater()
        self._twin.deleteLater()

    def _font(self, points: float, *, bold: bool = False) -> QFont:
        font = QFont(self._twin.font())
        font.setPixelSize(max(1, round(points * 96 / 72 * self._scale)))
        font.setBold(bold)
        return font

    def _height_above(self) -> float:
        title = self._title_box().height() if self._title else 0.0
        rows = self._places[-1].y() + 1 if self._places else 0
        return title + rows * QFontMetricsF(self._fonts[1]).height() + 8 * self._scale

    def _title_box(self) -> QRectF:
        """Where the title stands, in as many rows as it needs."""
        room = QRectF(10 * self._scale, 4 * self._scale, self.size.width() - 20 * self._scale, 1e4)
        wanted = QFontMetricsF(self._fonts[0]).boundingRect(room, Qt.TextFlag.TextWordWrap, self._title)
        return QRectF(room.topLeft(), QSizeF(room.width(), wanted.height()))

    def _places_of_entries(self) -> list[QPointF]:
        """For each entry of the legend its left edge and the number of its row, from 0."""
        metrics, margin = QFontMetricsF(self._fonts[1]), 10 * self._scale
        places, left, row = [], margin, 0
        for name, _style in self._entries:
            width = 27 * self._scale + metrics.horizontalAdvance(name)
            if left > margin and left + width > self.size.width() - margin:
                left, row = margin, row + 1
            places.append(QPointF(left, row))
            left += width + 14 * self._scale
        return places

    def _paint_head(self, painter: QPainter) -> None:
        painter.setPen(Qt.GlobalColor.black)
        top = 4 * self._scale
        if self._title:
            painter.setFont(self._fonts[0])
            painter.drawText(self._title_box(), Qt.TextFlag.TextWordWrap, self._title)
            top += self._title_box().height()
        metrics = QFontMetricsF(self._fonts[1])
        for (name, style), place in zip(self._entries, self._places, strict=True):
            left, above = place.x(), top + place.y() * metrics.height()
            painter.save()
            painter.translate(left, above + metrics.height() / 2)
            painter.scale(self._scale, self._scale)
            draw_sample(
                painter, CurveStyle(style.colour, style.dashes, style.symbol, style.width), PRINT, QPointF()
            )
            painter.restore()
            painter.setPen(Qt.GlobalColor.black)
            painter.setFont(self._fonts[1])
            painter.drawText(QPointF(left + 27 * self._scale, above + metrics.ascent()), name)


def render_png(
    panel: PlotPanel, width_mm: float, height_mm: float, *, dpi: int = 300, with_title: bool = True
) -> QImage:
    """Draw a plot into an image of width_mm x height_mm at `dpi` dots per inch."""
    figure = Figure(panel, width_mm, height_mm, scale=dpi / 96, with_title=with_title)
    image = QImage(figure.size.toSize(), QImage.Format.Format_RGB32)
    image.fill(Qt.GlobalColor.white)
    painter = QPainter(image)
    figure.paint(painter)
    painter.end()
    # Only now: axes are recorded at the screen's resolution and would be scaled to that of the image once more.
    image.setDotsPerMeterX(round(dpi / 0.0254))
    image.setDotsPerMeterY(round(dpi / 0.0254))
    figure.close()
    return image


def render_svg(panel: PlotPanel, width_mm: float, height_mm: float, *, with_title: bool = True) -> bytes:
    """Draw a plot as SVG."""
    figure = Figure(panel, width_mm, height_mm, with_title=with_title)
    data = QByteArray()
    buffer = QBuffer(data)
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    generator = QSvgGenerator()
    generator.setOutputDevice(buffer)
    generator.setResolution(96)
    generator.setSize(figure.size.toSize())
    generator.setViewBox(QRectF(QPointF(0, 0), figure.size))
    generator.setTitle(panel.title)
    generator.setDescription("CARTL Workbench")
    painter = QPainter(generator)
    figure.paint(painter)
    painter.end()
    figure.close()
    buffer.close()
    return bytes(data.data())


def render_pdf(panel: PlotPanel, width_mm: float, height_mm: float, *, with_title: bool = True) -> bytes:
    """Draw a plot as a PDF page of exactly its size."""
    figure = Figure(panel, width_mm, height_mm, with_title=with_title)
    data = QByteArray()
    buffer = QBuffer(data)
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    writer = QPdfWriter(buffer)
    writer.setResolution(96)
    writer.setTitle(panel.title)
    writer.setCreator("CARTL Workbench")
    size = QPageSize(
        QSizeF(width_mm, height_mm), QPageSize.Unit.Millimeter, "", QPageSize.SizeMatchPolicy.ExactMatch
    )
    writer.setPageLayout(QPageLayout(size, QPageLayout.Orientation.Portrait, QMarginsF(0, 0, 0, 0)))
    painter = QPainter(writer)
    figure.paint(painter)
    painter.end()
    figure.close()
    buffer.close()
    return bytes(data.data())


def render_csv(panel: PlotPanel) -> bytes:
    """Write the numbers of a plot: a line of titles, then one line per point; empty where there is no value."""
    series = panel.series()
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(series)
    for values in zip(*series.values(), strict=True):
        writer.writerow([_cell(value) for value in values])
    return out.getvalue().encode()


def export(
    panel: PlotPanel, path: Path, width_mm: float = 120, height_mm: float = 80, *, dpi: int = 300,
    with_title: bool = True,
) -> None:  # fmt: skip
    """Write a plot in the format that the file's ending names.

    Raises:
        ValueError: the ending is none of png, svg, pdf, csv.
        OSError: the file cannot be written.
    """
    kind = path.suffix.lower().lstrip(".")
    if kind == "csv":
        path.write_bytes(render_csv(panel))
    elif kind == "svg":
        path.write_bytes(render_svg(panel, width_mm, height_mm, with_title=with_title))
    elif kind == "pdf":
        path.write_bytes(render_pdf(panel, width_mm, height_mm, with_title=with_title))
    elif kind == "png":
        buffer = QBuffer()
        buffer.open(QIODevice.OpenModeFlag.WriteOnly)
        render_png(panel, width_mm, height_mm, dpi=dpi, with_title=with_title).save(buffer, "PNG")
        path.write_bytes(bytes(buffer.data().data()))
    else:
        raise ValueError(f"expected a file name that ends with .png, .svg, .pdf or .csv, got {path.name!r}")


def _cell(value: object) -> str:
    if isinstance(value, np.floating | float):
        return repr(float(value)) if np.isfinite(value) else ""
    return str(value)
