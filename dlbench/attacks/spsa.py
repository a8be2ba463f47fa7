"""SPSA: steps along gradients that are estimated from queries (Uesato et al., ICML 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from dlbench import ops
from dlbench.attacks import checks
from dlbench.attacks.checks import Bounds
from dlbench.attacks.geometry import box
from dlbench.attacks.modes import Model, attack_mode
from dlbench.attacks.oracle import Oracle, Transform, oracles
from dlbench.attacks.randomness import uniform
from dlbench.attacks.restarts import Restarts, Turn
from dlbench.attacks.rewrite import Rewritten, original, pieces_of
from dlbench.attacks.rows import Rows, each, of
from dlbench.attacks.search import AttackResult, Loss, Search, mean_loss
from dlbench.ops.limits import Number

DELTA = 0.01  # of the distance of the bounds: the paper's, of images in [0, 1]
SHARE = 0.3  # of eps is a step where no size is given: the paper's 0.01 of 8/255
AT_ONCE = 2048  # points that are asked about together, if they are not those of one direction
DECAY, DECAY_OF_SQUARES, TINY = 0.9, 0.999, 1e-8  # Adam's (Kingma & Ba 2015)
LOOK, ESTIMATE = 0, 1  # kinds of turns


def spsa(
    model: Model | Rewritten,
    x: Tensor,
    y: Tensor,
    *,
    eps: Number,
    norm: Literal["linf"] = "linf",
    steps: int = 100,
    samples: int = 128,
    delta: float = DELTA,
    step_size: Number | None = None,
    restarts: int = 1,
    loss: Loss = "margin",
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
    """Simultaneous perturbation stochastic approximation (Uesato et al., ICML 2018, arXiv:1802.05666): a black box.

    It uses logits only, so it tells whether a defence merely hides its gradients. All inputs are moved at once by
    ±``delta``, at random, and the opposite way; the difference of the two losses says how steep the loss is in that
    direction, and the mean over ``samples`` directions estimates the gradient. Adam follows it, inside ball and bounds.

    No query leaves the bounds: an input on an edge moves to one side only, and what it tells is divided by how far it
    has moved, so that on a linear loss the expectation of an estimate is the gradient there, too. A sample leaves the
    batch before the queries of the step that it does not need any more.

    Behind random transforms, or of a random model, a query is ``eot_samples`` answers, and the goal is reached where
    more than half of them reach it. All queries of a step undergo the same transforms, so that directions are compared
    and not draws.

    What else is promised is as in :func:`perturb`: exact bounds, an unchanged model, results that do not depend on how
    samples are split into batches.

    Args:
        model: maps samples [n, ...] to logits [n, K]; a module, any callable, or a :class:`Rewritten` model.
        x: [N, C, ...] float32 or float64, inside the bounds.
        y: [N] int64, the true labels.
        eps: radius of the ball, in the units of x: a number, [N], or [N or 1, C or 1, 1, ...].
        norm: ``"linf"``; there is no other.
        steps: a restart; each takes two queries for every direction, and one about where it leads. Two more are about
            x. In the result ``first_step`` counts steps, and ``forwards`` queries.
        samples: directions in a step; the paper has 128 to 4,096.
        delta: how far a query goes, as a share of the distance of the bounds.
        step_size: about how far a step goes, in the same forms as eps; 0.3 eps where it is not given.
        restarts: the first starts at x, later ones at random in the ball; a later one only attacks what withstood the
            earlier ones.
        loss: what has to rise (for a target, to fall), as in :func:`perturb`.
        target: the label to reach, one for all or [N]; without it any wrong label is the goal.
        bounds: least and greatest value that an input can have, finite; numbers, or [C] each.
        seed: of directions, starts and draws.
        sample_ids: [N] int64, what tells one sample's random numbers from another's; 0 to N - 1 where not given.
        eot_samples: how often each point is asked about, for random models and transforms; all are one query.
        transform: what the model sees of a point, as in :func:`perturb`; it needs no derivative here.
        rewrite: whether faster forms of the model are looked for, as in :func:`perturb`.
        autocast: run the model in this type during the search, as in :func:`perturb`.
        mask: [N] bool, which samples to attack; the others are only looked at.

    Raises:
        ValueError: labels the model does not have, x outside the bounds, an impossible setting.
    """
    checks.samples(x, y, bounds)
    checks.whole(steps=steps, samples=samples, restarts=restarts, eot_samples=eot_samples)
    checks.positive_number(delta=delta)
    checks.within(0, 1, delta=delta)
    checks.one_of(("linf",), norm=norm)
    checks.one_of(checks.MODES, rewrite=rewrite)
    checks.finite(bounds)
    eps = checks.lengths("eps", eps, x)
    size = SHARE * eps if step_size is None else checks.lengths("step_size", step_size, x)
    with attack_mode(original(model), x.device), torch.no_grad():
        search = Search(
            x,
            y,
            target=target,
            bounds=bounds,
            loss=loss,
            keep="first",
            sample_ids=sample_ids,
            mask=mask,
        )
        pieces = pieces_of(model, search.x, steps * samples * restarts, rewrite)  # a query costs half a gradient
        oracle, judge = oracles(pieces, search.loss_of, eot_samples, transform, seed, autocast)
        climb = Estimates(search, oracle, judge, steps, samples, eps, size, delta, seed)
        return climb.run(restarts if checks.positive(eps) else 0)


@dataclass
class Climbing(Rows):
    """Points under way, a row each."""

    eps: Number  # radius of the ball: a number, or a row each
    size: Number  # of a step, likewise
    scale: Tensor  # [n] float64, the largest number of the first estimate that is not 0: the others are measured by it
    mean: Tensor  # [n, ...] of estimates, Adam's
    square: Tensor  # [n, ...] mean of their squares


class Estimates(Restarts[Climbing]):
    """Restarts whose turns are a look at a point and an estimate of the gradient there, alternately.

    Args:
        search, oracle, judge: as of all restarts.
        steps, samples, delta: as of :func:`spsa`.
        eps, size: radius of the ball and length of a step, numbers or a row a sample.
        seed: of directions and starts.
    """

    def __init__(
        self,
        search: Search,
        oracle: Oracle,
        judge: Oracle,
        steps: int,
        samples: int,
        eps: Number,
        size: Number,
        delta: float,
        seed: int,
    ) -> None:
        super().__init__(search, oracle, judge, 2 * steps, random_start=True)
        self.samples, self.eps, self.size, self.seed = samples, eps, size, seed
        self.lower, self.upper = box(search.bounds, search.x)
        self.delta = delta * (self.upper - self.lower)

    def _start(self, branch: Search, jobs: Tensor, restart: Tensor) -> Climbing:
        eps = of(self.eps, jobs)
        points, later = branch.centres.clone(), (restart > 0).nonzero().squeeze(1)
        if len(later):
            lower, upper = branch.bounds
            points[later] = ops.random_start(
                branch.centres[later],
                eps=of(eps, later),
                seed=self.seed,
                sample_ids=branch.ids[later],
                restart=-restart[later],  # directions are counted from zero upwards
                lower=lower,
                upper=upper,
            )
        return Climbing(
            job=torch.arange(len(restart), device=points.device),
            restart=restart,
            points=points,
            eps=eps,
            size=of(self.size, jobs),
            scale=torch.zeros(len(restart), dtype=torch.float64, device=points.device),
            mean=torch.zeros_like(points),
            square=torch.zeros_like(points),
        )

    def _turn(self, age: int) -> Turn:
        return Turn(age == 0, ESTIMATE if age % 2 else LOOK)

    def _ask(self, branch: Search, rows: Climbing, turn: Turn) -> Tensor:
        if turn.kind == ESTIMATE:
            return self._estimate(branch, rows)
        branch.visit(rows.points, self.oracle.look(rows.points, *self._moment(branch, rows)), start=turn.first)
        return rows.mean

    def _estimate(self, branch: Search, rows: Climbing) -> Tensor:
        """Estimates [n, ...] of the loss's gradients at the rows' points, for each input times what its bounds span.

        An input that cannot move as little as ``delta`` is not estimated, and stays.
        """
        points, n = rows.points, len(rows.points)
        reach = torch.minimum(points + self.delta, self.upper), torch.maximum(points - self.delta, self.lower)
        ids, moment = self._moment(branch, rows)
        total = torch.zeros_like(points, dtype=torch.float64)
        together = max(AT_ONCE // max(2 * n, 1), 1)
        for begin in range(0, self.samples, together):
            number = min(together, self.samples - begin)
            which = torch.arange(begin, begin + number, device=ids.device)[:, None]
            draws = (moment * self.samples + which).flatten()
            drawn = uniform(self.seed, draws, ids.repeat(number), points.shape[1:], points.dtype)
            forth = drawn.view(number, *points.shape) >= 0
            asked = torch.cat([torch.where(forth, *reach), torch.where(forth, *reach[::-1])]).flatten(0, 1)
            logits = self.oracle.look(asked, ids.repeat(2 * number), moment.repeat(2 * number))
            losses = mean_loss(branch.loss_of, logits, branch.aims.repeat(2 * number)).double().view(2, number, n)
            # one after the other, so that the sum does not depend on how many are asked about together
            for direction, rise in zip(forth, (losses[0] - losses[1]).nan_to_num(0.0, 0.0, 0.0), strict=True):
                total += torch.where(direction, each(rise, total), -each(rise, total))
        branch.count_answers(self.oracle.answers * 2 * self.samples)
        moved = (reach[0] - reach[1]) / (self.upper - self.lower)  # measured so, Adam does the same whatever the bounds
        return torch.where(moved > 0, total / moved / self.samples, 0.0).to(points.dtype)

    def _step(self, branch: Search, rows: Climbing, gradient: Tensor, turn: Turn) -> None:
        if turn.kind == LOOK:
            return
        # measured by the first, so that the scale of the logits does not matter to Adam, which squares and adds TINY
        rows.scale = torch.where(rows.scale > 0, rows.scale, gradient.abs().flatten(1).amax(1).double())
        gradient = (gradient / each(torch.where(rows.scale > 0, rows.scale, 1.0), gradient)).to(rows.mean.dtype)
        rows.mean = DECAY * rows.mean + (1 - DECAY) * gradient
        rows.square = DECAY_OF_SQUARES * rows.square + (1 - DECAY_OF_SQUARES) * gradient.square()
        step = (self.age + 1) // 2
        mean, square = rows.mean / (1 - DECAY**step), rows.square / (1 - DECAY_OF_SQUARES**step)
        move = branch.sign * each(rows.size, mean) * mean / (square.sqrt() + TINY)
        rows.points = branch.project(rows.points + move, rows.eps)
