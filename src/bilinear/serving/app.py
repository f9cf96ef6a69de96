"""The server as an ASGI application, for any ASGI server or for `bilinear serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bilinear import __version__
from bilinear.extras import extra

MOST_JSON = 4 << 20
MOST_IMPORT = 64 << 20


def create_app(
    model: str | Path,
    *,
    store: str = "sqlite:///feedback.db",
    token_file: str | Path | None = None,
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "::1"),
    rate_limit: float | None = None,
    most_json: int = MOST_JSON,
    most_import: int = MOST_IMPORT,
    access_log: bool = False,
    retrain_every: float | None = None,
    max_worse: float = 0.02,
    items: str | Path | None = None,
    items_id: str | None = None,
    items_title: str | None = None,
) -> Any:
    """An ASGI application that serves a model folder and keeps feedback.

    It holds the linear algebra of its process to one thread.

    Args:
        store: "sqlite:///file.db" (an absolute path has four slashes) or "postgresql://user@host/database".
        token_file: lines `read TOKEN` and `write TOKEN`; without it everything is allowed, so bind it to
            a loopback address then.
        hosts: names that the Host header may have; () for any.
        rate_limit: requests a second for each client address, with a burst of twice that; None for any.
        most_json, most_import: bytes of a JSON body and of an import.
        access_log: a line for every request, not only for refusals and faults.
        retrain_every: seconds between trainings with new feedback, each in a process of its own.
        max_worse: share by which a new model's held-out score may be worse before it is refused.
        items: a table of items, for a model that has no titles of its own.
        items_id, items_title: its columns, see `bilinear.read_items`.
    Raises:
        MissingDependencyError: a package is not installed (`pip install 'bilinear[serve]'`).
        Conflict: there is no model in the folder, or it is damaged.
        StoreUnavailable: the store cannot be opened.
        ParameterValueError: an argument that cannot be used.
    """
    with extra("serve"):
        import msgspec  # noqa: F401
        from threadpoolctl import threadpool_limits
    from bilinear.serving.guard import Guard, RateLimit, Tokens
    from bilinear.serving.logs import Log
    from bilinear.serving.models import ModelFolder
    from bilinear.serving.server import Server
    from bilinear.serving.service import Service
    from bilinear.serving.store import open_store

    # With more threads of the linear algebra than cores are free, one product may take ten times as long.
    threadpool_limits(1)
    tokens = None if token_file is None else Tokens.of(Path(token_file))
    models = ModelFolder(
        Path(model), items=None if items is None else Path(items), items_id=items_id, items_title=items_title
    )
    opened = open_store(store)
    try:
        service = Service(models, opened)
    except BaseException:
        opened.close()
        raise
    return Server(
        service,
        store,
        Guard(tokens, frozenset(hosts), None if rate_limit is None else RateLimit(rate_limit)),
        Log(),
        version=__version__,
        most_json=most_json,
        most_import=most_import,
        access_log=access_log,
        retrain_every=retrain_every,
        max_worse=max_worse,
    )
