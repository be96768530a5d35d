"""A network from a TorchScript model, whose methods are carried out here rather than by torch.jit.

The code of such a model is written in a small part of Python's syntax. Its syntax tree is followed step by step:
modules call each other's methods, `torch.name(...)` stands for an operation of `torch.ops.aten`, and numbers and
lists are computed with in between. Nothing else can be reached from it: no attribute of a Python object, no
import, no file.

Source: torch/csrc/jit/docs/serialization.md of PyTorch, which documents the code.
"""

from __future__ import annotations

import ast
import operator as python
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from engine.errors import CheckpointError
from engine.models.operators import arithmetic, operator, refused, require_evaluation_mode
from engine.models.programs import ProgramNetwork, register
from engine.models.script_code import BUILTINS, LISTS, NUMBERS, PRIMITIVES, TYPED, VALUES, Code, dotted_name
from engine.store.torchscript import ScriptObject, ScriptProgram, ScriptTensor

#: Most statements of one pass.
MAX_STATEMENTS = 1_000_000
MAX_DEPTH = 100


class _Function(NamedTuple):
    """A function of the code."""

    name: str


class _Returned(NamedTuple):
    """Says that a function has ended, and with what."""

    value: Any


class _Module(nn.Module):
    """A module of the model: its tensors and modules as torch keeps them, plain values in `script_values`."""

    def __init__(self, script_type: str) -> None:
        super().__init__()
        self.script_type = script_type
        self.script_values: dict[str, Any] = {}


class ScriptNetwork(ProgramNetwork):
    """The network of a TorchScript model.

    Args:
        path: the file, for messages.
        program: what it holds.

    Raises:
        UntrustedFileError: its code asks for something else than tensor algebra.
        CheckpointError: its code uses what is not carried out here.
    """

    def __init__(self, path: Path, program: ScriptProgram) -> None:
        super().__init__(path, torch.float32)
        try:
            self.model = _module(program.root, {}, ())
            self.constants = nn.Module()
            for number, constant in enumerate(program.constants):
                register(self.constants, f"c{number}", constant.tensor, parameter=False)
            self._code = Code(program.sources)
        except CheckpointError as error:
            raise CheckpointError(f"{path} cannot be used: {error}") from error
        tensors = (*self.model.parameters(), *self.constants.buffers())
        self.dtype = next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.float32)

    @property
    def title(self) -> str:
        """The name of the network's class."""
        return self.model.script_type.rpartition(".")[2]

    def run(self, images: Tensor) -> object:
        """See `ProgramNetwork.run`."""
        return _Interpreter(self._code, self.constants, images.device).method(
            self.model, "forward", [images], {}
        )


def _module(item: ScriptObject, made: dict[int, _Module], above: tuple[int, ...]) -> _Module:
    """A module and all below it; one that is in several places is made once."""
    if id(item) in above or len(above) > MAX_DEPTH:
        raise CheckpointError("its modules contain one another")
    if id(item) in made:
        return made[id(item)]
    module = made[id(item)] = _Module(item.type_name)
    for name, value in item.attributes.items():
        if isinstance(value, ScriptTensor):
            register(module, name, value.tensor, parameter=value.trainable)
        elif isinstance(value, ScriptObject):
            try:
                module.add_module(name, _module(value, made, (*above, id(item))))
            except (KeyError, TypeError) as error:
                raise CheckpointError(f"a module has an unusable name: {name[:80]!r}") from error
        elif name != "training":
            module.script_values[name] = value
    return module


class _Interpreter:
    """Carries out one pass.

    Args:
        code: the model's functions.
        constants: tensors that they mention.
        device: where the images are; taken for every device that the code names.
    """

    def __init__(self, code: Code, constants: nn.Module, device: torch.device) -> None:
        self._code, self._constants, self._device = code, constants, device
        self._left = MAX_STATEMENTS

    def method(self, module: _Module, name: str, arguments: list[Any], keywords: dict[str, Any]) -> Any:
        """What a module's method gives."""
        return self._call(f"{module.script_type}.{name}", [module, *arguments], keywords)

    def _call(self, name: str, arguments: list[Any], keywords: dict[str, Any]) -> Any:
        function = self._code.functions.get(name)
        if function is None:
            raise refused(name)
        names = [parameter.arg for parameter in function.args.args]
        defaults = function.args.defaults
        frame = {
            key: self._value(value, {})
            for key, value in zip(names[len(names) - len(defaults) :], defaults, strict=True)
        }
        frame |= dict(zip(names[: len(arguments)], arguments, strict=True)) | keywords
        if frame.keys() != set(names):
            raise TypeError(f"{name} takes {', '.join(names[1:])}")
        ended = self._block(function.body, frame)
        return ended.value if ended is not None else None

    def _block(self, statements: list[ast.stmt], frame: dict[str, Any]) -> _Returned | None:
        for statement in statements:
            self._left -= 1
            if self._left < 0:
                raise ValueError(f"one pass takes more than {MAX_STATEMENTS} statements")
            ended = self._statement(statement, frame)
            if ended is not None:
                return ended
        return None

    def _statement(self, node: ast.stmt, frame: dict[str, Any]) -> _Returned | None:
        match node:
            case ast.Assign(targets=[target], value=value):
                self._assign(target, self._value(value, frame), frame)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._assign(target, self._value(value, frame), frame)
            case ast.Expr(value=value):
                self._value(value, frame)
            case ast.Return(value=returned):
                return _Returned(None if returned is None else self._value(returned, frame))
            case ast.If(test=test, body=body, orelse=otherwise):
                return self._block(body if self._value(test, frame) else otherwise, frame)
            case ast.For(target=target, iter=ast.Call(func=ast.Name(id="range"), args=limits), body=body):
                for index in range(*(self._value(limit, frame) for limit in limits)):
                    self._assign(target, index, frame)
                    ended = self._block(body, frame)
                    if ended is not None:
                        return ended
            case ast.While(test=test, body=body):
                while self._value(test, frame):
                    ended = self._block(body, frame)
                    if ended is not None:
                        return ended
            case ast.Pass():
                pass
            case _:
                raise ValueError(f"a {type(node).__name__} of this kind is not carried out")
        return None

    def _assign(self, target: ast.expr, value: Any, frame: dict[str, Any]) -> None:
        match target:
            case ast.Name(id=name):
                frame[name] = value
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                for part, item in zip(parts, value, strict=True):
                    self._assign(part, item, frame)
            case _:
                raise ValueError("the network changes itself while it runs")

    def _value(self, node: ast.expr, frame: dict[str, Any]) -> Any:
        match node:
            case ast.Name(id=name):
                return frame[name]
            case ast.Constant(value=constant):
                return constant
            case ast.Call():
                return self._called(node, frame)
            case ast.Attribute(value=ast.Name(id="CONSTANTS"), attr=name):
                return self._constants.get_buffer(name)
            case ast.Attribute(value=owner, attr=name):
                dotted = dotted_name(node)
                if dotted.startswith("__torch__."):
                    return _Function(dotted)
                return _attribute(self._value(owner, frame), name)
            case ast.Tuple(elts=parts):
                return tuple(self._value(part, frame) for part in parts)
            case ast.List(elts=parts):
                return [self._value(part, frame) for part in parts]
            case ast.Subscript(value=owner, slice=index):
                items, place = self._value(owner, frame), self._value(index, frame)
                if not isinstance(items, list | tuple) or type(place) is not int:
                    raise TypeError("only lists and tuples have numbered entries")
                return items[place]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return arithmetic(python.neg, self._value(operand, frame))
            case _:
                raise ValueError(f"a {type(node).__name__} of this kind is not carried out")

    def _called(self, node: ast.Call, frame: dict[str, Any]) -> Any:
        name = dotted_name(node.func)
        if name in TYPED:
            return self._value(node.args[1], frame) if len(node.args) > 1 else None
        arguments = [self._value(argument, frame) for argument in node.args]
        keywords = {str(item.arg): self._value(item.value, frame) for item in node.keywords}
        first, _, rest = name.partition(".")
        if name == "getattr":
            owner, attribute = arguments
            return _attribute(owner, attribute)
        if first == "torch":
            return self._operation(rest, arguments, keywords)
        if first == "ops":
            return PRIMITIVES[rest.removeprefix("prim.")](*arguments)
        if first == "__torch__":
            return self._call(name, arguments, keywords)
        if isinstance(node.func, ast.Name):
            function = frame.get(name)
            if isinstance(function, _Function):
                return self._call(function.name, arguments, keywords)
            if name not in BUILTINS:
                raise refused(name)
            return BUILTINS[name](*arguments)
        if not isinstance(node.func, ast.Attribute):
            raise ValueError("only functions and methods can be called")
        owner = self._value(node.func.value, frame)
        if not isinstance(owner, _Module):
            raise refused(node.func.attr)
        return self.method(owner, node.func.attr, arguments, keywords)

    def _operation(self, name: str, arguments: list[Any], keywords: dict[str, Any]) -> Any:
        if name == "device":
            return self._device
        if name in VALUES:
            return VALUES[name](*arguments, **keywords)
        if not any(isinstance(argument, Tensor) for argument in arguments):
            if name in ("eq", "ne"):
                one, other = arguments
                return (one == other) is (name == "eq")
            if name in LISTS:
                return LISTS[name](*arguments)
            if name in NUMBERS:
                return arithmetic(NUMBERS[name], *arguments)
        function = operator(name)
        require_evaluation_mode(name, arguments, keywords)
        return function(*arguments, **keywords)


def _attribute(owner: Any, name: str) -> Any:
    """An attribute of a module; nothing else has any."""
    if not isinstance(owner, _Module):
        raise refused(name)
    if name == "training":
        return owner.training
    for table in (owner._parameters, owner._buffers, owner._modules, owner.script_values):
        if name in table:
            return table[name]
    raise AttributeError(f"{owner.script_type} has no {name}")
