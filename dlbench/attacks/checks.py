"""What every attack asks of its arguments: one clear line says what was given and what was expected."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dlbench.ops.limits import Number

Bounds = tuple[Number, Number]
MODES = ("auto", "compile", "off")  # of looking for faster forms of a model
PROBABILITIES_SUM = 1e-5  # how far from 1 (AutoAttack: check_range_output)


def whole(least: int = 1, **given: object) -> None:
    """Whole numbers, each at least so large."""
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} is {value!r}; it must be a whole number, {least} or more")


def within(least: float, most: float, **given: float) -> None:
    """Numbers from the least to the most, both included; infinity is none."""
    for name, value in given.items():
        if not least <= value <= most or math.isinf(value):
            upper = f" to {most:g}" if most < math.inf else " or more, and finite"
            raise ValueError(f"{name} is {value!r}; it must be {least:g}{upper}")


def positive_number(**given: float) -> None:
    """Numbers above zero; infinity is none."""
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, float | int) or not 0 < value < math.inf:
            raise ValueError(f"{name} is {value!r}; it must be a finite number above zero")


def one_of(known: Sequence[str], **given: object) -> None:
    """Names that are known."""
    for name, value in given.items():
        if value not in known:
            raise ValueError(f"{name} is {value!r}; it must be {_or(known)}")


def _or(names: Sequence[str]) -> str:
    *others, last = map(repr, names)
    return f"{', '.join(others)} or {last}" if others else last


def loss(given: object, known: Sequence[str]) -> None:
    """A loss by its name, or a function."""
    if not callable(given) and given not in known:
        raise ValueError(f"loss is {given!r}; it must be {_or(known)}, or a function of your own")


def samples(x: Tensor, y: Tensor, bounds: Bounds) -> None:
    """Inputs of a type that holds small steps, inside the bounds, and a label for each."""
    for name, value in (("x", x), ("y", y)):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} is a {type(value).__name__}; give a tensor, as torch.as_tensor makes one")
    if x.dtype not in (torch.float32, torch.float64):  # half precision cannot hold a step of 2/255 near 1
        raise ValueError(f"x is {x.dtype}; an attack needs float32 or float64 (the model may cast)")
    if x.dim() < 2:
        raise ValueError(f"x has shape {list(x.shape)}; it must be [samples, ...], with at least one number a sample")
    if y.dtype != torch.int64 or y.shape != x.shape[:1]:
        raise ValueError(f"y must be {len(x)} int64 labels, one a sample; got {y.dtype} {list(y.shape)}")
    if y.device != x.device:
        raise ValueError(f"y is on {y.device} and x is on {x.device}; move one to the other")
    lower, upper = (_by_channel(name, bound, x) for name, bound in zip(("lower", "upper"), _pair(bounds), strict=True))
    if not (lower < upper).all():
        raise ValueError(f"bounds are {bounds!r}; the lower must be smaller than the upper")
    if not ((x >= lower) & (x <= upper)).all():
        extent = f"from {float(x.min()):g} to {float(x.max()):g}"
        shown = f"({float(lower.min()):g}, {float(upper.max()):g})"
        raise ValueError(f"x has values {extent} and bounds are {shown}: pass the bounds of your inputs, or clamp x")


def like(name: str, given: object, x: Tensor) -> None:
    """Points that lie as the samples do, all of them finite."""
    if not isinstance(given, Tensor) or (given.shape, given.dtype, given.device) != (x.shape, x.dtype, x.device):
        kind = type(given).__name__
        got = f"{given.dtype} {list(given.shape)} on {given.device}" if isinstance(given, Tensor) else f"a {kind}"
        raise ValueError(f"{name} is {got}; it must be as x is: {x.dtype} {list(x.shape)} on {x.device}")
    if not given.isfinite().all():
        raise ValueError(f"{name} has values that are infinite or no numbers")


def finite(bounds: Bounds) -> None:
    """Bounds that an attack can measure by, or map to a line."""
    if not all(torch.as_tensor(bound).isfinite().all() for bound in bounds):
        raise ValueError(f"bounds are {bounds!r}; this attack needs finite ones, such as the extent of your inputs")


def _pair(bounds: Bounds) -> Bounds:
    if not isinstance(bounds, Sequence) or len(bounds) != 2:
        raise ValueError(f"bounds are {bounds!r}; give the least and the greatest value that an input can have")
    return bounds


def _by_channel(name: str, bound: Number, x: Tensor) -> Tensor:
    """A bound in a shape that broadcasts with x [N, C, ...]."""
    if not isinstance(bound, Tensor) or bound.dim() == 0:
        return torch.as_tensor(bound, dtype=torch.float64, device=x.device)
    if bound.shape != x.shape[1:2]:
        raise ValueError(
            f"the {name} bound has shape {list(bound.shape)}; give a number or {x.shape[1]}, one a channel"
        )
    return bound.to(x.device).double().view(-1, *[1] * (x.dim() - 2))


def radius(eps: float) -> float:
    """A radius for all samples: a finite number, zero or more."""
    if isinstance(eps, bool) or not isinstance(eps, float | int) or not 0 <= eps < math.inf:
        raise ValueError(f"eps is {eps!r}; it must be a finite number, zero or more")
    return float(eps)


def lengths(name: str, value: Number, x: Tensor) -> Number:
    """A radius or a step: one number, or a tensor of them with a row a sample, on the device of x.

    Args:
        name: of the argument.
        value: a number, [N] (one a sample), or [N or 1, C or 1, 1, ...] (one a channel, or one for each of both).
        x: [N, C, ...].
    """
    if not isinstance(value, Tensor):
        if isinstance(value, bool) or not isinstance(value, float | int) or not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value!r}; it must be a finite number, zero or more")
        return float(value)
    if value.dim() == 0:
        return lengths(name, float(value), x)
    n, channels = x.shape[:2]
    by_sample = value.shape == (n,)
    by_channel = value.dim() == x.dim() and value.shape[0] in (1, n) and value.shape[1] in (1, channels)
    if not (by_sample or (by_channel and value[0, 0].numel() == 1)):
        raise ValueError(
            f"{name} has shape {list(value.shape)}; it must be a number, or {n} of them, one a sample, or "
            f"[{n} or 1, {channels} or 1{', 1' * (x.dim() - 2)}], one a channel"
        )
    if not ((value >= 0) & value.isfinite()).all():
        raise ValueError(f"{name} goes from {float(value.min()):g} to {float(value.max()):g}; it must be finite, >= 0")
    value = value.detach().to(x.device, torch.float64)
    return value if by_sample else value.expand(n, *value.shape[1:])


def reach(eps: Number | None, x: Tensor, norm: str) -> Number:
    """How far a point may be that counts, for attacks that look for the nearest: infinity where no radius is given."""
    if eps is None:
        return math.inf
    eps = lengths("eps", eps, x)
    return eps if norm == "linf" else one_for_each(eps, norm)


def positive(eps: Number) -> bool:
    """Whether any radius leaves room."""
    return bool((eps > 0).any()) if isinstance(eps, Tensor) else eps > 0


def one_for_each(eps: Number, norm: str) -> Number:
    """Radii of balls that are as wide in every channel: [N], or the number."""
    if isinstance(eps, Tensor) and eps.dim() > 1:
        if eps.shape[1] != 1:
            raise ValueError(
                f"eps has shape {list(eps.shape)}, but norm {norm!r} measures all channels alike: give [N]"
            )
        return eps.flatten()
    return eps


def numbers_of(what: str, given: Tensor | int, n: int, device: torch.device) -> Tensor:
    """[n] int64: those given, or the one given for all."""
    found = torch.as_tensor(given, device=device)
    if found.dtype != torch.int64 or found.shape not in ((), (n,)):
        raise ValueError(f"{what} must be {n} int64 numbers, one a sample; got {found.dtype} {list(found.shape)}")
    return found.expand(n).clone()


def chosen(mask: Tensor | None, n: int, device: torch.device) -> Tensor:
    """[n] bool, the samples that a mask chooses; all without one."""
    if mask is None:
        return torch.ones(n, dtype=torch.bool, device=device)
    if mask.shape != (n,) or mask.dtype != torch.bool:
        raise ValueError(f"mask must be {n} booleans, one a sample; got {mask.dtype} {list(mask.shape)}")
    return mask.to(device)


def logits(answer: Tensor, n: int) -> int:
    """The model's answer on n samples is logits [n, K] or [n, answers, K], not probabilities; returns K."""
    if answer.dim() not in (2, 3) or len(answer) != n:
        raise ValueError(f"the model returned {list(answer.shape)} for {n} samples, not logits [N, classes]")
    if answer.shape[-1] < 2:
        raise ValueError(f"the model returned {list(answer.shape)}: logits of one class, which leave nothing to attack")
    if n and bool(are_probabilities(answer.detach().flatten(0, -2)).all()):
        raise ValueError(
            "the model returned probabilities (rows in [0, 1] that sum to 1), not logits, and flattens gradients; "
            "attack what enters its softmax, or the logarithm of what leaves it"
        )
    return answer.shape[-1]


def labels(name: str, given: Tensor, classes: int) -> None:
    """Labels [n] are among the classes that the model knows."""
    if len(given) and (given.min() < 0 or given.max() >= classes):
        found = f"{int(given.min())} to {int(given.max())}"
        raise ValueError(f"{name} has labels from {found}; the model knows 0 to {classes - 1}")


def are_probabilities(answers: Tensor) -> Tensor:
    """[n] bool, which rows of [n, K] lie in [0, 1] and sum to 1, as logits do by chance only."""
    slack = max(PROBABILITIES_SUM, answers.shape[1] * torch.finfo(answers.dtype).eps)
    inside = (answers.amin(1) >= -slack) & (answers.amax(1) <= 1 + slack)
    return inside & ((answers.sum(1) - 1).abs() < slack)


def one_a_sample(losses: Tensor, n: int) -> None:
    """What a loss function returned for n samples."""
    if losses.shape != (n,):
        raise ValueError(f"the loss returned {list(losses.shape)} for {n} samples; it must give one a sample")
