"""One section of a report: a question with its answer, the next step, numbers and a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from bilinear.tabular import Shown

Fact = tuple[str, str]


@dataclass(frozen=True)
class Section(Shown):
    """Findings of one instrument.

    Attributes:
        name: Of the instrument.
        question: What was asked.
        answer: The verdict, in plain sentences; the first one stands alone.
        next_step: What to do about it, without a full stop.
        evidence: The measurement as JSON values, for programs.
        facts: (what, number with its unit), for people.
        picture: SVG figures, such as those of `bilinear.inspection.charts`; trusted HTML.
        headline: The whole finding in one sentence, for a report that begins with this section; by
            default the first sentence of `answer`.
        verdict: The class of the finding in a word or two, or None.
        tone: How the headline is coloured.
        measured: The measurement as a Python object, or None.

    Examples:
        >>> from bilinear.lab import Section
        >>> section = Section("size", "How large is it?", "It is small. It fits a page.", "nothing", {"n": 3})
        >>> section.summary
        'It is small.'
        >>> print(section)
        How large is it?
          It is small. It fits a page.
          Next: nothing.
    """

    name: str
    question: str
    answer: str
    next_step: str
    evidence: dict[str, Any]
    facts: tuple[Fact, ...] = ()
    picture: str = ""
    headline: str = ""
    verdict: str | None = None
    tone: Literal["good", "bad", "open"] = "open"
    measured: Any = None

    @property
    def summary(self) -> str:
        """The headline, or the first sentence of the answer."""
        return self.headline or self.answer.partition(". ")[0].removesuffix(".") + "."

    def to_dict(self) -> dict[str, Any]:
        """JSON values: name, question, answer, next step, facts and evidence."""
        return {
            "name": self.name,
            "question": self.question,
            "answer": self.answer,
            "next_step": self.next_step,
            "facts": [list(fact) for fact in self.facts],
            "evidence": self.evidence,
        }

    def __str__(self) -> str:
        width = max((len(what) for what, _ in self.facts), default=0)
        facts = "".join(f"\n    {what:<{width}}  {number}" for what, number in self.facts)
        return f"{self.question}\n  {self.answer}\n  Next: {self.next_step}.{facts}"


def percent(share: float) -> str:
    """A share in percent, with one digit where it is small.

    Examples:
        >>> percent(0.1234), percent(0.000123)
        ('12.3%', '0.01%')
    """
    return f"{share:.1%}" if share >= 1e-3 else f"{100 * share:.1g}%"
