"""Reading a model that `torch.jit.save` wrote (TorchScript) without running anything in it.

    data.pkl                 a pickle: the tree of modules with their attributes
    data/0 ...               the numbers of their tensors
    code/__torch__/...py     the modules' methods, in a part of Python's syntax
    constants.pkl            tensors that the methods mention as CONSTANTS.c0 ...

torch.jit.load would unpickle, run `__setstate__` and compile whatever the methods call, file access included; so the
file is not given to it. The pickle's instructions are followed here, and only those that make plain values, tensors
and objects of the file's own types are known. `engine.models.torchscript` carries the methods out itself.

Source: torch/csrc/jit/docs/serialization.md of PyTorch, which documents the format.
"""

from __future__ import annotations

import ast
import pickletools
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from engine.errors import DamagedFileError
from engine.store.archives import Archive, StoredTensors, member_names, open_archive, refusal
from engine.store.tensor_files import MAX_PICKLE_BYTES, MAX_PICKLE_STEPS, check_file_type

if TYPE_CHECKING:
    import torch

MAX_CODE_BYTES = 4_000_000

_SOURCE = re.compile(r"code/(__torch__(?:/\w+)*)\.py", re.ASCII)
_MEMBER = re.compile(
    r"(data|constants|traced_inputs)(\.pkl|/[0-9]+)|code/.*\.(py|debug_pkl)|extra/.*|version|byteorder"
    r"|\.format_version|\.storage_alignment|\.data/[a-z_]+",
    re.ASCII,
)
_COMPRESSED = re.compile(r"code/.*")
_STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool",
}  # fmt: skip


class ScriptTensor(NamedTuple):
    """A tensor on the CPU, and whether it is a parameter that training would change."""

    tensor: torch.Tensor
    trainable: bool


@dataclass(eq=False, slots=True)
class ScriptObject:
    """A module: the dotted name of its type (`__torch__...`), and its attributes."""

    type_name: str
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScriptProgram:
    """What a file holds.

    Attributes:
        root: the outermost module; plain values, tensors and other modules are its attributes.
        constants: CONSTANTS.c0 and so on.
        sources: syntax trees of the code by dotted name ("__torch__.torch.nn.functional").
    """

    root: ScriptObject
    constants: tuple[ScriptTensor, ...]
    sources: dict[str, ast.Module]


def is_torchscript(path: Path) -> bool:
    """Whether a file is an archive of `torch.jit.save`."""
    names = member_names(path)
    return "constants.pkl" in names or any(_SOURCE.fullmatch(name) for name in names)


def read_torchscript(path: Path) -> ScriptProgram:
    """Read a TorchScript model.

    Raises:
        UntrustedFileError: it breaks a rule, which the message names; nothing in it was run.
        DamagedFileError: it is cut short, a checksum is wrong, or it is not as torch writes it.
        StoreError: it cannot be read.
    """
    check_file_type(path)
    with open_archive(path, _MEMBER, what="TorchScript model", compressed=_COMPRESSED) as archive:
        archive.require_byte_order()
        stored = StoredTensors(archive)
        sources = _sources(archive)
        root = _unpickle(archive, stored, "data")
        constants = _unpickle(archive, stored, "constants") if "constants.pkl" in archive.names else ()
        plain = isinstance(constants, tuple) and all(isinstance(item, ScriptTensor) for item in constants)
        if not isinstance(root, ScriptObject) or not plain:
            raise DamagedFileError(f"{path} holds no module, or constants that are no tensors")
        return ScriptProgram(root, constants, sources)


def _sources(archive: Archive) -> dict[str, ast.Module]:
    sources = {}
    left = MAX_CODE_BYTES
    for name in archive.names:
        found = _SOURCE.fullmatch(name)
        if found is None:
            continue
        data = archive.read(name, limit=left)
        left -= len(data)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)
                sources[found[1].replace("/", ".")] = ast.parse(data.decode("utf-8"))
        except (SyntaxError, RecursionError, MemoryError) as error:
            raise DamagedFileError(f"{archive.path}: {name} is unreadable: {error}") from error
    return sources


class _Global(NamedTuple):
    """Something that a pickle calls by its name; nothing is imported for it."""

    name: str


class _Mark:
    """Where a run of items begins on the stack."""


def _unpickle(archive: Archive, stored: StoredTensors, which: str) -> Any:
    steps = archive.read(f"{which}.pkl", limit=MAX_PICKLE_BYTES)
    machine = _Machine(archive.path, stored, which)
    try:
        for number, (step, argument, _) in enumerate(pickletools.genops(steps)):
            if number > MAX_PICKLE_STEPS:
                raise refusal(
                    "pickle size", f"{archive.path}: {which}.pkl has more than {MAX_PICKLE_STEPS} steps"
                )
            machine.follow(step.name, argument)
        return machine.result()
    except (ValueError, EOFError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFileError(f"{archive.path}: {which}.pkl is unreadable: {error!r}") from error


class _Machine:
    """Follows a pickle's instructions, as far as they make plain values, tensors and objects of the file's types."""

    def __init__(self, path: Path, stored: StoredTensors, which: str) -> None:
        self._path, self._stored, self._which = path, stored, which
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._makers: dict[str, Callable[[tuple[Any, ...]], Any]] = {
            "collections OrderedDict": lambda arguments: {},
            "torch._utils _rebuild_tensor_v2": self._tensor,
            "torch.jit._pickle build_intlist": lambda arguments: arguments[0],
            "torch.jit._pickle build_doublelist": lambda arguments: arguments[0],
            "torch.jit._pickle build_boollist": lambda arguments: arguments[0],
            "torch.jit._pickle build_tensorlist": lambda arguments: arguments[0],
            "torch.jit._pickle restore_type_tag": lambda arguments: arguments[0],
        }

    def result(self) -> Any:
        """What is left on the stack at the end."""
        (value,) = self._stack
        return value

    def follow(self, step: str, argument: Any) -> None:
        """Carry out one instruction.

        Raises:
            UntrustedFileError: it is none of those known, or names something to call.
        """
        stack = self._stack
        match step:
            case "PROTO" | "STOP":
                pass
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[step])
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE":
                stack.append(argument)
            case "MARK":
                stack.append(_Mark())
            case "EMPTY_TUPLE" | "EMPTY_LIST" | "EMPTY_DICT":
                stack.append({"EMPTY_TUPLE": (), "EMPTY_LIST": [], "EMPTY_DICT": {}}[step])
            case "TUPLE":
                stack.append(tuple(self._since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(step[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "APPEND" | "APPENDS":
                items = self._since_mark() if step == "APPENDS" else [stack.pop()]
                _expect(stack[-1], list).extend(items)
            case "SETITEM" | "SETITEMS":
                items = self._since_mark() if step == "SETITEMS" else [stack.pop(-2), stack.pop()]
                keys = [_expect(key, str) for key in items[::2]]
                _expect(stack[-1], dict).update(zip(keys, items[1::2], strict=True))
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "GLOBAL":
                stack.append(self._global(str(argument)))
            case "NEWOBJ":
                arguments, kind = stack.pop(), _expect(stack.pop(), _Global)
                if arguments != () or not kind.name.startswith("__torch__"):
                    raise refusal("no code", f"{self._path}: {self._which}.pkl makes a {kind.name[:80]!r}")
                stack.append(ScriptObject(kind.name.replace(" ", ".")))
            case "BUILD":
                state = stack.pop()
                _expect(stack[-1], ScriptObject).attributes = _expect(state, dict)
            case "REDUCE":
                arguments, kind = stack.pop(), _expect(stack.pop(), _Global)
                if kind.name not in self._makers:
                    raise refusal("no code", f"{self._path}: {self._which}.pkl calls {kind.name[:80]!r}")
                stack.append(self._makers[kind.name](_expect(arguments, tuple)))
            case "BINPERSID":
                stack.append(_Storage.named(stack.pop()))
            case _:
                raise refusal(
                    "plain pickle", f"{self._path}: {self._which}.pkl uses {step}; torch.jit.save never does"
                )

    def _global(self, name: str) -> _Global:
        storage = name.removeprefix("torch ")
        if not (name.startswith("__torch__") or name in self._makers or storage in _STORAGES):
            raise refusal(
                "no code",
                f"{self._path}: {self._which}.pkl asks for {name.replace(' ', '.')[:80]}, which is neither a tensor nor "
                "a type of the file, and might run a program",
            )
        return _Global(name)

    def _since_mark(self) -> list[Any]:
        for index in range(len(self._stack) - 1, -1, -1):
            if isinstance(self._stack[index], _Mark):
                items = self._stack[index + 1 :]
                del self._stack[index:]
                return items
        raise IndexError("no mark")

    def _tensor(self, arguments: tuple[Any, ...]) -> ScriptTensor:
        import torch

        storage, offset, size, stride, trainable = arguments[:5]
        _expect(storage, _Storage)
        numbers = [_expect(number, int) for number in (offset, *size, *stride)]
        tensor = self._stored.tensor(
            f"{self._which}/{storage.key}",
            getattr(torch, storage.dtype),
            tuple(numbers[1 : 1 + len(size)]),
            tuple(numbers[1 + len(size) :]),
            numbers[0],
        )
        return ScriptTensor(tensor, _expect(trainable, bool))


class _Storage(NamedTuple):
    """The member that holds a tensor's numbers, and their type."""

    key: str
    dtype: str

    @classmethod
    def named(cls, identifier: Any) -> _Storage:
        """From ("storage", its type, its key, device, number of entries)."""
        what, kind, key, _, _ = _expect(identifier, tuple)
        if what != "storage" or not re.fullmatch("[0-9]+", _expect(key, str), re.ASCII):
            raise ValueError("a storage without a number")
        return cls(key, _STORAGES[_expect(kind, _Global).name.removeprefix("torch ")])


def _expect(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
    return value
