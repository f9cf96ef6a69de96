"""Progress reporters: no-op, and a progress bar on standard error."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol, Self

from bilinear.compiling import clock
from bilinear.training.history import Epoch


class Progress(Protocol):
    """Receives what training does; all methods return at once."""

    def stage(self, name: str, n_ratings: int) -> None:
        """A new stage begins, of `n_ratings` steps in all."""

    def advance(self, n_ratings: int, loss: float) -> None:
        """So many more ratings are done; `loss` is their mean."""

    def epoch(self, epoch: Epoch) -> None:
        """An epoch ended."""

    def note(self, text: str) -> None:
        """Something worth a line."""


class NullProgress:
    """Says nothing."""

    def stage(self, name: str, n_ratings: int) -> None: ...
    def advance(self, n_ratings: int, loss: float) -> None: ...
    def epoch(self, epoch: Epoch) -> None: ...
    def note(self, text: str) -> None: ...


class Bar:
    """A Rich progress bar on standard error: loss, validation, ratings per second, time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            TextColumn("{task.fields[loss]} {task.fields[found]} {task.fields[speed]}"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            transient=False,
        )
        self._task: Any = None
        self._passing = False
        self._since, self._done = 0.0, 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def stage(self, name: str, n_ratings: int) -> None:
        self._finish()
        self._passing = name.startswith("search")
        self._task = self._bar.add_task(name, total=max(n_ratings, 1), loss="", found="", speed="")
        self._since, self._done = clock(), 0

    def advance(self, n_ratings: int, loss: float) -> None:
        if self._task is None:
            return
        self._done += n_ratings
        speed = self._done / max(clock() - self._since, 1e-9)
        self._bar.update(
            self._task, advance=n_ratings, loss=f"loss {loss:.4f}", speed=f"{speed / 1e6:.1f} M/s"
        )

    def epoch(self, epoch: Epoch) -> None:
        if self._task is not None and epoch.validation is not None:
            self._bar.update(self._task, found=f"validation {epoch.validation:.4f}")

    def note(self, text: str) -> None:
        self._bar.console.print(text, highlight=False, markup=False)

    def _finish(self) -> None:
        if self._task is not None:  # a stage that ended early is still done
            task = next(task for task in self._bar.tasks if task.id == self._task)
            self._bar.update(self._task, total=max(task.completed, 1))
            if self._passing:  # the table of trials says what it found
                self._bar.remove_task(self._task)
