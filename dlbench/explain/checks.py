"""What this room asks of its arguments: one clear line says what was given and what was expected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Model = Callable[[Tensor], Tensor]
Array = NDArray[np.float64]


def images(x: Any) -> Tensor:
    """Floating-point images [n, channels, height, width], at least one, without what made them."""
    if not isinstance(x, Tensor) or x.dim() != 4 or not x.is_floating_point() or not len(x):
        told = f"{x.dtype} {list(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"x is {told}; expected floating-point images [n, channels, height, width]")
    return x.detach()


def classes(target: Any, x: Tensor) -> Tensor:
    """[n] int64, the class whose score is explained, one an image."""
    if not isinstance(target, Tensor) or target.shape != x.shape[:1] or target.dtype != torch.int64:
        told = f"{target.dtype} {list(target.shape)}" if isinstance(target, Tensor) else type(target).__name__
        raise ValueError(f"target is {told}; expected a class for each of {len(x)} images, int64")
    return target.to(x.device)


def scores(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """[n]: the score of each image's class."""
    logits = model(x)
    if logits.dim() != 2 or len(logits) != len(x):
        raise ValueError(f"the model gave {list(logits.shape)} for {len(x)} images; expected scores [n, classes]")
    if int(target.min()) < 0 or int(target.max()) >= logits.shape[1]:
        raise ValueError(
            f"target goes from {int(target.min())} to {int(target.max())}; the model has {logits.shape[1]} classes"
        )
    return logits.gather(1, target[:, None])[:, 0]


def at_least_one(**counts: int) -> None:
    """Each of these is a number of things that there must be."""
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name} is {value}; expected at least 1")


def maps(name: str, given: Any) -> Array:
    """Finite relevance [n, height, width] as float64, tensors on any device included."""
    array = np.asarray(given.detach().cpu() if hasattr(given, "detach") else given, dtype=np.float64)
    if array.ndim != 3 or not array.size:
        raise ValueError(f"{name} has shape {list(array.shape)}; expected maps [n, height, width], channels summed up")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: {int((~np.isfinite(array)).sum())} of {array.size} values are not finite")
    return array


def masks(given: Any, like: Array) -> NDArray[np.bool_]:
    """[n, height, width] as booleans, in each at least one pixel."""
    array = np.asarray(given.detach().cpu() if hasattr(given, "detach") else given)
    if array.shape != like.shape or array.dtype != np.bool_:
        raise ValueError(
            f"masks are {array.dtype} {list(array.shape)}; expected booleans {list(like.shape)}, as the maps are"
        )
    if not array.any((1, 2)).all():
        raise ValueError(f"mask {int(array.any((1, 2)).argmin())} is empty; leave out images without a true region")
    return array


def pair(first: Any, second: Any) -> tuple[Array, Array]:
    """Two sets of maps of the same images."""
    a, b = maps("first", first), maps("second", second)
    if a.shape != b.shape:
        raise ValueError(f"first has shape {list(a.shape)} and second {list(b.shape)}; give maps of the same images")
    return a, b
