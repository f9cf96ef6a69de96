"""Surprise's SVD and LIBMF behind one small interface, each with the grid it is tuned over.

Both learn from the training part alone. What they predict is clipped to the range of its ratings,
as Surprise does by itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bilinear.data.interactions import Interactions

Setting = Mapping[str, Any]


class Peer(Protocol):
    name: str
    grid: Mapping[str, Sequence[Any]]

    def predict(self, setting: Setting, train: Interactions, test: Interactions) -> NDArray[Any]:
        """Fits on `train` with one point of the grid, predicts the pairs of `test` (n_ratings,)."""
        ...


def settings(grid: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Every point of a grid."""
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


class SurpriseSVD:
    """Biased matrix factorization by SGD (package scikit-surprise)."""

    name = "Surprise SVD"
    grid = {  # noqa: RUF012
        "n_factors": (5, 20, 200),
        "n_epochs": (40, 80),
        "lr_all": (0.005, 0.01),
        "reg_all": (0.1, 0.15, 0.2),
    }

    def predict(self, setting: Setting, train: Interactions, test: Interactions) -> NDArray[Any]:
        import pandas as pd
        import surprise

        low, high = float(train.ratings.min()), float(train.ratings.max())
        # It descends in the order of the rows, user by user; rows in random order end 0.01 RMSE lower.
        order = np.random.default_rng(0).permutation(len(train))
        columns = {"user": train.users, "item": train.items, "rating": train.ratings.astype(float)}
        frame = pd.DataFrame({name: column[order] for name, column in columns.items()})
        reader = surprise.Reader(rating_scale=(low, high))
        data = surprise.Dataset.load_from_df(frame, reader).build_full_trainset()
        model = surprise.SVD(**setting, random_state=0).fit(data)
        pairs = zip(test.users.tolist(), test.items.tolist(), test.ratings.tolist(), strict=True)
        return np.array([prediction.est for prediction in model.test(list(pairs))])


class LibMF:
    """Matrix factorization without biases by blocked SGD (package libmf), on one thread.

    `centred` takes the training mean off the ratings first and adds it again to what is
    predicted: LIBMF has neither mean nor biases, and does better so.
    """

    name = "LIBMF"
    grid = {  # noqa: RUF012
        "k": (8, 64, 256),
        "l2": (0.05, 0.1, 0.2),
        "eta": (0.05, 0.1),
        "nr_iters": (10, 20, 40),
        "centred": (False, True),
    }

    def predict(self, setting: Setting, train: Interactions, test: Interactions) -> NDArray[Any]:
        mf = _libmf()
        mean = float(train.ratings.mean(dtype=np.float64)) if setting["centred"] else 0.0
        model = mf.MF(
            k=setting["k"],
            nr_threads=1,  # several threads race, and the result changes from run to run
            nr_bins=20,
            nr_iters=setting["nr_iters"],
            lambda_p1=0.0,  # the package's own default is an L1 penalty
            lambda_q1=0.0,
            lambda_p2=setting["l2"],
            lambda_q2=setting["l2"],
            eta=setting["eta"],
            quiet=True,
        )
        rows = np.column_stack([train.users, train.items, train.ratings - np.float32(mean)])
        model.fit(np.ascontiguousarray(rows, np.float32))
        # The package reads the pairs of `predict` column by column: rows of a C array come out wrong.
        pairs = np.asfortranarray(np.column_stack([test.users, test.items]), np.float32)
        scores = model.predict(pairs).astype(np.float64) + mean
        mf.mf.mf_destroy_model(ctypes.byref(ctypes.pointer(model.model)))  # the package never frees it
        return np.clip(scores, train.ratings.min(), train.ratings.max())


def _libmf() -> Any:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore", SyntaxWarning)  # `is "fun"` in the package
        from libmf import mf  # prints where it was found

    return mf


PEERS: tuple[Peer, ...] = (SurpriseSVD(), LibMF())
