"""Attacks that follow the gradient of the loss on the input, with weights and label fixed."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from dlbench import ops
from dlbench.attacks.modes import Model, attack_mode, input_grad_only
from dlbench.attacks.randomness import uniform
from dlbench.attacks.search import AttackResult, Bounds, Loss, Search, check_eps


def fgsm(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    target: Tensor | int | None = None,
    bounds: Bounds = (0.0, 1.0),
    loss: Loss = "ce",
) -> AttackResult:
    """The fast gradient sign method (Goodfellow et al., ICLR 2015): one step of length eps, from x.

    On a linear model no perturbation of this size is worse: it costs the margin exactly eps times the 1-norm of the
    weights' difference. Arguments and result as in :func:`pgd`.
    """
    return pgd(
        model,
        x,
        y,
        eps=eps,
        step_size=eps,
        steps=1,
        norm=norm,
        target=target,
        bounds=bounds,
        random_start=False,
        loss=loss,
    )


def pgd(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    step_size: float | None = None,
    steps: int = 40,
    norm: str = "linf",
    restarts: int = 1,
    target: Tensor | int | None = None,
    bounds: Bounds = (0.0, 1.0),
    random_start: bool = True,
    seed: int = 0,
    sample_ids: Tensor | None = None,
    loss: Loss = "ce",
    stop: Literal["success", "never"] = "success",
) -> AttackResult:
    """Projected gradient descent (Madry et al., ICLR 2018): sign steps inside the ball, from random starts.

    The model is in eval mode meanwhile; its parameters, their ``.grad``, its buffers and training flags and torch's
    random state are afterwards what they were. ``|x_adv - x| <= eps`` and the bounds hold exactly; ``eps=0`` returns x
    bit by bit. A random start depends on the seed, the restart and the sample's id alone, not on how samples are split
    into batches, as long as ``sample_ids`` go with them; what the model answers may still differ by rounding, where
    its kernels depend on the size of the batch.

    Args:
        model: maps samples [n, ...] to logits [n, K]; a module, or any callable.
        x: [N, ...] float32 or float64, inside the bounds.
        y: [N] int64, the true labels.
        eps: radius of the ball, in the units of x.
        step_size: length of a step; 2.5 eps / steps where not given, enough to cross the ball.
        steps: gradient steps a restart.
        norm: of the ball; only ``"linf"`` yet.
        restarts: random starts; a later one only attacks what withstood the earlier ones.
        target: the label to reach, one for all or [N]; without it any wrong label is the goal.
        bounds: least and greatest value that an input can have.
        random_start: start at a uniformly drawn point of the ball, else at x.
        seed: of the random starts.
        sample_ids: [N] int64, what tells one sample's random numbers from another's; 0 to N - 1 where not given.
        loss: ``"ce"`` (cross-entropy) or ``"margin"`` (best other logit minus the label's own).
        stop: ``"success"`` drops a sample from the batch as soon as the goal is reached, for measuring accuracy;
            ``"never"`` goes on to the point of best loss, for training, transfer and confidence.

    Raises:
        ValueError: labels the model does not have, x outside the bounds, an impossible setting.
    """
    check_eps(eps)
    if norm != "linf":
        raise ValueError(f"norm is {norm!r}; only 'linf' is there yet")
    if steps < 1 or restarts < 1:
        raise ValueError(f"steps is {steps} and restarts is {restarts}; both must be 1 or more")
    if restarts > 1 and not random_start:
        raise ValueError(f"restarts is {restarts} without a random start: all of them would be the same")
    step_size = 2.5 * eps / steps if step_size is None else step_size
    if step_size < 0:
        raise ValueError(
            f"step_size is {step_size:g}; it must not be negative (a target turns the direction by itself)"
        )
    lower, upper = bounds

    with attack_mode(model), input_grad_only(model):
        search = Search(x, y, target=target, bounds=bounds, loss=loss, stop=stop, sample_ids=sample_ids)
        points = search.x.clone().requires_grad_(not random_start)
        losses = search.clean(model(points))
        for restart in range(restarts if eps > 0 else 0):
            if random_start:
                if not search.drop_decided():
                    break
                noise = uniform(seed, restart, search.ids[search.active], x.shape[1:], x.dtype)
                points = search.project(search.centres + eps * noise, eps).requires_grad_()
                losses = search.visit(points, model(points), start=True)
            for _ in range(steps):
                still = search.open()
                if not len(still):
                    break
                if not losses.requires_grad:
                    raise ValueError("the model's logits carry no gradient with respect to x; is it detached inside?")
                (gradient,) = torch.autograd.grad(losses.sum(), points)  # the sum: no sample's step depends on others
                points = points.detach()
                if len(still) < len(points):  # decided samples leave the batch
                    search.attend(search.active[still])
                    points, gradient = points[still], gradient[still]
                ops.linf_step_(
                    points,
                    search.centres,
                    gradient,
                    eps=eps,
                    step_size=search.sign * step_size,
                    lower=lower,
                    upper=upper,
                )
                losses = search.visit(points.requires_grad_(), model(points))
        return search.result(by_gradient=True)
