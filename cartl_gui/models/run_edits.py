"""What a user does to runs and can undo: writing on them, and moving them to the bin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QUndoCommand, QUndoStack

from cartl_gui import words
from cartl_gui.models.run_list import RunListModel
from engine.events import RunLabel

#: Marks changes of notes, of which those that follow each other on one run count as one.
_NOTES = 1
#: What a change of each part of a label is called.
_CHANGES = {"title": "rename", "tags": "change of tags", "notes": "change of notes"}


class LabelChange(QUndoCommand):
    """New labels of some runs.

    Args:
        text: what was done, such as "rename".
        before, after: labels by id of the run.
        write: puts a label on a run.
        is_notes: whether it goes on while the user types.
    """

    def __init__(
        self, text: str, before: Mapping[str, RunLabel], after: Mapping[str, RunLabel],
        write: Callable[[str, RunLabel], None], *, is_notes: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(text)
        self._before, self._after, self._write = dict(before), dict(after), write
        self._is_notes = is_notes

    def redo(self) -> None:
        """Write the new labels."""
        for run_id, label in self._after.items():
            self._write(run_id, label)

    def undo(self) -> None:
        """Write the earlier labels."""
        for run_id, label in self._before.items():
            self._write(run_id, label)

    def id(self) -> int:
        """What may be one with a change after it."""
        return _NOTES if self._is_notes else -1

    def mergeWith(self, other: QUndoCommand) -> bool:  # noqa: N802
        """Be one with a later change of the same run's notes."""
        if not isinstance(other, LabelChange) or other._after.keys() != self._after.keys():
            return False
        self._after = other._after
        return True


class BinChange(QUndoCommand):
    """Runs that went to the bin, put on the stack once they are there.

    Args:
        run_ids: the runs.
        move, restore: ask for them to be moved there again, and back.
    """

    def __init__(
        self, run_ids: Sequence[str], move: Callable[[list[str]], None], restore: Callable[[list[str]], None]
    ) -> None:
        super().__init__(f"move {words.count(len(run_ids), 'run')} to the bin")
        self._run_ids, self._move, self._restore = list(run_ids), move, restore
        self._is_done = True

    def redo(self) -> None:
        """Move them again; the first time they are there already."""
        if self._is_done:
            self._is_done = False
        else:
            self._move(self._run_ids)

    def undo(self) -> None:
        """Bring them back."""
        self._restore(self._run_ids)


class RunEdits(QObject):
    """All changes of labels and moves to the bin, each of which can be undone.

    Labels are shown at once; the engine is asked to keep them by `label_asked`.
    """

    label_asked = Signal(str, object)
    bin_asked = Signal(list)
    restore_asked = Signal(list)
    #: Something was done that a user may want to undo at once: a sentence about it.
    offered = Signal(str)

    def __init__(self, model: RunListModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.stack = QUndoStack(self)
        self._model = model
        #: Runs that a repeated step moves to the bin, which the stack knows already.
        self._expected: set[str] = set()

    def change(self, run_id: str, label: RunLabel) -> None:
        """Give a run another label."""
        info = self._model.info(run_id)
        if info is not None and info.label != label:
            parts = [part for part in _CHANGES if getattr(label, part) != getattr(info.label, part)]
            text = _CHANGES[parts[0]] if len(parts) == 1 else "change"
            self._change_all(text, {run_id: label}, is_notes=parts == ["notes"])

    def change_tags(self, run_ids: Sequence[str], run_id: str, tags: Sequence[str]) -> None:
        """Take over the tags typed for one run, and what was added and taken away there for others too."""
        typed = self._model.info(run_id)
        if typed is None:
            return
        added, gone = set(tags) - set(typed.label.tags), set(typed.label.tags) - set(tags)
        labels = {
            other: replace(
                info.label, tags=tuple(sorted({*info.label.tags, *added} - gone, key=str.casefold))
            )
            for other in dict.fromkeys([run_id, *run_ids])
            if (info := self._model.info(other)) is not None
        }
        self._change_all(_CHANGES["tags"], labels)

    def star(self, run_ids: Sequence[str]) -> None:
        """Give runs a star; if all have one, take it away."""
        labels = self._labels(run_ids)
        on = not all(label.star for label in labels.values())
        self._change_all("star", {run_id: replace(label, star=on) for run_id, label in labels.items()})

    def archive(self, run_ids: Sequence[str]) -> None:
        """Leave runs out of the list unless they are asked for; if all are archived, list them again."""
        labels = self._labels(run_ids)
        on = not all(label.archived for label in labels.values())
        changed = {run_id: replace(label, archived=on) for run_id, label in labels.items()}
        self._change_all("archive", changed)
        if on and changed:
            self.offered.emit(f"{words.count(len(changed), 'run')} archived")

    def move_to_bin(self, run_ids: Sequence[str]) -> None:
        """Ask for runs to be moved to the bin; `note_binned` follows."""
        self._expected.clear()
        if run_ids:
            self.bin_asked.emit(list(run_ids))

    def note_binned(self, run_ids: Sequence[str]) -> None:
        """Runs are in the bin: offer to bring them back."""
        known = self._expected.issuperset(run_ids)
        self._expected -= set(run_ids)
        if not known:
            self.stack.push(BinChange(run_ids, self._move_again, self.restore_asked.emit))
            self.offered.emit(f"{words.count(len(run_ids), 'run')} moved to the bin")

    def note_emptied(self) -> None:
        """What was in the bin is gone, and so is the way back."""
        self.stack.clear()

    def _labels(self, run_ids: Sequence[str]) -> dict[str, RunLabel]:
        return {run_id: info.label for run_id in run_ids if (info := self._model.info(run_id)) is not None}

    def _change_all(self, text: str, after: Mapping[str, RunLabel], *, is_notes: bool = False) -> None:
        before = self._labels(list(after))
        changed = {run_id: label for run_id, label in after.items() if label != before[run_id]}
        if changed:
            before = {run_id: before[run_id] for run_id in changed}
            self.stack.push(LabelChange(text, before, changed, self._write, is_notes=is_notes))

    def _write(self, run_id: str, label: RunLabel) -> None:
        info = self._model.info(run_id)
        if info is not None:
            self._model.update_run(replace(info, label=label))
            self.label_asked.emit(run_id, label)

    def _move_again(self, run_ids: list[str]) -> None:
        self._expected |= set(run_ids)
        self.bin_asked.emit(run_ids)
