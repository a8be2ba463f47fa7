"""Ten classes of one-dimensional signals, to be told apart by their shape, in the manner of MNIST-1D.

Greydanus & Kobak 2024, arXiv:2011.14439, drew a template for each digit; here the templates are ten smooth random
curves, the same for all seeds. A signal is its template, stretched, scaled, sheared, put somewhere on a longer line and
buried in noise of two kinds, so that small networks fit the training signals and are often wrong on others.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

CLASSES, LENGTH = 10, 40
_WAVES = 6


def signals(n: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Signals [n, LENGTH] of variance about one, and their classes [n]."""
    y = rng.integers(CLASSES, size=n)
    width = rng.uniform(14, 26, (n, 1))
    start = rng.uniform(0, LENGTH - width)
    place = (np.arange(LENGTH) - start) / width  # 0 to 1 where the template lies
    shape = _templates(y, place) * rng.uniform(0.6, 1.4, (n, 1)) + rng.uniform(-0.75, 0.75, (n, 1)) * (place - 0.5)
    shape = np.where((place >= 0) & (place <= 1), shape, 0)
    x = shape + 0.25 * _smooth(rng.standard_normal((n, LENGTH))) + 0.15 * rng.standard_normal((n, LENGTH))
    return torch.from_numpy((1.15 * x).astype(np.float32)), torch.from_numpy(y)


def _templates(y: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The curve of each class at places [n, LENGTH]: a sum of sines that is 0 at both ends."""
    amplitudes = np.random.default_rng(1).standard_normal((CLASSES, _WAVES)) / np.sqrt(np.arange(1, _WAVES + 1))
    waves = np.sin(np.pi * place[:, :, None] * np.arange(1, _WAVES + 1))
    return np.einsum("nlk,nk->nl", waves, amplitudes[y])


def _smooth(noise: np.ndarray) -> np.ndarray:
    """Noise [n, LENGTH] whose neighbours go together, of variance one."""
    kernel = np.exp(-0.5 * (np.arange(-4, 5) / 2) ** 2)
    return np.apply_along_axis(np.convolve, 1, noise, kernel / np.sqrt((kernel**2).sum()), "same")
