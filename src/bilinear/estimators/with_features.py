"""Models of factors whose rows without ratings come from features of users and items."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self
from warnings import warn

import numpy as np
from numpy.typing import NDArray

from bilinear.data.features.cells import categories, number
from bilinear.data.features.encoder import FeatureEncoder
from bilinear.data.features.inference import FeatureLike, column_values, feature_list
from bilinear.data.features.kinds import Categories, Number, Vector, Words
from bilinear.data.interactions import Grouped, Interactions
from bilinear.data.items import Items
from bilinear.data.packed_text import PackedText
from bilinear.data.side_table import SideTable, Users
from bilinear.data.vocabulary import Id, Vocabulary
from bilinear.errors import ParameterValueError
from bilinear.estimators.recommender import Recommender, TensorReader
from bilinear.estimators.ridge_map import RidgeMap, fit_ridge_map
from bilinear.estimators.side_features import Features, SideFeatures, joined
from bilinear.estimators.update import Updates, ids_like, wider_texts
from bilinear.model.parameters import Array, Parameters

Side = Literal["items", "users"]
_SIDES: tuple[Side, Side] = ("items", "users")
_TABLES: dict[Side, type[SideTable]] = {"items": Items, "users": Users}
_LEAK = 0.9  # rank correlation with mean ratings from which a column seems to be computed from them
_ENOUGH = 5  # ratings of a row for its mean to say something
_ROWS_AT_ONCE = 1 << 16


class LeakWarning(UserWarning):
    """A column of features seems to be computed from the ratings. The message names it."""


class _Learned(Recommender):
    parameters_: Parameters
    features_: Features = Features()


@dataclass(repr=False, eq=False)
class WithFeatures(_Learned):
    """Features of either side, mapped to the rows of the fitted model in closed form.

    Rows with ratings stay as training left them, to the last bit. Rows without get the mean row and a linear
    map of their features, see `fit_ridge_map`; so do the rows of `new_items` and `new_users`.

    Args:
        item_features: Columns of the items table (`fit(items=...)`), by name or as `Categories`, `Number`,
            `Words`, `Vector` and `Dates`.
        user_features: The same of the users table (`fit(users=...)`).

    Learned attributes:
        features_: `Features` of both sides.
    """

    item_features: Sequence[FeatureLike] = field(default=(), kw_only=True)
    user_features: Sequence[FeatureLike] = field(default=(), kw_only=True)

    @property
    def updates(self) -> Updates:
        """Not with features: those of new rows would be missing."""
        return "no" if self.item_features or self.user_features else self._updates

    def _cannot_update(self) -> str:
        if not (self.item_features or self.user_features):
            return super()._cannot_update()
        return (
            f"this {type(self).__name__} was fitted with features, which further interactions lack; train it "
            "on all of them with fit (bilinear train)"
        )

    def new_items(self, items: Items) -> Self:
        """A model that knows further items as well, from their features; nothing is trained.

        Rows of items with ratings are those of this model, to the last bit. Items of the table that are known
        and have no ratings get new rows; known ones with ratings stay as they are.

        Args:
            items: From `read_items`, with the columns of all item features.
        Raises:
            ParameterValueError: This model was fitted without item features.
            MissingColumnError: The table lacks the column of a feature.
            IdValueError: Ids of the table cannot be ids of this model.
        Cost:
            O(model) memory and time.
        Examples:
            >>> from bilinear import Interactions, Items, MatrixFactorization, Vocabulary
            >>> films = Items(Vocabulary.from_ids([1, 2, 3]), {"genres": ["War", "War|Drama", "Drama"]})
            >>> ratings = Interactions.from_columns([1, 1, 2, 2, 3], [1, 2, 1, 3, 3], [5, 4, 4, 2, 1])
            >>> settings = {"n_factors": 2, "l2": 0.1, "l2_biases": 0.1, "validation_fraction": 0, "rng": 0}
            >>> model = MatrixFactorization(**settings, item_features=["genres"]).fit(ratings, items=films)
            >>> more = Items(Vocabulary.from_ids([8, 9]), {"genres": ["War", "Drama"]})
            >>> wider = model.new_items(more)
            >>> len(model.item_vocabulary_), len(wider.item_vocabulary_)
            (3, 5)
            >>> wider.recommend(1, new="only").items.tolist()
            [8, 9]
        """
        return self._with_new("items", items)

    def new_users(self, users: Users) -> Self:
        """A model that knows further users as well, from their features; see `new_items`.

        Examples:
            >>> from bilinear import Interactions, MatrixFactorization, Users, Vocabulary
            >>> people = Users(Vocabulary.from_ids([1, 2, 3]), {"job": ["a", "b", "b"]})
            >>> ratings = Interactions.from_columns([1, 1, 2, 2, 3], [1, 2, 1, 3, 3], [5, 4, 4, 2, 1])
            >>> settings = {"n_factors": 2, "l2": 0.1, "l2_biases": 0.1, "validation_fraction": 0, "rng": 0}
            >>> model = MatrixFactorization(**settings, user_features=["job"]).fit(ratings, users=people)
            >>> wider = model.new_users(Users(Vocabulary.from_ids([7]), {"job": ["b"]}))
            >>> len(wider.recommend(7, n=3))
            3
        """
        return self._with_new("users", users)

    def with_shuffled_features(self, side: Side, rng: int = 0) -> Self:
        """A copy whose features of one side are shuffled among its rows, and mapped anew: a control.

        What it reaches for new rows is what features that tell nothing would.
        """
        features: SideFeatures | None = getattr(self.features_, side)
        if features is None:
            raise ParameterValueError(f"this {type(self).__name__} has no features of {side} to shuffle")
        known = np.flatnonzero(features.known())
        order = np.arange(features.blocks[0].shape[0])
        order[known] = np.random.default_rng([rng, 6]).permutation(known)
        model = copy.copy(self)
        shuffled = features.taken(order)
        model.features_ = self.features_._replace(
            **{side: replace(shuffled, map=self._fitted_map(side, shuffled))}
        )
        model._forget()
        model._fill_rows(side)
        return model

    def feature_rows(self, side: Side, rows: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether rows (-1: unknown) of a side are known by their features."""
        found = getattr(self.features_, side)
        if found is None or not len(rows):
            return np.zeros(len(rows), bool)
        known: NDArray[np.bool_] = (rows >= 0) & found.known()[np.maximum(rows, 0)]
        return known

    def _folded_with_features(
        self, rated: NDArray[np.int32], ratings: NDArray[np.float64], features: Mapping[str, Any]
    ) -> Any:
        known: SideFeatures | None = self.features_.users
        if known is None or known.map is None:
            return super()._folded_with_features(rated, ratings, features)
        return self._folded_towards(rated, ratings, known.rows_of([features])[0][0])

    def _prepared_features(
        self, interactions: Interactions, items: Items | None, users: Users | None
    ) -> Features:
        """Encoded features in the order of the table's vocabularies, not yet mapped; checks them all.

        Without a table, a fitted model keeps the features that it has.
        """
        found: list[SideFeatures | None] = []
        for side, table in zip(_SIDES, (items, users), strict=True):
            noun = side[:-1]
            vocabulary = getattr(interactions, f"{noun}_vocabulary")
            wanted = feature_list(getattr(self, f"{noun}_features"))
            if table is not None and not isinstance(table, _TABLES[side]):
                raise ParameterValueError(
                    f"{side}={type(table).__name__}: expected {_TABLES[side].__name__}, as from "
                    f"bilinear.read_{side}(file or frame)"
                )
            before = getattr(self.features_, side)
            if not wanted:
                found.append(None)
            elif table is not None:
                encoder = FeatureEncoder.learn(table, wanted)
                _check_ids(table, vocabulary, side)
                _warn_of_leaks(encoder, table, interactions, side)
                found.append(SideFeatures(encoder, encoder.encode(table, vocabulary).blocks))
            elif before is not None and before.names == tuple(
                one if isinstance(one, str) else one.column for one in wanted
            ):
                old = getattr(self, f"{noun}_vocabulary_")
                found.append(replace(before.taken(old.encode(vocabulary)), map=None))
            else:
                raise ParameterValueError(
                    f"{noun}_features={list(wanted)!r} needs the table with these columns: "
                    f"fit(ratings, {side}=bilinear.read_{side}(file or frame))"
                )
        return Features(*found)

    def _learn_features(self, features: Features, items: Items | None = None) -> None:
        """Fits the maps, and gives rows without ratings theirs; titles come with the table of items."""
        found: list[SideFeatures | None] = []
        for side, one in zip(_SIDES, features, strict=True):
            found.append(one if one is None else replace(one, map=self._fitted_map(side, one)))
        self.features_ = Features(*found)
        for side in _SIDES:
            self._fill_rows(side)
        if items is not None:
            self.item_texts_ = texts_of(items, self.item_vocabulary_, self.features_.items)

    def _fitted_map(self, side: Side, features: SideFeatures) -> RidgeMap:
        counts = self._training_counts(side)
        trained = np.flatnonzero(counts > 0)
        other = self._rows_of("users" if side == "items" else "items")
        others = np.flatnonzero(self._training_counts("users" if side == "items" else "items") > 0)
        rows = self._rows_of(side)[trained].astype(np.float64)
        return fit_ridge_map(features.matrix()[trained], rows, counts[trained], _second_moment(other[others]))

    def _fill_rows(self, side: Side, chosen: NDArray[Any] | None = None) -> None:
        """Writes rows without ratings from their features."""
        features: SideFeatures | None = getattr(self.features_, side)
        if features is None or features.map is None:
            return
        cold = np.flatnonzero(self._training_counts(side) == 0)
        if len(cold):
            found = features.map.rows(features.matrix()[cold]).astype(np.float32)
            rows = self._rows_of(side)
            rows[cold] = found
            self._put_rows(side, rows)

    def _training_counts(self, side: Side) -> NDArray[np.int64]:
        """How many ratings each row was trained on."""
        learned_from: Grouped = getattr(self, "positives_", self.seen_)
        if side == "users":
            return learned_from.counts
        return np.bincount(learned_from.indices, minlength=len(self.item_vocabulary_))

    def _rows_of(self, side: Side) -> Array:
        """(n, n_factors + 1), a copy, the bias in front."""
        noun, parameters = side[:-1], self.parameters_
        biases, factors = getattr(parameters, f"{noun}_biases"), getattr(parameters, f"{noun}_factors")
        return np.hstack([biases[:, None], factors])

    def _put_rows(self, side: Side, rows: Array) -> None:
        noun = side[:-1]
        parts: dict[str, Any] = {
            f"{noun}_biases": np.ascontiguousarray(rows[:, 0]),
            f"{noun}_factors": np.ascontiguousarray(rows[:, 1:]),
        }
        self.parameters_ = replace(self.parameters_, **parts)

    def _trained_item_factors(self) -> Array:
        """(n_items, n_factors) with zeros for items that have no ratings: what users are folded in by."""
        factors = self.parameters_.item_factors
        if self.features_.items is None:
            return factors
        return np.where(self._training_counts("items")[:, None] > 0, factors, np.float32(0))

    def _with_new(self, side: Side, table: SideTable) -> Self:
        features: SideFeatures | None = getattr(self.features_, side)
        noun = side[:-1]
        if features is None:
            raise ParameterValueError(
                f"new_{side}: this {type(self).__name__} was fitted without {noun} features; fit it with "
                f"{noun}_features=[...] and {side}="
            )
        if not isinstance(table, _TABLES[side]):
            raise ParameterValueError(
                f"new_{side} takes {_TABLES[side].__name__}, as from bilinear.read_{side}(file or frame), "
                f"not {type(table).__name__}"
            )
        ids = ids_like(table.vocabulary, getattr(self, f"{noun}_vocabulary_"), noun, table.source)
        return self._wider(side, ids, features.encoder.encode(table).blocks, table)

    def with_records(self, side: Side, records: Mapping[str, Mapping[str, Any]]) -> Self:
        """A copy with other features, column -> value by id; an id that it does not know becomes a new row.

        Rows with ratings stay, and go by these features when the model is trained anew.
        """
        features: SideFeatures = getattr(self.features_, side)
        encoded = features.encoder.encode_records(list(records.values()))
        vocabulary: Vocabulary = getattr(self, f"{side[:-1]}_vocabulary_")
        ids: list[Id] = list(records)
        if vocabulary.kind != "text":
            ids = [int(id_) for id_ in records]
        return self._wider(side, ids, encoded.blocks, also_rated=True)

    def _wider(
        self,
        side: Side,
        ids: Sequence[Id],
        blocks: Any,
        table: SideTable | None = None,
        *,
        also_rated: bool = False,
    ) -> Self:
        """A copy that knows further ids, with the rows of these from `blocks`, one an id.

        Args:
            also_rated: Whether the features of ids with ratings are replaced as well.
        """
        noun = side[:-1]
        old: Vocabulary = getattr(self, f"{noun}_vocabulary_")
        features: SideFeatures = getattr(self.features_, side)
        asked = old.encode(ids)
        unknown = [id_ for id_, row in zip(ids, asked.tolist(), strict=True) if row < 0]
        new = Vocabulary.from_ids([*old, *unknown]) if unknown else old
        new = Vocabulary.from_tensors(new.tensors(), old.rules)
        rows = old.encode(new)  # of each new row in the old model, -1 where there is none
        place = new.encode(old)
        model = copy.copy(self)
        setattr(model, f"{noun}_vocabulary_", new)
        for name in ("seen_", "positives_"):
            if name in vars(self):
                setattr(model, name, _moved(getattr(self, name), side, place, len(new)))
        kept, known = self._rows_of(side), rows >= 0
        wide = np.zeros((len(new), kept.shape[1]), np.float32)
        wide[known] = kept[rows[known]]
        model._put_rows(side, wide)
        model._move_rows(side, rows)
        model._forget()
        stacked = tuple(joined(one, two) for one, two in zip(features.blocks, blocks, strict=True))
        source = np.where(known, rows, -1)
        cold = model._training_counts(side) == 0
        given = new.encode(ids)
        fresh = cold[given] | also_rated
        source[given[fresh]] = len(old) + np.flatnonzero(fresh)
        moved = replace(features, blocks=stacked).taken(source)
        model.features_ = self.features_._replace(**{side: moved})
        model._fill_rows(side)
        if side == "items":
            fresh = texts_of(table, new, features) if isinstance(table, Items) else {}
            model.item_texts_ = wider_texts(self.item_texts_, rows, fresh)
        return model

    def _forget(self) -> None:
        """Drops what was computed from the rows and is made again when it is asked for."""

    def _feature_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        manifest: dict[str, Any] = {}
        tensors: dict[str, NDArray[Any]] = {}
        for side in _SIDES:
            features: SideFeatures | None = getattr(self.features_, side)
            if features is not None:
                manifest[side], parts = features.state(side[:-1])
                tensors |= parts
        return ({"features": manifest} if manifest else {}), tensors

    def _restore_features(self, manifest: Any, tensor: TensorReader) -> None:
        width = self.parameters_.n_factors + 1
        found = {}
        for side in _SIDES:
            if side in manifest:
                n_rows = len(getattr(self, f"{side[:-1]}_vocabulary_"))
                found[side] = SideFeatures.restored(side[:-1], n_rows, width, manifest[side], tensor)
        self.features_ = Features(**found)


def texts_of(
    items: Items, vocabulary: Vocabulary, features: SideFeatures | None = None
) -> dict[str, PackedText]:
    """Titles, genres and columns of features in the order of a vocabulary, as a model keeps them.

    Lists have "|" between their entries. Words and vectors are not kept.
    """
    texts = items.texts(vocabulary)
    rows = items.vocabulary.encode(vocabulary).tolist()
    for feature in () if features is None else features.encoder.features:
        if feature.column in texts or isinstance(feature, (Words, Vector)):
            continue
        separator = feature.separator if isinstance(feature, Categories) else None
        texts[feature.column] = packed_cells(column_values(items, feature.column), separator, rows)
    return texts


def packed_cells(cells: Any, separator: str | None, rows: Iterable[int]) -> PackedText:
    """The cells of a column at rows (-1: empty), with "|" between the entries of one."""
    return PackedText.of("|".join(categories(cells[row], separator)) if row >= 0 else "" for row in rows)


def _moved(grouped: Grouped, side: Side, place: NDArray[Any], n: int) -> Grouped:
    """A table grouped by user whose users or items have other rows: `place`, in the same order."""
    if side == "items":
        return grouped._replace(indices=place[grouped.indices].astype(np.int32))
    counts = np.zeros(n, np.int64)
    counts[place] = grouped.counts
    return grouped._replace(indptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))


def _second_moment(rows: Array) -> NDArray[np.float64]:
    """Mean of (1, p)(1, p)' over rows (bias, p)."""
    total = np.zeros((rows.shape[1], rows.shape[1]))
    for at in range(0, len(rows), _ROWS_AT_ONCE):
        part = rows[at : at + _ROWS_AT_ONCE].astype(np.float64)
        part[:, 0] = 1.0
        total += part.T @ part
    return total / max(len(rows), 1)


def _check_ids(table: SideTable, vocabulary: Vocabulary, side: Side) -> None:
    if len(vocabulary) and not (table.vocabulary.encode(vocabulary) >= 0).any():
        raise ParameterValueError(
            f"{table.source} has none of the {side} with ratings: its ids are such as "
            f"{table.vocabulary[0]!r}, those of the ratings such as {vocabulary[0]!r}"
        )


def _warn_of_leaks(encoder: FeatureEncoder, table: SideTable, ratings: Interactions, side: Side) -> None:
    """Names columns of numbers that follow the mean rating, or the number of ratings, too closely."""
    grouped = ratings.by_item if side == "items" else ratings.by_user
    counts = grouped.counts
    rows = table.vocabulary.encode(ratings.item_vocabulary if side == "items" else ratings.user_vocabulary)
    enough = np.flatnonzero((counts >= _ENOUGH) & (rows >= 0))
    sums = np.add.reduceat(np.append(grouped.ratings.astype(np.float64), 0.0), grouped.indptr[:-1])
    measured = {"mean rating": sums / np.maximum(counts, 1), "number of ratings": counts.astype(np.float64)}
    for feature in encoder.features:
        if not isinstance(feature, Number):
            continue
        values = column_values(table, feature.column)
        found = [number(values[row]) for row in rows[enough].tolist()]
        known = np.array([value is not None for value in found], bool)
        numbers = np.array([value for value in found if value is not None])
        if len(numbers) < 20:
            continue
        for what, truth in measured.items():
            strength = abs(_rank_correlation(numbers, truth[enough][known]))
            if strength > _LEAK:
                warn(
                    f"{table.source}: column {feature.column!r} follows the {what} of {side} in "
                    f"{ratings.source} (rank correlation {strength:.2f}), as if it were computed from them. "
                    f"New {side} have no such value, and a held-out part is no longer held out; leave it out "
                    "unless it is known before the first rating",
                    LeakWarning,
                    stacklevel=4,
                )


def _rank_correlation(one: NDArray[np.float64], two: NDArray[np.float64]) -> float:
    from scipy.stats import rankdata

    first, second = rankdata(one), rankdata(two)
    if first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])
