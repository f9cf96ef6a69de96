"""Small charts as SVG inside a page; colours and fonts come from the page's style."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10

from bilinear.inspection.page import text

_WIDTH, _HEIGHT = 420, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 14, 34


def curve(values: Sequence[float], marked: int | None, what: str, label: str) -> str:
    """A value an epoch as a line, with one epoch marked (its place, from 0)."""
    ticks = _ticks(min(values), max(values))
    low, high = min(ticks[0], *values), max(ticks[-1], *values)

    def x(at: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * at / max(1, len(values) - 1)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (value - low) / (high - low)

    parts = []
    for tick in ticks:
        level = f"{y(tick):.1f}"
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{level}" y2="{level}"/>')
        parts.append(_words(_LEFT - 8, y(tick) + 4, f"{tick:.6g}", "end"))
    last = len(values) - 1
    parts += [
        _words(x(place), _HEIGHT - 16, str(place + 1), "end" if place and place == last else "middle")
        for place in sorted({0, last // 2, last})
    ]
    points = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in enumerate(values))
    parts.append(f'<polyline class="line" points="{points}"/>')
    if marked is not None and 0 <= marked < len(values):
        parts.append(f'<circle class="mark" r="5" cx="{x(marked):.1f}" cy="{y(values[marked]):.1f}"/>')
    parts.append(_words((_LEFT + _WIDTH) / 2, _HEIGHT - 2, "epoch"))
    return _figure("".join(parts), what, label)


def bars(labels: Sequence[str], values: Sequence[float], what: str, label: str, form: str = "{:g}") -> str:
    """One upright bar a value, its number above it; labels are thinned out where they would touch."""
    highest = max([*values, 0.0]) or 1.0
    room = (_WIDTH - 2 * _RIGHT) / max(1, len(values))
    numbers = [form.format(value) for value in values]
    every, every_number = (
        -(-7 * max(map(len, names), default=1) // int(room)) for names in (labels, numbers)
    )
    parts = []
    for at, (name, value) in enumerate(zip(labels, values, strict=True)):
        height = (_HEIGHT - 2 * _TOP - _BOTTOM) * max(value, 0.0) / highest
        x, y = _RIGHT + at * room, _HEIGHT - _BOTTOM - height
        parts.append(
            f'<rect class="bar" x="{x + 0.1 * room:.1f}" y="{y:.1f}" width="{0.8 * room:.1f}" '
            f'height="{height:.1f}"><title>{text(name)}: {numbers[at]}</title></rect>'
        )
        if every_number == 1:
            parts.append(_words(x + room / 2, y - 5, numbers[at]))
        if at % every == 0:
            parts.append(_words(x + room / 2, _HEIGHT - 16, name))
    return _figure("".join(parts), what, label)


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


def _words(x: float, y: float, words: str, anchor: str = "middle") -> str:
    return f'<text class="tick" text-anchor="{anchor}" x="{x:.1f}" y="{y:.1f}">{text(words)}</text>'


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers that span low..high or lie just outside."""
    spread = (high - low) or abs(high) or 1.0
    power = 10.0 ** floor(log10(spread / 3))
    step = next(times * power for times in (1, 2, 5, 10) if spread / (times * power) <= 5)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [n * step for n in range(first, max(last, first + 1) + 1)]


def _figure(drawn: str, what: str, label: str) -> str:
    return (
        f'<figure class="chart"><figcaption>{text(what)}</figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{text(label)}">{drawn}</svg></figure>'
    )
