"""Distance from the global optimum: a bound that holds for every number of factors."""

from __future__ import annotations

from bilinear.inspection.charts import bars
from bilinear.lab.endpoint import endpoint_of
from bilinear.lab.proofs.certificate import Certificate
from bilinear.lab.reporting.context import Context
from bilinear.lab.reporting.instrument import Instrument, register
from bilinear.lab.reporting.section import Fact, Section, percent


@register
class OptimalityGap(Instrument):
    """The largest possible distance of the training loss from its global optimum, by the certificate.

    Examples:
        >>> from bilinear import BiasModel, lab, synthetic_ratings
        >>> ratings = synthetic_ratings(20, 15, 150, rng=0)
        >>> model = BiasModel(l2_biases=1.0).fit(ratings)
        >>> lab.report(model, ratings, only=["optimality"])["optimality"].answer
        'It is the global optimum of its training loss, and that is proved.'
    """

    name = "optimality"
    question = "How far from the global optimum?"
    order = 1

    def measure(self, context: Context) -> Section:
        if context.descent_model is None:
            return self.section(_RANKING[context.training], "nothing", {})
        endpoint, mismatch = endpoint_of(context), context.mismatch
        found, after = endpoint.certificate, endpoint.polished_certificate
        bound = max(found.lower_bound, after.lower_bound)
        facts: list[Fact] = [("training loss as it is", f"{found.loss:,.6g}")]
        losses = {"none is below": bound, "this model": found.loss, "untrained": found.untrained}
        picture = bars(losses, "Training loss against the proved lower bound", "{:,.5g}", "{:.6g}")
        if found.refusal:
            answer = f"No bound is known: {found.refusal}."
            next_step = "use CrossEntropy with the sigmoid, or SquaredError without it, and an L2 above zero"
            picture = ""
        else:
            facts += [
                ("no model of any size is below", f"{bound:,.6g}"),
                ("proved to be above the best by at most", _share(found, bound)),
                ("after polishing by at most", percent(after.relative_gap)),
                ("gradient over penalty, 1 at the best", f"{found.ratio:.4g}"),
                ("gain of one more factor", f"{found.gain:.4g}"),
            ]
            answer, next_step = _answer(found, after, bound, certifies=not mismatch)
        if mismatch:
            answer += " That is not what training minimised."
        return self.section(
            answer,
            next_step,
            found.to_dict(),
            facts,
            picture=picture,
            tone="good" if found.certified and not mismatch else "open",
            measured=found,
        )


_RANKING = {
    "closed form": "It is at the global optimum by construction: its least squares problem is convex.",
    "all pairs": "The lab cannot say: no lower bound over all pairs of users and items is computed here.",
    "rankings": "The lab cannot say: no lower bound is known for its loss here.",
    "posterior": "The question does not arise: it is the mean of a posterior, and minimises no loss.",
    "counts": "The question does not arise: it minimises no loss.",
}


def _answer(found: Certificate, after: Certificate, bound: float, *, certifies: bool) -> tuple[str, str]:
    """(answer, next step) where a bound is known."""
    if found.certified and certifies:
        return (
            "It is the global optimum of its training loss, and that is proved.",
            "keep the proof: `bilinear lab certify` makes one that anyone can check from the ratings",
        )
    if found.certified:
        return (
            "Nothing is certified: no model is below it in the loss and penalty that it was given.",
            "train on that loss and penalty alone, if a proof matters",
        )
    return (
        f"Its training loss is at most {_share(found, bound)} above what any model with this penalty, of "
        f"whatever size, could reach; after polishing, at most {percent(after.relative_gap)}.",
        f"one more factor would lower the loss by {found.gain:.4g}; `bilinear lab certify` finds the "
        "optimum itself"
        if found.gain > 0
        else "train for more epochs; another factor would not help",
    )


def _share(found: Certificate, bound: float) -> str:
    """How far the objective may be above the optimum, with the best bound that is known."""
    return percent(max(found.loss - bound, 0.0) / abs(bound) if bound > 0 else found.relative_gap)
