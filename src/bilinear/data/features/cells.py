"""Cells of side tables as values: categories, numbers, times, vectors, or missing."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.data.missing_values import is_absent
from bilinear.data.reading.dates import Moment, parse, since_1970

_NOTHING = {"", "na", "n/a", "nan", "null", "none", "\\n", "-", "?", "(no genres listed)"}
_TOKEN = re.compile(r"\w+")
_SEPARATORS = ("|", ";", ",")
_YEAR = re.compile(r".*\((\d{4})(?:[-\u2013]\d{0,4})?\)\s*", re.DOTALL)


def is_empty(value: Any) -> bool:
    """Whether a cell holds no value."""
    if isinstance(value, str):
        return value.strip().casefold() in _NOTHING
    if isinstance(value, (list, tuple, set, frozenset, np.ndarray)):
        return len(value) == 0
    return is_absent(value) or (isinstance(value, np.datetime64) and bool(np.isnat(value)))


def categories(value: Any, separator: str | None) -> list[str]:
    """The categories that a cell names, each once, in its order.

    A list is one category an entry, also as JSON in a text; objects in it go by their "name".
    """
    if is_empty(value):
        return []
    if isinstance(value, str):
        if value.startswith("[") and value.rstrip().endswith("]"):
            listed = _listed(value)
            if listed is not None:
                return categories(listed, None)
        parts: Sequence[Any] = [value] if separator is None else value.split(separator)
    elif isinstance(value, (list, tuple, set, frozenset, np.ndarray)):
        parts = [part.get("name") if isinstance(part, dict) else part for part in value]
    else:
        parts = [value]
    named = (_name(part) for part in parts if not is_empty(part))
    return list(dict.fromkeys(named))


def number(value: Any) -> float | None:
    """The finite number that a cell holds; None where it is empty or another thing."""
    if isinstance(value, (bool, np.bool_)):
        return float(value)
    if isinstance(value, str):
        value = value.strip()
        if value.startswith("+-"):
            return None
    elif not isinstance(value, (int, float, np.integer, np.floating, Decimal)):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if isfinite(found) else None


def moment(value: Any) -> Moment | None:
    """Seconds since 1970 UTC, with the day and with the month first; None where a cell holds no date."""
    if is_empty(value):
        return None
    if isinstance(value, str):
        return parse(value)
    try:
        if isinstance(value, np.datetime64):
            value = value.astype("datetime64[us]").astype(object)
        if isinstance(value, datetime):
            seconds = since_1970(value)
        elif isinstance(value, date):
            seconds = since_1970(datetime.combine(value, time(), UTC))
        else:
            return None
    except (ValueError, OverflowError):
        return None
    return Moment(seconds, seconds)


def vector(value: Any) -> NDArray[np.float64] | None:
    """The numbers of a cell: a list or array, or a text such as "[0.1, 2]" or "0.1 2"; None without."""
    if is_empty(value):
        return None
    if isinstance(value, str):
        value = value.strip().removeprefix("[").removesuffix("]").replace(",", " ").split()
    try:
        found = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return None
    return found if found.ndim == 1 and len(found) and np.isfinite(found).all() else None


def tokens(value: Any) -> list[str]:
    """The words of a text, in lower case, each once."""
    return [] if is_empty(value) else list(dict.fromkeys(_TOKEN.findall(str(value).casefold())))


def year_of_title(title: Any) -> int | None:
    """The year at the end of a title such as "Heat (1995)", or None."""
    found = _YEAR.fullmatch(title) if isinstance(title, str) else None
    return int(found[1]) if found else None


def separator_of(values: Sequence[Any]) -> str | None:
    """The character that divides the categories of a text column, or None.

    It stands in a tenth of the texts or more, and there are fewer parts than different texts: with a comma,
    which stands inside names as well, at most half as many.
    """
    texts = [value for value in values if isinstance(value, str) and not is_empty(value)]
    wholes = len(set(texts))
    for separator in _SEPARATORS:
        if sum(separator in text for text in texts) * 10 < max(len(texts), 1):
            continue
        parts = len({part for text in texts for part in categories(text, separator)})
        if separator != "," or parts * 2 <= wholes:
            return separator
    return None


def _name(part: Any) -> str:
    """A category as text; a whole float is an integer that met a missing value in a frame."""
    if isinstance(part, (float, np.floating)) and float(part).is_integer():
        return str(int(part))
    return str(part).strip()


def _listed(text: str) -> list[Any] | None:
    for spelling in (text, text.replace("'", '"')):
        try:
            found = json.loads(spelling)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, list):
            return found
    return None
