"""Figures of matplotlib that a notebook shows in place, without a magic and without pyplot."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from typing import Any
from warnings import catch_warnings, filterwarnings

from bilinear.optional_packages import extra


def inline_figure(**options: Any) -> Any:
    """A matplotlib figure that is its own picture where it is the value of a cell.

    Args:
        **options: Those of `matplotlib.figure.Figure`.

    Raises:
        MissingDependencyError: matplotlib is not installed.

    Examples:
        >>> from bilinear.inline_figure import inline_figure
        >>> inline_figure(figsize=(2, 1))._repr_png_()[1:4]
        b'PNG'
    """
    with extra("plot"):
        import matplotlib  # noqa: F401 - where it is missing, one of its modules may be loaded all the same
        from matplotlib.figure import Figure
    return _inline(Figure)(**options)


@lru_cache(maxsize=1)
def _inline(figure: type[Any]) -> Any:
    class InlineFigure(figure):  # type: ignore[misc]
        def _repr_png_(self) -> bytes:
            drawn = BytesIO()
            with catch_warnings():  # a title in a script that the font lacks is drawn as boxes
                filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
                self.savefig(drawn, format="png", dpi=100)
            return drawn.getvalue()

    return InlineFigure
