"""Networks of other programs, each against a reference written with plain operations, or against torchvision itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import get_model

from engine.config import CheckpointConfig, DataConfig, ModelConfig
from engine.errors import CheckpointError, DamagedFileError, UntrustedFileError
from engine.loading import LoadedNetwork, load_network
from engine.models.foreign import build_foreign
from engine.models.spec import ModelSpec
from engine.store import checkpoints
from engine.store.checkpoints import save_weights
from tests.engine.authors_files import as_authors
from tests.engine.small import images_and_labels, small_model, warm

State = dict[str, Tensor]
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
CLASSES = 7


class Weights:
    """Draws the weights of a network under given names."""

    def __init__(self, seed: int = 0) -> None:
        self._draw = torch.Generator().manual_seed(seed)
        self.state: State = {}

    def convolution(self, name: str, inside: int, outside: int, kernel: int) -> None:
        self.state[f"{name}.weight"] = 0.3 * torch.randn(
            outside, inside, kernel, kernel, generator=self._draw
        )

    def norm(self, name: str, channels: int) -> None:
        for part, low, high in (
            ("weight", 0.5, 1.5), ("bias", -0.2, 0.2), ("running_mean", -0.2, 0.2), ("running_var", 0.5, 1.5),
        ):  # fmt: skip
            self.state[f"{name}.{part}"] = torch.empty(channels).uniform_(low, high, generator=self._draw)
        self.state[f"{name}.num_batches_tracked"] = torch.tensor(3)

    def linear(self, name: str, inside: int) -> None:
        self.state[f"{name}.weight"] = torch.randn(CLASSES, inside, generator=self._draw)
        self.state[f"{name}.bias"] = torch.randn(CLASSES, generator=self._draw)


def norm(state: State, name: str, hidden: Tensor) -> Tensor:
    mean, variance, weight, bias = (
        state[f"{name}.{part}"].reshape(1, -1, 1, 1)
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (hidden - mean) / (variance + 1e-5).sqrt() * weight + bias


def convolution(state: State, name: str, hidden: Tensor, stride: int = 1) -> Tensor:
    weight = state[f"{name}.weight"]
    return F.conv2d(hidden, weight, stride=stride, padding=weight.shape[-1] // 2)


def pooled(state: State, name: str, hidden: Tensor) -> Tensor:
    logits = hidden.flatten(2).mean(2) @ state[f"{name}.weight"].t()
    return logits + state[f"{name}.bias"] if f"{name}.bias" in state else logits


def activated_block(
    state: State, place: str, hidden: Tensor, stride: int, *, shortcut: str, raw: bool
) -> Tensor:
    first = norm(state, f"{place}.bn1", hidden).relu()
    second = norm(state, f"{place}.bn2", convolution(state, f"{place}.conv1", first, stride)).relu()
    around = hidden
    if f"{place}.{shortcut}.weight" in state:
        around = convolution(state, f"{place}.{shortcut}", hidden if raw else first, stride)
    return around + convolution(state, f"{place}.conv2", second)


def wide_state(blocks: int = 1) -> State:
    """A wide ResNet of TRADES' names with 5, 6, 12 and 20 channels."""
    weights = Weights()
    weights.convolution("conv1", 3, 5, 3)
    inside = 5
    for group, outside in enumerate((6, 12, 20), start=1):
        for index in range(blocks):
            place = f"block{group}.layer.{index}"
            weights.norm(f"{place}.bn1", inside)
            weights.convolution(f"{place}.conv1", inside, outside, 3)
            weights.norm(f"{place}.bn2", outside)
            weights.convolution(f"{place}.conv2", outside, outside, 3)
            if inside != outside:
                weights.convolution(f"{place}.convShortcut", inside, outside, 1)
            inside = outside
    weights.norm("bn1", inside)
    weights.linear("fc", inside)
    return weights.state


def wide_reference(state: State, images: Tensor, blocks: int = 1) -> Tensor:
    hidden = convolution(state, "conv1", images)
    for group in (1, 2, 3):
        for index in range(blocks):
            stride = 2 if group > 1 and index == 0 else 1
            place = f"block{group}.layer.{index}"
            hidden = activated_block(state, place, hidden, stride, shortcut="convShortcut", raw=False)
    return pooled(state, "fc", norm(state, "bn1", hidden).relu())


def preact_state(*, last_norm: bool) -> State:
    """A PreActResNet of pytorch-cifar's names, one block in each stage, 4 to 12 channels."""
    weights = Weights(1)
    weights.convolution("conv1", 3, 4, 3)
    inside = 4
    for stage, outside in enumerate((4, 6, 8, 12), start=1):
        place = f"layer{stage}.0"
        weights.norm(f"{place}.bn1", inside)
        weights.convolution(f"{place}.conv1", inside, outside, 3)
        weights.norm(f"{place}.bn2", outside)
        weights.convolution(f"{place}.conv2", outside, outside, 3)
        if inside != outside:
            weights.convolution(f"{place}.shortcut.0", inside, outside, 1)
        inside = outside
    if last_norm:
        weights.norm("bn", inside)
    weights.linear("linear", inside)
    return weights.state


def preact_reference(state: State, images: Tensor, *, raw: bool) -> Tensor:
    hidden = convolution(state, "conv1", images)
    for stage in (1, 2, 3, 4):
        hidden = activated_block(
            state, f"layer{stage}.0", hidden, 1 + (stage > 1), shortcut="shortcut.0", raw=raw
        )
    if "bn.weight" in state:
        hidden = norm(state, "bn", hidden).relu()
    return pooled(state, "linear", hidden)


def resnet_state(counts: tuple[int, ...], *, bottleneck: bool) -> State:
    """A ResNet of pytorch-cifar's names with few channels."""
    weights = Weights(2)
    weights.convolution("conv1", 3, 4, 3)
    weights.norm("bn1", 4)
    inside = 4
    for stage, count in enumerate(counts, start=1):
        width = 2 + stage
        outside = 4 * width if bottleneck else width
        for index in range(count):
            place = f"layer{stage}.{index}"
            channels = [inside, width, width, outside] if bottleneck else [inside, width, outside]
            for number, kernel in enumerate((1, 3, 1) if bottleneck else (3, 3), start=1):
                weights.convolution(f"{place}.conv{number}", channels[number - 1], channels[number], kernel)
                weights.norm(f"{place}.bn{number}", channels[number])
            if inside != outside or (stage > 1 and index == 0):
                weights.convolution(f"{place}.shortcut.0", inside, outside, 1)
                weights.norm(f"{place}.shortcut.1", outside)
            inside = outside
    weights.linear("linear", inside)
    return weights.state


def resnet_reference(
    state: State, images: Tensor, counts: tuple[int, ...] = (1, 1, 1, 1), *, bottleneck: bool = False
) -> Tensor:
    hidden = norm(state, "bn1", convolution(state, "conv1", images)).relu()
    for stage, count in enumerate(counts, start=1):
        for index in range(count):
            place, stride = f"layer{stage}.{index}", 2 if stage > 1 and index == 0 else 1
            strides = (1, stride, 1) if bottleneck else (stride, 1)
            branch = hidden
            for number, step in enumerate(strides, start=1):
                branch = norm(
                    state, f"{place}.bn{number}", convolution(state, f"{place}.conv{number}", branch, step)
                )
                branch = branch.relu() if number < len(strides) else branch
            around = hidden
            if f"{place}.shortcut.0.weight" in state:
                around = norm(
                    state, f"{place}.shortcut.1", convolution(state, f"{place}.shortcut.0", hidden, stride)
                )
            hidden = (around + branch).relu()
    return pooled(state, "linear", hidden)


#: Architecture, weights, reference, and title.
ROWS: list[tuple[str, Callable[[], State], Callable[[State, Tensor], Tensor], str]] = [
    ("wide_resnet", wide_state, wide_reference, "WRN-10-0.375 (ReLU)"),
    ("wide_resnet", lambda: wide_state(2), lambda s, x: wide_reference(s, x, 2), "WRN-16-0.375 (ReLU)"),
    ("preact_resnet", lambda: preact_state(last_norm=True), lambda s, x: preact_reference(s, x, raw=False),
     "PreActResNet of 1, 1, 1, 1 basic blocks"),
    ("preact_resnet", lambda: preact_state(last_norm=False), lambda s, x: preact_reference(s, x, raw=False),
     "PreActResNet of 1, 1, 1, 1 basic blocks"),
    ("preact_resnet_raw_shortcut", lambda: preact_state(last_norm=False),
     lambda s, x: preact_reference(s, x, raw=True), "PreActResNet of 1, 1, 1, 1 basic blocks"),
    ("resnet", lambda: resnet_state((2, 2, 2, 2), bottleneck=False),
     lambda s, x: resnet_reference(s, x, (2, 2, 2, 2)), "ResNet-18 with the CIFAR stem"),
    ("resnet", lambda: resnet_state((3, 4, 6, 3), bottleneck=True),
     lambda s, x: resnet_reference(s, x, (3, 4, 6, 3), bottleneck=True), "ResNet-50 with the CIFAR stem"),
]  # fmt: skip


def written(folder: Path, state: State) -> Path:
    path = folder / "foreign.safetensors"
    save_file(state, path)
    return path


def normalised(images: Tensor, mean: list[float] = MEAN, std: list[float] = STD) -> Tensor:
    return (images - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(std).reshape(3, 1, 1)


def logits(network: LoadedNetwork, images: Tensor) -> Tensor:
    with torch.no_grad():
        return network.module(images)


def assert_close(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) < 1e-5 * float(expected.abs().max())


def message(path: Path, checkpoint: CheckpointConfig | None) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_network(path, checkpoint)
    return str(caught.value)


@pytest.mark.parametrize(("architecture", "made", "reference", "title"), ROWS)
def test_that_a_state_dict_computes_what_the_paper_says(
    tmp_path: Path,
    architecture: str,
    made: Callable[[], State],
    reference: Callable[[State, Tensor], Tensor],
    title: str,
) -> None:
    state, (images, _) = made(), images_and_labels(3, size=16)
    path = written(tmp_path, state)
    random = torch.random.get_rng_state()
    network = load_network(path, CheckpointConfig(architecture=architecture, mean=MEAN, std=STD))
    assert torch.equal(random, torch.random.get_rng_state())
    assert (network.title, network.num_classes, network.spec) == (title, CLASSES, None)
    expected = reference(state, normalised(images))
    assert_close(logits(network, images), expected)
    assert not any(module.training for module in network.module.modules())
    assert not any(parameter.requires_grad for parameter in network.module.parameters())


def test_that_the_two_kinds_of_shortcut_differ_and_a_file_that_cannot_tell_is_noted() -> None:
    state, images = preact_state(last_norm=False), torch.rand(2, 3, 16, 16)
    found = build_foreign("preact_resnet", state)
    raw = build_foreign("preact_resnet_raw_shortcut", state)
    assert float((found.module(images) - raw.module(images)).abs().max()) > 0.01
    assert "preact_resnet_raw_shortcut" in found.notes[0]
    assert raw.notes == ()
    assert build_foreign("preact_resnet", preact_state(last_norm=True)).notes == ()


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_that_a_network_of_torchvision_computes_what_torchvisions_own_does(name: str) -> None:
    own = get_model(name, weights=None, num_classes=CLASSES).eval()
    for layer in own.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.2, 0.2)
            layer.running_var.uniform_(0.5, 1.5)
    found = build_foreign(name, own.state_dict())
    assert (found.title, found.num_classes) == (f"torchvision's {name}", CLASSES)
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(found.module(images), own(images))


@pytest.mark.parametrize(
    ("names", "prefix"),
    [
        (("mu", "sigma"), ""),
        (("mean", "std"), "module."),
        (("normalize.mean", "normalize.std"), "model."),
        (("module.normalizer.new_mean", "module.normalizer.new_std"), "module.model."),
    ],
)
def test_that_wrappers_and_their_normalisation_are_recognised(
    tmp_path: Path, names: tuple[str, str], prefix: str
) -> None:
    state, (images, _) = wide_state(), images_and_labels(3, size=16)
    wrapped = {f"{prefix}{name}": tensor for name, tensor in state.items()}
    shapes = (torch.tensor(MEAN).reshape(1, 3, 1, 1), torch.tensor(STD).reshape(3, 1, 1))
    path = written(tmp_path, wrapped | dict(zip(names, shapes, strict=True)))
    network = load_network(path, CheckpointConfig(architecture="wide_resnet"))
    assert_close(logits(network, images), wide_reference(state, normalised(images)))
    assert "mean 0.4, 0.5, 0.6 and std 0.2, 0.25, 0.3, from the file" in network.notes[-1]
    other = load_network(path, CheckpointConfig(architecture="wide_resnet", mean=[0, 0, 0], std=[0.5, 1, 1]))
    expected = wide_reference(state, normalised(images, [0, 0, 0], [0.5, 1, 1]))
    assert_close(logits(other, images), expected)


def test_that_a_network_without_mean_and_std_gets_images_as_they_are_and_this_is_noted(
    tmp_path: Path,
) -> None:
    state, (images, _) = wide_state(), images_and_labels(3, size=16)
    del state["fc.bias"], state["bn1.num_batches_tracked"]
    extra = {f"sub_{name}": tensor.clone() for name, tensor in state.items() if name.startswith("block1.")}
    path = written(tmp_path, {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in (state | extra).items()})  # fmt: skip
    network = load_network(path, CheckpointConfig(architecture="wide_resnet"))
    rounded = {
        name: tensor.half().float() if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }
    assert_close(logits(network, images), wide_reference(rounded, images))
    dropped, plain = network.notes
    assert f"{len(extra)} entries of sub_block1 left out" in dropped
    assert "as they are, in [0, 1]" in plain


def test_that_a_pt_file_with_a_container_is_read_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "probe", lambda path: {})
    state, images = resnet_state((1, 1, 1, 1), bottleneck=False), torch.rand(2, 3, 16, 16)
    torch.save({"state_dict": state, "epoch": 3, "best": 0.5}, tmp_path / "foreign.pth")
    network = load_network(tmp_path / "foreign.pth", CheckpointConfig(architecture="resnet"))
    assert_close(logits(network, images), resnet_reference(state, images))


@pytest.mark.parametrize(
    ("architecture", "changes", "expected"),
    [
        ("wide_resnet", {"bn1.weight": None}, "missing: bn1.weight"),
        ("wide_resnet", {"block2.layer.0.convShortcut.weight": None}, "missing: block2.layer.0.convShortcut.weight"),
        ("wide_resnet", {"block2.layer.0.relu.slope": torch.ones(1)}, "unknown: block2.layer.0.relu.slope"),
        ("wide_resnet", {"bn1.weight": torch.ones(3)}, "bn1.weight (3,) instead of (20,)"),
        ("wide_resnet", {"fc.weight": None}, "missing: fc.weight"),
        ("wide_resnet", {"fc.weight": torch.ones(3)}, "fc.weight should have 2 dimensions, got float32 (3,)"),
        ("wide_resnet", {"fc.bias": torch.full((7,), torch.nan)}, "fc.bias holds numbers that are not finite"),
        ("wide_resnet", {"conv1.weight": torch.ones(2, dtype=torch.int8)}, "conv1.weight should hold floating-point"),
        ("resnet", {}, "missing: layer1.0, which begins a stage"),
        ("resnet18", {}, "conv1.weight (5, 3, 3, 3) instead of (64, 3, 7, 7)"),
        ("vgg16", {}, "missing: classifier.6.bias"),
    ],
)  # fmt: skip
def test_that_what_does_not_fit_is_told_by_name_with_the_architectures_there_are(
    tmp_path: Path, architecture: str, changes: dict[str, Tensor | None], expected: str
) -> None:
    state = {name: tensor for name, tensor in (wide_state() | changes).items() if tensor is not None}
    text = message(written(tmp_path, state), CheckpointConfig(architecture=architecture))
    assert expected in text and str(tmp_path) in text and "preact_resnet" in text and "vgg16_bn" in text


def test_that_weights_without_an_architecture_are_asked_for_it(tmp_path: Path) -> None:
    path = written(tmp_path, wide_state())
    for checkpoint in (None, CheckpointConfig(mean=MEAN, std=STD)):
        text = message(path, checkpoint)
        assert "give the architecture, one of: wide_resnet, resnet" in text and "cartl import" in text


def test_that_unusable_normalisation_in_a_file_is_asked_for(tmp_path: Path) -> None:
    path = written(
        tmp_path, wide_state() | {"mean": torch.tensor([125.0] * 3), "std": torch.tensor([0.2] * 3)}
    )
    assert "give mean and std" in message(path, CheckpointConfig(architecture="wide_resnet"))
    load_network(path, CheckpointConfig(architecture="wide_resnet", mean=MEAN, std=STD))


def test_that_a_checkpoint_of_the_cartl_authors_needs_its_mean_and_std_or_an_import(tmp_path: Path) -> None:
    model = warm(small_model(5)).eval()
    path = written(tmp_path, as_authors(model, (1, 1, 1)))
    text = message(path, CheckpointConfig(architecture="cartl"))
    assert f"cartl import {path} --data NAME --mean R G B --std R G B" in text
    network = load_network(path, CheckpointConfig(architecture="cartl", mean=MEAN, std=STD))
    images, _ = images_and_labels(3)
    assert_close(logits(network, images), model(images).detach())
    assert network.title == "WRN-10-1 of the CARTL authors" and network.num_classes == 5
    # The same names belong to a network with another activation, which only the user can know.
    relu = load_network(path, CheckpointConfig(architecture="wide_resnet", mean=MEAN, std=STD))
    assert float((logits(relu, images) - logits(network, images)).abs().max()) > 1e-3
    assert "is no network of the CARTL authors" in message(
        written(tmp_path, resnet_state((1, 1, 1, 1), bottleneck=False)),
        CheckpointConfig(architecture="cartl"),
    )


def test_that_spectrally_normalised_weights_of_the_authors_are_to_be_imported(tmp_path: Path) -> None:
    state = as_authors(small_model(5), (1, 1, 1))
    weight = state.pop("fc.weight")
    state |= {"fc.weight_orig": weight, "fc.weight_u": torch.ones(5), "fc.weight_v": torch.ones(64)}
    text = message(written(tmp_path, state), CheckpointConfig(architecture="cartl", mean=MEAN, std=STD))
    assert "--halved-blocks K --spectral-bound BETA" in text


def test_that_own_weights_bring_everything_and_take_nothing_more(tmp_path: Path) -> None:
    model, (images, _) = warm(small_model(5)).eval(), images_and_labels(3)
    spec = ModelSpec(ModelConfig(), tuple("abcde"), DataConfig())
    path = tmp_path / "own.safetensors"
    save_weights(path, model.state_dict(), spec.to_metadata())
    for checkpoint in (None, CheckpointConfig()):
        network = load_network(path, checkpoint)
        assert torch.equal(logits(network, images), model(images))
        assert (network.title, network.num_classes, network.spec) == ("WRN-10-1", 5, spec)
        assert network.sha256 == (tmp_path / "own.safetensors.sha256").read_text().split()[0]
    assert "leave the checkpoint's architecture, mean and std out" in message(
        path, CheckpointConfig(architecture="wide_resnet")
    )


@pytest.mark.parametrize("suffix", [".pt", ".pt2", ".safetensors", ".pth"])
@pytest.mark.parametrize(
    ("content", "error", "expected"),
    [
        (b"<!DOCTYPE html><html>Sign in</html>", UntrustedFileError, "is an HTML page, not a checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\n", UntrustedFileError, "is a Git LFS pointer"),
        (b"", DamagedFileError, "is empty"),
    ],
)
def test_that_what_is_no_checkpoint_is_told_as_what_it_is(
    tmp_path: Path, suffix: str, content: bytes, error: type[Exception], expected: str
) -> None:
    path = tmp_path / f"file{suffix}"
    path.write_bytes(content)
    with pytest.raises(error, match=expected):
        load_network(path, CheckpointConfig(architecture="resnet"))
