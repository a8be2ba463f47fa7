"""The nearest point of a hyperplane inside a box, exactly and for many points at once, without sorting.

Let w be the normal, turned so that w·z has to grow, and room_i how far coordinate i can go until it meets its bound.
By the KKT conditions each coordinate runs at its own speed, for a time t that is the same for all, until its room is
used up: at the speed of its unit in the L-infinity norm, at speed |w_i| in the L2 norm. By then w·z has grown by

    g(t) = sum_i |w_i| min(t speed_i, room_i),

which is concave and made of straight pieces. Newton's method on g(t) = gap, from t = 0, never goes too far on such a
function; each step divides residual times slope by four at least, and most often the fifth lands on the answer.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEWTON_STEPS = 20  # residual times slope is then below 1e-12 of what they were


def project(
    points: Tensor,
    normal: Tensor,
    gap: Tensor,
    lower: Tensor,
    upper: Tensor,
    norm: str,
    unit: Tensor | float = 1.0,
) -> Tensor:
    """For each point p the z nearest to it with ``lower <= z <= upper`` and ``normal·z = normal·p + gap``.

    Where the hyperplane misses the box, z is the corner (of the coordinates that the normal has) nearest to it. In the
    L-infinity norm, where nearest points are many, it is the one that moves all coordinates alike. The normal's length
    is free, from denormal to huge; where it is zero, the point stays.

    Args:
        points: [n, d] float32 or float64, inside the box.
        normal: [n, d] finite.
        gap: [n] finite; for the hyperplane w·z = b it is b - w·p.
        lower: broadcasts with points, same dtype.
        upper: the same.
        norm: ``"linf"`` or ``"l2"``.
        unit: in which the L-infinity norm measures each coordinate; positive, broadcasts with points.

    Source: the problem is that of Croce & Hein, ICML 2020, arXiv:1907.02044.
    """
    scale = normal.abs().amax(1, keepdim=True)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    gap = gap.to(torch.float64)[:, None] / scale
    direction = torch.where(gap < 0, -normal, normal) / scale
    weight, gap = direction.abs(), gap.abs()

    ends = torch.where(direction > 0, upper, torch.where(direction < 0, lower, points))
    room = (ends - points).abs()
    speed = weight if norm == "l2" else (weight > 0).to(weight.dtype) * unit
    in_reach = (weight * room).sum(1, keepdim=True, dtype=torch.float64) > gap
    time = _time(weight, speed, room, gap).to(points.dtype)
    move = torch.where(in_reach, torch.minimum(time * speed, room), room)
    moved = torch.where(move < room, points + direction.sign() * move, ends)
    return torch.clamp(moved, lower, upper)  # the sum may have rounded past the bound


def _time(weight: Tensor, speed: Tensor, room: Tensor, gap: Tensor) -> Tensor:
    """The least t [n, 1] with sum_i weight_i min(t speed_i, room_i) = gap, from below."""
    arrival = torch.where(speed > 0, room / speed, torch.zeros_like(room))
    rate, total = weight * speed, weight * room
    time = torch.zeros_like(gap)
    for _ in range(NEWTON_STEPS):
        running = (arrival > time.to(arrival.dtype)).to(arrival.dtype)  # a mask to multiply by: far faster than where
        slope = (running * rate).sum(1, keepdim=True, dtype=torch.float64)
        rest = gap - ((1 - running) * total).sum(1, keepdim=True, dtype=torch.float64)
        later = torch.where(slope > 0, rest / slope, time).maximum(time)
        if settled(later, time):
            break
        time = later
    return time


def settled(later: Tensor, time: Tensor) -> bool:
    """Whether no more is to come; on a GPU asking costs more than going on."""
    return not later.is_cuda and torch.equal(later, time)
