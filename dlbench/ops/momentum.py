"""The step of the momentum iterative method."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dlbench.ops import reference
from dlbench.ops.limits import Number, limits
from dlbench.ops.loader import register
from dlbench.ops.perturb import check_tensors


def momentum_step_(
    x_adv: Tensor,
    x: Tensor,
    grad: Tensor,
    momentum: Tensor,
    *,
    eps: Number,
    step_size: Number,
    decay: float = 1.0,
    lower: Number = 0.0,
    upper: Number = 1.0,
    tally: Tensor | None = None,
) -> Tensor:
    """One step of the momentum iterative method (MI-FGSM) in the L-infinity ball around ``x``, in place.

    ``momentum = decay * momentum + grad / |grad|_1``, with the norm taken over each sample, and ``x_adv`` goes by
    ``step_size`` along the momentum's sign, within bounds that hold exactly, as in :func:`linf_step_` (Dong et al.,
    CVPR 2018, algorithm 1). torchattacks divides by the mean of ``|grad|`` instead, which makes its momentum larger by
    the number of elements, and its steps the same.

    A zero, a NaN or an infinite element of the gradient counts as 0; where a sample has no others, its momentum decays
    and nothing else happens to it. The norm is right however small or large the gradient is.

    Args:
        x_adv: the state [N, ...], float32 or float64; overwritten.
        x: the centre of the ball, same shape and type.
        grad: the loss's gradient at ``x_adv``, same shape, of any float type.
        momentum: the gathered gradients, shape and type of ``x_adv``, zeros at first; overwritten.
        eps: radius of the ball, at least 0, in units of ``x``: a number, [N] (per sample), or [N or 1, C or 1, 1, ...].
        step_size: length of the step, in the same forms; a negative one descends, as a targeted attack does.
        decay: what is left of the momentum in the next step, at least 0; 1 in the paper.
        lower: lower end of the box: a number, [C] (per channel), or [N or 1, C or 1, 1, ...]; ``-inf`` for none.
        upper: upper end of the box, in the same forms; ``inf`` for none.
        tally: [N, 4] int64, to which the number of elements of ``grad`` is added that are
            zero, denormal, infinite, NaN.

    Returns:
        ``x_adv`` itself. Nothing is differentiated through.

    Raises:
        TypeError: a tensor of a type that is not taken.
        ValueError: shapes or devices that differ, or a number out of its range.
    """
    check_tensors(x_adv, x, grad)
    if x_adv.dim() == 0:
        raise ValueError("x_adv has no dimension; its first one must be that of the samples")
    if momentum.dtype != x_adv.dtype:
        raise TypeError(f"momentum is {momentum.dtype} but x_adv is {x_adv.dtype}; give both in one type")
    if momentum.shape != x_adv.shape or momentum.device != x_adv.device:
        raise ValueError(
            f"momentum is {list(momentum.shape)} on {momentum.device} but x_adv is {list(x_adv.shape)} on "
            f"{x_adv.device}; make them agree"
        )
    if not 0 <= decay < math.inf:
        raise ValueError(f"decay={decay} is no factor of a decay; it must be finite and at least 0")
    numbers = limits(x_adv, eps, step_size, lower, upper)
    torch.ops.dlbench.momentum_step_(x_adv, x.detach(), grad.detach(), momentum, decay, *numbers, tally)
    return x_adv


register("momentum_step_", reference.momentum_step_)


@torch.library.register_fake("dlbench::momentum_step_")  # type: ignore[untyped-decorator]
def _(
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
    return None
