"""Curves of robust accuracy over the radius: monotone, closed forms on a linear model, the price of one attack."""

import math

import pytest
import torch

from dlbench import attacks

from .test_gradient import D, N, RowWise, linear

GRID = (0.0, 0.01, 0.03, 0.05, 0.1, 0.3)


def test_on_a_linear_model_samples_fall_at_the_radius_of_their_margin():
    torch.manual_seed(0)
    model = linear()
    x = torch.rand(N, D, dtype=torch.float64) * 0.4 + 0.3
    y = model(x).argmax(1)
    y[0] = 1 - y[0]
    curve = attacks.robustness_curve(model, x, y, reversed(GRID), steps=5, loss="margin")
    own, other = model.weight[y], model.weight[1 - y]
    radius = ((own - other) * x).sum(1) / (own - other).abs().sum(1)  # at which the margin is used up
    expected = [0.0 if r < 0 else min((eps for eps in GRID if eps > r), default=math.inf) for r in radius.tolist()]
    assert curve.broken_at.tolist() == expected
    assert curve.eps == GRID
    assert list(curve.robust_accuracy) == [sum(at > eps for at in expected) / N for eps in GRID]
    right = sorted(at for at in expected if at > 0)
    assert curve.median == right[len(right) // 2]


def test_what_fell_is_not_attacked_again():
    model = RowWise()
    x = torch.rand(N, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    y = model(x).argmax(1)
    curve = attacks.robustness_curve(model, x, y, GRID, steps=10, stop="success")
    alone = [attacks.pgd(model, x, y, eps=eps, steps=10, stop="success") for eps in GRID]
    assert list(curve.robust_accuracy) == sorted(curve.robust_accuracy, reverse=True)
    assert curve.robust_accuracy[-1] < 0.5
    assert all(c <= a.robust_accuracy for c, a in zip(curve.robust_accuracy, alone, strict=True))
    assert curve.backwards.sum() < sum(a.backwards.sum() for a in alone)
    fell = curve.broken_at.isfinite()
    assert torch.equal(model(curve.x_adv).argmax(1) != y, fell)
    assert ((curve.x_adv - x).abs().amax(1)[fell] <= curve.broken_at[fell]).all()


def test_samples_keep_their_random_numbers():
    model = RowWise()
    x = torch.rand(N, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    y, ids = model(x).argmax(1), torch.arange(100, 100 + N)
    whole = attacks.robustness_curve(model, x, y, GRID, steps=4, sample_ids=ids)
    part = attacks.robustness_curve(model, x[5:9], y[5:9], GRID, steps=4, sample_ids=ids[5:9])
    assert torch.equal(whole.x_adv[5:9], part.x_adv) and torch.equal(whole.broken_at[5:9], part.broken_at)


@pytest.mark.parametrize(("grid", "message"), [((), "eps_grid is empty"), ((0.1, -1.0), "eps is -1")])
def test_grids_that_are_none(grid, message):
    with pytest.raises(ValueError, match=message):
        attacks.robustness_curve(linear(), torch.zeros(1, D).double(), torch.zeros(1).long(), grid)
