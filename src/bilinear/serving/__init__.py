"""From a model to a service: recommendations over HTTP, and feedback that is never lost.

Four rooms, each uses only those below: `http` is the ASGI application, `answers` makes lists and explanations
without a web, `lifecycle` keeps the model's folder and trains anew, `feedback` has the stores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bilinear.serving.answers.service import Service as Service
    from bilinear.serving.feedback.store import open_store as open_store
    from bilinear.serving.feedback.store import register_store as register_store
    from bilinear.serving.http.app import create_app as create_app
    from bilinear.serving.lifecycle.model_folder import ModelFolder as ModelFolder

_HOMES = {
    "create_app": "http.app",
    "ModelFolder": "lifecycle.model_folder",
    "Service": "answers.service",
    "open_store": "feedback.store",
    "register_store": "feedback.store",
}

__all__ = ["ModelFolder", "Service", "create_app", "open_store", "register_store"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bilinear.serving' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"bilinear.serving.{_HOMES[name]}"), name)
