"""Two models side by side for one user: what is in whose list, at which place, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bilinear.data.vocabulary import Id
from bilinear.errors import ParameterValueError
from bilinear.estimators.recommender import Recommender
from bilinear.inspection.items import whole_number
from bilinear.inspection.page import scrolling, signed, text, write_page
from bilinear.tabular import Tabular

_REASONS = 2


@dataclass(frozen=True)
class Listed:
    """An item in the eyes of one model.

    Attributes:
        place: in its list of all items that the user has not seen, from 1; None where it is not there.
        reasons: what moves the item's score up most, such as ("Film 3", 0.21): the user's own ratings, and
            "liked by all users" for the item's bias.
    """

    place: int | None
    reasons: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        return "; ".join(f"{what} {signed(value)}" for what, value in self.reasons)


@dataclass(frozen=True, eq=False)
class SideBySide(Tabular):
    """The result of `side_by_side`: a row for each item that is in either list.

    Attributes:
        user: their id.
        names: of the two models.
        n: length of the lists.
        items: ids, those in both lists first, then those of the first list only, then of the second.
        titles: of the items, or their ids.
        first, second: each item in the eyes of each model.

    Examples:
        >>> from bilinear import BiasModel, Popularity, side_by_side, synthetic_catalogue
        >>> table = synthetic_catalogue(1_000, n_users=40, n_items=60, rng=0).interactions
        >>> models = {"biases": BiasModel(l2_biases=2.0).fit(table), "popular": Popularity().fit(table)}
        >>> found = side_by_side(models, 1, n=3)
        >>> found.first[0].place <= 3 and found.second[0].place is not None
        True
    """

    user: Id
    names: tuple[str, str]
    n: int
    items: tuple[Id, ...]
    titles: tuple[str, ...]
    first: tuple[Listed, ...]
    second: tuple[Listed, ...]

    @property
    def n_shared(self) -> int:
        """Items that are in both lists."""
        return 2 * self.n - len(self.items)

    def to_columns(self) -> dict[str, Any]:
        """item, title, and for each model the place and the reasons."""
        columns: dict[str, Any] = {"item": list(self.items), "title": list(self.titles)}
        for name, seen in zip(self.names, (self.first, self.second), strict=True):
            columns[f"{name}: place"] = [each.place for each in seen]
            columns[f"{name}: because"] = [str(each) for each in seen]
        return columns

    def _caption(self) -> str:
        return (
            f"{self.n_shared} of {self.n} items are in the lists of both {self.names[0]} and {self.names[1]} "
            f"for user {self.user}"
        )

    def __str__(self) -> str:
        width = max(map(len, self.titles), default=0)
        lines = [
            f"  {title:<{width}}  {_place(one.place):>6}  {_place(two.place):>6}"
            for title, one, two in zip(self.titles, self.first, self.second, strict=True)
        ]
        return "\n".join([f"{self._caption()}; places in each:", *lines])

    def to_html(self, path: str | Path) -> None:
        """Writes one page that needs no network, whole or not at all."""
        head = "".join(f'<th class="n">{text(name)}</th><th>because</th>' for name in self.names)
        rows = "".join(
            f'<tr><th class="k" scope="row"><bdi>{text(title)}</bdi></th>'
            + "".join(
                f'<td class="n">{_place(each.place)}</td><td class="reasons">{text(str(each))}</td>'
                for each in (one, two)
            )
            + "</tr>"
            for title, one, two in zip(self.titles, self.first, self.second, strict=True)
        )
        what = (
            "The place of each item among all that the user has not seen, and what moves its score up most."
        )
        body = (
            f'<header><h1 class="verdict">{text(self._caption())}</h1><p class="faint">{what}</p></header>'
            + scrolling(f"<thead><tr><th>item</th>{head}</tr></thead><tbody>{rows}</tbody>")
        )
        write_page(
            Path(path), f"Two models for user {self.user}", f"<main>{body}</main>", None, "report-page"
        )


def side_by_side(models: Mapping[str, Recommender], user: Id, *, n: int = 10) -> SideBySide:
    """The lists of two fitted models for one user: what differs, and why.

    Args:
        models: Two models by name.
        user: Known to both.
        n: Length of the lists.

    Raises:
        ParameterValueError: There are not two models, or a list has no item.
        UnknownIdError: A model does not know the user.

    Cost:
        The scores of all items, and an explanation of each item in either list, for each model.

    Examples:
        >>> from bilinear import EASE, Popularity, side_by_side, synthetic_catalogue
        >>> table = synthetic_catalogue(2_000, n_users=60, n_items=80, rng=0).interactions
        >>> models = {"popular": Popularity().fit(table), "ease": EASE(l2=50.0).fit(table)}
        >>> found = side_by_side(models, 1, n=5)
        >>> found.n_shared + len(found)
        10
        >>> list(found.to_columns())[:4]
        ['item', 'title', 'popular: place', 'popular: because']
        >>> found.to_html("two.html")
    """
    n = whole_number("n", n)
    if not isinstance(models, Mapping) or len(models) != 2:
        given = len(models) if isinstance(models, Mapping) else type(models).__name__
        raise ParameterValueError(f"models: expected two by name, {{NAME: model, NAME: model}}, got {given}")
    (first, one), (second, two) = models.items()
    places = [_places(model, user) for model in (one, two)]
    tops = [[item for item, place in found.items() if place <= n] for found in places]
    shortest = min(map(len, tops))
    if not shortest:
        raise ParameterValueError(f"user {user!r}: a model has no item left to list")
    tops = [top[:shortest] for top in tops]
    in_both = [item for item in tops[0] if item in set(tops[1])]
    items = list(dict.fromkeys([*in_both, *tops[0], *tops[1]]))
    seen = [
        tuple(Listed(found.get(item), _reasons(model, user, item)) for item in items)
        for model, found in zip((one, two), places, strict=True)
    ]
    titles = tuple(_title((one, two), item) for item in items)
    return SideBySide(user, (first, second), shortest, tuple(items), titles, seen[0], seen[1])


def _places(model: Recommender, user: Id) -> dict[Id, int]:
    """The place of every item that the user has not seen, from 1, best first."""
    ranked: Any = model.recommend(user, n=len(model.item_vocabulary_))  # of one user
    return {item: place for place, item in enumerate(ranked.items.tolist(), 1)}


def _title(models: tuple[Recommender, Recommender], item: Id) -> str:
    """The title that a model has for an item, or the item's id."""
    known = (model for model in models if "title" in model.item_texts_ and item in model.item_vocabulary_)
    return next((model.title(item) for model in known), str(item))


def _reasons(model: Recommender, user: Id, item: Id) -> tuple[tuple[str, float], ...]:
    """The parts that raise an item's score most, without what is the same for all items."""
    if item not in model.item_vocabulary_:
        return ()
    found = model.explain(user, item)
    parts = [
        ("liked by all users" if part.group == "item" and part.name == "bias" else part.name, part.value)
        for part in found.parts
        if part.group not in ("model", "user") and part.value > 0
    ]
    return tuple(sorted(parts, key=lambda part: -part[1])[:_REASONS])


def _place(place: int | None) -> str:
    return "–" if place is None else f"{place:,}"
