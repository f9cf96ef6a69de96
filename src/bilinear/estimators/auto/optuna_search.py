"""Longer searches over ranking models with Optuna, resumable."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from bilinear.arguments import is_whole
from bilinear.compiling import clock
from bilinear.data.interactions import Interactions
from bilinear.errors import DivergenceError, ParameterValueError
from bilinear.estimators.auto.search_space import ModelFamily, Sizes, families, learnable
from bilinear.estimators.auto.trials import AutoTable, AutoTrial
from bilinear.estimators.blend_weights import ValidationUsers, inner_split
from bilinear.estimators.history_model import Confidence
from bilinear.estimators.nested_models import fitted_whole
from bilinear.estimators.ranking_model import RankingModel
from bilinear.evaluation.metrics import Metric, MetricLike
from bilinear.evaluation.ranking import RankingProtocol, evaluate_ranking
from bilinear.optional_packages import extra
from bilinear.tabular import Shown
from bilinear.training.progress import NullProgress, Progress, progress_bar

_STUDY = "bilinear"


@dataclass(frozen=True, eq=False)
class OptunaResult(Shown):
    """Result of `search_with_optuna`.

    Attributes:
        model: the best model, not fitted: `result.model.fit(interactions)`.
        value: its metric on the inner validation part; the best of many looked at, so a little too high.
        table: all trials, those of earlier runs among them.
        study: Optuna's own, for its plots and tables.
    """

    model: RankingModel
    value: float
    table: AutoTable
    study: Any

    def __str__(self) -> str:
        return str(self.table)


def search_with_optuna(
    interactions: Interactions,
    *,
    n_trials: int = 100,
    storage: str | Path | None = None,
    kinds: tuple[str, ...] | None = None,
    metric: MetricLike = "ndcg@20",
    validation: float = 0.2,
    threshold: float | None = None,
    confidence: Confidence = "auto",
    n_threads: int | None = None,
    rng: int = 0,
    progress: Progress | bool = False,
) -> OptunaResult:
    """Searches kinds of models and their arguments by a tree-structured Parzen estimator.

    Every trial is fitted on all of the inner training part; held out is the latest of each user, or without
    times a random part, and half-lives are not tried. The first ones are the kinds as they come; then Optuna
    proposes. Ctrl-C ends the search with what is done.

    Args:
        n_trials: in all. With a `storage` that has some already, only the missing ones are made.
        storage: a journal file: a search that was stopped goes on where it was, and several processes
            may work on one. None keeps nothing.
        kinds, metric, validation, threshold, confidence, n_threads: see `AutoRanker`.
        rng: seed of the split, of the proposals and of the models.
    Raises:
        MissingDependencyError: Optuna is not installed.
        ParameterValueError: an argument, or a storage of a search on other data or by other rules.
        KeyboardInterrupt: before the first trial was done.
    Cost:
        a fit and an evaluation of up to 3,000 users a trial.

    Examples:
        >>> from bilinear import search_with_optuna, synthetic_catalogue
        >>> clicks = synthetic_catalogue(1000, 40, 60, rng=0).interactions
        >>> found = search_with_optuna(clicks, n_trials=2, kinds=("Popularity",))
        >>> type(found.model).__name__
        'Popularity'
        >>> found.model.fit(clicks).recommend(7, n=2)
        RankedItems(2 items: 41, 4)
    """
    if progress is True:
        with progress_bar() as bar:
            arguments = {key: value for key, value in locals().items() if key not in ("bar", "interactions")}
            return search_with_optuna(interactions, **arguments | {"progress": bar})
    with extra("optuna"):
        optuna = import_module("optuna")
    by_name = {kind.name: kind for kind in families(kinds)}
    if not (is_whole(n_trials) and n_trials >= 1):
        raise ParameterValueError(f"n_trials={n_trials!r}; a whole number, one or more")
    if not (is_whole(rng) and rng >= 0):
        raise ParameterValueError(f"rng={rng!r}; a whole number, zero or more")
    shared = {"threshold": threshold, "confidence": confidence, "n_threads": n_threads, "rng": rng}
    interactions.check_trainable()
    everything = learnable(interactions, threshold, confidence)
    reporter, wanted_metric = progress or NullProgress(), Metric.of_rankings(metric, maximised=True)
    split = inner_split(interactions, validation, rng)
    validation_users = ValidationUsers.of(split, threshold, rng)
    positives, sizes = learnable(split.train, threshold, confidence), Sizes.of(interactions)
    usable = tuple(name for name, kind in by_name.items() if _usable(kind, sizes, everything))
    if not usable:
        raise ParameterValueError(f"kinds={kinds!r}: none of them fits in memory and ten minutes a trial")
    rules = _rules(interactions, wanted_metric, validation, threshold, confidence, rng, usable)

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # what failed is in the table
    study = optuna.create_study(
        storage=None if storage is None else _journal(optuna, Path(storage)),
        study_name=_STUDY,
        direction="maximize",
        load_if_exists=True,
    )
    if study.user_attrs.get("rules", rules) != rules:
        raise ParameterValueError(
            f"{storage} holds a search on other data or by other rules ({study.user_attrs['rules']} there, "
            f"{rules} now); give another file"
        )
    study.set_user_attr("rules", rules)
    for name in usable:
        kind = by_name[name]
        places = {f"{name}.{key}": place for key, place in kind.default.items()}
        study.enqueue_trial({"kind": name, **places}, skip_if_exists=True)
    finished = optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.FAIL
    n_done = len(study.get_trials(deepcopy=False, states=finished))
    study.sampler = optuna.samplers.TPESampler(seed=rng + n_done)
    began = clock()
    interruptions: list[int] = []

    def value_of(trial: Any) -> float:
        kind = by_name[trial.suggest_categorical("kind", usable)]
        choice = _choice(kind, trial)
        model, described = kind.make(choice, shared, positives), repr(kind.make(choice, shared, everything))
        start = clock()
        try:
            fitted_whole(model, split.train)
            fitted = clock()
            protocol = RankingProtocol((), metrics=(wanted_metric,))
            value = evaluate_ranking(model, validation_users.test, protocol, n_threads=n_threads)[
                str(wanted_metric)
            ]
        except KeyboardInterrupt:  # a trial that ends otherwise would count as one that failed
            interruptions.append(trial.number)
            study.stop()
            raise optuna.TrialPruned from None
        trial.set_user_attr("model", described)
        trial.set_user_attr("seconds", [fitted - start, clock() - fitted])
        reporter.note(f"{trial.number + 1:3d} of {n_trials}  {wanted_metric} {value:.4f}  {described}")
        return value

    failures = DivergenceError, MemoryError, ParameterValueError
    study.optimize(value_of, max(n_trials - n_done, 0), catch=failures)
    if not study.get_trials(deepcopy=False, states=finished[:1]):
        if interruptions:
            raise KeyboardInterrupt
        raise ParameterValueError("no trial gave a model; allow more n_trials or other kinds")
    best = study.best_trial
    kind = by_name[best.params["kind"]]
    places = {name: best.params[f"{kind.name}.{name}"] for name in kind.grid}
    model = kind.make(places, shared, everything)
    trials = tuple(_row(trial, trial.number == best.number) for trial in study.get_trials(states=finished))
    table = AutoTable(
        str(wanted_metric),
        split.how,
        len(validation_users.rows),
        trials,
        repr(model),
        best.value,
        clock() - began,
        "interrupted" if interruptions else "all trials done",
    )
    return OptunaResult(model, best.value, table, study)


def _usable(kind: ModelFamily, sizes: Sizes, positives: Interactions) -> bool:
    model = kind.make(kind.default, {}, positives)
    return not kind.memory_refusal(sizes, model) and kind.bearable(sizes, model)


def _choice(kind: ModelFamily, trial: Any) -> dict[str, int]:
    """A place in the grid, as Optuna proposes: neighbours in a grid are alike, so places are numbers."""
    return {
        name: trial.suggest_int(f"{kind.name}.{name}", 0, len(values) - 1)
        for name, values in kind.grid.items()
    }


def _row(trial: Any, is_best: bool) -> AutoTrial:
    fitted, scored = trial.user_attrs.get("seconds", (0.0, 0.0))
    name = trial.params.get("kind", "")
    note = "chosen" if is_best else "" if trial.value is not None else "failed"
    return AutoTrial(
        trial.user_attrs.get("model", name),
        name,
        1.0,
        trial.value,
        fit_seconds=fitted,
        score_seconds=scored,
        note=note,
    )


def _journal(optuna: Any, path: Path) -> Any:
    """A log of what happened: far quicker a trial than Optuna's databases, and no server."""
    if not path.resolve().parent.is_dir():
        raise ParameterValueError(f"{path}: no folder {path.resolve().parent}; make it first")
    backend = import_module("optuna.storages.journal").JournalFileBackend(str(path))
    return optuna.storages.JournalStorage(backend)


def _rules(interactions: Interactions, metric: Metric, *others: Any) -> str:
    """What two searches must have in common for their trials to be compared."""
    content = zlib.crc32(np.ascontiguousarray(interactions.items).tobytes())
    content = zlib.crc32(np.ascontiguousarray(interactions.users).tobytes(), content)
    content = zlib.crc32(np.ascontiguousarray(interactions.ratings).tobytes(), content)
    return f"{interactions.n_ratings} interactions, checksum {content:08x}; {metric}, " + ", ".join(
        map(str, others)
    )
