"""Statistics of clean and adversarial features, against plain numpy, closed forms and the definition of HSIC."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection
from itertools import pairwise, permutations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from engine.config import ModelConfig
from engine.inspection import distances
from engine.inspection.distances import IMAGES, debiased_hsic, mean_and_spread, measure_pairs
from engine.inspection.graph import trace, watch
from engine.models import BlockwiseModel, build_model
from engine.models.modes import evaluation
from engine.models.spectral_norm import constrain
from tests.engine.small import assert_unchanged, everything, images_and_labels, small_model, warm

NETWORKS = (ModelConfig(depth=10, widen_factor=2), ModelConfig(name="resnet", depth=18))

pytestmark = pytest.mark.usefixtures("untouched_random_state")


class Places(nn.Module):
    """A network whose node i, counted from 1, has the value of its i-th function of the images."""

    def __init__(self, *functions: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.functions = functions


@pytest.fixture(autouse=True)
def places_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the values of `Places` be watched, so that features are known exactly."""

    def watch_places(
        model: nn.Module, images: Tensor, visit: Callable[[int, Tensor], None], nodes: Collection[int]
    ) -> None:
        if not isinstance(model, Places):
            watch(model, images, visit, nodes)
            return
        for node in nodes:
            visit(node, model.functions[node - 1](images))

    monkeypatch.setattr(distances, "watch", watch_places)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def linear(matrix: Tensor, offset: Tensor | float = 0.0) -> Callable[[Tensor], Tensor]:
    return lambda images: images.flatten(1) @ matrix.T + offset


def orthogonal(size: int, seed: int) -> Tensor:
    return torch.linalg.qr(drawn(size, size, seed=seed)).Q


def channels_last(images: Tensor) -> Tensor:
    return maps(images).contiguous(memory_format=torch.channels_last)


def maps(images: Tensor) -> Tensor:
    """Activations of one sign, [B, 5, 4, 3], the channels with means of their own."""
    matrix = drawn(60, images[0].numel(), seed=4)
    level = torch.arange(5.0).reshape(1, 5, 1, 1)
    return (linear(matrix)(images).reshape(-1, 5, 4, 3) + level).relu()


def tokens(images: Tensor) -> Tensor:
    return maps(images).flatten(2)


def vectors(images: Tensor) -> Tensor:
    return maps(images).flatten(1)[:, :7] + 2


@pytest.fixture
def pairs() -> tuple[Tensor, Tensor]:
    """Eleven images [11, 3, 2, 2] and changed ones."""
    images = drawn(11, 3, 2, 2)
    return images, images + 0.1 * drawn(11, 3, 2, 2, seed=1)


def hsic_by_definition(one: np.ndarray, other: np.ndarray) -> float:
    """Unbiased HSIC of samples [n, d]: a mean over all ordered quadruples of different samples."""
    k, m = one @ one.T, other @ other.T
    terms = [k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q]) for i, j, q, r in permutations(range(len(k)), 4)]
    return float(np.mean(terms))


def cka_by_definition(clean: np.ndarray, adversarial: np.ndarray, batch_size: int) -> float:
    """Its three parts are sums over batches, weighted by n (n - 3)."""
    sums = np.zeros(3)
    for start in range(0, len(clean), batch_size):
        one, other = (values[start : start + batch_size] for values in (clean, adversarial))
        n = len(one)
        if n >= 4:
            choices = ((one, other), (one, one), (other, other))
            sums += [n * (n - 3) * hsic_by_definition(*choice) for choice in choices]
    return float(sums[0] / math.sqrt(sums[1] * sums[2])) if sums[1] else math.nan


@pytest.mark.parametrize("batch_size", [3, 4, 6, 100])
@pytest.mark.parametrize("place", [maps, channels_last, tokens, vectors])
def test_that_every_statistic_is_that_of_its_definition(
    place: Callable[[Tensor], Tensor], batch_size: int, pairs
) -> None:
    found = measure_pairs(Places(place), *pairs, nodes=[1], batch_size=batch_size)
    before, after = (place(images).double().numpy() for images in pairs)
    centre = before.mean(axis=(0, *range(2, before.ndim)))
    centre = np.broadcast_to(centre.reshape(1, -1, *[1] * (before.ndim - 2)), before.shape)
    clean, adversarial, centre = (values.reshape(len(before), -1) for values in (before, after, centre))
    l2 = np.sqrt(((adversarial - clean) ** 2).sum(1))
    input_l2 = (pairs[1] - pairs[0]).double().flatten(1).norm(dim=1).numpy()
    one, other = clean - centre, adversarial - centre
    expected = {
        "distance": l2 / np.sqrt(clean.shape[1]),
        "l2": l2,
        "norm": np.sqrt((clean**2).sum(1)),
        "relative_distance": l2 / np.sqrt((clean**2).sum(1)),
        "cosine": (one * other).sum(1) / np.sqrt((one**2).sum(1) * (other**2).sum(1)),
        "amplification": l2 / input_l2,
        "cka": cka_by_definition(clean, adversarial, batch_size),
        "size": clean.shape[1],
    }
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(found, name)[0], value, rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(found.input_distance, input_l2, rtol=1e-5)


def test_that_places_come_in_the_order_asked_for_even_twice(pairs) -> None:
    model = Places(vectors, maps, tokens)
    alone = [measure_pairs(model, *pairs, nodes=[node], batch_size=5) for node in (3, 1, 3)]
    together = measure_pairs(model, *pairs, nodes=[3, 1, 3], batch_size=5)
    assert together.nodes == (3, 1, 3)
    for name in ("distance", "norm", "cosine", "cka", "size", "rounding", "amplification"):
        assert np.array_equal(getattr(together, name), [getattr(one, name)[0] for one in alone]), name


def test_that_independent_features_have_hardly_any_cka() -> None:
    features = drawn(256, 1024)
    grams = torch.stack([part @ part.T for part in features.chunk(2)])
    hsic = debiased_hsic(grams)
    assert abs(float(hsic[0, 1] / (hsic[0, 0] * hsic[1, 1]).sqrt())) < 0.06  # the biased one is near 0.9


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e5])
def test_that_cka_does_not_see_rotation_scale_and_origin(offset: float) -> None:
    images = drawn(40, 3, 3, 3)
    turn = orthogonal(27, 2)
    turned = (3 * images.flatten(1) @ turn).reshape(images.shape)
    found = measure_pairs(Places(linear(torch.eye(27), offset)), images, turned, nodes=[1], batch_size=40)
    assert found.cka[0] == pytest.approx(1, abs=1e-6 + 1e-7 * offset)


def test_that_cka_is_that_of_the_features_even_if_they_vary_little() -> None:
    images, adversarial = drawn(12, 3, 8, 8), drawn(12, 3, 8, 8, seed=1)
    expected = cka_by_definition(*(part.double().flatten(1).numpy() for part in (images, adversarial)), 12)
    for scale, offset in ((1e9, 0), (1e-8, 0), (1, 1e4)):
        place = linear(scale * torch.eye(192), offset)
        found = measure_pairs(Places(place), images, adversarial, nodes=[1], batch_size=12)
        assert found.cka[0] == pytest.approx(expected, abs=2e-3 if offset else 1e-5), (scale, offset)


def test_that_fewer_than_four_pairs_leave_the_cka_alone_unknown(pairs) -> None:
    for count, batch_size in ((3, 3), (11, 3)):
        images, adversarial = (part[:count] for part in pairs)
        found = measure_pairs(Places(maps), images, adversarial, nodes=[1], batch_size=batch_size)
        assert np.isnan(found.cka).all()
        for name in ("distance", "norm", "cosine", "relative_distance", "amplification"):
            assert np.isfinite(getattr(found, name)).all(), name


def test_that_batches_change_nothing_but_the_cka(pairs) -> None:
    model = Places(maps, vectors)
    whole = measure_pairs(model, *pairs, nodes=[1, 2], batch_size=11)
    for batch_size in (1, 2, 7):
        found = measure_pairs(model, *pairs, nodes=[1, 2], batch_size=batch_size)
        for name in ("distance", "norm", "cosine", "amplification", "input_distance", "rounding"):
            np.testing.assert_allclose(getattr(found, name), getattr(whole, name), rtol=1e-5, err_msg=name)


def test_that_gains_of_a_linear_network_are_its_singular_values() -> None:
    first, second = drawn(9, 12, seed=1), drawn(7, 9, seed=2)
    values, directions = torch.linalg.svd(first.double())[1:]
    images = drawn(10, 3, 2, 2)
    along = torch.cat((directions[:9], directions[:1])).float().reshape(images.shape)
    model = Places(linear(first, 3.0), lambda images: linear(first, 3.0)(images) @ second.T)
    found = measure_pairs(model, images, images + 0.1 * along, nodes=[1, 2], batch_size=4)
    np.testing.assert_allclose(found.gains(IMAGES, 1)[:9], values, rtol=1e-4)
    assert found.largest_gain(IMAGES, 1) == pytest.approx(float(values[0]), rel=1e-5)
    np.testing.assert_allclose(found.gains(IMAGES, 1) * found.gains(1, 2), found.amplification[1], rtol=1e-6)
    second_norm = float(torch.linalg.matrix_norm(second.double(), 2))
    assert 0.5 * second_norm < found.largest_gain(1, 2) <= second_norm * (1 + 1e-5)


def test_that_pairs_within_rounding_have_distances_but_no_gain() -> None:
    images = 1 + drawn(6, 3, 4, 4).abs()
    change = torch.tensor([0, 1e-7, 1e-5, 1e-3, 1e-1, 1]).reshape(-1, 1, 1, 1)
    doubled = Places(lambda images: 2 * images, torch.zeros_like, lambda images: 1e6 + 1e-4 * images)
    found = measure_pairs(doubled, images, images * (1 + change), nodes=[1, 2, 3], batch_size=6)
    assert list(found.perturbed) == [False, False, True, True, True, True]
    assert list(np.isnan(found.amplification[0])) == [True, True, False, False, False, False]
    assert not found.distance[1].any() and not found.relative_distance[1].any()
    assert found.distance[0, 0] == found.relative_distance[0, 0] == 0
    np.testing.assert_allclose(found.gains(IMAGES, 1), [np.nan, np.nan, 2, 2, 2, 2], rtol=0.02)
    assert np.isnan(found.gains(IMAGES, 2)).all() and math.isnan(found.largest_gain(IMAGES, 2))
    assert np.isnan(found.gains(3, 1)).all()  # what is left of the change after adding 1e6 is rounding


def test_that_equal_images_are_equal_everywhere(pairs) -> None:
    found = measure_pairs(Places(maps, vectors), pairs[0], pairs[0], nodes=[1, 2], batch_size=4)
    assert not found.distance.any() and not found.relative_distance.any() and not found.perturbed.any()
    np.testing.assert_allclose(found.cosine, 1, rtol=1e-5)
    np.testing.assert_allclose(found.cka, 1, rtol=1e-5)
    assert np.isnan(found.amplification).all()


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3e4])
def test_that_features_that_never_vary_have_no_cosine_and_no_cka(value: float, pairs) -> None:
    pattern = value * drawn(6, 3, 3)
    model = Places(
        lambda images: images.new_full((len(images), 6, 3, 3), value),
        lambda images: pattern.expand(len(images), 6, 3, 3),
    )
    found = measure_pairs(model, *pairs, nodes=[1, 2], batch_size=11)
    assert np.isnan(found.cosine[0]).all() and np.isnan(found.cka).all()
    assert not found.distance.any() and not found.relative_distance.any() and not found.amplification.any()


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_that_numbers_that_are_not_finite_are_told(broken: float, pairs) -> None:
    def one_broken(images: Tensor) -> Tensor:
        return maps(images).index_put((torch.tensor(5), torch.tensor(0)), torch.tensor(broken))

    found = measure_pairs(Places(maps, one_broken), *pairs, nodes=[1, 2], batch_size=11)
    for name in ("distance", "cosine", "amplification"):
        values = getattr(found, name)
        assert np.isfinite(values[0]).all() and not np.isfinite(values[1, 5]), name
        assert not np.isfinite(mean_and_spread(values)[0][1]), name
    assert np.isfinite(found.cka[0]) and math.isnan(found.cka[1])
    assert math.isfinite(found.largest_gain(IMAGES, 1)) and math.isnan(found.largest_gain(1, 2))
    assert np.isfinite(np.delete(found.gains(1, 2), 5)).all()


def test_that_a_value_without_a_row_for_each_image_is_not_taken_for_one(pairs) -> None:
    model = Places(maps, lambda images: maps(images).flatten(0, 1), lambda images: images.sum())
    for node in (2, 3):
        found = measure_pairs(model, *pairs, nodes=[1, node], batch_size=11)
        assert np.isfinite(found.distance[0]).all() and np.isfinite(found.cosine[0]).all()
        assert (
            np.isnan(found.distance[1]).all() and np.isnan(found.cosine[1]).all() and np.isnan(found.cka[1])
        )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_that_features_of_any_precision_are_compared_and_their_rounding_is_known(
    dtype: torch.dtype, pairs
) -> None:
    model = Places(lambda images: maps(images).to(dtype))
    found = measure_pairs(model, *pairs, nodes=[1], batch_size=11)
    clean, adversarial = (maps(images).to(dtype).double().flatten(1) for images in pairs)
    np.testing.assert_allclose(found.l2[0], (adversarial - clean).norm(dim=1), rtol=1e-5)
    np.testing.assert_allclose(found.rounding[0], 4 * torch.finfo(dtype).eps * clean.norm(dim=1), rtol=1e-5)
    assert np.isfinite(found.cosine).all() and np.isfinite(found.cka).all()


def test_that_a_mean_of_no_samples_is_unknown() -> None:
    values = np.arange(6.0).reshape(2, 3)
    mean, spread = mean_and_spread(values)
    assert list(mean) == [1, 4] and spread == pytest.approx([math.sqrt(2 / 3)] * 2)
    assert np.isnan(mean_and_spread(values[:, :0])).all()


def test_that_images_that_do_not_belong_together_are_refused(pairs) -> None:
    images, adversarial = pairs
    for wrong in (adversarial[:5], adversarial[..., :1]):
        with pytest.raises(ValueError, match="expected as many adversarial images"):
            measure_pairs(Places(maps), images, wrong, nodes=[1], batch_size=4)
    with pytest.raises(ValueError, match="at least one"):
        measure_pairs(Places(maps), images[:0], images[:0], nodes=[1], batch_size=4)


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda config: config.title)
def network(request: pytest.FixtureRequest) -> BlockwiseModel:
    return warm(build_model(request.param, 5, torch.Generator().manual_seed(0)))


def test_that_places_of_a_network_are_the_outputs_of_its_blocks(network: BlockwiseModel) -> None:
    images = images_and_labels(6)[0]
    adversarial = images + 0.03 * drawn(*images.shape).sign()
    graph = trace(network, images[:1])
    nodes = [block.end for block in graph.blocks]
    found = measure_pairs(network, images, adversarial, nodes=nodes, batch_size=4)
    with evaluation(network), torch.no_grad():
        outputs = [network.features(part)[1:] for part in (images, adversarial)]
    clean, attacked = ([value.double().flatten(1).numpy() for value in part] for part in outputs)
    expected = [np.sqrt(((b - a) ** 2).mean(1)) for a, b in zip(clean, attacked, strict=True)]
    np.testing.assert_allclose(found.distance, expected, rtol=2e-4)
    assert np.isfinite(found.cka).all() and (found.cka <= 1 + 1e-5).all()
    for before, after in pairwise(nodes):
        assert found.largest_gain(before, after) > 0
    assert found.largest_gain(IMAGES, nodes[-1]) == found.amplification[-1].max()


def test_that_comparing_leaves_no_trace() -> None:
    model = small_model()
    constrain(model.head(3), 0.4, torch.Generator().manual_seed(0), initial_iterations=1)
    images = images_and_labels(4)[0]
    model(images).sum().backward()
    model.block(2).eval()
    model.block(1).requires_grad_(False)
    nodes = [layer.node for layer in trace(model, images[:1]).layers]
    before = everything(model)
    measure_pairs(model, images, images / 2, nodes=nodes, batch_size=3)
    assert_unchanged(before, model)


class Operations(TorchDispatchMode):
    """Counts what torch carries out."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        if not function.is_view:
            self.counts[str(function)] += 1
        return function(*arguments, **(keywords or {}))


def test_that_a_place_costs_few_operations_and_nothing_waits_for_the_device(pairs) -> None:
    model = Places(*[channels_last] * 5)

    def operations(places: int) -> Counter[str]:
        with Operations() as seen:
            measure_pairs(model, *pairs, nodes=range(1, places + 1), batch_size=11)
        return seen.counts

    one, all_five = operations(1), operations(5)
    own = Operations()
    with own:
        channels_last(pairs[0])
    added = (all_five.total() - one.total()) / 4 - own.counts.total()

    assert added <= 12, all_five - one
    assert not any("_local_scalar" in name or "nonzero" in name for name in all_five)
