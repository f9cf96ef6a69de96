"""Arguments of models as JSON values and back: numbers, text, tuples, and registered classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.errors import ParameterValueError
from bilinear.registry import CLASSES

_TYPE = "type"


def encode(value: Any) -> Any:
    """JSON values for an argument: numbers, text, tuples, models, and the objects models are made of.

    Of a model its arguments, not what it learned.

    Raises:
        ParameterValueError: an object that `decode` could not bring back.
    """
    if hasattr(value, "saved_as"):  # what is found again by a name, such as a metric
        return value.saved_as()
    if is_dataclass(value) and not isinstance(value, type):
        check_loadable(type(value))
        return {_TYPE: type(value).__name__} | encoded_fields(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (tuple, list)):
        return [encode(part) for part in value]
    if value is not None and not isinstance(value, (bool, int, float, str)):
        raise ParameterValueError(
            f"{value!r} cannot be saved; give numbers, text, tuples, or objects of registered classes"
        )
    return value


def encoded_fields(value: Any) -> dict[str, Any]:
    """The arguments of a dataclass by name, as `encode` gives them."""
    return {field.name: encode(getattr(value, field.name)) for field in fields(value)}


def decode(value: Any, kind: type[Any] | None = None) -> Any:
    """The inverse of `encode`; raises ValueError or TypeError for what it could not have made."""
    if isinstance(value, dict):
        parts = {name: decode(part) for name, part in value.items() if name != _TYPE}
        value = class_named(value.get(_TYPE))(**parts)
    elif isinstance(value, list):
        value = tuple(decode(part) for part in value)
    if kind is not None and not isinstance(value, kind):
        raise ValueError(f"{value!r} where a {kind.__name__} belongs")
    return value


def class_named(name: Any) -> type[Any]:
    """The registered class of a name, or ValueError."""
    if name not in CLASSES:
        raise ValueError(
            f"unknown class {name!r}; import the module that registers it first (@bilinear.register), or "
            "take a newer bilinear"
        )
    return CLASSES.get(name)


def check_loadable(cls: type[Any]) -> None:
    """Raises ParameterValueError unless `decode` finds this class by its name."""
    if not CLASSES.has(cls):
        raise ParameterValueError(
            f"an object of the class {cls.__module__}.{cls.__qualname__} cannot be saved, because load() "
            "builds registered classes only; decorate the class with @bilinear.register, take one of "
            "bilinear's own, or pickle the model"
        )


def without_threads(value: Any) -> Any:
    """The result of `encode` without numbers of threads, which do not change results."""
    if isinstance(value, dict):
        kept = {name: part for name, part in value.items() if name != "n_threads"}
        return {name: without_threads(part) for name, part in kept.items()}
    return value


@dataclass(frozen=True, eq=False)
class TensorReader:
    """The tensors of a folder, checked as they are read.

    Attributes:
        prefix: goes in front of every name.
        scans: whether values are checked as well, which reads them.
    """

    tensors: Mapping[str, NDArray[Any]]
    prefix: str = ""
    scans: bool = True

    def __call__(self, name: str, dtype: type[np.generic], *shape: int) -> NDArray[Any]:
        """One tensor, or ValueError or KeyError; without a shape, one of one dimension."""
        array = self.tensors[self.prefix + name]
        if array.dtype != dtype or (array.ndim != 1 if not shape else array.shape != shape):
            raise ValueError(f"{name} is {array.dtype} {array.shape}, expected {np.dtype(dtype)} {shape}")
        return array

    def inside(self, name: str) -> TensorReader:
        """The tensors of a model inside this one."""
        return TensorReader(self.tensors, f"{self.prefix}{name}.", self.scans)

    def check_finite(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Raises ValueError for one that holds other values."""
        for name, array in arrays.items():
            if self.scans and not np.isfinite(array).all():
                raise ValueError(f"{name} has values that are not finite")


def checked_size(manifest: Mapping[str, Any], name: str) -> int:
    """A whole number, zero or more, or ValueError."""
    value = manifest[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} is {value!r}")
    return value


def checked_number(value: Any) -> float:
    """A finite number, or ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        raise ValueError(f"{value!r} is not a finite number")
    return float(value)
