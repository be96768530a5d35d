"""Entry point of the window: `cartl-gui [--workspace PATH] [--demo] [STUDY.toml]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cartl_gui.guard import reason_not_to_start


def main(argv: list[str] | None = None) -> int:
    """Start the window, or say in one sentence why it cannot start."""
    parser = argparse.ArgumentParser(
        prog="cartl-gui",
        description="See, layer by layer, why a transferred network keeps or loses its adversarial robustness.",
    )
    parser.add_argument(
        "study", nargs="?", type=Path, metavar="STUDY.toml", help="settings to propose in the form"
    )
    parser.add_argument("--workspace", type=Path, help="folder of runs; made if it does not exist")
    parser.add_argument("--demo", action="store_true", help="start the built-in demo at once")
    options = parser.parse_args(argv)
    reason = reason_not_to_start()
    if reason is not None:
        sys.stderr.write(f"{reason}\n")
        return 1
    from cartl_gui.app import run  # noqa: PLC0415 - Qt may be broken; the guard has to speak first

    return run(options.workspace, study=options.study, demo=options.demo)


if __name__ == "__main__":
    sys.exit(main())
