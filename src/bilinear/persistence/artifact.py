"""A model on disk: a folder of `model.json` and one file of tensors. No pickle anywhere.

`model.json` names its tensors file, whose name derives from its content. A save writes the new
tensors beside the old, then replaces `model.json` in one step, then removes the old: whenever it
is cut off, `model.json` names tensors that are there and whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from bilinear.errors import BilinearError, ModelFileError, ParameterValueError
from bilinear.files import (
    TEMPORARY_NAME,
    is_regular,
    link_or_copy,
    locked,
    publish,
    sync_folder,
    temporary_file,
)
from bilinear.persistence.card import MARK
from bilinear.persistence.strict_json import MAX_JSON_BYTES, damaged, parse_json, plain_json
from bilinear.persistence.tensors import encode_tensors, map_tensors, parse_tensors, read_content
from bilinear.version import __version__

FORMAT = "bilinear-model"
FORMAT_VERSION = 2
"""The newest that is read: 2 has features of users and items, 1 has none."""
MODEL_FILE = "model.json"
CARD_FILE = "README.md"

_TENSORS_NAME = re.compile(r"tensors-[0-9a-f]{16}\.safetensors")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FIELDS = ("checksums", "format", "format_version", "libraries", "manifest")


@dataclass(frozen=True, eq=False)
class Artifact:
    """An opened model folder.

    `manifest` and `tensors` are what `write_artifact` was given; the tensors are read-only views
    of the file. `libraries` holds the versions of bilinear, NumPy and Python that wrote it.
    """

    manifest: dict[str, Any]
    tensors: dict[str, NDArray[Any]]
    path: Path
    libraries: dict[str, str]


def write_artifact(
    folder: Path,
    manifest: Mapping[str, Any],
    tensors: Mapping[str, NDArray[Any]],
    *,
    format_version: int = 1,
    card: str | None = None,
) -> None:
    """Saves a model under the name `folder`, whole or not at all, replacing a model that is there.

    A process killed at any moment leaves the old model or the new one. Readers that have the old
    one open keep it. Of several writers at once the last one wins. The same manifest and tensors
    give the same bytes.

    Args:
        manifest: text keys; values of text, numbers, bool, None, lists (tuples become lists) and
            dicts of these; at most 50 levels and 10 MB as JSON.
        tensors: see `write_tensors`.
        format_version: the oldest that describes them.
        card: becomes README.md, see `model_card`; reading does not look at it. It appears after the model,
            and is left out where the disk fails then.
    Raises:
        ParameterValueError: the manifest or a tensor cannot be stored; nothing was touched.
        ModelFileError: `folder` is a file, or holds other files and no model.
        OSError: the disk is full or the folder cannot be written; the old model is as it was.
    Cost:
        writes and hashes the tensors once (0.7 s for 282 MB); needs disk space for both models.
    """
    folder = Path(folder)
    plain = plain_json(dict(manifest), "manifest")
    chunks = encode_tensors(tensors)
    document: dict[str, Any] = {"format": FORMAT, "format_version": format_version}
    document |= {"libraries": _libraries(), "manifest": plain}
    if len(_encode(document)) > MAX_JSON_BYTES - 1000:  # which leaves room for the checksums
        raise ParameterValueError(f"the manifest exceeds {MAX_JSON_BYTES:,} bytes; store tables as tensors")
    _check_target(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        _sweep(folder)
        try:
            digest = hashlib.sha256()
            with temporary_file(folder / "tensors.safetensors") as file:
                for chunk in chunks:
                    digest.update(chunk)
                    file.write(chunk)
                name = f"tensors-{digest.hexdigest()[:16]}.safetensors"
                document["checksums"] = {name: {"bytes": file.tell(), "sha256": digest.hexdigest()}}
                publish(file, folder / name)
            with temporary_file(folder / MODEL_FILE) as file:
                file.write(_encode(document))
                publish(file, folder / MODEL_FILE)
            _put_card(folder, None if card is None else card.encode())
        finally:
            _sweep(folder)
    sync_folder(folder.parent)


def copy_artifact(source: Path, folder: Path, *, verify: bool = True) -> str:
    """Saves the model of the folder `source` under the name `folder`; see `write_artifact`.

    The copy has the same content hash. Its tensors are a hard link where the file system allows one,
    and then take neither time nor space: tensors are replaced, never written into.

    Args:
        verify: as in `read_artifact`.
    Returns:
        the content hash (64 hexadecimal digits).
    Raises:
        ModelFileError: no whole model is in `source`, or `folder` holds other files and no model.
        OSError: as `write_artifact`.
    Cost:
        hashes the tensors once (0.2 s for 282 MB).
    """
    source, folder = Path(source), Path(folder)
    text, document = _document(source)
    ((name, expected),) = document["checksums"].items()
    _check_tensors(source, name, expected, verify=verify)
    _check_target(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        _sweep(folder)
        try:
            link_or_copy(source / name, folder / name)
            _check_tensors(folder, name, expected, verify=False)
            with temporary_file(folder / MODEL_FILE) as file:
                file.write(text)
                publish(file, folder / MODEL_FILE)
            _put_card(folder, _card_of(source))
        finally:
            _sweep(folder)
    sync_folder(folder.parent)
    return str(document["content_sha256"])


def check_artifact(folder: Path, *, verify: bool = True) -> str:
    """Checks a model folder without opening its tensors, and returns its content hash.

    Args:
        verify: as in `read_artifact`.
    Raises:
        ModelFileError, OSError: as `read_artifact`.
    """
    folder = Path(folder)
    document = _document(folder)[1]
    ((name, expected),) = document["checksums"].items()
    try:
        _check_tensors(folder, name, expected, verify=verify)
    except FileNotFoundError:
        raise damaged(folder / MODEL_FILE, f"names the file {name}, which is missing") from None
    return str(document["content_sha256"])


def artifact_stamp(folder: Path) -> tuple[tuple[str, int, int, int, int], ...]:
    """File system facts of a model's files: name, inode, size and times.

    Equal stamps mean equal files; unequal ones may (a hard link or a `touch` changes times).
    """
    try:
        names = [entry.name for entry in Path(folder).iterdir()]
        stats = [
            (name, (Path(folder) / name).stat())
            for name in sorted(names)
            if name == MODEL_FILE or _TENSORS_NAME.fullmatch(name)
        ]
    except OSError:
        return ()
    return tuple((name, of.st_ino, of.st_size, of.st_mtime_ns, of.st_ctime_ns) for name, of in stats)


def read_artifact(folder: Path, *, verify: bool = True, in_memory: bool = False) -> Artifact:
    """Opens a model folder.

    Args:
        in_memory: read the tensors instead of mapping them. Then nothing that is done to the files
            later changes them, and a file cut short does not end the process (SIGBUS). Costs memory
            of the size of the file.
        verify: compare the tensors with their SHA-256, which finds every changed byte. Costs one
            reading of the file (0.2 s for 282 MB in the page cache); without it, opening takes
            under a millisecond whatever the size. Sizes and `model.json` itself are always checked.
    Raises:
        ModelFileError: no model is there, or it is damaged, hostile or of a newer format.
    """
    folder = Path(folder)
    before = b""
    while True:
        text, document = _document(folder)
        try:
            tensors = _open_tensors(folder, document["checksums"], verify, in_memory)
        except FileNotFoundError as error:
            # A writer may have replaced the model since its model.json was read: follow it.
            if text == before:
                missing = Path(error.filename).name
                raise damaged(folder / MODEL_FILE, f"names the file {missing}, which is missing") from None
            before = text
        else:
            return Artifact(document["manifest"], tensors, folder, document["libraries"])


def _card_of(folder: Path) -> bytes | None:
    """The model card of a folder; None where README.md is missing or another text."""
    path = folder / CARD_FILE
    with suppress(OSError, ModelFileError):
        _check_inside(path, folder)
        with path.open("rb") as file:
            text = file.read(MAX_JSON_BYTES)
        return text if text.startswith(MARK.encode()) else None
    return None


def _put_card(folder: Path, text: bytes | None) -> None:
    """Replaces the card of the model before, or removes it. Needs the folder's lock."""
    path = folder / CARD_FILE
    with suppress(OSError):  # the model is saved; its card is for people
        if path.is_symlink() or (path.exists() and _card_of(folder) is None):
            return
        if text is None:
            path.unlink(missing_ok=True)
            return
        with temporary_file(path) as file:
            file.write(text)
            publish(file, path)


def _check_target(folder: Path) -> None:
    """Refuses to save into a folder with other files."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ModelFileError(f"{folder} is a file; choose the name of a folder for the model")
    names = {entry.name for entry in folder.iterdir() if not TEMPORARY_NAME.fullmatch(entry.name)}
    if not names or any(_TENSORS_NAME.fullmatch(name) for name in names):
        return
    with suppress(BilinearError):
        if parse_json(_read_document(folder), folder / MODEL_FILE).get("format") == FORMAT:
            return
    raise ModelFileError(
        f"{folder} holds files ({', '.join(sorted(names)[:3])}{', ...' if len(names) > 3 else ''}) "
        "but no bilinear model; choose another folder, so that nothing of yours is lost"
    )


def _sweep(folder: Path) -> None:
    """Removes what killed writers left, and tensors no longer in use. Needs the folder's lock."""
    # What cannot be removed (Windows keeps a mapped file) takes space, does no harm and goes later.
    with suppress(OSError, ModelFileError):
        exists = (folder / MODEL_FILE).exists()
        used = _TENSORS_NAME.findall(_read_document(folder).decode(errors="replace")) if exists else []
        for entry in list(folder.iterdir()):
            unused = _TENSORS_NAME.fullmatch(entry.name) and entry.name not in used
            # A model.json that names none is damaged; its tensors may still be worth something.
            if TEMPORARY_NAME.fullmatch(entry.name) or (unused and (used or not exists)):
                with suppress(OSError):
                    entry.unlink()


def _read_document(folder: Path) -> bytes:
    path = folder / MODEL_FILE
    if not folder.is_dir():
        what = "is a file, not a model folder" if folder.exists() else "no such folder"
        raise ModelFileError(f"{folder}: {what}; give the folder that `bilinear train` made")
    try:
        _check_inside(path, folder)
        with path.open("rb") as file:
            text = file.read(MAX_JSON_BYTES + 1)
    except FileNotFoundError:
        raise ModelFileError(
            f"{folder}: no {MODEL_FILE} in it, so this is not a model folder, or its first save was cut off; "
            "give the folder that `bilinear train` made"
        ) from None
    if len(text) > MAX_JSON_BYTES:
        raise damaged(path, f"has more than {MAX_JSON_BYTES:,} bytes")
    return text


def _check_inside(path: Path, folder: Path) -> None:
    """Links may lead to other places of the folder, not out of it, and only to files with an end."""
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise damaged(path, "is a link that leads out of the model folder")
    if not is_regular(path):
        raise damaged(path, "is not a regular file")


def _check_document(document: dict[str, Any], path: Path) -> dict[str, Any]:
    if document.get("format") != FORMAT:
        raise ModelFileError(
            f"{path}: the format is not {FORMAT!r}; give the folder that `bilinear train` made"
        )
    version, libraries = document.get("format_version"), document.get("libraries")
    if not isinstance(libraries, dict) or not all(isinstance(value, str) for value in libraries.values()):
        raise damaged(path, "libraries does not map names to versions")
    if type(version) is not int or version < 1:
        raise damaged(path, "format_version is not a whole number from 1")
    if version > FORMAT_VERSION:
        raise ModelFileError(
            f"{path}: format version {version}, written by bilinear {libraries.get('bilinear', 'unknown')}; "
            f"this bilinear reads up to {FORMAT_VERSION}: upgrade with `pip install --upgrade bilinear`"
        )
    if document.keys() != {*_FIELDS, "content_sha256"}:
        raise damaged(path, f"the entries are not {', '.join(_FIELDS)} and content_sha256")
    if not isinstance(document["manifest"], dict):
        raise damaged(path, "manifest is not an object")
    _check_checksums(document["checksums"], path)
    try:
        matches = document["content_sha256"] == _content_sha256(document)
    except (RecursionError, ValueError):  # a number like 1e999 reads as infinity
        matches = False
    if not matches:
        raise damaged(path, "was changed after it was written (its content_sha256 does not match)")
    return document


def _check_checksums(checksums: Any, path: Path) -> None:
    if not isinstance(checksums, dict) or len(checksums) != 1:
        raise damaged(path, "checksums does not name one file")
    ((name, entry),) = checksums.items()
    if not _TENSORS_NAME.fullmatch(name):  # which excludes every way out of the folder
        raise damaged(path, "checksums names a file that is not tensors-<16 hex digits>.safetensors")
    valid = isinstance(entry, dict) and entry.keys() == {"bytes", "sha256"}
    if not valid or type(entry["bytes"]) is not int or not isinstance(entry["sha256"], str):
        raise damaged(path, f"checksums does not give bytes and sha256 of {name}")


def _document(folder: Path) -> tuple[bytes, dict[str, Any]]:
    """`model.json` as it is, and checked."""
    text, path = _read_document(folder), folder / MODEL_FILE
    return text, _check_document(parse_json(text, path), path)


def _open_tensors(
    folder: Path, checksums: dict[str, Any], verify: bool, in_memory: bool
) -> dict[str, NDArray[Any]]:
    ((name, expected),) = checksums.items()
    path = folder / name
    if not in_memory:
        with _checked_file(path, expected, verify=verify) as file:
            return map_tensors(file, path)
    with _checked_file(path, expected, verify=False) as file:
        digest = hashlib.sha256()
        content = read_content(file, path, digest.update if verify else lambda _: None)
        if verify:  # what is in memory, whatever the file has become
            _check_digest(path, digest.hexdigest(), expected)
    return parse_tensors(content, path)


def _check_tensors(folder: Path, name: str, expected: dict[str, Any], *, verify: bool) -> None:
    with _checked_file(folder / name, expected, verify=verify):
        pass


@contextmanager
def _checked_file(path: Path, expected: dict[str, Any], *, verify: bool) -> Iterator[BinaryIO]:
    """The tensors file, open, if it has the size and, with `verify`, the content that were saved."""
    _check_inside(path, path.parent)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size != expected["bytes"]:
            raise damaged(path, f"has {size:,} bytes instead of {expected['bytes']:,}")
        if verify:
            _check_digest(path, hashlib.file_digest(file, "sha256").hexdigest(), expected)
        yield file


def _check_digest(path: Path, found: str, expected: dict[str, Any]) -> None:
    if found != expected["sha256"]:
        raise damaged(path, "was changed after it was written (its SHA-256 does not match)")


def _encode(document: dict[str, Any]) -> bytes:
    document = {**document, "content_sha256": _content_sha256(document)}
    return json.dumps(document, ensure_ascii=False, indent=2, sort_keys=True).encode() + b"\n"


def _content_sha256(document: dict[str, Any]) -> str:
    content = {name: value for name, value in document.items() if name != "content_sha256"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _libraries() -> dict[str, str]:
    return {"bilinear": __version__, "numpy": np.__version__, "python": platform.python_version()}
