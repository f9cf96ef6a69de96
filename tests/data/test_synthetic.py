"""The synthetic data holds what was planted in it."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bilinear.data.interactions import Interactions
from bilinear.data.synthetic.catalogue import (
    SyntheticCatalogue,
    synthetic_catalogue,
    synthetic_ratings,
    write_synthetic,
)
from bilinear.data.synthetic.draws import choose_items, user_counts
from bilinear.data.synthetic.invented_titles import GENRES, NOUNS, invented_titles
from bilinear.errors import ParameterValueError
from bilinear.kernels.synthetic import draw_distinct_items, planted_ratings


def pcg(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def gini(counts: NDArray[Any]) -> float:
    counts = np.sort(counts).astype(np.float64)
    n = len(counts)
    return float((2 * np.arange(1, n + 1) - n - 1) @ counts / (n * counts.sum()))


def rmse(predictions: NDArray[Any], ratings: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean((predictions - ratings) ** 2)))


def fitted_biases(table: Interactions) -> NDArray[np.float64]:
    """Least-squares biases on the table itself: the best that any bias-only model can do on it."""
    mean, residual = table.ratings.mean(), table.ratings.astype(np.float64)
    of_users, of_items = np.zeros(table.n_users), np.zeros(table.n_items)
    n_of_users, n_of_items = (
        np.bincount(rows, minlength=n).clip(1)
        for rows, n in ((table.users, table.n_users), (table.items, table.n_items))
    )
    for _ in range(30):
        residual = table.ratings - mean - of_users[table.users]
        of_items = np.bincount(table.items, residual, table.n_items) / n_of_items
        residual = table.ratings - mean - of_items[table.items]
        of_users = np.bincount(table.users, residual, table.n_users) / n_of_users
    predictions: NDArray[np.float64] = mean + of_users[table.users] + of_items[table.items]
    return predictions


def assert_sorted_unique_pairs(table: Interactions) -> None:
    keys = table.users.astype(np.int64) * table.n_items + table.items
    assert (np.diff(keys) > 0).all()
    assert table.users.min() >= 0
    assert table.users.max() < table.n_users
    assert table.items.min() >= 0
    assert table.items.max() < table.n_items


@pytest.fixture(scope="module")
def catalogue() -> SyntheticCatalogue:
    return synthetic_catalogue()


# --- the catalogue


def test_default_catalogue_has_the_promised_sizes_and_calls_itself_synthetic(
    catalogue: SyntheticCatalogue,
) -> None:
    table = catalogue.interactions
    assert (table.n_ratings, table.n_users, table.n_items) == (100_000, 1_000, 3_000)
    assert table.source == "synthetic catalogue"
    assert table.n_duplicates == 0
    assert "synthetic" in repr(table)
    assert_sorted_unique_pairs(table)
    table.check_trainable()


def test_every_user_has_twenty_ratings_and_activity_is_skewed(catalogue: SyntheticCatalogue) -> None:
    counts = catalogue.interactions.by_user.counts
    assert counts.min() >= 20
    assert counts.max() <= 1_500
    assert counts.mean() > 1.5 * np.median(counts)


def test_popularity_is_skewed_as_in_real_tables(catalogue: SyntheticCatalogue) -> None:
    counts = catalogue.interactions.by_item.counts
    assert 0.45 < gini(counts) < 0.75
    assert counts.max() > 20 * np.median(counts)


def test_only_half_stars_and_all_of_them(catalogue: SyntheticCatalogue) -> None:
    assert np.unique(catalogue.interactions.ratings).tolist() == [n / 2 for n in range(1, 11)]


def test_times_are_whole_seconds_within_four_years_after_every_film_year(
    catalogue: SyntheticCatalogue,
) -> None:
    times = catalogue.interactions.times
    assert times is not None
    assert (times == np.floor(times)).all()
    start = np.datetime64("2016-01-01", "s").astype(np.int64)
    assert start <= times.min() < times.max() < start + 4 * 365 * 86_400
    assert times.max() - times.min() > 2 * 365 * 86_400
    assert len(np.unique(times)) > 0.95 * len(times)
    assert max(catalogue.items["year"]) < 2016


def test_planted_score_explains_most_of_the_variance(catalogue: SyntheticCatalogue) -> None:
    table = catalogue.interactions
    scores = catalogue.truth.scores(table.users, table.items)
    assert np.corrcoef(scores, table.ratings)[0, 1] ** 2 > 0.5


def test_planted_score_beats_the_best_biases_clearly(catalogue: SyntheticCatalogue) -> None:
    """The biases are even fitted on the ratings that they are measured on; the score is not."""
    table = catalogue.interactions
    scores = np.clip(catalogue.truth.scores(table.users, table.items), 0.5, 5.0)
    of_score, of_biases = rmse(scores, table.ratings), rmse(fitted_biases(table), table.ratings)
    assert of_score < 0.85 * of_biases
    # noise and rounding add up to sqrt(0.6 ** 2 + 0.5 ** 2 / 12) = 0.617; clipping takes some of it back
    assert 0.5 < of_score < 0.62


def test_without_noise_the_ratings_are_the_rounded_score() -> None:
    made = synthetic_catalogue(4_000, 100, 300, noise=0.0)
    table = made.interactions
    scores = made.truth.scores(table.users, table.items)
    np.testing.assert_array_equal(np.clip(np.rint(2 * scores.astype(np.float32)), 1, 10) / 2, table.ratings)


def test_truth_is_centred_with_the_stated_spread(catalogue: SyntheticCatalogue) -> None:
    truth = catalogue.truth
    for values in (truth.user_biases, truth.item_biases, truth.user_factors, truth.item_factors):
        np.testing.assert_allclose(values.mean(axis=0), 0.0, atol=1e-12)
    taste = truth.user_factors @ truth.item_factors.T
    assert taste.std() == pytest.approx(0.6, rel=1e-9)
    assert np.linalg.matrix_rank(taste) == 8
    assert truth.user_biases.std() == pytest.approx(0.35, rel=0.1)
    assert truth.item_biases.std() == pytest.approx(0.42, rel=0.1)


def test_neighbours_in_factor_space_share_genres(catalogue: SyntheticCatalogue) -> None:
    factors = catalogue.truth.item_factors
    unit = factors / np.linalg.norm(factors, axis=1, keepdims=True)
    genres = [set(text.split("|")) for text in catalogue.items["genres"]]
    similarity = unit[:300] @ unit.T
    similarity[np.arange(300), np.arange(300)] = -2.0
    nearest = np.argsort(-similarity, axis=1)[:, :5]
    others = pcg(0).integers(0, len(genres), nearest.shape)
    shared, by_chance = (
        np.mean([bool(genres[item] & genres[other]) for item in range(300) for other in places[item]])
        for places in (nearest, others)
    )
    assert shared > 0.85
    assert by_chance < 0.5


def test_users_choose_what_they_like(catalogue: SyntheticCatalogue) -> None:
    table, truth = catalogue.interactions, catalogue.truth
    taste = np.einsum("nf,nf->n", truth.user_factors[table.users], truth.item_factors[table.items])
    assert taste.mean() > 0.1  # over all pairs it is 0


def test_items_are_a_table_of_invented_titles(catalogue: SyntheticCatalogue) -> None:
    items = catalogue.items
    assert items["item"] == [catalogue.interactions.item_vocabulary[row] for row in range(3_000)]
    assert len(set(items["title"])) == 3_000
    for title, genres, year in zip(items["title"], items["genres"], items["year"], strict=True):
        assert re.fullmatch(r"[A-Z][A-Za-z0-9 ]+ \(\d{4}\)", title)
        assert title.endswith(f"({year})")
        own = genres.split("|")
        assert 1 <= len(set(own)) == len(own) <= 3
        assert set(own) <= set(GENRES)
        assert set(title.split()) & set(NOUNS[own[0]])  # the title tells the first genre


def test_titles_stay_unique_beyond_the_word_lists() -> None:
    titles = invented_titles([0] * 30_000, [1987] * 30_000, pcg(0))
    assert len(set(titles)) == 30_000
    assert "Part 4" in titles[-1]  # 8,352 names a genre
    assert all("Part" not in title for title in titles[:500])


def test_no_noun_serves_two_genres() -> None:
    nouns = [noun for own in NOUNS.values() for noun in own]
    assert len(nouns) == len(set(nouns))


def test_equal_seeds_give_equal_bits_and_others_do_not() -> None:
    first, again, other = (synthetic_catalogue(4_000, 100, 300, rng=seed) for seed in (7, 7, 8))
    given = synthetic_catalogue(4_000, 100, 300, rng=pcg(7))
    for twin in (again, given):
        assert first.items == twin.items
        for column in ("users", "items", "ratings", "times"):
            mine, theirs = getattr(first.interactions, column), getattr(twin.interactions, column)
            assert mine.tobytes() == theirs.tobytes()
        assert first.truth.item_factors.tobytes() == twin.truth.item_factors.tobytes()
    assert first.items["title"] != other.items["title"]
    assert not np.array_equal(first.interactions.items, other.interactions.items)


@pytest.mark.parametrize(("n_ratings", "n_users", "n_items"), [(2_000, 100, 300), (15_000, 100, 300)])
def test_fewest_and_most_ratings_that_fit(n_ratings: int, n_users: int, n_items: int) -> None:
    table = synthetic_catalogue(n_ratings, n_users, n_items).interactions
    assert table.n_ratings == n_ratings
    assert (table.by_user.counts == n_ratings // n_users).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_ratings": 1_000}, "choose n_ratings from 20,000 to 1,500,000"),
        ({"n_ratings": 2_000_000}, "choose n_ratings from 20,000 to 1,500,000"),
        ({"n_items": 10}, "n_items >= 40"),
        ({"n_users": 0}, "n_users=0"),
        ({"n_users": 1, "n_ratings": 100}, "at least 2 users"),
        ({"n_factors": 2.5}, "n_factors=2.5"),
        ({"noise": -1.0}, "noise=-1.0"),
        ({"noise": float("nan")}, "noise=nan"),
        ({"rng": -1}, "rng=-1"),
        ({"rng": "a"}, "rng='a'"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterValueError, match=re.escape(message)):
        synthetic_catalogue(**arguments)


# --- the files


def test_written_files_hold_the_catalogue_in_movielens_layout(tmp_path: Path) -> None:
    made = synthetic_catalogue(4_000, 100, 300)
    folder = write_synthetic(tmp_path / "new" / "folder", made)
    assert sorted(path.name for path in folder.iterdir()) == ["movies.csv", "ratings.csv"]
    with (folder / "ratings.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["userId", "movieId", "rating", "timestamp"]
    table = made.interactions
    assert table.times is not None
    np.testing.assert_array_equal(
        np.array([row[:2] for row in rows], int).T, [table.users + 1, table.items + 1]
    )
    np.testing.assert_array_equal([float(row[2]) for row in rows], table.ratings)
    np.testing.assert_array_equal([int(row[3]) for row in rows], table.times)
    with (folder / "movies.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["movieId", "title", "genres"]
    expected = zip(made.items["item"], made.items["title"], made.items["genres"], strict=True)
    assert rows == [[str(item), title, genres] for item, title, genres in expected]


def test_files_that_are_there_are_kept_unless_told(tmp_path: Path) -> None:
    made = synthetic_catalogue(4_000, 100, 300)
    (tmp_path / "movies.csv").write_text("mine")
    with pytest.raises(ParameterValueError, match=r"movies\.csv exists already.*overwrite=True"):
        write_synthetic(tmp_path, made)
    assert [path.name for path in tmp_path.iterdir()] == ["movies.csv"]
    assert (tmp_path / "movies.csv").read_text() == "mine"
    write_synthetic(tmp_path, made, overwrite=True)
    assert (tmp_path / "movies.csv").read_text().startswith("movieId,title,genres\n1,")


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(ParameterValueError, match="is a file"):
        write_synthetic(tmp_path / "taken", synthetic_catalogue(4_000, 100, 300))


def test_nothing_is_left_when_writing_fails(tmp_path: Path) -> None:
    made = synthetic_catalogue(4_000, 100, 300)
    broken = replace(made, items={**made.items, "title": made.items["title"][:-1]})
    with pytest.raises(ValueError, match="zip"):
        write_synthetic(tmp_path, broken)
    assert list(tmp_path.iterdir()) == []


# --- ratings for benchmarks


def test_benchmark_table_has_exact_counts_and_unique_pairs() -> None:
    table = synthetic_ratings(500, 2_000, 40_000, 4)
    assert (table.n_ratings, table.n_users, table.n_items) == (40_000, 500, 2_000)
    assert table.times is None
    assert "synthetic" in table.source
    assert_sorted_unique_pairs(table)
    assert table.by_user.counts.min() >= 20
    assert 0.45 < gini(table.by_item.counts) < 0.75
    assert set(np.unique(table.ratings)) <= {n / 2 for n in range(1, 11)}


@pytest.mark.parametrize("n_factors", [1, 16, 64])
def test_scores_have_the_stated_spread_whatever_the_number_of_factors(n_factors: int) -> None:
    table = synthetic_ratings(2_000, 1_000, 100_000, n_factors, 0.0, half_stars=False)
    assert table.ratings.std() == pytest.approx(0.85, rel=0.1)
    assert len(np.unique(table.ratings)) > 50_000


def test_full_table_and_one_rating_a_user() -> None:
    full = synthetic_ratings(30, 20, 600, 2)
    np.testing.assert_array_equal(full.items, np.tile(np.arange(20), 30))
    sparse = synthetic_ratings(30, 20, 30, 2)
    np.testing.assert_array_equal(sparse.users, np.arange(30))


def test_benchmark_table_repeats_with_its_seed() -> None:
    first, again, other = (synthetic_ratings(50, 200, 3_000, 4, rng=seed) for seed in (1, 1, 2))
    assert first.items.tobytes() == again.items.tobytes()
    assert first.ratings.tobytes() == again.ratings.tobytes()
    assert not np.array_equal(first.items, other.items)


@pytest.mark.parametrize("n_ratings", [29, 601])
def test_ratings_that_do_not_fit_are_refused(n_ratings: int) -> None:
    with pytest.raises(ParameterValueError, match="hold from 30"):
        synthetic_ratings(30, 20, n_ratings, 2)


# --- the draws and their twins


def test_draw_distinct_items_equals_its_twin() -> None:
    weights = 1.0 / np.arange(1, 41)
    cumulative = np.cumsum(weights) / weights.sum()
    counts = np.array([0, 5, 40, 1, 20])
    starts = np.concatenate([[0], np.cumsum(counts)])
    items = np.empty(starts[-1], np.int32)
    n_draws = draw_distinct_items(starts, cumulative, pcg(3), items)

    rng, expected, expected_draws = pcg(3), [], 0
    for count in counts:
        own: set[int] = set()
        while len(own) < count:
            own.add(min(int((cumulative <= rng.random()).sum()), 39))
            expected_draws += 1
        expected += sorted(own)
    np.testing.assert_array_equal(items, expected)
    assert n_draws == expected_draws


def test_planted_ratings_equals_its_twin() -> None:
    rng = pcg(1)
    starts, items = np.array([0, 2, 2, 5]), np.array([1, 3, 0, 1, 2], np.int32)
    user_biases, item_biases = rng.standard_normal(3), rng.standard_normal(4)
    user_factors, item_factors = rng.standard_normal((3, 6)), rng.standard_normal((4, 6))
    ratings = np.empty(5, np.float32)
    planted_ratings(
        starts, items, 3.5, user_biases, item_biases, user_factors, item_factors, 0.5, pcg(2), ratings
    )
    users = np.repeat(np.arange(3), np.diff(starts))
    scores = 3.5 + user_biases[users] + item_biases[items]
    scores += (user_factors[users] * item_factors[items]).sum(axis=1)
    np.testing.assert_allclose(ratings, scores + 0.5 * pcg(2).standard_normal(5), rtol=1e-6)


def test_two_ways_to_draw_without_replacement_follow_successive_sampling() -> None:
    """P(item in a sample of 2) = w_i + sum_j w_j w_i / (1 - w_j), for both samplers."""
    weights = np.array([0.5, 0.3, 0.15, 0.05])
    n = 20_000
    exact = [w + sum(v * w / (1 - v) for j, v in enumerate(weights) if j != i) for i, w in enumerate(weights)]
    drawn = np.empty(2 * n, np.int32)
    draw_distinct_items(np.arange(n + 1) * 2, np.cumsum(weights), pcg(0), drawn)
    rng, no_taste = pcg(0), np.zeros(1)
    chosen = np.concatenate(
        [choose_items(np.log(weights), np.zeros((4, 1)), no_taste, 2, rng) for _ in range(n)]
    )
    for sample in (drawn, chosen):
        np.testing.assert_allclose(np.bincount(sample, minlength=4) / n, exact, atol=0.015)


@pytest.mark.parametrize(
    ("total", "low", "high"), [(1_000, 1, 50), (100, 1, 50), (5_000, 1, 50), (999, 0, 10**9)]
)
def test_user_counts_sum_exactly_within_their_bounds(total: int, low: int, high: int) -> None:
    counts = user_counts(100, total, low, high, pcg(0))
    assert counts.sum() == total
    assert counts.min() >= low
    assert counts.max() <= high
