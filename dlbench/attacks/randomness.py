"""Random numbers by counter: a number depends on (seed, draw, sample id, element) and on nothing else.

So a sample gets the same noise whatever batch it stands in, whichever samples have left that batch, and on whichever
device; torch's own generators can promise none of the three.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dlbench import ops
from dlbench.ops.reference.starts import MASK, philox

_OF_WORDS = 0xFFFFFFFE  # a counter that no element has


def uniform(seed: int, draw: int | Tensor, sample_ids: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Uniform numbers [n, *shape] in [-1, 1), of 24 random bits each, for samples by id [n].

    They are the numbers of :func:`dlbench.ops.random_start`, with ``draw``, one for all or [n], for its restart.
    """
    origin = torch.zeros(len(sample_ids), *shape, dtype=dtype, device=sample_ids.device)
    return ops.random_start(
        origin, eps=1.0, seed=seed, sample_ids=sample_ids, restart=draw, lower=-math.inf, upper=math.inf
    )


def signs(drawn: Tensor) -> Tensor:
    """Uniform numbers in [-1, 1) to -1 and +1, half and half."""
    return torch.where(drawn < 0, -1.0, 1.0).to(drawn.dtype)


def words(seed: int, ids: Tensor, moment: Tensor) -> Tensor:
    """64-bit words, one for each pair of a sample's id and a moment of an attack (modulo 2^32); the two broadcast."""
    ids, moment = torch.broadcast_tensors(ids, moment)  # type: ignore[no-untyped-call]
    low, high, *_ = philox((torch.full_like(ids, _OF_WORDS), moment & MASK, ids & MASK, ids >> 32 & MASK), seed)
    return high << 32 | low
