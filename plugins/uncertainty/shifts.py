"""Seven ways for images to change after training, each at five severities.

Images are [n, channels, height, width] in [0, 1], and stay so. Lengths go with the width of the image, so that digits
of 8 pixels and photographs of 32 are harmed alike.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

SEVERITIES = 5

Shift = Callable[[Tensor, float, torch.Generator], Tensor]  # images, strength in (0, 1], random numbers


def shifted(x: Tensor, kind: str, severity: int, generator: torch.Generator) -> Tensor:
    """Images as a kind of shift leaves them; severity 0 leaves them as they are."""
    if severity == 0:
        return x
    return SHIFTS[kind](x, severity / SEVERITIES, generator).clamp(0, 1)


def gaussian_noise(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Of up to half the range in standard deviation."""
    return x + 0.5 * strength * torch.randn(x.shape, generator=generator).to(x)


def impulse_noise(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Pixels, up to three in ten, that are black or white whatever was there."""
    place, value = torch.rand(2, *x.shape, generator=generator).to(x)
    return torch.where(place < 0.3 * strength, value.round(), x)


def blur(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """A Gaussian of up to an eighth of the width in standard deviation."""
    sd = strength * x.shape[-1] / 8
    reach = max(1, round(3 * sd))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1).to(x) / sd) ** 2)
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, 1, -1)
    for k in (kernel, kernel.transpose(2, 3)):
        x = F.conv2d(x, k, padding=tuple(length // 2 for length in k.shape[2:]), groups=x.shape[1])
    return x


def low_contrast(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Down to 0.15 of it, about the image's own mean."""
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (1 - 0.85 * strength) * (x - mean)


def brightness(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """More of it, by up to half the range."""
    return x + 0.5 * strength


def translation(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """A move in some direction by up to a quarter of the width; what is left behind is black."""
    angle = 2 * torch.pi * torch.rand(len(x), generator=generator)
    move = 0.5 * strength * torch.stack([angle.cos(), angle.sin()], 1)  # half the width is 1
    grid = F.affine_grid(
        torch.cat([torch.eye(2).expand(len(x), 2, 2), move[:, :, None]], 2), list(x.shape), align_corners=False
    )
    return F.grid_sample(x, grid.to(x), align_corners=False)


def occlusion(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """A black square somewhere, of up to five eighths of the width."""
    size = x.shape[-1]
    side = 0.625 * strength * size
    corner = torch.rand(2, len(x), 1, generator=generator).to(x) * (size - side)
    inside = (torch.arange(size).to(x) + 0.5 - corner - side / 2).abs() < side / 2  # [2, n, size]
    return x.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0)


SHIFTS: dict[str, Shift] = {
    function.__name__: function
    for function in (gaussian_noise, impulse_noise, blur, low_contrast, brightness, translation, occlusion)
}
