"""Base class of rating models: predictions, lists, evaluation, fold-in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_real
from bilinear.data.interactions import Grouped, Interactions, InteractionsLike
from bilinear.data.storage import parts
from bilinear.data.vocabulary import Id, Vocabulary
from bilinear.errors import EmptyDataError, ParameterValueError, RatingValueError
from bilinear.estimators.capabilities import (
    Contributions,
    HowTrained,
    ItemWeights,
    Rows,
    UserWeights,
    Values,
)
from bilinear.estimators.conformal import Conformal
from bilinear.estimators.fold_in import FoldedUser, ids_of, is_single
from bilinear.estimators.posterior_state import posterior_state, restored_posterior
from bilinear.estimators.predictions import Prediction, Predictions
from bilinear.estimators.recommender import Recommender, TensorReader
from bilinear.estimators.support import needed_support
from bilinear.evaluation.coverage import Coverage
from bilinear.evaluation.ratings import ErrorSums, RatingScores
from bilinear.model.blocks import score_block
from bilinear.model.link import Link
from bilinear.model.parameters import Array, Parameters
from bilinear.model.scoring import score_rows
from bilinear.objective.fold_in import FoldedIn, fold_in
from bilinear.objective.losses import Loss
from bilinear.objective.penalties import L2
from bilinear.objective.row_prior import RowPrior
from bilinear.persistence.codec import checked_number, checked_size, decode, encode
from bilinear.recommend.lists import RankedItems, recommend_users, recommend_vector, similar_rows
from bilinear.training.compiling import Posterior
from bilinear.training.history import COLUMNS, History
from bilinear.training.search import SearchTable
from bilinear.training.solver import Solver

_FEW_RATINGS = 20
"""Users with fewer form a group of their own in `RatingModel.coverage`."""


class RatingModel(Recommender):
    """A model of ratings by the dot product: everything but `fit`.

    It has the learned attributes of `Recommender` and these.

    Learned attributes:
        parameters_: Parameters, float32.
        link_, loss_, penalty_: with the numbers that training used.
        history_: History.
        search_: SearchTable or None, the trials of what was "auto".
        solver_: of MatrixFactorization, the solver with numbers for what was "auto".
        posterior_: Posterior or None, what `Gibbs` found beside the parameters.
        conformal_: Conformal or None, what the intervals of a point estimate are made of.
    """

    predicts_ratings = True

    parameters_: Parameters
    link_: Link
    loss_: Loss
    penalty_: L2
    history_: History
    search_: SearchTable | None
    solver_: Solver
    posterior_: Posterior | None = None
    conformal_: Conformal | None = None

    def predict_rows(self, users: NDArray[Any], items: NDArray[Any]) -> Array:
        """Predicted ratings for rows of the vocabularies, -1 for unknown. (n,) float32.

        Examples:
            >>> import numpy as np
            >>> from bilinear import BiasModel, Interactions
            >>> users, items = "ann ann bob bob cat".split(), "Alien Heat Alien Heat Heat".split()
            >>> model = BiasModel(l2_biases=0.1).fit(Interactions.from_columns(users, items, [5, 4, 4, 3, 2]))
            >>> model.predict_rows(np.array([2, -1]), np.array([0, 0])).round(1)
            array([3.1, 4.1], dtype=float32)
        """
        return self.link_.prediction(score_rows(self.parameters_, users, items))

    @overload
    def predict(  # type: ignore[overload-overlap]  # text is an iterable of text
        self, users: Id, items: Id, *, interval: float | None = None
    ) -> Prediction: ...
    @overload
    def predict(
        self, users: Iterable[Id] | Any, items: Iterable[Id] | None = None, *, interval: float | None = None
    ) -> Predictions: ...
    def predict(
        self, users: Any, items: Any = None, *, interval: float | None = None
    ) -> Prediction | Predictions:
        """Predicted ratings for pairs of ids, in order.

        Args:
            users, items: ids of equal length, or one of each. Without `items`, a table of pairs: a data frame
                whose columns are found as by `read_pairs`, or an array of two columns.
            interval: share of the ratings that shall lie within `low` and `high`, such as 0.9; see
                `predict_interval`.
        Returns:
            `Predictions`, which says where the user or the item had no training rating; of one pair a
            `Prediction`, which is a number.
        Raises:
            ParameterValueError: the lengths differ, or the model has no interval of a pair, which is named.

        Examples:
            >>> from bilinear import BiasModel, Interactions
            >>> users, items = "ann ann bob bob cat".split(), "Alien Heat Alien Heat Heat".split()
            >>> model = BiasModel(l2_biases=0.1).fit(Interactions.from_columns(users, items, [5, 4, 4, 3, 2]))
            >>> found = model.predict(["cat", "dan"], ["Alien", "Alien"])
            >>> found.values.round(1), found.unknown_user
            (array([3.1, 4.1], dtype=float32), array([False,  True]))
            >>> model.predict("cat", "Alien")
            Prediction(3.0795)
        """
        if items is None:
            from bilinear.data.reading.given import pairs_of

            users, items = pairs_of(users)
        if is_single(users) and is_single(items):
            only: Prediction = self.predict([users], [items], interval=interval)[0]
            return only
        who, what = ids_of(users, "users"), ids_of(items, "items")
        user_rows, item_rows = self.user_vocabulary_.encode(who), self.item_rows(what)
        if len(user_rows) != len(item_rows):
            raise ParameterValueError(
                f"{len(user_rows)} users and {len(item_rows)} items; one of each a pair"
            )
        low, high = None, None
        if interval is not None:
            self._check_interval(interval, user_rows, item_rows, (who, what))
            low, high = self.predict_interval(user_rows, item_rows, interval)
        return Predictions(
            self.predict_rows(user_rows, item_rows),
            ~self.has_ratings(user_rows),
            ~self.item_has_ratings(item_rows),
            low,
            high,
            who,
            what,
        )

    def predict_interval(
        self, users: NDArray[Any], items: NDArray[Any], level: float = 0.9
    ) -> tuple[Array, Array]:
        """Intervals of the ratings of pairs of rows, -1 for unknown: (low, high), each (n,) float32.

        After `Gibbs` the variance is that of the score over the posterior plus that of the user's noise; the
        interval is Gaussian. Rows without ratings have the prior's variance. Of a point estimate the half
        width is the user's spread times a factor, the quantile of such ratios on the inner validation part
        (`Conformal`); rows without ratings have none. Intervals are cut to the rating range.

        Args:
            level: share of the ratings that shall lie within.

        Raises:
            ParameterValueError: a level that is not within (0, 1), or above `interval_limit`; of a point
                estimate, a pair without training ratings.

        Examples:
            >>> import numpy as np
            >>> from bilinear import BiasModel, Gibbs, MatrixFactorization, synthetic_ratings
            >>> ratings = synthetic_ratings(20, 10, 120, rng=0)
            >>> solver = Gibbs(n_epochs=10, burn_in=5, n_draws=5)
            >>> for model in (MatrixFactorization(n_factors=2, solver=solver, rng=0), BiasModel(rng=0)):
            ...     low, high = model.fit(ratings).predict_interval(np.array([0, 1]), np.array([3, 3]), 0.9)
            ...     print(bool((low < high).all()))
            True
            True
        """
        self._check_interval(level, users, items, None)
        if self.posterior_ is not None:
            from scipy.special import ndtri

            scores = score_rows(self.parameters_, users, items).astype(np.float64)
            variance = self.posterior_.predictive_variance(users, items)
            half = float(ndtri(0.5 + level / 2)) * np.sqrt(variance)
            return self.link_.prediction(scores - half), self.link_.prediction(scores + half)
        assert self.conformal_ is not None
        predicted = self.predict_rows(users, items).astype(np.float64)
        half = self.conformal_.half_widths(users, level)
        low, high = (np.clip(end, *self.link_.bounds) for end in (predicted - half, predicted + half))
        return low.astype(np.float32), high.astype(np.float32)

    @property
    def interval_limit(self) -> float:
        """The largest share that intervals can promise; zero of a model without any.

        Examples:
            >>> from bilinear import GlobalMean, synthetic_ratings
            >>> GlobalMean().fit(synthetic_ratings(20, 10, 120, rng=0)).interval_limit
            0.0
        """
        if self.posterior_ is not None:
            return 1.0
        return 0.0 if self.conformal_ is None else self.conformal_.limit

    def _check_interval(
        self, level: float, users: NDArray[Any], items: NDArray[Any], names: tuple[Any, Any] | None
    ) -> None:
        """Raises ParameterValueError for what `predict_interval` refuses; `names` are the ids of the rows."""
        if not (is_real(level) and 0 < level < 1):
            raise ParameterValueError(f"interval={level!r}; a share between 0 and 1, such as 0.9")
        if self.posterior_ is not None:
            return
        kind = type(self).__name__
        if self.conformal_ is None:
            raise ParameterValueError(
                f"interval={level!r}: this {kind} has no intervals, as no ratings were held out to measure "
                "its residuals: fit it with a validation part (validation_fraction=0.1, and of BiasModel "
                "l2_biases='auto'), or train MatrixFactorization(solver=Gibbs())"
            )
        for n, (noun, rows, known) in enumerate(
            (("user", users, self.has_ratings(users)), ("item", items, self.item_has_ratings(items)))
        ):
            if not known.all():
                at = int(np.argmin(known))
                vocabulary = getattr(self, f"{noun}_vocabulary_")
                name = names[n][at] if names else vocabulary[rows[at]] if rows[at] >= 0 else "unknown"
                raise ParameterValueError(
                    f"interval={level!r}: {noun} {name!r} has no training ratings, as in "
                    f"{int((~known).sum()):,} of {len(known):,} pairs, and the intervals of this {kind} hold "
                    "for those that have some; leave these pairs out, or train "
                    "MatrixFactorization(solver=Gibbs())"
                )

    def coverage(self, interactions: Interactions, level: float = 0.9) -> Coverage:
        """Shares of held-out ratings within their intervals, in groups of users and items.

        Pairs that have no interval, see `predict_interval`, are counted apart.

        Raises:
            ParameterValueError: the model has no intervals, or the level is not one.

        Examples:
            >>> from bilinear import BiasModel, split_random, synthetic_ratings
            >>> split = split_random(synthetic_ratings(50, 30, 600, rng=0), test=0.2, rng=0)
            >>> found = BiasModel(rng=0).fit(split.train).coverage(split.test)
            >>> sorted(found.shares), found.counts["all"]
            (['all', 'erratic users', 'few ratings', 'steady users'], 120)
        """
        users, items = interactions.aligned_to(self.user_vocabulary_, self.item_vocabulary_)
        ratings = interactions.ratings
        if self.posterior_ is None:
            warm = self.has_ratings(users) & self.item_has_ratings(items)
            users, items, ratings = users[warm], items[warm], ratings[warm]
        low, high = self.predict_interval(users, items, level)
        noise = self.posterior_.noise if self.posterior_ is not None else self.conformal_.spreads  # type: ignore[union-attr]
        few, known = self.seen_.counts < _FEW_RATINGS, self.has_ratings(users)
        inside = np.maximum(users, 0)
        steady, erratic = np.quantile(noise[self.seen_.counts > 0], [0.25, 0.75])
        groups = {
            "all": np.ones(len(users), bool),
            "few ratings": known & few[inside],
            "steady users": known & (noise[inside] <= steady),
            "erratic users": known & (noise[inside] >= erratic),
            "cold items": ~self.item_has_ratings(items),
        }
        return Coverage.of(level, low, high, ratings, groups, interactions.n_ratings - len(users))

    def evaluate(self, interactions: Interactions | Any, *, rng: int = 0) -> RatingScores:
        """RMSE and MAE on ratings that were not trained on, with 95 % bootstrap intervals.

        Takes what `fit` takes: a table, a data frame, a sparse matrix.

        Its ids are matched to the model's; what the model does not know counts as unknown.

        Examples:
            >>> from bilinear import BiasModel, split_random, synthetic_ratings
            >>> split = split_random(synthetic_ratings(50, 30, 600, rng=0), test=0.2, rng=0)
            >>> scores = BiasModel(l2_biases=1.0).fit(split.train).evaluate(split.test)
            >>> scores.n_ratings, scores.rmse.low < scores.rmse.value < scores.rmse.high
            (120, True)
        """
        interactions = self._table(interactions, None, "evaluate")
        if not interactions.n_ratings:
            raise ParameterValueError(f"{interactions.source} has no ratings to evaluate on")
        check_has_ratings(interactions)
        users, items = interactions.aligned_to(self.user_vocabulary_, self.item_vocabulary_)
        sums = ErrorSums(interactions.n_users)
        for part in parts(len(users)):
            sums.add(
                self.predict_rows(users[part], items[part]),
                interactions.ratings[part],
                interactions.users[part],
                ~self.has_ratings(users[part]),
                ~self.item_has_ratings(items[part]),
            )
        return sums.scores(rng)

    def score(self, X: InteractionsLike, y: Any = None) -> float:
        """Share of the variance of held-out ratings that the predictions explain (R²), as in scikit-learn.

        Args:
            X: Pairs of users and items, with their ratings as `y`; or what `evaluate` takes.

        Examples:
            >>> from bilinear import BiasModel, split_random, synthetic_ratings
            >>> split = split_random(synthetic_ratings(50, 30, 600, rng=0), test=0.2, rng=0)
            >>> 0 < BiasModel(l2_biases=1.0).fit(split.train).score(split.test) < 1
            True
        """
        table = self._table(X, y, "score")
        check_has_ratings(table)
        predicted = self.predict_rows(*table.aligned_to(self.user_vocabulary_, self.item_vocabulary_))
        ratings = table.ratings.astype(np.float64)
        unexplained = float(((predicted - ratings) ** 2).sum())
        return 1 - unexplained / float(((ratings - ratings.mean()) ** 2).sum())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        from sklearn.utils import RegressorTags

        tags.estimator_type, tags.regressor_tags = "regressor", RegressorTags()
        tags.target_tags.required = True
        return tags

    def descend(
        self, interactions: Interactions, n_factors: int, validation: Interactions | None = None
    ) -> tuple[Parameters, History]:
        """One training run with the fitted settings, but for the factors; the model stays as it is.

        Args:
            interactions: A table in the rows of the model's vocabularies.
            n_factors: Of this run.
            validation: Measured after each epoch; training does not stop early.

        Raises:
            ParameterValueError: This model is not trained in epochs (`can_descend`).

        Examples:
            >>> from bilinear import MatrixFactorization, synthetic_ratings
            >>> ratings = synthetic_ratings(50, 30, 600, rng=0)
            >>> model = MatrixFactorization(n_factors=4, l2=1.0, l2_biases=1.0, rng=0).fit(ratings)
            >>> parameters, history = model.descend(ratings, n_factors=2)
            >>> parameters.n_factors, model.parameters_.n_factors
            (2, 4)
        """
        raise ParameterValueError(f"a {type(self).__name__} is not trained in epochs; see can_descend")

    def needs_ratings(self) -> bool:
        return True

    def rating_bounds(self) -> tuple[float, float]:
        """The range of the link."""
        return self.link_.bounds

    def usable_ratings(self, ratings: Values) -> Values:
        """Cut to the range that the model was trained on."""
        low, high = self.link_.bounds
        clipped: NDArray[np.float32] = np.clip(ratings, np.float32(low), np.float32(high))
        return clipped

    def predictions(self, scores: Array) -> Array:
        """Scores through the link."""
        return self.link_.prediction(scores)

    @property
    def is_personal(self) -> bool:
        return self.parameters_.n_factors > 0

    @property
    def how_trained(self) -> HowTrained:
        return "ratings" if self.posterior_ is None else "posterior"

    def fold_in_weights(
        self, items: Rows, ratings: Values, centre: NDArray[np.float64] | None = None
    ) -> UserWeights:
        """The exact minimum over one user's weights (docs/theory/fold_in.md)."""
        folded = (
            self._folded_in(items, ratings)
            if centre is None
            else self._folded_towards(items, ratings.astype(np.float64), centre)
        )
        return UserWeights(folded.factors.astype(np.float32), self.parameters_.global_mean + folded.bias)

    def contributions(self, items: Rows, ratings: Values, item: int | ItemWeights) -> Contributions:
        """The fold-in is the solution of one linear system with a term a rating, so its terms add up.

        At the minimum x, with H = A^T B A + D (B the curvatures b_j of the loss, D the ridge) and
        l'_j its gradients, H x = sum over j of a_j (b_j <a_j, x> - l'_j). So the score of an item with row
        a gets <a, H^-1 a_j> (b_j <a_j, x> - l'_j) from rating j. With squared error and the identity this
        is ridge regression's own decomposition, <a, H^-1 a_j> (r_j - o_j).
        """
        parameters, penalty = self.parameters_, self.penalty_
        asked_of = ItemWeights.of(parameters, item)
        if self.posterior_ is not None:
            return self._contributions_with_prior(self.posterior_.user_prior, items, ratings, asked_of)
        folded = self._folded_in(items, ratings)
        x = np.append(folded.factors, folded.bias)
        design = np.hstack([parameters.item_factors[items].astype(np.float64), np.ones((len(items), 1))])
        own = design @ x
        scores = parameters.global_mean + parameters.item_biases[items].astype(np.float64) + own
        targets = ratings.astype(np.float64)
        curvature = self.loss_.curvature(scores, targets, self.link_)
        gradient = self.loss_.gradient(scores, targets, self.link_)
        weight = float(penalty.row_weights(np.array([len(items)]))[0])
        ridge = np.full(len(x), penalty.factors * weight)
        ridge[-1] = penalty.biases * weight
        system = design.T @ (curvature[:, None] * design) + np.diag(ridge)
        asked = np.append(asked_of.vector.astype(np.float64), 1.0)
        reach: NDArray[np.float64] = design @ np.linalg.lstsq(system, asked, rcond=None)[0]
        return Contributions(reach * (curvature * own - gradient), asked_of.bias)

    def _contributions_with_prior(
        self, prior: RowPrior, items: Rows, ratings: Values, item: ItemWeights
    ) -> Contributions:
        """As above; each item rated also moves the prior's mean, by its row of the history's map."""
        design, offsets, system = prior.equations(self.parameters_, items)
        asked = np.append(item.vector.astype(np.float64), 1.0)
        reach = np.linalg.solve(system, asked)
        found = (design @ reach) * (ratings.astype(np.float64) - offsets)
        if prior.history is not None and len(items):
            own = prior.history[items].astype(np.float64) / np.sqrt(len(items))
            found += own @ (prior.precision @ reach)
        return Contributions(found, item.bias)

    def score_block(self, user_rows: NDArray[Any]) -> Array:
        """(n, n_items) scores before the link, see `Recommender.score_block`."""
        return score_block(self.parameters_, user_rows)

    def score_histories(self, histories: Grouped) -> Array:
        """Scores of users folded in one by one, see `fold_in` for the cost of each.

        Raises:
            RatingValueError: a rating lies outside the model's rating range.
        """
        folded = []
        for begin, end in pairwise(histories.indptr.tolist()):
            items, ratings = histories.indices[begin:end], histories.ratings[begin:end]
            self._checked_ratings(self.item_vocabulary_.decode(items), ratings)
            folded.append(self._folded_in(items, ratings))
        return self._scores_of_folded(folded)

    def dot_product(self) -> Parameters:
        """The parameters: links are monotone, so the scores rank as predictions do."""
        return self.parameters_

    def item_vectors(self) -> Array | None:
        """The item factors, or None without factors."""
        return self.parameters_.item_factors if self.parameters_.n_factors else None

    def _folded_in(self, items: NDArray[np.int32], ratings: NDArray[Any]) -> FoldedIn:
        if self.posterior_ is not None:
            return self.posterior_.user_prior.fold_in(self.parameters_, items, ratings)
        return fold_in(self.parameters_, self.link_, self.loss_, self.penalty_, items, ratings)

    def _scores_of_folded(self, folded: Sequence[FoldedIn]) -> Array:
        old = self.parameters_
        biases = np.array([user.bias for user in folded], np.float32)
        factors = np.zeros((len(folded), old.n_factors), np.float32)
        for row, user in enumerate(folded):
            factors[row] = user.factors
        users = Parameters(old.global_mean, biases, old.item_biases, factors, old.item_factors)
        return score_block(users, np.arange(len(folded)))

    def _folded_user(self, rated: NDArray[np.int32], ratings: NDArray[np.float64]) -> FoldedIn:
        return self._folded_in(rated, ratings)

    def _folded_towards(
        self, rated: NDArray[np.int32], ratings: NDArray[np.float64], centre: NDArray[np.float64]
    ) -> FoldedIn:
        if self.posterior_ is not None:
            return self.posterior_.user_prior.fold_in(self.parameters_, rated, ratings, centre=centre)
        return fold_in(self.parameters_, self.link_, self.loss_, self.penalty_, rated, ratings, centre=centre)

    def _rank_folded(self, user: FoldedUser, n: int, allowed: NDArray[np.bool_]) -> RankedItems:
        parameters, weights = self.parameters_, user.weights
        assert weights is not None
        vector = weights.factors.astype(np.float32)
        return recommend_vector(
            parameters, self.link_, self.item_vocabulary_, vector, weights.bias, n, allowed
        )

    def _learn(
        self,
        interactions: Interactions,
        parameters: Parameters,
        history: History,
        posterior: Posterior | None = None,
        conformal: Conformal | None = None,
    ) -> None:
        self.parameters_, self.history_ = parameters, history
        self.posterior_, self.conformal_ = posterior, conformal
        self._learn_table(interactions)
        self.min_support_ = needed_support(self.seen_, parameters.user_biases, interactions.n_items)

    def _move_rows(self, side: Literal["items", "users"], rows: NDArray[np.int32]) -> None:
        if self.posterior_ is not None:
            self.posterior_ = self.posterior_.taken(side, rows, self.parameters_)
        if self.conformal_ is not None and side == "users":
            self.conformal_ = self.conformal_.taken(rows)

    def _kept_conformal(self, users: Vocabulary) -> Conformal | None:
        """The intervals' own numbers for another training table; residuals are not measured again."""
        kept = self.conformal_
        return None if kept is None else kept.taken(self.user_vocabulary_.encode(users))

    def _rank(
        self, user_rows: NDArray[np.int32], n: int, exclude_seen: bool, allowed: NDArray[np.bool_]
    ) -> list[RankedItems]:
        return recommend_users(
            self.parameters_,
            self.link_,
            self.seen_,
            self.item_vocabulary_,
            user_rows,
            n,
            exclude_seen=exclude_seen,
            allowed=allowed,
        )

    def _alike(self, item_row: int, n: int, allowed: NDArray[np.bool_]) -> tuple[NDArray[np.int32], Array]:
        """By the cosine of the item factors."""
        if not self.parameters_.n_factors:
            raise ParameterValueError(
                f"a {type(self).__name__} without factors cannot say which items are alike; "
                "use MatrixFactorization with n_factors of 1 or more"
            )
        return similar_rows(self.parameters_, item_row, n, allowed)

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        manifest = {
            "global_mean": self.parameters_.global_mean,
            "n_factors": self.parameters_.n_factors,
            "min_support": self.min_support_,
            "link": encode(self.link_),
            "loss": encode(self.loss_),
            "penalty": encode(self.penalty_),
            "history": self.history_.summary() | {"n_epochs": len(self.history_.epochs)},
            "search": None if self.search_ is None else self.search_.to_dict(),
        }
        tensors = self.parameters_.arrays() | {"epochs": self.history_.table()}
        if self.posterior_ is not None:
            own, more = posterior_state(self.posterior_)
            return manifest | {"posterior": own}, tensors | more
        if self.conformal_ is not None:
            own, more = self.conformal_.state()
            return manifest | {"conformal": own}, tensors | more
        return manifest, tensors

    def _restore(self, manifest: Mapping[str, Any], tensor: TensorReader) -> None:
        n_users, n_items = len(self.user_vocabulary_), len(self.item_vocabulary_)
        n_factors = checked_size(manifest, "n_factors")
        self.parameters_ = Parameters(
            checked_number(manifest["global_mean"]),
            tensor("user_biases", np.float32, n_users),
            tensor("item_biases", np.float32, n_items),
            tensor("user_factors", np.float32, n_users, n_factors),
            tensor("item_factors", np.float32, n_items, n_factors),
        )
        tensor.check_finite(self.parameters_.arrays())
        self.min_support_ = (
            checked_size(manifest, "min_support")
            if "min_support" in manifest  # models saved before have none
            else needed_support(self.seen_, self.parameters_.user_biases, n_items)
        )
        self.link_ = decode(manifest["link"], Link)
        self.loss_ = decode(manifest["loss"], Loss)
        self.penalty_ = decode(manifest["penalty"], L2)
        self.link_.with_range(*map(checked_number, self.link_.bounds))
        self.loss_.check(self.link_)
        history = dict(manifest["history"])
        epochs = tensor("epochs", np.float64, checked_size(history, "n_epochs"), len(COLUMNS))
        metric = str(history.get("metric", "rmse"))  # models saved before there were others have none
        self.history_ = History.from_table(
            epochs, history["best_epoch"], history["ended"], metric, history.get("diagnostics")
        )
        self.search_ = None if manifest["search"] is None else SearchTable.from_dict(manifest["search"])
        stored = manifest.get("posterior")
        self.posterior_ = None if stored is None else restored_posterior(stored, self.parameters_, tensor)
        stored = manifest.get("conformal")
        self.conformal_ = None if stored is None else Conformal.restored(stored, n_users, tensor)

    def _checked_ratings(self, items: Iterable[Id], ratings: Iterable[float]) -> NDArray[np.float64]:
        low, high = self.link_.bounds
        # tables hold float32, which may round a rating at the end of the range to beyond it
        least, most = min(low, float(np.float32(low))), max(high, float(np.float32(high)))
        for item, rating in zip(items, ratings, strict=True):
            if not (is_real(rating) and least <= rating <= most):
                raise RatingValueError(
                    f"rating {rating!s} of item {item!r} is not a number or lies outside the model's range "
                    f"[{low:g}, {high:g}]; correct it"
                )
        return np.array(ratings, np.float64)


def check_table(interactions: Interactions) -> None:
    """Raises ParameterValueError or EmptyDataError unless a model of ratings can learn from it."""
    check_has_ratings(interactions)
    interactions.check_trainable()
    if interactions.ratings.min() == interactions.ratings.max():
        raise EmptyDataError(
            f"{interactions.source}: every rating is {interactions.ratings[0]:g}, so there is nothing to "
            "tell apart; clicks and plays need a ranking model"
        )


def check_has_ratings(interactions: Interactions) -> None:
    """Raises ParameterValueError for a table of clicks: a count says nothing of how an item was liked."""
    if not interactions.has_ratings:
        raise ParameterValueError(
            f"{interactions.source} has no ratings, and this is a model of ratings; rank instead, with "
            "RandomWalk, GraphFilter, ImplicitALS, EASE, SparseEASE, ItemKNN or Popularity (bilinear train "
            "--task ranking), or read a rating column with bilinear.read_ratings"
        )


def resolve_link(link: Link, rating_range: tuple[float, float] | None, interactions: Interactions) -> Link:
    """The link with its range: the one given, which must hold all ratings, or the data's own."""
    ratings = interactions.ratings
    if rating_range is None:
        link = link.resolved(float(ratings.min()), float(ratings.max()))
    elif isinstance(rating_range, (tuple, list)) and len(rating_range) == 2:
        link = link.with_range(*rating_range)
    else:
        raise ParameterValueError(f"rating_range={rating_range!r}; two numbers (low, high), or None")
    low, high = link.bounds
    outside = np.flatnonzero((ratings < np.float32(low)) | (ratings > np.float32(high)))
    if len(outside):
        first = outside[0]
        raise RatingValueError(
            f"{interactions.source}: user {interactions.user_vocabulary[interactions.users[first]]!r} "
            f"rated item {interactions.item_vocabulary[interactions.items[first]]!r} {ratings[first]:g}, "
            f"outside [{low:g}, {high:g}] ({len(outside):,} such ratings); drop them, or "
            "widen it with rating_range=(low, high)"
        )
    return link
