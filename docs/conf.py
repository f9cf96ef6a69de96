"""Sphinx: the documents as they are, and a reference made from the docstrings of the public names."""

from __future__ import annotations

import inspect
from typing import Any

import bilinear
from bilinear import lab

project = "bilinear"
version = release = bilinear.__version__
project_copyright = "the bilinear contributors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "thread/template.md"]
html_theme = "furo"
html_title = "bilinear"
html_static_path = ["_static"]
html_css_files = ["docs.css"]
html_theme_options = {"navigation_with_keys": True}
html_show_sphinx = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"
default_role = "code"
napoleon_numpy_docstring = False
napoleon_use_param = False  # "users, items: ..." documents two arguments at once
napoleon_use_rtype = False
napoleon_custom_sections = [("Learned attributes", "params_style"), "Cost", "Source"]
myst_heading_anchors = 3
nitpicky = False


def public_names(package: str) -> list[str]:
    """Public objects that a page of the reference documents, by the names under which users import them.

    Args:
        package: "lab", or the package of `bilinear` that the objects are defined in.
    """
    if package == "lab":
        return [f"bilinear.lab.{name}" for name in lab.public_names()]
    homes = bilinear._HOME_OF.items()
    return [f"bilinear.{name}" for name, home in homes if home.split(".")[1:2] == [package]]


def reference(package: str) -> str:
    """Directives for the public objects of a package."""
    if package == "errors":
        return "```{eval-rst}\n.. automodule:: bilinear.errors\n   :members:\n   :show-inheritance:\n```\n"
    out = ["```{eval-rst}"]
    for full in public_names(package):
        value = getattr(lab if package == "lab" else bilinear, full.rpartition(".")[2])
        if inspect.isclass(value):
            out += [f".. autoclass:: {full}", "   :members:", ""]
        else:
            out += [f".. autofunction:: {full}", ""]
    return "\n".join([*out, "```", ""])


def fill_reference(app: Any, name: str, source: list[str]) -> None:
    if name.startswith("reference/"):
        source[0] = source[0].replace("@reference@", reference(name.removeprefix("reference/")))


def setup(app: Any) -> dict[str, bool]:
    app.connect("source-read", fill_reference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
