"""Random numbers by counter: a number depends on (seed, draw, sample id, element) and on nothing else.

So a sample gets the same noise whatever batch it stands in, whichever samples have left that batch, and on whichever
device; torch's own generators can promise none of the three.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dlbench.ops.reference.steps import mixed, signed


def uniform(seed: int, draw: int, sample_ids: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Uniform numbers [n, *shape] in [-1, 1), of 24 random bits each, for samples by id [n]."""
    key = mixed(mixed(torch.tensor(signed(seed), device=sample_ids.device)) + draw)
    rows = mixed(key + sample_ids * _GOLDEN)
    cells = torch.arange(math.prod(shape), device=sample_ids.device) * _GOLDEN
    bits = mixed(rows[:, None] + cells) >> 40 & 0xFFFFFF
    return (bits.to(dtype) / 2**23 - 1).reshape(-1, *shape)


def words(seed: int, ids: Tensor, moment: Tensor) -> Tensor:
    """64-bit words, one for each pair of a sample's id and a moment of an attack; the two broadcast."""
    key = mixed(torch.tensor(signed(seed), device=ids.device))
    return mixed(mixed(key + moment) + ids * _GOLDEN)


_GOLDEN = signed(0x9E3779B97F4A7C15)
