"""Rules for files that hold tensors: `.pt` (a zip with a pickle inside) and `.safetensors`.

Structure is checked in plain Python before torch sees the file. A pickle is a program; here its instructions are
read without running any of them, and only those that rebuild tensors and plain containers are let through. The
rules hold for our own files too.
"""

from __future__ import annotations

import hashlib
import json
import pickletools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import DamagedFileError
from engine.store.archives import open_archive, refusal
from engine.store.atomic import regular_size
from engine.wording import format_bytes

if TYPE_CHECKING:
    import torch

MAX_FILE_BYTES = 16 * 2**30
MAX_PICKLE_BYTES = 16_000_000
MAX_PICKLE_STEPS = 2_000_000
MAX_ENTRIES = 1_000_000
MAX_HEADER_BYTES = 16_000_000

_MEMBER = re.compile(
    r"(data\.pkl|data/\d+|byteorder|version|\.format_version|\.storage_alignment|\.data/serialization_id)"
)
_ALLOWED_GLOBALS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch [A-Z][A-Za-z0-9]*Storage"
    r"|torch (Size|device|float64|float32|float16|bfloat16|int64|int32|int16|int8|uint8|bool)"
)
#: Instructions that name something to call without the plain text that could be checked here.
_REFUSED_STEPS = frozenset(
    {"STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4", "PERSID", "NEWOBJ", "NEWOBJ_EX"}
)
_DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
_SAFETENSORS_DTYPES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip


def sha256_of(path: Path) -> str:
    """The file's SHA-256 in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_file_type(path: Path) -> None:
    """Tell apart what a download or a mix-up leaves in place of a tensor file.

    Raises:
        UntrustedFileError: it is something else.
        DamagedFileError: it is empty.
        StoreError: it cannot be read.
    """
    size = regular_size(path)
    with open(path, "rb") as file:
        head = file.read(512)
    if not head:
        raise DamagedFileError(f"{path} is empty")
    if size > MAX_FILE_BYTES:
        raise refusal(
            "size", f"{path} has {format_bytes(size)}, at most {format_bytes(MAX_FILE_BYTES)} are read"
        )
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<?xml")):
        raise refusal(
            "file type",
            f"{path} is an HTML page, not a checkpoint; the download gave an error or log-in page",
        )
    if text.startswith(b"version https://git-lfs"):
        raise refusal("file type", f"{path} is a Git LFS pointer, not a checkpoint; fetch the file itself")


def check_checkpoint_zip(path: Path) -> None:
    """Check a `.pt` file's zip structure, checksums and pickle without running anything in it.

    Raises:
        UntrustedFileError: it breaks a rule, which the message names.
        DamagedFileError: it is cut short or a checksum is wrong.
    """
    check_file_type(path)
    with open(path, "rb") as file:
        head = file.read(4)
    if head[:1] == b"\x80":
        raise refusal(
            "zip container",
            f"{path} is an old-style pickle, which can run any program; save it again with a current torch.save",
        )
    if head != b"PK\x03\x04":
        raise DamagedFileError(f"{path} is no checkpoint: expected a zip file as torch.save writes it")
    with open_archive(path, _MEMBER, what="checkpoint") as archive:
        if "data.pkl" not in archive.names:
            raise DamagedFileError(f"{path} holds no data.pkl")
        if archive.size("data.pkl") > MAX_PICKLE_BYTES:
            raise refusal("pickle size", f"{path}: data.pkl has {format_bytes(archive.size('data.pkl'))}")
        steps = archive.read("data.pkl")
    _check_pickle(path, steps)


def _check_pickle(path: Path, steps: bytes) -> None:
    try:
        for number, (step, argument, _) in enumerate(pickletools.genops(steps)):
            if number > MAX_PICKLE_STEPS:
                raise refusal(
                    "pickle size", f"{path}: data.pkl has more than {MAX_PICKLE_STEPS} instructions"
                )
            if step.name in _REFUSED_STEPS:
                raise refusal(
                    "plain pickle", f"{path}: data.pkl uses {step.name}; torch.save never does that"
                )
            if step.name == "GLOBAL" and not _ALLOWED_GLOBALS.fullmatch(str(argument)):
                raise refusal(
                    "no code",
                    f"{path}: data.pkl asks for {str(argument).replace(' ', '.')[:80]}, which is neither a tensor "
                    "nor a plain container, and might run a program",
                )
    except (ValueError, EOFError, IndexError) as error:
        raise DamagedFileError(f"{path}: data.pkl is unreadable: {error}") from error


def read_checkpoint(path: Path, *, device: str = "cpu") -> dict[str, Any]:
    """Check a `.pt` file in every way and load it, with `weights_only=True` and no way around it.

    Args:
        path: the file.
        device: where its tensors go.

    Raises:
        UntrustedFileError, DamagedFileError, StoreError: the file breaks a rule, is damaged or unreadable.
    """
    check_checkpoint_zip(path)
    import torch

    try:
        # Said explicitly, because an environment variable can turn the default off.
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        # Torch raises what its C++ parts throw: RuntimeError, UnpicklingError, KeyError, AttributeError ...
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise DamagedFileError(f"{path} cannot be loaded: {reason}") from error
    if not isinstance(state, dict):
        raise refusal("a table of entries", f"{path} holds a {type(state).__name__}, expected a dict")
    for name, tensor in tensors_of(state, path):
        _check_tensor(path, name, tensor)
    total = sum(tensor.untyped_storage().nbytes() for _, tensor in tensors_of(state, path))
    if total > path.stat().st_size:
        raise refusal(
            "tensor bytes", f"{path}: its tensors claim {format_bytes(total)}, more than the file holds"
        )
    return state


def tensors_of(state: Any, path: Path | str) -> list[tuple[str, torch.Tensor]]:
    """All tensors of a nested state with their dotted places.

    Args:
        state: dicts, lists, tuples, numbers, texts, None and tensors.
        path: the file, for messages.

    Raises:
        UntrustedFileError: something else is in it, or there are too many entries.
    """
    import torch

    found: list[tuple[str, torch.Tensor]] = []
    stack: list[tuple[str, Any]] = [("", state)]
    count = 0
    while stack:
        place, item = stack.pop()
        count += 1
        if count > MAX_ENTRIES:
            raise refusal("number of entries", f"{path} holds more than {MAX_ENTRIES} entries")
        if isinstance(item, torch.Tensor):
            found.append((place, item))
        elif isinstance(item, dict):
            for key, value in item.items():
                if not isinstance(key, str | int):
                    raise refusal("plain keys", f"{path}: {place} has a key of type {type(key).__name__}")
                stack.append((f"{place}.{key}" if place else str(key), value))
        elif isinstance(item, list | tuple):
            stack += [(f"{place}.{index}", value) for index, value in enumerate(item)]
        elif not (item is None or isinstance(item, str | int | float | bool | torch.dtype | torch.device)):
            raise refusal(
                "plain values", f"{path}: {place} is a {type(item).__name__}; expected plain values"
            )
    return found


def _check_tensor(path: Path, name: str, tensor: torch.Tensor) -> None:
    import torch

    if (
        tensor.layout != torch.strided
        or tensor.is_quantized
        or str(tensor.dtype).removeprefix("torch.") not in _DTYPES
    ):
        raise refusal(
            "tensor type", f"{path}: {name} is {tensor.dtype}, {tensor.layout}; expected a plain tensor"
        )
    claimed = tensor.numel() * tensor.itemsize
    stored = tensor.untyped_storage().nbytes()
    if claimed != stored:
        raise refusal(
            "tensor bytes",
            f"{path}: {name} claims {format_bytes(claimed)} but {format_bytes(stored)} are stored for it; "
            "save a clone() of the tensor",
        )


def check_safetensors(path: Path) -> dict[str, str]:
    """Check a `.safetensors` file's header; returns its metadata.

    Raises:
        UntrustedFileError: it breaks a rule, which the message names.
        DamagedFileError: it is cut short.
    """
    check_file_type(path)
    size = path.stat().st_size
    with open(path, "rb") as file:
        prefix = file.read(8)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < 8 or length > size - 8:
            raise DamagedFileError(f"{path} is cut short or no safetensors file")
        if length > MAX_HEADER_BYTES:
            raise refusal("header size", f"{path}: its header has {format_bytes(length)}")
        text = file.read(length)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{path}: its header is unreadable: {error}") from error
    if not isinstance(header, dict):
        raise DamagedFileError(f"{path}: its header is no table")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise refusal("metadata", f"{path}: its metadata is not a table of texts")
    position = 0
    for name, begin, end in sorted(
        (_tensor_span(path, *item) for item in header.items()), key=lambda item: item[1:]
    ):
        if begin != position:
            raise refusal("no overlap", f"{path}: {name} starts at byte {begin}, expected {position}")
        position = end
    if position != size - 8 - length:
        raise DamagedFileError(
            f"{path} is cut short: {size - 8 - length} bytes of tensors, expected {position}"
        )
    return metadata


def _tensor_span(path: Path, name: str, entry: Any) -> tuple[str, int, int]:
    try:
        width = _SAFETENSORS_DTYPES[entry["dtype"]]
        shape, (begin, end) = entry["shape"], entry["data_offsets"]
        numbers = (*shape, begin, end)
        plain = all(type(number) is int and number >= 0 for number in numbers)
    except (KeyError, TypeError, ValueError) as error:
        raise refusal("tensor type", f"{path}: {name[:80]} is not described as a plain tensor") from error
    count = 1
    for number in shape if plain else ():
        count *= number
    if not plain or end - begin != count * width:
        raise refusal("tensor bytes", f"{path}: {name[:80]} claims other bytes than are stored for it")
    return name, begin, end
