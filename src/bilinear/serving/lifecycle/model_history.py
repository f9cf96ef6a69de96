"""The models that a server has answered from: a folder each, newest last."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bilinear.errors import ModelFileError
from bilinear.files import TEMPORARY_NAME, sync_folder
from bilinear.persistence.artifact import MODEL_FILE, artifact_stamp, check_artifact

_ENTRY = re.compile(r"(\d{6})-([0-9a-f]{12})")
_UNFINISHED = re.compile(r"\.(new|candidate|dropped)-[0-9a-f]{16}|candidate")


class History:
    """Entries `NNNNNN-VERSION` of a folder.

    An entry takes its name in one rename, when all of it is on disk, and leaves it in one. What does not
    open, whatever left it there, is not an entry.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._opens: dict[Path, tuple[object, bool]] = {}

    def entries(self) -> list[Path]:
        """Models that open, oldest first; tensors are checked by their size. A folder not there has none."""
        try:
            return [entry for entry in self._named() if self._can_open(entry)]
        except OSError:
            return []

    def unfinished(self, kind: str) -> Path:
        """A unique path for a model that is being written; `sweep` removes it if it stays."""
        return self.folder / f".{kind}-{secrets.token_hex(8)}"

    def add(self, version: str, make: Callable[[Path], None]) -> None:
        """Adds an entry as the newest. `make` writes it into the folder that it gets.

        Raises:
            OSError, or what `make` raises; then the history is as it was.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.unfinished("new")
        try:
            make(unfinished)
            number = max((int(entry.name[:6]) for entry in self._named()), default=0) + 1
            unfinished.rename(self.folder / f"{number:06d}-{version}")
            sync_folder(self.folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def drop(self, entries: list[Path]) -> None:
        """Takes entries out; one that cannot be renamed stays."""
        for entry in entries:
            dropped = self.unfinished("dropped")
            with suppress(OSError):
                entry.rename(dropped)
                shutil.rmtree(dropped, ignore_errors=True)

    def sweep(self) -> None:
        """Removes what killed processes left. Needs the folder's lock."""
        with suppress(OSError):
            for path in list(self.folder.iterdir()):
                # A damaged model.json stays: its tensors may be worth something.
                empty = _ENTRY.fullmatch(path.name) and not (path / MODEL_FILE).exists()
                if empty or _UNFINISHED.fullmatch(path.name):
                    shutil.rmtree(path, ignore_errors=True)
                elif TEMPORARY_NAME.fullmatch(path.name):
                    path.unlink(missing_ok=True)

    def _named(self) -> list[Path]:
        return sorted(entry for entry in self.folder.iterdir() if _ENTRY.fullmatch(entry.name))

    def _can_open(self, entry: Path) -> bool:
        stamp = artifact_stamp(entry)
        known = self._opens.get(entry)
        if known is None or known[0] != stamp:
            known = self._opens[entry] = stamp, is_whole(entry, verify=False)
        return known[1]


def version_of(entry: Path) -> str:
    return entry.name[7:]


def is_whole(folder: Path, *, verify: bool = True) -> bool:
    """Whether a model can be opened; see `check_artifact`."""
    try:
        check_artifact(folder, verify=verify)
    except (OSError, ModelFileError):
        return False
    return True
