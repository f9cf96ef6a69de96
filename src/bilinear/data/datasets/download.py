"""One file over HTTP: resumable, checked, and in place only when it is whole."""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import os
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

from bilinear.errors import DownloadError

Progress = Callable[[int, int | None], None]
"""Called with (bytes done, bytes in all or None where the server does not say)."""

PAUSES = (0.5, 2.0, 5.0)
"""Seconds before each further attempt; there are as many retries as pauses."""

_CHUNK = 1 << 16
_PASSING_STATUS = {408, 429, 500, 502, 503, 504}  # may be different in a moment
_UNREACHABLE = {
    errno.ECONNREFUSED,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.EADDRNOTAVAIL,
}

_Result = TypeVar("_Result")


class _Interruption(Exception):
    """An attempt failed in a way that a further one may mend."""

    def __init__(self, reason: str, *, offline: bool = False) -> None:
        super().__init__(reason)
        self.offline = offline


class _Note(NamedTuple):
    """Beside a part: what it is a part of, so that nothing else is appended to it."""

    url: str
    validator: str | None
    total: int | None


def download(
    url: str,
    path: Path,
    *,
    md5: str,
    size: int | None,
    limit: int,
    progress: Progress | None = None,
    timeout: float = 30.0,
) -> None:
    """Fetch `url` to `path`, which appears once the file is whole and its checksum agrees.

    Bytes go to `path`.part beside it. An interrupted part is continued if the server still has
    the same file (its ETag or date, by If-Range), otherwise it is fetched from the start.

    Args:
        md5: the checksum that the file must have.
        size: the bytes that it must have, or None.
        limit: more bytes than this are refused.
        timeout: seconds without a byte after which an attempt has failed.
    Raises:
        DownloadError: no whole file after the retries. What has arrived is kept for the next
            call, except a whole file with a wrong checksum.
    """
    part = path.with_name(path.name + ".part")
    with _opened_alone(part) as file:
        had_bytes = file.seek(0, os.SEEK_END) > 0

        def transfer() -> None:
            _transfer(url, file, _note_path(part), size, limit, progress, timeout)

        _attempt(transfer, url)
        found = _md5(file)
        if found != md5 and had_bytes:  # the old bytes may be at fault
            _forget(file, _note_path(part))
            _attempt(transfer, url)
            found = _md5(file)
        if found != md5:
            _forget(file, _note_path(part))
            raise DownloadError(
                f"{url}: the file that came has MD5 {found}, expected {md5}; it was damaged on the way or "
                "changed at its source, and has been thrown away"
            )
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    _note_path(part).unlink(missing_ok=True)


def published_md5(url: str, *, timeout: float = 30.0) -> str:
    """The checksum in the .md5 file at `url`, of either layout ("<md5>  name", "MD5 (name) = <md5>")."""

    def read() -> bytes:
        with _opened(url, {}, timeout) as response:
            return _read(response, 4_096)

    text = _attempt(read, url).decode("ascii", errors="replace")
    found = re.findall(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])", text.lower())
    if len(found) != 1:
        raise DownloadError(f"{url}: expected one MD5 checksum, found {text[:60]!r}")
    return str(found[0])


def md5_of(path: Path) -> str:
    """The MD5 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return _md5(file)


def _attempt(action: Callable[[], _Result], url: str) -> _Result:
    """`action()`, again after each pause while it is interrupted."""
    pauses, reached = iter(PAUSES), False
    while True:
        try:
            return action()
        except _Interruption as error:
            reached = reached or not error.offline
            if not reached:  # no connection: waiting would only delay the answer
                raise DownloadError(f"{url}: {error}; this machine seems to be offline") from error
            pause = next(pauses, None)
            if pause is None:
                raise DownloadError(f"{url}: {error}; gave up after {len(PAUSES) + 1} attempts") from error
            time.sleep(pause)


def _transfer(
    url: str,
    file: BinaryIO,
    note_path: Path,
    size: int | None,
    limit: int,
    progress: Progress | None,
    timeout: float,
) -> None:
    """One request, appended to what `file` holds if that is a part of the same remote file."""
    done, note = file.seek(0, os.SEEK_END), _read_note(note_path)
    validator = note.validator if note and note.url == url else None
    if note is None or validator is None:  # nothing tells what the part is a part of
        done = 0
    elif done and done == note.total:  # whole, only not yet checked
        return
    wanted = {"Range": f"bytes={done}-", "If-Range": validator} if done and validator else {}
    try:
        response = _opened(url, wanted, timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        _forget(file, note_path)
        raise _Interruption("the server's file is shorter than the part here") from error
    with response:
        if response.status == 206:
            match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
            if not match or int(match[1]) != done:
                _forget(file, note_path)
                raise _Interruption("the server sent another range than asked for")
            total: int | None = int(match[2])
        else:
            done, total = 0, _content_length(response)
        if size is not None and total is not None and total != size:
            _forget(file, note_path)
            raise DownloadError(f"{url}: the server's file has {total:,} bytes, expected {size:,}")
        _check_limit(url, total or 0, limit)
        file.truncate(done)
        file.seek(done)
        if not done:
            note_path.write_text(
                json.dumps(_Note(url, _validator(response), total)._asdict()), encoding="utf-8"
            )
        if progress is not None:
            progress(done, total)
        while chunk := _read(response, _CHUNK):
            _check_limit(url, done + len(chunk), limit)
            file.write(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done, total)
    if total is not None and done != total:
        raise _Interruption(f"the connection closed after {done:,} of {total:,} bytes")
    if size is not None and done != size:
        raise _Interruption(f"the connection closed after {done:,} bytes, expected {size:,}")


def _opened(url: str, headers: dict[str, str], timeout: float) -> Any:
    """The response to a GET, or an error that says whether it is passing, final or offline."""
    request = urllib.request.Request(
        url, headers={"User-Agent": "bilinear", "Accept-Encoding": "identity", **headers}
    )
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            raise
        if error.code in _PASSING_STATUS:
            raise _Interruption(f"the server answers {error.code} {error.reason}") from error
        raise DownloadError(f"{url}: the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _told_apart(error, url) from error
    if url.startswith("https:") and not response.url.startswith("https:"):
        response.close()
        raise DownloadError(f"{url}: the server redirects to {response.url}, which is not encrypted")
    return response


def _read(response: Any, n_bytes: int) -> bytes:
    try:
        data: bytes = response.read(n_bytes)
    except (OSError, http.client.HTTPException) as error:
        raise _told_apart(error, response.url) from error
    return data


def _told_apart(error: Exception, url: str) -> Exception:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return DownloadError(f"{url}: the server's certificate is not valid ({reason.verify_message})")
    if isinstance(reason, TimeoutError):
        return _Interruption("no answer in time")
    offline = isinstance(reason, socket.gaierror) or (
        isinstance(reason, OSError) and reason.errno in _UNREACHABLE
    )
    text = (reason.strerror if isinstance(reason, OSError) else None) or str(reason) or type(reason).__name__
    return _Interruption(text, offline=offline)


def _check_limit(url: str, n_bytes: int, limit: int) -> None:
    if n_bytes > limit:
        raise DownloadError(f"{url}: the file is larger than {limit:,} bytes, far more than expected")


def _content_length(response: Any) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


def _validator(response: Any) -> str | None:
    """What If-Range may hold: a strong ETag, else the date. None: a part cannot be continued."""
    tag: str | None = response.headers.get("ETag")
    date: str | None = response.headers.get("Last-Modified")
    return tag if tag and not tag.startswith("W/") else date


def _note_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_note(path: Path) -> _Note | None:
    try:
        note = _Note(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # absent or damaged: the part is worth nothing
        return None
    return note if isinstance(note.validator, str) and note.validator.isprintable() else None


def _forget(file: BinaryIO, note_path: Path) -> None:
    file.truncate(0)
    note_path.unlink(missing_ok=True)


def _md5(file: BinaryIO) -> str:
    file.seek(0)
    # file_digest wants the buffered reader that every binary open() gives
    return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()  # type: ignore[arg-type]


@contextmanager
def _opened_alone(part: Path) -> Iterator[BinaryIO]:
    """The part open for reading and writing, by one process at a time; removed if left empty."""
    empty = False
    try:
        with os.fdopen(
            os.open(part, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+b"
        ) as file:
            _lock(file, part)
            try:
                yield file
            finally:
                empty = file.seek(0, os.SEEK_END) == 0
    finally:
        if empty:
            part.unlink(missing_ok=True)


def _lock(file: BinaryIO, part: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows: there the checksum alone protects
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DownloadError(
            f"{part}: another process is fetching this file; wait until it is done, then call again"
        ) from None
    except OSError:  # a file system without locks
        return
