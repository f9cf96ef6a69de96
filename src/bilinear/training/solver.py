"""Base class of the solvers for ratings: `SGD`, `MiniBatch` and `ALS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_whole
from bilinear.data.interactions import Interactions
from bilinear.errors import ParameterValueError
from bilinear.model.link import Link
from bilinear.model.parameters import Parameters
from bilinear.objective.losses import Loss, rating_functions
from bilinear.objective.objective import Objective
from bilinear.training.history import History
from bilinear.training.loop import Run, Validation, train
from bilinear.training.progress import Progress
from bilinear.training.schedules import Schedule
from bilinear.training.validation import RatingValidation


class Solver:
    """Base class of solvers: a frozen dataclass that minimises an objective from a start."""

    n_epochs: int | Literal["auto"]
    patience: int | Literal["auto"]
    l2_schedule: Schedule
    copies_ratings: ClassVar[bool] = False
    """Whether it copies the ratings in an order of its own, and reads those of the table no more."""

    @property
    def n_states(self) -> int:
        """Numbers that it keeps for each weight, beside the weight."""
        return 0

    def resolved(self, n_ratings: int) -> Self:
        """This solver with numbers for what is "auto", for a table of so many ratings.

        A patience of "auto" is a fifth of the epochs, at least 5.
        """
        n_epochs = self.epochs_for(n_ratings) if self.n_epochs == "auto" else self.n_epochs
        patience = max(5, n_epochs // 5) if self.patience == "auto" else self.patience
        found: Self = replace(self, n_epochs=n_epochs, patience=patience)  # type: ignore[type-var]
        return found

    def epochs_for(self, n_ratings: int) -> int:
        """Epochs that "auto" stands for."""
        raise NotImplementedError

    def refuse(self, name: str, wanted: str) -> NoReturn:
        """Raises ParameterValueError for the argument of that name."""
        raise ParameterValueError(f"{name}={getattr(self, name)!r}; {wanted}")

    def check_counts(self, *auto: str) -> None:
        """Refuses epochs, patience and threads that are none; "auto" is for the arguments named so."""
        for name in ("n_epochs", "patience"):
            value = getattr(self, name)
            if not (value == "auto" and name in auto) and not (is_whole(value) and value >= 1):
                wanted = "a whole number of epochs, at least one"
                self.refuse(name, f"'auto' or {wanted}" if name in auto else wanted)
        n_threads = getattr(self, "n_threads", None)
        if n_threads is not None and not (is_whole(n_threads) and n_threads >= 1):
            self.refuse("n_threads", "None or a whole number, at least one")

    def check(self, loss: Loss, link: Link) -> None:
        """Raises ParameterValueError where it cannot descend on this loss with this link.

        As it stands: on those that its kernels know, or whose formulas compile.
        """
        rating_functions(loss, link)

    def minimise(
        self,
        objective: Objective,
        start: Parameters,
        rng: np.random.Generator,
        *,
        validation: Interactions | Validation | None = None,
        n_epochs: int | None = None,
        progress: Progress | None = None,
        stage: str = "training",
    ) -> tuple[Parameters, History]:
        """Descends from `start`; returns the parameters of the best epoch and the history.

        Args:
            validation: decides the best epoch and early stopping, of a table by the RMSE; without it all
                epochs run and the last is kept.
            n_epochs: how many of the solver's epochs to run, the schedule unchanged.
        Raises:
            ParameterValueError: a loss, link or penalty that this solver cannot descend on.
            DivergenceError: a score or the loss is not finite any more, with a learning rate that was given.
            KeyboardInterrupt: only before the first epoch is done; later the best epoch is kept.

        Examples:
            >>> import numpy as np
            >>> from bilinear import SGD, Identity, NormalStart, SquaredError, lab, synthetic_ratings
            >>> from bilinear.objective.objective import Objective
            >>> from bilinear.training.initialization import Scale
            >>> ratings, rng = synthetic_ratings(50, 30, 600, rng=0), np.random.default_rng(0)
            >>> link, loss = Identity(0.5, 5), SquaredError()
            >>> objective = Objective(loss, link, lab.L2(1.0, 1.0), ratings)
            >>> start = NormalStart(0.1).draw(ratings, 2, Scale.of(ratings, link, loss), rng)
            >>> parameters, history = SGD(n_epochs=5).minimise(objective, start, rng)
            >>> parameters.user_factors.shape, history.epochs[-1].loss < history.epochs[0].loss
            ((50, 2), True)
        """
        return self.resolved(objective.interactions.n_ratings)._descend(
            objective, start, rng, Epochs(validation, n_epochs, progress, stage)
        )

    def _descend(
        self, objective: Objective, start: Parameters, rng: np.random.Generator, epochs: Epochs
    ) -> tuple[Parameters, History]:
        """What `minimise` does, by a resolved solver."""
        raise NotImplementedError


@dataclass(frozen=True)
class Epochs:
    """The epochs of a descent: how many, what decides the best, and how they are reported."""

    validation: Interactions | Validation | None = None
    n_epochs: int | None = None
    progress: Progress | None = None
    stage: str = "training"

    def run(
        self, solver: Solver, run: Run | Callable[[], Run], objective: Objective, rng: np.random.Generator
    ) -> tuple[Parameters, History]:
        """The epochs of a resolved solver, `n_epochs` of them at most; see `train`."""
        assert solver.n_epochs != "auto"
        assert solver.patience != "auto"
        return train(
            run,
            rng,
            n_ratings=objective.interactions.n_ratings,
            n_epochs=solver.n_epochs if self.n_epochs is None else self.n_epochs,
            planned=solver.n_epochs,
            patience=solver.patience,
            validation=RatingValidation(self.validation, objective.link)
            if isinstance(self.validation, Interactions)
            else self.validation,
            progress=self.progress,
            stage=self.stage,
        )


def random_order(n_ratings: int, rng: np.random.Generator) -> NDArray[Any]:
    """The permutation that `rng.permutation(n_ratings)` draws, in 4 bytes a rating where they can hold it."""
    order = np.arange(n_ratings, dtype=np.int32 if n_ratings < 2**31 else np.int64)
    rng.shuffle(order)
    return order
