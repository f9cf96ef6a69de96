"""Server, lab, inspection and command line ask a model what it can do, never which class it is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import bilinear
import bilinear.cli.models  # imports every model
from bilinear.estimators.recommender import Recommender

SOURCE = Path(bilinear.__file__).parent
ROOMS = ("serving", "lab", "inspection", "cli")


def below(kind: type) -> set[str]:
    """The names of all classes below one."""
    return {name for one in kind.__subclasses__() for name in {one.__name__} | below(one)}


def checks(source: str, classes: set[str]) -> Iterator[int]:
    """Lines where an object's class is compared with one of these."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id not in ("isinstance", "issubclass"):
                continue
            asked = node.args[1:]
        elif isinstance(node, ast.Compare) and "type(" in ast.unparse(node):
            asked = [node.left, *node.comparators]
        elif isinstance(node, ast.match_case):
            asked = [one.cls for one in ast.walk(node.pattern) if isinstance(one, ast.MatchClass)]
        else:
            continue
        names = {ast.unparse(one).rpartition(".")[2] for root in asked for one in ast.walk(root)}
        if names & classes:
            yield node.pattern.lineno if isinstance(node, ast.match_case) else node.lineno


@pytest.mark.parametrize(
    "source",
    [
        "if isinstance(model, (int, EASE)): pass",
        "x = issubclass(kind, bilinear.EASE)",
        "x = type(model) is EASE",
        "match model:\n    case EASE(): pass",
    ],
)
def test_a_check_of_a_class_is_found(source: str) -> None:
    assert list(checks(source, {"EASE"}))
    assert not list(checks(source, {"Popularity"}))


def test_no_model_is_asked_for_its_class() -> None:
    for name in bilinear.__all__:  # which imports every model
        getattr(bilinear, name)
    classes = below(Recommender)
    assert {"MatrixFactorization", "GlobalMean", "RatingModel", "EASE", "Blend", "AutoRanker"} <= classes
    files = [file for room in ROOMS for file in (SOURCE / room).rglob("*.py")]
    assert len(files) > 80
    found = [
        f"{file.relative_to(SOURCE)}:{line}"
        for file in files
        for line in checks(file.read_text(encoding="utf-8"), classes)
    ]
    assert not found
