"""One report on one model: from the verdict down, in plain words first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bilinear.data.interactions import Interactions
from bilinear.errors import ParameterValueError
from bilinear.estimators.base import RatingModel
from bilinear.estimators.baselines import GlobalMean
from bilinear.lab.certificate import Certificate
from bilinear.lab.convexity import Convexity, convexity
from bilinear.lab.generalisation import Permuted, effective_rank, permuted_control, rmse
from bilinear.lab.linearity import Linearity, linearity
from bilinear.lab.problem import Problem
from bilinear.lab.seeds import Seeds, compare_seeds, run_seeds
from bilinear.lab.stationarity import WhereItEnded, sentence, where_did_it_end
from bilinear.objective.objective import Objective
from bilinear.training.minibatch import MiniBatch
from bilinear.training.optimizers import AdamW
from bilinear.training.schedules import Constant


@dataclass(frozen=True)
class Section:
    """A question, its answer in one plain sentence, what to do next, and the numbers behind them."""

    question: str
    answer: str
    next_step: str
    evidence: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.question}\n  {self.answer}\n  Next: {self.next_step}"


@dataclass(frozen=True, eq=False)
class LabReport:
    """What the lab found, ordered from the verdict down.

    Attributes:
        source: the ratings that were looked at.
        sections: as they are to be read.
        ended, linearity, convexity: the measurements.
        seeds, permuted: the same of further runs; None where they were not asked for.
    """

    source: str
    sections: tuple[Section, ...]
    ended: WhereItEnded
    linearity: Linearity
    convexity: Convexity
    seeds: Seeds | None
    permuted: Permuted | None

    @property
    def certificate(self) -> Certificate:
        """At the model as it is."""
        return self.ended.certificate

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "source": self.source,
            "verdict": self.ended.verdict,
            "sections": [vars(section) for section in self.sections],
        }

    def __str__(self) -> str:
        return "\n\n".join(str(section) for section in self.sections)


def report(
    model: RatingModel,
    interactions: Interactions,
    *,
    test: Interactions | None = None,
    n_seeds: int = 0,
    control: bool = False,
    max_products: int = 3000,
    seed: int = 0,
) -> LabReport:
    """Measures a fitted model of ratings on the ratings it was trained on. The model is not changed.

    Args:
        interactions: the training ratings; their ids are matched to the model's.
        test: held-out ratings, for the errors.
        n_seeds: how many further starts to compare, 0 or at least 2.
        control: train once more on shuffled ratings.
        max_products: Hessian products for polishing and for the curvature, each.
    Raises:
        ParameterValueError: not a model of ratings, or ratings of users or items it does not know.
    Cost: some thousand products of O(n_ratings * n_factors); n_seeds descents; one training run
        for the control.
    """
    if not isinstance(model, RatingModel) or isinstance(model, GlobalMean):
        raise ParameterValueError(
            "the lab looks into models of ratings that were trained (MatrixFactorization, BiasModel), "
            f"not {type(model).__name__}"
        )
    if n_seeds not in (0, *range(2, 100)):
        raise ParameterValueError(f"n_seeds={n_seeds}; 0, or 2 to 99 starts to compare")
    table = _in_rows_of(model, interactions)
    objective = Objective(model.loss_, model.link_, model.penalty_, table)
    parameters = model.parameters_
    problem = Problem.of(objective, parameters.global_mean)
    at = problem.pack(parameters)
    ended = where_did_it_end(parameters, problem, max_products=max_products, seed=seed)
    lines = linearity(parameters, model.link_, table, seed=seed)
    bends = convexity(problem, at, seed=seed)
    runs = None
    if n_seeds:
        starts = run_seeds(problem, parameters.n_factors, n_starts=n_seeds, seed=seed)
        runs = compare_seeds(problem, starts, seed=seed)
    shuffled = permuted_control(model, table, test, seed=seed) if control else None
    other = why_not_this_objective(model)
    here, seen = table.by_user, model.seen_
    same = all(np.array_equal(getattr(here, name), getattr(seen, name)) for name in here._fields)
    sections = [
        _ended_section(ended, other, same),
        _optimum_section(ended, other),
        _generalisation_section(model, table, test, shuffled),
        _convexity_section(bends),
        _linearity_section(lines),
    ]
    if runs is not None:
        sections.insert(3, _seeds_section(runs))
    return LabReport(table.source, tuple(sections), ended, lines, bends, runs, shuffled)


def why_not_this_objective(model: RatingModel) -> str | None:
    """Why training did not minimise the objective of the model's loss and penalty, or None."""
    solver = vars(model).get("solver_") or vars(model).get("solver")
    if not isinstance(solver, MiniBatch):
        return None
    if any(solver.weight_decay.pair) or (isinstance(solver.rule, AdamW) and solver.rule.weight_decay):
        return (
            "it was trained with decoupled weight decay, which is the gradient of no objective: what follows "
            "is about the loss and penalty alone"
        )
    if solver.l2_schedule != Constant():
        return (
            "its penalty changed during training: what follows is about the penalty as it was given, "
            "before the schedule"
        )
    return None


def _ended_section(ended: WhereItEnded, other: str | None, same: bool) -> Section:
    notes = [f"Note: {other}."] if other else []
    if not same:
        notes.append("Note: these are not the ratings it was trained on, so it need not be at rest here.")
    steps = {
        "certified global": "nothing: more training or another optimiser cannot lower the training loss; "
        "tune the penalty for held-out error instead",
        "rank-limited": "add factors if held-out error asks for it; more epochs will not help",
        "minimum": "nothing, or compare other starts",
        "strict saddle": "train on from the escape point, or start with larger random factors",
        "second-order point": "raise the L2 a little, which removes flat directions",
        "not converged": "more epochs, or a rate that goes to zero, if the held-out error still falls; "
        "stopping early is a choice, not a fault",
        "no minimiser": "set an L2 above zero for factors and biases",
    }
    answer = " ".join([sentence(ended), *notes])
    return Section("Where did training end?", answer, steps[ended.verdict], ended.to_dict())


def _optimum_section(ended: WhereItEnded, other: str | None) -> Section:
    found = ended.certificate
    if found.refusal:
        answer = f"Nobody can say: {found.refusal}."
        next_step = "use CrossEntropy with the sigmoid, or SquaredError without it, and an L2 above zero"
    elif found.certified:
        answer = "It is the global optimum of its training loss, and that is proved."
        next_step = "keep the proof: certify the same loss, link and penalty, and save it"
    else:
        answer = (
            f"Its training loss is at most {found.relative_gap:.1%} above what any model with this penalty "
            f"could reach; after polishing, {ended.polished_certificate.relative_gap:.2g}."
        )
        next_step = (
            f"one more factor would lower the loss by {found.gain:.4g}; certify finds the optimum itself"
            if found.gain > 0
            else "train on; another factor would not help"
        )
    if other:
        answer += " That is not what training minimised."
    return Section("How far from the global optimum?", answer, next_step, found.to_dict())


def _generalisation_section(
    model: RatingModel, table: Interactions, test: Interactions | None, shuffled: Permuted | None
) -> Section:
    parameters = model.parameters_
    train_rmse = rmse(parameters, model.link_, table)
    evidence: dict[str, Any] = {
        "train_rmse": train_rmse,
        "test_rmse": None if test is None else model.evaluate(test).rmse.value,
        "n_factors": parameters.n_factors,
        "effective_rank": effective_rank(parameters),
        "best_epoch": model.history_.best_epoch,
        "epochs": [vars(epoch) for epoch in model.history_.epochs],
        "permuted": None if shuffled is None else shuffled.to_dict(),
    }
    if evidence["test_rmse"] is None:
        answer = f"Its predictions miss the ratings it was trained on by {train_rmse:.4f} on average (RMSE)."
        next_step = "hold ratings out and give them as test: the training error says nothing of new ones"
    else:
        answer = (
            f"Its predictions miss held-out ratings by {evidence['test_rmse']:.4f} and those it was trained "
            f"on by {train_rmse:.4f} (RMSE)."
        )
        next_step = "a wide gap between the two asks for a larger penalty or fewer factors"
    if shuffled is not None:
        answer += (
            f" Trained on shuffled ratings it still explains {shuffled.memorised:.0%} of their variance, "
            "which is pure memorising."
        )
    return Section("Does it generalise?", answer, next_step, evidence)


def _seeds_section(runs: Seeds) -> Section:
    next_step = (
        "average a few runs, or raise the penalty, if lists should not depend on the seed"
        if runs.same_top_10 < 0.9
        else "nothing: any seed will do"
    )
    return Section("Do other starts find the same model?", f"{runs}.", next_step, runs.to_dict())


def _convexity_section(found: Convexity) -> Section:
    if found.witnessed:
        answer = (
            "No: the model and its twin with all factors negated are equally good, and what lies halfway "
            "between them is worse."
        )
    else:
        answer = "No witness was found: without its factors this model is no worse."
    if found.halves_convex:
        answer += " With the items held fixed it is convex in the users, and the reverse."
    next_step = (
        "nothing: where it ended is what counts, see above"
        if found.convex_in_score
        else f"the loss bends the wrong way at {1 - found.share_in_band:.1%} of the ratings; CrossEntropy "
        "never does"
    )
    return Section("Is the training loss convex?", answer, next_step, found.to_dict())


def _linearity_section(found: Linearity) -> Section:
    if found.linear:
        answer = "Yes: the score is the sum of a user's and an item's number."
    else:
        answer = (
            "It is bilinear: linear in the user with the item fixed and the reverse, not in both; "
            f"{found.share_before_link:.1%} of the scores' variation is interaction."
        )
    return Section(
        "Is it a linear model?",
        answer,
        "nothing: compare with BiasModel, which is the linear part",
        found.to_dict(),
    )


def _in_rows_of(model: RatingModel, table: Interactions) -> Interactions:
    """The table in the rows of the model's vocabularies."""
    users, items = table.aligned_to(model.user_vocabulary_, model.item_vocabulary_)
    if not table.n_ratings:
        raise ParameterValueError(f"{table.source} has no ratings; give those the model was trained on")
    unknown = (users < 0) | (items < 0)
    if unknown.any():
        row = int(np.argmax(unknown))
        raise ParameterValueError(
            f"{table.source}: {int(unknown.sum()):,} ratings are of users or items that the model does not "
            f"know, such as user {table.user_vocabulary[table.users[row]]!r} and item "
            f"{table.item_vocabulary[table.items[row]]!r}; give the ratings it was trained on"
        )
    return Interactions.from_rows(
        users,
        items,
        table.ratings,
        table.times,
        model.user_vocabulary_,
        model.item_vocabulary_,
        source=table.source,
    )
