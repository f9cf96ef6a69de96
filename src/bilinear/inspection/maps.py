"""The items as points in a plane: the directions in which users' tastes divide them most."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bilinear.errors import MissingDependencyError, ParameterValueError
from bilinear.estimators.rating_model import RatingModel
from bilinear.inspection.items import (
    at_least,
    check_model,
    enough_ratings,
    genre_names,
    genres_of,
    no_factors,
    rating_counts,
    shown,
    unit_of,
    whole_number,
)
from bilinear.inspection.map_figure import draw, write_png
from bilinear.inspection.map_html import write_map
from bilinear.inspection.placed_items import PlacedItems
from bilinear.inspection.spectrum import balanced_item_factors, principal_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAP_SIZE = 200  # a map of fewer items is not a map: a small table shows what it has


@dataclass(frozen=True, eq=False, repr=False)
class ItemMap(PlacedItems):
    """The result of `item_map`: items and their places, to draw, to explore and to print.

    Examples:
        >>> from bilinear import MatrixFactorization, item_map, synthetic_ratings
        >>> model = MatrixFactorization(n_factors=4, l2=0.1, l2_biases=1.0, rng=0)
        >>> found = item_map(model.fit(synthetic_ratings(50, 30, 600, rng=0)), min_ratings=5)
        >>> low, high = found.extremes(0, n=2)
        >>> bool(found.coordinates[low[0], 0] < found.coordinates[high[0], 0])
        True
    """

    def figure(self, *, n_labels: int = 25) -> Figure:
        """The map as a matplotlib figure with the `n_labels` most rated items named.

        Raises:
            MissingDependencyError: matplotlib is not installed.
        """
        return draw(self, n_labels)

    def to_png(self, path: str | Path, *, n_labels: int = 25, dpi: int = 150) -> None:
        """Writes `figure()` as a PNG image, whole or not at all.

        Raises:
            MissingDependencyError: matplotlib is not installed.
            ParameterValueError: the name ends in the suffix of another format.
        """
        write_png(self, Path(path), n_labels, dpi)

    def to_html(self, path: str | Path) -> None:
        """Writes one page to explore: pan, zoom, search, colours, nearest items. It needs no network.

        The nearest items of a point are those of the whole factors, not of the plane.

        Cost:
            O(n^2 * n_factors) for them (bounded: in a very large map only the most rated items carry
            theirs); the file has some 150 bytes an item.
        """
        write_map(self, Path(path))

    def _repr_html_(self) -> str:
        """The figure, or the table of places where matplotlib is not installed."""
        try:
            picture = b64encode(self.figure()._repr_png_()).decode()  # type: ignore[attr-defined]
        except MissingDependencyError:
            return super()._repr_html_()
        return (
            f'<img alt="{escape(repr(self))}" src="data:image/png;base64,{picture}" style="max-width:100%">'
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON values; one dictionary an item."""
        return {
            "explained": self.explained.tolist(),
            "unit": self.unit,
            "min_ratings": self.min_ratings,
            "n_left_out": self.n_left_out,
            "items": [
                {
                    "id": id_,
                    "title": title,
                    "genres": genres,
                    "coordinates": place,
                    "bias": bias,
                    "n_ratings": count,
                }
                for id_, title, genres, place, bias, count in zip(
                    self.ids.tolist(),
                    self.titles,
                    self.genres,
                    self.coordinates.tolist(),
                    self.biases.tolist(),
                    self.n_ratings.tolist(),
                    strict=True,
                )
            ],
        }

    def __repr__(self) -> str:
        shares = ", ".join(f"{share:.1%}" for share in self.explained)
        return f"ItemMap({len(self):,} items; {len(self.explained)} directions with {shares} of the variance)"

    def __str__(self) -> str:
        lines = [
            f"map of {len(self):,} items with {at_least(self.min_ratings)}; "
            f"the first {len(self.explained)} directions hold {self.explained.sum():.0%} of the variance"
        ]
        for component, share in enumerate(self.explained):
            low, high = self.extremes(component, 4)
            lines.append(f"  direction {component + 1} ({share:.0%})")
            lines += [
                f"    {end} {', '.join(shown(self.titles[at], 32) for at in places)}"
                for end, places in (("-", low), ("+", high))
            ]
        return "\n".join(lines)


def item_map(model: RatingModel, *, n_components: int = 2, min_ratings: int | None = None) -> ItemMap:
    """Principal directions of the items' factors, in the metric of the users' factors.

    The distance of two items is the root mean square, over the users, of how differently their
    taste scores them (see `balanced_item_factors`: any other basis of the factors gives the same
    map); the plane shows as much of it as a plane can. Each direction points to the side of the
    item that is furthest out.

    Args:
        n_components: directions to keep; figures and pages show the first two.
        min_ratings: leave out items with fewer training ratings; None is ten, or the median of
            the rated items where that is more. Rarely rated items are shrunk towards the middle.
    Raises:
        ParameterValueError: the model has fewer than two factors, or too few items are left.
    Cost:
        O((n_users + n_items) * n_factors^2).

    Examples:
        >>> from bilinear import MatrixFactorization, item_map, synthetic_ratings
        >>> model = MatrixFactorization(n_factors=4, l2=0.1, l2_biases=1.0, rng=0)
        >>> found = item_map(model.fit(synthetic_ratings(50, 30, 600, rng=0)), min_ratings=5)
        >>> found.coordinates.shape[1], found.explained.shape
        (2, (2,))
        >>> found.to_html("map.html")
    """
    check_model(model)
    n_components = whole_number("n_components", n_components)
    counts = rating_counts(model)
    least = enough_ratings(counts, min_ratings, MAP_SIZE)
    rows = np.flatnonzero(counts >= least)
    if fault := no_map(model) or _too_few(len(rows), n_components, least, model):
        raise ParameterValueError(fault)
    places = balanced_item_factors(model)[rows]
    axes = principal_axes(places, n_components)
    factors = model.parameters_.item_factors[rows]
    lengths = np.linalg.norm(factors, axis=1, keepdims=True)
    ids = model.item_vocabulary_.decode(rows)
    return ItemMap(
        ids=ids,
        titles=tuple(model.title(id_) for id_ in ids.tolist()),
        genres=tuple(genres_of(model, rows)),
        coordinates=axes.coordinates(places),
        explained=axes.shares,
        n_ratings=counts[rows],
        biases=model.parameters_.item_biases[rows],
        min_ratings=least,
        n_left_out=len(counts) - len(rows),
        unit=unit_of(model),
        source=model.source_,
        genre_names=genre_names(model),
        unit_factors=factors / np.where(lengths > 0, lengths, 1).astype(factors.dtype),
    )


def no_map(model: RatingModel) -> str | None:
    """The reason why no map exists of this model's items, or None if there is one."""
    if model.parameters_.n_factors == 1:
        return "one factor puts the items on a line; a map needs n_factors of 2 or more"
    fault = no_factors(model)
    return fault and f"{fault}; a map needs MatrixFactorization with n_factors of 2 or more"


def _too_few(n: int, n_components: int, least: int, model: RatingModel) -> str | None:
    most = min(n - 1, model.parameters_.n_factors)
    if most < 2:
        return f"{n} items have {at_least(least)}, which is not a map; lower min_ratings"
    if not 2 <= n_components <= most:
        return f"n_components={n_components}: these {n:,} items have 2 to {most} directions"
    return None
