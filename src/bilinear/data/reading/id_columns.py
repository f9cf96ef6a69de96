"""Columns of external ids: checked, normalised and encoded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.data.reading.layout import AS_CHARACTER
from bilinear.data.reading.values import Values, Where
from bilinear.data.vocabulary import Id, Vocabulary, canonical_integer, clean_id, is_encodable
from bilinear.errors import IdValueError

_INT64 = np.iinfo(np.int64)
_MOST_LINES = 10


class IdColumn:
    """Ids as they come, batch by batch: all integers or all text, none missing.

    With `is_text` they are words of a text file, and integers only if every one of them is the
    plain spelling of an integer. Cost: one dictionary entry an id, 4 bytes a row.
    """

    def __init__(self, what: str, is_text: bool) -> None:
        self._what, self._is_text = what, is_text
        self._kind: type | None = None
        self._codes: dict[Id, int] = {}
        self._chunks = [np.empty(0, np.int32)]

    def add(self, values: Values, where: Where) -> None:
        """One more batch, encoded. Raises IdValueError as `clean` does."""
        if isinstance(values, np.ndarray) and values.dtype.kind == "i":
            unique, inverse = np.unique(values, return_inverse=True)
            if len(values):
                self.clean(values[:1], where)  # another type than the batches before?
            self._chunks.append(self._encode(unique.tolist())[inverse])
        else:
            self._chunks.append(self._encode(self.clean(values, where)))

    def clean(self, values: Values, where: Where) -> list[Id]:
        """The batch as Python integers or text, exactly as given.

        Raises:
            IdValueError: an id is missing, is neither, or not of the type of those before.
        """
        raw = list(values)
        types = set(map(type, raw))
        plain = types == {str} and "" not in raw and (self._is_text or is_encodable(raw))
        if plain and any(map(has_many_lines, raw)):
            row = next(row for row, value in enumerate(raw) if has_many_lines(value))
            raise IdValueError(
                f"{where(row)}: {self._what} {raw[row][:40]!r} goes over {len(raw[row].splitlines()):,} "
                f"lines, which no id does; correct its quotes, or read them as characters with {AS_CHARACTER}"
            )
        if not plain and not (types == {int} and min(raw) >= _INT64.min and max(raw) <= _INT64.max):
            raw = [self._clean(value, row, where) for row, value in enumerate(raw)]
            types = set(map(type, raw))
        if self._kind is None and raw:
            self._kind = type(raw[0])
        if types - {self._kind}:
            row = next(row for row, value in enumerate(raw) if type(value) is not self._kind)
            kinds = ("an integer", "text")
            is_str = isinstance(raw[row], str)
            raise IdValueError(
                f"{where(row)}: {self._what} {raw[row]!r} is {kinds[is_str]}, the rows before have "
                f"{kinds[not is_str]}; give all of them as text, or all as integers"
            )
        return raw

    def finish(self) -> tuple[Vocabulary, NDArray[np.int32]]:
        """The sorted vocabulary and the row of each id."""
        ids: list[Any] = list(self._codes)
        if self._is_text:
            integers = [canonical_integer(text) for text in ids]
            ids = ids if None in integers else integers
        order = sorted(range(len(ids)), key=ids.__getitem__)
        rank = np.empty(len(ids), np.int32)
        rank[order] = np.arange(len(ids), dtype=np.int32)
        ids = [ids[at] for at in order]
        is_integer = bool(ids) and isinstance(ids[0], int)
        vocabulary = Vocabulary.from_sorted(np.array(ids, np.int64) if is_integer else ids)
        return vocabulary, rank[np.concatenate(self._chunks)]

    def _clean(self, value: Any, row: int, where: Where) -> Id:
        if isinstance(value, str) and not value:
            value = None
        return clean_id(value, self._what, where(row))

    def _encode(self, ids: Iterable[Id]) -> NDArray[np.int32]:
        codes = self._codes
        return np.array([codes.setdefault(id_, len(codes)) for id_ in ids], np.int32)


def has_many_lines(id_: str) -> bool:
    """Whether an id is rather a part of a file, from a quote to the next one far below."""
    return ("\n" in id_ or "\r" in id_) and len(id_.splitlines()) > _MOST_LINES
