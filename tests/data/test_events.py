"""Events and their weights: read alike from every source, added up, dropped and disliked as said."""

from __future__ import annotations

import numpy as np
import pytest
from test_outcomes import SOURCES

from bilinear.data.interactions import Interactions
from bilinear.data.reading.readers import read_any, read_interactions
from bilinear.data.splits import split_file
from bilinear.errors import AmbiguousColumnError, MissingColumnError, ParameterValueError, RatingValueError

TABLE = {
    "user": ["ann", "ann", "ann", "bob", "bob", "eve", "eve"],
    "item": [1, 1, 2, 1, 3, 2, 3],
    "what": ["view", "buy", "view", "view", "remove", "scroll", " buy "],
    "weight": [1.0, 10.0, 1.0, 1.0, -5.0, 0.0, 10.0],
}
WEIGHTS = {"view": 1, "buy": 10, "remove": -5, "scroll": 0}
every_source = pytest.mark.parametrize("source", SOURCES)


def pairs(table):
    users, items = (
        vocabulary.decode(rows).tolist()
        for vocabulary, rows in (
            (table.user_vocabulary, table.users),
            (table.item_vocabulary, table.items),
        )
    )
    return dict(zip(zip(users, items, strict=True), table.ratings.tolist(), strict=True))


EXPECTED = {("ann", 1): 11, ("ann", 2): 1, ("bob", 1): 1, ("bob", 3): -5, ("eve", 3): 10}


@every_source
def test_the_weights_of_a_pair_add_up_and_zero_leaves_rows_out(source, tmp_path):
    given = SOURCES[source](tmp_path, TABLE)
    table = read_interactions(**given, event="what", events=WEIGHTS)
    assert pairs(table) == EXPECTED
    assert table.weighted
    assert not table.has_ratings
    assert table.notes.n_left_out == 1
    assert table.describe().rows_in_source == 7


@every_source
def test_a_column_of_weights_says_the_same(source, tmp_path):
    table = read_interactions(**SOURCES[source](tmp_path, TABLE), weight="weight")
    assert pairs(table) == EXPECTED
    assert table.weighted


@every_source
def test_values_without_a_weight_are_refused_by_name_and_count(source, tmp_path):
    given = SOURCES[source](tmp_path, TABLE)
    with pytest.raises(AmbiguousColumnError, match=r"'what' have no weight: 'view' \(3 rows\).*'scroll'"):
        read_interactions(**given, event="what", events={"buy": 1, "remove": -1})


@every_source
def test_the_star_is_the_weight_of_all_others(source, tmp_path):
    table = read_interactions(**SOURCES[source](tmp_path, TABLE), event="what", events={"buy": 2, "*": 0})
    assert pairs(table) == {("ann", 1): 2, ("eve", 3): 2}


def test_rows_are_counted_once_where_bad_rows_are_left_out(tmp_path):
    given = SOURCES["as_csv"](tmp_path, TABLE)
    with pytest.raises(AmbiguousColumnError, match=r"'view' \(3 rows\)"):
        read_interactions(**given, event="what", events={"buy": 1}, skip_bad_rows=tmp_path / "bad.csv")


def test_an_event_column_without_weights_is_answered_with_its_values():
    with pytest.raises(AmbiguousColumnError, match=r"'buy' \(2 rows\)"):
        read_interactions(SOURCES["as_pandas"](None, TABLE)["source"], event="what")


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ({"events": {"view": 1}}, ParameterValueError, "--event"),
        ({"event": "what", "count": "weight", "events": WEIGHTS}, ParameterValueError, "count and event"),
        ({"event": "what", "weight": "weight"}, ParameterValueError, "event and weight"),
        ({"weight": "weight", "events": WEIGHTS}, ParameterValueError, "--event"),
        ({"event": "what", "events": {"view": "much"}}, ParameterValueError, "'view' weighs 'much'"),
        ({"event": "what", "events": {"view": -1}}, ParameterValueError, "no weight is above zero"),
        ({"event": "wat", "events": WEIGHTS}, MissingColumnError, "Did you mean 'what'"),
        ({"weight": "user", "user": "item", "item": "what"}, RatingValueError, "row 1: weight 'ann'"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, error, match):
    with pytest.raises(error, match=match):
        read_interactions(SOURCES["as_pandas"](None, TABLE)["source"], **given)


def test_ratings_and_events_together_are_refused():
    with pytest.raises(ParameterValueError, match="rating and event"):
        read_any(SOURCES["as_pandas"](None, TABLE)["source"], rating="weight", event="what", events=WEIGHTS)


def test_a_column_that_seems_to_hold_events_is_named():
    table = {name if name != "what" else "event_type": values for name, values in TABLE.items()}
    del table["weight"]
    remarks = read_interactions(SOURCES["as_pandas"](None, table)["source"]).notes.remarks
    assert any("event='event_type'" in remark for remark in remarks)


def test_weights_outlive_parts_and_splits_into_files():
    table = Interactions.from_columns([1, 1, 2, 2], [1, 2, 1, 2], weights=[1, -2, 3, 4])
    assert table.take(table.ratings < 0).weighted
    other = Interactions.from_columns([3, 3], [1, 2], weights=[-1, 1])
    parts = split_file(table, other)
    assert parts.train.weighted
    assert parts.test.ratings.tolist() == [-1, 1]
    np.testing.assert_array_equal(table.to_columns()["weight"], table.ratings)
