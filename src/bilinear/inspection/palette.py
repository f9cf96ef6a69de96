"""Colours of figures and pages, in one file that Python and the page's script both read.

Any two colours of genres differ by 12 or more (CIEDE2000), also as people see them whose eyes lack
one of the three receptors, and stand out from the page at 3:1.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files

_STORED = json.loads(files("bilinear.inspection").joinpath("web", "palette.json").read_text("utf-8"))

GENRES_LIGHT: tuple[str, ...] = tuple(_STORED["light"]["genres"])
GENRES_DARK: tuple[str, ...] = tuple(_STORED["dark"]["genres"])
OTHER_LIGHT: str = _STORED["light"]["other"]
OTHER_DARK: str = _STORED["dark"]["other"]

# Three stops: biases below zero, around it, above.
BIAS_LIGHT: tuple[str, ...] = tuple(_STORED["light"]["bias"])
BIAS_DARK: tuple[str, ...] = tuple(_STORED["dark"]["bias"])


def coloured(genre_names: Sequence[str]) -> tuple[str, ...]:
    """The genres that get a colour of their own; the others share one."""
    return tuple(genre_names[: len(GENRES_LIGHT)])
