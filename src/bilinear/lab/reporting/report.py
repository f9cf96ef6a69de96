"""One report on one model: the sections of all instruments, as text, JSON and a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bilinear.data.interactions import Interactions
from bilinear.errors import ParameterValueError
from bilinear.estimators.recommender import Recommender
from bilinear.lab.reporting.context import Context
from bilinear.lab.reporting.instrument import REGISTRY, instruments
from bilinear.lab.reporting.matching import match_ratings
from bilinear.lab.reporting.section import Section

_WORK = 4e9  # multiplications that polishing may take by default: some 15 s of one core
_FEWEST, _MOST = 40, 3000  # Hessian products


@dataclass(frozen=True, eq=False)
class LabReport:
    """Findings of all instruments, the verdict first.

    Attributes:
        source: The ratings that were measured on.
        description: The kind of model, in a few words.
        sections: One an instrument, in the order of the report; `report["seeds"]` finds one by name.

    Examples:
        >>> from bilinear import BiasModel, lab, synthetic_ratings
        >>> ratings = synthetic_ratings(20, 15, 150, rng=0)
        >>> found = lab.report(BiasModel(l2_biases=1.0).fit(ratings), ratings)
        >>> found.verdict
        'certified global'
        >>> found["linearity"].answer
        "Yes: the score is the sum of a user's and an item's number."
        >>> sorted(found.to_dict())
        ['headline', 'model', 'sections', 'source', 'verdict']
    """

    source: str
    description: str
    sections: tuple[Section, ...]

    @property
    def headline(self) -> str:
        """The finding of the first section, in one sentence."""
        return self.sections[0].summary

    @property
    def verdict(self) -> str | None:
        """The class of the first section's finding, such as "certified global"; None where it has none."""
        return self.sections[0].verdict

    def __getitem__(self, name: str) -> Section:
        for section in self.sections:
            if section.name == name:
                return section
        raise KeyError(f"{name!r}; this report has {', '.join(section.name for section in self.sections)}")

    def to_dict(self) -> dict[str, Any]:
        """JSON values: source, model, verdict, headline and the sections."""
        return {
            "source": self.source,
            "model": self.description,
            "verdict": self.verdict,
            "headline": self.headline,
            "sections": [section.to_dict() for section in self.sections],
        }

    def to_html(self, path: str | Path) -> None:
        """Writes one page with pictures that needs no network, whole or not at all."""
        from bilinear.lab.reporting.page import write_report

        write_report(self, Path(path))

    def __str__(self) -> str:
        return "\n\n".join([f"{self.headline}\n({self.description})", *map(str, self.sections)])


def report(
    model: Recommender,
    interactions: Interactions,
    *,
    only: Sequence[str] | None = None,
    test: Interactions | None = None,
    n_seeds: int = 0,
    control: bool = False,
    study: bool = False,
    max_products: int | None = None,
    rng: int = 0,
    on_progress: Callable[[str], None] | None = None,
) -> LabReport:
    """Measures a fitted model on the ratings it was trained on. The model is not changed.

    For a model that ranks, and minimises no loss over ratings, it says which of the questions have
    an answer. Cost: some hundred products of O(n_ratings * n_factors); n_seeds descents; one training
    run for the control, some nine and six descents for the study.

    Args:
        model: The fitted model.
        interactions: The training ratings; their ids are matched to the model's. Where it has all
            of them and more, the others serve as `test`.
        only: Names of the instruments to use, see `instruments()`; None uses all.
        test: Held-out ratings, for the errors.
        n_seeds: Further random starts to train and compare, 0 or at least 2.
        control: Whether to train once more on shuffled ratings.
        study: Whether to train again on a part: errors over epochs, penalty and number of factors.
        max_products: Hessian products for polishing and for the curvature, each. None is what some
            15 s of one core allow, from 40 to 3,000.
        rng: Seed of everything that is drawn at random.
        on_progress: Called with a line about each part of the work as it begins.

    Returns:
        The sections of all instruments that were asked for.

    Raises:
        ParameterValueError: The model is not fitted, it does not know some users or items of the
            ratings, or an argument is outside its range.
        DataError: Most of these ratings are not those it was trained on.

    Examples:
        >>> from bilinear import MatrixFactorization, lab, synthetic_ratings
        >>> ratings = synthetic_ratings(20, 15, 150, rng=0)
        >>> model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, rng=0).fit(ratings)
        >>> found = lab.report(model, ratings, only=["optimality", "linearity"], max_products=50)
        >>> [section.name for section in found.sections]
        ['optimality', 'linearity']
    """
    if n_seeds not in (0, *range(2, 100)):
        raise ParameterValueError(f"n_seeds: expected 0, or 2 to 99 starts to compare, got {n_seeds}")
    if max_products is not None and max_products < 1:
        raise ParameterValueError(f"max_products: expected at least one Hessian product, got {max_products}")
    names = instruments()
    if only is not None:
        wanted = {REGISTRY.get(name).name for name in ([only] if isinstance(only, str) else only)}
        names = tuple(name for name in names if name in wanted)
    if not names:
        raise ParameterValueError(
            f"only: expected at least one instrument, such as {instruments()[0]!r}, got none"
        )
    if not isinstance(model, Recommender) or (model.predicts_ratings and model.how_trained == "counts"):
        raise ParameterValueError(
            "model: expected a fitted model (MatrixFactorization, BiasModel, ImplicitALS), got "
            f"{type(model).__name__}"
        )
    matched = match_ratings(model, interactions)
    if not model.predicts_ratings and (n_seeds or control or study):
        raise ParameterValueError(
            f"n_seeds, control, study: expected a model that minimises a loss over ratings, got "
            f"{type(model).__name__}; leave them out"
        )
    if max_products is None:
        n_factors = model.parameters_.n_factors if model.predicts_ratings else 0
        max_products = _affordable(matched.train.n_ratings, n_factors)
    context = Context(
        model,
        matched,
        matched.held_out if test is None else test,
        n_seeds,
        control,
        study,
        max_products,
        rng,
        on_progress or _silent,
    )
    sections = []
    for name in names:
        instrument = REGISTRY.get(name)()
        context.on_progress(f"{name}: {instrument.question}")
        sections.append(instrument.measure(context))
    return LabReport(matched.train.source, _description(model), tuple(sections))


def _affordable(n_ratings: int, n_factors: int) -> int:
    """Hessian products that `_WORK` pays for, each with its share of the rows' factored blocks."""
    work = n_ratings * max(n_factors, 1) * (1 + (n_factors / 128) ** 2)
    return int(min(max(_WORK / work, _FEWEST), _MOST))


def _description(model: Recommender) -> str:
    users, items = len(model.user_vocabulary_), len(model.item_vocabulary_)
    words = f"{type(model).__name__} of {users:,} users and {items:,} items"
    if model.predicts_ratings:
        k, loss, link = model.parameters_.n_factors, type(model.loss_).__name__, type(model.link_).__name__
        words += f", {k:,} factors, {loss} after {link}"
        penalty = model.penalty_
        words += f", l2 {penalty.factors:.3g}, l2 of biases {penalty.biases:.3g}"
        if penalty.exponent:
            growth = penalty.exponent if callable(penalty.exponent) else f"n_ratings^{penalty.exponent:g}"
            words += f", growing as {growth}"
    return f"{words}; trained on {len(model.seen_.indices):,} from {model.source_}"


def _silent(_: str) -> None:
    """Reports nothing."""
