"""Every schedule by its closed form; compositions and the plateau rule by PyTorch's where it has them."""

from __future__ import annotations

from math import cos, inf, nan, pi

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bilinear.errors import ParameterValueError
from bilinear.training.schedules import (
    Constant,
    Cosine,
    Exponential,
    FlatCosine,
    Linear,
    OneCycle,
    Polynomial,
    Product,
    ReduceOnPlateau,
    Sequential,
    Step,
    WarmRestarts,
    WarmUp,
    after,
)

shares = st.floats(0, 1)


@given(shares)
def test_closed_forms(x):
    assert WarmUp(0.2, 0.1)(x) == pytest.approx(min(0.1 + 0.9 * x / 0.2, 1))
    assert Linear(2, 0.5)(x) == pytest.approx(2 - 1.5 * x)
    assert Step((0.3, 0.6), 0.5)(x) == (1 if x < 0.3 else 0.5 if x < 0.6 else 0.25)
    assert Exponential(0.01)(x) == pytest.approx(10 ** (-2 * x))
    assert Polynomial(3, 0.1)(x) == pytest.approx(0.1 + 0.9 * (1 - x) ** 3)
    assert Cosine(0.2, 0.8)(x) == pytest.approx(0.5 - 0.3 * cos(pi * x))
    assert FlatCosine(0.5, 0.2)(x) == pytest.approx(1 if x <= 0.5 else 0.6 + 0.4 * cos(2 * pi * (x - 0.5)))
    assert Product((WarmUp(0.5), Step((0.75,), 0.1)))(x) == pytest.approx(
        min(x / 0.5, 1) * (0.1 if x >= 0.75 else 1)
    )


@given(shares, st.integers(1, 5))
def test_warm_restarts_of_equal_length_are_periodic(x, n):
    share = min(x, 1 - 1e-9) * n % 1
    if min(share, 1 - share) > 1e-6:
        assert WarmRestarts(n, 1)(x) == pytest.approx((1 + cos(pi * share)) / 2, abs=1e-5)


def test_warm_restarts_grow_by_the_factor_and_begin_at_one():
    schedule = WarmRestarts(3, 2.0, 0.1)  # lengths 1/7, 2/7, 4/7
    for start, end in ((0, 1 / 7), (1 / 7, 3 / 7), (3 / 7, 1)):
        assert schedule(start + 1e-12) == pytest.approx(1)
        assert schedule((start + end) / 2) == pytest.approx(0.55)
        assert schedule(end - 1e-12) == pytest.approx(0.1)
    assert schedule(1) == pytest.approx(0.1)


@given(shares)
def test_one_cycle_is_two_phases_of_cosine(x):
    phases = Sequential(((0.25, Cosine(0.04, 1.0)), (0.75, Cosine(1.0, 1e-4))))
    assert phases(x) == pytest.approx(OneCycle()(x))


def test_phases_see_their_own_progress_and_the_last_ends_at_one():
    seen = []

    def listen(x):
        seen.append(x)
        return x

    schedule = Sequential(((0.25, listen), (0.25, Constant()), (0.5, listen)))
    assert [schedule(x) for x in (0, 0.125, 0.25, 0.49, 0.5, 0.75, 1)] == [0, 0.5, 1, 1, 0, 0.5, 1]
    assert seen == [0, 0.5, 0, 0.5, 1]


def test_reduce_on_plateau_counts_epochs_that_were_no_better():
    schedule = ReduceOnPlateau(factor=0.5, patience=1, threshold=0.1)
    assert schedule.after([]) == 1
    assert schedule.after([1, 0.95]) == 1  # not better by a tenth: one bad epoch, which is borne
    assert schedule.after([1, 0.95, 0.91]) == 0.5
    assert schedule.after([1, 0.95, 0.8, 0.79]) == 1
    assert schedule.after([1, 1, 1, 1]) == 0.5
    assert schedule.after([1, 1, 1, 1, 1]) == 0.25
    assert after(schedule, [1, 1, 1]) == 0.5
    assert after(OneCycle(), [1, 1, 1]) == 1
    assert ReduceOnPlateau(base=Linear())(0.25) == 0.75


@settings(deadline=None)
@given(st.lists(st.floats(0.1, 10), max_size=30), st.integers(0, 4))
def test_reduce_on_plateau_is_that_of_torch(values, patience):
    torch = pytest.importorskip("torch", reason="the extra torch (torch==2.13.0) is not installed")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.3, patience=patience, eps=0)
    for value in values:
        theirs.step(value)
    ours = ReduceOnPlateau(0.3, patience).after(values)
    assert ours == pytest.approx(optimizer.param_groups[0]["lr"])


def test_all_are_values_that_compare_and_can_be_keys():
    made = [
        WarmUp(), Linear(), Step(), Exponential(), Polynomial(), Cosine(), FlatCosine(), WarmRestarts(),
        Sequential(((1.0, Cosine()),)), Product((WarmUp(),)), ReduceOnPlateau(),
    ]  # fmt: skip
    assert len(set(made)) == len(made)
    for schedule in made:
        values = [schedule(x) for x in np.linspace(0, 1, 101).tolist()]
        assert all(type(value) is float and 0 <= value <= 1 for value in values)


@pytest.mark.parametrize(
    ("make", "values"),
    [
        (lambda x: WarmUp(until=x), [0, 1.1, nan, None]),
        (lambda x: WarmUp(start=x), [-1, inf, "low"]),
        (lambda x: Linear(x, 0), [-1, nan]),
        (lambda x: Step(at=x), [0.5, (0.5, 2), [0.5], ("half",)]),
        (lambda x: Step(factor=x), [-1, None]),
        (lambda x: Exponential(x), [0, -1, nan]),
        (lambda x: Polynomial(power=x), [0, -1, inf]),
        (lambda x: Polynomial(end=x), [-1]),
        (lambda x: Cosine(end=x), [-1, None]),
        (lambda x: FlatCosine(flat=x), [1, -0.1, nan]),
        (lambda x: WarmRestarts(n_cycles=x), [0, 1.5]),
        (lambda x: WarmRestarts(longer=x), [0, nan]),
        (lambda x: Sequential(x), [(), ((0.5, Constant()),), ((1, 2),), (1.0, Constant()), "one-cycle"]),
        (lambda x: Sequential(((1.0, x),)), [ReduceOnPlateau(), None]),
        (lambda x: Product(x), [(), Constant(), (ReduceOnPlateau(),)]),
        (lambda x: ReduceOnPlateau(factor=x), [0, 1, nan]),
        (lambda x: ReduceOnPlateau(patience=x), [-1, 0.5]),
        (lambda x: ReduceOnPlateau(threshold=x), [-0.1, 1]),
        (lambda x: ReduceOnPlateau(base=x), [0.5, ReduceOnPlateau()]),
    ],
)
def test_what_is_no_schedule_is_refused(make, values):
    for value in values:
        with pytest.raises(ParameterValueError):
            make(value)
