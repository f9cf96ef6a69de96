"""History of training, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bilinear.inline_figure import inline_figure
from bilinear.tabular import Tabular, columns_of

Ended = Literal[
    "all epochs done",
    "stopped early",
    "converged",
    "interrupted",
    "stopped by on_epoch",
    "under way",
    "closed form",
]
_MOST_LINES = 60  # of a printed history
CONVERGED = 1.2
"""Largest split R-hat of a chain that counts as converged."""
_LOSS, _MEASURED, _SECOND = "#7a8699", "#c2410c", "#1d4ed8"


@dataclass(frozen=True)
class Epoch:
    """One pass over the training interactions.

    Attributes:
        loss: the mean training loss per interaction (before each step, without the penalty; of `ImplicitALS`
            the objective after the epoch, penalty included).
        validation: the metric on the validation part, where it was measured after this epoch, else None.
        learning_rate, momentum: in the middle of the epoch.
        user_norm, item_norm: at its end, the root of the summed squares of all user (item) factors.
        update_norm: likewise of how far the epoch moved all factors; estimated from about 1,000 rows
            of either side where there are more. None where the factors are turned.

    Examples:
        >>> from bilinear import MatrixFactorization, synthetic_ratings
        >>> model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, refit=False, rng=0)
        >>> epoch = model.fit(synthetic_ratings(50, 30, 600, rng=0)).history_.epochs[0]
        >>> epoch.number, 0 < epoch.validation < 2
        (1, True)
    """

    number: int
    loss: float
    validation: float | None
    learning_rate: float
    momentum: float
    seconds: float
    ratings_per_second: float
    user_norm: float | None = None
    item_norm: float | None = None
    update_norm: float | None = None


COLUMNS = tuple(column.name for column in fields(Epoch))


@dataclass(frozen=True)
class History(Tabular):
    """The epochs, which of them was kept, why training ended, and the name of the validation metric.

    Attributes:
        diagnostics: of a chain of `Gibbs`, the split R-hats by name; else empty.

    Examples:
        >>> from bilinear import MatrixFactorization, synthetic_ratings
        >>> model = MatrixFactorization(n_factors=2, l2=1.0, l2_biases=1.0, refit=False, rng=0)
        >>> history = model.fit(synthetic_ratings(50, 30, 600, rng=0)).history_
        >>> best = history.epochs[history.best_epoch - 1]
        >>> history.metric, best.validation == history.best_validation
        ('rmse', True)
        >>> figure = history.plot("training.png")
    """

    epochs: tuple[Epoch, ...]
    best_epoch: int
    ended: Ended
    metric: str = "rmse"
    diagnostics: Mapping[str, float] = field(default_factory=dict)

    @property
    def best_validation(self) -> float | None:
        """The metric on the inner validation part with the weights that were kept."""
        return self.epochs[self.best_epoch - 1].validation if self.best_epoch else None

    @property
    def best_validation_rmse(self) -> float | None:
        """`best_validation` where the metric is the RMSE."""
        return self.best_validation if self.metric == "rmse" else None

    @property
    def cut_short(self) -> bool:
        """Whether the user ended training: by Ctrl-C or from `on_epoch`."""
        return self.ended in ("interrupted", "stopped by on_epoch")

    @property
    def label(self) -> str:
        """Name of the metric in figures and tables."""
        return f"validation {'RMSE' if self.metric == 'rmse' else self.metric}"

    @property
    def seconds(self) -> float:
        """Time of all epochs, validation not counted."""
        return sum(epoch.seconds for epoch in self.epochs)

    def to_columns(self) -> dict[str, Any]:
        """One row an epoch, see `Epoch`."""
        return columns_of(self.epochs, Epoch)

    def _caption(self) -> str:
        kept = f"; epoch {self.best_epoch} kept" if self.best_epoch else ""
        return f"{len(self.epochs):,} epochs, {self.ended}{kept}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> History:
        epochs, best_epoch = tuple(Epoch(**epoch) for epoch in stored["epochs"]), int(stored["best_epoch"])
        diagnostics = {str(name): float(value) for name, value in stored.get("diagnostics", {}).items()}
        return cls._checked(epochs, best_epoch, stored["ended"], str(stored["metric"]), diagnostics)

    def table(self) -> NDArray[np.float64]:
        """(n_epochs, len(COLUMNS)) the epochs as numbers, NaN for None."""
        values = attrgetter(*COLUMNS)
        rows = [[np.nan if value is None else value for value in values(epoch)] for epoch in self.epochs]
        return np.array(rows, np.float64).reshape(len(rows), len(COLUMNS))

    def summary(self) -> dict[str, Any]:
        """Arguments of `from_table` beside the table, as JSON values."""
        own = {"best_epoch": self.best_epoch, "ended": self.ended, "metric": self.metric}
        return own | ({"diagnostics": dict(self.diagnostics)} if self.diagnostics else {})

    @classmethod
    def from_table(
        cls,
        table: NDArray[np.float64],
        best_epoch: int,
        ended: Ended,
        metric: str = "rmse",
        diagnostics: Mapping[str, float] | None = None,
    ) -> History:
        """The inverse of `table` and `summary`; ValueError for what they could not have made."""
        if table.shape[1:] != (len(COLUMNS),):
            raise ValueError(f"a history of shape {table.shape}; {len(COLUMNS)} columns belong there")
        epochs = []
        for n, row in enumerate(table.tolist(), start=1):
            if row[0] != n:
                raise ValueError(f"epoch {row[0]:g} in place {n}")
            values: list[Any] = [None if value != value else value for value in row[1:]]
            epochs.append(Epoch(n, *values))
        found = {str(name): float(value) for name, value in (diagnostics or {}).items()}
        return cls._checked(tuple(epochs), best_epoch, ended, metric, found)

    @classmethod
    def _checked(
        cls,
        epochs: tuple[Epoch, ...],
        best_epoch: int,
        ended: Ended,
        metric: str,
        diagnostics: Mapping[str, float],
    ) -> History:
        if not min(1, len(epochs)) <= best_epoch <= len(epochs):
            raise ValueError(f"epoch {best_epoch} was kept, of {len(epochs)}")
        return cls(epochs, best_epoch, ended, metric, diagnostics)

    def __str__(self) -> str:
        if not self.epochs:
            return f"History({self.ended})"
        lines = [f"epoch     loss {self.label:>16}     rate  M ratings/s"]
        every = -(-len(self.epochs) // _MOST_LINES)
        for number in sorted(
            {*range(1, len(self.epochs) + 1, every), self.best_epoch or 1, len(self.epochs)}
        ):
            epoch = self.epochs[number - 1]
            found = "" if epoch.validation is None else f"{epoch.validation:.4f}"
            kept = " <- kept" if epoch.number == self.best_epoch else ""
            lines.append(
                f"{epoch.number:5d} {epoch.loss:8.4f} {found:>16} {epoch.learning_rate:8.2g} "
                f"{epoch.ratings_per_second / 1e6:12.1f}{kept}"
            )
        if self.diagnostics:
            found = ", ".join(f"{name} {value:.2f}" for name, value in self.diagnostics.items())
            lines.append(f"split R-hat: {found}")
            if max(self.diagnostics.values()) > CONVERGED:
                lines.append(f"not converged: R-hat above {CONVERGED:g}; give more sweeps (solver__n_epochs)")
        return "\n".join([*lines, self.ended])

    def plot(self, path: str | Path | None = None) -> Any:
        """Loss and validation, rate and momentum, and norms over the epochs, as a matplotlib figure.

        Args:
            path: where to write it as well, by its suffix (PNG, SVG, PDF).
        Raises:
            MissingDependencyError: matplotlib is not installed.
        """
        figure = inline_figure(figsize=(7, 7.5), layout="constrained")
        top, middle, bottom = figure.subplots(3, sharex=True, height_ratios=(3, 2, 2))
        numbers = [epoch.number for epoch in self.epochs]

        def column(name: str) -> list[float]:
            return [np.nan if (value := getattr(epoch, name)) is None else value for epoch in self.epochs]

        def one(axes: Any, name: str, color: str, label: str) -> None:
            axes.plot(numbers, column(name), color=color)
            axes.set_ylabel(label, color=color)

        one(top, "loss", _LOSS, "mean training loss")
        one(middle, "learning_rate", _LOSS, "learning rate")
        middle.set_ylim(bottom=0)
        if self.best_validation is not None:
            right = top.twinx()
            one(right, "validation", _MEASURED, self.label)
            right.plot(self.best_epoch, self.best_validation, "o", color=_MEASURED)
            for axes in (middle, bottom):
                axes.axvline(self.best_epoch, color=_MEASURED, linewidth=0.8, linestyle=":")
            top.set_title(f"{self.ended}; epoch {self.best_epoch} kept", loc="left", fontsize="medium")
        else:
            top.set_title(self.ended, loc="left", fontsize="medium")
        if any(epoch.momentum for epoch in self.epochs):
            right = middle.twinx()
            one(right, "momentum", _SECOND, "momentum")
            right.set_ylim(0, 1)
        for name, color, label in (
            ("user_norm", _LOSS, "all user factors"),
            ("item_norm", _SECOND, "all item factors"),
            ("update_norm", _MEASURED, "their change in the epoch"),
        ):
            bottom.plot(numbers, column(name), color=color, label=label)
        bottom.set(xlabel="epoch", ylabel="norm")
        if any(epoch.update_norm for epoch in self.epochs):
            bottom.set_yscale("log")
        bottom.legend(fontsize="small")
        if path is not None:
            figure.savefig(path, dpi=150)
        return figure


CLOSED_FORM = History((), 0, "closed form")
"""Of what was solved and not descended to."""
