"""The verb `import`: checkpoints of the CARTL authors' code become weights of this program."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine import api
from engine.cli import report
from engine.cli.common import UsageError, client_of, say
from engine.cli.progress import showing
from engine.config import DataConfig, ImportConfig, validate
from engine.events import Exported

#: Settings of an import that are options under their own names.
_OPTIONS = ("halved_blocks", "mean", "std", "spectral_bound")


def import_checkpoint(options: argparse.Namespace) -> int:
    """Recognise a checkpoint, write it as weights of this program, and tell what was found."""
    path = Path(options.checkpoint).expanduser().absolute()
    config = validate(ImportConfig, _values(options))
    destination = Path(options.to).expanduser().absolute() if options.to else api.import_destination(path)
    if destination.exists() and not options.force:
        raise UsageError(f"{destination} exists; name another file with --to, or replace it with --force.")
    with showing() as display, client_of(options, display) as client:
        exported = client.import_weights(path, config, destination, overwrite=options.force)
    say(report.as_json(_as_json(exported)) if options.json else _as_text(exported))
    return 0


def _values(options: argparse.Namespace) -> dict[str, Any]:
    given = {name: value for name in _OPTIONS if (value := getattr(options, name)) is not None}
    data = {
        name: value
        for name in DataConfig.model_fields
        if (value := getattr(options, f"data_{name}", None)) is not None
    }
    return given | {"data": data}


def _as_json(exported: Exported) -> dict[str, Any]:
    imported = exported.imported
    if imported is None:
        return {"written": exported.path}
    values = asdict(imported)
    found = values.pop("found")
    model = imported.found.model
    found |= {"model": model.model_dump(), "architecture": model.title, "num_blocks": model.num_blocks}
    return {"written": exported.path, **found, **values}


def _as_text(exported: Exported) -> str:
    rows = dict[str, str]()
    lines = []
    if (imported := exported.imported) is not None:
        found = imported.found
        rows = {
            "Architecture": found.model.title,
            "Blocks": str(found.model.num_blocks),
            "Classes": str(found.num_classes),
            "Data": imported.data,
            "Halved blocks": str(imported.halved_blocks or "none"),
            "Mean": f"{_listed(imported.mean)} ({imported.normalisation_from})",
            "Std": _listed(imported.std),
            "Spectral weights": ", ".join(f"block {number}" for number in found.constrained_blocks) or "none",
            "Dropped": ", ".join(found.dropped) or "nothing",
        }
        lines = list(imported.notes)
    width = max(map(len, rows), default=0)
    table = [f"{title.ljust(width)}  {value}" for title, value in rows.items()]
    return "\n".join([*table, *lines, f"Written: {exported.path}"])


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)
