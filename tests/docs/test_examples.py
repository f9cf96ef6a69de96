"""Examples in docstrings: every public class and function has one, and it does what it shows."""

from __future__ import annotations

import doctest
import inspect
from typing import Any

import pytest

from bilinear import lab

PUBLIC: dict[str, Any] = {f"bilinear.lab.{name}": getattr(lab, name) for name in lab.public_names()}
ELSEWHERE = {"bilinear.lab.L2"}
"""Names of other rooms."""


def examples(name: str) -> list[doctest.DocTest]:
    value = PUBLIC[name]
    finder = doctest.DocTestFinder(recurse=False)
    return [test for test in finder.find(value, name, globs={}) if test.examples]


@pytest.mark.parametrize("name", sorted(PUBLIC.keys() - ELSEWHERE))
def test_a_public_name_is_documented_with_an_example(name: str) -> None:
    """An example of its own, or the name of the one that uses it."""
    text = inspect.getdoc(PUBLIC[name]) or ""
    assert text[:1].isupper() or text[:1] in "`("
    if not examples(name):
        seen = text.partition("See `")[2].partition("`")[0]
        assert seen, f"{name} has no example"
        assert examples(f"bilinear.lab.{seen}"), f"{name}: {seen} has no example"
    if inspect.isfunction(PUBLIC[name]):
        for parameter in inspect.signature(PUBLIC[name]).parameters:
            assert f"\n    {parameter}: " in text, f"{name}: {parameter} is not described"


@pytest.mark.parametrize("name", [name for name in sorted(PUBLIC) if examples(name)])
def test_an_example_does_what_it_shows(name: str) -> None:
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for test in examples(name):
        runner.run(test, out=said.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)
