"""`get_params`, `set_params` and `repr` of estimators, as in scikit-learn."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass, replace
from typing import Any, Self

from bilinear.registry import check_names


class ParamsMixin:
    """For estimators that are dataclasses: `get_params`, `set_params` and a repr of what was set.

    The repr of a fitted model also has the values that were used for arguments that are "auto", as `l2_=...`.
    """

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments by name; `deep` adds those of nested objects as `solver__n_epochs`.

        Examples:
            >>> from bilinear import SGD, MatrixFactorization
            >>> model = MatrixFactorization(n_factors=8, solver=SGD(n_epochs=5))
            >>> model.get_params(deep=False)["n_factors"], model.get_params()["solver__n_epochs"]
            (8, 5)
        """
        params: dict[str, Any] = {}
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            params[field.name] = value
            if deep and is_dataclass(value):
                for inner in fields(value):
                    params[f"{field.name}__{inner.name}"] = getattr(value, inner.name)
        return params

    def set_params(self, **params: Any) -> Self:
        """Changes arguments by the names `get_params` lists; returns self.

        Raises:
            ParameterValueError: no such argument.

        Examples:
            >>> from bilinear import SGD, MatrixFactorization
            >>> model = MatrixFactorization(n_factors=8, solver=SGD(n_epochs=5))
            >>> model.set_params(n_factors=16, solver__n_epochs=10).solver.n_epochs
            10
        """
        for name, value in params.items():
            known = self.get_params()  # those of an object inside change with it
            check_names(type(self).__name__, [name], known)
            outer, _, inner = name.partition("__")
            if inner:
                value = replace(getattr(self, outer), **{inner: value})
            setattr(self, outer, value)
        return self

    def __repr__(self) -> str:
        shown = []
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            default = field.default
            if default is MISSING and field.default_factory is not MISSING:
                default = field.default_factory()
            if value != default:
                shown.append(f"{field.name}={value!r}")
            used = self.__dict__.get(f"{field.name}_")
            if isinstance(value, str) and value == "auto" and used is not None:
                said = f"{used:.4g}" if isinstance(used, float) else repr(used)
                shown.append(f"{field.name}_={said}")
        return f"{type(self).__name__}({', '.join(shown)})"
