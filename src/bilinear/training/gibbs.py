"""Gibbs sampling of the dot-product model: the mean over the posterior instead of one point.

A point estimate fits each row's noise; averaging over the posterior does not, and there is no penalty to
search for: precisions are drawn with the rest. Source: Salakhutdinov, Mnih, "Bayesian probabilistic
matrix factorization using Markov chain Monte Carlo", ICML 2008; the prior's mean from features: Adams,
Dahl, Murray, 2010, and Macau (Simm et al., 2017); histories as features: Rendle, Zhang, Koren, "On the
difficulty of evaluating baselines", 2019.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_whole
from bilinear.data.interactions import Interactions
from bilinear.data.sparse_block import SparseBlock
from bilinear.errors import DivergenceError, ParameterValueError
from bilinear.model.link import Identity, Link
from bilinear.model.parameters import Parameters
from bilinear.objective.losses import Loss, SquaredError
from bilinear.registry import register
from bilinear.training.compiling import Posterior, compile_draws
from bilinear.training.gibbs_chain import Chain, Draw, history_blocks
from bilinear.training.history import History
from bilinear.training.loop import Run, train
from bilinear.training.progress import Progress
from bilinear.training.schedules import Constant, Schedule
from bilinear.training.solver import Solver
from bilinear.training.thread_pool import Workers, workers

Histories = Literal["none", "users", "items", "both"]
HISTORIES: tuple[Histories, ...] = ("none", "users", "items", "both")
_TRACED = 8  # pairs of the training table whose scores are followed
_FACTORS = ((300_000, 8), (700_000, 16))  # up to so many ratings; else 32


@register
@dataclass(frozen=True)
class Gibbs(Solver):
    """Draws from the posterior of a dot-product model with Gaussian priors; the model is their mean.

    For squared error with the identity. Each sweep draws all rows of both sides, blocked by row, then the
    precisions of the priors and of the noise, so nothing is searched: `l2` and `l2_biases` stay
    "auto". Many of the later sweeps are averaged and compiled into one set of twice as many factors.

    Args:
        n_epochs: sweeps, burn-in included; "auto" is 160.
        burn_in: first sweeps that are not kept; "auto" is a quarter of n_epochs.
        n_draws: how many draws are averaged at most, evenly spaced after the burn-in; "auto" is 1,024 over
            the factors of a draw, 32 or more.
        history: whose prior's mean depends on who rated what: of "users" on the items they rated (SVD++), of
            "items" on the users who rated them, of "both", or "none". It is built from the training table.
        noise_per_user: each user's ratings have a noise precision of their own, from a population that is
            drawn as well; False: one for all.
        keep_draws: store the draws with the model, 4 * n_draws * n_factors bytes a user and an item.
        n_threads: cores to use, None being all; the bits of the result do not depend on it.

    In the history, `loss` is the mean squared residual of the current draw, which does not fall like that of
    a point estimate, and `diagnostics` has the split R-hats of the chain.

    Examples:
        >>> from bilinear import Gibbs, MatrixFactorization, synthetic_ratings
        >>> ratings = synthetic_ratings(60, 40, 900, rng=0)
        >>> model = MatrixFactorization(n_factors=2, solver=Gibbs(n_epochs=20, history="items"), rng=0)
        >>> model.fit(ratings).parameters_.n_factors
        4

    Cost:
        O(n_ratings * n_factors^2 + (n_users + n_items) * n_factors^3) a sweep, a history
        O(n_ratings * n_factors) more; memory: n_draws copies of the parameters.
    """

    n_epochs: int | Literal["auto"] = "auto"
    burn_in: int | Literal["auto"] = "auto"
    n_draws: int | Literal["auto"] = "auto"
    history: Histories = "none"
    noise_per_user: bool = True
    keep_draws: bool = False
    n_threads: int | None = None

    patience: ClassVar[int] = 1_000_000  # type: ignore[misc]
    l2_schedule: ClassVar[Schedule] = Constant()  # type: ignore[misc, assignment]

    def __post_init__(self) -> None:
        self.check_counts("n_epochs")
        if self.n_draws != "auto" and not (is_whole(self.n_draws) and self.n_draws >= 1):
            self.refuse("n_draws", "'auto' or a whole number of draws, at least one")
        if self.history not in HISTORIES:
            self.refuse("history", f"one of {', '.join(map(repr, HISTORIES))}")
        if self.burn_in != "auto" and not (is_whole(self.burn_in) and self.burn_in >= 0):
            self.refuse("burn_in", "'auto' or a whole number of sweeps, zero or more")
        for name in ("noise_per_user", "keep_draws"):
            if not isinstance(getattr(self, name), bool):
                self.refuse(name, "True or False")
        if "auto" not in (self.n_epochs, self.burn_in) and self.burn_in >= self.n_epochs:  # type: ignore[operator]
            self.refuse("burn_in", f"fewer than the n_epochs={self.n_epochs} sweeps")

    @property
    def n_states(self) -> int:
        """The draws, and those laid side by side."""
        return 2 * self.draws_of(32)

    def resolved(self, n_ratings: int) -> Gibbs:
        """This solver with numbers for what is "auto"; they are the same for any table."""
        n_epochs = 160 if self.n_epochs == "auto" else self.n_epochs
        burn_in = n_epochs // 4 if self.burn_in == "auto" else self.burn_in
        return replace(self, n_epochs=n_epochs, burn_in=burn_in)

    def draws_of(self, n_factors: int) -> int:
        """What n_draws is for draws of so many factors."""
        return max(32, 1024 // max(n_factors, 1)) if self.n_draws == "auto" else self.n_draws

    def factors_for(self, n_ratings: int) -> int:
        """What n_factors "auto" is: 8, 16 or 32, more for larger tables."""
        return next((k for most, k in _FACTORS if n_ratings <= most), 32)

    def check(self, loss: Loss, link: Link) -> None:
        """Raises ParameterValueError unless the conditionals are Gaussian."""
        if not (type(loss) is SquaredError and type(link) is Identity):
            raise ParameterValueError(
                "Gibbs draws from Gaussian conditionals: it needs loss=SquaredError() and link=Identity(), "
                f"not {type(loss).__name__} with {type(link).__name__}; for these take solver=SGD()"
            )

    def minimise(self, *args: Any, **kwargs: Any) -> tuple[Parameters, History]:
        """Not a descent: refuses, and names `sample`."""
        raise ParameterValueError(
            "Gibbs draws from a posterior and minimises nothing; use it as "
            "MatrixFactorization(solver=Gibbs()), or take SGD(), ALS() or MiniBatch() to minimise"
        )

    def sample(
        self,
        table: Interactions,
        n_factors: int,
        rng: np.random.Generator,
        *,
        user_blocks: Sequence[SparseBlock] = (),
        item_blocks: Sequence[SparseBlock] = (),
        progress: Progress | None = None,
        stage: str = "sampling",
    ) -> tuple[Posterior, History]:
        """Runs a chain on all ratings of a table.

        Args:
            n_factors: of each draw; the compiled model has at most twice as many.
            rng: gives the chain its key.
            user_blocks, item_blocks: features of the rows, in the order of the vocabularies; histories, where
                asked for, come first.

        Returns:
            The posterior and the history. Ctrl-C ends the chain and keeps the draws so far.

        Raises:
            KeyboardInterrupt: Only before the first sweep is done.

        Examples:
            >>> import numpy as np
            >>> from bilinear import Gibbs, synthetic_ratings
            >>> ratings = synthetic_ratings(60, 40, 900, rng=0)
            >>> posterior, history = Gibbs(n_epochs=20).sample(ratings, 2, np.random.default_rng(0))
            >>> posterior.parameters.user_factors.shape, len(history.epochs)
            ((60, 4), 20)
        """
        run, history = self.chain(
            table, n_factors, rng, user_blocks=user_blocks, item_blocks=item_blocks,
            progress=progress, stage=stage,
        )  # fmt: skip
        return run.posterior(), history

    def chain(
        self,
        table: Interactions,
        n_factors: int,
        rng: np.random.Generator,
        *,
        user_blocks: Sequence[SparseBlock] = (),
        item_blocks: Sequence[SparseBlock] = (),
        progress: Progress | None = None,
        stage: str = "sampling",
        start: Chain | None = None,
        draws: Sequence[Draw] = (),
    ) -> tuple[SamplingRun, History]:
        """As `sample`, without the work of compiling: the chain and its draws.

        Args:
            start: of the same users, items and blocks, on other ratings of them: it goes on from there.
            draws: of earlier sweeps, kept beside those that follow.

        Examples:
            >>> import numpy as np
            >>> from bilinear import Gibbs, synthetic_ratings
            >>> ratings = synthetic_ratings(60, 40, 900, rng=0)
            >>> run, history = Gibbs(n_epochs=20).chain(ratings, 2, np.random.default_rng(0))
            >>> run.mean_scores(ratings.users[:3], ratings.items[:3]).shape
            (3,)
        """
        solver = self.resolved(table.n_ratings)
        assert solver.n_epochs != "auto"
        of_users, of_items = history_blocks(table)
        users = [of_users] * (self.history in ("users", "both")) + list(user_blocks)
        items = [of_items] * (self.history in ("items", "both")) + list(item_blocks)
        key = int(rng.integers(2**63))
        with workers(solver.n_threads) as pool:
            run = SamplingRun(solver, table, n_factors, key, pool, users, items)
            run.draws += draws
            if start is not None:
                run.chain.go_on_from(start)
            _, history = train(
                run,
                rng,
                n_ratings=table.n_ratings,
                n_epochs=solver.n_epochs,
                patience=solver.patience,
                progress=progress,
                stage=stage,
            )
            return run, history


class SamplingRun(Run):
    """One chain under way."""

    resumable, own_order, rotates, reopened = True, True, True, True

    def __init__(
        self,
        solver: Gibbs,
        table: Interactions,
        n_factors: int,
        key: int,
        pool: Workers,
        user_blocks: Sequence[SparseBlock] = (),
        item_blocks: Sequence[SparseBlock] = (),
    ) -> None:
        assert solver.n_epochs != "auto"
        assert solver.burn_in != "auto"
        self.solver, self.pool, self.n_factors = solver, pool, n_factors
        self.chain = Chain.start(
            table,
            n_factors,
            key,
            user_blocks=user_blocks,
            item_blocks=item_blocks,
            noise_per_user=solver.noise_per_user,
        )
        left = solver.n_epochs - solver.burn_in
        ends = np.linspace(0, left, min(solver.draws_of(n_factors), left) + 1)[1:]
        self.kept_after = {solver.burn_in + round(end) for end in ends.tolist()}
        self.by_user = table.by_user
        at = np.linspace(0, table.n_ratings - 1, _TRACED).astype(np.int64)
        self.pairs = table.users[at], table.items[at]
        self.draws: list[Draw] = []
        self.trace: list[list[float]] = []
        self.between = True
        self._compiled: Posterior | None = None

    def epoch(self, number: int, rng: np.random.Generator, progress: Progress) -> float:
        """One sweep; returns the mean squared residual of the draw."""
        self.between = False
        loss = self.chain.sweep(self.pool, progress)
        if not np.isfinite(loss):
            raise self.diverged(number)
        self.trace.append(self._traced())
        if number in self.kept_after:
            self.draws.append(self.chain.draw())
        self.between, self._compiled = True, None
        return loss

    def posterior(self) -> Posterior:
        """Of the draws kept so far; in the burn-in of the current one."""
        if self._compiled is None:
            draws = self.draws or [self.chain.draw()]
            chain, keep = self.chain, self.solver.keep_draws
            with workers(1):  # small products of matrices, which threads of BLAS only wait for
                self._compiled = compile_draws(
                    draws, chain.center, chain.deviation, 2 * self.n_factors, self.by_user, keep=keep
                )
        return self._compiled

    def weights(self) -> Parameters:
        """The current draw, in rating units."""
        chain, k = self.chain, self.n_factors
        root = np.float32(chain.deviation**0.5)
        users, items = chain.users.weights, chain.items.weights
        of_users, of_items = (side[:, k] * np.float32(chain.deviation) for side in (users, items))
        return Parameters(chain.center, of_users, of_items, users[:, :k] * root, items[:, :k] * root)

    def current(self) -> Parameters:
        return self.posterior().parameters

    def last(self) -> Parameters:
        """Of the last draw: the posterior is compiled only where it is asked for."""
        return self.weights()

    def mean_scores(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> NDArray[np.float64]:
        """(n,) of pairs of rows: the mean over the draws kept so far, in rating units."""
        k, total = self.n_factors, np.zeros(len(users))
        draws = self.draws or [self.chain.draw()]
        for draw in draws:
            p, q = draw.users[users], draw.items[items]
            total += p[:, k] + q[:, k] + np.einsum("nf,nf->n", p[:, :k], q[:, :k])
        found: NDArray[np.float64] = self.chain.center + total * (self.chain.deviation / len(draws))
        return found

    def diagnostics(self) -> dict[str, float]:
        """Split R-hats of the log-likelihood, the noise and the scores of some pairs, after the burn-in."""
        assert self.solver.burn_in != "auto"
        kept = np.array(self.trace[self.solver.burn_in :])
        if len(kept) < 4:
            return {}
        found = [split_r_hat(series) for series in kept.T]
        names = ("log-likelihood", "noise")
        return dict(zip(names, found[:2], strict=True)) | {"predictions": max(found[2:])}

    def state(self) -> dict[str, NDArray[Any]] | None:
        """Chain, trace and draws; None within a sweep."""
        if not self.between:
            return None
        own = {f"chain.{name}": array for name, array in self.chain.state().items()}
        own["trace"] = np.array(self.trace, np.float64).reshape(len(self.trace), -1)
        for n, draw in enumerate(self.draws):
            own |= {f"draw{n}.{name}": array for name, array in draw.arrays().items()}
        return own

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        head = "chain."
        self.chain.restore({name.removeprefix(head): a for name, a in state.items() if name.startswith(head)})
        self.trace = [list(map(float, row)) for row in state["trace"]]
        self.draws, self._compiled = [], None
        while f"draw{len(self.draws)}.users" in state:
            head = f"draw{len(self.draws)}."
            own = {name.removeprefix(head): np.array(a) for name, a in state.items() if name.startswith(head)}
            self.draws.append(Draw.from_arrays(own))

    def diverged(self, number: int) -> DivergenceError:
        return DivergenceError(
            f"the draws are not finite in sweep {number}: the ratings' spread or the features are too large; "
            "look at them with bilinear.describe, and give the features unit norm"
        )

    def _traced(self) -> list[float]:
        chain, k = self.chain, self.n_factors
        p, q = chain.users.weights[self.pairs[0]], chain.items.weights[self.pairs[1]]
        scores = p[:, k] + q[:, k] + (p[:, :k] * q[:, :k]).sum(axis=1)
        noise = float(np.log(chain.noise[chain.users.rated]).mean())
        return [chain.log_likelihood(), noise, *map(float, scores)]


def split_r_hat(series: NDArray[np.float64]) -> float:
    """How much wider a chain is than its halves: near one where both halves are of one distribution.

    Args:
        series: (n,) values of one quantity, n >= 4.

    Source:
        Gelman et al., Bayesian Data Analysis, 3rd edition, section 11.4.
    """
    n = len(series) // 2
    halves = np.stack([series[:n], series[-n:]])
    within = float(halves.var(axis=1, ddof=1).mean())
    between = n * float(halves.mean(axis=1).var(ddof=1))
    if within == 0:
        return 1.0 if between == 0 else np.inf
    return float(np.sqrt(((n - 1) / n * within + between / n) / within))
