"""New users of a model that was trained on sampled negatives, by a convex problem over their factors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import kernel_code
from bilinear.data.interactions import Grouped
from bilinear.estimators.ranking_model import rows_of
from bilinear.formulas import with_functions
from bilinear.kernels.ranking_fold_in import fold_in_users
from bilinear.kernels.sampled import SET
from bilinear.kernels.tile import TILE_ITEMS
from bilinear.kernels.top_k_blocks import packed_rows
from bilinear.model.blocks import in_tiles
from bilinear.model.parameters import Array
from bilinear.objective.penalties import L2
from bilinear.objective.ranking_losses import WARP, RankingLoss, SampledSoftmax

_MOST_EVALUATIONS = 100
_TOLERANCE = 1e-3


class FoldIn:
    """Least loss of a user against all trained items, the items held fixed.

    Args:
        item_factors: (n_items, n_factors), zero where untrained.
        item_biases: (n_items,).
        n_negatives: of training: what a softmax that is not corrected for sampling adds up.
        radius: how long a user may be.
        fallback: (n_factors,) of a user without history.
    """

    def __init__(
        self,
        loss: RankingLoss,
        penalty: L2,
        item_factors: Array,
        item_biases: Array,
        n_negatives: int,
        radius: float,
        fallback: Array,
    ) -> None:
        if isinstance(loss, WARP):
            loss = SampledSoftmax(max(float(loss.margin), 1e-3))
        self.penalty, self.radius, self.fallback = penalty, radius, fallback
        catalogue = np.flatnonzero(item_factors.any(axis=1))
        n = len(catalogue)
        self.places = np.full(len(item_factors), -1)
        self.places[catalogue] = np.arange(n)
        self.rows = np.ascontiguousarray(item_factors[catalogue], np.float32)
        self.panels = packed_rows(self.rows, np.arange(n), TILE_ITEMS)
        self.biases = in_tiles(item_biases[catalogue].astype(np.float32), TILE_ITEMS)
        counted = 0.0
        if isinstance(loss, SampledSoftmax) and not loss.corrected:
            counted = np.log(min(n_negatives, n) / n)
            loss = SampledSoftmax(loss.temperature)
        self.log_weights = np.full(n, counted, np.float32)
        self.loss = loss

    def solve(self, weighted: Grouped) -> NDArray[np.float32]:
        """(n, n_factors) users from their positives, `ratings` what each counts."""
        out = np.tile(np.asarray(self.fallback, np.float32), (len(weighted.counts), 1))
        for first in range(0, len(out), SET):
            rows = np.arange(first, min(first + SET, len(out)))
            taken = self._placed(rows_of(weighted, rows))
            counts = np.maximum(taken.counts, 1)
            l2 = self.penalty.factors * self.penalty.row_weights(counts) / counts
            users = np.ascontiguousarray(out[rows])
            with_functions(fold_in_users, self.loss.functions)(
                *taken, self.rows, self.panels, self.biases, self.log_weights,
                kernel_code(self.loss), *self.loss.numbers, l2, self.radius,
                _MOST_EVALUATIONS, _TOLERANCE, users,
            )  # fmt: skip
            out[rows] = users
        return out

    def _placed(self, histories: Grouped) -> Grouped:
        """Places among the trained items instead of rows; others are left out."""
        places = self.places[histories.indices]
        known = places >= 0
        starts = np.concatenate([[0], np.cumsum(known)])[histories.indptr]
        return Grouped(starts, places[known].astype(np.int32), histories.ratings[known])
