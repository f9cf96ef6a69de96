"""The base class of instruments, and the list of all that are known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from bilinear.errors import ParameterValueError
from bilinear.lab.reporting.context import Context
from bilinear.lab.reporting.section import Fact, Section
from bilinear.registry import Registry


class Instrument(ABC):
    """One question about a fitted model, with the measurement that answers it.

    Everything that lists instruments follows from `register`: the report as text, JSON and a page, and
    `bilinear lab --only NAME` with its help.

    Attributes:
        name: What `only` and `--only` select it by.
        question: What it answers; ends with a question mark.
        order: Place in the report; smaller comes first, equal ones in the order of registration.

    Examples:
        >>> from bilinear import lab
        >>> @lab.register
        ... class LargestBias(lab.Instrument):
        ...     name = "largest-bias"
        ...     question = "How far does the most generous user deviate?"
        ...     def measure(self, context: lab.Context) -> lab.Section:
        ...         bias = float(context.rating_model.parameters_.user_biases.max())
        ...         return self.section(f"By {bias:.2f} of a rating.", "nothing", {"bias": bias})
        >>> lab.instruments()[-1]
        'largest-bias'
        >>> from bilinear.lab.reporting.instrument import REGISTRY
        >>> REGISTRY.discard("largest-bias")
    """

    name: ClassVar[str]
    question: ClassVar[str]
    order: ClassVar[float] = 100

    @abstractmethod
    def measure(self, context: Context) -> Section:
        """Measures the model of a context.

        Args:
            context: The model, its ratings, and how much work is allowed; nothing in it may change.

        Returns:
            The answer with its evidence, made by `section`.

        Examples:
            >>> from bilinear import BiasModel, lab, synthetic_ratings
            >>> ratings = synthetic_ratings(20, 15, 150, rng=0)
            >>> model = BiasModel(l2_biases=1.0).fit(ratings)
            >>> lab.report(model, ratings, only=["linearity"])["linearity"].question
            'Is it a linear model?'
        """

    def section(
        self,
        answer: str,
        next_step: str,
        evidence: dict[str, Any],
        facts: list[Fact] | tuple[Fact, ...] = (),
        **more: Any,
    ) -> Section:
        """A section with the name and the question of this instrument; `more` as in `Section`."""
        return Section(self.name, self.question, answer, next_step, evidence, tuple(facts), **more)


REGISTRY = Registry[Instrument]("instrument")


def register(cls: type[Instrument]) -> type[Instrument]:
    """Adds an instrument to every report; a decorator of its class.

    Args:
        cls: The class, with a `name` and a `question`.

    Returns:
        `cls`.

    Raises:
        ParameterValueError: Name or question is missing, or another instrument has the name.

    Examples:
        >>> from bilinear import lab
        >>> @lab.register
        ... class HowMany(lab.Instrument):
        ...     name = "how-many"
        ...     question = "How many users are there?"
        ...     def measure(self, context):
        ...         n = len(context.model.user_vocabulary_)
        ...         return self.section(f"{n} users.", "nothing", {"n": n})
        >>> "how-many" in lab.instruments()
        True
        >>> from bilinear.lab.reporting.instrument import REGISTRY
        >>> REGISTRY.discard("how-many")
    """
    for attribute in ("name", "question"):
        if not isinstance(getattr(cls, attribute, None), str):
            raise ParameterValueError(
                f"instrument {cls.__name__}: expected a class attribute {attribute} that is a string, got "
                f"{getattr(cls, attribute, None)!r}; add {attribute} = ... to the class"
            )
    return REGISTRY.add(cls, cls.name)


def instruments() -> tuple[str, ...]:
    """The names of all instruments, in the order of the report.

    Examples:
        >>> from bilinear import lab
        >>> lab.instruments()
        ('endpoint', 'optimality', 'generalisation', 'seeds', 'convexity', 'features', 'linearity')
    """
    return tuple(sorted(REGISTRY, key=lambda name: REGISTRY.get(name).order))
