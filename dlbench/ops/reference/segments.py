"""Reductions of consecutive rows in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from dlbench.ops.graph import targets


def segment_reduce(x: Tensor, rowptr: Tensor, reduce: str) -> tuple[Tensor, Tensor]:
    """Sum, mean, max or min of every segment's rows; see ``csrc/segments/segment_reduce.h``."""
    segments, (rows, features) = rowptr.numel() - 1, x.shape
    values = x if x.dtype == torch.float64 else x.float()
    segment = targets(rowptr, x).long()
    if reduce in ("sum", "mean"):
        out = values.new_zeros(segments, features).index_add_(0, segment, values)
        if reduce == "mean":
            out = out / rowptr.diff().clamp(min=1).to(out.dtype).unsqueeze(1)
        return out.to(x.dtype), rowptr.new_empty(0, 0, dtype=torch.int64)
    wide = segment.unsqueeze(1).expand(rows, features)
    out = values.new_zeros(segments, features).scatter_reduce(0, wide, values, f"a{reduce}", include_self=False)
    best = out[segment]
    wins = (values == best) | (values.isnan() & best.isnan())
    candidates = torch.where(wins, torch.arange(rows, device=x.device).unsqueeze(1), rows)
    arg = candidates.new_full((segments, features), rows).scatter_reduce(0, wide, candidates, "amin")
    return out.to(x.dtype), arg
