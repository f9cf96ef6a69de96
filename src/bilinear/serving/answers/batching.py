"""Requests that wait together are answered together: one reading of the items for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from concurrent.futures import Executor

from bilinear.recommend.screening import Ranked
from bilinear.serving.answers.retrieval import AT_ONCE
from bilinear.serving.answers.service import Plan
from bilinear.serving.answers.serving_model import ServingModel

_SMALL = 1 << 23


class Batcher:
    """Ranks plans in the order they came, those that are there at once in one go.

    A batch begins as soon as one pass of the loop has brought no further request, or when it is full: under
    load it gathers what comes, and a request that is alone waits for microseconds. Small catalogues are
    ranked on the loop's own thread, where a full batch takes a few milliseconds and handing it over would
    cost more; large ones, and models without factors, on `executor`.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._waiting: list[tuple[Plan, asyncio.Future[Ranked]]] = []
        self._busy = False
        self._n_gathered = 0
        self.n_batches = 0
        self.n_lists = 0

    def rank(self, plan: Plan) -> Awaitable[Ranked]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Ranked] = loop.create_future()
        self._waiting.append((plan, future))
        if not self._busy:
            self._busy = True
            loop.call_soon(self._gather, loop)
        return future

    def _gather(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begins the next batch, unless requests are still coming in."""
        before, self._n_gathered = self._n_gathered, len(self._waiting)
        if before < self._n_gathered < AT_ONCE:
            loop.call_soon(self._gather, loop)
            return
        self._n_gathered = 0
        self._next(loop)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        # Those whose client went away are not worked on.
        waiting = [entry for entry in self._waiting if not entry[1].done()]
        if not waiting:
            self._waiting, self._busy = [], False
            return
        serving_model = waiting[0][0].serving_model
        batch = [entry for entry in waiting if entry[0].serving_model is serving_model][:AT_ONCE]
        taken = {id(entry[1]) for entry in batch}
        self._waiting = [entry for entry in waiting if id(entry[1]) not in taken]
        self.n_batches += 1
        self.n_lists += len(batch)
        if (
            serving_model.retrieval is not None
            and serving_model.retrieval.parameters.item_factors.size <= _SMALL
        ):
            self._finish(batch, serving_model, loop)
        else:
            loop.create_task(self._finish_elsewhere(batch, serving_model, loop))

    def _finish(
        self,
        batch: list[tuple[Plan, asyncio.Future[Ranked]]],
        serving_model: ServingModel,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        try:
            _give(batch, serving_model.rank([plan.query for plan, _ in batch]))
        except Exception as error:  # the requests fail, the server goes on
            _fail(batch, error)
        loop.call_soon(self._gather, loop)

    async def _finish_elsewhere(
        self,
        batch: list[tuple[Plan, asyncio.Future[Ranked]]],
        serving_model: ServingModel,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        queries = [plan.query for plan, _ in batch]
        try:
            _give(batch, await loop.run_in_executor(self._executor, serving_model.rank, queries))
        except Exception as error:
            _fail(batch, error)
        self._gather(loop)


def _give(batch: list[tuple[Plan, asyncio.Future[Ranked]]], ranked: list[Ranked]) -> None:
    for (_, future), made in zip(batch, ranked, strict=True):
        if not future.done():
            future.set_result(made)


def _fail(batch: list[tuple[Plan, asyncio.Future[Ranked]]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
