"""A file on disk, checked and made plain: unpacked, UTF-8, without a byte-order mark."""

from __future__ import annotations

import codecs
import difflib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Literal

from bilinear.data.reading.archives import SUFFIXES, chunks, compression, only_member, refuse_foreign
from bilinear.errors import DataError, EmptyDataError, FileFormatError, ParameterValueError

Kind = Literal["text", "json", "parquet"]

_LONGEST_LINE = 1 << 26
_MOST_UNPACKED = 1 << 30
_MOST_RATIO = 1000

_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_TABLES = {
    ".csv",
    ".tsv",
    ".tab",
    ".dat",
    ".txt",
    ".data",
    ".item",
    ".user",
    ".base",
    ".test",
    ".inter",
    ".mtx",
}
_LINES = {".jsonl", ".ndjson", ".jsonlines", ".json"}


@dataclass(frozen=True)
class PlainFile:
    """`path` is the file itself where it was plain already, else a copy in `folder`."""

    path: Path
    folder: Path
    label: str
    kind: Kind
    suffix: str
    n_lines: int | None
    """Line ends of a text file; None where they are not newlines."""
    has_quotes: bool
    rest: tuple[PlainFile, ...] = ()
    """The other files of a pattern or a folder, of the same kind."""

    @property
    def paths(self) -> list[Path]:
        """Of all files."""
        return [self.path, *(file.path for file in self.rest)]

    def joined(self, n_head: int) -> PlainFile:
        """All files of text as one, with the first `n_head` lines, the same in each, only once.

        Raises:
            FileFormatError: they are not the same.
        """
        if not self.rest:
            return self
        path, head = self.folder / "joined", b""
        with path.open("wb") as out:
            for n, file in enumerate((self, *self.rest)):
                with file.path.open("rb") as stream:
                    first = b"".join(stream.readline() for _ in range(n_head))
                    if n and first.strip() != head.strip():
                        raise FileFormatError(
                            f"{file.label}: begins with {first.decode()[:80]!r}, the first file of "
                            f"{self.label} with {head.decode()[:80]!r}; read files of one kind together, "
                            "by a pattern for their names"
                        )
                    if not n:
                        head = first
                        out.write(first)
                    shutil.copyfileobj(stream, out, 1 << 20)
                    if out.tell() and not _ends_with_newline(file.path):
                        out.write(b"\n")
        counts = [file.n_lines for file in (self, *self.rest)]
        n_lines = None if None in counts else sum(filter(None, counts)) - n_head * len(self.rest)
        has_quotes = any(file.has_quotes for file in (self, *self.rest))
        return replace(self, path=path, n_lines=n_lines, has_quotes=has_quotes, rest=())


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


@contextmanager
def opened(source: str | Path, encoding: str | None) -> Iterator[PlainFile]:
    """Checks a file from its first to its last byte, and keeps a temporary folder while it is read.

    A pattern such as "parts/*.csv", or a folder of Parquet files, is several files, by name.

    With `encoding` None, text is UTF-8 if it is valid UTF-8, else Latin-1. Cost: one pass; a
    compressed or recoded file needs disk space for its plain copy in the temporary directory.

    Raises:
        DataError: no such file, a folder of others, or not readable.
        EmptyDataError, FileFormatError: empty, cut off, damaged, binary, or in another encoding.
    """
    _codec(encoding or "utf-8")
    paths = _files(source)
    with tempfile.TemporaryDirectory(prefix="bilinear-") as temporary:
        folder = Path(temporary)
        first, *rest = (_plain(path, folder, f"table{n}", encoding) for n, path in enumerate(paths))
        for file in rest:
            if file.kind != first.kind:
                raise FileFormatError(
                    f"{source}: {first.label} is {first.kind}, {file.label} is {file.kind}; "
                    "read files of one kind together"
                )
        label = f"{Path(source).name} ({len(paths)} files)" if rest else first.label
        yield replace(first, label=label, rest=tuple(rest))


def _plain(path: Path, folder: Path, copy: str, encoding: str | None) -> PlainFile:
    codec, label = _codec(encoding or "utf-8"), path.name
    try:
        try:
            plain, head, name, seen = _make_plain(path, folder / copy, label, codec)
        except _NotUtf8 as error:
            if encoding is not None:
                raise FileFormatError(str(error)) from None
            plain, head, name, seen = _make_plain(path, folder / copy, label, _codec("latin-1"))
    except OSError as error:
        full = (
            f"; unpacking and recoding need room in {folder.parent}: set TMPDIR to a folder with more"
            if error.errno == errno.ENOSPC
            else ""
        )
        raise DataError(f"{label}: cannot be read: {error.strerror or error}{full}") from error
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    suffix = next((s for s in reversed(suffixes) if s not in SUFFIXES), "")
    kind = _kind(head, suffix, label)
    if kind == "parquet" and codec != "utf-8":
        raise ParameterValueError(f"{label}: encoding={encoding!r} is for text files; Parquet has its own")
    n_lines = None if seen.has_other_ends else seen.n_lines
    return PlainFile(plain, folder, label, kind, suffix, n_lines, seen.has_quotes)


def _files(source: str | Path) -> list[Path]:
    """The files that a path, a pattern or a folder of Parquet files names, in the order of their names."""
    path = Path(source)
    with suppress(OSError, ValueError):  # the check below words them
        if path.is_dir():
            entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith((".", "_")))
            if entries and all(entry.suffix.lower() in (".parquet", ".pq") for entry in entries):
                return entries
        elif set("*?[") & set(str(source)) and not path.exists():
            found = Path(path.anchor).glob(str(path.relative_to(path.anchor)))
            if files := sorted(one for one in found if one.is_file()):
                return files
    _check_is_file(path)
    return [path]


class _NotUtf8(Exception):
    """Inside this module only: `encoding=None` tries Latin-1 next."""


def _check_is_file(path: Path) -> None:
    try:
        is_folder, exists = path.is_dir(), path.exists()
        around = path if is_folder else path.parent
        names = (
            sorted(entry.name for entry in around.iterdir())
            if around.is_dir() and (is_folder or not exists)
            else []
        )
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise DataError(f"{str(path)!r}: cannot be read: {error}") from error
    if is_folder:
        tables = [name for name in names if Path(name).suffix.lower() in _TABLES | _LINES | {".parquet"}][:5]
        hint = f", such as {', '.join(tables)}" if tables else ""
        pattern = f"; several files of one kind with a pattern: {str(path / '*.csv')!r}" if tables else ""
        raise DataError(f"{path}: this is a folder; name the file in it{hint}{pattern}")
    if exists:
        return
    near = difflib.get_close_matches(path.name, names, 1)
    raise DataError(f"{path}: no such file" + (f"; did you mean {near[0]}?" if near else ""))


@dataclass
class _Seen:
    """What a pass over a text file has counted."""

    n_lines: int = 0
    line_bytes: int = 0
    has_quotes: bool = False
    has_other_ends: bool = False

    def add(self, chunk: bytes, label: str) -> None:
        self.has_quotes = self.has_quotes or b'"' in chunk
        if b"\r" in chunk and not self.has_other_ends:
            self.has_other_ends = chunk.count(b"\r") != chunk.count(b"\r\n")
        n_lines = chunk.count(b"\n")
        end = chunk.rfind(b"\n") if n_lines else chunk.rfind(b"\r")
        self.line_bytes = len(chunk) - end - 1 + (self.line_bytes if end < 0 else 0)
        if self.line_bytes > _LONGEST_LINE:
            raise FileFormatError(
                f"{label}, line {self.n_lines + n_lines + 1}: this row is longer than {_LONGEST_LINE >> 20} "
                "MB, which no row of a table is; look whether its line ends are missing"
            )
        self.n_lines += n_lines


def _make_plain(path: Path, copy: Path, label: str, codec: str) -> tuple[Path, bytes, str, _Seen]:
    """The plain file (the same or a copy), its first bytes and its name; all of it is verified."""
    with ExitStack() as stack:
        stream: BinaryIO = stack.enter_context(path.open("rb"))
        head = stream.peek(512)  # type: ignore[attr-defined]
        if not head:
            raise EmptyDataError(f"{label}: the file is empty")
        packed, name = compression(head, path.suffix, label), path.name
        is_zip = head.startswith(b"PK\x03\x04")
        if is_zip:
            stream, name = stack.enter_context(only_member(path, label))
        content = chunks(stream, packed, label)
        first = b""
        while len(first) < 512 and (more := next(content, b"")):
            first += more
        if not first:
            raise EmptyDataError(f"{label}: the file is empty once unpacked")
        content = chain([first], content)
        seen, n_bytes = _Seen(), 0
        most = _MOST_UNPACKED + _MOST_RATIO * path.stat().st_size if packed or is_zip else None
        # A pipe can be read once only; the engine would take a pattern for several files.
        same = (
            packed is None and not is_zip and path.is_file() and not set("*?[{") & set(str(path.absolute()))
        )
        if not first.startswith(b"PAR1"):
            refuse_foreign(first, label)
            marked = any(first.startswith(mark) for mark in _MARKS)
            same = same and codec == "utf-8" and not marked
            content = _utf8(content, first, label, codec, seen)
        start = b""
        with nullcontext() if same else copy.open("wb") as out:
            for chunk in content:
                start = start or chunk[:4096]
                n_bytes += len(chunk)
                if most is not None and n_bytes > most:
                    raise FileFormatError(
                        f"{label}: it unpacks to more than {_MOST_RATIO:,} times its size and {most:,} "
                        "bytes, as no table does; if it is right, unpack it yourself and give the file"
                    )
                if out is not None:
                    out.write(chunk)
    if not start.strip():
        raise EmptyDataError(f"{label}: the file holds nothing but blanks")
    seen.n_lines += seen.line_bytes > 0  # the last line may have no end
    return path if same else copy, start, name, seen


def _utf8(content: Iterable[bytes], first: bytes, label: str, codec: str, seen: _Seen) -> Iterator[bytes]:
    """The content as UTF-8 without a mark; refuses null bytes and what cannot be decoded."""
    mark = next((name for mark, name in _MARKS.items() if first.startswith(mark)), None)
    if mark and not codec.startswith(mark):
        raise FileFormatError(
            f"{label}: the file starts with the mark of {mark.upper()}; read it with encoding={mark!r} "
            f"(--encoding {mark})"
        )
    decoder = codecs.getincrementaldecoder("utf-8-sig" if mark == "utf-8" else codec)()
    skip_decoding = codec == "utf-8" and not mark
    for raw in chain(content, [b""]):
        try:
            if skip_decoding and raw.isascii() and decoder.getstate()[0] == b"":
                chunk = raw
            else:
                text = decoder.decode(raw, final=not raw)
                chunk = raw if skip_decoding else text.encode()
        except UnicodeError as error:
            raise _undecodable(error, first, seen.n_lines + 1, label, codec) from None
        if b"\0" in chunk:
            line = seen.n_lines + 1 + chunk[: chunk.index(b"\0")].count(b"\n")
            raise FileFormatError(
                f"{label}, line {line}: a null byte; the file is binary, damaged, or text in another "
                "encoding, such as encoding='utf-16' (--encoding utf-16)"
            )
        seen.add(chunk, label)
        yield chunk


def _undecodable(error: UnicodeError, first: bytes, line: int, label: str, codec: str) -> Exception:
    head = first[:4096]
    n_control = sum(byte < 9 or 13 < byte < 32 for byte in head)
    if n_control > len(head) // 20:
        return FileFormatError(
            f"{label}: binary data, no table of text; bilinear reads CSV, TSV, .dat, JSON lines and Parquet, "
            "each also as .gz, .zst, .bz2, .xz or .zip"
        )
    what = "a character"
    if isinstance(error, UnicodeDecodeError):
        line += error.object[: error.start].count(b"\n")
        what = f"byte 0x{error.object[error.start]:02x}"
    if codec == "utf-8":
        return _NotUtf8(
            f"{label}, line {line}: {what} is not valid UTF-8; the file is in another encoding, or mixes "
            "two: try encoding='latin-1' (--encoding latin-1)"
        )
    return FileFormatError(f"{label}, line {line}: {what} is not valid {codec}; give the right encoding")


def _codec(encoding: str) -> str:
    """The normal name of a text encoding; `"utf-8"` also for its variant with a mark."""
    try:
        codec = codecs.lookup(encoding)
        "".encode(codec.name)  # refuses codecs between bytes, such as base64
    except (LookupError, TypeError, ValueError):
        raise ParameterValueError(
            f"encoding={encoding!r} is not the name of a text encoding; 'utf-8' and 'latin-1' are usual"
        ) from None
    return "utf-8" if codec.name == "utf-8-sig" else codec.name


def _kind(head: bytes, suffix: str, label: str) -> Kind:
    """By the content; the name decides only where the content fits several."""
    if head.startswith(b"PAR1"):
        return "parquet"
    if suffix in (".parquet", ".pq"):
        raise FileFormatError(f"{label}: named {suffix}, but not a Parquet file (it starts {head[:12]!r})")
    start = head.lstrip()
    if suffix in _LINES:
        if start.startswith(b"["):
            raise FileFormatError(
                f"{label}: one JSON array; write one object a line instead (JSON lines): jq -c '.[]'"
            )
        if not start.startswith(b"{"):
            raise FileFormatError(
                f"{label}: named {suffix}, but its first line is not a JSON object (it starts {start[:12]!r})"
            )
        return "json"
    return "json" if suffix not in _TABLES and start.startswith(b"{") else "text"
