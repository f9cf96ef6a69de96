"""Compiled kernels on disk: found again wherever the sources are the same, never where they differ."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from subprocess import PIPE
from typing import Any

import pytest
from numba.core.caching import NullCache
from numba.core.dispatcher import Dispatcher

import bilinear.compiling as compiling
import bilinear.kernels
from bilinear.kernels import cache

INNER = """
from bilinear.kernels.cache import njit

@njit(cache=True)
def inner(x):
    return x + 1
"""
OUTER = """
from bilinear.kernels.cache import njit
from bilinear.kernels.inner import inner

@njit(cache=True)
def outer(x):
    return 10 * inner(x)
"""
CALLS = """
import json, os, sys
import numba
numba.njit(lambda x: x + 1)(1)  # imported once for all
for line in sys.stdin:
    site, environment = json.loads(line)
    if not os.fork():
        os.environ.update(environment)
        numba.config.CACHE_DIR = environment.get("NUMBA_CACHE_DIR", "")
        sys.path.insert(0, site)
        try:
            from bilinear.kernels.outer import outer
            print(json.dumps([outer(1), sum(outer.stats.cache_misses.values())]), flush=True)
        except BaseException as error:
            print(json.dumps([repr(error), -1]), flush=True)
        os._exit(0)
    os.wait()
"""
Called = Callable[..., tuple[Any, int]]


@pytest.fixture(scope="module")
def called() -> Iterator[Called]:
    """called(site, users' folder), in a new process: (outer kernel's result, times it was compiled)."""
    kept = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "NUMBA_CACHE_DIR")
    }
    command = [sys.executable, "-P", "-B", "-c", CALLS]
    with subprocess.Popen(command, env=kept, stdin=PIPE, stdout=PIPE, text=True, bufsize=1) as processes:
        assert processes.stdin is not None
        assert processes.stdout is not None

        def call(site: Path, users: Path, **environment: str) -> tuple[Any, int]:
            environment |= {"XDG_CACHE_HOME": str(users), "HOME": str(users)}
            processes.stdin.write(json.dumps([str(site), environment]) + "\n")  # type: ignore[union-attr]
            result, misses = json.loads(processes.stdout.readline())  # type: ignore[union-attr]
            return result, misses

        yield call
        processes.stdin.close()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with a package of the same name, whose kernels are two lines long."""
    kernels = tmp_path / "site" / "bilinear" / "kernels"
    kernels.mkdir(parents=True)
    for folder in (kernels, kernels.parent):
        (folder / "__init__.py").touch()
    shutil.copy(cache.__file__, kernels)
    shutil.copy(compiling.__file__, kernels.parent)
    (kernels / "inner.py").write_text(INNER)
    (kernels / "outer.py").write_text(OUTER)
    return tmp_path / "site"


def compiled(folder: Path) -> list[Path]:
    return list(folder.rglob("*.nbc"))


def test_a_change_in_an_imported_kernel_is_seen_and_nothing_is_compiled_without_one(
    called: Called, package: Path, tmp_path: Path
) -> None:
    users = tmp_path / "users"
    assert called(package, users) == (20, 1)
    assert called(package, users) == (20, 0)
    inner = package / "bilinear" / "kernels" / "inner.py"
    inner.write_text(INNER.replace("x + 1", "x + 2"))
    assert called(package, users) == (30, 1)
    inner.write_text(INNER)  # back again, as after a look at another branch
    assert called(package, users) == (20, 0)
    assert not compiled(users)


def test_a_folder_that_was_moved_and_touched_finds_its_compiled_kernels(
    called: Called, package: Path, tmp_path: Path
) -> None:
    assert called(package, tmp_path / "users") == (20, 1)
    moved = tmp_path / "elsewhere"
    shutil.move(package, moved)
    for file in moved.rglob("*.py"):
        os.utime(file, (1, 1))
    assert called(moved, tmp_path / "users") == (20, 0)


def test_where_the_package_is_read_only_the_users_cache_is_taken(
    called: Called, package: Path, tmp_path: Path
) -> None:
    users, in_tree = tmp_path / "users", package / "bilinear" / "kernels" / "__pycache__"
    assert called(package, users) == (20, 1)
    ready = tmp_path / "ready"
    in_tree.rename(ready)
    in_tree.write_text("a file, so that no folder can be made here, whatever the rights")
    assert called(package, users) == (20, 1)
    assert called(package, users) == (20, 0)
    assert compiled(users)
    # compiled before it became read-only, as in an image: nothing is compiled for the next user
    in_tree.unlink()
    ready.rename(in_tree)
    assert called(package, tmp_path / "another") == (20, 0)


def test_where_nothing_can_be_written_kernels_are_compiled_and_work(
    called: Called, package: Path, tmp_path: Path
) -> None:
    for place in (package / "bilinear" / "kernels" / "__pycache__", tmp_path / "users"):
        place.write_text("no folder")
    for _ in range(2):
        assert called(package, tmp_path / "users") == (20, 1)


def test_kernels_in_an_archive_are_kept_in_the_users_cache(
    called: Called, package: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "site.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for source in package.rglob("*.py"):
            file.write(source, source.relative_to(package))
    assert called(archive, tmp_path / "users") == (20, 1)
    assert called(archive, tmp_path / "users") == (20, 0)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x80\x04\x95"], ids=["empty", "text", "cut off"])
def test_a_damaged_file_is_compiled_again(
    called: Called, package: Path, tmp_path: Path, content: bytes
) -> None:
    folder = tmp_path / "chosen"
    assert called(package, tmp_path, NUMBA_CACHE_DIR=str(folder)) == (20, 1)
    for file in [*folder.rglob("*.nbi"), *folder.rglob("*.nbc")]:
        file.write_bytes(content)
    assert called(package, tmp_path, NUMBA_CACHE_DIR=str(folder)) == (20, 1)


def test_folders_of_old_sources_do_not_pile_up(tmp_path: Path) -> None:
    for n in range(9):
        folder = tmp_path / f"bilinear-kernels-{n}"
        cache._make(folder)
        os.utime(folder, (n, n))
    (tmp_path / "not-ours").mkdir()
    cache._make(tmp_path / "bilinear-kernels-new")
    kept = {"not-ours", *(f"bilinear-kernels-{n}" for n in (6, 7, 8, "new"))}
    assert {folder.name for folder in tmp_path.iterdir()} == kept


def test_every_kernel_on_disk_is_kept_under_the_hash_of_all() -> None:
    values = [
        value
        for module in iter_modules(bilinear.kernels.__path__)
        for value in vars(import_module(f"bilinear.kernels.{module.name}")).values()
    ]
    values += [kernel for value in values if isinstance(value, dict) for kernel in value.values()]
    found = [value for value in values if isinstance(value, Dispatcher)]
    found = [kernel for kernel in found if not isinstance(kernel._cache, NullCache)]
    assert len(found) > 50
    assert {type(kernel._cache) for kernel in found} == {cache.KernelCache}
