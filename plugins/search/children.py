"""The children of the search: small convolutional and fully connected networks, and how they are trained.

A child is described by six choices. Its hidden layers all have one width, which is that many channels, or four times as
many units of a fully connected layer; convolutions have a stride of 2 and go along signals (MNIST-1D) or over images
(digits). A layer normalisation, if any, is over the channels or units. All are trained by the same recipe: Adam at a
rate that falls to 0, over as many steps and examples, drawn anew for each training seed together with the first weights
and the order of the examples.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlbench import Context
from dlbench.cost import parameters
from dlbench.data.mnist1d import mnist1d
from dlbench.stacking import Stack, batches, step_at
from dlbench.windows import ChannelsLast, Windows
from dlbench_plugins.images import CLASSES, divided
from dlbench_plugins.networks import flops
from dlbench_plugins.search.space import Space

SPACE = Space(
    {
        "layer": ("dense", "conv 3", "conv 5", "conv 7"),
        "depth": (1, 2, 3),
        "width": (8, 16, 32),
        "activation": ("relu", "tanh"),
        "norm": ("none", "layer"),
        "rate": (0.001, 0.003, 0.01, 0.03),
    }
)
TRAINING_SEEDS = 3
EARLY = (9, 3)  # validation accuracy is taken after a ninth and a third of the steps, too

Part = tuple[Tensor, Tensor]  # examples [n, ...] and labels [n]


@dataclass(frozen=True)
class Recipe:
    """How children of a data set are trained: numbers of examples, steps, and examples a step."""

    train: int
    validation: int
    steps: int
    batch_size: int
    test: int = 2000  # of a generator; otherwise all others


RECIPES = {"mnist1d": Recipe(3000, 1000, 300, 64), "digits": Recipe(400, 400, 80, 32)}


class Child(NamedTuple):
    """What became of a child: accuracies, parameters, FLOPs of one answer, and CPU seconds of its training."""

    validation_ninth: float
    validation_third: float
    validation: float
    test: float
    parameters: int
    flops: int
    seconds: float


def build(choices: dict[str, Any], shape: Sequence[int]) -> nn.Sequential:
    """An untrained child for examples of a shape, [length], [height, width] or [channels, height, width]."""
    depth, width = choices["depth"], choices["width"]
    dense = choices["layer"] == "dense"
    channels, *lengths = shape if len(shape) == 3 else (1, *shape)
    dims, size = len(lengths), 0 if dense else int(choices["layer"].split()[1])
    channels_last = ChannelsLast(dims) if len(shape) == 3 else nn.Unflatten(-1, (shape[-1], 1))
    layers: list[nn.Module] = [nn.Flatten() if dense else channels_last]
    for _ in range(depth):
        if dense:
            layers.append(nn.Linear(math.prod(shape) if len(layers) == 1 else 4 * width, 4 * width))
        else:
            pad = nn.ZeroPad2d if dims == 1 else nn.ZeroPad3d  # of the last dimensions, of which the last is channels
            layers.append(pad((0, 0, *[size // 2] * (2 * dims))))
            layers.append(Windows(channels, width, size, 2, dims))
        channels = 4 * width if dense else width
        if choices["norm"] == "layer":
            layers.append(nn.LayerNorm(channels))
        layers.append(nn.ReLU() if choices["activation"] == "relu" else nn.Tanh())
    body = nn.Sequential(*layers, nn.Flatten())
    return nn.Sequential(body, nn.Linear(body(torch.zeros(1, *shape)).shape[1], CLASSES))


def examples(dataset: str, recipe: Recipe, seed: int, context: Context) -> list[Part]:
    """Training, validation and test examples of a training seed; inputs of mean 0 and deviation 1 over all."""
    sizes = (recipe.train, recipe.validation)
    if dataset == "mnist1d":
        x, y = mnist1d(sum(sizes) + recipe.test, context.rng("examples", dataset, seed))
        cuts = np.cumsum(sizes)
        arrays = list(zip(np.split(x, cuts), np.split(y, cuts), strict=True))
    else:
        arrays = divided(dataset, sizes, Context(context.integer("examples", dataset, seed), loader=context.data))
        arrays = [(x[:, 0], y) for x, y in arrays]
    mean, sd = arrays[0][0].mean(), arrays[0][0].std()
    return [(torch.from_numpy((x - mean) / sd), torch.from_numpy(y)) for x, y in arrays]


def trained(
    dataset: str, recipe: Recipe, children: Sequence[int], seeds: Sequence[int], context: Context
) -> Iterator[tuple[int, int, Child]]:
    """Children that differ in their rates only, each with every training seed, all at once.

    Yields:
        the child's number, the training seed, and what became of it.
    """
    runs = [(child, seed) for child in children for seed in seeds]
    drawn = [examples(dataset, recipe, seed, context) for seed in seeds]
    train, validation, test = (
        tuple(torch.stack([part[k][i] for part in drawn]).to(context.device) for i in (0, 1)) for k in range(3)
    )
    shape, nets = train[0].shape[2:], []
    for child, seed in runs:
        with context.seeded("child", dataset, seed):
            nets.append(build(SPACE.choices(child), shape))
    counts = parameters(nets[0]), flops(nets[0], shape)
    stack, own = Stack(nets).to(context.device), torch.arange(len(runs), device=context.device) % len(seeds)
    rates = torch.tensor([SPACE.choices(child)["rate"] for child, _ in runs], device=context.device)
    orders = [context.generator("order", dataset, seed) for _, seed in runs]
    begun, seen = time.process_time(), []
    for step in fit(stack, rates, train, own, orders, steps=recipe.steps, batch_size=recipe.batch_size):
        if step in [recipe.steps // part for part in EARLY]:
            seen.append(accuracies(stack, validation, own))
    seconds = (time.process_time() - begun) / len(runs)
    seen += [accuracies(stack, part, own) for part in (validation, test)]
    for k, (child, seed) in enumerate(runs):
        yield child, seed, Child(*(float(of[k]) for of in seen), *counts, seconds)


def falling(share: float) -> float:
    """From 1 to 0, in a line."""
    return 1 - share


def fit(
    stack: Stack,
    rates: Tensor,
    train: Part,
    own: Tensor,
    orders: Sequence[torch.Generator],
    *,
    steps: int,
    batch_size: int,
    schedule: Callable[[float], float | Tensor] = falling,
) -> Iterator[int]:
    """Adam on every network of a stack.

    Args:
        stack: the networks.
        rates: [networks], of learning.
        train: examples [sets, n, ...] and labels [sets, n].
        own: [networks], which set each learns from.
        orders: in which order each sees its examples.
        steps: of Adam.
        batch_size: examples a step.
        schedule: the share of the steps done → what rates are multiplied with; [networks] if with several.

    Yields:
        the number of steps done, before each.
    """
    adam = torch.optim.Adam(stack.parameters(), lr=float(rates.max()), fused=True)
    sizes = [train[1].shape[1]] * len(stack)
    for step, rows in enumerate(batches(sizes, batch_size, steps=steps, generators=orders)):
        yield step
        chosen = own[:, None], rows.to(own.device)
        x, y = train[0][chosen], train[1][chosen]
        adam.zero_grad()
        stack.losses(F.cross_entropy, stack.each(x), y).sum().backward()
        step_at(adam, rates * schedule(step / steps))


@torch.no_grad()
def accuracies(stack: Stack, part: Part, own: Tensor) -> Tensor:
    """[networks], each on the examples of its seed; float64."""
    right = torch.zeros(len(stack), dtype=torch.float64, device=own.device)
    for x, y in zip(part[0].split(250, 1), part[1].split(250, 1), strict=True):
        right += (stack.each(x[own]).argmax(2) == y[own]).sum(1)
    return right / part[1].shape[1]


def kin(space: Space = SPACE) -> list[list[int]]:
    """All children, those together that differ in their rates only."""
    rates = list(space.slots).index("rate")
    groups: dict[tuple[int, ...], list[int]] = {}
    for child, code in enumerate(space.codes):
        groups.setdefault(tuple(np.delete(code, rates).tolist()), []).append(child)
    return list(groups.values())
