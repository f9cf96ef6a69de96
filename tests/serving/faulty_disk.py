"""A disk whose n-th call fails, or is the last one of the process."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

_NEED_ROOM = ("mkdir", "link", "create", "write", "fsync")
_CHANGING = ("mkdir", "link", "create", "write", "rename", "replace", "unlink", "rmdir")
_BY_NAME = ("mkdir", "link", "rename", "replace", "unlink", "rmdir", "open", "listdir")

Fault = Callable[[str], None]


class FaultyDisk:
    """Asks `fault` before each system call on the files under `root`.

    Attributes: n_faults: calls that failed.
    """

    def __init__(self, root: Path, fault: Fault) -> None:
        self._root, self._fault, self.n_faults = str(root), fault, 0

    def call(self, kind: str) -> None:
        try:
            self._fault(kind)
        except OSError:
            self.n_faults += 1
            raise

    @contextmanager
    def mounted(self) -> Iterator[None]:
        """Until the block ends, `os` and `io.open` go through this disk; so do `pathlib` and `shutil`."""
        real = {name: getattr(os, name) for name in (*_BY_NAME, "fsync")}
        opened = io.open
        for name in _BY_NAME:
            setattr(os, name, self._by_name(name, real[name]))

        def fsync(descriptor: int) -> None:
            self.call("fsync")
            real["fsync"](descriptor)

        def open_file(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if not self._is_mine(file):
                return opened(file, mode, *arguments, **options)
            assert "b" in mode
            self.call("read" if "r" in mode else "create")
            raw = _File(file, mode.replace("b", ""), self)
            return io.BufferedReader(raw) if "r" in mode else io.BufferedWriter(raw)

        os.fsync, io.open = fsync, open_file  # type: ignore[assignment]
        try:
            yield
        finally:
            io.open = opened
            for name, function in real.items():
                setattr(os, name, function)

    def _is_mine(self, file: Any) -> bool:
        return isinstance(file, (str, os.PathLike)) and os.fspath(file).startswith(self._root)

    def _by_name(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def called(path: Any = ".", *arguments: Any, **options: Any) -> Any:
            if self._is_mine(path) or options.get("dir_fd") is not None:
                self.call(name)
            return function(path, *arguments, **options)

        return called


class _File(io.FileIO):
    def __init__(self, path: Any, mode: str, disk: FaultyDisk) -> None:
        self._disk = disk
        super().__init__(path, mode)

    def write(self, content: Any) -> int:
        half = memoryview(content)[: len(content) // 2]
        written = super().write(half) if len(half) else 0
        self._disk.call("write")
        return written + super().write(memoryview(content)[written:])

    def readinto(self, into: Any) -> int:
        self._disk.call("read")
        return super().readinto(into)


def fails_at(number: int, code: int) -> Fault:
    """One call fails, whatever it is."""
    calls = count(1)

    def fault(kind: str) -> None:
        if next(calls) == number:
            raise OSError(code, os.strerror(code))

    return fault


def full_from(number: int, code: int) -> Fault:
    """From one of the calls that take room on, nothing more fits; the others work."""
    calls = count(1)

    def fault(kind: str) -> None:
        if kind in _NEED_ROOM and next(calls) >= number:
            raise OSError(code, os.strerror(code))

    return fault


def killed_at(number: int) -> Fault:
    """The process ends before one of the calls that change the disk, in the middle of it if it writes.

    Where it ends between two of them makes no difference.
    """
    calls = count(1)

    def fault(kind: str) -> None:
        if kind in _CHANGING and next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return fault
