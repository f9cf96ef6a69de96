"""The sampled ranking model: its promises, fold-in as a convex minimum, disk, Ctrl-C."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from listeners import CtrlC, Recorder
from problems import clustered_table, same_bits, with_strangers

import bilinear
from bilinear.data.interactions import Grouped
from bilinear.data.splits import split_random, split_users
from bilinear.errors import EmptyDataError, ModelFileError, NotFittedError, ParameterValueError
from bilinear.estimators.popularity import Popularity
from bilinear.estimators.ranking_factorization import RankingFactorization
from bilinear.estimators.ranking_model import rows_of
from bilinear.evaluation.metrics import Metric
from bilinear.evaluation.ranking import RankingProtocol
from bilinear.objective.ranking_losses import BPR, WARP, CosineContrastive, SampledSoftmax
from bilinear.persistence.artifact import read_artifact, write_artifact
from bilinear.recommend.everyone import recommend_everyone
from bilinear.training.minibatch import MiniBatch
from bilinear.training.optimizers import Adam, ExponentialMovingAverage, RowAdaGrad, WeightDecay
from bilinear.training.schedules import Cosine
from bilinear.training.validation import RankingValidation

QUICK = MiniBatch(Adam(), batch_size=200, n_epochs=30, learning_rate=0.05, schedule=Cosine())
DOT = {
    "cosine": False,
    "n_negatives": 20,
    "start_size": 0.3,
    "n_factors": 6,
    "l2": 0.3,
    "validation_fraction": 0.3,
}
COSINE = {"solver": QUICK, "rng": 0, "start_size": 0.1, "validation_fraction": 0.3}
MAKE = {
    "cosine contrastive": lambda **more: RankingFactorization(6, CosineContrastive(0.4, 5), **COSINE | more),
    "softmax": lambda **more: RankingFactorization(6, SampledSoftmax(0.3), **COSINE | more),
    "softmax, dot": lambda **more: RankingFactorization(
        loss=SampledSoftmax(corrected=False), solver=QUICK, item_biases=True, **DOT | {"rng": 0} | more
    ),
    "bpr": lambda **more: RankingFactorization(
        loss=BPR(), solver=QUICK, order="pairs", item_biases=True, **DOT | {"rng": 0} | more
    ),
    "warp": lambda **more: RankingFactorization(loss=WARP(), solver=QUICK, **DOT | {"rng": 0} | more),
}
every_model = pytest.mark.parametrize("name", MAKE)


SPLIT = split_random(clustered_table(), 0.2)
TRAIN = with_strangers(SPLIT.train)
USERS, ITEMS = list(TRAIN.user_vocabulary), list(TRAIN.item_vocabulary)
ROWS = np.arange(TRAIN.n_users, dtype=np.int32)


@cache
def fitted(name):
    """A model fitted on TRAIN; shared, so look and do not touch."""
    return MAKE[name]().fit(TRAIN)


@every_model
def test_the_same_seed_gives_the_same_bits_for_any_number_of_threads(name):
    model = MAKE[name](n_threads=3)
    arguments = model.get_params(deep=False)
    assert model.fit(TRAIN) is model
    assert all(model.get_params(deep=False)[key] is value for key, value in arguments.items())
    assert same_bits(model.parameters_, fitted(name).parameters_)
    assert model.history_.best_epoch == fitted(name).history_.best_epoch
    other = MAKE[name](rng=1).fit(TRAIN)
    assert not same_bits(other.parameters_, model.parameters_)


@every_model
def test_personal_lists_beat_popularity_on_what_was_held_out(name):
    scores = fitted(name).evaluate(SPLIT.test, RankingProtocol((5,)))
    floor = Popularity().fit(TRAIN).evaluate(SPLIT.test, RankingProtocol((5,)))
    assert scores.n_trained_pairs == 0
    assert scores["ndcg@5"] > 1.3 * floor["ndcg@5"]


@every_model
def test_scores_lists_and_parameters_agree(name):
    model = fitted(name)
    whole = model.score_block(ROWS)
    assert np.isfinite(whole).all()
    assert same_bits(model.score_block(ROWS[[5, 3]]), whole[[5, 3]])
    parameters = model.dot_product()
    expected = parameters.user_factors @ parameters.item_factors.T + parameters.item_biases
    np.testing.assert_allclose(whole, expected, atol=1e-5)
    everyone = recommend_everyone(model, 5, n_threads=2, block_size=13)
    for row in (3, 9, 40):
        ours = model.recommend(USERS[row], 5)
        assert [ITEMS[item] for item in everyone.items[row, :5]] == list(ours)
        assert not set(ours) & {ITEMS[item] for item in TRAIN.items[TRAIN.users == row]}
    assert not parameters.item_factors[[0, -1]].any()  # "a" and "z" were never trained


@pytest.mark.parametrize("name", ["cosine contrastive", "softmax"])
def test_scores_are_cosines(name):
    model = fitted(name)
    trained = TRAIN.by_user.counts > 0
    np.testing.assert_allclose(np.linalg.norm(model.user_factors_[trained], axis=1), 1, rtol=1e-5)
    lengths = np.linalg.norm(model.item_factors_, axis=1)
    np.testing.assert_allclose(lengths[TRAIN.by_item.counts > 0], 1, rtol=1e-5)
    assert np.abs(model.score_block(ROWS)).max() <= 1 + 1e-5


def test_the_share_of_the_history_mixes_unit_vectors_in_training_and_in_fold_in():
    plain = MAKE["softmax"](validation_fraction=0).fit(TRAIN)
    trained = TRAIN.by_user.counts > 0
    users, items = plain.user_factors_.astype(float), plain.item_factors_.astype(float)

    def unit(rows):
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    taken = np.zeros(TRAIN.shape)
    taken[TRAIN.users, TRAIN.items] = TRAIN.by_user.ratings > 0
    history = unit(taken[trained] @ items)
    for share in (0.7, 1.0):
        model = MAKE["softmax"](validation_fraction=0, history_share=share).fit(TRAIN)
        assert same_bits(model.item_factors_, plain.item_factors_)
        expected = unit((1 - share) * unit(users[trained]) + share * history)
        np.testing.assert_allclose(model.user_factors_[trained], expected, atol=1e-5)
        rows = np.flatnonzero(trained)[:9]
        folded = model.fold_in_factors(rows_of(TRAIN.by_user, rows))
        tolerance = 1e-5 if share == 1 else 0.3  # of the history alone fold-in is exact
        np.testing.assert_allclose(folded, model.user_factors_[rows], atol=tolerance)
    nobody = model.score_block(np.array([-1], np.int32))[0]
    np.testing.assert_allclose(nobody, model.score_block(np.flatnonzero(trained)).mean(axis=0), atol=1e-4)


@every_model
def test_users_without_interactions_are_the_mean_user(name):
    model = fitted(name)
    nobody = model.score_block(np.array([-1, 0], np.int32))
    trained = np.flatnonzero(TRAIN.by_user.counts)
    np.testing.assert_allclose(nobody[0], model.score_block(trained).mean(axis=0), atol=1e-4)
    assert same_bits(nobody[0], nobody[1])
    assert same_bits(nobody[0], model.fold_in([], []).scores)


@every_model
def test_items_alike_share_users(name):
    ranked = fitted(name).similar("i05", 4)
    dense = (TRAIN.to_csr().toarray() != 0).astype(float)
    shared, at = dense.T @ dense, ITEMS.index("i05")
    near = np.mean([shared[at, ITEMS.index(item)] for item in ranked])
    assert near > 1.5 * np.delete(shared[at], at).mean()


# -- fold-in --------------------------------------------------------------------------------------


def cost_of(model, user, taken):
    """What fold-in says it minimises, by the loss's own method; (value, gradient)."""
    items = model.item_factors_.astype(float)
    trained = np.flatnonzero(items.any(axis=1))
    biases = model._own_biases()
    scores = (items @ user + biases).astype(np.float32)
    others = np.setdiff1d(trained, taken)
    loss, log_weights = model.loss, None
    if isinstance(loss, WARP):
        loss = SampledSoftmax(loss.margin)
    elif isinstance(loss, SampledSoftmax) and not loss.corrected:
        log_weights = np.full(len(others), np.log(min(model.n_negatives, len(trained)) / len(trained)))
        log_weights, loss = log_weights.astype(np.float32), SampledSoftmax(loss.temperature)
    value, up, down = loss.value_and_gradients(scores[taken], scores[others], log_weights=log_weights)
    n = len(taken)
    ridge = model.l2 * n**model.l2_exponent / n
    gradient = (up @ items[taken] + down @ items[others]) / n + ridge * user
    return value / n + ridge / 2 * user @ user, gradient


@every_model
def test_fold_in_is_the_minimum_in_the_ball(name):
    """First-order conditions of a convex problem: nothing in the ball lies further down the slope."""
    model = fitted(name)
    radius, rng = 1.0 if model.cosine else model.longest_user_, np.random.default_rng(0)
    rows = np.flatnonzero(TRAIN.by_user.counts > 0)[:5]
    histories = rows_of(TRAIN.by_user, rows)
    for n, user in enumerate(model.fold_in_factors(histories).astype(float)):
        taken = histories.indices[histories.indptr[n] : histories.indptr[n + 1]]
        value, gradient = cost_of(model, user, taken)
        assert np.linalg.norm(user) <= radius * (1 + 1e-5)
        gap = gradient @ user + radius * np.linalg.norm(gradient)  # at least how far it is from the least
        assert gap > -1e-5
        if name != "cosine contrastive":  # which has kinks, where one slope of many says little
            assert gap < 0.03 * abs(value)
        for _ in range(10):
            near = user + rng.normal(0, 0.03 * radius, len(user))
            near *= min(1, radius / np.linalg.norm(near))
            assert value <= cost_of(model, near, taken)[0] * 1.01
        trained = model.user_factors_[rows[n]].astype(float)
        assert value <= cost_of(model, trained, taken)[0] * 1.01


@every_model
def test_a_training_user_folds_in_near_where_it_was_trained(name):
    model = fitted(name)
    rows = np.flatnonzero(TRAIN.by_user.counts > 3)
    found, own = model.score_histories(rows_of(TRAIN.by_user, rows)), model.score_block(rows)
    alike = [np.corrcoef(*pair)[0, 1] for pair in zip(found, own, strict=True)]
    assert np.median(alike) > 0.8
    person = model.fold_in([ITEMS[item] for item in TRAIN.items[TRAIN.users == 7]])
    np.testing.assert_allclose(person.scores, model.score_histories(rows_of(TRAIN.by_user, np.array([7])))[0])


@every_model
def test_fold_in_does_not_depend_on_who_else_is_asked_about(name):
    model = fitted(name)
    rows = np.flatnonzero(TRAIN.by_user.counts > 0)[:30]
    together = model.fold_in_factors(rows_of(TRAIN.by_user, rows))
    alone = [model.fold_in_factors(rows_of(TRAIN.by_user, rows[n : n + 1]))[0] for n in (0, 7, 29)]
    assert same_bits(together[[0, 7, 29]], np.array(alone))


def test_users_held_out_whole_are_answered_better_than_by_popularity():
    split = split_users(clustered_table(n_users=120), 0.25)
    ours = MAKE["softmax"]().fit(split.train).evaluate(split, RankingProtocol((5,)))
    floor = Popularity().fit(split.train).evaluate(split, RankingProtocol((5,)))
    assert ours["ndcg@5"] > 1.3 * floor["ndcg@5"]


# -- training -------------------------------------------------------------------------------------


def test_validation_decides_how_long_everything_is_trained():
    model = MAKE["softmax"](validate_every=3, metric="ndcg@20").fit(TRAIN)
    measured = [epoch.number for epoch in model.history_.epochs if epoch.validation is not None]
    assert measured[:3] == [3, 6, 9]
    assert model.history_.best_epoch in measured
    assert model.history_.metric == "ndcg@20"
    assert model.history_.best_validation == max(
        epoch.validation for epoch in model.history_.epochs if epoch.validation is not None
    )
    solver = replace(QUICK, n_epochs=model.history_.best_epoch)
    if model.history_.best_epoch == QUICK.n_epochs:  # then the schedules are the same
        alone = MAKE["softmax"](validation_fraction=0, solver=solver).fit(TRAIN)
        assert same_bits(alone.parameters_, model.parameters_)
    part = MAKE["softmax"](validate_every=3, metric="ndcg@20", refit=False).fit(TRAIN)
    assert not same_bits(part.parameters_, model.parameters_)


@pytest.mark.parametrize("metric", ["recall@20", "ndcg@20", "recall@3", "ndcg@7"])
def test_the_inner_metric_is_that_of_evaluation(metric):
    table = clustered_table(2, 90, 60)
    split = split_random(table, 0.3)
    model = MAKE["softmax"](validation_fraction=0).fit(split.train)
    found = RankingValidation(split, Metric.named(metric), 10**6, np.random.default_rng(0))(model.parameters_)
    scores = model.evaluate(split.test, RankingProtocol((3, 7, 20)))
    np.testing.assert_allclose(found, scores[metric], rtol=1e-6)


def test_weights_by_confidence_and_by_user():
    equal = MAKE["softmax"]().fit(TRAIN)
    ones = replace(TRAIN, ratings=np.ones_like(TRAIN.ratings))
    assert same_bits(MAKE["softmax"](confidence="ratings").fit(ones).parameters_, equal.parameters_)
    for other in ({"confidence": "ratings"}, {"user_exponent": 1.0}, {"popularity_exponent": 1.0}):
        assert not same_bits(MAKE["softmax"](**{"n_negatives": 20} | other).fit(TRAIN).parameters_, (
            MAKE["softmax"](n_negatives=20).fit(TRAIN).parameters_
        ))  # fmt: skip


def test_a_threshold_learns_from_what_it_leaves_and_hides_the_rest_too():
    model = MAKE["softmax"](threshold=4).fit(TRAIN)
    twin = MAKE["softmax"]().fit(TRAIN.take(TRAIN.ratings >= 4))
    assert same_bits(model.parameters_, twin.parameters_)
    seen = {ITEMS[item] for item in TRAIN.items[TRAIN.users == 9]}
    assert not set(model.recommend(USERS[9], 99)) & seen


@pytest.mark.parametrize(
    "solver",
    [
        replace(QUICK, optimizer=RowAdaGrad(), average=ExponentialMovingAverage(0.9)),
        replace(QUICK, weight_decay=WeightDecay(0.1), clip_norm=1.0, dense=True),
        replace(QUICK, batch_size="all"),
        replace(QUICK, batch_size=1, n_epochs=2),
    ],
)
def test_any_optimiser_batch_and_average(solver):
    model = MAKE["softmax"](solver=solver, refit=False).fit(TRAIN)
    losses = [epoch.loss for epoch in model.history_.epochs]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


def test_ctrl_c_keeps_the_epochs_so_far_and_progress_hears_of_both_stages():
    before = MAKE["bpr"]()
    with pytest.raises(KeyboardInterrupt):
        before.fit(TRAIN, progress=CtrlC("advance", 1))
    assert "parameters_" not in before.__dict__
    stopped = MAKE["bpr"]().fit(TRAIN, progress=CtrlC("advance", 9))
    assert stopped.history_.ended == "interrupted"
    assert 1 <= len(stopped.history_.epochs) < 9
    late = MAKE["bpr"]().fit(TRAIN, progress=CtrlC("advance", 1, "on all"))
    assert late.history_.ended == "interrupted"
    assert same_bits(late.parameters_, MAKE["bpr"](refit=False).fit(TRAIN).parameters_)
    told = Recorder()
    MAKE["bpr"]().fit(TRAIN, progress=told)
    assert [name for name, _ in told.of("stage")] == ["training, 6 factors", "on all interactions, 6 factors"]


BAD = {
    "n_factors": [0, 1.5, 5000],
    "loss": ["bpr", SampledSoftmax],
    "solver": ["adam", Adam()],
    "cosine": [1, "no"],
    "n_negatives": [0, "all"],
    "validate_every": [0],
    "popularity_exponent": [-0.1, 1.1],
    "user_exponent": [2],
    "history_share": [-0.1, 1.5, "all"],
    "order": ["items"],
    "l2": [-1],
    "l2_exponent": [2],
    "start_size": [0],
    "metric": ["recall", "rmse", "auc@3"],
    "validation_fraction": [1, -0.1],
    "rng": [-1],
}


@pytest.mark.parametrize("name", BAD)
def test_arguments_outside_what_they_may_be_are_refused_before_any_work(name):
    for value in BAD[name]:
        model = RankingFactorization(loss=CosineContrastive()).set_params(**{name: value})
        with pytest.raises(ParameterValueError):
            model.fit(TRAIN)
        assert "parameters_" not in model.__dict__


def test_arguments_that_do_not_go_together_are_refused():
    for more, message in (
        ({"cosine": False}, "needs cosine=True"),
        ({"item_biases": True}, "needs cosine=False"),
        ({"loss": BPR(), "cosine": False, "history_share": 0.5}, "history_share needs cosine=True"),
        ({"solver": replace(QUICK, weight_decay=WeightDecay(0.1, 0.0))}, "decays biases like factors"),
    ):
        with pytest.raises(ParameterValueError, match=message):
            RankingFactorization(**{"loss": CosineContrastive()} | more).fit(TRAIN)
    with pytest.raises(EmptyDataError, match="too few for an inner"):
        MAKE["bpr"]().fit(TRAIN.take(np.arange(12)))
    with pytest.raises(NotFittedError):
        MAKE["bpr"]().recommend(1)


# -- disk -----------------------------------------------------------------------------------------


@every_model
def test_a_saved_model_comes_back_with_the_same_bits(name, tmp_path):
    model = fitted(name)
    model.save(tmp_path / "model")
    found = bilinear.load(tmp_path / "model")
    assert isinstance(found, RankingFactorization)
    assert found.get_params(deep=False) == model.get_params(deep=False)
    assert same_bits(found.score_block(ROWS), model.score_block(ROWS))
    history = Grouped(np.array([0, 2]), np.array([3, 7], np.int32), np.ones(2, np.float32))
    assert same_bits(found.score_histories(history), model.score_histories(history))
    assert found.history_ == model.history_


def test_a_damaged_file_is_refused(tmp_path):
    model = fitted("softmax")
    model.save(tmp_path / "model")
    artifact = read_artifact(tmp_path / "model")
    factors = artifact.tensors["user_factors"].copy()
    factors[0, 0] = np.nan
    for n, (manifest, tensors) in enumerate(
        [({}, {"user_factors": factors}), ({"n_factors": 5}, {}), ({"longest_user": "far"}, {})]
    ):
        plain = {key: value for key, value in artifact.manifest.items() if key not in ("format", "tensors")}
        write_artifact(tmp_path / f"{n}", plain | manifest, dict(artifact.tensors) | tensors)
        with pytest.raises(ModelFileError):
            bilinear.load(tmp_path / f"{n}")
