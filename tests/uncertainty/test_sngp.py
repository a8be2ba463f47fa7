"""SNGP: the bound on singular values, the kernel, and a variance that grows with the distance to the data."""

import math

import pytest
import torch
from torch.nn import functional as F

from dlbench.uncertainty.sngp import SNGP, SpectralBound


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def test_singular_values_come_under_the_bound():
    weights = torch.randn(3, 8, 5)
    small = 0.1 * torch.randn(4, 4)
    before = small.clone()
    bound = SpectralBound([weights, small], 0.9)
    for _ in range(300):
        bound()
    assert torch.allclose(torch.linalg.matrix_norm(weights, 2), torch.full((3,), 0.9), atol=1e-3)
    assert torch.equal(small, before)
    with pytest.raises(ValueError, match="bound is 0"):
        SpectralBound([small], 0)


def test_random_features_approximate_a_gaussian_kernel():
    net = SNGP(4, 2, width=4, depth=0, random_features=20_000, length_scale=1.5)
    net.projection = torch.eye(4)
    x = torch.randn(6, 4)
    features = net.features(x)
    kernel = torch.exp(-torch.cdist(x, x).square() / (2 * 1.5**2))
    assert torch.allclose(features @ features.T, kernel, atol=0.05)


def test_variance_is_small_near_the_data_and_the_priors_far_away():
    net = SNGP(2, 2, width=32, depth=0, random_features=2000, length_scale=1.0, ridge=1.0)
    x = 0.3 * torch.randn(300, 2)
    assert torch.allclose(net.variance(x), torch.ones(300), atol=0.2)  # no data yet
    net.fit_variance(x)
    near, far = net.variance(x), net.variance(x + 20)
    assert near.max() < 0.2
    assert far.min() > 0.6


def test_probabilities_are_shrunk_by_the_variance():
    net = SNGP(2, 2, width=8)
    x = torch.randn(5, 2)
    net.fit_variance(x)
    shrunk = net(x) / (1 + math.pi / 8 * net.variance(x)).sqrt()[:, None]
    assert torch.allclose(net.probabilities(x).float(), F.softmax(shrunk, 1), atol=1e-5)
    assert torch.equal(net.probabilities(x).argmax(1), net(x).argmax(1))


def test_covariance_is_that_of_a_linear_regression():
    net = SNGP(2, 2, width=4, random_features=7, ridge=2.0)
    x = torch.randn(30, 2)
    net.fit_variance(x)
    phi = net.features(x).double()
    precision = 2 * torch.eye(7, dtype=torch.double) + sum(torch.outer(row, row) for row in phi)
    assert torch.allclose(net.covariance.double() @ precision, torch.eye(7, dtype=torch.double), atol=1e-4)


def test_it_trains_in_a_stack():
    from dlbench.stacking import Stack

    nets = Stack([SNGP(2, 2, width=8, random_features=16) for _ in range(2)])
    x, y = torch.randn(2, 10, 2), torch.randint(2, (2, 10))
    nets.losses(F.cross_entropy, nets.each(x), y).sum().backward()
    assert all(parameter.grad is not None for parameter in nets.parameters())
    nets[1].fit_variance(x[0])


def test_a_scale_of_nothing_is_refused():
    with pytest.raises(ValueError, match="length_scale is 0"):
        SNGP(2, 2, length_scale=0)
