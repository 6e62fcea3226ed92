"""Intervals of paired differences, and values at equal cost."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spikeloom.errors import InputError
from spikeloom.study.paired import at_equal_cost, paired_interval


def test_interval_is_students_of_a_printed_table():
    # 95 % quantile of t with 4 degrees of freedom: 2.776; standard deviation of 1..5: sqrt(2.5)
    found = paired_interval([1, 2, 3, 4, 5])
    assert found.mean == 3
    assert found.high - 3 == pytest.approx(2.776 * math.sqrt(2.5 / 5), rel=1e-3)
    assert 3 - found.low == pytest.approx(found.high - 3)
    wider = paired_interval([1, 2, 3, 4, 5], 0.99)
    assert wider.low < found.low
    assert found.high < wider.high
    assert str(paired_interval([-0.5])) == "-0.50"
    assert str(paired_interval([0.25, 0.25])) == "+0.25 [+0.25, +0.25]"


@pytest.mark.parametrize(("differences", "confidence"), [([], 0.95), ([1.0], 0), ([1.0], 1.5)])
def test_interval_refuses(differences: list[float], confidence: float):
    with pytest.raises(InputError, match="at least one difference"):
        paired_interval(differences, confidence)


def test_equal_cost_is_linear_in_the_logarithm():
    costs, values = [10, 100, 1000], [50.0, 80.0, 90.0]
    assert [at_equal_cost(c, costs, values) for c in costs] == values
    assert at_equal_cost(math.sqrt(1000), costs, values) == pytest.approx(65)
    assert at_equal_cost(9.9, costs, values) is None
    assert at_equal_cost(1001, costs, values) is None


@given(st.floats(1, 1e6))
def test_equal_cost_stays_between_its_neighbours(cost: float):
    found = at_equal_cost(cost, [1, 30, 1e6], [0.0, 5.0, 2.0])
    assert found is not None
    assert (0 <= found <= 5) if cost <= 30 else (2 <= found <= 5)


@pytest.mark.parametrize("costs", [[], [1.0], [2.0, 1.0], [0.0, 1.0], [1.0, 1.0]])
def test_equal_cost_refuses(costs: list[float]):
    with pytest.raises(InputError, match="positive and rising"):
        at_equal_cost(1.0, costs, [1.0, 2.0])
