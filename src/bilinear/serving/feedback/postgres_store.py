"""Feedback in PostgreSQL 15 or newer."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, TypeVar
from urllib.parse import quote

from bilinear.errors import ParameterValueError
from bilinear.optional_packages import extra
from bilinear.serving.feedback.store import (
    BATCH,
    COLUMNS,
    SCHEMA_VERSION,
    Counts,
    Feedback,
    Mark,
    Properties,
    Row,
    pairs_of_stamped,
    register_store,
    settled,
)
from bilinear.serving.problems import StoreUnavailable

_SCHEMA = """
CREATE TABLE bilinear_feedback (
    user_id text COLLATE "C" NOT NULL, item_id text COLLATE "C" NOT NULL,
    rating double precision, time double precision NOT NULL, PRIMARY KEY (user_id, item_id)
)
"""
_SAYS = "bilinear feedback, schema {}"
_KNOWN = """
SELECT obj_description(to_regclass('bilinear_feedback'), 'pg_class'), array_agg(attname::text ORDER BY attnum)
FROM pg_attribute WHERE attrelid = to_regclass('bilinear_feedback') AND attnum > 0 AND NOT attisdropped
"""
_TIMES = """
SELECT user_id, item_id, time FROM bilinear_feedback
JOIN unnest(%s::text[], %s::text[]) AS asked (u, i) ON user_id = asked.u AND item_id = asked.i
"""
_LOCK = "SELECT pg_advisory_xact_lock(7091611026414170210)"  # two servers that start at once
_WRITE = """
INSERT INTO bilinear_feedback AS old
SELECT * FROM unnest(%s::text[], %s::text[], %s::float8[], %s::float8[])
ON CONFLICT (user_id, item_id) DO UPDATE SET rating = excluded.rating, time = excluded.time
WHERE excluded.time >= old.time RETURNING user_id, item_id
"""
_PROPERTIES = """
CREATE TABLE IF NOT EXISTS bilinear_properties (
    side text COLLATE "C" NOT NULL, id text COLLATE "C" NOT NULL,
    content text, time double precision NOT NULL, PRIMARY KEY (side, id)
)
"""
_TIMES_OF_PROPERTIES = """
SELECT side, id, time FROM bilinear_properties
JOIN unnest(%s::text[], %s::text[]) AS asked (s, i) ON side = asked.s AND id = asked.i
"""
_WRITE_PROPERTIES = """
INSERT INTO bilinear_properties AS old
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::float8[])
ON CONFLICT (side, id) DO UPDATE SET content = excluded.content, time = excluded.time
WHERE excluded.time >= old.time RETURNING side, id
"""
_HAS_PROPERTIES = "SELECT to_regclass('bilinear_properties') IS NOT NULL"
_SECONDS = 10
Made = TypeVar("Made")


@register_store
class PostgresStore:
    """See `FeedbackStore`. One connection a thread, made anew when the server was away.

    synchronous_commit is switched on whatever the server's default is: a commit is acknowledged when
    its log is on disk. Rows are locked in one order, so that writers do not block one another for good.
    """

    schemes: ClassVar[tuple[str, ...]] = ("postgresql", "postgres")
    address_form: ClassVar[str] = "postgresql://USER@HOST/DATABASE"
    is_local = False

    def __init__(self, url: str) -> None:
        with extra("postgres"):
            import psycopg
        self._psycopg, self._url = psycopg, url
        parts = _parts(url)
        self.address = _shown(parts)
        self._secrets = [str(value) for name, value in parts.items() if "password" in name and value]
        self._local = threading.local()
        self._open: dict[Any, None] = {}
        self._lock = threading.Lock()
        self._prepared = False
        self.counts()

    @classmethod
    def open(cls, url: str, *, create: bool = True) -> PostgresStore:
        """The store of a PostgreSQL URL, or of libpq's words; the database has to be there."""
        return cls(url)

    def of_user(self, user: str, most: int | None = None) -> list[tuple[str, float | None, float]]:
        query = (
            "SELECT item_id, rating, time FROM bilinear_feedback WHERE user_id = %s ORDER BY item_id LIMIT %s"
        )
        return self._run(lambda connection: connection.execute(query, (user, most)).fetchall())

    def get(self, user: str, item: str) -> Feedback | None:
        query = "SELECT * FROM bilinear_feedback WHERE user_id = %s AND item_id = %s"
        row = self._run(lambda connection: connection.execute(query, (user, item)).fetchone())
        return None if row is None else Feedback(*row)

    def write(self, rows: Sequence[Feedback]) -> list[float | None]:
        return self._write(rows, _TIMES, _WRITE)

    def write_properties(self, rows: Sequence[Properties]) -> list[float | None]:
        return self._write(rows, _TIMES_OF_PROPERTIES, _WRITE_PROPERTIES)

    def _write(self, rows: Sequence[Row], times_of: str, write_rows: str) -> list[float | None]:
        pairs = pairs_of_stamped(rows)
        if not rows:
            return []

        def write(connection: Any) -> list[float | None]:
            with connection.transaction():
                known = {}
                if pairs:
                    found = connection.execute(times_of, _columns(pairs)).fetchall()
                    known = {(one, other): moment for one, other, moment in found}
                kept = settled(rows, known)
                columns = _columns(sorted(kept.values(), key=lambda row: row[:2]))
                there = set(connection.execute(write_rows, columns).fetchall())
            stored: list[float | None] = [None] * len(rows)
            for at, row in kept.items():
                if row[:2] in there:
                    stored[at] = row.time
            return stored

        # Sent again after a broken connection it has the same effect, whether or not it had arrived.
        return self._run(write)

    def everything(self) -> Iterator[list[Feedback]]:
        for rows in self._batches("SELECT * FROM bilinear_feedback ORDER BY user_id, item_id"):
            yield [Feedback(*row) for row in rows]

    def properties(self) -> Iterator[list[Properties]]:
        if self._has_properties():
            for rows in self._batches("SELECT * FROM bilinear_properties ORDER BY side, id"):
                yield [Properties(*row) for row in rows]

    def properties_mark(self) -> Mark:
        query = "SELECT count(*), coalesce(sum(time), 0) FROM bilinear_properties"
        if not self._has_properties():
            return Mark(0, 0.0)
        return Mark(*self._run(lambda connection: connection.execute(query).fetchone()))

    def _has_properties(self) -> bool:
        """False only where the table is missing and may not be made."""
        return bool(self._run(lambda connection: connection.execute(_HAS_PROPERTIES).fetchone())[0])

    def _batches(self, query: str) -> Iterator[list[Any]]:
        try:
            with (
                self._connected() as connection,
                connection.transaction(),
                connection.cursor("bilinear_export") as cursor,
            ):
                cursor.execute(query)
                while rows := cursor.fetchmany(BATCH):
                    yield rows
        except self._psycopg.Error as error:
            raise self._unavailable(error) from error

    def counts(self) -> Counts:
        query = (
            "SELECT count(rating), count(DISTINCT user_id) FILTER (WHERE rating IS NOT NULL), "
            "count(*) - count(rating), coalesce(sum(time), 0.0), coalesce(sum(rating), 0.0) "
            "FROM bilinear_feedback"
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
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._prepared = True
        return connection

    def _prepare(self, connection: Any) -> None:
        """Makes the table, or looks whether it is one that this version knows."""
        with connection.transaction():
            connection.execute(_LOCK)
            says, columns = connection.execute(_KNOWN).fetchone()
            with suppress(self._psycopg.errors.InsufficientPrivilege), connection.transaction():
                if not connection.execute(_HAS_PROPERTIES).fetchone()[0]:
                    connection.execute(_PROPERTIES)
            if columns is None:
                connection.execute(_SCHEMA)
                connection.execute(f"COMMENT ON TABLE bilinear_feedback IS '{_SAYS.format(SCHEMA_VERSION)}'")
                return
        version = re.fullmatch(_SAYS.format(r"(\d+)"), says or "")
        if version is not None and int(version[1]) > SCHEMA_VERSION:
            raise StoreUnavailable(
                f"feedback store {self.address}: its table has schema version {version[1]}, and this "
                f"bilinear knows those up to {SCHEMA_VERSION}: install the one that made it, or a newer one"
            )
        if tuple(columns) != COLUMNS:
            raise StoreUnavailable(
                f"feedback store {self.address}: its table bilinear_feedback has the columns "
                f"{', '.join(columns)}, expected {', '.join(COLUMNS)}; choose another database for --store"
            )
        if says is None:  # before versions were written the table was the same
            with suppress(self._psycopg.Error):  # who does not own it may still use it
                connection.execute(f"COMMENT ON TABLE bilinear_feedback IS '{_SAYS.format(SCHEMA_VERSION)}'")

    def _drop(self) -> None:
        connection = getattr(self._local, "connection", None)
        self._local.connection = None
        if connection is not None:
            with self._lock:
                self._open.pop(connection, None)
            with suppress(self._psycopg.Error):
                connection.close()

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        first = str(error).strip().split("\n", 1)[0]
        for secret in self._secrets:
            for form in (secret, quote(secret, safe=""), quote(secret)):
                first = first.replace(form, "***")
        first = first[:200]
        return StoreUnavailable(
            f"feedback store {self.address}: {first}; nothing was acknowledged, try again"
        )


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _parts(url: str) -> dict[str, Any]:
    """An address taken apart by libpq's own rules, of a URL or of words `host=... password=...`.

    Raises ParameterValueError: it cannot be read. Nothing of it is repeated: what libpq takes for a host or
    a port there may be a part of the password.
    """
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    before_query = url.partition("?")[0].partition("://")[2]
    authority, _, path = before_query.partition("/")
    try:
        parts = conninfo_to_dict(url)
    except ProgrammingError:
        parts = {"port": "unreadable"}
    if authority.count("@") > 1 or "@" in path or not re.fullmatch(r"[\d,]*", str(parts.get("port") or "")):
        raise ParameterValueError(
            "--store: this address of a PostgreSQL database cannot be read; write "
            "postgresql://USER@HOST:PORT/DATABASE, with signs such as @ / ? % in a password as %40 %2F %3F "
            "%25, or leave the password to PGPASSWORD or ~/.pgpass"
        )
    return dict(parts)


def _shown(parts: Mapping[str, Any]) -> str:
    user, host, port, database = (str(parts.get(name) or "") for name in ("user", "host", "port", "dbname"))
    host = host or str(parts.get("hostaddr") or "")
    return f"postgresql://{user}{'@' if user else ''}{host}{':' if port else ''}{port}/{database}"
