"""Everything in the window larger: what the style measures in pixels, and what widgets were given in pixels.

Qt takes a scale factor at the start alone. Here fonts and style sheet are scaled by `Theme`, and this style scales the
rest: what it measures itself whenever Qt asks, and sizes, margins and icons of each widget when it is polished, which
Qt does before a widget is first shown and again whenever the style sheet changes.
"""

from __future__ import annotations

from PySide6.QtCore import QMargins, QSize, Qt
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QBoxLayout,
    QComboBox,
    QDialog,
    QFormLayout,
    QGridLayout,
    QHeaderView,
    QLayout,
    QProxyStyle,
    QStyle,
    QStyleOption,
    QTabBar,
    QTabWidget,
    QToolBar,
    QWidget,
)

#: The dynamic property of a widget that says for which scale its sizes in pixels are.
SCALE = "pixelScale"
_UNLIMITED = 16_777_215
_Metric = QStyle.PixelMetric
#: What a widget or layout answers with while it has no size of its own: it is given one when it is polished.
_GIVEN = frozenset(
    {
        _Metric.PM_LayoutLeftMargin,
        _Metric.PM_LayoutTopMargin,
        _Metric.PM_LayoutRightMargin,
        _Metric.PM_LayoutBottomMargin,
        _Metric.PM_LayoutHorizontalSpacing,
        _Metric.PM_LayoutVerticalSpacing,
        _Metric.PM_ButtonIconSize,
        _Metric.PM_TabBarIconSize,
        _Metric.PM_ToolBarIconSize,
        _Metric.PM_HeaderDefaultSectionSizeVertical,
        _Metric.PM_HeaderDefaultSectionSizeHorizontal,
    }
)


class ScaledStyle(QProxyStyle):
    """Fusion, `scale` times as large."""

    def __init__(self, scale: float) -> None:
        super().__init__("Fusion")
        self.scale = scale

    def pixelMetric(  # noqa: N802
        self, metric: QStyle.PixelMetric, option: QStyleOption | None = None, widget: QWidget | None = None
    ) -> int:
        """Measure what Fusion measures, scaled."""
        value = super().pixelMetric(metric, option, widget)
        if metric in _GIVEN or (metric == _Metric.PM_SmallIconSize and isinstance(widget, QComboBox)):
            return value
        return round(value * self.scale)

    def polish(self, what: object) -> object:  # type: ignore[override]
        """Scale a widget that is about to be shown, or is shown, if it has not been scaled so far."""
        result = super().polish(what)  # type: ignore[call-overload]
        if isinstance(what, QWidget):
            rescale(what, self.scale)
        return result


def rescale(widget: QWidget, scale: float) -> None:
    """Bring the sizes in pixels that a widget has from those of its scale so far to those of another."""
    before = widget.property(SCALE)
    ratio = scale / (before or 1.0)
    if ratio == 1.0:
        return
    widget.setProperty(SCALE, scale)
    if (
        before is None or not widget.isWindow()
    ):  # the limits of a window that is shown are those of its layout
        _rescale_limits(widget, ratio)
    if before is None and isinstance(widget, QDialog) and widget.testAttribute(Qt.WidgetAttribute.WA_Resized):
        widget.resize((widget.size() * ratio).boundedTo(widget.screen().availableSize()))
    if isinstance(widget, (QAbstractButton, QComboBox, QTabWidget, QToolBar, QAbstractItemView)):
        follows = isinstance(widget.parent(), QToolBar)
        if not follows and widget.iconSize().isValid():
            widget.setIconSize(widget.iconSize() * ratio)
    elif isinstance(widget, QTabBar) and not isinstance(widget.parent(), QTabWidget):
        widget.setIconSize(widget.iconSize() * ratio)
    if isinstance(widget, QHeaderView):
        _rescale_header(widget, ratio)
    layout = widget.layout()
    if layout is not None:
        _rescale_layout(layout, ratio)


def _rescale_limits(widget: QWidget, ratio: float) -> None:
    def grown(length: int) -> int:
        return length if length in (0, _UNLIMITED) else min(_UNLIMITED, round(length * ratio))

    low, high = widget.minimumSize(), widget.maximumSize()
    least, most = (
        QSize(grown(low.width()), grown(low.height())),
        QSize(grown(high.width()), grown(high.height())),
    )
    steps = [(widget.setMaximumSize, high, most), (widget.setMinimumSize, low, least)]
    for set_size, old, new in steps if ratio > 1 else reversed(steps):
        if new != old:
            set_size(new)


def _rescale_header(header: QHeaderView, ratio: float) -> None:
    if header.orientation() == Qt.Orientation.Vertical:
        header.setDefaultSectionSize(round(header.defaultSectionSize() * ratio))
        return
    for section in range(header.count()):
        mode = header.sectionResizeMode(section)
        if mode in (QHeaderView.ResizeMode.Interactive, QHeaderView.ResizeMode.Fixed):
            header.resizeSection(section, round(header.sectionSize(section) * ratio))


def _rescale_layout(layout: QLayout, ratio: float) -> None:
    """Scale margins and gaps, of the inner layouts first: those without a gap of their own answer with the outer's."""
    for inner in layout.findChildren(QLayout, options=Qt.FindChildOption.FindDirectChildrenOnly):
        _rescale_layout(inner, ratio)
    margins = layout.contentsMargins()
    sides = (margins.left(), margins.top(), margins.right(), margins.bottom())
    layout.setContentsMargins(QMargins(*(round(side * ratio) for side in sides)))
    if isinstance(layout, (QGridLayout, QFormLayout)):
        layout.setHorizontalSpacing(round(layout.horizontalSpacing() * ratio))
        layout.setVerticalSpacing(round(layout.verticalSpacing() * ratio))
    elif isinstance(layout, QBoxLayout):
        layout.setSpacing(round(layout.spacing() * ratio))
