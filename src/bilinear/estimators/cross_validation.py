"""Cross-validation of rating models: every rating predicted once by a model that has not seen it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bilinear.compiling import clock
from bilinear.data.folds import KFold
from bilinear.data.interactions import InteractionsLike
from bilinear.errors import ParameterValueError
from bilinear.estimators.measurement import Measurement, fit
from bilinear.estimators.nested_models import copied
from bilinear.estimators.rating_model import RatingModel, check_has_ratings
from bilinear.evaluation.compare_ratings import RatingComparison
from bilinear.evaluation.ratings import rating_scores, rmse_difference
from bilinear.training.progress import NullProgress, Progress


def cross_validate(
    models: RatingModel | Mapping[str, RatingModel],
    interactions: InteractionsLike,
    folds: KFold | int = 5,
    *,
    baseline: str | None = None,
    rng: int = 0,
    progress: Progress | None = None,
) -> Measurement:
    """Errors of rating models on all ratings of a table, each predicted by a model trained without it.

    The errors of all folds are put together before they are summed up, and whole users are drawn again for
    the intervals. They hold the fitted models fixed: they are about other users of this table.

    Args:
        models: A model, or several by name; copies of them are fitted, one a fold.
        interactions: A table of ratings, or what `fit` takes.
        folds: `KFold`, or how many.
        baseline: The name of the model that the others are compared with, user by user; None compares none.
        rng: Seed of the intervals.
        progress: Receives what the fits report.

    Returns:
        `Measurement`: scores by model, and paired differences to the baseline.
    Raises:
        ParameterValueError: A model does not predict ratings, or `baseline` is none of the models.
        DataError: There are fewer ratings than folds.
    Cost:
        One `fit` a model and fold.

    Examples:
        >>> from bilinear import BiasModel, GlobalMean, cross_validate, synthetic_ratings
        >>> models = {"mean": GlobalMean(), "biases": BiasModel(l2_biases=1.0)}
        >>> found = cross_validate(models, synthetic_ratings(50, 30, 600, rng=0), folds=4, baseline="mean")
        >>> found.scores["biases"].n_ratings, found.differences["biases"].high < 0
        (600, True)
    """
    named = dict(models) if isinstance(models, Mapping) else {type(models).__name__: models}
    for name, model in named.items():
        if not getattr(model, "predicts_ratings", False):
            raise ParameterValueError(
                f"model {name!r} is a {type(model).__name__}, which does not predict ratings; measure "
                "rankings with bilinear.measure(models, split, refits=...)"
            )
    if not named or (baseline is not None and baseline not in named):
        raise ParameterValueError(f"baseline={baseline!r} is none of the models {', '.join(named)}")
    folds = KFold(folds) if not isinstance(folds, KFold) else folds
    table = next(iter(named.values()))._table(interactions, None, "cross_validate")
    check_has_ratings(table)
    predicted = {name: np.empty(table.n_ratings, np.float32) for name in named}
    unknown = np.zeros((2, table.n_ratings), bool)
    seconds = dict.fromkeys(named, 0.0)
    for train, test in folds.split(table):
        users, items = table.users[test], table.items[test]
        for name, model in named.items():
            began, fold = clock(), copied(model)
            fit(fold, table.take(train), progress or NullProgress())
            seconds[name] += clock() - began
            predicted[name][test] = fold.predict_rows(users, items)
            unknown[:, test] = ~fold.has_ratings(users), ~fold.item_has_ratings(items)
    scores = {
        name: rating_scores(values, table.ratings, table.users, *unknown, rng=rng)
        for name, values in predicted.items()
    }
    differences = {
        name: rmse_difference(values, predicted[baseline], table.ratings, table.users, rng=rng)
        for name, values in predicted.items()
        if baseline is not None and name != baseline
    }
    how = f"{folds.n_splits} folds, seed {folds.rng}"
    n_train = table.n_ratings - table.n_ratings // folds.n_splits
    return Measurement(how, n_train, RatingComparison(scores, baseline, differences), seconds)
