"""Roles of columns: user, item, rating and time by name, by position, or as the caller says."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Literal

from bilinear.errors import AmbiguousColumnError, MissingColumnError, ParameterValueError

Role = Literal["user", "item", "rating", "count", "time", "title", "event", "weight"]
Column = str | int | None
"""A column by name, or by position counted from 1 (also as text, "3"); None looks for it."""

RATINGS: tuple[Role, ...] = ("user", "item", "rating")
PAIRS: tuple[Role, ...] = ("user", "item")
INTERACTIONS: tuple[Role, ...] = ("user", "item", "count", "time")
"""The last two only where they are found."""
ITEMS: tuple[Role, ...] = ("item",)
USERS: tuple[Role, ...] = ("user",)
ITEM_RATINGS: tuple[Role, ...] = ("item", "rating")
ITEM_LIST: tuple[Role, ...] = ("item", "user")
"""The user only where one is found; a file may be of one column."""

_PEOPLE = "customer reviewer member profile account visitor person listener reader viewer client"
_THINGS = (
    "movie film product book track artist song album business anime game recipe beer joke article news "
    "video course place venue restaurant hotel app show title"
)


_TYPED = re.compile(r":(token|float)(_seq)?$")
_ID_ENDINGS = ("id", "key", "code", "sku", "ean", "upc", "gtin", "asin", "isbn", "isbn13", "slug", "uri")
_FLAGS: dict[Role, str] = {"weight": "--weight-column"}
_CAN_BE_OFF = ("count", "time", "title")


def _with_id(words: str) -> frozenset[str]:
    return frozenset(f"{word}id" for word in words.split())


# The best group that fits wins; two columns of one group are a question for the caller.
_NAMES: dict[Role, tuple[frozenset[str], ...]] = {
    "user": (
        frozenset({"userid", "uid"}),
        frozenset({"user", "users", "u"}),
        _with_id(_PEOPLE),
        frozenset({*_PEOPLE.split(), "username"}),
    ),
    "item": (
        frozenset({"itemid", "iid"}),
        frozenset({"item", "items", "i"}),
        _with_id(_THINGS) | {"asin", "isbn", "isbn13"},
        frozenset({*_THINGS.split(), "parentasin"} - {"title"}),
    ),
    "rating": (
        frozenset(
            {"rating", "ratings", "score", "stars", "star", "overall", "bookrating", "movierating"}
            | {"userrating", "reviewrating", "reviewoverall", "starrating", "ratingvalue", "ratingscore"}
        ),
        frozenset({"value", "r", "grade", "mark", "preference"}),
    ),
    "count": (
        frozenset(
            {"count", "counts", "plays", "playcount", "nplays", "listens", "clicks", "views", "purchases"}
            | {"quantity", "qty", "frequency", "interactions", "weight"}
        ),
    ),
    "time": (
        frozenset({"timestamp", "unixreviewtime", "unixtime", "unixtimestamp", "ratingtimestamp", "ts"}),
        frozenset(
            {"time", "date", "datetime", "reviewtime", "reviewdate", "ratingdate", "ratingtime", "ratedat"}
            | {"createdat", "created", "epoch", "when", "t"}
        ),
    ),
    "title": (
        frozenset({"title", "itemtitle", "movietitle", "booktitle", "producttitle"}),
        frozenset(
            {"name", "itemname", "moviename", "productname", "businessname", "artistname", "trackname"}
        ),
    ),
}


def plain(name: str) -> str:
    """A column name without case, blanks, punctuation and RecBole's type: `"User-ID"` is `"userid"`."""
    return "".join(letter for letter in _TYPED.sub("", name).casefold() if letter.isalnum())


def find_columns(
    names: Sequence[str] | None,
    n_columns: int,
    wanted: Sequence[Role],
    given: Mapping[Role, Column | Literal[False]],
    label: str,
    optional: Sequence[Role] = (),
    flags: Mapping[Role, str] | None = None,
) -> dict[Role, int]:
    """The position from 0 of every wanted role, and of the optional ones where they are found.

    `names` is None where a file has no header: then columns count by position, in the order
    of `wanted`, one optional role after them. `given[role]` overrides the search; False or ""
    for an optional role leaves it out. `flags` are the options of the command line that name a role's
    column, where they are not called as the role.

    Raises:
        MissingColumnError, AmbiguousColumnError: with the columns found, and the way to choose.
    """
    _check_types(given)
    found: dict[Role, int] = {}
    for role, column in given.items():
        if column is not None and not is_off(column):
            found[role] = _position(names, n_columns, role, column, label)
    for role, at in found.items():
        for other, also in found.items():
            if role < other and at == also:
                raise AmbiguousColumnError(
                    f"{label}: {role} and {other} are both given as column {_shown(names, at)}; "
                    "each needs its own"
                )
    searched = [role for role in optional if given.get(role) is None]
    if names is None:
        # Of several optional roles none can be told by its place: the caller must say which it is.
        one = searched[0] if len(optional) == 1 and searched else None
        n_said = len(optional) - len(searched) if len(optional) > 1 else None
        return _by_position(n_columns, wanted, found, one, label, n_said)
    missing: list[Role] = []
    for role in wanted:
        if role not in found:
            fit = _by_name(names, role, set(found.values()), label, flags)
            if fit is None:
                missing.append(role)
            else:
                found[role] = fit
    if missing:
        options = " ".join(f"{_flag(role, flags)} NAME" for role in missing)
        raise MissingColumnError(
            f"{label}: no {' and no '.join(missing)} column found; {_listing(names)}. Name it with "
            f"{missing[0]}=... ({options}), or by its position, counted from 1" + _if_wide(names, missing)
        )
    for role in searched:
        fit = _by_name(names, role, set(found.values()), label, flags)
        if fit is not None:
            found[role] = fit
    return found


def _if_wide(names: Sequence[str], missing: Sequence[str]) -> str:
    if "item" not in missing or len(names) < 5:
        return ""
    return (
        ". If it has one column per item, read it with layout='wide' (--layout wide), or make rows of it "
        "first (melt in pandas, unpivot in polars)"
    )


def recognised(names: Sequence[str], roles: Sequence[Role]) -> bool:
    """Whether every role has a column among `names`: they are a header, then."""
    flat = {plain(name) for name in names}
    return all(any(flat & group for group in _NAMES[role]) for role in roles)


def id_columns(names: Sequence[str], role: Literal["user", "item"] = "item") -> list[int]:
    """Positions of the columns that may identify items (or users) by their names, the likeliest first."""
    flat = [plain(name) for name in names]
    groups = [*_NAMES[role], frozenset({"id"})]
    found = [at for group in groups for at, name in enumerate(flat) if name in group]
    found += [at for at, name in enumerate(flat) if is_called_id(name)]
    others = frozenset().union(*_NAMES["user" if role == "item" else "item"])
    return [at for at in dict.fromkeys(found) if flat[at] not in others]


def is_called_id(name: str) -> bool:
    """Whether a column's name says that it holds ids of something."""
    return plain(name).endswith(_ID_ENDINGS)


def is_position(column: object) -> bool:
    """Whether an override is a position, as 3 or as "3"."""
    return (isinstance(column, int) and not isinstance(column, bool)) or (
        isinstance(column, str) and column.isascii() and column.isdigit()
    )


def is_off(column: object) -> bool:
    """Whether an override leaves the column out: False, or "" on the command line."""
    return column is False or column == ""


def _check_types(given: Mapping[Role, Column | Literal[False]]) -> None:
    for role, column in given.items():
        off = role in _CAN_BE_OFF and column is False
        if column is None or off or (isinstance(column, (str, int)) and not isinstance(column, bool)):
            if column == "" and role not in _CAN_BE_OFF:
                raise ParameterValueError(f"{role}='' names no column; give a name or a position from 1")
            continue
        raise ParameterValueError(
            f"{role}={column!r} is a {type(column).__name__}; give a column name, or a position from 1"
        )


def _position(names: Sequence[str] | None, n_columns: int, role: Role, column: str | int, label: str) -> int:
    if isinstance(column, str) and names is not None:
        exact = [at for at, name in enumerate(names) if name == column]
        alike = exact or [at for at, name in enumerate(names) if plain(name) == plain(column)]
        if len(alike) > 1:
            raise AmbiguousColumnError(
                f"{label}: {len(alike)} columns are named {column!r} "
                f"(positions {', '.join(str(at + 1) for at in alike)}); give {role} as a position"
            )
        if alike:
            return alike[0]
    if is_position(column):
        at = int(column)
        if not 1 <= at <= n_columns:
            raise MissingColumnError(
                f"{label}: {role} is given as column {at}, the table has columns 1 to {n_columns}"
                + (f" ({', '.join(names)})" if names else "")
            )
        return at - 1
    if names is None:
        raise MissingColumnError(
            f"{label}: {role} is given as {column!r}, but the file has no header with that name; "
            f"give a position, 1 to {n_columns}"
        )
    near = difflib.get_close_matches(str(column), names, 1)
    raise MissingColumnError(
        f"{label}: no column {column!r} for {role}; {_listing(names)}"
        + (f". Did you mean {near[0]!r}?" if near else "")
    )


def _flag(role: Role, flags: Mapping[Role, str] | None) -> str:
    return (flags or _FLAGS).get(role, f"--{role}")


def _by_name(
    names: Sequence[str], role: Role, taken: set[int], label: str, flags: Mapping[Role, str] | None
) -> int | None:
    for group in _NAMES[role]:
        fits = [at for at, name in enumerate(names) if plain(name) in group and at not in taken]
        if len(fits) > 1:
            shown = " and ".join(repr(names[at]) for at in fits)
            flag = _flag(role, flags)
            leave = f", or leave it out with {role}=False ({flag} '')" if role in _CAN_BE_OFF else ""
            raise AmbiguousColumnError(
                f"{label}: {shown} could both be the {role} column; choose with {role}=... "
                f"({flag} NAME){leave}"
            )
        if fits:
            return fits[0]
    return None


def _by_position(
    n_columns: int,
    wanted: Sequence[Role],
    found: dict[Role, int],
    optional: Role | None,
    label: str,
    n_said: int | None,
) -> dict[Role, int]:
    missing = [role for role in wanted if role not in found]
    if not missing:
        return found
    order = ", ".join(wanted)
    way_out = "give " + ", ".join(f"{role}=N" for role in wanted) + ", positions counted from 1"
    if len(missing) < len(wanted):
        raise MissingColumnError(
            f"{label}: the file has no header, and {', '.join(missing)} is not given; {way_out}"
        )
    if n_columns < len(wanted):
        raise MissingColumnError(
            f"{label}: no {wanted[n_columns]} column: the file has no header and {n_columns} columns, where "
            f"{order} are expected in this order"
        )
    # A wide file without a header is not a MovieLens layout: guessing would read other columns.
    widest = {RATINGS: len(RATINGS) + 1, ITEM_RATINGS: len(ITEM_RATINGS)}.get(tuple(wanted), n_columns)
    if n_said is not None:
        widest = len(wanted) + n_said
        way_out += (
            "; and count=N or time=N, or False for none (a user with its items per line: layout='lists')"
        )
    if n_columns > widest:
        raise MissingColumnError(f"{label}: {n_columns} columns and no header with known names; {way_out}")
    free = [at for at in range(n_columns) if at not in found.values()]
    if len(free) < len(wanted):
        raise MissingColumnError(f"{label}: the file has no header and {n_columns} columns; {way_out}")
    places = dict(zip((*wanted, *([optional] if optional else [])), free, strict=False))
    return found | places


def _shown(names: Sequence[str] | None, at: int) -> str:
    return repr(names[at]) if names is not None else str(at + 1)


def _listing(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:20])
    return f"the columns are {shown}" + (f" and {len(names) - 20} more" if len(names) > 20 else "")
