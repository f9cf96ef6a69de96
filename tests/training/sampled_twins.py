"""Ranking losses in PyTorch by the formulas of their docstrings, and descent on them by autograd."""

from __future__ import annotations

import numpy as np
import pytest
import sampled_cases as cases

from bilinear.model.parameters import Parameters
from bilinear.objective.ranking_losses import BPR, WARP, CosineContrastive, SampledSoftmax

torch = pytest.importorskip("torch", reason="the extra torch (torch==2.13.0) is not installed")
torch.set_num_threads(1)


def cost(loss, positive, negative, log_weights):
    """Of one positive against some negatives."""
    if len(negative) == 0 and not isinstance(loss, CosineContrastive):
        return positive * 0
    if isinstance(loss, BPR):
        return torch.nn.functional.softplus(negative - positive).mean()
    if isinstance(loss, SampledSoftmax):
        logits = negative / loss.temperature + (log_weights if loss.corrected else 0)
        own = (positive / loss.temperature)[None]
        return torch.logsumexp(torch.cat([own, logits]), 0) - own[0]
    if isinstance(loss, WARP):
        over = torch.relu(negative - positive + loss.margin)
        violators = over > 0
        if not violators.any():
            return positive * 0
        rank = log_weights.exp()[violators].sum()
        return torch.log1p(rank) * over[violators].mean()
    assert isinstance(loss, CosineContrastive)
    over = torch.relu(negative - loss.margin).sum() / max(len(negative), 1)
    return 1 - positive + loss.weight * over


def batch_loss(objective, tables, pairs, drawn):
    _, item_biases, user_factors, item_factors = tables
    table = objective.positives
    if objective.cosine:
        user_factors = torch.nn.functional.normalize(user_factors)
        item_factors = torch.nn.functional.normalize(item_factors)
    total = 0
    for n in pairs:
        user, item = int(table.users[n]), int(table.items[n])
        scores = item_factors @ user_factors[user] + (item_biases[:, 0] if objective.biased else 0)
        items, log_weights = drawn[user]
        negatives = scores[torch.from_numpy(items.astype(np.int64))]
        weight = float(table.ratings[n])
        total = total + weight * cost(objective.loss, scores[item], negatives, torch.from_numpy(log_weights))
    return total / len(pairs)


def penalty(objective, tables, pairs, dense):
    table, l2 = objective.positives, objective.penalty
    total = 0
    for side, rows, biases, factors in (
        (table.by_user, table.users, tables[0], tables[2]),
        (table.by_item, table.items, tables[1], tables[3]),
    ):
        weights = l2.row_weights(side.counts) / (len(table) if dense else np.maximum(side.counts, 1))
        weights = torch.from_numpy(np.where(side.counts > 0, weights, 0))
        for size, one in ((l2.biases, biases), (l2.factors, factors)):
            of_rows = size / 2 * weights * (one**2).sum(1)
            if dense:
                total = total + of_rows.sum()
            else:
                counted = torch.from_numpy(table.ratings[pairs].astype(float))
                total = total + (of_rows[rows[pairs].astype(np.int64)] * counted).sum() / len(pairs)
    return total


def descend(a_run, make, n_epochs=1, clip_norm=None, clip_value=None, seed=3):
    """(Parameters, mean loss of each epoch) after the same batches with the same negatives, in float64."""
    begin = a_run.parameters.astype(np.float64)
    tables = [
        torch.nn.Parameter(torch.from_numpy(array[:, None] if array.ndim == 1 else array))
        for array in begin.arrays().values()
    ]
    optimizer, rng, losses = make(tables), np.random.default_rng(seed), []
    objective, dense = a_run.objective, a_run.solver.dense
    for epoch in range(1, n_epochs + 1):
        total = 0.0
        for pairs, drawn in cases.batches(a_run, epoch, rng):
            optimizer.zero_grad()
            loss = batch_loss(objective, tables, pairs, drawn)
            (loss + penalty(objective, tables, pairs, dense)).backward()
            for one in tables:
                one.grad = torch.zeros_like(one) if one.grad is None else one.grad
            if not objective.biased:
                tables[1].grad[:] = 0
            if clip_value is not None:
                torch.nn.utils.clip_grad_value_(tables, clip_value)
            if clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(tables, clip_norm)
            optimizer.step()
            total += float(loss.detach()) * len(pairs)
        losses.append(total / len(objective.positives))
    arrays = [one.detach().numpy().copy() for one in tables]
    return Parameters(0.0, arrays[0][:, 0], arrays[1][:, 0], *arrays[2:]), losses
