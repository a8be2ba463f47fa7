"""Steps and projections in the L2 and the L1 ball in plain torch; see ``csrc/perturb/ball``.

The multiplier is found by bisection, in float64, for all samples at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dlbench.ops.reference.steps import down, into_linf_ball, limit_tensors, observe

PASSES = 72  # of a bisection by geometric means: from 2^-1000 it takes 10 to find an exponent, and 53 for the digits
NEXT_TO_NOTHING = 2.0**-1000
UNIT = {torch.float32: 2.0**-21, torch.float64: 2.0**-41}  # by which the radii that are accepted and aimed at differ
FARTHEST = {torch.float32: torch.finfo(torch.float32).max, torch.float64: 2.0**500}

Pull = Callable[[Tensor, Tensor], Tensor]  # (v - x [N, D], multiplier [N, 1]) -> how far from x it is left


def l2_step_(
    x_adv: Tensor,
    x: Tensor,
    grad: Tensor,
    eps: float,
    step_size: float,
    lower: float,
    upper: float,
    table: Tensor | None = None,
    tally: Tensor | None = None,
) -> None:
    """``x_adv + step grad / |grad|_2``, projected."""
    if x_adv.numel() == 0:
        return
    observe(grad, tally)
    radius, step, low, high = _sample_limits(x_adv, eps, step_size, lower, upper, table)
    g = finite_rows(grad)
    g = g / g.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float64).smallest_normal)
    norm = g.square().sum(1, keepdim=True).sqrt()
    move = torch.where(norm > 0, step * g / norm, torch.zeros_like(g))
    _settle(x_adv, (_rows(x_adv).double() + move).to(x_adv.dtype), _rows(x), radius, low, high, "l2")


def l1_step_(
    x_adv: Tensor,
    x: Tensor,
    grad: Tensor,
    eps: float,
    step_size: float,
    lower: float,
    upper: float,
    sparsity: float,
    table: Tensor | None = None,
    sparsities: Tensor | None = None,
    tally: Tensor | None = None,
) -> None:
    """``step / k`` along the sign of the k largest elements of the gradient that the box lets move, projected."""
    if x_adv.numel() == 0:
        return
    observe(grad, tally)
    radius, step, low, high = _sample_limits(x_adv, eps, step_size, lower, upper, table)
    state, g = _rows(x_adv), finite_rows(grad)
    direction = g.sign() * torch.where(step < 0, -1.0, 1.0)
    stuck = torch.where(direction > 0, state >= high, state <= low)
    keys = torch.where(stuck, torch.zeros_like(g), g.abs())
    size = keys.shape[1]
    shares = g.new_full((len(g),), sparsity) if sparsities is None else sparsities
    kth = (shares * size + 0.5).floor().clamp(1, size).long()[:, None] - 1
    moves = (keys >= keys.sort(dim=1, descending=True).values.gather(1, kth)) & (keys > 0)
    share = (step / moves.sum(1, keepdim=True).clamp(min=1)).to(x_adv.dtype).double()
    move = torch.where(moves, g.sign() * share, torch.zeros_like(g))
    _settle(x_adv, (state.double() + move).to(x_adv.dtype), _rows(x), radius, low, high, "l1")


def project_(
    x_adv: Tensor, x: Tensor, eps: float, lower: float, upper: float, norm: str, table: Tensor | None = None
) -> None:
    """The projection alone."""
    if norm not in ("l2", "l1"):
        raise ValueError(f"norm must be l2 or l1, not {norm}")
    if x_adv.numel() == 0:
        return
    radius, _, low, high = _sample_limits(x_adv, eps, 0.0, lower, upper, table)
    _settle(x_adv, _rows(x_adv), _rows(x), radius, low, high, norm)


def _rows(t: Tensor) -> Tensor:
    return t.reshape(len(t), -1)


def finite_rows(grad: Tensor) -> Tensor:
    """A gradient in float64, [N, D], with 0 in place of what is not finite."""
    g = _rows(grad).double()
    return torch.where(g.isfinite(), g, torch.zeros_like(g))


def _sample_limits(
    x: Tensor, eps: float, step_size: float, lower: float, upper: float, table: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Radius and step in float64 [N or 1, 1], bounds in the state's type [N, D]."""
    radius, step, low, high = limit_tensors(x, eps, step_size, lower, upper, table)
    radius, step = (t.reshape(len(t) if t.dim() else 1, -1)[:, :1].double() for t in (radius, step))
    low, high = (_rows(t.expand_as(x)) for t in (low, high))
    return radius, step, low, high


def _pulled_l2(d: Tensor, t: Tensor) -> Tensor:
    return t * d


def _pulled_l1(d: Tensor, theta: Tensor) -> Tensor:
    return torch.copysign((d.abs() - theta).clamp(min=0), d)


def _settle(x_adv: Tensor, v: Tensor, x: Tensor, radius: Tensor, low: Tensor, high: Tensor, norm: str) -> None:
    """Writes to ``x_adv`` the points [N, D] of ball and box that are nearest to v."""
    farthest, unit = FARTHEST[x.dtype], UNIT[x.dtype]
    d = (v.double() - x.double()).clamp(-farthest, farthest)
    counts = ~v.isnan() & x.isfinite()
    down_to, up_to = low.double() - x.double(), high.double() - x.double()

    def norm_at(multiplier: Tensor) -> Tensor:
        p = torch.minimum(torch.maximum(pulled(d, multiplier), down_to), up_to)
        p = torch.where(counts, p, torch.zeros_like(p))
        return p.norm(dim=1, keepdim=True) if norm == "l2" else p.abs().sum(1, keepdim=True)

    pulled: Pull
    nothing = d.new_full((len(d), 1), NEXT_TO_NOTHING)
    if norm == "l2":
        pulled, unchanged, at_centre, outside = _pulled_l2, 1.0, nothing, torch.ones_like(nothing)
    else:
        most = torch.where(counts, d, torch.zeros_like(d)).abs().amax(1, keepdim=True)
        pulled, unchanged, at_centre, outside = _pulled_l1, 0.0, most.clamp(min=NEXT_TO_NOTHING), nothing
    whole = norm_at(torch.full_like(nothing, unchanged))
    multiplier = _bisect(norm_at, radius * (1 - 3 * unit), at_centre, outside)
    multiplier = torch.where(whole <= radius * (1 - unit), torch.full_like(multiplier, unchanged), multiplier)

    p = pulled(d, multiplier)
    within = torch.where(p == d, d.new_full((), math.inf), p.abs())
    x_adv.copy_(into_linf_ball(v, x, down(within, x.dtype), low, high).reshape(x_adv.shape))


def _bisect(norm_at: Callable[[Tensor], Tensor], target: Tensor, inside: Tensor, outside: Tensor) -> Tensor:
    """The multipliers closest to ``outside`` whose norms do not exceed the target; ``inside`` where there are none."""
    for _ in range(PASSES):
        middle = inside.sqrt() * outside.sqrt()
        fits = norm_at(middle) <= target
        inside, outside = torch.where(fits, middle, inside), torch.where(fits, outside, middle)
    return inside
