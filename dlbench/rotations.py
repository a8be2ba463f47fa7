"""Convolutions that know that an image may stand any of four ways up: the group p4 of Cohen & Welling.

Group equivariant convolutional networks, ICML 2016, arXiv:1602.07576. Exact for squares of pixels turned by quarters of
a circle, if the windows lie symmetrically: no padding, and a side, less the window, that is a multiple of the stride.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlbench.windows import windows

TURNS = 4


class TurnedWindows(nn.Module):
    """A convolution whose every filter looks four ways: when the input turns, so do the outputs, and their ways.

    The first layer takes an image, which has one way; all others take what such a layer gives.

    Args:
        channels: that come in, of each way.
        filters: channels that go out, of each way.
        size: of a window, height and width.
        stride: from one window to the next.
        ways: 1 for images, 4 for what another layer gives.

    Shapes:
        [n, side, side, ways · channels] to [n, places, places, 4 · filters], ways before channels; ``weight`` is
        [filters, size² · ways · channels] and ``bias`` [filters], both uniform at first as ``torch.nn.Linear``'s are.

    Raises:
        ValueError: another number of ways, or, in the forward pass, a side at which windows lie askew.
    """

    def __init__(self, channels: int, filters: int, size: int, stride: int, ways: int) -> None:
        super().__init__()
        if ways not in (1, TURNS):
            raise ValueError(f"ways is {ways}; expected 1 for images, or {TURNS} for what another layer gives")
        self.size, self.stride = size, stride
        seen = size**2 * ways * channels
        self.weight = nn.Parameter(torch.empty(filters, seen))
        self.bias = nn.Parameter(torch.empty(filters))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(seen), 1 / math.sqrt(seen))
        # Which weight meets which input, as the filter turns. A window's columns come before its rows.
        places = torch.arange(seen).view(size, size, ways, channels)
        self._turned = torch.stack([places.rot90(-turn, (0, 1)).roll(turn, 2).flatten() for turn in range(TURNS)])

    def forward(self, x: Tensor) -> Tensor:
        """What every filter sees, each of the four ways."""
        if x.dim() != 4 or x.shape[1] != x.shape[2] or (x.shape[1] - self.size) % self.stride:
            raise ValueError(
                f"x has shape {list(x.shape)}; expected squares [n, side, side, channels] whose side less "
                f"{self.size} is a multiple of {self.stride}"
            )
        filters = self.weight.index_select(1, self._turned.flatten().to(x.device))
        filters = filters.reshape(len(self.weight), TURNS, -1).transpose(0, 1).flatten(0, 1)
        return F.linear(windows(x, self.size, self.stride, 2), filters, self.bias.repeat(TURNS))


class AnyWay(nn.Module):
    """Of [n, places, places, 4 · filters] the largest way, on average over places: [n, filters], whichever way up."""

    def forward(self, x: Tensor) -> Tensor:
        """What no turn of the input changes."""
        return x.reshape(len(x), -1, TURNS, x.shape[-1] // TURNS).amax(2).mean(1)


def turned(x: Tensor, turns: int) -> Tensor:
    """Images [..., side, side] turned by so many quarters of a circle, exactly."""
    return x.rot90(turns, (-2, -1))


@torch.no_grad()
def equivariance_error(net: nn.Module, x: Tensor) -> float:
    """By how much a turn of images changes what a network says that should not mind.

    Args:
        net: of images to scores [n, classes].
        x: [n, ..., side, side].

    Returns:
        The mean, over images and the three turns, of |net(turned) - net(x)| / |net(x)|.
    """
    said = net(x)
    changes = [(net(turned(x, turns)) - said).norm(dim=1) / said.norm(dim=1) for turns in range(1, TURNS)]
    return float(torch.stack(changes).mean())
