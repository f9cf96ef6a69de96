"""Words of docstrings and messages: the mechanical rules of docs/develop/conventions.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "bilinear"
QUESTION = re.compile(r"(Who|Whom|Whose|What|Where|How|Which|Why|When|Nobody)\b")
PERSON = re.compile(r"\b(who|whom|nobody|somebody|told)\b", re.IGNORECASE)
NOT_ANY = re.compile(
    r"(?<!there )(?<!answer )\b(is|are) no (?!longer|more|better|worse|dearer|less)", re.IGNORECASE
)


@cache
def nodes() -> list[tuple[str, ast.AST]]:
    """What may hold a docstring, and every text, each with its place."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef, ast.Constant)
    return [
        (f"{path.relative_to(SOURCE)}:{getattr(node, 'lineno', 1)}", node)
        for path in sorted(SOURCE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, kinds)
    ]


def docstrings() -> Iterator[tuple[str, ast.AST, str]]:
    for where, node in nodes():
        if not isinstance(node, ast.Constant) and (text := ast.get_docstring(node)):  # type: ignore[arg-type]
            yield where, node, text


def strings() -> Iterator[tuple[str, str]]:
    """All texts: docstrings, messages, help; those of an f-string piece by piece."""
    for where, node in nodes():
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield where, " ".join(node.value.split())


def test_docstrings_of_modules_begin_with_a_noun_or_a_verb() -> None:
    wrong = [
        f"{where}: {text.splitlines()[0]}"
        for where, node, text in docstrings()
        if isinstance(node, ast.Module) and QUESTION.match(text)
    ]
    assert not wrong, "\n".join(wrong)


def test_first_lines_of_docstrings_name_things_and_not_persons() -> None:
    wrong = [
        f"{where}: {text.splitlines()[0]}"
        for where, _, text in docstrings()
        if PERSON.search(text.splitlines()[0])
    ]
    assert not wrong, "\n".join(wrong)


def test_is_not_and_never_is_no() -> None:
    wrong = [f"{where}: {text[:200]}" for where, text in strings() if NOT_ANY.search(text)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("rule", "bad", "good"),
    [
        (QUESTION.match, "Who is told how training goes", "Progress reporters"),
        (PERSON.search, "Models for whoever and whom", "Users whose ratings are known"),
        (NOT_ANY.search, "the loss is no finite number", "the loss is no longer finite; there is no file"),
    ],
)
def test_the_rules_can_fail(rule, bad, good) -> None:  # type: ignore[no-untyped-def]
    assert rule(bad)
    assert not rule(good)
