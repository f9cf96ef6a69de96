"""Units for training in float32: ratings of any finite size and offset, shifted and scaled where needed.

Squares of ratings above 1e19 are not finite in float32, those below 1e-19 are zero, and an offset much larger
than the spread leaves no digits for it. `Units` takes such a table to a spread of about one around zero, and
what was trained there back. A table that float32 holds well keeps its units, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import frexp

import numpy as np

from bilinear.data.interactions import Interactions
from bilinear.data.outliers import NO_FENCE, Fence
from bilinear.model.link import Identity, Link
from bilinear.model.parameters import Array, Parameters
from bilinear.objective.losses import CrossEntropy, Loss
from bilinear.objective.penalties import L2
from bilinear.training.history import Epoch, History
from bilinear.training.initialization import deviation_of, mean_of
from bilinear.training.search import SearchTable

_LARGEST, _SMALLEST = 2.0**40, 2.0**-40  # spreads and sizes that keep their units
_OFFSET = 2.0**12  # spreads between zero and the mean, likewise
_FARTHEST = float(np.finfo(np.float32).max) / 8  # of a weight


@dataclass(frozen=True)
class Units:
    """rating = shift + scale * (value in these units); the scale is a power of four, its root exact.

    Attributes:
        fence: how far outliers pull, in rating units.
    """

    shift: float
    scale: float
    fence: Fence

    @classmethod
    def of(
        cls, interactions: Interactions, rating_range: object = None, *, keep_scale: bool = False
    ) -> Units:
        """Of a table with ratings; outliers pull in full where a `rating_range` says that they are right.

        Args:
            keep_scale: bounds outliers only, for a start or steps that are in the ratings' own units.
        Cost:
            O(n_ratings).
        """
        ratings = interactions.ratings
        fence = Fence.of(ratings) if rating_range is None else NO_FENCE
        if keep_scale:
            return cls(0.0, 1.0, fence)
        if fence.n_outside:
            ratings = fence.bounded(interactions).ratings
        mean = mean_of(ratings)
        spread = deviation_of(ratings, mean)
        size = max(abs(float(ratings.min())), abs(float(ratings.max())))
        if spread == 0:  # differences below float64's precision of the mean, or none
            spread = float(ratings.max()) - float(ratings.min()) or 1.0
        tame = spread >= _SMALLEST and size <= _LARGEST and abs(mean) <= _OFFSET * spread
        if tame:
            return cls(0.0, 1.0, fence)
        return cls(mean, 4.0 ** (frexp(spread)[1] // 2), fence)

    @property
    def trivial(self) -> bool:
        """Whether these are the ratings' own."""
        return self.shift == 0 and self.scale == 1

    def table(self, interactions: Interactions) -> Interactions:
        """The ratings in these units, outliers bounded; the same table if there is nothing to do."""
        bounded = self.fence.bounded(interactions)
        if self.trivial:
            return bounded
        values = (bounded.ratings.astype(np.float64) - self.shift) / self.scale
        return replace(bounded, ratings=values.astype(np.float32))

    def ratings(self, values: Array) -> Array:
        """Ratings or predictions in these units, in the ratings' own."""
        return values if self.trivial else self.shift + self.scale * values.astype(np.float64)

    def link(self, link: Link) -> Link:
        """The link into the range in these units."""
        if self.trivial:
            return link
        low, high = ((bound - self.shift) / self.scale for bound in link.bounds)
        return link.with_range(low, high)

    def penalty(self, penalty: L2, link: Link, loss: Loss, *, back: bool = False) -> L2:
        """The penalty in these units, or from these units `back` into those of the ratings."""
        if self.trivial or isinstance(loss, CrossEntropy):
            return penalty
        by = self.scale if back else 1 / self.scale
        if isinstance(link, Identity):
            return replace(penalty, factors=penalty.factors * by)
        return replace(penalty, factors=penalty.factors * by**2, biases=penalty.biases * by**2)

    def search_table(self, table: SearchTable, link: Link, loss: Loss) -> SearchTable:
        """Trials and choice in the ratings' own units."""
        if self.trivial:
            return table

        def own(l2: float, l2_biases: float) -> tuple[float, float]:
            found = self.penalty(L2(l2, l2_biases), link, loss, back=True)
            return found.factors, found.biases

        trials = []
        for trial in table.trials:
            l2, l2_biases = own(trial.l2, trial.l2_biases)
            found = trial.validation_rmse * self.scale
            trials.append(replace(trial, validation_rmse=found, l2=l2, l2_biases=l2_biases))
        l2, l2_biases = own(table.l2, table.l2_biases)
        return replace(table, trials=tuple(trials), l2=l2, l2_biases=l2_biases)

    def parameters(self, parameters: Parameters, link: Link) -> Parameters:
        """Weights trained in these units, for scores of the ratings' own. A sigmoid's scores are the same."""
        if self.trivial or not isinstance(link, Identity):
            return parameters
        root = self.scale**0.5
        return Parameters(
            self.shift + self.scale * parameters.global_mean,
            _scaled(parameters.user_biases, self.scale),
            _scaled(parameters.item_biases, self.scale),
            _scaled(parameters.user_factors, root),
            _scaled(parameters.item_factors, root),
        )

    def history(self, history: History, link: Link, loss: Loss) -> History:
        """Losses, errors and norms in the ratings' own units."""
        if self.trivial or not history.epochs:
            return history
        of_error = self.scale if history.metric == "rmse" else 1.0  # others are measured in rating units
        of_loss = 1.0 if isinstance(loss, CrossEntropy) else self.scale**2
        of_norm = self.scale**0.5 if isinstance(link, Identity) else 1.0

        def times(value: float | None, by: float) -> float | None:
            return None if value is None else value * by

        def scaled(epoch: Epoch) -> Epoch:
            return replace(
                epoch,
                loss=epoch.loss * of_loss,
                validation=times(epoch.validation, of_error),
                user_norm=times(epoch.user_norm, of_norm),
                item_norm=times(epoch.item_norm, of_norm),
                update_norm=times(epoch.update_norm, of_norm),
            )

        return replace(history, epochs=tuple(map(scaled, history.epochs)))


def _scaled(array: Array, by: float) -> Array:
    """In the type of the array, and finite."""
    found: Array = np.clip(array.astype(np.float64) * by, -_FARTHEST, _FARTHEST).astype(array.dtype)
    return found
