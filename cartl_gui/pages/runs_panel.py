"""The dock below the plots: the list of runs and the queue, with what can be done to the selected ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from PySide6.QtCore import QPoint, Qt, QTimer, Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from cartl_gui import words
from cartl_gui.models.run_columns import COLUMNS, differing
from cartl_gui.models.run_edits import RunEdits
from cartl_gui.models.run_groups import GROUPINGS
from cartl_gui.models.run_list import RunListModel
from cartl_gui.pages.runs_bin import BinView
from cartl_gui.pages.runs_filter import QueryField, QueryHelp
from cartl_gui.pages.runs_table import RunDelegate, RunTable
from cartl_gui.widgets import ElidedLabel, Menu, QuietButton, QuietCombo, WrappedLabel
from engine.events import QueueChanged, RunInfo, RunLabel, RunsBinned

#: Version of what `RunsPanel.state` writes.
_STATE_VERSION = 1
#: Milliseconds for which what can be undone is offered below the list.
OFFER_MS = 15_000
#: Milliseconds between two parts of a longer task, so that the window gets its turn, and how many runs are one part.
_PART_MS, _PART = 0, 20
#: Milliseconds without a change of the selection after which the columns of settings follow it.
_SETTLED_MS = 150


class MessageBar(QFrame):
    """One sentence and what can be done about it, across the list."""

    def __init__(self, texts: Sequence[str], parent: QWidget) -> None:
        super().__init__(parent)
        self.setProperty("warning", True)
        self._text = ElidedLabel()
        row = QHBoxLayout(self)
        row.setContentsMargins(10, 3, 6, 3)
        row.addWidget(self._text, 1)
        self.buttons = [QPushButton(text) for text in texts]
        for button in self.buttons:
            button.clicked.connect(self.hide)
            row.addWidget(button)
        self.hide()

    def say(self, text: str) -> None:
        """Show a sentence."""
        self._text.setText(text)
        self._text.setToolTip(text)
        self.setAccessibleName(text)
        self.show()

    def text(self) -> str:
        """The sentence that is shown."""
        return self._text.text()


class RunsPanel(QWidget):
    """Runs of the workspace and the queue.

    It asks for changes by its own signals and those of `edits`, and shows what comes back through `update_run`,
    `runs_binned` and `set_queue`.
    """

    #: One run is selected, alone.
    run_selected = Signal(str)
    run_opened = Signal(str)
    #: Ids of all selected runs, in the order of the list.
    selection_changed = Signal(list)
    #: Ids of the runs that are drawn beside others.
    shown_changed = Signal(list)
    empty_bin_asked = Signal()
    #: Ids of waiting runs, and the one that they go before, or None.
    move_asked = Signal(list, object)
    #: Ids of interrupted runs to go on with; the queue goes on too.
    go_on_asked = Signal(list)
    demo_asked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = RunListModel(self)
        self.edits = RunEdits(self.model, self)
        self.table = RunTable(self.model)
        self.table.setItemDelegate(RunDelegate(self.known_tags, self.table))
        self.bin = BinView()
        self._can_write = True
        self._menu: QMenu | None = None
        self._binned: dict[str, RunInfo] = {}
        self._interrupted: list[str] = []
        #: Interrupted runs that the user did not want to go on with.
        self._declined: set[str] = set()
        self._is_first = True
        self._chosen: list[str] = []
        self._settled = QTimer(self)
        self._settled.setSingleShot(True)
        self._settled.timeout.connect(self._show_settings)
        self._build()
        self._connect()
        self._count()

    # building -------------------------------------------------------------------------------------------
    def _build(self) -> None:
        self.filter = QueryField(self._all_runs)
        self.reason = WrappedLabel("error")
        self.reason.hide()
        self.help = QuietButton("help", "Examples of filters")
        self._amount = QLabel()
        self._amount.setProperty("role", "muted")
        self.grouping = QuietCombo()
        self.grouping.setAccessibleName("Group runs")
        self.grouping.setToolTip("Put headings over runs that have something in common")
        for key, title in GROUPINGS.items():
            self.grouping.addItem(title, key)
        self.queue_buttons = {
            "first": QuietButton("first", "First in the queue"),
            "up": QuietButton("up", "Earlier in the queue", "Earlier in the queue (Alt+Up)"),
            "down": QuietButton("down", "Later in the queue", "Later in the queue (Alt+Down)"),
            "last": QuietButton("last", "Last in the queue"),
        }
        for button in self.queue_buttons.values():
            button.hide()
        self.options = QuietButton("more", "Options of the list")
        self.options.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.options.setMenu(self._options_menu())
        self.go_on = MessageBar(("Go on", "Not now"), self)
        self.offer = MessageBar(("Undo", "Close"), self)
        self._offer_ends = QTimer(self)
        self._offer_ends.setSingleShot(True)
        self._offer_ends.setInterval(OFFER_MS)
        self._build_empty()
        self._line = QWidget()
        line = QHBoxLayout(self._line)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self.filter, 1)
        for widget in (self.help, self._amount, self.grouping, *self.queue_buttons.values(), self.options):
            line.addWidget(widget)
        self.stack = QStackedWidget()
        self.stack.addWidget(self.table)
        self.stack.addWidget(self.bin)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 4, 8, 6)
        column.setSpacing(4)
        for widget in (self.go_on, self._line, self.reason):
            column.addWidget(widget)
        column.addWidget(self.stack, 1)
        column.addWidget(self.offer)
        self.setMinimumHeight(120)

    def _build_empty(self) -> None:
        """What stands in place of rows: nothing was run yet, or nothing passes the filter."""
        self._empty = QWidget(self.table.viewport())
        self._empty_text = QLabel()
        self._empty_text.setProperty("role", "muted")
        self._empty_text.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._empty_button = QPushButton()
        inner = QVBoxLayout(self._empty)
        inner.setSpacing(8)
        inner.addWidget(self._empty_text)
        inner.addWidget(self._empty_button, 0, Qt.AlignmentFlag.AlignHCenter)
        centre = QVBoxLayout(self.table.viewport())
        centre.setContentsMargins(4, 4, 4, 4)
        centre.addWidget(self._empty, 0, Qt.AlignmentFlag.AlignCenter)

    def _options_menu(self) -> QMenu:
        menu = Menu(self)
        self.differing = menu.addAction("&Differing settings as columns")
        self.differing.setCheckable(True)
        self.archived = menu.addAction("Show &archived runs")
        self.archived.setCheckable(True)
        menu.addSeparator()
        menu.addMenu(self.table.column_menu(self))
        self.own_order = menu.addAction("&Order of the queue")
        menu.addSeparator()
        self.show_bin = menu.addAction("Show the &bin")
        return menu

    def _connect(self) -> None:
        model, table = self.model, self.table
        self.filter.query_changed.connect(model.set_query)
        self.filter.reason_changed.connect(self._show_reason)
        self.help.clicked.connect(self._show_help)
        self.grouping.currentIndexChanged.connect(self._group)
        self.differing.toggled.connect(self._settle)
        self.archived.toggled.connect(model.set_shows_archived)
        self.own_order.triggered.connect(self._put_in_own_order)
        self.show_bin.triggered.connect(self.open_bin)
        for button, slot in zip(
            self.queue_buttons.values(),
            (self.move_first, self.move_up, self.move_down, self.move_last),
            strict=True,
        ):
            button.clicked.connect(slot)
        model.arranged.connect(self._count)
        model.arranged.connect(self._settle)
        model.label_edited.connect(self._label_edited)
        model.shown_toggled.connect(self._toggle_one)
        model.moved.connect(self.move_asked)
        table.chosen.connect(self._selected)
        table.opened.connect(self._open_current)
        table.star_clicked.connect(self._star_one)
        table.customContextMenuRequested.connect(self._menu_asked)
        self.go_on.buttons[0].clicked.connect(self._go_on)
        self.go_on.buttons[1].clicked.connect(self._decline)
        self.offer.buttons[0].clicked.connect(self.edits.stack.undo)
        self.edits.offered.connect(self._offer)
        self.edits.stack.indexChanged.connect(self.offer.hide)
        self._offer_ends.timeout.connect(self.offer.hide)
        self._empty_button.clicked.connect(self._help_out)
        self.bin.restore_asked.connect(self.edits.restore_asked)
        self.bin.empty_asked.connect(self.empty_bin_asked)
        self.bin.left.connect(self.close_bin)

    def set_menu_actions(self, actions: list[QAction | None]) -> None:
        """Fill the context menu; None is a separating line."""
        self._menu = Menu(self)
        for action in actions:
            if action is None:
                self._menu.addSeparator()
            else:
                self._menu.addAction(action)

    def set_can_write(self, on: bool) -> None:
        """Whether runs may be changed, or only looked at because another program holds the workspace."""
        self._can_write = on
        self.bin.set_can_write(on)
        self.table.setDragEnabled(on)
        self._update_queue_buttons()

    # what the engine says -------------------------------------------------------------------------------
    def set_runs(self, runs: Iterable[RunInfo], binned: Iterable[RunInfo] = ()) -> None:
        """List these runs, keeping the selection; `binned` are in the bin."""
        self._binned = {info.id: info for info in binned}
        self.model.set_runs(runs)
        self.bin.set_runs(self._binned.values())
        self._count()

    def update_run(self, info: RunInfo) -> None:
        """Show a newer state of a run, a new run, or one that came back from the bin."""
        if self._binned.pop(info.id, None) is not None:
            self.bin.set_runs(self._binned.values())
            self._count()
        self.model.update_run(info)

    def runs_binned(self, event: RunsBinned) -> None:
        """Take runs out of the list that went to the bin, and offer to bring them back."""
        run_ids = [info.id for info in event.runs]
        self._binned |= {info.id: info for info in event.runs}
        with self._neighbour_selected():
            self.model.remove_runs(run_ids)
        self.bin.set_runs(self._binned.values())
        self.edits.note_binned(run_ids)
        self._count()

    def bin_emptied(self) -> None:
        """Show that the bin is empty."""
        self._binned.clear()
        self.bin.set_runs(())
        self.edits.note_emptied()
        self._count()

    def set_queue(self, event: QueueChanged) -> None:
        """Show the waiting runs in their order; the first time offer to go on with what an earlier process left."""
        self.model.set_queue(event.order)
        if self._is_first or (self.go_on.isVisible() and not event.paused):
            self._is_first = False
            self._offer_to_go_on(event)
        for button in self.queue_buttons.values():
            button.setVisible(bool(event.order))
        self._update_queue_buttons()

    def _offer_to_go_on(self, queue: QueueChanged) -> None:
        """Say that runs were interrupted or wait, and offer to go on with them."""
        runs, left = self.model.runs(), self._declined.union(queue.order)
        self._interrupted = [
            info.id
            for info in runs.values()
            if info.state == "interrupted" and not info.label.archived and info.id not in left
        ]
        # A queue that is not held goes on by itself.
        held = [runs[run_id] for run_id in queue.order if run_id in runs] if queue.paused else []
        paused = sum(info.state == "paused" for info in held)
        waiting = sum(info.state != "paused" and not info.progress for info in held)
        lost = len(self._interrupted) + len(held) - paused - waiting
        parts: list[str] = []
        for count, one, several in (
            (lost, "was interrupted", "were interrupted"),
            (paused, "was paused", "were paused"),
            (waiting, "is waiting", "are waiting"),
        ):
            if count:
                amount = f"{count:,}" if parts else words.count(count, "run")
                parts.append(f"{amount} {one if count == 1 else several}")
        if parts and self._can_write:
            self.go_on.say(f"{words.listed(parts)}.")
        else:
            self.go_on.hide()

    # selection ------------------------------------------------------------------------------------------
    def select(self, run_id: str) -> None:
        """Select a run and no other."""
        if self.selected_ids() != [run_id] and self.model.row_of(run_id) is not None:
            self.table.select([run_id])

    def selected(self) -> str:
        """Id of the selected run, of several that at which the keyboard is; empty if there is none."""
        return self.table.current_id()

    def selected_ids(self) -> list[str]:
        """Ids of all selected runs, in the order of the list."""
        return self.table.selected_ids()

    def selected_infos(self) -> list[RunInfo]:
        """The selected runs."""
        return [run.info for run in self.model.listed(self.selected_ids())]

    @contextmanager
    def _neighbour_selected(self) -> Iterator[None]:
        """Select what stood next to the selected runs if a change takes all of them out of the list."""
        listed, chosen = self.model.accepted_ids(), self.selected_ids()
        yield
        if chosen and all(self.model.row_of(run_id) is None for run_id in chosen):
            last = listed.index(chosen[-1])
            around = (*listed[last + 1 :], *reversed(listed[:last]))
            left = next((run_id for run_id in around if self.model.row_of(run_id) is not None), None)
            self.table.select([] if left is None else [left])

    def _selected(self) -> None:
        chosen = self.selected_ids()
        if chosen == self._chosen:
            return
        self._chosen = chosen
        self._update_queue_buttons()
        self._settle()
        self.selection_changed.emit(chosen)
        if len(chosen) == 1:
            self.run_selected.emit(chosen[0])

    def _open_current(self) -> None:
        if run_id := self.selected():
            self.run_opened.emit(run_id)

    # what is done to the selected runs ------------------------------------------------------------------
    def rename(self) -> None:
        """Type another title for the run at which the keyboard is."""
        self._edit("title")

    def edit_tags(self) -> None:
        """Type tags; what is added or taken away goes for all selected runs."""
        self._edit("tags")

    def toggle_star(self) -> None:
        """Give the selected runs a star, or take it away."""
        if self._can_write:
            self.edits.star(self.selected_ids())

    def toggle_archived(self) -> None:
        """Archive the selected runs, or list them again."""
        if self._can_write:
            with self._neighbour_selected():
                self.edits.archive(self.selected_ids())

    def move_to_bin(self) -> None:
        """Move the selected runs to the bin."""
        if self._can_write:
            self.edits.move_to_bin(self.selected_ids())

    def toggle_shown(self) -> None:
        """Draw the selected runs beside others, or draw them no more."""
        chosen = self.selected_ids()
        drawn = set(self.model.shown_ids())
        self.set_shown(chosen, on=not drawn.issuperset(chosen))

    def set_shown(self, run_ids: Iterable[str], *, on: bool) -> None:
        """Draw runs beside others, or draw them no more."""
        self.model.set_shown(run_ids, on=on)
        self.shown_changed.emit(self.model.shown_ids())

    def shown_ids(self) -> list[str]:
        """Ids of the runs that are drawn beside others."""
        return self.model.shown_ids()

    def move_first(self) -> None:
        """Put the selected waiting runs first in the queue."""
        self._move(lambda others, _first: 0)

    def move_up(self) -> None:
        """Put the selected waiting runs one place earlier in the queue."""
        self._move(lambda others, first: max(0, first - 1))

    def move_down(self) -> None:
        """Put the selected waiting runs one place later in the queue."""
        self._move(lambda others, first: first + 1)

    def move_last(self) -> None:
        """Put the selected waiting runs last in the queue."""
        self._move(lambda others, _first: len(others))

    def _move(self, place: Callable[[list[str], int], int]) -> None:
        """Move what is selected to a place among the other waiting runs; `place` gets these and the place it has."""
        queue, chosen = self.model.queue, self._waiting()
        if not chosen or not self._can_write:
            return
        others = [run_id for run_id in queue if run_id not in chosen]
        number = place(others, queue.index(chosen[0]))
        self.move_asked.emit(chosen, others[number] if number < len(others) else None)

    def _waiting(self) -> list[str]:
        chosen = set(self.selected_ids())
        return [run_id for run_id in self.model.queue if run_id in chosen]

    def _update_queue_buttons(self) -> None:
        waiting, queue = self._waiting(), list(self.model.queue)
        can_rise = bool(waiting) and self._can_write and queue[: len(waiting)] != waiting
        can_sink = bool(waiting) and self._can_write and queue[-len(waiting) :] != waiting
        for name, button in self.queue_buttons.items():
            button.setEnabled(can_rise if name in ("first", "up") else can_sink)

    def _edit(self, column: str) -> None:
        if self._can_write and (run_id := self.selected()):
            self.table.edit_cell(run_id, column)

    def _label_edited(self, run_id: str, label: RunLabel) -> None:
        info = self.model.info(run_id)
        if info is not None and label.tags != info.label.tags:
            self.edits.change_tags(self.selected_ids(), run_id, label.tags)
        else:
            self.edits.change(run_id, label)

    def _star_one(self, run_id: str) -> None:
        if self._can_write:
            self.edits.star([run_id])

    def _toggle_one(self, run_id: str) -> None:
        self.set_shown([run_id], on=run_id not in self.model.shown_ids())

    def _go_on(self) -> None:
        self.go_on_asked.emit(self._interrupted)

    def _decline(self) -> None:
        self._declined |= set(self._interrupted)

    # filter, groups and columns -------------------------------------------------------------------------
    def known_tags(self) -> list[str]:
        """Every tag that a run has."""
        return sorted({tag for info in self._all_runs() for tag in info.label.tags}, key=str.casefold)

    def _all_runs(self) -> Iterable[RunInfo]:
        return self.model.runs().values()

    def _show_reason(self, reason: str) -> None:
        self.reason.setText(reason)
        self.reason.setVisible(bool(reason))

    def _show_help(self) -> None:
        popup = QueryHelp(self)
        popup.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        popup.chosen.connect(self.filter.setText)
        popup.show_below(self.help)

    def _group(self) -> None:
        self.model.set_grouping(str(self.grouping.currentData()))

    def _put_in_own_order(self) -> None:
        self.table.sortByColumn(-1, Qt.SortOrder.AscendingOrder)

    def _settle(self) -> None:
        """Let the columns of settings follow the selection once it rests."""
        if len(self._chosen) > 1 or self.differing.isChecked() or len(self.model.columns) > len(COLUMNS):
            self._settled.start(_SETTLED_MS)

    def _show_settings(self) -> None:
        """Show as columns in which settings the selected runs differ, or all that are listed."""
        run_ids = self._chosen if len(self._chosen) > 1 else self.model.accepted_ids()
        if len(self._chosen) < 2 and not self.differing.isChecked():
            run_ids = []
        runs = self.model.listed(run_ids)
        unread = [run for run in runs if not run.has_settings]
        for run in unread[:_PART]:
            run.settings  # noqa: B018 - put together and kept
        if len(unread) > _PART:
            self._settled.start(_PART_MS)
        else:
            self.model.set_setting_columns(differing(runs))

    # bin and bars ---------------------------------------------------------------------------------------
    def open_bin(self) -> None:
        """Show what is in the bin in place of the runs."""
        self.table.clearSelection()  # no command is to reach runs that are not seen
        self.stack.setCurrentWidget(self.bin)
        self._line.hide()
        self.bin.table.setFocus()

    def close_bin(self) -> None:
        """Show the runs again instead of the bin."""
        self.stack.setCurrentWidget(self.table)
        self._line.show()

    def _offer(self, text: str) -> None:
        self.offer.say(text)
        self._offer_ends.start()

    def _count(self) -> None:
        total, shown = self.model.total(), self.model.matching()
        self._amount.setText(words.count(total, "run") if shown == total else f"{shown:,} of {total:,} runs")
        self.show_bin.setText(f"Show the &bin ({len(self._binned):,})" if self._binned else "Show the &bin")
        self._empty.setVisible(shown == 0)
        self._empty_text.setText(
            "No run fits this filter." if total else "Runs will be listed here with their state and progress."
        )
        self._empty_button.setText("Clear filter" if total else "Try the demo")
        self._empty_button.setEnabled(bool(total) or self._can_write)

    def _help_out(self) -> None:
        if self.model.total():
            self.filter.clear()
        else:
            self.demo_asked.emit()

    def _menu_asked(self, position: QPoint) -> None:
        if self._menu is not None and self.selected():
            self._menu.popup(self.table.viewport().mapToGlobal(position))

    # what is kept between starts ------------------------------------------------------------------------
    def state(self) -> bytes:
        """Columns, order, grouping and options, to be kept between starts."""
        return json.dumps(
            {
                "version": _STATE_VERSION,
                "columns": self.table.layout_of_columns(),
                "sorted_by": self.model.sorted_by,
                "descending": self.model.descending,
                "grouping": self.model.grouping,
                "archived": self.model.shows_archived,
                "differing": self.differing.isChecked(),
                "declined": sorted(self._declined),
            }
        ).encode()

    def restore(self, state: bytes) -> bool:
        """Take up what `state` gave; False where it is of another version or cannot be read."""
        try:
            kept = json.loads(state)
            if kept["version"] != _STATE_VERSION:
                return False
            self.table.lay_out_columns(kept["columns"])
            order = Qt.SortOrder.DescendingOrder if kept["descending"] else Qt.SortOrder.AscendingOrder
            self.table.sortByColumn(self.model.column(kept["sorted_by"]), order)
            self.grouping.setCurrentIndex(max(0, self.grouping.findData(kept["grouping"])))
            self.archived.setChecked(bool(kept["archived"]))
            self.differing.setChecked(bool(kept["differing"]))
            self._declined = set(kept["declined"])
        except (ValueError, KeyError, TypeError):
            return False
        return True
