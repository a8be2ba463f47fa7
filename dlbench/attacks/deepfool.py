"""DeepFool: to the nearest boundary, linearised anew at every step (Moosavi-Dezfooli et al., CVPR 2016)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from dlbench import ops
from dlbench.attacks import checks
from dlbench.attacks.checks import Bounds
from dlbench.attacks.fab import Walk, Walking, far_of, lead_of, measure
from dlbench.attacks.modes import Model, undisturbed
from dlbench.attacks.oracle import Oracle, Transform, oracles
from dlbench.attacks.restarts import Turn, rivals
from dlbench.attacks.rewrite import Rewritten, original, pieces_of
from dlbench.attacks.rows import each
from dlbench.attacks.search import AttackResult, Search, mean_loss, slight
from dlbench.ops.limits import Number

OVERSHOOT = 0.02  # of each step, beyond the boundary: the authors'
REFINE = 10  # halvings


def deepfool(
    model: Model | Rewritten,
    x: Tensor,
    y: Tensor,
    *,
    eps: Number | None = None,
    norm: Literal["linf", "l2"] = "l2",
    steps: int = 50,
    overshoot: float = OVERSHOOT,
    refine: int = REFINE,
    target_classes: int | None = None,
    target: Tensor | int | None = None,
    bounds: Bounds = (0.0, 1.0),
    seed: int = 0,
    sample_ids: Tensor | None = None,
    eot_samples: int = 1,
    transform: Transform | None = None,
    rewrite: Literal["auto", "compile", "off"] = "auto",
    autocast: torch.dtype | None = None,
    mask: Tensor | None = None,
) -> AttackResult:
    """DeepFool (Moosavi-Dezfooli et al., CVPR 2016, arXiv:1511.04599): to the nearest linearised boundary, repeatedly.

    Each step linearises the boundary z_k = z_y of every other class k where the attack stands, goes to the nearest of
    these planes and ``overshoot`` of the way beyond, until the label changes. So it finds in few steps an upper bound
    of the distance to the nearest adversarial point; on an affine model that distance. :func:`fab` comes nearer and
    costs more, as does, in the L2 norm and with enough steps, :func:`cw`.

    The paper knows no bounds. Here a step goes to the point of the plane that is nearest *inside the bounds*, by exact
    projection; cutting what sticks out leaves a point that is not on the plane. Such steps are longer and may lead far
    beyond a curved boundary, so the way from x to where the label changed is halved ``refine`` times in search of where
    it first does, by looks without gradients; with 0 the attack ends where the paper's does.

    Of a random model, or behind random transforms, the boundary is that of the mean of ``eot_samples`` answers, and the
    label has changed where more than half of the answers have.

    What else is promised is as in :func:`perturb`: exact bounds, an unchanged model, samples that leave the batch when
    they are decided, results that do not depend on how samples are split into batches.

    Args:
        model: maps samples [n, ...] to logits [n, K]; a module, any callable, or a :class:`Rewritten` model.
        x: [N, C, ...] float32 or float64, inside the bounds.
        y: [N] int64, the true labels.
        eps: farther points do not count: they are no success, and x is returned. A number, [N], or, in the L-infinity
            norm, [N or 1, C or 1, 1, ...], by which distances are then measured. Where it is not given every distance
            counts, and ``norm`` in the result is how far the point is that was found.
        norm: ``"linf"`` or ``"l2"``.
        steps: at most. Each takes a gradient for each class that is tried.
        overshoot: which share of a step is added to it, so that it ends beyond the plane.
        refine: halvings at the end, a forward pass each; they also undo the overshoot. A point that is within eps only
            after them counts.
        target_classes: how many other classes are tried, the likeliest on x first; all where it is not given, as in the
            paper. Code elsewhere tries ten, and says little of it.
        target: the label to reach, one for all or [N]; a step then goes to the plane on which the target draws level
            with the class that is ahead of all others. Without it any wrong label is the goal.
        bounds: least and greatest value that an input can have; numbers, or [C] each.
        seed: of draws.
        sample_ids: [N] int64, what tells one sample's random numbers from another's; 0 to N - 1 where not given.
        eot_samples: how often each point is asked about, for random models and transforms.
        transform: what the model sees of a point, as in :func:`perturb`.
        rewrite: whether faster forms of the model are looked for, as in :func:`perturb`.
        autocast: run the model in this type during the search, as in :func:`perturb`.
        mask: [N] bool, which samples to attack; the others are only looked at.

    Raises:
        ValueError: labels the model does not have, x outside the bounds, an impossible setting.
    """
    checks.samples(x, y, bounds)
    checks.whole(steps=steps, eot_samples=eot_samples)
    checks.whole(0, refine=refine)
    checks.within(0, math.inf, overshoot=overshoot)
    checks.one_of(("linf", "l2"), norm=norm)
    checks.one_of(checks.MODES, rewrite=rewrite)
    if target_classes is not None:
        checks.whole(target_classes=target_classes)
        if target is not None:
            raise ValueError(f"target_classes is {target_classes} and a target is given, which is the only class tried")
    radius = checks.reach(eps, x, norm)
    with undisturbed(original(model), x.device):
        search = Search(
            x,
            y,
            target=target,
            bounds=bounds,
            norm=norm,
            loss="margin",
            keep="first",
            sample_ids=sample_ids,
            mask=mask,
        )
        pieces = pieces_of(model, search.x, steps * (target_classes or 1), rewrite)
        loss = _lead if target is None else _lead_over_all
        oracle, judge = oracles(pieces, loss, eot_samples, transform, seed, autocast)
        dash = Dash(search, oracle, judge, steps, radius, seed, target_classes, overshoot, refine)
        return dash.run(1 if checks.positive(radius) else 0)


class Dash(Walk):
    """Walks that never draw back, and end where the label changes, or a little before.

    Args:
        search, oracle, judge, count: as of all restarts; the oracle's loss is the lead, of pairs of label and target.
        eps: farther points do not count; a number, or a row a sample.
        seed: as of all walks.
        target_classes, overshoot, refine: as of :func:`deepfool`.
    """

    def __init__(
        self,
        search: Search,
        oracle: Oracle,
        judge: Oracle,
        count: int,
        eps: Number,
        seed: int,
        target_classes: int | None,
        overshoot: float,
        refine: int,
    ) -> None:
        super().__init__(
            search,
            oracle,
            judge,
            count,
            eps,
            seed,
            targeted=False,
            target_classes=target_classes or 0,
            alpha_max=0.0,  # a step of FAB that leaves out x's own foot and does not draw back is one of DeepFool
            eta=1 + overshoot,
            beta=1.0,
        )
        self.refine = refine

    def _plan(self, logits: Tensor, restarts: int) -> int:
        """Chooses the classes, [N, 1, k]; what is at the goal as it stands needs none."""
        search, classes = self.search, logits.shape[-1] - 1
        search.skipped = search.skipped | search.success
        tried = search.aim[:, None] if search.targeted else rivals(logits, search.y, self.target_classes or classes)
        self.targets, self.restarts = tried[:, None], restarts
        self.clean = search.labels.clone(), search.loss.clone()
        return restarts

    def _start(self, branch: Search, jobs: Tensor, restart: Tensor) -> Walking:
        rows = super()._start(branch, jobs, restart)
        rows.radius = torch.full_like(rows.radius, math.inf)  # what is too far may be near enough when it is refined
        return rows

    def _ask(self, branch: Search, rows: Walking, turn: Turn) -> Tensor:
        gradient = super()._ask(branch, rows, turn)
        branch.ended[rows.job] |= rows.adversarial
        return gradient

    def run(self, restarts: int) -> AttackResult:
        """Walks, refines where they have led, and drops what is too far."""
        super().run(restarts)
        if restarts:
            self._draw_near()
            self._drop_far()
        # that a walk has ended does not mean that it went round in circles
        return replace(self.search.result(), cycled=torch.zeros_like(self.search.cycled))

    def _judged(self) -> Tensor:
        """Also those that were not found: in half precision the last, small steps may lead nowhere."""
        super()._judged()
        return (~self.search.skipped & ~self.search.success).nonzero().squeeze(1)

    def _draw_near(self) -> None:
        """Halves the part of the way from x to the points found on which the goal is reached somewhere."""
        search = self.search
        found = (search.success & search.moved()).nonzero().squeeze(1)
        if not len(found):
            return
        search.attend(found)
        x, way = search.centres, search.x_adv[found] - search.centres
        short, enough = torch.zeros_like(found, dtype=torch.float64), torch.ones_like(found, dtype=torch.float64)
        for number in range(self.refine):
            share = (short + enough) / 2
            points = torch.clamp(x + each(share, x) * way, self.lower, self.upper)
            when = torch.full_like(found, -3 - number)  # no other look has this moment
            logits = self.judge.look(points, search.ids[found], when)
            lead = search.sign * mean_loss(search.loss_of, logits, search.aims)
            search.draw(points, logits, there := search.reached(logits) & (lead >= slight(logits)))
            short, enough = torch.where(there, short, share), torch.where(there, share, enough)

    def _drop_far(self) -> None:
        """Points beyond eps are no success: x takes their place."""
        search = self.search
        radius, unit = measure(self.eps, search.x)
        # whoever adds up the squares in another order is to find no point outside
        inside = far_of(search.x_adv, search.x, unit, search.norm) <= radius * (1 - 2**-40)
        search.forget(search.moved() & ~inside, *self.clean)


def _lead(logits: Tensor, pairs: Tensor) -> Tensor:
    """By how much the target's logit exceeds the label's, of pairs of label and target [n, 2], and some roundings."""
    return lead_of(logits, pairs) - slight(logits)  # the boundary itself belongs to no class that others would find


def _lead_over_all(logits: Tensor, pairs: Tensor) -> Tensor:
    """By how much the target's logit exceeds the best of the others, of pairs that begin with the target, likewise."""
    return -ops.margin_loss(logits, pairs[:, 0].contiguous()) - slight(logits)
