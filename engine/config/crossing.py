"""What is wrong between settings, told although some single settings cannot be used.

A settings class compares its settings only once each of them is right. Here those that are not are left unknown: a
comparison that needs one of them says nothing, every other one says what it finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from pydantic import ValidationError

from engine.config.axes import Keys, model_of
from engine.config.base import Settings, parse_ratio
from engine.config.kinds import Kind, kind_of
from engine.config.run import RunConfig
from engine.config.study import problems_of
from engine.errors import Problem


class _NeedsUnknownError(Exception):
    """A comparison looked at a setting that is unknown."""


class _Unknown:
    """Stands for a setting that cannot be used; whoever looks at it is told so."""

    def _refuse(self, *_others: object) -> NoReturn:
        raise _NeedsUnknownError

    __bool__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __hash__ = __len__ = __iter__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __mod__ = __neg__ = __float__ = __int__ = __index__ = __str__ = __format__ = __getattr__ = _refuse


def problems_beside(table: Mapping[str, Any], error: ValidationError) -> list[Problem]:
    """The problems between settings of a run that its validation could not come to.

    Args:
        table: the settings of the run.
        error: why they cannot be used.
    """
    wrong = {tuple(str(key) for key in item["loc"]) for item in error.errors(include_url=False)}
    found: list[Problem] = []
    _known(RunConfig, table, (), wrong, found)
    told = set(problems_of(error))
    return [problem for problem in dict.fromkeys(found) if problem not in told]


def _known(
    model: type[Settings], table: Mapping[str, Any], at: Keys, wrong: set[Keys], found: list[Problem]
) -> Any:
    """The settings of a table with those left unknown that are wrong; what its comparisons find is added to `found`.

    Unknown as a whole if its comparisons refuse it, since others that look at it would only repeat that.
    """
    given = {**model.defaults(table), **table}
    parts: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        path = (*at, name)
        value = given[name] if name in given else info.get_default(call_default_factory=True)
        inner = model_of(info)
        if inner is not None and isinstance(value, Mapping):
            parts[name] = _known(inner, value, path, wrong, found)
        elif any(other[: len(path)] == path for other in wrong):
            parts[name] = _Unknown()
        else:
            parts[name] = _read(value, kind_of(info))
    if not any(other[: len(at)] == at for other in wrong):
        return model.model_construct(**parts)
    problems: list[Problem] = []
    try:
        model.model_validate(model.model_construct(**parts))
    except ValidationError as error:
        problems = problems_of(error)
    except _NeedsUnknownError:
        pass
    found += [Problem(".".join([*at, problem.place]), problem.message) for problem in problems]
    return _Unknown() if problems or at in wrong else model.model_construct(**parts)


def _read(value: Any, kind: Kind) -> Any:
    """A setting that is right as its class would have it: ratios as numbers."""
    if kind == "ratio":
        return parse_ratio(value)
    if kind == "numbers" and isinstance(value, list):
        return [parse_ratio(item) for item in value]
    return value
