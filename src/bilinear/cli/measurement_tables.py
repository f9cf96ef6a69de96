"""Tables of measurements for the terminal."""

from __future__ import annotations

from typing import Any

from bilinear.cli.output import print_table, print_text

FIXED = (
    "Intervals (95 %) are about other users, with these fitted models as they are; which recipe is better on "
    "other samples is less certain"
)
_ENOUGH = 30  # rows below which an RMSE says nothing


def say_measurement(measured: Any) -> None:
    """The table of models: errors of ratings or metrics of rankings, with intervals and differences."""
    if measured.task == "ratings":
        _say_errors(measured)
    else:
        _say_rankings(measured)
    print_text(FIXED + (": --refits N measures that" if measured.refits is None else ", as follows"))
    if measured.refits is not None:
        _say_refits(measured)
    for scores in measured.cold:
        _say_cold(scores)


def _say_cold(scores: Any) -> None:
    """Scores on what was held out whole, the best first."""
    down = scores.metric != "RMSE"
    ordered = sorted(scores.scores.items(), key=lambda pair: pair[1].value, reverse=down)
    lists = {"items": ", in lists of new items alone", "users": ", in lists of all items"}[scores.side]
    print_text(
        f"\nNew {scores.side}: {scores.n_new:,} that are in no row of training, with {scores.n_ratings:,} "
        f"ratings{lists if down else ''}; what features tell shows against the same features shuffled"
    )
    print_table(
        {
            "model": [name for name, _ in ordered],
            f"{scores.metric} [95 % interval]": [str(score) for _, score in ordered],
        }
    )


def _say_refits(measured: Any) -> None:
    """Mean differences over repeated splits."""
    refits = measured.refits
    usual = ["rmse"] if measured.task == "ratings" else measured.comparison.usual_metrics()
    columns: dict[str, Any] = {f"less {measured.baseline}": list(refits.differences)}
    for metric in usual:
        found = [by.get(metric) for by in refits.differences.values()]
        if None not in found:
            columns[f"{'RMSE' if metric == 'rmse' else metric} [95 % interval]"] = [*map(_signed, found)]
    print_text(
        f"\nMeans over {refits.n_splits} splits, models fitted on each; intervals for new samples of users:"
    )
    print_table(columns)


def say_comparison(comparison: Any) -> None:
    """Fitted models side by side."""
    from bilinear.estimators.measurement import Measurement

    if hasattr(comparison, "table"):
        print_text(str(comparison))
    else:
        _say_errors(Measurement("the whole file", 0, comparison, {}))
    print_text(FIXED)


def _say_rankings(measured: Any) -> None:
    comparison = measured.comparison
    print_text(f"Held out: {measured.split}; never seen in training or search")
    print_text(str(comparison))
    seconds = ", ".join(f"{name} {taken:.2f}" for name, taken in measured.seconds.items())
    print_text(f"\nSeconds to fit: {seconds}")


def _say_errors(measured: Any) -> None:
    any_scores = next(iter(measured.scores.values()))
    worst_first = sorted(measured.scores.items(), key=lambda pair: -pair[1].rmse.value)
    print_text(
        f"Held out: {any_scores.n_ratings:,} ratings of {any_scores.n_users:,} users ({measured.split}), "
        "never seen in training or search"
    )
    columns = {
        "model": [name for name, _ in worst_first],
        "RMSE [95 % interval]": [str(scores.rmse) for _, scores in worst_first],
        "MAE [95 % interval]": [str(scores.mae) for _, scores in worst_first],
    }
    if measured.differences:
        columns[f"RMSE - {measured.baseline}'s"] = [
            _signed(measured.differences[name]) if name in measured.differences else ""
            for name, _ in worst_first
        ]
    if measured.seconds:
        columns["seconds"] = [f"{measured.seconds[name]:.2f}" for name, _ in worst_first]
    print_table(columns, right=["seconds"])
    n_unknown = any_scores.n_unknown
    if n_unknown:
        print_text(
            f"Of these ratings {any_scores.unknown_users:.1%} have a user and "
            f"{any_scores.unknown_items:.1%} an item without training ratings, {n_unknown:,} in all"
            + ("; RMSE on them:" if n_unknown >= _ENOUGH else "")
        )
        for name, scores in worst_first if n_unknown >= _ENOUGH else ():
            print_text(f"  {name}: {scores.rmse_unknown:.4f}")


def _signed(difference: Any) -> str:
    return f"{difference.value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"
