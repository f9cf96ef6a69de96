"""The solver chosen by the inner validation part: a point estimate, or draws with or without histories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import ClassVar, Literal

import numpy as np

from bilinear.arguments import is_real
from bilinear.data.sparse_block import SparseBlock
from bilinear.data.splits import Split
from bilinear.evaluation.metrics import RMSE
from bilinear.model.link import Link
from bilinear.objective.losses import Loss
from bilinear.registry import register
from bilinear.training.gibbs import Gibbs, Histories, SamplingRun
from bilinear.training.gibbs_chain import Chain, Draw
from bilinear.training.history import History
from bilinear.training.progress import Progress
from bilinear.training.schedules import Constant, Schedule
from bilinear.training.search import Trial
from bilinear.training.sgd import SGD
from bilinear.training.solver import Solver

TRIAL_SWEEPS = 60
_WORK: dict[str, int] = {"none": 90, "items": 120, "both": 150, "sgd": 150}
"""Passes over the ratings that a trial is worth, with its share of those with other numbers of factors; a
search with SGD is about ten descents."""
FINAL_SWEEPS = 180  # of the chain that is kept
_GOING_ON = 30  # further ones of the best trial: a short chain would lose to SGD what a longer one wins
_SETTLING = 10  # as burn-in of a chain that starts where the best trial is, on all ratings
_FEWEST = 2  # factors of a trial
_BETTER = 5e-4  # by which share of the RMSE a history or other factors must be better
_AS_GOOD = 1e-3  # within which share of the best's RMSE a history is tried with half of the factors too


@register
@dataclass(frozen=True)
class Auto(Solver):
    """Chooses by the inner validation part: SGD with its search, or Gibbs without or with histories.

    The search with SGD includes the biases alone and the mean alone. Short chains are tried without a
    history, with that of the items and with both, then what is about as good as the best with half of the
    factors, and half again, as long as that is better, or else with twice as many. The best of them goes on
    for more draws, as it has to stand beside the search; what is best then is trained on all ratings, a chain
    from where its trial ended. Where arguments leave no chain possible (another loss, link or metric, a given
    penalty or start), it is SGD.

    Args:
        budget: passes over single ratings that all trials together may take; trials beyond it are left out,
            the search with SGD first. It counts work and not time, so that a seed gives the same model on
            every machine. The default is enough for all trials up to 1.9 million ratings.
        n_threads: of Gibbs and of SGD; None takes all cores. The bits do not depend on it.

    Examples:
        >>> from bilinear import Auto, MatrixFactorization, synthetic_ratings
        >>> ratings = synthetic_ratings(60, 40, 900, rng=0)
        >>> model = MatrixFactorization(solver=Auto(), rng=0).fit(ratings)
        >>> sorted({trial.stage for trial in model.search_.trials if trial.stage.startswith("gibbs")})
        ['gibbs', 'gibbs both', 'gibbs items']
    """

    budget: float = 1e9
    n_threads: int | None = None

    n_epochs: ClassVar[Literal["auto"]] = "auto"  # type: ignore[misc]
    patience: ClassVar[Literal["auto"]] = "auto"  # type: ignore[misc]
    l2_schedule: ClassVar[Schedule] = Constant()  # type: ignore[misc, assignment]
    copies_ratings: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (is_real(self.budget) and self.budget >= 0):
            self.refuse("budget", "a number of passes over single ratings, zero or more")
        self.check_counts("n_epochs", "patience")

    def resolved(self, n_ratings: int) -> Auto:
        """This solver: what is chosen is resolved then."""
        return self

    def check(self, loss: Loss, link: Link) -> None:
        """Raises what SGD raises, which is always a choice."""
        self.sgd().check(loss, link)

    def sgd(self) -> SGD:
        """The point estimate that is tried."""
        return SGD(n_threads=self.n_threads)

    def gibbs(self, history: Histories = "none") -> Gibbs:
        """The chain that is trained on all ratings if it is chosen."""
        return Gibbs(n_epochs=FINAL_SWEEPS, history=history, n_threads=self.n_threads)

    def going_on(self, gibbs: Gibbs) -> Gibbs:
        """The same chain from where the best trial is: as many draws after a shorter burn-in."""
        whole = gibbs.resolved(0)
        assert whole.n_epochs != "auto"
        assert whole.burn_in != "auto"
        return replace(whole, n_epochs=whole.n_epochs - whole.burn_in + _SETTLING, burn_in=_SETTLING)

    def planned(self, n_ratings: int) -> list[str]:
        """The trials that the budget allows, in their order."""
        left, planned = self.budget, []
        for name in ("none", "items", "both", "sgd"):
            work = _WORK[name] * n_ratings
            if work <= left:
                planned.append(name)
                left -= work
        return planned


@dataclass(frozen=True, eq=False)
class ChosenChain:
    """The best of the chains that were tried.

    Attributes:
        trials: all of them, the best one marked.
        run, history: of the best, on the inner training part; `interrupted` says that Ctrl-C ended the
            trials.
    """

    solver: Gibbs
    n_factors: int
    validation_rmse: float
    trials: tuple[Trial, ...]
    run: SamplingRun
    history: History

    @property
    def interrupted(self) -> bool:
        return self.history.cut_short


def choose_chain(
    inner: Split,
    link: Link,
    solver: Auto,
    n_factors: int | None,
    seed: int,
    progress: Progress,
    histories: Sequence[Histories] = ("none", "items", "both"),
    user_blocks: Sequence[SparseBlock] = (),
    item_blocks: Sequence[SparseBlock] = (),
) -> ChosenChain:
    """The history and the number of factors whose short chain predicts the validation part best.

    Args:
        n_factors: None tries half and twice the usual number.
        histories: to try, the simplest first; one that is not better by 0.05 % is not taken.
        user_blocks, item_blocks: features of the rows, in all chains.

    Raises:
        KeyboardInterrupt: Before the first trial has drawn anything.
    """
    n_ratings = inner.train.n_ratings
    trials: list[Trial] = []
    best: ChosenChain | None = None

    def attempt(
        gibbs: Gibbs, k: int, stage: str = "search", start: Chain | None = None, draws: Sequence[Draw] = ()
    ) -> bool:
        """Whether to go on."""
        nonlocal best
        began = perf_counter()
        rng = np.random.default_rng([seed, 5, len(trials)])
        stage = f"{stage} gibbs {gibbs.history}, {k} factors"
        run, ran = gibbs.chain(
            inner.train, k, rng, user_blocks=user_blocks, item_blocks=item_blocks,
            progress=progress, stage=stage, start=start, draws=draws,
        )  # fmt: skip
        predicted = link.prediction(run.mean_scores(inner.test.users, inner.test.items))
        found = RMSE.of_predictions(predicted, inner.test.ratings)
        name = "gibbs" if gibbs.history == "none" else f"gibbs {gibbs.history}"
        trials.append(Trial(name, k, 0.0, 0.0, found, perf_counter() - began))
        better = best is None or start is not None or found < best.validation_rmse * (1 - _BETTER)
        if best is None or (better and not ran.cut_short):
            best = ChosenChain(solver.gibbs(gibbs.history), k, found, (), run, ran)
        elif ran.cut_short:
            best = replace(best, history=ran)
        return not ran.cut_short

    def short(history: Histories) -> Gibbs:
        return replace(solver.gibbs(history), n_epochs=TRIAL_SWEEPS)

    usual = Gibbs().factors_for(n_ratings) if n_factors is None else n_factors
    go_on = True
    for history in histories:
        go_on = go_on and attempt(short(history), usual)
    assert best is not None
    if n_factors is None:
        k, most = usual, best.validation_rmse * (1 + _AS_GOOD)
        tried = zip(histories, trials, strict=False)  # Ctrl-C leaves some out
        equal: list[Histories] = [history for history, trial in tried if trial.validation_rmse <= most]
        while go_on and k > _FEWEST and best.n_factors == k:
            k //= 2
            for history in equal:
                go_on = go_on and attempt(short(history), k)
            equal = [best.solver.history]
        if go_on and best.n_factors == usual:
            go_on = attempt(short(best.solver.history), usual * 2)
    if go_on:
        longer = replace(best.solver, n_epochs=_GOING_ON, burn_in=0)
        attempt(longer, best.n_factors, "going on,", best.run.chain, best.run.draws)
    of_best = best.validation_rmse, best.n_factors
    marked = tuple(
        replace(trial, kept=(trial.validation_rmse, trial.n_factors) == of_best) for trial in trials
    )
    return replace(best, trials=marked)
