"""Rows of the table of bounds: their order, what they are made of, and what is measured again."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.config import ModelConfig
from engine.inspection import bounds
from engine.inspection.bounds import BoundsMeter
from engine.inspection.graph import trace
from engine.inspection.live import LiveBounds, Pairs
from engine.inspection.norms import exact_norm
from engine.models.resnet import ResNet
from engine.models.spectral_norm import constrain, constrained
from tests.engine.small import assert_unchanged, everything, images_and_labels, small_model, warm

pytestmark = pytest.mark.usefixtures("untouched_random_state")


def halved_and_constrained() -> nn.Module:
    model = warm(small_model())
    model.halve_residuals(4)
    constrain(model.head(4), 0.4, torch.Generator().manual_seed(0), initial_iterations=30)
    return model


def unlike_ours() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.GELU(), nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=3),
        nn.MaxPool2d(3, 2, 1), nn.Flatten(), nn.Linear(24, 5),
    ).eval()  # fmt: skip


def narrow_resnet() -> nn.Module:
    return warm(ResNet(ModelConfig(name="resnet", depth=50), 5, stages=(1, 1, 0, 0)))


NETWORKS: dict[str, Any] = {
    "WRN": lambda: warm(small_model()),
    "NEFT": halved_and_constrained,
    "ResNet": narrow_resnet,
    "other": unlike_ours,
}


@pytest.fixture(scope="module")
def pairs() -> tuple[Tensor, Tensor]:
    """Images of 8 pixels a side, and changed ones."""
    images = images_and_labels(6)[0][..., ::2, ::2].contiguous()
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(8))
    return images, (images + 0.1 * (noise - 0.5)).clamp(0, 1)


def measured(model: nn.Module, pairs: tuple[Tensor, Tensor], **options: Any) -> dict[str, np.ndarray]:
    meter = BoundsMeter(torch.Generator().manual_seed(1))
    return meter.measure(model, trace(model, pairs[0][:1]), *pairs, batch_size=4, **options)


@pytest.mark.parametrize("name", NETWORKS)
def test_that_no_bound_contradicts_another_and_no_trace_is_left(
    name: str, pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.random.fork_rng():
        model = NETWORKS[name]()
    monkeypatch.setattr(bounds, "SEARCH_STEPS", 3)
    before = everything(model)
    row = measured(model, pairs, care="closing")
    assert_unchanged(before, model)
    assert row["violations"].tolist() == [0]
    for band in ("layer", "layer_unfolded", "block", "log10"):
        upper, estimate, lower = (row[f"{band}_{kind}"] for kind in ("upper", "estimate", "lower"))
        slack = 1e-5 * np.abs(upper)
        assert np.isfinite([upper, estimate, lower]).all(), band
        assert (upper + slack >= estimate).all(), band
        assert (estimate + slack >= lower).all(), band
        assert (lower > (0 if band != "log10" else -9)).all()
    # Bounds are not of the kind that is never wrong because it is never near.
    assert (row["layer_unfolded_estimate"] > 0.5 * row["layer_unfolded_upper"]).all()


def test_that_the_numbers_of_a_layer_are_those_of_its_operator(pairs) -> None:
    model = halved_and_constrained()
    row = measured(model, pairs, care="full")
    layers = trace(model, pairs[0][:1]).layers
    exact = np.array([exact_norm(layer.map) for layer in layers])
    np.testing.assert_allclose(row["layer_unfolded_estimate"][0], exact, rtol=5e-3)
    assert (row["layer_unfolded_upper"][0] >= exact * (1 - 1e-6)).all()
    reshaped = [float(torch.linalg.matrix_norm(layer.map.weight.flatten(1), 2)) for layer in layers]
    np.testing.assert_allclose(row["layer_reshaped"][0], reshaped, rtol=1e-5)
    sigma = {layer: float(spectral.sigma(weight.detach())) for layer, spectral, weight in constrained(model)}
    modules = dict(model.named_modules())
    for layer, found in zip(layers, row["layer_sigma"][0], strict=True):
        expected = sigma.get(modules[layer.name])
        assert math.isnan(found) if expected is None else found == pytest.approx(expected, rel=1e-6)
    assert 0 < len(sigma) < len(layers)


def test_that_contradictions_are_counted_and_shown_as_they_are(
    pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = bounds.upper_bounds
    model = warm(small_model())
    sound = measured(model, pairs)
    monkeypatch.setattr(bounds, "upper_bounds", lambda maps: 0.5 * right(maps))
    row = measured(model, pairs)
    wrong = row["layer_unfolded_upper"] < row["layer_unfolded_estimate"]
    assert wrong.all()
    assert row["violations"][0] >= wrong.sum()
    np.testing.assert_allclose(row["layer_unfolded_upper"], 0.5 * sound["layer_unfolded_upper"], rtol=1e-6)
    np.testing.assert_allclose(row["layer_unfolded_estimate"], sound["layer_unfolded_estimate"], rtol=1e-6)


def test_that_only_what_changed_is_bounded_again(pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    right = bounds.upper_bounds

    def counted(maps: list[Any]) -> Tensor:
        counts[-1] += len(maps)
        return right(maps)

    monkeypatch.setattr(bounds, "upper_bounds", counted)
    model = warm(small_model())
    meter = BoundsMeter(torch.Generator().manual_seed(1))

    def look() -> dict[str, np.ndarray]:
        counts.append(0)
        return meter.measure(model, trace(model, pairs[0][:1]), *pairs, batch_size=8)

    first = look()
    again = look()
    with torch.no_grad():
        model.classifier.weight.mul_(2.0)
    third = look()
    assert counts[0] >= 2 * 10
    assert counts[1:] == [0, 2], "the classifier alone, and with the last batch norm"
    np.testing.assert_array_equal(again["layer_upper"], first["layer_upper"])
    assert third["layer_upper"][0, -1] == pytest.approx(2 * first["layer_upper"][0, -1], rel=1e-5)
    np.testing.assert_array_equal(third["layer_upper"][0, :-1], first["layer_upper"][0, :-1])


def test_that_samples_keep_to_their_share_of_the_time(pairs) -> None:
    live = LiveBounds(0.01, seed=0, stage="pretraining")
    assert not live.is_due(1e9), "nothing is known about the cost yet"
    live.add(2.0, aside=30.0)
    assert not live.is_due(429)
    assert live.is_due(430), "as long again for the sample as for the distances"
    model = warm(small_model())
    row = live.sample(model, Pairs(*pairs, are_trained_on=True), step=40, seconds=430)
    spent = row["live_share"][0] * 400
    assert row["interval"].tolist() == [40]
    assert spent > 2
    due = (spent + spent - 2) / 0.01 + 30
    assert live.is_due(due * 1.001)
    assert not live.is_due(due * 0.999)
    assert np.isfinite(row["batch_distance"]).all()
    resumed = LiveBounds(0.01, seed=0, stage="pretraining")
    resumed.load_state(live.state())
    assert resumed.state() == live.state()
    assert np.isnan(live.sample(model, Pairs(*pairs), step=60, seconds=300)["batch_distance"]).all()
    off = LiveBounds(0.0, seed=0, stage="pretraining")
    off.add(1e-9, aside=0.0)
    assert not off.is_due(1e9)
