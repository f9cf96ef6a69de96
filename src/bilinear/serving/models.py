"""The model folder that is served, and the earlier models that a rollback can go back to."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from bilinear.data.items import Items, read_items
from bilinear.data.packed_text import PackedText
from bilinear.data.vocabulary import Vocabulary
from bilinear.errors import BilinearError, ModelFileError
from bilinear.estimators.recommender import Recommender
from bilinear.estimators.storage import load
from bilinear.model.artifact import MODEL_FILE
from bilinear.model.strict_json import parse_json
from bilinear.serving.problems import Conflict

_KEPT = 5
_NAME = re.compile(r"(\d{6})-([0-9a-f]{12})")


class ModelFolder:
    """The folder `path` holds what is live; `<path>.history` what was before, newest last.

    A model that stops being live is saved to the history before the next takes its place, so that a
    folder rewritten by `bilinear train` can be rolled back as well.

    Args:
        items: a table with titles and categories, in place of those that a model has.
        items_id, items_title: its columns, see `bilinear.read_items`.
        kept: how many earlier models.
    """

    def __init__(
        self,
        path: Path,
        *,
        items: Path | None = None,
        items_id: str | None = None,
        items_title: str | None = None,
        kept: int = _KEPT,
    ) -> None:
        self.path, self.kept = Path(path), kept
        self._items: Items | None = None
        if items is not None:
            known = _loaded(self.path)[0].item_vocabulary_
            self._items = read_items(items, item=items_id, title=items_title, match=known)
        self.history = self.path.absolute().with_name(f"{self.path.absolute().name}.history")

    def load(self) -> tuple[Recommender, str]:
        """The model in the folder and its version, checked byte by byte.

        Raises: Conflict: there is none, or it is damaged; the message says which.
        """
        return self.load_from(self.path)

    def load_from(self, folder: Path) -> tuple[Recommender, str]:
        """Another folder's model and version, with this one's titles; see `load`."""
        model, version = _loaded(folder)
        if self._items is not None:
            model.item_texts_ = _texts(self._items, model.item_vocabulary_)
        return model, version

    def keep(self, model: Recommender, version: str) -> None:
        """Saves a model to the history, unless it is the newest there."""
        entries = self._entries()
        if entries and entries[-1].name.endswith(version):
            return
        number = int(_number(entries[-1])) + 1 if entries else 1
        self.history.mkdir(parents=True, exist_ok=True)
        try:
            model.save(self.history / f"{number:06d}-{version}")
        except OSError as error:
            raise Conflict(
                f"the model that is live could not be kept in {self.history}: {error.strerror}; make room",
                code="not_kept",
            ) from error
        for old in self._entries()[: -self.kept]:
            shutil.rmtree(old, ignore_errors=True)

    def publish(self, model: Recommender) -> str:
        """Makes a model the folder's, whole or not at all; its version."""
        try:
            model.save(self.path)
        except (OSError, BilinearError) as error:
            raise Conflict(f"{self.path} cannot be written: {error}", code="not_saved") from error
        return _version(self.path)

    def newest(self, live: str) -> Path:
        """The folder of the newest model that is not the live one. Raises Conflict where there is none."""
        entries = [entry for entry in self._entries() if not entry.name.endswith(live)]
        if not entries:
            raise Conflict("no earlier model is kept, so there is nothing to roll back to", code="no_earlier")
        return entries[-1]

    def count(self) -> int:
        return len(self._entries())

    def _entries(self) -> list[Path]:
        if not self.history.is_dir():
            return []
        return sorted(entry for entry in self.history.iterdir() if _NAME.fullmatch(entry.name))


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
    texts = {"title": PackedText.of(items.titles(vocabulary))}
    if items.genre_column is not None:
        texts["genres"] = PackedText.of("|".join(items.genres(item)) for item in vocabulary)
    return texts


def _loaded(folder: Path) -> tuple[Recommender, str]:
    try:
        while True:
            before = _version(folder)
            model = load(folder)
            if _version(folder) == before:
                return model, before
    except (ModelFileError, OSError) as error:
        raise Conflict(str(error), code="model_refused") from error


def _version(folder: Path) -> str:
    """The beginning of the SHA-256 over all that model.json says, tensors' checksums included."""
    path = folder / MODEL_FILE
    if not path.is_file():
        raise ModelFileError(f"{folder}: no {MODEL_FILE} there; give the folder that `bilinear train` made")
    version = parse_json(path.read_bytes(), path).get("content_sha256")
    return version[:12] if isinstance(version, str) else "000000000000"


def _number(entry: Path) -> str:
    match = _NAME.fullmatch(entry.name)
    assert match is not None
    return match[1]
