"""What `bilinear train` trains and measures, from its options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bilinear.cli import options
from bilinear.cli.models import is_rating_model, made, model_class, parsed_settings
from bilinear.errors import ParameterValueError

_RANKING_ONLY = ("threshold", "confidence", "relevant_from", "cutoffs", "time_budget")


@dataclass(frozen=True)
class Plan:
    """Models by name, of which one is kept; the others are measured beside it."""

    models: Mapping[str, Any]
    name: str
    reference: str | None
    protocol: Any


def implied_task(task: str | None, model: str, given: Mapping[str, Any]) -> str | None:
    """The task that the options name or mean; None leaves it to the table.

    Raises: ParameterValueError: there is no such task.
    """
    if task is not None:
        return options.task_of(task)
    if model != "auto":
        return "ratings" if is_rating_model(model_class(model)) else "ranking"
    for_ranking = {name for name, value in given.items() if value is not None and name in _RANKING_ONLY}
    for_ratings = {name for name, value in given.items() if value is not None} - for_ranking
    if for_ratings and for_ranking:
        raise ParameterValueError(
            f"{_options(for_ratings)} for ratings and {_options(for_ranking)} for ranking; say "
            "which with --task"
        )
    return "ratings" if for_ratings else "ranking" if for_ranking else None


def plan_of(
    task: str,
    *,
    model: str,
    settings: Sequence[str] | None,
    given: Mapping[str, Any],
    seed: int,
    threads: int | None,
) -> Plan:
    """The plan for a task.

    Raises: ParameterValueError: an option is for another task or model, or is no such value.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    wrong = {name for name in chosen if (name in _RANKING_ONLY) == (task == "ratings")}
    if wrong:
        more = "; other arguments of a ranking model: --set NAME=VALUE" if task == "ranking" else ""
        raise ParameterValueError(f"{_options(wrong)}: not for --task {task}{more}")
    if task == "ratings":
        return _of_ratings(
            "mf" if model == "auto" else model, parsed_settings(settings), chosen, seed, threads
        )
    return _of_ranking(model, parsed_settings(settings), chosen, seed, threads)


def _of_ranking(
    model: str,
    settings: Mapping[str, Any],
    given: Mapping[str, Any],
    seed: int,
    threads: int | None,
) -> Plan:
    weighing = {name: given[name] for name in ("threshold", "confidence") if name in given}
    kind = model_class(model, "ranking")
    if "time_budget" in given and model != "auto":
        raise ParameterValueError("--time-budget is for --model auto, which tries several")
    budget = given.get("time_budget")
    main = made(kind, settings, seed=seed, threads=threads, time_budget=budget, **weighing)
    baseline = made(model_class("popularity"), {}, seed=seed, **weighing)
    protocol = options.ranking_protocol(
        given.get("cutoffs"), given.get("relevant_from", given.get("threshold")), seed
    )
    name = kind.__name__
    return Plan({"Popularity": baseline} | {name: main}, name, "Popularity", protocol)


def _of_ratings(
    model: str, settings: Mapping[str, Any], given: Mapping[str, Any], seed: int, threads: int | None
) -> Plan:
    from bilinear.estimators.baselines import BiasModel, GlobalMean
    from bilinear.estimators.matrix_factorization import MatrixFactorization

    kind = model_class(model, "ratings")
    of_mf = set(given) - {"rating_range"}
    if of_mf and kind is not MatrixFactorization:
        raise ParameterValueError(f"{_options(of_mf)}: for --model mf only")
    rating_range = given.get("rating_range")
    models: dict[str, Any] = {
        "GlobalMean": GlobalMean(rating_range),
        "BiasModel": BiasModel(rating_range=rating_range, rng=seed),
    }
    if kind is MatrixFactorization:
        main = _matrix_factorization(given, seed, threads).set_params(**settings)
        models["MatrixFactorization"] = main
        variants = {"sigmoid": ("sigmoid", "squared"), "cross-entropy": ("sigmoid", "cross-entropy")}
        for name in given.get("also", ()):
            chosen = _link_and_loss(*one_of(variants, "--also", name))
            models[f"MatrixFactorization, {name}"] = type(main)(**main.get_params(deep=False) | chosen)
        return Plan(models, "MatrixFactorization", "BiasModel", None)
    main = made(kind, {**({"rating_range": rating_range} if rating_range else {}), **settings}, seed=seed)
    if kind is GlobalMean:
        return Plan({"GlobalMean": main}, "GlobalMean", None, None)
    if kind is BiasModel:
        return Plan({"GlobalMean": models["GlobalMean"], "BiasModel": main}, "BiasModel", "GlobalMean", None)
    return Plan(models | {kind.__name__: main}, kind.__name__, "BiasModel", None)


def _matrix_factorization(given: Mapping[str, Any], seed: int, threads: int | None) -> Any:
    from bilinear.estimators.matrix_factorization import MatrixFactorization

    return MatrixFactorization(
        n_factors=auto_or(int, "--n-factors", given.get("n_factors", "auto")),
        l2=auto_or(float, "--l2", given.get("l2", "auto")),
        l2_biases=auto_or(float, "--l2-biases", given.get("l2_biases", "auto")),
        **_link_and_loss(given.get("link", "identity"), given.get("loss", "squared")),
        rating_range=given.get("rating_range"),
        solver=one_of({"sgd": _sgd, "als": _als}, "--solver", given.get("solver", "sgd"))(given, threads),
        rng=seed,
    )


def _als(given: Mapping[str, Any], threads: int | None) -> Any:
    from bilinear.training.als import ALS

    steps = {"learning_rate", "momentum", "schedule"} & set(given)
    if steps:
        raise ParameterValueError(f"{_options(steps)}: for --solver sgd; als takes no steps, it solves")
    return ALS(auto_or(int, "--n-epochs", given.get("n_epochs", "auto")), threads=threads)


def _sgd(given: Mapping[str, Any], threads: int | None) -> Any:
    from bilinear.training.schedules import Constant, OneCycle
    from bilinear.training.sgd import SGD

    schedules = {"one-cycle": OneCycle(), "constant": Constant()}
    return SGD(
        auto_or(int, "--n-epochs", given.get("n_epochs", "auto")),
        given.get("learning_rate", "auto"),
        given.get("momentum", 0.0),
        one_of(schedules, "--schedule", given.get("schedule", "one-cycle")),
        threads=threads,
    )


def _link_and_loss(link: str, loss: str) -> dict[str, Any]:
    from bilinear.model.link import Identity, Sigmoid
    from bilinear.objective.losses import CrossEntropy, SquaredError

    chosen = one_of({"identity": Identity(), "sigmoid": Sigmoid()}, "--link", link)
    if loss == "cross-entropy":
        chosen = Sigmoid()
    return {
        "link": chosen,
        "loss": one_of({"squared": SquaredError(), "cross-entropy": CrossEntropy()}, "--loss", loss),
    }


def one_of(choices: Mapping[str, Any], option: str, given: str) -> Any:
    """The choice of that name, or ParameterValueError with all of them."""
    if given not in choices:
        raise ParameterValueError(f"{option} {given}: choose {' or '.join(choices)}")
    return choices[given]


def auto_or(kind: type, option: str, given: str) -> Any:
    """ "auto", or the number that was given, or ParameterValueError."""
    if given == "auto":
        return "auto"
    try:
        return kind(given)
    except ValueError:
        raise ParameterValueError(f"{option} {given}: a number, or auto") from None


def _options(names: set[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in sorted(names))
