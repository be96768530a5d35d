"""Options that are settings: kind, choices, unit and help come from the settings classes themselves."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from engine.cli.settings import attacks_with, flag
from engine.config import (
    ATTACKS,
    AttackConfig,
    CheckpointConfig,
    DataConfig,
    ImportConfig,
    MachineConfig,
    parse_ratio,
)
from engine.config.kinds import expectation, facts_of

#: Settings of an attack that only say what an evaluation tells, and so nothing to `inspect`.
_EVALUATING = ("batch_size", "samples", "examples", "sweep_epsilon", "sweep_steps", "surrogate")


def add_set(parser: argparse.ArgumentParser) -> None:
    """Add --set and --sweep, which change settings of a study."""
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="change a setting of every run that has it, such as attack.epsilon=4/255, also where the grid varies it; "
        "grid.seed=[0,1,2] changes the grid itself; may be given repeatedly",
    )  # fmt: skip
    parser.add_argument(
        "--sweep", action="append", default=[], metavar="KEY=VALUES",
        help="make every run in which a setting has an effect once for each value: 0.005,0.01 or 4..8 or 4..12 step 4 or "
        "lin(0.2,1,5) or log(1e-4,1e-1,4) or 4/255,8/255 or neft,vanilla; k=1..5 and seed=0..4 too; may be given repeatedly",
    )  # fmt: skip


def add_study_options(parser: argparse.ArgumentParser, *, dry_run: bool = True) -> None:
    """Add what verbs that take a study share; `dry_run` where they make its runs."""
    add_set(parser)
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME",
        help="only the runs of this name (NAME@SEED: the one of this seed) and those that they start from; "
        "may be given repeatedly",
    )  # fmt: skip
    if dry_run:
        parser.add_argument(
            "--dry-run", action="store_true", help="list the runs, with --resume also what there is of them; make nothing"
        )  # fmt: skip
    parser.add_argument(
        "--resume", action="store_true",
        help="go on with this study's runs of the same settings: keep the finished, resume the others, make the rest",
    )  # fmt: skip


def add_attack_and_images(parser: argparse.ArgumentParser, without: Collection[str] = ()) -> None:
    """Add every setting of an attack but those named, and the settings that choose the attacked images."""
    usual = parser.add_argument_group("the attack", "`cartl attacks` lists the attacks with their defaults.")
    rare = parser.add_argument_group("the attack, rarely needed")
    for name, field in AttackConfig.model_fields.items():
        if name not in without:
            group = rare if facts_of(field).get("advanced") else usual
            _add_setting(group, flag(name), name, field, _only_for(name))
    images = parser.add_argument_group("the images")
    for name in ("name", "path", "image_size", "test_size", "seed"):
        _add_setting(images, flag(name, "data"), f"data_{name}", DataConfig.model_fields[name])


def add_inspection_options(parser: argparse.ArgumentParser) -> None:
    """Add everything of `inspect`."""
    target = "id, name or folder of a run, or a weights file"
    parser.add_argument("run", metavar="RUN_OR_CHECKPOINT", help=target)
    parser.add_argument("other", nargs="?", metavar="OTHER", help=f"compare with this: {target}")
    parser.add_argument("--layers", action="store_true", help="list every weighted layer too")
    parser.add_argument(
        "--now",
        action="store_true",
        help="of a run: analyse its newest weights, or those after --stage, in full",
    )
    parser.add_argument("--stage", choices=("pretraining", "finetuning"), help="of a run; else the last")
    parser.add_argument(
        "--to", type=Path, metavar="PATH",
        help="write all of it too: a folder for CSV files, or a file that ends in .json or .h5 (as a run's metrics.h5, but "
        "with one look); a comparison to .json or .csv",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="replace what --to names if it exists")
    add_attack_and_images(parser, without=_EVALUATING)
    parser.add_argument(
        "--images", type=int, metavar="N", help="how many test images a full analysis takes (default: 256)"
    )
    add_checkpoint_options(parser)


def add_checkpoint_options(parser: argparse.ArgumentParser) -> None:
    """Add what a checkpoint file of another program does not say."""
    group = parser.add_argument_group(
        "a checkpoint of another program", "A file that this program wrote needs none of these."
    )
    fields = CheckpointConfig.model_fields
    names = [name for name in get_args(fields["architecture"].annotation) if name]
    help = (fields["architecture"].description or "").replace("empty for", "left out for")
    group.add_argument(
        "--architecture", choices=names, metavar="NAME", help=f"{help} Names: {', '.join(names)}."
    )
    _add_normalisation(group, fields)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add --device."""
    device = MachineConfig.model_fields["device"]
    parser.add_argument(
        "--device", choices=get_args(device.annotation), default="auto", help=device.description
    )


def add_import_options(parser: argparse.ArgumentParser) -> None:
    """Add everything of `import`."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a .pt, .pth or .safetensors file")
    parser.add_argument(
        "--to", metavar="FILE", help="the .safetensors or .pt file to write; else beside the checkpoint"
    )
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")
    fields = ImportConfig.model_fields
    name, help = DataConfig.model_fields["name"], fields["data"].description
    group = parser.add_argument_group("what the file cannot tell")
    group.add_argument(
        "--data", dest="data_name", required=True, choices=get_args(name.annotation), help=help
    )
    for field in ("path", "image_size"):
        _add_setting(group, flag(field, "data"), f"data_{field}", DataConfig.model_fields[field])
    for field, kind, metavar in (("halved_blocks", int, "K"), ("spectral_bound", float, "BETA")):
        group.add_argument(flag(field), type=kind, metavar=metavar, help=fields[field].description)
    _add_normalisation(group, fields)


def _add_normalisation(group: argparse._ArgumentGroup, fields: Mapping[str, FieldInfo]) -> None:
    for field in ("mean", "std"):
        group.add_argument(
            flag(field), nargs=3, type=_number, metavar=("R", "G", "B"), help=fields[field].description
        )


def _only_for(field: str) -> str:
    """Which attacks have a setting, in the fewest words; "" where all have it."""
    having = attacks_with(field)
    others = [name for name in ATTACKS if name not in having]
    if not others:
        return ""
    return f"only {', '.join(having)}" if len(having) <= len(others) else f"not {', '.join(others)}"


def _add_setting(
    parser: argparse._ArgumentGroup, option: str, name: str, field: FieldInfo, only: str = ""
) -> None:
    """Add one setting as an option; None if it is not given. `only` says when it has an effect."""
    kind: Any = field.annotation
    several = get_origin(kind) is list
    if several:
        (kind,) = get_args(kind)
    expected = expectation(field) if kind in (int, float) and not several else ""
    details = "; ".join(filter(None, (expected, facts_of(field).get("unit"), only)))
    help = field.description or ""
    help += " The option alone means none." if several else ""
    help = f"{help} [{details}]" if details else help
    how: dict[str, Any] = {"dest": name, "default": None, "help": help.replace("%", "%%")}
    if several:
        how["nargs"] = "*"
    if kind is bool:
        parser.add_argument(option, action=argparse.BooleanOptionalAction, **how)
    elif get_origin(kind) is Literal:
        parser.add_argument(option, choices=get_args(kind), **how)
    elif kind is int:
        parser.add_argument(option, type=int, metavar="N", **how)
    elif kind is str:
        parser.add_argument(option, metavar="TEXT", **how)
    else:
        parser.add_argument(option, type=_number, metavar="X", **how)


def _number(text: str) -> float:
    """A number or a ratio such as 8/255."""
    try:
        return float(parse_ratio(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
