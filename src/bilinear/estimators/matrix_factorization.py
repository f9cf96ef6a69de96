"""The dot-product model, fitted by gradient descent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import draw_seed, is_real, is_whole
from bilinear.data.interactions import Interactions, InteractionsLike
from bilinear.data.items import Items
from bilinear.data.outliers import warn_of_outliers
from bilinear.data.row_subset import Part
from bilinear.data.side_table import Users
from bilinear.data.sparse_block import SparseBlock
from bilinear.data.splits import Split, split_validation
from bilinear.errors import EmptyDataError, ParameterValueError
from bilinear.estimators.baselines import check_fraction
from bilinear.estimators.conformal import Conformal
from bilinear.estimators.rating_model import RatingModel, check_table, resolve_link
from bilinear.estimators.recommender import TensorReader
from bilinear.estimators.side_features import Features
from bilinear.estimators.update import ROUNDS, Change, Updates, rows_from
from bilinear.estimators.with_features import WithFeatures
from bilinear.evaluation.metrics import RMSE, Metric, MetricLike
from bilinear.memory import require
from bilinear.model.link import Identity, Link
from bilinear.model.parameters import Parameters
from bilinear.objective.fold_in import fold_in
from bilinear.objective.losses import Loss, SquaredError
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2, RowWeights
from bilinear.persistence.codec import decode, encode
from bilinear.registry import register
from bilinear.training.callbacks import OnEpoch
from bilinear.training.checkpoint import Checkpoint, mark_interrupted, record_once
from bilinear.training.choice import Auto, choose_chain
from bilinear.training.compiling import Posterior
from bilinear.training.fitting import fitting
from bilinear.training.gibbs import HISTORIES, Gibbs
from bilinear.training.gibbs_chain import Chain
from bilinear.training.history import History
from bilinear.training.initialization import NormalStart, Scale, random_start
from bilinear.training.loop import Validation, train_again
from bilinear.training.lr_find import RangeTest, lr_find
from bilinear.training.progress import NullProgress, Progress
from bilinear.training.rating_units import Units
from bilinear.training.search import (
    SearchTable,
    first_choice,
    search,
    searched_part,
    solve_without_factors,
)
from bilinear.training.sgd import SGD
from bilinear.training.solver import Solver
from bilinear.training.validation import RankingValidation, RatingValidation

_MOST_FACTORS = 4096
_MOST_VALIDATION_USERS = 6000  # of a ranking metric
_FEWEST_FACTORS = 64  # of the widest trial that every search makes
_LAST_STAGE = "on all ratings"
_SUCH_AS = {"loss": "SquaredError()", "link": "Identity()", "solver": "SGD()"}


class _Trained(NamedTuple):
    """What training ends with, in the units that it was done in."""

    penalty: L2
    search: SearchTable | None
    parameters: Parameters
    history: History
    posterior: Posterior | None = None
    conformal: Conformal | None = None
    validation_rmse: float = np.inf


@register
@dataclass(repr=False, eq=False)
class MatrixFactorization(WithFeatures, RatingModel):
    """score = global_mean + user bias + item bias + <user factors, item factors>.

    An embedding look-up is a one-hot row times a matrix, so the score is linear in the user
    with the item fixed and in the item with the user fixed: bilinear in the weights. The
    prediction is `link(score)`.

    Args:
        n_factors: length of the factors; "auto" tries 32, 64, 128, 256, and none: with biases alone, and
            with the mean alone where l2_biases is "auto" too; see `bilinear.training.search`.
        l2, l2_biases: penalties of factors and biases, see `L2`; "auto" searches for them.
        l2_exponent: how the penalty grows with a row's number of ratings, see `L2`.
        loss: `SquaredError()`, or `CrossEntropy()` (needs the sigmoid; convex in the score).
        link: `Identity()` or `Sigmoid()`.
        rating_range: (low, high) of the predictions. None takes the data's own range, which a
            sigmoid widens by a tenth on either side.
        solver: how it descends: `SGD()`, `ALS()` or `MiniBatch(optimizer=Adam(), ...)`; or `Gibbs()`, which
            averages over the posterior, searches nothing and sets nothing aside; or `Auto()`, which chooses
            between SGD and Gibbs and is what `bilinear train` takes.
        start_size: standard deviation of the starting factors times sqrt(n_factors), for
            ratings of standard deviation one.
        validation_fraction: share of the training ratings set aside inside `fit` for the search,
            early stopping and the best epoch. Zero: all epochs run, and nothing may be "auto".
        metric: what early stopping and the best epoch go by: "rmse", "mae", "ndcg@20" (of lists of all items
            for up to 6,000 users; every held-out rating is a hit), or one of your own, see `Metric`. The
            search goes by the RMSE whatever it is, and training follows once more with what was found.
        refit: afterwards train once more on all ratings, for as many epochs as were best.
        rng: seed; the same seed and table give the same bits. None draws one, kept in `seed_`.
        start: None is the random start of `start_size`; or `NormalStart(0.01, global_mean=0.0)`, which needs
            numbers for n_factors, l2 and l2_biases.
        item_features, user_features: see `WithFeatures`.

    Learned attributes are listed at `RatingModel`.

    Cost:
        O(n_ratings * n_factors * n_epochs); the search costs some ten such runs, of more than 5 million
        ratings some two or three, as it tries most of its choices on a part of the users.

    Examples:
        >>> from bilinear import ALS, MatrixFactorization, split_random, synthetic_ratings
        >>> split = split_random(synthetic_ratings(50, 30, 600, rng=0), test=0.2, rng=0)
        >>> model = MatrixFactorization(n_factors=4, l2=1.0, l2_biases=1.0, rng=0).fit(split.train)
        >>> model.parameters_.user_factors.shape, model.history_.metric
        ((50, 4), 'rmse')
        >>> model.evaluate(split.test).rmse.value < 1
        True
        >>> len(model.recommend(7, n=3))
        3
        >>> model = model.set_params(solver=ALS(n_epochs=10)).fit(split.train)
        >>> len(model.history_.epochs) <= 10
        True
    """

    can_checkpoint = True
    can_descend = True
    _updates = "approximate"

    n_factors: int | Literal["auto"] = "auto"
    l2: float | Literal["auto"] = "auto"
    l2_biases: float | Literal["auto"] = "auto"
    l2_exponent: RowWeights = 0.5
    loss: Loss = field(default_factory=SquaredError)
    link: Link = field(default_factory=Identity)
    rating_range: tuple[float, float] | None = None
    solver: Solver = field(default_factory=SGD)
    start_size: float = 0.1
    validation_fraction: float = 0.1
    refit: bool = True
    rng: int | None = None
    start: NormalStart | None = None
    metric: MetricLike = "rmse"

    def fit(
        self,
        interactions: InteractionsLike,
        *,
        items: Items | None = None,
        users: Users | None = None,
        progress: Progress | bool = False,
        checkpoint: Checkpoint | str | Path | None = None,
        on_epoch: OnEpoch | Sequence[OnEpoch] | None = None,
    ) -> Self:
        """Searches what is "auto", trains with early stopping, trains again on all ratings.

        Args:
            items, users: Tables with the columns of `item_features` and `user_features`.
            progress: True shows a bar on standard error.
            checkpoint: a folder, or `Checkpoint(folder, minutes=5)`: the state of training is written
                there as it goes, and on SIGTERM. The same call goes on from it, to the bits that
                an uninterrupted one ends with; the folder is gone when training is done.
            on_epoch: a function, or several, called with a `TrainingState` after every epoch of every stage
                (search, training, training on all ratings). What it raises ends training.

        Ctrl-C ends training and keeps the best weights so far (`history_.ended` says so); while a part of the
        users of a large table is searched there are none, and it ends `fit`.

        Raises:
            EmptyDataError, RatingValueError, ParameterValueError: before any work.
            CheckpointError: the checkpoint is damaged, or of another table, arguments or version.
            MemoryLimitError: it would not fit into memory, with the numbers.
            DivergenceError: the loss stopped being finite; the message says what to lower.
            SystemExit: status 143, after SIGTERM with a checkpoint.

        Examples:
            >>> from bilinear import MatrixFactorization, synthetic_ratings
            >>> ratings = synthetic_ratings(50, 30, 600, rng=0)
            >>> def stop_after_five(state):
            ...     if state.epoch.number == 5:
            ...         state.stop()
            >>> model = MatrixFactorization(n_factors=4, l2=1.0, l2_biases=1.0, refit=False, rng=0)
            >>> model.fit(ratings, checkpoint="state", on_epoch=stop_after_five).history_.ended
            'stopped by on_epoch'
            >>> len(model.history_.epochs)
            5
        """
        self._check(interactions)
        features = self._prepared_features(interactions, items, users)
        in_files = interactions.storage.in_files
        needed = self.bytes_to_fit(interactions.n_ratings, *interactions.shape, in_files=in_files)
        require(needed, f"training on {interactions.n_ratings:,} ratings")
        units, own_link, table, link = self._in_units(interactions)
        shown: dict[str, Any] = {
            "history": partial(units.history, link=link, loss=self.loss),
            "parameters": partial(units.parameters, link=link),
        }
        with fitting(self, interactions, progress, checkpoint, on_epoch, **shown) as reporter:
            seed = record_once(lambda: draw_seed(self.rng))
            solver: Solver = self.solver
            if isinstance(solver, Auto) and not (self._may_sample and units.trivial):
                solver = solver.sgd()
            if isinstance(solver, Gibbs):
                posterior, history = self._sampled(solver, table, seed, reporter, features)
                found = _Trained(L2(exponent=0), None, posterior.parameters, history, posterior)
                self.seed_, self.solver_ = seed, solver.resolved(table.n_ratings)
            elif isinstance(solver, Auto):
                found = self._chosen(solver, units, table, link, seed, reporter, features)
            else:
                found = self._trained(solver, units, table, link, seed, reporter)
        self.loss_, self.link_ = self.loss, own_link
        self.penalty_ = units.penalty(found.penalty, link, self.loss, back=True)
        self.search_ = None if found.search is None else units.search_table(found.search, link, self.loss)
        parameters = units.parameters(found.parameters, link)
        history = units.history(found.history, link, self.loss)
        conformal = None if found.conformal is None else found.conformal.scaled(units.scale)
        self._learn(interactions, parameters, history, found.posterior, conformal)
        self._learn_features(features, items)
        warn_of_outliers(units.fence, interactions)
        return self

    @property
    def _may_sample(self) -> bool:
        """Whether the arguments leave a chain possible beside a point estimate."""
        gaussian = type(self.loss) is SquaredError and type(self.link) is Identity
        free = self.l2 == "auto" and self.l2_biases == "auto" and self.start is None
        return gaussian and free and bool(self.validation_fraction) and Metric.of(self.metric) == RMSE

    def _chosen(
        self,
        solver: Auto,
        units: Units,
        interactions: Interactions,
        link: Link,
        seed: int,
        progress: Progress,
        features: Features,
    ) -> _Trained:
        """What `Auto` finds best on the inner validation part, trained on everything."""
        n = interactions.n_ratings
        chance = np.random.default_rng([seed, 0])
        inner = split_validation(interactions, self.validation_fraction, chance, lazy=True)
        assert isinstance(inner.train, Part)
        in_full = features.users is not None or "sgd" in solver.planned(n)
        part = inner if in_full else searched_part(inner, seed)
        n_searched = None if part is inner else part.train.n_ratings
        planned = solver.planned(n_searched or n)
        if n_searched is None:
            part = Split(inner.train.gathered(), inner.test, inner.how)
        n_factors = None if self.n_factors == "auto" else self.n_factors
        histories = [name for name in HISTORIES if name in planned] or ["none"]
        order = sorted(histories, key=("none", "items", "both", "users").index)
        chain = choose_chain(part, link, solver, n_factors, seed, progress, order, **_blocks(features))
        if n_searched is not None and chain.history.ended == "interrupted":
            raise KeyboardInterrupt  # there are no weights for all users yet
        del part
        trials = chain.trials
        if "sgd" in planned and not chain.interrupted:
            to_beat = chain.validation_rmse
            found = self._trained(solver.sgd(), units, interactions, link, seed, progress, to_beat)
            trials = (*(() if found.search is None else found.search.trials), *trials)
            if found.validation_rmse < to_beat or found.history.cut_short:
                assert found.search is not None
                shown = tuple(replace(t, kept=t.kept and not t.stage.startswith("gibbs")) for t in trials)
                return found._replace(search=replace(found.search, trials=shown))
        interrupted = chain.interrupted and n_searched is None
        table = SearchTable(trials, chain.n_factors, 0.0, 0.0, interrupted, n_searched=n_searched)
        self.seed_, self.solver_ = seed, chain.solver.resolved(n)
        if n_searched is None and not (self.refit and not interrupted):
            posterior, history = chain.run.posterior(), chain.history
        else:
            on = interactions if self.refit else inner.train.gathered()
            k, start = chain.n_factors, None if n_searched else chain.run.chain
            sampler = chain.solver if start is None else solver.going_on(chain.solver)
            del chain  # its draws are memory for what follows
            posterior, history = self._sampled(sampler, on, seed, progress, features, k, start)
        return _Trained(L2(exponent=0), table, posterior.parameters, history, posterior)

    def _trained(
        self,
        given_solver: Solver,
        units: Units,
        interactions: Interactions,
        link: Link,
        seed: int,
        progress: Progress,
        to_beat: float | None = None,
    ) -> _Trained:
        """What a descent ends with; sets `seed_` and `solver_`.

        Where the validation RMSE is not below `to_beat` it is not trained on everything.
        """
        solver = given_solver.resolved(interactions.n_ratings)
        n_factors = self.n_factors
        given = units.penalty(self._given_penalty(), link, self.loss)
        l2: float | Literal["auto"] = "auto" if self.l2 == "auto" else given.factors
        l2_biases: float | Literal["auto"] = "auto" if self.l2_biases == "auto" else given.biases
        inner: Split | None = None
        table: SearchTable | None = None
        best: tuple[Parameters, History] | None = None
        if self.validation_fraction:
            chance = np.random.default_rng([seed, 0])
            inner = split_validation(interactions, self.validation_fraction, chance, lazy=True)
            if isinstance(inner.train, Part) and not (solver.copies_ratings and self._by_ratings):
                inner = replace(inner, train=inner.train.gathered())
            if "auto" in (n_factors, l2, l2_biases):
                found = search(
                    inner.train,
                    inner.test,
                    link,
                    self.loss,
                    solver,
                    n_factors=None if n_factors == "auto" else n_factors,
                    l2=None if l2 == "auto" else l2,
                    l2_biases=None if l2_biases == "auto" else l2_biases,
                    exponent=self.l2_exponent,
                    start_size=self.start_size,
                    seed=seed,
                    progress=progress,
                    to_beat=np.inf if to_beat is None else to_beat,
                )
                table, best = found.table, (found.parameters, found.history)
                n_factors, l2, l2_biases = table.n_factors, table.l2, table.l2_biases
        assert n_factors != "auto"
        assert l2 != "auto"
        assert l2_biases != "auto"
        penalty = L2(l2, l2_biases, self.l2_exponent)
        size = self.start_size if table is None else table.start_size
        descend = partial(self._descend, solver, link, penalty, n_factors, size, seed, progress)
        if best is not None and Metric.of(self.metric) != RMSE and best[1].epochs:
            best = best if best[1].cut_short else None  # the search went by the RMSE
        if best is None and inner is not None:
            best = descend(inner.train, self._validation(inner, link, units, seed))
        elif best is None:
            best = descend(interactions)
        parameters, history = best
        conformal = None if inner is None else Conformal.of(parameters, link, inner)
        reached = _validation_rmse(table, history)
        again = inner is not None and self.refit and not history.cut_short
        again = again and (to_beat is None or reached < to_beat)
        del inner  # its memory is for what follows
        if again and history.ended == "closed form":
            parameters = solve_without_factors(interactions, penalty, link, self.loss)
        elif again:
            descend = partial(descend, interactions, stage=_LAST_STAGE)
            parameters, history = train_again(descend, parameters, history)
        if history.ended == "interrupted":
            mark_interrupted()
        self.seed_, self.solver_ = seed, solver
        return _Trained(penalty, table, parameters, history, None, conformal, reached)

    def _sampled(
        self,
        solver: Gibbs,
        table: Interactions,
        seed: int,
        progress: Progress,
        features: Features,
        n_factors: int | None = None,
        start: Chain | None = None,
    ) -> tuple[Posterior, History]:
        """A chain on all ratings: nothing is searched, so nothing is set aside for that.

        Features are columns of the rows' prior means. The chain goes on from `start`, where there is one.
        """
        users, items = _blocks(features).values()
        if n_factors is None:
            n_factors = solver.factors_for(table.n_ratings) if self.n_factors == "auto" else self.n_factors
        rng = np.random.default_rng([seed, 2])
        stage = f"sampling, {n_factors} factors"
        run, history = solver.chain(
            table, n_factors, rng, user_blocks=users, item_blocks=items,
            progress=progress, stage=stage, start=start,
        )  # fmt: skip
        if history.ended == "interrupted":
            mark_interrupted()
        return run.posterior(), history

    @property
    def _by_ratings(self) -> bool:
        """Whether validation goes by predicted ratings, not by lists."""
        return Metric.of(self.metric).k is None

    def _validation(self, inner: Split, link: Link, units: Units, seed: int) -> Validation:
        metric = Metric.of(self.metric)
        if self._by_ratings:
            own = {} if metric == RMSE else {"own": units.ratings}  # an RMSE is scaled afterwards
            return RatingValidation(inner.test, link, metric, **own)
        return RankingValidation(inner, metric, _MOST_VALIDATION_USERS, np.random.default_rng([seed, 4]))

    def retrain(self, interactions: InteractionsLike, *, progress: Progress | None = None) -> Self:
        """Trains on another table with the factors, penalties and epochs that `fit` found.

        Ctrl-C leaves the model as it was, but for `history_.ended`.

        Examples:
            >>> from bilinear import MatrixFactorization, split_random, synthetic_ratings
            >>> ratings = synthetic_ratings(50, 30, 600, rng=0)
            >>> split = split_random(ratings, test=0.2, rng=0)
            >>> model = MatrixFactorization(n_factors=4, l2=1.0, l2_biases=1.0, rng=0).fit(split.train)
            >>> model.count_trained_pairs(split.test)
            0
            >>> model.retrain(ratings).count_trained_pairs(split.test)
            120
        """
        before = self.parameters_
        self._check(interactions)
        features = self._prepared_features(interactions, None, None)
        units, own_link, table, link = self._in_units(interactions)
        assert self.seed_ is not None
        if isinstance(self.solver_, Gibbs):
            chosen = None if self.search_ is None else self.search_.n_factors
            reporter = progress or NullProgress()
            posterior, history = self._sampled(self.solver_, table, self.seed_, reporter, features, chosen)
            self.link_ = own_link
            self._learn(interactions, posterior.parameters, history, posterior)
            self._learn_features(features)
            warn_of_outliers(units.fence, interactions)
            return self
        penalty = units.penalty(self.penalty_, link, self.loss)
        if self.history_.ended == "closed form":
            parameters, history = solve_without_factors(table, penalty, link, self.loss), self.history_
        else:
            size = self.start_size if self.search_ is None else self.search_.start_size
            settings = self.solver_, link, penalty, before.n_factors, size, self.seed_
            descend = partial(self._descend, *settings, progress or NullProgress(), table, stage=_LAST_STAGE)
            parameters, history = train_again(descend, before, self.history_)
        if parameters is before:
            mark_interrupted()
            self.history_ = history
        else:
            self.link_ = own_link
            kept = self._kept_conformal(interactions.user_vocabulary)
            self._learn(interactions, units.parameters(parameters, link), history, conformal=kept)
            self._learn_features(features)
            warn_of_outliers(units.fence, interactions)
        return self

    @property
    def updates(self) -> Updates:
        """As `Recommender.updates`; the mean of a posterior has no rows to solve for."""
        return "no" if self.posterior_ is not None else super().updates

    def _update(self, change: Change) -> None:
        """Half-steps of the users and items that occur, each row to its minimum, all others held.

        Cost:
            of a fold-in a row and half-step.
        """
        if self.history_.ended == "closed form":
            self.retrain(change.table)
            return
        old, table = self.parameters_, change.table
        users = rows_from(old.user_biases, change.user_rows), rows_from(old.user_factors, change.user_rows)
        items = rows_from(old.item_biases, change.item_rows), rows_from(old.item_factors, change.item_rows)
        turns = [(users, table.by_user, change.users, items), (items, table.by_item, change.items, users)]
        for mine, grouped, chosen, fixed in turns * ROUNDS + turns[:1]:
            nobody = np.zeros(0, np.float32), np.zeros((0, old.n_factors), np.float32)
            others = Parameters(old.global_mean, nobody[0], fixed[0], nobody[1], fixed[1])
            for row in chosen.tolist():
                part = slice(*grouped.indptr[row : row + 2].tolist())
                rated = grouped.indices[part], grouped.ratings[part]
                found = fold_in(others, self.link_, self.loss_, self.penalty_, *rated)
                mine[0][row], mine[1][row] = found.bias, found.factors
        parameters = Parameters(old.global_mean, users[0], items[0], users[1], items[1])
        kept = self._kept_conformal(table.user_vocabulary)
        self._learn(table, parameters, self.history_, conformal=kept)

    def lr_find(
        self,
        interactions: Interactions,
        *,
        lowest: float = 1e-6,
        highest: float = 10.0,
        n_steps: int = 200,
    ) -> RangeTest:
        """Tries learning rates on a short run from a fresh start; see `bilinear.lr_find`.

        Penalties and factors that are "auto" are those that the search begins with. A fitted model
        stays as it is.

        Returns:
            `RangeTest`, with several suggestions and `plot()`. Set one with
            `model.set_params(solver__learning_rate=...)`.
        Raises:
            ParameterValueError: the solver has no learning rate, or rates out of order.
        Cost:
            n_steps batches at most, less than an epoch for `SGD`.

        Examples:
            >>> from bilinear import MatrixFactorization, synthetic_ratings
            >>> model = MatrixFactorization(n_factors=4, l2=1.0, l2_biases=1.0, rng=0)
            >>> found = model.lr_find(synthetic_ratings(50, 30, 600, rng=0), n_steps=20)
            >>> sorted(found.suggestions)
            ['minimum', 'steepest', 'valley']
        """
        self._check(interactions)
        _, _, interactions, link = self._in_units(interactions)
        rng = np.random.default_rng([draw_seed(self.rng), 2])
        scale = Scale.of(interactions, link, self.loss)
        first = first_choice(scale)
        n_factors = first.n_factors if self.n_factors == "auto" else self.n_factors
        penalty = L2(
            first.l2 if self.l2 == "auto" else self.l2,
            first.l2_biases if self.l2_biases == "auto" else self.l2_biases,
            self.l2_exponent,
        )
        start = self._start(interactions, n_factors, scale, self.start_size, rng)
        objective = Objective(self.loss, link, penalty, interactions)
        rates = {"lowest": lowest, "highest": highest}
        return lr_find(self.solver, objective, start, rng, **rates, n_steps=n_steps)  # type: ignore[arg-type]

    def descend(
        self, interactions: Interactions, n_factors: int, validation: Interactions | None = None
    ) -> tuple[Parameters, History]:
        endless: Any = replace(self.solver_, patience=self.solver_.n_epochs)  # type: ignore[type-var]
        settings = endless, self.link_, self.penalty_, n_factors, self.start_size, self.seed_ or 0
        return self._descend(*settings, NullProgress(), interactions, validation)

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        manifest, tensors = super()._state()
        return manifest | {"solver": encode(self.solver_)}, tensors

    def _restore(self, manifest: Mapping[str, Any], tensor: TensorReader) -> None:
        super()._restore(manifest, tensor)
        self.solver_ = decode(manifest["solver"], Solver)

    def _in_units(self, interactions: Interactions) -> tuple[Units, Link, Interactions, Link]:
        """(units, link, table in these units, link in these units); see `Units`."""
        # a chain has units of its own
        keep = self.start is not None or isinstance(self.solver, Gibbs)
        units = Units.of(interactions, self.rating_range, keep_scale=keep)
        link = resolve_link(self.link, self.rating_range, units.fence.bounded(interactions))
        return units, link, units.table(interactions), units.link(link)

    def _given_penalty(self) -> L2:
        """The penalties that are numbers; zero for what is "auto"."""
        return L2(
            0.0 if self.l2 == "auto" else self.l2,
            0.0 if self.l2_biases == "auto" else self.l2_biases,
            self.l2_exponent,
        )

    def _descend(
        self,
        solver: Solver,
        link: Link,
        penalty: L2,
        n_factors: int,
        start_size: float,
        seed: int,
        progress: Progress,
        train: Interactions,
        validation: Interactions | Validation | None = None,
        n_epochs: int | None = None,
        stage: str = "training",
    ) -> tuple[Parameters, History]:
        rng = np.random.default_rng([seed, 2])
        scale = Scale.of(train, link, self.loss)
        return solver.minimise(
            Objective(self.loss, link, penalty, train),
            self._start(train, n_factors, scale, start_size, rng),
            rng,
            validation=validation,
            n_epochs=n_epochs,
            progress=progress,
            stage=f"{stage}, {n_factors} factors",
        )

    def _start(
        self, table: Interactions, n_factors: int, scale: Scale, size: float, rng: np.random.Generator
    ) -> Parameters:
        if self.start is None:
            return random_start(table, n_factors, scale, size, rng)
        return self.start.draw(table, n_factors, scale, rng)

    def bytes_to_fit(self, n_ratings: int, n_users: int, n_items: int, *, in_files: bool = False) -> int:
        n_factors = _FEWEST_FACTORS if self.n_factors == "auto" else self.n_factors
        solver, n_states = self.solver, self.solver.n_states
        if isinstance(solver, Auto) and self._may_sample:
            solver = solver.gibbs()
        if isinstance(solver, Gibbs):
            n_factors = solver.factors_for(n_ratings) if self.n_factors == "auto" else n_factors
            n_states = 2 * solver.draws_of(n_factors)
        weights = 4 * (n_users + n_items) * (n_factors + 1)
        # start, run, best and result; a grid or a shuffled order; mask and validation part, or a copy
        held = 4 if not self.solver.copies_ratings else 0 if in_files else 8
        apart = 0 if not self.validation_fraction else 3 if self.solver.copies_ratings or in_files else 12
        return (4 + n_states) * weights + (held + apart) * n_ratings

    def check_parts(self) -> None:
        """Raises ParameterValueError for a loss, link or solver that is none, or not for the others."""
        for name, kind in (("loss", Loss), ("link", Link), ("solver", Solver)):
            value = getattr(self, name)
            if not isinstance(value, kind):
                raise ParameterValueError(f"{name}={value!r}; an object such as {_SUCH_AS[name]}")
        self.loss.check(self.link)
        self.solver.check(self.loss, self.link)

    def _check(self, interactions: Interactions) -> None:
        """All that can be refused before work begins."""
        check_table(interactions)
        self.check_parts()
        if isinstance(self.solver, Gibbs):
            for name, free in (("l2", "auto"), ("l2_biases", "auto"), ("start", None)):
                if getattr(self, name) != free:
                    raise ParameterValueError(
                        f"{name}={getattr(self, name)!r} with solver=Gibbs(): expected {free!r}: Gibbs draws "
                        "the penalties and starts by itself; leave it out, or take solver=SGD() or ALS()"
                    )
        n_factors = self.n_factors
        if n_factors != "auto" and not (is_whole(n_factors) and 0 <= n_factors <= _MOST_FACTORS):
            raise ParameterValueError(
                f"n_factors={n_factors!r}; 'auto' or a whole number, 0 to {_MOST_FACTORS}"
            )
        self._given_penalty()
        if not (is_real(self.start_size) and self.start_size > 0):
            raise ParameterValueError(f"start_size={self.start_size!r}; a positive number")
        if self.validation_fraction:
            check_fraction(self.validation_fraction)
            if interactions.n_ratings < 10:
                raise EmptyDataError(
                    f"{interactions.source}: {interactions.n_ratings} ratings are too few for an inner "
                    "validation part; use BiasModel (--model biases), or give numbers for n_factors, l2 and "
                    "l2_biases, with validation_fraction=0 (--set validation_fraction=0)"
                )
        Metric.of(self.metric)
        if not (self.start is None or isinstance(self.start, NormalStart)):
            raise ParameterValueError(f"start={self.start!r}; None or NormalStart()")
        if self.start is not None and "auto" in (self.n_factors, self.l2, self.l2_biases):
            raise ParameterValueError(
                "start= needs numbers for n_factors, l2 and l2_biases: the search draws starts of its own"
            )
        if not self.validation_fraction and "auto" in (self.n_factors, self.l2, self.l2_biases):
            raise ParameterValueError(
                "validation_fraction=0 leaves nothing to search on: give numbers for n_factors, l2 and "
                "l2_biases, or a share such as 0.1"
            )


def _validation_rmse(table: SearchTable | None, history: History) -> float:
    """Of a search's result on the inner validation part."""
    if history.best_validation_rmse is not None:
        return history.best_validation_rmse
    kept = [trial.validation_rmse for trial in ([] if table is None else table.trials) if trial.kept]
    return kept[-1] if kept else np.inf


def _blocks(features: Features) -> dict[str, tuple[SparseBlock, ...]]:
    """The arguments of `Gibbs.sample` for the features of either side."""
    return {
        "user_blocks": () if features.users is None else tuple(features.users.blocks),
        "item_blocks": () if features.items is None else tuple(features.items.blocks),
    }
