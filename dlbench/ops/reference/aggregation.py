"""Sums over the neighbours of a graph's nodes in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from dlbench.ops.graph import targets


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
