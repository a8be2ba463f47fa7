"""The last layer's posterior against autograd's Hessian and its limits."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch.nn import functional as F

from dlbench import uncertainty as u

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((30, 3)), RNG.integers(4, size=30)
W, B = RNG.standard_normal((4, 3)), RNG.standard_normal(4)


def test_the_covariance_inverts_autograds_hessian():
    x = torch.cat([torch.tensor(X), torch.ones(30, 1)], 1)
    flat = torch.tensor(np.column_stack([W, B])).flatten()

    def loss(w):
        return F.cross_entropy(x @ w.view(4, 4).T, torch.tensor(Y), reduction="sum") + 0.7 / 2 * w.square().sum()

    inverse = torch.linalg.inv(torch.autograd.functional.hessian(loss, flat)).reshape(4, 4, 4, 4)
    found = u.LastLayerLaplace.fit(X, W, B, precision=0.7).covariance
    for c in range(4):
        assert found[c] == pytest.approx(inverse[c, :, c].numpy())


def test_a_certain_posterior_is_the_network_and_a_vague_one_knows_nothing():
    certain = u.LastLayerLaplace.fit(X, W, B, precision=1e12)
    assert certain(X) == pytest.approx(softmax(X @ W.T + B, 1), abs=1e-6)
    far = u.LastLayerLaplace.fit(X, W, B, precision=0.01)(1000 * X)
    assert far.max() < softmax(1000 * X @ W.T + B, 1).max()
    assert far.sum(1) == pytest.approx(1)


def test_more_data_leave_less_uncertainty():
    few = u.LastLayerLaplace.fit(X, W, B, precision=1.0)(X)
    many = u.LastLayerLaplace.fit(np.tile(X, (20, 1)), W, B, precision=1.0)(X)
    assert u.predictive_entropy(many).mean() < u.predictive_entropy(few).mean()


@pytest.mark.parametrize(
    ("x", "w", "b", "precision", "says"),
    [
        (X, W, B, 0.0, r"precision is 0\.0"),
        (X, W, B[:3], 1.0, r"weight \[4, 3\] and bias \[3\] do not fit"),
        (X[:, :2], W, B, 1.0, r"features have shape \[30, 2\]; expected \[n, 3\]"),
    ],
)
def test_bad_input_is_named(x, w, b, precision, says):
    with pytest.raises(ValueError, match=says):
        u.LastLayerLaplace.fit(x, w, b, precision)
