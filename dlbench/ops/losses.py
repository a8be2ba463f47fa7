"""Losses that attacks raise, one a sample: larger is more adversarial. Neither saturates as cross-entropy does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dlbench.ops import reference
from dlbench.ops.loader import register

FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def margin_loss(logits: Tensor, y: Tensor) -> Tensor:
    """Best other logit minus the label's own: ``max over i != y of z_i - z_y``, positive where y is not predicted.

    Differentiable once in ``logits``. Among equal logits the lower index counts as the larger one. A row with a NaN has
    a NaN for its loss, and so has one whose label is no class where that cannot be asked for, on a GPU.

    Args:
        logits: [N, K] of any float type, K at least 2; half types are computed in float32.
        y: [N] int64, the labels.

    Returns:
        [N] float64 where ``logits`` are, else float32.

    Raises:
        TypeError: types that are not taken.
        ValueError: shapes or devices that do not fit, or too few classes.
        IndexError: a label outside of [0, K), on the CPU.
    """
    _check("margin_loss", logits, y, None, classes=2)
    loss: Tensor = torch.ops.dlbench.margin_loss(logits, y)[0]
    return loss


def dlr_loss(logits: Tensor, y: Tensor, target: Tensor | int | None = None) -> Tensor:
    """The difference of logits ratio of Croce & Hein (ICML 2020), which neither shift nor scale of the logits changes.

    ``(max over i != y of z_i - z_y) / (z_1 - z_3 + 1e-12)``, and with a target
    ``(z_t - z_y) / (z_1 - (z_3 + z_4) / 2 + 1e-12)``, where ``z_1 >= z_2 >= ...`` are the logits in descending order.

    Args:
        logits: as for :func:`margin_loss`, K at least 3, or 4 with a target.
        y: [N] int64, the labels.
        target: the class to reach, one for all or [N] int64.

    Returns, raises, derivatives, ties and NaNs are those of :func:`margin_loss`.
    """
    if isinstance(target, int):
        target = torch.full_like(y, target)
    _check("dlr_loss", logits, y, target, classes=3 if target is None else 4)
    loss: Tensor = torch.ops.dlbench.dlr_loss(logits, y, target)[0]
    return loss


def _check(name: str, logits: Tensor, y: Tensor, target: Tensor | None, classes: int) -> None:
    if logits.dtype not in FLOATS:
        raise TypeError(f"logits are {logits.dtype}; they must be float64, float32, bfloat16 or float16")
    if logits.dim() != 2:
        raise ValueError(f"logits have shape {list(logits.shape)}; it must be [samples, classes]")
    if logits.shape[1] < classes:
        how = "" if target is None else " with a target"
        raise ValueError(
            f"{name}{how} needs {classes} classes or more and there are {logits.shape[1]}; "
            f"{'cross-entropy does with one' if classes == 2 else 'margin_loss does with two'}"
        )
    for what, labels in (("y", y), ("target", target)):
        if labels is None:
            continue
        if labels.dtype != torch.int64:
            raise TypeError(f"{what} is {labels.dtype}; it must be int64")
        if labels.shape != logits.shape[:1]:
            raise ValueError(f"{what} has shape {list(labels.shape)}; for these logits it must be [{logits.shape[0]}]")
        if labels.device != logits.device:
            raise ValueError(f"{what} is on {labels.device} but logits are on {logits.device}; move it there")


register("margin_loss", reference.margin_loss)
register("dlr_loss", reference.dlr_loss)
register("scatter_slopes", reference.scatter_slopes)


def _fake_loss(logits: Tensor, places: int) -> tuple[Tensor, Tensor, Tensor]:
    rows, dtype = logits.shape[0], torch.float64 if logits.dtype == torch.float64 else torch.float32
    return (
        logits.new_empty(rows, dtype=dtype),
        logits.new_empty(rows, places, dtype=torch.int64),
        logits.new_empty(rows, places, dtype=dtype),
    )


@torch.library.register_fake("dlbench::margin_loss")  # type: ignore[untyped-decorator]
def _(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return _fake_loss(logits, 2)


@torch.library.register_fake("dlbench::dlr_loss")  # type: ignore[untyped-decorator]
def _(logits: Tensor, y: Tensor, target: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    return _fake_loss(logits, 4 if target is None else 5)


@torch.library.register_fake("dlbench::scatter_slopes")  # type: ignore[untyped-decorator]
def _(places: Tensor, slopes: Tensor, grad: Tensor, classes: int) -> Tensor:
    return slopes.new_empty(slopes.shape[0], classes)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    ctx.save_for_backward(*output[1:])  # slopes depend on logits: who differentiates twice arrives at _no_second
    ctx.classes, ctx.dtype, ctx.labels = inputs[0].shape[1], inputs[0].dtype, len(inputs) - 1


def _backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    places, slopes = ctx.saved_tensors
    of_logits = torch.ops.dlbench.scatter_slopes(places, slopes, grad, ctx.classes).to(ctx.dtype)
    return of_logits, *[None] * ctx.labels


def _no_second(ctx: Any, grad: Tensor) -> None:
    raise NotImplementedError("margin_loss and dlr_loss can be differentiated once, not twice")


torch.library.register_autograd("dlbench::margin_loss", _backward, setup_context=_setup)
torch.library.register_autograd("dlbench::dlr_loss", _backward, setup_context=_setup)
torch.library.register_autograd("dlbench::scatter_slopes", _no_second)
