"""Our docstrings as reStructuredText: plain words, sections such as `Args:`, formulas indented.

They are written to be read in the source, where `|U|^2` is a norm and `x` is code. Sphinx would take
both for something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from textwrap import dedent

_SECTION = re.compile(
    r"^(Args|Attributes|Returns|Raises|Examples|Cost|Source|Learned attributes[^:]*): ?(.*)$"
)
_ENTRY = re.compile(r"^([A-Za-z_][\w.*]*(?: \([^)]*\))?(?:, [A-Za-z_][\w.*]*(?: \([^)]*\))?)*): (.*)$")
_CODE = re.compile(r"(`[^`]+`)")


def as_rst(lines: list[str]) -> list[str]:
    """The lines of one docstring, indented from zero, for Sphinx."""
    out: list[str] = []
    for name, body in _sections(lines):
        if name is None:
            out += _prose(body)
            continue
        out += [f"**{_escaped(name.replace('`', ''))}**", ""]
        if name == "Examples":
            out += _examples(body)
            continue
        entries = list(_entries(body))
        out += [f"   {line}" for entry in entries for line in entry]
    return out


def _examples(body: list[str]) -> list[str]:
    """Python sessions as they are, words between them as prose."""
    out: list[str] = []
    for block in re.split(r"\n\s*\n", dedent("\n".join(body)).strip("\n")):
        out += [*(block.splitlines() if block.startswith(">>>") else _prose(block.splitlines())), ""]
    return out


def _sections(lines: list[str]) -> Iterator[tuple[str | None, list[str]]]:
    """(name, lines) of each section; None for words between them."""
    name: str | None = None
    body: list[str] = []
    for line in lines:
        found = _SECTION.match(line)
        ends = name is not None and line.strip() and not line.startswith(" ") and _after_break(body)
        if found or ends:
            yield name, body
            name, body = (found[1], [f"    {found[2]}"] if found[2] else []) if found else (None, [line])
        else:
            body.append(line)
    yield name, body


def _after_break(body: list[str]) -> bool:
    """Whether the section has ended: an empty line, or nothing but what stood on its first line."""
    return not body or not body[-1].strip() or body[-1].startswith(" ")


def _entries(body: list[str]) -> Iterator[list[str]]:
    """`name: text` entries as definitions, anything else as paragraphs."""
    lines = dedent("\n".join(body)).splitlines()
    words: list[str] = []
    for line in [*lines, ""]:
        found = _ENTRY.match(line)
        if found or not line.strip():
            if words:
                yield [*words, ""]
            words = []
        if found:
            words = [f"``{found[1]}``", f"   {_escaped(found[2])}"]
        elif line.strip():
            inside = "   " if words and words[0].startswith("``") and len(words) > 1 else ""
            words.append(inside + _escaped(line.strip()))


def _prose(lines: list[str]) -> list[str]:
    """Paragraphs, formulas and tables indented by the writer, and fenced code."""
    out: list[str] = []
    blocks = re.split(r"\n\s*\n", "\n".join(lines).strip("\n"))
    for block in blocks:
        if not block.strip():
            continue
        if block.startswith("```"):
            code = block.strip("`").split("\n", 1)
            out += [
                f".. code-block:: {code[0] or 'text'}",
                "",
                *(f"   {line}" for line in code[1].splitlines()),
            ]
        elif block.startswith("    "):
            out += ["::", "", *(f"   {line}" for line in dedent(block).splitlines())]
        elif re.match(r"[-*] ", block.lstrip()):
            out += [_bullet(line) for line in dedent(block).splitlines()]
        else:
            out += [_escaped(line.strip()) for line in block.splitlines()]
        out.append("")
    return out


def _bullet(line: str) -> str:
    mark = re.match(r"([-*] )(.*)$", line)
    return mark[1] + _escaped(mark[2]) if mark else "  " + _escaped(line.strip())


def _escaped(line: str) -> str:
    parts = _CODE.split(line)
    return "".join(
        f"``{part.strip('`')}``" if number % 2 else re.sub(r"([\\*|_`@])", r"\\\1", part)
        for number, part in enumerate(parts)
    )
