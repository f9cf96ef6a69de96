"""Errors for items and users without ratings: some of each are held out whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Interactions
from bilinear.data.splits import Split
from bilinear.estimators.with_features import WithFeatures
from bilinear.evaluation.bootstrap import Interval, mean_intervals
from bilinear.evaluation.metrics import ndcg
from bilinear.evaluation.ratings import interval_columns, rating_scores
from bilinear.tabular import Tabular

SHUFFLED = "features shuffled"
_FEWEST = 20  # rows with ratings, of which a tenth can be held out
_LENGTH = 10


@dataclass(frozen=True)
class ColdSplit:
    """A split of which some items or users are in no row of the training part.

    Attributes:
        split: To train and to measure as usual; no row has a held-out item or user.
        new_items, new_users: Ratings of held-out items by users of the training part, and of its items by
            held-out users; None where none are held out.
    """

    split: Split
    new_items: Interactions | None
    new_users: Interactions | None


@dataclass(frozen=True)
class ColdScores(Tabular):
    """Scores of models on ratings of items, or users, that were held out whole.

    Attributes:
        side: "items" or "users".
        metric: "RMSE", or "NDCG@10": of lists of the new items alone, or of all items for new users.
        n_new: How many of the side are in the ratings.
        n_ratings: How many ratings these are.
        scores: By model; models with features come a second time with their features shuffled among the rows,
            which is what features that tell nothing would reach.
    """

    side: Literal["items", "users"]
    metric: Literal["RMSE", "NDCG@10"]
    n_new: int
    n_ratings: int
    scores: Mapping[str, Interval]

    def to_columns(self) -> dict[str, Any]:
        """model, value, low, high."""
        return {"model": list(self.scores), **interval_columns(self.scores.values())}

    def _caption(self) -> str:
        return f"{self.metric} on {self.n_new:,} new {self.side}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> ColdScores:
        scores = {name: Interval(**value) for name, value in stored["scores"].items()}
        return cls(**{**stored, "scores": scores})


def hold_out_cold(split: Split, *, items: bool, users: bool, share: float = 0.1, rng: int = 0) -> ColdSplit:
    """Holds out a share of the items, of the users, or of both, whole.

    Their training ratings join their test ratings; those of a held-out item by a held-out user are left out.
    A side with fewer than twenty rows in training keeps them all.
    """
    train, test = split.train, split.test
    draw = np.random.default_rng([rng, 5])
    chosen = {}
    for side, wanted in (("items", items), ("users", users)):
        counts = train.item_counts if side == "items" else train.user_counts
        out = np.zeros(len(counts), bool)
        rated = np.flatnonzero(counts)
        if wanted and len(rated) >= _FEWEST:
            out[draw.permutation(rated)[: max(1, round(share * len(rated)))]] = True
        chosen[side] = out
    parts = {"train": train, "test": test}
    item, user = (
        {name: chosen[side][getattr(part, side)] for name, part in parts.items()}
        for side in ("items", "users")
    )
    kept = {name: part.take(~item[name] & ~user[name]) for name, part in parts.items()}
    new_items = _together([part.take(item[name] & ~user[name]) for name, part in parts.items()])
    new_users = _together([part.take(user[name] & ~item[name]) for name, part in parts.items()])
    n_items, n_users = (int(chosen[side].sum()) for side in ("items", "users"))
    names = [f"{n:,} {side}" for n, side in ((n_items, "items"), (n_users, "users")) if n]
    how = split.how + (f"; {' and '.join(names)} held out whole" if names else "")
    return ColdSplit(
        replace(split, train=kept["train"], test=kept["test"], how=how),
        new_items if n_items else None,
        new_users if n_users else None,
    )


def cold_scores(
    models: Mapping[str, Any],
    side: Literal["items", "users"],
    table: Interactions,
    *,
    ratings: bool,
    relevant_from: float | None = None,
    rng: int = 0,
) -> ColdScores:
    """Scores of fitted models on ratings of new items or of new users.

    Args:
        table: With the vocabularies that the models were fitted with; its items (users) were not trained on.
        ratings: Whether errors of predicted ratings are measured, or lists.
        relevant_from: Of lists: the least rating that is a hit.
    Cost:
        Of predicting the table, or of one list a user.
    """
    found = {}
    compared = dict(models)
    for name, model in models.items():
        if isinstance(model, WithFeatures) and getattr(model.features_, side) is not None:
            compared[f"{name}, {SHUFFLED}"] = model.with_shuffled_features(side, rng)
    if not ratings and relevant_from is not None:
        table = table.take(table.ratings >= relevant_from)
    for name, model in compared.items():
        if ratings:
            nothing = np.zeros(table.n_ratings, bool)
            predicted = model.predict_rows(table.users, table.items)
            found[name] = rating_scores(predicted, table.ratings, table.users, nothing, nothing, rng=rng).rmse
        else:
            found[name] = _ndcg(model, table, side, rng)
    rows = table.items if side == "items" else table.users
    return ColdScores(side, "RMSE" if ratings else "NDCG@10", len(np.unique(rows)), table.n_ratings, found)


def _ndcg(model: Any, table: Interactions, side: str, rng: int) -> Interval:
    """Over users: of lists of the new items, or of all items with training ratings for new users."""
    users, first = np.unique(table.users, return_index=True)
    ends = np.append(first, table.n_ratings)
    if side == "items":
        shown: NDArray[Any] = np.unique(table.items)
    else:
        shown = np.flatnonzero(model.item_has_ratings(np.arange(table.n_items)))
    values = []
    step = max(1, (1 << 23) // table.n_items)
    for at in range(0, len(users), step):
        scores = model.score_block(users[at : at + step])[:, shown]
        best = shown[np.argsort(-scores, axis=1, kind="stable")[:, :_LENGTH]]
        for n, row in enumerate(best, at):
            relevant = table.items[ends[n] : ends[n + 1]]
            hits = np.isin(row, relevant)[None].astype(float)
            values.append(float(ndcg(row[None], hits, np.array([len(relevant)]))[0]))
    return mean_intervals(np.array(values)[:, None], rng)[0]


def _together(parts: list[Interactions]) -> Interactions:
    """Two parts of one table as one, sorted as tables are."""
    one, two = parts
    users, items = (np.concatenate([getattr(part, side) for part in parts]) for side in ("users", "items"))
    order: NDArray[np.int64] = np.lexsort((items, users))
    ratings = np.concatenate([one.ratings, two.ratings])[order]
    return replace(one, users=users[order], items=items[order], ratings=ratings, times=None)
