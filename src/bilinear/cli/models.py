"""Models by the names of the command line, with their arguments as text."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

import typer

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

    Raises:
        ParameterValueError: no such model, or not for this task; with the names that are.
    """
    known = known_models()
    fitting = [
        other
        for other, model in known.items()
        if task is None or is_rating_model(model) == (task == "ratings")
    ]
    if name not in known:
        raise ParameterValueError(f"--model {name}: no such model; choose {', '.join(fitting)}")
    if name not in fitting:
        what = {"ratings": "predicts no ratings", "ranking": "is a model of ratings"}[str(task)]
        raise ParameterValueError(
            f"--model {name} {what}, and the task is {task}; choose {', '.join(fitting)}, or another --task"
        )
    return known[name]


def build_model(
    kind: type[Any],
    settings: Mapping[str, Any],
    *,
    seed: int,
    threads: int | None = None,
    base: Mapping[str, Any] | None = None,
    **common: Any,
) -> Any:
    """A model that is not fitted.

    Args:
        settings: arguments by name; `solver__n_epochs` is that of an object inside.
        base: arguments to start from instead of the defaults.
        common: what an option gave, None where it did not.
    Raises:
        ParameterValueError: a setting or an option that this model does not have.
    """
    names = {field.name for field in fields(kind)}
    model = kind(**base or {})
    if "rng" in names:
        model.set_params(rng=seed)
    for option, value in common.items():
        if value is not None:
            if option not in names:
                raise ParameterValueError(f"--{option.replace('_', '-')} is not for {kind.__name__}")
            model.set_params(**{option: value})
    # an object before what is inside it
    model.set_params(**dict(sorted(settings.items(), key=lambda pair: "__" in pair[0])))
    if threads is not None:
        known = model.get_params()
        model.set_params(
            **{
                name: threads
                for name in ("n_threads", "solver__n_threads")
                if name in known and known[name] is None
            }
        )
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


def setting_names(kinds: Iterable[type[Any]]) -> dict[str, Any]:
    """Names for `--set` with the default values, objects inside included."""
    return {name: value for kind in kinds for name, value in kind().get_params().items()}


def completed_setting(context: typer.Context, incomplete: str) -> list[str]:
    """Completions of `--set`: names, then classes that can stand for the default of a name."""
    known = known_models()
    asked = context.params.get("model") or "auto"
    kinds = [known[name] for name in ({"auto": ("auto", "mf")}.get(asked, (asked,))) if name in known]
    return completions(kinds, incomplete)


def completions(kinds: Iterable[type[Any]], incomplete: str) -> list[str]:
    """Completions of an argument of these models."""
    from bilinear.registry import CLASSES

    names = setting_names(kinds)
    name, equals, value = incomplete.partition("=")
    if not equals:
        return [f"{other}=" for other in names if other.startswith(name)]
    if not is_dataclass(names.get(name)):
        return []
    family = next(
        base for base in reversed(type(names[name]).__mro__) if base.__module__.startswith("bilinear.")
    )
    return [f"{name}={cls}" for cls in CLASSES.subclasses(family) if cls.startswith(value)]


def _value(text: str) -> Any:
    try:
        return _of_node(ast.parse(text, mode="eval").body)
    except SyntaxError:
        return text


def _of_node(node: ast.expr) -> Any:
    """Numbers, text, tuples, and objects of registered classes, as `SGD(n_epochs=9)` or `ALS`; else text."""
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
    if isinstance(node, ast.Name) and node.id[0].isupper() and node.id in CLASSES:
        return _of_node(ast.Call(node, [], []))
    if isinstance(node, (ast.Tuple, ast.List)):
        return tuple(_of_node(part) for part in node.elts)
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)
