"""Undo and redo of everything that is edited in the form."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace

import tomlkit
from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QUndoCommand, QUndoStack

from engine.config import StudyDraft
from engine.errors import ConfigError, Problem

#: As many steps are kept.
LIMIT = 500
_TYPING = 1


@dataclass(frozen=True)
class Origin:
    """Where the study in the form came from.

    Attributes:
        text: in words, to go after "Changed from": "the preset “Demo”".
        draft: the study as it was then.
        preset: the id of the preset in the chooser, empty if it was none.
    """

    text: str
    draft: StudyDraft
    preset: str = ""


@dataclass(frozen=True)
class FormState:
    """What the form holds: a study, which of its runs is shown, and where it came from."""

    draft: StudyDraft
    index: int
    origin: Origin

    @classmethod
    def of(cls, draft: StudyDraft, index: int, origin: Origin) -> FormState:
        """Note a state; values are never changed in place, so that runs are copied one level deep."""
        runs = [replace(run, grid=dict(run.grid)) for run in draft.runs]
        return cls(StudyDraft(dict(draft.head), dict(draft.grid), runs), index, origin)

    @classmethod
    def parse(cls, text: str) -> FormState:
        """Read what `text` wrote.

        Raises:
            ConfigError: it is something else, or settings in it cannot be used, by this version of the program.
        """
        try:
            table = tomllib.loads(text)
            origin, index = table["origin"], int(table["run"])
            come = Origin(str(origin["text"]), StudyDraft.parse(str(origin["study"])), str(origin["preset"]))
            draft = StudyDraft.parse(str(table["study"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError([Problem("", f"this is no state of the form: {error}")]) from error
        return cls(draft, index if 0 <= index < len(draft.runs) else 0, come)

    def text(self) -> str:
        """The state as TOML, in which studies are TOML as in their files; every setting in it must be usable."""
        origin = {"text": self.origin.text, "preset": self.origin.preset, "study": self.origin.draft.text()}
        return tomlkit.dumps({"run": self.index, "study": self.draft.text(), "origin": origin})

    def copy(self) -> FormState:
        """The same state, whose draft may be edited."""
        return FormState.of(self.draft, self.index, self.origin)


class History(QObject):
    """The states of the form. Edits of one field in a row are one step."""

    #: Show this state; the place is what the step was about, to look at.
    restored = Signal(object, str)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.stack = QUndoStack(self)
        self.stack.setUndoLimit(LIMIT)
        self._now: FormState | None = None
        self._visit = 0

    def begin(self, state: FormState) -> None:
        """Forget all steps and start from a state."""
        self._now = state
        self.stack.clear()

    def record(self, state: FormState, text: str, place: str = "", *, typed: bool = False) -> None:
        """Note that an edit led to a state.

        Args:
            state: the form after it.
            text: what was done, such as "change Epochs".
            place: the setting that was edited.
            typed: whether more of the same kind may follow, which is then one step with it.
        """
        before, self._now = self._now, state
        if before is None or (before.draft == state.draft and before.origin is state.origin):
            return
        self.stack.push(_Step(self, before, state, text, place, self._visit if typed else -1))

    def look(self, state: FormState) -> None:
        """Note that another run is shown; undoing what comes next will come back to it."""
        self._now = state
        self._visit += 1

    def leave_field(self) -> None:
        """Let what is typed next be a step of its own."""
        self._visit += 1

    def show(self, state: FormState, place: str) -> None:
        """Go back or forth to a state."""
        self._now = state
        self._visit += 1
        self.restored.emit(state.copy(), place)


class _Step(QUndoCommand):
    def __init__(
        self, history: History, before: FormState, after: FormState, text: str, place: str, visit: int
    ) -> None:
        super().__init__(text)
        self._history, self._before, self._after = history, before, after
        self._place, self._visit = place, visit
        self._is_done = False

    def id(self) -> int:
        """Typing can be merged, everything else stands alone."""
        return _TYPING if self._visit >= 0 else -1

    def mergeWith(self, other: QUndoCommand) -> bool:  # noqa: N802
        """Take in what was typed after it in the same field."""
        if not isinstance(other, _Step) or (other._place, other._visit) != (self._place, self._visit):
            return False
        self._after = other._after
        self.setObsolete(self._after.draft == self._before.draft)
        return True

    def redo(self) -> None:
        """Show what came out; when it is recorded that is shown already."""
        if self._is_done:
            self._history.show(self._after, self._place)
        self._is_done = True

    def undo(self) -> None:
        """Show what was there before."""
        self._history.show(self._before, self._place)
