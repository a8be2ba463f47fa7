"""What all attacks share: the question asked of each sample, the best answer so far, and what it has cost."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from dlbench import ops
from dlbench.attacks.geometry import Bounds, check_norm, distance
from dlbench.ops.limits import Number

Norm = Literal["linf", "l2", "l1"]
Stop = Literal["cycle", "success", "never"]
Keep = Literal["first", "best_loss", "last"]


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
        norm: [N] float64, the size of ``x_adv - x`` in the attack's norm.
        cycled: [N] bool, a restart ended early because it had come back to a point where it had been.
        nonfinite: how many elements of gradients were NaN or infinite; they were taken for zero.
        attacks: the names of the attacks, where several were run one after the other on what was left.
        broken_by: [N] the number of the one among them that reached the goal; -1 for none, or where none was needed.
    """

    x_adv: Tensor
    success: Tensor
    clean_correct: Tensor
    label_adv: Tensor
    loss: Tensor
    forwards: Tensor
    backwards: Tensor
    first_step: Tensor
    norm: Tensor
    cycled: Tensor
    nonfinite: int = 0
    attacks: tuple[str, ...] = ()
    broken_by: Tensor | None = None

    @property
    def robust_accuracy(self) -> float:
        """Share of all samples that the model gets right and the attack did not bring to its goal."""
        return float((self.clean_correct & ~self.success).double().mean())

    @property
    def attack_success_rate(self) -> float:
        """Share of the samples that the model gets right which the attack brought to its goal; NaN without any."""
        return float(self.success[self.clean_correct].double().mean())

    def followed_by(self, chosen: Tensor, other: AttackResult) -> AttackResult:
        """This result and what another attack made of its samples ``chosen`` [n]: its successes and costs count."""
        merged: dict[str, Any] = {}
        new = other.success & ~self.success[chosen]
        for name in ("x_adv", "success", "label_adv", "loss", "norm", "first_step"):
            merged[name] = getattr(self, name).clone()
            merged[name][chosen[new]] = getattr(other, name)[new].to(merged[name].dtype)
        for name in ("forwards", "backwards"):
            merged[name] = getattr(self, name).index_add(0, chosen, getattr(other, name))
        merged["cycled"] = self.cycled.clone()
        merged["cycled"][chosen] |= other.cycled
        return replace(self, **merged, nonfinite=self.nonfinite + other.nonfinite)


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
        norm: Norm = "linf",
        loss: Loss = "ce",
        keep: Keep = "best_loss",
        stop: Stop = "success",
        sample_ids: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> None:
        n = len(x)
        check_inputs(x, y, bounds)
        check_norm(norm)
        if not callable(loss) and loss not in LOSSES:
            raise ValueError(f"loss is {loss!r}; there are {', '.join(map(repr, LOSSES))}, or a function of your own")
        if stop not in ("cycle", "success", "never"):
            raise ValueError(f"stop is {stop!r}; it must be 'cycle', 'success' or 'never'")
        if keep not in ("first", "best_loss", "last"):
            raise ValueError(f"keep is {keep!r}; it must be 'first', 'best_loss' or 'last'")
        if mask is not None and (mask.shape != (n,) or mask.dtype != torch.bool):
            raise ValueError(f"mask must be {n} booleans, one a sample; got {mask.dtype} {list(mask.shape)}")
        # clones: tensors that were made under inference mode cannot take part in a backward pass
        self.x, self.y, self.bounds, self.stop = x.detach().clone(), y.clone(), bounds, stop
        self.norm, self.keep = norm, keep
        self.targeted = target is not None
        self.aim = self.y if target is None else torch.as_tensor(target, device=y.device).expand(n).clone()
        self.sign = -1.0 if self.targeted else 1.0  # the loss of a target is to fall
        self.loss_of = loss if callable(loss) else LOSSES[loss]
        self.ids = torch.arange(n, device=x.device) if sample_ids is None else sample_ids.to(x.device)
        if self.ids.shape != (n,) or self.ids.dtype != torch.int64:
            raise ValueError(f"sample_ids must be {n} int64 numbers; got {self.ids.dtype} {list(self.ids.shape)}")

        self.skipped = torch.zeros(n, dtype=torch.bool, device=x.device) if mask is None else ~mask.to(x.device)
        self._begin(width=1)

    def _begin(self, width: int) -> None:
        """Nothing is known yet. Each ``width`` neighbours are restarts of one sample, of which the first that reaches
        the goal counts.
        """
        n, device, self.width = len(self.x), self.x.device, width
        self.x_adv = self.x.clone()
        self.score, self.loss = torch.full((2, n), -math.inf, dtype=self.x.dtype, device=device).unbind()
        self.success, self.clean_correct, self.cycled = torch.zeros(3, n, dtype=torch.bool, device=device).unbind()
        self.labels, self.first_step = torch.full((2, n), -1, device=device).unbind()
        self.forwards, self.backwards, self.steps = torch.zeros(3, n, dtype=torch.int64, device=device).unbind()
        self.nonfinite = torch.zeros((), dtype=torch.int64, device=device)
        self.attend(torch.arange(n, device=device))

    def branch(self, jobs: Tensor, width: int) -> Search:
        """A search of its own for ``width`` restarts of each of some samples; :meth:`merge` brings it home.

        Args:
            jobs: [n * width] the samples, each as often as it has restarts, which stand in their order.
            width: how many restarts.
        """
        other = copy.copy(self)
        other.x, other.y, other.aim, other.ids = (t[jobs] for t in (self.x, self.y, self.aim, self.ids))
        other.skipped = torch.zeros_like(jobs, dtype=torch.bool)
        other._begin(width)
        return other

    def merge(self, samples: Tensor, branch: Search) -> None:
        """Take over what a branch has found for its samples [n], restart by restart."""
        for restart in range(branch.width):
            of = slice(restart, None, branch.width)
            before, reached = self.success[samples], branch.success[of]
            better = self._better(before, reached, self.score[samples], branch.score[of])
            better = better.nonzero().squeeze(1)
            for name in ("x_adv", "labels", "score", "loss"):
                getattr(self, name)[samples[better]] = getattr(branch, name)[of][better]
            self.success[samples] = reached if self.keep == "last" else before | reached
            new = (reached & (self.first_step[samples] < 0)).nonzero().squeeze(1)
            self.first_step[samples[new]] = self.steps[samples[new]] + branch.first_step[of][new]
            for name in ("forwards", "backwards", "steps"):
                getattr(self, name)[samples] += getattr(branch, name)[of]
            self.cycled[samples] |= branch.cycled[of]
        self.nonfinite += branch.nonfinite

    def _better(self, before: Tensor, reached: Tensor, score: Tensor, new_score: Tensor) -> Tensor:
        """Which of n new points replace the ones kept, given which of either reach the goal, and their scores."""
        if self.keep == "last":
            return torch.ones_like(before)
        better = (reached > before) | ((reached == before) & (new_score > score))
        return better & ~before if self.keep == "first" else better

    def attend(self, active: Tensor) -> None:
        """Attack these samples from here on."""
        self.active, self.centres, self.aims = active, self.x[active], self.aim[active]

    def clean(self, logits: Tensor, losses: Tensor | None = None) -> Tensor:
        """Note the logits [N, K], or [N, k, K], on x itself, and the losses where they are known; returns these [N]."""
        classes = logits.shape[-1] if logits.dim() in (2, 3) else -1
        if len(logits) != len(self.x) or classes < 0:
            raise ValueError(
                f"the model returned {list(logits.shape)} for {len(self.x)} samples, not logits [N, classes]"
            )
        self.check_labels(classes)
        if len(self.x) and bool(are_probabilities(logits.detach().flatten(0, -2)).all()):
            raise ValueError(
                "the model returned probabilities (rows in [0, 1] that sum to 1), not logits, and flattens gradients; "
                "attack what enters its softmax, or the logarithm of what leaves it"
            )
        losses = self.visit(self.x, logits, start=True, losses=losses)
        self.clean_correct = self.labels == self.y
        return losses

    def check_labels(self, classes: int) -> None:
        """Labels and targets are among the classes that the model knows."""
        for name, labels in (("y", self.y), ("target", self.aim)):
            if len(labels) and (labels.min() < 0 or labels.max() >= classes):
                found = f"{int(labels.min())} to {int(labels.max())}"
                raise ValueError(f"{name} has labels from {found}; the model knows 0 to {classes - 1}")

    def visit(
        self,
        points: Tensor,
        logits: Tensor,
        *,
        start: bool = False,
        losses: Tensor | None = None,
        score: Tensor | None = None,
    ) -> Tensor:
        """Note the logits at points [n, ...], which no step led to if they are a start; returns losses [n].

        Logits are [n, K], or [n, k, K] where the answer is random and was asked k times: then the loss is the mean, and
        the goal is reached where more than half of the answers reach it. A score [n] takes the loss's place where
        points are compared: the greater is the better, and a point of score -inf is counted but never kept.
        """
        if losses is None:
            losses = mean_loss(self.loss_of, logits, self.aims)
        labels, reached = self._answers(logits)
        if score is None:
            score = self.sign * losses.detach()
        else:
            reached &= score > -math.inf
        self.forwards[self.active] += logits.shape[1] if logits.dim() == 3 else 1
        if not start:
            self.steps[self.active] += 1

        before = self.success[self.active]
        better = self._better(before, reached, self.score[self.active], score).nonzero().squeeze(1)
        kept = self.active[better]
        self.x_adv[kept], self.labels[kept] = points.detach()[better], labels[better]
        self.score[kept], self.loss[kept] = (t.detach()[better].to(self.score.dtype) for t in (score, losses))
        if self.keep == "last":
            self.success[self.active] = reached
        new = (reached & (self.first_step[self.active] < 0)).nonzero().squeeze(1)
        if len(new):
            new = self.active[new]
            self.success[new] = True
            self.first_step[new] = self.steps[new]
        return losses

    def _answers(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The label [n] that most answers give, and whether [n] more than half of them reach the goal."""
        if logits.dim() == 2:
            labels = logits.detach().argmax(1)
            known = ~logits.detach().isnan().any(1)  # what is no number reaches no goal
            return labels, ((labels == self.aims) == self.targeted) & known
        answers = logits.detach().argmax(2)
        hits = ((answers == self.aims[:, None]) == self.targeted).sum(1)
        return answers.mode(1).values, 2 * hits > answers.shape[1]

    def confirm(self, logits: Tensor) -> Tensor:
        """Let logits at the points kept for the active samples decide; returns the samples that lost their success."""
        labels, reached = self._answers(logits)
        self.forwards[self.active] += logits.shape[1] if logits.dim() == 3 else 1
        self.labels[self.active] = labels
        self.loss[self.active] = mean_loss(self.loss_of, logits, self.aims).to(self.loss.dtype)
        self.score[self.active] = self.sign * self.loss[self.active]
        refuted = self.active[~reached]
        self.success[refuted], self.first_step[refuted] = False, -1
        return refuted

    def count_steps(self, rows: Tensor, answers: int, tally: Tensor) -> None:
        """Note that gradients of so many answers were used for some samples [n], and what was odd about them [n, 4]."""
        self.backwards[rows] += answers
        self.nonfinite += tally[:, 2:].sum()

    def moved(self) -> Tensor:
        """[N] bool, the point kept is not the sample itself."""
        return (self.x_adv != self.x).flatten(1).any(1) if self.x.dim() > 1 else self.x_adv != self.x

    def open(self) -> Tensor:
        """Which of the active samples [n] are still to be attacked, as positions among them."""
        closed = self.skipped
        if self.stop != "never":
            closed = closed | self.success.view(-1, self.width).cummax(1).values.view(-1)
        return (~closed[self.active]).nonzero().squeeze(1)

    def drop_decided(self) -> bool:
        """Attend to the open samples only; whether there are any."""
        self.attend(self.active[self.open()])
        return len(self.active) > 0

    def project(self, points: Tensor, eps: Number) -> Tensor:
        """Points [n, ...], in place, into the ball around their samples and into the bounds."""
        lower, upper = self.bounds
        if self.norm == "linf":
            nowhere = torch.zeros_like(points)
            return ops.linf_step_(points, self.centres, nowhere, eps=eps, step_size=0.0, lower=lower, upper=upper)
        return ops.project_(points, self.centres, eps=eps, norm=self.norm, lower=lower, upper=upper)

    def result(self, *, by_gradient: bool | None = None) -> AttackResult:
        """What was found. Where steps were not counted one by one, each took a gradient, or none did."""
        backwards = self.backwards if by_gradient is None else self.steps * by_gradient
        return AttackResult(
            x_adv=self.x_adv,
            success=self.success,
            clean_correct=self.clean_correct,
            label_adv=self.labels,
            loss=self.loss,
            forwards=self.forwards,
            backwards=backwards,
            first_step=self.first_step,
            norm=distance(self.x_adv, self.x, self.norm),
            cycled=self.cycled,
            nonfinite=int(self.nonfinite),
        )


# ----------------------------------------------------------------------------------------------------------- losses

LossFunction = Callable[[Tensor, Tensor], Tensor]  # (logits [n, K], labels [n]) → [n]
Loss = Literal["ce", "margin", "dlr"] | LossFunction


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, reduction="none")


LOSSES: dict[str, LossFunction] = {"ce": _cross_entropy, "margin": ops.margin_loss, "dlr": ops.dlr_loss}


def mean_loss(loss: LossFunction, logits: Tensor, labels: Tensor) -> Tensor:
    """[n] losses of logits [n, K], or their means over the k answers of logits [n, k, K]; of labels [n] or [n, m]."""
    if logits.dim() == 2:
        losses = loss(logits, labels)
    else:
        n, k, classes = logits.shape
        losses = loss(logits.reshape(n * k, classes), labels.repeat_interleave(k, 0)).reshape(n, k).mean(1)
    if losses.shape != labels.shape[:1]:
        raise ValueError(f"the loss returned {list(losses.shape)} for {len(labels)} samples; it must give one a sample")
    return losses


# ----------------------------------------------------------------------------------------------------------- checks

PROBABILITIES_SUM = 1e-5  # how far from 1 (AutoAttack: check_range_output)


def are_probabilities(logits: Tensor) -> Tensor:
    """[n] bool, which rows of [n, K] lie in [0, 1] and sum to 1, as logits do by chance only."""
    slack = max(PROBABILITIES_SUM, logits.shape[1] * torch.finfo(logits.dtype).eps)
    inside = (logits.amin(1) >= -slack) & (logits.amax(1) <= 1 + slack)
    return inside & ((logits.sum(1) - 1).abs() < slack)


def check_eps(eps: Number, n: int | None = None) -> None:
    """A radius is a finite number, zero or more, or as many of them as there are samples."""
    if isinstance(eps, Tensor):
        if n is not None and eps.shape != (n,):
            raise ValueError(f"eps has shape {list(eps.shape)}; it must be a number, or {n} of them, one a sample")
        if not ((eps >= 0) & eps.isfinite()).all():
            raise ValueError(f"eps goes from {float(eps.min()):g} to {float(eps.max()):g}; it must be finite, >= 0")
    elif not (math.isfinite(eps) and eps >= 0):
        raise ValueError(f"eps is {eps!r}; it must be a finite number, zero or more")


def check_inputs(x: Tensor, y: Tensor, bounds: Bounds) -> None:
    """Images of a type that holds small steps, inside the bounds, and a label for each."""
    if x.dtype not in (torch.float32, torch.float64):  # half precision cannot hold a step of 2/255 near 1
        raise ValueError(f"x is {x.dtype}; an attack needs float32 or float64 (the model may cast)")
    if y.dtype != torch.int64 or y.shape != x.shape[:1]:
        raise ValueError(f"y must be {len(x)} int64 labels, one a sample; got {y.dtype} {list(y.shape)}")
    if y.device != x.device:
        raise ValueError(f"y is on {y.device} and x is on {x.device}; move one to the other")
    lower, upper = (_by_channel(name, bound, x) for name, bound in zip(("lower", "upper"), bounds, strict=True))
    if not (lower < upper).all():
        raise ValueError(f"bounds are {bounds!r}; the lower must be smaller than the upper")
    if not ((x >= lower) & (x <= upper)).all():
        extent = f"from {float(x.min()):g} to {float(x.max()):g}"
        shown = f"({float(lower.min()):g}, {float(upper.max()):g})"
        raise ValueError(f"x has values {extent} and bounds are {shown}: pass the bounds of your inputs, or clamp x")


def _by_channel(name: str, bound: Number, x: Tensor) -> Tensor:
    """A bound in a shape that broadcasts with x [N, C, ...]."""
    if not isinstance(bound, Tensor) or bound.dim() == 0:
        return torch.as_tensor(bound, dtype=torch.float64, device=x.device)
    if x.dim() < 2 or bound.shape != x.shape[1:2]:
        channels = x.shape[1] if x.dim() > 1 else 1
        raise ValueError(f"the {name} bound has shape {list(bound.shape)}; give a number or {channels}, one a channel")
    return bound.to(x.device).double().view(-1, *[1] * (x.dim() - 2))
