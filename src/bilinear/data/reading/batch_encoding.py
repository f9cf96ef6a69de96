"""Encoding of batches of plain Python values, checked one by one."""

from __future__ import annotations

import numpy as np

from bilinear.data.reading.bad_rows import BadRows
from bilinear.data.reading.boolean_columns import flag_numbers
from bilinear.data.reading.columns import Role
from bilinear.data.reading.duckdb_reader import Encoded
from bilinear.data.reading.id_columns import IdColumn
from bilinear.data.reading.outcomes import Chosen
from bilinear.data.reading.tables import Batch, Table, raise_error
from bilinear.data.reading.values import NumberColumn, TimeColumn, Values
from bilinear.errors import EmptyDataError

_VALUES: tuple[Role, ...] = ("rating", "event", "weight")
"""Roles of numbers that a count does not stand beside."""


def collect(
    table: Table,
    chosen: Chosen,
    time_format: str | None = None,
    bad: BadRows | None = None,
) -> Encoded:
    """The reference way from rows to codes.

    Without ratings among the columns, a row counts as often as it says, or as its event weighs, or once.
    Rows that cannot be read go to `bad`, if there is one.

    Cost:
        about three seconds a million rows of text; 20 bytes a row and one dictionary entry an id.

    Raises:
        IdValueError, RatingValueError, EmptyDataError: with the row.
    """
    columns, flags, events = chosen.columns, chosen.flags, chosen.events
    users, items = IdColumn("user", table.is_text), IdColumn("item", table.is_text)
    times = TimeColumn(time_format)
    what: Role = next((role for role in _VALUES if role in columns), "count")
    numbers = NumberColumn(what) if what in columns else None

    def cells_of(batch: Batch) -> dict[Role, Values]:
        cells = dict(zip(columns, batch.columns, strict=True))
        if flags:
            cells[what] = flag_numbers(batch, list(columns).index(what), what)
        return cells

    def check(batch: Batch) -> None:
        cells = cells_of(batch)
        users.clean(cells["user"], batch.where)
        items.clean(cells["item"], batch.where)
        if numbers is not None and events is None:
            numbers.check(cells[what], batch.where)
        if "time" in columns:
            times.check(cells["time"], batch.where)

    n_rows = 0
    refuse = raise_error if bad is None else bad.refuse
    for batch in table.batches(list(columns.values()), refuse):
        if bad is not None:
            batch = bad.without(batch, check)
        if not len(batch):
            continue
        n_rows += len(batch)
        cells = cells_of(batch)
        users.add(cells["user"], batch.where)
        items.add(cells["item"], batch.where)
        if numbers is not None:
            numbers.add(cells[what] if events is None else events.numbers(cells[what]), batch.where)
        if "time" in columns:
            times.add(cells["time"], batch.where)
    if not n_rows:
        raise EmptyDataError(
            f"{table.label}: no rows" + (f"; all {bad.n_rows:,} were left out" if bad and bad.n_rows else "")
        )
    if events is not None:
        events.check(table.label)
    user_vocabulary, user_rows = users.finish()
    item_vocabulary, item_rows = items.finish()
    clock = times.finish() if "time" in columns else None
    values = np.ones(n_rows, np.float32) if numbers is None else numbers.finish()
    return Encoded([user_rows, item_rows, values, clock], user_vocabulary, item_vocabulary)
