"""Rules are values; wrong numbers are refused; one step of each by hand; the kernel stays in the cache."""

from __future__ import annotations

import subprocess
import sys
from math import inf, nan

import pytest

from bilinear.errors import ParameterValueError
from bilinear.kernels import rules
from bilinear.training.optimizers import (
    LAMB,
    LARS,
    AdaGrad,
    Adam,
    AdamW,
    ExponentialMovingAverage,
    GradientDescent,
    Lookahead,
    Momentum,
    Nesterov,
    Optimizer,
    RAdam,
    RMSProp,
    RowAdaGrad,
    StochasticWeightAverage,
    WeightDecay,
)

RULES = [GradientDescent, Momentum, Nesterov, AdaGrad, RowAdaGrad, RMSProp, Adam, RAdam, LAMB, LARS]


def test_every_rule_of_the_kernel_has_one_class_and_adamw_is_adam():
    assert sorted(rule.code for rule in RULES) == list(range(len(RULES)))
    assert all(issubclass(rule, Optimizer) for rule in RULES)
    assert AdamW.code == rules.ADAM
    assert len({rule() for rule in RULES}) == len(RULES)


@pytest.mark.parametrize(
    ("make", "values"),
    [
        (lambda x: Momentum(x), [1, -0.1, nan, "heavy"]),
        (lambda x: RMSProp(decay=x), [1, -1, None]),
        (lambda x: Adam(epsilon=x), [0, -1, inf]),
        (lambda x: AdamW(weight_decay=x), [-1, nan, None]),
        (lambda x: AdamW(beta1=x), [1]),
        (lambda x: Lookahead(x), [None, "adam", Lookahead()]),
        (lambda x: Lookahead(every=x), [0, 1.5]),
        (lambda x: Lookahead(step=x), [0, 1.1]),
        (lambda x: WeightDecay(x), [-1, None]),
        (lambda x: WeightDecay(biases=x), [-1, "none"]),
        (lambda x: StochasticWeightAverage(x), [1, -0.1]),
        (lambda x: ExponentialMovingAverage(x), [0, 1]),
    ],
)
def test_numbers_outside_what_they_may_be_are_refused(make, values):
    for value in values:
        with pytest.raises(ParameterValueError) as caught:
            make(value)
        assert repr(value) in str(caught.value)


def test_weight_decay_of_biases_follows_that_of_factors_unless_given():
    assert WeightDecay(0.3).pair == (0.3, 0.3)
    assert WeightDecay(0.3, 0.0).pair == (0.3, 0.0)


_PROGRAM = """
import numpy as np
from bilinear.data.interactions import Interactions
from bilinear.kernels.optimizers import minibatch_block
from bilinear.model.link import Identity
from bilinear.model.parameters import Parameters
from bilinear.objective.losses import SquaredError
from bilinear.objective.objective import Objective
from bilinear.objective.penalties import L2
from bilinear.training.minibatch import MiniBatch
from bilinear.training.optimizers import LAMB, Adam, GradientDescent

table = Interactions.from_columns([1, 1, 2], ["a", "b", "a"], [1.0, 2.0, 3.0], source="three")
objective = Objective(SquaredError(), Identity(1.0, 3.0), L2(), table)
for rule in (GradientDescent(), Adam(), LAMB()):
    start = Parameters.zeros(table.shape, 2)
    MiniBatch(rule, n_epochs=2).minimise(objective, start, np.random.default_rng(0))
stats = minibatch_block.stats
print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""


def test_a_second_process_finds_the_kernel_in_the_cache():
    """One compilation serves every rule, and it is on disk: the second process misses nothing."""
    exec(_PROGRAM, {})
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.split() == ["1", "0"]
