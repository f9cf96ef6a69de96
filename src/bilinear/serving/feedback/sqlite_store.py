"""Feedback in one SQLite file: write-ahead log, synced before a write is acknowledged."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar
from urllib.parse import unquote

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
    unreadable,
)
from bilinear.serving.problems import StoreUnavailable

_APPLICATION = 0x62696C66  # "bilf", in the file's header
_SCHEMA = """
CREATE TABLE IF NOT EXISTS feedback (
    user_id TEXT NOT NULL, item_id TEXT NOT NULL, rating REAL, time REAL NOT NULL,
    PRIMARY KEY (user_id, item_id)
) WITHOUT ROWID
"""
_WRITE = """
INSERT INTO feedback VALUES (?, ?, ?, ?) ON CONFLICT (user_id, item_id)
DO UPDATE SET rating = excluded.rating, time = excluded.time WHERE excluded.time >= feedback.time
"""
_TIME = "SELECT time FROM feedback WHERE user_id = ? AND item_id = ?"
_PROPERTIES = """
CREATE TABLE IF NOT EXISTS properties (
    side TEXT NOT NULL, id TEXT NOT NULL, content TEXT, time REAL NOT NULL, PRIMARY KEY (side, id)
) WITHOUT ROWID
"""
_WRITE_PROPERTIES = """
INSERT INTO properties VALUES (?, ?, ?, ?) ON CONFLICT (side, id)
DO UPDATE SET content = excluded.content, time = excluded.time WHERE excluded.time >= properties.time
"""
_TIME_OF_PROPERTIES = "SELECT time FROM properties WHERE side = ? AND id = ?"
_HAS_PROPERTIES = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'properties'"
_OF_USER = "SELECT item_id, rating, time FROM feedback WHERE user_id = ? ORDER BY item_id LIMIT ?"
_WAIT = 5.0
_MOMENT = 0.001

FileIdentity = tuple[int, int] | None


@register_store
class SQLiteStore:
    """See `FeedbackStore`. Several processes may use one file.

    synchronous=FULL: a commit returns when the log is on disk, so that neither a killed process nor a
    power cut takes back what was acknowledged. What was acknowledged lies in the write-ahead log, FILE-wal,
    until SQLite moves it into the file; a log that was deleted under an open store is noticed at the next
    use, and what it holds is moved into the file first.
    """

    schemes: ClassVar[tuple[str, ...]] = ("sqlite",)
    address_form: ClassVar[str] = "sqlite:///FILE"
    is_local = True

    def __init__(self, path: Path, *, wait: float = _WAIT) -> None:
        self.path, self.address, self._wait = path, f"sqlite:///{path}", wait
        self._local = threading.local()
        self._open: dict[sqlite3.Connection, None] = {}
        self._lock = threading.Lock()
        self._reopening = threading.Lock()
        self._file, self._log = str(self.path), f"{self.path}-wal"
        self._files: tuple[FileIdentity, FileIdentity] = (None, None)
        with self._connection():
            pass

    @classmethod
    def open(cls, url: str, *, create: bool = True) -> SQLiteStore:
        """The store of "sqlite:///FILE"."""
        rest = url.removeprefix("sqlite:///")
        if rest in ("", url):
            raise unreadable(url)
        path = Path(unquote(rest))
        if not create and not path.is_file():
            raise StoreUnavailable(f"feedback store {path}: no such file")
        return cls(path)

    def of_user(self, user: str, most: int | None = None) -> list[tuple[str, float | None, float]]:
        try:  # as `_connection` does, without a context manager: once for every list
            return self._opened_lately().execute(_OF_USER, (user, -1 if most is None else most)).fetchall()
        except (sqlite3.Error, OSError) as error:
            self._drop()
            raise self._unavailable(error) from error

    def get(self, user: str, item: str) -> Feedback | None:
        with self._connection() as connection:
            query = "SELECT * FROM feedback WHERE user_id = ? AND item_id = ?"
            row = connection.execute(query, (user, item)).fetchone()
        return None if row is None else Feedback(*row)

    def write(self, rows: Sequence[Feedback]) -> list[float | None]:
        return self._write(rows, _TIME, _WRITE)

    def write_properties(self, rows: Sequence[Properties]) -> list[float | None]:
        return self._write(rows, _TIME_OF_PROPERTIES, _WRITE_PROPERTIES)

    def _write(self, rows: Sequence[Row], time_of: str, write: str) -> list[float | None]:
        stored: list[float | None] = [None] * len(rows)
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                known = {}
                for pair in pairs_of_stamped(rows):
                    for (moment,) in connection.execute(time_of, pair):
                        known[pair] = moment
                for at, row in settled(rows, known).items():
                    if connection.execute(write, row).rowcount > 0:
                        stored[at] = row.time
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
        return stored

    def everything(self) -> Iterator[list[Feedback]]:
        for rows in self._batches("SELECT * FROM feedback ORDER BY user_id, item_id"):
            yield [Feedback(*row) for row in rows]

    def properties(self) -> Iterator[list[Properties]]:
        if self._has_properties():
            for rows in self._batches("SELECT * FROM properties ORDER BY side, id"):
                yield [Properties(*row) for row in rows]

    def properties_mark(self) -> Mark:
        if not self._has_properties():
            return Mark(0, 0.0)
        with self._connection() as connection:
            query = "SELECT count(*), coalesce(sum(time), 0.0) FROM properties"
            return Mark(*connection.execute(query).fetchone())

    def _has_properties(self) -> bool:
        """False only of a file of an earlier version that may only be read."""
        with self._connection() as connection:
            return bool(connection.execute(_HAS_PROPERTIES).fetchone()[0])

    def _batches(self, query: str) -> Iterator[list[Any]]:
        with self._connection():
            pass  # which sees to it that the files are those of this store
        with self._errors(), closing(self._connect()) as connection:  # its own: others may read on
            cursor = connection.execute(query)
            while rows := cursor.fetchmany(BATCH):
                yield rows

    def counts(self) -> Counts:
        with self._connection() as connection:
            query = (
                "SELECT count(rating), count(DISTINCT CASE WHEN rating IS NOT NULL THEN user_id END), "
                "count(*) - count(rating), coalesce(sum(time), 0.0), coalesce(sum(rating), 0.0) FROM feedback"
            )
            return Counts(*connection.execute(query).fetchone())

    def close(self) -> None:
        with self._lock:
            for connection in self._open:
                connection.close()
            self._open.clear()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """This thread's connection, opened anew after an error or when the file was replaced."""
        with self._errors():
            try:
                yield self._opened()
            except (sqlite3.Error, OSError):
                self._drop()
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: sqlite3.Error | OSError) -> StoreUnavailable:
        if isinstance(error, OSError):
            return StoreUnavailable(f"feedback store {self.path}: {error.strerror}; try again")
        return StoreUnavailable(_said(error, self.path))

    def _opened_lately(self) -> sqlite3.Connection:
        """As `_opened`, for reads: a look at the files holds for a moment, or until a thread reopens."""
        local = self._local
        if monotonic() < getattr(local, "until", 0.0) and local.files == self._files:
            connection: sqlite3.Connection = local.connection
            return connection
        connection = self._opened()
        local.until = monotonic() + _MOMENT
        return connection

    def _opened(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is not None:
            if self._identities() == self._local.files:
                return connection
            with self._reopening:
                self._leave(connection)
                return self._reopened()
        with self._reopening:
            return self._reopened()

    def _reopened(self) -> sqlite3.Connection:
        connection = self._connect()
        self._local.connection = connection
        self._local.files = self._files = self._identities()
        with self._lock:
            self._open[connection] = None
        return connection

    def _leave(self, connection: sqlite3.Connection) -> None:
        """Closes a connection whose files are no longer those at the store's path.

        Rows written to a file that was moved away would be lost. A log that was deleted still has
        its content for those who have it open, so that is moved into the file.
        """
        (file, log), (file_now, log_now) = self._local.files, self._identities()
        if file_now == file and log_now is None:
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise StoreUnavailable(
                    f"feedback store {self.path}: its log {self.path}-wal was deleted while others read it; "
                    "nothing was acknowledged, try again"
                )
        self._drop()
        if file_now == file and log_now not in (None, log, self._files[1]):
            raise StoreUnavailable(
                f"feedback store {self.path}: its log {self.path}-wal was replaced while the store was open, "
                "so that ratings may be missing; compare it with a copy, nothing was acknowledged, try again"
            )

    def _connect(self) -> sqlite3.Connection:
        if not self.path.absolute().parent.is_dir():
            raise StoreUnavailable(f"feedback store {self.path}: no folder {self.path.absolute().parent}")
        connection = sqlite3.connect(
            self.path, timeout=self._wait, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        known, version, tables = (
            connection.execute(question).fetchone()[0]
            for question in (
                "PRAGMA application_id",
                "PRAGMA user_version",
                "SELECT count(*) FROM sqlite_master",
            )
        )
        if known != _APPLICATION:
            if known or tables:
                raise StoreUnavailable(
                    f"{self.path} is a SQLite file of something else; choose another for --store"
                )
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        elif version > SCHEMA_VERSION:
            raise StoreUnavailable(
                f"feedback store {self.path} has schema version {version}, and this bilinear knows those up "
                f"to {SCHEMA_VERSION}: install the bilinear that made it, or a newer one"
            )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute(_SCHEMA)
        columns = tuple(row[1] for row in connection.execute("PRAGMA table_info(feedback)"))
        if columns != COLUMNS:
            raise StoreUnavailable(
                f"feedback store {self.path}: its table has the columns {', '.join(columns)}, expected "
                f"{', '.join(COLUMNS)}; restore it from a copy, or choose another file for --store"
            )
        with suppress(sqlite3.OperationalError):  # a file that may only be read is read all the same
            connection.execute(_PROPERTIES)
        if version != SCHEMA_VERSION:  # before versions were written the table was the same
            with suppress(sqlite3.OperationalError):
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _identities(self) -> tuple[FileIdentity, FileIdentity]:
        """What the paths of the file and of its log are now."""
        return _identity(self._file), _identity(self._log)

    def _drop(self) -> None:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            return
        self._local.connection, self._local.until = None, 0.0
        with self._lock:
            self._open.pop(connection, None)
        with suppress(sqlite3.Error):
            connection.close()


def _identity(path: str) -> FileIdentity:
    try:
        found = os.stat(path)  # noqa: PTH116 - twice for every use of the store
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _said(error: sqlite3.Error, path: Path) -> str:
    """The message with what to do about it."""
    text = str(error)
    ways = {
        "locked": "another program holds it",
        "full": "the disk is full: make room",
        "readonly": "it cannot be written: see its permissions",
        "not a database": "it is damaged, or no SQLite file: restore it from a copy",
        "malformed": "it is damaged: restore it from a copy",
        "unable to open": "it cannot be opened: see its folder and permissions",
        "disk I/O": "the disk failed, or is full",
    }
    way = next((way for words, way in ways.items() if words in text), "see the log")
    return f"feedback store {path}: {text} ({way}); nothing was acknowledged, try again"
