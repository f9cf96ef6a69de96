"""What happened during training, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from bilinear.errors import MissingDependencyError


@dataclass(frozen=True)
class Epoch:
    """One pass over the training ratings.

    `loss` is the mean training loss per rating (before each step, without the penalty),
    `validation_rmse` in rating units or None without a validation part.
    """

    number: int
    loss: float
    validation_rmse: float | None
    learning_rate: float
    momentum: float
    seconds: float
    ratings_per_second: float


@dataclass(frozen=True)
class History:
    """The epochs, which of them was kept, and why training ended."""

    epochs: tuple[Epoch, ...]
    best_epoch: int
    ended: Literal["all epochs done", "stopped early", "interrupted", "closed form"]

    @property
    def best_validation_rmse(self) -> float | None:
        """RMSE on the inner validation part with the weights that were kept."""
        return self.epochs[self.best_epoch - 1].validation_rmse if self.epochs else None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> History:
        epochs, best_epoch = tuple(Epoch(**epoch) for epoch in stored["epochs"]), int(stored["best_epoch"])
        if not min(1, len(epochs)) <= best_epoch <= len(epochs):
            raise ValueError(f"epoch {best_epoch} was kept, of {len(epochs)}")
        return cls(epochs, best_epoch, stored["ended"])

    def __str__(self) -> str:
        if not self.epochs:
            return f"History({self.ended})"
        lines = ["epoch     loss  validation RMSE     rate  M ratings/s"]
        for epoch in self.epochs:
            rmse = "" if epoch.validation_rmse is None else f"{epoch.validation_rmse:.4f}"
            kept = " <- kept" if epoch.number == self.best_epoch else ""
            lines.append(
                f"{epoch.number:5d} {epoch.loss:8.4f} {rmse:>16} {epoch.learning_rate:8.2g} "
                f"{epoch.ratings_per_second / 1e6:12.1f}{kept}"
            )
        return "\n".join([*lines, self.ended])

    def plot(self, path: str | Path | None = None) -> Any:
        """Training loss and validation RMSE over the epochs, as a matplotlib figure.

        Args: path: where to write it as well, by its suffix (PNG, SVG, PDF).
        Raises: MissingDependencyError: matplotlib is not installed.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingDependencyError("plots need matplotlib: pip install 'bilinear[plot]'") from error
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        numbers = [epoch.number for epoch in self.epochs]
        axes.plot(numbers, [epoch.loss for epoch in self.epochs], color="#7a8699", label="training loss")
        axes.set(xlabel="epoch", ylabel="mean training loss")
        if self.best_validation_rmse is not None:
            right = axes.twinx()
            measured = [epoch.validation_rmse or 0.0 for epoch in self.epochs]
            right.plot(numbers, measured, color="#c2410c")
            right.plot(self.best_epoch, self.best_validation_rmse, "o", color="#c2410c")
            right.set_ylabel("validation RMSE", color="#c2410c")
        if path is not None:
            figure.savefig(path, dpi=150)
        return figure
