"""Callbacks: functions of the user that are called after every epoch, `fit(..., on_epoch=...)`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from bilinear.errors import ParameterValueError
from bilinear.model.parameters import Parameters
from bilinear.training.history import Epoch, History


@dataclass(frozen=True)
class TrainingState:
    """State of training after an epoch, the argument of `on_epoch`.

    Attributes:
        model: Name of the model's class.
        stage: Which training it is, such as "search l2, 32 factors", "training, 32 factors" or "on all
            ratings, 32 factors".
        epoch: The record of the epoch that ended.
        history: All epochs of this stage so far; `history.best_epoch` is the best of them.

    Examples:
        >>> from bilinear import MatrixFactorization, synthetic_ratings
        >>> def on_epoch(state):
        ...     if state.epoch.number == 3:
        ...         print(state.model, state.stage, state.parameters().n_factors)
        ...         state.stop()
        >>> model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, rng=0)
        >>> model.fit(synthetic_ratings(50, 30, 600, rng=0), on_epoch=on_epoch).history_.ended
        MatrixFactorization training, 2 factors 2
        'stopped by on_epoch'
    """

    model: str
    stage: str
    epoch: Epoch
    history: History
    _parameters: Callable[[], Parameters] = field(repr=False)
    _stop: Callable[[], None] = field(repr=False)

    def parameters(self) -> Parameters:
        """A copy of the current weights, in the order of the table and in rating units."""
        return self._parameters()

    def stop(self) -> None:
        """Ends training after this epoch, keeping the best: nothing more is searched or trained."""
        self._stop()


OnEpoch = Callable[[TrainingState], object]


@dataclass(frozen=True)
class Listeners:
    """The functions to call, and how the model that trains sees weights and epochs."""

    model: str
    functions: Sequence[OnEpoch]
    history: Callable[[History], History] = lambda history: history
    parameters: Callable[[Parameters], Parameters] = lambda parameters: parameters

    def call(self, stage: str, history: History, current: Callable[[], Parameters]) -> bool:
        """Calls all of them; returns whether one has asked to stop."""
        stopped: list[bool] = []
        shown = self.history(history)
        state = TrainingState(
            self.model,
            stage,
            shown.epochs[-1],
            shown,
            lambda: self.parameters(current()).copy(),
            lambda: stopped.append(True),
        )
        for function in self.functions:
            function(state)
        return bool(stopped)


_listeners: ContextVar[Listeners | None] = ContextVar("listeners", default=None)


def listeners() -> Listeners | None:
    """Those of the training under way in this thread, if there are any."""
    return _listeners.get()


def checked_functions(on_epoch: OnEpoch | Sequence[OnEpoch] | None) -> Sequence[OnEpoch]:
    """The argument `on_epoch` as a sequence.

    Raises:
        ParameterValueError: Something that cannot be called.
    """
    functions = () if on_epoch is None else (on_epoch,) if callable(on_epoch) else tuple(on_epoch)
    for function in functions:
        if not callable(function):
            raise ParameterValueError(
                f"on_epoch={on_epoch!r}; expected a function of one argument, or several"
            )
    return functions


@contextmanager
def calling(found: Listeners) -> Iterator[None]:
    """All trainings of the block call these after every epoch."""
    token = _listeners.set(found if found.functions else None)
    try:
        yield
    finally:
        _listeners.reset(token)
