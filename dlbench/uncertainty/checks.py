"""What this room asks of its arguments: one clear line says what was given and what was expected."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SUM = 2e-3  # how far from 1 the probabilities of an example may add up: a softmax in half precision is off by so much


def numbers(name: str, given: Any) -> Array:
    """An array, a list or a tensor on any device as float64 numbers, none of which is infinite or not a number."""
    array = np.asarray(given.detach().cpu() if hasattr(given, "detach") else given, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: {int((~np.isfinite(array)).sum())} of {array.size} values are not finite")
    return array


def matrix(name: str, given: Any) -> Array:
    """[n, C] with at least one example and two classes."""
    array = numbers(name, given)
    if array.ndim != 2 or len(array) == 0 or array.shape[1] < 2:
        raise ValueError(f"{name} has shape {list(array.shape)}; expected [examples, classes], two classes or more")
    return array


def probabilities(given: Any, name: str = "probabilities", off: float = SUM) -> Array:
    """[n, C], each row of them not negative and with a sum of 1, but for so much."""
    return _sums_to_one(name, matrix(name, given), off)


def members(given: Any) -> Array:
    """[members, n, C], the probabilities that each member of an ensemble gives."""
    array = numbers("members", given)
    if array.ndim != 3 or 0 in array.shape[:2] or array.shape[2] < 2:
        raise ValueError(f"members has shape {list(array.shape)}; expected probabilities [members, examples, classes]")
    return _sums_to_one("members", array, SUM)


def labels(given: Any, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """[n] whole numbers that name classes of predictions with a shape [n, C]."""
    array = np.asarray(given.detach().cpu() if hasattr(given, "detach") else given)
    n, classes = shape
    if array.shape != (n,) or array.dtype.kind not in "iu":
        raise ValueError(f"labels have shape {list(array.shape)} and type {array.dtype}; expected {n} integers")
    if array.min() < 0 or array.max() >= classes:
        raise ValueError(
            f"labels go from {array.min()} to {array.max()}; the predictions have classes 0 to {classes - 1}"
        )
    return array.astype(np.int64)


def _sums_to_one(name: str, array: Array, off: float) -> Array:
    worst = float(np.abs(array.sum(-1) - 1).max())
    if array.min() < 0 or worst > off:
        what = f"a value of {array.min():g}" if array.min() < 0 else f"a row whose sum is off by {worst:g}"
        raise ValueError(f"{name} have {what}; expected probabilities: pass logits through a softmax first")
    return array
