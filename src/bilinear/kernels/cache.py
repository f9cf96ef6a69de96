"""`njit` for the kernels: compiled code is kept on disk under a hash of the sources of all kernels.

Numba's own key is the source of the one file that holds a function. Compiled code also contains what that
file imports, so after a change there Numba goes on running the old code. Here the key is the content of this
whole folder, beside what Numba adds: its version, the processor and the types. It names neither a path nor a
time, so a folder that was copied, moved or upgraded finds its compiled kernels again.
"""

from __future__ import annotations

import gc
import hashlib
import shutil
import uuid
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numba
from numba.core import caching, config, event
from numba.misc.appdirs import AppDirs

from bilinear.compiling import begin, end

_PREFIX = "bilinear-kernels-"
_KEPT = 4  # folders of other sources: a branch and back, two installations beside each other


def njit(*, cache: bool = False, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit`, with `cache=True` kept as this module says.

    No wrapper for C is compiled. That for Python is, for helpers of kernels too: without it a call from
    Python reads memory that is not there.
    """

    def compiled(function: Callable[..., Any]) -> Any:
        kernel = numba.njit(no_cfunc_wrapper=True, **options)(function)
        if cache and SOURCES:
            kernel._cache = KernelCache(function)
        return kernel

    return compiled


def sources_hash() -> str:
    """A hash of the files of this folder, or "" where the model has none (inside a frozen program)."""
    code = [file for file in files("bilinear.kernels").iterdir() if file.name.endswith((".py", ".pyc"))]
    digest = hashlib.sha256()
    for file in sorted(code, key=lambda file: file.name):
        content = file.read_bytes()
        digest.update(f"{file.name} {len(content)}\n".encode() + content)
    return digest.hexdigest() if code else ""


def places() -> list[Path]:
    """Folders for compiled kernels: read in this order, written to the first that can be written.

    NUMBA_CACHE_DIR alone where it is set; else `__pycache__` beside the kernels and, where that is
    read-only or inside an archive, the user's cache folder.
    """
    if config.CACHE_DIR:
        return [Path(config.CACHE_DIR)]
    beside, users = Path(__file__).parent, Path(AppDirs("numba", appauthor=False).user_cache_dir)
    return [beside / "__pycache__", users] if beside.is_dir() else [users]


class _Shelf(caching.IndexDataCacheFile):  # type: ignore[misc]
    """The compiled code of one function in one folder."""

    def __init__(self, folder: Path, name: str, stamp: str) -> None:
        super().__init__(str(folder), name, stamp)
        self.folder = folder

    def _load_index(self) -> dict[Any, str]:
        try:
            return super()._load_index()  # type: ignore[no-any-return]
        except Exception:  # unreadable or damaged
            return {}

    def _data_name(self, number: int) -> str:
        # two processes that compile at the same time would take the same number
        return self._data_name_pattern.format(number=uuid.uuid4().int % 10**12)  # type: ignore[no-any-return]


class _Anywhere(caching._CacheLocator):  # type: ignore[misc]
    """What Numba asks of a place; the folders are those of `KernelCache`."""

    def __init__(self, function: Callable[..., Any], file: str) -> None:
        self._py_file, self._line = file, function.__code__.co_firstlineno

    def get_cache_path(self) -> str:
        return str(places()[0])

    def get_source_stamp(self) -> str:
        return SOURCES

    def get_disambiguator(self) -> str:
        return str(self._line)

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> _Anywhere:
        return cls(function, file)


class _Impl(caching.CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = (_Anywhere,)


class KernelCache(caching.FunctionCache):  # type: ignore[misc]
    """The compiled code of one function. A fault of the disk costs time, never the work in progress."""

    _impl_class = _Impl

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        name = self._impl.filename_base
        self._shelves = [_Shelf(place / (_PREFIX + SOURCES[:16]), name, SOURCES) for place in places()]

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        target_context.refresh()
        key = self._index_key(sig, target_context.codegen())
        for shelf in self._shelves if self._enabled else ():
            try:
                found = shelf.load(key)
                if found is not None:
                    return self._impl.rebuild(target_context, found)
            except Exception:  # damaged, in any way that a pickle can be: compile again
                continue
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        if not (self._enabled and self._impl.check_cachable(data)):
            return
        key, reduced = self._index_key(sig, data.codegen), self._impl.reduce(data)
        for shelf in self._shelves:
            try:
                _make(shelf.folder)
                shelf.save(key, reduced)
            except OSError:
                continue
            return

    def flush(self) -> None:
        for shelf in self._shelves:
            shelf.flush()


class _Watch(event.Listener):  # type: ignore[misc]
    """Tells `bilinear.compiling` when a kernel, with all that it calls, is compiled."""

    def __init__(self) -> None:
        self._depth = 0  # compiling goes on with Numba's lock held, and within itself
        self._collecting = False

    def on_start(self, started: Any) -> None:
        if self._depth or isinstance(started.data["dispatcher"]._cache, KernelCache):
            self._depth += 1
        if self._depth == 1:
            begin()
            self._collecting = gc.isenabled()
            gc.disable()  # a tenth of the time, for objects that are in use until the end

    def on_end(self, ended: Any) -> None:
        if self._depth == 1:
            end()
            if self._collecting:
                gc.enable()
        self._depth = max(0, self._depth - 1)


def _make(folder: Path) -> None:
    """Makes the folder; when it is new, removes those that were used longest ago."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return
    others = [other for other in folder.parent.glob(_PREFIX + "*") if other != folder]
    for old in sorted(others, key=_last_written, reverse=True)[_KEPT - 1 :]:
        shutil.rmtree(old, ignore_errors=True)


def _last_written(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:  # another process removed it
        return 0.0


SOURCES = sources_hash()
event.register("numba:compile", _Watch())
