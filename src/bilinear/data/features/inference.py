"""Inference of the kind of feature in each column, with the reason and how to change it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bilinear.data.features.cells import is_empty, moment, number, vector, year_of_title
from bilinear.data.features.kinds import Categories, Dates, Feature, Number, feature_named
from bilinear.data.reading.columns import is_called_id, plain
from bilinear.data.side_table import SideTable
from bilinear.errors import FeatureColumnError, MissingColumnError, ParameterValueError
from bilinear.tabular import Tabular, columns_of

FeatureLike = Feature | str
"""A kind of feature, or the name of a column, whose kind is inferred."""

_DATED = 0.95  # of the texts of a column of dates
_SHOWN = 20
_CODE = re.compile("0[0-9]+")  # leading zeros are of codes, such as postal ones


@dataclass(frozen=True)
class ColumnAsFeature:
    """One column of a table, as a feature or as none.

    Attributes:
        column: Its name.
        feature: The kind with its arguments, as text; "" where the column is none.
        n_columns: Of the block that it becomes.
        n_missing: Rows without a value that it can use.
        remark: Why it is not a feature, or what else to know.
    """

    column: str
    feature: str
    n_columns: int
    n_missing: int
    remark: str = ""


@dataclass(frozen=True)
class FeatureDescription(Tabular):
    """The columns of a table as features; `str()` draws it, `to_dict()` is for JSON.

    Attributes:
        source: Where the table was read from.
        n_rows: How many ids it has.
        side: "user" or "item".
        columns: One entry a column, the column of ids left out.
    """

    source: str
    n_rows: int
    side: str
    columns: tuple[ColumnAsFeature, ...]

    def to_columns(self) -> dict[str, Any]:
        """One row a column, see `ColumnAsFeature`."""
        return columns_of(self.columns, ColumnAsFeature)

    def _caption(self) -> str:
        return f"{self.source}: {self.n_rows:,} {self.side}s"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def usable(self) -> tuple[str, ...]:
        """The names of the columns that are features."""
        return tuple(column.column for column in self.columns if column.feature)

    def __str__(self) -> str:
        lines = [f"{self.source}: {self.n_rows:,} {self.side}s; features by column:"]
        width = max((len(column.column) for column in self.columns), default=0)
        for column in self.columns:
            if column.feature:
                missing = f", {column.n_missing:,} rows without a value" if column.n_missing else ""
                many = "column" if column.n_columns == 1 else "columns"
                text = f"{column.feature}: {column.n_columns:,} {many}{missing}"
            else:
                text = f"none: {column.remark}"
            lines.append(f"  {column.column:<{width}}  {text}")
        return "\n".join(lines)


def describe_features(table: SideTable, features: Iterable[FeatureLike] | None = None) -> FeatureDescription:
    """Describes the feature that each column becomes, and why other columns are left out.

    Args:
        table: From `read_items` or `read_users`.
        features: Columns, or kinds of features; None looks at all columns.
    Returns:
        `FeatureDescription`. Nothing is refused: what cannot be a feature says why.
    Raises:
        MissingColumnError: `features` names a column that is not there.
    Cost:
        O(cells).
    Examples:
        >>> from bilinear import Items, Vocabulary, describe_features
        >>> films = Items(Vocabulary.from_ids([1, 2, 3]), {"genres": ["War|Drama", "War", ""]})
        >>> print(describe_features(films))
        table: 3 items; features by column:
          genres  Categories(separator='|'): 2 columns, 1 rows without a value
    """
    asked = all_columns(table) if features is None else feature_list(features)
    found = []
    for one in asked:
        name = one if isinstance(one, str) else one.column
        values = column_values(table, name)
        try:
            feature = resolved(one, table)
            learned = feature.learn(values, table.source)
        except FeatureColumnError as error:
            reason = str(error)
            own = f"{table.source}: column {name!r}"
            reason = "it" + reason.removeprefix(own) if reason.startswith(own + " ") else reason
            found.append(ColumnAsFeature(name, "", 0, len(values), reason))
            continue
        row = feature.encoder(learned)
        unused: list[Any] = []
        empty = sum(is_empty(value) or not row(value, unused)[0] for value in values)
        found.append(ColumnAsFeature(name, shown(feature), len(learned.names), empty))
    return FeatureDescription(table.source, len(table), table.side, tuple(found))


def shown(feature: Feature) -> str:
    """A kind with the arguments that are not its defaults, without its column."""
    default = type(feature)(feature.column)
    own = {
        name: value
        for name, value in asdict(feature).items()
        if name != "column" and value != getattr(default, name)
    }
    arguments = ", ".join(f"{name}={value!r}" for name, value in own.items())
    return type(feature).__name__ + (f"({arguments})" if arguments else "")


def feature_list(given: object) -> tuple[FeatureLike, ...]:
    """Features as a tuple.

    Raises:
        ParameterValueError: Something else than names of columns and kinds of features.
    """
    if isinstance(given, (str, Feature)):
        given = (given,)
    if not isinstance(given, (list, tuple)) or not all(isinstance(one, (str, Feature)) for one in given):
        raise ParameterValueError(
            f"item_features or user_features={given!r}; give a list of columns, such as ['genres', 'year'], "
            "or of kinds, such as [Categories('genres'), Number('year')]"
        )
    names = [one if isinstance(one, str) else one.column for one in given]
    twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if twice is not None:
        raise ParameterValueError(f"features name the column {twice!r} twice; name each once")
    return tuple(given)


def parsed_feature(text: str) -> FeatureLike:
    """`genres`, or with its kind `genres:categories`, as the command line takes it.

    Raises:
        ParameterValueError: no such kind.
    """
    name, colon, kind = text.rpartition(":")
    if not colon:
        return text.strip()
    return feature_named(kind.strip())(name.strip())


def all_columns(table: SideTable) -> list[str]:
    """Names of all columns that may be features: those of the table without the ids, and a year of titles."""
    names = [name for name in table.columns if name != table.id_column]
    return names + ["year"] * ("year" not in {plain(name) for name in names} and has_years(table))


def has_years(table: SideTable) -> bool:
    """Whether half of the titles or more end with a year, as "Heat (1995)"."""
    titles = table.columns.get(getattr(table, "title_column", None) or "", ())
    found = sum(year_of_title(title) is not None for title in titles)
    return found > 0 and found * 2 >= len(titles)


def column_values(table: SideTable, name: str) -> Sequence[Any]:
    """The values of a column, by its name whatever the case; "year" is that of the titles where none is so
    called.

    Raises:
        MissingColumnError: no such column; with those that are.
    """
    columns = table.columns
    if name in columns:
        return columns[name]
    alike = [other for other in columns if plain(other) == plain(name)]
    if len(alike) == 1:
        return columns[alike[0]]
    if plain(name) == "year" and has_years(table):
        titles = columns[getattr(table, "title_column", "")]
        return [year_of_title(title) for title in titles]
    near = difflib.get_close_matches(name, columns, 1)
    names = all_columns(table)
    listed = ", ".join(map(repr, names[:_SHOWN])) + (
        f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    )
    raise MissingColumnError(
        f"{table.source}: no column {name!r} for a feature; the columns are {listed}"
        + (f". Did you mean {near[0]!r}?" if near else "")
    )


def resolved(given: FeatureLike, table: SideTable) -> Feature:
    """A kind of feature with all of its arguments, inferred for a name.

    Raises:
        FeatureColumnError: The column is not a feature, with the reason and the way out.
        MissingColumnError: no such column.
    """
    if isinstance(given, Feature):
        return given.resolved(column_values(table, given.column))
    values = column_values(table, given)
    label = f"{table.source}: column {given!r}"
    if table.id_column is not None and plain(given) == plain(table.id_column):
        raise FeatureColumnError(f"{label} holds the ids of the {table.side}s; leave it out")
    return _inferred(given, values, label)


def _inferred(name: str, values: Sequence[Any], label: str) -> Feature:
    filled = [value for value in values if not is_empty(value)]
    if not filled:
        raise FeatureColumnError(f"{label} is empty; leave it out")
    if all(isinstance(value, (list, tuple, np.ndarray)) for value in filled):
        found = [vector(value) for value in filled]
        if len({None if row is None else len(row) for row in found}) == 1 and found[0] is not None:
            raise FeatureColumnError(
                f"{label} has {len(found[0])} numbers a row; an embedding is Vector({name!r}), codes are "
                f"Categories({name!r})"
            )
        return Categories(name, separator=None)
    if any(isinstance(value, (bool, np.bool_)) for value in filled):
        return Categories(name, separator=None)
    numbers = [number(value) for value in filled]
    n_numbers = sum(value is not None for value in numbers)
    is_code = any(isinstance(value, str) and _CODE.fullmatch(value.strip()) for value in filled)
    if n_numbers == len(filled) and not is_code:
        return _of_numbers(name, [value for value in numbers if value is not None], label)
    dated = sum(moment(value) is not None for value in filled)
    if dated >= _DATED * len(filled):
        return Dates(name)
    if 2 * n_numbers >= len(filled) and not is_code:
        at = next(at for at, value in enumerate(values) if number(value) is None and not is_empty(value))
        raise FeatureColumnError(
            f"{label} mixes numbers and text: {n_numbers:,} of {len(filled):,} values are numbers, "
            f"{values[at]!r} is not. Number({name!r}) takes the rest for missing, Categories({name!r}) takes "
            "all as text"
        )
    return Categories(name).resolved(values)


def _of_numbers(name: str, numbers: Sequence[float], label: str) -> Feature:
    """Numbers are a `Number`, but for codes, which are called ids, and ids, which are all different."""
    distinct = len(set(numbers))
    whole = all(value.is_integer() for value in numbers)
    counts_on = distinct == len(numbers) == max(numbers) - min(numbers) + 1 and min(numbers) in (0, 1)
    if whole and distinct > _SHOWN and (counts_on or (is_called_id(name) and 2 * distinct > len(numbers))):
        raise FeatureColumnError(
            f"{label} seems to hold numeric ids ({distinct:,} different whole numbers in {len(numbers):,} "
            f"rows); leave it out, or say Number({name!r}) if it measures something, or "
            f"Categories({name!r}, min_count=2) if it is a code"
        )
    return Categories(name, separator=None) if whole and is_called_id(name) else Number(name)


def as_record(given: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Values by the names of features, whatever the case of the keys; without those not given.

    Raises:
        ParameterValueError: A key is none of the names.
    """
    known = {plain(name): name for name in names}
    record = {}
    for key, value in given.items():
        if plain(str(key)) not in known:
            near = difflib.get_close_matches(str(key), names, 1)
            raise ParameterValueError(
                f"unknown feature {key!r}; the model knows {', '.join(map(repr, names)) or 'none'}"
                + (f". Did you mean {near[0]!r}?" if near else "")
            )
        record[known[plain(str(key))]] = value
    return record
