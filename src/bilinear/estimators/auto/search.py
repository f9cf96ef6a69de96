"""Successive halving over kinds of ranking models, within a time or a number of trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bilinear.compiling import clock
from bilinear.data.interactions import Interactions
from bilinear.errors import DivergenceError, ParameterValueError
from bilinear.estimators.auto.search_space import CostModel, GridPoint, ModelFamily, Sizes
from bilinear.estimators.auto.trials import AutoTable, AutoTrial
from bilinear.estimators.blend_weights import (
    MOST_VALIDATION_USERS,
    BlendCandidates,
    ValidationUsers,
    choose_weights,
    inner_split,
)
from bilinear.estimators.nested_models import fitted_whole
from bilinear.estimators.ranking_model import RankingModel
from bilinear.evaluation.metrics import Metric
from bilinear.evaluation.ranking import RankingProtocol, evaluate_ranking
from bilinear.training.progress import Progress

_ETA = 3  # a rung has so many times the users of the one before
_LEAST_PAIRS = 50_000  # that the first rung trains on
_FIRST_SHARE = 0.2  # of the budget: variations on the first rung
_PROMOTED = 8  # at most, to the next rung
_HOPELESS = 0.5  # of the best value: a kind below is not promoted
_IN_BLEND = 5  # models at most
_WORTH = 1.002  # by what a blend must be better than its best model
_SLACK = 1.25  # estimates are taken so many times
_IDLE = 12  # variations in a row that bring nothing end the search


@dataclass(frozen=True)
class TrialResult:
    """A trial that has a value. `model` is fitted on the users of its rung."""

    kind: ModelFamily
    choice: GridPoint
    value: float
    model: RankingModel
    at: int
    """Its place in the table."""


@dataclass(eq=False)
class Search:
    """One search; `run` gives the table and the unfitted models with their weights.

    Args:
        budget: seconds for search and refit, or None.
        n_trials: how many trials, or None. One is given.
        shared: arguments of every model (threshold, confidence, n_threads, rng).
    """

    interactions: Interactions
    kinds: Sequence[ModelFamily]
    shared: Mapping[str, Any]
    metric: Metric
    validation: float
    blend: bool
    seed: int
    budget: float | None
    n_trials: int | None
    n_threads: int | None
    progress: Progress
    trials: list[AutoTrial] = field(default_factory=list)
    n_made: int = 0

    def __post_init__(self) -> None:
        self._began = clock()
        self._split = inner_split(self.interactions, self.validation, self.seed)
        self._relevant_from = self.shared.get("threshold")
        self._validation_users = ValidationUsers.of(self._split, self._relevant_from, self.seed)
        self._full = Sizes.of(self.interactions)
        self._n_users = Sizes.of(self._split.train).n_users
        self._pace = CostModel(self.n_threads)
        self._rng = np.random.default_rng([self.seed, 11])
        self._best: dict[str, TrialResult] = {}  # of the highest rung that has any
        self._rung = -1
        self._tried: set[tuple[Any, ...]] = set()
        others = self._rng.permutation(self.interactions.n_users)
        chosen = np.isin(others, self._validation_users.rows)
        self._users = np.concatenate([others[chosen], others[~chosen]])

    def run(self) -> tuple[AutoTable, list[tuple[RankingModel, float]]]:
        """Searches until budget or trials are spent; Ctrl-C ends it with the best so far.

        Raises:
            KeyboardInterrupt: before the first trial was done.
        """
        ended = "all trials done"
        try:
            ended = self._climb()
        except KeyboardInterrupt:
            if not self._best:
                raise
            ended = "interrupted"
        if not self._best:
            why = "; ".join(trial.note for trial in self.trials) or "too little memory, or too long a trial"
            raise ParameterValueError(f"none of the models could be tried ({why}); allow other kinds")
        parts, value = self._mixture() if ended != "interrupted" else self._single()
        for made, weight in parts:
            note = f"weight {weight:.2f}" if len(parts) > 1 else "chosen"
            self.trials[made.at] = replace(self.trials[made.at], note=note)
        models = [(self._make(made.kind, made.choice), weight) for made, weight in parts]
        chosen = " + ".join(
            f"{weight:.2f} {model!r}" if len(models) > 1 else repr(model) for model, weight in models
        )
        table = AutoTable(
            str(self.metric),
            self._split.how,
            len(self._validation_users.rows),
            tuple(self.trials),
            chosen,
            value,
            self.elapsed(),
            ended,
        )
        return table, models

    def elapsed(self) -> float:
        return clock() - self._began

    def _climb(self) -> str:
        shares = [1.0]
        few = self.n_trials is not None and self.n_trials < 3 * len(self.kinds)
        while not few and self._split.train.n_ratings * shares[0] / _ETA >= _LEAST_PAIRS:
            shares.insert(0, shares[0] / _ETA)
        pool: list[tuple[ModelFamily, GridPoint]] = [
            (kind, kind.default)
            for kind in self.kinds
            if (kind.fits(self._full) if self.n_trials is None else kind.bearable(self._full))
        ]
        for rung, share in enumerate(shares):
            table, validation_users = self._part(share, rung, len(shares))
            results = [
                made
                for kind, choice in pool
                if (made := self._try(kind, choice, rung, table, validation_users))
            ]
            last = rung == len(shares) - 1
            if last or rung == 0:
                results += self._vary(results, rung, table, validation_users, everything=last)
            if self._spent():
                break
            pool = self._promoted(results) or pool
        return "budget spent" if self.n_trials is None and self._spent() else "all trials done"

    def _part(self, share: float, rung: int, n_rungs: int) -> tuple[Interactions, ValidationUsers]:
        """The inner training part of a share of the users, and the validation users of this rung."""
        validation_users = self._validation_users
        if rung < n_rungs - 1:
            validation_users = ValidationUsers.of(
                self._split, self._relevant_from, self.seed, MOST_VALIDATION_USERS // (n_rungs - rung)
            )
        train = self._split.train
        if share < 1:
            among = np.zeros(train.n_users, bool)
            among[self._users[: max(int(share * train.n_users), len(validation_users.rows))]] = True
            among[validation_users.rows] = True
            train = train.take(among[train.users])
        return train, validation_users

    def _try(
        self,
        kind: ModelFamily,
        choice: GridPoint,
        rung: int,
        table: Interactions,
        validation_users: ValidationUsers,
        quiet: bool = False,
    ) -> TrialResult | None:
        key = rung, kind.name, *sorted(choice.items())
        if key in self._tried or (self.n_trials is not None and self.n_made >= self.n_trials):
            return None
        self._tried.add(key)
        model, sizes = self._make(kind, choice), Sizes.of(table)
        share = sizes.n_users / self._n_users
        cost = self._pace.fit_seconds(kind, sizes, model)
        cost += self._pace.score_seconds(kind, sizes, model, len(validation_users.rows))
        refit = self._pace.fit_seconds(kind, self._full, model)
        if self.budget is not None and self.n_made and not self._affordable(cost, kind, refit):
            if not quiet:
                note = f"not tried: about {cost:.0f} s, and {refit:.0f} s on everything"
                self.trials.append(AutoTrial(kind.describe(choice), kind.name, share, None, note=note))
            return None
        began = clock()
        try:
            fitted_whole(model, table)
            fitted = clock()
            protocol = RankingProtocol((), metrics=(self.metric,))
            value = evaluate_ranking(model, validation_users.test, protocol, n_threads=self.n_threads)[
                str(self.metric)
            ]
        except (DivergenceError, MemoryError, ParameterValueError) as error:
            self.n_made += 1
            self.trials.append(
                AutoTrial(kind.describe(choice), kind.name, share, None, note=f"failed: {error}")
            )
            return None
        took = fitted - began, clock() - fitted
        self.n_made += 1
        self._pace.measured(kind, sizes, model, len(validation_users.rows), *took)
        self.trials.append(AutoTrial(kind.describe(choice), kind.name, share, value, *took))
        self._say(share, kind.describe(choice), value)
        made = TrialResult(kind, choice, value, model, len(self.trials) - 1)
        if rung > self._rung:
            self._rung, self._best = rung, {}
        if kind.name not in self._best or value > self._best[kind.name].value:
            self._best[kind.name] = made
        return made

    def _vary(
        self,
        results: list[TrialResult],
        rung: int,
        table: Interactions,
        validation_users: ValidationUsers,
        *,
        everything: bool,
    ) -> list[TrialResult]:
        """Trials near the best of each kind, better kinds more often."""
        found: list[TrialResult] = []
        idle = 0
        while idle < _IDLE and self._best and not self._spent():
            if not everything and self._share_spent() >= (_FIRST_SHARE if self.budget is not None else 0.5):
                break
            leaders = sorted((made for made in self._best.values() if made.kind.grid), key=lambda m: -m.value)
            leaders = [made for made in leaders if made.value >= _HOPELESS * leaders[0].value]
            if not leaders:
                break
            place = min(int(self._rng.exponential(1.0)), len(leaders) - 1)
            leader = leaders[place]
            choice = leader.kind.neighbour(leader.choice, self._rng)
            made = self._try(leader.kind, choice, rung, table, validation_users, quiet=True)
            if made is not None:
                found.append(made)
            better = made is not None and made.value > leader.value
            idle = 0 if better else idle + 1
        return found

    def _promoted(self, results: list[TrialResult]) -> list[tuple[ModelFamily, GridPoint]]:
        """The best of each kind, and the best third of all, best first."""
        ordered = sorted(results, key=lambda made: -made.value)
        if not ordered:
            return []
        kept, kinds = [], set()
        for place, made in enumerate(ordered):
            first = made.kind.name not in kinds and made.value >= _HOPELESS * ordered[0].value
            if first or place < len(ordered) // _ETA:
                kinds.add(made.kind.name)
                kept.append((made.kind, made.choice))
        return kept[:_PROMOTED]

    def _affordable(self, cost: float, kind: ModelFamily, refit: float) -> bool:
        """Whether a trial, and in the end the refit of what is likely to be chosen, fits the budget."""
        assert self.budget is not None
        return self.elapsed() + _SLACK * (cost + self._closing(kind.name, refit)) <= self.budget

    def _closing(self, kind: str = "", refit: float = 0.0) -> float:
        """Seconds that choosing the weights and the refit will take, as things stand."""
        leaders = sorted(self._best.values(), key=lambda made: -made.value)
        n_members = 3 if self.blend else 1
        total = refit
        for made in [made for made in leaders if made.kind.name != kind][: n_members - bool(kind)]:
            total += self._pace.fit_seconds(made.kind, self._full, made.model)
            if self.blend:
                total += self._pace.score_seconds(
                    made.kind, self._full, made.model, len(self._validation_users.rows)
                )
        return total

    def _spent(self) -> bool:
        return self._share_spent() >= 1

    def _share_spent(self) -> float:
        if self.n_trials is not None:
            return self.n_made / self.n_trials
        assert self.budget is not None
        return (self.elapsed() + _SLACK * self._closing()) / self.budget

    def _single(self) -> tuple[list[tuple[TrialResult, float]], float]:
        best = max(self._best.values(), key=lambda made: made.value)
        return [(best, 1.0)], best.value

    def _mixture(self) -> tuple[list[tuple[TrialResult, float]], float]:
        """The best model, or the best few mixed where that is better and time allows."""
        single, value = self._single()
        members = self._members()
        if len(members) < 2:
            return single, value
        candidates = BlendCandidates.of(
            [made.model for made in members], self._validation_users_of_best(), self.n_threads
        )
        alone = max(
            candidates.value([float(n == m) for n in range(len(members))], self.metric)
            for m in range(len(members))
        )
        weights, mixed = choose_weights(len(members), lambda given: candidates.value(given, self.metric))
        if mixed < _WORTH * alone:
            return single, value
        self.progress.note(f"blend: {self.metric} {mixed:.4f}")
        parts = [(made, weight) for made, weight in zip(members, weights, strict=True) if weight]
        return sorted(parts, key=lambda part: -part[1]), mixed

    def _members(self) -> list[TrialResult]:
        """What may be mixed: the best of each kind that time allows to fit again, best first."""
        if not self.blend:
            return []
        left = np.inf if self.budget is None else self.budget - self.elapsed()
        members: list[TrialResult] = []
        for made in sorted(self._best.values(), key=lambda made: -made.value)[:_IN_BLEND]:
            cost = self._pace.fit_seconds(made.kind, self._full, made.model)
            cost += self._pace.score_seconds(
                made.kind, self._full, made.model, len(self._validation_users.rows)
            )
            if not members or _SLACK * cost <= left:
                members.append(made)
                left -= _SLACK * cost
        return members

    def _validation_users_of_best(self) -> ValidationUsers:
        """Those that the fitted models of the highest rung know."""
        known = next(iter(self._best.values())).model.seen_.counts > 0
        if known[self._validation_users.rows].all():
            return self._validation_users
        train = self._split.train
        part = replace(self._split, train=train.take(known[train.users]))
        return ValidationUsers.of(part, self._relevant_from, self.seed)

    def _make(self, kind: ModelFamily, choice: GridPoint) -> RankingModel:
        model: RankingModel = kind.make(choice, self.shared)
        return model

    def _say(self, share: float, model: str, value: float) -> None:
        of = f"{self.n_made:3d} of {self.n_trials}" if self.n_trials else f"{self.elapsed():4.0f} s"
        users = "" if share > 0.999 else f" ({share:.0%} of the users)"
        self.progress.note(f"{of}  {self.metric} {value:.4f}  {model}{users}")
