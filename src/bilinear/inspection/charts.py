"""Small charts as SVG inside a page; colours and fonts come from the page's style."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, floor, log10

from bilinear.inspection.page import text

WIDTH, HEIGHT = 420, 230
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 14, 34


def curve(values: Sequence[float], marked: int | None, what: str, label: str) -> str:
    """A value an epoch as a line, with one epoch marked (its place, from 0)."""
    y, parts = levels(values)

    def x(at: float) -> float:
        return across(at, max(1, len(values) - 1))

    last = len(values) - 1
    parts += [
        words(x(place), HEIGHT - 16, str(place + 1), "end" if place and place == last else "middle")
        for place in sorted({0, last // 2, last})
    ]
    points = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in enumerate(values))
    parts.append(f'<polyline class="line" points="{points}"/>')
    if marked is not None and 0 <= marked < len(values):
        parts.append(f'<circle class="mark" r="5" cx="{x(marked):.1f}" cy="{y(values[marked]):.1f}"/>')
    parts.append(words((LEFT + WIDTH) / 2, HEIGHT - 2, "epoch"))
    return figure("".join(parts), what, label)


def bars(labels: Sequence[str], values: Sequence[float], what: str, label: str, form: str = "{:g}") -> str:
    """One upright bar a value, its number above it; labels are thinned out where they would touch."""
    highest = max([*values, 0.0]) or 1.0
    room = (WIDTH - 2 * RIGHT) / max(1, len(values))
    numbers = [form.format(value) for value in values]
    every, every_number = (
        -(-7 * max(map(len, names), default=1) // int(room)) for names in (labels, numbers)
    )
    parts = []
    for at, (name, value) in enumerate(zip(labels, values, strict=True)):
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


def interval(value: float, low: float, high: float, left: float, right: float) -> str:
    """A dot with its interval on a scale from `left` to `right`; the numbers stand beside it."""
    width = (right - left) or 1.0
    at, start, end = (10 + 180 * (number - left) / width for number in (value, low, high))
    return (
        '<svg class="interval" viewBox="0 0 200 20" aria-hidden="true">'
        f'<line class="grid" x1="0" x2="200" y1="10" y2="10"/>'
        f'<line class="reach" x1="{start:.1f}" x2="{end:.1f}" y1="10" y2="10"/>'
        f'<circle class="mark" r="5" cx="{at:.1f}" cy="10"/></svg>'
    )


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
