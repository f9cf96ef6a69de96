"""Options that say how a table is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Self

import typer

from bilinear.cli import options
from bilinear.cli.output import print_note
from bilinear.errors import ParameterValueError


@dataclass(frozen=True)
class TableOptions:
    """How the rows of a file or of a database query are read.

    Attributes:
        store: feedback that counts before the rows; an option of `bilinear train` alone.
    """

    user: options.User = None
    item: options.Item = None
    rating: options.Rating = None
    time: Annotated[
        str | None, typer.Option("--time", help="Name (or position) of the time column; '' for none.")
    ] = None
    count: Annotated[
        str | None,
        typer.Option(
            "--count", help="Without ratings: name (or position) of a column of counts; '' for none."
        ),
    ] = None
    event: Annotated[
        str | None,
        typer.Option(
            "--event", help="Name (or position) of a column that says what happened: view, cart, buy, remove."
        ),
    ] = None
    weight: Annotated[
        list[str] | None,
        typer.Option(
            "--weight",
            help="VALUE=NUMBER, what an event weighs, such as buy=10; once for each. 0 leaves its rows "
            "out, below 0 is a dislike, '*=0' is all others. Ranking models take weights as confidences, "
            "implicit-als dislikes as zeros.",
        ),
    ] = None
    weight_column: Annotated[
        str | None,
        typer.Option(help="In place of --event: name (or position) of a column of such weights."),
    ] = None
    layout: Annotated[
        str,
        typer.Option(
            help="rows, wide (one column per item), lists (without ratings, a user and its items per line), "
            "or auto."
        ),
    ] = "auto"
    query: Annotated[
        str | None, typer.Option(help="SQL that gives user, item and, if any, rating or count, and time.")
    ] = None
    store: str | None = None
    duplicates: options.Duplicates = None
    encoding: options.Encoding = "utf-8"
    quote: options.Quote = "auto"
    time_format: Annotated[
        str | None,
        typer.Option(help="How times are written, such as '%d/%m/%Y %H:%M' (as Python's strptime)."),
    ] = None
    skip_bad_rows: Annotated[
        Path | None,
        typer.Option(
            help="Leave out rows that cannot be read, and write them with the reason to this CSV file."
        ),
    ] = None
    memory_limit: Annotated[
        str | None,
        typer.Option(
            help="Memory that the command may take in all, such as 8GB: reading spills to disk beyond half "
            "of it, and what would not fit is refused. Default: the free memory."
        ),
    ] = None
    missing: Annotated[
        list[str] | None,
        typer.Option(
            help="A value that marks a missing rating, such as 99: its rows are left out. May be given more "
            "than once; 'none' takes every value for a rating. Else values far from the scale are asked "
            "about."
        ),
    ] = None
    ids: Annotated[
        str | None,
        typer.Option(
            help="Ids that differ by this only are one: strip (blanks around), nfc (Unicode), or both."
        ),
    ] = None

    def of_test(self) -> Self:
        """The same for a second file: the rows it leaves out go to a file of their own."""
        path = self.skip_bad_rows
        second = path and path.with_name(f"{path.stem}-test{path.suffix}")
        return replace(self, query=None, store=None, skip_bad_rows=second, memory_limit=None)

    def read(self, source: str, has_ratings: bool | None = None) -> Any:
        """The table of a file or of a database query.

        `has_ratings` says what it must have; None reads ratings where there are some.
        """
        from bilinear.data.reading.readers import read_any

        return self._read(source, has_ratings, read_any)

    def pack(self, source: str, out: Path) -> Any:
        """The same, packed into a folder."""
        from bilinear.data.reading.packing import pack

        return self._read(source, None, partial(pack, out=out))

    def _read(self, source: str, has_ratings: bool | None, read: Callable[..., Any]) -> Any:
        from bilinear.memory import limit_process

        if self.memory_limit is not None:
            limit_process(self.memory_limit)
        if self.rating is not None and self.count:
            raise ParameterValueError("--rating and --count: a table has ratings or counts, name one of them")
        how: dict[str, Any] = vars(self) | {"has_ratings": has_ratings, "missing": self.missing or None}
        for name in ("query", "store", "memory_limit"):
            del how[name]
        how["events"], how["weight"] = _events(self.weight), how.pop("weight_column")
        if source.startswith(("http://", "https://")):
            raise ParameterValueError(
                f"{source}: files are read from disk; fetch it first, then give its name"
            )
        if "://" in source:
            if self.query is None:
                raise ParameterValueError(
                    f"{source} is a database: say what to read, such as "
                    "--query 'SELECT user_id, item_id, rating FROM ratings'"
                )
            del how["encoding"]  # of files
            table = read(self.query, connection=source, **how)
        elif self.query is not None:
            raise ParameterValueError(f"--query reads from a database, but {source} is a file")
        else:
            table = read(source, **how)
        if self.skip_bad_rows is not None:
            n_rows = table.n_rows_read + table.n_rows_skipped
            print_note(
                f"{table.source}: {table.n_rows_skipped:,} of {n_rows:,} rows could not be read and were "
                f"left out; {self.skip_bad_rows} has them with the reasons"
            )
        return table


def _events(given: Sequence[str] | None) -> dict[str, float] | None:
    """Weights by value from `--weight VALUE=NUMBER`, or None without any."""
    found = {}
    for text in given or ():
        value, _, number = text.rpartition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = float("nan")
        if not value or value in found or weight != weight:
            raise ParameterValueError(
                f"--weight {text}: write VALUE=NUMBER, once for each value, such as buy=10"
            )
        found[value] = weight
    return found or None


def tell_table(table: Any) -> None:
    """Prints a line about the table, and further lines about decisions made in reading it."""
    print_note(repr(table) + (f"; {table.n_duplicates:,} repeated rows merged" if table.n_duplicates else ""))
    for line in table.notes.lines():
        print_note(f"  {line}")
