"""Checkpoints of long training: state on disk every few minutes, and the same bits after a restart.

A checkpoint is a journal. Training is a fixed sequence of descents, each a function of the arguments,
the table and a generator of random numbers. The journal holds the result of each descent that is done
and the state of the one under way. A restart runs the same code again: descents that are done answer
from the journal at once, the one under way goes on where it was, and all later ones run as ever. So
the code that searches and trains knows nothing of checkpoints, and any solver whose run has a
`state` is covered (see `bilinear.training.loop.Run`).

Weights of a descent that is done are written only while other objects refer to them: all others cannot
be asked for after a restart.
"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bilinear.arguments import is_real
from bilinear.errors import CheckpointError, ParameterValueError
from bilinear.training.checkpoint_journal import FILE, Journal
from bilinear.training.progress import Progress
from bilinear.training.training_identity import libraries


@dataclass(frozen=True)
class Checkpoint:
    """Place and interval of the checkpoints of a training.

    Args:
        path: a folder; made if it is not there. It holds one file, which is gone when training is done.
        minutes: between two writings. The file is as large as two to four copies of the parameters.
        resume: go on with an unfinished training that is there; False refuses to touch it.

    Examples:
        >>> from bilinear import Checkpoint, MatrixFactorization, synthetic_ratings
        >>> def interrupt(state):
        ...     if state.epoch.number == 3:
        ...         raise RuntimeError("the power went off")
        >>> ratings = synthetic_ratings(50, 30, 600, rng=0)
        >>> model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, rng=0)
        >>> checkpoint = Checkpoint("state", minutes=0.0001)
        >>> model.fit(ratings, checkpoint=checkpoint, on_epoch=interrupt)
        Traceback (most recent call last):
            ...
        RuntimeError: the power went off
        >>> model = model.fit(ratings, checkpoint=checkpoint)
    """

    path: str | Path
    minutes: float = 5.0
    resume: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.path, (str, Path)):
            raise ParameterValueError(f"Checkpoint(path={self.path!r}); the name of a folder")
        if not (is_real(self.minutes) and self.minutes >= 0):
            raise ParameterValueError(f"Checkpoint(minutes={self.minutes!r}); a number, zero or more")

    def check(self) -> None:
        """Raises CheckpointError where the folder cannot be used, or must not be."""
        folder = Path(self.path)
        if folder.exists() and not folder.is_dir():
            raise CheckpointError(f"{folder} is a file; a checkpoint needs the name of a folder")
        if not self.resume and (folder / FILE).exists():
            raise CheckpointError(
                f"{folder} holds an unfinished training; go on with it (resume=True, on the command line "
                "--resume), or remove that folder"
            )


_journal: ContextVar[Journal | None] = ContextVar("journal", default=None)


def journal() -> Journal | None:
    """The journal of the training under way in this thread, if it keeps one."""
    return _journal.get()


def record_once(work: Callable[[], Any]) -> Any:
    """`work()`, a JSON value; a restart gets the value of the first time."""
    kept = journal()
    return work() if kept is None else kept.record_once(work)


def mark_interrupted() -> None:
    """Tells the journal, if there is one, that the user ended training: the checkpoint stays."""
    kept = journal()
    if kept is not None:
        kept.interrupt()


@contextmanager
def checkpointing(
    checkpoint: Checkpoint | str | Path | None,
    identity: Callable[[], Mapping[str, Any]],
    progress: Progress | None = None,
) -> Iterator[Journal | None]:
    """All descents of the block are kept in a checkpoint, which is removed when the block is done.

    Args:
        identity: JSON values that make the training what it is: arguments, and `table_identity`.
            An unfinished training of another identity is refused. Not asked for without a checkpoint.
    Raises:
        CheckpointError: what is in the folder is damaged, of another training, or not to be resumed.
        Terminated: after SIGTERM. Only in the main thread; elsewhere the signal does what it did.
        OSError: the folder cannot be written, or the disk is full.
    """
    if checkpoint is None:
        yield journal()
        return
    checkpoint = checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)
    checkpoint.check()
    # Through JSON, so that tuples compare equal to the lists that come back.
    known_by = json.loads(json.dumps({"libraries": libraries(), **identity()}))
    kept = Journal(Path(checkpoint.path), checkpoint.minutes, known_by)
    if progress is not None and kept.resumed:
        progress.note(f"going on with the training in {checkpoint.path}")
    token = _journal.set(kept)
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, kept.on_sigterm) if main else signal.SIG_DFL
    try:
        yield kept
        if not kept.interrupted:
            kept.remove()
    finally:
        _journal.reset(token)
        if main:
            signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
