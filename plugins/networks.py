"""Small networks and their training, many at once, as studies of several chapters take them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlbench.stacking import Stack, batches


def network(
    kind: str, shape: Sequence[int], outputs: int, *, width: int, depth: int = 2, dropout: float = 0.0
) -> nn.Module:
    """An untrained network from images of a shape [channels, h, w], with dropout where it hides features.

    Args:
        kind: "mlp", of ``depth`` hidden layers, or "cnn", of three convolutions, each halving the resolution;
            normalised by groups, which need no running means.
        shape: of an image.
        outputs: how many scores.
        width: of the hidden layers; the channels of the last convolution.
        depth: of the perceptron.
        dropout: the share of hidden features that are dropped; the convolutions' once, after the last.
    """
    channels, height, columns = shape
    if kind == "mlp":
        layers: list[nn.Module] = [nn.Flatten()]
        features = channels * height * columns
        for _ in range(depth):
            layers += [nn.Linear(features, width), nn.ReLU(), *([nn.Dropout(dropout)] if dropout else [])]
            features = width
        return nn.Sequential(*layers, nn.Linear(features, outputs))
    layers = []
    for a, b in ((channels, width // 4), (width // 4, width // 2), (width // 2, width)):
        layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.GroupNorm(1, b), nn.ReLU()]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), *([nn.Dropout(dropout)] if dropout else [])]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def perceptron(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers from each of these numbers of features to the next, with ReLUs between them."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def conv_base(length: int, outputs: int, *, channels: int = 25) -> nn.Sequential:
    """The three strided convolutions that MNIST-1D was published with (ConvBase), for signals [n, length].

    Their published recipe (arXiv:2011.14439; github.com/greydanus/mnist1d, Apache-2.0) is Adam at 0.01 with batches of
    100 for 8000 steps.

    Args:
        length: of a signal.
        outputs: how many scores.
        channels: of every convolution; 25 as published.
    """
    layers: list[nn.Module] = [nn.Unflatten(1, (1, length))]
    fan_in = 1
    for kernel in (5, 3, 3):
        layers += [nn.Conv1d(fan_in, channels, kernel, stride=2, padding=1), nn.ReLU()]
        fan_in, length = channels, (length + 2 - kernel) // 2 + 1
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * length, outputs))


class Windows(nn.Module):
    """A convolution of channels-last inputs [n, ..., channels] in one or two dimensions, as one matrix product.

    Of stacked networks a convolution is a grouped one, and 1.2 to 1.7 times slower at this size (24 networks, batches
    of 32, forward and backward, one thread).

    Args:
        channels: of the input.
        filters: channels of the output.
        size: of the window, in each dimension.
        stride: from one window to the next.
        dims: 1 for signals, 2 for images.
        padding: zeros before and after, in each dimension.
    """

    def __init__(self, channels: int, filters: int, size: int, stride: int, dims: int, padding: int = 0) -> None:
        super().__init__()
        self.size, self.dims, self.every = size, dims, (slice(None, None, stride),)
        self.padding = (0, 0, *[padding] * (2 * dims)) if padding else ()
        self.weights = nn.Linear(channels * size**dims, filters)

    def forward(self, x: Tensor) -> Tensor:
        if self.padding:
            x = F.pad(x, self.padding)
        for dim in range(1, self.dims + 1):
            starts = x.shape[dim] - self.size + 1
            x = torch.cat([x.narrow(dim, i, starts)[(slice(None),) * dim + self.every] for i in range(self.size)], -1)
        return self.weights(x)


def logistic_regression(x: Tensor, y: Tensor, classes: int, *, iterations: int, ridge: float = 0.0) -> nn.Linear:
    """Multinomial logistic regression by L-BFGS from zero: convex, so it finds what there is to find.

    Args:
        x: [n, features].
        y: [n], from 0 to classes - 1.
        classes: how many.
        iterations: of L-BFGS at most.
        ridge: of a penalty ridge / n · |weights|².
    """
    layer = nn.Linear(x.shape[1], classes).to(x.device)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=iterations, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(layer(x), y)
        if ridge:
            value = value + ridge / len(y) * layer.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return layer.requires_grad_(False)


def train(
    nets: Stack,
    sizes: Sequence[int],
    orders: Sequence[torch.Generator],
    losses: Callable[[Tensor], Tensor],
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    after_step: Callable[[], None] | None = None,
) -> None:
    """Adam on every network of a stack, and evaluation mode afterwards.

    Args:
        nets: the networks.
        sizes: how many examples each has.
        orders: in what order each sees them.
        losses: [networks] of which of each network's examples are in its batch, [networks, batch_size].
        steps: of the optimizer, the same for all.
        batch_size: examples a step.
        learning_rate: of Adam.
        after_step: called after each step of the optimizer.
    """
    optimizer = torch.optim.Adam(nets.parameters(), lr=learning_rate, fused=True)
    for rows in batches(sizes, batch_size, steps=steps, generators=orders):
        optimizer.zero_grad()
        losses(rows).sum().backward()
        optimizer.step()
        if after_step is not None:
            after_step()
    nets.eval()
