"""The small networks that several studies take, and the convex fit beside them."""

import numpy as np
import pytest
import torch
from torch import nn

from dlbench import uncertainty as u
from dlbench.data.mnist1d import mnist1d
from dlbench.stacking import Stack
from dlbench_plugins.networks import accuracies, conv_base, logistic_regression, perceptron


def test_a_perceptron_has_its_sizes_and_no_relu_at_the_end():
    net = perceptron([5, 7, 3])
    assert [tuple(p.shape) for p in net.parameters()] == [(7, 5), (7,), (3, 7), (3,)]
    assert isinstance(net[-1], torch.nn.Linear)


def test_logistic_regression_finds_as_little_loss_as_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    x, y = mnist1d(3000, np.random.default_rng(0))
    theirs = LogisticRegression(C=1e6, tol=1e-6, max_iter=1000).fit(x, y)
    ours = logistic_regression(torch.from_numpy(x), torch.from_numpy(y), 10, iterations=60)
    p = ours(torch.from_numpy(x)).double().softmax(1).numpy()
    assert u.negative_log_likelihood(p, y) == pytest.approx(
        u.negative_log_likelihood(theirs.predict_proba(x), y), abs=0.01
    )


def test_with_a_ridge_it_has_scikit_learns_weights():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    x = rng.standard_normal((200, 5)).astype(np.float32)
    y = (x[:, 0] + rng.standard_normal(200) > 0).astype(np.int64)
    ours = logistic_regression(torch.from_numpy(x), torch.from_numpy(y), 2, iterations=100, ridge=1.0)
    # with two outputs of opposite signs, w and -w, |w|² counts twice: theirs is |2 w|² / (2 C)
    theirs = LogisticRegression(C=1.0).fit(x, y)
    assert np.allclose((ours.weight[1] - ours.weight[0]).numpy(), theirs.coef_[0], atol=1e-2)


def test_conv_base_is_as_published():
    net = conv_base((40,), 10)
    assert [p.shape[0] for n, p in net.named_parameters() if n.endswith("weight")] == [25, 25, 25, 10]
    assert sum(p.numel() for p in net.parameters()) == 5210  # what the published class counts
    assert net(torch.zeros(3, 40)).shape == (3, 10)
    image = conv_base((3, 32, 28), 10, channels=4)  # sides 32, 15, 8, 4 and 28, 13, 7, 4
    assert image(torch.zeros(2, 3, 32, 28)).shape == (2, 10) and image[-1].in_features == 4 * 4 * 4


def test_accuracies_and_a_network_that_says_no_number_is_wrong():
    right, wrong, broken = (nn.Linear(4, 3) for _ in range(3))
    for layer, answer in ((right, 0), (wrong, 1), (broken, 0)):
        nn.init.zeros_(layer.weight)
        layer.bias.data = torch.eye(3)[answer]
    nn.init.constant_(broken.bias, torch.nan)
    y = torch.tensor([0] * 600 + [1] * 200)
    assert accuracies(Stack([right, wrong, broken]), torch.zeros(800, 4), y).tolist() == [0.75, 0.25, 0.0]
