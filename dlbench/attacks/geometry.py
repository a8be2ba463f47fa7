"""Distances and boxes: what an attack asks of points apart from the model."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dlbench.attacks.search import Bounds

ORDER = {"linf": math.inf, "l2": 2.0}


def check_norm(norm: str) -> None:
    """One of the norms that :func:`distance` knows."""
    if norm not in ORDER:
        raise ValueError(f"norm is {norm!r}; it must be {' or '.join(map(repr, ORDER))}")


def distance(a: Tensor, b: Tensor, norm: str) -> Tensor:
    """[n] float64, how far the points a and b [n, ...] are apart; in double, so that it can be held against an eps."""
    apart: Tensor = torch.linalg.vector_norm((a.double() - b.double()).flatten(1), ORDER[norm], dim=1)
    return apart


def box(bounds: Bounds, like: Tensor) -> tuple[Tensor, Tensor]:
    """The bounds as tensors that broadcast with points [n, ...] or [n, channels, ...], in their dtype."""
    lower, upper = (torch.as_tensor(bound, dtype=like.dtype, device=like.device) for bound in bounds)
    per_channel = (-1,) + (1,) * (like.dim() - 2)
    return lower.reshape(per_channel), upper.reshape(per_channel)
