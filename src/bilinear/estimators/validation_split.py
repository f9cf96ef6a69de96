"""The inner validation part of choices: held out as the part that the model will be measured on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from bilinear.data.interactions import Interactions
from bilinear.data.splits import LEAST_USERS, HeldOut, Order, Split, later_part, split_temporal
from bilinear.errors import ParameterValueError
from bilinear.estimators.blend_weights import MOST_VALIDATION_USERS, ValidationUsers, inner_split
from bilinear.tabular import Shown

ValidationSplit = Literal["auto"] | Order

_USUAL, _LEAST, _LARGEST = 0.2, 0.05, 0.3
_MEASURED = {
    "temporal": "as the test part is later than the training part",
    "leave-last-out": "as the test part is the latest of each user",
    "random": "as the test part was not held out by time",
}


@dataclass(frozen=True, eq=False)
class InnerValidation(Shown):
    """An inner split, and what follows from it for a choice of models.

    Attributes:
        timed: whether a search tries models that use times.
        strangers: whether users without an interaction in the training part count: the future has new users.
        why: why it was chosen, in words.
    """

    split: Split
    timed: bool
    strangers: bool
    why: str

    def users(
        self, relevant_from: float | None, seed: int, most: int = MOST_VALIDATION_USERS
    ) -> ValidationUsers:
        """A sample of those that are validated on."""
        return ValidationUsers.of(self.split, relevant_from, seed, most, strangers=self.strangers)

    def __str__(self) -> str:
        return f"{self.split.how}, {self.why}" if self.why else self.split.how


def inner_validation(
    interactions: Interactions,
    share: float | None,
    seed: int,
    wanted: ValidationSplit = "auto",
    measured: HeldOut | None = None,
) -> InnerValidation:
    """The inner split by which models or their weights are chosen.

    Args:
        share: None: of "temporal" that of `measured`, so that fashions have as long to change; else a fifth.
        wanted: "auto": as the model will be measured, where `measured` says it. Else a cut in time where at
            least 50 users are on both of its sides, and the latest of each user otherwise.
    Raises:
        ParameterValueError, DataError: no such split, or it cannot be made.
    """
    check_order(wanted)
    clock = interactions.times is not None and not interactions.notes.places
    order: Order | None = wanted if wanted != "auto" else measured and measured.order
    why = _MEASURED[measured.order] if wanted == "auto" and measured else ""
    if share is None:
        alike = measured is not None and order == measured.order == "temporal"
        share = min(max(measured.share, _LEAST), _LARGEST) if measured and alike else _USUAL
    if wanted == "temporal":
        return InnerValidation(split_temporal(interactions, share), True, True, why)
    if clock and order in ("temporal", None):
        least = 1 if order else LEAST_USERS
        later = later_part(interactions, share, least)
        if later is not None:
            return InnerValidation(later, True, True, why or "as a model is for what comes")
        why = f"as no cut in time has {least:,} users on both of its sides"
    split = inner_split(interactions, share, seed, latest=order != "random")
    return InnerValidation(split, clock and order != "random", False, why)


def check_order(wanted: object) -> None:
    """Refuses what is not a `ValidationSplit`."""
    known = ("auto", *get_args(Order))
    if wanted not in known:
        raise ParameterValueError(f"split={wanted!r}; one of {', '.join(known)}")
