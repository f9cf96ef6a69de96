"""Progress reporters: no-op, a progress bar on standard error, and lines in a notebook."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Protocol, Self
from uuid import uuid4

from bilinear.compiling import clock
from bilinear.training.history import Epoch

_EVERY = 0.2  # seconds between updates in a notebook
_CELLS = 20  # of its bar


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


class NotebookLines:
    """Progress in a notebook: plain text, replaced in place, that reads as a report once it is saved.

    A stage under way has a bar, one that is done a line. Stages of a search leave none: the table of trials
    has them.

    Args:
        display: The module `IPython.display`.
    """

    def __init__(self, display: Any) -> None:
        self._display, self._id = display, uuid4().hex
        self._lines: list[str] = []
        self._name, self._n, self._done = "", 1, 0
        self._loss, self._found = "", ""
        self._since = self._shown = clock()
        self._open = False

    def __enter__(self) -> Self:
        self._display.display(_Text(""), display_id=self._id)
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        self._show()

    def stage(self, name: str, n_ratings: int) -> None:
        self._close()
        self._name, self._n, self._done = name, max(n_ratings, 1), 0
        self._loss = self._found = ""
        self._since, self._open = clock(), True
        self._show()

    def advance(self, n_ratings: int, loss: float) -> None:
        self._done += n_ratings
        self._loss = f"  loss {loss:.4f}"
        if clock() - self._shown >= _EVERY:
            self._show()

    def epoch(self, epoch: Epoch) -> None:
        if epoch.validation is not None:
            self._found = f"  validation {epoch.validation:.4f}"

    def note(self, text: str) -> None:
        self._lines.append(text)
        self._show()

    def _close(self) -> None:
        if self._open and not self._name.startswith("search"):
            self._lines.append(f"{self._name}{self._loss}{self._found}  {clock() - self._since:.1f} s")
        self._open = False

    def _show(self) -> None:
        self._shown = clock()
        share = min(self._done / self._n, 1.0)
        bar = "#" * round(_CELLS * share)
        now = (
            [f"{self._name}  [{bar:.<{_CELLS}}] {share:4.0%}{self._loss}{self._found}"] if self._open else []
        )
        text = "\n".join([*self._lines, *now])
        self._display.update_display(_Text(text), display_id=self._id)


class _Text:
    """Text that a notebook shows as it is."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def reporter_of(progress: Progress | bool | None) -> Progress:
    """Where a `fit` reports; `progress=True` of a caller is a bar by then, see `taking_tables`."""
    return NullProgress() if progress is None or isinstance(progress, bool) else progress


def progress_bar() -> AbstractContextManager[Progress]:
    """The reporter for whoever looks on: lines in a notebook, else a bar on standard error."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if hasattr(shell, "kernel"):  # a terminal's has none
        from importlib import import_module

        return NotebookLines(import_module("IPython.display"))
    return Bar()
