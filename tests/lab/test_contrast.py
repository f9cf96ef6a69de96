"""A network beside the dot product: its gradient, what makes it curved, and what is left without that."""

import numpy as np
import pytest

from bilinear import lab, split_random, synthetic_ratings
from bilinear.errors import ParameterValueError
from bilinear.lab.retraining.contrast import KINDS, Net


@pytest.fixture(scope="module")
def split():
    return split_random(synthetic_ratings(60, 40, 900, rng=0), 0.2, rng=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_that_of_finite_differences(split, kind):
    rng, table = np.random.default_rng(0), split.train
    net = Net.start(kind, table, 3, rng)
    net.weights = {name: w.astype(float) + rng.normal(0, 0.3, w.shape) for name, w in net.weights.items()}
    users, items, ratings = table.users[:40], table.items[:40], table.ratings[:40]
    gradient = net.gradient(users, items, ratings)

    def loss():
        return float(((net.predict(users, items) - ratings) ** 2).mean())

    for name, found in gradient.items():
        weights = net.weights[name]
        if name in ("users", "items"):
            rows = users if name == "users" else items
            row = rows[0]
            slope, entry = found[rows == row].sum(axis=0), (row, 1)
            slope = slope[1]
        else:
            entry = np.unravel_index(np.abs(found).argmax(), found.shape)
            slope = found[entry]
        kept, losses = weights[entry], []
        for step in (-1e-5, 1e-5):
            weights[entry] = kept + step
            losses.append(loss())
        weights[entry] = kept
        assert (losses[1] - losses[0]) / 2e-5 == pytest.approx(slope, rel=1e-4, abs=1e-8), name


def test_only_relu_bends_and_layers_without_it_only_add(split):
    found = lab.contrast(split.train, split.test, n_factors=4, n_epochs=10, batch_size=64, n_seeds=1)
    dot, network, straight = (found.models[kind] for kind in KINDS)
    assert network.bend > 0.01
    assert max(dot.bend, straight.bend) < 1e-12
    assert min(dot.interaction, network.interaction) > 1e-3
    assert straight.interaction < 1e-20
    # without ReLU it is the bias model by another name
    assert straight.rmse.value == pytest.approx(found.biases_rmse, rel=0.05)
    assert straight.difference.low <= straight.difference.value <= straight.difference.high
    assert network.n_weights == 100 * 4 + 8 * 100 + 100 + 100 * 50 + 50 + 50 + 1
    assert "network without ReLU" in str(found)
    assert found.to_dict()["models"]["network"]["bend"] == network.bend


def test_the_same_seed_gives_the_same_numbers_but_for_the_clock(split):
    runs = [lab.contrast(split.train, split.test, n_factors=2, n_epochs=2, n_seeds=1, rng=4) for _ in "ab"]
    first, second = ({k: v for k, v in r.to_columns().items() if k != "seconds"} for r in runs)
    assert str(first) == str(second)


@pytest.mark.parametrize("name", ["n_factors", "n_epochs", "batch_size", "n_seeds"])
def test_bad_numbers_are_refused(split, name):
    with pytest.raises(ParameterValueError, match=f"{name}=0"):
        lab.contrast(split.train, split.test, **{name: 0})
    with pytest.raises(ParameterValueError, match="no ratings are held out"):
        lab.contrast(split.train, split.test.take(np.zeros(split.test.n_ratings, bool)))
