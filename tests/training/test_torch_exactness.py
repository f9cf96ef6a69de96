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
from bilinear.training.initialization import Scale, random_start  # noqa: E402
from bilinear.training.minibatch import MiniBatch  # noqa: E402
from bilinear.training.schedules import Constant, Cosine, OneCycle, Sequential  # noqa: E402

TABLE = planted_table(30, 20)
SIZE, RATE = 32, 0.01
CASES = {
    "plain": (ours.GradientDescent(), lambda p: torch.optim.SGD(p, RATE)),
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


@either_way
@pytest.mark.parametrize(("loss", "link"), PAIRS, ids=["squared", "sigmoid squared", "cross-entropy"])
def test_every_loss_and_link(loss, link, dense):
    objective, start = problem(loss=loss, link=link)
    expected = torch_at(CASES["adam"][1], objective, start, dense=dense)
    check_same(ours_at(solver(ours.Adam(), dense), objective, start), expected, start)


@pytest.mark.parametrize("exponent", [0, 0.5, 1])
@either_way
def test_every_exponent_of_the_penalty(exponent, dense):
    objective, start = problem(penalty=L2(0.3, 0.2, exponent))
    expected = torch_at(CASES["momentum"][1], objective, start, dense=dense)
    check_same(ours_at(solver(ours.Momentum(0.8), dense), objective, start), expected, start)


def test_plain_l2_is_torch_weight_decay_of_the_same_size_over_n_ratings():
    objective, start = problem(penalty=L2(TABLE.n_ratings * 0.2, TABLE.n_ratings * 0.2, 0))
    make = lambda p: torch.optim.Adam(p, RATE, weight_decay=0.2)  # noqa: E731
    without = problem(penalty=L2(0, 0))[0]
    expected = torch_at(make, without, start)
    check_same(ours_at(solver(ours.Adam()), objective, start), expected, start)


@every_type
def test_row_sparse_adam_is_sparse_adam(dtype):
    """With a negligible epsilon: SparseAdam adds it before the correction, Adam after."""
    objective, start = problem(dtype, penalty=L2(0, 0))
    found = ours_at(solver(ours.Adam(epsilon=1e-30), dense=False), objective, start)
    rng, mean = np.random.default_rng(3), start.global_mean
    tables = twins.tensors(start)
    layers = [torch.nn.Embedding.from_pretrained(one.detach().clone(), False, sparse=True) for one in tables]
    optimizer = torch.optim.SparseAdam([layer.weight for layer in layers], RATE, eps=1e-30)
    for _ in range(3):
        order = rng.permutation(TABLE.n_ratings)
        for first in range(0, len(order), SIZE):
            rows = order[first : first + SIZE]
            users, items = (
                torch.from_numpy(ids[rows].astype(np.int64)) for ids in (TABLE.users, TABLE.items)
            )
            ratings = torch.from_numpy(TABLE.ratings[rows].astype(dtype))
            p, q = layers[2](users), layers[3](items)
            score = (p * q).sum(1) + layers[0](users)[:, 0] + layers[1](items)[:, 0] + mean
            optimizer.zero_grad()
            ((score - ratings) ** 2 / 2).mean().backward()
            optimizer.step()
    check_same(found, twins.back([layer.weight for layer in layers], mean), start)


@pytest.mark.parametrize("size", [1, 7, TABLE.n_ratings, "all"])
@either_way
def test_batches_of_one_to_all(size, dense):
    objective, start = problem()
    n = TABLE.n_ratings if size == "all" else size
    expected = torch_at(CASES["adam"][1], objective, start, dense=dense, batch_size=n)
    made = MiniBatch(
        ours.Adam(), batch_size=size, n_epochs=3, learning_rate=RATE, schedule=Constant(), dense=dense
    )
    check_same(ours_at(made, objective, start), expected, start)


@pytest.mark.parametrize(
    "clip", [{"clip_norm": 0.3}, {"clip_value": 0.02}, {"clip_norm": 0.2, "clip_value": 0.03}]
)
@either_way
def test_gradient_clipping(clip, dense):
    objective, start = problem()
    expected = torch_at(CASES["plain"][1], objective, start, dense=dense, **clip)
    found = ours_at(solver(ours.GradientDescent(), dense, **clip), objective, start)
    check_same(found, expected, start)
    free = ours_at(solver(ours.GradientDescent(), dense), objective, start)
    assert np.abs(free.user_factors - found.user_factors).max() > 1e-6


@either_way
def test_sample_weights(dense):
    weights = np.random.default_rng(5).uniform(0, 3, TABLE.n_ratings)
    objective, start = problem(penalty=L2(0, 0))
    expected = torch_at(CASES["adam"][1], objective, start, dense=dense, weights=weights)
    check_same(ours_at(solver(ours.Adam(), dense), objective, start, weights=weights), expected, start)


@every_type
def test_rate_and_momentum_that_run_against_each_other(dtype):
    rate, momentum = OneCycle(), Sequential(((0.25, Cosine(1, 0.85 / 0.95)), (0.75, Cosine(0.85 / 0.95, 1))))
    objective, start = problem(dtype)

    def turn(optimizer, share):
        for group in optimizer.param_groups:
            group["lr"], group["betas"] = 0.02 * rate(share), (0.95 * momentum(share), 0.99)

    expected = torch_at(
        lambda p: torch.optim.Adam(p, RATE, betas=(0.95, 0.99)), objective, start, before_step=turn
    )
    made = MiniBatch(
        ours.Adam(0.95, 0.99),
        SIZE,
        n_epochs=3,
        learning_rate=0.02,
        schedule=rate,
        momentum_schedule=momentum,
        dense=True,
    )
    check_same(ours_at(made, objective, start), expected, start)


def test_lookahead():
    """Torch's steps, the wrapper by its formula."""
    objective, start = problem()
    slow = [one.detach().clone() for one in twins.tensors(start)]

    @torch.no_grad()
    def back_to_slow(tables, step):
        for one, other in zip(tables, slow, strict=True):
            if step % 4 == 0:
                other += 0.3 * (one - other)
                one.copy_(other)

    expected = torch_at(CASES["adam"][1], objective, start, after_step=back_to_slow)
    check_same(ours_at(solver(ours.Lookahead(ours.Adam(), 4, 0.3)), objective, start), expected, start)


@either_way
def test_running_mean_is_that_of_torch_also_row_sparse(dense):
    objective, start = problem()
    means = [one.detach().clone() for one in twins.tensors(start)]
    averaged = torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)

    def average(tables, step):
        averaged(means, [one.detach() for one in tables], step)

    plain = torch_at(CASES["adam"][1], objective, start, dense=dense, after_step=average)
    found = ours_at(solver(ours.Adam(), dense, average=ours.ExponentialMovingAverage(0.9)), objective, start)
    check_same(found, twins.back(means, start.global_mean), start)
    assert np.abs(found.user_factors - plain.user_factors).max() > 1e-3


def test_stochastic_weight_averaging_is_the_mean_of_the_last_epochs():
    objective, start = problem()
    n_batches, ends = -(-TABLE.n_ratings // SIZE), []

    def keep(tables, step):
        if step % n_batches == 0:
            ends.append(twins.back(tables, start.global_mean))

    torch_at(CASES["adam"][1], objective, start, after_step=keep)
    found = ours_at(solver(ours.Adam(), average=ours.StochasticWeightAverage(0.4)), objective, start)
    for name, array in found.arrays().items():
        mean = (ends[1].arrays()[name] + ends[2].arrays()[name]) / 2
        np.testing.assert_allclose(array, mean, rtol=1e-10, atol=1e-12)
