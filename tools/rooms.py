"""Writes the table of packages into docs/develop/map.md, from pyproject.toml and the packages' docstrings.

python tools/rooms.py            # rewrites the table
"""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAP = ROOT / "docs" / "develop" / "map.md"
BEGIN, END = "<!-- tools/rooms.py -->\n", "<!-- end -->"


def table() -> str:
    """A row for each package and top-level module, from the highest layer to the lowest."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(one["layers"] for one in contracts if "containers" not in one)
    rows = ["| layer | | |", "|--:|---|---|"]
    for above, layer in enumerate(layers):
        for name in layer.split(" | "):
            home = ROOT / "src" / Path(*name.split("."))
            rows.append(row(str(len(layers) - above), home))
            rows += [row("", inner.parent) for inner in sorted(home.glob("*/**/__init__.py"))]
    return "\n".join(rows) + "\n"


def row(layer: str, home: Path) -> str:
    """`| layer | name | first line of the docstring |`."""
    source = home / "__init__.py" if home.is_dir() else home.with_suffix(".py")
    text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    if not text:
        raise SystemExit(
            f"{source.relative_to(ROOT)} has no docstring; its first line is for docs/develop/map.md"
        )
    name = ".".join(home.relative_to(ROOT / "src").parts)
    return f"| {layer} | `{name}` | {text.splitlines()[0]} |"


def with_table(page: str) -> str:
    """The page with the table as it is now."""
    pattern = re.compile(f"(?<={re.escape(BEGIN)}).*?(?={re.escape(END)})", re.DOTALL)
    return pattern.sub(lambda _: table(), page)


if __name__ == "__main__":
    MAP.write_text(with_table(MAP.read_text(encoding="utf-8")), encoding="utf-8")
