"""FAB and FAB-T: the nearest adversarial point, by a walk along decision boundaries (Croce & Hein, ICML 2020)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from dlbench import ops
from dlbench.attacks import checks
from dlbench.attacks.checks import Bounds
from dlbench.attacks.geometry import ORDER, box
from dlbench.attacks.modes import Model, undisturbed
from dlbench.attacks.oracle import Oracle, Transform, oracles
from dlbench.attacks.restarts import Restarts, Turn, rivals
from dlbench.attacks.rewrite import Rewritten, original, pieces_of
from dlbench.attacks.rows import Rows, of
from dlbench.attacks.search import AttackResult, Search
from dlbench.ops.limits import Number


def fab(
    model: Model | Rewritten,
    x: Tensor,
    y: Tensor,
    *,
    eps: Number,
    norm: Literal["linf", "l2"] = "linf",
    steps: int = 100,
    restarts: int = 1,
    targeted: bool = True,
    target_classes: int = 9,
    bounds: Bounds = (0.0, 1.0),
    seed: int = 0,
    sample_ids: Tensor | None = None,
    eot_samples: int = 1,
    transform: Transform | None = None,
    alpha_max: float = ops.fab.ALPHA_MAX,
    eta: float = ops.fab.ETA,
    beta: float = ops.fab.BETA,
    stop: Literal["success", "never"] = "success",
    rewrite: Literal["auto", "compile", "off"] = "auto",
    autocast: torch.dtype | None = None,
    mask: Tensor | None = None,
) -> AttackResult:
    """The fast adaptive boundary attack, targeted as in AutoAttack or not (Croce & Hein, ICML 2020, arXiv:1907.02044).

    For each of the classes t with the highest other logits at x, the boundary z_t = z_y is linearised where the attack
    stands. That place, drawn back towards x if it is adversarial, and x itself are projected on this hyperplane inside
    the bounds; the next place lies between the two feet, a little beyond the hyperplane. eps plays no part in this
    walk from x: it only says which of the points count. Untargeted, there is one walk to all of these classes, at each
    step to the one whose linearised boundary is nearest.

    AutoAttack's code asks for the gradient after drawing back, in a second forward pass. Here one pass gives label and
    gradient, and the hyperplane is that of a place just behind the boundary instead of one before it.

    Of a random model, or behind random transforms, the boundary is that of the mean of ``eot_samples`` answers, and so
    is its gradient (expectation over transformation, Athalye et al. 2018); a point is adversarial where more than half
    of the answers are wrong.

    What else is promised is as in :func:`perturb`: exact bounds, an unchanged model, samples that leave the batch when
    they are decided, results that do not depend on how samples are split into batches.

    Args:
        model: maps samples [n, ...] to logits [n, K]; a module, any callable, or a :class:`Rewritten` model.
        x: [N, C, ...] float32 or float64, inside the bounds.
        y: [N] int64, the true labels.
        eps: farther points do not count; a number, [N], or, in the L-infinity norm, [N or 1, C or 1, 1, ...]. One that
            reaches across the bounds, with ``stop="never"``, asks for the robustness radius itself, of which ``norm``
            in the result is then an upper bound.
        norm: ``"linf"`` or ``"l2"``.
        steps: of a walk. Each takes a gradient; untargeted, one for each class.
        restarts: the first starts at x, later ones at random in the ball of half the radius; a later one only attacks
            what withstood the earlier ones.
        targeted: whether each class has a walk of its own.
        target_classes: how many other classes are tried, the likeliest on x first; all where there are fewer.
        bounds: least and greatest value that an input can have; numbers, or [C] each.
        seed: of random starts and draws.
        sample_ids: [N] int64, what tells one sample's random numbers from another's; 0 to N - 1 where not given.
        eot_samples: how often each point is asked about, for random models and transforms.
        transform: what the model sees of a point, as in :func:`perturb`.
        alpha_max: the largest share of x's foot in a step.
        eta: how far to go, 1 being the hyperplane.
        beta: what drawing back leaves of the distance to x.
        stop: ``"success"`` drops a sample as soon as an adversarial point within eps is found; ``"never"`` goes on to
            the nearest that the attack can find, and keeps that one.
        rewrite: whether faster forms of the model are looked for, as in :func:`perturb`.
        autocast: run the model in this type during the search, as in :func:`perturb`.
        mask: [N] bool, which samples to attack; the others are only looked at.

    Raises:
        ValueError: labels the model does not have, x outside the bounds, an impossible setting.
    """
    checks.samples(x, y, bounds)
    checks.whole(steps=steps, restarts=restarts, eot_samples=eot_samples, target_classes=target_classes)
    checks.within(0, 1, alpha_max=alpha_max, beta=beta)
    checks.within(1, math.inf, eta=eta)
    checks.one_of(("linf", "l2"), norm=norm)
    checks.one_of(("success", "never"), stop=stop)
    checks.one_of(checks.MODES, rewrite=rewrite)
    eps = checks.lengths("eps", eps, x)
    eps = eps if norm == "linf" else checks.one_for_each(eps, norm)
    with undisturbed(original(model), x.device):
        search = Search(
            x,
            y,
            bounds=bounds,
            norm=norm,
            loss="margin",
            keep="best_loss" if stop == "never" else "first",
            stop=stop,
            sample_ids=sample_ids,
            mask=mask,
        )
        work = steps * restarts * target_classes
        pieces = pieces_of(model, search.x, work, "off" if stop == "never" else rewrite)
        oracle, judge = oracles(pieces, lead_of, eot_samples, transform, seed, autocast)
        walk = Walk(search, oracle, judge, steps, eps, seed, targeted, target_classes, alpha_max, eta, beta)
        return walk.run(restarts if checks.positive(eps) else 0)


@dataclass
class Walking(Rows):
    """Points under way, a row each: [n] unless said otherwise."""

    radius: Tensor  # float64, of the ball, in units
    unit: Tensor | None  # [n, C or 1, 1, ...], in which the norm measures coordinates, where not all alike
    far: Tensor  # float64, how far the points are from their samples, in units
    targets: Tensor  # [n, k], the classes to go to, whichever is nearer
    lead: Tensor  # of that class' logit over the label's, where last asked, on average over the answers
    adversarial: Tensor  # whether the label was wrong there, in most answers


class Walk(Restarts[Walking]):
    """Walks along the boundaries to the likeliest other classes.

    Targeted, one class with all its restarts comes after the other.

    Args:
        search, oracle, judge, count: as of all restarts; the oracle's loss is the lead, of pairs of label and target.
        eps: radius of the ball, a number or a row a sample.
        seed: of the random starts.
        targeted, target_classes, alpha_max, eta, beta: as of :func:`fab`.
    """

    def __init__(
        self,
        search: Search,
        oracle: Oracle,
        judge: Oracle,
        count: int,
        eps: Number,
        seed: int,
        targeted: bool,
        target_classes: int,
        alpha_max: float,
        eta: float,
        beta: float,
    ) -> None:
        super().__init__(search, oracle, judge, count, random_start=True)
        self.eps = eps
        self.seed, self.targeted, self.target_classes = seed, targeted, target_classes
        self.alpha_max, self.eta, self.beta = alpha_max, eta, beta
        lower, upper = box(search.bounds, search.x)
        self.lower, self.upper = (bound.expand(search.x.shape[1:]).contiguous() for bound in (lower, upper))

    def _plan(self, logits: Tensor, restarts: int) -> int:
        """Chooses the classes, for each walk [N, walks, k]; what is wrong as it stands needs none."""
        self.search.skipped = self.search.skipped | ~self.search.clean_correct
        likeliest = rivals(logits, self.search.y, self.target_classes)
        self.targets, self.restarts = likeliest[:, :, None] if self.targeted else likeliest[:, None], restarts
        return restarts * self.targets.shape[1]

    def _start(self, branch: Search, jobs: Tensor, restart: Tensor) -> Walking:
        eps = of(self.eps, jobs)
        points, later = branch.centres.clone(), (restart % self.restarts > 0).nonzero().squeeze(1)
        if len(later):
            lower, upper = branch.bounds
            points[later] = ops.random_start(
                branch.centres[later],
                eps=of(eps, later) / 2,
                norm=branch.norm,
                seed=self.seed,
                sample_ids=branch.ids[later],
                restart=restart[later],
                lower=lower,
                upper=upper,
            )
        radius, unit = measure(eps, points)
        return Walking(
            job=torch.arange(len(restart), device=restart.device),
            restart=restart,
            points=points,
            radius=radius,
            unit=unit,
            far=far_of(points, branch.centres, unit, branch.norm),
            targets=self.targets[jobs, restart // self.restarts],
            lead=points.new_zeros(len(points)),
            adversarial=torch.zeros_like(restart, dtype=torch.bool),
        )

    def _ask(self, branch: Search, rows: Walking, turn: Turn) -> Tensor:
        first, *others = rows.targets.unbind(1)
        logits, rows.lead, gradient = self._towards(first, branch, rows)
        rows.adversarial = branch.reached(logits)
        branch.count_answers(self.oracle.answers * len(others))
        branch.visit(rows.points, logits, start=turn.first, score=self._score(branch, rows, logits))
        if not others:
            return gradient
        distance = _distance(rows.lead, gradient, rows.unit, branch.norm)
        for target in others:
            _, lead, slope = self._towards(target, branch, rows)
            there = _distance(lead, slope, rows.unit, branch.norm)
            nearer, distance = there < distance, torch.minimum(there, distance)
            rows.lead = torch.where(nearer, lead, rows.lead)
            gradient = torch.where(nearer.view(-1, *[1] * (gradient.dim() - 1)), slope, gradient)
        return gradient

    def _towards(self, target: Tensor, branch: Search, rows: Walking) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, the lead of a class and the lead's gradient, where the rows stand."""
        return self.oracle.slope(rows.points, torch.stack([branch.aims, target], 1), *self._moment(branch, rows))

    def _score(self, branch: Search, rows: Walking, logits: Tensor) -> Tensor:
        """Of adversarial points the nearer is the better; others, and those outside the ball, do not count."""
        # whoever adds up the squares in another order is to find no point outside
        counts = branch.reached(logits) & (rows.far <= rows.radius * (1 - 2**-40))
        return torch.where(counts, -rows.far, -torch.inf)

    def _step(self, branch: Search, rows: Walking, gradient: Tensor, turn: Turn) -> None:
        tally = rows.job.new_zeros(len(rows.job), 4)
        rows.far = ops.fab_step_(
            rows.points,
            branch.centres,
            gradient,
            rows.lead.double(),
            rows.adversarial,
            lower=self.lower,
            upper=self.upper,
            unit=None if rows.unit is None else rows.unit.to(gradient).expand_as(gradient),
            norm=branch.norm,
            eta=self.eta,
            beta=self.beta,
            alpha_max=self.alpha_max,
            tally=tally,
        )
        branch.count_steps(self.oracle.answers * rows.targets.shape[1], tally)


def far_of(points: Tensor, x: Tensor, unit: Tensor | None, norm: str) -> Tensor:
    """[n] float64, how far points [n, ...] are from their samples, in units."""
    apart = points.double() - x.double()
    far: Tensor = torch.linalg.vector_norm((apart if unit is None else apart / unit).flatten(1), ORDER[norm], dim=1)
    return far


def _distance(lead: Tensor, gradient: Tensor, unit: Tensor | None, norm: str) -> Tensor:
    """[n], how far the hyperplane is on which the linearised lead is 0, in units; bounds play no part."""
    slope = gradient if unit is None else gradient * unit
    dual = torch.linalg.vector_norm(slope.flatten(1), {"linf": 1, "l2": 2}[norm], dim=1)
    distance: Tensor = lead.abs() / dual.clamp(min=1e-12)
    return distance


def measure(eps: Number, points: Tensor) -> tuple[Tensor, Tensor | None]:
    """Radii for points [n, ...] as one number each, [n], and the units in which coordinates are measured, if any."""
    if not isinstance(eps, Tensor):
        return torch.full((len(points),), eps, dtype=torch.float64, device=points.device), None
    if eps.dim() == 1:
        return eps, None
    radius = eps.flatten(1).amax(1)
    unit = eps / radius.clamp(min=torch.finfo(eps.dtype).tiny).view(-1, *[1] * (eps.dim() - 1))
    return radius, unit.clamp(min=1e-30)  # where a channel may not move, any move is too far


def lead_of(logits: Tensor, pairs: Tensor) -> Tensor:
    """By how much the target's logit exceeds the label's, of pairs of label and target [n, 2]."""
    own, target = logits.gather(1, pairs).unbind(1)
    return target - own
