"""Which requests are ranked together, and which are answered as before."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import bilinear.serving.messages as m
from bilinear.serving.answers.answer_cache import AnswerCache
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


class _Model:
    """What can be referred to weakly."""


def test_an_answer_is_given_again_only_for_the_same_question_feedback_and_model() -> None:
    first, second = _Model(), _Model()
    models: Any = [first, second]
    kept = AnswerCache(1 << 20)
    asked = m.RecommendBody("ann", 10)
    assert kept.get(models[0], asked, []) is None
    kept.put(models[0], asked, [], b"answer")
    assert kept.get(models[0], m.RecommendBody("ann", 10), []) == b"answer"
    for other in (
        m.RecommendBody("bob", 10),
        m.RecommendBody("ann", 11),
        m.RecommendBody("ann", 10, exclude_seen=False),
        m.RecommendBody("ann", 10, categories=["War"]),
        m.RecommendBody("ann", 10, candidates=["tea"]),
        m.RecommendBody("ann", 10, new="none"),
        m.RecommendBody("ann", 10, filters={"year": ["1990"]}),
    ):
        assert kept.get(models[0], other, []) is None
    assert kept.get(models[0], asked, [("tea", 1.0, 0.0)]) is None
    kept.put(models[0], m.RecommendBody("bob", 10, new="none"), [], b"others")
    assert kept.get(models[0], m.RecommendBody("bob", 10), []) is None
    assert kept.get(models[1], asked, []) is None
    kept.put(models[0], asked, [], b"late, of the model before")
    assert kept.get(models[1], asked, []) is None
    assert kept.get(models[0], asked, []) is None


def test_kept_answers_stay_within_their_bytes_and_the_oldest_go() -> None:
    model: Any = _Model()
    kept = AnswerCache(10_000)
    for n in range(100):
        kept.get(model, m.RecommendBody(f"user {n}"), [])
        kept.put(model, m.RecommendBody(f"user {n}"), [], bytes(500))
        kept.put(model, m.RecommendBody("again"), [], bytes(500 + n))
    found = [n for n in range(100) if kept.get(model, m.RecommendBody(f"user {n}"), [])]
    assert found == list(range(100 - len(found), 100))
    assert 5 <= len(found) <= 10
    kept.put(model, m.RecommendBody("long"), [], bytes(20_000))
    assert kept.get(model, m.RecommendBody("long"), []) is None
    assert kept.get(model, m.RecommendBody("user 99"), [])
    nothing = AnswerCache(0)
    nothing.get(model, m.RecommendBody("ann"), [])
    nothing.put(model, m.RecommendBody("ann"), [], b"answer")
    assert nothing.get(model, m.RecommendBody("ann"), []) is None
