"""What is done to whole rows of a batch, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor


def is_channels_last(x: Tensor) -> bool:
    """Whether a batch lies in memory without gaps, the channels of one pixel after the other, and is not contiguous."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return x.dim() in formats and not x.is_contiguous() and x.is_contiguous(memory_format=formats[x.dim()])


def empty_rows_like(x: Tensor) -> Tensor:
    """An empty tensor for a result by rows: contiguous, or channels-last where ``x`` is."""
    dense = x.is_contiguous() or is_channels_last(x)
    return torch.empty_like(x, memory_format=torch.preserve_format if dense else torch.contiguous_format)


def lp_norms(a: Tensor, b: Tensor | None) -> Tensor:
    """L0, L1, L2 and L-infinity of rows; see ``csrc/perturb/rows/norms.h``."""
    difference = a.double() if b is None else a.double() - b.double()
    sizes = difference.abs().reshape(len(a), -1) if a.numel() else a.new_zeros(len(a), 1, dtype=torch.float64)
    return torch.stack([(sizes != 0).sum(1).double(), sizes.sum(1), (sizes * sizes).sum(1).sqrt(), sizes.amax(1)], 1)


def compact(keep: Tensor, tensors: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """A stable partition of rows; see ``csrc/perturb/rows/compact.h``."""
    order = torch.argsort(~keep, stable=True)
    return keep.sum(), [empty_rows_like(tensor).copy_(tensor[order]) for tensor in tensors]
