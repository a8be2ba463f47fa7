"""The attack of Carlini and Wagner in the L2 norm: little distance and a wrong label, weighed against each other."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from dlbench.attacks import checks
from dlbench.attacks.checks import Bounds
from dlbench.attacks.geometry import box, distance
from dlbench.attacks.modes import Model, undisturbed
from dlbench.attacks.oracle import Oracle, Transform, oracles
from dlbench.attacks.restarts import Restarts, Turn
from dlbench.attacks.rewrite import Rewritten, original, pieces_of
from dlbench.attacks.rows import Rows, each, of
from dlbench.attacks.search import AttackResult, Search, mean_loss, slight
from dlbench.ops.limits import Number
from dlbench.ops.reference.steps import observe

SEARCHES, STEPS, LEARNING_RATE, INITIAL_C = 9, 1000, 0.01, 1e-3
GROWTH = 10.0  # of c, as long as none was large enough
CHECKS = 10  # a search ends early where the objective has not fallen since the last of so many
LEAST = 5  # steps between checks: Adam's first ones may rise
FALL = 0.9999  # to which share of itself it has to fall
INSIDE = 0.99  # of the way from the middle of the bounds to an edge is where an input on it begins: see the docstring
DECAY, DECAY_OF_SQUARES, TINY = 0.9, 0.999, 1e-8  # Adam's (Kingma & Ba 2015)


def cw(
    model: Model | Rewritten,
    x: Tensor,
    y: Tensor,
    *,
    eps: Number | None = None,
    norm: Literal["l2"] = "l2",
    steps: int = STEPS,
    searches: int = SEARCHES,
    learning_rate: float = LEARNING_RATE,
    initial_c: float = INITIAL_C,
    kappa: float = 0.0,
    target: Tensor | int | None = None,
    bounds: Bounds = (0.0, 1.0),
    seed: int = 0,
    sample_ids: Tensor | None = None,
    eot_samples: int = 1,
    transform: Transform | None = None,
    stop: Literal["success", "never"] = "never",
    rewrite: Literal["auto", "compile", "off"] = "auto",
    autocast: torch.dtype | None = None,
    mask: Tensor | None = None,
) -> AttackResult:
    """The L2 attack of Carlini & Wagner (IEEE S&P 2017, arXiv:1608.04644): the nearest point, by descent.

    Adam minimises ``|x' - x|² + c max(kappa - lead, 0)``, where the lead is that of the best wrong logit over the
    label's or, with a target, of the target's over all others. The bounds are kept by a change of variable, x' moving
    with a hyperbolic tangent. How much a wrong label is to weigh, c, is looked for anew for every sample: ``searches``
    descents from x, c growing tenfold until one succeeds, then halving the gap. The nearest of all points on all
    descents is returned. No sample waits for another: a descent ends where it falls no more, and the next one begins.

    The variable begins at 0.99 of the way from the middle of the bounds to an edge for an input on that edge, and what
    is counted is how far it has moved from there. So x itself is where the attack begins, bit by bit; and black and
    white pixels can move, which they hardly do from the 0.999999 of the authors' code, where the tangent is flat. How
    far a point is, is measured in the (widest) distance of the bounds, so that c means the same whatever they are.

    Of a random model, or behind random transforms, the lead is the mean of that of ``eot_samples`` answers, and a label
    is wrong where more than half of them are.

    What else is promised is as in :func:`perturb`: exact bounds, an unchanged model, samples that leave the batch when
    they are decided, results that do not depend on how samples are split into batches.

    Args:
        model: maps samples [n, ...] to logits [n, K]; a module, any callable, or a :class:`Rewritten` model.
        x: [N, C, ...] float32 or float64, inside the bounds.
        y: [N] int64, the true labels.
        eps: farther points do not count: they are no success, and x is returned. A number or [N]; every distance counts
            where it is not given, and ``norm`` in the result is how far the point is that was found.
        norm: ``"l2"``; there is no other.
        steps: of a descent, at most.
        searches: descents, each with another c.
        learning_rate: Adam's, about how far the variable moves in a step; between bounds 0 and 1, half as far moves a
            grey pixel.
        initial_c: of the first descent. Logits a million times as large or small as usual need another; beyond 1e20
            their squares leave float32, and nothing is found.
        kappa: the lead that has to be reached, in logits: a greater one makes points that are farther, and transfer.
        target: the label to reach, one for all or [N]; without it any wrong label is the goal.
        bounds: least and greatest value that an input can have, finite; numbers, or [C] each.
        seed: of draws.
        sample_ids: [N] int64, what tells one sample's random numbers from another's; 0 to N - 1 where not given.
        eot_samples: how often each point is asked about, for random models and transforms.
        transform: what the model sees of a point, as in :func:`perturb`.
        stop: ``"never"`` goes on to the nearest point that it can find; ``"success"`` drops a sample as soon as one
            within eps is found.
        rewrite: whether faster forms of the model are looked for, as in :func:`perturb`.
        autocast: run the model in this type during the search, as in :func:`perturb`.
        mask: [N] bool, which samples to attack; the others are only looked at.

    Raises:
        ValueError: labels the model does not have, x outside the bounds, an impossible setting.
    """
    checks.samples(x, y, bounds)
    checks.whole(steps=steps, searches=searches, eot_samples=eot_samples)
    checks.within(0, math.inf, kappa=kappa)
    checks.positive_number(learning_rate=learning_rate, initial_c=initial_c)
    checks.one_of(("l2",), norm=norm)
    checks.one_of(("success", "never"), stop=stop)
    checks.one_of(checks.MODES, rewrite=rewrite)
    checks.finite(bounds)
    radius = checks.reach(eps, x, norm)
    with undisturbed(original(model), x.device):
        search = Search(
            x,
            y,
            target=target,
            bounds=bounds,
            norm=norm,
            loss="margin",
            keep="best_loss" if stop == "never" else "first",
            stop=stop,
            sample_ids=sample_ids,
            mask=mask,
        )
        pieces = pieces_of(model, search.x, steps * searches, "off" if stop == "never" else rewrite)
        oracle, judge = oracles(pieces, search.loss_of, eot_samples, transform, seed, autocast)
        descents = Descents(search, oracle, judge, steps, searches, radius, learning_rate, initial_c, kappa)
        return descents.run(1 if checks.positive(radius) else 0)


@dataclass
class Descending(Rows):
    """Points under way, a row each: [n] and float64 unless said otherwise."""

    radius: Tensor  # farther points do not count
    far: Tensor  # how far the points are from their samples
    lead: Tensor  # of the goal, at the points
    won: Tensor  # bool, a point of this descent has had the lead that was asked for
    c: Tensor  # of this descent
    low: Tensor  # the greatest c that was too small
    high: Tensor  # the least that was not
    left: Tensor  # int64, descents, this one included
    taken: Tensor  # int64, steps of this descent
    checked: Tensor  # the objective when it was last compared
    variable: Tensor  # [n, ...] of which points are the tangents
    origin: Tensor  # [n, ...] what it is where they are x
    tangent: Tensor  # [n, ...] of the origin
    least: Tensor  # [n, ...] what it may be: beyond that the points leave the bounds, and it might get lost there
    greatest: Tensor  # [n, ...]
    mean: Tensor  # [n, ...] of gradients, Adam's
    square: Tensor  # [n, ...] mean of their squares
    slope: Tensor  # [n, ...] gradient at x, where every descent begins
    first: Tensor  # the lead there


class Descents(Restarts[Descending]):
    """Descents from x, one after the other, each with a weight c that the outcomes of those before suggest.

    Args:
        search, oracle, judge: as of all restarts; the loss is the margin.
        steps, searches, learning_rate, initial_c, kappa: as of :func:`cw`.
        eps: farther points do not count; a number or one a sample.
    """

    def __init__(
        self,
        search: Search,
        oracle: Oracle,
        judge: Oracle,
        steps: int,
        searches: int,
        eps: Number,
        learning_rate: float,
        initial_c: float,
        kappa: float,
    ) -> None:
        super().__init__(search, oracle, judge, steps * searches, random_start=False)
        self.steps, self.searches, self.eps = steps, searches, eps
        self.learning_rate, self.initial_c, self.kappa = learning_rate, initial_c, kappa
        self.every = max(steps // CHECKS, LEAST)
        self.lower, self.upper = box(search.bounds, search.x)
        self.half = (self.upper - self.lower) / 2
        self.width = 2 * self.half.amax()
        # what the weights in a mean add up to after so many steps, [steps + 1]: powers as torch takes them depend, in
        # their last bit, on where in a batch a number stands
        self.weights = [
            torch.tensor([1 - decay**taken for taken in range(steps + 1)], dtype=torch.float64, device=search.x.device)
            for decay in (DECAY, DECAY_OF_SQUARES)
        ]

    def _plan(self, logits: Tensor, restarts: int) -> int:
        """What is at the goal as it stands needs nothing."""
        self.search.skipped = self.search.skipped | self.search.success
        return restarts

    def _start(self, branch: Search, jobs: Tensor, restart: Tensor) -> Descending:
        x = branch.centres
        known = self.search.sign * self.search.loss[jobs].double()
        place = ((x - self.lower) / self.half - 1).clamp(-1, 1)  # between the bounds
        origin = _inverse_tangent(INSIDE * place)
        tangent = origin.tanh()
        ends = ((tangent + end - place).clamp(-1 + 1e-6, 1 - 1e-6) for end in (-1, 1))
        least, greatest = map(_inverse_tangent, ends)
        zero, no = torch.zeros_like(known), torch.zeros_like(jobs, dtype=torch.bool)
        return Descending(
            job=torch.arange(len(restart), device=x.device),
            restart=restart,
            points=x.clone(),
            radius=zero + of(self.eps, jobs),
            far=zero,
            lead=known,
            won=no,
            c=zero + self.initial_c,
            low=zero.clone(),
            high=zero + math.inf,
            left=torch.full_like(jobs, self.searches),
            taken=torch.zeros_like(jobs),
            checked=zero + math.inf,
            variable=origin,
            origin=origin.clone(),
            tangent=tangent,
            least=least,
            greatest=greatest,
            mean=torch.zeros_like(x),
            square=torch.zeros_like(x),
            slope=torch.zeros_like(x),
            first=known.clone(),
        )

    def _ask(self, branch: Search, rows: Descending, turn: Turn) -> Tensor:
        logits, losses, gradient = self.oracle.slope(rows.points, branch.aims, *self._moment(branch, rows))
        score = self._score(branch, rows, logits, losses)
        branch.visit(rows.points, logits, losses=losses, start=turn.first, score=score)
        return gradient

    def _score(self, branch: Search, rows: Descending, logits: Tensor, losses: Tensor | None = None) -> Tensor:
        """Of points that have the lead asked for the nearer is the better; others do not count."""
        losses = mean_loss(branch.loss_of, logits, branch.aims) if losses is None else losses
        rows.lead = branch.sign * losses.double()
        there = branch.reached(logits) & (rows.lead >= self.kappa) & (rows.lead >= slight(logits))
        rows.won = rows.won | there
        # whoever adds up the squares in another order is to find no point outside
        return torch.where(there & (rows.far <= rows.radius * (1 - 2**-40)), -rows.far, -torch.inf)

    def _step(self, branch: Search, rows: Descending, gradient: Tensor, turn: Turn) -> None:
        tally = rows.job.new_zeros(len(rows.job), 4)
        observe(gradient, tally)
        branch.count_steps(self.oracle.answers, tally)
        gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
        if turn.first:
            rows.slope, rows.first = gradient, rows.lead
        gradient = self._next(branch, rows, gradient)
        self._descend(branch, rows, gradient)

    def _next(self, branch: Search, rows: Descending, gradient: Tensor) -> Tensor:
        """Where a descent is over another begins, at x; returns the gradients of the leads where the rows now stand."""
        value = (rows.far / self.width).square() + rows.c * (self.kappa - rows.lead).clamp(min=0)
        check = (rows.taken > 0) & (rows.taken % self.every == 0)
        over = (check & (value > FALL * rows.checked)) | (rows.taken == self.steps)
        rows.checked = torch.where(check, value, rows.checked)

        rows.high = torch.where(over & rows.won, rows.c, rows.high)
        rows.low = torch.where(over & ~rows.won, rows.c, rows.low)
        between = torch.where(rows.high.isinf(), rows.c * GROWTH, (rows.low + rows.high) / 2)
        rows.c = torch.where(over, between, rows.c)
        rows.left = rows.left - over.long()
        branch.ended[rows.job] |= rows.left == 0

        rows.won = rows.won & ~over
        rows.taken = torch.where(over, 0, rows.taken)
        rows.checked = torch.where(over, torch.inf, rows.checked)
        rows.lead = torch.where(over, rows.first, rows.lead)
        again = over.view(-1, *[1] * (gradient.dim() - 1))
        rows.points = torch.where(again, branch.centres, rows.points)
        rows.variable = torch.where(again, rows.origin, rows.variable)
        rows.mean = torch.where(again, 0.0, rows.mean)
        rows.square = torch.where(again, 0.0, rows.square)
        return torch.where(again, rows.slope, gradient)

    def _descend(self, branch: Search, rows: Descending, gradient: Tensor) -> None:
        """A step of Adam on the objective, in the variable."""
        x = branch.centres
        weight = torch.where(rows.lead < self.kappa, -branch.sign * rows.c, 0.0)  # of the margin
        slope = 2 / self.width**2 * (rows.points - x) + each(weight, x) * gradient
        slope = slope * self.half * (1 - rows.variable.tanh().square())
        rows.taken = rows.taken + 1
        rows.mean = DECAY * rows.mean + (1 - DECAY) * slope
        rows.square = DECAY_OF_SQUARES * rows.square + (1 - DECAY_OF_SQUARES) * slope.square()
        mean, square = (
            of_all / each(weights[rows.taken], x)
            for of_all, weights in zip((rows.mean, rows.square), self.weights, strict=True)
        )
        variable = rows.variable - self.learning_rate * mean / (square.sqrt() + TINY)
        rows.variable = torch.minimum(torch.maximum(variable, rows.least), rows.greatest)
        points = x + self.half * (rows.variable.tanh() - rows.tangent)
        rows.points = torch.minimum(torch.maximum(points, self.lower), self.upper)
        rows.far = distance(rows.points, x, "l2")

    def run(self, restarts: int) -> AttackResult:
        """That all descents have ended does not mean that they went round in circles."""
        return replace(super().run(restarts), cycled=torch.zeros_like(self.search.cycled))


def _inverse_tangent(value: Tensor) -> Tensor:
    """The inverse of the hyperbolic tangent; torch's depends, in its last bit, on where in a batch a number stands."""
    return (value.log1p() - (-value).log1p()) / 2
