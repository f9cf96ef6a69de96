"""Retraining beside the server: a process of its own, and the check that a new model has to pass."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from time import time
from typing import Any

import msgspec

from bilinear.serving.feedback.store import FeedbackStore
from bilinear.serving.lifecycle.model_folder import ModelFolder
from bilinear.serving.messages import RetrainState, Swapped
from bilinear.serving.problems import Conflict, Refused, StoreUnavailable

MAX_WORSE = 0.02
# -P: what lies in the current folder is data, also where it is called json.py.
_COMMAND = (sys.executable, "-P", "-m", "bilinear.serving.lifecycle.retrain_process")


class Retraining:
    """At most one training at a time; `state` says how the last one went.

    Args:
        store_url: of `store`, for the process that trains.
        adopt: makes the model of a folder live, checked against the hash of its content.
        in_thread: runs a call that takes its time.
        log: writes an event.
        max_worse: how much worse than the live model a new one may be.
    """

    def __init__(
        self,
        models: ModelFolder,
        store: FeedbackStore,
        store_url: str,
        adopt: Callable[[Path, str], Swapped],
        in_thread: Callable[..., Awaitable[Any]],
        log: Callable[..., None],
        max_worse: float = MAX_WORSE,
    ) -> None:
        self._models, self._store, self._store_url = models, store, store_url
        self._adopt, self._in_thread, self._log, self._max_worse = adopt, in_thread, log, max_worse
        self.state = RetrainState("never", "", None, None, None, None, None, None)
        self._task: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._is_ending = False

    async def start(self, max_worse: float | None = None, bound: float | None = None) -> RetrainState:
        """Begins a training. Raises Conflict: one is running, or the model folder cannot be changed."""
        if self._task is not None and not self._task.done():
            raise Conflict("a training is running; see GET /v1/model/retrain", code="busy")
        candidate = self._models.candidate()
        self.state = RetrainState("running", "training", time(), None, None, None, None, None)
        order = {
            "model": str(self._models.path),
            "store": self._store_url,
            "out": str(candidate),
            "max_worse": self._max_worse if max_worse is None else max_worse,
            "bound": bound,
        }
        self._task = asyncio.create_task(self._run(order, candidate))
        return self.state

    async def every(self, seconds: float) -> None:
        """Trains so often, as long as there is new feedback."""
        trained_on = await self._feedback()
        while True:
            await asyncio.sleep(seconds)
            with suppress(Refused):
                now = await self._feedback()
                if now != trained_on:
                    await self.start()
                    if self._task is not None:
                        await self._task
                    trained_on = now

    async def stop(self) -> None:
        """Ends a running training; nothing of it stays. A model that is going live already does."""
        self._is_ending = True
        self._kill()
        if self._task is not None:
            await asyncio.wait([self._task])

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def _feedback(self) -> Any:
        try:
            return await self._in_thread(self._store.counts)
        except StoreUnavailable:
            return None

    async def _run(self, order: dict[str, Any], candidate: Path) -> None:
        began = self.state.started_at
        self._log("retrain", state="running")
        try:
            made = await self._made(order)
            state, message, version = "refused", made["message"], None
            if made["good_enough"]:
                swapped: Swapped = await self._in_thread(self._adopt, candidate, made["content"])
                state, version = "live", swapped.model
                self._log("swap", by="retrain", model=swapped.model, before=swapped.before)
            self.state = msgspec.structs.replace(
                self.state,
                state=state,
                message=message,
                metric=made["metric"],
                score=made["score"],
                bound=made["bound"],
                model=version,
            )
        except Exception as error:  # whatever it is, the live model stays and the state says why
            self.state = msgspec.structs.replace(self.state, state="failed", message=str(error))
        finally:
            self.state = msgspec.structs.replace(self.state, started_at=began, ended_at=time())
            shutil.rmtree(candidate, ignore_errors=True)
            self._log("retrain", state=self.state.state, message=self.state.message)

    async def _made(self, order: dict[str, Any]) -> dict[str, Any]:
        """What the process says of the model it made."""
        self._process = process = await asyncio.create_subprocess_exec(
            *_COMMAND,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(),
        )
        if self._is_ending:
            self._kill()
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        # By the standard input: an address with a password is nothing for a list of processes. It stays
        # open as long as this process lives, and the other ends with it.
        process.stdin.write(json.dumps(order).encode() + b"\n")
        with suppress(ConnectionError):  # it has ended already, and says why
            await process.stdin.drain()
        out, err = await asyncio.gather(process.stdout.read(), process.stderr.read())
        await process.wait()
        process.stdin.close()
        if process.returncode:
            last = err.decode(errors="replace").strip().splitlines()[-1:] or [
                f"exit code {process.returncode}"
            ]
            raise RuntimeError(f"the training failed: {last[0]}")
        made: dict[str, Any] = json.loads(out)
        return made


def _environment() -> dict[str, str]:
    """An empty entry of PYTHONPATH is the current folder too."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    if "PYTHONPATH" in environment:
        paths = environment["PYTHONPATH"].split(os.pathsep)
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    return environment
