"""Base of models that forget: an interaction of a history counts half after every half-life."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_real
from bilinear.data.interactions import Grouped, Interactions, InteractionsLike
from bilinear.data.splits import Split, split_temporal
from bilinear.errors import DataError, MissingColumnError, ParameterValueError
from bilinear.estimators.blend_weights import ValidationUsers
from bilinear.estimators.fold_in import one_history
from bilinear.estimators.history_model import HistoryModel
from bilinear.estimators.ranking_model import rows_of
from bilinear.estimators.recommender import TensorReader
from bilinear.estimators.update import Updates
from bilinear.evaluation.ranking import evaluate_ranking
from bilinear.evaluation.ranking_task import RankingProtocol
from bilinear.model.parameters import Array
from bilinear.training.progress import Progress

DAY = 86_400.0
HALF_LIVES = (None, 1.0, 3.0, 10.0, 30.0, 100.0, 365.0)
"""Days that "auto" tries; None does not forget."""
_VALIDATION = 0.1


class _Learned(HistoryModel):
    half_life_: float | None
    _recent: Grouped | None = None


@dataclass(repr=False, eq=False)
class RecentHistoryModel(_Learned):
    """A model of histories in which an interaction counts 0.5^(age / half_life) when a list is made.

    Ages count from the user's latest interaction. Scores that are sums over the history are then those of
    ages counted from now, times a factor of the user alone: the lists are the same, and no clock is needed.
    What is learned from the table does not depend on the half-life.

    Args:
        half_life: days; None does not forget. "auto" chooses among None and 1 to 365 days what ranks the
            latest tenth of the table best (NDCG@20) after a fit on the rest: two fits in all. Numbers and
            "auto" need a table with times.

    It has the learned attributes of `HistoryModel` and these.

    Learned attributes:
        half_life_: the one that is used.
        seen_times_: (n_seen,) seconds since 1970 of `seen_`, where the half-life is not None.
    """

    half_life: float | Literal["auto"] | None = field(default=None, kw_only=True)

    needs_times: ClassVar[bool] = False
    """Whether the order of a history matters without a half-life as well."""

    @property
    def uses_times(self) -> bool:
        return self.needs_times or vars(self).get("half_life_", self.half_life) is not None

    @property
    def updates(self) -> Updates:
        return "no" if self.uses_times else self._updates

    def _cannot_update(self) -> str:
        reason = super()._cannot_update()
        return reason.replace(" cannot", " that uses times cannot") if self.uses_times else reason

    def retrain(self, interactions: InteractionsLike, *, progress: Progress | None = None) -> Self:
        given, self.half_life = self.half_life, self.half_life_
        try:
            return super().retrain(interactions, progress=progress)
        finally:
            self.half_life = given

    def score_block(self, user_rows: NDArray[Any]) -> Array:
        return self._scores_or_list_for_all(rows_of(self._recent_positives(), user_rows))

    def score_timed_histories(self, histories: Grouped, times: NDArray[np.float64]) -> Array:
        weighted = self._weighted(histories, None, self.item_vocabulary_, "histories")
        kept = self._are_positive(histories.ratings, self.weighted_)
        return self._scores_or_list_for_all(self._aged(weighted, times[kept]))

    def fading(self, times: NDArray[np.float64]) -> NDArray[Any]:
        return self._aged(one_history(np.zeros(len(times), np.int32), np.ones(len(times))), times).ratings

    def _recent_positives(self) -> Grouped:
        if self._recent is None:
            aged = self.half_life_ is not None or self.needs_times
            self._recent = self._aged(self.positives_, self._positive_times()) if aged else self.positives_
        return self._recent

    def _positive_times(self) -> NDArray[np.float64]:
        """(n_positives,) seconds since 1970 of the positives."""
        assert self.seen_times_ is not None
        return self.seen_times_[self._are_positive(self.seen_.ratings, self.weighted_)]

    def _aged(self, weighted: Grouped, times: NDArray[np.float64]) -> Grouped:
        """Histories whose weights fall with age; `times` (n_interactions,) are theirs."""
        if self.half_life_ is None or not len(times):
            return weighted
        faded = 0.5 ** (ages(weighted, times) / (self.half_life_ * DAY))
        return weighted._replace(ratings=(weighted.ratings * faded).astype(np.float32))

    def _positives(self, interactions: Interactions) -> Interactions:
        if self.half_life != "auto" and not (
            self.half_life is None or (is_real(self.half_life) and self.half_life > 0)
        ):
            raise ParameterValueError(f"half_life={self.half_life!r}; days above zero, 'auto', or None")
        if (self.needs_times or self.half_life is not None) and interactions.times is None:
            way_out = "" if self.needs_times else ", or choose half_life=None"
            raise MissingColumnError(
                f"{interactions.source}: no times, which {type(self).__name__} needs"
                f"{'' if self.needs_times else f' with half_life={self.half_life!r}'}; name the time column "
                f"with time=... (--time){way_out}"
            )
        return super()._positives(interactions)

    def _learn_positives(self, interactions: Interactions, positives: Grouped) -> None:
        chosen = self._chosen(interactions) if self.half_life == "auto" else self.half_life
        self.half_life_, self._recent = None if chosen is None else float(chosen), None
        super()._learn_positives(interactions, positives)

    def _chosen(self, interactions: Interactions) -> float | None:
        """The half-life under which a model of the earlier part ranks the later part best."""
        split = split_temporal(interactions, _VALIDATION)
        model = type(self)(**self.get_params(deep=False) | {"half_life": 1.0})
        try:
            model.fit(split.train)
            test = ValidationUsers.of(split, None, 0).test
        except DataError as error:
            raise type(error)(f"half_life='auto': {error}; or give half_life a number of days") from None
        part, protocol, values = Split(split.train, test, split.how), RankingProtocol((20,)), []
        for half_life in HALF_LIVES:
            model.half_life_, model._recent = half_life, None
            values.append(evaluate_ranking(model, part, protocol)["ndcg@20"])
        return HALF_LIVES[int(np.argmax(values))]

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        return {} if self.half_life_ is None else {"half_life": self.half_life_}, {}

    def _restore(self, manifest: Mapping[str, Any], tensor: TensorReader) -> None:
        super()._restore(manifest, tensor)
        half_life = manifest.get("half_life")
        if half_life is not None and not (is_real(half_life) and half_life > 0):
            raise ValueError(f"half_life is {half_life!r}")
        if (half_life is not None or self.needs_times) and self.seen_times_ is None:
            raise ValueError("there are no times, which the model needs")
        self.half_life_, self._recent = half_life, None


def ages(grouped: Grouped, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n_interactions,) seconds from each interaction of a row to the row's latest.

    Examples:
        >>> import numpy as np
        >>> from bilinear.data.interactions import Grouped
        >>> from bilinear.estimators.recent_history import ages
        >>> rows = Grouped(np.array([0, 2, 2, 3]), np.array([0, 1, 0]), np.ones(3))
        >>> ages(rows, np.array([5.0, 9.0, 7.0]))
        array([4., 0., 0.])
    """
    counts = grouped.counts
    latest = np.maximum.reduceat(times, grouped.indptr[:-1][counts > 0]) if len(times) else times
    found: NDArray[np.float64] = np.repeat(latest, counts[counts > 0]) - times
    return found
