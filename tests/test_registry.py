from __future__ import annotations

from collections.abc import Callable

import pytest

from engine.errors import CartlError, ConfigError
from engine.registry import Registry


@pytest.fixture
def shapes() -> Registry[Callable[[], int]]:
    registry: Registry[Callable[[], int]] = Registry("shape")

    @registry.register("triangle", title="Triangle", source="Euclid, Elements I")
    def triangle() -> int:
        return 3

    @registry.register("line")
    def line() -> int:
        return 2

    return registry


def test_that_a_registered_part_is_found_by_its_name_with_title_and_source(shapes):
    entry = shapes.entry("triangle")
    assert (entry.name, entry.title, entry.source) == ("triangle", "Triangle", "Euclid, Elements I")
    assert shapes["triangle"]() == entry.value() == 3


def test_that_the_name_is_the_title_where_none_is_given(shapes):
    assert shapes.entry("line").title == "line"


def test_that_iteration_follows_the_order_of_registration(shapes):
    assert shapes.names == ("triangle", "line") == tuple(entry.name for entry in shapes)
    assert len(shapes) == 2


def test_that_an_unknown_name_is_refused_with_the_valid_names(shapes):
    with pytest.raises(ConfigError, match=r"no shape named 'cube'.*triangle, line") as caught:
        shapes["cube"]
    assert isinstance(caught.value, CartlError)
    assert caught.value.problems[0].place == "shape"
    assert "cube" not in shapes and "line" in shapes


def test_that_an_empty_registry_says_so():
    with pytest.raises(ConfigError, match="none yet"):
        Registry("probe").entry("x")


def test_that_a_name_is_given_only_once(shapes):
    with pytest.raises(ValueError, match="already a shape named 'line'"):
        shapes.register("line")(lambda: 4)
    assert shapes["line"]() == 2


def test_that_the_decorator_hands_back_what_it_registers():
    registry: Registry[type] = Registry("class")

    @registry.register("thing")
    class Thing:
        pass

    assert registry["thing"] is Thing
