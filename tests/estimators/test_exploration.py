"""Lists by draws of the posterior: the draw's own ranking, the mean's, and what lies between."""

import numpy as np
import pytest

from bilinear import EASE, Gibbs, Items, MatrixFactorization, Vocabulary, load, synthetic_ratings
from bilinear.errors import ParameterValueError


@pytest.fixture(scope="module")
def table():
    whole = synthetic_ratings(40, 30, 500, rng=0)
    return whole.take(whole.items > 2)  # three items without ratings


@pytest.fixture(scope="module")
def model(table):
    kinds = [f"kind {n % 3}" for n in range(table.n_items)]
    items = Items(Vocabulary.from_ids(list(table.item_vocabulary)), {"kind": kinds}, source="items")
    solver = Gibbs(n_epochs=24, n_draws=6, keep_draws=True)
    fitted = MatrixFactorization(
        n_factors=2, solver=solver, rating_range=(-50, 50), item_features=["kind"], rng=0
    )
    return fitted.fit(table, items=items)


def scores(model, user, **how):
    """By item row, of all items."""
    ranked = model.recommend(user, n=100, exclude_seen=False, **how)
    found = np.full(len(model.item_vocabulary_), np.nan)
    found[model.item_rows(ranked.items)] = ranked.scores
    return found


def test_one_is_the_ranking_of_a_draw_and_zero_that_of_the_mean(model):
    rated = model.item_has_ratings(np.arange(len(model.item_vocabulary_)))
    draws, items = model.posterior_.draws, np.flatnonzero(rated).astype(np.int32)
    used = set()
    for user in list(model.user_vocabulary_)[:12]:
        row = np.full(len(items), model.user_vocabulary_.row(user, "user"), np.int32)
        by_draw = np.array([draws.scores(draw, row, items) for draw in range(len(draws))])
        found = scores(model, user, explore=1.0, rng=3)[rated]
        used.add(int(np.abs(by_draw - found).max(axis=1).argmin()))
        assert np.abs(by_draw - found).max(axis=1).min() < 1e-4
        mean = scores(model, user)[rated]
        assert np.allclose(scores(model, user, explore=0.0, rng=3)[rated], mean, atol=1e-4)
        assert np.allclose(scores(model, user, explore=0.5, rng=3)[rated], (mean + found) / 2, atol=1e-4)
    assert len(used) > 2  # each user has a draw of their own


def test_items_without_ratings_differ_from_their_mean_as_their_prior_does(model):
    """Over seeds: mean of the prior about what features say, variance |(p, 1) R|^2 over draws."""
    user, cold = next(iter(model.user_vocabulary_)), [0, 1, 2]
    drawn = np.array([scores(model, user, explore=1.0, rng=seed)[cold] for seed in range(600)])
    draws = model.posterior_.draws
    own = np.column_stack([draws.users[:, 0, :-1], np.ones(len(draws))])
    mean = model.predict_rows(np.zeros(3, np.int32), np.array(cold, np.int32))
    shift = draws.global_means + draws.users[:, 0, -1] - model.parameters_.global_mean
    shift -= float(model.parameters_.user_biases[0])
    spreads = (np.einsum("sd,sfd->sf", own, draws.new_items) ** 2).sum(axis=1)
    variance = spreads.mean() + shift.var()
    assert np.abs(drawn.mean(axis=0) - mean - shift.mean()).max() < 4 * np.sqrt(variance / 600)
    assert np.abs(drawn.var(axis=0) / variance - 1).max() < 0.3


def test_a_list_depends_on_the_seed_and_the_user_alone(model):
    users = list(model.user_vocabulary_)[:6]
    several = model.recommend(users, n=5, explore=1.0, rng=8)
    for user in users:
        assert (
            model.recommend(user, n=5, explore=1.0, rng=8).items.tolist() == several.of(user).items.tolist()
        )
    firsts = {tuple(model.recommend(users[0], n=5, explore=1.0).items) for _ in range(12)}
    assert len(firsts) > 1
    assert model.recommend("nobody", n=3, explore=1.0, unknown="non-personal").items.size == 3


def test_new_items_are_explored_and_rows_stay_with_their_ids(model, tmp_path):
    more = Items(Vocabulary.from_ids([-3, 900]), {"kind": ["kind 0", "kind 1"]})
    wider = model.new_items(more)
    assert {-3, 900} <= set(wider.recommend(7, n=100, explore=1.0, rng=1).items.tolist())
    pairs = [7, 7, 8], list(model.item_vocabulary_)[4:7]
    before, after = (one.predict(*pairs, interval=0.9) for one in (model, wider))
    assert np.array_equal(before.low, after.low)
    assert wider.fold_in(pairs[1], [5, 3, 1]).predict(pairs[1]).tolist() == pytest.approx(
        model.fold_in(pairs[1], [5, 3, 1]).predict(pairs[1]).tolist(), abs=1e-5
    )
    new = wider.predict([7, 7], [-3, 900], interval=0.9)
    assert (new.high - new.low > np.median(after.high - after.low)).all()
    wider.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    again, first = (one.recommend(7, n=9, explore=1.0, rng=1).items.tolist() for one in (loaded, wider))
    assert again == first


def test_what_cannot_explore_says_what_to_do(model, table):
    with pytest.raises(ParameterValueError, match=r"this EASE keeps no draws.*keep_draws=True"):
        EASE(l2=5.0).fit(table).recommend(7, explore=1.0)
    plain = MatrixFactorization(n_factors=2, solver=Gibbs(n_epochs=8), rng=0).fit(table)
    with pytest.raises(ParameterValueError, match=r"MatrixFactorization keeps no draws"):
        plain.recommend(7, explore=1.0)
    with pytest.raises(ParameterValueError, match="explore=-1"):
        model.recommend(7, explore=-1)
    with pytest.raises(ParameterValueError, match="rng=3 is the seed of explore"):
        model.recommend(7, rng=3)
