"""Summaries of parameters: error of the predictions, singular values, effective rank."""

from __future__ import annotations

from typing import Any

import numpy as np

from bilinear.data.interactions import Interactions
from bilinear.lab.numerics.curvature import principal_axes
from bilinear.lab.numerics.problem import Vector
from bilinear.model.link import Link
from bilinear.model.parameters import Parameters
from bilinear.model.scoring import score_rows


def effective_rank(parameters: Parameters) -> float:
    """The number of factors in use: exp of the entropy of the singular values' shares.

    Cost:
        O((n_users + n_items) * n_factors^2).
    Source:
        Roy & Vetterli, EUSIPCO 2007.

    Args:
        parameters: Of any size.

    Returns:
        From 0, for factors that are all zero, to n_factors.

    Examples:
        >>> import numpy as np
        >>> from bilinear import lab
        >>> from bilinear.model.parameters import Parameters
        >>> factors = np.eye(6)[:, :4]
        >>> round(lab.effective_rank(Parameters(0.0, np.zeros(6), np.zeros(6), factors, factors)), 6)
        4.0
    """
    sizes = singular_values(parameters)
    if not sizes.sum() > 0:
        return 0.0
    shares = sizes / sizes.sum()
    shares = shares[shares > 0]
    return float(np.exp(-(shares @ np.log(shares))))


def singular_values(parameters: Parameters) -> Vector:
    """The singular values of user_factors @ item_factors.T, descending, without forming the product."""
    u, v = (np.asarray(side, np.float64) for side in (parameters.user_factors, parameters.item_factors))
    return principal_axes(u, v)[2]


def rmse(parameters: Parameters, link: Link, table: Interactions) -> float:
    """The root mean squared error of the predictions, in float64, for a table in the parameters' rows."""
    scores = score_rows(parameters.astype(np.float64), table.users, table.items)
    return float(np.sqrt(np.mean((link.prediction(scores) - table.ratings) ** 2)))


def table_share(table: Any) -> float:
    """`interaction_share` of any dense table.

    Args:
        table: (n_users, n_items) numbers.

    Returns:
        From 0, where it is a sum of row and column effects, to 1.

    Examples:
        >>> from bilinear import lab
        >>> lab.table_share([[1, 2], [3, 4]]), lab.table_share([[1, 0], [0, 1]])
        (0.0, 1.0)
    """
    values = np.asarray(table, np.float64)
    centred = values - values.mean()
    inner = centred - centred.mean(axis=0) - centred.mean(axis=1, keepdims=True)
    total = float((centred**2).sum())
    return float((inner**2).sum()) / total if total > 0 else 0.0
