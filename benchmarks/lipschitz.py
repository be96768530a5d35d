"""Norms of maps and bounds of networks beside exact ones and attacks, and what each way to find them costs.

    python -m benchmarks.lipschitz --exact              # every case of the reference file; exit code 1 if one is wrong
    python -m benchmarks.lipschitz --times --rounds 5   # milliseconds and accuracy by shape and method
    python -m benchmarks.lipschitz --networks FILE...   # methods, layers, blocks and attacks of trained networks; exit
                                                        # code 1 if what was seen exceeds an upper bound anywhere

CARTL_REFERENCE_DIR takes the reference file from another folder. `--networks` takes weights of this program, and with
`--data` and what else their files cannot tell those of others. Where times are told all methods take turns, so that load
on the machine spoils no comparison; on one CPU thread the CPU's seconds count.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.api import data_folder
from engine.attacks import attacks
from engine.cli.options import add_checkpoint_options
from engine.cli.report import format_table
from engine.cli.settings import given_settings
from engine.config import AttackConfig, CheckpointConfig, DataConfig, validate
from engine.config.base import format_ratio, parse_ratio
from engine.config.data import DatasetName
from engine.control import RunControl
from engine.data import load_domain
from engine.device import default_threads
from engine.errors import CartlError, CheckpointError, ConfigError, Problem
from engine.inspection.bounds import (
    CONVERGED,
    MOST_STEPS,
    SEARCH_STEPS,
    SEARCHED,
    STEPS,
    TOLERANCE,
    BoundsMeter,
)
from engine.inspection.composition import Variant, compose, folded_map, variants
from engine.inspection.distances import IMAGES, measure_pairs
from engine.inspection.empirical import expanding_pairs, gradient_bound
from engine.inspection.graph import Graph, trace
from engine.inspection.norms import (
    Convolution,
    estimates,
    power_iteration,
    reshaped_is_lower_bound,
    reshaped_norms,
    upper_bounds,
)
from engine.inspection.probe import Probe
from engine.inspection.rows import look
from engine.loading import LoadedNetwork, load_network
from engine.models.modes import evaluation
from engine.models.placement import place_on
from engine.randomness import generator
from engine.wording import NOTHING, significant
from tests.engine.exact import (
    CLOSE,
    MAPS,
    ROUNDING,
    ExactCase,
    Residual,
    TinyWideResNet,
    exact_cases,
    figures_of,
)
from tests.engine.reference import load

#: Inputs, outputs, kernel, stride and size of the input of the maps that are timed.
SHAPES = (
    (3, 16, 3, 1, 32), (16, 16, 3, 1, 32), (16, 32, 3, 2, 32), (32, 32, 3, 1, 16), (64, 64, 3, 1, 32),
    (64, 128, 3, 2, 32), (64, 128, 1, 2, 32), (128, 128, 3, 1, 16), (128, 128, 3, 1, 8), (256, 256, 3, 1, 8),
)  # fmt: skip
#: Steps of the attacks on networks, their radii unless others are named, and images passed at once.
ATTACK_STEPS, EPSILONS, BATCH = (20, 100), (8 / 255, 32 / 255), 64


class Known(NamedTuple):
    """A norm that the reference file tells, and what is found of it.

    Attributes:
        case: name of the case, and of what part of it.
        kind: the file's own word.
        truth: the norm; of a part of a network the largest norm of a Jacobian, which is at most its constant.
        theirs: the file's own upper bound, from exact norms if it is composed; NaN if it has none.
        right: whether everything is in order and as close as it has to be.
    """

    case: str
    kind: str
    truth: float
    lower: float
    estimate: float
    upper: float
    theirs: float
    right: bool

    @property
    def error(self) -> float:
        """Of the estimate, relative to the norm; NaN where it is no estimate of the norm."""
        return self.estimate / self.truth - 1 if self.kind in MAPS else math.nan


def exact(options: argparse.Namespace) -> bool:
    """Each case of the reference file between its bounds; tells whether all keep the order and are close."""
    rows = [*map(_known_map, exact_cases()), *_known_sums(), *_known_networks()]
    head = ("case", "kind", "truth", "lower", "estimate", "error %", "upper", "up/truth", "file's upper")
    print(
        format_table(
            head,
            [
                (row.case, row.kind, *(_fixed(value, 5) for value in (row.truth, row.lower, row.estimate)),
                 _fixed(100 * row.error, 5), _fixed(row.upper, 5), _fixed(row.upper / row.truth, 4), _fixed(row.theirs, 5))
                for row in rows
            ],
        )
    )  # fmt: skip
    print(
        "\nResidual sums and nets are composed: upper is the rule with certified norms, estimate and file's upper with accurate"
        "\nones, so only single maps have an error. The truth of a net is the largest norm of a Jacobian, which its constant"
        "\nand lower bounds may exceed.\n"
    )
    cases = list(map(str, load("lipschitz_exact")["cases"]))
    wrong = [row.case for row in rows if not row.right]
    wrong += [
        f"{case} (of unknown kind)"
        for case in cases
        if case not in {row.case.partition(",")[0] for row in rows}
    ]
    largest = 100 * np.nanmax(np.abs([row.error for row in rows]))
    print(
        f"{len(cases)} cases, upper >= truth >= lower in {'all but ' + '; '.join(wrong) if wrong else 'all of them'}; "
        f"largest error of an estimate {largest:.1g} % (at most {100 * CLOSE} %)"
    )
    return not wrong


def _known_map(case: ExactCase) -> Known:
    one, truth, draw = case.convolution, case.truth, torch.Generator().manual_seed(0)
    upper = float(upper_bounds([one]))
    lower = float(power_iteration([one], steps=3, starts=[None], generator=draw)[0])
    if reshaped_is_lower_bound(one):
        lower = max(lower, float(reshaped_norms([one])))
    estimate = float(estimates([one], steps=300, starts=[None], generator=draw, tolerance=1e-5)[0])
    certified = [
        float(case.figures[name]) for name in ("ub_2d", "ub_fft", "ub_product") if name in case.figures
    ]
    ordered = upper >= truth >= max(lower, estimate) / (1 + ROUNDING)
    return Known(
        case.name, case.kind, truth, lower, estimate, upper, min(certified, default=math.nan),
        ordered and abs(estimate / truth - 1) <= CLOSE,
    )  # fmt: skip


def _known_sums() -> Iterator[Known]:
    """The residual sums: linear maps, so that the truth is known."""
    for name, figures in figures_of("residual").items():
        inside, *_, height, width = figures["meta"].tolist()
        draw = torch.Generator().manual_seed(0)
        pairs = torch.rand(2, 32, inside, height, width, generator=draw)
        band = _measured(nn.Sequential(Residual(figures).float(), nn.Flatten()), *pairs)
        truth, theirs = float(figures["sigma"]), float(figures["ub_rule"])
        ordered = band.ordered and band.upper >= truth >= band.lower / (1 + ROUNDING)
        right = ordered and abs(band.estimate / theirs - 1) <= CLOSE
        yield Known(name, "residual", truth, *band[:3], theirs, right)


def _known_networks() -> Iterator[Known]:
    """The networks, from the images to the end of the stem and of every block."""
    for name, figures in figures_of("net").items():
        network = TinyWideResNet(figures).float()
        images, moves = (torch.from_numpy(figures[key]) for key in ("x", "dx"))
        for number, part in enumerate(("stem", "block A", "block B", "logits")):
            band = _measured(Prefix(network, number), images, images + moves)
            truth, theirs = float(figures["jac_norm"][:, number].max()), float(figures["ub"][number])
            seen = float(figures["pair_ratio"][:, number].max())
            ordered = band.ordered and band.upper >= truth and band.lower >= seen / (1 + ROUNDING)
            # Theirs has every batch norm in an input, the estimate has it where the bound is smaller.
            right = ordered and band.estimate <= theirs * (1 + ROUNDING)
            yield Known(f"{name}, {part}", "net", truth, *band[:3], theirs, right)


class Prefix(nn.Module):
    """A network up to one of its features, which it gives as a vector."""

    def __init__(self, network: TinyWideResNet, number: int) -> None:
        super().__init__()
        self.network, self.number = network, number

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, d]."""
        return self.network.features(images)[self.number].flatten(1)


class Band(NamedTuple):
    """End to end, from an analysis in full; and whether no bound in it, of layers and blocks too, contradicts another."""

    lower: float
    estimate: float
    upper: float
    ordered: bool


def _measured(model: nn.Module, images: Tensor, others: Tensor) -> Band:
    row = BoundsMeter(torch.Generator().manual_seed(0)).measure(
        model, trace(model, images[:1]), images, others, batch_size=BATCH, care="full"
    )
    lower, estimate, upper = (10 ** float(row[f"log10_{kind}"][0]) for kind in ("lower", "estimate", "upper"))
    return Band(lower, estimate, upper, not row["violations"][0])


def times(options: argparse.Namespace) -> bool:
    """Milliseconds of each method on random maps; of lower bounds how far below, of upper ones how far above the norm.

    The norm is what 100 Lanczos steps find. "all svd" and "all eig" are the bound from `torch.fft` with singular values,
    or eigenvalues of the smaller Gram matrix, of every frequency in float64.
    """
    draw = torch.Generator().manual_seed(0)
    methods: dict[str, Callable[[Convolution], Tensor]] = {
        "reshaped": lambda one: reshaped_norms([one]),
        "power 3": lambda one: power_iteration([one], steps=3, starts=[None], generator=draw)[0],
        "Lanczos 20": lambda one: estimates([one], steps=20, starts=[None], generator=draw)[0],
        "upper": lambda one: upper_bounds([one]),
        "Gram 6": lambda one: upper_bounds([one], iterations=6),
        "all svd": lambda one: _every_frequency(one, lambda matrices: torch.linalg.svdvals(matrices)[..., 0]),
        "all eig": lambda one: _every_frequency(one, _by_eigenvalues),
    }
    _print_row(("map", *(part for name in methods for part in (f"{name}", "%"))))
    for inputs, outputs, kernel, stride, size in SHAPES:
        weight = torch.randn(outputs, inputs, kernel, kernel, generator=draw).to(options.device)
        one = Convolution(weight, (size, size), (stride, stride), (kernel // 2, kernel // 2))
        norm = float(estimates([one], steps=100, starts=[None], generator=draw)[0])
        found, seconds = _in_turns({name: partial(method, one) for name, method in methods.items()}, options)
        cells = [
            part
            for name in methods
            for part in (f"{1000 * seconds[name]:.1f} ms", f"{100 * (float(found[name]) / norm - 1):+.2f}")
        ]
        _print_row((f"{inputs}->{outputs} {kernel}x{kernel} s{stride} @{size}", *cells))
    return True


def _print_row(cells: Sequence[str]) -> None:
    print(cells[0].ljust(20), *(cell.rjust(10) for cell in cells[1:]), sep="  ", flush=True)


def _every_frequency(one: Convolution, norms: Callable[[Tensor], Tensor]) -> Tensor:
    """The largest of the norms at all frequencies of a ring of size + padding, for a square map of one group."""
    size, padding, stride = one.size[0], one.padding[0], one.stride[0]
    kernel = one.weight.double()
    kernel = F.pad(kernel, 2 * (0, -kernel.shape[-1] % stride))
    phases = [kernel[:, :, row::stride, column::stride] for row in range(stride) for column in range(stride)]
    ring = -(-(size + padding) // stride)
    return norms(torch.fft.rfft2(torch.cat(phases, 1), (ring, ring)).permute(2, 3, 0, 1)).amax()


def _by_eigenvalues(matrices: Tensor) -> Tensor:
    rows, columns = matrices.shape[-2:]
    gram = matrices @ matrices.mH if rows <= columns else matrices.mH @ matrices
    return torch.linalg.eigvalsh(gram)[..., -1].sqrt()


def _in_turns(
    methods: Mapping[str, Callable[[], Any]], options: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, float]]:
    """Carry out each of the methods in turn, several times: what they found at last, and the median of their seconds."""
    cuda, found = options.device == "cuda", {}
    spent: dict[str, list[float]] = {name: [] for name in methods}

    def clock() -> float:
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter() if cuda or options.threads > 1 else time.process_time()

    for _ in range(options.rounds):
        for name, method in methods.items():
            began = clock()
            found[name] = method()
            spent[name].append(clock() - began)
    return found, {name: median(seconds) for name, seconds in spent.items()}


@dataclass(frozen=True)
class Subject:
    """A network on its device, with the images that it is looked at with.

    Attributes:
        maps: those of the layers alone, then those with scales in them that bounds need.
        images: [M, 3, H, W].
        attacked: the images attacked, by attack.
    """

    model: nn.Module
    graph: Graph
    maps: Mapping[Variant, Convolution]
    images: Tensor
    attacked: Mapping[str, Tensor]

    @property
    def searched(self) -> Tensor:
        """The images from which other lower bounds are searched for."""
        return self.images[:SEARCHED]


def networks(options: argparse.Namespace) -> bool:
    """Methods, layers, blocks and attacks of each network; tells whether nothing that was seen exceeds its upper bound."""
    exceeded = []
    for path in options.networks:
        exceeded += [f"{path.name}, {place}" for place in _network(_subject(path, options), options)]
    told = f"exceeded in {'; '.join(exceeded)}" if exceeded else "never exceeded by what was seen"
    print(f"Upper bounds of layers, of blocks and from the images to the end of each block: {told}")
    return not exceeded


def _subject(path: Path, options: argparse.Namespace) -> Subject:
    """Load a network, trace it and attack its images; print what it is."""
    given = given_settings(options, CheckpointConfig)
    network = load_network(path, validate(CheckpointConfig, given) if given else None)
    domain = load_domain(_data(path, network, options), data_root=data_folder())
    if network.num_classes not in (None, len(domain.class_names)):
        raise CheckpointError(
            f"{path.name} tells {network.num_classes} classes apart, {domain.title} has {len(domain.class_names)}; name "
            "the images that it was trained on with --data"
        )
    model, device = network.module, torch.device(options.device)
    place_on(model, device)
    order = torch.randperm(len(domain.test), generator=generator("cpu", 0, "inspection", "images"))
    chosen = domain.test.subset(order[: options.images]).to(device)
    print(f"{path}: {network.title}, {len(chosen)} test images of {domain.title}\n", flush=True)
    attacked = {}
    for epsilon in options.epsilon:
        for steps in ATTACK_STEPS:
            config = AttackConfig(epsilon=epsilon, steps=steps, step_size=2.5 * epsilon / steps)
            probe = Probe(chosen, True, attacks["pgd"](config), seed=0, batch_size=BATCH)
            images, verdict = probe.look(model, RunControl())
            attacked[f"PGD-{steps} {format_ratio(epsilon)}"] = verdict.adversarial
    graph = trace(model, images[:1])
    needed = dict.fromkeys((*map(Variant, range(len(graph.layers))), *variants(graph)))
    return Subject(model, graph, {key: folded_map(graph, key) for key in needed}, images, attacked)


def _data(path: Path, network: LoadedNetwork, options: argparse.Namespace) -> DataConfig:
    """The images that the options name, else those that the network was trained on; of the size of these."""
    own, named = network.spec.data if network.spec else None, options.data
    if named is not None:
        is_name = named in get_args(DatasetName)
        settings = {"name": named} if is_name else {"name": "folder", "path": str(Path(named).resolve())}
        settings |= {"image_size": own.image_size} if own else {}
    elif own is not None:
        settings = own.model_dump()
    else:
        reason = f"{path.name} does not say what it was trained on; name the images with --data"
        raise ConfigError([Problem("data", reason)])
    if options.image_size is not None:
        settings["image_size"] = options.image_size
    return validate(DataConfig, settings)


def _network(subject: Subject, options: argparse.Namespace) -> list[str]:
    """Print the tables of a network; returns the places where its upper bounds are exceeded."""
    graph, of_maps = subject.graph, _norms_of_maps(subject)
    found, seconds = _in_turns(of_maps | _whole_looks(subject), options)
    norms = {name: found[name].cpu().double().numpy() for name in of_maps}
    best, row, seen = _best(subject, norms), found["full analysis"], _seen(subject, found)
    gives = {
        "trace": f"{len(graph.nodes)} tensors, {len(graph.layers)} layers, {len(graph.blocks)} blocks",
        **{name: f"largest gap to the best estimates {_gap(norms[name], best):+.3g} %" for name in norms},
        "composition": f"{len(subject.maps)} maps",
        "distances": f"{len(subject.images)} pairs of images, at every block and layer",
        "expanding pairs": f"log10 {seen['expanding'][-1]:.3f} end to end, {len(subject.searched)} images, {SEARCH_STEPS} steps",
        "gradients": f"log10 {seen['gradients'][-1]:.3f} end to end, {len(subject.searched)} images",
        "full analysis": f"{row['violations'][0]} contradictions",
    }
    _print_table(
        ("method", "seconds", "gives"), [(name, f"{seconds[name]:.4f}", told) for name, told in gives.items()]
    )
    _print_bands(row, graph)
    estimate, upper = (
        compose(graph, dict(zip(subject.maps, values.tolist(), strict=True)))
        for values in (best, norms["upper bounds"])
    )
    if upper.unknown:
        print(f"Bounds are unknown from here on: {', '.join(upper.unknown)}\n")
    exceeded = _print_prefixes(seen, estimate.log10_prefixes, upper.log10_prefixes)
    return exceeded + ([f"{row['violations'][0]} of its layers and blocks"] if row["violations"][0] else [])


def _norms_of_maps(subject: Subject) -> dict[str, Callable[[], Tensor]]:
    """What tells the norms of all maps, and the reshaped norms of the layers alone."""
    maps, draw = list(subject.maps.values()), torch.Generator().manual_seed(0)
    alone = maps[: len(subject.graph.layers)]

    def lanczos(steps: int, tolerance: float | None = None) -> tuple[Tensor, list[Tensor]]:
        return estimates(maps, steps=steps, starts=[None for _ in maps], generator=draw, tolerance=tolerance)

    _, warm = lanczos(20)
    return {
        "reshaped norms": lambda: reshaped_norms(alone),
        f"power iteration {STEPS}, warm": lambda: power_iteration(
            maps, steps=STEPS, starts=warm, generator=draw
        )[0],
        "Lanczos 20": lambda: lanczos(20)[0],
        "Lanczos 30": lambda: lanczos(30)[0],
        "Lanczos, converged": lambda: lanczos(MOST_STEPS, CONVERGED)[0],
        "upper bounds": lambda: upper_bounds(maps),
    }


def _whole_looks(subject: Subject) -> dict[str, Callable[[], Any]]:
    """What looks at the whole network."""
    model, graph, images, searched = subject.model, subject.graph, subject.images, subject.searched
    attacked, draw = list(subject.attacked.values()), torch.Generator().manual_seed(0)
    ones = dict.fromkeys(subject.maps, 1.0)
    with evaluation(model), torch.no_grad():
        unlikely = model(searched).argmin(1)
    return {
        "trace": lambda: trace(model, images[:1]),
        "composition": lambda: compose(graph, ones),
        "distances": lambda: look(model, graph, images, attacked[0]),
        "expanding pairs": lambda: expanding_pairs(model, searched, steps=SEARCH_STEPS, generator=draw),
        "gradients": lambda: gradient_bound(model, searched, unlikely),
        "full analysis": lambda: BoundsMeter(torch.Generator().manual_seed(0)).measure(
            model,
            graph,
            images.repeat(len(attacked), 1, 1, 1),
            torch.cat(attacked),
            batch_size=BATCH,
            care="full",
        ),
    }


def _best(subject: Subject, norms: Mapping[str, np.ndarray]) -> np.ndarray:
    """[n] the largest lower bound on the norm of each map."""
    reshaped = [
        norm if reshaped_is_lower_bound(one) else -math.inf
        for one, norm in zip(subject.maps.values(), norms["reshaped norms"], strict=False)
    ]
    found = [values for name, values in norms.items() if name not in ("reshaped norms", "upper bounds")]
    best = np.max(found, axis=0)
    best[: len(reshaped)] = np.maximum(best[: len(reshaped)], reshaped)
    return best


def _gap(values: np.ndarray, best: np.ndarray) -> float:
    """The largest difference of norms to the first of the best estimates, in per cent of these, with its sign."""
    known = best[: len(values)]
    gaps = 100 * (values[known > 0] / known[known > 0] - 1)
    return float(gaps[np.abs(gaps).argmax()])


def _seen(subject: Subject, found: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """[N + 1] log10 of the largest expansion from the images to the end of the stem and of each block, by what found it."""
    blocks = (subject.graph.stem, *subject.graph.blocks)
    ends = [block.end for block in blocks]
    gains = {}
    for name, others in (subject.attacked | {"expanding": found["expanding pairs"]}).items():
        images = subject.images[: len(others)]
        pairs = measure_pairs(subject.model, images, others, nodes=ends, batch_size=BATCH)
        gains[name] = [pairs.largest_gain(IMAGES, end) for end in ends]
    steepest = float(np.fmax.reduce(found["gradients"].cpu().numpy()))
    gains["gradients"] = [math.nan for _ in subject.graph.blocks] + [steepest]
    with np.errstate(divide="ignore"):
        return {name: np.log10(values) for name, values in gains.items()}


def _print_bands(row: Mapping[str, np.ndarray], graph: Graph) -> None:
    """Print the layers with batch norm folded in, the layers alone and the blocks of a row of the table of bounds."""
    layers = [(layer.name, layer.shape) for layer in graph.layers]
    tables = (
        (("layer, folded", "shape"), layers, "layer", ()),
        (("layer alone", "shape"), layers, "layer_unfolded", ("layer_reshaped",)),
        (
            ("block",),
            [(f"{block.number}: {block.title}",) for block in graph.blocks],
            "block",
            ("block_nominal",),
        ),
    )
    for head, names, band, more in tables:
        columns = (*more, *(f"{band}_{kind}" for kind in ("lower", "estimate", "upper")))
        values = zip(*(map(significant, row[column][0]) for column in columns), strict=True)
        ratios = row[f"{band}_upper"][0] / row[f"{band}_estimate"][0]
        _print_table(
            (*head, *(column.rpartition("_")[2] for column in columns), "upper/estimate"),
            [
                (*name, *told, _fixed(ratio, 4))
                for name, told, ratio in zip(names, values, ratios, strict=True)
            ],
        )


def _print_prefixes(seen: Mapping[str, np.ndarray], estimate: np.ndarray, upper: np.ndarray) -> list[str]:
    """Print what was seen beside bounds, all [N + 1] log10, the last end to end; returns where a bound is exceeded."""
    columns = {**seen, "estimate": estimate, "upper": upper}
    places = ["stem", *map(str, range(1, len(upper)))]
    _print_table(
        ("log10, to block", *columns),
        [
            (place, *(_fixed(value, 3) for value in values))
            for place, *values in zip(places, *columns.values(), strict=True)
        ],
    )
    limits = upper + math.log10(1 + TOLERANCE)
    return [
        f"{name} to block {places[index]}"
        for name, values in seen.items()
        for index in np.flatnonzero(values > limits)
    ]


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print(format_table(head, rows), end="\n\n", flush=True)


def _fixed(value: float, digits: int) -> str:
    """A number with so many decimals."""
    return NOTHING if math.isnan(value) else f"{value:.{digits}f}"


TABLES = {"exact": exact, "times": times, "networks": networks}


def main() -> None:
    """Print the tables that the options ask for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--exact", action="store_true", help="every case of the reference file")
    parser.add_argument("--times", action="store_true", help="random maps")
    parser.add_argument(
        "--networks", type=Path, nargs="+", default=[], metavar="FILE", help="trained networks"
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="of --times and --networks")
    parser.add_argument("--rounds", type=int, default=3, help="of --times and --networks, default 3")
    parser.add_argument("--threads", type=int, default=default_threads())
    group = parser.add_argument_group("images of --networks")
    group.add_argument(
        "--data", metavar="NAME|FOLDER", help="of which data set; else of that it was trained on"
    )
    group.add_argument("--image-size", type=int, help="of a program that asks for another one than 32 pixels")
    group.add_argument("--images", type=int, default=64, help="how many, default 64")
    group.add_argument(
        "--epsilon",
        type=parse_ratio,
        nargs="+",
        default=EPSILONS,
        help="of the attacks, default 8/255 32/255",
    )
    add_checkpoint_options(parser)
    options = parser.parse_args()
    wanted = [name for name in TABLES if getattr(options, name)]
    if not wanted:
        parser.error(f"expected {' or '.join(f'--{name}' for name in TABLES)}")
    torch.set_num_threads(options.threads)
    try:
        right = [TABLES[name](options) for name in wanted]
    except CartlError as error:
        parser.error(str(error))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.device}")
    sys.exit(0 if all(right) else 1)


if __name__ == "__main__":
    main()
