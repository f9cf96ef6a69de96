"""Context of an instrument: the fitted model, its ratings, and how much work is allowed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar, cast

from bilinear.data.interactions import Interactions
from bilinear.estimators.capabilities import HowTrained
from bilinear.estimators.rating_model import RatingModel
from bilinear.estimators.recommender import Recommender
from bilinear.inspection.scores import Score, stored_scores
from bilinear.lab.numerics.problem import Problem, Vector
from bilinear.lab.reporting.matching import MatchedRatings
from bilinear.objective.objective import Objective
from bilinear.training.minibatch import MiniBatch
from bilinear.training.optimizers import AdamW
from bilinear.training.solver import Solver

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Context:
    """The model under study and what may be spent on it.

    Attributes:
        model: The fitted model; an instrument must not change it.
        matched: The ratings in the rows of the model, and which of them it was trained on.
        test: Held-out ratings, or None.
        n_seeds: Further random starts to train, 0 for none.
        control: Whether to train once more on shuffled ratings.
        study: Whether to train again on a part of the ratings.
        max_products: Hessian products for one search, at most.
        rng: Seed of everything that is drawn at random.
        on_progress: Called with a line about each long step.

    Examples:
        >>> from bilinear import BiasModel, lab, synthetic_ratings
        >>> ratings = synthetic_ratings(20, 15, 150, rng=0)
        >>> model = BiasModel(l2_biases=1.0).fit(ratings)
        >>> @lab.register
        ... class TrainingSize(lab.Instrument):
        ...     name = "training-size"
        ...     question = "How many ratings were trained on?"
        ...     def measure(self, context: lab.Context) -> lab.Section:
        ...         n = len(context.model.seen_.ratings)
        ...         return self.section(f"{n} ratings.", "nothing", {"n": n})
        >>> lab.report(model, ratings, only=["training-size"])["training-size"].answer
        '150 ratings.'
        >>> from bilinear.lab.reporting.instrument import REGISTRY
        >>> REGISTRY.discard("training-size")
    """

    model: Recommender
    matched: MatchedRatings
    test: Interactions | None
    n_seeds: int
    control: bool
    study: bool
    max_products: int
    rng: int
    on_progress: Callable[[str], None]
    _measured: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def train(self) -> Interactions:
        """The training ratings, in the rows of the model."""
        return self.matched.train

    @property
    def rating_model(self) -> RatingModel | None:
        """The model where it predicts ratings, else None."""
        return cast(RatingModel, self.model) if self.model.predicts_ratings else None

    @property
    def descent_model(self) -> RatingModel | None:
        """The model where it was trained to minimise a loss over ratings, else None."""
        return self.rating_model if self.training == "ratings" else None

    @cached_property
    def training(self) -> HowTrained:
        """The objective of training, or how the model is computed if it has none."""
        return self.model.how_trained

    @cached_property
    def problem(self) -> Problem:
        """The training objective of a rating model, in natural coordinates."""
        model: Any = self.model
        objective = Objective(model.loss_, model.link_, model.penalty_, self.train)
        return Problem.of(objective, model.parameters_.global_mean)

    @cached_property
    def at(self) -> Vector:
        """The weights of a rating model as a flat vector of `problem`."""
        model: Any = self.model
        return self.problem.pack(model.parameters_)

    @cached_property
    def mismatch(self) -> str | None:
        """The reason why training did not minimise `problem`, or None; see `objective_mismatch`."""
        return None if self.rating_model is None else objective_mismatch(self.rating_model)

    @property
    def reported(self) -> Score | None:
        """The held-out error that was stored with the model, or None."""
        name = type(self.model).__name__
        return next((score for score in stored_scores(self.model.report_) if score.name == name), None)

    def once(self, key: str, measure: Callable[[], T]) -> T:
        """A measurement that several instruments share, taken by the first that asks for it."""
        if key not in self._measured:
            self._measured[key] = measure()
        found: T = self._measured[key]
        return found


def objective_mismatch(model: RatingModel) -> str | None:
    """The reason why training did not minimise the model's loss and penalty, or None.

    Args:
        model: The fitted model.

    Returns:
        The reason in words: decoupled weight decay, or a penalty with a schedule.

    Examples:
        >>> from bilinear import AdamW, MatrixFactorization, MiniBatch, lab, synthetic_ratings
        >>> solver = MiniBatch(optimizer=AdamW(weight_decay=0.1), n_epochs=1)
        >>> model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, solver=solver, rng=0)
        >>> lab.objective_mismatch(model.fit(synthetic_ratings(20, 15, 150, rng=0)))[:42]
        'it was trained with decoupled weight decay'
    """
    solver = vars(model).get("solver_") or vars(model).get("solver")
    if isinstance(solver, MiniBatch) and (
        any(solver.weight_decay.pair) or (isinstance(solver.rule, AdamW) and solver.rule.weight_decay)
    ):
        return (
            "it was trained with decoupled weight decay, which does not minimise any loss: what follows "
            "is about the loss and penalty alone"
        )
    if isinstance(solver, Solver) and any(solver.l2_schedule(at) != 1 for at in (0.9, 1.0)):
        return (
            "its penalty was still scheduled to change at the end of training: what follows is about the "
            "penalty as it was given, before the schedule"
        )
    return None
