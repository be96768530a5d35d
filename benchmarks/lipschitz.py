"""Norms of convolutions beside exact ones, and what each way to find them costs. One table per question.

    python -m benchmarks.lipschitz --exact              # every map of the reference file; exit code 1 if one is wrong
    python -m benchmarks.lipschitz --times --rounds 5   # milliseconds and accuracy by shape and method

CARTL_REFERENCE_DIR takes the reference file from another folder. For the times all methods take turns on the same map, so
that load on the machine spoils no comparison; on one CPU thread the CPU's seconds count.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.device import default_threads
from engine.inspection.norms import (
    Convolution,
    estimates,
    power_iteration,
    reshaped_is_lower_bound,
    reshaped_norms,
    upper_bounds,
)
from tests.engine.test_operator_norms import CLOSE, ROUNDING, ExactCase, exact_cases

#: Inputs, outputs, kernel, stride and size of the input of the maps that are timed.
SHAPES = (
    (3, 16, 3, 1, 32), (16, 16, 3, 1, 32), (16, 32, 3, 2, 32), (32, 32, 3, 1, 16), (64, 64, 3, 1, 32),
    (64, 128, 3, 2, 32), (64, 128, 1, 2, 32), (128, 128, 3, 1, 16), (128, 128, 3, 1, 8), (256, 256, 3, 1, 8),
)  # fmt: skip


def print_row(cells: Sequence[str], width: int = 9) -> None:
    """Print the cells of a row, the first to the left."""
    print(cells[0].ljust(20), *(cell.rjust(width) for cell in cells[1:]), sep="  ", flush=True)


def exact(options: argparse.Namespace) -> bool:
    """Each case of the reference file between its bounds; tells whether all keep the order and are close."""
    print_row(("case", "kind", "truth", "lower", "estimate", "error %", "upper", "up/truth"), 11)
    cases = exact_cases()
    wrong = [case.name for case in cases if not _shown(case)]
    told = f"wrong: {', '.join(wrong)}" if wrong else "all of them"
    print(f"upper >= truth >= lower, and the estimate within {CLOSE:.1%}, in {len(cases)} cases: {told}")
    return not wrong


def _shown(case: ExactCase) -> bool:
    """Print a case; tells whether it is right."""
    one, truth, draw = case.convolution, case.truth, torch.Generator().manual_seed(0)
    upper = float(upper_bounds([one]))
    lower = float(power_iteration([one], steps=3, starts=[None], generator=draw)[0])
    if reshaped_is_lower_bound(one):
        lower = max(lower, float(reshaped_norms([one])))
    estimate = float(estimates([one], steps=300, starts=[None], generator=draw, tolerance=1e-5)[0])
    error = estimate / truth - 1
    print_row(
        (case.name, case.kind, f"{truth:.5f}", f"{lower:.5f}", f"{estimate:.5f}", f"{100 * error:+.5f}", f"{upper:.5f}",
         f"{upper / truth:.4f}"),
        11,
    )  # fmt: skip
    ordered = upper >= truth >= max(lower, estimate) / (1 + ROUNDING)
    return ordered and abs(error) <= CLOSE


def times(options: argparse.Namespace) -> bool:
    """Milliseconds of each method on random maps; of lower bounds how far below, of upper ones how far above the norm.

    The norm is what 100 Lanczos steps find. "all svd" and "all eig" are the bound from `torch.fft` with singular values,
    or eigenvalues of the smaller Gram matrix, of every frequency in float64.
    """
    device = torch.device(options.device)
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
    print_row(("map", *(part for name in methods for part in (f"{name}", "%"))), 10)
    for inputs, outputs, kernel, stride, size in SHAPES:
        weight = torch.randn(outputs, inputs, kernel, kernel, generator=draw).to(device)
        one = Convolution(weight, (size, size), (stride, stride), (kernel // 2, kernel // 2))
        norm = float(estimates([one], steps=100, starts=[None], generator=draw)[0])
        spent: dict[str, list[float]] = {name: [] for name in methods}
        found = {}
        for _ in range(options.rounds):
            for name, method in methods.items():
                began = _clock(device, options.threads)
                found[name] = method(one)
                spent[name].append(1000 * (_clock(device, options.threads) - began))
        cells = [
            part
            for name in methods
            for part in (f"{median(spent[name]):.1f} ms", f"{100 * (float(found[name]) / norm - 1):+.2f}")
        ]
        print_row((f"{inputs}->{outputs} {kernel}x{kernel} s{stride} @{size}", *cells), 10)
    return True


def _clock(device: torch.device, threads: int) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.process_time() if device.type == "cpu" and threads == 1 else time.perf_counter()


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


TABLES = {"exact": exact, "times": times}


def main() -> None:
    """Print the tables that the options ask for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in TABLES:
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="of --times")
    parser.add_argument("--rounds", type=int, default=5, help="of --times, default 5")
    parser.add_argument("--threads", type=int, default=default_threads())
    options = parser.parse_args()
    wanted = [name for name in TABLES if getattr(options, name)]
    if not wanted:
        parser.error(f"expected {' or '.join(f'--{name}' for name in TABLES)}")
    torch.set_num_threads(options.threads)
    right = [TABLES[name](options) for name in wanted]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.device}")
    sys.exit(0 if all(right) else 1)


if __name__ == "__main__":
    main()
