"""What the examples page says about the images of a stage: order, labels, distances, radii. No Qt in here.

Shapes: M images of the gallery, P probe images, N blocks or weighted layers, H W image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cartl_gui import words
from cartl_gui.attack_view import epsilon_text
from cartl_gui.run_data import RunData
from cartl_gui.selection import Place
from engine.config import NORM_TITLES, DataConfig, StageName, parse_ratio
from engine.events import Columns, ExamplesAttacked, RunInfo, StageLayout

Filter = Literal["all", "flipped", "kept"]
Sort = Literal["number", "distance", "confidence"]
Measure = Literal["distance", "relative_distance", "cosine", "amplification"]
Per = Literal["block", "layer"]
#: How an image came off: its prediction was kept and right, kept but wrong from the start, or flipped.
Verdict = Literal["kept", "kept, wrong", "flipped"]

FILTERS: dict[Filter, str] = {"all": "All images", "flipped": "Flipped only", "kept": "Kept only"}
MEASURES: dict[Measure, str] = {
    "distance": "Normalised L2",
    "relative_distance": "Relative L2",
    "cosine": "Cosine",
    "amplification": "Amplification",
}
AXES: dict[Measure, str] = {
    "distance": "distance (normalised L2)",
    "relative_distance": "distance (relative L2)",
    "cosine": "cosine, clean to adversarial",
    "amplification": "feature over image distance (L2)",
}
#: How a radius that is no number n/255 is stepped through: parts of the recorded one.
_STEPS = 10


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """The images of a stage and the distances behind them; images and probe are joined by `sample`.

    Attributes:
        run: whose images they are.
        layout: of the stage.
        examples: the table of this name, [M]; empty where no images are kept.
        probe: the table of this name, [P]; empty where no distances per image are kept.
        attack: what made the adversarial images.
        is_recorded: whether the run itself made them.
    """

    run: RunInfo
    layout: StageLayout
    examples: Columns
    probe: Columns
    attack: str
    is_recorded: bool = True

    def __len__(self) -> int:
        return len(self.examples.get("sample", ()))

    @property
    def flipped(self) -> np.ndarray:
        """[M] whether the attack changed the prediction."""
        return self.examples["adversarial_prediction"] != self.examples["clean_prediction"]

    def row_of(self, sample: int | None) -> int | None:
        """The row of an image, None if its picture is not there."""
        return _row(self.examples, sample)

    def class_title(self, number: int) -> str:
        """Name of a class, its number where it has none."""
        names = self.layout.class_names
        return names[number] if 0 <= number < len(names) else str(number)

    def names(self, per: Per) -> tuple[str, ...]:
        """The blocks or weighted layers, from the input."""
        return self.layout.block_names if per == "block" else self.layout.layer_names


def gallery_of(data: RunData, stage: StageName, attacked: ExamplesAttacked | None = None) -> Gallery | None:
    """What a stage has to show: as recorded, or as it was attacked anew. None if there is nothing yet.

    The arrays are copies: a run that computes replaces its tables.
    """
    run, layout = data.info, data.layouts.get(stage) or StageLayout(stage, "")
    if attacked is not None:
        return Gallery(run, layout, attacked.examples, attacked.probe, attacked.attack, is_recorded=False)
    examples, probe = (
        {name: values.copy() for name, values in data.columns(stage, table).items()}
        for table in ("examples", "probe")
    )
    config = run.config.attack
    attack = layout.probe or (config.title if config is not None and stage == "attack" else "")
    return Gallery(run, layout, examples, probe, attack) if examples or probe else None


def stamp_of(data: RunData, stage: StageName) -> tuple[bytes, ...]:
    """Something that changes with the recorded images or distances, and costs less to compare than they do."""
    examples, probe = data.columns(stage, "examples"), data.columns(stage, "probe")
    columns = [examples.get(name) for name in ("sample", "clean_confidence", "adversarial_confidence")]
    columns += [probe.get(name) for name in ("sample", "distance")]
    return tuple(b"" if values is None else values.tobytes() for values in columns)


def images_of(data: RunData, stage: StageName) -> tuple[DataConfig | None, bool]:
    """Which images the numbers of a stage's samples speak of: the data, and whether they are test images."""
    config = data.info.config
    if stage == "attack" or data.is_inspection:
        return config.evaluation_data, True
    return (config.source if stage == "pretraining" else config.target), False


def rows_in_order(
    gallery: Gallery, shown: Filter, by: Sort, *, place: Place | None, measure: Measure
) -> np.ndarray:
    """The rows of the images to show, in their order.

    Sorted by distance, the image comes first whose features moved farthest at the place, at the last block where none
    is selected; by confidence, the one that lost most of it, where confidence in another class counts as negative.
    """
    if not len(gallery):
        return np.empty(0, int)
    flipped = gallery.flipped
    chosen = {"all": np.full(len(gallery), True), "flipped": flipped, "kept": ~flipped}[shown]
    rows = np.flatnonzero(chosen)
    if by == "number":
        key = gallery.examples["sample"]
    elif by == "confidence":
        after = gallery.examples["adversarial_confidence"]
        key = np.where(flipped, -after, after) - gallery.examples["clean_confidence"]
    else:
        values = _at(gallery, place_to_sort_by(gallery, place), measure)
        key = values if measure == "cosine" else -values
    return rows[np.argsort(key[rows], kind="stable")]


def place_to_sort_by(gallery: Gallery, place: Place | None) -> Place:
    """The selected place, the last block where none of this network is selected."""
    if place is not None and place.index < len(gallery.names(place.per)):
        return place
    return Place("block", max(0, len(gallery.names("block")) - 1))


def place_title(gallery: Gallery, place: Place) -> str:
    """A place for people: "block 3 (2.1)", "layer 1 (stem)"."""
    names = gallery.names(place.per)
    name = f" ({names[place.index]})" if place.index < len(names) else ""
    return f"{place.per} {place.index + 1}{name}"


def places_under(gallery: Gallery, place: Place | None, per: Per) -> tuple[int, int] | None:
    """First and last place of a kind that belong to a place: a block's layers, the block of a layer, or itself.

    None if there are none, as for the stem, which lies in no block.
    """
    if place is None or place.index >= len(gallery.names(place.per)):
        return None
    if place.per == per:
        return place.index, place.index
    blocks = np.array(gallery.layout.layer_blocks)
    if per == "block":
        block = int(blocks[place.index]) - 1
        return (block, block) if block >= 0 else None
    layers = np.flatnonzero(blocks == place.index + 1)
    return (int(layers[0]), int(layers[-1])) if len(layers) else None


def border_of(gallery: Gallery, per: Per) -> int | None:
    """How many blocks or layers lie before the frozen boundary; None where there is none."""
    boundary = gallery.layout.boundary
    if boundary is None or not 0 < boundary < len(gallery.layout.block_names):
        return None
    return boundary if per == "block" else sum(block <= boundary for block in gallery.layout.layer_blocks)


def border_text(gallery: Gallery) -> str:
    """What the boundary in a plot means; empty where there is none."""
    border = border_of(gallery, "block")
    if border is None:
        return ""
    blocks = f"blocks 1–{border}" if border > 1 else "block 1"
    future = gallery.layout.stage == "pretraining"
    return f"Dashed: up to here {'will be' if future else 'is'} frozen ({blocks})."


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """A measure over depth, [N] each: of one image (NaN if it is unknown), mean and standard deviation over `count`."""

    values: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    count: int


def profile_of(gallery: Gallery | None, sample: int | None, per: Per, measure: Measure) -> Profile:
    """How far the features of an image moved in each block or layer, beside those of all probe images."""
    all_values = gallery.probe.get(_column(per, measure)) if gallery is not None else None
    if gallery is None or all_values is None or not np.isfinite(all_values).any():
        return Profile(np.empty(0), np.empty(0), np.empty(0), 0)
    all_values = np.where(np.isfinite(all_values), all_values, np.nan).astype(float)
    known = np.isfinite(all_values).sum(axis=0)
    mean = np.where(known, np.nansum(all_values, axis=0), np.nan) / np.maximum(known, 1)
    spread = np.sqrt(np.nansum((all_values - mean) ** 2, axis=0) / np.maximum(known, 1))
    row = _row(gallery.probe, sample)
    values = all_values[row] if row is not None else np.full(len(mean), np.nan)
    return Profile(values, mean, np.where(known, spread, np.nan), len(all_values))


@dataclass(frozen=True, slots=True)
class Caption:
    """What stands below the three pictures of an image; predictions are pairs of class and confidence."""

    sample: int
    truth: str
    verdict: Verdict
    before: tuple[str, str]
    after: tuple[str, str]

    def sentence(self) -> str:
        """All of it in words."""
        before, after = (f"{name} ({confidence})" for name, confidence in (self.before, self.after))
        return f"#{self.sample}, true class {self.truth}; clean {before}, adversarial {after}; prediction {self.verdict}"


def caption_of(gallery: Gallery, row: int) -> Caption:
    """The labels of one image."""
    cells = {name: values[row] for name, values in gallery.examples.items() if values.ndim == 1}
    before, after = (
        (
            gallery.class_title(int(cells[f"{which}_prediction"])),
            words.percent(cells[f"{which}_confidence"], 0),
        )
        for which in ("clean", "adversarial")
    )
    verdict: Verdict = "kept" if cells["clean_prediction"] == cells["label"] else "kept, wrong"
    if cells["adversarial_prediction"] != cells["clean_prediction"]:
        verdict = "flipped"
    return Caption(int(cells["sample"]), gallery.class_title(int(cells["label"])), verdict, before, after)


def count_text(gallery: Gallery) -> str:
    """How many images the attack flipped: "12 of 32 flipped"."""
    return f"{int(gallery.flipped.sum())} of {len(gallery)} flipped" if len(gallery) else ""


def missing_text(gallery: Gallery | None, sample: int | None) -> str:
    """Why a selected image is not to be seen; empty if none is selected."""
    if gallery is None or sample is None:
        return ""
    if gallery.row_of(sample) is not None:
        return f"Image #{sample} is not among the images chosen above."
    if _row(gallery.probe, sample) is not None:
        return f"Image #{sample} was measured, but its picture is not kept."
    return f"Image #{sample} is not among the images of this stage."


def anew_text(gallery: Gallery) -> str:
    """What made images that are not the recorded ones."""
    is_attacked = bool(np.any(gallery.examples["difference"]))
    return (
        f"Attacked anew with {gallery.attack}"
        if is_attacked
        else "Clean images, at epsilon 0 there is no attack"
    )


def no_images_text(data: RunData, stage: StageName) -> str:
    """Why a stage has nothing to show, or when it will."""
    if data.info.state in ("created", "running"):
        when = "when the attack has ended" if stage == "attack" else "after the first look at the network"
        return f"The images appear here {when}."
    return "No images of this stage are kept: the run is of an older version, or its number of examples was set to 0."


def nothing_text(gallery: Gallery, shown: Filter) -> str:
    """Why a gallery shows no image."""
    if not len(gallery):
        return "No images are kept of this stage, only their distances."
    return f"No image was {shown}. Choose “{FILTERS['all']}” above to see them."


def no_distance_text(gallery: Gallery | None) -> str:
    """Why a gallery shows no distances."""
    if gallery is None or not gallery.probe:
        return "This run keeps no distances of single images: it was made by an older version."
    return "The distances of this stage are no numbers: clean and adversarial images are the same."


@dataclass(frozen=True, slots=True)
class Radii:
    """The radii that a slider goes through: 0 and `count` steps of `step` in the units of a norm.

    Attributes:
        recorded: radius of the recorded images.
        largest: the largest that may be asked for.
    """

    norm: str
    recorded: float
    step: float
    count: int
    largest: float

    def at(self, position: int) -> float:
        """The radius at a position 0..count, as short a number as it is written."""
        return position / 255 if self.step == 1 / 255 else float(f"{position * self.step:.6g}")

    def position(self, epsilon: float) -> int:
        """The position nearest to a radius."""
        return max(0, min(self.count, round(epsilon / self.step)))

    def text(self, epsilon: float) -> str:
        """A radius as people write it: "8/255", "0.5"."""
        return epsilon_text(None, epsilon) if self.norm == "linf" else words.number(float(f"{epsilon:.6g}"))

    def parse(self, text: str) -> float:
        """Read a typed radius.

        Raises:
            ValueError: it is no radius that may be asked for; says what was expected.
        """
        expected = f"Expected a number or a ratio such as 8/255, from 0 to {words.number(self.largest)}"
        try:
            epsilon = float(parse_ratio(text.strip()))
        except ValueError:
            raise ValueError(f"{expected}.") from None
        if not 0 <= epsilon <= self.largest:
            raise ValueError(f"{expected}.")
        return epsilon


def radii_of(data: RunData, stage: StageName) -> Radii:
    """The radii to offer for a stage: up to four times the recorded one, n/255 in the Linf norm.

    The settings of an attack stage say its radius; that of a training stage's images is read off them.
    """
    config = data.info.config.attack
    norm, epsilon = "linf", 0.0
    if stage == "attack" and config is not None:
        norm, epsilon = config.norm, config.epsilon
    else:
        difference = data.columns(stage, "examples").get("difference")
        if difference is not None and difference.size:
            epsilon = float(np.abs(difference).max())
        if abs(255 * epsilon - round(255 * epsilon)) < 0.02:
            epsilon = round(255 * epsilon) / 255
    epsilon = epsilon or 8 / 255
    largest = 1.0 if norm == "linf" else 1000.0
    step = 1 / 255 if norm == "linf" and epsilon >= 2 / 255 else epsilon / _STEPS
    return Radii(norm, epsilon, step, math.floor(min(4 * epsilon, largest) / step + 1e-6), largest)


def norm_title(radii: Radii) -> str:
    """The norm that a radius is meant in."""
    return NORM_TITLES[radii.norm]


def why_not_attacked(data: RunData, stage: StageName) -> str:
    """Why the images cannot be attacked anew within another radius now; empty if they can."""
    if not len(data.columns(stage, "examples").get("sample", ())):
        return "Other radii can be tried once there are images."
    if data.is_inspection:
        return "Other radii can be tried on the images of a run, not on those of an analysis."
    if stage == "attack" or stage in data.weights:
        return ""
    if data.info.state == "running":
        return "Other radii can be tried when this stage has ended and its weights are saved."
    return "Other radii cannot be tried: the run has no weights of this stage."


def _row(table: Columns, sample: int | None) -> int | None:
    if sample is None or "sample" not in table:
        return None
    found = np.flatnonzero(table["sample"] == sample)
    return int(found[0]) if len(found) else None


def _column(per: Per, measure: Measure) -> str:
    return f"layer_{measure}" if per == "layer" else measure


def _at(gallery: Gallery, place: Place, measure: Measure) -> np.ndarray:
    """[M] a measure of each image of the gallery at a place; NaN where it is unknown."""
    values = gallery.probe.get(_column(place.per, measure))
    if values is None or place.index >= values.shape[1]:
        return np.full(len(gallery), np.nan)
    rows = [_row(gallery.probe, int(sample)) for sample in gallery.examples["sample"]]
    return np.array([np.nan if row is None else values[row, place.index] for row in rows], float)
