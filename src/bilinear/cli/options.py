"""Options that several commands share, each spelled once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from bilinear.errors import FileFormatError, ParameterValueError

Model = Annotated[Path, typer.Argument(help="A model folder made by `bilinear train`.")]
Ratings = Annotated[
    str,
    typer.Argument(
        help="Ratings, or clicks without any: CSV, TSV, .dat, u.data, Parquet or JSON lines, a user with its "
        "items per line; also .gz or .zst. Or a database as sqlite:///FILE or postgresql://..., with --query."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")]
Seed = Annotated[int, typer.Option(help="The same seed and file give the same result.", min=0)]
N = Annotated[int, typer.Option("--n", "-n", help="Length of a list.", min=1)]
User = Annotated[str | None, typer.Option("--user", help="Name (or position from 1) of the user column.")]
Item = Annotated[str | None, typer.Option("--item", help="Name (or position from 1) of the item column.")]
Rating = Annotated[str | None, typer.Option("--rating", help="Name (or position) of the rating column.")]
Time = Annotated[
    str | None, typer.Option("--time", help="Name (or position) of the time column; '' for none.")
]
Count = Annotated[
    str | None,
    typer.Option("--count", help="Without ratings: name (or position) of a column of counts; '' for none."),
]
Task = Annotated[
    str | None,
    typer.Option(
        help="ratings (predict them) or ranking (what next); else what the table or the model is of."
    ),
]
Threshold = Annotated[
    float | None, typer.Option(help="Ranking: learn from ratings (or counts) of at least this.")
]
Confidence = Annotated[
    str | None,
    typer.Option(help="Ranking: how much an interaction weighs: equal, ratings (or counts), or log."),
]
RelevantFrom = Annotated[
    float | None,
    typer.Option(help="Ranking: least rating of a test item that is a hit; else the threshold, or all are."),
]
Cutoffs = Annotated[
    str | None, typer.Option(help="Ranking: lengths of lists, with commas between; else 5,10,20,50.")
]
Threads = Annotated[
    int | None, typer.Option(help="Cores to use, else all; the result does not depend on it.", min=1)
]
Layout = Annotated[
    str, typer.Option(help="Without ratings: rows, lists (a user and its items per line), or auto.")
]
Encoding = Annotated[str, typer.Option(help="Of text files; latin-1 is the usual other one.")]
Duplicates = Annotated[
    str | None,
    typer.Option(
        help="A user and an item come twice: last (by time), mean, error; without ratings also sum. "
        "Else last of ratings, and the sum of clicks."
    ),
]
MemoryLimit = Annotated[
    str | None,
    typer.Option(
        help="What reading may use before it spills to disk, such as 2GB; else half of what is free."
    ),
]
Query = Annotated[
    str | None, typer.Option(help="SQL that gives user, item and, if any, rating or count, and time.")
]
Candidates = Annotated[
    str | None, typer.Option(help="Only these items: ids with commas between, or @FILE with one a line.")
]


_READING = ("user", "item", "rating", "time", "count", "layout", "duplicates", "encoding", "memory_limit")


def reading(given: Mapping[str, Any]) -> dict[str, Any]:
    """What of a command's arguments (its `locals()`) says how to read a table; --query is apart."""
    return {name: given[name] for name in _READING if name in given}


def read_table(
    source: str,
    *,
    user: str | None = None,
    item: str | None = None,
    rating: str | None = None,
    time: str | None = None,
    count: str | None = None,
    layout: Any = "auto",
    duplicates: Any = None,
    encoding: str = "utf-8",
    memory_limit: str | None = None,
    query: str | None = None,
    has_ratings: bool | None = None,
) -> Any:
    """The table of a file or of a database query, as the options describe it.

    `has_ratings` says what it must have; None reads ratings where there are some.
    """
    from bilinear.data.readers import read_any

    if rating is not None and count:
        raise ParameterValueError("--rating and --count: a table has ratings or counts, name one of them")
    columns: dict[str, Any] = {"user": user, "item": item, "rating": rating, "time": time, "count": count}
    columns |= {"duplicates": duplicates, "layout": layout, "has_ratings": has_ratings}
    if source.startswith(("http://", "https://")):
        raise ParameterValueError(f"{source}: files are read from disk; fetch it first, then give its name")
    if "://" in source:
        if query is None:
            raise ParameterValueError(
                f"{source} is a database: say what to read, such as "
                "--query 'SELECT user_id, item_id, rating FROM ratings'"
            )
        return read_any(query, connection=source, **columns)
    if query is not None:
        raise ParameterValueError(f"--query reads from a database, but {source} is a file")
    return read_any(source, encoding=encoding, memory_limit=memory_limit, **columns)


def task_of(given: str | None) -> str | None:
    """The task as it was given, or ParameterValueError."""
    if given not in (None, "ratings", "ranking"):
        raise ParameterValueError(f"--task {given}: choose ratings or ranking")
    return given


def ranking_protocol(
    cutoffs: str | None,
    relevant_from: float | None,
    seed: int,
    negatives: int | None = None,
    include_seen: bool = False,
) -> Any:
    """The ranking protocol that the options describe."""
    from bilinear.evaluation.ranking import RankingProtocol

    try:
        lengths = tuple(int(part) for part in (cutoffs or "5,10,20,50").split(","))
    except ValueError:
        raise ParameterValueError(f"--cutoffs {cutoffs}: whole numbers, such as 5,10,20") from None
    return RankingProtocol(lengths, relevant_from, not include_seen, negatives, seed)


def id_list(given: str | None) -> list[str] | None:
    """Ids from `a,b,c` or from the lines of `@FILE`."""
    if given is None:
        return None
    if given.startswith("@"):
        try:
            lines = Path(given[1:]).read_text("utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise FileFormatError(
                f"{given[1:]}: byte {error.object[error.start]:#04x} is not valid UTF-8; a list of ids is a "
                "text file with one id a line"
            ) from None
        return [line for line in lines if line]
    return [part for part in given.split(",") if part]
