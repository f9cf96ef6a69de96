"""Results as tables: one set of columns by every way out, rows that keep them, HTML without active text."""

from __future__ import annotations

import pickle
import re
from dataclasses import asdict
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import bilinear
from bilinear.errors import MissingDependencyError
from bilinear.tabular import Columns, Tabular

RATINGS = bilinear.synthetic_ratings(50, 30, 600, rng=0)
SPLIT = bilinear.split_random(RATINGS, rng=0)
TITLES = pd.DataFrame({"item": range(1, 31), "title": [f"<img src=x onerror=alert({n})>" for n in range(30)]})
MODEL = bilinear.MatrixFactorization(n_factors=4, l2=0.1, l2_biases=1.0, rng=0).fit(SPLIT.train, items=TITLES)
CLICKS = bilinear.synthetic_catalogue(1000, 40, 60, rng=0).interactions
CLICK_SPLIT = bilinear.split_random(CLICKS, rng=0)
MODELS = {"mean": bilinear.GlobalMean(), "biases": bilinear.BiasModel(l2_biases=1.0)}
DESCRIBED = bilinear.describe_model(MODEL, n=3, min_ratings=5)
RANKERS = {"popular": bilinear.Popularity(), "ease": bilinear.EASE(l2=20.0)}
CUTOFFS = bilinear.RankingProtocol(cutoffs=(5, 10))

RESULTS: dict[str, Columns] = {
    "predictions": MODEL.predict([1, 2, 999], [1, 2, 3]),
    "list": MODEL.recommend(7, n=3),
    "similar": MODEL.similar(7, n=3),
    "folded": MODEL.fold_in([1, 2], [5.0, 4.0]).recommend(3),
    "lists": MODEL.recommend([1, 2], n=3),
    "history": MODEL.history_,
    "search": bilinear.BiasModel(rng=0).fit(SPLIT.train).search_,
    "description": RATINGS.describe(),
    "scores": MODEL.evaluate(SPLIT.test),
    "measurement": bilinear.measure(MODELS, SPLIT, baseline="mean"),
    "ranking measurement": bilinear.measure(RANKERS, CLICK_SPLIT, protocol=CUTOFFS),
    "ranking scores": RANKERS["ease"].evaluate(CLICK_SPLIT, CUTOFFS),
    "explanation": MODEL.explain(7, 3),
    "biased items": DESCRIBED.items_by_bias,
    "neighbours": DESCRIBED.neighbours[0],
    "spectrum": DESCRIBED.spectrum,
    "map": DESCRIBED.item_map,
    "interactions": RATINGS,
    "items": bilinear.read_items(TITLES),
    "features": bilinear.describe_features(bilinear.read_items(TITLES)),
}
every_result = pytest.mark.parametrize("name", RESULTS)


@every_result
def test_every_way_out_has_the_same_columns_and_rows(name):
    found = RESULTS[name]
    columns = found.to_columns()
    lengths = {len(values) for values in columns.values()}
    assert len(lengths) == 1
    assert min(lengths) > 0
    frames = [found.to_pandas(), found.to_polars().to_pandas(), found.to_arrow().to_pandas()]
    frames += [pa.table(found).to_pandas()]
    for frame in frames:
        assert list(frame.columns) == list(columns)
        pd.testing.assert_frame_equal(frame, frames[0], check_dtype=False)
    assert [list(row) for row in found.to_dicts()] == [list(columns)] * lengths.pop()


@every_result
def test_the_constructors_of_frames_keep_all_columns(name):
    found = RESULTS[name]
    if not isinstance(found, Tabular):
        pytest.skip("a table that is not a sequence of rows")
    frame, expected = pd.DataFrame(found), found.to_pandas()
    assert set(frame.columns) >= set(expected.columns)
    for column in expected:
        same = frame[column].isna() & expected[column].isna()
        if expected[column].dtype.kind in "biuf":
            numbers = frame[column].astype(float), expected[column].astype(float)
            same |= np.isclose(*numbers, rtol=1e-6)
        else:
            same |= frame[column] == expected[column]
        assert same.all()
    assert set(pl.DataFrame(found).columns) >= set(expected.columns)


@every_result
def test_rows_are_reached_by_number_slice_and_iteration_and_columns_by_name(name):
    found = RESULTS[name]
    if not isinstance(found, Tabular):
        pytest.skip("a table that is not a sequence of rows")
    rows = list(found)
    assert len(rows) == len(found)
    shown = [str(asdict(row)) for row in rows]  # as text, in which NaN equals itself
    assert [str(asdict(row)) for row in found[:2]] == shown[:2]
    assert str(asdict(found[-1])) == shown[-1]
    assert str(asdict(pickle.loads(pickle.dumps(rows[0])))) == shown[0]
    first = next(iter(found.to_columns()))
    assert list(found[first]) == found.plain_columns[first]
    with pytest.raises(IndexError):
        found[len(found)]
    with pytest.raises((KeyError, bilinear.errors.ParameterValueError), match="no such column"):
        found["no such column"]


TAGS = {"div", "p", "pre", "table", "thead", "tbody", "tr", "th", "td", "bdi", "svg", "line", "circle"}


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        if tag not in ("line", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("line", "circle"):
            assert self.open.pop() == tag


PICTURE = r'<img alt="[^"<>]*" src="data:image/png;base64,[\w+/=]+" style="[\w:%-]+">'


@every_result
def test_html_is_well_formed_and_holds_titles_as_text(name):
    html, n_pictures = re.subn(PICTURE, "", RESULTS[name]._repr_html_())
    parser = Tags()
    parser.feed(html)
    assert not parser.open
    assert parser.seen <= TAGS
    assert "<img" not in html
    assert "&lt;img" in html or n_pictures or "title" not in RESULTS[name].to_columns()


def test_intervals_are_drawn_where_they_lie():
    html = RESULTS["measurement"]._repr_html_()
    assert html.count("<svg") == 4
    assert 'aria-label="interval"' in html


def test_long_tables_say_how_many_rows_are_left():
    assert "... and 580 more rows" in RATINGS._repr_html_()


def test_a_missing_library_is_named_with_what_installs_it(monkeypatch):
    for library, extra in (("pandas", "pandas"), ("polars", "polars"), ("pyarrow", "arrow")):
        monkeypatch.setitem(__import__("sys").modules, library, None)
        with pytest.raises(MissingDependencyError, match=rf"pip install 'bilinear\[{extra}\]'"):
            getattr(MODEL.history_, f"to_{extra}")()


def test_predictions_are_an_array_to_numpy_and_pandas():
    found = MODEL.predict(RATINGS.to_pandas()[["user", "item"]])
    frame = RATINGS.to_pandas().assign(prediction=found)
    assert frame.prediction.dtype == np.float32
    assert np.array_equal(frame.prediction, found.values)
    assert np.array_equal(frame.rating - found, frame.rating - found.values)
    assert np.array_equal((found + 1) * 2 > 8, (found.values + 1) * 2 > 8)
    assert np.array_equal(found[np.array([3, 1])], found.values[[3, 1]])


def test_the_prediction_of_one_pair_is_a_number_with_what_is_known_of_it():
    one = MODEL.predict(7, 3)
    assert isinstance(one, float)
    assert one == MODEL.predict([7], [3]).values[0]
    assert (one.user, one.item, one.known_user, one.known_item) == (7, 3, True, True)
    assert f"{one + 0.5:.2f}" == f"{one.prediction + 0.5:.2f}"
    assert repr(MODEL.predict(7, 999)).endswith("; unknown item)")
    assert pickle.loads(pickle.dumps(one)) == one


def test_a_place_in_a_list_stands_for_its_item():
    ranked = MODEL.recommend(7, n=5)
    ids = ranked.items.tolist()
    assert list(ranked) == ids
    assert set(ranked) == set(ids)
    assert sorted(ranked) == sorted(ids)
    assert ids[2] in ranked
    assert np.array_equal(MODEL.predict([7] * 5, list(ranked)).values, MODEL.predict([7] * 5, ids).values)
    assert [row.score for row in ranked] == ranked.scores.tolist()


def test_lists_carry_titles_and_leave_out_what_is_excluded():
    ranked = MODEL.recommend(7, n=30)
    assert ranked.titles == tuple(MODEL.title(item) for item in ranked.items.tolist())
    without = MODEL.recommend(7, n=30, exclude=[*ranked.items[:2].tolist(), "no such item"])
    assert list(without) == list(ranked)[2:]
    assert list(MODEL.similar(7, 4, exclude=[MODEL.similar(7, 1)[0]])) == list(MODEL.similar(7, 5))[1:]
    first = ranked.items.tolist()
    assert list(MODEL.recommend(7, candidates=first[:4], exclude=first[:1])) == first[1:4]
    with pytest.raises(bilinear.errors.UnknownIdError, match="no such item: 'no such item'"):
        MODEL.recommend(7, exclude=["no such item"])
