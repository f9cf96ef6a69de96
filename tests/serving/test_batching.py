"""Which requests are ranked together."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bilinear.serving.answers.batching import Batcher
from bilinear.serving.answers.retrieval import AT_ONCE


@pytest.mark.parametrize("n_items", [10, 1 << 24])  # on the loop's thread, on another
@pytest.mark.parametrize(
    ("arriving", "batches"),
    [
        ([1], [1]),
        ([5], [5]),
        ([3, 2, 1], [6]),  # pass after pass of the loop
        ([3, 0, 0, 0, 2], [3, 2]),  # the first does not wait for what may come
        ([AT_ONCE, 1], [AT_ONCE, 1]),  # a full batch does not wait either
        ([2 * AT_ONCE + 3], [AT_ONCE, AT_ONCE, 3]),
    ],
)
def test_a_batch_is_what_comes_without_a_gap(n_items: int, arriving: list[int], batches: list[int]) -> None:
    sizes: list[int] = []

    def rank(queries: list[int]) -> list[int]:
        sizes.append(len(queries))
        return queries

    factors = np.broadcast_to(np.float32(0), (n_items, 1))
    model = SimpleNamespace(
        rank=rank, retrieval=SimpleNamespace(parameters=SimpleNamespace(item_factors=factors))
    )

    async def main(executor: ThreadPoolExecutor) -> list[Any]:
        batcher = Batcher(executor)
        answers, number = [], 0
        for n in arriving:
            for _ in range(n):
                plan: Any = SimpleNamespace(serving_model=model, query=number)
                answers.append(batcher.rank(plan))
                number += 1
            await asyncio.sleep(0)
        return list(await asyncio.gather(*answers))

    with ThreadPoolExecutor(1) as executor:
        assert asyncio.run(main(executor)) == list(range(sum(arriving)))
    assert sizes == batches
