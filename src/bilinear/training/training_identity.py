"""Identity of a training for checkpoints: its table, its arguments and the libraries that run it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from bilinear.data.interactions import Interactions
from bilinear.errors import CheckpointError
from bilinear.persistence.codec import encoded_fields, without_threads

_LIBRARIES = ("bilinear", "numpy", "numba")


def table_identity(table: Interactions) -> dict[str, Any]:
    """Identity of a table for checkpoints. Cost: hashes 12 bytes a rating, 20 with times, and the ids."""
    digest = hashlib.sha256()
    columns: list[Any] = [table.users, table.items, table.ratings]
    columns += [] if table.times is None else [table.times]
    for vocabulary in (table.user_vocabulary, table.item_vocabulary):
        columns += vocabulary.tensors().values()
    for column in columns:
        digest.update(f"{column.dtype}{column.shape}".encode())
        digest.update(np.ascontiguousarray(column).data)
    return {"n_ratings": table.n_ratings, "shape": list(table.shape), "sha256": digest.hexdigest()}


def training_identity(model: Any, table: Interactions) -> dict[str, Any]:
    """Identity of a training for checkpoints; numbers of threads may differ."""
    arguments = without_threads(encoded_fields(model))
    return {"estimator": type(model).__name__, "arguments": arguments, "data": table_identity(table)}


def libraries() -> dict[str, str]:
    """Versions of what may change the bits."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from the sources
            found[name] = "unknown"
    return found


def check_identity(theirs: Mapping[str, Any], mine: Mapping[str, Any], folder: Path) -> None:
    """Raises CheckpointError with the first difference between two trainings."""
    for what, then, now in _differences("", theirs, mine):
        raise CheckpointError(
            f"{folder}: the checkpoint is of another training: {what} was {then}, now {now}; start it as "
            "before, or remove the checkpoint to train from the beginning"
        )


def _differences(where: str, then: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(then, dict) and isinstance(now, dict):
        for name in {**then, **now}:
            yield from _differences(f"{where}.{name}".strip("."), then.get(name), now.get(name))
    elif then != now:
        yield where, then, now
