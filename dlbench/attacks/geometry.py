"""Distances and boxes: what an attack asks of points apart from the model."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dlbench.attacks.checks import Bounds
from dlbench.ops.reference.steps import down, up

ORDER = {"linf": math.inf, "l2": 2.0, "l1": 1.0}


def distance(a: Tensor, b: Tensor, norm: str) -> Tensor:
    """[n] float64, how far the points a and b [n, ...] are apart; in double, so that it can be held against an eps."""
    difference = (a.double() - b.double()).reshape(len(a), math.prod(a.shape[1:]))
    if difference.numel() == 0:
        return difference.sum(1)
    apart: Tensor = torch.linalg.vector_norm(difference, ORDER[norm], dim=1)
    return apart


def box(bounds: Bounds, like: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the greatest numbers inside the bounds, in the type of points [n, channels, ...], to broadcast."""
    lower, upper = (torch.as_tensor(bound, dtype=torch.float64, device=like.device) for bound in bounds)
    per_channel = (-1,) + (1,) * (like.dim() - 2)
    return up(lower, like.dtype).reshape(per_channel), down(upper, like.dtype).reshape(per_channel)
