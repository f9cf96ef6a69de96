"""The engine of Ray: shards on all cores of a cluster, or of this machine. Only this module imports ray."""

from __future__ import annotations

import os
import pickle
import secrets
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilinear.engines.engine import ENGINES, Engine, Prepare, Result, Shard, Shared
from bilinear.errors import EngineError
from bilinear.model.blocks import checked_threads
from bilinear.optional_packages import extra
from bilinear.version import __version__

_DEATHS = 3  # of the processes of one task, after which the work is given up
_SECONDS = 10.0  # to answer
_MODE, _TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"


@dataclass
class Ray(Engine):
    """A cluster of Ray: one task a shard, on whichever machine has a core free.

    What shards share lies in each machine's object store once, where all its processes read it in place. A
    task whose process or machine dies is done again elsewhere. Needs `pip install 'bilinear[ray]'`, the same
    version of bilinear on all machines, and no storage that they share.

    Without an address and without RAY_ADDRESS a cluster of this machine is started: it listens on the
    loopback address alone, asks for a token, has no dashboard, and ends with `close` or with this process.
    A connection that `ray.init` made before is used, and left open.

    Attributes:
        address: host:port of the head, `"auto"` for the one that runs on this machine, `"ray://host:10001"`
            for Ray's client, or None: that of the variable RAY_ADDRESS, else `"local"`, which starts one.
        n_threads: CPUs that a task asks for and threads that it uses; None is one.
    Raises:
        MissingDependencyError: ray is not installed.
        EngineError: no cluster answers, its machines have another version of bilinear or too few cores, or
            the same task died three times. Raised by the work, as the constructor does nothing.

    Examples:
        >>> from bilinear import Ray
        >>> Ray("10.0.0.1:6379", n_threads=2)
        Ray(address='10.0.0.1:6379', n_threads=2)
    """

    address: str | None = None
    n_threads: int | None = None
    _set: list[str] = field(default_factory=list, init=False, repr=False, compare=False)
    _started: bool = field(default=False, init=False, repr=False, compare=False)

    def map(
        self, prepare: Prepare[Shared, Shard, Result], shared: Shared, shards: Iterable[Shard]
    ) -> Iterator[Result]:
        """See `Engine.map`; two tasks for each that can run are submitted ahead of the reader."""
        n_threads = 1 if self.n_threads is None else checked_threads(self.n_threads)
        ray = self._connected()
        from ray import cloudpickle

        slots = _slots(ray, n_threads)
        buffers: list[Any] = []
        pickled = cloudpickle.dumps((prepare, shared), protocol=5, buffer_callback=buffers.append)
        stored = ray.put((pickled, [np.frombuffer(buffer.raw(), np.uint8) for buffer in buffers]))
        del buffers, pickled
        task = ray.remote(num_cpus=n_threads, max_retries=_DEATHS - 1)(_work)
        key, waiting = secrets.token_hex(8), deque[Any]()
        try:
            for shard in shards:
                # in a list, so that the task fetches it only where its process does not have it prepared
                waiting.append(task.remote(key, __version__, [stored], n_threads, shard))
                if len(waiting) >= 2 * slots:
                    yield _result(ray, waiting.popleft())
            while waiting:
                yield _result(ray, waiting.popleft())
        finally:
            for left in waiting:
                ray.cancel(left)

    def close(self) -> None:
        """Ends the connection, and the cluster where `map` started it."""
        if self._started:
            sys.modules["ray"].shutdown()
            self._started = False
        while self._set:
            os.environ.pop(self._set.pop(), None)

    def _connected(self) -> Any:
        """The module ray, connected."""
        address = self.address or os.environ.get("RAY_ADDRESS") or "local"
        if address == "local" and "ray" not in sys.modules:
            self._protect()
        with extra("ray"):
            import ray
        if ray.is_initialized():
            return ray
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "warning"}
        if address == "local":
            options |= {"num_cpus": checked_threads(None), "include_dashboard": False}
        elif address != "auto":
            _knock(address)
        try:
            ray.init(address, **options)
        except Exception as error:
            raise EngineError(
                f"no Ray cluster answers at {address} ({error}); start one with `ray start --head`, or "
                "correct the address or RAY_ADDRESS"
            ) from error
        self._started = True
        return ray

    def _protect(self) -> None:
        """Keeps the cluster of this machine to itself; Ray reads this when it is imported first."""
        # Ray takes a loopback address for a mistake and listens on all, unless it may have no cluster.
        settings = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
        if not {_MODE, _TOKEN, f"{_TOKEN}_PATH"} & os.environ.keys():
            settings |= {_MODE: "token", _TOKEN: secrets.token_hex(32)}
        for name in settings.keys() - os.environ.keys():
            os.environ[name] = settings[name]
            self._set.append(name)


ENGINES.add(Ray, "ray")

_prepared: dict[str, Callable[[Any], Any]] = {}  # of this process, the last one alone


def _work(key: str, version: str, stored: list[Any], n_threads: int, shard: Any) -> Any:
    """The task of a shard, in a process of Ray."""
    import ray

    if version != __version__:
        raise EngineError(
            f"the machine {ray.util.get_node_ip_address()} has bilinear {__version__}, and the work comes "
            f"from bilinear {version}; install the same version on all machines"
        )
    if key not in _prepared:
        _prepared.clear()  # before the next is fetched: the object store can let go of it
        pickled, buffers = ray.get(stored[0])
        prepare, shared = pickle.loads(pickled, buffers=[_writeable(buffer) for buffer in buffers])
        _prepared[key] = prepare(shared, n_threads)
    return _prepared[key](shard)


class _Memory:
    """Describes an array's memory to NumPy as writeable."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.__array_interface__ = array.__array_interface__ | {"data": (array.ctypes.data, False)}
        self.array = array  # keeps the memory


def _writeable(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same memory, writeable: arrays are then, as in the process that sent them, writeable or not.

    Kernels are compiled for each of the two. Functions of shards do not write.
    """
    return np.asarray(_Memory(array)) if len(array) else np.empty(0, np.uint8)


def _slots(ray: Any, n_threads: int) -> int:
    """Tasks that the cluster can run at once."""
    cores = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    if not any(n >= n_threads for n in cores):
        raise EngineError(
            f"n_threads={n_threads} asks for so many cores on one machine, and the machines of the Ray "
            f"cluster have {', '.join(map(str, cores)) or 'none'}; give fewer, or add machines"
        )
    return sum(n // n_threads for n in cores)


def _result(ray: Any, of: Any) -> Any:
    """The result of a task; an error in its function is raised as it was."""
    from ray.exceptions import RayError, RayTaskError

    try:
        return ray.get(of)
    except RayTaskError as error:
        cause = error.cause
        if isinstance(cause, Exception) and not isinstance(cause, RayError):
            raise cause from error
        raise EngineError(
            f"a task of the Ray cluster failed: {error}; is bilinear installed on all machines?"
        ) from error
    except RayError as error:
        raise EngineError(
            f"the Ray cluster gave up a task, whose process died {_DEATHS} times or whose data were lost "
            f"({error}); where memory ran out, use machines with more of it, or fewer tasks at once by a "
            "larger n_threads"
        ) from error


def _knock(address: str) -> None:
    """Raises EngineError where nothing listens: Ray itself would wait for a minute and end the process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        raise EngineError(
            f"the address of a Ray cluster is host:port, ray://host:port, auto or local, not {address!r}; "
            "correct it, or RAY_ADDRESS"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS).close()
    except OSError as error:
        raise EngineError(
            f"no Ray cluster answers at {address} ({error.strerror or error}); start one with `ray start "
            "--head`, or correct the address or RAY_ADDRESS"
        ) from error
