"""New models made beside the server: in a process of its own each, and swapped in when they are good."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from time import time
from typing import Any, ClassVar

import msgspec

from bilinear.estimators.recommender import Recommender
from bilinear.serving.feedback.store import FeedbackStore
from bilinear.serving.lifecycle.model_folder import ModelFolder
from bilinear.serving.messages import RetrainState, Swapped
from bilinear.serving.problems import Conflict, Refused

MAX_WORSE = 0.02
# -P: what lies in the current folder is data, also where it is called json.py.
_COMMAND = (sys.executable, "-P", "-m", "bilinear.serving.lifecycle.retrain_process")


class Making(ABC):
    """At most one model in the making at a time; `state` says how the last one went.

    Args:
        store_url: of `store`, for the process that makes it.
        adopt: makes the model of a folder live, checked against the hash of its content and, unless "", the
            version of the model that it follows.
        in_thread: runs a call that takes its time.
        log: writes an event.
    """

    event: ClassVar[str]
    """Its name in the log."""

    noun: ClassVar[str]

    def __init__(
        self,
        models: ModelFolder,
        store: FeedbackStore,
        store_url: str,
        adopt: Callable[[Path, str, str], Swapped],
        in_thread: Callable[..., Awaitable[Any]],
        log: Callable[..., None],
    ) -> None:
        self._models, self._store, self._store_url = models, store, store_url
        self._adopt, self._in_thread, self._log = adopt, in_thread, log
        self.state = RetrainState("never", "", None, None, None, None, None, None)
        self._task: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._is_ending = False

    @abstractmethod
    async def start(self) -> RetrainState:
        """Begins to make one. Raises Conflict: one is being made, or the model folder cannot be changed."""

    def _begin(self, **order: Any) -> RetrainState:
        if self._task is not None and not self._task.done():
            raise Conflict(f"another {self.noun} is running; see GET /v1/model/retrain", code="busy")
        candidate = self._models.candidate()
        self.state = RetrainState("running", self.noun, time(), None, None, None, None, None)
        order |= {"model": str(self._models.path), "store": self._store_url, "out": str(candidate)}
        self._task = asyncio.create_task(self._run(order, candidate))
        return self.state

    async def every(self, seconds: float) -> None:
        """Makes one so often, as long as there is something new; again after a failure."""
        done = None
        with suppress(Refused):
            done = await self._first_mark()
        while True:
            await asyncio.sleep(seconds)
            with suppress(Refused):
                now = await self._mark()
                if now != done:
                    await self.start()
                    if self._task is not None:
                        await self._task
                    if self.state.state != "failed":
                        done = self._done(now)

    async def _first_mark(self) -> Any:
        """What is known when the server starts."""
        return await self._mark()

    async def _mark(self) -> Any:
        """Changes when there is something new. Raises Refused: nothing can be made now."""
        return await self._in_thread(self._store.counts)

    def _done(self, mark: Any) -> Any:
        """The mark when all that there was at `mark` is in the live model."""
        return mark

    async def stop(self) -> None:
        """Ends what is running; nothing of it stays. A model that is going live already does."""
        self._is_ending = True
        self._kill()
        if self._task is not None:
            await asyncio.wait([self._task])

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def _run(self, order: dict[str, Any], candidate: Path) -> None:
        began = self.state.started_at
        self._log(self.event, state="running")
        try:
            made = await self._made(order)
            state, message, version = made.get("state", "refused"), made["message"], None
            if made["content"] is not None:
                following = order.get("instead_of", "")
                swapped: Swapped = await self._in_thread(self._adopt, candidate, made["content"], following)
                state, version = "live", swapped.model
                self._log("swap", by=self.event, model=swapped.model, before=swapped.before)
            self.state = msgspec.structs.replace(
                self.state,
                state=state,
                message=message,
                metric=made.get("metric"),
                score=made.get("score"),
                bound=made.get("bound"),
                model=version,
            )
        except Exception as error:  # whatever it is, the live model stays and the state says why
            self.state = msgspec.structs.replace(self.state, state="failed", message=str(error))
        finally:
            self.state = msgspec.structs.replace(self.state, started_at=began, ended_at=time())
            shutil.rmtree(candidate, ignore_errors=True)
            self._log(self.event, state=self.state.state, message=self.state.message)

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
            raise RuntimeError(f"the {self.noun} failed: {last[0]}")
        made: dict[str, Any] = json.loads(out)
        return made


class Retraining(Making):
    """Trains again on all ratings and feedback; see `Making`.

    Args:
        max_worse: how much worse than the live model a new one may be.
    """

    event, noun = "retrain", "training"

    def __init__(self, *given: Any, max_worse: float = MAX_WORSE) -> None:
        super().__init__(*given)
        self._max_worse = max_worse

    async def start(self, max_worse: float | None = None, bound: float | None = None) -> RetrainState:
        return self._begin(max_worse=self._max_worse if max_worse is None else max_worse, bound=bound)


class Updating(Making):
    """Lets the live model learn the feedback that it does not hold yet; see `Making`.

    Args:
        live: gives the version of the model that answers, and the model.
    """

    event, noun = "update", "update"

    def __init__(self, *given: Any, live: Callable[[], tuple[str, Recommender]]) -> None:
        super().__init__(*given)
        self._live, self._refused = live, ""

    async def start(self) -> RetrainState:
        return self._begin(instead_of=self._live()[0])

    async def _first_mark(self) -> Any:
        """None, as feedback may have come while no server was there; but says now what cannot be updated."""
        await self._mark()
        return None

    async def _mark(self) -> Any:
        version, model = self._live()
        if model.updates == "no":
            message = model._cannot_update()
            if self._refused != version:
                self._refused = version
                self._log(self.event, state="impossible", model=version, message=message)
            raise Conflict(message, code="not_supported")
        return version, await super()._mark()

    def _done(self, mark: Any) -> Any:
        return self._live()[0], mark[1]


def _environment() -> dict[str, str]:
    """An empty entry of PYTHONPATH is the current folder too."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    if "PYTHONPATH" in environment:
        paths = environment["PYTHONPATH"].split(os.pathsep)
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    return environment
