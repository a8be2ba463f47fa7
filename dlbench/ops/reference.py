"""The operators in plain torch: what the kernels are tested against, and what serves where there is no kernel.

Every function has the arguments of the operator of its name (``csrc/schema.inc``).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dlbench.ops.graph import targets


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


def _accumulable(x: Tensor) -> Tensor:
    """Half types are summed in float."""
    return x if x.dtype == torch.float64 else x.float()


def aggregate(
    x: Tensor,
    rowptr: Tensor,
    col: Tensor,
    edge_id: Tensor | None,
    weight: Tensor | None,
    t_rowptr: Tensor | None,
    t_col: Tensor | None,
    t_edge_id: Tensor | None,
    reduce: str,
) -> Tensor:
    """Weighted sum over in-neighbours; see ``csrc/aggregate/aggregate.h``."""
    messages = _accumulable(x).index_select(0, col)
    if weight is not None:
        scale = weight if edge_id is None else weight.index_select(0, edge_id)
        messages = messages * scale.to(messages.dtype).unsqueeze(1)
    out = messages.new_zeros(rowptr.numel() - 1, x.shape[1])
    return out.index_add_(0, targets(rowptr, col), messages).to(x.dtype)


def edge_dot(
    a: Tensor,
    b: Tensor,
    rowptr: Tensor,
    col: Tensor,
    edge_id: Tensor | None,
    t_rowptr: Tensor | None,
    t_col: Tensor | None,
    t_edge_id: Tensor | None,
) -> Tensor:
    """Dot product of the ends of every edge; see ``csrc/aggregate/edge_dot.h``."""
    ends = _accumulable(a).index_select(0, targets(rowptr, col)), _accumulable(b).index_select(0, col)
    dots = (ends[0] * ends[1]).sum(1).to(a.dtype)
    return dots if edge_id is None else torch.empty_like(dots).index_copy_(0, edge_id.long(), dots)
