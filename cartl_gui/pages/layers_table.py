"""The table of the layers page: a row for each block or weighted layer, with its band drawn on one common scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import (
    QAbstractTableModel,
    QItemSelectionModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QPointF,
    QRectF,
    QSize,
    QSortFilterProxyModel,
    Qt,
    Signal,
)
from PySide6.QtGui import QColor, QGuiApplication, QKeyEvent, QKeySequence, QPainter, QPen
from PySide6.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QFrame,
    QHBoxLayout,
    QHeaderView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from cartl_gui import theme
from cartl_gui.layers_view import NAMES, Quantity, Row, band_of, per_image, table_text
from cartl_gui.selection import Place
from cartl_gui.widgets import ElidedLabel
from cartl_gui.words import readable
from engine.insight import Per

Index = QModelIndex | QPersistentModelIndex
SORT_ROLE = Qt.ItemDataRole.UserRole
ROW_ROLE = Qt.ItemDataRole.UserRole + 1
NUMBER, NAME, BAND, UPPER, ESTIMATE, LOWER, DISTANCE, RESHAPED, TRAINED, KIND, SHAPE, PARAMETERS = range(12)
#: Most pixels that a name gets.
_LONGEST_NAME = 150
_WIDTHS = (34, 96, 72, 56, 68, 56, 72, 76, 72, 80, 170, 92)
_RIGHT = {NUMBER, UPPER, ESTIMATE, LOWER, DISTANCE, RESHAPED, PARAMETERS}
_FACTS = {True: "frozen", False: "trained", None: ""}


class LayerModel(QAbstractTableModel):
    """One row per block or layer, in the order of the network."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.rows: list[Row] = []
        self._headers: tuple[tuple[str, str], ...] = ()
        #: log10 of the smallest and the largest number of all bands; None if there is none.
        self.range: tuple[float, float] | None = None

    def show_rows(self, rows: list[Row], quantity: Quantity, per: Per) -> None:
        """Show these rows, with the band and distance that go with a quantity."""
        same = [row.place for row in rows] == [row.place for row in self.rows]
        headers = _headers(quantity, per)
        if not same:
            self.beginResetModel()
        self.rows = rows
        known = [
            math.log10(value)
            for row in rows
            for value in (row.upper, row.estimate, row.lower)
            if math.isfinite(value) and value > 0
        ]
        self.range = (min(known), max(known)) if known else None
        if not same:
            self._headers = headers
            self.endResetModel()
            return
        if headers != self._headers:
            self._headers = headers
            self.headerDataChanged.emit(Qt.Orientation.Horizontal, 0, len(headers) - 1)
        if rows:
            self.dataChanged.emit(self.index(0, 0), self.index(len(rows) - 1, len(headers) - 1))

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        """Number of blocks or layers."""
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, _parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        """Number of columns."""
        return len(_WIDTHS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:  # noqa: N802
        """Titles of the columns, with what they are in full as tooltips."""
        if orientation != Qt.Orientation.Horizontal or section >= len(self._headers):
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return self._headers[section][0]
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._headers[section][1]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return int(_alignment(section))
        return None

    def data(self, index: Index, role: int = 0) -> Any:
        """What a cell shows."""
        row, column = self.rows[index.row()], index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return _text(row, column)
        if role == SORT_ROLE:
            return _sort_key(row, column)
        if role == ROW_ROLE:
            return row
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return int(_alignment(column))
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._tip(row, column)
        if role == Qt.ItemDataRole.ForegroundRole and row.contradicts and column in (UPPER, ESTIMATE, LOWER):
            return QColor(theme.scheme().error)
        if role == Qt.ItemDataRole.DecorationRole and row.contradicts and column == NAME:
            return theme.icon("warning", theme.scheme().warning)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{self._headers[column][0]}: {self._tip(row, column)}"
        return None

    def _tip(self, row: Row, column: int) -> str:
        if column in (BAND, UPPER, ESTIMATE, LOWER):
            upper, estimate, lower = NAMES["bounds"]
            text = (
                f"{row.name}\n{upper}: {readable(row.upper)}\n{estimate}: {readable(row.estimate)}\n"
                f"{lower}: {readable(row.lower)}"
            )
            return f"{text}\nThese contradict each other." if row.contradicts else text
        return _text(row, column) or "not told by this run"


def _alignment(column: int) -> Qt.AlignmentFlag:
    side = Qt.AlignmentFlag.AlignRight if column in _RIGHT else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter


def _headers(quantity: Quantity, per: Per) -> tuple[tuple[str, str], ...]:
    """Short title and full text of each column."""
    band, distance = band_of(quantity), per_image(quantity)
    upper, estimate, lower = (f"{band.title}: {name}" for name in NAMES["bounds"])
    reshaped = (
        ("Nominal", "Bound of the block if the norms of its reshaped weights were its layers' operator norms")
        if per == "block"
        else ("Reshaped", "Norm of the reshaped weight, which NEFT constrains")
    )
    return (
        ("#", f"Number of the {per}, from the input"),
        (per.capitalize(), "Name"),
        (
            "Band",
            f"{band.title}: from the lower to the upper bound, with the estimate, on one logarithmic scale",
        ),
        ("Upper", upper),
        ("Estimate", estimate),
        ("Lower", lower),
        (_distance_header(distance), f"{distance.title}: mean over the probe images"),
        reshaped,
        ("Frozen", "Whether the stage trains it or leaves it as it was"),
        ("Kind", "Kind"),
        ("Shape", "Kernel, channels and stride"),
        ("Parameters", "Weights and biases of the layer, or of the weighted layers of the block"),
    )


def _distance_header(quantity: Quantity) -> str:
    return {"cosine": "Cosine", "amplification": "Amplif."}.get(quantity.key, "Distance")


def _text(row: Row, column: int) -> str:
    return (
        str(row.place.index + 1), row.name, "", readable(row.upper), readable(row.estimate), readable(row.lower),
        readable(row.distance), readable(row.reshaped), _FACTS[row.frozen], row.kind, row.shape,
        "" if row.parameters is None else f"{row.parameters:,}",
    )[column]  # fmt: skip


def _sort_key(row: Row, column: int) -> Any:
    key = (
        row.place.index, row.name.lower(), row.upper, row.upper, row.estimate, row.lower, row.distance, row.reshaped,
        _FACTS[row.frozen], row.kind, row.shape, row.parameters if row.parameters is not None else -1,
    )[column]  # fmt: skip
    return -math.inf if isinstance(key, float) and math.isnan(key) else key


class BandDelegate(QStyledItemDelegate):
    """Draws a band: a bar from the lower to the upper bound, and a tick at the estimate."""

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        """Draw the cell's ground, then the band."""
        self.initStyleOption(option, index)
        style = option.widget.style() if option.widget else QApplication.style()
        style.drawControl(QStyle.ControlElement.CE_ItemViewItem, option, painter, option.widget)
        row, model = index.data(ROW_ROLE), index.model()
        if isinstance(model, QSortFilterProxyModel):
            model = model.sourceModel()
        if not isinstance(model, LayerModel) or model.range is None or not row.upper > 0:
            return
        colours = theme.scheme()
        room = QRectF(option.rect).adjusted(7, 0, -7, 0)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        middle = room.center().y()
        painter.setPen(QPen(QColor(colours.border), 1))
        painter.drawLine(QPointF(room.left(), middle), QPointF(room.right(), middle))
        colour = QColor(colours.error if row.contradicts else colours.curves[0])
        right = self._place(row.upper, model.range, room)
        left = self._place(row.lower, model.range, room) if row.lower > 0 else right
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(colour)
        low, high = min(left, right), max(left, right)
        painter.drawRoundedRect(QRectF(low, middle - 4, max(3.0, high - low), 8), 2, 2)
        if row.estimate > 0:
            tick = self._place(row.estimate, model.range, room)
            painter.setBrush(QColor(colours.text))
            painter.drawRect(QRectF(tick - 1, middle - 7, 2, 14))
        painter.restore()

    @staticmethod
    def _place(value: float, limits: tuple[float, float], room: QRectF) -> float:
        low, high = limits
        return room.left() + room.width() * (math.log10(value) - low) / max(high - low, 1e-9)


class LayerTable(QTableView):
    """The rows; up and down move the selection, Escape takes it away, Ctrl+C copies the table."""

    copied = Signal()
    left = Signal()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Copy, select nothing, or move."""
        if event.matches(QKeySequence.StandardKey.Copy):
            self.copied.emit()
        elif event.key() == Qt.Key.Key_Escape:
            self.left.emit()
        else:
            super().keyPressEvent(event)


class TableCard(QFrame):
    """The table with its title and buttons."""

    #: The selected row's place; None if none is selected any more.
    place_chosen = Signal(object)
    #: The table as text, to be written to a file.
    export_asked = Signal(str)
    said = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", "true")
        self.setMinimumSize(220, 120)
        self.model = LayerModel(self)
        self.proxy = QSortFilterProxyModel(self)
        self.proxy.setSourceModel(self.model)
        self.proxy.setSortRole(SORT_ROLE)
        self._quantity: Quantity | None = None
        self._per: Per = "layer"
        self._follows = True
        self._build()

    def _build(self) -> None:
        self.title = ElidedLabel("Layers")
        self.title.setProperty("role", "heading")
        self.copy_button = self._button("copy", "Copy the table (Ctrl+C)")
        self.copy_button.clicked.connect(self.copy)
        self.export_button = self._button("export", "Save the table as CSV…")
        self.export_button.clicked.connect(self._export)
        head = QHBoxLayout()
        head.setContentsMargins(10, 5, 6, 0)
        head.setSpacing(1)
        head.addWidget(self.title, 1)
        head.addWidget(self.copy_button)
        head.addWidget(self.export_button)
        table = self.table = LayerTable()
        table.setModel(self.proxy)
        table.setProperty("plain", "true")
        table.setAccessibleName("Blocks and layers")
        table.setItemDelegateForColumn(BAND, BandDelegate(table))
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setShowGrid(False)
        table.setWordWrap(False)
        table.setTabKeyNavigation(False)
        table.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(22)
        table.verticalHeader().setMinimumSectionSize(18)
        header = table.horizontalHeader()
        header.setHighlightSections(False)
        header.setStretchLastSection(True)
        header.setMinimumSectionSize(28)
        for section, width in enumerate(_WIDTHS):
            header.resizeSection(section, width)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        table.setSortingEnabled(True)
        table.sortByColumn(NUMBER, Qt.SortOrder.AscendingOrder)
        table.selectionModel().selectionChanged.connect(self._selected)
        table.copied.connect(self.copy)
        table.left.connect(self._leave)
        column = QVBoxLayout(self)
        column.setContentsMargins(1, 1, 1, 4)
        column.setSpacing(2)
        column.addLayout(head)
        column.addWidget(table, 1)
        self.recolour()

    def _button(self, picture: str, text: str) -> QToolButton:
        button = QToolButton(self)
        button.setProperty("quiet", "true")
        button.setObjectName(picture)
        button.setIconSize(QSize(16, 16))
        button.setToolTip(text)
        button.setAccessibleName(text.partition(" (")[0])
        return button

    def recolour(self) -> None:
        """Draw the icons in the colour of the theme."""
        for button in (self.copy_button, self.export_button):
            button.setIcon(theme.icon(button.objectName(), theme.scheme().muted))

    def show_rows(self, rows: list[Row], quantity: Quantity, per: Per, place: Place | None) -> None:
        """Show rows, and which of them is selected."""
        self._follows = False
        is_new = [row.name for row in rows] != [row.name for row in self.model.rows]
        self.model.show_rows(rows, quantity, per)
        if is_new and rows:
            room = self.table.sizeHintForColumn(NAME) + 8
            self.table.setColumnWidth(NAME, max(_WIDTHS[NAME], min(room, _LONGEST_NAME)))
        self._quantity, self._per = quantity, per
        shown = [per_image(quantity).short] if quantity.is_per_image else []
        shown += [band_of(quantity).short] if self.model.range else []
        self.title.setText(f"{per.capitalize()}s: {'; '.join(shown)}")
        header = self.table.horizontalHeader()
        header.moveSection(header.visualIndex(DISTANCE), BAND if quantity.is_per_image else DISTANCE)
        for button in (self.copy_button, self.export_button):
            button.setEnabled(bool(rows))
        for column in (BAND, UPPER, ESTIMATE, LOWER):
            self.table.setColumnHidden(column, self.model.range is None)
        for column in (KIND, SHAPE, PARAMETERS):
            self.table.setColumnHidden(column, not any(_text(row, column) for row in rows))
        self.table.setColumnHidden(RESHAPED, not any(math.isfinite(row.reshaped) for row in rows))
        self.table.setColumnHidden(TRAINED, not any(row.frozen is not None for row in rows))
        self._follows = True
        self.select(place)

    def select(self, place: Place | None) -> None:
        """Select the row of a place, or none."""
        number = next((number for number, row in enumerate(self.model.rows) if row.place == place), None)
        selection = self.table.selectionModel()
        self._follows = False
        if number is None:
            selection.clear()
        else:
            index = self.proxy.mapFromSource(self.model.index(number, NAME))
            if not selection.isRowSelected(index.row(), QModelIndex()):
                flag = QItemSelectionModel.SelectionFlag
                selection.setCurrentIndex(index, flag.ClearAndSelect | flag.Rows)
                self.table.scrollTo(index)
        self._follows = True

    def rows_in_order(self) -> Sequence[Row]:
        """The rows as they are sorted."""
        return [self.proxy.index(number, 0).data(ROW_ROLE) for number in range(self.proxy.rowCount())]

    def text(self, *, delimiter: str = ",") -> str:
        """The table in its order, with all digits."""
        assert self._quantity is not None
        return table_text(self.rows_in_order(), self._quantity, self._per, delimiter=delimiter)

    def copy(self) -> None:
        """Copy the table, to be pasted into a spreadsheet."""
        if self.model.rows:
            QGuiApplication.clipboard().setText(self.text(delimiter="\t"))
            self.said.emit("Copied the table")

    def _export(self) -> None:
        self.export_asked.emit(self.text())

    def _leave(self) -> None:
        self.place_chosen.emit(None)

    def _selected(self) -> None:
        if not self._follows:
            return
        chosen = self.table.selectionModel().selectedRows()
        if chosen:
            self.place_chosen.emit(chosen[0].data(ROW_ROLE).place)
