"""The tensors file: round trips, agreement with the safetensors package, hostile files."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bilinear.errors import ModelFileError, ParameterValueError
from bilinear.files import atomic_write
from bilinear.persistence.strict_json import MAX_JSON_BYTES
from bilinear.persistence.tensors import read_tensors, write_tensors

DTYPES = [np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool_]

names = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=200).filter(
    lambda name: name != "__metadata__"
)
arrays = hnp.arrays(st.sampled_from(DTYPES), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
tables = st.dictionaries(names, arrays, max_size=6)


def identical(left: dict[str, Any], right: dict[str, Any]) -> bool:
    """Equal in every bit, NaN payloads included."""
    return left.keys() == right.keys() and all(
        (left[name].dtype, left[name].shape, left[name].tobytes())
        == (right[name].dtype, right[name].shape, right[name].tobytes())
        for name in left
    )


def file_of(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(shape: Any = (2,), start: Any = 0, end: Any = 8, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


@settings(deadline=None)
@given(tables, st.dictionaries(names, st.text(st.characters(exclude_categories=("Cs",)))))
def test_round_trip_is_bit_for_bit_for_us_and_for_the_safetensors_package(tensors, metadata):
    with TemporaryDirectory() as folder:
        path = Path(folder, "t.safetensors")
        write_tensors(path, tensors, metadata)
        ours = read_tensors(path)
        assert identical(ours, tensors)
        assert identical(safetensors.numpy.load(path.read_bytes()), tensors)
        with safetensors.safe_open(path, "np") as file:
            assert (file.metadata() or {}) == metadata


@settings(deadline=None)
@given(tables.filter(bool))
def test_files_of_the_safetensors_package_read_bit_for_bit(tensors):
    with TemporaryDirectory() as folder:
        path = Path(folder, "t.safetensors")
        path.write_bytes(safetensors.numpy.save(tensors, metadata={"made": "elsewhere"}))
        assert identical(read_tensors(path), tensors)


@settings(deadline=None)
@given(tables)
def test_every_tensor_is_aligned_to_its_items_and_whole_cache_lines_stay_whole(tensors):
    with TemporaryDirectory() as folder:
        path = Path(folder, "t.safetensors")
        write_tensors(path, tensors)
        raw = path.read_bytes()
        length = int.from_bytes(raw[:8], "little")
        assert (8 + length) % 64 == 0
        for name, found in json.loads(raw[8 : 8 + length]).items():
            start = found["data_offsets"][0]
            assert start % tensors[name].itemsize == 0
            assert start % 64 == 0 or tensors[name].nbytes % 64


def test_tensors_are_read_only_views_of_one_map(tmp_path):
    write_tensors(
        tmp_path / "t", {"a": np.zeros((300, 64), np.float32), "b": np.ones(3), "c": np.empty((0, 5))}
    )
    tensors = read_tensors(tmp_path / "t")
    maps = set()
    for array in tensors.values():
        assert not array.flags.writeable
        assert type(array) is np.ndarray
        while not isinstance(array, np.memmap):
            array = array.base
        maps.add(id(array._mmap))
    assert len(maps) == 1
    assert tensors["c"].shape == (0, 5)


def test_other_memory_orders_are_stored_in_c_order(tmp_path):
    table = np.arange(24.0).reshape(4, 6)
    views = {"fortran": np.asfortranarray(table), "strided": table[::2, ::-1], "transposed": table.T}
    write_tensors(tmp_path / "t", views)
    for name, array in read_tensors(tmp_path / "t").items():
        np.testing.assert_array_equal(array, views[name])


def test_the_same_tensors_in_another_order_give_the_same_bytes(tmp_path):
    tensors = {"b": np.arange(3), "a": np.ones(5, np.float32), "c": np.zeros(2, bool)}
    write_tensors(tmp_path / "one", tensors)
    write_tensors(tmp_path / "two", dict(sorted(tensors.items())))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(2, np.float16),
        np.zeros(2, np.int16),
        np.zeros(2, np.uint64),
        np.zeros(2, np.complex128),
        np.zeros(2, ">f4"),
        np.array(["text"]),
        np.array([None]),
        np.zeros(2, [("x", np.float32)]),
        [1.0, 2.0],
    ],
    ids=str,
)
def test_other_dtypes_are_refused_by_name(tmp_path, array):
    with pytest.raises(ParameterValueError, match=r"tensor 'odd' is of type .*float32.*bool"):
        write_tensors(tmp_path / "t", {"odd": array})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["", "x" * 201, "a\nb", "\0", "\ud800", "\u202e", 7, "__metadata__"], ids=ascii
)
def test_unusable_names_are_refused(tmp_path, name):
    with pytest.raises(ParameterValueError, match="tensor name"):
        write_tensors(tmp_path / "t", {name: np.zeros(1)})


@pytest.mark.parametrize("name", ["../../etc/passwd", "/dev/null", "..", "C:\\x", "größe", "x" * 200])
def test_names_that_look_like_paths_are_only_names(tmp_path, name):
    write_tensors(tmp_path / "t", {name: np.ones(2)})
    assert list(read_tensors(tmp_path / "t")) == [name]


def test_unusable_metadata_is_refused(tmp_path):
    with pytest.raises(ParameterValueError, match="metadata must map text to text"):
        write_tensors(tmp_path / "t", {}, {"epochs": 3})
    with pytest.raises(ParameterValueError, match="lone surrogate"):
        write_tensors(tmp_path / "t", {}, {"note": "\ud800"})
    with pytest.raises(ParameterValueError, match="more than"):
        write_tensors(tmp_path / "t", {}, {"note": "x" * MAX_JSON_BYTES})


HOSTILE = {
    "empty": (b"", "0 bytes"),
    "seven bytes": (b"\1\0\0\0\0\0\0", "7 bytes"),
    "length beyond the file": (file_of({}, length=3), "declares a header of 3"),
    "length of 2^64 - 1": (file_of({}, length=2**64 - 1), "declares a header of 18,446"),
    "length over the limit": (b"\0\0\0\7\0\0\0\0{}", "declares a header of 117,440,512"),
    "no header": (file_of(b""), "does not begin with"),
    "pickle": (file_of(b"\x80\x05N."), "does not begin with"),
    "array": (file_of([]), "does not begin with"),
    "leading blank": (file_of(b" {}"), "does not begin with"),
    "not JSON": (file_of(b"{a}"), "JSON cannot be read"),
    "cut JSON": (file_of(b'{"a": {"dtype"'), "JSON cannot be read"),
    "two values": (file_of(b"{} {}"), "JSON cannot be read"),
    "not UTF-8": (file_of(b'{"\xff": 1}'), "JSON cannot be read"),
    "UTF-16": (file_of("{}".encode("utf-16-le")), "JSON cannot be read"),
    "duplicate key": (file_of(b'{"__metadata__": {}, "__metadata__": {}}'), "a key occurs twice"),
    "duplicate field": (
        file_of(b'{"a": {"dtype": "F32", "dtype": "F64", "shape": [1], "data_offsets": [0, 4]}}', bytes(4)),
        "a key occurs twice",
    ),
    "NaN": (file_of(b'{"a": NaN}'), "NaN is not a JSON number"),
    "nested lists": (file_of(b'{"a": ' + b"[" * 200_000), "nested too deep"),
    "nested objects": (file_of(b'{"a": ' * 100_000), "nested too deep"),
    "number of many digits": (file_of(b'{"a": ' + b"9" * 5000 + b"}"), "JSON cannot be read"),
    "metadata is a list": (file_of({"__metadata__": []}), "does not map text to text"),
    "metadata holds a number": (file_of({"__metadata__": {"a": 1}}), "does not map text to text"),
    "entry is a number": (file_of({"a": 1}), "is not of dtype, shape and data_offsets"),
    "entry lacks shape": (file_of({"a": {"dtype": "F32", "data_offsets": [0, 0]}}), "is not of dtype"),
    "entry has more": (file_of({"a": {**entry(), "file": "/etc/passwd"}}, bytes(8)), "is not of dtype"),
    "half precision": (file_of({"a": entry(dtype="F16")}, bytes(8)), "dtype 'F16', not one of F32"),
    "dtype is a list": (file_of({"a": entry(dtype=["F32"])}, bytes(8)), "has dtype"),
    "dtype is an object": (file_of({"a": entry(dtype={})}, bytes(8)), "has dtype"),
    "shape is a number": (file_of({"a": entry(2)}, bytes(8)), "not a list of sizes"),
    "negative shape": (file_of({"a": entry([-1, -2])}, bytes(8)), "not a list of sizes"),
    "fractional shape": (file_of({"a": entry([2.0])}, bytes(8)), "not a list of sizes"),
    "shape of bool": (file_of({"a": entry([True, 2])}, bytes(8)), "not a list of sizes"),
    "65 dimensions": (file_of({"a": entry([1] * 65, 0, 4)}, bytes(4)), "not a list of sizes"),
    "size over 64 bits": (file_of({"a": entry([2**64])}, bytes(8)), "not a list of sizes"),
    "product over 64 bits": (file_of({"a": entry([2**33, 2**33])}, bytes(8)), "more than any memory"),
    "product that wraps to 8 bytes": (file_of({"a": entry([2**61 + 1, 8])}, bytes(32)), "more than any"),
    "empty but overflowing": (file_of({"a": entry([0, 2**62, 2**62], 0, 0)}), "more than any memory"),
    "far more than the file": (file_of({"a": entry([2**40], 0, 2**42)}, bytes(8)), "but the file holds 8"),
    "shape too small": (file_of({"a": entry([1])}, bytes(8)), "bytes 0 to 8"),
    "offsets backwards": (file_of({"a": entry([2], 8, 0)}, bytes(8)), "bytes 8 to 0"),
    "negative offsets": (file_of({"a": entry([2], -8, 0)}, bytes(8)), r"not \[start, end\]"),
    "one offset": (file_of({"a": {**entry(), "data_offsets": [8]}}, bytes(8)), r"not \[start, end\]"),
    "offsets of text": (file_of({"a": entry([2], "0", "8")}, bytes(8)), r"not \[start, end\]"),
    "outside the file": (file_of({"a": entry([2], 8, 16)}, bytes(8)), "starts at byte 8 instead of 0"),
    "overlap": (file_of({"a": entry(), "b": entry([2], 4, 12)}, bytes(12)), "starts at byte 4 instead of 8"),
    "the same bytes twice": (
        file_of({"a": entry(), "b": entry()}, bytes(8)),
        "starts at byte 0 instead of 8",
    ),
    "hole": (file_of({"a": entry(), "b": entry([1], 12, 16)}, bytes(16)), "starts at byte 12 instead of 8"),
    "empty tensor in a hole": (file_of({"a": entry(), "b": entry([0], 9, 9)}, bytes(9)), "starts at byte 9"),
    "cut data": (file_of({"a": entry()}, bytes(7)), "take 8 bytes but the file holds 7"),
    "trailing byte": (file_of({"a": entry()}, bytes(9)), "take 8 bytes but the file holds 9"),
    "unprintable name": (file_of({"a\nb": entry()}, bytes(8)), "not a printable text"),
    "lone surrogate": (file_of(b'{"\\ud800": {}}'), "not a printable text"),
    "long name": (file_of({"x" * 201: entry()}, bytes(8)), "not a printable text"),
    "bool of 2": (file_of({"a": entry([2], 0, 2, "BOOL")}, b"\1\2"), "other than 0 and 1"),
}


@pytest.mark.parametrize("case", HOSTILE, ids=str)
def test_hostile_files_are_refused_with_the_file_the_reason_and_the_remedy(tmp_path, case):
    content, reason = HOSTILE[case]
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=reason) as caught:
        read_tensors(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.endswith("train again or restore the folder from a copy")
    assert len(message) < len(str(path)) + 400


def test_a_declared_header_of_terabytes_in_a_sparse_file_takes_no_memory(tmp_path):
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.write((2**40).to_bytes(8, "little") + b"{")
        file.truncate(2**41)
    with pytest.raises(ModelFileError, match="declares a header of 1,099,511,627,776"):
        read_tensors(path)


def test_missing_files_folders_and_pipes_are_refused(tmp_path):
    with pytest.raises(ModelFileError, match="no such file"):
        read_tensors(tmp_path / "none")
    with pytest.raises(ModelFileError, match="not a regular file"):
        read_tensors(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelFileError, match="not a regular file"):
        read_tensors(tmp_path / "pipe")


SAMPLE = {
    "factors": np.arange(48, dtype=np.float32).reshape(3, 16),
    "biases": np.linspace(0, 1, 5),
    "seen": np.array([True, False, True]),
    "none": np.empty((0, 4), np.int32),
}


def sample_bytes() -> bytes:
    with TemporaryDirectory() as folder:
        write_tensors(Path(folder, "t"), SAMPLE, {"note": "x"})
        return Path(folder, "t").read_bytes()


def read_or_refuse(content: bytes) -> dict[str, Any] | None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "t")
        path.write_bytes(content)
        try:
            tensors = read_tensors(path)
        except ModelFileError:
            return None
        for array in tensors.values():
            array.tobytes()  # touches every byte
        return tensors


def test_a_file_cut_at_any_length_is_refused():
    content = sample_bytes()
    assert identical(read_or_refuse(content), SAMPLE)
    assert [n for n in range(len(content)) if read_or_refuse(content[:n]) is not None] == []


def test_any_changed_header_byte_is_refused_or_harmless_to_the_reader():
    content = sample_bytes()
    end_of_header = 8 + int.from_bytes(content[:8], "little")
    refused = 0
    for at in range(end_of_header):
        for flip in (1, 0x20, 0x80):
            changed = bytearray(content)
            changed[at] ^= flip
            refused += read_or_refuse(bytes(changed)) is None
    assert refused > end_of_header  # and nothing but ModelFileError came


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=200))
@example(b"\2\0\0\0\0\0\0\0{}")
def test_random_bytes_give_tensors_or_a_refusal(content):
    read_or_refuse(content)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
odd_sizes = st.lists(st.integers(-1, 5) | st.sampled_from([2**31, 2**32, 2**61, 2**62, 2**63]), max_size=4)
odd_entries = st.fixed_dictionaries(
    {"dtype": st.sampled_from(["F32", "F64", "I64", "BOOL", "U8", "F16"]), "shape": odd_sizes | json_values},
    optional={"data_offsets": odd_sizes | st.tuples(st.integers(-1, 40), st.integers(-1, 40))},
)


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(names, odd_entries | json_values, max_size=3), st.binary(max_size=40))
def test_well_formed_headers_of_odd_values_give_tensors_or_a_refusal(header, data):
    read_or_refuse(file_of(header, data))


def test_files_get_the_mode_that_the_umask_allows(tmp_path):
    old = os.umask(0o027)
    try:
        write_tensors(tmp_path / "t", SAMPLE)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "t").stat().st_mode) == 0o640


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_the_old_file_and_names_the_path(tmp_path, monkeypatch):
    path = tmp_path / "t"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left") as caught:
        write_tensors(path, SAMPLE)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_disk_full_while_closing_still_removes_the_temporary(tmp_path, monkeypatch):
    real_open = Path.open

    def open_full(path: Path, *args: Any) -> Any:
        real_open(path, *args).close()
        return real_open(Path("/dev/full"), "wb")

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(OSError, match="No space left"), atomic_write(tmp_path / "t") as file:
        file.write(b"buffered until the file is closed")
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_the_block_leaves_the_old_file(tmp_path):
    path = tmp_path / "t"
    path.write_bytes(b"old")
    with pytest.raises(TypeError), atomic_write(path) as file:
        file.writelines([b"new", "not bytes"])
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named_by_the_path_that_was_given(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, atomic_write(tmp_path / "none" / "t"):
        pass
    assert caught.value.filename == str(tmp_path / "none" / "t")


def test_links_are_followed_and_pipes_and_folders_refused(tmp_path):
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("target")
    with atomic_write(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(ParameterValueError, match="not a regular file"), atomic_write(path):
            pass
