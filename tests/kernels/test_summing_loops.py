"""Bits do not depend on where arrays lie in memory: a loop that sums in vector lanes stores nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.resources import files

import pytest

KERNELS = sorted(file.name for file in files("bilinear.kernels").iterdir() if file.name.endswith(".py"))


def is_fast(function: ast.FunctionDef) -> bool:
    """Whether its sums may be reordered: by its own decorator, or by that of what it is inlined into."""
    text = " ".join(ast.unparse(decorator) for decorator in function.decorator_list)
    return "_FAST" in text or "inline='always'" in text


def loops(node: ast.AST) -> Iterator[ast.For]:
    return (part for part in ast.walk(node) if isinstance(part, ast.For))


def names(*nodes: ast.AST) -> set[str]:
    return {part.id for node in nodes for part in ast.walk(node) if isinstance(part, ast.Name)}


def sums_and_stores(loop: ast.For) -> bool:
    """Whether it adds up numbers over its rounds, in a variable or one entry, and writes to an array."""
    assigned = [part for part in ast.walk(loop) if isinstance(part, ast.Assign)]
    targets = [target for part in assigned for target in part.targets]
    anew = names(loop.target, *(target for target in targets if not isinstance(target, ast.Subscript)))
    stores, sums = any(isinstance(target, ast.Subscript) for target in targets), False
    for part in ast.walk(loop):
        if isinstance(part, ast.AugAssign):
            counts = isinstance(part.value, (ast.Compare, ast.Constant))
            entry = isinstance(part.target, ast.Subscript)
            stores |= entry
            sums |= not counts and not names(part.target.slice if entry else part.target) & anew
    return sums and stores


@pytest.mark.parametrize("file", KERNELS)
def test_a_loop_that_sums_stores_nothing(file: str) -> None:
    tree = ast.parse(files("bilinear.kernels").joinpath(file).read_text())
    functions = [part for part in ast.walk(tree) if isinstance(part, ast.FunctionDef) and is_fast(part)]
    innermost = [(one, loop) for one in functions for loop in loops(one) if len(list(loops(loop))) == 1]
    assert [f"{one.name}, line {loop.lineno}" for one, loop in innermost if sums_and_stores(loop)] == []


def test_both_in_one_loop_is_found() -> None:
    both = """
for n in range(3):
    a[n] = b[n]
    total += b[n]
"""
    in_one_entry = """
for n in range(3):
    a[k] += b[n]
"""
    neither = """
for n in range(3):
    k = c[n]
    a[k] += b[n]
    count += 1
"""
    found = [sums_and_stores(next(loops(ast.parse(text)))) for text in (both, in_one_entry, neither)]
    assert found == [True, True, False]
