"""Where a random restart of an attack begins."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dlbench.ops import reference
from dlbench.ops.loader import register
from dlbench.ops.reference.rows import empty_rows_like

NORMS = ("linf", "l2", "l1")


def random_start(
    x: Tensor,
    *,
    eps: float | Tensor,
    norm: str = "linf",
    seed: int,
    sample_ids: Tensor | None = None,
    restart: int = 0,
    lower: float | Tensor = 0.0,
    upper: float | Tensor = 1.0,
) -> Tensor:
    """A point drawn uniformly from the ball of radius ``eps`` around every sample, then clipped into the box.

    An element's random number is a function of the seed, the restart, the sample's id and the element's index in the
    sample's logical order alone (Philox4x32-10; Salmon et al., SC 2011): it is the same on a CPU and on a GPU, in any
    batch, at any place of it, in any layout. The L2 and the L1 ball are drawn from after Barthe et al. (Annals of
    Probability, 2005).

    In real arithmetic no result is farther than ``eps`` from its sample: the last rounding is towards it. Where ball and
    box do not meet, the box wins. ``eps=0`` returns samples inside the box bit by bit. A NaN or an infinity in ``x``
    gives NaN, and so does an ``eps`` that is no radius where that cannot be asked for, in a tensor on a GPU.

    Args:
        x: [N, ...] float32 or float64, of fewer than 2^32 elements a sample. float64 gets the float32 numbers.
        eps: radius, finite and at least 0, in the units of ``x``: one for all, or [N].
        norm: of the ball: ``"linf"``, ``"l2"`` or ``"l1"``.
        seed: any integer, modulo 2^64.
        sample_ids: [N] int64; 0 to N - 1 where they are not given.
        restart: in [0, 2^32).
        lower: lower end of the box, one for all or [C], for the channels in dimension 1 of ``x``; ``-inf`` for none.
        upper: upper end, likewise.

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
    if not 0 <= restart < 2**32:
        raise ValueError(f"restart={restart} is out of range; it must be at least 0 and below 2^32")
    if sample_ids is not None:
        if sample_ids.dtype != torch.int64:
            raise TypeError(f"sample_ids are {sample_ids.dtype}; they must be int64")
        _check_tensor("sample_ids", sample_ids, x, x.shape[0])
    if not isinstance(eps, Tensor) and not 0 <= eps < math.inf:
        raise ValueError(f"eps={eps} is not a radius; it must be finite and at least 0")
    if not isinstance(lower, Tensor) and not isinstance(upper, Tensor) and not lower <= upper:
        raise ValueError(f"lower={lower} and upper={upper} leave no room; lower must not be above upper")
    channels = x.shape[1] if x.dim() > 1 else 1
    out: Tensor = torch.ops.dlbench.random_start(
        x.detach(),
        _numbers("eps", eps, x, x.shape[0]),
        norm,
        _signed(seed),
        sample_ids,
        restart,
        _numbers("lower", lower, x, channels),
        _numbers("upper", upper, x, channels),
    )
    return out


def _numbers(name: str, given: float | Tensor, x: Tensor, n: int) -> Tensor:
    """One number for all of n or one for each, as a float64 tensor beside ``x``."""
    if not isinstance(given, Tensor):
        return torch.full((), given, dtype=torch.float64, device=x.device)
    if not given.dtype.is_floating_point:
        raise TypeError(f"{name} is {given.dtype}; it must be of a float type")
    if given.dim():
        _check_tensor(name, given, x, n)
    return given.detach().to(x.device, torch.float64)


def _check_tensor(name: str, given: Tensor, x: Tensor, n: int) -> None:
    if given.shape != (n,):
        raise ValueError(f"{name} has shape {list(given.shape)}; for x of shape {list(x.shape)} it must be [{n}]")
    if given.device != x.device:
        raise ValueError(f"{name} is on {given.device} but x is on {x.device}; move it there")


def _signed(word: int) -> int:
    """A word of 64 bits as the integer that has them."""
    return (word + 2**63) % 2**64 - 2**63


register("random_start", reference.random_start)


@torch.library.register_fake("dlbench::random_start")  # type: ignore[untyped-decorator]
def _(
    x: Tensor,
    eps: Tensor,
    norm: str,
    seed: int,
    sample_ids: Tensor | None,
    restart: int,
    lower: Tensor,
    upper: Tensor,
) -> Tensor:
    return empty_rows_like(x)
