"""Classes of one kind, found by name: what `load`, the command line and the documents list them from."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Generic, TypeVar

from bilinear.errors import ParameterValueError

Kind = TypeVar("Kind")
Added = TypeVar("Added")


class Registry(Generic[Kind]):
    """The classes of one kind, by name, in the order they were added.

    Args:
        kind: What its classes are, in the singular; messages use it.

    Examples:
        >>> shapes = Registry[object]("shape")
        >>> @shapes.add
        ... class Circle:
        ...     pass
        >>> list(shapes), shapes.get("Circle") is Circle
        (['Circle'], True)
        >>> shapes.get("Circel")
        Traceback (most recent call last):
        bilinear.errors.ParameterValueError: unknown shape 'Circel'; did you mean 'Circle'? Known: Circle
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._classes: dict[str, type[Kind]] = {}

    def add(self, cls: type[Added], name: str | None = None) -> type[Added]:
        """Adds a class and returns it, so that `@registry.add` decorates it.

        A class that is defined again, as by running a notebook cell twice, replaces its older self.

        Args:
            cls: The class.
            name: What it is found by; by default the name of the class.

        Returns:
            `cls`.

        Raises:
            ParameterValueError: Another class has this name.
        """
        name = cls.__name__ if name is None else name
        known = self._classes.get(name)
        if known is not None and _origin(known) != _origin(cls):
            raise ParameterValueError(
                f"{self.kind} {name!r}: expected a name of its own for {'.'.join(_origin(cls))}, but "
                f"{'.'.join(_origin(known))} has it; choose another name"
            )
        self._classes[name] = cls  # type: ignore[assignment]
        return cls

    def get(self, name: str) -> type[Kind]:
        """The class of a name.

        Args:
            name: As it was added.

        Returns:
            The class.

        Raises:
            ParameterValueError: No class has this name; the message lists the names, the nearest first.
        """
        if name not in self._classes:
            near = get_close_matches(str(name), self._classes, 1)
            hint = f"did you mean {near[0]!r}? Known: " if near else "known: "
            raise ParameterValueError(f"unknown {self.kind} {name!r}; {hint}{', '.join(self) or 'none'}")
        return self._classes[name]

    def discard(self, name: str) -> None:
        """Removes a name, if it is there."""
        self._classes.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __contains__(self, name: object) -> bool:
        return name in self._classes

    def __len__(self) -> int:
        return len(self._classes)

    def __repr__(self) -> str:
        return f"<registry of {self.kind}: {', '.join(self) or 'empty'}>"


def _origin(cls: type) -> tuple[str, str]:
    return cls.__module__, cls.__qualname__
