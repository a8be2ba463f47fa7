"""Auto-PGD (Croce & Hein, ICML 2020, arXiv:2003.01690): gradient steps that find their own size."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from dlbench import ops
from dlbench.attacks import checks
from dlbench.attacks.checks import Bounds
from dlbench.attacks.modes import Model, undisturbed
from dlbench.attacks.oracle import Oracle, Transform, oracles
from dlbench.attacks.restarts import Restarts, Turn, rivals
from dlbench.attacks.rewrite import Rewritten, original, pieces_of
from dlbench.attacks.rows import Rows, each, of
from dlbench.attacks.search import LOSSES, AttackResult, LossFunction, Search
from dlbench.ops.limits import Number

ApgdLoss = Literal["ce", "margin", "dlr", "dlr_targeted"]
CLASSES_NEEDED = {"dlr": 3, "dlr_targeted": 4}


def apgd(
    model: Model | Rewritten,
    x: Tensor,
    y: Tensor,
    *,
    eps: Number,
    norm: Literal["linf", "l2"] = "linf",
    steps: int = 100,
    restarts: int = 1,
    loss: ApgdLoss = "ce",
    target_classes: int = 9,
    target: Tensor | int | None = None,
    rho: float = ops.apgd.RHO,
    bounds: Bounds = (0.0, 1.0),
    seed: int = 0,
    sample_ids: Tensor | None = None,
    eot_samples: int = 1,
    transform: Transform | None = None,
    stop: Literal["success", "never"] = "success",
    rewrite: Literal["auto", "compile", "off"] = "auto",
    autocast: torch.dtype | None = None,
    mask: Tensor | None = None,
) -> AttackResult:
    """Auto-PGD (Croce & Hein, ICML 2020): projected gradient steps with momentum that find their own size.

    The first step is as long as the ball is wide. After 22 %, 41 %, 57 %, ... of the steps, each sample on which too
    few of them have raised the loss goes back to its best point and halves its step (:func:`dlbench.ops.apgd_step_`).
    What else is promised is as in :func:`perturb`: exact bounds, an unchanged model, samples that leave the batch when
    they are decided, results that do not depend on how samples are split into batches.

    The ratio of differences of logits (DLR) is a margin that does not depend on the scale of the logits: the best other
    logit minus the label's own, over the largest minus the third. The targeted one raises one other class at a time,
    over the largest minus the mean of the third and the fourth; the likeliest classes on x first, each with all its
    restarts. It needs four classes and the other three; with fewer, the margin itself is raised, to any class or to
    one at a time, and a warning says so.

    Args:
        model: maps samples [n, ...] to logits [n, K]; a module, any callable, or a :class:`Rewritten` model.
        x: [N, C, ...] float32 or float64, inside the bounds.
        y: [N] int64, the true labels.
        eps: radius of the ball, in the units of x: a number, [N], or, in the L-infinity norm, [N or 1, C or 1, 1, ...].
        norm: of the ball.
        steps: gradient steps a restart, of which the checkpoints are shares.
        restarts: random starts on the ball's surface, clipped to the bounds; a later one only attacks what withstood
            the earlier ones.
        loss: what is raised: ``"ce"`` (cross-entropy), ``"margin"``, ``"dlr"`` or ``"dlr_targeted"``. The result's loss
            is of the same kind; for the last one, to the other class where it is largest.
        target_classes: with ``"dlr_targeted"``, how many other classes are tried; all where there are fewer.
        target: the label to reach, one for all or [N]; its loss is lowered. Not with ``"dlr_targeted"``.
        rho: the share of the steps since the last checkpoint that must raise the loss.
        bounds: least and greatest value that an input can have; numbers, or [C] each.
        seed: of random starts and draws.
        sample_ids: [N] int64, what tells one sample's random numbers from another's; 0 to N - 1 where not given.
        eot_samples: how often each point is asked about, for random models and transforms.
        transform: what the model sees of a point, as in :func:`perturb`.
        stop: ``"success"`` drops a sample as soon as the goal is reached; ``"never"`` takes every step, and keeps the
            point of best loss.
        rewrite: whether faster forms of the model are looked for, as in :func:`perturb`.
        autocast: run the model in this type during the search, as in :func:`perturb`.
        mask: [N] bool, which samples to attack; the others are only looked at.

    Raises:
        ValueError: labels the model does not have, x outside the bounds, an impossible setting.
    """
    checks.samples(x, y, bounds)
    checks.whole(steps=steps, restarts=restarts, eot_samples=eot_samples, target_classes=target_classes)
    checks.within(0, 1, rho=rho)
    checks.one_of(("linf", "l2"), norm=norm)
    checks.one_of(tuple(RAISED), loss=loss)
    checks.one_of(("success", "never"), stop=stop)
    checks.one_of(checks.MODES, rewrite=rewrite)
    if loss == "dlr_targeted" and target is not None:
        raise ValueError("loss='dlr_targeted' chooses its target classes itself; with a target, use 'dlr'")
    eps = checks.lengths("eps", eps, x)
    eps = eps if norm == "linf" else checks.one_for_each(eps, norm)
    with undisturbed(original(model), x.device):
        search = Search(
            x,
            y,
            target=target,
            bounds=bounds,
            norm=norm,
            loss=_ratio_to_the_nearest if loss == "dlr_targeted" else RAISED[loss],
            keep="best_loss" if stop == "never" else "first",
            stop=stop,
            sample_ids=sample_ids,
            mask=mask,
        )
        pieces = pieces_of(model, search.x, steps * restarts, "off" if stop == "never" else rewrite)

        def raised(logits: Tensor, labels: Tensor) -> Tensor:
            return search.sign * RAISED[loss](logits, labels)

        oracle, judge = oracles(pieces, raised, eot_samples, transform, seed, autocast)
        ascent = Ascent(
            search,
            oracle,
            judge,
            steps,
            eps=eps,
            rho=rho,
            seed=seed,
            target_classes=target_classes if loss == "dlr_targeted" else None,
        )
        result = ascent.run(restarts if checks.positive(eps) else 0)
    if ascent.classes < CLASSES_NEEDED.get(loss, 0):
        warnings.warn(
            f"loss={loss!r} needs {CLASSES_NEEDED[loss]} classes and the model knows {ascent.classes}: "
            "its margin was raised instead",
            stacklevel=2,
        )
    return result


def checkpoints(steps: int) -> list[int]:
    """After which steps the size of the next ones is decided: 22 %, 41 %, 57 %, 70 %, ... of them (section 3.1)."""
    percent, gap, found = 22, 22, set()
    while percent <= 100:
        found.add(-(-percent * steps // 100))
        gap = max(gap - 3, 6)
        percent += gap
    return sorted(found)


@dataclass
class Ascending(Rows):
    """Points under way, a row each; ``points`` are the state's, where the next gradients are taken."""

    state: ops.ApgdState
    eps: Number  # a number, or a row each
    targets: Tensor | None  # [n], the other classes to go to
    losses: Tensor  # [n], those last told


class Ascent(Restarts[Ascending]):
    """Restarts of Auto-PGD; with several target classes, those of the likeliest come first.

    Args:
        search, oracle, judge, count: as of all restarts; the oracle's loss is of pairs of label and target [n, 2] where
            there are target classes.
        eps: radius of the ball, a number or a row a sample.
        rho: the share of steps that must raise the loss.
        seed: of the random starts.
        target_classes: how many other classes to try at most, one after the other; None goes to no class in particular.
    """

    def __init__(
        self,
        search: Search,
        oracle: Oracle,
        judge: Oracle,
        count: int,
        *,
        eps: Number,
        rho: float,
        seed: int,
        target_classes: int | None,
    ) -> None:
        super().__init__(search, oracle, judge, count, random_start=True)
        self.eps, self.rho, self.seed, self.target_classes = eps, rho, seed, target_classes
        self.since = {after: after - before for before, after in pairwise([0, *checkpoints(count)])}
        self.classes, self.restarts = 0, 0  # not known yet
        self.targets: Tensor | None = None

    def _plan(self, logits: Tensor, restarts: int) -> int:
        """Chooses the target classes, each of which has so many restarts."""
        self.classes, self.restarts = logits.shape[-1], restarts
        if self.target_classes is None:
            return restarts
        self.targets = rivals(logits, self.search.y, self.target_classes)
        return restarts * self.targets.shape[1]

    def _turn(self, age: int) -> Turn:
        """Its kind is how many steps there were since the last checkpoint, where this is one."""
        return Turn(age == 0, self.since.get(age, 0))

    def _start(self, branch: Search, jobs: Tensor, restart: Tensor) -> Ascending:
        eps = of(self.eps, jobs)
        points = branch.project(branch.centres + each(eps, branch.centres) * self._directions(branch, restart), eps)
        state = ops.ApgdState.start(points)
        return Ascending(
            job=torch.arange(len(restart), device=points.device),
            restart=restart,
            points=state.x_adv,
            state=state,
            eps=eps,
            targets=None if self.targets is None else self.targets[jobs, restart // self.restarts],
            losses=points.new_zeros(len(points)),
        )

    def _directions(self, branch: Search, restart: Tensor) -> Tensor:
        """Random points on the surface of the unit ball, one a restart, as in the official code."""
        inside = ops.random_start(
            torch.zeros_like(branch.centres),
            eps=1.0,
            norm=branch.norm,
            seed=self.seed,
            sample_ids=branch.ids,
            restart=restart,
            lower=-1.0,
        )
        length = ops.lp_norms(inside)[:, 3 if branch.norm == "linf" else 2]
        return inside / each(length.clamp(min=torch.finfo(inside.dtype).tiny), inside)

    def _ask(self, branch: Search, rows: Ascending, turn: Turn) -> Tensor:
        """As of all restarts; the losses are raised, so they are told to the rows."""
        aims = branch.aims if rows.targets is None else torch.stack([branch.aims, rows.targets], 1)
        logits, rows.losses, gradient = self.oracle.slope(rows.points, aims, *self._moment(branch, rows))
        losses = None if rows.targets is not None else branch.sign * rows.losses
        branch.visit(rows.points, logits, losses=losses, start=turn.first)
        return gradient

    def _step(self, branch: Search, rows: Ascending, gradient: Tensor, turn: Turn) -> None:
        lower, upper = branch.bounds
        tally = rows.job.new_zeros(len(rows.job), 4)
        ops.apgd_step_(
            rows.state,
            branch.centres,
            gradient,
            rows.losses,
            eps=rows.eps,
            lower=lower,
            upper=upper,
            momentum=0.0 if turn.first else ops.apgd.MOMENTUM,
            since_checkpoint=turn.kind,
            rho=self.rho,
            norm=branch.norm,
            tally=tally,
        )
        rows.points = rows.state.x_adv
        branch.count_steps(self.oracle.answers, tally)


# ----------------------------------------------------------------------------------------------------------- losses


def _ratio(logits: Tensor, labels: Tensor) -> Tensor:
    if logits.shape[1] < CLASSES_NEEDED["dlr"]:
        return ops.margin_loss(logits, labels)
    return ops.dlr_loss(logits, labels)


def _ratio_to(logits: Tensor, pairs: Tensor) -> Tensor:
    """Of labels and targets [n, 2]."""
    labels, targets = pairs.unbind(1)
    if logits.shape[1] < CLASSES_NEEDED["dlr_targeted"]:
        own, aimed_at = logits.gather(1, pairs).unbind(1)
        return aimed_at - own
    return ops.dlr_loss(logits, labels, targets)


def _ratio_to_the_nearest(logits: Tensor, labels: Tensor) -> Tensor:
    nearest = logits.scatter(1, labels[:, None], -torch.inf).argmax(1)
    return _ratio_to(logits, torch.stack([labels, nearest], 1))


RAISED: dict[str, LossFunction] = {
    "ce": LOSSES["ce"],
    "margin": ops.margin_loss,
    "dlr": _ratio,
    "dlr_targeted": _ratio_to,
}
