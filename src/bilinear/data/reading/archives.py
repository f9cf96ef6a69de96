"""Compressed files as streams of bytes that are whole, or an error: never a silent first half."""

from __future__ import annotations

import bz2
import lzma
import sys
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from bilinear.errors import FileFormatError

CHUNK = 1 << 20

_SLICE = 1 << 11  # zstd makes at most 32,768 bytes of one
_WINDOW = 1 << 27

_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}
_NAMED = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bzip2", ".xz": "xz"}
SUFFIXES = (*_NAMED, ".zip")
_REFUSED = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it first",
    b"Rar!": "a rar archive; unpack it first",
    b"PK\x05\x06": "an empty zip archive",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet; save it as CSV",
    b"SQLite format 3\x00": "an SQLite database; read it with bilinear.read_sql(query, 'sqlite:///FILE')",
    b"\x89HDF": "an HDF5 file; save the table as CSV or Parquet",
    b"\x93NUMPY": "a NumPy array; load it and use Interactions.from_columns",
    b"ARROW1": "an Arrow IPC file; open it with pyarrow or polars and give the frame, or save it as Parquet",
    b"ORC": "an ORC file; save the table as Parquet",
    b"Obj\x01": "an Avro file; save the table as Parquet",
    b"%PDF": "a PDF document",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"\x7fELF": "a program",
    b"<!DOCTYPE": "a web page, perhaps the answer of a failed download; fetch the file again",
    b"<html": "a web page, perhaps the answer of a failed download; fetch the file again",
    b"<?xml": "an XML document; save the table as CSV",
}


def compression(head: bytes, suffix: str, label: str) -> str | None:
    """`"gzip"`, `"zstd"`, `"bzip2"`, `"xz"` or None, by the first bytes; the name must not say otherwise."""
    found = next((kind for magic, kind in _COMPRESSED.items() if head.startswith(magic)), None)
    promised = _NAMED.get(suffix.lower())
    if promised and found != promised:
        what = f"{found}-compressed" if found else f"not {promised}-compressed"
        raise FileFormatError(
            f"{label}: named {suffix}, but its content is {what}; it was renamed, or damaged on its way: "
            "rename it or fetch it again"
        )
    return found


def refuse_foreign(head: bytes, label: str) -> None:
    """Raises FileFormatError for well-known formats that hold no readable table."""
    for magic, what in _REFUSED.items():
        if head.startswith(magic):
            raise FileFormatError(f"{label}: this is {what}")
    if head[257:262] == b"ustar":
        raise FileFormatError(f"{label}: this is a tar archive; unpack it and give the file inside")


def chunks(stream: BinaryIO, kind: str | None, label: str) -> Iterator[bytes]:
    """The plain bytes of an open file, unpacked if need be: at most some 64 MB at once, whatever it holds.

    Raises:
        FileFormatError: the archive is cut off or damaged. It may come after the first chunks.
    """
    if kind is None:
        while chunk := stream.read(CHUNK):
            yield chunk
        return
    unpacker: Any = None  # None between two frames: a file may hold several, one after another
    while packed := stream.read(CHUNK):
        while packed:
            if unpacker is None:
                packed = packed.lstrip(b"\0") if kind == "gzip" else packed  # some writers pad with zeros
                if not packed:
                    break
                unpacker = _unpacker(kind)
            packed = yield from _unpacked(unpacker, packed, kind, label)
            unpacker = None if unpacker.eof else unpacker
    if unpacker is not None:
        raise FileFormatError(
            f"{label}: the {kind} data end too early, the file is cut off; fetch or compress it again"
        )


def _unpacked(unpacker: Any, packed: bytes, kind: str, label: str) -> Generator[bytes, None, bytes]:
    """The plain bytes of some packed ones, a part at a time; returns what comes behind the frame's end."""
    try:
        if kind == "zstd":
            for start in range(0, len(packed), _SLICE):
                if plain := unpacker.decompress(packed[start : start + _SLICE]):
                    yield plain
                if unpacker.eof:
                    return bytes(unpacker.unused_data) + packed[start + _SLICE :]
            return b""
        while True:
            if plain := unpacker.decompress(packed, CHUNK):
                yield plain
            if unpacker.eof:
                return bytes(unpacker.unused_data)
            packed = unpacker.unconsumed_tail if kind == "gzip" else b""
            if len(plain) < CHUNK and not packed if kind == "gzip" else unpacker.needs_input:
                return b""
    except Exception as error:
        if not isinstance(error, (zlib.error, OSError, EOFError, lzma.LZMAError)) and (
            type(error).__name__ != "ZstdError"
        ):
            raise
        if "memory" in str(error).lower():
            raise FileFormatError(
                f"{label}: unpacking needs more than {_WINDOW >> 20} MB of memory ({error}); compress the "
                "file with a smaller window, as the usual levels do"
            ) from error
        raise FileFormatError(
            f"{label}: the {kind} data are damaged ({error}); fetch or compress the file again"
        ) from error


def _unpacker(kind: str) -> Any:
    if kind == "gzip":
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # checks the CRC and length at the end
    if kind == "bzip2":
        return bz2.BZ2Decompressor()
    if kind == "xz":
        return lzma.LZMADecompressor(memlimit=_WINDOW)
    if sys.version_info >= (3, 14):
        from compression.zstd import DecompressionParameter, ZstdDecompressor

        return ZstdDecompressor(options={DecompressionParameter.window_log_max: _WINDOW.bit_length() - 1})
    import zstandard

    return zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()


@contextmanager
def only_member(path: Path, label: str) -> Iterator[tuple[BinaryIO, str]]:
    """The one table of a zip archive as an open file, and its name.

    Raises:
        FileFormatError: it holds several files or none, is a spreadsheet, encrypted or damaged.
    """
    try:
        with zipfile.ZipFile(path) as bundle:
            names = [info.filename for info in bundle.infolist()]
            if "[Content_Types].xml" in names or "mimetype" in names:
                raise FileFormatError(f"{label}: this is a spreadsheet or a document; save the sheet as CSV")
            files = [
                name
                for name in names
                if not name.endswith("/") and not any(part[:1] in "._" for part in name.split("/"))
            ]
            if len(files) != 1:
                shown = f": {', '.join(files[:5])}" + (", ..." if len(files) > 5 else "") if files else ""
                raise FileFormatError(
                    f"{label}: this zip archive holds {len(files):,} files{shown}; unpack it, and give the "
                    "one with the table"
                )
            with bundle.open(files[0]) as member:
                yield cast(BinaryIO, member), files[0]
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise FileFormatError(
            f"{label}: the zip archive is damaged ({error}); fetch or pack it again"
        ) from error
    except (RuntimeError, NotImplementedError) as error:  # encrypted, or packed in a way zipfile lacks
        raise FileFormatError(
            f"{label}: the zip archive cannot be read ({error}); unpack it first"
        ) from error
