"""The frame around every plot: title, buttons, legend outside the data, crosshair readout, colours of the theme."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, QLineF, QPointF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFont, QIcon, QPainter, QPen, QPixmap
from PySide6.QtWidgets import (
    QBoxLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from cartl_gui import theme
from cartl_gui.run_data import RunData, decimate
from cartl_gui.theme import Scheme
from cartl_gui.widgets import ElidedLabel
from engine.config import StageName

pg.setConfigOptions(antialias=True, segmentedLineMode="on", imageAxisOrder="row-major")

Series = dict[str, np.ndarray]


#: In place of a curve's number: the colour of quiet text, for what is no measurement of its own.
QUIET = -1


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


class LegendEntry(QToolButton):
    """A button in the legend: sample of the line, name, value; pressing it hides or shows the curve."""

    def __init__(self, name: str, style: CurveStyle, parent: QWidget) -> None:
        super().__init__(parent)
        self.name, self.style_of_curve = name, style
        self.setCheckable(True)
        self.setChecked(True)
        self.setProperty("legend", "true")
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.setIconSize(QSize(22, 12))
        self.toggled.connect(self._strike)
        self.setText(f" {name}")
        self.setAccessibleName(f"Show {name}")
        self.setToolTip(f"Show or hide {name}")

    def rename(self, name: str) -> None:
        """Call the curve something else."""
        if name != self.name:
            self.name = name
            self.setText(f" {name}")
            self.setAccessibleName(f"Show {name}")
            self.setToolTip(f"Show or hide {name}")

    def set_value(self, text: str) -> None:
        """Show the curve's value beside its name."""
        self.setText(f" {self.name}  {text}" if text else f" {self.name}")

    def _strike(self, on: bool) -> None:
        font = self.font()
        font.setStrikeOut(not on)
        self.setFont(font)

    def recolour(self, colours: Scheme) -> None:
        """Draw the sample of the line anew."""
        pixmap = QPixmap(44, 24)
        pixmap.setDevicePixelRatio(2)
        pixmap.fill(Qt.GlobalColor.transparent)
        painter = QPainter(pixmap)
        draw_sample(painter, self.style_of_curve, colours, QPointF(0, 6))
        painter.end()
        self.setIcon(QIcon(pixmap))


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


class Curve:
    """One line of a plot. The drawn points are thinned out; `x` and `y` keep all of them."""

    def __init__(self, panel: PlotPanel, name: str, style: CurveStyle) -> None:
        self.name, self.style = name, style
        self.x, self.y = np.empty(0), np.empty(0)
        self.item = pg.PlotDataItem(pen=None)
        if style.dashes:
            self.item.curve.setSegmentedLineMode("off")
        panel.plot.addItem(self.item)
        self.entry = LegendEntry(name, style, panel)
        self.entry.toggled.connect(self.item.setVisible)
        self.log = False

    def set(self, x: np.ndarray, y: np.ndarray) -> None:
        """Show new points, [T] and [T]."""
        self.x, self.y = np.asarray(x), np.asarray(y, float)
        self.draw()

    def draw(self) -> None:
        """Draw the points; on a log axis values of 0 and less are gaps."""
        x, y = decimate(self.x, self.y)
        if self.log:
            y = np.where(y > 0, y, np.nan)
        self.item.setData(x, y, connect="finite")
        if self.style.symbol:
            self.item.setSymbol(self.style.symbol if len(x) <= 120 else None)

    def has_values(self) -> bool:
        """Whether there is anything to see."""
        return bool(np.isfinite(self.y).any())

    def value_at(self, position: float) -> tuple[float, float] | None:
        """The point nearest to a position on the x axis."""
        if not len(self.x):
            return None
        index = int(np.argmin(np.abs(self.x - position)))
        return float(self.x[index]), float(self.y[index])

    def recolour(self, colours: Scheme, scale: float = 1.0) -> None:
        """Put on the colours of a scheme."""
        self.item.setPen(pen_of(self.style, colours, scale))
        if self.style.symbol:
            self.item.setSymbolSize(6 * scale)
            self.item.setSymbolPen(None)
            self.item.setSymbolBrush(self.style.colour_in(colours))
        self.entry.recolour(colours)


class PlotPanel(QFrame):
    """A plot with its frame. Subclasses fill it in `consume` and tell their numbers in `series`."""

    #: Words for the middle of an empty plot.
    empty_text = "Appears when a run has measured something."
    #: Whether a button for a logarithmic axis makes sense here.
    can_log = True
    #: Whether the legend stands beside the plot, one entry below the other; the readout is then beside the title.
    legend_aside = False

    export_requested = Signal(object)
    maximise_toggled = Signal(object, bool)
    epoch_hovered = Signal(object)

    def __init__(self, title: str, x_title: str, y_title: str, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", "true")
        self.setMinimumSize(300, 190)
        self.title = title
        self.titles = (x_title, y_title)
        self.curves: list[Curve] = []
        self.colours = theme.scheme()
        self.scale = 1.0
        self._follows_theme = True
        self._source: tuple[RunData | None, StageName] = (None, "pretraining")
        self._seen: tuple[object, ...] | None = None
        self._following = True
        self._range: tuple[float, ...] | None = None
        self.widget = pg.PlotWidget(parent=self)
        self.widget.setAccessibleName(title)
        self.plot: pg.PlotItem = self.widget.getPlotItem()
        self.plot.hideButtons()
        self.plot.setMenuEnabled(False)
        self.view: pg.ViewBox = self.plot.getViewBox()
        self.view.setMouseMode(pg.ViewBox.RectMode)
        self.view.disableAutoRange()
        self.view.sigRangeChangedManually.connect(self._stop_following)
        self.plot.setLabel("bottom", x_title)
        self.plot.setLabel("left", y_title)
        self._crosshair = pg.InfiniteLine(angle=90, movable=False)
        self._crosshair.hide()
        self.plot.addItem(self._crosshair, ignoreBounds=True)
        self.widget.scene().sigMouseMoved.connect(self._mouse_moved)
        self._empty = QLabel(self.empty_text, self.widget)
        self._empty.setProperty("role", "muted")
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._empty.setWordWrap(True)
        self._empty.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.widget.installEventFilter(self)
        for axis in ("left", "bottom"):
            self.plot.getAxis(axis).enableAutoSIPrefix(False)
        self._build()
        self._show_empty(True)
        self.recolour(self.colours)

    def _show_empty(self, empty: bool) -> None:
        """Axes without data tell nothing: an empty plot shows its words alone."""
        self._empty.setVisible(empty)
        self.widget.centralWidget.setVisible(not empty)

    def _build(self) -> None:
        self._heading = ElidedLabel(self.title)
        self._heading.setProperty("role", "heading")
        self._heading.setToolTip(self.title)
        self._head = head = QHBoxLayout()
        head.setContentsMargins(10, 5, 6, 0)
        head.setSpacing(1)
        head.addWidget(self._heading, 1)
        self.log_button = self._button("log", "Logarithmic axis", checkable=True)
        self.log_button.toggled.connect(self.set_log)
        self.log_button.setVisible(self.can_log)
        self.grid_button = self._button("grid", "Grid lines", checkable=True)
        self.grid_button.toggled.connect(self.set_grid)
        self.legend_button = self._button("legend", "Legend", checkable=True)
        self.legend_button.setChecked(True)
        self.fit_button = self._button(
            "fit", "Show everything (drag to zoom, wheel too; middle button moves)"
        )
        self.fit_button.clicked.connect(self.fit)
        self.maximise_button = self._button("maximise", "Enlarge this plot", checkable=True)
        self.maximise_button.toggled.connect(self._maximise)
        self.export_button = self._button("export", "Export this plot…")
        self.export_button.clicked.connect(self._export)
        for button in (
            self.log_button, self.grid_button, self.legend_button,
            self.fit_button, self.maximise_button, self.export_button,
        ):  # fmt: skip
            head.addWidget(button)
        self._note = ElidedLabel()
        self._note.setProperty("role", "muted")
        self._note.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self._legend_row: QHBoxLayout | QVBoxLayout
        if self.legend_aside:
            self._legend_row = QVBoxLayout()
            self._legend_row.addStretch(1)
            head.insertWidget(1, self._note, 1)
            head.setStretch(0, 0)
        else:
            self._legend_row = QHBoxLayout()
            self._legend_row.addWidget(self._note, 1)
        self._legend_row.setContentsMargins(6, 0, 6, 0)
        self._legend_row.setSpacing(2)
        inner = QWidget()
        inner.setLayout(self._legend_row)
        self.legend: QWidget = inner
        if self.legend_aside:
            inner.setObjectName("clear")
            self.legend = scroll = QScrollArea()
            scroll.setWidget(inner)
            scroll.setWidgetResizable(True)
            scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.legend_button.toggled.connect(self.legend.setVisible)
        self._body = body = QBoxLayout(
            QBoxLayout.Direction.RightToLeft if self.legend_aside else QBoxLayout.Direction.TopToBottom
        )
        body.setSpacing(0)
        body.addWidget(self.legend)
        body.addWidget(self.widget, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(1, 1, 1, 4)
        column.setSpacing(0)
        column.addLayout(head)
        column.addLayout(body, 1)

    def _button(self, picture: str, text: str, *, checkable: bool = False) -> QToolButton:
        button = QToolButton(self)
        button.setProperty("quiet", "true")
        button.setObjectName(picture)
        button.setIconSize(QSize(16, 16))
        button.setCheckable(checkable)
        button.setToolTip(text)
        button.setAccessibleName(f"{text.partition(' (')[0]}: {self.title}")
        return button

    # for subclasses ------------------------------------------------------------------------------------
    def consume(self, data: RunData, stage: StageName) -> None:
        """Take what the plot shows from a run's data and draw it."""
        raise NotImplementedError

    def stamp(self, data: RunData, _stage: StageName) -> object:
        """Something that changes with what the plot shows of a run."""
        return data.version

    def series(self) -> Series:
        """The numbers shown, in columns of equal length [T], with units in their names."""
        raise NotImplementedError

    def describe(self, _position: float, _height: float) -> str:
        """What the readout says about a place in the plot, beside the values of the curves."""
        return ""

    def is_empty(self) -> bool:
        """Whether there is nothing to see."""
        return not any(curve.has_values() for curve in self.curves)

    def place_axes(self) -> tuple[float, float, float, float]:
        """Return left, right, bottom and top of the view that shows everything."""
        return 0.0, 1.0, 0.0, 1.0

    def settle(self) -> None:
        """Put in place what depends on the size of the plot in pixels."""

    def add_curve(self, name: str, style: CurveStyle) -> Curve:
        """Add a line and its legend entry."""
        curve = Curve(self, name, style)
        self.curves.append(curve)
        self._legend_row.insertWidget(len(self.curves) - 1, curve.entry)
        curve.recolour(self.colours)
        return curve

    def value_text(self, value: float) -> str:
        """How the legend writes a value of a curve."""
        return f"{value:.3g}" if np.isfinite(value) else "–"

    def say(self, text: str) -> None:
        """Write into the right end of the legend row."""
        self._note.setText(text)
        self._note.setToolTip(text)

    # for pages -----------------------------------------------------------------------------------------
    def show_run(self, data: RunData | None, stage: StageName) -> None:
        """Draw a run's stage if it changed since last drawn; None empties the plot."""
        key = (None,) if data is None else (data, stage, self.stamp(data, stage))
        if key == self._seen:
            return
        if self._seen is None or self._seen[:2] != key[:2]:
            self._following = True
            self._range = None
        self._seen = key
        self._source = (data, stage)
        if data is None:
            self.clear()
        else:
            self.consume(data, stage)
        self._after_draw()

    def show_same(self, other: PlotPanel) -> None:
        """Show what another plot of this kind shows."""
        self.show_run(*other._source)

    def clear(self) -> None:
        """Show nothing."""
        for curve in self.curves:
            curve.set(np.empty(0), np.empty(0))
        self.say("")

    def _after_draw(self) -> None:
        empty = self.is_empty()
        self._show_empty(empty)
        self.export_button.setEnabled(not empty)
        for curve in self.curves:
            last = curve.y[np.isfinite(curve.y)]
            curve.entry.set_value(self.value_text(float(last[-1])) if len(last) else "")
        if self._following:
            self.fit()

    def fit(self) -> None:
        """Show everything and follow new data from now on."""
        self._following = True
        wanted = self.place_axes()
        if wanted != self._range:
            self._range = wanted
            left, right, bottom, top = wanted
            self.view.setRange(xRange=(left, right), yRange=(bottom, top), padding=0)

    def set_log(self, on: bool) -> None:
        """Use a logarithmic y axis."""
        if self.log_button.isChecked() != on:
            self.log_button.setChecked(on)
            return
        for curve in self.curves:
            curve.log = on
            curve.draw()
        self.plot.setLogMode(False, on)
        self._range = None
        self.fit()

    def set_grid(self, on: bool) -> None:
        """Show grid lines."""
        if self.grid_button.isChecked() != on:
            self.grid_button.setChecked(on)
            return
        self.plot.showGrid(x=on, y=on, alpha=0.18)

    def show_epoch(self, epoch: float | None) -> None:
        """Put the crosshair at an epoch that is pointed at in another plot."""
        position = None if epoch is None else self.position_of_epoch(epoch)
        self._crosshair.setVisible(position is not None and not self.is_empty())
        if position is None:
            self._after_pointing()
            return
        self._crosshair.setPos(position)
        for curve in self.curves:
            point = curve.value_at(position)
            curve.entry.set_value("" if point is None else self.value_text(point[1]))

    def position_of_epoch(self, epoch: float) -> float | None:
        """Where an epoch lies on the x axis; None if the axis is no time."""
        return epoch

    def epoch_of_position(self, position: float) -> float | None:
        """The epoch at a place on the x axis; None if the axis is no time."""
        return position

    def style_axis(self, axis: pg.AxisItem) -> None:
        """Give an axis the colours and font of the plot."""
        font = self.font_of_plot()
        axis.setPen(pg.mkPen(self.colours.neutral, width=self.scale))
        axis.setTextPen(pg.mkPen(self.colours.muted))
        axis.setTickFont(font)
        axis.setStyle(tickLength=round(4 * self.scale), tickTextOffset=round(3 * self.scale))
        axis.label.setFont(font)
        axis.label.document().setDocumentMargin(4 * self.scale)  # else enlarged titles run into the numbers

    def recolour(self, colours: Scheme) -> None:
        """Put on the colours of a scheme."""
        self.colours = colours
        self.plot.layout.setContentsMargins(*(round(room * self.scale) for room in (4, 8, 10, 3)))
        self.widget.setBackground(colours.raised)
        for name in ("left", "bottom"):
            self.style_axis(self.plot.getAxis(name))
        self._crosshair.setPen(pg.mkPen(colours.muted, width=1))
        for curve in self.curves:
            curve.recolour(colours, self.scale)
        for button in self.findChildren(QToolButton):
            if button.objectName():
                button.setIcon(theme.icon(button.objectName(), colours.muted))

    def font_of_plot(self, *, bold: bool = False) -> QFont:
        """The font inside the plot, a little smaller than the window's."""
        font = QFont(self.font())
        font.setPixelSize(max(8, round(self.fontInfo().pixelSize() * 0.88 * self.scale)))
        font.setBold(bold)
        return font

    def twin(self, scale: float = 1.0) -> PlotPanel:
        """Copy the plot as it is shown now, in print colours, `scale` times as large."""
        copy = type(self)()
        copy.scale = scale
        copy._follows_theme = False
        copy.recolour(theme.PRINT)
        copy.show_same(self)
        for mine, other in ((self.log_button, copy.log_button), (self.grid_button, copy.grid_button),
                            (self.legend_button, copy.legend_button)):  # fmt: skip
            other.setChecked(mine.isChecked())
        for curve, twin in zip(self.curves, copy.curves, strict=True):
            twin.entry.setChecked(curve.entry.isChecked())
        (left, right), (bottom, top) = self.view.viewRange()
        copy.view.setRange(xRange=(left, right), yRange=(bottom, top), padding=0)
        return copy

    # events --------------------------------------------------------------------------------------------
    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Follow a change of the theme."""
        super().changeEvent(event)
        if event.type() != QEvent.Type.PaletteChange or not getattr(self, "_follows_theme", False):
            return
        if self.colours.name != theme.scheme().name:
            self.recolour(theme.scheme())

    def eventFilter(self, watched: object, event: QEvent) -> bool:  # noqa: N802
        """Keep the words of an empty plot in its middle, and hide the crosshair when the mouse leaves."""
        if event.type() == QEvent.Type.Resize:
            self._empty.setGeometry(self.widget.rect().adjusted(20, 10, -20, -10))
        elif event.type() == QEvent.Type.Leave:
            self.show_epoch(None)
            self.epoch_hovered.emit(None)
        return super().eventFilter(watched, event)

    def _mouse_moved(self, position: QPointF) -> None:
        if self.is_empty() or not self.view.sceneBoundingRect().contains(position):
            return
        point = self.view.mapSceneToView(position)
        self.say(self.describe(point.x(), point.y()))
        epoch = self.epoch_of_position(point.x())
        if epoch is not None:
            self.show_epoch(epoch)
            self.epoch_hovered.emit(epoch)

    def _after_pointing(self) -> None:
        for curve in self.curves:
            last = curve.y[np.isfinite(curve.y)]
            curve.entry.set_value(self.value_text(float(last[-1])) if len(last) else "")
        self.say("")

    def _stop_following(self, _axes: object) -> None:
        self._following = False
        self._range = None

    def _maximise(self, on: bool) -> None:
        self.maximise_button.setObjectName("restore" if on else "maximise")
        self.maximise_button.setToolTip("Show all plots again" if on else "Enlarge this plot")
        self.maximise_button.setIcon(theme.icon(self.maximise_button.objectName(), self.colours.muted))
        self.maximise_toggled.emit(self, on)

    def _export(self) -> None:
        self.export_requested.emit(self)


def nice_top(values: Sequence[float] | np.ndarray, smallest: float = 1e-6) -> float:
    """A round number above all values, so that the axis seldom moves."""
    finite = np.asarray(values)[np.isfinite(values)]
    highest = max(float(finite.max()), smallest) if len(finite) else smallest
    magnitude = 10.0 ** np.floor(np.log10(highest))
    for factor in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10):
        if highest * 1.04 <= factor * magnitude:
            return float(factor * magnitude)
    return float(12 * magnitude)
