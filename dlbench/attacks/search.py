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
from dlbench.attacks import checks
from dlbench.attacks.checks import Bounds
from dlbench.attacks.geometry import ORDER, distance
from dlbench.ops.limits import Number

Norm = Literal["linf", "l2", "l1"]
Stop = Literal["cycle", "success", "never"]
Keep = Literal["first", "best_loss", "last"]

ROUNDINGS = 64  # units in the last place of the largest logit, by which two logits differ that are told apart for sure


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
        forwards, backwards: [N] in how many forward passes a sample was before it was decided, and how many of its
            gradients were used.
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
    Those among them that are decided change no more. Nothing that is called once a step looks at a number on the
    device, so that a GPU need not be waited for.
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
        checks.samples(x, y, bounds)
        checks.one_of(tuple(ORDER), norm=norm)
        checks.one_of(("cycle", "success", "never"), stop=stop)
        checks.one_of(("first", "best_loss", "last"), keep=keep)
        checks.loss(loss, tuple(LOSSES))
        n, device = len(x), x.device
        # clones: tensors that were made under inference mode cannot take part in a backward pass
        self.x, self.y, self.stop = x.detach().clone(), y.clone(), stop
        lower, upper = (bound.to(device) if isinstance(bound, Tensor) else bound for bound in bounds)
        self.bounds: Bounds = (lower, upper)
        self.norm, self.keep = norm, keep
        self.targeted = target is not None
        self.aim = self.y if target is None else checks.numbers_of("target", target, n, device)
        self.sign = -1.0 if self.targeted else 1.0  # the loss of a target is to fall
        self.loss_of = loss if callable(loss) else LOSSES[loss]
        ids = torch.arange(n, device=device) if sample_ids is None else sample_ids
        self.ids = checks.numbers_of("sample_ids", ids, n, device)
        self.skipped = ~checks.chosen(mask, n, device)
        self._begin(width=1)

    def _begin(self, width: int) -> None:
        """Nothing is known yet. Each ``width`` neighbours are restarts of one sample, of which the first that reaches
        the goal counts.
        """
        n, device, self.width = len(self.x), self.x.device, width
        self.x_adv = self.x.clone()
        self.score, self.loss = torch.full((2, n), -math.inf, dtype=self.x.dtype, device=device).unbind()
        flags = torch.zeros(4, n, dtype=torch.bool, device=device).unbind()
        self.success, self.clean_correct, self.ended, self.cycled = flags
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
            self.cycled[samples] |= branch.ended[of]
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
        self.check_labels(checks.logits(logits, len(self.x)))
        losses = self._note(self.x, logits, losses, None, step=0, going=torch.ones_like(self.success))
        self.clean_correct = self.labels == self.y
        return losses

    def check_labels(self, classes: int) -> None:
        """Labels and targets are among the classes that the model knows."""
        checks.labels("y", self.y, classes)
        checks.labels("target", self.aim, classes)

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
        return self._note(points, logits, losses, score, step=0 if start else 1, going=self.going())

    def _note(
        self, points: Tensor, logits: Tensor, losses: Tensor | None, score: Tensor | None, step: int, going: Tensor
    ) -> Tensor:
        if losses is None:
            losses = mean_loss(self.loss_of, logits, self.aims)
        labels, reached = self._answers(logits)
        reached &= going
        if score is None:
            score = self.sign * losses.detach()
        else:
            reached &= score > -math.inf
        now = self.active
        self.forwards[now] += going * (logits.shape[1] if logits.dim() == 3 else 1)
        steps = self.steps[now] + step * going
        self.steps[now] = steps

        before, kept = self.success[now], self.score[now]
        better = going & self._better(before, reached, kept, score)
        best = (
            (self.x_adv, points.detach()),
            (self.labels, labels),
            (self.score, score.detach().to(kept.dtype)),
            (self.loss, losses.detach().to(kept.dtype)),
        )
        found = rows_seen(better)
        for values, new in best:
            if found is None:
                values[now] = torch.where(_beside(better, new), new, values[now])
            elif len(found):
                values[now[found]] = new[found]
        self.success[now] = torch.where(going, reached, before) if self.keep == "last" else before | reached
        first = self.first_step[now]
        self.first_step[now] = torch.where(reached & (first < 0), steps, first)
        return losses

    def reached(self, logits: Tensor) -> Tensor:
        """Whether [n] the active samples are at the goal where these are the logits, [n, K] or [n, k, K]."""
        return self._answers(logits)[1]

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
        now = self.active
        refuted = now[self.success[now] & ~reached]
        self.forwards[now] += logits.shape[1] if logits.dim() == 3 else 1
        self.labels[now] = labels
        self.loss[now] = mean_loss(self.loss_of, logits, self.aims).to(self.loss.dtype)
        self.score[now] = self.sign * self.loss[now]
        self.success[now] = reached
        steps = torch.where(self.first_step[now] < 0, self.steps[now], self.first_step[now])
        self.first_step[now] = torch.where(reached, steps, -1)
        return refuted

    def draw(self, points: Tensor, logits: Tensor, where: Tensor) -> None:
        """Keep points [n, ...] for the active samples, where a mask [n] says so, instead of those that were kept."""
        labels, _ = self._answers(logits)
        now = self.active
        self.forwards[now] += logits.shape[1] if logits.dim() == 3 else 1
        losses = mean_loss(self.loss_of, logits, self.aims).to(self.loss.dtype)
        for kept, new in ((self.x_adv, points), (self.labels, labels), (self.loss, losses)):
            kept[now] = torch.where(_beside(where, new), new, kept[now])

    def forget(self, which: Tensor, labels: Tensor, losses: Tensor) -> None:
        """The samples of a mask [N] are as if nothing had been found; labels and losses [N] are those on x."""
        self.x_adv = torch.where(_beside(which, self.x), self.x, self.x_adv)
        self.labels, self.loss = torch.where(which, labels, self.labels), torch.where(which, losses, self.loss)
        self.success, self.first_step = self.success & ~which, torch.where(which, -1, self.first_step)

    def count_answers(self, answers: int) -> None:
        """Note that the model gave so many answers for the samples that no visit tells of."""
        self.forwards[self.active] += self.going() * answers

    def count_steps(self, answers: int, tally: Tensor) -> None:
        """Note that gradients of so many answers were used for the samples, and what was odd about them [n, 4]."""
        going = self.going()
        self.backwards[self.active] += going * answers
        self.nonfinite += (tally[:, 2:] * going[:, None]).sum()

    def moved(self) -> Tensor:
        """[N] bool, the point kept is not the sample itself."""
        return (self.x_adv != self.x).flatten(1).any(1)

    def going(self) -> Tensor:
        """Which of the active samples [n] are still to be attacked."""
        closed = self.skipped | self.ended
        if self.stop != "never":
            closed = closed | self.success.view(-1, self.width).cummax(1).values.view(-1)
        return ~closed[self.active]

    def drop_decided(self) -> bool:
        """Attend to those only that are still to be attacked; whether there are any."""
        self.attend(self.active[self.going()])
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


def rows_seen(mask: Tensor) -> Tensor | None:
    """The rows where a mask [n] holds, often few; None on a GPU, which would have to be waited for."""
    return mask.nonzero().squeeze(1) if mask.device.type == "cpu" else None


# ----------------------------------------------------------------------------------------------------------- losses

LossFunction = Callable[[Tensor, Tensor], Tensor]  # (logits [n, K], labels [n]) → [n]
Loss = Literal["ce", "margin", "dlr"] | LossFunction


def slight(logits: Tensor) -> Tensor:
    """[n] leads that rounding may undo when the model is asked in another batch; of logits [n, K] or [n, k, K]."""
    largest: Tensor = logits.detach().flatten(1).abs().amax(1)
    return ROUNDINGS * torch.finfo(logits.dtype).eps * largest


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
    checks.one_a_sample(losses, len(labels))
    return losses


def _beside(mask: Tensor, points: Tensor) -> Tensor:
    """A mask [n] in a shape that broadcasts with points [n, ...]."""
    return mask.view(-1, *[1] * (points.dim() - 1))
