"""Options that several commands share."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated, Any

import typer

from bilinear import compiling
from bilinear.cli.output import print_note
from bilinear.errors import DataError, FileFormatError, ParameterValueError, UnknownIdError

Model = Annotated[Path, typer.Argument(help="A model folder made by `bilinear train`.")]
Ratings = Annotated[
    str,
    typer.Argument(
        help="Ratings, or clicks without any: CSV, TSV, .dat, u.data, Parquet or JSON lines, a user with its "
        "items per line; also .gz, .zst, .bz2, .xz, .zip. Or a database as sqlite:///FILE or "
        "postgresql://..., with --query."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def _hush(quiet: bool) -> bool:
    if quiet:
        compiling.announce = None
    return quiet


Quiet = Annotated[bool, typer.Option("--quiet", "-q", callback=_hush, help="No progress on standard error.")]
Seed = Annotated[int, typer.Option(help="The same seed and file give the same result.", min=0)]
N = Annotated[int, typer.Option("--n", "-n", help="Length of a list.", min=1)]
User = Annotated[str | None, typer.Option("--user", help="Name (or position from 1) of the user column.")]
Item = Annotated[str | None, typer.Option("--item", help="Name (or position from 1) of the item column.")]
Rating = Annotated[str | None, typer.Option("--rating", help="Name (or position) of the rating column.")]
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
EngineName = Annotated[
    str | None,
    typer.Option(
        "--engine",
        help="What works on it: local (this process, the default) or ray (the cluster of RAY_ADDRESS, else a "
        "local one). With ray, --threads are the cores of a task, else 1. The result does not depend on it.",
    ),
]
Encoding = Annotated[str, typer.Option(help="Of text files; latin-1 is the usual other one.")]
Duplicates = Annotated[
    str | None,
    typer.Option(
        help="A user and an item come twice: last (by time), mean, error; without ratings also sum. "
        "Else last of ratings, and the sum of clicks."
    ),
]
Quote = Annotated[
    str,
    typer.Option(
        help="The character around fields of text files; none where a quotation mark is just a character; "
        "auto decides on the whole file."
    ),
]
ItemsFile = Annotated[
    Path | None,
    typer.Option("--items", help="A file with an id, a title and other columns for each item."),
]
UsersFile = Annotated[
    Path | None, typer.Option("--users", help="A file with an id and other columns for each user.")
]
UsersQuote = Annotated[str, typer.Option(help="As --quote, of the users file.")]
UsersId = Annotated[
    str | None,
    typer.Option(
        help="Name (or position from 1) of the id column of --users; else that with most known ids."
    ),
]
ItemFeatures = Annotated[
    str | None,
    typer.Option(
        help="Columns of --items to know new items by, such as genres,year; with the kind behind a colon "
        "where it should not be inferred: title:words, studio:categories (also number, dates, vector)."
    ),
]
UserFeatures = Annotated[
    str | None, typer.Option(help="Columns of --users to know new users by, as --item-features.")
]
NewItems = Annotated[
    str,
    typer.Option(help="Items without training ratings: mixed with the others, only (these alone), or none."),
]
ItemsQuote = Annotated[str, typer.Option(help="As --quote, of the items file.")]
ItemsId = Annotated[
    str | None,
    typer.Option(
        help="Name (or position from 1) of the id column of --items; else that with most rated ids."
    ),
]
ItemsTitle = Annotated[
    str | None, typer.Option(help="Name (or position from 1) of the title column of --items.")
]
Candidates = Annotated[
    str | None,
    typer.Option(
        help="Only these items: ids with commas between (in quotes, as in CSV, if an id has one), or @FILE "
        "with one a line."
    ),
]


def engine_of(name: str | None, threads: int | None) -> Any:
    """The engine of --engine and --threads.

    Raises:
        ParameterValueError: No engine has the name.
    """
    from bilinear.engines.engine import ENGINES

    make: Any = ENGINES.get(name or "local")
    return make(n_threads=threads)


def read_side(
    side: str,
    path: Path | None,
    vocabulary: Any,
    id_: str | None = None,
    title: str | None = None,
    quote: str = "auto",
) -> Any:
    """The table of --items or --users, or None without a path; prints what was decided in reading.

    Args:
        vocabulary: The ids in the ratings, or None where the table is of new ones.
    Raises:
        ParameterValueError: The table has none of these ids.
    """
    from bilinear.data.reading.item_tables import read_items, read_users

    if path is None:
        return None
    table: Any = (
        read_items(path, item=id_, title=title, match=vocabulary, quote=quote)
        if side == "items"
        else read_users(path, user=id_, match=vocabulary, quote=quote)
    )
    rated = "rated items" if side == "items" else "users with ratings"
    missing = 0 if vocabulary is None else sum(one not in table for one in vocabulary)
    columns = ", ".join(map(repr, table.columns))
    if missing and missing == len(vocabulary):
        raise ParameterValueError(
            f"{path} has none of the {rated.replace(' with ratings', '')}' ids; its ids are such as "
            f"{table.vocabulary[0]!r}, those of the {rated} such as {vocabulary[0]!r}. Of its columns "
            f"{columns} name that of the ids: --{side}-id NAME"
        )
    if table.remark:
        print_note(table.remark)
    if side == "items" and table.title_column is None and title != "":
        print_note(f"{path.name}: no title column among {columns}; name it with --items-title NAME")
    if missing:
        shown = "; they are shown by their ids" if side == "items" else ""
        print_note(f"{path.name} lacks {missing:,} of {len(vocabulary):,} {rated}{shown}")
    return table


def with_new(model: Any, new_items: Path | None, new_users: Path | None) -> Any:
    """The model, or one that knows the items and users of these files as well, by their features."""
    for side, path in (("items", new_items), ("users", new_users)):
        if path is None:
            continue
        if not hasattr(model, f"new_{side}"):
            raise ParameterValueError(
                f"--new-{side}: a {type(model).__name__} takes no features; train one that does, such as "
                f"--model mf or --model implicit-als, with --{side[:-1]}-features"
            )
        model = getattr(model, f"new_{side}")(read_side(side, path, None, quote="auto"))
    return model


def features(text: str) -> tuple[Any, ...]:
    """Features from `genres,year,title:words`.

    Raises:
        ParameterValueError: A kind behind a colon is none.
    """
    from bilinear.data.features.inference import feature_list, parsed_feature

    return feature_list([parsed_feature(part) for part in next(csv.reader([text])) if part.strip()])


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


def id_list(
    given: str | None, known: Any, what: str = "item", may_be_unknown: bool = False
) -> list[str] | None:
    """Ids from `a,b,c`, an id with a comma in quotes as in CSV, or from the lines of `@FILE`.

    Args:
        known: the vocabulary they are for.
        may_be_unknown: the caller has an answer for other ids.
    Raises:
        UnknownIdError: one of several is not known; with the ways to write an id with a comma.
    """
    if given is None:
        return None
    if given.startswith("@"):
        return _lines(given)
    if "," not in given and not given.startswith('"'):
        return [given] if given else []
    try:
        parts = [part for part in next(csv.reader([given], strict=True)) if part]
    except csv.Error as error:
        raise ParameterValueError(f"{given!r} is not a list of ids ({error}); {_QUOTED}") from None
    unknown = [part for part in parts if part not in known]
    if unknown and given in known:
        return [given]
    if unknown and not may_be_unknown and len(parts) > 1:
        raise UnknownIdError(f"no such {what}: {unknown[0]!r}, of {given!r} cut at its commas; {_QUOTED}")
    return parts


_QUOTED = (
    "an id with a comma, or one that begins with @ or a quote, goes in quotes as in CSV ('\"a, b\",c'; a "
    "quote inside is doubled), or with one id a line in a file: @FILE"
)


def _lines(given: str) -> list[str]:
    path = Path(given[1:])
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileFormatError(
            f"{path}: byte {error.object[error.start]:#04x} is not valid UTF-8; a list of ids is a "
            "text file with one id a line"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; {_QUOTED}") from None
    return [line for line in text.replace("\r\n", "\n").split("\n") if line]
