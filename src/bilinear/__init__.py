"""bilinear: collaborative filtering with the dot-product model.

The public names below load on first use, so that `import bilinear` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bilinear.data.interactions import Interactions as Interactions
    from bilinear.data.vocabulary import Vocabulary as Vocabulary

__version__ = "0.1.0"

_HOMES = {
    "Interactions": "bilinear.data.interactions",
    "Vocabulary": "bilinear.data.vocabulary",
}

__all__ = ["Interactions", "Vocabulary", "__version__"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'bilinear' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOMES))
