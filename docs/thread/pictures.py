"""The pictures of the page, as SVG that follows the reader's light or dark setting."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

_INK = "#123456"  # stands for the colour of the text until the file is written
_BLUE, _ORANGE = "#3d85d6", "#d9681d"  # legible on white and on black
_STYLE = (
    "<style>svg{color:#33383e}@media(prefers-color-scheme:dark){svg{color:#c9ced6}}"
    "text{fill:currentColor}</style>"
)


def draw(values: dict[str, Any], folder: Path) -> None:
    """Writes slice.svg, convergence.svg and held_out.svg."""
    import matplotlib as mpl

    mpl.use("agg")
    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": "bilinear",
        "font.family": "sans-serif",
        "font.size": 11,
    }
    ink = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    plain = {"axes.spines.top": False, "axes.spines.right": False, "axes.facecolor": "none"}
    with mpl.rc_context(settings | dict.fromkeys(ink, _INK) | plain):
        for name, picture in (("slice", _slice), ("convergence", _convergence), ("held_out", _held_out)):
            (folder / f"{name}.svg").write_text(picture(values), encoding="utf-8")


def _slice(values: dict[str, Any]) -> str:
    import numpy as np

    found = values["slice"]
    figure, axes = _figure(5.2, 4.4)
    levels = np.geomspace(found.values.min() * 1.0005, found.values.max(), 16)
    shades = axes.contourf(found.a, found.b, found.values.T, levels, cmap="Blues_r", extend="min")
    axes.contour(found.a, found.b, found.values.T, levels, colors="#0b3c6f", linewidths=0.4)
    for place, words in ((1, "the model"), (-1, "its mirror image")):
        axes.plot(place, place, "o", color=_ORANGE, markersize=7)
        _label(axes, words, (place, place), (0, -14 if place < 0 else 9))
    axes.plot(0, 0, "x", color=_ORANGE, markersize=8, markeredgewidth=2)
    _label(axes, "no factors: the pass", (0, 0), (0, 9))
    axes.set(xlabel="user factors times a", ylabel="item factors times b", aspect="equal")
    low, high = levels[0], levels[-1]
    round_ones = [a * 10.0**n for n in range(-3, 12) for a in (1, 1.5, 2, 3, 5, 7)]
    ticks = [tick for tick in round_ones if low <= tick <= high]
    bar = figure.colorbar(shades, ax=axes, format="{x:,.0f}", ticks=ticks, shrink=0.8)
    bar.set_label("training loss")
    bar.outline.set_visible(False)
    return _svg(figure)


def _label(axes: Any, words: str, at: tuple[float, float], shift: tuple[float, float]) -> None:
    """Words on the shaded ground, which is light or blue whatever the reader's setting."""
    box = {"boxstyle": "round,pad=0.2", "facecolor": "#ffffff", "edgecolor": "none", "alpha": 0.85}
    axes.annotate(
        words, at, shift, textcoords="offset points", ha="center", fontsize=9, color="#0b2239", bbox=box,
        va="bottom" if shift[1] > 0 else "top",
    )  # fmt: skip


def _convergence(values: dict[str, Any]) -> str:
    figure, axes = _figure(6.2, 3.4)
    runs = values["runs"]
    for name, colour, marker in (("constant", _ORANGE, "o"), ("falling to zero", _BLUE, "s")):
        rows = [row for row in runs if row["schedule"] == name]
        epochs, above = [row["epochs"] for row in rows], [row["above"] for row in rows]
        axes.loglog(epochs, above, marker=marker, color=colour, linewidth=2)
        resting = name != "constant"
        axes.annotate(
            f"rate {name}",
            (epochs[-1], above[-1]),
            (-16, 0) if resting else (0, 9),
            textcoords="offset points",
            color=colour,
            ha="right",
            va="center" if resting else "bottom",
        )
    axes.set(xlabel="epochs", ylabel="loss above the proved optimum")
    axes.grid(color=_INK, alpha=0.15)
    return _svg(figure)


def _held_out(values: dict[str, Any]) -> str:
    figure, axes = _figure(6.2, 3.4)
    curve = values["curve"]
    l2s = [point.l2 for point in curve.points]
    lines = (
        ("training", [point.train_rmse for point in curve.points], _BLUE),
        ("held out", [point.test_rmse for point in curve.points], _ORANGE),
    )
    for name, errors, colour in lines:
        axes.semilogx(l2s, errors, "-", color=colour, linewidth=2)
        for point, error in zip(curve.points, errors, strict=True):
            proved = point.relative_gap <= 1e-3
            axes.plot(point.l2, error, "o", color=colour, fillstyle="full" if proved else "none")
        axes.annotate(
            name, (l2s[-2], errors[-2]), (6, -6), textcoords="offset points", color=colour, va="top"
        )
    axes.plot(curve.best.l2, curve.best.test_rmse, "o", color=_INK, markersize=13, fillstyle="none")
    axes.annotate("best model", (curve.best.l2, curve.best.test_rmse), (0, -12), textcoords="offset points",
                  ha="center", va="top")  # fmt: skip
    axes.set(xlabel="penalty of the factors (filled: proved global optimum)", ylabel="error in stars (RMSE)")
    axes.grid(color=_INK, alpha=0.15)
    return _svg(figure)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained", facecolor="none")
    return figure, figure.add_subplot()


def _svg(figure: Any) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    drawn = out.getvalue().replace(_INK, "currentColor")
    drawn = re.sub(r"(<svg\b[^>]*>)", r"\1" + _STYLE, drawn, count=1)
    return "\n".join(line.rstrip() for line in drawn.splitlines()) + "\n"
