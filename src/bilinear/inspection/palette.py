"""Colours of figures and pages, in one place so that a genre looks the same in both."""

from __future__ import annotations

from collections.abc import Sequence

GENRES_LIGHT = (
    "#2f6db5", "#c2410c", "#2f855a", "#b7791f", "#7c4dab",
    "#c2407f", "#0e8a94", "#7a5a3a", "#66751c", "#d1584f",
)  # fmt: skip
GENRES_DARK = (
    "#7fb0f0", "#fb923c", "#6fcf97", "#e6c04f", "#b795e8",
    "#f08cc0", "#4fd1d9", "#c9a27e", "#b7cc5a", "#f58a80",
)  # fmt: skip
OTHER_LIGHT, OTHER_DARK = "#8b95a1", "#77828e"

# Three stops: biases below zero, around it, above.
BIAS_LIGHT = ("#2f6db5", "#b9bec5", "#c2410c")
BIAS_DARK = ("#6aa5f0", "#555d68", "#fb8a3c")


def coloured(genre_counts: Sequence[tuple[str, int]]) -> tuple[str, ...]:
    """The genres that get a colour of their own; the others share one."""
    return tuple(genre for genre, _ in genre_counts[: len(GENRES_LIGHT)])
