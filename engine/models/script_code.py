"""The code of a TorchScript model: what may be called in it, and a check of all of it before any is carried out."""

from __future__ import annotations

import ast
import math
import operator as python
from collections.abc import Callable, Iterator
from typing import Any

import torch

from engine.models.operators import OPERATORS, refused
from engine.store.archives import refusal

#: Constructs that are carried out.
_KNOWN = frozenset(
    (
        ast.AnnAssign, ast.Assign, ast.Attribute, ast.Call, ast.Constant, ast.Expr, ast.For, ast.If, ast.List, ast.Load,
        ast.Name, ast.Pass, ast.Return, ast.Store, ast.Subscript, ast.Tuple, ast.UnaryOp, ast.USub, ast.While,
        ast.keyword,
    )
)  # fmt: skip
#: Codes of types of numbers, which the code knows only as numbers. Source: c10/core/ScalarType.h.
_TYPE_CODES = {
    torch.uint8: 0, torch.int8: 1, torch.int16: 2, torch.int32: 3, torch.int64: 4, torch.float16: 5,
    torch.float32: 6, torch.float64: 7, torch.bool: 11, torch.bfloat16: 15,
}  # fmt: skip
_TYPES = {code: dtype for dtype, code in _TYPE_CODES.items()}


def _tensor(
    data: Any, dtype: int | None = None, device: torch.device | None = None, requires_grad: bool = False
) -> torch.Tensor:
    return torch.tensor(data, dtype=None if dtype is None else _TYPES[dtype], device=device)


def _raise(message: object = "", *details: object) -> None:
    raise ValueError(f"the network itself refuses its input: {message}")


#: Operations on plain numbers under the names of those on tensors.
NUMBERS: dict[str, Callable[..., Any]] = {
    "add": python.add, "sub": python.sub, "mul": python.mul, "div": python.truediv, "floordiv": python.floordiv,
    "remainder": python.mod, "neg": python.neg, "lt": python.lt, "le": python.le, "gt": python.gt, "ge": python.ge,
    "__and__": python.and_, "__or__": python.or_, "__not__": python.not_, "floor": math.floor, "ceil": math.ceil,
    "sqrt": math.sqrt, "pow": math.pow, "abs": abs,
}  # fmt: skip
#: Operations on values of any kind.
VALUES: dict[str, Callable[..., Any]] = {
    "__is__": lambda one, other: one is other,
    "__isnot__": lambda one, other: one is not other,
    "len": lambda items: len(items),
    "append": lambda items, item: list.append(items, item),
    "_set_item": lambda items, index, item: list.__setitem__(items, index, item),
    "list": lambda items: list(items),
    "__getitem__": lambda items, index: items[index],
    "__contains__": lambda items, item: item in items,
    "tensor": _tensor,
    "format": lambda template, *values: template,
    "warn": lambda *arguments, **keywords: None,
}
#: Operations on lists under the names of those on tensors.
LISTS: dict[str, Callable[..., Any]] = {
    "copy": lambda items: list(items),
    "slice": lambda items, start=None, end=None, step=1: items[start:end:step],
}
PRIMITIVES: dict[str, Callable[..., Any]] = {
    "NumToTensor": torch.tensor,
    "RaiseException": _raise,
    "dtype": lambda tensor: _TYPE_CODES[tensor.dtype],
    "device": lambda tensor: tensor.device,
    "layout": lambda tensor: 0,
    "requires_grad": lambda tensor: tensor.requires_grad,
    "min": min,
    "max": max,
    "unchecked_unwrap_optional": lambda value: value,
}
_WORDS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
#: Functions that go by a plain name; those with a type as first argument only say what the second one is.
BUILTINS: dict[str, Callable[..., Any]] = {
    "int": int,
    "float": lambda value: _WORDS[value] if isinstance(value, str) else float(value),
    "bool": bool,
}
TYPED = ("annotate", "unchecked_cast", "uninitialized")


class Code:
    """The functions and methods of a model, each construct and each name checked before any is carried out."""

    def __init__(self, sources: dict[str, ast.Module]) -> None:
        self.functions: dict[str, ast.FunctionDef] = {}
        for place, tree in sources.items():
            for node in tree.body:
                if isinstance(node, ast.FunctionDef):
                    self._add(f"{place}.{node.name}", node)
                elif isinstance(node, ast.ClassDef):
                    for method in node.body:
                        if isinstance(method, ast.FunctionDef):
                            self._add(f"{place}.{node.name}.{method.name}", method)

    def _add(self, name: str, function: ast.FunctionDef) -> None:
        own = {
            node.id
            for node in ast.walk(function)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        for node in _carried_out(function):
            if type(node) not in _KNOWN:
                raise refusal(
                    "known constructs",
                    f"the code of {name} uses {type(node).__name__}, which is not carried out here; if the network is "
                    "yours, save it with torch.export.save instead",
                )
            if isinstance(node, ast.Call):
                _check_called(node.func, own)
        self.functions[name] = function


def _carried_out(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """Every node of a function but types, which nothing is done with."""
    stack: list[ast.AST] = [*function.body, *function.args.defaults]
    while stack:
        node = stack.pop()
        yield node
        parts = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.AnnAssign):
            parts = [part for part in parts if part is not node.annotation]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in TYPED:
            parts = node.args[1:]  # type: ignore[assignment]
        stack += parts


def _check_called(called: ast.expr, own: set[str]) -> None:
    name = dotted_name(called)
    first, _, rest = name.partition(".")
    allowed = (
        rest in OPERATORS or rest in NUMBERS or rest in VALUES or rest in ("device", "eq", "ne")
        if first == "torch"
        else rest.removeprefix("prim.") in PRIMITIVES and rest.startswith("prim.")
        if first == "ops"
        else name in BUILTINS or name in (*TYPED, "getattr", "range") or name in own
        if name and not rest
        else True
    )
    if not allowed:
        raise refused(name)


def dotted_name(node: ast.expr) -> str:
    """The dotted name that an expression is, "" if it is none."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""
