"""The tutorials run as they are, print what they show, and their notebooks hold the same."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TOOL = runpy.run_path(str(ROOT / "tools" / "notebooks.py"))
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
_NUMBER = re.compile(r"[-+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?")


def numbers(text: str) -> list[float]:
    return [float(found.replace(",", "")) for found in _NUMBER.findall(text)]


def words(text: str) -> list[str]:
    return _NUMBER.sub("#", text).split()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_prints_what_it_shows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for part in TOOL["parts"](page.read_text(encoding="utf-8")):
        if part.is_code:
            exec(compile(part.text, page, "exec"), names)
            printed = capsys.readouterr().out
            assert words(printed) == words(part.output), part.text
            assert numbers(printed) == pytest.approx(numbers(part.output), rel=0.02, abs=0.02), part.text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_notebook_is_its_page(page: Path) -> None:
    stored = page.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert stored == TOOL["notebook"](page.read_text(encoding="utf-8")), "run python tools/notebooks.py"
    cells = json.loads(stored)["cells"]
    assert {cell["cell_type"] for cell in cells} == {"code", "markdown"}
    assert all(set(cell) >= {"id", "metadata", "source"} for cell in cells)


def test_there_are_five_of_them() -> None:
    assert [page.stem for page in PAGES] == ["clicks", "fastai", "lab", "ratings", "serving"]
