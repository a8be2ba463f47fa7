"""What all attacks share: the question asked of each sample, the best answer so far, and what it has cost."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from dlbench import ops

Bounds = tuple[float, float]


@dataclass(frozen=True, eq=False)
class AttackResult:
    """The outcome of an attack on N samples; all tensors on the samples' device.

    Args:
        x_adv: [N, ...] the point kept for each sample: the first that reaches the goal, else the one of best loss.
            A sample that the model gets wrong as it stands is returned unchanged.
        success: [N] bool, the goal is reached: the label is wrong, or is the target where there is one.
        clean_correct: [N] bool, the model is right on x.
        label_adv: [N] the model's label at ``x_adv``.
        loss: [N] the loss at ``x_adv``, of the true label, or of the target where there is one.
        forwards, backwards: [N] how many forward passes a sample was in, and how many of its gradients were used.
        first_step: [N] after how many steps (gradients, or queries where there are none), over all restarts, the goal
            was first reached: 0 on x or at a random start, -1 never.
    """

    x_adv: Tensor
    success: Tensor
    clean_correct: Tensor
    label_adv: Tensor
    loss: Tensor
    forwards: Tensor
    backwards: Tensor
    first_step: Tensor

    @property
    def robust_accuracy(self) -> float:
        """Share of all samples that the model gets right and the attack did not bring to its goal."""
        return float((self.clean_correct & ~self.success).double().mean())

    @property
    def attack_success_rate(self) -> float:
        """Share of the samples that the model gets right which the attack brought to its goal; NaN without any."""
        return float(self.success[self.clean_correct].double().mean())


class Search:
    """An attack under way: it proposes points, ``visit`` sees the model's answer and keeps what is best.

    A point is better when it reaches the goal and the kept one does not, and among equals when its loss is better, so
    that restarts give the worst case of each sample, and more steps never a weaker attack. ``active`` [n] are the
    indices of the samples that are attacked at the moment; every argument of length n is about them, in that order.
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        *,
        target: Tensor | int | None = None,
        bounds: Bounds,
        loss: Loss = "ce",
        stop: Literal["success", "never"] = "success",
        sample_ids: Tensor | None = None,
    ) -> None:
        n = len(x)
        _check_inputs(x, y, bounds)
        if loss not in LOSSES:
            raise ValueError(f"loss is {loss!r}; there are {', '.join(map(repr, LOSSES))}")
        if stop not in ("success", "never"):
            raise ValueError(f"stop is {stop!r}; it must be 'success' or 'never'")
        # clones: tensors that were made under inference mode cannot take part in a backward pass
        self.x, self.y, self.bounds, self.stop = x.detach().clone(), y.clone(), bounds, stop
        self.targeted = target is not None
        self.aim = self.y if target is None else torch.as_tensor(target, device=y.device).expand(n).clone()
        self.sign = -1.0 if self.targeted else 1.0  # the loss of a target is to fall
        self.loss_of = LOSSES[loss]
        self.ids = torch.arange(n, device=x.device) if sample_ids is None else sample_ids.to(x.device)
        if self.ids.shape != (n,) or self.ids.dtype != torch.int64:
            raise ValueError(f"sample_ids must be {n} int64 numbers; got {self.ids.dtype} {list(self.ids.shape)}")

        self.x_adv = self.x.clone()
        self.score = torch.full((n,), -math.inf, dtype=x.dtype, device=x.device)
        self.loss = self.score.clone()
        self.success = torch.zeros(n, dtype=torch.bool, device=x.device)
        self.clean_correct = self.success
        self.labels, self.first_step = torch.full_like(self.y, -1), torch.full_like(self.y, -1)
        self.forwards, self.starts = torch.zeros_like(self.y), torch.zeros_like(self.y)
        self.attend(torch.arange(n, device=x.device))

    def attend(self, active: Tensor) -> None:
        """Attack these samples from here on."""
        self.active, self.centres, self.aims = active, self.x[active], self.aim[active]

    def clean(self, logits: Tensor) -> Tensor:
        """Note the logits [N, K] on x itself; returns the losses [N]."""
        classes = logits.shape[1] if logits.dim() == 2 else -1
        if logits.shape != (len(self.x), classes):
            raise ValueError(
                f"the model returned {list(logits.shape)} for {len(self.x)} samples, not logits [N, classes]"
            )
        for name, labels in (("y", self.y), ("target", self.aim)):
            if len(labels) and (labels.min() < 0 or labels.max() >= classes):
                found = f"{int(labels.min())} to {int(labels.max())}"
                raise ValueError(f"{name} has labels from {found}; the model knows 0 to {classes - 1}")
        self.labels = logits.detach().argmax(1)
        self.clean_correct = self.labels == self.y
        return self.visit(self.x, logits, start=True)

    def visit(self, points: Tensor, logits: Tensor, *, start: bool = False, score: Tensor | None = None) -> Tensor:
        """Note the logits [n, K] at points [n, ...], which no step led to if they are a start; returns losses [n].

        A score [n] takes the loss's place where points are compared: the greater is the better, and a point of score
        -inf is counted but never kept.
        """
        losses = self.loss_of(logits, self.aims)
        labels = logits.detach().argmax(1)
        reached = (labels == self.aims) == self.targeted
        if score is None:
            score = self.sign * losses.detach()
        else:
            reached &= score > -math.inf
        self.forwards[self.active] += 1
        if start:
            self.starts[self.active] += 1

        before = self.success[self.active]
        better = (reached > before) | ((reached == before) & (score > self.score[self.active]))
        better = better.nonzero().squeeze(1)
        kept = self.active[better]
        self.x_adv[kept], self.labels[kept] = points.detach()[better], labels[better]
        self.score[kept] = score[better].to(self.score.dtype)
        self.loss[kept] = losses.detach()[better].to(self.loss.dtype)
        if (new := reached > before).any():
            new = self.active[new]
            self.success[new] = True
            self.first_step[new] = self.forwards[new] - self.starts[new]
        return losses

    def open(self) -> Tensor:
        """Which of the active samples [n] are still to be attacked, as positions among them."""
        if self.stop == "never":
            return torch.arange(len(self.active), device=self.active.device)
        return (~self.success[self.active]).nonzero().squeeze(1)

    def drop_decided(self) -> bool:
        """Attend to the open samples only; whether there are any."""
        self.attend(self.active[self.open()])
        return len(self.active) > 0

    def project(self, points: Tensor, eps: float) -> Tensor:
        """Points [n, ...], in place, into the ball around their samples and into the bounds: a step of length 0."""
        lower, upper = self.bounds
        nowhere = torch.zeros_like(points)
        return ops.linf_step_(points, self.centres, nowhere, eps=eps, step_size=0.0, lower=lower, upper=upper)

    def result(self, *, by_gradient: bool) -> AttackResult:
        """What was found; a step took a gradient, or none did."""
        steps = self.forwards - self.starts
        return AttackResult(
            x_adv=self.x_adv,
            success=self.success,
            clean_correct=self.clean_correct,
            label_adv=self.labels,
            loss=self.loss,
            forwards=self.forwards,
            backwards=steps if by_gradient else torch.zeros_like(steps),
            first_step=self.first_step,
        )


# ----------------------------------------------------------------------------------------------------------- losses

Loss = Literal["ce", "margin"]


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, reduction="none")


def _margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Best other logit minus the label's own: positive where the label is not predicted. It cannot saturate."""
    own = logits.gather(1, labels[:, None]).squeeze(1)
    others = logits.scatter(1, labels[:, None], -math.inf)
    return others.amax(1) - own


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"ce": _cross_entropy, "margin": _margin}


# ----------------------------------------------------------------------------------------------------------- checks


def check_eps(eps: float) -> None:
    """A radius is a finite number, zero or more."""
    if not (math.isfinite(eps) and eps >= 0):
        raise ValueError(f"eps is {eps!r}; it must be a finite number, zero or more")


def _check_inputs(x: Tensor, y: Tensor, bounds: Bounds) -> None:
    if x.dtype not in (torch.float32, torch.float64):  # half precision cannot hold a step of 2/255 near 1
        raise ValueError(f"x is {x.dtype}; an attack needs float32 or float64 (the model may cast)")
    if y.dtype != torch.int64 or y.shape != x.shape[:1]:
        raise ValueError(f"y must be {len(x)} int64 labels, one a sample; got {y.dtype} {list(y.shape)}")
    lower, upper = bounds
    if not lower < upper:
        raise ValueError(f"bounds are {bounds!r}; the lower must be smaller than the upper")
    if not ((x >= lower) & (x <= upper)).all():
        extent = f"from {float(x.min()):g} to {float(x.max()):g}"
        raise ValueError(
            f"x has values {extent} and bounds are ({lower:g}, {upper:g}): pass the bounds of your inputs, or clamp x"
        )
