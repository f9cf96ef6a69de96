"""Files that appear under their name whole, or not at all."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from bilinear.errors import ParameterValueError
from bilinear.memory import shown

if sys.platform != "win32":
    import fcntl

TEMPORARY_NAME = re.compile(r"\.[0-9a-f]{16}\.bilinear-tmp")
_UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS)


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write to; it takes the name `path` when the block ends without an error.

    Until then the name keeps what it had, whatever happens to this process. The file gets the
    mode that `open` would give it. A symbolic link is followed, not replaced.

    Raises:
        ParameterValueError: `path` is a device, a pipe or a folder, which cannot be replaced.
        OSError: the disk is full, the folder is read-only, ...; the message names `path`.
    Cost:
        one fsync of the file and one of its folder.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        raise ParameterValueError(f"{path} is not a regular file; choose the name of a file to write")
    with temporary_file(path) as file:
        yield file
        publish(file, path)


@contextmanager
def temporary_file(path: Path) -> Iterator[BinaryIO]:
    """A file in the folder of `path`, removed when the block ends unless `publish` named it."""
    temporary = path.parent / f".{secrets.token_hex(8)}.bilinear-tmp"
    try:
        try:
            # Closed by hand: when the disk is full, closing raises too, and the file must still go.
            with temporary.open("xb") as file:
                yield file
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        # The system's error carries no path, or one that the caller has never heard of.
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def publish(file: BinaryIO, path: Path) -> None:
    """Puts a temporary file on disk and gives it its name; an older file of the name is replaced."""
    file.flush()
    os.fsync(file.fileno())
    file.close()
    Path(file.name).replace(path)
    sync_folder(path.parent)


def link_or_copy(source: Path, path: Path) -> None:
    """Gives a file on disk the name `path` as well, or a copy of it where the system has no hard links.

    An older file of the name is replaced. Both names may lead to one file: replace it, never write into it.
    """
    source = Path(os.path.realpath(source))
    temporary = path.parent / f".{secrets.token_hex(8)}.bilinear-tmp"
    try:
        with source.open("rb") as file:
            os.fsync(file.fileno())
        temporary.hardlink_to(source)
    except OSError:  # not allowed, not there (also on Windows), or too many names
        with source.open("rb") as original, temporary_file(path) as file:
            shutil.copyfileobj(original, file, 1 << 20)
            publish(file, path)
        return
    try:
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # a rename onto the same file does nothing
    sync_folder(path.parent)


def require_room(folder: Path, n_bytes: int, what: str) -> None:
    """Raises OSError (ENOSPC) where the disk of `folder` has not `n_bytes` left for `what`."""
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise OSError(
            errno.ENOSPC,
            f"{what} needs about {shown(n_bytes)} of disk more, and {shown(free)} is free; free some, or "
            "choose a folder on another disk",
            str(folder),
        )


def reserve(file: BinaryIO, n_bytes: int) -> None:
    """Gives a file a length, with its room on the disk where the system can promise it."""
    if sys.platform == "linux":
        try:
            os.posix_fallocate(file.fileno(), 0, n_bytes)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
    file.truncate(n_bytes)


def sync_folder(folder: Path) -> None:
    """Makes names given in `folder` survive a power cut, where the system can."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Waits until no other thread or process holds `folder`, then holds it for the block.

    The system releases the lock of a killed process. Where it has none (Windows, some network
    file systems) writers do not wait for one another.
    """
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            yield
            return
        try:
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child may share the descriptor
    finally:
        os.close(descriptor)


def hold(folder: Path) -> int | None:
    """Holds a folder against other processes and callers, without waiting.

    It is held until `release`, or the end of this process, however that comes. `locked` waits for it, so
    a folder is used for one of the two. Where the system has no locks (see `locked`), nothing is held.

    Returns:
        what `release` takes, or None: another process holds the folder.
    Raises:
        OSError: the folder is not there or cannot be opened.
    """
    if sys.platform == "win32":
        return -1
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            os.close(descriptor)
            raise
    return descriptor


def release(held: int) -> None:
    """Ends what `hold` began."""
    if sys.platform != "win32":
        with suppress(OSError):  # where the system has no locks, and nothing is held
            fcntl.flock(held, fcntl.LOCK_UN)  # a forked child may share the descriptor
        os.close(held)


@contextmanager
def new_folder(out: Path, doing: str, *, keep: bool = False) -> Iterator[Path]:
    """A hidden folder to fill; it takes the name `out` when the block ends without an error.

    Args:
        doing: what is done, such as "packing"; messages say so.
        keep: whether what was written stays after an error or a kill, for the next call with the name
            to go on from. Without it, it is removed, a killed process's by the next call.
    Raises:
        ParameterValueError: the name is taken, or another process is writing it.
        OSError: the disk is full, there is no such folder, ...
    """
    if out.exists():
        raise ParameterValueError(f"{out} is there already; remove it, or choose another name with --out")
    if not out.resolve().parent.is_dir():
        raise ParameterValueError(f"{out}: no folder {out.resolve().parent}; make it first")
    work = out.parent / f".{out.name}.bilinear-tmp"
    work.mkdir(exist_ok=True)
    held = hold(work)
    if held is None:
        raise ParameterValueError(
            f"{out}: another process is {doing} it; wait for it, or choose another --out"
        )
    try:
        if not keep:
            for left in work.iterdir():
                left.unlink()
        yield work
        sync_folder(work)
        work.rename(out)
        sync_folder(out.parent)
    except BaseException:
        if not keep:
            shutil.rmtree(work, ignore_errors=True)
        raise
    finally:
        release(held)


def is_regular(path: Path) -> bool:
    """Whether a file is there that can be read to an end (FileNotFoundError when nothing is)."""
    return stat.S_ISREG(path.stat().st_mode)
