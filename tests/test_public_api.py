"""The names users may rely on are there, documented, and cheap to import."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bilinear
from bilinear import errors


def drawn_tree(text):
    """{class: parents} as the docstring of `errors` draws it."""
    tree, above = {}, []
    for line in text.split("```")[1].strip().splitlines():
        name = line.lstrip("│├└─ ").split()[0]
        depth = (len(line) - len(line.lstrip("│├└─ "))) // 4
        more = re.match(rf".*{name} \((.*?)\)", line)  # built-in parents, right behind the name
        above = [*above[:depth], name]
        tree[name] = above[-2:-1] + (more[1].split(", ") if more else [])
    return tree


def test_the_tree_of_errors_is_drawn_as_it_is():
    tree = drawn_tree(errors.__doc__)
    assert sorted(tree) == sorted(errors.__all__)
    for name, parents in tree.items():
        bases = [base.__name__ for base in getattr(errors, name).__bases__]
        assert bases == (parents or ["Exception"]), name


def test_every_error_is_listed_documented_and_below_the_root():
    classes = {name for name, value in vars(errors).items() if inspect.isclass(value)}
    assert classes == set(errors.__all__)
    for name in errors.__all__:
        error = getattr(errors, name)
        assert issubclass(error, errors.BilinearError)
        assert error.__doc__
        assert str(error("what and where")) == "what and where"


@pytest.mark.parametrize("name", sorted(set(bilinear.__all__) - {"__version__"}))
def test_every_public_name_is_there_and_documented(name):
    value = getattr(bilinear, name)
    assert value.__doc__
    home = value.__name__ if inspect.ismodule(value) else value.__module__
    assert home.startswith("bilinear.")


def test_dir_lists_the_public_names_alone():
    code = "import bilinear; bilinear.EASE, bilinear.lab; print(*dir(bilinear))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == sorted(bilinear.__all__)


def test_the_lab_is_there_without_an_import_of_its_own():
    code = "import bilinear; assert 'lab' in dir(bilinear); print(bilinear.lab.report.__module__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "bilinear.lab.reporting.report"


def test_type_checkers_see_the_names_that_run():
    """The stub has the form that `__init__.py` reads, and type checkers take its names for public."""
    tree = ast.parse(Path(bilinear.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    homes = {alias.asname: (node.module, alias.name) for node in imports for alias in node.names}
    assert homes == {name: (home, name) for name, home in bilinear._HOME_OF.items()}
    assert bilinear.__all__ == ["__version__", *sorted(homes)]
    assert sum(len(node.names) for node in imports) == len(homes), "a name has two homes"


def test_a_name_that_is_not_there_says_so():
    with pytest.raises(AttributeError, match="module 'bilinear' has no attribute 'Nothing'"):
        _ = bilinear.Nothing


def test_importing_bilinear_loads_nothing_heavy():
    """What takes time is loaded by the first name that needs it."""
    code = "import sys; import bilinear; print(*sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in run.stdout.split()}
    assert not loaded & {"numpy", "scipy", "numba", "duckdb", "narwhals", "rich", "typer", "matplotlib"}
