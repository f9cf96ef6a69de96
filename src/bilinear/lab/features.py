"""Features of users and items: do they tell anything, and are they columns of the same linear model?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from bilinear.arguments import is_whole
from bilinear.errors import ParameterValueError
from bilinear.estimators.with_features import WithFeatures
from bilinear.inspection.charts import bars
from bilinear.lab.reporting.context import Context
from bilinear.lab.reporting.instrument import Instrument, register
from bilinear.lab.reporting.section import Section, percent

_SHUFFLES = 20


@dataclass(frozen=True)
class FeatureControl:
    """What the features of a side say of its rows, beside the same features shuffled among them.

    Attributes:
        side: "items" or "users".
        names: Of the features.
        n_rows: Rows with ratings, which the map is fitted to.
        n_columns: Columns of the features.
        share: Of the variance of these rows, weighed as in scores, that the map explains of a row left out.
        shuffled: The same of each shuffle.
        largest_difference: Between a row without ratings, as the model looks it up, and the mean row plus its
            features times the map, over the largest entry; None where all rows have ratings.

    Examples:
        >>> from bilinear import BiasModel, Items, Vocabulary, lab, synthetic_ratings
        >>> ratings = synthetic_ratings(60, 40, 900, rng=0)
        >>> colours = ["red" if n % 2 else "blue" for n in range(40)]  # which tell nothing
        >>> films = Items(Vocabulary.from_ids(list(ratings.item_vocabulary)), {"colour": colours})
        >>> model = BiasModel(l2_biases=1.0, item_features=["colour"]).fit(ratings, items=films)
        >>> found = lab.feature_control(model, "items")
        >>> found.n_columns, found.share < 0.1
        (2, True)
    """

    side: Literal["items", "users"]
    names: tuple[str, ...]
    n_rows: int
    n_columns: int
    share: float
    shuffled: tuple[float, ...]
    largest_difference: float | None

    @property
    def chance(self) -> float:
        """How likely features that tell nothing reach this share: 1 / (shuffles + 1) at the least."""
        above = sum(one >= self.share for one in self.shuffled)
        return (1 + above) / (1 + len(self.shuffled))

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self) | {"chance": self.chance}


def feature_control(
    model: WithFeatures, side: Literal["items", "users"], *, n_shuffles: int = _SHUFFLES, rng: int = 0
) -> FeatureControl:
    """Fits the map from features to the model's rows again on shuffled features; the model is not changed.

    Both shares are of rows left out, by the diagonal of the hat matrix, each with its own best penalty.

    Args:
        model: Fitted with features of the side.
        side: "items" or "users".
        n_shuffles: How many times.
        rng: Seed of the shuffles.

    Returns:
        The shares.

    Raises:
        ParameterValueError: The model has no features of this side, or no shuffle is asked for.

    Cost:
        of one map a shuffle, see `docs/theory/ridge_map.md`.

    Examples:
        >>> from bilinear import Interactions, Items, MatrixFactorization, Vocabulary, lab
        >>> films = Items(Vocabulary.from_ids([1, 2, 3]), {"genres": ["War", "War|Drama", "Drama"]})
        >>> ratings = Interactions.from_columns([1, 1, 2, 2, 3], [1, 2, 1, 3, 3], [5, 4, 4, 2, 1])
        >>> settings = {"n_factors": 2, "l2": 0.1, "l2_biases": 0.1, "validation_fraction": 0, "rng": 0}
        >>> model = MatrixFactorization(**settings, item_features=["genres"]).fit(ratings, items=films)
        >>> len(lab.feature_control(model, "items", n_shuffles=5).shuffled)
        5
    """
    if not (is_whole(n_shuffles) and n_shuffles >= 1):
        raise ParameterValueError(f"n_shuffles={n_shuffles!r}; a whole number, one or more")
    features = getattr(model.features_, side)
    if features is None:
        raise ParameterValueError(f"this {type(model).__name__} has no features of {side}")
    shares = []
    for n in range(n_shuffles):
        other = model.with_shuffled_features(side, rng * n_shuffles + n)
        shares.append(getattr(other.features_, side).map.share)
    cold = np.flatnonzero(model._training_counts(side) == 0)
    difference = None
    if len(cold):
        rows = model._rows_of(side)[cold].astype(np.float64)
        by_map = features.map.rows(features.matrix()[cold])
        difference = float(np.abs(rows - by_map).max() / max(np.abs(by_map).max(), 1e-300))
    n_columns, n_rows = features.map.weights.shape[0], features.blocks[0].shape[0] - len(cold)
    return FeatureControl(
        side, features.names, n_rows, n_columns, features.map.share, tuple(shares), difference
    )


@register
class FeatureInformation(Instrument):
    """What the features explain of rows that are left out, beside shuffled ones.

    Examples:
        >>> from bilinear import BiasModel, lab, synthetic_ratings
        >>> ratings = synthetic_ratings(20, 15, 150, rng=0)
        >>> model = BiasModel(l2_biases=1.0).fit(ratings)
        >>> lab.report(model, ratings, only=["features"])["features"].answer
        'It has no features of users or items.'
    """

    name = "features"
    question = "Do its features tell anything?"
    order = 4.5

    def measure(self, context: Context) -> Section:
        model: Any = context.model
        features = getattr(model, "features_", None)
        sides: list[Literal["items", "users"]] = ["items", "users"]
        found = [
            feature_control(model, side, rng=context.rng)
            for side in sides
            if getattr(features, side, None) is not None
        ]
        if not found:
            return self.section(
                "It has no features of users or items.",
                "nothing",
                {},
            )
        answers, facts = [], []
        values: dict[str, float] = {}
        for one in found:
            best = max(one.shuffled)
            verdict = "tell something" if one.share > best else "tell no more than shuffled ones"
            answers.append(
                f"{', '.join(one.names)} of {one.side} {verdict}: {percent(max(one.share, 0))} of the rows' "
                f"variance where a row is left out, shuffled at most {percent(max(best, 0))}."
            )
            facts += [
                (f"columns for {one.side}", f"{one.n_columns:,} for {one.n_rows:,} rows with ratings"),
                (f"chance of such a share of {one.side}", f"{one.chance:.3f} ({len(one.shuffled)} shuffles)"),
            ]
            if one.largest_difference is not None:
                facts.append(
                    (
                        f"look-up and map of new {one.side}",
                        f"differ by {one.largest_difference:.0e} (rounding)",
                    )
                )
            values |= {f"{one.side}, real": max(one.share, 0), f"{one.side}, shuffled": max(best, 0)}
        if context.training == "posterior":
            answers.append(
                "The rows were drawn with these features as their prior's mean, so that the share counts in "
                "what they put there; `bilinear train` measures new items on held-out ratings."
            )
        good = all(one.share > max(one.shuffled) for one in found)
        return self.section(
            " ".join(answers),
            "nothing" if good else "leave out the features that tell nothing",
            {one.side: one.to_dict() for one in found},
            facts,
            picture=bars(values, "Variance of rows explained by their features", "{:.1%}", "{:.4f}"),
            tone="good" if good else "open",
            measured=tuple(found),
        )
