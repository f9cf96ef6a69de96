"""Models inside a model: as arguments, and fitted, in the folder of the outer model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Interactions
from bilinear.errors import ParameterValueError
from bilinear.estimators.recommender import Recommender, TensorReader
from bilinear.persistence.codec import decode, encode


def copied(model: Recommender) -> Any:
    """An unfitted model with the same arguments."""
    return type(model)(**model.get_params(deep=False))


def fitted_whole(model: Any, interactions: Interactions) -> Any:
    """The model, fitted to its end.

    Raises:
        KeyboardInterrupt: also where the model alone would keep what it has after Ctrl-C; who runs
            several wants to end them all.
    """
    model.fit(interactions)
    if getattr(vars(model).get("history_"), "ended", "") == "interrupted":
        raise KeyboardInterrupt
    return model


def nested_state(model: Recommender, name: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """State of a fitted model: JSON values, and tensors under `name`.

    Vocabularies and `seen_` are the holder's and are not written again.
    """
    manifest, tensors = model._state()
    described = {"arguments": encode(model), "seed": model.seed_, "state": manifest}
    return described, {f"{name}.{key}": array for key, array in tensors.items()}


def restore_nested(
    stored: Mapping[str, Any], name: str, holder: Recommender, tensor: TensorReader
) -> Recommender:
    """The inverse of `nested_state`; raises ValueError and the like for what it could not have made."""
    model = decode(stored["arguments"])
    if not isinstance(model, Recommender):
        raise ValueError(f"{name} is not a model")  # noqa: TRY004 - a fault of the file, like the others
    take_table(model, holder)
    model.seed_ = stored["seed"]
    model.seen_times_ = holder.seen_times_ if model.uses_times else None
    model._restore(stored["state"], tensor.inside(name))
    return model


def take_table(model: Recommender, of: Recommender) -> None:
    """Gives a model what another knows of the table that it was trained on."""
    model.user_vocabulary_, model.item_vocabulary_ = of.user_vocabulary_, of.item_vocabulary_
    model.seen_, model.seen_times_, model.source_ = of.seen_, of.seen_times_, of.source_
    model.has_ratings_, model.weighted_ = of.has_ratings_, of.weighted_
    model.item_texts_, model.report_ = {}, {}


def checked_alike(models: tuple[Recommender, ...], what: str) -> None:
    """Refuses fitted models that were not trained on the same table."""
    first = models[0]
    for model in models[1:]:
        same = (
            model.user_vocabulary_ == first.user_vocabulary_
            and model.item_vocabulary_ == first.item_vocabulary_
            and np.array_equal(model.seen_.indptr, first.seen_.indptr)
            and np.array_equal(model.seen_.indices, first.seen_.indices)
            and np.array_equal(model.seen_.ratings, first.seen_.ratings)
        )
        if not same:
            raise ParameterValueError(
                f"{what}: {model!r} was fitted on another table than {first!r}; fit them on the same one"
            )
