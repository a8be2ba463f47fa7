"""Reductions of consecutive rows: a graph's nodes to one row a graph, a cloud's points to one row a cloud."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dlbench.ops import reference
from dlbench.ops.checks import check_floats
from dlbench.ops.loader import register

REDUCTIONS = ("sum", "mean", "max", "min")


def segment_reduce(x: Tensor, rowptr: Tensor, reduce: str = "sum") -> Tensor:
    """Reduces the rows of every segment to one; segment s owns the rows from ``rowptr[s]`` to ``rowptr[s + 1]``.

    Differentiable any number of times; the derivative of a maximum or minimum goes to the row that gave it, the first
    among equals. An empty segment gives zeros. A NaN is the maximum and the minimum of its segment. Half types are
    summed in float32. The bits of the result do not depend on the number of threads.

    Args:
        x: [N, ...] of any float type, the rows of a segment one after the other.
        rowptr: [S + 1], rising from 0 to N; int32 or int64.
        reduce: ``"sum"``, ``"mean"``, ``"max"`` or ``"min"``.

    Returns:
        [S, ...], of the type of ``x``.

    Raises:
        TypeError: a type that is not taken.
        ValueError: a shape, a device or a reduction that does not fit, or a ``rowptr`` that does not rise from 0 to N.
    """
    check_floats("x", x)
    if x.dim() == 0:
        raise ValueError("x has no dimensions; its first must be that of the rows")
    check_segments("x", x, rowptr)
    if reduce not in REDUCTIONS:
        raise ValueError(f"reduce={reduce!r} is not there; give 'sum', 'mean', 'max' or 'min'")
    out: Tensor
    out, _ = torch.ops.dlbench.segment_reduce(x.flatten(1) if x.dim() > 1 else x.unsqueeze(1), rowptr, reduce)
    return out.reshape(rowptr.shape[0] - 1, *x.shape[1:])


def check_segments(name: str, x: Tensor, rowptr: object) -> None:
    """Raises unless ``rowptr`` has the type, the shape and the device of one for the rows of ``x``.

    Its numbers are the operators' to check.

    Raises:
        TypeError: not a tensor of integers.
        ValueError: another shape, or another device.
    """
    if not isinstance(rowptr, Tensor):
        raise TypeError(f"rowptr is a {type(rowptr).__name__}; give a tensor, as torch.as_tensor makes one")
    if rowptr.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"rowptr is {rowptr.dtype}; it must be int32 or int64")
    if rowptr.dim() != 1 or len(rowptr) == 0:
        raise ValueError(f"rowptr has shape {list(rowptr.shape)}; for S segments it must be [S + 1]")
    if rowptr.device != x.device:
        raise ValueError(f"rowptr is on {rowptr.device} but {name} is on {x.device}; move it there")


register("segment_reduce", reference.segment_reduce)


@torch.library.register_fake("dlbench::segment_reduce")  # type: ignore[untyped-decorator]
def _(x: Tensor, rowptr: Tensor, reduce: str) -> tuple[Tensor, Tensor]:
    shape = (rowptr.shape[0] - 1, x.shape[1])
    arg = x.new_empty(shape if reduce in ("max", "min") else (0, 0), dtype=torch.int64)
    return x.new_empty(shape), arg


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, rowptr, ctx.reduce = inputs
    ctx.rows, ctx.features = x.shape
    ctx.save_for_backward(rowptr, output[1])


def _backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor, None, None]:
    rowptr, arg = ctx.saved_tensors
    if ctx.reduce in ("max", "min"):
        # Each row of each feature is one segment's: nothing is written twice. Empty segments write to a row too many.
        spread = grad.new_zeros(ctx.rows + 1, ctx.features).scatter(0, arg, grad)
        return spread[: ctx.rows], None, None
    sizes = rowptr.diff()
    if ctx.reduce == "mean":
        grad = grad / sizes.clamp(min=1).to(grad.dtype).unsqueeze(1)
    return torch.repeat_interleave(grad, sizes, 0, output_size=ctx.rows), None, None


torch.library.register_autograd("dlbench::segment_reduce", _backward, setup_context=_setup)
