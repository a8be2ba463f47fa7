"""Layers that look through windows: convolutions, and locally connected ones, which share nothing between places.

Both see the same windows of an input whose channels come last, so that they differ in one thing only: whether every
place has the same weights. There is no padding, which would tell a layer where it is, and no pooling. Each is one
matrix product, which in a :class:`dlbench.stacking.Stack` is faster than the grouped convolution that ``torch.vmap``
makes of stacked convolutions (1.2 to 1.7 times: 24 networks of two small layers, batches of 32, forward and backward,
one thread).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


def windows(x: Tensor, size: int, stride: int, dims: int) -> Tensor:
    """What is seen through each window of x [n, ..., channels], whose dimensions between are ``dims``.

    Args:
        x: the inputs.
        size: of a window, in each dimension.
        stride: from one window to the next.
        dims: 1 for signals [n, length, channels], 2 for images [n, height, width, channels].

    Returns:
        [n, places, ..., size**dims · channels], where a dimension of length L has (L - size) // stride + 1 places; of
        what a window shows, the last dimension comes first and the channels last.

    Raises:
        ValueError: x has other dimensions, or one is shorter than a window.
    """
    if x.dim() != dims + 2 or min(x.shape[1:-1]) < size:
        raise ValueError(f"x has shape {list(x.shape)}; expected [n, {'at least ' + str(size) + ', ' * dims}channels]")
    for dim in range(1, dims + 1):
        starts, every = x.shape[dim] - size + 1, (*[slice(None)] * dim, slice(None, None, stride))
        x = torch.cat([x.narrow(dim, i, starts)[every] for i in range(size)], -1)
    return x


class ChannelsLast(nn.Module):
    """Inputs as the layers here take them: [n, length] as [n, length, 1], or images with their channels last.

    Args:
        dims: 1, or 2 for images [n, channels, height, width], which become [n, height, width, channels].
    """

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        """The same numbers."""
        return x.unsqueeze(2) if self.dims == 1 else x.movedim(1, -1)

    def stacked(self, x: Tensor, run: Callable[[nn.Module, Tensor], Tensor]) -> Tensor:
        """The same for a :class:`dlbench.stacking.Stack`, [K, n, ...]."""
        return x.unsqueeze(3) if self.dims == 1 else x.movedim(2, -1)


class Windows(nn.Module):
    """A convolution of inputs [n, ..., channels] in one or two dimensions.

    Args:
        channels: that come in.
        filters: channels that go out.
        size: of a window, in each dimension.
        stride: from one window to the next.
        dims: 1 or 2.

    Shapes:
        [n, lengths, channels] to [n, places, filters], see :func:`windows`.
    """

    def __init__(self, channels: int, filters: int, size: int, stride: int, dims: int) -> None:
        super().__init__()
        self.size, self.stride, self.dims = size, stride, dims
        self.weights = nn.Linear(channels * size**dims, filters)

    def forward(self, x: Tensor) -> Tensor:
        """Every window through the same weights."""
        out: Tensor = self.weights(windows(x, self.size, self.stride, self.dims))
        return out

    def stacked(self, x: Tensor, run: Callable[[nn.Module, Tensor], Tensor]) -> Tensor:
        """The same for a :class:`dlbench.stacking.Stack`, [K, n, ...]."""
        seen = windows(x.flatten(0, 1), self.size, self.stride, self.dims)
        return run(self.weights, seen.view(*x.shape[:2], *seen.shape[1:]))


class LocalWindows(nn.Module):
    """A locally connected layer: the convolution of :class:`Windows` with weights of its own at every place.

    Args:
        lengths: of the inputs' dimensions between the first and the channels, [length] or [height, width].
        channels: that come in.
        filters: channels that go out.
        size: of a window, in each dimension.
        stride: from one window to the next.

    Shapes:
        [n, *lengths, channels] to [n, places, filters]; ``weight`` is [places, inputs of a window, filters], ``bias``
        [places, 1, filters], both uniform at first as those of ``torch.nn.Linear`` are.
    """

    def __init__(self, lengths: tuple[int, ...], channels: int, filters: int, size: int, stride: int) -> None:
        super().__init__()
        self.size, self.stride = size, stride
        self.places = tuple((length - size) // stride + 1 for length in lengths)
        seen = channels * size ** len(lengths)
        self.weight = nn.Parameter(torch.empty(math.prod(self.places), seen, filters))
        self.bias = nn.Parameter(torch.empty(math.prod(self.places), 1, filters))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(seen), 1 / math.sqrt(seen))

    def forward(self, x: Tensor) -> Tensor:
        """Every window through its place's weights."""
        seen = windows(x, self.size, self.stride, len(self.places)).flatten(1, -2)
        out = torch.baddbmm(self.bias, seen.transpose(0, 1), self.weight)
        return out.transpose(0, 1).reshape(len(x), *self.places, -1)
