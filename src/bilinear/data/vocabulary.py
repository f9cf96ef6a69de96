"""External ids and their rows: a sorted, immutable, memory-mappable table."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from numbers import Integral, Real
from typing import Any, Literal, get_args
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from bilinear.data.foreign_arrays import plain_column
from bilinear.data.missing_values import is_absent
from bilinear.data.packed_text import PackedText
from bilinear.errors import IdValueError, ParameterValueError, UnknownIdError

Id = int | str
"""An id as the user wrote it. The type is one for a whole column."""

IdRule = Literal["strip", "nfc"]
"""How text ids are made alike: without blanks around them, or in Unicode's composed form."""

_DICT_FROM = 256
_SEARCHES = 64  # rows that take a dictionary as long as one search
_PART = 1 << 20  # values converted at once
_INT64 = np.iinfo(np.int64)
_EXACT = 2**53


class IdCarrier:
    """An object that stands for an id wherever one is asked for, such as a place in a list."""

    @property
    def carried_id(self) -> Id:
        raise NotImplementedError


def plain_id(value: object) -> Id | None:
    """The id that a value is, in reading and in use alike: an int or str, or None for what is not one.

    Whole floats and decimals are integers that met a missing value in a data frame, a UUID is its text;
    booleans and missing values are not ids.
    """
    if isinstance(value, (str, UUID)):
        return str(value)
    if isinstance(value, IdCarrier):
        return value.carried_id
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (Integral, Real, Decimal)):
        return None
    try:
        whole = int(value)  # type: ignore[arg-type]
        is_exact = whole == value and (isinstance(value, (Integral, Decimal)) or abs(whole) <= _EXACT)
    except (ArithmeticError, ValueError):
        return None
    return whole if is_exact and _INT64.min <= whole <= _INT64.max else None


def by_rules(text: str, rules: Sequence[IdRule]) -> str:
    """A text id as the rules make it."""
    for rule in rules:
        text = text.strip() if rule == "strip" else unicodedata.normalize("NFC", text)
    return text


def checked_rules(given: object, name: str = "ids") -> tuple[IdRule, ...]:
    """The rules in `"strip"`, `"strip,nfc"` or a sequence of them, each once; none for None.

    Raises:
        ParameterValueError: no such rule.
    """
    known = get_args(IdRule)
    parts = (
        given.split(",") if isinstance(given, str) else given if isinstance(given, (list, tuple)) else None
    )
    wanted = [part.strip().lower() if isinstance(part, str) else part for part in parts or ()]
    if (given is not None and parts is None) or any(part not in known for part in wanted):
        raise ParameterValueError(
            f"{name}={given!r}; choose 'strip' (blanks around ids do not count), 'nfc' (one Unicode form of "
            "accented letters), or 'strip,nfc'"
        )
    return tuple(rule for rule in known if rule in wanted)


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

    Ids are looked up as `plain_id` understands them, and by the `rules` that its own ids were read with.

    Cost:
        8 bytes an integer id; the bytes of the text plus 8 a text id. One look-up is O(log n); more
        than a few at once build a dictionary, once.

    Examples:
        >>> import numpy as np
        >>> from bilinear import Vocabulary
        >>> films = Vocabulary.from_ids(["Heat", "Alien", "Heat"])
        >>> len(films), films[0], films.row("Heat")
        (2, 'Alien', 1)
        >>> films.encode(["Alien", "Up"])
        array([ 0, -1], dtype=int32)
        >>> films.decode(np.array([1, 0]))
        array(['Heat', 'Alien'], dtype=object)
    """

    __slots__ = ("_index", "_integers", "_texts", "rules")

    def __init__(
        self,
        *,
        integers: NDArray[np.int64] | None = None,
        texts: PackedText | None = None,
        rules: Sequence[IdRule] = (),
    ) -> None:
        if (integers is None) == (texts is None):
            raise ParameterValueError("a vocabulary takes either integers or texts")
        if integers is not None:
            integers.setflags(write=False)
        self._integers, self._texts = integers, texts
        self._index: dict[str, int] | None = None
        self.rules: tuple[IdRule, ...] = tuple(rules)

    @classmethod
    def from_sorted(cls, ids: NDArray[np.int64] | Sequence[str], rules: Sequence[IdRule] = ()) -> Vocabulary:
        """From ids already unique and in ascending order (text: by code point), and made by `rules`."""
        if isinstance(ids, np.ndarray) and ids.dtype.kind == "i":
            return cls(integers=np.array(ids, np.int64, order="C"), rules=rules)
        return cls(texts=PackedText.of(ids), rules=rules)

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
        values = _uniform(plain_column(ids), what)
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
        return self.find(id_) >= 0

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
        found = self.find(id_)
        if found < 0:
            near = ", ".join(repr(self[row]) for row in range(min(3, len(self)))) or "none"
            raise UnknownIdError(
                f"no such {what}: {id_!r}; the model knows {len(self):,} {what}s "
                f"({self.kind} ids such as {near})"
            )
        return found

    def encode(self, ids: Iterable[Any]) -> NDArray[np.int32]:
        """Rows of `ids`, -1 where unknown. An integer and its plain spelling are the same id."""
        ids = plain_column(ids)
        values = ids.tolist() if isinstance(ids, np.ndarray) and ids.dtype.kind not in "iuf" else ids
        if self._integers is not None and isinstance(values, np.ndarray):
            return self._encode_numbers(values)
        values = values if isinstance(values, np.ndarray) else list(values)
        if len(values) < _DICT_FROM:
            return _rows((self.find(value) for value in values), len(values))
        if self._integers is not None:
            keys = [self._integer(value) for value in values]
            known = np.array([key is not None for key in keys])
            rows = self._encode_numbers(np.array([key or 0 for key in keys], np.int64))
            return np.where(known, rows, np.int32(-1)).astype(np.int32)
        if self._index is None:
            if (
                len(values) < len(self) // _SEARCHES
            ):  # so that a few ids of a large table do not read all of it
                return _rows((self.find(value) for value in values), len(values))
            self._index = {str(name): row for row, name in enumerate(self)}
        find = self._index.get
        if not self.rules and all(type(value) is str for value in values):
            return _rows((find(value, -1) for value in values), len(values))
        return _rows((self._first(find, value) for value in values), len(values))

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
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]], rules: Sequence[IdRule] = ()) -> Vocabulary:
        """The inverse of `tensors`; the arrays are used as they are, not copied."""
        if "integers" in tensors:
            return cls(integers=tensors["integers"], rules=rules)
        return cls(texts=PackedText(tensors["blob"], tensors["offsets"]), rules=rules)

    def fault(self) -> str | None:
        """The fault of a vocabulary from a file, or None. Cost: O(n)."""
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

    def find(self, id_: object) -> int:
        """The row of one id, -1 where it is unknown.

        Examples:
            >>> from bilinear import Vocabulary
            >>> films = Vocabulary.from_ids(["Heat", "Alien"])
            >>> films.find("Heat"), films.find("Up")
            (1, -1)
        """
        if self._integers is not None:
            known = self._integers
            value = canonical_integer(id_) if type(id_) is str and not self.rules else self._integer(id_)
            if value is None:
                return -1
            at = int(known.searchsorted(value))
            return at if at < len(known) and known[at] == value else -1
        return self._first(lambda text, _: self._search(text), id_)

    def with_prefix(self, prefix: str) -> list[range]:
        """Rows of the ids that begin with this as text, as runs in ascending order.

        Cost:
            a few searches, whatever the number of rows.

        Examples:
            >>> import numpy as np
            >>> from bilinear import Vocabulary
            >>> Vocabulary.from_ids(["Heat", "Alien", "Aliens"]).with_prefix("Al")
            [range(0, 2)]
            >>> Vocabulary.from_ids(np.arange(1, 300)).with_prefix("12")
            [range(11, 12), range(119, 129)]
        """
        if not prefix:
            return [range(len(self))]
        if self._integers is None:
            beginning = prefix.encode(errors="surrogatepass")
            runs = [range(self._place(beginning), self._place(beginning, behind=True))]
        else:
            known = self._integers
            runs = [
                range(int(known.searchsorted(low)), int(known.searchsorted(high, "right")))
                for low, high in _integers_with(prefix)
            ]
        return [run for run in runs if run]

    def has_text(self, text: str) -> bool:
        """Whether there is a text id that is exactly this, without any rule."""
        return self._texts is not None and self._search(text) >= 0

    def _search(self, text: str) -> int:
        wanted = text.encode(errors="surrogatepass")
        at = self._place(wanted)
        return at if at < len(self) and self._packed.bytes(at) == wanted else -1

    def _place(self, wanted: bytes, *, behind: bool = False) -> int:
        """The first row with a text that is not before this one, or `behind` all that begin with it."""
        low, high, n = 0, len(self), len(wanted) if behind else None
        while low < high:
            middle = (low + high) // 2
            text = self._packed.bytes(middle)[:n]
            if text < wanted or (behind and text == wanted):
                low = middle + 1
            else:
                high = middle
        return low

    def _first(self, find: Callable[[str, int], int], id_: object) -> int:
        """The row of a text id by the first of its spellings that is here."""
        return next((row for text in self._spellings(id_) if (row := find(text, -1)) >= 0), -1)

    def _spellings(self, id_: object) -> Sequence[str]:
        """An id as text. A float that a text file wrote as "7.0" may be the integer 7 elsewhere."""
        if isinstance(id_, str):
            return (by_rules(id_, self.rules),)
        plain = plain_id(id_)
        if isinstance(id_, (float, np.floating, Decimal)):
            return (str(id_),) if plain is None else (str(id_), str(plain))
        return () if plain is None else (str(plain),)

    def _integer(self, id_: object) -> int | None:
        plain = plain_id(id_)
        return canonical_integer(by_rules(plain, self.rules)) if isinstance(plain, str) else plain

    def _encode_numbers(self, values: NDArray[Any]) -> NDArray[np.int32]:
        known = self._integers
        assert known is not None
        if not len(known):
            return np.full(len(values), -1, np.int32)
        fits = np.ones(len(values), bool)
        if values.dtype.kind == "u":
            fits = values <= _INT64.max
        elif values.dtype.kind == "f":
            with np.errstate(invalid="ignore"):
                fits = (np.abs(values) <= _EXACT) & (np.trunc(values) == values)
        wanted = np.where(fits, values, 0).astype(np.int64)
        at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        return np.where(fits & (known[at] == wanted), at, -1).astype(np.int32)


def _integers_with(prefix: str) -> list[tuple[int, int]]:
    """(lowest, highest) of the runs of integers that are spelled with this beginning, ascending."""
    if prefix == "-":
        return [(_INT64.min, -1)]
    value = canonical_integer(prefix)
    if value is None:
        return []
    runs, scale = [(value, value)], 10
    while value and abs(value) * scale <= -_INT64.min:
        ends = value * scale, (value + (1 if value > 0 else -1)) * scale + (-1 if value > 0 else 1)
        runs.append((max(min(ends), _INT64.min), min(max(ends), _INT64.max)))
        scale *= 10
    return sorted(run for run in runs if run[0] <= _INT64.max)


def _rows(values: Iterable[int], n_values: int) -> NDArray[np.int32]:
    return np.fromiter(values, np.dtype(np.int32), n_values)


def _factorized(values: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The distinct integers in ascending order, and the place of each value among them.

    Cost:
        O(n) where they are dense, as most ids are, else O(n log n); memory: 4 bytes a value and 5 for
        each integer of a dense range, else 12 bytes a value.
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
    """All integers that fit int64, or all str, as `plain_id` has them; else refused with the place."""
    if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu":
        if ids.dtype.kind == "u" and len(ids) and ids.max() > _INT64.max:
            raise IdValueError(f"{what} {ids.max()} does not fit 64 bits with sign; give such ids as text")
        return ids
    values = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
    if all(isinstance(value, str) for value in values):
        _check_characters(values, what)
        return values
    if not all(type(value) is int for value in values):
        values = [clean_id(value, what, f"row {row}") for row, value in enumerate(values, 1)]
    is_text = isinstance(values[0], str)
    for row, value in enumerate(values, 1):
        if isinstance(value, str) is not is_text:
            kinds = ("an integer", "text")
            raise IdValueError(
                f"row {row}: {what} {value!r} is {kinds[not is_text]}, the rows before have "
                f"{kinds[is_text]}; give all of them as text, or all as integers"
            )
    if is_text:
        return values
    try:
        return np.array(values, np.int64)
    except OverflowError:
        raise IdValueError(f"a {what} does not fit 64 bits with sign; give such ids as text") from None


def clean_id(value: object, what: str, where: str) -> Id:
    """The id that a value is, see `plain_id`.

    Raises:
        IdValueError: it is missing or is not one, with its place.
    """
    plain = plain_id(value)
    if plain is None:
        if is_absent(value):
            raise IdValueError(f"{where}: the {what} is missing; fill it in or drop the row")
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (Integral, Real, Decimal)):
            raise IdValueError(
                f"{where}: {what} {str(value)[:60]!r} is of type {type(value).__name__}; ids are "
                "integers or text"
            )
        if isinstance(value, Integral) or (isinstance(value, Decimal) and value == value.to_integral_value()):
            raise IdValueError(
                f"{where}: {what} {value} does not fit 64 bits with sign; give such ids as text"
            )
        raise IdValueError(f"{where}: {what} {value} is not a whole number; give such ids as text")
    if isinstance(plain, str) and not is_encodable([plain]):
        raise IdValueError(f"{where}: {what} {plain!r} is not valid Unicode; correct it")
    return plain


def is_encodable(texts: Iterable[str]) -> bool:
    """Whether texts can be written to a file: lone surrogates are not characters."""
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_characters(values: list[str], what: str) -> None:
    if not is_encodable(values):
        for row, value in enumerate(values, 1):
            clean_id(value, what, f"row {row}")
