"""PointNet against dense tensors of clouds, and what sets must not see."""

from itertools import pairwise

import pytest
import torch

from dlbench import nn

from .small_graphs import assert_same, normal, shaken


def small():
    return shaken(nn.PointNet(3, 5, point_widths=(8, 16), cloud_widths=(6,), dropout=0.0))


@pytest.mark.parametrize("training", [True, False])
def test_it_is_layers_on_points_then_a_maximum_then_layers(training):
    net = small().train(training)
    clouds = normal(4, 10, 3).requires_grad_()  # B clouds of as many points: as dense tensors

    def dense(layers, x):
        for linear, norm, _ in layers:
            x = x @ linear.weight.T + linear.bias
            mean, var = (x.mean(0), x.var(0, correction=0)) if training else (norm.running_mean, norm.running_var)
            x = ((x - mean) / (var + norm.eps).sqrt() * norm.weight + norm.bias).relu()
        return x

    widest = dense(net.point, clouds.reshape(-1, 3)).reshape(4, 10, 16).amax(1)
    expected = dense(net.cloud, widest) @ net.last.weight.T + net.last.bias
    rowptr = torch.arange(5) * 10
    # Before batch normalisation in training a bias does nothing, so its gradient is rounding alone.
    assert_same(net(clouds.reshape(-1, 3), rowptr), expected, [clouds, *net.parameters()])


def test_the_order_of_points_and_their_copies_say_nothing():
    net, x = small().eval(), normal(20, 3)
    rowptr, order = torch.tensor([0, 20]), torch.randperm(20)
    assert torch.equal(net(x[order], rowptr), net(x, rowptr))
    assert torch.equal(net(torch.cat([x, x[:7]]), torch.tensor([0, 27])), net(x, rowptr))


def test_clouds_of_many_sizes_are_each_by_itself():
    net, x, rowptr = small().eval(), normal(20, 3), torch.tensor([0, 3, 4, 20])
    alone = [net(x[a:b], torch.tensor([0, b - a])) for a, b in pairwise(rowptr)]
    torch.testing.assert_close(net(x, rowptr), torch.cat(alone), atol=1e-12, rtol=0)


def test_without_hidden_layers_it_is_a_maximum_and_a_linear_layer():
    net, x = nn.PointNet(3, 5, point_widths=(), cloud_widths=()).eval(), torch.randn(8, 3)
    torch.testing.assert_close(net(x, torch.tensor([0, 8])), net.last(x.amax(0, keepdim=True)))
