"""The step of the momentum iterative method in plain torch; see ``csrc/perturb/momentum/momentum_step.h``."""

from __future__ import annotations

import torch
from torch import Tensor

from dlbench.ops.reference.balls import finite_rows
from dlbench.ops.reference.steps import linf_step_, observe


def momentum_step_(
    x_adv: Tensor,
    x: Tensor,
    grad: Tensor,
    momentum: Tensor,
    decay: float,
    eps: float,
    step_size: float,
    lower: float,
    upper: float,
    table: Tensor | None = None,
    tally: Tensor | None = None,
) -> None:
    """``momentum <- decay momentum + grad / |grad|_1``, and a step along its sign."""
    if x_adv.numel() == 0:
        return
    observe(grad, tally)
    g = finite_rows(grad)
    g = g / g.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float64).smallest_normal)
    norm = g.abs().sum(1, keepdim=True)
    share = torch.where(norm > 0, g / norm, torch.zeros_like(g))
    momentum.copy_(decay * momentum.double() + share.reshape(momentum.shape))
    linf_step_(x_adv, x, momentum, eps, step_size, lower, upper, table)
