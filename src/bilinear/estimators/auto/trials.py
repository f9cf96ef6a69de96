"""Trials of a search over ranking models, kept with the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bilinear.tabular import Tabular, columns_of


@dataclass(frozen=True)
class AutoTrial:
    """One model that was tried.

    Attributes:
        model: its class and the arguments that were searched, where they are not the usual.
        kind: its class.
        share: of the users that it was trained on (of the inner training part).
        value: the metric on the inner validation part; None for a trial that was not made.
        coverage, gini, popular_share: of its lists there, as long as the metric's: the share of the items
            that are in any, how unequally often they are, and the share of places of the 1 % most popular.
        work: what it was estimated to take, in seconds of one core.
        fit_seconds, score_seconds: what it took.
        note: "weight 0.42", "chosen", or why it was not made.
    """

    model: str
    kind: str
    share: float
    value: float | None
    coverage: float | None = None
    gini: float | None = None
    popular_share: float | None = None
    work: float = 0.0
    fit_seconds: float = 0.0
    score_seconds: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class AutoTable(Tabular):
    """All trials in order, and what was chosen.

    Attributes:
        metric: such as "ndcg@20", of the inner validation part.
        split: how that was held out.
        n_judges: users it was measured on.
        trials: in order.
        chosen: in words.
        value: of what was chosen; the best of all that was looked
            at, so a little too high.
        seconds: of search and refit.
        ended: why the search did, such as "budget of work spent" or "no progress in 12 variations".
        work: of the search, in seconds of one core, as estimated.
    """

    metric: str
    split: str
    n_judges: int
    trials: tuple[AutoTrial, ...]
    chosen: str
    value: float
    seconds: float
    ended: str
    work: float = 0.0

    def to_columns(self) -> dict[str, Any]:
        """One row a trial, see `AutoTrial`."""
        return columns_of(self.trials, AutoTrial)

    def _caption(self) -> str:
        return str(self).partition("\n")[0]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> AutoTable:
        trials = tuple(AutoTrial(**trial) for trial in stored["trials"])
        return cls(**{**stored, "trials": trials})

    def __str__(self) -> str:
        lines = [
            f"{self.metric} of {self.n_judges:,} users ({self.split})",
            f"{'users':>5} {self.metric:>9} {'coverage':>8} {'gini':>5} {'top 1 %':>7} {'work':>5} "
            f"{'fit s':>6} {'score s':>7}  model",
        ]
        for trial in self.trials:
            values = [
                "" if value is None else f"{value:.{digits}f}"
                for value, digits in (
                    (trial.value, 4),
                    (trial.coverage, 3),
                    (trial.gini, 2),
                    (trial.popular_share, 2),
                )
            ]
            note = f"  <- {trial.note}" if trial.note else ""
            lines.append(
                f"{trial.share:5.0%} {values[0]:>9} {values[1]:>8} {values[2]:>5} {values[3]:>7} "
                f"{trial.work:5.1f} {trial.fit_seconds:6.2f} {trial.score_seconds:7.2f}  "
                f"{trial.model}{note}"
            )
        lines.append(f"{self.ended}; {self.metric} {self.value:.4f}: {self.chosen}")
        return "\n".join(lines)
