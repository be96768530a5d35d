"""A network from an exported program (`.pt2`), whose graph is carried out here rather than by torch.export.

Each node of the graph names an operation of `torch.ops.aten`; only those of `engine.models.operators` and arithmetic
on sizes are let through. Expressions for unknown sizes are not evaluated: sizes come from the tensors themselves.

Source: torch/_export/serde/schema.py of PyTorch, which documents the graph.
"""

from __future__ import annotations

import math
import operator as python
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from engine.errors import CheckpointError, DamagedFileError
from engine.models.operators import arithmetic, operator, refused, require_evaluation_mode
from engine.models.programs import ProgramNetwork, register
from engine.store.exported import SCALAR_TYPES, ExportedProgram

#: Arithmetic on sizes.
_SIZES: dict[str, Callable[..., Any]] = {
    "_operator.add": python.add, "_operator.sub": python.sub, "_operator.mul": python.mul,
    "_operator.floordiv": python.floordiv, "_operator.truediv": python.truediv, "_operator.mod": python.mod,
    "_operator.neg": python.neg, "_operator.eq": python.eq, "_operator.ne": python.ne, "_operator.lt": python.lt,
    "_operator.le": python.le, "_operator.gt": python.gt, "_operator.ge": python.ge, "_operator.and_": python.and_,
    "_operator.or_": python.or_, "_operator.not_": python.not_,
    "torch.sym_int": int, "torch.sym_float": float, "torch.sym_not": python.not_, "torch.sym_max": max,
    "torch.sym_min": min,
}  # fmt: skip
#: Nodes that only check what the export assumed.
_CHECKS = re.compile(
    r"torch\.ops\.aten\.(_assert_\w+|sym_constrain_range\w*)\.\w+|torch\._check\w*", re.ASCII
)
_ATEN = re.compile(r"torch\.ops\.aten\.([A-Za-z0-9_]+)\.([A-Za-z0-9_]+)", re.ASCII)
_PART = re.compile(r"[A-Za-z0-9_]+", re.ASCII)
_MEMORY_FORMATS = {
    1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d, 4: torch.preserve_format
}  # fmt: skip
_STRIDED = 7
_WORDS = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}
_DTYPES = {code: getattr(torch, name) for code, name in SCALAR_TYPES.items()}


class _Value(NamedTuple):
    """Stands for what an earlier node gave."""

    name: str


class _Device(NamedTuple):
    """Stands for the device that the images are on."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One node: what is called with what, where its results go, and which values nobody needs after it."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    outputs: tuple[Any, ...]
    finished: tuple[str, ...]


class ExportedNetwork(ProgramNetwork):
    """The network of an exported program.

    Args:
        path: the file, for messages.
        program: what it holds.

    Attributes:
        batch_size: the only number of images that it takes at once, None if any; others are split and padded.
        num_classes: K, None if only a pass can tell.

    Raises:
        UntrustedFileError: it asks for something else than tensor algebra.
        CheckpointError: it is no classifier of images, or was exported in training mode.
        DamagedFileError: its graph is not as torch writes it.
    """

    def __init__(self, path: Path, program: ExportedProgram) -> None:
        super().__init__(path, torch.float32)
        self.weights = nn.Module()
        try:
            self._connect(program)
            self._steps = _compiled(program.graph["nodes"], self._output)
        except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
            raise DamagedFileError(f"{path}: its graph is not as torch writes it: {error!r}") from error

    def _connect(self, program: ExportedProgram) -> None:
        """Find the input and the output among those of the graph, and keep the tensors."""
        self._tensors: list[tuple[str, nn.Module, str]] = []
        inputs = []
        for spec in program.signature["input_specs"]:
            ((kind, entry),) = spec.items()
            if kind == "user_input":
                inputs.append(entry["arg"]["as_tensor"]["name"])
            elif kind in ("parameter", "buffer", "tensor_constant"):
                name = entry[f"{kind}_name"]
                owner, leaf = self._place(name, program)
                self._tensors.append((entry["arg"]["name"], owner, leaf))
            elif kind != "constant_input":
                raise CheckpointError(f"{self.path} takes a {kind} as input; expected images alone")
        outputs = []
        for spec in program.signature["output_specs"]:
            ((kind, entry),) = spec.items()
            if kind == "user_output":
                outputs.append(entry["arg"]["as_tensor"]["name"])
            else:
                raise CheckpointError(
                    f"{self.path} changes its own state whenever it runs ({kind}); call eval() on the network and "
                    "export it again"
                )
        if len(inputs) != 1 or len(outputs) != 1:
            raise CheckpointError(
                f"{self.path} takes {len(inputs)} inputs and gives {len(outputs)} outputs; expected images alone, and "
                "logits alone"
            )
        (self._input,), (self._output,) = inputs, outputs
        values = program.graph["tensor_values"]
        self._size = tuple(size.get("as_int") for size in values[self._input]["sizes"])
        logits = tuple(size.get("as_int") for size in values[self._output]["sizes"])
        if len(self._size) != 4 or self._size[1] not in (3, None) or len(logits) != 2:
            raise CheckpointError(
                f"{self.path} takes {_shown(self._size)} and gives {_shown(logits)}; expected images [B, 3, H, W] and "
                "logits [B, K]"
            )
        self.dtype = _DTYPES[values[self._input]["dtype"]]
        if not self.dtype.is_floating_point:
            raise CheckpointError(
                f"{self.path} takes images of type {str(self.dtype).removeprefix('torch.')}; expected numbers in [0, 1]"
            )
        self.batch_size: int | None = self._size[0]
        self.num_classes: int | None = logits[1]

    def _place(self, name: str, program: ExportedProgram) -> tuple[nn.Module, str]:
        """The module and the name under which a tensor is kept, as in the network that was exported."""
        owner = self.weights
        *path, leaf = name.split(".")
        if not all(_PART.fullmatch(part) for part in (*path, leaf)):
            raise CheckpointError(f"{self.path}: a tensor has the unusable name {name[:80]!r}")
        for part in path:
            inner = owner._modules.get(part)
            if inner is None:
                inner = nn.Module()
                owner.add_module(part, inner)
            owner = inner
        if leaf not in owner._parameters and leaf not in owner._buffers:
            register(owner, leaf, program.tensors[name], parameter=name in program.parameters)
        return owner, leaf

    def run(self, images: Tensor) -> object:
        """See `ProgramNetwork.run`; a program for a fixed number of images gets them in such parts, the last filled up."""
        wanted = (self._size[0] and len(images), *self._size[1:])
        if any(size not in (None, got) for size, got in zip(wanted, images.shape, strict=True)):
            raise CheckpointError(
                f"{self.path} was exported for images {_shown(self._size[1:])}, got "
                f"{tuple(images.shape[1:])}; set the image size to that of the program"
            )
        if self.batch_size is None:
            return self._once(images)
        logits = []
        for part in torch.split(images, self.batch_size):
            missing = self.batch_size - len(part)
            filled = torch.cat([part, part[-1:].expand(missing, -1, -1, -1)]) if missing else part
            logits.append(self._once(filled)[: len(part)])
        return torch.cat(logits)

    def _once(self, images: Tensor) -> Tensor:
        values: dict[str, Any] = {name: getattr(owner, leaf) for name, owner, leaf in self._tensors}
        values[self._input] = images
        for step in self._steps:
            result = step.function(
                *(_resolved(argument, values, images.device) for argument in step.arguments),
                **{key: _resolved(value, values, images.device) for key, value in step.keywords.items()},
            )
            _bind(step.outputs, result, values)
            for name in step.finished:
                values.pop(name, None)
        logits: Tensor = values[self._output]
        return logits


def _compiled(nodes: list[dict[str, Any]], output: str) -> tuple[_Step, ...]:
    """The nodes as steps, each with the values whose last use it is."""
    steps: list[_Step] = []
    used = {output}
    for node in reversed(nodes):
        target = node["target"]
        if _CHECKS.fullmatch(target):
            continue
        function = _function(target)
        arguments, keywords = [], {}
        for entry in node["inputs"]:
            value = _argument(entry["arg"])
            if _by_name(entry, function):
                keywords[str(entry["name"])] = value
            else:
                arguments.append(value)
        outputs = tuple(_output(entry) for entry in node["outputs"])
        require_evaluation_mode(target.split(".")[-2], arguments, keywords)
        named = set(_names([arguments, list(keywords.values()), list(outputs)]))
        steps.append(_Step(function, tuple(arguments), keywords, outputs, tuple(named - used)))
        used |= named
    return tuple(reversed(steps))


def _function(target: str) -> Callable[..., Any]:
    if target in _SIZES:
        return partial(arithmetic, _SIZES[target])
    found = _ATEN.fullmatch(target)
    if found is None:
        raise refused(target)
    return operator(found[1], found[2])


def _by_name(entry: dict[str, Any], function: Callable[..., Any]) -> bool:
    """Whether an argument is given by its name; old files do not say so, but the operation does."""
    kind = entry.get("kind")
    if kind in (1, 2):
        return bool(kind == 2)
    schema = getattr(function, "_schema", None)
    return any(item.name == entry["name"] and item.kwarg_only for item in getattr(schema, "arguments", ()))


def _argument(union: dict[str, Any]) -> Any:
    """A value of the graph: a number, a text, a list, or what stands for an earlier result."""
    ((kind, value),) = union.items()
    convert = _ARGUMENTS.get(kind)
    if convert is None:
        raise refused(kind)
    return convert(value)


def _plain(value: Any) -> Any:
    """A number, a text, a truth value, or a list of them."""
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, int | float | str) for item in items):
        raise TypeError(f"expected plain values, got {value!r}")
    return value


def _float(value: Any) -> float:
    """A number, or the text for one that JSON does not have."""
    return _WORDS[value] if isinstance(value, str) else float(value)


def _number(union: dict[str, Any]) -> Any:
    """A number, or the name of an earlier one."""
    ((kind, value),) = union.items()
    if kind == "as_name":
        return _Value(str(value))
    return _float(value) if kind == "as_float" else _plain(value)


def _optional(union: dict[str, Any]) -> _Value | None:
    return _Value(str(union["as_tensor"]["name"])) if "as_tensor" in union else None


def _layout(code: int) -> torch.layout:
    if code != _STRIDED:
        raise refused("a sparse tensor")
    return torch.strided


#: How each kind of argument is read.
_ARGUMENTS: dict[str, Callable[[Any], Any]] = {
    "as_none": lambda value: None,
    "as_tensor": lambda value: _Value(str(value["name"])),
    "as_tensors": lambda value: [_Value(str(item["name"])) for item in value],
    "as_optional_tensor": _optional,
    "as_optional_tensors": lambda value: [_optional(item) for item in value],
    "as_sym_int": _number,
    "as_sym_float": _number,
    "as_sym_bool": _number,
    "as_sym_ints": lambda value: [_number(item) for item in value],
    "as_sym_floats": lambda value: [_number(item) for item in value],
    "as_float": _float,
    "as_floats": lambda value: [_float(item) for item in value],
    "as_scalar_type": lambda value: _DTYPES[value],
    "as_memory_format": lambda value: _MEMORY_FORMATS[value],
    "as_layout": _layout,
    "as_device": lambda value: _Device(),
} | dict.fromkeys(
    (
        "as_int", "as_ints", "as_bool", "as_bools", "as_string"
    ), _plain
)  # fmt: skip


def _output(union: dict[str, Any]) -> Any:
    """Where a result goes: a value, a list of them, or nowhere."""
    ((kind, value),) = union.items()
    return _argument(union) if kind.startswith(("as_tensor", "as_optional", "as_sym")) else None


def _names(item: Any) -> list[str]:
    if isinstance(item, _Value):
        return [item.name]
    return [name for part in item for name in _names(part)] if isinstance(item, list) else []


def _resolved(item: Any, values: dict[str, Any], device: torch.device) -> Any:
    if isinstance(item, _Value):
        return values[item.name]
    if isinstance(item, list):
        return [_resolved(part, values, device) for part in item]
    return device if isinstance(item, _Device) else item


def _bind(outputs: tuple[Any, ...], result: Any, values: dict[str, Any]) -> None:
    results = (result,) if len(outputs) == 1 else result
    for target, value in zip(outputs, results or (), strict=False):
        if isinstance(target, _Value):
            values[target.name] = value
        elif isinstance(target, list):
            _bind(tuple(target), value if len(target) != 1 else value[0], values)


def _shown(size: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("any" if length is None else str(length) for length in size) + "]"
