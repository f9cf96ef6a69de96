"""Columns of events (view, cart, buy, dislike): what each kind weighs, and their cells as weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bilinear.arguments import is_real
from bilinear.data.reading.boolean_columns import is_blank
from bilinear.data.reading.columns import plain
from bilinear.data.reading.database import sql_text
from bilinear.errors import AmbiguousColumnError, ParameterValueError

OTHERS = "*"
_MOST = 8
_NAMES = frozenset(
    {"event", "events", "eventtype", "eventname", "action", "actiontype", "behavior", "behaviour"}
    | {"interactiontype"}
)


@dataclass
class EventWeights:
    """What the values of an event column weigh; those without a weight are counted.

    Attributes:
        weights: by value; "*" is the weight of all others.
        column: the name of the column, for messages.
    """

    weights: Mapping[str, float]
    column: str
    unknown: Counter[str] = field(default_factory=Counter)

    def sql(self, ref: str) -> str:
        """SQL for the weight of a cell of text, null where it has none."""
        cases = " ".join(
            f"WHEN {sql_text(value)} THEN {float(weight)!r}"
            for value, weight in self.weights.items()
            if value != OTHERS
        )
        other = f" ELSE {float(self.weights[OTHERS])!r}" if OTHERS in self.weights else ""
        return f"CASE trim({ref}) {cases or 'WHEN NULL THEN NULL'}{other} END"

    def numbers(self, cells: Iterable[Any]) -> list[float]:
        """The weight of each cell; zero where there is none, which `check` refuses in the end."""
        found = []
        for cell in cells:
            value = "" if is_blank(cell) else str(cell).strip()
            weight = self.weights.get(value, self.weights.get(OTHERS))
            if weight is None:
                self.unknown[value] += 1
            found.append(0.0 if weight is None else float(weight))
        return found

    def check(self, label: str) -> None:
        """Raises AmbiguousColumnError: values without a weight were met; with how many rows have each."""
        if not self.unknown:
            return
        shown = ", ".join(f"{value!r} ({n:,} rows)" for value, n in self.unknown.most_common(_MOST))
        more = f" and {len(self.unknown) - _MOST:,} more" if len(self.unknown) > _MOST else ""
        first = self.unknown.most_common(1)[0][0]
        raise AmbiguousColumnError(
            f"{label}: values of {self.column!r} have no weight: {shown}{more}. Give each one with "
            f"events={{{first!r}: 1, ...}} (--weight {first}=1): 0 leaves its rows out, below 0 is a "
            "dislike, and '*' is the weight of all others"
        )


def checked_events(events: Mapping[Any, float] | None) -> dict[str, float]:
    """The weights by value.

    Raises:
        ParameterValueError: a weight is not a finite number, or none is above zero.
    """
    found = {str(value).strip(): weight for value, weight in (events or {}).items()}
    for value, weight in found.items():
        if not is_real(weight):
            raise ParameterValueError(f"events: {value!r} weighs {weight!r}; a number (--weight {value}=1)")
    if found and not any(weight > 0 for weight in found.values()):
        raise ParameterValueError("events: no weight is above zero, so nothing would be recommended by")
    return found


def event_remark(names: Sequence[str]) -> list[str]:
    """A line for the first column that is called as one of events and not used as such."""
    for name in names:
        if plain(name) in _NAMES:
            return [
                f"{name!r} may say what kind of interaction a row is; event={name!r} with events={{...}} "
                f"(--event {name} --weight VALUE=NUMBER) weighs them"
            ]
    return []
