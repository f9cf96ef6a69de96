"""Synthetic ratings with planted truth: for demonstrations, tests and benchmarks. No real data."""

from __future__ import annotations

import csv
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Interactions
from bilinear.data.synthetic.draws import Floats, choose_items, draw_genres, draw_times, user_counts, zipf
from bilinear.data.synthetic.invented_titles import GENRES, invented_titles
from bilinear.data.vocabulary import Vocabulary
from bilinear.errors import ParameterValueError
from bilinear.kernels.synthetic import draw_distinct_items, planted_ratings

Seed = int | np.random.Generator | None

MIN_RATINGS_PER_USER = 20
SOURCE = "synthetic catalogue"

_GLOBAL_MEAN = 3.2
_USER_BIAS, _ITEM_BIAS, _TASTE = 0.35, 0.42, 0.6  # standard deviations, in stars
_LAST_FILM_YEAR = 2015  # ratings begin in 2016: nothing is rated before it exists


@dataclass(frozen=True, eq=False, repr=False)
class PlantedTruth:
    """Parameters that the ratings were drawn from: score = global_mean + user_bias + item_bias + p . q.

    Biases have mean zero, and so has each factor over the users and over the items; the factors
    are therefore determined up to an invertible change of basis.

    Attributes:
        user_biases: (n_users,), in stars.
        item_biases: (n_items,), in stars.
        user_factors: (n_users, n_factors).
        item_factors: (n_items, n_factors).
        noise: standard deviation, in stars, of the noise added before rounding to half stars.
    """

    global_mean: float
    user_biases: Floats
    item_biases: Floats
    user_factors: Floats
    item_factors: Floats
    noise: float

    def scores(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> Floats:
        """The planted score of each (user row, item row), before noise and rounding."""
        taste: Floats = np.einsum("nf,nf->n", self.user_factors[users], self.item_factors[items])
        return self.global_mean + self.user_biases[users] + self.item_biases[items] + taste


@dataclass(frozen=True, eq=False)
class SyntheticCatalogue:
    """A synthetic catalogue: ratings, items and the truth that both were drawn from.

    Attributes:
        interactions: all users and items are in the vocabularies, ids 1, 2, 3, ...
        items: columns of equal length, in the order of the item rows: "item" (id), "title",
            "genres" (text, joined with "|"), "year".
        truth: the planted parameters, by row.
    """

    interactions: Interactions
    items: dict[str, list[Any]]
    truth: PlantedTruth


def synthetic_catalogue(
    n_ratings: int = 100_000,
    n_users: int = 1_000,
    n_items: int = 3_000,
    n_factors: int = 8,
    *,
    noise: float = 0.6,
    rng: Seed = 0,
) -> SyntheticCatalogue:
    """A synthetic film catalogue with planted tastes, in half stars from 0.5 to 5, with times.

    Each genre is a direction in factor space; items lie near their genres, users near the few
    genres that they love. Users pick films by popularity (Zipf-like) and by taste; how much
    they rate is log-normal, at least 20 each. Titles and genres are invented.

    Args:
        n_ratings: exactly so many distinct pairs; between 20 a user and half the table.
        noise: standard deviation in stars of what is not explained by the truth.
        rng: equal seeds give equal catalogues, bit for bit, with one version of NumPy on one kind
            of machine.
    Raises:
        ParameterValueError: sizes that do not go together.
    Cost:
        O(n_users * n_items * n_factors) time; about 0.3 s for the defaults.

    Examples:
        >>> from bilinear import synthetic_catalogue
        >>> catalogue = synthetic_catalogue(n_ratings=1000, n_users=40, n_items=60, rng=0)
        >>> catalogue.interactions.n_ratings, catalogue.interactions.shape
        (1000, (40, 60))
        >>> sorted(catalogue.items), catalogue.truth.item_factors.shape
        (['genres', 'item', 'title', 'year'], (60, 8))
    """
    _check_positive(n_users=n_users, n_items=n_items, n_factors=n_factors, n_ratings=n_ratings)
    if n_users < 2:
        raise ParameterValueError("n_users=1; a catalogue needs at least 2 users to differ in taste")
    most = n_items // 2
    if not n_users * MIN_RATINGS_PER_USER <= n_ratings <= n_users * most:
        raise ParameterValueError(
            f"n_ratings={n_ratings:,} for {n_users:,} users and {n_items:,} items; every user rates from "
            f"{MIN_RATINGS_PER_USER} items to half of them, so choose n_ratings from "
            f"{n_users * MIN_RATINGS_PER_USER:,} to {n_users * most:,}"
            + ("" if most >= MIN_RATINGS_PER_USER else f", with n_items >= {2 * MIN_RATINGS_PER_USER}")
        )
    noise = _checked_noise(noise)
    generator = _generator(rng)
    popularity = zipf(n_items, generator)
    genres = draw_genres(n_items, generator)
    years = _LAST_FILM_YEAR - (65 * generator.beta(1.1, 2.2, n_items)).astype(np.int64)
    truth = _plant(n_users, n_factors, popularity, genres, noise, generator)
    counts = user_counts(n_users, n_ratings, MIN_RATINGS_PER_USER, most, generator)
    users = np.repeat(np.arange(n_users, dtype=np.int32), counts)
    items = np.concatenate(
        [
            choose_items(np.log(popularity), truth.item_factors, taste, int(count), generator)
            for taste, count in zip(truth.user_factors, counts, strict=True)
        ]
    )
    ratings = truth.scores(users, items) + noise * generator.standard_normal(n_ratings)
    interactions = Interactions(
        users,
        items,
        _half_stars(ratings.astype(np.float32)),
        draw_times(counts, generator),
        _one_to(n_users),
        _one_to(n_items),
        source=SOURCE,
        n_rows_read=n_ratings,
    )
    table = {
        "item": list(range(1, n_items + 1)),
        "title": invented_titles([first for first, *_ in genres], years.tolist(), generator),
        "genres": ["|".join(GENRES[genre] for genre in own) for own in genres],
        "year": years.tolist(),
    }
    return SyntheticCatalogue(interactions, table, truth)


def write_synthetic(
    folder: str | os.PathLike[str], catalogue: SyntheticCatalogue | None = None, *, overwrite: bool = False
) -> Path:
    """Write ratings.csv (userId,movieId,rating,timestamp) and movies.csv (movieId,title,genres).

    The layout is MovieLens's, the content is synthetic: `catalogue`, by default
    `synthetic_catalogue()`. The folder is made if need be. Returns the folder.

    Raises:
        ParameterValueError: `folder` is a file, or holds one of the two and `overwrite` is false.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ParameterValueError(f"{folder} is a file; name a folder to write ratings.csv and movies.csv to")
    paths = folder / "ratings.csv", folder / "movies.csv"
    there = [path for path in paths if path.exists()]
    if there and not overwrite:
        raise ParameterValueError(
            f"{there[0]} exists already; choose another folder, or overwrite=True to replace it"
        )
    catalogue = catalogue or synthetic_catalogue()
    table = catalogue.interactions
    users, items = table.user_vocabulary.decode(table.users), table.item_vocabulary.decode(table.items)
    times = np.zeros(len(table)) if table.times is None else table.times
    rating_rows = zip(
        users.tolist(), items.tolist(), table.ratings.tolist(), times.astype(np.int64).tolist(), strict=True
    )
    item_rows = zip(*(catalogue.items[name] for name in ("item", "title", "genres")), strict=True)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".synthetic-", dir=folder) as written:
        drafts = Path(written, "ratings.csv"), Path(written, "movies.csv")
        _write_csv(drafts[0], ["userId", "movieId", "rating", "timestamp"], rating_rows)
        _write_csv(drafts[1], ["movieId", "title", "genres"], item_rows)
        for draft, path in zip(drafts, paths, strict=True):
            draft.replace(path)
    return folder


def synthetic_ratings(
    n_users: int = 138_000,
    n_items: int = 27_000,
    n_ratings: int = 20_000_000,
    n_factors: int = 16,
    noise: float = 0.5,
    rng: Seed = 0,
    *,
    half_stars: bool = True,
) -> Interactions:
    """A large synthetic table for benchmarks: low rank plus noise, Zipf-like popularity.

    Exactly `n_ratings` distinct pairs; how many ratings a user gives is log-normal, at least 20
    where the sizes allow it. Scores have mean 3.5 and standard deviation about 0.85 before the
    noise, whatever `n_factors` is.

    Args:
        half_stars: round to 0.5..5; otherwise the scores plus noise as they are.
        rng: as in `synthetic_catalogue`.
    Raises:
        ParameterValueError: fewer ratings than users, or more than pairs.
    Cost:
        O(n_ratings * (log n_items + n_factors)) time; 12 bytes a rating and little more. The defaults
        take about four seconds on one core.

    Examples:
        >>> from bilinear import synthetic_ratings
        >>> ratings = synthetic_ratings(n_users=50, n_items=30, n_ratings=600, rng=0)
        >>> ratings.n_ratings, ratings.shape
        (600, (50, 30))
    """
    _check_positive(n_users=n_users, n_items=n_items, n_factors=n_factors, n_ratings=n_ratings)
    if not n_users <= n_ratings <= n_users * n_items:
        raise ParameterValueError(
            f"n_ratings={n_ratings:,}; {n_users:,} users and {n_items:,} items hold from {n_users:,} "
            f"(one each) to {n_users * n_items:,} distinct pairs"
        )
    noise = _checked_noise(noise)
    generator = _generator(rng)
    popularity = zipf(n_items, generator)
    fewest = min(MIN_RATINGS_PER_USER, n_ratings // n_users)
    counts = user_counts(n_users, n_ratings, fewest, n_items, generator)
    starts = np.concatenate([[0], np.cumsum(counts)])
    items = np.empty(n_ratings, np.int32)
    draw_distinct_items(starts, np.cumsum(popularity) / popularity.sum(), generator, items)
    spread = np.sqrt(0.55 / np.sqrt(n_factors))  # p . q has standard deviation 0.55
    ratings = np.empty(n_ratings, np.float32)
    planted_ratings(
        starts,
        items,
        3.5,
        0.4 * generator.standard_normal(n_users),
        0.5 * generator.standard_normal(n_items),
        (spread * generator.standard_normal((n_users, n_factors))).astype(np.float32),
        (spread * generator.standard_normal((n_items, n_factors))).astype(np.float32),
        noise,
        generator,
        ratings,
    )
    return Interactions(
        np.repeat(np.arange(n_users, dtype=np.int32), counts),
        items,
        _half_stars(ratings) if half_stars else ratings,
        None,
        _one_to(n_users),
        _one_to(n_items),
        source="synthetic ratings",
        n_rows_read=n_ratings,
    )


def _plant(
    n_users: int,
    n_factors: int,
    popularity: Floats,
    genres: list[list[int]],
    noise: float,
    rng: np.random.Generator,
) -> PlantedTruth:
    directions = rng.standard_normal((len(GENRES), n_factors))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    item_factors = np.array([directions[own].mean(axis=0) for own in genres])
    item_factors += 0.35 / np.sqrt(n_factors) * rng.standard_normal(item_factors.shape)
    loves = rng.gamma(0.4, size=(n_users, len(GENRES)))  # a few genres each, the rest hardly
    user_factors = np.einsum("ug,gf->uf", loves, directions)
    user_factors += 0.35 / np.sqrt(n_factors) * rng.standard_normal(user_factors.shape)
    item_factors, user_factors = _centred(item_factors), _centred(user_factors)
    # the variance of p . q over the whole table, from the two second moments
    moments = [np.einsum("nf,ng->fg", side, side) / len(side) for side in (user_factors, item_factors)]
    user_factors *= _TASTE / np.sqrt((moments[0] * moments[1]).sum())
    acclaim = _centred(np.log(popularity))  # what is seen more is liked a little more
    acclaim /= max(float(acclaim.std()), 1e-12)
    item_biases = _ITEM_BIAS * (0.5 * acclaim + np.sqrt(0.75) * rng.standard_normal(len(popularity)))
    user_biases = _USER_BIAS * rng.standard_normal(n_users)
    return PlantedTruth(
        _GLOBAL_MEAN, _centred(user_biases), _centred(item_biases), user_factors, item_factors, noise
    )


def _centred(values: Floats) -> Floats:
    centred: Floats = values - values.mean(axis=0)
    return centred


def _half_stars(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rounded to 0.5, 1, ..., 5, in place: the large table has no room for copies."""
    values *= 2
    np.rint(values, out=values)
    np.clip(values, 1, 10, out=values)
    values *= 0.5
    return values


def _one_to(n: int) -> Vocabulary:
    return Vocabulary.from_sorted(np.arange(1, n + 1))


def _generator(rng: Seed) -> np.random.Generator:
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is not None and (isinstance(rng, bool) or not isinstance(rng, (int, np.integer)) or rng < 0):
        raise ParameterValueError(f"rng={rng!r}; give an integer from 0, a numpy Generator, or None")
    return np.random.Generator(np.random.PCG64(rng))


def _check_positive(**sizes: int) -> None:
    for name, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ParameterValueError(f"{name}={value!r}; give an integer from 1")


def _checked_noise(noise: float) -> float:
    if not (np.isfinite(noise) and noise >= 0):
        raise ParameterValueError(f"noise={noise!r}; give a standard deviation of 0 or more, in stars")
    return float(noise)


def _write_csv(path: Path, header: list[str], rows: Any) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
        file.flush()
        os.fsync(file.fileno())
