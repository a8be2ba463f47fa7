"""Attack steps in the L2 and the L1 ball, and the projections alone: onto ball and box together, exactly."""

from __future__ import annotations

import torch
from torch import Tensor

from dlbench.ops import reference
from dlbench.ops.limits import Limits, Number, limits
from dlbench.ops.loader import register, short_way
from dlbench.ops.perturb import check_tensors, linf_step_

NORMS = ("linf", "l2", "l1")
_short_l2_step, _short_l1_step = short_way("l2_step"), short_way("l1_step")


def l2_step_(
    x_adv: Tensor,
    x: Tensor,
    grad: Tensor,
    *,
    eps: Number,
    step_size: Number,
    lower: Number = 0.0,
    upper: Number = 1.0,
    tally: Tensor | None = None,
) -> Tensor:
    """One projected gradient step in the L2 ball around ``x``, in place.

    ``x_adv + step_size * grad / |grad|_2``, and from there to the nearest point of ball and box together, which is not
    what clipping a rescaled vector gives where the box is in the way. Both hold exactly: no result is outside the box,
    and no sample's ``|x_adv - x|_2`` exceeds ``eps`` in real arithmetic. Where they do not meet, the box wins.

    However small or large a gradient is, the step has its length; a zero, a NaN or an infinite element counts as 0, and
    a sample without others does not move. A NaN in ``x_adv`` stays, a NaN or an infinity in ``x`` gives NaN; neither
    touches another element.

    Args:
        x_adv: the state [N, ...], float32 or float64; overwritten.
        x: the centre of the ball, same shape and type.
        grad: the loss's gradient at ``x_adv``, same shape, of any float type.
        eps: radius of the ball, at least 0, in units of ``x``: a number or [N] (per sample).
        step_size: length of the step, in the same forms; a negative one descends, as a targeted attack does.
        lower: lower end of the box: a number, [C] (per channel), or [N or 1, C or 1, 1, ...]; ``-inf`` for none.
        upper: upper end of the box, in the same forms; ``inf`` for none.
        tally: [N, 4] int64, to which the number of elements of ``grad`` is added that are
            zero, denormal, infinite, NaN.

    Returns:
        ``x_adv`` itself. Nothing is differentiated through.

    Raises:
        TypeError: a tensor of a type that is not taken.
        ValueError: shapes or devices that differ, a number out of its range, or a radius per channel.
    """
    plain = tally is None and not torch.compiler.is_compiling()
    if plain and _short_l2_step(x_adv, x, grad, eps, step_size, lower, upper):
        return x_adv
    check_tensors(x_adv, x, grad)
    numbers = ball_limits(x_adv, eps, step_size, lower, upper)
    torch.ops.dlbench.l2_step_(x_adv, x.detach(), grad.detach(), *numbers, tally)
    return x_adv


def l1_step_(
    x_adv: Tensor,
    x: Tensor,
    grad: Tensor,
    *,
    eps: Number,
    step_size: Number,
    sparsity: Number = 0.01,
    lower: Number = 0.0,
    upper: Number = 1.0,
    tally: Tensor | None = None,
) -> Tensor:
    """One projected step of sparse steepest ascent in the L1 ball around ``x`` (SLIDE), in place.

    Of each sample's D coordinates the ``k = max(1, round(sparsity * D))`` with the largest ``|grad|`` move, each by
    ``step_size / k`` along the gradient's sign (Tramèr & Boneh, NeurIPS 2019); those that are at the box's end already
    are left out. Coordinates as large as the k-th all move and share the step, so that no order decides. From there it
    goes to the nearest point of ball and box together, exactly, as in :func:`l2_step_`.

    Args:
        x_adv: the state [N, ...], float32 or float64; overwritten.
        x: the centre of the ball, same shape and type.
        grad: the loss's gradient at ``x_adv``, same shape, of any float type.
        eps: radius of the ball, at least 0, in units of ``x``: a number or [N] (per sample).
        step_size: L1 length of the step, in the same forms; a negative one descends.
        sparsity: share of the coordinates that move, in (0, 1]: a number or [N]. Where not given 0.01, what moves in
            foolbox's SparseL1DescentAttack (its quantile is 0.99).
        lower: lower end of the box: a number, [C] (per channel), or [N or 1, C or 1, 1, ...]; ``-inf`` for none.
        upper: upper end of the box, in the same forms; ``inf`` for none.
        tally: [N, 4] int64, to which the number of elements of ``grad`` is added that are
            zero, denormal, infinite, NaN.

    Returns:
        ``x_adv`` itself. Nothing is differentiated through.

    Raises:
        TypeError: a tensor of a type that is not taken.
        ValueError: shapes or devices that differ, a number out of its range, or a radius per channel.
    """
    plain = tally is None and not torch.compiler.is_compiling()
    if plain and _short_l1_step(x_adv, x, grad, eps, step_size, lower, upper, sparsity):
        return x_adv
    check_tensors(x_adv, x, grad)
    numbers = ball_limits(x_adv, eps, step_size, lower, upper)
    share, shares = _sparsity(sparsity, x_adv)
    torch.ops.dlbench.l1_step_(x_adv, x.detach(), grad.detach(), *numbers[:4], share, numbers.table, shares, tally)
    return x_adv


def project_(x_adv: Tensor, x: Tensor, *, eps: Number, norm: str, lower: Number = 0.0, upper: Number = 1.0) -> Tensor:
    """Takes ``x_adv``, in place, to the nearest point of a ball around ``x`` and a box together.

    Both hold exactly, as in :func:`l2_step_`. What lies in both is not changed by a bit, nor is what a projection gave;
    in the L2 and L1 balls, points within 5e-7 of the radius (float64: 5e-13) may still be drawn in by three times that.
    The way from ``x`` is rounded in their type, so that from far outside of the box the point is as near to the nearest
    as that allows.

    Args:
        x_adv: the state [N, ...], float32 or float64; overwritten.
        x: the centre of the ball, same shape and type.
        eps: radius of the ball, at least 0: a number or [N]; for ``linf`` also per channel.
        norm: the ball's: ``"linf"``, ``"l2"`` or ``"l1"``.
        lower: lower end of the box: a number, [C] (per channel), or [N or 1, C or 1, 1, ...]; ``-inf`` for none.
        upper: upper end of the box, in the same forms; ``inf`` for none.

    Returns:
        ``x_adv`` itself. Nothing is differentiated through.

    Raises:
        TypeError: a tensor of a type that is not taken.
        ValueError: shapes or devices that differ, a number out of its range, or a norm that is not there.
    """
    if norm not in NORMS:
        raise ValueError(f"norm is {norm!r}; give one of {', '.join(NORMS)}")
    if norm == "linf":
        return linf_step_(x_adv, x, x, eps=eps, step_size=0.0, lower=lower, upper=upper)
    check_tensors(x_adv, x, x)
    numbers = ball_limits(x_adv, eps, 0.0, lower, upper)
    torch.ops.dlbench.project_(x_adv, x.detach(), numbers.eps, numbers.lower, numbers.upper, norm, numbers.table)
    return x_adv


def ball_limits(x: Tensor, eps: Number, step_size: Number, lower: Number, upper: Number) -> Limits:
    """Checked limits of a ball that has one radius, and a step that has one length, for a sample as a whole."""
    if x.dim() == 0:
        raise ValueError("x_adv has no dimension; its first one must be that of the samples")
    for name, value in (("eps", eps), ("step_size", step_size)):
        if not isinstance(value, Tensor) or value.dim() <= 1 or value.numel() == 1:
            continue
        if value.dim() != x.dim() or any(n != 1 for n in value.shape[1:]):
            raise ValueError(
                f"{name} has shape {list(value.shape)}, but this norm is taken over a whole sample; for a state "
                f"{list(x.shape)} give a number or [{len(x)}] (per sample)"
            )
    return limits(x, eps, step_size, lower, upper)


def _sparsity(value: Number, x: Tensor) -> tuple[float, Tensor | None]:
    """A share for all samples, and where they differ each one's [N]; a tensor on a GPU is not looked at."""
    if not isinstance(value, Tensor) or (value.dim() == 0 and not value.is_cuda):
        share = float(value)
        if not 0 < share <= 1:
            raise ValueError(f"sparsity={share} is not a share of the coordinates; it must be in (0, 1]")
        return share, None
    if value.numel() not in (1, len(x)) or value.dim() > 1:
        raise ValueError(f"sparsity has shape {list(value.shape)}; give a number or [{len(x)}] (per sample)")
    if not value.is_cuda and not ((value > 0) & (value <= 1)).all():
        raise ValueError(f"sparsity={value.tolist()} are not all shares of the coordinates; they must be in (0, 1]")
    return 1.0, value.detach().to(x.device, torch.float64).expand(len(x)).contiguous()


register("l2_step_", reference.l2_step_)
register("l1_step_", reference.l1_step_)
register("project_", reference.project_)


@torch.library.register_fake("dlbench::l2_step_")  # type: ignore[untyped-decorator]
def _(
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
    return None


@torch.library.register_fake("dlbench::l1_step_")  # type: ignore[untyped-decorator]
def _(
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
    return None


@torch.library.register_fake("dlbench::project_")  # type: ignore[untyped-decorator]
def _(x_adv: Tensor, x: Tensor, eps: float, lower: float, upper: float, norm: str, table: Tensor | None = None) -> None:
    return None
