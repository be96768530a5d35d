"""Plots as a figure on paper: one, or several as a page arranges them, drawn anew at the wanted size.

A figure is black on white whatever the window looks like. It is painted `scale` device pixels per 1/96 inch large,
since pens and symbols of the plots have sizes in device pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QCoreApplication, QLineF, QPointF, QRectF, QSize, QSizeF, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QImage, QPainter, QPen

from cartl_gui.plots.base import Curve, CurveStyle, PlotPanel
from cartl_gui.plots.marks import Image
from cartl_gui.plots.style import pen_of
from cartl_gui.theme import PRINT
from cartl_gui.words import number

LegendPlace = Literal["above", "inside", "off"]
#: A plot and where it stands in the figure, in shares 0..1 of its width and height.
Place = tuple[PlotPanel, QRectF]
#: Logical pixels of 1/96 inch per millimetre and per point.
PER_MM, PER_POINT = 96 / 25.4, 96 / 72
#: The first family that is there is taken.
FAMILIES = {
    "sans": ("Helvetica", "Arial", "Liberation Sans", "DejaVu Sans"),
    "serif": ("Times New Roman", "Times", "Liberation Serif", "DejaVu Serif"),
}
#: Dashes for curves that only their colour tells apart.
DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2.5), (1.5, 2), (7, 2, 1.5, 2), (3, 1.5), (9, 3))
#: Width of an ordinary curve in the window, in pixels: what a figure's line width stands for.
_USUAL_WIDTH = 1.6
#: Millimetres of white around each of several plots.
_GUTTER = 1.0
#: Logical pixels by which numbers may stand out beyond the end of their axis.
_OVERHANG = 15
#: Points that stand for a curve where it is asked what a legend covers.
_DENSE = 400


@dataclass(frozen=True, slots=True)
class FigureStyle:
    """How a figure looks.

    Attributes:
        width, height: in millimetres.
        points: size of all text; titles are one point larger.
        family: "sans" or "serif".
        line_width: of ordinary curves, in points; thinner and thicker ones keep their ratio.
        legend: above each plot, inside it where it covers least, or none.
        titles: whether each plot's title stands above it.
        letters: whether several plots are lettered (a), (b), …
        whole_axes: show everything instead of what the window is zoomed to.
        distinct: give dashes to curves that only their colour tells apart.
    """

    width: float = 85.0
    height: float = 60.0
    points: float = 8.0
    family: Literal["sans", "serif"] = "sans"
    line_width: float = 1.2
    legend: LegendPlace = "above"
    titles: bool = True
    letters: bool = True
    whole_axes: bool = False
    distinct: bool = False

    def font(self, *, larger: float = 0.0) -> QFont:
        """The font of its text, `larger` points larger."""
        font = QFont()
        font.setFamilies(list(FAMILIES[self.family]))
        font.setStyleHint(QFont.StyleHint.SansSerif if self.family == "sans" else QFont.StyleHint.Serif)
        font.setPointSizeF(self.points + larger)
        return font

    def widened(self, style: CurveStyle) -> CurveStyle:
        """A curve's look with the line width of the figure."""
        return replace(style, width=style.width * self.line_width * PER_POINT / _USUAL_WIDTH)


def told_apart(styles: Sequence[CurveStyle]) -> list[CurveStyle]:
    """The same looks, with dashes where a curve has the dashes and symbol of one before it."""
    taken: set[tuple[tuple[float, ...], str | None]] = set()
    found = []
    for style in styles:
        free = [dashes for dashes in (style.dashes, *DASHES) if (dashes, style.symbol) not in taken]
        chosen = replace(style, dashes=free[0] if free else style.dashes)
        taken.add((chosen.dashes, chosen.symbol))
        found.append(chosen)
    return found


def drawn_styles(panel: PlotPanel, style: FigureStyle) -> list[tuple[Curve, CurveStyle]]:
    """The curves of a plot that a figure shows, with their looks in it."""
    shown = [curve for curve in panel.curves if curve.has_values() and curve.entry.isChecked()]
    looks = [curve.look() for curve in shown]
    return list(zip(shown, told_apart(looks) if style.distinct else looks, strict=True))


class Figure:
    """Plots out of sight, in print colours, ready to be painted; to be closed after use.

    Args:
        places: the plots and where they stand; data, zoom, hidden curves and axes are taken over.
        style: how the figure looks.
        scale: device pixels per logical pixel of 1/96 inch.
    """

    def __init__(self, places: Sequence[Place], style: FigureStyle, scale: float) -> None:
        self.size = QSizeF(style.width * PER_MM * scale, style.height * PER_MM * scale)
        several = len(places) > 1
        gutter = _GUTTER * PER_MM * scale if several else 0.0
        self._parts: list[tuple[QPointF, _Part]] = []
        for place, (panel, share) in enumerate(places):
            room = QRectF(
                share.x() * self.size.width(), share.y() * self.size.height(),
                share.width() * self.size.width(), share.height() * self.size.height(),
            ).adjusted(gutter, gutter, -gutter, -gutter)  # fmt: skip
            letter = f"({chr(ord('a') + place)})" if several and style.letters and place < 26 else ""
            self._parts.append((room.topLeft(), _Part(panel, room.size(), style, scale, letter)))

    def paint(self, painter: QPainter) -> None:
        """Paint the figure at the origin, `size` large."""
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.fillRect(QRectF(QPointF(0, 0), self.size), Qt.GlobalColor.white)
        for corner, part in self._parts:
            painter.save()
            painter.translate(corner)
            part.paint(painter)
            painter.restore()

    def close(self) -> None:
        """Take the copies of the plots apart."""
        for _corner, part in self._parts:
            part.close()


class _Part:
    """One plot of a figure with its title and legend."""

    def __init__(self, panel: PlotPanel, size: QSizeF, style: FigureStyle, scale: float, letter: str) -> None:
        self._size, self._style, self._scale, self._letter = size, style, scale, letter
        # The title of a map names its colours.
        has_title = style.titles or any(isinstance(mark, Image) for mark in panel.marks() or ())
        smoothed = f"smoothed {number(panel.smoothing)}" if panel.smoothing and not has_title else ""
        self._title = panel.title if has_title else ""
        self._twin = panel.twin(scale)
        self._caption = ", ".join(filter(None, [smoothed, self._twin.caption()]))
        self._axes: list[pg.AxisItem] = []
        self._entries = self._styled()
        self._fonts = (self._font(style.font(larger=1), bold=True), self._font(style.font()))
        self._rows = self._places_of_entries() if style.legend == "above" else []
        self._top = self._height_above()
        if style.whole_axes:
            self._twin.fit()
        self._lay_out()

    def _styled(self) -> list[tuple[str, CurveStyle]]:
        """Give the copy the figure's font and curves; returns the entries of the legend."""
        twin, style = self._twin, self._style
        twin.figure_font = style.font()
        twin.setFont(style.font())
        twin.legend_action.setChecked(style.legend != "off")
        entries = []
        for curve, look in drawn_styles(twin, style):
            curve.style = style.widened(look)
            if look.dashes:
                curve.item.curve.setSegmentedLineMode("off")  # dashes would begin anew in each segment
            entries.append((curve.name, curve.style))
        twin.recolour(PRINT)
        return entries if style.legend != "off" else []

    def _lay_out(self) -> None:
        widget = self._twin.widget
        self._axes = [
            item for item in widget.scene().items() if isinstance(item, pg.AxisItem) and item.isVisible()
        ]
        for axis in self._axes:
            # Both count in pixels: the same numbers are to stand at the axis at every scale.
            axis.setTickDensity(1 / math.sqrt(self._scale))
            axis.setStyle(hideOverlappingLabels=round(_OVERHANG * self._scale))
        widget.setParent(None)
        widget.setAttribute(Qt.WidgetAttribute.WA_DontShowOnScreen)
        widget.resize(round(self._size.width()), max(40, round(self._size.height() - self._top)))
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
        for axis in self._axes:
            axis.setOpacity(0.0)  # painted by `_paint_axis`
        for item in widget.scene().items():
            if isinstance(item, pg.ErrorBarItem) and not len(item.opts["x"]):
                item.hide()  # a path without a point is no valid PDF
            if hasattr(item, "setExportMode"):
                item.setExportMode(True, {"antialias": True, "background": None, "resolutionScale": 1.0})

    def paint(self, painter: QPainter) -> None:
        """Paint the plot at the origin."""
        widget = self._twin.widget
        for axis in self._axes:
            self._paint_axis(painter, axis)
        target = QRectF(0, self._top, self._size.width(), self._size.height() - self._top)
        widget.scene().render(painter, target, widget.sceneRect(), Qt.AspectRatioMode.IgnoreAspectRatio)
        self._paint_head(painter)
        if self._style.legend == "inside" and self._entries:
            self._paint_inside(painter)

    def _paint_axis(self, painter: QPainter, axis: pg.AxisItem) -> None:
        """Paint an axis with its title; left alone it would play a record made for the resolution of the screen."""
        painter.save()
        painter.translate(axis.scenePos() + QPointF(0, self._top))
        painter.setFont(axis.style["tickFont"])
        specs = axis.generateDrawSpecs(painter)
        if specs is not None:
            axis.drawPicture(painter, *specs)
        painter.restore()
        if axis.label.isVisible():
            painter.save()
            painter.translate(0, self._top)
            painter.setTransform(axis.label.sceneTransform(), combine=True)
            axis.label.document().drawContents(painter)
            painter.restore()

    def close(self) -> None:
        """Take the copy apart."""
        self._twin.widget.hide()
        self._twin.widget.close()
        self._twin.widget.deleteLater()
        self._twin.deleteLater()

    # title and legend above ----------------------------------------------------------------------------
    def _font(self, font: QFont, *, bold: bool = False) -> QFont:
        font.setPixelSize(max(1, round(font.pointSizeF() * PER_POINT * self._scale)))
        font.setBold(bold)
        return font

    def _margin(self) -> float:
        return 6 * self._scale

    def _title_box(self) -> QRectF:
        """Where the title stands beside its letter, in as many rows as it needs."""
        metrics = QFontMetricsF(self._fonts[0])
        indent = metrics.horizontalAdvance(f"{self._letter}  ") if self._letter else 0.0
        left, top = self._margin() + indent, 3 * self._scale
        room = QRectF(left, top, max(1.0, self._size.width() - left - self._margin()), 1e4)
        wanted = metrics.boundingRect(room, Qt.TextFlag.TextWordWrap, self._title or " ")
        return QRectF(room.topLeft(), QSizeF(room.width(), wanted.height()))

    def _heights(self) -> tuple[float, float, float]:
        """Heights of title, caption and legend."""
        line = QFontMetricsF(self._fonts[1]).height()
        title = self._title_box().height() if self._title or self._letter else 0.0
        rows = self._rows[-1].y() + 1 if self._rows else 0
        return title, line if self._caption else 0.0, rows * line

    def _height_above(self) -> float:
        return sum(self._heights()) + 5 * self._scale

    def _entry_width(self, name: str) -> float:
        return 27 * self._scale + QFontMetricsF(self._fonts[1]).horizontalAdvance(name)

    def _places_of_entries(self) -> list[QPointF]:
        """For each entry of the legend its left edge and the number of its row, from 0."""
        margin = self._margin()
        places, left, row = [], margin, 0
        for name, _style in self._entries:
            width = self._entry_width(name)
            if left > margin and left + width > self._size.width() - margin:
                left, row = margin, row + 1
            places.append(QPointF(left, row))
            left += width + 12 * self._scale
        return places

    def _paint_head(self, painter: QPainter) -> None:
        painter.setPen(Qt.GlobalColor.black)
        painter.setFont(self._fonts[0])
        box = self._title_box()
        if self._letter:
            painter.drawText(
                QPointF(self._margin(), box.top() + QFontMetricsF(self._fonts[0]).ascent()), self._letter
            )
        if self._title:
            painter.drawText(box, Qt.TextFlag.TextWordWrap, self._title)
        title, caption, _legend = self._heights()
        metrics, top = QFontMetricsF(self._fonts[1]), 3 * self._scale + title
        painter.setFont(self._fonts[1])
        if self._caption:
            painter.setPen(QColor(PRINT.muted))
            text = metrics.elidedText(
                self._caption, Qt.TextElideMode.ElideRight, self._size.width() - 2 * self._margin()
            )
            painter.drawText(QPointF(self._margin(), top + metrics.ascent()), text)
        for (name, style), place in zip(self._entries, self._rows, strict=False):
            self._paint_entry(
                painter, name, style, QPointF(place.x(), top + caption + place.y() * metrics.height())
            )

    def _paint_entry(self, painter: QPainter, name: str, style: CurveStyle, corner: QPointF) -> None:
        metrics = QFontMetricsF(self._fonts[1])
        self._paint_sample(painter, style, corner + QPointF(0, metrics.height() / 2))
        painter.setPen(Qt.GlobalColor.black)
        painter.setFont(self._fonts[1])
        painter.drawText(corner + QPointF(27 * self._scale, metrics.ascent()), name)

    def _paint_sample(self, painter: QPainter, style: CurveStyle, left: QPointF) -> None:
        painter.setPen(pen_of(style, PRINT, self._scale))
        painter.drawLine(QLineF(left, left + QPointF(22 * self._scale, 0)))
        if style.symbol:
            painter.save()
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(style.colour_in(PRINT))
            painter.translate(left + QPointF(11 * self._scale, 0))
            painter.scale(7 * self._scale, 7 * self._scale)
            painter.drawPath(pg.graphicsItems.ScatterPlotItem.Symbols[style.symbol])
            painter.restore()

    # legend inside -------------------------------------------------------------------------------------
    def _paint_inside(self, painter: QPainter) -> None:
        """Write the legend into that corner of the plot in which it covers the fewest points."""
        line, pad = QFontMetricsF(self._fonts[1]).height(), 4 * self._scale
        width = max(self._entry_width(name) for name, _style in self._entries) + 2 * pad
        size = QSizeF(width, line * len(self._entries) + 2 * pad)
        frame = self._twin.view.sceneBoundingRect().translated(0, self._top)
        frame = frame.adjusted(pad, pad, -pad, -pad)
        corners = [
            QRectF(QPointF(left, top), size)
            for top in (frame.top(), frame.bottom() - size.height())
            for left in (frame.right() - size.width(), frame.left())
        ]
        points = self._points()
        box = min(corners, key=lambda corner: _inside(points, corner.adjusted(-pad, -pad, pad, pad)))
        painter.setPen(QPen(QColor(PRINT.grid), self._scale * 0.75))
        painter.setBrush(QColor(255, 255, 255, 225))
        painter.drawRect(box)
        for row, (name, style) in enumerate(self._entries):
            self._paint_entry(painter, name, style, box.topLeft() + QPointF(pad, pad + row * line))

    def _points(self) -> np.ndarray:
        """[n, 2] points of the drawn curves, in the coordinates of the figure."""
        found = [np.empty((0, 2))]
        for curve in self._twin.curves:
            x, y = curve.item.getData()
            if x is None or not curve.item.isVisible():
                continue
            known = np.isfinite(x) & np.isfinite(y)
            x, y = x[known], y[known]
            if 1 < len(x) < _DENSE and (np.diff(x) > 0).all():  # what lies between two points is covered too
                between = np.linspace(x[0], x[-1], _DENSE)
                x, y = between, np.interp(between, x, y)
            corner, far = (
                self._twin.view.mapViewToScene(QPointF(place, place)).toTuple() for place in (0.0, 1.0)
            )
            scale = np.array(far) - np.array(corner)
            found.append(np.array(corner) + np.column_stack([x, y]) * scale + [0, self._top])
        return np.concatenate(found)


def _inside(points: np.ndarray, box: QRectF) -> int:
    across = (points[:, 0] >= box.left()) & (points[:, 0] <= box.right())
    return int((across & (points[:, 1] >= box.top()) & (points[:, 1] <= box.bottom())).sum())
