"""What the tests of commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

FIXED = (
    *("--set", "n_factors=4", "--set", "l2=0.5", "--set", "l2_biases=0.8"),
    *("--set", "solver__n_epochs=8"),
)


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Ran]
