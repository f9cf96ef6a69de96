"""Losses, gradients and whole epochs on sampled negatives end where autograd and torch.optim end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sampled_cases as cases

torch = pytest.importorskip("torch", reason="the extra torch (torch==2.13.0) is not installed")

import sampled_twins as twins  # noqa: E402

from bilinear.training import optimizers as ours  # noqa: E402
from bilinear.training.progress import NullProgress  # noqa: E402

RATE = 0.05
every_loss = pytest.mark.parametrize("name", cases.LOSSES)


def check_same(run, make, n_epochs=1, rtol=2e-5, **more):
    begin = run.parameters.copy()
    expected, losses = twins.descend(run, make, n_epochs, **more)
    rng = np.random.default_rng(3)
    for epoch in range(1, n_epochs + 1):
        np.testing.assert_allclose(run.epoch(epoch, rng, NullProgress()), losses[epoch - 1], rtol=rtol)
    moved = 0.0
    for name, array in expected.arrays().items():
        size = np.abs(array).max()
        np.testing.assert_allclose(run.parameters.arrays()[name], array, rtol=0, atol=rtol * max(size, 1e-9))
        moved = max(moved, np.abs(array - begin.arrays()[name]).max())
    assert moved > 0.01, "hardly moved, so the test says nothing"


def sgd(tables):
    return torch.optim.SGD(tables, RATE)


@every_loss
@pytest.mark.parametrize("cosine", [False, True], ids=["dot", "cosine"])
@pytest.mark.parametrize("order", ["users", "pairs"])
def test_one_epoch_of_plain_steps(name, cosine, order):
    loss = cases.LOSSES[name]
    run = cases.run(cases.solver(rate=RATE), cases.objective(loss, cosine), order=order)
    check_same(run, sgd)


@every_loss
def test_positives_that_count_differently(name):
    rng = np.random.default_rng(0)
    weights = rng.uniform(0.2, 3, cases.TABLE.n_ratings).astype(np.float32)
    table = replace(cases.TABLE, ratings=weights)
    run = cases.run(cases.solver(rate=RATE), cases.objective(cases.LOSSES[name], table=table, l2=0.4))
    check_same(run, sgd)


OPTIMIZERS = {
    "momentum": (ours.Momentum(0.8), lambda p: torch.optim.SGD(p, RATE, momentum=0.8)),
    "adagrad": (ours.AdaGrad(), lambda p: torch.optim.Adagrad(p, RATE)),
    "adam": (ours.Adam(epsilon=1e-3), lambda p: torch.optim.Adam(p, RATE, eps=1e-3)),
    "adamw": (
        ours.AdamW(weight_decay=0.4, epsilon=1e-3),
        lambda p: torch.optim.AdamW(p, RATE, weight_decay=0.4, eps=1e-3),
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("cosine", [False, True], ids=["dot", "cosine"])
def test_two_epochs_of_other_optimisers_with_penalty(name, cosine):
    """Dense, as torch steps every row at every batch."""
    optimizer, make = OPTIMIZERS[name]
    objective = cases.objective(cases.LOSSES["softmax"], cosine, l2=0.6)
    run = cases.run(cases.solver(optimizer, rate=RATE, dense=True), objective)
    check_same(run, make, n_epochs=2, rtol=2e-4)


@pytest.mark.parametrize("clip", [{"clip_norm": 0.1}, {"clip_value": 0.01}])
def test_clipping(clip):
    run = cases.run(cases.solver(rate=RATE * 5, **clip), cases.objective(cases.LOSSES["bpr"], l2=0.2))
    check_same(run, lambda p: torch.optim.SGD(p, RATE * 5), **clip)


@pytest.mark.parametrize("batch_size", [1, 400, "all"])
@pytest.mark.parametrize("order", ["users", "pairs"])
def test_batches_of_one_to_all(batch_size, order):
    loss = cases.LOSSES["cosine contrastive"]
    run = cases.run(cases.solver(batch_size=batch_size, rate=RATE * 2), cases.objective(loss), order=order)
    check_same(run, lambda p: torch.optim.SGD(p, RATE * 2), rtol=1e-4)
