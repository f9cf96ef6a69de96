"""The best items of many users at once: tiles of scores, compared while in registers.

Item panels come with the largest vectors first. A user is done when no later item can reach the
worst kept score: |score| is at most the product of the two lengths (Cauchy and Schwarz), so lists
stay exact. Source of the bound: Teflioudi, Gemulla & Mykytiuk, LEMP: Fast Retrieval of Large Entries
in a Matrix Product, SIGMOD 2015.
"""

import numpy as np

from bilinear.kernels.cache import njit
from bilinear.kernels.heap import offer, sort_heap
from bilinear.kernels.tile import TILE_ITEMS, TILE_USERS, lowest_bit, score_tile

_CHUNK = 64
_FLOATS_IN_CACHE = 1 << 16


@njit(cache=True, nogil=True)
def packed_rows(table, rows, width):  # type: ignore[no-untyped-def]
    """The listed rows of `table` (n_rows, n_factors), `width` side by side: (tiles, n_factors, width).

    Row -1 is all zeros, as is what fills the last tile. float32.
    """
    n_factors = table.shape[1]
    n_tiles = (len(rows) + width - 1) // width
    tiles = np.zeros((n_tiles, n_factors, width), np.float32)
    for tile in range(n_tiles):
        first = tile * width
        for f in range(n_factors):
            for n in range(min(width, len(rows) - first)):
                row = rows[first + n]
                tiles[tile, f, n] = table[row, f] if row >= 0 else 0.0
    return tiles


@njit(cache=True, nogil=True)
def block_scores(user_tiles, offsets, item_tiles, biases, scores):  # type: ignore[no-untyped-def]
    """Fills scores (n_users, n_items) of a block of users; returns 0."""
    n_tiles, n_factors = user_tiles.shape[0], user_tiles.shape[1]
    n_users, n_items = scores.shape
    floors = np.full((n_tiles, TILE_USERS), np.nan, np.float32)
    tile_scores, lanes = np.empty((TILE_USERS, TILE_ITEMS), np.float32), np.empty(TILE_USERS, np.int64)
    n_panels = item_tiles.shape[0]
    # panels that stay in cache for all users; within them a user's scores are written in one go
    group = max(1, _FLOATS_IN_CACHE // max(1, n_factors * TILE_ITEMS))
    for first in range(0, n_panels, group):
        for tile in range(n_tiles):
            first_user = tile * TILE_USERS
            height = min(TILE_USERS, n_users - first_user)
            for panel in range(first, min(first + group, n_panels)):
                score_tile(
                    user_tiles, item_tiles, n_factors, offsets, biases, floors, tile, panel,
                    tile_scores, lanes,
                )  # fmt: skip
                first_item = panel * TILE_ITEMS
                width = min(TILE_ITEMS, n_items - first_item)
                for u in range(height):
                    target = scores[first_user + u, first_item : first_item + width]
                    for i in range(width):
                        target[i] = tile_scores[u, i]
    return 0


@njit(cache=True, nogil=True)
def top_k_block(  # type: ignore[no-untyped-def]
    user_tiles, offsets, lengths, item_tiles, biases, item_rows, reach_lengths, reach_biases,
    users, seen_indptr, seen_items, k, rows, scores, counts,
):  # fmt: skip
    """The k best items of each of a block of users; returns the number of tiles multiplied.

    user_tiles, offsets and lengths (Euclidean, float64) in tiles of users; item_tiles and biases in
    panels of items, whose rows are `item_rows` (n_panels, TILE_ITEMS), -1 in what fills up the last.
    reach_lengths, reach_biases (n_panels,) float64: no vector and no bias is larger from a panel on.
    users (n,): row in seen_indptr, whose items are left out (ascending); -1 leaves out nothing.
    rows, scores (n, k) and counts (n,) are filled, best first; ties by row.
    """
    n_users = len(users)
    n_tiles, n_factors = user_tiles.shape[0], user_tiles.shape[1]
    floors = np.full((n_tiles, TILE_USERS), np.nan, np.float32)
    for n in range(n_users, n_tiles * TILE_USERS):
        floors[n // TILE_USERS, n % TILE_USERS] = np.inf
    tile_scores, lanes = np.empty((TILE_USERS, TILE_ITEMS), np.float32), np.empty(TILE_USERS, np.int64)
    active = np.arange(n_tiles)
    n_active, n_multiplied = n_tiles, 0
    # each of n_factors + 2 float32 operations errs by at most 2^-24 of the sum of magnitudes
    slack = (n_factors + 3) * 1.2 * 2.0**-24
    counts[:] = 0
    for panel in range(item_tiles.shape[0]):
        kept = 0
        for a in range(n_active):
            tile = active[a]
            if _out_of_reach(
                offsets[tile], lengths[tile], floors[tile], reach_lengths[panel], reach_biases[panel], slack
            ):
                continue
            active[kept] = tile
            kept += 1
            hits = score_tile(
                user_tiles, item_tiles, n_factors, offsets, biases, floors, tile, panel, tile_scores, lanes
            )
            while hits:
                u = lowest_bit(hits)
                hits &= hits - 1
                n = tile * TILE_USERS + u
                floors[tile, u] = _keep(
                    lanes[u], tile_scores[u], item_rows[panel], floors[tile, u],
                    users[n], seen_indptr, seen_items, rows[n], scores[n], counts, n,
                )  # fmt: skip
        n_active = kept
        n_multiplied += kept
        if not kept:
            break
    for n in range(n_users):
        sort_heap(scores[n], rows[n], counts[n])
    return n_multiplied


@njit(nogil=True)
def _out_of_reach(offsets, lengths, floors, reach_length, reach_bias, slack):  # type: ignore[no-untyped-def]
    """Whether all users of a tile are below their floors for every item yet to come."""
    for u in range(TILE_USERS):
        product = lengths[u] * reach_length
        most = offsets[u] + reach_bias + product
        most += slack * (abs(offsets[u]) + abs(reach_bias) + product)
        if not most < floors[u]:
            return False
    return True


@njit(nogil=True)
def _keep(  # type: ignore[no-untyped-def]
    hits, tile_scores, item_rows, floor, user, seen_indptr, seen_items, rows, scores, counts, n
):  # fmt: skip
    """Offers a user's hits to the user's heap; returns the new floor."""
    k = len(rows)
    while hits:
        i = lowest_bit(hits)
        hits &= hits - 1
        score, row = tile_scores[i], item_rows[i]
        if row < 0 or score < floor:
            continue
        if user >= 0 and _contains(seen_items, seen_indptr[user], seen_indptr[user + 1], row):
            continue
        counts[n] = offer(scores, rows, counts[n], k, score, row)
        if counts[n] == k:
            floor = scores[0]
    return floor


@njit(nogil=True)
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


@njit(nogil=True)
def _number_above(values, floor):  # type: ignore[no-untyped-def]
    # 32 bits: counting in 64 takes eight times as long, since LLVM does not make vectors of it
    above = np.int32(0)
    for i in range(len(values)):
        above += np.int32(values[i] > floor)
    return above


@njit(cache=True, nogil=True)
def first_nan(scores):  # type: ignore[no-untyped-def]
    """The first row of scores (n, n_items) with a NaN in it, or -1."""
    for n in range(len(scores)):
        mine, wrong = scores[n], np.int32(0)
        for i in range(len(mine)):
            wrong += np.int32(mine[i] != mine[i])
        if wrong:
            return n
    return -1


@njit(cache=True, nogil=True)
def hide_seen(scores, users, seen_indptr, seen_items):  # type: ignore[no-untyped-def]
    """Turns the scores (n, n_items) of what each user has seen into NaN; user -1 has seen nothing."""
    for n in range(len(users)):
        if users[n] >= 0:
            for s in range(seen_indptr[users[n]], seen_indptr[users[n] + 1]):
                scores[n, seen_items[s]] = np.nan
    return 0


@njit(cache=True, nogil=True)
def top_k_scores(all_scores, allowed, k, rows, scores, counts):  # type: ignore[no-untyped-def]
    """As `top_k_block`, from scores (n, n_items) that are there already; NaN is left out."""
    n_items = all_scores.shape[1]
    for n in range(len(all_scores)):
        mine = all_scores[n]
        found = np.int64(0)
        for start in range(0, n_items, _CHUNK):
            chunk = mine[start : min(start + _CHUNK, n_items)]
            full = found == k
            if full and not _number_above(chunk, scores[n, 0]):
                continue
            for i in range(len(chunk)):
                # once the list is full only a higher score can enter: rows ascend, and ties go by row
                if (chunk[i] > scores[n, 0] if full else chunk[i] == chunk[i]) and allowed[start + i]:
                    found = offer(scores[n], rows[n], found, k, chunk[i], np.int32(start + i))
                    full = found == k
        sort_heap(scores[n], rows[n], found)
        counts[n] = found
    return 0
