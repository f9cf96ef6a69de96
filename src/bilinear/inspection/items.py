"""Helpers of the views of a fitted model: counts, names, and items with enough ratings."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any
from unicodedata import category

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_whole
from bilinear.errors import ParameterValueError
from bilinear.estimators.rating_model import RatingModel
from bilinear.estimators.recommender import Recommender
from bilinear.model.link import Identity

_FEW = 10  # a bias or a direction learned from fewer ratings is mostly the penalty's doing


def check_model(model: RatingModel) -> None:
    """Raises ParameterValueError for what is not a model, NotFittedError for one without weights."""
    if not getattr(model, "predicts_ratings", False):
        raise ParameterValueError(
            f"a fitted model is needed, not {type(model).__name__}; open one with bilinear.load(folder)"
        )
    _ = model.parameters_


def rating_counts(model: RatingModel) -> NDArray[np.int64]:
    """(n_items,) training ratings of each item."""
    return np.bincount(model.seen_.indices, minlength=len(model.item_vocabulary_))


def enough_ratings(counts: NDArray[np.int64], min_ratings: int | None, n_wanted: int) -> int:
    """The number of ratings that an item needs to be shown.

    None: ten, or the median of the rated items where that is more, so that a list of extremes
    is not a list of items that one person rated. A table with fewer than `n_wanted` such items
    gives as many as it has, from one rating on.
    """
    if min_ratings is None:
        rated = np.sort(counts[counts > 0])[::-1]
        if not len(rated):
            return 1
        usual = max(_FEW, int(np.ceil(np.median(rated))))
        return int(min(usual, rated[min(n_wanted, len(rated)) - 1]))
    return whole_number("min_ratings", min_ratings)


def whole_number(name: str, value: Any) -> int:
    """`value` as an int of one or more, else ParameterValueError."""
    if not is_whole(value) or value < 1:
        raise ParameterValueError(f"{name}={value!r}; a whole number, one or more")
    return int(value)


def at_least(n_ratings: int) -> str:
    """A number of ratings as a lower bound, in words."""
    return f"{n_ratings:,} rating{'' if n_ratings == 1 else 's'} or more"


def no_factors(model: RatingModel) -> str | None:
    """The reason why this model has no factors to show, or None."""
    if not model.parameters_.n_factors:
        return f"a {type(model).__name__} without factors knows how liked an item is, not what it is like"
    if not (model.parameters_.item_factors.any() and model.parameters_.user_factors.any()):
        return "all factors are zero: the penalty l2 left nothing but the biases"
    return None


def unit_of(model: RatingModel) -> str:
    """Unit of biases and coordinates."""
    return "rating units" if isinstance(model.link_, Identity) else "score units (before the link)"


def genres_of(model: RatingModel, rows: NDArray[Any]) -> list[str]:
    """The genre text of each item row, "" where the model has none."""
    genres = model.item_texts_.get("genres")
    return [""] * len(rows) if genres is None else [genres[int(row)] for row in rows]


def first_genre(genres: str) -> str:
    """The first name of a list such as `Comedy|Drama` or `Comedy, Drama`; "" for none."""
    name = re.split(r"[|]" if "|" in genres else r"[;,]", genres, maxsplit=1)[0].strip()
    return "" if name.lower() in ("", "(no genres listed)") else name


def genre_names(model: Recommender) -> tuple[str, ...]:
    """First genres of all items, most frequent first: a genre's place is its colour wherever it is drawn."""
    counts = Counter(map(first_genre, model.item_texts_.get("genres", ())))
    return tuple(sorted((name for name in counts if name), key=lambda name: (-counts[name], name)))


def shown(text: str, width: int | None = None) -> str:
    """One line that a terminal or a page can show: nothing that acts, at most `width` characters.

    Titles come from files: an escape sequence or a right-to-left override must not act.
    """
    if not text.isprintable():
        text = "".join(map(_harmless, text))
    return text if width is None or len(text) <= width else text[: width - 1].rstrip() + "…"


def _harmless(character: str) -> str:
    if character.isspace():
        return " "
    # Controls, formats and halves of characters; the joiners are letters' business in many scripts.
    acts = category(character) in ("Cc", "Cf", "Cs") and character not in "\u200c\u200d"
    return "\N{REPLACEMENT CHARACTER}" if acts else character
