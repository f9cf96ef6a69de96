"""A race as one page: the distance of every method from the optimum, and its held-out error."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bilinear.inspection.charts import dots, intervals, lines
from bilinear.inspection.page import scrolling, text, write_page
from bilinear.lab.races.paired_differences import Difference, mean_interval

if TYPE_CHECKING:
    from bilinear.lab.races.race import MethodResult, Race


def write_race(race: Race, path: Path) -> None:
    """Writes the page, whole or not at all; it can be read without a network."""
    best, tuned = race.best, "training objective" if race.tuned_on == "objective" else "inner validation part"
    helped = [found.name for found in race.losses if found.real and found.mean < 0]
    on_new = [found.name for found in race.errors if found.real and found.mean < 0]
    first = race.methods[0].name
    head = (
        f'<header><p class="over">A race · {text(race.source)}</p>'
        f'<h1 class="verdict good">{text(best.name)} came nearest to the optimum: '
        f"{100 * float(np.mean(best.missing)):.2f}% of the way is missing.</h1>"
        f'<p class="faint">{len(race.methods)} methods from the same {len(best.runs)} starts, '
        f"{race.n_epochs} epochs each over {race.n_train:,} ratings, {race.n_factors} factors. Each method's "
        f"rate was tuned on the {tuned} with a seed of its own.</p></header>"
    )
    bound = (
        f"proved to be within {race.certified:.1g} of the optimum"
        if race.certified is not None
        else "that of a perfect fit, as for this loss no certificate exists"
    )
    body = (
        head
        + _part(
            "Which method came nearest to the optimum?",
            f"Compared with {first}, {_names(helped)} lowered the training loss beyond chance.",
            f"0 % is the lower bound {race.lower_bound:,.6g} ({bound}), 100 % an untrained model.",
            race,
            [result.missing for result in race.methods],
            race.losses,
            100.0,
        )
        + _part(
            "Which method predicts new ratings best?",
            f"Compared with {first}, {_names(on_new)} lowered the error on new ratings beyond chance.",
            f"RMSE on {race.n_test:,} ratings that were not used in training or tuning.",
            race,
            [result.test_rmse for result in race.methods],
            race.errors,
            1.0,
        )
        + _rates(race)
    )
    write_page(path, f"A race: {race.source}", f"<main>{body}</main>", None, "report-page")


def _part(
    question: str,
    answer: str,
    unit: str,
    race: Race,
    values: list[tuple[float, ...]],
    differences: tuple[Difference, ...],
    times: float,
) -> str:
    by_name = {found.name: found for found in differences}
    entries = [
        (result, mean_interval([times * value for value in row]), row)
        for result, row in zip(race.methods, values, strict=True)
        if row
    ]
    entries.sort(key=lambda entry: entry[1][0])
    digits = 2 if times == 100 else 4
    rows = "".join(
        f'<tr><td class="k">{text(result.name)}</td><td class="n">{mean:.{digits}f}</td>'
        f'<td class="n">{left:.{digits}f} to {right:.{digits}f}</td>'
        f'<td class="n">{_difference(by_name.get(result.name), times, digits)}</td></tr>'
        for result, (mean, left, right), _ in entries
    )
    head = (
        '<tr><th class="k">method</th><th class="n">mean</th><th class="n">95 % interval</th>'
        f'<th class="n">less {text(race.methods[0].name)}</th></tr>'
    )
    picture = dots(
        {result.name: [times * value for value in row] for result, _, row in entries},
        "Every run a dot, the bar is the mean",
        question,
    ) + intervals(
        {result.name: bounds for result, bounds, _ in entries},
        "Means and their 95 % intervals",
        f"{{:.{digits}f}}",
    )
    table = scrolling(f"<thead>{head}</thead><tbody>{rows}</tbody>")
    return (
        f'<section class="part"><h2>{text(question)}</h2><p class="lead">{text(answer)}</p>'
        "<p><strong>What to do next:</strong> take the top of the list that matters to you; where a "
        "difference is marked as chance, take the simpler method.</p><br>"
        f'<div class="pair"><div>{picture}</div>{table}</div>'
        f'<p class="faint">{text(unit)} Differences are paired by start; p values of '
        "sign-flip tests are corrected for their number (Holm). They are about other starts on these "
        "ratings, "
        "not about other ratings.</p></section>"
    )


def _difference(found: Difference | None, times: float, digits: int) -> str:
    if found is None:
        return ""
    note = f"p = {found.p_corrected:.2g}" if found.real else "may be chance"
    return f"{times * found.mean:+.{digits}f}<br>{note}"


def _rates(race: Race) -> str:
    def drawn(result: MethodResult) -> str:
        points = [(trial.learning_rate, trial.value) for trial in result.trials if trial.value is not None]
        what = f"{result.name}: rate {result.learning_rate:.3g}"
        if len(points) < 2:
            return ""
        return lines(
            {result.name: points}, what, what, "learning rate", log_x=True, marked=result.learning_rate
        )

    by = "training objective" if race.tuned_on == "objective" else "validation RMSE"
    return (
        '<section class="part"><h2>How was each rate chosen?</h2>'
        f'<p class="lead">By the {by} after the same budget, in steps of two from both sides.</p><br>'
        f'<div class="pair">{"".join(map(drawn, race.methods))}</div></section>'
    )


def _names(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names) or "nothing"
