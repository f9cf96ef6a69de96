"""Plans of work: memory, disk and CPU time of reading, training and lists, said before it begins."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from bilinear.arguments import is_whole
from bilinear.data.interactions import Interactions, bytes_of_columns
from bilinear.data.reading.duckdb_reader import bytes_to_read
from bilinear.data.reading.readers import TableSizes, table_sizes
from bilinear.errors import ParameterValueError
from bilinear.estimators.auto.auto_ranker import AutoRanker
from bilinear.estimators.auto.search_space import KINDS, ModelFamily, Sizes
from bilinear.estimators.baselines import BiasModel, GlobalMean
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.estimators.recommender import Recommender
from bilinear.memory import available, shown
from bilinear.model.blocks import checked_threads
from bilinear.tabular import Tabular, columns_of
from bilinear.training.als import ALS
from bilinear.training.choice import FINAL_SWEEPS, TRIAL_SWEEPS, Auto
from bilinear.training.gibbs import Gibbs
from bilinear.training.search import SEARCHED
from bilinear.training.sgd import SGD

_TRAINED, _TESTED = 0.8, 0.2  # shares of the rows
_LISTED = 10  # items of a list
_PARQUET, _TEXT = 0.6e-6, 1.2e-6  # CPU seconds a row of reading
_SPREAD = 3.0, 10.0  # mean square of the ratings of a user and of an item over the squared mean
_MULTIPLIED = 1e10  # multiply-adds a CPU second of scores
_BLOCK, _METRICS = (
    64 * 10**6,
    400,
)  # bytes of scores a thread, and of metrics a user, where lists are measured


@dataclass(frozen=True)
class Stage:
    """One part of the work.

    Attributes:
        memory: bytes at its peak, beside the program's own 0.2 GB.
        disk: bytes that it writes; those of reading are gone at its end.
        cpu_seconds: on all cores together, within a factor of two or three; None where nothing is known.
    """

    name: str
    memory: int
    disk: int
    cpu_seconds: float | None


@dataclass(frozen=True)
class ResourcePlan(Tabular):
    """The stages of `bilinear train` and `bilinear recommend --all`, and what the machine has.

    Attributes:
        available: bytes of memory that are free; None where the system does not say.
        disk_free: bytes free where the command runs.

    Examples:
        >>> from bilinear import Popularity, plan
        >>> found = plan({"n_ratings": 1000, "n_users": 100, "n_items": 50}, Popularity())
        >>> found.fits, found.memory == max(stage.memory for stage in found.stages)
        (True, True)
    """

    source: str
    model: str
    n_ratings: int
    n_users: int
    n_items: int
    stages: tuple[Stage, ...]
    available: int | None
    disk_free: int
    n_threads: int

    @property
    def memory(self) -> int:
        """Of the stage that takes most."""
        return max(stage.memory for stage in self.stages)

    @property
    def disk(self) -> int:
        return sum(stage.disk for stage in self.stages)

    @property
    def cpu_seconds(self) -> float | None:
        """None where that of a stage is not known."""
        parts = [stage.cpu_seconds for stage in self.stages]
        return None if None in parts else sum(filter(None, parts))

    @property
    def fits(self) -> bool:
        """Whether memory and disk are enough."""
        enough = self.available is None or self.memory <= self.available
        return enough and self.disk <= self.disk_free

    def to_columns(self) -> dict[str, Any]:
        """One row a stage, see `Stage`."""
        return columns_of(self.stages, Stage)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"memory": self.memory, "disk": self.disk, "fits": self.fits}

    def __str__(self) -> str:
        sizes = f"{self.n_ratings:,} rows, about {self.n_users:,} users and {self.n_items:,} items"
        lines = [
            f"{self.source}: {sizes}",
            self.model,
            "",
            f"{'stage':<26} {'memory':>8} {'disk':>8} {'CPU, about':>11}",
        ]
        lines += [
            f"{stage.name:<26} {shown(stage.memory):>8} {shown(stage.disk) if stage.disk else '':>8} "
            f"{_duration(stage.cpu_seconds):>11}"
            for stage in self.stages
        ]
        free = "" if self.available is None else f", {shown(self.available)} is free"
        verdict = "It fits" if self.fits else "It does not fit"
        lines += [
            "",
            f"{verdict}: {shown(self.memory)} of memory at its peak{free}; {shown(self.disk)} on disk, "
            f"{shown(self.disk_free)} is free.",
        ]
        if self.cpu_seconds is not None:
            at_best = _duration(self.cpu_seconds / self.n_threads)
            lines.append(
                f"About {_duration(self.cpu_seconds)} of CPU, {at_best} on {self.n_threads} cores at best; "
                "half or three times as much is possible."
            )
        return "\n".join(lines)


def plan(
    source: str | Path | Interactions | Mapping[str, int],
    model: Recommender | None = None,
    *,
    n_threads: int | None = None,
    **columns: Any,
) -> ResourcePlan:
    """What `bilinear train` of a table and lists for everyone will take: memory, disk and CPU time.

    Memory is what the same calls ask for before they begin (`MemoryLimitError`). CPU time is from a model of
    costs that was measured on one machine (docs/benchmarks.md), so it is rough.

    Args:
        source: a file, which is counted and not read into memory; a table; or its sizes, such as
            {"n_ratings": 10**8, "n_users": 10**6, "n_items": 50_000}.
        model: not fitted; None is what `bilinear train` takes: `MatrixFactorization(solver=Auto())` for
            ratings, `AutoRanker()` without.
        n_threads: None counts on all cores.
        columns: for a file, user, item, rating, time, count, encoding and quote as `bilinear.read_ratings`.

    Raises:
        DataError, ParameterValueError: the file, its columns or the sizes cannot be used.

    Cost:
        for a file that of parsing it once.

    Examples:
        >>> from bilinear import EASE, plan
        >>> found = plan({"n_ratings": 10**6, "n_users": 10**4, "n_items": 10**5}, EASE())
        >>> [stage.name for stage in found.stages][:3]
        ['reading', 'training', 'evaluating']
        >>> found.memory > 4 * 10**10  # EASE inverts a matrix of items by items
        True
    """
    table = counted(source, columns)
    if model is None:
        model = MatrixFactorization(solver=Auto()) if table.sizes.has_ratings else AutoRanker()
    return planned(table, model, n_threads)


class Counted(NamedTuple):
    """A table that was counted: its name, its sizes, and CPU seconds of reading a row."""

    label: str
    sizes: TableSizes
    seconds_a_row: float


def planned(counted: Counted, model: Recommender, n_threads: int | None) -> ResourcePlan:
    """`plan` of a table whose sizes are known."""
    label, sizes, a_row = counted
    threads = checked_threads(n_threads)
    n, shape = sizes.n_rows, (sizes.n_users, sizes.n_items)
    table = bytes_of_columns(n, sizes.has_times)
    trained = int(_TRAINED * n)
    reading = bytes_to_read(n, sizes.has_times)
    training = 2 * table + model.bytes_to_fit(trained, *shape)
    again = 2 * table + model.bytes_to_fit(n, *shape)
    fit, retrain = _seconds(model, trained, n, shape, threads)
    factors = _factors(model, n)
    listed = float(shape[0]) * shape[1] * ((factors or 30) + 100) / _MULTIPLIED
    measuring, evaluated = int(60 * _TESTED * n), 4e-7 * n
    if model.predicts_ratings:  # the biases are measured beside
        fit = None if fit is None else fit + (_seconds(BiasModel(), trained, n, shape, threads)[0] or 0.0)
    else:
        measuring, evaluated = 24 * n + threads * _BLOCK + _METRICS * shape[0], 2 * listed
    saved = 8 * n + 8 * sum(shape) + 4 * sum(shape) * ((factors or 0) + 1)
    lists = 12 * _LISTED * sizes.n_users
    stages = (
        Stage("reading", reading, (28 if sizes.has_times else 20) * n, a_row * n),
        Stage("training", training, 0, fit),
        Stage("evaluating", 2 * table + measuring, 0, evaluated),
        Stage("training on everything", again, 0, retrain),
        Stage("saving the model", 2 * table + saved, saved, 1e-8 * saved),
        Stage("lists for everyone", saved + lists, lists, listed),
    )
    free = shutil.disk_usage(".").free
    return ResourcePlan(label, repr(model), n, *shape, stages, available(), free, threads)


def counted(source: str | Path | Interactions | Mapping[str, int], columns: Mapping[str, Any]) -> Counted:
    """The sizes of what `plan` takes; `columns` are for a file."""
    if isinstance(source, (str, Path)):
        is_parquet = str(source).endswith((".parquet", ".pq"))
        return Counted(str(source), table_sizes(source, **columns), _PARQUET if is_parquet else _TEXT)
    if columns:
        raise ParameterValueError(f"{next(iter(columns))}=... is for a file that is counted, not for a table")
    if isinstance(source, Interactions):
        found = source.n_ratings, *source.shape, source.times is not None, source.has_ratings
        return Counted(source.source, TableSizes(*found), 0.0)
    names = ("n_ratings", "n_users", "n_items")
    given = dict(source) if isinstance(source, Mapping) else {}
    if set(given) != set(names) or not all(is_whole(size) and size > 0 for size in given.values()):
        raise ParameterValueError(
            f"plan({source!r}); a file, a table, or {{'n_ratings': ..., 'n_users': ..., 'n_items': ...}}"
        )
    n_rows, n_users, n_items = (given[name] for name in names)
    return Counted("sizes", TableSizes(n_rows, n_users, n_items, False, True), _TEXT)


def _factors(model: Recommender, n_ratings: int) -> int | None:
    """Factors of the saved model, of those that have any."""
    factors = getattr(model, "n_factors", None)
    solver = getattr(model, "solver", None)
    drawn = isinstance(solver, (Gibbs, Auto))
    if factors == "auto":
        factors = Gibbs().factors_for(n_ratings) if drawn else 64
    return None if factors is None else int(factors) * (2 if drawn else 1)


def _seconds(
    model: Recommender, n_trained: int, n: int, shape: tuple[int, int], threads: int
) -> tuple[float | None, float | None]:
    """CPU seconds of `fit` on the training part, and of `retrain` on everything."""
    part = min(n_trained, SEARCHED)
    if isinstance(model, (GlobalMean, BiasModel)):
        solve = 1e-7 if isinstance(model, BiasModel) else 1e-9
        n_solved = 12 * part if isinstance(model, BiasModel) and model.l2_biases == "auto" else 0
        return solve * (n_trained + n_solved), solve * n
    if isinstance(model, AutoRanker):
        limits = model._limits()
        worked = None if limits.work is None else 2 * limits.work  # what is chosen may take as much again
        timed = None if limits.seconds is None else limits.seconds * threads
        fit = min((seconds for seconds in (worked, timed) if seconds is not None), default=None)
        return fit, None if fit is None else fit / 2
    if not isinstance(model, MatrixFactorization):
        kind = next((kind for kind in KINDS if kind.model is type(model)), None)
        work = None if kind is None else _work(kind, model, n_trained, shape)
        return work, work
    once = _once(model, shape)
    if once is None:
        return None, None
    searched, whole = once(part), once(n_trained)
    trials = 0.0
    if isinstance(model.solver, Auto):
        trials = (TRIAL_SWEEPS / FINAL_SWEEPS) * searched * (5.5 if n_trained < 2e6 else 2.5)
        if "sgd" in model.solver.planned(n_trained):
            trials += 10 * (_once(replace(model, solver=model.solver.sgd()), shape) or once)(part)
    elif not isinstance(model.solver, Gibbs):
        if "auto" in (model.n_factors, model.l2, model.l2_biases):
            trials = 10 * searched + (whole if n_trained > part else 0)
        if model.validation_fraction and model.refit:
            trials += whole
    return trials + whole, once(n)


def _work(kind: ModelFamily, model: Any, n: int, shape: tuple[int, int]) -> float | None:
    """Of a ranking model, with squares of counts as of usual tables; None for arguments that are "auto"."""
    squares = (spread * float(n) ** 2 / rows for spread, rows in zip(_SPREAD, shape, strict=True))
    try:
        return kind.fit_work(Sizes(*shape, n, *squares), model) / kind.rate
    except TypeError:
        return None


def _once(model: MatrixFactorization, shape: tuple[int, int]) -> Callable[[int], float] | None:
    """CPU seconds of one training without a search, by the number of ratings; None for other solvers."""
    solver: Any = model.solver.gibbs() if isinstance(model.solver, Auto) else model.solver

    def seconds(n: int) -> float:
        drawn = isinstance(solver, Gibbs)
        usual = Gibbs().factors_for(n) if drawn else 32
        k = usual if model.n_factors == "auto" else model.n_factors
        epochs = solver.resolved(n).n_epochs
        if isinstance(solver, SGD):
            return float(epochs * n * (14 + 0.45 * k) * 1e-9)
        if drawn:
            return float(
                epochs * (n * (40 + 2.5 * k + 0.12 * k**2) + sum(shape) * (1500 + k**3 / 6)) * 1.3e-9
            )
        return float(epochs * (n * (30 + 0.12 * k**2) + sum(shape) * k**3 / 6) * 1e-9)

    return seconds if isinstance(solver, (SGD, Gibbs, ALS)) else None


def _duration(seconds: float | None) -> str:
    """Such as "40 s", "12 min" or "3.5 h"."""
    if seconds is None:
        return "not known"
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else "below 1 s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
