"""Auto-PGD's step in plain torch; see ``csrc/perturb/apgd/apgd_step.h``."""

from __future__ import annotations

import torch
from torch import Tensor

from dlbench.ops.reference.balls import l2_step_, project_
from dlbench.ops.reference.steps import into_linf_ball, limit_tensors, observe, sign_of


def apgd_step_(
    x_adv: Tensor,
    x_prev: Tensor,
    x_best: Tensor,
    grad_best: Tensor,
    loss_best: Tensor,
    loss_prev: Tensor,
    loss_checked: Tensor,
    rises: Tensor,
    halved: Tensor,
    step_scale: Tensor,
    x: Tensor,
    grad: Tensor,
    loss: Tensor,
    eps: float,
    step_size: float,
    lower: float,
    upper: float,
    table: Tensor | None,
    momentum: float,
    since_checkpoint: int,
    rho: float,
    norm: str,
    tally: Tensor | None = None,
) -> None:
    """Books and step of one iteration; the new point is in ``x_prev``, the one it came from in ``x_adv``."""
    if norm not in ("linf", "l2"):
        raise ValueError(f"norm must be linf or l2, not {norm}")

    def each(numbers: Tensor) -> Tensor:  # [N] → [N, 1, ...]
        return numbers.view(-1, *[1] * (x.dim() - 1))

    def carried_on(z: Tensor) -> Tensor:
        return z + momentum * ((x_adv - x_prev) - (z - x_adv))

    observe(grad, tally)
    better = (loss > loss_best) | loss_best.isnan()
    x_best.copy_(torch.where(each(better), x_adv, x_best))
    grad_best.copy_(torch.where(each(better), grad, grad_best))
    loss_best.copy_(torch.where(better, loss, loss_best))
    rises.add_(loss > loss_prev)
    loss_prev.copy_(loss)
    if since_checkpoint > 0:
        slow = rises.double() < rho * since_checkpoint
        halved.copy_(slow | (~halved & (loss_best == loss_checked)))
        loss_checked.copy_(loss_best)
        rises.zero_()
        step_scale.copy_(torch.where(halved, step_scale / 2, step_scale))
        loss_prev.copy_(torch.where(halved, loss_best, loss_prev))
        x_adv.copy_(torch.where(each(halved), x_best, x_adv))
        grad = torch.where(each(halved), grad_best, grad)

    radius, step, low, high = limit_tensors(x_adv, eps, step_size, lower, upper, table)
    step = step * each(step_scale).to(x_adv.dtype)
    if norm == "linf":
        z = into_linf_ball(x_adv + sign_of(grad).to(x_adv.dtype) * step, x, radius, low, high)
        x_prev.copy_(into_linf_ball(carried_on(z), x, radius, low, high))
    else:
        every = torch.stack(torch.broadcast_tensors(radius, step, low, high))  # type: ignore[no-untyped-call]
        scaled = every.reshape(4, len(x), (*every.shape, 1)[2])
        z = x_adv.clone()
        l2_step_(z, x, grad, 0.0, 0.0, 0.0, 0.0, scaled)
        x_prev.copy_(carried_on(z))
        project_(x_prev, x, 0.0, 0.0, 0.0, "l2", scaled)
