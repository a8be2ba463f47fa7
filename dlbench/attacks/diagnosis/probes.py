"""Small measurements on a model: its gradients, whether they are those of its loss, whether it differentiates inside.

All of them expect a model in eval mode whose parameters are frozen, as ``attack_mode`` and ``input_grad_only`` leave
it.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from dlbench import ops
from dlbench.attacks.modes import Model
from dlbench.attacks.randomness import uniform

Loss = Callable[[Tensor, Tensor], Tensor]  # logits [n, K] and labels [n] to losses [n]; all rise as the attack succeeds


class CannotAskError(Exception):
    """A question that this model, these samples or these settings leave no way to put; the message says why."""


# ------------------------------------------------------------------------------------------------------------ losses


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Of each sample."""
    return F.cross_entropy(logits, labels, reduction="none")


# --------------------------------------------------------------------------------------------------------- gradients


def input_gradients(model: Model, points: Tensor, labels: Tensor, losses: Sequence[Loss]) -> list[Tensor]:
    """Gradients [n, ...] of each loss at the points; one forward pass, a backward pass a loss.

    Raises:
        CannotAskError: no gradient comes back from the logits to the points.
    """
    points = points.detach().clone().requires_grad_()
    logits = model(points)
    if not logits.requires_grad:
        raise CannotAskError("the logits carry no gradient; x is detached inside the model")
    gradients = []
    for loss in losses:
        try:
            (gradient,) = torch.autograd.grad(loss(logits, labels).sum(), points, retain_graph=True, allow_unused=True)
        except RuntimeError as error:
            raise CannotAskError(f"the backward pass fails: {str(error).splitlines()[0]}") from error
        if gradient is None:
            raise CannotAskError("the logits carry a gradient that does not reach x; it is detached inside the model")
        gradients.append(gradient)
    return gradients


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine [n] of the angle between a and b [n, ...]; 0 where either is zero or not finite: it points nowhere."""
    a, b = (v.flatten(1).double() for v in (a, b))
    a, b = (v / v.abs().amax(1, keepdim=True) for v in (a, b))  # squares could overflow or vanish
    return F.cosine_similarity(a, b).nan_to_num(0.0)


def in_float64(model: Model, x: Tensor) -> Model | None:
    """The model in double precision, a copy unless it is one already; ``None`` where it does not convert.

    One sample goes through it to see.
    """
    if x.dtype == torch.float64:
        return model
    try:
        twin = copy.deepcopy(model).double() if isinstance(model, nn.Module) else model
        answer = twin(x[:1].double())
    except Exception:  # a copy, a conversion and a forward pass of someone else's code: it may refuse in any way
        return None
    return twin if answer.dtype == torch.float64 else None


def slopes(
    model: Model,
    points: Tensor,
    labels: Tensor,
    ids: Tensor,
    *,
    step: float,
    bounds: tuple[Tensor, Tensor],
    directions: int,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Slopes of the margin at points [n, ...] along random directions: by the gradient, and by central differences.

    Both are [n, directions]. Points are drawn in by ``step``, so that no difference leaves the bounds, where a model
    may clamp. All forward passes see the same random state: a model that draws noise is asked about one draw. Costs
    two forward passes a direction, and one with its backward pass.
    """
    lower, upper = bounds
    centre = (lower + upper) / 2
    points = centre + (points - centre) * (1 - 2 * step / (upper - lower))
    with steady(points.device, seed):
        (gradient,) = input_gradients(model, points, labels, [ops.margin_loss])
    by_gradient, by_difference = [], []
    for i in range(directions):
        direction = uniform(seed, i, ids, points.shape[1:], points.dtype)
        ends = []
        for sign in (-1, 1):
            with steady(points.device, seed):
                ends.append(ops.margin_loss(model(points + sign * step * direction).detach(), labels))
        by_difference.append((ends[1] - ends[0]) / (2 * step))
        by_gradient.append((gradient * direction).flatten(1).sum(1))
    return torch.stack(by_gradient, 1), torch.stack(by_difference, 1)


# ---------------------------------------------------------------------------------------------------- state of torch


@contextlib.contextmanager
def steady(device: torch.device, seed: int) -> Iterator[None]:
    """Torch's generators start from the seed, and are afterwards as they were."""
    cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if cuda else []):
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


@contextlib.contextmanager
def exact_float32() -> Iterator[None]:
    """Products of float32 in float32: no TensorFloat-32, no bfloat16 behind the scenes."""
    backends: Any = torch.backends
    places = [
        backends.cuda.matmul,
        backends.cudnn.conv,
        backends.cudnn.rnn,
        backends.mkldnn.matmul,
        backends.mkldnn.conv,
        backends.mkldnn.rnn,
    ]
    before = [place.fp32_precision for place in places]
    try:
        for place in places:
            place.fp32_precision = "ieee"
        yield
    finally:
        for place, precision in zip(places, before, strict=True):
            place.fp32_precision = precision


class BackwardCalls(TorchFunctionMode):
    """Counts the calls of autograd's backward pass in this thread, however the caller came by the function."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func in (torch.autograd.grad, torch.autograd.backward, Tensor.backward)
        return func(*args, **(kwargs or {}))
