"""Progress objects for tests: one that remembers, one that plays Ctrl-C."""

from __future__ import annotations

from typing import Any


class Recorder:
    """Remembers every call as (method, arguments)."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def _heard(self, method: str, *arguments: Any) -> None:
        self.calls.append((method, arguments))

    def stage(self, name: str, n_ratings: int) -> None:
        self._heard("stage", name, n_ratings)

    def advance(self, n_ratings: int, loss: float) -> None:
        self._heard("advance", n_ratings, loss)

    def epoch(self, epoch: Any) -> None:
        self._heard("epoch", epoch)

    def note(self, text: str) -> None:
        self._heard("note", text)

    def of(self, method: str) -> list[tuple[Any, ...]]:
        return [arguments for heard, arguments in self.calls if heard == method]


class CtrlC(Recorder):
    """Raises KeyboardInterrupt at the n-th call of a method since a stage began whose name starts so."""

    def __init__(self, method: str, n: int, stage: str = "") -> None:
        super().__init__()
        self.method, self.n, self.wanted, self.raised = method, n, stage, False

    def _heard(self, method: str, *arguments: Any) -> None:
        super()._heard(method, *arguments)
        stage = self.of("stage")[-1][0] if self.of("stage") else ""
        if method == self.method and stage.startswith(self.wanted) and not self.raised:
            self.n -= 1
            if self.n == 0:
                self.raised = True
                raise KeyboardInterrupt
