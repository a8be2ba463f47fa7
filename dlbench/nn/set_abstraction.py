"""Set abstraction of PointNet++, Qi, Yi, Su & Guibas (NeurIPS 2017, arXiv:1706.02413): PointNets on parts of clouds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlbench.nn.checks import check_at_least, check_radius
from dlbench.nn.pointnet import point_layers
from dlbench.ops import Graph, radius_graph, segment_reduce
from dlbench.ops.neighbours import check_clouds, check_points


class SetAbstraction(nn.Module):
    r"""A few points stand for a cloud, each with what a PointNet makes of those within a radius of it.

    .. math::
        x'_i = \max_{j : \lVert p_j - p_i \rVert \le r} h([x_j ; p_j - p_i])

    The points that stand for it are :func:`farthest_points`. One scale, the paper's "SSG"; two such layers and then a
    :class:`PointNet` on all that is left are its network.

    PointNet++: Deep Hierarchical Feature Learning on Point Sets in a Metric Space, Qi et al., NeurIPS 2017,
    arXiv:1706.02413, section 3.2. What differs: where more than ``most`` points are within the radius, the nearest are
    taken, not those of the smallest numbers, and none is taken twice where there are fewer.

    Args:
        in_features: F, 0 for bare positions.
        widths: of the layers of h, each with batch normalisation and ReLU; the last is F'.
        samples: S, of each cloud; one with fewer points is represented by all of them.
        radius: r, in the units of the positions.
        most: how many points of a ball are looked at, of equally far ones those of the smaller numbers; all where it is
            not given.
        dimensions: D.

    Shapes:
        x [N, F], or none without features; pos [N, D]; rowptr [B + 1], cloud b owns the points from rowptr[b] to
        rowptr[b + 1]; the result [N', F'], [N', D], [B + 1], as of clouds of S points.
    """

    def __init__(
        self,
        in_features: int,
        widths: Sequence[int],
        samples: int,
        radius: float,
        most: int | None = None,
        dimensions: int = 3,
    ) -> None:
        super().__init__()
        check_at_least(0, in_features=in_features)
        check_at_least(1, samples=samples, dimensions=dimensions, **{} if most is None else {"most": most})
        check_radius(radius=radius)
        self.dimensions = dimensions
        self.in_features, self.samples, self.radius, self.most = in_features, samples, radius, most
        self.net = point_layers([in_features + dimensions, *widths])

    def forward(self, x: Tensor | None, pos: Tensor, rowptr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features and positions of fewer points, and where their clouds begin, from x [N, F] and pos [N, D]."""
        if pos.dim() != 2 or pos.shape[1] != self.dimensions:
            raise ValueError(f"pos has shape {list(pos.shape)}; this layer needs [N, {self.dimensions}]")
        if (0 if x is None else x.shape[-1]) != self.in_features or (x is not None and len(x) != len(pos)):
            given = "none" if x is None else f"of shape {list(x.shape)}"
            raise ValueError(f"x is {given}; beside this pos it must be [{len(pos)}, {self.in_features}]")
        chosen, clouds = farthest_points(pos, self.samples, rowptr)
        starts, source = _rows(radius_graph(pos, self.radius, rowptr, self.most, loop=True, targets=chosen), chosen)
        centre = chosen.repeat_interleave(starts.diff())
        grouped = pos.index_select(0, source) - pos.index_select(0, centre)
        if x is not None:
            grouped = torch.cat([x.index_select(0, source), grouped], dim=1)
        return segment_reduce(self.net(grouped), starts, "max"), pos.index_select(0, chosen), clouds

    def extra_repr(self) -> str:
        """What stands inside the brackets of the layer's repr."""
        return f"samples={self.samples}, radius={self.radius}, most={self.most}"


def farthest_points(pos: Tensor, count: int, rowptr: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The numbers of points that lie far apart: each next one is the farthest from those already chosen.

    The first is the farthest from the mean. Points are looked at in the order of their coordinates, so that neither
    rounding nor ties, of which the first in that order wins, know the order in which they are given: the positions
    chosen are those of the set. None is chosen twice, coinciding ones when there are no others. Nothing is
    differentiated through.

    Args:
        pos: [N, D] points of any dimension and any float type; half types are compared in float32.
        count: S, of each cloud; one with fewer points gives all of them.
        rowptr: [B + 1]; cloud b owns the points from rowptr[b] to rowptr[b + 1]. One cloud where it is not given.

    Returns:
        The numbers [N'], cloud by cloud in the order in which they were chosen; and where clouds begin among them,
        [B + 1], both int64.

    Raises:
        TypeError: points that are not of a float type.
        ValueError: a shape that does not fit, a number that is not finite, a ``count`` below 1, a falling ``rowptr``.
    """
    check_at_least(1, count=count)
    pos = check_points(pos)
    if not bool(pos.isfinite().all()):
        raise ValueError("pos has numbers that are not finite; distances to such points are none")
    clouds = torch.tensor([0, len(pos)], device=pos.device) if rowptr is None else check_clouds(pos, rowptr)
    if len(pos) == 0:
        return clouds.new_zeros(0), torch.zeros_like(clouds)
    pos, sizes = _near_one(pos), clouds.diff()
    place = torch.arange(int(sizes.max()), device=pos.device)
    gone = place >= sizes[:, None]  # [B, most points of a cloud]
    number = (clouds[:-1, None] + place).masked_fill(gone, 0)
    points = pos.T.contiguous()[:, number].masked_fill(gone, torch.inf)  # [D, B, most points of a cloud]
    order = place.expand_as(gone)
    for column in points.flip(0):
        order = order.gather(1, column.gather(1, order).argsort(dim=1, stable=True))
    number, points = number.gather(1, order), points.gather(2, order.expand_as(points))
    centre = segment_reduce(pos[number[~gone]], clouds, "mean")
    away = _squares(points, centre.T[:, :, None]).masked_fill(gone, -1)
    nearest = torch.full_like(away, torch.inf).masked_fill(gone, -1)
    chosen = []
    for _ in range(min(count, len(place))):
        at = away.argmax(dim=1, keepdim=True)  # [B, 1]; of equal ones the first
        chosen.append(at)
        apart = _squares(points, points.gather(2, at.expand(len(points), -1, -1)))
        nearest = away = torch.minimum(nearest, apart).scatter_(1, at, -1)  # whoever is chosen or not there stays so
    taken = sizes.clamp(max=count)
    found = number.gather(1, torch.cat(chosen, dim=1))
    return found[place[:count] < taken[:, None]], torch.cat([taken.new_zeros(1), taken.cumsum(0)])


def _near_one(pos: Tensor) -> Tensor:
    """The same points in units, a power of two, in which the largest coordinate is near 1, and its square a number."""
    exponent = torch.frexp(pos.abs().amax()).exponent
    half = exponent // 2  # in two steps, lest the factor be no number
    return torch.ldexp(torch.ldexp(pos, -half), half - exponent)


def _squares(points: Tensor, centres: Tensor) -> Tensor:
    """Squared distances [B, n] of points [D, B, n] from their cloud's centre [D, B, 1]."""
    return (points - centres).square().sum(dim=0)


def _rows(graph: Graph, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Where each target's sources begin, [targets + 1], and the sources."""
    first, counts = graph.rowptr.long()[targets], graph.in_degree.long()[targets]
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    step = (first - starts[:-1]).repeat_interleave(counts)
    return starts, graph.col.long()[step + torch.arange(len(step), device=step.device)]
