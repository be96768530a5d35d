"""What must be known to rebuild a network from its weights: kept inside every weights file."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from engine.config import DataConfig, ModelConfig
from engine.errors import CheckpointError
from engine.models.base import BlockwiseModel, build_model

#: Key of the JSON text in a weights file's metadata.
METADATA_KEY = "cartl_model"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Structure and origin of a trained network.

    Attributes:
        config: architecture.
        class_names: the K classes it tells apart.
        num_halved: among how many last blocks residual sums are halved.
        boundary: number of frozen blocks in its last training, None if all were trained.
        data: the domain it was last trained on.
        history: one line per training it went through, oldest first.
    """

    config: ModelConfig
    class_names: tuple[str, ...]
    data: DataConfig
    num_halved: int = 0
    boundary: int | None = None
    history: tuple[str, ...] = ()

    def build(self, state: dict[str, Tensor]) -> BlockwiseModel:
        """The network with these weights, on the CPU.

        Raises:
            CheckpointError: the weights do not fit the structure.
        """
        model = build_model(self.config, len(self.class_names), torch.Generator())
        model.halve_residuals(self.num_halved)
        load_state(model, state)
        return model

    def trained(self, line: str, **changes: Any) -> ModelSpec:
        """The spec after one more training."""
        return replace(self, history=(*self.history, line), **changes)

    def to_metadata(self) -> dict[str, str]:
        """Text for a weights file's metadata."""
        values = {
            "config": self.config.model_dump(),
            "class_names": self.class_names,
            "data": self.data.model_dump(),
            "num_halved": self.num_halved,
            "boundary": self.boundary,
            "history": self.history,
        }
        return {METADATA_KEY: json.dumps(values)}

    @classmethod
    def from_metadata(cls, metadata: dict[str, str]) -> ModelSpec:
        """Read what `to_metadata` wrote.

        Raises:
            CheckpointError: it is missing or does not make sense.
        """
        if METADATA_KEY not in metadata:
            raise CheckpointError(
                "the weights do not say which network they belong to; expected a file exported by this program "
                f"(metadata {METADATA_KEY!r})"
            )
        try:
            values = json.loads(metadata[METADATA_KEY])
            boundary = values["boundary"]
            return cls(
                config=ModelConfig.model_validate(values["config"]),
                class_names=tuple(str(name) for name in values["class_names"]),
                data=DataConfig.model_validate(values["data"]),
                num_halved=int(values["num_halved"]),
                boundary=None if boundary is None else int(boundary),
                history=tuple(str(line) for line in values["history"]),
            )
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            raise CheckpointError(
                f"the description of the network in the weights is damaged: {error}"
            ) from error


def load_state(model: BlockwiseModel, state: dict[str, Tensor]) -> None:
    """Put weights into a network; names and shapes must be its own.

    Raises:
        CheckpointError: naming what is missing, unknown or of another shape.
    """
    own = model.state_dict()
    missing = sorted(own.keys() - state.keys())
    unknown = sorted(state.keys() - own.keys())
    shapes = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own.keys() & state.keys()
        if own[name].shape != state[name].shape
    ]
    if missing or unknown or shapes:
        parts = [
            f"{title}: {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}"
            for title, names in (
                ("missing", missing),
                ("unknown", unknown),
                ("of another shape", sorted(shapes)),
            )
            if names
        ]
        raise CheckpointError("the weights do not fit the network; " + "; ".join(parts))
    model.load_state_dict(state)
