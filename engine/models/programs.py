"""What networks that come as a whole program share: their tensors, batches, and checks around a call."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from engine.errors import CheckpointError


class ProgramNetwork(nn.Module):
    """A classifier whose forward pass is a program from a file, carried out operation by operation.

    Its tensors can be moved to another device as those of any module; the program's own mentions of a device are
    taken for the one that the images are on.

    Args:
        path: the file, for messages.
        dtype: what images are converted to before the program gets them; logits are float32 always.
    """

    def __init__(self, path: Path, dtype: torch.dtype) -> None:
        super().__init__()
        self.path = path
        self.dtype = dtype

    @abstractmethod
    def run(self, images: Tensor) -> object:
        """What the program gives for images [B, 3, H, W]; it may change them."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, K] of images [B, 3, H, W].

        Raises:
            CheckpointError: the program cannot take these images, gives no logits, or changes its own weights.
        """
        with self._watched():
            # A copy, because a program may work in place.
            logits = self.run(images.to(self.dtype, copy=True))
        if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(images):
            got = f"a tensor {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
            raise CheckpointError(
                f"{self.path} gives {got} for {len(images)} images; expected one row of logits for each"
            )
        return logits.float()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Tell what goes wrong inside by the file's name, and notice if weights change."""
        before = self._versions()
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
            reason = str(error).strip().partition("\n")[0][:300]
            raise CheckpointError(
                f"{self.path} failed on images of this size and type: {type(error).__name__}: {reason}"
            ) from error
        if self._versions() != before:
            raise CheckpointError(
                f"{self.path} changes its own weights whenever it runs, so no two of its answers belong to one network; "
                "call eval() on the network and save the program again"
            )

    def _versions(self) -> list[int]:
        return [tensor._version for tensor in (*self.parameters(), *self.buffers())]


def register(owner: nn.Module, name: str, tensor: Tensor, *, parameter: bool) -> None:
    """Give a module a tensor as parameter, which asks for no gradient, or as buffer.

    Raises:
        CheckpointError: the name cannot be used, or the parameter's numbers are not finite.
    """
    if parameter and not bool(torch.isfinite(tensor).all()):
        raise CheckpointError(f"{name[:80]} holds numbers that are not finite, so the network is of no use")
    try:
        if parameter and tensor.is_floating_point():
            owner.register_parameter(name, nn.Parameter(tensor, requires_grad=False))
        else:
            owner.register_buffer(name, tensor)
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"a tensor of the program has an unusable name: {name[:80]!r}") from error
