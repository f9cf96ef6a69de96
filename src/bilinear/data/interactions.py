"""Interactions of users with items: the immutable table that every model is fitted on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bilinear.data.description import Description, ReadingNotes
from bilinear.data.foreign_arrays import plain_column, plain_matrix
from bilinear.data.matrices import entries_of
from bilinear.data.missing_values import Missing, checked_missing
from bilinear.data.refinement import with_rules, without_missing
from bilinear.data.storage import MEMORY, Storage, parts
from bilinear.data.vocabulary import IdRule, Vocabulary, checked_rules
from bilinear.errors import DuplicatePairError, EmptyDataError, ParameterValueError, RatingValueError
from bilinear.kernels.order import count_keys, counting_order
from bilinear.kernels.views import read_only
from bilinear.memory import require
from bilinear.tabular import Columns

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Duplicates = Literal["error", "last", "mean", "sum"]
"""What to do when a user and an item come together more than once: "last" is by time, then by row; "sum"
adds up counts."""


def stable_order(
    keys: NDArray[np.int32], n_keys: int, before: NDArray[Any] | None = None
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """`counting_order` of all rows, or of those in `before`; row numbers take as little as they can."""
    if before is None:
        before = np.arange(len(keys), dtype=np.int32 if len(keys) < 2**31 else np.int64)
    order, starts = counting_order(read_only(keys), n_keys, before)
    return order, starts


def bytes_of_columns(n_rows: int, with_times: bool) -> int:
    """Of a table of so many rows: users, items, ratings and, if there are any, times."""
    return (20 if with_times else 12) * n_rows


def bytes_to_sort(n_rows: int, with_times: bool, owned: bool) -> int:
    """What making a table of encoded columns takes beside them; fewer where these are freed on the way."""
    order = 4 if n_rows < 2**31 else 8
    columns = bytes_of_columns(1, with_times)
    a_row = max(2 * order, order + columns // 3 + 1) + 2 if owned else columns + order + 2
    return a_row * n_rows


class Grouped(NamedTuple):
    """Ratings grouped by one side, as a CSR or CSC matrix: row r owns the places indptr[r]:indptr[r + 1]."""

    indptr: NDArray[np.int64]
    """(n_rows + 1,)"""
    indices: NDArray[np.int32]
    """(n_ratings,) the row of the other side"""
    ratings: NDArray[np.float32]
    """(n_ratings,)"""

    @property
    def counts(self) -> NDArray[np.int64]:
        """(n_rows,) how many ratings each row has."""
        return np.diff(self.indptr)

    def holds(self, rows: NDArray[np.int32], others: NDArray[np.int32]) -> NDArray[np.bool_]:
        """(n,) whether each pair of rows of either side, -1 for unknown, is in the table.

        Cost:
            see `places`.
        """
        return self.places(rows, others) >= 0

    def places(self, rows: NDArray[np.int32], others: NDArray[np.int32]) -> NDArray[np.int64]:
        """(n,) where in `ratings` each pair of rows of either side, -1 for unknown, is; -1 where it is not.

        Cost:
            a binary search a pair in the row's ratings; memory that of a million pairs.

        Examples:
            >>> import numpy as np
            >>> from bilinear.data.interactions import Grouped
            >>> grouped = Grouped(np.array([0, 2, 3]), np.array([4, 7, 7]), np.array([1, 2, 3]))
            >>> grouped.places(np.array([0, 0, 1, -1]), np.array([7, 5, 7, 7]))
            array([ 1, -1,  2, -1])
        """
        found = np.full(len(rows), -1, np.int64)
        for part in parts(len(rows)):
            known = part.start + np.flatnonzero((rows[part] >= 0) & (others[part] >= 0))
            low, end, sought = self.indptr[rows[known]], self.indptr[rows[known] + 1], others[known]
            high = end
            while (left := low < high).any():
                middle = (low + high) // 2
                before = left & (self.indices[np.where(left, middle, 0)] < sought)
                low, high = np.where(before, middle + 1, low), np.where(left & ~before, middle, high)
            there = low < end
            there[there] = self.indices[low[there]] == sought[there]
            found[known[there]] = low[there]
        return found


def taken_pairs(grouped: Grouped, kept: NDArray[np.bool_]) -> Grouped:
    """A grouped table without the ratings that are not `kept` (n_ratings,).

    Examples:
        >>> import numpy as np
        >>> from bilinear.data.interactions import Grouped, taken_pairs
        >>> rows = Grouped(np.array([0, 2, 3]), np.array([4, 7, 7]), np.array([1, -2, 3]))
        >>> taken_pairs(rows, rows.ratings > 0).indptr
        array([0, 1, 2])
    """
    if kept.all():
        return grouped
    starts = np.concatenate([[0], np.cumsum(kept)])[grouped.indptr]
    return Grouped(starts, grouped.indices[kept], grouped.ratings[kept])


@dataclass(frozen=True, eq=False, repr=False)
class Interactions(Columns):
    """Ratings, or interactions without any, as columns; sorted by user, then item, each pair once.

    Do not construct it directly: `bilinear.read_ratings` and `bilinear.read_interactions` read files
    and frames, `Interactions.from_columns` takes arrays. Parts of a table (`take`, the splits) keep its
    vocabularies, so that rows mean the same thing everywhere.

    Attributes:
        users, items: (n_ratings,) int32, rows into the vocabularies.
        ratings: (n_ratings,) float32, finite; without ratings, how often each pair was there (above zero).
        times: (n_ratings,) float64 seconds, or None.
        user_vocabulary, item_vocabulary: external ids of the rows.
        source: where it was read from, for messages.
        n_rows_read: rows of the source before duplicates were merged.
        n_rows_skipped: rows of the source that could not be read and were left out, as `skip_bad_rows` asks.
        has_ratings: false for clicks, plays and purchases, which say that someone took something up and
            never how it was liked; parts of a table inherit it.
        notes: what was decided in reading, such as which columns were not used.
        weighted: `ratings` are the weights of events, of a pair added up, with their signs: a pair of zero or
            below is a dislike.
        storage: where columns of its parts are made: in memory, or for a packed table (`bilinear.pack`) in
            files beside it.

    Cost:
        12 bytes a rating, 20 with times, of memory or of a packed table's disk; a grouped view adds 8 a
        rating for items, 0 for users.

    Examples:
        >>> from bilinear import Interactions
        >>> ratings = Interactions.from_columns(["ann", "ann", "bob"], ["Alien", "Heat", "Heat"], [5, 3, 4])
        >>> ratings
        Interactions(3 ratings, 3 to 5; 2 users x 2 items, 75.000% filled; no times; arrays)
        >>> ratings.shape, ratings.ratings
        ((2, 2), array([5., 3., 4.], dtype=float32))
        >>> ratings.take(ratings.ratings > 3).n_ratings
        2
        >>> ratings.to_csr().toarray()
        array([[5., 3.],
               [0., 4.]], dtype=float32)
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    ratings: NDArray[np.float32]
    times: NDArray[np.float64] | None
    user_vocabulary: Vocabulary
    item_vocabulary: Vocabulary
    source: str = "arrays"
    n_rows_read: int = 0
    duplicates: Duplicates = field(default="last")
    has_ratings: bool = True
    n_rows_skipped: int = 0
    notes: ReadingNotes = field(default=ReadingNotes())
    weighted: bool = False
    storage: Storage = field(default=MEMORY)

    def __post_init__(self) -> None:
        for column in (self.users, self.items, self.ratings, self.times):
            if column is not None:
                column.setflags(write=False)

    @classmethod
    def from_columns(
        cls,
        users: Iterable[Any],
        items: Iterable[Any],
        ratings: Iterable[float] | None = None,
        times: Iterable[float] | None = None,
        *,
        counts: Iterable[float] | None = None,
        weights: Iterable[float] | None = None,
        duplicates: Duplicates | None = None,
        missing: Missing = None,
        ids: str | Iterable[IdRule] | None = None,
        source: str = "arrays",
    ) -> Interactions:
        """From columns of equal length; ids all integers or all text per column.

        Args:
            ratings: None for interactions without ratings; `counts` then says how often each was, else once.
            weights: in place of both, what each interaction weighs; a pair of zero or below is a dislike, see
                `bilinear.read_interactions`.
            duplicates: None keeps the last rating of a pair, and adds up counts and weights.
            missing, ids: see `bilinear.read_ratings`.
        Raises:
            IdValueError, RatingValueError, DuplicatePairError: with the row, counted from 1.
            ParameterValueError: the columns differ in length, or several of ratings, counts and weights are
                given.

        Examples:
            >>> from bilinear import Interactions
            >>> users, items = ["ann", "bob", "bob"], ["tea", "tea", "tea"]
            >>> Interactions.from_columns(users, items, [5, 2, 4]).ratings
            array([5., 4.], dtype=float32)
            >>> Interactions.from_columns(users, items, [5, 2, 4], duplicates="mean").ratings
            array([5., 3.], dtype=float32)
            >>> plays = Interactions.from_columns(users, items, counts=[1, 3, 2])
            >>> plays.ratings, plays.has_ratings
            (array([1., 5.], dtype=float32), False)
            >>> Interactions.from_columns(users, items, weights=[1, 3, -4]).ratings  # bob dislikes tea
            array([ 1., -1.], dtype=float32)
        """
        if sum(values is not None for values in (ratings, counts, weights)) > 1:
            raise ParameterValueError("give ratings, counts or weights: a table has one of them")
        has_ratings, weighted = ratings is not None, weights is not None
        marks, rules = checked_missing(missing), checked_rules(ids)
        if marks and not has_ratings:
            raise ParameterValueError(f"missing={missing!r} needs ratings, and this table has none")
        user_vocabulary, user_rows = Vocabulary.factorize(users, "user")
        item_vocabulary, item_rows = Vocabulary.factorize(items, "item")
        given = plain_column(ratings if has_ratings else weights if weighted else counts)
        try:
            values = (
                np.ones(len(user_rows))
                if given is None
                else given
                if isinstance(given, np.ndarray) and given.dtype == np.float32
                else np.asarray(given if isinstance(given, np.ndarray) else list(given), np.float64)
            )
        except (TypeError, ValueError) as error:
            what = "ratings" if has_ratings else "weights" if weighted else "counts"
            raise RatingValueError(f"{source}: the {what} are not all numbers ({error})") from None
        clock = None if times is None else np.asarray(times if isinstance(times, np.ndarray) else list(times))
        columns = [user_rows, item_rows, values, clock]
        del user_rows, item_rows, values, clock
        return cls.refined(
            columns,
            user_vocabulary,
            item_vocabulary,
            missing=marks if has_ratings else (),
            rules=rules,
            is_text=False,
            duplicates=duplicates or ("last" if has_ratings else "sum"),
            source=source,
            has_ratings=has_ratings,
            weighted=weighted,
        )

    @classmethod
    def from_matrix(
        cls,
        matrix: Any,
        users: Iterable[Any] | None = None,
        items: Iterable[Any] | None = None,
        *,
        missing: float | Iterable[float] | Literal["ask"] = "ask",
        has_ratings: bool = True,
        duplicates: Duplicates | None = None,
        source: str = "matrix",
    ) -> Interactions:
        """From a matrix of users (rows) by items (columns): SciPy sparse, a NumPy array, or a torch tensor.

        Cells that a sparse matrix does not store, NaN, and cells masked in a masked array are not ratings.
        Users and items without a rating are known all the same.

        Args:
            users, items: ids of the rows and columns, each once; None counts from 0.
            missing: another value that is not a rating, or several: 0, 99, ...; with NaN, zeros
                are ratings. "ask" refuses zeros, which may be meant either way, and values that are
                frequent and apart from the others.
            has_ratings: False where the values say how often, above zero.
            duplicates: of entries that a sparse matrix stores twice, as in `from_columns`.
        Raises:
            ParameterValueError: not a matrix of numbers, or not of as many rows and columns as ids are given.
            RatingValueError: a zero, or a value that cannot be a rating.
            IdValueError: an id is there twice.
        Cost:
            O(entries), for an array O(cells).

        Examples:
            >>> from bilinear import Interactions
            >>> table = Interactions.from_matrix([[5, 0, 3], [0, 4, 0]], ["ann", "bob"], missing=0)
            >>> table.n_ratings, table.shape
            (3, (2, 3))
        """
        found = entries_of(plain_matrix(matrix), users, items, missing, has_ratings, source)
        return cls.from_rows(
            found.users,
            found.items,
            found.values,
            None,
            found.user_vocabulary,
            found.item_vocabulary,
            duplicates=duplicates or ("last" if has_ratings else "sum"),
            source=source,
            has_ratings=has_ratings,
        )

    @classmethod
    def refined(
        cls,
        columns: list[Any],
        user_vocabulary: Vocabulary,
        item_vocabulary: Vocabulary,
        *,
        missing: tuple[float, ...] | None,
        rules: tuple[IdRule, ...],
        is_text: bool,
        duplicates: Duplicates,
        source: str,
        has_ratings: bool,
        weighted: bool = False,
        notes: ReadingNotes | None = None,
    ) -> Interactions:
        """As `from_encoded`, without rows that hold no rating, and with ids made alike by `rules`.

        Args:
            missing, rules: as `checked_missing` and `checked_rules` give them; () for none.
            is_text: ids
                are words of a text file.

        Examples:
            >>> import numpy as np
            >>> from bilinear import Interactions, Vocabulary
            >>> people, films = Vocabulary.from_ids(["ann", "bob"]), Vocabulary.from_ids(["Alien", "Heat"])
            >>> rows, columns = np.array([1, 0], np.int32), np.array([1, 1], np.int32)
            >>> how = dict(rules=(), is_text=True, duplicates="last", source="arrays", has_ratings=True)
            >>> table = [rows, columns, np.array([4.0, 99.0], np.float32), None]
            >>> Interactions.refined(table, people, films, missing=(99.0,), **how).n_ratings
            1
        """
        both, n_left_out, told = without_missing(
            columns,
            (user_vocabulary, item_vocabulary),
            missing,
            source,
            _noun(has_ratings, weighted).replace("count", "value"),
        )
        both, alike = with_rules(columns, both, rules, is_text, source)
        table = cls.from_encoded(
            columns,
            *both,
            duplicates=duplicates,
            source=source,
            has_ratings=has_ratings,
            weighted=weighted,
        )
        notes = notes or ReadingNotes()
        remarks = (*notes.remarks, *told, *alike)
        return replace(table, notes=replace(notes, n_left_out=n_left_out, remarks=remarks))

    @classmethod
    def from_rows(
        cls,
        users: NDArray[np.int32],
        items: NDArray[np.int32],
        ratings: NDArray[Any],
        times: NDArray[Any] | None,
        user_vocabulary: Vocabulary,
        item_vocabulary: Vocabulary,
        *,
        duplicates: Duplicates = "last",
        source: str = "arrays",
        has_ratings: bool = True,
        weighted: bool = False,
    ) -> Interactions:
        """From encoded columns in the order of the source; checks, sorts and merges duplicates.

        Args:
            ratings: without ratings, counts; where `weighted`, weights.
        Cost:
            O(n_ratings + n_users + n_items) time; memory: the table, and 6 bytes a row while it sorts.

        Examples:
            >>> import numpy as np
            >>> from bilinear import Interactions, Vocabulary
            >>> people, films = Vocabulary.from_ids(["ann", "bob"]), Vocabulary.from_ids(["Alien", "Heat"])
            >>> rows, columns = np.array([1, 0], np.int32), np.array([1, 1], np.int32)
            >>> Interactions.from_rows(rows, columns, np.array([4.0, 3.0]), None, people, films).ratings
            array([3., 4.], dtype=float32)
        """
        columns = [users, items, ratings, times]
        return cls.from_encoded(
            columns,
            user_vocabulary,
            item_vocabulary,
            duplicates=duplicates,
            source=source,
            has_ratings=has_ratings,
            owned=False,
            weighted=weighted,
        )

    @classmethod
    def from_encoded(
        cls,
        columns: list[Any],
        user_vocabulary: Vocabulary,
        item_vocabulary: Vocabulary,
        *,
        duplicates: Duplicates,
        source: str,
        has_ratings: bool,
        owned: bool = True,
        weighted: bool = False,
    ) -> Interactions:
        """As `from_rows`, of a list [users, items, ratings, times] that is emptied.

        Columns that nothing else refers to (`owned`) are freed one by one as their sorted copies are made.
        """
        users, items, ratings, times = columns
        columns.clear()
        require(bytes_to_sort(len(ratings), times is not None, owned), f"a table of {len(ratings):,} rows")
        check_duplicates(duplicates, has_ratings)
        noun = _noun(has_ratings, weighted)
        lengths = {len(users), len(items), len(ratings)} | ({len(times)} if times is not None else set())
        if len(lengths) > 1:
            raise ParameterValueError(
                f"{source}: the columns differ in length: {len(users)} users, {len(items)} items, "
                f"{len(ratings)} {noun}s" + (f", {len(times)} times" if times is not None else "")
            )
        for what, rows, known in (
            ("user", users, len(user_vocabulary)),
            ("item", items, len(item_vocabulary)),
        ):
            if len(rows) and not (rows.min() >= 0 and rows.max() < known):
                raise ParameterValueError(
                    f"{source}: {what} rows must lie in 0..{known - 1}, the vocabulary's"
                )
        with np.errstate(over="ignore"):
            values = np.asarray(ratings).astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0])
            raise RatingValueError(
                f"{source}, row {row + 1}: {noun} {ratings[row]} is not a finite number; "
                "correct it or drop the row"
            )
        if not (has_ratings or weighted) and len(values) and not values.min() > 0:
            row = int(np.flatnonzero(~(values > 0))[0])
            raise RatingValueError(
                f"{source}, row {row + 1}: count {ratings[row]} is not above zero; drop the row"
            )
        if times is not None:
            times = np.asarray(times, np.float64)
            if not np.isfinite(times).all():
                row = int(np.flatnonzero(~np.isfinite(times))[0])
                raise RatingValueError(
                    f"{source}, row {row + 1}: time {times[row]} is not a finite number; "
                    "correct it, or read without a time column"
                )
        del ratings
        order, _ = stable_order(items, len(item_vocabulary))
        order, _ = stable_order(users, len(user_vocabulary), order)
        users = users[order]
        items = items[order]
        values = values[order]
        times = None if times is None else times[order]
        repeats = np.flatnonzero((users[1:] == users[:-1]) & (items[1:] == items[:-1])) + 1
        if len(repeats):
            if duplicates == "error":
                first, second = sorted((int(order[repeats[0] - 1]) + 1, int(order[repeats[0]]) + 1))
                raise DuplicatePairError(
                    f"{source}, rows {first} and {second}: user {user_vocabulary[users[repeats[0]]]!r} "
                    f"{'rated' if has_ratings else 'has'} "
                    f"item {item_vocabulary[items[repeats[0]]]!r} twice ({len(repeats):,} such rows in all); "
                    f"keep one, or choose duplicates='last' or '{'mean' if has_ratings else 'sum'}'"
                )
            users, items, values, times = _merge(users, items, values, times, repeats, duplicates)
            if not np.isfinite(values).all():
                raise RatingValueError(f"{source}: the {noun}s of a pair add up to more than float32 holds")
        return cls(
            users,
            items,
            values,
            times,
            user_vocabulary,
            item_vocabulary,
            source,
            len(order),
            duplicates,
            has_ratings,
            weighted=weighted,
        )

    @property
    def n_users(self) -> int:
        """Users in the vocabulary, with or without ratings here."""
        return len(self.user_vocabulary)

    @property
    def n_items(self) -> int:
        """Items in the vocabulary, with or without ratings here."""
        return len(self.item_vocabulary)

    @property
    def n_ratings(self) -> int:
        """Distinct (user, item) pairs."""
        return len(self.ratings)

    @property
    def shape(self) -> tuple[int, int]:
        """(n_users, n_items)."""
        return self.n_users, self.n_items

    @property
    def noun(self) -> str:
        """The word for a row in messages: "rating" or "interaction"."""
        return "rating" if self.has_ratings else "interaction"

    def signs(self) -> tuple[float, float] | None:
        """The two ratings of a table of yes and no (1 and 0, or 1 and -1), the no first; else None.

        Cost:
            O(n_ratings), no more than a look at the extremes of most tables.
        """
        ratings = self.ratings
        if not (self.has_ratings and len(ratings)):
            return None
        low, high = float(ratings.min()), float(ratings.max())
        if not low <= 0 < high or not ((ratings == low) | (ratings == high)).all():
            return None
        return low, high

    @property
    def n_duplicates(self) -> int:
        """Rows of the source that repeated a pair and were merged."""
        return self.n_rows_read - self.n_ratings

    @property
    def density(self) -> float:
        """Share of the users x items table that is rated."""
        cells = self.n_users * self.n_items
        return self.n_ratings / cells if cells else 0.0

    @cached_property
    def by_user(self) -> Grouped:
        """The ratings of each user (CSR). Cost: O(n_users), no copy of the ratings."""
        starts = np.searchsorted(self.users, np.arange(self.n_users + 1, dtype=np.int32)).astype(np.int64)
        return Grouped(starts, self.items, self.ratings)

    @cached_property
    def by_item(self) -> Grouped:
        """The ratings of each item (CSC), users ascending. Cost: O(n_ratings)."""
        if self.storage.in_files:
            require(16 * self.n_ratings, f"{self.source}: its {self.noun}s grouped by item")
        order, starts = stable_order(self.items, self.n_items)
        return Grouped(starts, read_only(self.users[order]), read_only(self.ratings[order]))

    @property
    def stored(self) -> tuple[Interactions, NDArray[np.bool_]]:
        """(the table that holds the columns, which of its ratings count): for kernels that skip the others.

        The mask (n_ratings,) is empty where all count, as here.
        """
        return self, np.empty(0, bool)

    @cached_property
    def user_counts(self) -> NDArray[np.int64]:
        """(n_users,) ratings of each user. Cost: O(n_ratings)."""
        return self._counts("users", self.n_users)

    @cached_property
    def item_counts(self) -> NDArray[np.int64]:
        """(n_items,) ratings of each item. Cost: O(n_ratings)."""
        return self._counts("items", self.n_items)

    def _counts(self, column: str, n_rows: int) -> NDArray[np.int64]:
        (table, kept), counts = self.stored, np.zeros(n_rows, np.int64)
        count_keys(getattr(table, column), kept, counts)
        return counts

    def to_csr(self) -> csr_array:
        """A SciPy sparse array (n_users, n_items) that shares this table's memory."""
        from scipy.sparse import csr_array

        return csr_array((self.ratings, self.items, self.by_user.indptr), shape=self.shape)

    def take(self, rows: NDArray[Any]) -> Interactions:
        """The ratings at `rows` (positions or a boolean mask), in this table's order."""
        rows = rows if rows.dtype == bool else np.sort(rows)
        users, items, ratings = (
            self.storage.take(column, rows) for column in (self.users, self.items, self.ratings)
        )
        return replace(
            self,
            users=users,
            items=items,
            ratings=ratings,
            times=None if self.times is None else self.storage.take(self.times, rows),
            n_rows_read=len(users),
            n_rows_skipped=0,
            notes=replace(self.notes, n_left_out=0),
        )

    def aligned_to(self, users: Vocabulary, items: Vocabulary) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Each rating's rows in two other vocabularies, -1 where they lack the id; not to be written to.

        Cost:
            O(n_ratings), none where they are this table's own.
        """
        found = []
        for rows, own, other in (
            (self.users, self.user_vocabulary, users),
            (self.items, self.item_vocabulary, items),
        ):
            if other is not own:
                rows = self.storage.lookup(other.encode(own.decode(np.arange(len(own)))), rows)
            found.append(rows)
        return found[0], found[1]

    def check_trainable(self) -> None:
        """Raises EmptyDataError unless at least two users and two items have ratings."""
        for what, rows in (("user", self.users), ("item", self.items)):
            n_distinct = 0 if not len(rows) else 1 + bool((rows != rows[0]).any())
            if n_distinct < 2:
                raise EmptyDataError(
                    f"{self.source}: {'only one' if n_distinct else 'no'} {what} has {self.noun}s; "
                    f"collaborative filtering needs at least two. Is the {what} column the right one?"
                )

    def describe(self) -> Description:
        """Counts, density, histogram, time span and cold rows, to print or to read. Cost: O(n_ratings)."""
        return Description.of(self)

    def __len__(self) -> int:
        return self.n_ratings

    def __repr__(self) -> str:
        least, most = (self.ratings.min(), self.ratings.max()) if self.n_ratings else (1.0, 1.0)
        scale = f", {least:g} to {most:g}" if self.n_ratings and self.has_ratings else ""
        if not self.has_ratings and (least, most) != (1, 1):
            scale = f", {_noun(False, self.weighted)}s {least:g} to {most:g}"
        return (
            f"Interactions({self.n_ratings:,} {self.noun}s{scale}; {self.n_users:,} users x "
            f"{self.n_items:,} items, {self.density:.3%} filled; "
            f"{'with' if self.times is not None else 'no'} times; {self.source})"
        )

    def to_columns(self) -> dict[str, Any]:
        """user, item, rating (count or weight, without ratings) and, where there are times, time."""
        users, items = (
            vocabulary.decode(np.arange(len(vocabulary)))[rows]
            for vocabulary, rows in ((self.user_vocabulary, self.users), (self.item_vocabulary, self.items))
        )
        columns = {"user": users, "item": items, _noun(self.has_ratings, self.weighted): self.ratings}
        return columns if self.times is None else columns | {"time": self.times}

    def _head(self, n: int) -> tuple[Mapping[str, Any], int]:
        part = self.take(np.arange(min(n, self.n_ratings)))
        ids = part.user_vocabulary.decode(part.users), part.item_vocabulary.decode(part.items)
        columns = {"user": ids[0], "item": ids[1], _noun(self.has_ratings, self.weighted): part.ratings}
        return columns, self.n_ratings

    def _caption(self) -> str:
        return repr(self)


InteractionsLike = Interactions | Any
"""Interactions, or what `bilinear.data.reading.given` makes some of: frames, matrices, pairs."""


def _noun(has_ratings: bool, weighted: bool) -> str:
    return "rating" if has_ratings else "weight" if weighted else "count"


def check_duplicates(duplicates: Any, has_ratings: bool) -> None:
    """Raises ParameterValueError unless repeated pairs of such a table can be treated so."""
    possible = ("error", "last", "mean") if has_ratings else ("error", "last", "mean", "sum")
    if duplicates not in possible:
        adds = "; adding up is for counts: read_interactions" if duplicates == "sum" else ""
        choices = " or ".join(", ".join(map(repr, possible)).rsplit(", ", 1))
        raise ParameterValueError(f"duplicates={duplicates!r}; choose {choices}{adds}")


def _merge(
    users: NDArray[np.int32],
    items: NDArray[np.int32],
    ratings: NDArray[np.float32],
    times: NDArray[np.float64] | None,
    repeats: NDArray[np.int64],
    policy: Duplicates,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32], NDArray[np.float64] | None]:
    """One row a pair. Sorted input with `repeats` the places that equal the one before.

    Memory:
        of the rows whose pair is there again, and one column at a time.
    """
    kept, inside = np.ones(len(users), bool), np.zeros(len(users), bool)
    kept[repeats], inside[repeats], inside[repeats - 1] = False, True, True
    of = np.flatnonzero(inside)
    first = kept[of]
    starts, group = np.flatnonzero(first), np.cumsum(first) - 1
    values, clock = ratings[of], None if times is None else times[of]
    latest = None if clock is None else np.maximum.reduceat(clock, starts)
    if policy in ("mean", "sum"):
        sums = np.add.reduceat(values.astype(np.float64), starts)
        merged = (sums / np.bincount(group) if policy == "mean" else sums).astype(np.float32)
    elif clock is None or latest is None:
        merged = values[np.append(starts[1:], len(of)) - 1]
    else:
        last = np.zeros(len(starts), np.int64)  # the last place whose time is the latest
        at_latest = np.flatnonzero(clock == latest[group])
        last[group[at_latest]] = at_latest
        merged = values[last]
    ratings[of[starts]] = merged
    if times is not None and latest is not None:
        times[of[starts]] = latest
        times = times[kept]
    return users[kept], items[kept], ratings[kept], times
