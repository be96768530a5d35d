"""Weights that leave the workspace: where they come from travels inside the file and beside it.

model.safetensors          or .pt: the weights; run, stage, settings and hashes stand in its metadata
model.safetensors.toml     the settings, which `cartl run` reads
model.safetensors.sha256   the file's SHA-256, as `sha256sum -c` reads it
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from engine import __version__
from engine.config import STAGE_TITLES, StageName
from engine.errors import CheckpointError
from engine.store.atomic import write_text
from engine.store.checkpoints import TENSORS_KEY, digest_of, load_weights, save_weights
from engine.store.run_folder import CONFIG_FILE, RunFolder, read_text
from engine.store.tensor_files import sha256_of

#: Entries of the metadata beside the network's own description.
RUN_KEY, STAGE_KEY, PROGRAM_KEY = "run", "stage", "program"
CONFIG_KEY, CONFIG_HASH_KEY = "config", "config_sha256"


def export_weights(folder: RunFolder, stage: StageName, destination: Path) -> None:
    """Write the weights after a training stage, replacing what is there.

    Args:
        folder: the run.
        stage: the training stage.
        destination: ends in .safetensors, or in .pt for `torch.load(..., weights_only=True)`.

    Raises:
        CheckpointError: the stage has not finished.
        StoreError: the weights cannot be read, the name has another ending, or a file cannot be written.
    """
    source = folder.weights_path(stage)
    if not source.exists():
        raise CheckpointError(f"there are no weights yet: the {stage} of this run has not finished")
    tensors, metadata = load_weights(source)
    settings = read_text(folder.path / CONFIG_FILE)
    config_hash = hashlib.sha256(settings.encode()).hexdigest()
    origin = {
        RUN_KEY: folder.id,
        STAGE_KEY: stage,
        PROGRAM_KEY: f"CARTL Workbench {__version__}",
        CONFIG_KEY: settings,
        CONFIG_HASH_KEY: config_hash,
        TENSORS_KEY: digest_of(tensors),
    }
    save_weights(destination, tensors, metadata | origin)
    head = (
        f"# Settings of the run whose weights after its {STAGE_TITLES[stage].lower()} are in {destination.name}.\n"
        f"# run: {folder.id}\n"
        f"# SHA-256 of the weights file: {sha256_of(destination)}\n"
        f"# SHA-256 of the run's config.toml: {config_hash}\n\n"
    )
    write_text(destination.with_name(destination.name + ".toml"), head + settings)
