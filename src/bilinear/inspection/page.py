"""One HTML file with everything in it: style, script and data, and no way out to a network."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from bilinear.files import atomic_write
from bilinear.inspection.items import shown

# JSON is a part of JavaScript but not of HTML: `</script>` inside a title must not end the script.
_UNSAFE = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})

MAP_PLACE = (
    '<div id="map"><noscript><p>The map is drawn by a script of this page; scripts are switched off.</p>'
    "</noscript></div>"
)
"""The element that the script draws a map into."""


def asset(name: str) -> str:
    """The text of a file of `web/`, with plain line ends."""
    return files("bilinear.inspection").joinpath("web", name).read_text("utf-8")


def write_page(path: Path, title: str, body: str, data: Mapping[str, Any] | None, kind: str) -> None:
    """Writes a page whole or not at all.

    Args:
        title: text.
        body: trusted HTML, in which every text of the data is escaped already.
        data: what the map shows, or None for a page without one.
        kind: class of the body element.

    The page carries a Content-Security-Policy that allows its own style and script by their
    hashes and nothing else, so that a browser would refuse whatever a hostile title tried.
    """
    style, script = asset("page.css"), asset("map.js") if data is not None else ""
    page = Template(asset("page.html")).substitute(
        title=text(title),
        kind=kind,
        style=style,
        style_hash=_hash(style),
        script_hash=_hash(script),
        script=script,
        body=body + _meanings(body),
        data=embedded(data),
    )
    with atomic_write(path) as file:
        file.write(page.encode())


@cache
def _glossary() -> dict[str, str]:
    found: dict[str, str] = json.loads(asset("glossary.json"))
    return found


def term(name: str, words: str | None = None) -> str:
    """A term of the glossary as HTML; pressed, it shows the meaning, which `write_page` adds."""
    _ = _glossary()[name]
    return (
        f'<button type="button" class="term" popovertarget="{_term_id(name)}">{text(words or name)}</button>'
    )


def _term_id(name: str) -> str:
    return "term-" + re.sub(r"\W+", "-", name.lower())


def _meanings(body: str) -> str:
    """What the terms of a page mean, as boxes that their buttons show; a browser needs no script for that."""
    used = {
        _term_id(name): f"<strong>{text(name)}</strong> {text(meaning)}"
        for name, meaning in _glossary().items()
        if f'popovertarget="{_term_id(name)}"' in body
    }
    return "".join(f'<div class="meaning" id="{at}" popover>{said}</div>' for at, said in used.items())


def scrolling(rows: str) -> str:
    """A table of these rows, trusted HTML, that scrolls by touch, wheel or keys where it is too wide."""
    return f'<div class="scroll" tabindex="0" role="group" aria-label="Table"><table>{rows}</table></div>'


def embedded(data: Any) -> str:
    """JSON that may stand inside a script element: ASCII, without `<`, `>` and `&`."""
    return json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":")).translate(_UNSAFE)


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign, the minus as wide as the plus."""
    return f"{value:+.{digits}f}".replace("-", "−")


def text(value: object) -> str:
    """Text as HTML; what could turn or hide the text around it is replaced, see `shown`."""
    return escape(shown(str(value)))


def _hash(source: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
