"""The map of items as a page to explore."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bilinear.inspection.items import at_least, shown
from bilinear.inspection.neighbours import nearest_of_each
from bilinear.inspection.page import MAP_PLACE, text, write_page
from bilinear.inspection.placed_items import PlacedItems

N_NEAREST = 8
_MOST_PRODUCTS = 4e10  # multiplications spent on nearest items: some ten seconds on one core


def write_map(items: PlacedItems, path: Path) -> None:
    """See `ItemMap.to_html`."""
    body = (
        f'<header class="map-head"><h1>Map of {len(items):,} items</h1>'
        f"<p>{text(items.source)}: {explanation(items)}</p></header>{MAP_PLACE}"
    )
    write_page(path, f"Item map: {items.source}", body, map_data(items), "map-page")


def explanation(items: PlacedItems) -> str:
    """Explanation of the map, as HTML."""
    share = items.explained[:2].sum()
    left_out = f"; left out with fewer: {items.n_left_out:,}" if items.n_left_out else ""
    return (
        f"items near each other are liked by the same people. The two directions hold {share:.0%} of what "
        f"tells the items' tastes apart. Items have {at_least(items.min_ratings)}{left_out}."
    )


def map_data(items: PlacedItems) -> dict[str, Any]:
    """Data for the script, as columns: they take a third of the size of rows.

    The columns are those of the server's `ItemMap`, and what only a page without a server needs: genres in
    full, and nearest items, N_NEAREST an item, with cosines in per cent; -1 fills a short list.
    """
    genre_texts = sorted(set(items.genres))
    number = {genres: n for n, genres in enumerate(genre_texts)}
    genre_number = {genre: n for n, genre in enumerate(items.genre_names)}
    rows, cosines, has_nearest = _nearest(items)
    return {
        "explained": _rounded(items.explained[:2]),
        "categories": [shown(name) for name in items.genre_names],
        "items": [shown(str(id_)) for id_ in items.ids.tolist()],
        "titles": [shown(title) for title in items.titles],
        "x": _rounded(items.coordinates[:, 0]),
        "y": _rounded(items.coordinates[:, 1]),
        "category": [genre_number.get(genre, -1) for genre in items.first_genres],
        "biases": _rounded(items.biases),
        "n_ratings": items.n_ratings.tolist(),
        "n_new": 0,
        "unit": items.unit,
        "genreTexts": [shown(genres) for genres in genre_texts],
        "genreText": [number[genres] for genres in items.genres],
        "nearestEach": N_NEAREST,
        "nearestOf": has_nearest,
        "nearest": rows,
        "cosines": cosines,
    }


def _nearest(items: PlacedItems) -> tuple[list[int], list[int], list[int]]:
    """Nearest items end to end, their cosines in per cent, and for which items these are."""
    n, n_factors = items.unit_factors.shape
    n_asked = int(min(n, _MOST_PRODUCTS / (n * n_factors)))
    asked = np.sort(np.argsort(-items.n_ratings, kind="stable")[:n_asked]).astype(np.int32)
    asked = asked[items.unit_factors[asked].any(axis=1)]
    rows, cosines, counts = nearest_of_each(items.unit_factors, asked, N_NEAREST)
    padded = np.full((len(asked), N_NEAREST), -1)
    filled = np.arange(rows.shape[1]) < counts[:, None]
    padded[:, : rows.shape[1]][filled] = rows[filled]
    per_cent = np.zeros_like(padded)
    per_cent[:, : rows.shape[1]][filled] = np.rint(100 * cosines[filled]).astype(int)
    return padded.ravel().tolist(), per_cent.ravel().tolist(), asked.tolist()


def _rounded(values: Any) -> list[float]:
    return [float(f"{value:.4g}") for value in np.asarray(values, np.float64).tolist()]
