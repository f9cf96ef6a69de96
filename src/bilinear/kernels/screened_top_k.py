"""The best items of a few users, exactly, from scores in eight bits and a bound on what they miss.

A score is approximated by a whole number times a unit; where that and the largest possible error together
stay below the user's floor, the item is out. What is left is scored in float32 as `tile.score_tile` does.
The floor is the k-th largest lower bound, so a list is that of a full scan, with its bits and ties.
Panels of items have a unit of their own, and those that reach far come first: a user is done when no
later one can reach the floor. Source of the idea: Li, Chan, Yiu & Mamoulis, FEXIPRO: Fast and Exact Inner
Product Retrieval in Recommender Systems, SIGMOD 2017.
"""

import numpy as np

from bilinear.kernels.cache import njit
from bilinear.kernels.heap import offer, sort_heap
from bilinear.kernels.screen_tile import (
    ITEM_ZERO,
    MOST_ITEM,
    MOST_SUM,
    MOST_USER,
    SCREEN_ITEMS,
    SCREEN_USERS,
    exact_scores,
    screen_tile,
)
from bilinear.kernels.tile import lowest_bit

# Columns of what is known of a panel and of a user, both float64.
UNIT, PER_UNIT, LENGTH, RESIDUAL, CENTRE, BIAS, REACH_LENGTH, REACH_BIAS = range(8)
PANEL_TERMS = 8
HIGH, LOW, STEP, PER_STEP, PER_LENGTH, PER_RESIDUAL, OWN_LENGTH = range(7)
USER_TERMS = 7

_ROOM = 512  # candidates before the weak ones are dropped
_EIGHT = 8
_REST = 16  # panels between two looks at what is still to come
_SAFE = 1.0 + 2.0**-20  # float64 rounding of the bound itself
_TINY = 1e-36  # float32 results too small for their relative error
_LARGEST = float(np.finfo(np.float32).max)  # what is more is infinite, and tied with all that is more


@njit(cache=True, nogil=True)
def norm_limit(n_columns):  # type: ignore[no-untyped-def]
    """Length of a vector before rounding that keeps every sum of products in 16 bits (Cauchy-Schwarz)."""
    return max(1.0, np.sqrt(float(MOST_SUM)) - 0.5 * np.sqrt(n_columns) - 0.01)


@njit(cache=True, nogil=True)
def screen_items(factors, biases, order, bias_weight, pairs, rows, terms):  # type: ignore[no-untyped-def]
    """Fills the panels of the items listed in `order`; returns 0.

    factors (n_items, n_factors), biases (n_items,). A panel is `SCREEN_ITEMS` items; each is the vector
    of its factors and of bias_weight * (bias - the panel's centre), rounded to multiples of the panel's
    unit. pairs (n_panels, n_pairs, SCREEN_ITEMS, 2) uint8; rows (n_panels, SCREEN_ITEMS) int32, -1 in
    what fills up the last; terms (n_panels, PANEL_TERMS).
    Cost: O(n * n_factors).
    """
    n_factors = factors.shape[1]
    limit = norm_limit(n_factors + 1)
    vector = np.empty(n_factors + 1)
    pairs[:], rows[:] = ITEM_ZERO, -1
    for panel in range(len(pairs)):
        first = panel * SCREEN_ITEMS
        count = min(SCREEN_ITEMS, len(order) - first)
        low = high = np.float64(biases[order[first]])
        for n in range(count):
            bias = np.float64(biases[order[first + n]])
            low, high = min(low, bias), max(high, bias)
        centre = 0.5 * low + 0.5 * high
        length = largest = longest_factors = 0.0
        for n in range(count):
            row = order[first + n]
            square = 0.0
            for f in range(n_factors):
                value = np.float64(factors[row, f])
                square += value * value
                largest = max(largest, abs(value))
            longest_factors = max(longest_factors, square)
            value = bias_weight * (np.float64(biases[row]) - centre)
            largest = max(largest, abs(value))
            length = max(length, square + value * value)
        length = np.sqrt(length) * _SAFE
        unit = max(length / limit, largest / MOST_ITEM)
        if not unit > 0.0:
            unit = 1.0
        residual = 0.0
        for n in range(count):
            row = order[first + n]
            rows[panel, n] = row
            for f in range(n_factors):
                vector[f] = factors[row, f]
            vector[n_factors] = bias_weight * (np.float64(biases[row]) - centre)
            square = 0.0
            for f in range(n_factors + 1):
                rounded = np.rint(vector[f] / unit)
                missed = vector[f] - rounded * unit
                square += missed * missed
                pairs[panel, f // 2, n, f % 2] = np.uint8(np.int64(rounded) + ITEM_ZERO)
            residual = max(residual, square)
        terms[panel, UNIT], terms[panel, PER_UNIT], terms[panel, LENGTH] = unit, 1.0 / unit, length
        terms[panel, RESIDUAL], terms[panel, CENTRE] = np.sqrt(residual) * _SAFE, centre
        terms[panel, BIAS] = max(abs(low), abs(high))
        terms[panel, REACH_LENGTH], terms[panel, REACH_BIAS] = np.sqrt(longest_factors) * _SAFE, high
    for panel in range(len(pairs) - 2, -1, -1):
        for term in (REACH_LENGTH, REACH_BIAS):
            terms[panel, term] = max(terms[panel, term], terms[panel + 1, term])
    return 0


@njit(cache=True, nogil=True)
def screen_users(vectors, offsets, bias_weight, pairs, starts, terms):  # type: ignore[no-untyped-def]
    """Fills what `screened_top_k` reads of users; returns 0.

    vectors (n, n_factors) and offsets (n,) float32; the bias is one more factor, of value 1 / bias_weight.
    pairs (n_tiles, n_pairs, SCREEN_USERS) int32, starts (n_tiles, SCREEN_USERS) int16, both of zeros;
    terms (n_tiles * SCREEN_USERS, USER_TERMS); those of users that are not there are out of reach.
    """
    n_factors = vectors.shape[1]
    limit, slack = norm_limit(n_factors + 1), _slack(n_factors)
    terms[:], terms[:, PER_STEP] = 0.0, 1.0
    for n in range(len(vectors)):
        square, largest = 0.0, 1.0 / bias_weight
        for f in range(n_factors):
            value = np.float64(vectors[n, f])
            square += value * value
            largest = max(largest, abs(value))
        own_length = np.sqrt(square) * _SAFE
        length = np.sqrt(square + 1.0 / bias_weight**2) * _SAFE
        unit = max(length / limit, largest / MOST_USER)
        missed_square = rounded_square = 0.0
        tile, u = n // SCREEN_USERS, n % SCREEN_USERS
        total = np.int64(0)
        for f in range(n_factors + 1):
            value = np.float64(vectors[n, f]) if f < n_factors else 1.0 / bias_weight
            rounded = np.rint(value / unit)
            missed = value - rounded * unit
            missed_square += missed * missed
            rounded_square += rounded * rounded
            whole = np.int64(rounded)
            total += whole
            byte = np.uint32(whole & 255) << np.uint32(8 * (f % 2))
            pairs[tile, f // 2, u] |= np.int32(byte | byte << np.uint32(16))
        starts[tile, u] = np.int16(-ITEM_ZERO * total)
        offset = np.float64(offsets[n])
        terms[n, HIGH], terms[n, LOW] = offset + slack * abs(offset), offset - slack * abs(offset)
        terms[n, STEP], terms[n, PER_STEP] = unit, 1.0 / unit
        terms[n, PER_LENGTH] = np.sqrt(missed_square) * _SAFE + slack * own_length
        terms[n, PER_RESIDUAL] = np.sqrt(rounded_square) * unit * _SAFE
        terms[n, OWN_LENGTH] = own_length
    return 0


@njit(cache=True, nogil=True)
def screened_top_k(  # type: ignore[no-untyped-def]
    user_pairs, starts, user_terms, item_pairs, item_rows, panel_terms,
    vectors, offsets, factors, biases, hidden_starts, hidden, masks, mask_of, ks, rows, scores, counts,
):  # fmt: skip
    """The ks[n] best items of each user; returns the number of items that were scored exactly.

    user_pairs, starts, user_terms: of `screen_users`; item_pairs, item_rows, panel_terms: of
    `screen_items`; vectors (n, n_factors), offsets (n,), factors (n_items, n_factors), biases (n_items,)
    float32. hidden[hidden_starts[n] : hidden_starts[n + 1]], ascending rows, are left out of list n, as
    are items that masks[mask_of[n]] (n_items,) has False for, unless mask_of[n] is -1.
    rows, scores (n, max(ks)) and counts (n,) are filled, best first; ties by row.
    """
    n_users, n_tiles, n_pairs = len(vectors), user_pairs.shape[0], user_pairs.shape[1]
    width = rows.shape[1]
    room = _ROOM + 2 * width
    floors = np.full(n_tiles * SCREEN_USERS, -np.inf)
    floors[n_users:] = np.inf
    bounds, bound_rows = np.empty((n_users, width)), np.empty((n_users, width), np.int32)
    n_bounds = np.zeros(n_users, np.int64)
    found, found_most = np.empty((n_users, room + _EIGHT), np.int32), np.empty((n_users, room))
    n_found = np.zeros(n_users, np.int64)
    sums, lanes = np.empty((SCREEN_USERS, SCREEN_ITEMS), np.int16), np.empty(SCREEN_USERS, np.int64)
    tile_floors = np.empty(SCREEN_USERS, np.int16)
    slack = _slack(vectors.shape[1])
    active, n_active, n_exact = np.arange(n_tiles), n_tiles, 0
    counts[:] = 0
    for panel in range(item_pairs.shape[0]):
        if panel % _REST == 0:
            n_active = _in_reach(active, n_active, n_users, user_terms, panel_terms, panel, floors, slack)
            if n_active == 0:
                break
        for a in range(n_active):
            tile = active[a]
            first_user = tile * SCREEN_USERS
            if not _panel_floors(user_terms, first_user, panel_terms, panel, floors, slack, tile_floors):
                continue
            hits = screen_tile(user_pairs, item_pairs, n_pairs, starts, tile_floors, tile, panel, sums, lanes)
            while hits:
                u = lowest_bit(hits)
                hits &= hits - 1
                n = first_user + u
                error = _error(user_terms, n, panel_terms, panel, slack)
                high = user_terms[n, HIGH] + panel_terms[panel, CENTRE] + error
                low = user_terms[n, LOW] + panel_terms[panel, CENTRE] - error
                step = user_terms[n, STEP] * panel_terms[panel, UNIT]
                mine, floor, mask, k = lanes[u], floors[n], mask_of[n], ks[n]
                while mine:
                    i = lowest_bit(mine)
                    mine &= mine - 1
                    row = item_rows[panel, i]
                    most = high + step * sums[u, i]
                    if row < 0 or most < floor or (mask >= 0 and not masks[mask, row]):
                        continue
                    if _contains(hidden, hidden_starts[n], hidden_starts[n + 1], row):
                        continue
                    if n_found[n] == room:
                        n_exact += _settle(
                            vectors[n], offsets[n], factors, biases, found[n], found_most[n], n_found,
                            floors, k, rows[n], scores[n], counts, n, room // 2,
                        )  # fmt: skip
                        floor = floors[n]
                    found[n, n_found[n]], found_most[n, n_found[n]] = row, most
                    n_found[n] += 1
                    least = min(low + step * sums[u, i], _LARGEST)
                    if n_bounds[n] < k or least > bounds[n, 0]:
                        n_bounds[n] = offer(bounds[n], bound_rows[n], n_bounds[n], k, least, row)
                        if n_bounds[n] == k:
                            floor = floors[n] = max(floor, bounds[n, 0])
    for n in range(n_users):
        n_exact += _settle(
            vectors[n], offsets[n], factors, biases, found[n], found_most[n], n_found,
            floors, ks[n], rows[n], scores[n], counts, n, -1,
        )  # fmt: skip
        sort_heap(scores[n], rows[n], counts[n])
    return n_exact


@njit(cache=True, nogil=True)
def scores_of_rows(vector, offset, factors, biases, rows, scores):  # type: ignore[no-untyped-def]
    """Fills scores (n,) of the listed rows with the bits of a full scan; returns 0."""
    n = len(rows)
    eight, some = np.empty(_EIGHT, np.int32), np.empty(_EIGHT, np.float32)
    for first in range(0, n, _EIGHT):
        for at in range(_EIGHT):
            eight[at] = rows[min(first + at, n - 1)]
        exact_scores(vector, offset, factors, biases, eight, 0, some)
        for at in range(min(_EIGHT, n - first)):
            scores[first + at] = some[at]
    return 0


@njit(cache=True, nogil=True)
def _slack(n_factors):  # type: ignore[no-untyped-def]
    """Each of n_factors + 2 float32 operations errs by at most 2^-24 of the sum of magnitudes."""
    return (n_factors + 3) * 1.2 * 2.0**-24


@njit(inline="always")
def _error(user_terms, n, panel_terms, panel, slack):  # type: ignore[no-untyped-def]
    """The most by which the whole numbers miss a float32 score of a panel.

    <p, q> - <p', q'> = <p - p', q> + <p', q - q'>, each at most the product of the lengths.
    """
    error = user_terms[n, PER_LENGTH] * panel_terms[panel, LENGTH]
    error += user_terms[n, PER_RESIDUAL] * panel_terms[panel, RESIDUAL]
    return (error + slack * panel_terms[panel, BIAS]) * _SAFE + _TINY


@njit(cache=True, nogil=True)
def _in_reach(active, n_active, n_users, user_terms, panel_terms, panel, floors, slack):  # type: ignore[no-untyped-def]
    """Keep the tiles in which an item from here on can reach the floor of some user; returns their number."""
    kept = 0
    for a in range(n_active):
        first = active[a] * SCREEN_USERS
        for n in range(first, min(first + SCREEN_USERS, n_users)):
            product = user_terms[n, OWN_LENGTH] * panel_terms[panel, REACH_LENGTH]
            most = user_terms[n, HIGH] + panel_terms[panel, REACH_BIAS] + product
            most += slack * (abs(panel_terms[panel, REACH_BIAS]) + product) + _TINY
            if not most < floors[n]:
                active[kept] = active[a]
                kept += 1
                break
    return kept


@njit(inline="always")
def _panel_floors(user_terms, first, panel_terms, panel, floors, slack, tile_floors):  # type: ignore[no-untyped-def]
    """Floors of a tile's users as sums of a panel; returns whether a sum can be above one."""
    n_open = 0
    for u in range(SCREEN_USERS):
        n = first + u
        error = _error(user_terms, n, panel_terms, panel, slack)
        missing = floors[n] - (user_terms[n, HIGH] + panel_terms[panel, CENTRE] + error)
        # with two to spare for the rounding of this line
        least = missing * (user_terms[n, PER_STEP] * panel_terms[panel, PER_UNIT]) - 2.0
        n_open += least <= MOST_SUM
        tile_floors[u] = np.int16(np.int32(np.floor(min(max(least, -MOST_SUM - 1.0), MOST_SUM))))
    return n_open


@njit(cache=True, nogil=True)
def _settle(  # type: ignore[no-untyped-def]
    vector, offset, factors, biases, found, found_most, n_found, floors, k, rows, scores, counts, n, most
):  # fmt: skip
    """Drops candidates below the floor; where more than `most` are left, scores all of them.

    Their scores go into the list, and raise the floor once it is full. Returns how many were scored.
    """
    kept = 0
    for c in range(n_found[n]):
        if not found_most[c] < floors[n]:
            found[kept], found_most[kept] = found[c], found_most[c]
            kept += 1
    n_found[n] = kept
    if kept <= most:
        return 0
    some = np.empty(_EIGHT, np.float32)
    for first in range(0, kept, _EIGHT):
        for at in range(max(kept, first), first + _EIGHT):
            found[at] = found[kept - 1]
        exact_scores(vector, offset, factors, biases, found, first, some)
        for at in range(min(_EIGHT, kept - first)):
            counts[n] = offer(scores, rows, counts[n], k, some[at], found[first + at])
    if counts[n] == k:
        floors[n] = max(floors[n], np.float64(scores[0]))
    n_found[n] = 0
    return kept


@njit(cache=True, nogil=True)
def _contains(ascending, low, high, value):  # type: ignore[no-untyped-def]
    """Whether `value` is in ascending[low:high]."""
    while low < high:
        middle = (low + high) // 2
        if ascending[middle] < value:
            low = middle + 1
        elif ascending[middle] > value:
            high = middle
        else:
            return True
    return False
