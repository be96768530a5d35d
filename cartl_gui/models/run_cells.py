"""What a cell of the run list says of a run: its text, colour and picture, what hovering tells, and what is read aloud."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor

from cartl_gui import theme, words
from cartl_gui.models.run_columns import Column, ListedRun, state_text
from engine.events import RunInfo

ID_ROLE = Qt.ItemDataRole.UserRole
PROGRESS_ROLE = Qt.ItemDataRole.UserRole + 1
TAGS_ROLE = Qt.ItemDataRole.UserRole + 2


def cell_data(run: ListedRun, column: Column, role: int) -> Any:
    """What a cell of a run gives Qt in a role; None where it has nothing to say."""
    info, name = run.info, column.id
    if role == Qt.ItemDataRole.DisplayRole:
        return column.text(run)
    if role == Qt.ItemDataRole.EditRole:
        return info.title if name == "title" else " ".join(info.label.tags)
    if role == ID_ROLE:
        return info.id
    if role == PROGRESS_ROLE and name == "progress":
        return info.progress
    if role == TAGS_ROLE and name == "tags":
        return info.label.tags
    if role == Qt.ItemDataRole.CheckStateRole and name == "shown":
        return Qt.CheckState.Checked if run.shown else Qt.CheckState.Unchecked
    if role == Qt.ItemDataRole.ToolTipRole:
        return _tip(run, name)
    if role == Qt.ItemDataRole.ForegroundRole:
        return _colour(info, name)
    if role == Qt.ItemDataRole.DecorationRole:
        return _picture(info, name)
    if role == Qt.ItemDataRole.AccessibleTextRole:
        return _spoken(run, column)
    return None


def _tip(run: ListedRun, column: str) -> str:
    """What a cell says on hovering."""
    info = run.info
    if column == "state":
        return info.reason or state_text(run)
    if column in ("clean", "robust") and info.result:
        share = info.result.clean_accuracy if column == "clean" else info.result.robust_accuracy
        about = (
            f"{words.interval(share)}, 95 % interval, {info.result.samples:,} images, {info.result.attack}"
        )
        return "\n".join([about, *(words.doubts([info]) if column == "robust" else [])])
    if column == "tags":
        return ", ".join(info.label.tags) or "No tags yet; press T to give it some."
    if column == "star":
        return (
            "Press S or click to take the star away."
            if info.label.star
            else "Press S or click to give it a star."
        )
    if column == "shown":
        return "Draw this run beside the others on the pages that compare runs (Space)."
    renamed = [f"named {info.name} in its settings"] if info.label.title else []
    notes = [info.label.notes] if info.label.notes else []
    methods = f"{words.pretraining(info.config)}; {words.transfer(info.config)}"
    return "\n".join([info.title, *renamed, info.id, methods, *notes])


def _colour(info: RunInfo, name: str) -> QColor | None:
    colours = theme.scheme()
    if info.label.archived:
        return QColor(colours.muted)
    if name == "state":
        return QColor({"failed": colours.error, "finished": colours.good}.get(info.state, colours.text))
    return None


def _picture(info: RunInfo, name: str) -> Any:
    colours = theme.scheme()
    if name == "star":
        return (
            theme.icon("star-full", colours.warning)
            if info.label.star
            else theme.icon("star", colours.neutral)
        )
    if name == "robust" and words.doubts([info]):
        return theme.icon("warning", colours.warning)
    return None


def _spoken(run: ListedRun, column: Column) -> str:
    """What a screen reader says of a cell."""
    info = run.info
    if column.id == "star":
        return "Star" if info.label.star else "No star"
    if column.id == "shown":
        return "Drawn beside others" if run.shown else "Not drawn beside others"
    doubts = words.doubts([info]) if column.id == "robust" else []
    archived = ["archived"] if column.id == "title" and info.label.archived else []
    return ", ".join([f"{column.tip or column.title}: {column.text(run) or 'none'}", *doubts, *archived])
