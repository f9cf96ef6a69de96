"""The dot-product model in PyTorch, by autograd and torch.optim: what MiniBatch must agree with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bilinear.model.link import Sigmoid
from bilinear.model.parameters import Parameters
from bilinear.objective.losses import CrossEntropy
from bilinear.objective.objective import Objective

torch = pytest.importorskip("torch", reason="the extra torch (torch==2.13.0) is not installed")
torch.set_num_threads(1)  # tables this small only wait for more

NAMES = ("user_biases", "item_biases", "user_factors", "item_factors")
DTYPES = {np.dtype(np.float32): torch.float32, np.dtype(np.float64): torch.float64}


class RowAdaGrad(torch.optim.Optimizer):
    """torch.optim has none."""

    def __init__(self, params, lr, eps=1e-10):
        super().__init__(params, {"lr": lr, "eps": eps})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                total = self.state[p].setdefault("sum", torch.zeros_like(p[:, :1]))
                total += (p.grad**2).mean(1, keepdim=True)
                p -= group["lr"] * p.grad / (total.sqrt() + group["eps"])


def row_ratio(rows, steps):
    """|row| / |step|, one for biases and zeros."""
    top, bottom = rows.norm(dim=1, keepdim=True), steps.norm(dim=1, keepdim=True)
    ratio = torch.where((top > 0) & (bottom > 0), top / bottom, torch.ones_like(top))
    return ratio if rows.shape[1] > 1 else torch.ones_like(ratio)


class LAMB(torch.optim.Optimizer):
    """torch.optim has none."""

    def __init__(self, params, lr, betas=(0.9, 0.999), eps=1e-6):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})
        self.n = 0

    @torch.no_grad()
    def step(self):
        self.n += 1
        for group in self.param_groups:
            low, high = group["betas"]
            for p in group["params"]:
                mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                squares = self.state[p].setdefault("squares", torch.zeros_like(p))
                mean.mul_(low).add_(p.grad, alpha=1 - low)
                squares.mul_(high).addcmul_(p.grad, p.grad, value=1 - high)
                step = (mean / (1 - low**self.n)) / ((squares / (1 - high**self.n)).sqrt() + group["eps"])
                p -= group["lr"] * row_ratio(p, step) * step


class LARS(torch.optim.Optimizer):
    """torch.optim has none."""

    def __init__(self, params, lr, momentum=0.9):
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                velocity = self.state[p].setdefault("velocity", torch.zeros_like(p))
                velocity.mul_(group["momentum"]).add_(group["lr"] * row_ratio(p, p.grad) * p.grad)
                p -= velocity


def tensors(start: Parameters) -> list[Any]:
    """The four tables as leaves, biases as columns, in the order of NAMES."""
    found = []
    for name in NAMES:
        array = start.arrays()[name].copy()
        found.append(torch.nn.Parameter(torch.from_numpy(array[:, None] if array.ndim == 1 else array)))
    return found


def back(tables: list[Any], mean: float) -> Parameters:
    arrays = [table.detach().numpy().copy() for table in tables]
    return Parameters(mean, arrays[0][:, 0], arrays[1][:, 0], *arrays[2:])


def batch_losses(objective: Objective, tables, mean, users, items, ratings):
    """(n,) losses by the formulas of the docstrings."""
    user_biases, item_biases, user_factors, item_factors = tables
    score = (user_factors[users] * item_factors[items]).sum(1) + mean
    score = score + user_biases[users, 0] + item_biases[items, 0]
    low, high = objective.link.bounds
    if isinstance(objective.loss, CrossEntropy):
        fraction = (ratings - low) / (high - low)
        return torch.nn.functional.binary_cross_entropy_with_logits(score, fraction, reduction="none")
    if isinstance(objective.link, Sigmoid):
        score = low + (high - low) * torch.sigmoid(score)
    return (score - ratings) ** 2 / 2


def penalty_of(objective: Objective, tables, users, items, dense: bool):
    """Of the whole table over n_ratings (dense), or the share of the ratings of the batch."""
    l2, n_ratings, total = objective.penalty, objective.interactions.n_ratings, 0.0
    sides = ((objective.user_counts, users), (objective.item_counts, items))
    for table, (counts, rows) in zip(tables, sides * 2, strict=True):
        weights = torch.from_numpy(l2.row_weights(counts)).to(table.dtype)
        size = l2.biases if table.shape[1] == 1 else l2.factors
        squares = (table**2).sum(1)
        if dense:
            total = total + size / 2 * (weights * squares).sum() / n_ratings
        else:
            weights = weights / torch.from_numpy(np.maximum(counts, 1)).to(table.dtype)
            total = total + size / 2 * (weights * squares)[rows].mean()
    return total


def descend(
    objective: Objective,
    start: Parameters,
    rng: np.random.Generator,
    make,
    *,
    batch_size: int,
    n_epochs: int = 3,
    dense: bool = True,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    weights: np.ndarray | None = None,
    decay: tuple[float, float] = (0.0, 0.0),
    before_step=None,
    after_step=None,
) -> Parameters:
    """`make(tables)` gives the torch optimiser. Row-sparse: rows without a rating are put back.

    decay: of factors and biases, by hand, for optimisers that have none.
    """
    table = objective.interactions
    tables = tensors(start)
    optimizer = make(tables)
    dtype = tables[0].dtype
    n_steps = n_epochs * -(-table.n_ratings // batch_size)
    step = 0
    for _ in range(n_epochs):
        order = rng.permutation(table.n_ratings)
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            users, items = (
                torch.from_numpy(column[rows].astype(np.int64)) for column in (table.users, table.items)
            )
            ratings = torch.from_numpy(table.ratings[rows]).to(dtype)
            losses = batch_losses(objective, tables, start.global_mean, users, items, ratings)
            if weights is not None:
                losses = losses * torch.from_numpy(weights[rows]).to(dtype)
            optimizer.zero_grad()
            (losses.mean() + penalty_of(objective, tables, users, items, dense)).backward()
            if clip_value is not None:
                torch.nn.utils.clip_grad_value_(tables, clip_value)
            if clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(tables, clip_norm)
            if before_step is not None:
                before_step(optimizer, step / n_steps)
            kept = None if dense else snapshot(tables, optimizer)
            with torch.no_grad():
                for one in tables:
                    one *= 1 - optimizer.param_groups[0]["lr"] * decay[one.shape[1] == 1]
            optimizer.step()
            if kept is not None:
                put_back(tables, optimizer, kept, (users, items) * 2)
            step += 1
            if after_step is not None:
                after_step(tables, step)
    return back(tables, start.global_mean)


def snapshot(tables, optimizer):
    return [
        (
            table.detach().clone(),
            {k: v.clone() for k, v in optimizer.state[table].items() if torch.is_tensor(v)},
        )
        for table in tables
    ]


@torch.no_grad()
def put_back(tables, optimizer, kept, rows):
    for table, (before, states), touched in zip(tables, kept, rows, strict=True):
        still = torch.ones(len(table), dtype=torch.bool)
        still[touched] = False
        table[still] = before[still]
        for name, value in optimizer.state[table].items():
            if torch.is_tensor(value) and value.ndim == 2:
                value[still] = states[name][still] if name in states else 0
