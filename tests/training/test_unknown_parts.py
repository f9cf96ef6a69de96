"""Kernels know bilinear's own losses, links and rules; another class is never taken for one of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
from problems import planted_table

from bilinear.arguments import check_known, kernel_code
from bilinear.errors import ParameterValueError
from bilinear.estimators.matrix_factorization import MatrixFactorization
from bilinear.estimators.ranking_factorization import RankingFactorization
from bilinear.model.link import Identity, Link, Sigmoid
from bilinear.model.parameters import Parameters
from bilinear.objective.losses import CrossEntropy, Loss, SquaredError
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2
from bilinear.objective.ranking_losses import BPR, WARP, CosineContrastive, RankingLoss, SampledSoftmax
from bilinear.training.als import ALS
from bilinear.training.implicit_als import ConjugateGradient
from bilinear.training.lr_find import lr_find
from bilinear.training.minibatch import MiniBatch
from bilinear.training.optimizers import Adam, Lookahead, Optimizer
from bilinear.training.sgd import SGD
from bilinear.training.solver import Solver

TABLE = planted_table()
SOLVERS = {"sgd": SGD(n_epochs=1), "minibatch": MiniBatch(Adam(), n_epochs=1), "als": ALS(n_epochs=1)}
FEW = {"n_factors": 2, "l2": 0.1, "l2_biases": 0.1, "rng": 0, "validation_fraction": 0}


@dataclass(frozen=True)
class Absolute(Loss):
    """Has every method, and a number that no kernel knows."""

    code: ClassVar[int] = 7

    def convex_in_score(self, link: Link) -> bool:
        return True

    def value(self, score: Any, rating: Any, link: Link) -> Any:
        return np.abs(score - rating)

    def gradient(self, score: Any, rating: Any, link: Link) -> Any:
        return np.sign(score - rating)

    def curvature(self, score: Any, rating: Any, link: Link) -> Any:
        return np.zeros_like(score)


class Nameless(Absolute):
    code = None  # type: ignore[assignment]


class Doubled(SquaredError):
    """Inherits the number of the loss that it is not."""

    def value(self, score: Any, rating: Any, link: Link) -> Any:
        return 2 * super().value(score, rating, link)


class Rounded(Identity):
    def prediction(self, score: Any) -> Any:
        return np.round(super().prediction(score))


@dataclass(frozen=True)
class Probit(Link):
    code: ClassVar[int] = 2


class MyAdam(Adam):
    pass


class MyRule(Optimizer):
    code = 42


class MyLookahead(Lookahead):
    pass


class MyBPR(BPR):
    pass


@dataclass(frozen=True)
class Lasso(L2):
    def value(self, parameters: Any, user_counts: Any, item_counts: Any) -> float:
        return 0.0


class TwoSteps(ConjugateGradient):
    pass


@pytest.mark.parametrize(
    "loss", [Absolute(), Nameless(), Doubled(), Loss()], ids=lambda loss: type(loss).__name__
)
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_loss_of_another_class_is_refused_before_training(solver: str, loss: Loss) -> None:
    model = MatrixFactorization(loss=loss, solver=SOLVERS[solver], **FEW)
    with pytest.raises(ParameterValueError, match=type(loss).__name__):
        model.fit(TABLE)
    assert not hasattr(model, "parameters_")


@pytest.mark.parametrize("link", [Rounded(), Probit()], ids=lambda link: type(link).__name__)
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_link_of_another_class_is_refused_before_training(solver: str, link: Link) -> None:
    with pytest.raises(ParameterValueError, match=type(link).__name__):
        MatrixFactorization(link=link, solver=SOLVERS[solver], **FEW).fit(TABLE)


@pytest.mark.parametrize("rule", [MyAdam(), MyRule(), MyLookahead(), Lookahead(MyAdam()), Optimizer()])
def test_an_update_rule_of_another_class_is_refused_where_it_is_given(rule: Any) -> None:
    with pytest.raises(ParameterValueError, match=r"My|Optimizer"):
        MiniBatch(rule)


@pytest.mark.parametrize("loss", [MyBPR(), RankingLoss()], ids=["subclass", "base"])
def test_a_ranking_loss_of_another_class_is_refused(loss: RankingLoss) -> None:
    with pytest.raises(ParameterValueError, match=type(loss).__name__):
        RankingFactorization(n_factors=2, loss=loss, cosine=False).fit(TABLE)
    with pytest.raises(ParameterValueError, match=type(loss).__name__):
        loss.value_and_gradients(np.ones(1, np.float32), np.ones(2, np.float32))


def test_a_row_solver_of_another_class_is_refused() -> None:
    with pytest.raises(ParameterValueError, match="TwoSteps"):
        ALS(row_solver=TwoSteps())


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    "change", [{"loss": Doubled()}, {"link": Rounded(0.0, 5.0)}, {"penalty": Lasso(0.1, 0.1)}], ids=str
)
def test_solvers_refuse_an_objective_of_their_own_accord(solver: str, change: dict[str, Any]) -> None:
    good = Objective(SquaredError(), Identity(0.0, 5.0), L2(0.1, 0.1), TABLE)
    rng, start = np.random.default_rng(0), Parameters.zeros(TABLE.shape, 2, 3.0)
    bad = replace(good, **change)
    with pytest.raises(ParameterValueError, match=r"Doubled|Rounded|Lasso"):
        SOLVERS[solver].minimise(bad, start, rng)
    if solver != "als":
        with pytest.raises(ParameterValueError, match=r"Doubled|Rounded|Lasso"):
            lr_find(SOLVERS[solver], bad, start, rng)  # type: ignore[arg-type]


@pytest.mark.parametrize("own", [(SquaredError(), CrossEntropy()), (Identity(), Sigmoid())])
def test_own_classes_have_the_numbers_that_kernels_know(own: tuple[Any, ...]) -> None:
    assert [kernel_code(part) for part in own] == [0, 1]


def test_own_ranking_losses_have_the_numbers_that_kernels_know() -> None:
    losses = (BPR(), WARP(), SampledSoftmax(), CosineContrastive())
    assert [kernel_code(loss) for loss in losses] == [0, 1, 2, 3]


def test_a_solver_that_calls_the_methods_may_take_a_loss_of_its_own() -> None:
    @dataclass(frozen=True)
    class Still(Solver):
        n_epochs: int = 1
        patience: int = 1

        def check(self, loss: Loss, link: Link) -> None:
            pass

        def resolved(self, n_ratings: int) -> Still:
            return self

        def minimise(self, objective: Objective, start: Parameters, *_: Any, **__: Any) -> Any:
            assert objective.value(start) > 0
            return start, history

    history = MatrixFactorization(solver=SGD(n_epochs=1), **FEW).fit(TABLE).history_
    fitted = MatrixFactorization(loss=Absolute(), solver=Still(), **FEW).fit(TABLE)
    assert fitted.loss_ == Absolute()


def test_the_message_says_what_can_be_done() -> None:
    with pytest.raises(
        ParameterValueError, match=r"Doubled is not supported.*use SquaredError.*give a formula"
    ):
        check_known(SquaredError(), Doubled())
