"""How error falls with the number of training examples: power laws, and the data that an accuracy takes.

Hestness et al. 2017 (arXiv:1712.00409) find that the test error of deep networks falls as scale · n^-exponent + floor
over orders of magnitude of n, once n suffices to do better than guessing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEAST, MOST = -1.0, 3.0  # exponents that are looked at


class PowerLaw(NamedTuple):
    """error = scale · n^-exponent + floor; ``misfit`` is the root mean square of how far it is off, as a share."""

    scale: float
    exponent: float
    floor: float
    misfit: float

    def __call__(self, n: ArrayLike) -> NDArray[np.float64]:
        """The error at n examples, elementwise."""
        return np.asarray(self.scale * np.asarray(n, dtype=float) ** -self.exponent + self.floor)


def fit_power_law(sizes: Sequence[float], errors: Sequence[float], *, floor: bool = True) -> PowerLaw:
    """The power law whose relative deviations from the errors have the smallest sum of squares.

    Scale and floor are not negative, the exponent is from -1 to 3, to three digits. All exponents in that range are
    looked at, scale and floor being linear at each, so there is no start to choose and no other minimum to end in. Of a
    flat curve the exponent is 0. The floor takes from the exponent what it explains itself, so that the exponent of a
    short curve is better known without it.

    Args:
        sizes: [m], numbers of training examples.
        errors: [m], the error at each, above 0.
        floor: whether there is one; otherwise it is 0.

    Raises:
        ValueError: sizes and errors differ in number, are not positive, or are fewer than the law's parameters.
    """
    n, e = np.asarray(sizes, dtype=float), np.asarray(errors, dtype=float)
    parameters = 3 if floor else 2
    if n.shape != e.shape or n.ndim != 1:
        raise ValueError(f"sizes {list(n.shape)} and errors {list(e.shape)}; expected a list of each, equally long")
    if not ((n > 0) & (e > 0) & np.isfinite(n) & np.isfinite(e)).all():
        raise ValueError(f"sizes {n.tolist()} and errors {e.tolist()}; all must be above 0")
    if len(np.unique(n)) < parameters:
        raise ValueError(f"{len(np.unique(n))} sizes; a power law of {parameters} parameters needs as many at least")
    center = math.exp(np.log(n).mean())  # powers are taken of n over it, lest they become huge
    best = 0.0
    for step, reach in ((0.01, None), (0.001, 0.01)):
        around = np.arange(LEAST, MOST + step / 2, step) if reach is None else best + np.arange(-10, 11) * step
        grid = np.round(around[np.argsort(np.abs(around), kind="stable")].clip(LEAST, MOST), 3)
        scale, constant, loss = _linear_part(n / center, e, grid, floor)
        chosen = int(np.argmax(loss <= loss.min() + 1e-12))  # of equal ones that nearest to 0
        best = float(grid[chosen])
    return PowerLaw(
        float(scale[chosen] * center**best), best, float(constant[chosen]), math.sqrt(max(loss[chosen], 0) / len(n))
    )


def size_for(sizes: Sequence[float], accuracies: Sequence[float], target: float) -> float:
    """The number of training examples at which the curve first reaches an accuracy; infinite if it does not.

    Between sizes it is a straight line over log n; before the first nothing is known, so that is the least answer.

    Args:
        sizes: [m], from small to large, above 0.
        accuracies: [m], the accuracy at each.
        target: the accuracy asked for.

    Raises:
        ValueError: sizes do not rise, are not positive, or are not as many as the accuracies.
    """
    if len(sizes) != len(accuracies) or not sizes:
        raise ValueError(f"{len(sizes)} sizes and {len(accuracies)} accuracies; expected as many of each, one at least")
    if sizes[0] <= 0 or any(a >= b for a, b in pairwise(sizes)):
        raise ValueError(f"sizes are {list(sizes)}; expected them above 0 and rising")
    for k, reached in enumerate(accuracies):
        if reached >= target:
            if k == 0:
                return float(sizes[0])
            before = accuracies[k - 1]
            part = (target - before) / (reached - before)
            return float(math.exp((1 - part) * math.log(sizes[k - 1]) + part * math.log(sizes[k])))
    return math.inf


def _linear_part(
    n: NDArray[np.float64], errors: NDArray[np.float64], exponents: NDArray[np.float64], floor: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """For each exponent the scale and floor, not negative, of least squares, and these squares' sum."""
    u = n ** -exponents[:, None] / errors  # [exponents, m]; scale · u + floor · v should be 1
    v = 1 / errors
    uu, uv, vv, u1, v1 = (u * u).sum(1), (u * v).sum(1), (v * v).sum(), u.sum(1), v.sum()
    zero = np.zeros_like(uu)
    candidates = [(u1 / uu, zero)]
    if floor:
        determinant = uu * vv - uv * uv
        safe = np.where(determinant > 1e-9 * uu * vv, determinant, np.inf)  # parallel: one of them says it all
        both = (u1 * vv - v1 * uv) / safe, (v1 * uu - u1 * uv) / safe
        allowed = (both[0] >= 0) & (both[1] >= 0) & np.isfinite(safe)
        candidates += [(zero, zero + v1 / vv), (np.where(allowed, both[0], 0.0), np.where(allowed, both[1], 0.0))]
    pairs = np.array(candidates)  # [candidates, 2, exponents]
    losses = np.square(pairs[:, 0, :, None] * u + pairs[:, 1, :, None] * v - 1).sum(2)
    chosen = losses.argmin(0), np.arange(len(exponents))
    return pairs[:, 0][chosen], pairs[:, 1][chosen], losses[chosen]
