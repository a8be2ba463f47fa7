"""The step of FAB, which looks for the nearest adversarial point."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dlbench.ops import reference
from dlbench.ops.loader import register

ETA = 1.05
BETA = 0.9
ALPHA_MAX = 0.1


def fab_step_(
    x_adv: Tensor,
    x: Tensor,
    grad: Tensor,
    lead: Tensor,
    adversarial: Tensor,
    *,
    lower: Tensor,
    upper: Tensor,
    unit: Tensor | None = None,
    norm: str = "linf",
    eta: float = ETA,
    beta: float = BETA,
    alpha_max: float = ALPHA_MAX,
    tally: Tensor | None = None,
) -> Tensor:
    """One step of FAB (Croce & Hein, ICML 2020, arXiv:1907.02044), in place, and how far it leads from ``x``.

    The decision boundary is taken for the plane on which the lead of another class' logit over the label's, linearised
    at ``x_adv``, is 0. ``x_adv``, drawn back towards ``x`` where it is adversarial, and ``x`` itself are projected on
    this plane inside the box, exactly; the new point lies between these two feet, a little beyond the plane
    (``csrc/perturb/fab/fab_step.h``). Elements of the gradient that are infinite or NaN count as 0, and so does such a
    lead.

    Args:
        x_adv: the points [N, ...], float32 or float64, inside the box; overwritten.
        x: the samples, same shape and type.
        grad: the lead's gradient at ``x_adv``, same shape and type.
        lead: [N] float64, the lead at ``x_adv``.
        adversarial: [N] bool, where the label is wrong at ``x_adv``.
        lower: least values of the box, shape of a sample and type of ``x``.
        upper: greatest values, likewise.
        unit: in which the L-infinity norm measures each coordinate, positive; shape and type of ``x``, or None for 1.
        norm: in which a point is near: ``"linf"`` or ``"l2"``.
        eta: how far to go, 1 being the plane.
        beta: what drawing back leaves of the distance to ``x``.
        alpha_max: the largest share of the foot of ``x``.
        tally: [N, 4] int64, to which the number of elements of ``grad`` is added that are
            zero, denormal, infinite, NaN.

    Returns:
        [N] float64, how far the new ``x_adv`` is from ``x``, in units. Nothing is differentiated through.

    Raises:
        TypeError: a tensor of a type that is not taken.
        ValueError: shapes or devices that differ, or an unknown norm.
    """
    if x_adv.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"x_adv is {x_adv.dtype}; it must be float32 or float64")
    if x_adv.dim() == 0:
        raise ValueError("x_adv has no dimension; its first one must be that of the samples")
    if norm not in ("linf", "l2"):
        raise ValueError(f"norm is {norm!r}; it must be 'linf' or 'l2'")
    if unit is not None and norm != "linf":
        raise ValueError("unit goes with the L-infinity norm; in the L2 norm all coordinates are measured alike")
    if not (0 <= beta <= 1 and 0 <= alpha_max <= 1 and 0 < eta < math.inf):
        raise ValueError(f"eta={eta}, beta={beta}, alpha_max={alpha_max}: eta must be positive, the others in [0, 1]")
    if x_adv.requires_grad and torch.is_grad_enabled():
        raise ValueError("x_adv requires a gradient, which a step in place falsifies; call this under torch.no_grad()")
    whole, each, rows = x_adv.shape, x_adv.shape[1:], x_adv.shape[:1]
    wanted = {"x": (x, whole), "grad": (grad, whole), "lower": (lower, each), "upper": (upper, each)}
    if unit is not None:
        wanted["unit"] = (unit, whole)
    for name, (tensor, shape) in wanted.items():
        _check(name, tensor, x_adv.dtype, shape, x_adv.device)
    _check("lead", lead, torch.float64, rows, x_adv.device)
    _check("adversarial", adversarial, torch.bool, rows, x_adv.device)
    tensors = (x.detach(), grad.detach(), lead.detach(), adversarial, lower, upper, unit)
    far: Tensor = torch.ops.dlbench.fab_step_(x_adv, *tensors, eta, beta, alpha_max, norm, tally)
    return far


def _check(name: str, tensor: Tensor, dtype: torch.dtype, shape: torch.Size, device: torch.device) -> None:
    if tensor.dtype != dtype:
        raise TypeError(f"{name} is {tensor.dtype}; it must be {dtype}")
    if tensor.shape != shape or tensor.device != device:
        raise ValueError(
            f"{name} is {list(tensor.shape)} on {tensor.device}; it must be {list(shape)} on {device}, as x_adv is"
        )


register("fab_step_", reference.fab_step_)


@torch.library.register_fake("dlbench::fab_step_")  # type: ignore[untyped-decorator]
def _(
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
    return lead.new_empty(lead.shape)
