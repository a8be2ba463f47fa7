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


def uniform(seed: int, draw: int, sample_ids: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Uniform numbers [n, *shape] in [-1, 1), of 24 random bits each, for samples by id [n].

    They are the numbers of :func:`dlbench.ops.random_start`, with ``draw`` for its restart.
    """
    origin = torch.zeros(len(sample_ids), *shape, dtype=dtype, device=sample_ids.device)
    return ops.random_start(
        origin, eps=1.0, seed=seed, sample_ids=sample_ids, restart=draw, lower=-math.inf, upper=math.inf
    )
