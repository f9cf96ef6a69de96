"""Titles and genres of items: an optional table beside the ratings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bilinear.data.missing_values import is_absent
from bilinear.data.packed_text import PackedText
from bilinear.data.side_table import SideTable
from bilinear.data.vocabulary import Id, Vocabulary

_NO_GENRE = {"", "(no genres listed)"}


@dataclass(frozen=True, eq=False, repr=False)
class Items(SideTable):
    """Titles and all other columns of an items table, by id, see `SideTable`.

    Attributes:
        title_column, genre_column: Which of the columns are these, or None.

    Examples:
        >>> from bilinear import Items, Vocabulary
        >>> films = Items(Vocabulary.from_ids([7, 8]), {"title": ["Alien", "Heat"]}, title_column="title")
        >>> films.title(8), films.title(9)
        ('Heat', '9')
        >>> films.search("AL")
        [(7, 'Alien')]
    """

    title_column: str | None = None
    genre_column: str | None = None

    side = "item"

    def title(self, id_: Id) -> str:
        """The title, or the id as text where the title is missing."""
        return self.titles([id_])[0]

    def titles(self, ids: Iterable[Id]) -> list[str]:
        """One title an id; a `Vocabulary` is such a list of ids."""
        ids = list(ids)
        names = self.columns[self.title_column] if self.title_column is not None else None
        found = self.vocabulary.encode(ids)
        return [
            str(names[at]) if names is not None and at >= 0 and not _is_blank(names[at]) else str(id_)
            for at, id_ in zip(found.tolist(), ids, strict=True)
        ]

    def genres(self, id_: Id) -> tuple[str, ...]:
        """The genres of one item, none where it or its genres are unknown."""
        if self.genre_column is None or id_ not in self:
            return ()
        value = self.columns[self.genre_column][self.vocabulary.row(id_)]
        if _is_blank(value):
            return ()
        parts = value.split("|") if isinstance(value, str) else map(str, value)
        return tuple(part.strip() for part in parts if part.strip() not in _NO_GENRE)

    def texts(self, vocabulary: Vocabulary) -> dict[str, PackedText]:
        """Titles and genres in the order of a vocabulary, as a model keeps them."""
        texts = {"title": PackedText.of(self.titles(vocabulary))}
        if self.genre_column is not None:
            texts["genres"] = PackedText.of("|".join(self.genres(item)) for item in vocabulary)
        return texts

    def search(self, text: str, n: int = 10) -> list[tuple[Id, str]]:
        """Up to n (id, title) whose title contains `text`, whatever the case; shorter titles first."""
        wanted = text.casefold()
        titles = self.titles(self.vocabulary)
        hits = [at for at, title in enumerate(titles) if wanted in title.casefold()]
        hits.sort(key=lambda at: (not titles[at].casefold().startswith(wanted), len(titles[at])))
        return [(self.vocabulary[at], titles[at]) for at in hits[:n]]


def _is_blank(value: Any) -> bool:
    return is_absent(value) or (isinstance(value, str) and not value.strip())
