"""Predicted ratings: of one pair, a number; of several, an array and a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any, Self

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

from bilinear.data.vocabulary import Id
from bilinear.model.parameters import Array
from bilinear.tabular import Tabular


@dataclass(frozen=True, eq=False, repr=False)
class Prediction(float):
    """The predicted rating of one pair: a number, with what is known of it.

    Attributes:
        user, item: The ids that were asked for.
        prediction: The number itself.
        known_user, known_item: Whether they had training ratings.
        low, high: Ends of the interval, where one was asked for; else None.

    Examples:
        >>> from bilinear import BiasModel, Interactions
        >>> users, items = "ann ann bob bob cat".split(), "Alien Heat Alien Heat Heat".split()
        >>> model = BiasModel(l2_biases=0.1).fit(Interactions.from_columns(users, items, [5, 4, 4, 3, 2]))
        >>> found = model.predict("cat", "Alien")
        >>> round(found, 2), found > 3, found.known_item
        (3.08, True, True)
    """

    user: Id
    item: Id
    prediction: float
    known_user: bool
    known_item: bool
    low: float | None = None
    high: float | None = None

    def __new__(cls, user: Id, item: Id, prediction: float, *_: Any, **__: Any) -> Self:
        return super().__new__(cls, prediction)

    def __getnewargs__(self) -> Any:
        return (
            *(self.user, self.item, self.prediction, self.known_user, self.known_item),
            *(self.low, self.high),
        )

    def __repr__(self) -> str:
        unknown = [what for what in ("user", "item") if not getattr(self, f"known_{what}")]
        said = "" if self.low is None else f" [{self.low:.4f}, {self.high:.4f}]"
        said += f"; unknown {' and '.join(unknown)}" if unknown else ""
        return f"Prediction({self.prediction:.4f}{said})"


@dataclass(frozen=True, eq=False)
class Predictions(Tabular, NDArrayOperatorsMixin):
    """Predicted ratings, and the pairs whose user or item is unknown to the model: an array and a table.

    Attributes:
        values: (n,) float32, in rating units.
        unknown_user, unknown_item: (n,) bool.
        low, high: (n,) ends of the intervals, where they were asked for; else None.
        users, items: n ids, as they were asked for.

    As an array it is its values: `np.asarray`, arithmetic, comparison, and `frame.assign(pred=predictions)`.
    As a table it has the columns user, item, prediction, low, high, known_user and known_item. For an unknown
    user the prediction is global mean and item bias, for an unknown item global mean and user bias, for both
    the global mean.

    Examples:
        >>> import pandas
        >>> from bilinear import BiasModel
        >>> frame = pandas.DataFrame({"user": [1, 1, 2], "item": [7, 8, 7], "rating": [5.0, 4.0, 3.0]})
        >>> found = BiasModel(l2_biases=0.1).fit(frame).predict(frame.user, frame.item)
        >>> frame.assign(pred=found).pred.round(1).tolist()
        [4.9, 4.0, 3.1]
        >>> list(pandas.DataFrame(found).columns)[:3], (found > 4.5).tolist()
        (['user', 'item', 'prediction'], [True, False, False])
    """

    values: Array
    unknown_user: NDArray[np.bool_]
    unknown_item: NDArray[np.bool_]
    low: Array | None = None
    high: Array | None = None
    users: Sequence[Id] | NDArray[Any] = ()
    items: Sequence[Id] | NDArray[Any] = ()

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Prediction]:
        return map(self._one, range(len(self)))

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, (str, slice)):
            return super().__getitem__(at)
        if isinstance(at, (np.ndarray, list)):
            return self.values[at]
        place = index(at)
        if not -len(self) <= place < len(self):
            raise IndexError(f"prediction {place} of {len(self)}")
        return self._one(place)

    def _one(self, at: int) -> Prediction:
        ends = [None if ends is None else float(ends[at]) for ends in (self.low, self.high)]
        ids = (ids[at].item() if isinstance(ids[at], np.generic) else ids[at] for ids in self._ids)
        known = not self.unknown_user[at], not self.unknown_item[at]
        user, item = ids
        return Prediction(user, item, float(self.values[at]), *known, *ends)

    @property
    def _ids(self) -> tuple[Any, Any]:
        return self.users, self.items

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.values, dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        plain = [one.values if isinstance(one, Predictions) else one for one in inputs]
        return getattr(ufunc, method)(*plain, **options)

    def __repr__(self) -> str:
        return (
            f"Predictions({len(self):,} pairs; unknown user in {int(self.unknown_user.sum()):,}, "
            f"unknown item in {int(self.unknown_item.sum()):,})"
        )

    def to_columns(self) -> dict[str, Any]:
        """user, item, prediction, low and high where they were asked for, known_user, known_item."""
        users, items = (ids if isinstance(ids, np.ndarray) else list(ids) for ids in self._ids)
        columns: dict[str, Any] = {"user": users, "item": items, "prediction": self.values}
        if self.low is not None:
            columns |= {"low": self.low, "high": self.high}
        return columns | {"known_user": ~self.unknown_user, "known_item": ~self.unknown_item}


Sequence.register(
    Predictions
)  # pandas.DataFrame takes the rows of a sequence, and the values of another array
