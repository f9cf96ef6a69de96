"""Training once more on everything, for as many epochs as an inner validation part found best."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from bilinear.model.parameters import Parameters

if TYPE_CHECKING:
    from bilinear.training.history import History
    from bilinear.training.ranking_history import RankingHistory

H = TypeVar("H", "History", "RankingHistory")


def trained_again(
    descend: Callable[..., tuple[Parameters, H]], parameters: Parameters, history: H
) -> tuple[Parameters, H]:
    """What `descend(n_epochs=...)` finds in the best number of epochs; after Ctrl-C the weights given.

    The history stays that of the choice, but for `ended`.
    """
    with suppress(KeyboardInterrupt):
        again, ran = descend(n_epochs=history.best_epoch)
        if ran.ended != "interrupted":
            return again, history
    return parameters, replace(history, ended="interrupted")
