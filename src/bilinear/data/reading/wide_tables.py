"""Tables with one column per item: each filled cell becomes a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bilinear.data.missing_values import is_absent
from bilinear.data.reading.columns import Column, Role, find_columns, recognised
from bilinear.data.reading.dialect import is_missing
from bilinear.data.reading.tables import Batch, Refuse, Table, raise_error
from bilinear.errors import MissingColumnError


@dataclass(frozen=True)
class WideTable:
    """A table whose columns are items, as rows of user, item and rating.

    Empty cells and words for "missing" are not rows; a zero is one.
    """

    table: Table
    user: int
    n_columns: int = 3

    @property
    def names(self) -> list[str]:
        return ["user", "item", "rating"]

    @property
    def label(self) -> str:
        return self.table.label

    @property
    def is_text(self) -> bool:
        return self.table.is_text

    @classmethod
    def of(cls, table: Table, given: Mapping[Role, Column | Literal[False]]) -> WideTable:
        """The user column is the one given or recognised, else the first.

        Raises:
            MissingColumnError: no header with the items.
        """
        names = table.names
        if names is None:
            raise MissingColumnError(
                f"{table.label}: layout='wide' needs a header with the items' ids; add one, or give the "
                "numbers to Interactions.from_matrix"
            )
        user = given.get("user")
        if user is None and not recognised(names, ["user"]):
            user = 1
        return cls(table, find_columns(names, table.n_columns, ["user"], {"user": user}, table.label)["user"])

    def batches(self, columns: Sequence[int], refuse: Refuse = raise_error) -> Iterator[Batch]:
        names = self.table.names or []
        items = [at for at in range(len(names)) if at != self.user]
        first = 1
        for batch in self.table.batches(range(len(names)), refuse):
            cells: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
            lines: list[int] = []
            for row in range(len(batch)):
                for at in items:
                    value = batch.columns[at][row]
                    if is_absent(value) or (isinstance(value, str) and is_missing(value)):
                        continue
                    for column, cell in zip(
                        cells, (batch.columns[self.user][row], names[at], value), strict=True
                    ):
                        column.append(cell)
                    lines.append(batch.lines[row] if batch.lines else batch.rows[row])
            if lines:
                yield Batch(
                    self.label, [cells[at] for at in columns], range(first, first + len(lines)), lines
                )
                first += len(lines)
