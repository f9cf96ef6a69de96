"""Successive halving over kinds of ranking models, within a budget of work, of trials or of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.compiling import clock
from bilinear.data.interactions import Interactions
from bilinear.errors import DivergenceError, ParameterValueError
from bilinear.estimators.auto.search_space import CostModel, GridPoint, ModelFamily, Sizes, learnable
from bilinear.estimators.auto.trials import AutoTable, AutoTrial
from bilinear.estimators.blend_weights import (
    MOST_VALIDATION_USERS,
    BlendCandidates,
    ValidationUsers,
    choose_weights,
)
from bilinear.estimators.nested_models import fitted_whole
from bilinear.estimators.popularity import Popularity
from bilinear.estimators.ranking_model import RankingModel
from bilinear.estimators.validation_split import InnerValidation
from bilinear.evaluation.bootstrap import mean_intervals
from bilinear.evaluation.metrics import Metric
from bilinear.evaluation.ranking import RankingProtocol, evaluate_ranking
from bilinear.evaluation.ranking_metrics import OF_CATALOGUE
from bilinear.training.progress import Progress

_ETA = 6  # a rung has so many times the users of the one before
_LEAST_PAIRS = 50_000  # that the first rung trains on
_FIRST_SHARE = 0.35  # of the budget: further starts on the first rung of several
_DEAR = 0.1  # of the budget: a trial on that rung that takes more is not made
_PROMOTED = 8  # at most, to the next rung
_BEST_THIRD = 3
_HOPELESS = 0.5  # of the best value of a personal model: a kind below is not promoted
_IN_BLEND = 5  # models at most
_WORTH = 1.002  # by what a blend must be better than its best model
_EQUAL = 0.99  # of the best value: below it a model is not as good, however wide the interval
_SLACK = 1.25  # estimates of time are taken so many times
_GROWN = 0.3  # of the budget: what a fit on everything of a larger model of a kind may take
_IDLE = 12  # variations in a row that bring nothing end the search

Pool = list[tuple[ModelFamily, GridPoint]]


@dataclass(frozen=True)
class Limits:
    """What ends a search: the first that is reached; None does not.

    Attributes:
        work: seconds of one core, as estimated; at most as many again may train what is chosen.
        n_trials: trials.
        seconds: of the clock, for the search and the last training together.
    """

    work: float | None
    n_trials: int | None
    seconds: float | None


@dataclass(frozen=True, eq=False)
class TrialResult:
    """A trial that has a value.

    Attributes:
        of_users: the metric of each validation user of its rung.
        at: its place in the table.
    """

    kind: ModelFamily
    choice: GridPoint
    rung: int
    value: float
    of_users: NDArray[np.float64]
    coverage: float
    at: int


@dataclass(frozen=True, eq=False)
class _Rung:
    """A part of the users: what is trained on, what is validated on."""

    number: int
    table: Interactions
    positives: Interactions
    sizes: Sizes
    share: float
    validation_users: ValidationUsers
    last: bool


@dataclass(eq=False)
class Search:
    """One search; `run` gives the table and the unfitted models with their weights.

    Args:
        shared: arguments of every model (threshold, confidence, n_threads, rng).
    """

    interactions: Interactions
    kinds: Sequence[ModelFamily]
    shared: Mapping[str, Any]
    metric: Metric
    validation: InnerValidation
    blend: bool
    seed: int
    limits: Limits
    n_threads: int | None
    progress: Progress
    trials: list[AutoTrial] = field(default_factory=list)
    n_made: int = 0
    work: float = 0.0

    def __post_init__(self) -> None:
        self._began = clock()
        self._split = self.validation.split
        self._validation_users = self.validation.users(self.shared.get("threshold"), self.seed)
        self._everything = learnable(self.interactions, self.shared["threshold"], self.shared["confidence"])
        self._full = Sizes.of(self.interactions)
        self._n_users = Sizes.of(self._split.train).n_users
        self._pace = CostModel(self.n_threads)
        self._rng = np.random.default_rng([self.seed, 11])
        self._made: list[TrialResult] = []
        self._best: dict[str, TrialResult] = {}  # of each kind, of the highest rung that it reached
        self._fitted: dict[str, RankingModel] = {}  # those of them that are of the highest rung of all
        self._rung = -1
        self._tried: set[tuple[Any, ...]] = set()
        self._users_of_rungs: list[ValidationUsers] = []
        self._hit = ""  # the limit that refused a trial
        self._refused = False  # the trial asked for last, for a limit
        others = self._rng.permutation(self.interactions.n_users)
        chosen = np.isin(others, self._validation_users.rows)
        self._users = np.concatenate([others[chosen], others[~chosen]])

    def run(self) -> tuple[AutoTable, list[tuple[RankingModel, float]]]:
        """Searches until a limit is reached or nothing gets better; Ctrl-C ends it with the best so far.

        Raises:
            KeyboardInterrupt: before the first trial was done.
        """
        self._state_cost()
        try:
            ended = self._climb()
        except KeyboardInterrupt:
            if not self._best:
                raise
            ended = "interrupted"
        if not self._best:
            why = "; ".join(trial.note for trial in self.trials) or "too little memory, or too long a trial"
            raise ParameterValueError(f"none of the models could be tried ({why}); allow other kinds")
        parts, value = self._choice(may_blend=self.blend and ended != "interrupted")
        for made, weight in parts:
            note = f"weight {weight:.2f}" if len(parts) > 1 else "chosen"
            self.trials[made.at] = replace(self.trials[made.at], note=note)
        models = [(self._make(made.kind, made.choice, self._everything), weight) for made, weight in parts]
        chosen = " + ".join(
            f"{weight:.2f} {model!r}" if len(models) > 1 else repr(model) for model, weight in models
        )
        table = AutoTable(
            str(self.metric),
            str(self.validation),
            len(self._validation_users.rows),
            tuple(self.trials),
            chosen,
            value,
            self.elapsed(),
            ended,
            self.work,
        )
        return table, models

    def elapsed(self) -> float:
        return clock() - self._began

    def _state_cost(self) -> None:
        limits, said = self.limits, []
        if limits.work is not None:
            said.append(
                f"up to {limits.work:g} core-seconds of estimated work, and at most as many again to train "
                "what is chosen"
            )
        if limits.n_trials is not None:
            said.append(f"up to {limits.n_trials:,} trials, whatever they take")
        if limits.seconds is not None:
            said.append(f"up to {limits.seconds:g} s by the clock, so that another run may choose otherwise")
        self.progress.note(f"search over {len(self.kinds)} kinds of models: {'; '.join(said)}")
        self.progress.note(f"validated on: {self.validation}")

    # -- rungs ------------------------------------------------------------------------------------

    def _climb(self) -> str:
        """Tries all; returns why it ended."""
        shares = [1.0]
        few = self.limits.n_trials is not None and self.limits.n_trials < 3 * len(self.kinds)
        while not few and self._split.train.n_ratings * shares[0] / _ETA >= _LEAST_PAIRS:
            shares.insert(0, shares[0] / _ETA)
        pool: Pool = [(kind, kind.default) for kind in self.kinds if self._allowed(kind)]
        ended = ""
        for number, share in enumerate(shares):
            rung = self._part(share, number, len(shares))
            self._users_of_rungs.append(rung.validation_users)
            self._try_all(pool, rung)
            if number == 0:
                self._try_all(self._starts(rung), rung, within=1.0 if rung.last else _FIRST_SHARE)
            if rung.last:
                ended = self._vary(rung)
            if self._limit():
                break
            pool = self._promoted(number, before_last=number == len(shares) - 2) or pool
        return self._limit() or ended or self._hit

    def _allowed(self, kind: ModelFamily) -> bool:
        """Whether memory allows the kind, and where trials are counted its time; the table says why not."""
        model = self._make(kind, kind.default, self._everything)
        why = kind.memory_refusal(self._full, model)
        if not why and self.limits.n_trials is not None and not kind.bearable(self._full, model):
            why = f"about {kind.fit_seconds(self._full, model):,.0f} core-seconds"
        if why:
            self._note_skipped(kind, kind.default, self._everything, 1.0, why)
        return not why

    def _starts(self, rung: _Rung) -> Pool:
        """Further starts: of what is not personal, which costs little, then of better kinds first.

        Of all users, larger models too.
        """
        ordered = sorted(self._best.values(), key=lambda made: (_is_personal(made), -made.value))
        hopeful = [made for made in ordered if not _is_personal(made) or made.value >= _hopeless(ordered)]
        found = [(made.kind, start) for made in hopeful for start in made.kind.starts]
        grown = [(made.kind, self._grown(made.kind, made.choice)) for made in hopeful] if rung.last else []
        return [*grown, *found]

    def _grown(self, kind: ModelFamily, choice: GridPoint) -> GridPoint:
        """With as many factors as a share of the budget allows, and half the penalty for each doubling."""
        most = self.limits.work if self.limits.seconds is None else self.limits.seconds
        grown = dict(choice)
        while most is not None and grown.get("n_factors", np.inf) < len(kind.grid.get("n_factors", ())) - 1:
            larger = grown | {"n_factors": grown["n_factors"] + 1}
            if "l2" in grown:
                larger["l2"] = max(grown["l2"] - 1, 0)
            model = self._make(kind, larger, self._everything)
            if kind.fit_seconds(self._full, model) > _GROWN * most:
                break
            grown = larger
        return grown

    def _part(self, share: float, number: int, n_rungs: int) -> _Rung:
        """The inner training part of a share of the users, and the validation users of this rung."""
        validation_users, last = self._validation_users, number == n_rungs - 1
        if not last:
            validation_users = self.validation.users(
                self.shared.get("threshold"), self.seed, MOST_VALIDATION_USERS // (n_rungs - number + 1)
            )
        train = self._split.train
        if share < 1:
            among = np.zeros(train.n_users, bool)
            among[self._users[: max(int(share * train.n_users), len(validation_users.rows))]] = True
            among[validation_users.rows] = True
            train = train.take(among[train.users])
        positives = learnable(train, self.shared["threshold"], self.shared["confidence"])
        sizes = Sizes.of(train)
        return _Rung(number, train, positives, sizes, sizes.n_users / self._n_users, validation_users, last)

    def _try_all(self, pool: Pool, rung: _Rung, within: float = 1.0) -> None:
        for kind, choice in pool:
            self._try(kind, choice, rung, within)

    def _promoted(self, number: int, *, before_last: bool) -> Pool:
        """The best of each kind, best first, then what else is among the best third.

        Of a kind the default stands for a start that is not clearly better. For the last rung also those of
        kinds that fell before.
        """
        ordered = sorted((made for made in self._made if made.rung == number), key=lambda made: -made.value)
        if not ordered:
            return []
        best = {made.kind.name: made for made in reversed(ordered)}
        for made in ordered:
            leader = best[made.kind.name]
            if made.choice == made.kind.default and self._as_good(made.of_users, leader.of_users):
                best[made.kind.name] = made
        firsts = sorted(best.values(), key=lambda made: -made.value)
        firsts = [made for made in firsts if made.value >= _hopeless(firsts)]
        if before_last:
            fallen = [made for made in self._best.values() if made.rung < number]
            firsts += sorted(fallen, key=lambda made: (-made.rung, -made.value))
        others = [made for made in ordered[: len(ordered) // _BEST_THIRD] if made not in firsts]
        kept = [*firsts, *others][: max(_PROMOTED, len(firsts))]
        return [
            (made.kind, self._grown(made.kind, made.choice) if before_last else made.choice) for made in kept
        ]

    def _vary(self, rung: _Rung) -> str:
        """Trials near the best of each kind, better kinds more often, while that brings something."""
        idle = n_made = 0
        dear: set[str] = set()  # kinds of which a trial was refused
        while idle < _IDLE and not self._limit():
            leaders = [made for made in self._best.values() if made.rung == rung.number and made.kind.grid]
            leaders = sorted(leaders, key=lambda made: -made.value)
            leaders = [made for made in leaders if made.value >= _hopeless(leaders)]
            leaders = [made for made in leaders if made.kind.name not in dear]
            if not leaders:
                break
            leader = leaders[min(int(self._rng.exponential(1.0)), len(leaders) - 1)]
            choice = leader.kind.neighbour(leader.choice, self._rng)
            n_before, made = self.n_made, self._try(leader.kind, choice, rung, quiet=True)
            if made is None and self.n_made == n_before and self._refused:
                dear.add(leader.kind.name)
            elif made is not None and made.value > leader.value:
                idle = n_made = 0
            else:
                idle, n_made = idle + 1, n_made + self.n_made - n_before
        if idle >= _IDLE and n_made:
            return f"no progress in {n_made} variations"
        return self._hit or "nothing left to try"

    # -- one trial --------------------------------------------------------------------------------

    def _try(
        self, kind: ModelFamily, choice: GridPoint, rung: _Rung, within: float = 1.0, quiet: bool = False
    ) -> TrialResult | None:
        key = rung.number, kind.name, *sorted(choice.items())
        limits, self._refused = self.limits, False
        if key in self._tried or (limits.n_trials is not None and self.n_made >= within * limits.n_trials):
            return None
        model, n_users = self._make(kind, choice, rung.positives), len(rung.validation_users.rows)
        work = kind.fit_seconds(rung.sizes, model) + kind.score_seconds(rung.sizes, model, n_users)
        if self.n_made and (why := self._refusal(kind, model, rung, work, within)):
            self._refused = True
            if not quiet and within == 1:
                self._note_skipped(kind, choice, rung.positives, rung.share, why)
            return None
        self._tried.add(key)
        self.n_made += 1
        self.work += work
        began = clock()
        name = str(self.metric)
        described = kind.describe(choice, rung.positives)
        try:
            fitted_whole(model, rung.table)
            fitted = clock()
            protocol = RankingProtocol((), metrics=(self.metric,))
            scores = evaluate_ranking(model, rung.validation_users.test, protocol, n_threads=self.n_threads)
        except (DivergenceError, MemoryError, ParameterValueError) as error:
            self.trials.append(
                AutoTrial(described, kind.name, rung.share, None, work=work, note=f"failed: {error}")
            )
            return None
        took = fitted - began, clock() - fitted
        self._pace.measured(kind, rung.sizes, model, n_users, *took)
        value = scores[name]
        coverage, gini, popular = (scores[f"{figure}@{self.metric.k}"] for figure in OF_CATALOGUE)
        self.trials.append(
            AutoTrial(described, kind.name, rung.share, value, coverage, gini, popular, work, *took)
        )
        self._say(rung.share, described, value, coverage)
        at = len(self.trials) - 1
        made = TrialResult(kind, choice, rung.number, value, scores.per_user[name], coverage, at)
        self._keep(made, model)
        return made

    def _keep(self, made: TrialResult, model: RankingModel) -> None:
        self._made.append(made)
        if made.rung > self._rung:
            self._rung, self._fitted = made.rung, {}
        before = self._best.get(made.kind.name)
        if before is None or (made.rung, made.value) > (before.rung, before.value):
            self._best[made.kind.name], self._fitted[made.kind.name] = made, model

    def _refusal(self, kind: ModelFamily, model: Any, rung: _Rung, work: float, within: float) -> str:
        """Why a trial, and in the end the training of what is likely to be chosen, is beyond a limit."""
        most, n_users = self.limits.work, len(rung.validation_users.rows)
        if most is not None:
            blended = sum(
                made.kind.score_seconds(self._full, self._fitted[name], len(self._validation_users.rows))
                for name, made in self._best.items()
                if self.blend and name in self._fitted and within == 1
            )
            if self.work + work + blended > within * most:
                self._hit = self._hit if within < 1 else self._work_spent()
                return f"about {work:.1f} core-seconds"
            if work > _DEAR * most and not rung.last:
                return f"about {work:.1f} core-seconds on a part of the users"
            again = kind.fit_seconds(self._full, model)
            if again > most:
                self._hit = self._work_spent()
                return f"about {again:,.0f} core-seconds on everything"
        if self.limits.seconds is not None:
            cost = self._pace.fit_seconds(kind, rung.sizes, model)
            cost += self._pace.score_seconds(kind, rung.sizes, model, n_users)
            refit = self._pace.fit_seconds(kind, self._full, model)
            after = self.elapsed() + _SLACK * (cost + self._closing(kind.name, refit))
            if after > within * self.limits.seconds:
                self._hit = self._hit if within < 1 else self._time_reached()
                return f"about {cost:.0f} s, and {refit:.0f} s on everything"
        return ""

    def _closing(self, kind: str = "", refit: float = 0.0) -> float:
        """Seconds by the clock that choosing the weights and the refit will take, as things stand."""
        leaders = sorted(self._best.values(), key=lambda made: -made.value)
        n_members = 3 if self.blend else 1
        total = refit
        for made in [made for made in leaders if made.kind.name != kind][: n_members - bool(kind)]:
            model = self._make(made.kind, made.choice, self._everything)
            total += self._pace.fit_seconds(made.kind, self._full, model)
            if self.blend:
                n_users = len(self._validation_users.rows)
                total += self._pace.score_seconds(made.kind, self._full, model, n_users)
        return total

    def _limit(self) -> str:
        """The limit that is reached; empty if none is."""
        limits = self.limits
        if limits.n_trials is not None and self.n_made >= limits.n_trials:
            return "all trials done"
        if limits.work is not None and self.work >= limits.work:
            return self._work_spent()
        if limits.seconds is not None and self.elapsed() + _SLACK * self._closing() >= limits.seconds:
            return self._time_reached()
        return ""

    def _work_spent(self) -> str:
        return f"budget of work spent: {self.work:.0f} of {self.limits.work:g} core-seconds"

    def _time_reached(self) -> str:
        return f"time limit of {self.limits.seconds:g} s reached"

    # -- the choice -------------------------------------------------------------------------------

    def _choice(self, *, may_blend: bool) -> tuple[list[tuple[TrialResult, float]], float]:
        """What is best by the metric; of what is as good beyond doubt, what lists the most items.

        Never less than the best model alone: on every rung that models share, the better one goes on.
        """
        best = self._leader()
        found = [([(made, 1.0)], made.value, made.of_users, made.coverage) for made in self._made]
        found = [one for one in found if one[0][0][0].rung == best.rung]
        if may_blend:
            found += self._mixture(best)
        top = max(found, key=lambda one: one[1])
        equal = [one for one in found if one is top or self._as_good(one[2], top[2])]
        parts, value, _, _ = max(equal, key=lambda one: one[3])
        return parts, value

    def _leader(self) -> TrialResult:
        """The best alone: that of a rung, unless the best of the rung before was not tried on it."""
        leader: TrialResult | None = None
        for number in range(self._rung + 1):
            rung = [made for made in self._made if made.rung == number]
            known = leader is None or any(
                made.kind is leader.kind and made.choice == leader.choice for made in rung
            )
            if rung and known:
                leader = max(rung, key=lambda made: made.value)
        assert leader is not None
        return leader

    def _as_good(self, values: NDArray[np.float64], best: NDArray[np.float64]) -> bool:
        """Whether the mean over the users is near the best, and the paired difference may be chance."""
        if len(values) != len(best) or values.mean() < _EQUAL * best.mean():
            return False
        (difference,) = mean_intervals((best - values)[:, None], self.seed)
        return difference.low <= 0 <= difference.high

    def _mixture(
        self, best: TrialResult
    ) -> list[tuple[list[tuple[TrialResult, float]], float, NDArray[np.float64], float]]:
        """The best models of the leader's rung mixed, if that is better and time allows; else nothing."""
        members = self._members() if best.rung == self._rung else []
        if len(members) < 2:
            return []
        users = self._users_of_rungs[best.rung]
        models = [self._fitted[made.kind.name] for made in members]
        candidates = BlendCandidates.of(models, users, self.n_threads)
        n_users = len(users.rows)
        self.work += sum(
            made.kind.score_seconds(self._full, model, n_users)
            for made, model in zip(members, models, strict=True)
        )
        weights, mixed = choose_weights(len(members), lambda given: candidates.value(given, self.metric))
        alone = [candidates.value(row, self.metric) for row in np.eye(len(members)).tolist()]
        if mixed < _WORTH * max(alone):
            return []
        self.progress.note(f"blend: {self.metric} {mixed:.4f}")
        items, of_users = candidates.lists(weights, self.metric)
        coverage = len(np.unique(items[items >= 0])) / self.interactions.n_items
        parts = [(made, weight) for made, weight in zip(members, weights, strict=True) if weight]
        return [(sorted(parts, key=lambda part: -part[1]), mixed, of_users, coverage)]

    def _members(self) -> list[TrialResult]:
        """What may be mixed: the best of each kind that time allows to fit again, best first."""
        left = np.inf if self.limits.seconds is None else self.limits.seconds - self.elapsed()
        again = np.inf if self.limits.work is None else self.limits.work
        members: list[TrialResult] = []
        leaders = [made for made in self._best.values() if made.rung == self._rung]
        for made in sorted(leaders, key=lambda made: -made.value)[:_IN_BLEND]:
            model, n_users = self._fitted[made.kind.name], len(self._validation_users.rows)
            cost = self._pace.fit_seconds(made.kind, self._full, model)
            cost += self._pace.score_seconds(made.kind, self._full, model, n_users)
            work = made.kind.fit_seconds(self._full, model)
            if not members or (_SLACK * cost <= left and work <= again):
                members.append(made)
                left -= _SLACK * cost
                again -= work
        return members

    def _make(self, kind: ModelFamily, choice: GridPoint, positives: Interactions) -> RankingModel:
        model: RankingModel = kind.make(choice, self.shared, positives)
        return model

    def _note_skipped(
        self, kind: ModelFamily, choice: GridPoint, positives: Interactions, share: float, why: str
    ) -> None:
        described = kind.describe(choice, positives)
        self.trials.append(AutoTrial(described, kind.name, share, None, note=f"not tried: {why}"))

    def _say(self, share: float, model: str, value: float, coverage: float) -> None:
        limits = self.limits
        of = f"{self.elapsed():4.0f} s"
        if limits.n_trials is not None:
            of = f"{self.n_made:3d} of {limits.n_trials}"
        elif limits.work is not None:
            of = f"{self.work:4.0f} of {limits.work:g}"
        users = "" if share > 0.999 else f" ({share:.0%} of the users)"
        self.progress.note(f"{of}  {self.metric} {value:.4f}, coverage {coverage:.3f}  {model}{users}")


def _is_personal(made: TrialResult) -> bool:
    return made.kind.model is not Popularity


def _hopeless(made: Sequence[TrialResult]) -> float:
    """The value below which a kind is not promoted: by personal models, which add to what is popular now."""
    personal = [one.value for one in made if _is_personal(one)]
    return _HOPELESS * max(personal or [one.value for one in made], default=0.0)
