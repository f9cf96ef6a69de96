"""A posterior as JSON values and tensors of a model folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.estimators.recommender import TensorReader
from bilinear.model.parameters import Parameters
from bilinear.objective.row_prior import RowPrior
from bilinear.persistence.codec import checked_number, checked_size
from bilinear.training.compiling import DrawSet, Posterior
from bilinear.training.score_variance import ScoreVariance


def posterior_state(posterior: Posterior) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Beyond the parameters."""
    prior, draws = posterior.user_prior, posterior.draws
    manifest = {
        "new_noise": posterior.new_noise,
        "new_user_variance": posterior.variance.new_user,
        "new_item_variance": posterior.variance.new_item,
        "history": prior.history is not None,
        "n_draws": 0 if draws is None else len(draws),
        "n_draw_factors": 0 if draws is None else draws.users.shape[2] - 1,
    }
    tensors = {"user_noise": posterior.noise, "user_prior_precision": prior.precision}
    tensors["item_weights"] = prior.weights
    tensors |= {"user_variance": posterior.variance.users, "item_variance": posterior.variance.items}
    if prior.history is not None:
        tensors["user_prior_history"] = prior.history
    if draws is not None:
        tensors |= {"draw_means": draws.global_means, "user_draws": draws.users, "item_draws": draws.items}
        tensors["new_item_draws"] = draws.new_items
    return manifest, tensors


def restored_posterior(
    manifest: Mapping[str, Any], parameters: Parameters, tensor: TensorReader
) -> Posterior:
    """The inverse of `posterior_state`, checked; ValueError for what it could not have made."""
    n_users, n_items, d = parameters.n_users, parameters.n_items, parameters.n_factors + 1
    precision = np.array(tensor("user_prior_precision", np.float64, d, d))
    noise = tensor("user_noise", np.float32, n_users)
    weights = tensor("item_weights", np.float32, n_items)
    history = tensor("user_prior_history", np.float32, n_items, d) if manifest["history"] is True else None
    if not (np.isfinite(precision).all() and (precision == precision.T).all()):
        raise ValueError("user_prior_precision is not a finite symmetric matrix")
    if tensor.scans and not (np.isfinite(noise).all() and (noise > 0).all()):
        raise ValueError("user_noise has variances that are not positive")
    if tensor.scans and not ((weights > 0) & (weights <= 1)).all():
        raise ValueError("item_weights lie outside (0, 1]")
    if history is not None:
        tensor.check_finite({"user_prior_history": history})
    draws = None
    if n_draws := checked_size(manifest, "n_draws"):
        width = checked_size(manifest, "n_draw_factors") + 1
        draws = DrawSet(
            np.array(tensor("draw_means", np.float64, n_draws)),
            tensor("user_draws", np.float32, n_draws, n_users, width),
            tensor("item_draws", np.float32, n_draws, n_items, width),
            tensor("new_item_draws", np.float32, n_draws, width, width),
        )
    new_noise = float(checked_number(manifest["new_noise"]))
    of_rows = tensor("user_variance", np.float32, n_users), tensor("item_variance", np.float32, n_items)
    if tensor.scans and not all(np.isfinite(array).all() and (array >= 0).all() for array in of_rows):
        raise ValueError("user_variance or item_variance has values that are not variances")
    of_new = (float(checked_number(manifest[f"new_{side}_variance"])) for side in ("user", "item"))
    variance = ScoreVariance(*of_rows, *of_new)
    return Posterior(parameters, RowPrior(precision, weights, history), noise, new_noise, variance, draws)
