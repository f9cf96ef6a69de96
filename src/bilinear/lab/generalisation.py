"""Generalisation: errors on training and held-out ratings, and on parts trained again."""

from __future__ import annotations

from typing import Any

from bilinear.inspection.charts import bars, lines
from bilinear.inspection.model_charts import training_charts
from bilinear.lab.numerics.summaries import effective_rank, rmse
from bilinear.lab.reporting.context import Context
from bilinear.lab.reporting.instrument import Instrument, register
from bilinear.lab.reporting.section import Fact, Section
from bilinear.lab.retraining.held_out_study import HeldOutStudy, held_out_study
from bilinear.lab.retraining.permuted_control import PermutedControl, permuted_control


@register
class Generalisation(Instrument):
    """Errors on training and other ratings; with `control` and `study` also of models trained again.

    Examples:
        >>> from bilinear import BiasModel, lab, synthetic_ratings
        >>> ratings = synthetic_ratings(20, 15, 150, rng=0)
        >>> model = BiasModel(l2_biases=1.0).fit(ratings)
        >>> lab.report(model, ratings, only=["generalisation"])["generalisation"].question
        'Does it generalise?'
    """

    name = "generalisation"
    question = "Does it generalise?"
    order = 2

    def measure(self, context: Context) -> Section:
        model = context.rating_model
        if model is None:
            return self._of_a_ranking_model(context)
        control: PermutedControl | None = None
        study: HeldOutStudy | None = None
        if context.control:
            context.on_progress("training once more on shuffled ratings")
            control = permuted_control(model, context.train, context.test, rng=context.rng)
        if context.study:
            context.on_progress("training again on a part of the ratings: epochs, factors, penalties")
            study = held_out_study(model, context.train, rng=context.rng)
        parameters, history, test, reported = (
            model.parameters_,
            model.history_,
            context.test,
            context.reported,
        )
        train_rmse = rmse(parameters, model.link_, context.train)
        test_rmse = None if test is None else model.evaluate(test).rmse.value
        rank = effective_rank(parameters)
        facts: list[Fact] = [("RMSE on the training ratings", f"{train_rmse:.4f}")]
        if test is not None:
            facts.append((f"RMSE on {test.n_ratings:,} other ratings", f"{test_rmse:.4f}"))
        if reported is not None:
            interval = f"{reported.rmse:.4f} [{reported.low:.4f}, {reported.high:.4f}]"
            facts.append(("held-out RMSE in the model's own report", interval))
        if parameters.n_factors:
            facts.append(("factors, and how many it really uses", f"{parameters.n_factors:,}, {rank:.1f}"))
        if history.epochs:
            facts.append(("epoch kept, of", f"{history.best_epoch}, {len(history.epochs)}"))
        answer, next_step = _answer(train_rmse, test_rmse, None if reported is None else reported.rmse)
        if control is not None:
            answer += (
                f" Trained on shuffled ratings it still explains {control.memorised:.0%} of their variance, "
                "which is pure memorising."
            )
            own = 1 - (control.train_rmse / control.mean_train_rmse) ** 2
            facts.append(
                ("variance explained: its own ratings, shuffled", f"{own:.0%}, {control.memorised:.0%}")
            )
        if study is not None:
            words, study_facts, step = _of_study(study)
            answer, next_step, facts = f"{answer} {words}", step or next_step, [*facts, *study_facts]
        evidence: dict[str, Any] = {
            "train_rmse": train_rmse,
            "test_rmse": test_rmse,
            "reported_rmse": None if reported is None else reported.rmse,
            "n_factors": parameters.n_factors,
            "effective_rank": rank,
            "best_epoch": history.best_epoch,
            "epochs": [vars(epoch) for epoch in history.epochs],
            "permuted": None if control is None else control.to_dict(),
            "study": None if study is None else study.to_dict(),
        }
        picture = next(iter(training_charts(history)), "") if study is None else _study_picture(study)
        if control is not None:
            picture += _control_picture(control)
        return self.section(
            answer,
            next_step,
            evidence,
            facts,
            picture=picture,
            measured={"permuted": control, "study": study},
        )

    def _of_a_ranking_model(self, context: Context) -> Section:
        parameters = context.model.dot_product()
        rank = None if parameters is None else effective_rank(parameters)
        return self.section(
            "Not measured here: errors in stars say nothing about a ranking.",
            "measure it with evaluate_ranking on interactions that it was not trained on",
            {"effective_rank": rank},
            () if rank is None else (("factors it really uses", f"{rank:.1f}"),),
        )


def _answer(train: float, test: float | None, reported: float | None) -> tuple[str, str]:
    """(answer, next step) of the errors alone."""
    wide = "a wide gap between the two asks for a larger penalty or fewer factors"
    if test is not None:
        return (
            f"Its predictions miss held-out ratings by {test:.4f} and those it was trained on by {train:.4f} "
            "(RMSE).",
            wide,
        )
    if reported is not None:
        return (
            f"Its predictions missed held-out ratings by {reported:.4f}, as its own report states, and they "
            f"miss those it was trained on by {train:.4f} (RMSE).",
            wide,
        )
    return (
        f"Its predictions miss the ratings it was trained on by {train:.4f} on average (RMSE).",
        "hold ratings out and give them as test: the training error says nothing about new ones; or ask "
        "for the study, which trains again on a part",
    )


def _of_study(found: HeldOutStudy) -> tuple[str, list[Fact], str]:
    """(words, facts, next step) of a study."""
    words = f"Trained again without {found.how}:"
    step = "nothing: its penalty is within a factor of two of the best"
    facts: list[Fact] = []
    if found.epochs:
        last, best = found.epochs[-1], min(found.epochs, key=lambda point: point.held_out)
        facts.append(
            ("held-out RMSE at the best epoch, the last", f"{best.held_out:.4f}, {last.held_out:.4f}")
        )
        if last.later is not None:
            facts.append(("RMSE on later ratings at the last epoch", f"{last.later:.4f}"))
        words += f" the held-out error is {last.held_out:.4f} at the end"
        words += f" and was best at epoch {best.at:.0f} of {last.at:.0f}."
    if found.sizes:
        size = min(found.sizes, key=lambda point: point.held_out)
        facts.append(("best number of factors, its held-out RMSE", f"{size.at:.0f}, {size.held_out:.4f}"))
    if found.penalties is not None:
        best_l2, worse = found.penalties.best, found.penalties.certified_worse
        facts.append(
            ("best l2 when trained to the end, its RMSE", f"{best_l2.l2:.4g}, {best_l2.test_rmse:.4f}")
        )
        if worse:
            words += (
                f" {len(worse)} penalties whose training loss is within a thousandth of the global optimum "
                "predict clearly worse than the best: the optimum is not the best model."
            )
        if found.l2 and not 0.45 <= best_l2.l2 / found.l2 <= 2.2:
            step = f"try l2={best_l2.l2:.3g} instead of {found.l2:.3g}"
    return words, facts, step


def _study_picture(study: HeldOutStudy) -> str:
    by_epoch, by_size = (
        [(point.at, point.train, point.held_out, point.later) for point in points]
        for points in (study.epochs, study.sizes)
    )
    drawn = ""
    for rows, what, x_label in (
        (by_epoch, "Error over the epochs", "epoch"),
        (by_size, "Error over the number of factors", "factors"),
    ):
        if len(rows) > 1:
            drawn += lines(_series(rows), f"{what} (RMSE)", what, x_label)
    if study.penalties is not None:
        places = study.penalties.points
        drawn += lines(
            _series([(point.l2, point.train_rmse, point.test_rmse, point.later_rmse) for point in places]),
            "Error over the penalty (RMSE), each trained until it converges; the line is this model's",
            "RMSE over the penalty of the factors",
            "l2 of the factors",
            log_x=True,
            marked=study.l2,
        )
    return drawn


def _series(rows: list[tuple[float, float, float, float | None]]) -> dict[str, list[tuple[float, float]]]:
    """Curves of (x, training, held-out, later) errors; without the last where times are missing."""
    series = {"training": [(x, y) for x, y, _, _ in rows], "held out": [(x, y) for x, _, y, _ in rows]}
    later = [(x, y) for x, _, _, y in rows if y is not None]
    return series | ({"later in time": later} if later else {})


def _control_picture(control: PermutedControl) -> str:
    shares = {
        "own ratings": 100 * (1 - (control.train_rmse / control.mean_train_rmse) ** 2),
        "shuffled": 100 * control.memorised,
    }
    if control.learned is not None:
        shares["new ratings"] = max(100 * control.learned, 0.0)
    return bars(
        shares,
        "Share of the ratings' variance that the model explains: on shuffled ratings, all is memorised",
        "{:.0f}%",
    )
