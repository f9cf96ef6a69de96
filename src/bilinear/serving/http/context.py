"""Context of the operations: the service, the writer of feedback, threads, the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import monotonic
from typing import Any, TypeVar

import msgspec

from bilinear.serving.answers.answer_cache import AnswerCache
from bilinear.serving.answers.batching import Batcher
from bilinear.serving.answers.item_map import item_map
from bilinear.serving.answers.service import Service
from bilinear.serving.answers.serving_model import ServingModel
from bilinear.serving.feedback.exports import Exports
from bilinear.serving.feedback.group_commit import Writer
from bilinear.serving.http.logs import Log
from bilinear.serving.http.metrics import Metrics
from bilinear.serving.lifecycle.learning import updated_at
from bilinear.serving.lifecycle.retraining import Retraining, Updating
from bilinear.serving.problems import StoreUnavailable

_THREADS = 8
_BULK_THREADS = 2
_SAY_AGAIN = 10.0
_FOLLOW = 2.0

Made = TypeVar("Made")


class Context:
    """Everything of one server that an operation may use; `close` ends it."""

    def __init__(self, service: Service, store_url: str, log: Log, max_worse: float, most_kept: int) -> None:
        self.service, self.log = service, log
        self.metrics = Metrics()
        self._threads = ThreadPoolExecutor(_THREADS, "bilinear")
        self._bulk_threads = ThreadPoolExecutor(_BULK_THREADS, "bilinear-bulk")
        self.batcher = Batcher(self._threads)
        self.answers = AnswerCache(most_kept)
        self.writer = Writer(service.store)
        beside = service.models, service.store, store_url, service.adopt, self.in_thread, log.write
        self.retraining = Retraining(*beside, max_worse=max_worse)
        self.updating = Updating(*beside, live=service.live)
        self.exports = Exports(self.in_bulk_thread)
        self.importing = asyncio.Lock()
        self._store_fault: tuple[str, float] = ("", 0.0)
        self._map: tuple[ServingModel | None, bytes] = (None, b"")

    async def in_thread(self, call: Callable[..., Made], *arguments: Any) -> Made:
        """A call that takes its time, without stopping the others."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)

    async def in_bulk_thread(self, call: Callable[..., Made], *arguments: Any) -> Made:
        """As `in_thread`, for imports and exports: however many there are, others find a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._bulk_threads, call, *arguments)

    def log_store(self, error: StoreUnavailable) -> None:
        """Logs an error of the store with all its details; the same one at most every ten seconds."""
        before, moment = self._store_fault
        if str(error) != before or monotonic() - moment > _SAY_AGAIN:
            self._store_fault = str(error), monotonic()
            self.log.write("store", state="unavailable", message=str(error))

    async def follow(self) -> None:
        """Takes over properties that other servers on the same store have written."""
        while True:
            await asyncio.sleep(_FOLLOW)
            with suppress(StoreUnavailable):
                await self.in_thread(self.service.refresh)

    async def check_model(self) -> None:
        """Logs where the model folder is not what it was when it was saved; a large one is served unread."""
        condition = await self.in_bulk_thread(
            self.service.models.condition, self.service.serving_model.version
        )
        if condition != "as loaded":
            self.log.write("model_folder", state=condition)

    def map_of(self, serving_model: ServingModel) -> bytes:
        """The map of one model as JSON, made once."""
        if self._map[0] is not serving_model:
            self._map = (serving_model, msgspec.json.encode(item_map(serving_model)))
        return self._map[1]

    def gauges(self) -> Iterator[tuple[str, str, float]]:
        serving_model = self.service.serving_model
        yield "bilinear_model_loaded_seconds", "When the model went live.", serving_model.loaded_at
        updated = updated_at(serving_model.model)
        yield "bilinear_model_updated_seconds", "When it last learned feedback; 0: not yet.", updated or 0.0
        yield "bilinear_model_users", "Users of the model.", serving_model.n_users
        yield "bilinear_model_items", "Items of the model.", serving_model.n_items
        yield "bilinear_new_items", "Items put to it that have no ratings.", len(serving_model.additions)
        yield "bilinear_new_users", "Users put to it.", len(serving_model.additions.users)
        yield "bilinear_swaps_total", "Models that went live after the first.", self.service.n_swaps
        yield "bilinear_feedback_rows_total", "Rows of feedback that were acknowledged.", self.writer.n_rows
        yield "bilinear_feedback_syncs_total", "Transactions that they took.", self.writer.n_syncs
        yield "bilinear_batches_total", "Batches of lists that were ranked.", self.batcher.n_batches
        yield "bilinear_lists_total", "Lists that were ranked.", self.batcher.n_lists

    async def close(self) -> None:
        """Ends what makes a model, writes what is queued, and closes the store and the model folder."""
        await self.retraining.stop()
        await self.updating.stop()
        await asyncio.to_thread(self.writer.close)
        self._threads.shutdown()
        self._bulk_threads.shutdown()
        self.service.store.close()
        self.service.models.close()
