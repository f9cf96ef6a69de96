"""Lists streamed to a Parquet, CSV or TSV file, a part at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bilinear.data.reading.database import default_limit, disk_errors, stoppable
from bilinear.data.vocabulary import Id, Vocabulary
from bilinear.errors import ParameterValueError
from bilinear.files import atomic_write
from bilinear.recommend.block_rankers import Lists, Model
from bilinear.recommend.everyone import lists_of_items, lists_of_users
from bilinear.tabular import Shown

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

_PLACES_A_PART = 1 << 21
_PARQUET = "(FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)"
_TEXT = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True)
class Written(Shown):
    """Contents of the written file.

    Attributes:
        n_lists, n_places: lists and rows.
        n_short: lists with fewer places than asked for, because no
            more items were left.
        n_empty: those among them without any.
    """

    path: Path
    n_lists: int
    n_places: int
    n_short: int
    n_empty: int

    def __str__(self) -> str:
        short = f"; {self.n_short:,} lists are short ({self.n_empty:,} empty)" if self.n_short else ""
        return f"{self.n_places:,} places in {self.n_lists:,} lists written to {self.path}{short}"


def write_everyone(
    model: Model,
    path: str | Path,
    n: int = 10,
    *,
    users: Iterable[Id] | None = None,
    exclude_seen: bool = True,
    candidates: Iterable[Id] | None = None,
    n_threads: int | None = None,
    block_size: int | None = None,
) -> Written:
    """`recommend_everyone` into a file: user, rank, item, score, prediction, known_user, title.

    One row a place, in the order of the users, then by rank from 1. Models without a rating scale
    have no column `prediction`, models without titles no `title`; `known_user` is false where the user
    had no training ratings. A file named .csv or .tsv is text, any other is Parquet. The file appears
    whole or not at all; memory stays bounded however many users there are.

    Examples:
        >>> from pathlib import Path
        >>> from bilinear import Interactions, Popularity, write_everyone
        >>> users, items = "ann ann bob bob cat".split(), "tea jam tea salt tea".split()
        >>> model = Popularity().fit(Interactions.from_columns(users, items))
        >>> written = write_everyone(model, "lists.csv", n=1)
        >>> Path("lists.csv").read_text().splitlines()[:2]
        ['user,rank,item,score,known_user', 'ann,1,salt,1.0,true']
    """
    blocks = lists_of_users(
        model,
        n,
        users=users,
        exclude_seen=exclude_seen,
        candidates=candidates,
        n_threads=n_threads,
        block_size=block_size,
    )
    link = getattr(model, "link_", None)
    item_ids, known = _all_ids(model.item_vocabulary_), model.seen_.counts > 0
    titles = _titles(model, item_ids)

    def columns(lists: Lists) -> dict[str, NDArray[Any]]:
        users, rank, items, scores = _places(lists)
        table = {
            "user": _repeated_ids(model.user_vocabulary_, lists),
            "rank": rank,
            "item": item_ids[items],
            "score": scores,
        }
        if link is not None:
            table["prediction"] = link.prediction(scores)
        table["known_user"] = known[users]
        return table if titles is None else table | {"title": titles[items]}

    kinds = {"user": _kind(model.user_vocabulary_), "item": _kind(model.item_vocabulary_)}
    kinds |= {} if titles is None else {"title": "VARCHAR"}
    return _written(Path(path), n, blocks, columns, kinds)


def write_similar(
    model: Model,
    path: str | Path,
    n: int = 10,
    *,
    items: Iterable[Id] | None = None,
    candidates: Iterable[Id] | None = None,
    n_threads: int | None = None,
    block_size: int | None = None,
) -> Written:
    """`similar_everyone` into a file: item, rank, similar_item, score, title; see `write_everyone`.

    Examples:
        >>> from bilinear import EASE, synthetic_catalogue, write_similar
        >>> model = EASE(l2=20.0).fit(synthetic_catalogue(1000, 40, 60, rng=0).interactions)
        >>> written = write_similar(model, "similar.parquet", n=5)
        >>> written.n_lists, written.n_places
        (60, 300)
    """
    blocks = lists_of_items(
        model, n, items=items, candidates=candidates, n_threads=n_threads, block_size=block_size
    )
    item_ids, kind = _all_ids(model.item_vocabulary_), _kind(model.item_vocabulary_)
    titles = _titles(model, item_ids)

    def columns(lists: Lists) -> dict[str, NDArray[Any]]:
        _, rank, items, scores = _places(lists)
        mine = _repeated_ids(model.item_vocabulary_, lists)
        table = {"item": mine, "rank": rank, "similar_item": item_ids[items], "score": scores}
        return table if titles is None else table | {"title": titles[items]}

    kinds = {"item": kind, "similar_item": kind} | ({} if titles is None else {"title": "VARCHAR"})
    return _written(Path(path), n, blocks, columns, kinds)


def _written(path: Path, n: int, blocks: Iterator[Lists], columns: Any, kinds: dict[str, str]) -> Written:
    import duckdb

    if path.is_dir() or not path.resolve().parent.is_dir():
        raise ParameterValueError(
            f"{path} is a folder" if path.is_dir() else f"{path}: no folder {path.resolve().parent}"
        )
    counts: list[NDArray[np.int64]] = []
    with (
        atomic_write(path) as file,
        disk_errors(path),
        tempfile.TemporaryDirectory(dir=path.resolve().parent, prefix=".bilinear-") as folder,
        duckdb.connect(config={"temp_directory": folder} | default_limit()) as connection,
        stoppable(connection),
    ):
        parts: list[str] = []
        for lists in _gathered(blocks):
            counts.append(lists.counts)
            parts.append(str(Path(folder, f"{len(parts):06}.parquet")))
            _copy(connection, columns(lists), kinds, parts[-1])
        # Reading many files keeps their order; a single part is read and written once more, quickly.
        separator = _TEXT.get(path.suffix.lower())
        form = (
            _PARQUET
            if separator is None
            else f"(FORMAT csv, HEADER, DELIMITER '{separator}', USE_TMP_FILE false)"
        )
        connection.execute(f"COPY (SELECT * FROM read_parquet(?)) TO ? {form}", [parts, file.name])
    lengths = np.concatenate(counts)
    return Written(
        path, len(lengths), int(lengths.sum()), int((lengths < n).sum()), int((lengths == 0).sum())
    )


def _gathered(blocks: Iterator[Lists]) -> Iterator[Lists]:
    """Blocks put together into parts of some two million places; one empty part for no lists."""
    waiting: list[Lists] = []
    places, width, n_parts = 0, 1, 0
    for block in blocks:
        waiting.append(block)
        width = block.items.shape[1]
        places += block.items.size
        if places >= _PLACES_A_PART:
            yield Lists.joined(waiting, width)
            waiting, places, n_parts = [], 0, n_parts + 1
    if waiting or not n_parts:
        yield Lists.joined(waiting, width)


def _copy(connection: Connection, table: dict[str, NDArray[Any]], kinds: dict[str, str], to: str) -> None:
    connection.register("part", table)
    # Without rows there is nothing to tell the type of an id from.
    picked = ", ".join(
        f"CAST({name} AS {kinds[name]}) AS {name}" if name in kinds else name for name in table
    )
    connection.execute(f"COPY (SELECT {picked} FROM part) TO ? {_PARQUET}", [to])
    connection.unregister("part")


def _places(
    lists: Lists,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[Any]]:
    """Columns of the places that there are: subject row, rank, item row, score."""
    here = np.arange(lists.items.shape[1]) < lists.counts[:, None]
    place = np.broadcast_to(np.arange(1, lists.items.shape[1] + 1, dtype=np.int32), here.shape)
    return np.repeat(lists.subjects, lists.counts), place[here], lists.items[here], lists.scores[here]


def _repeated_ids(vocabulary: Vocabulary, lists: Lists) -> NDArray[Any]:
    return np.repeat(vocabulary.decode(lists.subjects), lists.counts)


def _all_ids(vocabulary: Vocabulary) -> NDArray[Any]:
    return vocabulary.decode(np.arange(len(vocabulary)))


def _titles(model: Model, item_ids: NDArray[Any]) -> NDArray[Any] | None:
    """The title of each item, its id where it has none; None for a model without titles."""
    texts = getattr(model, "item_texts_", {}).get("title")
    if texts is None:
        return None
    titles = np.empty(len(item_ids), object)
    for row, id_ in enumerate(item_ids.tolist()):
        titles[row] = texts[row] or str(id_)
    return titles


def _kind(vocabulary: Vocabulary) -> str:
    return "BIGINT" if vocabulary.kind == "integer" else "VARCHAR"
