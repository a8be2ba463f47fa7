"""What would change a verdict agrees with the verdicts that the changed numbers get."""

import math
import re

import numpy as np
import pandas as pd
import pytest

from dlbench import stats, verdicts
from dlbench.report import bars
from dlbench.report.turning import turning_point


def told(rule, values):
    """The verdict, and what is said of it."""
    verdict = rule(pd.Series(values, index=range(len(values))))
    region = bars.wanted(verdict.criterion)
    return verdict, turning_point(verdict.outcome, verdict.estimate, verdict.low, verdict.high, verdict.n, region)


def spread(mean, sd, n=6):
    """n values of exactly this mean and standard deviation."""
    values = np.linspace(-1, 1, n)
    return mean + sd * (values - values.mean()) / values.std(ddof=1)


def numbers_in(text):
    return [float(number.replace("−", "-")) for number in re.findall(r"−?\d+(?:\.\d+)?", text)]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_mean_that_would_leave_it_open(sign):
    rule = (lambda v: verdicts.above(v, 0.3)) if sign > 0 else (lambda v: verdicts.below(v, -0.3))
    verdict, text = told(rule, spread(sign * 0.8, 0.1))
    assert verdict.outcome == "holds"
    assert text.startswith(f"with this spread a mean {'below' if sign > 0 else 'above'} ") and "leave it open" in text
    (edge,) = numbers_in(text)
    assert rule(pd.Series(spread(edge + sign * 0.01, 0.1))).outcome == "holds"
    assert rule(pd.Series(spread(edge - sign * 0.01, 0.1))).outcome == "inconclusive"


def test_a_mean_that_it_would_take():
    verdict, text = told(lambda v: verdicts.above(v, 0.3), spread(-0.2, 0.1))
    assert verdict.outcome == "does not hold" and "it would take a mean above" in text
    (edge,) = numbers_in(text)
    assert verdicts.above(pd.Series(spread(edge + 0.01, 0.1)), 0.3).outcome == "holds"
    assert verdicts.above(pd.Series(spread(edge - 0.01, 0.1)), 0.3).outcome == "inconclusive"


def test_as_many_seeds_as_would_decide():
    verdict, text = told(lambda v: verdicts.above(v, 0.3), spread(0.35, 0.2))
    assert verdict.outcome == "inconclusive"
    (seeds,) = map(int, numbers_in(text))
    assert verdicts.above(pd.Series(spread(0.35, 0.2, seeds)), 0.3).outcome == "holds"
    assert verdicts.above(pd.Series(spread(0.35, 0.2, seeds - 1)), 0.3).outcome == "inconclusive"
    assert "about more than 1000 seeds" in told(lambda v: verdicts.above(v, 0.3), spread(0.301, 0.2))[1]


def test_between_two_edges():
    verdict, text = told(lambda v: verdicts.contains(v, 0.1, margin=0.05), spread(0.1, 0.01))
    assert verdict.outcome == "holds"
    low, high = numbers_in(text)
    assert 0.05 < low < 0.1 < high < 0.15 and math.isclose(low + high, 0.2, abs_tol=0.002)
    _, text = told(lambda v: verdicts.contains(v, 0.1, margin=0.05), spread(0.5, 0.3))
    assert "of less spread" in text
    _, text = told(lambda v: verdicts.contains(v, 0.1, margin=0.05), spread(0.5, 0.01))
    assert "it would take a mean between" in text


@pytest.mark.parametrize(
    ("outcome", "numbers"),
    [
        ("invalid", (0.5, 0.4, 0.6, 6)),
        ("inconclusive", (0.5, 0.4, 0.6, 6)),  # a control's doing: alone it would hold
        ("holds", (0.5, 0.5, 0.5, 6)),  # no spread
        ("holds", (0.5, -math.inf, math.inf, 1)),
        ("inconclusive", (0.3, 0.2, 0.4, 5)),  # too few seeds: that is what would have to change
        ("holds", (math.nan, math.nan, math.nan, 6)),
        ("inconclusive", (0.3, 0.2, 0.4, 6)),  # on the threshold
    ],
)
def test_where_the_numbers_did_not_decide_nothing_is_said(outcome, numbers):
    assert turning_point(outcome, *numbers, region=(0.3, math.inf)) == ""
    assert turning_point(outcome, *numbers, region=None) == ""
    assert stats.MIN_SEEDS == 6
