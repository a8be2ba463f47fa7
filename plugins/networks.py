"""Small networks and their training, many at once, as studies of several chapters take them."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from dlbench.cost import count_flops
from dlbench.stacking import Stack, batches, rows_of, step_at


class Examples(NamedTuple):
    """Inputs and their classes."""

    x: Tensor  # [n, ...]
    y: Tensor  # [n]

    def only(self, chosen: Tensor | slice) -> Examples:
        """Those chosen by a mask [n], by their rows or by a slice."""
        if isinstance(chosen, Tensor):
            return Examples(self.x[chosen.to(self.x.device)], self.y[chosen.to(self.y.device)])
        return Examples(self.x[chosen], self.y[chosen])


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


def conv_base(shape: Sequence[int], outputs: int, *, channels: int = 25) -> nn.Sequential:
    """The three strided convolutions that MNIST-1D was published with (ConvBase), also in two dimensions, for images.

    Their published recipe (arXiv:2011.14439; github.com/greydanus/mnist1d, Apache-2.0) is Adam at 0.01 with batches of
    100 for 8000 steps.

    Args:
        shape: of an example, [length] or [channels, height, columns].
        outputs: how many scores.
        channels: of every convolution; 25 as published.
    """
    fan_in, *lengths = shape if len(shape) == 3 else (1, *shape)
    layers: list[nn.Module] = [nn.Unflatten(1, (1, *shape))] if len(shape) == 1 else []
    conv = nn.Conv1d if len(lengths) == 1 else nn.Conv2d
    for kernel in (5, 3, 3):
        layers += [conv(fan_in, channels, kernel, stride=2, padding=1), nn.ReLU()]
        fan_in, lengths = channels, [(length + 2 - kernel) // 2 + 1 for length in lengths]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * math.prod(lengths), outputs))


def logistic_regression(x: Tensor, y: Tensor, classes: int, *, iterations: int, ridge: float = 0.0) -> nn.Linear:
    """Multinomial logistic regression by L-BFGS from zero: convex, so it finds what there is to find.

    Args:
        x: [n, features].
        y: [n], from 0 to classes - 1.
        classes: how many.
        iterations: of L-BFGS at most.
        ridge: of a penalty ridge / n · |weights|².
    """
    return counted_logistic_regression(x, y, classes, iterations=iterations, ridge=ridge)[0]


def counted_logistic_regression(
    x: Tensor, y: Tensor, classes: int, *, iterations: int, ridge: float = 0.0
) -> tuple[nn.Linear, int]:
    """The same as :func:`logistic_regression`, and how often its loss and gradient were computed."""
    evaluations = 0
    layer = nn.Linear(x.shape[1], classes).to(x.device)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=iterations, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        nonlocal evaluations
        evaluations += 1
        optimizer.zero_grad()
        value = F.cross_entropy(layer(x), y)
        if ridge:
            value = value + ridge / len(y) * layer.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return layer.requires_grad_(False), evaluations


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


@torch.no_grad()
def accuracies(nets: Stack, x: Tensor, y: Tensor) -> NDArray[np.float64]:
    """[K]: the accuracy of each network of a stack; one that says what is no number is wrong.

    Args:
        nets: the networks.
        x: [n, ...], the same for all.
        y: [n], classes.
    """
    right = torch.zeros(len(nets), dtype=torch.float64, device=y.device)
    for part, labels in zip(x.split(500), y.split(500), strict=True):
        logits = nets(part)
        right += ((logits.argmax(2) == labels) & logits.isfinite().all(2)).sum(1)
    return (right / len(y)).cpu().numpy()


def tuned(
    starts: Sequence[nn.Module],
    trains: Sequence[Examples],
    held: Sequence[Examples],
    rates: Sequence[float],
    *,
    steps: int,
    batch_size: int,
    order: Callable[[], torch.Generator],
    losses: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
) -> list[nn.Module]:
    """Every network trained at every rate, all at once: Adam at rates that fall to 0; of the rates the best.

    Args:
        starts: V networks of one shape, untrained.
        trains: the examples that each of them is trained on.
        held: those that choose its rate, by accuracy; of equally good ones the first.
        rates: R of them.
        steps: of the optimizer.
        batch_size: examples a step.
        order: makes a generator for the order in which a network sees its examples.
        losses: the loss of all, one number, from logits [V · R, batch_size, classes], labels [V · R, batch_size] and
            which of the V tasks is each network's [V · R]; the sum of their mean cross-entropies by default.

    Returns:
        V networks, trained.
    """
    device = trains[0].x.device
    stack = Stack([start for start in starts for _ in rates]).to(device)
    own = torch.arange(len(stack), device=device) // len(rates)
    x, y = (pad_sequence(list(parts), batch_first=True) for parts in zip(*trains, strict=True))  # [V, n, ...]
    first = own[:, None] * x.shape[1]  # example of each task, counted through
    adam = torch.optim.Adam(stack.parameters(), max(rates), fused=True)
    each = torch.tensor(rates, device=device).repeat(len(starts))
    sizes = [len(part.y) for part in trains for _ in rates]
    for step, rows in enumerate(batches(sizes, batch_size, steps=steps, generators=[order() for _ in sizes])):
        rows = first + rows.to(device)
        logits, labels = stack.each(rows_of(x.flatten(0, 1), rows)), y.flatten()[rows]
        loss = losses(logits, labels, own) if losses else stack.losses(F.cross_entropy, logits, labels).sum()
        adam.zero_grad()
        loss.backward()
        step_at(adam, each * (1 - step / steps))
    x = pad_sequence([part.x for part in held], batch_first=True)
    y = pad_sequence([part.y for part in held], batch_first=True, padding_value=-1)  # what is no example is never right
    with torch.no_grad():
        parts = zip(x.split(500, 1), y.split(500, 1), strict=True)  # as many at once as memory is sure to have room for
        right = torch.stack([(stack.each(x[own]).argmax(2) == y[own]).sum(1) for x, y in parts]).sum(0)
    best = right.view(-1, len(rates)).cpu().numpy().argmax(1)
    return [stack[number * len(rates) + int(rate)] for number, rate in enumerate(best)]


def flops(net: nn.Module, shape: Sequence[int]) -> int:
    """Multiplications and additions of matrix products for one input of a shape, as torch counts them."""
    device = next((parameter.device for parameter in net.parameters()), None)
    with torch.no_grad():
        return count_flops(lambda: net(torch.zeros(1, *shape, device=device)))


def as_costly(make: Callable[[int], nn.Module], cost: Callable[[nn.Module], int], budget: int) -> int:
    """The width at which a network costs most nearly this much, of two the smaller; cost must grow with the width."""
    most = 1
    while cost(make(most)) < budget:
        most *= 2
    width = bisect_left(range(1, most), budget, key=lambda width: cost(make(width))) + 1
    return min((max(1, width - 1), width), key=lambda width: abs(cost(make(width)) - budget))
