"""The sampler against its prior (Geweke, and ranks of the truth), and what its draws are compiled to."""

import numpy as np
import pytest
from scipy.stats import chisquare

from bilinear import (
    SGD,
    Auto,
    MatrixFactorization,
    Sigmoid,
    load,
    split_random,
    split_users,
    synthetic_ratings,
)
from bilinear.data.interactions import Grouped, Interactions
from bilinear.data.sparse_block import SparseBlock
from bilinear.data.splits import split_validation
from bilinear.errors import ParameterValueError
from bilinear.training import choice, gibbs_chain, search
from bilinear.training.compiling import compile_draws
from bilinear.training.gibbs import Gibbs, SamplingRun, split_r_hat
from bilinear.training.gibbs_chain import Chain, history_blocks
from bilinear.training.progress import NullProgress
from bilinear.training.thread_pool import workers

N_FACTORS, N_PRIOR = 2, 20_000
N_TRUTHS, N_RANKS, THINNED = 200, 4, 3
_NO_PROGRESS = NullProgress()


@pytest.fixture(scope="module")
def table():
    return synthetic_ratings(120, 80, 3000, rng=0)


def tiny_table():
    rng = np.random.default_rng(5)
    users, items = np.nonzero((rng.random((6, 5)) < 0.2) | (np.arange(5) == np.arange(6)[:, None] % 5))
    return Interactions.from_columns(users, items, rng.standard_normal(len(users)))


class TestJointDistribution:
    """Sweeps that alternate with new data must leave prior x likelihood as it is: Geweke, JASA 2004.

    An error in any conditional, of rows, maps, priors or noise, moves the means or squares compared here.
    The priors are made narrower than those in use, so that all moments exist.
    """

    @pytest.fixture(autouse=True)
    def _narrow(self, monkeypatch):
        monkeypatch.setattr(gibbs_chain, "_PRECISIONS", (8.0, 8.0))
        monkeypatch.setattr(gibbs_chain, "_SHAPES", np.array([4.0, 6.0, 9.0]))
        monkeypatch.setattr(gibbs_chain, "_RATE", (8.0, 2.0))

    def prior(self, rng, table, n):
        """n states of a chain, drawn by the definition of the model."""
        drawn = {}
        for name, block in zip(("users", "items"), history_blocks(table), strict=True):
            features, d = block.matrix().toarray(), N_FACTORS + 1
            precisions = rng.gamma(8, 1 / 8, (n, d))
            mean = rng.standard_normal((n, d)) / np.sqrt(precisions)
            penalties = rng.gamma(8, 1 / 8, (n, d))
            weights = rng.standard_normal((n, features.shape[1], d)) / np.sqrt(penalties)[:, None]
            residuals = rng.standard_normal((n, len(features), d)) / np.sqrt(precisions)[:, None]
            own = {"weights": mean[:, None] + np.einsum("rc,ncd->nrd", features, weights) + residuals}
            own |= {"residuals": residuals, "mean": mean, "precisions": precisions}
            own |= {"map0": weights, "penalties0": penalties}
            drawn |= {f"{name}.{key}": array for key, array in own.items()}
        shape = rng.choice(gibbs_chain._SHAPES, n)
        rate = rng.gamma(gibbs_chain._RATE[0], 1 / gibbs_chain._RATE[1], n)
        drawn["noise"] = rng.gamma(shape[:, None], 1 / rate[:, None], (n, table.n_users))
        drawn["squares"] = np.zeros((n, table.n_users))  # of the sweep before, which no sweep reads
        drawn["numbers"] = np.column_stack([shape, rate, np.full(n, 2)])
        return drawn

    def observed(self, state):
        """Priors, population and the first row, map's row and noise; of one state, or of many in an array."""
        found = {"numbers": state["numbers"][..., :2], "noise": state["noise"][..., :1]}
        for side in ("users", "items"):
            found |= {
                f"{side}.{name}": state[f"{side}.{name}"] for name in ("mean", "precisions", "penalties0")
            }
            found |= {f"{side}.{name}": state[f"{side}.{name}"][..., 0, :] for name in ("weights", "map0")}
        return found

    def new_data(self, chain, rng):
        users = np.repeat(np.arange(chain.users.rows.counts.size), chain.users.rows.counts)
        items, k = chain.users.rows.indices, N_FACTORS
        p, q = chain.users.weights[users].astype(float), chain.items.weights[items].astype(float)
        y = (p[:, :k] * q[:, :k]).sum(1) + p[:, k] + q[:, k]
        y += rng.standard_normal(len(y)) / np.sqrt(chain.noise[users])
        chain.users.rows = Grouped(*chain.users.rows[:2], y.astype(np.float32))
        chain.items.rows = Grouped(*chain.items.rows[:2], y[np.lexsort((users, items))].astype(np.float32))

    def ranked(self, chain):
        """What three sweeps draw nearly anew: signs and order of the factors leave it as it is."""
        sides, k = (chain.users, chain.items), N_FACTORS
        p, q = (side.weights[0].astype(float) for side in sides)
        own = [p[k] + q[k] + p[:k] @ q[:k], chain.users.mean[k] + chain.items.mean[k]]
        own += [chain.noise[0], chain.noise.sum(), chain.rate]
        for side in sides:
            own += [side.precisions[k], side.precisions[:k].sum(), side.maps[0].weights[0, k]]
            own += [side.maps[0].precisions[k], side.maps[0].precisions[:k].sum()]
        return own

    def test_sweeps_and_new_data_keep_the_prior(self):
        table, rng, n = tiny_table(), np.random.default_rng(0), 3000
        of_users, of_items = history_blocks(table)
        chain = Chain.start(table, N_FACTORS, 17, user_blocks=[of_users], item_blocks=[of_items])
        chain.sweeps = 2
        seen = {}
        with workers(1) as pool:
            for _ in range(n):
                self.new_data(chain, rng)
                chain.sweep(pool)
                for name, value in self.observed(chain.state()).items():
                    seen.setdefault(name, []).append(np.array(value, float))
        prior = self.observed(self.prior(rng, table, N_PRIOR))
        assert seen.keys() == prior.keys()
        scores = []
        for name, drawn in prior.items():
            chain_values = np.array(seen[name])[500:]
            for power in (1, 2):
                wanted, found = drawn**power, chain_values**power
                batches = found[: len(found) // 50 * 50].reshape(50, -1, found.shape[1]).mean(axis=1)
                error = np.sqrt(batches.var(axis=0, ddof=1) / 50 + wanted.var(axis=0) / len(wanted))
                scores += [((found.mean(axis=0) - wanted.mean(axis=0)) / error)]
        scores = np.concatenate(scores)
        assert np.abs(scores).max() < 4.2, scores.round(1)
        assert np.abs(scores).mean() < 1.3  # 0.8 if they were independent and normal

    def test_the_true_parameters_have_uniform_ranks_among_the_draws(self, monkeypatch):
        """Simulation-based calibration (Talts et al., arXiv 1804.06788): truths, and data of theirs.

        A sampler with (8, 7) instead of (8, 8) in `_PRECISIONS` gives 1e-12.
        """
        monkeypatch.setattr(gibbs_chain, "_SHAPES", np.array([6.0]))  # else noise and population mix slowly
        monkeypatch.setattr(gibbs_chain, "_RATE", (40.0, 10.0))
        table, rng = tiny_table(), np.random.default_rng(1)
        truths = self.prior(rng, table, N_TRUTHS)
        chain = Chain.start(
            table, N_FACTORS, 23, user_blocks=history_blocks(table)[:1], item_blocks=history_blocks(table)[1:]
        )
        ranks = []
        with workers(1) as pool:
            for n in range(N_TRUTHS):
                chain.key = n
                chain.restore({name: array[n] for name, array in truths.items()})
                self.new_data(chain, rng)
                values = [self.ranked(chain)]
                for _ in range(N_RANKS - 1):
                    for _ in range(THINNED):
                        chain.sweep(pool)
                    values.append(self.ranked(chain))
                ranks.append((np.array(values[1:]) < values[0]).sum(axis=0))
        counts = np.array([np.bincount(column, minlength=N_RANKS) for column in np.transpose(ranks)])
        p_values = chisquare(counts, axis=1).pvalue
        assert p_values.min() > 0.01 / len(p_values), p_values


def rmse(predicted, table):
    return float(np.sqrt(np.mean((predicted - table.ratings) ** 2)))


@pytest.fixture(scope="module")
def fitted(table):
    solver = Gibbs(n_epochs=40, history="both", keep_draws=True, n_threads=1)
    return MatrixFactorization(n_factors=4, solver=solver, rng=0).fit(table)


def test_one_user_and_no_factors_have_the_closed_form_posterior():
    """y = b + noise for one user whose items are fixed: N(t sum y / (t n + lambda), 1 / (t n + lambda))."""
    table = Interactions.from_columns([0, 0, 0, 1], [0, 1, 2, 0], [1.0, 2.0, 4.0, 2.0])
    chain = Chain.start(table, 0, 3)
    draws = []
    with workers(1) as pool:
        for n in range(4_000):
            none = np.ones(3, np.float32)
            noise = np.array([2.0, 1.0], np.float32)
            chain._draw_rows(chain.users, chain.items, none, noise, gibbs_chain.derived(9, n), pool)
            draws.append(float(chain.users.weights[0, 0]))
            chain.users.residuals[:] = chain.users.weights  # the prior's mean stays zero
    y = (np.array([1.0, 2.0, 4.0]) - chain.center) / chain.deviation
    mean, variance = 2 * y.sum() / 7, 1 / 7
    assert abs(np.mean(draws) - mean) < 4 * np.sqrt(variance / len(draws))
    assert abs(np.var(draws) - variance) < 4 * variance * np.sqrt(2 / len(draws))


def test_compiled_scores_are_the_mean_of_the_draws_when_no_factor_is_cut(table):
    with workers(1) as pool:
        solver = Gibbs(n_epochs=12, n_draws=3, history="both").resolved(table.n_ratings)
        run = SamplingRun(solver, table, 4, 5, pool, *([block] for block in history_blocks(table)))
        for number in range(1, 13):
            run.epoch(number, None, _NO_PROGRESS)
    chain = run.chain
    found = compile_draws(run.draws, chain.center, chain.deviation, 12, table.by_user, keep=True)
    users, items = np.repeat(np.arange(120), 80), np.tile(np.arange(80), 120)
    parameters, k = found.parameters, 4
    compiled = (
        parameters.global_mean
        + parameters.user_biases[users]
        + parameters.item_biases[items]
        + (parameters.user_factors[users] * parameters.item_factors[items]).sum(axis=1)
    )
    by_hand = np.mean(
        [
            (draw.users[users, :k] * draw.items[items, :k]).sum(axis=1)
            + draw.users[users, k]
            + draw.items[items, k]
            for draw in run.draws
        ],
        axis=0,
    )
    assert np.allclose(compiled, chain.center + chain.deviation * by_hand, atol=2e-5)
    kept = np.mean([found.draws.scores(draw, users, items) for draw in range(3)], axis=0)
    assert np.allclose(kept, compiled, atol=2e-5)


def test_compiled_to_twice_the_factors_within_a_thousandth_of_the_draws():
    split = split_random(synthetic_ratings(300, 200, 12_000, rng=3), 0.2, rng=0)
    solver = Gibbs(n_epochs=60, keep_draws=True)
    model = MatrixFactorization(n_factors=6, solver=solver, rng=0).fit(split.train)
    test, draws = split.test, model.posterior_.draws
    of_draws = np.mean([draws.scores(n, test.users, test.items) for n in range(len(draws))], axis=0)
    assert model.parameters_.n_factors <= 12
    compiled = rmse(model.predict_rows(test.users, test.items), test)
    assert abs(compiled - rmse(np.clip(of_draws, *model.link_.bounds), test)) < 0.001


@pytest.mark.parametrize("history", ["none", "both"])
def test_the_same_bits_for_any_number_of_threads(table, history):
    bits = []
    for threads in (1, 2, 4):
        solver = Gibbs(n_epochs=6, history=history, n_threads=threads)
        model = MatrixFactorization(n_factors=5, solver=solver, rng=4).fit(table)
        bits.append(model.parameters_.arrays() | {"prior": model.posterior_.user_prior.precision})
    for other in bits[1:]:
        assert all(np.array_equal(bits[0][name], other[name]) for name in other)


def test_saved_and_loaded_with_prior_noise_and_draws(fitted, table, tmp_path):
    fitted.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    items, ratings = [3, 5, 8], [4.0, 2.0, 5.0]
    assert loaded.fold_in(items, ratings).scores.tolist() == fitted.fold_in(items, ratings).scores.tolist()
    assert np.array_equal(loaded.posterior_.noise, fitted.posterior_.noise)
    assert np.array_equal(loaded.posterior_.draws.users, fitted.posterior_.draws.users)
    assert loaded.history_.diagnostics == fitted.history_.diagnostics != {}
    assert loaded.solver_ == fitted.solver_
    again = loaded.retrain(table)
    assert np.array_equal(again.parameters_.user_factors, fitted.parameters_.user_factors)


def test_rows_without_ratings_are_the_mean_of_the_prior():
    rng = np.random.default_rng(0)
    whole = synthetic_ratings(60, 40, 900, rng=1)
    part = whole.take(np.flatnonzero((whole.users > 4) & (whole.items > 3)))
    model = MatrixFactorization(n_factors=3, solver=Gibbs(n_epochs=10), rng=int(rng.integers(9))).fit(part)
    parameters = model.parameters_
    for array, n in ((parameters.user_factors, 5), (parameters.item_factors, 4)):
        assert not array[:n].any()
        assert array[n:].any()


def test_an_item_without_ratings_has_the_row_nearest_to_what_each_user_says_of_their_own(table):
    """Against least squares over all ratings, one row each, with the prior as further ones."""
    of_items = history_blocks(table)[1]
    chain = Chain.start(table, 2, 5, item_blocks=[of_items])
    with workers(1) as pool:
        for _ in range(5):
            chain.sweep(pool)
    users, own = chain.users.weights.astype(float), chain.items.maps[0].weights.astype(float)
    design = np.column_stack([users[:, :2], np.ones(len(users))])[table.users]
    wanted = own[table.users, 2] + (users[table.users, :2] * own[table.users, :2]).sum(axis=1)
    prior = np.diag(np.sqrt(chain.items.precisions))
    shift = np.linalg.lstsq(np.vstack([design, prior]), np.append(wanted, np.zeros(3)), rcond=None)[0]
    assert np.abs(shift).max() > 0.01
    assert np.allclose(chain.draw().item_mean, chain.items.mean + shift, atol=1e-5)


def test_history_is_of_the_training_part_alone(table):
    """Another test part changes nothing: the blocks hold the training ratings and no others."""
    split = split_random(table, 0.3, rng=0)
    users, items = (block.matrix().toarray() for block in history_blocks(split.train))
    for matrix, rows, columns in ((users, split.train.users, split.train.items),
                                  (items, split.train.items, split.train.users)):  # fmt: skip
        assert (matrix > 0).sum() == split.train.n_ratings
        assert (matrix[rows, columns] > 0).all()
        norms = (matrix**2).sum(axis=1)
        assert np.allclose(norms[norms > 0], 1)


def test_contributions_add_up_to_the_folded_score(fitted):
    items, ratings = np.array([3, 5, 8], np.int32), np.array([4.0, 2.0, 5.0], np.float32)
    ids = fitted.item_vocabulary_.decode(items)
    for item in (0, 3, 17):
        parts = fitted.contributions(items, ratings, item)
        score = fitted.parameters_.global_mean + parts.ratings.sum() + parts.item_bias
        assert np.isclose(fitted.fold_in(ids, ratings.tolist()).scores[item], score, atol=1e-4)


@pytest.mark.parametrize("history", ["none", "users"])
def test_fold_in_comes_close_to_that_of_the_draws(history):
    """New users: each draw's own posterior mean, averaged, against one fold-in with the compiled prior."""
    split = split_users(synthetic_ratings(400, 150, 16_000, rng=2), 0.15, 0.8, rng=0)
    kept = {}
    with workers(1) as pool:
        solver = Gibbs(n_epochs=60, history=history).resolved(split.train.n_ratings)
        blocks = [history_blocks(split.train)[0]] if history == "users" else []
        run = SamplingRun(solver, split.train, 5, 5, pool, blocks)
        for number in range(1, 61):
            run.epoch(number, None, _NO_PROGRESS)
    posterior, chain, k = run.posterior(), run.chain, 5
    shown, asked = split.history.by_user, split.test.by_user
    for user in np.flatnonzero(asked.counts):
        a, b = shown.indptr[user], shown.indptr[user + 1]
        items, ratings = shown.indices[a:b], shown.ratings[a:b]
        wanted = asked.indices[asked.indptr[user] : asked.indptr[user + 1]]
        total = np.zeros(len(wanted))
        for draw in run.draws:
            design = np.column_stack([draw.items[items, :k], np.ones(len(items))]).astype(float)
            y = (ratings - chain.center) / chain.deviation - draw.items[items, k]
            prior, mean = np.diag(draw.user_precisions.astype(float)), draw.user_mean.astype(float)
            if draw.user_maps:
                mean = mean + draw.user_maps[0][items].astype(float).sum(axis=0) / np.sqrt(len(items))
            system = prior + draw.new_precision * design.T @ design
            own = np.linalg.solve(system, prior @ mean + draw.new_precision * design.T @ y)
            total += draw.items[wanted, k] + own[k] + draw.items[wanted, :k] @ own[:k]
        folded = posterior.user_prior.fold_in(posterior.parameters, items, ratings)
        p = posterior.parameters
        compiled = (
            p.global_mean + p.item_biases[wanted] + folded.bias + p.item_factors[wanted] @ folded.factors
        )
        held = asked.ratings[asked.indptr[user] : asked.indptr[user + 1]]
        kept[user] = np.column_stack(
            [chain.center + chain.deviation * total / len(run.draws), compiled, held]
        )
    found = np.vstack(list(kept.values()))
    spread = found[:, 0].std()
    assert np.sqrt(np.mean((found[:, 0] - found[:, 1]) ** 2)) < 0.2 * spread
    errors = [np.sqrt(np.mean((found[:, n] - found[:, 2]) ** 2)) for n in (0, 1)]
    assert errors[1] < 1.01 * errors[0]


def test_resumed_from_its_state_to_the_same_bits(table):
    solver = Gibbs(n_epochs=12, n_draws=4, history="both").resolved(table.n_ratings)
    with workers(1) as pool:
        runs = [SamplingRun(solver, table, 4, 5, pool, *([b] for b in history_blocks(table))) for _ in "ab"]
        for number in range(1, 13):
            if number == 9:
                state = {name: np.array(array) for name, array in runs[0].state().items()}
                runs[1].restore(state)
                before = runs[0]
                for later in range(9, 13):
                    before.epoch(later, None, _NO_PROGRESS)
                for later in range(9, 13):
                    runs[1].epoch(later, None, _NO_PROGRESS)
                break
            runs[0].epoch(number, None, _NO_PROGRESS)
    first, second = (run.posterior() for run in runs)
    for name, array in first.parameters.arrays().items():
        assert np.array_equal(array, second.parameters.arrays()[name])
    assert np.array_equal(first.noise, second.noise)


def test_ctrl_c_keeps_the_draws_so_far(table):
    def interrupt(state):
        if state.epoch.number == 7:
            raise KeyboardInterrupt

    model = MatrixFactorization(n_factors=3, solver=Gibbs(n_epochs=40, burn_in=4), rng=0)
    model.fit(table, on_epoch=interrupt)
    assert model.history_.ended == "interrupted"
    assert len(model.history_.epochs) == 7
    assert np.isfinite(model.predict_rows(table.users, table.items)).all()


def test_a_chain_that_stands_still_is_reported(table):
    model = MatrixFactorization(n_factors=3, solver=Gibbs(n_epochs=8, burn_in=0), rng=0).fit(table)
    assert max(model.history_.diagnostics.values()) > 1.2
    assert "not converged" in str(model.history_)


def test_split_r_hat_of_a_step_and_of_noise():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(400)
    assert split_r_hat(noise) < 1.02
    # two halves a apart, of variance one: sqrt(1 + a^2 / 2) for long chains
    assert np.isclose(split_r_hat(noise + 3 * (np.arange(400) >= 200)), np.sqrt(1 + 9 / 2), rtol=0.05)
    assert split_r_hat(np.ones(10)) == 1


def test_features_move_the_mean_of_rows_that_have_few_ratings():
    """Items of two kinds that one feature tells apart: the map finds how much better one is liked."""
    rng = np.random.default_rng(0)
    kind = np.arange(200) % 2
    users, items = np.repeat(np.arange(100), 8), rng.integers(200, size=800)
    ratings = 3 + 2 * kind[items] + 0.3 * rng.standard_normal(800)
    table = Interactions.from_columns(users, items, ratings)
    order = np.array(table.item_vocabulary.decode(np.arange(table.n_items)), int)
    block = SparseBlock.of("kind", np.eye(2, dtype=np.float32)[kind[order]])
    other = SparseBlock.of("nothing", np.zeros((table.n_users, 1), np.float32))
    blocks = {"item_blocks": [block], "user_blocks": [other]}
    posterior, _ = Gibbs(n_epochs=40).sample(table, 2, np.random.default_rng(0), **blocks)
    assert posterior.user_prior.history is None  # features of users are no history
    biases = posterior.parameters.item_biases
    gap = biases[kind[order] == 1].mean() - biases[kind[order] == 0].mean()
    assert abs(gap - 2) < 0.15


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"solver": Gibbs(), "l2": 0.1}, "l2=0.1 with solver=Gibbs"),
        ({"solver": Gibbs(), "link": Sigmoid()}, "Gaussian conditionals"),
    ],
)
def test_what_has_no_closed_form_is_refused(table, arguments, message):
    with pytest.raises(ParameterValueError, match=message):
        MatrixFactorization(**arguments).fit(table)


@pytest.mark.parametrize(
    "arguments",
    [{"history": "all"}, {"n_draws": 0}, {"burn_in": 10, "n_epochs": 10}, {"keep_draws": 1}, {"n_epochs": 0}],
)
def test_arguments_are_checked(arguments):
    with pytest.raises(ParameterValueError, match=next(iter(arguments))):
        Gibbs(**arguments)


def test_intervals_hold_what_they_promise_for_all_and_for_cold_items():
    """Ratings drawn from the model itself, users of unlike noise: shares within three standard errors."""
    rng = np.random.default_rng(1)
    n_users, n_items, n = 300, 150, 15_000
    users, items = rng.integers(n_users, size=n), rng.integers(n_items, size=n)
    factors = rng.standard_normal((n_users, 3)) * 0.6, rng.standard_normal((n_items, 3)) * 0.6
    deviation = rng.choice([0.3, 1.0], n_users)
    scores = (factors[0][users] * factors[1][items]).sum(axis=1) + 0.5 * rng.standard_normal(n_items)[items]
    whole = Interactions.from_columns(users, items, scores + deviation[users] * rng.standard_normal(n))
    split = split_random(whole, 0.3, rng=0)
    kept = np.flatnonzero(split.train.items >= 20)  # the first twenty items are cold
    model = MatrixFactorization(n_factors=3, solver=Gibbs(n_epochs=80), rating_range=(-100, 100), rng=0).fit(
        split.train.take(kept)
    )
    found = model.coverage(split.test, 0.9)
    assert set(found.shares) == {"all", "few ratings", "steady users", "erratic users", "cold items"} - (
        {"few ratings"} - set(found.shares)
    )
    for group, tolerance in (("all", 0.02), ("steady users", 0.03), ("erratic users", 0.03)):
        assert abs(found.shares[group] - 0.9) < tolerance, found
    assert abs(found.shares["cold items"] - 0.9) < 0.06, found
    pair = model.user_vocabulary_.decode([0]), model.item_vocabulary_.decode([0])
    one = model.predict(*pair, interval=0.5)
    assert one.low < one.values < one.high


def test_auto_takes_the_simplest_of_what_predicts_held_out_ratings_best(monkeypatch):
    """Ratings of biases alone: no history helps, and the trials say so."""
    monkeypatch.setattr(choice, "TRIAL_SWEEPS", 30)
    monkeypatch.setattr(choice, "FINAL_SWEEPS", 40)
    monkeypatch.setattr(choice, "_AS_GOOD", 0.008)
    table = synthetic_ratings(150, 100, 3000, rng=0)
    model = MatrixFactorization(solver=Auto(), rng=0).fit(table)
    tried = {trial.stage for trial in model.search_.trials}
    assert {"mean", "biases", "gibbs", "gibbs items", "gibbs both"} <= tried
    chains = [trial for trial in model.search_.trials if trial.stage.startswith("gibbs")]
    assert [trial.stage for trial in chains[:3]] == ["gibbs", "gibbs items", "gibbs both"]
    most = chains[0].validation_rmse * 1.008  # histories as good as that are tried with half of the factors
    halved = {trial.stage for trial in chains if trial.n_factors == 4}
    assert halved == {trial.stage for trial in chains[:3] if trial.validation_rmse <= most} < tried
    assert len(halved) == 2
    assert min(t.validation_rmse for t in model.search_.trials if t.kept) <= min(
        t.validation_rmse for t in model.search_.trials
    ) * (1 + 1e-3)
    again = MatrixFactorization(solver=Auto(), rng=0).fit(table)
    assert np.array_equal(again.parameters_.user_factors, model.parameters_.user_factors)
    retrained = again.retrain(table)
    assert type(retrained.solver_) is type(model.solver_)


@pytest.mark.parametrize(
    ("budget", "planned"),
    [(1e9, ["none", "items", "both", "sgd"]), (360, ["none", "items", "both"]), (89, [])],
)
def test_auto_plans_the_trials_that_its_budget_of_passes_allows(budget, planned):

    assert Auto(budget=budget).planned(1) == planned


def test_auto_is_sgd_where_a_chain_is_impossible(table):

    model = MatrixFactorization(solver=Auto(), n_factors=2, l2=0.5, l2_biases=0.5, rng=0).fit(table)
    assert isinstance(model.solver_, SGD)


def test_auto_tries_chains_on_some_users_of_a_large_table_and_samples_all(table, monkeypatch):
    monkeypatch.setattr(search, "SEARCHED", 300)
    model = MatrixFactorization(solver=Auto(budget=0), n_factors=2, refit=False, rng=0).fit(table)
    assert 300 <= model.search_.n_searched < 300 + table.n_items
    inner = split_validation(table, 0.1, np.random.default_rng([0, 0]))
    chain = Gibbs(n_epochs=choice.FINAL_SWEEPS, history=model.solver_.history)
    posterior, _ = chain.sample(inner.train, 2, np.random.default_rng([0, 2]))
    assert np.array_equal(posterior.parameters.user_factors, model.parameters_.user_factors)
