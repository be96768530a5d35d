"""Epochs, optimiser steps and computing time of a stage: how they belong together on time axes. No Qt in here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from cartl_gui.run_data import RunData
from engine.config import StageName
from engine.events import Columns, TableName

TimeAxis = Literal["epoch", "step", "time"]
#: Tables beside that of the epochs that tell how far a stage has come.
_TABLES: tuple[TableName, ...] = ("steps", "layers", "bounds")
TIME_AXES: tuple[TimeAxis, ...] = ("epoch", "step", "time")
#: What each is called below a plot, and as a column of numbers.
AXIS_TITLES: dict[TimeAxis, str] = {"epoch": "epoch", "step": "optimiser step", "time": "computing time"}
COLUMN_TITLES: dict[TimeAxis, str] = {"epoch": "epoch", "step": "step", "time": "computing time (s)"}
#: Seconds from which computing time is written in a unit: its name, and how many seconds it has.
_UNITS = ((2 * 3600, "h", 3600), (180, "min", 60), (0, "s", 1))


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """The course of one stage of a run.

    Attributes:
        epoch: ends of epochs, after a 0 at the beginning, [E + 1].
        seconds: of computing until then, [E + 1].
        steps_per_epoch: optimiser steps; 0 while nothing is known.
        epochs: how many are planned, or were made if those are more.
    """

    epoch: np.ndarray
    seconds: np.ndarray
    steps_per_epoch: float
    epochs: float

    @classmethod
    def of(cls, data: RunData, stage: StageName) -> Timeline:
        """A stage as its tables tell it so far."""
        layout, columns = data.layouts.get(stage), data.columns(stage, "epochs")
        epoch = np.append(0.0, columns.get("epoch", np.empty(0)))
        seconds = np.append(0.0, columns.get("seconds", np.full(len(epoch) - 1, np.nan)))
        known = np.isfinite(seconds)
        per_epoch = float(layout.steps_per_epoch) if layout is not None else 0.0
        if not per_epoch and len(epoch) > 1:
            per_epoch = float(columns["step"][-1] / epoch[-1])
        reached = [float(epoch[-1])]
        reached += [float(rows["epoch"][-1]) for table in _TABLES if (rows := data.columns(stage, table))]
        planned = float(layout.epochs) if layout is not None else 1.0
        made = float(np.ceil(max(reached)))
        return cls(epoch[known], np.maximum.accumulate(seconds[known]), per_epoch, max(planned, made))

    def knows(self, axis: TimeAxis) -> bool:
        """Whether anything can be placed on an axis yet: computing time is told at the end of each epoch."""
        return {"epoch": True, "step": self.steps_per_epoch > 0, "time": len(self.epoch) > 1}[axis]

    def place(self, epoch: np.ndarray | float, axis: TimeAxis) -> np.ndarray:
        """Where epochs lie on an axis; after the last that has ended time goes on at its pace. NaN if not known."""
        at = np.asarray(epoch, float)
        if axis == "epoch":
            return at
        if not self.knows(axis):
            return np.full(at.shape, np.nan)
        return at * self.steps_per_epoch if axis == "step" else _bent(at, self.epoch, self.seconds)

    def epoch_at(self, position: float, axis: TimeAxis) -> float:
        """The epoch at a place of an axis; NaN if not known."""
        if axis == "epoch":
            return position
        if not self.knows(axis):
            return float("nan")
        if axis == "step":
            return position / self.steps_per_epoch
        return float(_bent(np.asarray(position, float), self.seconds, self.epoch))

    def positions(self, columns: Columns, axis: TimeAxis) -> np.ndarray:
        """Where the rows of a table with the columns epoch and step lie on an axis, [T]."""
        if "epoch" not in columns:
            return np.empty(0)
        return columns["step"].astype(float) if axis == "step" else self.place(columns["epoch"], axis)

    def end(self, axis: TimeAxis) -> float:
        """Where the stage will end on an axis; NaN if not known."""
        return float(self.place(self.epochs, axis))


def tell(position: float, axis: TimeAxis) -> str:
    """A place of an axis in words: "epoch 3", "step 1,200", "2.5 min"."""
    if axis == "epoch":
        return f"epoch {position:.4g}"
    if axis == "step":
        return f"step {max(0, round(position)):,}"
    unit, length = unit_of(position)
    return f"{position / length:.3g} {unit}"


def unit_of(seconds: float) -> tuple[str, float]:
    """The unit in which an axis of computing time up to so many seconds is written, and how many seconds it has."""
    return next((unit, length) for least, unit, length in _UNITS if seconds >= least or not least)


def _bent(at: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Straight lines through points, the last of them going on; `x` ascends."""
    inside = np.interp(at, x, y)
    run = x[-1] - x[-2]
    pace = (y[-1] - y[-2]) / run if run > 0 else 0.0
    return np.where(at > x[-1], y[-1] + (at - x[-1]) * pace, inside)
