"""Models by the names of the command line, with their arguments as text."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from bilinear.errors import ParameterValueError

_SHORT = {"MatrixFactorization": "mf", "BiasModel": "biases", "GlobalMean": "mean", "AutoRanker": "auto"}


def known_models() -> dict[str, type[Any]]:
    """Every model that needs no argument, by its name here: `ImplicitALS` is "implicit-als"."""
    from bilinear.estimators.recommender import Recommender
    from bilinear.registry import CLASSES

    return {
        _SHORT.get(name) or re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower(): model
        for name, model in CLASSES.subclasses(Recommender).items()
        if all(
            field.default is not MISSING or field.default_factory is not MISSING
            for field in fields(model)  # type: ignore[arg-type]
        )
    }


def is_rating_model(model: type[Any]) -> bool:
    return bool(getattr(model, "predicts_ratings", False))


def model_class(name: str, task: str | None = None) -> type[Any]:
    """The class of a name; with a task only one that can do it.

    Raises: ParameterValueError: no such model, or not for this task; with the names that are.
    """
    known = known_models()
    fitting = [
        other
        for other, model in known.items()
        if task is None or is_rating_model(model) == (task == "ratings")
    ]
    if name not in known:
        raise ParameterValueError(f"--model {name}: there is no such model; choose {', '.join(fitting)}")
    if name not in fitting:
        what = {"ratings": "predicts no ratings", "ranking": "is a model of ratings"}[str(task)]
        raise ParameterValueError(
            f"--model {name} {what}, and the task is {task}; choose {', '.join(fitting)}, or another --task"
        )
    return known[name]


def made(
    kind: type[Any],
    settings: Mapping[str, Any],
    *,
    seed: int,
    threads: int | None = None,
    threshold: float | None = None,
    confidence: str | None = None,
    time_budget: float | None = None,
) -> Any:
    """A model that is not fitted; what all commands give is passed on where it has such an argument.

    Raises: ParameterValueError: a setting or an option that this model does not have.
    """
    names = {field.name for field in fields(kind)}
    model = kind()
    if "rng" in names:
        model.set_params(rng=seed)
    if threads is not None and "n_threads" in names:
        model.set_params(n_threads=threads)
    for option, value in (
        ("threshold", threshold),
        ("confidence", confidence),
        ("time_budget", time_budget),
    ):
        if value is not None:
            if option not in names:
                raise ParameterValueError(f"--{option.replace('_', '-')} is not for {kind.__name__}")
            model.set_params(**{option: value})
    model.set_params(**settings)
    return model


def parsed_settings(given: Sequence[str] | None) -> dict[str, Any]:
    """Arguments from `--set name=value`, given once for each."""
    settings: dict[str, Any] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not (equals and name.strip().isidentifier() and value.strip()):
            raise ParameterValueError(f"--set {text}: write NAME=VALUE, such as l2=200")
        settings[name.strip()] = _value(value.strip())
    return settings


def parsed_spec(spec: str) -> tuple[str, dict[str, Any]]:
    """A model's name and arguments from `NAME` or `NAME:argument=value,argument=value`."""
    name, colon, rest = spec.partition(":")
    if not colon:
        return name, {}
    try:
        call = ast.parse(f"f({rest})", mode="eval").body
    except SyntaxError:
        call = None
    if not isinstance(call, ast.Call) or call.args or any(word.arg is None for word in call.keywords):
        raise ParameterValueError(f"--model {spec}: write NAME:ARGUMENT=VALUE,..., such as ease:l2=200")
    return name, {str(word.arg): _of_node(word.value) for word in call.keywords}


def _value(text: str) -> Any:
    try:
        return _of_node(ast.parse(text, mode="eval").body)
    except SyntaxError:
        return text


def _of_node(node: ast.expr) -> Any:
    """Numbers, text, tuples, and bilinear's own models and parts such as Blocks(size=64); else text."""
    from bilinear.persistence.codec import decode, encode
    from bilinear.registry import CLASSES

    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.args or any(word.arg is None for word in node.keywords):
            raise ParameterValueError(f"{ast.unparse(node)}: name its arguments, as in SGD(n_epochs=30)")
        given = {str(word.arg): _of_node(word.value) for word in node.keywords}
        try:
            CLASSES.get(node.func.id)
            return decode({"type": node.func.id} | {name: encode(part) for name, part in given.items()})
        except (TypeError, ValueError) as error:
            raise ParameterValueError(f"{ast.unparse(node)}: {error}") from None
    if isinstance(node, (ast.Tuple, ast.List)):
        return tuple(_of_node(part) for part in node.elts)
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)
