"""External ids and their rows: a sorted, immutable, memory-mappable table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.data.packed_text import PackedText
from bilinear.errors import IdValueError, ParameterValueError, UnknownIdError

Id = int | str
"""An id as the user wrote it. The type is one for a whole column."""

_DICT_FROM = 256
_PART = 1 << 20  # values converted at once
_INT64 = np.iinfo(np.int64)


def canonical_integer(text: str) -> int | None:
    """The integer that `text` spells without leading zeros, plus sign or blanks, or None."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or (digits[0] == "0" and text != "0") or len(digits) > 19:
        return None
    value = int(text)
    return value if _INT64.min <= value <= _INT64.max else None


class Vocabulary:
    """A two-way table between external ids and rows 0..n-1, in sorted order.

    Integer ids are kept as int64, text ids as UTF-8 bytes with offsets, so that an id
    comes back exactly as it was given (`"007"` stays `"007"`) and a saved vocabulary opens
    from disk without being read. Build one with `from_ids`, `from_sorted` or `factorize`.

    Cost: 8 bytes an integer id; the bytes of the text plus 8 a text id. One look-up is
    O(log n); more than a few at once build a dictionary, once.
    """

    __slots__ = ("_index", "_integers", "_texts")

    def __init__(self, *, integers: NDArray[np.int64] | None = None, texts: PackedText | None = None) -> None:
        if (integers is None) == (texts is None):
            raise ParameterValueError("a vocabulary takes either integers or texts")
        if integers is not None:
            integers.setflags(write=False)
        self._integers, self._texts = integers, texts
        self._index: dict[str, int] | None = None

    @classmethod
    def from_sorted(cls, ids: NDArray[np.int64] | Sequence[str]) -> Vocabulary:
        """From ids already unique and in ascending order (text: by code point)."""
        if isinstance(ids, np.ndarray) and ids.dtype.kind == "i":
            return cls(integers=np.array(ids, np.int64, order="C"))
        return cls(texts=PackedText.of(ids))

    @classmethod
    def from_ids(cls, ids: Iterable[Any]) -> Vocabulary:
        """From ids in any order, with repeats; all integers or all text."""
        return cls.factorize(ids)[0]

    @classmethod
    def factorize(cls, ids: Iterable[Any], what: str = "id") -> tuple[Vocabulary, NDArray[np.int32]]:
        """The vocabulary of `ids` and the row of each.

        Raises:
            IdValueError: an id is missing, or ids are neither all integers nor all text.
        """
        values = _uniform(ids, what)
        if isinstance(values, np.ndarray):
            unique, codes = _factorized(values)
            return cls.from_sorted(unique), codes
        names = sorted(set(values))
        index = {name: row for row, name in enumerate(names)}
        return cls.from_sorted(names), _rows((index[value] for value in values), len(values))

    @property
    def kind(self) -> str:
        """`"integer"` or `"text"`."""
        return "text" if self._integers is None else "integer"

    def __len__(self) -> int:
        return len(self._integers if self._integers is not None else self._packed)

    def __getitem__(self, row: int) -> Id:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} is outside the vocabulary's 0..{len(self) - 1}")
        return int(self._integers[row]) if self._integers is not None else self._packed[row]

    def __iter__(self) -> Iterator[Id]:
        return (self[row] for row in range(len(self)))

    def __contains__(self, id_: object) -> bool:
        return self._find(id_) >= 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        mine, theirs = self.tensors(), other.tensors()
        return mine.keys() == theirs.keys() and all(np.array_equal(mine[k], theirs[k]) for k in mine)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = [repr(self[row]) for row in range(min(3, len(self)))]
        if len(self) > 3:
            shown.append("...")
        return f"Vocabulary({len(self):,} {self.kind} ids: {', '.join(shown)})"

    def row(self, id_: Id, what: str = "id") -> int:
        """The row of one id.

        Raises:
            UnknownIdError: it is not here; the message shows ids that are.
        """
        found = self._find(id_)
        if found < 0:
            near = ", ".join(repr(self[row]) for row in range(min(3, len(self)))) or "none"
            raise UnknownIdError(
                f"no such {what}: {id_!r}; the model knows {len(self):,} {what}s "
                f"({self.kind} ids such as {near})"
            )
        return found

    def encode(self, ids: Iterable[Any]) -> NDArray[np.int32]:
        """Rows of `ids`, -1 where unknown. An integer and its plain spelling are the same id."""
        values = ids if isinstance(ids, np.ndarray) else list(ids)
        if self._integers is not None and isinstance(values, np.ndarray) and values.dtype.kind in "iu":
            return self._encode_integers(values)
        if len(values) < _DICT_FROM:
            return _rows((self._find(value) for value in values), len(values))
        if self._integers is not None:
            keys = [_as_integer(value) for value in values]
            known = np.array([key is not None for key in keys])
            rows = self._encode_integers(np.array([key or 0 for key in keys], np.int64))
            return np.where(known, rows, np.int32(-1)).astype(np.int32)
        if self._index is None:
            self._index = {str(name): row for row, name in enumerate(self)}
        index = self._index
        return _rows((index.get(_as_text(value), -1) for value in values), len(values))

    def decode(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Ids of `rows`: int64, or objects of type str. Rows must be in 0..n-1."""
        if self._integers is not None:
            ids: NDArray[Any] = self._integers[rows]
            return ids
        out = np.empty(len(rows), object)
        for n, row in enumerate(rows):
            out[n] = self[int(row)]
        return out

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The arrays that hold it, by name, as `from_tensors` takes them."""
        if self._integers is not None:
            return {"integers": self._integers}
        return {"blob": self._packed.blob, "offsets": self._packed.offsets}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> Vocabulary:
        """The inverse of `tensors`; the arrays are used as they are, not copied."""
        if "integers" in tensors:
            return cls(integers=tensors["integers"])
        return cls(texts=PackedText(tensors["blob"], tensors["offsets"]))

    def fault(self) -> str | None:
        """What is wrong with a vocabulary that came from a file, or None. Cost: O(n)."""
        if self._integers is not None:
            return None if (np.diff(self._integers) > 0).all() else "its ids are not in ascending order"
        fault = self._packed.fault()
        if fault is None and any(
            self._packed.bytes(row) >= self._packed.bytes(row + 1) for row in range(len(self) - 1)
        ):
            return "its ids are not in ascending order"
        return fault

    @property
    def _packed(self) -> PackedText:
        assert self._texts is not None
        return self._texts

    def _find(self, id_: object) -> int:
        if self._integers is not None:
            value = _as_integer(id_)
            return -1 if value is None else int(self._encode_integers(np.array([value]))[0])
        wanted = _as_text(id_).encode(errors="surrogatepass")
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self._packed.bytes(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self) and self._packed.bytes(low) == wanted else -1

    def _encode_integers(self, values: NDArray[Any]) -> NDArray[np.int32]:
        known = self._integers
        assert known is not None
        if not len(known):
            return np.full(len(values), -1, np.int32)
        if values.dtype.kind == "u":
            values = np.where(values > _INT64.max, -1, values).astype(np.int64)
        at = np.minimum(np.searchsorted(known, values), len(known) - 1)
        return np.where(known[at] == values, at, -1).astype(np.int32)


def _rows(values: Iterable[int], n_values: int) -> NDArray[np.int32]:
    return np.fromiter(values, np.dtype(np.int32), n_values)


def _as_integer(id_: object) -> int | None:
    if isinstance(id_, str):
        return canonical_integer(id_)
    if isinstance(id_, (int, np.integer)) and not isinstance(id_, bool):
        value = int(id_)
        return value if _INT64.min <= value <= _INT64.max else None
    return None


def _as_text(id_: object) -> str:
    return id_ if isinstance(id_, str) else str(id_)


def _factorized(values: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The distinct integers in ascending order, and the place of each value among them.

    Cost: O(n) where they are dense, as most ids are, else O(n log n); memory: 4 bytes a value and
    5 for each integer of a dense range, else 12 bytes a value.
    """
    codes = np.empty(len(values), np.int32)
    parts = [slice(start, start + _PART) for start in range(0, len(values), _PART)]
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    if high - low >= max(2 * len(values), _PART):
        unique = np.unique(values).astype(np.int64)
        for part in parts:
            codes[part] = np.searchsorted(unique, values[part].astype(np.int64))
        return unique, codes
    seen = np.zeros(high - low + 1 if len(values) else 0, bool)
    for part in parts:
        seen[values[part].astype(np.int64) - low] = True
    place = np.cumsum(seen, dtype=np.int32) - np.int32(1)
    for part in parts:
        codes[part] = place[values[part].astype(np.int64) - low]
    return np.flatnonzero(seen) + low, codes


def _uniform(ids: Iterable[Any], what: str) -> NDArray[Any] | list[str]:
    """All integers that fit int64, or all str; anything else is refused with its place."""
    if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu":
        if ids.dtype.kind == "u" and len(ids) and ids.max() > _INT64.max:
            raise IdValueError(f"{what} {ids.max()} does not fit 64 bits with sign; give such ids as text")
        return ids
    values = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
    if all(isinstance(value, str) for value in values):
        _check_characters(values, what)
        return values
    if all(isinstance(value, (int, np.integer)) and not isinstance(value, bool) for value in values):
        try:
            return np.array(values, np.int64)
        except OverflowError:
            raise IdValueError(f"a {what} does not fit 64 bits with sign; give such ids as text") from None
    first = type(values[0])
    for row, value in enumerate(values, 1):
        if value is None or (isinstance(value, float) and np.isnan(value)):
            raise IdValueError(f"row {row}: the {what} is missing; fill it in or drop the row")
        if not isinstance(value, (str, int, np.integer)) or isinstance(value, bool):
            raise IdValueError(
                f"row {row}: {what} {value!r} is a {type(value).__name__}; ids are integers or text"
            )
        if not isinstance(value, first) and isinstance(value, str) != issubclass(first, str):
            raise IdValueError(
                f"row {row}: {what} {value!r} is a {type(value).__name__}, the rows before have "
                f"{first.__name__}; give all of them as text"
            )
    return np.array(values, np.int64)


def _check_characters(values: list[str], what: str) -> None:
    """Lone surrogates cannot be written as UTF-8, so they cannot come back."""
    try:
        "".join(values).encode()
    except UnicodeEncodeError:
        for row, value in enumerate(values, 1):
            if any("\ud800" <= character <= "\udfff" for character in value):
                raise IdValueError(f"row {row}: {what} {value!r} is no valid Unicode; correct it") from None
