"""Lists streamed to a Parquet, CSV or TSV file, or a folder of Parquet files, a part at a time."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bilinear.data.reading.database import default_limit, disk_errors, stoppable
from bilinear.data.vocabulary import Id, Vocabulary
from bilinear.engines.engine import Engine, chosen_engine
from bilinear.errors import ParameterValueError
from bilinear.files import atomic_write, new_folder
from bilinear.persistence.models import contents
from bilinear.persistence.strict_json import plain_json
from bilinear.recommend.block_rankers import Lists, Model, Rows
from bilinear.recommend.everyone import Wanted, WantedOfItems, WantedOfUsers, list_maker
from bilinear.tabular import Shown
from bilinear.version import __version__

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

_PARQUET = "FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false"
_TEXT = {".csv": ",", ".tsv": "\t"}
_MARK = "bilinear_lists"


@dataclass(frozen=True)
class Written(Shown):
    """Contents of the written file.

    Attributes:
        n_lists, n_places: lists and rows.
        n_short: lists with fewer places than asked for, because no
            more items were left.
        n_empty: those among them without any.
        n_kept: files of the folder that an earlier run had written.
    """

    path: Path
    n_lists: int
    n_places: int
    n_short: int
    n_empty: int
    n_kept: int = 0

    def __str__(self) -> str:
        kept = f"; {self.n_kept:,} files were there from an earlier run" if self.n_kept else ""
        short = f"; {self.n_short:,} lists are short ({self.n_empty:,} empty)" if self.n_short else ""
        return f"{self.n_places:,} places in {self.n_lists:,} lists written to {self.path}{kept}{short}"


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
    engine: Engine | None = None,
    parts: bool = False,
) -> Written:
    """`recommend_everyone` into a file: user, rank, item, score, prediction, known_user, title.

    One row a place, in the order of the users, then by rank from 1. Models without a rating scale
    have no column `prediction`, models without titles no `title`; `known_user` is false where the user
    had no training ratings. A file named .csv or .tsv is text, any other is Parquet. The file appears
    whole or not at all; memory stays bounded however many users there are.

    With `parts` the lists become a folder of Parquet files, for Spark, DuckDB and others that read folders,
    each with the users after those of the file before. The folder appears whole; a run that was cut off
    leaves a hidden one, and the next run with the same model and arguments keeps the files in it that are
    whole. The files do not depend on the engine.

    Args:
        engine: what works on the lists, such as `Ray()`; None is this process. It needs no storage in common.
        parts: `path` becomes a folder; its name must be free.
    Raises:
        ParameterValueError: no such folder, the name is taken, or another process writes it.

    Examples:
        >>> from pathlib import Path
        >>> from bilinear import Interactions, Popularity, write_everyone
        >>> users, items = "ann ann bob bob cat".split(), "tea jam tea salt tea".split()
        >>> model = Popularity().fit(Interactions.from_columns(users, items))
        >>> written = write_everyone(model, "lists.csv", n=1)
        >>> Path("lists.csv").read_text().splitlines()[:2]
        ['user,rank,item,score,known_user', 'ann,1,salt,1.0,true']
    """
    wanted = WantedOfUsers.of(model, n, users, exclude_seen, candidates, block_size)
    return _written(Path(path), n, wanted, chosen_engine(engine, n_threads), parts)


def write_similar(
    model: Model,
    path: str | Path,
    n: int = 10,
    *,
    items: Iterable[Id] | None = None,
    candidates: Iterable[Id] | None = None,
    n_threads: int | None = None,
    block_size: int | None = None,
    engine: Engine | None = None,
    parts: bool = False,
) -> Written:
    """`similar_everyone` into a file: item, rank, similar_item, score, title; see `write_everyone`.

    Examples:
        >>> from bilinear import EASE, synthetic_catalogue, write_similar
        >>> model = EASE(l2=20.0).fit(synthetic_catalogue(1000, 40, 60, rng=0).interactions)
        >>> written = write_similar(model, "similar.parquet", n=5)
        >>> written.n_lists, written.n_places
        (60, 300)
    """
    wanted = WantedOfItems.of(model, n, items, candidates, block_size)
    return _written(Path(path), n, wanted, chosen_engine(engine, n_threads), parts)


class _Part(NamedTuple):
    """A Parquet file of the lists of a shard, and what `Written` counts."""

    content: bytes
    counts: tuple[int, int, int, int]


def _part_maker(wanted: tuple[Wanted, int], n_threads: int) -> Callable[[tuple[Rows, str]], _Part]:
    """Makes the Parquet file of a shard; for `Engine.map`."""
    make, columns = list_maker(wanted[0], n_threads), _columns_of(wanted[0])

    def part(shard: tuple[Rows, str]) -> _Part:
        import duckdb

        rows, digest = shard
        lists = make(rows)
        lengths = lists.counts
        n_short, n_empty = (int(np.count_nonzero(lengths < least)) for least in (wanted[1], 1))
        counts = len(lists), int(lengths.sum()), n_short, n_empty
        settings = {"threads": n_threads} | default_limit()
        with (
            tempfile.TemporaryDirectory(prefix="bilinear-") as folder,
            disk_errors(Path(folder)),
            duckdb.connect(config=settings) as connection,
            stoppable(connection),
        ):
            file = Path(folder, "part.parquet")
            mark = json.dumps([digest, *counts])
            _copy(connection, columns(lists), f"{_PARQUET}, KV_METADATA {{{_MARK}: '{mark}'}}", file)
            return _Part(file.read_bytes(), counts)

    return part


def _columns_of(wanted: Wanted) -> Callable[[Lists], dict[str, tuple[NDArray[Any], str]]]:
    """Makes the columns of the file from lists: values, and the type of ids and texts, else ""."""
    model = wanted.model
    subjects = model.item_vocabulary_ if isinstance(wanted, WantedOfItems) else model.user_vocabulary_
    items = model.item_vocabulary_
    item_ids = items.decode(np.arange(len(items)))
    titles, link = _titles(model, item_ids), getattr(model, "link_", None)

    def columns(lists: Lists) -> dict[str, tuple[NDArray[Any], str]]:
        rows, rank, found, scores = _places(lists)
        mine = np.repeat(subjects.decode(lists.subjects), lists.counts), _kind(subjects)
        others = item_ids[found], _kind(items)
        title = {} if titles is None else {"title": (titles[found], "VARCHAR")}
        if isinstance(wanted, WantedOfItems):
            return {"item": mine, "rank": (rank, ""), "similar_item": others, "score": (scores, "")} | title
        table = {"user": mine, "rank": (rank, ""), "item": others, "score": (scores, "")}
        if link is not None:
            table["prediction"] = link.prediction(scores), ""
        return table | {"known_user": (model.seen_.counts[rows] > 0, "")} | title

    return columns


def _written(path: Path, n: int, wanted: Wanted, engine: Engine, parts: bool) -> Written:
    if parts:
        if path.suffix.lower() in (".csv", ".tsv"):
            raise ParameterValueError(
                f"{path}: parts=True writes a folder of Parquet files; name it without {path.suffix}"
            )
        with new_folder(path, "writing", keep=True) as folder:
            counts, n_kept = _write_parts(folder, n, wanted, engine, _digest(wanted, n))
    else:
        if path.is_dir() or not path.resolve().parent.is_dir():
            raise ParameterValueError(
                f"{path} is a folder" if path.is_dir() else f"{path}: no folder {path.resolve().parent}"
            )
        with (
            atomic_write(path) as file,
            tempfile.TemporaryDirectory(dir=path.resolve().parent, prefix=".bilinear-") as beside,
        ):
            counts, n_kept = _write_parts(Path(beside), n, wanted, engine)
            _join(Path(beside), path, file.name)
    n_lists, n_places, n_short, n_empty = counts.tolist()
    return Written(path, n_lists, n_places, n_short, n_empty, n_kept)


def _write_parts(
    folder: Path, n: int, wanted: Wanted, engine: Engine, digest: str = ""
) -> tuple[NDArray[np.int64], int]:
    """Writes the files that are missing, each whole; returns the counts of all, and how many were there."""
    shards = list(wanted.shards()) or [wanted.rows]
    files = {folder / f"part-{number:05}.parquet": rows for number, rows in enumerate(shards)}
    kept = {file: counts for file in files if (counts := _counts_of(file, digest)) is not None}
    for left in folder.iterdir():
        if left not in kept:
            left.unlink()
    missing = [file for file in files if file not in kept]
    made = engine.map(_part_maker, (wanted, n), ((files[file], digest) for file in missing))
    totals = np.array([*kept.values()], np.int64).reshape(-1, 4).sum(axis=0)
    for file, part in zip(missing, made, strict=True):
        with atomic_write(file) as whole:
            whole.write(part.content)
        totals += part.counts
    return totals, len(kept)


def _counts_of(file: Path, digest: str) -> tuple[int, ...] | None:
    """What a file of an earlier run of the same work counts; None where it is another's, or damaged."""
    import duckdb

    if not (digest and file.exists()):
        return None
    try:
        found = duckdb.execute("SELECT key, value FROM parquet_kv_metadata(?)", [str(file)]).fetchall()
        mark = json.loads({bytes(key).decode(): value for key, value in found}.get(_MARK, b"[null]"))
        if mark[0] != digest:
            return None
        columns = duckdb.execute(
            "SELECT * FROM read_parquet(?)", [str(file)]
        ).fetchnumpy()  # checks all pages
    except (duckdb.Error, ValueError):
        return None
    return tuple(mark[1:]) if len(columns["rank"]) == mark[2] else None


def _digest(wanted: Wanted, n: int) -> str:
    """Of the model, the arguments and the version: lists of equal digests are equal."""
    manifest, tensors, _ = contents(wanted.model)
    arguments = {f".{name}": value for name, value in vars(wanted).items() if isinstance(value, np.ndarray)}
    arrays = tensors | arguments | {".supported": wanted.model.supported()}
    plain = [__version__, type(wanted).__name__, n, getattr(wanted, "exclude_seen", None)]
    digest = hashlib.sha256(json.dumps([plain, plain_json(manifest, "manifest")], sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def _join(folder: Path, path: Path, to: str) -> None:
    """One file of all parts, in their order."""
    import duckdb

    separator = _TEXT.get(path.suffix.lower())
    form = (
        _PARQUET if separator is None else f"FORMAT csv, HEADER, DELIMITER '{separator}', USE_TMP_FILE false"
    )
    with (
        disk_errors(path),
        duckdb.connect(config={"temp_directory": str(folder)} | default_limit()) as connection,
        stoppable(connection),
    ):
        # Reading many files keeps their order; a single part is read and written once more, quickly.
        names = [str(file) for file in sorted(folder.glob("part-*.parquet"))]
        connection.execute(f"COPY (SELECT * FROM read_parquet(?)) TO ? ({form})", [names, to])


def _copy(connection: Connection, table: dict[str, tuple[NDArray[Any], str]], form: str, to: Path) -> None:
    connection.register("part", {name: values for name, (values, _) in table.items()})
    # Without rows there is nothing to tell the type of an id from.
    picked = ", ".join(
        f"CAST({name} AS {kind}) AS {name}" if kind else name for name, (_, kind) in table.items()
    )
    connection.execute(f"COPY (SELECT {picked} FROM part) TO ? ({form})", [str(to)])


def _places(
    lists: Lists,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[Any]]:
    """Columns of the places that there are: subject row, rank, item row, score."""
    here = np.arange(lists.items.shape[1]) < lists.counts[:, None]
    place = np.broadcast_to(np.arange(1, lists.items.shape[1] + 1, dtype=np.int32), here.shape)
    return np.repeat(lists.subjects, lists.counts), place[here], lists.items[here], lists.scores[here]


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
