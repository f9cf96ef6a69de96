"""Mini-batch descent with any optimiser: the training loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import check_known, is_real, is_whole, kernel_code
from bilinear.errors import DivergenceError, ParameterValueError
from bilinear.formulas import with_functions
from bilinear.kernels.optimizers import Side, minibatch_block
from bilinear.model.parameters import Array, Parameters
from bilinear.objective.losses import rating_functions
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2
from bilinear.registry import register
from bilinear.training.history import History
from bilinear.training.loop import Run
from bilinear.training.optimizers import (
    Adam,
    AdamW,
    ExponentialMovingAverage,
    Lookahead,
    Optimizer,
    StochasticWeightAverage,
    WeightDecay,
)
from bilinear.training.progress import Progress
from bilinear.training.schedules import Constant, OneCycle, ReduceOnPlateau, Schedule, after
from bilinear.training.solver import Epochs, Solver, random_order

_BLOCK = 1 << 18  # ratings between two looks at the clock and at Ctrl-C
_KNOTS = 1 << 12  # steps of a block at which schedules are asked; in between they go straight
_KEPT = (
    *("biases", "factors", "bias_state", "factor_state", "steps", "slow_biases", "slow_factors"),
    *("seen", "mean_biases", "mean_factors"),
)
"""Fields of a `Side` that outlive a batch."""


@register
@dataclass(frozen=True)
class MiniBatch(Solver):
    """One step of an optimiser for each batch of shuffled ratings, `n_epochs` times.

    A step follows the gradient of the mean loss of the batch plus the batch's share of the objective's
    penalty, which is an estimate of the objective over n_ratings. Rates are those of PyTorch, in the
    units of the weights (`SGD` instead converts them to the scale of the data).

    Args:
        optimizer: the rule, such as `Adam()` or `Lookahead(RAdam())`.
        batch_size: ratings a step; "all" for one step an epoch.
        n_epochs: passes over the ratings; the schedules span all of them.
        learning_rate: multiplied by `schedule`, a function of progress in [0, 1].
        momentum_schedule: multiplies the optimiser's momentum, likewise; so that it runs against a
            one-cycle rate: `Sequential(((0.25, Cosine(1, 0.9)), (0.75, Cosine(0.9, 1))))`.
        l2_schedule: multiplies the penalty's L2 of the factors, epoch by epoch.
        weight_decay: decoupled; see `WeightDecay` for how it differs from the penalty.
        clip_value: largest size of an entry of the batch's gradient.
        clip_norm: then its largest
            length, over all weights. With row-sparse updates, of the rows of the batch.
        average: `StochasticWeightAverage()` or `ExponentialMovingAverage()`: measure and keep averaged
            weights.
        dense: step every row at every batch, as frameworks do with dense gradients: state decays,
            and penalty and weight decay work, also where a batch has no rating of a row. By default
            only the rows of the batch are touched ("lazy" updates, as SparseAdam): the cost grows
            with the batch and not with the vocabulary. The number of the step, for Adam's
            correction, counts all batches in either case.
        patience: epochs without a better validation RMSE before training stops, never in the first
            half; "auto" is a fifth of n_epochs, at least 5.

    Cost:
        O(n_ratings * n_factors) an epoch, dense: + O(n_batches * n_rows * n_factors); memory: two
        copies of the parameters, the optimiser's one or two, and 4 bytes a rating.

    Examples:
        >>> from bilinear import Adam, MatrixFactorization, MiniBatch, OneCycle, synthetic_ratings
        >>> solver = MiniBatch(Adam(), batch_size=32, n_epochs=5, learning_rate=0.05, schedule=OneCycle())
        >>> model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, solver=solver, rng=0)
        >>> history = model.fit(synthetic_ratings(50, 30, 600, rng=0)).history_
        >>> history.epochs[-1].loss < history.epochs[0].loss
        True
    """

    optimizer: Optimizer | Lookahead = field(default_factory=Adam)
    batch_size: int | Literal["all"] = 64
    n_epochs: int = 20
    learning_rate: float = 5e-3
    schedule: Schedule = field(default_factory=OneCycle)
    momentum_schedule: Schedule = field(default_factory=Constant)
    l2_schedule: Schedule = field(default_factory=Constant)
    weight_decay: WeightDecay = field(default_factory=lambda: WeightDecay(0.0))
    clip_norm: float | None = None
    clip_value: float | None = None
    average: StochasticWeightAverage | ExponentialMovingAverage | None = None
    dense: bool = False
    patience: int | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        given: dict[str, Any] = {part.name: getattr(self, part.name) for part in fields(self)}
        refuse = self.refuse
        if not isinstance(given["optimizer"], (Optimizer, Lookahead)):
            refuse("optimizer", "a rule such as Adam()")
        if isinstance(self.optimizer, Lookahead):
            check_known(self.optimizer)
        kernel_code(self.rule)
        if self.batch_size != "all" and not (is_whole(self.batch_size) and self.batch_size >= 1):
            refuse("batch_size", "'all' or a whole number of ratings, at least one")
        self.check_counts("patience")
        if not (is_real(self.learning_rate) and self.learning_rate > 0):
            refuse("learning_rate", "a positive number")
        for name in ("schedule", "momentum_schedule", "l2_schedule"):
            if not callable(given[name]):
                refuse(name, "Constant() or another schedule")
            if name != "schedule" and isinstance(given[name], ReduceOnPlateau):
                refuse(name, "ReduceOnPlateau is for the learning rate: schedule=")
        if self.momentum_schedule != Constant() and self.rule.momentum_or_beta1 is None:
            refuse("momentum_schedule", f"{type(self.rule).__name__} has no momentum; leave it out")
        if not isinstance(given["weight_decay"], WeightDecay):
            refuse("weight_decay", "an object: WeightDecay(0.01)")
        if isinstance(self.rule, AdamW) and any(self.weight_decay.pair):
            refuse("weight_decay", "AdamW brings its own; use Adam with WeightDecay, or AdamW alone")
        for name in ("clip_norm", "clip_value"):
            value = given[name]
            if value is not None and not (is_real(value) and value > 0):
                refuse(name, "None or a positive number")
        if self.average is not None and not isinstance(
            given["average"], (StochasticWeightAverage, ExponentialMovingAverage)
        ):
            refuse("average", "None, StochasticWeightAverage() or ExponentialMovingAverage()")
        if not isinstance(given["dense"], bool):
            refuse("dense", "True or False")

    @property
    def rule(self) -> Optimizer:
        """The optimiser without its wrapper."""
        return self.optimizer.optimizer if isinstance(self.optimizer, Lookahead) else self.optimizer

    @property
    def n_states(self) -> int:
        slow = isinstance(self.optimizer, Lookahead)
        return self.rule.n_states + slow + (self.average is not None) + self.dense

    def minimise(
        self,
        objective: Objective,
        start: Parameters,
        rng: np.random.Generator,
        *,
        weights: NDArray[Any] | None = None,
        **epochs: Any,
    ) -> tuple[Parameters, History]:
        """Descends from `start`, with the arguments of every solver, see `SGD.minimise`, and weights.

        Args:
            weights: (n_ratings,) multiplies each rating's loss and, row-sparse, its share of the
                penalty; a batch still divides by its number of ratings.

        Examples:
            >>> import numpy as np
            >>> from bilinear import Identity, MiniBatch, NormalStart, SquaredError, lab, synthetic_ratings
            >>> from bilinear.objective.objective import Objective
            >>> from bilinear.training.initialization import Scale
            >>> ratings, rng = synthetic_ratings(50, 30, 600, rng=0), np.random.default_rng(0)
            >>> link, loss = Identity(0.5, 5), SquaredError()
            >>> objective = Objective(loss, link, lab.L2(1.0, 1.0), ratings)
            >>> start = NormalStart(0.1).draw(ratings, 2, Scale.of(ratings, link, loss), rng)
            >>> solver, weights = MiniBatch(n_epochs=5), np.ones(600)
            >>> parameters, history = solver.minimise(objective, start, rng, weights=weights)
            >>> parameters.user_factors.shape, history.epochs[-1].loss < history.epochs[0].loss
            ((50, 2), True)
        """
        solver = self.resolved(objective.interactions.n_ratings)
        run = MiniBatchRun(solver, objective, start, weights)
        return Epochs(**epochs).run(solver, run, objective, rng)


class Stepping(Run):
    """State of an optimiser during a descent: weights, moments, averages, number of the step.

    Args:
        penalty: of an objective that sums over n_ratings.
        user_counts, item_counts: ratings by row.
        n_rows: users and items that one batch can touch at most.
    """

    resumable = True

    def __init__(
        self,
        solver: MiniBatch,
        penalty: L2,
        user_counts: NDArray[np.int64],
        item_counts: NDArray[np.int64],
        n_rows: tuple[int, int],
        start: Parameters,
    ) -> None:
        check_known(penalty)
        self.solver, self.penalty, self.parameters = solver, penalty, start.copy()
        self.means = (start if isinstance(solver.average, ExponentialMovingAverage) else _none(start)).copy()
        self.users = self._side("user", user_counts, n_rows[0])
        self.items = self._side("item", item_counts, n_rows[1])
        self.n_steps, self.n_averaged = 0, 0
        self.average: Parameters | None = None
        self.measured: list[float] = []

    def _side(self, name: str, counts: NDArray[np.int64], n_rows: int) -> Side:
        solver, arrays = self.solver, self.parameters.arrays()
        biases, factors = arrays[f"{name}_biases"][:, None], arrays[f"{name}_factors"]
        n, n_factors = factors.shape
        dtype = factors.dtype
        n_rows = n if solver.dense else min(n, n_rows)
        penalty = self.penalty.row_weights(counts)
        # dense: of the whole penalty at each step; row-sparse: spread over the ratings of the row
        shares = penalty / (counts.sum() if solver.dense else np.maximum(counts, 1))
        shares = np.where(counts > 0, shares, 0).astype(dtype)
        ahead = isinstance(solver.optimizer, Lookahead)
        means = self.means.arrays()
        return Side(
            biases=biases,
            factors=factors,
            bias_state=np.zeros((n, solver.rule.n_states, 1), dtype),
            factor_state=np.zeros((n, solver.rule.n_states, n_factors), dtype),
            bias_gradient=np.zeros((n_rows, 1), dtype),
            factor_gradient=np.zeros((n_rows, n_factors), dtype),
            slots=np.arange(n) if solver.dense else np.full(n, -1),
            touched=np.arange(n_rows),
            pulls=shares if solver.dense else np.zeros(n_rows, dtype),
            shares=shares,
            steps=np.zeros(n if ahead else 0, np.int64),
            slow_biases=biases.copy() if ahead else np.empty((0, 1), dtype),
            slow_factors=factors.copy() if ahead else np.empty((0, n_factors), dtype),
            seen=np.zeros(len(means[f"{name}_biases"]), np.int64),
            mean_biases=means[f"{name}_biases"][:, None],
            mean_factors=means[f"{name}_factors"],
        )

    def current(self) -> Parameters:
        if isinstance(self.solver.average, ExponentialMovingAverage):
            return self.means
        return self.parameters if self.average is None else self.average

    def pace(self, number: int) -> tuple[float, float]:
        rates, momenta = self.paces(np.array([(number - 0.5) / self.solver.n_epochs]))
        return float(rates[0]), float(momenta[0])

    def observe(self, measured: float) -> None:
        self.measured.append(measured)

    def paces(self, shares: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(rates, momenta) at these shares of training."""
        solver = self.solver
        knots = shares if len(shares) <= _KNOTS else np.linspace(shares[0], shares[-1], _KNOTS)
        found = []
        for schedule, base in (
            (solver.schedule, solver.learning_rate * after(solver.schedule, self.measured)),
            (solver.momentum_schedule, solver.rule.momentum_or_beta1 or 0.0),
        ):
            values = np.array([schedule(float(knot)) for knot in knots], np.float64) * base
            found.append(values if knots is shares else np.interp(shares, knots, values))
        if not (found[1] < 1).all():
            raise ParameterValueError(
                f"momentum_schedule={solver.momentum_schedule!r} carries the momentum to {found[1].max():g}; "
                "it must stay below one"
            )
        return found[0], found[1]

    def end_epoch(self, number: int) -> None:
        """Brings the averages up to date."""
        average = self.solver.average
        if isinstance(average, ExponentialMovingAverage):
            for side in (self.users, self.items):
                left = (average.memory ** (self.n_steps - side.seen))[:, None].astype(side.factors.dtype)
                for mean, rows in (
                    (side.mean_biases, side.biases),
                    (side.mean_factors, side.factors),
                ):
                    mean[:] = rows + left * (mean - rows)
                side.seen[:] = self.n_steps
        elif average is not None and number > average.start * self.solver.n_epochs:
            self.n_averaged += 1
            if self.average is None:
                self.average = self.parameters.copy()
            for name, mean in self.average.arrays().items():
                mean += (self.parameters.arrays()[name] - mean) / mean.dtype.type(self.n_averaged)

    def optimizer_state(self) -> dict[str, NDArray[Any]]:
        """The arrays that later steps depend on; not copied."""
        state: dict[str, NDArray[Any]] = {"counters": np.array([self.n_steps, self.n_averaged])}
        for name, side in (("users", self.users), ("items", self.items)):
            state |= {f"{name}.{part}": getattr(side, part) for part in _KEPT}
        if self.average is not None:
            state |= {f"average.{name}": array for name, array in self.average.arrays().items()}
        return state

    def restore_optimizer(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Takes back what `optimizer_state` gave."""
        self.n_steps, self.n_averaged = map(int, state["counters"])
        if self.n_averaged and isinstance(self.solver.average, StochasticWeightAverage):
            self.average = self.parameters.copy()
        for name, array in self.optimizer_state().items():
            if name != "counters":
                array[:] = state[name]

    def diverged(self, epoch: int) -> DivergenceError:
        rate = self.solver.learning_rate
        return DivergenceError(
            f"the training loss is not finite in epoch {epoch}: the steps are too long. "
            f"Lower learning_rate (now {rate:g}; try {rate / 4:g}), or give clip_norm=1"
        )


class MiniBatchRun(Stepping):
    """One descent on ratings under way."""

    def __init__(
        self, solver: MiniBatch, objective: Objective, start: Parameters, weights: NDArray[Any] | None = None
    ) -> None:
        n_ratings = objective.interactions.n_ratings
        solver.check(objective.loss, objective.link)
        self.objective = objective
        functions = rating_functions(objective.loss, objective.link) + solver.rule.functions
        self.kernel = with_functions(minibatch_block, functions)
        self.batch_size = n_ratings if solver.batch_size == "all" else min(solver.batch_size, n_ratings)
        dtype = start.user_biases.dtype
        given = np.empty(0) if weights is None else _checked(weights, n_ratings)
        self.of_ratings = given.astype(dtype)
        n_rows = (self.batch_size,) * 2
        self.done, self.total = 0, 0.0  # batches of the epoch under way, and their summed loss
        super().__init__(
            solver, objective.penalty, objective.user_counts, objective.item_counts, n_rows, start
        )

    def state(self) -> dict[str, NDArray[Any]]:
        return self.optimizer_state() | {"done": np.array([self.done]), "total": np.array([self.total])}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.restore_optimizer(state)
        self.done, self.total = int(state["done"][0]), float(state["total"][0])

    def epoch(self, number: int, rng: np.random.Generator, progress: Progress) -> float:
        """One pass in an order that `rng` draws; returns the mean loss."""
        solver, size, n_ratings = self.solver, self.batch_size, self.objective.interactions.n_ratings
        order = random_order(n_ratings, rng)
        n_batches = -(-n_ratings // size)
        l2 = self.objective.penalty.factors * solver.l2_schedule((number - 0.5) / solver.n_epochs)
        block_batches = max(1, _BLOCK // size)
        for first in range(self.done, n_batches, block_batches):
            last = min(first + block_batches, n_batches)
            block = order[first * size : last * size]
            shares = (number - 1 + np.arange(first, last) / n_batches) / solver.n_epochs
            loss, done = self.step(block, *self.paces(shares), l2)
            if done < len(block) or not np.isfinite(loss):
                raise self.diverged(number)
            self.done, self.total = last, self.total + loss
            progress.advance(len(block), loss / len(block))
        mean, self.done, self.total = self.total / n_ratings, 0, 0.0
        self.end_epoch(number)
        return mean

    def step(
        self, block: NDArray[np.int64], rates: NDArray[np.float64], momenta: NDArray[np.float64], l2: float
    ) -> tuple[float, int]:
        """One step for each batch of `block`; returns (summed loss before the steps, ratings done)."""
        solver, table, rule = self.solver, self.objective.interactions, self.solver.rule
        low, high = self.objective.link.bounds
        decay = (rule.weight_decay,) * 2 if isinstance(rule, AdamW) else solver.weight_decay.pair
        ahead = solver.optimizer if isinstance(solver.optimizer, Lookahead) else None
        loss, done = self.kernel(
            block, self.batch_size, table.users, table.items, table.ratings, self.of_ratings,
            float(self.parameters.global_mean), self.users, self.items, solver.dense,
            kernel_code(self.objective.link), kernel_code(self.objective.loss), low, high - low,
            float(l2), float(self.objective.penalty.biases), float(decay[0]), float(decay[1]),
            float(solver.clip_value or np.inf), float(solver.clip_norm or np.inf),
            kernel_code(rule), rates, momenta, self.n_steps,
            rule.decay_or_beta2, float(getattr(rule, "epsilon", 0)),
            ahead.every if ahead else 0, float(ahead.step if ahead else 1),
            float(solver.average.memory if isinstance(solver.average, ExponentialMovingAverage) else 0),
        )  # fmt: skip
        self.n_steps += len(rates)
        return float(loss), int(done)


def _none(like: Parameters) -> Parameters:
    return Parameters.zeros((0, 0), like.n_factors, 0.0, like.user_biases.dtype.type)


def _checked(weights: NDArray[Any], n_ratings: int) -> Array:
    found: Array = np.asarray(weights, np.float64)
    if found.shape != (n_ratings,) or not (np.isfinite(found) & (found >= 0)).all():
        raise ParameterValueError(
            f"weights of shape {found.shape} for {n_ratings:,} ratings; one finite number each, zero or more"
        )
    return found
