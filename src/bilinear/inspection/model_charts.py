"""Charts of what is stored with a model, its held-out scores and training: for reports, lab and served page.

What is stored may come from any file: whatever is missing or of another shape is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bilinear.inspection.charts import intervals, lines
from bilinear.inspection.scores import number_in
from bilinear.training.history import History

_RATINGS = ("rmse", "mae")
_RANKING = ("ndcg@20", "recall@20", "ndcg@10", "recall@10", "hit_rate@10", "mrr@10")
_MOST = 2


def score_charts(report: Mapping[str, Any]) -> list[str]:
    """Held-out scores with their intervals, the model of the smallest error (or highest score) first."""
    scores = report.get("scores")
    if not isinstance(scores, Mapping):
        return []
    drawn: list[str] = []
    for names, lowest_first in ((_RATINGS, True), (_RANKING, False)):
        for metric in names:
            found = {str(name): _bounds(score, metric) for name, score in scores.items()}
            rows = {name: bounds for name, bounds in found.items() if bounds is not None}
            if rows and len(drawn) < _MOST:
                best = sorted(rows.items(), key=lambda row: row[1][0] if lowest_first else -row[1][0])
                word, side = (
                    (metric.upper(), "lower") if lowest_first else (metric.replace("ndcg", "NDCG"), "higher")
                )
                drawn.append(
                    intervals(dict(best), f"{word} on what was held out, {side} is better; 95% intervals")
                )
    return drawn


def training_charts(history: History | None) -> list[str]:
    """The validation metric and the training loss over the epochs, with the epoch that was kept marked."""
    if history is None or len(history.epochs) < 2:
        return []
    kept = history.best_epoch or None
    drawn = []
    measured = [epoch.validation for epoch in history.epochs]
    if all(value is not None for value in measured):
        metric = history.label.removeprefix("validation ")
        points = {metric: [(at, value) for at, value in enumerate(measured, 1) if value is not None]}
        what = f"{metric} on the inner validation part"
        drawn.append(lines(points, what, f"{what}, epoch by epoch", "epoch", marked=kept))
    losses = {"loss": [(at, epoch.loss) for at, epoch in enumerate(history.epochs, 1)]}
    drawn.append(
        lines(losses, "Mean training loss", "Mean training loss, epoch by epoch", "epoch", marked=kept)
    )
    return [chart for chart in drawn if chart]


def _bounds(score: Any, metric: str) -> tuple[float, float, float] | None:
    """(value, low, high) of one metric: under its name, or in `means` as ranking reports have it."""
    if not isinstance(score, Mapping):
        return None
    means = score.get("means")
    held = score.get(metric, means.get(metric) if isinstance(means, Mapping) else None)
    if isinstance(held, Mapping):
        held = [held.get(key) for key in ("value", "low", "high")]
    if not isinstance(held, Sequence) or isinstance(held, str) or len(held) != 3:
        return None
    value, low, high = map(number_in, held)
    if value is None:
        return None
    return value, value if low is None else low, value if high is None else high
