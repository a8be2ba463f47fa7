"""Auto-PGD (Croce & Hein, ICML 2020, arXiv:2003.01690): all that happens between two gradients, in one call."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from dlbench.ops import reference
from dlbench.ops.balls import ball_limits
from dlbench.ops.limits import Number, limits
from dlbench.ops.loader import register
from dlbench.ops.perturb import check_tensors

RHO = 0.75  # the paper's share of steps that have to raise the loss
NORMS = ("linf", "l2")
MOMENTUM = 0.25  # the paper's 1 - alpha


@dataclass
class ApgdState:
    """What Auto-PGD knows of N samples: four points or gradients each, and six numbers.

    Made by :meth:`start`, changed by :func:`apgd_step_`; ``state[rows]`` is the state of some samples.

    Attributes:
        x_adv: [N, ...] where the next loss and gradient are to be taken.
        x_prev: [N, ...] where the last step came from.
        x_best, grad_best: [N, ...] the point of best loss so far and the gradient there.
        loss_best, loss_prev: [N] float64, the losses at ``x_best`` and at ``x_prev``; NaN before the first.
        loss_checked: [N] float64, the best loss at the last checkpoint; NaN before the first.
        rises: [N] int64, how many steps since the last checkpoint raised the loss.
        halved: [N] bool, whether the last checkpoint halved the step.
        step_scale: [N] float64, the step as a share of the first: 1, 1/2, 1/4, ...
    """

    x_adv: Tensor
    x_prev: Tensor
    x_best: Tensor
    grad_best: Tensor
    loss_best: Tensor
    loss_prev: Tensor
    loss_checked: Tensor
    rises: Tensor
    halved: Tensor
    step_scale: Tensor

    @classmethod
    def start(cls, x_adv: Tensor, grad_dtype: torch.dtype | None = None) -> ApgdState:
        """The state at points [N, ...] that no step led to; gradients come in their type, or in ``grad_dtype``."""
        if x_adv.dim() == 0:
            raise ValueError("x_adv has no dimension; the first one is that of the samples")
        points = x_adv.detach().clone()
        if not any(points.is_contiguous(memory_format=form) for form in _orders(points)):
            points = points.contiguous()
        numbers = points.new_zeros(len(points), dtype=torch.float64)
        return cls(
            x_adv=points,
            x_prev=points.clone(),
            x_best=points.clone(),
            grad_best=torch.zeros_like(points, dtype=grad_dtype),
            loss_best=numbers + math.nan,
            loss_prev=numbers + math.nan,
            loss_checked=numbers + math.nan,
            rises=numbers.long(),
            halved=numbers.bool(),
            step_scale=numbers + 1,
        )

    def __getitem__(self, rows: Tensor | slice) -> ApgdState:
        """The state of these samples."""
        return ApgdState(*(getattr(self, field.name)[rows] for field in fields(self)))


def apgd_step_(
    state: ApgdState,
    x: Tensor,
    grad: Tensor,
    loss: Tensor,
    *,
    eps: Number,
    step_size: Number | None = None,
    lower: Number = 0.0,
    upper: Number = 1.0,
    momentum: float = MOMENTUM,
    since_checkpoint: int = 0,
    rho: float = RHO,
    norm: str = "linf",
    tally: Tensor | None = None,
) -> ApgdState:
    """One iteration of Auto-PGD, given loss and gradient at ``state.x_adv``; in place.

    Per sample, without waiting for the GPU: the point is kept where its loss is the best so far. At a checkpoint the
    step is halved, and the sample goes back to its best point and the gradient there, where fewer than ``rho`` of the
    steps since the last checkpoint raised the loss, or where neither step nor best loss has changed since then. Then
    ``z = P(x_adv + step * direction)`` and ``x_adv, x_prev = P(x_adv + (1 - momentum) * (z - x_adv) +
    momentum * (x_adv - x_prev)), x_adv``, with the gradient's direction, the exact projection and the ways with odd
    numbers of :func:`~dlbench.ops.linf_step_` or :func:`~dlbench.ops.l2_step_`. A NaN is no rise of the loss, and the
    best loss only where there is no other.

    The momentum after going back is that from the point before the one given up, as in the official code. In three
    things it differs from that code and follows the paper: the loss after the first step is compared with the one at
    the start, the one after going back with the best, and ``rho`` of the steps are enough where they are exactly that.

    Args:
        state: of N samples; its two points ``x_adv`` and ``x_prev`` change places.
        x: the centres of the balls [N, ...], of the state's type.
        grad: the loss's gradient at ``state.x_adv``, in the type of ``state.grad_best``.
        loss: [N] the losses there, of any float type, to be raised.
        eps: radius of the ball, in units of ``x``: a number, [N] (per sample), or, in the L-infinity ball,
            [N or 1, C or 1, 1, ...].
        step_size: length of the first step, in the same forms; ``2 * eps`` where not given.
        lower: lower end of the box: a number, [C] (per channel), or [N or 1, C or 1, 1, ...]; ``-inf`` for none.
        upper: upper end of the box, in the same forms; ``inf`` for none.
        momentum: share of the last step in this one; 0 for the first. Where it is no power of two, results may differ
            by a rounding between devices (in the L2 ball they may at any rate).
        since_checkpoint: how many steps were taken since the last checkpoint, if this is one; else 0.
        rho: the share of these steps that must raise the loss.
        norm: of the ball: ``"linf"`` or ``"l2"``.
        tally: [N, 4] int64, to which the number of elements of ``grad`` is added that are
            zero, denormal, infinite, NaN.

    Returns:
        ``state`` itself. Nothing is differentiated through.

    Raises:
        TypeError: a tensor of a type that is not taken.
        ValueError: shapes or devices that differ, or a number out of its range.
    """
    check_tensors(state.x_adv, x, grad)
    if grad.dtype != state.grad_best.dtype:
        raise TypeError(f"grad is {grad.dtype} but the state was started for {state.grad_best.dtype}")
    if loss.shape != state.loss_best.shape or not loss.is_floating_point():
        raise ValueError(f"loss is {loss.dtype} {list(loss.shape)}; give {len(x)} floats, one a sample")
    if not (math.isfinite(momentum) and since_checkpoint >= 0 and 0 <= rho <= 1):
        raise ValueError(
            f"momentum={momentum}, since_checkpoint={since_checkpoint} and rho={rho}; "
            "they must be finite, 0 or more, and between 0 and 1"
        )
    if norm not in NORMS:
        raise ValueError(f"norm={norm!r} is unknown; it must be 'linf' or 'l2'")
    checked = limits if norm == "linf" else ball_limits
    numbers = checked(state.x_adv, eps, 2 * eps if step_size is None else step_size, lower, upper)
    torch.ops.dlbench.apgd_step_(
        *(getattr(state, field.name) for field in fields(state)),
        x.detach(),
        grad.detach(),
        loss.detach().double(),
        *numbers,
        momentum,
        since_checkpoint,
        rho,
        norm,
        tally,
    )
    state.x_adv, state.x_prev = state.x_prev, state.x_adv
    return state


def _orders(x: Tensor) -> list[torch.memory_format]:
    """The orders in memory that a state can have."""
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.dim())
    return [torch.contiguous_format] + ([last] if last is not None else [])


register("apgd_step_", reference.apgd_step_)


@torch.library.register_fake("dlbench::apgd_step_")  # type: ignore[untyped-decorator]
def _(
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
    return None
