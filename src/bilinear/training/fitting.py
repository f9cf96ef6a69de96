"""Frame of every `fit` by descent: progress bar, checkpoints and functions called after an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bilinear.data.interactions import Interactions
from bilinear.model.parameters import Parameters
from bilinear.training.callbacks import Listeners, OnEpoch, calling, checked_functions
from bilinear.training.checkpoint import Checkpoint, checkpointing
from bilinear.training.history import History
from bilinear.training.progress import Progress, reporter_of
from bilinear.training.training_identity import training_identity


@contextmanager
def fitting(
    model: Any,
    interactions: Interactions,
    progress: Progress | bool,
    checkpoint: Checkpoint | str | Path | None,
    on_epoch: OnEpoch | Sequence[OnEpoch] | None,
    *,
    history: Callable[[History], History] = lambda history: history,
    parameters: Callable[[Parameters], Parameters] = lambda parameters: parameters,
) -> Iterator[Progress]:
    """The arguments of a model's `fit` made to work for the trainings of the block.

    Args:
        progress, checkpoint, on_epoch: See `MatrixFactorization.fit`.
        history, parameters: How `on_epoch` sees what training works with.

    Yields:
        Where the block reports its progress.
    """
    functions = checked_functions(on_epoch)
    with ExitStack() as stack:
        reporter = reporter_of(progress)
        identity = partial(training_identity, model, interactions)
        stack.enter_context(checkpointing(checkpoint, identity, reporter))
        stack.enter_context(calling(Listeners(type(model).__name__, functions, history, parameters)))
        yield reporter
