"""Random numbers by counter: a number depends on (seed, draw, sample id, element) and on nothing else.

So a sample gets the same noise whatever batch it stands in, whichever samples have left that batch, and on whichever
device; torch's own generators can promise none of the three.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def uniform(seed: int, draw: int, sample_ids: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Uniform numbers [n, *shape] in [-1, 1), of 24 random bits each, for samples by id [n]."""
    key = _mix(_mix(torch.tensor(_signed(seed), device=sample_ids.device)) + draw)
    rows = _mix(key + sample_ids * _GOLDEN)
    cells = torch.arange(math.prod(shape), device=sample_ids.device) * _GOLDEN
    bits = _shift_right(_mix(rows[:, None] + cells), 40)
    return (bits.to(dtype) / 2**23 - 1).reshape(-1, *shape)


def signs(drawn: Tensor) -> Tensor:
    """Uniform numbers in [-1, 1) to -1 and +1, half and half."""
    return torch.where(drawn < 0, -1.0, 1.0).to(drawn.dtype)


def _signed(word: int) -> int:
    """A 64-bit word as torch's int64 holds it."""
    return (word + 2**63) % 2**64 - 2**63


_GOLDEN = _signed(0x9E3779B97F4A7C15)


def _mix(z: Tensor) -> Tensor:
    """The finaliser of splitmix64 (Steele, Lea & Flood 2014); int64 products wrap around, as they must here."""
    z = (z ^ _shift_right(z, 30)) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ _shift_right(z, 27)) * _signed(0x94D049BB133111EB)
    return z ^ _shift_right(z, 31)


def _shift_right(z: Tensor, by: int) -> Tensor:
    """A logical shift; torch's own is arithmetic."""
    return (z >> by) & ((1 << (64 - by)) - 1)
