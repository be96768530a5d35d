"""The last look at a network as plain values for JSON and the terminal, two looks side by side, and both as files.

Keys are the names of the columns of `engine.store.schema`, without "block_" and "layer_" where the place says it. None
stands for what was not measured, and for what is no finite number: no upper bound is known.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from engine.config import STAGE_TITLES, StageName
from engine.errors import CartlError, StoreError
from engine.events import Columns, RunRecord, StageLayout
from engine.insight import insights
from engine.report.tables import csv_text
from engine.store.atomic import write_text
from engine.store.schema import BOUNDS, EXAMPLES, LAYERS, PROBE

#: What is compared by the difference of two networks; all else, being a norm or a bound, by the ratio.
DIFFERENCES = frozenset(
    {
        "distance", "relative_distance", "cosine", "amplification", "cka", "batch_distance",
        "log10_upper", "log10_estimate", "log10_lower",
    }
)  # fmt: skip
COMPARISON_COLUMNS = ("place", "name", "quantity", "a", "b", "change", "how")
#: What a look at one network and what a comparison of two can be written to.
KINDS = {"inspection": ("a folder", ".json", ".h5"), "comparison": (".json", ".csv")}

Place = Literal["block", "layer"]
#: For blocks and for layers: the keys of their values, and in which table and column these are.
_COLUMNS: dict[Place, dict[str, tuple[str, str]]] = {
    per: {
        column.name.removeprefix(f"{per}_"): (table.name, column.name)
        for table in (LAYERS, BOUNDS)
        for column in table.columns
        if column.per == per
    }
    for per in get_args(Place)
}
#: What is told of the network as a whole.
_NETWORK = ("log10_upper", "log10_estimate", "log10_lower")
_BANDS = {"": "", "unfolded_": " without its batch norm"}


@dataclass(frozen=True, slots=True)
class Inspection:
    """The last look at the network of a training stage.

    Attributes:
        record: of a run, or as `NetworkInspected` brings it.
        stage: the training stage.
        now: whether it was looked at on request, and not while it was trained.
    """

    record: RunRecord
    stage: StageName
    now: bool = False

    @property
    def tables(self) -> Mapping[str, Columns]:
        """The tables of the stage that have rows."""
        found = self.record.tables.get(self.stage, {})
        return {name: columns for name, columns in found.items() if len(next(iter(columns.values()), ()))}


def inspection_as_json(inspection: Inspection) -> dict[str, Any]:
    """Everything that is known of a network, but for the pixels of its images.

    Keys: name; run or file (its id or absolute path, the other is None); stage; title; probe (attack and images);
    classes; measured (the steps and epochs of `distances` and `bounds`, None if it was looked at on request); network
    (log10 of the whole network's bounds, and how many bounds contradict each other); contradictions (which);
    blocks; layers; insights; notes (about a file that was read); images (one each: predictions, and distances per
    block and layer).

    Raises:
        CartlError: nothing has been measured in this stage yet.
    """
    record, tables = inspection.record, inspection.tables
    layout = record.layouts[inspection.stage]
    if "layers" not in tables:
        raise CartlError(
            f"No layer of {record.run.name!r} has been measured in its {STAGE_TITLES[layout.stage].lower()} yet; it is "
            "looked at when each epoch begins."
        )
    of_file = Path(record.run.id).is_absolute()
    network = {name: _last(tables, "bounds", name) for name in (*_NETWORK, "violations")}
    blocks, layers = _blocks(layout, tables), _layers(layout, tables)
    return {
        "name": record.run.name,
        "run": None if of_file else record.run.id,
        "file": record.run.id if of_file else None,
        "stage": layout.stage,
        "title": layout.title,
        "probe": layout.probe,
        "classes": list(layout.class_names),
        "measured": None if inspection.now else _measured(tables),
        "network": network,
        "contradictions": _contradictions(network, blocks, layers),
        "blocks": blocks,
        "layers": layers,
        "insights": [
            asdict(found)
            for found in insights(layout, record.tables.get(layout.stage, {}), record.run.config)
        ],
        "notes": list(record.log) if inspection.now else [],
        "images": _images(tables),
    }


def comparison_as_json(first: Inspection, second: Inspection) -> dict[str, Any]:
    """What two networks have in common, and how the second, b, differs from the first, a.

    Keys: a and b (what `inspection_as_json` says of each, without blocks, layers and images); network (change alone);
    blocks and layers (for each that both have by name: name, a, b and change); unmatched (names of blocks and layers
    that only a or only b has). A change is b - a for distances and logarithms and b / a for norms and bounds.

    Raises:
        CartlError: nothing has been measured in one of them, or no block and no layer of one is in the other.
    """
    a, b = inspection_as_json(first), inspection_as_json(second)
    heads = [
        {key: value for key, value in side.items() if key not in ("blocks", "layers", "images")}
        for side in (a, b)
    ]
    found: dict[str, list[dict[str, Any]]] = {}
    unmatched: dict[str, dict[str, list[str]]] = {"a": {}, "b": {}}
    places: tuple[tuple[Place, str, str], ...] = (("block", "blocks", "name"), ("layer", "layers", "layer"))
    for per, place, key in places:
        left, right = _by_name(a[place], key), _by_name(b[place], key)
        found[place] = [
            {
                "name": name[0],
                "a": left[name],
                "b": right[name],
                "change": _changes(left[name], right[name], _COLUMNS[per]),
            }
            for name in left
            if name in right
        ]
        unmatched["a"][place] = [name[0] for name in left if name not in right]
        unmatched["b"][place] = [name[0] for name in right if name not in left]
    if not found["blocks"] and not found["layers"]:
        listed = (
            f"{side['name']} has the blocks {', '.join(row['name'] for row in side['blocks'][:4])}, ..."
            for side in (a, b)
        )
        raise CartlError(
            f"Two networks are compared where blocks or layers have the same name, and these share none: {'; '.join(listed)}"
        )
    return {
        "a": heads[0],
        "b": heads[1],
        "network": {"change": _changes(a["network"], b["network"], _NETWORK)},
        **found,
        "unmatched": unmatched,
    }


def check_destination(destination: Path, *, comparison: bool = False, overwrite: bool = False) -> str:
    """Tell the kind of what is to be written, one of `KINDS`, before the work is done that is to be kept.

    Raises:
        StoreError: there is no such kind, or something is there already that must not be replaced.
    """
    kinds = KINDS["comparison" if comparison else "inspection"]
    kind = destination.suffix.lower()
    if destination.is_dir() or not kind[1:].isalnum():
        kind = "a folder"
    what = "a comparison" if comparison else "an inspection"
    if kind not in kinds:
        raise StoreError(
            f"{what} is written to {', '.join(kinds[:-1])} or {kinds[-1]}, not to {kind}: {destination}"
        )
    taken = next(iter(sorted(destination.glob("*.csv"))), None) if kind == "a folder" else destination
    if taken is not None and taken.exists() and not overwrite:
        raise StoreError(f"{taken} exists; name another place, or replace it with --force")
    return kind


def write_inspection(
    inspection: Inspection, destination: Path, *, other: Inspection | None = None, overwrite: bool = False
) -> Path:
    """Write the last look at a network, or a comparison with another.

    Args:
        inspection: the network.
        destination: a folder for one CSV a table, a file that ends in .json, or one that ends in .h5 and has the schema
            of a run's metrics.h5. A comparison goes to .json or .csv.
        other: the network to compare it with.
        overwrite: replace what is there.

    Returns:
        The destination.

    Raises:
        StoreError: see `check_destination`, or it could not be written.
        CartlError: see `inspection_as_json` and `comparison_as_json`.
    """
    kind = check_destination(destination, comparison=other is not None, overwrite=overwrite)
    found = comparison_as_json(inspection, other) if other else inspection_as_json(inspection)
    try:
        (destination if kind == "a folder" else destination.parent).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{destination} cannot be made: {error.strerror}") from error
    if kind == ".json":
        write_text(destination, json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    elif kind == ".csv":
        write_text(destination, csv_text(COMPARISON_COLUMNS, _comparison_rows(found)))
    else:
        from engine.store.tables import write_run_file, write_tables

        (write_tables if kind == "a folder" else write_run_file)(last_look(inspection), destination)
    return destination


def last_look(inspection: Inspection) -> RunRecord:
    """The stage alone, and of its tables what describes its newest weights; a growing table keeps its last row."""
    tables = inspection.tables
    kept = {
        name: {column: values[-1:] for column, values in tables[name].items()}
        for name in ("layers", "bounds")
        if name in tables
    } | {name: tables[name] for name in ("profile", "probe", "examples") if name in tables}
    stage = inspection.stage
    return replace(
        inspection.record,
        layouts={stage: inspection.record.layouts[stage]},
        tables={stage: kept},  # type: ignore[dict-item]
        attack=None,
    )


def _plain(values: np.ndarray) -> Any:
    """Numbers, or lists of them; None for what is not finite."""
    found = np.asarray(values).astype(object)
    found[~np.isfinite(values)] = None
    return found.tolist()


def _last(tables: Mapping[str, Columns], table: str, column: str) -> Any:
    return _plain(tables[table][column][-1]) if table in tables else None


def _values(tables: Mapping[str, Columns], per: Place, count: int) -> list[dict[str, Any]]:
    """For each block or layer the last value of every column."""
    columns = {
        key: _last(tables, table, column) or [None] * count for key, (table, column) in _COLUMNS[per].items()
    }
    return [{key: values[index] for key, values in columns.items()} for index in range(count)]


def _blocks(layout: StageLayout, tables: Mapping[str, Columns]) -> list[dict[str, Any]]:
    frozen = layout.boundary or 0 if layout.stage == "finetuning" else 0
    rows = zip(layout.block_names, _values(tables, "block", len(layout.block_names)), strict=True)
    return [
        {"block": number, "name": name, "frozen": number <= frozen, **values}
        for number, (name, values) in enumerate(rows, start=1)
    ]


def _layers(layout: StageLayout, tables: Mapping[str, Columns]) -> list[dict[str, Any]]:
    unknown = (None,) * len(layout.layer_names)
    facts = {
        "layer": layout.layer_names,
        "block": layout.layer_blocks,
        "kind": layout.layer_kinds or unknown,
        "shape": layout.layer_shapes or unknown,
        "parameters": layout.layer_parameters or unknown,
    }
    rows = zip(zip(*facts.values(), strict=True), _values(tables, "layer", len(unknown)), strict=True)
    return [{**dict(zip(facts, fact, strict=True)), **values} for fact, values in rows]


def _measured(tables: Mapping[str, Columns]) -> dict[str, Any]:
    return {
        "distances": {name: _last(tables, "layers", name) for name in ("step", "epoch")},
        "bounds": {
            name: _last(tables, "bounds", name) for name in ("step", "epoch", "interval", "live_share")
        },
    }


def _contradictions(
    network: Mapping[str, Any], blocks: Sequence[Mapping[str, Any]], layers: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """As many bands as were counted when they were measured, those that contradict themselves most."""
    bands = [("the whole network, log10", network, "log10_")]
    bands += [(f"block {row['block']}, {row['name']}", row, "") for row in blocks]
    bands += [
        (f"layer {row['layer']}{words}", row, prefix) for row in layers for prefix, words in _BANDS.items()
    ]
    found = []
    for place, row, prefix in bands:
        lower, estimate, upper = (row[f"{prefix}{name}"] for name in ("lower", "estimate", "upper"))
        highest = max((value for value in (lower, estimate) if value is not None), default=-math.inf)
        if upper is not None and highest > upper:
            band = {"place": place, "lower": lower, "estimate": estimate, "upper": upper}
            found.append(((highest - upper) / (abs(upper) or 1.0), band))
    found.sort(key=lambda item: -item[0])
    return [band for _, band in found[: network["violations"] or 0]]


def _images(tables: Mapping[str, Columns]) -> list[dict[str, Any]]:
    """One row each, without pixels; what only the gallery says is None of images that are not in it."""
    if "probe" not in tables:
        return []
    probe = {column.name: _plain(tables["probe"][column.name]) for column in PROBE.columns}
    more = [column.name for column in EXAMPLES.columns if column.name.endswith("_confidence")]
    gallery = tables.get("examples", {"sample": np.array([], int)})
    place = {sample: index for index, sample in enumerate(gallery["sample"].tolist())}
    return [
        {name: values[index] for name, values in probe.items()}
        | {name: _plain(gallery[name][place[sample]]) if sample in place else None for name in more}
        for index, sample in enumerate(probe["sample"])
    ]


def _by_name(rows: Sequence[dict[str, Any]], key: str) -> dict[tuple[str, int], dict[str, Any]]:
    """Rows by their name and how many had it before: names need not differ within a network."""
    before: Counter[str] = Counter()
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for row in rows:
        found[row[key], before[row[key]]] = row
        before[row[key]] += 1
    return found


def _changes(a: Mapping[str, Any], b: Mapping[str, Any], keys: Iterable[str]) -> dict[str, float | None]:
    return {key: _change(key, a[key], b[key]) for key in keys if not key.endswith("_errors")}


def _change(key: str, before: float | None, after: float | None) -> float | None:
    if before is None or after is None:
        return None
    if key in DIFFERENCES:
        return after - before
    return after / before if before else None


def _comparison_rows(comparison: Mapping[str, Any]) -> list[tuple[object, ...]]:
    sides = {
        "network": [
            {"name": "", **{side: comparison[side]["network"] for side in "ab"}, **comparison["network"]}
        ],
        "block": comparison["blocks"],
        "layer": comparison["layers"],
    }
    return [
        (
            place, row["name"], key, row["a"][key], row["b"][key], change,
            "difference" if key in DIFFERENCES else "ratio",
        )
        for place, rows in sides.items()
        for row in rows
        for key, change in row["change"].items()
    ]  # fmt: skip
