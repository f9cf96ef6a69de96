"""Writes the notebooks of docs/tutorials from their pages: code cells with the output that the page shows.

    python tools/notebooks.py            # writes them
    python tools/notebooks.py --outputs  # runs the pages first, and puts what they print below their blocks

The tests run the pages, compare what they print, and compare the notebooks with the pages.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

FOLDER = Path(__file__).parents[1] / "docs" / "tutorials"
_CODE = re.compile(
    r"(?P<skipped><!-- not run: [^\n]+ -->\n)?^```python\n(?P<code>.*?)^```\n"
    r"(?:\n```text\n(?P<output>.*?)^```\n)?",
    re.DOTALL | re.MULTILINE,
)


class Part(NamedTuple):
    """A text, or code with what it prints."""

    text: str
    is_code: bool
    output: str = ""


def parts(page: str) -> Iterator[Part]:
    """The parts of a page in order; code that is not run stays text."""
    text, end = "", 0
    for found in _CODE.finditer(page):
        text += page[end : found.start()]
        end = found.end()
        if found["skipped"]:
            text += f"```python\n{found['code']}```\n"
            continue
        if text.strip():
            yield Part(text.strip(), False)
        text = ""
        yield Part(found["code"], True, found["output"] or "")
    if rest := (text + page[end:]).strip():
        yield Part(rest, False)


def notebook(page: str) -> str:
    """A notebook of format 4.5 as text, the same for the same page."""
    cells: list[dict[str, Any]] = []
    for part in parts(page):
        cell: dict[str, Any] = {"id": f"cell-{len(cells)}", "metadata": {}}
        if part.is_code:
            shown = {"name": "stdout", "output_type": "stream", "text": part.output.splitlines(True)}
            cell |= {"cell_type": "code", "execution_count": None, "outputs": [shown] if part.output else []}
        else:
            cell["cell_type"] = "markdown"
        text = re.sub(r"\]\((\w+)\.md\)", r"](\1.ipynb)", part.text)
        cells.append(cell | {"source": text.rstrip("\n").splitlines(True)})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def with_outputs(page: str) -> str:
    """The page with what its code prints now; what it writes goes to an empty folder."""
    names: dict[str, Any] = {}

    def run(found: re.Match[str]) -> str:
        if found["skipped"]:
            return found[0]
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(found["code"], names)
        lines = "\n".join(line.rstrip() for line in printed.getvalue().strip("\n").splitlines())
        shown = f"\n```text\n{lines}\n```\n" if lines else ""
        return f"```python\n{found['code']}```\n{shown}"

    before = Path.cwd()
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            return _CODE.sub(run, page)
        finally:
            os.chdir(before)


def main() -> None:
    if unknown := set(sys.argv[1:]) - {"--outputs"}:
        sys.exit(f"unknown: {' '.join(sorted(unknown))}; --outputs, or nothing")
    for path in sorted(FOLDER.glob("*.md")):
        page = path.read_text(encoding="utf-8")
        if "--outputs" in sys.argv[1:]:
            page = with_outputs(page)
            path.write_text(page, encoding="utf-8")
        path.with_suffix(".ipynb").write_text(notebook(page), encoding="utf-8")


if __name__ == "__main__":
    main()
