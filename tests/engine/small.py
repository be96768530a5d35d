"""The smallest real runs: a WRN-10-1 on a few drawn characters, seconds long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from engine import api
from engine.config import ModelConfig, RunConfig, StudyConfig, parse_study
from engine.data import ImageSet
from engine.events import ENDED, EngineEvent, EngineReady, RequestFailed, RunChanged, RunInfo
from engine.models import BlockwiseModel, build_model
from engine.models.modes import batch_norms
from engine.store.checkpoints import load_weights
from engine.store.workspace import Workspace

CHAIN = """
title = "Chain"
[defaults]
model = { depth = 10, widen_factor = 1 }
source = { name = "letters", image_size = 16, train_size = 78, validation_size = 26, test_size = 26 }
target = { name = "digits", image_size = 16, train_size = 60, validation_size = 20, test_size = 40 }
machine = { threads = 1, device = "cpu" }
inspection = { bounds = false }
[[runs]]
name = "chain"
[runs.pretraining]
method = "fdm"
epochs = 2
batch_size = 26
attack = { epsilon = "8/255", step_size = "4/255", steps = 3 }
[runs.finetuning]
method = "neft"
num_finetuned_blocks = 3
epochs = 2
batch_size = 20
[runs.attack]
steps = 3
restarts = 2
batch_size = 20
"""


def chain(*overrides: str) -> StudyConfig:
    """One run through all three stages."""
    return parse_study(CHAIN, overrides)


def only(study: StudyConfig) -> RunConfig:
    """The run of a study with one run."""
    (run,) = study.runs
    return run


def small_model(classes: int = 5, seed: int = 0, depth: int = 10) -> BlockwiseModel:
    """A WRN-d-1 with drawn weights."""
    return build_model(ModelConfig(depth=depth), classes, torch.Generator().manual_seed(seed))


def images_and_labels(
    count: int = 12, classes: int = 5, *, size: int = 16, seed: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random images [count, 3, size, size] in [0, 1] and labels."""
    draw = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, size, size, generator=draw)
    return images, torch.randint(classes, (count,), generator=draw)


def small_set(count: int = 24, classes: int = 5, *, size: int = 16, seed: int = 1) -> ImageSet:
    """Images that can be learnt: each class has a brightness of its own, under noise."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    noise = torch.randint(-40, 41, (count, 3, size, size), generator=draw)
    images = (noise + (40 + 170 * labels / max(1, classes - 1)).long().reshape(-1, 1, 1, 1)).clamp(0, 255)
    return ImageSet(
        images.to(torch.uint8), labels, tuple(map(str, range(classes))), torch.arange(count) + 1000
    )


def warm(model: BlockwiseModel, *, seed: int = 9) -> BlockwiseModel:
    """Give batch norm statistics and affine parameters that are not the first ones, as after a training."""
    draw = torch.Generator().manual_seed(seed)
    for layer in batch_norms([model]):
        for tensor, low, high in (
            (layer.weight.data, 0.5, 1.5), (layer.bias.data, -0.2, 0.2),
            (layer.running_mean, -0.2, 0.2), (layer.running_var, 0.5, 1.5),
        ):  # fmt: skip
            tensor.uniform_(low, high, generator=draw)
    model.set_normalisation(torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3]))
    return model


def everything(model: nn.Module) -> dict[str, object]:
    """All that looking at a network must leave as it was: bits, gradients, flags and the global random state."""
    return {
        "state": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "gradients": {
            name: None if parameter.grad is None else parameter.grad.clone()
            for name, parameter in model.named_parameters()
        },
        "training": {name: module.training for name, module in model.named_modules()},
        "requires_grad": {name: parameter.requires_grad for name, parameter in model.named_parameters()},
        "random": torch.random.get_rng_state(),
    }


def assert_unchanged(before: dict[str, object], model: nn.Module) -> None:
    """Fail with the name of what is not as `everything` found it."""
    after = everything(model)
    assert_same_bits(after["state"], before["state"])  # type: ignore[arg-type]
    for name, gradient in before["gradients"].items():  # type: ignore[attr-defined]
        now = after["gradients"][name]  # type: ignore[index]
        assert (gradient is None) == (now is None), f"gradient of {name}"
        assert gradient is None or torch.equal(gradient, now), f"gradient of {name}"
    assert after["training"] == before["training"]
    assert after["requires_grad"] == before["requires_grad"]
    assert torch.equal(after["random"], before["random"])  # type: ignore[arg-type]


@contextmanager
def open_session(workspace: Path) -> Iterator[api.Session]:
    """A session that is closed, and whose thread has ended, afterwards."""
    session = api.Session(workspace)
    session.open()
    try:
        yield session
    finally:
        assert session.close(timeout=60)


def follow(
    session: api.Session,
    run_ids: list[str],
    *,
    each: Callable[[EngineEvent], None] = lambda event: None,
    seconds: float = 90,
) -> dict[str, RunInfo]:
    """Take events until all runs have ended."""
    last: dict[str, RunInfo] = {}
    until = time.monotonic() + seconds
    while not all(run_id in last and last[run_id].state in ENDED for run_id in run_ids):
        event = session.events.get(timeout=max(0.1, until - time.monotonic()))
        each(event)
        if isinstance(event, RunChanged):
            last[event.run.id] = event.run
    return last


def wait_for(
    session: api.Session, kind: type, *, each: Callable[[EngineEvent], None] = lambda event: None,
    seconds: float = 60,
) -> EngineEvent:  # fmt: skip
    """Take events until one of this kind comes, showing all; a refused request fails the test."""
    until = time.monotonic() + seconds
    while True:
        event = session.events.get(timeout=max(0.1, until - time.monotonic()))
        each(event)
        if isinstance(event, kind):
            return event
        assert not isinstance(event, RequestFailed), event.message


def carry_out(workspace: Path, study: StudyConfig) -> dict[str, RunInfo]:
    """Make all runs of a study in a session of their own; the infos by run name."""
    with open_session(workspace) as session:
        ids = [info.id for info in session.submit(study)]
        ended = follow(session, ids)
    return {ended[run_id].name: ended[run_id] for run_id in ids}


def weights_of(workspace: Path, info: RunInfo, stage: str = "finetuning") -> dict[str, torch.Tensor]:
    """The weights that a run kept after a stage."""
    tensors, _ = load_weights(Workspace(workspace).folder(info.id).weights_path(stage))  # type: ignore[arg-type]
    return tensors


def assert_same_bits(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """Fail with the names of the tensors that differ in any bit."""
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different, f"these differ: {different}"


__all__ = [
    "EngineReady",
    "assert_same_bits",
    "assert_unchanged",
    "carry_out",
    "chain",
    "everything",
    "follow",
    "images_and_labels",
    "only",
    "open_session",
    "small_model",
    "small_set",
    "wait_for",
    "warm",
    "weights_of",
]
