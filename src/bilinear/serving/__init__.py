"""From a model to a service: recommendations over HTTP, and feedback that is never lost.

`service` answers and knows no web, `store` keeps feedback, `app` is the ASGI application around them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bilinear.serving.app import create_app as create_app
    from bilinear.serving.feedback.store import open_store as open_store
    from bilinear.serving.feedback.store import register_store as register_store
    from bilinear.serving.service import Service as Service

_HOMES = {
    "create_app": "app",
    "Service": "service",
    "open_store": "feedback.store",
    "register_store": "feedback.store",
}

__all__ = ["Service", "create_app", "open_store", "register_store"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bilinear.serving' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"bilinear.serving.{_HOMES[name]}"), name)
