"""Fitted models to and from their folder on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Grouped
from bilinear.data.packed_text import PackedText
from bilinear.data.vocabulary import Vocabulary, checked_rules
from bilinear.errors import BilinearError, ModelFileError
from bilinear.persistence.artifact import read_artifact, write_artifact
from bilinear.persistence.card import model_card
from bilinear.persistence.codec import (
    TensorReader,
    check_loadable,
    checked_size,
    class_named,
    decode,
    encoded_fields,
)

LARGE = 1 << 29
"""Models with more bytes are saved with what a server would make of them at its start, and served mapped."""


def save(model: Any, path: Path) -> None:
    """Writes a fitted model; see `bilinear.persistence.artifact` for the guarantees and the errors.

    Raises:
        ParameterValueError: before anything is written, for an object that `load` could not bring
            back, because its class is not registered.
    """
    check_loadable(type(model))
    manifest, tensors, version = contents(model)
    write_artifact(path, manifest, tensors, format_version=version, card=model_card(manifest))


def contents(model: Any) -> tuple[dict[str, Any], dict[str, NDArray[Any]], int]:
    """What `save` writes of a fitted model: manifest, tensors, and the oldest format version of both."""
    manifest, tensors = model._state()
    for side, vocabulary in (("users", model.user_vocabulary_), ("items", model.item_vocabulary_)):
        tensors |= {f"{side}.{name}": array for name, array in vocabulary.tensors().items()}
    tensors |= {f"seen.{name}": array for name, array in model.seen_._asdict().items()}
    if model.seen_times_ is not None:
        tensors["seen.times"] = model.seen_times_
    for name, texts in model.item_texts_.items():
        tensors |= {f"item_texts.{name}.blob": texts.blob, f"item_texts.{name}.offsets": texts.offsets}
    featured, further = model._feature_state()
    manifest |= featured
    tensors |= further
    if sum(array.nbytes for array in tensors.values()) > LARGE:
        tensors |= {f"served.{name}": array for name, array in model._prepared_to_serve().items()}
    manifest |= {
        "estimator": type(model).__name__,
        "arguments": encoded_fields(model),
        "n_users": len(model.user_vocabulary_),
        "n_items": len(model.item_vocabulary_),
        "n_ratings": len(model.seen_.ratings),
        "item_texts": list(model.item_texts_),
        "id_rules": {
            "users": list(model.user_vocabulary_.rules),
            "items": list(model.item_vocabulary_.rules),
        },
        "seed": model.seed_,
        "has_ratings": model.has_ratings_,
        "weighted": model.weighted_,
        "source": model.source_,
        "report": model.report_,
    }
    return manifest, tensors, 2 if featured else 1


def load(path: str | Path, *, verify: bool = True, in_memory: bool = False, scan: bool = True) -> Any:
    """Opens a saved model; its arrays are read-only views of the file.

    Args:
        verify: compare checksums, which reads the file once. Sizes and shapes are always checked.
        in_memory: read the arrays instead, for a process that has to outlive damage to the file: the
            system ends one whose mapped file is cut short.
        scan: check the row numbers and values inside as well, so that a hostile file cannot make later calls
            read astray. Without this and `verify`, which is for files that you trust, a model opens in
            milliseconds whatever its size, and memory holds what is used of it.
    Returns:
        the fitted estimator, of the class that was saved.
    Raises:
        ModelFileError: no model there, or damaged, hostile, or of a newer format.
    Cost:
        O(n_ratings + n_items) checks, unless they are left out; memory is mapped, not read, unless
        `in_memory`.

    Examples:
        >>> import bilinear
        >>> model = bilinear.EASE(l2=20.0).fit(bilinear.synthetic_catalogue(1000, 40, 60, rng=0).interactions)
        >>> model.save("model")
        >>> again = bilinear.load("model")
        >>> again.recommend(7).items.tolist() == model.recommend(7).items.tolist()
        True
        >>> bilinear.load("nothing")
        Traceback (most recent call last):
            ...
        bilinear.errors.ModelFileError: nothing: no such folder; give the folder that `bilinear ...
    """
    artifact = read_artifact(Path(path), verify=verify, in_memory=in_memory)
    try:
        return _build(artifact.manifest, TensorReader(artifact.tensors, scans=scan))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, ModelFileError):
            raise
        what = str(error) if isinstance(error, BilinearError) else f"{type(error).__name__}: {error}"
        raise ModelFileError(
            f"{path}: model.json and the tensors do not fit together ({what}); train again or restore the "
            "folder from a copy"
        ) from error


def _build(manifest: Mapping[str, Any], tensor: TensorReader) -> Any:
    arguments = {name: decode(value) for name, value in manifest["arguments"].items()}
    model = class_named(manifest["estimator"])(**arguments)
    n_users, n_items, n_ratings = (
        checked_size(manifest, name) for name in ("n_users", "n_items", "n_ratings")
    )
    rules = manifest.get("id_rules", {})  # models saved before there were rules have none
    model.user_vocabulary_ = _vocabulary("users", n_users, tensor, rules.get("users"))
    model.item_vocabulary_ = _vocabulary("items", n_items, tensor, rules.get("items"))
    indptr, indices = (
        tensor("seen.indptr", np.int64, n_users + 1),
        tensor("seen.indices", np.int32, n_ratings),
    )
    if indptr[0] != 0 or indptr[-1] != n_ratings or (tensor.scans and (np.diff(indptr) < 0).any()):
        raise ValueError("seen.indptr does not divide the ratings")
    if tensor.scans and n_ratings and not (indices.min() >= 0 and indices.max() < n_items):
        raise ValueError("seen.indices names items that are not there")
    model.seen_ = Grouped(indptr, indices, tensor("seen.ratings", np.float32, n_ratings))
    times = tensor("seen.times", np.float64, n_ratings) if "seen.times" in tensor.tensors else None
    if times is not None:
        tensor.check_finite({"seen.times": times})
    model.seen_times_ = times
    model.item_texts_ = {}
    for name in manifest["item_texts"]:
        blob = tensor(f"item_texts.{name}.blob", np.uint8)
        texts = PackedText(blob, tensor(f"item_texts.{name}.offsets", np.int64, n_items + 1))
        if tensor.scans and (fault := texts.fault()):
            raise ValueError(f"item_texts.{name}: {fault}")
        model.item_texts_[name] = texts
    model.seed_, model.source_ = manifest["seed"], str(manifest["source"])
    model.has_ratings_ = _flag(manifest["has_ratings"], "has_ratings")
    model.weighted_ = _flag(manifest.get("weighted", False), "weighted")  # older models have none
    model.report_ = dict(manifest["report"])
    model._restore(manifest, tensor)
    model._restore_features(manifest.get("features", {}), tensor)
    if not tensor.scans:  # else they are made of what was checked
        model._take_prepared(tensor.inside("served"))
    return model


def _flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}")  # noqa: TRY004 - a fault of the file
    return value


def _vocabulary(side: str, n: int, tensor: TensorReader, rules: Any) -> Vocabulary:
    if f"{side}.integers" in tensor.tensors:
        arrays = {"integers": tensor(f"{side}.integers", np.int64, n)}
    else:
        arrays = {
            "blob": tensor(f"{side}.blob", np.uint8),
            "offsets": tensor(f"{side}.offsets", np.int64, n + 1),
        }
    vocabulary = Vocabulary.from_tensors(arrays, checked_rules(rules, f"id_rules of {side}"))
    if tensor.scans and (fault := vocabulary.fault()):
        raise ValueError(f"vocabulary of {side}: {fault}")
    return vocabulary
