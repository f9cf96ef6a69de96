"""Refinement of encoded rows: values that mark missing ratings, ids that look alike."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.data.missing_values import check_markers, left_out
from bilinear.data.vocabulary import IdRule, Vocabulary, by_rules, canonical_integer
from bilinear.errors import EmptyDataError, IdValueError

_WIDE_BLANKS = [
    chr(code).encode()
    for code in (0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)
]
"""Characters that `str.strip` takes off and that are more than a byte of UTF-8."""
_WHAT = {
    "strip": ("blanks around them", "--ids strip (ids='strip') takes the blanks off"),
    "nfc": ("accents in parts (not Unicode's NFC)", "--ids nfc (ids='nfc') composes them"),
}


def without_missing(
    columns: list[Any],
    vocabularies: tuple[Vocabulary, Vocabulary],
    missing: tuple[float, ...] | None,
    label: str,
    noun: str,
) -> tuple[tuple[Vocabulary, Vocabulary], int, list[str]]:
    """Leaves out the rows of [users, items, ratings, times] whose rating marks the absence of one.

    Ids that are in no other row leave the vocabularies. The list of columns is changed in place.

    Args:
        missing: the values, or None to look whether there are such.
        noun: what the third column
            holds.
    Returns:
        the vocabularies, how many rows were left out, and lines to tell.
    Raises:
        RatingValueError: values look like markers, and `missing` does not say.
        EmptyDataError: no row
            is left.
    """
    if missing is None:
        return vocabularies, 0, check_markers(np.asarray(columns[2]), label)
    kept = left_out(columns, missing)
    if kept is None:
        return vocabularies, 0, []
    if not kept.any():
        raise EmptyDataError(f"{label}: every {noun} is one of those left out with missing={list(missing)}")
    for at, column in enumerate(columns):
        columns[at] = None if column is None else column[kept]
    users, items = (_used(columns, at, vocabulary) for at, vocabulary in enumerate(vocabularies))
    n_left_out = int(len(kept) - kept.sum())
    return (users, items), n_left_out, told_left_out(n_left_out, missing, noun)


def told_left_out(n_left_out: int, missing: tuple[float, ...], noun: str) -> list[str]:
    """A line about rows that were left out, if there are any."""
    named = " or ".join(f"{value:g}" for value in missing)
    return [f"{n_left_out:,} rows whose {noun} is {named} were left out"] if n_left_out else []


def with_rules(
    columns: list[Any],
    vocabularies: tuple[Vocabulary, Vocabulary],
    rules: Sequence[IdRule],
    is_text: bool,
    label: str,
    are_rows: bool = True,
) -> tuple[tuple[Vocabulary, Vocabulary], list[str]]:
    """Merges ids that the rules make equal, and lists those that still look alike.

    Args:
        are_rows: the columns are those of a table; else one entry an id, which is given its new row.
        is_text: ids are words of a text file, integers if all are the plain spelling of one.
    Raises:
        IdValueError: an id consists of blanks only, and the rules strip them.
    """
    found, lines = [], []
    for at, (what, vocabulary) in enumerate(zip(("user", "item"), vocabularies, strict=True)):
        if rules:
            vocabulary = ruled(columns, at, what, vocabulary, rules, is_text, label, are_rows)
        found.append(vocabulary)
        lines += look_alikes(vocabulary, what)
    return (found[0], found[1]), lines


def look_alikes(vocabulary: Vocabulary, what: str) -> list[str]:
    """A line for each rule that would change ids: how many, and how many would then equal another.

    Cost:
        O(bytes of text), and some microseconds for each id that is padded or has accents.
    """
    lines = []
    for rule in ("strip", "nfc"):
        rows = _candidates(vocabulary, rule)
        changed = {}
        for row in rows.tolist():
            text = str(vocabulary[row])
            if (plain := by_rules(text, (rule,))) != text:
                changed[text] = plain
        if changed:
            n_new = sum(not vocabulary.has_text(plain) for plain in set(changed.values()))
            n_alike = len(changed) - n_new
            shown = next(
                (text for text, plain in changed.items() if vocabulary.has_text(plain)), min(changed)
            )
            habit, remedy = _WHAT[rule]
            lines.append(
                f"{len(changed):,} of {len(vocabulary):,} {what} ids have {habit}, such as {shown!r}"
                + (f"; {n_alike:,} of them differ from another id by that alone" if n_alike else "")
                + f"; {remedy}"
            )
    return lines


def ruled(
    columns: list[Any],
    at: int,
    what: str,
    vocabulary: Vocabulary,
    rules: Sequence[IdRule],
    is_text: bool,
    label: str,
    are_rows: bool = True,
) -> Vocabulary:
    """A vocabulary by the rules; the column of [..., rows, ...] at `at` is given its rows."""
    if vocabulary.kind == "integer":
        return Vocabulary.from_tensors(vocabulary.tensors(), rules)
    plain: list[Any] = [by_rules(str(id_), rules) for id_ in vocabulary]
    if "" in plain:
        rows = np.flatnonzero(columns[at] == plain.index(""))
        place = f", row {int(rows[0]) + 1}" if are_rows and len(rows) else ""
        raise IdValueError(f"{label}{place}: the {what} is missing; fill it in or drop the row")
    if is_text:
        integers = [canonical_integer(text) for text in plain]
        plain = plain if None in integers else integers
    ids = sorted(set(plain))
    place_of = {id_: row for row, id_ in enumerate(ids)}
    codes = np.array([place_of[id_] for id_ in plain], np.int32)
    columns[at] = codes[columns[at]]
    return Vocabulary.from_sorted(np.array(ids, np.int64) if ids and isinstance(ids[0], int) else ids, rules)


def _used(columns: list[Any], at: int, vocabulary: Vocabulary) -> Vocabulary:
    """Without the ids that no row has any more; their rows are renumbered."""
    used = np.zeros(len(vocabulary), bool)
    used[columns[at]] = True
    if used.all():
        return vocabulary
    columns[at] = (np.cumsum(used, dtype=np.int32) - np.int32(1))[columns[at]]
    return Vocabulary.from_sorted(vocabulary.decode(np.flatnonzero(used)), vocabulary.rules)


def _candidates(vocabulary: Vocabulary, rule: str) -> NDArray[np.int64]:
    """Rows of the ids that a rule can change, by their bytes alone."""
    none = np.empty(0, np.int64)
    tensors = vocabulary.tensors()
    if "blob" not in tensors or not len(vocabulary):
        return none
    blob, offsets = tensors["blob"], tensors["offsets"]
    if rule == "strip":
        filled = np.flatnonzero(np.diff(offsets))
        ends = np.array([blob[offsets[filled]], blob[offsets[filled + 1] - 1]])
        may_be_blank = ends <= 32
        text = blob.tobytes()
        if any(blank in text for blank in _WIDE_BLANKS):
            may_be_blank |= ends >= 128
        rows: NDArray[np.int64] = filled[may_be_blank.any(axis=0)]
        return rows
    high = np.flatnonzero(blob >= 128)
    if not len(high) or unicodedata.is_normalized("NFC", blob.tobytes().decode()):
        return none
    return np.unique(np.searchsorted(offsets, high, side="right") - 1)
