"""A small served model, and feedback stores: the two of the package, and a class of a test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memory_store import MemoryStore
from postgres_server import PostgresServer, postgres_server

import bilinear
from bilinear import Items, Users
from bilinear.data.interactions import Interactions
from bilinear.data.packed_text import PackedText
from bilinear.serving.feedback.store import FeedbackStore, open_store

TITLES = ("Amélie", "The Godfather", "The Godfather: Part II", "Star Wars", "Ástríkur", "a/b?&#")
OpenStore = Callable[[], FeedbackStore]
_GENRES = ("Drama", "War", "Comedy")


@pytest.fixture(scope="session")
def table() -> Interactions:
    """40 users, 30 items with text ids of all kinds, planted tastes, half-star ratings."""
    rng = np.random.default_rng(0)
    users, items = rng.normal(size=(40, 3)), rng.normal(size=(30, 3))
    rows = [(u, i) for u in range(40) for i in rng.permutation(30)[: rng.integers(5, 15)]]
    ratings = [float(np.clip(round(2 * (3.2 + users[u] @ items[i] / 2)) / 2, 0.5, 5)) for u, i in rows]
    names = [f"item/{i} ü" for i in range(30)]
    return Interactions.from_columns([f"user {u}" for u, _ in rows], [names[i] for _, i in rows], ratings)


@pytest.fixture(scope="session")
def rating_model(table: Interactions) -> bilinear.MatrixFactorization:
    model = bilinear.MatrixFactorization(
        n_factors=4, l2=0.1, l2_biases=0.1, rating_range=(0.5, 5), solver=bilinear.SGD(n_epochs=8),
        validation_fraction=0, rng=0,
    ).fit(table)  # fmt: skip
    n_items = len(model.item_vocabulary_)
    titles = [TITLES[i] if i < len(TITLES) else f"Film number {i}" for i in range(n_items)]
    genres = [("Drama", "Drama|War", "Comedy", "")[i % 4] for i in range(n_items)]
    model.item_texts_ = {"title": PackedText.of(titles), "genres": PackedText.of(genres)}
    return model


@pytest.fixture(scope="session")
def films(table: Interactions) -> Items:
    ids = [str(item) for item in table.item_vocabulary]
    columns = {
        "title": [f"Film {n}" for n in range(len(ids))],
        "genres": [_GENRES[n % 3] + ("|Short" if n % 4 == 0 else "") for n in range(len(ids))],
        "year": [1980 + n for n in range(len(ids))],
    }
    return Items(table.item_vocabulary, columns, title_column="title", genre_column="genres")


@pytest.fixture(scope="session")
def people(table: Interactions) -> Users:
    return Users(table.user_vocabulary, {"job": ["ab"[n % 2] for n in range(table.n_users)]})


_SETTINGS: dict[str, Any] = {"n_factors": 3, "validation_fraction": 0, "l2": 0.1, "l2_biases": 0.1, "rng": 0}


@pytest.fixture(scope="session")
def featured_model(table: Interactions, films: Items, people: Users) -> bilinear.MatrixFactorization:
    made = bilinear.MatrixFactorization(
        **_SETTINGS,
        rating_range=(0.5, 5),
        solver=bilinear.SGD(n_epochs=8),
        item_features=["genres", "year"],
        user_features=["job"],
    )
    return made.fit(table, items=films, users=people)


@pytest.fixture
def model_folder(rating_model: bilinear.MatrixFactorization, tmp_path: Path) -> Path:
    rating_model.save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server of our own; without one the tests on it are skipped."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    with postgres_server() as server:
        if isinstance(server, str):
            pytest.skip(server)
        yield server


@pytest.fixture(params=["sqlite", "postgres", "memory"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty store."""
    return empty_store(request, tmp_path)


@pytest.fixture(params=["sqlite", "postgres"])
def durable_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty store that outlives the process."""
    return empty_store(request, tmp_path)


def empty_store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'feed back.db'}"
    if request.param == "memory":
        return f"{MemoryStore.schemes[0]}://{tmp_path.name}"
    server: PostgresServer = request.getfixturevalue("postgres")
    import psycopg

    with psycopg.connect(server.address, autocommit=True) as connection:
        connection.execute("SET client_min_messages = warning")
        connection.execute("DROP TABLE IF EXISTS bilinear_feedback, bilinear_properties")
    return server.address


@pytest.fixture
def store(store_url: str) -> Iterator[FeedbackStore]:
    opened = open_store(store_url)
    yield opened
    opened.close()
