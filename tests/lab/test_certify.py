"""Certified optima against closed forms, and proofs that fail when anything is changed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lab_cases import HIDDEN, random_table, table_of
from test_certificate import convex_twin

from bilinear.data.interactions import Interactions
from bilinear.errors import ModelFileError, ParameterValueError
from bilinear.lab import Certified, Problem, Round, certify, load_proof, save_proof, verify
from bilinear.model.link import Identity, Sigmoid
from bilinear.model.parameters import Parameters
from bilinear.objective.losses import CrossEntropy, SquaredError
from bilinear.objective.penalties import L2
from bilinear.persistence.artifact import write_artifact


@pytest.fixture(scope="module")
def table() -> Interactions:
    return random_table(np.random.default_rng(2), 40, 30, 0.3)


@pytest.fixture(scope="module")
def certified(table: Interactions) -> Certified:
    return certify(table, penalty=L2(1.0, 0.5, 0.5))


@pytest.mark.parametrize(
    ("exponent", "cross_entropy"), [(0.0, False), (0.5, True), (1.0, False), (1.0, True)]
)
def test_certified_optimum_is_that_of_an_independent_solver(exponent: float, cross_entropy: bool) -> None:
    table = random_table(np.random.default_rng(4), 9, 7, 0.7)
    loss, link = (CrossEntropy(), Sigmoid(0.0, 5.5)) if cross_entropy else (SquaredError(), Identity(0.5, 5))
    l2 = (0.3 if cross_entropy else 1.2) / 3 ** (2 * exponent)
    found = certify(table, loss, link, L2(l2, 0.3, exponent))
    assert found.optimal
    assert found.rank >= 1
    problem = Problem.of(found.objective, found.parameters.global_mean)
    optimum, _ = convex_twin(problem, 6000)
    assert found.certificate.loss == pytest.approx(optimum, rel=2e-6)
    assert found.objective.value(found.parameters) == pytest.approx(found.certificate.loss, rel=1e-7)


def test_optimum_of_a_full_matrix_shrinks_its_singular_values() -> None:
    """With biases so dear that they are zero: the closed form."""
    rng = np.random.default_rng(8)
    matrix = 3 + rng.standard_normal((12, 9))
    found = certify(table_of(matrix), penalty=L2(1.1, 1e9, 0.0))
    centred = matrix - matrix.astype(np.float32).mean()
    p, sizes, qt = np.linalg.svd(centred, full_matrices=False)
    kept = np.maximum(sizes - 1.1, 0)
    assert found.rank == (kept > 0).sum()
    np.testing.assert_allclose(
        found.parameters.user_factors @ found.parameters.item_factors.T, (p * kept) @ qt, atol=1e-3
    )


def test_rounds_tell_of_the_growth(certified: Certified) -> None:
    rounds = certified.rounds
    assert rounds[0].n_factors == 0
    assert max(round_.n_factors for round_ in rounds) >= certified.rank > 0
    losses = [round_.loss for round_ in rounds]
    assert losses == sorted(losses, reverse=True)
    assert all(round_.lower_bound <= losses[-1] * (1 + 1e-9) for round_ in rounds)
    assert certified.optimal
    assert json.loads(json.dumps(certified.to_dict()))["optimal"] is True
    assert "global optimum" in str(certified)


def test_an_end_to_the_growth_is_honest(table: Interactions, certified: Certified) -> None:
    heard: list[Round] = []
    short = certify(table, penalty=L2(1.0, 0.5, 0.5), max_factors=2, on_round=heard.append)
    assert not short.optimal
    assert short.rank <= 2
    assert short.certificate.gain > 0
    assert tuple(heard) == short.rounds
    assert short.certificate.loss > certified.certificate.loss
    assert short.certificate.lower_bound <= certified.certificate.loss


def test_no_factors_where_l2_is_large(table: Interactions) -> None:
    found = certify(table, penalty=L2(1e3, 0.5, 0.5))
    assert found.optimal
    assert found.rank == 0


def test_unpenalised_biases_can_be_certified(table: Interactions) -> None:
    assert certify(table, penalty=L2(2.0, 0.0, 0.0)).optimal


def test_what_has_no_certificate_is_refused(table: Interactions) -> None:
    with pytest.raises(ParameterValueError, match="not convex in the score"):
        certify(table, SquaredError(), Sigmoid(), L2(1.0, 1.0))
    with pytest.raises(ParameterValueError, match="without an L2"):
        certify(table, penalty=L2(0.0, 1.0))


def test_proof_is_verified_from_the_ratings_alone(
    certified: Certified, table: Interactions, tmp_path: Path
) -> None:
    save_proof(certified, tmp_path / "proof")
    found = verify(tmp_path / "proof", table)
    assert found.valid, found
    assert found.relative_gap <= 1e-6
    assert found.loss == pytest.approx(certified.certificate.loss, rel=1e-12)
    assert "the proof holds" in str(found)
    # The same ratings in another order, and among ids that have none.
    order = np.random.default_rng(0).permutation(table.n_ratings)
    other = Interactions.from_columns(
        table.user_vocabulary.decode(table.users[order]),
        table.item_vocabulary.decode(table.items[order]),
        table.ratings[order],
    )
    assert verify(tmp_path / "proof", other).valid


def test_proof_of_a_cross_entropy_optimum(tmp_path: Path) -> None:
    table = random_table(np.random.default_rng(6), 20, 15, 0.5)
    found = certify(table, CrossEntropy(), Sigmoid(), L2(0.3, 0.2, 0.0))
    save_proof(found, tmp_path / "proof")
    assert verify(tmp_path / "proof", table).valid


def test_other_ratings_are_not_proved(certified: Certified, table: Interactions, tmp_path: Path) -> None:
    save_proof(certified, tmp_path / "proof")
    ratings = table.ratings.copy()
    ratings[3] += 0.5
    changed = replace(table, ratings=ratings)
    found = verify(tmp_path / "proof", changed)
    assert not found.valid
    assert "not those it was made for" in str(found)
    fewer = table.take(np.arange(table.n_ratings - 1))
    assert not verify(tmp_path / "proof", fewer).valid
    strangers = Interactions.from_columns([900, 901], [1, 2], [1.0, 2.0])
    assert "other ratings" in str(verify(tmp_path / "proof", strangers))


@pytest.mark.parametrize("what", ["weights", "mean", "penalty", "claim", "not optimal"])
def test_a_false_proof_does_not_hold(what: str, certified: Certified, table: Interactions) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        save_proof(certified, Path(folder) / "proof")
        proof = load_proof(Path(folder) / "proof")
        arrays = {name: array.copy() for name, array in proof.parameters.arrays().items()}
        mean = proof.parameters.global_mean
        if what == "weights":
            arrays["user_factors"][0, 0] += 0.1
            proof = replace(proof, parameters=Parameters(mean, **arrays))
        elif what == "mean":
            proof = replace(proof, parameters=Parameters(mean + 0.01, **arrays))
        elif what == "penalty":
            proof = replace(proof, penalty=replace(proof.penalty, factors=0.9))
        elif what == "claim":
            claims = {"certificate": {**proof.claims["certificate"], "loss": 1.0}}
            proof = replace(proof, claims=claims)
        else:
            short = certify(table, penalty=L2(1.0, 0.5, 0.5), max_factors=2)
            save_proof(short, Path(folder) / "proof")
            proof = load_proof(Path(folder) / "proof")
        assert not verify(proof, table).valid


def test_other_folders_are_no_proofs(certified: Certified, tmp_path: Path) -> None:
    write_artifact(tmp_path / "model", {"estimator": "BiasModel"}, {})
    with pytest.raises(ModelFileError, match="expected a proof, got a model"):
        load_proof(tmp_path / "model")
    write_artifact(tmp_path / "model", {"kind": "bilinear-proof"}, {})
    with pytest.raises(ModelFileError, match=r"expected model\.json and tensors of a proof"):
        load_proof(tmp_path / "model")
    with pytest.raises(ModelFileError, match="no such folder"):
        load_proof(tmp_path / "nothing")


def test_hidden_cells_play_no_part() -> None:
    """One row and column without any rating to learn from but its own."""
    matrix = np.full((4, 4), HIDDEN)
    matrix[:3, :3] = [[1, 2, 3], [2, 4, 5], [5, 3, 1]]
    matrix[3, 3] = 4
    found = certify(table_of(matrix), penalty=L2(0.4, 0.3, 0.0))
    assert found.optimal
    assert found.parameters.user_factors[3] @ found.parameters.item_factors[0] == pytest.approx(0, abs=1e-6)


def test_real_ratings_are_certified_and_verified(shared_data: Path, tmp_path: Path) -> None:
    """MovieLens ml-latest-small with a large L2, for speed."""
    rows = np.loadtxt(shared_data / "ml-latest-small" / "ratings.csv", delimiter=",", skiprows=1)
    table = Interactions.from_columns(rows[:, 0].astype(int), rows[:, 1].astype(int), rows[:, 2])
    found = certify(table, penalty=L2(2.8, 0.8, 0.5))
    assert found.optimal
    assert found.rank > 1
    save_proof(found, tmp_path / "proof")
    checked = verify(tmp_path / "proof", table)
    assert checked.valid, checked
    assert checked.norm_by == "all eigenvalues of the Gram matrix"


def test_equal_ratings_are_fitted_by_their_mean(tmp_path: Path) -> None:
    flat = table_of(np.full((3, 4), 2.0))
    found = certify(flat, SquaredError(), Identity(1.0, 3.0), L2(1.0, 1.0))
    assert found.optimal
    assert found.rank == 0
    assert found.certificate.loss == 0
    save_proof(found, tmp_path / "proof")
    assert verify(tmp_path / "proof", flat).valid


def test_a_proof_says_what_it_is_about(certified: Certified, table: Interactions, tmp_path: Path) -> None:
    save_proof(certified, tmp_path / "proof")
    found = verify(tmp_path / "proof", table)
    assert "SquaredError after Identity, L2(factors=1.0, biases=0.5, exponent=0.5)" in str(found)
    assert json.loads(json.dumps(found.to_dict()))["valid"] is True
