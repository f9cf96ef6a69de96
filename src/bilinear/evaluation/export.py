"""Comparison tables for papers and spreadsheets: Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from typing import Any, Literal, Protocol

from bilinear.errors import ParameterValueError
from bilinear.persistence.card import intervals, markdown_table, score_cells

_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_LATEX |= {sign: f"\\{sign}" for sign in "&%$#_{}"}


class ComparedModels(Protocol):
    """Results with scores of several models: `Comparison`, `RatingComparison`, `Measurement`."""

    def to_dict(self) -> dict[str, Any]: ...


def format_table(
    compared: ComparedModels, form: Literal["markdown", "latex", "csv"], metrics: list[str] | None = None
) -> str:
    """The scores of a comparison with their 95 % intervals, as text for a paper or a spreadsheet.

    Args:
        form: "markdown"; "latex", a tabular for the package booktabs; or "csv", one line for each model and
            metric with all digits, its interval, and the paired difference to the baseline if there is one.
        metrics: these alone, in this order; None is all that have intervals.
    Raises:
        ParameterValueError: `form` or a metric is not known.

    Examples:
        >>> from bilinear import BiasModel, GlobalMean, compare_ratings, format_table, split_random
        >>> from bilinear import synthetic_ratings
        >>> split = split_random(synthetic_ratings(50, 30, 600, rng=0), test=0.2, rng=0)
        >>> models = {"mean": GlobalMean().fit(split.train)}
        >>> models["biases"] = BiasModel(l2_biases=1.0).fit(split.train)
        >>> found = compare_ratings(models, split.test, baseline="mean")
        >>> print(format_table(found, "csv").splitlines()[0])
        model,metric,value,low,high,difference,difference_low,difference_high
        >>> print(format_table(found, "markdown", ["rmse"]).splitlines()[0])
        | model | rmse |
    """
    stored = compared.to_dict()
    if form == "csv":
        return _csv(stored, metrics)
    if form not in ("markdown", "latex"):
        raise ParameterValueError(f'form is "markdown", "latex" or "csv", got {form!r}')
    head, *body = score_cells(stored["scores"])
    kept = [0, *(head.index(name) for name in _chosen(head[1:], metrics))]
    rows = [[row[column] for column in kept] for row in (head, *body)]
    if form == "markdown":
        return "\n".join(markdown_table(rows)) + "\n"
    head, *body = (
        [re.sub(r"[\\~^&%$#_{}]", lambda sign: _LATEX[sign[0]], cell) for cell in row] for row in rows
    )
    lines = [
        f"\\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
        r"\toprule",
        " & ".join(head) + r" \\",
        r"\midrule",
    ]
    lines += [" & ".join(row) + r" \\" for row in body]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _chosen(known: list[str], metrics: list[str] | None) -> list[str]:
    for name in metrics or ():
        if name not in known:
            raise ParameterValueError(f"no metric {name!r} with an interval; there are {', '.join(known)}")
    return known if metrics is None else metrics


def _csv(stored: Mapping[str, Any], metrics: list[str] | None) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["model", "metric", "value", "low", "high", "difference", "difference_low", "difference_high"]
    )
    for model, scores in stored["scores"].items():
        found = dict(intervals(scores))
        less = stored["differences"].get(model, {})
        differences = dict(
            intervals({"rmse": less} if "value" in less else less)
        )  # of ratings, the RMSE's alone
        for metric in _chosen(list(found), metrics):
            writer.writerow([model, metric, *found[metric], *differences.get(metric, ("", "", ""))])
    return out.getvalue()
