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
from bilinear.persistence.codec import check_loadable, checked_size, class_named, decode, encoded_fields


def save(model: Any, path: Path) -> None:
    """Writes a fitted model; see `bilinear.persistence.artifact` for the guarantees and the errors.

    Raises:
        ParameterValueError: before anything is written, for an object that `load` could not bring
            back, because its class is not registered.
    """
    check_loadable(type(model))
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
    version = 2 if featured else 1
    write_artifact(path, manifest, tensors, format_version=version, card=model_card(manifest))


def load(path: str | Path, *, verify: bool = True, in_memory: bool = False) -> Any:
    """Opens a saved model; its arrays are read-only views of the file.

    Args:
        verify: compare checksums, which reads the file once. Sizes, shapes and the row numbers
            inside are always checked, so that a hostile file cannot make later calls read astray.
        in_memory: read the arrays instead, for a process that has to outlive damage to the file: the
            system ends one whose mapped file is cut short.
    Returns:
        the fitted estimator, of the class that was saved.
    Raises:
        ModelFileError: no model there, or damaged, hostile, or of a newer format.
    Cost:
        O(n_ratings + n_items) checks; memory is mapped, not read, unless `in_memory`.

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
        return _build(artifact.manifest, artifact.tensors)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, ModelFileError):
            raise
        what = str(error) if isinstance(error, BilinearError) else f"{type(error).__name__}: {error}"
        raise ModelFileError(
            f"{path}: model.json and the tensors do not fit together ({what}); train again or restore the "
            "folder from a copy"
        ) from error


def _build(manifest: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Any:
    arguments = {name: decode(value) for name, value in manifest["arguments"].items()}
    model = class_named(manifest["estimator"])(**arguments)
    n_users, n_items, n_ratings = (
        checked_size(manifest, name) for name in ("n_users", "n_items", "n_ratings")
    )

    def tensor(name: str, dtype: type[np.generic], *shape: int) -> NDArray[Any]:
        array = tensors[name]
        if array.dtype != dtype or (array.ndim != 1 if not shape else array.shape != shape):
            raise ValueError(f"{name} is {array.dtype} {array.shape}, expected {np.dtype(dtype)} {shape}")
        return array

    rules = manifest.get("id_rules", {})  # models saved before there were rules have none
    model.user_vocabulary_ = _vocabulary("users", n_users, tensor, tensors, rules.get("users"))
    model.item_vocabulary_ = _vocabulary("items", n_items, tensor, tensors, rules.get("items"))
    indptr, indices = (
        tensor("seen.indptr", np.int64, n_users + 1),
        tensor("seen.indices", np.int32, n_ratings),
    )
    if indptr[0] != 0 or indptr[-1] != n_ratings or (np.diff(indptr) < 0).any():
        raise ValueError("seen.indptr does not divide the ratings")
    if n_ratings and not (indices.min() >= 0 and indices.max() < n_items):
        raise ValueError("seen.indices names items that are not there")
    model.seen_ = Grouped(indptr, indices, tensor("seen.ratings", np.float32, n_ratings))
    times = tensor("seen.times", np.float64, n_ratings) if "seen.times" in tensors else None
    if times is not None and not np.isfinite(times).all():
        raise ValueError("seen.times has values that are not finite")
    model.seen_times_ = times
    model.item_texts_ = {}
    for name in manifest["item_texts"]:
        blob = tensor(f"item_texts.{name}.blob", np.uint8)
        texts = PackedText(blob, tensor(f"item_texts.{name}.offsets", np.int64, n_items + 1))
        if fault := texts.fault():
            raise ValueError(f"item_texts.{name}: {fault}")
        model.item_texts_[name] = texts
    model.seed_, model.source_ = manifest["seed"], str(manifest["source"])
    model.has_ratings_ = _flag(manifest["has_ratings"], "has_ratings")
    model.weighted_ = _flag(manifest.get("weighted", False), "weighted")  # older models have none
    model.report_ = dict(manifest["report"])
    model._restore(manifest, tensor)
    model._restore_features(manifest.get("features", {}), tensor)
    return model


def _flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}")  # noqa: TRY004 - a fault of the file
    return value


def _vocabulary(
    side: str, n: int, tensor: Any, tensors: Mapping[str, NDArray[Any]], rules: Any
) -> Vocabulary:
    if f"{side}.integers" in tensors:
        arrays = {"integers": tensor(f"{side}.integers", np.int64, n)}
    else:
        arrays = {
            "blob": tensor(f"{side}.blob", np.uint8),
            "offsets": tensor(f"{side}.offsets", np.int64, n + 1),
        }
    vocabulary = Vocabulary.from_tensors(arrays, checked_rules(rules, f"id_rules of {side}"))
    if fault := vocabulary.fault():
        raise ValueError(f"vocabulary of {side}: {fault}")
    return vocabulary
