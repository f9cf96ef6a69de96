"""Real against shuffled features of a fitted model, by rows left out."""

import numpy as np
import pytest

from bilinear import BiasModel, Gibbs, Items, MatrixFactorization, Vocabulary, lab
from bilinear.data.interactions import Interactions
from bilinear.errors import ParameterValueError


def table_of(n_users=60, n_items=80):
    """(ratings, films): one column sets how much a film is liked, another is drawn without regard to it."""
    rng = np.random.default_rng(0)
    liked = rng.integers(3, size=n_items)
    users, items = np.nonzero(rng.random((n_users, n_items)) < 0.4)
    ratings = 3 + liked[items] - 1.0 + 0.3 * rng.standard_normal(len(users))
    table = Interactions.from_columns(users, items, ratings)
    columns = {
        "liked": [f"level {n}" for n in liked],
        "colour": [f"colour {n}" for n in rng.integers(4, size=n_items)],
    }
    return table, Items(Vocabulary.from_ids(list(range(n_items))), columns)


def fitted(column, **how):
    table, films = table_of()
    held = table.take(table.items < 70)
    return BiasModel(l2_biases=0.1, item_features=[column], **how).fit(held, items=films), held


def test_what_decides_the_ratings_explains_rows_left_out_and_shuffled_does_not():
    model, held = fitted("liked")
    found = lab.feature_control(model, "items")
    assert found.share > 0.9 > 0.2 > max(found.shuffled)
    assert found.chance == pytest.approx(1 / 21)
    assert (found.n_rows, found.n_columns) == (70, 3)
    assert found.largest_difference < 1e-6
    section = lab.report(model, held, only=["features"])["features"]
    assert "liked of items tell something" in section.answer
    assert section.evidence["items"]["share"] == found.share


def test_what_decides_nothing_is_as_good_as_shuffled():
    model, held = fitted("colour")
    found = lab.feature_control(model, "items")
    assert found.chance > 0.05
    assert found.share < 0.1
    section = lab.report(model, held, only=["features"])["features"]
    assert "tell no more than shuffled ones" in section.answer


def test_rows_drawn_with_the_features_are_said_to_be():
    table, films = table_of()
    model = MatrixFactorization(n_factors=1, solver=Gibbs(n_epochs=6), item_features=["liked"], rng=0)
    answer = lab.report(model.fit(table, items=films), table, only=["features"])["features"].answer
    assert "drawn with these features" in answer


def test_without_features_or_shuffles_it_refuses():
    model, _ = fitted("liked")
    with pytest.raises(ParameterValueError, match="no features of users"):
        lab.feature_control(model, "users")
    with pytest.raises(ParameterValueError, match="n_shuffles=0"):
        lab.feature_control(model, "items", n_shuffles=0)
