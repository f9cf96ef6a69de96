"""Folders that one server has for as long as it lives."""

from __future__ import annotations

import os
from pathlib import Path

from bilinear.files import hold, release
from bilinear.serving.problems import Conflict


class FolderLock:
    """Holds folders together; they are made where they are not there.

    Args:
        what: what the folders stand for, in the refusal.
    """

    def __init__(self, folders: set[Path], what: str) -> None:
        self._folders, self._what = sorted(folders), what
        self._held: list[int] = []

    @property
    def is_held(self) -> bool:
        """Whether the folders that are there now are held."""
        return bool(self._held) and all(map(_is_at, self._folders, self._held))

    def take(self) -> None:
        """Holds all of them or none.

        Raises:
            Conflict: another server holds one.
            OSError: one cannot be made or opened.
        """
        self.release()
        try:
            for folder in self._folders:
                folder.mkdir(parents=True, exist_ok=True)
                self._held.append(self._hold(folder))
        except BaseException:
            self.release()
            raise

    def _hold(self, folder: Path) -> int:
        held = hold(folder)
        if held is None:
            raise Conflict(
                f"another server has {self._what}; stop it, or serve without changing the folder "
                "(--read-only-model, read_only_model=True)",
                code="locked",
            )
        return held

    def release(self) -> None:
        while self._held:
            release(self._held.pop())


def _is_at(folder: Path, held: int) -> bool:
    """Whether a folder is the one that is held: it may have been removed and made again."""
    if held < 0:
        return True
    try:
        return os.path.samestat(os.fstat(held), folder.stat())
    except OSError:
        return False
