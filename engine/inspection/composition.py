"""Certified Lipschitz bounds of blocks and of a whole network, composed of the norms of its layers.

The bound of a chain is the product of its operations' constants, of a residual sum a*S + b*F it is a*L(S) + b*L(F), of
tensors next to each other the root of the sum of squares. Batch norm, and any other scaling a of channels, is folded into
a layer's map: K -> BN has the norm ||diag(a) K||, and since activations and pooling work on each channel alone,
BN -> activation -> K has the bound ||K diag(a)||. Between two layers both are possible, and the smaller product counts.

All sums are of logarithms: bounds of deep networks leave the range of floating-point numbers.

Shapes: N blocks, L weighted layers.

Source: Szegedy et al., ICLR 2014, section 4.3, for the product; Gouk et al., Machine Learning 2021, section 3, for
residual sums, pooling and batch norm.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.inspection.graph import Graph, Node
from engine.inspection.norms import Convolution


class Variant(NamedTuple):
    """The map of a layer with scales folded into it: the layer's index, and the numbers of the nodes that scale its
    input channels before, and its output channels after it."""

    layer: int
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Composition:
    """Decimal logarithms of Lipschitz bounds; NaN where an operation is unknown, -inf where nothing passes.

    Attributes:
        log10_blocks: [N + 1] of the stem and every block.
        log10_prefixes: [N + 1] from the images to the end of the stem and of every block.
        unknown: the operations that nothing is known of.
    """

    log10_blocks: np.ndarray
    log10_prefixes: np.ndarray
    unknown: tuple[str, ...]

    @property
    def log10_network(self) -> float:
        """From the images to the logits."""
        return float(self.log10_prefixes[-1])


def variants(graph: Graph) -> tuple[Variant, ...]:
    """The maps that are shown, and all whose norms `compose` needs."""
    needed = dict.fromkeys(display_variants(graph))

    def norm(variant: Variant) -> float:
        needed[variant] = None
        return 0.0

    _Rule(graph, norm, lambda scales: 0.0, folded=True).bounds()
    return tuple(needed)


def folded_map(graph: Graph, variant: Variant) -> Convolution:
    """The map of a layer with the scales of a variant."""
    map = graph.layers[variant.layer].map
    inputs, outputs = (
        _product([_scale(graph, number) for number in numbers], channels) if numbers else None
        for numbers, channels in (
            (variant.inputs, map.input_shape[0]),
            (variant.outputs, map.output_shape[0]),
        )
    )
    return map.scaled(inputs=inputs, outputs=outputs) if variant.inputs or variant.outputs else map


def compose(graph: Graph, norms: Mapping[Variant, float], *, folded: bool = True) -> Composition:
    """Bounds of all blocks and of the network.

    Args:
        graph: the network, with weights.
        norms: an upper bound on the norm of each of `variants`. Of estimates or reshaped norms the same rule is made,
            but the result is no bound.
        folded: False takes every scale as an operation of its own; of the norms only those of the layers alone,
            `Variant(0)` to `Variant(L - 1)`, are needed then.
    """
    scales = _on_host({node.number: node.scale for node in graph.path if node.scale is not None})

    def largest(numbers: tuple[int, ...]) -> float:
        chosen = [scales[number] for number in numbers]
        return _log(float(_product(chosen, max(map(len, chosen))).abs().max()))

    rule = _Rule(graph, lambda variant: _log(norms[variant]), largest, folded=folded)
    blocks, prefixes = (np.array(found) / math.log(10) for found in rule.bounds())
    unknown = dict.fromkeys(node.operation for node in graph.path if node.kind == "unknown")
    return Composition(blocks, prefixes, tuple(unknown))


def display_variants(graph: Graph) -> tuple[Variant, ...]:
    """The map that is shown for each layer, in which every batch norm is used once, in the order of the network.

    Where each batch norm follows a convolution it is part of that convolution's output, in pre-activation networks of
    the input of all layers that it leads to through activations and pooling. The normalisation of pixels is part of
    the stem's input.
    """
    return tuple(shown.variant for shown in _shown(graph))


def folded_nodes(graph: Graph) -> tuple[tuple[int, int], ...]:
    """The nodes between which the maps of `display_variants` lead: for each layer, where they begin and end.

    No pair of images grows more from one to the other than by the map's norm times `folded_factors`.
    """
    borders = []
    for layer, shown in zip(graph.layers, _shown(graph), strict=True):
        first, last = (*shown.variant.inputs, layer.node)[0], (layer.node, *shown.variant.outputs)[-1]
        borders.append((graph.nodes[first].inputs[0], last))
    return tuple(borders)


def folded_factors(graph: Graph) -> tuple[float, ...]:
    """For each layer, what the activations and the pooling within `folded_nodes` expand by themselves at most."""
    return tuple(shown.factor for shown in _shown(graph))


class _State(NamedTuple):
    """A tensor as seen from where bounds begin.

    Attributes:
        bounds: logarithms of bounds up to the input of the last layer, for each choice of the scales that are folded into
            that input; bounds up to here under () if there is no such layer.
        layer: index of the layer into whose output scales may be folded, if any.
        scales: numbers of the scales since, which are in none of the bounds.
    """

    bounds: Mapping[tuple[int, ...], float]
    layer: int | None = None
    scales: tuple[int, ...] = ()


_UNKNOWN = _State({(): math.nan})


class _Rule:
    """Goes through a graph and keeps the bounds of the best choices.

    Args:
        norm: logarithm of the norm of a layer's map.
        largest: logarithm of the largest product of scales over the channels.
        folded: see `compose`.
    """

    def __init__(
        self,
        graph: Graph,
        norm: Callable[[Variant], float],
        largest: Callable[[tuple[int, ...]], float],
        *,
        folded: bool,
    ) -> None:
        self._graph, self._norm, self._largest, self._folded = graph, norm, largest, folded
        self._layers = {layer.node: index for index, layer in enumerate(graph.layers)}

    def bounds(self) -> tuple[list[float], list[float]]:
        """[N + 1] logarithms of the bounds of stem and blocks, and [N + 1] from the images to their ends."""
        blocks = (self._graph.stem, *self._graph.blocks)
        alone = [self._between(block.start, [block.end]) for block in blocks]
        return [bound for (bound,) in alone], self._between(0, [block.end for block in blocks])

    def _between(self, start: int, ends: list[int]) -> list[float]:
        states = {start: _State({(): 0.0})}
        for node in self._graph.path:
            if start < node.number <= ends[-1]:
                states[node.number] = self._after(
                    node, [states.get(number, _UNKNOWN) for number in node.inputs]
                )
        return [self._closed(states.get(end, _UNKNOWN)) for end in ends]

    def _after(self, node: Node, inputs: list[_State]) -> _State:
        match node.kind:
            case "layer":
                return self._after_layer(self._layers[node.number], inputs[0])
            case "scale":
                return self._after_scale(node, inputs[0])
            case "channelwise":
                expansion = _log(node.factor)
                bounds = {scales: bound + expansion for scales, bound in inputs[0].bounds.items()}
                return inputs[0]._replace(bounds=bounds)
            case "mixing":
                return _State({(): self._closed(inputs[0]) + _log(node.factor)})
            case "sum":
                terms = zip(node.weights, map(self._closed, inputs), strict=True)
                return _State({(): _log_of_sum([_log(weight) + bound for weight, bound in terms])})
            case "stack":
                return _State({(): _log_of_sum([2 * self._closed(state) for state in inputs]) / 2})
            case _:
                return _UNKNOWN

    def _after_layer(self, index: int, state: _State) -> _State:
        if not self._folded:
            return _State({(): self._closed(state) + self._norm(Variant(index))})
        if state.layer is None:
            return _State({state.scales: state.bounds[()]}, index)
        bounds: dict[tuple[int, ...], float] = {(): self._closed(state)}
        if state.scales:
            bounds[state.scales] = self._closed(state._replace(scales=()))
        return _State(bounds, index)

    def _after_scale(self, node: Node, state: _State) -> _State:
        if not self._folded:
            return _State({(): self._closed(state) + self._largest((node.number,))})
        if state.layer is not None and not _fits(node, self._graph, state.layer):
            state = _State({(): self._closed(state)})
        return state._replace(scales=(*state.scales, node.number))

    def _closed(self, state: _State) -> float:
        """The bound with the layer and the scales that are still open."""
        if state.layer is None:
            return state.bounds[()] + (self._largest(state.scales) if state.scales else 0.0)
        return _least(
            [
                bound + self._norm(Variant(state.layer, inputs, state.scales))
                for inputs, bound in state.bounds.items()
            ]
        )


class _Shown(NamedTuple):
    """See `display_variants` and `folded_factors`."""

    variant: Variant
    factor: float


class _Place(NamedTuple):
    """A tensor on its way to the next layer: index of the layer that it comes from, if nothing else does; the scales
    that are not in a map yet; and what was expanded since the first of these, or else that layer."""

    layer: int | None = None
    scales: tuple[int, ...] = ()
    factor: float = 1.0


def _shown(graph: Graph) -> tuple[_Shown, ...]:
    """For each layer the map that is shown."""
    layers = {layer.node: index for index, layer in enumerate(graph.layers)}
    uses = Counter(number for node in graph.path for number in node.inputs)
    places: dict[int, _Place] = {}
    shown: dict[int, _Shown] = {}
    for node in graph.path:
        place = places[node.inputs[0]] if len(node.inputs) == 1 else _Place()
        if len(node.inputs) == 1 and uses[node.inputs[0]] > 1:
            place = place._replace(layer=None)
        if node.kind == "layer":
            index = layers[node.number]
            shown[index] = _Shown(Variant(index, place.scales), place.factor if place.scales else 1.0)
            place = _Place(index)
        elif node.kind == "scale":
            if place.layer is None or graph.pre_activation or not _fits(node, graph, place.layer):
                factor = place.factor if place.scales else 1.0
                place = _Place(None, (*place.scales, node.number), factor)
            else:
                variant, factor = shown[place.layer]
                outputs = (*variant.outputs, node.number)
                shown[place.layer] = _Shown(variant._replace(outputs=outputs), factor * place.factor)
                place = place._replace(factor=1.0)
        elif node.kind == "channelwise":
            place = place._replace(factor=place.factor * node.factor)
        else:
            place = _Place()
        places[node.number] = place
    return tuple(shown[index] for index in range(len(graph.layers)))


def _fits(node: Node, graph: Graph, layer: int) -> bool:
    """Whether a scale is one of the layer's output channels, which are more than those after flattening."""
    return len(_scale(graph, node.number)) in (1, graph.layers[layer].map.output_shape[0])


def _scale(graph: Graph, number: int) -> Tensor:
    scale = graph.nodes[number].scale
    if scale is None:
        raise ValueError(
            f"expected the number of a node that scales channels, got {number}; take those of `variants`"
        )
    return scale


def _on_host(scales: Mapping[int, Tensor]) -> dict[int, Tensor]:
    """The scales in float64 on the CPU, moved there all at once: each time takes as long as the device is busy."""
    if not scales:
        return {}
    moved = torch.cat(list(scales.values())).cpu().double()
    return dict(zip(scales, torch.split(moved, [len(scale) for scale in scales.values()]), strict=True))


def _product(scales: Sequence[Tensor], channels: int) -> Tensor:
    """[channels] the product of scales; one that was met before flattening holds for several channels in a row."""
    product = scales[0].new_ones(channels)
    for scale in scales:
        product = product * scale.repeat_interleave(channels // len(scale))
    return product


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf if value == 0 else math.nan


def _least(values: Sequence[float]) -> float:
    """The smallest value, NaN if there is one."""
    return math.nan if any(map(math.isnan, values)) else min(values)


def _log_of_sum(logarithms: Sequence[float]) -> float:
    """log(exp(a) + exp(b) + ...)."""
    largest = -_least([-value for value in logarithms])
    if not math.isfinite(largest):
        return largest
    return largest + math.log(sum(math.exp(value - largest) for value in logarithms))
