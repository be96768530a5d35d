"""What is measured, against numpy; and that measuring leaves no trace."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.attacks import attacks
from engine.config import AttackConfig, ModelConfig
from engine.control import Interrupted, RunControl
from engine.inspection.graph import trace
from engine.inspection.probe import Probe
from engine.inspection.rows import layers_row, look, probe_table
from engine.models import BlockwiseModel, build_model
from engine.models.modes import evaluation
from engine.models.spectral_norm import constrain
from engine.statistics import wilson
from tests.engine.small import (
    assert_unchanged,
    everything,
    images_and_labels,
    small_model,
    small_set,
    warm,
)

pytestmark = pytest.mark.usefixtures("untouched_random_state")

NETWORKS = (ModelConfig(depth=16, widen_factor=2), ModelConfig(name="resnet", depth=18))


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda config: config.title)
def network(request: pytest.FixtureRequest) -> BlockwiseModel:
    return warm(build_model(request.param, 5, torch.Generator().manual_seed(0)))


@pytest.fixture(scope="module")
def pair() -> tuple[Tensor, Tensor]:
    """Images and changed ones."""
    images, _ = images_and_labels(5)
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(8))
    return images, (images + 0.1 * (noise - 0.5)).clamp(0, 1)


def measured(model: BlockwiseModel, images: Tensor, adversarial: Tensor) -> dict[str, np.ndarray]:
    """The row of the table of layers."""
    graph = trace(model, images[:1])
    return layers_row(graph, look(model, graph, images, adversarial))


def spectral_norms(model: BlockwiseModel) -> np.ndarray:
    images = torch.zeros(1, 3, 8, 8)
    return measured(model, images, images)["layer_spectral_norm"][0]


def largest_singular_value(layer: nn.Module) -> float:
    weight = layer.weight.detach().double().numpy()
    return float(np.linalg.svd(weight.reshape(len(weight), -1), compute_uv=False)[0])


def test_that_spectral_norms_are_those_of_a_dense_decomposition(network: BlockwiseModel) -> None:
    expected = [largest_singular_value(layer.module) for layer in network.weighted_layers()]
    np.testing.assert_allclose(spectral_norms(network), expected, rtol=1e-6)


def test_that_under_the_constraint_the_used_weights_are_measured() -> None:
    model = small_model()
    constrain(model.head(3), 0.4, torch.Generator().manual_seed(0), initial_iterations=300)
    norms = spectral_norms(model)
    inside = np.array([layer.block > 2 for layer in model.weighted_layers()])
    np.testing.assert_allclose(norms[inside], 0.4, rtol=1e-4)
    assert (norms[~inside] > 1).all()


def distances_by_hooks(model: BlockwiseModel, images: Tensor, adversarial: Tensor) -> np.ndarray:
    """Mean over images of ||h(x') - h(x)|| / sqrt(d), caught at the input of each next block, in numpy."""
    caught: list[list[np.ndarray]] = []
    for batch in (images, adversarial):
        seen: list[np.ndarray] = []
        hooks = [
            model.block(number).register_forward_pre_hook(
                lambda _, inputs, seen=seen: seen.append(inputs[0].detach().double().numpy())
            )
            for number in range(2, model.num_blocks + 1)
        ]
        with evaluation(model), torch.no_grad():
            seen.append(model(batch).double().numpy())
        for hook in hooks:
            hook.remove()
        caught.append([*seen[:-1], seen[-1]])
    values = []
    for clean, attacked in zip(*caught, strict=True):
        difference = (attacked - clean).reshape(len(clean), -1)
        values.append(np.sqrt((difference**2).mean(1)).mean())
    return np.array(values)


def test_that_distances_are_those_between_the_blocks_outputs(network: BlockwiseModel, pair) -> None:
    found = measured(network, *pair)["distance"][0]
    assert found.shape == (network.num_blocks,)
    np.testing.assert_allclose(found, distances_by_hooks(network, *pair), rtol=2e-4)


def test_that_equal_images_have_no_distance(network: BlockwiseModel, pair) -> None:
    row = measured(network, pair[0], pair[0])
    assert not row["distance"].any()
    assert not row["layer_relative_distance"].any()
    assert np.isnan(row["amplification"]).all()


def test_that_a_block_shows_its_largest_layer_and_one_without_weights_shows_nothing() -> None:
    model = warm(small_model(depth=16))
    images, _ = images_and_labels(4)
    row = measured(model, images, images)
    norms, by_block = row["layer_spectral_norm"][0], row["spectral_norm"][0]
    layers = list(model.weighted_layers())
    assert norms.shape == (len(layers),)
    for number in range(1, model.num_blocks + 1):
        own = [norm for layer, norm in zip(layers, norms, strict=True) if layer.block == number]
        if number == model.num_blocks - 1:  # the final batch norm and activation
            assert not own
            assert math.isnan(by_block[number - 1])
        else:
            assert by_block[number - 1] == max(own)


def test_that_measuring_leaves_flags_buffers_gradients_and_random_state(pair) -> None:
    model = warm(small_model())
    constrain(model.head(3), 0.4, torch.Generator().manual_seed(0), initial_iterations=1)
    model(pair[0]).sum().backward()
    model.block(2).eval()
    model.block(1).requires_grad_(False)
    before = everything(model)
    measured(model, *pair)
    assert_unchanged(before, model)


def test_that_each_image_has_a_row_that_averages_to_that_of_all(network: BlockwiseModel, pair) -> None:
    graph = trace(network, pair[0][:1])
    pairs = look(network, graph, *pair)
    row = layers_row(graph, pairs)
    classes = torch.arange(5)
    table = probe_table(
        graph, pairs, samples=np.arange(5) * 7, labels=classes, predictions=(classes, classes.flip(0))
    )
    for name in ("distance", "layer_distance", "relative_distance", "layer_cosine", "layer_amplification"):
        np.testing.assert_allclose(table[name].mean(0), row[name][0], rtol=1e-6)
        np.testing.assert_allclose(table[name].std(0), row[f"{name}_errors"][0], rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(
        table["input_distance"], (pair[1] - pair[0]).flatten(1).norm(dim=1).numpy(), rtol=1e-5
    )
    assert table["sample"].tolist() == [0, 7, 14, 21, 28]
    assert table["adversarial_prediction"].tolist() == [4, 3, 2, 1, 0]


def probe_of(count: int = 10, *, batch_size: int = 4) -> Probe:
    return Probe(small_set(count), True, attacks["pgd"](AttackConfig(steps=2)), seed=5, batch_size=batch_size)


def test_that_a_look_gives_clean_images_and_a_verdict_on_all_and_leaves_no_trace() -> None:
    model, probe = warm(small_model()), probe_of()
    before = everything(model)
    images, verdict = probe.look(model, RunControl())
    assert_unchanged(before, model)
    assert torch.equal(images, probe.images.images.float() / 255)
    for name in ("clean_prediction", "adversarial_prediction", "robust", "restart", "adversarial"):
        assert len(getattr(verdict, name)) == 10, name
    again, second = probe.look(model, RunControl())
    assert torch.equal(verdict.adversarial, second.adversarial)
    assert torch.equal(images, again)


def test_that_a_look_attacks_misclassified_images_too() -> None:
    model, probe = warm(small_model()), probe_of()
    images, verdict = probe.look(model, RunControl())
    wrong = verdict.clean_prediction != probe.images.labels
    assert wrong.any()
    changed = (verdict.adversarial - images).flatten(1).abs().amax(1)
    assert (changed > 0.5 * probe.attack.config.epsilon).all()
    assert not verdict.robust[wrong].any()


def test_that_a_look_ends_when_a_pause_is_asked_for() -> None:
    control = RunControl()
    control.request("pause")
    model = small_model()
    with torch.no_grad():
        model.classifier.bias.copy_(torch.eye(5)[0] * 1e6)  # so that some images are right and get attacked
    with pytest.raises(Interrupted):
        probe_of().look(model, control)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 1998, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_that_wilson_intervals_are_the_published_ones(
    successes: int, trials: int, low: float, high: float
) -> None:
    found = wilson(successes, trials)
    assert found.value == successes / trials
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson(trials - successes, trials)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((found.low, found.high), abs=1e-12)


def test_that_wilson_intervals_hold_their_share_and_stay_within_bounds() -> None:
    for trials in (1, 2, 7, 100, 10_000):
        for successes in {0, 1, trials // 2, trials - 1, trials}:
            found = wilson(successes, trials)
            assert 0 <= found.low <= found.value <= found.high <= 1
    empty = wilson(0, 0)
    assert math.isnan(empty.value)
    assert (empty.low, empty.high) == (0, 1)
