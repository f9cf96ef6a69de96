"""Dates as people write them, in text: ISO 8601, American and day-first, Twitter's, Amazon's, e-mail's."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from math import nan
from typing import NamedTuple

_NAMES = (
    *("january", "february", "march", "april", "may", "june", "july", "august", "september", "october"),
    *("november", "december"),
)
_MONTHS = {name[:3]: number for number, name in enumerate(_NAMES, 1)}
_MONTHS |= {name: number for number, name in enumerate(_NAMES, 1)} | {"sept": 9}

_CLOCK = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(:(?P<second>\d\d)([.,](?P<part>\d{1,9}))?)?"
    r"( ?(?P<half>[ap])\.?m\.?)?"
)
_ZONE = r"(?P<zone>z|utc|gmt|[+-]\d\d:?\d\d)"
_AFTER = rf"((t|,? ) ?{_CLOCK}( ?{_ZONE})?)?"
_WEEKDAY = r"((mon|tue|wed|thu|fri|sat|sun)[a-z]*,? )?"
_FORMS = [
    re.compile(pattern, re.ASCII)
    for pattern in (
        rf"(?P<one>\d{{1,2}})(?P<mark>[/.-])(?P<two>\d{{1,2}})(?P=mark)(?P<year>\d{{4}}){_AFTER}",
        rf"(?P<year>\d{{4}})(?P<mark>[/.-])(?P<month>\d{{1,2}})(?P=mark)(?P<day>\d{{1,2}}){_AFTER}",
        rf"(?P<month>\d{{1,2}}) (?P<day>\d{{1,2}}), (?P<year>\d{{4}}){_AFTER}",
        rf"{_WEEKDAY}(?P<name>[a-z]{{3,9}})\.? (?P<day>\d{{1,2}}),? (?P<year>\d{{4}}){_AFTER}",
        rf"{_WEEKDAY}(?P<day>\d{{1,2}})[ -](?P<name>[a-z]{{3,9}})\.?[ -](?P<year>\d{{4}}){_AFTER}",
        rf"{_WEEKDAY}(?P<name>[a-z]{{3,9}}) +(?P<day>\d{{1,2}}) {_CLOCK}( {_ZONE})? (?P<year>\d{{4}})",
    )
]


class Moment(NamedTuple):
    """Seconds since 1970 UTC as either order of day and month gives; NaN where that is not a date."""

    day_first: float
    month_first: float


@lru_cache(1 << 16)
def parse(text: str) -> Moment | None:
    """The moment that a text names, or None; without a time zone it is UTC.

    >>> parse("13/09/2009").day_first == parse("09 13, 2009").month_first
    True
    """
    text = text.strip()
    try:
        seconds = since_1970(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        pass
    else:
        return Moment(seconds, seconds)
    text = text.lower()
    for form in _FORMS:
        if found := form.fullmatch(text):
            parts = found.groupdict()
            if "one" in parts:
                both = Moment(
                    _seconds(parts, parts["one"], parts["two"]), _seconds(parts, parts["two"], parts["one"])
                )
            else:
                month = parts.get("month") or str(_MONTHS.get(parts["name"] or "", 0))
                seconds = _seconds(parts, parts["day"], month)
                both = Moment(seconds, seconds)
            if both.day_first == both.day_first or both.month_first == both.month_first:
                return both
    return None


def since_1970(moment: datetime) -> float:
    """Seconds; a moment without a time zone is UTC."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _seconds(parts: dict[str, str | None], day: str | None, month: str) -> float:
    hour, half = int(parts.get("hour") or 0), parts.get("half")
    if half is not None:
        if not 1 <= hour <= 12:
            return nan
        hour = hour % 12 + 12 * (half == "p")
    zone, offset = parts.get("zone") or "", timedelta(0)
    if zone[:1] in ("+", "-"):
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:])) * (-1 if zone[0] == "-" else 1)
    try:
        moment = datetime(
            int(parts["year"] or 0),
            int(month),
            int(day or 0),
            hour,
            int(parts.get("minute") or 0),
            int(parts.get("second") or 0),
            int((parts.get("part") or "").ljust(6, "0")[:6]),
            timezone(offset),
        )
        return moment.timestamp()
    except (ValueError, OverflowError):
        return nan
