"""Methods for a race by name: an optimiser, a schedule, averaging, joined by plus signs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bilinear.errors import ParameterValueError
from bilinear.training.descent import Solver
from bilinear.training.minibatch import MiniBatch
from bilinear.training.optimizers import (
    LAMB,
    LARS,
    AdaGrad,
    Adam,
    Averaged,
    Lookahead,
    Momentum,
    Nesterov,
    Optimizer,
    Plain,
    RAdam,
    RMSProp,
    RowAdaGrad,
    RunningMean,
)
from bilinear.training.schedules import (
    Constant,
    Cosine,
    Exponential,
    FlatCosine,
    Linear,
    OneCycle,
    Polynomial,
    Schedule,
    Step,
    WarmRestarts,
    WarmUp,
)

DEFAULT = ("sgd", "sgd+one-cycle", "momentum+one-cycle", "adam", "adam+one-cycle", "adagrad")
"""The heuristics that are argued about most."""

_OPTIMISERS: dict[str, tuple[Callable[[], Optimizer | Lookahead], float]] = {
    "sgd": (Plain, 1.0),
    "momentum": (Momentum, 0.2),
    "nesterov": (Nesterov, 0.2),
    "adagrad": (AdaGrad, 0.1),
    "row-adagrad": (RowAdaGrad, 0.1),
    "rmsprop": (RMSProp, 0.005),
    "adam": (Adam, 0.005),
    "radam": (RAdam, 0.005),
    "lamb": (LAMB, 0.01),
    "lars": (LARS, 0.1),
    "lookahead": (lambda: Lookahead(Adam()), 0.01),
}
_SCHEDULES: dict[str, Schedule] = {
    "constant": Constant(),
    "one-cycle": OneCycle(),
    "cosine": Cosine(),
    "linear": Linear(),
    "step": Step(),
    "exponential": Exponential(),
    "polynomial": Polynomial(),
    "flat-cosine": FlatCosine(),
    "warm-restarts": WarmRestarts(),
    "warm-up": WarmUp(),
}
_AVERAGES: dict[str, Averaged | RunningMean] = {"averaged": Averaged(), "running-mean": RunningMean()}


def racers(*names: str, n_epochs: int = 20, batch_size: int = 64) -> dict[str, Solver]:
    """Solvers by name for `race`, such as racers("sgd", "adam+one-cycle", "adam+one-cycle+averaged").

    The rate each begins with is only where tuning starts. Without names: `DEFAULT`.
    """
    return {name: _racer(name, n_epochs, batch_size) for name in names or DEFAULT}


def _racer(name: str, n_epochs: int, batch_size: int) -> MiniBatch:
    first, *rest = name.split("+")
    if first not in _OPTIMISERS:
        raise ParameterValueError(f"{name}: {first!r} is no optimiser; choose {', '.join(_OPTIMISERS)}")
    optimizer, rate = _OPTIMISERS[first]
    solver = MiniBatch(
        optimizer=optimizer(),
        learning_rate=rate,
        n_epochs=n_epochs,
        batch_size=batch_size,
        schedule=Constant(),
    )
    for part in rest:
        change: dict[str, Any]
        if part in _SCHEDULES:
            change = {"schedule": _SCHEDULES[part]}
        elif part in _AVERAGES:
            change = {"average": _AVERAGES[part]}
        else:
            choices = ", ".join([*_SCHEDULES, *_AVERAGES])
            raise ParameterValueError(f"{name}: {part!r} is no schedule and no average; choose {choices}")
        solver = replace(solver, **change)
    return solver
