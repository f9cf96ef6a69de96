"""The reference: a page for every part of the public interface, under the names that users import."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import bilinear

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def conf() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_conf", DOCS / "conf.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_public_name_is_on_one_page(conf: ModuleType) -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    shown: list[str] = []
    for page in sorted((DOCS / "reference").glob("*.md")):
        assert "@reference@" in page.read_text(encoding="utf-8")
        assert f"reference/{page.stem}" in index, f"docs/index.md lacks reference/{page.stem}"
        if page.stem not in {"errors", "lab"}:
            shown += conf.public_names(page.stem)
    pages = {"__version__", "errors", "lab"}
    assert sorted(shown) == sorted(f"bilinear.{name}" for name in set(bilinear.__all__) - pages)


@pytest.mark.parametrize("page", ["estimators", "lab"])
def test_the_reference_names_where_to_import_from(conf: ModuleType, page: str) -> None:
    directives = [line for line in conf.reference(page).splitlines() if line.startswith(".. auto")]
    assert len(directives) == len(conf.public_names(page)) > 10
    depth = 2 if page == "lab" else 1
    assert {line.split(":: ")[1].count(".") for line in directives} == {depth}
