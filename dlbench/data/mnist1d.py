"""MNIST-1D: ten curves like digits, hidden in noise, drawn anew for every seed (Greydanus & Kobak, ICML 2024).

Written from the published recipe (arXiv:2011.14439; github.com/greydanus/mnist1d, Apache-2.0, whose templates and
constants are repeated here). The random numbers are drawn in another order, so that a seed gives other curves than
theirs, of the same distribution. Theirs are 5000, of which the last 1000 test.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

LENGTH = 40  # of a curve
_DILATED = 72  # points of a curve before it is sampled
_TEMPLATES = (
    (5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5),
    (5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5),
    (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5),
    (5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5),
    (5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5),
    (5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5),
    (5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5),
    (5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5),
)


def templates() -> NDArray[np.float64]:
    """[10, 12]: a curve for each digit, of deviation 1/6, which begins at 0."""
    curves = np.array(_TEMPLATES)
    curves = (curves - curves.mean(1, keepdims=True)) / curves.std(1, keepdims=True)
    return np.asarray((curves - curves[:, :1]) / 6)


def mnist1d(
    n: int, rng: np.random.Generator, *, moved: tuple[int, int] = (0, 48)
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Curves [n, 40] float32, over all of mean 0 and deviation 1, and their digits [n] int64, as often each.

    A curve is stretched (it takes 12 of 48 to 72 points), scaled by 0.8 to 1.2, moved by up to 47 points around a
    circle, surrounded by smooth noise, covered with white noise, sheared, and sampled at 40 points.

    Args:
        n: how many.
        rng: what is drawn from.
        moved: by how many of 72 points around the circle, from the first to below the second; as published by default.

    Raises:
        ValueError: n is below 1, or nothing lies in ``moved``.
    """
    if n < 1:
        raise ValueError(f"mnist1d: n is {n}; expected at least 1")
    if not moved[0] < moved[1]:
        raise ValueError(f"mnist1d: moved is {moved}; expected the first, and a larger one that is never reached")
    digits = rng.permutation(np.arange(n) % 10)
    padded = np.pad(templates(), ((0, 0), (0, 61)))
    row = np.arange(n)[:, None]

    padding = rng.integers(36, 61, size=(n, 1))
    place = np.arange(_DILATED) * (11 + padding) / (_DILATED - 1)
    left = place.astype(int)
    part = place - left
    curve = (1 - part) * padded[digits[:, None], left] + part * padded[digits[:, None], left + 1]
    curve *= 1 + 0.4 * (rng.random((n, 1)) - 0.5)

    around = (np.arange(_DILATED) - rng.integers(*moved, size=(n, 1))) % _DILATED
    curve, covered = curve[row, around], (left < 12)[row, around]
    smooth = gaussian_filter1d(0.25 * rng.standard_normal(curve.shape), 2, axis=1)
    curve = np.where(covered, curve, smooth) + 0.02 * rng.standard_normal(curve.shape)
    curve -= 0.75 * (rng.random((n, 1)) - 0.5) * np.linspace(-0.5, 0.5, _DILATED)

    at = np.linspace(0, _DILATED - 1, LENGTH)
    left = np.minimum(at.astype(int), _DILATED - 2)
    x = (1 - (at - left)) * curve[:, left] + (at - left) * curve[:, left + 1]
    return ((x - x.mean()) / x.std()).astype(np.float32), digits.astype(np.int64)
