"""The folded network is the same function, made of less."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from engine.config import ModelConfig
from engine.models import BlockwiseModel, build_model
from engine.models.folding import folded
from engine.models.modes import batch_norms
from engine.models.resnet import ResNet
from engine.models.spectral_norm import constrain, constrained
from tests.engine.small import assert_unchanged, everything, images_and_labels, small_model, warm

pytestmark = pytest.mark.usefixtures("untouched_random_state")


def small_resnet(depth: int, stages: tuple[int, int, int, int]) -> BlockwiseModel:
    with torch.device("meta"):
        model = ResNet(ModelConfig(name="resnet", depth=depth), 5, stages)
    model.to_empty(device="cpu").initialise(torch.Generator().manual_seed(0))
    return model


def bound(model: BlockwiseModel) -> BlockwiseModel:
    """Halved sums and spectral bounds in the last three blocks."""
    model.halve_residuals(3)
    constrain(model.head(3), 2.0, torch.Generator().manual_seed(0), initial_iterations=3)
    return model


MODELS: dict[str, Callable[[], BlockwiseModel]] = {
    "WRN-10-1": small_model,
    "WRN-10-2": lambda: build_model(
        ModelConfig(depth=10, widen_factor=2), 5, torch.Generator().manual_seed(0)
    ),
    "WRN-16-1, bound": lambda: bound(small_model(depth=16)),
    "basic ResNet": lambda: small_resnet(18, (1, 1, 0, 0)),
    "bottleneck ResNet": lambda: small_resnet(50, (1, 1, 0, 0)),
    "basic ResNet, bound": lambda: bound(small_resnet(18, (1, 1, 1, 0))),
}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)


def outputs_and_gradient(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    images = images.clone().requires_grad_(True)
    logits = model(images)
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(logits, labels), images)
    return logits.detach(), gradient


@every_model
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4)], ids=["float64", "float32"]
)
def test_that_features_outputs_and_gradients_stay_the_same(
    make: Callable[[], BlockwiseModel], dtype: torch.dtype, tolerance: float
) -> None:
    model = warm(make()).eval().to(dtype)
    images, labels = images_and_labels(6)
    expected, expected_gradient = outputs_and_gradient(model, images.to(dtype), labels)
    copied = folded(model)
    logits, gradient = outputs_and_gradient(copied, images.to(dtype), labels)
    assert float((logits - expected).abs().max()) <= tolerance * float(expected.abs().max())
    assert float((gradient - expected_gradient).abs().max()) <= tolerance * float(
        expected_gradient.abs().max()
    )
    with torch.no_grad():
        features = zip(copied.features(images.to(dtype)), model.features(images.to(dtype)), strict=True)
    for found, wanted in features:
        assert float((found - wanted).abs().max()) <= tolerance * float(wanted.abs().max())
    assert float(expected.std(0).max()) > 1e-3, "a network that ignores its images shows nothing"


@every_model
def test_that_the_original_stays_as_it_was_and_shares_nothing(make: Callable[[], BlockwiseModel]) -> None:
    model = warm(make()).train()
    model.block(1).eval().requires_grad_(False)
    images, _ = images_and_labels(4)
    logits = model.eval()(images)
    logits.sum().backward()
    model.train()
    model.block(1).eval()
    before = everything(model)
    copied = folded(model)
    assert_unchanged(before, model)
    assert torch.equal(model.eval()(images), logits)
    assert not any(module.training for module in copied.modules())
    assert not any(parameter.requires_grad for parameter in copied.parameters())
    with torch.no_grad():
        before_change = copied(images)
        for tensor in model.state_dict().values():
            tensor.zero_()
        assert torch.equal(copied(images), before_change)


@every_model
def test_that_a_batch_norm_is_folded_if_and_only_if_it_alone_takes_what_a_convolution_gives(
    make: Callable[[], BlockwiseModel],
) -> None:
    """The pairs against what the tensors of one pass say, followed from layer to layer."""
    model = warm(make()).eval()
    names = {module: name for name, module in model.named_modules()}
    made: list[tuple[Tensor, str]] = []
    pairs: set[tuple[str, str]] = set()

    def follow(module: nn.Module, taken: tuple[Tensor], given: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            made.append((given, names[module]))
        if isinstance(module, nn.BatchNorm2d):
            pairs.update((name, names[module]) for tensor, name in made if tensor is taken[0])

    for module in model.modules():
        module.register_forward_hook(follow)
    images, _ = images_and_labels(2)
    model(images)
    named = [(names[layer], names[norm]) for layer, norm in model.foldable()]
    assert len(set(named)) == len(named)
    of_another_block = {("stem", "blocks.1.bn1")}
    assert set(named) == pairs - of_another_block
    left = {name for name, module in folded(model).named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert left == {names[norm] for norm in batch_norms([model])} - {norm for _, norm in named}


def test_that_pairs_are_those_of_the_architecture() -> None:
    wide, residual = small_model(), small_resnet(18, (1, 1, 0, 0))
    assert pair_names(wide) == [(f"blocks.{n}.conv1", f"blocks.{n}.bn2") for n in (1, 2, 3)]
    assert pair_names(residual) == [
        ("stem.0", "stem.1"),
        ("blocks.1.branch.0", "blocks.1.branch.1"), ("blocks.1.branch.3", "blocks.1.branch.4"),
        ("blocks.2.branch.0", "blocks.2.branch.1"), ("blocks.2.branch.3", "blocks.2.branch.4"),
        ("blocks.2.shortcut.0", "blocks.2.shortcut.1"),
    ]  # fmt: skip
    assert not batch_norms([folded(residual)])


def pair_names(model: BlockwiseModel) -> list[tuple[str, str]]:
    names = {module: name for name, module in model.named_modules()}
    return [(names[layer], names[norm]) for layer, norm in model.foldable()]


def test_that_a_convolution_with_a_bias_of_its_own_is_folded_too() -> None:
    model = warm(small_model()).eval()
    conv = model.block(2).conv1
    conv.bias = nn.Parameter(torch.linspace(-1, 1, conv.out_channels))
    images, _ = images_and_labels(4)
    with torch.no_grad():
        torch.testing.assert_close(folded(model)(images), model(images), rtol=1e-4, atol=1e-5)


def test_that_the_memory_format_is_kept_and_spectral_bounds_are_written_out() -> None:
    model = bound(warm(small_model())).to(memory_format=torch.channels_last)
    copied = folded(model)
    assert not list(constrained(copied))
    assert len(list(constrained(model))) == 4
    for module in copied.modules():
        if isinstance(module, nn.Conv2d):
            assert module.weight.is_contiguous(memory_format=torch.channels_last)
