"""What the lab can and cannot say of models that rank and minimise no loss over ratings."""

from __future__ import annotations

from dataclasses import replace

from bilinear.data.interactions import Interactions
from bilinear.estimators.ease import EASE, SparseEASE
from bilinear.estimators.implicit_als import ImplicitALS
from bilinear.estimators.recommender import Recommender
from bilinear.lab.generalisation import effective_rank
from bilinear.lab.linearity import Linearity, linearity
from bilinear.lab.questions import Section, is_it_linear
from bilinear.model.link import Identity

_COMPARE = "measure it with evaluate_ranking on interactions that it was not trained on"


def ranking_sections(
    model: Recommender, table: Interactions, seed: int
) -> tuple[Linearity | None, tuple[Section, ...], str]:
    """(linearity or None, the same six questions, a headline).

    Cost: that of `linearity` where scores are a dot product, else nothing.
    """
    name, parameters = type(model).__name__, model.dot_product()
    closed = isinstance(model, (EASE, SparseEASE))
    lines = None if parameters is None else linearity(parameters, Identity(-1e30, 1e30), table, seed=seed)
    trained = isinstance(model, ImplicitALS) or (parameters is not None and not closed)
    if closed:
        headline = "Computed, not searched for: this model is the one solution of a convex problem."
        ended = "There was no descent: its weights are the exact solution of a linear system."
        far = "It is at the global optimum by construction: its least squares problem is convex."
        convex = "Yes: it is a least squares problem with a penalty, with one solution."
    elif isinstance(model, ImplicitALS):
        headline = "The lab can say how this model computes, not how well it was optimised."
        ended = (
            "The lab cannot say: its loss counts every pair of user and item, also the unseen ones, and "
            "the lab measures losses over the ratings that there are."
        )
        far = "The lab cannot say: no lower bound over all pairs of users and items is computed here."
        convex = (
            "Not in users and items together, as they are multiplied; with one side fixed it is, and that is "
            "why alternating least squares never raises it."
        )
    elif trained:
        headline = "The lab can say how this model computes, not how well it was optimised."
        ended = "The lab cannot say: its loss is over rankings, not over ratings."
        far = "The lab cannot say: no lower bound is known for its loss here."
        convex = "Not in users and items together, as their factors are multiplied."
    else:
        headline = "There is nothing to optimise here: this model counts and compares."
        ended = "There was no descent: it is counted from the interactions."
        far = "The question does not arise: it minimises no loss."
        convex = "The question does not arise: it minimises no loss."
    if lines is not None and parameters is not None:
        linear = replace(is_it_linear(lines), next_step="nothing: this is what a dot product is")
    else:
        linear = Section(
            "Is it a linear model?",
            "Yes: a user's scores are the user's row of interactions times a table of weights between items."
            if closed
            else f"The lab cannot say: the scores of a {name} are no dot product of a user and an item.",
            "nothing: there are no factors to interpret",
            {},
        )
    rank = None if parameters is None else effective_rank(parameters)
    facts = () if rank is None else (("factors it really uses", f"{rank:.1f}"),)
    sections = (
        Section("Where did training end?", ended, _COMPARE, {}),
        Section("How far from the global optimum?", far, "nothing", {}),
        Section(
            "Does it generalise?",
            "Not measured here: errors in stars say nothing of a ranking.",
            _COMPARE,
            {"effective_rank": rank},
            facts,
        ),
        Section(
            "Do other starts find the same model?",
            "The result depends on the random start."
            if trained
            else "There is no random start: the same interactions give the same model.",
            "compare the lists of several seeds" if trained else "nothing: any seed will do",
            {},
        ),
        Section("Is the training loss convex?", convex, "nothing", {}),
        linear,
    )
    return lines, sections, headline
