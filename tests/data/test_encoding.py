"""Integer ids become rows without sorting them; encoded columns are freed as they are sorted."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

from bilinear.data import vocabulary
from bilinear.data.interactions import Interactions
from bilinear.data.vocabulary import Vocabulary

RNG = np.random.default_rng(0)
LARGEST = np.iinfo(np.int64).max
IDS = {
    "dense": RNG.integers(5, 900, 3000),
    "dense, negative": RNG.integers(-700, 300, 3000),
    "sparse": RNG.integers(-(2**62), 2**62, 3000),
    "both ends of int64": np.array([LARGEST, -LARGEST - 1, 0, LARGEST, 5]),
    "int8": RNG.integers(-128, 128, 3000).astype(np.int8),
    "uint64": RNG.integers(0, 900, 3000).astype(np.uint64) + np.uint64(2**62),
    "uint8": RNG.integers(0, 256, 3000).astype(np.uint8),
    "one": np.array([7]),
    "none": np.empty(0, np.int64),
}


@pytest.mark.parametrize("part", [1 << 20, 64])
@pytest.mark.parametrize("name", IDS)
def test_integers_get_the_rows_that_sorting_gives(name, part, monkeypatch):
    monkeypatch.setattr(vocabulary, "_PART", part)
    expected, places = np.unique(IDS[name], return_inverse=True)
    found, rows = Vocabulary.factorize(IDS[name])
    assert rows.dtype == np.int32
    assert (rows == places).all()
    assert (found.decode(np.arange(len(found))) == expected.astype(np.int64)).all()


def test_columns_that_nobody_else_holds_are_freed_one_by_one():
    users, items = RNG.permutation(600).astype(np.int32) % 30, RNG.permutation(600).astype(np.int32) % 40
    ids = [Vocabulary.from_sorted(np.arange(n)) for n in (30, 40)]
    kept = Interactions.from_rows(users, items, np.ones(600, np.float32), None, *ids)
    columns = [users.copy(), items.copy(), np.ones(600, np.float32), None]
    freed = [weakref.ref(column) for column in columns[:3]]
    found = Interactions.from_encoded(columns, *ids, duplicates="last", source="arrays", has_ratings=True)
    assert columns == []
    assert [ref() for ref in freed] == [None, None, None]
    assert (found.users == kept.users).all()
    assert (found.items == kept.items).all()
