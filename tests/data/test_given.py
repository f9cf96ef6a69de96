"""What callers have at hand: one table and one model, whatever the way in."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy.sparse import coo_array, csr_matrix

import bilinear
from bilinear import EASE, BiasModel, Interactions
from bilinear.data.reading.given import interactions_of, pairs_of
from bilinear.errors import ParameterValueError, RatingValueError

USERS, ITEMS = [30, 30, 10, 20, 20, 10], [7, 9, 7, 9, 8, 8]
VALUES = [5.0, 3.0, 4.0, 2.0, 1.0, 4.5]
TABLE = Interactions.from_columns(USERS, ITEMS, VALUES)
FRAME = pd.DataFrame({"user": USERS, "item": ITEMS, "rating": VALUES})
MATRIX = np.full((4, 5), np.nan)
MATRIX[[0, 0, 2, 2, 3, 3], [0, 1, 1, 3, 0, 3]] = VALUES


def same(one: Interactions, other: Interactions) -> bool:
    return (
        one.user_vocabulary == other.user_vocabulary
        and one.item_vocabulary == other.item_vocabulary
        and all(
            np.array_equal(getattr(one, name), getattr(other, name)) for name in ("users", "items", "ratings")
        )
    )


WAYS = {
    "pandas": FRAME,
    "pandas, nullable": FRAME.convert_dtypes(),
    "pandas, categories": FRAME.astype({"user": "category", "item": "category"}),
    "polars": pl.from_pandas(FRAME),
    "polars, lazy": pl.from_pandas(FRAME).lazy(),
    "Arrow": pa.Table.from_pandas(FRAME),
}


@pytest.mark.parametrize("name", WAYS)
def test_frames_of_every_library_give_one_table(name):
    assert same(interactions_of(WAYS[name]), TABLE)
    columns = WAYS[name] if name != "polars, lazy" else WAYS[name].collect()
    assert same(Interactions.from_columns(*(columns[part] for part in ("user", "item", "rating"))), TABLE)


@pytest.mark.parametrize("name", WAYS)
def test_fit_evaluate_and_predict_take_a_frame(name):
    expected = BiasModel(l2_biases=0.1).fit(TABLE)
    model = BiasModel(l2_biases=0.1).fit(WAYS[name])
    assert model.parameters_.item_biases.tolist() == expected.parameters_.item_biases.tolist()
    assert model.evaluate(WAYS[name]) == expected.evaluate(TABLE)
    assert model.retrain(WAYS[name]).predict(WAYS[name]).values.tolist() == pytest.approx(
        expected.predict(USERS, ITEMS).values.tolist()
    )


def test_text_ids_are_the_same_in_every_library():
    text = FRAME.astype({"user": str, "item": str})
    expected = Interactions.from_columns([str(u) for u in USERS], [str(i) for i in ITEMS], VALUES)
    for frame in (text, pl.from_pandas(text), pa.Table.from_pandas(text)):
        assert same(interactions_of(frame), expected)
        assert same(Interactions.from_columns(frame["user"], frame["item"], frame["rating"]), expected)


PAIRS = {
    "frame": FRAME[["user", "item"]],
    "frame, any names": FRAME[["user", "item"]].set_axis(["who", "what"], axis=1),
    "swapped": FRAME[["item", "user"]],
    "array": np.column_stack([USERS, ITEMS]),
    "objects": np.array(list(zip(USERS, ITEMS, strict=True)), object),
    "tuples": list(zip(USERS, ITEMS, strict=True)),
    "table": pl.from_pandas(FRAME[["user", "item"]]),
}


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_with_ratings_give_the_table(name):
    assert same(interactions_of(PAIRS[name], VALUES), TABLE)
    assert same(interactions_of(PAIRS[name], pd.Series(VALUES)), TABLE)


def test_matrices_keep_their_empty_rows_and_columns():
    stored = ~np.isnan(MATRIX)
    sparse = coo_array((MATRIX[stored], np.nonzero(stored)), shape=MATRIX.shape)
    for matrix in (MATRIX, sparse, csr_matrix(sparse)):
        table = interactions_of(matrix)
        assert table.shape == (4, 5)
        assert np.array_equal(table.to_csr().toarray(), np.nan_to_num(MATRIX))
        assert table.source == "matrix of 4 users (rows) by 5 items (columns)"
    model = EASE(l2=1.0).fit(csr_matrix(sparse))
    assert not model.has_ratings_  # of a model that ranks, the numbers are counts
    assert (len(model.user_vocabulary_), len(model.item_vocabulary_)) == (4, 5)
    assert BiasModel(l2_biases=1.0).fit(csr_matrix(sparse)).has_ratings_


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_tensors_are_read_like_the_arrays_that_they_are():
    torch = pytest.importorskip("torch")
    users, items, values = torch.tensor(USERS), torch.tensor(ITEMS), torch.tensor(VALUES)
    assert same(Interactions.from_columns(users, items, values), TABLE)
    assert same(interactions_of(torch.stack([users, items], 1), values), TABLE)
    model = BiasModel(l2_biases=0.1).fit(TABLE)
    assert model.predict(users, items).values.tolist() == model.predict(USERS, ITEMS).values.tolist()
    dense = torch.tensor(MATRIX)
    expected = interactions_of(MATRIX)
    for tensor in (dense, torch.nan_to_num(dense).to_sparse(), torch.nan_to_num(dense).to_sparse_csr()):
        assert same(interactions_of(tensor), expected)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.ones((4, 3)), "may be a matrix of users by items or rows of pairs"),
        ([[1, 2, 3]], "fit takes Interactions, a data frame, or a matrix of users by items, not list"),
        ("ratings.csv", r"read a file with bilinear.read_ratings\(path\)"),
        (None, "not NoneType"),
    ],
)
def test_what_can_be_read_in_two_ways_or_in_none_is_refused(source, message):
    with pytest.raises(ParameterValueError, match=message):
        interactions_of(source)


def test_zeros_of_an_array_are_asked_about():
    with pytest.raises(RatingValueError, match=r"missing=0 leaves them out.*Interactions.from_matrix"):
        interactions_of(np.nan_to_num(MATRIX))


def test_ratings_of_a_table_are_not_given_twice():
    with pytest.raises(ParameterValueError, match="leave y out"):
        interactions_of(TABLE, VALUES)


@pytest.mark.parametrize("source", [np.ones((3, 4)), [1, 2], "ab", csr_matrix(np.eye(3))])
def test_what_is_not_a_table_of_pairs_is_refused(source):
    with pytest.raises(ParameterValueError, match="is not a table of pairs"):
        pairs_of(source)


def test_titles_come_with_a_frame_of_items_for_every_model():
    titles = pd.DataFrame({"item": [7, 8, 9], "title": ["Alien", "Heat", "Up"]})
    for model in (BiasModel(l2_biases=0.1), bilinear.Popularity()):
        found = model.fit(FRAME, items=titles).recommend(30, exclude_seen=False)
        assert sorted(found.titles) == ["Alien", "Heat", "Up"]
        assert "title" in found.to_columns()
