"""Properties of items and users as one model understands them: columns, features, rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from bilinear.data.features.cells import categories, is_empty
from bilinear.data.features.inference import as_record
from bilinear.data.features.kinds import Categories, Feature
from bilinear.errors import ParameterValueError
from bilinear.estimators.recommender import Recommender
from bilinear.estimators.side_features import SideFeatures
from bilinear.serving.feedback.store import Side
from bilinear.serving.messages import Content

GENRES = "genres"


class Put(NamedTuple):
    """What was put of one item or user, as one model understands it.

    Attributes:
        id: As it was put, by the rules of the model's ids.
        title: "" without.
        features: Column -> value, of the columns that the model knows.
        row: (n_factors + 1,) the bias in front, from the features.
        missing: Features without a value, for which the mean answers.
        ignored: Values that training has not met, by feature.
    """

    id: str
    title: str
    features: Mapping[str, Any]
    row: NDArray[np.float64]
    missing: tuple[str, ...]
    ignored: Mapping[str, tuple[str, ...]]

    def categories(self, name: str, separator: str | None = "|") -> list[str]:
        """Of a column, in the order given."""
        return categories(self.features.get(name), separator)


class Reader:
    """From stored properties to rows of one model.

    Attributes:
        columns: Columns that may be put, by side: the features, and genres where items have them.
    """

    def __init__(self, model: Recommender) -> None:
        features = getattr(model, "features_", None)
        self._features: dict[Side, SideFeatures | None] = {
            "item": getattr(features, "items", None),
            "user": getattr(features, "users", None),
        }
        self.columns: dict[Side, tuple[str, ...]] = {
            side: () if found is None else found.names for side, found in self._features.items()
        }
        if self.columns["item"] and GENRES in model.item_texts_ and GENRES not in self.columns["item"]:
            self.columns["item"] = (*self.columns["item"], GENRES)

    def knows(self, side: Side) -> bool:
        """Whether the model has features of a side, so that it can place what it was not trained on."""
        return self._features[side] is not None

    def separator(self, name: str) -> str | None:
        """Between the categories of an item's column."""
        feature = self._feature("item", name)
        return feature.separator if isinstance(feature, Categories) else "|"

    def kind(self, side: Side, name: str) -> str:
        """Of a column: that of its feature, or "text"."""
        feature = self._feature(side, name)
        return "text" if feature is None else type(feature).__name__.lower()

    def _feature(self, side: Side, name: str) -> Feature | None:
        found = self._features[side]
        features = () if found is None else found.encoder.features
        return next((feature for feature in features if feature.column == name), None)

    def put(self, side: Side, id_: str, content: Content, *, strict: bool) -> Put:
        """Properties as the model understands them.

        Args:
            strict: Refuse columns that it does not know (ParameterValueError) instead of leaving them out:
                what was stored under another model may have others.
        """
        features = self._features[side]
        assert features is not None
        given: Mapping[str, Any] = content.features
        if not strict:
            given = {name: value for name, value in given.items() if self._has(side, name)}
        record = as_record(given, self.columns[side])
        row, ignored = features.rows_of([{n: record[n] for n in features.names if n in record}])
        missing = tuple(name for name in features.names if is_empty(record.get(name)))
        return Put(
            id_, content.title or "", record, row[0], missing, {n: tuple(v) for n, v in ignored.items()}
        )

    def of_features(self, side: Side, put: Put) -> dict[str, Any]:
        """What was put of the features alone."""
        features = self._features[side]
        return {} if features is None else {n: put.features[n] for n in features.names if n in put.features}

    def _has(self, side: Side, name: str) -> bool:
        try:
            as_record({name: None}, self.columns[side])
        except ParameterValueError:
            return False
        return True


def read_content(content: str) -> Content:
    """Stored properties."""
    return msgspec.json.decode(content, type=Content)
