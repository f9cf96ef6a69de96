"""The course's training loop in plain PyTorch, with fastai's Adam and its schedules by their formulas."""

from __future__ import annotations

import math

import numpy as np
import torch

from bilinear.data.interactions import Interactions

torch.set_num_threads(1)  # tables this small only wait for more


def cosine(start: float, end: float, share: float) -> float:
    """fastai's SchedCos."""
    return start + (1 + math.cos(math.pi * (1 - share))) * (end - start) / 2


def combined(share: float, start: float, middle: float, end: float, pct_start: float = 0.25) -> float:
    """fastai's combined_cos."""
    if share < pct_start:
        return cosine(start, middle, share / pct_start)
    return cosine(middle, end, (share - pct_start) / (1 - pct_start))


@torch.no_grad()
def adam_step(p, mean, squares, n, lr, mom, sqr_mom=0.99, eps=1e-5, wd=0.1):
    """fastai's weight_decay, average_grad (dampened), average_sqr_grad and adam_step."""
    p.mul_(1 - lr * wd)
    mean.mul_(mom).add_(p.grad, alpha=1 - mom)
    squares.mul_(sqr_mom).addcmul_(p.grad, p.grad, value=1 - sqr_mom)
    p.addcdiv_(mean, (squares / (1 - sqr_mom**n)).sqrt() + eps, value=-lr / (1 - mom**n))


def validation_curve(
    train: Interactions, held_out: Interactions, seed: int, *, start=None, orders=None, n_epochs: int = 5
) -> np.ndarray:
    """(n_epochs,) RMSE of the held-out part, from `start` in `orders`, or as the seed draws them."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [(train.n_users, 50), (train.n_users,), (train.n_items, 50), (train.n_items,)]
    p = [torch.nn.Parameter(torch.randn(size, generator=generator) * 0.01) for size in sizes]
    if start is not None:
        arrays = (start.user_factors, start.user_biases, start.item_factors, start.item_biases)
        p = [torch.nn.Parameter(torch.from_numpy(array.copy())) for array in arrays]
    state = [(torch.zeros_like(one), torch.zeros_like(one)) for one in p]

    def forward(table, rows):
        users = torch.from_numpy(table.users[rows].astype(np.int64))
        items = torch.from_numpy(table.items[rows].astype(np.int64))
        score = (p[0][users] * p[2][items]).sum(1) + p[1][users] + p[3][items]
        return torch.sigmoid(score) * 5.5 - torch.from_numpy(table.ratings[rows].copy())

    n, found = 0, []
    n_batches = -(-train.n_ratings // 64)
    for epoch in range(n_epochs):
        order = torch.randperm(train.n_ratings, generator=generator).numpy()
        if orders is not None:
            order = orders[epoch]
        for first in range(0, len(order), 64):
            share = n / (n_epochs * n_batches)
            lr = combined(share, 5e-3 / 25, 5e-3, 5e-3 / 1e5)
            mom = combined(share, 0.95, 0.85, 0.95)
            n += 1
            for one in p:
                one.grad = None
            (forward(train, order[first : first + 64]) ** 2).mean().backward()
            for one, (mean, squares) in zip(p, state, strict=True):
                adam_step(one, mean, squares, n, lr, mom)
        with torch.no_grad():
            residual = forward(held_out, slice(None)).double()
            found.append(float((residual**2).mean().sqrt()))
    return np.array(found)
