"""The model folder: round trips, damage, hostile folders, killed and concurrent writers."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bilinear.errors import ModelFileError, ParameterValueError
from bilinear.persistence import artifact
from bilinear.persistence.artifact import (
    Artifact,
    check_artifact,
    copy_artifact,
    read_artifact,
    write_artifact,
)
from bilinear.persistence.strict_json import MAX_JSON_BYTES
from bilinear.persistence.tensors import read_content

MANIFEST = {
    "estimator": "MatrixFactorization",
    "l2": 0.05,
    "range": [0.5, 5.0],
    "note": "größe 😀",
    "rng": None,
}
TENSORS = {
    "user_factors": np.arange(96, dtype=np.float32).reshape(6, 16),
    "item_biases": np.linspace(-1, 1, 7),
    "item_ids": np.array([3, 5, 8]),
    "seen": np.array([True, False]),
}

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
manifests = st.dictionaries(
    text,
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63) + 1, 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | text,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
        max_leaves=10,
    ),
    max_size=4,
)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    write_artifact(folder, MANIFEST, TENSORS)
    return folder


def assert_is_sample(found: Artifact) -> None:
    assert found.manifest == MANIFEST
    assert found.tensors.keys() == TENSORS.keys()
    for name, array in found.tensors.items():
        assert array.dtype == TENSORS[name].dtype
        np.testing.assert_array_equal(array, TENSORS[name])


def files(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def tensors_file(folder: Path) -> Path:
    (path,) = folder.glob("tensors-*.safetensors")
    return path


def edit(folder: Path, change: Any, *, sign: bool = True) -> None:
    """Changes model.json as a hostile writer could: with a content hash that fits."""
    document = json.loads((folder / "model.json").read_text())
    change(document)
    if sign:
        content = {name: value for name, value in document.items() if name != "content_sha256"}
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        document["content_sha256"] = hashlib.sha256(canonical.encode()).hexdigest()
    (folder / "model.json").write_text(json.dumps(document))


# Round trips


@settings(deadline=None)
@given(manifests)
def test_any_manifest_comes_back_equal(manifest):
    with TemporaryDirectory() as folder:
        write_artifact(Path(folder), manifest, {})
        found = read_artifact(Path(folder))
    assert found.manifest == manifest
    assert json.dumps(found.manifest, sort_keys=True) == json.dumps(
        manifest, sort_keys=True
    )  # -0.0, 1 and 1.0


@pytest.mark.parametrize("verify", [True, False])
def test_a_model_comes_back_as_it_was_saved(saved, verify):
    found = read_artifact(saved, verify=verify)
    assert_is_sample(found)
    assert found.path == saved
    assert found.libraries.keys() == {"bilinear", "numpy", "python"}
    assert found.libraries["numpy"] == np.__version__


def test_the_folder_says_what_it_is(saved):
    data = tensors_file(saved)
    assert files(saved) == {"model.json", data.name}
    document = json.loads((saved / "model.json").read_text("utf-8"))
    assert document["format"] == "bilinear-model"
    assert document["format_version"] == 1
    assert document["manifest"] == MANIFEST
    sha256 = hashlib.sha256(data.read_bytes()).hexdigest()
    assert document["checksums"] == {data.name: {"bytes": data.stat().st_size, "sha256": sha256}}
    assert list(document) == sorted(document)
    assert "größe" in (saved / "model.json").read_text("utf-8")


def test_the_same_model_gives_the_same_bytes(saved, tmp_path):
    write_artifact(tmp_path / "again", dict(reversed(MANIFEST.items())), dict(reversed(TENSORS.items())))
    assert files(saved) == files(tmp_path / "again")
    for name in files(saved):
        assert (saved / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_tuples_become_lists(tmp_path):
    write_artifact(tmp_path, {"range": (1, (2, 3))}, {})
    assert read_artifact(tmp_path).manifest == {"range": [1, [2, 3]]}


def test_files_get_the_mode_that_the_umask_allows(tmp_path):
    old = os.umask(0o022)
    try:
        write_artifact(tmp_path / "model", MANIFEST, TENSORS)
    finally:
        os.umask(old)
    assert {stat.S_IMODE(entry.stat().st_mode) for entry in (tmp_path / "model").iterdir()} == {0o644}


def nested(levels: int) -> Any:
    return [nested(levels - 1)] if levels else 1


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (math.nan, r"manifest\['x'\] is nan"),
        ([0.0, -math.inf], r"manifest\['x'\]\[1\] is -inf"),
        (np.float64("nan"), r"manifest\['x'\] is"),
        (np.int64(3), r"manifest\['x'\] is of type int64"),
        (np.zeros(2), "of type ndarray"),
        ({1: "a"}, r"manifest\['x'\] has the key 1; keys must be text"),
        ({"a": {"b": b"raw"}}, r"manifest\['x'\]\['a'\]\['b'\] is of type bytes"),
        ("\ud800", "half a character"),
        ({"\ud800": 1}, "keys must be text"),
        (2**63, "does not fit 64 bits"),
        (nested(60), "nested deeper than 50"),
        (endless(), "nested deeper than 50"),
        ("x" * MAX_JSON_BYTES, "exceeds 10,000,000 bytes"),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_a_manifest_that_json_cannot_hold_is_refused_before_anything_is_written(tmp_path, value, message):
    with pytest.raises(ParameterValueError, match=message):
        write_artifact(tmp_path / "model", {"x": value}, TENSORS)
    assert not (tmp_path / "model").exists()


def test_an_unusable_tensor_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ParameterValueError, match="float16"):
        write_artifact(tmp_path / "model", MANIFEST, {"x": np.zeros(2, np.float16)})
    assert not (tmp_path / "model").exists()


# Replacing


def test_a_new_model_replaces_the_old_and_readers_of_the_old_keep_it(saved):
    old = read_artifact(saved)
    write_artifact(saved, {"version": 2}, {"x": np.full(1000, 2.0)})
    new = read_artifact(saved)
    assert new.manifest == {"version": 2}
    assert new.tensors["x"].sum() == 2000
    assert len(files(saved)) == 2
    assert_is_sample(old)


def test_a_new_manifest_for_the_same_tensors_replaces_the_old(saved):
    name = tensors_file(saved).name
    write_artifact(saved, {"version": 2}, TENSORS)
    assert read_artifact(saved).manifest == {"version": 2}
    assert files(saved) == {"model.json", name}


def test_saving_a_model_onto_itself_keeps_it(saved):
    found = read_artifact(saved)
    write_artifact(saved, found.manifest, found.tensors)
    assert_is_sample(read_artifact(saved))
    assert_is_sample(found)


def test_saving_repairs_damaged_tensors_of_the_same_content(saved):
    tensors_file(saved).write_bytes(b"damaged")
    write_artifact(saved, MANIFEST, TENSORS)
    assert_is_sample(read_artifact(saved))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[1]"])
def test_a_folder_with_a_damaged_model_json_can_be_trained_into_again(saved, content):
    (saved / "model.json").write_bytes(content)
    with pytest.raises(ModelFileError):
        read_artifact(saved)
    write_artifact(saved, MANIFEST, {})
    assert read_artifact(saved).manifest == MANIFEST
    assert len(files(saved)) == 2


def test_leftovers_of_a_killed_writer_go_and_files_of_others_stay(saved):
    leftovers = {".0123456789abcdef.bilinear-tmp", "tensors-0123456789abcdef.safetensors"}
    others = {"README.md", "tensors-final.safetensors", ".hidden.tmp", "notes"}
    for name in leftovers | others:
        (saved / name).write_text("x")
    write_artifact(saved, {"version": 2}, TENSORS)
    assert files(saved) == {"model.json", tensors_file_named(saved)} | others


def tensors_file_named(folder: Path) -> str:
    (name,) = json.loads((folder / "model.json").read_text())["checksums"]
    return str(name)


def test_a_first_save_that_was_cut_off_does_not_block_the_next(tmp_path):
    for name in (".0123456789abcdef.bilinear-tmp", "tensors-0123456789abcdef.safetensors"):
        (tmp_path / name).write_text("x")
    write_artifact(tmp_path, MANIFEST, TENSORS)
    assert files(tmp_path) == {"model.json", tensors_file_named(tmp_path)}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("thesis.tex", "years of work"),
        ("model.json", '{"format": "somebody else\'s"}'),
        ("model.json", "years of work"),
        ("model.json", "{" * 5000),
    ],
)
def test_a_folder_of_other_files_is_never_written_into(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(ModelFileError, match=rf"holds files \({re.escape(name)}\).*choose another folder"):
        write_artifact(tmp_path, MANIFEST, TENSORS)
    assert files(tmp_path) == {name}
    assert (tmp_path / name).read_text() == content


def test_a_file_of_the_name_is_never_replaced(tmp_path):
    (tmp_path / "model").write_text("years of work")
    with pytest.raises(ModelFileError, match=r"is a file; choose"):
        write_artifact(tmp_path / "model", MANIFEST, TENSORS)
    assert (tmp_path / "model").read_text() == "years of work"


def test_a_link_out_of_the_folder_is_replaced_not_written_through(saved, tmp_path):
    outside = tmp_path / "outside.json"
    shutil.move(saved / "model.json", outside)
    before = outside.read_bytes()
    (saved / "model.json").symlink_to(outside)
    write_artifact(saved, {"version": 2}, TENSORS)
    assert outside.read_bytes() == before
    assert read_artifact(saved).manifest == {"version": 2}


# Failing disks


@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_a_disk_full_at_any_fsync_leaves_a_whole_model_and_no_temporary(saved, monkeypatch, call):
    real_fsync, calls = os.fsync, iter(range(1, 100))

    def fsync(descriptor: int) -> None:
        if next(calls) == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left") as caught:
        write_artifact(saved, {"version": 2}, {"x": np.ones(3)})
    assert str(saved) in str(caught.value.filename)
    found = read_artifact(saved)
    if call < 4:  # the fourth comes after model.json got its name
        assert_is_sample(found)
    else:
        assert found.manifest == {"version": 2}
    assert files(saved) == {"model.json", tensors_file_named(saved)}


def test_every_file_is_on_disk_before_it_gets_its_name(saved, monkeypatch):
    real_fsync, real_replace, calls = os.fsync, Path.replace, []

    def fsync(descriptor: int) -> None:
        calls.append("fsync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "fsync file")
        real_fsync(descriptor)

    def replace(source: Path, target: Path) -> Path:
        calls.append(f"name {target.suffix}")
        return real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    write_artifact(saved, {"version": 2}, TENSORS)
    tensors = ["fsync file", "name .safetensors", "fsync folder"]
    assert calls == [*tensors, "fsync file", "name .json", "fsync folder", "fsync folder"]


def test_a_first_save_that_fails_leaves_no_files(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_artifact(tmp_path / "model", MANIFEST, TENSORS)
    assert files(tmp_path / "model") == set()


def test_a_folder_without_permission_is_named(saved, monkeypatch):
    real_open = Path.open

    def open_(path: Path, mode: str = "r", **options: Any) -> Any:
        if "x" in mode:  # simulated, for the superuser may write anywhere
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real_open(path, mode, **options)

    monkeypatch.setattr(Path, "open", open_)
    with pytest.raises(PermissionError) as caught:
        write_artifact(saved, {"version": 2}, TENSORS)
    assert caught.value.filename == str(saved / "tensors.safetensors")
    assert_is_sample(read_artifact(saved))


# Damage


def outcome(folder: Path, *, verify: bool = True) -> Artifact | None:
    try:
        found = read_artifact(folder, verify=verify)
    except ModelFileError:
        return None
    for array in found.tensors.values():
        array.tobytes()
    return found


def test_any_changed_byte_of_the_tensors_is_found(saved):
    path = tensors_file(saved)
    content = path.read_bytes()
    for at in range(len(content)):
        changed = bytearray(content)
        changed[at] ^= 1 << at % 8
        path.write_bytes(changed)
        assert outcome(saved) is None
        outcome(saved, verify=False)  # may see other values, must not fail in another way


def test_any_changed_byte_of_model_json_is_found_or_harmless(saved):
    path = saved / "model.json"
    content = path.read_bytes()
    harmless = 0
    for at in range(len(content)):
        changed = bytearray(content)
        changed[at] ^= (1, 0x10, 0x20, 0x80)[at % 4]
        path.write_bytes(changed)
        found = outcome(saved)
        if found is not None:
            assert_is_sample(found)
            harmless += 1
    assert harmless < len(content) / 4  # white space, mostly


@pytest.mark.parametrize("verify", [True, False])
def test_files_cut_at_any_length_are_refused(saved, verify):
    for path in (tensors_file(saved), saved / "model.json"):
        content = path.read_bytes()
        for length in range(len(content) - 1):  # the last byte of model.json is a line end
            path.write_bytes(content[:length])
            assert outcome(saved, verify=verify) is None
        path.write_bytes(content)
    assert_is_sample(read_artifact(saved))


def test_a_check_refuses_what_a_reader_refuses(saved):
    assert re.fullmatch("[0-9a-f]{64}", check_artifact(saved))
    tensors = tensors_file(saved)
    whole = tensors.read_bytes()
    for damaged in (whole[:-1], whole + b" ", b"", b"\1" + whole[1:]):
        tensors.write_bytes(damaged)
        with pytest.raises(ModelFileError) as found:
            check_artifact(saved)
        with pytest.raises(ModelFileError, match=re.escape(str(found.value))):
            read_artifact(saved)
    tensors.unlink()
    with pytest.raises(ModelFileError, match="which is missing"):
        check_artifact(saved)


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=100), st.sampled_from([b"", b'{"format": "bilinear-model", ']))
def test_random_bytes_as_model_json_are_refused(content, prefix):
    with TemporaryDirectory() as folder:
        Path(folder, "model.json").write_bytes(prefix + content)
        assert outcome(Path(folder)) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["checksums", "format", "format_version", "libraries", "content_sha256"]


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([*FIELDS, "manifest", "sha256", "bytes"]), json_values)
def test_any_field_of_any_type_is_read_or_refused(field, value):
    def change(document: dict[str, Any]) -> None:
        if field in ("sha256", "bytes"):
            (entry,) = document["checksums"].values()
            entry[field] = value
        else:
            document[field] = value

    with TemporaryDirectory() as folder:
        write_artifact(Path(folder), MANIFEST, TENSORS)
        edit(Path(folder), change, sign=field != "content_sha256")
        found = outcome(Path(folder))
        outcome(Path(folder), verify=False)
    assert found is None or field in ("manifest", "libraries")


def put(*path: str) -> Any:
    """A change of a document that sets the entry at `path[:-1]` to the JSON text `path[-1]`."""

    def change(document: dict[str, Any]) -> None:
        *keys, last, value = path
        for key in keys:
            document = document[key]
        document[last] = json.loads(value)

    return change


def rename_tensors(name: str) -> Any:
    def change(document: dict[str, Any]) -> None:
        (entry,) = document["checksums"].values()
        document["checksums"] = {name: entry}

    return change


HOSTILE = {
    "another format": (put("format", '"keras"'), "format is not 'bilinear-model'"),
    "newer": (put("format_version", "3"), r"version 3, written by bilinear .*pip install --upgrade bilinear"),
    "version is bool": (put("format_version", "true"), "format_version is not a whole number"),
    "version is text": (put("format_version", '"1"'), "format_version is not a whole number"),
    "version 0": (put("format_version", "0"), "format_version is not a whole number"),
    "libraries is a list": (put("libraries", "[]"), "libraries does not map"),
    "libraries of numbers": (put("libraries", "numpy", "2"), "libraries does not map"),
    "more fields": (put("pickle", '"x"'), "the entries are not"),
    "manifest is a list": (put("manifest", "[]"), "manifest is not an object"),
    "no checksums": (put("checksums", "{}"), "does not name one file"),
    "checksums is text": (put("checksums", '"x"'), "does not name one file"),
    "checksum is text": (
        lambda d: d["checksums"].update({next(iter(d["checksums"])): "x"}),
        "bytes and sha256",
    ),
    "parent folder": (rename_tensors("../secret"), "names a file that is not tensors-"),
    "absolute": (rename_tensors("/etc/passwd"), "names a file that is not tensors-"),
    "drive": (rename_tensors("C:\\secret"), "names a file that is not tensors-"),
    "path inside": (rename_tensors("x/tensors-0123456789abcdef.safetensors"), "names a file that is not"),
    "line end": (rename_tensors("tensors-0123456789abcdef.safetensors\n"), "names a file that is not"),
    "NUL": (rename_tensors("tensors-0123456789abcdef.safetensors\0"), "names a file that is not"),
    "missing file": (rename_tensors("tensors-0123456789abcdef.safetensors"), "0123456789abcdef.*is missing"),
}


@pytest.mark.parametrize("case", HOSTILE, ids=str)
def test_hostile_documents_are_refused_with_the_reason(saved, case):
    change, reason = HOSTILE[case]
    edit(saved, change)
    with pytest.raises(ModelFileError, match=reason) as caught:
        read_artifact(saved)
    assert str(saved / "model.json") in str(caught.value)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b'{"a": ' + b"[" * 100_000, "nested too deep"),
        (b'{"format": "bilinear-model", "format": "bilinear-model"}', "a key occurs twice"),
        (b" " * (MAX_JSON_BYTES + 1), "more than 10,000,000 bytes"),
        (b"9" * 10_000, "cannot be read"),
        (b'{"format": NaN}', "NaN is not a JSON number"),
        (b"null", "not an object"),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_hostile_json_is_refused_with_the_reason(saved, document, reason):
    (saved / "model.json").write_bytes(document)
    with pytest.raises(ModelFileError, match=reason):
        read_artifact(saved)


def test_json_as_deep_as_the_parser_goes_is_refused(saved):
    content = (saved / "model.json").read_text()
    for depth in range(850, 1000):  # the parser gives up somewhere here, the encoder somewhere else
        deep = content.replace('"rng": null', '"rng": ' + "[" * depth + "]" * depth)
        (saved / "model.json").write_text(deep)
        with pytest.raises(ModelFileError):
            read_artifact(saved)


def test_infinity_spelled_as_a_large_number_is_refused(saved):
    content = (saved / "model.json").read_text()
    (saved / "model.json").write_text(content.replace('"l2": 0.05', '"l2": 1e999'))
    with pytest.raises(ModelFileError, match="was changed after it was written"):
        read_artifact(saved)


def test_tensors_of_another_size_are_refused_without_verify(saved, tmp_path):
    write_artifact(tmp_path / "other", MANIFEST, {"x": np.ones(1000)})
    shutil.copy(tensors_file(tmp_path / "other"), tensors_file(saved))
    with pytest.raises(ModelFileError, match=r"has 8,\d+ bytes instead of \d+"):
        read_artifact(saved, verify=False)


def test_an_edited_manifest_is_refused_with_and_without_verify(saved):
    edit(saved, put("manifest", "l2", "0.5"), sign=False)
    for verify in (True, False):
        with pytest.raises(ModelFileError, match="was changed after it was written"):
            read_artifact(saved, verify=verify)


def test_links_may_stay_in_the_folder_but_not_leave_it(saved, tmp_path):
    path = tensors_file(saved)
    (saved / "store").mkdir()
    shutil.move(path, saved / "store" / "data")
    path.symlink_to("store/data")
    assert_is_sample(read_artifact(saved))
    shutil.move(saved / "store" / "data", tmp_path / "outside")
    path.unlink()
    path.symlink_to(tmp_path / "outside")
    with pytest.raises(ModelFileError, match="leads out of the model folder"):
        read_artifact(saved)
    shutil.move(saved / "model.json", tmp_path / "outside.json")
    (saved / "model.json").symlink_to("../outside.json")
    with pytest.raises(ModelFileError, match="leads out of the model folder"):
        read_artifact(saved)


def test_a_model_is_found_through_a_link_to_its_folder(saved, tmp_path):
    (tmp_path / "current").symlink_to("model")
    write_artifact(tmp_path / "current", MANIFEST, TENSORS)
    assert_is_sample(read_artifact(tmp_path / "current"))
    assert (tmp_path / "current").is_symlink()


@pytest.mark.parametrize("which", ["model.json", "tensors"])
def test_pipes_and_loops_do_not_hang_the_reader(saved, which):
    path = saved / "model.json" if which == "model.json" else tensors_file(saved)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ModelFileError, match="not a regular file"):
        read_artifact(saved)
    path.unlink()
    path.symlink_to(path.name)
    with pytest.raises((ModelFileError, OSError)):
        read_artifact(saved)


def test_what_is_missing_is_named_with_what_makes_it(saved, tmp_path):
    with pytest.raises(ModelFileError, match=r"no such folder; give the folder that `bilinear train` made"):
        read_artifact(tmp_path / "none")
    with pytest.raises(ModelFileError, match=r"is a file, not a model folder"):
        read_artifact(saved / "model.json")
    with pytest.raises(ModelFileError, match=r"no model.json in it.*`bilinear train`"):
        read_artifact(tmp_path)
    tensors_file(saved).unlink()
    with pytest.raises(ModelFileError, match=r"names the file tensors-\w+.safetensors, which is missing"):
        read_artifact(saved)


# Copies and models in memory


@pytest.mark.parametrize("linked", [True, False])
def test_a_copy_is_the_model_with_its_tensors_linked_where_that_is_possible(
    saved, tmp_path, monkeypatch, linked
):
    if not linked:

        def no_links(*args: Any, **options: Any) -> None:
            raise PermissionError(errno.EPERM, "no hard links here")

        monkeypatch.setattr(os, "link", no_links)
    copy = tmp_path / "copy"
    for _ in range(2):  # onto itself as well
        assert copy_artifact(saved, copy) == check_artifact(saved)
        assert_is_sample(read_artifact(copy))
        assert files(copy) == files(saved)
        assert tensors_file(copy).samefile(tensors_file(saved)) is linked
    write_artifact(saved, {"version": 2}, {"x": np.zeros(3)})
    assert_is_sample(read_artifact(copy))


def test_a_copy_replaces_a_model_and_nothing_else(saved, tmp_path):
    write_artifact(tmp_path / "old", {"version": 2}, {"x": np.zeros(3)})
    copy_artifact(saved, tmp_path / "old")
    assert_is_sample(read_artifact(tmp_path / "old"))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").touch()
    with pytest.raises(ModelFileError, match="choose another folder"):
        copy_artifact(saved, tmp_path / "photos")
    tensors_file(saved).write_bytes(bytes(tensors_file(saved).stat().st_size))
    with pytest.raises(ModelFileError, match="SHA-256"):
        copy_artifact(saved, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_model_in_memory_is_the_mapped_one_and_no_longer_the_files(saved):
    mapped, found = read_artifact(saved), read_artifact(saved, in_memory=True)
    path = tensors_file(saved)
    assert_is_sample(found)
    for name, tensor in found.tensors.items():
        assert not tensor.flags.writeable
        start = tensor.__array_interface__["data"][0]
        assert start % 64 == mapped.tensors[name].__array_interface__["data"][0] % 64
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert_is_sample(found)
    with pytest.raises(ModelFileError, match="SHA-256"):
        read_artifact(saved, in_memory=True)


class CutShort:
    """A file that ends after 64 of the bytes that its size tells."""

    def __init__(self, file: Any) -> None:
        self.file, self.fileno, self.at = file, file.fileno, 0

    def readinto(self, into: Any) -> int:
        self.at += 1
        return self.file.readinto(into[:64]) if self.at == 1 else 0


def test_a_file_cut_short_while_it_is_read_into_memory_is_refused(saved):
    path = tensors_file(saved)
    with path.open("rb") as file, pytest.raises(ModelFileError, match="cut short to 64 bytes"):
        read_content(CutShort(file), path, len)


# Killed and concurrent writers


def test_a_reader_follows_a_swap_between_the_two_files(saved, monkeypatch):
    real, swaps = artifact._open_tensors, iter([2, 3])

    def swap_first(*args: Any) -> Any:
        version = next(swaps, None)
        if version:
            write_artifact(saved, {"version": version}, {"x": np.full(9, version)})
        return real(*args)

    monkeypatch.setattr(artifact, "_open_tensors", swap_first)
    found = read_artifact(saved)
    assert found.manifest == {"version": 3}
    assert (found.tensors["x"] == 3).all()


WRITER = """
import os, signal, sys
from pathlib import Path
import numpy as np
from bilinear.persistence.artifact import read_artifact, write_artifact

folder = Path(sys.argv[1])

def save(version):
    write_artifact(folder, {"version": version}, {"x": np.full(version % 7 * 1000, version)})

def check():
    found = read_artifact(folder)
    assert (found.tensors["x"] == found.manifest["version"]).all()
    assert len(found.tensors["x"]) == found.manifest["version"] % 7 * 1000
    return found.manifest["version"]
"""


def run(script: str, *args: object, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER + script, *map(str, args)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, **options)


KILLED_AT_EVERY_LINE = """
lines = 0

def count(frame, event, arg):
    global lines
    if not frame.f_code.co_filename.endswith(("artifact.py", "files.py")):
        return None
    if event == "line":
        lines += 1
        if lines == limit:
            os.kill(os.getpid(), signal.SIGKILL)
    return count

save(1)
limit, outcomes = 0, []
while True:
    limit += 1
    before = check()
    child = os.fork()
    if not child:
        sys.settrace(count)
        save(before + 1)
        os._exit(0)
    killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    after = check()
    assert after in (before, before + 1), (before, after)
    outcomes.append(after - before)
    assert len(list(folder.iterdir())) <= 4  # leftovers do not pile up
    if not killed:
        break
save(1)
assert len(list(folder.iterdir())) == 2
print(outcomes.count(0), outcomes.count(1), outcomes == sorted(outcomes))
"""


def test_a_writer_killed_at_any_line_leaves_the_old_or_the_new_model(tmp_path):
    writer = run(KILLED_AT_EVERY_LINE, tmp_path / "model")
    output, _ = writer.communicate()
    assert writer.returncode == 0
    kept_old, made_new, once_for_all = output.split()
    assert int(kept_old) > 50
    assert int(made_new) > 10
    assert once_for_all == "True"  # there is one moment, and all is old before it and new after it


KILLED_AT_RANDOM = """
import random, time
random.seed(7)
save(1)
survived = 1
for round in range(25):
    ready, tell = os.pipe()
    child = os.fork()
    if not child:
        version = survived
        while True:
            version += 1
            save(version)
            os.write(tell, b".")
    os.read(ready, 1)
    time.sleep(random.uniform(0, 0.02))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    after = check()
    assert after > survived
    survived = after
    os.close(ready)
    os.close(tell)
save(1)
assert len(list(folder.iterdir())) == 2
"""


def test_a_writer_killed_at_a_random_moment_leaves_a_whole_model(tmp_path):
    writer = run(KILLED_AT_RANDOM, tmp_path / "model")
    writer.communicate()
    assert writer.returncode == 0


def test_concurrent_writers_never_mix_and_readers_never_fail(tmp_path):
    folder = tmp_path / "model"
    loop = "for n in range(40): save(int(sys.argv[2]) * 1000 + n)"
    write_artifact(folder, {"version": 0}, {"x": np.zeros(0)})
    writers = [run(loop, folder, number) for number in (1, 2, 3)]
    versions = set()
    while any(writer.poll() is None for writer in writers):
        found = read_artifact(folder)
        version = found.manifest["version"]
        assert (found.tensors["x"] == version).all()
        assert len(found.tensors["x"]) == version % 7 * 1000
        versions.add(version)
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    assert len(versions) > 1
    assert read_artifact(folder).manifest["version"] in {1039, 2039, 3039}  # a last one won
    assert len(files(folder)) == 2
