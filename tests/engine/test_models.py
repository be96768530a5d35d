"""One row per network: cut into blocks, put together again, kept and rebuilt."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from engine.config import DataConfig, ModelConfig
from engine.errors import CheckpointError
from engine.models import BlockwiseModel, build_model, build_skeleton, models
from engine.models.authors_names import translate
from engine.models.base import ResidualBlock
from engine.models.spec import METADATA_KEY, ModelSpec, load_state
from tests.engine.small import assert_same_bits, images_and_labels, warm

pytestmark = pytest.mark.usefixtures("untouched_random_state")

ROWS = (
    ModelConfig(depth=10),
    ModelConfig(depth=16, widen_factor=2),
    ModelConfig(name="resnet", depth=18),
    ModelConfig(name="resnet", depth=34),
    ModelConfig(name="resnet", depth=50),
)
CLASSES = 7


@pytest.fixture(scope="module", params=ROWS, ids=lambda config: config.title)
def built(request: pytest.FixtureRequest) -> tuple[ModelConfig, BlockwiseModel]:
    """A network in eval mode; tests that change it take a copy."""
    model = build_model(request.param, CLASSES, torch.Generator().manual_seed(3))
    return request.param, warm(model).eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return images_and_labels(2)[0]


def test_that_every_registered_network_has_a_row() -> None:
    assert {config.name for config in ROWS} == set(models.names)


def test_that_stem_and_blocks_share_out_all_parameters(built) -> None:
    config, model = built
    assert model.num_blocks == config.num_blocks
    assert list(model.blocks) == [str(number) for number in range(1, config.num_blocks + 1)]
    parts = [model.stem, *(model.block(number) for number in range(1, model.num_blocks + 1))]
    owned = [parameter for part in parts for parameter in part.parameters()]
    assert len(owned) == len({id(parameter) for parameter in owned})
    assert {id(parameter) for parameter in owned} == {id(parameter) for parameter in model.parameters()}


def test_that_trunk_and_head_are_the_network_at_every_k(built) -> None:
    _, model = built
    whole = [model.stem, *model.blocks.values()]
    for k in range(model.num_blocks + 1):
        trunk, head = model.trunk(k), model.head(k)
        assert len(head) == k
        assert [id(part) for part in trunk + head] == [id(part) for part in whole]


@torch.no_grad()
def test_that_head_after_trunk_gives_the_logits_at_every_k(built, images: Tensor) -> None:
    _, model = built
    logits = model(images)
    for k in range(1, model.num_blocks + 1):
        hidden = (images - model.mean) / model.std
        for part in model.trunk(k) + model.head(k)[:-1]:
            hidden = part(hidden)
        assert torch.equal(model.head(k)[-1](hidden.mean((2, 3))), logits)


@torch.no_grad()
def test_that_features_are_what_enters_each_block_and_end_in_the_logits(built, images: Tensor) -> None:
    _, model = built
    seen: dict[int, Tensor] = {}
    hooks = [
        model.block(number).register_forward_pre_hook(
            lambda _, inputs, number=number: seen.__setitem__(number, inputs[0])
        )
        for number in range(1, model.num_blocks + 1)
    ]
    logits = model(images)
    for hook in hooks:
        hook.remove()
    features = model.features(images)
    assert len(features) == model.num_blocks + 1
    assert torch.equal(features[-1], logits)
    for number, entering in seen.items():
        assert torch.equal(features[number - 1], entering), number
    for k in range(1, model.num_blocks + 1):
        other, feature = model.forward_with_feature(images, k)
        assert torch.equal(other, logits)
        assert torch.equal(feature, seen[model.num_blocks - k + 1])


@torch.no_grad()
def test_that_normalisation_is_part_of_the_network(built, images: Tensor) -> None:
    _, model = built
    plain = copy.deepcopy(model)
    plain.set_normalisation(torch.zeros(3), torch.ones(3))
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3])
    normalised = (images - mean.reshape(1, 3, 1, 1)) / std.reshape(1, 3, 1, 1)
    torch.testing.assert_close(plain(normalised), model(images))
    assert {"mean", "std"} <= model.state_dict().keys()


@torch.no_grad()
def test_that_halving_takes_the_mean_of_shortcut_and_branch_in_the_last_blocks_only(
    built, images: Tensor
) -> None:
    _, model = built
    model = copy.deepcopy(model)
    residual = [
        number for number in range(1, model.num_blocks + 1) if isinstance(model.block(number), ResidualBlock)
    ]
    assert residual == list(range(1, residual[-1] + 1))
    k = model.num_blocks - residual[-1] + 1
    before = model.features(images)
    model.halve_residuals(k)
    after = model.features(images)
    assert [number for number in residual if model.block(number).halved] == residual[-1:]
    for number in range(residual[-1]):
        assert torch.equal(before[number], after[number])
    last = before[residual[-1] - 1]
    block = model.block(residual[-1])
    sums: list[tuple[Tensor, Tensor]] = []
    own_add = block.add
    block.add = lambda shortcut, branch: sums.append((shortcut, branch)) or own_add(shortcut, branch)
    block(last)
    shortcut, branch = sums[0]
    close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-4)
    close(own_add(shortcut, branch), 0.5 * shortcut + 0.5 * branch)
    block.halved = False
    close(own_add(shortcut, branch), shortcut + branch)
    model.halve_residuals(0)
    assert torch.equal(model(images), before[-1])


def test_that_each_weighted_layer_is_listed_once_with_its_block(built) -> None:
    _, model = built
    layers = list(model.weighted_layers())
    expected = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert [layer.module for layer in layers] == expected
    for layer in layers:
        owner = model.stem if layer.block == 0 else model.block(layer.block)
        assert layer.module in set(owner.modules())
        assert model.get_submodule(layer.name) is layer.module
    assert layers[0].block == 0
    assert layers[-1].module is model.classifier
    assert layers[-1].block == model.num_blocks


def test_that_weights_follow_from_the_generator_and_global_randomness_is_left_alone() -> None:
    def build(seed: int) -> dict[str, Tensor]:
        return build_model(ROWS[0], CLASSES, torch.Generator().manual_seed(seed)).state_dict()

    before = torch.random.get_rng_state()
    first = build(1)
    assert_same_bits(first, build(1))
    assert torch.equal(torch.random.get_rng_state(), before)
    other = build(2)
    assert all(not torch.equal(first[name], other[name]) for name in first if "conv" in name)
    assert all(torch.isfinite(value).all() for value in first.values())


def test_that_convolutions_are_drawn_with_the_variance_of_he_by_fan_out() -> None:
    model = build_model(ModelConfig(depth=16, widen_factor=4), CLASSES, torch.Generator().manual_seed(0))
    for layer in model.weighted_layers():
        weight = layer.module.weight.detach()
        if weight.dim() == 4 and weight.numel() > 5000:
            expected = (2 / (weight.shape[0] * weight.shape[2] * weight.shape[3])) ** 0.5
            assert float(weight.std()) == pytest.approx(expected, rel=0.05), layer.name
    assert float(model.classifier.weight.detach().abs().max()) <= model.classifier.in_features**-0.5
    assert not model.classifier.bias.any()


def test_that_a_new_classifier_replaces_the_last_block_alone(built, images: Tensor) -> None:
    _, model = built
    model = copy.deepcopy(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.replace_classifier(11, torch.Generator().manual_seed(5))
    last = f"blocks.{model.num_blocks}."
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert_same_bits(
        {name: value for name, value in after.items() if not name.startswith(last)},
        {name: value for name, value in before.items() if not name.startswith(last)},
    )
    assert model(images).shape == (2, 11)
    again = copy.deepcopy(model)
    again.replace_classifier(11, torch.Generator().manual_seed(5))
    assert_same_bits(again.state_dict(), after)


@torch.no_grad()
def test_that_a_network_is_rebuilt_from_its_weights_and_description(built, images: Tensor) -> None:
    config, model = built
    model = copy.deepcopy(model)
    model.halve_residuals(2)
    spec = ModelSpec(
        config, tuple("abcdefg"), DataConfig(name="letters"), num_halved=2, boundary=3, history=("one", "two")
    )
    read = ModelSpec.from_metadata(spec.to_metadata())
    assert read == spec
    again = read.build(model.state_dict()).eval()
    assert again.num_halved == 2
    assert torch.equal(again(images), model(images))


def test_that_a_skeleton_has_the_structure_without_the_memory(built) -> None:
    config, model = built
    skeleton = build_skeleton(config, CLASSES)
    assert {name: value.shape for name, value in skeleton.state_dict().items()} == {
        name: value.shape for name, value in model.state_dict().items()
    }
    assert all(value.is_meta for value in skeleton.state_dict().values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("stem.weight"), "missing: stem.weight"),
        (lambda state: state.update(extra=torch.zeros(1)), "unknown: extra"),
        (
            lambda state: state.update({"stem.weight": torch.zeros(1, 2)}),
            r"of another shape: stem.weight \(1, 2\) instead of \(16, 3, 3, 3\)",
        ),
        (lambda state: [state.pop(name) for name in list(state)], r"missing: .* \.\.\."),
    ],
    ids=["missing", "unknown", "shape", "all"],
)
def test_that_weights_that_do_not_fit_are_refused_by_name_and_change_nothing(change, message: str) -> None:
    model = build_model(ROWS[0], CLASSES, torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = {name: torch.ones_like(value) for name, value in before.items()}
    change(state)
    with pytest.raises(CheckpointError, match=message):
        load_state(model, state)
    assert_same_bits(model.state_dict(), before)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "do not say which network"),
        ({METADATA_KEY: "{"}, "is damaged"),
        ({METADATA_KEY: "[]"}, "is damaged"),
        ({METADATA_KEY: '{"config": {"depth": 11}, "boundary": null}'}, "is damaged"),
    ],
    ids=["none", "cut", "list", "depth"],
)
def test_that_weights_of_an_unknown_network_are_refused(metadata: dict[str, str], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        ModelSpec.from_metadata(metadata)


@pytest.mark.parametrize("name", ["layer1.0.conv1.weight", "features.0.weight", "weight"])
def test_that_names_of_other_networks_are_refused_by_name(name: str) -> None:
    with pytest.raises(CheckpointError, match=f"'{name}' belongs to neither"):
        translate({name: torch.zeros(1)})
