"""Scores taken apart: what features, an item itself and a user's own ratings add."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bilinear.data.vocabulary import Id
from bilinear.errors import ParameterValueError
from bilinear.tabular import Tabular, columns_of

if TYPE_CHECKING:
    from bilinear.estimators.side_features import SideFeatures

By = Literal["items", "users", "ratings"]
"""What a score is taken apart by: features of the item, features of the user, or the user's ratings."""


@dataclass(frozen=True)
class Part:
    """One term of a score.

    Attributes:
        group: What it belongs to: "model", a feature, "item", "user" or "rating".
        name: Of the column, the item that was rated, or the parameter.
        value: What it adds.
    """

    group: str
    name: str
    value: float


@dataclass(frozen=True)
class Explanation(Tabular):
    """The score of an item for a user as a sum; `str()` draws it, `to_dict()` is for JSON.

    Attributes:
        user, item: Their ids.
        title: Of the item, or its id.
        by: What it is taken apart by.
        score: The sum of all parts, but for rounding.
        prediction: The score as a rating; None of a model that only ranks.
        parts: The terms; those of a group together.
    """

    user: Id
    item: Id
    title: str
    by: By
    score: float
    prediction: float | None
    parts: tuple[Part, ...]

    def shortened(self, n: int) -> Explanation:
        """With the `n` largest ratings, and the others in one part."""
        ratings = [part for part in self.parts if part.group == "rating"]
        others = sum(part.value for part in ratings[n:])
        rest = () if len(ratings) <= n else (Part("rating", f"{len(ratings) - n:,} others", others),)
        kept = [part for part in self.parts if part.group != "rating"]
        return replace(self, parts=(*kept[:1], *ratings[:n], *rest, *kept[1:]) if ratings else self.parts)

    def of(self, group: str) -> float:
        """The sum of the parts of a group."""
        return sum(part.value for part in self.parts if part.group == group)

    def to_columns(self) -> dict[str, Any]:
        """group, name and value of each part."""
        return columns_of(self.parts, Part)

    def _caption(self) -> str:
        return str(self).partition("\n")[0]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        rows = [(f"{part.group}: {part.name}", part.value) for part in self.parts]
        width = max(len(name) for name, _ in rows)
        shown = "" if self.prediction is None else f", as a rating {self.prediction:.3f}"
        lines = [f"{self.title} for user {self.user}: score {self.score:.4f}{shown}"]
        return "\n".join([*lines, *(f"  {name:<{width}}  {value:+.4f}" for name, value in rows)])


def explain(model: Any, user: Id, item: Id, by: By | None = None) -> Explanation:
    """See `Recommender.explain`."""
    who, what = model.user_vocabulary_.row(user, "user"), model.item_vocabulary_.row(item, "item")
    features: Any = getattr(model, "features_", None)
    if by is None:
        by = "items" if getattr(features, "items", None) is not None else "ratings"
    score = float(model.score_block(np.array([who]))[0, what])
    if by == "ratings":
        parts = _by_ratings(model, who, what, score)
    elif by in ("items", "users"):
        found = getattr(features, by, None)
        if found is None:
            raise ParameterValueError(
                f"by={by!r}: this {type(model).__name__} was fitted without features of {by}; choose "
                "'ratings'"
            )
        parts = _by_features(model, by, found, who, what)
    else:
        raise ParameterValueError(f"by={by!r}; choose 'items', 'users' or 'ratings'")
    predicted = model.predictions(np.array([score], np.float32))
    known_as = model.user_vocabulary_[who], model.item_vocabulary_[what]
    return Explanation(
        *known_as, model.title(item), by, score, None if predicted is None else float(predicted[0]), parts
    )


def _by_features(model: Any, by: By, features: SideFeatures, user: int, item: int) -> tuple[Part, ...]:
    """With the other side held fixed the score is linear in a row, which is mean + features + its own."""
    assert features.map is not None
    wide = {
        side: model._rows_of(side)[row].astype(np.float64) for side, row in (("items", item), ("users", user))
    }
    other = wide["users" if by == "items" else "items"]
    seen_by = np.concatenate([[1.0], other[1:]])
    row = item if by == "items" else user
    vector = features.matrix()[[row]].tocoo()
    noun, other_noun = ("item", "user") if by == "items" else ("user", "item")
    parts = [
        Part("model", "global mean", float(model.parameters_.global_mean)),
        Part(other_noun, "bias", float(other[0])),
        Part(noun, f"the mean {noun}", float(features.map.mean @ seen_by)),
    ]
    names = [
        (name, column)
        for name, columns in zip(features.names, features.encoder.column_names, strict=True)
        for column in columns
    ]
    for at, value in sorted(zip(vector.col.tolist(), vector.data.tolist(), strict=True)):
        name, column = names[at]
        parts.append(Part(name, column, float(value * (features.map.weights[at] @ seen_by))))
    own = wide[by] - features.map.rows(features.matrix()[[row]])[0]
    parts.append(Part(noun, f"this {noun} itself", float(own @ seen_by)))
    return tuple(parts)


def _by_ratings(model: Any, user: int, item: int, score: float) -> tuple[Part, ...]:
    """What each training rating adds, the largest first, the item's bias, and what is left."""
    seen = model.seen_
    own = slice(int(seen.indptr[user]), int(seen.indptr[user + 1]))
    rows, values = seen.indices[own], model.usable_ratings(seen.ratings[own])
    usable = ~np.isnan(values)
    added, bias = model.contributions(rows[usable], values[usable], item)
    if model.seen_times_ is not None:
        added = added * model.fading(model.seen_times_[own][usable])
    order = np.argsort(-np.abs(added), kind="stable")
    parts = [Part("item", "bias", float(bias))]
    parts += [
        Part("rating", model.title(model.item_vocabulary_[int(rows[usable][at])]), float(added[at]))
        for at in order.tolist()
        if added[at] != 0
    ]
    rest = score - sum(part.value for part in parts)
    return (*parts, Part("model", "everything else", rest))
