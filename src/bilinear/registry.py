"""Registry of classes by kind and name, which `load`, the command line and the documents read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from difflib import get_close_matches
from functools import wraps
from importlib import import_module
from inspect import Parameter, signature
from pkgutil import walk_packages
from typing import Any, Generic, TypeVar

from bilinear.errors import ParameterValueError

PLUGINS = "BILINEAR_PLUGINS"
"""Environment variable: modules with commas between, imported when a name is looked up that is not known."""

Kind = TypeVar("Kind")
Added = TypeVar("Added")


class Registry(Generic[Kind]):
    """The classes of one kind, by name, in the order they were added.

    Args:
        kind: What its classes are, in the singular; messages use it.
        packages: Whose modules add classes when they are imported. They are imported when all names are asked
            for, or a name is looked up that is not known yet and is not a public one of their root package,
            which imports the module of that name alone.

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

    def __init__(self, kind: str, *packages: str) -> None:
        self.kind = kind
        self._packages = list(packages)
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
        if name not in self:
            near = get_close_matches(str(name), self._classes, 1)
            hint = f"did you mean {near[0]!r}? Known: " if near else "known: "
            raise ParameterValueError(f"unknown {self.kind} {name!r}; {hint}{', '.join(self) or 'none'}")
        return self._classes[name]

    def has(self, cls: type[Any]) -> bool:
        """Whether `get` finds this very class by its name."""
        return self._classes.get(cls.__name__) is cls

    def subclasses(self, base: type[Added]) -> dict[str, type[Added]]:
        """The classes that derive from `base`, by name."""
        self.load()
        return {name: cls for name, cls in self._classes.items() if issubclass(cls, base)}

    def discard(self, name: str) -> None:
        """Removes a name, if it is there."""
        self._classes.pop(name, None)

    def load(self) -> None:
        """Imports the modules that add classes, and those that `BILINEAR_PLUGINS` names."""
        while self._packages:
            package = import_module(self._packages.pop())
            for module in walk_packages(package.__path__, f"{package.__name__}."):
                import_module(module.name)
        for name in filter(None, os.environ.get(PLUGINS, "").split(",")):
            import_plugin(name)

    def __iter__(self) -> Iterator[str]:
        self.load()
        return iter(self._classes)

    def __contains__(self, name: object) -> bool:
        if name not in self._classes and isinstance(name, str) and self._packages:
            with suppress(AttributeError):
                getattr(import_module(self._packages[0].partition(".")[0]), name)
        if name not in self._classes:
            self.load()
        return name in self._classes

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __repr__(self) -> str:
        return f"<registry of {self.kind}: {', '.join(self) or 'empty'}>"


CLASSES: Registry[Any] = Registry(
    "class",
    "bilinear.data.features",
    "bilinear.model",
    "bilinear.objective",
    "bilinear.training",
    "bilinear.estimators",
)
"""Models and the objects they are made of: losses, links, penalties, solvers, optimisers, schedules, ..."""


def import_plugin(name: str) -> None:
    """Imports a module that registers classes.

    Args:
        name: As `import` takes it.

    Raises:
        ParameterValueError: no such module.
    """
    try:
        import_module(name)
    except ModuleNotFoundError as error:
        raise ParameterValueError(
            f"plugin {name!r}: expected the name of a Python module ({error}); give it without .py, and run "
            "where it can be imported"
        ) from error


def register(cls: type[Added]) -> type[Added]:
    """Registers a model class, or the class of an object inside models, under its name.

    Objects of registered classes can be saved and loaded, named on the command line (`--model`, `--set`), and
    are covered by the conformance tests. Import the module of your classes before `load`.

    Args:
        cls: A dataclass.

    Returns:
        `cls`.

    Raises:
        ParameterValueError: Another class has this name.

    Examples:
        >>> from dataclasses import dataclass
        >>> from bilinear import register
        >>> from bilinear.registry import CLASSES
        >>> @register
        ... @dataclass(frozen=True)
        ... class HalfRate:
        ...     rate: float = 0.5
        >>> CLASSES.get("HalfRate") is HalfRate
        True
        >>> CLASSES.discard("HalfRate")
    """
    if cls.__module__.partition(".")[0] != __name__.partition(".")[0]:
        CLASSES.load()  # bilinear's own names are taken, whatever has been imported so far
    return _checking_names(CLASSES.add(cls))


def check_names(owner: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raises ParameterValueError for the first name of an argument that is not known.

    Args:
        owner: What has the arguments.
        given: The names that were used.
        known: Those that there are.

    Examples:
        >>> from bilinear.registry import check_names
        >>> check_names("EASE", ["l3"], ["l2", "precision"])
        Traceback (most recent call last):
            ...
        bilinear.errors.ParameterValueError: EASE has no argument 'l3'; did you mean 'l2'? It has l2, ...
    """
    names = sorted(known)
    for name in given:
        if name not in names:
            near = get_close_matches(name, names, 1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}? It" if near else "it"
            raise ParameterValueError(f"{owner} has no argument {name!r}; {hint} has {', '.join(names)}")


def _checking_names(cls: type[Added]) -> type[Added]:
    """Has the constructor answer a wrong name with the nearest right one."""
    construct: Any = cls.__init__
    parameters = list(signature(construct).parameters.values())[1:]
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters):
        return cls
    names = [parameter.name for parameter in parameters]

    @wraps(construct)
    def checked(self: Any, *args: Any, **options: Any) -> None:
        if not options.keys() <= set(names):
            check_names(type(self).__name__, options, names)
        construct(self, *args, **options)

    cls.__init__ = checked  # type: ignore[method-assign]
    return cls


def _origin(cls: type) -> tuple[str, str]:
    return cls.__module__, cls.__qualname__
