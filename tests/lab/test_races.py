"""Races: the budget and the objective are the same for all, rates are tuned, chance is told apart."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from problems import planted_table

from bilinear import lab
from bilinear.data.interactions import Interactions
from bilinear.data.splits import split_random
from bilinear.errors import DataError, ParameterValueError
from bilinear.lab import Race, race, race_methods
from bilinear.lab.races.paired_differences import holm, mean_interval, paired_differences
from bilinear.model.link import Sigmoid
from bilinear.objective.losses import SquaredError
from bilinear.objective.penalties import L2
from bilinear.training.minibatch import MiniBatch
from bilinear.training.optimizers import AdamW, GradientDescent
from bilinear.training.schedules import Constant
from bilinear.training.sgd import SGD

PENALTY = L2(0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def table() -> Interactions:
    return planted_table(40, 30, seed=3)


@pytest.fixture(scope="module")
def found(table: Interactions) -> Race:
    return race(
        table,
        race_methods("sgd", "adam+one-cycle", n_epochs=6, batch_size=16),
        penalty=PENALTY,
        n_factors=4,
        n_epochs=6,
    )


def test_every_run_is_between_the_bound_and_the_untrained_model(found: Race) -> None:
    assert found.certified is not None
    assert found.certified <= 1e-6
    for method in found.methods:
        assert len(method.runs) == 10
        assert method.n_diverged == 0
        assert all(run.loss > found.lower_bound for run in method.runs)
        assert all(0 < missing < 1 for missing in method.missing)
        first = method.runs[0]
        expected = (first.loss - found.lower_bound) / (found.untrained - found.lower_bound)
        assert method.missing[0] == pytest.approx(expected)


def test_the_bound_is_the_certified_optimum_of_the_training_part(found: Race, table: Interactions) -> None:
    train = split_random(table, 0.1, 0).train
    assert found.n_train == train.n_ratings
    optimum = lab.certify(train, penalty=PENALTY).certificate
    assert found.lower_bound <= optimum.loss * (1 + 1e-9)
    assert found.lower_bound == pytest.approx(optimum.loss, rel=2e-6)


def test_the_tuned_rate_is_better_than_both_neighbours(found: Race) -> None:
    for method in found.methods:
        values = {
            trial.learning_rate: np.inf if trial.value is None else trial.value for trial in method.trials
        }
        assert values[method.learning_rate] == min(values.values())
        assert values[method.learning_rate] <= values[method.learning_rate * 2]
        assert values[method.learning_rate] <= values[method.learning_rate / 2]


def test_tuning_finds_the_same_rate_from_afar(table: Interactions) -> None:
    near = MiniBatch(GradientDescent(), 16, 3, 0.5, schedule=Constant())
    both = race(
        table,
        {"near": near, "far": replace(near, learning_rate=0.5 * 2**5)},
        penalty=PENALTY,
        n_factors=2,
        n_epochs=3,
        n_seeds=2,
    )
    assert both.methods[0].learning_rate == both.methods[1].learning_rate
    assert both.methods[0].runs == both.methods[1].runs  # the same starts, orders and rate
    assert both.losses[0].mean == 0
    assert not both.losses[0].real


def test_held_out_ratings_have_no_part_in_it(table: Interactions) -> None:
    """Other test ratings: the same rates, the same losses, other errors."""
    parts = split_random(table, 0.2, 1)
    methods = race_methods("sgd", "adam", n_epochs=2, batch_size=16)
    runs = [
        race(
            parts.train,
            methods,
            test=test,
            penalty=PENALTY,
            n_factors=2,
            n_epochs=2,
            n_seeds=2,
            tune="validation",
        )
        for test in (parts.test, replace(parts.test, ratings=parts.test.ratings[::-1].copy()))
    ]
    for one, two in zip(runs[0].methods, runs[1].methods, strict=True):
        assert (one.learning_rate, one.trials, one.missing) == (two.learning_rate, two.trials, two.missing)
        assert one.test_rmse != two.test_rmse
    with pytest.raises(DataError, match="held out"):
        race(table, methods, test=parts.test, penalty=PENALTY, n_epochs=2)


def test_without_a_certificate_it_says_so(table: Interactions) -> None:
    found = race(
        table,
        race_methods("sgd", "adam", n_epochs=2, batch_size=16),
        loss=SquaredError(),
        link=Sigmoid(),
        penalty=PENALTY,
        n_factors=2,
        n_epochs=2,
        n_seeds=2,
    )
    assert found.certified is None
    assert found.lower_bound == 0
    assert "no certificate exists" in str(found)


def test_a_race_is_told_in_words_json_and_a_page(found: Race, tmp_path: Path) -> None:
    assert found.best.name in [method.name for method in found.methods]
    text = str(found)
    assert "rates tuned on the training objective" in text
    assert "adam+one-cycle lowered" in text
    stored = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert len(stored["methods"]) == 2
    assert stored["losses"][0]["p_corrected"] < 0.05
    found.to_html(tmp_path / "race.html")
    page = (tmp_path / "race.html").read_text()
    assert "What to do next" in page
    assert page.count("<svg") >= 4
    assert "http://" not in page.replace("http-equiv", "")
    assert "https://" not in page


def test_objective_is_not_touched_by_the_race(table: Interactions) -> None:
    before = table.ratings.tobytes(), table.users.tobytes(), table.items.tobytes()
    race(table, race_methods("sgd", "adam", n_epochs=1), penalty=PENALTY, n_factors=1, n_epochs=1, n_seeds=2)
    assert before == (table.ratings.tobytes(), table.users.tobytes(), table.items.tobytes())


def test_what_cannot_race_is_refused(table: Interactions) -> None:
    two = race_methods("sgd", "adam", n_epochs=2)
    with pytest.raises(ParameterValueError, match="at least two"):
        race(table, race_methods("sgd", n_epochs=2), n_epochs=2)
    with pytest.raises(ParameterValueError, match=r"n_seeds: .* got 1"):
        race(table, two, n_epochs=2, n_seeds=1)
    with pytest.raises(ParameterValueError, match="budget is the same"):
        race(table, two, n_epochs=3)
    with pytest.raises(ParameterValueError, match="decoupled"):
        race(table, two | {"adamw": MiniBatch(AdamW(), n_epochs=2)}, n_epochs=2)
    with pytest.raises(ParameterValueError, match="changes the penalty"):
        race(table, two | {"fade": SGD(n_epochs=2, l2_schedule=lambda progress: 1 - progress)}, n_epochs=2)
    with pytest.raises(ParameterValueError, match="expected a solver"):
        race(table, two | {"adam": "adam"}, n_epochs=2)  # type: ignore[dict-item]
    with pytest.raises(ParameterValueError, match="expected an optimiser"):
        race_methods("sgdd")
    with pytest.raises(ParameterValueError, match="expected a schedule"):
        race_methods("sgd+one-bike")
    with pytest.raises(ParameterValueError, match="tune: expected"):
        race(table, two, n_epochs=2, tune="test")  # type: ignore[arg-type]


def test_methods_are_what_their_names_say() -> None:
    made = race_methods("adam+one-cycle+averaged", n_epochs=7, batch_size=32)["adam+one-cycle+averaged"]
    assert isinstance(made, MiniBatch)
    assert (made.n_epochs, made.batch_size) == (7, 32)
    assert type(made.schedule).__name__ == "OneCycle"
    assert made.average is not None
    assert len(race_methods()) >= 5


def test_sign_flip_p_value_is_the_share_of_sign_patterns() -> None:
    differences = np.array([0.3, -0.1, 0.4, 0.2, 0.05])
    means = [np.mean(differences * signs) for signs in product((1, -1), repeat=5)]
    expected = np.mean(np.abs(means) >= abs(differences.mean()) - 1e-12)
    found = paired_differences([0.0] * 5, {"a": differences.tolist()})[0]
    assert found.p == pytest.approx(expected)
    assert found.mean == pytest.approx(0.17)


def test_ten_equal_signs_are_real_and_equal_runs_are_not() -> None:
    first = [float(n) for n in range(10)]
    better, noise = [value - 1 for value in first], [value + (-1) ** n for n, value in enumerate(first)]
    real, chance, same = paired_differences(first, {"better": better, "noise": noise, "same": first})
    assert real.p == pytest.approx(2 / 1024)
    assert real.p_corrected == pytest.approx(3 * 2 / 1024)
    assert real.real
    assert not chance.real
    assert same.p == 1


def test_holm_agrees_with_its_definition() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_interval_is_students() -> None:
    mean, low, high = mean_interval([1.0, 2.0, 3.0])
    assert mean == 2
    assert high - mean == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6)
    assert mean - low == pytest.approx(high - mean)
