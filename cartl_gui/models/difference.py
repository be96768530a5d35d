"""In which settings runs differ: one row a setting, one column a run. Settings that all share are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt

from cartl_gui import words
from cartl_gui.forms.specs import FieldSpec, spec_of
from engine.config import field_at
from engine.events import RunInfo
from engine.lineage import ancestry, settings_of

Index = QModelIndex | QPersistentModelIndex
#: In place of a setting that a run does not have, because another one leaves it without effect.
ABSENT = "–"
#: The parts of `settings_of` that are no settings of a run by these names: where they stand in one, and their titles.
_PLACES = {"attacked": ("target", "Attacked data")}


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting in which runs differ.

    Attributes:
        place: its dotted name, as `engine.lineage.settings_of` has it, or "seed".
        title: for people, such as "Transfer: spectral bound".
        values: what it is in each run, for people; `ABSENT` where it has no effect.
    """

    place: str
    title: str
    values: tuple[str, ...]


def differences(runs: Sequence[RunInfo], known: Mapping[str, RunInfo]) -> list[Difference]:
    """The settings in which runs differ, those of the runs that they start from included.

    Args:
        runs: at least two, or there is no difference.
        known: the runs of the workspace by id, in which the earlier ones are found.
    """
    settings = [settings_of(ancestry(run, known)) | {"seed": run.config.seed} for run in runs]
    places = dict.fromkeys(place for found in settings for place in found)
    return [
        Difference(place, title_of(place), tuple(value_text(place, found) for found in settings))
        for place in places
        if any(found.get(place) != settings[0].get(place) for found in settings)
    ]


def title_of(place: str) -> str:
    """What a setting of `settings_of` is called: "Pre-training: attack: epsilon", "Earlier transfer: epochs"."""
    part = place
    while part.startswith("before."):
        part = part.removeprefix("before.")
    own, _, _rest = part.partition(".")
    names = [_PLACES[own][1] if own in _PLACES else spec_of(own).title]
    keys = _keys(part)
    names += [_spec((*keys[:count],)).title for count in range(2, len(keys) + 1)]
    if part != place:
        names[0] = f"earlier {_lower(names[0])}"
    title = ": ".join([names[0], *map(_lower, names[1:])])
    return _capital(title)


def short_titles(places: Sequence[str]) -> dict[str, str]:
    """Titles as narrow as headers need them: the symbol where papers have one, with its stage where two share it."""
    short = {place: _symbol(place) or _capital(title_of(place).rpartition(": ")[2]) for place in places}
    taken = list(short.values())
    return {
        place: title if taken.count(title) == 1 else f"{title}, {_lower(title_of(place).partition(':')[0])}"
        for place, title in short.items()
    }


def _symbol(place: str) -> str:
    keys = _keys(place.replace("before.", ""))
    extra = None if keys[1:] == ("precision",) else field_at(".".join(keys)).json_schema_extra
    symbol = extra.get("symbol") if isinstance(extra, dict) else None
    return words.symbol(str(symbol)) if symbol else ""


def _keys(part: str) -> tuple[str, ...]:
    keys = part.split(".")
    if keys[0] in _PLACES:
        keys[0] = _PLACES[keys[0]][0]
    return tuple(keys)


def _spec(keys: tuple[str, ...]) -> FieldSpec:
    """The setting at a place; a stage's precision is that of its machine."""
    return spec_of("machine.precision" if keys[1:] == ("precision",) else ".".join(keys))


def _capital(title: str) -> str:
    return title[:1].upper() + title[1:]


def _lower(title: str) -> str:
    """A title inside a line, unless it is an abbreviation or a symbol."""
    return title[:1].lower() + title[1:] if title[1:2].islower() else title


def value_text(place: str, settings: Mapping[str, Any]) -> str:
    """A setting of `settings_of` for people; `ABSENT` where these do not have it."""
    value = settings.get(place)
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return ", ".join(map(_number, value)) or "none"
    is_choice = _spec(_keys(place.replace("before.", ""))).kind == "choice"
    return words.choice(value) if is_choice else _number(value)


def _number(value: Any) -> str:
    return words.number(value) if isinstance(value, float) else str(value) or "none"


class DifferenceModel(QAbstractTableModel):
    """The differences of some runs; the first column holds the settings' titles, the others one run each.

    With `short` the titles are as narrow as `short_titles` makes them.
    """

    def __init__(self, parent: QObject | None = None, *, short: bool = False) -> None:
        super().__init__(parent)
        self._is_short = short
        self._titles: dict[str, str] = {}
        self.runs: tuple[RunInfo, ...] = ()
        self.rows: tuple[Difference, ...] = ()

    def set_runs(self, runs: list[RunInfo], known: Mapping[str, RunInfo]) -> None:
        """Show in what these runs differ; `known` are the runs of the workspace by id."""
        rows = tuple(differences(runs, known)) if len(runs) > 1 else ()
        titles = [run.title for run in runs]
        if (titles, rows) == ([run.title for run in self.runs], self.rows):
            self.runs = tuple(runs)
            return
        self.beginResetModel()
        self.runs, self.rows = tuple(runs), rows
        places = [row.place for row in rows]
        self._titles = short_titles(places) if self._is_short else {row.place: row.title for row in rows}
        self.endResetModel()

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        """Number of differing settings."""
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        """One more than there are runs."""
        return 0 if parent.isValid() else 1 + len(self.runs)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:  # noqa: N802
        """Names of the runs."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            return self.runs[section - 1].title if section else "Setting"
        return None

    def data(self, index: Index, role: int = 0) -> Any:
        """Title of a setting, or its value in a run."""
        row, column = self.rows[index.row()], index.column()
        text = row.values[column - 1] if column else row.title
        if role == Qt.ItemDataRole.DisplayRole:
            return text if column else self._titles[row.place]
        if role == Qt.ItemDataRole.ToolTipRole:
            return text if column else f"{row.title}\n{row.place}"
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{row.title} of {self.runs[column - 1].title}: {text}" if column else text
        return None
