"""Networks to attack: trained here, in a minute or two, on scikit-learn's digits enlarged to colour images of 32 x 32.

``python tests/benchmarks/victims.py FOLDER`` trains them all and keeps their weights; the benchmarks load them from
there, or train what is not there.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from dlbench import attacks

EPS = 8 / 255


def conv_bn(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A convolution, batch normalisation and a rectifier."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class Block(nn.Module):
    """A residual block of two convolutions (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = conv_bn(inputs, outputs, stride)
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.second(self.first(x)))


def architecture(name: str) -> nn.Module:
    """ "cnn", six convolutions, or "resnet", nine of them with shortcuts; both with batch normalisation."""
    if name == "cnn":
        layers = [
            conv_bn(3, 32),
            conv_bn(32, 32),
            conv_bn(32, 64, 2),
            conv_bn(64, 64),
            conv_bn(64, 128, 2),
            conv_bn(128, 128),
        ]
    else:
        layers = [conv_bn(3, 32), Block(32, 32, 1), Block(32, 64, 2), Block(64, 128, 2), Block(128, 128, 1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


def images() -> tuple[Tensor, Tensor]:
    """1,797 digits [3, 32, 32] in [0, 1], each in a faint colour of its own on a ground of its own, and their labels.

    The contrast, 0.15 to 0.3, is such that a plainly trained network has next to no robust accuracy at 8/255 and an
    adversarially trained one some, as with photographs.
    """
    digits = load_digits()
    random = torch.Generator().manual_seed(0)
    ink = torch.from_numpy(digits.images).float()[:, None] / 16
    ink = F.interpolate(ink, size=(32, 32), mode="bilinear", align_corners=False)
    colour = 0.15 + 0.15 * torch.rand(len(ink), 3, 1, 1, generator=random)
    ground = 0.2 + 0.4 * torch.rand(len(ink), 3, 1, 1, generator=random)
    noise = 0.03 * torch.randn(len(ink), 3, 32, 32, generator=random)
    return (ground + colour * ink + noise).clamp(0, 1), torch.from_numpy(digits.target).long()


def split() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Images to train on, and 256 others to attack."""
    x, y = images()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    test, train = order[:256], order[256:]
    return (x[train], y[train]), (x[test], y[test])


def trained(net: nn.Module, adversarially: bool, epochs: int = 6) -> nn.Module:
    """A network after a few epochs of SGD, on images or on PGD's of them, whose radius grows for half the time."""
    torch.manual_seed(0)
    net.train()  # one that is trained further comes from evaluation
    (x, y), _ = split()
    lr = 0.05 if adversarially else 0.1
    batches = (len(x) + 63) // 64
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * batches)
    for epoch in range(epochs):
        for chosen in torch.randperm(len(x)).split(64):
            batch = x[chosen]
            if adversarially:
                eps = EPS * min(1.0, 2 * (epoch + 1) / epochs)
                attack = {"steps": 5, "stop": "never", "seed": epoch, "sample_ids": chosen}
                batch = attacks.pgd(net, batch, y[chosen], eps=eps, **attack).x_adv
            optimizer.zero_grad()
            F.cross_entropy(net(batch), y[chosen]).backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def victim(name: str, adversarially: bool, folder: Path | None = None) -> nn.Module:
    """A trained network, from ``folder`` if it is there; the adversarially trained one begins where the other ends."""
    path = None if folder is None else folder / f"{name}{'-adversarial' * adversarially}.pt"
    if path is not None and path.exists():
        net = architecture(name)
        net.load_state_dict(torch.load(path, weights_only=True))
        return net.eval()
    torch.manual_seed(0)
    net = trained(victim(name, False, folder) if adversarially else architecture(name), adversarially)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(net.state_dict(), path)
    return net


if __name__ == "__main__":
    _, (x, y) = split()
    for name in ("cnn", "resnet"):
        for adversarially in (False, True):
            net = victim(name, adversarially, Path(sys.argv[1]))
            clean = float((net(x).argmax(1) == y).float().mean())
            robust = attacks.pgd(net, x, y, eps=EPS, steps=20).robust_accuracy
            print(f"{name}, adversarially trained: {adversarially}; {clean:.3f} clean, {robust:.3f} under PGD-20")
