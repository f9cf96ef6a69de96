"""The registry: names in order, nearest names in messages, no silent replacement."""

from __future__ import annotations

import pytest

from bilinear.errors import ParameterValueError
from bilinear.registry import Registry


@pytest.fixture
def registry() -> Registry[object]:
    registry = Registry[object]("shape")

    @registry.add
    class Square:
        pass

    @registry.add
    class Circle:
        pass

    return registry


def test_names_are_in_the_order_of_addition(registry: Registry[object]) -> None:
    assert list(registry) == ["Square", "Circle"]
    assert len(registry) == 2
    assert "Circle" in registry
    assert registry.get("Square").__name__ == "Square"
    assert repr(registry) == "<registry of shape: Square, Circle>"


def test_a_name_may_differ_from_that_of_the_class(registry: Registry[object]) -> None:
    class RoundedBox:
        pass

    assert registry.add(RoundedBox, name="rounded-box") is RoundedBox
    assert registry.get("rounded-box") is RoundedBox
    assert "RoundedBox" not in registry


def test_an_unknown_name_lists_the_known_ones_and_the_nearest(registry: Registry[object]) -> None:
    with pytest.raises(
        ParameterValueError,
        match="unknown shape 'Sqare'; did you mean 'Square'\\? Known: Square, Circle",
    ):
        registry.get("Sqare")
    with pytest.raises(ParameterValueError, match="unknown shape 'x'; known: Square, Circle"):
        registry.get("x")
    with pytest.raises(ParameterValueError, match="known: none"):
        Registry[object]("colour").get("red")


def test_two_classes_cannot_share_a_name(registry: Registry[object]) -> None:
    class Other:
        pass

    with pytest.raises(ParameterValueError, match=r"shape 'Circle': expected a name of its own .*Other"):
        registry.add(Other, name="Circle")
    assert registry.get("Circle").__name__ == "Circle"


def test_a_class_that_is_defined_again_replaces_itself() -> None:
    registry = Registry[object]("shape")
    made = []
    for _ in range(2):

        @registry.add
        class Triangle:
            pass

        made.append(Triangle)
    assert registry.get("Triangle") is made[1]
    assert list(registry) == ["Triangle"]


def test_a_discarded_name_is_gone(registry: Registry[object]) -> None:
    registry.discard("Square")
    registry.discard("Square")
    assert list(registry) == ["Circle"]
