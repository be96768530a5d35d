"""What a run has measured so far, gathered from events or from its files. No Qt in here.

Shapes: T rows of a table, N blocks, L weighted layers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from engine.config import StageName
from engine.events import (
    AttackProgress,
    Columns,
    RowsAdded,
    RunInfo,
    RunRecord,
    StageLayout,
    SweepResult,
    TableName,
)
from engine.statistics import wilson
from engine.wording import format_bytes

#: Points drawn per curve at most; more cost time and show nothing on a screen.
MAX_POINTS = 2000
#: The column that orders the rows of each table; "" for a table that comes as a whole.
ORDER: dict[TableName, str] = {
    "steps": "step", "epochs": "epoch", "layers": "step", "bounds": "step", "profile": "",
    "samples": "sample", "clean": "row", "attempts": "row", "sweep": "", "examples": "", "probe": "",
    "machine": "time",
}  # fmt: skip


class GrowingTable:
    """Columns that grow at the end, [T] or [T, N]; room doubles, so adding a row costs constant time.

    Args:
        order: the column that orders the rows; with "" every addition replaces what was there.
        columns: the first rows. They may be large, so they are not copied before others come.
    """

    def __init__(self, order: str, columns: Columns | None = None) -> None:
        self._order = order
        self._room: dict[str, np.ndarray] = {}
        self._rows = 0
        for name, values in (columns or {}).items():
            self._room[name] = room = np.asarray(values).view()
            room.flags.writeable = False  # others may hold them too
            self._rows = len(room)

    def __len__(self) -> int:
        return self._rows

    def columns(self) -> dict[str, np.ndarray]:
        """The rows so far, without copying."""
        return {name: room[: self._rows] for name, room in self._room.items()}

    def append(self, columns: Columns) -> None:
        """Add rows. Rows that a resumed run measures again replace the ones from before.

        Args:
            columns: name -> [t] or [t, N], one of them the ordering column.
        """
        arrays = {name: np.asarray(values) for name, values in columns.items()}
        key = arrays.get(self._order) if self._order else next(iter(arrays.values()), None)
        if key is None or not len(key):
            return
        if not self._order:
            self._rows = 0
        elif self._rows and key[0] <= self._room[self._order][self._rows - 1]:
            self._rows = int(np.searchsorted(self._room[self._order][: self._rows], key[0]))
        end = self._rows + len(key)
        for name, values in arrays.items():
            room = self._room.get(name)
            if room is None or room.shape[1:] != values.shape[1:]:
                room = self._room[name] = np.full(
                    (max(64, end), *values.shape[1:]), _gap(values), values.dtype
                )
            if len(room) < end or not room.flags.writeable:
                grown = np.full((max(2 * len(room), end), *room.shape[1:]), _gap(room), room.dtype)
                grown[: self._rows] = room[: self._rows]
                room = self._room[name] = grown
            room[self._rows : end] = values
        self._rows = end


class RunData:
    """Everything known about one run: its layouts, tables, attack figures and exportable weights.

    `version` grows with every change, so that a panel can tell whether it has to be drawn again. `is_inspection` says
    that it is no run but a network that was analysed on demand, which has no history.
    """

    def __init__(self, info: RunInfo, *, is_inspection: bool = False) -> None:
        self.info = info
        self.is_inspection = is_inspection
        self.layouts: dict[StageName, StageLayout] = {}
        self.attack: AttackProgress | None = None
        self.weights: tuple[StageName, ...] = ()
        self.weights_sha256: Mapping[StageName, str] = {}
        self.log: tuple[str, ...] = ()
        self.from_files = False
        self.version = 0
        self._tables: dict[tuple[StageName, TableName], GrowingTable] = {}
        self._changes: Counter[tuple[StageName, TableName | None]] = Counter()

    def version_of(self, stage: StageName, tables: Sequence[TableName]) -> tuple[int, ...]:
        """What grows with every change of a stage's layout or of some of its tables."""
        return tuple(self._changes[stage, table] for table in (None, *tables))

    def update(self, info: RunInfo) -> None:
        """Take over a newer state of the run."""
        self.info = info
        self.version += 1

    def start_stage(self, layout: StageLayout) -> None:
        """Note what a stage will fill in."""
        self.layouts[layout.stage] = layout
        self._changes[layout.stage, None] += 1
        self.version += 1

    def add_rows(self, event: RowsAdded) -> None:
        """Add the rows of an event."""
        self._table(event.stage, event.table).append(event.columns)
        self._changes[event.stage, event.table] += 1
        self.version += 1

    def set_attack(self, progress: AttackProgress) -> None:
        """Take over the figures of the attack so far."""
        self.attack = progress
        self.version += 1

    def absorb(self, record: RunRecord) -> None:
        """Take over what a run's files hold; live rows that are newer than the files are kept."""
        for key, layout in record.layouts.items():
            self.layouts.setdefault(key, layout)
            self._changes[key, None] += 1
        for stage, tables in record.tables.items():
            for name, columns in tables.items():
                self._changes[stage, name] += 1
                live = self._tables.pop((stage, name), None)
                table = self._tables[stage, name] = GrowingTable(ORDER[name], columns)
                if live is None or not len(live) or (not ORDER[name] and len(table)):
                    continue
                newest = table.columns()[ORDER[name]][-1] if len(table) else -np.inf
                kept = live.columns()
                fresh = kept[ORDER[name]] > newest if ORDER[name] else slice(None)
                table.append({column: values[fresh] for column, values in kept.items()})
        self.attack = self.attack or record.attack
        self.weights, self.weights_sha256 = record.weights, record.weights_sha256
        self.log = record.log
        self.from_files = True
        self.version += 1

    def columns(self, stage: StageName, table: TableName) -> dict[str, np.ndarray]:
        """Columns of one table of a stage, [T] or [T, N]; empty if there are no rows yet."""
        found = self._tables.get((stage, table))
        return found.columns() if found is not None and len(found) else {}

    def verdicts(self) -> dict[str, np.ndarray]:
        """The attacked images so far: columns label [M], clean_correct [M], and robust [M] once an attack has begun.

        While the attack computes, an image counts as robust if nothing has broken it so far.
        """
        if samples := self.columns("attack", "samples"):
            return {name: samples[name] for name in ("label", "clean_correct", "robust")}
        clean = self.columns("attack", "clean")
        if not clean:
            return {}
        found = {"label": clean["label"], "clean_correct": clean["correct"]}
        if self.columns("attack", "attempts"):
            found["robust"] = self._robust_at(0)
        return found

    def sweep(self) -> tuple[SweepResult, ...]:
        """Robust accuracy at the radii and numbers of steps that are measured so far, the headline's among them."""
        if self.info.result is not None:
            return self.info.result.sweep
        layout, attempts = self.layouts.get("attack"), self.columns("attack", "attempts")
        if layout is None or len(layout.points) < 2 or not attempts:
            return ()
        # Points are measured in order, so those before the newest attempt's are done.
        found = []
        for number, point in enumerate(layout.points[: int(attempts["point"][-1])]):
            robust = self._robust_at(number)
            share = wilson(int(robust.sum()), len(robust))
            found.append(SweepResult(point.epsilon, point.steps, share))
        return tuple(sorted(found, key=lambda result: (result.epsilon, result.steps)))

    def _robust_at(self, point: int) -> np.ndarray:
        """[M] whether each image, in the order of attack, was right and no attempt at a point has broken it so far."""
        clean, attempts = self.columns("attack", "clean"), self.columns("attack", "attempts")
        broke = (attempts["point"] == point) & attempts["broken"].astype(bool)
        return clean["correct"].astype(bool) & ~np.isin(clean["sample"], attempts["sample"][broke])

    def stages(self) -> tuple[StageName, ...]:
        """Stages that have begun, in order."""
        return tuple(
            stage
            for stage in self.info.config.stages
            if stage in self.layouts or any(key[0] == stage for key in self._tables)
        )

    def _table(self, stage: StageName, name: TableName) -> GrowingTable:
        return self._tables.setdefault((stage, name), GrowingTable(ORDER[name]))


def machine_facts(data: RunData) -> list[tuple[str, str]]:
    """What the machine was doing while a run computed: pairs of what and how much; none where nothing was recorded."""
    tables = [data.columns(stage, "machine") for stage in data.stages()]
    tables = [columns for columns in tables if columns]
    if not tables:
        return []
    columns = {name: np.concatenate([part[name] for part in tables]) for name in tables[0]}
    memory = "device_memory" if np.isfinite(columns["device_memory"]).any() else "memory"
    told: tuple[tuple[str, str, Callable[[np.ndarray], float], Callable[[float], str]], ...] = (
        ("Accelerator load", "device_load", np.nanmean, lambda value: f"{100 * value:.0f} % on average"),
        ("Processor load", "processor", np.nanmean, lambda value: f"{100 * value:.0f} % on average"),
        ("Memory in use", memory, np.nanmax, lambda value: f"at most {format_bytes(value)}, all programs"),
        ("Temperature", "temperature", np.nanmax, lambda value: f"at most {value:.0f} °C"),
        ("Free on disk", "disk_free", np.nanmin, lambda value: f"at least {format_bytes(value)}"),
    )
    return [
        (title, write(summary(columns[name])))
        for title, name, summary, write in told
        if np.isfinite(columns[name]).any()
    ]


def decimate(x: np.ndarray, y: np.ndarray, limit: int = MAX_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Thin a curve out to at most `limit` points, keeping the smallest and largest value of every bin.

    Args:
        x: positions [T], ascending.
        y: values [T]; NaN where there is none. A bin without any value stays a gap.
        limit: even number of points.
    """
    if len(x) <= limit:
        return np.asarray(x, float), _finite(y)
    starts = np.linspace(0, len(x), limit // 2 + 1).astype(int)[:-1]
    lowest, highest = np.fmin.reduceat(y, starts), np.fmax.reduceat(y, starts)
    if np.isinf(lowest).any() or np.isinf(highest).any():
        y = _finite(y)
        lowest, highest = np.fmin.reduceat(y, starts), np.fmax.reduceat(y, starts)
    thin_x, thin_y = np.repeat(np.asarray(x)[starts].astype(float), 2), np.empty(2 * len(starts))
    thin_x[1::2] += np.append(np.diff(thin_x[::2]), 0) / 2
    thin_y[::2], thin_y[1::2] = lowest, highest
    return thin_x, thin_y


def _finite(values: np.ndarray) -> np.ndarray:
    """Values with NaN in place of what is no finite number."""
    return np.where(np.isfinite(values), values, np.nan).astype(float)


def column_edges(positions: np.ndarray) -> np.ndarray:
    """Borders [T + 1] of the cells around ascending positions [T]: half way to each neighbour."""
    if len(positions) == 0:
        return np.array([0.5, 1.5])
    if len(positions) == 1:
        return np.array([positions[0] - 0.5, positions[0] + 0.5])
    middle = (positions[1:] + positions[:-1]) / 2
    first, last = positions[0] - (middle[0] - positions[0]), positions[-1] + (positions[-1] - middle[-1])
    return np.concatenate([[first], middle, [last]])


def _gap(values: np.ndarray) -> float | int:
    return np.nan if values.dtype.kind == "f" else 0
