"""The reference: a page for every part of the public interface, docstrings turned into what Sphinx reads."""

from __future__ import annotations

import importlib.util
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import bilinear

DOCS = Path(__file__).parents[2] / "docs"


def loaded(name: str) -> ModuleType:
    sys.path.insert(0, str(DOCS))
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def conf() -> ModuleType:
    return loaded("conf")


def test_every_public_name_has_a_page(conf: ModuleType) -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    packages = {home.split(".")[1] for home in bilinear._HOMES}
    for package in [*packages, "lab"]:
        page = DOCS / "reference" / f"{package}.md"
        assert page.is_file(), f"{page} is missing: add it, and to docs/index.md"
        assert "@reference@" in page.read_text(encoding="utf-8")
        assert f"reference/{package}" in index
    named = {name.rsplit(".", 1)[1] for package in packages for name in conf.public_names(package)}
    assert named == set(bilinear.__all__) - {"__version__"}


def test_names_of_the_lab_are_there(conf: ModuleType) -> None:
    for full in conf.public_names("lab"):
        home, name = full.rsplit(".", 1)
        assert getattr(import_module(home), name).__doc__


def test_docstrings_keep_formulas_sections_and_entries() -> None:
    as_rst = loaded("docstrings").as_rst
    lines = as_rst(
        [
            "Norms |U|^2 of `factors_`, a_b and x*y, recall@10.",
            "",
            "    L = |x|",
            "      + 1",
            "",
            "Args:",
            "    at, direction: of equal `shape`;",
            "        second line.",
            "    seed: a number.",
            "",
            "    A paragraph.",
            "Cost: O(n).",
            "Examples:",
            "    A sum:",
            "",
            "    >>> 1 + 1  # |two|",
            "    2",
            "",
            "Learned attributes, beyond those of `Other`:",
            "    model_: a model.",
            "",
            "Last words.",
        ]
    )
    assert lines[0] == r"Norms \|U\|^2 of ``factors_``, a\_b and x\*y, recall\@10."
    assert lines[2:6] == ["::", "", "   L = |x|", "     + 1"]
    assert "**Args**" in lines
    at = lines.index("   ``at, direction``")
    assert lines[at + 1 : at + 3] == ["      of equal ``shape``;", "      second line."]
    assert "   ``seed``" in lines
    assert "   A paragraph." in lines
    assert lines[lines.index("**Cost**") + 2] == "   O(n)."
    shown = lines.index("**Examples**")
    assert [line for line in lines[shown : shown + 8] if line] == [
        "**Examples**",
        "A sum:",
        ">>> 1 + 1  # |two|",
        "2",
    ]
    assert "**Learned attributes, beyond those of Other**" in lines
    assert lines[-2] == "Last words."
