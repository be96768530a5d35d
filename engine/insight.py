"""A plain summary of one stage: sentences made from its numbers, each linked to what it speaks of.

A rule is a function that gives one sentence or none; `RULES` holds them, the most important first. A rule says nothing
where the numbers do not support it: too few images, unknown values, differences within their spread. Certified upper
bounds, estimates and what was seen on pairs of images are called just that. Loads neither torch nor h5py.

Shapes: T rows of a table, S probe images, N blocks, L weighted layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from engine.config import RunConfig
from engine.events import Columns, StageLayout, TableName
from engine.statistics import estimate
from engine.wording import percent, significant

#: At most so many sentences.
MOST = 6
#: Means over fewer images, and tests between fewer, say nothing.
FEWEST = 10
#: Bounds are exact figures, but a change or difference by a smaller factor than this is not worth a sentence.
FACTOR = 1.1
#: CKA has no spread: so far must the lowest lie below the median of the others.
CKA_GAP = 0.1
#: Standard deviations beyond which a rank test is no chance.
CLEAR = 3.0


Per = Literal["block", "layer"]
_PER: tuple[Per, ...] = ("block", "layer")


@dataclass(frozen=True, slots=True)
class Place:
    """A block or a weighted layer; `index` counts from 0 in the order of the run's columns."""

    per: Per
    index: int


@dataclass(frozen=True, slots=True)
class Insight:
    """One sentence of a summary.

    Attributes:
        code: what kind it is, such as "distance_growth"; the same in every language.
        text: the sentence, with its numbers.
        quantity: the column that it speaks of, such as "block_upper", "relative_distance" or "cka".
        place: the block or layer that it speaks of; None if that is the whole network.
    """

    code: str
    text: str
    quantity: str
    place: Place | None = None


def insights(
    layout: StageLayout, tables: Mapping[TableName, Columns], config: RunConfig | None = None
) -> tuple[Insight, ...]:
    """What the newest numbers of a stage tell, the most important first; at most `MOST` sentences.

    Args:
        layout: the stage.
        tables: its tables as far as they are filled; of these layers, bounds and probe are read.
        config: settings of the run, if known: they name beta.
    """
    stage = _Stage(layout, tables, config)
    return tuple(found for rule in RULES if (found := rule(stage)) is not None)[:MOST]


class _Stage:
    """The numbers of a stage, as rules ask for them."""

    def __init__(
        self, layout: StageLayout, tables: Mapping[TableName, Columns], config: RunConfig | None
    ) -> None:
        self.layout, self.config = layout, config
        self.num_blocks = len(layout.block_names)
        #: Number of frozen blocks, 0 where all are trained.
        self.frozen = (layout.boundary or 0) if layout.stage == "finetuning" else 0
        self._tables = tables
        #: [S, N] relative feature distance of each probe image; [S] whether the attack changes its class.
        self.distances, self.flipped = self._images()

    def column(self, table: TableName, name: str) -> np.ndarray:
        """[T, ...] a whole column; [T] NaN if it is not there."""
        columns = self._tables.get(table, {})
        rows = len(next(iter(columns.values()), ()))
        return np.asarray(columns.get(name, np.full(rows, np.nan)), np.float64)

    def last(self, table: TableName, name: str) -> np.ndarray:
        """[1], [N] or [L] the newest row of a column; [1] NaN if there is none."""
        rows = self.column(table, name)
        return np.atleast_1d(rows[-1]) if len(rows) else np.full(1, np.nan)

    def called(self, place: Place) -> str:
        """A block by its number from 1, a layer by its name."""
        return (
            f"block {place.index + 1}"
            if place.per == "block"
            else f"layer {self.layout.layer_names[place.index]}"
        )

    def _images(self) -> tuple[np.ndarray, np.ndarray]:
        distances = self.column("probe", "relative_distance")
        if distances.ndim != 2:
            return np.empty((0, self.num_blocks)), np.empty(0, bool)
        flipped = self.column("probe", "adversarial_prediction") != self.column("probe", "clean_prediction")
        known = np.isfinite(distances).all(1)
        return distances[known], flipped[known]


def _contradiction(stage: _Stage) -> Insight | None:
    counts, steps = stage.column("bounds", "violations"), stage.column("bounds", "step")
    rows = np.flatnonzero(counts > 0)
    if not len(rows):
        return None
    return Insight(
        "contradiction",
        f"Warning: in {len(rows)} of {_count(len(counts), 'measurement')} a lower bound lies above its upper bound, "
        f"last at step {steps[rows[-1]]:.0f}; do not rely on these bounds.",
        "violations",
    )


def _batch_norm(stage: _Stage) -> Insight | None:
    constrained = np.isfinite(stage.last("bounds", "layer_sigma"))
    alone, folded = (stage.last("bounds", name) for name in ("layer_unfolded_estimate", "layer_estimate"))
    known = constrained & np.isfinite(alone) & np.isfinite(folded) & (alone > 0)
    gain = np.divide(folded, alone, out=np.zeros(known.shape), where=known)
    raised = int((gain > FACTOR).sum())
    if not raised:
        return None
    place = Place("layer", int(gain.argmax()))
    return Insight(
        "batch_norm",
        f"Batch norm works against spectral normalisation in {raised} of {_count(known.sum(), 'layer')}, most in "
        f"{stage.called(place)}: operator norm {significant(alone[place.index])} alone, "
        f"{significant(folded[place.index])} with batch norm (estimates).",
        "layer_estimate",
        place,
    )


def _reshaped_norm(stage: _Stage) -> Insight | None:
    constrained = np.isfinite(stage.last("bounds", "layer_sigma"))
    reshaped, operator = (
        stage.last("bounds", name) for name in ("layer_reshaped", "layer_unfolded_estimate")
    )
    known = constrained & np.isfinite(reshaped) & np.isfinite(operator)
    if not known.any():
        return None
    held = reshaped[known].max()
    index = int(np.where(known, operator, -np.inf).argmax())
    if operator[index] <= FACTOR * held:
        return None
    settings = stage.config.finetuning if stage.config else None
    bound = settings.notation().get("beta") if settings else None
    return Insight(
        "reshaped_norm",
        f"Spectral normalisation holds reshaped norms at {significant(held)} or less"
        + (f" (beta = {bound})" if bound else "")
        + f"; the operator norms of the same layers reach {significant(operator[index])} (estimate).",
        "layer_unfolded_estimate",
        Place("layer", index),
    )


def _distance_growth(stage: _Stage) -> Insight | None:
    """Blocks around the steepest in which the mean distance grows at least half as fast, in powers."""
    means = stage.distances.mean(0) if len(stage.distances) >= FEWEST else np.zeros(1)
    if len(means) < 3 or not (means > 0).all():
        return None
    growth = np.diff(np.log(means))
    steepest = int(growth.argmax())
    fast = growth >= growth[steepest] / 2
    before, after = steepest, steepest + 1
    while before > 0 and fast[before - 1]:
        before -= 1
    while after < len(growth) and fast[after]:
        after += 1
    grows = growth[steepest] > 0 and _differ(stage.distances[:, before], stage.distances[:, after])
    if fast.all() or not grows:
        return None
    blocks = _blocks(before + 1, after + 1)
    return Insight(
        "distance_growth",
        f"The relative feature distance grows fastest in {blocks}: from {significant(means[before])} to "
        f"{significant(means[after])} (means of {len(stage.distances)} images).",
        "relative_distance",
        Place("block", steepest + 1),
    )


def _largest_bound(stage: _Stage) -> Insight | None:
    for per in _PER:
        upper, lower = (stage.last("bounds", f"{per}_{kind}") for kind in ("upper", "lower"))
        if len(upper) < 2 or not (np.isfinite(upper) & (lower <= upper)).all():
            continue
        place = Place(per, int(upper.argmax()))
        most, seen = upper[place.index], lower[place.index]
        name = stage.called(place)
        text = (
            f"{name[0].upper()}{name[1:]} amplifies most: between {significant(seen)} (seen on pairs) and "
            f"{significant(most)} (certified bound)."
            if seen > np.delete(upper, place.index).max()
            else f"The certified bound is largest in {name}: {significant(most)}, of which {significant(seen)} is "
            "seen on pairs."
        )
        return Insight("largest_bound", text, f"{per}_upper", place)
    return None


def _head_bound(stage: _Stage) -> Insight | None:
    upper, steps = stage.column("bounds", "block_upper"), stage.column("bounds", "step")
    if upper.ndim != 2:
        return None
    trained = upper[:, stage.frozen :]
    rows = np.flatnonzero((np.isfinite(trained) & (trained > 0)).all(1))
    if len(rows) < 2:
        return None
    logs = np.log10(trained[rows]).sum(1)
    if abs(logs[-1] - logs[0]) < math.log10(FACTOR):
        return None
    what = (
        f"The certified bound of the head ({_blocks(stage.frozen, stage.num_blocks)}, trained)"
        if stage.frozen
        else "The product of the blocks' certified bounds"
    )
    verb = "fell" if logs[-1] < logs[0] else "rose"
    return Insight(
        "head_bound",
        f"{what} {verb} from {_power(logs[0])} to {_power(logs[-1])} since step {steps[rows[0]]:.0f}.",
        "block_upper",
        Place("block", stage.frozen) if stage.frozen else None,
    )


def _flipped(stage: _Stage) -> Insight | None:
    """Compared where the trained part begins, else where the classifier does."""
    number = stage.frozen or stage.num_blocks - 1
    flipped = stage.flipped
    if not 0 < number <= stage.num_blocks or min(flipped.sum(), (~flipped).sum()) < FEWEST:
        return None
    further, other = (stage.distances[chosen, number - 1] for chosen in (flipped, ~flipped))
    share, deviations = rank_test(further, other)
    if abs(deviations) < CLEAR:
        return None
    word, share = ("further", share) if deviations > 0 else ("less", 1 - share)
    return Insight(
        "flipped",
        f"The {len(further)} images that flip drift {word} than the {len(other)} that do not: mean relative distance "
        f"{significant(further.mean())} against {significant(other.mean())} in block {number}, {word} in "
        f"{percent(share)} % of pairs (rank test, z = {deviations:.1f}).",
        "relative_distance",
        Place("block", number - 1),
    )


def _boundary(stage: _Stage) -> Insight | None:
    if not 0 < stage.frozen < stage.num_blocks or len(stage.distances) < FEWEST:
        return None
    before, after = stage.distances[:, stage.frozen - 1], stage.distances[:, -1]
    if not _differ(before, after):
        return None
    return Insight(
        "boundary",
        f"From the frozen boundary (block {stage.frozen}) to the logits the relative distance "
        f"{'grows' if after.mean() > before.mean() else 'shrinks'} from {significant(before.mean())} to "
        f"{significant(after.mean())} (means of {len(before)} images).",
        "relative_distance",
        Place("block", stage.frozen - 1),
    )


def _network_bound(stage: _Stage) -> Insight | None:
    upper, lower = (float(stage.last("bounds", f"log10_{kind}")[0]) for kind in ("upper", "lower"))
    if not (math.isfinite(upper) and math.isfinite(lower) and lower <= upper):
        return None
    return Insight(
        "network_bound",
        f"log10 of the network's Lipschitz constant lies between {significant(lower)} (largest expansion seen on pairs) "
        f"and {significant(upper)} (certified bound); such products are loose, use them for trends.",
        "log10_upper",
    )


def _cka(stage: _Stage) -> Insight | None:
    found = stage.last("layers", "cka")
    known = np.flatnonzero(np.isfinite(found))
    if len(known) < 3 or len(stage.distances) < FEWEST:
        return None
    lowest = int(known[found[known].argmin()])
    others = float(np.median(found[known[known != lowest]]))
    if others - found[lowest] < CKA_GAP:
        return None
    return Insight(
        "cka",
        f"Clean and adversarial features are least alike in block {lowest + 1}: CKA {significant(found[lowest])}, "
        f"against {significant(others)} in the median of the other blocks.",
        "cka",
        Place("block", lowest),
    )


def _live_share(stage: _Stage) -> Insight | None:
    share = float(stage.last("bounds", "live_share")[0])
    rows = len(stage.column("bounds", "live_share"))
    if not 0 < share < 1:
        return None
    return Insight(
        "live_share",
        f"Distances and bounds took {significant(100 * share)} % of the training time; bounds were measured "
        f"{_count(rows, 'time')}.",
        "live_share",
    )


#: The rules, the most important first.
RULES: tuple[Callable[[_Stage], Insight | None], ...] = (
    _contradiction,
    _batch_norm,
    _reshaped_norm,
    _distance_growth,
    _largest_bound,
    _head_bound,
    _flipped,
    _boundary,
    _network_bound,
    _cka,
    _live_share,
)


def rank_test(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """How often values of one sample exceed those of another, whatever their distribution.

    Args:
        first, second: the samples.

    Returns:
        The share of pairs in which the value of `first` is the larger one (ties count half), and how many standard
        deviations that is from one half; ties, which make it more certain, are not allowed for.

    Source: Mann & Whitney, Annals of Mathematical Statistics 1947.
    """
    share = float((1 + np.sign(first[:, None] - second).mean()) / 2)
    deviation = math.sqrt((len(first) + len(second) + 1) / (12 * len(first) * len(second)))
    return share, (share - 0.5) / deviation


def _differ(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether the means of two values per image differ: the 95 % interval of the difference leaves out 0."""
    found = estimate([float(value) for value in after - before])
    return found.low > 0 or found.high < 0


def _blocks(before: int, last: int) -> str:
    """The blocks after number `before`, up to and with number `last`."""
    return f"block {last}" if last == before + 1 else f"blocks {before + 1} to {last}"


def _power(exponent: float) -> str:
    """A power of ten: as a number while that is short."""
    return significant(10.0**exponent) if abs(exponent) < 5 else f"10^{significant(exponent)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
