"""Features of the users and the items of a model: encoder, rows, and the map to the model's rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bilinear.data.features.encoder import FeatureEncoder
from bilinear.data.features.kinds import Feature, Learned
from bilinear.data.packed_text import PackedText
from bilinear.data.sparse_block import Entries, SparseBlock
from bilinear.estimators.ridge_map import RidgeMap
from bilinear.persistence.codec import checked_number, checked_size, decode, encode


@dataclass(frozen=True, eq=False)
class SideFeatures:
    """Features of one side of a model.

    Attributes:
        encoder: From tables and records to blocks.
        blocks: One a feature, with a row for each id of the side's vocabulary.
        map: From features to the rows of the model; None before it is fitted.
    """

    encoder: FeatureEncoder
    blocks: tuple[SparseBlock, ...]
    map: RidgeMap | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Of the features."""
        return self.encoder.names

    @property
    def column_names(self) -> list[str]:
        """Of all columns, as `genres: Drama`."""
        return [
            f"{name}: {column}"
            for name, columns in zip(self.names, self.encoder.column_names, strict=True)
            for column in columns
        ]

    def matrix(self, blocks: tuple[SparseBlock, ...] | None = None) -> Any:
        """All blocks side by side, sparse (n_rows, n_columns), in float64."""
        from scipy.sparse import hstack

        parts = [block.matrix() for block in (self.blocks if blocks is None else blocks)]
        return hstack(parts, format="csr", dtype=np.float64)

    def rows_of(
        self, records: Sequence[Mapping[str, Any]]
    ) -> tuple[NDArray[np.float64], Mapping[str, tuple[Any, ...]]]:
        """(n, n_factors + 1) rows from records of features, and the values that training has not met.

        Args:
            records: Column -> value; what is missing falls back to the mean.
        Raises:
            ParameterValueError: A record has a column that is not a feature.
        """
        assert self.map is not None
        encoded = self.encoder.encode_records(records)
        return self.map.rows(self.matrix(encoded.blocks)), encoded.ignored

    def known(self) -> NDArray[np.bool_]:
        """(n_rows,) whether a row has any feature."""
        found: NDArray[np.bool_] = np.any(
            [np.diff(block.entries.indptr) > 0 for block in self.blocks], axis=0
        )
        return found

    def taken(self, rows: NDArray[Any]) -> Self:
        """With other rows: those at `rows`, and zero rows where it is -1."""
        return replace(self, blocks=tuple(taken(block, rows) for block in self.blocks))

    def state(self, side: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """JSON values and tensors, the names of these beginning with the side."""
        tensors: dict[str, NDArray[Any]] = {}
        kinds = []
        for at, (feature, learned, block) in enumerate(
            zip(self.encoder.features, self.encoder.learned, self.blocks, strict=True)
        ):
            names = PackedText.of(learned.names)
            kinds.append(
                {
                    "feature": encode(feature),
                    "numbers": {name: len(values) for name, values in learned.numbers.items()},
                    "n_columns": len(names),
                    "n_entries": block.n_entries,
                }
            )
            tensors |= {
                f"{side}_vocabulary.{at}.blob": names.blob,
                f"{side}_vocabulary.{at}.offsets": names.offsets,
                **{f"{side}_numbers.{at}.{name}": values for name, values in learned.numbers.items()},
                **{f"{side}_rows.{at}.{name}": part for name, part in block.entries._asdict().items()},
            }
        manifest: dict[str, Any] = {"features": kinds}
        if self.map is not None:
            tensors |= {f"{side}_map": self.map.weights, f"{side}_prior_mean": self.map.mean}
            manifest |= {"penalty": self.map.penalty, "share": self.map.share}
        return manifest, tensors

    @classmethod
    def restored(
        cls, side: str, n_rows: int, n_columns: int, manifest: Mapping[str, Any], tensor: Any
    ) -> Self:
        """The inverse of `state`; raises ValueError, KeyError or TypeError for what it could not have made.

        Args:
            n_columns: Of the map: the number of factors and one for the bias.
        """
        features, learned, blocks = [], [], []
        for at, stored in enumerate(manifest["features"]):
            width, n_entries = checked_size(stored, "n_columns"), checked_size(stored, "n_entries")
            features.append(decode(stored["feature"], Feature))
            names = PackedText(
                tensor(f"{side}_vocabulary.{at}.blob", np.uint8),
                tensor(f"{side}_vocabulary.{at}.offsets", np.int64, width + 1),
            )
            if fault := names.fault():
                raise ValueError(f"{side}_vocabulary.{at}: {fault}")
            numbers = {
                name: tensor(f"{side}_numbers.{at}.{name}", np.float64, int(size))
                for name, size in stored["numbers"].items()
            }
            learned.append(Learned(tuple(names), numbers))
            entries = Entries(
                tensor(f"{side}_rows.{at}.indptr", np.int64, n_rows + 1),
                tensor(f"{side}_rows.{at}.indices", np.int32, n_entries),
                tensor(f"{side}_rows.{at}.values", np.float32, n_entries),
            )
            _check_entries(entries, width, f"{side}_rows.{at}")
            blocks.append(SparseBlock(features[-1].column, entries, width))
            features[-1].encoder(learned[-1])({}, [])  # what the kind needs is there
        total = sum(block.n_columns for block in blocks)
        found = RidgeMap(
            tensor(f"{side}_prior_mean", np.float64, n_columns),
            tensor(f"{side}_map", np.float64, total, n_columns),
            checked_number(manifest["penalty"]),
            checked_number(manifest["share"]),
        )
        if not (np.isfinite(found.mean).all() and np.isfinite(found.weights).all()):
            raise ValueError(f"{side}_map has values that are not finite")
        return cls(FeatureEncoder(tuple(features), tuple(learned)), tuple(blocks), found)

    def slices(self) -> dict[str, slice]:
        """The columns of each feature in `matrix`."""
        ends = list(accumulate(block.n_columns for block in self.blocks))
        return {
            name: slice(end - block.n_columns, end)
            for name, block, end in zip(self.names, self.blocks, ends, strict=True)
        }


class Features(NamedTuple):
    """Features of both sides; None where a side has none."""

    items: SideFeatures | None = None
    users: SideFeatures | None = None


def taken(block: SparseBlock, rows: NDArray[Any]) -> SparseBlock:
    """A block with other rows: those at `rows`, and zero rows where it is -1."""
    entries, known = block.entries, rows >= 0
    inside = np.where(known, rows, 0)
    counts = (
        np.where(known, np.diff(entries.indptr)[inside], 0) if block.shape[0] else np.zeros(len(rows), int)
    )
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    at = np.arange(indptr[-1]) + np.repeat(entries.indptr[inside] - indptr[:-1], counts)
    return SparseBlock(block.name, Entries(indptr, entries.indices[at], entries.values[at]), block.n_columns)


def joined(first: SparseBlock, second: SparseBlock) -> SparseBlock:
    """The rows of one block, then those of another of the same columns."""
    one, two = first.entries, second.entries
    return SparseBlock(
        first.name,
        Entries(
            np.concatenate([one.indptr, two.indptr[1:] + one.indptr[-1]]),
            np.concatenate([one.indices, two.indices]),
            np.concatenate([one.values, two.values]),
        ),
        first.n_columns,
    )


def _check_entries(entries: Entries, n_columns: int, what: str) -> None:
    indptr, indices, values = entries
    if indptr[0] != 0 or indptr[-1] != len(indices) or (np.diff(indptr) < 0).any():
        raise ValueError(f"{what}: its rows do not divide its entries")
    if len(indices) and not (indices.min() >= 0 and indices.max() < n_columns):
        raise ValueError(f"{what} names columns that are not there")
    if not np.isfinite(values).all():
        raise ValueError(f"{what} has values that are not finite")
