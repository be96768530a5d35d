"""What the layers page says of a stage: quantities, their history, the newest values, the table. No Qt in here.

Shapes: T measurements, n blocks or weighted layers, S probe images.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cartl_gui.run_data import RunData, column_edges
from cartl_gui.selection import Place
from cartl_gui.words import count, listed, percent, readable
from engine.config import STAGES, StageName
from engine.events import StageLayout, TableName
from engine.insight import Per

#: What stands above and below a value: a certified bound and one seen on pairs around an estimate, the spread over
#: images around a mean, or nothing.
Around = Literal["bounds", "spread", "nothing"]
#: How values and what stands around them are called: above, the value itself, below.
NAMES: dict[Around, tuple[str, str, str]] = {
    "bounds": ("upper bound, certified", "estimate", "lower bound, seen on pairs"),
    "spread": ("mean + standard deviation", "mean over the images", "mean − standard deviation"),
    "nothing": ("", "", ""),
}
#: The same in the little room of a legend.
SHORT_NAMES: dict[Around, tuple[str, str, str]] = {
    "bounds": ("upper bound", "estimate", "lower bound"),
    "spread": ("+ spread", "mean", "− spread"),
    "nothing": ("", "", ""),
}
#: The tables that hold something of each block and layer.
TABLES: tuple[TableName, ...] = ("layers", "bounds", "probe")
#: Relative excess of a bound over another that is rounding and no contradiction; the engine counts from 1e-5.
ROUNDING = 2e-5
#: Contradictions that a warning tells one by one.
MOST_TOLD = 3


@dataclass(frozen=True, slots=True)
class Quantity:
    """Something that is measured of each block or layer, again and again.

    Attributes:
        key: what it is called in code.
        title: for people.
        short: the same where there is little room.
        table: where it stands.
        block, layer, network: its column for blocks, for layers and for the whole network, without the endings _upper,
            _estimate and _lower of a band; "" where there is none.
        around: what is known beside the value.
        is_log: whether its values are best compared on a logarithmic scale.
        is_per_image: whether the table probe has it for each image, in columns of the same names.
    """

    key: str
    title: str
    short: str
    table: TableName
    block: str
    layer: str
    network: str = ""
    around: Around = "nothing"
    is_log: bool = False
    is_per_image: bool = False

    def column(self, per: Per) -> str:
        """Its column for blocks or for layers."""
        return self.block if per == "block" else self.layer

    def mapped_name(self) -> str:
        """What a heat map shows of it: of bounds the certified one."""
        return "certified bound" if self.around == "bounds" else SHORT_NAMES[self.around][1]


#: Everything that can be chosen, a row each.
QUANTITIES: tuple[Quantity, ...] = (
    Quantity("lipschitz", "Lipschitz constant, with batch norm", "Lipschitz constant", "bounds", "block", "layer", "log10",
             "bounds", is_log=True),
    Quantity("unfolded", "Operator norm of the layer alone", "Operator norm", "bounds", "", "layer_unfolded",
             around="bounds", is_log=True),
    Quantity("reshaped", "Reshaped norm, which NEFT constrains", "Reshaped norm", "layers", "spectral_norm",
             "layer_spectral_norm", is_log=True),
    Quantity("sigma", "Norm that is divided by (u, v)", "Divisor", "bounds", "", "layer_sigma", is_log=True),
    Quantity("nominal", "Bound if reshaped norms were enough", "Nominal bound", "bounds", "block_nominal", "",
             is_log=True),
    Quantity("distance", "Feature distance, normalised L2", "Distance, normalised L2", "layers", "distance",
             "layer_distance", around="spread", is_per_image=True),
    Quantity("relative", "Feature distance, relative L2", "Distance, relative L2", "layers", "relative_distance",
             "layer_relative_distance", around="spread", is_per_image=True),
    Quantity("cosine", "Cosine of clean and adversarial", "Cosine", "layers", "cosine", "layer_cosine",
             around="spread", is_per_image=True),
    Quantity("cka", "CKA of clean and adversarial", "CKA", "layers", "cka", "layer_cka"),
    Quantity("amplification", "Amplification: feature over image", "Amplification", "layers", "amplification",
             "layer_amplification", around="spread", is_per_image=True),
    Quantity("batch", "Feature distance on training images", "Distance in training", "bounds", "batch_distance", ""),
)  # fmt: skip
_BY_KEY = {quantity.key: quantity for quantity in QUANTITIES}
LIPSCHITZ, UNFOLDED, DISTANCE = (_BY_KEY[key] for key in ("lipschitz", "unfolded", "distance"))


def quantity_of(column: str) -> Quantity | None:
    """The quantity that a column of a table belongs to, None for one that is none."""
    stem = column
    for ending in ("_upper", "_estimate", "_lower", "_errors"):
        stem = stem.removesuffix(ending)
    return next(
        (found for found in QUANTITIES if stem in {found.block, found.layer, found.network} - {""}), None
    )


@dataclass(frozen=True, slots=True)
class Source:
    """A stage of a run as it was when asked for; equal to another only if nothing changed in between."""

    data: RunData
    stage: StageName
    state: str
    version: tuple[int, ...]

    @classmethod
    def of(cls, data: RunData, stage: StageName) -> Source:
        """A stage as it is now."""
        return cls(data, stage, data.info.state, data.version_of(stage, TABLES))

    @property
    def layout(self) -> StageLayout | None:
        """The stage's layout, if it has begun."""
        return self.data.layouts.get(self.stage)


@dataclass(frozen=True, slots=True)
class Question:
    """What the plots of the page show, beside the run itself.

    Attributes:
        quantity: of what.
        per: of blocks or of layers.
        place: which of them is selected.
        sample: which probe image is selected.
        other: a run to compare with.
        as_difference: whether the map shows the difference to it, and not each run for itself.
    """

    quantity: Quantity = LIPSCHITZ
    per: Per = "layer"
    place: Place | None = None
    sample: int | None = None
    other: Source | None = None
    as_difference: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """A quantity at each measurement: epoch and step [T]; value and what stands above and below it [T, n].

    Unknown values are NaN.
    """

    epoch: np.ndarray
    step: np.ndarray
    value: np.ndarray
    above: np.ndarray
    below: np.ndarray

    def is_known(self) -> bool:
        """Whether there is any number in it."""
        return bool(np.isfinite(self.value).any() or np.isfinite(self.above).any())

    def mapped(self, quantity: Quantity) -> np.ndarray:
        """[T, n] what a heat map shows of it."""
        return self.above if quantity.around == "bounds" else self.value

    def only(self, index: int) -> History:
        """One block or layer of it, [T, 1]."""
        part = slice(index, index + 1)
        return History(self.epoch, self.step, self.value[:, part], self.above[:, part], self.below[:, part])


NOTHING = History(*(np.empty(0) for _ in range(2)), *(np.empty((0, 0)) for _ in range(3)))


def history(source: Source, quantity: Quantity, per: Per | None) -> History:
    """A quantity over time, of all blocks or all layers, or of the whole network where `per` is None."""
    column = quantity.network if per is None else quantity.column(per)
    columns = source.data.columns(source.stage, quantity.table)
    name = f"{column}_estimate" if quantity.around == "bounds" else column
    if not column or name not in columns:
        return NOTHING
    epoch, step = columns["epoch"].astype(float), columns["step"].astype(int)

    def values(found: str) -> np.ndarray:
        raw = columns.get(found)
        array = np.full(columns[name].shape, np.nan) if raw is None else raw.astype(float)
        return np.where(np.isfinite(array), array, np.nan).reshape(len(epoch), -1)

    value = values(name)
    if quantity.around == "bounds":
        return History(epoch, step, value, values(f"{column}_upper"), values(f"{column}_lower"))
    spread = values(f"{column}_errors") if quantity.around == "spread" else np.full_like(value, np.nan)
    return History(epoch, step, value, value + spread, value - spread)


def newest(
    source: Source, quantity: Quantity, per: Per, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Value, above and below of the last measurement, [n] each; of an attack, over its probe images.

    Args:
        count: n, for what was never measured.
    """
    found = history(source, quantity, per)
    rows = np.flatnonzero(np.isfinite(found.value).any(1))
    if len(rows) and found.value.shape[1] == count:
        last = int(rows[-1])
        return found.value[last], found.above[last], found.below[last]
    images = source.data.columns(source.stage, "probe").get(quantity.column(per))
    if (
        quantity.is_per_image
        and images is not None
        and images.shape[1] == count
        and np.isfinite(images).all()
    ):
        mean, spread = images.mean(0, float), images.std(0, float)
        return mean, mean + spread, mean - spread
    unknown = np.full(count, np.nan)
    return unknown, unknown, unknown


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """A quantity of one block or layer for each probe image: sample, value and whether it was flipped, [S] each."""

    quantity: Quantity
    sample: np.ndarray
    value: np.ndarray
    flipped: np.ndarray


NO_IMAGES = Images(DISTANCE, np.empty(0, int), np.empty(0), np.empty(0, bool))


def images(source: Source, question: Question) -> Images:
    """What the selected place does to each probe image: the quantity asked for, the distance if it knows no images."""
    quantity, place = per_image(question.quantity), question.place
    columns = source.data.columns(source.stage, "probe")
    values = columns.get(quantity.column(place.per)) if place is not None else None
    if place is None or values is None or place.index >= values.shape[1]:
        return NO_IMAGES
    flipped = columns["adversarial_prediction"] != columns["clean_prediction"]
    return Images(quantity, columns["sample"], values[:, place.index].astype(float), flipped)


def per_image(quantity: Quantity) -> Quantity:
    """The quantity itself if it is known of each probe image, else the normalised feature distance."""
    return quantity if quantity.is_per_image else DISTANCE


# names ------------------------------------------------------------------------------------------------------
def names(layout: StageLayout | None, per: Per) -> tuple[str, ...]:
    """The blocks or weighted layers, from the input."""
    if layout is None:
        return ()
    return layout.block_names if per == "block" else layout.layer_names


def partners(own: Sequence[str], others: Sequence[str]) -> list[int | None]:
    """For each name where it stands among others, None if nowhere; the second of a name is the other's second."""
    return [
        next(iter([at for at, other in enumerate(others) if other == name][own[:place].count(name) :]), None)
        for place, name in enumerate(own)
    ]


def partner(place: Place | None, source: Source, other: Source) -> Place | None:
    """The block or layer of another run that has the name of a place, None if none has."""
    if place is None:
        return None
    found = partners(names(source.layout, place.per), names(other.layout, place.per))
    index = found[place.index] if place.index < len(found) else None
    return None if index is None else Place(place.per, index)


def frozen_rows(layout: StageLayout | None, per: Per) -> int:
    """How many blocks or layers, from the input, lie before the frozen boundary; 0 where there is none."""
    if layout is None or not layout.boundary:
        return 0
    if per == "block":
        return layout.boundary
    return int(np.sum(np.asarray(layout.layer_blocks) <= layout.boundary))


def place_title(layout: StageLayout | None, place: Place) -> str:
    """A place for people: "block 3 (2.1)", "layer 1 (stem)"."""
    found = names(layout, place.per)
    name = f" ({found[place.index]})" if place.index < len(found) else ""
    return f"{place.per} {place.index + 1}{name}"


def place_heading(layout: StageLayout | None, place: Place) -> str:
    """A place as the title of a plot: "Block 3, 2.1", "Layer 1, stem"."""
    found = names(layout, place.per)
    name = f", {found[place.index]}" if place.index < len(found) else ""
    return f"{place.per.capitalize()} {place.index + 1}{name}"


def is_frozen(layout: StageLayout, place: Place) -> bool | None:
    """Whether a stage leaves a place as it was; None for an attack, which trains nothing."""
    if layout.stage == "attack":
        return None
    return layout.stage == "finetuning" and place.index < frozen_rows(layout, place.per)


def other_per(layout: StageLayout | None, place: Place | None, per: Per) -> Place | None:
    """The place that stands for another one in the other list: a layer's block, or a block's first layer."""
    if place is None or layout is None or place.per == per:
        return place
    if per == "block":
        number = layout.layer_blocks[place.index] if place.index < len(layout.layer_blocks) else 0
        return Place("block", number - 1) if number else None
    inside = [index for index, number in enumerate(layout.layer_blocks) if number == place.index + 1]
    return Place("layer", inside[0]) if inside else None


# the table --------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Row:
    """One block or layer with its newest numbers; NaN where one is unknown.

    Attributes:
        place: which.
        name, kind, shape: for people; empty where a run does not tell.
        parameters: number of weights and biases; None if the run does not tell.
        frozen: whether the stage leaves it as it was.
        upper, estimate, lower: the band of `band_of`.
        reshaped: of a layer the norm of its reshaped weight, of a block the bound if such norms held.
        distance: mean over the probe images of `per_image`.
        contradicts: whether its band is no band.
    """

    place: Place
    name: str
    kind: str
    shape: str
    parameters: int | None
    frozen: bool | None
    upper: float
    estimate: float
    lower: float
    reshaped: float
    distance: float
    contradicts: bool


def band_of(quantity: Quantity) -> Quantity:
    """The band that the table shows beside a quantity."""
    return quantity if quantity.around == "bounds" else LIPSCHITZ


def rows(source: Source, quantity: Quantity, per: Per) -> list[Row]:
    """The table of all blocks or layers, from the input."""
    layout = source.layout
    if layout is None:
        return []
    titles = names(layout, per)
    estimate, upper, lower = newest(source, band_of(quantity), per, len(titles))
    reshaped = newest(source, _BY_KEY["nominal" if per == "block" else "reshaped"], per, len(titles))[0]
    distance = newest(source, per_image(quantity), per, len(titles))[0]
    contradict = _contradict(upper, estimate, lower)
    found = []
    for index, name in enumerate(titles):
        place = Place(per, index)
        kind, shape, parameters = _facts(layout, place)
        band = (float(upper[index]), float(estimate[index]), float(lower[index]))
        found.append(
            Row(
                place, name, kind, shape, parameters, is_frozen(layout, place), *band, float(reshaped[index]),
                float(distance[index]), bool(contradict[index]),
            )
        )  # fmt: skip
    return found


def _facts(layout: StageLayout, place: Place) -> tuple[str, str, int | None]:
    """Kind, shape and parameters; of a block how many layers it has and what they have together."""
    if place.per == "layer":
        if not layout.layer_kinds:
            return "", "", None
        index = place.index
        return layout.layer_kinds[index], layout.layer_shapes[index], layout.layer_parameters[index]
    inside = [index for index, number in enumerate(layout.layer_blocks) if number == place.index + 1]
    parameters = [layout.layer_parameters[index] for index in inside if layout.layer_parameters]
    kinds = list(dict.fromkeys(layout.layer_kinds[index] for index in inside if layout.layer_kinds))
    shape = count(len(inside), "layer") if inside else "no weighted layer"
    return listed(kinds), shape, sum(parameters) if parameters else None


#: Columns of the table as it is written to a file: name and attribute of a row.
_WRITTEN = (
    ("name", "name"), ("kind", "kind"), ("shape", "shape"), ("parameters", "parameters"), ("frozen", "frozen"),
    ("upper_bound", "upper"), ("estimate", "estimate"), ("lower_bound", "lower"), ("reshaped", "reshaped"),
    ("distance", "distance"),
)  # fmt: skip


def table_text(table: Sequence[Row], quantity: Quantity, per: Per, *, delimiter: str = ",") -> str:
    """The table with all digits, for a file or the clipboard; unknown values are empty.

    The titles say which quantity band and distance are of.
    """
    titles = {
        "upper_bound": f"{band_of(quantity).key}_upper_bound",
        "estimate": f"{band_of(quantity).key}_estimate",
        "lower_bound": f"{band_of(quantity).key}_lower_bound",
        "reshaped": "nominal_bound" if per == "block" else "reshaped_norm",
        "distance": per_image(quantity).column(per),
    }
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow([per, *(titles.get(name, name) for name, _ in _WRITTEN)])
    for row in table:
        writer.writerow([row.place.index + 1, *(_plain(getattr(row, name)) for _, name in _WRITTEN)])
    return text.getvalue()


def _plain(value: object) -> object:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


# contradictions ---------------------------------------------------------------------------------------------
def contradictions(source: Source) -> str:
    """A sentence about bounds that contradict each other, with names and numbers; "" if none does."""
    columns, layout = source.data.columns(source.stage, "bounds"), source.layout
    if layout is None or "violations" not in columns:
        return ""
    told: list[str] = []
    for quantity in (LIPSCHITZ, UNFOLDED):
        for per in ("block", "layer"):
            told += _told(history(source, quantity, per), layout, per, quantity)
    told += _told(history(source, LIPSCHITZ, None), layout, None, LIPSCHITZ)
    violations = int(columns["violations"].max())
    if not told and not violations:
        return ""
    if not told:
        step = int(columns["step"][columns["violations"].argmax()])
        return f"{count(violations, 'bound')} contradicted another at step {step:,}. Do not rely on these numbers."
    more = f"; {len(told) - MOST_TOLD} more" if len(told) > MOST_TOLD else ""
    return f"Bounds contradict each other: {'; '.join(told[:MOST_TOLD])}{more}. Do not rely on these numbers."


def _told(found: History, layout: StageLayout, per: Per | None, quantity: Quantity) -> list[str]:
    """For each place of a history that contradicts itself, when and how it last did."""
    if not len(found.epoch):
        return []
    bad = _contradict(found.above, found.value, found.below, powers=per is None)
    told = []
    for index in np.flatnonzero(bad.any(0)):
        row = int(np.flatnonzero(bad[:, index])[-1])
        upper, estimate, lower = (
            readable(float(values[row, index])) for values in (found.above, found.value, found.below)
        )
        place = "log10 of the whole network" if per is None else place_title(layout, Place(per, int(index)))
        alone = " alone" if quantity is UNFOLDED else ""
        told.append(
            f"{place}{alone}, step {found.step[row]:,}: upper bound {upper}, estimate {estimate}, lower bound {lower}"
        )
    return told


def _contradict(
    upper: np.ndarray, estimate: np.ndarray, lower: np.ndarray, *, powers: bool = False
) -> np.ndarray:
    """Whether upper >= estimate >= lower fails by more than rounding, [...]; unknown values contradict nothing.

    Args:
        powers: the values are logarithms to base 10.
    """
    highest = upper + math.log10(1 + ROUNDING) if powers else upper * (1 + ROUNDING)
    middle = estimate + math.log10(1 + ROUNDING) if powers else estimate * (1 + ROUNDING)
    found: np.ndarray = (estimate > highest) | (lower > highest) | (lower > middle)
    return found


# comparing --------------------------------------------------------------------------------------------------
def compared(
    first: Source, second: Source, question: Question, *, as_ratio: bool
) -> tuple[History, tuple[str, ...]]:
    """A history whose values are those of one run less those of another, [T, n], at the times of the first.

    Each measurement is compared with the nearest in epochs of the other run; a run that was measured once is compared
    with every one, or with the last.

    Args:
        as_ratio: subtract logarithms to base 10, so that +1 says ten times as much.

    Returns:
        The differences, NaN where there is no such measurement or no block or layer of the same name; and the names
        of the first run that the second does not have.
    """
    mine, theirs = (history(source, question.quantity, question.per) for source in (first, second))
    own_names, other_names = (names(source.layout, question.per) for source in (first, second))
    columns = partners(own_names, other_names)
    missing = tuple(name for name, column in zip(own_names, columns, strict=True) if column is None)
    if not len(mine.epoch) or not len(theirs.epoch):
        return NOTHING, missing
    values, others = mine.mapped(question.quantity), theirs.mapped(question.quantity)
    if as_ratio:
        values, others = (
            np.log10(found, where=found > 0, out=np.full(found.shape, np.nan)) for found in (values, others)
        )
    matched = np.full(values.shape, np.nan)
    for row, moment in enumerate(_moments(mine.epoch, theirs.epoch)):
        if moment is not None:
            matched[row] = [np.nan if column is None else others[moment, column] for column in columns]
    difference = values - matched
    unknown = np.full(difference.shape, np.nan)
    return History(mine.epoch, mine.step, difference, unknown, unknown), missing


def _moments(epochs: np.ndarray, others: np.ndarray) -> list[int | None]:
    """For each epoch the row of the nearest among others, None beyond their ends."""
    if len(others) == 1:
        return [0] * len(epochs)
    if len(epochs) == 1:
        return [len(others) - 1]
    edges = column_edges(others)
    return [
        int(np.argmin(np.abs(others - epoch))) if edges[0] <= epoch <= edges[-1] else None for epoch in epochs
    ]


# sentences --------------------------------------------------------------------------------------------------
def pace(source: Source) -> str:
    """How often bounds are measured and what it costs: "bounds every 40 steps, with distances 0.7 % of the time"; "" if never."""
    columns = source.data.columns(source.stage, "bounds")
    if not columns:
        return ""
    interval, share = float(columns["interval"][-1]), float(columns["live_share"][-1])
    if source.data.is_inspection:
        return ""
    if not interval > 0 or len(columns["step"]) == 1:
        return "bounds measured once"
    cost = f", with distances {percent(share)} of the time" if math.isfinite(share) else ""
    return f"bounds every {interval:,.0f} steps{cost}"


def has_layers(source: Source) -> bool:
    """Whether anything is known of the blocks and layers of a stage."""
    return any(source.data.columns(source.stage, table) for table in TABLES)


def stages_of(data: RunData) -> tuple[StageName, ...]:
    """Stages whose blocks and layers are named, in order; also of a file, which has no stages of its own."""
    return tuple(stage for stage in STAGES if names(data.layouts.get(stage), "layer"))


def stage_like(data: RunData, wanted: StageName) -> StageName:
    """The stage of a run to compare with another run's: the same if it has it, else its last."""
    stages = stages_of(data)
    training: list[StageName] = [stage for stage in stages if stage != "attack"]
    return wanted if wanted in stages or not stages else (training or list(stages))[-1]


def nothing_text(source: Source, quantity: Quantity) -> str:
    """Why a quantity has no history."""
    if source.stage == "attack":
        return "An attack looks once, after training: there is no history. The table shows its distances."
    if source.data.info.state in ("created", "running"):
        return f"{quantity.title}: appears here after the first measurement."
    advice = "; “Analyse fully” measures it now" if quantity.table == "bounds" else ""
    return f"{quantity.title}: not measured in this stage{advice}."
