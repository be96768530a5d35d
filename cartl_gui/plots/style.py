"""How curves look: colour, dashes, symbol, and the sample of them that legends show."""

from __future__ import annotations

from dataclasses import dataclass

import pyqtgraph as pg
from PySide6.QtCore import QLineF, QPointF, Qt
from PySide6.QtGui import QColor, QPainter, QPen

from cartl_gui.theme import Scheme

#: In place of a curve's number: the colour of quiet text, for what is no measurement of its own.
QUIET = -1
#: Symbols that are told apart at a glance; with six colours no two of 24 curves look alike.
SYMBOLS = ("o", "s", "t1", "d", "t", "star", "p", "h")


@dataclass(frozen=True, slots=True)
class CurveStyle:
    """How one curve looks: place in the scheme's colours (or `QUIET`), dash pattern, symbol, width."""

    colour: int
    dashes: tuple[float, ...] = ()
    symbol: str | None = None
    width: float = 1.6

    def colour_in(self, colours: Scheme) -> QColor:
        """Its colour in a scheme."""
        return QColor(colours.muted if self.colour == QUIET else colours.curves[self.colour])


def pen_of(style: CurveStyle, colours: Scheme, scale: float = 1.0) -> QPen:
    """The pen of a curve; cosmetic, so that its width is in screen pixels."""
    pen = pg.mkPen(style.colour_in(colours), width=style.width * scale)
    if style.dashes:
        pen.setDashPattern(list(style.dashes))
    return pen


def draw_sample(painter: QPainter, style: CurveStyle, colours: Scheme, left: QPointF) -> None:
    """Draw a 22 pixel long sample of a curve, for legends in the window and in exported figures."""
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    pen = pen_of(style, colours)
    pen.setWidthF(max(1.8, style.width))
    painter.setPen(pen)
    painter.drawLine(QLineF(left, left + QPointF(22, 0)))
    if style.symbol:
        painter.save()
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(style.colour_in(colours))
        painter.translate(left + QPointF(11, 0))
        painter.scale(7, 7)
        painter.drawPath(pg.graphicsItems.ScatterPlotItem.Symbols[style.symbol])
        painter.restore()
