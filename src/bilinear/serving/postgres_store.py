"""Feedback in PostgreSQL 15 or newer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from bilinear.extras import extra
from bilinear.serving.problems import StoreUnavailable
from bilinear.serving.store import BATCH, Counts, Feedback, last_of_each_pair

_SCHEMA = """
CREATE TABLE IF NOT EXISTS bilinear_feedback (
    user_id text COLLATE "C" NOT NULL, item_id text COLLATE "C" NOT NULL,
    rating double precision, time double precision NOT NULL, PRIMARY KEY (user_id, item_id)
)
"""
_LOCK = "SELECT pg_advisory_xact_lock(7091611026414170210)"  # two servers that start at once
_WRITE = """
INSERT INTO bilinear_feedback AS old
SELECT * FROM unnest(%s::text[], %s::text[], %s::float8[], %s::float8[])
ON CONFLICT (user_id, item_id) DO UPDATE SET rating = excluded.rating, time = excluded.time
WHERE excluded.time >= old.time RETURNING user_id, item_id
"""
_SECONDS = 10
Made = TypeVar("Made")


class PostgresStore:
    """See `FeedbackStore`. One connection a thread, made anew when the server was away.

    synchronous_commit is switched on whatever the server's default is: a commit is acknowledged when
    its log is on disk. Rows are locked in one order, so that writers do not block one another for good.
    """

    is_local = False

    def __init__(self, url: str) -> None:
        with extra("postgres"):
            import psycopg
        self._psycopg, self._url = psycopg, url
        self.address = _without_password(url)
        self._local = threading.local()
        self._open: dict[Any, None] = {}
        self._lock = threading.Lock()
        self._prepared = False
        self.counts()

    def of_user(self, user: str) -> list[tuple[str, float | None, float]]:
        query = "SELECT item_id, rating, time FROM bilinear_feedback WHERE user_id = %s ORDER BY item_id"
        return self._run(lambda connection: connection.execute(query, (user,)).fetchall())

    def get(self, user: str, item: str) -> Feedback | None:
        query = "SELECT * FROM bilinear_feedback WHERE user_id = %s AND item_id = %s"
        row = self._run(lambda connection: connection.execute(query, (user, item)).fetchone())
        return None if row is None else Feedback(*row)

    def write(self, rows: Sequence[Feedback]) -> list[bool]:
        positions = sorted(last_of_each_pair(rows), key=lambda at: rows[at][:2])
        columns = [list(column) for column in zip(*(rows[at] for at in positions), strict=True)]
        if not positions:
            return []

        def write(connection: Any) -> set[tuple[str, str]]:
            with connection.transaction():
                return set(connection.execute(_WRITE, columns).fetchall())

        # Sent again after a broken connection it has the same effect, whether or not it had arrived.
        there = self._run(write)
        stored = [False] * len(rows)
        for at in positions:
            stored[at] = rows[at][:2] in there
        return stored

    def everything(self) -> Iterator[list[Feedback]]:
        try:
            with (
                self._connected() as connection,
                connection.transaction(),
                connection.cursor("bilinear_export") as cursor,
            ):
                cursor.execute("SELECT * FROM bilinear_feedback ORDER BY user_id, item_id")
                while rows := cursor.fetchmany(BATCH):
                    yield [Feedback(*row) for row in rows]
        except self._psycopg.Error as error:
            raise self._unavailable(error) from error

    def counts(self) -> Counts:
        query = (
            "SELECT count(rating), count(DISTINCT user_id) FILTER (WHERE rating IS NOT NULL), "
            "count(*) - count(rating) FROM bilinear_feedback"
        )
        return Counts(*self._run(lambda connection: connection.execute(query).fetchone()))

    def close(self) -> None:
        with self._lock:
            for connection in self._open:
                with suppress(self._psycopg.Error):
                    connection.close()
            self._open.clear()

    def _run(self, work: Callable[[Any], Made]) -> Made:
        """`work` on this thread's connection; once more on a new one if that had gone."""
        for last_try in (False, True):
            connection = getattr(self._local, "connection", None)
            is_old = connection is not None
            try:
                if connection is None:
                    connection = self._local.connection = self._connected()
                    with self._lock:
                        self._open[connection] = None
                return work(connection)
            except self._psycopg.Error as error:
                self._drop()
                # A server that restarted closed all connections; one that is not there refuses new ones.
                if last_try or not (is_old and isinstance(error, self._psycopg.OperationalError)):
                    raise self._unavailable(error) from error
        raise AssertionError("unreachable")

    def _connected(self) -> Any:
        connection = self._psycopg.connect(
            self._url,
            autocommit=True,
            connect_timeout=_SECONDS,
            options=f"-c synchronous_commit=on -c statement_timeout={_SECONDS}s -c lock_timeout=5s "
            "-c idle_in_transaction_session_timeout=10min",
            application_name="bilinear",
            keepalives_idle=_SECONDS,
        )
        if not self._prepared:
            with connection.transaction():
                connection.execute(_LOCK)
                connection.execute(_SCHEMA)
            self._prepared = True
        return connection

    def _drop(self) -> None:
        connection = getattr(self._local, "connection", None)
        self._local.connection = None
        if connection is not None:
            with self._lock:
                self._open.pop(connection, None)
            with suppress(self._psycopg.Error):
                connection.close()

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        first = str(error).strip().split("\n", 1)[0][:200]
        return StoreUnavailable(
            f"feedback store {self.address}: {first}; nothing was acknowledged, try again"
        )


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    credentials, at, host = rest.rpartition("@")
    user = credentials.partition(":")[0]
    return f"{scheme}://{user}{at}{host.partition('?')[0]}"
