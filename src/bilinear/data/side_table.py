"""Side tables: properties of users or items beside the ratings, by id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from bilinear.data.vocabulary import Id, Vocabulary
from bilinear.tabular import Columns


@dataclass(frozen=True, eq=False, repr=False)
class SideTable(Columns):
    """Columns of one side of the ratings, the users or the items, one row an id.

    Ids match as in a `Vocabulary`: 7 and "7" are one id where the table has integers.

    Attributes:
        vocabulary: The ids, sorted.
        columns: Column name -> (n_rows,) values in the order of the vocabulary; text from text files (""
            where empty), else as the source has them.
        source: Where they were read from.
        remark: How the column of ids was chosen among several, or "".
        id_column: The name of the column of ids, where one is kept.
    """

    vocabulary: Vocabulary
    columns: Mapping[str, Sequence[Any]]
    source: str = field(default="table", kw_only=True)
    remark: str = field(default="", kw_only=True)
    id_column: str | None = field(default=None, kw_only=True)

    side: ClassVar[str] = "row"
    """What a row is, in the singular; messages use it."""

    def __len__(self) -> int:
        return len(self.vocabulary)

    def __contains__(self, id_: object) -> bool:
        return id_ in self.vocabulary

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self):,} {self.side}s: {', '.join(self.columns)}; {self.source})"

    def row(self, id_: Id) -> dict[str, Any]:
        """All columns of one id. Raises UnknownIdError where the id is unknown."""
        at = self.vocabulary.row(id_, self.side)
        return {name: values[at] for name, values in self.columns.items()}

    def subset(self, vocabulary: Vocabulary) -> Self:
        """Only the rows that `vocabulary` knows, under its ids."""
        from dataclasses import replace

        rows = self.vocabulary.encode(vocabulary)
        known = rows >= 0
        ids = vocabulary.decode(np.flatnonzero(known))
        columns = {name: [values[at] for at in rows[known].tolist()] for name, values in self.columns.items()}
        return replace(self, vocabulary=Vocabulary.from_sorted(ids), columns=columns)

    def to_columns(self) -> dict[str, Any]:
        """The ids, in front, and all columns."""
        name = self.id_column or self.side
        return {name: self.vocabulary.decode(np.arange(len(self))), **self.columns}


@dataclass(frozen=True, eq=False, repr=False)
class Users(SideTable):
    """Properties of users beside their ratings, such as age or country; see `SideTable`.

    Examples:
        >>> from bilinear import Users, Vocabulary
        >>> people = Users(Vocabulary.from_ids([1, 2]), {"age": [31, 58]})
        >>> people.row(2)
        {'age': 58}
    """

    side = "user"
