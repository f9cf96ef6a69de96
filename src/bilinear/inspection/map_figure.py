"""The map of items as a figure: matplotlib does the drawing, the labels find their own places."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bilinear.errors import ParameterValueError
from bilinear.files import atomic_write
from bilinear.inline_figure import inline_figure
from bilinear.inspection.items import at_least, shown
from bilinear.inspection.palette import BIAS_LIGHT, GENRES_LIGHT, OTHER_LIGHT, coloured
from bilinear.inspection.placed_items import PlacedItems
from bilinear.optional_packages import extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _FAINT, _LINE = "#1f2933", "#6b7683", "#d9dde2"
_WIDTH = 12.0  # inches
_LONGEST_LABEL = 30


def draw(items: PlacedItems, n_labels: int) -> Figure:
    """See `ItemMap.figure`."""
    with extra("plot"):
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    places, sizes = items.coordinates[:, :2], _sizes(items.n_ratings)
    wide, high = np.ptp(places, axis=0)
    height = float(np.clip(_WIDTH * 0.85 * high / max(wide, 1e-300) + 1.6, 6.5, 11))
    layout = ConstrainedLayoutEngine(w_pad=0.2, h_pad=0.2)
    figure: Figure = inline_figure(figsize=(_WIDTH, height), facecolor="white", layout=layout)
    axes = figure.subplots()
    _points(figure, axes, items, places, sizes)
    _frame(axes, items)
    with warnings.catch_warnings():
        # A title in a script that the font lacks is drawn as boxes; that is not a reason to fail.
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # the axes must stay where they are while labels are placed
        axes.autoscale(False)
        _label(figure, axes, items, places, sizes, n_labels)
    return figure


def write_png(items: PlacedItems, path: Path, n_labels: int, dpi: int) -> None:
    """See `ItemMap.to_png`."""
    if path.suffix.lower() not in ("", ".png"):
        raise ParameterValueError(f"{path}: to_png writes PNG; end the name in .png, or use figure().savefig")
    figure = draw(items, n_labels)
    with warnings.catch_warnings(), atomic_write(path) as file:
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        figure.savefig(file, format="png", dpi=dpi)


def _sizes(n_ratings: NDArray[np.int64]) -> NDArray[np.float64]:
    """Areas of the points in square points, in proportion to the ratings but never invisible."""
    sizes: NDArray[np.float64] = 5 + 175 * n_ratings / n_ratings.max()
    return sizes


def _points(
    figure: Figure, axes: Axes, items: PlacedItems, places: NDArray[np.float64], sizes: NDArray[np.float64]
) -> None:
    order = np.argsort(-items.n_ratings, kind="stable")  # small points end on top of large ones
    x, y = places[order].T
    style: dict[str, Any] = {"alpha": 0.75, "linewidths": 0.4, "edgecolors": "white"}
    if not items.genre_counts:
        from matplotlib.colors import LinearSegmentedColormap

        widest = float(np.quantile(np.abs(items.biases), 0.98)) or 1.0
        drawn = axes.scatter(
            x,
            y,
            s=sizes[order],
            c=items.biases[order],
            cmap=LinearSegmentedColormap.from_list("bias", BIAS_LIGHT),
            vmin=-widest,
            vmax=widest,
            **style,
        )
        bar = figure.colorbar(drawn, cax=axes.inset_axes((1.01, 0.25, 0.012, 0.5)), extend="both")
        bar.set_label(f"item bias, {items.unit}", color=_FAINT)
        bar.outline.set_visible(False)
        bar.ax.tick_params(colors=_FAINT, length=0, labelsize=9)
        return
    found = set(items.first_genres)
    names = coloured(items.genre_names)
    colours = {name: colour for name, colour in zip(names, GENRES_LIGHT, strict=False) if name in found}
    axes.scatter(
        x,
        y,
        s=sizes[order],
        c=[colours.get(items.first_genres[at], OTHER_LIGHT) for at in order],
        **style,
    )
    if found - colours.keys():
        colours["other"] = OTHER_LIGHT
    for name, colour in colours.items():
        axes.scatter([], [], s=60, color=colour, label=shown(name, 20))
    legend = axes.legend(
        title="first genre",
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        frameon=False,
        labelcolor=_INK,
        handletextpad=0.2,
        fontsize=10,
        alignment="left",
    )
    legend.get_title().set_color(_FAINT)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _frame(axes: Axes, items: PlacedItems) -> None:
    axes.set_aspect("equal", adjustable="datalim")  # distances mean the same along both directions
    axes.margins(0.04)
    axes.axhline(0, color=_LINE, linewidth=0.8, zorder=0)
    axes.axvline(0, color=_LINE, linewidth=0.8, zorder=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(colors=_FAINT, length=0, labelsize=9)
    shares = [f"direction {n + 1} ({share:.0%} of the variance)" for n, share in enumerate(items.explained)]
    axes.set_xlabel(f"{shares[0]}, {items.unit}", color=_FAINT)
    axes.set_ylabel(f"{shares[1]}, {items.unit}", color=_FAINT)
    axes.set_title(
        "Items near each other are liked by the same people", loc="left", color=_INK, fontsize=16, pad=26
    )
    axes.text(
        0,
        1.012,
        f"the two main directions of taste in {shown(items.source, 40)}: {len(items):,} items with "
        f"{at_least(items.min_ratings)}; larger points have more ratings",
        transform=axes.transAxes,
        color=_FAINT,
        fontsize=10.5,
        va="bottom",
        parse_math=False,
    )


def _label(
    figure: Figure,
    axes: Axes,
    items: PlacedItems,
    places: NDArray[np.float64],
    sizes: NDArray[np.float64],
    n_labels: int,
) -> None:
    """Names the most rated items, each beside its point where it covers no other name."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.patheffects import withStroke

    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    inside = axes.get_window_extent(renderer)
    pixels = axes.transData.transform(places)
    radii = np.sqrt(sizes / np.pi) * figure.dpi / 72
    taken: list[tuple[float, float, float, float]] = []
    most_rated = np.argsort(-items.n_ratings, kind="stable")[:n_labels]
    for at in most_rated:  # a name may not cover another named point either
        (left, low), r = pixels[at], radii[at] * 0.6
        taken.append((left - r, low - r, left + r, low + r))
    for at in most_rated:
        text = axes.text(
            0,
            0,
            shown(items.titles[at], _LONGEST_LABEL),
            fontsize=8.5,
            color=_INK,
            parse_math=False,
            transform=None,
            path_effects=[withStroke(linewidth=2.2, foreground="white", alpha=0.85)],
            zorder=5,
        )
        extent = text.get_window_extent(renderer)
        place = _free_place(pixels[at], radii[at] + 2, extent.width, extent.height, taken, inside.extents)
        if place is None:
            text.remove()
            continue
        taken.append((*place, place[0] + extent.width, place[1] + extent.height))
        text.set_transform(axes.transData)
        text.set_position(tuple(axes.transData.inverted().transform(place)))
        x, y = places[at]
        axes.scatter(x, y, s=sizes[at], facecolors="none", edgecolors=_INK, linewidths=1.1, zorder=4)


def _free_place(
    point: Sequence[float],
    gap: float,
    width: float,
    height: float,
    taken: Sequence[tuple[float, float, float, float]],
    inside: Sequence[float],
) -> tuple[float, float] | None:
    """The first of eight places around a point where a box covers nothing, or None.

    Returns:
        its lower left corner in pixels. Right of the point comes first, then left, above, below, and
        the corners.
    """
    x, y = point
    near = gap * 0.75
    right, left, middle = x + gap, x - gap - width, x - width / 2
    above, below, level = y + gap, y - gap - height, y - height / 2
    for low_x, low_y in (
        (right, level),
        (left, level),
        (middle, above),
        (middle, below),
        (x + near, y + near),
        (x - near - width, y + near),
        (x + near, y - near - height),
        (x - near - width, y - near - height),
    ):
        high_x, high_y = low_x + width, low_y + height
        if low_x < inside[0] or low_y < inside[1] or high_x > inside[2] or high_y > inside[3]:
            continue
        if all(high_x < a or low_x > c or high_y < b or low_y > d for a, b, c, d in taken):
            return low_x, low_y
    return None
