"""The tables of a look at a network: what each column of `engine.store.schema` is made of.

Shapes: M pairs of a clean and an adversarial image, N blocks, L weighted layers, H W image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor, nn

from engine.attacks.base import clean_logits
from engine.device import exact_float32
from engine.inspection.distances import PairStatistics, mean_and_spread, measure_pairs
from engine.inspection.graph import Graph
from engine.inspection.norms import reshaped_norms
from engine.models.modes import evaluation

#: Pairs of images that are passed, and enter the CKA, together: the same everywhere, so that its values compare. Its cost
#: grows with their square.
PAIRS_AT_ONCE = 32
#: Distances with a value for every image, by the name of their columns.
_PER_IMAGE = ("distance", "relative_distance", "cosine", "amplification")


class LayerNames(TypedDict):
    """What a stage's layout says about blocks and layers; see `StageLayout`."""

    block_names: tuple[str, ...]
    layer_names: tuple[str, ...]
    layer_blocks: tuple[int, ...]
    layer_kinds: tuple[str, ...]
    layer_shapes: tuple[str, ...]
    layer_parameters: tuple[int, ...]


def names_of(graph: Graph) -> LayerNames:
    """What the tables call the blocks and layers of a network; nothing if it has none that can be told apart."""
    layers = graph.layers if graph.blocks else ()
    return {
        "block_names": tuple(block.title for block in graph.blocks) if layers else (),
        "layer_names": tuple(layer.name for layer in layers),
        "layer_blocks": tuple(layer.block for layer in layers),
        "layer_kinds": tuple(layer.kind for layer in layers),
        "layer_shapes": tuple(layer.shape for layer in layers),
        "layer_parameters": tuple(layer.parameters for layer in layers),
    }


def look(model: nn.Module, graph: Graph, images: Tensor, adversarial: Tensor) -> PairStatistics:
    """Compare clean and adversarial features at the end of every block, then at every weighted layer.

    Args:
        model: any network; it stays as it was.
        graph: traced from it.
        images, adversarial: [M, 3, H, W], the same images clean and attacked, on the model's device.
    """
    places = [*(block.end for block in graph.blocks), *(layer.node for layer in graph.layers)]
    return measure_pairs(model, images, adversarial, nodes=places, batch_size=PAIRS_AT_ONCE)


def layers_row(graph: Graph, pairs: PairStatistics) -> dict[str, np.ndarray]:
    """The columns of one row of the table of layers that describe the network.

    Args:
        graph: traced from the network with its present weights.
        pairs: what `look` found.
    """
    blocks = len(graph.blocks)
    columns: dict[str, np.ndarray] = {}

    def put(name: str, values: np.ndarray) -> None:
        columns[name], columns[f"layer_{name}"] = values[None, :blocks], values[None, blocks:]

    for name in _PER_IMAGE:
        values = getattr(pairs, name)
        # Of an image that the attack left alone no amplification is known.
        counted = pairs.perturbed if name == "amplification" else slice(None)
        mean, spread = mean_and_spread(values[:, counted])
        put(name, mean)
        put(f"{name}_errors", spread)
    put("cka", pairs.cka)
    with exact_float32():
        norms = reshaped_norms([layer.map for layer in graph.layers]).cpu().numpy()
    by_block = np.full(blocks, np.nan)
    for layer, norm in zip(graph.layers, norms, strict=True):
        if layer.block:
            by_block[layer.block - 1] = np.fmax(by_block[layer.block - 1], norm)
    return columns | {"spectral_norm": by_block[None], "layer_spectral_norm": norms[None]}


def probe_table(
    graph: Graph,
    pairs: PairStatistics,
    *,
    samples: np.ndarray,
    labels: Tensor,
    predictions: tuple[Tensor, Tensor],
) -> dict[str, np.ndarray]:
    """The table of probe images, one row for each.

    Args:
        graph: traced from the network.
        pairs: what `look` found.
        samples: [M] numbers of the images in their data set.
        labels: [M] true classes.
        predictions: [M] classes predicted for the clean and for the adversarial images.
    """
    blocks = len(graph.blocks)
    clean, adversarial = predictions
    table = {
        "sample": samples,
        "label": labels.cpu().numpy(),
        "clean_prediction": clean.cpu().numpy(),
        "adversarial_prediction": adversarial.cpu().numpy(),
        "input_distance": pairs.input_distance,
    }
    for name in _PER_IMAGE:
        values = getattr(pairs, name).T
        table[name], table[f"layer_{name}"] = values[:, :blocks], values[:, blocks:]
    return table


@torch.no_grad()
def examples_table(
    model: nn.Module, images: Tensor, adversarial: Tensor, *, samples: np.ndarray, labels: Tensor
) -> dict[str, np.ndarray]:
    """The table of examples: images as they are, attacked, and the difference, with what the network makes of them.

    Args:
        model: any network; it stays as it was.
        images, adversarial: [M, 3, H, W] in 0..1.
        samples: [M] numbers of the images in their data set.
        labels: [M] true classes.
    """
    with exact_float32(), evaluation(model):
        clean, attacked = clean_logits(model, images), clean_logits(model, adversarial)
    tensors = {
        "label": labels,
        "clean_prediction": clean.argmax(1),
        "clean_confidence": clean.softmax(1).amax(1),
        "adversarial_prediction": attacked.argmax(1),
        "adversarial_confidence": attacked.softmax(1).amax(1),
        "robust": ((clean.argmax(1) == labels) & (attacked.argmax(1) == labels)).byte(),
        "clean": images,
        "adversarial": adversarial,
        "difference": adversarial - images,
    }
    table = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
    return table | {"sample": samples, "attempt": np.full(len(samples), -1)}


def profile_table(
    layers: Mapping[str, np.ndarray], bounds: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The last rows of the tables of layers and bounds as curves over the weighted layers.

    Args:
        layers, bounds: the tables; bounds may be empty, they are unknown then.
    """
    names = ("distance", "distance_errors", "relative_distance", "relative_distance_errors")
    table = {name: layers[f"layer_{name}"][-1] for name in names}
    unknown = np.full((1, len(table["distance"])), np.nan)
    table |= {name: bounds.get(f"layer_{name}", unknown)[-1] for name in ("upper", "estimate", "lower")}
    return table | {"layer_number": np.arange(1, len(table["distance"]) + 1)}
