"""Places in rankings with ties, and what metrics expect of them."""

import numpy as np

from bilinear.kernels.cache import njit
from bilinear.kernels.order import sort_by_key

_FEW = 24


@njit(cache=True, nogil=True)
def keep_only(scores, starts, items):  # type: ignore[no-untyped-def]
    """Turns scores (n, n_items) into NaN but for items[starts[n]:starts[n + 1]], ascending."""
    for n in range(len(scores)):
        at, stop = starts[n], starts[n + 1]
        for i in range(scores.shape[1]):
            if at < stop and items[at] == i:
                at += 1
            else:
                scores[n, i] = np.nan
    return 0


@njit(cache=True, nogil=True)
def places_of(scores, starts, items, ahead, tied, n_candidates):  # type: ignore[no-untyped-def]
    """Where items[starts[n]:starts[n + 1]] stand in the ranking by scores[n], NaN left out.

    Fills, sorted by place within each user: ahead (how many candidates have a higher score) and
    tied (how many have the same, itself included), and n_candidates (n,). An item of row -1, or whose
    score is NaN, is not a candidate; it gets tied = 0 and comes last.

    Cost:
        O(n_items) an item for a few, O(n_items * log(items)) for many.
    """
    for n in range(len(scores)):
        mine = scores[n]
        total = _number_of_candidates(mine)
        n_candidates[n] = total
        start, stop = starts[n], starts[n + 1]
        wanted = np.empty(stop - start, scores.dtype)
        found = 0
        for at in range(start, stop):
            if items[at] >= 0 and mine[items[at]] == mine[items[at]]:
                wanted[found] = -mine[items[at]]
                found += 1
        sort_by_key(wanted, wanted, found)
        for r in range(found):
            wanted[r] = -wanted[r]
        if found <= _FEW:
            for r in range(found):
                ahead[start + r], tied[start + r] = _above_and_equal(mine, wanted[r])
        else:
            _count_by_search(mine, wanted[:found], ahead[start : start + found], tied[start : start + found])
        for at in range(start + found, stop):
            ahead[at], tied[at] = total, 0
    return 0


@njit(nogil=True)
def _number_of_candidates(values):  # type: ignore[no-untyped-def]
    there = np.int32(0)
    for i in range(len(values)):
        there += np.int32(values[i] == values[i])
    return there


@njit(nogil=True)
def _above_and_equal(values, wanted):  # type: ignore[no-untyped-def]
    above, same = np.int32(0), np.int32(0)
    for i in range(len(values)):
        above += np.int32(values[i] > wanted)
        same += np.int32(values[i] == wanted)
    return above, same


@njit(nogil=True)
def _number_equal(values, wanted):  # type: ignore[no-untyped-def]
    same = np.int32(0)
    for i in range(len(values)):
        same += np.int32(values[i] == wanted)
    return same


@njit(nogil=True)
def _count_by_search(scores, wanted, ahead, tied):  # type: ignore[no-untyped-def]
    """The same counts for many wanted scores, descending: each candidate looks for its gap."""
    n = len(wanted)
    above = np.zeros(n + 1, np.int64)  # above[r]: higher than wanted[r] and not than wanted[r - 1]
    same = np.zeros(n, np.int64)  # at the first of equal wanted scores
    for i in range(len(scores)):
        score = scores[i]
        if score != score:
            continue
        low, high = 0, n
        while low < high:
            middle = (low + high) // 2
            if wanted[middle] > score:
                low = middle + 1
            else:
                high = middle
        if low < n and wanted[low] == score:
            same[low] += 1
        else:
            above[low] += 1
    seen = 0
    for r in range(n):
        if r > 0 and wanted[r] == wanted[r - 1]:
            ahead[r], tied[r] = ahead[r - 1], tied[r - 1]
        else:
            seen += above[r]
            ahead[r], tied[r] = seen, same[r]
            seen += same[r]


@njit(cache=True, nogil=True, error_model="numpy")
def expected_metrics(  # type: ignore[no-untyped-def]
    ahead, tied, starts, n_relevant, n_candidates, cutoffs, discounts, reciprocals, out, auc
):  # fmt: skip
    """Fills out (7, n_cutoffs, n) and auc (n,) with each user's expected metrics.

    ahead, tied: as `places_of` gives them; n_relevant, n_candidates (n,); discounts and
    reciprocals: sums of 1 / log2(1 + p) and of 1 / p over the places p up to each, from 0.
    The expectation is over the order of tied items, uniformly at random; docs/guide/metrics.md
    derives the closed forms. Order of metrics: recall, capped recall, precision, hit rate, NDCG,
    MAP, MRR.
    """
    out[:] = 0.0
    for n in range(len(n_relevant)):
        start, stop = starts[n], starts[n + 1]
        while stop > start and tied[stop - 1] == 0:  # no candidates: never listed
            stop -= 1
        _expected_auc(ahead[start:stop], tied[start:stop], n_relevant[n], n_candidates[n], auc, n)
        for c in range(len(cutoffs)):
            k = cutoffs[c]
            hits, gain, precisions = 0.0, 0.0, 0.0
            at = start
            while at < stop and ahead[at] < k:
                g, s, r = ahead[at], tied[at], 1
                while at + r < stop and ahead[at + r] == g:
                    r += 1
                m = min(k - g, s)  # places of the group that are in the list
                before = at - start
                hits += r * m / s
                gain += 1 / np.log2(g + 2) if s == 1 else r / s * _over(discounts, g, m)
                precisions += _precisions(before, g, s, r, m, reciprocals)
                if before == 0:
                    out[3, c, n], out[6, c, n] = _first(g, s, r, m, reciprocals)
                at += r
            relevant = n_relevant[n]
            out[0, c, n] = hits / relevant
            out[1, c, n] = hits / min(k, relevant)
            out[2, c, n] = hits / k
            out[4, c, n] = gain / _over(discounts, np.int64(0), min(k, relevant))
            out[5, c, n] = precisions / relevant
    return 0


@njit(nogil=True)
def _over(sums, g, m):  # type: ignore[no-untyped-def]
    """The sum over places g + 1 .. g + m, or 0 where the model has none."""
    return sums[g + m] - sums[g]


@njit(nogil=True, error_model="numpy")
def _precisions(before, g, s, r, m, reciprocals):  # type: ignore[no-untyped-def]
    """Expected sum over the first m places of a group of [relevant] * (relevant so far) / place.

    `before` relevant items and g places come ahead of the group, which has s items, r relevant.
    """
    sum_of_reciprocals = _over(reciprocals, g, m)
    total = (before + 1) * sum_of_reciprocals
    if r > 1:  # place g + j has (j - 1) of the group ahead of it, each relevant with (r - 1) / (s - 1)
        total += (r - 1) / (s - 1) * (m - (g + 1) * sum_of_reciprocals)
    return r / s * total


@njit(nogil=True, error_model="numpy")
def _first(g, s, r, m, reciprocals):  # type: ignore[no-untyped-def]
    """Of the first group with relevant items: P(one of r is in m of s places), E(1 / first place)."""
    if r == 1:
        return m / s, _over(reciprocals, g, m) / s
    none_yet, reciprocal = 1.0, 0.0
    for j in range(m):
        if s - j <= r:  # only relevant ones are left
            return 1.0, reciprocal + none_yet / (g + j + 1)
        here = r / (s - j)
        reciprocal += none_yet * here / (g + j + 1)
        none_yet *= 1 - here
    return 1 - none_yet, reciprocal


@njit(nogil=True, error_model="numpy")
def _expected_auc(ahead, tied, n_relevant, n_candidates, auc, n):  # type: ignore[no-untyped-def]
    """auc[n]: the share of (relevant, other) pairs in the right order, ties for a half."""
    n_others = n_candidates - len(ahead)
    if n_others == 0:
        auc[n] = len(ahead) / n_relevant
        return
    right = 0.0
    at = 0
    while at < len(ahead):
        r = 1
        while at + r < len(ahead) and ahead[at + r] == ahead[at]:
            r += 1
        others_ahead, others_tied = ahead[at] - at, tied[at] - r
        right += r * (n_others - others_ahead - others_tied / 2)
        at += r
    auc[n] = right / (n_others * n_relevant)


@njit(cache=True, nogil=True)
def tied_with_last(all_scores, rows, scores, counts, k, starts, tied_rows):  # type: ignore[no-untyped-def]
    """The candidates past the end of full lists whose score equals the last one's.

    Fills starts (n + 1,) and, where `tied_rows` has room for all, their rows; returns how many.
    """
    total = 0
    for n in range(len(all_scores)):
        starts[n] = total
        if counts[n] < k:
            continue
        mine, last = all_scores[n], scores[n, k - 1]
        same, listed = _number_equal(mine, last), _number_equal(scores[n], last)
        if same > listed:
            if len(tied_rows) >= total + same - listed:
                at = total
                lowest = rows[n, k - 1]  # ties are listed by row, so the others have larger ones
                for i in range(lowest + 1, len(mine)):
                    if mine[i] == last:
                        tied_rows[at] = i
                        at += 1
            total += same - listed
    starts[len(all_scores)] = total
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def expected_lists(  # type: ignore[no-untyped-def]
    rows, scores, counts, tied_starts, tied_rows, cutoffs, popularity, information, unit_vectors,
    exposure, missed, out,
):  # fmt: skip
    """What to expect of lists whose last places are drawn from ties.

    rows, scores (n, k) and counts (n,): the lists; `tied_`*: as `tied_with_last` gives them.
    Fills out (3, n_cutoffs, n): mean popularity, mean information, mean pairwise 1 - cosine; adds to
    exposure (n_cutoffs, n_items) each item's chance to be listed and multiplies missed
    (n_cutoffs, n_items) by the chance not to be. Pairs of cosines come from sums of the unit vectors
    (n_items, any), which makes the cost of a list linear in its length.
    """
    n_dimensions = unit_vectors.shape[1]
    sure_sum, tied_sum = np.empty(n_dimensions), np.empty(n_dimensions)
    out[:] = 0.0
    for n in range(len(counts)):
        for c in range(len(cutoffs)):
            length = min(cutoffs[c], counts[n])
            if length == 0:
                continue
            # items [0, sure) are listed; those of [sure, end) and the tied rest share the other places
            sure = end = length
            if length < counts[n] or tied_starts[n] < tied_starts[n + 1]:
                border = scores[n, length - 1]
                while sure > 0 and scores[n, sure - 1] == border:
                    sure -= 1
                while end < counts[n] and scores[n, end] == border:
                    end += 1
            rest = tied_starts[n + 1] - tied_starts[n] if end == counts[n] and sure < length else 0
            n_tied = end - sure + rest
            chance = (length - sure) / n_tied if n_tied else 0.0
            both = chance * (length - sure - 1) / (n_tied - 1) if n_tied > 1 else 0.0
            sure_sum[:], tied_sum[:] = 0.0, 0.0
            squares_sure, squares_tied = 0.0, 0.0
            for j in range(end + rest):
                row = rows[n, j] if j < end else tied_rows[tied_starts[n] + j - end]
                p = 1.0 if j < sure else chance
                out[0, c, n] += p * popularity[row]
                out[1, c, n] += p * information[row]
                exposure[c, row] += p
                missed[c, row] *= 1 - p
                vector, total = unit_vectors[row], sure_sum if j < sure else tied_sum
                square = 0.0
                for f in range(n_dimensions):
                    total[f] += vector[f]
                    square += vector[f] * vector[f]
                if j < sure:
                    squares_sure += square
                else:
                    squares_tied += square
            out[0, c, n] /= length
            out[1, c, n] /= length
            if length > 1:
                cosines = -squares_sure - both * squares_tied
                for f in range(n_dimensions):
                    cosines += sure_sum[f] * (sure_sum[f] + 2 * chance * tied_sum[f])
                    cosines += both * tied_sum[f] * tied_sum[f]
                out[2, c, n] = 1 - cosines / (length * (length - 1))
    return 0
