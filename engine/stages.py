"""What a stage of a run is, and what the run gives it.

A stage knows its layout and cost before it starts, so that the run's file and its progress can be laid out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from engine.config import DataConfig, ModelConfig, RunConfig, StageName
from engine.control import RunControl
from engine.data import Domain
from engine.errors import CheckpointError
from engine.events import AttackResult, Columns, EngineEvent, StageLayout, TableName
from engine.models.spec import ModelSpec
from engine.store.checkpoints import load_weights
from engine.store.run_folder import LogLevel, RunFolder
from engine.training.loop import Recorder


class Host(Recorder, Protocol):
    """The run that a stage belongs to, as the stage sees it."""

    config: RunConfig
    folder: RunFolder
    parent_weights: Path | None
    surrogate_weights: Path | None
    device: torch.device
    control: RunControl
    emit: Callable[[EngineEvent], None]

    def domain(self, data: DataConfig) -> Domain:
        """A data set, loaded once per run."""

    def latest_checkpoint(self, stage: StageName) -> dict[str, Any] | None:
        """The state to go on from, if the newest checkpoint belongs to this stage."""

    def tables(self, stage: StageName) -> Mapping[TableName, Columns]:
        """All rows of a stage so far."""

    def log(self, level: LogLevel, text: str) -> None:
        """Write a line to the run's log."""


class Stage(Protocol):
    """One stage: what it will fill in, its cost in passes through the network, and its work."""

    layout: StageLayout
    cost: float

    def kept(self, host: Host, tables: Mapping[TableName, Columns]) -> tuple[dict[TableName, Columns], float]:
        """What a file of the same run holds that the stage goes on from, and which share 0..1 of its work that is."""

    def work(self, host: Host) -> AttackResult | None:
        """Carry the stage out, from where it last stood; raises `Interrupted` if asked to pause or stop."""


def path_before(host: Host, stage: StageName) -> Path:
    """The weights file that a stage finds: that of the run's own earlier training, else the one it starts from.

    Raises:
        CheckpointError: there is none.
    """
    earlier = [own for own in host.config.stages if own not in (stage, "attack")]
    path = host.folder.weights_path(earlier[-1]) if earlier else host.parent_weights
    if path is None:
        raise CheckpointError(f"the {stage} stage has no weights to start from")
    return path


def weights_before(host: Host, stage: StageName) -> tuple[dict[str, Tensor], ModelSpec]:
    """The weights of this program that a stage finds, see `path_before`.

    Raises:
        CheckpointError: there are none, or they belong to another network than the settings name.
    """
    path = path_before(host, stage)
    tensors, metadata = load_weights(path)
    spec = ModelSpec.from_metadata(metadata)
    require_model(host, spec, path)
    return tensors, spec


def model_config(host: Host) -> ModelConfig:
    """The network that a run trains: as the settings say, else that of the weights it starts from.

    Raises:
        CheckpointError: these cannot be read.
    """
    return host.config.model or weights_before(host, "finetuning")[1].config


def require_model(host: Host, spec: ModelSpec, path: Path) -> None:
    """Refuse weights of another network than the settings name.

    Raises:
        CheckpointError: they are.
    """
    if host.config.model is not None and spec.config != host.config.model:
        raise CheckpointError(
            f"{path} holds a {spec.config.title}, but the settings name a {host.config.model.title}; "
            "leave the model out of the settings to take over the one in the file"
        )
