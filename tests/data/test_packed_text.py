"""Text packed into two arrays comes back as it was; faulty arrays are found before they are read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bilinear.data.packed_text import PackedText

texts = st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=6), max_size=12)


@given(texts)
def test_texts_come_back_as_they_were(values):
    packed = PackedText.of(values)
    assert list(packed) == values
    assert len(packed) == len(values)
    assert [packed[row] for row in range(len(values))] == values
    assert [packed.bytes(row) for row in range(len(values))] == [value.encode() for value in values]
    assert packed.fault() is None
    assert (packed.blob.dtype, packed.offsets.dtype) == (np.uint8, np.int64)


def test_rows_outside_are_refused_rather_than_wrong():
    packed = PackedText.of(["one", "two"])
    for row in (2, -1, -3):
        with pytest.raises(IndexError, match=r"outside 0\.\.1"):
            packed[row]
    assert packed.index("two") == 1
    assert "three" not in packed


def test_it_cannot_be_written_to():
    packed = PackedText.of(["one"])
    for array in (packed.blob, packed.offsets):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


@pytest.mark.parametrize(
    ("blob", "offsets", "fault"),
    [
        (b"abc", [0, 1, 2], "do not divide"),
        (b"abc", [1, 3], "do not divide"),
        (b"abc", [0, 2, 1, 3], "do not divide"),
        (b"abc", [0, 4], "do not divide"),
        (b"abc", [0, -1, 3], "do not divide"),
        (b"", [], "do not divide"),
        (b"a\xff", [0, 1, 2], "not UTF-8"),
        ("ä".encode(), [0, 1, 2], "cut a character"),
        ("aä€".encode(), [0, 1, 4, 6], "cut a character"),
        ("aä€".encode(), [0, 0, 1, 3, 3, 6, 6], None),
        (b"", [0], None),
        (b"", [0, 0, 0], None),
    ],
)
def test_a_fault_is_found(blob, offsets, fault):
    found = PackedText(np.frombuffer(blob, np.uint8).copy(), np.array(offsets, np.int64)).fault()
    assert found is None if fault is None else fault in found


@given(texts, st.data())
def test_offsets_without_a_fault_always_read(values, data):
    """Whatever the offsets are: either a fault is named, or every row decodes."""
    blob = np.frombuffer("".join(values).encode(), np.uint8).copy()
    inner = data.draw(st.lists(st.integers(0, len(blob)), max_size=8))
    offsets = np.array([0, *sorted(inner), len(blob)], np.int64)
    packed = PackedText(blob, offsets)
    if packed.fault() is None:
        assert "".join(packed) == "".join(values)
    else:
        with pytest.raises(UnicodeDecodeError):
            list(packed)
