"""Arrays in one file: the safetensors layout, written aligned and opened without being read.

Layout: 8 bytes, the header's length, little-endian; the header, a JSON object
`{name: {"dtype", "shape", "data_offsets": [start, end]}}` padded with spaces; the data, in C
order, little-endian, without holes. Source: https://github.com/huggingface/safetensors
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from bilinear.errors import ParameterValueError
from bilinear.files import atomic_write, is_regular
from bilinear.persistence.strict_json import MAX_JSON_BYTES, damaged, parse_json

_ALIGNMENT = 64  # a cache line, and the widest vector register
_CHUNK = 1 << 22
_CODES = {"<f4": "F32", "<f8": "F64", "<i4": "I32", "<i8": "I64", "|u1": "U8", "|b1": "BOOL"}
_DTYPES = {code: np.dtype(text) for text, code in _CODES.items()}
_METADATA = "__metadata__"
_MAX_NAME = 200
_MAX_DIMENSIONS = 64  # NumPy's
_MAX_BYTES = 2**63 - 1


def write_tensors(
    path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes `tensors` to `path`, whole or not at all.

    Args:
        tensors: by name (printable, at most 200 characters); float32, float64, int32, int64,
            uint8 or bool, of any shape. Other memory orders are stored in C order.
        metadata: texts kept in the header for other programs.
    Raises:
        ParameterValueError: a name, dtype or metadata entry that the file cannot hold.
        OSError: the disk is full or the folder cannot be written.
    """
    chunks = encode_tensors(tensors, metadata)
    with atomic_write(Path(path)) as file:
        for chunk in chunks:
            file.write(chunk)


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a file as read-only views of one memory map.

    Raises:
        ModelFileError: the file is missing, damaged or not of this layout.
    Cost:
        the header is read and bool tensors are checked; the rest is read when it is used. Values are
        as they are on disk: a changed byte goes unseen (see `read_artifact`). Replace such a file,
        never write into it: the system kills readers of a file cut short.
    """
    path = Path(path)
    try:
        if not is_regular(path):
            raise damaged(path, "is not a regular file")
        with path.open("rb") as file:
            return map_tensors(file, path)
    except FileNotFoundError:
        raise damaged(path, "no such file") from None


def encode_tensors(
    tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None
) -> Iterator[memoryview]:
    """The bytes of the file, piece by piece. Arguments are checked before this returns."""
    for name, array in tensors.items():
        _check_name(name)
        if not isinstance(array, np.ndarray) or array.dtype.str not in _CODES:
            found = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise ParameterValueError(f"tensor {name!r} is of type {found}; convert it to {_known_dtypes()}")
    # Tensors may not have holes between them. So those that keep a cache line's alignment come
    # first, then the rest by item size: each starts at least at a multiple of its item size.
    order = sorted(tensors, key=lambda n: (tensors[n].nbytes % _ALIGNMENT != 0, -tensors[n].itemsize, n))
    header: dict[str, Any] = {}
    if metadata:
        if not all(isinstance(text, str) for entry in metadata.items() for text in entry):
            raise ParameterValueError("metadata must map text to text; convert the values with str()")
        header[_METADATA] = dict(metadata)
    start = 0
    for name in order:
        array = tensors[name]
        end = start + array.nbytes
        code = _CODES[array.dtype.str]
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [start, end]}
        start = end
    try:
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        raise ParameterValueError("metadata holds half a character (a lone surrogate); remove it") from None
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    if len(text) > MAX_JSON_BYTES:
        raise ParameterValueError(
            f"names and metadata take {len(text):,} bytes, more than {MAX_JSON_BYTES:,}; save fewer tensors"
        )
    return _pieces(len(text).to_bytes(8, "little") + text, [tensors[name] for name in order])


def _pieces(header: bytes, arrays: list[NDArray[Any]]) -> Iterator[memoryview]:
    yield memoryview(header)
    for array in arrays:
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        for start in range(0, len(flat), _CHUNK):
            yield flat[start : start + _CHUNK]


def map_tensors(file: BinaryIO, path: Path) -> dict[str, NDArray[Any]]:
    """As `read_tensors`, of a file already open; `path` is for messages."""
    size = os.fstat(file.fileno()).st_size
    if size < 8:  # an empty file cannot be mapped
        raise damaged(path, f"has {size} bytes, too few for a header")
    # A plain array over the map: the subclass np.memmap slows every later indexing.
    return parse_tensors(np.memmap(file, np.uint8, "r").view(np.ndarray), path)


def read_content(file: BinaryIO, path: Path, on_bytes: Callable[[Any], object]) -> NDArray[np.uint8]:
    """The bytes of an open file as a read-only array in memory; `on_bytes` sees them piece by piece.

    Raises:
        ModelFileError: the file was cut short while it was read.
    """
    size = os.fstat(file.fileno()).st_size
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % _ALIGNMENT
    content = memory[first : first + size]
    start = 0
    while start < size:
        n_read = file.readinto(content[start : start + _CHUNK])  # type: ignore[attr-defined]
        if not n_read:
            raise damaged(path, f"was cut short to {start:,} bytes while it was read")
        on_bytes(content[start : start + n_read])
        start += n_read
    content.setflags(write=False)
    return content


def parse_tensors(content: NDArray[np.uint8], path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a file's bytes as views of them; `path` is for messages."""
    if len(content) < 8:
        raise damaged(path, f"has {len(content)} bytes, too few for a header")
    length = int.from_bytes(content[:8].tobytes(), "little")
    if length > min(MAX_JSON_BYTES, len(content) - 8):
        raise damaged(
            path,
            f"declares a header of {length:,} bytes; the file has {len(content):,} "
            f"and a header may have {MAX_JSON_BYTES:,}",
        )
    text = content[8 : 8 + length].tobytes()
    if not text.startswith(b"{"):
        raise damaged(path, "the header does not begin with '{', so this is not a safetensors file")
    header = parse_json(text, path)
    _check_metadata(header.pop(_METADATA, {}), path)
    data = content[8 + length :]
    places = {name: _place(name, entry, path) for name, entry in header.items()}
    position = 0
    for name, (_, _, start, end) in sorted(places.items(), key=lambda place: place[1][2:]):
        if start != position:
            raise damaged(path, f"tensor {name!r} starts at byte {start:,} instead of {position:,}")
        position = end
    if position != len(data):
        raise damaged(path, f"the tensors take {position:,} bytes but the file holds {len(data):,}")
    tensors = {
        name: data[start:end].view(dtype).reshape(shape)
        for name, (dtype, shape, start, end) in places.items()
    }
    for name, array in tensors.items():
        if array.dtype == np.bool_ and (array.view(np.uint8) > 1).any():
            raise damaged(path, f"tensor {name!r} is bool but holds bytes other than 0 and 1")
    return tensors


def _place(name: str, entry: Any, path: Path) -> tuple[np.dtype[Any], list[int], int, int]:
    """(dtype, shape, start, end) of one header entry, checked against one another."""
    try:
        _check_name(name)
    except ParameterValueError as error:
        raise damaged(path, str(error)) from None
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise damaged(path, f"the entry of tensor {name!r} is not of dtype, shape and data_offsets")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in _DTYPES:
        raise damaged(path, f"tensor {name!r} has dtype {_short(code)}, not one of {', '.join(_DTYPES)}")
    dtype = _DTYPES[code]
    if not _is_sizes(shape) or len(shape) > _MAX_DIMENSIONS:
        raise damaged(path, f"tensor {name!r} has shape {_short(shape)}, which is not a list of sizes")
    if not _is_sizes(offsets) or len(offsets) != 2:
        raise damaged(path, f"tensor {name!r} has data_offsets {_short(offsets)}, not [start, end]")
    # Also where one size is 0: NumPy multiplies the others.
    if math.prod(size or 1 for size in shape) * dtype.itemsize > _MAX_BYTES:
        raise damaged(path, f"tensor {name!r} has shape {_short(shape)}, more than any memory holds")
    start, end = offsets
    if end - start != math.prod(shape) * dtype.itemsize:
        raise damaged(
            path, f"tensor {name!r} has shape {_short(shape)} of {dtype}, but bytes {start:,} to {end:,}"
        )
    return dtype, shape, start, end


def _is_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(size) is int and 0 <= size <= _MAX_BYTES for size in value)


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= _MAX_NAME:
        raise ParameterValueError(
            f"tensor name {_short(name)} is not a printable text of 1 to {_MAX_NAME} characters"
        )
    if name == _METADATA:
        raise ParameterValueError(f"tensor name {name!r} is reserved by the file format; rename it")


def _check_metadata(metadata: Any, path: Path) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise damaged(path, f"{_METADATA} does not map text to text")


def _known_dtypes() -> str:
    *names, last = (str(dtype) for dtype in _DTYPES.values())
    return f"{', '.join(names)} or {last}"


def _short(value: Any) -> str:
    text = ascii(value)  # a message must print on any terminal
    return text if len(text) <= 80 else f"{text[:77]}..."
