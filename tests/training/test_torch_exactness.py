"""Every optimiser ends where PyTorch ends: same start, same batches, three epochs."""

from __future__ import annotations

import numpy as np
import pytest
from problems import planted_table

torch = pytest.importorskip("torch", reason="the extra torch (torch==2.13.0) is not installed")

import torch_twins as twins  # noqa: E402

from bilinear.model.link import Identity, Sigmoid  # noqa: E402
from bilinear.objective.losses import CrossEntropy, SquaredError  # noqa: E402
from bilinear.objective.objective import Objective  # noqa: E402
from bilinear.objective.penalties import L2  # noqa: E402
from bilinear.training import optimizers as ours  # noqa: E402
from bilinear.training.minibatch import MiniBatch  # noqa: E402
from bilinear.training.schedules import Constant, Cosine, OneCycle, Phases  # noqa: E402
from bilinear.training.start import Scale, random_start  # noqa: E402

TABLE = planted_table(30, 20)
SIZE, RATE = 32, 0.01
CASES = {
    "plain": (ours.Plain(), lambda p: torch.optim.SGD(p, RATE)),
    "momentum": (ours.Momentum(0.8), lambda p: torch.optim.SGD(p, RATE, momentum=0.8)),
    "nesterov": (ours.Nesterov(0.8), lambda p: torch.optim.SGD(p, RATE, momentum=0.8, nesterov=True)),
    "adagrad": (ours.AdaGrad(), lambda p: torch.optim.Adagrad(p, RATE)),
    "row adagrad": (ours.RowAdaGrad(), lambda p: twins.RowAdaGrad(p, RATE)),
    "rmsprop": (ours.RMSProp(0.9), lambda p: torch.optim.RMSprop(p, RATE, alpha=0.9)),
    "adam": (ours.Adam(), lambda p: torch.optim.Adam(p, RATE)),
    "adamw": (ours.AdamW(weight_decay=0.3), lambda p: torch.optim.AdamW(p, RATE, weight_decay=0.3)),
    "radam": (ours.RAdam(), lambda p: torch.optim.RAdam(p, RATE)),
    "lamb": (ours.LAMB(), lambda p: twins.LAMB(p, RATE)),
    "lars": (ours.LARS(0.8), lambda p: twins.LARS(p, RATE, 0.8)),
}
PAIRS = [
    (SquaredError(), Identity(0.0, 6.0)),
    (SquaredError(), Sigmoid(0.0, 6.5)),
    (CrossEntropy(), Sigmoid(0.0, 6.5)),
]
every_case = pytest.mark.parametrize("case", CASES)
every_type = pytest.mark.parametrize("dtype", [np.float32, np.float64])
either_way = pytest.mark.parametrize("dense", [True, False], ids=["dense", "row-sparse"])


def problem(dtype=np.float64, loss=SquaredError(), link=PAIRS[0][1], penalty=L2(0.8, 0.4, 0.5)):  # noqa: B008
    objective = Objective(loss, link, penalty, TABLE)
    start = random_start(TABLE, 6, Scale.of(TABLE, link, loss), 0.5, np.random.default_rng(1)).astype(dtype)
    rng = np.random.default_rng(2)
    for biases in (start.user_biases, start.item_biases):
        biases[:] = rng.normal(0, 0.1, len(biases))
    return objective, start


def ours_at(solver, objective, start, **more):
    return solver.minimise(objective, start, np.random.default_rng(3), **more)[0]


def solver(optimizer, dense=True, **more):
    return MiniBatch(
        optimizer, batch_size=SIZE, n_epochs=3, learning_rate=RATE, schedule=Constant(), dense=dense, **more
    )


def check_same(found, expected, start):
    """Each table, relative to its largest number, and the way it went from the start as well."""
    rtol = 1e-5 if found.user_biases.dtype == np.float32 else 1e-10
    for name, array in expected.arrays().items():
        size = np.abs(array).max()
        np.testing.assert_allclose(found.arrays()[name], array, rtol=0, atol=rtol * size, err_msg=name)
        moved = np.abs(array - start.arrays()[name]).max()
        assert moved > 1e2 * rtol * size, f"{name} hardly moved, so the test says nothing"


def torch_at(make, objective, start, **more):
    more = {"batch_size": SIZE} | more
    return twins.descend(objective, start, np.random.default_rng(3), make, **more)


@every_case
@every_type
@either_way
def test_three_epochs_with_the_penalty_in_the_gradient(case, dtype, dense):
    optimizer, make = CASES[case]
    objective, start = problem(dtype)
    expected = torch_at(make, objective, start, dense=dense)
    check_same(ours_at(solver(optimizer, dense), objective, start), expected, start)


@every_case
@every_type
@either_way
def test_three_epochs_with_decoupled_decay(case, dtype, dense):
    optimizer, make = CASES[case]
    if case == "adamw":
        optimizer, make = ours.Adam(), lambda p: torch.optim.AdamW(p, RATE, weight_decay=0)
    objective, start = problem(dtype, penalty=L2(0, 0))
    expected = torch_at(make, objective, start, dense=dense, decay=(0.7, 0.3))
    decay = ours.WeightDecay(0.7, 0.3)
    check_same(ours_at(solver(optimizer, dense, weight_decay=decay), objective, start), expected, start)
