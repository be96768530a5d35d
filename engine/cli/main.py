"""The arguments of the command line, taken from the settings themselves where they are settings."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine import __version__, api
from engine.cli import estimating, inspecting, organising, results, verbs, weights
from engine.cli.client import Paused
from engine.cli.common import UsageError
from engine.cli.options import (
    add_attack_and_images,
    add_checkpoint_options,
    add_device,
    add_import_options,
    add_inspection_options,
    add_set,
    add_study_options,
)
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
        sys.stderr.write(f"cartl: {error}\n")
        return 2 if isinstance(error, ConfigError | UsageError) else 1
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
    add_study_options(child)

    child = verb("run", verbs.run, "make the runs of a study")
    child.add_argument("study", metavar="STUDY", help="a study file (.toml), or the name of a preset")
    add_study_options(child)

    child = verb(
        "estimate", estimating.estimate, "tell what a study will take: time, memory, disk",
        "A few steps of each run are timed, on random images; nothing is made or downloaded.",
    )  # fmt: skip
    child.add_argument("study", metavar="STUDY", help="a study file (.toml), or the name of a preset")
    add_study_options(child, dry_run=False)

    child = verb("resume", verbs.resume, "go on with one paused, stopped, interrupted or failed run")
    child.add_argument("run", metavar="RUN", help="id, name or folder of the run")

    child = verb(
        "attack", verbs.attack, "attack the model of a run, in a run of its own",
        "Settings that are left out are those of the attacked run's own attack while attack and norm are the same, "
        "else the defaults of the attack; epsilon stays while the norm does.",
    )  # fmt: skip
    child.add_argument(
        "run", metavar="RUN_OR_CHECKPOINT", help="id, name or folder of a run, or a weights file"
    )
    add_attack_and_images(child)
    add_checkpoint_options(child)
    add_device(child)

    verb("attacks", verbs.attacks, "list the attacks with their norms, settings and defaults")

    child = verb(
        "inspect", inspecting.inspect, "show distances, norms and Lipschitz bounds of each block, alone or beside another",
        "Of a run it is what was last measured, with --now what its weights give; a weights file is analysed now, with the "
        "attack and images named. With OTHER two are compared where blocks and layers have the same name.",
    )  # fmt: skip
    add_inspection_options(child)

    organising.add_verbs(verb)

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
    add_set(child)

    child = verb("report", results.write, "write the report of a study: HTML, CSV, JSON and SVG")
    child.add_argument("study", metavar="STUDY", help=_STUDY)
    child.add_argument(
        "--to", type=Path, required=True, metavar="FOLDER_OR_FILE",
        help="a folder for all files, or one file that ends in .html, .csv, .json or .svg; layers.svg, sweep.svg and other "
        "names of its files give just that one",
    )  # fmt: skip
    add_set(child)

    child = verb("export", verbs.export, "write the weights, the tables or the whole of a run")
    child.add_argument("run", metavar="RUN", help="id, name or folder of the run")
    child.add_argument("--weights", type=Path, metavar="FILE", help="weights to a .safetensors or .pt file")
    child.add_argument(
        "--stage", choices=("pretraining", "finetuning"), help="weights after which stage; else the last"
    )
    child.add_argument("--tables", type=Path, metavar="FOLDER", help="every table as CSV into a folder")
    child.add_argument(
        "--run", type=Path, dest="whole", metavar="FOLDER_OR_ZIP",
        help="the whole run, to be given away: a new folder, or a .zip file",
    )  # fmt: skip
    child.add_argument(
        "--no-checkpoint", action="store_false", dest="checkpoint",
        help="leave the checkpoint out of it: smaller, but cannot be gone on with",
    )  # fmt: skip
    child.add_argument("--overwrite", action="store_true", help="replace the .zip file if it is there")
    child.set_defaults(verb=_export_something(child))

    child = verb(
        "import-run", verbs.import_run, "take a run that was exported whole into the workspace",
        "Its files are checked one by one against their hashes; it keeps its id unless that is taken.",
    )  # fmt: skip
    child.add_argument("path", type=Path, metavar="FOLDER_OR_ZIP", help="what `cartl export RUN --run` wrote")

    child = verb(
        "import", weights.import_checkpoint, "make weights of this program from a checkpoint of the CARTL authors' code",
        "Architecture and classes are read from the file; what it cannot tell is asked for.",
    )  # fmt: skip
    add_import_options(child)

    child = verb(
        "presets", verbs.presets, "list the studies that come with the program, or print one as TOML"
    )
    child.add_argument("name", nargs="?", metavar="NAME", help="print this one")
    return parser


def _export_something(parser: argparse.ArgumentParser) -> Any:
    def action(options: argparse.Namespace) -> int:
        if options.weights is None and options.tables is None and options.whole is None:
            parser.error("name what to write: --weights FILE, --tables FOLDER or --run FOLDER_OR_ZIP")
        return verbs.export(options)

    return action
