"""The arguments of the command line, taken from the settings themselves where they are settings."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from engine import __version__, api
from engine.cli import report, results, verbs, weights
from engine.cli.client import Paused
from engine.config import AttackConfig, DataConfig, ImportConfig, MachineConfig
from engine.errors import CartlError, ConfigError

_STUDY = "a study file (.toml), the name of a preset, or the title of a study in the workspace"
EXIT_CODES = "Exit codes: 0 done, 1 a run did not finish, 2 wrong use or settings, 130 paused with Ctrl+C."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. `arguments` are those of the process if left out."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    options = _parser().parse_args(arguments)
    options.workspace = _workspace(options)
    try:
        code: int = options.verb(options)
        return code
    except CartlError as error:
        sys.stderr.write(f"cartl: {report.describe(error)}\n")
        return 2 if isinstance(error, ConfigError | verbs.UsageError) else 1
    except Paused as pause:
        return 128 + pause.number
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _workspace(options: argparse.Namespace) -> Path:
    given = getattr(options, "workspace", None)
    return Path(given).expanduser().resolve() if given else api.default_workspace()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cartl",
        description="Pre-train, transfer and attack networks, and see layer by layer where robustness is lost.",
        epilog=EXIT_CODES + " `cartl VERB --help` tells more about a verb.",
    )
    parser.add_argument("--version", action="version", version=f"cartl {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    group = common.add_argument_group("for every verb")
    group.add_argument(
        "--workspace",
        metavar="PATH",
        help="folder of runs; else $CARTL_WORKSPACE, else the user's data folder",
    )
    group.add_argument(
        "--json", action="store_true", help="print the results as JSON, and nothing else, to stdout"
    )
    group.add_argument("--verbose", "-v", action="store_true", help="tell more about what the engine does")
    added = parser.add_subparsers(metavar="VERB", required=True)

    def verb(name: str, action: Any, help: str, more: str = "") -> argparse.ArgumentParser:
        child = added.add_parser(
            name, parents=[common], help=help, description=f"{help[0].upper()}{help[1:]}. {more}".strip(),
            epilog=EXIT_CODES,
        )  # fmt: skip
        child.set_defaults(verb=action)
        return child

    child = verb("demo", verbs.demo, "make the small study that comes with the program, without any download")
    _add_study_options(child)

    child = verb("run", verbs.run, "make the runs of a study")
    child.add_argument("study", metavar="STUDY", help="a study file (.toml), or the name of a preset")
    _add_study_options(child)

    child = verb("resume", verbs.resume, "go on with one paused, stopped, interrupted or failed run")
    child.add_argument("run", metavar="RUN", help="id, name or folder of the run")

    child = verb(
        "attack", verbs.attack, "attack the model of a run, in a run of its own",
        "Settings that are left out are those of the attacked run's own attack.",
    )  # fmt: skip
    child.add_argument(
        "run", metavar="RUN_OR_CHECKPOINT", help="id, name or folder of a run, or a weights file"
    )
    _add_attack_and_images(child)
    device = MachineConfig.model_fields["device"]
    child.add_argument(
        "--device", choices=get_args(device.annotation), default="auto", help=device.description
    )

    child = verb(
        "inspect", verbs.inspect, "show each block's feature distance and spectral norm",
        "For a run, as last measured; a weights file is measured now, with the attack and images named.",
    )  # fmt: skip
    child.add_argument(
        "run", metavar="RUN_OR_CHECKPOINT", help="id, name or folder of a run, or a weights file"
    )
    _add_attack_and_images(child, without=("batch_size", "samples"))
    child.add_argument("--stage", choices=("pretraining", "finetuning"), help="else the last that was begun")
    child.add_argument("--layers", action="store_true", help="list every weighted layer too")

    verb("runs", verbs.runs, "list the runs of the workspace")

    child = verb(
        "results", results.results, "tell what a study found: means over seeds, intervals, comparisons",
        "Without STUDY it lists the studies of the workspace.",
    )  # fmt: skip
    child.add_argument("study", nargs="?", metavar="STUDY", help=_STUDY)
    child.add_argument(
        "--compare", nargs=2, action="append", default=[], metavar=("LINE_A", "LINE_B"),
        help="compare the robust accuracy of LINE_B with that of LINE_A at equal clean accuracy; a line is a cell's "
        "name without its k; may be given repeatedly",
    )  # fmt: skip
    _add_set(child)

    child = verb("report", results.write, "write the report of a study: HTML, CSV, JSON and SVG")
    child.add_argument("study", metavar="STUDY", help=_STUDY)
    child.add_argument(
        "--to", type=Path, required=True, metavar="FOLDER_OR_FILE",
        help="a folder for all files, or one file that ends in .html, .csv, .json or .svg",
    )  # fmt: skip
    _add_set(child)

    child = verb("export", verbs.export, "write the weights or the tables of a run")
    child.add_argument("run", metavar="RUN", help="id, name or folder of the run")
    child.add_argument("--weights", type=Path, metavar="FILE", help="weights to a .safetensors or .pt file")
    child.add_argument(
        "--stage", choices=("pretraining", "finetuning"), help="weights after which stage; else the last"
    )
    child.add_argument("--tables", type=Path, metavar="FOLDER", help="every table as CSV into a folder")
    child.set_defaults(verb=_export_something(child))

    child = verb(
        "import", weights.import_checkpoint, "make weights of this program from a checkpoint of the CARTL authors' code",
        "Architecture and classes are read from the file; what it cannot tell is asked for.",
    )  # fmt: skip
    _add_import_options(child)

    child = verb(
        "presets", verbs.presets, "list the studies that come with the program, or print one as TOML"
    )
    child.add_argument("name", nargs="?", metavar="NAME", help="print this one")
    return parser


def _export_something(parser: argparse.ArgumentParser) -> Any:
    def action(options: argparse.Namespace) -> int:
        if options.weights is None and options.tables is None:
            parser.error("name what to write: --weights FILE, --tables FOLDER or both")
        return verbs.export(options)

    return action


def _add_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="change a setting of every run that has it, such as attack.epsilon=4/255, also where the grid varies it; "
        "grid.seed=[0,1,2] changes the grid itself; may be given repeatedly",
    )  # fmt: skip


def _add_study_options(parser: argparse.ArgumentParser) -> None:
    _add_set(parser)
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME",
        help="make only the runs of this name (NAME@SEED: the one of this seed) and those that they start from; "
        "may be given repeatedly",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true", help="list the runs, with --resume also what there is of them; make nothing"
    )  # fmt: skip
    parser.add_argument(
        "--resume", action="store_true",
        help="go on with this study's runs of the same settings: keep the finished, resume the others, make the rest",
    )  # fmt: skip


def _add_attack_and_images(parser: argparse.ArgumentParser, without: Collection[str] = ()) -> None:
    group = parser.add_argument_group("the attack")
    for name, field in AttackConfig.model_fields.items():
        if name not in without:
            _add_setting(group, "--attack" if name == "name" else _flag(name), name, field)
    group = parser.add_argument_group("the images")
    for name in ("name", "path", "image_size", "test_size", "seed"):
        flag = "--data" if name == "name" else _flag(f"data_{name}")
        _add_setting(group, flag, f"data_{name}", DataConfig.model_fields[name])


def _add_import_options(parser: argparse.ArgumentParser) -> None:
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
        _add_setting(group, _flag(f"data_{field}"), f"data_{field}", DataConfig.model_fields[field])
    for field, kind, metavar in (("halved_blocks", int, "K"), ("spectral_bound", float, "BETA")):
        group.add_argument(_flag(field), type=kind, metavar=metavar, help=fields[field].description)
    for field in ("mean", "std"):
        group.add_argument(_flag(field), nargs=3, metavar=("R", "G", "B"), help=fields[field].description)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _add_setting(parser: argparse._ArgumentGroup, flag: str, name: str, field: FieldInfo) -> None:
    """Add one setting as an option; None if it is not given."""
    kind = field.annotation
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    unit = f" [{extra['unit']}]" if extra.get("unit") else ""
    help = f"{field.description}{unit}".replace("%", "%%")
    if kind is bool:
        parser.add_argument(flag, dest=name, action=argparse.BooleanOptionalAction, default=None, help=help)
    elif get_origin(kind) is Literal:
        parser.add_argument(flag, dest=name, choices=get_args(kind), default=None, help=help)
    else:
        convert: Any = int if kind is int else str
        metavar = "N" if kind is int else "X" if kind is float else "TEXT"
        parser.add_argument(flag, dest=name, type=convert, default=None, metavar=metavar, help=help)
