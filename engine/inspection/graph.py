"""The operations that a network carries out on an image, as a graph: its weighted layers, its blocks, its features.

A pass in eval mode is watched below torch's functions, where every network is a sequence of calls of `torch.ops.aten`,
whatever it is written in: modules, plain functions, or a program from a file. Every tensor that depends on the image
is a node, numbered as they come, the images being 0. All else is constant: weights, and what is computed from weights.

Shapes: B batch, H W image, K classes, N blocks, L weighted layers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import pairwise
from os.path import commonprefix
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from engine.inspection.norms import Convolution
from engine.inspection.operations import (
    BATCH_NORMS,
    MATRICES,
    SHAPE_ONLY,
    Call,
    Kind,
    Shape,
    effect_of,
    tensors_in,
)
from engine.models.base import BlockwiseModel
from engine.models.exported import ExportedNetwork
from engine.models.foreign import NormalisedNetwork
from engine.models.modes import evaluation
from engine.models.torchscript import ScriptNetwork

#: Images of a pass at least: a single one lies in memory as no other batch does, and torch takes other paths for it.
_LEAST_BATCH = 2
#: Parameters that go by the name of their module alone.
_WEIGHTS = ("weight", "weight_orig", "weight_v")


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One tensor that depends on the image.

    Attributes:
        number: its place in the order of the pass.
        operation: what it is the result of, as `torch.ops.aten` calls it; "" for the images.
        kind: what that does to distances, see `engine.inspection.operations.Effect`; "input" for the images, "unknown"
            where nothing is known.
        inputs: numbers of the nodes it is made from.
        shape: of a pass of some images.
        factor, weights, scale, map, parameters: see `Effect`.
    """

    number: int
    operation: str
    kind: Kind
    inputs: tuple[int, ...]
    shape: Shape
    factor: float = 1.0
    weights: tuple[float, ...] = ()
    scale: Tensor | None = None
    map: Convolution | None = None
    parameters: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One use of a convolution or a matrix.

    Attributes:
        name: dotted name of its module, or of its parameter if that is not called after a module; of the network
            itself, without what it is wrapped in.
        block: number of its block, 0 for the stem.
        node: number of its output.
        kind: "conv", "depthwise conv", "grouped conv" or "linear".
        shape: for people, such as "3x3, 16 to 32, stride 2".
        parameters: how many numbers there are in its weight and bias.
        map: the linear map that it is, with a copy of the weight.
    """

    name: str
    block: int
    node: int
    kind: str
    shape: str
    parameters: int
    map: Convolution


@dataclass(frozen=True, slots=True)
class Block:
    """What leads from one node to another: number, title for people, and the numbers of both nodes."""

    number: int
    title: str
    start: int
    end: int


@dataclass(frozen=True, eq=False)
class Graph:
    """A network as it was when it was traced; its weights and batch norms are copies.

    Attributes:
        nodes: every tensor that depends on the image, whether the logits need it or not.
        layers: those that the logits need, in the order of `BlockwiseModel.weighted_layers`; for other networks, of
            the pass.
        stem: block 0.
        blocks: blocks 1..N, each beginning where the one before ends. Of a `BlockwiseModel` its own, block i ending in
            entry i of `features()`. Others are cut where a single tensor carries everything: parallel paths and what
            follows them on a single path up to the next layer are a block, and so is a layer on a single path; a batch
            norm of a pre-activation network belongs to what follows it. What comes before the first parallel paths
            (without any, before the second layer) is the stem.
    """

    nodes: tuple[Node, ...]
    layers: tuple[Layer, ...]
    stem: Block
    blocks: tuple[Block, ...]

    @property
    def output(self) -> int:
        """Number of the logits."""
        return (self.stem, *self.blocks)[-1].end

    @cached_property
    def path(self) -> tuple[Node, ...]:
        """The nodes that the logits are made from, in the order of the pass."""
        return _path(self.nodes, self.output)

    @cached_property
    def pre_activation(self) -> bool:
        """Whether batch norms come before what they belong to: some of them takes a sum or a stack."""
        return _is_pre_activation(self.nodes, self.path)


def trace(model: nn.Module, images: Tensor) -> Graph:
    """Find out what a network does in eval mode. Its flags, buffers and gradients stay as they were.

    Args:
        model: images -> logits. On the meta device it has no weights to measure, but everything else.
        images: [B, 3, H, W] on the model's device, B >= 1; only their size matters.
    """
    recorder = _Recorder(model)
    _, ends = recorder.run(model, images[:1].repeat(_fixed_batch(model) or _LEAST_BATCH, 1, 1, 1))
    nodes = tuple(recorder.nodes)
    path = _path(nodes, ends[-1])
    if not isinstance(model, BlockwiseModel):
        ends = _ends_of_blocks(nodes, path)
    layers = recorder.layers(path, ends)
    if isinstance(model, BlockwiseModel):
        order = {layer.name: place for place, layer in enumerate(model.weighted_layers())}
        layers.sort(key=lambda layer: order.get(layer.name, len(order)))
        titles = [model.block_title(number) for number in range(1, model.num_blocks + 1)]
    else:
        titles = [
            _title([layer for layer in layers if layer.block == number]) for number in range(1, len(ends))
        ]
    stem, *blocks = (
        Block(number, title, *borders)
        for number, (title, borders) in enumerate(zip(("stem", *titles), pairwise((0, *ends)), strict=True))
    )
    return Graph(nodes, tuple(layers), stem, tuple(blocks))


def watch(
    model: nn.Module, images: Tensor, visit: Callable[[int, Tensor], None], nodes: Collection[int]
) -> Tensor:
    """Carry out the pass that `trace` saw and show some of its tensors. The model stays as it was.

    Args:
        model: the network that was traced, on the same kind of device.
        images: [B, 3, H, W] on its device, B >= 1.
        visit: called with number and value of each of the nodes as it comes. The value is to be used at once; the
            network may change it afterwards.
        nodes: numbers of nodes.

    Returns:
        [B, K] logits.
    """
    size = _fixed_batch(model)
    if len(images) == size or (size is None and len(images) >= _LEAST_BATCH):
        logits, _ = _Watcher(visit, nodes).run(model, images)
        return logits
    # The last part is filled up with copies of its last image.
    size = size or _LEAST_BATCH
    parts: list[Tensor] = []
    seen: dict[int, list[Tensor]] = {number: [] for number in sorted(nodes)}
    for part in torch.split(images, size):

        def keep(number: int, value: Tensor, count: int = len(part)) -> None:
            seen[number].append(value[: len(value) * count // size].clone())

        filled = torch.cat((part, part[-1:].expand(size - len(part), -1, -1, -1)))
        logits, _ = _Watcher(keep, nodes).run(model, filled)
        parts.append(logits[: len(part)])
    for number, values in seen.items():
        visit(number, torch.cat(values))
    return torch.cat(parts)


def _fixed_batch(model: nn.Module) -> int | None:
    """The only number of images that a network takes at once, None if it takes any."""
    sizes = (module.batch_size for module in model.modules() if isinstance(module, ExportedNetwork))
    return next(sizes, None)


class _Source(NamedTuple):
    """Where a tensor comes from: it is the value of a node, or (not `whole`) follows from it in an unknown way."""

    number: int
    whole: bool = True


class _Signature(NamedTuple):
    """What an operation is called, without namespace and the underscore of working in place; the names of its arguments
    with their defaults, None if there is none; and the arguments that it changes."""

    name: str
    arguments: dict[str, Any]
    written: tuple[str, ...]


@cache
def _signature(function: Any) -> _Signature:
    """The signature of an operation of `torch.ops`."""
    schema = function._schema
    name = schema.name.removeprefix("aten::")
    arguments = {
        item.name: item.default_value if item.has_default_value() else None for item in schema.arguments
    }
    name = name if name.endswith("__") else name.removesuffix("_")
    written = [item.name for item in schema.arguments if item.alias_info and item.alias_info.is_write]
    return _Signature(name, arguments, () if name in BATCH_NORMS else tuple(written))


class _Step(NamedTuple):
    """A call of an operation: its name, "" for the images; all arguments by name; and the tensors it gave."""

    operation: str
    arguments: dict[str, Any]
    values: Sequence[Tensor]

    def tensors(self) -> list[Tensor]:
        """All tensors among the arguments."""
        return list(tensors_in(self.arguments.values()))


class _Pass(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """One pass of a network, in which the tensors that depend on the image are numbered.

    Numbers follow from the operations and their order alone. A tensor that is changed in place becomes a new node; what
    reads another one that shares its memory is unknown.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._count = 0
        self._sources: MutableMapping[Tensor, _Source] = WeakTensorKeyDictionary()
        # Memory of constants that an operation on the image wrote to; kept, so that no other can be in its place.
        self._written: dict[int, tuple[torch.UntypedStorage, int]] = {}
        # Operations that gave no tensor but may steer what follows, by a number, say, and the nodes they read.
        self._steering: list[tuple[str, int]] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here; torch would load its compiler, which takes seconds, to leave this class out."""
        return False

    def see(self, step: _Step) -> None:
        """Called with every operation that makes nodes, before they are numbered."""

    def see_constant(self, step: _Step) -> None:
        """Called with every operation on constants alone."""

    def see_end(self, operation: str, inputs: tuple[int, ...], logits: Tensor) -> None:
        """Called at the end if the logits depend on these nodes in a way that was not seen; they are a new node then."""

    def run(self, model: nn.Module, images: Tensor) -> tuple[Tensor, list[int]]:
        """Carry out the pass, which can be done once.

        Returns:
            [B, K] logits; the nodes in which the stem and the blocks of a `BlockwiseModel` end, or the logits' alone.
        """
        self._add(_Step("", {}, [images]), [])
        with torch.no_grad(), evaluation(model), self:
            outputs = model.features(images) if isinstance(model, BlockwiseModel) else [model(images)]
        sources = [self._source(output) or _Source(0, whole=False) for output in outputs]
        ends = [source.number for source in sources]
        unseen = [("an operation that was not seen", source.number) for source in sources if not source.whole]
        steering = self._steering + unseen
        if steering:
            inputs = {ends[-1], *(number for _, number in steering)}
            self.see_end(steering[0][0], tuple(sorted(inputs)), outputs[-1])
            ends[-1] = self._count
        return outputs[-1], ends

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Carry out an operation and number what it gives."""
        result = func(*args, **(kwargs or {}))
        signature = _signature(func)
        arguments = signature.arguments | dict(zip(signature.arguments, args, strict=False)) | (kwargs or {})
        values = list(tensors_in([result]))
        # A tuple begins with the result; what follows are by-products, such as indices.
        count = 1 if isinstance(result, tuple) else len(values)
        step = _Step(signature.name, arguments, values[:count])
        read = [source.number for source in map(self._source, step.tensors()) if source]
        if not read:
            self.see_constant(step)
        elif signature.name in SHAPE_ONLY:
            pass
        elif values:
            self._add(step, list(tensors_in(arguments[name] for name in signature.written)))
            for value in values[count:]:
                self._sources[value] = _Source(self._count - 1, whole=False)
        elif result is not None or signature.written:
            self._steering += [(signature.name, number) for number in read]
        return result

    def _source(self, tensor: Tensor) -> _Source | None:
        found = self._sources.get(tensor)
        if found is None and self._written:
            storage = self._written.get(tensor.untyped_storage()._cdata)
            return storage and _Source(storage[1], whole=False)
        return found

    def _add(self, step: _Step, changed: Sequence[Tensor]) -> None:
        """Number new nodes, and follow tensors no further that share memory with one that was changed."""
        self.see(step)
        for tensor in changed:
            storage = tensor.untyped_storage()
            if tensor not in self._sources:
                self._written[storage._cdata] = storage, self._count
            for other in list(self._sources):
                if other.untyped_storage()._cdata == storage._cdata:
                    self._sources[other] = _Source(self._count, whole=False)
        for value in step.values:
            self._sources[value] = _Source(self._count)
            self._count += 1


class _Watcher(_Pass):  # type: ignore[no-untyped-call]
    """Shows the values of some nodes."""

    def __init__(self, visit: Callable[[int, Tensor], None], nodes: Collection[int]) -> None:
        super().__init__()
        self._visit, self._nodes = visit, frozenset(nodes)

    def see(self, step: _Step) -> None:
        """See `_Pass.see`."""
        for number, value in enumerate(step.values, start=self._count):
            if number in self._nodes:
                self._visit(number, value)

    def see_end(self, operation: str, inputs: tuple[int, ...], logits: Tensor) -> None:
        """See `_Pass.see_end`."""
        self.see(_Step(operation, {}, [logits]))


class _Recorder(_Pass):  # type: ignore[no-untyped-call]
    """Describes every node, and calls constants by the first parameter that they are computed from."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.nodes: list[Node] = []
        self._names: MutableMapping[Tensor, str] = WeakTensorKeyDictionary()
        self._weights: dict[int, str] = {}
        # A tensor that has several names goes by the first.
        for name, tensor in reversed(list(_named_tensors(model))):
            self._names[tensor] = name

    def see_constant(self, step: _Step) -> None:
        """See `_Pass.see_constant`."""
        name = next((self._names[tensor] for tensor in step.tensors() if tensor in self._names), "")
        for value in step.values if name else ():
            self._names[value] = name

    def see(self, step: _Step) -> None:
        """See `_Pass.see`."""
        for number, value in enumerate(step.values, start=self._count):
            self.nodes.append(self._node(number, step, value))

    def see_end(self, operation: str, inputs: tuple[int, ...], logits: Tensor) -> None:
        """See `_Pass.see_end`."""
        self.nodes.append(Node(self._count, operation, "unknown", inputs, tuple(logits.shape)))

    def layers(self, path: Sequence[Node], ends: Sequence[int]) -> list[Layer]:
        """The layers on a path through blocks that end there, each by a name of its own."""
        layers: list[Layer] = []
        uses: Counter[str] = Counter()
        for node in path:
            if node.map is not None:
                kind = _kind(node.operation, node.map)
                name = _owner(self._weights[node.number]) or kind
                uses[name] += 1
                if uses[name] > 1:
                    name += f" ({uses[name]})"
                block = sum(end < node.number for end in ends)
                shape = _described(kind, node.map)
                layers.append(Layer(name, block, node.number, kind, shape, node.parameters, node.map))
        return layers

    def _node(self, number: int, step: _Step, value: Tensor) -> Node:
        shape = tuple(value.shape)
        if not step.operation:
            return Node(number, "", "input", (), shape)
        sources = [source for source in map(self._source, step.tensors()) if source]
        whole = all(source.whole for source in sources)
        effect = effect_of(Call(step.operation, step.arguments, value, self._shape_of)) if whole else None
        if effect is None:
            inputs = {source.number for source in sources}
            return Node(number, step.operation, "unknown", tuple(sorted(inputs)), shape)
        if effect.map is not None:
            weight = step.arguments["mat2" if step.operation in MATRICES else "weight"]
            self._weights[number] = self._names.get(weight, "")
        return Node(
            number, step.operation, effect.kind, tuple(self._sources[tensor].number for tensor in effect.inputs),
            shape, effect.factor, effect.weights,
            effect.scale if effect.scale is None else effect.scale.detach().clone(),
            effect.map and replace(effect.map, weight=effect.map.weight.clone()),
            effect.parameters,
        )  # fmt: skip

    def _shape_of(self, tensor: Tensor) -> Shape | None:
        source = self._sources.get(tensor)
        return None if source is None else self.nodes[source.number].shape


def _named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers by the names they have in the network itself."""
    network = model.network if isinstance(model, NormalisedNetwork) else model
    if isinstance(network, ExportedNetwork):
        network = network.weights
    elif isinstance(network, ScriptNetwork):
        network = network.model
    yield from network.named_parameters()
    yield from network.named_buffers()


def _owner(parameter: str) -> str:
    """The module whose weight a parameter is, or the parameter if it is called otherwise."""
    module, parametrised, _ = parameter.partition(".parametrizations.")
    if parametrised:
        return module
    module, _, last = parameter.rpartition(".")
    return module if module and last in _WEIGHTS else parameter


def _kind(operation: str, map: Convolution) -> str:
    if operation in MATRICES:
        return "linear"
    if map.groups > 1:
        return "depthwise conv" if map.weight.shape[1] == 1 else "grouped conv"
    return "conv"


def _described(kind: str, map: Convolution) -> str:
    """A layer's shape for people."""
    channels = f"{map.input_shape[0]} to {map.output_shape[0]}"
    if kind == "linear":
        return channels
    parts = [f"{map.weight.shape[2]}x{map.weight.shape[3]}", channels]
    for name, value in (("stride", map.stride), ("dilation", map.dilation)):
        if value != (1, 1):
            parts.append(f"{name} {value[0]}" if value[0] == value[1] else f"{name} {value[0]}x{value[1]}")
    if kind == "grouped conv":
        parts.append(f"{map.groups} groups")
    return ", ".join(parts)


def _title(layers: Sequence[Layer]) -> str:
    """A block's title: the module that all its layers are in, or what the block is."""
    common = commonprefix([layer.name.split(".") for layer in layers])
    return ".".join(common) or "residual block"


def _path(nodes: Sequence[Node], output: int) -> tuple[Node, ...]:
    """The nodes that a node is made from, and itself."""
    needed = {output}
    for number in range(output, -1, -1):
        if number in needed:
            needed.update(nodes[number].inputs)
    return tuple(nodes[number] for number in sorted(needed))


def _is_pre_activation(nodes: Sequence[Node], path: Sequence[Node]) -> bool:
    """See `Graph.pre_activation`."""
    for node in path:
        if node.operation in BATCH_NORMS:
            before = nodes[node.inputs[0]]
            while before.kind in ("channelwise", "scale"):
                before = nodes[before.inputs[0]]
            if before.kind in ("sum", "stack"):
                return True
    return False


def _ends_of_blocks(nodes: Sequence[Node], path: Sequence[Node]) -> list[int]:
    """Where the stem and the blocks of a network end that does not say it itself, see `Graph`."""
    cuts = _cuts(path)
    # Segment i leads from cut i to cut i + 1, on parallel paths or through one operation.
    parallel = [set(nodes[end].inputs) != {start} for start, end in pairwise(cuts)]
    heads = [place for place, end in enumerate(cuts[1:]) if parallel[place] or nodes[end].kind == "layer"]
    first = next((index for index, place in enumerate(heads) if parallel[place]), 1)
    pre_activation = _is_pre_activation(nodes, path)
    ends = []
    for index in range(first, len(heads)):
        between = range(heads[index - 1] + 1 if index else 0, heads[index])
        # The batch norm of a pre-activation network belongs to what follows it.
        norms = (place for place in between if nodes[cuts[place + 1]].operation in BATCH_NORMS)
        ends.append(cuts[next(norms, heads[index]) if pre_activation else heads[index]])
    return [*ends, cuts[-1]]


def _cuts(path: Sequence[Node]) -> list[int]:
    """The nodes that all paths from the images to the logits go through, both included."""
    last_use = {source: node.number for node in path for source in node.inputs}
    cuts, reached = [], 0
    for node in path:
        if reached <= node.number:
            cuts.append(node.number)
        reached = max(reached, last_use.get(node.number, 0))
    return cuts
