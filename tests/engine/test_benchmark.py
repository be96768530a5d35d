"""The benchmark's textbook step is the method, and the same as the engine's."""

from __future__ import annotations

import argparse
import json

import pytest
import torch

from benchmarks.textbook import TextbookNetwork, textbook_step
from benchmarks.training import Bench
from engine.config import ModelConfig
from engine.models import build_model
from tests.engine.small import images_and_labels, warm
from tests.engine.test_reference import load, reference_network

NETWORKS = (ModelConfig(depth=16, widen_factor=2), ModelConfig(name="resnet", depth=18))


@pytest.mark.parametrize("config", NETWORKS, ids=lambda config: config.title)
@torch.no_grad()
def test_that_the_textbooks_network_is_the_engines_at_every_k(config: ModelConfig) -> None:
    model = warm(build_model(config, 10, torch.Generator().manual_seed(0))).eval()
    with torch.random.fork_rng():
        network = TextbookNetwork(config).eval()
    network.take_weights(model)
    images, _ = images_and_labels(2)
    for k in range(1, model.num_blocks + 1):
        for one, other in zip(network(images, k), model.forward_with_feature(images, k), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_that_the_textbooks_steps_follow_the_authors() -> None:
    kit, forward = load("fdm_training"), load("wrn_forward")
    model = reference_network()
    config = ModelConfig(depth=int(forward["depth"]), widen_factor=int(forward["widen_factor"]))
    with torch.random.fork_rng():
        network = TextbookNetwork(config, int(forward["num_classes"]))
    network.take_weights(model)
    optimiser = torch.optim.SGD(
        network.parameters(), lr=float(kit["lr"]), momentum=float(kit["momentum"]), weight_decay=float(kit["weight_decay"])
    )  # fmt: skip
    losses = []
    for pixels, labels in zip(kit["pixels"], kit["labels"], strict=True):
        x, y = torch.from_numpy(pixels), torch.from_numpy(labels)
        made = textbook_step(
            network, optimiser, x, y, torch.zeros_like(x), k=int(kit["k"]), weight=float(kit["lambda_"]),
            epsilon=float(kit["epsilon"]), step_size=float(kit["step_size"]), steps=int(kit["num_steps"]),
        )  # fmt: skip
        losses.append(made["loss"])
    assert losses[0] == pytest.approx(float(kit["losses"][0]), rel=1e-5)
    assert losses == pytest.approx(kit["losses"].tolist(), rel=5e-3)


OPTIONS = {
    "model": "wide_resnet", "device": "cpu", "depth": 10, "widen_factor": 1, "k": 3, "batch_size": 4, "attack_steps": 2,
    "rounds": 1, "warm_up": 0, "threads": 1, "block_steps": 2, "probe_size": 2, "image_size": 32, "augmentation": False, "tf32": False,
    "cudnn_benchmark": False, "metrics": False,
}  # fmt: skip


def test_that_every_variant_takes_the_same_first_step_and_gives_one_line_of_json() -> None:
    with torch.random.fork_rng():
        lines = {line["variant"]: line for line in Bench(argparse.Namespace(**OPTIONS)).compare_steps()}
    assert set(lines) == {"textbook", "engine float32", "engine bfloat16"}
    assert lines["engine float32"]["first_loss"] == pytest.approx(lines["textbook"]["first_loss"], rel=1e-4)
    for line in lines.values():
        json.dumps(line, allow_nan=False)
    # Attack 2 x 2F, attacked pass 3F, clean pass F and 2F for its trunk; F of a WRN-10-1 at 32 x 32 is counted here.
    forward = 2 * (
        32**2 * 9 * (3 * 16 + 16 * 16 * 2) + 16**2 * (9 * (16 * 32 + 32 * 32) + 16 * 32)
        + 8**2 * (9 * (32 * 64 + 64 * 64) + 32 * 64) + 640
    )  # fmt: skip
    counted = lines["textbook"]["gflop_per_image"] * 1e9
    assert 9 < counted / forward < 10


def test_that_watching_changes_no_weight_in_the_benchmark_either() -> None:
    (line,) = Bench(argparse.Namespace(**OPTIONS)).compare_metrics()
    assert line["same_weights"]
    assert line["block_steps"] == 2
