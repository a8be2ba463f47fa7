"""Attack steps in plain torch."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def rounded_down(value: float, dtype: torch.dtype) -> float:
    """The largest number of ``dtype`` that is not above ``value``."""
    nearest = torch.tensor(value, dtype=torch.float64).to(dtype)
    if nearest.item() > value:
        nearest = torch.nextafter(nearest, torch.full_like(nearest, -math.inf))
    return float(nearest.item())


def _add_down(a: Tensor, b: Tensor) -> Tensor:
    """``a + b`` rounded down: to nearest, then to the neighbour below where Knuth's TwoSum tells that it went up."""
    total = a + b
    b_seen = total - a
    lost = (a - (total - b_seen)) + (b - b_seen)
    return torch.where(lost < 0, torch.nextafter(total, torch.full_like(total, -math.inf)), total)


def linf_step_(
    x_adv: Tensor, x: Tensor, grad: Tensor, eps: float, step_size: float, lower: float, upper: float
) -> None:
    """One projected gradient step in the L-infinity ball, in place; see ``csrc/perturb/linf_step.h``."""
    dtype = x_adv.dtype
    largest = torch.finfo(dtype).max
    box = max(-rounded_down(-lower, dtype), -largest), min(rounded_down(upper, dtype), largest)
    if box[0] > box[1]:
        raise ValueError(f"no number of the state's type lies between lower {lower} and upper {upper}")
    radius = x_adv.new_full((), rounded_down(eps, dtype))
    step = x_adv.new_full((), step_size)

    usable = grad.isfinite() & (grad != 0)
    v = x_adv + torch.where(usable, torch.where(grad < 0, -step, step), torch.zeros_like(step))
    v = torch.maximum(v, -_add_down(-x, radius))
    v = torch.minimum(v, _add_down(x, radius))
    v = v.clamp(*box)
    x_adv.copy_(v + (x - x))  # + 0, which turns -0 into +0, or NaN where x is not finite
