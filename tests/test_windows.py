"""Windows against torch's convolutions, and what locally connected layers share: nothing."""

import pytest
import torch
from torch.nn import functional as F

from dlbench.stacking import Stack
from dlbench.windows import ChannelsLast, LocalWindows, Windows, windows


def test_windows_by_hand():
    x = torch.arange(7.0).view(1, 7, 1)
    assert windows(x, 3, 2, 1)[0].tolist() == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]
    image = torch.arange(9.0).view(1, 3, 3, 1)
    assert windows(image, 2, 1, 2)[0, 1, 0].tolist() == [3, 6, 4, 7]


@pytest.mark.parametrize("dims", [1, 2])
def test_windows_are_a_convolution(dims):
    module = Windows(3, 5, 3, 2, dims)
    x = torch.randn(2, *[9] * dims, 3)
    convolve = F.conv1d if dims == 1 else F.conv2d
    weight = module.weights.weight.view(5, *[3] * dims, 3)  # the window's last dimension first, the channels last
    weight = weight.permute(0, dims + 1, *range(dims, 0, -1))
    theirs = convolve(x.movedim(-1, 1), weight, module.weights.bias, stride=2).movedim(1, -1)
    assert torch.allclose(module(x), theirs, atol=1e-5)


@pytest.mark.parametrize(("dims", "order"), [(1, "nl->nl"), (2, "nchw->nhwc")])
def test_channels_come_last_also_in_a_stack(dims, order):
    x = torch.randn(2, 3, *[9, 7][: 2 * dims - 2])
    expected = torch.einsum(order, x).view(2, *x.shape[dims:], -1)
    layers = [ChannelsLast(dims), ChannelsLast(dims)]
    assert torch.equal(layers[0](x), expected)
    assert torch.equal(Stack(layers).each(torch.stack([x, -x])), torch.stack([expected, -expected]))


@pytest.mark.parametrize("lengths", [(9,), (9, 7)])
def test_local_windows_with_equal_weights_are_a_convolution(lengths):
    shared = Windows(3, 5, 3, 2, len(lengths))
    local = LocalWindows(lengths, 3, 5, 3, 2)
    with torch.no_grad():
        local.weight.copy_(shared.weights.weight.T)
        local.bias.copy_(shared.weights.bias)
    x = torch.randn(2, *lengths, 3)
    assert torch.allclose(local(x), shared(x), atol=1e-6)
    assert local(x).shape == (2, *local.places, 5)


def test_a_place_has_weights_of_its_own():
    local = LocalWindows((9,), 1, 1, 3, 2)
    with torch.no_grad():
        local.weight[2] = 0
        local.bias[2] = 7
    out = local(torch.randn(4, 9, 1))
    assert (out[:, 2] == 7).all() and (out[:, [0, 1, 3]] != 7).all()


def test_first_weights_are_as_those_of_a_linear_layer():
    local = LocalWindows((400,), 4, 6, 5, 1)
    assert float(local.weight.detach().abs().max()) == pytest.approx(20**-0.5, rel=0.01)


def test_layers_can_be_stacked():
    nets = [LocalWindows((9,), 1, 2, 3, 2) for _ in range(3)]
    x = torch.randn(4, 9, 1)
    assert torch.allclose(Stack(nets)(x), torch.stack([net(x) for net in nets]), atol=1e-6)


@pytest.mark.parametrize(("x", "dims"), [(torch.zeros(2, 9), 1), (torch.zeros(2, 2, 1), 1), (torch.zeros(2, 9, 1), 2)])
def test_other_shapes_are_refused(x, dims):
    with pytest.raises(ValueError, match="x has shape"):
        windows(x, 3, 1, dims)
