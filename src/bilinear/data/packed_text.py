"""A column of text as two arrays, which can be mapped from a file instead of read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


class PackedText(Sequence[str]):
    """Immutable text column: UTF-8 bytes end to end (`blob`, uint8) and n + 1 `offsets` (int64)."""

    __slots__ = ("blob", "offsets")

    def __init__(self, blob: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
        blob.setflags(write=False)
        offsets.setflags(write=False)
        self.blob, self.offsets = blob, offsets

    @classmethod
    def of(cls, texts: Iterable[str]) -> PackedText:
        """Packs texts in their order."""
        encoded = [text.encode() for text in texts]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(text) for text in encoded], out=offsets[1:])
        return cls(np.frombuffer(b"".join(encoded), np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> str:  # type: ignore[override]
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} is outside 0..{len(self) - 1}")
        return self.bytes(row).decode()

    def __iter__(self) -> Iterator[str]:
        return (self[row] for row in range(len(self)))

    def bytes(self, row: int) -> bytes:
        """The UTF-8 bytes of one row."""
        return self.blob[self.offsets[row] : self.offsets[row + 1]].tobytes()

    def fault(self) -> str | None:
        """The fault of arrays from a file, or None. Cost: O(bytes)."""
        offsets = self.offsets
        if (
            not len(offsets)
            or offsets[0] != 0
            or offsets[-1] != len(self.blob)
            or (np.diff(offsets) < 0).any()
        ):
            return "its offsets do not divide its bytes"
        try:
            text = self.blob.tobytes().decode()
        except UnicodeDecodeError:
            return "it is not UTF-8 text"
        inner = offsets[(offsets > 0) & (offsets < len(self.blob))]
        if len(text) != len(self.blob) and (self.blob[inner] & 0xC0 == 0x80).any():
            return "its offsets cut a character"
        return None
