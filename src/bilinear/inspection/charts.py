"""Charts as SVG inside a page: lines, bars, intervals, dots, heat maps.

The reports, the lab and the served page all draw with these; colours and fonts come from the page's style.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil, floor, isfinite, log10
from typing import Any

import numpy as np

from bilinear.inspection.page import text

WIDTH, HEIGHT = 420, 230
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 14, 34

Points = Sequence[tuple[float, float]]

_STROKES = (
    ("var(--bar)", ""),
    ("var(--accent)", "6 4"),
    ("var(--good)", "2 4"),
    ("var(--faint)", "9 3 2 3"),
)


def bars(values: Mapping[str, float], what: str, form: str = "{:g}", spoken: str | None = None) -> str:
    """One upright bar a value, its number above it; names are thinned out where they would touch.

    Args:
        values: By name.
        what: The caption.
        form: Format of the numbers that are drawn, such as "{:.1f}%".
        spoken: Format of the numbers for readers who do not see the picture; by default `form`.

    Returns:
        An SVG figure.
    """
    label = "; ".join(f"{name}: {(spoken or form).format(value)}" for name, value in values.items())
    labels = list(values)
    highest = max([*values.values(), 0.0]) or 1.0
    room = (WIDTH - 2 * RIGHT) / max(1, len(values))
    numbers = [form.format(value) for value in values.values()]
    every, every_number = (
        -(-7 * max(map(len, names), default=1) // int(room)) for names in (labels, numbers)
    )
    parts = []
    for at, (name, value) in enumerate(values.items()):
        height = (HEIGHT - 2 * TOP - BOTTOM) * max(value, 0.0) / highest
        x, y = RIGHT + at * room, HEIGHT - BOTTOM - height
        parts.append(
            f'<rect class="bar" x="{x + 0.1 * room:.1f}" y="{y:.1f}" width="{0.8 * room:.1f}" '
            f'height="{height:.1f}"><title>{text(name)}: {numbers[at]}</title></rect>'
        )
        if every_number == 1:
            parts.append(words(x + room / 2, y - 5, numbers[at]))
        if at % every == 0:
            parts.append(words(x + room / 2, HEIGHT - 16, name))
    return figure("".join(parts), what, label)


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
        marked: An x to mark, with a line and a dot on each series.

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
        if marked is not None:
            parts += [
                f'<circle class="mark" r="5" cx="{at(x):.1f}" cy="{up(y):.1f}"/>'
                for x, y in points
                if x == marked
            ]
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
        parts.append(words(left - 10, y + 4, _short(name), "end"))
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


def intervals(rows: Mapping[str, tuple[float, float, float]], what: str, form: str = "{:.4f}") -> str:
    """A dot with its interval for each name, over one scale.

    Args:
        rows: (value, low, high) by name.
        what: The caption.
        form: Format of the numbers for readers who do not see the picture.

    Returns:
        An SVG figure, or "" where there are no rows.
    """
    if not rows:
        return ""
    marks = _ticks(min(low for _, low, _ in rows.values()), max(high for _, _, high in rows.values()))
    left, right, step = 150, WIDTH - 24, 26
    bottom = 8 + step * len(rows)

    def at(value: float) -> float:
        return left + (right - left) * (value - marks[0]) / (marks[-1] - marks[0])

    parts = []
    for mark in marks:
        parts.append(f'<line class="grid" x1="{at(mark):.1f}" x2="{at(mark):.1f}" y1="4" y2="{bottom}"/>')
        parts.append(words(at(mark), bottom + 15, f"{mark:.6g}"))
    for row, (name, (value, low, high)) in enumerate(rows.items()):
        y = 18 + row * step
        parts.append(words(left - 10, y + 4, _short(name), "end"))
        parts.append(f'<line class="reach" x1="{at(low):.1f}" x2="{at(high):.1f}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="at" r="5" cx="{at(value):.1f}" cy="{y}"/>')
    said = (f"{name}: {', '.join(map(form.format, bounds))}" for name, bounds in rows.items())
    return figure(
        "".join(parts), what, "value, low and high end of the interval: " + "; ".join(said), bottom + 20
    )


def _short(name: str) -> str:
    return name if len(name) <= 22 else name[:21] + "…"


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


def across(distance: float, whole: float) -> float:
    """Position on a scale of that length."""
    return LEFT + (WIDTH - LEFT - RIGHT) * distance / whole


def levels(values: Sequence[float]) -> tuple[Callable[[float], float], list[str]]:
    """(where a value is drawn, grid and numbers of round levels that span the values)."""
    marks = _ticks(min(values), max(values))
    low, high = min(marks[0], *values), max(marks[-1], *values)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low)

    parts = []
    for mark in marks:
        level = f"{y(mark):.1f}"
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{level}" y2="{level}"/>')
        parts.append(words(LEFT - 8, y(mark) + 4, f"{mark:.6g}", "end"))
    return y, parts


def words(x: float, y: float, what: str, anchor: str = "middle") -> str:
    """Small text beside what is drawn."""
    return f'<text class="tick" text-anchor="{anchor}" x="{x:.1f}" y="{y:.1f}">{text(what)}</text>'


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers that span low..high or lie just outside."""
    spread = (high - low) or abs(high) or 1.0
    power = 10.0 ** floor(log10(spread / 3))
    step = next(times * power for times in (1, 2, 5, 10) if spread / (times * power) <= 5)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [n * step for n in range(first, max(last, first + 1) + 1)]


def figure(drawn: str, what: str, label: str, height: int = HEIGHT) -> str:
    """A drawing with its caption; `label` is what a reader without the picture hears."""
    return (
        f'<figure class="chart"><figcaption>{text(what)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{text(label)}">{drawn}</svg></figure>'
    )
