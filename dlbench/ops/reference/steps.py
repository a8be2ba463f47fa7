"""Attack steps in plain torch, and the roundings and the hash that the kernels share with them."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def down(value: Tensor, dtype: torch.dtype) -> Tensor:
    """The largest numbers of ``dtype`` that are not above float64 values."""
    nearest = value.to(dtype)
    return torch.where(nearest > value, torch.nextafter(nearest, torch.full_like(nearest, -math.inf)), nearest)


def up(value: Tensor, dtype: torch.dtype) -> Tensor:
    """The smallest numbers of ``dtype`` that are not below float64 values."""
    return -down(-value, dtype)


def rounded_down(value: float, dtype: torch.dtype) -> float:
    """The largest number of ``dtype`` that is not above ``value``."""
    return float(down(torch.tensor(value, dtype=torch.float64), dtype))


def _add_down(a: Tensor, b: Tensor) -> Tensor:
    """``a + b`` rounded down: to nearest, then to the neighbour below where Knuth's TwoSum tells that it went up."""
    total = a + b
    b_seen = total - a
    lost = (a - (total - b_seen)) + (b - b_seen)
    return torch.where(lost < 0, torch.nextafter(total, torch.full_like(total, -math.inf)), total)


def limit_tensors(
    x: Tensor, eps: float, step_size: float, lower: float, upper: float, table: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Radius, step and bounds as the kernels have them, in shapes that broadcast with the state."""
    if table is not None:
        rest = [1] * (x.dim() - 2)
        radius, step, low, high = (t.reshape(*t.shape[: x.dim()], *rest) for t in table)
        return radius, step, low, high
    largest = torch.finfo(x.dtype).max
    low, high = max(-rounded_down(-lower, x.dtype), -largest), min(rounded_down(upper, x.dtype), largest)
    if low > high:
        raise ValueError(f"no number of the state's type lies between lower {lower} and upper {upper}")
    radius, step, low, high = (x.new_full((), v) for v in (rounded_down(eps, x.dtype), step_size, low, high))
    return radius, step, low, high


def sign_of(grad: Tensor) -> Tensor:
    """-1, 0 or 1; 0 for what is not finite."""
    return torch.where(grad.isfinite(), grad, torch.zeros_like(grad)).sign()


def into_linf_ball(v: Tensor, x: Tensor, radius: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """``v`` in the ball and, above all, in the box; the bounds hold exactly."""
    v = torch.maximum(v, -_add_down(-x, radius))
    v = torch.minimum(v, _add_down(x, radius))
    v = torch.minimum(torch.maximum(v, lower), upper)
    return v + (x - x)  # + 0, which turns -0 into +0, or NaN where x is not finite


def linf_step_(
    x_adv: Tensor,
    x: Tensor,
    grad: Tensor,
    eps: float,
    step_size: float,
    lower: float,
    upper: float,
    table: Tensor | None = None,
    hash: Tensor | None = None,
    tally: Tensor | None = None,
) -> None:
    """One projected gradient step in the L-infinity ball, in place; see ``csrc/perturb/linf/linf_step.h``."""
    radius, step, low, high = limit_tensors(x_adv, eps, step_size, lower, upper, table)
    v = x_adv + sign_of(grad).to(x_adv.dtype) * step
    observe(grad, tally)
    x_adv.copy_(into_linf_ball(v, x, radius, low, high))
    if hash is not None:
        hash.copy_(hash_of(x_adv).view_as(hash))


# ------------------------------------------------------------------------------------------------------- observers


def observe(grad: Tensor, tally: Tensor | None) -> None:
    """Adds to ``tally`` [N, 4] how many elements of each sample are zero, denormal, infinite, NaN."""
    if tally is None or grad.numel() == 0:
        return
    smallest = torch.finfo(grad.dtype).tiny
    magnitude = grad.abs().flatten(1) if grad.dim() > 1 else grad.abs()[:, None]
    kinds = (magnitude == 0, (magnitude > 0) & (magnitude < smallest), magnitude.isinf(), magnitude.isnan())
    tally += torch.stack([kind.sum(1) for kind in kinds], dim=1)


def hash_of(state: Tensor) -> Tensor:
    """[N] int64, the sum over a sample's elements, as they lie in memory, of mixed bits; see csrc/perturb/observe.h."""
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(state.dim())
    if last is not None and not state.is_contiguous() and state.is_contiguous(memory_format=last):
        state = state.movedim(1, -1)
    rows = state.contiguous().reshape(len(state), -1)
    bits = rows.view(torch.int64) if rows.dtype == torch.float64 else rows.view(torch.int32).long() & 0xFFFFFFFF
    places = torch.arange(1, rows.shape[1] + 1, device=rows.device) * signed(0x9E3779B97F4A7C15)
    return mixed(bits + places).sum(1)


def signed(word: int) -> int:
    """A 64-bit word as torch's int64 holds it."""
    return (word + 2**63) % 2**64 - 2**63


def mixed(z: Tensor) -> Tensor:
    """The finaliser of splitmix64 (Steele, Lea & Flood 2014); int64 products wrap around, as they must here."""
    z = (z ^ _shift_right(z, 30)) * signed(0xBF58476D1CE4E5B9)
    z = (z ^ _shift_right(z, 27)) * signed(0x94D049BB133111EB)
    return z ^ _shift_right(z, 31)


def _shift_right(z: Tensor, by: int) -> Tensor:
    """A logical shift; torch's own is arithmetic."""
    return (z >> by) & ((1 << (64 - by)) - 1)
