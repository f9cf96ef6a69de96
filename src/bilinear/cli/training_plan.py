"""Plan of `bilinear train`, made from its options: models to train, and how to measure them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bilinear.cli import options
from bilinear.cli.models import (
    build_model,
    is_rating_model,
    model_class,
    parsed_settings,
    parsed_spec,
    setting_names,
)
from bilinear.errors import ParameterValueError
from bilinear.training.choice import Auto

_DEFAULT = {"ratings": "mf", "ranking": "auto"}
_WITH_FEATURES = {"ratings": "mf", "ranking": "implicit-als"}


@dataclass(frozen=True)
class Plan:
    """Models by name, of which one is kept; the others are measured beside it."""

    models: Mapping[str, Any]
    name: str
    baseline: str | None
    protocol: Any


@dataclass(frozen=True)
class Wanted:
    """The options that say what to train.

    Attributes:
        model: its name here.
        settings: from `--set`.
        also: models to measure beside, NAME:ARGUMENT=VALUE,...
        ranking: what is for rankings alone, by the name of the option; None where it was not given.
        features: `item_features` and `user_features`, those that were given.
    """

    task: str | None
    model: str
    settings: Mapping[str, Any]
    also: Sequence[str]
    ranking: Mapping[str, Any]
    seed: int
    threads: int | None
    features: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        task: str | None,
        model: str,
        settings: Sequence[str] | None,
        also: Sequence[str] | None,
        ranking: Mapping[str, Any],
        seed: int,
        threads: int | None,
        features: Mapping[str, str | None] | None = None,
    ) -> Wanted:
        """Raises ParameterValueError: no such task, or a setting is not NAME=VALUE."""
        return cls(
            options.task_of(task),
            model,
            parsed_settings(settings),
            also or (),
            ranking,
            seed,
            threads,
            {name: options.features(text) for name, text in (features or {}).items() if text is not None},
        )

    def implied_task(self) -> str | None:
        """The task that the options name or mean; None leaves it to the table.

        Raises:
            ParameterValueError: they mean both.
        """
        if self.task is not None:
            return self.task
        if self.model != "auto":
            return "ratings" if is_rating_model(model_class(self.model)) else "ranking"
        given = {name for name, value in self.ranking.items() if value is not None}
        rated, ranked = (setting_names([model_class(_DEFAULT[name])]) for name in ("ratings", "ranking"))
        only_rated = [name for name in self.settings if name in rated and name not in ranked]
        if given and only_rated:
            raise ParameterValueError(
                f"{_options(given)} for ranking and --set {only_rated[0]} for ratings; say which with --task"
            )
        return "ranking" if given else "ratings" if only_rated else None

    def plan(self, task: str) -> Plan:
        """The plan for a task.

        Raises:
            ParameterValueError: an option is for another task or model, or is not such a value.
        """
        given = {name: value for name, value in self.ranking.items() if value is not None}
        if task == "ratings" and given:
            raise ParameterValueError(f"{_options(set(given))}: not for --task ratings")
        default = _WITH_FEATURES if self.features else _DEFAULT
        name = default[task] if self.model == "auto" else self.model
        plan = self._of_ratings(name) if task == "ratings" else self._of_ranking(name, given)
        beside = {spec: self._beside(spec, task, plan) for spec in self.also}
        return Plan({**plan.models, **beside}, plan.name, plan.baseline, plan.protocol)

    def _of_ranking(self, model: str, given: Mapping[str, Any]) -> Plan:
        weighing = {name: given.get(name) for name in ("threshold", "confidence")}
        kind = model_class(model, "ranking")
        budget = given.get("time_budget")
        if budget is not None and model != "auto":
            raise ParameterValueError("--time-budget is for --model auto, which tries several")
        main = self._made(kind, time_budget=budget, **weighing)
        baseline = build_model(model_class("popularity"), {}, seed=self.seed, **weighing)
        protocol = options.ranking_protocol(
            given.get("cutoffs"), given.get("relevant_from", given.get("threshold")), self.seed
        )
        return Plan({"Popularity": baseline, kind.__name__: main}, kind.__name__, "Popularity", protocol)

    def _of_ratings(self, model: str) -> Plan:
        kind = model_class(model, "ratings")
        main = self._made(kind)
        if self.model == "auto" and not any(name.startswith("solver") for name in self.settings):
            main.set_params(solver=Auto(n_threads=self.threads))
        shared = {"rating_range": getattr(main, "rating_range", None)}
        models = {
            model_class(name).__name__: build_model(model_class(name), shared, seed=self.seed)
            for name in ("mean", "biases")
        }
        names = [*models, kind.__name__]
        at = names.index(kind.__name__)
        baseline = names[at - 1] if at else None
        kept = {name: models[name] for name in names[:at]}
        return Plan({**kept, kind.__name__: main}, kind.__name__, baseline, None)

    def _made(self, kind: type[Any], **common: Any) -> Any:
        given = {**common, **self.features}
        return build_model(kind, self.settings, seed=self.seed, threads=self.threads, **given)

    def _beside(self, spec: str, task: str, plan: Plan) -> Any:
        """A model of `--also`; one of the kind that is trained starts from its arguments."""
        name, settings = parsed_spec(spec)
        kind, main = model_class(name, task), plan.models[plan.name]
        base = main.get_params(deep=False) if type(main) is kind else None
        return build_model(kind, settings, seed=self.seed, threads=self.threads, base=base)


def _options(names: set[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in sorted(names))
