"""Fitted models to and from their folder on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Grouped
from bilinear.data.packed_text import PackedText
from bilinear.data.vocabulary import Vocabulary
from bilinear.errors import BilinearError, ModelFileError, ParameterValueError
from bilinear.estimators.base import RatingModel
from bilinear.estimators.baselines import BiasModel, GlobalMean
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.model.artifact import read_artifact, write_artifact
from bilinear.model.link import Identity, Sigmoid
from bilinear.model.parameters import Parameters
from bilinear.objective.losses import CrossEntropy, SquaredError
from bilinear.objective.penalties import L2
from bilinear.training.history import History
from bilinear.training.schedules import Constant, OneCycle
from bilinear.training.search import SearchTable
from bilinear.training.sgd import SGD

_MODELS = {cls.__name__: cls for cls in (GlobalMean, BiasModel, MatrixFactorization)}
_PARTS = {
    cls.__name__: cls for cls in (Identity, Sigmoid, SquaredError, CrossEntropy, L2, SGD, OneCycle, Constant)
}


def save(model: RatingModel, path: Path) -> None:
    """Writes a fitted model; see `bilinear.model.artifact` for the guarantees and the errors."""
    parameters = model.parameters_
    tensors: dict[str, NDArray[Any]] = dict(parameters.arrays())
    for side, vocabulary in (("users", model.user_vocabulary_), ("items", model.item_vocabulary_)):
        tensors |= {f"{side}.{name}": array for name, array in vocabulary.tensors().items()}
    tensors |= {f"seen.{name}": array for name, array in model.seen_._asdict().items()}
    for name, texts in model.item_texts_.items():
        tensors |= {f"item_texts.{name}.blob": texts.blob, f"item_texts.{name}.offsets": texts.offsets}
    manifest = {
        "estimator": type(model).__name__,
        "arguments": {field.name: _encode(getattr(model, field.name)) for field in fields(model)},  # type: ignore[arg-type]
        "global_mean": parameters.global_mean,
        "n_users": parameters.n_users,
        "n_items": parameters.n_items,
        "n_factors": parameters.n_factors,
        "n_ratings": len(model.seen_.ratings),
        "link": _encode(model.link_),
        "loss": _encode(model.loss_),
        "penalty": _encode(model.penalty_),
        "seed": model.seed_,
        "source": model.source_,
        "history": model.history_.to_dict(),
        "search": None if model.search_ is None else model.search_.to_dict(),
        "report": model.report_,
    }
    write_artifact(path, manifest, tensors)


def load(path: str | Path, *, verify: bool = True) -> RatingModel:
    """Opens a saved model; its arrays are read-only views of the file.

    Args: verify: compare checksums, which reads the file once. Sizes, shapes and the row numbers
        inside are always checked, so that a hostile file cannot make later calls read astray.
    Raises:
        ModelFileError: no model there, or damaged, hostile, or of a newer format.
    Cost: O(n_ratings + n_items) checks; memory is mapped, not read.
    """
    artifact = read_artifact(Path(path), verify=verify)
    manifest = artifact.manifest
    try:
        return _build(manifest, artifact.tensors)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, ModelFileError):
            raise
        what = str(error) if isinstance(error, BilinearError) else f"{type(error).__name__}: {error}"
        raise ModelFileError(
            f"{path}: model.json and the tensors do not fit together ({what}); train again or restore the "
            "folder from a copy"
        ) from error


def _build(manifest: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> RatingModel:
    if manifest["estimator"] not in _MODELS:
        raise ValueError(f"unknown estimator {manifest['estimator']!r}; it may need a newer bilinear")
    cls = _MODELS[manifest["estimator"]]
    model = cls(**{name: _decode(value) for name, value in manifest["arguments"].items()})
    n_users, n_items = (_size(manifest, name) for name in ("n_users", "n_items"))
    n_factors, n_ratings = (_size(manifest, name) for name in ("n_factors", "n_ratings"))

    def tensor(name: str, dtype: type[np.generic], *shape: int) -> NDArray[Any]:
        array = tensors[name]
        if array.dtype != dtype or (shape and array.shape != shape) or (not shape and array.ndim != 1):
            raise ValueError(f"{name} is {array.dtype} {array.shape}, expected {np.dtype(dtype)} {shape}")
        return array

    model.parameters_ = Parameters(
        _number(manifest["global_mean"]),
        tensor("user_biases", np.float32, n_users),
        tensor("item_biases", np.float32, n_items),
        tensor("user_factors", np.float32, n_users, n_factors),
        tensor("item_factors", np.float32, n_items, n_factors),
    )
    for name, array in model.parameters_.arrays().items():
        if not np.isfinite(array).all():
            raise ValueError(f"{name} has values that are not finite")
    model.user_vocabulary_ = _vocabulary("users", n_users, tensor, tensors)
    model.item_vocabulary_ = _vocabulary("items", n_items, tensor, tensors)
    starts, others = tensor("seen.starts", np.int64, n_users + 1), tensor("seen.others", np.int32, n_ratings)
    if starts[0] != 0 or starts[-1] != n_ratings or (np.diff(starts) < 0).any():
        raise ValueError("seen.starts do not divide the ratings")
    if n_ratings and not (others.min() >= 0 and others.max() < n_items):
        raise ValueError("seen.others names items that are not there")
    model.seen_ = Grouped(starts, others, tensor("seen.ratings", np.float32, n_ratings))
    model.item_texts_ = {}
    for name in sorted(key.split(".")[1] for key in tensors if key.endswith(".blob") and key.count(".") == 2):
        texts = PackedText(
            tensor(f"item_texts.{name}.blob", np.uint8),
            tensor(f"item_texts.{name}.offsets", np.int64, n_items + 1),
        )
        if fault := texts.fault():
            raise ValueError(f"item_texts.{name}: {fault}")
        model.item_texts_[name] = texts
    model.link_, model.loss_, model.penalty_ = (
        _decode(manifest[name]) for name in ("link", "loss", "penalty")
    )
    _number(model.link_.bounds[0])
    model.loss_.check(model.link_)
    model.seed_, model.source_ = manifest["seed"], str(manifest["source"])
    model.history_ = History.from_dict(manifest["history"])
    model.search_ = None if manifest["search"] is None else SearchTable.from_dict(manifest["search"])
    model.report_ = dict(manifest["report"])
    return model


def _vocabulary(side: str, n: int, tensor: Any, tensors: Mapping[str, NDArray[Any]]) -> Vocabulary:
    if f"{side}.integers" in tensors:
        vocabulary = Vocabulary.from_tensors({"integers": tensor(f"{side}.integers", np.int64, n)})
    else:
        blob, offsets = tensor(f"{side}.blob", np.uint8), tensor(f"{side}.offsets", np.int64, n + 1)
        vocabulary = Vocabulary.from_tensors({"blob": blob, "offsets": offsets})
    if fault := vocabulary.fault():
        raise ValueError(f"vocabulary of {side}: {fault}")
    return vocabulary


def _encode(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        name = type(value).__name__
        if name not in _PARTS or _PARTS[name] is not type(value):
            raise ParameterValueError(
                f"a {name} cannot be saved; models are saved with bilinear's own parts only"
            )
        return {"type": name} | {field.name: _encode(getattr(value, field.name)) for field in fields(value)}
    if callable(value):
        raise ParameterValueError(f"{value!r} cannot be saved; use one of bilinear's own schedules")
    if isinstance(value, np.generic):
        return value.item()
    return list(value) if isinstance(value, tuple) else value


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        parts = {name: _decode(part) for name, part in value.items() if name != "type"}
        return _PARTS[value["type"]](**parts)
    return tuple(value) if isinstance(value, list) else value


def _size(manifest: Mapping[str, Any], name: str) -> int:
    value = manifest[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} is {value!r}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        raise ValueError(f"{value!r} is not a finite number")
    return float(value)
