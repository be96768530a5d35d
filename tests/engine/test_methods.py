"""One row per pre-training and transfer method: what trains, what stays, and what the loss is."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.attacks.pgd import training_examples
from engine.config import BatchNormPolicy, FinetuningConfig, PretrainingConfig, TrainingAttackConfig
from engine.losses import feature_distance, prediction_divergence
from engine.models.modes import batch_norms
from engine.models.spectral_norm import constrained
from engine.objective import Objective, StepContext
from engine.pretraining import pretraining_methods
from engine.transfer import transfer_methods
from tests.engine.small import assert_same_bits, images_and_labels, small_model, warm
from tests.engine.training import METHODS, objective_of, settings_of, trainer_of

pytestmark = pytest.mark.usefixtures("untouched_random_state")

ALL = {0, 1, 2, 3, 4, 5}
#: Of each method, given k = 3 of 5 blocks: the blocks whose weights it trains (0 the stem), whether its loss has a
#: penalty, and the number of blocks before its border between trunk and head.
ROWS: dict[str, tuple[set[int], bool, int | None]] = {
    "pretraining-natural": (ALL, False, None),
    "pretraining-adversarial": (ALL, False, None),
    "pretraining-trades": (ALL, True, None),
    "pretraining-fdm": (ALL, True, 2),
    "finetuning-vanilla": ({3, 4, 5}, False, 2),
    "finetuning-neft": ({3, 4, 5}, False, 2),
    "finetuning-linear_probe": ({5}, False, 4),
    "finetuning-full": (ALL, False, None),
    "finetuning-lwf": (ALL, True, None),
    "finetuning-adversarial": ({3, 4, 5}, False, 2),
}
every_method = pytest.mark.parametrize("method", METHODS)
K = 3


def test_that_every_registered_method_has_a_row() -> None:
    assert set(ROWS) == set(METHODS)


def context(ramp: float = 1.0, seed: int = 0) -> StepContext:
    return StepContext(ramp, torch.Generator().manual_seed(seed), lambda: None)


def prepared(config: PretrainingConfig | FinetuningConfig) -> tuple[nn.Module, Objective]:
    """A network in training mode and its objective."""
    model, objective = warm(small_model()), objective_of(config)
    objective.prepare(model, torch.Generator().manual_seed(2))
    objective.set_mode(model)
    return model, objective


def block_of(name: str) -> int:
    return int(name.split(".")[1]) if name.startswith("blocks.") else 0


@every_method
def test_that_training_leaves_every_frozen_tensor_as_it_was_bit_for_bit(method: str) -> None:
    trained, _, _ = ROWS[method]
    trainer, _ = trainer_of(settings_of(method))
    model = trainer.model
    before = {key: value.clone() for key, value in model.state_dict().items()}
    trainer.run()
    after = model.state_dict()
    statistics = ("running_mean", "running_var", "num_batches_tracked", ".0.u", ".0.v")
    weights = [key for key in before if not key.endswith(statistics) and key not in ("mean", "std")]
    changed = {block_of(key) for key in weights if not torch.equal(before[key], after[key])}
    assert changed == trained
    frozen = {
        key: before[key]
        for key in before
        if key in ("mean", "std") or (key in weights and block_of(key) not in trained)
    }
    assert frozen
    assert_same_bits({key: after[key] for key in frozen}, frozen)
    in_optimiser = {
        id(parameter) for group in trainer.optimiser.param_groups for parameter in group["params"]
    }
    assert in_optimiser == {id(parameter) for parameter in model.parameters() if parameter.requires_grad}


@every_method
def test_that_a_loss_leaves_global_randomness_and_the_mode_of_every_layer_alone(method: str) -> None:
    model, objective = prepared(settings_of(method))
    images, labels = images_and_labels(8)
    flags = {key: module.training for key, module in model.named_modules()}
    losses = []
    for seed in (1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            before = torch.random.get_rng_state()
            loss = objective.loss(copy.deepcopy(model), images, labels, context())
            assert torch.equal(torch.random.get_rng_state(), before)
        losses.append(float(loss.total.detach()))
    assert losses[0] == losses[1]
    assert {key: module.training for key, module in model.named_modules()} == flags


@every_method
def test_that_a_loss_reports_its_terms(method: str) -> None:
    _, has_penalty, _ = ROWS[method]
    model, objective = prepared(settings_of(method))
    images, labels = images_and_labels(8)
    loss = objective.loss(model, images, labels, context())
    assert (loss.penalty is not None) == (loss.penalty_unweighted is not None) == has_penalty
    assert bool(objective.penalty_title) == has_penalty
    total = loss.cross_entropy if loss.penalty is None else loss.cross_entropy + loss.penalty
    assert torch.equal(loss.total, total)
    assert 0 <= int(loss.correct) <= len(labels)
    assert loss.total.requires_grad


@every_method
def test_that_the_border_between_trunk_and_head_is_told(method: str) -> None:
    assert objective_of(settings_of(method)).boundary(small_model()) == ROWS[method][2]


def attack_config(**changes: object) -> TrainingAttackConfig:
    return TrainingAttackConfig(**({"epsilon": 0.05, "step_size": 0.02, "steps": 3} | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["natural", "adversarial", "fdm"])
def test_that_the_cross_entropy_is_that_of_the_images_trained_on(name: str) -> None:
    config = PretrainingConfig(method=name, num_finetuned_blocks=K, attack=attack_config())  # type: ignore[arg-type]
    model, objective = prepared(config)
    images, labels = images_and_labels(8)
    twin = copy.deepcopy(model)
    trained_on = images
    if name != "natural":
        trained_on = training_examples(
            twin, images, labels, config=config.attack, scale=1.0, generator=context().generator
        )
    scores = torch.log_softmax(twin(trained_on).double(), 1)
    expected = -scores[torch.arange(8), labels].mean()
    loss = objective.loss(model, images, labels, context())
    assert float(loss.cross_entropy.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert int(loss.correct) == int((scores.argmax(1) == labels).sum())


def test_that_a_ramp_of_zero_trains_on_the_clean_images() -> None:
    natural, adversarial = (
        prepared(PretrainingConfig(method=name, attack=attack_config()))  # type: ignore[arg-type]
        for name in ("natural", "adversarial")
    )
    images, labels = images_and_labels(8)
    losses = [
        objective.loss(model, images, labels, context(ramp=0.0)).total
        for model, objective in (natural, adversarial)
    ]
    assert torch.equal(*losses)


def reference_fdm(
    model: nn.Module, adversarial: Tensor, images: Tensor, labels: Tensor, *, weight: float
) -> tuple[Tensor, Tensor]:
    """Loss and feature term written with a hook on the input of block N-k+1, apart from `forward_with_feature`."""
    caught: list[Tensor] = []
    hook = model.block(model.num_blocks - K + 1).register_forward_pre_hook(
        lambda _, inputs: caught.append(inputs[0])
    )
    logits = model(adversarial)
    model(images)
    hook.remove()
    term = torch.zeros(())
    for one, other in zip(*caught, strict=True):
        difference = one.reshape(-1) - other.reshape(-1)
        term = term + weight * (difference * difference).sum().sqrt() / len(difference) ** 0.5
    return F.cross_entropy(logits, labels) + term, term


def test_that_fdm_is_its_formula_and_the_gradient_flows_through_both_features() -> None:
    config = PretrainingConfig(
        method="fdm", num_finetuned_blocks=K, feature_weight=3.0, attack=attack_config()
    )
    model, objective = prepared(config)
    twin = copy.deepcopy(model)
    images, labels = images_and_labels(6)
    adversarial = training_examples(
        twin, images, labels, config=config.attack, scale=1.0, generator=context().generator
    )
    loss = objective.loss(model, images, labels, context())
    loss.total.backward()
    expected, term = reference_fdm(twin, adversarial, images, labels, weight=3.0)
    expected.backward()
    torch.testing.assert_close(loss.total, expected)
    torch.testing.assert_close(loss.penalty, term)
    torch.testing.assert_close(loss.penalty_unweighted, term / 3.0 / 6)
    assert_same_bits(
        {key: value for key, value in model.state_dict().items() if "running" in key},
        {key: value for key, value in twin.state_dict().items() if "running" in key},
    )
    for (key, one), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-5, msg=key)
    # With a detached clean feature the gradient would be another one.
    detached = copy.deepcopy(twin)
    detached.zero_grad()
    logits, feature = detached.forward_with_feature(adversarial, K)
    _, clean = detached.forward_with_feature(images, K)
    (F.cross_entropy(logits, labels) + 3.0 * feature_distance(feature, clean.detach()).sum()).backward()
    assert not torch.allclose(detached.stem.weight.grad, model.stem.weight.grad, rtol=0.05)


def reference_trades_attack(
    model: nn.Module, images: Tensor, start: Tensor, *, epsilon: float, step_size: float, steps: int
) -> Tensor:
    """The attack of TRADES with torch's own divergence."""
    model = copy.deepcopy(model).eval()
    probabilities = model(images).softmax(1).detach()
    adversarial = start
    for _ in range(steps):
        adversarial = adversarial.detach().requires_grad_()
        divergence = F.kl_div(model(adversarial).log_softmax(1), probabilities, reduction="sum")
        moved = adversarial.detach() + step_size * torch.autograd.grad(divergence, adversarial)[0].sign()
        adversarial = images + (moved - images).clamp(-epsilon, epsilon)
        adversarial = adversarial.clamp(0, 1)
    return adversarial.detach()


def test_that_trades_is_its_formula_and_the_gradient_flows_through_both_predictions() -> None:
    config = PretrainingConfig(method="trades", kl_weight=4.0, attack=attack_config())
    model, objective = prepared(config)
    twin = copy.deepcopy(model)
    images, labels = images_and_labels(6)
    start = images + 0.001 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    adversarial = reference_trades_attack(
        twin, images, start.clamp(0, 1), epsilon=0.05, step_size=0.02, steps=3
    )
    loss = objective.loss(model, images, labels, context())
    loss.total.backward()
    clean_logits = twin(images)
    adversarial_logits = twin(adversarial)
    divergence = F.kl_div(adversarial_logits.log_softmax(1), clean_logits.softmax(1), reduction="batchmean")
    (F.cross_entropy(clean_logits, labels) + 4.0 * divergence).backward()
    torch.testing.assert_close(loss.penalty_unweighted, divergence, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(loss.cross_entropy, F.cross_entropy(clean_logits, labels))
    assert int(loss.correct) == int((adversarial_logits.argmax(1) == labels).sum())
    for (key, one), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=2e-3, atol=2e-5, msg=key)
    assert float(divergence.detach()) > 1e-4


def test_that_the_trades_attack_stays_in_the_ball_and_raises_the_divergence() -> None:
    config = PretrainingConfig(method="trades", attack=attack_config())
    model, objective = prepared(config)
    images, labels = images_and_labels(8)
    adversarial = objective.examples(model, images, labels, context())  # type: ignore[attr-defined]
    assert float((adversarial - images).abs().max()) <= 0.05 * (1 + 1e-5)
    assert float(adversarial.min()) >= 0
    assert float(adversarial.max()) <= 1
    unmoved = objective.examples(model, images, labels, context(ramp=0.0))  # type: ignore[attr-defined]
    torch.testing.assert_close(unmoved, images, rtol=0, atol=1e-7)
    model.eval()
    with torch.no_grad():
        clean = model(images)
        noise = images + 0.05 * torch.sign(
            torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
        )
        found, drawn = (
            prediction_divergence(model(batch), clean).mean() for batch in (adversarial, noise.clamp(0, 1))
        )
    assert found > 2 * drawn


def test_that_lwf_is_its_formula_against_a_copy_of_the_source_that_never_moves() -> None:
    config = FinetuningConfig(method="lwf", feature_weight=0.3, batch_norm=POLICIES[0])
    model, objective = prepared(config)
    source = copy.deepcopy(model).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    twin = copy.deepcopy(model)
    images, labels = images_and_labels(6)
    for _ in range(2):
        loss = objective.loss(model, images, labels, context())
    loss.total.backward()
    caught: list[Tensor] = []
    for network in (twin, source):
        network.classifier.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    twin(images)
    logits = twin(images)
    source(images)
    distance = torch.stack([(own - held).abs().sum() for own, held in zip(caught[1], caught[2], strict=True)])
    expected = F.cross_entropy(logits, labels) + 0.3 * distance.sum() / 6
    expected.backward()
    torch.testing.assert_close(loss.total, expected)
    torch.testing.assert_close(loss.penalty_unweighted, distance.mean())
    for (key, one), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-6, msg=key)
    assert_same_bits(objective.source.state_dict(), source.state_dict())  # type: ignore[attr-defined]


def test_that_the_warm_start_of_lwf_moves_the_classifier_alone_and_then_everything() -> None:
    config = settings_of("lwf").model_copy(update={"epochs": 3, "warm_start_epochs": 2})
    trainer, _ = trainer_of(config)
    model = trainer.model
    start = {key: value.clone() for key, value in model.state_dict().items()}
    changed = []
    for _ in range(3):
        trainer._epoch()
        now = model.state_dict()
        changed.append({key for key in start if not torch.equal(start[key], now[key])})
    assert changed[0] == changed[1] == {"blocks.5.weight", "blocks.5.bias"}
    assert changed[2] == start.keys() - {"mean", "std"}


def test_that_adversarial_fine_tuning_is_vanilla_transfer_on_pgd_examples() -> None:
    config = FinetuningConfig(method="adversarial", num_finetuned_blocks=K, attack=attack_config())
    model, objective = prepared(config)
    vanilla, other = prepared(config.model_copy(update={"method": "vanilla"}))
    images, labels = images_and_labels(6)
    adversarial = training_examples(
        vanilla, images, labels, config=config.attack, scale=1.0, generator=context().generator
    )
    loss = objective.loss(model, images, labels, context())
    assert torch.equal(loss.total, other.loss(vanilla, adversarial, labels, context()).total)
    assert not torch.equal(loss.total, other.loss(vanilla, images, labels, context()).total)


def test_that_fdm_without_weight_is_adversarial_training_but_for_the_clean_statistics() -> None:
    losses, gradients = [], []
    images, labels = images_and_labels(6)
    for name in ("adversarial", "fdm"):
        config = PretrainingConfig(
            method=name, num_finetuned_blocks=K, feature_weight=0.0, attack=attack_config()  # type: ignore[arg-type]
        )  # fmt: skip
        model, objective = prepared(config)
        loss = objective.loss(model, images, labels, context())
        loss.total.backward()
        losses.append(loss)
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert torch.equal(losses[0].total, losses[1].total)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(1, 4), (5, 3, 2, 2), (3, 1)])
def test_that_feature_distance_is_the_normalised_euclidean_one(shape: tuple[int, ...]) -> None:
    draw = torch.Generator().manual_seed(0)
    one, other = torch.randn(shape, generator=draw), torch.randn(shape, generator=draw)
    difference = (one - other).numpy().astype(np.float64).reshape(len(one), -1)
    expected = np.sqrt((difference**2).mean(1))
    np.testing.assert_allclose(feature_distance(one, other).numpy(), expected, rtol=1e-5)


def test_that_feature_distance_of_bfloat16_features_is_taken_in_float32() -> None:
    draw = torch.Generator().manual_seed(0)
    one = torch.randn(16, 500, generator=draw).bfloat16()
    other = (one + 0.1 * torch.randn(16, 500, generator=draw)).bfloat16()
    distance = feature_distance(one, other)
    assert distance.dtype == torch.float32
    torch.testing.assert_close(distance, feature_distance(one.float(), other.float()), rtol=1e-6, atol=0)


def test_that_features_that_are_equal_have_no_distance_and_a_finite_gradient() -> None:
    feature = torch.ones(3, 4, requires_grad=True)
    distance = feature_distance(feature, torch.ones(3, 4))
    distance.sum().backward()
    assert not distance.any()
    assert torch.isfinite(feature.grad).all()


POLICIES = [
    BatchNormPolicy(freeze_affine=affine, keep_head_statistics=head, keep_trunk_statistics=trunk)
    for affine, head, trunk in itertools.product([False, True], repeat=3)
]


@pytest.mark.parametrize("name", [name for name in transfer_methods.names if name != "linear_probe"])
@pytest.mark.parametrize(
    "policy", POLICIES, ids=lambda policy: "".join("-x"[switch] for switch in policy.model_dump().values())
)
@pytest.mark.parametrize("k", [1, 3, 5])
def test_that_the_batch_norm_policy_holds_for_modes_affine_parameters_and_statistics(
    name: str, policy: BatchNormPolicy, k: int
) -> None:
    config = FinetuningConfig(
        method=name, num_finetuned_blocks=k, batch_norm=policy, attack=attack_config()  # type: ignore[arg-type]
    )  # fmt: skip
    model, objective = prepared(config)
    everything = name in ("full", "lwf")
    trunk, head = batch_norms(model.trunk(k)), batch_norms(model.head(k))
    if everything:
        trunk, head = [], batch_norms([model])
    assert set(trunk) | set(head) == set(batch_norms([model]))
    for layers, kept, affine in (
        (trunk, policy.keep_trunk_statistics, False),
        (head, policy.keep_head_statistics, not policy.freeze_affine),
    ):
        for layer in layers:
            assert layer.training is not kept
            assert layer.weight.requires_grad is layer.bias.requires_grad is affine
    before = {id(layer): copy.deepcopy(layer.state_dict()) for layer in trunk + head}
    images, labels = images_and_labels(8)
    optimiser = torch.optim.SGD([value for value in model.parameters() if value.requires_grad], lr=0.1)
    for _ in range(2):
        objective.set_mode(model)
        objective.loss(model, images, labels, context()).total.backward()
        optimiser.step()
    for layers, kept, affine in (
        (trunk, policy.keep_trunk_statistics, False),
        (head, policy.keep_head_statistics, not policy.freeze_affine),
    ):
        for layer in layers:
            old, new = before[id(layer)], layer.state_dict()
            for key in ("running_mean", "running_var", "num_batches_tracked"):
                assert torch.equal(old[key], new[key]) is kept, key
            for key in ("weight", "bias"):
                assert torch.equal(old[key], new[key]) is not affine, key
    trainable = {key for key, value in model.named_parameters() if value.requires_grad}
    others = {
        key for key in trainable if not key.endswith((".bn1.weight", ".bn2.weight", ".bn.weight", "bias"))
    }
    blocks = ALL if everything else set(range(6 - k, 6))
    assert {block_of(key) for key in others} | {block_of(key) for key in trainable} <= blocks
    assert len([key for key in others if key.endswith(("weight", "original"))]) == sum(
        layer.block in blocks for layer in small_model().weighted_layers()
    )


def test_that_a_linear_probe_moves_the_classifier_alone_whatever_the_policy_and_k_say() -> None:
    for policy in POLICIES:
        model, objective = prepared(
            FinetuningConfig(method="linear_probe", num_finetuned_blocks=4, batch_norm=policy)
        )
        assert not any(layer.training for layer in batch_norms([model]))
        trainable = {key for key, value in model.named_parameters() if value.requires_grad}
        assert trainable == {"blocks.5.weight", "blocks.5.bias"}


def test_that_neft_constrains_and_halves_the_head_alone_and_ends_with_plain_weights() -> None:
    config = FinetuningConfig(method="neft", num_finetuned_blocks=K, spectral_bound=0.7)
    model, objective = prepared(config)
    names = set(small_model().state_dict())
    layers = [layer for layer in model.weighted_layers() if layer.block > 2]
    assert [id(layer.module) for layer in layers] == [id(layer) for layer, _, _ in constrained(model)]
    assert all(spectral.bound == 0.7 for _, spectral, _ in constrained(model))
    assert [model.block(number).halved for number in (1, 2, 3)] == [False, False, True]
    model.eval()
    images, labels = images_and_labels(6)
    with torch.no_grad():
        before = model(images)
        objective.finish(model)
        assert torch.equal(model(images), before)
    assert set(model.state_dict()) == names


@pytest.mark.parametrize("iterations", [1, 3])
def test_that_neft_moves_u_and_v_once_per_step_by_the_iterations_asked_for(iterations: int) -> None:
    config = FinetuningConfig(method="neft", num_finetuned_blocks=K, power_iterations=iterations)
    model, objective = prepared(config)
    expected = []
    for _, spectral, weight in constrained(model):
        u, v, matrix = spectral.u.clone(), spectral.v.clone(), weight.detach().flatten(1)
        for _ in range(iterations):
            v = F.normalize(matrix.t() @ u, dim=0)
            u = F.normalize(matrix @ v, dim=0)
        expected.append((u, v))
    images, labels = images_and_labels(6)
    objective.loss(model, images, labels, context())
    for (_, spectral, _), (u, v) in zip(constrained(model), expected, strict=True):
        torch.testing.assert_close(spectral.u, u)
        torch.testing.assert_close(spectral.v, v)


def test_that_pretraining_trains_every_parameter() -> None:
    for name in pretraining_methods.names:
        model, _ = prepared(settings_of(name))
        assert all(parameter.requires_grad for parameter in model.parameters())
        assert all(module.training for module in model.modules())
