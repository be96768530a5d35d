"""What the machine is doing, in places of fixed width at the end of the status bar."""

from __future__ import annotations

from PySide6.QtCore import QRect, QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QWidget

from cartl_gui import theme, words
from engine.events import MachineSample
from engine.wording import format_bytes

#: Bytes on disk and share of the memory left below which a figure is marked.
LOW_DISK = 2 * 10**9
LOW_MEMORY = 0.05
#: Pixels beside a text, of its icon, and between the two.
_MARGIN, _ICON, _GAP = 8, 14, 4


class Place(QLabel):
    """A figure that stands right-aligned in room for the longest text it usually has, so that nothing beside it moves.

    Args:
        longest: that text. A longer one, such as a marked one, takes more room and keeps it.
    """

    def __init__(self, longest: str = "") -> None:
        super().__init__()
        self.longest, self.marked, self._was_marked = longest, False, False
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Preferred)
        self.setProperty("role", "muted")

    def show_figure(self, text: str, *, marked: bool = False) -> None:
        """Show a figure; a marked one gets an icon and the colour of warnings."""
        if (text, marked) != (self.text(), self.marked):
            self.marked, self._was_marked = marked, marked or self._was_marked
            self.longest = max(self.longest, text, key=len)
            self.setText(text)
            self.update()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Room for the longest text, whatever the present one is."""
        metrics = self.fontMetrics()
        icon = theme.px(_ICON + _GAP) if self._was_marked else 0
        width = metrics.horizontalAdvance(self.longest) + icon
        return QSize(width + 2 * theme.px(_MARGIN), metrics.height() + theme.px(4))

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """The same: it is hidden rather than cut."""
        return self.sizeHint()

    def paintEvent(self, _event: QPaintEvent) -> None:  # noqa: N802
        """Draw the text at the right, and a marked one's icon before it."""
        painter = QPainter(self)
        margin = theme.px(_MARGIN)
        room = self.rect().adjusted(margin, 0, -margin, 0)
        painter.setPen(theme.scheme().warning if self.marked else self.palette().color(self.foregroundRole()))
        painter.drawText(room, int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter), self.text())
        if self.marked:
            side = theme.px(_ICON)
            left = room.right() - self.fontMetrics().horizontalAdvance(self.text()) - side - theme.px(_GAP)
            theme.icon("warning", theme.scheme().warning).paint(
                painter, QRect(left, (self.height() - side) // 2, side, side)
            )


class MachineFigures(QWidget):
    """Load, memory, temperature and free disk, as last sampled. A figure that cannot be told has no place."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.load = Place("CPU 100 %")
        self.memory = Place()
        self.temperature = Place("100 °C")
        self.disk = Place("99.9 GB free")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        for place in (self.load, self.memory, self.temperature, self.disk):
            row.addWidget(place)
            place.hide()
        self.setAccessibleName("Machine")

    def show_sample(self, sample: MachineSample) -> None:
        """Show what the machine is doing."""
        share, name = sample.processor, "CPU"
        used, total = sample.memory, sample.memory_total
        if sample.device_load is not None:
            share, name = sample.device_load, "GPU"
        if sample.device_memory is not None:
            used, total = sample.device_memory, sample.device_memory_total
        self._show(self.load, None if share is None else f"{name} {100 * share:.0f} %")
        full = used is not None and total is not None and used > (1 - LOW_MEMORY) * total
        memory = None if used is None else words.used(used, total)
        if total is not None and not self.memory.longest:
            self.memory.longest = words.used(total, total)
        self._show(self.memory, memory and f"full: {memory}" if full else memory, marked=full)
        warm = sample.temperature
        self._show(self.temperature, None if warm is None else f"{warm:.0f} °C")
        free = sample.disk_free
        low = free is not None and free < LOW_DISK
        left = None if free is None else f"{format_bytes(free)} free"
        self._show(self.disk, left and f"only {left}" if low else left, marked=low)
        lines = describe(sample)
        self.setToolTip("\n".join(lines))
        self.setAccessibleDescription("; ".join(lines))

    def _show(self, place: Place, text: str | None, *, marked: bool = False) -> None:
        if text is not None:
            place.show_figure(text, marked=marked)
        if place.isHidden() != (text is None):
            place.setHidden(text is None)


def describe(sample: MachineSample) -> list[str]:
    """All figures of a sample, one line each, with what to do where something runs out."""
    lines = []
    if sample.processor is not None:
        lines.append(f"Processor: {100 * sample.processor:.0f} % of all cores busy")
    if sample.memory is not None:
        lines.append(f"Memory: {_use(sample.memory, sample.memory_total, 'close other programs')}")
    if sample.device:
        load = f", {100 * sample.device_load:.0f} % busy" if sample.device_load is not None else ""
        lines.append(f"Accelerator: {sample.device}{load}")
    if sample.device_memory is not None:
        used = _use(sample.device_memory, sample.device_memory_total, "take a smaller batch size")
        lines.append(f"Its memory: {used}")
    if sample.temperature is not None:
        lines.append(f"Temperature: {sample.temperature:.0f} °C")
    if sample.disk_free is not None:
        low = "; nearly full: empty the bin or free some space" if sample.disk_free < LOW_DISK else ""
        lines.append(f"Disk of the workspace: {format_bytes(sample.disk_free)} free{low}")
    return lines


def _use(used: int, total: int | None, advice: str) -> str:
    full = total is not None and used > (1 - LOW_MEMORY) * total
    return f"{words.used(used, total)} in use by all programs" + (f"; nearly full: {advice}" if full else "")
