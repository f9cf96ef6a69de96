"""Sphinx: the documents as they are, and a reference made of the docstrings."""

from __future__ import annotations

import inspect
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from docstrings import as_rst

import bilinear

project = "bilinear"
version = release = bilinear.__version__
project_copyright = "the bilinear contributors"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "thread/template.md"]
html_theme = "furo"
html_title = "bilinear"
html_static_path = ["_static"]
html_css_files = ["docs.css"]
html_theme_options = {"navigation_with_keys": True}
html_show_sphinx = False
autodoc_typehints = "none"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
myst_heading_anchors = 3
nitpicky = False


def public_names(package: str) -> list[str]:
    """Full names of the public objects whose home is in `bilinear.<package>`."""
    if package == "lab":
        names = bilinear.lab.public_names()
        homes = {name: getattr(bilinear.lab, name).__module__ for name in names}
        return [f"bilinear.lab.{name}" for name in names if homes[name].startswith("bilinear.lab.")]
    homes = bilinear._HOMES.items()
    return [f"{home}.{name}" for home, names in homes if home.split(".")[1] == package for name in names]


def reference(package: str) -> str:
    """Directives for the public objects of a package."""
    out = ["```{eval-rst}"]
    for full in public_names(package):
        home, name = full.rsplit(".", 1)
        value = getattr(import_module(home), name)
        kind = "autoclass" if inspect.isclass(value) else "autofunction"
        out += [f".. {kind}:: {full}"]
        if kind == "autoclass":
            out += ["   :members:"]
        out += [""]
    return "\n".join([*out, "```", ""])


def fill_reference(app: Any, name: str, source: list[str]) -> None:
    if name.startswith("reference/"):
        source[0] = source[0].replace("@reference@", reference(name.removeprefix("reference/")))


def rewrite(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    lines[:] = as_rst(lines)


def setup(app: Any) -> dict[str, bool]:
    app.connect("source-read", fill_reference)
    app.connect("autodoc-process-docstring", rewrite)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
