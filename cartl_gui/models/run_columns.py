"""The columns of the run list: what each shows of a run, how it sorts and what it says on hovering."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cartl_gui import words
from cartl_gui.models.difference import short_titles, title_of, value_text
from engine.config import STAGE_TITLES, parse_ratio
from engine.events import RunInfo
from engine.lineage import ancestry, settings_of
from engine.query import Searched
from engine.titles import run_title

#: Beginning of the ids of columns that show a setting.
SETTING = "setting:"


class ListedRun:
    """A run of the list, with what is put together once for it.

    Attributes:
        info: its newest state.
        batch: when the first run was created of those that were queued together with it; Unix time.
        place: number from 1 in the queue as it was last told, None if it is not there.
        varied: the studies that have runs of several seeds.
        shown: whether it is drawn beside others.
    """

    def __init__(self, info: RunInfo, known: Mapping[str, RunInfo]) -> None:
        self.info = info
        self.batch = info.created
        self.place: int | None = None
        self.varied: Collection[str] = ()
        self.shown = False
        self._known = known
        self._searched: Searched | None = None
        self._settings: dict[str, Any] | None = None

    @property
    def searched(self) -> Searched:
        """The run as queries see it."""
        if self._searched is None:
            self._searched = Searched(self.info, ancestry(self.info, self._known)[1:])
        return self._searched

    @property
    def settings(self) -> dict[str, Any]:
        """Its settings and those of the runs before it, by dotted name, and its seed."""
        if self._settings is None:
            self._settings = settings_of(ancestry(self.info, self._known)) | {"seed": self.info.config.seed}
        return self._settings

    @property
    def has_settings(self) -> bool:
        """Whether `settings` were put together already."""
        return self._settings is not None

    def follow(self, info: RunInfo) -> None:
        """Take in a newer state."""
        self.info = info
        if self._searched is not None:
            self._searched.follow(info)

    def title(self) -> str:
        """What the list calls it: with its seed where names do not tell seeds apart, unless the user named it."""
        return run_title(self.info, self.varied)


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        id: its name in saved layouts.
        title: of its header.
        width: in pixels at first.
        text: what a cell shows.
        key: what it sorts by; None sorts last either way.
        right: whether it is aligned to the right, as figures are.
        tip: what the header says on hovering.
    """

    id: str
    title: str
    width: int
    text: Callable[[ListedRun], str]
    key: Callable[[ListedRun], Any]
    right: bool = False
    tip: str = ""


def state_text(run: ListedRun) -> str:
    """The state in words, with what a user wants to know next: the place in the queue, or why it ended."""
    info, word = run.info, words.STATE_WORDS[run.info.state]
    if info.state == "created" and info.reason:
        return info.reason
    if info.state == "created" and run.place is not None:
        started = f", goes on from {100 * info.progress:.0f} %" if info.progress else ""
        return f"{ordinal(run.place)} in the queue{started}"
    if info.state == "running" and info.stage:
        return f"{word}: {STAGE_TITLES[info.stage].lower()}"
    if info.state == "failed" and info.reason:
        return f"{word}: {info.reason.splitlines()[0]}"
    if info.state == "interrupted":
        return f"{word}: can go on from {100 * info.progress:.0f} %"
    return word


def ordinal(number: int) -> str:
    """Write "1st", "2nd", "11th"."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number:,}{ending}"


def setting_columns(places: Sequence[str]) -> list[Column]:
    """The columns of settings, by their dotted names in `ListedRun.settings`."""
    return [_setting_column(place, title) for place, title in short_titles(places).items()]


def differing(runs: Sequence[ListedRun]) -> list[str]:
    """The settings in which some runs differ, those that papers give a symbol first."""
    first = runs[0].settings if runs else {}
    places = dict.fromkeys(place for run in runs for place in run.settings)
    found = [place for place in places if any(run.settings.get(place) != first.get(place) for run in runs)]
    titles = short_titles(found)
    return sorted(found, key=lambda place: len(titles[place].partition(",")[0]) > len("1/λ"))


def _setting_column(place: str, title: str) -> Column:
    def key(run: ListedRun) -> Any:
        value = run.settings.get(place)
        if value is None:
            return None
        try:
            return (0, float(parse_ratio(value)), "")
        except (ValueError, TypeError):
            return (1, 0.0, str(value))

    return Column(
        f"{SETTING}{place}", title, max(64, 8 * len(title) + 20), lambda run: value_text(place, run.settings), key,
        right=True, tip=title_of(place),
    )  # fmt: skip


def _accuracy(which: str) -> Callable[[ListedRun], Any]:
    def share(run: ListedRun) -> float | None:
        result = run.info.result
        return None if result is None else getattr(result, which).value

    return share


def _percent(which: str) -> Callable[[ListedRun], str]:
    share = _accuracy(which)
    return lambda run: "" if share(run) is None else words.percent(share(run))


def _attack(run: ListedRun) -> str:
    info = run.info
    return info.result.attack if info.result else info.config.attack.title if info.config.attack else ""


#: The columns that there always are, in the order in which they stand at first.
COLUMNS: tuple[Column, ...] = (
    Column("shown", "", 28, lambda run: "", lambda run: not run.shown, tip="Drawn beside others"),
    Column("star", "", 28, lambda run: "", lambda run: not run.info.label.star, tip="Star"),
    Column("title", "Run", 190, ListedRun.title,
           lambda run: (run.info.title.casefold(), run.info.config.seed)),
    Column("state", "State", 176, state_text, lambda run: (words.STATE_WORDS[run.info.state], run.place or 0)),
    Column("progress", "Progress", 96, lambda run: f"{100 * run.info.progress:.0f} %", lambda run: run.info.progress),
    Column("clean", "Clean", 70, _percent("clean_accuracy"), _accuracy("clean_accuracy"), right=True,
           tip="Accuracy on clean test images"),
    Column("robust", "Robust", 84, _percent("robust_accuracy"), _accuracy("robust_accuracy"), right=True,
           tip="Accuracy under the run's attack"),
    Column("time", "Time", 160, lambda run: words.ending(run.info), lambda run: run.info.seconds or None),
    Column("tags", "Tags", 120, lambda run: ", ".join(run.info.label.tags), lambda run: run.info.label.tags or None),
    Column("study", "Study", 140, lambda run: run.info.study, lambda run: run.info.study.casefold()),
    Column("attack", "Attack", 200, _attack, lambda run: _attack(run) or None),
    Column("created", "Created", 110, lambda run: words.clock(run.info.created), lambda run: run.info.created),
    Column("queue", "Queue", 64, lambda run: "" if run.place is None else ordinal(run.place), lambda run: run.place,
           tip="Place in the queue"),
)  # fmt: skip
