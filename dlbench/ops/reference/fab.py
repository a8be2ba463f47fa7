"""The step of FAB in plain torch; see ``csrc/perturb/fab/fab_step.h``."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dlbench.ops.reference import hyperplane
from dlbench.ops.reference.steps import observe

ORDER = {"linf": math.inf, "l2": 2.0}


def fab_step_(
    x_adv: Tensor,
    x: Tensor,
    grad: Tensor,
    lead: Tensor,
    adversarial: Tensor,
    lower: Tensor,
    upper: Tensor,
    unit: Tensor | None,
    eta: float,
    beta: float,
    alpha_max: float,
    norm: str,
    tally: Tensor | None = None,
) -> Tensor:
    """Between the feet, on the linearised boundary, of x_adv and of x; returns how far that is from x."""
    if x_adv.numel() == 0:
        return lead.new_zeros(lead.shape)
    observe(grad, tally)
    there, centre, normal = (t.reshape(len(x), -1) for t in (x_adv, x, grad))
    normal = torch.where(normal.isfinite(), normal, 0.0).repeat(2, 1)
    lower, upper = lower.reshape(1, -1), upper.reshape(1, -1)
    units = torch.ones_like(there) if unit is None else unit.reshape(len(x), -1)

    here = torch.where(adversarial[:, None], centre + beta * (there - centre), there)
    both = torch.cat([here, centre])
    rise = (normal * (both - there.repeat(2, 1))).sum(1, dtype=torch.float64)
    gap = -(lead.nan_to_num(0.0, 0.0, 0.0).repeat(2) + rise)
    way = hyperplane.project(both, normal, gap, lower, upper, norm, units.repeat(2, 1)) - both
    near, far = _length(way / units.repeat(2, 1), norm).clamp(min=1e-8).chunk(2)
    alpha = (near / (near + far)).clamp(max=alpha_max)
    from_here, from_x = (both + eta * way).chunk(2)
    x_adv.copy_(torch.clamp(from_here + alpha * (from_x - from_here), lower, upper).view_as(x_adv))
    return _length((x_adv.double() - x.double()).reshape(len(x), -1) / units, norm).squeeze(1)


def _length(vectors: Tensor, norm: str) -> Tensor:
    """[n, 1] of vectors [n, d]."""
    length: Tensor = torch.linalg.vector_norm(vectors, ORDER[norm], dim=1, keepdim=True)
    return length
