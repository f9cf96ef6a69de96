"""A ranking problem small enough for explicit loops, and the batches and negatives of a run of it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from problems import planted_table

from bilinear.kernels.negatives import draw_negatives
from bilinear.kernels.sampled import SET
from bilinear.model.parameters import Parameters
from bilinear.objective.penalties import L2
from bilinear.objective.ranking_losses import BPR, WARP, CosineContrastive, SampledSoftmax
from bilinear.training.minibatch import MiniBatch
from bilinear.training.optimizers import GradientDescent
from bilinear.training.sampled_descent import SampledObjective, SampledRun
from bilinear.training.schedules import Constant
from bilinear.training.thread_pool import Workers

TABLE = planted_table(28, 20)
LOSSES = {
    "bpr": BPR(),
    "warp": WARP(0.7),
    "softmax": SampledSoftmax(0.6),
    "softmax, uncorrected": SampledSoftmax(0.5, corrected=False),
    "cosine contrastive": CosineContrastive(0.1, 20.0),
}
SEED = 4


def objective(loss=None, cosine=False, biased=True, n_negatives=9, table=TABLE, exponent=0.5, l2=0.0):
    loss = loss or BPR()
    cosine = cosine or isinstance(loss, CosineContrastive)
    penalty = L2(l2, l2 / 2, 0.5)
    return SampledObjective(loss, cosine, biased and not cosine, penalty, table, n_negatives, exponent)


def solver(optimizer=None, batch_size=37, n_epochs=2, rate=0.05, **more):
    optimizer = optimizer or GradientDescent()
    made = MiniBatch(
        optimizer,
        batch_size=batch_size,
        n_epochs=n_epochs,
        learning_rate=rate,
        **{"schedule": Constant()} | more,
    )
    return made.resolved(TABLE.n_ratings)


def start(table=TABLE, n_factors=5, size=0.8, seed=1):
    rng = np.random.default_rng(seed)
    factors = [rng.normal(0, size, (n, n_factors)).astype(np.float32) for n in table.shape]
    biases = rng.normal(0, 0.3, table.n_items).astype(np.float32)
    return Parameters(0.0, np.zeros(table.n_users, np.float32), biases, *factors)


def run(solver, objective, begin=None, order="users", n_threads=1):
    table = objective.positives
    begin = begin or start(table)
    if objective.cosine:
        begin.item_biases[:] = 0
    return SampledRun(solver, objective, begin, order, SEED, Workers(n_threads))


def batches(a_run, epoch, rng):
    """For each batch of an epoch: (positives in order, {user: (its negatives, their log weights)})."""
    order, cuts = a_run._batches(rng)
    sampler = a_run.objective.sampler(SEED, epoch)
    table, number = a_run.objective.positives, 0
    for a, b in pairwise(cuts.tolist()):
        pairs = order[a:b]
        users = list(dict.fromkeys(table.users[pairs].tolist()))
        drawn = {}
        for first in range(0, len(users), SET):
            items = np.empty(a_run.n_negatives, np.int32)
            log_weights = np.empty(a_run.n_negatives, np.float32)
            draw_negatives(sampler, number, items, log_weights)
            number += 1
            for user in users[first : first + SET]:
                own = table.items[table.users == user]
                kept = ~np.isin(items, own)
                drawn[user] = items[kept], log_weights[kept].astype(float)
        yield pairs, drawn
