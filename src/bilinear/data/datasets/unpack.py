"""Unpacking a zip archive that came from elsewhere: whole, checked, and never outside its folder."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from bilinear.errors import DownloadError

MANIFEST = ".unpacked.json"
"""In the unpacked folder: each file's bytes and CRC, to recognise damage later."""

_MOST_MEMBERS = 1_000
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_ENCRYPTED = 0x1


def unpack(
    archive: Path, target: Path, *, needed: tuple[str, ...], limit: int, replace: bool = False
) -> None:
    """Unpack the archive's folder called `target.name` to `target`, whole or not at all.

    Every member's name, kind and declared size is checked before the first byte is written, and
    every CRC while it is. Members outside that folder are checked but not unpacked.

    Args:
        needed: files that the folder must hold.
        limit: bytes that all members together may declare.
        replace: take the place of a `target` that is there.
    Raises:
        DownloadError: the archive is damaged, unsafe, or another one than expected.
    """
    home, name = target.parent, target.name
    try:
        with (
            zipfile.ZipFile(archive) as bundle,
            tempfile.TemporaryDirectory(prefix=f".{name}-", dir=home) as work,
        ):
            members = _checked_members(bundle, archive, limit)
            own = {
                path: info for path, info in members.items() if path.parts[0] == name and len(path.parts) > 1
            }
            missing = [file for file in needed if PurePosixPath(name, file) not in own]
            if missing:
                raise DownloadError(
                    f"{archive} holds no {name}/{missing[0]}; it is another archive than expected"
                )
            n_bytes, free = sum(info.file_size for info in own.values()), shutil.disk_usage(home).free
            if n_bytes > free:
                raise DownloadError(
                    f"{archive} unpacks to {n_bytes:,} bytes, the disk of {home} has {free:,}; make room"
                )
            for path, info in own.items():
                _unpack_member(bundle, info, Path(work, *path.parts))
            _write_manifest(Path(work, name), own)
            _move_into_place(Path(work, name), target, Path(work, "old"), replace)
    except (zipfile.BadZipFile, zlib.error, EOFError, UnicodeError) as error:
        raise DownloadError(f"{archive} is damaged ({error}); delete it and fetch it again") from error


def check_unpacked(folder: Path) -> None:
    """Raises DownloadError unless `folder` holds what `unpack` put there. Cost: reads every file."""
    advice = "move the folder away, or replace it with force=True"
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        expected = {str(name): (int(n_bytes), int(crc)) for name, (n_bytes, crc) in manifest.items()}
    except FileNotFoundError:
        raise DownloadError(
            f"{folder} was not put there by bilinear and cannot be checked; {advice}"
        ) from None
    except (ValueError, TypeError, AttributeError):
        raise DownloadError(f"{folder / MANIFEST} is damaged; {advice}") from None
    for name, (n_bytes, crc) in expected.items():
        path = folder / name
        if not path.is_file():
            raise DownloadError(f"{path} is missing; {advice}")
        if path.stat().st_size != n_bytes or _crc(path) != crc:
            raise DownloadError(f"{path} is not as it was unpacked; {advice}")


def _checked_members(
    bundle: zipfile.ZipFile, archive: Path, limit: int
) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """The files of the archive by path; raises at the first that is unsafe."""
    infos = bundle.infolist()
    if len(infos) > _MOST_MEMBERS:
        raise DownloadError(f"{archive} holds {len(infos):,} members, expected at most {_MOST_MEMBERS:,}")
    total = sum(info.file_size for info in infos)
    if total > limit:
        raise DownloadError(
            f"{archive} declares {total:,} bytes unpacked, expected at most {limit:,}; not unpacked"
        )
    members: dict[PurePosixPath, zipfile.ZipInfo] = {}
    seen: set[str] = set()
    for info in infos:
        fault = _fault(info)
        folded = info.filename.rstrip("/").casefold()  # two names may be one file on some disks
        if not fault and folded in seen:
            fault = "a name that occurs twice"
        if fault:
            raise DownloadError(
                f"{archive} is unsafe: member {info.orig_filename!r} has {fault}; not unpacked"
            )
        seen.add(folded)
        if not info.is_dir():
            members[PurePosixPath(info.filename)] = info
    return members


def _fault(info: zipfile.ZipInfo) -> str | None:
    name, mode = info.orig_filename, info.external_attr >> 16
    if not name or any(sign in name for sign in ("\\", ":", "\0")):
        return "a name that is not a plain relative path"
    if any(part in ("", ".", "..") for part in name.removesuffix("/").split("/")):
        return "a path that leads elsewhere"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a kind other than file and folder"
    if info.flag_bits & _ENCRYPTED:
        return "encrypted content"
    if info.compress_type not in _METHODS:
        return "an unusual compression method"
    return None


def _unpack_member(bundle: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # zipfile gives at most the declared bytes and compares the CRC at the end
    with bundle.open(info) as packed, path.open("xb") as file:
        shutil.copyfileobj(packed, file, 1 << 20)
        file.flush()
        os.fsync(file.fileno())
    if path.stat().st_size != info.file_size:
        raise zipfile.BadZipFile(f"{info.filename} is shorter than declared")


def _write_manifest(folder: Path, members: dict[PurePosixPath, zipfile.ZipInfo]) -> None:
    content = {"/".join(path.parts[1:]): (info.file_size, info.CRC) for path, info in sorted(members.items())}
    with (folder / MANIFEST).open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def _move_into_place(made: Path, target: Path, old: Path, replace: bool) -> None:
    if replace and (target.exists() or target.is_symlink()):
        target.rename(old)  # thrown away with the working folder
        try:
            made.rename(target)
        except OSError:
            old.rename(target)
            raise
        return
    try:
        made.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        check_unpacked(target)  # another process was quicker


def _crc(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            crc = zlib.crc32(chunk, crc)
    return crc
