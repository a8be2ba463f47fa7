"""Neighbours of points in plain torch: the distances of a cloud at once, a few queries at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

CHUNK = 1 << 22  # distances at a time


def _check_finite(pos: Tensor) -> None:
    outside = (~pos.isfinite()).nonzero()
    if len(outside):
        point, axis = outside[0].tolist()
        raise ValueError(f"pos has {pos[point, axis]} at point {point}, coordinate {axis}; every number must be finite")


def _distances(pos: Tensor, clouds: Tensor, loop: bool) -> Iterator[tuple[int, int, Tensor]]:
    """(first query, first point, squared distances [queries, points of its cloud]); a point's to itself is NaN unless
    it is wanted.
    """
    for begin, end in pairwise(clouds.tolist()):
        step = max(1, CHUNK // max(1, end - begin))
        for first in range(begin, end, step):
            last = min(first + step, end)
            squares = pos.new_zeros(last - first, end - begin)
            for axis in range(pos.shape[1]):
                squares += (pos[begin:end, axis] - pos[first:last, axis, None]) ** 2
            if not loop:
                own = torch.arange(last - first, device=pos.device)
                squares[own, own + first - begin] = torch.nan
            yield first, begin, squares


def neighbour_count(pos: Tensor, clouds: Tensor, limit: float, loop: bool) -> Tensor:
    """How many neighbours within the limit every point has; see ``csrc/neighbours/nearest.h``."""
    _check_finite(pos)
    count = torch.zeros(len(pos), dtype=torch.int64, device=pos.device)
    for first, _, squares in _distances(pos, clouds, loop):
        count[first : first + len(squares)] = (squares <= limit).sum(1)
    return count


def nearest(pos: Tensor, clouds: Tensor, rowptr: Tensor, edges: int, loop: bool) -> Tensor:
    """The nearest neighbours of every point; see ``csrc/neighbours/nearest.h``."""
    _check_finite(pos)
    col = rowptr.new_empty(edges)
    for first, begin, squares in _distances(pos, clouds, loop):
        order = torch.sort(squares, dim=1, stable=True).indices + begin  # a NaN comes last
        own = rowptr[first : first + len(squares) + 1]
        wanted = torch.arange(squares.shape[1], device=pos.device) < own.diff().unsqueeze(1)
        col[int(own[0]) : int(own[-1])] = order[wanted].to(col.dtype)
    return col
