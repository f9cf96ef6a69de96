"""Compressed files as streams of bytes that are whole, or an error: never a silent first half."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from bilinear.errors import FileFormatError

CHUNK = 1 << 20

_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_NAMED = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd"}
_REFUSED = {
    b"BZh": "bzip2-compressed; unpack it first (bunzip2)",
    b"\xfd7zXZ\x00": "xz-compressed; unpack it first (unxz)",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it first",
    b"Rar!": "a rar archive; unpack it first",
    b"PK\x03\x04": "a zip archive or a spreadsheet; unpack it, or save the sheet as CSV",
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
    """`"gzip"`, `"zstd"` or None, by the first bytes; the name must not say otherwise."""
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
    """The plain bytes of an open file, unpacked if need be.

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
            plain = _unpack(unpacker, packed, kind, label)
            if plain:
                yield plain
            packed, unpacker = (unpacker.unused_data, None) if unpacker.eof else (b"", unpacker)
    if unpacker is not None:
        raise FileFormatError(
            f"{label}: the {kind} data end too early, the file is cut off; fetch or compress it again"
        )


def _unpack(unpacker: Any, packed: bytes, kind: str, label: str) -> bytes:
    try:
        plain: bytes = unpacker.decompress(packed)
    except Exception as error:
        if not isinstance(error, zlib.error) and type(error).__name__ != "ZstdError":
            raise
        raise FileFormatError(
            f"{label}: the {kind} data are damaged ({error}); fetch or compress the file again"
        ) from error
    return plain


def _unpacker(kind: str) -> Any:
    if kind == "gzip":
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # checks the CRC and length at the end
    if sys.version_info >= (3, 14):
        from compression.zstd import ZstdDecompressor

        return ZstdDecompressor()
    import zstandard

    return zstandard.ZstdDecompressor().decompressobj()
