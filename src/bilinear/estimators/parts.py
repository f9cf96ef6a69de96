"""The small objects an estimator is made of, as JSON values and back: by a fixed list of types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import numpy as np

from bilinear.errors import ParameterValueError
from bilinear.model.link import Identity, Sigmoid
from bilinear.objective.losses import CrossEntropy, SquaredError
from bilinear.objective.penalties import L2
from bilinear.objective.ranking_losses import BPR, WARP, CosineContrastive, SampledSoftmax
from bilinear.training.als import ALS
from bilinear.training.implicit_als import Blocks, Cholesky, ConjugateGradient
from bilinear.training.minibatch import MiniBatch
from bilinear.training.optimizers import (
    LAMB,
    LARS,
    AdaGrad,
    Adam,
    AdamW,
    Averaged,
    Lookahead,
    Momentum,
    Nesterov,
    Plain,
    RAdam,
    RMSProp,
    RowAdaGrad,
    RunningMean,
    WeightDecay,
)
from bilinear.training.schedules import (
    Constant,
    Cosine,
    Exponential,
    Falling,
    FlatCosine,
    Linear,
    OneCycle,
    Phases,
    Polynomial,
    Product,
    ReduceOnPlateau,
    Step,
    WarmRestarts,
    WarmUp,
)
from bilinear.training.sgd import SGD
from bilinear.training.similarities import BM25, TFIDF, CosineSimilarity
from bilinear.training.start import NormalStart

_PARTS: dict[str, type] = {
    part.__name__: part
    for part in (
        Identity,
        Sigmoid,
        SquaredError,
        CrossEntropy,
        L2,
        SGD,
        OneCycle,
        Falling,
        Constant,
        Cosine,
        Exponential,
        FlatCosine,
        Linear,
        Phases,
        Polynomial,
        Product,
        ReduceOnPlateau,
        Step,
        WarmRestarts,
        WarmUp,
        MiniBatch,
        ALS,
        LAMB,
        LARS,
        AdaGrad,
        Adam,
        AdamW,
        Averaged,
        Lookahead,
        Momentum,
        Nesterov,
        Plain,
        RAdam,
        RMSProp,
        RowAdaGrad,
        RunningMean,
        WeightDecay,
        NormalStart,
        Cholesky,
        ConjugateGradient,
        Blocks,
        CosineSimilarity,
        TFIDF,
        BM25,
        BPR,
        WARP,
        SampledSoftmax,
        CosineContrastive,
    )
}
_Part = TypeVar("_Part")


def encode_part(value: Any) -> Any:
    """JSON values for an argument: numbers, text, tuples, or one of bilinear's own parts.

    Raises: ParameterValueError: an object of another type, which could not be read back.
    """
    if is_dataclass(value) and not isinstance(value, type):
        name = type(value).__name__
        if _PARTS.get(name) is not type(value):
            raise ParameterValueError(
                f"a {name} of {type(value).__module__} cannot be saved, because load() builds bilinear's own "
                "classes only; take one of these, or pickle the model"
            )
        return {"type": name} | {
            field.name: encode_part(getattr(value, field.name)) for field in fields(value)
        }
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple):
        return [encode_part(part) for part in value]
    if value is not None and not isinstance(value, (bool, int, float, str)):
        raise ParameterValueError(f"{value!r} cannot be saved; use one of bilinear's own objects")
    return value


def decode_part(value: Any, kind: type[_Part] | None = None) -> Any:
    """The inverse of `encode_part`; raises ValueError or TypeError for what it could not have made."""
    if isinstance(value, dict):
        if value.get("type") not in _PARTS:
            raise ValueError(f"unknown part {value.get('type')!r}; it may need a newer bilinear")
        parts = {name: decode_part(part) for name, part in value.items() if name != "type"}
        value = _PARTS[value["type"]](**parts)
    elif isinstance(value, list):
        value = tuple(decode_part(part) for part in value)
    if kind is not None and not isinstance(value, kind):
        raise ValueError(f"{value!r} where a {kind.__name__} belongs")
    return value


def without_threads(value: Any) -> Any:
    """What `encode_part` gave, without numbers of threads: they change no bit of a result."""
    if isinstance(value, dict):
        kept = {name: part for name, part in value.items() if name not in ("threads", "n_threads")}
        return {name: without_threads(part) for name, part in kept.items()}
    return value


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
