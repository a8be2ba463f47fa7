"""Graphs of points: every point's nearest neighbours, or those within a radius; exact, cloud by cloud.

Both find how many neighbours every point has first, and then the one operator ``nearest`` fills the rows in.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dlbench.ops import reference
from dlbench.ops.checks import check_floats
from dlbench.ops.graph import INDICES, INT32_MAX, Graph
from dlbench.ops.loader import register
from dlbench.ops.segments import check_segments


def knn_graph(pos: Tensor, k: int, rowptr: Tensor | None = None, loop: bool = False) -> Graph:
    """The graph in which the k nearest neighbours of every point are its sources, the nearest first.

    Exact: sums of squared differences are compared, in one order of summing on every device and by any number of
    threads, and of points equally far the one of the smaller number comes first. Points that coincide are neighbours
    like others. A point of a cloud with fewer than k others gets them all.

    Nothing is differentiated through. Without ``rowptr`` sizes depend on no data, and it can be compiled whole; with
    one they do, so that ``torch.compile`` breaks its graph here.

    Args:
        pos: [N, D] points of any dimension and any float type; half types are compared in float32.
        k: number of neighbours.
        rowptr: [B + 1]; cloud b owns the points from rowptr[b] to rowptr[b + 1]. One cloud where it is not given.
        loop: whether a point is its own neighbour (the first one, unless a smaller number coincides with it).

    Returns:
        A ``Graph`` with N sources and N targets.

    Raises:
        TypeError: points that are not of a float type, or a ``k`` that is no integer.
        ValueError: a shape that does not fit, a number that is not finite, a ``k`` below 0, a ``rowptr`` that falls.
    """
    pos = check_points(pos)
    _check_count("k", k)
    points, own = pos.shape[0], 0 if loop else 1
    if rowptr is None:
        count = min(k, max(points - own, 0))
        clouds = torch.tensor([0, points], device=pos.device)
        starts = torch.arange(points + 1, device=pos.device) * count
        return _graph(pos, clouds, starts, points * count, loop)
    clouds = check_clouds(pos, rowptr)
    sizes = clouds.diff()
    counts = (sizes - own).clamp(min=0, max=k).repeat_interleave(sizes)
    return _ragged(pos, clouds, counts, loop)


def radius_graph(
    pos: Tensor,
    r: float,
    rowptr: Tensor | None = None,
    max_neighbours: int | None = None,
    loop: bool = False,
    targets: Tensor | None = None,
) -> Graph:
    """The graph in which all points within a radius of a point are its sources, the nearest first.

    Exact, as ``knn_graph`` is: a neighbour's squared distance is at most ``r * r``, rounded to the points' type. How
    many edges there are depends on the points, so ``torch.compile`` breaks its graph here.

    Args:
        pos: [N, D] points of any dimension and any float type; half types are compared in float32.
        r: the radius, at least 0.
        rowptr: [B + 1]; cloud b owns the points from rowptr[b] to rowptr[b + 1]. One cloud where it is not given.
        max_neighbours: how many neighbours at most; the nearest are kept.
        loop: whether a point is its own neighbour.
        targets: numbers of the points that get neighbours, [M], int32 or int64; all where they are not given.

    Returns:
        A ``Graph`` with N sources and N targets; those that are not in ``targets`` have no edges.

    Raises:
        TypeError: points that are not of a float type, a ``max_neighbours`` that is no integer, or ``targets`` that are
            none.
        ValueError: a shape that does not fit, a number that is not finite or below 0, a ``rowptr`` that falls.
        IndexError: a target that is no point.
    """
    pos = check_points(pos)
    if not r >= 0:
        raise ValueError(f"r={r} is not a radius; it must be at least 0")
    clouds = torch.tensor([0, pos.shape[0]], device=pos.device) if rowptr is None else check_clouds(pos, rowptr)
    limit = torch.tensor(float(r) ** 2).to(pos.dtype).item()
    counts = torch.ops.dlbench.neighbour_count(pos, clouds, limit, loop)
    if max_neighbours is not None:
        _check_count("max_neighbours", max_neighbours)
        counts = counts.clamp(max=max_neighbours)
    if targets is not None:
        targets = _check_targets(targets, pos)
        counts = torch.zeros_like(counts).index_copy(0, targets, counts[targets])
    return _ragged(pos, clouds, counts, loop)


def _ragged(pos: Tensor, clouds: Tensor, counts: Tensor, loop: bool) -> Graph:
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return _graph(pos, clouds, starts, int(starts[-1]), loop)


def _graph(pos: Tensor, clouds: Tensor, starts: Tensor, edges: int, loop: bool) -> Graph:
    points = pos.shape[0]
    if max(points, edges) <= INT32_MAX:
        starts = starts.int()
    return Graph(starts, torch.ops.dlbench.nearest(pos, clouds, starts, edges, loop), points)._vouched()


def check_points(pos: Tensor) -> Tensor:
    """Points as distances are computed from them, in float32 or float64; raises where they are none."""
    check_floats("pos", pos)
    if pos.dim() != 2:
        raise ValueError(f"pos has shape {list(pos.shape)}; it must be [points, dimensions]")
    pos = pos.detach()
    return pos if pos.dtype == torch.float64 else pos.float()


def _check_count(name: str, count: object) -> None:
    if isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"{name} is {count!r}; it must be an int")
    if count < 0:
        raise ValueError(f"{name}={count} is not a number of neighbours; it must be at least 0")


def _check_targets(targets: Tensor, pos: Tensor) -> Tensor:
    if not isinstance(targets, Tensor) or targets.dtype not in INDICES:
        kind = targets.dtype if isinstance(targets, Tensor) else f"a {type(targets).__name__}"
        raise TypeError(f"targets is {kind}; it must be a tensor of int32 or int64, the numbers of points")
    if targets.dim() != 1 or targets.device != pos.device:
        raise ValueError(
            f"targets has shape {list(targets.shape)} on {targets.device}; it must be [targets] on {pos.device}"
        )
    outside = ((targets < 0) | (targets >= pos.shape[0])).nonzero()
    if len(outside):
        raise IndexError(f"targets has {int(targets[outside[0]])}; points are numbered from 0 to {pos.shape[0] - 1}")
    return targets.long()


def check_clouds(pos: Tensor, rowptr: Tensor) -> Tensor:
    """Where clouds begin, int64; raises where that is not so."""
    check_segments("pos", pos, rowptr)
    clouds = rowptr.long()
    if bool((clouds.diff() < 0).any()) or int(clouds[0]) != 0 or int(clouds[-1]) != pos.shape[0]:
        raise ValueError(f"rowptr must rise from 0 to the number of points, {pos.shape[0]}, without falling")
    return clouds


register("neighbour_count", reference.neighbour_count)
register("nearest", reference.nearest)


@torch.library.register_fake("dlbench::neighbour_count")  # type: ignore[untyped-decorator]
def _(pos: Tensor, clouds: Tensor, limit: float, loop: bool) -> Tensor:
    return pos.new_empty(pos.shape[0], dtype=torch.int64)


@torch.library.register_fake("dlbench::nearest")  # type: ignore[untyped-decorator]
def _(pos: Tensor, clouds: Tensor, rowptr: Tensor, edges: int, loop: bool) -> Tensor:
    return rowptr.new_empty(edges)
