"""Images beside what an attack made of them: clean, adversarial, difference, as one picture with labels.

One unit of the view is one pixel of the screen, from the upper left corner of the first tile downwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyqtgraph as pg
from pyqtgraph.GraphicsScene.mouseEvents import MouseClickEvent
from PySide6.QtCore import QEvent, QObject, QPointF, QRectF, QSignalBlocker, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QKeyEvent, QPainter, QPen, QResizeEvent, QWheelEvent
from PySide6.QtWidgets import (
    QApplication,
    QHBoxLayout,
    QScrollBar,
    QStyleOptionGraphicsItem,
    QToolButton,
    QWidget,
)

from cartl_gui.examples_view import Caption, Gallery, Verdict, caption_of, missing_text
from cartl_gui.plots.base import PlotPanel, Series
from cartl_gui.run_data import RunData
from cartl_gui.theme import Scheme
from cartl_gui.widgets import QuietCombo
from cartl_gui.words import readable
from engine.config import StageName
from engine.events import RunInfo

#: What the difference is multiplied by; "auto" lets the largest reach black or white.
Magnification = Literal["auto", "1", "4", "16"]
MAGNIFICATIONS: tuple[Magnification, ...] = ("auto", "1", "4", "16")
#: Screen pixels that a pixel of an image can take.
SCALES = (1 / 8, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 16.0)
#: Sizes of an image on the screen that zooming goes through at most, and the one it starts near, in pixels.
SMALLEST, LARGEST, USUAL = 24, 400, 64
#: Screen pixels between the images of a tile, around a tile, and least width of a tile, whose labels need room.
GAP, MARGIN, LEAST_WIDTH = 3, 8, 150
#: Words and marks of a verdict, so that no colour has to tell it alone.
MARKS: dict[Verdict, str] = {"kept": "✓ kept", "kept, wrong": "– kept, wrong", "flipped": "✗ flipped"}


@dataclass(frozen=True, slots=True)
class Tiling:
    """Where tiles lie. All but `scale` and `columns` are in pixels of the images.

    Attributes:
        size: width and height of an image.
        scale: screen pixels of one of its pixels.
        gap: between the images of a tile.
        margin: around a tile.
        width, height: of a tile with margin and labels.
        inner: width of what is in it, without the room that is left over.
        columns: tiles side by side.
    """

    size: int
    scale: float
    gap: int
    margin: int
    width: int
    height: int
    inner: int
    columns: int

    @classmethod
    def of(cls, size: int, scale: float, room: float, text: float) -> Tiling:
        """Put tiles into a view `room` screen pixels wide, with `text` screen pixels for the labels below each."""
        gap, margin = math.ceil(GAP / scale), math.ceil(MARGIN / scale)
        inner = max(3 * size + 2 * gap, math.ceil(LEAST_WIDTH / scale))
        width, available = inner + 2 * margin, int(room / scale)
        columns = max(1, available // width)
        height = size + math.ceil(text / scale) + 2 * margin
        return cls(size, scale, gap, margin, max(width, available // columns), height, inner, columns)

    def rows(self, count: int) -> int:
        """Rows of tiles that so many images need."""
        return -(-count // self.columns)

    def tile(self, number: int) -> QRectF:
        """A tile with its margin, on the screen."""
        row, column = divmod(number, self.columns)
        step = self.scale * self.width, self.scale * self.height
        return QRectF(column * step[0], row * step[1], *step)

    def number_at(self, point: QPointF, count: int) -> int | None:
        """The tile at a point of the screen."""
        column, row = (
            math.floor(place / (self.scale * length))
            for place, length in ((point.x(), self.width), (point.y(), self.height))
        )
        number = row * self.columns + column
        return number if 0 <= column < self.columns and row >= 0 and number < count else None


def compose(triples: np.ndarray, tiling: Tiling) -> np.ndarray:
    """Lay out tiles as one picture, transparent where there is no image.

    Args:
        triples: the three images of each tile, 0..1, [m, 3, 3, H, H] (tile, which image, colour, pixels).
        tiling: where they go.

    Returns:
        uint8 [height, width, 4] of whole rows of tiles.
    """
    count, size = len(triples), tiling.size
    rows, columns = tiling.rows(count), tiling.columns
    canvas = np.zeros((rows, tiling.height, columns, tiling.width, 4), np.uint8)
    pixels = np.rint(255 * np.clip(np.nan_to_num(triples), 0, 1)).astype(np.uint8)
    padded = np.zeros((rows * columns, size, size, 4), np.uint8)
    padded[:count, ..., 3] = 255
    top = tiling.margin
    for number in range(3):
        padded[:count, ..., :3] = pixels[:, number].transpose(0, 2, 3, 1)
        left = tiling.margin + number * (size + tiling.gap)
        tiles = padded.reshape(rows, columns, size, size, 4).transpose(0, 2, 1, 3, 4)
        canvas[:, top : top + size, :, left : left + size] = tiles
    return canvas.reshape(rows * tiling.height, columns * tiling.width, 4)


class MosaicPlot(PlotPanel):
    """The images of a gallery in a given order; arrow keys and clicks choose one."""

    empty_text = "Images beside what the attack made of them appear here."
    can_log = False

    #: Number of the image that was chosen, None for none.
    sample_chosen = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        self._gallery: Gallery | None = None
        self._rows = np.empty(0, int)
        self._selected: int | None = None
        self._scale_number: int | None = None
        self._largest = 0.0
        self._shown = (0, 0)
        self.tiling = Tiling.of(1, 1.0, 1, 1)
        super().__init__("Clean, adversarial, difference", "", "", parent=parent)
        for axis in ("left", "bottom"):
            self.plot.hideAxis(axis)
        self.view.setMouseMode(pg.ViewBox.PanMode)
        self.view.setMouseEnabled(False, False)
        self.view.invertY(True)
        self.image = pg.ImageItem()
        self._labels = _Labels(self)
        for item in (self._labels, self.image):
            self.plot.addItem(item, ignoreBounds=True)
        for part in (self.more_button, self._pointed, self.entries):
            part.hide()
        self._head.setStretch(0, 1)
        self._note.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        self.magnification = QuietCombo()
        self.magnification.setAccessibleName("Magnification of the difference")
        self.magnification.setToolTip("What the difference is multiplied by; grey is no difference")
        self.magnification.setMinimumContentsLength(4)
        for choice in MAGNIFICATIONS:
            self.magnification.addItem(f"× {choice}", choice)
        self.smaller_button = self._zoom_button("−", "Smaller images")
        self.larger_button = self._zoom_button("+", "Larger images")
        for place, widget in enumerate(
            (self.magnification, self.smaller_button, self.larger_button), start=1
        ):
            self._head.insertWidget(place, widget)
        self.magnification.currentIndexChanged.connect(self._draw_again)
        self.smaller_button.clicked.connect(self.zoom_out)
        self.larger_button.clicked.connect(self.zoom_in)
        self.bar = QScrollBar(Qt.Orientation.Vertical, self.widget)
        self.bar.setAccessibleName("Scroll the images")
        self.bar.valueChanged.connect(self._draw_images)
        self.widget.viewport().installEventFilter(self)
        self.widget.scene().sigMouseClicked.connect(self._clicked)
        self.view.sigResized.connect(self.settle)
        self.recolour(self.colours)

    def _zoom_button(self, sign: str, text: str) -> QToolButton:
        button = QToolButton(self)
        button.setProperty("quiet", "true")
        button.setText(sign)
        button.setToolTip(f"{text} (Ctrl and wheel too)")
        button.setAccessibleName(text)
        return button

    def add_controls(self, *widgets: QWidget) -> None:
        """Put widgets into a row below the title."""
        row = QHBoxLayout()
        row.setContentsMargins(8, 0, 8, 0)
        row.setSpacing(8)
        for widget in widgets:
            row.addWidget(widget)
        row.addStretch(1)
        self._column.insertLayout(1, row)

    # what is shown -------------------------------------------------------------------------------------
    def show_gallery(self, gallery: Gallery | None, rows: np.ndarray) -> None:
        """Show these rows of a gallery in this order, as far scrolled as before; None empties the mosaic."""
        if gallery is not self._gallery:
            difference = (
                gallery.examples["difference"] if gallery is not None and len(gallery) else np.zeros(1)
            )
            self._largest = float(np.nanmax(np.abs(difference), initial=0.0))
        self._gallery, self._rows = gallery, rows
        self._draw_again()

    def select(self, sample: int | None) -> None:
        """Mark an image, and scroll to it; None, or one that is not there, marks none."""
        self._selected = sample
        if (number := self.selected_number()) is not None:
            self._reveal(number)
        self._labels.update()
        self._after_pointing()

    def selected_number(self) -> int | None:
        """Place of the marked image among those shown, from 0."""
        if self._gallery is None or not len(self._rows):
            return None
        found = np.flatnonzero(self._gallery.examples["sample"][self._rows] == self._selected)
        return int(found[0]) if len(found) else None

    def show_same(self, other: PlotPanel) -> None:
        """Show what another mosaic shows, from the same place on."""
        if isinstance(other, MosaicPlot):
            self.magnification.setCurrentIndex(other.magnification.currentIndex())
            self._scale_number = other._scale_number
            self.show_gallery(other._gallery, other._rows[other._shown[0] :])

    def factor(self) -> float:
        """What the difference is multiplied by."""
        choice = self.magnification.currentData()
        if choice != "auto":
            return float(choice)
        return 0.5 / self._largest if self._largest > 0 else 1.0

    # size ----------------------------------------------------------------------------------------------
    def zoom_in(self) -> None:
        """Show the images larger."""
        self._zoom(1)

    def zoom_out(self) -> None:
        """Show the images smaller."""
        self._zoom(-1)

    def _zoom(self, step: int) -> None:
        scales = self._scales()
        number = self._scale_number if self._scale_number is not None else _usual(scales, self._size())
        self._scale_number = max(0, min(number + step, len(scales) - 1))
        self._draw_again()

    def _size(self) -> int:
        clean = self._gallery.examples.get("clean") if self._gallery is not None else None
        return clean.shape[-1] if clean is not None and clean.ndim == 4 else 1

    def _scales(self) -> tuple[float, ...]:
        """The scales at which an image has a reasonable size."""
        fitting = tuple(scale for scale in SCALES if SMALLEST <= scale * self._size() <= LARGEST)
        return fitting or (1.0,)

    # drawing -------------------------------------------------------------------------------------------
    def _draw_again(self) -> None:
        number = f"{readable(self.factor())}"
        self.title = f"Clean, adversarial, difference × {number}" if len(self._rows) else "Examples"
        self._heading.setText(self.title)
        self._heading.setToolTip(f"{self.title}; grey is no difference")
        self._place()
        self._after_draw()
        self._after_pointing()

    def _place(self) -> None:
        """Lay out the tiles in the room that there is."""
        room = self._room()
        scales, size = self._scales(), self._size()
        number = self._scale_number if self._scale_number is not None else _usual(scales, size)
        number = max(0, min(number, len(scales) - 1))
        self.smaller_button.setEnabled(number > 0)
        self.larger_button.setEnabled(number < len(scales) - 1)
        self.tiling = Tiling.of(size, scales[number], room.width(), 2 * self._line())
        step = self.tiling.scale * self.tiling.height
        with QSignalBlocker(self.bar):
            hidden = self.tiling.rows(len(self._rows)) * step - room.height()
            self.bar.setRange(0, max(0, math.ceil(hidden)))
            self.bar.setPageStep(max(1, round(room.height())))
            self.bar.setSingleStep(max(1, round(step / 3)))
        self.bar.setVisible(self.bar.maximum() > 0)
        self._labels.prepareGeometryChange()
        self._draw_images()

    def _room(self) -> QRectF:
        """The view in screen pixels, without the scroll bar."""
        size = self.view.size() / self.scale
        aside = self.bar.sizeHint().width() if self._follows_theme else 0
        return QRectF(0, 0, max(1.0, size.width() - aside), max(1.0, size.height()))

    def _draw_images(self) -> None:
        """Put the images that can be seen into the one picture."""
        room, scroll, tiling = self._room(), self.bar.value(), self.tiling
        size = self.view.size() / self.scale
        self.view.setRange(
            xRange=(0, max(1.0, size.width())), yRange=(scroll, scroll + room.height()), padding=0
        )
        step = tiling.scale * tiling.height
        first, last = int(scroll / step), (scroll + room.height()) / step
        # A figure on paper has whole tiles only.
        last = math.ceil(last) if self._follows_theme else max(first + 1, math.floor(last))
        self._shown = first * tiling.columns, min(last * tiling.columns, len(self._rows))
        rows = self._rows[slice(*self._shown)]
        if self._gallery is None or not len(rows):
            self.image.clear()
        else:
            table = self._gallery.examples
            clean, adversarial = table["clean"][rows], table["adversarial"][rows]
            difference = 0.5 + self.factor() * table["difference"][rows]
            picture = compose(np.stack([clean, adversarial, difference], axis=1), tiling)
            self.image.setImage(picture, autoLevels=False)
            height, width = picture.shape[:2]
            self.image.setRect(QRectF(0, first * step, width * tiling.scale, height * tiling.scale))
        self._labels.update()

    def settle(self) -> None:
        """Lay out the tiles anew for the size of the view."""
        self._place()

    def fit(self) -> None:
        """The view always has the size of the panel."""
        self._place()

    def clear(self) -> None:
        """Show nothing."""
        super().clear()
        self.show_gallery(None, np.empty(0, int))

    def consume(self, _data: RunData, _stage: StageName) -> None:
        """Nothing: the page shows a gallery."""

    def is_empty(self) -> bool:
        """Whether no image is shown."""
        return not len(self._rows)

    def recolour(self, colours: Scheme) -> None:
        """Put on the colours of a scheme."""
        super().recolour(colours)
        if hasattr(self, "_labels"):
            self._labels.update()

    # numbers -------------------------------------------------------------------------------------------
    def marks(self) -> None:
        """Images are not drawn from numbers."""

    def series(self) -> Series:
        """Of each image shown, [m]: number, true class, predictions with confidence, and whether it was flipped."""
        if self._gallery is None or not len(self._gallery):
            return {"sample": np.empty(0, int)}
        table, rows = self._gallery.examples, self._rows
        series: Series = {"sample": table["sample"][rows]}
        for name in ("label", "clean_prediction", "adversarial_prediction"):
            series[name] = table[name][rows]
            titles = [self._gallery.class_title(int(number)) for number in series[name]]
            series[name.replace("label", "true") + " class"] = np.array(titles)
            if name != "label":
                confidence = name.replace("prediction", "confidence")
                series[confidence] = table[confidence][rows]
        series["flipped"] = self._gallery.flipped[rows].astype(int)
        largest = np.abs(table["difference"][rows]).reshape(len(rows), -1).max(axis=1)
        return series | {"largest difference (input units)": largest}

    def describe(self, position: float, height: float) -> str:
        """The labels of the image pointed at."""
        caption = self._caption_of(self.tiling.number_at(QPointF(position, height), len(self._rows)))
        return caption.sentence() if caption else ""

    def caption(self) -> str:
        """What is said of the selected image; on paper what made the adversarial images."""
        if self._follows_theme or self._gallery is None:
            return super().caption()
        return self._gallery.attack

    def runs(self) -> tuple[RunInfo, ...]:
        """The run whose images are shown."""
        return () if self._gallery is None or self.is_empty() else (self._gallery.run,)

    def say(self, text: str) -> None:
        """Write below the title, where there is room for a sentence."""
        self.note(text)

    def _after_pointing(self) -> None:
        caption = self._caption_of(self.selected_number())
        text = caption.sentence() if caption else missing_text(self._gallery, self._selected)
        if not text and len(self._rows):
            text = "Click an image or press an arrow key to see its distances."
        self.say(text)
        self.widget.setAccessibleDescription(text)

    def _caption_of(self, number: int | None) -> Caption | None:
        if self._gallery is None or number is None:
            return None
        return caption_of(self._gallery, int(self._rows[number]))

    # mouse and keys ------------------------------------------------------------------------------------
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Scroll and zoom by wheel, choose by arrow keys, and keep the scroll bar at the right edge."""
        kind = event.type()
        if watched is self.widget:
            if isinstance(event, QResizeEvent) and hasattr(self, "bar"):
                size, width = event.size(), self.bar.sizeHint().width()
                self.bar.setGeometry(size.width() - width, 0, width, size.height())
            elif kind in (QEvent.Type.FocusIn, QEvent.Type.FocusOut):
                self._labels.update()
            elif kind == QEvent.Type.KeyPress and isinstance(event, QKeyEvent) and self._key_pressed(event):
                return True
        elif isinstance(event, QWheelEvent):
            if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
                self._zoom(1 if event.angleDelta().y() > 0 else -1)
            else:
                QApplication.sendEvent(self.bar, event)
            return True
        return super().eventFilter(watched, event)

    def _key_pressed(self, event: QKeyEvent) -> bool:
        key, count = event.key(), len(self._rows)
        if key in (Qt.Key.Key_Plus, Qt.Key.Key_Equal, Qt.Key.Key_Minus):
            self._zoom(-1 if key == Qt.Key.Key_Minus else 1)
            return True
        if key == Qt.Key.Key_Escape:
            self.sample_chosen.emit(None)
            return True
        columns = self.tiling.columns
        page = columns * max(1, int(self._room().height() / (self.tiling.scale * self.tiling.height)))
        moves: dict[int, int] = {
            Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1, Qt.Key.Key_Up: -columns, Qt.Key.Key_Down: columns,
            Qt.Key.Key_PageUp: -page, Qt.Key.Key_PageDown: page, Qt.Key.Key_Home: -count, Qt.Key.Key_End: count,
        }  # fmt: skip
        if key not in moves or not count:
            return False
        now = self.selected_number()
        first = min(self._shown[0], count - 1) if key not in (Qt.Key.Key_Home, Qt.Key.Key_End) else 0
        wanted = first if now is None and key != Qt.Key.Key_End else (now or 0) + moves[key]
        self._choose(max(0, min(wanted, count - 1)))
        return True

    def _clicked(self, event: MouseClickEvent) -> None:
        point = self.view.mapSceneToView(event.scenePos())
        number = self.tiling.number_at(point, len(self._rows))
        if number is not None:
            self._choose(number)

    def _choose(self, number: int) -> None:
        if self._gallery is not None:
            self.sample_chosen.emit(int(self._gallery.examples["sample"][self._rows[number]]))

    def _reveal(self, number: int) -> None:
        tile, room = self.tiling.tile(number), self._room().height()
        if tile.top() < self.bar.value():
            self.bar.setValue(math.floor(tile.top()))
        elif tile.bottom() > self.bar.value() + room:
            self.bar.setValue(math.ceil(tile.bottom() - room))

    def _line(self) -> float:
        """Height of a line of the labels in screen pixels."""
        return QFontMetricsF(self._label_font()).height()

    def _label_font(self) -> QFont:
        font = QFont(self.font())
        font.setPixelSize(max(8, round(self.fontInfo().pixelSize() * 0.88)))
        return font


class _Labels(pg.GraphicsObject):
    """The texts below the tiles that can be seen, and the frame of the selected one."""

    def __init__(self, mosaic: MosaicPlot) -> None:
        super().__init__()
        self._mosaic = mosaic
        self.setZValue(-5)

    def boundingRect(self) -> QRectF:  # noqa: N802
        """All tiles."""
        tiling = self._mosaic.tiling
        rows = max(1, tiling.rows(len(self._mosaic._rows)))
        last = tiling.tile(rows * tiling.columns - 1)
        return QRectF(0, 0, last.right(), last.bottom()) | self._mosaic.view.viewRect()

    def paint(
        self, painter: QPainter, _option: QStyleOptionGraphicsItem, _widget: QWidget | None = None
    ) -> None:
        """Write the labels."""
        mosaic, colours = self._mosaic, self._mosaic.colours
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        selected = mosaic.selected_number()
        for number in range(*mosaic._shown):
            tile = mosaic.tiling.tile(number)
            caption = mosaic._caption_of(number)
            if caption is not None:
                self._write(painter, caption, tile, is_selected=number == selected)
        if mosaic.widget.hasFocus():
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(QColor(colours.accent), 1))
            painter.drawRect(mosaic.view.viewRect().adjusted(0.5, 0.5, -0.5, -0.5))

    def _write(self, painter: QPainter, caption: Caption, tile: QRectF, *, is_selected: bool) -> None:
        """Write truth and verdict into the first line, both predictions into the second."""
        mosaic, colours, tiling = self._mosaic, self._mosaic.colours, self._mosaic.tiling
        font, line = mosaic._label_font(), mosaic._line()
        metrics = QFontMetricsF(font)
        margin, width = tiling.margin * tiling.scale, tiling.inner * tiling.scale
        predictions = _predictions(caption, metrics, tile.width() - 2 * margin)
        if is_selected:
            frame = QRectF(tile)
            frame.setWidth(max(width, metrics.horizontalAdvance(predictions)) + 2 * margin)
            painter.setPen(QPen(QColor(colours.accent), 2))
            painter.setBrush(QColor(colours.selection))
            painter.drawRoundedRect(frame.adjusted(1, 1, -1, -1), 4, 4)
        left, top = tile.left() + margin, tile.top() + margin + tiling.size * tiling.scale + 1
        first, second = QRectF(left, top, width, line), QRectF(left, top + line, tile.width(), line)
        mark = MARKS[caption.verdict]
        tint = {"kept": colours.good, "flipped": colours.error}.get(caption.verdict, colours.warning)
        flags = Qt.AlignmentFlag.AlignVCenter | Qt.TextFlag.TextSingleLine
        painter.setFont(font)
        painter.setPen(QColor(tint))
        painter.drawText(first, flags | Qt.AlignmentFlag.AlignRight, mark)
        painter.setPen(QColor(colours.text))
        room = max(0.0, width - metrics.horizontalAdvance(mark) - 6)
        truth = f"#{caption.sample} true: {caption.truth}"
        painter.drawText(first, flags, metrics.elidedText(truth, Qt.TextElideMode.ElideRight, room))
        painter.setPen(QColor(colours.muted))
        painter.drawText(second, flags, predictions)


def _predictions(caption: Caption, metrics: QFontMetricsF, room: float) -> str:
    """Both predictions in one line, "cat (98 %) → dog (67 %)"; long names share the room that there is."""
    pairs = (caption.before, caption.after)
    names = [name for name, _confidence in pairs]
    rest = " → ".join(f" ({confidence})" for _name, confidence in pairs)
    free = room - metrics.horizontalAdvance(rest) - 2
    widths = [metrics.horizontalAdvance(name) for name in names]
    if sum(widths) > free:
        half = max(0.0, free / 2)
        limits = [max(half, free - widths[1]), max(half, free - widths[0])]
        names = [
            metrics.elidedText(name, Qt.TextElideMode.ElideRight, limit)
            for name, limit in zip(names, limits, strict=True)
        ]
    return " → ".join(f"{name} ({pair[1]})" for name, pair in zip(names, pairs, strict=True))


def _usual(scales: tuple[float, ...], size: int) -> int:
    """The scale that shows an image nearest to the usual size."""
    return min(range(len(scales)), key=lambda number: abs(scales[number] * size - USUAL))
