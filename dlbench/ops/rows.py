"""What is done to whole rows of a batch: their norms, and bringing those that are still needed to the front."""

from __future__ import annotations

import torch
from torch import Tensor

from dlbench.ops import reference
from dlbench.ops.loader import register
from dlbench.ops.reference.rows import empty_rows_like

FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def lp_norms(a: Tensor, b: Tensor | None = None) -> Tensor:
    """L0, L1, L2 and L-infinity of every sample of ``a - b``, or of ``a``, in one pass.

    Everything is computed in float64, the difference included, so that the bounds of an attack can be verified with it.
    The bits do not depend on the number of threads. A NaN counts as a nonzero, and makes the other three NaN.

    Args:
        a: [N, ...] of any float type and layout.
        b: the same shape and type.

    Returns:
        [N, 4] float64. Nothing is differentiated through.

    Raises:
        TypeError: types that are not taken, or differ.
        ValueError: shapes or devices that differ.
    """
    if a.dtype not in FLOATS:
        raise TypeError(f"a is {a.dtype}; it must be float64, float32, bfloat16 or float16")
    if a.dim() == 0:
        raise ValueError("a has no dimensions; its first must be that of the samples")
    if b is not None:
        if b.dtype != a.dtype:
            raise TypeError(f"b is {b.dtype} but a is {a.dtype}; give both in one type")
        if b.shape != a.shape:
            raise ValueError(f"b has shape {list(b.shape)} but a has {list(a.shape)}; make them agree")
        if b.device != a.device:
            raise ValueError(f"b is on {b.device} but a is on {a.device}; move it there")
        b = b.detach()
    out: Tensor = torch.ops.dlbench.lp_norms(a.detach(), b)
    return out


def compact(keep: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Brings the rows to be kept to the front, in their order; the others follow, in theirs.

    No size depends on the data and nothing is waited for: it can be compiled whole and captured in a CUDA graph.

    Args:
        keep: [N] bool.
        tensors: [N, ...] each, of any type and layout, on the device of ``keep``.

    Returns:
        How many rows are kept, an int64 without dimensions on the device; then the tensors' new versions, contiguous,
        or channels-last where the tensor was. Nothing is differentiated through.

    Raises:
        TypeError: ``keep`` is not bool.
        ValueError: a tensor with another number of rows, or on another device.
    """
    if keep.dtype != torch.bool:
        raise TypeError(f"keep is {keep.dtype}; it must be bool")
    if keep.dim() != 1:
        raise ValueError(f"keep has shape {list(keep.shape)}; it must be [rows]")
    for i, tensor in enumerate(tensors):
        if tensor.dim() == 0 or tensor.shape[0] != keep.shape[0]:
            raise ValueError(f"tensor {i} has shape {list(tensor.shape)}, but keep has {keep.shape[0]} rows")
        if tensor.device != keep.device:
            raise ValueError(f"tensor {i} is on {tensor.device} but keep is on {keep.device}; move it there")
    count, rows = torch.ops.dlbench.compact(keep, [tensor.detach() for tensor in tensors])
    return count, *rows


register("lp_norms", reference.lp_norms)
register("compact", reference.compact)


@torch.library.register_fake("dlbench::lp_norms")  # type: ignore[untyped-decorator]
def _(a: Tensor, b: Tensor | None) -> Tensor:
    return a.new_empty(a.shape[0], 4, dtype=torch.float64)


@torch.library.register_fake("dlbench::compact")  # type: ignore[untyped-decorator]
def _(keep: Tensor, tensors: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    return keep.new_empty((), dtype=torch.int64), [empty_rows_like(tensor) for tensor in tensors]
