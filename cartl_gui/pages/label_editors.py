"""Where a user writes on the selected run: title, star, tags and notes."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import QEvent, Qt, QTimer, Signal
from PySide6.QtGui import QFocusEvent
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QPlainTextEdit, QVBoxLayout, QWidget

from cartl_gui import theme
from cartl_gui.models.run_delegates import TagsEdit
from cartl_gui.models.run_list import tags_of
from cartl_gui.widgets import QuietButton
from engine.events import RunInfo, RunLabel

#: Milliseconds without a key after which notes are kept.
PAUSE_MS = 1000
#: Lines of notes that are seen at least and at most before they scroll.
_LINES = (3, 9)


class NotesEdit(QPlainTextEdit):
    """Notes, as high as their text within reason; told once the user pauses or goes elsewhere."""

    written = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setPlaceholderText("Notes")
        self.setAccessibleName("Notes")
        self.setTabChangesFocus(True)
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(PAUSE_MS)
        self._pause.timeout.connect(self.written)
        self.textChanged.connect(self._typed)
        self._fit()

    def set_text(self, text: str) -> None:
        """Show a text without telling of it."""
        if text != self.toPlainText():
            self.setPlainText(text)
        self._pause.stop()

    def flush(self) -> None:
        """Tell at once what has been typed and not yet told."""
        if self._pause.isActive():
            self._pause.stop()
            self.written.emit()

    def focusOutEvent(self, event: QFocusEvent) -> None:  # noqa: N802
        """Tell what was typed."""
        super().focusOutEvent(event)
        self.flush()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Be as high as the text in another font."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._fit()

    def _typed(self) -> None:
        self._pause.start()
        self._fit()

    def _fit(self) -> None:
        lines = min(_LINES[1], max(_LINES[0], self.document().lineCount()))
        frame = 2 * (self.frameWidth() + int(self.document().documentMargin()))
        self.setFixedHeight(lines * self.fontMetrics().lineSpacing() + frame)


class LabelEditors(QWidget):
    """The editors of one run's label. What is typed is told by `changed`, never while another run is shown."""

    #: Id of the run and its new label.
    changed = Signal(str, object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._info: RunInfo | None = None
        self.title = QLineEdit()
        self.title.setProperty("flat", True)
        self.title.setAccessibleName("Title of the run")
        self.title.editingFinished.connect(self._rename)
        self.star = QuietButton("star", "Star")
        self.star.setCheckable(True)
        self.star.clicked.connect(self._star)
        self.tags = TagsEdit()
        self.tags.setPlaceholderText("Tags, with blanks between them")
        self.tags.editingFinished.connect(self._tag)
        self.notes = NotesEdit()
        self.notes.written.connect(self._note)
        row = QHBoxLayout()
        row.setSpacing(4)
        row.addWidget(self.title, 1)
        row.addWidget(self.star)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        #: Room under the title for what else is important about the run.
        self.below_title = QVBoxLayout()
        self.below_title.setSpacing(6)
        column.addLayout(row)
        column.addLayout(self.below_title)
        column.addWidget(self.tags)
        column.addWidget(self.notes)

    def show_run(self, info: RunInfo, known_tags: list[str], *, can_write: bool) -> None:
        """Show a run's label; what is being typed on the same run stays."""
        if self._info is None or self._info.id != info.id:
            self.notes.flush()
            self._info = info
            self.title.clearFocus()
            self.notes.set_text(info.label.notes)
        self._info = info
        if not self.title.hasFocus():
            self.title.setText(info.title)
            self.title.setCursorPosition(0)
        if not self.tags.hasFocus():
            self.tags.setText(" ".join(info.label.tags))
            self.tags.set_known(known_tags)
        if not self.notes.hasFocus():
            self.notes.set_text(info.label.notes)
        for editor in (self.title, self.tags, self.notes):
            editor.setReadOnly(not can_write)
        self.star.setEnabled(can_write)
        self.title.setToolTip(f"{info.title}\nType another title here.")
        self._draw_star()

    def edit_notes(self) -> None:
        """Put the cursor into the notes."""
        self.notes.setFocus(Qt.FocusReason.OtherFocusReason)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Draw the star in the colours of a new theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and self._info is not None:
            self._draw_star()

    def _draw_star(self) -> None:
        on = self._info is not None and self._info.label.star
        self.star.setChecked(on)
        self.star.setToolTip("Take the star away" if on else "Give it a star")
        self.star.set_picture("star-full" if on else "star", theme.scheme().warning if on else None)

    def _tell(self, label: RunLabel) -> None:
        if self._info is not None and label != self._info.label:
            self._info = replace(self._info, label=label)
            self.changed.emit(self._info.id, label)

    def _rename(self) -> None:
        if self._info is not None:
            title = " ".join(self.title.text().split())
            self._tell(replace(self._info.label, title="" if title == self._info.name else title))

    def _star(self, on: bool) -> None:
        if self._info is not None:
            self._tell(replace(self._info.label, star=on))
            self._draw_star()

    def _tag(self) -> None:
        if self._info is not None:
            self._tell(replace(self._info.label, tags=tags_of(self.tags.text())))

    def _note(self) -> None:
        if self._info is not None:
            self._tell(replace(self._info.label, notes=self.notes.toPlainText()))
