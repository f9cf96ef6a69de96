"""Splits of a table into a training part and a held-out part."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bilinear.arguments import is_real, is_whole
from bilinear.data.interactions import Interactions
from bilinear.data.row_subset import Part
from bilinear.data.vocabulary import Vocabulary
from bilinear.errors import DataError, MissingColumnError, ParameterValueError
from bilinear.tabular import Shown

_MOST_PERMUTED = 1 << 26  # ratings, of which a permutation takes 8 bytes each
_DRAWN_AT_ONCE = 1 << 20
_MOST_LATER = 0.5  # of all rows: a later part of more is one large import, not time
LEAST_USERS = 50
"""Users on both sides of a cut in time from which it is worth it."""
_LATER = 0.5  # of the test part: so much must be truly later, and not of one moment

Order = Literal["temporal", "leave-last-out", "random"]
"""Where a test part lies in time, see `Split.order`."""


class HeldOut(NamedTuple):
    """How a test part was held out: where in time it lies, see `Split.order`, and its share of all rows."""

    order: Order
    share: float


@dataclass(frozen=True)
class Split(Shown):
    """Two or three disjoint parts of one table, with one vocabulary.

    Attributes:
        train: what a model learns from.
        test: the held-out part, for evaluation.
        history: None where users of the test part are in the training part as well. Else the users
            of the test part are not, and this is what they are folded in from.
    """

    train: Interactions
    test: Interactions
    how: str
    history: Interactions | None = None

    @property
    def order(self) -> Order | None:
        """Where the test part lies in time.

        "temporal": all of it after all of the training part. "leave-last-out": of each user after what the
        user has there. "random": anywhere. None: not known, as there are no times.

        Examples:
            >>> from bilinear import Interactions, split_temporal
            >>> clicks = Interactions.from_columns([1, 1, 2, 2], [1, 2, 1, 3], times=[10, 40, 20, 30])
            >>> split_temporal(clicks, test=0.5).order
            'temporal'
        """
        before, after = self.train.times, self.test.times
        if before is None or after is None or not len(before) or not len(after):
            return None
        if self.history is not None or self.train.notes.places:
            return None
        if after.min() > before.max():
            return "temporal"
        latest = np.full(self.train.n_users, -np.inf)
        np.maximum.at(latest, self.train.users, before)
        wait = after - latest[self.test.users]
        return "leave-last-out" if (wait >= 0).all() and (wait > 0).mean() > _LATER else "random"

    @property
    def held_out(self) -> HeldOut | None:
        """Order and share, for models that choose on an inner split; None where nothing is known of times.

        Examples:
            >>> from bilinear import Interactions, split_temporal
            >>> clicks = Interactions.from_columns([1, 1, 2, 2], [1, 2, 1, 3], times=[10, 40, 20, 30])
            >>> split_temporal(clicks, test=0.5).held_out
            HeldOut(order='temporal', share=0.5)
        """
        order, tested = self.order, self.test.n_ratings
        return None if order is None else HeldOut(order, tested / (self.train.n_ratings + tested))

    def __repr__(self) -> str:
        history = "" if self.history is None else f"{self.history.n_ratings:,} to fold in, "
        return (
            f"Split({self.how}: {self.train.n_ratings:,} to train, {history}{self.test.n_ratings:,} to test)"
        )


def split_random(interactions: Interactions, test: float = 0.2, rng: int = 0) -> Split:
    """A share `test` of all ratings, drawn without replacement.

    Examples:
        >>> from bilinear import split_random, synthetic_ratings
        >>> split = split_random(synthetic_ratings(50, 30, 600, rng=0), test=0.2, rng=0)
        >>> split.train.n_ratings, split.test.n_ratings
        (480, 120)
    """
    n_test = _n_test(interactions, test)
    n, chance = interactions.n_ratings, np.random.default_rng(rng)
    mask = np.zeros(n, bool)
    if n > _MOST_PERMUTED:
        _draw(mask, n_test, chance)
    else:
        mask[chance.permutation(n)[:n_test]] = True
    return _split(interactions, mask, f"random {_percent(test)}, seed {rng}")


def split_per_user(interactions: Interactions, test: float = 0.2, rng: int = 0) -> Split:
    """A share `test` of each user's ratings, drawn at random, rounded down; users of one stay whole.

    Examples:
        >>> from bilinear import Interactions, split_per_user
        >>> ratings = Interactions.from_columns([1] * 5 + [2], [1, 2, 3, 4, 5, 1], [3, 4, 5, 4, 3, 5])
        >>> split = split_per_user(ratings, test=0.4)
        >>> split.test.users, split.train.n_ratings
        (array([0, 0], dtype=int32), 4)
    """
    _n_test(interactions, test)
    keys = np.random.default_rng(rng).random(interactions.n_ratings)
    mask = _last_of_each(interactions, keys, test)
    if not mask.any():
        raise DataError(
            f"{interactions.source}: no user has the {int(np.ceil(1 / test))} {interactions.noun}s of which "
            f"{_percent(test)} is one; hold out a larger share, or split at random"
        )
    return _split(interactions, mask, f"{_percent(test)} of each user, seed {rng}")


def split_temporal(interactions: Interactions, test: float = 0.2) -> Split:
    """The latest share `test` of all ratings: train on the past, test on the future.

    Ratings with the time of the border all go to the test part.

    Examples:
        >>> from bilinear import Interactions, split_temporal
        >>> clicks = Interactions.from_columns([1, 1, 2, 2], [1, 2, 1, 3], times=[10, 40, 20, 30])
        >>> split = split_temporal(clicks, test=0.5)
        >>> split.train.times, split.test.times
        (array([10., 20.]), array([40., 30.]))
    """
    n_test = _n_test(interactions, test)
    times = _times(interactions, "a temporal split")
    if interactions.notes.places:
        raise MissingColumnError(
            f"{interactions.source} has places in the lists of users, which do not order different users; "
            "leave the last out (--split leave-last-out), or split at random"
        )
    border = np.partition(times, len(times) - n_test)[len(times) - n_test]
    mask = times >= border
    if mask.all():
        raise DataError(
            f"{interactions.source}: every {interactions.noun} has a time at or after the border {border:g}, "
            "so nothing is left to train on; split at random instead"
        )
    return _split(interactions, mask, f"latest {mask.mean():.0%} by time")


def later_part(interactions: Interactions, test: float = 0.2, least: int = LEAST_USERS) -> Split | None:
    """The temporal split of a table whose times are worth it, else None.

    They are where `least` users are on both sides of the cut, and at most half of the rows after it.

    Examples:
        >>> from bilinear import Interactions
        >>> from bilinear.data.splits import later_part
        >>> clicks = Interactions.from_columns([1, 1, 2, 2], [1, 2, 1, 3], times=[10, 40, 20, 30])
        >>> later_part(clicks) is None, later_part(clicks, 0.5, least=2).how
        (True, 'latest 50% by time')
    """
    if interactions.times is None or interactions.notes.places:
        return None
    try:
        split = split_temporal(interactions, test)
    except DataError:
        return None
    both = (split.train.by_user.counts > 0) & (split.test.by_user.counts > 0)
    enough = both.sum() >= least and split.test.n_ratings <= _MOST_LATER * interactions.n_ratings
    return split if enough else None


def split_rolling(interactions: Interactions, n: int = 5, test: float = 0.05) -> list[Split]:
    """`n` splits by time, the latest last: each trains on all before its cut point.

    The test parts hold a share `test` of all ratings each, follow one another and end with the table. Ratings
    with the time of a border go to the later part. Give `measure` the last as the split and the others as
    `refits`: models are fitted for each cut point, and differences get intervals over them.

    Examples:
        >>> from bilinear import Interactions, split_rolling
        >>> clicks = Interactions.from_columns([1, 1, 2, 2], [1, 2, 1, 3], times=[10, 40, 20, 30])
        >>> for split in split_rolling(clicks, n=2, test=0.25):
        ...     print(split.train.times, split.test.times)
        [10. 20.] [30.]
        [10. 20. 30.] [40.]
    """
    if not (is_whole(n) and n >= 1):
        raise ParameterValueError(f"n={n!r}: how many cut points, one or more")
    n_test = _n_test(interactions, test)
    times = _times(interactions, "a rolling split")
    first = len(times) - n * n_test
    if first < 1:
        raise DataError(
            f"{interactions.source}: {n} test parts of {_percent(test)} leave nothing to train on; take "
            "fewer or smaller ones"
        )
    ordered = np.sort(times)
    borders = [*ordered[first::n_test][:n], np.inf]
    splits = []
    for at, (begin, end) in enumerate(pairwise(borders), start=1):
        train, tested = times < begin, (begin <= times) & (times < end)
        if not (train.any() and tested.any()):
            raise DataError(
                f"{interactions.source}: too many {interactions.noun}s of one moment for {n} cut points; "
                "take fewer, or larger test parts"
            )
        how = f"cut point {at} of {n} by time, {_percent(test)} after each"
        splits.append(Split(interactions.take(train), interactions.take(tested), how))
    return splits


def split_leave_last_out(interactions: Interactions, n: int = 1, rng: int = 0) -> Split:
    """Each user's `n` latest ratings; users with `n` or fewer stay in training whole.

    Among ratings of one moment chance decides, by the seed; the description says for how many users.

    Examples:
        >>> from bilinear import Interactions, split_leave_last_out
        >>> clicks = Interactions.from_columns([1, 1, 2, 2], [1, 2, 1, 3], times=[10, 40, 20, 30])
        >>> split = split_leave_last_out(clicks)
        >>> split.train.times, split.test.times
        (array([10., 20.]), array([40., 30.]))
    """
    if not (is_whole(n) and n >= 1):
        raise ParameterValueError(f"n={n!r}: how many ratings of each user to hold out, one or more")
    times = _times(interactions, "leaving the last out")
    chance = np.random.default_rng(rng).random(interactions.n_ratings)
    order = np.lexsort((chance, times, interactions.users))
    starts, counts = interactions.by_user.indptr, interactions.by_user.counts
    long_enough = np.flatnonzero(counts > n)
    if not len(long_enough):
        raise DataError(
            f"{interactions.source}: no user has the {n + 1} {interactions.noun}s of which {n} can be held "
            "out; hold out fewer, or split at random"
        )
    borders = starts[long_enough + 1] - n
    mask = np.zeros(interactions.n_ratings, bool)
    mask[order[borders[:, None] + np.arange(n)]] = True
    tied = int((times[order[borders]] == times[order[borders - 1]]).sum())
    how = f"last {n} of each user" + (
        f", seed {rng} for {tied:,} users with ties at the border" if tied else ""
    )
    return _split(interactions, mask, how)


def split_users(interactions: Interactions, test: float = 0.1, history: float = 0.8, rng: int = 0) -> Split:
    """Whole users are held out: a model trained on the others meets them by fold-in.

    Also known as strong generalisation. A share `test` of the users with at least two ratings is
    held out. Of each one's ratings a share `history`, drawn at random, is what the model is shown;
    the rest is the test part. Both have at least one. Users with a single rating stay in training.

    Source:
        Marlin, Collaborative Filtering: A Machine Learning Perspective, 2004, section 3.3.

    Args:
        test: share of users to hold out.
        history: share of a held-out user's ratings to show.

    Examples:
        >>> from bilinear import split_users, synthetic_ratings
        >>> split = split_users(synthetic_ratings(50, 30, 600, rng=0), test=0.1, history=0.8, rng=0)
        >>> len(set(split.test.users.tolist()))
        5
        >>> split.history.n_ratings > split.test.n_ratings
        True
    """
    for name, share in (("test", test), ("history", history)):
        if not (is_real(share) and 0 < share < 1):
            raise ParameterValueError(f"{name}={share!r}: a share lies between 0 and 1")
    draws = np.random.default_rng(rng)
    counts = interactions.by_user.counts
    rated, eligible = int((counts > 0).sum()), np.flatnonzero(counts >= 2)
    n_test = round(test * len(eligible))
    if not 0 < n_test < rated:
        raise DataError(
            f"{interactions.source}: users with two {interactions.noun}s or more: {len(eligible)}, too few "
            f"to hold out {_percent(test)} of them"
        )
    held_out = np.zeros(interactions.n_users, bool)
    held_out[draws.permutation(eligible)[:n_test]] = True
    order = np.lexsort((draws.random(interactions.n_ratings), interactions.users))
    place = np.arange(interactions.n_ratings) - np.repeat(interactions.by_user.indptr[:-1], counts)
    n_shown = np.clip(np.rint(history * counts), 1, counts - 1)[interactions.users]
    shown = np.zeros(interactions.n_ratings, bool)
    shown[order] = place < n_shown
    of_held_out = held_out[interactions.users]
    return Split(
        interactions.take(~of_held_out),
        interactions.take(of_held_out & ~shown),
        f"{_percent(test)} of the users held out, shown {_percent(history)} of their ratings, seed {rng}",
        interactions.take(of_held_out & shown),
    )


def split_file(train: Interactions, test: Interactions) -> Split:
    """Two tables that were read from two files, put on one vocabulary.

    Raises:
        DataError: some pairs are in both, so they are not held out; or one table has ratings and the
            other has not.

    Examples:
        >>> from bilinear import Interactions, split_file
        >>> train = Interactions.from_columns(["ann", "bob"], ["Alien", "Heat"], [5, 3])
        >>> test = Interactions.from_columns(["ann", "cat"], ["Heat", "Alien"], [4, 2])
        >>> split = split_file(train, test)
        >>> split.train.shape == split.test.shape == (3, 2)
        True
        >>> split_file(train, train)
        Traceback (most recent call last):
            ...
        bilinear.errors.DataError: arrays: 2 of its pairs are in arrays as well, such as user ...
    """
    if train.has_ratings != test.has_ratings:
        without = {True: "ratings", False: "no ratings"}
        raise DataError(
            f"{train.source} has {without[train.has_ratings]}, {test.source} has "
            f"{without[test.has_ratings]}; read both alike, with bilinear.read_ratings or "
            "bilinear.read_interactions"
        )
    users, user_maps = _united(train.user_vocabulary, test.user_vocabulary)
    items, item_maps = _united(train.item_vocabulary, test.item_vocabulary)
    parts = []
    for part, user_map, item_map in zip((train, test), user_maps, item_maps, strict=True):
        moved = Interactions.from_rows(
            user_map[part.users],
            item_map[part.items],
            part.ratings,
            part.times,
            users,
            items,
            source=part.source,
            has_ratings=part.has_ratings,
            weighted=part.weighted,
        )
        told = {name: getattr(part, name) for name in ("n_rows_read", "duplicates", "notes")}
        parts.append(replace(moved, **told))
    keys = [part.users.astype(np.int64) * len(items) + part.items for part in parts]
    shared = np.intersect1d(keys[0], keys[1], assume_unique=True)
    if len(shared):
        user, item = divmod(int(shared[0]), len(items))
        raise DataError(
            f"{test.source}: {len(shared):,} of its pairs are in {train.source} as well, such as user "
            f"{users[user]!r} and item {items[item]!r}; a test part must be held out: remove them from one"
        )
    return Split(parts[0], parts[1], f"tested on {test.source}")


def _united(first: Vocabulary, second: Vocabulary) -> tuple[Vocabulary, list[NDArray[np.int32]]]:
    """One vocabulary for both, and each one's rows in it. Text if either is."""
    ids = [vocabulary.decode(np.arange(len(vocabulary))) for vocabulary in (first, second)]
    if first.kind != second.kind:
        ids = [np.array([str(id_) for id_ in part], object) for part in ids]
    both = Vocabulary.from_ids(np.concatenate(ids))
    return both, [both.encode(part) for part in ids]


def split_validation(
    interactions: Interactions, share: float, rng: np.random.Generator, *, lazy: bool = False
) -> Split:
    """The inner validation part: at random, at least one rating on either side.

    Args:
        lazy: makes `train` a `Part`, which copies nothing.
    """
    n_test = min(max(1, round(share * interactions.n_ratings)), interactions.n_ratings - 1)
    mask = np.zeros(interactions.n_ratings, bool)
    if len(mask) > _MOST_PERMUTED:
        _draw(mask, n_test, rng)
    else:
        mask[rng.choice(len(mask), n_test, replace=False, shuffle=False)] = True
    how = f"inner validation {_percent(share)}"
    if not lazy:
        return _split(interactions, mask, how)
    test = interactions.take(mask)
    return Split(Part(interactions, np.logical_not(mask, out=mask)), test, how)


def sample_users(split: Split, n_ratings: int, rng: np.random.Generator) -> Split:
    """All ratings of users drawn at random until these have `n_ratings` in the training part.

    The items stay all; a user's id is its row in the split. A split that has no more comes back as it is.

    Examples:
        >>> import numpy as np
        >>> from bilinear import split_random, synthetic_ratings
        >>> from bilinear.data.splits import sample_users
        >>> split = split_random(synthetic_ratings(50, 30, 600, rng=0), test=0.2, rng=0)
        >>> part = sample_users(split, 100, np.random.default_rng(0))
        >>> 100 <= part.train.n_ratings < 130, part.train.n_items
        (True, 30)
    """
    if split.train.n_ratings <= n_ratings:
        return split
    order = rng.permutation(split.train.n_users)
    n_users = 1 + int(np.searchsorted(np.cumsum(split.train.user_counts[order]), n_ratings))
    rows = np.sort(order[:n_users])
    place = np.full(len(order), -1, np.int32)
    place[rows] = np.arange(len(rows))
    users = Vocabulary.from_sorted(rows)

    def of(table: Interactions) -> Interactions:
        whole, kept = table.stored
        chosen = (place >= 0)[whole.users]
        part = whole.take(chosen & kept if len(kept) else chosen)
        return replace(part, users=place[part.users], user_vocabulary=users)

    how = f"{split.how}, {len(rows):,} of {len(order):,} users"
    return Split(of(split.train), of(split.test), how)


def _draw(mask: NDArray[np.bool_], n: int, rng: np.random.Generator) -> None:
    """Sets `n` entries of a mask that are drawn without replacement. Memory: that of a part of them."""
    drawn, most = n, len(mask) - n
    if n > most:
        mask[:], drawn = True, most  # those that are left out are drawn: they are met again less often
    while drawn:
        rows = rng.integers(len(mask), size=min(drawn, _DRAWN_AT_ONCE))
        fresh = np.unique(rows[mask[rows] == (n > most)])
        mask[fresh] = n <= most
        drawn -= len(fresh)


def _last_of_each(interactions: Interactions, keys: NDArray[np.float64], test: float) -> NDArray[np.bool_]:
    order = np.lexsort((keys, interactions.users))
    starts = interactions.by_user.indptr
    place = np.arange(interactions.n_ratings) - np.repeat(starts[:-1], np.diff(starts))
    counts = np.diff(starts)[interactions.users]
    mask = np.zeros(interactions.n_ratings, bool)
    mask[order] = place >= counts - np.floor(test * counts + 1e-9)  # 0.29 * 100 is 28.999...
    return mask


def _times(interactions: Interactions, what: str) -> NDArray[np.float64]:
    if interactions.times is None:
        raise MissingColumnError(
            f"{interactions.source} has no time column, which {what} needs; name it with "
            "time=... (--time), or split at random"
        )
    return interactions.times


def _n_test(interactions: Interactions, test: float) -> int:
    if not (is_real(test) and 0 < test < 1):
        raise ParameterValueError(f"test={test!r}: the share to hold out lies between 0 and 1")
    n_test = round(test * interactions.n_ratings)
    if not 0 < n_test < interactions.n_ratings:
        raise DataError(
            f"{interactions.source}: {interactions.n_ratings} {interactions.noun}s are too few to hold out "
            f"{_percent(test)} of them"
        )
    return n_test


def _percent(share: float) -> str:
    """Of a share below 1 % as well, and of 12.5 %."""
    return f"{100 * share:.4g}%"


def _split(interactions: Interactions, mask: NDArray[np.bool_], how: str) -> Split:
    return Split(interactions.take(~mask), interactions.take(mask), how)
