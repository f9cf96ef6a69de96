"""Descent on ranking losses with sampled negatives: what is minimised, and one epoch of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import kernel_code
from bilinear.data.interactions import Interactions
from bilinear.formulas import with_functions
from bilinear.kernels import sampled as kernels
from bilinear.kernels import sampled_steps as steps
from bilinear.kernels.negatives import Sampler
from bilinear.kernels.optimizers import Side
from bilinear.model.parameters import Array, Parameters
from bilinear.objective.penalties import L2
from bilinear.objective.ranking_losses import RankingLoss
from bilinear.training.minibatch import MiniBatch, Stepping
from bilinear.training.optimizers import AdamW, ExponentialMovingAverage, Lookahead
from bilinear.training.progress import Progress
from bilinear.training.thread_pool import Workers, fixed_cuts

_PARTS = 8  # of items and of users, for threads; a constant, as sums of squares are taken by part
_EACH_PART = fixed_cuts(_PARTS, 1)
_SLOPES_AT_ONCE = 1 << 22
_WORK_AT_ONCE = 1 << 31  # multiply-adds between two looks at the clock and at Ctrl-C
_WORK_FOR_THREADS = 1 << 23  # multiply-adds of a batch that are worth waking threads for


@dataclass(frozen=True, eq=False)
class SampledObjective:
    """Mean over positives of what each costs against negatives of its user, plus penalty / n_positives.

    Args:
        loss: of scores, which are `<user factors, item factors> + item bias`, or cosines.
        positives: pairs with what each counts as ratings; none is a negative of its user.
        n_negatives: drawn for each set of users of a batch.
        popularity_exponent: a negative's chance goes with its number of positives to this power.
        biased: whether items have biases (not with cosines).
    """

    loss: RankingLoss
    cosine: bool
    biased: bool
    penalty: L2
    positives: Interactions
    n_negatives: int
    popularity_exponent: float

    def sampler(self, seed: int, epoch: int) -> Any:
        """The sampler of negatives of an epoch, in the form that the kernels take."""
        counts = self.positives.by_item.counts
        catalogue = np.flatnonzero(counts).astype(np.int32)
        chances = counts[catalogue].astype(np.float64) ** self.popularity_exponent
        cumulative = np.cumsum(chances) / chances.sum()
        if self.popularity_exponent == 0:  # exact, so that as many as all are all
            cumulative = np.arange(1, len(catalogue) + 1) / len(catalogue)
        cumulative[-1] = 1.0
        chances /= chances.sum()
        n_guides = 2 * len(catalogue) if self.popularity_exponent else 0
        guide = np.searchsorted(cumulative, np.arange(n_guides) / max(n_guides, 1), "right")
        key = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0]
        log_chances = np.log(chances).astype(np.float32)
        return Sampler(catalogue, cumulative, guide, log_chances, key)


class SampledRun(Stepping):
    """One descent under way.

    Args:
        order: "users" puts all positives of a user into one step, and as many users as fill the
            batch; "pairs" shuffles positives, and a user has those of its positives that fall in.
        pool: threads; the bits do not depend on how many.
    """

    def __init__(
        self,
        solver: MiniBatch,
        objective: SampledObjective,
        start: Parameters,
        order: Literal["users", "pairs"],
        seed: int,
        pool: Workers,
    ) -> None:
        table = objective.positives
        n_pairs, (n_users, n_items) = table.n_ratings, table.shape
        self.objective, self.order, self.seed, self.pool = objective, order, seed, pool
        self.batch_size = n_pairs if solver.batch_size == "all" else min(solver.batch_size, n_pairs)
        counts = table.by_user.counts
        longest = self.batch_size + (int(counts.max()) if order == "users" else 0)
        most_users = min(n_users, longest)
        rows = (most_users, n_items)
        super().__init__(solver, objective.penalty, counts, table.by_item.counts, rows, start)
        self.n_negatives = min(objective.n_negatives, int((table.by_item.counts > 0).sum()))
        self.positives = kernels.Positives(table.users, table.items, table.ratings, table.by_user.indptr)
        functions = objective.loss.functions + solver.rule.functions
        self.score_sets = with_functions(kernels.score_sets, functions)
        self.take_steps = with_functions(steps.take_steps, functions)
        self.by_phase = bool(functions)  # a copy of all phases in one would take long to compile
        self.model = kernels.Model(
            self.users.factors, self.items.factors, self.items.biases, objective.cosine,
            kernel_code(objective.loss), *objective.loss.numbers,
        )  # fmt: skip
        n_sets = -(-most_users // kernels.SET)
        chunk = min(n_sets, max(1, _SLOPES_AT_ONCE // (self.n_negatives * kernels.SET)))
        n_factors = start.n_factors
        self.work = kernels.Work(
            users=np.empty(most_users, np.int32),
            starts=np.empty(most_users + 1, np.int64),
            up=np.empty(longest, np.float32),
            directions=np.empty((most_users, n_factors), np.float32),
            losses=np.empty(n_sets),
            negatives=np.empty((chunk, self.n_negatives), np.int32),
            down=np.empty((chunk, self.n_negatives, kernels.SET), np.float32),
        )
        weights = 1 + table.by_item.counts * (n_items / max(n_pairs, 1))
        total = np.concatenate([[0.0], np.cumsum(weights)])
        inner = np.searchsorted(total, np.linspace(0, total[-1], _PARTS + 1)[1:-1])
        self.part_cuts = np.concatenate([[0], inner, [n_items]]).astype(np.int64)
        self.parts = tuple(
            _part(self.items, int(a), int(b), solver.dense)
            for a, b in zip(self.part_cuts[:-1], self.part_cuts[1:], strict=True)
        )
        self.done, self.n_sets, self.total = 0, 0, 0.0  # batches, sets and summed loss of the epoch under way
        self.used = np.zeros(_PARTS, np.int64)
        self.squares = np.zeros(2 * _PARTS)

    def epoch(self, number: int, rng: np.random.Generator, progress: Progress) -> float:
        """One pass in an order that `rng` draws; returns the mean loss."""
        n_pairs = self.objective.positives.n_ratings
        order, cuts = self._batches(rng)
        sampler = self.objective.sampler(self.seed, number)
        rule = self._rule(number)
        n_batches = len(cuts) - 1
        cost = self.n_negatives * self.parameters.n_factors
        while self.done < n_batches:
            first = self.done
            budget = cuts[first] + max(1, _WORK_AT_ONCE // cost)
            last = min(max(first + 1, int(np.searchsorted(cuts, budget))), n_batches)
            shares = (number - 1 + np.arange(first, last) / n_batches) / self.solver.n_epochs
            block = order, cuts[first : last + 1], self.n_sets
            loss, self.n_sets = self._steps(*block, sampler, rule, *self.paces(shares))
            if not np.isfinite(loss):
                raise self.diverged(number)
            self.n_steps += last - first
            self.done, self.total = last, self.total + loss
            n_done = int(cuts[last] - cuts[first])
            progress.advance(n_done, loss / n_done)
        mean, self.done, self.n_sets, self.total = self.total / n_pairs, 0, 0, 0.0
        self.end_epoch(number)
        return mean

    def state(self) -> dict[str, NDArray[Any]]:
        counters = np.array([self.done, self.n_sets])
        return self.optimizer_state() | {"sampled": counters, "total": np.array([self.total])}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.restore_optimizer(state)
        self.done, self.n_sets = map(int, state["sampled"])
        self.total = float(state["total"][0])

    def _batches(self, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(pairs in order, grouped by user within each batch; where batches begin, and the end)."""
        table = self.objective.positives
        n_pairs = table.n_ratings
        if self.order == "pairs":
            order = rng.permutation(n_pairs)
            batch = np.arange(n_pairs) // self.batch_size
            order = np.sort(batch * n_pairs + order) - batch * n_pairs
            return order, np.append(np.arange(0, n_pairs, self.batch_size), n_pairs)
        starts, counts = table.by_user.indptr, table.by_user.counts
        users = rng.permutation(np.flatnonzero(counts))
        ends = np.cumsum(counts[users])
        order = np.arange(n_pairs) + np.repeat(starts[users] - (ends - counts[users]), counts[users])
        full = np.searchsorted(ends, np.arange(self.batch_size, n_pairs, self.batch_size))
        return order, np.concatenate([[0], np.unique(np.append(ends[full], n_pairs))])

    def _rule(self, number: int) -> Any:
        solver, rule = self.solver, self.solver.rule
        share = (number - 0.5) / solver.n_epochs
        ahead = solver.optimizer if isinstance(solver.optimizer, Lookahead) else None
        decay = rule.weight_decay if isinstance(rule, AdamW) else solver.weight_decay.factors
        return steps.Rule(
            kernel_code(rule),
            rule.decay_or_beta2,
            float(getattr(rule, "epsilon", 0)),
            ahead.every if ahead else 0,
            float(ahead.step if ahead else 1),
            float(solver.average.memory if isinstance(solver.average, ExponentialMovingAverage) else 0),
            float(self.penalty.factors * solver.l2_schedule(share)),
            float(self.penalty.biases),
            float(decay),
            float(solver.clip_value or np.inf),
            float(solver.clip_norm or np.inf),
            solver.dense,
        )

    def _steps(
        self,
        order: NDArray[np.int64],
        cuts: NDArray[np.int64],
        set_number: int,
        sampler: Any,
        rule: Any,
        rates: NDArray[np.float64],
        momenta: NDArray[np.float64],
    ) -> tuple[float, int]:
        """One step a batch; returns (summed loss before the steps, number of the next set)."""
        heaviest = int(np.diff(cuts).max()) * self.n_negatives * self.parameters.n_factors
        if self.by_phase or (self.pool.n_threads > 1 and heaviest > _WORK_FOR_THREADS):
            total = 0.0
            for n, (a, b) in enumerate(pairwise(cuts.tolist())):
                step = rates[n], momenta[n], self.n_steps + n + 1
                loss, set_number = self._shared_step(order[a:b], set_number, sampler, rule, *step)
                total += loss
                if not np.isfinite(total):
                    break
            return total, set_number
        loss, number = steps.sampled_block(
            order, cuts, set_number, self.positives, sampler, self.model, self.users, self.parts,
            self.part_cuts, self.objective.biased, rule, rates, momenta, self.n_steps, self.work,
            self.used, self.squares,
        )  # fmt: skip
        return float(loss), int(number)

    def _shared_step(
        self,
        pairs: NDArray[np.int64],
        set_number: int,
        sampler: Any,
        rule: Any,
        rate: float,
        momentum: float,
        t: int,
    ) -> tuple[float, int]:
        """As `steps.sampled_block` for one batch, each phase by all threads."""
        model, user, parts, work, used = self.model, self.users, self.parts, self.work, self.used
        n_users = kernels.find_users(pairs, self.positives, work)
        n_sets = -(-n_users // kernels.SET)
        for p, part in enumerate(parts):
            used[p] = len(part.slots) if rule.dense else 0
        chunk = len(work.negatives)
        for first in range(0, n_sets, chunk):
            end = min(first + chunk, n_sets)

            def score(a: int, b: int, first: int = first) -> None:
                self.score_sets(
                    first + a, first + b, first, set_number, pairs, n_users, self.positives, sampler,
                    model, user, rule.dense, work,
                )  # fmt: skip

            def gather(p: int, _: int, first: int = first, end: int = end) -> None:
                low, high = self.part_cuts[p], self.part_cuts[p + 1]
                used[p] = kernels.gather_items(
                    parts[p], low, high, first, end, pairs, n_users, self.positives, rule.dense, work, used[p]
                )

            self.pool.run(score, fixed_cuts(end - first, -(-(end - first) // (4 * self.pool.n_threads))))
            self.pool.run(gather, _EACH_PART)
        loss = float(work.losses[:n_sets].sum())
        if not np.isfinite(loss):
            return loss, set_number
        n_rows = len(user.slots) if rule.dense else n_users

        def finish(p: int, _: int) -> None:
            some = steps.part_of_users(user, n_rows, p, _PARTS)
            self.squares[p] = steps.finish_gradients(
                parts[p], used[p], model.cosine, self.objective.biased, rule
            )
            self.squares[_PARTS + p] = steps.finish_gradients(
                some, len(some.touched), model.cosine, False, rule
            )

        def step(p: int, _: int) -> None:
            some = steps.part_of_users(user, n_rows, p, _PARTS)
            self.take_steps(parts[p], used[p], rule, rate, momentum, t, scale)
            self.take_steps(some, len(some.touched), rule, rate, momentum, t, scale)

        self.pool.run(finish, _EACH_PART)
        scale = steps.clipping(self.squares, rule.longest)
        self.pool.run(step, _EACH_PART)
        return loss, set_number + n_sets


def _part(side: Side, a: int, b: int, dense: bool) -> Side:
    """The rows a..b of a side as a side of their own; its gradient is a part of the other's."""

    def rows(array: Array) -> Array:
        return array[a:b] if len(array) else array

    cut = {name: rows(array) for name, array in side._asdict().items()}
    return Side(
        **cut | {"slots": np.arange(b - a) if dense else side.slots[a:b], "touched": np.arange(b - a)}
    )
