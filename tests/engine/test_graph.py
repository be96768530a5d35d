"""What is told about a network from one pass: layers, blocks and features, whatever it is written in."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model

from engine.config import ModelConfig
from engine.inspection.graph import Graph, trace, watch
from engine.models import build_skeleton
from engine.models.base import BlockwiseModel
from engine.models.exported import ExportedNetwork
from engine.models.foreign import NormalisedNetwork
from engine.models.torchscript import ScriptNetwork
from engine.store.exported import read_exported
from engine.store.torchscript import read_torchscript
from tests.engine.networks import NETWORKS, Shared, Sum, drawn, images, plain, wide
from tests.engine.small import assert_unchanged, everything
from tests.engine.test_foreign_networks import MEAN, STD

pytestmark = pytest.mark.usefixtures("untouched_random_state")

OWN = [name for name in NETWORKS if isinstance(NETWORKS[name](), BlockwiseModel)]


def blocks_of(graph: Graph) -> dict[str, list[str]]:
    """The layers of the stem and of every block by its title."""
    return {
        block.title: [layer.name for layer in graph.layers if layer.block == block.number]
        for block in (graph.stem, *graph.blocks)
    }


def features_of(model: nn.Module, batch: Tensor, graph: Graph) -> dict[int, Tensor]:
    """The value of every node."""
    seen: dict[int, Tensor] = {}
    logits = watch(
        model, batch, lambda number, value: seen.update({number: value.clone()}), range(len(graph.nodes))
    )
    assert torch.equal(seen[graph.output], logits)
    return seen


def assert_near(found: Tensor, expected: Tensor) -> None:
    """Equal but for the rounding of batches of another size."""
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


@pytest.mark.parametrize("name", OWN)
def test_that_layers_and_blocks_of_own_networks_are_those_the_model_names(name: str) -> None:
    model = NETWORKS[name]()
    graph = trace(model, images(1))
    expected = list(model.weighted_layers())
    assert [(layer.name, layer.block) for layer in graph.layers] == [
        (layer.name, layer.block) for layer in expected
    ]
    for found, layer in zip(graph.layers, expected, strict=True):
        assert torch.equal(found.map.weight.flatten(1), layer.module.weight.flatten(1)), found.name
        own = sum(value.numel() for key, value in layer.module.named_parameters() if "0." not in key)
        assert found.parameters == own
    assert graph.stem.start == 0
    titles = [model.block_title(number) for number in range(1, model.num_blocks + 1)]
    assert [(block.number, block.title) for block in graph.blocks] == list(enumerate(titles, start=1))
    features = model.eval().features(images(3))
    seen = features_of(model, images(3), graph)
    for block, feature in zip((graph.stem, *graph.blocks), features, strict=True):
        assert torch.equal(seen[block.end], feature), block.title
    assert [block.start for block in graph.blocks] == [block.end for block in (graph.stem, *graph.blocks)][
        :-1
    ]


@pytest.mark.parametrize(
    ("config", "shapes"),
    [
        (ModelConfig(depth=16, widen_factor=2), {
            "stem": "conv, 3x3, 3 to 16", "blocks.1.shortcut": "conv, 1x1, 16 to 32",
            "blocks.3.conv1": "conv, 3x3, 32 to 64, stride 2", "blocks.8": "linear, 128 to 10",
        }),
        (ModelConfig(name="resnet", depth=50), {
            "stem.0": "conv, 3x3, 3 to 64", "blocks.4.branch.3": "conv, 3x3, 128 to 128, stride 2",
            "blocks.4.shortcut.0": "conv, 1x1, 256 to 512, stride 2", "blocks.17": "linear, 2048 to 10",
        }),
    ],
    ids=lambda value: value.title if isinstance(value, ModelConfig) else "",
)  # fmt: skip
def test_that_a_network_without_weights_tells_all_but_these(
    config: ModelConfig, shapes: dict[str, str]
) -> None:
    model = build_skeleton(config, 10)
    graph = trace(model, torch.empty(1, 3, 32, 32, device="meta"))
    assert [layer.name for layer in graph.layers] == [layer.name for layer in model.weighted_layers()]
    found = {layer.name: f"{layer.kind}, {layer.shape}" for layer in graph.layers}
    assert found.items() >= shapes.items()
    assert {layer.map.weight.device.type for layer in graph.layers} == {"meta"}
    assert sum(layer.parameters for layer in graph.layers) == sum(
        parameter.numel()
        for parameter in model.parameters()
        if parameter.dim() > 1 or parameter.shape == (10,)
    )


def test_that_a_network_in_another_memory_format_has_the_same_layers_and_blocks() -> None:
    model = wide()
    expected = trace(model, images(1))
    model.lay_out(torch.channels_last)
    graph = trace(model, images(1))
    assert blocks_of(graph) == blocks_of(expected)
    assert [node.kind for node in graph.path if node.operation != "clone"] == [
        node.kind for node in expected.path
    ]


def test_that_a_skeleton_has_the_nodes_of_the_network() -> None:
    real = trace(wide(), images(1))
    skeleton = trace(build_skeleton(ModelConfig(), 7), torch.empty(1, 3, 8, 8, device="meta"))

    def structure(graph: Graph) -> list[object]:
        nodes = [(node.operation, node.kind, node.inputs, node.shape, node.factor) for node in graph.nodes]
        return [
            *nodes,
            graph.stem,
            graph.blocks,
            *((layer.name, layer.node, layer.shape) for layer in graph.layers),
        ]

    assert structure(skeleton) == structure(real)


Row = tuple[str, list[str], str]


def block(place: str, *layers: str, end: str = "add") -> Row:
    return place, [f"{place}.{layer}" for layer in layers], end


PREACT = [
    ("stem", ["conv1"], "convolution"),
    block("layer1.0", "conv1", "conv2"),
    *(block(f"layer{stage}.0", "conv1", "conv2", "shortcut.0") for stage in (2, 3)),
]
#: Title of each block, its layers, and the operation it ends with.
CUTS: dict[str, list[Row]] = {
    "foreign wide_resnet": [
        ("stem", ["conv1"], "convolution"),
        *(block(f"block{group}.layer.0", "conv1", "conv2", "convShortcut") for group in (1, 2, 3)),
        ("fc", ["fc"], "addmm"),
    ],
    "foreign preact_resnet": [
        *PREACT, block("layer4.0", "conv1", "conv2", "shortcut.0"), ("linear", ["linear"], "addmm")
    ],
    "foreign preact_resnet_raw_shortcut": [
        *PREACT, block("layer4.0", "conv1", "conv2", "shortcut.0", end="mean"), ("linear", ["linear"], "addmm")
    ],
    "foreign resnet": [
        ("stem", ["conv1"], "relu"),
        *(block(f"layer{stage}.0", "conv1", "conv2", "conv3", "shortcut.0", end="relu") for stage in (1, 2, 3)),
        block("layer4.0", "conv1", "conv2", "conv3", "shortcut.0", end="mean"),
        ("linear", ["linear"], "addmm"),
    ],
    "plain": [
        ("stem", ["1"], "gelu"), ("4", ["4"], "reflection_pad2d"), ("8", ["8"], "view"),
        ("12", ["12"], "sigmoid"), ("15", ["15"], "addmm"),
    ],
    "dense": [
        ("stem", ["0"], "convolution"), ("1.parts.1.2", ["1.parts.1.2"], "cat"), ("4", ["4"], "avg_pool2d"),
        ("6.parts.0", ["6.parts.0"], "cat"), ("11", ["11"], "addmm"),
    ],
    "forked": [("stem", ["0"], "convolution"), ("1.parts", ["1.parts.0.2", "1.parts.1.2"], "view"), ("3", ["3"], "addmm")],
    "late": [
        ("stem", ["0"], "view"), ("5.parts.1", ["5.parts.1"], "relu"), ("10", ["10"], "view"), ("12", ["12"], "addmm"),
    ],
    "torchvision's mobilenet_v2": [
        ("stem", ["features.0.0"], "hardtanh"),
        block("features.1.conv", "0.0", "1"),
        *((f"features.2.conv.{part}", [f"features.2.conv.{part}"], "hardtanh") for part in ("0.0", "1.0")),
        ("features.2.conv.2", ["features.2.conv.2"], "native_batch_norm"),
        block("features.3.conv", "0.0", "1.0", "2"),
        ("features.4.0", ["features.4.0"], "view"),
        ("classifier.1", ["classifier.1"], "addmm"),
    ],
    "shared weights": [("stem", ["conv"], "relu"), ("conv (2)", ["conv (2)"], "mean"), ("fc", ["fc"], "addmm")],
}  # fmt: skip


@pytest.mark.parametrize("name", CUTS)
def test_that_other_networks_are_cut_where_one_tensor_carries_everything(name: str) -> None:
    model = NETWORKS[name]()
    graph = trace(model, images(1))
    layers = blocks_of(graph)
    blocks = (graph.stem, *graph.blocks)
    assert [(block.title, layers[block.title], graph.nodes[block.end].operation) for block in blocks] == CUTS[
        name
    ]
    nodes = [layer.node for layer in graph.layers]
    assert nodes == sorted(nodes)
    # What follows a block is a function of its output alone: with that of other images, the logits are theirs.
    some, others = images(4).chunk(2)
    for block in blocks:
        exchanged = features_of(model, others, graph)[block.end]
        assert torch.allclose(logits_with(model, some, block.end, exchanged), model(others), atol=1e-5)


def logits_with(model: nn.Module, batch: Tensor, node: int, value: Tensor) -> Tensor:
    """The logits when a node's value is overwritten as it appears."""
    return watch(model, batch, lambda number, own: own.copy_(value), [node])


@pytest.mark.parametrize(
    ("name", "titles"),
    [
        ("resnet18", ["stem", *(f"layer{stage}.{index}" for stage in (1, 2, 3, 4) for index in (0, 1)), "fc"]),
        ("vgg11_bn", ["stem", *(f"features.{n}" for n in (4, 8, 11, 15, 18, 22, 25)), "classifier.0", "classifier.3", "classifier.6"]),
        ("densenet121", [
            "stem",
            *(f"features.{part}" for part in (
                "denseblock1", "transition1.conv", "denseblock2", "transition2.conv", "denseblock3", "transition3.conv",
                "denseblock4",
            )),
            "classifier",
        ]),
        ("googlenet", ["stem", *(f"inception{part}" for part in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")), "fc"]),
    ],
)  # fmt: skip
def test_that_blocks_of_torchvisions_networks_are_the_papers(name: str, titles: list[str]) -> None:
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # About another initialisation, which is not used.
        model = (
            get_model(name, weights=None, init_weights=False)
            if name == "googlenet"
            else get_model(name, weights=None)
        )
    graph = trace(model, torch.empty(1, 3, 64, 64, device="meta"))
    assert [block.title for block in (graph.stem, *graph.blocks)] == titles
    weighted = [key for key, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert sorted(layer.name for layer in graph.layers) == sorted(
        key for key in weighted if not key.startswith("aux")
    )


def saved(folder: Path, kind: str, model: nn.Module, batch: Tensor) -> nn.Module:
    """The network as a program that is read back from a file."""
    path = folder / kind
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind.endswith(".pt2"):
            torch.export.save(torch.export.export(model, (batch,)), path)
            return ExportedNetwork(path, read_exported(path)).eval()
        script = torch.jit.trace(model, batch)
        torch.jit.save(torch.jit.freeze(script) if kind == "frozen.pt" else script, path)
    return ScriptNetwork(path, read_torchscript(path)).eval()


@pytest.mark.parametrize("kind", ["fixed.pt2", "traced.pt", "frozen.pt"])
def test_that_a_program_has_the_layers_of_its_network(tmp_path: Path, kind: str) -> None:
    model = NETWORKS["foreign preact_resnet"]()
    plain, batch = model.network, images(3)
    program = saved(tmp_path, kind, plain, batch)
    graph, expected = trace(NormalisedNetwork(program, tuple(MEAN), tuple(STD)), batch), trace(model, batch)
    if kind == "frozen.pt":
        names = ["conv", *(f"conv ({number})" for number in range(2, len(expected.layers))), "linear"]
        assert [layer.name for layer in graph.layers] == names
        assert "residual block" in blocks_of(graph)
    else:
        assert blocks_of(graph) == blocks_of(expected)
    assert [layer.shape for layer in graph.layers] == [layer.shape for layer in expected.layers]
    for count in (1, 3, 5):
        batch = images(count)
        seen = features_of(NormalisedNetwork(program, tuple(MEAN), tuple(STD)), batch, graph)
        known = features_of(model, batch, expected)
        assert torch.equal(seen[0], batch)
        assert_near(seen[graph.output], known[expected.output])
        # Frozen programs have batch norm in their convolutions.
        for found, layer in zip(graph.layers, expected.layers, strict=True) if kind != "frozen.pt" else ():
            assert_near(seen[found.node], known[layer.node])


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "shared weights"])
def test_that_features_are_those_that_hooks_see(name: str, count: int) -> None:
    model, batch = NETWORKS[name](), images(count)
    graph = trace(model, images(1))
    modules = dict(model.named_modules())
    expected: dict[str, Tensor] = {}

    def hook(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda module, inputs, output: expected.update({name: output.detach().clone()})

    wrapped = "network." if isinstance(model, NormalisedNetwork) else ""
    hooks = [modules[wrapped + layer.name].register_forward_hook(hook(layer.name)) for layer in graph.layers]
    logits = model(batch).detach()
    for handle in hooks:
        handle.remove()
    seen = features_of(model, batch, graph)
    assert_near(seen[graph.output], logits)
    for layer in graph.layers:
        assert_near(seen[layer.node], expected[layer.name])


def test_that_a_feature_is_shown_before_it_is_changed_in_place() -> None:
    model = drawn(
        lambda: nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(128, 7))
    )
    graph = trace(model, images(1))
    seen = features_of(model, images(2), graph)
    torch.testing.assert_close(seen[graph.layers[0].node], model[0](images(2)))
    assert (seen[graph.layers[0].node] < 0).any() and (seen[2] >= 0).all()


@pytest.mark.parametrize("bound", [None, 0.4])
def test_that_looking_leaves_a_training_network_as_it_was(bound: float | None) -> None:
    model = wide(halved=2, bound=bound).train()
    model.block(2).eval()
    model.block(1).requires_grad_(False)
    model(images(2)).sum().backward()
    before, batch = everything(model), images(3)
    graph = trace(model, batch)
    watch(model, batch, lambda number, value: None, [block.end for block in graph.blocks])
    assert_unchanged(before, model)
    assert torch.equal(batch, images(3))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_that_a_graph_stays_what_it_was_while_the_network_goes_on_training() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.empty(3, 1, 1))
            self.model = plain()

        def forward(self, x: Tensor) -> Tensor:
            return self.model(x * self.scale)

    model = drawn(Scaled)
    graph = trace(model, images(1))
    weights = [layer.map.weight.clone() for layer in graph.layers]
    scales = [node.scale.clone() for node in graph.nodes if node.scale is not None]
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.add_(1)
    assert all(
        torch.equal(layer.map.weight, weight) for layer, weight in zip(graph.layers, weights, strict=True)
    )
    now = [node.scale for node in graph.nodes if node.scale is not None]
    assert all(torch.equal(one, other) for one, other in zip(now, scales, strict=True))


def test_that_nodes_have_the_same_numbers_in_a_batch_of_one() -> None:
    """Torch copies a part of several images before it changes their shape, but not a part of one."""

    class Merged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(1, 2, 3), nn.Linear(2 * 2 * 36, 7)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.conv(x[:, :2].reshape(-1, 1, 8, 8)).reshape(len(x), -1))

    model = drawn(Merged)
    features = {count: features_of(model, images(count), trace(model, images(count))) for count in (1, 2, 3)}
    assert features[1].keys() == features[2].keys() == features[3].keys()
    for number, value in features[1].items():
        assert_near(value, features[3][number][: len(value)])
        assert len(value) in (1, 2)


def test_that_only_layers_that_the_logits_need_are_told() -> None:
    graph = trace(drawn(Shared), images(1))
    assert [layer.name for layer in graph.layers] == ["conv", "conv (2)", "fc"]
    assert graph.layers[0].map.weight is not graph.layers[1].map.weight
    assert any(node.kind == "layer" and node not in graph.path for node in graph.nodes)


def test_that_parameters_outside_of_modules_are_layers_by_their_own_name() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Parameter(torch.empty(4, 3, 3, 3))
            self.parts = nn.ParameterDict({"last": torch.empty(4, 7)})

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.conv2d(x, 2 * self.first, stride=(2, 1)).mean((2, 3)) @ self.parts["last"]

    graph = trace(drawn(Functional), images(1))
    assert [(layer.name, layer.kind, layer.shape) for layer in graph.layers] == [
        ("first", "conv", "3x3, 3 to 4, stride 2x1"),
        ("parts.last", "linear", "4 to 7"),
    ]


def test_that_a_network_of_one_layer_is_all_stem() -> None:
    graph = trace(drawn(lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 7))), images(1))
    assert (graph.stem.start, graph.stem.end, graph.blocks) == (0, graph.output, ())
    shortcut = trace(
        drawn(lambda: nn.Sequential(Sum(nn.Conv2d(3, 3, 1), nn.Identity()), nn.Flatten())), images(1)
    )
    assert blocks_of(shortcut) == {"stem": [], "0.parts.0": ["0.parts.0"]}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("name", NETWORKS)
def test_that_a_gpu_sees_the_same_graph(name: str) -> None:
    model = NETWORKS[name]()
    here, there = trace(model, images(1)), trace(model.cuda(), images(1).cuda())
    assert here.blocks == there.blocks
    assert [(layer.name, layer.node) for layer in here.layers] == [
        (layer.name, layer.node) for layer in there.layers
    ]
    for one, other in zip(here.nodes, there.nodes, strict=True):
        assert (one.kind, one.inputs, one.shape, one.factor) == (
            other.kind,
            other.inputs,
            other.shape,
            other.factor,
        )
        assert one.scale is None or torch.allclose(one.scale, other.scale.cpu())
