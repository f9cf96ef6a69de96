"""Fitted features: tables of users or items to sparse blocks, new tables alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bilinear.data.features.inference import FeatureLike, as_record, column_values, feature_list, resolved
from bilinear.data.features.kinds import MOST_COLUMNS, Feature, Learned
from bilinear.data.side_table import SideTable
from bilinear.data.sparse_block import Entries, SparseBlock
from bilinear.data.vocabulary import Vocabulary
from bilinear.errors import FeatureColumnError


class Encoded(NamedTuple):
    """Rows of features, and what was in them that the encoder does not know."""

    blocks: tuple[SparseBlock, ...]
    ignored: Mapping[str, tuple[Any, ...]]
    """By feature, the values without a column; features without any are left out."""


@dataclass(frozen=True, eq=False)
class FeatureEncoder:
    """Features of one side, learned from a table: it encodes that table and others alike.

    Args:
        features: The kinds, with all of their arguments.
        learned: One each.

    Examples:
        >>> from bilinear import Items, Vocabulary
        >>> films = Items(Vocabulary.from_ids([1, 2, 3]), {"genres": ["War|Drama", "War", ""]})
        >>> encoder = FeatureEncoder.learn(films, ["genres"])
        >>> encoder.column_names
        (('Drama', 'War'),)
        >>> encoder.encode(films, Vocabulary.from_ids([2, 3, 9])).blocks[0].matrix().toarray().tolist()
        [[0.0, 1.0], [0.0, 0.0], [0.0, 0.0]]
    """

    features: tuple[Feature, ...]
    learned: tuple[Learned, ...]

    @classmethod
    def learn(cls, table: SideTable, features: Iterable[FeatureLike]) -> Self:
        """Infers kinds where names are given, and learns categories, means and scales from all rows.

        Raises:
            FeatureColumnError: A column is not a feature, with the reason and the way out.
            MissingColumnError, ParameterValueError: A column or a kind is not there.
        """
        kinds = tuple(resolved(one, table) for one in feature_list(features))
        learned = tuple(one.learn(column_values(table, one.column), table.source) for one in kinds)
        total = sum(len(one.names) for one in learned)
        if total > MOST_COLUMNS:
            raise FeatureColumnError(
                f"{table.source}: the features have {total:,} columns in all, more than {MOST_COLUMNS:,}; "
                "leave some out, or raise their min_count"
            )
        return cls(kinds, learned)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the features: the names of their columns in the table."""
        return tuple(one.column for one in self.features)

    @property
    def column_names(self) -> tuple[tuple[str, ...], ...]:
        """Of the columns of each block."""
        return tuple(one.names for one in self.learned)

    @property
    def n_columns(self) -> int:
        """Of all blocks together."""
        return sum(len(one.names) for one in self.learned)

    def encode(self, table: SideTable, vocabulary: Vocabulary | None = None) -> Encoded:
        """Blocks with one row an id of a vocabulary; zero where the table has no such id or no value.

        Args:
            table: With the columns of all features.
            vocabulary: By default the table's own.
        Raises:
            MissingColumnError: A column is missing as a whole.
        """
        columns = [column_values(table, name) for name in self.names]
        ids = table.vocabulary if vocabulary is None else vocabulary
        rows = np.arange(len(table)) if vocabulary is None else table.vocabulary.encode(ids)
        return self._encoded(columns, rows)

    def encode_records(self, records: Sequence[Mapping[str, Any]]) -> Encoded:
        """Blocks with one row a record: a mapping from columns to values, others are missing.

        Raises:
            ParameterValueError: A record has a column that is not a feature.
        """
        known = [as_record(record, self.names) for record in records]
        columns = [[record.get(name) for record in known] for name in self.names]
        return self._encoded(columns, np.arange(len(records)))

    def _encoded(self, columns: Sequence[Sequence[Any]], rows: NDArray[Any]) -> Encoded:
        blocks, ignored = [], {}
        for feature, learned, values in zip(self.features, self.learned, columns, strict=True):
            unused: list[Any] = []
            row_of = feature.encoder(learned)
            found = [row_of(values[at], unused) if at >= 0 else ((), ()) for at in rows.tolist()]
            counts = np.fromiter((len(row[0]) for row in found), np.int64, len(found))
            indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
            total = int(indptr[-1])
            indices = np.fromiter(chain.from_iterable(row[0] for row in found), np.int32, total)
            numbers = np.fromiter(chain.from_iterable(row[1] for row in found), np.float32, total)
            blocks.append(SparseBlock(feature.column, Entries(indptr, indices, numbers), len(learned.names)))
            if unused:
                ignored[feature.column] = tuple(dict.fromkeys(map(str, unused)))
        return Encoded(tuple(blocks), ignored)
