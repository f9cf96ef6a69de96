"""Ratings from databases: SQLite always, PostgreSQL where its server programs are installed."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from bilinear.data.interactions import Interactions
from bilinear.data.reading import sql
from bilinear.data.reading.sql import read_sql
from bilinear.errors import (
    AmbiguousColumnError,
    BilinearError,
    DataError,
    DuplicatePairError,
    EmptyDataError,
    IdValueError,
    MissingColumnError,
    MissingDependencyError,
    ParameterValueError,
    RatingValueError,
)

ROWS = [(7, "a", 4.5, 5), (7, "é", 1.0, 4), (3, "007", 3.0, 3), (12, "a", 0.5, 2), (3, "z", 5.0, 1)]
EXPECTED = Interactions.from_columns(*zip(*ROWS, strict=True))
QUERY = "SELECT movie_id, user_id, stars, rated_at FROM ratings"


def same(found: Interactions, expected: Interactions) -> None:
    assert found.user_vocabulary == expected.user_vocabulary
    assert found.item_vocabulary == expected.item_vocabulary
    for name in ("users", "items", "ratings", "times"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "some data.db"
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE ratings (user_id, movie_id, stars, rated_at)")
        database.executemany("INSERT INTO ratings VALUES (?, ?, ?, ?)", ROWS)
        database.commit()
    return file


@pytest.fixture
def database(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as connection:
        yield connection


def test_sqlite_connection(database: sqlite3.Connection) -> None:
    same(read_sql(QUERY, database), EXPECTED)
    assert database.execute("SELECT 1").fetchone() == (1,)  # left open


def test_sqlite_address(path: Path) -> None:
    same(read_sql(QUERY, f"sqlite:///{path}"), EXPECTED)
    same(read_sql(QUERY, f"sqlite:///{str(path).replace(' ', '%20')}"), EXPECTED)


def test_sqlite_relative_address(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    same(read_sql(QUERY, f"sqlite:///{path.name}"), EXPECTED)


def test_many_batches_give_the_same_table(database: sqlite3.Connection) -> None:
    with patch.object(sql, "BATCH", 2):
        same(read_sql(QUERY, database), EXPECTED)


@pytest.mark.parametrize("factory", [sqlite3.Row, lambda _, row: {"all": row}])
def test_row_factories_do_not_matter(database: sqlite3.Connection, factory: Any) -> None:
    database.row_factory = factory
    same(read_sql(QUERY, database), EXPECTED)


def test_an_address_cannot_write(path: Path) -> None:
    with pytest.raises(DataError, match="readonly"):
        read_sql("DELETE FROM ratings", f"sqlite:///{path}")


def test_columns_can_be_chosen(database: sqlite3.Connection) -> None:
    query = "SELECT user_id a, movie_id b, stars c, rated_at FROM ratings"
    found = read_sql(query, database, user="a", item=2, rating="c", time=False)
    assert found.times is None
    with pytest.raises(MissingColumnError, match="'a', 'b', 'c', 'rated_at'"):
        read_sql(query, database)
    with pytest.raises(AmbiguousColumnError):
        read_sql("SELECT user_id, movie_id, movie_id, stars FROM ratings", database)


@pytest.mark.parametrize(
    ("query", "kind", "words"),
    [
        ("SELECT 1 user, 2 item, NULL rating", RatingValueError, ["row 1", "the rating is missing"]),
        ("SELECT 1 user, 2 item, 'x' rating", RatingValueError, ["row 1", "'x'"]),
        ("SELECT 1 user, 2 item, 9e999 rating", RatingValueError, ["row 1", "not a finite"]),
        ("SELECT 1 user, NULL item, 3 rating", IdValueError, ["row 1", "the item is missing"]),
        ("SELECT 1 user, x'00ff' item, 3 rating", IdValueError, ["row 1", "bytes"]),
        ("SELECT 1 user, 2.5 item, 3 rating", IdValueError, ["row 1", "2.5"]),
        (
            "SELECT 1 user, 2 item, 3 rating UNION ALL SELECT 'x', 2, 3",
            IdValueError,
            ["row 2", "'x' is text", "integer"],
        ),
        ("SELECT 1 user, 2 item, 3 rating, NULL time", RatingValueError, ["row 1", "the time is missing"]),
        ("SELECT 1 user, 2 item, 3 rating WHERE 0", EmptyDataError, ["no rows"]),
        ("SELECT oops", DataError, ["oops"]),
        ("CREATE TABLE other (a)", DataError, ["SELECT"]),
    ],
)
def test_bad_queries(
    database: sqlite3.Connection, query: str, kind: type[BilinearError], words: list[str]
) -> None:
    with patch.object(sql, "BATCH", 1), pytest.raises(kind) as caught:
        read_sql(query, database)
    assert type(caught.value) is kind
    for word in ["SQL query", *words]:
        assert word in str(caught.value)


def test_duplicates(database: sqlite3.Connection) -> None:
    query = "SELECT 1 user, 2 item, 3 rating UNION ALL SELECT 1, 2, 4 ORDER BY rating"
    assert read_sql(query, database).ratings.tolist() == [4.0]
    with pytest.raises(DuplicatePairError, match="rows 1 and 2"):
        read_sql(query, database, duplicates="error")
    with pytest.raises(ParameterValueError, match="duplicates='first'"):
        read_sql(query, database, duplicates="first")  # type: ignore[arg-type]


def test_connections_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such database file"):
        read_sql(QUERY, f"sqlite:///{tmp_path / 'none.db'}")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ParameterValueError, match=r"mysql://\.\.\.@host"):
        read_sql(QUERY, "mysql://me:secret@host/db")
    with pytest.raises(ParameterValueError, match="dict"):
        read_sql(QUERY, {})
    with pytest.raises(ParameterValueError, match="int"):
        read_sql(3, "sqlite:///x.db")  # type: ignore[arg-type]
    (tmp_path / "text.db").write_text("user,item,rating\n" * 99)
    with pytest.raises(DataError, match="not a database"):
        read_sql(QUERY, f"sqlite:///{tmp_path / 'text.db'}")


def test_postgresql_needs_its_package() -> None:
    with (
        patch.dict(sys.modules, {"psycopg": None}),
        pytest.raises(MissingDependencyError, match=r"pip install 'bilinear\[postgres\]'"),
    ):
        read_sql(QUERY, "postgresql://localhost/db")


def test_any_other_db_api_connection() -> None:
    import duckdb

    with closing(duckdb.connect()) as connection:
        query = "SELECT 7 AS user_id, 'a' AS item_id, 4.5 AS rating, TIMESTAMP '1970-01-02' AS time"
        found = read_sql(query, connection)
    assert found.times is not None
    assert found.times.tolist() == [86400.0]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a PostgreSQL server of our own, on a free port of this machine."""
    programs = {name: shutil.which(name) for name in ("postgres", "initdb")}
    if not all(programs.values()):
        pytest.skip("PostgreSQL's server programs (postgres, initdb) are not on the path")
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    account: dict[str, Any] = {}
    folder = Path(tempfile.mkdtemp(prefix="bilinear-postgres-"))
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        account = {"user": 65534, "group": 65534, "extra_groups": []}
        os.chown(folder, 65534, 65534)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = folder / "data"
    how = ["-U", "tester", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    made = subprocess.run(
        [programs["initdb"], "-D", data, *how],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
        **account,
    )
    if made.returncode:
        shutil.rmtree(folder)
        pytest.skip(f"initdb failed here: {made.stderr.strip()[-200:]}")
    log = (folder / "log").open("w")
    process = subprocess.Popen(
        [programs["postgres"], "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder, "-F"],
        stdout=log,
        stderr=log,
        cwd=folder,
        **account,
    )
    address = f"postgresql://tester@127.0.0.1:{port}/postgres"
    try:
        _wait_for(address, process, folder / "log")
        yield address
    finally:
        process.terminate()
        process.wait()
        log.close()
        shutil.rmtree(folder)


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    import time

    import psycopg

    for _ in range(300):
        assert process.poll() is None, log.read_text()
        try:
            psycopg.connect(address, connect_timeout=2).close()
        except psycopg.OperationalError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"no answer: {log.read_text()}")


SETUP = """
DROP TABLE IF EXISTS ratings;
CREATE TABLE ratings (user_id bigint, movie_id text, stars numeric(3, 1), rated_at double precision);
"""


@pytest.mark.parametrize("autocommit", [False, True])
def test_postgresql_connection(server: str, autocommit: bool) -> None:
    import psycopg
    from psycopg.rows import dict_row

    with psycopg.connect(server, autocommit=autocommit, row_factory=dict_row) as connection:
        connection.execute(SETUP)
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO ratings VALUES (%s, %s, %s, %s)", ROWS)
        with patch.object(sql, "BATCH", 2):
            same(read_sql(QUERY, connection), EXPECTED)
        assert connection.execute("SELECT count(*) AS n FROM ratings").fetchone() == {"n": 5}  # left open


def test_postgresql_address_and_types(server: str) -> None:
    query = """
    SELECT '00000000-0000-0000-0000-000000000001'::uuid AS user_id, 'x' AS item_id, 4::smallint AS rating,
           '2020-01-01 01:00:00+01'::timestamptz AS created_at
    UNION ALL SELECT '00000000-0000-0000-0000-000000000002', 'y', 5, '2020-01-02 00:00:00+00'
    """
    found = read_sql(query, server)
    assert list(found.user_vocabulary) == [f"00000000-0000-0000-0000-00000000000{n}" for n in (1, 2)]
    assert found.times is not None
    assert found.times.tolist() == [datetime(2020, 1, day, tzinfo=UTC).timestamp() for day in (1, 2)]


@pytest.mark.parametrize("query", ["SELECT oops", "CREATE TABLE other (a int)", "SELECT 1; SELECT 2"])
def test_postgresql_refusals(server: str, query: str) -> None:
    with pytest.raises(DataError, match="SQL query"):
        read_sql(query, server)


def test_postgresql_that_does_not_answer() -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    with pytest.raises(DataError, match="SQL query"):
        read_sql(QUERY, "postgresql://nobody@127.0.0.1:1/none")
