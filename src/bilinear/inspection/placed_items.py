"""Items and their places in a plane: what figures and pages of a map are drawn from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.inspection.items import first_genre
from bilinear.tabular import Tabular


@dataclass(frozen=True, eq=False, repr=False)
class PlacedItems(Tabular):
    """Items and their places, in the order of the model's vocabulary.

    Attributes:
        ids: (n,) ids.
        titles, genres: n texts, the id and "" where the model has none.
        coordinates: (n, n_components) float64 around the mean item, in the units of the score.
        explained: (n_components,) share of the items' variance along each direction.
        n_ratings: (n,) training ratings.
        biases: (n,) in the units of the score.
        min_ratings: items with fewer ratings were left out, `n_left_out` of them.
        unit: what coordinates and biases are measured in.
        source: what the model learned from.
        genre_names: first genres of all items of the model, most frequent first; a place is a colour.
        unit_factors: (n, n_factors) item factors scaled to length one, for the nearest items.
    """

    ids: NDArray[Any]
    titles: tuple[str, ...]
    genres: tuple[str, ...]
    coordinates: NDArray[np.float64]
    explained: NDArray[np.float64]
    n_ratings: NDArray[np.int64]
    biases: NDArray[np.floating[Any]]
    min_ratings: int
    n_left_out: int
    unit: str
    source: str
    genre_names: tuple[str, ...]
    unit_factors: NDArray[np.floating[Any]] = field(repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def first_genres(self) -> tuple[str, ...]:
        """The first genre of each item, "" where it has none."""
        firsts = {genres: first_genre(genres) for genres in set(self.genres)}
        return tuple(firsts[genres] for genres in self.genres)

    @cached_property
    def genre_counts(self) -> tuple[tuple[str, int], ...]:
        """(first genre, items) pairs, most frequent first; without the items that have none."""
        counts = Counter(genre for genre in self.first_genres if genre)
        return tuple(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))

    def extremes(self, component: int, n: int = 5) -> tuple[list[int], list[int]]:
        """Positions of the `n` items furthest to the low and to the high end of a direction."""
        order = np.argsort(self.coordinates[:, component], kind="stable")
        return order[:n].tolist(), order[: -n - 1 : -1].tolist()

    def to_columns(self) -> dict[str, Any]:
        """item, title, genres, the place along each direction, bias and n_ratings."""
        places = {f"direction_{at + 1}": values for at, values in enumerate(self.coordinates.T)}
        named = {"item": self.ids, "title": list(self.titles), "genres": list(self.genres)}
        return {**named, **places, "bias": self.biases, "n_ratings": self.n_ratings}
