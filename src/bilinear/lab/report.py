"""One report on one model: from the verdict down, in plain words first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bilinear.data.interactions import Interactions
from bilinear.errors import ParameterValueError
from bilinear.estimators.base import RatingModel
from bilinear.estimators.baselines import GlobalMean
from bilinear.estimators.recommender import Recommender
from bilinear.lab import questions
from bilinear.lab.certificate import Certificate
from bilinear.lab.convexity import Convexity, convexity
from bilinear.lab.generalisation import Permuted, permuted_control
from bilinear.lab.held_out import Study
from bilinear.lab.held_out import study as held_out_study
from bilinear.lab.linearity import Linearity, linearity
from bilinear.lab.matching import match
from bilinear.lab.problem import Problem
from bilinear.lab.questions import Section
from bilinear.lab.rankings import ranking_sections
from bilinear.lab.seeds import Seeds, compare_seeds, run_seeds
from bilinear.lab.stationarity import WhereItEnded, where_did_it_end
from bilinear.objective.objective import Objective
from bilinear.training.descent import Solver
from bilinear.training.minibatch import MiniBatch
from bilinear.training.optimizers import AdamW

_WORK = 4e9  # multiplications that polishing may take by default: some 15 s of one core
_FEWEST, _MOST = 40, 3000  # Hessian products


@dataclass(frozen=True, eq=False)
class LabReport:
    """What the lab found, ordered from the verdict down.

    Attributes:
        source: the ratings that were looked at.
        model: what kind of model it is, in a few words.
        headline: the whole finding in one sentence.
        sections: as they are to be read.
        ended, convexity: the measurements; None for models that minimise no loss over ratings.
        linearity: None for models whose scores are no dot product.
        seeds, permuted, study: the same of further runs; None where they were not asked for.
    """

    source: str
    model: str
    headline: str
    sections: tuple[Section, ...]
    ended: WhereItEnded | None
    linearity: Linearity | None
    convexity: Convexity | None
    seeds: Seeds | None = None
    permuted: Permuted | None = None
    study: Study | None = None

    @property
    def verdict(self) -> str | None:
        """Where training ended; None for models that minimise no loss over ratings."""
        return None if self.ended is None else self.ended.verdict

    @property
    def certificate(self) -> Certificate | None:
        """At the model as it is."""
        return None if self.ended is None else self.ended.certificate

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "source": self.source,
            "model": self.model,
            "verdict": self.verdict,
            "headline": self.headline,
            "sections": [section.to_dict() for section in self.sections],
        }

    def to_html(self, path: str | Path) -> None:
        """Writes one page with pictures that needs no network, whole or not at all."""
        from bilinear.lab.page import write_report

        write_report(self, Path(path))

    def __str__(self) -> str:
        return "\n\n".join([f"{self.headline}\n({self.model})", *map(str, self.sections)])


def report(
    model: Recommender,
    interactions: Interactions,
    *,
    test: Interactions | None = None,
    n_seeds: int = 0,
    control: bool = False,
    study: bool = False,
    max_products: int | None = None,
    seed: int = 0,
    tell: Callable[[str], None] | None = None,
) -> LabReport:
    """Measures a fitted model on the ratings it was trained on. The model is not changed.

    For a model that ranks, and minimises no loss over ratings, it says which of the questions have
    an answer.

    Args:
        interactions: the training ratings; their ids are matched to the model's. Where it has all
            of them and more, the others serve as `test`.
        test: held-out ratings, for the errors.
        n_seeds: how many further starts to compare, 0 or at least 2.
        control: train once more on shuffled ratings.
        study: train again on a part: errors over epochs, penalty and number of factors.
        max_products: Hessian products for polishing and for the curvature, each. None is what some
            15 s of one core allow, from 40 to 3,000.
        tell: called with a line about each part of the work as it begins.
    Raises:
        ParameterValueError: no fitted model, or ratings of users or items it does not know.
        DataError: most of these ratings are not those it was trained on.
    Cost: some hundred products of O(n_ratings * n_factors); n_seeds descents; one training run
        for the control, some nine and six descents for the study.
    """
    if n_seeds not in (0, *range(2, 100)):
        raise ParameterValueError(f"n_seeds={n_seeds}; 0, or 2 to 99 starts to compare")
    if max_products is not None and max_products < 1:
        raise ParameterValueError(f"max_products={max_products}; at least one Hessian product")
    if not isinstance(model, Recommender) or isinstance(model, GlobalMean):
        raise ParameterValueError(
            "the lab looks into models that were trained (MatrixFactorization, BiasModel, ImplicitALS), "
            f"not {type(model).__name__}"
        )
    matched = match(model, interactions)
    table = matched.train
    test = matched.held_out if test is None else test
    if not isinstance(model, RatingModel):
        if n_seeds or control or study:
            raise ParameterValueError(
                f"seeds, control and study train on a loss over ratings, which a {type(model).__name__} "
                "does not have; leave them out"
            )
        lines, sections, headline = ranking_sections(model, table, seed)
        return LabReport(table.source, _kind(model), headline, sections, None, lines, None)
    tell = tell or _silent
    parameters = model.parameters_
    problem = Problem.of(Objective(model.loss_, model.link_, model.penalty_, table), parameters.global_mean)
    at = problem.pack(parameters)
    if max_products is None:
        max_products = _affordable(problem.n_ratings, parameters.n_factors)
    tell("where training ended: polishing, certificate, curvature")
    ended = where_did_it_end(parameters, problem, max_products=max_products, seed=seed)
    tell("linearity and convexity")
    lines = linearity(parameters, model.link_, table, seed=seed)
    bends = convexity(problem, at, n_chords=10, seed=seed)
    runs, shuffled, studied = None, None, None
    if n_seeds:
        tell(f"{n_seeds} other starts")
        starts = run_seeds(
            problem, parameters.n_factors, n_starts=n_seeds, max_products=max_products, seed=seed
        )
        runs = compare_seeds(problem, starts, seed=seed)
    if control:
        tell("training once more on shuffled ratings")
        shuffled = permuted_control(model, table, test, seed=seed)
    if study:
        tell("training again on a part of the ratings: epochs, factors, penalties")
        studied = held_out_study(model, table, seed=seed)
    other = why_not_this_objective(model)
    sections = (
        questions.where_it_ended(ended, other, matched),
        questions.how_far(ended, other),
        questions.does_it_generalise(model, table, test, shuffled, studied),
        questions.other_starts(runs),
        questions.is_it_convex(bends, parameters.n_factors),
        questions.is_it_linear(lines),
    )
    headline = _HEADLINES[ended.verdict]
    if other and ended.verdict == "certified global":
        headline = "Nothing is certified: training did not minimise the loss and penalty of this model."
    return LabReport(
        table.source, _kind(model), headline, sections, ended, lines, bends, runs, shuffled, studied
    )


_HEADLINES = {
    "certified global": "Proved: no model with this loss and penalty fits its ratings better.",
    "rank-limited": "Training arrived at a minimum for this number of factors; more could fit better.",
    "minimum": "Training arrived at a minimum; whether it is the lowest cannot be proved here.",
    "strict saddle": "Training is stuck at a saddle: there is a way down from where it stopped.",
    "second-order point": "Training came to rest where the loss is flat; it is probably a minimum.",
    "not converged": "Training stopped before it had come to rest; that can be right, see the error on new "
    "ratings.",
    "no minimiser": "This training has no end: the loss falls for ever while the weights grow.",
}


def why_not_this_objective(model: RatingModel) -> str | None:
    """Why training did not minimise the objective of the model's loss and penalty, or None."""
    solver = vars(model).get("solver_") or vars(model).get("solver")
    if isinstance(solver, MiniBatch) and (
        any(solver.weight_decay.pair) or (isinstance(solver.rule, AdamW) and solver.rule.weight_decay)
    ):
        return (
            "it was trained with decoupled weight decay, which minimises no loss that could be written down: "
            "what follows is about the loss and penalty alone"
        )
    if isinstance(solver, Solver) and any(solver.l2_schedule(at) != 1 for at in (0.9, 1.0)):
        return (
            "its penalty changed during training, to its end: what follows is about the penalty as it was "
            "given, before the schedule"
        )
    return None


def _affordable(n_ratings: int, n_factors: int) -> int:
    """Hessian products that `_WORK` pays for, each with its share of the rows' factored blocks."""
    work = n_ratings * max(n_factors, 1) * (1 + (n_factors / 128) ** 2)
    return int(min(max(_WORK / work, _FEWEST), _MOST))


def _kind(model: Recommender) -> str:
    users, items = len(model.user_vocabulary_), len(model.item_vocabulary_)
    words = f"{type(model).__name__} of {users:,} users and {items:,} items"
    if isinstance(model, RatingModel):
        k, loss, link = model.parameters_.n_factors, type(model.loss_).__name__, type(model.link_).__name__
        words += f", {k:,} factors, {loss} after {link}"
        penalty = model.penalty_
        words += f", l2 {penalty.factors:.3g}, l2 of biases {penalty.biases:.3g}"
        if penalty.exponent:
            words += f", growing as n_ratings^{penalty.exponent:g}"
    return f"{words}; trained on {len(model.seen_.others):,} from {model.source_}"


def _silent(_: str) -> None:
    """Tells nobody."""
