"""How far adversarial features lie from clean ones, at any place in a network.

Shapes: P places, M pairs of a clean and an adversarial image, B pairs of a batch, d numbers of one image's feature,
C channels (entries of a feature's second dimension). All norms are L2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.linalg import vector_norm

from engine.device import exact_float32
from engine.inspection.graph import watch
from engine.losses import feature_distance
from engine.models.modes import evaluation

#: The number of the images in every graph.
IMAGES = 0
#: What rounding may add to a difference of features, in eps of their dtype times the feature's norm.
ROUNDING = 4
#: Share of a feature's norm that centring has to leave, or no angle can be told from rounding.
LEAST_CENTRED = 0.01
#: Images that the debiased CKA needs at least.
LEAST_FOR_CKA = 4


@dataclass(frozen=True, slots=True)
class PairStatistics:
    """Clean features h and adversarial ones h', compared at P places for M pairs of images x and x'.

    A value that is undefined is NaN, and so is everything at a node that the pass did not reach, or whose value has not
    one row for each image. What is made of numbers that are not finite is not finite either.

    Attributes:
        nodes: [P] numbers of the places in the network's graph.
        distance: [P, M] normalised L2 distance ||h' - h|| / sqrt(d), in units of the feature.
        norm: [P, M] ||h||.
        cosine: [P, M] of h - c and h' - c, where c repeats, in each channel, the mean of the clean features over all
            M images and all positions; without it the cosine of activations, which have one sign, is always near 1.
            NaN where centring leaves less than `LEAST_CENTRED` of either.
        cka: [P] debiased linear CKA of clean and adversarial features; see `debiased_hsic`. Batches of fewer than four
            pairs do not count; NaN if there is no other, or the features do not vary. Its sampling error may take it
            below 0.
        size: [P] d.
        rounding: [P, M] what rounding may contribute to ||h' - h||.
        input_distance: [M] ||x' - x||, in input units.
        input_rounding: [M] what rounding may contribute to it.
    """

    nodes: tuple[int, ...]
    distance: np.ndarray
    norm: np.ndarray
    cosine: np.ndarray
    cka: np.ndarray
    size: np.ndarray
    rounding: np.ndarray
    input_distance: np.ndarray
    input_rounding: np.ndarray

    @property
    def l2(self) -> np.ndarray:
        """[P, M] ||h' - h||, in units of the feature."""
        l2: np.ndarray = self.distance * np.sqrt(self.size)[:, None]
        return l2

    @property
    def relative_distance(self) -> np.ndarray:
        """[P, M] ||h' - h|| / ||h||; 0 where nothing changed, infinite where a feature of zeros did."""
        return _ratio(self.l2, np.where(self.distance == 0, 1, self.norm))

    @property
    def perturbed(self) -> np.ndarray:
        """[M] whether an image and its adversarial one differ by more than rounding; attacks leave some alone."""
        differ: np.ndarray = self.input_distance > self.input_rounding
        return differ

    @property
    def amplification(self) -> np.ndarray:
        """[P, M] ||h' - h|| / ||x' - x||; NaN for pairs that are not `perturbed`."""
        return _ratio(self.l2, np.where(self.perturbed, self.input_distance, np.nan))

    def gains(self, start: int, end: int) -> np.ndarray:
        """[M] growth ||h'_end - h_end|| / ||h'_start - h_start|| of each difference between two places.

        Each is a lower bound on the Lipschitz constant of what leads from one place to the other, if nothing else leads
        to its end. It is NaN where either difference is within rounding.

        Args:
            start, end: numbers of nodes, each `IMAGES` or among `nodes`.
        """
        (before, error_before), (after, error_after) = self._difference(start), self._difference(end)
        resolved = (before > error_before) & (after > error_after)
        return _ratio(after, np.where(resolved, before, np.nan))

    def largest_gain(self, start: int, end: int) -> float:
        """The largest of `gains`; NaN if all are within rounding, or a difference is not finite."""
        sound = np.isfinite([self._difference(start)[0], self._difference(end)[0]]).all()
        return float(np.fmax.reduce(self.gains(start, end))) if sound else math.nan

    def _difference(self, node: int) -> tuple[np.ndarray, np.ndarray]:
        """[M], [M] distance and rounding at a node."""
        if node == IMAGES:
            return self.input_distance, self.input_rounding
        place = self.nodes.index(node)
        return self.l2[place], self.rounding[place]


def mean_and_spread(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[P], [P] mean and standard deviation over samples of values [P, M], NaN if there are none."""
    if not values.shape[1]:
        unknown = np.full(len(values), np.nan, values.dtype)
        return unknown, unknown
    with np.errstate(invalid="ignore"):  # infinite values have no spread
        return values.mean(1), values.std(1)


@torch.no_grad()
def measure_pairs(
    model: nn.Module, images: Tensor, adversarial: Tensor, *, nodes: Sequence[int], batch_size: int
) -> PairStatistics:
    """Compare the features of images and adversarial images at nodes of a network's graph, in eval mode and float32.

    Clean and adversarial images go through the network in one batch, every feature is condensed as it appears, and
    the results leave the device once, at the end. The model's flags, buffers and gradients stay as they were.

    Args:
        model: a network on the images' device.
        images, adversarial: [M, 3, H, W], the same images clean and attacked.
        nodes: numbers of nodes; places in the result are in this order.
        batch_size: pairs passed at once. Nothing but the CKA depends on it, beyond rounding.

    Raises:
        ValueError: there are no images, or not as many adversarial ones of the same shape.
    """
    if not len(images) or images.shape != adversarial.shape:
        raise ValueError(
            f"expected as many adversarial images as clean ones, and at least one; got {tuple(images.shape)} and "
            f"{tuple(adversarial.shape)}"
        )
    tally = _Tally(nodes, images)
    with exact_float32(), evaluation(model):
        for start in range(0, len(images), batch_size):
            part = slice(start, start + batch_size)
            both = torch.cat((images[part], adversarial[part]))
            tally.begin(both)
            watch(model, both, tally.visit, set(nodes) - {IMAGES})
            tally.end()
    return tally.statistics()


def debiased_hsic(grams: Tensor) -> Tensor:
    """n (n - 3) times the unbiased estimate HSIC_1 of the dependence between each two of G feature spaces.

    The debiased CKA of two of them, i and j, is the entry ij over the root of the entries ii and jj. Entries of several
    batches may be summed first, each batch counting by its pairs of images.

    Args:
        grams: [..., G, n, n] inner products between n >= 4 samples; changed.

    Returns:
        [..., G, G], symmetric, never negative on the diagonal.

    Source: Song et al., JMLR 2012, for HSIC_1, in the form of Szekely & Rizzo, Annals of Statistics 2014, definition 2
    and equation 2.5 (inner product of U-centred matrices); Nguyen et al., ICLR 2021, section 3, for batches.
    """
    n = grams.shape[-1]
    grams.diagonal(dim1=-2, dim2=-1).zero_()
    rows = grams.sum(-1, keepdim=True) / (n - 2)
    centred = grams - rows - rows.mT + rows.sum(-2, keepdim=True) / (n - 1)
    centred.diagonal(dim1=-2, dim2=-1).zero_()
    flat = centred.flatten(-2)
    return flat @ flat.mT


class _Tally:
    """What is kept of every feature while batches pass: some numbers per sample, means per channel, CKA's sums.

    Args:
        nodes: where to look; the images are always looked at.
        images: [M, 3, H, W].
    """

    def __init__(self, nodes: Sequence[int], images: Tensor) -> None:
        self.nodes = nodes
        self._places = {node: place for place, node in enumerate(dict.fromkeys((*nodes, IMAGES)))}
        self._device, places = images.device, len(self._places)
        self._distances = torch.full((places, len(images)), math.nan, device=self._device)
        # Of the clean features, then of the adversarial ones.
        self._norms = torch.full((places, 2, len(images)), math.nan, device=self._device)
        self._means: list[Tensor] = []
        self._hsic, self._weight = torch.zeros((places, 2, 2), device=self._device), 0
        self._sizes, self._channels, self._eps = [0] * places, [0] * places, [math.nan] * places
        self._done = 0

    def begin(self, both: Tensor) -> None:
        """Prepare for a batch [2B, 3, H, W], clean images first."""
        self._pairs, places = len(both) // 2, len(self._places)
        self._batch_means = [torch.empty((2, self._pairs, 0), device=self._device)] * places
        self._grams = torch.full((places, 2, self._pairs, self._pairs), math.nan, device=self._device)
        self.visit(IMAGES, both)

    def visit(self, node: int, value: Tensor) -> None:
        """Take the value [2B, ...] of a node."""
        if value.dim() < 2 or len(value) != 2 * self._pairs:
            return
        place, part = self._places[node], slice(self._done, self._done + self._pairs)
        features = _flattened(value)
        means = value[..., None].mean(tuple(range(2, value.dim() + 1)), dtype=torch.float32)
        self._sizes[place], self._channels[place] = features.shape[1], means.shape[1]
        self._eps[place] = torch.finfo(value.dtype).eps
        self._batch_means[place] = means.reshape(2, self._pairs, -1)
        self._distances[place, part] = feature_distance(features[self._pairs :], features[: self._pairs])
        features = features.float()
        self._norms[place, :, part] = vector_norm(features, dim=1).view(2, -1)
        if self._pairs >= LEAST_FOR_CKA:
            # HSIC does not change with the origin; far from it, rounding would drown the differences between images.
            centred = (features - features[: self._pairs].mean(0)).view(2, self._pairs, -1)
            gram = self._grams[place]
            # Divided by d, so that squares of it stay within the range of float32.
            torch.baddbmm(gram, centred, centred.mT, beta=0, alpha=1 / features.shape[1], out=gram)

    def end(self) -> None:
        """Close the batch."""
        if self._pairs >= LEAST_FOR_CKA:
            self._hsic += debiased_hsic(self._grams)
            self._weight += self._pairs * (self._pairs - 3)
        self._means.append(torch.cat(self._batch_means, 2))
        self._done += self._pairs

    def statistics(self) -> PairStatistics:
        """What was found, on the host."""
        means = torch.cat(self._means, 1)
        centre = means[0].mean(0)
        # What centring takes off a squared norm, |h|^2 - |h - c|^2 = sum of c (2 h - c); here with means in place of h.
        taken = torch.split(centre * (2 * means - centre), self._channels, 2)
        parts = (self._distances, self._norms, torch.stack([part.sum(2) for part in taken]), self._hsic)
        packed = torch.cat([part.flatten() for part in parts]).cpu().double()
        found = torch.split(packed, [part.numel() for part in parts])
        distance, norms, off, hsic = (
            values.reshape(part.shape).numpy() for values, part in zip(found, parts, strict=True)
        )
        size, eps = np.array(self._sizes), np.array(self._eps)
        rounding = ROUNDING * eps[:, None] * norms[:, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            squares = norms**2 - (size / self._channels)[:, None, None] * off
            squares[squares < (LEAST_CENTRED * norms) ** 2] = np.nan
            products = squares.sum(1) - size[:, None] * distance**2
            cosine = np.clip(products / (2 * np.sqrt(squares.prod(1))), -1, 1)
            own = np.sqrt(np.diagonal(hsic, axis1=1, axis2=2) / self._weight)
            own[own <= rounding.max(1, keepdims=True) ** 2 / size[:, None]] = np.nan
            cka = hsic[:, 0, 1] / self._weight / own.prod(1)
        rows, images = [self._places[node] for node in self.nodes], self._places[IMAGES]
        return PairStatistics(
            nodes=tuple(self.nodes),
            distance=distance[rows],
            norm=norms[rows, 0],
            cosine=cosine[rows],
            cka=cka[rows],
            size=size[rows],
            rounding=rounding[rows],
            input_distance=distance[images] * size[images] ** 0.5,
            input_rounding=rounding[images],
        )


def _flattened(value: Tensor) -> Tensor:
    """[B, d] features in the order in which they lie in memory; no statistic depends on it, and a copy costs time."""
    if value.dim() == 4 and value.is_contiguous(memory_format=torch.channels_last):
        value = value.permute(0, 2, 3, 1)
    return value.flatten(1)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: np.ndarray = numerator / denominator
    return ratio
