"""Examples in docstrings: every public class and function has one, and it does what it shows."""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

import bilinear
from bilinear import errors, inspection, lab, serving

PACKAGES: dict[ModuleType, list[str]] = {
    bilinear: bilinear.__all__,
    errors: errors.__all__,
    inspection: inspection.__all__,
    lab: lab.public_names(),
    serving: serving.__all__,
}


def public() -> Iterator[tuple[str, Any]]:
    """Every public class and function, by the name that users import."""
    for package, names in PACKAGES.items():
        for name in names:
            value = getattr(package, name)
            if inspect.isclass(value) or inspect.isfunction(value):
                yield f"{package.__name__}.{name}", value


def methods(cls: type) -> Iterator[tuple[str, FunctionType]]:
    """Public methods with arguments that need a description, those of the parents included."""
    for parent in reversed(cls.__mro__):
        for name, value in vars(parent).items():
            method = getattr(value, "__func__", value)
            if not name.startswith("_") and inspect.isfunction(method) and "Args:" in (method.__doc__ or ""):
                yield name, method


def examples(value: Any, name: str) -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(recurse=False)
    return [test for test in finder.find(value, name, globs={}) if test.examples]


PUBLIC = dict(public())
METHODS = {
    f"{method.__module__}.{method.__qualname__}": (method, name, cls)
    for cls in PUBLIC.values()
    if inspect.isclass(cls)
    for name, method in methods(cls)
    if method.__module__.startswith("bilinear.")
}
"""Methods, each once: itself, its name, and a public class that has it."""

WITH_EXAMPLES = {
    name: tests
    for name, value in {**PUBLIC, **{name: method for name, (method, _, _) in METHODS.items()}}.items()
    if (tests := examples(value, name))
}


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_public_name_is_documented_with_an_example(name: str) -> None:
    assert name in WITH_EXAMPLES, f"the docstring of {name} has no `>>>` example"
    if name.startswith("bilinear.lab.") and inspect.isfunction(PUBLIC[name]):
        text = inspect.getdoc(PUBLIC[name]) or ""
        for parameter in inspect.signature(PUBLIC[name]).parameters:
            assert f"\n    {parameter}: " in text, f"{name}: {parameter} is not described"


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_method_whose_arguments_are_described_is_shown_in_an_example(name: str) -> None:
    """In one of its own, or in that of the class."""
    _, called, cls = METHODS[name]
    lines = "".join(line.source for test in examples(cls, name) for line in test.examples)
    assert name in WITH_EXAMPLES or f".{called}(" in lines, f"{name} has no `>>>` example"


@pytest.mark.parametrize("name", sorted(WITH_EXAMPLES))
def test_an_example_does_what_it_shows(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pasted, in an empty folder; every line of it."""
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for test in WITH_EXAMPLES[name]:
        assert not any(doctest.SKIP in line.options for line in test.examples)
        runner.run(test, out=said.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)
