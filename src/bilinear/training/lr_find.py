"""The learning-rate range test: a short run with a rate that grows at every step (Smith 2015)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf, log, nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_real, is_whole
from bilinear.errors import ParameterValueError
from bilinear.inline_figure import inline_figure
from bilinear.model.parameters import Parameters
from bilinear.objective.objective import Objective
from bilinear.tabular import Tabular
from bilinear.training.minibatch import MiniBatch, MiniBatchRun
from bilinear.training.sgd import SGD, SGDRun
from bilinear.training.solver import random_order
from bilinear.training.thread_pool import Workers

_FEWEST, _MOST = 64, 1 << 14  # ratings of a batch of `SGD`
_SMOOTHING = 0.9  # of the running mean of the losses
_MARGIN = 4.0  # the run ends at a loss so many times the best


@dataclass(frozen=True, eq=False)
class RangeTest(Tabular):
    """Result of `lr_find`.

    Attributes:
        learning_rates, losses: (n,) rate of each step, and the smoothed mean loss of the batches until
            it, before the step. `raw_losses` are the batches' own.
        suggestions: rates by the rule that finds them, none where the rule finds nothing:
            "valley": two thirds into the longest descent of the loss, a good first choice;
            "steepest": where the loss falls fastest against the logarithm of the rate, often too bold
                for a whole run without a warm-up;
            "minimum": a tenth of the rate with the lowest loss.
    """

    learning_rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    raw_losses: NDArray[np.float64]
    suggestions: Mapping[str, float]

    def to_columns(self) -> dict[str, Any]:
        """learning_rate, loss and raw_loss of each step."""
        return {
            "learning_rate": self.learning_rates,
            "loss": self.losses,
            "raw_loss": self.raw_losses,
        }

    def __str__(self) -> str:
        n = len(self.learning_rates)
        head = f"{n} steps, rates {self.learning_rates[0]:.2g} to {self.learning_rates[-1]:.2g}"
        lines = [f"{name:<9} {rate:.2g}" for name, rate in self.suggestions.items()]
        return "\n".join([head, *(lines or ["no suggestion: the loss never fell"])])

    def plot(self, path: str | Path | None = None) -> Any:
        """The loss against the rate, suggestions marked, as a matplotlib figure.

        Args:
            path: where to write it as well, by its suffix (PNG, SVG, PDF).
        Raises:
            MissingDependencyError: matplotlib is not installed.
        """
        figure = inline_figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        axes.plot(self.learning_rates, self.raw_losses, color="#cbd5e1", linewidth=0.8)
        axes.plot(self.learning_rates, self.losses, color="#334155")
        for number, (name, rate) in enumerate(self.suggestions.items()):
            loss = float(np.interp(log(rate), np.log(self.learning_rates), self.losses))
            axes.plot(rate, loss, "o", color=f"C{number}", label=f"{name} {rate:.2g}")
        axes.set(xscale="log", xlabel="learning rate", ylabel="mean training loss")
        top = float(np.quantile(self.losses, 0.98))
        axes.set_ylim(0.95 * float(self.losses.min()), 1.1 * max(top, float(self.losses[0])))
        if self.suggestions:
            axes.legend()
        if path is not None:
            figure.savefig(path, dpi=150)
        return figure


def lr_find(
    solver: SGD | MiniBatch,
    objective: Objective,
    start: Parameters,
    rng: np.random.Generator,
    *,
    lowest: float = 1e-6,
    highest: float = 10.0,
    n_steps: int = 200,
) -> RangeTest:
    """Trains for `n_steps` batches, the rate growing geometrically, until the loss explodes.

    `start` is not changed: the run works on a copy, so weights need no putting back. The solver's own
    learning_rate, schedule and number of epochs play no part; its momentum stays as it is. `SGD` makes
    a step a rating, so a batch is as many cells of its grid as tell their mean loss: an n_steps-th of all
    ratings, from 64 to 16,384, or one cell that has more.

    Args:
        rng: shuffles the ratings; they are gone through again when they are used up.
    Raises:
        ParameterValueError: rates out of order, or fewer than ten steps; a solver without a rate.
    Cost:
        n_steps batches at most.

    Examples:
        >>> import numpy as np
        >>> from bilinear import Identity, MiniBatch, NormalStart, SquaredError, lab, lr_find
        >>> from bilinear import synthetic_ratings
        >>> from bilinear.objective.objective import Objective
        >>> from bilinear.training.initialization import Scale
        >>> ratings, rng = synthetic_ratings(50, 30, 600, rng=0), np.random.default_rng(0)
        >>> link, loss = Identity(0.5, 5), SquaredError()
        >>> objective = Objective(loss, link, lab.L2(1.0, 1.0), ratings)
        >>> start = NormalStart(0.1).draw(ratings, 2, Scale.of(ratings, link, loss), rng)
        >>> found = lr_find(MiniBatch(batch_size=16), objective, start, rng, highest=100, n_steps=50)
        >>> sorted(found.suggestions)
        ['minimum', 'steepest', 'valley']
    """
    if not isinstance(solver, (SGD, MiniBatch)):
        raise ParameterValueError(
            f"lr_find takes an SGD or a MiniBatch solver, not {solver!r}: that has no rate"
        )
    if not (is_real(lowest) and is_real(highest) and 0 < lowest < highest):
        raise ParameterValueError(f"lowest={lowest!r}, highest={highest!r}; two positive rates, in order")
    if not (is_whole(n_steps) and n_steps >= 10):
        raise ParameterValueError(f"n_steps={n_steps!r}; a whole number, at least 10")
    step_at = _stepper(solver, objective, start, rng, n_steps)
    raw: list[float] = []
    smooth: list[float] = []
    mean, best = 0.0, inf
    rates = np.geomspace(lowest, highest, n_steps)
    for step, rate in enumerate(rates):
        loss = step_at(float(rate))
        if not np.isfinite(loss):
            break
        raw.append(loss)
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * raw[-1]
        smooth.append(mean / (1 - _SMOOTHING ** (step + 1)))
        if step > n_steps // 10 and smooth[-1] > _MARGIN * best:
            break
        best = min(best, smooth[-1])
    if len(smooth) < 2:
        raise ParameterValueError(f"the loss is not finite at a rate of {lowest:g}; give a smaller lowest=")
    losses = np.array(smooth)
    return RangeTest(rates[: len(raw)], losses, np.array(raw), suggest(rates[: len(raw)], losses))


def _stepper(
    solver: SGD | MiniBatch,
    objective: Objective,
    start: Parameters,
    rng: np.random.Generator,
    n_steps: int,
) -> Callable[[float], float]:
    """What takes the next batch at a rate and returns its mean loss, NaN or infinity where it diverged."""
    l2, n_ratings = objective.penalty.factors, objective.interactions.n_ratings
    if isinstance(solver, SGD):
        descent = SGDRun.of(solver.resolved(n_ratings), objective, start, rng, Workers(1))
        batches = _cells(descent, rng, min(max(n_ratings // n_steps, _FEWEST), _MOST))

        def of_cells(rate: float) -> float:
            cells, n = next(batches)
            fine = descent.step(cells, np.full(len(cells), rate), l2)
            return float(descent.losses[cells].sum()) / n if fine else nan

        return of_cells
    run = MiniBatchRun(replace(solver, average=None), objective, start)
    momenta = np.array([solver.rule.momentum_or_beta1 or 0.0])
    orders = _slices(n_ratings, rng, run.batch_size)

    def of_rows(rate: float) -> float:
        batch = next(orders)
        loss, done = run.step(batch, np.array([rate]), momenta, l2)
        return loss / len(batch) if done == len(batch) else nan

    return of_rows


def _slices(n_ratings: int, rng: np.random.Generator, size: int) -> Iterator[NDArray[Any]]:
    """Batches of rows, over and over; all are met before one comes again."""
    while True:
        order = random_order(n_ratings, rng)
        yield from (order[first : first + size] for first in range(0, n_ratings, size))


def _cells(descent: SGDRun, rng: np.random.Generator, size: int) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Likewise cells that hold `size` ratings or more, or all that were left, and how many they hold."""
    while True:
        cells = descent.grid.strata(rng).reshape(-1)
        held = np.cumsum(descent.grid.sizes[cells])
        first = before = 0
        while before < held[-1]:
            end = min(int(np.searchsorted(held, before + size)) + 1, len(held))
            yield cells[first:end], int(held[end - 1]) - before
            first, before = end, int(held[end - 1])


def suggest(rates: NDArray[np.float64], losses: NDArray[np.float64]) -> dict[str, float]:
    """Rates by each rule of `RangeTest`, for a smoothed curve."""
    lowest = int(np.argmin(losses))
    if lowest < 2 or losses[lowest] >= losses[0] * (1 - 1e-3):
        return {}
    # derivatives over a tenth of the curve, and none in its first tenth, where few batches are averaged
    reach = max(1, len(losses) // 20)
    skipped, logs = min(2 * reach, lowest - 1), np.log(rates)
    behind, ahead = (np.clip(np.arange(lowest + 1) + by, 0, lowest) for by in (-reach, reach))
    falling = (losses[ahead] - losses[behind]) / (logs[ahead] - logs[behind])
    steepest = skipped + int(np.argmin(falling[skipped:]))
    return {
        "valley": _valley(rates, losses),
        "steepest": float(rates[steepest]),
        "minimum": float(rates[lowest]) / 10,
    }


def _valley(rates: NDArray[np.float64], losses: NDArray[np.float64]) -> float:
    """Two thirds into the longest falling subsequence, as fastai's."""
    n = len(losses)
    longest, before = np.ones(n, int), np.full(n, -1)
    for i in range(1, n):
        higher = np.flatnonzero(losses[:i] > losses[i])
        if len(higher):
            best = higher[np.argmax(longest[higher])]
            longest[i], before[i] = longest[best] + 1, best
    at = int(np.argmax(longest))
    chain = [at]
    while before[chain[-1]] >= 0:
        chain.append(int(before[chain[-1]]))
    chain.reverse()
    return float(rates[chain[min(len(chain) * 2 // 3, len(chain) - 1)]])
