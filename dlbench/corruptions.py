"""Sixteen ways for images to be spoilt, each at five severities, and how a model's errors under them are summed up.

::

    for kind in CORRUPTIONS:
        for severity in SEVERITIES:
            spoilt = corrupt(images, kind, severity, generator=torch.Generator().manual_seed(0))

The kinds are those of ImageNet-C (Hendrycks & Dietterich, ICLR 2019, arXiv:1903.12261) that need no photographs (so no
frost) and mean something on small images (no glass blur), and three of MNIST-C (Mu & Gilmer 2019, arXiv:1906.02337).
All are written anew, for batches of any size and number of channels. The strengths of noise, brightness, contrast and
JPEG are those of ImageNet-C's code, that of fog is CIFAR-10-C's. Other kinds have strengths of their own, as lengths
are shares of the shorter side here, so that digits of 8 pixels and photographs of 32 are harmed alike; blurs are wider
than CIFAR-10-C's. Nor is what a strength does the same: brightness is added to all channels and not to the value of
HSV, snow and fog are drawn otherwise. So numbers found here are not numbers on those files.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from dlbench.errors import did_you_mean

SEVERITIES = (1, 2, 3, 4, 5)


def corrupt(x: Tensor, kind: str, severity: int, *, generator: torch.Generator) -> Tensor:
    """New images [n, channels, height, width] in [0, 1]: x spoilt by a kind of corruption.

    Args:
        x: images [n, channels, height, width], floating point in [0, 1], on any device.
        kind: one of :data:`CORRUPTIONS`.
        severity: 1 to 5.
        generator: on the CPU; the same numbers spoil equal batches alike on every device.

    Raises:
        ValueError: there is no such kind or severity, or x is no such batch.
    """
    if kind not in CORRUPTIONS:
        raise ValueError(f"there is no corruption {kind!r}{did_you_mean(kind, CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity is {severity!r}; expected 1 to 5 (leave out the call for images as they are)")
    if x.dim() != 4 or not x.is_floating_point() or 0 in x.shape:
        raise ValueError(
            f"x has shape {list(x.shape)} and type {x.dtype}; expected floats [n, channels, height, width]"
        )
    if not (x.min() >= 0 and x.max() <= 1):  # NaN too
        raise ValueError(f"x goes from {x.min():g} to {x.max():g}; expected images in [0, 1], before normalisation")
    corruption = CORRUPTIONS[kind]
    return corruption.function(x, corruption.strengths[severity - 1], generator).clamp(0, 1)


# ------------------------------------------------------------------------------------------------------------- noise


def gaussian_noise(x: Tensor, sd: float, generator: torch.Generator) -> Tensor:
    """Of this standard deviation, in every value."""
    return x + sd * torch.randn(x.shape, generator=generator).to(x)


def shot_noise(x: Tensor, photons: float, generator: torch.Generator) -> Tensor:
    """As of a sensor that white sends this many photons."""
    return torch.poisson((photons * x).float().cpu(), generator=generator).to(x) / photons


def impulse_noise(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """This share of the values is 0 or 1, whatever was there."""
    place, value = torch.rand(2, *x.shape, generator=generator).to(x)
    return torch.where(place < share, value.round(), x)


# -------------------------------------------------------------------------------------------------------------- blur


def defocus_blur(x: Tensor, radius: float, generator: torch.Generator) -> Tensor:
    """The mean over a disc, of 48 points as a sunflower has its seeds, between which images are linear."""
    turn = math.pi * (3 - math.sqrt(5))
    points = ((_side(x) * radius * math.sqrt((i + 0.5) / 48), turn * i) for i in range(48))
    row, column = _places(x)
    spots = [_sampled(x, row + r * math.sin(angle), column + r * math.cos(angle)) for r, angle in points]
    return torch.stack(spots).mean(0)


def motion_blur(x: Tensor, length: float, generator: torch.Generator) -> Tensor:
    """The mean along a line, up to 45 degrees from the horizontal, each image's own."""
    angle = (math.pi / 2 * (torch.rand(len(x), 1, 1, generator=generator) - 0.5)).to(x)
    reach = _side(x) * length / 2
    row, column = _places(x)
    steps = np.linspace(-reach, reach, 2 * math.ceil(2 * reach) + 1)
    return torch.stack([_sampled(x, row + s * angle.sin(), column + s * angle.cos()) for s in steps]).mean(0)


def zoom_blur(x: Tensor, most: float, generator: torch.Generator) -> Tensor:
    """The mean over eleven enlargements about the middle, up to this much more."""
    row, column = _places(x)
    middle = [(length - 1) / 2 for length in x.shape[2:]]
    enlarged = [
        _sampled(x, middle[0] + (row - middle[0]) / zoom, middle[1] + (column - middle[1]) / zoom)
        for zoom in np.linspace(1, 1 + most, 11)
    ]
    return torch.stack(enlarged).mean(0)


# ----------------------------------------------------------------------------------------------------------- weather


def snow(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """White flakes on this share of the pixels, smeared by their fall, before the image."""
    flakes = (torch.rand(len(x), 1, *x.shape[2:], generator=generator).to(x) < share).to(x)
    row, column = _places(x)
    fall = [_sampled(flakes, row + step, column + step / 2) for step in np.linspace(-0.04, 0.04, 5) * _side(x)]
    return x + (1 - x) * torch.stack(fall).mean(0)


def fog(x: Tensor, thickness: float, generator: torch.Generator) -> Tensor:
    """A cloud before the image: noise of all scales, each of half the weight of the next coarser one."""
    height, width = x.shape[2:]
    scales = [2**k for k in range(1, 2 + math.ceil(math.log2(max(height, width, 2))))]
    cloud = torch.zeros_like(x[:, :1])
    for n in scales:
        coarse = torch.rand(len(x), 1, n, n, generator=generator).to(x)
        cloud += F.interpolate(coarse, (height, width), mode="bilinear", align_corners=True) / n
    cloud /= sum(1 / n for n in scales)
    return (x + thickness * cloud) / (1 + thickness)


def brightness(x: Tensor, more: float, generator: torch.Generator) -> Tensor:
    """This much is added."""
    return x + more


# ----------------------------------------------------------------------------------------------------------- digital


def contrast(x: Tensor, left: float, generator: torch.Generator) -> Tensor:
    """So much of it is left, about each channel's mean."""
    mean = x.mean((2, 3), keepdim=True)
    return mean + left * (x - mean)


def elastic(x: Tensor, reach: float, generator: torch.Generator) -> Tensor:
    """Every place moves by about this share of the side, neighbours alike: smooth noise, four knots a side."""
    knots = reach * _side(x) * torch.randn(len(x), 2, 4, 4, generator=generator).to(x)
    move = F.interpolate(knots, list(x.shape[2:]), mode="bicubic", align_corners=True)
    row, column = _places(x)
    return _sampled(x, row + move[:, 0], column + move[:, 1])


def pixelate(x: Tensor, size: float, generator: torch.Generator) -> Tensor:
    """Drawn with fewer, larger pixels, which pixels of the old size see by the areas that they share."""
    maps = []
    for length in x.shape[2:]:
        shared = _shared(length, max(1, round(size * length))).to(x)
        maps.append(shared.T @ shared / shared.sum(1).mean())
    return maps[0] @ x @ maps[1]


def jpeg(x: Tensor, quality: float, generator: torch.Generator) -> Tensor:
    """What JPEG does at this quality below 50 to grey: cosines in blocks of 8 × 8, rounded. Channels are not mixed."""
    n, channels, height, width = x.shape
    padded = F.pad(x, (0, -width % 8, 0, -height % 8), mode="replicate")
    shape = [n, channels, padded.shape[2] // 8, 8, padded.shape[3] // 8, 8]
    blocks = (255 * padded - 128).reshape(shape).transpose(3, 4)
    step = (torch.tensor(_LUMINANCE, dtype=torch.float64) * 50 / quality).round().clamp(1, 255).to(x)
    cosines = _cosines().to(x)
    rounded = (cosines @ blocks @ cosines.T / step).round() * step
    back = (cosines.T @ rounded @ cosines).transpose(3, 4).reshape(padded.shape)
    return (back[..., :height, :width] + 128) / 255


# ---------------------------------------------------------------------------------------------------------- geometry


def translate(x: Tensor, far: float, generator: torch.Generator) -> Tensor:
    """A move in some direction, by this share of the side; what is left behind is black."""
    angle = (2 * math.pi * torch.rand(len(x), 1, 1, generator=generator)).to(x)
    row, column = _places(x)
    return _sampled(x, row + far * _side(x) * angle.sin(), column + far * _side(x) * angle.cos(), outside="zeros")


def rotate(x: Tensor, degrees: float, generator: torch.Generator) -> Tensor:
    """A turn to the left or to the right; corners that nothing was turned to are black."""
    sign = 2 * torch.randint(0, 2, (len(x), 1, 1), generator=generator).to(x) - 1
    sine, cosine = sign * math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    middle = [(length - 1) / 2 for length in x.shape[2:]]
    row, column = (place - half for place, half in zip(_places(x), middle, strict=True))
    return _sampled(
        x, middle[0] + cosine * row + sine * column, middle[1] + cosine * column - sine * row, outside="zeros"
    )


def occlude(x: Tensor, side: float, generator: torch.Generator) -> Tensor:
    """A black square somewhere inside, its side this share of the image's."""
    length = max(1, round(side * _side(x)))
    covered = []
    for size in x.shape[2:]:
        corner = (torch.rand(len(x), 1, generator=generator) * (size - length + 1)).floor()
        at = torch.arange(size)
        covered.append((at >= corner) & (at < corner + length))
    return x.masked_fill((covered[0][:, None, :, None] & covered[1][:, None, None, :]).to(x.device), 0)


# --------------------------------------------------------------------------------------------------------- the table


class Corruption(NamedTuple):
    """A kind: what it does, to which family it belongs, and its strengths at severities 1 to 5."""

    function: Callable[[Tensor, float, torch.Generator], Tensor]
    family: str  # noise, blur, weather, digital, geometry
    strengths: tuple[float, float, float, float, float]


CORRUPTIONS: dict[str, Corruption] = {
    corruption.function.__name__: corruption
    for corruption in (
        Corruption(gaussian_noise, "noise", (0.08, 0.12, 0.18, 0.26, 0.38)),
        Corruption(shot_noise, "noise", (60, 25, 12, 5, 3)),
        Corruption(impulse_noise, "noise", (0.03, 0.06, 0.09, 0.17, 0.27)),
        Corruption(defocus_blur, "blur", (0.04, 0.06, 0.08, 0.11, 0.14)),
        Corruption(motion_blur, "blur", (0.1, 0.16, 0.22, 0.3, 0.4)),
        Corruption(zoom_blur, "blur", (0.11, 0.16, 0.21, 0.26, 0.33)),
        Corruption(snow, "weather", (0.05, 0.1, 0.15, 0.2, 0.3)),
        Corruption(fog, "weather", (0.2, 0.5, 0.75, 1.0, 1.5)),
        Corruption(brightness, "weather", (0.1, 0.2, 0.3, 0.4, 0.5)),
        Corruption(contrast, "digital", (0.4, 0.3, 0.2, 0.1, 0.05)),
        Corruption(elastic, "digital", (0.02, 0.03, 0.04, 0.055, 0.07)),
        Corruption(pixelate, "digital", (0.8, 0.6, 0.45, 0.35, 0.25)),
        Corruption(jpeg, "digital", (25, 18, 15, 10, 7)),
        Corruption(translate, "geometry", (0.05, 0.1, 0.15, 0.2, 0.25)),
        Corruption(rotate, "geometry", (10, 20, 30, 40, 50)),
        Corruption(occlude, "geometry", (0.125, 0.25, 0.375, 0.5, 0.625)),
    )
}


# ------------------------------------------------------------------------------------------- errors under corruption


def corruption_errors(errors: ArrayLike, baseline: ArrayLike) -> NDArray[np.float64]:
    """CE [kinds]: a model's errors summed over severities, over those of a baseline; below 1 is better than it.

    Args:
        errors: of a model, [kinds, severities], shares of the images that it gets wrong.
        baseline: of the model that all are held against (the paper's is AlexNet), as many.

    Returns:
        NaN for a kind that the baseline gets all right.

    Raises:
        ValueError: shapes differ, or something is not a share.
    """
    model, base = _errors("errors", errors), _errors("baseline", baseline)
    if model.shape != base.shape:
        raise ValueError(f"errors {list(model.shape)} and baseline {list(base.shape)} must be of the same kinds")
    return _ratio(model.sum(1), base.sum(1))


def mean_corruption_error(errors: ArrayLike, baseline: ArrayLike) -> float:
    """mCE: the mean over kinds of :func:`corruption_errors`, as a ratio (the paper gives per cent).

    Raises:
        ValueError: see :func:`corruption_errors`.
    """
    return float(corruption_errors(errors, baseline).mean())


def relative_mean_corruption_error(
    errors: ArrayLike, clean: float, baseline: ArrayLike, baseline_clean: float
) -> float:
    """Relative mCE: what corruption adds to a model's error over what it adds to the baseline's, the mean over kinds.

    It can be below 1 because the clean error is high. NaN where some kind adds nothing to the baseline's error.

    Args:
        errors: of a model, [kinds, severities].
        clean: its error on images as they are.
        baseline: errors of the baseline, as many.
        baseline_clean: its error on images as they are.

    Raises:
        ValueError: see :func:`corruption_errors`.
    """
    corruption_errors(errors, baseline)  # complains
    added, base = (_errors(*of).sum(1) for of in (("errors", errors), ("baseline", baseline)))
    severities = np.shape(errors)[1]
    return float(_ratio(added - severities * clean, base - severities * baseline_clean).mean())


# ----------------------------------------------------------------------------------------------------------- helpers

_LUMINANCE = (  # quantisation of grey at quality 50: ITU-T T.81, table K.1
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)


def _cosines() -> Tensor:
    """[8, 8], orthonormal: the discrete cosine transform of a column."""
    k, at = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    rows = torch.cos(math.pi / 8 * (at + 0.5) * k) / 2
    rows[0] /= math.sqrt(2)
    return rows


def _side(x: Tensor) -> int:
    return min(x.shape[2:])


def _places(x: Tensor) -> tuple[Tensor, Tensor]:
    """Row [1, height, 1] and column [1, 1, width] of every pixel."""
    height, width = x.shape[2:]
    return torch.arange(height).to(x)[None, :, None], torch.arange(width).to(x)[None, None, :]


def _sampled(x: Tensor, row: Tensor, column: Tensor, outside: str = "border") -> Tensor:
    """Images as they are, linearly between pixels, at rows and columns that broadcast to [n, height, width]."""
    n, _, height, width = x.shape
    parts = [
        ((2 * place + 1) / length - 1).expand(n, height, width) for place, length in ((column, width), (row, height))
    ]
    return F.grid_sample(x, torch.stack(parts, -1), padding_mode=outside, align_corners=False)


def _shared(fine: int, coarse: int) -> Tensor:
    """[coarse, fine]: how much of each of many equal cells lies in each of fewer, larger ones; columns sum to 1."""
    edge = torch.arange(coarse + 1, dtype=torch.float64)[:, None] * fine / coarse
    cell = torch.arange(fine, dtype=torch.float64)
    return (torch.minimum(edge[1:], cell + 1) - torch.maximum(edge[:-1], cell)).clamp(min=0)


def _errors(name: str, given: ArrayLike) -> NDArray[np.float64]:
    errors = np.asarray(given, dtype=np.float64)
    if errors.ndim != 2 or 0 in errors.shape:
        raise ValueError(f"{name} has shape {list(errors.shape)}; expected [kinds, severities]")
    if not ((errors >= 0) & (errors <= 1)).all():
        raise ValueError(f"{name} goes from {errors.min():g} to {errors.max():g}; expected shares in [0, 1]")
    return errors


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """NaN where the divisor is not positive, but for rounding."""
    ratio = np.full(len(above), math.nan)
    np.divide(above, below, out=ratio, where=below > 1e-12)
    return ratio
