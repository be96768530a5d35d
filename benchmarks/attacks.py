"""Attacks beside other people's: the same images, the exact answer, the time. One table per question.

    python -m benchmarks.attacks --parity                     # two small networks, one batch, the same noise
    python -m benchmarks.attacks --oracle                     # a linear network, whose exact figure is known
    python -m benchmarks.attacks --speed --weights A.safetensors B.safetensors --images 1000 --blocks 4 --threads 1

For the time both sides take turns on the same block of images, in one process, with the same weights and settings,
theirs on the network as torch builds it, ours in the memory format that the engine chooses; a
ratio is the median over the blocks, so that load on the machine spoils no comparison. On one CPU thread the CPU's
seconds count. Ours is a whole evaluation with its ledger; its noise is per image, so verdicts need not be equal.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.training import spread
from engine.api import data_folder
from engine.attacks import attacks
from engine.attacks.base import clean_logits
from engine.config import ATTACKS, STAGES, AttackConfig
from engine.config.base import format_ratio, parse_ratio
from engine.data import ImageSet, load_domain
from engine.data.augment import to_unit
from engine.device import default_threads, exact_float32
from engine.evaluation.evaluate import Evaluation, Told
from engine.evaluation.plan import Plan
from engine.models import BlockwiseModel
from engine.models.folding import folded
from engine.models.placement import place_on
from engine.models.spec import ModelSpec
from engine.store.checkpoints import load_weights
from tests.engine.peers import (
    NORMS,
    PEERS,
    Found,
    Peer,
    autoattack_,
    exact_distances,
    exactly_robust,
    farthest,
    foolbox_,
    linear_peer,
    ours,
    torchattacks_,
)
from tests.engine.test_square import OneSquareForAll

CLASSES = 10
#: AutoAttack's members in order: their names in pyautoattack and torchattacks, and what the latter has to be told.
MEMBERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "apgd_ce": ("apgd-ce", "APGD", {"steps": 100}),
    "apgd_t": ("apgd-t", "APGDT", {"steps": 100, "n_classes": CLASSES}),
    "fab_t": ("fab-t", "FAB", {"steps": 100, "multi_targeted": True, "n_classes": CLASSES}),
    "square": ("square", "Square", {"n_queries": 5000, "resc_schedule": False}),
}
PGD_STEPS = 20
#: The references draw one square for the whole batch, and leave images alone once they are broken.
MODES: dict[str, dict[str, Any]] = {"square": {"noise": OneSquareForAll, "stop_early": True}}
#: Margins so close to zero that rounding decides.
UNSURE = 1e-6


def table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> None:
    """Print rows as they come, the first column to the left."""
    widths = [max(len(title), 11) for title in head]
    widths[0] = 44
    for row in (head, ["-" * width for width in widths]):
        _print(row, widths)
    for row in rows:
        _print(row, widths)


def _print(row: Sequence[str], widths: Sequence[int]) -> None:
    cells = [
        row[0].ljust(widths[0]),
        *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
    ]
    print("  ".join(cells).rstrip(), flush=True)


def percent(robust: Tensor | np.ndarray) -> str:
    """A share of robust images."""
    return f"{100 * float(robust.sum()) / len(robust):.1f}"


def parity(options: argparse.Namespace) -> Iterator[Sequence[str]]:
    """Each attack and its twins on both networks: robust per cent, equal verdicts, largest difference of a pixel.

    The difference is over images that both sides broke: of the others the references return the clean image. In L2
    the references' Square draws numbers in another order, so that only its figures can be compared.
    """
    norm = options.norm
    for title, make in PEERS.items():
        peer = make().first(options.images or 200)
        epsilon = peer.epsilon[norm]
        for name, found, twins in _twins(peer, norm, epsilon):
            for reference, twin in twins.items():
                other = twin()
                yield [
                    f"{title}, {name}", NORMS[norm], f"{epsilon:g}", reference, percent(found.robust),
                    percent(other.robust), f"{int((found.robust == other.robust).sum())}/{len(peer.labels)}",
                    f"{farthest(found, other):.1e}",
                ]  # fmt: skip


Twin = Callable[[], Found]


def _twins(peer: Peer, norm: str, epsilon: float) -> Iterator[tuple[str, Found, dict[str, Twin]]]:
    """What ours found, and the same attack by package."""
    ball = {"norm": norm, "epsilon": epsilon}
    start, length = norm == "linf", {"linf": "", "l2": "L2"}[norm]  # their starts in L2 are not uniform
    config = AttackConfig(name="pgd", step_size=epsilon / 4, steps=PGD_STEPS, random_start=start, **ball)
    yield config.label, ours(config, peer), {
        "torchattacks": lambda: torchattacks_(
            f"PGD{length}", peer, eps=epsilon, alpha=epsilon / 4, steps=PGD_STEPS, random_start=start
        ),
        "foolbox": lambda: foolbox_(
            f"{length or 'Linf'}PGD", peer, epsilon, abs_stepsize=epsilon / 4, steps=PGD_STEPS, random_start=start
        ),
    }  # fmt: skip
    shared = {"norm": NORMS[norm], "eps": epsilon, "n_restarts": 1, "seed": 0}
    adversarial, robust = peer.images.clone(), torch.ones_like(peer.labels, dtype=torch.bool)
    for name, (member, twin, more) in MEMBERS.items():
        config = AttackConfig(name=name, **ball)
        yield config.label, ours(config, peer, **MODES.get(name, {})), {
            "pyautoattack": partial(autoattack_, [member], peer, epsilon, norm=norm),
            "torchattacks": partial(torchattacks_, twin, peer, **shared, **more),
        }  # fmt: skip
        left = robust.nonzero().flatten()
        found = ours(config, peer.at(left), **MODES.get(name, {}))
        adversarial[left], robust[left] = found.adversarial, found.robust
    standard = [member for member, _, _ in MEMBERS.values()]
    yield "AutoAttack standard", Found(adversarial, robust), {
        "pyautoattack": partial(autoattack_, standard, peer, epsilon, norm=norm)
    }  # fmt: skip


def oracle(options: argparse.Namespace) -> Iterator[Sequence[str]]:
    """The linear network: the exact figure, and for each attack how many images are below and above it."""
    peer = linear_peer().first(options.images or 200)
    norm, epsilon = options.norm, peer.epsilon[options.norm]
    distances = exact_distances(peer.model, peer.images, peer.labels, norm)
    exact, sure = distances > epsilon, np.abs(distances - epsilon) > UNSURE
    if norm == "linf":
        margins = exactly_robust(peer.model, peer.images, peer.labels, epsilon).numpy()
        exact, sure = margins > 0, np.abs(margins) > UNSURE
    yield [f"exact, {NORMS[norm]} {epsilon:g}", percent(exact), "-", "-", "-", "-"]
    worst = np.ones(len(exact), bool)
    for name, facts in ATTACKS.items():
        if name in ("transfer", "autoattack") or norm not in facts.norms:
            continue  # the one needs another network, the other is put together below
        step = {"step_size": epsilon / 4} if "step_size" in facts.settings else {}
        config = AttackConfig(name=name, norm=norm, epsilon=epsilon, **step)
        found = ours(config, peer).robust.numpy()
        if name in MEMBERS:
            worst &= found
        yield [
            config.label, percent(found), str(int((~found & exact & sure).sum())),
            str(int((found & ~exact & sure).sum())), *_found_over_optimal(config, peer, distances),
        ]  # fmt: skip
    below, above = int((~worst & exact & sure).sum()), int((worst & ~exact & sure).sum())
    yield ["AutoAttack standard (worst case)", percent(worst), str(below), str(above), "-", "-"]


def _found_over_optimal(config: AttackConfig, peer: Peer, distances: np.ndarray) -> tuple[str, str]:
    """Median and largest ratio of the found to the smallest possible norm, for attacks that minimise it."""
    attack = attacks[config.name](config)
    if not attack.minimum_norm:
        return "-", "-"
    least, logits = np.full(len(peer.labels), np.inf), clean_logits(peer.model, peer.images)
    for one in attack.passes:
        made = attack.attempt(
            peer.model, peer.images, peer.labels, logits=logits, seed=0, sample_ids=torch.arange(len(peer.labels)),
            one=one, stop_early=False,
        )  # fmt: skip
        least = np.minimum(least, torch.where(made.prediction != peer.labels, made.norm, torch.inf).numpy())
    ratio = least / distances
    return f"{np.median(ratio):.3f}", f"{ratio.max():.3f}"


def speed(options: argparse.Namespace) -> Iterator[Sequence[str]]:
    """Ours against the package that is usual for it, block by block in turn."""
    epsilon, size = options.epsilon, options.batch_size
    pgd = AttackConfig(
        name="pgd", epsilon=epsilon, step_size=epsilon / 4, steps=PGD_STEPS, judged_at="any_step"
    )
    standard = [member for member, _, _ in MEMBERS.values()]
    rivals: dict[str, tuple[AttackConfig, Callable[[Peer], Found]]] = {
        "pgd": (pgd, lambda part: _in_batches(part, size, epsilon)),
        "autoattack": (
            AttackConfig(name="autoattack", epsilon=epsilon),
            lambda part: autoattack_(standard, part, epsilon, batch_size=size),
        ),
    }
    for path in options.weights:
        tensors, metadata = load_weights(path)
        spec = ModelSpec.from_metadata(metadata)
        model = spec.build(tensors).eval()
        test = load_domain(spec.data, data_root=options.data).test
        images = test.subset(torch.arange(min(options.images or len(test), len(test))))
        title = path.parents[1].name if path.stem in STAGES else path.stem
        for name in options.attacks:
            yield [f"{title}, {rivals[name][0].label}", *_compare(model, images, *rivals[name], options)]


def _compare(
    model: BlockwiseModel, images: ImageSet, config: AttackConfig, rival: Callable[[Peer], Found], options: argparse.Namespace
) -> Sequence[str]:  # fmt: skip
    device, placed = torch.device(options.device), copy.deepcopy(model)
    place_on(placed, device)
    model, fast = model.to(device), folded(placed)
    # Other work on the machine does not count on one CPU thread.
    clock = time.process_time if device.type == "cpu" and options.threads == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    kept: dict[str, list[Tensor]] = {"ours": [], "theirs": []}

    def evaluated(block: ImageSet) -> Tensor:
        evaluation = Evaluation(
            Plan(config, len(images.class_names)), placed, fast, block, seed=0, batch_size=options.batch_size,
            device=device, told=Told(rows=lambda name, columns: None),
        )  # fmt: skip
        evaluation.run({}, {})
        return torch.from_numpy(evaluation.ledger.alive(0))

    def attacked(block: ImageSet) -> Tensor:
        moved = block.to(device)
        return rival(Peer("", model, to_unit(moved.images), moved.labels, {})).robust.cpu()

    sides = [("ours", evaluated), ("theirs", attacked)]
    parts = torch.arange(len(images)).tensor_split(options.blocks)
    for number, part in enumerate([parts[0][:8], *parts]):  # the first only warms up
        for name, side in sides if number % 2 else sides[::-1]:
            block, began = images.subset(part), clock()
            with exact_float32():
                robust = side(block)  # on the CPU, so that a GPU has finished
            if number:
                seconds[name].append(clock() - began)
                kept[name].append(robust)
    mine, theirs = torch.cat(kept["ours"]), torch.cat(kept["theirs"])
    ratio = spread("ratio", np.array(seconds["theirs"]) / np.array(seconds["ours"]))
    return [
        format_ratio(config.epsilon), str(len(mine)), percent(mine), percent(theirs),
        f"{int((mine == theirs).sum())}/{len(mine)}", f"{sum(seconds['ours']):.1f}", f"{sum(seconds['theirs']):.1f}",
        *(f"{ratio[key]:.2f}" for key in ("ratio", "ratio_p10", "ratio_p90")),
    ]  # fmt: skip


def _in_batches(peer: Peer, batch_size: int, epsilon: float) -> Found:
    """Their PGD over batches, judged at its last step: it has no other way."""
    found = [
        torchattacks_(
            "PGD",
            replace(peer, images=images, labels=labels),
            eps=epsilon,
            alpha=epsilon / 4,
            steps=PGD_STEPS,
        )
        for images, labels in zip(peer.images.split(batch_size), peer.labels.split(batch_size), strict=True)
    ]
    return Found(torch.cat([part.adversarial for part in found]), torch.cat([part.robust for part in found]))


HEADS = {
    "parity": ("network, attack", "norm", "epsilon", "reference", "ours %", "theirs %", "equal", "max |dx|"),
    "oracle": ("attack", "robust %", "below exact", "above exact", "median ratio", "max ratio"),
    "speed": ("weights, attack", "epsilon", "images", "ours %", "theirs %", "equal", "ours s", "theirs s",
              "faster", "p10", "p90"),
}  # fmt: skip
TABLES = {"parity": parity, "oracle": oracle, "speed": speed}


def main() -> None:
    """Print the tables that the options ask for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in TABLES:
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--norm", default="linf", choices=("linf", "l2"), help="of --parity and --oracle")
    parser.add_argument(
        "--weights", type=Path, nargs="+", default=[], help="of --speed: files of this program"
    )
    parser.add_argument("--attacks", nargs="+", default=["pgd", "autoattack"], choices=("pgd", "autoattack"))
    parser.add_argument("--epsilon", type=parse_ratio, default=8 / 255, help="of --speed, default 8/255")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--data", type=Path, default=data_folder(), help="folder of data sets")
    for name, value in (("images", 0), ("blocks", 4), ("batch-size", 250), ("threads", default_threads())):
        parser.add_argument(f"--{name}", type=int, default=value, help=f"default {value}")
    options = parser.parse_args()
    wanted = [name for name in TABLES if getattr(options, name)]
    if not wanted or (options.speed and not options.weights):
        parser.error("expected --parity, --oracle or --speed, the last with --weights FILE")
    torch.set_num_threads(options.threads)
    for name in wanted:
        table(HEADS[name], TABLES[name](options))
        print()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.device}")


if __name__ == "__main__":
    main()
