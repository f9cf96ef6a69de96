"""Two models side by side: places and reasons are the models' own."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import bilinear
from bilinear import EASE, BiasModel, side_by_side
from bilinear.errors import ParameterValueError, UnknownIdError

CATALOGUE = bilinear.synthetic_catalogue(1_000, n_users=40, n_items=60, rng=0)
TITLED = pd.DataFrame(CATALOGUE.items).assign(title=lambda films: "<b>" + films["title"])
MODELS = {
    "ease": EASE(l2=20.0).fit(CATALOGUE.interactions),
    "biases": BiasModel(l2_biases=2.0).fit(CATALOGUE.interactions, items=TITLED),
}


def test_places_are_those_of_each_models_list() -> None:
    found = side_by_side(MODELS, 3, n=6)
    lists = {name: list(model.recommend(3, n=60)) for name, model in MODELS.items()}
    for name, seen in (("ease", found.first), ("biases", found.second)):
        assert [each.place for each in seen] == [1 + lists[name].index(item) for item in found.items]
    tops = [set(ranked[:6]) for ranked in lists.values()]
    assert set(found.items) == tops[0] | tops[1]
    assert found.n_shared == len(tops[0] & tops[1])
    assert set(found.items[: found.n_shared]) == tops[0] & tops[1]
    assert all(title.startswith("<b>") for title in found.titles)  # of the model that has titles


def test_reasons_are_the_largest_parts_of_each_models_explanation() -> None:
    found = side_by_side(MODELS, 3, n=4)
    for item, one, two in zip(found.items, found.first, found.second, strict=True):
        parts = MODELS["ease"].explain(3, item).parts
        up = sorted((part.value for part in parts if part.group == "rating" and part.value > 0), reverse=True)
        assert [value for _, value in one.reasons] == up[:2]
        (bias,) = (part.value for part in MODELS["biases"].explain(3, item).parts if part.group == "item")
        assert (("liked by all users", bias) in two.reasons) == (bias > 0)
    assert any("liked by all users" in str(each) for each in found.second)


def test_the_page_shows_titles_as_text(tmp_path: Path) -> None:
    found = side_by_side(MODELS, 3, n=4)
    found.to_html(tmp_path / "two.html")
    page = (tmp_path / "two.html").read_text(encoding="utf-8")
    assert "<b>" not in page
    assert page.count("&lt;b&gt;") >= len(found)
    assert f"{found.n_shared} of 4 items are in the lists of both ease and biases for user 3" in page


def test_what_cannot_be_compared_is_refused() -> None:
    for wrong, got in (({"ease": MODELS["ease"]}, "1"), (list(MODELS.values()), "list")):
        with pytest.raises(ParameterValueError, match=f"expected two by name.*got {got}"):
            side_by_side(wrong, 3)  # type: ignore[arg-type]
    with pytest.raises(UnknownIdError):
        side_by_side(MODELS, 999)
    with pytest.raises(ParameterValueError, match="n=0"):
        side_by_side(MODELS, 3, n=0)
