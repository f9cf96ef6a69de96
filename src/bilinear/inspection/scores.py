"""The held-out scores that a command stored with a model, and the verdict they give.

`report_` may come from any file, so nothing in it is taken for granted: what is missing or of
another shape is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from bilinear.estimators.rating_model import RatingModel
from bilinear.inspection.page import signed


@dataclass(frozen=True)
class Score:
    """One model's error on the held-out ratings, with its interval."""

    name: str
    rmse: float
    low: float
    high: float
    mae: float | None
    n_ratings: int | None
    unknown_users: float
    unknown_items: float


@dataclass(frozen=True)
class Verdict:
    """`better` is None where nothing was measured beside the model."""

    better: bool | None
    headline: str
    measured: str
    detail: str


def stored_scores(report: Mapping[str, Any]) -> tuple[Score, ...]:
    """The readable scores of a report, smallest error first."""
    scores = report.get("scores")
    found = (
        [_score(str(name), value) for name, value in scores.items()] if isinstance(scores, Mapping) else []
    )
    return tuple(sorted((score for score in found if score), key=lambda score: score.rmse))


def verdict(model: RatingModel) -> Verdict:
    """Whether the model beats the others that were measured beside it, in one line."""
    scores = stored_scores(model.report_)
    name = type(model).__name__
    mine = next((score for score in scores if score.name == name), None)
    if mine is None:
        return _unmeasured(model)
    # A variant such as "MatrixFactorization, sigmoid" is not a baseline.
    others = [score for score in scores if not score.name.startswith(name)]
    rows = f" on {mine.n_ratings:,} held-out ratings" if mine.n_ratings else " on held-out ratings"
    measured = f"RMSE {mine.rmse:.4f} [{mine.low:.4f}, {mine.high:.4f}]{rows}"
    if not others:
        return Verdict(None, measured, "", "No other model was measured on the same ratings.")
    best = others[0]
    measured += "; " + ", ".join(f"{score.name} {score.rmse:.4f}" for score in others)
    gain = 1 - mine.rmse / best.rmse if best.rmse else 0.0
    detail = _paired(model.report_, name, best.name) or _apart(mine, best)
    if gain > 0:
        return Verdict(True, f"{gain:.1%} less error than {best.name}", measured, detail)
    return Verdict(False, f"No less error than {best.name}", measured, detail)


def _paired(report: Mapping[str, Any], name: str, other: str) -> str | None:
    """The stored paired difference of two models in words, if it is that of these two."""
    differences = report.get("differences")
    stored = differences.get(name) if isinstance(differences, Mapping) else None
    if report.get("baseline") != other or not isinstance(stored, Mapping):
        return None
    value, low, high = (number_in(stored.get(key)) for key in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return None
    clear = "clear of zero" if low > 0 or high < 0 else "not clear of zero: the two may be equally good"
    return (
        f"On the same users its RMSE differs from {other}'s by {signed(value, 4)} "
        f"[{signed(low, 4)}, {signed(high, 4)}] (paired, 95% interval): {clear}."
    )


def _apart(mine: Score, best: Score) -> str:
    if mine.high >= best.low and best.high >= mine.low:
        return (
            "The 95% intervals overlap: each says how far one model's error could move with other users, "
            "not how far the difference between two could."
        )
    return "The 95% intervals do not overlap."


def _unmeasured(model: RatingModel) -> Verdict:
    inner = model.history_.best_validation_rmse
    if inner is None:
        return Verdict(None, "No score on held-out ratings is stored with this model", "", "")
    return Verdict(
        None,
        f"RMSE {inner:.4f} on the inner validation part",
        "",
        "That part also chose the settings, so it flatters a little; no score on held-out ratings is stored.",
    )


def _score(name: str, value: Any) -> Score | None:
    if not isinstance(value, Mapping) or not isinstance(value.get("rmse"), Mapping):
        return None
    rmse, low, high = (number_in(value["rmse"].get(key)) for key in ("value", "low", "high"))
    if rmse is None:
        return None
    mae = value.get("mae")
    n_ratings = number_in(value.get("n_ratings"))
    return Score(
        name,
        rmse,
        rmse if low is None else low,
        rmse if high is None else high,
        number_in(mae.get("value")) if isinstance(mae, Mapping) else None,
        None if n_ratings is None else int(n_ratings),
        number_in(value.get("unknown_users")) or 0.0,
        number_in(value.get("unknown_items")) or 0.0,
    )


def number_in(value: Any) -> float | None:
    """`value` if it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        return None
    return float(value)
