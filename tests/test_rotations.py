"""Convolutions that turn with their input, exactly, and what breaks them."""

import pytest
import torch
from torch import nn

from dlbench.rotations import AnyWay, TurnedWindows, equivariance_error, turned
from dlbench.stacking import Stack
from dlbench.windows import Windows


class Last(nn.Module):
    def forward(self, x):
        return x[..., None]


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_outputs_turn_with_their_input_and_ways_move_on(turns):
    torch.manual_seed(0)
    first, second = TurnedWindows(1, 3, 4, 2, 1), TurnedWindows(3, 2, 2, 1, 4)
    x = torch.randn(2, 8, 8)
    for layers in ([first], [first, second]):
        plain, other = x[..., None], turned(x, turns)[..., None]
        for layer in layers:
            plain, other = layer(plain).tanh(), layer(other).tanh()
        ways = plain.unflatten(3, (4, -1)).rot90(turns, (1, 2)).roll(turns, 3)
        assert torch.allclose(other.unflatten(3, (4, -1)), ways, atol=1e-6)


def test_the_first_way_is_a_convolution():
    layer, plain = TurnedWindows(2, 3, 3, 1, 1), Windows(2, 3, 3, 1, 2)
    with torch.no_grad():
        plain.weights.weight.copy_(layer.weight)
        plain.weights.bias.copy_(layer.bias)
    x = torch.randn(2, 5, 5, 2)
    assert torch.allclose(layer(x)[..., :3], plain(x), atol=1e-6)


def test_parameters_are_shared_by_the_ways():
    assert sum(p.numel() for p in TurnedWindows(3, 5, 2, 1, 4).parameters()) == 5 * (4 * 4 * 3 + 1)


def test_a_network_of_them_does_not_mind_turns_and_a_plain_one_does():
    torch.manual_seed(0)
    c4 = nn.Sequential(
        Last(), TurnedWindows(1, 4, 4, 2, 1), nn.ReLU(), TurnedWindows(4, 6, 3, 1, 4), nn.ReLU(), AnyWay(),
        nn.Linear(6, 3),
    )  # fmt: skip
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    x = torch.randn(20, 8, 8)
    assert equivariance_error(c4, x) < 1e-5
    assert equivariance_error(plain, x) > 0.1
    assert torch.allclose(Stack([c4, c4])(x)[1], c4(x), atol=1e-5)


def test_error_by_hand():
    """The score is the upper left pixel: of [[1, 2], [3, 4]] it becomes 2, 4 and 3."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False))
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[1.0, 0, 0, 0]]))
    assert equivariance_error(net, torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])) == pytest.approx((1 + 3 + 2) / 3)


def test_what_cannot_be():
    with pytest.raises(ValueError, match="ways is 2"):
        TurnedWindows(1, 1, 2, 1, 2)
    for shape in ([1, 8, 7, 1], [1, 7, 7, 1], [8, 8, 1]):
        with pytest.raises(ValueError, match="expected squares"):
            TurnedWindows(1, 1, 4, 2, 1)(torch.zeros(shape))
