"""Charts of the lab as SVG: lines over a scale, bars, heat maps, dots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, log10
from typing import Any

import numpy as np

from bilinear.inspection import charts
from bilinear.inspection.charts import BOTTOM, HEIGHT, LEFT, TOP, WIDTH, across, figure, levels, words
from bilinear.inspection.page import text

Points = Sequence[tuple[float, float]]

_STROKES = (
    ("var(--bar)", ""),
    ("var(--accent)", "6 4"),
    ("var(--good)", "2 4"),
    ("var(--faint)", "9 3 2 3"),
)


def lines(
    series: Mapping[str, Points],
    what: str,
    label: str,
    x_label: str,
    *,
    log_x: bool = False,
    marked: float | None = None,
) -> str:
    """Several series over one scale, each with its own stroke and a legend.

    Args:
        series: (x, y) by name, at most four; points that are not finite are left out.
        what: The caption.
        label: A description for readers who do not see the picture.
        x_label: The name of the scale.
        log_x: Whether the scale is logarithmic.
        marked: An x to mark.

    Returns:
        An SVG figure, or "" where nothing can be drawn.
    """
    drawn = {
        name: [(x, y) for x, y in points if isfinite(x) and isfinite(y) and (x > 0 or not log_x)]
        for name, points in series.items()
    }
    drawn = {name: points for name, points in drawn.items() if points}
    if not drawn:
        return ""
    xs = sorted({x for points in drawn.values() for x, _ in points})
    scale = log10 if log_x else float
    left, right = scale(xs[0]), scale(xs[-1])
    up, parts = levels([y for points in drawn.values() for _, y in points])

    def at(x: float) -> float:
        return across(scale(x) - left, (right - left) or 1.0)

    shown = xs if len(xs) <= 6 else [xs[0], xs[len(xs) // 2], xs[-1]]
    parts += [
        words(at(x), HEIGHT - 16, f"{x:.3g}", "end" if x == xs[-1] and len(xs) > 1 else "middle")
        for x in shown
    ]
    if marked is not None and xs[0] <= marked <= xs[-1]:
        place = f"{at(marked):.1f}"
        parts.append(
            f'<line stroke="var(--faint)" stroke-dasharray="2 3" x1="{place}" x2="{place}" '
            f'y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        )
    for (stroke, dashes), points in zip(_STROKES, drawn.values(), strict=False):
        path = " ".join(f"{at(x):.1f},{up(y):.1f}" for x, y in points)
        parts.append(
            f'<polyline fill="none" stroke="{stroke}" stroke-width="2.2" stroke-dasharray="{dashes}" '
            f'points="{path}"/>'
        )
    parts.append(words((LEFT + WIDTH) / 2, HEIGHT - 2, x_label))
    picture = figure("".join(parts), what, label)
    return f"<div>{picture}{_legend(list(drawn))}</div>" if len(drawn) > 1 else picture


def heatmap(
    values: Any, reach: float, what: str, label: str, marks: Sequence[tuple[float, float, str]]
) -> str:
    """A square grid of values, dark is low.

    Args:
        values: (n, n), over multiples of the user factors and of the item factors.
        reach: Largest multiple.
        what: The caption.
        label: A description for readers who do not see the picture.
        marks: (a, b, name) in units of the axes.

    Returns:
        An SVG figure.
    """
    table = np.asarray(values, np.float64)
    n = len(table)
    side, left, top = 190.0, 110.0, 8.0
    low, high = float(table.min()), float(table.max())
    depth = ((high - table) / ((high - low) or 1.0)) ** 3  # valleys stand out, the rim is uniform
    size = side / n
    cells = "".join(
        f'<rect fill="var(--bar)" fill-opacity="{depth[i, j]:.2f}" x="{left + i * size:.1f}" '
        f'y="{top + (n - 1 - j) * size:.1f}" width="{size + 0.2:.1f}" height="{size + 0.2:.1f}"/>'
        for i in range(n)
        for j in range(n)
        if depth[i, j] >= 0.005
    )
    frame = f'<rect fill="none" stroke="var(--line)" x="{left}" y="{top}" width="{side}" height="{side}"/>'
    points = ""
    for a, b, name in marks:
        x, y = left + side * (a + reach) / (2 * reach), top + side * (reach - b) / (2 * reach)
        points += f'<circle class="mark" r="4" cx="{x:.1f}" cy="{y:.1f}"/>'
        points += (
            f'<text fill="var(--ink)" font-size="12" text-anchor="middle" x="{x:.1f}" y="{y - 8:.1f}">'
            f"{text(name)}</text>"
        )
    axes = (
        words(left + side / 2, top + side + 16, "user factors times this"),
        words(left - 10, top + side / 2, "item factors", "end"),
        words(left - 10, top + side / 2 + 14, "times this", "end"),
        words(left, top + side + 16, f"{-reach:g}"),
        words(left + side, top + side + 16, f"{reach:g}"),
    )
    return figure(cells + frame + points + "".join(axes), what, label)


def dots(rows: Mapping[str, Sequence[float]], what: str, label: str, *, log: bool = False) -> str:
    """Every value as a dot on one scale, one row for each name, with a bar at the row's mean.

    Args:
        rows: Values by name; those that are not finite are left out.
        what: The caption.
        label: A description for readers who do not see the picture.
        log: Whether the scale is logarithmic.

    Returns:
        An SVG figure, or "" where nothing can be drawn.
    """
    inside = {
        name: [v for v in values if isfinite(v) and (v > 0 or not log)] for name, values in rows.items()
    }
    everything = [value for values in inside.values() for value in values]
    if not everything:
        return ""
    scale = log10 if log else float
    low, high = scale(min(everything)), scale(max(everything))
    left, right, step = 150, WIDTH - 14, 24
    bottom = 14 + step * len(inside)

    def at(value: float) -> float:
        return left + (right - left) * (scale(value) - low) / ((high - low) or 1.0)

    parts = []
    for row, (name, values) in enumerate(inside.items()):
        y = 18 + row * step
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y}" y2="{y}"/>')
        parts.append(words(left - 10, y + 4, name if len(name) <= 22 else name[:21] + "…", "end"))
        parts += [
            f'<circle fill="var(--bar)" fill-opacity="0.55" r="4" cx="{at(value):.1f}" cy="{y}"/>'
            for value in values
        ]
        if values:
            mean = 10 ** float(np.mean(np.log10(values))) if log else float(np.mean(values))
            parts.append(
                f'<line stroke="var(--accent)" stroke-width="3" x1="{at(mean):.1f}" x2="{at(mean):.1f}" '
                f'y1="{y - 8}" y2="{y + 8}"/>'
            )
    for value, anchor in ((min(everything), "start"), (max(everything), "end")):
        parts.append(words(at(value), bottom + 14, f"{value:.4g}", anchor))
    return figure("".join(parts), what, label, bottom + 20)


def bars(values: Mapping[str, float], what: str, form: str, spoken: str | None = None) -> str:
    """Bars with their numbers.

    Args:
        values: By name.
        what: The caption.
        form: Format of the numbers that are drawn, such as "{:.1f} %".
        spoken: Format of the numbers for readers who do not see the picture; by default `form`.

    Returns:
        An SVG figure.
    """
    label = "; ".join(f"{name}: {(spoken or form).format(value)}" for name, value in values.items())
    return charts.bars(list(values), list(values.values()), what, label, form=form)


def _legend(names: Sequence[str]) -> str:
    return (
        '<p class="faint">'
        + " &nbsp; ".join(
            f'<svg width="26" height="10" viewBox="0 0 26 10" aria-hidden="true"><line '
            f'stroke="{stroke}" stroke-width="2.2" stroke-dasharray="{dashes}" x1="0" x2="26" y1="5" y2="5"/>'
            f"</svg> {text(name)}"
            for (stroke, dashes), name in zip(_STROKES, names, strict=False)
        )
        + "</p>"
    )
