"""The numbers that bound a step: one for all, one a sample, one a channel, or one for each of both.

A radius or a step size of one dimension is per sample, ``[N]``; a bound of one dimension is per channel, ``[C]``, which
is how models with normalised inputs have them. Anything else is told by its shape: ``[N or 1, C or 1, 1, …]`` with as
many dimensions as the state, or ``[C, 1, …]`` with one fewer.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from dlbench.ops.reference.steps import down, up

Number = float | Tensor


class Limits(NamedTuple):
    """What the operators take: four numbers, or in their place a table [4, N or 1, C or 1] of the state's type."""

    eps: float
    step_size: float
    lower: float
    upper: float
    table: Tensor | None = None


def limits(x: Tensor, eps: Number, step_size: Number = 0.0, lower: Number = 0.0, upper: Number = 1.0) -> Limits:
    """Checked limits for a state ``x`` [N, C, ...], rounded so that they hold exactly in its type.

    Tensors on a GPU are not looked at, which would wait for it, and no tensor is while ``torch.compile`` traces: a
    negative or NaN radius is then the caller's to avoid.

    Raises:
        ValueError: a number out of its range, or a tensor whose shape fits neither samples nor channels.
    """
    if not (
        isinstance(eps, Tensor)
        or isinstance(step_size, Tensor)
        or isinstance(lower, Tensor)
        or isinstance(upper, Tensor)
    ):  # the usual case, which a small step's time is sensitive to
        numbers = Limits(float(eps), float(step_size), float(lower), float(upper))
        _check(*numbers[:4])
        return numbers
    given = {"eps": eps, "step_size": step_size, "lower": lower, "upper": upper}
    grids = [_grid(name, value, x) for name, value in given.items()]
    unseen = torch.compiler.is_compiling() or any(isinstance(v, Tensor) and v.is_cuda for v in given.values())
    if not unseen and all(grid.numel() for grid in grids):
        for extreme in (torch.amin, torch.amax):
            _check(float(extreme(grids[0])), float(extreme(grids[1])), *_narrowest(*grids[2:]))
    radius, step, low, high = (grid.to(x.device) for grid in grids)
    largest = torch.finfo(x.dtype).max
    shape = torch.broadcast_shapes(*(grid.shape for grid in grids))  # type: ignore[no-untyped-call]
    rounded = [
        down(radius, x.dtype),
        step.to(x.dtype),
        up(low, x.dtype).clamp(min=-largest),
        down(high, x.dtype).clamp(max=largest),
    ]
    table = torch.stack([tensor.expand(shape) for tensor in rounded])
    return Limits(0.0, 0.0, -math.inf, math.inf, table)


def _grid(name: str, value: Number, x: Tensor) -> Tensor:
    """A limit as float64 [N or 1, C or 1]."""
    if not isinstance(value, Tensor):
        return torch.full((1, 1), float(value), dtype=torch.float64, device=x.device)  # a copy could not be captured
    samples, channels = (*x.shape[:2], 1, 1)[:2] if x.dim() > 1 else (*x.shape, 1)
    value = value.detach().double()
    shape = tuple(value.shape)
    if value.dim() == 0:
        shape = (1, 1)
    elif value.dim() == 1:
        shape = (1, len(value)) if name in ("lower", "upper") else (len(value), 1)
    elif value.dim() == x.dim() - 1 and all(n == 1 for n in shape[1:]):
        shape = (1, shape[0])
    elif value.dim() != x.dim() or any(n != 1 for n in shape[2:]):
        shape = (0, 0)
    if shape[0] not in (1, samples) or shape[1] not in (1, channels):
        raise ValueError(
            f"{name} has shape {list(value.shape)}; for a state {list(x.shape)} give a number, "
            + ("" if name in ("lower", "upper") else f"[{samples}] (per sample), ")
            + f"or {f'[{channels}] or ' if name in ('lower', 'upper') else ''}"
            f"[{samples} or 1, {channels} or 1{', 1' * (x.dim() - 2)}]"
        )
    return value.reshape(shape[0], shape[1])


def _narrowest(lower: Tensor, upper: Tensor) -> tuple[float, float]:
    """The ends of the box where it leaves least room."""
    lower, upper = (bound.flatten() for bound in torch.broadcast_tensors(lower, upper))  # type: ignore[no-untyped-call]
    least = int((upper - lower).nan_to_num(posinf=torch.inf, neginf=-torch.inf, nan=-torch.inf).argmin())
    return float(lower[least]), float(upper[least])


def _check(eps: float, step_size: float, lower: float, upper: float) -> None:
    if not 0 <= eps < math.inf:
        raise ValueError(f"eps={eps} is not a radius; it must be finite and at least 0")
    if not -math.inf < step_size < math.inf:
        raise ValueError(f"step_size={step_size} is not a length; it must be finite")
    if not lower <= upper:
        raise ValueError(f"lower={lower} and upper={upper} leave no room; lower must not be above upper")
