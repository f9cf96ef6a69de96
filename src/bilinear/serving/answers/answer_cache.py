"""Lists that are asked for again, while nothing has changed of what they were made from."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence

import bilinear.serving.messages as m
from bilinear.serving.answers.service import Change
from bilinear.serving.answers.serving_model import ServingModel

_BYTES_A_LIST = 500
_FREED = 4

_Key = tuple[str, float, bool]


class AnswerCache:
    """JSON of lists, given again for the same question, model and feedback. For one thread.

    Feedback is read before every look-up and compared, so that no answer is older than the store. Lists among
    candidates, categories or filters are not kept.

    Args:
        most_bytes: of all that is kept; what was kept first goes first. 0 keeps nothing.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._model: Callable[[], ServingModel | None] = lambda: None
        self._kept: dict[_Key, tuple[Sequence[Change], bytes]] = {}
        self._left: dict[_Key, tuple[Sequence[Change], bytes]] = {}
        self._bytes = 0

    def get(
        self, serving_model: ServingModel, asked: m.RecommendBody, changes: Sequence[Change]
    ) -> bytes | None:
        """The answer, if it was kept and a new one would be the same."""
        for _ in range(min(_FREED, len(self._left))):
            self._left.popitem()
        if self._model() is not serving_model:
            # What was kept for the model before is freed by and by: at once would take milliseconds.
            self._model, self._left, self._kept, self._bytes = weakref.ref(serving_model), self._kept, {}, 0
        known = self._kept.get((asked.user, asked.n, asked.exclude_seen))
        if known is None or known[0] != changes or not _is_plain(asked):
            return None
        return known[1]

    def put(
        self,
        serving_model: ServingModel,
        asked: m.RecommendBody,
        changes: Sequence[Change],
        answer: bytes,
    ) -> None:
        """Keeps an answer of the model that was last asked for."""
        size = _size(changes, answer)
        if self._model() is not serving_model or size > self._most or not _is_plain(asked):
            return
        key = asked.user, asked.n, asked.exclude_seen
        before = self._kept.pop(key, None)
        self._bytes += size - (0 if before is None else _size(*before))
        self._kept[key] = changes, answer
        while self._bytes > self._most:
            oldest = next(iter(self._kept))
            self._bytes -= _size(*self._kept.pop(oldest))


def _size(changes: Sequence[Change], answer: bytes) -> int:
    """Of an answer, and about of what is kept beside it."""
    return len(answer) + _BYTES_A_LIST * (1 + len(changes))


def _is_plain(asked: m.RecommendBody) -> bool:
    """Whether nothing but these three is asked for, whatever else a question may come to have."""
    return asked == m.RecommendBody(asked.user, asked.n, asked.exclude_seen)
