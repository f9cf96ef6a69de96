"""What the tests of commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

FIXED = ("--n-factors", "4", "--l2", "0.5", "--l2-biases", "0.8", "--n-epochs", "8")


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Ran]
