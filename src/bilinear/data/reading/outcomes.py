"""Choice of the columns that make a table, and a check for others that would change its meaning."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from bilinear.data.description import ReadingNotes
from bilinear.data.interactions import Duplicates, Interactions
from bilinear.data.missing_values import Missing, checked_missing
from bilinear.data.reading import dialect, duckdb_reader
from bilinear.data.reading.columns import PAIRS, RATINGS, Column, Role, find_columns, plain, recognised
from bilinear.data.reading.events import EventWeights, checked_events, event_remark
from bilinear.data.reading.profiles import Profile, profiles, seen_whole
from bilinear.data.reading.tables import Table, TextTable
from bilinear.data.vocabulary import IdRule, checked_rules
from bilinear.errors import AmbiguousColumnError, DataError, ParameterValueError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

_SCALE = 11  # so many different numbers may be a scale of ratings

_SIGNS = (
    "like liked likes label labels click clicked target outcome response feedback reaction thumb thumbs "
    "thumbsup thumbup vote voted votes votedup upvote upvoted purchase purchased bought buy converted "
    "conversion watched finished completed read recommend recommended favorite favourite favorited "
    "favourited fav saved sentiment engaged engagement interacted y"
)
_AMOUNTS = (
    "amount spend spent revenue total paid payment sales hours minutes seconds duration playtime watchtime "
    "dwell progress percent percentage completion points score strength affinity implicit explicit"
)
_BAD_SIGNS = "dislike disliked skip skipped returned refunded cancelled canceled hidden blocked"

_YES_NO = frozenset(_SIGNS.split())
"""Names of columns whose true and false, or 1 and 0, say whether an interaction was a good one."""
_ASKED = frozenset(f"{_AMOUNTS} {_BAD_SIGNS}".split())
"""Words in the names of columns that may say so, or say the opposite."""


@dataclass(frozen=True)
class Chosen:
    """The columns of a table and how they are read.

    Attributes:
        columns: role -> position from 0. Where `only_yes`, the role "rating" is that of the flags.
        flags: the rating column holds true and false, or words like these.
        only_yes: interactions are the rows whose rating column is true or 1.
        signs: the question to ask where the rating column, by its name and its first rows one of 0 and 1 or
            of -1 and 1, holds other numbers below; "" where any number will do.
        events: what the values of the event column weigh, where there is one.
    """

    columns: dict[Role, int]
    has_ratings: bool
    flags: bool
    only_yes: bool
    signs: str
    notes: ReadingNotes
    events: EventWeights | None = None

    @property
    def weighted(self) -> bool:
        """Whether the numbers of the rows are weights of events."""
        return "event" in self.columns or "weight" in self.columns


@dataclass(frozen=True)
class Meaning:
    """The caller's rules: values that mark a missing rating, rules for ids, and weights of events."""

    missing: tuple[float, ...] | None
    rules: tuple[IdRule, ...]
    events: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        missing: Missing,
        ids: str | Iterable[IdRule] | None,
        events: Mapping[Any, float] | None = None,
    ) -> Meaning:
        """Raises ParameterValueError: one of them cannot be used."""
        return cls(checked_missing(missing), checked_rules(ids), checked_events(events))


def finished(
    encoded: duckdb_reader.Encoded,
    table: Table,
    chosen: Chosen,
    duplicates: Duplicates | None,
    meaning: Meaning,
    n_skipped: int,
) -> Interactions:
    """The table of rows that were read; see `Interactions.refined` for errors and cost."""
    check_signs(chosen, encoded.columns[2])
    marks = marks_of(chosen, meaning, table.label)
    found = Interactions.refined(
        *encoded,
        missing=marks,
        rules=meaning.rules,
        is_text=table.is_text,
        duplicates=duplicates or ("last" if chosen.has_ratings else "sum"),
        source=table.label,
        has_ratings=chosen.has_ratings,
        weighted=chosen.weighted,
        notes=chosen.notes,
    )
    return replace(found, n_rows_skipped=n_skipped) if n_skipped else found


def check_signs(chosen: Chosen, ratings: NDArray[np.float32]) -> None:
    """Raises AmbiguousColumnError for other numbers in a column that seemed to be of yes and no."""
    if chosen.signs and not np.isin(ratings, np.array([-1, 0, 1], np.float32)).all():
        raise AmbiguousColumnError(chosen.signs)


def marks_of(chosen: Chosen, meaning: Meaning, label: str = "the table") -> tuple[float, ...] | None:
    """Values whose rows are left out, or None to look for such."""
    if chosen.has_ratings:
        return meaning.missing
    if meaning.missing:
        raise ParameterValueError(
            f"{label}: missing={list(meaning.missing)} (--missing) is for ratings; this is read without"
        )
    return (0.0, -1.0) if chosen.only_yes else (0.0,) if chosen.weighted else ()


def choose(
    table: Table,
    given: Mapping[Role, Column | Literal[False]],
    has_ratings: bool | None,
    connection: Connection | None = None,
    events: Mapping[str, float] | None = None,
) -> Chosen:
    """The columns of ratings (`has_ratings`), of interactions, or (None) of what the table seems to have.

    A column that is called as an outcome and holds true and false or 1 and 0 becomes the rating where
    there is none; of interactions only its true rows count. One that may be an outcome and is neither
    raises, unless `given` has the rating or the count.

    Raises:
        MissingColumnError, AmbiguousColumnError: with the columns found, and the way to choose.
    """
    if given.get("event") or given.get("weight") or events:
        return _chosen_events(table, given, has_ratings, events or {})
    guessed = has_ratings is None
    if has_ratings is None:
        has_ratings = bool(given.get("rating")) or _seems_rated(table, given)
    is_said = bool(given.get("rating")) or given.get("count") is not None
    outcome = None
    if table.names is not None and not is_said and not (has_ratings and recognised(table.names, ["rating"])):
        outcome = _outcome(table, given, has_ratings, guessed, connection)
        has_ratings = has_ratings or (guessed and outcome is not None)
    columns = _columns(table, given, has_ratings, outcome)
    value = columns.get("rating", columns.get("count"))
    flags = only_yes = False
    remarks: list[str] = []
    if value is not None:
        profile = outcome or profiles(table, [value])[0]
        flags = profile.is_flags
        is_sign = profile.is_yes_no and (outcome is not None or profile.numbers == [0, 1])
        only_yes = not has_ratings and (flags or is_sign)
        if only_yes:
            columns = {("rating" if at == value else role): at for role, at in columns.items()}
            remarks.append(f"{profile.name!r} ({profile.kind}): a row is an interaction where it is true (1)")
        elif outcome is not None or flags:
            meaning = "true is 1 and false 0" if flags else profile.kind
            remarks.append(f"{profile.name!r} is the rating: {meaning}")
    ignored = [at for at in range(table.n_columns) if at not in columns.values()]
    unused = profiles(table, ignored)
    remarks += [] if has_ratings else event_remark([profile.name for profile in unused])
    notes = ReadingNotes(
        tuple((profile.name, profile.kind) for profile in unused),
        remarks=tuple(remarks),
    )
    signs = "" if outcome is None or flags else _question(table.label, [outcome])
    return Chosen(columns, has_ratings, flags, only_yes, signs, notes)


def _chosen_events(
    table: Table,
    given: Mapping[Role, Column | Literal[False]],
    has_ratings: bool | None,
    events: Mapping[str, float],
) -> Chosen:
    """The columns of interactions with an event column or a column of weights.

    Raises:
        ParameterValueError: several columns are given for what a row counts, or weights without events.
    """
    named: list[Role] = [role for role in ("rating", "count", "event", "weight") if given.get(role)]
    if has_ratings and "rating" not in named:
        named.insert(0, "rating")
    if len(named) > 1:
        raise ParameterValueError(
            f"{table.label}: {' and '.join(named)} are given for what a row says; choose one of them"
        )
    if events and named != ["event"]:
        raise ParameterValueError(
            "events (--weight) are the weights of an event column: name it with event=... (--event)"
        )
    mine = {role: column for role, column in given.items() if role not in ("rating", "count")}
    columns = find_columns(table.names, table.n_columns, PAIRS, mine, table.label, ["time"])
    profile = profiles(table, [columns[named[0]]])[0]
    ignored = [at for at in range(table.n_columns) if at not in columns.values()]
    told = ", ".join(f"{value} {weight:g}" for value, weight in events.items())
    notes = ReadingNotes(
        tuple((one.name, one.kind) for one in profiles(table, ignored)),
        remarks=(f"{profile.name!r} is what a row weighs" + (f": {told}" if told else ""),),
    )
    of_events = EventWeights(events, profile.name) if "event" in columns else None
    return Chosen(columns, False, False, False, "", notes, of_events)


def _columns(
    table: Table, given: Mapping[Role, Column | Literal[False]], has_ratings: bool, outcome: Profile | None
) -> dict[Role, int]:
    wanted: tuple[Role, ...] = RATINGS
    optional: list[Role] = ["time"]
    other: Role = "count"
    if not has_ratings:
        wanted, optional, other = PAIRS, ["count", "time"], "rating"
    mine: dict[Role, Column | Literal[False]] = {
        role: column for role, column in given.items() if role != other
    }
    if outcome is not None:
        mine["rating" if has_ratings else "count"] = outcome.at + 1
    elif (
        not has_ratings and not any(column is not None for column in mine.values()) and _third_is_time(table)
    ):
        mine = {"user": 1, "item": 2, "time": 3}
    return find_columns(table.names, table.n_columns, wanted, mine, table.label, optional)


def _outcome(
    table: Table,
    given: Mapping[Role, Column | Literal[False]],
    has_ratings: bool,
    guessed: bool,
    connection: Connection | None,
) -> Profile | None:
    """The column that says whether interactions were good ones, where there is one and no rating.

    Raises:
        AmbiguousColumnError: there are several, or one that may be such and must be asked about.
    """
    assert table.names is not None
    wanted = {role: column for role, column in given.items() if role not in ("rating", "count")}
    try:
        taken = find_columns(table.names, table.n_columns, PAIRS, wanted, table.label, ["count", "time"])
    except DataError:  # which is raised again with all that is missing
        return None
    counted = taken.pop("count", None)
    ours = set(taken.values()) | ({counted} if counted is not None else set())
    if not has_ratings:  # those of ratings are left alone, and known as such
        ours |= {at for at, name in enumerate(table.names) if recognised([name], ["rating"])}
    left = profiles(table, [at for at in range(table.n_columns) if at not in ours])
    signs = [profile for profile in left if profile.is_yes_no and _is_called_so(profile.name)]
    if len(signs) == 1 and counted is None:
        return signs[0]
    if has_ratings:
        if len(signs) > 1:
            raise AmbiguousColumnError(_question(table.label, signs))
        return None
    asked = signs
    if counted is None:
        others = [seen_whole(profile, table, connection) for profile in left if profile not in signs]
        asked = [profile for profile in others if _may_be_outcome(profile)] + signs
        if not asked and guessed and len(others) == 1 and _is_scale(others[0]):
            asked = others
    if asked:
        raise AmbiguousColumnError(_question(table.label, asked))
    return None


def _question(label: str, asked: Sequence[Profile]) -> str:
    shown = " and ".join(f"{profile.name!r} ({profile.kind})" for profile in asked[:3])
    name = asked[0].name
    word = shlex.quote(name)
    several = len(asked) > 1
    return (
        f"{label}: {'columns' if several else 'column'} {shown} may say how interactions turned out, which "
        f"would change what the table means; read {'one of them' if several else 'it'} as the rating with "
        f"rating={name!r} (--rating {word}) or as the count with count={name!r} (--count {word}), or "
        f"{'none' if several else 'not at all'} with count=False (--count ''): then every row counts once"
    )


def _is_called_so(name: str) -> bool:
    flat = plain(name)
    return flat in _YES_NO or any(
        flat.startswith(start) and flat[len(start) :] in _YES_NO
        for start in ("is", "has", "was", "did", "user")
    )


def _may_be_outcome(profile: Profile) -> bool:
    if profile.is_yes_no:
        return not profile.is_constant
    if _is_called_so(profile.name):
        return bool(profile.values)
    words = {word.casefold() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", profile.name)}
    is_called = bool(words & _ASKED) or plain(profile.name) in _ASKED
    return is_called and profile.numbers is not None and not profile.is_constant


def _is_scale(profile: Profile) -> bool:
    """Whether a column holds few different numbers in steps of a half or one, as ratings do."""
    numbers = profile.numbers
    flat = plain(profile.name)
    if numbers is None or not 3 <= len(numbers) <= _SCALE or flat.endswith("id"):
        return False
    steps = {round(high - low, 6) for low, high in pairwise(numbers)}
    return steps <= {0.5, 1.0} and abs(numbers[0]) <= 10


def _seems_rated(table: Table, given: Mapping[Role, Column | Literal[False]]) -> bool:
    """Whether there is a rating column: by name, or without names a third column that is not a time."""
    if table.names is not None:
        return recognised(table.names, ["rating"])
    named = any(given.get(role) for role in ("user", "item", "time"))
    return table.n_columns > 2 and not named and not _third_is_time(table)


def _third_is_time(table: Table) -> bool:
    """Whether a file without a header has three columns, the last of dates or of seconds since 1970."""
    if table.names is not None or table.n_columns != 3 or not isinstance(table, TextTable):
        return False
    words = [row[2] for row in table.layout.sample if len(row) == 3]
    return bool(words) and all(dialect.is_moment(word) for word in words)
