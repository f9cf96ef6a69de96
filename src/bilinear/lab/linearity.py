"""Linearity, measured on the weights: affine in each side, bilinear in both."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Interactions
from bilinear.errors import ParameterValueError
from bilinear.inspection.charts import bars
from bilinear.lab.numerics.problem import Vector
from bilinear.lab.numerics.summaries import table_share
from bilinear.lab.reporting.context import Context
from bilinear.lab.reporting.instrument import Instrument, register
from bilinear.lab.reporting.section import Section, percent
from bilinear.model.link import Identity, Link
from bilinear.model.parameters import Parameters
from bilinear.model.scoring import score_one_hot, score_rows
from bilinear.tabular import Shown

_ROUNDING = 1e-9  # relative, in float64: what counts as equal
_SAMPLE = 512  # rows and columns of the table that is looked at after the link


@dataclass(frozen=True)
class Linearity(Shown):
    """Deviations of the scores of one model from linearity, relative to the largest score involved.

    Attributes:
        n_rows: Ratings on which the embedding look-up was compared with one-hot times weights.
        n_different_bits: How many of those scores differ in any bit; 0.
        user_affine: Largest deviation from affine in the user's one-hot with the item fixed; rounding.
        item_affine: The same in the item's one-hot with the user fixed.
        jointly_linear: Largest deviation of `s(a x, a y)` from `a s(x, y)`: far from zero with factors.
        mixed_difference: Largest deviation of `s(x,y) - s(x',y) - s(x,y') + s(x',y')` from
            `(x - x')^T U V^T (y - y')`; rounding.
        share_before_link: Interaction share of the scores: the energy of the double-centred table
            over that of the table centred by its mean.
        share_after_link: The same of the predictions.
        bias_share_before_link: The same of the scores with the factors removed.
        bias_share_after_link: The same of the predictions with the factors removed.
        n_users_sampled: Users of the part of the table behind all shares but the first.
        n_items_sampled: Items of that part.

    Examples:
        >>> from bilinear import BiasModel, lab, synthetic_ratings
        >>> ratings = synthetic_ratings(20, 15, 150, rng=0)
        >>> model = BiasModel(l2_biases=1.0).fit(ratings)
        >>> found = lab.measure_linearity(model.parameters_, model.link_, ratings)
        >>> found.n_different_bits, found.linear
        (0, True)
    """

    n_rows: int
    n_different_bits: int
    user_affine: float
    item_affine: float
    jointly_linear: float
    mixed_difference: float
    share_before_link: float
    share_after_link: float
    bias_share_before_link: float
    bias_share_after_link: float
    n_users_sampled: int
    n_items_sampled: int

    @property
    def same_as_one_hot(self) -> bool:
        """Whether look-up and one-hot product are the same numbers, bit for bit."""
        return self.n_different_bits == 0

    @property
    def bilinear(self) -> bool:
        """Whether the score is affine in each side with the other fixed."""
        return max(self.user_affine, self.item_affine, self.mixed_difference) <= _ROUNDING

    @property
    def linear(self) -> bool:
        """Whether the score is affine in the pair: only without interaction."""
        return self.bilinear and self.share_before_link <= _ROUNDING

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self) | {
            "same_as_one_hot": self.same_as_one_hot,
            "bilinear": self.bilinear,
            "linear": self.linear,
        }

    def __str__(self) -> str:
        kind = "linear" if self.linear else "bilinear" if self.bilinear else "neither linear nor bilinear"
        return (
            f"the score is {kind}: {self.share_before_link:.1%} of its variation over the table is "
            "interaction of user and item, which no sum of a user's and an item's number can give"
        )


def measure_linearity(
    parameters: Parameters, link: Link, interactions: Interactions, *, n_rows: int = 10_000, rng: int = 0
) -> Linearity:
    """Measures in which senses a model is linear: in each side, in both, in pairs of indicators.

    Cost:
        O(n_rows * n_factors + (n_users + n_items) * n_factors^2); never an n_users x n_items array.
    Source:
        docs/theory/linearity.md.

    Args:
        parameters: Of the model.
        link: Of the model.
        interactions: Pairs to look up; `n_rows` of them are drawn if there are more.
        n_rows: Pairs to look up, at most.
        rng: Seed of everything that is drawn.

    Returns:
        Deviations from linearity and shares of interaction.

    Raises:
        ParameterValueError: no interactions.

    Examples:
        >>> from bilinear import MatrixFactorization, lab, synthetic_ratings
        >>> ratings = synthetic_ratings(20, 15, 150, rng=0)
        >>> model = MatrixFactorization(n_factors=2, l2=0.1, l2_biases=1.0, rng=0).fit(ratings)
        >>> found = lab.measure_linearity(model.parameters_, model.link_, ratings)
        >>> found.same_as_one_hot, found.bilinear, found.linear
        (True, True, False)
    """
    generator = np.random.default_rng(rng)
    rows = np.arange(interactions.n_ratings)
    if not len(rows):
        raise ParameterValueError(
            f"{interactions.source}: expected at least one interaction to look up, got none"
        )
    if len(rows) > n_rows:
        rows = np.sort(generator.choice(len(rows), n_rows, replace=False))
    users, items = interactions.users[rows], interactions.items[rows]
    wide = parameters.astype(np.float64)
    bare = Parameters(wide.global_mean, wide.user_biases, wide.item_biases, *_no_factors(wide))
    some = [_sample(n, generator) for n in (parameters.n_users, parameters.n_items)]
    return Linearity(
        len(rows),
        one_hot_differences(parameters, users, items),
        *_affine_in_each(wide, generator),
        _jointly_linear(wide, users[:100], items[:100]),
        _mixed_difference(wide, generator),
        interaction_share(wide),
        table_share(link.prediction(_block(wide, *some))),
        table_share(_block(bare, *some)),
        table_share(link.prediction(_block(bare, *some))),
        len(some[0]),
        len(some[1]),
    )


def one_hot_differences(parameters: Parameters, users: NDArray[Any], items: NDArray[Any]) -> int:
    """The number of scores that differ in any bit between looking rows up and multiplying one-hot rows.

    Args:
        parameters: Of the model.
        users: (n,) user rows.
        items: (n,) item rows.

    Returns:
        0 where both ways agree bit for bit.

    Examples:
        >>> import numpy as np
        >>> from bilinear import lab
        >>> from bilinear.model.parameters import Parameters
        >>> parameters = Parameters.zeros((4, 3), 2)
        >>> lab.one_hot_differences(parameters, np.array([0, 3]), np.array([1, 2]))
        0
    """
    looked_up = score_rows(parameters, users, items)
    multiplied = score_one_hot(
        parameters,
        _one_hot(users, parameters.n_users, looked_up.dtype),
        _one_hot(items, parameters.n_items, looked_up.dtype),
    )
    return int((looked_up.view(f"u{looked_up.itemsize}") != multiplied.view(f"u{looked_up.itemsize}")).sum())


def interaction_share(parameters: Parameters) -> float:
    """The interaction share of the whole table of scores, by two-way analysis of variance.

    It is the energy of the double-centred table over that of the table centred by its mean, by
    k x k products, without the table. Cost: O((n_users + n_items) * n_factors^2).

    Args:
        parameters: Of the model.

    Returns:
        0 for a model with biases alone, 1 where users and items have no effect of their own.

    Examples:
        >>> from bilinear import lab
        >>> from bilinear.model.parameters import Parameters
        >>> lab.interaction_share(Parameters.zeros((4, 3), 2))
        0.0
    """
    wide = parameters.astype(np.float64)
    u, v = wide.user_factors, wide.item_factors
    u_mean, v_mean = u.mean(axis=0), v.mean(axis=0)
    inner = float(np.sum(((u - u_mean).T @ (u - u_mean)) * ((v - v_mean).T @ (v - v_mean))))
    user_effect = (wide.user_biases - wide.user_biases.mean()) + (u - u_mean) @ v_mean
    item_effect = (wide.item_biases - wide.item_biases.mean()) + (v - v_mean) @ u_mean
    outer = parameters.n_items * float(user_effect @ user_effect)
    outer += parameters.n_users * float(item_effect @ item_effect)
    return inner / (inner + outer) if inner + outer > 0 else 0.0


def _affine_in_each(wide: Parameters, generator: np.random.Generator) -> tuple[float, float]:
    """Largest `|s(a x + b x', y) - a s(x, y) - b s(x', y)|` with a + b = 1, and with the sides swapped."""
    found = []
    for user_side in (True, False):
        n_moving, n_fixed = (wide.n_users, wide.n_items) if user_side else (wide.n_items, wide.n_users)
        first, second = generator.standard_normal((2, 20, n_moving))
        fixed = generator.standard_normal((20, n_fixed))
        share = generator.uniform(-2, 3, (20, 1))

        def score(moving: Vector, fixed: Vector = fixed, user_side: bool = user_side) -> Vector:
            pair = (moving, fixed) if user_side else (fixed, moving)
            return np.asarray(score_one_hot(wide, *pair), np.float64)

        parts = share[:, 0] * score(first), (1 - share[:, 0]) * score(second)
        found.append(_relative(score(share * first + (1 - share) * second) - sum(parts), *parts))
    return found[0], found[1]


def _jointly_linear(wide: Parameters, users: NDArray[Any], items: NDArray[Any]) -> float:
    """Largest `|t(2x, 2y) - 2 t(x, y)|` with t the score without the mean."""
    x, y = (
        _one_hot(rows, n, np.dtype(np.float64)) for rows, n in ((users, wide.n_users), (items, wide.n_items))
    )
    once = score_one_hot(wide, x, y) - wide.global_mean
    twice = score_one_hot(wide, 2 * x, 2 * y) - wide.global_mean
    return _relative(twice - 2 * once, once)


def _mixed_difference(wide: Parameters, generator: np.random.Generator) -> float:
    users, others = generator.integers(0, wide.n_users, (2, 100))
    items, more = generator.integers(0, wide.n_items, (2, 100))
    corners = [score_rows(wide, u, i) for u in (users, others) for i in (items, more)]
    expected = np.einsum(
        "nf,nf->n",
        wide.user_factors[users] - wide.user_factors[others],
        wide.item_factors[items] - wide.item_factors[more],
    )
    return _relative(corners[0] - corners[1] - corners[2] + corners[3] - expected, *corners)


def _relative(difference: Any, *sizes: Any) -> float:
    largest = max(float(np.abs(size).max(initial=0)) for size in sizes)
    return float(np.abs(difference).max(initial=0)) / largest if largest > 0 else 0.0


def _one_hot(rows: NDArray[Any], n: int, dtype: np.dtype[Any]) -> Any:
    from scipy.sparse import csr_array

    starts = np.arange(len(rows) + 1)
    return csr_array((np.ones(len(rows), dtype), rows, starts), shape=(len(rows), n))


def _sample(n: int, generator: np.random.Generator) -> NDArray[np.int64]:
    return np.arange(n) if n <= _SAMPLE else np.sort(generator.choice(n, _SAMPLE, replace=False))


def _block(wide: Parameters, users: NDArray[Any], items: NDArray[Any]) -> Any:
    """Scores of a small part of the table, (len(users), len(items))."""
    scores = wide.user_factors[users] @ wide.item_factors[items].T
    scores += wide.user_biases[users][:, None] + wide.item_biases[items] + wide.global_mean
    return scores


def _no_factors(wide: Parameters) -> tuple[Vector, Vector]:
    return np.zeros((wide.n_users, 0)), np.zeros((wide.n_items, 0))


@register
class ScoreLinearity(Instrument):
    """In which sense the scores are linear, and how much of them is interaction.

    Examples:
        >>> from bilinear import BiasModel, lab, synthetic_ratings
        >>> ratings = synthetic_ratings(20, 15, 150, rng=0)
        >>> model = BiasModel(l2_biases=1.0).fit(ratings)
        >>> lab.report(model, ratings, only=["linearity"])["linearity"].answer
        "Yes: the score is the sum of a user's and an item's number."
    """

    name = "linearity"
    question = "Is it a linear model?"
    order = 5

    def measure(self, context: Context) -> Section:
        model, parameters = context.rating_model, context.model.dot_product()
        if parameters is None:
            answer = (
                "Yes: a user's scores are the user's row of interactions times a table of weights between "
                "items."
                if context.training == "closed form"
                else f"The lab cannot say: the scores of a {type(context.model).__name__} are not a dot "
                "product "
                "of a user and an item."
            )
            return self.section(answer, "nothing: the model has no factors to interpret", {})
        link: Link = Identity(-1e30, 1e30)
        next_step = "nothing: this is what a dot product is"
        if model is not None:
            parameters, link = model.parameters_, model.link_
            next_step = "nothing: compare with BiasModel, which is the linear part"
        found = measure_linearity(parameters, link, context.train, rng=context.rng)
        shares = [percent(share) for share in _shares(found).values()]
        answer = (
            "Yes: the score is the sum of a user's and an item's number."
            if found.linear
            else "It is bilinear: linear in the user with the item fixed and the reverse, not in both; "
            f"{shares[0]} of the scores' variation is interaction."
        )
        facts = (
            (
                "rows where look-up and one-hot product differ",
                f"{found.n_different_bits:,} of {found.n_rows:,}",
            ),
            ("deviation from linear in the user alone", f"{found.user_affine:.1g}"),
            ("deviation from linear in the item alone", f"{found.item_affine:.1g}"),
            ("deviation from linear in both at once", f"{found.jointly_linear:.2g}"),
            ("interaction in the scores, in the predictions", ", ".join(shares[:2])),
            ("the same with biases alone", ", ".join(shares[2:])),
        )
        picture = bars(
            {name: 100 * share for name, share in _shares(found).items()},
            "Interaction: the share of the variation that no sum of a user's and an item's number can give",
            "{:.1f}%",
            "{:.2f}%",
        )
        return self.section(answer, next_step, found.to_dict(), facts, picture=picture, measured=found)


def _shares(found: Linearity) -> dict[str, float]:
    return {
        "scores": found.share_before_link,
        "predictions": found.share_after_link,
        "biases alone": found.bias_share_before_link,
        "and predicted": found.bias_share_after_link,
    }
