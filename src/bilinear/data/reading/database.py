"""DuckDB as a library: a private connection that stays within its limits, and Parquet files."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bilinear.data.reading.columns import Role
from bilinear.data.reading.tables import BATCH, Batch, Refuse, raise_error
from bilinear.errors import (
    FileFormatError,
    IdValueError,
    MemoryLimitError,
    ParameterValueError,
    RatingValueError,
)
from bilinear.memory import available, parsed_size

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"}
INTEGERS |= {f"U{name}" for name in INTEGERS}
DECIMALS = ("FLOAT", "DOUBLE", "DECIMAL")
_open: list[Any] = []
"""Connections of ours whose queries Ctrl-C ends."""


@contextmanager
def connected(
    folder: Path, memory_limit: str | None = None, n_threads: int | None = None
) -> Iterator[Connection]:
    """A private in-memory database that spills into `folder`; it fetches no extensions.

    Args:
        memory_limit: None takes half of what is free.
    Raises:
        MemoryLimitError: half of what is free does not do.
        ParameterValueError: `memory_limit` or `n_threads` cannot be used.
    """
    import duckdb

    if n_threads is not None and (
        isinstance(n_threads, bool) or not isinstance(n_threads, int) or n_threads < 1
    ):
        raise ParameterValueError(f"n_threads={n_threads!r}; give a whole number from 1")
    settings: dict[str, Any] = {
        "temp_directory": str(folder),
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    settings |= {} if n_threads is None else {"threads": n_threads}
    settings |= default_limit() if memory_limit is None else {"memory_limit": memory_limit}
    try:
        connection = duckdb.connect(":memory:", config=settings)
    except (duckdb.Error, TypeError) as error:
        raise ParameterValueError(
            f"memory_limit={memory_limit!r} is not an amount of memory such as '2GB' or '500MB' ({error})"
        ) from None
    try:
        with stoppable(connection):
            connection.execute("SET enable_progress_bar = false; SET TimeZone = 'UTC'")
            yield connection
    except duckdb.OutOfMemoryException as error:
        if memory_limit is None:
            raise MemoryLimitError(
                f"half of the free memory, {settings.get('memory_limit')}, is too little to read this file; "
                f"give more with memory_limit (--memory-limit), or free some ({first_line(error)})"
            ) from None
        raise ParameterValueError(
            f"memory_limit={memory_limit!r} is too little to read this file; raise it ({first_line(error)})"
        ) from None
    finally:
        connection.close()


def default_limit() -> dict[str, Any]:
    """DuckDB's setting that leaves half of the free memory to everything else, and 64 MB at least to it."""
    free = available()
    return {} if free is None else {"memory_limit": f"{max(free // 2, 64 * 10**6) // 10**6}MB"}


def lower_limit(connection: Connection, n_bytes: int) -> None:
    """Has the engine keep no more in memory from now on, the rest on disk; what allows less stays."""
    import duckdb

    now = connection.execute("SELECT current_setting('memory_limit')").fetchall()[0][0]
    if parsed_size(now) > n_bytes:
        with suppress(duckdb.Error):  # it holds more that it cannot write to disk
            connection.execute(f"SET memory_limit = '{n_bytes // 10**6}MB'")


@contextmanager
def stoppable(connection: Any) -> Iterator[None]:
    """Ctrl-C during a query of the block is a KeyboardInterrupt, as anywhere else.

    DuckDB makes another error of it, some only once the query is done; see `end_queries`.
    """
    _open.append(connection)
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not _is_interruption(cause):
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            raise
        raise KeyboardInterrupt from error
    finally:
        _open[:] = [other for other in _open if other is not connection]


def _is_interruption(error: BaseException) -> bool:
    """By DuckDB's class, or the words of its client and of SQLite's."""
    return type(error).__name__ == "InterruptException" or str(error) in ("Query interrupted", "interrupted")


def end_queries() -> None:
    """Ends the queries under way: for a thread that learns of Ctrl-C while the main one waits for them."""
    for connection in tuple(_open):
        connection.interrupt()


@dataclass(frozen=True)
class ParquetTable:
    """The columns of Parquet files; their rows come through the connection they were opened with."""

    paths: Sequence[Path]
    label: str
    names: list[str]
    types: list[str]
    connection: Connection = field(repr=False)
    is_text: bool = False

    @classmethod
    def of(cls, paths: Sequence[Path], label: str, connection: Connection) -> ParquetTable:
        """Raises FileFormatError: a file is damaged, or its columns are not those of the first."""
        import duckdb

        columns: list[tuple[str, str]] = []
        for path in paths:
            name = path.name if len(paths) > 1 else label
            try:
                rows = connection.execute(f"DESCRIBE SELECT * FROM {parquet([path])}").fetchall()
            except duckdb.Error as error:
                raise FileFormatError(f"{name}: the Parquet file is damaged ({first_line(error)})") from None
            found = [(row[0], row[1]) for row in rows]
            columns = columns or found
            if found != columns:
                theirs, ours = (", ".join(f"{n} {kind}" for n, kind in one) for one in (found, columns))
                raise FileFormatError(
                    f"{name}: has the columns {theirs[:200]}, where the first file of {label} has "
                    f"{ours[:200]}; read files of one kind together"
                )
        return cls(paths, label, [name for name, _ in columns], [kind for _, kind in columns], connection)

    @property
    def source(self) -> str:
        """What to select from, in SQL."""
        return parquet(self.paths)

    @property
    def n_columns(self) -> int:
        return len(self.names)

    def batches(self, columns: Sequence[int], refuse: Refuse = raise_error) -> Iterator[Batch]:
        import duckdb

        # Moments travel as ISO text: the client would need one more package for time zones.
        picked = ", ".join(
            f"CAST({sql_name(self.names[at])} AS VARCHAR)"
            if is_moment(self.types[at])
            else sql_name(self.names[at])
            for at in columns
        )
        first = 1
        try:
            rows = self.connection.execute(f"SELECT {picked} FROM {self.source}")
            while batch := rows.fetchmany(BATCH):
                yield Batch(self.label, list(zip(*batch, strict=True)), range(first, first + len(batch)))
                first += len(batch)
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            raise FileFormatError(
                f"{self.label}: the Parquet file is damaged after row {first - 1} ({first_line(error)})"
            ) from None

    def check_types(self, columns: Mapping[Role, int]) -> None:
        """Raises IdValueError or RatingValueError for a column whose type cannot play its role."""
        for role, at in columns.items():
            kind, name = self.types[at], self.names[at]
            is_number = kind in INTEGERS or kind.startswith(DECIMALS)
            is_word = kind in ("VARCHAR", "UUID") or kind.startswith("ENUM")
            is_flag = role in ("rating", "count") and kind == "BOOLEAN"
            if is_number or is_word or is_flag or (role == "time" and is_moment(kind)):
                continue
            error = IdValueError if role in ("user", "item") else RatingValueError
            needs = {"rating": "numbers", "time": "numbers or dates"}.get(role, "integers or text")
            raise error(f"{self.label}: the {role} column {name!r} is of type {kind}; {role}s are {needs}")


def is_moment(kind: str) -> bool:
    return kind.startswith(("DATE", "TIMESTAMP"))


def parquet(paths: Sequence[Path]) -> str:
    return (
        f"read_parquet([{', '.join(map(sql_path, paths))}], binary_as_string=true, hive_partitioning=false)"
    )


def sql_path(path: Path) -> str:
    return sql_text(str(path))


def sql_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def sql_text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0][:200]


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Makes DuckDB's words for a full disk the system's error, which names `path`."""
    import duckdb

    try:
        yield
    except duckdb.IOException as error:
        found = re.search(r'errno"?:\s*"?(\d+)', str(error))
        number = int(found[1]) if found else errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from error
