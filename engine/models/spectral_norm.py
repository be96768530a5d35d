"""The spectral constraint of non-expansive fine-tuning: W_used = beta * W / sigma(W).

sigma is the largest singular value of W reshaped to (out, in*kh*kw). Its singular vectors u [out] and v
[in*kh*kw] are buffers that only `advance_power_iteration` moves: reading a weight never changes them.

Source: Chen et al., ICML 2021, section 3.3; Miyato et al., ICLR 2018, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

#: Power-iteration steps on a freshly constrained weight, so that its first sigma is near the true one.
INITIAL_ITERATIONS = 15


class SpectralBound(nn.Module):
    """Parametrisation W -> beta * W / sigma(W) of one weight.

    Args:
        weight: [out, ...].
        bound: beta, the spectral norm the used weight has.
        generator: draws the first u and v.
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor, bound: float, generator: torch.Generator) -> None:
        super().__init__()
        self.bound = bound
        rows, columns = weight.flatten(1).shape
        for name, length in (("u", rows), ("v", columns)):
            start = torch.randn(length, generator=generator).to(weight)
            self.register_buffer(name, nn.functional.normalize(start, dim=0))

    def sigma(self, weight: Tensor) -> Tensor:
        """u^T W v, a scalar tensor; it never exceeds the true largest singular value."""
        return torch.dot(self.u, torch.mv(weight.flatten(1), self.v))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight that the layer uses, of the same shape."""
        return self.bound * weight / self.sigma(weight)

    @torch.no_grad()
    def advance(self, weight: Tensor, iterations: int) -> None:
        """Take power-iteration steps: v <- W^T u / |.|, then u <- W v / |.|."""
        matrix = weight.flatten(1)
        for _ in range(iterations):
            self.v.copy_(nn.functional.normalize(torch.mv(matrix.t(), self.u), dim=0))
            self.u.copy_(nn.functional.normalize(torch.mv(matrix, self.v), dim=0))


def constrain(
    modules: Iterable[nn.Module], bound: float, generator: torch.Generator, *, initial_iterations: int
) -> None:
    """Put a `SpectralBound` on every convolution and linear layer inside `modules`."""
    for module in modules:
        for layer in list(module.modules()):
            if isinstance(layer, nn.Conv2d | nn.Linear):
                weight = layer.weight.detach()
                spectral = SpectralBound(weight, bound, generator)
                spectral.advance(weight, initial_iterations)
                parametrize.register_parametrization(layer, "weight", spectral)


def constrained(model: nn.Module) -> Iterator[tuple[nn.Module, SpectralBound, Tensor]]:
    """Every constrained layer of a model: the layer, its parametrisation, and its original weight."""
    for layer in model.modules():
        if parametrize.is_parametrized(layer, "weight"):
            weights = layer.get_submodule("parametrizations.weight")
            spectral = weights.get_submodule("0")
            if isinstance(spectral, SpectralBound):
                yield layer, spectral, weights.get_parameter("original")


def advance_power_iteration(model: nn.Module, iterations: int) -> None:
    """Move u and v of every constrained layer; once per training step, before the forward pass."""
    for _, spectral, weight in constrained(model):
        spectral.advance(weight.detach(), iterations)


def used_weight(layer: nn.Conv2d | nn.Linear) -> Tensor:
    """The weight a layer computes with, detached, [out, ...]."""
    return layer.weight.detach()


def remove_constraints(model: nn.Module) -> None:
    """Write the normalised weights out as plain ones; the model's outputs stay the same, and so do its copies."""
    for layer, spectral, weight in list(constrained(model)):
        weight.data = spectral(weight).detach()
        # torch's own removal changes the layer's class, which copies of the layer share, and so breaks them.
        layer.__class__ = parametrize.type_before_parametrizations(layer)
        del layer.parametrizations
        layer.weight = weight
