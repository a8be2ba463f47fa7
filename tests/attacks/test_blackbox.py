"""Noise, the control of every attack."""

import pytest
import torch
from torch import nn

from dlbench import attacks


class Linear(nn.Module):
    """Two classes, a weight a pixel, on images [n, 1, 6, 6] in float64."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(36, generator=torch.Generator().manual_seed(3), dtype=torch.float64))

    def forward(self, x):
        score = ((x - 0.5).flatten(1) * self.w).sum(1)
        return torch.stack([score, -score], 1)


@pytest.fixture
def problem():
    model = Linear()
    x = 0.2 + 0.6 * torch.rand(60, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    return model, x, model(x).argmax(1)


@pytest.mark.parametrize("kind", ["uniform", "sign"])
def test_noise_stays_in_the_ball_and_fools_only_what_the_ball_allows(problem, kind):
    model, x, y = problem
    result = attacks.noise(model, x, y, eps=0.05, kind=kind, restarts=20)
    distance = (result.x_adv - x).abs()
    assert (distance <= 0.05).all()
    if kind == "sign":  # at a corner, or untouched where x itself is worse
        assert ((distance > 0.05 - 1e-9) | (distance == 0)).all()
    reachable = model(x).diff().abs().squeeze(1) < 2 * 0.05 * model.w.abs().sum()
    assert not (result.success & ~reachable).any()
    assert (result.forwards[~result.success] == 21).all() and (result.backwards == 0).all()


def test_more_draws_never_fool_less(problem):
    model, x, y = problem
    one, many = (attacks.noise(model, x, y, eps=0.1, restarts=n) for n in (1, 10))
    assert not (one.success & ~many.success).any()


def test_noise_has_two_kinds(problem):
    model, x, y = problem
    with pytest.raises(ValueError, match="'pink'"):
        attacks.noise(model, x, y, eps=0.1, kind="pink")


def test_eps_zero_changes_nothing(problem):
    model, x, y = problem
    result = attacks.noise(model, x, y, eps=0.0)
    assert torch.equal(result.x_adv, x) and not result.success.any()
