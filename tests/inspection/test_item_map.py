"""The map of the items: a twin through the dense score matrix, and what must not change it."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from inspection_cases import build_model, counts_of

from bilinear.data.interactions import Interactions
from bilinear.errors import ParameterValueError
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.inspection import describe_model, item_map


def dense_places(model, rows, n_users):
    """Principal components of the columns of the users x items matrix of taste scores."""
    taste = model.parameters_.user_factors.astype(float) @ model.parameters_.item_factors.astype(float).T
    columns = taste.T[rows] / np.sqrt(n_users)
    left, values, _ = np.linalg.svd(columns - columns.mean(axis=0), full_matrices=False)
    places = left * values
    signs = np.sign(places[np.abs(places).argmax(axis=0), np.arange(places.shape[1])])
    return places * signs, values


def test_coordinates_are_principal_components_of_the_score_matrix():
    model = build_model(n_users=40)
    found = item_map(model, min_ratings=5)
    rows = np.flatnonzero(counts_of(model) >= 5)
    places, values = dense_places(model, rows, 40)
    assert found.ids.tolist() == [model.item_vocabulary_[row] for row in rows]
    np.testing.assert_allclose(found.coordinates, places[:, :2], atol=1e-10)
    np.testing.assert_allclose(found.explained, (values**2 / (values**2).sum())[:2], rtol=1e-9)


def test_distances_are_how_differently_the_users_score_two_items():
    model = build_model(n_users=40, n_factors=3)
    places = item_map(model, n_components=3, min_ratings=1).coordinates
    taste = model.parameters_.user_factors.astype(float) @ model.parameters_.item_factors.astype(float).T
    for a, b in [(0, 1), (3, 40), (58, 59)]:
        differences = taste[:40, a] - taste[:40, b]
        expected = np.sqrt((differences**2).mean())
        assert np.linalg.norm(places[a] - places[b]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_another_basis_of_the_factors_gives_the_same_map(seed):
    model = build_model(dtype=np.float64)
    before = item_map(model, min_ratings=1)
    basis = np.random.default_rng(seed).normal(size=(5, 5)) + 0.5 * np.eye(5)
    parameters = model.parameters_
    model.parameters_ = replace(
        parameters,
        user_factors=parameters.user_factors @ basis,
        item_factors=parameters.item_factors @ np.linalg.inv(basis).T,
    )
    after = item_map(model, min_ratings=1)
    np.testing.assert_allclose(after.coordinates, before.coordinates, atol=1e-9)
    np.testing.assert_allclose(after.explained, before.explained, rtol=1e-9)


def test_each_direction_points_to_the_side_of_its_furthest_item():
    for seed in range(5):
        places = item_map(build_model(seed=seed), n_components=5, min_ratings=1).coordinates
        furthest = places[np.abs(places).argmax(axis=0), np.arange(5)]
        assert (furthest > 0).all()


def test_items_below_the_bar_are_left_out_and_counted():
    model = build_model(n_items=60)
    found = item_map(model, min_ratings=20)
    counts = counts_of(model)
    assert len(found) == (counts >= 20).sum()
    assert found.n_left_out == (counts < 20).sum()
    assert found.n_ratings.min() >= 20
    assert "or more" in str(found)


def test_columns_belong_to_their_items():
    titles = [f"Title {n}" for n in range(60)]
    genres = ["Comedy|Drama" if n % 3 else "" for n in range(60)]
    model = build_model(titles=titles, genres=genres)
    found = item_map(model, min_ratings=10)
    for at, id_ in enumerate(found.ids.tolist()):
        assert found.titles[at] == f"Title {id_}"
        assert found.first_genres[at] == ("Comedy" if id_ % 3 else "")
        row = model.item_vocabulary_.row(id_)
        assert found.biases[at] == model.parameters_.item_biases[row]
        assert found.n_ratings[at] == counts_of(model)[row]
    assert found.genre_counts == (("Comedy", sum(bool(id_ % 3) for id_ in found.ids.tolist())),)


def test_genres_come_with_the_most_frequent_first_then_by_name():
    genres = ["Drama"] * 20 + ["Comedy|Drama"] * 30 + ["Action"] * 10
    found = item_map(build_model(genres=genres), min_ratings=1)
    assert found.genre_counts == (("Comedy", 30), ("Drama", 20), ("Action", 10))
    assert found.genre_names == ("Comedy", "Drama", "Action")
    few = item_map(build_model(genres=genres), min_ratings=20)
    assert (
        few.genre_names == found.genre_names
    )  # a genre's colour does not depend on the items that are shown
    tied = item_map(build_model(genres=["B", "A"] * 30), min_ratings=1)
    assert tied.genre_counts == (("A", 30), ("B", 30))


def test_without_titles_items_go_by_their_ids():
    found = item_map(build_model(), min_ratings=1)
    assert found.titles == tuple(str(id_) for id_ in found.ids.tolist())
    assert set(found.genres) == {""}
    assert found.genre_counts == ()


@pytest.mark.parametrize(
    ("n_factors", "message"),
    [(0, "without factors .* needs MatrixFactorization"), (1, "on a line")],
)
def test_a_model_without_a_plane_says_so(n_factors, message):
    model = build_model(n_factors=n_factors)
    with pytest.raises(ParameterValueError, match=message):
        item_map(model)
    found = describe_model(model)
    assert found.item_map is None
    assert found.notes[0].startswith("no map: ")
    assert found.notes[0] in str(found)


def test_factors_that_the_penalty_emptied_are_no_map():
    model = build_model()
    model.parameters_.user_factors[:] = 0
    with pytest.raises(ParameterValueError, match="all factors are zero"):
        item_map(model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_components": 1}, "2 to 5 directions"),
        ({"n_components": 6}, "2 to 5 directions"),
        ({"n_components": 2.0}, "n_components=2.0"),
        ({"min_ratings": 0}, "min_ratings=0"),
        ({"min_ratings": 1000}, "0 items have 1,000 ratings or more"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ParameterValueError, match=message):
        item_map(build_model(), **arguments)


def test_extremes_are_the_ends_of_a_direction():
    found = item_map(build_model(), min_ratings=1)
    low, high = found.extremes(1, 3)
    order = np.argsort(found.coordinates[:, 1]).tolist()
    assert low == order[:3]
    assert high == order[:-4:-1]


def test_an_inspection_is_json_and_readable():
    model = build_model(titles=[f"\x1b[31mTitle {n}" for n in range(60)])
    found = describe_model(model, n=3)
    stored = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert len(stored["items_by_bias"]["top"]) == 3
    assert len(stored["neighbours"]) == 3
    assert len(stored["item_map"]["items"]) == len(found.item_map)
    assert stored["facts"]["n_items"] == 60
    assert stored["facts"]["n_users"] == 40
    lines = str(found)
    assert "\x1b" not in lines
    assert "effective rank" in lines


def test_spreads_are_standard_deviations_over_the_training_ratings():
    model = build_model()
    seen, parameters = model.seen_, model.parameters_
    users = np.repeat(np.arange(len(seen.counts)), seen.counts)
    taste = [
        parameters.user_factors[u] @ parameters.item_factors[i]
        for u, i in zip(users, seen.indices, strict=True)
    ]
    found = describe_model(model).facts["spreads"]
    assert found["users"] == pytest.approx(parameters.user_biases[users].std(), rel=1e-5)
    assert found["items"] == pytest.approx(parameters.item_biases[seen.indices].std(), rel=1e-5)
    assert found["taste"] == pytest.approx(np.std(taste), rel=1e-5)


def test_a_large_table_is_sampled_by_the_seed(monkeypatch):
    model = build_model()
    whole = describe_model(model).facts["spreads"]["taste"]
    monkeypatch.setattr("bilinear.inspection.overview._MOST_PAIRS", 400)
    sampled = [describe_model(model, rng=seed).facts["spreads"]["taste"] for seed in (0, 0, 1)]
    assert sampled[0] == sampled[1] != sampled[2]
    assert sampled[0] == pytest.approx(whole, rel=0.2)
    with pytest.raises(ParameterValueError, match="rng=-1"):
        describe_model(model, rng=-1)


def test_films_of_one_series_are_near_each_other(shared_data):
    folder = shared_data / "ml-latest-small"
    with (folder / "ratings.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    table = Interactions.from_columns(
        [int(row["userId"]) for row in rows],
        [int(row["movieId"]) for row in rows],
        [float(row["rating"]) for row in rows],
    )
    model = MatrixFactorization(n_factors=32, l2=0.3, l2_biases=0.8, validation_fraction=0, rng=0).fit(table)
    found = item_map(model)
    place = dict(zip(found.ids.tolist(), found.coordinates, strict=True))
    distances = np.linalg.norm(found.coordinates - place[260], axis=1)  # 260, 1196, 1210: Star Wars IV, V, VI
    for other in (1196, 1210):
        assert np.linalg.norm(place[other] - place[260]) < np.quantile(distances, 0.03)
