"""Where a random restart of an attack begins."""

from __future__ import annotations

import torch
from torch import Tensor

from dlbench.ops import reference
from dlbench.ops.limits import Number, limits
from dlbench.ops.loader import register
from dlbench.ops.reference.rows import empty_rows_like

NORMS = ("linf", "l2", "l1")


def random_start(
    x: Tensor,
    *,
    eps: Number,
    norm: str = "linf",
    seed: int,
    sample_ids: Tensor | None = None,
    restart: int | Tensor = 0,
    lower: Number = 0.0,
    upper: Number = 1.0,
) -> Tensor:
    """A point drawn uniformly from the ball of radius ``eps`` around every sample, then clipped into the box.

    An element's random number is a function of the seed, the sample's id, its restart and the element's index in the
    sample's logical order alone (Philox4x32-10; Salmon et al., SC 2011): it is the same on a CPU and on a GPU, in any
    batch, at any place of it, in any layout. The L2 and the L1 ball are drawn from after Barthe et al. (Annals of
    Probability, 2005).

    In real arithmetic no result is farther than ``eps`` from its sample: the last rounding is towards it. Where ball
    and box do not meet, the box wins. ``eps=0`` returns samples inside the box bit by bit. A NaN or an infinity in
    ``x`` gives NaN, and so does an ``eps`` that is no radius where that cannot be asked for, in a tensor on a GPU.

    Args:
        x: [N, C, ...] float32 or float64, of fewer than 2^32 elements a sample. float64 gets the float32 numbers.
        eps: radius, finite and at least 0, in the units of ``x``: a number, [N] (per sample), or
            [N or 1, C or 1, 1, ...], per channel in the L-infinity ball only.
        norm: of the ball: ``"linf"``, ``"l2"`` or ``"l1"``.
        seed: any integer, modulo 2^64.
        sample_ids: [N] int64; 0 to N - 1 where they are not given.
        restart: any integer, modulo 2^32: one for all, or [N] int64.
        lower: lower end of the box: a number, [C] (per channel), or [N or 1, C or 1, 1, ...]; ``-inf`` for none.
        upper: upper end of the box, in the same forms; ``inf`` for none.

    Returns:
        Points like ``x``, contiguous, or channels-last where ``x`` is. Nothing is differentiated through.

    Raises:
        TypeError: a tensor of a type that is not taken.
        ValueError: a shape or a device that does not fit, or a number out of its range.
    """
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"x is {x.dtype}; it must be float32 or float64, where small distances are not rounded away")
    if x.dim() == 0:
        raise ValueError("x has no dimensions; its first must be that of the samples")
    if norm not in NORMS:
        raise ValueError(f"norm={norm!r} is unknown; it must be 'linf', 'l2' or 'l1'")
    if norm != "linf" and isinstance(eps, Tensor) and eps.dim() > 1 and eps.shape[-eps.dim() + x.dim() - 1] != 1:
        raise ValueError(f"eps has shape {list(eps.shape)}; only the linf ball has a radius for each channel")
    numbers = limits(x, eps, lower=lower, upper=upper)
    if sample_ids is None:
        sample_ids = torch.arange(x.shape[0], device=x.device)
    if not isinstance(restart, Tensor):
        restart = torch.full_like(sample_ids, restart % 2**32)
    for name, given in (("sample_ids", sample_ids), ("restart", restart)):
        if given.dtype != torch.int64:
            raise TypeError(f"{name} is {given.dtype}; it must be int64")
        if given.shape != x.shape[:1]:
            raise ValueError(f"{name} has shape {list(given.shape)}; for these samples it must be [{x.shape[0]}]")
        if given.device != x.device:
            raise ValueError(f"{name} is on {given.device} but x is on {x.device}; move it there")
    out: Tensor = torch.ops.dlbench.random_start(
        x.detach(),
        torch.stack([sample_ids, restart], 1),
        norm,
        (seed + 2**63) % 2**64 - 2**63,  # the signed integer of the same 64 bits
        numbers.eps,
        numbers.lower,
        numbers.upper,
        numbers.table,
    )
    return out


register("random_start", reference.random_start)


@torch.library.register_fake("dlbench::random_start")  # type: ignore[untyped-decorator]
def _(
    x: Tensor,
    streams: Tensor,
    norm: str,
    seed: int,
    eps: float,
    lower: float,
    upper: float,
    table: Tensor | None,
) -> Tensor:
    return empty_rows_like(x)
