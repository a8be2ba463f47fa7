"""Networks and training that the studies of this chapter share.

Nothing here is tuned, and every study gives all its arms the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
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
