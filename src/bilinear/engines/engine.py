"""The seam between work that is cut into shards and what works on them, and the engine of this process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from bilinear.errors import ParameterValueError
from bilinear.model.blocks import checked_threads, in_order
from bilinear.registry import Registry

Shared = TypeVar("Shared")
Shard = TypeVar("Shard")
Result = TypeVar("Result")
Prepare = Callable[[Shared, int], Callable[[Shard], Result]]
"""Makes the function of a shard from what all shards share and the number of threads it may use.

A function of a module, without state: engines call it in several processes, and again after a death.
"""


class Engine(ABC):
    """Base class of engines: shards in, results out, in the order of the shards.

    Shards are cut by the caller, from the table alone, and a function of a shard is without side effects;
    so results are the same bits on every engine, whatever dies and is done again. An engine of one's own
    defines `map` and registers with `@bilinear.engines.engine.ENGINES.add`.

    Examples:
        >>> from bilinear import Engine, Local, Ray
        >>> isinstance(Local(), Engine), isinstance(Ray(), Engine)
        (True, True)
    """

    n_threads: int | None

    @abstractmethod
    def map(
        self, prepare: Prepare[Shared, Shard, Result], shared: Shared, shards: Iterable[Shard]
    ) -> Iterator[Result]:
        """Results of `prepare(shared, n_threads)` for each shard, in their order; few wait for the reader.

        Args:
            prepare: see `Prepare`; called at least once in each process that works.
            shared: carried to each machine once, and only read there.
            shards: small, each enough work for a second.

        Examples:
            >>> from bilinear import Local
            >>> def power(shared, n_threads):
            ...     return lambda shard: shard**shared
            >>> list(Local(n_threads=2).map(power, 3, [1, 2, 4]))
            [1, 8, 64]
        """

    def close(self) -> None:
        """Lets go of the processes and connections that `map` made; `with engine:` does this at its end."""
        return

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


ENGINES: Registry[Engine] = Registry("engine", "bilinear.engines")
"""Engines by their name on the command line (`--engine`)."""


@dataclass
class Local(Engine):
    """This process, with threads; what is used where no engine is named.

    Attributes:
        n_threads: None takes all cores.

    Examples:
        >>> from bilinear import EASE, Local, recommend_everyone, synthetic_catalogue
        >>> model = EASE(l2=20.0).fit(synthetic_catalogue(1000, 40, 60, rng=0).interactions)
        >>> recommend_everyone(model, n=5, engine=Local(n_threads=2)).items.shape
        (40, 5)
    """

    n_threads: int | None = None

    def map(
        self, prepare: Prepare[Shared, Shard, Result], shared: Shared, shards: Iterable[Shard]
    ) -> Iterator[Result]:
        """See `Engine.map`; two shards share the threads: one is computed while the other is written."""
        n_threads, all_shards = checked_threads(self.n_threads), list(shards)
        at_once = max(1, min(2, n_threads, len(all_shards)))
        return in_order(prepare(shared, -(-n_threads // at_once)), all_shards, at_once)


ENGINES.add(Local, "local")


def chosen_engine(engine: Engine | None, n_threads: int | None) -> Engine:
    """The engine that was given, or `Local` with so many threads.

    Raises:
        ParameterValueError: both were given, or no engine is an `Engine`.
    """
    if engine is None:
        return Local(n_threads)
    if not isinstance(engine, Engine):
        raise ParameterValueError(f"engine={engine!r}; an Engine, such as Local() or Ray(), or None")
    if n_threads is not None:
        name = type(engine).__name__
        raise ParameterValueError(f"n_threads is that of the engine here; give {name}(n_threads={n_threads})")
    return engine
