"""What docs/theory states beyond the other tests, and that what it names is there."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from lab_cases import HIDDEN, plain, random_objective, random_parameters

from bilinear.lab import Hessian, Problem, certificate_at, imbalance, polish, smallest_curvature
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2
from bilinear.training.bias_solver import solve_biases

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "theory").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    tests = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("*.py"))
    for name in re.findall(r"`(test_\w+)`", text):
        assert f"def {name}(" in tests, name
    for name in re.findall(r"`(?:tests/\w+/)?(test_\w+\.py)`", text):
        assert list((ROOT / "tests").rglob(name)), name
    for name in re.findall(r"`(bilinear(?:\.\w+)+)`", text):
        module, attribute = name, None
        try:
            found = import_module(module)
        except ModuleNotFoundError:
            module, attribute = name.rsplit(".", 1)
            found = import_module(module)
        assert attribute is None or hasattr(found, attribute), name
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        assert (page.parent / link).exists(), link


def test_docstrings_cite_pages_that_are_there() -> None:
    for file in (ROOT / "src").rglob("*.py"):
        for cited in re.findall(r"docs/theory/\w+\.md", file.read_text(encoding="utf-8")):
            assert (ROOT / cited).exists(), f"{file.name} cites {cited}"


def test_every_stationary_point_of_full_rank_is_optimal_where_factors_suffice() -> None:
    """Corollary 2: k = n <= m and rank n, so ratio one wherever the gradient is zero."""
    rng = np.random.default_rng(6)
    matrix = np.where(rng.random((7, 4)) < 0.8, 3 * rng.standard_normal((7, 4)), HIDDEN)
    problem = plain(matrix, 0.05)
    for _ in range(3):
        found = polish(problem, rng.standard_normal(problem.size(4)))
        parts = problem.parts(found.at)
        assert np.linalg.matrix_rank(parts.item_factors, tol=1e-6) == 4
        assert imbalance(problem, found.at) < 1e-9
        assert certificate_at(problem, found.at).ratio == pytest.approx(1, abs=1e-7)


def test_the_largest_useful_penalty_is_measured_at_the_best_biases() -> None:
    objective = random_objective(
        "squared", np.random.default_rng(3), L2(1.0, 0.4, 0.0), n_users=12, n_items=9
    )
    table = objective.interactions

    def at_the_biases(l2: float) -> bool:
        penalty = L2(l2, 0.4, 0.0)
        fitted = solve_biases(table, penalty)
        problem = Problem.of(Objective(objective.loss, objective.link, penalty, table), fitted.global_mean)
        return certificate_at(problem, problem.pack(fitted)).certified

    fitted = solve_biases(table, L2(1.0, 0.4, 0.0))
    problem = Problem.of(objective, fitted.global_mean)
    gradient = problem.loss_gradient(problem.scores(problem.zeros(0)))
    at_mean = np.linalg.norm(problem.matrix(gradient).toarray(), 2)
    at_best = certificate_at(problem, problem.pack(fitted)).spectral_norm
    assert at_best < 0.95 * at_mean
    assert at_the_biases(1.001 * at_best)
    assert not at_the_biases(0.98 * at_best)


def test_gradient_flow_balances_at_twice_the_penalty() -> None:
    """d/dt (U^T U - V^T V) = -2 l2 (U^T U - V^T V), for any loss and link."""
    rng = np.random.default_rng(8)
    problem = Problem.of(random_objective("sigmoid squared", rng), 0.3)
    at = problem.pack(random_parameters(problem.shape, 2, rng))
    moved = problem.parts(-problem.gradient(at))
    u, v = problem.parts(at)[3:]
    change = moved.user_factors.T @ u + u.T @ moved.user_factors
    change -= moved.item_factors.T @ v + v.T @ moved.item_factors
    np.testing.assert_allclose(change, -2 * problem.l2 * (u.T @ u - v.T @ v), atol=1e-12)


def test_descent_contracts_at_the_rate_of_its_curvatures() -> None:
    """At a minimum, gradient steps shrink the distance by max |1 - eta lambda| off the symmetries."""
    problem = plain(np.random.default_rng(1).standard_normal((6, 5)), 0.3)
    at = polish(problem, np.random.default_rng(2).standard_normal(problem.size(2))).at
    found = smallest_curvature(problem, at)
    hessian = Hessian(problem, at)
    values = np.linalg.eigvalsh(np.array([hessian.times(axis) for axis in np.eye(len(at))]))
    assert found.largest == pytest.approx(values[-1])
    for step in (0.5 / found.largest, 1.9 / found.largest):
        expected = max(abs(1 - step * found.smallest), abs(1 - step * found.largest))
        here = at + 1e-5 * np.random.default_rng(3).standard_normal(len(at))
        lengths = []
        for _ in range(400):
            slope = problem.gradient(here)
            lengths.append(np.linalg.norm(slope))
            here = here - step * slope
        last = int(np.flatnonzero(np.array(lengths) > 1e-11)[-1])  # beyond is rounding
        assert (lengths[last] / lengths[last - 20]) ** (1 / 20) == pytest.approx(expected, abs=5e-4)
