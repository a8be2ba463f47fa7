"""Images and networks as in Zhang et al., "Understanding deep learning requires rethinking generalization", 2017."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from dlbench_plugins.images import CLASSES

CHANCE = 1 / CLASSES


def whiten(images: np.ndarray) -> Tensor:
    """Each image less its mean, over its standard deviation, as in the paper; CIFAR-10's with their 28×28 centres."""
    x = torch.from_numpy(images).reshape(len(images), -1, *images.shape[-2:])
    if x.shape[-1] == 32:
        x = x[..., 2:-2, 2:-2]
    flat = x.flatten(1)
    sd, mean = torch.std_mean(flat, 1, correction=0, keepdim=True)
    return ((flat - mean) / sd.clamp_min(flat.shape[1] ** -0.5)).reshape(x.shape)  # an empty image has no deviation


def build(network: str, shape: Iterable[int], regularizer: str) -> nn.Module:
    """A network of the paper for inputs of a shape [channels, h, w].

    Dropout, of one half, comes before the last layer. Input noise has 0.3 of the standard deviation of the inputs.
    """
    channels, height, width = shape
    dropout = 0.5 if regularizer == "dropout" else 0.0
    if network == "inception":
        layers = inception(channels, dropout)
    else:
        depth, hidden = (int(number) for number in network.removeprefix("mlp_").split("x"))
        layers = mlp(channels * height * width, depth, hidden, dropout)
    return nn.Sequential(InputNoise(0.3), *layers) if regularizer == "input_noise" else nn.Sequential(*layers)


class InputNoise(nn.Module):
    """Adds Gaussian noise while training."""

    def __init__(self, sd: float) -> None:
        super().__init__()
        self.sd = sd

    def forward(self, x: Tensor) -> Tensor:
        return x + self.sd * torch.randn_like(x) if self.training else x


def mlp(features: int, depth: int, hidden: int, dropout: float) -> Iterator[nn.Module]:
    """Flattened inputs, `depth` hidden layers of `hidden` ReLUs, class scores."""
    yield nn.Flatten()
    for _ in range(depth):
        yield from (nn.Linear(features, hidden), nn.ReLU())
        features = hidden
    yield from (nn.Dropout(dropout), nn.Linear(features, CLASSES))


def inception(channels: int, dropout: float) -> Iterator[nn.Module]:
    """The paper's small Inception (figure 3): a pair is a module of 1×1 and 3×3 filters, a number a downsampling."""
    yield convolution(channels, 96, 3)
    channels = 96
    for block in ((32, 32), (32, 48), 80, (112, 48), (96, 64), (80, 80), (48, 96), 96, (176, 160), (176, 160)):
        if isinstance(block, int):
            yield Beside([convolution(channels, block, 3, stride=2), nn.MaxPool2d(3, 2, padding=1)])
            channels += block
        else:
            yield Beside([convolution(channels, block[0], 1), convolution(channels, block[1], 3)])
            channels = sum(block)
    yield from (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels, CLASSES))


def convolution(channels: int, filters: int, size: int, stride: int = 1) -> nn.Module:
    """Convolution, batch normalization, ReLU."""
    convolved = nn.Conv2d(channels, filters, size, stride, padding=size // 2, bias=False)
    return nn.Sequential(convolved, nn.BatchNorm2d(filters), nn.ReLU())


class Beside(nn.ModuleList):
    """Modules of the same input, their outputs concatenated along the channels."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([module(x) for module in self], 1)
