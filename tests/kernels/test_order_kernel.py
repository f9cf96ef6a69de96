"""Counting sort against NumPy's stable sort."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bilinear.kernels.order import counting_order

keys_below_9 = st.lists(st.integers(0, 8), max_size=60).map(lambda keys: np.array(keys, np.int32))


@settings(deadline=None)
@given(keys_below_9, st.integers(9, 12))
def test_order_is_the_stable_sort_and_starts_divide_it(keys, n_keys):
    order, starts = counting_order(keys, n_keys, np.arange(len(keys)))
    assert order.tolist() == np.argsort(keys, kind="stable").tolist()
    assert starts.tolist() == np.searchsorted(keys[order], np.arange(n_keys + 1)).tolist()


@settings(deadline=None)
@given(keys_below_9, st.integers(0, 2**32))
def test_sorting_by_the_second_key_first_is_the_lexicographic_order(keys, seed):
    second = np.random.default_rng(seed).integers(5, size=len(keys)).astype(np.int32)
    by_second, _ = counting_order(second, 5, np.arange(len(keys)))
    order, _ = counting_order(keys, 9, by_second)
    assert order.tolist() == np.lexsort((second, keys)).tolist()
