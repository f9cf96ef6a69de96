"""No import circle of more than two files: imports inside functions and under TYPE_CHECKING included."""

from __future__ import annotations

from collections.abc import Mapping, Set
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

MOST = 2


def circles(imports: Mapping[str, Set[str]]) -> list[set[str]]:
    """The sets of files that reach one another: strongly connected components of two and more."""
    reach = {name: {name} for name in imports}
    grown = True
    while grown:
        grown = False
        for name, imported in imports.items():
            wider = reach[name].union(*(reach[one] for one in imported))
            grown |= wider != reach[name]
            reach[name] = wider
    found = {frozenset(one for one in reach[name] if name in reach[one]) for name in imports}
    return [set(circle) for circle in found if len(circle) > 1]


def imports_of(package: str, *, for_types: bool = True) -> dict[str, set[str]]:
    """The direct imports of every file, those inside functions and under TYPE_CHECKING included."""
    graph = grimp.build_graph(package, exclude_type_checking_imports=not for_types, cache_dir=None)
    return {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}


def test_circles_are_found_and_chains_are_not() -> None:
    ring = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": {"f"}, "f": {"e"}, "g": set()}
    assert sorted(map(sorted, circles(ring))) == [["a", "b", "c"], ["e", "f"]]
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []


def test_imports_inside_a_function_and_for_types_alone_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ringed").mkdir()
    for name, text in {
        "__init__": "",
        "one": "import ringed.two",
        "two": "import typing\nif typing.TYPE_CHECKING:\n    import ringed.four\nimport ringed.three",
        "three": "def late():\n    from ringed.one import x",
        "four": "import ringed.two",
    }.items():
        (tmp_path / "ringed" / f"{name}.py").write_text(text + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert circles(imports_of("ringed")) == [{f"ringed.{name}" for name in ("one", "two", "three", "four")}]


def test_no_circle_of_more_than_two_files() -> None:
    imports = imports_of("bilinear")
    assert len(imports) > 200
    large = [sorted(circle) for circle in circles(imports) if len(circle) > MOST]
    assert not large, "\n".join(map(str, large))


def test_the_estimators_have_no_circle_at_all() -> None:
    """Also the second opinion of the standard library: an order in which the files could be read exists."""
    found = imports_of("bilinear", for_types=False)
    imports = {name: imported for name, imported in found.items() if ".estimators" in name}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(str(error.args[1]))
