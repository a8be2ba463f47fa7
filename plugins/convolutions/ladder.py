"""Networks for signals, and for images, that differ in one thing at a time.

All have three hidden layers, leaky ReLUs (with one filter, a plain one that is never active ends all learning) and a
linear head. The convolution and the locally connected network have the same windows, 5, 3 and 3 wide (of images also
high) and every second place, without padding and without pooling.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlbench.windows import ChannelsLast, LocalWindows, Windows
from dlbench_plugins.networks import conv_base, perceptron
from dlbench_plugins.recurrent import GRU

FULL, LOCAL, CONV = "fully connected", "locally connected", "convolution"
LADDER = (FULL, LOCAL, CONV)
MIXER, POOLED = "mixer", "pooled convolution"
PUBLISHED = ("logistic", "mlp", "cnn", "gru")  # of MNIST-1D's repository, as wide as they are there
SIZES = (5, 3, 3)  # of windows
STRIDE = 2
PATCH = {1: 5, 2: 4}  # places along a dimension, by the number of dimensions; they divide 40, 28 and 32


def build(kind: str, shape: Sequence[int], width: int, outputs: int) -> nn.Module:
    """An untrained network for signals [n, length] or images [n, channels, height, columns].

    Args:
        kind: one of LADDER, MIXER or POOLED.
        shape: of one of them, [length] or [channels, height, columns].
        width: filters of each layer; hidden units; features of the mixer's patches.
        outputs: how many scores.
    """
    channels, *lengths = shape if len(shape) == 3 else (1, *shape)
    dims = len(lengths)
    layers: list[nn.Module]
    if kind == MIXER:
        patch = PATCH[dims]
        patches = math.prod(length // patch for length in lengths)
        embedding = [Windows(channels, width, patch, patch, dims), nn.Flatten(1, -2)]
        layers = [ChannelsLast(dims), *embedding, Mixer(patches, width), Mean()]
        return initialised(nn.Sequential(nn.Sequential(*layers), nn.Linear(width, outputs)))
    if kind == FULL:
        layers = [nn.Flatten()]
        for features in (math.prod(shape), width, width):
            layers += [nn.Linear(features, width), nn.LeakyReLU(0.1)]
        return initialised(nn.Sequential(nn.Sequential(*layers), nn.Linear(width, outputs)))
    layers = [ChannelsLast(dims)]
    for size in SIZES:
        if kind == LOCAL:
            layers.append(LocalWindows(tuple(lengths), channels, width, size, STRIDE))
        else:
            layers.append(Windows(channels, width, size, STRIDE, dims))
        layers.append(nn.LeakyReLU(0.1))
        channels, lengths = width, [(length - size) // STRIDE + 1 for length in lengths]
    places = 1 if kind == POOLED else math.prod(lengths)
    layers.append(Mean() if kind == POOLED else nn.Flatten())
    return initialised(nn.Sequential(nn.Sequential(*layers), nn.Linear(places * width, outputs)))


def published(kind: str, length: int, outputs: int) -> nn.Module:
    """One of PUBLISHED, as MNIST-1D's repository has it."""
    if kind == "gru":
        return nn.Sequential(nn.Unflatten(1, (length, 1)), GRU(1, 6), nn.Flatten(), nn.Linear(12 * length, outputs))
    if kind == "cnn":
        return conv_base((length,), outputs)
    return perceptron([length, *([100, 100] if kind == "mlp" else []), outputs])


@torch.no_grad()
def initialised(net: nn.Module) -> nn.Module:
    """Normal weights of variance 1 / inputs, so that few steps are enough for all kinds alike; biases of 0."""
    for layer in net.modules():
        if isinstance(layer, nn.Linear):
            layer.weight.normal_(0, 1 / math.sqrt(layer.in_features))
            layer.bias.zero_()
        elif isinstance(layer, LocalWindows):
            layer.weight.normal_(0, 1 / math.sqrt(layer.weight.shape[1]))
            layer.bias.zero_()
    return net


@torch.no_grad()
def widened(net: nn.Module, wide: nn.Module) -> nn.Module:
    """A convolution as one with as many filters as ``wide`` has, which it overwrites: those that it lacks are 0.

    They remain so in training, since nothing goes into them or comes out, so that the wide network is the narrow one at
    all times, and convolutions of few and of more filters can be one stack.
    """
    few = many = 1  # channels that come in
    pairs = zip(net.modules(), wide.modules(), strict=True)
    for narrow, layer in ((a, b) for a, b in pairs if isinstance(a, nn.Linear) and isinstance(b, nn.Linear)):
        layer.weight.zero_()
        layer.bias.zero_()
        seen = layer.weight.view(layer.out_features, -1, many)[: narrow.out_features, :, :few]
        seen.copy_(narrow.weight.view(narrow.out_features, -1, few))
        layer.bias[: narrow.out_features] = narrow.bias
        few, many = narrow.out_features, layer.out_features
    return wide


class Mean(nn.Module):
    """The mean over places of [n, places, ..., features]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1, -2).mean(1)


class Mixer(nn.Module):
    """Features of patches [n, patches, features], mixed between patches, then within each (Tolstikhin et al. 2021)."""

    def __init__(self, patches: int, width: int) -> None:
        super().__init__()
        self.between = perceptron([patches, 2 * patches, patches])
        self.within = perceptron([width, 2 * width, width])

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.between(x.transpose(1, 2)).transpose(1, 2)
        out: Tensor = x + self.within(x)
        return out
