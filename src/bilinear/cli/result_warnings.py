"""Warnings beside the results of a command: odd ratings, and models no better than a baseline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def own_warnings() -> Iterator[list[str]]:
    """Warnings of outliers are left out, and those of columns that leak ratings come in the list.

    The command says both itself, once.
    """
    import warnings

    from bilinear.data.outliers import OutlierWarning
    from bilinear.estimators.with_features import LeakWarning

    leaks: list[str] = []

    def collect(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
        if not issubclass(category, LeakWarning):
            before(message, category, *place, **more)
        elif str(message) not in leaks:
            leaks.append(str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutlierWarning)
        warnings.simplefilter("always", LeakWarning)
        before, warnings.showwarning = warnings.showwarning, collect
        yield leaks


def odd_ratings(table: Any, rating_range: Any = None) -> list[str]:
    """Lines on ratings that are far from all others, or look like counts."""
    from bilinear.data.outliers import COUNTS_ADVICE, Fence, look_like_counts

    found = "" if rating_range is not None else Fence.of(table.ratings).describe(table)
    lines = [found] if found else []
    return lines + ([COUNTS_ADVICE] if look_like_counts(table.ratings) else [])


def doubt(measured: Any, name: str) -> str:
    """A line where the model that is saved is not clearly better than the others; or nothing."""
    of_model = measured.differences.get(name)
    if of_model is None:
        return ""
    if measured.task == "ratings":
        scores = measured.scores
        better = [other for other in scores if scores[other].rmse.value < scores[name].rmse.value]
        if of_model.high < 0 and not better:
            return ""
        best = min(better, key=lambda other: scores[other].rmse.value, default="")
        told = (
            f": {best} measured better (RMSE {scores[best].rmse.value:.4g} against "
            f"{scores[name].rmse.value:.4g})"
            if best
            else ""
        )
        than = best if best and of_model.high < 0 else measured.baseline
        return f"{name} is not clearly better than {than}{told}; there may be too little to learn from"
    doubtful = [metric for metric in measured.comparison.usual_metrics() if metric in of_model]
    if doubtful and all(of_model[metric].low <= 0 for metric in doubtful):
        return (
            f"{name} is not clearly better than one list for all ({measured.baseline}); there may be too "
            "little to learn from"
        )
    return ""


def without_factors(model: Any) -> str:
    """The terms of a rating model whose search chose zero factors; empty for other models."""
    if getattr(getattr(model, "parameters_", None), "n_factors", 1) or not getattr(model, "search_", None):
        return ""
    from bilinear.training.search import NO_BIASES

    table = model.search_
    mean = [trial.l2_biases for trial in table.trials if trial.stage == "mean"]
    alone = "the mean" if table.l2_biases in mean or table.l2_biases == NO_BIASES else "biases"
    return f"{alone} alone won on the inner validation part"
