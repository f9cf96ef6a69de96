"""The lab's findings as questions, each with an answer in plain words and what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bilinear.data.interactions import Interactions
from bilinear.estimators.base import RatingModel
from bilinear.lab.certificate import Certificate
from bilinear.lab.convexity import Convexity
from bilinear.lab.generalisation import Permuted, effective_rank, rmse
from bilinear.lab.held_out import Study
from bilinear.lab.linearity import Linearity
from bilinear.lab.matching import Matched
from bilinear.lab.seeds import Seeds
from bilinear.lab.stationarity import WhereItEnded, sentence

Fact = tuple[str, str]


@dataclass(frozen=True)
class Section:
    """A question, its answer in one plain sentence, what to do next, and the numbers behind them.

    Attributes: facts: (what, number with its unit), for people; evidence: JSON values, for programs.
    """

    question: str
    answer: str
    next_step: str
    evidence: dict[str, Any]
    facts: tuple[Fact, ...] = ()

    def __str__(self) -> str:
        width = max((len(what) for what, _ in self.facts), default=0)
        facts = "".join(f"\n    {what:<{width}}  {number}" for what, number in self.facts)
        return f"{self.question}\n  {self.answer}\n  Next: {self.next_step}.{facts}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "question": self.question,
            "answer": self.answer,
            "next_step": self.next_step,
            "facts": [list(fact) for fact in self.facts],
            "evidence": self.evidence,
        }


_AFTER: dict[str, str] = {
    "certified global": "nothing to do here: more training or another optimiser cannot lower the training "
    "loss; what is left to tune is the penalty, for the error on new ratings",
    "rank-limited": "more epochs will not help; add factors only if the error on new ratings falls with them",
    "minimum": "nothing, or compare other starts: another minimum may be lower",
    "strict saddle": "train on from the way down that was found, or start with larger random factors",
    "second-order point": "raise the L2 a little, which removes flat directions",
    "not converged": "more epochs, or a rate that goes to zero, if the error on new ratings still falls; "
    "stopping early is a choice, not a fault",
    "no minimiser": "set an L2 above zero for factors and biases",
}


def where_it_ended(ended: WhereItEnded, other: str | None, matched: Matched) -> Section:
    """Did training arrive?"""
    notes = []
    if other:
        notes.append(f"Note: {other}.")
    if not matched.exact:
        notes.append(f"Note: {_other_ratings(matched)}, so it need not be at rest here.")
    polished, curvature = ended.polished, ended.curvature
    facts: list[Fact] = [
        ("training loss as it is", f"{polished.loss_before:,.6g}"),
        ("after polishing to rest" if polished.stationary else "after polishing", f"{polished.loss:,.6g}"),
        ("slope left, 0 at rest, 1 untrained", f"{polished.gradient_before:.2g}"),
        ("how far polishing moved the scores", f"{polished.distance:.2%}"),
    ]
    if not polished.stationary:
        facts.append(("polishing came to rest", "no: the budget was used up first"))
    if curvature is not None:
        bend = "upwards" if curvature.positive else "downwards" if curvature.negative else "flat"
        facts += [
            ("smallest bend of the loss at rest", f"{curvature.smallest:.4g} ({bend})"),
            ("largest bend", f"{curvature.largest:.4g}"),
            ("flat directions that are only rotations", f"{curvature.n_symmetries:,}"),
        ]
        if curvature.n_negative:
            facts.append(("directions that go down", f"{curvature.n_negative:,}"))
    if ended.escape is not None:
        facts += [
            ("loss on the way down", f"{ended.escape.loss:,.6g}"),
            ("loss after following it", f"{ended.escape.loss_after_descent:,.6g}"),
        ]
    next_step = _AFTER[ended.verdict]
    if ended.verdict == "not converged" and polished.distance <= 0.01 and not polished.stationary:
        next_step = "look again with a larger budget of products: it is near rest, and of what kind is open"
    return Section(
        "Where did training end?",
        " ".join([sentence(ended), *notes]),
        next_step,
        ended.to_dict(),
        tuple(facts),
    )


def how_far(ended: WhereItEnded, other: str | None) -> Section:
    """Is a better model possible, on the training loss?"""
    found, after = ended.certificate, ended.polished_certificate
    facts: list[Fact] = [("training loss as it is", f"{found.loss:,.6g}")]
    if not found.refusal:
        best = max(found.lower_bound, after.lower_bound)
        facts += [
            ("no model of any size is below", f"{best:,.6g}"),
            ("proved to be above the best by at most", _share(found, best)),
            ("after polishing by at most", _percent(after.relative_gap)),
            ("slope over penalty, 1 at the best", f"{found.ratio:.4g}"),
            ("gain of one more factor", f"{found.gain:.4g}"),
        ]
    if found.refusal:
        answer = f"Nobody can say: {found.refusal}."
        next_step = "use CrossEntropy with the sigmoid, or SquaredError without it, and an L2 above zero"
    elif found.certified and other:
        answer = "Nothing is certified: no model is below it in the loss and penalty that it was given."
        next_step = "train on that loss and penalty alone, if a proof matters"
    elif found.certified:
        answer = "It is the global optimum of its training loss, and that is proved."
        next_step = "keep the proof: `bilinear lab certify` makes one that anyone can check from the ratings"
    else:
        best = max(found.lower_bound, after.lower_bound)
        answer = (
            f"Its training loss is at most {_share(found, best)} above what any model with this penalty, of "
            f"whatever size, could reach; after polishing, at most {_percent(after.relative_gap)}."
        )
        next_step = (
            f"one more factor would lower the loss by {found.gain:.4g}; `bilinear lab certify` finds the "
            "optimum itself"
            if found.gain > 0
            else "train on; another factor would not help"
        )
    if other:
        answer += " That is not what training minimised."
    return Section("How far from the global optimum?", answer, next_step, found.to_dict(), tuple(facts))


def does_it_generalise(
    model: RatingModel,
    train: Interactions,
    test: Interactions | None,
    shuffled: Permuted | None,
    found: Study | None,
) -> Section:
    """What is the error on ratings it has not seen?"""
    parameters = model.parameters_
    train_rmse = rmse(parameters, model.link_, train)
    test_rmse = None if test is None else model.evaluate(test).rmse.value
    rank = effective_rank(parameters)
    facts: list[Fact] = [("RMSE on the training ratings", f"{train_rmse:.4f}")]
    if test is not None:
        facts.append((f"RMSE on {test.n_ratings:,} other ratings", f"{test_rmse:.4f}"))
    if parameters.n_factors:
        facts.append(("factors, and how many it really uses", f"{parameters.n_factors:,}, {rank:.1f}"))
    if model.history_.epochs:
        facts.append(("epoch kept, of", f"{model.history_.best_epoch}, {len(model.history_.epochs)}"))
    if test_rmse is None:
        answer = f"Its predictions miss the ratings it was trained on by {train_rmse:.4f} on average (RMSE)."
        next_step = (
            "hold ratings out and give them as test: the training error says nothing of new ones; or ask "
            "for the study, which trains again on a part"
        )
    else:
        answer = (
            f"Its predictions miss held-out ratings by {test_rmse:.4f} and those it was trained "
            f"on by {train_rmse:.4f} (RMSE)."
        )
        next_step = "a wide gap between the two asks for a larger penalty or fewer factors"
    if shuffled is not None:
        answer += (
            f" Trained on shuffled ratings it still explains {shuffled.memorised:.0%} of their variance, "
            "which is pure memorising."
        )
        own = 1 - (shuffled.train_rmse / shuffled.mean_train_rmse) ** 2
        facts.append(
            ("variance explained: its own ratings, shuffled", f"{own:.0%}, {shuffled.memorised:.0%}")
        )
    if found is not None:
        words, study_facts, step = _of_study(found)
        answer, next_step, facts = f"{answer} {words}", step or next_step, [*facts, *study_facts]
    evidence: dict[str, Any] = {
        "train_rmse": train_rmse,
        "test_rmse": test_rmse,
        "n_factors": parameters.n_factors,
        "effective_rank": rank,
        "best_epoch": model.history_.best_epoch,
        "epochs": [vars(epoch) for epoch in model.history_.epochs],
        "permuted": None if shuffled is None else shuffled.to_dict(),
        "study": None if found is None else found.to_dict(),
    }
    return Section("Does it generalise?", answer, next_step, evidence, tuple(facts))


def other_starts(runs: Seeds | None) -> Section:
    """Does the result depend on chance?"""
    question = "Do other starts find the same model?"
    if runs is None:
        return Section(
            question,
            "Not measured: it takes a training run for each start.",
            "ask for it: `--seeds 4`, or report(..., n_seeds=4)",
            {},
        )
    same = runs.same_top_10
    answer = (
        f"{len(runs.losses)} random starts end at training losses from {min(runs.losses):,.6g} to "
        f"{max(runs.losses):,.6g}, and two of them share {same:.0%} of a user's ten best items."
    )
    next_step = (
        "average a few runs, or raise the penalty, if lists should not depend on the seed"
        if same < 0.9
        else "nothing: any seed will do"
    )
    facts = (
        ("hill on the straight line between two runs", f"{runs.barrier:.4g}"),
        ("the same, after rotating the factors", f"{runs.barrier_aligned:.4g}"),
        ("scores differ between runs by", f"{runs.spread:.3g}"),
        ("share of equal top 10 items", f"{same:.0%}"),
    )
    return Section(question, answer, next_step, runs.to_dict(), facts)


def is_it_convex(found: Convexity, n_factors: int) -> Section:
    """Is the training loss one bowl?"""
    if found.witnessed:
        answer = (
            "No: the model and its twin with all factors negated are equally good, and what lies halfway "
            "between them is worse."
        )
    elif not n_factors:
        answer = "Yes, for this model: without factors nothing is multiplied with anything."
        if not found.convex_in_score:
            answer = "No: it has no factors, but its loss is not convex in the score."
    else:
        answer = "No witness was found: without its factors this model is no worse."
    if n_factors and found.halves_convex:
        answer += " With the items held fixed it is convex in the users, and the reverse."
    next_step = (
        "nothing: where training ended is what counts, see above"
        if found.convex_in_score
        else f"the loss bends the wrong way at {1 - found.share_in_band:.1%} of the ratings; CrossEntropy "
        "never does"
    )
    facts = (
        ("loss of the model, and of its twin", f"{found.loss:,.6g}, {found.loss_flipped:,.6g}"),
        ("loss halfway, where the factors cancel", f"{found.loss_between:,.6g}"),
        ("random chords below the loss, of", f"{found.n_above}, {found.n_chords}"),
        ("the same with one side held fixed", f"{found.n_half_above}, {found.n_half_chords}"),
        ("ratings where the loss bends upwards", f"{found.share_in_band:.1%}"),
    )
    return Section("Is the training loss convex?", answer, next_step, found.to_dict(), facts)


def is_it_linear(found: Linearity) -> Section:
    """Is the score a weighted sum?"""
    if found.linear:
        answer = "Yes: the score is the sum of a user's and an item's number."
    else:
        answer = (
            "It is bilinear: linear in the user with the item fixed and the reverse, not in both; "
            f"{_percent(found.share_before_link)} of the scores' variation is interaction."
        )
    facts = (
        ("rows where look-up and one-hot product differ", f"{found.n_different_bits:,} of {found.n_rows:,}"),
        ("deviation from linear in the user alone", f"{found.user_affine:.1g}"),
        ("deviation from linear in the item alone", f"{found.item_affine:.1g}"),
        ("deviation from linear in both at once", f"{found.jointly_linear:.2g}"),
        ("interaction in the scores, in the predictions", f"{_percent(found.share_before_link)}, "
         f"{_percent(found.share_after_link)}"),
        ("the same with biases alone", f"{_percent(found.bias_share_before_link)}, "
         f"{_percent(found.bias_share_after_link)}"),
    )  # fmt: skip
    return Section(
        "Is it a linear model?",
        answer,
        "nothing: compare with BiasModel, which is the linear part",
        found.to_dict(),
        facts,
    )


def _share(found: Certificate, bound: float) -> str:
    """How far the objective may be above the optimum, with the best bound that is known."""
    return _percent(max(found.loss - bound, 0.0) / abs(bound) if bound > 0 else found.relative_gap)


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 1e-3 else f"{100 * share:.1g}%"


def _other_ratings(matched: Matched) -> str:
    parts = []
    if matched.n_missing:
        parts.append(f"{matched.n_missing:,} training ratings are missing")
    if matched.n_extra:
        parts.append(f"{matched.n_extra:,} were not trained on")
    if matched.n_changed:
        parts.append(f"{matched.n_changed:,} had another value")
    return f"these are not the ratings it was trained on ({', '.join(parts)})"


def _of_study(found: Study) -> tuple[str, list[Fact], str]:
    """(words, facts, next step)"""
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
