"""Power laws are found again, floors and flat curves, and the size that an accuracy takes."""

import math

import numpy as np
import pytest
from scipy.optimize import least_squares

from dlbench.learning_curves import PowerLaw, fit_power_law, size_for

SIZES = (50, 100, 250, 700, 2000)


@pytest.mark.parametrize(
    "law", [(3.0, 0.5, 0.05), (0.9, 0.07, 0.0), (2.0, 0.35, 0.2), (40.0, 1.3, 0.01), (0.1, -0.2, 0)]
)
def test_a_power_law_is_found_again(law):
    found = fit_power_law(SIZES, PowerLaw(*law, 0.0)(SIZES))
    assert found.exponent == pytest.approx(law[1], abs=1e-3) and found.floor == pytest.approx(law[2], abs=2e-3)
    assert found.misfit < 1e-3 and np.allclose(found(SIZES), PowerLaw(*law, 0.0)(SIZES), rtol=2e-3)


def test_without_a_floor_it_is_the_slope_of_the_logarithms():
    errors = [0.8 * n**-0.3 for n in SIZES]
    found = fit_power_law(SIZES, errors, floor=False)
    assert found == pytest.approx((0.8, 0.3, 0.0, 0.0), abs=1e-6)


def test_a_flat_curve_has_exponent_zero():
    for floor in (False, True):
        found = fit_power_law(SIZES, [0.9] * 5, floor=floor)
        assert found.exponent == 0 and found.misfit == pytest.approx(0, abs=1e-9) and found(70) == pytest.approx(0.9)


def test_a_curve_that_falls_faster_and_faster_has_no_floor():
    errors = [0.8, 0.78, 0.7, 0.45, 0.2]
    assert fit_power_law(SIZES, errors).floor == 0
    assert fit_power_law(SIZES, errors) == fit_power_law(SIZES, errors, floor=False)


def test_misfit_by_hand():
    """Errors around 1, no slope: with exponent 0 and scale s, |s/e - 1| is least at s = Σ1/e / Σ1/e²."""
    errors = [1.1, 0.9, 0.9, 1.1]
    s = sum(1 / e for e in errors) / sum(1 / e**2 for e in errors)
    found = fit_power_law([1, 2, 4, 8], errors, floor=False)
    assert found.scale == pytest.approx(s) and found.exponent == 0
    assert found.misfit == pytest.approx(math.sqrt(sum((s / e - 1) ** 2 for e in errors) / 4))


@pytest.mark.parametrize("seed", range(5))
def test_no_smaller_sum_of_squares_is_found_by_scipy(seed):
    errors = PowerLaw(3.0, 0.5, 0.05, 0)(SIZES) * np.exp(0.05 * np.random.default_rng(seed).standard_normal(5))

    def off(p):
        return PowerLaw(p[0], p[1], p[2], 0)(np.array(SIZES)) / errors - 1

    bounds = ([0, -1, 0], [np.inf, 3, 1])
    theirs = min(2 * least_squares(off, [2, a, 0.05], bounds=bounds).cost for a in (0.1, 0.4, 0.8))
    assert fit_power_law(SIZES, errors).misfit ** 2 * 5 <= theirs + 1e-5


@pytest.mark.parametrize(
    ("sizes", "errors", "message"),
    [
        ((1, 2, 3), (0.1, 0.2), "equally long"),
        ((1, 2, 3), (0.1, 0.0, 0.2), "above 0"),
        ((1, 2), (0.1, 0.2), "2 sizes; a power law of 3 parameters"),
        ((1, 1, 2), (0.1, 0.1, 0.2), "2 sizes; a power law of 3 parameters"),
    ],
)
def test_what_cannot_be_fitted(sizes, errors, message):
    with pytest.raises(ValueError, match=message):
        fit_power_law(sizes, errors)


def test_the_size_that_an_accuracy_takes():
    sizes, accuracies = (10, 100, 1000), (0.2, 0.6, 0.8)
    assert size_for(sizes, accuracies, 0.2) == 10 == size_for(sizes, accuracies, 0.1)
    assert size_for(sizes, accuracies, 0.4) == pytest.approx(10**1.5)
    assert size_for(sizes, accuracies, 0.7) == pytest.approx(10**2.5)
    assert size_for(sizes, accuracies, 0.81) == math.inf
    assert size_for((10, 100, 1000), (0.2, 0.6, 0.4), 0.5) == pytest.approx(10 ** (1 + 0.75))


def test_sizes_must_rise():
    for sizes in ((10, 10), (100, 10), (0, 10)):
        with pytest.raises(ValueError, match="rising"):
            size_for(sizes, (0.1, 0.2), 0.2)
    with pytest.raises(ValueError, match="as many"):
        size_for((10,), (), 0.2)
