"""Networks and training that the studies of this chapter share.

Nothing here is tuned, and every study gives all its arms the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlbench import Context, attacks
from dlbench_plugins.images import CLASSES

# ---------------------------------------------------------------------------------------------------------- networks


def network(model: str, shape: torch.Size) -> nn.Module:
    """An untrained network from images of a shape [channels, height, width] to logits: "mlp", "cnn" or "resnet"."""
    channels, height, width = shape
    if model == "mlp":
        sizes = [channels * height * width, 128, 128]
        hidden = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
        return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(128, CLASSES))
    if model == "cnn":
        return nn.Sequential(
            nn.Conv2d(channels, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16 * math.ceil(height / 2) * math.ceil(width / 2), CLASSES),
        )
    return nn.Sequential(  # a small ResNet (He et al., 2016)
        nn.Conv2d(channels, 64, 3, padding=1, bias=False),
        *(Residual(a, b) for a, b in ((64, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256))),
        nn.BatchNorm2d(256),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(256, CLASSES),
    )


class Residual(nn.Module):
    """x + f(x), normalised and rectified before each convolution; more channels come with half the resolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        stride = 1 if inputs == outputs else 2
        self.branch = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        )
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.branch(x)


# ------------------------------------------------------------------------------------------- the same, to be attacked

FEW = 64  # pixels, up to which the matrix of a convolution is small


@torch.no_grad()
def as_matrices(net: nn.Module, shape: torch.Size) -> nn.Module:
    """A network of this chapter as it is now, whose convolutions are products with a matrix: the same to a rounding.

    For attacks, which ask thousands of times: on eight by eight pixels an answer with its gradient takes a third of the
    time, although most numbers in the matrices are zeros. A network that is no stack of convolutions, or whose images
    have more pixels, is returned as it is.

    Args:
        net: the network; what is made of it has a copy of its weights, but for linear layers, which are shared.
        shape: [channels, height, width] of its images.
    """
    layers = list(net) if isinstance(net, nn.Sequential) else [net]
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    simple = all(isinstance(layer, nn.Conv2d | nn.Linear | nn.ReLU | nn.Flatten) for layer in layers)
    if not convolutions or not simple or shape[1:].numel() > FEW:
        return net
    made: list[nn.Module] = [nn.Flatten()]
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            linear, shape = as_matrix(layer, shape)
            made.append(linear)
        elif not isinstance(layer, nn.Flatten):
            made.append(layer)
    return nn.Sequential(*made).train(net.training)


def as_matrix(convolution: nn.Conv2d, shape: torch.Size) -> tuple[nn.Linear, torch.Size]:
    """A convolution of images of a shape as a linear layer between flattened ones, and the shape of what comes out."""
    weight, bias, pixels = convolution.weight, convolution.bias, shape[1:].numel()
    seen = sights(shape[1:], convolution.kernel_size, convolution.stride, convolution.padding).to(weight)
    out = torch.Size((len(weight), *seen.shape[1:3]))
    matrix = (weight.flatten(2) @ seen.flatten(1)).unflatten(2, (-1, pixels)).transpose(1, 2)  # [*channels, out, in]
    linear = nn.Linear(shape.numel(), out.numel(), bias is not None, device="meta")
    linear.weight = nn.Parameter(matrix.reshape(linear.weight.shape))
    if bias is not None:
        linear.bias = nn.Parameter(bias.repeat_interleave(out[1:].numel()))
    return linear, out


@lru_cache(maxsize=16)
def sights(shape: tuple[int, ...], size: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...]) -> Tensor:
    """Which pixel each tap of a kernel sees, for each pixel that comes out: [taps, *out, pixels], of 0 and 1."""
    pixels, taps = (torch.eye(math.prod(of)).view(-1, 1, *of) for of in (shape, size))
    return F.conv2d(pixels, taps, stride=stride, padding=padding).permute(1, 2, 3, 0)


# ---------------------------------------------------------------------------------------------------------- training


@dataclass(frozen=True)
class Recipe:
    """SGD with Nesterov momentum under a one-cycle schedule; the same for every arm of a study."""

    epochs: int = 10
    batch_size: int = 128
    lr: float = 0.1
    weight_decay: float = 5e-4
    augment: bool = False

    def updates(self, n: int) -> int:
        """How many updates n images are trained on for."""
        return self.epochs * math.ceil(n / self.batch_size)


Perturb = Callable[[Tensor, Tensor, int, Tensor], Tensor]  # (images, labels, update, their ids) → images to train on


def fit(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    recipe: Recipe,
    context: Context,
    *,
    perturb: Perturb | None = None,
    after_epoch: Callable[[], None] | None = None,
) -> None:
    """Train on the images, or with the same budget of updates on what ``perturb`` makes of each batch.

    The order of images depends on the context's seed alone, so that arms see the same images in the same order.
    ``after_epoch`` is called when an epoch is over, and may look at the network.
    """
    order = context.generator("order")
    optimizer = torch.optim.SGD(
        net.parameters(), lr=recipe.lr, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.lr, total_steps=recipe.updates(len(x)), cycle_momentum=False
    )
    for _ in range(recipe.epochs):
        for chosen in torch.randperm(len(x), generator=order).split(recipe.batch_size):
            batch, labels = x[chosen], y[chosen]
            if recipe.augment:
                batch = shifted_and_mirrored(batch, order)
            if perturb is not None:
                batch = perturb(batch, labels, schedule.last_epoch, chosen)
            optimizer.zero_grad()
            F.cross_entropy(net(batch), labels).backward()
            optimizer.step()
            schedule.step()
        if after_epoch is not None:
            after_epoch()
    net.eval()


def pgd_images(net: nn.Module, context: Context, eps: float, steps: int, norm: str = "linf") -> Perturb:
    """To train on: PGD's images, to the greatest loss, against the network as it is."""
    seed = context.integer("training attack")

    def perturb(batch: Tensor, labels: Tensor, update: int, ids: Tensor) -> Tensor:
        attack = {"eps": eps, "steps": steps, "norm": norm, "stop": "never", "seed": seed + update}
        return attacks.pgd(net, batch, labels, **attack, sample_ids=ids).x_adv

    return perturb


def shifted_and_mirrored(x: Tensor, generator: torch.Generator) -> Tensor:
    """Images [n, c, h, w] shifted by up to four pixels each way, half of them mirrored."""
    n, channels, height, width = x.shape
    mirrored = (torch.rand(n, generator=generator) < 0.5).to(x.device)
    x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
    rows, columns = (
        (torch.randint(0, 9, (n, 1), generator=generator) + torch.arange(length)).to(x.device)
        for length in (height, width)
    )
    each, channel = torch.arange(n, device=x.device), torch.arange(channels, device=x.device)
    return F.pad(x, (4, 4, 4, 4))[
        each[:, None, None, None], channel[None, :, None, None], rows[:, None, :, None], columns[:, None, None, :]
    ]


def mean(flags: Tensor) -> float:
    """Share of the flags that are set."""
    return float(flags.double().mean())
