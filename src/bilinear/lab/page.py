"""The lab's findings as one page: the verdict, then each question with its picture and numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bilinear.inspection import charts
from bilinear.inspection.page import text, write_page
from bilinear.lab.pictures import lines, plane

if TYPE_CHECKING:
    from bilinear.lab.questions import Section
    from bilinear.lab.report import LabReport

_SENTENCES = re.compile(r"(?<=[.]) (?=[A-Z])")
_GOOD = ("certified global", "minimum", "rank-limited")
_BAD = ("strict saddle", "no minimiser")


def write_report(report: LabReport, path: Path) -> None:
    """Writes the page, whole or not at all; no network is needed to read it."""
    kind = "good" if report.verdict in _GOOD else "bad" if report.verdict in _BAD else "open"
    head = (
        f'<header><p class="over">The lab · {text(report.source)}</p>'
        f'<h1 class="verdict {kind}">{text(report.headline)}</h1>'
        f'<p class="faint">{text(report.model)}.</p></header>'
    )
    drawn = [
        _ended(report),
        _optimum(report),
        _held_out(report),
        _starts(report),
        _bowl(report),
        _parts(report),
    ]
    body = "".join(
        section_html(section, pictures) for section, pictures in zip(report.sections, drawn, strict=True)
    )
    write_page(path, f"The lab: {report.source}", f"<main>{head}{body}</main>", None, "report-page")


def section_html(section: Section, pictures: str) -> str:
    """A question with its answer, what to do next, pictures and the numbers."""
    first, *rest = _SENTENCES.split(section.answer, maxsplit=1)
    more = f"<p>{_words(rest[0])}</p>" if rest else ""
    rows = "".join(
        f'<tr><td>{text(what)}</td><td class="n">{text(number)}</td></tr>' for what, number in section.facts
    )
    numbers = f'<div class="scroll"><table><tbody>{rows}</tbody></table></div>' if rows else ""
    step = section.next_step
    return (
        f'<section class="part"><h2>{text(section.question)}</h2><p class="lead">{_words(first)}</p>{more}'
        f"<p><strong>What to do next:</strong> {_words(step[0].lower() + step[1:])}.</p><br>"
        f'<div class="pair">{pictures}{numbers}</div></section>'
    )


def _words(plain: str) -> str:
    """Text as HTML, with what stands between backticks as code."""
    parts = text(plain).split("`")
    return "".join(f"<code>{part}</code>" if at % 2 else part for at, part in enumerate(parts))


def _ended(report: LabReport) -> str:
    ended = report.ended
    if ended is None:
        return ""
    if ended.verdict == "no minimiser" and len(ended.norms) > 2:
        series = {"length of the weights": list(enumerate(ended.norms, 1))}
        return lines(
            series,
            "The weights grow for ever",
            "Length of the weights, look by look",
            "look, each further on",
        )
    losses = {"this model": ended.polished.loss_before}
    if ended.polished.loss < ended.polished.loss_before * (1 - 1e-9):
        losses["polished"] = ended.polished.loss
    if ended.escape is not None:
        losses["past the saddle"] = ended.escape.loss_after_descent
    losses["untrained"] = ended.certificate.untrained
    return _bars(losses, "Training loss, penalty included", "{:,.5g}", "{:.6g}")


def _optimum(report: LabReport) -> str:
    ended = report.ended
    if ended is None or ended.certificate.refusal:
        return ""
    found, after = ended.certificate, ended.polished_certificate
    losses = {
        "none is below": max(found.lower_bound, after.lower_bound),
        "this model": found.loss,
        "untrained": found.untrained,
    }
    return _bars(losses, "Training loss against the proved lower bound", "{:,.5g}", "{:.6g}")


def _held_out(report: LabReport) -> str:
    drawn = ""
    evidence = report.sections[2].evidence
    study = report.study
    if study is None:
        epochs = evidence.get("epochs") or []
        measured = [epoch["validation_rmse"] for epoch in epochs if epoch["validation_rmse"] is not None]
        kept = (evidence.get("best_epoch") or 0) - 1
        if epochs and len(measured) == len(epochs):
            drawn += charts.curve(
                measured, kept, "RMSE on a validation part, in training", "Validation RMSE by epoch"
            )
        elif len(epochs) > 1:
            drawn += charts.curve([epoch["loss"] for epoch in epochs], kept, "Training loss", "Loss by epoch")
    else:
        for points, what, x_label, log in (
            (study.epochs, "Error over the epochs", "epoch", False),
            (study.sizes, "Error over the number of factors", "factors", False),
        ):
            if len(points) > 1:
                series = {
                    "training": [(point.at, point.train) for point in points],
                    "held out": [(point.at, point.held_out) for point in points],
                }
                if points[0].later is not None:
                    series["later in time"] = [(point.at, point.later or 0.0) for point in points]
                drawn += lines(series, f"{what} (RMSE)", what, x_label, log_x=log)
        if study.penalties is not None:
            places = study.penalties.points
            series = {
                "training": [(point.l2, point.train_rmse) for point in places],
                "held out": [(point.l2, point.test_rmse) for point in places],
            }
            if places[0].later_rmse is not None:
                series["later in time"] = [(point.l2, point.later_rmse or 0.0) for point in places]
            drawn += lines(
                series,
                "Error over the penalty (RMSE), each trained to the end; the line is this model's",
                "RMSE over the penalty of the factors",
                "l2 of the factors",
                log_x=True,
                marked=study.l2,
            )
    if report.permuted is not None:
        found = report.permuted
        shares = {
            "own ratings": 100 * (1 - (found.train_rmse / found.mean_train_rmse) ** 2),
            "shuffled": 100 * found.memorised,
        }
        if found.learned is not None:
            shares["new ratings"] = max(100 * found.learned, 0.0)
        drawn += _bars(
            shares,
            "Share of the ratings' variance that the model explains: on shuffled ratings, all is memorised",
            "{:.0f} %",
        )
    return drawn


def _starts(report: LabReport) -> str:
    runs = report.seeds
    if runs is None:
        return ""
    return _bars(
        {"as they are": runs.barrier, "rotated": runs.barrier_aligned},
        "Height of the hill on the straight line between two runs, before and after rotating the factors",
        "{:,.4g}",
        "{:.4g}",
    )


def _bowl(report: LabReport) -> str:
    found = report.convexity
    if found is None or not np.ptp(found.slice.values) > 0:
        return ""
    cut = found.slice
    along = np.diag(cut.values)
    drawn = plane(
        cut.values,
        float(cut.a[-1]),
        "The loss from above; deep colour is low. Two valleys, and a pass where the factors are zero",
        "The training loss over multiples of the user factors and of the item factors",
        [(1, 1, "this model"), (-1, -1, "its twin")],
    )
    return drawn + lines(
        {"loss": list(zip(cut.a.tolist(), along.tolist(), strict=True))},
        "The way from the twin (-1) to the model (1): a convex loss would have no hill",
        "The training loss on the line through the model, zero factors and the twin",
        "all factors times this",
    )


def _parts(report: LabReport) -> str:
    found = report.linearity
    if found is None:
        return ""
    shares = {
        "scores": 100 * found.share_before_link,
        "predictions": 100 * found.share_after_link,
        "biases alone": 100 * found.bias_share_before_link,
        "same, predicted": 100 * found.bias_share_after_link,
    }
    return _bars(
        shares,
        "Interaction: the share of the variation that no sum of a user's and an item's number can give",
        "{:.1f} %",
        "{:.2f} %",
    )


def _bars(values: Mapping[str, float], what: str, form: str, said: str | None = None) -> str:
    """Bars with their numbers as `form`; the words for who does not see them have them as `said`."""
    label = "; ".join(f"{name}: {(said or form).format(value)}" for name, value in values.items())
    return charts.bars(list(values), list(values.values()), what, label, form=form)
