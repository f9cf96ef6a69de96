"""Known configurations from elsewhere, each as one call."""

from __future__ import annotations

from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.model.link import Sigmoid
from bilinear.training.initialization import NormalStart
from bilinear.training.minibatch import MiniBatch
from bilinear.training.optimizers import Adam, WeightDecay
from bilinear.training.schedules import Cosine, OneCycle, Sequential


def fastai_recipe(
    *,
    n_factors: int = 50,
    n_epochs: int = 5,
    learning_rate: float = 5e-3,
    weight_decay: float = 0.1,
    rating_range: tuple[float, float] = (0.0, 5.5),
    validation_fraction: float = 0.2,
    rng: int | None = None,
) -> MatrixFactorization:
    """The model of the fast.ai course's lesson on collaborative filtering, unfitted.

    `DotProductBias` trained by `fit_one_cycle(5, 5e-3, wd=0.1)`: all weights start normal(0, 0.01),
    no global mean, a sigmoid into 0..5.5, batches of 64; Adam (beta1 0.95 down to 0.85 and back
    against a one-cycle rate, beta2 0.99, dense) with decoupled weight decay of all weights.
    fastai's epsilon of 1e-5 is 5e-6 here, as our squared error is half of its.

    The validation part is not trained on (it trains once, not again on all ratings), and all epochs
    run; `history_` holds its RMSE, whose square is the course's `valid_loss`. As always the best epoch's
    weights are kept. `set_params` changes anything else.

    Returns:
        MatrixFactorization; call `fit(ratings)`.
    Cost:
        dense steps, O((n_users + n_items) * n_factors) for each 64 ratings; for large tables give
        `set_params(solver__dense=False)`.
    Source:
        Howard and Gugger, Deep Learning for Coders with fastai and PyTorch, chapter 8.

    Examples:
        >>> from bilinear import fastai_recipe, synthetic_ratings
        >>> model = fastai_recipe(n_factors=4, rng=0)
        >>> model.solver.batch_size, model.start.deviation
        (64, 0.01)
        >>> model.fit(synthetic_ratings(50, 30, 600, rng=0)).history_.metric
        'rmse'
    """
    low = 0.85 / 0.95
    return MatrixFactorization(
        n_factors=n_factors,
        l2=0.0,
        l2_biases=0.0,
        link=Sigmoid(*rating_range),
        solver=MiniBatch(
            Adam(beta1=0.95, beta2=0.99, epsilon=5e-6),
            batch_size=64,
            n_epochs=n_epochs,
            learning_rate=learning_rate,
            schedule=OneCycle(warm_up=0.25, start=1 / 25, end=1e-5),
            momentum_schedule=Sequential(((0.25, Cosine(1.0, low)), (0.75, Cosine(low, 1.0)))),
            weight_decay=WeightDecay(weight_decay),
            dense=True,
            patience=n_epochs,
        ),
        validation_fraction=validation_fraction,
        refit=False,
        rng=rng,
        start=NormalStart(0.01, global_mean=0.0),
    )
