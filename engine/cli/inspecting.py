"""The verb `inspect`: what is known of a network block by block and layer by layer, alone or beside another."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.cli import report
from engine.cli.client import Client
from engine.cli.common import UsageError, client_of, find_run, say
from engine.cli.progress import showing
from engine.cli.settings import (
    attack_settings,
    checkpoint_settings,
    data_settings,
    flag,
    given_settings,
)
from engine.config import AttackConfig, CheckpointConfig, DataConfig, StageName
from engine.errors import StoreError
from engine.events import RunInfo, RunRecord
from engine.report.inspection import (
    DIFFERENCES,
    Inspection,
    check_destination,
    comparison_as_json,
    inspection_as_json,
)
from engine.wording import NOTHING, significant

#: Columns of a table, and the fewest that are left of a name to make it fit.
WIDTH, FEWEST = 120, 12
#: Test images unless a number is named.
IMAGES = 256
#: Names of blocks and layers that only one of two networks has, until they are counted.
NAMED = 6

#: Columns of the tables: title and key. Of layers there are two, with what they are and how they amplify.
_BLOCKS = (
    ("distance", "distance"), ("relative", "relative_distance"), ("cosine", "cosine"), ("CKA", "cka"),
    ("amplified", "amplification"), ("lower", "lower"), ("estimate", "estimate"), ("upper", "upper"),
    ("nominal", "nominal"),
)  # fmt: skip
_LAYERS = (("distance", "distance"), ("relative", "relative_distance"))
_NORMS = (
    ("lower", "lower"), ("estimate", "estimate"), ("upper", "upper"), ("unfolded lower", "unfolded_lower"),
    ("estimate", "unfolded_estimate"), ("upper", "unfolded_upper"), ("reshaped", "reshaped"), ("sigma", "sigma"),
)  # fmt: skip

_DISTANCES_TOLD = (
    "Between clean and adversarial features, over the images: distance: normalised L2, mean +- standard deviation. "
    "relative: L2 over that of the clean feature. cosine: centred. CKA: linear, debiased. amplified: L2 of the features "
    "over L2 of the images."
)
_BOUNDS_TOLD = (
    "Lipschitz constants (L2, in eval mode, batch norm folded in): lower: the largest expansion seen on pairs of images. "
    "estimate: accurate norms put together by the rule of the upper bound; no bound. upper: certified, no input does more. "
    "nominal: the upper bound if reshaped norms were operator norms, which they are not."
)
_NORMS_TOLD = (
    "unfolded lower, estimate and upper: of the convolution or linear map alone. reshaped: spectral norm of the weight as "
    "a matrix, which NEFT constrains; no Lipschitz constant. sigma: what spectral normalisation divides by."
)
_CHANGES_TOLD = (
    "B:A: B - A with its sign for what is measured on features, B / A after an x for norms and bounds."
)


def inspect(options: argparse.Namespace) -> int:
    """Show what was last measured of a run, or what an analysis of its weights or of a file finds now."""
    names = [name for name in (options.run, options.other) if name is not None]
    if options.to is not None:
        try:
            check_destination(options.to, comparison=len(names) == 2, overwrite=options.force)
        except StoreError as error:
            raise UsageError(str(error)) from error
    with showing() as display, client_of(options, display) as client:
        targets = [
            Path(name).resolve() if Path(name).is_file() else find_run(name, client.runs.values())
            for name in names
        ]
        _refuse_what_has_no_effect(options, targets)
        looks = [_look(target, options, client) for target in targets]
        found = inspection_as_json(looks[0]) if len(looks) == 1 else comparison_as_json(*looks)
        if options.to is not None:
            other = looks[1] if len(looks) == 2 else None
            found["written"] = client.export_inspection(
                looks[0], options.to.resolve(), other=other, overwrite=options.force
            )
    if options.json:
        say(report.as_json(found))
    else:
        tell = inspection_text if len(looks) == 1 else comparison_text
        say(tell(found, layers=options.layers))
        if options.to is not None:
            say(f"\nWritten: {found['written']}")
    return 0


def _refuse_what_has_no_effect(options: argparse.Namespace, targets: Sequence[Path | RunInfo]) -> None:
    """Raises UsageError: an option is given that none of the targets asks for."""
    files = [target for target in targets if isinstance(target, Path)]
    if options.images is not None and options.images < 1:
        raise UsageError(f"--images needs at least 1 image, got {options.images}.")
    if options.force and options.to is None:
        raise UsageError("--force replaces what --to names; name it.")
    if len(files) == len(targets) and (options.now or options.stage):
        raise UsageError(
            f"{'--now' if options.now else '--stage'} is for runs; of a weights file what it holds is analysed."
        )
    if not files:
        if given := given_settings(options, CheckpointConfig):
            raise UsageError(
                f"{flag(next(iter(given)))} is for checkpoint files of other programs, not for a run."
            )
        analysing = [
            *map(flag, given_settings(options, AttackConfig)),
            *(flag(field, "data") for field in given_settings(options, DataConfig, "data_")),
            *(["--images"] if options.images is not None else []),
        ]
        if analysing and not options.now:
            raise UsageError(
                f"{analysing[0]} is for weights files, and with --now for runs; without it a run shows what was last "
                "measured while it trained."
            )


def _look(target: Path | RunInfo, options: argparse.Namespace, client: Client) -> Inspection:
    images = IMAGES if options.images is None else options.images
    if isinstance(target, Path):
        record = client.inspect(
            str(target), target.name, attack=attack_settings(options, None), data=data_settings(options, None),
            checkpoint=checkpoint_settings(options, str(target), is_file=True), images=images,
        )  # fmt: skip
        (stage,) = record.layouts
        return Inspection(record, stage, now=True)
    if options.now:
        own = target.config
        if options.stage is not None and options.stage not in own.stages:
            raise UsageError(f"{target.name} has no {options.stage}.")
        attack = attack_settings(options, own.attack) if given_settings(options, AttackConfig) else None
        given = given_settings(options, DataConfig, "data_")
        data = data_settings(options, own.evaluation_data) if given else None
        record = client.inspect(
            target.id, target.name, stage=options.stage, attack=attack, data=data, images=images
        )
        (stage,) = record.layouts
        return Inspection(record, stage, now=True)
    record = client.read(target.id)
    return Inspection(record, _stage_of(record, options.stage))


def _stage_of(record: RunRecord, wanted: StageName | None) -> StageName:
    """The training stage that is meant, else the last that was begun.

    Raises:
        UsageError: the run has none.
    """
    training: tuple[StageName, ...] = ("finetuning", "pretraining")
    trained = [stage for stage in training if stage in record.layouts]
    if wanted is not None and wanted not in trained:
        raise UsageError(f"{record.run.name} has no {wanted} that was begun.")
    if not trained:
        start = f"; it started from {record.run.config.start_from}" if record.run.config.start_from else ""
        raise UsageError(
            f"{record.run.name} trained nothing, so no layer was measured{start}. Its weights are analysed with --now."
        )
    return wanted or trained[0]


def inspection_text(found: Mapping[str, Any], *, layers: bool) -> str:
    """Write what `inspection_as_json` found for people; with `layers` every weighted layer too."""
    parts = [
        "\n".join([*_heading(found), *_warnings(found)]),
        _blocks_table([("", row) for row in found["blocks"]]),
        f"End to end, from pixels to logits, as log10: {_network_text(found['network'])}",
    ]
    if layers:
        parts += _layers_tables([("", row) for row in found["layers"]])
    if found["insights"]:
        parts.append("\n".join(_wrapped(f"- {insight['text']}", "  ") for insight in found["insights"]))
    return "\n\n".join([*parts, *_told(layers)])


def comparison_text(found: Mapping[str, Any], *, layers: bool) -> str:
    """Write what `comparison_as_json` found for people: A, B and the change of each block on a line of its own."""
    sides = {"A": found["a"], "B": found["b"]}
    head = [line for side, told in sides.items() for line in (*_heading(told, f"{side}: "), *_warnings(told))]
    if sides["A"]["probe"] != sides["B"]["probe"]:
        head.append(
            _wrapped(
                "! A and B were attacked in other ways or on other images, so what is measured on features differs for "
                "that reason too. Analyse both alike: --now for runs, and the same attack and images.", "  "
            )
        )  # fmt: skip
    for side in "ab":
        for what, names in found["unmatched"][side].items():
            if names:
                head.append(_wrapped(f"Only {side.upper()} has the {what} {_listed(names)}", "  "))
    lines = [f"  {side}: {_network_text(told['network'])}" for side, told in sides.items()]
    lines.append(f"  B - A: {_network_text(found['network']['change'], change=True)}")
    parts = [
        "\n".join(head),
        _blocks_table(_lines(found["blocks"])) if found["blocks"] else "No block of A is in B.",
        "\n".join(["End to end, from pixels to logits, as log10:", *lines]),
    ]
    if layers and found["layers"]:
        parts += _layers_tables(_lines(found["layers"]))
    return "\n\n".join([*parts, _wrapped(_CHANGES_TOLD), *_told(layers)])


Tell = Callable[[Mapping[str, Any]], str]
#: A line of a table: which network it is of ("" where there is one, "B:A" for the change), and its values.
Line = tuple[str, Mapping[str, Any]]
_CHANGE = "B:A"


def _lines(pairs: Sequence[Mapping[str, Any]]) -> list[Line]:
    return [
        line for pair in pairs for line in (("A", pair["a"]), ("B", pair["b"]), (_CHANGE, pair["change"]))
    ]


def _heading(found: Mapping[str, Any], of: str = "") -> list[str]:
    """The network, when it was looked at and with which attack, and notes about its file."""
    when = "analysed now"
    if found["measured"] is not None:
        distances, bounds = found["measured"]["distances"], found["measured"]["bounds"]
        when = f"epoch {significant(distances['epoch'])}"
        if bounds["step"] not in (None, distances["step"]):
            when += f" (bounds: epoch {significant(bounds['epoch'])})"
    title = f"{of}{found['name']}: {found['title']}, {when}, measured with {found['probe']}"
    return [_wrapped(title, "  "), *(_wrapped(f"Note: {note}", "  ") for note in found["notes"])]


def _warnings(found: Mapping[str, Any]) -> list[str]:
    """What contradicts itself, so that nobody relies on it."""
    count = found["network"]["violations"]
    if not count:
        return []
    told = "; ".join(
        f"{band['place']} (lower {_digits(band['lower'])}, estimate {_digits(band['estimate'])}, upper "
        f"{_digits(band['upper'])})"
        for band in found["contradictions"]
    )
    words = (
        "bound contradicts what was found below it"
        if count == 1
        else "bounds contradict what was found below them"
    )
    return [_wrapped(f"! {count} {words}; do not rely on: {told}", "  ")]


def _network_text(values: Mapping[str, Any], *, change: bool = False) -> str:
    return ", ".join(
        f"{name} {_changed(key, values[key]) if change else _digits(values[key])}"
        for name, key in (("lower", "log10_lower"), ("estimate", "log10_estimate"), ("upper", "log10_upper"))
    )


def _blocks_table(lines: Sequence[Line]) -> str:
    digits = max(len(str(row["block"])) for of, row in lines if of != _CHANGE)
    facts: dict[str, Tell] = {
        "block": lambda row: f"{row['block']:>{digits}}: {row['name']}",
        "frozen": lambda row: "yes" if row["frozen"] else "no",
    }
    return _table(lines, facts, _BLOCKS)


def _layers_tables(lines: Sequence[Line]) -> list[str]:
    name: dict[str, Tell] = {"layer": lambda row: row["layer"]}
    facts: dict[str, Tell] = {
        **name,
        "block": lambda row: str(row["block"]) if row["block"] else "stem",
        "kind": lambda row: row["kind"] or NOTHING,
        "shape": lambda row: row["shape"] or NOTHING,
        "parameters": lambda row: NOTHING if row["parameters"] is None else str(row["parameters"]),
    }
    # Runs of older versions have no bounds; the reshaped norm was measured with the distances.
    norms = [
        (of, {**row, "reshaped": row["spectral_norm"] if row["reshaped"] is None else row["reshaped"]})
        for of, row in lines
    ]
    return [_table(lines, facts, _LAYERS), _table(norms, name, _NORMS)]


def _table(lines: Sequence[Line], facts: Mapping[str, Tell], columns: Sequence[tuple[str, str]]) -> str:
    """Lay out lines; long names lose what is behind their first letters, which differs least, until the table fits.

    Args:
        lines: one for each block or layer, three where two networks are compared.
        facts: columns that tell what it is, its name first; where two are compared, B only says what differs from A.
        columns: title and key of the values.
    """
    compared = any(of for of, _ in lines)
    head = [*facts, *(["of"] if compared else []), *(title for title, _ in columns)]
    rows: list[list[str]] = []
    for of, row in lines:
        told = [tell(row) if of != _CHANGE else "" for tell in facts.values()]
        if of == "B":
            told = ["" if text == above else text for text, above in zip(told, rows[-1], strict=False)]
        values = [
            _changed(key, row[key]) if of == _CHANGE else _value(row, key, spread=not compared)
            for _, key in columns
        ]
        rows.append([*told, *([of] if compared else []), *values])
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    room = max(FEWEST, WIDTH - sum(widths[1:]) - 2 * (len(widths) - 1))
    for texts in rows:
        if len(texts[0]) > room:
            texts[0] = f"{texts[0][:4]}...{texts[0][7 - room :]}"
    return report.format_table(head, rows)


def _value(row: Mapping[str, Any], key: str, *, spread: bool) -> str:
    """A value, a distance with its spread in two digits."""
    error = row[f"{key}_errors"] if spread and key == "distance" else None
    return _digits(row[key]) + (f" +- {significant(float(f'{error:.2g}'))}" if error is not None else "")


def _changed(key: str, change: float | None) -> str:
    if change is None:
        return NOTHING
    if key in DIFFERENCES:
        return f"{'-' if change < 0 else '+'}{significant(abs(change))}"
    return f"x{significant(change)}"


def _digits(value: float | None) -> str:
    return NOTHING if value is None else significant(value)


def _told(layers: bool) -> list[str]:
    return [_wrapped(text) for text in (_DISTANCES_TOLD, _BOUNDS_TOLD, *([_NORMS_TOLD] if layers else []))]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text, report.WIDTH, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )
