"""Everything that the page about the thread states, measured: one function a statement."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import bilinear
from bilinear.data.interactions import Interactions
from bilinear.errors import DivergenceError
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.lab import (
    Certified,
    PenaltyCurve,
    Problem,
    certificate_at,
    certificate_of,
    certify,
    compare_seeds,
    contrast,
    diagnose_endpoint,
    l2_curve,
    measure_convexity,
    measure_linearity,
    permuted_control,
    relative_gradient,
    run_seeds,
    save_proof,
    verify,
)
from bilinear.lab.numerics.summaries import rmse
from bilinear.model.link import Identity
from bilinear.model.parameters import Parameters
from bilinear.model.scoring import score_rows
from bilinear.objective.losses import SquaredError
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2
from bilinear.training.bias_solver import solve_biases
from bilinear.training.initialization import NormalStart
from bilinear.training.schedules import Constant, OneCycle, Schedule
from bilinear.training.sgd import SGD

Values = dict[str, Any]

L2_BIASES = 0.8
PENALTIES = (3.0, 2.0, 1.5, 1.0, 0.7, 0.5, 0.35, 0.2, 0.1)
EPOCHS = (10, 50, 200, 1000)
SCHEDULES: dict[str, Schedule] = {"constant": Constant(), "falling to zero": OneCycle()}
STARTS = 40


@dataclass(frozen=True)
class Tables:
    """Ratings to train on, to choose the penalty by, and to look at once at the end."""

    train: Interactions
    validation: Interactions
    test: Interactions

    @classmethod
    def of(cls, ratings: Interactions) -> Tables:
        outer = bilinear.split_random(ratings, test=0.15, rng=0)
        inner = bilinear.split_random(outer.train, test=0.15, rng=1)
        return cls(inner.train, inner.test, outer.test)


def synthetic(n_ratings: int = 24_000) -> Interactions:
    """The ratings of the page as it stands: invented, so that anyone can repeat it without a download."""
    return bilinear.synthetic_catalogue(n_ratings, n_ratings // 60, n_ratings // 40, 6, rng=1).interactions


def measure(ratings: Interactions, *, n_factors: int = 64, epochs: tuple[int, ...] = EPOCHS) -> Values:
    """All numbers of the page. Cost: some 20 s of one core for the synthetic ratings."""
    tables = Tables.of(ratings)
    train = tables.train
    curve = l2_curve(_objective(train, 1.0), tables.validation, PENALTIES, n_factors, later=tables.test)
    objective = _objective(train, curve.best.l2)
    optimum = certify(train, penalty=objective.penalty)
    runs, stopped = _runs(objective, optimum, tables.validation, n_factors, epochs)
    model = _trained(train, objective.penalty, n_factors, OneCycle(), epochs[-2])
    values: Values = {
        "source": ratings.source,
        "n_ratings": ratings.n_ratings,
        "n_users": ratings.n_users,
        "n_items": ratings.n_items,
        "n_train": train.n_ratings,
        "n_factors": n_factors,
        "epochs": epochs[-2],
        "runs": runs,
        "curve": curve,
    }
    for part in (
        _linearity(train),
        _contrast(train, tables.validation),
        _product(),
        _convexity(objective, model),
        _saddle(objective),
        _few_factors(),
        _seeds(objective, n_factors),
        _optimum(objective, optimum, model, tables.test),
        _no_certificate(train),
        _zero_loss(tables, n_factors),
        _shuffled(model, train, tables.test),
        _divergence(train),
        _no_end(),
        _held_out(curve),
        _stopped(stopped, optimum, objective, tables.test),
    ):
        values |= part
    return values


def _linearity(train: Interactions) -> Values:
    """On "It is a linear model": the course's own model, and its biases alone."""
    course = bilinear.fastai_recipe(rng=0).set_params(validation_fraction=0).fit(train)
    found = measure_linearity(course.parameters_, course.link_, train)
    return {
        "one_hot_rows": found.n_rows,
        "one_hot_different": found.n_different_bits,
        "affine": max(found.user_affine, found.item_affine),
        "mixed": found.mixed_difference,
        "share": found.share_before_link,
        "bias_share": found.bias_share_before_link,
        "bias_share_after": found.bias_share_after_link,
        "jointly": found.jointly_linear,
    }


def _contrast(train: Interactions, held_out: Interactions) -> Values:
    """On "But are there no stacked layers with non-linearities?": a network, and the same without ReLU."""
    found = contrast(train, held_out, n_seeds=1)
    dot, network, straight = found.models.values()
    return {
        "net_bend": network.bend,
        "net_interaction": network.interaction,
        "dot_bend": dot.bend,
        "dot_interaction": dot.interaction,
        "straight_interaction": straight.interaction,
        "dot_rmse": dot.rmse.value,
        "net_rmse": network.rmse.value,
        "straight_rmse": straight.rmse.value,
        "net_biases_rmse": found.biases_rmse,
        "net_layers": network.n_weights - dot.n_weights + train.n_users + train.n_items,
    }


def _product() -> Values:
    """On "x*y is not linear": its two curvatures, by the eigenvalues of its second derivatives."""
    down, up = np.linalg.eigvalsh(np.array([[0.0, 1.0], [1.0, 0.0]]))
    return {"product_down": down, "product_up": up}


def _convexity(objective: Objective, model: MatrixFactorization) -> Values:
    """On "The loss is not convex": a witness, chords, and the two halves."""
    problem = Problem.of(objective, model.parameters_.global_mean)
    found = measure_convexity(problem, problem.pack(model.parameters_))
    return {
        "loss": found.loss,
        "loss_flipped": found.loss_flipped,
        "loss_between": found.loss_between,
        "chords": found.n_chords,
        "chords_above": found.n_above,
        "half_chords": found.n_half_chords,
        "half_above": found.n_half_above,
        "slice": found.slice,
    }


def _saddle(objective: Objective) -> Values:
    """On "So descent need not converge": the one place to get stuck, all factors exactly zero."""
    table = objective.interactions
    fitted = solve_biases(table, objective.penalty)
    zero = [np.zeros((n, 8)) for n in table.shape]
    found = diagnose_endpoint(
        Parameters(fitted.global_mean, fitted.user_biases, fitted.item_biases, *zero), objective
    )
    assert found.escape is not None
    return {
        "saddle_verdict": found.verdict,
        "saddle_loss": found.polished.loss,
        "saddle_curvature": found.escape.curvature,
        "saddle_after_step": found.escape.loss,
        "saddle_after_descent": found.escape.loss_after_descent,
    }


def _few_factors() -> Values:
    """Five ratings on which it does matter where one starts: one factor, and two."""
    hidden = np.nan
    out: Values = {"starts": STARTS}
    for k, name in ((1, "one"), (2, "two")):
        problem = _small([[1, hidden, 2], [hidden, 2, hidden], [2, -2, hidden]], 0.1)
        ends = run_seeds(problem, k, n_starts=STARTS, size=1.5, tolerance=1e-9)
        losses, counts = np.unique([round(problem.value(end), 3) for end in ends], return_counts=True)
        best = min(ends, key=problem.value)
        out |= {
            f"{name}_losses": losses.tolist(),
            f"{name}_counts": counts.tolist(),
            f"{name}_certified": certificate_at(problem, best).certified,
            f"{name}_gain": certificate_at(problem, best).gain,
        }
    return out


def _seeds(objective: Objective, n_factors: int) -> Values:
    """On "We only need a good enough minimum": are there others?"""
    problem = _problem(objective)
    found = compare_seeds(problem, run_seeds(problem, n_factors, n_starts=4, tolerance=1e-5))
    return {
        "seeds": len(found.losses),
        "seeds_low": min(found.losses),
        "seeds_high": max(found.losses),
        "barrier": found.barrier,
        "barrier_aligned": found.barrier_aligned,
        "same_lists": found.same_top_10,
    }


def _optimum(
    objective: Objective, optimum: Certified, model: MatrixFactorization, test: Interactions
) -> Values:
    """How good is good enough: the proved optimum beside what descent found."""
    found = certificate_of(objective, model.parameters_)
    with tempfile.TemporaryDirectory() as folder:
        save_proof(optimum, Path(folder, "proof"))
        checked = verify(Path(folder, "proof"), objective.interactions)
    return {
        "l2": objective.penalty.factors,
        "promised": found.relative_gap,
        "gain": found.gain,
        "optimum": optimum.certificate.loss,
        "optimum_gap": optimum.certificate.relative_gap,
        "optimum_rank": optimum.rank,
        "optimal": optimum.optimal,
        "rounds": len(optimum.rounds),
        "proof_valid": checked.valid,
        "proof_gap": checked.relative_gap,
        "above": found.loss / optimum.certificate.loss - 1,
        "model_test": model.evaluate(test).rmse.value,
        "optimum_test": rmse(optimum.parameters, objective.link, test),
    }


def _no_certificate(train: Interactions) -> Values:
    """What the course's own settings allow to be proved."""
    course = bilinear.fastai_recipe(rng=0).set_params(validation_fraction=0).fit(train)
    objective = Objective(course.loss_, course.link_, L2(0.1, 0.1, 0.0), train)
    problem = Problem.of(objective, course.parameters_.global_mean)
    shape = measure_convexity(problem, problem.pack(course.parameters_))
    found = certificate_of(objective, course.parameters_)
    return {"course_refusal": found.refusal, "course_band": shape.share_in_band}


def _runs(
    objective: Objective, optimum: Certified, held_out: Interactions, n_factors: int, epochs: tuple[int, ...]
) -> tuple[list[Values], MatrixFactorization]:
    """On "Did my run converge": one loss and start, different lengths; and the run best on `held_out`."""
    rows: list[Values] = []
    best: MatrixFactorization | None = None
    for name, schedule in SCHEDULES.items():
        for n_epochs in epochs:
            model = _trained(objective.interactions, objective.penalty, n_factors, schedule, n_epochs)
            problem = Problem.of(objective, model.parameters_.global_mean)
            at = problem.pack(model.parameters_)
            found = certificate_at(problem, at)
            rows.append(
                {
                    "schedule": name,
                    "epochs": n_epochs,
                    "gradient": relative_gradient(problem, at),
                    "above": found.loss / optimum.certificate.loss - 1,
                    "promised": found.relative_gap,
                    "test": model.evaluate(held_out).rmse.value,
                }
            )
            if rows[-1] == min(rows, key=lambda row: row["test"]):
                best = model
    assert best is not None
    return rows, best


def _stopped(
    model: MatrixFactorization, optimum: Certified, objective: Objective, test: Interactions
) -> Values:
    """Squared error of the best run less that of the optimum, with an interval over users."""
    errors = []
    for parameters in (model.parameters_, optimum.parameters):
        scores = score_rows(parameters, test.users, test.items)
        errors.append((objective.link.prediction(scores) - test.ratings) ** 2)
    sums = np.bincount(test.users, errors[0] - errors[1], test.n_users)
    counts = np.bincount(test.users, minlength=test.n_users)
    drawn = np.random.default_rng(0).integers(0, test.n_users, (1000, test.n_users))
    low, high = np.quantile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), [0.025, 0.975])
    return {
        "stopped_test": model.evaluate(test).rmse.value,
        "stopped_difference": float(sums.sum() / counts.sum()),
        "stopped_low": float(low),
        "stopped_high": float(high),
    }


def _zero_loss(tables: Tables, n_factors: int) -> Values:
    """On "A loss of zero is overfitting": on noisy ratings, and on ratings without noise."""
    noisy = _trained(tables.train, L2(0.0, 0.0), n_factors, OneCycle(), 300)
    biases = bilinear.BiasModel(rng=0).fit(tables.train)
    exact = Tables.of(bilinear.synthetic_ratings(300, 200, 18_000, 2, 0.0, rng=0, half_stars=False))
    clean = _trained(exact.train, L2(0.0, 0.0), 2, OneCycle(), 300)
    spread = float(np.std(exact.test.ratings.astype(np.float64)))
    return {
        "zero_train": rmse(noisy.parameters_, noisy.link_, tables.train),
        "zero_test": noisy.evaluate(tables.test).rmse.value,
        "bias_test": biases.evaluate(tables.test).rmse.value,
        "clean_train": rmse(clean.parameters_, clean.link_, exact.train),
        "clean_test": clean.evaluate(exact.test).rmse.value,
        "clean_spread": spread,
    }


def _shuffled(model: MatrixFactorization, train: Interactions, test: Interactions) -> Values:
    """What memorising looks like: the same training on shuffled ratings."""
    found = permuted_control(model, train, test)
    return {
        "train_rmse": found.train_rmse,
        "shuffled_train": found.permuted_train_rmse,
        "shuffled_test": found.permuted_test_rmse,
        "mean_train": found.mean_train_rmse,
        "mean_test": found.mean_test_rmse,
        "memorised": found.memorised,
        "learned": found.learned,
    }


def _divergence(train: Interactions) -> Values:
    """On "More factors gave NaN": the longest step that stays finite, for two ways to start."""
    rows = []
    message = ""
    for k in (2, 8, 32, 128):
        row: Values = {"factors": k}
        for name, start in (("ones", NormalStart(1.0)), ("scaled", None)):
            for power in range(6, -12, -1):
                try:
                    _trained(train, L2(0.1, 0.1), k, Constant(), 5, 2.0**power, start)
                except DivergenceError as error:
                    message = str(error)
                else:
                    break
            row[name] = 2.0**power
        rows.append(row)
    return {"steps": rows, "nan_message": message}


def _no_end() -> Values:
    """A loss without any minimum: three ratings, one factor, no penalty."""
    problem = _small([[np.nan, 1], [1, 0]], 0.0)
    start = problem.unpack(np.random.default_rng(0).standard_normal(problem.size(1)))
    found = diagnose_endpoint(start, problem)
    return {"run_verdict": found.verdict, "run_norms": found.norms, "run_losses": found.losses}


def _held_out(curve: PenaltyCurve) -> Values:
    """The optimum of the training loss and the best model, over the penalty."""
    best = curve.best
    return {
        "best_l2": best.l2,
        "best_train": best.train_rmse,
        "best_gap": best.relative_gap,
        "small": curve.points[-1],
        "large": curve.points[0],
        "certified_worse": len(curve.certified_worse),
    }


def _objective(train: Interactions, l2: float) -> Objective:
    low, high = float(train.ratings.min()), float(train.ratings.max())
    return Objective(SquaredError(), Identity(low, high), L2(l2, L2_BIASES), train)


def _problem(objective: Objective) -> Problem:
    return Problem.of(objective, float(objective.interactions.ratings.mean(dtype=np.float64)))


def _small(matrix: Any, l2: float) -> Problem:
    """Squared error without biases on the cells of a small table; NaN is not rated."""
    cells = np.asarray(matrix, np.float64)
    users, items = np.nonzero(~np.isnan(cells))
    table = Interactions.from_columns(users, items, cells[users, items])
    objective = replace(_objective(table, l2), penalty=L2(l2, 0.0, 0.0))
    return Problem.of(objective, 0.0, has_biases=False)


def _trained(
    train: Interactions,
    penalty: L2,
    n_factors: int,
    schedule: Schedule,
    n_epochs: int,
    learning_rate: float = 0.02,
    start: NormalStart | None = None,
) -> MatrixFactorization:
    """Plain stochastic gradient descent on the penalised squared error, all epochs, nothing tuned."""
    return MatrixFactorization(
        n_factors=n_factors,
        l2=penalty.factors,
        l2_biases=penalty.biases,
        l2_exponent=penalty.exponent,
        solver=SGD(n_epochs, learning_rate, schedule=schedule, l2_schedule=Constant(), n_threads=1),
        validation_fraction=0,
        rng=0,
        start=start,
    ).fit(train)
