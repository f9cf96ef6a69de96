"""bilinear: collaborative filtering with the dot-product model.

```python
import bilinear

ratings = bilinear.read_ratings("ratings.csv")
model = bilinear.MatrixFactorization(rng=0).fit(ratings)
model.recommend(42)
```

The public names load on first use, so that `import bilinear` is quick. They are listed in `__init__.pyi`,
which type checkers and editors read too.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from bilinear.version import __version__ as __version__

_STUB = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")
_IMPORTS = [line.split() for line in _STUB.splitlines() if line.startswith("from ")]
_HOME_OF = {name: home for _, home, _, _, _, name in _IMPORTS}  # from HOME import NAME as NAME

__all__ = ["__version__", *sorted(_HOME_OF)]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'bilinear' has no attribute {name!r}")
    value = import_module(f"bilinear.{name}") if home == "bilinear" else getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
