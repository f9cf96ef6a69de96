"""The server as an ASGI application, for any ASGI server or for `bilinear serve`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bilinear.optional_packages import extra
from bilinear.version import __version__

MOST_JSON = 4 << 20
MOST_IMPORT = 64 << 20
MOST_UNFINISHED = 256 << 20
MOST_KEPT = 32 << 20
_SWITCH_INTERVAL = 0.0005


def create_app(
    model: str | Path,
    *,
    store: str = "sqlite:///feedback.db",
    token_file: str | Path | None = None,
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "::1"),
    rate_limit: float | None = None,
    most_json: int = MOST_JSON,
    most_import: int = MOST_IMPORT,
    most_unfinished: int = MOST_UNFINISHED,
    public_url: str | None = None,
    trusted_proxies: Sequence[str] = (),
    access_log: bool = False,
    retrain_every: float | None = None,
    update_every: float | None = None,
    max_worse: float = 0.02,
    items: str | Path | None = None,
    read_only_model: bool = False,
    items_quote: str = "auto",
    items_id: str | None = None,
    items_title: str | None = None,
    most_kept: int = MOST_KEPT,
) -> Any:
    """An ASGI application that serves a model folder and keeps feedback.

    It holds the linear algebra of its process to one thread, and makes threads take turns ten times as often
    as is Python's way.

    Args:
        store: "sqlite:///file.db" (an absolute path has four slashes) or "postgresql://user@host/database".
        token_file: lines `read TOKEN` and `write TOKEN`; without it everything is allowed, so bind it to
            a loopback address then.
        hosts: names that the Host header may have; () for any.
        rate_limit: requests a second for each client address (of IPv6, each /64), with a burst of twice
            that; None for any.
        most_json, most_import: bytes of a JSON body and of an import.
        most_unfinished: bytes that all bodies may take together which are not answered yet.
        public_url: the address that browsers see, where a proxy stands in front: its host is one of `hosts`
            then, and its pages may write.
        trusted_proxies: addresses and networks whose X-Forwarded-For and X-Forwarded-Proto are believed.
        access_log: a line for every request, not only for refusals and faults.
        retrain_every: seconds between trainings with new feedback, each in a process of its own.
        update_every: seconds between updates, by which the live model learns new feedback; the same. A model
            that cannot (its `updates` is "no") is named in the log, with the reason.
        max_worse: share by which a new model's held-out score may be worse before it is refused.
        items: a table of items, for a model that has no titles of its own.
        read_only_model: leave the model folder to another server: `reload` opens it again, nothing else
            changes it. A folder has one server without this, and any number with it.
        items_quote: the character around its fields, "none", or "auto".
        items_id, items_title: its columns, see `bilinear.read_items`.
        most_kept: bytes of answers that are kept, to be given again while model and feedback are the same.
    Raises:
        MissingDependencyError: a package is not installed (`pip install 'bilinear[serve]'`).
        Conflict: no model in the folder, it is damaged, or another server has it.
        StoreUnavailable: the store cannot be opened.
        ParameterValueError: an argument that cannot be used.

    Examples:
        >>> from bilinear import Interactions, Popularity
        >>> from bilinear.serving import create_app
        >>> Popularity().fit(Interactions.from_columns(["ann", "bob"], ["tea", "jam"])).save("model")
        >>> app = create_app("model", store="sqlite:///feedback.db", read_only_model=True)
        >>> callable(app)
        True
    """
    with extra("serve"):
        import msgspec  # noqa: F401
        from threadpoolctl import threadpool_limits
    from bilinear.errors import ParameterValueError
    from bilinear.serving.answers.service import Service
    from bilinear.serving.feedback.store import open_store
    from bilinear.serving.http.guard import Guard, RateLimit, Tokens
    from bilinear.serving.http.logs import Log
    from bilinear.serving.http.proxies import Proxies, PublicURL
    from bilinear.serving.http.server import Server
    from bilinear.serving.lifecycle.model_folder import ModelFolder

    for seconds, done in ((retrain_every, "trained"), (update_every, "updated")):
        if seconds is not None and read_only_model:
            raise ParameterValueError(
                f"a model folder served read-only cannot be {done}; leave out one of the two"
            )
    # With more threads of the linear algebra than cores are free, one product may take ten times as long.
    threadpool_limits(1)
    # The loop waits so long for a thread that works in Python, each time it has something to do.
    sys.setswitchinterval(_SWITCH_INTERVAL)
    proxies, public = Proxies(trusted_proxies), None if public_url is None else PublicURL.of(public_url)
    names = frozenset(hosts) | ({public.name} if public is not None and hosts else frozenset())
    tokens = None if token_file is None else Tokens.of(Path(token_file))
    models = ModelFolder(
        Path(model),
        items=None if items is None else Path(items),
        items_quote=items_quote,
        items_id=items_id,
        items_title=items_title,
        read_only=read_only_model,
    )
    opened = open_store(store)
    try:
        models.lock()
        service = Service(models, opened)
    except BaseException:
        models.close()
        opened.close()
        raise
    return Server(
        service,
        store,
        Guard(tokens, names, None if rate_limit is None else RateLimit(rate_limit), proxies, public),
        Log(),
        version=__version__,
        most_json=most_json,
        most_import=most_import,
        most_unfinished=most_unfinished,
        access_log=access_log,
        retrain_every=retrain_every,
        update_every=update_every,
        max_worse=max_worse,
        most_kept=most_kept,
    )
