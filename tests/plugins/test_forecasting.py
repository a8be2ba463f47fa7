"""What the forecasts on graphs share: windows without a look ahead, means over links, ridge, training, errors."""

import numpy as np
import pytest
import torch

from dlbench_plugins.graphs import forecasting as shared
from dlbench_plugins.graphs.forecasting import Links, Ridge

NAN = np.nan


def test_targets_and_windows_meet_at_the_origin():
    values = np.arange(20.0).reshape(10, 2)
    origins = np.array([3, 8])
    np.testing.assert_array_equal(shared.windows(values, origins, 3)[:, -1], values[origins])
    np.testing.assert_array_equal(shared.windows(values, origins, 3)[0], values[1:4])
    came = shared.targets(values, origins, (1, 2))
    np.testing.assert_array_equal(came[0], values[4:6])
    np.testing.assert_array_equal(came[1], [values[9], [NAN, NAN]])


def test_gaps_hold_what_was_seen_before_them():
    values = np.array([[NAN, 1], [2, NAN], [NAN, NAN], [4, 5]])
    np.testing.assert_array_equal(shared.filled(values), [[3, 1], [2, 1], [2, 1], [4, 5]])


def test_the_mean_over_links_is_weighted_and_zero_without_any():
    links = Links(np.array([[0, 1, 2], [2, 2, 0]]), np.array([1.0, 3.0, 2.0]))
    np.testing.assert_allclose(links.mean(np.array([[10.0, 20.0, 30.0]])), [[30, 0, 17.5]])
    np.testing.assert_allclose(links.mean(np.eye(3)), [[0, 0, 0.25], [0, 0, 0.75], [1, 0, 0]])
    np.testing.assert_array_equal(links.none().mean(np.ones((2, 3))), np.zeros((2, 3)))


def test_a_row_of_weights_a_step():
    links = Links(np.array([[0, 1], [2, 2]]), np.array([[1.0, 0.0], [0.0, 5.0], [0.0, 0.0]]))
    values = np.array([[1.0, 2.0, 3.0]] * 3)
    np.testing.assert_array_equal(links.mean(values)[:, 2], [1, 2, 0])
    np.testing.assert_array_equal(links.until(1).weight, links.weight[:2])


def test_permuted_links_are_the_same_graph_elsewhere():
    links = Links(np.array([[0, 1, 2], [1, 2, 0]]), np.array([1.0, 2.0, 3.0]))
    nodes = np.array([2, 0, 1])
    values = np.random.default_rng(0).normal(size=(4, 3))
    np.testing.assert_allclose(links.over(nodes).mean(values)[:, nodes], links.mean(values[:, nodes]))
    np.testing.assert_array_equal(links.both()[1].ends, links.ends[::-1])


def test_ridge_recovers_a_line_and_shrinks_to_the_mean():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 4, 3)) * (1, 10, 0) + (0, 5, 7)  # the last feature is constant
    y = 2 * x[..., 0] - 0.5 * x[..., 1] + 1
    y[0] = NAN
    exact, flat = Ridge.fit(x, y, (0.0 + 1e-12, 1e12))(x)
    np.testing.assert_allclose(exact[1:], y[1:], atol=1e-6)
    np.testing.assert_allclose(flat, np.nanmean(y), atol=1e-6)


class Constant(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.level = torch.nn.Parameter(torch.zeros(()))


def test_training_looks_at_what_was_measured_only():
    came = np.full((8, 2, 3), NAN)
    came[:, 0] = 4.0
    net = Constant()
    shared.train(
        net,
        lambda net, some: net.level.expand(len(some), 2, 3),
        came,
        learning_rate=0.2,
        epochs=60,
        batch=4,
        rng=np.random.default_rng(0),
    )
    assert net.level.item() == pytest.approx(4, abs=0.2)


def test_training_keeps_the_best_epoch():
    levels = []

    def validate(net):
        levels.append(net.level.item())
        return abs(len(levels) - 2)  # the second epoch is best

    net = Constant()
    kept = shared.train(
        net,
        lambda net, some: net.level.expand(len(some), 1, 1),
        np.full((4, 1, 1), 100.0),
        learning_rate=0.1,
        epochs=5,
        batch=2,
        rng=np.random.default_rng(0),
        validate=validate,
    )
    assert kept == 2 and net.level.item() == levels[1]


def test_errors_leave_out_what_was_not_measured():
    forecast, came = np.array([1.0, 2.0, 3.0]), np.array([2.0, NAN, 6.0])
    assert shared.mae(forecast, came) == 2
    assert shared.rmse(forecast, came) == pytest.approx(np.sqrt(5))
