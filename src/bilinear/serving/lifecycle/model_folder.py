"""The model folder that is served, and the earlier models that a rollback can go back to."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Literal

from bilinear.data.features.cells import separator_of
from bilinear.data.items import Items
from bilinear.data.packed_text import PackedText
from bilinear.data.vocabulary import Vocabulary
from bilinear.errors import BilinearError, ModelFileError
from bilinear.estimators.recommender import Recommender
from bilinear.estimators.with_features import packed_cells, texts_of
from bilinear.memory import available
from bilinear.persistence import models
from bilinear.persistence.artifact import artifact_stamp, check_artifact, copy_artifact
from bilinear.persistence.models import load
from bilinear.serving.lifecycle.folder_lock import FolderLock
from bilinear.serving.lifecycle.model_history import History, is_whole, version_of
from bilinear.serving.problems import Conflict

Condition = Literal["as loaded", "replaced", "damaged"]

_KEPT = 5
_VERSION_DIGITS = 12


class ModelFolder:
    """The served model in the folder `path`, and the history of models in `<path>.history`.

    The history holds the live model and the models before it.

    A model goes live only after the model before it is in the history; with hard links that takes neither
    time nor space. So a folder rewritten by `bilinear train` can be rolled back too, also after a process
    was killed or the disk was full.

    Args:
        items: a table with titles and categories, in place of those that a model has.
        items_id, items_title, items_quote: how to read it, see `bilinear.read_items`.
        kept: how many earlier models.
        read_only: change neither folder; reload only.

    Examples:
        >>> from pathlib import Path
        >>> from bilinear import Interactions, Popularity
        >>> from bilinear.serving import ModelFolder
        >>> clicks = Interactions.from_columns(["ann", "bob"], ["tea", "jam"])
        >>> Popularity().fit(clicks).save("model")
        >>> folder = ModelFolder(Path("model"))
        >>> model, version = folder.load()
        >>> model, len(version)
        (Popularity(), 12)
        >>> folder.close()
    """

    def __init__(
        self,
        path: Path,
        *,
        items: Path | None = None,
        items_id: str | None = None,
        items_title: str | None = None,
        items_quote: str = "auto",
        kept: int = _KEPT,
        read_only: bool = False,
    ) -> None:
        self.path, self.kept, self.read_only = Path(path), kept, read_only
        self._items: Items | None = None
        self._read_items = None
        if items is not None:  # once a model is there, whose items tell the column of ids
            from bilinear.data.reading.item_tables import read_items

            self._read_items = partial(read_items, items, item=items_id, title=items_title, quote=items_quote)
        self._history = History(_history_of(self.path.absolute()))
        # By a link to the folder or by its own name: two servers on it must meet.
        real = Path(os.path.realpath(self.path))
        self._lock = FolderLock({self._history.folder, _history_of(real)}, f"the model folder {self.path}")
        self._is_serving = False
        self._checking = threading.Lock()
        self._checked: tuple[object, Condition] = (None, "as loaded")

    # The lock

    def lock(self) -> None:
        """Holds the folder until `close`, and removes what killed servers left in the history.

        A disk that is full or read-only does not stop a server: the lock is then taken before a change.

        Raises:
            Conflict: another server has the folder.
        """
        if self.read_only or not self.path.is_dir():
            return
        self._is_serving = True
        with suppress(OSError):
            self._lock.take()
            self._history.sweep()

    def close(self) -> None:
        self._is_serving = False
        self._lock.release()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Holds the folder for a change of it or of the history. May be nested.

        Raises:
            Conflict: another server has it, it cannot be written, or `read_only`.
        """
        if self.read_only:
            raise Conflict(
                "the model folder is served read-only; ask the server that changes it", code="read_only"
            )
        if self._lock.is_held:
            yield
            return
        try:
            self._lock.take()
        except OSError as error:
            raise Conflict(f"{self._history.folder} cannot be written: {error}", code="not_kept") from error
        try:
            yield
        finally:
            if not self._is_serving:
                self._lock.release()

    # Reading

    def load(self) -> tuple[Recommender, str]:
        """The model in the folder and its version, checked.

        It lies in memory of its own, so that nothing done to the files reaches it; one that would take more
        than half of the memory that is free is mapped instead. One of more than 512 MiB is mapped and not
        checked byte by byte: memory holds the pages that are used, and `condition` says whether the bytes
        are those that were saved.

        Raises:
            Conflict: there is none, or it is damaged; the message says which.
        """
        return self.load_from(self.path)

    def load_from(self, folder: Path, content: str = "") -> tuple[Recommender, str]:
        """Another folder's model and version, with this one's titles; see `load`.

        Args:
            content: the beginning of its content hash. Raises Conflict: it is another.

        Examples:
            >>> from pathlib import Path
            >>> from bilinear import Interactions, Popularity
            >>> from bilinear.serving import ModelFolder
            >>> clicks = Interactions.from_columns(["ann", "bob"], ["tea", "jam"])
            >>> Popularity().fit(clicks).save("model")
            >>> Popularity(confidence="log").fit(clicks).save("other")
            >>> folder = ModelFolder(Path("model"))
            >>> folder.load_from(Path("other"))[0]
            Popularity(confidence='log')
            >>> folder.close()
        """
        model, found = _loaded(folder)
        if not found.startswith(content):
            raise Conflict(f"{folder} holds another model than the one that was measured", code="other_model")
        if self._read_items is not None:
            self._items = self._items or self._read_items(match=model.item_vocabulary_)
            model.item_texts_ = {**model.item_texts_, **_texts(self._items, model.item_vocabulary_)}
        return model, found[:_VERSION_DIGITS]

    def condition(self, live: str) -> Condition:
        """Whether the folder still holds the live model: "replaced" by another, or "damaged".

        Cost:
            a look at the files' times; one hash of the tensors whenever those changed. While that of a large
            model is being made, others get the answer before it.
        """
        if not self._checking.acquire(blocking=not _is_large(self.path)):
            return self._checked[1]
        try:
            for _ in range(3):  # a writer may be at work
                asked = live, artifact_stamp(self.path)
                if self._checked[0] == asked:
                    break
                self._checked = asked, self._examined(live)
            return self._checked[1]
        finally:
            self._checking.release()

    def _examined(self, live: str) -> Condition:
        try:
            return "as loaded" if check_artifact(self.path).startswith(live) else "replaced"
        except (ModelFileError, OSError):
            return "damaged"

    # Changing

    def keep(self, model: Recommender, version: str, *, verify: bool = True) -> None:
        """Makes sure that the live model is the newest of the history.

        Raises:
            Conflict: it is not, and cannot be added.
        """
        if self.read_only:
            return
        with self.changing():
            entries = self._history.entries()
            newest = entries[-1] if entries else None
            if newest and version_of(newest) == version and (not verify or is_whole(newest)):
                return
            try:
                self._history.add(version, partial(self._save, model, version))
            except (OSError, BilinearError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                folder = self._history.folder
                raise Conflict(
                    f"the model that is live could not be kept in {folder}: {reason}; make room",
                    code="not_kept",
                ) from error
            self._history.drop(self._history.entries()[: -self.kept - 1])

    def _save(self, model: Recommender, version: str, folder: Path) -> None:
        """From the folder, while it is there; else from memory."""
        with suppress(OSError, ModelFileError):
            if copy_artifact(self.path, folder, verify=not _is_large(self.path)).startswith(version):
                return
        shutil.rmtree(folder, ignore_errors=True)
        model.save(folder)

    def remember(self, model: Recommender, version: str) -> None:
        """As `keep`, of a model that has just gone live: where it fails, it is done before the next swap."""
        with suppress(Conflict):
            self.keep(model, version, verify=False)

    def publish(self, folder: Path) -> None:
        """Makes the model of another folder this one's, whole or not at all."""
        with self.changing():
            try:
                copy_artifact(folder, self.path)
            except (OSError, BilinearError) as error:
                raise Conflict(f"{self.path} cannot be written: {error}", code="not_saved") from error

    def candidate(self) -> Path:
        """A folder, not there yet, for a model in the making. Raises Conflict: see `changing`."""
        with self.changing():
            return self._history.unfinished("candidate")

    # Going back

    def earlier(self, live: str) -> list[Path]:
        """Folders of the models that were live before, the latest first."""
        entries = self._history.entries()
        at = [number for number, entry in enumerate(entries) if version_of(entry) == live]
        before = entries[: at[-1]] if at else entries
        return [entry for entry in reversed(before) if version_of(entry) != live]

    def forget(self, version: str) -> None:
        """Takes a model out of the history, which has a newer one."""
        with self.changing():
            older = self._history.entries()[:-1]
            self._history.drop([entry for entry in older if version_of(entry) == version])

    def forget_after(self, entry: Path) -> None:
        """Takes what came after an entry out of the history."""
        with self.changing():
            self._history.drop([other for other in self._history.entries() if other.name > entry.name])


def held_out(model: Recommender) -> dict[str, float] | None:
    """The score that was measured when a model was made, by the name of its metric, or None."""
    report, name = model.report_, type(model).__name__
    try:
        if "retrained" in report:
            return {str(report["retrained"]["metric"]): float(report["retrained"]["score"])}
        scores = report["scores"][name]
        if "rmse" in scores:
            return {"rmse": float(scores["rmse"]["value"])}
        return {"ndcg@10": float(scores["means"]["ndcg@10"]["value"])}
    except (KeyError, TypeError, ValueError):
        return None


def _texts(items: Items, vocabulary: Vocabulary) -> dict[str, PackedText]:
    """Title, genres and all other columns."""
    texts = texts_of(items, vocabulary)
    rows = items.vocabulary.encode(vocabulary).tolist()
    for name, values in items.columns.items():
        if name not in (*texts, items.title_column, items.genre_column):
            texts[name] = packed_cells(values, separator_of(values), rows)
    return texts


def _loaded(folder: Path) -> tuple[Recommender, str]:
    """A model and its content hash."""
    try:
        while True:
            before = check_artifact(folder, verify=False)
            checked = not _is_large(folder)
            model: Recommender = load(
                folder, in_memory=checked and _fits(folder), verify=checked, scan=checked
            )
            if check_artifact(folder, verify=False) == before:
                return model, before
    except (ModelFileError, OSError) as error:
        raise Conflict(str(error), code="model_refused") from error


def _is_large(folder: Path) -> bool:
    return _size(folder) > models.LARGE


def _fits(folder: Path) -> bool:
    """Whether a copy of the tensors takes less than half of what is free."""
    free = available()
    return free is None or 2 * _size(folder) <= free


def _size(folder: Path) -> int:
    return sum(size for _, _, size, *_ in artifact_stamp(folder))


def _history_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.history")
