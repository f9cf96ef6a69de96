"""Methods for a race by name: optimiser, schedule and averaging, joined by plus signs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bilinear.errors import ParameterValueError
from bilinear.training.minibatch import MiniBatch
from bilinear.training.optimizers import (
    LAMB,
    LARS,
    AdaGrad,
    Adam,
    ExponentialMovingAverage,
    GradientDescent,
    Lookahead,
    Momentum,
    Nesterov,
    Optimizer,
    RAdam,
    RMSProp,
    RowAdaGrad,
    StochasticWeightAverage,
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
from bilinear.training.solver import Solver

DEFAULT = ("sgd", "sgd+one-cycle", "momentum+one-cycle", "adam", "adam+one-cycle", "adagrad")
"""Methods of a race where none are named."""

OPTIMISERS: dict[str, tuple[Callable[[], Optimizer | Lookahead], float]] = {
    "sgd": (GradientDescent, 1.0),
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
SCHEDULES: dict[str, Schedule] = {
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
AVERAGES: dict[str, StochasticWeightAverage | ExponentialMovingAverage] = {
    "averaged": StochasticWeightAverage(),
    "running-mean": ExponentialMovingAverage(),
}


def race_methods(*names: str, n_epochs: int = 20, batch_size: int = 64) -> dict[str, Solver]:
    """Solvers by name for `race`: an optimiser, then a schedule and an average, joined by plus signs.

    Args:
        names: Such as "sgd", "adam+one-cycle", "adam+one-cycle+averaged"; without names, the six
            most common ones.
        n_epochs: Of every solver.
        batch_size: Ratings a step.

    Returns:
        Solvers by name; the learning rate of each is only where tuning starts.

    Raises:
        ParameterValueError: A part of a name is unknown.

    Examples:
        >>> from bilinear import lab
        >>> list(lab.race_methods("sgd", "adam+one-cycle"))
        ['sgd', 'adam+one-cycle']
    """
    return {name: _method(name, n_epochs, batch_size) for name in names or DEFAULT}


def _method(name: str, n_epochs: int, batch_size: int) -> MiniBatch:
    first, *rest = name.split("+")
    if first not in OPTIMISERS:
        raise ParameterValueError(
            f"{name}: expected an optimiser, got {first!r}; choose {', '.join(OPTIMISERS)}"
        )
    optimizer, rate = OPTIMISERS[first]
    solver = MiniBatch(
        optimizer=optimizer(),
        learning_rate=rate,
        n_epochs=n_epochs,
        batch_size=batch_size,
        schedule=Constant(),
    )
    for part in rest:
        change: dict[str, Any]
        if part in SCHEDULES:
            change = {"schedule": SCHEDULES[part]}
        elif part in AVERAGES:
            change = {"average": AVERAGES[part]}
        else:
            choices = ", ".join([*SCHEDULES, *AVERAGES])
            raise ParameterValueError(
                f"{name}: expected a schedule or an average, got {part!r}; choose {choices}"
            )
        solver = replace(solver, **change)
    return solver
