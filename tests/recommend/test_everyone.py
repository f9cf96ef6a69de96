"""Lists for everyone: exact, the same bits however the work is cut, and defined at every edge."""

from __future__ import annotations

from itertools import product

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import planted_table, random_parameters, random_table, with_strangers

from bilinear.data.interactions import Grouped
from bilinear.errors import ParameterValueError, UnknownIdError
from bilinear.estimators.baselines import BiasModel
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.kernels.tile import TILE_ITEMS, TILE_USERS
from bilinear.kernels.top_k_blocks import top_k_block
from bilinear.model.blocks import map_blocks, score_block
from bilinear.model.link import Identity
from bilinear.model.parameters import Parameters
from bilinear.recommend.everyone import recommend_everyone, similar_everyone
from bilinear.recommend.parquet import write_everyone, write_similar


class DotModel:
    """A fitted model of given parameters and seen items."""

    link_ = None

    def __init__(self, parameters, table, vectors=None):
        self.parameters, self.seen_, self.vectors = parameters, table.by_user, vectors
        self.user_vocabulary_, self.item_vocabulary_ = table.user_vocabulary, table.item_vocabulary

    def dot_product(self):
        return self.parameters

    def score_block(self, user_rows):
        return score_block(self.parameters, user_rows)

    def item_vectors(self):
        return self.vectors

    def allowed(self, candidates):
        if candidates is None:
            return np.ones(len(self.item_vocabulary_), bool)
        allowed = np.zeros(len(self.item_vocabulary_), bool)
        allowed[[self.item_vocabulary_.row(item, "item") for item in candidates]] = True
        return allowed

    def hidden(self, exclude_seen):
        nothing = Grouped(np.zeros_like(self.seen_.indptr), self.seen_.indices[:0], self.seen_.ratings[:0])
        return self.seen_ if exclude_seen else nothing

    def has_ratings(self, user_rows):
        return self.seen_.counts[user_rows] > 0

    def feature_rows(self, side, rows):
        return np.zeros(len(rows), bool)

    def supported(self):
        return np.ones(len(self.item_vocabulary_), bool)

    def item_has_ratings(self, item_rows):
        return np.bincount(self.seen_.indices, minlength=len(self.item_vocabulary_))[item_rows] > 0


class TableModel(DotModel):
    """The same, but known only by its scores and what it finds alike."""

    def dot_product(self):
        return None

    def _alike(self, item_row, n, allowed):
        nearness = -np.abs(np.arange(len(allowed)) - item_row).astype(np.float32)
        rows = np.flatnonzero(allowed & (nearness < 0))
        rows = rows[np.argsort(-nearness[rows], kind="stable")][:n].astype(np.int32)
        return rows, nearness[rows]


def problem(n_users=70, n_items=150, n_factors=5, seed=0, kind="gaussian"):
    """Parameters of many kinds, with a table of seen items."""
    rng = np.random.default_rng(seed)
    table = random_table(n_users, n_items, n_users * 6, rng)
    parameters = random_parameters(table.shape, n_factors, rng, np.float32)
    if kind == "ties":  # few distinct vectors and biases: equal scores everywhere
        parameters = Parameters(
            0.5, *(np.round(2 * array).astype(np.float32) for array in parameters.arrays().values())
        )
    elif kind == "near ties":  # items that differ in the last bits
        item_factors = np.repeat(parameters.item_factors[: n_items // 10], 10, axis=0)
        item_factors = np.nextafter(item_factors, rng.choice([-9, 9], item_factors.shape).astype(np.float32))
        nothing = np.zeros(n_items, np.float32)
        parameters = Parameters(1.0, parameters.user_biases, nothing, parameters.user_factors, item_factors)
    elif kind == "uneven":  # lengths over six powers of ten: most items are out of reach
        stretch = 10 ** rng.uniform(-3, 3, (n_items, 1)).astype(np.float32)
        parameters = Parameters(
            0.0,
            parameters.user_biases,
            parameters.item_biases,
            parameters.user_factors,
            parameters.item_factors * stretch,
        )
    elif kind == "biases":  # every item's bias is larger than its product with anyone
        arrays = parameters.arrays()
        arrays["item_biases"] = 5 + arrays["item_biases"] / 4
        arrays["item_factors"] = arrays["item_factors"] / 4
        parameters = Parameters(3.0, **arrays)
    elif kind == "nothing":
        parameters = Parameters.zeros(table.shape, n_factors)
    return DotModel(parameters, table)


def table_model(**options):
    by_scores = TableModel.__new__(TableModel)
    by_scores.__dict__ = problem(**options).__dict__
    return by_scores


def sorted_lists(model, users, n, exclude_seen=True, allowed=None):
    """The same lists by sorting every score: larger first, then by row."""
    scores = model.score_block(users)
    for at, user in enumerate(users):
        left = np.ones(scores.shape[1], bool) if allowed is None else allowed.copy()
        if exclude_seen:
            left[model.seen_.indices[model.seen_.indptr[user] : model.seen_.indptr[user + 1]]] = False
        rows = np.flatnonzero(left)
        rows = rows[np.argsort(-scores[at, rows], kind="stable")][:n]
        yield rows, scores[at, rows]


def check(model, n=10, users=None, **options):
    found = recommend_everyone(model, n, users=users, **options)
    rows = np.arange(len(model.user_vocabulary_)) if users is None else model.user_vocabulary_.encode(users)
    allowed = model.allowed(options.get("candidates"))
    assert found.subjects.tolist() == rows.tolist()
    expected = sorted_lists(model, rows, n, options.get("exclude_seen", True), allowed)
    for at, (items, scores) in enumerate(expected):
        count = found.counts[at]
        assert found.items[at, :count].tolist() == items.tolist()
        np.testing.assert_array_equal(found.scores[at, :count], scores)
        assert (found.items[at, count:] == -1).all()
        assert np.isnan(found.scores[at, count:]).all()


KINDS = ["gaussian", "ties", "near ties", "uneven", "biases", "nothing"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 10, 149, 500])
def test_lists_are_those_of_sorting_every_score(kind, n):
    check(problem(kind=kind), n)


@pytest.mark.parametrize("kind", ["gaussian", "ties", "biases", "uneven"])
def test_items_far_down_the_panels_are_found(kind):
    check(problem(n_items=1500, n_factors=3, kind=kind), 20)


def test_a_rounded_score_above_the_product_of_the_lengths_is_within_reach():
    """Neighbouring floats whose products round to one score: the tie goes to the shorter vector's row."""
    n_items = 8 * TILE_ITEMS
    table = random_table(200, n_items, 2, np.random.default_rng(0))
    zeros = Parameters.zeros(table.shape)
    lengths = (2 - np.arange(n_items, 0, -1) * 2.0**-23).astype(np.float32)[:, None]
    users = np.random.default_rng(1).uniform(1.05, 1.1, (200, 1)).astype(np.float32)
    parameters = Parameters(0.0, zeros.user_biases, zeros.item_biases, users, lengths)
    model = DotModel(parameters, table)
    products = users.astype(np.float64) @ lengths.T
    scores = model.score_block(np.arange(200))
    assert (scores > products).any()
    assert (np.diff(scores, axis=1) == 0).any()
    for n in range(TILE_ITEMS - 2, TILE_ITEMS + 3):
        check(model, n, exclude_seen=False)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(2, 3 * TILE_USERS),
    st.integers(2, 3 * TILE_ITEMS),
    st.integers(0, 9),
    st.sampled_from(KINDS),
    st.integers(0, 10**6),
)
def test_any_shape_gives_exact_lists(n_users, n_items, n_factors, kind, seed):
    if kind == "near ties":
        n_items = 10 * -(-n_items // 10)
    check(problem(n_users, n_items, n_factors, seed, kind), 7, block_size=11, n_threads=2)


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_and_threads_change_no_bit(kind):
    model = problem(kind=kind)
    whole = recommend_everyone(model, 10, n_threads=1)
    for block_size, n_threads in product([1, 5, 12, 64, 1000], [1, 2, 7]):
        parts = recommend_everyone(model, 10, block_size=block_size, n_threads=n_threads)
        np.testing.assert_array_equal(parts.items, whole.items)
        np.testing.assert_array_equal(parts.scores, whole.scores)


def test_the_order_of_users_changes_no_list():
    model = problem(kind="near ties")
    whole = recommend_everyone(model, 10)
    order = np.random.default_rng(1).permutation(70)
    mixed = recommend_everyone(model, 10, users=model.user_vocabulary_.decode(order), block_size=9)
    np.testing.assert_array_equal(mixed.items, whole.items[order])
    np.testing.assert_array_equal(mixed.scores, whole.scores[order])


def test_scores_are_the_plain_product():
    model = problem(n_factors=33)
    p = model.parameters.astype(np.float64)
    users = np.array([4, -1, 0, 69, 4])
    expected = p.global_mean + p.user_biases[users][:, None] + p.item_biases
    expected = expected + p.user_factors[users] @ p.item_factors.T
    expected[1] = p.global_mean + p.item_biases
    found = score_block(model.parameters, users)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)
    np.testing.assert_array_equal(found[0], found[4])


def test_whole_numbers_are_multiplied_exactly():
    rng = np.random.default_rng(2)
    table = random_table(30, 77, 60, rng)
    factors = [rng.integers(-9, 9, (n, 40)).astype(np.float32) for n in table.shape]
    zeros = Parameters.zeros(table.shape)
    parameters = Parameters(7.0, zeros.user_biases, zeros.item_biases, *factors)
    np.testing.assert_array_equal(score_block(parameters, np.arange(30)), factors[0] @ factors[1].T + 7)


def test_equal_vectors_have_equal_scores_wherever_they_are():
    model = problem(n_items=200, n_factors=64)
    factors = np.tile(model.parameters.item_factors[:1], (200, 1))
    nothing = np.zeros(200, np.float32)
    parameters = Parameters(
        0.1, model.parameters.user_biases, nothing, model.parameters.user_factors, factors
    )
    scores = score_block(parameters, np.arange(70))
    assert (scores == scores[:, :1]).all()
    found = recommend_everyone(DotModel(parameters, random_table(70, 200, 2, np.random.default_rng())), 5)
    seen_little = found.items[2:]
    assert (np.sort(seen_little, axis=1) == seen_little).all()  # ties by row


def test_seen_items_may_be_listed():
    check(problem(), 10, exclude_seen=False)
    check(problem(kind="ties"), 10, exclude_seen=False)


def test_only_candidates_are_listed():
    model = problem(kind="ties")
    check(model, 10, candidates=model.item_vocabulary_.decode(np.arange(0, 150, 7)))
    check(model, 10, candidates=model.item_vocabulary_.decode(np.array([3])))


def test_a_user_who_has_seen_every_candidate_has_an_empty_list():
    model = problem()
    seen = model.seen_.indices[: model.seen_.indptr[1]]
    found = recommend_everyone(model, 4, candidates=model.item_vocabulary_.decode(seen))
    assert found.counts[0] == 0
    assert (found.items[0] == -1).all()


def test_no_candidates_and_no_users_give_nothing():
    model = problem()
    none_left = recommend_everyone(model, 4, candidates=[])
    assert not none_left.counts.any()
    assert none_left.items.shape == (70, 4)
    nobody = recommend_everyone(model, 4, users=[])
    assert len(nobody) == 0
    assert nobody.items.shape == (0, 4)


def test_lists_end_with_the_catalogue():
    found = recommend_everyone(problem(n_items=20), 10**9, exclude_seen=False)
    assert found.items.shape == (70, 20)
    assert (found.counts == 20).all()


def test_users_without_ratings_get_the_list_that_is_not_personal():
    table = with_strangers(planted_table())
    model = MatrixFactorization(n_factors=3, l2=0.1, l2_biases=0.1, rng=0).fit(table)
    found = recommend_everyone(model, 5)
    best = np.argsort(-model.parameters_.item_biases, kind="stable")[:5]
    for row in (0, -1):
        assert found.items[row].tolist() == best.tolist()


@pytest.mark.parametrize("model", [BiasModel(l2_biases=1.0), MatrixFactorization(4, 0.1, 0.1, rng=0)])
def test_lists_are_those_of_recommend_one_by_one(model):
    model = model.fit(planted_table())
    found = recommend_everyone(model, 6, n_threads=2, block_size=8)
    for row, user in enumerate(model.user_vocabulary_):
        one = model.recommend(user, 6)
        assert model.item_vocabulary_.decode(found.items[row]).tolist() == list(one)
        np.testing.assert_allclose(found.scores[row], one.scores, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["gaussian", "ties"])
def test_models_known_by_their_scores_get_the_same_lists(kind):
    model = problem(kind=kind)
    by_scores = table_model(kind=kind)
    for n in (1, 10, 500):
        first, second = (
            recommend_everyone(model, n),
            recommend_everyone(by_scores, n, block_size=9, n_threads=3),
        )
        np.testing.assert_array_equal(first.items, second.items)
        np.testing.assert_array_equal(first.scores, second.scores)


def test_scores_of_minus_infinity_come_last_and_nan_is_refused():
    model = table_model()
    table = model.score_block(np.arange(70))
    table[5, 10:] = -np.inf
    model.score_block = lambda rows: table[rows].copy()
    found = recommend_everyone(model, 150, exclude_seen=False)
    assert found.items[5, 10:].tolist() == list(range(10, 150))
    table[5, 20] = np.nan
    with pytest.raises(ParameterValueError, match=f"user {model.user_vocabulary_[5]!r}"):
        recommend_everyone(model, 3, n_threads=2, block_size=4)


def test_weights_that_are_not_finite_are_refused():
    model = problem()
    model.parameters.item_factors[3, 2] = np.inf
    with pytest.raises(ParameterValueError, match="item_factors has values that are not finite"):
        recommend_everyone(model)


def test_unknown_ids_and_bad_arguments_are_refused():
    model = problem()
    with pytest.raises(UnknownIdError, match="no such user: 'nobody'"):
        recommend_everyone(model, users=[model.user_vocabulary_[0], "nobody"])
    with pytest.raises(UnknownIdError, match="no such item: 'nothing'"):
        recommend_everyone(model, candidates=["nothing"])
    with pytest.raises(UnknownIdError, match="no such item: 'nothing'"):
        similar_everyone(DotModel(model.parameters, planted_table(), np.ones((40, 1))), items=["nothing"])
    with pytest.raises(ParameterValueError, match="users takes several ids"):
        recommend_everyone(model, users="user")
    for wrong in ({"n": 0}, {"n": True}, {"n": 2.0}, {"n_threads": 0}, {"block_size": -1}):
        with pytest.raises(ParameterValueError, match=next(iter(wrong))):
            recommend_everyone(model, **wrong)


def test_similar_lists_are_those_of_similar_one_by_one():
    table = with_strangers(planted_table())
    model = MatrixFactorization(n_factors=3, l2=0.1, l2_biases=0.1, rng=0).fit(table)
    for n in (1, 7, 100):
        found = similar_everyone(model, n, n_threads=2, block_size=5)
        for row, item in enumerate(model.item_vocabulary_):
            if not model.item_has_ratings(np.array([row]))[0]:
                assert found.counts[row] == 0
                continue
            one = model.similar(item, n)
            assert model.item_vocabulary_.decode(found.items[row, : found.counts[row]]).tolist() == list(one)
            np.testing.assert_allclose(found.scores[row, : found.counts[row]], one.scores, rtol=0, atol=1e-6)


def test_similar_lists_of_any_model():
    model = table_model(n_items=20)
    found = similar_everyone(model, 3, items=model.item_vocabulary_.decode(np.array([0, 9])))
    assert found.items.tolist() == [[1, 2, 3], [8, 10, 7]]
    some = similar_everyone(
        model, 3, items=[model.item_vocabulary_[9]], candidates=model.item_vocabulary_.decode(np.arange(8))
    )
    assert some.items.tolist() == [[7, 6, 5]]


def test_similar_of_a_model_without_factors_is_refused():
    model = BiasModel(l2_biases=1.0).fit(planted_table())
    with pytest.raises(ParameterValueError, match="cannot say which items are alike"):
        similar_everyone(model)


def read(path):
    return duckdb.sql(f"SELECT * FROM read_parquet('{path}')")


def test_the_file_holds_the_lists_in_order(tmp_path):
    model = MatrixFactorization(n_factors=3, l2=0.1, l2_biases=0.1, rng=0).fit(
        with_strangers(planted_table())
    )
    path = tmp_path / "lists.parquet"
    written = write_everyone(model, path, 30, block_size=7, n_threads=2)
    lists = recommend_everyone(model, 30)
    file = read(path)
    assert file.columns == ["user", "rank", "item", "score", "prediction", "known_user"]
    assert [str(kind) for kind in file.types] == ["BIGINT", "INTEGER", "VARCHAR", "FLOAT", "FLOAT", "BOOLEAN"]
    rows = file.fetchall()
    expected = [
        (model.user_vocabulary_[user], rank + 1, model.item_vocabulary_[int(lists.items[user, rank])])
        for user in range(len(lists))
        for rank in range(lists.counts[user])
    ]
    assert [row[:3] for row in rows] == expected
    there = np.arange(30) < lists.counts[:, None]
    np.testing.assert_array_equal(np.array([row[3] for row in rows], np.float32), lists.scores[there])
    predictions = model.link_.prediction(lists.scores[there])
    np.testing.assert_array_equal(np.array([row[4] for row in rows], np.float32), predictions)
    assert [row[5] for row in rows] == np.repeat(model.seen_.counts > 0, lists.counts).tolist()
    assert (written.n_lists, written.n_places) == (len(lists), len(rows))
    assert written.n_short == (lists.counts < 30).sum() > 0
    assert "lists are short" in str(written)


def test_parts_of_the_file_keep_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr("bilinear.recommend.everyone._PLACES_A_SHARD", 60)
    monkeypatch.setattr("bilinear.recommend.everyone._ROWS_AT_ONCE", 4)
    model = problem()
    write_everyone(model, tmp_path / "parts.parquet", 10, block_size=4, n_threads=3)
    rows = read(tmp_path / "parts.parquet").fetchall()
    users = [model.user_vocabulary_[row] for row in range(70)]
    assert [row[:2] for row in rows] == [(user, rank) for user in users for rank in range(1, 11)]
    assert read(tmp_path / "parts.parquet").columns == ["user", "rank", "item", "score", "known_user"]


def test_a_file_of_no_lists_has_its_columns(tmp_path):
    model = problem()
    for name, options in (("users", {"users": []}), ("items", {"candidates": []})):
        written = write_everyone(model, tmp_path / name, 10, **options)
        assert written.n_places == 0
        file = read(tmp_path / name)
        assert [str(kind) for kind in file.types[:3]] == [
            "BIGINT" if model.user_vocabulary_.kind == "integer" else "VARCHAR",
            "INTEGER",
            "BIGINT" if model.item_vocabulary_.kind == "integer" else "VARCHAR",
        ]
        assert file.fetchall() == []


def test_similar_items_have_their_file(tmp_path):
    model = table_model(n_items=20)
    written = write_similar(model, tmp_path / "similar.parquet", 3)
    rows = read(tmp_path / "similar.parquet").fetchall()
    item = model.item_vocabulary_[9]
    nine = [(row[1], row[2], row[3]) for row in rows if row[0] == item]
    assert nine == [
        (1, model.item_vocabulary_[8], -1),
        (2, model.item_vocabulary_[10], -1),
        (3, model.item_vocabulary_[7], -2),
    ]
    assert read(tmp_path / "similar.parquet").columns == ["item", "rank", "similar_item", "score"]
    assert written.n_lists == 20


def test_an_error_on_the_way_leaves_the_old_file_and_nothing_else(tmp_path):
    model = table_model()
    path = tmp_path / "lists.parquet"
    path.write_bytes(b"old")

    def scores(rows):
        if rows[0] > 40:
            raise OSError("the disk is gone")
        return score_block(model.parameters, rows)

    model.score_block = scores
    with pytest.raises(OSError, match="the disk is gone"):
        write_everyone(model, path, 5, block_size=10, n_threads=2)
    assert path.read_bytes() == b"old"
    assert [child.name for child in tmp_path.iterdir()] == ["lists.parquet"]


def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    model = table_model()
    model.score_block = None  # would fail if it were called
    with pytest.raises(ParameterValueError, match="no folder"):
        write_everyone(model, tmp_path / "absent" / "lists.parquet")
    with pytest.raises(ParameterValueError, match="is a folder"):
        write_everyone(model, tmp_path)


def test_blocks_come_in_order_and_few_wait():
    begun = []

    def work(block):
        begun.append(int(block[0]))
        return block.sum()

    results = map_blocks(work, np.arange(100), 5, 2)
    assert next(results) == 10
    assert len(begun) <= 5  # two a thread, and the one that was taken
    assert list(results) == [np.arange(n, n + 5).sum() for n in range(5, 100, 5)]


def test_an_error_in_one_block_ends_the_others():
    def work(block):
        if block[0] == 20:
            raise ValueError("block 20")
        return block

    with pytest.raises(ValueError, match="block 20"):
        list(map_blocks(work, np.arange(10**6), 1, 4))


def test_items_out_of_reach_are_not_multiplied(monkeypatch):
    shares = []

    def counting(user_tiles, offsets, lengths, item_tiles, *others):
        n_multiplied = top_k_block(user_tiles, offsets, lengths, item_tiles, *others)
        shares.append(n_multiplied / (len(user_tiles) * len(item_tiles)))
        return n_multiplied

    monkeypatch.setattr("bilinear.recommend.block_rankers.top_k_block", counting)
    check(problem(n_items=2000, kind="uneven"), 5)
    check(problem(n_items=2000, kind="nothing"), 5)
    assert shares[0] < 0.5
    assert shares[1] == 1  # what may tie with the last place has to be looked at


def test_without_factors_the_biases_decide():
    table = random_table(2, 3, 4, np.random.default_rng(0))
    parameters = Parameters.zeros(table.shape)
    parameters.item_biases[:] = 1, 3, 2
    found = recommend_everyone(DotModel(parameters, table), 3, exclude_seen=False)
    assert found.items.tolist() == [[1, 2, 0]] * 2


def test_the_link_of_a_rating_model_makes_predictions(tmp_path):
    model = problem()
    model.link_ = Identity(-1.0, 1.0)
    write_everyone(model, tmp_path / "lists", 5)
    rows = read(tmp_path / "lists").fetchall()
    assert max(row[4] for row in rows) == 1
    assert max(row[3] for row in rows) > 1
