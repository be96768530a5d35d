"""Lipschitz constants of a network's layers and blocks and of the whole, between bounds that hold.

Every quantity is l2 to l2, in eval mode, and comes as three numbers:

    upper      a certified bound: no input does more
    estimate   of a layer: the largest value that any method found for its operator norm; of a block and the network:
               the rule of the upper bound with these values
    lower      the largest expansion seen over pairs of images, and of the network also the largest gradient, so no
               bound can be below it

upper >= estimate >= lower holds in exact arithmetic; where rounding or an error breaks it, all values stay as they are
and the contradiction is counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from engine.device import exact_float32
from engine.inspection.composition import (
    Variant,
    compose,
    display_variants,
    folded_factors,
    folded_map,
    folded_nodes,
    variants,
)
from engine.inspection.distances import IMAGES, PairStatistics, measure_pairs
from engine.inspection.empirical import expanding_pairs, gradient_bound
from engine.inspection.graph import Graph
from engine.inspection.norms import (
    Convolution,
    estimates,
    power_iteration,
    reshaped_is_lower_bound,
    reshaped_norms,
    upper_bounds,
)
from engine.models.modes import evaluation
from engine.models.spectral_norm import constrained

#: How much larger a smaller number may be through rounding alone, relative to the larger one.
TOLERANCE = 1e-5
#: Power-iteration steps of a live look, from the singular vectors of the look before, and at the first look.
STEPS, FIRST_STEPS = 3, 20
#: How much care a look takes: within the training's time, after its last step, or on demand until nothing changes.
Care = Literal["live", "closing", "full"]
#: Lanczos steps: so many after a training, and at most so many on demand.
CLOSING_STEPS, MOST_STEPS = 30, 200
#: Relative change of an estimate below which it counts as converged.
CONVERGED = 1e-5
#: Steps of the search for pairs that expand more than adversarial ones do.
SEARCH_STEPS = 12
#: Images from which that search starts.
SEARCHED = 32

EachStep = Callable[[float], None]


class BoundsMeter:
    """Measures one network again and again; singular vectors are kept, and norms of weights that did not change.

    Args:
        generator: draws the first singular vectors, on the CPU.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator
        self._starts: dict[Variant, Tensor] = {}
        self._known: dict[Variant, tuple[Convolution, float, float]] = {}

    def measure(
        self,
        model: nn.Module,
        graph: Graph,
        images: Tensor,
        adversarial: Tensor,
        *,
        batch_size: int,
        care: Care = "live",
        each_step: EachStep = lambda share: None,
    ) -> dict[str, np.ndarray]:
        """The columns of one row of the table of bounds that describe the network. The model stays as it was.

        Args:
            model: any network.
            graph: traced from the model with its present weights.
            images, adversarial: [M, 3, H, W], pairs for the lower bounds, on the model's device.
            batch_size: images passed at once.
            care: unless it is "live", pairs that expand more than the given ones are searched for too.
            each_step: told the share 0..1 of the work that is done; may raise to end it.

        Returns:
            Column -> [1], [1, N] or [1, L].
        """
        nodes, steepest = _nodes(graph), math.nan
        with exact_float32():
            norms = self._norms(graph, care, each_step=lambda share: each_step(0.7 * share))
            pairs = [measure_pairs(model, images, adversarial, nodes=nodes, batch_size=batch_size)]
            if care != "live":
                start = images[:SEARCHED]
                found = expanding_pairs(
                    model, start, steps=SEARCH_STEPS, generator=self._generator, each_step=lambda: each_step(0.7)
                )  # fmt: skip
                each_step(0.9)
                pairs.append(measure_pairs(model, start, found, nodes=nodes, batch_size=batch_size))
                with evaluation(model), torch.no_grad():
                    unlikely = model(start).argmin(1)
                gradients = gradient_bound(model, start, unlikely).cpu().numpy()
                steepest = float(np.fmax.reduce(gradients))
        return _row(model, graph, norms, pairs, steepest)

    def _norms(self, graph: Graph, care: Care, each_step: EachStep) -> _Norms:
        shown = display_variants(graph)
        plain = tuple(Variant(index) for index in range(len(graph.layers)))
        maps = {
            variant: folded_map(graph, variant)
            for variant in dict.fromkeys((*variants(graph), *shown, *plain))
        }
        changed = [variant for variant, found in maps.items() if not self._is_known(variant, found)]
        done = 0
        for group in _of_one_shape(changed, maps):
            each_step(done / max(1, len(changed)))
            self._look(group, maps, care)
            done += len(group)
        reshaped = reshaped_norms([maps[variant] for variant in plain]).cpu().double().numpy()
        for index, variant in enumerate(plain):
            if reshaped_is_lower_bound(maps[variant]):
                found, above, between = self._known[variant]
                self._known[variant] = found, above, max(between, float(reshaped[index]))
        upper = {variant: self._known[variant][1] for variant in maps}
        estimate = {variant: self._known[variant][2] for variant in maps}
        return _Norms(shown, plain, upper, estimate, reshaped)

    def _is_known(self, variant: Variant, found: Convolution) -> bool:
        known = self._known.get(variant)
        return (
            known is not None and known[0].size == found.size and torch.equal(known[0].weight, found.weight)
        )

    def _look(self, group: Sequence[Variant], maps: Mapping[Variant, Convolution], care: Care) -> None:
        convolutions = [maps[variant] for variant in group]
        starts = [self._starts.get(variant) for variant in group]
        certified = upper_bounds(convolutions)
        if care == "live":
            steps = STEPS if all(start is not None for start in starts) else FIRST_STEPS
            method = partial(power_iteration, steps=steps)
        elif care == "closing":
            method = partial(estimates, steps=CLOSING_STEPS)
        else:
            method = partial(estimates, steps=MOST_STEPS, tolerance=CONVERGED)
        found, vectors = method(convolutions, starts=starts, generator=self._generator)
        values = torch.stack((certified.double().cpu(), found.double().cpu()), 1).tolist()
        for variant, (upper, estimate), vector in zip(group, values, vectors, strict=True):
            self._starts[variant] = vector
            self._known[variant] = maps[variant], upper, estimate


class _Norms(NamedTuple):
    """Norms of all maps: keys of the maps shown with their batch norms and of those alone, one per layer, upper bounds
    and estimates by key, and [L] reshaped norms of the layers alone."""

    shown: tuple[Variant, ...]
    plain: tuple[Variant, ...]
    upper: Mapping[Variant, float]
    estimate: Mapping[Variant, float]
    reshaped: np.ndarray


def _of_one_shape(
    changed: Sequence[Variant], maps: Mapping[Variant, Convolution]
) -> Iterable[Sequence[Variant]]:
    """The maps that are measured together."""
    groups: dict[object, list[Variant]] = {}
    for variant in changed:
        found = maps[variant]
        groups.setdefault((found.weight.shape, found.size, found.stride, found.groups), []).append(variant)
    return groups.values()


def _nodes(graph: Graph) -> tuple[int, ...]:
    """All places between which expansions are measured."""
    borders = [(block.start, block.end) for block in graph.blocks]
    alone = [(graph.nodes[layer.node].inputs[0], layer.node) for layer in graph.layers]
    together = [*borders, *alone, *folded_nodes(graph)]
    return tuple(dict.fromkeys((*(node for pair in together for node in pair), graph.output)))


def _row(
    model: nn.Module, graph: Graph, norms: _Norms, pairs: Sequence[PairStatistics], steepest: float
) -> dict[str, np.ndarray]:
    """Put the columns together; `steepest` is a lower bound on the whole network from gradients, NaN if there is none."""

    def seen(borders: Iterable[tuple[int, int]]) -> np.ndarray:
        return np.array([_largest(pairs, start, end) for start, end in borders])

    upper, estimate = compose(graph, norms.upper), compose(graph, norms.estimate)
    nominal = compose(graph, dict(zip(norms.plain, norms.reshaped.tolist(), strict=True)), folded=False)
    bands = {
        "layer": (
            [norms.upper[key] for key in norms.shown],
            [norms.estimate[key] for key in norms.shown],
            seen(folded_nodes(graph)) / np.array(folded_factors(graph)),
        ),
        "layer_unfolded": (
            [norms.upper[key] for key in norms.plain],
            [norms.estimate[key] for key in norms.plain],
            seen((graph.nodes[layer.node].inputs[0], layer.node) for layer in graph.layers),
        ),
        "block": (
            10.0 ** upper.log10_blocks[1:],
            10.0 ** estimate.log10_blocks[1:],
            seen((block.start, block.end) for block in graph.blocks),
        ),
        "log10": (
            [upper.log10_network],
            [estimate.log10_network],
            np.log10([np.fmax(_largest(pairs, IMAGES, graph.output), steepest)]),
        ),
    }
    columns: dict[str, np.ndarray] = {}
    violations = 0
    for name, (above, between, below) in bands.items():
        band = _Band(np.asarray(above), np.asarray(between), np.asarray(below), name == "log10")
        violations += band.violations()
        columns |= {f"{name}_upper": band.upper, f"{name}_estimate": band.best(), f"{name}_lower": band.lower}
    columns = {name: values if name.startswith("log10") else values[None] for name, values in columns.items()}
    sigma = {layer: spectral.sigma(weight.detach()) for layer, spectral, weight in constrained(model)}
    modules = dict(model.named_modules())
    return (
        columns
        | {
            "violations": np.array([violations]),
            "layer_sigma": np.array(
                [[float(sigma.get(modules.get(layer.name), math.nan)) for layer in graph.layers]]  # type: ignore[arg-type]
            ),
            "layer_reshaped": norms.reshaped[None],
            "block_nominal": 10.0 ** nominal.log10_blocks[None, 1:],
        }
    )


def _largest(pairs: Sequence[PairStatistics], start: int, end: int) -> float:
    """The largest expansion from one place to another."""
    return float(np.fmax.reduce([found.largest_gain(start, end) for found in pairs]))


class _Band(NamedTuple):
    """Upper bounds, estimates and lower bounds of the same quantities."""

    upper: np.ndarray
    estimate: np.ndarray
    lower: np.ndarray
    is_log10: bool

    def best(self) -> np.ndarray:
        """The estimates, raised to what was seen: a lower bound that is larger is the better estimate."""
        best: np.ndarray = np.fmax(self.estimate, np.where(np.isnan(self.estimate), np.nan, self.lower))
        return best

    def violations(self) -> int:
        """How many upper bounds are below an estimate or a lower bound."""
        slack = math.log10(1 + TOLERANCE) if self.is_log10 else TOLERANCE * np.abs(self.upper)
        return int(((self.best() > self.upper + slack) | (self.lower > self.upper + slack)).sum())
