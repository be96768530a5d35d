"""Checkpoints (all that is needed to go on) and weights (the model alone). Torch is loaded on first use.

    checkpoints/0007-pretraining-00001200.pt          serial number, stage, step
                0007-pretraining-00001200.pt.sha256   its SHA-256, as `sha256sum -c` reads it
                latest                                one line: the name of a checkpoint

A checkpoint counts only with a matching SHA-256, which is written before the file gets its name. A new one is
read back before `latest` names it, and the one before is kept.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from engine.config import StageName
from engine.errors import CheckpointError, DamagedFileError, DivergedError, StoreError
from engine.store.atomic import (
    replacing,
    require_space,
    sync_folder,
    temporary_path,
    write_bytes,
    write_error,
    write_text,
)
from engine.store.safe_open import is_own, probe, remember_own
from engine.store.tensor_files import (
    check_checkpoint_zip,
    check_safetensors,
    read_checkpoint,
    sha256_of,
    tensors_of,
)
from engine.wording import format_bytes

if TYPE_CHECKING:
    import torch

#: Kept: the newest and the one before it.
KEPT = 2
SPARE_BYTES = 64_000_000
#: Entry of the metadata of exported weights: the hash of the tensors, however they are stored.
TENSORS_KEY = "tensors_sha256"

_NAME = re.compile(r"(\d{4,})-(pretraining|finetuning|attack)-(\d{8,})\.pt")


class CheckpointFolder:
    """The checkpoints of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(
        self,
        state: dict[str, Any],
        *,
        stage: StageName,
        step: int,
        may_be_nan: Collection[str] = (),
    ) -> Path:
        """Write, read back and only then name a checkpoint as the latest; prune older ones.

        Args:
            state: nested dicts, lists and tuples of str, int, float, bool, None and tensors. Tensors that are
                views of larger ones are copied; nothing in `state` is changed.
            stage: the stage under way.
            step: optimiser updates so far.
            may_be_nan: top-level entries whose tensors need not be finite, such as recorded rows.

        Returns:
            The new file.

        Raises:
            DivergedError: a tensor is not finite; the checkpoints before are unchanged.
            StoreError: there is no space, or the file could not be written or read back.
        """
        plain = _self_contained(state)
        tensors = tensors_of(plain, "the state")
        if broken := _not_finite({name: entry for name, entry in plain.items() if name not in may_be_nan}):
            raise DivergedError(
                f"{broken} holds numbers that are not finite after step {step}. {DivergedError.REMEDY}"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        require_space(self.path, 3 * sum(tensor.nbytes for _, tensor in tensors) + SPARE_BYTES)
        serial = 1 + max((int(_NAME.fullmatch(path.name)[1]) for path in self._names()), default=0)  # type: ignore[index]
        path = self.path / f"{serial:04d}-{stage}-{step:08d}.pt"
        temporary = temporary_path(path)
        try:
            try:
                with open(temporary, "xb") as file:
                    hashed = _HashingFile(file)
                    hashed.save(plain)
                    file.flush()
                    os.fsync(file.fileno())
                self._read_back(temporary, hashed.hexdigest(), len(tensors))
                write_text(_digest_path(path), f"{hashed.hexdigest()}  {path.name}\n")
                os.replace(temporary, path)
                sync_folder(self.path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise write_error(path, error) from error
        remember_own(path)
        write_text(self.path / "latest", path.name + "\n")
        self._prune(path)
        return path

    def latest(self) -> Path | None:
        """The newest checkpoint that is whole; None if there is none."""
        named = self._named("latest")
        newest_first = sorted(self._names(), key=lambda path: path.name, reverse=True)
        candidates = [named, *newest_first] if named is not None else newest_first
        return next((path for path in candidates if self._is_whole(path)), None)

    def load(self, path: Path, *, map_location: str = "cpu") -> dict[str, Any]:
        """Read one of the folder's checkpoints.

        Args:
            path: as `latest` gave it.
            map_location: the device its tensors go to.

        Raises:
            DamagedFileError: its SHA-256 does not match or is missing.
            UntrustedFileError, StoreError: see `load_checkpoint`.
        """
        if not self._is_whole(path):
            raise DamagedFileError(
                f"{path} does not match its SHA-256; go on from the checkpoint before it, {self.latest() or 'none'}"
            )
        return load_checkpoint(path, device=map_location)

    def _names(self) -> list[Path]:
        if not self.path.is_dir():
            return []
        return [path for path in self.path.iterdir() if _NAME.fullmatch(path.name)]

    def _named(self, pointer: str) -> Path | None:
        try:
            name = (self.path / pointer).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return None
        return self.path / name if _NAME.fullmatch(name) else None

    def _is_whole(self, path: Path) -> bool:
        try:
            return _stored_digest(path) == sha256_of(path)
        except OSError:
            return False

    def _read_back(self, path: Path, digest: str, tensors: int) -> None:
        if sha256_of(path) != digest:
            raise DamagedFileError(f"{path} reads back differently from what was written; check the disk")
        found = len(tensors_of(read_checkpoint(path), path))
        if found != tensors:
            raise DamagedFileError(f"{path} reads back with {found} tensors, {tensors} were written")

    def _prune(self, newest: Path) -> None:
        """Remove all but the newest and the one before it that is whole."""
        others = sorted(set(self._names()) - {newest}, key=lambda path: path.name, reverse=True)
        spared = 0
        for path in others:
            if spared < KEPT - 1 and self._is_whole(path):
                spared += 1
                continue
            try:
                path.unlink(missing_ok=True)
                _digest_path(path).unlink(missing_ok=True)
            except OSError as error:
                raise write_error(path, error) from error


def load_checkpoint(path: Path, *, device: str = "cpu", expected_bytes: int | None = None) -> dict[str, Any]:
    """Read a `.pt` file that anyone may have made.

    Args:
        path: the file.
        device: where its tensors go.
        expected_bytes: the most that its tensors may need together, such as the model's size.

    Raises:
        UntrustedFileError: it breaks a safety rule, which the message names; nothing in it was run.
        DamagedFileError: it is cut short, or a checksum is wrong.
        CheckpointError: its tensors are larger than expected.
        StoreError: it cannot be read.
    """
    if not is_own(path):
        # Most mix-ups are told apart here, without waiting for a child to load torch.
        check_checkpoint_zip(path)
        probe(path)
    state = read_checkpoint(path, device=device)
    if expected_bytes is not None:
        total = sum(tensor.nbytes for _, tensor in tensors_of(state, path))
        if total > expected_bytes:
            raise CheckpointError(
                f"{path} holds {format_bytes(total)} of tensors, but at most {format_bytes(expected_bytes)} fit; "
                "it belongs to a larger model"
            )
    return state


def save_weights(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write a model's weights, and their SHA-256 beside them as `<file>.sha256`.

    Args:
        path: ends in .safetensors, or in .pt for a file with the entries "state_dict" and "metadata".
        tensors: name -> tensor, on any device.
        metadata: texts that travel with the weights.

    Raises:
        CheckpointError: a weight is not finite.
        StoreError: the name has another ending, or the file could not be written.
    """
    plain = _self_contained(dict(tensors))
    if broken := _not_finite(plain):
        raise CheckpointError(f"{broken} holds numbers that are not finite, so the weights were not saved")
    if path.suffix == ".safetensors":
        from safetensors.torch import save

        # As bytes, because the library's own file writer hides why a write failed.
        write_bytes(path, save(plain, dict(metadata)))
    elif path.suffix == ".pt":
        with replacing(path) as file:
            _HashingFile(file).save({"state_dict": plain, "metadata": dict(metadata)})
    else:
        raise StoreError(f"weights are written as .safetensors or .pt, got {path.name!r}")
    remember_own(path)
    write_text(_digest_path(path), f"{sha256_of(path)}  {path.name}\n")


def load_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read a model's weights from .safetensors or .pt; returns name -> CPU tensor, and the metadata.

    A .pt file holds the weights themselves or has them under "state_dict", "model", "model_state_dict" or "net".
    Where there is a `<file>.sha256`, the file must match it; where the metadata has the tensors' hash, they must.

    Raises:
        UntrustedFileError, DamagedFileError, StoreError: see `load_checkpoint`.
        CheckpointError: it holds no table of tensors.
    """
    tensors, metadata = _read_weights(path)
    if TENSORS_KEY in metadata and metadata[TENSORS_KEY] != digest_of(tensors):
        raise DamagedFileError(
            f"the weights in {path} are not those that were exported: their SHA-256 is another one than the file "
            "says; export them again"
        )
    return tensors, metadata


def digest_of(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 in hex of names, types, shapes and numbers, the same for every file format and order of names."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().to("cpu").contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _read_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    import torch

    if path.exists() and _digest_path(path).exists() and _stored_digest(path) != sha256_of(path):
        raise DamagedFileError(f"{path} does not match its SHA-256 in {_digest_path(path).name}")
    if path.suffix == ".safetensors":
        if not is_own(path):
            probe(path)
        from safetensors.torch import load_file

        metadata = check_safetensors(path)
        return load_file(path), metadata
    state = load_checkpoint(path)
    table = next(
        (
            state[key]
            for key in ("state_dict", "model", "model_state_dict", "net")
            if isinstance(state.get(key), dict)
        ),
        state,
    )
    wrong = next((str(name) for name, value in table.items() if not isinstance(value, torch.Tensor)), None)
    if wrong is not None or not table:
        raise CheckpointError(
            f"{path} holds no table of weights"
            + (f": {wrong!r} is not a tensor" if wrong is not None else "")
        )
    extra = state.get("metadata") if table is not state else None
    texts = extra.items() if isinstance(extra, dict) else ()
    return (
        {str(name): value.detach() for name, value in table.items()},
        {str(key): value for key, value in texts if isinstance(value, str)},
    )


class _HashingFile:
    """Passes writes on and hashes them on the way, so that the digest is of what was meant, not of what is there."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._error: OSError | None = None

    def save(self, state: Any) -> None:
        """Write a state with torch.

        Raises:
            OSError: a write failed; torch reports this as a RuntimeError about positions.
        """
        import torch

        try:
            torch.save(state, cast(BinaryIO, self))
        except RuntimeError:
            if self._error is not None:
                raise self._error from None
            raise

    def write(self, data: bytes) -> int:
        """Write and hash."""
        self._digest.update(data)
        try:
            return self._file.write(data)
        except OSError as error:
            self._error = error
            raise

    def flush(self) -> None:
        """Pass on."""
        self._file.flush()

    def hexdigest(self) -> str:
        """SHA-256 of all that was written."""
        return self._digest.hexdigest()


def written_sha256(path: Path) -> str:
    """SHA-256 in hex of a file as it was when it was written; "" where it was not kept."""
    return _stored_digest(path) if _digest_path(path).is_file() else ""


def _digest_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _stored_digest(path: Path) -> str:
    return _digest_path(path).read_text(encoding="ascii", errors="replace").split(" ")[0].strip()


def _self_contained(state: Any) -> Any:
    """Copy the containers, and bring each tensor to the CPU with storage of its own and no larger than needed."""
    import torch

    seen: set[int] = set()

    def convert(item: Any) -> Any:
        if isinstance(item, torch.Tensor):
            tensor = item.detach().to("cpu").contiguous()
            storage = tensor.untyped_storage()
            if storage.nbytes() != tensor.nbytes or (storage.nbytes() and storage.data_ptr() in seen):
                tensor = tensor.clone()
            seen.add(tensor.untyped_storage().data_ptr())
            return tensor
        if isinstance(item, Mapping):
            return {key: convert(value) for key, value in item.items()}
        if isinstance(item, list):
            return [convert(value) for value in item]
        if isinstance(item, tuple):
            return tuple(convert(value) for value in item)
        return item

    return convert(state)


def _not_finite(state: Mapping[str, Any]) -> str | None:
    """Name of a tensor that holds other than finite numbers."""
    import torch

    for name, tensor in tensors_of(state, "the state"):
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            return name
    return None
